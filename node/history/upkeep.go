package history

import (
	"cmp"
	"container/heap"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	mergeAt   = 4 // so many segments of about one size become one
	mergeMost = 16
	// No merged segment has more than this part of Options.MiB, so that dropping
	// one forgets no more.
	mergePart = 8
	mergeTier = 8 << 20 // bytes; segments below count as one size
)

var errStopped = errors.New("stopped")

// run does the upkeep until the history is closed.
func (h *History) run() {
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	for {
		expire := false
		select {
		case <-h.stop:
			return
		case <-h.wake:
		case <-tick.C:
			expire = true // not at a start: the clock may be wrong then
		}
		if err := h.tend(expire); err != nil && !errors.Is(err, errStopped) {
			h.log.Error("the history is not tidied up: trying again", slog.Any("err", err))
		}
	}
}

// tend drops what is too old or too much and merges segments.
func (h *History) tend(expire bool) error {
	h.upkeep.Lock()
	defer h.upkeep.Unlock()
	if expire {
		oldest := uint64(h.oldest())
		err := h.change(func(all []*segment) (gone []*segment, forgotten uint32) {
			for _, s := range all {
				if s.end() <= oldest {
					gone = append(gone, s)
				}
			}
			return gone, 0
		}, nil)
		if err != nil {
			return err
		}
	}
	if err := h.change(h.excess, nil); err != nil {
		return err
	}
	for {
		inputs := h.mergeable()
		if len(inputs) == 0 {
			return nil
		}
		if err := h.merge(inputs); err != nil {
			return err
		}
	}
}

// excess returns the oldest segments, as many as are more than Options.MiB.
func (h *History) excess(all []*segment) (gone []*segment, forgotten uint32) {
	size := h.journal.size
	for _, s := range all {
		size += s.size
	}
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b *segment) int { return cmp.Compare(a.from, b.from) })
	for _, s := range all {
		if size <= h.bytesMax() {
			break
		}
		size -= s.size
		gone, forgotten = append(gone, s), uint32(min(s.end(), uint64(h.o.Now().Unix())))
	}
	return gone, forgotten
}

// change makes the segments that pick returns give way to instead, if that is not nil.
// upkeep is held, so that nobody else drops any.
func (h *History) change(pick func(all []*segment) (gone []*segment, forgotten uint32), instead *segment) error {
	h.writing.Lock()
	defer h.writing.Unlock()
	if h.broken != nil {
		if instead != nil {
			h.discard([]*segment{instead})
		}
		return h.broken
	}
	gone, forgotten := pick(h.segments)
	if len(gone) == 0 && instead == nil {
		return nil
	}
	left := slices.DeleteFunc(slices.Clone(h.segments), func(s *segment) bool { return slices.Contains(gone, s) })
	if instead != nil {
		left = append(left, instead)
	}
	forgotten = max(forgotten, h.forgotten)
	if err := h.keep(h.journal.id, left, forgotten); err != nil {
		if instead != nil {
			h.discard([]*segment{instead})
		}
		return err
	}
	h.mu.Lock()
	h.segments, h.forgotten = left, forgotten
	h.mu.Unlock() // whoever read the others has done so
	var errs []error
	for _, s := range gone {
		errs = append(errs, s.file.Close(), h.disk.remove(segmentName(s.id)))
	}
	return errors.Join(errs...)
}

// mergeable returns segments that should become one: some of about one size, or all
// of a period that is over.
func (h *History) mergeable() []*segment {
	type group struct {
		from, span uint32
		key        keyID
		tier       int
	}
	h.mu.RLock()
	all := slices.Clone(h.segments)
	h.mu.RUnlock()
	slices.SortStableFunc(all, func(a, b *segment) int { return cmp.Compare(a.size, b.size) })
	now, most := uint64(h.o.Now().Unix()), h.bytesMax()/mergePart
	groups := map[group][]*segment{}
	for _, s := range all {
		g, at := group{s.from, s.span, s.key, 0}, mergeAt
		if s.end()+daySeconds > now { // not over, or a log may be late
			for size := int64(mergeTier); size < s.size; size *= mergeAt {
				g.tier++
			}
		} else {
			at = 2
		}
		in := append(groups[g], s)
		if groups[g] = in; len(in) < at {
			continue
		}
		if in, ok := fitting(in, most); ok && len(in) >= at {
			return in
		}
	}
	return nil
}

