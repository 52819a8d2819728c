package situation

import (
	"bytes"
	"hash/maphash"
)

// pieceRows is how many rows grow at once.
const pieceRows = 1024

// rows are numbered from 1; 0 is none. They stay where they are, in pieces: growing
// copies nothing and wastes little. A number that was let go is given again.
type rows[T any] struct {
	pieces []*[pieceRows]T
	free   []uint32
	last   uint32
}

func (r *rows[T]) at(i uint32) *T { return &r.pieces[i/pieceRows][i%pieceRows] }

// add returns the number of a new row.
func (r *rows[T]) add(row T) (i uint32) {
	if end := len(r.free) - 1; end >= 0 {
		i, r.free = r.free[end], r.free[:end]
	} else {
		r.last++
		if i = r.last; int(i/pieceRows) == len(r.pieces) {
			r.pieces = append(r.pieces, new([pieceRows]T))
		}
	}
	*r.at(i) = row
	return i
}

func (r *rows[T]) drop(i uint32) {
	var none T
	*r.at(i) = none
	r.free = append(r.free, i)
}

// indexParts is in how many parts an index grows: none of them holds up whoever adds.
const indexParts = 256

// An index finds rows by the key that is in them. It has their numbers alone, in open
// tables, hashed by a seed of its own: who chooses keys cannot make them collide.
type index struct {
	seed  maphash.Seed
	key   func(row uint32) []byte
	parts [indexParts]part
}

type part struct {
	slots []uint32 // as many as a power of two
	count int
}

func newIndex(key func(row uint32) []byte) *index {
	return &index{seed: maphash.MakeSeed(), key: key}
}

// place returns the part of a key, and its slot there: that which has its row, or an
// empty one.
func (x *index) place(key []byte) (*part, int) {
	sum := maphash.Bytes(x.seed, key)
	p := &x.parts[sum%indexParts]
	if len(p.slots) == 0 {
		p.slots = make([]uint32, 8)
	}
	return p, x.slot(p, sum/indexParts, key)
}

func (x *index) slot(p *part, sum uint64, key []byte) int {
	mask := len(p.slots) - 1
	i := int(sum) & mask
	for p.slots[i] != 0 && !bytes.Equal(x.key(p.slots[i]), key) {
		i = (i + 1) & mask
	}
	return i
}

// find returns the row with a key, 0 if there is none.
func (x *index) find(key []byte) uint32 {
	p, i := x.place(key)
	return p.slots[i]
}

// set makes a row the one that is found by its key.
func (x *index) set(row uint32) {
	p, i := x.place(x.key(row))
	if p.slots[i] == 0 {
		p.count++
	}
	p.slots[i] = row
	if 4*p.count > 3*len(p.slots) {
		x.grow(p)
	}
}

func (x *index) grow(p *part) {
	old := p.slots
	p.slots = make([]uint32, 2*len(old))
	for _, row := range old {
		if row != 0 {
			key := x.key(row)
			p.slots[x.slot(p, maphash.Bytes(x.seed, key)/indexParts, key)] = row
		}
	}
}

// drop lets go a key, while its row is there still.
func (x *index) drop(key []byte) {
	p, hole := x.place(key)
	if p.slots[hole] == 0 {
		return
	}
	p.slots[hole] = 0
	p.count--
	mask := len(p.slots) - 1
	for i := (hole + 1) & mask; p.slots[i] != 0; i = (i + 1) & mask { // those that came to lie behind it
		row := p.slots[i]
		p.slots[i] = 0
		key := x.key(row)
		p.slots[x.slot(p, maphash.Bytes(x.seed, key)/indexParts, key)] = row
	}
}
