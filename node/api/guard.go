package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/notice"
)

// bodyRoomMax is how much room is made for a body before it comes, in bytes.
const bodyRoomMax = 1 << 20

// methods are what a 405 tries in order to say what is allowed.
var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// guard is in front of every route. It decides who may pass and reads bodies
// within their bound; behind it a request has a caller and a complete body.
type guard struct {
	s        *Server
	origin   *http.CrossOriginProtection
	bodies   chan struct{} // a place for each body in memory
	denials  rate.Sometimes
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight sync.WaitGroup

	mu    sync.RWMutex // guards hosts
	hosts map[string]bool
}

// caller is who a request is from.
type caller struct {
	name    string
	role    token.Role
	ceiling notice.TLP
}

type callerKey struct{}
type bodyKey struct{}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller) // without one, the zero role may do nothing
	return c
}

func bodyOf(ctx context.Context) []byte {
	b, _ := ctx.Value(bodyKey{}).([]byte)
	return b
}

func newGuard(s *Server) (*guard, error) {
	g := &guard{
		s: s, origin: http.NewCrossOriginProtection(), bodies: make(chan struct{}, bodiesMax),
		denials: rate.Sometimes{First: 20, Interval: time.Second},
		hosts:   map[string]bool{"localhost": true},
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "watchward_http_requests_total", Help: "Requests answered by the API.",
		}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "watchward_http_request_seconds", Help: "Time to answer a request, streams apart.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2, 10, 60},
		}, []string{"route"}),
	}
	for _, h := range s.c.Hosts {
		g.allowHost(h)
	}
	if r := s.c.Registerer; r != nil {
		for _, c := range []prometheus.Collector{g.requests, g.seconds} {
			if err := r.Register(c); err != nil {
				return nil, fmt.Errorf("api: register metrics: %w", err)
			}
		}
	}
	return g, nil
}

func (g *guard) allowHost(host string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if host = canonicalHost(host); host != "" {
		g.hosts[host] = true
	}
}

// wait returns when no request is being handled.
func (g *guard) wait() { g.inFlight.Wait() }

func (g *guard) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	g.inFlight.Add(1)
	defer g.inFlight.Done()
	start := time.Now()
	w := &recorder{ResponseWriter: rw}
	name := "none" // the pattern, never the path: paths hold values
	defer func() {
		if v := recover(); v != nil {
			g.recovered(w, name, v)
		}
		g.requests.WithLabelValues(name, strconv.Itoa(w.code())).Inc()
		if rt := g.s.routes[name]; !rt.stream {
			g.seconds.WithLabelValues(name).Observe(time.Since(start).Seconds())
		}
		g.s.log.Debug("request", "method", r.Method, "route", name, "status", w.code(),
			"remote", r.RemoteAddr, "ms", time.Since(start).Milliseconds())
	}()
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")

	if p := g.checkOrigin(r); p != nil {
		g.deny(w, r, p, name)
		return
	}
	if g.s.feeds != nil && isFeedPath(r.URL.Path) {
		name = "feed"
		g.s.feeds.ServeHTTP(w, r)
		return
	}
	if h, route := g.s.exchange.handles(r.URL.Path); h != nil {
		name = route
		g.s.exchange.serve(w, r, h)
		return
	}
	pattern, p := g.match(r)
	if p != nil {
		refuse(w, r, p)
		return
	}
	name = pattern
	rt := g.s.routes[pattern]
	r, p = g.authenticate(r, rt)
	if p != nil {
		g.deny(w, r, p, name)
		return
	}
	g.handle(w, r, rt)
}

// handle reads the body, sets the time limit and hands over to the route.
func (g *guard) handle(w *recorder, r *http.Request, rt route) {
	if rt.stream {
		g.s.mux.ServeHTTP(w, r)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), g.s.c.Limits.Answer)
	defer cancel()
	r = r.WithContext(ctx)
	if rt.body {
		select {
		case g.bodies <- struct{}{}:
			defer func() { <-g.bodies }()
		case <-ctx.Done():
			problem(503, "busy", "Too busy", "too many large requests at once", "try again in a moment").with("Retry-After", "1").write(w)
			return
		}
		body, p := g.readBody(w, r)
		if p != nil {
			refuse(w, r, p)
			return
		}
		r = r.WithContext(context.WithValue(ctx, bodyKey{}, body))
	}
	g.s.mux.ServeHTTP(w, r)
}

