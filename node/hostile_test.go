package node_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// running is a bench whose node keeps up its picture.
func running(t testing.TB) *bench {
	t.Helper()
	b := newBench(t)
	b.start(t, nil)
	eventually(t, "the picture is read", func() bool { return !b.situation(t, 0).Reading })
	return b
}

// act is a word of mutual help.
func (b *bench) act(salt byte, act notice.Act, quantity uint32, ref *crypto.ItemID) *notice.Notice {
	return b.word(notice.KindAssistance, salt, func(n *notice.Notice) {
		n.Ref, n.Assistance = ref, &notice.Assistance{Act: act, Quantity: quantity}
		if act <= notice.ActOffer {
			n.Assistance.What = "beds"
		}
	})
}

// A hostile member signs all that could speak for another: nothing of it changes what
// the other said, and nothing is raised in the other's name.
func TestNobodySpeaksForAnother(t *testing.T) {
	b := running(t)
	var e, h *crypto.Envelope
	says := func(n *notice.Notice) (id crypto.ItemID) {
		id, e = b.told(t, b.author, crypto.Header{}, e, n)
		return id
	}
	lies := func(n *notice.Notice) (id crypto.ItemID) {
		id, h = b.told(t, b.other, crypto.Header{}, h, n)
		return id
	}
	says(b.word(notice.KindProfile, 1, func(n *notice.Notice) {
		n.Profile = &notice.Profile{Name: "Author", Contact: []string{"+353 1 555 0100"}}
	}))
	call := says(b.word(notice.KindMayday, 2, func(n *notice.Notice) { n.Mayday = &notice.Mayday{Text: "ransom note"} }))
	shut := says(b.word(notice.KindService, 3, func(n *notice.Notice) {
		n.Service = &notice.Service{Department: "Stroke unit", State: notice.ServiceClosed}
	}))
	cut := says(b.word(notice.KindLink, 4, func(n *notice.Notice) {
		n.Link = &notice.Link{Supplier: "LIS", Link: "VPN", Direction: notice.DirectionIn, State: notice.LinkCut, At: b.clock.now()}
	}))
	request := says(b.act(5, notice.ActRequest, 3, nil))
	claim := lies(b.act(6, notice.ActClaim, 3, &request))

	for i, ref := range []crypto.ItemID{call, shut, cut, request} {
		lies(b.word(notice.KindRetraction, 10+byte(i), func(n *notice.Notice) { n.Ref = &ref }))
		lies(b.word(notice.KindDispute, 20+byte(i), func(n *notice.Notice) { n.Ref, n.Reason = &ref, "not true" }))
	}
	lies(b.act(30, notice.ActClose, 0, &request))
	lies(b.act(31, notice.ActConfirm, 0, &claim)) // its own claim on another's request
	lies(b.word(notice.KindMayday, 32, func(n *notice.Notice) { n.Mayday, n.Ref = &notice.Mayday{Text: "false alarm"}, &call }))
	lies(b.word(notice.KindProfile, 33, func(n *notice.Notice) {
		n.Profile = &notice.Profile{Name: "author", Contact: []string{"+1 900 THIEF"}}
	}))
	lies(b.word(notice.KindService, 34, func(n *notice.Notice) {
		n.Service = &notice.Service{Department: "Stroke unit", State: notice.ServiceOpen}
	}))
	lies(b.word(notice.KindLink, 35, func(n *notice.Notice) {
		n.Link = &notice.Link{Supplier: "LIS", Link: "VPN", Direction: notice.DirectionIn, State: notice.LinkRestored, At: b.clock.now()}
	}))
	last := lies(b.act(36, notice.ActOffer, 1, &request))

	eventually(t, "all lies are in the picture", func() bool {
		return slices.ContainsFunc(b.situation(t, 0).Assistance, func(v api.HelpView) bool {
			return v.ID == request.String() && slices.ContainsFunc(v.Offers, func(w api.Word) bool { return w.ID == last.String() })
		})
	})
	s := b.situation(t, 0)
	var open api.HelpView
	for _, v := range s.Assistance {
		if v.ID == request.String() {
			open = v
		}
	}
	if open.State != "open" || open.Confirmed != 0 || open.Closed != "" || len(open.Claims) != 1 || open.Claims[0].State != "waiting" || len(open.Refused) != 2 {
		t.Errorf("the request: %+v", open)
	}
	for _, m := range s.Maydays {
		if m.ID == call.String() && (len(m.Disputed) != 0 || m.Contact == nil || m.Contact.Lines[0] != "+353 1 555 0100" || m.Name != "author") {
			t.Errorf("the mayday: %+v", m)
		}
	}
	if len(s.Maydays) != 2 || s.Counts.UnderAttack != 2 {
		t.Errorf("%d maydays, counts %+v; want each under its author's name", len(s.Maydays), s.Counts)
	}
	if !slices.ContainsFunc(s.Services, func(v api.ServiceView) bool { return v.ID == shut.String() && v.State == "closed" }) {
		t.Errorf("services: %+v", s.Services)
	}
	if len(s.Suppliers) != 1 || len(s.Suppliers[0].Cut) != 1 || s.Suppliers[0].Cut[0].ID != cut.String() {
		t.Errorf("suppliers: %+v", s.Suppliers)
	}
	for _, ref := range []crypto.ItemID{call, shut, cut, request} {
		if v, found := b.notice(t, ref.String()); !found || slices.Contains(v.Marks, api.MarkReplaced) {
			t.Errorf("%s of the author: found %v, marks %v", v.Kind, found, v.Marks)
		}
		if !slices.ContainsFunc(b.list(t, 0), func(v api.NoticeView) bool { return v.ID == ref.String() }) { // what was taken back is not listed
			t.Errorf("%s is taken back by another", ref)
		}
	}
	for _, a := range b.alerts(t, "mayday") {
		if strings.Contains(a.Text, "author is under attack") == strings.Contains(a.Text, "false alarm") ||
			strings.HasPrefix(a.Text, "MAYDAY: author") && strings.Contains(a.Text, "THIEF") {
			t.Errorf("alert: %s", a.Text)
		}
	}
	// Signed by another than whom the header names it does not come in at all.
	forged := b.other.Envelope(t, crypto.Header{Time: b.clock.now()}, nil, encode(t, b.act(40, notice.ActClose, 0, &request)))
	header := forged.Header
	header.Author, header.Serial = b.author.ID, b.author.Credential.Serial
	stolen, err := crypto.NewEnvelope(header, [][]byte{encode(t, b.act(41, notice.ActClose, 0, &request))}, b.other.Signing)
	if err != nil {
		t.Fatal(err)
	}
	if got := verdict(b.bring(t.Context(), stolen.Raw, mesh.ViaSync, 0)); got != testkit.WantSignature {
		t.Errorf("an envelope in another's name: %s", got)
	}
	// Nor does the API have a place where another could be named.
	for _, of := range []any{api.Submission{}, api.Parts{}, api.Mayday{}, api.Service{}, api.Assistance{}, api.Link{}, api.Profile{}, api.Question{}, api.Response{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(of)) {
			for _, word := range []string{"Author", "Member", "Subject", "Party", "Signer", "Behalf"} {
				if strings.Contains(f.Name, word) {
					t.Errorf("%T has a field %s: whose word it is, is its signature's to say", of, f.Name)
				}
			}
		}
	}
	for name, c := range map[string]struct {
		s    api.Submission
		want string
	}{
		"retraction": {api.Submission{Kind: "retraction", Ref: call.String()}, "only its author"},
		"mayday":     {api.Submission{Kind: "mayday", Ref: call.String(), Parts: api.Parts{Mayday: &api.Mayday{Text: "over"}}}, "this hospital's own"},
		"close":      {assist("close", request.String(), 0), "only author, who said it, closes it"},
		"confirm":    {assist("confirm", claim.String(), 0), "another hospital asked for"},
	} {
		if refused := b.refusals(t, c.s); len(refused) != 1 || !strings.Contains(refused[0].Reason+refused[0].Fix, c.want) {
			t.Errorf("%s of another's, by the API: %+v", name, refused)
		}
	}
}

