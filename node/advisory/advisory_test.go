package advisory_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/advisory"
	"github.com/watchward/watchward/node/notice"
)

func at(i int) advisory.Place {
	p := advisory.Place{Local: uint64(i)}
	binary.BigEndian.PutUint64(p.ID[:], uint64(i))
	return p
}

func said(title, text string, products ...string) *notice.Notice {
	return &notice.Notice{Kind: notice.KindAdvisory, Advisory: &notice.Advisory{Type: notice.AdviceGuidance, Title: title, Text: text, Products: products}}
}

func numbers(places []advisory.Place) (out []uint64) {
	for _, p := range places {
		out = append(out, p.Local)
	}
	return out
}

func TestFind(t *testing.T) {
	l := advisory.New()
	all := map[int]*notice.Notice{
		1: said("Citrix NetScaler: session tokens leak", "Patch, then end all sessions."),
		2: said("Ransomware: first hour", "Unplug.\n\nÜberblick bewahren."),
		3: said("Hunt", "Look for session tokens", "cpe:2.3:a:citrix:netscaler:*:*:*:*:*:*:*:*"),
	}
	for _, i := range []int{3, 1, 2} { // as it may be, not as it came
		l.Add(at(i), crypto.MemberID{1}, all[i])
	}
	l.Add(at(2), crypto.MemberID{1}, all[2])
	for query, want := range map[string][]uint64{
		"": {3, 2, 1}, "NETSCALER": {3, 1}, "tokens citrix": {3, 1}, "überblick": {2}, "sess": {3, 1}, "citrix:netscaler": {3},
		"patch session": {1}, "nothing of the kind": nil, "Unplug. ransomware": {2},
	} {
		words := advisory.Words(query)
		var found []uint64
		for _, p := range l.Find(words, advisory.Place{}) {
			if advisory.Says(all[int(p.Local)], words) {
				found = append(found, p.Local)
			}
		}
		if !slices.Equal(found, want) {
			t.Errorf("%q finds %v; want %v", query, found, want)
		}
	}
	if got := numbers(l.Find(nil, at(3))); !slices.Equal(got, []uint64{2, 1}) {
		t.Errorf("before the third: %v", got)
	}
}

// TestNothingIsMissed: whatever a text has, it is found by.
func TestNothingIsMissed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := notice.CleanLines(rapid.StringMatching(`[a-zäß .\n:/-]{0,200}`).Draw(t, "text"))
		n := said("x", text)
		l := advisory.New()
		l.Add(at(1), crypto.MemberID{1}, n)
		words := advisory.Words(text)
		for i, w := range words {
			from := rapid.IntRange(0, len(w)).Draw(t, "from")
			words[i] = strings.ToValidUTF8(w[from:rapid.IntRange(from, len(w)).Draw(t, "to")], "")
		}
		if !advisory.Says(n, words) || len(l.Find(words, advisory.Place{})) != 1 {
			t.Fatalf("%q is not found by %q", text, words)
		}
	})
}

// TestFloodPushesOutItself: who says most loses its oldest, and nobody else anything.
func TestFloodPushesOutItself(t *testing.T) {
	l := advisory.Small(100)
	for i := range 40 {
		l.Add(at(i+1), crypto.MemberID{byte(1 + i%2)}, said("honest", ""))
	}
	for i := 10_000; i < 12_000; i++ {
		l.Add(at(i), crypto.MemberID{9}, said("flood", ""))
	}
	got := numbers(l.Find(nil, advisory.Place{}))
	if len(got) != 100 || l.Len() != 100 || got[0] != 11_999 || got[59] != 11_940 || got[60] != 40 || got[99] != 1 {
		t.Errorf("%d are left: %v", len(got), got)
	}
}

func TestManyAtOnce(t *testing.T) {
	l := advisory.Small(50)
	var wait sync.WaitGroup
	for w := range 4 {
		wait.Go(func() {
			for i := range 200 {
				l.Add(at(w*10+i), crypto.MemberID{byte(w)}, said("many", ""))
				l.Find([]string{"many"}, at(i))
			}
		})
	}
	wait.Wait()
	if l.Len() != 50 {
		t.Errorf("%d are left", l.Len())
	}
}

// library has n advisories of about 1 KiB.
func library(b *testing.B, n int) *advisory.Library {
	b.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 4000)
	for i := range words {
		w := make([]byte, 3+random.IntN(9))
		for j := range w {
			w[j] = 'a' + byte(random.IntN(26))
		}
		words[i] = string(w)
	}
	l := advisory.New()
	for i := range n {
		var text strings.Builder
		for text.Len() < 1<<10 {
			text.WriteString(words[random.IntN(len(words))] + " ")
		}
		l.Add(at(i+1), crypto.MemberID{byte(i)}, said(fmt.Sprintf("Advisory %d", i), text.String()))
	}
	return l
}

func BenchmarkFind(b *testing.B) {
	l := library(b, 10_000)
	for _, query := range []string{"zzz", "netscaler", "advisory 4711"} {
		b.Run(strings.ReplaceAll(query, " ", "-"), func(b *testing.B) {
			words := advisory.Words(query)
			found := 0
			for b.Loop() {
				found = len(l.Find(words, advisory.Place{}))
			}
			b.ReportMetric(float64(found), "found")
			b.ReportMetric(float64(l.Bytes())/10_000, "B/advisory")
		})
	}
}
