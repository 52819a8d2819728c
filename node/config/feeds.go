package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/watchward/watchward/node/feed"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/verdict"
)

// Feeds configures the lists that enforcement points fetch. Without a list there is
// none.
type Feeds struct {
	Listen    string     `toml:"listen"` // besides the API's address; "" = that alone
	TLSCert   string     `toml:"tls_cert"`
	TLSKey    string     `toml:"tls_key"`
	Plaintext bool       `toml:"plaintext"`
	DNSListen string     `toml:"dns_listen"` // of zone transfers; "" = none
	TSIGFile  string     `toml:"tsig_file"`  // relative paths start at the node's directory
	Stale     string     `toml:"stale"`      // as time.ParseDuration takes it
	List      []FeedList `toml:"list"`
}

// A FeedList is one feed.
type FeedList struct {
	Name       string   `toml:"name"`
	Format     string   `toml:"format"`
	Types      []string `toml:"types"`
	Verdict    string   `toml:"verdict"` // "" = block
	TLP        string   `toml:"tlp"`     // "" = AMBER
	MaxAge     string   `toml:"max_age"` // "" = as long as it counts
	MaxEntries int      `toml:"max_entries"`
	Consumers  []string `toml:"consumers"`
	Zone       string   `toml:"zone"`
	Transfer   []string `toml:"transfer"`
	Notify     []string `toml:"notify"`
}

const (
	feedsMax   = 64
	staleLeast = time.Minute
	staleMost  = 30 * 24 * time.Hour
	ageMost    = 400 * 24 * time.Hour
)

var feedName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

// StaleAfter is Stale of a configuration that passed Validate.
func (f Feeds) StaleAfter() time.Duration {
	d, _ := time.ParseDuration(f.Stale)
	return d
}

// Policy returns the feed's policy. The error is a *notice.FieldError.
func (l FeedList) Policy() (feed.Policy, error) {
	p := feed.Policy{
		Name: l.Name, Format: feed.Format(l.Format), MaxEntries: l.MaxEntries,
		Zone: strings.ToLower(strings.TrimSuffix(l.Zone, ".")), Level: verdict.Block, TLP: notice.TLPAmber,
	}
	if p.Zone == "" {
		p.Zone = l.Name + ".rpz"
	}
	switch l.Verdict {
	case "", "block":
	case "detect":
		p.Level = verdict.Detect
	default:
		return p, &notice.FieldError{Field: "verdict", Reason: fmt.Sprintf("%.40q is not a choice", l.Verdict), Fix: "choose block, or detect for a list that only watches"}
	}
	if l.TLP != "" {
		tlp, err := notice.ParseTLP(l.TLP)
		if err != nil || tlp > notice.TLPAmberStrict {
			return p, &notice.FieldError{Field: "tlp", Reason: fmt.Sprintf("%.40q is no marking that a feed may hold", l.TLP), Fix: "choose CLEAR, GREEN, AMBER or AMBER+STRICT; RED never goes there"}
		}
		p.TLP = tlp
	}
	if l.MaxAge != "" {
		age, err := parseAge(l.MaxAge)
		if err != nil {
			return p, &notice.FieldError{Field: "max_age", Reason: fmt.Sprintf("%.40q is no time within 1h and 400d", l.MaxAge), Fix: `write it as "30d" or "12h", or "" for as long as a word counts`}
		}
		p.MaxAge = age
	}
	if l.MaxEntries < 0 || l.MaxEntries > feed.EntriesMax {
		return p, &notice.FieldError{Field: "max_entries", Reason: fmt.Sprintf("%d is out of range", l.MaxEntries), Fix: fmt.Sprintf("choose 1 to %d, or 0 for as many as the format takes", feed.EntriesMax)}
	}
	var err error
	if p.Types, err = feed.ParseTypes(l.Types); err != nil {
		field := (*notice.FieldError)(nil)
		if errors.As(err, &field) {
			return p, &notice.FieldError{Field: "types", Reason: field.Reason, Fix: field.Fix + `; "ip" and "hash" are all of these`}
		}
		return p, err
	}
	return p, p.Check()
}

