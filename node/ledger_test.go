package node_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger/entry"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/proof"
)

// A keeping region has three voters, then two hospitals, then a witness, all running.
type keeping struct {
	*region
	voters, hospitals []*hospital
	witness           *hospital
}

// startKeeping starts one. The charter that begins the ledger comes while all run.
func startKeeping(t testing.TB) *keeping {
	t.Helper()
	r := makeMembers(t, 6, func(i int) trust.Role {
		if i < 3 {
			return trust.RoleCoordinator
		}
		return trust.RoleHospital
	})
	k := &keeping{r, r.hospitals[:3], r.hospitals[3:5], r.hospitals[5]}
	r.run(t)
	if _, err := k.hospitals[0].LedgerStatus(t.Context()); !isProblem[*api.NoLedger](err) {
		t.Fatalf("before there is a ledger: %v", err)
	}
	k.amend(t, func(c *trust.Charter) {
		for _, v := range k.voters {
			c.Voters = append(c.Voters, v.member(t))
		}
		c.Witnesses, c.Ledger = []crypto.MemberID{k.witness.member(t)}, 1
	})
	eventually(t, "all have the charter, and a ledger", func() bool {
		return !slices.ContainsFunc(k.region.hospitals, func(h *hospital) bool {
			_, err := h.LedgerStatus(t.Context())
			return err != nil
		})
	})
	return k
}

// amend gives the region another charter, which it hands to one node.
func (k *keeping) amend(t testing.TB, change func(c *trust.Charter)) {
	t.Helper()
	at := k.running()[0]
	before := at.Roster().Charter()
	next := trust.Charter{Name: before.Name, Threshold: before.Threshold, MinVersion: before.MinVersion, Coordinators: before.Coordinators,
		Voters: before.Voters, Witnesses: before.Witnesses, Ledger: before.Ledger, Created: time.Now().UnixMilli()}
	change(&next)
	st, _, err := trust.Amend(before, next)
	if err != nil {
		t.Fatal(err)
	}
	records, err := trust.Act(before, []*crypto.PrivateKey{k.key}, time.Now().UnixMilli(), st)
	if err != nil {
		t.Fatal(err)
	}
	if err := at.Path().AddTrust(t.Context(), records); err != nil {
		t.Fatal(err)
	}
}

func (k *keeping) running() (out []*hospital) {
	for _, h := range k.region.hospitals {
		if h.Node != nil {
			out = append(out, h)
		}
	}
	return out
}

