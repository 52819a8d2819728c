package store_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// A history is all that two authors ever signed: one of them honestly up to a
// number, and a thief with its key after that and in between.
type history struct {
	author, other *writer
	honest, thief []store.Entry // of epoch 1, by number, honest from 1, the thief's from 4
	beyond        []store.Entry // from 7
	reopened      []store.Entry // epoch 2
	others        []store.Entry
	all           []store.Entry
	values        []notice.Indicator
}

// newHistory signs it. Words are restated under a looser marking, retracted and
// disputed across what will be cut.
func newHistory(t testing.TB) *history {
	t.Helper()
	w := writers(t, 2)
	h := &history{author: w[0], other: w[1]}
	id := func(e store.Entry, i int) *crypto.ItemID { return &e.Items[i].ID }
	word := func(n uint64, v string) *notice.Notice {
		i := value(t, v)
		if !slices.Contains(h.values, i) {
			h.values = append(h.values, i)
		}
		return sighting(i, n, 1)
	}
	about := func(n uint64, kind notice.Kind, ref *crypto.ItemID) *notice.Notice {
		return &notice.Notice{Kind: kind, Salt: salt(n), Created: start, Ref: ref, Reason: "because"}
	}
	a, b, c := word(1, "a.example"), word(2, "b.example"), word(3, "c.example")
	sign := func(prev *crypto.Envelope, tlp notice.TLP, notices ...*notice.Notice) store.Entry {
		h.author.last = prev
		n := int64(0)
		if prev != nil {
			n = int64(prev.Header.Seq)
		}
		return h.author.envelope(t, crypto.Header{TLP: uint8(tlp), Time: start + n*1000}, notices...)
	}
	amber, green := notice.TLPAmber, notice.TLPGreen
	h1 := sign(nil, amber, a)
	h2 := sign(h1.Envelope, amber, b)
	h3 := sign(h2.Envelope, amber, about(4, notice.KindRetraction, id(h1, 0)))
	h4 := sign(h3.Envelope, amber, c, word(5, "a.example"))
	h5 := sign(h4.Envelope, green, b)
	h6 := sign(h5.Envelope, amber, word(6, "d.example"))
	h.honest = []store.Entry{h1, h2, h3, h4, h5, h6}
	t4 := sign(h3.Envelope, green, a, c, word(7, "evil.example"))
	t5 := sign(t4.Envelope, green, about(8, notice.KindRetraction, id(h4, 0)), about(9, notice.KindRetraction, id(h2, 0)))
	t6 := sign(h5.Envelope, green, about(10, notice.KindRetraction, id(h6, 0)))
	h.thief = []store.Entry{t4, t5, t6}
	t7 := sign(h6.Envelope, green, b, word(11, "e.example"), about(12, notice.KindRetraction, id(h4, 1)))
	t8 := sign(t7.Envelope, green, c, word(6, "d.example"))
	h.beyond = []store.Entry{t7, t8}
	h.author.last = nil
	u1 := h.author.envelope(t, crypto.Header{TLP: uint8(green), Epoch: 2, Prev: h6.Envelope.ID, Time: start + 9000}, word(13, "f.example"), a)
	u2 := h.author.envelope(t, crypto.Header{TLP: uint8(green), Time: start + 10000}, about(14, notice.KindRetraction, id(h2, 0)))
	h.reopened = []store.Entry{u1, u2}
	o1 := h.other.envelope(t, crypto.Header{TLP: uint8(amber)}, word(15, "a.example"), word(16, "evil.example"))
	o2 := h.other.envelope(t, crypto.Header{TLP: uint8(amber)}, about(17, notice.KindDispute, id(h4, 0)), about(18, notice.KindDispute, id(t4, 2)))
	h.others = []store.Entry{o1, o2}
	h.all = slices.Concat(h.honest, h.thief, h.beyond, h.reopened, h.others)
	return h
}

// A ruling is a revocation: the ends of the author's chains, by epoch.
type ruling map[uint32]store.Cut

func at(e store.Entry) store.Cut {
	return store.Cut{Limited: true, Seq: e.Envelope.Header.Seq, ID: e.Envelope.ID}
}

