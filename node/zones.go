package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/feed"
)

const (
	zoneRecords   = 500              // records of one message of a transfer
	zoneTransfers = 8                // at once; more are refused and come again
	zoneWait      = 30 * time.Second // for a secondary that takes what is written
	notifyTries   = 5                // RFC 1996 3.6
	notifyWait    = 2 * time.Second
	tsigFileMax   = 1 << 20
)

// zones serves feeds of the format rpz over DNS: SOA, AXFR (RFC 5936) and IXFR (RFC
// 1995) to whom the configuration names, and NOTIFY (RFC 1996) of each change. It
// answers nothing else.
type zones struct {
	f       *feeds
	byZone  map[string]*zone
	keys    map[string]string // secrets by name, as miekg/dns takes them
	servers []*dns.Server
	addr    net.Addr
	places  chan struct{}
}

// A zone is a feed that is transferred.
type zone struct {
	*feedState
	name  string // with the last dot
	nets  []netip.Prefix
	keys  map[string]bool
	wakes []chan struct{} // of each that is notified
}

// openZones reads the keys and binds the address.
func openZones(f *feeds) (*zones, error) {
	conf := f.n.o.Settings.Feeds
	z := &zones{f: f, byZone: map[string]*zone{}, places: make(chan struct{}, zoneTransfers)}
	if path := f.n.inDir(conf.TSIGFile); path != "" {
		var err error
		if z.keys, err = readTSIG(path); err != nil {
			return nil, err
		}
	}
	for _, s := range f.lists {
		if s.list.Policy().Format != feed.RPZ {
			continue
		}
		one := &zone{feedState: s, name: dns.Fqdn(s.list.Policy().Zone), keys: map[string]bool{}}
		for _, who := range s.conf.Transfer {
			if key, is := strings.CutPrefix(who, "key:"); is {
				name := strings.ToLower(dns.Fqdn(key))
				if _, ok := z.keys[name]; !ok {
					return nil, fmt.Errorf("feed %s: %s has no key %q: make it with tsig-keygen %s", s.conf.Name, conf.TSIGFile, key, key)
				}
				one.keys[name] = true
			} else if p, ok := parsePrefix(who); ok {
				one.nets = append(one.nets, p)
			}
		}
		for range s.conf.Notify {
			one.wakes = append(one.wakes, make(chan struct{}, 1))
		}
		z.byZone[one.name] = one
	}
	listener, err := net.Listen("tcp", conf.DNSListen)
	if err != nil {
		return nil, fmt.Errorf("listen for zone transfers on %s: %w: choose another [feeds] dns_listen", conf.DNSListen, err)
	}
	packets, err := net.ListenPacket("udp", listener.Addr().String())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for zone transfers on %s: %w: choose another [feeds] dns_listen", conf.DNSListen, err), listener.Close())
	}
	z.addr = listener.Addr()
	for _, s := range []*dns.Server{{Listener: listener}, {PacketConn: packets}} {
		s.Handler, s.TsigSecret = z, z.keys
		s.ReadTimeout, s.WriteTimeout, s.MaxTCPQueries = 10*time.Second, zoneWait, 128
		z.servers = append(z.servers, s)
	}
	return z, nil
}

func parsePrefix(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	return p, err == nil
}

var (
	tsigKey    = regexp.MustCompile(`(?s)key\s+"?([^"\s{]+)"?\s*\{(.*?)\}`)
	tsigSecret = regexp.MustCompile(`secret\s+"?([A-Za-z0-9+/=]+)"?\s*;`)
)

// readTSIG reads keys as BIND's tsig-keygen writes them.
func readTSIG(path string) (map[string]string, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > tsigFileMax {
		err = errors.New("it is too large")
	}
	var raw []byte
	if err == nil {
		raw, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read [feeds] tsig_file: %w", err)
	}
	keys := map[string]string{}
	for _, m := range tsigKey.FindAllStringSubmatch(string(raw), -1) {
		secret := tsigSecret.FindStringSubmatch(m[2])
		if secret == nil {
			return nil, fmt.Errorf("read [feeds] tsig_file: the key %q has no secret in base64: make it with tsig-keygen %s", m[1], m[1])
		}
		keys[strings.ToLower(dns.Fqdn(m[1]))] = secret[1]
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("read [feeds] tsig_file: %s has no key: make one with tsig-keygen NAME", path)
	}
	return keys, nil
}