// A state of the future is refused where it is said, with the field; from elsewhere it
// is never shown later than it came.
func TestNothingIsSaidOfTheFuture(t *testing.T) {
	b := running(t)
	soon, past := api.Time(b.clock.now()+6*minute), api.Time(b.clock.now()-minute)
	for field, s := range map[string]api.Submission{
		"link.at":          {Kind: "link", Parts: api.Parts{Link: &api.Link{Supplier: "LIS", Link: "VPN", State: "cut", At: soon}}},
		"service.until":    {Kind: "service", Parts: api.Parts{Service: &api.Service{Department: "all", State: "closed", Until: past}}},
		"assistance.until": {Kind: "assistance", Parts: api.Parts{Assistance: &api.Assistance{Act: "request", What: "beds", Until: past}}},
		"first_seen":       {Kind: "sighting", Value: "evil.example", FirstSeen: soon, LastSeen: soon},
		"last_seen":        {Kind: "sighting", Value: "evil.example", FirstSeen: past, LastSeen: soon},
		"valid_until":      {Kind: "indicator", Value: "evil.example", ValidUntil: past},
	} {
		if refused := b.refusals(t, s); len(refused) != 1 || refused[0].Field != field || refused[0].Fix == "" {
			t.Errorf("%s: %+v", field, refused)
		}
	}
	came := b.clock.now()
	var e *crypto.Envelope
	at := came + 365*day
	for i, n := range []*notice.Notice{
		b.word(notice.KindLink, 1, func(n *notice.Notice) {
			n.Created, n.Link = at, &notice.Link{Supplier: "LIS", Link: "VPN", Direction: notice.DirectionIn, State: notice.LinkCut, At: at}
		}),
		b.word(notice.KindService, 2, func(n *notice.Notice) {
			n.Created, n.Service = at, &notice.Service{Department: "all", State: notice.ServiceClosed}
		}),
		b.act(3, notice.ActRequest, 1, nil),
	} {
		n.Created = at
		_, e = b.told(t, b.author, crypto.Header{Urgent: true, Time: at + int64(i), Expiry: at + 300*day}, e, n)
	}
	// Of an ordinary word the header is true, and what is in it may lie.
	lie := b.act(4, notice.ActOffer, 1, nil)
	lie.Created = at
	b.told(t, b.other, crypto.Header{Expiry: came + 300*day}, nil, lie)
	eventually(t, "all is in the picture", func() bool { s := b.situation(t, 0); return len(s.Assistance) == 2 && len(s.Suppliers) == 1 })
	s, now := b.situation(t, 0), api.Time(b.clock.now())
	said := []api.Time{s.Suppliers[0].Line[0].Said, s.Suppliers[0].Line[0].At, s.Services[0].Said, s.Assistance[0].Said, s.Assistance[1].Said}
	for i, at := range said {
		if at > now || at < api.Time(came-minute) {
			t.Errorf("time %d is %d s after now", i, (at-now)/1000)
		}
	}
}

