package mesh

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/watchward/watchward/crypto"
)

// RecentWindow is how far back a digest can be taken: peers compare what is
// older than a minute, and clocks may differ by minutes.
const RecentWindow = 15 * time.Minute

// recentMax bounds a holding's recent slots. An author that says more within
// the window makes peers compare lists instead of digests, nothing worse.
const recentMax = 1024

// ForksMax bounds the forks of one chain that peers compare. An author that
// makes more contradicts itself often enough already.
const ForksMax = 64

// A Range is an inclusive range of sequence numbers.
type Range struct {
	From uint64 `cbor:"1,keyasint"`
	To   uint64 `cbor:"2,keyasint"`
}

// A Slot is one held envelope's place in its chain.
type Slot struct {
	Chain  crypto.ChainID
	Seq    uint64
	ID     crypto.EnvelopeID
	Time   int64 // ms, the author's clock
	Floor  uint64
	Urgent bool
}

// A Fork is a number that an author used twice: the higher id of the two
// envelopes that are kept.
type Fork struct {
	Seq uint64
	ID  crypto.EnvelopeID
}

// A Holding is what a node holds of one chain. It is a value: With returns a
// new one and leaves the old one as it was.
type Holding struct {
	Chain  crypto.ChainID
	Floor  uint64            // lowest seq the author still needs, as far as is known here
	Ranges []Range           // ascending, disjoint, not adjacent
	Top    crypto.EnvelopeID // id of the highest held seq
	// Recent has, by ascending seq, every slot younger than RecentWindow and
	// the highest of the others, so that a digest can be taken at any time
	// within the window.
	Recent []Slot
	// Forks has, by ascending seq, the first ForksMax numbers of which two
	// envelopes are held.
	Forks []Fork
}

// With returns h with s in it. now is in ms.
func (h Holding) With(s Slot, now int64) Holding {
	h.Chain = s.Chain
	if s.Seq >= h.Highest() {
		h.Top = s.ID
	}
	h.Floor = max(h.Floor, s.Floor)
	h.Ranges = insert(h.Ranges, s.Seq)
	h.Recent = recent(h.Recent, s, now-RecentWindow.Milliseconds())
	return h
}

// WithFork returns h with a second envelope held under a number.
func (h Holding) WithFork(f Fork) Holding {
	i, found := slices.BinarySearchFunc(h.Forks, f.Seq, func(f Fork, seq uint64) int { return cmp.Compare(f.Seq, seq) })
	forks := slices.Clone(h.Forks)
	if found {
		forks[i] = f
	} else {
		forks = slices.Insert(forks, i, f)
	}
	h.Forks = forks[:min(len(forks), ForksMax)]
	return h
}

// HasFork reports whether two envelopes are held under a number.
func (h Holding) HasFork(seq uint64) bool {
	return slices.ContainsFunc(h.Forks, func(f Fork) bool { return f.Seq == seq })
}

// insert returns ranges with seq in them, without changing the argument.
func insert(ranges []Range, seq uint64) []Range {
	i := sort.Search(len(ranges), func(i int) bool { return ranges[i].To >= seq })
	if i < len(ranges) && ranges[i].From <= seq {
		return ranges
	}
	joinsLeft := i > 0 && ranges[i-1].To+1 == seq
	joinsRight := i < len(ranges) && ranges[i].From == seq+1
	out := make([]Range, 0, len(ranges)+1)
	out = append(out, ranges[:i]...)
	switch {
	case joinsLeft && joinsRight:
		out[i-1].To = ranges[i].To
		return append(out, ranges[i+1:]...)
	case joinsLeft:
		out[i-1].To = seq
		return append(out, ranges[i:]...)
	case joinsRight:
		out = append(out, Range{seq, ranges[i].To})
		return append(out, ranges[i+1:]...)
	}
	out = append(out, Range{seq, seq})
	return append(out, ranges[i:]...)
}

