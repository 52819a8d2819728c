package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// fetchesMax bounds the consumers that are remembered: of those beyond, who was away
// longest is forgotten.
const fetchesMax = 1_000

// A fetch is when a consumer last had a feed. The JSON is disk format.
type fetch struct {
	Feed     string    `json:"feed"`
	Consumer string    `json:"consumer"`
	Addr     string    `json:"addr"`
	Last     time.Time `json:"last"`
	Serial   uint32    `json:"serial"`
	Expires  time.Time `json:"expires,omitzero"` // of its token
}

// fetches remembers who fetched what, and alerts when somebody stays away or is about
// to be refused.
type fetches struct {
	n    *Node
	path string
	from time.Time // of this start: who could not come is not missed

	mu      sync.Mutex // guards what follows
	last    map[[2]string]*fetch
	refused map[[2]string]bool // told of already
	dirty   bool
}

func openFetches(n *Node, path string) (*fetches, error) {
	f := &fetches{n: n, path: path, from: n.now(), last: map[[2]string]*fetch{}, refused: map[[2]string]bool{}}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, os.MkdirAll(filepath.Dir(path), 0o700)
	}
	var list []*fetch
	if err == nil {
		err = json.Unmarshal(raw, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("who fetched a feed: %w: remove %s, and who comes next is noted anew", err, path)
	}
	for _, x := range list {
		f.last[[2]string{x.Feed, x.Consumer}] = x
	}
	return f, nil
}

// note remembers a fetch. It is on disk within a second.
func (f *fetches) note(q api.Fetch) {
	key := [2]string{q.Feed, q.Consumer}
	f.mu.Lock()
	if q.Refused != "" {
		told := f.refused[key]
		f.refused[key] = true
		f.mu.Unlock()
		if !told {
			f.n.alert(store.Alert{
				Kind: "feed-refused", Severity: "warning", Dedup: fmt.Sprintf("feed-refused/%s/%s/%s", q.Feed, q.Consumer, f.n.now().Format(time.DateOnly)),
				Text: fmt.Sprintf("The consumer %s of the feed %s gets no answer any more and keeps what it has: %s", shorten(q.Consumer, 64), q.Feed, q.Refused),
			})
		}
		return
	}
	defer f.mu.Unlock()
	delete(f.refused, key)
	x := f.last[key]
	if x == nil {
		if len(f.last) >= fetchesMax {
			f.forget()
		}
		x = &fetch{Feed: q.Feed, Consumer: q.Consumer}
		f.last[key] = x
	}
	x.Addr, x.Last, x.Serial, x.Expires = q.Addr, f.n.now().UTC().Truncate(time.Millisecond), q.Serial, q.Expires.UTC()
	f.dirty = true
}

// forget drops who was away longest. mu is held.
func (f *fetches) forget() {
	var oldest *fetch
	for _, x := range f.last {
		if oldest == nil || x.Last.Before(oldest.Last) {
			oldest = x
		}
	}
	delete(f.last, [2]string{oldest.Feed, oldest.Consumer})
}

// get returns the last fetch of a consumer.
func (f *fetches) get(name, consumer string) (fetch, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if x := f.last[[2]string{name, consumer}]; x != nil {
		return *x, true
	}
	return fetch{}, false
}

// of returns the consumers of a feed, by name.
func (f *fetches) of(name string) (out []fetch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, x := range f.last {
		if x.Feed == name {
			out = append(out, *x)
		}
	}
	slices.SortFunc(out, func(a, b fetch) int { return strings.Compare(a.Consumer, b.Consumer) })
	return out
}

// save writes down what is not yet.
func (f *fetches) save() error {
	f.mu.Lock()
	if !f.dirty {
		f.mu.Unlock()
		return nil
	}
	list := make([]*fetch, 0, len(f.last))
	for _, x := range f.last {
		c := *x
		list = append(list, &c)
	}
	f.dirty = false
	f.mu.Unlock()
	slices.SortFunc(list, func(a, b *fetch) int {
		return strings.Compare(a.Feed+"\x00"+a.Consumer, b.Feed+"\x00"+b.Consumer)
	})
	raw, err := json.MarshalIndent(list, "", "  ")
	if err == nil {
		err = writeFile(f.path, append(raw, '\n'), 0o600)
	}
	if err != nil {
		f.mu.Lock()
		f.dirty = true
		f.mu.Unlock()
	}
	return err
}

