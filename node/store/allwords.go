package store

import (
	"bytes"
	"context"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// Bounds of what EachWords reads in one snapshot.
const (
	eachWordsValues   = 1_000
	eachWordsEvidence = 100_000
)

// EachWords yields each indicator with what Words returns of it, in the order of their
// keys, until ctx ends or yield returns an error, which it returns. Each is as it was
// when EachWords was called or later. A slow yield holds no transaction.
func (s *Store) EachWords(ctx context.Context, yield func(notice.Indicator, []Word) error) error {
	at := []byte{tableEvidence}
	for len(at) > 0 {
		var page []spokenOf
		var err error
		if page, at, err = s.wordsFrom(at); err != nil {
			return fmt.Errorf("words: %w", err)
		}
		for _, p := range page {
			if err := yield(p.indicator, p.words); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// spokenOf is an indicator with what was said of it.
type spokenOf struct {
	indicator notice.Indicator
	words     []Word
}

// wordsFrom reads the evidence from a key on, and returns where the next page begins,
// nil at the end. Summaries lie in the same order beside it, and say what it is about.
func (s *Store) wordsFrom(at []byte) (page []spokenOf, next []byte, err error) {
	v := s.newView()
	defer v.txn.Discard()
	o := badger.DefaultIteratorOptions
	o.Prefix = []byte{tableSummary}
	summaries := v.txn.NewIterator(o)
	defer summaries.Close()
	summaries.Seek(append([]byte{tableSummary}, at[1:]...))
	o.Prefix = []byte{tableEvidence}
	it := v.txn.NewIterator(o)
	defer it.Close()

	const prefix = 1 + len(notice.Key{})
	var of []byte // of what h hears
	h := hearing{v: v, now: s.now()}
	end := func() error {
		if of == nil {
			return nil
		}
		i, ok, err := indicatorAt(summaries, of)
		if ok {
			page = append(page, spokenOf{i, h.words()})
		}
		return err
	}
	read := 0
	for it.Seek(at); it.Valid(); it.Next() {
		k := it.Item().Key()
		if len(k) != prefix+len(crypto.ItemID{}) {
			return nil, nil, fmt.Errorf("evidence: %w", errCorrupt)
		}
		if !bytes.Equal(k[:prefix], of) {
			if err := end(); err != nil {
				return nil, nil, err
			}
			if len(page) >= eachWordsValues || read >= eachWordsEvidence {
				return page, bytes.Clone(k[:prefix]), nil
			}
			of, h.alike = bytes.Clone(k[:prefix]), map[who][]Word{}
		}
		read++
		err := it.Item().Value(func(value []byte) error {
			e, err := decodeEvidence(value)
			if err != nil {
				return err
			}
			return h.hear(crypto.ItemID(k[prefix:]), &e)
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return page, nil, end()
}

// indicatorAt moves summaries on to what evidence is about, which has one unless all
// that was said of it is a mere reference.
func indicatorAt(summaries *badger.Iterator, evidence []byte) (notice.Indicator, bool, error) {
	for ; summaries.Valid(); summaries.Next() {
		switch bytes.Compare(summaries.Item().Key()[1:], evidence[1:]) {
		case -1:
			continue
		case 1:
			return notice.Indicator{}, false, nil
		}
		var f fold
		err := summaries.Item().Value(f.decode)
		return f.indicator, err == nil, err
	}
	return notice.Indicator{}, false, nil
}
