package history_test

import (
	"testing"
	"time"

	"github.com/watchward/watchward/node/history"
	"github.com/watchward/watchward/node/notice"
)

// noon is when these tests are.
var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func value(t testing.TB, s string) notice.Indicator {
	t.Helper()
	v, err := notice.Detect(s, notice.Options{AllowSpecial: true})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func open(t testing.TB, o history.Options) *history.History {
	t.Helper()
	if o.Days == 0 {
		o.Days = 90
	}
	if o.MiB == 0 {
		o.MiB = 64
	}
	if o.Now == nil {
		o.Now = func() time.Time { return noon }
	}
	h, err := history.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func add(t testing.TB, h *history.History, s string, at time.Time, count uint32) {
	t.Helper()
	if err := h.Add([]history.Seen{{Indicator: value(t, s), Time: at.UnixMilli(), Count: count}}); err != nil {
		t.Fatal(err)
	}
}

func find(t testing.TB, h *history.History, s string) history.Trace {
	t.Helper()
	traces, err := h.Find([]notice.Indicator{value(t, s)})
	if err != nil {
		t.Fatal(err)
	}
	return traces[0]
}

func TestWhatIsAskedFindsWhatWasSeen(t *testing.T) {
	h := open(t, history.Options{Dir: t.TempDir(), Parents: true, Prefixes: []int{16, 64}})
	for _, s := range []string{"a.b.evil.co.uk", "www.evil.co.uk", "203.0.113.9", "2001:db8:1:2::7", "44d88612fea8a8f36de82e1278abb02f"} {
		add(t, h, s, noon.Add(-time.Hour), 2)
	}
	add(t, h, "a.b.evil.co.uk", noon.Add(-48*time.Hour), 1)
	for _, c := range []struct {
		asked  string
		count  uint64
		unkept bool
	}{
		{"a.b.evil.co.uk", 3, false},
		{"b.evil.co.uk", 3, false},
		{"evil.co.uk", 5, false},
		{"vil.co.uk", 0, false},
		{"x.a.b.evil.co.uk", 0, false},
		{"203.0.113.9", 2, false},
		{"203.0.113.8", 0, false},
		{"203.0.113.8/31", 2, false},
		{"203.0.113.0/24", 2, false},
		{"203.0.112.0/23", 0, true}, // too many addresses, too narrow for /16
		{"203.0.0.0/16", 2, false},
		{"203.0.0.0/8", 2, false},
		{"204.0.0.0/8", 0, false},
		{"2001:db8:1:2::/64", 2, false},
		{"2001:db8:1::/56", 2, false},
		{"2001:db8:1::/48", 0, true},
		{"2001:db8:1:2::/120", 2, false},
		{"2001:db8:1:2::/100", 0, true},
		{"44d88612fea8a8f36de82e1278abb02f", 2, false},
	} {
		if got := find(t, h, c.asked); got.Count != c.count || got.Unkept != c.unkept {
			t.Errorf("%s: %+v, want %d, unkept %v", c.asked, got, c.count, c.unkept)
		}
	}
	if got, want := find(t, h, "b.evil.co.uk"), (history.Trace{
		First: noon.Add(-48 * time.Hour).UnixMilli(), Last: noon.Add(-time.Hour).UnixMilli(), Count: 3,
	}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// The networks that are kept and make up one that is asked may lie in several bytes.
func TestNetworksAcrossBytes(t *testing.T) {
	h := open(t, history.Options{Dir: t.TempDir(), Prefixes: []int{20, 60}})
	for _, s := range []string{
		"10.16.0.1", "10.16.15.255", "10.16.16.1", "10.16.240.1", "10.17.0.1", "10.18.100.1", "10.31.255.254", // of one /12
		"10.15.255.255", "10.32.0.0", // beside it
		"255.240.0.0", "255.255.255.255", // the last one
		"2001:db8:0:ff::1", "2001:db8:0:100::1", "2001:db8:0:fff::1", "2001:db8:0:1000::1",
	} {
		add(t, h, s, noon, 1)
	}
	for asked, count := range map[string]uint64{
		"10.16.0.0/12": 7, "10.0.0.0/12": 1, "10.32.0.0/12": 1, "10.16.0.0/15": 5, "10.16.0.0/20": 2, "10.16.240.0/20": 1, "10.16.128.0/17": 1,
		"255.240.0.0/12": 2, "192.0.0.0/12": 0,
		"2001:db8::/52": 3, "2001:db8:0:1000::/52": 1, "2001:db8::/56": 1, "2001:db8:0:100::/56": 1,
	} {
		if got := find(t, h, asked); got.Count != count || got.Unkept {
			t.Errorf("%s: %+v, want %d", asked, got, count)
		}
	}
}