// rulings are what coordinators might decide, also wrongly.
func (h *history) rulings() []ruling {
	return []ruling{
		{1: at(h.honest[5])}, {1: at(h.honest[5]), 2: at(h.reopened[0])}, {1: at(h.honest[3])}, {1: at(h.thief[0])},
		{1: at(h.honest[1]), 2: at(h.reopened[1])}, {1: at(h.beyond[0]), 2: at(h.reopened[1])}, {},
	}
}

// together is what several rulings say: the lowest cut wins.
func together(all []ruling) ruling {
	out := maps.Clone(all[0])
	for _, r := range all[1:] {
		for epoch, c := range out {
			d, listed := r[epoch]
			switch {
			case !listed:
				delete(out, epoch)
			case d.Seq < c.Seq || d.Seq == c.Seq && string(d.ID[:]) < string(c.ID[:]):
				out[epoch] = d
			}
		}
	}
	return out
}

// A knower is a store, and the rulings that its node knows of.
type knower struct {
	*store.Store
	h       *history
	mu      sync.Mutex
	rulings []ruling
	unknown bool // the author's credential does not count
	dir     string
}

func (k *knower) cut(c crypto.ChainID) store.Cut {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case c.Author != k.h.author.ID || !k.unknown && len(k.rulings) == 0:
		return store.Cut{}
	case k.unknown:
		return store.Cut{Limited: true}
	}
	cut := together(k.rulings)[c.Epoch]
	cut.Limited = true
	return cut
}

func (k *knower) know(unknown bool, rulings ...ruling) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unknown, k.rulings = unknown, append(k.rulings, rulings...)
}

// offers is what the accept order lets through to Append (step 5).
func (k *knower) offers(entries []store.Entry) (out []store.Entry) {
	for _, e := range entries {
		hd := &e.Envelope.Header
		cut := k.cut(hd.Chain())
		_, never := k.Linked(hd.Chain(), hd.Seq, e.Envelope.ID)
		if cut.Limited && (hd.Seq > cut.Seq || never) || hd.Author == k.h.author.ID && k.unknown {
			continue
		}
		out = append(out, e)
	}
	return out
}

type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func (k *knower) start(t fataler) {
	t.Helper()
	var err error
	if k.Store, err = store.Open(store.Options{Dir: k.dir, InMemory: k.dir == "", Small: true, Now: newClock().Now, Cut: k.cut}); err != nil {
		t.Fatal(err)
	}
}

// fetch brings what another has and this one lacks, as sync does: the newest first.
func (k *knower) fetch(t *rapid.T, from *knower) (changed bool) {
	for _, a := range []crypto.Audience{crypto.AudienceRegion} {
		for _, theirs := range from.Frontier().Chains(k.h.author.Credential.Region, a) {
			mine, _ := k.Frontier().Get(theirs.Chain)
			missing := mine.Missing(theirs)
			for _, f := range theirs.Forks {
				if !slices.Contains(mine.Forks, f) {
					missing = append(missing, mesh.Range{From: f.Seq, To: f.Seq})
				}
			}
			if mine.Highest() == theirs.Highest() && mine.Top != theirs.Top && mine.Highest() > 0 {
				missing = append(missing, mesh.Range{From: mine.Highest(), To: mine.Highest()})
			}
			for _, r := range slices.Backward(missing) {
				var entries []store.Entry
				if err := from.Read(theirs.Chain, r, true, func(_ uint64, raw []byte) bool {
					e, err := crypto.ParseEnvelope(slices.Clone(raw))
					if err != nil {
						t.Fatal(err)
					}
					entries = append(entries, decoded(t, e))
					return true
				}); err != nil {
					t.Fatal(err)
				}
				changed = k.take(t, entries...) || changed
			}
		}
	}
	return changed
}

func (k *knower) take(t fataler, entries ...store.Entry) (changed bool) {
	t.Helper()
	entries = k.offers(entries)
	slices.SortStableFunc(entries, func(a, b store.Entry) int { return cmp.Compare(a.Envelope.Header.Seq, b.Envelope.Header.Seq) })
	done, err := k.Append(context.Background(), entries)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(done, func(a store.Appended) bool { return !a.Duplicate })
}

