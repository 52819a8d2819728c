package client_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stubNode has the few methods that these tests reach; the others would panic.
type stubNode struct {
	api.Node
	query    api.Query
	receipts int // how often one was asked for
	document []byte
}

func (n *stubNode) PutDocument(_ context.Context, r io.Reader) (api.DocumentAnswer, error) {
	var err error
	n.document, err = io.ReadAll(r)
	sum := sha256.Sum256(n.document)
	return api.DocumentAnswer{SHA256: hex.EncodeToString(sum[:]), Size: uint32(len(n.document))}, err
}

func (n *stubNode) Document(_ context.Context, id string, _ notice.TLP) (api.DocumentFile, bool, error) {
	return api.DocumentFile{Content: n.document, Name: "plän.pdf"}, id != strings.Repeat("0", 64), nil
}

func (n *stubNode) Status(context.Context, notice.TLP) (api.Status, error) {
	return api.Status{Name: "St Anna"}, nil
}

func (n *stubNode) Submit(_ context.Context, items []api.Submission, o api.SubmitOptions) (r api.SubmitResult, err error) {
	for _, i := range items {
		if i.Value == "bad" {
			r.Refused = append(r.Refused, api.Refused{Index: i.Index, Value: i.Value, Reason: "is bad", Fix: "send better"})
			continue
		}
		v := api.NoticeView{ID: "1", Indicator: &api.Indicator{Value: i.Value}, FirstSeen: i.FirstSeen, TLP: o.TLP.String(), Known: o.DryRun}
		if o.Local {
			v.State = api.StateLocal
		}
		r.Notices = append(r.Notices, v)
	}
	return r, nil
}

func (n *stubNode) Lookup(_ context.Context, values []string, _ api.LookupOptions) ([]api.LookupAnswer, error) {
	out := make([]api.LookupAnswer, len(values))
	for i, v := range values {
		out[i] = api.LookupAnswer{Value: v, Known: i == 0}
	}
	return out, nil
}

func (n *stubNode) Notices(_ context.Context, q api.Query) ([]api.NoticeView, string, error) {
	n.query = q
	return nil, "", nil
}

func (n *stubNode) Export(_ context.Context, q api.ExportQuery, yield func(intel.Stated) error) (count api.ExportCount, err error) {
	for range q.Since { // as many as its milliseconds say
		word := &notice.Notice{Kind: notice.KindIndicator, Created: 1, Indicator: &notice.Indicator{Type: notice.TypeDomain, Value: "a.example"}}
		if err := yield(intel.Stated{Notice: word}); err != nil {
			return count, err
		}
		count.Notices++
	}
	if q.Mine {
		return count, errors.New("broken")
	}
	return count, nil
}

func (n *stubNode) Notice(context.Context, string, notice.TLP) (api.NoticeView, *api.Proof, bool, error) {
	return api.NoticeView{}, nil, false, nil
}

func (n *stubNode) ProofFile(_ context.Context, id string, _ notice.TLP) ([]byte, bool, error) {
	return []byte("proof of " + id), id != absent, nil
}

func (n *stubNode) RegionFile(_ context.Context, members bool) ([]byte, error) {
	return fmt.Appendf(nil, "members %v", members), nil
}

// LedgerReceipt is there from the third time on that it is asked for.
func (n *stubNode) LedgerReceipt(_ context.Context, id string, _ notice.TLP) ([]byte, bool, error) {
	if n.receipts++; n.receipts < 3 {
		return nil, true, &api.NotYet{Reason: "it waits", Fix: "ask again"}
	}
	return []byte("receipt of " + id), id != absent, nil
}

// LedgerEntry has no quorum.
func (n *stubNode) LedgerEntry(_ context.Context, id string, strong bool, _ notice.TLP) (api.LedgerEntry, bool, error) {
	if strong {
		return api.LedgerEntry{}, true, &api.NoQuorum{Reason: "one of three is there", Fix: "start another"}
	}
	return api.LedgerEntry{ID: id, Index: 5}, true, nil
}

func (n *stubNode) LedgerTransfer(_ context.Context, to string) (api.LedgerTransfer, error) {
	return api.LedgerTransfer{Name: to}, nil
}

func (n *stubNode) LedgerStatus(context.Context) (api.LedgerView, error) {
	return api.LedgerView{Epoch: 2}, nil
}

