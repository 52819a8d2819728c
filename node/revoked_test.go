package node_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// revoke is what the coordinators decide: the records that end a serial.
func revoke(t testing.TB, charter *trust.Charter, key *crypto.PrivateKey, c *trust.Credential, now int64, cuts ...trust.Cut) [][]byte {
	t.Helper()
	st, err := trust.Revoking(charter, c, cuts, now)
	if err != nil {
		t.Fatal(err)
	}
	records, err := trust.Act(charter, []*crypto.PrivateKey{key}, now, st)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func cutAt(e *crypto.Envelope) trust.Cut {
	h := &e.Header
	return trust.Cut{Audience: h.Audience, Epoch: h.Epoch, Seq: h.Seq, ID: e.ID}
}

// adds takes trust records in, all of which must be good.
func (b *bench) adds(t testing.TB, records [][]byte) {
	t.Helper()
	if err := b.Path().AddTrust(t.Context(), records); err != nil {
		t.Fatal(err)
	}
}

// knowsOnly checks what is known of all values of a test.
func (b *bench) knowsOnly(t testing.TB, when string, known []string, not ...string) {
	t.Helper()
	for _, v := range known {
		if !b.knows(t, v) {
			t.Errorf("%s: %s is not known", when, v)
		}
	}
	for _, v := range not {
		if b.knows(t, v) {
			t.Errorf("%s: %s is known", when, v)
		}
	}
}

// A thief says things after its victim's last word and in its victim's places.
// When the key is revoked nothing of it stays, and all that is honest does.
func TestRevocationWithdrawsWhatLiesBeyondTheCut(t *testing.T) {
	b := newBench(t)
	say := func(prev *crypto.Envelope, value string) *crypto.Envelope {
		return b.author.Envelope(t, crypto.Header{Time: b.clock.now()}, prev, b.item(t, value))
	}
	one := say(nil, "one.example")
	two := say(one, "two.example")
	three := say(two, "three.example")
	forked := say(one, "forked.example")
	beyond := say(three, "beyond.example")
	unlinked := say(forked, "unlinked.example")
	elsewhere := b.author.Envelope(t, crypto.Header{Time: b.clock.now(), Epoch: 2}, nil, b.item(t, "elsewhere.example"))
	for _, e := range []*crypto.Envelope{one, forked, two, three, beyond, elsewhere} {
		if err := b.bring(t.Context(), e.Raw, mesh.ViaSync, e.Header.Audience); err != nil {
			t.Fatal(err)
		}
	}
	honest, stolen := []string{"one.example", "two.example", "three.example"}, []string{"forked.example", "beyond.example", "elsewhere.example"}
	b.knowsOnly(t, "before", append(honest, stolen...))

	b.adds(t, revoke(t, b.region.Charter, b.region.Admission, b.author.Credential, b.clock.now(), cutAt(three)))
	b.knowsOnly(t, "revoked", honest, stolen...)
	h, _ := b.Store().Frontier().Get(three.Header.Chain())
	if h.Highest() != 3 || h.Top != three.ID || len(h.Forks) != 0 || len(h.Ranges) != 1 {
		t.Errorf("it holds %+v", h)
	}
	if h, _ := b.Store().Frontier().Get(elsewhere.Header.Chain()); len(h.Ranges) != 0 {
		t.Errorf("of a chain without a cut it holds %+v", h)
	}
	said := b.alerts(t, "revoked")
	if len(said) != 1 || !strings.Contains(said[0].Text, "3 of its notices are withdrawn") || len(said[0].Refs) != 3 {
		t.Errorf("alerts: %+v", said)
	}
	view, found := b.notice(t, said[0].Refs[0])
	if !found || !strings.Contains(strings.Join(view.Marks, ","), "withdrawn: ") {
		t.Errorf("what is withdrawn is shown as %+v, found %t", view, found)
	}

	// Nothing more comes of it, whatever way.
	for name, via := range vias {
		for _, e := range []*crypto.Envelope{forked, beyond, elsewhere, say(beyond, "late.example"), unlinked} {
			if name == "gossip" && e == unlinked {
				continue // a number that is taken: no step before the cut tells
			}
			b.says(t, e.Raw, via, "revoked")
		}
	}
	if got := verdict(b.bring(t.Context(), say(two, "again.example").Raw, mesh.ViaGossip, crypto.AudienceRegion)); got != "revoked" {
		t.Errorf("another third word: %q", got)
	}

	b.stop(t)
	b.open(t)
	b.knowsOnly(t, "started again", honest, append(stolen, "late.example")...)

	// The coordinators find that the thief was there earlier.
	b.adds(t, revoke(t, b.region.Charter, b.region.Admission, b.author.Credential, b.clock.now()+1, cutAt(one)))
	b.knowsOnly(t, "revoked lower", honest[:1], honest[1:]...)
	if said := b.alerts(t, "revoked"); len(said) != 2 {
		t.Errorf("alerts: %+v", said)
	}
}

// Who knows the revocation first takes the words up to its cut, once they are
// linked to it, in whatever order they come.
func TestHistoryOfARevokedMemberIsTakenUpToTheCut(t *testing.T) {
	b := newBench(t)
	var chain []*crypto.Envelope
	var prev *crypto.Envelope
	for _, v := range []string{"one.example", "two.example", "three.example"} {
		prev = b.author.Envelope(t, crypto.Header{Time: b.clock.now()}, prev, b.item(t, v))
		chain = append(chain, prev)
	}
	b.adds(t, revoke(t, b.region.Charter, b.region.Admission, b.author.Credential, b.clock.now(), cutAt(chain[2])))
	bring := func(i int) {
		t.Helper()
		if err := b.bring(t.Context(), chain[i].Raw, mesh.ViaSync, crypto.AudienceRegion); err != nil {
			t.Fatal(err)
		}
	}
	if got := verdict(b.bring(t.Context(), chain[2].Raw, mesh.ViaGossip, crypto.AudienceRegion)); got != mesh.ErrStale.Error() {
		t.Errorf("by gossip: %q", got)
	}
	bring(0)
	b.knowsOnly(t, "nothing linked", nil, "one.example")
	b.stop(t)
	b.open(t)
	bring(2)
	b.knowsOnly(t, "a gap", []string{"three.example"}, "one.example")
	bring(1)
	b.knowsOnly(t, "linked", []string{"one.example", "two.example", "three.example"})
}

// A node that learns that it is revoked signs nothing more; what waits stays here.
func TestRevokedNodeKeepsItsWords(t *testing.T) {
	b := newBench(t)
	said := b.submit(t, api.SubmitOptions{}, sighting("said.example", b.clock.now()))[0]
	if err := b.SignNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	waits := b.submit(t, api.SubmitOptions{}, sighting("waits.example", b.clock.now()))[0]
	b.adds(t, revoke(t, b.region.Charter, b.region.Admission, b.self.Credential, b.clock.now()))
	if err := b.SignNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	if view, _ := b.notice(t, waits.ID); view.State != api.StateWaiting {
		t.Errorf("what waited is %q", view.State)
	}
	if view, found := b.notice(t, said.ID); !found || b.knows(t, "said.example") {
		t.Errorf("what was said beyond the cut: %+v, found %t", view, found)
	}
	status, err := b.Status(t.Context(), 0)
	if err != nil || !strings.Contains(strings.Join(status.Warnings, " "), "1 notices wait here") {
		t.Errorf("status: %v, %v", status.Warnings, err)
	}
	if said := b.alerts(t, "revoked"); len(said) != 1 || said[0].Severity != "critical" {
		t.Errorf("alerts: %+v", said)
	}
}

// A superseded member keeps its id, and may take back what it said before.
func TestSupersededMemberRetractsItsEarlierWords(t *testing.T) {
	b := newBench(t)
	b.stop(t)
	before := b.self.Envelope(t, crypto.Header{Time: b.clock.now(), TLP: uint8(notice.TLPAmber)}, nil, b.item(t, "wrong.example"))
	id, err := keyfile.NewIdentity(testkit.Random("the keys after the theft"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := trust.NewRequest(id, "here", nil)
	if err != nil {
		t.Fatal(err)
	}
	request, err := trust.ParseRequest(raw)
	if err != nil {
		t.Fatal(err)
	}
	keys, now := []*crypto.PrivateKey{b.region.Admission}, b.clock.now()
	renewed, err := trust.Admit(b.region.Charter, keys, []trust.Grant{{Request: request, Serial: 2, Member: b.self.ID, NotBefore: testkit.Founded, NotAfter: testkit.Forever}}, now)
	if err != nil {
		t.Fatal(err)
	}
	h := &hospital{dir: t.TempDir(), clock: b.clock}
	if err := keyfile.Save(filepath.Join(h.dir, "identity.key"), id); err != nil {
		t.Fatal(err)
	}
	makeNode(t, h.dir, "here")
	records := append(revoke(t, b.region.Charter, b.region.Admission, b.self.Credential, now, cutAt(before)), renewed...)
	admission, err := canon.Marshal(node.Admission{Region: b.region.ID, Records: append(records, b.region.Records...), Seeds: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := node.Join(h.dir, admission); err != nil {
		t.Fatal(err)
	}
	h.open(t)
	defer h.stop(t)
	n := &bench{hospital: h, region: b.region}
	n.takes(t, before, mesh.ViaSync)
	h.alone(t)
	mine, _, err := h.Notices(t.Context(), api.Query{Mine: true, Limit: 10})
	if err != nil || len(mine) != 1 {
		t.Fatalf("its own earlier words: %+v, %v", mine, err)
	}
	h.submit(t, api.SubmitOptions{}, api.Submission{Kind: "retraction", Ref: mine[0].ID, Reason: "a mistake"})
	eventually(t, "the retraction is signed", func() bool { return len(h.held(t, b.self.ID)) == 2 })
	if h.knows(t, "wrong.example") {
		t.Error("what was taken back is known")
	}
	if signed := h.held(t, b.self.ID); signed[0].Header.Serial == signed[1].Header.Serial {
		t.Error("both are of one serial")
	}
}

// An expired credential counts for 90 days more, marked, and no longer.
func TestExpiredCredentialsCountForAWhile(t *testing.T) {
	b := newBench(t)
	id, err := keyfile.NewIdentity(testkit.Random("short-lived"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := trust.NewRequest(id, "short-lived", nil)
	if err != nil {
		t.Fatal(err)
	}
	request, err := trust.ParseRequest(raw)
	if err != nil {
		t.Fatal(err)
	}
	grant := func(until, now int64) [][]byte {
		records, err := trust.Admit(b.region.Charter, []*crypto.PrivateKey{b.region.Admission}, []trust.Grant{{Request: request, NotBefore: testkit.Founded, NotAfter: until}}, now)
		if err != nil {
			t.Fatal(err)
		}
		return records
	}
	end := b.clock.now() + 60*minute
	b.adds(t, grant(end, b.clock.now()))
	m := &testkit.Member{Identity: id, ID: crypto.NewMemberID(id.Signing.Public())}
	m.Credential, _ = b.Roster().Member(b.region.ID, m.ID, 1)
	const mark = "signed with an expired credential"
	shown := func(e *crypto.Envelope) bool {
		items, err := e.Split()
		if err != nil {
			t.Fatal(err)
		}
		return b.marked(t, crypto.NewItemID(m.ID, crypto.LeafHash(items[0])).String(), mark)
	}
	b.clock.advance(89 * 24 * time.Hour)
	late := m.Envelope(t, crypto.Header{Time: b.clock.now()}, nil, b.item(t, "late.example"))
	b.takes(t, late, mesh.ViaGossip)
	if !b.knows(t, "late.example") || !shown(late) {
		t.Error("a word in the grace is not known, or not marked")
	}
	b.clock.advance(2 * 24 * time.Hour)
	after := m.Envelope(t, crypto.Header{Time: b.clock.now()}, late, b.item(t, "after.example"))
	b.says(t, after.Raw, mesh.ViaGossip, "credential")

	b.adds(t, grant(end+400*day, b.clock.now()))
	b.takes(t, after, mesh.ViaSync)
	if shown(late) || shown(after) {
		t.Error("a renewal does not take the mark back")
	}
}

// Two charters in one place are told once, and loudly.
func TestForkedCharterIsTold(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"this", "that"} {
		next := *b.region.Charter
		next.Name = name
		st, _, err := trust.Amend(b.region.Charter, next)
		if err != nil {
			t.Fatal(err)
		}
		records, err := trust.Act(b.region.Charter, []*crypto.PrivateKey{b.region.Admission}, b.clock.now(), st)
		if err != nil {
			t.Fatal(err)
		}
		b.adds(t, records)
	}
	b.stop(t)
	b.open(t)
	if said := b.alerts(t, "charter-fork"); len(said) != 1 || said[0].Severity != "critical" {
		t.Errorf("alerts: %+v", said)
	}
}

// In a region that runs, a revoked member is cut off at once, and nothing that its
// key says later is heard, whoever has it.
func TestRevokedMemberIsCutOff(t *testing.T) {
	t.Parallel()
	r := startRegion(t, 3)
	one, two, three := r.hospitals[0], r.hospitals[1], r.hospitals[2]
	victim := two.member(t)
	green := api.SubmitOptions{TLP: notice.TLPGreen}
	honest := two.submit(t, green, sighting("honest.example", r.clock.now()))[0]
	for _, h := range []*hospital{one, three} {
		eventually(t, "the honest word is known", func() bool { _, ok := h.notice(t, honest.ID); return ok })
	}
	eventually(t, "its author has it signed", func() bool { return len(two.held(t, victim)) == 1 })
	charter, _, err := node.Charter(one.dir)
	if err != nil {
		t.Fatal(err)
	}
	credential, cuts, err := one.CutsOf(victim, 0)
	if err != nil || len(cuts) != 1 {
		t.Fatal(cuts, err)
	}
	// The thief has a copy of everything.
	stolenDir := t.TempDir()
	two.stop(t)
	copyNode(t, stolenDir, two.dir)
	two.open(t)
	two.start(t, nil)
	r.meet(t)

	// It goes on where the victim is, and in its place.
	key, err := keyfile.Load(filepath.Join(two.dir, "identity.key"))
	if err != nil {
		t.Fatal(err)
	}
	thief := &testkit.Member{Identity: key, ID: victim, Credential: credential}
	b := &bench{hospital: two}
	last := two.held(t, victim)[0]
	header := crypto.Header{Time: r.clock.now(), Audience: crypto.AudienceCommunity, TLP: uint8(notice.TLPGreen)}
	beyond := thief.Envelope(t, header, last, b.item(t, "beyond.example"))
	forked := thief.Envelope(t, header, nil, b.item(t, "forked.example"))
	backdated := header
	backdated.Epoch, backdated.Time = 9, r.clock.now()-30*minute
	older := thief.Envelope(t, backdated, nil, b.item(t, "older.example"))
	stolen := []string{"beyond.example", "forked.example", "older.example"}
	for _, e := range []*crypto.Envelope{beyond, forked, older} {
		checked, err := three.Path().Check(e.Raw, mesh.ViaSync, crypto.Region{}, 0)
		if err == nil {
			err = three.Path().Admit(t.Context(), []*mesh.Checked{checked})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	records := revoke(t, charter, r.key, credential, r.clock.now(), cuts...)
	if err := one.Path().AddTrust(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	linked := func(h *hospital) bool {
		for _, p := range h.Mesh().Peers() {
			if p.Member == victim {
				return true
			}
		}
		return false
	}
	eventually(t, "the revoked member is not connected to the first", func() bool { return !linked(one) })
	eventually(t, "the third learns of it", func() bool {
		_, _ = one.Mesh().SyncNow(t.Context(), peerOf(t, three)) // instead of waiting for the next round
		return three.RosterRoot() == one.RosterRoot()
	})
	eventually(t, "the revoked member is not connected to the third", func() bool { return !linked(three) })

	// It comes back with its old credential, and speaks.
	record, ok := one.Roster().Record(credential.RecordID())
	if !ok {
		t.Fatal("no record of the credential")
	}
	for _, h := range []*hospital{one, three} {
		if err := h.Path().AddTrust(t.Context(), [][]byte{record}); err != nil {
			t.Fatal(err)
		}
	}
	// Nobody tells it that it is revoked before it has spoken.
	for _, h := range r.hospitals {
		h.stop(t)
	}
	two.dir = stolenDir
	two.open(t)
	two.alone(t)
	again := two.submit(t, green, sighting("again.example", r.clock.now()))[0]
	eventually(t, "the thief has signed", func() bool { return len(two.held(t, victim)) == 2 })
	for _, h := range []*hospital{one, three} {
		h.open(t)
		h.start(t, two.MeshAddrs())
	}
	if err := errors.Join(two.Meet(r.seeds()), three.Meet(r.seeds())); err != nil {
		t.Fatal(err)
	}
	mark := one.submit(t, green, sighting("after.example", r.clock.now()))[0]
	eventually(t, "the others go on", func() bool { _, ok := three.notice(t, mark.ID); return ok })
	for _, h := range []*hospital{one, three} {
		if linked(h) {
			t.Errorf("%s is connected to the revoked member", h.Name())
		}
		for _, v := range append(stolen, "again.example") {
			if h.knows(t, v) {
				t.Errorf("%s knows %s", h.Name(), v)
			}
		}
		if !h.knows(t, "honest.example") || len(h.held(t, victim)) != 1 {
			t.Errorf("%s does not hold what was said before the cut, alone", h.Name())
		}
		if _, found := h.notice(t, again.ID); found {
			t.Errorf("%s shows what was said after the cut", h.Name())
		}
	}

	// When it learns of it, it falls silent, and goes on reading.
	if err := two.Path().AddTrust(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	why := two.refuses(t, green, sighting("more.example", r.clock.now()))
	if !strings.Contains(why.Fix, "region supersede") {
		t.Errorf("the refusal: %+v", why)
	}
	status, err := two.Status(t.Context(), 0)
	if err != nil || !strings.Contains(strings.Join(status.Warnings, " "), "credential was revoked") {
		t.Errorf("status: %v, %v", status.Warnings, err)
	}
	if !two.knows(t, "honest.example") || two.knows(t, "again.example") {
		t.Error("the revoked node does not see what the others see")
	}
	two.submit(t, api.SubmitOptions{Local: true}, sighting("local.example", r.clock.now()))
}

// Nothing is sealed for keys that were revoked, be it all that waited, and what is
// here of a revoked author without a chain says so.
func TestNothingIsSealedForRevokedKeys(t *testing.T) {
	b := newBench(t)
	b.alone(t)
	stolen := b.author.Named(t, crypto.Header{Time: b.clock.now()}, []*testkit.Member{b.self}, b.item(t, "red.example"))
	if err := b.bring(t.Context(), stolen.Raw, mesh.ViaNamed, 0); err != nil {
		t.Fatal(err)
	}
	b.adds(t, revoke(t, b.region.Charter, b.region.Admission, b.author.Credential, b.clock.now()))
	if got := b.refuses(t, red, to(sighting("told.example", b.clock.now()), "author")); got.Field != "to" || !strings.Contains(got.Reason, "was revoked") {
		t.Errorf("to a revoked member: %+v", got)
	}
	list, _, err := b.Notices(t.Context(), api.Query{Limit: 10})
	if err != nil || len(list) != 1 || !strings.Contains(strings.Join(list[0].Marks, ","), "nothing shows that it was said before") {
		t.Errorf("what a revoked author had sealed: %+v, %v", list, err)
	}
}

// What was sealed with keys that are revoked now is not brought to anybody, and its
// author is told to say it again.
func TestSupersededMemberSaysNamedWordsAgain(t *testing.T) {
	b := newBench(t)
	b.alone(t)
	said := b.submit(t, red, to(sighting("red.example", b.clock.now()), "other"))[0]
	eventually(t, "it is sealed", func() bool { return b.delivery(t, said.ID, "other") == api.DeliveryWaiting })
	b.adds(t, revoke(t, b.region.Charter, b.region.Admission, b.self.Credential, b.clock.now()))
	b.stop(t)
	id, err := keyfile.NewIdentity(testkit.Random("the keys after the theft"))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := trust.NewRequest(id, "here", nil)
	if err != nil {
		t.Fatal(err)
	}
	request, err := trust.ParseRequest(raw)
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := trust.Admit(b.region.Charter, []*crypto.PrivateKey{b.region.Admission}, []trust.Grant{{Request: request, Serial: 2, Member: b.self.ID,
		NotBefore: testkit.Founded, NotAfter: testkit.Forever}}, b.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(b.dir, "identity.key")
	if err := errors.Join(os.Remove(key), keyfile.Save(key, id)); err != nil {
		t.Fatal(err)
	}
	admission, err := canon.Marshal(node.Admission{Region: b.region.ID, Records: append(renewed, b.region.Records...), Seeds: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := node.Join(b.dir, admission); err != nil {
		t.Fatal(err)
	}
	b.open(t)
	b.alone(t)
	eventually(t, "it is given up", func() bool { return b.delivery(t, said.ID, "other") == api.DeliveryDeclined })
	eventually(t, "its author is told", func() bool {
		told := b.alerts(t, "not-delivered")
		return len(told) == 1 && strings.Contains(told[0].Text, "say it again")
	})
}
