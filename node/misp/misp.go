// Package misp shares with MISP: Client pulls from its REST API and from feeds and
// pushes events and sightings, Handler serves a feed directory. How events look is
// package intel/misp's to know. Nothing here stores, retries or decides what may
// leave: a bridge does, with what the contracts here give it.
//
// Facts about MISP that shape this package are in DESIGN.md.
package misp

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/watchward/watchward/node/intel"
)

// Limits of one request.
const (
	TimeoutDefault = 2 * time.Minute // until an answer begins, and between its parts
	requestMax     = 30 * time.Minute
	listBytesMax   = 256 << 20 // of a list or a manifest, unpacked
	eventsBytesMax = 512 << 20 // of a batch of events
	fileBytesMax   = 64 << 20  // of an event's file, which is held to be checked
	hashesBytesMax = 2 << 30
	saidMax        = 4 << 10 // of an error's text
	waitMax        = 24 * time.Hour
	headerBytesMax = 64 << 10
	dialMax        = 15 * time.Second
)

// Config says where a MISP server or a feed is.
type Config struct {
	// URL is the server's, or that of the feed's directory.
	URL string
	// Key is sent as the header Authorization: a key of MISP, or for a feed whatever
	// it wants ("Basic …"). "" = none.
	Key string
	// Plain allows a key over http, in a network of one's own.
	Plain bool
	// Unpublished takes what nobody has published too, by the time of its change.
	// An event that reaches the server late is then missed: see DESIGN.md.
	Unpublished bool
	// Agent is the User-Agent.
	Agent string
	// Timeout is until an answer begins, and between its parts; 0 = TimeoutDefault.
	Timeout time.Duration
	// Limit paces the requests; nil = no limit.
	Limit *rate.Limiter
	// Transport makes the requests; nil = a plain one. A redirect is never followed.
	Transport http.RoundTripper
	// Now is the clock; nil = time.Now.
	Now func() time.Time
}

// A Client calls one server or feed. It is safe for concurrent use, but a Position
// has one pull at a time.
type Client struct {
	c    Config
	base string
	http *http.Client

	listMax, fileMax int64 // listBytesMax and fileBytesMax, which tests make smaller
}

// New checks c and returns a client. It does not connect.
func New(c Config) (*Client, error) {
	u, err := url.Parse(strings.TrimRight(c.URL, "/"))
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the url is no address of a MISP server or feed: write it as https://HOST or https://HOST/PATH")
	case u.Scheme == "http" && c.Key != "" && !c.Plain:
		return nil, errors.New("a key would go over http, where anyone on the way reads it: use https")
	case strings.ContainsFunc(c.Key, func(r rune) bool { return r < ' ' || r > '~' }):
		return nil, errors.New("the key has a character that no key has: copy it again, without a line break")
	}
	if c.Timeout == 0 {
		c.Timeout = TimeoutDefault
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Transport == nil {
		c.Transport = &http.Transport{
			DialContext:         (&net.Dialer{Timeout: dialMax}).DialContext,
			TLSHandshakeTimeout: dialMax, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute,
			MaxResponseHeaderBytes: headerBytesMax, ForceAttemptHTTP2: true,
		}
	}
	return &Client{c: c, base: u.String() + "/", listMax: listBytesMax, fileMax: fileBytesMax, http: &http.Client{
		Transport:     c.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the key is for this host
	}}, nil
}

// An Error is an answer that says no.
type Error struct {
	Status int
	// Said is what the server says, fit to be shown, without the key.
	Said string
	// RetryAfter is how long it asks to wait, 0 if it does not, at most a day.
	RetryAfter time.Duration
}

// Error names what the status means, and the fix.
func (e *Error) Error() string {
	text := fmt.Sprintf("it answered %d %s", e.Status, http.StatusText(e.Status))
	if e.Said != "" {
		text += ": " + e.Said
	}
	switch {
	case e.Status/100 == 3:
		return text + " (redirects are not followed, since the key is for this host: set the url to where it leads)"
	case e.Status == http.StatusUnauthorized:
		return text + " (make a key in MISP under My Profile, Auth keys, and set it here)"
	case e.Status == http.StatusForbidden:
		return text + " (the key is refused, or its role may not do this: see the user's role in MISP)"
	case e.Status == http.StatusNotFound:
		return text + " (is the url that of the server or of the feed's directory?)"
	case e.RetryAfter > 0:
		return text + " (it asks to wait " + e.RetryAfter.String() + ")"
	}
	return text
}

// Temporary reports whether the same request may do better later.
func (e *Error) Temporary() bool {
	return e.Status == http.StatusRequestTimeout || e.Status == http.StatusTooManyRequests || e.Status >= 500
}

// A contentError says that an answer came and is not what was asked for.
type contentError struct{ error }

func (e contentError) Unwrap() error { return e.error }

