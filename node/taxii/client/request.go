package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/watchward/watchward/node/intel"
)

// An Error says why the server did not do what it was asked.
type Error struct {
	URL    string // without the query
	Status int    // of HTTP; 0 = there was no answer, or none that is HTTP
	Reason string // what is wrong and what to do, in one line
	// Passing reports that the same request may work later.
	Passing bool
	// RetryAfter is how long the server wants to be left alone, at most RetryAfterMax;
	// 0 = it did not say.
	RetryAfter time.Duration

	tooLarge bool  // the answer
	unsent   bool  // the server did nothing with the request
	err      error // may be nil
}

func (e *Error) Error() string { return e.URL + ": " + e.Reason }

// Unwrap returns the cause, such as context.DeadlineExceeded, if there is one.
func (e *Error) Unwrap() error { return e.err }

// A request is one that can be made several times.
type request struct {
	method string
	url    *url.URL
	query  url.Values
	body   []byte
	max    int64 // bytes of the answer
	once   bool  // it is made again only if the server did nothing with it
}

// An answer is a successful one.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do makes a request, waits and makes it again where that may help. The error is an
// *Error, or that of ctx.
func (c *Client) do(ctx context.Context, r request) (*answer, error) {
	for try := 0; ; try++ {
		if err := c.rate.Wait(ctx); err != nil {
			return nil, stopped(ctx, err)
		}
		a, fault := c.hop(ctx, r)
		switch {
		case fault == nil:
			return a, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !fault.Passing || r.once && !fault.unsent || try+1 == TriesMax || fault.RetryAfter > WaitMax:
			return nil, fault
		}
		wait := Backoff(try + 1)
		if fault.RetryAfter > 0 {
			wait = fault.RetryAfter + rand.N(fault.RetryAfter/10+time.Second) // not all clients at once
		}
		if err := pause(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// stopped is ctx's error; a limiter words its own when the deadline is too near.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
}

// Backoff returns how long to wait after so many failures in a row (1, 2, …): 1 s, twice
// as long each time, up to WaitMax; less up to half of it by chance.
func Backoff(failures int) time.Duration {
	d := WaitMax
	if failures < 8 {
		d = min(d, time.Second<<max(0, failures-1))
	}
	return d - rand.N(d/2)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// hop makes one try, and follows redirects of a GET within the server.
func (c *Client) hop(ctx context.Context, r request) (*answer, *Error) {
	ctx, cancel := context.WithTimeout(ctx, c.c.Timeout)
	defer cancel()
	target := *r.url
	target.RawQuery = r.query.Encode()
	for hops := 0; ; hops++ {
		a, to, fault := c.once(ctx, r, &target)
		if to == nil || fault != nil {
			return a, fault
		}
		if hops == hopsMax {
			return nil, refusal(&target, a.status, fmt.Sprintf("it redirects more than %d times: set the url to where it leads", hopsMax))
		}
		target = *to
	}
}

var errClosed = errors.New("the connection was closed without an answer")

// sentOnce keeps net/http from sending a request again that was written, which it does
// by itself for a GET on a connection that turns out to be closed.
func sentOnce(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	var written atomic.Bool
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(w httptrace.WroteRequestInfo) {
			if w.Err == nil {
				written.Store(true)
			}
		},
		GetConn: func(string) {
			if written.Load() {
				cancel(errClosed)
			}
		},
	}), cancel
}

// once sends a request and reads the answer, or where it redirects to.
func (c *Client) once(ctx context.Context, r request, target *url.URL) (*answer, *url.URL, *Error) {
	if r.once {
		var cancel context.CancelCauseFunc
		ctx, cancel = sentOnce(ctx)
		defer cancel(nil)
	}
	q, err := http.NewRequestWithContext(ctx, r.method, target.String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, nil, refusal(target, 0, "it is no address: "+show(err.Error()))
	}
	q.Header.Set("Accept", MediaType)
	q.Header.Set("User-Agent", c.c.Agent)
	if r.body != nil {
		q.Header.Set("Content-Type", MediaType)
	}
	switch {
	case c.c.Token != "":
		q.Header.Set("Authorization", "Bearer "+c.c.Token)
	case c.c.User != "" || c.c.Password != "":
		q.SetBasicAuth(c.c.User, c.c.Password)
	}
	h, err := c.http.Do(q)
	if err != nil {
		return nil, nil, unreachable(target, err, c.c.Timeout)
	}
	defer h.Body.Close()
	if h.StatusCode/100 == 3 {
		to, fault := c.redirect(r, target, h)
		return &answer{status: h.StatusCode}, to, fault
	}
	if h.StatusCode/100 != 2 {
		return nil, nil, c.failed(target, h)
	}
	a, fault := c.read(target, h, r.max)
	return a, nil, fault
}

// unreachable says why there was no answer.
func unreachable(u *url.URL, err error, limit time.Duration) *Error {
	var own *url.Error
	if errors.As(err, &own) {
		err = own.Err // without the query
	}
	e := refusal(u, 0, "it cannot be reached: "+show(err.Error()))
	if errors.Is(err, context.DeadlineExceeded) {
		e.Reason = fmt.Sprintf("it did not answer within %v", limit)
	}
	e.Passing, e.err = true, err
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		e.Passing = false
		e.Reason = "it does not show who it is: " + show(cert.Err.Error()) + ": look at the url, and name the authority of its certificate if it is your own"
	}
	return e
}

