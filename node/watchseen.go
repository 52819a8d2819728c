package node

import (
	"errors"

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
	to    remembers // nil when it is off
	slots []seenSlot
	used  []uint32 // slots with a count
	batch []history.Seen
	err   error // of the last Add: its batch waits, and ready tries again
	dead  bool  // the history keeps nothing more: see history.ErrBroken
}

// remembers is what is used of a history.
type remembers interface {
	Add([]history.Seen) error
	Flush() error
}

type seenSlot struct {
	value       notice.Indicator
	first, last int64 // ms
	count       uint32
}

func newSeen(to *history.History) seen {
	if to == nil {
		return seen{}
	}
	return seen{to: to, slots: make([]seenSlot, seenSlots)}
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
	if len(s.batch) >= seenBatch && s.err == nil { // else ready has it, before more is read
		s.add()
	}
}

// add hands the batch over. One that is not taken stays, or what is read on would be
// missing for good; a history that is dead takes none until a restart.
func (s *seen) add() {
	if s.dead {
		s.batch = s.batch[:0]
		return
	}
	s.err = s.to.Add(s.batch)
	if s.dead = errors.Is(s.err, history.ErrBroken); s.dead {
		s.err = nil
	}
	if s.err == nil {
		s.batch = s.batch[:0]
	}
}

// ready returns nil if more may be counted: what could not be handed over is, now.
func (s *seen) ready() error {
	if s.err != nil {
		s.add()
	}
	return s.err
}

// flush returns when the history has on disk all that was counted. From a dead one it
// is history.ErrBroken, each time.
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
	if s.err != nil {
		return s.err
	}
	return s.to.Flush()
}
