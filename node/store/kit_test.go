package store_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const (
	hour  = 3_600_000 // ms
	day   = 24 * hour
	start = int64(1_800_000_000_000) // ms, where the clocks of these tests start
)

// A clock is set by hand.
type clock struct{ ms atomic.Int64 }

func (c *clock) Now() time.Time { return time.UnixMilli(c.ms.Load()) }

func newClock() *clock {
	c := &clock{}
	c.ms.Store(start)
	return c
}

func open(t testing.TB, o store.Options) *store.Store {
	t.Helper()
	if o.Dir == "" {
		o.InMemory = true
	}
	s, err := store.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// salt is different at each call of one number, and the same in every run.
func salt(n uint64) (out [16]byte) {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
	return [16]byte(sum[:])
}

func value(t testing.TB, v string) notice.Indicator {
	t.Helper()
	i, err := notice.Detect(v, notice.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func sighting(i notice.Indicator, n, count uint64) *notice.Notice {
	return &notice.Notice{
		Kind: notice.KindSighting, Salt: salt(n), Created: start, Indicator: &i,
		FirstSeen: start - hour, LastSeen: start - hour + int64(n%1000), Count: count,
	}
}

func raw(t testing.TB, n *notice.Notice) []byte {
	t.Helper()
	b, err := notice.Encode(n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A writer signs envelopes of one member as one chain.
type writer struct {
	*testkit.Member
	last *crypto.Envelope
}

// envelope signs notices as the next of the chain.
func (w *writer) envelope(t testing.TB, h crypto.Header, notices ...*notice.Notice) store.Entry {
	t.Helper()
	items := make([][]byte, len(notices))
	for i, n := range notices {
		items[i] = raw(t, n)
	}
	if h.Time == 0 {
		h.Time = start
	}
	if h.Expiry == 0 {
		h.Expiry = h.Time + 390*day
	}
	w.last = w.Envelope(t, h, w.last, items...)
	return entry(t, w.last)
}

// entry decodes an envelope as the accept order does.
func entry(t testing.TB, e *crypto.Envelope) store.Entry {
	t.Helper()
	out := store.Entry{Envelope: e, Received: start}
	if e.Erased() {
		return out
	}
	items, err := e.Split()
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range items {
		it := store.Item{Index: i, ID: crypto.NewItemID(e.Header.Author, crypto.LeafHash(b))}
		if it.Notice, err = notice.Decode(b); err != nil {
			it.Notice, it.Err = nil, err.Error()
		}
		out.Items = append(out.Items, it)
	}
	return out
}

func writers(t testing.TB, n int) []*writer {
	t.Helper()
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("hospital %d", i)
	}
	var out []*writer
	for _, m := range testkit.NewRegion(t, names...).Members {
		out = append(out, &writer{Member: m})
	}
	return out
}

func put(t testing.TB, s *store.Store, entries ...store.Entry) []store.Appended {
	t.Helper()
	out, err := s.Append(t.Context(), entries)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func local(t testing.TB, author crypto.MemberID, n *notice.Notice, tlp notice.TLP, a crypto.Audience) store.LocalItem {
	t.Helper()
	b := raw(t, n)
	return store.LocalItem{
		ID: crypto.NewItemID(author, crypto.LeafHash(b)), Raw: b, Notice: n, Author: author,
		TLP: tlp, Audience: a, Content: notice.ContentKey(author, n),
	}
}

func summary(t testing.TB, s *store.Store, i notice.Indicator, ceiling notice.TLP) store.Summary {
	t.Helper()
	sum, found, err := s.Summary(i.Key(), ceiling)
	if err != nil {
		t.Fatal(err)
	}
	if found != (sum.Indicator.Type != 0) {
		t.Fatalf("found %v, summary %+v", found, sum)
	}
	return sum
}
