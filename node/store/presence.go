package store

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/node/notice"
)

// MayHave reports whether something may be known of an indicator. False is
// certain and costs nanoseconds; true must be looked up.
func (s *Store) MayHave(key notice.Key) bool {
	return !s.presence.ready.Load() || s.presence.keys.has(s.presence.hash(key[:]))
}

// MayHaveNetwork is MayHave for a network with its host bits cleared.
func (s *Store) MayHaveNetwork(p netip.Prefix) bool {
	return !s.presence.ready.Load() || s.presence.networks.has(s.presence.network(p))
}

// Presences is another number whenever MayHave may have come to say true where it said
// false, and 0 until it can say false at all. Ask for it before MayHave, and a no holds
// for as long as it stays.
func (s *Store) Presences() uint64 {
	if !s.presence.ready.Load() {
		return 0
	}
	return 1 + s.presence.keys.added.Load() + s.presence.networks.added.Load()
}

// A presence knows all indicators that have a summary by 32 bits of a hash, in 5
// to 11 bytes an indicator. What is not in it has none. With a million
// indicators one in 4,000 of all others is taken to be in it and asked for in
// vain. It is filled from the disk after the start, and by the writer before it
// commits, so that whoever reads a commit finds it here. What loses its last
// evidence stays until the next start.
type presence struct {
	seed     maphash.Seed // of this process, so that nobody can choose values that collide
	keys     hashSet
	networks hashSet     // those of type cidr: an address asks for up to 108
	ready    atomic.Bool // what was on disk is in it
}

func newPresence(indicators uint64) *presence {
	p := &presence{seed: maphash.MakeSeed()}
	p.keys.init(indicators)
	p.networks.init(0)
	return p
}

func (p *presence) hash(b []byte) uint32 { return uint32(maphash.Bytes(p.seed, b)) }

func (p *presence) network(n netip.Prefix) uint32 {
	var b [17]byte
	a := n.Addr().As16()
	copy(b[:], a[:])
	b[16] = byte(n.Bits())
	if n.Addr().Is4() {
		b[16] += 96
	}
	return p.hash(b[:])
}

// add is called before the summary is committed.
func (p *presence) add(key notice.Key, i notice.Indicator) {
	p.keys.add(p.hash(key[:]))
	if i.Type != notice.TypeCIDR {
		return
	}
	if n, err := netip.ParsePrefix(i.Value); err == nil {
		p.networks.add(p.network(n))
	}
}

const (
	fillStep  = 2048              // summaries read under one snapshot
	fillTries = 4                 // a step's, when commits come in between
	fillSome  = recallMax / 8 * 7 // of them for recall, when there are more than it holds
)

// fill reads which summaries there are, and the summaries themselves into recall:
// all of them or, when there are more than it holds, a share that is spread
// evenly. Until it is done everything may be here.
func (s *Store) fill(indicators uint64) {
	began := time.Now()
	share := uint64(1) << 32 // hashes below it are for recall
	if indicators > recallMax {
		share = share / indicators * fillSome
	}
	err := error(nil)
	for from, tries := []byte{tableSummary}, 0; from != nil && err == nil; {
		var next []byte
		var kept bool
		next, kept, err = s.fillFrom(from, share)
		if tries++; kept || tries >= fillTries { // else it is read again: a commit may have changed it
			from, tries = next, 0
		}
	}
	switch {
	case errors.Is(err, ErrClosed):
	case err != nil:
		s.log.Error("which indicators there are is not readable, so each lookup asks the disk", "err", err)
	default:
		s.presence.ready.Store(true)
		s.log.Debug("indicators counted", "ms", time.Since(began).Milliseconds())
	}
}

// fillFrom reads fillStep summaries. It returns the key to go on from, nil at
// the end, and whether recall has kept those of the share.
func (s *Store) fillFrom(from []byte, share uint64) (next []byte, kept bool, err error) {
	select {
	case <-s.stop:
		return nil, false, ErrClosed
	default:
	}
	mark := s.recall.look(nil, nil)
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues = []byte{tableSummary}, false
	it := txn.NewIterator(o)
	defer it.Close()
	found := make([]recalled, 0, fillStep)
	n := 0
	for it.Seek(from); it.Valid(); it.Next() {
		if n++; n > fillStep {
			next = it.Item().KeyCopy(nil)
			break
		}
		if len(it.Item().Key()) != 1+len(notice.Key{}) {
			return nil, false, fmt.Errorf("summary's key: %w", errCorrupt)
		}
		key := notice.Key(it.Item().Key()[1:])
		hash := s.presence.hash(key[:])
		s.presence.keys.add(hash)
		network := key[0] == byte(notice.TypeCIDR)
		if !network && uint64(hash) >= share {
			continue
		}
		err := it.Item().Value(func(v []byte) error {
			if network {
				if err := s.presence.addNetwork(key, v); err != nil {
					return err
				}
			}
			var c counts
			b, err := c.decodeStored(v)
			found = append(found, recalled{key, b})
			return err
		})
		if err != nil {
			return nil, false, err
		}
	}
	return next, s.recall.learn(mark, found), nil
}

// addNetwork adds the network of a stored summary: its key is a hash.
func (p *presence) addNetwork(key notice.Key, v []byte) error {
	var f fold
	if err := f.decode(v); err != nil {
		return err
	}
	if _, err := netip.ParsePrefix(f.indicator.Value); err != nil {
		return fmt.Errorf("network: %w", errCorrupt)
	}
	p.add(key, f.indicator)
	return nil
}

// A hashSet is a set of numbers that are random already: open addressing, at
// most three quarters full, doubled when it is. Reading takes no lock.
type hashSet struct {
	table atomic.Pointer[[]atomic.Uint32] // a power of two of slots; 0 = free
	added atomic.Uint64                   // numbers, each counted after it is in the table

	mu   sync.Mutex // of whoever adds
	used int
}

const hashSetMin = 1 << 10 // slots

// init makes room for n numbers.
func (s *hashSet) init(n uint64) {
	size := uint64(hashSetMin)
	for size < n+n/2 {
		size *= 2
	}
	table := make([]atomic.Uint32, size)
	s.table.Store(&table)
}

func (s *hashSet) has(n uint32) bool {
	table := *s.table.Load()
	return table[find(table, n)].Load() != 0
}

func (s *hashSet) add(n uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	table := *s.table.Load()
	at := find(table, n)
	if table[at].Load() != 0 {
		return
	}
	if s.used++; s.used > len(table)/4*3 {
		table = double(table)
		at = find(table, n)
		table[at].Store(filled(n))
		s.table.Store(&table)
	} else {
		table[at].Store(filled(n))
	}
	s.added.Add(1)
}

// find returns the slot that has n, or the free one where it belongs. Its place
// is told by its highest bits, so that a larger table can be filled from a
// smaller one.
func find(table []atomic.Uint32, n uint32) int {
	n = filled(n)
	at := int(uint64(n) * uint64(len(table)) >> 32)
	for {
		if v := table[at].Load(); v == n || v == 0 {
			return at
		}
		at = (at + 1) & (len(table) - 1)
	}
}

// filled keeps 0 for free slots.
func filled(n uint32) uint32 { return max(n, 1) }

func double(old []atomic.Uint32) []atomic.Uint32 {
	table := make([]atomic.Uint32, 2*len(old))
	for i := range old {
		if n := old[i].Load(); n != 0 {
			table[find(table, n)].Store(n)
		}
	}
	return table
}