// start serves, and tells secondaries of what changed while the node was away.
func (z *zones) start() {
	if z == nil {
		return
	}
	for _, s := range z.servers {
		z.f.n.wait.Go(func() {
			if err := s.ActivateAndServe(); err != nil && z.f.n.ctx.Err() == nil {
				z.f.n.log.Error("zone transfers ended", slog.Any("err", err))
			}
		})
	}
	for _, one := range z.byZone {
		for i, to := range one.conf.Notify {
			z.f.n.wait.Go(func() { z.tell(one, to, one.wakes[i]) })
		}
		if one.now.Load() != nil { // else it is told when the zone is made
			z.notify(one.feedState)
		}
	}
}

func (z *zones) close() {
	if z == nil {
		return
	}
	for _, s := range z.servers {
		if s.Listener != nil {
			_ = s.Listener.Close()
		}
		if s.PacketConn != nil {
			_ = s.PacketConn.Close()
		}
		_ = s.Shutdown() // not started: its sockets are closed above
	}
}

// notify has the secondaries of a feed told that it changed.
func (z *zones) notify(s *feedState) {
	if z == nil {
		return
	}
	for _, one := range z.byZone {
		if one.feedState != s {
			continue
		}
		for _, wake := range one.wakes {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	}
}

// tell sends NOTIFY to one secondary, again until it answers. Something newer is told
// at once: who did not answer may be back.
func (z *zones) tell(one *zone, to string, wake <-chan struct{}) {
	ctx := z.f.n.ctx
	news := false
	for {
		if !news {
			select {
			case <-ctx.Done():
				return
			case <-wake:
			}
		}
		news = false
		for try := 0; try < notifyTries && !news; try++ {
			attempt, cancel := context.WithTimeout(ctx, notifyWait<<try)
			err := z.tellOnce(attempt, one, to)
			if err == nil || ctx.Err() != nil {
				cancel()
				break
			}
			z.f.n.log.Debug("secondary does not answer", slog.String("to", to), slog.Any("err", err))
			select { // the rest of the time
			case <-attempt.Done():
			case <-wake:
				news = true
			}
			cancel()
		}
	}
}

// tellOnce sends one NOTIFY with the zone's serial, and waits for the answer.
func (z *zones) tellOnce(ctx context.Context, one *zone, to string) error {
	m := new(dns.Msg).SetNotify(one.name)
	if now := one.now.Load(); now != nil {
		if soa, err := z.soa(one, now.Serial); err == nil {
			m.Answer = []dns.RR{soa}
		}
	}
	_, _, err := (&dns.Client{Timeout: notifyWait}).ExchangeContext(ctx, m, to)
	return err
}

// ServeDNS answers a query.
func (z *zones) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	if q.Opcode != dns.OpcodeQuery || len(q.Question) != 1 || q.Question[0].Qclass != dns.ClassINET {
		z.refuse(w, m.SetRcode(q, dns.RcodeNotImplemented))
		return
	}
	question := q.Question[0]
	one := z.byZone[strings.ToLower(question.Name)]
	who, ok := z.asker(w, q, one)
	if !ok {
		z.refuse(w, m.SetRcode(q, dns.RcodeRefused))
		return
	}
	now := one.now.Load()
	if now == nil || now.Mute {
		z.refuse(w, m.SetRcode(q, dns.RcodeServerFailure)) // it keeps what it has
		return
	}
	soa, err := z.soa(one, now.Serial)
	if err != nil {
		z.refuse(w, m.SetRcode(q, dns.RcodeServerFailure))
		return
	}
	_, udp := w.RemoteAddr().(*net.UDPAddr)
	switch {
	case question.Qtype == dns.TypeSOA, udp && question.Qtype == dns.TypeIXFR: // RFC 1995 2: too large for UDP
		m.Answer = []dns.RR{soa}
		z.sign(m, q)
		if w.WriteMsg(m) == nil && question.Qtype == dns.TypeSOA {
			z.polled(one, who, w, now.Serial)
		}
	case !udp && (question.Qtype == dns.TypeAXFR || question.Qtype == dns.TypeIXFR):
		z.transfer(w, q, one, now, soa, who)
	default:
		z.refuse(w, m.SetRcode(q, dns.RcodeRefused))
	}
}

// refuse answers without a word; who asked finds the reason in the log.
func (z *zones) refuse(w dns.ResponseWriter, m *dns.Msg) {
	z.f.n.log.Debug("zone refused", slog.String("remote", w.RemoteAddr().String()), slog.String("code", dns.RcodeToString[m.Rcode]))
	_ = w.WriteMsg(m)
}

func (z *zones) sign(m, q *dns.Msg) {
	if t := q.IsTsig(); t != nil {
		m.SetTsig(t.Hdr.Name, t.Algorithm, 300, time.Now().Unix())
	}
}

