package node

import (
	"container/heap"
	"sync"

	"github.com/watchward/watchward/crypto"
)

// Bounds of what waits for its time: envelopes whose author's clock is ahead.
const (
	heldMax      = 256
	heldBytesMax = 4 << 20
)

// heldQueue keeps verified envelopes from the future until their time comes.
// What does not fit is dropped: sync brings it again once it is due.
type heldQueue struct {
	mu    sync.Mutex
	items heldItems
	ids   map[crypto.EnvelopeID]bool
	bytes int
}

type heldItem struct {
	due int64 // ms
	id  crypto.EnvelopeID
	raw []byte
}

func (q *heldQueue) add(e *crypto.Envelope, due int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ids[e.ID] || len(q.items) >= heldMax || q.bytes+len(e.Raw) > heldBytesMax {
		return
	}
	if q.ids == nil {
		q.ids = map[crypto.EnvelopeID]bool{}
	}
	q.ids[e.ID] = true
	heap.Push(&q.items, heldItem{due, e.ID, e.Raw})
	q.bytes += len(e.Raw)
}

// due takes out what may be checked again at now (ms).
func (q *heldQueue) due(now int64) [][]byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out [][]byte
	for len(q.items) > 0 && q.items[0].due <= now {
		item := heap.Pop(&q.items).(heldItem)
		q.bytes -= len(item.raw)
		delete(q.ids, item.id)
		out = append(out, item.raw)
	}
	return out
}

type heldItems []heldItem

func (h heldItems) Len() int           { return len(h) }
func (h heldItems) Less(i, j int) bool { return h[i].due < h[j].due }
func (h heldItems) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *heldItems) Push(x any)        { *h = append(*h, x.(heldItem)) }
func (h *heldItems) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
