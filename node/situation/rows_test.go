package situation_test

import (
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/node/situation"
)

// TestIndex compares an index with a map, while it grows and empties.
func TestIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys, want := situation.NewKeys(), map[[2]byte]uint32{}
		key := func(n int) (k [2]byte) {
			binary.BigEndian.PutUint16(k[:], uint16(n))
			return k
		}
		for range rapid.IntRange(1, 6).Draw(t, "rounds") {
			from, to := rapid.IntRange(0, 1<<16-1).Draw(t, "from"), rapid.IntRange(0, 1<<16-1).Draw(t, "to")
			add := rapid.Bool().Draw(t, "add")
			for n := from; n < to; n++ {
				if k := key(n); !add {
					keys.Drop(k)
					delete(want, k)
				} else if want[k] == 0 {
					want[k] = keys.Add(k)
				}
			}
		}
		held := map[uint32]bool{}
		for n := range 1 << 16 {
			if got := keys.Find(key(n)); got != want[key(n)] {
				t.Fatalf("key %d is in row %d, want %d", n, got, want[key(n)])
			} else if got != 0 && held[got] {
				t.Fatalf("row %d has two keys", got)
			} else {
				held[got] = true
			}
		}
	})
}
