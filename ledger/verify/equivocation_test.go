package verify_test

import (
	"bytes"
	"errors"
	"testing"

	sumdb "golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
)

// consistency is the proof that a tree's first a leaves are the beginning of all.
func consistency(t testing.TB, hashes []crypto.Hash, a int) (out []crypto.Hash) {
	t.Helper()
	var stored []sumdb.Hash
	for i, h := range hashes {
		more, err := sumdb.StoredHashesForRecordHash(int64(i), sumdb.Hash(h), sumdb.HashReaderFunc(func(at []int64) ([]sumdb.Hash, error) {
			var out []sumdb.Hash
			for _, i := range at {
				out = append(out, stored[i])
			}
			return out, nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, more...)
	}
	proof, err := sumdb.ProveTree(int64(len(hashes)), int64(a), sumdb.HashReaderFunc(func(at []int64) ([]sumdb.Hash, error) {
		var out []sumdb.Hash
		for _, i := range at {
			out = append(out, stored[i])
		}
		return out, nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range proof {
		out = append(out, crypto.Hash(h))
	}
	return out
}

// two is what there is to say against who signed a checkpoint of a, and one of b, which
// has not fewer entries.
func (w *world) two(t testing.TB, a, b [][]byte, byA, byB []string) *verify.Equivocation {
	t.Helper()
	var prefix crypto.Hash
	var path []crypto.Hash
	if len(a) < len(b) && len(a) > 0 {
		_, prefix = treeOf(t, hashesOf(b[:len(a)]))
		path = consistency(t, hashesOf(b), len(a))
	}
	noteA, noteB := w.sign(t, w.checkpoint(t, a), byA...), w.sign(t, w.checkpoint(t, b), byB...)
	e, err := verify.NewEquivocation(noteB, noteA, prefix, path) // it orders them
	if err != nil {
		t.Fatal(err)
	}
	if len(a) == len(b) {
		e = &verify.Equivocation{A: noteA, B: noteB}
	}
	raw, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if e, err = verify.ParseEquivocation(raw); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEquivocation(t *testing.T) {
	w := newWorld(t)
	p := w.policy(t)
	all := entries(21, 6)
	forked := append(entries(4, 7), all[4:]...)
	quorum := []string{"ada", "bob"}
	for _, tt := range []struct {
		name     string
		a, b     [][]byte
		byA, byB []string
		want     string // who is convicted; empty: nobody
	}{
		{"one size, two roots", forked, all, quorum, quorum, "ada bob"},
		{"sizes of powers of two", forked[:8], all[:16], quorum, quorum, "ada bob"},
		{"any sizes", forked[:7], all[:19], quorum, quorum, "ada bob"},
		{"one entry against many", forked[:1], all, quorum, quorum, "ada bob"},
		{"one signed both", forked[:7], all, []string{"ada"}, []string{"bob", "ada"}, "ada"},
		{"a witness signed both", forked[:7], all, []string{"ada", "wim"}, []string{"bob", "wim"}, "wim"},
		{"nobody signed both", forked[:7], all, []string{"ada"}, []string{"bob", "cyd"}, ""},
		{"strangers signed both", forked[:7], all, []string{"hal"}, []string{"hal"}, ""},
		{"one checkpoint twice", all, all, quorum, quorum, ""},
		{"a ledger that grew", all[:7], all, quorum, quorum, ""},
		{"a ledger that grew from a power of two", all[:8], all, quorum, quorum, ""},
		{"the beginning of all ledgers", nil, all, quorum, quorum, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			by, err := w.two(t, tt.a, tt.b, tt.byA, tt.byB).Verify(p)
			if names(by) != tt.want || (err == nil) != (tt.want != "") || err != nil && !errors.Is(err, verify.ErrNoEquivocation) {
				t.Errorf("%s, error %v", names(by), err)
			}
		})
	}
}

// Nobody is convicted by hashes that somebody made up.
func TestEquivocationRefuses(t *testing.T) {
	w := newWorld(t)
	p := w.policy(t)
	all := entries(21, 6)
	forked := entries(21, 7)
	quorum := []string{"ada", "bob"}
	second := w.checkpoint(t, forked[:7])
	second.Origin = tlog.Origin(w.ID, 2)
	for _, tt := range []struct {
		name   string
		change func(e *verify.Equivocation)
		want   error
	}{
		{"another beginning", func(e *verify.Equivocation) { e.Proof[0][0] ^= 1 }, verify.ErrNoEquivocation},
		{"the beginning that A says", func(e *verify.Equivocation) { _, e.Proof[0] = treeOf(t, hashesOf(forked[:7])) }, verify.ErrNoEquivocation},
		{"another path", func(e *verify.Equivocation) { e.Proof[2][0] ^= 1 }, verify.ErrNoEquivocation},
		{"a path cut short", func(e *verify.Equivocation) { e.Proof = e.Proof[:len(e.Proof)-1] }, verify.ErrNoEquivocation},
		{"a path too long", func(e *verify.Equivocation) { e.Proof = append(e.Proof, crypto.Hash{}) }, verify.ErrNoEquivocation},
		{"no path", func(e *verify.Equivocation) { e.Proof = nil }, verify.ErrNoEquivocation},
		{"the larger first", func(e *verify.Equivocation) { e.A, e.B = e.B, e.A }, verify.ErrNoEquivocation},
		{"hashes where none are due", func(e *verify.Equivocation) { e.A = w.sign(t, w.checkpoint(t, forked), quorum...) }, verify.ErrNoEquivocation},
		{"the larger without signature", func(e *verify.Equivocation) { e.B = w.sign(t, w.checkpoint(t, all), "hal") }, verify.ErrNoEquivocation},
		{"a false signature", func(e *verify.Equivocation) { e.A = bytes.Replace(e.A, []byte("\n7\n"), []byte("\n8\n"), 1) }, tlog.ErrLine},
		{"of two epochs", func(e *verify.Equivocation) { e.A = w.sign(t, second, quorum...) }, verify.ErrOrigin},
	} {
		e := w.two(t, forked[:7], all, quorum, quorum)
		if by, err := e.Verify(p); err != nil || names(by) != "ada bob" {
			t.Fatalf("%v, error %v", by, err)
		}
		tt.change(e)
		if by, err := e.Verify(p); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, error %v", tt.name, by, err)
		}
	}
}

// Who was dropped or revoked for it stays convicted.
func TestEquivocationOfTheDropped(t *testing.T) {
	w := newWorld(t)
	e := w.two(t, entries(7, 7), entries(21, 6), []string{"ada"}, []string{"ada", "bob"})
	w.Amend(t, func(c *trust.Charter) { c.Voters = []crypto.MemberID{w.member("bob").ID} })
	if by, err := e.Verify(w.policy(t)); err != nil || names(by) != "ada" {
		t.Errorf("%s, error %v", names(by), err)
	}
}

// For any two histories, exactly those that part before the smaller ends convict.
func TestEquivocationOfAnyTwo(t *testing.T) {
	w := newWorld(t)
	p := w.policy(t)
	rapid.Check(t, func(r *rapid.T) {
		a, b := rapid.IntRange(1, 40).Draw(r, "a"), rapid.IntRange(1, 40).Draw(r, "b")
		a, b = min(a, b), max(a, b)
		common := rapid.IntRange(0, a).Draw(r, "common")
		left := append(entries(common, 6), entries(a-common, 7)...)
		by, err := w.two(t, left, entries(b, 6), []string{"ada"}, []string{"ada"}).Verify(p)
		if convicted := len(by) == 1 && err == nil; convicted != (common < a) {
			r.Fatalf("%d and %d entries, of which %d are common: %v, error %v", a, b, common, by, err)
		}
	})
}

func TestParseEquivocationRefuses(t *testing.T) {
	w := newWorld(t)
	good := func() *verify.Equivocation {
		return w.two(t, entries(7, 7), entries(21, 6), []string{"ada"}, []string{"ada"})
	}
	for name, change := range map[string]func(e *verify.Equivocation){
		"no checkpoint":  func(e *verify.Equivocation) { e.A = nil },
		"another text":   func(e *verify.Equivocation) { e.B = []byte("hello\n\n— a AAAAAQI=\n") },
		"too many nodes": func(e *verify.Equivocation) { e.Proof = make([]crypto.Hash, 128) },
	} {
		e := good()
		change(e)
		if raw, err := e.Encode(); err == nil {
			t.Errorf("%s: %d bytes", name, len(raw))
		}
	}
	raw, err := good().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{"nothing": nil, "cut short": raw[:len(raw)-1], "trailing byte": append(bytes.Clone(raw), 0), "too large": make([]byte, verify.EquivocationSizeMax+1)} {
		if e, err := verify.ParseEquivocation(raw); err == nil {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

func FuzzParseEquivocation(f *testing.F) {
	w := newWorld(f)
	p := w.policy(f)
	for _, e := range []*verify.Equivocation{
		w.two(f, entries(7, 7), entries(21, 6), []string{"ada"}, []string{"ada"}),
		w.two(f, entries(7, 6), entries(21, 6), []string{"bob", "cyd"}, []string{"bob", "cyd"}),
	} {
		raw, err := e.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		f.Add(raw[:len(raw)/2])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := verify.ParseEquivocation(raw)
		if err != nil {
			return
		}
		if again, err := e.Encode(); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("read and written it is another proof: %v", err)
		}
		if by, err := e.Verify(p); err == nil && names(by) != "ada" {
			t.Fatalf("%s is convicted, who told one story", names(by))
		}
	})
}
