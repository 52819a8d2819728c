package store

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// wordsMax bounds the words of one member that are alike in kind and in whether they
// count: the latest.
const wordsMax = 16

// A Word is a notice as evidence about an indicator, without the rest of it.
type Word struct {
	ID             crypto.ItemID
	Author         crypto.MemberID
	Kind           notice.Kind // sighting, indicator or dispute
	Last           int64       // ms: when it was last seen, or stated
	Expiry         int64       // ms
	Source, Family string      // of an import, who said it first; of malware
	TLP            notice.TLP
	Retracted      bool
	Exercise       bool
}

// Words returns what may be shown under a ceiling of what was said of an indicator, by
// when it was last seen, the latest first. Unlike Evidence it also has what does not
// count: what was retracted, has expired or is part of a drill. Of one member it has
// the latest 16 that are alike, so that nobody can bury what others say.
func (s *Store) Words(key notice.Key, ceiling notice.TLP) ([]Word, error) {
	v := s.newView()
	defer v.txn.Discard()
	now, prefix := s.now(), evidencePrefix(key)
	h := hearing{v: v, now: now, alike: map[who][]Word{}}
	err := scan(v.txn, prefix, func(k, value []byte) error {
		e, err := decodeEvidence(value)
		if err != nil || !Visible(e.tlp, ceiling) {
			return err
		}
		return h.hear(crypto.ItemID(k[len(prefix):]), &e)
	})
	if err != nil {
		return nil, fmt.Errorf("words: %w", err)
	}
	return h.words(), nil
}

// who is what words are alike by.
type who struct {
	member uint32
	kind   notice.Kind
	counts bool
}

// A hearing takes in what was said of one indicator.
type hearing struct {
	v     *reading
	now   int64
	alike map[who][]Word
}

func (h *hearing) hear(id crypto.ItemID, e *evidence) error {
	w := Word{
		ID: id, Kind: e.kind, Last: e.last, Expiry: e.expiry,
		Source: e.source, Family: e.family, TLP: e.tlp, Retracted: e.retracted, Exercise: e.exercise,
	}
	by := who{e.member, e.kind, e.counts(h.now)}
	list := h.alike[by]
	at, _ := slices.BinarySearchFunc(list, w, later)
	if at >= wordsMax {
		return nil
	}
	if !e.whole {
		if err := h.v.name(&w); err != nil {
			return err
		}
	}
	h.alike[by] = slices.Insert(list, at, w)[:min(len(list)+1, wordsMax)]
	return nil
}

func (h *hearing) words() (out []Word) {
	for by, list := range h.alike {
		author := h.v.s.memberID(by.member)
		for _, w := range list {
			w.Author = author
			out = append(out, w)
		}
	}
	slices.SortFunc(out, later)
	return out
}

// later orders words, the latest first.
func later(a, b Word) int {
	return cmp.Or(cmp.Compare(b.Last, a.Last), slices.Compare(a.ID[:], b.ID[:]))
}

// name fills in what older evidence does not say.
func (v *reading) name(w *Word) error {
	r, err := v.record(w.ID)
	if errors.Is(err, ErrUnknown) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.Notice.Origin != nil {
		w.Source = r.Notice.Origin.Source
	}
	if r.Notice.Context != nil {
		w.Family = r.Notice.Context.Family
	}
	return nil
}