// isProblem reports whether an error is one that the API tells a client.
func isProblem[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

// ledger is a node's view.
func (h *hospital) ledger(t testing.TB) api.LedgerView {
	t.Helper()
	v, err := h.LedgerStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// leader waits for the voter that leads, and returns it.
func (k *keeping) leader(t testing.TB) (leader *hospital) {
	t.Helper()
	eventuallyIn(t, time.Minute, "a voter leads", func() bool {
		for _, v := range k.voters {
			if v.Node != nil && v.ledger(t).Leads {
				leader = v
				return true
			}
		}
		return false
	})
	return leader
}

// receipt waits for the receipt of a notice at a node.
func (h *hospital) receipt(t testing.TB, id string) (raw []byte) {
	t.Helper()
	eventuallyIn(t, time.Minute, "there is a receipt at "+h.Name(), func() bool {
		file, found, err := h.LedgerReceipt(t.Context(), id, 0)
		if err != nil && !isProblem[*api.NotYet](err) {
			t.Fatal(err)
		}
		raw = file
		return err == nil && found
	})
	return raw
}

// proves checks a receipt as a stranger does, by the file and the region's name.
func (k *keeping) proves(t testing.TB, raw []byte) *proof.Proven {
	t.Helper()
	f, err := proof.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	region := k.region.hospitals[0].regionID(t)
	p, err := proof.Verify(f, proof.Known{Region: &region})
	if err != nil {
		t.Fatalf("a receipt does not prove its notice: %v", err)
	}
	if p.Ledger == nil {
		t.Fatal("the file has no receipt")
	}
	return p
}

// entries reads the whole ledger of a node from its directory.
func (h *hospital) entries(t testing.TB, epoch int) (out []entry.Entry) {
	t.Helper()
	v, err := h.LedgerStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for at := uint64(0); at < v.Size; at += tlog.TileWidth {
		path := tlog.Path{Level: tlog.LevelEntries, Index: at / tlog.TileWidth, Width: int(min(v.Size-at, tlog.TileWidth))}
		tile, found, err := h.LedgerTile(t.Context(), h.Roster().Region(), uint32(epoch), path.String())
		if err != nil || !found {
			t.Fatalf("%s: found %t, error %v", path, found, err)
		}
		raws, err := tlog.SplitBundle(tile.Body, path.Width)
		if err != nil {
			t.Fatal(err)
		}
		for _, raw := range raws {
			e, err := entry.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, e)
		}
	}
	return out
}

// ids are those of one type.
func ids(all []entry.Entry, typ entry.Type) (out []crypto.Hash) {
	for _, e := range all {
		if e.Type == typ {
			out = append(out, e.ID)
		}
	}
	return out
}

// once fails if anything is there twice.
func once(t testing.TB, all []entry.Entry) {
	t.Helper()
	seen := map[entry.Entry]bool{}
	for i, e := range all {
		if seen[e] {
			t.Fatalf("entry %d is there twice: %s %s", i, e.Type, e.ID)
		}
		seen[e] = true
	}
}

// envelope is that of a notice.
func (h *hospital) envelope(t testing.TB, id string) crypto.Hash {
	t.Helper()
	item, err := crypto.ParseItemID(id)
	if err != nil {
		t.Fatal(err)
	}
	raw, _, err := h.Store().Envelope(item)
	if err != nil {
		t.Fatal(err)
	}
	e, err := crypto.ParseEnvelope(raw)
	if err != nil {
		t.Fatal(err)
	}
	return crypto.Hash(e.ID)
}

// A word at a hospital becomes an entry, comes under a checkpoint that voters and the
// witness sign, and its receipt convinces a stranger.
func TestWordsComeIntoTheLedger(t *testing.T) {
	t.Parallel()
	k := startKeeping(t)
	at := k.clock.now()
	h := k.hospitals[0]
	toRegion := h.submit(t, amber, sighting("amber.example", at))[0].ID
	toAll := h.submit(t, green, sighting("green.example", at))[0].ID
	sealed := green
	sealed.TLP = notice.TLPRed
	secret := sighting("red.example", at)
	secret.To = []string{k.hospitals[1].Name()}
	red := h.submit(t, sealed, secret)[0].ID
	kept := h.submit(t, local, sighting("local.example", at))[0].ID

	for _, id := range []string{toRegion, toAll} {
		p := k.proves(t, h.receipt(t, id))
		if p.ID.String() != id || len(p.Ledger.Voters) < 2 {
			t.Errorf("proven: %s, by %v", p.ID, p.Ledger.Voters)
		}
	}
	eventuallyIn(t, time.Minute, "the witness has signed it", func() bool {
		return k.proves(t, h.receipt(t, toAll)).Ledger.Witnessed
	})
	if _, found, err := h.LedgerReceipt(t.Context(), toRegion, notice.TLPGreen); found || err != nil {
		t.Errorf("a receipt of an AMBER notice for a GREEN token: %t, %v", found, err)
	}
	if _, found, err := h.LedgerEntry(t.Context(), toRegion, false, notice.TLPGreen); found || err != nil {
		t.Errorf("the entry of an AMBER notice for a GREEN token: %t, %v", found, err)
	}
	for name, id := range map[string]string{"RED": red, "local": kept} {
		if _, _, err := h.LedgerReceipt(t.Context(), id, 0); !isProblem[*api.NoProof](err) {
			t.Errorf("a receipt of a %s word: %v", name, err)
		}
	}

	// All members hold the same, which has what it must and nothing else.
	eventually(t, "all copies are equally large", func() bool {
		return !slices.ContainsFunc(k.region.hospitals, func(o *hospital) bool {
			v := o.ledger(t)
			return v.Size != k.voters[0].ledger(t).Size || v.Pending != 0
		})
	})
	all := h.entries(t, 1)
	once(t, all)
	want := []crypto.Hash{h.envelope(t, toRegion), h.envelope(t, toAll)}
	if got := ids(all, entry.Envelope); len(got) != 2 || !slices.Contains(got, want[0]) || !slices.Contains(got, want[1]) {
		t.Errorf("the ledger has envelopes %v, want %v", got, want)
	}
	var charters []crypto.Hash
	for _, c := range h.Roster().Charters(h.Roster().Region()) {
		charters = append(charters, c.Hash())
	}
	if got := ids(all, entry.Charter); len(got) != 2 || !slices.Contains(got, charters[0]) || !slices.Contains(got, charters[1]) {
		t.Errorf("charters %v, want %v", got, charters)
	}
	if got := ids(all, entry.Record); len(got) != 6 {
		t.Errorf("%d records, want six credentials", len(got))
	}
	for _, o := range k.region.hospitals[1:] {
		if !slices.Equal(o.entries(t, 1), all) {
			t.Errorf("%s has another ledger", o.Name())
		}
	}

	// A revocation is in as well.
	gone := k.hospitals[1]
	c, _ := h.Roster().Member(h.Roster().Region(), gone.member(t), 1)
	if err := h.Path().AddTrust(t.Context(), revoke(t, h.Roster().Charter(), k.key, c, k.clock.now())); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the revocation is in the ledger", func() bool { return len(ids(h.entries(t, 1), entry.Record)) == 7 })
	decided := h.Roster().Decided(h.Roster().Region())
	if e, _, err := h.LedgerEntry(t.Context(), decided[len(decided)-1].String(), false, 0); err != nil || e.Kind != "record" {
		t.Errorf("the revocation is found as %+v, %v", e, err)
	}

	// What the directory holds passes an audit by the rules for strangers.
	policy, err := verify.PolicyOf(h.Roster(), h.Roster().Region(), 1)
	if err != nil {
		t.Fatal(err)
	}
	h.stop(t)
	report, err := verify.Audit(t.Context(), verify.Dir(filepath.Join(h.dir, "ledger", "epoch", "1", "tiles")), policy, nil)
	if err != nil || !report.Good || report.Size < uint64(len(all)) {
		t.Errorf("audit: %+v, %v", report, err)
	}
}

// answers asks where a notice is.
func (h *hospital) answers(t testing.TB, id string, strong bool) (api.LedgerEntry, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	e, _, err := h.LedgerEntry(ctx, id, strong, 0)
	return e, err
}

// The leader stops, and another finishes its work: everything is in, nothing twice.
// Then most voters are gone: it is said, words wait, all else goes on; when they are
// back, all is in. With all voters gone a hospital answers what it holds.
func TestLedgerOutlivesItsVoters(t *testing.T) {
	t.Parallel()
	k := startKeeping(t)
	h := k.hospitals[0]
	var said []string
	say := func(n int) {
		for range n {
			said = append(said, h.submit(t, green, sighting(fmt.Sprintf("w%d.example", len(said)), k.clock.now()))[0].ID)
		}
	}
	say(3)
	for _, id := range said {
		k.proves(t, h.receipt(t, id))
	}
	if e, err := h.answers(t, said[0], true); err != nil || !e.Strong || !e.Covered {
		t.Fatalf("asked strongly: %+v, %v", e, err)
	}

	first := k.leader(t)
	to := k.voters[(slices.Index(k.voters, first)+1)%3]
	if done, err := first.LedgerTransfer(t.Context(), to.Name()); err != nil || done.Name != to.Name() {
		t.Fatalf("transfer: %+v, %v", done, err)
	}
	if _, err := first.LedgerTransfer(t.Context(), ""); !isProblem[*api.Unavailable](err) {
		t.Errorf("who does not lead hands over: %v", err)
	}
	if _, err := to.LedgerTransfer(t.Context(), h.Name()); !isProblem[*notice.FieldError](err) {
		t.Errorf("to no voter: %v", err)
	}
	leader := k.leader(t)
	say(3)
	silent := leader.Name()
	leader.stop(t)
	say(3)
	next := k.leader(t)
	for _, id := range said {
		k.proves(t, h.receipt(t, id))
	}
	once(t, next.entries(t, 1))
	eventually(t, "the leader names who is silent", func() bool { // whoever leads: on a busy machine they change
		all := strings.Join(k.leader(t).ledger(t).Warnings, "\n")
		return strings.Count(all, "does not answer") == 1 && strings.Contains(all, silent+" does not answer since ") && strings.Contains(all, "one more and the ledger stops")
	})
	if v := h.ledger(t); len(v.Warnings) > 0 || slices.ContainsFunc(v.Voters, func(o api.LedgerVoter) bool { return o.Healthy != nil || o.Lag != nil }) {
		t.Errorf("a hospital, with two of three voters: %+v", v)
	}

	// Who does not lead knows it by the signatures that do not come.
	k.clock.advance(6 * time.Minute)
	say(1)
	eventually(t, "a voter that does not lead names who signs no more", func() bool {
		return slices.ContainsFunc(k.voters, func(o *hospital) bool {
			if o.Node == nil {
				return false
			}
			v := o.ledger(t)
			all := strings.Join(v.Warnings, "\n")
			return !v.Leads && strings.Contains(all, silent+" has signed no checkpoint since ") && strings.Contains(all, v.LeaderName+", which leads")
		})
	})

	// One of three is left.
	next.stop(t)
	var left *hospital
	for _, v := range k.voters {
		if v.Node != nil {
			left = v
		}
	}
	eventuallyIn(t, time.Minute, "the last voter says that there is no quorum", func() bool {
		v := left.ledger(t)
		return v.Since != 0 && len(v.Warnings) > 0
	})
	before := len(said)
	say(2)
	eventually(t, "words go on to all", func() bool { return left.knows(t, fmt.Sprintf("w%d.example", len(said)-1)) })
	eventually(t, "what waits is said", func() bool {
		v := left.ledger(t)
		return v.Pending >= 1 && strings.Contains(strings.Join(v.Warnings, "\n"), fmt.Sprintf("no quorum since %s", "")) && strings.Contains(v.Warnings[0], "wait")
	})
	status, err := left.Status(t.Context(), 0)
	if err != nil || status.Ledger == nil || status.Ledger.Since == 0 || !strings.Contains(strings.Join(status.Warnings, "\n"), "no quorum since") {
		t.Errorf("status %+v, %v", status, err)
	}
	if metric(t, left, "watchward_ledger_pending") < 1 || metric(t, left, "watchward_ledger_no_quorum_seconds") <= 0 {
		t.Errorf("metrics: %g pending, %g s", metric(t, left, "watchward_ledger_pending"), metric(t, left, "watchward_ledger_no_quorum_seconds"))
	}
	if _, err := h.answers(t, said[0], true); !isProblem[*api.NoQuorum](err) {
		t.Errorf("asked strongly without a quorum: %v", err)
	}
	if _, _, err := h.LedgerReceipt(t.Context(), said[before], 0); !isProblem[*api.NotYet](err) {
		t.Errorf("a receipt of what waits: %v", err)
	}

	// None is left.
	left.stop(t)
	for _, id := range said[:before] {
		k.proves(t, h.receipt(t, id))
	}
	if e, err := h.answers(t, said[0], false); err != nil || !e.Covered || e.Checkpoint == nil || !e.Checkpoint.Good {
		t.Errorf("asked of its copy: %+v, %v", e, err)
	}
	if _, err := h.answers(t, said[0], true); !isProblem[*api.NoQuorum](err) {
		t.Errorf("asked strongly without voters: %v", err)
	}
	if tile, found, err := h.LedgerTile(t.Context(), h.Roster().Region(), 1, "checkpoint"); err != nil || !found || !tile.Text {
		t.Errorf("its checkpoint: %t, %v", found, err)
	}
	if !h.knows(t, "w0.example") {
		t.Error("lookups stopped")
	}
	eventually(t, "a hospital says that it reaches no voter", func() bool {
		v := h.ledger(t)
		return v.Since != 0 && v.LeaderName == "" && strings.Contains(strings.Join(v.Warnings, "\n"), "no coordinator that votes can be reached from here since") &&
			metric(t, h, "watchward_ledger_no_quorum_seconds") > 0
	})

	// Back again.
	for _, v := range k.voters[:2] {
		v.open(t)
		v.start(t, k.seeds())
	}
	k.meet(t)
	for _, id := range said {
		k.proves(t, h.receipt(t, id))
	}
	all := k.leader(t).entries(t, 1)
	once(t, all)
	for _, id := range said {
		if !slices.Contains(ids(all, entry.Envelope), h.envelope(t, id)) {
			t.Errorf("%s is not in the leader's copy", id)
		}
	}
}

// metric is the value of a node's gauge.
func metric(t testing.TB, h *hospital, name string) float64 {
	t.Helper()
	families, err := h.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// A ledger that begins anew holds all again, and the one before is served as it was.
func TestNextEpochHoldsAll(t *testing.T) {
	t.Parallel()
	k := startKeeping(t)
	h := k.hospitals[0]
	id := h.submit(t, green, sighting("old.example", k.clock.now()))[0].ID
	old := h.receipt(t, id)
	k.amend(t, func(c *trust.Charter) { c.Ledger++ })
	eventuallyIn(t, time.Minute, "the word is in the second epoch", func() bool {
		e, err := h.answers(t, id, false)
		return err == nil && strings.HasSuffix(e.Origin, "/2") && e.Covered
	})
	k.proves(t, old)
	for epoch := range 2 {
		if _, found, err := h.LedgerTile(t.Context(), h.Roster().Region(), uint32(epoch+1), "checkpoint"); !found || err != nil {
			t.Errorf("checkpoint of epoch %d: %t, %v", epoch+1, found, err)
		}
	}
	if all := h.entries(t, 2); all[0].Type != entry.Link {
		t.Errorf("the second epoch begins with a %s", all[0].Type)
	}
}

// The ledgers of two regions that endorse each other keep checkpoints of one another.
func TestNeighboursKeepEachOthersCheckpoints(t *testing.T) {
	t.Parallel()
	a, b := makeRegions(t, 1)
	endorseAll(t, a, b)
	a.run(t)
	b.run(t)
	one, two := a.hospitals[0], b.hospitals[0]
	if err := one.Mesh().AddSeeds(two.MeshAddrs()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "they have met", func() bool { return len(one.Mesh().Peers()) == 1 && len(two.Mesh().Peers()) == 1 })
	for _, r := range []*region{a, b} {
		(&keeping{region: r}).amend(t, func(c *trust.Charter) {
			c.Voters, c.Ledger = []crypto.MemberID{r.hospitals[0].member(t)}, 1
		})
	}
	for _, h := range []*hospital{one, two} {
		eventually(t, h.Name()+" has a ledger", func() bool { v, err := h.LedgerStatus(t.Context()); return err == nil && v.Checkpoint != nil })
	}
	// What is announced before the other knows the charter is not heard; a larger one
	// is announced ten seconds later.
	words := 0
	eventuallyIn(t, 2*time.Minute, "each has a checkpoint of the other", func() bool {
		for _, h := range []*hospital{one, two} {
			if len(ids(h.entries(t, 1), entry.Checkpoint)) == 0 {
				if words < 100 {
					words++
					one.submit(t, green, sighting(fmt.Sprintf("one%d.example", words), one.clock.now()))
					two.submit(t, green, sighting(fmt.Sprintf("two%d.example", words), two.clock.now()))
				}
				return false
			}
		}
		return true
	})
	once(t, one.entries(t, 1))
}

// A node that keeps no copy says so.
func TestWithoutMirror(t *testing.T) {
	t.Parallel()
	k := startKeeping(t)
	h := k.hospitals[1]
	h.stop(t)
	path := filepath.Join(h.dir, node.ConfigFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(raw), "#mirror = true", "mirror = false", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	h.open(t)
	h.start(t, k.seeds())
	v := h.ledger(t)
	if v.Role != "none" || v.Pending != 0 {
		t.Errorf("its role is %s, and %d wait", v.Role, v.Pending)
	}
	id := h.submit(t, green, sighting("word.example", k.clock.now()))[0].ID
	k.proves(t, k.hospitals[0].receipt(t, id))
	if _, _, err := h.LedgerReceipt(t.Context(), id, 0); !isProblem[*api.NoLedger](err) {
		t.Errorf("a receipt without a copy: %v", err)
	}
}