// post sends a request of MISP's API.
func (c *Client) post(ctx context.Context, path string, request any, bytesMax int64) (*answer, error) {
	text, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	// Without Content-Type MISP ignores every filter and sends all it has.
	return c.do(ctx, http.MethodPost, path, text, http.Header{"Content-Type": {"application/json"}}, bytesMax)
}

// do sends a request. Its answer is 200, or 304 where header has a condition, and
// is for the caller to close.
func (c *Client) do(ctx context.Context, method, path string, text []byte, header http.Header, bytesMax int64) (*answer, error) {
	if c.c.Limit != nil {
		if err := c.c.Limit.Wait(ctx); err != nil {
			return nil, err
		}
	}
	ctx, stop := context.WithTimeout(ctx, requestMax)
	ctx, cancel := context.WithCancelCause(ctx)
	alive := time.AfterFunc(c.c.Timeout, func() {
		cancel(fmt.Errorf("nothing came for %s: the server is slow or stuck", c.c.Timeout))
	})
	a := &answer{ctx: ctx, alive: alive, timeout: c.c.Timeout, left: bytesMax, release: func() { alive.Stop(); cancel(nil); stop() }}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(text))
	if err != nil {
		a.release()
		return nil, err
	}
	r.Header = header.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Set("Accept", "application/json")
	if c.c.Agent != "" {
		r.Header.Set("User-Agent", c.c.Agent)
	}
	if c.c.Key != "" {
		r.Header.Set("Authorization", c.c.Key)
	}
	response, err := c.http.Do(r)
	alive.Stop()
	if err != nil {
		err = a.why(err)
		a.release()
		return nil, err
	}
	a.Response = response
	status := response.StatusCode
	if status == http.StatusOK || status == http.StatusNotModified && conditional(header) {
		if kind := response.Header.Get("Content-Type"); strings.HasPrefix(kind, "text/html") {
			a.Close()
			return nil, contentError{errors.New("it answered with a web page: is the url that of the server or feed, and does no proxy ask for a login?")}
		}
		return a, nil
	}
	defer a.Close()
	return nil, c.refused(a)
}

func conditional(h http.Header) bool {
	return h.Get("If-None-Match") != "" || h.Get("If-Modified-Since") != ""
}

// refused makes the error of an answer that is none.
func (c *Client) refused(a *answer) error {
	e := &Error{Status: a.StatusCode, RetryAfter: retryAfter(a.Response.Header.Get("Retry-After"), c.c.Now())}
	if e.Status/100 == 3 {
		if u, err := a.Location(); err == nil {
			e.Said = c.show(u.Redacted())
		}
		return e
	}
	raw, _ := io.ReadAll(io.LimitReader(a, saidMax))
	var said struct {
		Message, Name string
		Errors        json.RawMessage
	}
	if json.Unmarshal(raw, &said) == nil && said.Message+said.Name != "" {
		e.Said = strings.TrimSpace(cmp.Or(said.Message, said.Name) + " " + string(said.Errors))
	} else if !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("<")) {
		e.Said = string(raw)
	}
	e.Said = c.show(e.Said)
	return e
}

// show makes what a server says fit to be shown; it may say the key back.
func (c *Client) show(said string) string {
	if c.c.Key != "" {
		said = strings.ReplaceAll(said, c.c.Key, "…")
	}
	return intel.Show(said)
}

// retryAfter reads the header (RFC 9110, 10.2.3): seconds, or a date.
func retryAfter(text string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if at, err := http.ParseTime(text); err == nil {
		wait = at.Sub(now)
	} else if s, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32); err == nil {
		wait = time.Duration(s) * time.Second
	}
	return min(max(wait, 0), waitMax)
}

// An answer is a response whose body is bounded, and must not stop in the middle.
type answer struct {
	*http.Response
	ctx     context.Context // of the request
	alive   *time.Timer
	timeout time.Duration
	left    int64
	failed  error // of the connection
	release func()
}

var errTooLong = errors.New("the answer is too long")

// Read implements io.Reader.
func (a *answer) Read(p []byte) (int, error) {
	if a.left < 0 {
		return 0, errTooLong
	}
	a.alive.Reset(a.timeout)
	n, err := a.Body.Read(p[:min(int64(len(p)), a.left+1)])
	a.alive.Stop() // what the reader does with it may take its time
	if a.left -= int64(n); a.left < 0 {
		return 0, errTooLong
	}
	if err != nil && !errors.Is(err, io.EOF) {
		a.failed = a.why(err)
		err = a.failed
	}
	return n, err
}

// why is the cause of an error of the connection: the url may have a name in it
// that says nothing, and the context knows better.
func (a *answer) why(err error) error {
	if cause := context.Cause(a.ctx); cause != nil {
		return cause
	}
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}

// Close ends the request.
func (a *answer) Close() {
	_ = a.Body.Close()
	a.release()
}

// content is what an error of reading the answer means: a connection that broke, or
// else content that will be no better next time.
func (a *answer) content(err error) error {
	if err == nil || a.failed != nil {
		return err
	}
	return contentError{err}
}
