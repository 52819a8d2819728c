package notice_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/node/notice"
)

// hidden are characters that move a cursor, reorder text, show as nothing or stand for
// damage.
var hidden = []string{
	"\x00", "\x07", "\b", "\t", "\n", "\r", "\x1b[2J", "\x1b]0;x\x07", "\x7f", "\u0085", "\u009b2J", "\u009d", // C0, ANSI, DEL, C1
	"\u061c", "\u200e", "\u200f", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069", // direction
	"\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u034f", "\u180e", "\u115f", "\u3164", "\uffa0", "\u2800", // nothing
	"\u2028", "\u2029", "\ufe0f", "\U000e0041", "\U000e0100", "\ue000", "\ufffd", "\ufffe", "\xff", "\xc3\x28", "\xed\xa0\x80", // lines, tags, damage
}

// texts calls visit for every text in an encoded notice with its key, and a way to
// change it.
func texts(prefix string, m map[any]any, visit func(key string, set func(string), was string)) {
	for k, v := range m {
		key := fmt.Sprint(prefix, k)
		switch v := v.(type) {
		case string:
			visit(key, func(s string) { m[k] = s }, v)
		case []any:
			for i, line := range v {
				switch line := line.(type) {
				case string:
					visit(key, func(s string) { v[i] = s }, line)
				case map[any]any:
					texts(key+".", line, visit)
				}
			}
		case map[any]any:
			texts(key+".", v, visit)
		}
	}
}

// TestNoTextHidesAnything: of every text of every kind, also of one that is added later,
// whatever hides, reorders or breaks text is refused where it is written and where it is
// read. HTML is text: who shows it escapes it.
func TestNoTextHidesAnything(t *testing.T) {
	seen := map[string]bool{}
	for _, kind := range kinds {
		var fields map[any]any
		item, err := notice.Encode(full(kind))
		if err != nil {
			t.Fatal(err)
		}
		if err := canon.Unmarshal(item, &fields); err != nil {
			t.Fatal(err)
		}
		texts("", fields, func(key string, set func(string), was string) {
			seen[key] = true
			for _, bad := range hidden {
				if key == "20.3" && bad == "\n" { // an advisory has lines
					continue
				}
				for _, text := range []string{was + bad + "x", bad + was, was + bad} {
					set(text)
					item, err := canon.Marshal(fields)
					if err != nil {
						continue // no UTF-8: below
					}
					if n, err := notice.Decode(item); err == nil || errors.Is(err, notice.ErrCritical) {
						t.Errorf("%s, key %s: %+q is read: %+v, %v", kind, key, text, n, err)
					} else if !notice.Printable(err.Error()) {
						t.Errorf("%s, key %s: the error is not safe to print: %q", kind, key, err)
					}
				}
			}
			set(was)
			item, err := canon.Marshal(fields)
			if err != nil {
				t.Fatal(err)
			}
			if broken := slices.Clone(item); was != "" {
				at := strings.Index(string(item), was)
				broken[at] = 0xff
				if n, err := notice.Decode(broken); err == nil || !notice.Printable(err.Error()) {
					t.Errorf("%s, key %s: text that is no UTF-8 is read: %+v, %v", kind, key, n, err)
				}
			}
			if _, err := notice.Decode(item); err != nil {
				t.Fatalf("%s: as it was: %v", kind, err)
			}
			if slices.Contains([]string{"5", "11.3", "11.4", "15.3", "15.4", "20.4", "20.5", "20.6", "20.8.4", "20.8.5"}, key) { // which have a form, or names that differ
				return
			}
			set("<b>x</b>")
			if item, err = canon.Marshal(fields); err == nil {
				_, err = notice.Decode(item)
			}
			if err != nil {
				t.Errorf("%s, key %s: HTML is no longer text: %v", kind, key, err)
			}
			set(was)
		})
	}
	for _, key := range notice.TextKeys() {
		if !seen[key] {
			t.Errorf("key %s (%s) is text that no kind of full has: fill it in, so that it is tried", key, notice.Said[key].Name)
		}
	}
}

// TestNoValueHidesAnything: nor does the value of an indicator of any type.
func TestNoValueHidesAnything(t *testing.T) {
	for typ, value := range map[notice.Type]string{
		notice.TypeIPv4: "198.51.100.7", notice.TypeIPv6: "2001:db8::7", notice.TypeCIDR: "198.51.100.0/24", notice.TypeDomain: "evil.example",
		notice.TypeURL: "http://evil.example/a?b=c", notice.TypeEmail: "a@evil.example", notice.TypeMD5: strings.Repeat("a", 32),
		notice.TypeSHA1: strings.Repeat("a", 40), notice.TypeSHA256: strings.Repeat("a", 64), notice.TypeSHA512: strings.Repeat("a", 128),
		notice.TypeJA3: strings.Repeat("a", 32), notice.TypeJA4: "t13d1516h2_8daaf6152771_b186095e22b6", notice.TypeCertSHA256: strings.Repeat("a", 64),
		notice.TypeASN: "AS64496", notice.TypeFilename: `c:\windows\evil.exe`, notice.TypeMutex: `Global\evil`,
		notice.TypeRegistryKey: `HKLM\Software\Evil`, notice.TypeBTC: "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
	} {
		i, err := notice.Canonical(typ, value, notice.Options{AllowSpecial: true})
		if err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		for _, bad := range hidden {
			half := len(i.Value) / 2
			n := sighting(notice.Indicator{Type: typ, Value: i.Value[:half] + bad + i.Value[half:]})
			if _, err := notice.Encode(n); err == nil {
				t.Errorf("%s: %+q is written", typ, n.Indicator.Value)
			}
			fields := map[uint64]any{}
			item, err := notice.Encode(sighting(i))
			if err != nil {
				t.Fatal(err)
			}
			if err := canon.Unmarshal(item, &fields); err != nil {
				t.Fatal(err)
			}
			fields[5] = n.Indicator.Value
			if item, err = canon.Marshal(fields); err != nil {
				continue
			}
			if _, err := notice.Decode(item); err == nil || !notice.Printable(err.Error()) {
				t.Errorf("%s: %+q is read: %v", typ, n.Indicator.Value, err)
			}
		}
	}
	if len(notice.Types()) != 18 {
		t.Error("there is a type that is not tried")
	}
}
