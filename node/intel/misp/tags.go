package misp

import (
	"regexp"
	"strings"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/jsonscan"
	"github.com/watchward/watchward/node/notice"
)

// tags is what the tags of an event or an attribute say that we understand.
type tags struct {
	seen      int
	tlp       notice.TLP
	strange   string // a tlp: tag that is no marking
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
	return len(t.family.value) + len(t.tool.value) + len(t.technique.value) + len(t.cve.value)
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
				t.add(name.S)
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
						t.add(name.S)
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
func (t *tags) add(name string) {
	if t.seen++; t.seen > tagsMax || len(name) > tagBytesMax {
		return
	}
	if len(name) > 4 && strings.EqualFold(name[:4], "tlp:") {
		tlp, err := notice.ParseTLP(name)
		switch {
		case err == nil:
			t.tlp = notice.Stricter(t.tlp, tlp)
		case !strings.EqualFold(name, "tlp:ex:chr"): // the Chatham House rule, beside a marking
			t.strange = intel.Show(name)
		}
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
	if !ok {
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
