package store

import (
	"bytes"
	"hash/maphash"
	"iter"
	"slices"
	"sync"

	"github.com/watchward/watchward/node/notice"
)

const (
	recallMax      = 1 << 20  // summaries kept in memory, give or take those of one part
	recallPart     = 64 << 10 // bytes
	recallPartsMax = 1024     // 64 MiB; a million summaries take about 40
	recallBytesMax = 255      // of one summary's counts; larger ones are always read from the disk
	recallTries    = 4        // full parts looked at for room, one after the other
	recallHold     = 512      // summaries put in before readers have their turn
	recallSlotsMin = 1 << 10
)

// A recall keeps the counts of summaries, so that a lookup of them needs no
// disk: of those that a commit wrote, that were read after the start, or that
// were looked up. It never has what the disk has no longer: the writer takes out
// what a commit changes before it commits and puts in what it wrote once that is
// visible, and what was read before that is not put in after.
//
// The summaries lie one behind the other in parts of memory, without pointers
// for the collector to follow. Those taken out leave gaps; when a quarter is
// gaps, the parts are used again in a circle, and what is still held in one moves
// together at its beginning. When there are too many, a part is dropped whole,
// so that about the oldest go first.
type recall struct {
	mu   sync.RWMutex
	seed maphash.Seed // of this process, so that nobody can choose values that collide

	slots []uint64 // a power of two, at most three quarters used: hash, then place + 1; 0 = free
	parts [][]byte // place is a part's number and an offset: key, size of the counts, counts
	part  int      // the one that is being filled
	count int      // summaries
	live  int      // bytes of parts that are not gaps

	// started and finished count commits. changing are the summaries that the
	// last one to start changes.
	started, finished uint64
	changing          map[notice.Key]struct{}
}

func newRecall(indicators uint64) *recall {
	size := uint64(recallSlotsMin)
	for size/4*3 < min(indicators, recallMax) {
		size *= 2
	}
	return &recall{seed: maphash.MakeSeed(), slots: make([]uint64, size)}
}

// A recallMark says which commits there were when a reader began.
type recallMark struct{ started, finished uint64 }

// look calls found for each key whose counts are here; they are valid only
// inside. It returns the mark for learn, to be had before the disk is read.
func (r *recall) look(keys []notice.Key, found func(i int, counts []byte)) recallMark {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i := range keys {
		if at, ok := r.find(r.hash(keys[i][:]), keys[i][:]); ok {
			_, counts := cutRecalled(r.entry(r.slots[at]))
			found(i, counts)
		}
	}
	return recallMark{r.started, r.finished}
}

// A recalled is the counts of one summary.
type recalled struct {
	key    notice.Key
	counts []byte
}

// learn keeps what a reader found, unless a commit may have changed it since. It
// reports false if not all was kept for that reason.
func (r *recall) learn(mark recallMark, found []recalled) bool {
	for some := range slices.Chunk(found, recallHold) {
		if !r.learnSome(mark, some) {
			return false
		}
	}
	return true
}

func (r *recall) learnSome(mark recallMark, found []recalled) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started != mark.started {
		return false
	}
	for i := range found {
		if mark.finished != mark.started { // read while a commit was under way
			if _, ok := r.changing[found[i].key]; ok {
				continue
			}
		}
		r.put(&found[i].key, found[i].counts)
	}
	return true
}

// begin is called before a commit, with the summaries on disk that it changes.
func (r *recall) begin(changing map[notice.Key]struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started++
	r.changing = changing
	for key := range changing {
		if at, ok := r.find(r.hash(key[:]), key[:]); ok {
			r.remove(at)
		}
	}
}

// renew is called when a commit is visible, before end, with the summaries that
// it wrote.
func (r *recall) renew(written iter.Seq2[notice.Key, *counts]) {
	var room [recallBytesMax]byte
	n := 0
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, c := range written {
		if n++; n%recallHold == 0 {
			r.mu.Unlock()
			r.mu.Lock()
		}
		r.put(&key, c.appendTo(append(room[:0], c.used())))
	}
}

// end is called when the commit is visible, or has failed.
func (r *recall) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finished = r.started
}

