package node

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/shelf"
	"github.com/watchward/watchward/node/store"
)

const (
	shelfDir = "shelf"

	handoutBatch  = 500              // notices put at once, at most
	handoutAgain  = time.Second      // after an error
	handoutTidied = 24 * time.Hour   // between two looks at what is gone
	handoutFirst  = 10 * time.Minute // after a start until the first
	recheckNote   = "recheck"
	foreignRoom   = 1 << 30 // bytes of the disk that other programs leave to the node's own words
)

// A handout keeps the shelf up with the store: what other programs may be given is on
// it, as export would write it. One goroutine (run) writes.
type handout struct {
	n     *Node
	shelf *shelf.Shelf
	again atomic.Bool   // everything is looked at again from the beginning
	anew  chan struct{} // wakes run for it
}

// openHandout opens the shelf, if anything is served from it or bridged.
func (n *Node) openHandout() error {
	c := n.o.Settings
	if !c.Exchange.TAXII && !c.Exchange.MISP && len(c.Bridges) == 0 || n.o.Lab != nil {
		return nil
	}
	h := &handout{n: n, anew: make(chan struct{}, 1)}
	var err error
	h.shelf, err = shelf.Open(shelf.Options{Dir: filepath.Join(n.o.Dir, shelfDir), Now: n.now, Log: n.log, Stated: h.stated, Room: h.room})
	if err != nil {
		return err
	}
	n.handout = h
	var recheck bool
	if err := h.shelf.Note(recheckNote, &recheck); err != nil {
		return err
	}
	h.again.Store(recheck)
	return nil
}

// room refuses what other programs give while the store has less than foreignRoom.
func (h *handout) room() error { return unwritten(h.n.store.Room(foreignRoom)) }

// withdrawn has everything looked at again: words count no longer, or count again,
// and nothing new in the store says of which.
func (h *handout) withdrawn() {
	h.again.Store(true)
	select {
	case h.anew <- struct{}{}:
	default:
	}
}

func (h *handout) run() {
	tidy := time.NewTimer(handoutFirst)
	defer tidy.Stop()
	for {
		ctx, cancel := context.WithCancel(h.n.ctx)
		done := make(chan error, 1)
		go func() { done <- h.keepUp(ctx) }()
		var err error
		select {
		case err = <-done:
		case <-h.anew:
			cancel()
			<-done
		case <-tidy.C:
			cancel()
			<-done
			err = h.tidy()
			tidy.Reset(handoutTidied)
		}
		cancel()
		switch {
		case h.n.ctx.Err() != nil:
			return
		case errors.Is(err, shelf.ErrBack):
			h.n.log.Info("what was handed out as taken back counts again: the shelf is made anew")
			if err = h.shelf.Reset(); err == nil {
				continue
			}
			fallthrough
		case err != nil:
			h.n.log.Error("the shelf does not follow the store", slog.Any("err", err))
			select {
			case <-h.n.ctx.Done():
			case <-time.After(handoutAgain):
			}
		}
	}
}

