package feed_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/node/feed"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/verdict"
)

const (
	day   = int64(24 * time.Hour / time.Millisecond)
	start = int64(1_790_000_000_000)
)

func policy(f feed.Format, types ...notice.Type) feed.Policy {
	p := feed.Policy{Name: "test", Format: f, Types: types, Level: verdict.Block, TLP: notice.TLPAmber, Zone: "rpz.test"}
	if err := p.Check(); err != nil {
		panic(err)
	}
	return p
}

func ip(n int) notice.Indicator {
	return notice.Indicator{Type: notice.TypeIPv4, Value: fmt.Sprintf("198.%d.%d.%d", n>>16, n>>8&255, n&255)}
}

func in(i notice.Indicator, members int) *feed.Decision {
	return &feed.Decision{Entry: feed.Entry{Indicator: i, Since: start, Seen: start, Members: uint32(members)}}
}

func commit(t interface{ Fatal(...any) }, l *feed.List, now int64) *feed.Snapshot {
	if _, err := l.Commit(now); err != nil {
		t.Fatal(err)
	}
	return l.Snapshot()
}

func fill(t *testing.T, l *feed.List, count int) {
	t.Helper()
	for n := range count {
		l.Apply(ip(n), in(ip(n), 1), false)
	}
	commit(t, l, start)
}

func TestShrinkWaitsForAWord(t *testing.T) {
	l := feed.NewList(policy(feed.Plain, notice.TypeIPv4))
	fill(t, l, 100)
	low := &feed.Decision{Cause: feed.Low}
	for n := range 20 { // a fifth goes
		l.Apply(ip(n), low, false)
	}
	if s := commit(t, l, start+1); s.Entries != 80 || s.Waits != "" {
		t.Fatalf("a fifth left: %d entries, waits %q", s.Entries, s.Waits)
	}
	l.Apply(ip(20), low, false) // one by one is no way around
	if s := commit(t, l, start+2); s.Entries != 80 || s.Held != 1 || s.Waits == "" || s.Waiting != start+2 {
		t.Fatalf("one more within a day: %d entries, %d held, waits %q", s.Entries, s.Held, s.Waits)
	}
	l.Apply(ip(500), in(ip(500), 1), false) // what is new comes all the same
	for n := 21; n < 61; n++ {              // expired or taken back is no shrink
		l.Apply(ip(n), &feed.Decision{Cause: feed.Unsaid}, false)
	}
	for n := 61; n < 71; n++ { // nor what must not be blocked
		l.Apply(ip(n), &feed.Decision{Cause: feed.Never}, false)
	}
	l.Apply(ip(71), low, true)
	if s := commit(t, l, start+3); s.Entries != 30 || s.Held != 1 {
		t.Fatalf("%d entries, %d held", s.Entries, s.Held)
	}
	if n := l.Accept(start + 4); n != 1 {
		t.Fatalf("accept let %d go", n)
	}
	if s := commit(t, l, start+4); s.Entries != 29 || s.Waits != "" || s.Get(ip(20)) != nil {
		t.Fatalf("after accept: %d entries, waits %q", s.Entries, s.Waits)
	}
}

func TestABuildThatFindsLessWaits(t *testing.T) {
	l := feed.NewList(policy(feed.Plain, notice.TypeIPv4))
	fill(t, l, 10)
	l.Begin()
	for n := range 10 {
		if n < 5 {
			l.Apply(ip(n), in(ip(n), 1), false)
		} else {
			l.Apply(ip(n), &feed.Decision{Cause: feed.Low}, false)
		}
	}
	l.End(lost)
	if s := commit(t, l, start+1); s.Entries != 10 || s.Held != 5 {
		t.Fatalf("%d entries, %d held", s.Entries, s.Held)
	}
	l.Apply(ip(7), in(ip(7), 1), false) // it belongs here again
	if s := commit(t, l, start+2); s.Entries != 10 || s.Held != 4 {
		t.Fatalf("%d entries, %d held", s.Entries, s.Held)
	}
	l.Begin() // nobody says anything of any, and nobody knows why
	l.End(lost)
	if s := commit(t, l, start+3); s.Entries != 10 || s.Held != 10 {
		t.Fatalf("%d entries, %d held", s.Entries, s.Held)
	}
	l.Begin() // it is known of what is held too
	l.End(func(e *feed.Entry) bool { return e.Indicator != ip(3) })
	if s := commit(t, l, start+4); s.Entries != 1 || s.Held != 1 || s.Get(ip(3)) == nil {
		t.Fatalf("%d entries, %d held", s.Entries, s.Held)
	}
	l.Accept(start + 5)
	if s := commit(t, l, start+5); s.Entries != 0 {
		t.Fatalf("after accept: %d entries", s.Entries)
	}
}

