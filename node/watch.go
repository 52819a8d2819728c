package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/logs"
	"github.com/watchward/watchward/node/logs/syslog"
)

// Times of the watch.
const (
	watchPoll   = 200 * time.Millisecond // a line is seen after this at the latest
	watchSaved  = 2 * time.Second        // between two times that it is written down how far was read
	watchAgain  = time.Second            // after the disk refused what follows from a line
	watchListen = 5 * time.Second        // after an address could not be listened on
	watchReady  = time.Minute            // how long it waits at a start for the store to know what it has
)

// Bounds of what was received and not looked at yet.
const (
	inboxBytes    = 4 << 20
	sendersMax    = 16 // senders with a parser of their own; those beyond share one
	watchSlice    = 2 * time.Millisecond
	watchLines    = 64                     // between two looks at the clock
	askedLately   = 100 * time.Millisecond // how long after a lookup the watch holds back
	watchShare    = 0.06                   // of the machine's cores that it takes then
	watchPauseMax = 100 * time.Millisecond
)

// A watch reads this hospital's own logs and holds what they name against the store
// (watchhit.go). One goroutine does it all: it polls the files of each source
// (watchfiles.go), takes what syslog brought, and writes down how far it has read
// (watchstate.go) only after everything that follows from those lines is on disk. So a
// crash reads some lines again, which the alerts' Dedup and the sightings' idempotency
// key make harmless.
type watch struct {
	n       *Node
	sources []*logSource
	hits    *hits
	own     logs.Own
	path    string // of the state

	// Of run alone.
	listener  *syslog.Listener
	senders   map[netip.Addr]*logs.Parser
	shared    *logs.Parser // of senders beyond sendersMax
	heardAt   *logSource   // what syslog brought; nil if nothing listens
	listened  time.Time
	polled    time.Time
	saved     time.Time
	refusedAt time.Time // when the disk refused
	changed   bool      // since it was saved
	unkept    bool      // it was said that the history does not take what was read
	sliceFrom time.Time
	sliceLine int
	inbox     inbox

	mu      sync.Mutex // guards what the API reads: the sources' health, and received
	problem string     // why nothing is received
	stats   syslog.Stats
	udp     string
	tcp     string
	tls     string
}

// openWatch makes the watch of a node whose configuration names logs, nil of others.
func (n *Node) openWatch() error {
	c := n.o.Settings
	if n.o.Lab != nil || len(c.Logs) == 0 && !c.Syslog.On() {
		return nil
	}
	w := &watch{n: n, own: n.ownLogs(), path: filepath.Join(n.o.Dir, watchFile), senders: map[netip.Addr]*logs.Parser{}}
	w.hits = newHits(n)
	w.inbox.init()
	for _, l := range c.Logs {
		s, err := newLogSource(l.Name, l.PathIn(n.o.Dir), l.Format, l.Zone, l.Share)
		if err != nil {
			return err
		}
		w.sources = append(w.sources, s)
	}
	if c.Syslog.On() {
		format := c.Syslog.Format
		if format == "" {
			format = logs.Mixed.String()
		}
		s, err := newLogSource(config.SyslogName, "", format, c.Syslog.Zone, c.Syslog.Share)
		if err != nil {
			return err
		}
		w.heardAt, w.shared = s, w.parser(s)
		w.sources = append(w.sources, s)
	}
	w.recallState()
	n.watch = w
	return nil
}

// ownLogs is what of this house is never an observable.
func (n *Node) ownLogs() (own logs.Own) {
	for _, text := range n.o.Settings.NeverBlock.Own {
		text = strings.TrimSpace(text)
		if p, err := netip.ParsePrefix(text); err == nil {
			own.Networks = append(own.Networks, p.Masked())
		} else if a, err := netip.ParseAddr(text); err == nil {
			own.Networks = append(own.Networks, netip.PrefixFrom(a, a.BitLen()))
		} else {
			own.Names = append(own.Names, strings.TrimPrefix(strings.TrimPrefix(text, "*"), "."))
		}
	}
	return own
}

