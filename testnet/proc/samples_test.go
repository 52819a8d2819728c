//go:build unix

package proc_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/testnet/proc"
)

// samplesEnv names the directory of real files; when it is set, each file below
// must be there.
const samplesEnv = "WATCHWARD_SAMPLES"

// A sample is a real file. Least is how many of its values must be taken or be
// known: as many as when this was written, since a mapping that loses half of
// them would pass every other check here.
type sample struct {
	path  string
	least int
	flags string // of import
}

var samples = []sample{
	{"misp-events/misp-badiis.json", 186, "--all"},
	{"misp-events/mozi.misp-event.json", 79, "--all"},
	{"misp-events/misp-machete-event.json", 389, "--all"},
	{"misp-events/glupteba.misp-event.json", 331, "--all"},
	{"misp-events/misp-dukes-operation-ghost-event.json", 87, "--all"},
	{"misp-events/oceanlotus.misp.event.json", 112, "--all"},
	{"misp-events/misp.event_2021-06-10_backdoordiplomacy.json", 66, "--all"},
	{"misp-events/2018-11-20_Zebrocy.json", 36, "--all"},
	{"stix/apt1.json", 10, ""},
	{"stix/poisonivy.json", 66, ""},
	{"stix/examples/infrastructure.json", 2, ""},
	{"stix/examples/indicator-for-c2-ip-address.json", 1, "--allow-special"},
	{"stix/examples/indicator-to-campaign-relationship.json", 1, "--allow-special"},
	{"stix/examples/indicators-for-C2-with-COA.json", 2, "--allow-special"},
	{"lists/cosmicbeetle-README.adoc", 58, ""},
	{"lists/embargo-README.adoc", 11, ""},
	{"lists/cosmicbeetle-samples.sha256", 21, ""},
	{"lists/embargo-samples.sha256", 9, ""},
	{"lists/embargo-samples.md5", 9, ""},
}

// imported is what import --json prints.
type imported struct {
	Read    int `json:"read"`
	Taken   int `json:"taken"`
	Known   int `json:"known"`
	Refused []struct {
		At, Value, Reason string
	} `json:"refused"`
	Skipped []struct{} `json:"skipped"` // not meant for detection
	Errors  []string   `json:"errors"`
}

// TestSamplesReachTheOthers imports real files at one hospital with --share,
// under their own marking or GREEN, and looks every taken value up at the other.
func TestSamplesReachTheOthers(t *testing.T) {
	dir := os.Getenv(samplesEnv)
	if dir == "" {
		t.Skipf("SKIPPED: no real samples were tried: set %s to the directory that holds misp-events, stix and lists", samplesEnv)
	}
	r := region(t, "St Anna", "Riverside General")
	here, there := r.Nodes[0], r.Nodes[1]
	var total imported
	for _, s := range samples {
		got := importFile(t, here, filepath.Join(dir, filepath.FromSlash(s.path)), s.flags)
		if len(got.Errors) > 0 {
			t.Errorf("%s: %v", s.path, got.Errors)
		}
		if got.Taken+got.Known < s.least || got.Read != got.Taken+got.Known+len(got.Refused)+len(got.Skipped) {
			t.Errorf("%s: read %d, taken %d, known %d, refused %d, skipped %d; at least %d should be taken, and none be lost",
				s.path, got.Read, got.Taken, got.Known, len(got.Refused), len(got.Skipped), s.least)
		}
		t.Logf("%-60s read %5d  taken %5d  known %4d  refused %4d%s", s.path, got.Read, got.Taken, got.Known, len(got.Refused), reasons(got))
		total.Read, total.Taken, total.Known = total.Read+got.Read, total.Taken+got.Taken, total.Known+got.Known
		total.Refused = append(total.Refused, got.Refused...)
		if again := importFile(t, here, filepath.Join(dir, filepath.FromSlash(s.path)), s.flags); again.Taken != 0 {
			t.Errorf("%s: the second import takes %d", s.path, again.Taken)
		}
	}
	t.Logf("%-60s read %5d  taken %5d  known %4d  refused %4d", "in all", total.Read, total.Taken, total.Known, len(total.Refused))
	values := mine(t, here)
	if len(values) != total.Taken {
		t.Errorf("%d notices are listed, %d were taken", len(values), total.Taken)
	}
	slices.Sort(values)
	values = slices.Compact(values)
	in := strings.Join(values, "\n")
	// The command ends with 0 only when every value is known.
	err := proc.Poll(within(t, meetMax), func() error {
		a, err := there.Run(t.Context(), strings.NewReader(in), "lookup", "-", "--json")
		if err != nil {
			return err
		}
		if n := strings.Count(a.Out, "\n"); n != len(values) {
			return fmt.Errorf("%d answers to %d values", n, len(values))
		}
		if a.Code != 0 {
			return fmt.Errorf("exit code %d: %w: %d of %d values, the first: %s", a.Code, errMissing,
				strings.Count(a.Out, `"known":false`), len(values), firstUnknown(a.Out))
		}
		return nil
	})
	if err != nil {
		t.Fatalf("at %s after %s: %v", there.Name, meetMax, err)
	}
	t.Logf("all %d values were found at %s", len(values), there.Name)
}

func importFile(t *testing.T, n *proc.Node, path, flags string) imported {
	t.Helper()
	args := append([]string{"import", path, "--share", "--tlp", "GREEN", "--json"}, strings.Fields(flags)...)
	a, err := n.Run(t.Context(), nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	if a.Code > 1 { // 1: some values were refused
		t.Fatalf("import %s: exit code %d: %s", path, a.Code, a.Err)
	}
	var out imported
	if err := json.Unmarshal([]byte(a.Out), &out); err != nil {
		t.Fatalf("import %s: %v: %q", path, err, a.Out)
	}
	return out
}

// mine lists the values of all notices of a node.
func mine(t *testing.T, n *proc.Node) []string {
	t.Helper()
	a, err := n.Run(t.Context(), nil, "list", "indicator", "--mine", "--limit", "1000000", "--json")
	if err != nil || a.Code != 0 {
		t.Fatalf("list: exit code %d: %v %s", a.Code, err, a.Err)
	}
	var page api.NoticesAnswer
	if err := json.Unmarshal([]byte(a.Out), &page); err != nil {
		t.Fatal(err)
	}
	if page.Next != "" {
		t.Fatal(errors.New("list: there is more than a million"))
	}
	var values []string
	for _, v := range page.Notices {
		if v.Audience == "local" {
			t.Errorf("%s was not shared", v.Indicator.Value)
		}
		values = append(values, v.Indicator.Value)
	}
	return values
}

// reasons sums up why values were refused, without the values.
func reasons(i imported) string {
	counts := map[string]int{}
	for _, r := range i.Refused {
		reason := strings.ReplaceAll(r.Reason, r.Value, "it")
		counts[reason[:min(len(reason), 60)]]++
	}
	var out []string
	for reason, n := range counts {
		out = append(out, fmt.Sprintf("%d × %s", n, reason))
	}
	slices.Sort(out)
	const shown = 6
	if len(out) > shown {
		out = append(out[:shown], "…")
	}
	if len(out) == 0 {
		return ""
	}
	return "\n\t" + strings.Join(out, "\n\t")
}

func firstUnknown(lines string) string {
	for line := range strings.Lines(lines) {
		if strings.Contains(line, `"known":false`) {
			return line
		}
	}
	return ""
}
