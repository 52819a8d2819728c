package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/multiformats/go-multiaddr"
	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/verdict"
)

// Bounds of values.
const (
	nameCharsMax                       = 100
	bodyMaxLeast                       = 64 << 10
	bodyMaxMost                        = 1 << 30
	listMax                            = 64
	maxAgeLeast                        = 2 * time.Minute // a ledger that works signs a checkpoint once a minute
	maxAgeMost                         = 7 * 24 * time.Hour
	historyDaysMax, historyPrefixesMax = 400, 8 // as package history has them
	historyMiBMin, historyMiBMax       = 16, 1 << 20
	socketPathMax                      = 100 // bytes; systems allow 104 to 108
)

// problem is a value that cannot work. key may end in an index: mesh.listen[1].
type problem struct{ key, reason, fix string }

// check returns what is wrong, in the order of the fields.
func (c Config) check() []problem {
	k := &checker{}
	c.checkName(k)
	c.API.check(k)
	c.Mesh.check(k)
	if c.Share.TLP != "" {
		if _, err := notice.ParseTLP(c.Share.TLP); err != nil {
			k.add("share.tlp", fmt.Sprintf("%q is not a marking", c.Share.TLP), `choose CLEAR, GREEN, AMBER, AMBER+STRICT or RED, or "" for none`)
		}
	}
	k.oneOf("ask.answer", c.Ask.Answer, AnswerPerson, AnswerSeen, AnswerAll)
	if d, err := time.ParseDuration(c.Ledger.MaxAge); err != nil || d < maxAgeLeast || d > maxAgeMost {
		k.add("ledger.max_age", fmt.Sprintf("%.100q is no time within 2m and 168h", c.Ledger.MaxAge), `write minutes or hours: max_age = "10m"`)
	}
	c.checkVerdicts(k)
	c.Alerts.check(k)
	c.checkLogs(k)
	c.Syslog.check(k, c.Share)
	c.History.check(k)
	c.Feeds.check(k)
	c.Exchange.check(k)
	c.checkBridges(k)
	k.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	k.oneOf("log.format", c.Log.Format, "text", "json")
	return k.found
}

// checkVerdicts asks package verdict, which names the field of each value.
func (c Config) checkVerdicts(k *checker) {
	_, err := verdict.New(c.Verdicts())
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return
	}
	for _, err := range joined.Unwrap() {
		if field := (*notice.FieldError)(nil); errors.As(err, &field) {
			k.add(field.Field, field.Reason, field.Fix)
		}
	}
}

type checker struct{ found []problem }

func (k *checker) add(key, reason, fix string) {
	k.found = append(k.found, problem{key, reason, fix})
}

func (k *checker) oneOf(key, value string, choices ...string) {
	for _, c := range choices {
		if value == c {
			return
		}
	}
	k.add(key, fmt.Sprintf("%q is not a choice", value), "choose "+strings.Join(choices, ", "))
}

func (c Config) checkName(k *checker) {
	switch n := utf8.RuneCountInString(c.Name); {
	case strings.TrimSpace(c.Name) == "":
		k.add("name", "the name is missing", `set name = "St Anna" at the top of the file`)
	case n > nameCharsMax:
		k.add("name", fmt.Sprintf("the name has %d characters", n), fmt.Sprintf("use at most %d", nameCharsMax))
	case strings.ContainsFunc(c.Name, func(r rune) bool { return !unicode.IsPrint(r) }):
		k.add("name", "the name has characters that cannot be printed", "use letters, digits and spaces")
	}
}

func (a API) check(k *checker) {
	if a.Listen == "" && a.Socket == "" {
		k.add("api.listen", "the API has neither an address nor a socket", `set listen = "127.0.0.1:8460"`)
	}
	if a.Listen != "" {
		a.checkListen(k)
	}
	if len(a.Socket) > socketPathMax {
		k.add("api.socket", fmt.Sprintf("the path has %d bytes", len(a.Socket)), fmt.Sprintf("systems take at most %d: choose a shorter one", socketPathMax))
	}
	if a.Socket != "" && runtime.GOOS == "windows" {
		k.add("api.socket", "a Unix socket has no permissions on Windows, so anybody could be admin", `set socket = ""`)
	}
	k.listLength("api.hosts", a.Hosts)
	for i, h := range a.Hosts {
		if h == "" || strings.ContainsAny(h, "/:*@ ") || strings.ContainsFunc(h, func(r rune) bool { return r <= ' ' || r > '~' }) {
			k.add(indexed("api.hosts", i), fmt.Sprintf("%q is not a host name", h), `write it without scheme, port or wildcard: "watchward.hospital.example"`)
		}
	}
	if a.TLSCert != "" && a.TLSKey == "" {
		k.add("api.tls_key", "tls_cert is set and tls_key is not", "set both, or none")
	}
	if a.TLSKey != "" && a.TLSCert == "" {
		k.add("api.tls_cert", "tls_key is set and tls_cert is not", "set both, or none")
	}
	if a.BodyMax < bodyMaxLeast || a.BodyMax > bodyMaxMost {
		k.add("api.body_max", fmt.Sprintf("%d is out of range", a.BodyMax), fmt.Sprintf("choose %d to %d bytes", bodyMaxLeast, bodyMaxMost))
	}
}

func (a API) checkListen(k *checker) {
	k.listener("api.listen", a.Listen, a.TLSCert != "" || a.TLSKey != "", a.Plaintext)
}

