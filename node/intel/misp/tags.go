package misp

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/jsonscan"
	"github.com/watchward/watchward/node/notice"
)

// tags is what the tags of an event or an attribute say that we understand.
type tags struct {
	seen      int
	tlp       notice.TLP
	strange   string // the first marking that is none of TLP's, with its place
	family    one
	tool      one
	technique one
	cve       one
	carrier   bool   // tagCarrier
	kind      string // tagType: a type that MISP has no word for
}

// Tags of Writer.
const (
	tagCarrier = `watchward:sightings-only`
	tagType    = `watchward:type=`
)

// one holds a value as long as there is only one.
type one struct {
	value string
	many  bool
}

func (o *one) add(value string) {
	switch {
	case o.value == "":
		o.value = value
	case !strings.EqualFold(o.value, value):
		o.many = true
	}
}

func (o *one) get() string {
	if o.many {
		return ""
	}
	return o.value
}

func (t *tags) size() int {
	return len(t.strange) + len(t.family.value) + len(t.tool.value) + len(t.technique.value) + len(t.cve.value)
}

// tagList reads [{"name": …}, …].
func (in *reader) tagList(t *tags) error {
	return in.Each(func(int) error {
		return in.Fields(func(key string) error {
			if key != "name" {
				return in.Skip()
			}
			name, err := in.Text(jsonscan.TextMax)
			if err == nil && !name.Long {
				t.add(name.S, in.Path)
			}
			return err
		})
	})
}

// galaxies reads [{"GalaxyCluster": [{"tag_name": …}, …]}, …], which some
// exports have instead of the tags.
func (in *reader) galaxies(t *tags) error {
	return in.Each(func(int) error {
		return in.Fields(func(key string) error {
			if key != "GalaxyCluster" {
				return in.Skip()
			}
			return in.Each(func(int) error {
				return in.Fields(func(key string) error {
					if key != "tag_name" {
						return in.Skip()
					}
					name, err := in.Text(jsonscan.TextMax)
					if err == nil && !name.Long {
						t.add(name.S, in.Path)
					}
					return err
				})
			})
		})
	})
}

var cveForm = regexp.MustCompile(`^CVE-\d{4}-\d{4,19}$`)

// galaxyKinds says what the clusters of a galaxy are, by the galaxy's name.
// Threat actors, countries and sectors say nothing a notice has room for.
var galaxyKinds = map[string]string{
	"malpedia": "family", "malware": "family", "mitre-malware": "family", "mitre-enterprise-attack-malware": "family",
	"ransomware": "family", "rat": "family", "backdoor": "family", "banker": "family", "stealer": "family",
	"botnet": "family", "cryptominers": "family", "android": "family", "tds": "family",
	"tool": "tool", "mitre-tool": "tool", "mitre-enterprise-attack-tool": "tool", "exploit-kit": "tool",
	"mitre-attack-pattern": "technique", "mitre-enterprise-attack-attack-pattern": "technique",
	"mitre-mobile-attack-attack-pattern": "technique", "mitre-ics-techniques": "technique",
}

// add reads one tag: tlp:amber, or misp-galaxy:tool="Cobalt Strike - S0154".
func (t *tags) add(name string, place func() string) {
	if t.seen++; t.seen > tagsMax || len(name) > tagBytesMax {
		return
	}
	if len(name) >= 3 && strings.EqualFold(name[:3], "tlp") {
		t.tlpTag(name, place)
		return
	}
	if id := strings.ToUpper(name); cveForm.MatchString(id) {
		t.cve.add(id)
		return
	}
	t.carrier = t.carrier || name == tagCarrier
	if kind, ok := strings.CutPrefix(name, tagType); ok {
		t.kind = strings.Trim(kind, `"`)
	}
	galaxy, ok := strings.CutPrefix(name, "misp-galaxy:")
	if !ok { // marking:"TLP:AMBER", Einstufung: VS-NfD
		t.mark(intel.Marking(name), place)
		return
	}
	galaxy, cluster, ok := strings.Cut(galaxy, `="`)
	cluster = strings.TrimSpace(strings.TrimSuffix(cluster, `"`))
	if !ok || cluster == "" || len(cluster) > notice.NameMax || !notice.Printable(cluster) {
		return
	}
	title, id := cutID(cluster)
	switch galaxyKinds[strings.ToLower(galaxy)] {
	case "family":
		t.family.add(title)
	case "tool":
		t.tool.add(title)
	case "technique":
		if len(id) > 0 && id[0] == 'T' {
			t.technique.add(id)
		}
	}
}

