package node_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/publicsuffix"
	"pgregory.net/rapid"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// TestLookupRule is the one matching rule, case by case: what is stated, what is
// asked, and what matches.
func TestLookupRule(t *testing.T) {
	b := newBench(t)
	for _, v := range []string{"evil.example", "b.deep.example", "198.51.100.0/24", "198.51.100.128/25", "203.0.113.9", "2001:db8::/32",
		"http://url.example/x", "evil.github.io", "mail.example", strings.Repeat("a", 32)} {
		b.state(t, v)
	}
	const itself = "itself"
	for _, c := range []struct {
		asked, matched string // "" = unknown
		hosts          bool
	}{
		{"evil.example", itself, false},
		{"EVIL[.]example.", itself, false},
		{"a.b.evil.example", "domain evil.example", false},
		{"notevil.example", "", false},
		{"example", "", false},
		{"deep.example", "", false}, // never a child
		{"x.b.deep.example", "domain b.deep.example", false},
		{"198.51.100.7", "cidr 198.51.100.0/24", false},
		{"198.51.100.200", "cidr 198.51.100.128/25", false}, // the most specific first
		{"198.51.100.0/24", itself, false},
		{"198.51.100.0/26", "cidr 198.51.100.0/24", false},
		{"198.51.0.0/16", "", false},
		{"203.0.113.9", itself, false},
		{"203.0.113.0/24", "", false},
		{"::ffff:198.51.100.7", "cidr 198.51.100.0/24", false},
		{"2001:db8:1::9", "cidr 2001:db8::/32", false},
		{"2001:db9::9", "", false},
		{"http://url.example/x", itself, false},
		{"http://url.example/y", "", true},
		{"http://www.evil.example/y", "", false},
		{"http://www.evil.example/y", "domain evil.example", true},
		{"https://198.51.100.7:8443/", "cidr 198.51.100.0/24", true},
		{"https://[2001:db8::1]/", "cidr 2001:db8::/32", true},
		{"anna@mail.example", "", false},
		{"anna@sub.mail.example", "domain mail.example", true},
		{"x.evil.github.io", "domain evil.github.io", false},
		{"other.github.io", "", false},
		{strings.Repeat("A", 32), itself, false},
	} {
		answers, err := b.Lookup(t.Context(), []string{c.asked}, api.LookupOptions{Hosts: c.hosts})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if a := answers[0]; a.Known && a.Matched == nil {
			got = itself
		} else if a.Known {
			got = a.Matched.Type + " " + a.Matched.Value
		}
		if got != c.matched {
			t.Errorf("%s (hosts %v) matches %q, want %q", c.asked, c.hosts, got, c.matched)
		}
	}
}