// listener checks where HTTP is served; key ends in .listen.
func (k *checker) listener(key, listen string, tls, plaintext bool) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		k.add(key, fmt.Sprintf("%q is not an address", listen), `write address and port: "127.0.0.1:8460", "[::1]:8460"`)
		return
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		k.add(key, fmt.Sprintf("%q is not a port", port), "choose 1 to 65535, or 0 for any free one")
		return
	} else if n == 0 && host == "" {
		k.add(key, "neither address nor port is given", `write "127.0.0.1:0"`)
		return
	}
	loopback := host == "localhost"
	if addr, err := netip.ParseAddr(host); err == nil {
		loopback = addr.IsLoopback()
	}
	if !loopback && !tls && !plaintext {
		k.add(key, fmt.Sprintf("%q is reachable from other machines, and tokens would cross the network readable", listen),
			"set tls_cert and tls_key, or listen on 127.0.0.1, or set plaintext = true behind a proxy that does TLS")
	}
}

func (m Mesh) check(k *checker) {
	addrs := func(key string, list []string, peer bool) {
		k.listLength(key, list)
		for i, s := range list {
			checkMultiaddr(k, indexed(key, i), s, peer)
		}
	}
	addrs("mesh.listen", m.Listen, false)
	addrs("mesh.announce", m.Announce, false)
	addrs("mesh.seeds", m.Seeds, true)
	if m.Hub && len(m.Listen) == 0 {
		k.add("mesh.hub", "a hub must be reachable, and this node does not listen", "set hub = false, or a mesh.listen")
	}
}

func (h History) check(k *checker) {
	if h.Days < 0 || h.Days > historyDaysMax {
		k.add("history.days", fmt.Sprintf("%d is out of range", h.Days), fmt.Sprintf("choose 1 to %d days, or 0 to remember nothing", historyDaysMax))
	}
	if h.MiB < historyMiBMin || h.MiB > historyMiBMax {
		k.add("history.mib", fmt.Sprintf("%d is out of range", h.MiB), fmt.Sprintf("choose %d to %d MiB", historyMiBMin, historyMiBMax))
	}
	if len(h.Prefixes) > historyPrefixesMax {
		k.add("history.prefixes", fmt.Sprintf("the list has %d entries", len(h.Prefixes)), fmt.Sprintf("use at most %d", historyPrefixesMax))
	}
	for i, bits := range h.Prefixes {
		if bits < 8 || bits > 127 {
			k.add(indexed("history.prefixes", i), fmt.Sprintf("%d is no length of a network", bits), "choose 8 to 31 for IPv4, 32 to 127 for IPv6, such as [16, 48, 64]")
		}
	}
}

func (k *checker) listLength(key string, list []string) {
	if len(list) > listMax {
		k.add(key, fmt.Sprintf("the list has %d entries", len(list)), fmt.Sprintf("use at most %d", listMax))
	}
}

func checkMultiaddr(k *checker, key, s string, peer bool) {
	const shape = `write it as "/ip4/192.0.2.7/udp/8461/quic-v1"`
	a, err := multiaddr.NewMultiaddr(s)
	if err != nil {
		k.add(key, fmt.Sprintf("%.100q is not a multiaddr", s), shape)
		return
	}
	_, err = a.ValueForProtocol(multiaddr.P_P2P)
	switch {
	case peer && err != nil:
		k.add(key, fmt.Sprintf("%.100q does not say which peer it is", s), "append /p2p/ and the peer id, which watchward status shows there")
	case !peer && err == nil:
		k.add(key, fmt.Sprintf("%.100q names a peer", s), "leave out /p2p/ and what follows")
	}
}

func indexed(key string, i int) string { return fmt.Sprintf("%s[%d]", key, i) }

// place is where a key or value starts.
type place struct{ line, column int }

// find returns the place of a key, or of the nearest thing around it.
func find(places map[string]place, key string) (place, bool) {
	for key != "" {
		if p, ok := places[key]; ok {
			return p, true
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return place{}, false
}

// locate notes where each key and each element of a list is, so that a value
// that parses but cannot work is named with its line as well.
func locate(path string, text []byte) (map[string]place, error) {
	places := map[string]place{}
	var p unstable.Parser
	p.Reset(text)
	at := func(n *unstable.Node) place {
		if n.Raw.Length > 0 {
			start := p.Shape(n.Raw).Start
			return place{start.Line, start.Column}
		}
		return place{}
	}
	table := ""
	lists := map[string]int{} // tables of each so far
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = ""
			for it := e.Key(); it.Next(); {
				table = dotted(table, string(it.Node().Data))
				places[table] = at(it.Node())
			}
			if e.Kind == unstable.ArrayTable {
				where := places[table]
				lists[table]++
				table = indexed(table, lists[table]-1)
				places[table] = where
			}
		case unstable.KeyValue:
			key := table
			var where place
			for it := e.Key(); it.Next(); {
				if where == (place{}) {
					where = at(it.Node())
				}
				key = dotted(key, string(it.Node().Data))
			}
			places[key] = where
			if e.Value().Kind == unstable.Array {
				i := 0
				for it := e.Value().Children(); it.Next(); i++ {
					if w := at(it.Node()); w != (place{}) {
						places[indexed(key, i)] = w
					}
				}
			}
		}
	}
	if p.Error() == nil {
		return places, nil
	}
	// The decoder gives the same error with its position.
	var c Config
	err := toml.Unmarshal(text, &c)
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		return nil, decodeErrors(path, err)
	}
	return nil, &Error{File: path, Reason: strings.TrimPrefix(p.Error().Error(), "toml: "), Fix: "see https://toml.io for the syntax"}
}

func dotted(table, name string) string {
	if table == "" {
		return name
	}
	return table + "." + name
}
