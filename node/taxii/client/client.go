// Package client is a TAXII 2.1 client (OASIS Standard, 10 June 2021) for servers that
// are slow, broken or hostile: everything that they say is bounded, whatever they do
// ends, and what they do wrong costs a repetition, never an object.
//
// Decisions:
//   - A request goes to the origin (scheme, host, port) of Config.URL and nowhere else:
//     neither a redirect nor an API root of another origin gets the credentials. A root
//     that a server behind a proxy names with http at our own host and port is ours.
//   - The token `next` is never kept and never sent twice after a failure: some servers
//     (medallion) move on with each use. A poll goes on from the stamp of the last page
//     instead, including it, so that equal stamps across pages lose nothing.
//   - An object may come twice, in a poll and in the next: it is known by id and version.
//   - A token that repeats is no fault (medallion's does); a page that repeats is.
//   - One bad object fails alone, in what is polled and in what is pushed.
package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// MediaType is that of every request and answer.
const MediaType = "application/taxii+json;version=2.1"

// Limits that are not settings.
const (
	TriesMax       = 4                // of one request, where another may help
	WaitMax        = 2 * time.Minute  // between two tries; a longer Retry-After is the caller's, see Error
	RetryAfterMax  = 24 * time.Hour   // whatever a server says
	hopsMax        = 3                // redirects within the server
	resourceMax    = 4 << 20          // bytes of discovery, a root, collections
	headerBytesMax = 64 << 10         // of an answer
	dialMax        = 10 * time.Second // and as much for the TLS handshake
	credentialMax  = 8 << 10          // bytes
)

// Defaults of a Config.
const (
	TimeoutDefault   = time.Minute
	PageBytesDefault = 32 << 20
	RateDefault      = 10
)

// A Config says which server, and how.
type Config struct {
	// URL is that of the discovery (https://host/taxii2/) or of an API root. Required.
	URL string

	// Token is sent as Bearer. Else User and Password as Basic, if either is set.
	Token, User, Password string
	// Plain allows credentials over http to another machine.
	Plain bool

	Agent string // User-Agent; "" = watchward

	// TLS is cloned; nil = the system's authorities.
	TLS *tls.Config
	// Dial makes connections; nil = directly, or by the proxy that the environment names.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	Timeout   time.Duration // of one try with its whole answer; 0 = TimeoutDefault
	PageBytes int64         // of one page, unpacked; 0 = PageBytesDefault
	Rate      float64       // requests a second, retries included, bursts of as many; 0 = RateDefault
}

// A Client talks to one server. It may be used by several goroutines.
type Client struct {
	c    Config
	base *url.URL // ends in a slash
	http *http.Client
	rate *rate.Limiter
}

// New checks c and returns a client, which must be closed. It does not connect.
func New(c Config) (*Client, error) {
	base, err := address(c)
	if err != nil {
		return nil, err
	}
	for _, s := range []string{c.Token, c.User, c.Password} {
		if len(s) > credentialMax || strings.ContainsAny(s, "\r\n\x00") {
			return nil, fmt.Errorf("a credential for %s is not one line of at most %d bytes: look at the file it is in", base.Host, credentialMax)
		}
	}
	if c.Timeout < 0 || c.PageBytes < 0 || c.Rate < 0 {
		return nil, fmt.Errorf("a limit for %s is negative: leave it out, or set it to more than 0", base.Host)
	}
	c.Timeout = cmp.Or(c.Timeout, TimeoutDefault)
	c.PageBytes = cmp.Or(c.PageBytes, PageBytesDefault)
	c.Rate = cmp.Or(c.Rate, RateDefault)
	c.Agent = cmp.Or(c.Agent, "watchward")
	transport := &http.Transport{
		DialContext: c.Dial, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: dialMax, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 2, MaxResponseHeaderBytes: headerBytesMax,
	}
	if c.TLS != nil {
		transport.TLSClientConfig = c.TLS.Clone()
	}
	if c.Dial == nil {
		transport.DialContext = (&net.Dialer{Timeout: dialMax}).DialContext
		transport.Proxy = http.ProxyFromEnvironment
	}
	return &Client{c: c, base: base, rate: rate.NewLimiter(rate.Limit(c.Rate), max(1, int(c.Rate))), http: &http.Client{
		Transport: transport,
		// Our own hands follow them, see redirect.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// address checks the URL of a Config.
func address(c Config) (*url.URL, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the url is not the address of a TAXII server: write it as https://HOST/taxii2/")
	}
	if u.User != nil {
		return nil, fmt.Errorf("the url of %s holds a password: put it in its setting instead", u.Host)
	}
	secret := c.Token != "" || c.User != "" || c.Password != ""
	if u.Scheme == "http" && secret && !c.Plain && !loopback(u.Hostname()) {
		return nil, fmt.Errorf("credentials for %s would go over the network in clear: write the url with https", u.Host)
	}
	slashed(u)
	return u, nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// slashed ends a path in a slash, as every path of TAXII does.
func slashed(u *url.URL) {
	if !strings.HasSuffix(u.Path, "/") {
		*u = *u.JoinPath("/")
	}
}

// within resolves a reference of the server's; false if it leads elsewhere.
func (c *Client) within(base *url.URL, ref string) (*url.URL, bool) {
	u, err := base.Parse(ref)
	if err != nil || u.User != nil || u.Opaque != "" {
		return nil, false
	}
	if u.Scheme == "http" && c.base.Scheme == "https" && strings.EqualFold(u.Host, c.base.Host) {
		u.Scheme = "https" // of a server that knows nothing of the proxy before it
	}
	if u.Scheme != c.base.Scheme || !strings.EqualFold(host(u), host(c.base)) {
		return u, false
	}
	u.Host, u.Fragment = c.base.Host, ""
	return u, true
}

// host is a URL's, with the port.
func host(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}