// checkOrigin refuses requests for a host that is not ours, and requests that a
// browser sends for another site.
func (g *guard) checkOrigin(r *http.Request) *Problem {
	if local, _ := r.Context().Value(localKey{}).(bool); local {
		return nil // no name was resolved to get here, and no browser can
	}
	if !g.knownHost(r.Host) {
		return problem(http.StatusMisdirectedRequest, "wrong-host", "Not a host of this node",
			"the request is for the host "+strconv.Quote(shorten(r.Host)),
			"ask by an IP address or localhost, or add the name to [api] hosts").at("header.Host", r.Host)
	}
	if err := g.origin.Check(r); err != nil {
		return problem(http.StatusForbidden, "cross-origin", "A web page of another site",
			"a browser sent this request on behalf of another site", "use the API from programs, or from a page of this node")
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
		return problem(http.StatusForbidden, "cross-origin", "A web page of another site",
			"a browser sent this request on behalf of another site", "use the API from programs, or from a page of this node")
	}
	return nil
}

// knownHost takes IP addresses: rebinding needs a name that an attacker owns.
func (g *guard) knownHost(host string) bool {
	host = canonicalHost(host)
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.hosts[host]
}

// match returns the pattern of the route, which is in the table of routes.
func (g *guard) match(r *http.Request) (string, *Problem) {
	_, pattern := g.s.mux.Handler(r)
	if _, ok := g.s.routes[pattern]; ok {
		return pattern, nil
	}
	var allowed []string
	for _, m := range methods {
		other := &http.Request{Method: m, URL: r.URL, Host: r.Host}
		if _, pattern := g.s.mux.Handler(other); pattern != "" {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) == 0 || slices.Contains(allowed, r.Method) {
		return "", problem(http.StatusNotFound, "no-such-path", "No such path", "nothing is served at this path", "see /openapi.json for what is")
	}
	list := strings.Join(allowed, ", ")
	return "", problem(http.StatusMethodNotAllowed, "wrong-method", "Method not allowed",
		shorten(r.Method)+" is not for this path", "use "+list).with("Allow", list)
}

// authenticate finds out who asks and whether that is enough for the route.
func (g *guard) authenticate(r *http.Request, rt route) (*http.Request, *Problem) {
	if rt.open {
		return r, nil
	}
	who, p := g.identify(r)
	if p != nil {
		return r, p
	}
	if who.role < rt.need {
		return r, problem(http.StatusForbidden, "weak-token", "The token's role is too weak",
			fmt.Sprintf("the token %q is a %s; this needs the role %s", who.name, who.role, rt.need),
			"make one: watchward token create NAME --role "+rt.need.String()).
			with("WWW-Authenticate", `Bearer realm="watchward", error="insufficient_scope", scope="`+rt.need.String()+`"`)
	}
	if who.ceiling < rt.ceiling {
		return r, problem(http.StatusForbidden, "low-ceiling", "The token's ceiling is too low",
			fmt.Sprintf("the token %q sees up to %s; this shows numbers of all markings and needs %s", who.name, who.ceiling, rt.ceiling),
			"make one: watchward token create NAME --ceiling "+rt.ceiling.String())
	}
	return r.WithContext(context.WithValue(r.Context(), callerKey{}, who)), nil
}

func (g *guard) identify(r *http.Request) (caller, *Problem) {
	headers := r.Header.Values("Authorization")
	local, _ := r.Context().Value(localKey{}).(bool)
	switch {
	case len(headers) > 1:
		return caller{}, problem(http.StatusBadRequest, "bad-authorization", "Two Authorization headers",
			"the request has more than one Authorization header", "send one").at("header.Authorization", "")
	case len(headers) == 0 && local:
		return caller{name: "socket", role: token.Admin, ceiling: notice.TLPRed}, nil
	case len(headers) == 0:
		return caller{}, unauthorized("no-token", "a token is missing", "send Authorization: Bearer wwt_…; make one: watchward token create NAME --role reader", "")
	}
	scheme, secret, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return caller{}, unauthorized("no-token", "the Authorization header holds no bearer token", "send Authorization: Bearer wwt_…", "invalid_request")
	}
	t, err := g.s.c.Tokens.Check(strings.TrimSpace(secret))
	switch {
	case err == nil:
		return caller{name: t.Name, role: t.Role, ceiling: t.Ceiling}, nil
	case errors.Is(err, token.ErrMistyped):
		return caller{}, unauthorized("mistyped-token", err.Error(), "copy it again: wwt_ and 56 letters and digits", "invalid_token")
	case errors.Is(err, token.ErrUnknown), errors.Is(err, token.ErrExpired):
		return caller{}, unauthorized("bad-token", err.Error(), "make a new one: watchward token create NAME --role reader", "invalid_token")
	}
	g.s.log.Error("cannot check tokens", "err", err)
	return caller{}, problem(http.StatusServiceUnavailable, "no-tokens", "Tokens cannot be checked", "the node cannot read its tokens", "the node's log says why")
}

