// Package history remembers which observables a hospital's own logs had, when
// first, when last and how often, so that what becomes known today can be held
// against what was seen before.
//
// No value is kept: a record has 64 bits of a keyed hash. The key is made once
// and stays in the directory; whoever has both can test values, so neither is
// ever part of what leaves the node. DESIGN.md has the files and why they are so.
package history

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/watchward/watchward/node/notice"
)

// Bounds of Options.
const (
	DaysMax     = 400
	MiBMin      = 16
	MiBMax      = 1 << 20
	PrefixesMax = 8
)

const (
	daySeconds  = 24 * 60 * 60
	periodsMax  = 12      // about as many make up Options.Days
	pendingMax  = 65_536  // records not flushed; then Add does so first
	keptMax     = 262_144 // records in memory beside the journal; then they become segments
	journalMax  = 32 << 20
	findAtOnce  = 4096 // marks looked for before writers have their turn
	upkeepEvery = time.Hour
)

// ErrBroken: the disk failed, so that nobody knows what is on it. It stays so until a restart.
var ErrBroken = errors.New("the disk failed, and nothing more is kept until a restart")

var errClosed = errors.New("the history is closed")

// Options of Open.
type Options struct {
	// Dir is of this history alone, and of one process: there is one writer. It is
	// made if it is not there.
	Dir  string
	Days int // what was seen longer ago is forgotten; 1 to DaysMax
	MiB  int // of the files; beyond it the oldest is forgotten; MiBMin to MiBMax
	// Parents keeps a name's parents too, down to the registrable one, so that a
	// parent's trace is that of all names below it.
	Parents bool
	// Prefixes keeps the networks around addresses: lengths below 32 of IPv4, from
	// 32 of IPv6.
	Prefixes []int
	Now      func() time.Time // nil = time.Now
	Log      *slog.Logger     // nil = none

	step    func(what string) error // of tests: see disk
	keptMax int                     // of tests; 0 = keptMax
}

// A Seen is what a log says of one observable.
type Seen struct {
	notice.Indicator        // canonical
	Time             int64  // ms; 0, or a time to come, is now
	Count            uint32 // how often; 0 counts as 1
}

// A Trace is what is remembered of a value.
type Trace struct {
	First, Last int64  // ms, to the second
	Count       uint64 // 0 = never seen
	// Unkept: nobody can tell, because it is a network of a length that is not
	// kept. Count is 0.
	Unkept bool
}

// Stats are the figures of a status page.
type Stats struct {
	Bytes   int64  // of the files
	Records uint64 // a value has one for each period, and file, that has it
	Since   int64  // ms: what was seen before is not remembered
	// Full: what is younger than Options.Days was forgotten for want of room.
	Full bool
	// Unreadable bytes were written with another key than the one that is here.
	Unreadable int64
	// Damaged counts what could not be read since the start: files, blocks.
	Damaged uint64
	Broken  bool // as of ErrBroken
}

// A History is safe for concurrent use.
type History struct {
	o    Options
	log  *slog.Logger
	disk disk
	key  key
	id   keyID
	span uint32 // seconds that a period has

	wake   chan struct{}
	stop   chan struct{}
	wait   sync.WaitGroup
	ending sync.Once
	ended  error

	upkeep  sync.Mutex // held while segments are merged or dropped
	writing sync.Mutex // held while the journal or the manifest changes; after upkeep
	broken  error      // by writing; a failed fsync leaves nothing certain
	dead    atomic.Bool
	next    uint64 // by writing; the next number of a file

	mu        sync.RWMutex // guards what follows; never held while a file is written; the last
	pending   *memory      // since the last Flush
	flying    *memory      // being flushed
	kept      *memory      // in the journal
	journal   *journal
	segments  []*segment // by id
	forgotten uint32     // the end of the last period that was dropped for want of room
	bad       map[place]bool
	closed    bool
}

// A place is a damaged block, or a file's header.
type place struct {
	file  string
	block int // -1 = all of it
}

