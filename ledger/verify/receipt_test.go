package verify_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
)

// One receipt is good; what differs from it is refused.
func TestReceipt(t *testing.T) {
	w := newWorld(t)
	p := w.policy(t)
	all := entries(700, 40)
	cp := w.checkpoint(t, all)
	note := w.sign(t, cp, "ada", "bob", "wim")
	elsewhere := cp
	elsewhere.Origin = tlog.Origin(w.ID, 2)
	smaller := w.checkpoint(t, all[:500])
	for _, tt := range []struct {
		name   string
		change func(r *verify.Receipt)
		want   error // nil: any
	}{
		{"another entry", func(r *verify.Receipt) { r.Entry[3] ^= 1 }, nil},
		{"another index", func(r *verify.Receipt) { r.Index++ }, nil},
		{"an index beyond the end", func(r *verify.Receipt) { r.Index = 700 }, nil},
		{"a path with a bit flipped", func(r *verify.Receipt) { r.Path[2][5] ^= 1 }, nil},
		{"a path cut short", func(r *verify.Receipt) { r.Path = r.Path[1:] }, nil},
		{"a path too long", func(r *verify.Receipt) { r.Path = append(r.Path, crypto.Hash{}) }, nil},
		{"no path", func(r *verify.Receipt) { r.Path = nil }, nil},
		{"another size in the text", func(r *verify.Receipt) { r.Note = bytes.Replace(r.Note, []byte("\n700\n"), []byte("\n701\n"), 1) }, nil},
		{"a false signature", func(r *verify.Receipt) { r.Note = bytes.Replace(r.Note, []byte("A"), []byte("B"), 1) }, nil},
		{"signed under another origin", func(r *verify.Receipt) { r.Note = w.sign(t, elsewhere, "ada", "bob") }, verify.ErrOrigin},
		{"an older checkpoint", func(r *verify.Receipt) { r.Note = w.sign(t, smaller, "ada", "bob") }, nil},
		{"below quorum", func(r *verify.Receipt) { r.Note = w.sign(t, cp, "ada", "wim") }, verify.ErrQuorum},
		{"signed by a hospital", func(r *verify.Receipt) { r.Note = w.sign(t, cp, "hal") }, verify.ErrUnsigned},
	} {
		r := w.receipt(t, all, 321, note)
		raw, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if r, err = verify.ParseReceipt(raw); err != nil {
			t.Fatal(err)
		}
		if c, err := r.Verify(p); err != nil || !c.Witnessed || c.Size != 700 {
			t.Fatalf("%+v, error %v", c, err)
		}
		tt.change(r)
		if c, err := r.Verify(p); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %+v, error %v", tt.name, c, err)
		}
	}
}

func TestParseReceiptRefuses(t *testing.T) {
	w := newWorld(t)
	all := entries(5, 6)
	good := func() *verify.Receipt { return w.receipt(t, all, 3, w.sign(t, w.checkpoint(t, all), "ada")) }
	for name, change := range map[string]func(r *verify.Receipt){
		"no entry":           func(r *verify.Receipt) { r.Entry = nil },
		"an entry too large": func(r *verify.Receipt) { r.Entry = make([]byte, tlog.EntryBytesMax+1) },
		"a path too long":    func(r *verify.Receipt) { r.Path = make([]crypto.Hash, 64) },
		"an index too large": func(r *verify.Receipt) { r.Index = 1 << 63 },
		"no note":            func(r *verify.Receipt) { r.Note = nil },
		"a note too large":   func(r *verify.Receipt) { r.Note = make([]byte, tlog.NoteSizeMax+1) },
	} {
		r := good()
		change(r)
		if raw, err := r.Encode(); err == nil {
			t.Errorf("%s: %x", name, raw)
		}
	}
	raw, err := good().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{"nothing": nil, "cut short": raw[:len(raw)-1], "trailing byte": append(bytes.Clone(raw), 0), "too large": make([]byte, verify.ReceiptSizeMax+1)} {
		if r, err := verify.ParseReceipt(raw); err == nil {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// BenchmarkReceipt verifies a receipt of a ledger of 100,000 entries under the
// signatures of two voters and a witness: warm with a policy that is there, cold with
// one that is made for it of the keys' bytes.
func BenchmarkReceipt(b *testing.B) {
	w := newWorld(b)
	all := entries(100_000, 40)
	raw, err := w.receipt(b, all, 54321, w.sign(b, w.checkpoint(b, all), "ada", "bob", "wim")).Encode()
	if err != nil {
		b.Fatal(err)
	}
	run := func(b *testing.B, policy func() *verify.Policy) {
		for b.Loop() {
			r, err := verify.ParseReceipt(raw)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := r.Verify(policy()); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(b.Elapsed().Seconds()*1000/float64(b.N), "ms/receipt")
	}
	roster := w.Roster(b)
	warm := w.policy(b)
	b.Run("warm", func(b *testing.B) { run(b, func() *verify.Policy { return warm }) })
	b.Run("cold", func(b *testing.B) { run(b, func() *verify.Policy { return policyOf(b, roster, w.ID, 1) }) })
}

func FuzzParseReceipt(f *testing.F) {
	w := newWorld(f)
	all := entries(700, 40)
	raw, err := w.receipt(f, all, 321, w.sign(f, w.checkpoint(f, all), "ada", "bob")).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	p := w.policy(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := verify.ParseReceipt(raw)
		if err != nil {
			return
		}
		if again, err := r.Encode(); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("read and written it is another receipt: %v", err)
		}
		if _, err := r.Verify(p); err == nil && (r.Index >= uint64(len(all)) || !bytes.Equal(r.Entry, all[r.Index])) {
			t.Fatalf("entry %d was never in the ledger: %x", r.Index, r.Entry)
		}
	})
}
