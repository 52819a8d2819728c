package history

import (
	"cmp"
	"slices"
)

// A mark stands for a value: the first 64 bits of its keyed hash.
type mark uint64

// A tally is when a value was seen, in seconds since 1970, and how often.
type tally struct{ first, last, count uint32 }

// add takes in another. A count that is full stays so.
func (t *tally) add(o tally) {
	if t.count == 0 {
		*t = o
		return
	}
	t.first, t.last = min(t.first, o.first), max(t.last, o.last)
	if t.count += o.count; t.count < o.count {
		t.count = ^uint32(0)
	}
}

// A period is a stretch of time by its first second. What is forgotten is
// forgotten by periods.
type period uint32

// memory holds tallies by period.
type memory struct {
	periods map[period]map[mark]tally
	size    int
}

func newMemory() *memory { return &memory{periods: map[period]map[mark]tally{}} }

func (m *memory) add(p period, k mark, t tally) {
	in := m.periods[p]
	if in == nil {
		in = map[mark]tally{}
		m.periods[p] = in
	}
	sum, here := in[k]
	if !here {
		m.size++
	}
	sum.add(t)
	in[k] = sum
}

func (m *memory) addAll(o *memory) {
	for p, in := range o.periods {
		for k, t := range in {
			m.add(p, k, t)
		}
	}
}

// find yields the tallies of the marks in questions.
func (m *memory) find(questions []question, yield func(of int, t tally)) {
	for _, in := range m.periods {
		for _, q := range questions {
			if t, ok := in[q.mark]; ok {
				yield(q.of, t)
			}
		}
	}
}

// sorted returns a period's records by mark.
func (m *memory) sorted(p period) []record {
	out := make([]record, 0, len(m.periods[p]))
	for k, t := range m.periods[p] {
		out = append(out, record{k, t})
	}
	slices.SortFunc(out, func(a, b record) int { return cmp.Compare(a.mark, b.mark) })
	return out
}

// A total is a tally over periods.
type total struct {
	first, last uint32
	count       uint64
}

func (s *total) add(t tally, oldest uint32) {
	if t.last < oldest || t.count == 0 {
		return
	}
	if s.count == 0 {
		s.first = t.first
	}
	s.first, s.last, s.count = min(s.first, t.first), max(s.last, t.last), s.count+uint64(t.count)
}

func (s *total) into(t *Trace) {
	if s.count > 0 {
		t.First, t.Last, t.Count = int64(s.first)*1000, int64(s.last)*1000, s.count
	}
}
