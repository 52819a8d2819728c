// Package inteltest draws notices for the tests of what writes and reads formats.
package inteltest

import (
	"fmt"
	"strings"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// raw has values of each type, as people write them.
var raw = map[notice.Type][]string{
	notice.TypeIPv4: {"198.51.100.7", "203.0.113.250", "10.1.2.3"}, notice.TypeIPv6: {"2001:db8::7", "2001:DB8:1:0::1"},
	notice.TypeCIDR: {"198.51.100.0/24", "2001:db8::/32"}, notice.TypeDomain: {"evil.example", "münchen.example", "a.b.c.example", "_dmarc.evil.example"},
	notice.TypeURL:   {"http://evil.example/", "https://evil.example/a,b?x=\"1\"&y='2'", "http://198.51.100.7:8080/a|b", "http://[2001:db8::7]/ä"},
	notice.TypeEmail: {"anna@evil.example"},
	notice.TypeMD5:   {strings.Repeat("a1", 16)}, notice.TypeSHA1: {strings.Repeat("b2", 20)}, notice.TypeSHA256: {strings.Repeat("c3", 32)},
	notice.TypeSHA512: {strings.Repeat("d4", 64)}, notice.TypeJA3: {strings.Repeat("e5", 16)}, notice.TypeJA4: {"t13d1516h2_8daaf6152771_b186095e22b6"},
	notice.TypeCertSHA256: {strings.Repeat("f6", 32)}, notice.TypeASN: {"AS64496"},
	notice.TypeFilename:    {"invoice 2026, final.pdf.exe", "=cmd.exe", "-x.dll", `c:\program files\evil, inc\a;b.exe`, "#evil.exe", "a|b.exe"},
	notice.TypeMutex:       {`Global\Evil`, "+mutex", "@x", "'quoted'", "null", "none", "\"", "a,b;c\td"[:5], "{46E4D4E6-8B81}", "Größe"},
	notice.TypeRegistryKey: {`HKLM\Software\Evil`, `HKCU\Software\a|b`},
	notice.TypeBTC:         {"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"},
}

// Stated draws up to n notices about values that differ: indicators and
// sightings of all types, and disputes.
func Stated(t *rapid.T, n int) []intel.Stated {
	out := make([]intel.Stated, 0, n)
	seen := map[notice.Indicator]bool{}
	for range rapid.IntRange(0, n).Draw(t, "count") {
		typ := rapid.SampledFrom(notice.Types()).Draw(t, "type")
		i, err := notice.Canonical(typ, rapid.SampledFrom(raw[typ]).Draw(t, "value"), notice.Options{AllowSpecial: true})
		if err != nil {
			t.Fatal(err)
		}
		if seen[i] {
			continue
		}
		seen[i] = true
		out = append(out, stated(t, i))
	}
	return out
}

var (
	times = rapid.Int64Range(86_400_000, 4_102_444_800_000) // MISP counts seconds
	texts = rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[A-Za-z=+@'"][A-Za-z0-9 ,;:|"'=äß_.-]{0,30}[A-Za-z0-9"']`))
)

func stated(t *rapid.T, i notice.Indicator) intel.Stated {
	s := intel.Stated{TLP: notice.TLP(rapid.IntRange(0, 5).Draw(t, "tlp")), AuthorName: rapid.SampledFrom([]string{"", "St Anna", "=Clinic, \"B\""}).Draw(t, "author")}
	copy(s.ID[:], rapid.SliceOfN(rapid.Byte(), len(s.ID), len(s.ID)).Draw(t, "id"))
	copy(s.Author[:], rapid.SliceOfN(rapid.Byte(), len(crypto.MemberID{}), len(crypto.MemberID{})).Draw(t, "member"))
	n := &notice.Notice{Kind: rapid.SampledFrom([]notice.Kind{notice.KindIndicator, notice.KindSighting, notice.KindDispute}).Draw(t, "kind"),
		Created: times.Draw(t, "created"), Indicator: &i}
	if rapid.Bool().Draw(t, "foreign") {
		n.Origin = &notice.Origin{Source: "misp:" + rapid.StringMatching(`[A-Z][a-z"=]{1,20}`).Draw(t, "source"),
			ID: rapid.StringMatching(`([0-9a-f-]{36}(/[0-9a-f-]{36})?)?`).Draw(t, "origin"), TLP: notice.TLP(rapid.IntRange(0, 5).Draw(t, "origin tlp"))}
	}
	first := times.Draw(t, "first")
	last := first + rapid.Int64Range(0, 1e9).Draw(t, "span")
	switch n.Kind {
	case notice.KindDispute:
		n.Reason = texts.Draw(t, "reason")
	case notice.KindSighting:
		n.FirstSeen, n.LastSeen, n.Count = first, last, rapid.Uint64Range(1, notice.CountMax).Draw(t, "times")
	case notice.KindIndicator:
		if rapid.Bool().Draw(t, "seen") {
			n.FirstSeen = first
			n.LastSeen = rapid.SampledFrom([]int64{0, last}).Draw(t, "last")
		}
		n.ValidUntil = rapid.OneOf(rapid.Just(int64(0)), times).Draw(t, "valid")
	}
	if n.Kind != notice.KindDispute {
		c := notice.Context{Family: texts.Draw(t, "family"), Tool: texts.Draw(t, "tool"),
			Technique: rapid.SampledFrom([]string{"", "T1059", "T1059.001"}).Draw(t, "technique"), CVE: rapid.SampledFrom([]string{"", "CVE-2021-44228"}).Draw(t, "cve")}
		if c != (notice.Context{}) {
			n.Context = &c
		}
	}
	s.Notice = n
	return s
}

// Expect is what a reader should make of what a writer was given: the same, with
// the marking and the origin that others know it by.
func Expect(stated []intel.Stated) []notice.Notice {
	var out []notice.Notice
	for _, s := range stated {
		n := *s.Notice
		n.Created = 0
		origin := notice.Origin{Source: "watchward:" + s.AuthorName, ID: s.ID.String()}
		if s.AuthorName == "" {
			origin.Source += s.Author.String()
		}
		if n.Origin != nil {
			origin = *n.Origin
		}
		origin.TLP = notice.Stricter(s.TLP, origin.TLP)
		n.Origin = &origin
		out = append(out, n)
	}
	return out
}

// Show is a notice with what its pointers point to.
func Show(n notice.Notice) string {
	return fmt.Sprintf("%+v indicator %+v context %+v origin %+v", n, n.Indicator, n.Context, n.Origin)
}