// A mayday raises the alert at once whatever its author's clock says, and says so; and
// the same clock takes it back.
func TestMaydayByAnyClock(t *testing.T) {
	for name, off := range map[string]int64{
		"right": 0, "3 days ahead": 3 * day, "3 days behind": -3 * day, "a year ahead": 365 * day, "a year behind": -365 * day,
		"5 years behind": -5 * 365 * day, "1970": 0,
	} {
		for via, by := range vias {
			if name == "5 years behind" && via == "sync" {
				continue // what is caught up with may be as old as that, and has expired then
			}
			t.Run(name+"/"+via, func(t *testing.T) {
				t.Parallel()
				b := running(t)
				at := b.clock.now() + off
				if name == "1970" {
					at = minute
				}
				call := b.word(notice.KindMayday, 1, func(n *notice.Notice) { n.Created, n.Mayday = at, &notice.Mayday{Text: "ransom note"} })
				raw := encode(t, call)
				e := b.author.Envelope(t, crypto.Header{Urgent: true, Time: at, Expiry: at + 400*day}, nil, raw)
				b.takes(t, e, by)
				eventually(t, "the alert", func() bool { return len(b.alerts(t, "mayday")) == 1 })
				off := name != "right"
				if via == "sync" && at < b.clock.now() && at >= testkit.Founded { // it may have been said then
					off = false
				}
				a := b.alerts(t, "mayday")[0]
				if a.Severity != "critical" || strings.Contains(a.Text, "clock is off") != off {
					t.Errorf("alert: %s %s, clock off %v", a.Severity, a.Text, off)
				}
				eventually(t, "it is in the picture", func() bool { return len(b.situation(t, 0).Maydays) == 1 })
				if m := b.situation(t, 0).Maydays[0]; m.ClockOff != off || m.Said > api.Time(b.clock.now()) || off && m.Said < api.Time(b.clock.now()-minute) {
					t.Errorf("shown: %+v, clock off %v", m, off)
				}
			})
		}
	}
}

