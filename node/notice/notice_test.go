package notice_test

import (
	"encoding/hex"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/node/notice"
)

const now = int64(1_700_000_000_000)

func sighting(i notice.Indicator) *notice.Notice {
	return &notice.Notice{Kind: notice.KindSighting, Salt: [16]byte{1, 2, 3}, Created: now, Indicator: &i,
		FirstSeen: now - 5000, LastSeen: now - 1000, Count: 3}
}

func evil() *notice.Indicator {
	return &notice.Indicator{Type: notice.TypeDomain, Value: "evil.example"}
}

// full has every field a kind knows.
func full(kind notice.Kind) *notice.Notice {
	n := &notice.Notice{Kind: kind, Salt: [16]byte{1}, Created: now}
	id := crypto.ItemID{7, 8, 9}
	switch kind {
	case notice.KindIndicator:
		n.Indicator, n.FirstSeen, n.LastSeen, n.ValidUntil = evil(), now-9, now-8, now+time.Hour.Milliseconds()
	case notice.KindSighting:
		n = sighting(*evil())
	case notice.KindRetraction:
		n.Ref, n.Reason = &id, "typing error"
		return n
	case notice.KindDispute:
		n.Ref, n.Reason = &id, "our own scanner"
		n.Origin = &notice.Origin{Source: "misp:Example", ID: "x", TLP: notice.TLPGreen}
		return n
	default:
		fill(n)
		return n
	}
	n.Context = &notice.Context{Family: "Spacecolon", Tool: "Cobalt Strike", Technique: "T1059.001", CVE: "CVE-2021-44228"}
	n.Origin = &notice.Origin{Source: "misp:Example", ID: "event/attribute", TLP: notice.TLPAmberStrict}
	return n
}

var kinds = notice.Kinds()

func TestEncodeDecodeIdentity(t *testing.T) {
	for _, kind := range kinds {
		n := full(kind)
		if err := n.Check(now); err != nil {
			t.Fatal(err)
		}
		item, err := notice.Encode(n)
		if err != nil {
			t.Fatal(err)
		}
		got, err := notice.Decode(item)
		if err != nil || !reflect.DeepEqual(got, n) {
			t.Errorf("%v: got %+v, %v; want %+v", kind, got, err, n)
		}
	}
	dispute := full(notice.KindDispute)
	dispute.Ref, dispute.Indicator = nil, evil()
	item, err := notice.Encode(dispute)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := notice.Decode(item); err != nil || !reflect.DeepEqual(got, dispute) {
		t.Errorf("dispute of a value: got %+v, %v", got, err)
	}
}

// TestItemStays pins the wire format: these bytes are in released stores.
func TestItemStays(t *testing.T) {
	item, err := notice.Encode(full(notice.KindSighting))
	if err != nil {
		t.Fatal(err)
	}
	want := "ab" + "0102" + "025001020300000000000000000000000000" + "031b0000018bcfe56800" + "0404" +
		"056c" + hex.EncodeToString([]byte("evil.example")) + "071b0000018bcfe55478" + "081b0000018bcfe56418" + "0903" +
		"0ba4" + "016a" + hex.EncodeToString([]byte("Spacecolon")) + "026d" + hex.EncodeToString([]byte("Cobalt Strike")) +
		"0369" + hex.EncodeToString([]byte("T1059.001")) + "046e" + hex.EncodeToString([]byte("CVE-2021-44228")) +
		"0ca3" + "016c" + hex.EncodeToString([]byte("misp:Example")) + "026f" + hex.EncodeToString([]byte("event/attribute")) + "0304"
	want = "aa" + want[2:]
	if got := hex.EncodeToString(item); got != want {
		t.Errorf("the item is\n%s, want\n%s", got, want)
	}
}

func TestIdentityOfRandomNotices(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := sighting(notice.Indicator{Type: notice.TypeDomain, Value: anyName().Draw(t, "name")})
		copy(n.Salt[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "salt"))
		n.FirstSeen = rapid.Int64Range(1, now).Draw(t, "first")
		n.LastSeen = rapid.Int64Range(n.FirstSeen, now).Draw(t, "last")
		n.Count = rapid.Uint64Range(1, notice.CountMax).Draw(t, "count")
		item, err := notice.Encode(n)
		if err != nil {
			t.Fatal(err)
		}
		got, err := notice.Decode(item)
		if err != nil || !reflect.DeepEqual(got, n) {
			t.Fatalf("got %+v, %v; want %+v", got, err, n)
		}
	})
}

