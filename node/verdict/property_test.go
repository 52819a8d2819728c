package verdict_test

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/verdict"
)

// A scene is a value, what was said of it, and a policy.
type scene struct {
	value  notice.Indicator
	words  []verdict.Word
	config verdict.Config
}

// scenes draws from so few members, sources and values that they often meet.
func scenes(t *rapid.T, tb testing.TB) scene {
	s := scene{value: value(tb, rapid.SampledFrom([]string{"www.evil.example", "evil.example", "198.51.100.7", "http://www.evil.example/x"}).Draw(t, "value"))}
	abouts := []notice.Indicator{{}}
	for i := range s.value.Matches {
		if len(abouts) < 3 {
			abouts = append(abouts, i)
		}
	}
	for n := range rapid.IntRange(0, 12).Draw(t, "words") {
		s.words = append(s.words, anyWord(t, n, abouts))
	}
	s.config.Block = verdict.BlockRule{
		MinMembers: rapid.IntRange(0, 3).Draw(t, "min_members"),
		Families:   rapid.SliceOfN(rapid.SampledFrom([]string{"emotet"}), 0, 1).Draw(t, "families"),
		Origins:    rapid.SliceOfN(rapid.SampledFrom([]string{"misp:a"}), 0, 1).Draw(t, "origins"),
	}
	return s
}

func anyWord(t *rapid.T, n int, abouts []notice.Indicator) verdict.Word {
	w := verdict.Word{
		ID: id(n), Author: member(rapid.IntRange(1, 4).Draw(t, "author")),
		Kind: rapid.SampledFrom([]notice.Kind{notice.KindSighting, notice.KindSighting, notice.KindIndicator, notice.KindIndicator, notice.KindDispute, notice.KindRetraction}).Draw(t, "kind"),
		Seen: now - rapid.Int64Range(-day, 300*day).Draw(t, "age"), Expires: math.MaxInt64,
		Source: rapid.SampledFrom([]string{"", "", "misp:A", "misp:b"}).Draw(t, "source"),
		Family: rapid.SampledFrom([]string{"", "Emotet"}).Draw(t, "family"),
		TLP:    notice.TLP(rapid.IntRange(0, 5).Draw(t, "tlp")),
	}
	switch w.Kind {
	case notice.KindRetraction:
		w.Ref = id(rapid.IntRange(0, 12).Draw(t, "ref"))
	case notice.KindDispute:
		w.About = rapid.SampledFrom(abouts).Draw(t, "about")
	default:
		w.About = rapid.SampledFrom(abouts).Draw(t, "about")
		if rapid.IntRange(0, 3).Draw(t, "expires") == 0 {
			w.Expires = now + rapid.Int64Range(-day, 50*day).Draw(t, "life")
		}
	}
	w.Retracted = w.Kind != notice.KindRetraction && rapid.IntRange(0, 9).Draw(t, "retracted") == 0
	w.Exercise = rapid.IntRange(0, 9).Draw(t, "exercise") == 0
	return w
}

// above reports whether a verdict is worth more than another.
func above(a, b verdict.Verdict) bool {
	return a.Level > b.Level || a.Level == b.Level && a.Score > b.Score
}

func TestOrderAndRepetitionDoNotMatter(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := scenes(rt, t)
		j := judge(t, s.config)
		want := j.Verdict(s.value, s.words, 0, now)
		shuffled := rapid.Permutation(s.words).Draw(rt, "order")
		if len(s.words) > 0 {
			shuffled = append(shuffled, rapid.SampledFrom(s.words).Draw(rt, "again"))
		}
		if got := j.Verdict(s.value, shuffled, 0, now); !reflect.DeepEqual(got, want) {
			rt.Fatalf("in another order\n%+v\nnot\n%+v", got, want)
		}
	})
}