// What is closed is claimed by nobody: the claim is refused where it is made, and one
// that comes is too late and is not confirmed, by this node or a person.
func TestClaimOnWhatIsClosed(t *testing.T) {
	b := newBench(t)
	own := b.submit(t, api.SubmitOptions{}, assist("request", "", 5))[0]
	ref, err := crypto.ParseItemID(own.ID)
	if err != nil {
		t.Fatal(err)
	}
	b.submit(t, api.SubmitOptions{}, assist("close", own.ID, 0))
	late, _ := b.told(t, b.other, crypto.Header{}, nil, b.act(1, notice.ActClaim, 1, &ref))
	b.heeded(t)
	if refused := b.refusals(t, assist("confirm", late.String(), 0)); len(refused) != 1 || refused[0].Reason != "the request is closed" || refused[0].Field != "ref" {
		t.Errorf("a confirm of a claim on what is closed: %+v", refused)
	}
	theirs, e := b.told(t, b.author, crypto.Header{}, nil, b.act(2, notice.ActRequest, 5, nil))
	b.told(t, b.author, crypto.Header{}, e, b.act(3, notice.ActClose, 0, &theirs))
	if refused := b.refusals(t, assist("claim", theirs.String(), 1)); len(refused) != 1 || refused[0].Reason != "the request is closed" {
		t.Errorf("a claim on what is closed: %+v", refused)
	}
	b.start(t, nil)
	eventually(t, "the claim is shown as too late", func() bool {
		return slices.ContainsFunc(b.situation(t, 0).Assistance, func(h api.HelpView) bool {
			return h.ID == own.ID && h.State == "closed" && h.Confirmed == 0 && len(h.Claims) == 1 && h.Claims[0].State == "too late"
		})
	})
}

