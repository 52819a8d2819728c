// Package client talks to a node's HTTP API for the commands: typed calls, errors
// that say what to do next, and the exit code each of them means.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/watchward/watchward/node/api"
)

const (
	timeoutDefault = 60 * time.Second
	dialMax        = 5 * time.Second
	answerBytesMax = 256 << 20
	fileBytesMax   = 64 << 10 // token and endpoint files
	endpointFile   = "api.json"
)

// Config says where a node is. URL with Token, or Socket; the zero value is no
// node. A client may be used by several goroutines.
type Config struct {
	URL     string        // http://127.0.0.1:8460
	Token   string        // wwt_…
	Socket  string        // path of a Unix socket; then URL and Token may be empty
	CAFile  string        // PEM of the authority behind an https URL; "" = the system's
	Dir     string        // the node's directory if known, for the words of errors
	Timeout time.Duration // of one call, streams apart; 0 = 60 s
}

// Client calls one node.
type Client struct {
	c    Config
	base string
	http *http.Client
}

// New checks c and returns a client. It does not connect.
func New(c Config) (*Client, error) {
	if c.Timeout == 0 {
		c.Timeout = timeoutDefault
	}
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialMax}).DialContext,
		TLSHandshakeTimeout: dialMax, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute,
	}
	base := strings.TrimSuffix(c.URL, "/")
	switch {
	case c.Socket != "":
		base = "http://watchward" // names nothing: the socket is dialled
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialMax}).DialContext(ctx, "unix", c.Socket)
		}
	default:
		u, err := url.Parse(base)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" || u.User != nil {
			return nil, fmt.Errorf("%.80q is not the address of an API: write it as http://127.0.0.1:8460", c.URL)
		}
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the certificate authority: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no PEM certificate", c.CAFile)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &Client{c: c, base: base, http: &http.Client{
		Transport: transport,
		// A redirect could carry the token elsewhere, and the API has none.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Endpoint is the content of api.json, by which commands find a node from its
// directory.
type Endpoint struct {
	URL       string `json:"url,omitempty"`
	TokenFile string `json:"token_file,omitempty"` // relative paths start at the directory
	Socket    string `json:"socket,omitempty"`
}

// WriteEndpoint writes api.json into dir for its owner only.
func WriteEndpoint(dir string, e Endpoint) error {
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", endpointFile, err)
	}
	path := filepath.Join(dir, endpointFile)
	if err := os.WriteFile(path+".tmp", append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", endpointFile, err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("write %s: %w", endpointFile, err)
	}
	return nil
}

// Open returns a client for the node whose directory is dir. It prefers the
// token, which may be limited on purpose, over the socket.
func Open(dir string) (*Client, error) {
	text, err := readFile(filepath.Join(dir, endpointFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, &Error{Unreachable: true, Err: fmt.Errorf("%s has no %s: no node has run there: start it with watchward run --dir %s, or name another with --dir or --api", dir, endpointFile, dir)}
	}
	if err != nil {
		return nil, err
	}
	var e Endpoint
	if err := json.Unmarshal(text, &e); err != nil {
		return nil, fmt.Errorf("%s is damaged: start the node anew, which writes it", filepath.Join(dir, endpointFile))
	}
	c := Config{URL: e.URL, Dir: dir}
	if e.URL != "" && e.TokenFile != "" {
		if c.Token, err = ReadToken(inside(dir, e.TokenFile)); err == nil {
			return New(c)
		}
		if e.Socket == "" {
			return nil, err
		}
	}
	if e.Socket != "" {
		return New(Config{Socket: inside(dir, e.Socket), Dir: dir})
	}
	return New(c)
}

func inside(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// ReadToken reads a token from a file, blanks around it dropped.
func ReadToken(path string) (string, error) {
	text, err := readFile(path)
	if err != nil {
		return "", &Error{Denied: true, Err: fmt.Errorf("read the token: %w: give --token-file, or make a token: watchward token create", err)}
	}
	return strings.TrimSpace(string(text)), nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, fileBytesMax))
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call asks and decodes the answer into out, which may be nil.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, header http.Header, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.c.Timeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("call %s: %w", path, err)
		}
		body = bytes.NewReader(text)
	}
	res, err := c.send(ctx, method, path, query, header, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil {
		return nil
	}
	limited := &io.LimitedReader{R: res.Body, N: answerBytesMax}
	if err := json.NewDecoder(limited).Decode(out); err != nil {
		if limited.N == 0 {
			return fmt.Errorf("call %s: the answer is larger than %d bytes: ask for less", path, answerBytesMax)
		}
		return c.unreachable(fmt.Errorf("the answer broke off: %w", err))
	}
	return nil
}

