package mesh_test

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
)

func slotID(chain crypto.ChainID, seq uint64) (id crypto.EnvelopeID) {
	copy(id[:], chain.Author[:8])
	id[8] = byte(chain.Epoch)
	binary.BigEndian.PutUint64(id[16:], seq)
	return id
}

func author(n byte) crypto.ChainID {
	return crypto.ChainID{Author: crypto.MemberID{n}, Serial: 1, Audience: crypto.AudienceRegion, Epoch: 1}
}

// Whatever order the envelopes of a chain come in, and whenever old slots are
// let go, two nodes that hold the same ones have the same digest at any time
// within the window.
func TestRootDependsOnlyOnWhatIsHeld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const now = int64(100 * time.Hour / time.Millisecond)
		window := mesh.RecentWindow.Milliseconds()
		count := rapid.IntRange(1, 60).Draw(t, "count")
		slots := make([]mesh.Slot, 0, count)
		at, floor := now-2*window, uint64(1)
		dishonest := rapid.Bool().Draw(t, "takes floors back")
		for seq := uint64(1); seq <= uint64(count); seq++ {
			at = min(at+rapid.SampledFrom([]int64{0, 1, window / 40, window / 10}).Draw(t, "gap"), now)
			if rapid.IntRange(0, 9).Draw(t, "floor") == 0 {
				floor = rapid.Uint64Range(floor, seq).Draw(t, "to")
			}
			stated := floor
			if dishonest {
				stated = rapid.Uint64Range(1, seq).Draw(t, "any floor")
			}
			slots = append(slots, mesh.Slot{Chain: author(1), Seq: seq, ID: slotID(author(1), seq), Time: at, Floor: stated,
				Urgent: rapid.IntRange(0, 7).Draw(t, "urgent") == 0})
		}
		held := rapid.SliceOfNDistinct(rapid.SampledFrom(slots), 1, count, func(s mesh.Slot) uint64 { return s.Seq }).Draw(t, "held")
		build := func(seed uint64) *mesh.Frontier {
			order := slices.Clone(held)
			r := rand.New(rand.NewPCG(seed, 1))
			r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			f := mesh.NewFrontier()
			h, _ := f.Get(author(1))
			for _, s := range order {
				// Clocks differ by up to two minutes, and slots come at any time.
				h = h.With(s, max(s.Time, now-window/2)+r.Int64N(240_000)-120_000)
				f.Put(h)
			}
			return f
		}
		a, b := build(rapid.Uint64().Draw(t, "a")), build(rapid.Uint64().Draw(t, "b"))
		for range 10 {
			at := rapid.Int64Range(now-window/2+180_000, now).Draw(t, "T")
			if a.Root(crypto.Region{}, crypto.AudienceRegion, at) != b.Root(crypto.Region{}, crypto.AudienceRegion, at) {
				x, _ := a.Get(author(1))
				y, _ := b.Get(author(1))
				t.Fatalf("the same envelopes, other roots at %d:\n%+v\n%+v", at, x, y)
			}
		}
	})
}

// One envelope more that is settled changes the root; one that is not does not.
func TestRootSeesSettledEnvelopesOnly(t *testing.T) {
	const now = int64(1_000_000_000)
	f := mesh.NewFrontier()
	root := func() crypto.Hash { return f.Root(crypto.Region{}, crypto.AudienceRegion, now-60_000) }
	put := func(seq uint64, at int64, urgent bool) {
		h, _ := f.Get(author(1))
		f.Put(h.With(mesh.Slot{Chain: author(1), Seq: seq, ID: slotID(author(1), seq), Time: at, Floor: 1, Urgent: urgent}, now))
	}
	put(1, now-300_000, false)
	before := root()
	put(2, now-1000, false)
	if root() != before {
		t.Error("an envelope that is still on its way changes the root")
	}
	put(3, now-900, true)
	if root() == before {
		t.Error("an urgent envelope does not change the root")
	}
	before = root()
	put(4, now-70_000, false) // its clock was wrong, and it is settled all the same
	if root() == before {
		t.Error("a settled envelope does not change the root")
	}
}

