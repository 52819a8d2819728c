package mesh_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/mesh"
)

// What is large comes whole, is counted as it stands on the wire, and ends when either
// side says so.
func TestCarriedBulk(t *testing.T) {
	r := testkit.NewRegion(t, "a", "b")
	counts := prometheus.NewRegistry()
	a := start(t, r, 0, func(c *mesh.Config) { c.Registerer = counts })
	b := start(t, r, 1, seed(a))
	const large = 1 << 20
	ended := make(chan error, 1)
	a.HandleBulk(protocolTest, func(_ string, s *mesh.Bulk) {
		defer s.Close()
		var asked [5]byte
		if _, err := io.ReadFull(s, asked[:]); err != nil {
			ended <- err
			return
		}
		answer := bytes.Repeat(asked[:1], large)
		go func() { _, _ = s.Write(answer) }() // the reader sees what becomes of it
		_, err := s.Read(asked[:])
		ended <- err
	})
	awaitPeers(t, 1, a, b)
	s, err := b.OpenBulk(t.Context(), string(a.libp2pID()), protocolTest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("xtra!")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, large)
	if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, bytes.Repeat([]byte("x"), large)) {
		t.Fatalf("%d bytes come, %v", len(got), err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("the other side reads on after the end")
	}
	// The heads of its chunks are beside it, and little else.
	if out := bulkBytes(t, counts, "out"); out < large || out > large+large/100 {
		t.Errorf("counted out: %.0f of %d", out, large)
	}
	if in := bulkBytes(t, counts, "in"); in < 5 || in > 8<<10 {
		t.Errorf("counted in: %.0f", in)
	}

	ctx, cancel := context.WithCancel(t.Context())
	s, err = b.OpenBulk(ctx, string(a.libp2pID()), protocolTest)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := s.Read(make([]byte, 1)); err == nil {
		t.Error("a stream outlives its context")
	}
	_ = s.Close()
	<-ended
	if _, err := b.OpenBulk(t.Context(), strings.Repeat("x", 38), protocolTest); err == nil {
		t.Error("a stream to a stranger")
	}
}

// Whoever writes to somebody that reads nothing is free once the stream is closed.
func TestCarriedBulkThatNobodyReads(t *testing.T) {
	r := testkit.NewRegion(t, "a", "b")
	a := start(t, r, 0, nil)
	b := start(t, r, 1, seed(a))
	done := make(chan struct{})
	defer close(done)
	a.HandleBulk(protocolTest, func(_ string, s *mesh.Bulk) {
		<-done
		_ = s.Close()
	})
	awaitPeers(t, 1, a, b)
	s, err := b.OpenBulk(t.Context(), string(a.libp2pID()), protocolTest)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := s.Write(make([]byte, 64<<20))
		ended <- err
	}()
	time.AfterFunc(50*time.Millisecond, func() { _ = s.Close() })
	select {
	case err := <-ended:
		if err == nil {
			t.Error("64 MiB are written to somebody who reads nothing")
		}
	case <-time.After(patience):
		t.Fatal("a Write outlives its stream")
	}
}

func bulkBytes(t *testing.T, r *prometheus.Registry, direction string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "watchward_bulk_bytes_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "direction" && l.GetValue() == direction {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}