// redirect says where an answer leads, if that is within the server.
func (c *Client) redirect(r request, from *url.URL, h *http.Response) (*url.URL, *Error) {
	to, inside := c.within(from, h.Header.Get("Location"))
	switch {
	case to == nil || h.Header.Get("Location") == "":
		return nil, refusal(from, h.StatusCode, fmt.Sprintf("it answered %d without a way to go on: set the url to where the server is", h.StatusCode))
	case !inside:
		return nil, refusal(from, h.StatusCode, fmt.Sprintf("it redirects to %s, and the credentials are for %s only: if that server is meant, set the url to it", show(to.Scheme+"://"+to.Host+to.Path), c.base.Host))
	case r.method != http.MethodGet:
		return nil, refusal(from, h.StatusCode, "it redirects what is posted to "+show(to.Path)+", where it would be lost: set the url so that it answers by itself")
	}
	return to, nil
}

// failed makes an error of an answer that is one.
func (c *Client) failed(u *url.URL, h *http.Response) *Error {
	body, _ := io.ReadAll(io.LimitReader(h.Body, 16<<10)) // the status says enough
	text := fmt.Sprintf("it answered %d %s", h.StatusCode, http.StatusText(h.StatusCode))
	if said := c.said(h.Header, body); said != "" {
		text += ": " + said
	}
	switch h.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		text += ": look at the credentials, and at what the server lets them do"
	case http.StatusNotFound:
		text += ": look at the url and the collection"
	case http.StatusNotAcceptable, http.StatusUnsupportedMediaType:
		text += ": it does not speak TAXII 2.1"
	}
	e := refusal(u, h.StatusCode, text)
	switch h.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		e.Passing, e.unsent, e.RetryAfter = true, true, retryAfter(h.Header, time.Now())
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		e.Passing, e.RetryAfter = true, retryAfter(h.Header, time.Now())
	}
	return e
}

// said is what an error body says.
func (c *Client) said(h http.Header, body []byte) string {
	if kind(h) != taxiiType && kind(h) != jsonType {
		return "" // a web page of a proxy
	}
	var e struct {
		Title       any `json:"title"`
		Description any `json:"description"`
	}
	if json.Unmarshal(body, &e) != nil {
		return ""
	}
	var parts []string
	for _, v := range []any{e.Title, e.Description} {
		if s, ok := v.(string); ok && s != "" {
			parts = append(parts, s)
		}
	}
	return c.hide(strings.Join(parts, ": "))
}

// hide makes a server's text fit to be shown, without the credentials if it echoes them.
func (c *Client) hide(text string) string {
	basic := ""
	if c.c.User != "" || c.c.Password != "" {
		basic = base64.StdEncoding.EncodeToString([]byte(c.c.User + ":" + c.c.Password))
	}
	for _, s := range []string{c.c.Token, c.c.Password, basic} {
		if s != "" {
			text = strings.ReplaceAll(text, s, "…")
		}
	}
	return show(text)
}

// retryAfter reads the header (RFC 9110 10.2.3), a date by the server's own clock.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if s, err := strconv.ParseUint(text, 10, 63); err == nil {
		return min(time.Duration(min(s, uint64(RetryAfterMax/time.Second)))*time.Second, RetryAfterMax)
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if theirs, err := http.ParseTime(h.Get("Date")); err == nil {
		now = theirs
	}
	return min(max(0, at.Sub(now)), RetryAfterMax)
}

const (
	taxiiType = "application/taxii+json"
	jsonType  = "application/json" // of servers that know no better
)

func kind(h http.Header) string {
	media, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return media
}

// read reads a body of at most max bytes.
func (c *Client) read(u *url.URL, h *http.Response, max int64) (*answer, *Error) {
	media, params, err := mime.ParseMediaType(h.Header.Get("Content-Type"))
	encoding := h.Header.Get("Content-Encoding")
	switch v := params["version"]; {
	case err != nil || media != taxiiType && media != jsonType:
		return nil, refusal(u, h.StatusCode, fmt.Sprintf("it answered %d with %s where TAXII was expected: look whether the url is that of a TAXII 2.1 server", h.StatusCode, showType(h.Header)))
	case media == taxiiType && v != "" && v != "2.1":
		return nil, refusal(u, h.StatusCode, "it speaks TAXII "+show(v)+" and not 2.1: ask its operator for the address of 2.1")
	case encoding != "" && encoding != "identity":
		return nil, refusal(u, h.StatusCode, "its answer is packed with "+show(encoding)+", which was not asked for")
	case h.ContentLength > max:
		return nil, c.large(u, h.StatusCode, max)
	}
	body, err := io.ReadAll(io.LimitReader(h.Body, max+1)) // unpacked: a bomb ends here
	switch {
	case int64(len(body)) > max:
		return nil, c.large(u, h.StatusCode, max)
	case err != nil:
		e := unreachable(u, err, c.c.Timeout)
		e.Status = h.StatusCode
		if !errors.Is(err, context.DeadlineExceeded) {
			e.Reason = fmt.Sprintf("its answer broke off after %d bytes: %s", len(body), show(err.Error()))
		}
		return nil, e
	}
	return &answer{h.StatusCode, h.Header, body}, nil
}

func (c *Client) large(u *url.URL, status int, max int64) *Error {
	e := refusal(u, status, fmt.Sprintf("its answer is larger than %d bytes", max))
	e.tooLarge = true
	return e
}

func showType(h http.Header) string {
	if t := h.Get("Content-Type"); t != "" {
		return show(t)
	}
	return "no Content-Type"
}

func refusal(u *url.URL, status int, reason string) *Error {
	return &Error{URL: show(u.Scheme + "://" + u.Host + u.Path), Status: status, Reason: reason}
}

func show(s string) string { return intel.Show(s) }