// Taking back what raised a verdict never raises it, and taking back a dispute never
// lowers it, however it becomes known.
func TestRetractionNeverRaises(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := scenes(rt, t)
		if len(s.words) == 0 {
			return
		}
		j := judge(t, s.config)
		before := j.Verdict(s.value, s.words, 0, now)
		i := rapid.IntRange(0, len(s.words)-1).Draw(rt, "word")
		flagged := slices.Clone(s.words)
		flagged[i].Retracted = true
		said := append(slices.Clone(s.words), verdict.Word{ID: id(99), Author: s.words[i].Author, Kind: notice.KindRetraction, Ref: s.words[i].ID})
		for _, words := range [][]verdict.Word{flagged, said, slices.Delete(slices.Clone(s.words), i, i+1)} {
			after := j.Verdict(s.value, words, 0, now)
			switch s.words[i].Kind {
			case notice.KindSighting, notice.KindIndicator:
				if above(after, before) {
					rt.Fatalf("raised from %s %d to %s %d", before.Level, before.Score, after.Level, after.Score)
				}
			case notice.KindDispute:
				if above(before, after) {
					rt.Fatalf("lowered from %s %d to %s %d", before.Level, before.Score, after.Level, after.Score)
				}
			}
		}
	})
}

// However much one member says, from whatever sources, it is one; and what one source
// says is one, by whatever members.
func TestOneIsNeverTwo(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := scenes(rt, t)
		s.config.Block = verdict.BlockRule{MinMembers: 2}
		alone := rapid.Bool().Draw(rt, "one member, else one source")
		for i := range s.words {
			if alone {
				s.words[i].Author = member(1)
			} else {
				s.words[i].Source = "misp:a"
			}
		}
		if v := judge(t, s.config).Verdict(s.value, s.words, 0, now); v.Level == verdict.Block || v.Score > 80 {
			rt.Fatalf("%+v", v)
		}
	})
}

// A member's second word that says nothing new changes nothing.
func TestSecondWordOfAMember(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := scenes(rt, t)
		if len(s.words) == 0 {
			return
		}
		j := judge(t, s.config)
		before := j.Verdict(s.value, s.words, 0, now)
		again := rapid.SampledFrom(s.words).Draw(rt, "again")
		again.ID = id(99)
		again.Seen -= rapid.Int64Range(0, 10*day).Draw(rt, "earlier")
		after := j.Verdict(s.value, append(slices.Clone(s.words), again), 0, now)
		if after.Level != before.Level || after.Score != before.Score {
			// It was taken back by a retraction that names the first one alone.
			for _, w := range s.words {
				if w.Kind == notice.KindRetraction && w.Author == again.Author {
					return
				}
			}
			rt.Fatalf("%s %d became %s %d", before.Level, before.Score, after.Level, after.Score)
		}
	})
}

func TestLocalDecisionsWin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := scenes(rt, t)
		s.config.Allow = []notice.Indicator{s.value}
		if v := judge(t, s.config).Verdict(s.value, s.words, 0, now); v.Level != verdict.None {
			rt.Fatalf("allowed: %+v", v)
		}
		s.config.Allow, s.config.Deny = nil, []notice.Indicator{s.value}
		if v := judge(t, s.config).Verdict(s.value, s.words, 0, now); v.Level != verdict.Block {
			rt.Fatalf("denied: %+v", v)
		}
	})
}

func TestNeverBlockIsNeverBlocked(t *testing.T) {
	around := map[string][]string{
		"www.evil.example": {"www.evil.example", "evil.example", "a.www.evil.example"}, "evil.example": {"evil.example", "www.evil.example"},
		"198.51.100.7": {"198.51.100.7", "198.51.100.0/24", "198.0.0.0/8"}, "http://www.evil.example/x": {"evil.example", "www.evil.example"},
	}
	rapid.Check(t, func(rt *rapid.T) {
		s := scenes(rt, t)
		guarded := []string{rapid.SampledFrom(around[s.value.Value]).Draw(rt, "guarded")}
		switch rapid.IntRange(0, 2).Draw(rt, "list") {
		case 0:
			s.config.NeverBlock.Own = guarded
		case 1:
			s.config.NeverBlock.Suppliers = guarded
		case 2:
			s.config.NeverBlock.Clinical = guarded
		}
		if rapid.Bool().Draw(rt, "denied") {
			s.config.Deny = []notice.Indicator{s.value}
		}
		v := judge(t, s.config).Verdict(s.value, s.words, 0, now)
		if v.Level == verdict.Block {
			rt.Fatalf("%v is guarded: %+v", guarded, v)
		}
		if len(s.config.Deny) > 0 && !v.Guarded {
			rt.Fatalf("%v is not said to be guarded: %+v", guarded, v)
		}
	})
}

