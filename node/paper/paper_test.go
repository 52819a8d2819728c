package paper_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/paper"
)

var keep = flag.String("keep", "", "directory in which to leave the pages and PDFs, to look at")

// now is when the reports of these tests are made.
var now = time.Date(2026, 11, 28, 10, 55, 0, 0, time.UTC)

func ago(d time.Duration) api.Time { return api.Time(now.Add(-d).UnixMilli()) }

// region makes a report of so many members. text makes what people write: it is given
// what that would be and how long it may be.
type region struct {
	members int
	text    func(usual string, limit int) string
	most    bool // of everything as much as a view may have
	least   bool // of everything two
}

func usual(s string, _ int) string { return s }

// longest fills every text to its limit with the widest letter.
func longest(_ string, limit int) string { return strings.Repeat("W", limit) }

var towns = strings.Fields("Cork Limerick Galway Waterford Kilkenny Sligo Tralee Ennis Athlone Naas Drogheda Dundalk Swords Bray Navan Carlow Wexford Mallow Clonmel Tullamore")

var kinds = []string{"University Hospital", "General Hospital", "St Anna", "Children's Hospital", "Mercy Hospital", "Maternity Hospital", "Regional Clinic", "St John's", "Orthopaedic Hospital", "Mental Health Centre"}

func (g region) id(n int) string { return fmt.Sprintf("%016x%024x", 0x9e3779b97f4a7c15*uint64(n+1), n) }

func (g region) party(i int) api.Party {
	i %= g.members
	return api.Party{Member: fmt.Sprintf("%064x", i+1), Name: g.text(kinds[i/len(towns)%len(kinds)]+" "+towns[i%len(towns)], 100)}
}

func (g region) word(n, member int, age time.Duration) api.Word {
	return api.Word{ID: g.id(n), Party: g.party(member), Said: ago(age), TLP: "AMBER"}
}

func (g region) count(few, most int) int {
	if g.most {
		return most
	}
	if g.least {
		return min(few, 2)
	}
	return few
}

