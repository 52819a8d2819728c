package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

func TestListPagesNewestFirst(t *testing.T) {
	s := open(t, store.Options{Now: newClock().Now})
	ws := writers(t, 2)
	var want []crypto.ItemID
	for k := range uint64(6) {
		var notices []*notice.Notice
		for j := range k + 1 {
			notices = append(notices, sighting(values[j%3], 10*k+j, 1))
		}
		e := ws[k%2].envelope(t, crypto.Header{}, notices...)
		put(t, s, e)
		for _, it := range e.Items {
			want = append(want, it.ID)
		}
	}
	here := local(t, ws[0].ID, sighting(values[0], 99, 1), 0, crypto.AudienceLocal)
	submit(t, s, "", here)
	want = append(want, here.ID)
	slices.Reverse(want)
	rapid.Check(t, func(rt *rapid.T) {
		q := store.Query{Limit: rapid.IntRange(1, 30).Draw(rt, "limit")}
		var got []crypto.ItemID
		for {
			page, next, err := s.List(q)
			if err != nil || len(page) > q.Limit {
				rt.Fatal(len(page), err)
			}
			for _, r := range page {
				got = append(got, r.ID)
			}
			if next == "" {
				break
			}
			q.Cursor = next
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("got %v\nwant %v", got, want)
		}
	})
}

func TestListSelects(t *testing.T) {
	s := open(t, store.Options{Now: newClock().Now})
	ws := writers(t, 2)
	sight := sighting(values[0], 1, 1)
	report := &notice.Notice{Kind: notice.KindIndicator, Salt: salt(2), Created: start, Indicator: &values[1]}
	e := ws[0].envelope(t, crypto.Header{TLP: uint8(notice.TLPGreen)}, sight, report)
	taken := e.Items[0].ID
	dispute := &notice.Notice{Kind: notice.KindDispute, Salt: salt(3), Created: start, Indicator: &values[1], Reason: "our own scanner"}
	late := ws[1].envelope(t, crypto.Header{}, dispute)
	late.Received = start + day
	put(t, s, e, late, ws[0].envelope(t, crypto.Header{TLP: uint8(notice.TLPRed - 2)}, &notice.Notice{Kind: notice.KindRetraction, Salt: salt(4), Created: start, Ref: &taken}))
	for _, tt := range []struct {
		name string
		q    store.Query
		want string
	}{
		{"all", store.Query{}, "retraction dispute indicator"},
		{"with the retracted", store.Query{Takeback: true}, "retraction dispute indicator sighting"},
		{"kind", store.Query{Kind: notice.KindDispute}, "dispute"},
		{"author", store.Query{Author: &ws[1].ID}, "dispute"},
		{"ceiling", store.Query{Ceiling: notice.TLPGreen}, "indicator"},
		{"value", store.Query{Search: "198.51"}, "dispute indicator"},
		{"reason", store.Query{Search: "SCANNER"}, "dispute"},
		{"since", store.Query{Since: start + 1}, "dispute"},
		{"nothing", store.Query{Search: "no such thing"}, ""},
	} {
		got, next, err := s.List(tt.q)
		kinds := ""
		for i, r := range got {
			if i > 0 {
				kinds += " "
			}
			kinds += r.Notice.Kind.String()
		}
		if err != nil || next != "" || kinds != tt.want {
			t.Errorf("%s: %q, %q, %v; want %q", tt.name, kinds, next, err, tt.want)
		}
	}
	for _, bad := range []string{"x", "00", "ffffffffffffffffffffff", "0000000"} {
		if _, _, err := s.List(store.Query{Cursor: bad}); !errors.Is(err, store.ErrCursor) {
			t.Errorf("cursor %q: %v", bad, err)
		}
	}
	records, err := s.Evidence(values[1].Key(), 0, 10)
	if err != nil || len(records) != 2 {
		t.Fatalf("evidence: %d records, %v", len(records), err)
	}
	if records, _ = s.Evidence(values[1].Key(), notice.TLPGreen, 10); len(records) != 1 || records[0].Notice.Kind != notice.KindIndicator {
		t.Fatalf("evidence under GREEN: %+v", records)
	}
}

func TestFollowReplaysThenGoesOn(t *testing.T) {
	s := open(t, store.Options{Now: newClock().Now})
	w := writers(t, 1)[0]
	const before, after = 150, 20 // more than one reading
	for k := range uint64(before) {
		put(t, s, w.envelope(t, crypto.Header{}, sighting(values[k%3], k, 1)))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var got []string
	caught, done := make(chan struct{}), make(chan error)
	go func() {
		done <- s.Follow(ctx, 10, 0, func(local uint64, records []store.Record) error {
			got = append(got, fmt.Sprint(local, len(records)))
			if local == before {
				close(caught)
			}
			if local == before+after {
				cancel()
			}
			return nil
		})
	}()
	<-caught
	for k := range uint64(after) {
		put(t, s, w.envelope(t, crypto.Header{}, sighting(values[k%3], before+k, 1)))
	}
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if len(got) != before+after-10 || got[0] != "11 1" || got[len(got)-1] != fmt.Sprint(before+after, 1) {
		t.Fatalf("%d entries: %v", len(got), got)
	}
	stop := errors.New("enough")
	if err := s.Follow(t.Context(), 0, notice.TLPRed, func(uint64, []store.Record) error { return stop }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
}

func TestCursorIsKept(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if at, err := s.Cursor("alerts"); at != 0 || err != nil {
		t.Fatal(at, err)
	}
	if err := s.SetCursor(t.Context(), "alerts", 77); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if at, err := open(t, store.Options{Dir: dir}).Cursor("alerts"); at != 77 || err != nil {
		t.Fatal(at, err)
	}
}

func TestTrustAndAlerts(t *testing.T) {
	s := open(t, store.Options{Now: newClock().Now})
	for range 2 {
		if err := s.AddTrust(t.Context(), [][]byte{{1}, {2, 3}, {1}}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.Trust(); err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	for k := range 5 {
		added, err := s.Alert(t.Context(), store.Alert{Time: start, Kind: "fork", Severity: "warning", Text: "x", Dedup: fmt.Sprint(k / 2), TLP: notice.TLPAmber})
		if err != nil || added != (k%2 == 0) {
			t.Fatal(k, added, err)
		}
	}
	got, err := s.Alerts(0, 0, 10)
	if err != nil || len(got) != 3 || got[0].ID != 3 || got[2].ID != 1 {
		t.Fatalf("%+v %v", got, err)
	}
	if got, _ = s.Alerts(3, 0, 1); len(got) != 1 || got[0].ID != 2 {
		t.Fatalf("%+v", got)
	}
	if got, _ = s.Alerts(0, notice.TLPGreen, 10); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
}
