package verdict_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/verdict"
	"github.com/watchward/watchward/node/verdict/warninglist"
)

const (
	day = int64(24 * 60 * 60 * 1000)
	now = 1_000 * day
)

func value(t testing.TB, s string) notice.Indicator {
	t.Helper()
	i, err := notice.Detect(s, notice.Options{AllowSpecial: true})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func judge(t testing.TB, c verdict.Config) *verdict.Judge {
	t.Helper()
	j, err := verdict.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func id(n int) (id crypto.ItemID) {
	binary.BigEndian.PutUint32(id[:], uint32(n))
	return id
}

func member(n int) crypto.MemberID { return crypto.MemberID{byte(n >> 8), byte(n)} }

// say reads a word: what is stated, by which member, how many days ago, and then
// what else is known of it. Its id is its place in the test.
func say(t testing.TB, n int, text string) verdict.Word {
	t.Helper()
	f := strings.Fields(text)
	w := verdict.Word{ID: id(n), Expires: math.MaxInt64, TLP: notice.TLPGreen}
	var author, ago int
	if _, err := fmt.Sscanf(f[1]+" "+f[2], "m%d %dd", &author, &ago); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	w.Author, w.Seen = member(author), now-int64(ago)*day
	w.Kind = map[string]notice.Kind{"saw": notice.KindSighting, "has": notice.KindIndicator, "disputes": notice.KindDispute, "retracts": notice.KindRetraction}[f[0]]
	for _, more := range f[3:] {
		key, is, _ := strings.Cut(more, "=")
		switch key {
		case "of":
			w.About = value(t, is)
		case "from":
			w.Source = is
		case "family":
			w.Family = is
		case "red":
			w.TLP = notice.TLPRed
		case "drill":
			w.Exercise = true
		case "retracted":
			w.Retracted = true
		case "expired":
			w.Expires = now
		case "ref":
			w.Ref = id(int(is[0] - '0'))
		default:
			t.Fatalf("%s: what is %s?", text, more)
		}
	}
	if w.Kind == 0 {
		t.Fatalf("%s: what is %s?", text, f[0])
	}
	return w
}

func says(t testing.TB, texts ...string) (words []verdict.Word) {
	t.Helper()
	for n, text := range texts {
		words = append(words, say(t, n, text))
	}
	return words
}

// show is a verdict in a line.
func show(v verdict.Verdict) string {
	var causes []string
	for _, r := range v.Reasons {
		sign := "-"
		if r.Raised {
			sign = "+"
		}
		causes = append(causes, sign+string(r.Cause))
	}
	guarded := ""
	if v.Guarded {
		guarded = " guarded"
	}
	return fmt.Sprintf("%s %d%s %s", v.Level, v.Score, guarded, strings.Join(causes, " "))
}

// TestVerdicts is the rule, case by case.
func TestVerdicts(t *testing.T) {
	two := verdict.Config{Block: verdict.BlockRule{MinMembers: 2}}
	named := verdict.Config{Block: verdict.BlockRule{Families: []string{"Emotet"}, Origins: []string{"misp:ESET"}}}
	for _, c := range []struct {
		name   string
		config verdict.Config
		words  []string
		want   string
	}{
		{"nobody spoke", two, nil, "none 0 "},
		{"one saw it", verdict.Config{}, []string{"saw m1 0d"}, "detect 80 +seen"},
		{"many saw it, and nothing is to be blocked", verdict.Config{}, []string{"saw m1 0d", "saw m2 0d", "saw m3 0d"}, "detect 99 +seen"},
		{"as many as the policy asks", two, []string{"saw m1 0d", "saw m2 0d"}, "block 96 +seen +block-members"},
		{"one, twice", two, []string{"saw m1 0d", "saw m1 0d"}, "detect 80 +seen"},
		{"an import is no sighting", two, []string{"has m1 0d", "has m2 0d"}, "detect 84 +reported"},
		{"two imported the same", two, []string{"has m1 0d from=misp:ESET", "has m2 0d from=misp:eset"}, "detect 60 +reported"},
		{"sightings that two imported from one", two, []string{"saw m1 0d from=misp:X", "saw m2 0d from=misp:X"}, "detect 80 +seen"},
		{"one imported from two", verdict.Config{}, []string{"has m1 0d from=a", "has m1 0d from=b"}, "detect 60 +reported"},
		{"each imported from both", verdict.Config{}, []string{"has m1 0d from=a", "has m1 0d from=b", "has m2 0d from=a", "has m2 0d from=b"}, "detect 84 +reported"},
		{"a family", named, []string{"has m1 0d family=EMOTET"}, "block 60 +reported +block-family"},
		{"another family", named, []string{"has m1 0d family=qakbot"}, "detect 60 +reported"},
		{"a source", named, []string{"has m1 0d from=MISP:eset"}, "block 60 +reported +block-origin"},
		{"a source, disputed", named, []string{"has m1 0d from=MISP:eset", "disputes m2 0d"}, "detect 30 +reported -disputed"},
		{"disputed by one", two, []string{"saw m1 0d", "disputes m2 0d"}, "detect 40 +seen -disputed"},
		{"disputed by more than saw it", two, []string{"saw m1 0d", "disputes m2 0d", "disputes m3 0d"}, "none 26 +seen -disputed"},
		{"one disputes twice", two, []string{"saw m1 0d", "disputes m2 0d", "disputes m2 0d"}, "detect 40 +seen -disputed"},
		{"disputed, so that too few stand behind it", two, []string{"saw m1 0d", "saw m2 0d", "disputes m3 0d"}, "detect 64 +seen -disputed"},
		{"and enough", two, []string{"saw m1 0d", "saw m2 0d", "saw m4 0d", "disputes m3 0d"}, "block 74 +seen +block-members -disputed"},
		{"who disputes it raises it no more", two, []string{"saw m1 0d", "saw m2 0d", "disputes m2 0d"}, "detect 40 +seen -disputed"},
		{"what a member passes on of two sources: one disputes what the other saw", two, []string{"saw m1 0d from=STIX:anna", "disputes m1 0d from=STIX:uni"}, "detect 40 +seen -disputed"},
		{"it disputes itself what it passes on", two, []string{"saw m1 0d from=STIX:anna", "disputes m1 0d"}, "none 0 -disputed"},
		{"a source disputes what it saw", two, []string{"saw m1 0d from=STIX:anna", "disputes m1 0d from=STIX:anna"}, "none 0 -disputed"},
		{"only disputed", two, []string{"disputes m2 0d"}, "none 0 -disputed"},
		{"a dispute that has expired", two, []string{"saw m1 0d", "disputes m2 0d expired"}, "detect 80 +seen"},
		{"taken back", two, []string{"saw m1 0d", "saw m2 0d", "retracts m1 0d ref=0"}, "detect 80 +seen -retracted"},
		{"known to be taken back", two, []string{"saw m1 0d", "saw m2 0d retracted"}, "detect 80 +seen -retracted"},
		{"nobody takes back what another said", two, []string{"saw m1 0d", "saw m2 0d", "retracts m2 0d ref=0"}, "block 96 +seen +block-members"},
		{"a dispute taken back", two, []string{"saw m1 0d", "disputes m2 0d", "retracts m2 0d ref=1"}, "detect 80 +seen -retracted"},
		{"a drill", two, []string{"saw m1 0d", "saw m2 0d drill"}, "detect 80 +seen -drill"},
		{"expired", two, []string{"saw m1 0d", "saw m2 0d expired"}, "detect 80 +seen -expired"},
		{"older than it lives", two, []string{"saw m1 0d", "saw m2 240d"}, "detect 80 +seen -expired"},
		{"half its life old", two, []string{"saw m1 120d"}, "detect 60 +seen -age"},
		{"too old to be worth anything", two, []string{"saw m1 200d"}, "none 24 +seen -age"},
		{"old, and seen by more", two, []string{"saw m1 200d", "saw m2 200d"}, "block 42 +seen +block-members -age"},
		{"above the ceiling", two, []string{"saw m1 0d", "saw m2 0d red"}, "detect 80 +seen"},
	} {
		v := judge(t, c.config).Verdict(value(t, "evil.example"), says(t, c.words...), notice.TLPAmber, now)
		if got := show(v); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// What a value matches is judged by itself, as an entry of a list would be, and the
// strongest counts.
func TestVerdictOfWhatMatches(t *testing.T) {
	j := judge(t, verdict.Config{Block: verdict.BlockRule{MinMembers: 2}})
	for _, c := range []struct {
		name, asked string
		words       []string
		want        string
		matched     string
	}{
		{"a parent", "www.evil.example", []string{"saw m1 0d of=evil.example", "saw m2 0d of=evil.example"}, "block 96 +seen +block-members", "evil.example"},
		{"one each", "www.evil.example", []string{"saw m1 0d of=evil.example", "saw m2 0d"}, "detect 80 +seen", "www.evil.example"},
		{"a dispute of the name hides no parent", "www.evil.example", []string{"saw m1 0d of=evil.example", "disputes m2 0d"}, "detect 80 +seen", "evil.example"},
		{"a dispute of the parent", "www.evil.example", []string{"saw m1 0d of=evil.example", "disputes m2 0d of=evil.example"}, "detect 40 +seen -disputed", "evil.example"},
		{"the closer of two networks", "198.51.100.7", []string{"saw m1 0d of=198.51.100.0/24", "saw m2 0d of=198.51.0.0/16"}, "detect 80 +seen", "198.51.100.0/24"},
		{"a host", "http://evil.example/x", []string{"saw m1 0d of=evil.example"}, "detect 80 +seen", "evil.example"},
	} {
		v := j.Verdict(value(t, c.asked), says(t, c.words...), 0, now)
		if got := show(v); got != c.want || v.Matched.Value != c.matched {
			t.Errorf("%s: %s of %s, want %s of %s", c.name, got, v.Matched.Value, c.want, c.matched)
		}
	}
}

// A level lasts as long as one of the things that hold it.
func TestExpiresWithTheLast(t *testing.T) {
	j := judge(t, verdict.Config{})
	fresh, old := "saw m1 0d of=evil.example", "saw m2 50d"
	alone := j.Verdict(value(t, "www.evil.example"), says(t, fresh), 0, now).Expires
	for _, words := range [][]string{{fresh, old}, {old, fresh}} {
		if v := j.Verdict(value(t, "www.evil.example"), says(t, words...), 0, now); v.Expires != alone {
			t.Errorf("%v: expires %d, want %d", words, v.Expires, alone)
		}
	}
}

// TestDecay holds the formula to what MISP computes with it, and the table of
// DESIGN.md to the code.
func TestDecay(t *testing.T) {
	for _, c := range []struct {
		lifetime, delta float64
		age             int64 // days
		left            float64
	}{
		{120, 2, 0, 1}, {120, 2, 30, 0.5}, {120, 2, 120, 0}, {120, 2, 1000, 0}, // "NIDS Simple Decaying Model"
		{3, 2.3, 1, 1 - math.Pow(1.0/3, 1/2.3)}, // "Phishing model"
		{120, 2, -5, 1},                         // by a clock that is off
	} {
		if got := verdict.Left(c.lifetime, c.delta, c.age*day); math.Abs(got-c.left) > 1e-12 {
			t.Errorf("%v days, δ %v, after %d: %v is left, want %v", c.lifetime, c.delta, c.age, got, c.left)
		}
	}
	j := judge(t, verdict.Config{})
	lasts := func(v, word string) int64 {
		words := says(t, word)
		return (j.Verdict(value(t, v), words, 0, now).Expires - now) / day
	}
	for _, c := range []struct {
		v              string
		seen, reported int64
	}{
		{"198.51.100.7", 94, 84}, {"2001:db8::7", 94, 84}, {"198.51.100.0/24", 94, 84},
		{"evil.example", 189, 169}, {"http://evil.example/x", 189, 169}, {"a@evil.example", 189, 169},
		{strings.Repeat("a", 64), 347, 324}, {strings.Repeat("a", 32), 347, 324}, {"AS64500", 347, 324},
	} {
		if seen, reported := lasts(c.v, "saw m1 0d"), lasts(c.v, "has m1 0d"); seen != c.seen || reported != c.reported {
			t.Errorf("%s: detected for %d days after one sighting and %d after one report, want %d and %d", c.v, seen, reported, c.seen, c.reported)
		}
	}
}

// A word of a notice that ends sooner than its worth ends with it.
func TestExpiresWithItsNotice(t *testing.T) {
	w := says(t, "saw m1 0d")
	w[0].Expires = now + 12_345
	if v := judge(t, verdict.Config{}).Verdict(value(t, "evil.example"), w, 0, now); v.Expires != w[0].Expires {
		t.Errorf("expires %d, want %d", v.Expires-now, w[0].Expires-now)
	}
}

// TestGuards asks for a block of what many saw, and of what is denied here too.
func TestGuards(t *testing.T) {
	lists, problems, err := warninglist.Load(fstest.MapFS{
		"dns.json": {Data: []byte(`{"name": "Public resolvers", "type": "cidr", "matching_attributes": ["ip-src", "ip-dst"], "list": ["8.8.8.8"]}`)},
		"top.json": {Data: []byte(`{"name": "Top sites", "type": "hostname", "list": ["popular.example"]}`)},
	})
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	config := verdict.Config{
		Block: verdict.BlockRule{MinMembers: 2},
		NeverBlock: verdict.NeverBlock{
			Own:       []string{"203.0.113.0/24", "hospital.example", "*.nhs.uk", "2001:db8:1::/48"},
			Suppliers: []string{"vendor.example", "198.51.100.7", "203.0.113.9"},
			Clinical:  []string{"pacs.cloud.example"},
		},
		Warninglists: lists,
	}
	for _, c := range []struct{ v, want, denied string }{
		{"evil.example", "block +seen +block-members", "block +denied +seen +block-members"},
		{"192.0.2.1", "block +seen +block-members", "block +denied +seen +block-members"}, // documentation: drills block it
		{"10.1.2.3", "none guarded +seen +block-members -special-use", "none guarded +denied +seen +block-members -special-use"},
		{"fe80::1", "none guarded +seen +block-members -special-use", "none guarded +denied +seen +block-members -special-use"},
		{"64:ff9b::c633:6407", "detect guarded +seen +block-members -special-use", "detect guarded +denied +seen +block-members -special-use"},
		{"printer.local", "none guarded +seen +block-members -special-use", "none guarded +denied +seen +block-members -special-use"},
		{"203.0.113.5", "none guarded +seen +block-members -own", "none guarded +denied +seen +block-members -own"},
		{"203.0.113.9", "none guarded +seen +block-members -own", "none guarded +denied +seen +block-members -own"}, // a supplier's too
		{"2001:db8:1::7", "none guarded +seen +block-members -own", "none guarded +denied +seen +block-members -own"},
		{"203.0.113.0/28", "none guarded +seen +block-members -own", "none guarded +denied +seen +block-members -own"},
		{"203.0.0.0/16", "detect guarded +seen +block-members -own", "detect guarded +denied +seen +block-members -own"}, // around it
		{"mail.hospital.example", "none guarded +seen +block-members -own", "none guarded +denied +seen +block-members -own"},
		{"trust.nhs.uk", "none guarded +seen +block-members -own", "none guarded +denied +seen +block-members -own"},
		{"nothospital.example", "block +seen +block-members", "block +denied +seen +block-members"},
		{"http://portal.hospital.example/x", "none guarded +seen +block-members -own", "none guarded +denied +seen +block-members -own"},
		{"http://203.0.113.5/x", "none guarded +seen +block-members -own", "none guarded +denied +seen +block-members -own"},
		{"ceo@hospital.example", "none guarded +seen +block-members -own", "none guarded +denied +seen +block-members -own"},
		{"update.vendor.example", "detect guarded +seen +block-members -supplier", "detect guarded +denied +seen +block-members -supplier"},
		{"198.51.100.7", "detect guarded +seen +block-members -supplier", "detect guarded +denied +seen +block-members -supplier"},
		{"198.51.100.0/24", "detect guarded +seen +block-members -supplier", "detect guarded +denied +seen +block-members -supplier"},
		{"cloud.example", "detect guarded +seen +block-members -clinical", "detect guarded +denied +seen +block-members -clinical"}, // holds it
		{"other.cloud.example", "block +seen +block-members", "block +denied +seen +block-members"},
		{"8.8.8.8", "detect guarded +seen +block-members -warninglist", "block +denied +seen +block-members"},
		{"8.8.0.0/16", "detect guarded +seen +block-members -warninglist", "block +denied +seen +block-members"},
		{"www.popular.example", "detect guarded +seen +block-members -warninglist", "block +denied +seen +block-members"},
		{strings.Repeat("a", 64), "block +seen +block-members", "block +denied +seen +block-members"},
	} {
		v := value(t, c.v)
		words := says(t, "saw m1 0d", "saw m2 0d")
		denying := config
		denying.Deny = []notice.Indicator{v}
		for _, ask := range []struct {
			config verdict.Config
			want   string
		}{{config, c.want}, {denying, c.denied}} {
			got := judge(t, ask.config).Verdict(v, words, 0, now)
			if s := strings.Replace(show(got), fmt.Sprintf(" %d", got.Score), "", 1); s != ask.want || got.Score != 96 {
				t.Errorf("%s, denied %v: %s, want %s", c.v, len(ask.config.Deny) > 0, s, ask.want)
			}
		}
	}
}

// What members say of a parent or a network is not done to what is guarded in it.
func TestGuardsOfWhatMatches(t *testing.T) {
	j := judge(t, verdict.Config{
		Block:      verdict.BlockRule{MinMembers: 1},
		Deny:       []notice.Indicator{value(t, "203.0.0.0/16")},
		NeverBlock: verdict.NeverBlock{Own: []string{"198.51.100.0/28", "203.0.113.0/24"}, Clinical: []string{"pacs.cloud.example"}},
	})
	for _, c := range []struct{ asked, word, want string }{
		{"198.51.100.7", "saw m1 0d of=198.51.100.0/24", "none 80 guarded +seen +block-members -own"},
		{"198.51.100.77", "saw m1 0d of=198.51.100.0/24", "detect 80 guarded +seen +block-members -own"},
		{"pacs.cloud.example", "saw m1 0d of=cloud.example", "detect 80 guarded +seen +block-members -clinical"},
		{"www.cloud.example", "saw m1 0d of=cloud.example", "detect 80 guarded +seen +block-members -clinical"},
		{"203.0.113.5", "saw m1 0d", "none 80 guarded +denied +seen +block-members -own"},
		{"203.0.7.5", "saw m1 0d", "detect 80 guarded +denied +seen +block-members -own"},
	} {
		if got := show(j.Verdict(value(t, c.asked), says(t, c.word), 0, now)); got != c.want {
			t.Errorf("%s, %s: %s, want %s", c.asked, c.word, got, c.want)
		}
	}
}

// The own logs hit what is detected, unless it is known to be harmless itself.
func TestHit(t *testing.T) {
	lists, problems, err := warninglist.Load(fstest.MapFS{
		"dns.json": {Data: []byte(`{"name": "Public resolvers", "type": "cidr", "list": ["203.0.113.53"]}`)},
		"top.json": {Data: []byte(`{"name": "Top sites", "type": "hostname", "list": ["www.popular.example"]}`)},
	})
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	j := judge(t, verdict.Config{
		Warninglists: lists,
		NeverBlock:   verdict.NeverBlock{Own: []string{"198.51.100.0/24"}, Suppliers: []string{"vendor.example"}},
	})
	for _, c := range []struct {
		asked, word   string
		hit, detected bool
	}{
		{"192.0.2.1", "saw m1 0d", true, true},
		{"203.0.113.53", "saw m1 0d", false, true},
		{"203.0.113.53", "saw m1 0d of=203.0.113.0/24", false, true},
		{"203.0.113.9", "saw m1 0d of=203.0.113.0/24", true, true},
		{"www.popular.example", "saw m1 0d of=popular.example", false, true},
		{"popular.example", "saw m1 0d", true, true},
		{"mail.popular.example", "saw m1 0d of=popular.example", true, true},
		{"cdn.www.popular.example", "saw m1 0d", false, true},
		{"update.vendor.example", "saw m1 0d", true, true},
		{"198.51.100.9", "saw m1 0d", false, false},
		{"64:ff9b::c633:6407", "saw m1 0d", true, true}, // NAT64
		{"2002:cb00:7109::1", "saw m1 0d", true, true},  // 6to4
	} {
		v := j.Verdict(value(t, c.asked), says(t, c.word), 0, now)
		if brief := j.Brief(value(t, c.asked), says(t, c.word), 0, now); v.Hit() != c.hit || brief.Hit() != c.hit || (v.Level >= verdict.Detect) != c.detected {
			t.Errorf("%s, %s: hit %v, in brief %v, %s", c.asked, c.word, v.Hit(), brief.Hit(), show(v))
		}
	}
}

// Of what is allowed and denied here the closest decides, and an allowance also keeps
// what would block it from being blocked for members' sake.
func TestLocal(t *testing.T) {
	c := verdict.Config{Block: verdict.BlockRule{MinMembers: 1}}
	for _, s := range []string{"good.example", "login.bad.example", "198.51.100.7", "both.example", "http://site.example/good"} {
		c.Allow = append(c.Allow, value(t, s))
	}
	for _, s := range []string{"bad.example", "evil.good.example", "198.51.100.0/24", "both.example"} {
		c.Deny = append(c.Deny, value(t, s))
	}
	j := judge(t, c)
	for _, c := range []struct{ asked, want string }{
		{"good.example", "none 80 +seen +block-members -allowed"},
		{"www.good.example", "none 80 +seen +block-members -allowed"},
		{"evil.good.example", "block 80 +denied +seen +block-members"},
		{"bad.example", "block 80 +denied +seen +block-members"},
		{"x.bad.example", "block 80 +denied +seen +block-members"},
		{"login.bad.example", "none 80 +seen +block-members -allowed"},
		{"http://login.bad.example/x", "none 80 +seen +block-members -allowed"},
		{"http://bad.example/x", "block 80 +denied +seen +block-members"},
		{"198.51.100.7", "none 80 +seen +block-members -allowed"},
		{"198.51.100.8", "block 80 +denied +seen +block-members"},
		{"198.51.0.0/16", "detect 80 +seen +block-members -allowed"}, // blocking it would block 198.51.100.7
		{"both.example", "none 80 +seen +block-members -allowed"},
		{"site.example", "detect 80 +seen +block-members -allowed"},
		{"http://site.example/bad", "block 80 +seen +block-members"},
		{"http://site.example/good", "none 80 +seen +block-members -allowed"},
		{"other.example", "block 80 +seen +block-members"},
	} {
		v := j.Verdict(value(t, c.asked), says(t, "saw m1 0d"), 0, now)
		if got := show(v); got != c.want {
			t.Errorf("%s: %s, want %s", c.asked, got, c.want)
		}
	}
	if v := j.Verdict(value(t, "bad.example"), nil, 0, now); v.Level != verdict.Block || v.Score != 0 || v.Expires != 0 {
		t.Errorf("denied, and nobody spoke: %+v", v)
	}
}

// Each reason has the notices behind it, the latest first. The family is none: as many
// dispute the value as named it.
func TestReasons(t *testing.T) {
	v := judge(t, verdict.Config{Block: verdict.BlockRule{MinMembers: 1, Families: []string{"qakbot"}}}).Verdict(value(t, "evil.example"), says(t,
		"saw m1 100d", "saw m2 40d family=QakBot", "has m3 0d from=misp:ESET", "has m3 300d", "disputes m4 1d", "saw m5 3d retracted", "saw m6 1d drill"), 0, now)
	var got []string
	for _, r := range v.Reasons {
		var ids []uint32
		for _, i := range r.IDs {
			ids = append(ids, binary.BigEndian.Uint32(i[:]))
		}
		got = append(got, fmt.Sprintf("%s %v", r.Text, ids))
	}
	want := []string{
		"seen by 2 members [1 0]",
		"reported by 1 member, from misp:ESET [2]",
		"block.min_members is 1, and 1 more saw it than dispute it [1 0]",
		"last seen today: 72 of 73 is left [2 1 0]",
		"disputed by 1 member [4]",
		"taken back by 1 member [5]",
		"too old to count, of 1 member [3]",
		"part of a drill, of 1 member [6]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var many []string
	for m := range 60 {
		many = append(many, fmt.Sprintf("saw m%d 0d", m))
	}
	if r := judge(t, verdict.Config{}).Verdict(value(t, "evil.example"), says(t, many...), 0, now).Reasons[0]; len(r.IDs) != 50 || r.More != 10 {
		t.Errorf("of 60 notices %d are named and %d are more", len(r.IDs), r.More)
	}
}

func TestConfigProblems(t *testing.T) {
	_, err := verdict.New(verdict.Config{
		Block: verdict.BlockRule{MinMembers: -1, Families: []string{" "}},
		NeverBlock: verdict.NeverBlock{
			Own:       []string{"10.0.0.0/8", "10.0.0.0/33"},
			Suppliers: []string{"0.0.0.0/0", "http://vendor.example/x", "fe80::1%eth0"},
			Clinical:  []string{"pacs", "", "a b.example"},
		},
	})
	if err == nil {
		t.Fatal("taken")
	}
	var fields []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		field, rest, _ := strings.Cut(line, ": ")
		fields = append(fields, field)
		if _, fix, ok := strings.Cut(rest, ": "); !ok || fix == "" {
			t.Errorf("no fix: %s", line)
		}
	}
	want := []string{"block.min_members", "block.families[0]", "never_block.suppliers[0]", "never_block.suppliers[1]", "never_block.suppliers[2]",
		"never_block.clinical[0]", "never_block.clinical[1]", "never_block.clinical[2]", "never_block.own[1]"}
	if !slices.Equal(fields, want) {
		t.Errorf("problems of\n%v, want\n%v", fields, want)
	}
}

// NewWord says what the notice says.
func TestNewWord(t *testing.T) {
	about := value(t, "evil.example")
	n := &notice.Notice{Kind: notice.KindIndicator, Created: 7 * day, Indicator: &about, LastSeen: 5 * day, FirstSeen: day, ValidUntil: 9 * day,
		Origin: &notice.Origin{Source: "misp:X"}, Context: &notice.Context{Family: "Emotet"}}
	want := verdict.Word{ID: id(1), Author: member(2), Kind: notice.KindIndicator, About: about, Seen: 5 * day, Expires: 9 * day, Source: "misp:X", Family: "Emotet"}
	if got := verdict.NewWord(id(1), member(2), n, about); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	ref := id(3)
	n = &notice.Notice{Kind: notice.KindRetraction, Created: 7 * day, Ref: &ref}
	if got := verdict.NewWord(id(1), member(2), n, about); got.Ref != ref || got.Seen != 7*day || got.Expires != 407*day {
		t.Errorf("%+v", got)
	}
}
