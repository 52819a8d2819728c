// Package syslog receives messages of syslog over UDP (RFC 5426), TCP (RFC 6587,
// counted or by lines) and TLS (RFC 5425). It gives messages with their header:
// package logs takes that off.
//
// Nothing listens unless it is named. Everything that a sender can use up has a
// bound: connections in all and for one address, the size of a message, messages
// a second.
package syslog

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/watchward/watchward/node/logs"
)

const (
	connectionsMax = 256
	perAddressMax  = 16
	rateMax        = 20_000 // messages a second of one address
	sourcesMax     = 1_024  // addresses with a rate of their own; those beyond share one
	frameMax       = 8 << 20
	countMax       = len("8388608")
	idleMax        = time.Hour
	handshakeMax   = 10 * time.Second
	backoff        = 50 * time.Millisecond // after a failed accept: no descriptors are left, mostly
)

// A Config says where to listen. An empty address is not listened on; port 0
// takes any that is free. The other zero values are the defaults.
type Config struct {
	UDP, TCP, TLS string // host:port
	// Certificates are those of the TLS listener. With ClientCAs a sender needs a
	// certificate too.
	Certificates *tls.Config
	// Allow names the senders; empty: private, link-local and loopback addresses.
	// The address of a datagram can be forged by whoever is in the network.
	Allow          []netip.Prefix
	ConnectionsMax int // in all: 256
	PerAddressMax  int // of one address: 16
	RateMax        int // messages a second of one address: 20,000
}

// A Message is valid until the function it is given to returns.
type Message struct {
	Text []byte // at most logs.LineMax
	Cut  bool   // there was more of it
	From netip.Addr
}

// Stats count since the start.
type Stats struct {
	Messages int64
	Cut      int64
	Refused  int64 // connections and datagrams of senders that are not allowed, and connections beyond the bounds
	Limited  int64 // datagrams beyond the rate; connections are slowed instead
	Broken   int64 // connections that ended in the middle of a message or a handshake, or made no sense
}

// A Listener receives. Its methods may be called at any time.
type Listener struct {
	config Config
	yield  func(Message)
	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup
	udp    *net.UDPConn
	tcp    net.Listener
	tls    net.Listener
	one    sync.Mutex // yield is called under it

	messages, cut, refused, limited, broken atomic.Int64

	mu    sync.Mutex // guards what follows
	conns map[net.Conn]netip.Addr
}