func unauthorized(word, detail, fix, challenge string) *Problem {
	value := `Bearer realm="watchward"`
	if challenge != "" {
		value += `, error="` + challenge + `"`
	}
	return problem(http.StatusUnauthorized, word, "Not authorised", detail, fix).
		at("header.Authorization", "").with("WWW-Authenticate", value)
}

// readBody reads the whole body within the limit.
func (g *guard) readBody(w http.ResponseWriter, r *http.Request) ([]byte, *Problem) {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := params["charset"]
	if err != nil || media != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") || r.Header.Get("Content-Encoding") != "" {
		return nil, problem(http.StatusUnsupportedMediaType, "wrong-content-type", "Not JSON",
			"the body must be plain JSON in UTF-8", "send Content-Type: application/json and no Content-Encoding").
			at("header.Content-Type", r.Header.Get("Content-Type"))
	}
	limit := g.s.c.BodyMax
	tooLarge := problem(http.StatusRequestEntityTooLarge, "body-too-large", "Body too large",
		fmt.Sprintf("the body is larger than %d bytes", limit), "send it in several requests, or raise [api] body_max").at("body", "")
	if r.ContentLength > limit {
		return nil, tooLarge
	}
	var buffer bytes.Buffer
	if r.ContentLength > 0 { // what is said to come, up to a bound, so that a lie costs little
		buffer.Grow(int(min(r.ContentLength, bodyRoomMax)) + bytes.MinRead)
	}
	_, err = buffer.ReadFrom(http.MaxBytesReader(w, r.Body, limit))
	body := buffer.Bytes()
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge
	case err != nil:
		return nil, problem(http.StatusBadRequest, "cut-off", "The body is cut off",
			"the connection broke or was too slow while the body was read", "send it again").at("body", "")
	case len(body) == 0:
		return nil, problem(http.StatusBadRequest, "no-body", "No body", "the request has no body", "send a JSON object").at("body", "")
	}
	return body, nil
}

// deny answers and leaves a trace in the log; under attack only some of them.
func (g *guard) deny(w http.ResponseWriter, r *http.Request, p *Problem, route string) {
	g.denied(r, p, route)
	refuse(w, r, p)
}

func (g *guard) denied(r *http.Request, p *Problem, route string) {
	g.denials.Do(func() {
		g.s.log.LogAttrs(r.Context(), slog.LevelWarn, "request denied", slog.String("route", route),
			slog.Int("status", p.Status), slog.String("reason", p.Word()), slog.String("remote", r.RemoteAddr))
	})
}

// refuse answers a request whose body was not read. Closing a connection with
// unread bytes resets it, and a client that is still writing would lose the
// answer; so what comes anyway is read and thrown away, up to a bound.
func refuse(w http.ResponseWriter, r *http.Request, p *Problem) {
	p.write(w)
	if r.ContentLength == 0 {
		return
	}
	_ = http.NewResponseController(w).Flush()
	// The reader tells net/http's own writer, and no other, when there is more than
	// the bound. Only then is the connection left open for a moment also where the
	// client has said Connection: close.
	if own, ok := w.(*recorder); ok {
		w = own.ResponseWriter
	}
	_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, drainBytesMax))
}

// recovered answers 500 if nothing was sent yet. The stack goes to the log only.
func (g *guard) recovered(w *recorder, route string, v any) {
	if v == http.ErrAbortHandler {
		panic(v)
	}
	g.s.log.Error("request panicked", "route", route, "panic", shorten(fmt.Sprint(v)), "stack", string(debug.Stack()))
	if w.status.Load() != 0 {
		panic(http.ErrAbortHandler) // the answer is broken: cut it off so the client can tell
	}
	internalProblem().write(w)
}

// recorder remembers the status for the log.
type recorder struct {
	http.ResponseWriter
	status atomic.Int32
}

func (w *recorder) WriteHeader(status int) {
	if status >= 200 {
		w.status.CompareAndSwap(0, int32(status))
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	w.status.CompareAndSwap(0, http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach deadlines and flushing.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *recorder) code() int {
	if c := w.status.Load(); c != 0 {
		return int(c)
	}
	return http.StatusOK
}