// tlpTag reads a tag that starts so: tlp:amber, TLP:AMBER, tlp="amber".
func (t *tags) tlpTag(name string, place func() string) {
	if next, _ := utf8.DecodeRuneInString(name[3:]); unicode.IsLetter(next) {
		if _, ok := intel.ParseMarking(name); !ok { // tlpx, and not TLPAMBER
			return
		}
	}
	tlp, ok := intel.ParseMarking(name)
	switch {
	case ok:
		t.mark(intel.Mark{TLP: tlp}, place)
	case !strings.EqualFold(name, "tlp:ex:chr"): // the Chatham House rule, beside a marking
		m := intel.Marking(name)
		m.Unclear = cmp.Or(m.Unclear, intel.Show(name))
		t.mark(m, place)
	}
}

// mark adds what was found at a place.
func (t *tags) mark(m intel.Mark, place func() string) {
	t.tlp = notice.Stricter(t.tlp, m.TLP)
	if t.strange == "" && m.Unclear != "" {
		t.strange = fmt.Sprintf("%q (%s)", m.Unclear, place())
	}
}

// A reach is what an event, an object or an attribute says of its distribution.
type reach uint8

const (
	reachUnsaid reach = iota // or as what it is part of
	reachOrganisation
	reachCommunity
	reachFurther // connected communities, all communities
	reachGroup   // a sharing group, or a number that nobody knows
)

// reach reads a distribution: MISP's own rules of who receives it from a server.
// What travels as a file may have been published all the same, so that it says no
// colour: where there is no marking beside it, how far is unclear.
func (in *reader) reach() (reach, error) {
	t, err := in.Text(jsonscan.TextMax)
	switch t.S {
	case "", "5":
		return reachUnsaid, err
	case "0":
		return reachOrganisation, err
	case "1":
		return reachCommunity, err
	case "2", "3":
		return reachFurther, err
	}
	return reachGroup, err
}

// unclear is what a distribution leaves open, "" if nothing.
func (r reach) unclear(place string) string {
	what := map[reach]string{reachOrganisation: "distribution: your organisation only", reachCommunity: "distribution: this community only", reachGroup: "distribution: sharing group"}[r]
	if what == "" {
		return ""
	}
	if place == "" {
		place = "the event"
	}
	return fmt.Sprintf("%q (%s)", what, strings.TrimSuffix(place, "."))
}

// cutID splits the ATT&CK id off a cluster's name: "PowerShell - T1086".
func cutID(cluster string) (title, id string) {
	at := strings.LastIndex(cluster, " - ")
	if at <= 0 {
		return cluster, ""
	}
	id = cluster[at+3:]
	digits := strings.TrimLeft(id, "TSG")
	if len(id)-len(digits) != 1 || strings.Trim(digits, "0123456789.") != "" || len(digits) < 4 {
		return cluster, ""
	}
	main, sub, dotted := strings.Cut(digits, ".")
	if len(main) != 4 || dotted && len(sub) != 3 {
		return cluster, ""
	}
	return cluster[:at], id
}

// contextOf returns what is known of an attribute: its own tags first.
func contextOf(own, event *tags) *notice.Context {
	pick := func(a, b *one) string {
		if a.value != "" {
			return a.get()
		}
		return b.get()
	}
	c := notice.Context{Family: pick(&own.family, &event.family), Tool: pick(&own.tool, &event.tool),
		Technique: pick(&own.technique, &event.technique), CVE: pick(&own.cve, &event.cve)}
	if c == (notice.Context{}) {
		return nil
	}
	return &c
}