// file asks for an answer of bytes.
func (c *Client) file(ctx context.Context, path string, query url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.c.Timeout)
	defer cancel()
	res, err := c.send(ctx, http.MethodGet, path, query, nil, nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, answerBytesMax+1))
	if err != nil {
		return nil, c.unreachable(fmt.Errorf("the answer broke off: %w", err))
	}
	if len(body) > answerBytesMax {
		return nil, fmt.Errorf("call %s: the answer is larger than %d bytes", path, answerBytesMax)
	}
	return body, nil
}

// send asks and returns an answer of status 2xx; everything else is an *Error.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, header http.Header, body io.Reader) (*http.Response, error) {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", path, err)
	}
	for key, values := range header {
		r.Header[key] = values
	}
	if body != nil && r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.c.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.c.Token)
	}
	res, err := c.http.Do(r)
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, context.Canceled) {
			return nil, cause
		}
		return nil, c.unreachable(err)
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	defer res.Body.Close()
	return nil, readProblem(res)
}

func (c *Client) unreachable(err error) error {
	where, fix := c.base, "is it running? watchward run --dir DIRECTORY, or watchward dev for a region to try"
	if c.c.Socket != "" {
		where = c.c.Socket
	}
	if c.c.Dir != "" {
		fix = "is it running? watchward run --dir " + c.c.Dir + " (or watchward dev, which made it)"
	}
	return &Error{Unreachable: true, Err: fmt.Errorf("cannot reach the node at %s: %w: %s", where, c.meaning(err), fix)}
}

// Unreached is the error of another program's request that got no answer from a node at
// a URL within a time, in the words of this client's own.
func Unreached(at string, within time.Duration, err error) error {
	return (&Client{base: at, c: Config{Timeout: within}}).unreachable(err)
}

// TokenFor returns the client's token if a URL is one of its node, else nothing: a token
// goes to no other.
func (c *Client) TokenFor(url string) string {
	if !strings.HasPrefix(url, strings.TrimSuffix(c.base, "/")+"/") {
		return ""
	}
	return c.c.Token
}

// unanswered is why there is no answer, in words for people; Unwrap returns what the
// system said.
type unanswered struct {
	text string
	err  error
}

func (u *unanswered) Error() string { return u.text }
func (u *unanswered) Unwrap() error { return u.err }

// meaning says what the errors of a connection mean.
func (c *Client) meaning(err error) error {
	var dial *net.OpError
	var name *net.DNSError
	var authority x509.UnknownAuthorityError
	var timeout interface{ Timeout() bool }
	var syntax *json.SyntaxError
	var shape *json.UnmarshalTypeError
	text := ""
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		text = fmt.Sprintf("no answer within %s", c.c.Timeout)
	case errors.As(err, &name):
		text = fmt.Sprintf("there is no machine called %s", name.Name)
	case errors.Is(err, fs.ErrPermission):
		text = "this user may not open it"
	case errors.As(err, &dial) && dial.Op == "dial":
		text = "nothing listens there"
	case errors.As(err, &authority):
		text = "its certificate is of an authority that this machine does not know"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		text = "it broke off in the middle"
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"): // net/http has no type for it
		text = "it does not speak TLS: write http://"
	case strings.Contains(err.Error(), "malformed HTTP"), errors.As(err, &syntax), errors.As(err, &shape):
		text = "what answers there is no Watchward node, or one of another version"
	default:
		var inner *url.Error
		if errors.As(err, &inner) {
			return inner.Err // the method and URL are in our words
		}
		return err
	}
	return &unanswered{text, err}
}

func readProblem(res *http.Response) error {
	p := &api.Problem{}
	err := json.NewDecoder(io.LimitReader(res.Body, answerBytesMax)).Decode(p)
	if media, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";"); err != nil || media != "application/problem+json" {
		return &Error{Err: fmt.Errorf("the answer has status %d and is not of a Watchward node: check --api", res.StatusCode)}
	}
	p.Status = res.StatusCode
	return &Error{Problem: p}
}
