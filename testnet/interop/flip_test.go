package interop_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A copied ledger is served from what was fetched first, so that its checkpoint stays
// what it is while the ledger grows and is signed anew; with one bit turned over, if
// that is wanted. It wants no token.
type copied struct {
	of *ledger

	mu    sync.Mutex
	files map[string][]byte
	flip  flip
}

// A flip is one bit of one file. The zero value is none.
type flip struct {
	path string // below the ledger's URL
	bit  int
}

func (f flip) String() string { return fmt.Sprintf("bit %d of %s", f.bit, f.path) }

func newCopy(t *testing.T, l *ledger) (*copied, *ledger) {
	t.Helper()
	c := &copied{of: l, files: map[string][]byte{}}
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	shown := *l
	shown.url, shown.token = s.URL+"/", ""
	return c, &shown
}

func (c *copied) read(ctx context.Context, path string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	raw, has := c.files[path]
	if !has {
		var err error
		if raw, err = c.of.get(ctx, path); err != nil {
			return nil, err
		}
		c.files[path] = raw
	}
	if c.flip.path == path {
		raw = slices.Clone(raw)
		raw[c.flip.bit/8] ^= 1 << (c.flip.bit % 8)
	}
	return raw, nil
}

func (c *copied) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := c.read(r.Context(), strings.TrimPrefix(r.URL.Path, "/"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	_, _ = w.Write(raw)
}

// turn turns a bit over, and that of the call before back.
func (c *copied) turn(f flip) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flip = f
}

// flips are bits of every kind of file: in the checkpoint one of each line, for there
// each line is another's to check; else the first, the last and some between.
func (c *copied) flips(t *testing.T, each int) (all []flip) {
	t.Helper()
	raw, err := c.read(t.Context(), "checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for line := range bytes.Lines(raw) {
		all = append(all, flip{"checkpoint", (at + len(line)/2) * 8})
		at += len(line)
	}
	const width = 256
	size := sizeOf(t, raw)
	full, rest := size/width, size%width
	if full < 2 || rest == 0 {
		t.Fatalf("%d entries have not all kinds of files", size)
	}
	for _, path := range []string{
		fmt.Sprintf("tile/0/%03d", rand.IntN(full)), fmt.Sprintf("tile/0/%03d.p/%d", full, rest),
		fmt.Sprintf("tile/1/000.p/%d", full),
		fmt.Sprintf("tile/entries/%03d", rand.IntN(full)), fmt.Sprintf("tile/entries/%03d.p/%d", full, rest),
	} {
		raw, err := c.read(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, flip{path, 0}, flip{path, len(raw)*8 - 1})
		for range each {
			all = append(all, flip{path, rand.IntN(len(raw) * 8)})
		}
	}
	return all
}

func sizeOf(t *testing.T, checkpoint []byte) (size int) {
	t.Helper()
	if _, err := fmt.Sscan(string(bytes.Split(checkpoint, []byte("\n"))[1]), &size); err != nil {
		t.Fatal(err)
	}
	return size
}
