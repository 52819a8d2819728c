package feed

import (
	"slices"
	"sort"
)

// chunkMax bounds a chunk: what one change makes anew.
const chunkMax = 512

// A sorted list of entries in chunks. A change moves and renders one chunk, however
// long the list is.
type sorted struct {
	compare func(a, b *Entry) int
	chunks  []*chunk // none is empty
	n       int
}

type chunk struct {
	entries []*Entry
	view    *view // nil: to be made
}

// find returns where an entry that compares equal is, or where it would go.
func (s *sorted) find(e *Entry) (c, i int, found bool) {
	c = sort.Search(len(s.chunks), func(c int) bool { return s.compare(s.chunks[c].entries[0], e) > 0 }) - 1
	if c < 0 {
		return 0, 0, false
	}
	i, found = slices.BinarySearchFunc(s.chunks[c].entries, e, s.compare)
	return c, i, found
}

func (s *sorted) get(e *Entry) *Entry {
	if c, i, found := s.find(e); found {
		return s.chunks[c].entries[i]
	}
	return nil
}

// insert adds an entry that is not there yet.
func (s *sorted) insert(e *Entry) {
	s.n++
	if len(s.chunks) == 0 {
		s.chunks = append(s.chunks, &chunk{entries: []*Entry{e}})
		return
	}
	c, i, _ := s.find(e)
	k := s.chunks[c]
	k.entries, k.view = slices.Insert(k.entries, i, e), nil
	if len(k.entries) <= chunkMax {
		return
	}
	half := len(k.entries) / 2
	if c == len(s.chunks)-1 && i == len(k.entries)-1 {
		half = len(k.entries) - 1 // in order, as a kept list comes: chunks stay full
	}
	rest := &chunk{entries: slices.Clone(k.entries[half:])}
	clear(k.entries[half:])
	k.entries = k.entries[:half]
	s.chunks = slices.Insert(s.chunks, c+1, rest)
}

func (s *sorted) remove(e *Entry) {
	c, i, found := s.find(e)
	if !found {
		return
	}
	s.n--
	k := s.chunks[c]
	k.entries, k.view = slices.Delete(k.entries, i, i+1), nil
	if len(k.entries) == 0 {
		s.chunks = slices.Delete(s.chunks, c, c+1)
	}
}

// touch has the chunk of an entry rendered anew.
func (s *sorted) touch(e *Entry) {
	if c, _, found := s.find(e); found {
		s.chunks[c].view = nil
	}
}

// at returns the entry of a rank, nil beyond the last.
func (s *sorted) at(rank int) *Entry {
	for _, k := range s.chunks {
		if rank < len(k.entries) {
			return k.entries[rank]
		}
		rank -= len(k.entries)
	}
	return nil
}

// rank returns how many come before an entry.
func (s *sorted) rank(e *Entry) int {
	c, i, _ := s.find(e)
	for _, k := range s.chunks[:min(c, len(s.chunks))] {
		i += len(k.entries)
	}
	return i
}

func (s *sorted) all(yield func(*Entry) bool) {
	for _, k := range s.chunks {
		for _, e := range k.entries {
			if !yield(e) {
				return
			}
		}
	}
}