// edit decodes an item into its map, lets f change it, and encodes it again.
func edit(t *testing.T, n *notice.Notice, f func(map[uint64]any)) []byte {
	t.Helper()
	item, err := notice.Encode(n)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[uint64]any
	if err := canon.Unmarshal(item, &fields); err != nil {
		t.Fatal(err)
	}
	f(fields)
	item, err = canon.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return item
}

func TestDecodeLeavesLaterVersionsAlone(t *testing.T) {
	for name, f := range map[string]func(map[uint64]any){
		"later kind":               func(m map[uint64]any) { m[1] = uint64(13) },
		"later kind, other fields": func(m map[uint64]any) { m[1], m[4], m[20] = uint64(13), "help", true },
		"later key":                func(m map[uint64]any) { m[22] = true },
		"last critical key":        func(m map[uint64]any) { m[63] = "x" },
		"later indicator type":     func(m map[uint64]any) { m[4] = uint64(99) },
		"later context key":        func(m map[uint64]any) { m[11].(map[any]any)[uint64(5)] = "x" },
		"later origin key":         func(m map[uint64]any) { m[12].(map[any]any)[uint64(4)] = "x" },
		"kind beyond a byte":       func(m map[uint64]any) { m[1] = uint64(256 + 1) },
		"type beyond a byte":       func(m map[uint64]any) { m[4] = uint64(256 + 4) },
	} {
		if n, err := notice.Decode(edit(t, full(notice.KindSighting), f)); !errors.Is(err, notice.ErrCritical) {
			t.Errorf("%s: got %+v, %v; want ErrCritical", name, n, err)
		}
	}
	item := edit(t, full(notice.KindSighting), func(m map[uint64]any) {
		m[64], m[70000] = "x", []any{int64(-1), map[any]any{"y": false}}
		m[11].(map[any]any)[uint64(64)] = true
	})
	got, err := notice.Decode(item)
	if err != nil || !reflect.DeepEqual(got, full(notice.KindSighting)) {
		t.Errorf("ignorable keys: got %+v, %v", got, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, f := range map[string]func(map[uint64]any){
		"no kind":               func(m map[uint64]any) { delete(m, 1) },
		"short salt":            func(m map[uint64]any) { m[2] = make([]byte, 15) },
		"long salt":             func(m map[uint64]any) { m[2] = make([]byte, 17) },
		"salt is text":          func(m map[uint64]any) { m[2] = "0123456789abcdef" },
		"no time":               func(m map[uint64]any) { m[3] = uint64(0) },
		"negative time":         func(m map[uint64]any) { m[3] = int64(-1) },
		"year 10000":            func(m map[uint64]any) { m[3] = uint64(253_402_300_800_000) },
		"beyond int64":          func(m map[uint64]any) { m[3] = uint64(1 << 63) },
		"no type":               func(m map[uint64]any) { delete(m, 4) },
		"no value":              func(m map[uint64]any) { delete(m, 5) },
		"upper case":            func(m map[uint64]any) { m[5] = "Evil.example" },
		"defanged":              func(m map[uint64]any) { m[5] = "evil[.]example" },
		"trailing dot":          func(m map[uint64]any) { m[5] = "evil.example." },
		"space":                 func(m map[uint64]any) { m[5] = " evil.example" },
		"public suffix":         func(m map[uint64]any) { m[5] = "co.uk" },
		"wrong type":            func(m map[uint64]any) { m[4] = uint64(notice.TypeURL) },
		"mapped address":        func(m map[uint64]any) { m[4], m[5] = uint64(notice.TypeIPv6), "::ffff:198.51.100.7" },
		"ref of 19":             func(m map[uint64]any) { m[6] = make([]byte, 19) },
		"ref in a sighting":     func(m map[uint64]any) { m[6] = make([]byte, 20) },
		"no first seen":         func(m map[uint64]any) { delete(m, 7) },
		"last before first":     func(m map[uint64]any) { m[8] = uint64(1) },
		"count 0":               func(m map[uint64]any) { delete(m, 9) },
		"count too large":       func(m map[uint64]any) { m[9] = uint64(1_000_000_000) },
		"valid until":           func(m map[uint64]any) { m[10] = uint64(now) },
		"empty context":         func(m map[uint64]any) { m[11] = map[uint64]any{} },
		"bad technique":         func(m map[uint64]any) { m[11] = map[uint64]any{3: "1059"} },
		"bad CVE":               func(m map[uint64]any) { m[11] = map[uint64]any{4: "cve-2021-1"} },
		"long family":           func(m map[uint64]any) { m[11] = map[uint64]any{1: strings.Repeat("x", 201)} },
		"bidirectional family":  func(m map[uint64]any) { m[11] = map[uint64]any{1: "x\u202ey"} },
		"family is a number":    func(m map[uint64]any) { m[11] = map[uint64]any{1: uint64(1)} },
		"origin without source": func(m map[uint64]any) { m[12] = map[uint64]any{2: "x"} },
		"origin TLP 6":          func(m map[uint64]any) { m[12] = map[uint64]any{1: "x", 3: uint64(6)} },
		"origin TLP 257":        func(m map[uint64]any) { m[12] = map[uint64]any{1: "x", 3: uint64(257)} },
		"reason in a sighting":  func(m map[uint64]any) { m[13] = "x" },
		"empty reason":          func(m map[uint64]any) { m[13] = "" },
		"empty, and ignorable":  func(m map[uint64]any) { m[13], m[64] = "", true },
		"key 0":                 func(m map[uint64]any) { m[0] = true },
		"huge":                  func(m map[uint64]any) { m[64] = strings.Repeat("x", 8192) },
		"deep":                  func(m map[uint64]any) { m[64] = nested(12) },
	} {
		n, err := notice.Decode(edit(t, full(notice.KindSighting), f))
		if err == nil {
			t.Errorf("%s: accepted as %+v", name, n)
		} else if !strings.HasPrefix(err.Error(), "decode item: ") {
			t.Errorf("%s: %v does not say what failed", name, err)
		}
	}
	good, err := notice.Encode(full(notice.KindSighting))
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		if n, err := notice.Decode(good[:i]); err == nil {
			t.Fatalf("the first %d bytes are accepted as %+v", i, n)
		}
	}
	if _, err := notice.Decode(append(good, 0)); err == nil {
		t.Error("a trailing byte is accepted")
	}
	ignorable := edit(t, full(notice.KindSighting), func(m map[uint64]any) { m[64] = uint64(5) })
	ignorable = append(ignorable[:len(ignorable)-1], 0x18, 0x05) // 5 in two bytes
	if _, err := notice.Decode(ignorable); err == nil {
		t.Error("an ignorable value that is not deterministic is accepted")
	}
}

func nested(depth int) any {
	if depth == 0 {
		return true
	}
	return []any{nested(depth - 1)}
}

func TestDecodeTakesSpecialAddresses(t *testing.T) {
	item, err := notice.Encode(sighting(notice.Indicator{Type: notice.TypeIPv4, Value: "192.168.1.4"}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := notice.Decode(item); err != nil {
		t.Error(err)
	}
}

func TestDecoderFaultIsAnError(t *testing.T) {
	n, err := notice.Guard(func(item []byte) (*notice.Notice, error) { return &notice.Notice{Kind: notice.Kind(item[9])}, nil }, make([]byte, 9))
	if n != nil || err == nil || !strings.Contains(err.Error(), "a fault of this version") {
		t.Errorf("%v, %v", n, err)
	}
}

func TestCheck(t *testing.T) {
	later := now + 6*time.Minute.Milliseconds()
	for name, c := range map[string]struct {
		kind  notice.Kind
		f     func(*notice.Notice)
		field string
	}{
		"no salt":            {notice.KindSighting, func(n *notice.Notice) { n.Salt = [16]byte{} }, "salt"},
		"created in future":  {notice.KindSighting, func(n *notice.Notice) { n.Created = later }, "created"},
		"seen in future":     {notice.KindSighting, func(n *notice.Notice) { n.LastSeen = later }, "last_seen"},
		"first in future":    {notice.KindIndicator, func(n *notice.Notice) { n.FirstSeen, n.LastSeen = later, 0 }, "first_seen"},
		"valid until passed": {notice.KindIndicator, func(n *notice.Notice) { n.ValidUntil = now }, "valid_until"},
		"no kind":            {notice.KindIndicator, func(n *notice.Notice) { n.Kind = 0 }, "kind"},
		"no indicator":       {notice.KindIndicator, func(n *notice.Notice) { n.Indicator = nil }, "indicator"},
		"count":              {notice.KindIndicator, func(n *notice.Notice) { n.Count = 1 }, "count"},
		"not canonical":      {notice.KindIndicator, func(n *notice.Notice) { n.Indicator.Value = "EVIL.example" }, "value"},
		"no ref":             {notice.KindRetraction, func(n *notice.Notice) { n.Ref = nil }, "ref"},
		"retracts a value":   {notice.KindRetraction, func(n *notice.Notice) { n.Indicator = evil() }, "indicator"},
		"disputes nothing":   {notice.KindDispute, func(n *notice.Notice) { n.Ref = nil }, "ref"},
		"disputes two":       {notice.KindDispute, func(n *notice.Notice) { n.Indicator = evil() }, "ref"},
		"long reason":        {notice.KindDispute, func(n *notice.Notice) { n.Reason = strings.Repeat("x", 501) }, "reason"},
		"line in reason":     {notice.KindDispute, func(n *notice.Notice) { n.Reason = "a\nb" }, "reason"},
		"context":            {notice.KindDispute, func(n *notice.Notice) { n.Context = &notice.Context{Tool: "x"} }, "context"},
		"seen":               {notice.KindDispute, func(n *notice.Notice) { n.FirstSeen = 1 }, "first_seen"},
		"origin":             {notice.KindRetraction, func(n *notice.Notice) { n.Origin = &notice.Origin{Source: "x"} }, "origin"},
		"source":             {notice.KindIndicator, func(n *notice.Notice) { n.Origin.Source = "" }, "origin.source"},
	} {
		n := full(c.kind)
		c.f(n)
		err := n.Check(now)
		field := &notice.FieldError{}
		if !errors.As(err, &field) || field.Field != c.field || field.Fix == "" {
			t.Errorf("%s: got %v; want an error of %s with its fix", name, err, c.field)
		}
	}
	n := full(notice.KindSighting)
	n.Created = now + 4*time.Minute.Milliseconds()
	if err := n.Check(now); err != nil {
		t.Errorf("a clock four minutes off: %v", err)
	}
}

func TestContentKey(t *testing.T) {
	author := crypto.MemberID{1}
	key := notice.ContentKey(author, full(notice.KindIndicator))
	again := full(notice.KindIndicator)
	again.Salt, again.Created = [16]byte{9}, now+77
	if notice.ContentKey(author, again) != key {
		t.Error("salt or import time changes the key")
	}
	if again.Salt != ([16]byte{9}) || again.Created != now+77 {
		t.Error("the notice was changed")
	}
	seen := map[[20]byte]string{key: "original"}
	for name, f := range map[string]func(*notice.Notice){
		"origin id": func(n *notice.Notice) { n.Origin.ID = "other" },
		"value":     func(n *notice.Notice) { n.Indicator.Value = "other.example" },
		"context":   func(n *notice.Notice) { n.Context = nil },
		"kind":      func(n *notice.Notice) { n.Kind = notice.KindSighting },
	} {
		n := full(notice.KindIndicator)
		f(n)
		k := notice.ContentKey(author, n)
		if other, ok := seen[k]; ok {
			t.Errorf("%s has the key of %s", name, other)
		}
		seen[k] = name
	}
	if notice.ContentKey(crypto.MemberID{2}, full(notice.KindIndicator)) == key {
		t.Error("two authors share a key")
	}
}

func TestDefaultExpiry(t *testing.T) {
	day := 24 * time.Hour.Milliseconds()
	address := full(notice.KindIndicator)
	address.Indicator, address.ValidUntil = &notice.Indicator{Type: notice.TypeIPv4, Value: "198.51.100.7"}, 0
	network := full(notice.KindIndicator)
	network.Indicator, network.ValidUntil = &notice.Indicator{Type: notice.TypeCIDR, Value: "198.51.100.0/24"}, now+1000*day
	capped := full(notice.KindIndicator)
	capped.ValidUntil = now + day
	for name, c := range map[string]struct {
		n    *notice.Notice
		want int64
	}{
		"address": {address, now + 90*day}, "valid until lengthens nothing": {network, now + 90*day},
		"domain": {full(notice.KindSighting), now + 365*day}, "capped": {capped, now + day},
		"question": {full(notice.KindQuestion), now + 365*day}, "mayday": {full(notice.KindMayday), now + 400*day},
		"service outlives its until": {full(notice.KindService), now + 400*day},
		"retraction":                 {full(notice.KindRetraction), now + 400*day}, "dispute": {full(notice.KindDispute), now + 400*day},
	} {
		if got := c.n.DefaultExpiry(); got != c.want {
			t.Errorf("%s: got %d days", name, (got-now)/day)
		}
	}
}

func TestTLP(t *testing.T) {
	for s, want := range map[string]notice.TLP{
		"clear": notice.TLPClear, "TLP:CLEAR": notice.TLPClear, "tlp:white": notice.TLPClear, "WHITE": notice.TLPClear,
		"Green": notice.TLPGreen, "tlp:amber": notice.TLPAmber, "AMBER+STRICT": notice.TLPAmberStrict,
		"TLP:AMBER_STRICT": notice.TLPAmberStrict, "amber-strict": notice.TLPAmberStrict, "TLP: AMBER STRICT": notice.TLPAmberStrict,
		" red ": notice.TLPRed,
	} {
		if got, err := notice.ParseTLP(s); err != nil || got != want {
			t.Errorf("ParseTLP(%q) = %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "TLP:", "pink", "amber+", "GREEN\u200b", "tlp:ex:chr"} {
		if got, err := notice.ParseTLP(s); err == nil {
			t.Errorf("ParseTLP(%q) = %v", s, got)
		} else if !strings.Contains(err.Error(), "CLEAR, GREEN, AMBER, AMBER+STRICT or RED") {
			t.Errorf("%v does not list the choices", err)
		}
	}
}

func TestFits(t *testing.T) {
	// Columns: local, named, region, community.
	table := map[notice.TLP]string{
		0: "y...", notice.TLPClear: "yyyy", notice.TLPGreen: "yyyy", notice.TLPAmber: "yyy.",
		notice.TLPAmberStrict: "yy..", notice.TLPRed: "yy..", 6: "....", 255: "....",
	}
	for tlp, row := range table {
		for audience := range crypto.Audience(6) {
			want := int(audience) < len(row) && row[audience] == 'y'
			if got := notice.Fits(tlp, audience); got != want {
				t.Errorf("Fits(%v, %v) = %v", tlp, audience, got)
			}
		}
	}
	if notice.Stricter(notice.TLPGreen, notice.TLPRed) != notice.TLPRed || notice.Stricter(notice.TLPClear, 0) != notice.TLPClear {
		t.Error("Stricter is not")
	}
}

func TestNamesParseBack(t *testing.T) {
	for _, k := range kinds {
		if got, err := notice.ParseKind(k.String()); err != nil || got != k {
			t.Errorf("%v: %v, %v", k, got, err)
		}
	}
	for _, typ := range notice.Types() {
		if got, err := notice.ParseType(strings.ToUpper(typ.String())); err != nil || got != typ {
			t.Errorf("%v: %v, %v", typ, got, err)
		}
	}
	if len(notice.Types()) != 18 {
		t.Errorf("%d types", len(notice.Types()))
	}
	for _, s := range []string{"", "advice", "kind(1)", "kind(11)"} {
		if got, err := notice.ParseKind(s); err == nil {
			t.Errorf("ParseKind(%q) = %v", s, got)
		}
	}
	if _, err := notice.ParseType("ip"); err == nil || !strings.Contains(err.Error(), "ipv4") {
		t.Errorf("ParseType(ip): %v does not list the choices", err)
	}
}

func matches(raw string) []string {
	i, err := notice.Detect(raw, allow)
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	i.Matches(func(m notice.Indicator) bool { out = append(out, m.Value); return true })
	return out
}

func TestMatches(t *testing.T) {
	for raw, want := range map[string][]string{
		"a.b.evil.example":          {"a.b.evil.example", "b.evil.example", "evil.example"},
		"www.evil.co.uk":            {"www.evil.co.uk", "evil.co.uk"},
		"x.evil.github.io":          {"x.evil.github.io", "evil.github.io"},
		"evil.com":                  {"evil.com"},
		"http://a.evil.example/x?y": {"http://a.evil.example/x?y"},
		"anna@a.evil.example":       {"anna@a.evil.example"},
		sha1Text:                    {sha1Text},
		"198.0.0.0/10":              {"198.0.0.0/10", "198.0.0.0/9", "198.0.0.0/8"},
	} {
		if got := matches(raw); !slices.Equal(got, want) {
			t.Errorf("%s matches %q; want %q", raw, got, want)
		}
	}
	v4 := matches("198.51.100.7")
	if len(v4) != 25 || v4[0] != "198.51.100.7" || v4[1] != "198.51.100.6/31" || v4[8] != "198.51.100.0/24" || v4[24] != "198.0.0.0/8" {
		t.Errorf("198.51.100.7 matches %q", v4)
	}
	v6 := matches("2001:db8::7")
	if len(v6) != 110 || v6[1] != "2001:db8::6/127" || v6[109] != "2001::/19" {
		t.Errorf("2001:db8::7 matches %d: %q", len(v6), v6)
	}
	for _, stop := range []string{"a.b.evil.example", "198.51.100.7", "2001:db8::/64"} {
		i, err := notice.Detect(stop, allow)
		if err != nil {
			t.Fatal(err)
		}
		for range i.Matches { // would panic if Matches went on after a false
			break
		}
	}
}

// TestMatchesAreParents: what matches is the value itself or contains it,
// canonical, and is never a public suffix or one of its children.
func TestMatchesAreParents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := anyName().Draw(t, "name")
		previous := ""
		for _, m := range matches(name) {
			if m != name && !strings.HasSuffix(name, "."+m) || previous != "" && len(m) >= len(previous) {
				t.Fatalf("%q matches %q after %q", name, m, previous)
			}
			if got, err := notice.Canonical(notice.TypeDomain, m, allow); err != nil || got.Value != m {
				t.Fatalf("%q matches %q, which is not canonical: %v", name, m, err)
			}
			previous = m
		}
		child, err := notice.Canonical(notice.TypeDomain, "child."+name, allow)
		if err != nil {
			t.Skip("too long")
		}
		if slices.Contains(matches(name), child.Value) || !slices.Contains(matches(child.Value), name) {
			t.Fatalf("%q and its child %q", name, child.Value)
		}
	})
}

func TestHost(t *testing.T) {
	for raw, want := range map[string]string{
		"http://a.evil.example:8080/x@y": "domain a.evil.example", "http://198.51.100.7/": "ipv4 198.51.100.7",
		"https://[2001:db8::7]:444/x": "ipv6 2001:db8::7", "anna@evil.example": "domain evil.example",
	} {
		i, err := notice.Detect(raw, notice.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if host, ok := i.Host(); !ok || host.String() != want {
			t.Errorf("host of %s is %v, %v", raw, host, ok)
		}
	}
	if host, ok := evil().Host(); ok {
		t.Errorf("a domain has the host %v", host)
	}
}

func FuzzDecode(f *testing.F) {
	for _, kind := range kinds {
		item, err := notice.Encode(full(kind))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(item)
	}
	raw, _ := hex.DecodeString("a3010202500102030000000000000000000000000018400a")
	f.Add(raw)
	f.Fuzz(func(t *testing.T, item []byte) {
		n, err := notice.DecodeBare(item)
		if err != nil {
			return
		}
		again, err := notice.Encode(n)
		if err != nil {
			t.Fatalf("%+v decodes and does not encode: %v", n, err)
		}
		// Ignorable keys are lost, everything else is the same notice.
		twice, err := notice.Decode(again)
		if err != nil || !reflect.DeepEqual(twice, n) {
			t.Fatalf("got %+v, %v; want %+v", twice, err, n)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, raw := range []string{"evil.example", "a.b.c.evil-domain-name.com", "198.51.100.7", "2001:db8::7", sha256Text,
		"http://evil.example/gate/index.php?id=7", "xn--bcher-kva.example", `%APPDATA%\evil.exe`} {
		i, err := notice.Detect(raw, notice.Options{})
		if err != nil {
			b.Fatal(err)
		}
		item, err := notice.Encode(sighting(i))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(i.Type.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := notice.Decode(item); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