func decoded(t fataler, e *crypto.Envelope) store.Entry {
	out := store.Entry{Envelope: e, Received: start}
	items, err := e.Split()
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range items {
		n, err := notice.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		out.Items = append(out.Items, store.Item{Index: i, ID: crypto.NewItemID(e.Header.Author, crypto.LeafHash(b)), Notice: n})
	}
	return out
}

// sees is all that readers see of a store, as text.
func (k *knower) sees(t fataler) string {
	t.Helper()
	var lines []string
	records, _, err := k.List(store.Query{Limit: store.ListMax, Lapsed: true, Takeback: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		lines = append(lines, fmt.Sprintf("%s %s retracted=%t disputes=%d", r.ID, r.Notice.Kind, r.Retracted, r.Disputes))
	}
	for _, v := range k.h.values {
		for _, ceiling := range []notice.TLP{0, notice.TLPGreen} {
			sum, _, err := k.Summary(v.Key(), ceiling)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, fmt.Sprintf("%s under %v: %+v", v.Value, ceiling, sum))
		}
	}
	slices.Sort(lines)
	for _, c := range k.Frontier().Chains(k.h.author.Credential.Region, crypto.AudienceRegion) {
		if len(c.Ranges) > 0 {
			lines = append(lines, fmt.Sprintf("chain %s %d: %v top %s floor %d forks %v", c.Chain.Author, c.Chain.Epoch, c.Ranges, c.Top, c.Floor, c.Forks))
		}
	}
	s, err := k.Stats()
	if err != nil {
		t.Fatal(err)
	}
	lines = append(lines, fmt.Sprintf("%d notices, %d indicators, %d envelopes, root %s", s.Notices, s.Indicators, s.Envelopes,
		k.Frontier().Root(k.h.author.Credential.Region, crypto.AudienceRegion, start+day)))
	out := ""
	for _, l := range lines {
		out += l + "\n"
	}
	return out
}

// Whatever comes in whatever order, envelopes, revocations, lost and found
// credentials, restarts and syncs: in the end all see the same, which is what one
// sees who knew the revocations from the start.
func TestOrderOfRevocationsDoesNotMatter(t *testing.T) {
	t.Parallel()
	h := newHistory(t)
	rulings := h.rulings()
	rapid.Check(t, func(t *rapid.T) {
		knowers := make([]*knower, rapid.IntRange(2, 3).Draw(t, "stores"))
		for i := range knowers {
			knowers[i] = &knower{h: h}
			knowers[i].start(t)
		}
		defer func() {
			for _, k := range knowers {
				if err := k.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}()
		recut := func(k *knower, all bool) {
			if err := k.Recut(context.Background(), all); err != nil {
				t.Fatal(err)
			}
		}
		var decided []ruling
		seen := map[crypto.EnvelopeID]store.Entry{}
		for range rapid.IntRange(5, 40).Draw(t, "steps") {
			k := knowers[rapid.IntRange(0, len(knowers)-1).Draw(t, "at")]
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			default:
				n := rapid.IntRange(1, 3).Draw(t, "envelopes")
				var some []store.Entry
				for range n {
					e := rapid.SampledFrom(h.all).Draw(t, "envelope")
					if !slices.ContainsFunc(some, func(o store.Entry) bool { return o.Envelope.ID == e.Envelope.ID }) {
						some = append(some, e)
					}
				}
				for _, e := range k.offers(some) {
					seen[e.Envelope.ID] = e
				}
				k.take(t, some...)
			case 0, 1:
				r := rapid.SampledFrom(rulings).Draw(t, "ruling")
				decided = append(decided, r)
				k.know(k.unknown, r)
				if rapid.Bool().Draw(t, "at once") {
					recut(k, true)
				}
			case 2:
				k.know(!k.unknown)
				recut(k, rapid.Bool().Draw(t, "all"))
			case 3:
				if o := knowers[rapid.IntRange(0, len(knowers)-1).Draw(t, "from")]; o != k {
					k.fetch(t, o)
				}
			}
		}
		// Trust records are settled everywhere; then all sync until nothing is new.
		for _, k := range knowers {
			k.know(false)
			k.mu.Lock()
			k.rulings = decided
			k.mu.Unlock()
			recut(k, true)
			if len(decided) == 0 { // two words in the middle of a chain are found by who hears both
				for _, e := range seen {
					k.take(t, e)
				}
			}
		}
		for changed, rounds := true, 0; changed; rounds++ {
			if changed = false; rounds > 30 {
				t.Fatal("they never agree")
			}
			for _, k := range knowers {
				for _, o := range knowers {
					if o != k {
						changed = k.fetch(t, o) || changed
					}
				}
			}
		}
		model := &knower{h: h, rulings: decided}
		model.start(t)
		defer model.Close()
		for range 2 { // whatever links, links the second time at last
			for _, e := range seen {
				model.take(t, e)
			}
		}
		want := model.sees(t)
		for i, k := range knowers {
			if got := k.sees(t); got != want {
				t.Fatalf("store %d sees\n%s\nand should see\n%s", i, got, want)
			}
		}
	})
}

