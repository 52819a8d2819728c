package store

import (
	"fmt"
	"math"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/crypto"
)

// messagesExamined is how many entries one Messages looks at.
const messagesExamined = 4096

// A Message is a stored envelope in its place of arrival.
type Message struct {
	Local    uint64
	Received int64 // ms
	Envelope *crypto.Envelope
}

// Messages returns envelopes that were stored after a local number, in order of
// arrival: those that want selects, until they have bytes in total. Both
// envelopes of a fork are among them. next is where to go on; done says that
// nothing is stored behind it. The snapshot ends with the call, so a slow
// caller holds nothing; one call looks at no more than 4,096 entries.
func (s *Store) Messages(after uint64, bytes int, want func(Message) bool) (out []Message, next uint64, done bool, err error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	o := badger.DefaultIteratorOptions
	o.Prefix, o.PrefetchValues = []byte{tableEntry}, false
	it := txn.NewIterator(o)
	defer it.Close()
	next = after
	if after == math.MaxUint64 { // nothing is behind it
		return nil, next, true, nil
	}
	size := 0
	for n := 0; n < messagesExamined && size < bytes; n++ {
		if n == 0 {
			it.Seek(entryKey(after + 1))
		} else {
			it.Next()
		}
		if !it.Valid() {
			return out, next, true, nil
		}
		next = seqOf(it.Item().Key())
		value, err := it.Item().ValueCopy(nil)
		if err != nil {
			return nil, after, false, fmt.Errorf("messages: local %d: %w", next, err)
		}
		e, err := decodeEntry(value)
		if err != nil {
			return nil, after, false, fmt.Errorf("messages: local %d: %w", next, err)
		}
		if e.kind != entryEnvelope {
			continue
		}
		m := Message{Local: next, Received: e.received}
		if m.Envelope, err = crypto.ParseEnvelope(e.rest); err != nil {
			return nil, after, false, fmt.Errorf("messages: local %d: %w", next, err)
		}
		if want(m) {
			out, size = append(out, m), size+len(e.rest)
		}
	}
	return out, next, false, nil
}
