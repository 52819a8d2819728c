package store

import (
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/notice"
)

// A State says whether an item has left.
type State uint8

const (
	Local  State = 2 // stays here
	Waits  State = 3 // in the outbox, to be signed
	Signed State = 4 // in an envelope
	// Withdrawn: in an envelope that does not count, its author being revoked. Only
	// WithdrawnRecords shows it.
	Withdrawn State = 5
)

func (s State) String() string {
	switch s {
	case Local:
		return "local"
	case Waits:
		return "waiting"
	case Signed:
		return "signed"
	case Withdrawn:
		return "withdrawn"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// A Record is a notice with all that is known around it.
type Record struct {
	ID     crypto.ItemID
	Notice *notice.Notice
	Author crypto.MemberID

	Local uint64 // local number of what carries it
	// First is the local number under which it was first visible: less than
	// Local if it waited in the outbox before it was signed.
	First    uint64
	Index    int   // in its envelope
	Received int64 // ms
	Expiry   int64 // ms; it no longer counts from then on

	TLP      notice.TLP // 0 = unmarked
	Audience crypto.Audience
	Exercise bool
	Urgent   bool

	State     State
	Flags     Flags
	Retracted bool
	Disputes  int // members that dispute this notice, under any marking

	Envelope crypto.EnvelopeID // zero unless signed
	To       []crypto.MemberID // of the named audience: whom it is for
	Header   *crypto.Header    // nil unless signed

	disputes [notice.TLPRed + 1]int // members by their loosest dispute
}

// DisputesWithin returns how many members dispute the notice in words that may
// be shown under a ceiling.
func (r *Record) DisputesWithin(ceiling notice.TLP) (n int) {
	for tlp, members := range r.disputes {
		if Visible(notice.TLP(tlp), ceiling) {
			n += members
		}
	}
	return n
}

// Slot returns the id of the envelope that holds a number of a chain.
func (s *Store) Slot(chain crypto.ChainID, seq uint64) (crypto.EnvelopeID, bool) {
	if h, ok := s.frontier.Get(chain); !ok || !h.Has(seq) {
		return crypto.EnvelopeID{}, false
	}
	number, _ := s.chainNumber(chain)
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	var held slot
	found, err := view(txn, slotKey(tableSlot, number, seq), func(v []byte) (err error) {
		held, err = decodeSlot(v)
		return err
	})
	if err != nil {
		s.log.Error("slot not readable", "seq", seq, "err", err)
	}
	return held.id, found && err == nil
}

func (s *Store) chainNumber(chain crypto.ChainID) (uint32, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if c, ok := s.chains[chain]; ok {
		return c.number, true
	}
	return 0, false
}

// Read yields the stored messages of a chain within r, in ascending or, when
// newestFirst, descending order of seq, until yield returns false. A message
// whose items are gone comes without them; of two with one number the lower id
// comes first. The slices are the caller's.
func (s *Store) Read(chain crypto.ChainID, r mesh.Range, newestFirst bool, yield func(seq uint64, raw []byte) bool) error {
	number, ok := s.chainNumber(chain)
	if !ok {
		return nil
	}
	holding, _ := s.frontier.Get(chain)
	limited := s.limited(chain)
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	o := badger.DefaultIteratorOptions
	o.Prefix = key4(tableSlot, number)
	o.Reverse = newestFirst
	it := txn.NewIterator(o)
	defer it.Close()
	from := r.From
	if newestFirst {
		from = r.To
	}
	for it.Seek(slotKey(tableSlot, number, from)); it.Valid(); it.Next() {
		seq := seqOf(it.Item().Key())
		if seq < r.From || seq > r.To {
			return nil
		}
		if limited && !holding.Has(seq) {
			continue // to be withdrawn
		}
		raw, err := slotMessage(txn, it.Item())
		if err != nil {
			return fmt.Errorf("read seq %d: %w", seq, err)
		}
		if !yield(seq, raw) {
			return nil
		}
		if !holding.HasFork(seq) {
			continue
		}
		second, err := txn.Get(slotKey(tableFork, number, seq))
		if errors.Is(err, badger.ErrKeyNotFound) { // it came after this transaction began
			continue
		}
		if err == nil {
			raw, err = slotMessage(txn, second)
		}
		if err != nil {
			return fmt.Errorf("read the second of seq %d: %w", seq, err)
		}
		if !yield(seq, raw) {
			return nil
		}
	}
	return nil
}

// slotMessage returns the message of the envelope that a stored slot names.
func slotMessage(txn *badger.Txn, item *badger.Item) ([]byte, error) {
	var held slot
	if err := item.Value(func(v []byte) (err error) {
		held, err = decodeSlot(v)
		return err
	}); err != nil {
		return nil, err
	}
	v, err := get(txn, entryKey(held.local))
	if err != nil {
		return nil, err
	}
	e, err := decodeEntry(v)
	return e.rest, err
}

func seqOf(key []byte) (seq uint64) {
	for _, c := range key[len(key)-8:] {
		seq = seq<<8 | uint64(c)
	}
	return seq
}

// Record returns the notice with an id. It shows expired and retracted ones.
func (s *Store) Record(id crypto.ItemID) (Record, bool, error) {
	v := s.newView()
	defer v.txn.Discard()
	r, err := v.record(id)
	if errors.Is(err, ErrUnknown) {
		return Record{}, false, nil
	}
	if err != nil {
		return Record{}, false, fmt.Errorf("notice %s: %w", id, err)
	}
	return r, true, nil
}

// Records is Record for many ids, all at one point in time. Ids that are not
// here are left out.
func (s *Store) Records(ids []crypto.ItemID) (map[crypto.ItemID]Record, error) {
	v := s.newView()
	defer v.txn.Discard()
	out := make(map[crypto.ItemID]Record, len(ids))
	for _, id := range ids {
		r, err := v.record(id)
		if errors.Is(err, ErrUnknown) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("notice %s: %w", id, err)
		}
		out[id] = r
	}
	return out, nil
}

// Envelope returns the message that carries an item, and the item's index in
// it, for the inclusion proof. The error is ErrUnknown unless it is signed in the
// open: of a sealed one only the box is signed.
func (s *Store) Envelope(id crypto.ItemID) (raw []byte, index int, err error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	st, err := getItem(txn, id)
	if err == nil && st.state != itemSigned {
		err = ErrUnknown
	}
	if err != nil {
		return nil, 0, fmt.Errorf("envelope of %s: %w", id, err)
	}
	v, err := get(txn, entryKey(st.local))
	if err != nil {
		return nil, 0, fmt.Errorf("envelope of %s: %w", id, err)
	}
	e, err := decodeEntry(v)
	if err == nil && e.kind != entryEnvelope {
		err = ErrUnknown
	}
	return e.rest, int(st.index), err
}

// Evidence returns the notices that a summary sums up, up to limit: sightings,
// indicators and disputes that count now, in no particular order.
func (s *Store) Evidence(key notice.Key, ceiling notice.TLP, limit int) ([]Record, error) {
	v := s.newView()
	defer v.txn.Discard()
	var ids []crypto.ItemID
	now, prefix := s.now(), evidencePrefix(key)
	err := scan(v.txn, prefix, func(k, value []byte) error {
		e, err := decodeEvidence(value)
		if err != nil {
			return err
		}
		if e.counts(now) && Visible(e.tlp, ceiling) {
			ids = append(ids, crypto.ItemID(k[len(prefix):]))
		}
		if len(ids) >= limit {
			return errStop
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	out := make([]Record, 0, len(ids))
	for _, id := range ids {
		r, err := v.record(id)
		if errors.Is(err, ErrUnknown) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("evidence %s: %w", id, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// Strictest returns the strictest marking, up to a ceiling, of the words of an
// indicator that count now: of anybody's, shared or not. 0 if there is none, or
// none was marked.
func (s *Store) Strictest(key notice.Key, ceiling notice.TLP) (strictest notice.TLP, err error) {
	sums, err := s.Summaries([]notice.Key{key}, ceiling)
	if err != nil || sums[0].TLP < notice.TLPAmberStrict {
		return sums[0].TLP, err
	}
	// A summary counts what is unmarked as AMBER+STRICT; the evidence tells.
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	now := s.now()
	err = scan(txn, evidencePrefix(key), func(_, value []byte) error {
		e, err := decodeEvidence(value)
		if err == nil && e.counts(now) && Visible(e.tlp, ceiling) {
			strictest = notice.Stricter(strictest, e.tlp)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("evidence: %w", err)
	}
	return strictest, nil
}

// Stated returns which notices state the same as these items: those that
// AppendLocal would take for known.
func (s *Store) Stated(items []LocalItem) (map[[20]byte]Record, error) {
	v := s.newView()
	defer v.txn.Discard()
	out := map[[20]byte]Record{}
	now := s.now()
	for i := range items {
		l := &items[i]
		r, found, err := v.stated(l.key())
		if err == nil && !found && len(l.To) > 0 { // kept here so far
			r, found, err = v.stated(l.Content)
			found = found && r.State == Local && !r.Retracted
		}
		if err != nil {
			return nil, fmt.Errorf("stated: %w", err)
		}
		if found && r.Expiry > now && !(r.Retracted && l.takesAgain()) {
			out[l.Content] = r
		}
	}
	return out, nil
}

// stated returns the notice that is known by a content key.
func (v *reading) stated(key [20]byte) (Record, bool, error) {
	id, err := get(v.txn, contentKey(key))
	if err != nil || len(id) != len(crypto.ItemID{}) {
		return Record{}, false, err
	}
	r, err := v.record(crypto.ItemID(id))
	if errors.Is(err, ErrUnknown) {
		return Record{}, false, nil
	}
	return r, err == nil, err
}

// entriesMax bounds the entries that a reader keeps cut into records.
const entriesMax = 16

// A reading is one reader's snapshot.
type reading struct {
	s       *Store
	txn     *badger.Txn
	entries map[uint64][]Record // by local number, incomplete records
}

func (s *Store) newView() *reading {
	return &reading{s: s, txn: s.db.NewTransaction(false), entries: map[uint64][]Record{}}
}

func getItem(txn *badger.Txn, id crypto.ItemID) (itemState, error) {
	var st itemState
	found, err := view(txn, itemKey(id), func(v []byte) (err error) {
		st, err = decodeItem(v)
		return err
	})
	if err == nil && (!found || st.state == itemReferred) {
		err = ErrUnknown
	}
	return st, err
}

// record returns one notice.
func (v *reading) record(id crypto.ItemID) (Record, error) {
	st, err := getItem(v.txn, id)
	if err != nil {
		return Record{}, err
	}
	records, err := v.entry(st.local)
	if err != nil {
		return Record{}, err
	}
	for _, r := range records {
		if r.ID == id && r.Index == int(st.index) {
			return r, v.complete(&r, st)
		}
	}
	return Record{}, ErrUnknown
}

// complete adds what is kept by id.
func (v *reading) complete(r *Record, st itemState) error {
	r.State, r.First, r.Retracted = State(st.state), st.first, st.flags&itemRetracted != 0
	if st.flags&itemSpokenOf == 0 {
		return nil
	}
	disputers := map[uint32]notice.TLP{}
	now := v.s.now()
	err := scan(v.txn, referencePrefix(r.ID), func(_, value []byte) error {
		e, err := decodeEvidence(value)
		if err == nil && e.kind == notice.KindDispute && e.counts(now) {
			tlp := e.tlp.House()
			if before, ok := disputers[e.member]; !ok || tlp < before {
				disputers[e.member] = tlp
			}
		}
		return err
	})
	r.Disputes = len(disputers)
	for _, tlp := range disputers {
		r.disputes[tlp]++
	}
	return err
}

// entry returns the notices that a local number carries, without what
// complete adds.
func (v *reading) entry(local uint64) ([]Record, error) {
	if records, ok := v.entries[local]; ok {
		return records, nil
	}
	value, err := get(v.txn, entryKey(local))
	if err != nil {
		return nil, err
	}
	if value == nil {
		return nil, ErrUnknown
	}
	records, err := v.decode(local, value)
	if err != nil {
		return nil, fmt.Errorf("local %d: %w", local, err)
	}
	if len(v.entries) >= entriesMax {
		clear(v.entries)
	}
	v.entries[local] = records
	return records, nil
}

func (v *reading) decode(local uint64, value []byte) ([]Record, error) {
	e, err := decodeEntry(value)
	if err != nil {
		return nil, err
	}
	if e.kind == entryLocal {
		return v.decodeLocal(local, e)
	}
	split, err := splitEntry(value)
	if err != nil {
		return nil, err
	}
	h := &split.envelope.Header
	to, err := split.recipients()
	if err != nil {
		return nil, err
	}
	out := make([]Record, 0, len(split.items))
	for i, raw := range split.items {
		n, err := notice.Decode(raw)
		if err != nil {
			continue // refused alone when it came
		}
		out = append(out, Record{
			ID: crypto.NewItemID(h.Author, crypto.LeafHash(raw)), Notice: n, Author: h.Author,
			Local: local, Index: i, Received: e.received, Expiry: min(n.DefaultExpiry(), h.Expiry) + Flags(e.flags).late(h, e.received),
			TLP: notice.TLP(h.TLP), Audience: h.Audience, Exercise: h.Exercise, Urgent: h.Urgent,
			Flags: Flags(e.flags), Envelope: split.envelope.ID, Header: h, To: to,
		})
	}
	return out, nil
}

func (v *reading) decodeLocal(local uint64, e entry) ([]Record, error) {
	w, err := e.local()
	if err != nil {
		return nil, err
	}
	n, err := notice.Decode(w.raw)
	if err != nil {
		return nil, err
	}
	author := v.s.memberID(w.member)
	return []Record{{
		ID: crypto.NewItemID(author, crypto.LeafHash(w.raw)), Notice: n, Author: author,
		Local: local, Received: w.received, Expiry: w.expiry, TLP: w.tlp, Audience: w.audience, To: w.to,
		Exercise: w.flags&flagExercise != 0, Urgent: w.flags&flagUrgent != 0,
	}}, nil
}

func (s *Store) memberID(number uint32) crypto.MemberID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if int(number) < len(s.members) {
		return s.members[number]
	}
	return crypto.MemberID{}
}
