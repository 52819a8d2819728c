// Package api is everything HTTP of a node: the query API with its OpenAPI
// description, the live stream, bearer tokens, health and metrics.
//
// Security rests on few rules, kept in one place each (guard.go):
//   - A route without a row in the table of routes cannot be reached, and every
//     row states the role it needs.
//   - The listener is loopback unless configured. A request must name a host we
//     answer to, so a web page cannot reach us by rebinding a name; a browser's
//     request from another site is refused whatever its method allows.
//   - A bearer token has a role (reader < reporter < admin) and a ceiling; what
//     is marked above the ceiling does not exist for its holder.
//   - Whoever can open the Unix socket is admin: the file's mode (0660) and its
//     directory decide, as with other local daemons. A token sent along still
//     counts and may lower the rights.
//   - Every body, header, wait, stream and connection has a bound; JSON is read
//     strictly (json.go).
//
// Errors are RFC 9457 problem details with the field and the fix. The request
// log (debug) has method, route, status and times, never bodies or queries.
package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchward/watchward/node/api/token"
)

// Bounds of the server. They hold per listener where that matters.
const (
	BodyBytesDefault = 8 << 20
	connectionsMax   = 1024
	bodiesMax        = 32       // bodies held in memory at once; more wait
	headerBytesMax   = 64 << 10 // a parameter may have 4,096 characters of 12 bytes each
	drainBytesMax    = 16 << 20 // read of a refused body, see refuse

	headerReadDefault  = 5 * time.Second
	bodyReadDefault    = 30 * time.Second
	answerDefault      = 60 * time.Second // a request and its answer, streams apart
	idleDefault        = 2 * time.Minute
	closeMax           = 5 * time.Second
	heartbeatDefault   = 15 * time.Second
	streamWriteDefault = 10 * time.Second
)

// Config configures a Server. Node and Tokens are required, and Listen or
// Socket; every other zero value is a safe default.
type Config struct {
	Node    Node
	Tokens  *token.Tokens
	Listen  string   // TCP address; port 0 picks a free one; "" = none
	Socket  string   // path of a Unix socket; "" = none
	Hosts   []string // further host names that requests may be for
	TLSCert string   // PEM files, read again when they change; "" = plain HTTP
	TLSKey  string
	BodyMax int64  // bytes of a request body; 0 = BodyBytesDefault
	Version string // for OpenAPI
	Name    string // of the hospital, which exports name as their source

	Feeds       Feeds  // what enforcement points fetch; nil = nothing
	FeedsListen string // TCP address where these alone are served too; "" = none
	FeedsCert   string // PEM files as TLSCert and TLSKey; "" = plain HTTP
	FeedsKey    string

	Exchange Exchange // what other programs fetch; nil = nothing
	TAXII    bool     // it is served as TAXII
	MISP     bool     // … and as a feed of MISP

	Registerer    prometheus.Registerer // where the server counts; nil = nowhere
	Gatherer      prometheus.Gatherer   // what /metrics shows; nil = nothing
	MetricsPublic bool                  // /metrics needs no token
	LedgerPublic  bool                  // the ledger's tiles and checkpoints need no token

	Limits Limits
	Log    *slog.Logger // nil = nowhere
}

// Limits are the server's waits. Zero values are the defaults.
type Limits struct {
	HeaderRead  time.Duration // 5 s until the request's header is complete
	BodyRead    time.Duration // 30 s until the request is complete
	Answer      time.Duration // 60 s until the answer is complete, streams apart
	Idle        time.Duration // 2 min between requests of a connection
	Heartbeat   time.Duration // 15 s between signs of life on a stream
	StreamWrite time.Duration // 10 s until a stream's client takes what is written
}