func (w *watch) parser(s *logSource) *logs.Parser {
	return logs.New(logs.Options{Format: s.format, Zone: s.zone, Now: w.n.now, Own: w.own})
}

// run reads until the node stops.
func (w *watch) run() {
	tick := time.NewTicker(watchPoll)
	defer tick.Stop()
	defer w.close()
	w.awaitStore(tick.C)
	for w.n.ctx.Err() == nil {
		w.listen()
		if w.round() {
			continue
		}
		select {
		case <-w.n.ctx.Done():
		case <-tick.C:
		case <-w.inbox.wake:
		}
	}
}

// awaitStore waits at a start until the store knows what it has: before, each value
// would be asked of the disk.
func (w *watch) awaitStore(tick <-chan time.Time) {
	for began := time.Now(); w.n.store.Presences() == 0 && time.Since(began) < watchReady; {
		select {
		case <-w.n.ctx.Done():
			return
		case <-tick:
		}
	}
}

// close keeps what was read last, and lets all files go.
func (w *watch) close() {
	w.inbox.close()
	if w.listener != nil {
		w.listener.Close()
	}
	w.drain()
	w.hits.reworded = time.Time{}
	if w.settle() {
		w.save()
	}
	for _, s := range w.sources {
		s.close()
	}
}

// round reads what is there and sees to what follows from it. It reports whether there
// is more to read at once.
func (w *watch) round() (more bool) {
	if !w.refusedAt.IsZero() { // nothing is read while what follows from it cannot be kept
		if time.Since(w.refusedAt) < watchAgain || !w.settle() {
			return false
		}
	}
	w.sliceFrom, w.sliceLine = time.Now(), 0
	more = w.drain()
	if now := time.Now(); now.Sub(w.polled) >= watchPoll*9/10 || w.polled.IsZero() {
		w.polled = now
		for _, s := range w.sources {
			if s != w.heardAt && w.follow(s) {
				w.polled, more = time.Time{}, true
			}
			if !w.settle() {
				return false
			}
		}
	}
	if !w.settle() {
		return false
	}
	if w.changed && time.Since(w.saved) >= watchSaved {
		w.save()
	}
	return more
}

// settle makes what follows from the lines read so far durable. It reports false if it
// could not: then nothing more is read until it can.
func (w *watch) settle() bool {
	if err := w.hits.settle(); err != nil {
		if w.refusedAt.IsZero() {
			w.n.log.Error("what follows from the logs is not kept, so they are not read on", slog.Any("err", err))
		}
		w.refusedAt = time.Now()
		return false
	}
	w.refusedAt = time.Time{}
	return true
}

// line takes in one line of a source.
func (w *watch) line(s *logSource, p *logs.Parser, text []byte, cut bool) {
	w.yield()
	w.changed = true
	event, err := p.Line(text)
	s.count(text, cut, event, err, w.n.now())
	w.hits.take(s, text, event)
}

// yield lets lookups go first: for some time after one the watch takes no more than a
// share of the machine, so that a busy log does not slow down who asks.
func (w *watch) yield() {
	if w.sliceLine++; w.sliceLine%watchLines != 0 {
		return
	}
	now := time.Now()
	worked := now.Sub(w.sliceFrom)
	if worked < watchSlice {
		return
	}
	w.sliceFrom = now
	if now.UnixNano()-w.n.asked.Load() > int64(askedLately) {
		return
	}
	share := min(watchShare*float64(runtime.GOMAXPROCS(0)), 0.5)
	pause := time.NewTimer(min(time.Duration(float64(worked)*(1/share-1)), watchPauseMax))
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-w.n.ctx.Done():
	}
	w.sliceFrom = time.Now()
}

// listen opens the listener of syslog, again and again where it cannot: an address may
// come later than the node.
func (w *watch) listen() {
	if w.heardAt == nil || w.listener != nil || !w.listened.IsZero() && time.Since(w.listened) < watchListen {
		return
	}
	w.listened = time.Now()
	l, err := w.openListener()
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	w.mu.Lock()
	said := w.problem == problem
	w.problem = problem
	if l != nil {
		for i, a := range addrsOf(l) {
			*[]*string{&w.udp, &w.tcp, &w.tls}[i] = a
		}
	}
	w.mu.Unlock()
	if w.listener = l; err != nil && !said {
		w.n.log.Error("no syslog is received: trying again", slog.Any("err", err))
	}
}

