package node_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// newAskBench is a bench with a policy for questions.
func newAskBench(t testing.TB, policy string) *bench {
	t.Helper()
	b := benchAt(t, t.TempDir(), &clock{})
	path := filepath.Join(b.dir, node.ConfigFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(text, []byte(`#answer = "person"`), []byte(`answer = "`+policy+`"`), 1)
	if bytes.Equal(changed, text) {
		t.Fatal("the configuration has no policy")
	}
	if err := os.WriteFile(path, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	b.open(t)
	return b
}

func (b *bench) question(t testing.TB, salt byte, value string) *notice.Notice {
	t.Helper()
	i, err := notice.Detect(value, notice.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return b.word(notice.KindQuestion, salt, func(n *notice.Notice) { n.Indicator = &i })
}

// answered are the values that this node has answered, with its last answer.
func (b *bench) answered(t testing.TB) map[string]string {
	t.Helper()
	b.heeded(t)
	out := map[string]string{}
	for _, v := range b.list(t, notice.KindResponse) {
		ref, err := crypto.ParseItemID(v.Ref)
		if err != nil {
			t.Fatal(err)
		}
		r, found, err := b.Store().Record(ref)
		if err != nil || !found {
			t.Fatalf("an answer to nothing: %+v, %v", v, err)
		}
		if value := r.Notice.Indicator.Value; out[value] == "" {
			out[value] = v.Response.Answer
		} else {
			t.Errorf("%s is answered twice", value)
		}
	}
	return out
}

// A node answers by itself as far as its policy allows and no further: never what would
// tell anybody something new, and not a word of what is kept here.
func TestOwnAnswers(t *testing.T) {
	amber := crypto.Header{TLP: uint8(notice.TLPAmber)}
	green := crypto.Header{TLP: uint8(notice.TLPGreen), Audience: crypto.AudienceCommunity}
	for policy, want := range map[string]map[string]string{
		config.AnswerPerson: {},
		config.AnswerSeen:   {"amber.example": "seen", "green.example": "seen", "green-of-green.example": "seen"},
		config.AnswerAll: {"amber.example": "seen", "green.example": "seen", "green-of-green.example": "seen",
			"nothing.example": "not-seen", "back.example": "not-seen"},
	} {
		t.Run(policy, func(t *testing.T) {
			b := newAskBench(t, policy)
			say := func(value, tlp string) string {
				s := sighting(value, b.clock.now())
				s.TLP = tlp
				return b.submit(t, api.SubmitOptions{}, s)[0].ID
			}
			say("amber.example", "AMBER")
			say("green.example", "GREEN")
			say("green-of-green.example", "GREEN")
			say("amber-of-green.example", "AMBER")
			say("drill.example", "AMBER")
			say("old.example", "AMBER")
			say("by-hand.example", "AMBER")
			back := say("back.example", "AMBER")
			disputed := say("disputed.example", "AMBER")
			if err := b.SignNow(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.submit(t, api.SubmitOptions{}, api.Submission{Kind: "retraction", Ref: back}, api.Submission{Kind: "dispute", Ref: disputed, Reason: "ours"})
			b.submit(t, api.SubmitOptions{Local: true}, sighting("local.example", b.clock.now()), sighting("parent.example", b.clock.now()),
				api.Submission{Kind: "indicator", Value: "imported.example"})
			if err := b.SignNow(t.Context()); err != nil {
				t.Fatal(err)
			}
			say("waiting.example", "AMBER")

			// Two ask, each within what is answered in an hour.
			last := map[*testkit.Member]*crypto.Envelope{}
			salt := byte(0)
			ask := func(m *testkit.Member, h crypto.Header, value string) crypto.ItemID {
				salt++
				word := b.question(t, salt, value)
				if h.Time != 0 {
					word.Created = h.Time
				}
				before := last[m]
				if h.Audience == crypto.AudienceCommunity { // another chain
					before = last[nil]
				}
				id, e := b.told(t, m, h, before, word)
				if h.Audience == crypto.AudienceCommunity {
					last[nil] = e
				} else {
					last[m] = e
				}
				return id
			}
			old := amber
			old.Time = b.clock.now() - 8*day
			ask(b.author, old, "old.example")
			drill := amber
			drill.Exercise = true
			ask(b.author, drill, "drill.example")
			byHand := ask(b.author, amber, "by-hand.example")
			b.submit(t, api.SubmitOptions{}, api.Submission{Kind: "response", Ref: byHand.String(), Parts: api.Parts{Response: &api.Response{Answer: "unknown"}}})
			for _, v := range []string{"amber.example", "green.example", "disputed.example", "imported.example", "local.example", "nothing.example"} {
				ask(b.author, amber, v)
			}
			for _, v := range []string{"sub.parent.example", "waiting.example", "back.example"} {
				ask(b.other, amber, v)
			}
			for _, v := range []string{"green-of-green.example", "amber-of-green.example", "nothing-of-green.example"} {
				ask(b.other, green, v)
			}
			withHand := maps.Clone(want)
			withHand["by-hand.example"] = "unknown"
			if got := b.answered(t); !maps.Equal(got, withHand) {
				t.Errorf("answered %v\nwant %v", got, withHand)
			}
			// What it said it says once, also after a restart and when it was taken back.
			for _, v := range b.list(t, notice.KindResponse) {
				b.submit(t, api.SubmitOptions{}, api.Submission{Kind: "retraction", Ref: v.ID})
			}
			b.stop(t)
			b.open(t)
			if got := b.answered(t); len(got) != 0 {
				t.Errorf("after a restart: answered again %v", got)
			}
		})
	}
}

// What is sealed is for the people that it names: no machine answers it.
func TestSealedQuestionIsForAPerson(t *testing.T) {
	i := &notice.Indicator{Type: notice.TypeDomain, Value: "evil.example"}
	q := store.Record{Notice: &notice.Notice{Kind: notice.KindQuestion, Indicator: i}, TLP: notice.TLPAmberStrict, Audience: crypto.AudienceRegion}
	own := []store.Record{{Notice: &notice.Notice{Kind: notice.KindSighting, Indicator: i}, TLP: notice.TLPAmber, Audience: crypto.AudienceRegion, State: store.Signed}}
	if got := node.OwnAnswer(config.AnswerAll, q, own); got != notice.AnswerSeen {
		t.Fatalf("in the open: %s", got)
	}
	q.Audience = crypto.AudienceNamed
	if got := node.OwnAnswer(config.AnswerAll, q, own); got != 0 {
		t.Errorf("sealed: %s", got)
	}
	own[0].Audience = crypto.AudienceNamed
	q.Audience = crypto.AudienceRegion
	if got := node.OwnAnswer(config.AnswerAll, q, own); got != 0 {
		t.Errorf("what was told to some: %s", got)
	}
}

// Who asks much gets few answers an hour, also after a restart, and takes no others'.
func TestManyQuestionsGetFewAnswers(t *testing.T) {
	b := newAskBench(t, config.AnswerAll)
	var last *crypto.Envelope
	many := func(from int) {
		var items [][]byte
		for i := range 150 { // fewer than a mute takes
			q := b.question(t, byte(i), fmt.Sprintf("q-%d.example", from+i))
			q.Salt[2] = byte(i >> 8)
			items = append(items, encode(t, q))
		}
		last = b.author.Envelope(t, crypto.Header{Time: b.clock.now(), TLP: uint8(notice.TLPAmber)}, last, items...)
		b.takes(t, last, mesh.ViaSync)
	}
	many(0)
	many(150)
	many(300)
	if got := len(b.answered(t)); got != 10 {
		t.Fatalf("%d answers to one member in an hour, want 10", got)
	}
	b.told(t, b.other, crypto.Header{TLP: uint8(notice.TLPAmber)}, nil, b.question(t, 1, "others.example"))
	if got := b.answered(t); got["others.example"] != "not-seen" || len(got) != 11 {
		t.Errorf("another member got %q of %d answers", got["others.example"], len(got))
	}
	b.stop(t)
	b.open(t)
	many(1500)
	if got := len(b.answered(t)); got != 11 {
		t.Errorf("%d answers after a restart, want 11", got)
	}
	b.clock.advance(61 * time.Minute)
	many(2000)
	if got := len(b.answered(t)); got != 21 {
		t.Errorf("%d answers an hour later, want 21", got)
	}
}

// A question pages nobody, unless it is of what this hospital saw and told nobody of.
func TestQuestionOfWhatIsKeptAlerts(t *testing.T) {
	b := newBench(t)
	b.submit(t, api.SubmitOptions{Local: true}, sighting("kept.example", b.clock.now()), api.Submission{Kind: "indicator", Value: "read.example"})
	b.submit(t, api.SubmitOptions{TLP: notice.TLPAmber}, sighting("told.example", b.clock.now()))
	if err := b.SignNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	var last *crypto.Envelope
	for i, v := range []string{"told.example", "read.example", "nothing.example", "sub.kept.example", "kept.example", "kept.example"} {
		_, last = b.told(t, b.author, crypto.Header{TLP: uint8(notice.TLPAmber)}, last, b.question(t, byte(i), v))
	}
	alerts := b.heeded(t)
	var texts []string
	for _, a := range alerts {
		texts = append(texts, a.Text)
		if a.Kind != "question" || a.Severity != "warning" || a.TLP != notice.TLPAmberStrict {
			t.Errorf("alert %+v", a)
		}
	}
	slices.Sort(texts)
	if len(texts) != 2 || !strings.Contains(texts[0], "author asks who has seen domain kept.example. This hospital has (last ") ||
		!strings.HasSuffix(texts[0], "), and has not shared it. Decide what they may know: watchward respond") || !strings.Contains(texts[1], "domain sub.kept.example") {
		t.Errorf("alerts: %q", texts)
	}
	if len(b.list(t, notice.KindResponse)) != 0 {
		t.Error("a person decides, and the node has answered")
	}
}

// What waits for a person is listed with what this hospital has seen, in turns.
func TestOpenQuestions(t *testing.T) {
	b := newBench(t)
	kept := b.submit(t, api.SubmitOptions{Local: true}, sighting("kept.example", b.clock.now()))[0].ID
	b.submit(t, api.SubmitOptions{TLP: notice.TLPAmber}, sighting("told.example", b.clock.now()), api.Submission{Kind: "question", Value: "own.example"})
	var last *crypto.Envelope
	amber := crypto.Header{TLP: uint8(notice.TLPAmber)}
	ids := map[string]crypto.ItemID{}
	for i, v := range []string{"one.example", "two.example", "told.example", "sub.kept.example", "three.example"} {
		ids[v], last = b.told(t, b.author, amber, last, b.question(t, byte(i), v))
		b.clock.advance(time.Millisecond) // what is asked in the same one has no order
	}
	ids["kept.example"], _ = b.told(t, b.other, amber, nil, b.question(t, 9, "kept.example"))
	_, _ = b.told(t, b.author, amber, last, b.word(notice.KindResponse, 50, func(n *notice.Notice) {
		id := ids["kept.example"]
		n.Ref, n.Response = &id, &notice.Response{Answer: notice.AnswerNotSeen}
	}))
	b.start(t, nil)
	listed := func(ceiling notice.TLP) (values []string, all api.QuestionsAnswer) {
		t.Helper()
		all, err := b.Questions(t.Context(), ceiling)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range all.Questions {
			values = append(values, q.Indicator.Value)
		}
		return values, all
	}
	want := []string{"one.example", "kept.example", "two.example", "sub.kept.example", "three.example"}
	eventually(t, "all open questions are listed", func() bool { got, _ := listed(0); return slices.Equal(got, want) })
	_, all := listed(0)
	q := all.Questions[1]
	if q.Own == nil || q.Own.Count != 1 || !q.Own.Kept || !slices.Equal(q.Own.IDs, []string{kept}) || len(q.Answers) != 1 || q.Answers[0].Answer != "not-seen" || all.Questions[0].Own != nil {
		t.Errorf("of what was kept: %+v, %+v; of what was not seen: %+v", q.Own, q.Answers, all.Questions[0].Own)
	}
	if o := all.Questions[3].Own; o == nil || !slices.Equal(o.Values, []string{"kept.example"}) {
		t.Errorf("of a name under it: %+v", o)
	}
	if s, err := b.Status(t.Context(), 0); err != nil || s.Questions != 5 {
		t.Errorf("status: %d questions, %v", s.Questions, err)
	}
	if got, green := listed(notice.TLPGreen); len(got) != 0 {
		t.Errorf("under GREEN: %+v", green)
	}
	if _, amber := listed(notice.TLPAmber); len(amber.Questions) != 5 || amber.Questions[1].Own != nil {
		t.Errorf("under AMBER what is unmarked shows: %+v", amber.Questions[1].Own)
	}
	b.submit(t, api.SubmitOptions{}, api.Submission{Kind: "response", Ref: ids["one.example"].String(), Parts: api.Parts{Response: &api.Response{Answer: "unknown"}}})
	eventually(t, "what was answered is not listed", func() bool { got, _ := listed(0); return !slices.Contains(got, "one.example") && len(got) == 4 })
}

// Who was alerted of a mayday hears once that it was taken back, when none is open any
// more, and that a coordinator disputes it; nobody else's dispute is told.
func TestWhatBecomesOfAMayday(t *testing.T) {
	b := newBench(t)
	b.clock.advance(time.Duration(10*minute-b.clock.now()%(10*minute)) * time.Millisecond) // ten minutes begin
	boss := b.region.AdmitAs(t, trust.RoleCoordinator, "boss")[0]
	b.adds(t, [][]byte{boss.Record})
	var last *crypto.Envelope
	salt := byte(0)
	say := func(m *testkit.Member, kind notice.Kind, before *crypto.Envelope, fill func(*notice.Notice)) (crypto.ItemID, *crypto.Envelope) {
		t.Helper()
		salt++
		return b.told(t, m, crypto.Header{TLP: uint8(notice.TLPAmber)}, before, b.word(kind, salt, fill))
	}
	call := func(text string, ref *crypto.ItemID) (id crypto.ItemID) {
		t.Helper()
		id, last = say(b.author, notice.KindMayday, last, func(n *notice.Notice) { n.Mayday, n.Ref = &notice.Mayday{Text: text}, ref })
		return id
	}
	back := func(id crypto.ItemID, reason string) {
		t.Helper()
		_, last = say(b.author, notice.KindRetraction, last, func(n *notice.Notice) { n.Ref, n.Reason = &id, reason })
	}
	alerts := func(kind string) (out []store.Alert) {
		t.Helper()
		for _, a := range b.heeded(t) {
			if a.Kind == kind {
				out = append(out, a)
			}
		}
		return out
	}
	one := call("ransom note", nil)
	b.heeded(t)
	b.clock.advance(20 * time.Minute)
	two := call("the whole domain", &one)
	if n := len(alerts("mayday")); n != 2 {
		t.Fatalf("%d maydays alert", n)
	}

	_, others := say(b.other, notice.KindDispute, nil, func(n *notice.Notice) { n.Ref, n.Reason = &two, "never" })
	if got := alerts("mayday-disputed"); len(got) != 0 {
		t.Errorf("a member's dispute is told: %+v", got)
	}
	say(b.other, notice.KindRetraction, others, func(n *notice.Notice) { n.Ref = &two })
	dispute, bosses := say(boss, notice.KindDispute, nil, func(n *notice.Notice) { n.Ref, n.Reason = &two, "their duty officer knows of nothing." })
	_, _ = say(boss, notice.KindDispute, bosses, func(n *notice.Notice) { n.Ref, n.Reason = &two, "and again" })
	got := alerts("mayday-disputed")
	if len(got) != 1 || got[0].Severity != "warning" || !slices.Equal(got[0].Refs, []crypto.ItemID{two, dispute}) ||
		got[0].Text != "boss, a coordinator, disputes the mayday of author: their duty officer knows of nothing. It stands until it is taken back: call both." {
		t.Errorf("disputed: %+v", got)
	}

	back(two, "")
	if got := alerts("mayday-back"); len(got) != 0 {
		t.Errorf("one is open, and it is told that none is: %+v", got)
	}
	b.stop(t)
	b.open(t)
	back(one, "a drill of our supplier.")
	b.stop(t) // before it was heeded
	b.open(t)
	got = alerts("mayday-back")
	if len(got) != 1 || got[0].Severity != "warning" || got[0].TLP != notice.TLPAmber ||
		!strings.HasPrefix(got[0].Text, "author takes its mayday back") || !strings.HasSuffix(got[0].Text, ". Call back all the same: a stolen key can lie.") {
		t.Errorf("taken back: %+v", got)
	}
	if got := alerts("mayday-disputed"); len(got) != 1 {
		t.Errorf("disputed: %d alerts after a restart", len(got))
	}

	// A call that was taken back before anybody heard of it tells nobody anything.
	b.clock.advance(20 * time.Minute)
	back(call("a slip", nil), "")
	if got := len(alerts("mayday-back")); got != 1 || len(alerts("mayday")) != 2 {
		t.Errorf("%d alerts that a mayday is over", got)
	}
	b.clock.advance(20 * time.Minute)
	again := call("it is real", nil)
	b.heeded(t)
	back(again, "over")
	if got := alerts("mayday-back"); len(got) != 2 || got[0].Text != "author takes its mayday back: over. Call back all the same: a stolen key can lie." {
		t.Errorf("the second: %+v", got)
	}
}
