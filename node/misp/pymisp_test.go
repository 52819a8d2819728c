package misp_test

import (
	"crypto/md5"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	events "github.com/watchward/watchward/node/intel/misp"
	"github.com/watchward/watchward/node/misp"
	"github.com/watchward/watchward/node/notice"
)

// pythonEnv names the Python that testnet/interop/python/environment makes.
const pythonEnv = "WATCHWARD_PYTHON"

// pymisp runs a script with MISP's own library, which is not of this module.
func pymisp(t *testing.T, script, directory string) []byte {
	t.Helper()
	python := os.Getenv(pythonEnv)
	if python == "" {
		t.Skipf("SKIPPED: NOT CHECKED with PyMISP: set %s to the python that testnet/interop/python/environment makes", pythonEnv)
	}
	command := exec.CommandContext(t.Context(), python, "-I", filepath.Join("testdata", script), directory)
	out, err := command.Output()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		t.Fatalf("%s: %v\n%s", script, err, failed.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A read attribute is one as PyMISP has it.
type readAttribute struct {
	UUID, Type, Value, Event string
	Deleted                  bool
	Sightings                []string
}

// PyMISP reads our feed as what we hold.
func TestPyMISPReadsTheFeed(t *testing.T) {
	s := &shelf{}
	values := map[notice.Type]string{
		notice.TypeIPv4: "198.51.100.7", notice.TypeIPv6: "2001:db8::7", notice.TypeCIDR: "198.51.100.0/24", notice.TypeDomain: "münchen.example",
		notice.TypeURL: `https://evil.example/a,b?x="1"&y=ä`, notice.TypeEmail: "anna@evil.example", notice.TypeMD5: strings.Repeat("a1", 16),
		notice.TypeSHA256: strings.Repeat("c3", 32), notice.TypeSHA512: strings.Repeat("d4", 64), notice.TypeJA3: strings.Repeat("e5", 16), notice.TypeJA4: "t13d1516h2_8daaf6152771_b186095e22b6",
		notice.TypeASN: "AS64496", notice.TypeFilename: "a|b, final.exe", notice.TypeMutex: `Global\Größe`, notice.TypeRegistryKey: `HKCU\Software\a|b`, notice.TypeBTC: "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
	}
	id := byte(0)
	for _, typ := range notice.Types() {
		if values[typ] == "" {
			continue
		}
		indicator, err := notice.Canonical(typ, values[typ], notice.Options{AllowSpecial: true})
		if err != nil {
			t.Fatal(err)
		}
		id++
		n := said(id, notice.KindIndicator, "", noon.Add(-time.Duration(id%3)*24*time.Hour))
		n.Notice.Indicator, n.TLP = &indicator, notice.TLP(id%5)
		if id%2 == 0 {
			n.Notice.FirstSeen, n.Notice.LastSeen, n.Notice.ValidUntil = n.Notice.Created-5000, n.Notice.Created-1, n.Notice.Created+86_400_000
			n.Notice.Context = &notice.Context{Family: "Emotet", Technique: "T1059.001", CVE: "CVE-2021-44228"}
		}
		n.Retracted = id == 5
		s.add(noon, n)
		seen, dispute := n, n
		seen.ID[1], dispute.ID[1] = 1, 2
		one, two := *n.Notice, *n.Notice
		one.Kind, one.FirstSeen, one.LastSeen, one.Count = notice.KindSighting, n.Notice.Created-9, n.Notice.Created-1, 3
		two.Kind, two.Reason, two.Context = notice.KindDispute, "ours", nil
		seen.Notice, dispute.Notice, seen.Retracted, dispute.Retracted = &one, &two, false, false
		s.add(noon, seen, dispute)
	}
	handler, directory := feed(s, func() time.Time { return noon.Add(time.Hour) }), t.TempDir()
	get := func(name string) []byte {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+name, nil))
		if err := os.WriteFile(filepath.Join(directory, name), w.Body.Bytes(), 0o600); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %v", name, w.Code, err)
		}
		return w.Body.Bytes()
	}
	var manifest map[string]any
	if err := json.Unmarshal(get(events.ManifestName), &manifest); err != nil {
		t.Fatal(err)
	}
	get(events.HashesName)
	for uuid := range manifest {
		get(uuid + ".json")
	}
	var read struct {
		Version    string
		Problems   []string
		Attributes []readAttribute
	}
	if err := json.Unmarshal(pymisp(t, "read_feed.py", directory), &read); err != nil {
		t.Fatal(err)
	}
	t.Logf("PyMISP %s read %d events with %d attributes", read.Version, len(manifest), len(read.Attributes))
	if len(read.Problems) != 0 {
		t.Errorf("%s", strings.Join(read.Problems, "\n"))
	}
	for i := range s.said {
		n := &s.said[i]
		if n.Notice.Kind != notice.KindIndicator {
			continue
		}
		e := eventOf(n)
		at := slices.IndexFunc(read.Attributes, func(a readAttribute) bool { return a.UUID == events.AttributeUUID(n) })
		if at < 0 {
			t.Errorf("%s is missing", n.Notice.Indicator)
			continue
		}
		a := read.Attributes[at]
		sightings := []string{"0"}
		if n.Notice.Context == nil { // a dispute has no context: else it lies beside
			sightings = []string{"0", "1"}
		}
		if n.Notice.ValidUntil != 0 {
			sightings = append(sightings, "2")
		}
		if n.Retracted { // what is said of it lies beside
			sightings = nil
		}
		if a.Value != n.Notice.Indicator.Value || a.Deleted != n.Retracted || a.Event != e.UUID() || !slices.Equal(a.Sightings, sightings) {
			t.Errorf("%s: %+v, want %q", n.Notice.Indicator, a, sightings)
		}
	}
}

// We read what PyMISP's generator writes.
func TestPyMISPWritesAFeed(t *testing.T) {
	directory := t.TempDir()
	pymisp(t, "write_feed.py", directory)
	client, _ := served(t, http.FileServer(http.Dir(directory)), misp.Config{})
	var b basket
	position, err := client.PullFeed(t.Context(), misp.Position{}, b.intake())
	var want []string
	sums := map[string]bool{}
	for i := range 2 {
		evil := fmt.Sprintf("evil%d.example", i)
		if i == 1 {
			want = append(want, "sighting "+evil)
		}
		want = append(want, "indicator "+evil, fmt.Sprintf("indicator 198.51.100.%d", 7+i), "indicator "+strings.Repeat(fmt.Sprint(i), 64),
			fmt.Sprintf("withdrawn indicator gone%d.example", i), "harmless files have the same name, its hash is taken: --all takes the name too")
		sums[fmt.Sprintf("%x", md5.Sum([]byte(evil)))] = true
	}
	got := b.told()
	slices.Sort(want)
	if err != nil || len(b.failed) != 0 || !slices.Equal(got, want) || len(position.Files) != 2 {
		t.Errorf("%v, %v\n got %q\nwant %q", b.failed, err, got, want)
	}
	if err := client.Hashes(t.Context(), func(sum [md5.Size]byte, event string) error {
		delete(sums, fmt.Sprintf("%x", sum))
		if position.Files[event] == "" {
			t.Errorf("%s is no event of the feed", event)
		}
		return nil
	}); err != nil || len(sums) != 0 {
		t.Errorf("%v, %v", sums, err)
	}
}