// recent returns slots with s added and without those older than since, but
// for the highest of them.
func recent(slots []Slot, s Slot, since int64) []Slot {
	out := make([]Slot, 0, len(slots)+1)
	base := -1 // index in out of the highest old slot
	add := func(s Slot) {
		if s.Time > since {
			out = append(out, s)
			return
		}
		if base >= 0 { // seq ascends: this one is higher
			s.Floor = max(s.Floor, out[base].Floor) // whatever order the author's floors have
			out = slices.Delete(out, base, base+1)
		}
		base = len(out)
		out = append(out, s)
	}
	placed := false
	for _, old := range slots {
		if old.Seq == s.Seq {
			continue
		}
		if !placed && old.Seq > s.Seq {
			add(s)
			placed = true
		}
		add(old)
	}
	if !placed {
		add(s)
	}
	if over := len(out) - recentMax; over > 0 {
		out = out[over:]
	}
	return out
}

// Has reports whether seq is held.
func (h Holding) Has(seq uint64) bool {
	i := sort.Search(len(h.Ranges), func(i int) bool { return h.Ranges[i].To >= seq })
	return i < len(h.Ranges) && h.Ranges[i].From <= seq
}

// Highest returns the highest held seq, 0 when nothing is held.
func (h Holding) Highest() uint64 {
	if len(h.Ranges) == 0 {
		return 0
	}
	return h.Ranges[len(h.Ranges)-1].To
}

// Last returns the time in ms of the highest slot whose time is known here.
func (h Holding) Last() int64 {
	if len(h.Recent) == 0 {
		return 0
	}
	return h.Recent[len(h.Recent)-1].Time
}

// Missing returns what other holds and h lacks, from the higher floor up.
func (h Holding) Missing(other Holding) []Range {
	return subtract(clip(other.Ranges, max(h.Floor, other.Floor)), h.Ranges)
}

// Gaps returns what lies between floor and the highest held seq and is not
// held.
func (h Holding) Gaps() []Range {
	if len(h.Ranges) == 0 {
		return nil
	}
	return subtract([]Range{{max(h.Floor, 1), h.Highest()}}, h.Ranges)
}

func clip(ranges []Range, floor uint64) []Range {
	var out []Range
	for _, r := range ranges {
		if r.To >= floor {
			out = append(out, Range{max(r.From, floor), r.To})
		}
	}
	return out
}

// subtract returns a without b, both ascending and disjoint.
func subtract(a, b []Range) []Range {
	var out []Range
	for _, r := range a {
		for len(b) > 0 && b[0].To < r.From {
			b = b[1:]
		}
		rest := true // something of r is left, from r.From up
		for i := 0; i < len(b) && b[i].From <= r.To && rest; i++ {
			if b[i].From > r.From {
				out = append(out, Range{r.From, b[i].From - 1})
			}
			rest = b[i].To < r.To // else b[i].To+1 could overflow: an author may claim any seq
			r.From = b[i].To + 1
		}
		if rest {
			out = append(out, r)
		}
	}
	return out
}

// settled returns the slots of h that count at time t: those with a time up to
// t, and urgent ones whatever their time.
func (h Holding) settled(t int64) (floor uint64, ranges []Range, top crypto.EnvelopeID) {
	var open []Range // seqs that do not count yet
	for _, s := range h.Recent {
		if s.Time > t && !s.Urgent {
			open = insert(open, s.Seq)
			continue
		}
		floor, top = max(floor, s.Floor), s.ID
	}
	if len(open) == 0 {
		return h.Floor, clip(h.Ranges, h.Floor), h.Top
	}
	return floor, clip(subtract(h.Ranges, open), floor), top
}

// settledSince returns the time in ms from which on everything in h counts.
func (h Holding) settledSince() int64 {
	since := int64(math.MinInt64)
	for _, s := range h.Recent {
		if !s.Urgent {
			since = max(since, s.Time)
		}
	}
	return since
}

// digest is the hash of what h holds at time t, zero when that is nothing.
func (h Holding) digest(t int64) crypto.Hash {
	floor, ranges, top := h.settled(t)
	if len(ranges) == 0 {
		return crypto.Hash{}
	}
	c := &h.Chain
	buf := make([]byte, 0, 128+16*len(ranges))
	buf = append(buf, c.Region[:]...)
	buf = append(buf, c.Author[:]...)
	buf = binary.BigEndian.AppendUint32(buf, c.Serial)
	buf = append(buf, byte(c.Audience))
	buf = binary.BigEndian.AppendUint32(buf, c.Epoch)
	buf = binary.BigEndian.AppendUint64(buf, floor)
	for _, r := range ranges {
		buf = binary.BigEndian.AppendUint64(buf, r.From)
		buf = binary.BigEndian.AppendUint64(buf, r.To)
	}
	buf = append(buf, top[:]...)
	for _, f := range h.Forks {
		if f.Seq >= floor {
			buf = binary.BigEndian.AppendUint64(buf, f.Seq)
			buf = append(buf, f.ID[:]...)
		}
	}
	return crypto.SumContext("frontier-chain", crypto.Region{}, buf)
}