// A verdict under a ceiling is that of who never heard the rest.
func TestCeiling(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := scenes(rt, t)
		ceiling := notice.TLP(rapid.IntRange(1, 5).Draw(rt, "ceiling"))
		var heard []verdict.Word
		for _, w := range s.words {
			if marking := w.TLP; marking != 0 && marking <= ceiling || marking == 0 && ceiling >= notice.TLPAmberStrict {
				heard = append(heard, w)
			}
		}
		j := judge(t, s.config)
		if got, want := j.Verdict(s.value, s.words, ceiling, now), j.Verdict(s.value, heard, 0, now); !reflect.DeepEqual(got, want) {
			rt.Fatalf("under %s\n%+v\nnot\n%+v", ceiling, got, want)
		}
	})
}

// A level holds until it expires, and not longer.
func TestExpires(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := scenes(rt, t)
		j := judge(t, s.config)
		v := j.Verdict(s.value, s.words, 0, now)
		if v.Level == verdict.None {
			if v.Expires != 0 {
				rt.Fatalf("none expires: %+v", v)
			}
			return
		}
		if v.Expires <= now {
			rt.Fatalf("has expired: %+v", v)
		}
		if last := j.Verdict(s.value, s.words, 0, v.Expires-1); last.Level != v.Level {
			rt.Fatalf("%s just before it expires, not %s", last.Level, v.Level)
		}
		if then := j.Verdict(s.value, s.words, 0, v.Expires); then.Level >= v.Level {
			rt.Fatalf("%s when it expires", then.Level)
		}
	})
}

// What may not be stated without leave, being special-use, is worth nothing here.
func TestSpecialUseIsGuarded(t *testing.T) {
	j := judge(t, verdict.Config{Block: verdict.BlockRule{MinMembers: 1}})
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.OneOf(
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 4, 4), func(b []byte) string { return fmt.Sprintf("%d.%d.%d.%d", b[0], b[1], b[2], b[3]) }),
			rapid.Map(rapid.SliceOfN(rapid.Byte(), 4, 4), func(b []byte) string { return fmt.Sprintf("%x:%x::%x", 0xf000|int(b[0])<<4, b[1], b[2]) }),
			rapid.SampledFrom([]string{"a.local", "a.localhost", "a.localdomain", "a.internal", "a.intranet", "a.private", "a.lan", "a.home", "a.corp", "a.mail",
				"a.workgroup", "a.home.arpa", "7.113.0.203.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa", "::1", "100.64.7.7", "169.254.7.7", "172.31.7.7", "192.168.7.7"}),
		).Draw(rt, "value")
		_, err := notice.Detect(text, notice.Options{})
		i, stated := notice.Detect(text, notice.Options{AllowSpecial: true})
		if err == nil || stated != nil {
			return
		}
		if v := j.Verdict(i, []verdict.Word{{ID: id(1), Author: member(1), Kind: notice.KindSighting, Seen: now, Expires: math.MaxInt64}}, 0, now); v.Level != verdict.None || !v.Guarded {
			rt.Fatalf("%s: %+v", text, v)
		}
	})
}

// BenchmarkVerdict judges a value that so many members saw at different times, one in
// ten having it from one of three feeds.
func BenchmarkVerdict(b *testing.B) {
	for _, n := range []int{1, 3, 200} {
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) {
			j := judge(b, verdict.Config{Block: verdict.BlockRule{MinMembers: 3}, NeverBlock: verdict.NeverBlock{Own: []string{"hospital.example"}}})
			v := value(b, "evil.example")
			var words []verdict.Word
			for m := range n {
				w := verdict.Word{ID: id(m), Author: member(m), Kind: notice.KindSighting, About: v, Seen: now - int64(m)*day/4, Expires: now + 100*day, TLP: notice.TLPGreen, Family: "Emotet"}
				if m%10 == 9 {
					w.Kind, w.Source = notice.KindIndicator, fmt.Sprintf("misp:%d", m%3)
				}
				words = append(words, w)
			}
			b.ReportAllocs()
			for b.Loop() {
				if v := j.Verdict(v, words, notice.TLPAmber, now); v.Level == verdict.None {
					b.Fatal(v)
				}
			}
		})
	}
}