func TestLedger(t *testing.T) {
	dir, n := node(t, token.Admin, nil)
	c := open(t, dir)
	const id = "00112233445566778899aabbccddeeff00112233"
	if v, err := c.Ledger(t.Context()); err != nil || v.Epoch != 2 {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := c.Receipt(t.Context(), id, 0); !client.NotYet(err) || client.ExitCode(err) != client.ExitNo || n.receipts != 1 {
		t.Errorf("without a wait: %v after %d questions", err, n.receipts)
	}
	if raw, err := c.Receipt(t.Context(), id, time.Minute); err != nil || string(raw) != "receipt of "+id || n.receipts != 3 {
		t.Errorf("%q, %v after %d questions", raw, err, n.receipts)
	}
	if _, err := c.Receipt(t.Context(), absent, time.Minute); err == nil || client.NotYet(err) {
		t.Errorf("of no notice: %v", err)
	}
	if e, err := c.LedgerEntry(t.Context(), id, false); err != nil || e.ID != id || e.Index != 5 {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := c.LedgerEntry(t.Context(), id, true); client.ExitCode(err) != client.ExitNo {
		t.Errorf("without a quorum: exit code %d of %v", client.ExitCode(err), err)
	}
	if done, err := c.TransferLedger(t.Context(), "St Anna"); err != nil || done.Name != "St Anna" {
		t.Errorf("%+v, %v", done, err)
	}
}

// absent is the id of no notice.
const absent = "0000000000000000000000000000000000000000"

// node starts a server whose directory is as the daemon leaves it.
func node(t *testing.T, role token.Role, edit func(*api.Config)) (dir string, n *stubNode) {
	t.Helper()
	dir = t.TempDir()
	tokens, err := token.Open(filepath.Join(dir, "tokens.json"), nil)
	if err != nil {
		t.Fatal(err)
	}
	secret, _, err := tokens.Create("test", role, notice.TLPRed, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n = &stubNode{}
	c := api.Config{Node: n, Tokens: tokens, Listen: "127.0.0.1:0", Socket: filepath.Join(dir, "s")}
	if edit != nil {
		edit(&c)
	}
	s, err := api.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := client.WriteEndpoint(dir, client.Endpoint{URL: s.URL(), TokenFile: "token", Socket: "s"}); err != nil {
		t.Fatal(err)
	}
	return dir, n
}

func open(t *testing.T, dir string) *client.Client {
	t.Helper()
	c, err := client.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestCalls(t *testing.T) {
	dir, n := node(t, token.Admin, nil)
	c := open(t, dir)
	ctx := t.Context()
	if s, err := c.Status(ctx); err != nil || s.Name != "St Anna" {
		t.Errorf("status %+v, %v", s, err)
	}
	a, err := c.Submit(ctx, []api.Submission{{Value: "a.example", FirstSeen: 1_700_000_000_123}, {Value: "bad"}}, client.SubmitOptions{TLP: "AMBER", Local: true, Idempotency: "k"})
	if err != nil || len(a.Notices) != 1 || a.Notices[0].TLP != "AMBER" || a.Notices[0].State != api.StateLocal || a.Notices[0].FirstSeen != 1_700_000_000_123 || len(a.Refused) != 1 || a.Refused[0].At != "notices[1]" {
		t.Errorf("submit %+v, %v", a, err)
	}
	if a, err = c.Submit(ctx, []api.Submission{{Value: "bad"}, {Value: "bad"}}, client.SubmitOptions{}); err != nil || len(a.Refused) != 2 || a.Refused[1].Reason != "is bad" {
		t.Errorf("all refused: %+v, %v", a, err)
	}
	since := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	if _, err := c.Notices(ctx, client.NoticesQuery{Kind: "sighting", Mine: true, Search: "a&b", Since: since, Limit: 7, Next: "n=1"}); err != nil {
		t.Error(err)
	}
	if want := (api.Query{Kind: notice.KindSighting, Mine: true, Search: "a&b", Since: since.UnixMilli(), Limit: 7, Next: "n=1", Ceiling: notice.TLPRed}); n.query != want {
		t.Errorf("query %+v, want %+v", n.query, want)
	}
	made, err := c.CreateToken(ctx, api.TokenRequest{Name: "other", Role: "reader"})
	if err != nil || !token.WellFormed(made.Token) {
		t.Errorf("create token %+v, %v", made, err)
	}
	if list, err := c.Tokens(ctx); err != nil || len(list) != 2 {
		t.Errorf("tokens %+v, %v", list, err)
	}
	if gone, err := c.RevokeToken(ctx, "other"); err != nil || gone.ID != made.ID {
		t.Errorf("revoke %+v, %v", gone, err)
	}
}

func TestFiles(t *testing.T) {
	dir, _ := node(t, token.Reader, nil)
	c := open(t, dir)
	const id = "00112233445566778899aabbccddeeff00112233"
	if raw, err := c.ProofFile(t.Context(), id); err != nil || string(raw) != "proof of "+id {
		t.Errorf("%q, error %v", raw, err)
	}
	if _, err := c.ProofFile(t.Context(), absent); client.ExitCode(err) != client.ExitNo {
		t.Errorf("of no notice: %v", err)
	}
	for _, members := range []bool{false, true} {
		if raw, err := c.RegionFile(t.Context(), members); err != nil || string(raw) != fmt.Sprintf("members %v", members) {
			t.Errorf("%q, error %v", raw, err)
		}
	}
}

// TestDocuments hands a document over and gets it back; one that is another than its name
// says is none.
func TestDocuments(t *testing.T) {
	dir, n := node(t, token.Reporter, nil)
	c := open(t, dir)
	put, err := c.PutDocument(t.Context(), strings.NewReader("a plan"))
	if err != nil || put.Size != 6 {
		t.Fatalf("%+v, error %v", put, err)
	}
	content, name, err := c.Document(t.Context(), put.SHA256)
	if err != nil || string(content) != "a plan" || name != "plän.pdf" {
		t.Errorf("%q called %q, error %v", content, name, err)
	}
	n.document = []byte("another plan")
	if content, _, err := c.Document(t.Context(), put.SHA256); err == nil {
		t.Errorf("another document is taken: %q", content)
	}
	if _, _, err := c.Document(t.Context(), strings.Repeat("0", 64)); client.ExitCode(err) != client.ExitNo {
		t.Errorf("of no document: %v", err)
	}
}

// TestExport gets a whole export, one that breaks off, and one that nobody can
// store.
func TestExport(t *testing.T) {
	dir, _ := node(t, token.Admin, nil)
	c := open(t, dir)
	q := client.ExportQuery{Format: "stix", TLP: "AMBER", Since: time.UnixMilli(3000)}
	var out strings.Builder
	if count, err := c.Export(t.Context(), q, &out); err != nil || count.Notices != 3000 || strings.Count(out.String(), "a.example") < 3000 || !strings.HasSuffix(out.String(), "}\n") {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
	q.Mine = true
	if _, err := c.Export(t.Context(), q, io.Discard); client.ExitCode(err) != client.ExitUnreachable || !strings.Contains(err.Error(), "broke off") {
		t.Errorf("what breaks off gives %v", err)
	}
	full := errors.New("the disk is full")
	if _, err := c.Export(t.Context(), client.ExportQuery{}, fails{full}); !errors.Is(err, full) {
		t.Errorf("a full disk gives %v", err)
	}
	var e *client.Error
	if _, err := c.Export(t.Context(), client.ExportQuery{TLP: "RED"}, io.Discard); !errors.As(err, &e) || e.Problem == nil || e.Problem.Status != 422 {
		t.Errorf("RED gives %v", err)
	}
}

type fails struct{ err error }

func (f fails) Write([]byte) (int, error) { return 0, f.err }

// TestNoAnswer has what a person reads when something else than a node answers, or
// nothing.
func TestNoAnswer(t *testing.T) {
	says := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_, _ = io.WriteString(conn, text)
				_ = conn.Close()
			}
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		scheme  string
		want    string
	}{
		"nothing":     {says(""), "http", "it broke off in the middle"},
		"half":        {says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), "http", "it broke off in the middle"},
		"another":     {says("SSH-2.0-x\r\n\r\n"), "http", "what answers there is no Watchward node"},
		"a text":      {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }, "http", "what answers there is no Watchward node"},
		"other types": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"name":7}`) }, "http", "or one of another version"},
		"silence":     {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "http", "no answer within 50ms"},
		"no TLS":      {says(""), "https", "it does not speak TLS: write http://"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(c.handler)
			defer server.Close()
			timeout := time.Duration(0)
			if name == "silence" {
				timeout = 50 * time.Millisecond
			}
			asks, err := client.New(client.Config{URL: c.scheme + strings.TrimPrefix(server.URL, "http"), Timeout: timeout})
			if err != nil {
				t.Fatal(err)
			}
			defer asks.Close()
			_, err = asks.Status(t.Context())
			if client.ExitCode(err) != client.ExitUnreachable || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
			for _, raw := range []string{"EOF", "deadline", "json:", "invalid character", "malformed", "http: server"} {
				if err != nil && strings.Contains(err.Error(), raw) {
					t.Errorf("%q in %v", raw, err)
				}
			}
		})
	}
}

func TestLookupInPieces(t *testing.T) {
	dir, _ := node(t, token.Reader, func(c *api.Config) { c.BodyMax = 64 << 10 })
	c := open(t, dir)
	values := make([]string, 25_000)
	for i := range values {
		values[i] = fmt.Sprintf("host-%d.example", i)
	}
	var got []string
	err := c.Lookup(t.Context(), values, client.LookupOptions{}, func(a api.LookupAnswer) error {
		got = append(got, a.Value)
		return nil
	})
	if err != nil || !slices.Equal(got, values) {
		t.Errorf("%d answers of %d, %v", len(got), len(values), err)
	}
	stop := errors.New("enough")
	if err := c.Lookup(t.Context(), values, client.LookupOptions{}, func(api.LookupAnswer) error { return stop }); err != stop {
		t.Errorf("the caller's error became %v", err)
	}
}

func TestOpenFallsBackToSocket(t *testing.T) {
	dir, _ := node(t, token.Reader, nil)
	if err := os.Remove(filepath.Join(dir, "token")); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, dir).Tokens(t.Context()); err != nil {
		t.Errorf("by the socket: %v", err)
	}
}

func TestErrors(t *testing.T) {
	dir, _ := node(t, token.Reader, nil)
	c := open(t, dir)
	ctx := t.Context()
	_, weak := c.Tokens(ctx)
	_, absent := c.Notice(ctx, strings.Repeat("0", 40))
	_, usage := c.Notice(ctx, "xyz")
	wrong, err := client.New(client.Config{Socket: filepath.Join(dir, "nothing"), Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	_, gone := wrong.Status(ctx)
	_, noDir := client.Open(t.TempDir())
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	foreign, err := client.New(client.Config{URL: other.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	_, notOurs := foreign.Status(ctx)
	_, noToken := client.ReadToken(filepath.Join(dir, "nothing"))
	for name, c := range map[string]struct {
		err  error
		code int
		text string
	}{
		"no error":     {nil, 0, ""},
		"weak token":   {weak, client.ExitDenied, "--role admin"},
		"not found":    {absent, client.ExitNo, "ceiling"},
		"usage":        {usage, client.ExitUsage, "40 hexadecimal digits"},
		"not running":  {gone, client.ExitUnreachable, "watchward run --dir " + dir},
		"no node yet":  {noDir, client.ExitUnreachable, "watchward run"},
		"another site": {notOurs, client.ExitNo, "not of a Watchward node"},
		"no token":     {noToken, client.ExitDenied, "token create"},
		"other":        {errors.New("x"), client.ExitNo, "x"},
	} {
		if got := client.ExitCode(c.err); got != c.code {
			t.Errorf("%s: exit code %d, want %d: %v", name, got, c.code, c.err)
		}
		if c.err != nil && !strings.Contains(c.err.Error(), c.text) {
			t.Errorf("%s: %q does not say %q", name, c.err, c.text)
		}
	}
	for _, address := range []string{"", "127.0.0.1:8460", "ftp://x", "http://", "http://a/b", "http://u:p@a"} {
		if _, err := client.New(client.Config{URL: address}); err == nil {
			t.Errorf("%q was taken as an address", address)
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var leaked atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { leaked.Store(true) }))
	defer other.Close()
	first := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer first.Close()
	c, err := client.New(client.Config{URL: first.URL, Token: "wwt_secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Status(t.Context()); err == nil || leaked.Load() {
		t.Errorf("the redirect was followed: %v", err)
	}
}

// TestTailGoesOn has a server that cuts the stream in the middle of a group.
func TestTailGoesOn(t *testing.T) {
	notice := func(id string) string { return `event: notice` + "\n" + `data: {"id":"` + id + `"}` + "\n" }
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		w.Header().Set("Content-Type", "text/event-stream")
		switch len(asked) {
		case 1:
			fmt.Fprint(w, ": watchward\n\nid: 5\n\n"+notice("a")+"\n"+notice("b")+"\n")
		case 2:
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(503)
			fmt.Fprint(w, `{"title":"x","detail":"x"}`)
		default:
			fmt.Fprint(w, notice("a")+"\n"+notice("b")+"\n"+notice("c")+"id: 8\n\n"+notice("d")+"id: 9\n\n")
		}
	}))
	defer server.Close()
	c, err := client.New(client.Config{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var got []string
	stop := errors.New("enough")
	err = c.Tail(t.Context(), api.FromNow, func(n api.NoticeView) error {
		if got = append(got, n.ID); n.ID == "d" {
			return stop
		}
		return nil
	}, nil)
	if err != stop || fmt.Sprint(got) != "[a b c d]" || fmt.Sprint(asked) != "[ after=5 after=5]" {
		t.Errorf("got %v, asked %q, %v", got, asked, err)
	}
}

func TestTailReportsFirstFailure(t *testing.T) {
	c, err := client.New(client.Config{Socket: filepath.Join(t.TempDir(), "nothing")})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Tail(t.Context(), api.FromNow, nil, nil); client.ExitCode(err) != client.ExitUnreachable {
		t.Errorf("%v", err)
	}
}
