package store

import (
	"bytes"
	"context"
	"fmt"
	"runtime"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/node/notice"
)

// Bounds of the memory of summaries.
const (
	RecallMax      = recallMax
	RecallPart     = recallPart
	RecallBytesMax = recallBytesMax
)

// A Recall is the memory of summaries for tests.
type Recall struct{ r *recall }

// NewRecall makes one with room for n.
func NewRecall(n uint64) Recall { return Recall{newRecall(n)} }

// Learn keeps counts as a reader does who has seen no commit.
func (r Recall) Learn(key notice.Key, counts []byte) {
	r.r.learn(r.r.look(nil, nil), []recalled{{key, counts}})
}

// Forget takes keys out as a commit does that deletes them.
func (r Recall) Forget(keys ...notice.Key) {
	changing := map[notice.Key]struct{}{}
	for _, key := range keys {
		changing[key] = struct{}{}
	}
	r.r.begin(changing)
	r.r.end()
}

// Look returns a copy of the counts that are kept, nil for those that are not.
func (r Recall) Look(keys ...notice.Key) [][]byte {
	out := make([][]byte, len(keys))
	r.r.look(keys, func(i int, counts []byte) { out[i] = append([]byte{}, counts...) })
	return out
}

// Bytes returns the memory of the summaries, without that of their places.
func (r Recall) Bytes() int { return len(r.r.parts) * recallPart }

// Recalls returns how many of the summaries are in memory.
func (s *Store) Recalls(keys []notice.Key) (n int) {
	s.recall.look(keys, func(int, []byte) { n++ })
	return n
}

// Refill reads the summaries into memory as after a start, as if there were so
// many.
func (s *Store) Refill(indicators uint64) { s.fill(indicators) }

// AwaitPresence returns when the store knows which indicators it has.
func (s *Store) AwaitPresence() {
	for !s.presence.ready.Load() {
		runtime.Gosched()
	}
}

// A HashSet is a set of hashes for tests.
type HashSet struct{ set hashSet }

// NewHashSet makes a set with room for n.
func NewHashSet(n uint64) *HashSet {
	s := &HashSet{}
	s.set.init(n)
	return s
}

// Has reports whether n is in the set.
func (s *HashSet) Has(n uint32) bool { return s.set.has(n) }

// Add puts n into the set.
func (s *HashSet) Add(n uint32) { s.set.add(n) }

// BadgerOptions are the options that Open uses for a store in dir.
func BadgerOptions(dir string) badger.Options {
	return badgerOptions(Options{Dir: dir}, nil).WithLogger(nil)
}

// SetCommit and SetFree replace what a test has no disk for. No write may be
// under way.
func SetCommit(s *Store, commit func(*badger.Txn) error) { s.commit = commit }

func SetFree(s *Store, free func(string) (uint64, error)) { s.free = free }

// Amid runs f while a batch is being staged, and lets the batch take the op that f
// hands in from a goroutine of its own.
func Amid(s *Store, f func()) error {
	return s.do(context.Background(), 1, func(*batch) error {
		f()
		for len(s.ops) == 0 {
			runtime.Gosched()
		}
		return nil
	})
}

// CloseFiles closes what Close leaves open once a write has failed.
func CloseFiles(s *Store) error { return s.db.Close() }

// Logger is what Badger logs to.
func Logger(s *Store) badger.Logger { return badgerLog{s} }

// DecodeAll runs every decoder on v and reports one that does not agree with
// its encoder.
func DecodeAll(v []byte) error {
	again := func(what string, encode []byte, decode func([]byte) ([]byte, error)) error {
		b, err := decode(encode)
		if err != nil || !bytes.Equal(b, encode) {
			return fmt.Errorf("%s: %x became %x: %v", what, encode, b, err)
		}
		return nil
	}
	for what, decode := range map[string]func([]byte) ([]byte, error){
		"slot":     func(v []byte) ([]byte, error) { s, err := decodeSlot(v); return s.encode(), err },
		"item":     func(v []byte) ([]byte, error) { s, err := decodeItem(v); return s.encode(), err },
		"evidence": func(v []byte) ([]byte, error) { e, err := decodeEvidence(v); return e.appendTo(nil), err },
		"meta":     func(v []byte) ([]byte, error) { m, err := decodeMeta(v); return m.encode(), err },
		"summary":  func(v []byte) ([]byte, error) { var f fold; err := f.decode(v); return f.encode(), err },
		"chain": func(v []byte) ([]byte, error) {
			c, err := decodeChain(1, v)
			if err != nil {
				return nil, err
			}
			return c.encode(), nil
		},
		"local": func(v []byte) ([]byte, error) {
			e, err := decodeEntry(v)
			if err != nil {
				return nil, err
			}
			w, err := e.local()
			if err != nil {
				return nil, err
			}
			return w.encode(), nil
		},
	} {
		if b, err := decode(v); err == nil {
			if err := again(what, b, decode); err != nil {
				return err
			}
		}
	}
	_, _ = splitEntry(v)
	return nil
}
