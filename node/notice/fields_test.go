package notice_test

import (
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/node/notice"
)

// TestEveryFieldIsNamed: a key of the item that nobody has described would leave
// without a word about it.
func TestEveryFieldIsNamed(t *testing.T) {
	names := map[string]bool{}
	for _, f := range notice.Fields() {
		if f.Name == "" || f.Says == "" || names[f.Name] {
			t.Errorf("key %s is named %q and says %q: describe it in fields.go", f.Key, f.Name, f.Says)
		}
		names[f.Name] = true
	}
	if len(names) != len(notice.Said) {
		t.Errorf("%d fields are described and %d are there", len(notice.Said), len(names))
	}
}

// TestContentsAreAll: what is shown of an item has as many fields as there are
// keys in its bytes.
func TestContentsAreAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw, err := notice.Encode(anyNotice().Draw(t, "notice"))
		if err != nil {
			t.Fatal(err)
		}
		shown, err := notice.Contents(raw)
		if err != nil {
			t.Fatal(err)
		}
		var want, got []string
		var top map[uint64]canon.Raw
		if err := canon.Unmarshal(raw, &top); err != nil {
			t.Fatal(err)
		}
		for key, v := range top {
			if key != 11 && key != 12 && key < 14 {
				want = append(want, num(key))
				continue
			}
			var inner map[uint64]canon.Raw
			if err := canon.Unmarshal(v, &inner); err != nil {
				t.Fatal(err)
			}
			for k, v := range inner {
				if key != 20 || k != 8 {
					want = append(want, num(key)+"."+num(k))
					continue
				}
				var documents []map[uint64]canon.Raw
				if err := canon.Unmarshal(v, &documents); err != nil {
					t.Fatal(err)
				}
				for _, d := range documents {
					for k := range d {
						want = append(want, "20.8."+num(k))
					}
				}
			}
		}
		for _, c := range shown {
			if c.Name == "" || c.Value == "" {
				t.Fatalf("key %s: %q %q", c.Key, c.Name, c.Value)
			}
			got = append(got, c.Key)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("shown %q, in the bytes %q", got, want)
		}
	})
}

func num(n uint64) string { return strconv.FormatUint(n, 10) }

// anyNotice draws a valid notice of any kind with any of the fields it may have.
func anyNotice() *rapid.Generator[*notice.Notice] {
	return rapid.Custom(func(t *rapid.T) *notice.Notice {
		n := &notice.Notice{Kind: rapid.SampledFrom(notice.Kinds()).Draw(t, "kind"),
			Salt: [16]byte{1}, Created: now}
		maybe := func(what string) bool { return rapid.Bool().Draw(t, what) }
		id := crypto.ItemID{7}
		value := notice.Indicator{Type: notice.TypeDomain, Value: anyName().Draw(t, "name")}
		switch n.Kind {
		case notice.KindRetraction:
			n.Ref, n.Reason = &id, "mistaken"
			return n
		case notice.KindDispute:
			if n.Ref = &id; maybe("of a value") {
				n.Ref, n.Indicator = nil, &value
			}
			n.Reason = "our own"
			return n
		case notice.KindSighting:
			n.FirstSeen, n.LastSeen, n.Count = now-2, now-1, 3
		case notice.KindIndicator:
			if maybe("valid until") {
				n.ValidUntil = now + 1
			}
		default:
			return anyPart(t, n)
		}
		n.Indicator = &value
		if maybe("context") {
			n.Context = &notice.Context{Family: "Qakbot"}
			if maybe("more context") {
				n.Context = &notice.Context{Tool: "Cobalt Strike", Technique: "T1059.001", CVE: "CVE-2021-44228"}
			}
		}
		if maybe("origin") {
			n.Origin = &notice.Origin{Source: "misp:Example", ID: "event/attribute", TLP: notice.TLPAmber}
		}
		return n
	})
}
