package store_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// EachWords yields what Words returns, of each value once, over several pages.
func TestEachWordsIsWordsOfEach(t *testing.T) {
	const values = 2_300
	s := open(t, store.Options{InMemory: true})
	ws := writers(t, 2)
	want := map[notice.Indicator]int{}
	for w, by := range ws {
		for at := 0; at < values; at += 500 {
			var notices []*notice.Notice
			for n := at; n < min(at+500, values); n += 1 + w {
				i := value(t, fmt.Sprintf("v%d.evil.example", n))
				notices = append(notices, sighting(i, uint64(n), 1))
				want[i]++
			}
			put(t, s, by.envelope(t, crypto.Header{TLP: uint8(notice.TLPAmber)}, notices...))
		}
	}
	got := map[notice.Indicator]int{}
	err := s.EachWords(t.Context(), func(i notice.Indicator, words []store.Word) error {
		if got[i] > 0 {
			t.Fatalf("%s came twice", i)
		}
		got[i] = len(words)
		one, err := s.Words(i.Key(), 0)
		if err != nil {
			return err
		}
		if !reflect.DeepEqual(one, words) {
			t.Fatalf("%s: %+v, and by itself %+v", i, words, one)
		}
		return nil
	})
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%d values, want %d: %v", len(got), len(want), err)
	}
	stop := errors.New("enough")
	if err := s.EachWords(t.Context(), func(notice.Indicator, []store.Word) error { return stop }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.EachWords(ctx, func(notice.Indicator, []store.Word) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}