// A crash at any commit of withdrawing is made good by the next start.
func TestWithdrawingSurvivesACrash(t *testing.T) {
	h := newHistory(t)
	long := writers(t, 1)[0]
	var entries []store.Entry
	for n := range uint64(60) {
		entries = append(entries, long.envelope(t, crypto.Header{}, sighting(h.values[n%3], 100+n, 1)))
	}
	h.author = long
	cut := ruling{1: at(entries[9])}
	model := &knower{h: h, rulings: []ruling{cut}}
	model.start(t)
	defer model.Close()
	model.take(t, entries...)
	want := model.sees(t)
	for crash := range 8 {
		k := &knower{h: h, dir: t.TempDir()}
		k.start(t)
		for e := range slices.Chunk(entries, 10) {
			k.take(t, e...)
		}
		k.know(false, cut)
		commits := 0
		store.SetCommit(k.Store, func(txn *badger.Txn) error {
			if commits++; commits > crash {
				return syscall.EIO
			}
			return txn.Commit()
		})
		broken := k.Recut(t.Context(), true)
		if broken == nil && crash == 0 {
			t.Fatal("nothing was written, and nothing is missing")
		}
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		if broken != nil {
			if err := store.CloseFiles(k.Store); err != nil {
				t.Fatal(err)
			}
		}
		k.start(t)
		if err := k.Recut(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if got := k.sees(t); got != want {
			t.Errorf("after a crash at commit %d it sees\n%s\nand should see\n%s", crash+1, got, want)
		}
		if envelopes, words, err := k.Withdrawn(long.ID, 1); err != nil || envelopes != 50 || words != 50 {
			t.Errorf("withdrawn: %d envelopes, %d words, %v", envelopes, words, err)
		}
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		if broken == nil {
			return
		}
	}
	t.Fatal("it takes more commits than the test has crashes")
}

// What is withdrawn is readable, and goes when it has expired like all else.
func TestWithdrawnIsEvidenceUntilItExpires(t *testing.T) {
	h := newHistory(t)
	c := newClock()
	k := &knower{h: h}
	var err error
	if k.Store, err = store.Open(store.Options{InMemory: true, Now: c.Now, Cut: k.cut}); err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	k.take(t, h.honest...)
	k.know(false, ruling{1: at(h.honest[3])})
	if err := k.Recut(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	var found []crypto.ItemID
	if err := k.WithdrawnRecords(func(r store.Record) bool {
		if r.State != store.Withdrawn || r.Header.Seq <= 4 {
			t.Errorf("%s of number %d is withdrawn as %s", r.ID, r.Header.Seq, r.State)
		}
		found = append(found, r.ID)
		return true
	}); err != nil || len(found) != 2 {
		t.Fatal(found, err)
	}
	c.ms.Store(start + 399*day)
	if _, err := k.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if envelopes, words, err := k.Withdrawn(h.author.ID, 1); err != nil || envelopes != 0 || words != 0 {
		t.Errorf("after its expiry: %d envelopes, %d words, %v", envelopes, words, err)
	}
}