// Open opens the history in o.Dir. What a crash tore off the end of a file is
// dropped, and named in the log. What was written with a key that is lost cannot
// be read: it stays until its days are over, and Stats says how much it is.
func Open(o Options) (*History, error) {
	if o.Days < 1 || o.Days > DaysMax || o.MiB < MiBMin || o.MiB > MiBMax || len(o.Prefixes) > PrefixesMax {
		return nil, fmt.Errorf("history: days, mib or prefixes are out of range: %d, %d, %v", o.Days, o.MiB, o.Prefixes)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.keptMax = cmp.Or(o.keptMax, keptMax)
	o.Prefixes = slices.Compact(slices.Sorted(slices.Values(o.Prefixes)))
	h := &History{
		o: o, log: o.Log, disk: disk{o.Dir, o.step}, span: uint32(max(o.Days/periodsMax, 1) * daySeconds),
		wake: make(chan struct{}, 1), stop: make(chan struct{}),
		pending: newMemory(), flying: newMemory(), kept: newMemory(), bad: map[place]bool{},
	}
	if err := h.open(); err != nil {
		h.release()
		return nil, fmt.Errorf("history: %w", err)
	}
	h.wait.Go(h.run)
	return h, nil
}

func (h *History) open() (err error) {
	if err := os.MkdirAll(h.disk.dir, 0o700); err != nil {
		return err
	}
	m, old, err := h.disk.readManifest()
	if err != nil {
		return fmt.Errorf("%s: %w: put back a copy of the directory, or delete it to begin anew", h.disk.path(manifestFile), err)
	}
	if h.key, err = h.disk.openKey(); err != nil {
		return err
	}
	h.id, h.next, h.forgotten = h.key.id(), m.next, m.forgotten
	for _, id := range m.segments {
		s, err := openSegment(h.disk.path(segmentName(id)), id)
		if lost(err) {
			h.lose(place{segmentName(id), -1}, err)
			continue
		}
		if err != nil {
			return err
		}
		h.segments = append(h.segments, s)
	}
	if !old {
		if names, err := os.ReadDir(h.disk.dir); err == nil && slices.ContainsFunc(names, isSegment) {
			return fmt.Errorf("%s is missing: put back a copy of the directory, or delete it to begin anew", h.disk.path(manifestFile))
		}
		return errors.Join(h.disk.tidy(m), h.turn(h.segments))
	}
	read := newMemory()
	j, err := h.disk.openJournal(m.journal, h.log, func(r record) { read.add(h.period(r.last), r.mark, r.tally) })
	if lost(err) {
		h.lose(place{journalName(m.journal), -1}, err)
		return errors.Join(h.turn(h.segments), h.tidy())
	}
	if err != nil {
		return err
	}
	h.journal, h.kept = j, read
	if j.key != h.id { // records of another key go on in segments of that key
		h.log.Warn("the history of before cannot be read: its key is another", slog.String("key", h.disk.path(keyFile)))
		return errors.Join(h.rotate(), h.tidy())
	}
	return h.tidy()
}

// Add takes in what logs say. It is durable after the next Flush; a crash before
// loses what came since the last one. What was seen longer ago than Options.Days is
// passed over. After an error, which is that of a Flush, nothing was taken in.
func (h *History) Add(seen []Seen) error {
	h.mu.RLock()
	full := h.pending.size >= pendingMax
	h.mu.RUnlock()
	if full {
		if err := h.Flush(); err != nil {
			return err
		}
	}
	now, oldest := uint32(h.o.Now().Unix()), h.oldest()
	list := make([]record, 0, 4*len(seen))
	for _, s := range seen {
		at := now
		if s.Time > 0 && s.Time/1000 < int64(now) {
			at = uint32(s.Time / 1000)
		}
		if at < oldest {
			continue
		}
		h.marks(s.Indicator, func(m mark) { list = append(list, record{m, tally{at, at, max(s.Count, 1)}}) })
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errClosed
	}
	for _, r := range list {
		h.pending.add(h.period(r.last), r.mark, r.tally)
	}
	return nil
}

// Flush returns when all that was added before is on disk. After an error the
// next Flush tries again, unless the disk failed: then all do until a restart.
func (h *History) Flush() error {
	h.writing.Lock()
	defer h.writing.Unlock()
	return h.flush()
}

// flush is Flush; writing is held.
func (h *History) flush() error {
	if h.broken != nil {
		return h.broken
	}
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return errClosed
	}
	h.flying, h.pending = h.pending, newMemory()
	h.mu.Unlock()
	err := h.write(h.flying)
	h.mu.Lock()
	into := h.kept
	if err != nil {
		into = h.pending
	}
	into.addAll(h.flying)
	h.flying = newMemory()
	full := h.kept.size >= h.o.keptMax || h.journal.size >= min(journalMax, h.bytesMax()/4)
	h.mu.Unlock()
	if err == nil && full {
		if err = h.rotate(); err != nil {
			err = fmt.Errorf("history: %w", err)
		}
	}
	return err
}

// write makes m durable in the journal. A full disk may get room again; after a
// failed fsync nobody knows what is there.
func (h *History) write(m *memory) error {
	if m.size == 0 {
		return nil
	}
	size, err := h.journal.append(m)
	if err != nil {
		return fmt.Errorf("history: %w", errors.Join(err, h.journal.file.Truncate(h.journal.size)))
	}
	if err := h.disk.sync(h.journal.file); err != nil {
		return h.fail(err)
	}
	h.mu.Lock()
	h.journal.size = size
	h.mu.Unlock()
	return nil
}

// fail ends all writing.
func (h *History) fail(err error) error {
	h.broken = fmt.Errorf("history: %w: %w", ErrBroken, err)
	h.dead.Store(true)
	return h.broken
}

