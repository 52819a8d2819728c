package canon_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto/canon"
)

type pair struct {
	A uint64 `cbor:"1,keyasint"`
	B string `cbor:"2,keyasint,omitempty"`
}

func TestRefusesEverythingButTheOneEncoding(t *testing.T) {
	good, err := canon.Marshal(pair{A: 23, B: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(good); got != "a201170261"+"78" {
		t.Fatalf("encoding is %s", got)
	}
	for name, bad := range map[string]string{
		"trailing byte":            "a20117026178" + "00",
		"truncated":                "a201170261",
		"long integer":             "a2011817026178",
		"keys out of order":        "a20261780117",
		"duplicate key":            "a201170117",
		"unknown key":              "a3011702617803f5",
		"indefinite map":           "bf0117026178ff",
		"indefinite string":        "a20117027f6178ff",
		"tag":                      "a201c117026178",
		"invalid UTF-8":            "a201170261ff",
		"wrong type":               "a201617802617 8",
		"empty string that is due": "a201170260",
		"array of 2^32 elements":   "9b0000000100000000",
		"nesting":                  strings.Repeat("81", 5000) + "00",
		"nothing":                  "",
	} {
		t.Run(name, func(t *testing.T) {
			raw, _ := hex.DecodeString(strings.ReplaceAll(bad, " ", ""))
			var p pair
			if err := canon.Unmarshal(raw, &p); err == nil {
				t.Errorf("accepted as %+v", p)
			}
		})
	}
}

func TestOpenSkipsUnknownKeysButNotUncanonicalOnes(t *testing.T) {
	var p pair
	raw, _ := hex.DecodeString("a3011702617818403863") // {1: 23, 2: "x", 64: -100}
	if err := canon.UnmarshalOpen(raw, &p); err != nil || p.A != 23 || p.B != "x" {
		t.Fatalf("got %+v, %v", p, err)
	}
	raw, _ = hex.DecodeString("a301170261781840390063") // the same with -100 in three bytes
	if err := canon.UnmarshalOpen(raw, &p); !errors.Is(err, canon.ErrNotCanonical) {
		t.Fatalf("got %v", err)
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{"a20117026178", "a0", "9b0000000100000000", "bf0117026178ff"} {
		raw, _ := hex.DecodeString(seed)
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var p pair
		if canon.Unmarshal(data, &p) == nil {
			again, err := canon.Marshal(p)
			if err != nil || !bytes.Equal(again, data) {
				t.Fatalf("%x decodes, and encodes as %x (%v)", data, again, err)
			}
		}
		var open pair
		_ = canon.UnmarshalOpen(data, &open)
	})
}
