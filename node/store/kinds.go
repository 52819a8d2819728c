package store

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// subject is under what the evidence of a notice is kept: the indicator it speaks of
// or, of a kind that is no word about an indicator, the kind itself. So the notices of
// such a kind are found without a look at all others, and neither a question nor what
// a hospital says of itself makes a value known. It is zero for the others.
func subject(n *notice.Notice) notice.Key {
	switch {
	case n.Kind.HasPart():
		return kindKey(n.Kind)
	case n.Indicator != nil:
		return n.Indicator.Key()
	}
	return notice.Key{}
}

// kindKeys is where the keys of kinds begin: beyond the types of indicators.
const kindKeys = 0x80

func kindKey(k notice.Kind) notice.Key { return notice.Key{kindKeys | byte(k)} }

func ofKind(k notice.Key) bool { return k[0] >= kindKeys }

// listKind is List of a kind that has a part, by the index of the kind.
func (v *reading) listKind(q *Query, at cursor) ([]Record, string, error) {
	found, err := v.placesOf(q)
	if err != nil {
		return nil, "", fmt.Errorf("list: %w", err)
	}
	slices.SortFunc(found, func(a, b cursor) int {
		return cmp.Or(cmp.Compare(b.local, a.local), cmp.Compare(b.index, a.index))
	})
	l := lister{v: v, q: q, now: v.s.now()}
	for _, place := range found {
		if place.local > at.local || place.local == at.local && place.index > at.index {
			continue
		}
		if len(l.out) >= q.Limit || l.examined >= examinedMax {
			return l.out, place.String(), nil
		}
		l.examined++
		records, err := v.entry(place.local)
		if err != nil {
			return nil, "", fmt.Errorf("list: %w", err)
		}
		for i := range records {
			if r := records[i]; r.Index == place.index && r.Received >= q.Since {
				if err := l.take(&r); err != nil {
					return nil, "", fmt.Errorf("list: %w", err)
				}
			}
		}
	}
	return l.out, "", nil
}

// placesOf returns where the notices of a kind are that the query may select, as far
// as the evidence tells.
func (v *reading) placesOf(q *Query) ([]cursor, error) {
	var out []cursor
	now, prefix := v.s.now(), evidencePrefix(kindKey(q.Kind))
	return out, scan(v.txn, prefix, func(key, value []byte) error {
		e, err := decodeEvidence(value)
		if err != nil || !Visible(e.tlp, q.Ceiling) || e.retracted && !q.Takeback || e.expiry <= now && !q.Lapsed ||
			q.Author != nil && v.s.memberID(e.member) != *q.Author {
			return err
		}
		st, err := getItem(v.txn, crypto.ItemID(key[len(prefix):]))
		if errors.Is(err, ErrUnknown) {
			return nil
		}
		out = append(out, cursor{st.local, int(st.index)})
		return err
	})
}

// Bounds of what Spoken returns.
const (
	spokenMax  = 4096
	spokenEach = 32 // of one member: whoever says more hides nothing that another said
)

// Spoken returns what is said of a notice: retractions, disputes, answers, and what
// belongs to an assistance, in the order in which it came, of each member the first 32,
// without the expired and the retracted. The notice itself need not be here.
func (s *Store) Spoken(id crypto.ItemID, ceiling notice.TLP) ([]Record, error) {
	now := s.now()
	return s.spoken(referencePrefix(id), spokenEach, spokenMax, func(e *evidence) bool {
		return !e.retracted && e.expiry > now && Visible(e.tlp, ceiling)
	})
}

// answersMax bounds the answers to one notice: several of each member of a large region.
const answersMax = 65_536

// Answers returns the responses to a notice as Spoken returns what is said of it, of a
// region of any size.
func (s *Store) Answers(id crypto.ItemID, ceiling notice.TLP) ([]Record, error) {
	now := s.now()
	return s.spoken(referencePrefix(id), spokenEach, answersMax, func(e *evidence) bool {
		return e.kind == notice.KindResponse && !e.retracted && e.expiry > now && Visible(e.tlp, ceiling)
	})
}

// SpokenBy returns what one member has said of a notice, also what it took back or has
// expired, whatever others say of it.
func (s *Store) SpokenBy(id crypto.ItemID, author crypto.MemberID) ([]Record, error) {
	return s.spoken(referencePrefix(id), spokenMax, spokenMax, func(e *evidence) bool { return s.memberID(e.member) == author })
}

// EvidenceBy returns the notices of one member that a summary sums up, whatever others
// say of it.
func (s *Store) EvidenceBy(key notice.Key, author crypto.MemberID, ceiling notice.TLP) ([]Record, error) {
	now := s.now()
	return s.spoken(evidencePrefix(key), spokenMax, spokenMax, func(e *evidence) bool {
		return s.memberID(e.member) == author && e.counts(now) && Visible(e.tlp, ceiling)
	})
}

// spoken returns the notices of an index whose evidence is picked, in the order in which
// they came, up to each of one member and so many in all.
func (s *Store) spoken(prefix []byte, each, most int, pick func(*evidence) bool) ([]Record, error) {
	v := s.newView()
	defer v.txn.Discard()
	type said struct {
		id     crypto.ItemID
		member uint32
		at     cursor
	}
	var all []said
	err := scan(v.txn, prefix, func(key, value []byte) error {
		e, err := decodeEvidence(value)
		if err != nil || !pick(&e) {
			return err
		}
		from := crypto.ItemID(key[len(prefix):])
		st, err := getItem(v.txn, from)
		if errors.Is(err, ErrUnknown) {
			return nil
		}
		all = append(all, said{from, e.member, cursor{st.local, int(st.index)}})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("what is said of something: %w", err)
	}
	slices.SortFunc(all, func(a, b said) int {
		return cmp.Or(cmp.Compare(a.at.local, b.at.local), cmp.Compare(a.at.index, b.at.index))
	})
	var out []Record
	count := map[uint32]int{}
	for _, from := range all {
		if count[from.member]++; count[from.member] > each || len(out) == most {
			continue
		}
		r, err := v.record(from.id)
		if errors.Is(err, ErrUnknown) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("notice %s: %w", from.id, err)
		}
		out = append(out, r)
	}
	return out, nil
}