// A scope is what two peers compare as one: a region's chains for an audience.
type scope struct {
	region   crypto.Region
	audience crypto.Audience
}

func compareScopes(a, b scope) int {
	return cmp.Or(bytes.Compare(a.region[:], b.region[:]), cmp.Compare(a.audience, b.audience))
}

// A Frontier is every chain that a node holds. It is in memory and safe for
// concurrent use; the store feeds it after each durable commit.
type Frontier struct {
	mu     sync.RWMutex
	scopes map[scope][]*entry // sorted by author, serial, epoch
}

// An entry is a holding with its digest at any time from since on, which is
// what peers compare of nearly all chains.
type entry struct {
	Holding
	since  int64 // ms
	digest crypto.Hash
}

func newEntry(h Holding) *entry {
	since := h.settledSince()
	return &entry{Holding: h, since: since, digest: h.digest(since)}
}

func (e *entry) at(t int64) crypto.Hash {
	if t >= e.since {
		return e.digest
	}
	return e.Holding.digest(t)
}

// NewFrontier returns a frontier that holds nothing.
func NewFrontier() *Frontier { return &Frontier{scopes: map[scope][]*entry{}} }

// Put replaces what is held of h's chain.
func (f *Frontier) Put(h Holding) {
	e := newEntry(h)
	f.mu.Lock()
	defer f.mu.Unlock()
	key := scope{h.Chain.Region, h.Chain.Audience}
	i, found := slices.BinarySearchFunc(f.scopes[key], h.Chain, compare)
	if found {
		f.scopes[key][i] = e
		return
	}
	f.scopes[key] = slices.Insert(f.scopes[key], i, e)
}

func compare(e *entry, c crypto.ChainID) int {
	h := &e.Chain
	return cmp.Or(bytes.Compare(h.Author[:], c.Author[:]), cmp.Compare(h.Serial, c.Serial), cmp.Compare(h.Epoch, c.Epoch))
}

// Get returns what is held of a chain.
func (f *Frontier) Get(c crypto.ChainID) (Holding, bool) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	all := f.scopes[scope{c.Region, c.Audience}]
	if i, found := slices.BinarySearchFunc(all, c, compare); found {
		return all[i].Holding, true
	}
	return Holding{Chain: c}, false
}

// Chains returns a region's chains for an audience, sorted by author, serial
// and epoch.
func (f *Frontier) Chains(region crypto.Region, a crypto.Audience) []Holding {
	f.mu.RLock()
	defer f.mu.RUnlock()
	all := f.scopes[scope{region, a}]
	out := make([]Holding, len(all))
	for i, e := range all {
		out[i] = e.Holding
	}
	return out
}

// Author returns all chains of one author, sorted by audience, serial and
// epoch.
func (f *Frontier) Author(region crypto.Region, m crypto.MemberID) []Holding {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var out []Holding
	for key, all := range f.scopes {
		if key.region != region {
			continue
		}
		i, _ := slices.BinarySearchFunc(all, crypto.ChainID{Author: m}, compare)
		for ; i < len(all) && all[i].Chain.Author == m; i++ {
			out = append(out, all[i].Holding)
		}
	}
	slices.SortStableFunc(out, func(a, b Holding) int { return cmp.Compare(a.Chain.Audience, b.Chain.Audience) })
	return out
}

// Root returns the digest at time t (ms) of all of a region's chains for an
// audience. Two nodes that hold the same envelopes up to t have the same root,
// in whatever order they came.
func (f *Frontier) Root(region crypto.Region, a crypto.Audience, t int64) crypto.Hash {
	f.mu.RLock()
	defer f.mu.RUnlock()
	all := f.scopes[scope{region, a}]
	buf := make([]byte, 0, 1+len(crypto.Hash{})*len(all))
	buf = append(buf, byte(a))
	for _, e := range all {
		if d := e.at(t); d != (crypto.Hash{}) {
			buf = append(buf, d[:]...)
		}
	}
	return crypto.SumContext("frontier", region, buf)
}
