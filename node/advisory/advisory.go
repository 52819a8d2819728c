// Package advisory is the library of advisories: an index in memory that says which of
// them may have some words. It is pure state; what an advisory says, and whether it still
// holds, is the store's word.
//
// Of each advisory it has a Bloom filter of the groups of three bytes in its words, of
// about one and a half bytes a group: 10,000 texts of 1 KiB take some 10 MB, and are
// searched in a millisecond. An index of words would not find a part of one, and one of
// groups takes five times as much. A filter of its own size for each text cannot be
// filled up by anybody.
package advisory

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// Max is how many advisories a library has. Beyond it the author who has most loses its
// oldest: who says too much pushes out nobody else.
const Max = 20_000

// A Place is where an advisory stands in the order of arrival.
type Place struct {
	Local uint64 // of the store, under which it was first visible
	ID    crypto.ItemID
}

// Compare orders places, the first to arrive first.
func (p Place) Compare(q Place) int {
	return cmp.Or(cmp.Compare(p.Local, q.Local), slices.Compare(p.ID[:], q.ID[:]))
}

// A Library is safe for concurrent use.
type Library struct {
	mu       sync.Mutex
	max      int
	byID     map[crypto.ItemID]*book
	byAuthor map[crypto.MemberID]*shelf
	order    []*book // by place if sorted
	sorted   bool
}

type book struct {
	place Place
	words filter
	gone  bool // still in order
}

// A shelf has the books of one author, by place if sorted.
type shelf struct {
	books  []*book
	sorted bool
}

// New returns an empty library.
func New() *Library {
	return &Library{max: Max, byID: map[crypto.ItemID]*book{}, byAuthor: map[crypto.MemberID]*shelf{}}
}

// Add takes an advisory in; one that is there stays as it is.
func (l *Library) Add(at Place, author crypto.MemberID, n *notice.Notice) {
	l.mu.Lock()
	_, known := l.byID[at.ID]
	l.mu.Unlock()
	if known {
		return
	}
	b := &book{place: at, words: newFilter(n.Texts)} // the work, without the lock
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byID[at.ID] != nil {
		return
	}
	s := l.byAuthor[author]
	if s == nil {
		s = &shelf{sorted: true}
		l.byAuthor[author] = s
	}
	l.byID[at.ID] = b
	l.order, s.books = append(l.order, b), append(s.books, b)
	l.sorted, s.sorted = false, false
	if len(l.byID) > l.max {
		l.drop()
	}
}

// drop takes out the oldest of the author who has most.
func (l *Library) drop() {
	var most *shelf
	for _, s := range l.byAuthor {
		if most == nil || len(s.books) > len(most.books) {
			most = s
		}
	}
	if !most.sorted {
		slices.SortFunc(most.books, compare)
		most.sorted = true
	}
	b := most.books[0]
	most.books, b.gone = most.books[1:], true
	delete(l.byID, b.place.ID)
	if len(l.order) > 2*l.max {
		l.sort()
	}
}

func compare(a, b *book) int { return a.place.Compare(b.place) }

func (l *Library) sort() {
	l.order = slices.DeleteFunc(l.order, func(b *book) bool { return b.gone })
	slices.SortFunc(l.order, compare)
	l.sorted = true
}

// Find returns the places of all advisories that may have every one of some words (of
// Words), the last to arrive first; those from a place on are left out, unless it is zero.
// It may return too many, never too few: Says tells.
func (l *Library) Find(words []string, before Place) []Place {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.sorted {
		l.sort()
	}
	var groups []uint32
	for _, w := range words {
		groups = appendGroups(groups, w)
	}
	var out []Place
	for _, b := range slices.Backward(l.order) {
		if !b.gone && (before == Place{} || b.place.Compare(before) < 0) && b.words.has(groups) {
			out = append(out, b.place)
		}
	}
	return out
}

// Words are the words of a text as they are searched for.
func Words(text string) []string { return strings.Fields(notice.Fold(text)) }

// Says reports whether a notice has every one of some words (of Words), each in one of its
// texts, also as a part of a longer word.
func Says(n *notice.Notice, words []string) bool {
	missing := slices.Clone(words)
	for text := range n.Texts {
		if len(missing) == 0 {
			return true
		}
		folded := notice.Fold(text)
		missing = slices.DeleteFunc(missing, func(w string) bool { return strings.Contains(folded, w) })
	}
	return len(missing) == 0
}

// A filter is a Bloom filter of groups of three bytes.
type filter []uint64

const (
	groupBits   = 12 // of the filter, for each group
	groupHashes = 3  // bits that a group sets: of what is not there 1 in 90 seems to be
)

func newFilter(texts func(func(string) bool)) filter {
	var groups []uint32
	for text := range texts {
		for _, w := range Words(text) {
			groups = appendGroups(groups, w)
		}
	}
	slices.Sort(groups)
	groups = slices.Compact(groups)
	f := make(filter, (len(groups)*groupBits+63)/64)
	for _, g := range groups {
		for i := range uint32(groupHashes) {
			word, bit := f.place(g, i)
			f[word] |= bit
		}
	}
	return f
}

func (f filter) has(groups []uint32) bool {
	for _, g := range groups {
		for i := range uint32(groupHashes) {
			if len(f) == 0 {
				return false
			}
			if word, bit := f.place(g, i); f[word]&bit == 0 {
				return false
			}
		}
	}
	return true
}

// place is where the i-th bit of a group is.
func (f filter) place(group, i uint32) (word int, bit uint64) {
	h := (group + i<<24) * 0x9e3779b1
	h ^= h >> 15
	h *= 0x85ebca6b
	at := uint64(h) * uint64(len(f)*64) >> 32
	return int(at / 64), 1 << (at % 64)
}

func appendGroups(to []uint32, word string) []uint32 {
	for i := 0; i+3 <= len(word); i++ {
		to = append(to, uint32(word[i])|uint32(word[i+1])<<8|uint32(word[i+2])<<16)
	}
	return to
}