// rotate makes segments of what the journal has, and begins a new one. writing is
// held.
func (h *History) rotate() (err error) {
	segments := slices.Clone(h.segments)
	defer func() {
		if err != nil {
			h.discard(segments[len(h.segments):])
		}
	}()
	for p := range h.kept.periods {
		sorted := h.kept.sorted(p)
		s := &segment{id: h.number(), key: h.journal.key, from: uint32(p), span: h.span}
		if err := h.disk.writeSegment(s, func() (r record, more bool, err error) {
			if more = len(sorted) > 0; more {
				r, sorted = sorted[0], sorted[1:]
			}
			return r, more, nil
		}); err != nil {
			return err
		}
		segments = append(segments, s)
	}
	before := h.journal
	if err := h.turn(segments); err != nil {
		return err
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
	return errors.Join(before.file.Close(), h.disk.remove(journalName(before.id)))
}

// discard gives up segments that no manifest names. writing is held.
func (h *History) discard(segments []*segment) {
	for _, s := range segments {
		_ = s.file.Close()
		if h.broken == nil { // else one may name them
			_ = h.disk.remove(segmentName(s.id))
		}
	}
}

// turn begins a new journal beside segments, which have all that the one of before
// had.
func (h *History) turn(segments []*segment) error {
	j, err := h.disk.createJournal(h.number(), h.id)
	if err != nil {
		return err
	}
	if err := h.keep(j.id, segments, h.forgotten); err != nil {
		return errors.Join(err, j.file.Close())
	}
	h.mu.Lock()
	h.journal, h.segments, h.kept = j, segments, newMemory()
	h.mu.Unlock()
	return nil
}

// keep replaces the manifest. When that fails nobody knows which one counts.
func (h *History) keep(journal uint64, segments []*segment, forgotten uint32) error {
	m := manifest{journal: journal, next: h.next, forgotten: forgotten}
	for _, s := range segments {
		m.segments = append(m.segments, s.id)
	}
	if err := h.disk.replace(manifestFile, m.encode()); err != nil {
		return h.fail(err)
	}
	return nil
}

// number returns a number that no file had. writing is held.
func (h *History) number() uint64 {
	h.next++
	return h.next - 1
}

// Find returns the trace of each value, in their order. A network is as wide as
// Options.Prefixes and the addresses in it can tell: its trace is the sum over
// the up to 256 networks of the nearest length that is kept.
func (h *History) Find(values []notice.Indicator) ([]Trace, error) {
	out, totals := make([]Trace, len(values)), make([]total, len(values))
	questions := make([]question, 0, len(values))
	for i, v := range values {
		out[i].Unkept = !h.asked(v, func(m mark) { questions = append(questions, question{m, i}) })
	}
	slices.SortFunc(questions, func(a, b question) int { return cmp.Compare(a.mark, b.mark) })
	oldest := h.oldest()
	// A chunk is asked at one moment, so that what moves between files is in one.
	for chunk := range slices.Chunk(questions, findAtOnce) {
		if err := h.find(chunk, func(of int, t tally) { totals[of].add(t, oldest) }); err != nil {
			return nil, err
		}
	}
	for i := range totals {
		totals[i].into(&out[i])
	}
	return out, nil
}

func (h *History) find(questions []question, yield func(of int, t tally)) error {
	var bad []place
	h.mu.RLock()
	if h.closed {
		h.mu.RUnlock()
		return errClosed
	}
	for _, m := range []*memory{h.pending, h.flying, h.kept} {
		m.find(questions, yield)
	}
	var err error
	for _, s := range h.segments {
		if s.key != h.id || err != nil {
			continue
		}
		err = s.find(questions, yield, func(block int) { bad = append(bad, place{segmentName(s.id), block}) })
	}
	h.mu.RUnlock()
	for _, p := range bad {
		h.lose(p, errDamaged)
	}
	return err
}

// Stats returns what the history has.
func (h *History) Stats() Stats {
	oldest := h.oldest()
	h.mu.RLock()
	defer h.mu.RUnlock()
	out := Stats{
		Records: uint64(h.pending.size + h.flying.size + h.kept.size), Damaged: uint64(len(h.bad)), Broken: h.dead.Load(),
		Since: 1000 * int64(max(oldest, h.forgotten)), Full: h.forgotten > oldest,
	}
	if h.journal != nil {
		out.Bytes = h.journal.size
	}
	for _, s := range h.segments {
		out.Bytes += s.size
		if s.key != h.id {
			out.Unreadable += s.size
		} else {
			out.Records += s.records
		}
	}
	return out
}

// Close flushes and closes the files.
func (h *History) Close() error {
	h.ending.Do(func() {
		close(h.stop)
		h.wait.Wait()
		h.writing.Lock()
		defer h.writing.Unlock()
		h.ended = errors.Join(h.flush(), h.release())
	})
	return h.ended
}

// release closes the files.
func (h *History) release() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	var errs []error
	if h.journal != nil {
		errs = append(errs, h.journal.file.Close())
	}
	for _, s := range h.segments {
		errs = append(errs, s.file.Close())
	}
	return errors.Join(errs...)
}

// period returns the one in which a second is.
func (h *History) period(at uint32) period { return period(at - at%h.span) }

// oldest is the second before which nothing is remembered.
func (h *History) oldest() uint32 {
	return uint32(max(h.o.Now().Unix()-int64(h.o.Days)*daySeconds, 0))
}

func (h *History) bytesMax() int64 { return int64(h.o.MiB) << 20 }