// lost knows no reason why anything is not there any more.
func lost(*feed.Entry) bool { return false }

func TestEmptyIsNoAnswerUntilAccepted(t *testing.T) {
	for _, f := range []feed.Format{feed.Plain, feed.RPZ} {
		l := feed.NewList(policy(f, notice.TypeIPv4))
		if s := commit(t, l, start); s.Mute {
			t.Fatal("a list that never had anything may be empty")
		}
		l.Apply(ip(1), in(ip(1), 1), false)
		commit(t, l, start)
		l.Apply(ip(1), &feed.Decision{Cause: feed.Unsaid}, false)
		// A zone says itself what is in it.
		if s := commit(t, l, start); s.Mute != (f == feed.Plain) {
			t.Fatalf("%s: mute %v", f, s.Mute)
		}
		l.Accept(start)
		if s := commit(t, l, start); s.Mute || s.Waits != "" {
			t.Fatalf("%s: accepted, and mute %v waits %q", f, s.Mute, s.Waits)
		}
		l.Apply(ip(1), in(ip(1), 1), false)
		commit(t, l, start)
		l.Apply(ip(1), &feed.Decision{Cause: feed.Unsaid}, false)
		if s := commit(t, l, start); s.Mute != (f == feed.Plain) {
			t.Fatalf("%s: the word was for one time: mute %v", f, s.Mute)
		}
	}
}

// A list is the same whatever the order in which it came to be: the longest start by
// priority that fits.
func TestLimitsKeepTheFirstByPriority(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := policy(feed.FortiGate, notice.TypeIPv4)
		p.MaxEntries = rapid.IntRange(1, 12).Draw(t, "max")
		l := feed.NewList(p)
		model := map[notice.Indicator]*feed.Decision{}
		old := ""
		for step := range rapid.IntRange(1, 60).Draw(t, "steps") {
			i := ip(rapid.IntRange(0, 30).Draw(t, "n"))
			if rapid.Bool().Draw(t, "in") {
				model[i] = in(i, rapid.IntRange(0, 3).Draw(t, "members"))
				model[i].Entry.Seen = start + int64(rapid.IntRange(0, 3).Draw(t, "seen"))
				l.Apply(i, model[i], false)
			} else {
				delete(model, i)
				l.Apply(i, &feed.Decision{Cause: feed.Unsaid}, false)
			}
			if rapid.IntRange(0, 2).Draw(t, "commit") > 0 {
				continue
			}
			before := l.Snapshot()
			s := commit(t, l, start+int64(step)*1000)
			want := first(model, p.MaxEntries)
			if got := s.Text(); got != want {
				t.Fatalf("have\n%swant\n%s", got, want)
			}
			if len(want) > 0 && (s.Truncated != "") != (len(model) > p.MaxEntries) {
				t.Fatalf("%d of %d: %q", p.MaxEntries, len(model), s.Truncated)
			}
			if before != nil && (before.ETag() == s.ETag()) != (old == want) {
				t.Fatal("equal tags are equal bytes, and no others")
			}
			if before != nil {
				checkDelta(t, before, s)
			}
			old = want
		}
	})
}

