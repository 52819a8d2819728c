package node_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

var (
	amber = api.SubmitOptions{TLP: notice.TLPAmber}
	green = api.SubmitOptions{TLP: notice.TLPGreen}
	local = api.SubmitOptions{Local: true}
)

// What one hospital says, the others hear; what it takes back or disputes, too.
func TestWordReachesEveryHospital(t *testing.T) {
	r := startRegion(t, 3)
	a, b, c := r.hospitals[0], r.hospitals[1], r.hospitals[2]
	everywhere := func(t *testing.T, what string, holds func(h *hospital) bool) {
		t.Helper()
		for _, h := range r.hospitals {
			eventually(t, what+" at "+h.Name(), func() bool { return holds(h) })
		}
	}

	t.Run("report", func(t *testing.T) {
		for _, o := range []api.SubmitOptions{amber, green} {
			value := "report-" + o.TLP.String() + ".example"
			said := a.submit(t, o, sighting(value, r.clock.now()))[0]
			if said.State != api.StateWaiting || said.Author != a.member(t).String() {
				t.Fatalf("answered with %+v", said)
			}
			everywhere(t, value+" is known", func(h *hospital) bool { return h.knows(t, value) })
			for _, h := range r.hospitals {
				view, found := h.notice(t, said.ID)
				if !found || view.TLP != o.TLP.String() || view.Audience != o.TLP.Audience().String() || view.AuthorName != "Hospital 1" || len(view.Marks) > 0 {
					t.Fatalf("%s shows %+v, found %t", h.Name(), view, found)
				}
				if s := h.lookup(t, "www."+value, 0).Summary; s == nil || s.Members != 1 || s.Sightings != 1 {
					t.Fatalf("%s sums up %+v", h.Name(), s)
				}
			}
		}
	})

	t.Run("seen by three", func(t *testing.T) {
		for _, h := range r.hospitals {
			h.submit(t, amber, sighting("everywhere.example", r.clock.now()))
		}
		everywhere(t, "three members saw it", func(h *hospital) bool {
			s := h.lookup(t, "everywhere.example", 0).Summary
			return s != nil && s.Members == 3 && s.Sightings == 3
		})
	})

	t.Run("dispute", func(t *testing.T) {
		said := a.submit(t, amber, sighting("disputed.example", r.clock.now()))[0]
		everywhere(t, "the word is here", func(h *hospital) bool { _, found := h.notice(t, said.ID); return found })
		dispute := b.submit(t, api.SubmitOptions{}, api.Submission{Kind: "dispute", Ref: said.ID, Reason: "our own scanner"})[0]
		if dispute.TLP != "AMBER" || dispute.Audience != "region" {
			t.Fatalf("a dispute does not go where the disputed word went: %+v", dispute)
		}
		everywhere(t, "it is disputed", func(h *hospital) bool { return h.marked(t, said.ID, "disputed by 1") })
		everywhere(t, "the dispute counts", func(h *hospital) bool {
			s := h.lookup(t, "disputed.example", 0).Summary
			return s != nil && s.Disputes == 1 && s.Members == 1
		})
	})

	t.Run("retract", func(t *testing.T) {
		said := a.submit(t, green, sighting("retracted.example", r.clock.now()))[0]
		everywhere(t, "the word is here", func(h *hospital) bool { return h.knows(t, "retracted.example") })
		if why := b.refuses(t, api.SubmitOptions{}, api.Submission{Kind: "retraction", Ref: said.ID}); why.Field != "ref" {
			t.Fatalf("refused for %+v", why)
		}
		a.submit(t, api.SubmitOptions{}, api.Submission{Kind: "retraction", Ref: said.ID, Reason: "typing mistake"})
		everywhere(t, "it is taken back", func(h *hospital) bool {
			return !h.knows(t, "retracted.example") && h.marked(t, said.ID, "retracted")
		})
	})

	t.Run("retract at once", func(t *testing.T) { // before the word itself has left
		said := c.submit(t, green, sighting("regretted.example", r.clock.now()))[0]
		c.submit(t, api.SubmitOptions{}, api.Submission{Kind: "retraction", Ref: said.ID})
		everywhere(t, "both came", func(h *hospital) bool { return h.marked(t, said.ID, "retracted") && !h.knows(t, "regretted.example") })
	})

	t.Run("urgent", func(t *testing.T) {
		item := sighting("urgent.example", r.clock.now())
		item.Urgent = true
		said := b.submit(t, amber, item)[0]
		everywhere(t, "the urgent word is known", func(h *hospital) bool { return h.knows(t, "urgent.example") })
		for _, h := range r.hospitals {
			if record := h.record(t, said.ID); !record.Urgent || record.Flags != 0 {
				t.Fatalf("%s has it as urgent %t, flags %b", h.Name(), record.Urgent, record.Flags)
			}
		}
	})

	t.Run("equal", func(t *testing.T) { r.equal(t) })
}

