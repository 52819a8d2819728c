package store_test

import (
	"encoding/hex"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// FuzzValues gives every decoder of stored values what a broken disk may. None
// may panic, and what decodes encodes to something that decodes to the same.
func FuzzValues(f *testing.F) {
	s := open(f, store.Options{Now: newClock().Now, OnWrite: func(_, value []byte) { f.Add(value) }})
	w := writers(f, 1)[0]
	put(f, s, w.envelope(f, crypto.Header{}, sighting(values[0], 1, 3), sighting(values[1], 2, 1)))
	n := sighting(values[2], 3, 1)
	if _, err := s.AppendLocal(f.Context(), store.LocalBatch{Items: []store.LocalItem{local(f, w.ID, n, notice.TLPAmber, crypto.AudienceRegion)}}); err != nil {
		f.Fatal(err)
	}
	overlong, _ := hex.DecodeString("01ffffffffffffffffffff01")
	f.Add(overlong)
	f.Fuzz(func(t *testing.T, v []byte) {
		if err := store.DecodeAll(v); err != nil {
			t.Fatal(err)
		}
	})
}