// Claims without end on one request make this node say little, and a claim of another
// is confirmed all the same. Others' words on the request do not hide that it is closed.
func TestFloodOfClaims(t *testing.T) {
	b := newBench(t)
	own := b.submit(t, api.SubmitOptions{}, assist("request", "", 1_000_000))[0]
	ref, err := crypto.ParseItemID(own.ID)
	if err != nil {
		t.Fatal(err)
	}
	var e *crypto.Envelope
	for range 4 {
		e = b.floods(t, b.other, e, 512, func(i int) *notice.Notice { return b.act(0, notice.ActClaim, 1, &ref) })
	}
	drill := b.author.Envelope(t, crypto.Header{Time: b.clock.now(), Exercise: true}, nil, encode(t, b.act(7, notice.ActClaim, 5, &ref)))
	b.takes(t, drill, mesh.ViaSync)
	honest, _ := b.told(t, b.author, crypto.Header{}, drill, b.act(8, notice.ActClaim, 1, &ref))
	start := time.Now()
	b.heeded(t)
	b.heeded(t)
	t.Logf("2,050 claims are heeded in %s", time.Since(start).Round(time.Millisecond))
	confirmed := map[string]bool{}
	for _, v := range b.list(t, notice.KindAssistance) {
		if v.Assistance.Act == "confirm" {
			confirmed[v.Ref] = true
		}
	}
	if len(confirmed) != 9 || !confirmed[honest.String()] {
		t.Errorf("%d claims are confirmed, the honest one %v", len(confirmed), confirmed[honest.String()])
	}
	b.submit(t, api.SubmitOptions{}, assist("close", own.ID, 0))
	more, _ := b.told(t, b.other, crypto.Header{}, e, b.act(9, notice.ActClaim, 1, &ref))
	if refused := b.refusals(t, assist("confirm", more.String(), 0)); len(refused) != 1 || refused[0].Reason != "the request is closed" {
		t.Errorf("behind so many claims nobody sees that it is closed: %+v", refused)
	}
}

// floods brings an envelope of many words of one member.
func (b *bench) floods(t testing.TB, m *testkit.Member, prev *crypto.Envelope, words int, word func(i int) *notice.Notice) *crypto.Envelope {
	t.Helper()
	items := make([][]byte, words)
	for i := range items {
		n := word(i)
		n.Salt = [16]byte{1, byte(i), byte(i >> 8), 9}
		if prev != nil {
			n.Salt[4] = byte(prev.Header.Seq)
		}
		items[i] = encode(t, n)
	}
	e := m.Envelope(t, crypto.Header{Time: b.clock.now(), Expiry: b.clock.now() + 300*day}, prev, items...)
	b.takes(t, e, mesh.ViaDirect)
	return e
}

