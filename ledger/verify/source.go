package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/watchward/watchward/ledger/tlog"
)

// A Source holds a ledger's files under the names that c2sp.org/tlog-tiles gives them.
// It is safe for concurrent use.
type Source interface {
	// Read returns a file of at most max bytes by its slash-separated path. The error
	// wraps fs.ErrNotExist if there is none.
	Read(ctx context.Context, path string, max int) ([]byte, error)
	// Parallel is how many reads at once are of use.
	Parallel() int
}

// openSuffix ends the name of a tile that a node has not full yet.
const openSuffix = ".open"

// A Dir is a directory with a ledger: a copy of what a node serves, or the one in which
// a node keeps it, also while it runs. Audit finds what does not belong into it.
type Dir string

// Read implements Source.
func (d Dir) Read(ctx context.Context, path string, max int) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	raw, err := d.file(path, max)
	if _, wrong := tlog.ParsePath(path); wrong == nil && errors.Is(err, fs.ErrNotExist) {
		raw, err = tlog.ReadTile(string(d), path) // a node keeps the newest entries in its own way
	}
	return raw, err
}

// onDisk returns the name under which a directory has a file, or its path if it has none.
func (d Dir) onDisk(path string) string {
	full, _, partial := strings.Cut(path, ".p/")
	if _, err := os.Lstat(filepath.Join(string(d), filepath.FromSlash(path))); !partial || err == nil {
		return path
	}
	for _, name := range []string{full + openSuffix, full} {
		if _, err := os.Lstat(filepath.Join(string(d), filepath.FromSlash(name))); err == nil {
			return name
		}
	}
	return path
}

func (d Dir) file(path string, max int) ([]byte, error) {
	f, err := os.Open(filepath.Join(string(d), filepath.FromSlash(path)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, max)
}

// Parallel implements Source: as many as there are processors.
func (d Dir) Parallel() int { return 0 }

func readAll(r io.Reader, max int) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, int64(max)+1))
	if err == nil && len(raw) > max {
		err = fmt.Errorf("more than %d bytes", max)
	}
	return raw, err
}

// What a web source bears.
const (
	// RequestTimeout is how long a web source waits for one file.
	RequestTimeout = 30 * time.Second
	triesMax       = 3
	parallelWeb    = 8
)

// What a web source did not get says nothing of the ledger.
var (
	ErrDenied      = errors.New("the node asks for a reader token") // none was given, or a bad one
	ErrUnreachable = errors.New("no answer")                        // the cause is wrapped too
)

type web struct {
	base, token string
	client      *http.Client
}

// URL returns a source that is served by HTTP below a base, such as
// https://host/ledger/REGION/EPOCH. The token may be empty; it goes to the base's host
// only.
func URL(base, token string) (Source, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is no address of a ledger: it has the form https://HOST/ledger/REGION/EPOCH", base)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost, transport.MaxConnsPerHost = parallelWeb, parallelWeb
	transport.DisableCompression = true // hashes do not shrink, and limits are of what is read
	transport.ResponseHeaderTimeout = RequestTimeout
	return &web{base: strings.TrimSuffix(base, "/") + "/", token: token, client: &http.Client{
		Transport: transport, Timeout: RequestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token is for this host
	}}, nil
}

// Parallel implements Source.
func (w *web) Parallel() int { return parallelWeb }

// Read implements Source. It tries again where another attempt may help.
func (w *web) Read(ctx context.Context, path string, max int) (raw []byte, err error) {
	for try := range triesMax {
		if try > 0 {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(time.Duration(try) * 500 * time.Millisecond):
			}
		}
		var again bool
		if raw, again, err = w.get(ctx, path, max); !again {
			return raw, err
		}
	}
	return raw, err
}

func (w *web) get(ctx context.Context, path string, max int) (raw []byte, again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.base+path, nil)
	if err != nil {
		return nil, false, err
	}
	if w.token != "" {
		request.Header.Set("Authorization", "Bearer "+w.token)
	}
	response, err := w.client.Do(request)
	if err != nil {
		return nil, ctx.Err() == nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer response.Body.Close()
	switch s := response.StatusCode; {
	case s == http.StatusOK:
		raw, err := readAll(response.Body, max)
		return raw, err != nil && len(raw) <= max && ctx.Err() == nil, err
	case s == http.StatusNotFound || s == http.StatusGone:
		return nil, false, fs.ErrNotExist
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		return nil, false, fmt.Errorf("%w%s: make one there with watchward token create, and give it with --token", ErrDenied, w.refused())
	default:
		return nil, s >= 500 || s == http.StatusTooManyRequests, fmt.Errorf("the node answers %s", response.Status)
	}
}

func (w *web) refused() string {
	if w.token == "" {
		return ""
	}
	return ", and takes the one that was given for none"
}