// An author that takes a floor back, as no honest one does, does not make nodes
// differ that let go of old slots at other moments.
func TestFloorTakenBack(t *testing.T) {
	const now = int64(1_000_000_000)
	window := mesh.RecentWindow.Milliseconds()
	var root [2]crypto.Hash
	for i, clock := range []int64{now, now - 60_000} {
		var h mesh.Holding
		for seq, s := range map[uint64]struct{ age, floor int64 }{5: {window + 20_000, 5}, 6: {window + 10_000, 1}, 7: {0, 1}} {
			h = h.With(mesh.Slot{Chain: author(1), Seq: seq, ID: slotID(author(1), seq), Time: now - s.age, Floor: uint64(s.floor)}, clock)
		}
		f := mesh.NewFrontier()
		f.Put(h)
		root[i] = f.Root(crypto.Region{}, crypto.AudienceRegion, now-90_000)
	}
	if root[0] != root[1] {
		t.Error("the same envelopes, other roots")
	}
}

func TestMissingAndGaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seqs := rapid.SliceOfDistinct(rapid.Uint64Range(1, 40), rapid.ID[uint64])
		mine, theirs := seqs.Draw(t, "mine"), seqs.Draw(t, "theirs")
		floor := rapid.Uint64Range(1, 40).Draw(t, "floor")
		build := func(list []uint64) (h mesh.Holding) {
			for _, s := range list {
				h = h.With(mesh.Slot{Chain: author(1), Seq: s, ID: slotID(author(1), s), Time: 1, Floor: 1}, 1)
			}
			return h
		}
		a, b := build(mine), build(theirs)
		b.Floor = floor
		var want, got []uint64
		for s := uint64(1); s <= 40; s++ {
			if slices.Contains(theirs, s) && !slices.Contains(mine, s) && s >= floor {
				want = append(want, s)
			}
			if a.Has(s) != slices.Contains(mine, s) {
				t.Fatalf("Has(%d) is %v", s, a.Has(s))
			}
		}
		for _, r := range a.Missing(b) {
			for s := r.From; s <= r.To; s++ {
				got = append(got, s)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("missing %v, want %v", got, want)
		}
		var gaps []uint64
		for _, r := range a.Gaps() {
			for s := r.From; s <= r.To; s++ {
				gaps = append(gaps, s)
			}
		}
		for s := uint64(1); s < a.Highest(); s++ {
			if slices.Contains(mine, s) == slices.Contains(gaps, s) {
				t.Fatalf("%d is both or neither held and a gap: %v, gaps %v", s, mine, gaps)
			}
		}
	})
}

func TestWithLeavesTheOldHoldingAlone(t *testing.T) {
	var h mesh.Holding
	for _, seq := range []uint64{1, 2, 3, 7} {
		h = h.With(mesh.Slot{Chain: author(1), Seq: seq, ID: slotID(author(1), seq), Time: int64(seq), Floor: 1}, 10)
	}
	ranges, recent := slices.Clone(h.Ranges), slices.Clone(h.Recent)
	for _, seq := range []uint64{4, 5, 6, 8, 3} {
		_ = h.With(mesh.Slot{Chain: author(1), Seq: seq, ID: slotID(author(1), seq), Time: int64(seq), Floor: 2}, 10)
	}
	if !slices.Equal(h.Ranges, ranges) || !slices.Equal(h.Recent, recent) {
		t.Fatalf("changed to %+v", h)
	}
}

func BenchmarkRoot(b *testing.B) {
	f := mesh.NewFrontier()
	now := time.Now().UnixMilli()
	for i := range 15_000 {
		c := author(0)
		binary.BigEndian.PutUint32(c.Author[:], uint32(i))
		var h mesh.Holding
		for seq := uint64(1); seq < 4; seq++ {
			h = h.With(mesh.Slot{Chain: c, Seq: seq, ID: slotID(c, seq), Time: now - 1_000_000 + int64(seq), Floor: 1}, now)
		}
		f.Put(h)
	}
	for b.Loop() {
		f.Root(crypto.Region{}, crypto.AudienceRegion, now-60_000)
	}
}
