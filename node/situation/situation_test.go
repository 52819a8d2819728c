package situation_test

import (
	"math/rand"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/situation"
)

// anyFacts draws what some members say: of everything some, with retractions, also of
// what is others', and under several markings.
func anyFacts(t *rapid.T) []situation.Fact {
	n := rapid.IntRange(1, 80).Draw(t, "facts")
	few := rapid.Bool().Draw(t, "few things") // so that limits are reached
	out := make([]situation.Fact, 0, n)
	for id := 1; id <= n; id++ {
		member := rapid.IntRange(1, 4).Draw(t, "member")
		of := rapid.IntRange(1, n).Draw(t, "of")
		at := now - rapid.Int64Range(0, 110*60).Draw(t, "minutes ago")*minute
		kind := rapid.SampledFrom([]notice.Kind{2, 2, 2, 2, 3, 3, 4, 5, 6, 7, 7, 8, 8, 9, 9, 9, 9, 10, 12}).Draw(t, "kind")
		if few {
			kind = rapid.SampledFrom([]notice.Kind{2, 2, 2, 2, 2, 2, 3, 3, 6, 7}).Draw(t, "kind")
			member = 1 + member%2
		}
		var f situation.Fact
		switch kind {
		case notice.KindSighting:
			value := rapid.SampledFrom([]string{"evil.example", "bad.example", "203.0.113.7", "203.0.113.8", "8.8.8.8"}).Draw(t, "value")
			if few {
				value = "evil.example"
			}
			c := rapid.SampledFrom([]*notice.Context{nil, {Family: "Qakbot"}, {Family: "cobalt  strike"}, {Tool: "Cobalt Strike"}, {Family: "Cobalt Strike", Tool: "Cobalt Strike"}}).Draw(t, "context")
			f = sighting(id, member, at, value, c)
			if rapid.Bool().Draw(t, "by a machine") {
				f.Notice.Origin = &notice.Origin{Source: "logs"}
			}
		case notice.KindRetraction:
			f = retraction(id, member, at, of)
		case notice.KindDispute:
			f = dispute(id, member, at, of, "not so")
		case notice.KindQuestion:
			f = question(id, member, at, "evil.example")
		case notice.KindProfile:
			f = profile(id, member, at, "+353 1 "+string(rune('0'+id%10)))
		case notice.KindMayday:
			var replaces *crypto.ItemID
			if of < id {
				replaces = ref(of)
			}
			f = mayday(id, member, at, "ransom note", replaces)
		case notice.KindService:
			f = service(id, member, at, rapid.SampledFrom([]string{"all", "Stroke unit"}).Draw(t, "department"),
				notice.ServiceState(rapid.IntRange(1, 3).Draw(t, "state")))
		case notice.KindAssistance:
			act := notice.Act(rapid.IntRange(1, 5).Draw(t, "act"))
			f = assist(id, member, at, act, 2, nil)
			if act > notice.ActOffer {
				f.Notice.Ref = ref(of)
			}
		case notice.KindLink:
			f = link(id, member, at, rapid.SampledFrom([]string{"Labs", "LABS"}).Draw(t, "supplier"), "VPN", notice.LinkState(rapid.IntRange(1, 2).Draw(t, "state")))
		case notice.KindResponse:
			f = response(id, member, at, of, notice.AnswerNotSeen)
		}
		f = marked(f, notice.TLP(rapid.IntRange(1, 5).Draw(t, "tlp")))
		f.Exercise = rapid.IntRange(0, 9).Draw(t, "exercise") == 0
		f.ClockOff = rapid.IntRange(0, 9).Draw(t, "clock off") == 0
		f.Received = min(now, at+rapid.Int64Range(-10, 100).Draw(t, "late")*minute)
		out = append(out, f)
	}
	return out
}

// views are what all may see who may see anything.
func views(p *situation.Picture) []situation.View {
	var out []situation.View
	for ceiling := notice.TLP(0); ceiling <= notice.TLPRed; ceiling++ {
		a := ask(4)
		a.Ceiling, a.Since = ceiling, now-20*hour
		out = append(out, p.View(a))
	}
	return out
}

// TestAnyOrder: the same notices give the same picture in any order, however often
// they come.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		facts := anyFacts(t)
		want := views(picture(facts...))
		shuffled := slices.Clone(facts)
		for range rapid.IntRange(0, 10).Draw(t, "again") {
			shuffled = append(shuffled, facts[rapid.IntRange(0, len(facts)-1).Draw(t, "which")])
		}
		r := rand.New(rand.NewSource(rapid.Int64().Draw(t, "seed")))
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		for i, got := range views(picture(shuffled...)) {
			differ(t, got, want[i])
		}
	})
}

