package store

import (
	"encoding/binary"
	"sync"

	"github.com/watchward/watchward/node/notice"
)

const (
	// recallMax bounds the summaries of each of the two halves of what is kept
	// in memory: with both full about 60 MiB.
	recallMax      = 1 << 19
	recallBytesMax = 512     // of one; larger ones are always read from the disk
	recallChunk    = 1 << 20 // bytes of an arena's part
)

// A recall keeps the counts of summaries that were looked up lately, so that a
// lookup of them needs no disk. It never has what the disk has no longer: the
// writer takes out what a commit changes before it commits, and what was read
// before that is not put in after.
//
// Of its two halves the young one takes what is new and what is asked again;
// when it is full the old one is dropped and the young one becomes old.
type recall struct {
	mu         sync.RWMutex
	young, old recallHalf

	// started and finished count commits. changing are the summaries that the
	// last one to start changes.
	started, finished uint64
	changing          map[notice.Key]struct{}
}

// A recallHalf has no pointers for the collector to follow.
type recallHalf struct {
	at     map[notice.Key]uint32 // chunk and offset of the length, then the counts
	chunks [][]byte
}

func newRecall() *recall {
	return &recall{young: newRecallHalf(), old: newRecallHalf()}
}

func newRecallHalf() recallHalf { return recallHalf{at: map[notice.Key]uint32{}} }

func (h *recallHalf) get(key notice.Key) ([]byte, bool) {
	at, ok := h.at[key]
	if !ok {
		return nil, false
	}
	b := h.chunks[at/recallChunk][at%recallChunk:]
	size := binary.LittleEndian.Uint16(b)
	return b[2 : 2+size], true
}

func (h *recallHalf) put(key notice.Key, counts []byte) {
	last := len(h.chunks) - 1
	if last < 0 || len(h.chunks[last])+2+len(counts) > recallChunk {
		h.chunks = append(h.chunks, make([]byte, 0, recallChunk))
		last++
	}
	h.at[key] = uint32(last*recallChunk + len(h.chunks[last]))
	c := binary.LittleEndian.AppendUint16(h.chunks[last], uint16(len(counts)))
	h.chunks[last] = append(c, counts...)
}

// A recallMark says which commits there were when a reader began.
type recallMark struct{ started, finished uint64 }

// look calls found for each key whose counts are here; they do not change. It
// returns what should be young again, and the mark, both for learn.
func (r *recall) look(keys []notice.Key, found func(i int, counts []byte)) (again []recalled, mark recallMark) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i, key := range keys {
		if counts, ok := r.young.get(key); ok {
			found(i, counts)
		} else if counts, ok := r.old.get(key); ok {
			found(i, counts)
			again = append(again, recalled{key, counts})
		}
	}
	return again, recallMark{r.started, r.finished}
}

// A recalled is the counts of one summary.
type recalled struct {
	key    notice.Key
	counts []byte
}

// learn keeps what a reader found, unless a commit may have changed it since.
func (r *recall) learn(mark recallMark, found []recalled) {
	if len(found) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.started != mark.started {
		return
	}
	for _, f := range found {
		if len(f.counts) > recallBytesMax {
			continue
		}
		if _, ok := r.young.at[f.key]; ok {
			continue
		}
		if mark.finished != mark.started { // read while a commit was under way
			if _, ok := r.changing[f.key]; ok {
				continue
			}
		}
		if len(r.young.at) >= recallMax {
			r.old, r.young = r.young, newRecallHalf()
		}
		r.young.put(f.key, f.counts)
	}
}

// begin is called before a commit, with the summaries on disk that it changes.
func (r *recall) begin(changing map[notice.Key]struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started++
	r.changing = changing
	for key := range changing {
		delete(r.young.at, key)
		delete(r.old.at, key)
	}
}

// end is called when the commit is visible, or has failed.
func (r *recall) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finished = r.started
}
