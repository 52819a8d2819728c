package store

import (
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
)

// recentScanMax bounds the slots of one chain that Open looks back through to
// rebuild Holding.Recent.
const recentScanMax = 4096

// load reads what is kept in memory: members, chains, the frontier, the
// counters.
func (s *Store) load() error {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	v, err := get(txn, []byte{tableMeta})
	if err != nil {
		return err
	}
	if v != nil {
		if s.meta, err = decodeMeta(v); err != nil {
			return err
		}
	}
	err = scan(txn, []byte{tableMember}, func(key, v []byte) error {
		if len(v) != len(crypto.MemberID{}) || len(key) != 1+4 {
			return fmt.Errorf("member: %w", errCorrupt)
		}
		id := crypto.MemberID(v)
		s.numbers[id] = uint32(len(s.members))
		s.members = append(s.members, id)
		return nil
	})
	if err != nil {
		return err
	}
	err = scan(txn, []byte{tableChain}, func(key, v []byte) error {
		c, err := decodeChain(uint32(len(s.chains)), v)
		if err == nil {
			s.chains[c.holding.Chain] = c
		}
		return err
	})
	if err != nil {
		return err
	}
	s.meta.chains = uint32(len(s.chains))
	for _, c := range s.chains {
		if err := s.restore(txn, c); err != nil {
			return fmt.Errorf("chain %d: %w", c.number, err)
		}
		s.frontier.Put(c.holding)
	}
	return nil
}

// restore rebuilds the part of a holding that is not stored: its latest slots,
// as long as their time is within the window in which peers compare.
func (s *Store) restore(txn *badger.Txn, c *chainState) error {
	h := &c.holding
	if len(h.Ranges) == 0 {
		return nil
	}
	o := badger.DefaultIteratorOptions
	o.Prefix, o.Reverse, o.PrefetchValues = key4(tableSlot, c.number), true, false
	it := txn.NewIterator(o)
	defer it.Close()
	since := s.now() - mesh.RecentWindow.Milliseconds()
	var slots []mesh.Slot
	for it.Seek(slotKey(tableSlot, c.number, h.Highest())); it.Valid() && len(slots) < recentScanMax; it.Next() {
		var held slot
		if err := it.Item().Value(func(v []byte) (err error) {
			held, err = decodeSlot(v)
			return err
		}); err != nil {
			return err
		}
		seq := seqOf(it.Item().Key())
		if c.cut.Limited && seq < c.low {
			break // not withdrawn yet
		}
		slots = append(slots, mesh.Slot{
			Chain: h.Chain, Seq: seq, ID: held.id, Time: held.time, Floor: held.floor, Urgent: held.urgent,
		})
		if held.time < since {
			break // time does not fall along a chain, so all below is older
		}
	}
	slices.Reverse(slots)
	for _, slot := range slots {
		*h = h.With(slot, s.now())
	}
	return nil
}