// Server serves the API on its listeners.
type Server struct {
	c         Config
	log       *slog.Logger
	mux       *http.ServeMux
	huma      huma.API
	routes    map[string]route // by mux pattern
	guard     *guard
	feeds     *feedServer // nil = there are none
	exchange  *exchange
	streams   chan struct{}      // a place for each open stream
	bundles   chan struct{}      // a place for each bundle that is written or read
	documents chan struct{}      // and for each document that is put
	stopping  chan struct{}      // closed when Close begins: streams end
	base      context.Context    // of every request
	cancel    context.CancelFunc // ends base when Close runs out of patience
	openapi   []byte

	mu        sync.Mutex // guards what follows
	started   bool
	closed    bool
	listeners []net.Listener
	servers   []*http.Server
	feedsAddr string
	done      sync.WaitGroup // one a Serve
}

// New checks the configuration and builds the routes. Start listens.
func New(c Config) (*Server, error) {
	if c.Node == nil || c.Tokens == nil {
		return nil, errors.New("api: Node and Tokens are required")
	}
	if c.Listen == "" && c.Socket == "" {
		return nil, errors.New("api: nothing to listen on: set [api] listen or [api] socket")
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return nil, errors.New("api: [api] tls_cert and tls_key come together")
	}
	c.defaults()
	s := &Server{
		c: c, log: c.Log, mux: http.NewServeMux(), routes: map[string]route{},
		streams: make(chan struct{}, streamsMax), bundles: make(chan struct{}, bundlesMax), documents: make(chan struct{}, documentsMax), stopping: make(chan struct{}),
	}
	if c.Feeds != nil {
		s.feeds = newFeedServer(&c)
	}
	s.base, s.cancel = context.WithCancel(context.Background())
	s.huma = humago.New(s.mux, humaConfig(c.Version))
	s.register()
	if err := s.describe(); err != nil {
		return nil, err
	}
	g, err := newGuard(s)
	if err != nil {
		return nil, err
	}
	s.guard = g
	s.exchange, err = newExchange(s)
	return s, err
}

func (c *Config) defaults() {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.BodyMax == 0 {
		c.BodyMax = BodyBytesDefault
	}
	l := &c.Limits
	for _, d := range []struct {
		at    *time.Duration
		value time.Duration
	}{
		{&l.HeaderRead, headerReadDefault}, {&l.BodyRead, bodyReadDefault}, {&l.Answer, answerDefault},
		{&l.Idle, idleDefault}, {&l.Heartbeat, heartbeatDefault}, {&l.StreamWrite, streamWriteDefault},
	} {
		if *d.at == 0 {
			*d.at = d.value
		}
	}
}

// Start binds every listener and serves. Addr and URL hold from then on.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.closed {
		return errors.New("api: Start was called before")
	}
	s.started = true
	if s.c.Listen != "" {
		l, err := s.listenTCP()
		if err != nil {
			return err
		}
		s.serve(l, false, s.guard)
	}
	if s.c.FeedsListen != "" && s.feeds != nil {
		l, err := s.listenFeeds()
		if err != nil {
			s.mu.Unlock()
			err = errors.Join(err, s.Close())
			s.mu.Lock()
			return err
		}
		s.feedsAddr = l.Addr().String()
		s.serve(l, false, s.feeds)
	}
	if s.c.Socket != "" {
		l, err := listenUnix(s.c.Socket)
		if err != nil {
			s.mu.Unlock()
			err = errors.Join(err, s.Close())
			s.mu.Lock()
			return err
		}
		s.serve(limit(l, connectionsMax), true, s.guard)
	}
	return nil
}

func (s *Server) listenTCP() (net.Listener, error) {
	l, err := net.Listen("tcp", s.c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for the API on %s: %w: choose another [api] listen", s.c.Listen, err)
	}
	s.guard.allowHost(s.c.Listen)
	return s.secured(l, s.c.TLSCert, s.c.TLSKey)
}

// listenFeeds binds the listener of what enforcement points fetch. Names do not matter
// there: all that it answers needs a secret.
func (s *Server) listenFeeds() (net.Listener, error) {
	l, err := net.Listen("tcp", s.c.FeedsListen)
	if err != nil {
		return nil, fmt.Errorf("listen for feeds on %s: %w: choose another [feeds] listen", s.c.FeedsListen, err)
	}
	return s.secured(l, s.c.FeedsCert, s.c.FeedsKey)
}

