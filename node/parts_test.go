package node_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// word is a notice that has a part, at the bench's time.
func (b *bench) word(kind notice.Kind, salt byte, fill func(*notice.Notice)) *notice.Notice {
	n := &notice.Notice{Kind: kind, Salt: [16]byte{salt, 1}, Created: b.clock.now()}
	fill(n)
	return n
}

// hears brings one notice in an envelope of its own and returns its id.
func (b *bench) told(t testing.TB, m *testkit.Member, h crypto.Header, prev *crypto.Envelope, n *notice.Notice) (crypto.ItemID, *crypto.Envelope) {
	t.Helper()
	raw := encode(t, n)
	if h.Time == 0 {
		h.Time = b.clock.now()
	}
	e := m.Envelope(t, h, prev, raw)
	b.takes(t, e, mesh.ViaSync)
	return crypto.NewItemID(m.ID, crypto.LeafHash(raw)), e
}

// heeded returns the alerts that there are once all that was heard is heeded.
func (b *bench) heeded(t testing.TB) []store.Alert {
	t.Helper()
	if err := b.Heed(); err != nil {
		t.Fatal(err)
	}
	alerts, err := b.Store().Alerts(0, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	return alerts
}

func (b *bench) list(t testing.TB, kind notice.Kind) []api.NoticeView {
	t.Helper()
	views, _, err := b.Notices(t.Context(), api.Query{Kind: kind, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return views
}

func mayday(text string) api.Submission {
	return api.Submission{Kind: "mayday", Parts: api.Parts{Mayday: &api.Mayday{Text: text}}}
}

func assist(act, ref string, quantity uint32) api.Submission {
	a := &api.Assistance{Act: act, Quantity: quantity}
	if act == "request" || act == "offer" {
		a.What = "mobile CT"
	}
	return api.Submission{Kind: "assistance", Ref: ref, Parts: api.Parts{Assistance: a}}
}

// A member has one open mayday: a new one speaks of the one before, and the same call
// made again is the same word.
func TestOneMaydayIsOpen(t *testing.T) {
	b := newBench(t)
	one := b.submit(t, api.SubmitOptions{}, mayday("ransom note"))[0]
	if one.TLP != "AMBER" || one.Audience != "region" || one.Ref != "" {
		t.Fatalf("a mayday is %+v", one)
	}
	if again := b.submit(t, api.SubmitOptions{}, mayday("ransom note"))[0]; !again.Known || again.ID != one.ID {
		t.Errorf("the same call is another word: %+v", again)
	}
	two := b.submit(t, api.SubmitOptions{}, mayday("the whole domain"))[0]
	if two.Ref != one.ID {
		t.Errorf("the second mayday speaks of %q, want the first", two.Ref)
	}
	marked := map[string]bool{}
	for _, v := range b.list(t, notice.KindMayday) {
		marked[v.ID] = slices.Contains(v.Marks, api.MarkReplaced)
	}
	if len(marked) != 2 || !marked[one.ID] || marked[two.ID] {
		t.Errorf("replaced: %v", marked)
	}
	b.submit(t, api.SubmitOptions{}, api.Submission{Kind: "retraction", Ref: one.ID}, api.Submission{Kind: "retraction", Ref: two.ID})
	if left := b.list(t, notice.KindMayday); len(left) != 0 {
		t.Errorf("open after it was taken back: %+v", left)
	}
	if v := b.submit(t, api.SubmitOptions{}, mayday("ransom note"))[0]; v.Known || v.Ref != "" {
		t.Errorf("a new mayday after all were taken back: %+v", v)
	}
	b.refuses(t, api.SubmitOptions{Local: true}, mayday("to nobody"))
}

// Three urgent words in ten minutes, and one mayday more; the rest is ordinary.
func TestMaydaysAreUrgentAndFew(t *testing.T) {
	urgent := func(value string) api.Submission { return api.Submission{Value: value, TLP: "AMBER", Urgent: true} }
	for name, c := range map[string]struct {
		said []api.Submission
		want []bool // urgent
	}{
		"maydays alone":           {[]api.Submission{mayday("1"), mayday("2"), mayday("3"), mayday("4"), mayday("5")}, []bool{true, true, true, true, false}},
		"a mayday after others":   {[]api.Submission{urgent("a.example"), urgent("b.example"), urgent("c.example"), urgent("d.example"), mayday("1"), mayday("2"), urgent("e.example")}, []bool{true, true, true, false, true, false, false}},
		"the place is no other's": {[]api.Submission{mayday("1"), urgent("a.example"), urgent("b.example"), urgent("c.example"), mayday("2")}, []bool{true, true, true, false, true}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			for i, s := range c.said {
				id, err := crypto.ParseItemID(b.submit(t, api.SubmitOptions{}, s)[0].ID)
				if err != nil {
					t.Fatal(err)
				}
				if r, _, err := b.Store().Record(id); err != nil || r.Urgent != c.want[i] {
					t.Errorf("word %d, a %s: urgent %t, want %t (%v)", i, r.Notice.Kind, r.Urgent, c.want[i], err)
				}
			}
			b.clock.advance(11 * time.Minute)
			id, _ := crypto.ParseItemID(b.submit(t, api.SubmitOptions{}, mayday("later"))[0].ID)
			if r, _, err := b.Store().Record(id); err != nil || !r.Urgent {
				t.Errorf("a mayday after the window is not urgent (%v)", err)
			}
		})
	}
}

// A mayday raises the highest alert with its author's contact, once, whatever its
// clock says, and also where this node did not run when it came.
func TestMaydayAlerts(t *testing.T) {
	b := newBench(t)
	b.clock.advance(time.Duration(10*minute-b.clock.now()%(10*minute)) * time.Millisecond) // ten minutes begin
	_, e := b.told(t, b.author, crypto.Header{}, nil, b.word(notice.KindProfile, 1, func(n *notice.Notice) {
		n.Profile = &notice.Profile{Name: "Author", Contact: []string{"+353 1 555 0100"}}
	}))
	newer, e := b.told(t, b.author, crypto.Header{}, e, b.word(notice.KindProfile, 2, func(n *notice.Notice) {
		n.Profile = &notice.Profile{Name: "Author", Contact: []string{"+353 1 555 0199", "duty@author.example"}}
	}))
	call := b.word(notice.KindMayday, 3, func(n *notice.Notice) { n.Mayday = &notice.Mayday{Text: "ransom note."} })
	id, last := b.told(t, b.author, crypto.Header{Urgent: true, Time: b.clock.now() + 3*day, Expiry: b.clock.now() + 300*day}, e, call)
	alerts := b.heeded(t)
	want := "MAYDAY: author is under attack and says: ransom note. Contact: +353 1 555 0199; duty@author.example. Call back: a stolen key can lie. Its clock is off."
	if len(alerts) != 1 || alerts[0].Severity != "critical" || alerts[0].Text != want || !slices.Equal(alerts[0].Refs, []crypto.ItemID{id, newer}) || alerts[0].TLP != notice.TLPAmber {
		t.Fatalf("alerts: %+v\nwant %s", alerts, want)
	}
	for i := range byte(3) { // more would be a flood
		again := b.word(notice.KindMayday, 10+i, func(n *notice.Notice) { n.Mayday = &notice.Mayday{Text: "again"} })
		_, last = b.told(t, b.author, crypto.Header{Time: last.Header.Time, Expiry: last.Header.Expiry, Urgent: true}, last, again)
	}
	if alerts = b.heeded(t); len(alerts) != 1 {
		t.Errorf("%d alerts of one caller within ten minutes", len(alerts))
	}
	b.told(t, b.other, crypto.Header{Urgent: true}, nil, b.word(notice.KindMayday, 4, func(n *notice.Notice) { n.Mayday = &notice.Mayday{Text: "we too"} }))
	b.stop(t) // before it was heeded
	b.open(t)
	alerts = b.heeded(t)
	if len(alerts) != 2 || !strings.Contains(alerts[0].Text, "we too. It has told no contact. Call back") {
		t.Fatalf("after a restart: %+v", alerts)
	}
}

// A mayday in a drill is refused alone, and so is a link that will be cut.
func TestWhatDoesNotFitItsEnvelope(t *testing.T) {
	b := newBench(t)
	_, e := b.told(t, b.author, crypto.Header{Exercise: true}, nil, b.word(notice.KindMayday, 1, func(n *notice.Notice) { n.Mayday = &notice.Mayday{Text: "drill"} }))
	cut := func(salt byte, at int64) *notice.Notice {
		return b.word(notice.KindLink, salt, func(n *notice.Notice) {
			n.Link = &notice.Link{Supplier: "LIS", Link: "VPN", Direction: notice.DirectionIn, State: notice.LinkCut, At: at}
		})
	}
	_, e = b.told(t, b.author, crypto.Header{}, e, cut(2, b.clock.now()+6*minute))
	b.told(t, b.author, crypto.Header{}, e, cut(3, b.clock.now()+4*minute))
	if open := b.list(t, notice.KindMayday); len(open) != 0 {
		t.Errorf("a mayday in a drill counts: %+v", open)
	}
	if links := b.list(t, notice.KindLink); len(links) != 1 {
		t.Errorf("%d links, want the one of now", len(links))
	}
	if alerts := b.heeded(t); len(alerts) != 0 {
		t.Errorf("alerts: %+v", alerts)
	}
}

// What a hospital says of itself it can say again after it said otherwise.
func TestStatesAreSaidAgain(t *testing.T) {
	b := newBench(t)
	service := func(department, state string) api.NoticeView {
		return b.submit(t, api.SubmitOptions{}, api.Submission{Kind: "service", Parts: api.Parts{Service: &api.Service{Department: department, State: state}}})[0]
	}
	first := service("Stroke unit", "closed")
	for _, c := range []struct {
		department, state string
		known             bool
	}{{"Stroke unit", "closed", true}, {"STROKE  unit", "open", false}, {"Stroke unit", "closed", false}, {"Stroke unit", "closed", true}, {"Radiology", "closed", false}, {"Stroke unit", "closed", true}} {
		if v := service(c.department, c.state); v.Known != c.known || v.Known && c.department == "Stroke unit" && c.state == "closed" && first.ID == "" {
			t.Errorf("%s %s: known %v, want %v", c.department, c.state, v.Known, c.known)
		}
	}
}

// The node of who asked confirms claims in the order in which they came, as long as
// something is left.
func TestClaimsAreConfirmed(t *testing.T) {
	b := newBench(t)
	request := b.submit(t, api.SubmitOptions{TLP: notice.TLPAmber}, assist("request", "", 3))[0]
	ref, err := crypto.ParseItemID(request.ID)
	if err != nil {
		t.Fatal(err)
	}
	claim := func(salt byte, quantity uint32) *notice.Notice {
		return b.word(notice.KindAssistance, salt, func(n *notice.Notice) {
			n.Ref, n.Assistance = &ref, &notice.Assistance{Act: notice.ActClaim, Quantity: quantity}
		})
	}
	one, e := b.told(t, b.other, crypto.Header{}, nil, claim(1, 2))
	two, last := b.told(t, b.author, crypto.Header{}, nil, claim(2, 2))
	_, e = b.told(t, b.other, crypto.Header{}, e, claim(3, 1))
	confirmed := func() (out []string) {
		b.heeded(t)
		b.heeded(t) // twice changes nothing
		for _, v := range b.list(t, notice.KindAssistance) {
			if v.Assistance.Act == "confirm" {
				out = append(out, v.Ref)
			}
		}
		slices.Reverse(out)
		return out
	}
	if got := confirmed(); !slices.Equal(got, []string{one.String(), two.String()}) {
		t.Fatalf("confirmed %q, want the first two", got)
	}
	// Others can close nothing, and the own close ends it.
	b.told(t, b.author, crypto.Header{}, last, b.word(notice.KindAssistance, 4, func(n *notice.Notice) {
		n.Ref, n.Assistance = &ref, &notice.Assistance{Act: notice.ActClose}
	}))
	second := b.submit(t, api.SubmitOptions{}, assist("request", "", 9))[0]
	b.submit(t, api.SubmitOptions{}, assist("close", second.ID, 0))
	if ref, err = crypto.ParseItemID(second.ID); err != nil {
		t.Fatal(err)
	}
	b.told(t, b.other, crypto.Header{}, e, claim(5, 1))
	if got := confirmed(); len(got) != 2 {
		t.Errorf("a claim on a closed request is confirmed: %q", got)
	}
	if v := b.submit(t, api.SubmitOptions{}, assist("request", "", 9))[0]; v.Known {
		t.Error("a request cannot be made again after it was closed")
	}
}

// What an assistance cannot speak of is refused where it is said, with the reason.
func TestAssistanceIsRefused(t *testing.T) {
	b := newBench(t)
	asked := b.word(notice.KindAssistance, 1, func(n *notice.Notice) {
		n.Assistance = &notice.Assistance{Act: notice.ActRequest, What: "beds", Quantity: 9, Until: b.clock.now() + day}
	})
	theirs, e := b.told(t, b.author, crypto.Header{Expiry: b.clock.now() + 300*day}, nil, asked)
	question, e := b.told(t, b.author, crypto.Header{}, e, b.word(notice.KindQuestion, 2, func(n *notice.Notice) {
		n.Indicator = &notice.Indicator{Type: notice.TypeDomain, Value: "evil.example"}
	}))
	own := b.submit(t, api.SubmitOptions{}, assist("request", "", 1))[0].ID
	for name, c := range map[string]struct {
		s    api.Submission
		want string
	}{
		"claim of one's own":      {assist("claim", own, 1), "this hospital's own"},
		"claim of a question":     {assist("claim", question.String(), 1), "no request for help or offer"},
		"close of another's":      {assist("close", theirs.String(), 0), "only author, who said it, closes it"},
		"confirm of a request":    {assist("confirm", theirs.String(), 0), "only a claim is confirmed"},
		"an answer to a mayday":   {api.Submission{Kind: "response", Ref: own, Parts: api.Parts{}}, "a response needs it"},
		"a claim on nothing here": {assist("claim", strings.Repeat("0", 40), 1), "no notice 0000"},
	} {
		refused := b.refusals(t, c.s)
		if len(refused) != 1 || !strings.Contains(refused[0].Reason, c.want) || refused[0].Fix == "" {
			t.Errorf("%s: %+v, want %q", name, refused, c.want)
		}
	}
	if v := b.submit(t, api.SubmitOptions{}, assist("claim", theirs.String(), 0))[0]; v.Assistance.Quantity != 9 {
		t.Errorf("a claim without a quantity takes %d, want all 9", v.Assistance.Quantity)
	}
	b.clock.advance(25 * time.Hour)
	if refused := b.refusals(t, assist("claim", theirs.String(), 3)); len(refused) != 1 || refused[0].Reason != "the request is closed" {
		t.Errorf("a claim after its time: %+v", refused)
	}
	b.clock.advance(-25 * time.Hour)
	b.told(t, b.author, crypto.Header{}, e, b.word(notice.KindAssistance, 3, func(n *notice.Notice) {
		n.Ref, n.Assistance = &theirs, &notice.Assistance{Act: notice.ActClose}
	}))
	if refused := b.refusals(t, assist("claim", theirs.String(), 2)); len(refused) != 1 || refused[0].Reason != "the request is closed" {
		t.Errorf("a claim on what is closed: %+v", refused)
	}
}

func (b *bench) refusals(t testing.TB, s api.Submission) []api.Refused {
	t.Helper()
	result, err := b.Submit(t.Context(), []api.Submission{s}, api.SubmitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return result.Refused
}

// A question makes nothing known, and none of what a hospital says of itself is in an
// export.
func TestPartsAreNoIntelligence(t *testing.T) {
	b := newBench(t)
	b.submit(t, api.SubmitOptions{TLP: notice.TLPGreen}, api.Submission{Kind: "question", Value: "evil.example"}, mayday("x"),
		api.Submission{Kind: "profile", Parts: api.Parts{Profile: &api.Profile{Name: "here", Contact: []string{"x"}}}})
	if b.knows(t, "evil.example") {
		t.Error("a value is known because it was asked for")
	}
	count, err := b.Export(t.Context(), api.ExportQuery{Ceiling: notice.TLPAmber, Sees: notice.TLPRed}, func(s intel.Stated) error {
		t.Errorf("exported: %s", s.Notice.Kind)
		return nil
	})
	if err != nil || count != (api.ExportCount{}) {
		t.Errorf("%+v, %v", count, err)
	}
	if all := b.list(t, 0); len(all) != 3 {
		t.Errorf("%d notices are listed, want 3", len(all))
	}
	for _, kind := range []notice.Kind{notice.KindQuestion, notice.KindMayday, notice.KindProfile} {
		views, _, err := b.Notices(t.Context(), api.Query{Kind: kind, Limit: 10, Ceiling: notice.TLPClear})
		if err != nil || len(views) != 0 {
			t.Errorf("%s under a ceiling of CLEAR: %+v, %v", kind, views, err)
		}
	}
}

// A mayday of an endorsed region alerts only where a supplier or something that both
// have seen ties that hospital to this one, and not as its own region's does.
func TestMaydayOfAnotherRegion(t *testing.T) {
	b := newBench(t)
	third := testkit.NewRegionNamed(t, "third", "nobody's", "customer", "witness")
	b.adds(t, [][]byte{b.region.Endorse(t, nil, third)})
	third.Endorse(t, nil, b.region)
	b.adds(t, third.Records)
	b.submit(t, api.SubmitOptions{TLP: notice.TLPAmber}, sighting("evil.example", b.clock.now()),
		api.Submission{Kind: "profile", Parts: api.Parts{Profile: &api.Profile{Name: "here", Contact: []string{"x"}, Suppliers: []string{"LIS GmbH"}}}})
	community := crypto.Header{Audience: crypto.AudienceCommunity, TLP: uint8(notice.TLPGreen)}
	before := map[string]*crypto.Envelope{}
	_, before["customer"] = b.told(t, third.Members[1], community, nil, b.word(notice.KindProfile, 1, func(n *notice.Notice) {
		n.Profile = &notice.Profile{Name: "customer", Contact: []string{"y"}, Suppliers: []string{"lis  GMBH"}}
	}))
	_, before["witness"] = b.told(t, third.Members[2], community, nil, b.sighting(t, "evil.example"))
	for i, m := range third.Members {
		b.told(t, m, community, before[m.Credential.Name], b.word(notice.KindMayday, byte(i), func(n *notice.Notice) { n.Mayday = &notice.Mayday{Text: "help"} }))
	}
	got := map[string]string{}
	for _, a := range b.heeded(t) {
		got[a.Text] = a.Severity
	}
	for _, want := range []string{
		"MAYDAY: customer is under attack and says: help. It is of another region; it has the supplier lis  GMBH too. Contact: y. Call back: a stolen key can lie.",
		"MAYDAY: witness is under attack and says: help. It is of another region; both have seen evil.example. It has told no contact. Call back: a stolen key can lie.",
	} {
		if got[want] != "warning" {
			t.Errorf("no warning %q", want)
		}
	}
	if len(got) != 2 {
		t.Errorf("alerts: %q", got)
	}
}
