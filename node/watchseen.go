package node

import (
	"github.com/watchward/watchward/node/history"
	"github.com/watchward/watchward/node/notice"
)

const (
	seenSlots = 1 << 14 // values that are counted before they go to the history; a power of two
	seenBatch = 8_192   // values of one Add
)

// seen counts what the logs had until the history takes it: logs say the same again and
// again.
type seen struct {
	to    *history.History // nil when it is off
	slots []seenSlot
	used  []uint32 // slots with a count
	batch []history.Seen
	err   error // of the last Add; flush returns it
}

type seenSlot struct {
	value       notice.Indicator
	first, last int64 // ms
	count       uint32
}

func newSeen(to *history.History) seen {
	s := seen{to: to}
	if to != nil {
		s.slots = make([]seenSlot, seenSlots)
	}
	return s
}

// count notes a value, of which hash is any hash.
func (s *seen) count(hash uint64, i notice.Indicator, at int64) {
	n := uint32(hash % seenSlots)
	slot := &s.slots[n]
	if slot.count > 0 && (slot.value != i || slot.count == 1<<32-1) {
		s.spill(slot)
	} else if slot.count == 0 {
		s.used = append(s.used, n)
	}
	if slot.count == 0 {
		slot.value, slot.first, slot.last = i, at, at
	}
	slot.count++
	slot.first, slot.last = min(slot.first, at), max(slot.last, at)
}

// spill makes room in a slot.
func (s *seen) spill(slot *seenSlot) {
	if slot.first/1000 != slot.last/1000 { // the history has seconds
		s.batch = append(s.batch, history.Seen{Indicator: slot.value, Time: slot.first, Count: 1})
		slot.count--
	}
	s.batch = append(s.batch, history.Seen{Indicator: slot.value, Time: slot.last, Count: slot.count})
	slot.count = 0
	if len(s.batch) >= seenBatch {
		s.add()
	}
}

func (s *seen) add() {
	if err := s.to.Add(s.batch); err != nil {
		s.err = err
	}
	s.batch = s.batch[:0]
}

// flush returns when the history has on disk all that was counted.
func (s *seen) flush() error {
	if s.to == nil {
		return nil
	}
	for _, n := range s.used {
		if s.slots[n].count > 0 {
			s.spill(&s.slots[n])
		}
	}
	s.used = s.used[:0]
	s.add()
	err := s.err
	s.err = nil
	if e := s.to.Flush(); err == nil {
		err = e
	}
	return err
}