// secured bounds a listener's connections and speaks TLS if there is a certificate.
func (s *Server) secured(l net.Listener, cert, key string) (net.Listener, error) {
	l = limit(l, connectionsMax) // below TLS: net/http must see *tls.Conn to speak HTTP/2
	if cert == "" {
		return l, nil
	}
	files, err := newCertFiles(cert, key, s.log)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: files.certificate, NextProtos: []string{"h2", "http/1.1"},
	}), nil
}

// listenUnix binds a Unix socket and takes over one that a dead daemon left.
func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("listen on %s: the file exists and is no socket: move it away or choose another [api] socket", path)
		}
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("listen on %s: another daemon answers there: stop it first", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen on %s: %w", path, err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w: choose a shorter or writable [api] socket", path, err)
	}
	// Owner and group. Between Listen and here the umask rules, which on every
	// sane system denies others to write and so to connect.
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s: %w", path, err), l.Close())
	}
	return l, nil
}

// localKey marks requests that came in by the Unix socket.
type localKey struct{}

// serve starts one listener. The caller holds mu.
func (s *Server) serve(l net.Listener, local bool, handler http.Handler) {
	h := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: s.c.Limits.HeaderRead,
		ReadTimeout:       s.c.Limits.BodyRead,
		WriteTimeout:      s.c.Limits.Answer,
		IdleTimeout:       s.c.Limits.Idle,
		MaxHeaderBytes:    headerBytesMax,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(s.base, localKey{}, local)
		},
	}
	s.listeners = append(s.listeners, l)
	s.servers = append(s.servers, h)
	s.done.Go(func() {
		if err := h.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("api listener stopped", "address", l.Addr().String(), "err", err)
		}
	})
}

// Addr returns the bound TCP address, or the socket's path if there is no TCP.
func (s *Server) Addr() net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.listeners) == 0 {
		return nil
	}
	return s.listeners[0].Addr()
}

// URL returns the base address for clients on this machine, "" without TCP. A
// listener on all addresses is named by loopback.
func (s *Server) URL() string {
	addr, ok := s.Addr().(*net.TCPAddr)
	if !ok {
		return ""
	}
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http"
	if s.c.TLSCert != "" {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, fmt.Sprint(addr.Port))
}

// Close ends the streams, lets requests finish for at most 5 s and waits for
// every goroutine.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	close(s.stopping)
	ctx, cancel := context.WithTimeout(context.Background(), closeMax)
	defer cancel()
	var errs []error
	for _, h := range s.servers {
		err := h.Shutdown(ctx)
		if errors.Is(err, context.DeadlineExceeded) { // who is not done by now loses its connection
			err = h.Close()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("close api: %w", err))
		}
	}
	s.cancel()
	s.done.Wait()
	s.guard.wait()
	return errors.Join(errs...)
}

// humaConfig leaves out what huma adds by default: a docs page from a CDN,
// schema links in every answer, and YAML.
func humaConfig(version string) huma.Config {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	c := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "Watchward", Version: version, Description: openAPIText},
			Components: &huma.Components{
				Schemas:         registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer"}},
			},
		},
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{asProblem},
	}
	c.RejectUnknownQueryParameters = true
	return c
}

const openAPIText = "One hospital's node. Send a token with every request: Authorization: Bearer wwt_… " +
	"(watchward token create). Each token has a role (reader, reporter, admin) and a ceiling; " +
	"what is marked above the ceiling does not exist for it. Errors are application/problem+json."

// canonicalHost cuts the port off a Host header or an address and lowers it.
func canonicalHost(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	return strings.ToLower(strings.TrimSuffix(s, "."))
}

// FeedsAddr returns where feeds alone are served, "" if nowhere.
func (s *Server) FeedsAddr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.feedsAddr
}
