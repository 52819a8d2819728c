package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/watchward/watchward/node/taxii/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	site  = "taxii.example"
	root  = "http://" + site + "/api1/"
	token = "s3cret-t0ken"
)

var inbox = client.Collection{Root: root, ID: "91a7b528-80eb-42ed-a74d-c6fbd5a26116", CanRead: true, CanWrite: true}

// A failer is a test, of rapid as well.
type failer interface {
	Errorf(format string, args ...any)
	Fatal(args ...any)
}

// A network has one host. Whoever dials another meets nobody, and is remembered.
type network struct {
	mu     sync.Mutex
	dialed []string // guarded by mu
	conns  chan net.Conn
	closed chan struct{}
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dialed = append(n.dialed, address)
	n.mu.Unlock()
	if address != site+":80" {
		return nil, errors.New("no such host")
	}
	here, there := net.Pipe()
	select {
	case n.conns <- there:
		return here, nil
	case <-n.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error {
	select {
	case <-n.closed:
	default:
		close(n.closed)
	}
	return nil
}

func (n *network) Addr() net.Addr { return &net.UnixAddr{Name: site, Net: "pipe"} }

// elsewhere returns the hosts that were dialled beside the one.
func (n *network) elsewhere() (others []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range n.dialed {
		if a != site+":80" {
			others = append(others, a)
		}
	}
	return others
}

// start serves h in memory and returns a client of it. It must run in a bubble.
func start(t failer, h http.Handler, c client.Config) (*client.Client, *network, func()) {
	n := &network{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: h, ErrorLog: discard}
	served := make(chan struct{})
	go func() { defer close(served); server.Serve(n) }()
	if c.URL == "" {
		c.URL = "http://" + site + "/taxii2/"
	}
	if c.Token == "" {
		c.Token = token
	}
	c.Plain, c.Dial = true, n.dial
	if c.Rate == 0 {
		c.Rate = 1e6
	}
	one, err := client.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return one, n, func() {
		one.Close()
		server.Close()
		<-served
	}
}

// bubble runs f in virtual time with a client of h.
func bubble(t *testing.T, h http.Handler, c client.Config, f func(*testing.T, *client.Client, *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		one, n, stop := start(t, h, c)
		defer stop()
		f(t, one, n)
	})
}

// A reply is what a server says when it is asked. If query is not "" it must be asked so.
type reply struct {
	query  string // decoded, in order of the keys
	status int    // 0 = 200
	header string // key: value|key: value
	body   string
	do     http.HandlerFunc // instead of the above
}

// A script is a server that gives one reply after the other, the last again and again if
// it is the only one.
type script struct {
	t       failer
	mu      sync.Mutex
	replies []reply // guarded by mu
	asked   []string
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	query := strings.ReplaceAll(strings.ReplaceAll(r.URL.RawQuery, "%3A", ":"), "%2C", ",")
	query = strings.ReplaceAll(strings.ReplaceAll(query, "%5B", "["), "%5D", "]")
	s.asked = append(s.asked, r.Method+" "+r.URL.Path+" "+query)
	if len(s.replies) == 0 {
		s.mu.Unlock()
		s.t.Errorf("it was asked %q after the end", query)
		w.WriteHeader(http.StatusNotFound)
		return
	}
	one := s.replies[0]
	s.replies = s.replies[1:]
	s.mu.Unlock()
	if one.query != "" && query != one.query {
		s.t.Errorf("it was asked %s\nand not      %s", query, one.query)
	}
	if got := r.Header.Get("Authorization"); got != "Bearer "+token {
		s.t.Errorf("Authorization is %q", got)
	}
	if got := r.Header.Get("Accept"); got != client.MediaType {
		s.t.Errorf("Accept is %q", got)
	}
	if one.do != nil {
		one.do(w, r)
		return
	}
	one.write(w)
}

func (one reply) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", client.MediaType)
	for line := range strings.SplitSeq(one.header, "|") {
		if key, value, ok := strings.Cut(line, ": "); ok {
			w.Header().Set(key, value)
		}
	}
	if one.status != 0 {
		w.WriteHeader(one.status)
	}
	fmt.Fprint(w, one.body)
}

// left reports the replies that nobody asked for.
func (s *script) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.replies)
}

// object makes an indicator, known by its number.
func object(n int) string {
	return fmt.Sprintf(`{"type":"indicator","spec_version":"2.1","id":"%s","created":"1999-01-01T00:00:00.000Z","modified":"1999-01-01T00:00:00.000Z","pattern":"[ipv4-addr:value = '198.51.100.%d']","pattern_type":"stix","valid_from":"1999-01-01T00:00:00Z"}`, idOf(n), n%256)
}

func idOf(n int) string { return fmt.Sprintf("indicator--00000000-0000-4000-8000-%012d", n) }

// envelope makes a page of objects; tail is more members.
func envelope(tail string, numbers ...int) string {
	var objects []string
	for _, n := range numbers {
		objects = append(objects, object(n))
	}
	return `{"objects":[` + strings.Join(objects, ",") + `]` + tail + `}`
}

// number is the number of an object.
func number(raw json.RawMessage) (n int) {
	var o struct{ ID string }
	if json.Unmarshal(raw, &o) != nil {
		return -1
	}
	if _, err := fmt.Sscanf(o.ID[strings.LastIndex(o.ID, "-")+1:], "%d", &n); err != nil {
		return -1
	}
	return n
}

// discard takes what a server says of its clients' mistakes.
var discard = log.New(io.Discard, "", 0)