func (g region) report() *api.Report {
	r := &api.Report{TLP: "AMBER", Situation: api.Situation{Name: g.text("St Anna Cork", 100), Region: g.text("Munster", 80), Now: ago(0),
		Health: api.Health{Ready: true, Peers: min(12, g.members-1), Members: g.members, LastIn: ago(20 * time.Second)}}}
	n := 0
	id := func() int { n++; return n }
	attacked, down, silent := g.count(3, g.members/3), g.count(2, g.members/3), g.count(5, g.members/3)
	for i := range g.members {
		m := api.StateView{Party: g.party(i), State: api.StateOK}
		if i%17 != 3 {
			m.Contact = &api.ContactView{ID: g.id(id()), Lines: []string{g.text(fmt.Sprintf("+353 21 555 %04d (duty manager)", i), 120), g.text("ward phone 4711, satellite +881 6 5550", 120)}}
		}
		switch {
		case i < attacked:
			m.State, m.Since, m.IDs = api.StateUnderAttack, ago(time.Duration(i+1)*43*time.Minute), []string{g.id(id())}
		case i < attacked+down:
			m.State, m.Since, m.IDs = api.StateDeclaredDown, ago(time.Duration(i)*37*time.Minute), []string{g.id(id())}
		case i < attacked+down+silent:
			m.State, m.Since, m.HeardBy = api.StateSilent, ago(time.Duration(i)*13*time.Minute), g.text("St Anna Cork", 100)
		}
		r.Members = append(r.Members, m)
		r.Counts.Add(m.State)
	}
	says := []string{"Ransom note on radiology and laboratory hosts, domain controllers encrypted. All ward systems off since 05:40; we work on paper.", "EDR console shows Cobalt Strike on two file servers; we have cut the internet.", "Patient administration down, cause not known yet."}
	for i := range attacked {
		m := api.MaydayView{Word: g.word(id(), i, time.Duration(i+1)*43*time.Minute), Text: g.text(says[i%3], 280), Contact: r.Members[i].Contact}
		if i == 1 {
			m.Replaces = g.id(id())
		}
		if g.most || i == 2 {
			m.Disputed = []api.DisputeView{{Word: g.word(id(), 40, 10*time.Minute), Reason: g.text("their duty manager knows nothing of it, we are on the phone", 500)}}
		}
		r.Maydays = append(r.Maydays, m)
	}
	values := [][2]string{{"", "Cobalt Strike"}, {"domain", "login-hse.example.net"}, {"ipv4", "198.51.100.7"}, {"sha256", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}, {"url", "https://update.example.org/a/very/long/path/that/goes/on/and/on/and/on/payload.bin?id=1234567890"}}
	for i := range g.count(len(values), 50) {
		v := values[i%len(values)]
		e := api.SpreadingView{Kind: "indicator", Type: v[0], Value: g.text(v[1], 2048), TLP: "AMBER", Active: i != 3, Started: ago(30 * time.Hour), Ends: ago(-40 * time.Hour)}
		for j := range g.count(3+(i*7)%11, 50) {
			e.Seen = append(e.Seen, api.SeenView{Party: g.party(i + j*5), First: ago(time.Duration(70-j*5-i*3) * time.Hour), Last: ago(time.Hour), TLP: "AMBER", IDs: []string{g.id(id())}})
		}
		r.Spreading = append(r.Spreading, e)
	}
	for i := range 72 {
		r.Hourly = append(r.Hourly, 9_000+int(6_000*float64(i%24)/24)+i*i*2)
	}
	for i := range g.count(3, 100) {
		l := api.SupplierView{Name: g.text([]string{"LIS GmbH", "Radiology Cloud Ltd", "MediSoft"}[i%3], 80)}
		for j := range g.count(max(4-i, 1), 100) {
			w := g.word(id(), i*3+j, time.Duration(j+2)*time.Hour)
			l.Cut = append(l.Cut, w)
			l.Line = append(l.Line, api.LinkView{Word: w, Link: api.Link{Supplier: l.Name, Link: g.text("VPN to LIS", 80), Direction: "both", State: "cut", At: w.Said,
				Reason: g.text("ransomware there", 280), Criteria: g.text("their CSIRT says so", 280), AttestedBy: g.text("", 80)}})
		}
		r.Suppliers = append(r.Suppliers, l)
	}
	needs := [][2]string{{"ventilators", ""}, {"blood, O negative", "units"}, {"IT forensics team, two days", ""}, {"CT slots", ""}, {"beds, intensive care", ""}}
	for i := range g.count(len(needs), 500) {
		h := api.HelpView{Word: g.word(id(), i*4, time.Duration(i+1)*50*time.Minute), State: []string{"open", "covered", "open", "open", "lapsed"}[i%5], Confirmed: uint64(i % 4)}
		h.Assistance = api.Assistance{Act: []string{"request", "offer"}[i/4%2], What: g.text(needs[i%5][0], 120), Unit: g.text(needs[i%5][1], 20), Quantity: uint32(4 + i%20), Until: ago(-20 * time.Hour)}
		h.Exercise = i == 3
		for j := range h.Confirmed {
			h.Claims = append(h.Claims, api.ClaimView{Word: g.word(id(), i+int(j), time.Hour), Quantity: 1, State: "confirmed", Confirm: g.id(id())})
		}
		if i == 4 {
			h.Offers, h.Closed, h.Refused = []api.Word{g.word(id(), 5, time.Hour)}, g.id(id()), []api.RefusedAct{{Word: g.word(id(), 6, time.Hour), Act: "close"}}
		}
		r.Assistance = append(r.Assistance, h)
	}
	departments := []string{"Stroke unit", "all", "Emergency department", "Radiology", "Laboratory"}
	for i := range g.count(len(departments), 500) {
		r.Services = append(r.Services, api.ServiceView{Word: g.word(id(), i, time.Duration(i+1)*time.Hour), Past: i == 4,
			Service: api.Service{Department: g.text(departments[i%5], 80), State: []string{"diverted", "closed"}[i%2], Until: ago(-6 * time.Hour), Text: g.text("to St Anna Cork", 280)}})
	}
	for i := range g.count(2, 500) {
		q := api.QuestionView{Word: g.word(id(), i+7, time.Duration(i+1)*time.Hour), Indicator: api.Indicator{Type: "domain", Value: g.text("beacon.example", 253)}, Text: g.text("every 60 s from a print server", 280)}
		for j := range 4 * i {
			q.Answers = append(q.Answers, api.AnswerView{Word: g.word(id(), j, time.Hour), Answer: []string{"seen", "not-seen", "unknown"}[j%3]})
		}
		r.Questions = append(r.Questions, q)
	}
	if g.most {
		r.More, r.Reading, r.Health.Peers, r.Health.Warnings = []string{"services"}, true, 0, []string{"a warning"}
		r.Partial = []api.PartialView{{Party: g.party(1)}}
	}
	r.Changes = []api.ChangeView{{Party: g.party(2), At: ago(time.Hour), Kind: "mayday", IDs: []string{g.id(id()), r.Maydays[0].ID}}}
	r.Sources = r.Situation.Sources()
	return r
}

