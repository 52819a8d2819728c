// Package history remembers which observables a hospital's own logs had, when
// first, when last and how often, so that what becomes known today can be held
// against what was seen before.
//
// No value is kept: a record has 64 bits of a keyed hash. The key is made once
// and stays in the directory; whoever has both can test values, so neither is
// ever part of what leaves the node. DESIGN.md has the files and why they are so.
package history

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
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

const (
	daySeconds = 24 * 60 * 60
	pendingMax = 65_536 // records not flushed; then Add does
	periodsMax = 12     // about as many make up Options.Days
)

var errClosed = errors.New("the history is closed")

// A History is safe for concurrent use.
type History struct {
	o    Options
	log  *slog.Logger
	key  key
	span uint32 // seconds that a period has

	writing sync.Mutex // held while files change
	journal *journal   // by writing
	broken  error      // by writing; a failed fsync leaves nothing certain

	mu      sync.RWMutex // guards what follows; never held while a file is written
	pending *memory      // since the last Flush
	flying  *memory      // being flushed
	kept    *memory      // in the journal
	closed  bool
}

// Open opens the history in o.Dir. What a crash tore off the end of a file is
// dropped, and named in the log.
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
	o.Prefixes = slices.Compact(slices.Sorted(slices.Values(o.Prefixes)))
	h := &History{o: o, log: o.Log, span: uint32(max(o.Days/periodsMax, 1) * daySeconds), pending: newMemory(), flying: newMemory(), kept: newMemory()}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	var err error
	if h.key, err = openKey(o.Dir); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	if err := h.openJournal(); err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	return h, nil
}

// Add takes in what logs say. It is durable after the next Flush; a crash before
// loses what came since the last one.
func (h *History) Add(seen []Seen) error {
	now := uint32(h.o.Now().Unix())
	oldest := h.oldest()
	list := make([]record, 0, 4*len(seen))
	for _, s := range seen {
		at := uint32(max(s.Time, 0) / 1000)
		if at == 0 || at > now {
			at = now
		}
		if at < oldest {
			continue
		}
		h.marks(s.Indicator, func(m mark) { list = append(list, record{m, tally{at, at, max(s.Count, 1)}}) })
	}
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return errClosed
	}
	for _, r := range list {
		h.pending.add(h.period(r.last), r.mark, r.tally)
	}
	full := h.pending.size >= pendingMax
	h.mu.Unlock()
	if full {
		return h.Flush()
	}
	return nil
}

// Flush returns when all that was added before is on disk. After an error it is
// still in memory, and the next Flush tries again.
func (h *History) Flush() error {
	h.writing.Lock()
	defer h.writing.Unlock()
	return h.flush()
}

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
	defer h.mu.Unlock()
	into := h.kept
	if err != nil {
		into = h.pending
	}
	into.addAll(h.flying)
	h.flying = newMemory()
	return err
}

// Find returns the trace of each value, in their order. A network is as wide as
// Options.Prefixes and the addresses in it can tell: its trace is the sum over
// the up to 256 networks of the nearest length that is kept.
func (h *History) Find(values []notice.Indicator) ([]Trace, error) {
	out := make([]Trace, len(values))
	oldest := h.oldest()
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed {
		return nil, errClosed
	}
	for i, v := range values {
		var sum total
		out[i].Unkept = !h.asked(v, func(m mark) {
			for _, in := range []*memory{h.kept, h.flying, h.pending} {
				in.find(m, oldest, &sum)
			}
		})
		sum.into(&out[i])
	}
	return out, nil
}

// Close flushes and closes the files.
func (h *History) Close() error {
	h.writing.Lock()
	defer h.writing.Unlock()
	err := h.flush()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	h.closed = true
	return joinClose(err, h.journal.file)
}

// write makes m durable in the journal. writing is held. A full disk may get room;
// after a failed fsync nobody knows what is there.
func (h *History) write(m *memory) error {
	if m.size == 0 {
		return nil
	}
	before := h.journal.size
	if err := h.journal.append(m); err != nil {
		h.journal.size = before
		return fmt.Errorf("history: %w", errors.Join(err, h.journal.file.Truncate(before)))
	}
	if err := h.journal.file.Sync(); err != nil {
		h.broken = fmt.Errorf("history: nothing more is kept until a restart: %w", err)
		return h.broken
	}
	return nil
}

// openJournal takes in what the journal has.
func (h *History) openJournal() error {
	path := filepath.Join(h.o.Dir, "journal")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		h.journal, err = createJournal(path, h.key.id())
		return err
	}
	var err error
	h.journal, _, err = openJournal(path, h.log, func(r record) { h.kept.add(h.period(r.last), r.mark, r.tally) })
	return err
}

// period returns the one in which a second is.
func (h *History) period(at uint32) period { return period(at - at%h.span) }

// oldest is the second before which nothing is remembered.
func (h *History) oldest() uint32 {
	return uint32(max(h.o.Now().Unix()-int64(h.o.Days)*daySeconds, 0))
}