// asker says who asks and whether it may: by a good signature, or by its address.
func (z *zones) asker(w dns.ResponseWriter, q *dns.Msg, one *zone) (who string, ok bool) {
	if one == nil {
		return "", false
	}
	if t := q.IsTsig(); t != nil {
		name := strings.ToLower(t.Hdr.Name)
		return "key:" + strings.TrimSuffix(name, "."), w.TsigStatus() == nil && one.keys[name]
	}
	a, err := netip.ParseAddrPort(w.RemoteAddr().String())
	if err != nil {
		return "", false
	}
	addr := a.Addr().Unmap()
	return addr.String(), slices.ContainsFunc(one.nets, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// polled notes that a secondary that has the zone has asked whether it changed. One
// that is not known may have it from before: it is waited for from now on. One that has
// an older zone has to take the new one first: if it only asks, its way here is cut.
func (z *zones) polled(one *zone, who string, w dns.ResponseWriter, serial uint32) {
	x, ok := z.f.fetches.get(one.conf.Name, who)
	if !ok {
		z.f.Fetched(api.Fetch{Feed: one.conf.Name, Consumer: who, Addr: hostOf(w)})
	} else if x.Serial == serial {
		z.f.Fetched(api.Fetch{Feed: one.conf.Name, Consumer: who, Addr: hostOf(w), Serial: serial})
	}
}

func hostOf(w dns.ResponseWriter) string {
	host, _, err := net.SplitHostPort(w.RemoteAddr().String())
	if err != nil {
		return ""
	}
	return host
}

// soa is the zone's SOA record.
func (z *zones) soa(one *zone, serial uint32) (*dns.SOA, error) {
	rr, err := dns.NewRR(one.name + " 60 IN SOA " + feed.SOA(serial))
	if err != nil {
		return nil, err
	}
	return rr.(*dns.SOA), nil
}

// transfer sends the whole zone, or what changed since the serial that is asked about.
func (z *zones) transfer(w dns.ResponseWriter, q *dns.Msg, one *zone, now *feed.Snapshot, soa *dns.SOA, who string) {
	select {
	case z.places <- struct{}{}:
		defer func() { <-z.places }()
	default:
		z.refuse(w, new(dns.Msg).SetRcode(q, dns.RcodeServerFailure))
		return
	}
	out, failed := make(chan *dns.Envelope), make(chan error, 1)
	var sending sync.WaitGroup
	sending.Go(func() {
		err := (&dns.Transfer{TsigSecret: z.keys}).Out(w, q, out)
		failed <- err
		for range out { // what is still being made
		}
	})
	z.records(q, one, now, soa, out)
	close(out)
	sending.Wait()
	if err := <-failed; err != nil {
		z.f.n.log.Debug("zone transfer broke off", slog.String("to", who), slog.Any("err", err))
		return
	}
	z.f.Fetched(api.Fetch{Feed: one.conf.Name, Consumer: who, Addr: hostOf(w), Serial: now.Serial})
}

// records sends the records of a transfer, in messages.
func (z *zones) records(q *dns.Msg, one *zone, now *feed.Snapshot, soa *dns.SOA, out chan<- *dns.Envelope) {
	var batch []dns.RR
	put := func(rr dns.RR) {
		if batch = append(batch, rr); len(batch) >= zoneRecords {
			out <- &dns.Envelope{RR: batch}
			batch = nil
		}
	}
	entry := func(e *feed.Entry) {
		owners, err := now.Policy.Owners(e.Indicator)
		if err != nil {
			return // it is in no list then
		}
		for _, o := range owners {
			put(&dns.CNAME{Hdr: dns.RR_Header{Name: o + "." + one.name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 60}, Target: "."})
		}
	}
	put(soa)
	serial, incremental := wanted(q)
	delta, known := now.Since(serial)
	switch {
	case incremental && serial == now.Serial: // it has it
		out <- &dns.Envelope{RR: batch}
		return
	case incremental && known:
		old := *soa
		old.Serial = serial
		put(&old)
		for _, e := range delta.Removed {
			entry(e)
		}
		put(soa)
		for _, e := range delta.Added {
			entry(e)
		}
	default:
		put(&dns.NS{Hdr: dns.RR_Header{Name: one.name, Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 60}, Ns: "localhost."})
		for e := range now.All {
			entry(e)
		}
	}
	put(soa)
	if len(batch) > 0 {
		out <- &dns.Envelope{RR: batch}
	}
}

// wanted returns the serial after which an IXFR asks.
func wanted(q *dns.Msg) (uint32, bool) {
	if q.Question[0].Qtype != dns.TypeIXFR {
		return 0, false
	}
	for _, rr := range q.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa.Serial, true
		}
	}
	return 0, false
}