// TestCeiling: a view up to a ceiling is the one of who never heard the rest. Only
// what is taken back is taken back for all.
func TestCeiling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		facts := anyFacts(t)
		full := picture(facts...)
		for ceiling := notice.TLPClear; ceiling <= notice.TLPRed; ceiling++ {
			part := situation.New(nil)
			for _, f := range facts {
				if f.TLP <= ceiling || f.Notice.Kind == notice.KindRetraction {
					part.Add(f, now)
				}
			}
			a := ask(4)
			a.Ceiling, a.Since = ceiling, now-20*hour
			view := full.View(a)
			differ(t, view, part.View(a))
			if states := full.States(a); !reflect.DeepEqual(states, view.Members) {
				t.Fatalf("the states alone are %+v, in the view %+v", states, view.Members)
			}
		}
	})
}

func differ(t *rapid.T, got, want situation.View) {
	t.Helper()
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range g.NumField() {
		if !reflect.DeepEqual(g.Field(i).Interface(), w.Field(i).Interface()) {
			t.Fatalf("%s:\n got %+v\nwant %+v", g.Type().Field(i).Name, g.Field(i).Interface(), w.Field(i).Interface())
		}
	}
}

func TestStates(t *testing.T) {
	a := ask(6)
	a.Silence = func(m crypto.MemberID) situation.Silence {
		return situation.Silence{Silent: m != who(6), Since: ago(time.Minute), By: who(1)} // whatever they say of themselves
	}
	until := service(8, 3, ago(time.Hour), "All", notice.ServiceClosed)
	until.Notice.Service.Until = now
	drill := service(9, 5, ago(time.Hour), "all", notice.ServiceClosed)
	drill.Exercise = true
	v := picture(
		mayday(1, 1, ago(time.Hour), "ransom note", nil), service(2, 1, ago(time.Hour), "all", notice.ServiceClosed),
		service(3, 2, ago(time.Hour), "Radiology", notice.ServiceOpen), service(4, 2, ago(time.Hour), " ALL", notice.ServiceClosed),
		until, drill,
		mayday(5, 4, ago(time.Hour), "ransom note", nil), retraction(6, 4, ago(time.Minute), 5), mayday(7, 4, ago(2*time.Hour), "first", nil), retraction(10, 4, ago(time.Minute), 7),
		retraction(11, 3, ago(time.Minute), 1), // not its own
	).View(a)
	want := []situation.Member{
		{ID: who(1), State: situation.UnderAttack, Since: ago(time.Hour), IDs: []crypto.ItemID{item(1)}},
		{ID: who(2), State: situation.DeclaredDown, Since: ago(time.Hour), IDs: []crypto.ItemID{item(4)}},
		{ID: who(3), State: situation.Silent, Since: ago(time.Minute), By: who(1)},
		{ID: who(4), State: situation.Silent, Since: ago(time.Minute), By: who(1)},
		{ID: who(5), State: situation.Silent, Since: ago(time.Minute), By: who(1)},
		{ID: who(6), State: situation.OK},
	}
	if !reflect.DeepEqual(v.Members, want) {
		t.Errorf("got  %+v\nwant %+v", v.Members, want)
	}
}

func TestMayday(t *testing.T) {
	v := picture(
		profile(1, 2, ago(30*time.Hour), "+353 old"), profile(2, 2, ago(31*time.Hour), "+353 new"), // its clock was set back in between
		mayday(3, 2, ago(time.Hour), "ransom note on radiology hosts", nil), mayday(4, 2, ago(time.Minute), "and in the laboratory", ref(3)),
		mayday(5, 3, ago(time.Minute), "not mine to replace", ref(4)),
		dispute(6, 1, now, 4, "their switchboard knows nothing"), dispute(7, 3, now, 4, "no"), dispute(8, 1, now, 5, "sent by a thief"), retraction(9, 1, now, 8),
	).View(ask(3))
	if len(v.Maydays) != 2 {
		t.Fatalf("open maydays: %+v", v.Maydays)
	}
	m := v.Maydays[0]
	if v.Maydays[1].ID == item(4) {
		m = v.Maydays[1]
	}
	if m.ID != item(4) || m.Contact == nil || m.Contact.Lines[0] != "+353 new" || m.Contact.ID != item(2) || *m.Replaces != item(3) {
		t.Errorf("mayday: %+v, contact %+v", m, m.Contact)
	}
	if len(m.Disputed) != 1 || m.Disputed[0].ID != item(6) || m.Reasons[0] != "their switchboard knows nothing" {
		t.Errorf("disputed by %+v", m.Disputed)
	}
	other := v.Maydays[0]
	if other.ID == m.ID {
		other = v.Maydays[1]
	}
	if len(other.Disputed) != 0 {
		t.Errorf("a dispute that was taken back counts: %+v", other)
	}
}

