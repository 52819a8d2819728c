package document

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"time"
)

// Bounds and times of serving.
const (
	servesMax  = 256 // streams at once …
	servesEach = 8   // … and of one peer
	giftsOwn   = 2   // times that a chunk is given, in giftTime, to who may have it from others then, by its author …
	giftsEach  = 8   // … and by others
	giftTime   = time.Minute
	takesMax   = 3 // times the size of a document that a peer may take of it, in takeTime
	takeTime   = time.Hour
	takersMax  = 4096                   // peers that are remembered for that
	toldEvery  = 200 * time.Millisecond // a peer is told what more there is at most so often
	wantsQueue = 4 * askedMax           // of one stream that wait to be answered
)

// gifts count what was given of a document, so that many who want it at once have it
// from each other. They are guarded by Documents.mu.
type gifts struct {
	given  [chunksMax]uint8
	begun  time.Time
	taken  map[string]int // bytes, by peer
	opened time.Time
}

// give reports whether a peer gets a chunk now. Nothing is given to who takes too much.
func (g *gifts) give(peer string, i, size, whole int, own, alone bool, now time.Time) (given, greedy bool) {
	most := uint8(giftsEach)
	if own {
		most = giftsOwn
	}
	if now.Sub(g.begun) > giftTime {
		g.given, g.begun = [chunksMax]uint8{}, now
	}
	if g.taken == nil || now.Sub(g.opened) > takeTime || len(g.taken) >= takersMax {
		g.taken, g.opened = map[string]int{}, now
	}
	if g.taken[peer]+size > takesMax*whole {
		return false, true
	}
	if g.given[i] >= most && !alone {
		return false, false
	}
	g.given[i] = min(g.given[i], most) + 1
	g.taken[peer] += size
	return true, false
}