// TestTwoPages: in each language a report of 200 members is at most two pages of A4, also
// if everybody says as much as may be said, and more members do not make it longer.
func TestTwoPages(t *testing.T) {
	for name, g := range map[string]region{
		"quiet": {members: 3, text: usual}, "usual": {members: 200, text: usual}, "most": {members: 200, text: usual, most: true},
		"longest": {members: 200, text: longest, most: true}, "large": {members: 1000, text: usual, most: true},
	} {
		for _, language := range catalog.Languages {
			t.Run(name+"-"+language, func(t *testing.T) {
				page, err := paper.Situation(g.report(), language, time.UTC)
				if err != nil {
					t.Fatal(err)
				}
				pages := printed(t, page)
				if len(pages) > 2 {
					t.Errorf("%d pages", len(pages))
				}
				heads(t, pages, g.report())
			})
		}
	}
}

// TestFingerprint: anybody can work it out from the report in JSON, whose ids are all
// that it commits to; who shows one notice less, or another, has another.
func TestFingerprint(t *testing.T) {
	r := region{members: 30, text: usual}.report()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, m := range regexp.MustCompile(`"([0-9a-f]{40})"`).FindAllSubmatch(text, -1) {
		ids = append(ids, string(m[1]))
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	sum := sha256.Sum256([]byte(strings.Join(ids, "\n") + "\n"))
	if got := r.Sources; got.Fingerprint != hex.EncodeToString(sum[:]) || got.Notices != len(ids) {
		t.Errorf("sources %+v, want %x of %d", got, sum, len(ids))
	}
	s := r.Situation
	s.Services = s.Services[1:]
	if s.Sources().Fingerprint == r.Sources.Fingerprint {
		t.Error("one notice less, and the same fingerprint")
	}
}

// heads checks that marking, sources and fingerprint are on each page.
func heads(t *testing.T, pages []string, r *api.Report) {
	t.Helper()
	for i, text := range pages {
		for _, want := range []string{"TLP:AMBER", fingerprint(r)} {
			if !strings.Contains(text, want) {
				t.Errorf("page %d lacks %q: %.400q", i+1, want, text)
			}
		}
	}
}

// fingerprint is how a page shows it.
func fingerprint(r *api.Report) string {
	f := r.Sources.Fingerprint
	return fmt.Sprintf("%s %s %s %s", f[:4], f[4:8], f[8:12], f[12:16])
}

// TestDrillQuestions: a question of a drill says so in each form of a report, and a real
// one does not.
func TestDrillQuestions(t *testing.T) {
	r := region{members: 3, text: usual}.report()
	r.Situation = api.Situation{Now: r.Now, Questions: r.Questions[:1]}
	for _, drill := range []bool{true, false} {
		r.Questions[0].Exercise = drill
		page, err := paper.Situation(r, "en", time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		for form, marked := range map[string]bool{
			"HTML": bytes.Contains(page, []byte("EXERCISE: domain beacon.example")), "Markdown": bytes.Contains(paper.SituationMarkdown(r, "en", time.UTC), []byte("EXERCISE: domain beacon.example")),
			"JSON": bytes.Contains(text, []byte(`"exercise":true`)),
		} {
			if marked != drill {
				t.Errorf("%s: marked %v, want %v", form, marked, drill)
			}
		}
	}
}