func TestAssistance(t *testing.T) {
	until := assist(40, 1, ago(3*time.Hour), notice.ActRequest, 1, nil)
	until.Notice.Assistance.Until = ago(time.Hour)
	v := picture(
		assist(1, 1, ago(5*time.Hour), notice.ActRequest, 4, nil),
		assist(2, 2, ago(4*time.Hour), notice.ActClaim, 4, ref(1)), assist(3, 3, ago(4*time.Hour), notice.ActClaim, 4, ref(1)),
		assist(10, 1, ago(5*time.Hour), notice.ActRequest, 4, nil),
		assist(11, 2, ago(4*time.Hour), notice.ActClaim, 4, ref(10)), assist(12, 3, ago(4*time.Hour), notice.ActClaim, 4, ref(10)),
		assist(13, 1, ago(3*time.Hour), notice.ActConfirm, 0, ref(12)),
		assist(14, 2, ago(3*time.Hour), notice.ActConfirm, 0, ref(11)), // its own claim
		assist(20, 1, ago(5*time.Hour), notice.ActRequest, 4, nil),
		assist(21, 3, ago(4*time.Hour), notice.ActClose, 0, ref(20)), // another's
		assist(22, 1, ago(4*time.Hour), notice.ActClaim, 1, ref(20)), // its own
		assist(30, 1, ago(5*time.Hour), notice.ActRequest, 4, nil),
		assist(31, 1, ago(4*time.Hour), notice.ActClose, 0, ref(30)), assist(32, 2, ago(3*time.Hour), notice.ActClaim, 4, ref(30)),
		until,
		assist(50, 1, ago(100*time.Hour), notice.ActRequest, 1, nil), assist(51, 1, ago(90*time.Hour), notice.ActClose, 0, ref(50)),
		assist(60, 2, ago(100*time.Hour), notice.ActRequest, 1, nil), assist(61, 2, ago(90*time.Hour), notice.ActOffer, 1, nil), retraction(62, 2, now, 60),
	).View(ask(3))
	type claims map[int]string
	want := map[int]struct {
		state   string
		claims  claims
		refused []int
	}{
		1:  {situation.HelpOpen, claims{2: situation.ClaimWaits, 3: situation.ClaimWaits}, nil},
		10: {situation.HelpCovered, claims{12: situation.ClaimConfirmed, 11: situation.ClaimLate}, []int{14}},
		20: {situation.HelpOpen, claims{}, []int{21, 22}},
		30: {situation.HelpClosed, claims{32: situation.ClaimLate}, nil},
		40: {situation.HelpLapsed, claims{}, nil},
		61: {situation.HelpOpen, claims{}, nil},
	}
	for _, h := range v.Assistance {
		id := int(h.ID[3])<<8 | int(h.ID[4])
		w, ok := want[id]
		if !ok {
			t.Errorf("%d is shown", id)
			continue
		}
		delete(want, id)
		got := claims{}
		for _, c := range h.Claims {
			got[int(c.ID[4])] = c.State
		}
		var refused []int
		for _, r := range h.Refused {
			refused = append(refused, int(r.ID[4]))
		}
		slices.Sort(refused)
		if h.State != w.state || !reflect.DeepEqual(got, w.claims) || !slices.Equal(refused, w.refused) {
			t.Errorf("%d: %s %v refused %v, want %+v", id, h.State, got, refused, w)
		}
	}
	for id := range want {
		t.Errorf("%d is not shown", id)
	}
}

