package node

import (
	"cmp"
	"errors"
	"testing"

	"github.com/watchward/watchward/node/history"
	"github.com/watchward/watchward/node/notice"
)

// A memory takes what it is given, unless it fails.
type memory struct {
	err  error
	full error // of Add alone
	took map[string]uint32
}

func (m *memory) Add(all []history.Seen) error {
	if err := cmp.Or(m.err, m.full); err != nil {
		return err
	}
	for _, s := range all {
		m.took[s.Value] += s.Count
	}
	return nil
}

func (m *memory) Flush() error { return m.err }

// What a history does not take waits until it does, and nothing counts as kept before; a
// dead one never has it.
func TestSeenWaitsForTheHistory(t *testing.T) {
	m := &memory{err: errors.New("no space left on device"), took: map[string]uint32{}}
	s := seen{to: m, slots: make([]seenSlot, seenSlots)}
	value := func(v string) notice.Indicator { return notice.Indicator{Type: notice.TypeDomain, Value: v} }
	s.count(1, value("one.example"), 1000)
	if s.flush() == nil || s.ready() == nil {
		t.Fatal("a failure is forgotten")
	}
	s.count(1, value("two.example"), 2000)
	m.err, m.full = nil, m.err // what it has it writes, and takes no more
	if s.flush() == nil {
		t.Fatal("a failure is forgotten")
	}
	m.full = nil
	if err := s.ready(); err != nil {
		t.Fatal(err)
	}
	if err := s.flush(); err != nil || m.took["one.example"] != 1 || m.took["two.example"] != 1 {
		t.Errorf("%v, %v", m.took, err)
	}
	m.err = history.ErrBroken
	for range 3 {
		s.count(2, value("three.example"), 3000)
		if err := s.flush(); !errors.Is(err, history.ErrBroken) || s.ready() != nil || len(s.batch) != 0 {
			t.Errorf("dead: flush %v, ready %v, %d wait", err, s.ready(), len(s.batch))
		}
	}
}
