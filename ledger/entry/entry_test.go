package entry_test

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/entry"
)

func TestEntry(t *testing.T) {
	id := crypto.Hash{0: 0xab, 31: 0xcd}
	for typ, name := range map[entry.Type]string{
		entry.Envelope: "envelope", entry.Record: "record", entry.Checkpoint: "checkpoint", entry.Charter: "charter", entry.Link: "link",
	} {
		raw := entry.Encode(typ, id)
		// A map of three: 1 version 0, 2 type, 3 id.
		want := append([]byte{0xa3, 1, 0, 2, byte(typ), 3, 0x58, 32}, id[:]...)
		if !bytes.Equal(raw, want) {
			t.Errorf("%s is %x, want %x", name, raw, want)
		}
		if e, err := entry.Parse(raw); err != nil || e != (entry.Entry{Type: typ, ID: id}) || e.Type.String() != name {
			t.Errorf("%s comes back as %+v, %v", name, e, err)
		}
	}
}

func TestBadEntries(t *testing.T) {
	good := entry.Encode(entry.Envelope, crypto.Hash{1})
	for name, change := range map[string]func([]byte) []byte{
		"nothing":            func([]byte) []byte { return nil },
		"cut short":          func(b []byte) []byte { return b[:len(b)-1] },
		"something trailing": func(b []byte) []byte { return append(b, 0) },
		"another version":    func(b []byte) []byte { b[2] = 1; return b },
		"type 0":             func(b []byte) []byte { b[4] = 0; return b },
		"type 6":             func(b []byte) []byte { b[4] = 6; return b },
		"another field":      func(b []byte) []byte { b[5] = 4; return b },
		"a short id":         func(b []byte) []byte { b[7] = 31; return b[:len(b)-1] },
		"not canonical":      func(b []byte) []byte { return bytes.Replace(b, []byte{2, 1, 3}, []byte{2, 0x18, 1, 3}, 1) },
	} {
		raw := change(bytes.Clone(good))
		if e, err := entry.Parse(raw); err == nil {
			t.Errorf("%s (%s) is taken as %+v", name, hex.EncodeToString(raw), e)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(entry.Encode(entry.Link, crypto.Hash{9}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if e, err := entry.Parse(raw); err == nil && !bytes.Equal(entry.Encode(e.Type, e.ID), raw) {
			t.Errorf("%x has two forms", raw)
		}
	})
}