// A dispute of a name makes nothing known, and hides nothing that is: not the
// parent by which the name is bad.
func TestDisputeHidesNoParent(t *testing.T) {
	b := newBench(t)
	ask := func() api.LookupAnswer {
		t.Helper()
		answers, err := b.Lookup(t.Context(), []string{"login.evil.example"}, api.LookupOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return answers[0]
	}
	b.submit(t, local, api.Submission{Kind: "dispute", Value: "login.evil.example", Reason: "our own"})
	if a := ask(); a.Known || a.Summary == nil || a.Summary.Disputes != 1 || a.Matched != nil {
		t.Errorf("disputed and nothing else: %+v", a)
	}
	b.state(t, "evil.example")
	if a := ask(); !a.Known || a.Matched == nil || a.Matched.Value != "evil.example" || a.Summary.Sightings != 1 {
		t.Errorf("below a bad name, and disputed: %+v", a)
	}
}

// state states one value here, for this node alone.
func (b *bench) state(t testing.TB, value string) {
	t.Helper()
	r, err := b.Submit(t.Context(), []api.Submission{{Value: value}}, api.SubmitOptions{Local: true, AllowSpecial: true})
	if err != nil || len(r.Notices) != 1 {
		t.Fatalf("state %s: %+v %v", value, r, err)
	}
}

// TestLookupAgainstOracle: random names, addresses and networks, asked of a node
// and of an oracle that goes over everything stated and compares text and bits.
func TestLookupAgainstOracle(t *testing.T) {
	b := newBench(t)
	stated := map[notice.Indicator]bool{}
	rapid.Check(t, func(t *rapid.T) {
		for range 3 {
			if i, err := notice.Detect(anyValue(t), notice.Options{AllowSpecial: true}); err == nil && !stated[i] {
				stated[i] = true
				if _, err := b.Submit(t.Context(), []api.Submission{{Value: i.Value, Type: i.Type.String()}}, api.SubmitOptions{Local: true, AllowSpecial: true}); err != nil {
					t.Fatal(err)
				}
			}
		}
		var values []string
		for range 20 {
			values = append(values, anyValue(t))
		}
		hosts := rapid.Bool().Draw(t, "hosts")
		answers, err := b.Lookup(t.Context(), values, api.LookupOptions{Hosts: hosts})
		if err != nil || len(answers) != len(values) {
			t.Fatal(len(answers), err)
		}
		for i, a := range answers {
			best := oracle(stated, values[i], hosts)
			got := ""
			switch {
			case a.Known && a.Matched != nil:
				got = a.Matched.Type + " " + a.Matched.Value
			case a.Known:
				got = best // the value itself: the oracle must say so
				if asked, _ := notice.Detect(values[i], notice.Options{AllowSpecial: true}); best != asked.String() {
					got = "itself"
				}
			}
			if got != best || a.Value != values[i] {
				t.Fatalf("%q (hosts %v): %q matches, want %q", values[i], hosts, got, best)
			}
		}
	})
}

// oracle returns the most specific of what was stated that matches a value.
func oracle(stated map[notice.Indicator]bool, value string, hosts bool) string {
	asked, err := notice.Detect(value, notice.Options{AllowSpecial: true})
	if err != nil {
		return ""
	}
	if best := closest(stated, asked); best != "" || !hosts {
		return best
	}
	if host, ok := asked.Host(); ok {
		return closest(stated, host)
	}
	return ""
}

func closest(stated map[notice.Indicator]bool, asked notice.Indicator) string {
	var all []notice.Indicator
	for i := range stated {
		if i == asked || under(asked, i) {
			all = append(all, i)
		}
	}
	if len(all) == 0 {
		return ""
	}
	return slices.MaxFunc(all, func(a, b notice.Indicator) int { return depth(a, asked) - depth(b, asked) }).String()
}

// under reports whether an indicator contains what is asked.
func under(asked, i notice.Indicator) bool {
	if i.Type == notice.TypeDomain && asked.Type == notice.TypeDomain {
		suffix, _ := publicsuffix.PublicSuffix(i.Value)
		return strings.HasSuffix(asked.Value, "."+i.Value) && suffix != i.Value
	}
	if i.Type != notice.TypeCIDR {
		return false
	}
	network := netip.MustParsePrefix(i.Value)
	if addr, err := netip.ParseAddr(asked.Value); err == nil {
		return network.Contains(addr)
	}
	part, err := netip.ParsePrefix(asked.Value)
	return err == nil && part.Bits() > network.Bits() && network.Contains(part.Addr())
}

// depth is how specific an indicator is.
func depth(i, asked notice.Indicator) int {
	switch {
	case i == asked:
		return 1000
	case i.Type == notice.TypeCIDR:
		return netip.MustParsePrefix(i.Value).Bits()
	}
	return strings.Count(i.Value, ".")
}

// anyValue draws from so few labels and numbers that values often match.
func anyValue(t *rapid.T) string {
	label := rapid.SampledFrom([]string{"a", "b", "evil", "www"})
	suffix := rapid.SampledFrom([]string{"example", "co.uk", "uk", "github.io", "city.kawasaki.jp", "foo.ck", "com"})
	name := func() string {
		return strings.Join(append(rapid.SliceOfN(label, 1, 4).Draw(t, "labels"), suffix.Draw(t, "suffix")), ".")
	}
	address := func() string {
		if rapid.Bool().Draw(t, "ipv6") {
			return fmt.Sprintf("2001:db8:%x::%x", rapid.IntRange(0, 3).Draw(t, "net"), rapid.IntRange(0, 5).Draw(t, "host"))
		}
		return fmt.Sprintf("198.51.%d.%d", rapid.IntRange(98, 101).Draw(t, "net"), rapid.IntRange(0, 255).Draw(t, "host"))
	}
	switch rapid.IntRange(0, 4).Draw(t, "what") {
	case 0, 1:
		return name()
	case 2:
		return address()
	case 3:
		a := netip.MustParseAddr(address())
		p, err := a.Prefix(rapid.IntRange(a.BitLen()/4+1, a.BitLen()).Draw(t, "bits"))
		if err != nil {
			t.Fatal(err)
		}
		return p.String()
	}
	if host := address(); rapid.Bool().Draw(t, "by address") {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return "http://" + host + "/x"
	}
	return "http://" + name() + "/x"
}