// 10,000 words of any kind of one member: it is muted, which alerts, status and picture
// say with how many words were put aside; room is bounded, the picture stays one that
// can be read, and what others say is heard at once, and a mayday of its own is too.
func TestFloodOfWords(t *testing.T) {
	const words, each, goal = 10_000, 500, time.Second
	for _, c := range []struct {
		name string
		word func(b *bench, i int) *notice.Notice
	}{
		{"requests", func(b *bench, i int) *notice.Notice { return b.act(0, notice.ActRequest, uint32(i)+1, nil) }},
		{"maydays", func(b *bench, i int) *notice.Notice {
			return b.word(notice.KindMayday, 0, func(n *notice.Notice) { n.Mayday = &notice.Mayday{Text: fmt.Sprint("call ", i)} })
		}},
		{"questions", func(b *bench, i int) *notice.Notice {
			return b.word(notice.KindQuestion, 0, func(n *notice.Notice) {
				n.Indicator = &notice.Indicator{Type: notice.TypeDomain, Value: fmt.Sprintf("q%d.example", i)}
			})
		}},
		{"links", func(b *bench, i int) *notice.Notice {
			return b.word(notice.KindLink, 0, func(n *notice.Notice) {
				n.Link = &notice.Link{Supplier: fmt.Sprint("S", i), Link: "VPN", Direction: notice.DirectionIn, State: notice.LinkCut, At: b.clock.now()}
			})
		}},
		{"services", func(b *bench, i int) *notice.Notice {
			return b.word(notice.KindService, 0, func(n *notice.Notice) {
				n.Service = &notice.Service{Department: fmt.Sprint("Ward ", i), State: notice.ServiceClosed}
			})
		}},
		{"profiles", func(b *bench, i int) *notice.Notice {
			return b.word(notice.KindProfile, 0, func(n *notice.Notice) {
				n.Profile = &notice.Profile{Name: fmt.Sprint("N", i), Contact: []string{"+0"}}
			})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := running(t)
			b.clock.stop() // or a slow machine gives some of the budget back
			old, first := b.told(t, b.other, crypto.Header{}, nil, b.act(1, notice.ActRequest, 3, nil))
			var e *crypto.Envelope
			for i := 0; i < words; i += each {
				e = b.floods(t, b.author, e, each, func(j int) *notice.Notice { return c.word(b, i+j) })
			}
			start := time.Now()
			b.told(t, b.other, crypto.Header{Urgent: true}, first, b.word(notice.KindMayday, 2, func(n *notice.Notice) { n.Mayday = &notice.Mayday{Text: "true alarm"} }))
			raised := func(text string) bool {
				return slices.ContainsFunc(b.alerts(t, "mayday"), func(a api.AlertView) bool { return strings.Contains(a.Text, text) })
			}
			eventually(t, "the mayday of another", func() bool { return raised("true alarm") })
			took := time.Since(start)
			stats, err := b.Store().Stats()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("mayday of another to its alert %s after %d words; %d bytes on disk", took.Round(time.Millisecond), words, stats.DiskBytes)
			if took > goal || stats.DiskBytes > 64<<20 {
				t.Errorf("more than %s, or more than 64 MiB", goal)
			}
			status, err := b.Status(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			const aside = "author says too much at once and is muted: 9000 of its words are kept here and not handed on at once"
			if !slices.Contains(status.Warnings, aside) || len(b.alerts(t, "flood")) != 1 {
				t.Errorf("warnings %q, %d alerts", status.Warnings, len(b.alerts(t, "flood")))
			}
			if members, err := b.Members(t.Context(), 0); err != nil || !slices.ContainsFunc(members, func(v api.MemberView) bool {
				return slices.Contains(v.Marks, "muted: says too much at once, 9000 words put aside")
			}) {
				t.Errorf("no member is marked: %v", err)
			}
			eventuallyIn(t, time.Minute, "the picture has it all", func() bool { return len(b.situation(t, 0).Maydays) >= 1 })
			picture, err := b.Situation(t.Context(), 1, 0)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(picture.Health.Warnings, aside) {
				t.Errorf("the picture does not say who is muted: %q", picture.Health.Warnings)
			}
			shelf := map[string]string{"requests": "192", "services": "192", "links": "192"}[c.name] // 256 are held, 64 shown
			if said := slices.ContainsFunc(picture.Health.Warnings, func(w string) bool {
				return strings.Contains(w, "author says so much that "+shelf+" of its words are not shown here")
			}); said != (shelf != "") {
				t.Errorf("the picture does not say what is not shown: %q", picture.Health.Warnings)
			}
			if !slices.ContainsFunc(picture.Assistance, func(h api.HelpView) bool { return h.ID == old.String() }) {
				t.Error("the request of another is not shown")
			}
			if lines := len(picture.Assistance) + len(picture.Services) + len(picture.Suppliers) + len(picture.Questions) + len(picture.Maydays); lines > 70 || len(picture.Changes) > 200 {
				t.Errorf("%d lines and %d changes", lines, len(picture.Changes))
			}
			// Who is muted may be under attack for all that.
			checked, err := b.Path().Check(b.author.Envelope(t, crypto.Header{Time: b.clock.now(), Urgent: true, Expiry: b.clock.now() + 300*day}, e,
				encode(t, b.word(notice.KindMayday, 3, func(n *notice.Notice) { n.Mayday = &notice.Mayday{Text: "us too"} }))).Raw, mesh.ViaDirect, crypto.Region{}, 0)
			if err != nil || checked.Muted {
				t.Fatalf("the urgent word of who is muted: %+v, %v", checked, err)
			}
			if err := b.Path().Admit(t.Context(), []*mesh.Checked{checked}); err != nil {
				t.Fatal(err)
			}
			if c.name != "maydays" { // of those one has alerted
				eventually(t, "the mayday of who is muted", func() bool { return raised("us too") })
			}
		})
	}
}

// However many maydays and other words of one member wait to be heeded, the mayday of
// another is the next but one. Nobody is alerted twice when the rest has its turn, nor
// after a crash.
func TestMaydayWaitsForNoWord(t *testing.T) {
	b := newBench(t)
	b.clock.stop()
	alerts := func() string {
		t.Helper()
		all, err := b.Store().Alerts(0, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		var who []string
		for _, a := range slices.Backward(all) {
			if a.Kind == "mayday" {
				who = append(who, strings.Fields(a.Text)[1])
			}
		}
		return strings.Join(who, " ")
	}
	call := func(i int) *notice.Notice {
		return b.word(notice.KindMayday, 0, func(n *notice.Notice) { n.Mayday = &notice.Mayday{Text: fmt.Sprint("call ", i)} })
	}
	question := func(i int) *notice.Notice {
		return b.word(notice.KindQuestion, 0, func(n *notice.Notice) {
			n.Indicator = &notice.Indicator{Type: notice.TypeDomain, Value: fmt.Sprintf("q%d.example", i)}
		})
	}
	e := b.floods(t, b.author, b.floods(t, b.author, nil, 500, question), 500, call)
	_, first := b.told(t, b.other, crypto.Header{Urgent: true}, nil, call(500))
	e = b.floods(t, b.author, e, 500, call)
	for range 2 {
		if more, err := b.HeedMayday(); err != nil || !more {
			t.Fatalf("a mayday waits: %v, %v", more, err)
		}
	}
	if got := alerts(); got != "author other" {
		t.Fatalf("after two maydays have had their turn alerts are of %q", got)
	}
	left := 0
	for more := true; more; left++ {
		var err error
		if more, err = b.HeedMayday(); err != nil {
			t.Fatal(err)
		}
	}
	if left != node.CallsMax { // one had its turn, and the last found none
		t.Errorf("%d maydays of 1,000 had a turn, want %d", left, node.CallsMax)
	}
	b.heeded(t)
	if got := alerts(); got != "author other" {
		t.Errorf("when all is heeded alerts are of %q", got)
	}
	b.clock.advance(11 * time.Minute) // both may call again
	b.told(t, b.other, crypto.Header{Urgent: true}, first, call(501))
	b.floods(t, b.author, e, 500, call)
	for range 2 { // a crash before anything is heeded, and one after
		b.stop(t)
		b.open(t)
		b.heeded(t)
	}
	if got := strings.Count(alerts(), "other"); got != 2 || strings.Count(alerts(), "author") != 2 {
		t.Errorf("after a crash alerts are of %q", alerts())
	}
}

// A mayday that is taken back just before people are alerted is told to be taken back
// after, and one that was never alerted of is not.
func TestMaydayTakenBackBeforeItsAlert(t *testing.T) {
	b := newBench(t)
	id, e := b.told(t, b.author, crypto.Header{Urgent: true}, nil, b.word(notice.KindMayday, 1, func(n *notice.Notice) { n.Mayday = &notice.Mayday{Text: "ransom note"} }))
	read, found, err := b.Store().Record(id)
	if err != nil || !found {
		t.Fatalf("the mayday is here: %v, %v", found, err)
	}
	b.told(t, b.author, crypto.Header{}, e, b.word(notice.KindRetraction, 2, func(n *notice.Notice) { n.Ref = &id }))
	if alerts := b.heeded(t); len(alerts) != 0 {
		t.Fatalf("nobody was alerted, and is told of it: %+v", alerts)
	}
	if err := b.HeedAsRead(read); err != nil {
		t.Fatal(err)
	}
	if alerts := b.heeded(t); len(alerts) != 2 || alerts[0].Kind != "mayday-back" || alerts[1].Kind != "mayday" {
		t.Errorf("alerts: %+v", alerts)
	}
}