// missed reports whether a consumer should have come since: it has been away for so
// long, and so long it could have come.
func (f *fetches) missed(last, now time.Time) bool {
	stale := f.n.o.Settings.Feeds.StaleAfter()
	return now.Sub(last) >= stale && now.Sub(f.from) >= stale
}

// look alerts of who stays away, and of tokens that end.
func (f *fetches) look() {
	now := f.n.now()
	for _, s := range f.n.feeds.lists {
		come := map[string]bool{}
		for _, x := range f.of(s.conf.Name) {
			come[x.Consumer] = true
			if len(s.conf.Consumers) > 0 && !slices.Contains(s.conf.Consumers, x.Consumer) && !transfers(s.conf.Transfer, x.Consumer) {
				continue // nobody waits for it any more
			}
			if f.missed(x.Last, now) {
				f.miss(x.Feed, x.Consumer, "since "+x.Last.Format("2 Jan 15:04 UTC"), x.Last.UnixMilli())
			}
			f.ending(&x, now)
		}
		for _, name := range s.conf.Consumers {
			if !come[name] && f.missed(time.Time{}, now) {
				f.miss(s.conf.Name, name, "ever", f.from.UnixMilli())
			}
		}
	}
}

// transfers reports whether a consumer is a secondary that may transfer a feed: it is
// called as its key, or by its address.
func transfers(allowed []string, consumer string) bool {
	if key, is := strings.CutPrefix(consumer, "key:"); is {
		return slices.ContainsFunc(allowed, func(who string) bool {
			name, is := strings.CutPrefix(who, "key:")
			return is && strings.EqualFold(strings.TrimSuffix(name, "."), key)
		})
	}
	a, err := netip.ParseAddr(consumer)
	return err == nil && slices.ContainsFunc(allowed, func(who string) bool {
		p, ok := parsePrefix(who)
		return ok && p.Contains(a)
	})
}

func (f *fetches) miss(name, consumer, since string, at int64) {
	f.n.alert(store.Alert{
		Kind: "feed-consumer", Severity: "warning", TLP: notice.TLPClear, Dedup: fmt.Sprintf("feed-consumer/%s/%s/%d", name, consumer, at),
		Text: fmt.Sprintf("%s has not fetched the feed %s %s: what it blocks is old. Look at it and at its way here: watchward feed list", shorten(consumer, 64), name, since),
	})
}

// ending warns of a token that expires: 30 days, a week and a day before, and while
// it is let in all the same.
func (f *fetches) ending(x *fetch, now time.Time) {
	if x.Expires.IsZero() || x.Last.Before(now.Add(-f.n.o.Settings.Feeds.StaleAfter())) {
		return
	}
	const day = 24 * time.Hour
	left := x.Expires.Sub(now)
	step, text := "", ""
	switch {
	case left > feedTokenSoon:
		return
	case left > 7*day:
		step = "30"
	case left > day:
		step = "7"
	case left > 0:
		step = "1"
	default:
		step = "over-" + now.Format(time.DateOnly)
		text = fmt.Sprintf("The token %s has expired. It still fetches the feed %s until %s; then it is refused, and some firewalls then stop enforcing.", x.Consumer, x.Feed, x.Expires.Add(api.FeedGrace).Format("2 Jan 15:04 UTC"))
	}
	if text == "" {
		text = fmt.Sprintf("The token %s, which fetches the feed %s, expires on %s.", x.Consumer, x.Feed, x.Expires.Format("2 Jan 15:04 UTC"))
	}
	f.n.alert(store.Alert{
		Kind: "feed-token", Severity: "warning", TLP: notice.TLPClear, Dedup: fmt.Sprintf("feed-token/%s/%d/%s", x.Consumer, x.Expires.Unix(), step),
		Text: text + " Make another and put it there: watchward token create NAME --role reader --ceiling AMBER",
	})
}

// fetchAges tells Prometheus how long ago each consumer came.
type fetchAges struct{ f *fetches }

var fetchAge = prometheus.NewDesc("watchward_feed_last_fetch_seconds", "Since a consumer last fetched a feed.", []string{"feed", "consumer"}, nil)

func (c fetchAges) Describe(ch chan<- *prometheus.Desc) { ch <- fetchAge }

func (c fetchAges) Collect(ch chan<- prometheus.Metric) {
	now := c.f.n.now()
	for _, s := range c.f.n.feeds.lists {
		for _, x := range c.f.of(s.conf.Name) {
			ch <- prometheus.MustNewConstMetric(fetchAge, prometheus.GaugeValue, now.Sub(x.Last).Seconds(), x.Feed, x.Consumer)
		}
	}
}