// equal waits until all running hospitals hold the same envelopes.
func (r *region) equal(t testing.TB) {
	t.Helper()
	roots := func(h *hospital) [2]crypto.Hash {
		f, id, at := h.Store().Frontier(), h.regionID(t), r.clock.now()+day
		return [2]crypto.Hash{f.Root(id, crypto.AudienceRegion, at), f.Root(id, crypto.AudienceCommunity, at)}
	}
	var running []*hospital
	for _, h := range r.hospitals {
		if h.Node != nil {
			running = append(running, h)
		}
	}
	eventually(t, "all hold the same", func() bool {
		for _, h := range running[1:] {
			if roots(h) != roots(running[0]) {
				return false
			}
		}
		return roots(running[0]) != [2]crypto.Hash{}
	})
	for _, h := range running[1:] {
		for _, author := range r.hospitals {
			mine, theirs := h.held(t, author.member(t)), running[0].held(t, author.member(t))
			same := slices.EqualFunc(mine, theirs, func(x, y *crypto.Envelope) bool { return bytes.Equal(x.Raw, y.Raw) })
			if !same {
				t.Fatalf("%s holds %d envelopes of one author and %s %d, and they differ", h.Name(), len(mine), running[0].Name(), len(theirs))
			}
		}
	}
}

// What is local never leaves: it is in no envelope, in no other store, and not
// even its bytes are on another hospital's disk.
func TestLocalStaysLocal(t *testing.T) {
	t.Parallel()
	r := startRegion(t, 3)
	a := r.hospitals[0]
	secret := "nobody-else-may-know-this.example"
	kept := a.submit(t, local, sighting(secret, r.clock.now()))[0]
	if kept.State != api.StateLocal || kept.Audience != "local" {
		t.Fatalf("answered with %+v", kept)
	}
	// A word about a local word stays as well, whatever was asked.
	about := a.submit(t, green, api.Submission{Kind: "dispute", Ref: kept.ID, Reason: "reason-that-stays-here"})[0]
	if about.Audience != "local" {
		t.Fatalf("a dispute of a local word goes to the %s", about.Audience)
	}
	sentinel := a.submit(t, green, sighting("sentinel.example", r.clock.now()))[0]
	for _, h := range r.hospitals[1:] {
		eventually(t, "what was said after it has come", func() bool { _, found := h.notice(t, sentinel.ID); return found })
		for _, id := range []string{kept.ID, about.ID} {
			if _, found := h.notice(t, id); found {
				t.Fatalf("%s has a local notice", h.Name())
			}
		}
		if h.knows(t, secret) {
			t.Fatalf("%s knows it", h.Name())
		}
	}
	if !a.knows(t, secret) {
		t.Fatal("its own node does not know it")
	}
	for _, e := range a.held(t, a.member(t)) {
		if bytes.Contains(e.Raw, []byte(secret)) || bytes.Contains(e.Raw, []byte("reason-that-stays-here")) {
			t.Fatal("an envelope carries it")
		}
	}
	for _, h := range r.hospitals {
		h.stop(t)
	}
	if !onDisk(t, a.dir, secret) {
		t.Fatal("the search of a disk finds nothing, so it proves nothing")
	}
	for _, h := range r.hospitals[1:] {
		if onDisk(t, h.dir, secret) {
			t.Fatalf("%s has it on disk", h.dir)
		}
	}
}