// put keeps counts under a key, in place of those that it had.
func (r *recall) put(key *notice.Key, counts []byte) {
	hash := r.hash(key[:])
	if at, ok := r.find(hash, key[:]); ok {
		if _, have := cutRecalled(r.entry(r.slots[at])); bytes.Equal(have, counts) {
			return
		}
		r.remove(at)
	}
	if len(counts) > recallBytesMax {
		return
	}
	size := len(key) + 1 + len(counts)
	r.room(size)
	if r.count++; r.count > len(r.slots)/4*3 {
		r.grow()
	}
	b := r.parts[r.part]
	place := r.part*recallPart + len(b)
	b = append(append(b, key[:]...), byte(len(counts)))
	r.parts[r.part] = append(b, counts...)
	r.live += size
	at, _ := r.find(hash, key[:])
	r.slots[at] = slotOf(hash, place)
}

// room makes the part that is being filled one with so many bytes left.
func (r *recall) room(size int) {
	for tries := 0; len(r.parts) == 0 || len(r.parts[r.part])+size > recallPart; tries++ {
		packed := r.live > len(r.parts)*(recallPart/4*3)
		if (packed || tries >= recallTries || len(r.parts) == 0) && r.count < recallMax && len(r.parts) < recallPartsMax {
			r.part = len(r.parts)
			r.parts = append(r.parts, make([]byte, 0, recallPart))
			return
		}
		r.part = (r.part + 1) % len(r.parts)
		r.reuse(!packed && tries < recallTries && r.count < recallMax)
	}
}

// reuse closes the gaps of a part or, unless keep, drops what it holds.
func (r *recall) reuse(keep bool) {
	old := r.parts[r.part]
	kept := old[:0] // never overtakes what is read
	for from := 0; from < len(old); {
		key, counts := cutRecalled(old[from:])
		size := len(key) + 1 + len(counts)
		hash := r.hash(key)
		// Its slot, not the key's: what was put in again lies elsewhere.
		if at, ok := r.findSlot(slotOf(hash, r.part*recallPart+from)); ok {
			if keep {
				r.slots[at] = slotOf(hash, r.part*recallPart+len(kept))
				kept = append(kept, old[from:from+size]...)
			} else {
				r.remove(at)
			}
		}
		from += size
	}
	r.parts[r.part] = kept
}

// remove takes a summary out and closes the gap among the slots, so that find
// may end at a free one.
func (r *recall) remove(at int) {
	_, counts := cutRecalled(r.entry(r.slots[at]))
	r.live -= len(notice.Key{}) + 1 + len(counts)
	r.count--
	last := len(r.slots) - 1
	free := at
	for next := (at + 1) & last; r.slots[next] != 0; next = (next + 1) & last {
		// It may move to the free slot unless that lies before its own place.
		if home := r.home(uint32(r.slots[next] >> 32)); (next-home)&last >= (next-free)&last {
			r.slots[free] = r.slots[next]
			free = next
		}
	}
	r.slots[free] = 0
}

func (r *recall) grow() {
	old := r.slots
	r.slots = make([]uint64, 2*len(old))
	for _, slot := range old {
		if slot != 0 {
			at, _ := r.findSlot(slot)
			r.slots[at] = slot
		}
	}
}

func (r *recall) hash(key []byte) uint32 { return uint32(maphash.Bytes(r.seed, key)) }

// home is the slot where the search for a hash begins.
func (r *recall) home(hash uint32) int { return int(uint64(hash) * uint64(len(r.slots)) >> 32) }

// find returns the slot of a key, or the free one where it belongs.
func (r *recall) find(hash uint32, key []byte) (at int, ok bool) {
	for at = r.home(hash); r.slots[at] != 0; at = (at + 1) & (len(r.slots) - 1) {
		if uint32(r.slots[at]>>32) != hash {
			continue
		}
		if have, _ := cutRecalled(r.entry(r.slots[at])); string(have) == string(key) {
			return at, true
		}
	}
	return at, false
}

// findSlot returns where a slot's content is, or the free one where it belongs.
func (r *recall) findSlot(slot uint64) (at int, ok bool) {
	for at = r.home(uint32(slot >> 32)); r.slots[at] != 0; at = (at + 1) & (len(r.slots) - 1) {
		if r.slots[at] == slot {
			return at, true
		}
	}
	return at, false
}

// slotOf is the content of a slot.
func slotOf(hash uint32, place int) uint64 { return uint64(hash)<<32 | uint64(place+1) }

// entry returns a part from the place on that a slot names.
func (r *recall) entry(slot uint64) []byte {
	place := int(uint32(slot)) - 1
	return r.parts[place/recallPart][place%recallPart:]
}

// cutRecalled splits what lies at a place.
func cutRecalled(b []byte) (key, counts []byte) {
	const head = len(notice.Key{}) + 1
	return b[:head-1], b[head : head+int(b[head-1])]
}