func first(model map[notice.Indicator]*feed.Decision, limit int) string {
	var list []*feed.Decision
	for _, d := range model {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b *feed.Decision) int {
		if a.Entry.Members != b.Entry.Members {
			return int(b.Entry.Members) - int(a.Entry.Members)
		}
		if a.Entry.Seen != b.Entry.Seen {
			return int(b.Entry.Seen - a.Entry.Seen)
		}
		return strings.Compare(a.Entry.Value, b.Entry.Value)
	})
	var lines []string
	for _, d := range list[:min(limit, len(list))] {
		lines = append(lines, d.Entry.Value+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// checkDelta applies what happened between two snapshots to the first.
func checkDelta(t *rapid.T, before, after *feed.Snapshot) {
	d, ok := after.Since(before.Serial)
	if !ok {
		t.Fatalf("serial %d is not known to %d", before.Serial, after.Serial)
	}
	values := map[string]bool{}
	for e := range before.All {
		values[e.Value] = true
	}
	for _, e := range d.Removed {
		if !values[e.Value] {
			t.Fatalf("%s was not in it", e.Value)
		}
		delete(values, e.Value)
	}
	for _, e := range d.Added {
		if values[e.Value] {
			t.Fatalf("%s was in it", e.Value)
		}
		values[e.Value] = true
	}
	n := 0
	for e := range after.All {
		n++
		if !values[e.Value] || after.Get(e.Indicator) != e {
			t.Fatalf("%s is missing", e.Value)
		}
	}
	if n != len(values) || n != after.Entries {
		t.Fatalf("%d entries, %d by the delta, %d counted", n, len(values), after.Entries)
	}
}

func TestLimitsOfBytes(t *testing.T) {
	l := feed.NewList(policy(feed.FortiGate, notice.TypeURL))
	for n := range 6_000 {
		i := notice.Indicator{Type: notice.TypeURL, Value: fmt.Sprintf("http://evil.example/%04d/%s", n, strings.Repeat("a", 2000))}
		l.Apply(i, in(i, 1), false)
	}
	s := commit(t, l, start)
	if s.Size() > 10_000_000 || s.Size() < 9_990_000 || s.LeftOut == 0 {
		t.Fatalf("%d bytes, %d left out", s.Size(), s.LeftOut)
	}
}

func TestKeptListComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "feeds", "test.list")
	open := func() *feed.List {
		l, err := feed.Open(path, policy(feed.RPZ, notice.TypeIPv4, notice.TypeDomain))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	l := open()
	fill(t, l, 1000)
	serial := l.Snapshot().Serial
	for n := range 300 {
		l.Apply(ip(n), &feed.Decision{Cause: feed.Unsaid}, false)
	}
	l.Apply(ip(5000), in(ip(5000), 3), false)
	text := commit(t, l, start).Text()
	if l.Snapshot().Serial <= serial {
		t.Fatal("the serial must rise although the clock stands")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	serial = l.Snapshot().Serial
	for _, damage := range []struct {
		what string
		raw  []byte
	}{
		{"whole", raw}, {"half a record at the end", append(slices.Clone(raw), 40, 'a', 1)},
		{"a flipped bit at the end", append(slices.Clone(raw), 2, 'r', 1, 0, 0, 0, 0)},
	} {
		if err := os.WriteFile(path, damage.raw, 0o600); err != nil {
			t.Fatal(err)
		}
		l := open()
		s := l.Snapshot()
		if s == nil || s.Text() != text || s.Serial != serial {
			t.Fatalf("%s: another list came back", damage.what)
		}
		if e := s.Get(ip(5000)); e == nil || e.Members != 3 || e.Since != start {
			t.Fatalf("%s: %+v", damage.what, e)
		}
		l.Apply(ip(5001), in(ip(5001), 1), false)
		if s := commit(t, l, 0); s.Serial != serial+1 { // whatever the clock says
			t.Fatalf("%s: serial %d after %d", damage.what, s.Serial, serial)
		}
	}
	// Half of a batch, or one with a flipped bit, is none of it: the list before stands.
	flipped := slices.Clone(raw)
	flipped[bytes.LastIndex(raw, []byte(ip(5000).Value))] ^= 1
	for _, damaged := range [][]byte{raw[:len(raw)-3], flipped} {
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if s := open().Snapshot(); s.Entries != 1000 || s.Get(ip(5000)) != nil {
			t.Fatalf("%d entries", s.Entries)
		}
	}
}

func TestRestartIsNoWayAroundTheShrinkRule(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.list")
	p := policy(feed.Plain, notice.TypeIPv4)
	l, err := feed.Open(path, p)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 100)
	_ = l.Close()
	p.MaxEntries = 10
	if l, err = feed.Open(path, p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if s := commit(t, l, start+1); s.Entries != 100 || !strings.Contains(s.Waits, "limit") {
		t.Fatalf("%d entries, waits %q", s.Entries, s.Waits)
	}
	l.Accept(start + 2)
	if s := commit(t, l, start+2); s.Entries != 10 || s.LeftOut != 90 || s.Truncated == "" {
		t.Fatalf("%d entries, %d left out, %q", s.Entries, s.LeftOut, s.Truncated)
	}
}

// A value that comes and goes for ever does not fill the disk.
func TestKeptFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.list")
	l, err := feed.Open(path, policy(feed.Plain, notice.TypeURL))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	for round := range 40 {
		for n := range 400 {
			i := notice.Indicator{Type: notice.TypeURL, Value: fmt.Sprintf("http://evil.example/%d/%s", n, strings.Repeat("a", 1000))}
			if round%2 == 0 {
				l.Apply(i, in(i, 1), false)
			} else {
				l.Apply(i, &feed.Decision{Cause: feed.Unsaid}, false)
			}
		}
		commit(t, l, start+int64(round)*1000)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 7<<20 {
		t.Fatalf("%d bytes on disk for a list of at most 400 KiB", info.Size())
	}
}

// What a warninglist names leaves at once, however much that is, and the list says so.
func TestListedLeavesAtOnceAndIsSaid(t *testing.T) {
	for _, days := range []int64{0, 3} { // the day's peak was forgotten in between
		l := feed.NewList(policy(feed.RPZ, notice.TypeIPv4))
		fill(t, l, 100)
		at := start + days*day
		listed := &feed.Decision{Cause: feed.Listed}
		for n := range 20 {
			l.Apply(ip(n), listed, false)
		}
		if s := commit(t, l, at+1); s.Entries != 80 || s.Listed != 0 || s.Waits != "" {
			t.Fatalf("a fifth left: %d entries, listed %d, waits %q", s.Entries, s.Listed, s.Waits)
		}
		l.Begin()
		for n := 20; n < 100; n++ {
			d := listed
			if n >= 90 {
				d = in(ip(n), 1)
			}
			l.Apply(ip(n), d, false)
		}
		if s := commit(t, l, at+2); s.Entries != 10 || s.Listed != 0 {
			t.Fatalf("within the build: %d entries, listed %d", s.Entries, s.Listed)
		}
		l.End(lost)
		if s := commit(t, l, at+3); s.Entries != 10 || s.Listed != 90 || s.Held != 0 {
			t.Fatalf("%d entries, listed %d, %d held", s.Entries, s.Listed, s.Held)
		}
		if s := commit(t, l, at+2*day); s.Listed != 0 {
			t.Fatalf("said after two days still: %d", s.Listed)
		}
	}
}

func TestWouldWaitCountsAsTheListDoes(t *testing.T) {
	p := policy(feed.Plain, notice.TypeIPv4)
	l := feed.NewList(p)
	fill(t, l, 100)
	narrow := p
	narrow.MaxEntries = 50
	for _, c := range []struct {
		leave, stay int
		p           *feed.Policy
		want        bool
	}{{20, 80, &p, false}, {21, 79, &p, true}, {0, 10, &p, false}, {0, 0, &p, true}, {0, 50, &narrow, true}} {
		if got := l.WouldWait(c.leave, c.stay, c.p, start+1); got != c.want {
			t.Errorf("%d leave, %d stay, at most %d: waits %v", c.leave, c.stay, c.p.MaxEntries, got)
		}
	}
	for n := range 20 {
		l.Apply(ip(n), &feed.Decision{Cause: feed.Low}, false)
	}
	commit(t, l, start+1)
	if !l.WouldWait(1, 79, &p, start+2) || l.WouldWait(1, 79, &p, start+2*day) {
		t.Error("what left within a day counts with it, and no longer")
	}
}