// Serve answers a member that seeks a document, until it ends the stream or has no right
// to it any more. What is not here, and what the member may not have, look the same. It
// closes the stream.
func (d *Documents) Serve(peer string, s Stream) {
	d.mu.Lock()
	if d.closed || d.serves >= servesMax || d.served[peer] >= servesEach {
		d.mu.Unlock()
		_ = s.Close()
		return
	}
	d.serves++
	d.served[peer]++
	d.wait.Add(1)
	d.mu.Unlock()
	defer func() {
		_ = s.Close()
		d.mu.Lock()
		d.serves--
		if d.served[peer]--; d.served[peer] == 0 {
			delete(d.served, peer)
		}
		d.mu.Unlock()
		d.wait.Done()
	}()
	ctx, cancel := context.WithCancel(d.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	err := d.serve(ctx, peer, s)
	switch {
	case errors.Is(err, errProtocol):
		d.liar(peer, err)
	case d.ctx.Err() == nil:
		d.log.Debug("document stream", slog.Any("err", err))
	}
}

func (d *Documents) serve(ctx context.Context, peer string, s Stream) error {
	in := &receiver{r: s, limit: askMax}
	message, err := in.next()
	if err != nil {
		return err
	}
	sought, ok := message.(*seek)
	if !ok {
		return errUnasked
	}
	g := &giver{d: d, peer: peer, s: s, ref: Ref{ID: sought.ID, Chunks: sought.Chunks, Size: sought.Size}}
	defer g.close()
	wants, ended := make(chan *want, wantsQueue), make(chan error, 1)
	d.wait.Go(func() { ended <- hear(in, wants) })
	err = g.run(ctx, wants, ended)
	_ = s.Close() // so that hear ends
	return err
}

// hear reads what is wanted until the stream ends.
func hear(in *receiver, wants chan<- *want) error {
	for {
		message, err := in.next()
		if err != nil {
			return err
		}
		w, ok := message.(*want)
		if !ok {
			return errUnasked
		}
		select {
		case wants <- w:
		default:
			return errUnasked // more than anybody may have asked and not got
		}
	}
}

// A giver is this side of one stream.
type giver struct {
	d      *Documents
	peer   string
	s      Stream
	ref    Ref
	f      *os.File // nil until it is needed
	frame  []byte   // of a chunk
	listed bool
	told   set
}

func (g *giver) close() {
	if g.f != nil {
		_ = g.f.Close()
	}
}

func (g *giver) run(ctx context.Context, wants <-chan *want, ended <-chan error) error {
	timer := time.NewTimer(0) // when something may be told
	defer timer.Stop()
	silent := true // it has not passed
	for {
		list, held, changed := g.d.holding(g.peer, g.ref)
		if !silent && held != g.told && list != nil {
			if err := g.tell(list, held); err != nil {
				return err
			}
			silent = true
			timer.Reset(toldEvery)
		}
		if held != g.told {
			changed = nil // told when the time comes
		}
		select {
		case <-timer.C:
			silent = false
		case <-changed:
		case w := <-wants:
			if err := g.answer(w); err != nil {
				return err
			}
		case err := <-ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// holding returns what a peer may know of a document, and a channel that is closed when
// that may be more.
func (d *Documents) holding(peer string, ref Ref) (list []byte, held set, changed <-chan struct{}) {
	d.mu.Lock()
	x := d.docs[ref]
	if x == nil {
		defer d.mu.Unlock()
		return nil, held, d.wanting
	}
	wanted, whole := x.wanted, x.whole
	list, held, changed = x.list, x.held, x.changed
	d.mu.Unlock()
	if !d.may(peer, wanted) {
		return nil, set{}, changed
	}
	if whole && list == nil {
		if list = d.listed(ref); list == nil {
			return nil, set{}, changed
		}
	}
	if list == nil { // nobody could check a chunk
		held = set{}
	}
	return list, held, changed
}

func (d *Documents) may(peer string, wanted []Wanted) bool {
	for _, w := range wanted {
		if d.c.Network != nil && d.c.Network.May(peer, w.To) {
			return true
		}
	}
	return false
}

// listed returns the list of a whole document, nil if the file is not what it should be.
func (d *Documents) listed(ref Ref) []byte {
	f, err := d.dir.load(ref.ID)
	if err != nil {
		_ = d.lost(ref.ID, err)
		return nil
	}
	if f.ref != ref {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if x := d.docs[ref]; x != nil && x.whole {
		x.list = f.list
	}
	return f.list
}

// tell says what is held.
func (g *giver) tell(hashes []byte, held set) error {
	if !g.listed {
		if err := send(g.s, &list{Hashes: hashes}); err != nil {
			return err
		}
		g.listed = true
	}
	g.told = held
	return send(g.s, &have{Chunks: held[:]})
}

// answer gives what is wanted, or puts it off.
func (g *giver) answer(w *want) error {
	for _, c := range w.Chunks {
		i := int(c)
		if i >= g.ref.count() {
			return errUnasked
		}
		_, held, _ := g.d.holding(g.peer, g.ref)
		_, size := g.ref.span(i)
		given, greedy := false, false
		var frame []byte
		if held.has(i) {
			if given, greedy = g.d.give(g.peer, g.ref, i, size, w.Alone); given {
				frame = g.read(i, size)
			}
		}
		if greedy {
			return errGreedy
		}
		var err error
		if frame == nil {
			err = send(g.s, &later{Index: c})
		} else {
			err = sendChunk(g.s, i, frame)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var errGreedy = errors.New("the peer has taken the document several times")

func (d *Documents) give(peer string, ref Ref, i, size int, alone bool) (given, greedy bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.docs[ref]
	if x == nil {
		return false, false
	}
	own := slices.ContainsFunc(x.wanted, func(w Wanted) bool { return w.Author == d.c.Self })
	return x.gifts.give(peer, i, size, int(ref.Size), own, alone, time.Now())
}

// read returns the frame of a chunk that is held, nil if it is not there any more.
func (g *giver) read(i, size int) []byte {
	if g.frame == nil {
		g.frame = make([]byte, chunkHead+ChunkSize)
	}
	frame := g.frame[:chunkHead+size]
	g.d.mu.Lock()
	x := g.d.docs[g.ref]
	var p *part
	if x != nil {
		p = x.part
	}
	g.d.mu.Unlock()
	if p != nil && p.read(i, frame[chunkHead:]) == nil {
		return frame
	}
	if g.f == nil {
		f, err := os.Open(g.d.dir.name(g.ref.ID))
		if err != nil {
			return nil
		}
		g.f = f
	}
	at, _ := g.ref.span(i)
	if _, err := g.f.ReadAt(frame[chunkHead:], int64(at)); err != nil {
		return nil
	}
	return frame
}
