package tlog_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/ledger/tlog"
)

var signedAt = time.Unix(1_700_000_000, 0)

func ledgerKey(t testing.TB, name string) *crypto.LedgerKey {
	t.Helper()
	key, err := crypto.GenerateKey(testkit.Random(name))
	if err != nil {
		t.Fatal(err)
	}
	return crypto.NewLedgerKey(key)
}

// signed is a checkpoint's note by a member whose id is its name's first byte.
func signed(t testing.TB, c tlog.Checkpoint, name string, role tlog.Role) []byte {
	t.Helper()
	raw, err := tlog.Sign(c, tlog.Cosigner(crypto.Region{1}, crypto.MemberID{name[0]}), ledgerKey(t, name), role, signedAt)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func merge(t testing.TB, notes ...[]byte) []byte {
	t.Helper()
	raw, err := tlog.Merge(notes...)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

var some = tlog.Checkpoint{Origin: tlog.Origin(crypto.Region{1}, 1), Size: 1234, Root: crypto.Hash{2}}

// Notes that the implementations of others made verify here.
func TestNotesOfOthers(t *testing.T) {
	raw, err := os.ReadFile("testdata/others.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Vkeys []string `json:"vkeys"`
		Note  string   `json:"note"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	n, err := tlog.ParseNote([]byte(v.Note))
	if err != nil {
		t.Fatal(err)
	}
	if got := n.Bytes(); string(got) != v.Note {
		t.Errorf("written again it is %s", got)
	}
	if c, err := n.Checkpoint(); err != nil || c.Size != 1234 || c.Origin != "example.com/ledger/1" {
		t.Errorf("checkpoint %+v, error %v", c, err)
	}
	if len(v.Vkeys) != 3 || len(n.Lines) != 3 {
		t.Fatalf("%d keys and %d lines", len(v.Vkeys), len(n.Lines))
	}
	for i, vkey := range v.Vkeys {
		k, err := tlog.ParseKey(vkey)
		if err != nil {
			t.Fatal(err)
		}
		at, err := k.Verify(n)
		if err != nil || k.String() != vkey || !k.Made(n.Lines[i]) || at.IsZero() != (i == 0) {
			t.Errorf("key %d: time %s, error %v", i, at, err)
		}
		for _, at := range []int{0, len(n.Lines[i].Sig) - 1} {
			n.Lines[i].Sig[at] ^= 1
			if _, err := k.Verify(n); !errors.Is(err, tlog.ErrLine) {
				t.Errorf("key %d with byte %d flipped: error %v", i, at, err)
			}
			n.Lines[i].Sig[at] ^= 1
		}
	}
}

// What each role signs verifies by exactly its keys, and all fits into the limits: five
// voters and three witnesses.
func TestSign(t *testing.T) {
	var notes [][]byte
	keys := map[string][]*tlog.Key{}
	for i, name := range []string{"a", "b", "c", "d", "e", "w", "x", "y"} {
		role, first, firstName := tlog.Voter, tlog.KindLog, some.Origin
		cosigner := tlog.Cosigner(crypto.Region{1}, crypto.MemberID{name[0]})
		if i >= 5 {
			role, first, firstName = tlog.Witness, tlog.KindCosignature, cosigner
		}
		public := ledgerKey(t, name).Public()
		for _, k := range []struct {
			name string
			kind tlog.Kind
		}{{firstName, first}, {cosigner, tlog.KindMLDSA44}} {
			key, err := tlog.KeyOf(k.name, k.kind, public)
			if err != nil {
				t.Fatal(err)
			}
			keys[name] = append(keys[name], key)
		}
		notes = append(notes, signed(t, some, name, role))
	}
	all := merge(t, notes...)
	n, err := tlog.ParseNote(all)
	if err != nil || len(n.Lines) != tlog.LinesMax || len(all) > tlog.NoteSizeMax {
		t.Fatalf("%d bytes, error %v", len(all), err)
	}
	for name, both := range keys {
		for i, k := range both {
			at, err := k.Verify(n)
			if err != nil || !at.IsZero() && !at.Equal(signedAt) {
				t.Errorf("%s, line %d: time %s, error %v", name, i, at, err)
			}
			if again, err := tlog.ParseKey(k.String()); err != nil || again.String() != k.String() {
				t.Errorf("%s: vkey %s, error %v", name, k, err)
			}
		}
	}
	stranger, err := tlog.KeyOf(some.Origin, tlog.KindLog, ledgerKey(t, "z").Public())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Verify(n); !errors.Is(err, tlog.ErrNoLine) {
		t.Errorf("a stranger: %v", err)
	}
	// Under another text the lines are false.
	for _, change := range []func(c *tlog.Checkpoint){
		func(c *tlog.Checkpoint) { c.Size++ },
		func(c *tlog.Checkpoint) { c.Root[31] ^= 1 },
		func(c *tlog.Checkpoint) { c.Origin = tlog.Origin(crypto.Region{1}, 2) },
	} {
		c := some
		change(&c)
		moved := *n
		moved.Text = c.Text()
		for i, k := range keys["w"] {
			if _, err := k.Verify(&moved); !errors.Is(err, tlog.ErrLine) {
				t.Errorf("%+v, line %d: %v", c, i, err)
			}
		}
	}
}

func TestSignRefuses(t *testing.T) {
	key := ledgerKey(t, "a")
	name := tlog.Cosigner(crypto.Region{1}, crypto.MemberID{'a'})
	for _, tt := range []struct {
		what string
		c    tlog.Checkpoint
		name string
		role tlog.Role
		at   time.Time
	}{
		{"an origin with a space", tlog.Checkpoint{Origin: "a b", Size: 1}, name, tlog.Voter, signedAt},
		{"an origin with a newline", tlog.Checkpoint{Origin: "a\nb", Size: 1}, name, tlog.Voter, signedAt},
		{"no entries and a root", tlog.Checkpoint{Origin: "a", Root: crypto.Hash{1}}, name, tlog.Voter, signedAt},
		{"2^63 entries", tlog.Checkpoint{Origin: "a", Size: 1 << 63}, name, tlog.Voter, signedAt},
		{"a name with a plus", some, "a+b", tlog.Witness, signedAt},
		{"a name of 256 bytes", some, strings.Repeat("a", 256), tlog.Witness, signedAt},
		{"no role", some, name, 0, signedAt},
		{"before 1970", some, name, tlog.Voter, time.Unix(-1, 0)},
		{"after the year 9999", some, name, tlog.Voter, time.Unix(253402300800, 0)},
	} {
		if raw, err := tlog.Sign(tt.c, tt.name, key, tt.role, tt.at); err == nil {
			t.Errorf("%s: signed %s", tt.what, raw)
		}
	}
}

func TestParseNoteRefuses(t *testing.T) {
	good := string(signed(t, some, "a", tlog.Voter))
	if _, err := tlog.ParseNote([]byte(good)); err != nil {
		t.Fatal(err)
	}
	text, lines, _ := strings.Cut(good, "\n\n")
	first, _, _ := strings.Cut(lines, "\n")
	line := func(i int) string {
		return fmt.Sprintf("— a%d %s\n", i, base64.StdEncoding.EncodeToString([]byte{0, 0, 0, byte(i), 1}))
	}
	many := text + "\n\n"
	for i := range tlog.LinesMax {
		many += line(i)
	}
	if _, err := tlog.ParseNote([]byte(many)); err != nil {
		t.Errorf("%d lines: %v", tlog.LinesMax, err)
	}
	for name, raw := range map[string]string{
		"nothing":                      "",
		"text alone":                   text + "\n",
		"no newline at the end":        good[:len(good)-1],
		"an empty line more":           good + "\n",
		"a trailing space":             strings.TrimSuffix(good, "\n") + " \n",
		"17 lines":                     many + line(tlog.LinesMax),
		"a line twice":                 good + first + "\n",
		"a hyphen for the dash":        strings.Replace(good, "—", "-", 1),
		"no space behind the dash":     strings.Replace(good, "— ", "—", 1),
		"a carriage return":            strings.Replace(good, "\n", "\r\n", 1),
		"a tab":                        strings.Replace(good, "— ", "—\t", 1),
		"a zero byte":                  good[:10] + "\x00" + good[11:],
		"no UTF-8":                     strings.Replace(good, "—", "\xe2\x80", 1),
		"a plus in a name":             text + "\n\n— a+b AAAAAQI=\n",
		"no name":                      text + "\n\n—  AAAAAQI=\n",
		"a no-break space in a name":   text + "\n\n— a\u00a0b AAAAAQI=\n",
		"no padding":                   text + "\n\n— a AAAAAQI\n",
		"bits behind the end":          text + "\n\n— a AAAAAQJ=\n",
		"base64 for addresses":         text + "\n\n— a AAAA_-I=\n",
		"a key's id and nothing more":  text + "\n\n— a AAAAAQ==\n",
		"two signatures in a line":     text + "\n\n— a AAAAAQI= AAAAAQI=\n",
		"larger than 32 KiB":           strings.Repeat("x", tlog.NoteSizeMax) + good,
		"text behind the signatures":   good + "more\n",
		"a line between text and sign": text + "\n\nhello\n" + lines,
	} {
		if n, err := tlog.ParseNote([]byte(raw)); !errors.Is(err, tlog.ErrNote) {
			t.Errorf("%s: %+v, error %v", name, n, err)
		}
	}
}

func TestParseCheckpointRefuses(t *testing.T) {
	root := base64.StdEncoding.EncodeToString(some.Root[:])
	if c, err := tlog.ParseCheckpoint(some.Text()); err != nil || c != some {
		t.Fatalf("%+v, error %v", c, err)
	}
	for _, text := range []string{
		"", "a\n", "a\n1\n", "a\n1\n" + root, "a\n1\n" + root + "\nextension\n", "\n1\n" + root + "\n", "a b\n1\n" + root + "\n",
		"a\n01\n" + root + "\n", "a\n+1\n" + root + "\n", "a\n-1\n" + root + "\n", "a\n1_0\n" + root + "\n", "a\n9223372036854775808\n" + root + "\n",
		"a\n1\n" + root[:40] + "\n", "a\n1\n" + strings.TrimRight(root, "=") + "\n", "a\n1\n" + strings.Replace(root, "A=", "B=", 1) + "\n",
		"a\n0\n" + root + "\n", "a\r\n1\n" + root + "\n", strings.Repeat("a", 256) + "\n1\n" + root + "\n",
	} {
		if c, err := tlog.ParseCheckpoint(text); !errors.Is(err, tlog.ErrNote) {
			t.Errorf("%q: %+v, error %v", text, c, err)
		}
	}
}

func TestOrigins(t *testing.T) {
	region := crypto.Region{0xab, 31: 0xcd}
	for _, epoch := range []uint32{1, 2, 1<<32 - 1} {
		r, e, err := tlog.ParseOrigin(tlog.Origin(region, epoch))
		if err != nil || r != region || e != epoch {
			t.Errorf("epoch %d: %s, %d, error %v", epoch, r, e, err)
		}
	}
	good := tlog.Origin(region, 1)
	for _, origin := range []string{"", "watchward/", good + "0000000000", good[:len(good)-1], good[:len(good)-1] + "0", good + " ", good[:len(good)-1] + "01",
		strings.ToUpper(good), strings.Replace(good, "cd/", "c/", 1), strings.TrimPrefix(good, "watchward/"), good + "/1"} {
		if r, e, err := tlog.ParseOrigin(origin); !errors.Is(err, tlog.ErrNote) {
			t.Errorf("%q: %s, %d, error %v", origin, r, e, err)
		}
	}
}

func TestParseKeyRefuses(t *testing.T) {
	public := ledgerKey(t, "a").Public()
	key, err := tlog.KeyOf("a", tlog.KindLog, public)
	if err != nil {
		t.Fatal(err)
	}
	vkey := key.String()
	encode := func(kind byte, key []byte) string {
		return base64.StdEncoding.EncodeToString(append([]byte{kind}, key...))
	}
	for _, s := range []string{
		"", "a", "a+", "a+00000000", "a+00000000+", "b" + vkey[1:], strings.ToUpper(vkey[:10]) + vkey[10:], vkey + "=",
		"a+00000000+" + encode(1, public.Ed25519), "a+00000000+" + encode(2, public.Ed25519), "a+00000000+" + encode(6, public.Ed25519),
		"a+00000000+" + encode(1, public.Ed25519[1:]), "a+00000000+" + encode(1, make([]byte, 32)), "a+00000000+" + encode(6, public.MLDSA44[1:]),
	} {
		if k, err := tlog.ParseKey(s); err == nil {
			t.Errorf("%q is a key: %s", s, k)
		}
	}
}

func TestMerge(t *testing.T) {
	a, b := signed(t, some, "a", tlog.Voter), signed(t, some, "b", tlog.Witness)
	later, err := tlog.Sign(some, tlog.Cosigner(crypto.Region{1}, crypto.MemberID{'a'}), ledgerKey(t, "a"), tlog.Voter, signedAt.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	k, err := tlog.KeyOf(tlog.Cosigner(crypto.Region{1}, crypto.MemberID{'a'}), tlog.KindMLDSA44, ledgerKey(t, "a").Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		notes [][]byte
		lines int
		at    time.Time
	}{
		{"one", [][]byte{a}, 2, signedAt},
		{"two", [][]byte{a, b}, 4, signedAt},
		{"one twice", [][]byte{a, b, a}, 4, signedAt},
		{"the newer first", [][]byte{later, merge(t, a, b)}, 4, signedAt.Add(time.Minute)},
		{"the newer last", [][]byte{a, b, later}, 4, signedAt},
	} {
		n, err := tlog.ParseNote(merge(t, tt.notes...))
		if err != nil || len(n.Lines) != tt.lines {
			t.Fatalf("%s: %+v, error %v", tt.name, n, err)
		}
		if at, err := k.Verify(n); err != nil || !at.Equal(tt.at) {
			t.Errorf("%s: signed at %s, error %v", tt.name, at, err)
		}
	}
	other := some
	other.Size++
	var many [][]byte
	for i := range 9 {
		many = append(many, signed(t, some, fmt.Sprint(i), tlog.Voter))
	}
	for name, notes := range map[string][][]byte{
		"nothing": nil, "two texts": {a, signed(t, other, "b", tlog.Voter)}, "no note": {a, []byte("x")}, "18 lines": many,
	} {
		if raw, err := tlog.Merge(notes...); !errors.Is(err, tlog.ErrNote) {
			t.Errorf("%s: %s, error %v", name, raw, err)
		}
	}
}

// Whatever order notes are merged in, each key has its one line.
func TestMergeIsAUnion(t *testing.T) {
	var notes [][]byte
	for _, name := range []string{"a", "b", "c", "d"} {
		notes = append(notes, signed(t, some, name, tlog.Voter))
	}
	rapid.Check(t, func(t *rapid.T) {
		picks := rapid.SliceOfN(rapid.IntRange(0, len(notes)-1), 1, 8).Draw(t, "picks")
		var picked [][]byte
		distinct := map[int]bool{}
		for _, i := range picks {
			picked, distinct[i] = append(picked, notes[i]), true
		}
		raw, err := tlog.Merge(picked...)
		if err != nil {
			t.Fatal(err)
		}
		n, err := tlog.ParseNote(raw)
		if err != nil || len(n.Lines) != 2*len(distinct) {
			t.Fatalf("%d notes, %d lines, error %v", len(distinct), len(n.Lines), err)
		}
	})
}

func FuzzParseNote(f *testing.F) {
	f.Add(signed(f, some, "a", tlog.Voter))
	f.Add(merge(f, signed(f, some, "a", tlog.Voter), signed(f, some, "b", tlog.Witness)))
	f.Add([]byte("a\n1\nAAAA\n\n— a AAAAAQI=\n"))
	k, err := tlog.KeyOf(tlog.Cosigner(crypto.Region{1}, crypto.MemberID{'a'}), tlog.KindMLDSA44, ledgerKey(f, "a").Public())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		n, err := tlog.ParseNote(raw)
		if err != nil {
			return
		}
		if !bytes.Equal(n.Bytes(), raw) {
			t.Fatal("read and written it is another note")
		}
		if again, err := tlog.Merge(raw, raw); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("merged with itself it is another note: %v", err)
		}
		c, err := n.Checkpoint()
		if err == nil && c.Text() != n.Text {
			t.Fatal("read and written it is another checkpoint")
		}
		if _, err := k.Verify(n); err == nil && c != some {
			t.Fatalf("a signed %+v, of which it knows nothing", c)
		}
	})
}