// fitting returns the smallest of segments, which are sorted by size, that have
// no more than most bytes together.
func fitting(segments []*segment, most int64) ([]*segment, bool) {
	size := int64(0)
	for i, s := range segments {
		if size += s.size; size > most || i == mergeMost {
			return segments[:i], i > 1
		}
	}
	return segments, len(segments) > 1
}

// merge makes one segment of several of a period.
func (h *History) merge(inputs []*segment) error {
	h.writing.Lock()
	id := h.number()
	h.writing.Unlock()
	first := inputs[0]
	m := merger{oldest: h.oldest()}
	for _, s := range inputs {
		c := &scan{s: s, damaged: func(block int) { h.lose(place{segmentName(s.id), block}, errDamaged) }}
		if err := m.take(c); err != nil {
			return err
		}
	}
	out := &segment{id: id, key: first.key, from: first.from, span: first.span}
	err := h.disk.writeSegment(out, func() (record, bool, error) {
		if out.records%blockRecords == 0 {
			select {
			case <-h.stop:
				return record{}, false, errStopped
			default:
			}
		}
		return m.next()
	})
	if err != nil {
		return err
	}
	return h.change(func([]*segment) ([]*segment, uint32) { return inputs, 0 }, out)
}

// A merger yields the records of several scans as one.
type merger struct {
	oldest uint32 // what was last seen before is left out
	heads  heads
}

type head struct {
	record
	from *scan
}

type heads []head

func (h heads) Len() int           { return len(h) }
func (h heads) Less(i, j int) bool { return h[i].mark < h[j].mark }
func (h heads) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *heads) Push(x any)        { *h = append(*h, x.(head)) }
func (h *heads) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// take adds a scan.
func (m *merger) take(c *scan) error {
	r, more, err := c.record()
	if err == nil && more {
		heap.Push(&m.heads, head{r, c})
	}
	return err
}

func (m *merger) next() (record, bool, error) {
	for len(m.heads) > 0 {
		out := record{mark: m.heads[0].mark}
		for len(m.heads) > 0 && m.heads[0].mark == out.mark {
			top := &m.heads[0]
			out.add(top.tally)
			r, more, err := top.from.record()
			if err != nil {
				return record{}, false, err
			}
			if more {
				top.record = r
				heap.Fix(&m.heads, 0)
			} else {
				heap.Pop(&m.heads)
			}
		}
		if out.last >= m.oldest {
			return out, true, nil
		}
	}
	return record{}, false, nil
}

// lost reports whether a file is gone or damaged, and not only out of reach now.
func lost(err error) bool { return errors.Is(err, errDamaged) || errors.Is(err, fs.ErrNotExist) }

// lose notes once what cannot be read, and says so.
func (h *History) lose(p place, err error) {
	h.mu.Lock()
	known := h.bad[p]
	h.bad[p] = true
	h.mu.Unlock()
	if known {
		return
	}
	h.log.Error("a part of the history cannot be read, and what it had counts as never seen: is the disk failing?",
		slog.String("file", h.disk.path(p.file)), slog.Int("block", p.block), slog.Any("err", err))
}

// tidy removes what no manifest names.
func (h *History) tidy() error {
	m := manifest{journal: h.journal.id}
	for _, s := range h.segments {
		m.segments = append(m.segments, s.id)
	}
	return h.disk.tidy(m)
}

func isSegment(e os.DirEntry) bool { return strings.HasSuffix(e.Name(), segmentEnd) }