func addrsOf(l *syslog.Listener) (out [3]string) {
	udp, tcp, secure := l.Addrs()
	if udp != nil {
		out[0] = udp.String()
	}
	if tcp != nil {
		out[1] = tcp.String()
	}
	if secure != nil {
		out[2] = secure.String()
	}
	return out
}

func (w *watch) openListener() (*syslog.Listener, error) {
	s := w.n.o.Settings.Syslog
	c := syslog.Config{UDP: s.UDP, TCP: s.TCP, TLS: s.TLS}
	for _, text := range s.Allow {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		c.Allow = append(c.Allow, p)
	}
	if s.TLS != "" {
		var err error
		if c.Certificates, err = w.certificates(s); err != nil {
			return nil, err
		}
	}
	return syslog.Listen(c, w.inbox.put)
}

func (w *watch) certificates(s config.Syslog) (*tls.Config, error) {
	in := w.n.inDir
	if _, err := tls.LoadX509KeyPair(in(s.TLSCert), in(s.TLSKey)); err != nil {
		return nil, fmt.Errorf("syslog.tls_cert: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(in(s.TLSCert), in(s.TLSKey)) // read anew, so that it may be renewed
		return &pair, err
	}}
	if s.TLSClients == "" {
		return c, nil
	}
	text, err := os.ReadFile(in(s.TLSClients))
	if err != nil {
		return nil, fmt.Errorf("syslog.tls_clients: %w", err)
	}
	c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(text) {
		return nil, errors.New("syslog.tls_clients: there is no certificate in it: give a PEM file")
	}
	return c, nil
}

// drain takes in what syslog brought. It reports whether there may be more.
func (w *watch) drain() bool {
	if w.heardAt == nil {
		return false
	}
	taken := w.inbox.take()
	for i, m := range taken.messages {
		start := 0
		if i > 0 {
			start = taken.messages[i-1].end
		}
		p := w.senders[m.from]
		if p == nil {
			p = w.shared
			if len(w.senders) < sendersMax {
				p = w.parser(w.heardAt)
				w.senders[m.from] = p
			}
		}
		w.line(w.heardAt, p, taken.text[start:m.end:m.end], m.cut)
	}
	if w.listener != nil {
		stats := w.listener.Stats()
		w.mu.Lock()
		w.stats = stats
		w.mu.Unlock()
	}
	return len(taken.messages) > 0
}

// An inbox is what syslog brought and nobody has looked at yet. Whoever puts waits
// while it is full, so that senders over TCP do too.
type inbox struct {
	wake chan struct{}

	mu     sync.Mutex
	room   *sync.Cond
	closed bool
	in     mail
	out    mail // what take has given
}

type mail struct {
	text     []byte
	messages []message
}

type message struct {
	end  int // in text
	cut  bool
	from netip.Addr
}

func (b *inbox) init() {
	b.wake = make(chan struct{}, 1)
	b.room = sync.NewCond(&b.mu)
}

func (b *inbox) put(m syslog.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.in.text) >= inboxBytes && !b.closed {
		b.room.Wait()
	}
	b.in.text = append(b.in.text, m.Text...)
	b.in.messages = append(b.in.messages, message{len(b.in.text), m.Cut, m.From})
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take returns what there is; it is valid until the next call.
func (b *inbox) take() *mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.in, b.out = b.out, b.in
	b.in.text, b.in.messages = b.in.text[:0], b.in.messages[:0]
	b.room.Broadcast()
	return &b.out
}

// close lets nobody wait any more.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.room.Broadcast()
}

// background is a context that the end of the node does not end: what was begun is
// finished.
func (n *Node) background() context.Context { return context.WithoutCancel(n.ctx) }
