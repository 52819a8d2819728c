package tlog_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
)

// pack returns n entries of size bytes, numbered from first.
func pack(first, n, size int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = make([]byte, max(size, 8))
		binary.BigEndian.PutUint64(out[i], uint64(first+i))
		out[i] = out[i][max(0, 8-size):]
	}
	return out
}

func open(t testing.TB, dir string) *tlog.Log {
	t.Helper()
	l, err := tlog.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func appendTo(t testing.TB, l *tlog.Log, entries [][]byte) {
	t.Helper()
	if err := l.Append(entries); err != nil {
		t.Fatal(err)
	}
}

func sync(t testing.TB, l *tlog.Log) {
	t.Helper()
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
}

// fill appends entries in packs of 512 until the log has size.
func fill(t testing.TB, l *tlog.Log, size, bytes int) {
	t.Helper()
	for int(l.Size()) < size {
		at := int(l.Size())
		appendTo(t, l, pack(at, min(512, size-at), bytes))
	}
}

// A model is a log by the words of RFC 6962 §2.1 and nothing else.
type model struct {
	leaves []crypto.Hash
	full   map[[2]int]crypto.Hash // of subtrees that cannot change
}

func modelOf(entries [][]byte) *model {
	m := &model{full: map[[2]int]crypto.Hash{}}
	for _, e := range entries {
		m.leaves = append(m.leaves, sha(0, e))
	}
	return m
}

// mth is MTH(D[from:to]).
func (m *model) mth(from, to int) crypto.Hash {
	switch n := to - from; n {
	case 0:
		return sha(-1)
	case 1:
		return m.leaves[from]
	default:
		if h, ok := m.full[[2]int{from, to}]; ok {
			return h
		}
		k := split(n)
		left, right := m.mth(from, from+k), m.mth(from+k, to)
		h := sha(1, left[:], right[:])
		if n&(n-1) == 0 {
			m.full[[2]int{from, to}] = h
		}
		return h
	}
}

// path is PATH(i, D[from:to]) of §2.1.1.
func (m *model) path(i, from, to int) []crypto.Hash {
	if to-from == 1 {
		return nil
	}
	k := split(to - from)
	if i < k {
		return append(m.path(i, from, from+k), m.mth(from+k, to))
	}
	return append(m.path(i-k, from+k, to), m.mth(from, from+k))
}

// proof is SUBPROOF(n, D[from:to], whole) of §2.1.2.
func (m *model) proof(n, from, to int, whole bool) []crypto.Hash {
	if n == to-from {
		if whole {
			return nil
		}
		return []crypto.Hash{m.mth(from, to)}
	}
	k := split(to - from)
	if n <= k {
		return append(m.proof(n, from, from+k, whole), m.mth(from+k, to))
	}
	return append(m.proof(n-k, from+k, to, false), m.mth(from, from+k))
}

// tile is the tile of c2sp.org/tlog-tiles by its formula.
func (m *model) tile(level, n, width int) []byte {
	var out []byte
	span := 1 << (8 * level)
	for i := range width {
		h := m.mth((n*256+i)*span, (n*256+i+1)*span)
		out = append(out, h[:]...)
	}
	return out
}

// split returns the largest power of two below n.
func split(n int) int {
	k := 1
	for 2*k < n {
		k *= 2
	}
	return k
}

func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

func readFile(t testing.TB, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFile(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), data, 0o600); err != nil {
		t.Fatal(err)
	}
}