func parseAge(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(n) * 24 * time.Hour
		if n > 400 {
			err = errors.New("too long")
		}
	}
	if err == nil && (d < time.Hour || d > ageMost) {
		err = errors.New("out of range")
	}
	return d, err
}

func (f Feeds) check(k *checker) {
	if f.Listen != "" {
		k.listener("feeds.listen", f.Listen, f.TLSCert != "" && f.TLSKey != "", f.Plaintext)
	}
	if (f.TLSCert == "") != (f.TLSKey == "") {
		k.add("feeds.tls_cert", "tls_cert and tls_key come together", "set both, or none")
	}
	if f.DNSListen != "" {
		if _, _, err := net.SplitHostPort(f.DNSListen); err != nil {
			k.add("feeds.dns_listen", fmt.Sprintf("%.80q is not an address", f.DNSListen), `write address and port: "127.0.0.1:8453"`)
		}
	}
	if d, err := time.ParseDuration(f.Stale); err != nil || d < staleLeast || d > staleMost {
		k.add("feeds.stale", fmt.Sprintf("%.40q is no time within 1m and 720h", f.Stale), `write hours: stale = "24h"`)
	}
	if len(f.List) > feedsMax {
		k.add("feeds.list", fmt.Sprintf("there are %d of them", len(f.List)), fmt.Sprintf("use at most %d", feedsMax))
	}
	names, zones := map[string]bool{}, map[string]bool{}
	for i, l := range f.List {
		key := func(name string) string { return dotted(indexed("feeds.list", i), name) }
		switch {
		case !feedName.MatchString(l.Name):
			k.add(key("name"), fmt.Sprintf("%.80q is no name of a feed", l.Name), `use 1 to 40 small letters, digits and hyphens: name = "firewall"`)
		case names[l.Name]:
			k.add(key("name"), fmt.Sprintf("%q is the name of another feed", l.Name), "give each a name of its own")
		}
		names[l.Name] = true
		p, err := l.Policy()
		if field := (*notice.FieldError)(nil); errors.As(err, &field) {
			k.add(key(field.Field), field.Reason, field.Fix)
		}
		if p.Format == feed.RPZ {
			if zones[p.Zone] {
				k.add(key("zone"), fmt.Sprintf("%q is the zone of another feed", p.Zone), "give each a zone of its own")
			}
			zones[p.Zone] = true
		}
		l.checkTransfer(k, key, p, f)
		k.listLength(key("consumers"), l.Consumers)
	}
}

func (l FeedList) checkTransfer(k *checker, key func(string) string, p feed.Policy, f Feeds) {
	k.listLength(key("transfer"), l.Transfer)
	k.listLength(key("notify"), l.Notify)
	if len(l.Transfer)+len(l.Notify) > 0 && (p.Format != feed.RPZ || f.DNSListen == "") {
		k.add(key("transfer"), "only a feed of the format rpz is transferred, over feeds.dns_listen", `set format = "rpz" and feeds.dns_listen, or leave transfer and notify out`)
	}
	for i, who := range l.Transfer {
		if name, isKey := strings.CutPrefix(who, "key:"); isKey {
			if name == "" || f.TSIGFile == "" {
				k.add(indexed(key("transfer"), i), "there is no key of that name", "set feeds.tsig_file to a file that tsig-keygen made, and name a key of it")
			}
			continue
		}
		if p, err := netip.ParsePrefix(who); err == nil && p.Bits() > 0 {
			continue
		}
		if _, err := netip.ParseAddr(who); err != nil {
			k.add(indexed(key("transfer"), i), fmt.Sprintf("%.80q may not be who fetches a zone", who), `name an address, a network, or a TSIG key: "10.0.0.53", "10.0.0.0/24", "key:unbound"`)
		}
	}
	for i, who := range l.Notify {
		if _, err := netip.ParseAddrPort(who); err != nil {
			k.add(indexed(key("notify"), i), fmt.Sprintf("%.80q is no address with a port", who), `write it as "10.0.0.53:53"`)
		}
	}
}