// keepUp puts what the store has, then what arrives.
func (h *handout) keepUp(ctx context.Context) error {
	from, looked := h.shelf.Cursor(), true
	defer func() {
		if !looked {
			h.again.Store(true) // it was interrupted, and begins again
		}
	}()
	if h.again.Swap(false) {
		looked = false
		if err := h.shelf.WriteNote(recheckNote, true); err != nil {
			return err
		}
		if err := h.takeBack(); err != nil {
			return err
		}
		from = 0
	}
	rechecked := h.n.store.Last()
	type part struct {
		local uint64
		items []shelf.Item
	}
	parts := make(chan part, 64)
	followed := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(parts)
		followed <- h.n.store.Follow(ctx, from, notice.TLPRed, func(local uint64, records []store.Record) error {
			items, err := h.items(records)
			if err != nil {
				return err
			}
			select {
			case parts <- part{local, items}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	for p := range parts {
		items, local := p.items, p.local
		for more := true; more && len(items) < handoutBatch; {
			select {
			case p, ok := <-parts:
				if more = ok; ok {
					items, local = append(items, p.items...), p.local
				}
			default:
				more = false
			}
		}
		if err := h.shelf.Put(items, local); err != nil {
			cancel()
			for range parts {
			}
			return err
		}
		if !looked && local >= rechecked {
			if err := h.shelf.WriteNote(recheckNote, false); err != nil {
				return err
			}
			looked = true
		}
	}
	return <-followed
}

// items are the notices that records change: themselves, what they take back, and what
// disputes them and was nothing before.
func (h *handout) items(records []store.Record) ([]shelf.Item, error) {
	var items []shelf.Item
	add := func(r store.Record) error {
		item, err := h.item(r)
		if err == nil {
			items = append(items, item)
		}
		return err
	}
	for _, r := range records {
		if r.Notice.Kind == notice.KindRetraction {
			target, found, err := h.n.store.Record(*r.Notice.Ref)
			if err != nil {
				return nil, err
			}
			if found && target.Retracted && target.Notice.Kind != notice.KindRetraction {
				if err := add(target); err != nil {
					return nil, err
				}
			}
			continue
		}
		if err := add(r); err != nil {
			return nil, err
		}
		if r.Disputes == 0 {
			continue
		}
		words, err := h.n.store.Spoken(r.ID, notice.TLPRed)
		if err != nil {
			return nil, err
		}
		for _, w := range words {
			if w.Notice.Kind == notice.KindDispute {
				if err := add(w); err != nil {
					return nil, err
				}
			}
		}
	}
	return items, nil
}

// item is a record as the shelf takes it.
func (h *handout) item(r store.Record) (shelf.Item, error) {
	if r.Expiry > 0 && r.Expiry <= h.n.now().UnixMilli() {
		return shelf.Item{Stated: intel.Stated{ID: r.ID}, Gone: true}, nil
	}
	s, ok, err := h.n.handed(r)
	if err != nil {
		return shelf.Item{}, err
	}
	if !ok {
		s = intel.Stated{ID: r.ID, Notice: r.Notice, Author: r.Author}
	}
	return shelf.Item{Stated: s, Kept: !ok}, nil
}

// handed is what a record states to other programs by themselves, and whether it may:
// what was told to the mesh, as an export says it. What is kept here goes out by the
// hand of a person alone.
func (n *Node) handed(r store.Record) (intel.Stated, bool, error) {
	if !notice.Leaves(r.TLP, r.Audience, notice.ExitExchange, notice.ExportMax) {
		return intel.Stated{}, false, nil
	}
	return n.exported(r, api.ExportQuery{Ceiling: notice.ExportMax, Sees: notice.TLPRed, Advisories: true}, &api.ExportCount{})
}

// stated implements shelf.Options.Stated.
func (h *handout) stated(id crypto.ItemID) (intel.Stated, bool, error) {
	r, found, err := h.n.store.Record(id)
	if err != nil || !found {
		return intel.Stated{}, false, err
	}
	return h.n.handed(r)
}

// takeBack hands out as taken back what was withdrawn with its author's revocation.
func (h *handout) takeBack() error {
	var items []shelf.Item
	var failed error
	err := h.n.store.WithdrawnRecords(func(r store.Record) bool {
		r.Retracted = true
		if r.Notice.Kind == notice.KindRetraction {
			return true // what it took back counts again, which the look at everything finds
		}
		item, err := h.item(r)
		if err != nil {
			failed = err
			return false
		}
		item.Held = true
		if !item.Kept && !item.Gone {
			items = append(items, item)
		}
		return true
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	for len(items) > 0 {
		part := items[:min(len(items), handoutBatch)]
		items = items[len(part):]
		if err := h.shelf.Put(part, 0); err != nil {
			return err
		}
	}
	return nil
}

// tidy takes away what has expired or was erased, and what nothing needs any more.
func (h *handout) tidy() error {
	withdrawn := map[crypto.ItemID]bool{}
	if err := h.n.store.WithdrawnRecords(func(r store.Record) bool {
		withdrawn[r.ID] = true
		return true
	}); err != nil {
		return err
	}
	now, gone := h.n.now().UnixMilli(), 0
	for after := (crypto.ItemID{}); h.n.ctx.Err() == nil; {
		ids, err := h.shelf.Items(after, handoutBatch)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			break
		}
		after = ids[len(ids)-1]
		records, err := h.n.store.Records(ids)
		if err != nil {
			return err
		}
		var items []shelf.Item
		for _, id := range ids {
			if r, ok := records[id]; !ok && !withdrawn[id] || ok && r.Expiry > 0 && r.Expiry <= now {
				items = append(items, shelf.Item{Stated: intel.Stated{ID: id}, Gone: true})
			}
		}
		if err := h.shelf.Put(items, 0); err != nil {
			return err
		}
		gone += len(items)
	}
	if gone == 0 {
		return nil
	}
	objects, err := h.shelf.Sweep(h.n.ctx)
	h.n.log.Info("what expired is handed out no longer", slog.Int("notices", gone), slog.Int("objects", objects))
	return err
}