// Listen starts to receive. yield is called by one goroutine at a time; while it
// works, senders wait or, over UDP, lose. The caller must Close.
func Listen(c Config, yield func(Message)) (*Listener, error) {
	if c.TLS != "" && c.Certificates == nil {
		return nil, errors.New("listen for syslog over TLS: there is no certificate: give tls_cert and tls_key")
	}
	c.ConnectionsMax = orDefault(c.ConnectionsMax, connectionsMax)
	c.PerAddressMax = orDefault(c.PerAddressMax, perAddressMax)
	c.RateMax = orDefault(c.RateMax, rateMax)
	l := &Listener{config: c, yield: yield, conns: map[net.Conn]netip.Addr{}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if err := l.open(); err != nil {
		l.Close()
		return nil, fmt.Errorf("listen for syslog: %w", err)
	}
	if l.udp != nil {
		l.done.Go(l.datagrams)
	}
	for _, s := range [...]net.Listener{l.tcp, l.tls} {
		if s != nil {
			l.done.Go(func() { l.accept(s) })
		}
	}
	return l, nil
}

func orDefault(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return n
}

func (l *Listener) open() (err error) {
	if l.config.UDP != "" {
		at, err := net.ResolveUDPAddr("udp", l.config.UDP)
		if err != nil {
			return err
		}
		if l.udp, err = net.ListenUDP("udp", at); err != nil {
			return err
		}
	}
	if l.config.TCP != "" {
		if l.tcp, err = net.Listen("tcp", l.config.TCP); err != nil {
			return err
		}
	}
	if l.config.TLS != "" {
		if l.tls, err = net.Listen("tcp", l.config.TLS); err != nil {
			return err
		}
	}
	return nil
}

// Addrs are the addresses in use, nil where nothing listens.
func (l *Listener) Addrs() (udp, tcp, tls net.Addr) {
	if l.udp != nil {
		udp = l.udp.LocalAddr()
	}
	if l.tcp != nil {
		tcp = l.tcp.Addr()
	}
	if l.tls != nil {
		tls = l.tls.Addr()
	}
	return udp, tcp, tls
}

// Stats returns the counters.
func (l *Listener) Stats() Stats {
	return Stats{Messages: l.messages.Load(), Cut: l.cut.Load(), Refused: l.refused.Load(), Limited: l.limited.Load(), Broken: l.broken.Load()}
}

// Close ends everything and waits for it. No message is given after it.
func (l *Listener) Close() {
	l.cancel()
	if l.udp != nil {
		_ = l.udp.Close()
	}
	for _, s := range [...]net.Listener{l.tcp, l.tls} {
		if s != nil {
			_ = s.Close()
		}
	}
	l.mu.Lock()
	for c := range l.conns {
		_ = c.Close()
	}
	l.mu.Unlock()
	l.done.Wait()
}

func (l *Listener) give(m Message) {
	l.messages.Add(1)
	if m.Cut {
		l.cut.Add(1)
	}
	l.one.Lock()
	defer l.one.Unlock()
	if l.ctx.Err() == nil {
		l.yield(m)
	}
}

func (l *Listener) allowed(a netip.Addr) bool {
	if len(l.config.Allow) == 0 {
		return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast()
	}
	return slices.ContainsFunc(l.config.Allow, func(p netip.Prefix) bool { return p.Contains(a) })
}

// datagrams receives over UDP: a message each.
func (l *Listener) datagrams() {
	buffer := make([]byte, logs.LineMax)
	rates := map[netip.Addr]*bucket{}
	shared := newBucket(l.config.RateMax)
	for {
		n, from, err := l.udp.ReadFromUDPAddrPort(buffer)
		if l.ctx.Err() != nil {
			return
		}
		addr := from.Addr().Unmap().WithZone("")
		switch {
		case err != nil: // such as an ICMP refusal of something sent before; of no meaning here
			l.pause(backoff)
			continue
		case !l.allowed(addr):
			l.refused.Add(1)
			continue
		}
		rate := rates[addr]
		if rate == nil {
			rate = shared
			if len(rates) < sourcesMax {
				rate = newBucket(l.config.RateMax)
				rates[addr] = rate
			}
		}
		if rate.take(time.Now()) > 0 {
			l.limited.Add(1)
			continue
		}
		if text := bytes.TrimRight(buffer[:n], "\r\n\x00"); len(text) > 0 {
			l.give(Message{Text: text, From: addr})
		}
	}
}

// accept takes connections.
func (l *Listener) accept(s net.Listener) {
	for {
		c, err := s.Accept()
		if l.ctx.Err() != nil {
			if err == nil {
				_ = c.Close()
			}
			return
		}
		if err != nil {
			l.pause(backoff)
			continue
		}
		from, ok := l.enter(c)
		if !ok {
			l.refused.Add(1)
			_ = c.Close()
			continue
		}
		l.done.Go(func() {
			defer l.leave(c)
			if err := l.serve(c, from, s == l.tls); err != nil && l.ctx.Err() == nil {
				l.broken.Add(1)
			}
		})
	}
}

// enter counts a connection in, if it may be.
func (l *Listener) enter(c net.Conn) (netip.Addr, bool) {
	at, err := netip.ParseAddrPort(c.RemoteAddr().String())
	from := at.Addr().Unmap().WithZone("")
	if err != nil || !l.allowed(from) {
		return from, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	same := 0
	for _, other := range l.conns {
		if other == from {
			same++
		}
	}
	if l.ctx.Err() != nil || len(l.conns) >= l.config.ConnectionsMax || same >= l.config.PerAddressMax {
		return from, false
	}
	l.conns[c] = from
	return from, true
}

func (l *Listener) leave(c net.Conn) {
	_ = c.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// serve reads one connection to its end.
func (l *Listener) serve(c net.Conn, from netip.Addr, secure bool) error {
	if secure {
		t := tls.Server(c, l.config.Certificates)
		ctx, cancel := context.WithTimeout(l.ctx, handshakeMax)
		defer cancel()
		if err := t.HandshakeContext(ctx); err != nil {
			return err
		}
		c = t
	}
	rate := newBucket(l.config.RateMax)
	r := bufio.NewReaderSize(c, logs.LineMax)
	for {
		if err := c.SetReadDeadline(time.Now().Add(idleMax)); err != nil {
			return err
		}
		text, cut, err := frame(r)
		if text = bytes.TrimRight(text, "\r\n\x00"); len(text) > 0 {
			for wait := rate.take(time.Now()); wait > 0 && l.ctx.Err() == nil; wait = rate.take(time.Now()) {
				l.pause(wait)
			}
			l.give(Message{Text: text, Cut: cut, From: from})
		}
		if errors.Is(err, errEnd) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// pause waits, or until all ends.
func (l *Listener) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.ctx.Done():
	}
}

// A bucket lets through so many a second, and as many at once.
type bucket struct {
	each time.Duration // for one message
	most time.Duration
	free time.Time // when all that was taken is paid for
}

func newBucket(rate int) *bucket {
	return &bucket{each: time.Second / time.Duration(rate), most: time.Second}
}

// take takes one, and says how long to wait until it is there. One that has to
// wait and does not is not taken.
func (b *bucket) take(now time.Time) time.Duration {
	if b.free.Before(now) {
		b.free = now
	}
	if wait := b.free.Add(b.each).Sub(now) - b.most; wait > 0 {
		return wait
	}
	b.free = b.free.Add(b.each)
	return 0
}