// onDisk reports whether any file below dir contains text, or any version of any
// value in the store of a node that does not run: its tables are packed.
func onDisk(t testing.TB, dir, text string) (found bool) {
	t.Helper()
	db, err := badger.Open(badger.DefaultOptions(filepath.Join(dir, "store")).WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	err = db.View(func(txn *badger.Txn) error {
		o := badger.DefaultIteratorOptions
		o.AllVersions = true
		it := txn.NewIterator(o)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if err := it.Item().Value(func(v []byte) error {
				found = found || bytes.Contains(v, []byte(text)) || bytes.Contains(it.Item().Key(), []byte(text))
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		found = found || bytes.Contains(raw, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestSubmissionsAreTakenOnce(t *testing.T) {
	b := newBench(t)
	at := b.clock.now()
	first := b.submit(t, green, sighting("evil.example", at))[0]
	if first.Known {
		t.Fatal("a first word is known")
	}
	again := b.submit(t, green, sighting("hxxp://Evil[.]Example", at), sighting("EVIL[.]example.", at))
	if again[0].Known || !again[1].Known || again[1].ID != first.ID {
		t.Fatalf("a URL and the same domain again gave %+v", again)
	}
	// What was said stays as it was said, and the answer tells so.
	stricter := b.submit(t, amber, sighting("evil.example", at))[0]
	if !stricter.Known || stricter.ID != first.ID || stricter.TLP != "GREEN" || stricter.Audience != "community" {
		t.Fatalf("the same word with another marking is shown as %+v", stricter)
	}
	trial := green
	trial.DryRun = true
	if got := b.submit(t, trial, sighting("evil.example", at), sighting("new.example", at)); !got[0].Known || got[0].ID != first.ID || got[1].Known {
		t.Fatalf("a dry run of a known and a new word shows %+v", got)
	}
	if got := b.submit(t, local, sighting("evil.example", at))[0]; !got.Known || got.State == api.StateLocal {
		t.Fatalf("a shared word, submitted as local, is shown as %+v", got)
	}
	imported := api.Submission{Kind: "indicator", Value: "198.51.100.7", Origin: &api.Origin{Source: "misp:ESET", ID: "e1/a1", TLP: "GREEN"}}
	if one, two := b.submit(t, green, imported)[0], b.submit(t, green, imported)[0]; one.Known || !two.Known || two.ID != one.ID {
		t.Fatalf("an import twice gave %+v and %+v", one, two)
	}
	if s := b.lookup(t, "evil.example", 0).Summary; s == nil || s.Sightings != 1 {
		t.Fatalf("one sighting counts as %+v", s)
	}

	// Shared later, a local word keeps its id.
	kept := b.submit(t, local, sighting("later.example", at))[0]
	if got := b.submit(t, trial, sighting("later.example", at))[0]; !got.Known || !got.Promoted || got.ID != kept.ID || got.TLP != "GREEN" {
		t.Fatalf("a dry run of sharing it shows %+v", got)
	}
	shared := b.submit(t, green, sighting("later.example", at))[0]
	if !shared.Known || shared.ID != kept.ID || shared.State != api.StateWaiting || shared.TLP != "GREEN" {
		t.Fatalf("a local word, shared later, is shown as %+v", shared)
	}
}

func TestIdempotencyKey(t *testing.T) {
	b := newBench(t)
	o := green
	o.Idempotency = "one-request"
	item := api.Submission{Kind: "sighting", Value: "evil.example", LastSeen: api.Time(b.clock.now())}
	first := b.submit(t, o, item, sighting("two.example", b.clock.now()))
	second := b.submit(t, o, item, sighting("two.example", int64(first[1].FirstSeen)))
	if len(first) != 2 || len(second) != 2 || first[0].ID != second[0].ID || first[1].ID != second[1].ID {
		t.Fatalf("one key gave %+v and %+v", first, second)
	}
	if _, err := b.Submit(t.Context(), []api.Submission{sighting("other.example", b.clock.now())}, o); err == nil {
		t.Fatal("a key was taken for another request")
	}
	if b.knows(t, "other.example") {
		t.Fatal("a refused request left something")
	}
}

func TestMarkings(t *testing.T) {
	b := newBench(t)
	at := b.clock.now()
	from := func(tlp string) api.Submission {
		s := sighting("evil.example", at)
		s.Origin = &api.Origin{Source: "misp:ESET", ID: tlp, TLP: tlp}
		return s
	}
	before := b.figures(t)
	for _, c := range []struct {
		name string
		o    api.SubmitOptions
		item api.Submission
	}{
		{"RED", api.SubmitOptions{TLP: notice.TLPRed}, sighting("evil.example", at)},
		{"AMBER+STRICT", api.SubmitOptions{TLP: notice.TLPAmberStrict}, sighting("evil.example", at)},
		{"an origin's RED", api.SubmitOptions{}, from("RED")},
		{"an origin's AMBER as GREEN", green, from("AMBER")},
		{"an origin's GREEN as CLEAR", api.SubmitOptions{TLP: notice.TLPClear}, from("GREEN")},
		{"an unknown marking", api.SubmitOptions{}, api.Submission{Value: "evil.example", TLP: "PURPLE"}},
		{"a private address", green, sighting("10.1.2.3", at)},
		{"the future", green, sighting("evil.example", at+3*day)},
		{"a retraction of nothing", green, api.Submission{Kind: "retraction", Ref: "00112233445566778899aabbccddeeff00112233"}},
	} {
		t.Run(c.name, func(t *testing.T) { b.refuses(t, c.o, c.item) })
	}
	if after := b.figures(t); after != before {
		t.Fatalf("refusals changed the store: %+v, before %+v", after, before)
	}
	for tlp, want := range map[string]string{"CLEAR": "community", "GREEN": "community", "AMBER": "region"} {
		got := b.submit(t, api.SubmitOptions{}, from(tlp))[0]
		if got.TLP != tlp || got.Audience != want {
			t.Errorf("an origin's %s is shared as %s to the %s", tlp, got.TLP, got.Audience)
		}
	}
	if got := b.submit(t, amber, from("CLEAR"))[0]; got.TLP != "CLEAR" && got.TLP != "AMBER" {
		t.Errorf("tightened to %s", got.TLP)
	}
	// Kept here, even RED is welcome.
	if got := b.submit(t, api.SubmitOptions{Local: true, TLP: notice.TLPRed}, sighting("red.example", at))[0]; got.TLP != "RED" || got.Audience != "local" {
		t.Errorf("local RED became %+v", got)
	}
}

func TestDryRunStoresNothing(t *testing.T) {
	b := newBench(t)
	o := green
	o.DryRun = true
	before := b.figures(t)
	got := b.submit(t, o, sighting("evil.example", b.clock.now()), sighting("198.51.100.7", b.clock.now()))
	if len(got) != 2 || got[0].TLP != "GREEN" || got[1].Indicator.Type != "ipv4" {
		t.Fatalf("a dry run shows %+v", got)
	}
	o.DryRun, o.Local = true, true
	b.submit(t, o, sighting("evil.example", b.clock.now()))
	if after := b.figures(t); after != before || b.knows(t, "evil.example") {
		t.Fatalf("a dry run changed the store: %+v, before %+v", after, before)
	}
}

// A bad submission never stops the others.
func TestOneBadSubmissionStopsNothing(t *testing.T) {
	b := newBench(t)
	at := b.clock.now()
	items := []api.Submission{sighting("one.example", at), sighting("not an indicator", at), sighting("two.example", at), {Kind: "sighting"}}
	for i := range items {
		items[i].Index = 2*i + 1 // the request had others, which were refused before
	}
	result, err := b.Submit(t.Context(), items, green)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Notices) != 2 || len(result.Refused) != 2 || result.Refused[0].At != "notices[3]" || result.Refused[1].At != "notices[7]" {
		t.Fatalf("result %+v", result)
	}
	all, _, err := b.Store().List(store.Query{})
	if err != nil || len(all) != 2 {
		t.Fatalf("%d stored, error %v", len(all), err)
	}
}

// A large submission travels as envelopes that are too large for gossip.
func TestLargeSubmissionReachesAll(t *testing.T) {
	t.Parallel()
	r := startRegion(t, 3)
	items := make([]api.Submission, 3000)
	values := make([]string, len(items))
	for i := range items {
		values[i] = fmt.Sprintf("bulk-%04d.example", i)
		items[i] = sighting(values[i], r.clock.now())
	}
	taken := r.hospitals[1].submit(t, amber, items...)
	if len(taken) != len(items) {
		t.Fatalf("%d of %d taken", len(taken), len(items))
	}
	for _, h := range r.hospitals {
		eventually(t, "all 3,000 are known at "+h.Name(), func() bool {
			answers, err := h.Lookup(t.Context(), values, api.LookupOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return !slices.ContainsFunc(answers, func(a api.LookupAnswer) bool { return !a.Known })
		})
	}
	sent := r.hospitals[0].held(t, r.hospitals[1].member(t))
	large := slices.ContainsFunc(sent, func(e *crypto.Envelope) bool { return len(e.Raw) > 32<<10 })
	if len(sent) > 8 || !large {
		t.Fatalf("%d envelopes, one of them large: %t", len(sent), large)
	}
	r.equal(t)
}

// What this hospital holds under a marking is not loosened by saying it again
// from a source that says nothing of markings.
func TestNothingHeldIsLoosened(t *testing.T) {
	b := newBench(t)
	at := b.clock.now()
	marked := api.Submission{Kind: "indicator", Value: "evil.example", Origin: &api.Origin{Source: "misp:CERT", ID: "1", TLP: "AMBER"}}
	local := api.SubmitOptions{Local: true}
	held := b.submit(t, local, marked)[0]
	copied := api.Submission{Kind: "indicator", Value: "evil[.]example", Type: "domain", Origin: &api.Origin{Source: "csv"}}
	for _, item := range []api.Submission{copied, sighting("evil.example", at)} {
		if r := b.refuses(t, green, item); r.Field != "tlp" {
			t.Errorf("it is refused for %+v", r)
		}
	}
	if got := b.submit(t, api.SubmitOptions{}, copied)[0]; got.TLP != "AMBER" || got.Audience != "region" {
		t.Errorf("what is held as AMBER is shared as %s to the %s", got.TLP, got.Audience)
	}
	if got := b.submit(t, api.SubmitOptions{}, sighting("other.example", at))[0]; got.TLP != "GREEN" {
		t.Errorf("what is not held is shared as %s", got.TLP)
	}
	// Nor is what another hospital said, which a caller below it does not know of.
	b.takes(t, b.other.Envelope(t, crypto.Header{Time: at}, nil, encode(t, b.sighting(t, "heard.example"))), mesh.ViaGossip)
	if r := b.refuses(t, green, sighting("heard.example", at)); r.Field != "tlp" {
		t.Errorf("it is refused for %+v", r)
	}
	b.refuses(t, green, api.Submission{Kind: "dispute", Value: "heard.example", Reason: "ours"})
	below := green
	below.Ceiling = notice.TLPGreen
	if got := b.submit(t, below, sighting("heard.example", at))[0]; got.TLP != "GREEN" {
		t.Errorf("who cannot see it shares it as %s", got.TLP)
	}
	free := green
	free.KnownElsewhere = true
	if got := b.submit(t, free, sighting("heard.example", at+1))[0]; got.TLP != "GREEN" {
		t.Errorf("known from elsewhere it is shared as %s", got.TLP)
	}
	// What is unmarked and was never shared binds nobody.
	b.submit(t, local, sighting("ours.example", at))
	if got := b.submit(t, green, sighting("ours.example", at+1))[0]; got.TLP != "GREEN" {
		t.Errorf("what is unmarked here is shared as %s", got.TLP)
	}
	// A source that itself allows more is believed.
	open := copied
	open.Origin = &api.Origin{Source: "misp:public", ID: "2", TLP: "CLEAR"}
	if got := b.submit(t, api.SubmitOptions{}, open)[0]; got.TLP != "CLEAR" {
		t.Errorf("a source's CLEAR is shared as %s", got.TLP)
	}
	// RED, it does not leave, whatever the default is.
	b.submit(t, api.SubmitOptions{Local: true, TLP: notice.TLPRed}, sighting("red.example", at))
	b.refuses(t, api.SubmitOptions{}, sighting("red.example", at+1))
	// What was taken back binds nobody.
	for _, id := range []string{held.ID, b.submit(t, api.SubmitOptions{}, copied)[0].ID} {
		b.submit(t, local, api.Submission{Kind: "retraction", Ref: id})
	}
	if got := b.submit(t, green, sighting("evil.example", at))[0]; got.TLP != "GREEN" {
		t.Errorf("after the retraction it is shared as %s", got.TLP)
	}
}

// A repeated import does not undo a retraction; a person who sees it again does,
// and so does whoever says so.
func TestRepeatedImportDoesNotUndoARetraction(t *testing.T) {
	b := newBench(t)
	imported := api.Submission{Kind: "indicator", Value: "evil.example", Origin: &api.Origin{Source: "csv", ID: "1"}}
	first := b.submit(t, green, imported)[0]
	b.submit(t, green, api.Submission{Kind: "retraction", Ref: first.ID})
	trial := green
	trial.DryRun = true
	for _, o := range []api.SubmitOptions{green, trial, {Local: true}} {
		if got := b.submit(t, o, imported)[0]; !got.Known || got.ID != first.ID || !slices.Contains(got.Marks, "retracted") {
			t.Errorf("imported again it is %+v", got)
		}
	}
	if b.knows(t, "evil.example") {
		t.Error("it is known again")
	}
	again := green
	again.Again = true
	if got := b.submit(t, again, imported)[0]; got.Known || !b.knows(t, "evil.example") {
		t.Errorf("asked to take it again: %+v", got)
	}
	seen := sighting("seen.example", b.clock.now())
	b.submit(t, green, api.Submission{Kind: "retraction", Ref: b.submit(t, green, seen)[0].ID})
	if got := b.submit(t, green, seen)[0]; got.Known {
		t.Errorf("seen again it is %+v", got)
	}
}