func TestLinks(t *testing.T) {
	v := picture(
		link(1, 1, ago(5*time.Hour), "Synlab", "VPN", notice.LinkCut), link(2, 2, ago(4*time.Hour), "SYNLAB ", "VPN", notice.LinkCut),
		link(3, 1, ago(3*time.Hour), "Synlab", "vpn", notice.LinkRestored), link(4, 1, ago(2*time.Hour), "Synlab", "HL7 feed", notice.LinkCut),
		link(5, 3, ago(time.Hour), "Other", "VPN", notice.LinkCut),
	).View(ask(3))
	if len(v.Suppliers) != 2 || v.Suppliers[0].Name != "SYNLAB " && v.Suppliers[0].Name != "Synlab" {
		t.Fatalf("suppliers: %+v", v.Suppliers)
	}
	s := v.Suppliers[0]
	if len(s.Cut) != 2 || s.Cut[0].ID != item(4) || s.Cut[1].ID != item(2) {
		t.Errorf("cut: %+v", s.Cut)
	}
	var line []int
	for _, l := range s.Line {
		line = append(line, int(l.ID[4]))
	}
	if !slices.Equal(line, []int{4, 3, 2, 1}) || s.Line[3].Now || !s.Line[1].Now {
		t.Errorf("time line: %+v", s.Line)
	}
}

func TestQuestion(t *testing.T) {
	v := picture(
		question(1, 1, ago(5*time.Hour), "evil.example"), response(2, 2, ago(4*time.Hour), 1, notice.AnswerUnknown), response(3, 2, ago(3*time.Hour), 1, notice.AnswerNotSeen),
		sighting(4, 3, ago(2*time.Hour), "evil.example", nil), sighting(5, 1, ago(6*time.Hour), "evil.example", nil),
		question(6, 1, ago(8*24*time.Hour), "bad.example"), response(7, 2, ago(2*time.Hour), 1, notice.AnswerDone), // which answers advisories
	).View(ask(3))
	if len(v.Questions) != 1 || len(v.Questions[0].Answers) != 2 {
		t.Fatalf("questions: %+v", v.Questions)
	}
	seen, not := v.Questions[0].Answers[0], v.Questions[0].Answers[1]
	if !seen.Sighting || seen.Answer != notice.AnswerSeen || seen.Member != who(3) || seen.ID != item(4) || not.Answer != notice.AnswerNotSeen || not.Sighting {
		t.Errorf("answers: %+v", v.Questions[0].Answers)
	}
}

func TestChanges(t *testing.T) {
	a := ask(3)
	a.Since, a.Ceiling = ago(time.Hour), notice.TLPAmber
	secret := marked(mayday(4, 2, ago(time.Minute), "secret", nil), notice.TLPRed)
	v := picture(
		mayday(1, 1, ago(2*time.Hour), "ransom note", nil), retraction(2, 1, ago(30*time.Minute), 1),
		service(3, 2, ago(20*time.Minute), "Stroke unit", notice.ServiceDiverted), secret, dispute(5, 1, ago(time.Minute), 4, "no"),
		assist(6, 1, ago(10*time.Minute), notice.ActRequest, 3, nil), assist(7, 2, ago(9*time.Minute), notice.ActClaim, 3, ref(6)),
		sighting(8, 1, ago(50*time.Minute), "evil.example", nil), sighting(9, 2, ago(8*time.Minute), "evil.example", nil),
	).View(a)
	var got []string
	for _, c := range v.Changes {
		got = append(got, c.Text)
		if len(c.IDs) == 0 {
			t.Errorf("%q comes from no notice", c.Text)
		}
	}
	want := []string{"SPREADING: domain evil.example was seen at 2 organisations", "takes 3 of: ventilators", "asks for 3 × ventilators", "Stroke unit diverted", "takes back: MAYDAY: ransom note"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestWrongClock: nothing was said after it came; of a clock that is known to be wrong
// it counts when it came, and it comes first, since that differs from node to node.
func TestWrongClock(t *testing.T) {
	ahead := mayday(1, 1, now+72*hour, "ahead", nil)
	ahead.Received = ago(time.Minute)
	behind := mayday(2, 2, now-72*hour, "behind", nil)
	behind.Received, behind.ClockOff = ago(time.Hour), true
	v := picture(ahead, behind).View(ask(2))
	if len(v.Maydays) != 2 || v.Maydays[0].At != ago(time.Hour) || !v.Maydays[0].ClockOff || v.Maydays[1].At != ago(time.Minute) {
		t.Errorf("maydays: %+v", v.Maydays)
	}
	back := mayday(4, 3, now-72*hour, "set back", nil) // it came by sync, where old words are nothing strange
	back.Received = ago(time.Minute)
	v = picture(profile(3, 3, ago(time.Hour), "+353"), back).View(ask(3))
	if len(v.Maydays) != 1 || !v.Maydays[0].ClockOff || v.Maydays[0].At != ago(time.Minute) {
		t.Errorf("of a clock that was set back: %+v", v.Maydays)
	}
}
