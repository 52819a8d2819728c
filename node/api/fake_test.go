package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// knownID is the id of the fake node's one AMBER notice.
const knownID = "00112233445566778899aabbccddeeff00112233"

// documentID is the id of its one document.
const documentID = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// fakeNode knows evil.example (AMBER) and refuses private addresses. It keeps
// events so that streams can resume.
type fakeNode struct {
	mu          sync.Mutex
	events      []api.Event
	arrived     chan struct{} // closed and replaced with each event
	submitted   []api.Submission
	options     api.SubmitOptions
	query       api.Query
	asked       api.AdvisoryQuery
	bundleQuery api.BundleQuery
	lookedUp    []string
	policyQuery api.PolicyQuery
	decided     []api.PolicyRequest
	exported    api.ExportQuery
	exports     int           // notices that Export yields
	importing   chan struct{} // told of each import that begins, unless nil
	notReady    error
	fail        error
	panics      bool
	block       chan struct{} // Status waits for it, unless nil
	blocked     chan struct{} // closed when Status waits
}

func newFakeNode() *fakeNode { return &fakeNode{arrived: make(chan struct{})} }

func (f *fakeNode) add(seq uint64, values ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := api.Event{Seq: seq}
	for _, v := range values {
		e.Notices = append(e.Notices, view(v))
	}
	f.events = append(f.events, e)
	close(f.arrived)
	f.arrived = make(chan struct{})
}

func view(value string) api.NoticeView {
	return api.NoticeView{
		ID: knownID, Kind: "sighting", Indicator: &api.Indicator{Type: "domain", Value: value},
		TLP: "AMBER", Audience: "region", Author: strings.Repeat("ab", 32), AuthorName: "St Anna",
		Created: 1_700_000_000_123, Received: 1_700_000_000_456, FirstSeen: 1_700_000_000_000, LastSeen: 1_700_000_000_000,
		Count: 1, State: api.StateSigned,
	}
}

func (f *fakeNode) Ready(context.Context) error { return f.notReady }

func (f *fakeNode) Status(ctx context.Context, ceiling notice.TLP) (api.Status, error) {
	if f.panics {
		panic("insides of the node")
	}
	if f.block != nil {
		close(f.blocked)
		<-f.block
	}
	s := api.Status{Name: "St Anna", Ready: true, Notices: 1}
	if ceiling < notice.TLPAmber {
		s.Notices = 0
	}
	return s, f.fail
}

// ExportBundle writes a text, nothing after 9, and fails half way after 8.
func (f *fakeNode) ExportBundle(_ context.Context, w io.Writer, q api.BundleQuery) (api.BundlePart, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bundleQuery = q
	switch {
	case f.fail != nil:
		return api.BundlePart{}, f.fail
	case q.After == 9:
		return api.BundlePart{}, nil
	case q.After == 8:
		_, _ = io.WriteString(w, "half")
		return api.BundlePart{}, errors.New("the disk is gone")
	}
	_, err := io.WriteString(w, "a bundle")
	return api.BundlePart{Notices: 3, Next: 7}, err
}

// CheckBundle says with what ceiling it was asked.
func (f *fakeNode) CheckBundle(_ context.Context, r io.Reader, ceiling notice.TLP) (api.BundleAnswer, error) {
	n, err := io.Copy(io.Discard, r)
	return api.BundleAnswer{Read: n, Contents: []api.BundleContent{{TLP: ceiling.String()}}}, err
}

// Invite answers with how long the invitation is good.
func (f *fakeNode) Invite(_ context.Context, life time.Duration) (api.Invitation, error) {
	if f.fail != nil {
		return api.Invitation{}, f.fail
	}
	return api.Invitation{Invitation: "WW1" + life.String(), Expires: 1, Seeds: []string{}}, nil
}

// JoinRequests has none.
func (f *fakeNode) JoinRequests(context.Context) ([]api.JoinRequest, error) { return nil, f.fail }

// AddRecords counts the bytes.
func (f *fakeNode) AddRecords(_ context.Context, admission []byte) (int, error) {
	return len(admission), f.fail
}

// ImportBundle counts the bytes, or fails after some.
func (f *fakeNode) ImportBundle(ctx context.Context, r io.Reader) (api.BundleAnswer, error) {
	if f.importing != nil {
		f.importing <- struct{}{}
	}
	if f.fail != nil {
		r = io.LimitReader(r, 100)
	}
	n, err := io.Copy(io.Discard, r)
	if err != nil || f.fail != nil {
		return api.BundleAnswer{}, errors.Join(err, f.fail)
	}
	return api.BundleAnswer{Read: n}, ctx.Err()
}

func (f *fakeNode) Submit(_ context.Context, items []api.Submission, o api.SubmitOptions) (api.SubmitResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.submitted, f.options = items, o
	var out api.SubmitResult
	for _, item := range items {
		switch item.Value {
		case "absent.example":
			out.Absent = append(out.Absent, item.Index)
		case "192.168.1.4":
			out.Refused = append(out.Refused, api.Refused{Index: item.Index, Value: item.Value, Field: "value", Reason: "a private address", Fix: "pass allow_special"})
		case "known.example":
			v := view(item.Value)
			v.Known = true
			out.Notices = append(out.Notices, v)
		default:
			out.Notices = append(out.Notices, view(item.Value))
		}
	}
	return out, f.fail
}

func (f *fakeNode) Notice(_ context.Context, id string, ceiling notice.TLP) (api.NoticeView, *api.Proof, bool, error) {
	if id != knownID || ceiling < notice.TLPAmber {
		return api.NoticeView{}, nil, false, nil
	}
	return view("evil.example"), &api.Proof{Item: []byte{1}, Count: 1, Root: []byte{2}, Header: []byte{3}, Signature: []byte{4}}, true, nil
}

func (f *fakeNode) ProofFile(_ context.Context, id string, ceiling notice.TLP) ([]byte, bool, error) {
	if id != knownID || ceiling < notice.TLPAmber {
		return nil, false, f.fail
	}
	return []byte("a proof"), true, f.fail
}

func (f *fakeNode) RegionFile(_ context.Context, members bool) ([]byte, error) {
	return fmt.Appendf(nil, "a region, members %v", members), f.fail
}

func (f *fakeNode) Notices(_ context.Context, q api.Query) ([]api.NoticeView, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.query = q
	if q.Next == "broken" {
		return nil, "", &notice.FieldError{Field: "query.next", Reason: "not a cursor", Fix: "start again without next"}
	}
	if f.fail != nil || q.Ceiling < notice.TLPAmber {
		return nil, "", f.fail
	}
	return []api.NoticeView{view("evil.example")}, "more", nil
}

func (f *fakeNode) Lookup(_ context.Context, values []string, o api.LookupOptions) ([]api.LookupAnswer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lookedUp = values
	out := make([]api.LookupAnswer, len(values))
	for i, v := range values {
		out[i] = api.LookupAnswer{Value: v, Type: "domain"}
		if v == "evil.example" && o.Ceiling >= notice.TLPAmber {
			out[i].Known, out[i].Summary = true, &api.Summary{Sightings: 3, Members: 2, FirstSeen: 1_700_000_000_000, TLP: "AMBER"}
			out[i].Verdict = &api.VerdictView{Level: "detect", Score: 79}
			if o.Reasons {
				out[i].Verdict.Reasons = []api.VerdictReason{{Cause: "seen", Raised: true, Text: "seen by 2 members", IDs: []string{knownID}, More: 1}}
			}
		}
	}
	return out, nil
}

func (f *fakeNode) Hunt(_ context.Context, values []string, hosts bool) (out api.HuntAnswers, _ error) {
	for _, v := range values {
		out.Answers = append(out.Answers, api.HuntAnswer{Value: v, Seen: hosts})
	}
	return out, f.fail
}

func (f *fakeNode) Indicator(_ context.Context, typ, value string, ceiling notice.TLP) (api.IndicatorView, bool, error) {
	if value != "evil.example" || ceiling < notice.TLPAmber {
		return api.IndicatorView{}, false, nil
	}
	return api.IndicatorView{Indicator: api.Indicator{Type: "domain", Value: value}}, true, nil
}

// Policies has one: evil.example is denied. It is shown why from AMBER+STRICT on.
func (f *fakeNode) Policies(_ context.Context, q api.PolicyQuery) ([]api.PolicyView, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.policyQuery = q
	return []api.PolicyView{{Indicator: api.Indicator{Type: "domain", Value: "evil.example"}, Decision: api.DecisionDeny, At: 1_700_000_000_000, Effect: "block"}}, "more", f.fail
}

func (f *fakeNode) Decide(_ context.Context, by string, asked []api.PolicyRequest) (out []api.PolicyView, _ error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.decided = asked
	for _, a := range asked {
		out = append(out, api.PolicyView{Indicator: api.Indicator{Type: "domain", Value: a.Value}, Decision: a.Decision, By: by, Why: a.Why, Effect: "block", Removed: a.Remove})
	}
	return out, f.fail
}

func (f *fakeNode) Members(context.Context, notice.TLP) ([]api.MemberView, error) {
	return []api.MemberView{{ID: "aa", Name: "St Anna", Self: true, Roles: []string{"hospital"}}}, nil
}

func (f *fakeNode) Cuts(_ context.Context, member string, serial uint32) (api.CutsAnswer, error) {
	return api.CutsAnswer{Member: member, Name: "St. Anna", Serial: max(serial, 1), Cuts: []api.CutView{{Audience: "region", Epoch: 1, Seq: 7, ID: strings.Repeat("a", 64)}}}, nil
}

// Situation has one mayday, AMBER.
func (f *fakeNode) Situation(_ context.Context, since int64, ceiling notice.TLP) (api.Situation, error) {
	s := api.Situation{Name: "St Anna", Since: api.Time(since)}
	if ceiling >= notice.TLPAmber {
		s.Maydays = []api.MaydayView{{Word: api.Word{ID: knownID, TLP: "AMBER"}, Text: "ransom note"}}
	}
	return s, f.fail
}

// Advisories has one, AMBER.
func (f *fakeNode) Advisories(_ context.Context, q api.AdvisoryQuery) (a api.AdvisoriesAnswer, _ error) {
	f.mu.Lock()
	f.asked = q
	f.mu.Unlock()
	if q.Ceiling >= notice.TLPAmber {
		a.Advisories = []api.AdvisoryView{{Word: api.Word{ID: knownID, TLP: "AMBER"}, Advisory: api.Advisory{Type: "hunt", Title: "Look for it"}}}
	}
	return a, f.fail
}

func (f *fakeNode) Advisory(_ context.Context, id string, ceiling notice.TLP) (api.AdvisoryView, bool, error) {
	return api.AdvisoryView{Word: api.Word{ID: id, TLP: "AMBER"}}, id == knownID && ceiling >= notice.TLPAmber, f.fail
}

// PutDocument names a document by the number of its bytes.
func (f *fakeNode) PutDocument(_ context.Context, r io.Reader) (api.DocumentAnswer, error) {
	n, err := io.Copy(io.Discard, r)
	if err != nil || f.fail != nil {
		return api.DocumentAnswer{}, errors.Join(err, f.fail)
	}
	return api.DocumentAnswer{SHA256: fmt.Sprintf("%064x", n), Size: uint32(n)}, nil
}

// Document has one, AMBER.
func (f *fakeNode) Document(_ context.Context, sha256 string, ceiling notice.TLP) (api.DocumentFile, bool, error) {
	return api.DocumentFile{Content: []byte("<script>alert(1)</script>"), Name: "Plan für Ärzte.html"}, sha256 == documentID && ceiling >= notice.TLPAmber, f.fail
}

// Questions has one, AMBER.
func (f *fakeNode) Questions(_ context.Context, ceiling notice.TLP) (q api.QuestionsAnswer, _ error) {
	if ceiling >= notice.TLPAmber {
		q.Questions = []api.OpenQuestion{{QuestionView: api.QuestionView{Word: api.Word{ID: knownID, TLP: "AMBER"}}, Own: &api.OwnSeen{Count: 3, Kept: true}}}
	}
	return q, f.fail
}

func (f *fakeNode) Alerts(context.Context, api.AlertQuery) ([]api.AlertView, string, error) {
	return nil, "", nil
}

func (f *fakeNode) Logs(context.Context) ([]api.LogView, error) {
	return []api.LogView{{Name: "firewall", Path: "/var/log/fw.log", Format: "fortigate", Lines: 7, Hits: 1}}, f.fail
}

func (f *fakeNode) AckAlert(_ context.Context, id, by string, ceiling notice.TLP) (api.AlertView, bool, error) {
	return api.AlertView{ID: id, State: "acknowledged", AckBy: by}, id == "1" && ceiling >= notice.TLPAmber, f.fail
}

func (f *fakeNode) Silences(context.Context) ([]api.SilenceView, error) {
	return []api.SilenceView{{ID: "1", Why: "scan"}}, f.fail
}

func (f *fakeNode) Silence(_ context.Context, q api.SilenceRequest, by string) (api.SilenceView, error) {
	return api.SilenceView{ID: "2", Match: q.Match, Until: api.Time(q.Seconds * 1000), Why: q.Why, By: by}, f.fail
}

func (f *fakeNode) EndSilence(_ context.Context, id string) (api.SilenceView, bool, error) {
	return api.SilenceView{ID: id}, id == "1", f.fail
}

func (f *fakeNode) TestSinks(_ context.Context, name string) ([]api.SinkTest, bool, error) {
	return []api.SinkTest{{Sink: "mail", OK: true}}, name == "" || name == "mail", f.fail
}

func (f *fakeNode) Export(_ context.Context, q api.ExportQuery, yield func(intel.Stated) error) (count api.ExportCount, err error) {
	f.mu.Lock()
	f.exported = q
	notices, fail := f.exports, f.fail
	f.mu.Unlock()
	for i := range notices {
		n := &notice.Notice{
			Kind: notice.KindIndicator, Created: 1_700_000_000_000,
			Indicator: &notice.Indicator{Type: notice.TypeDomain, Value: fmt.Sprintf("n%d.example", i)},
		}
		if err := yield(intel.Stated{ID: crypto.ItemID{byte(i), byte(i >> 8)}, Notice: n, TLP: notice.TLPGreen}); err != nil {
			return count, err
		}
		count.Notices++
	}
	return count, fail
}

func (f *fakeNode) Follow(ctx context.Context, after uint64, ceiling notice.TLP, yield func(api.Event) error) error {
	f.mu.Lock()
	next := 0
	var now uint64
	if after == api.FromNow {
		if next = len(f.events); next > 0 {
			now = f.events[next-1].Seq
		}
	}
	f.mu.Unlock()
	if after == api.FromNow {
		if err := yield(api.Event{Seq: now}); err != nil {
			return err
		}
	}
	for {
		f.mu.Lock()
		events, arrived := f.events[next:], f.arrived
		f.mu.Unlock()
		for _, e := range events {
			next++
			if after != api.FromNow && e.Seq <= after || ceiling < notice.TLPAmber {
				continue
			}
			if err := yield(e); err != nil {
				return err
			}
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// service is a running server with a token of each role.
type service struct {
	*api.Server
	node   *fakeNode
	tokens *token.Tokens
	dir    string
	secret map[string]string
}

func start(t *testing.T, edit func(*api.Config)) *service {
	t.Helper()
	dir := t.TempDir()
	tokens, err := token.Open(filepath.Join(dir, "tokens.json"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{node: newFakeNode(), tokens: tokens, dir: dir, secret: map[string]string{}}
	for name, rights := range map[string]struct {
		role    token.Role
		ceiling notice.TLP
	}{
		"reader": {token.Reader, notice.TLPRed}, "reporter": {token.Reporter, notice.TLPRed},
		"admin": {token.Admin, notice.TLPRed}, "green": {token.Admin, notice.TLPGreen},
	} {
		secret, _, err := tokens.Create(name, rights.role, rights.ceiling, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		s.secret[name] = secret
	}
	registry := prometheus.NewRegistry()
	c := api.Config{Node: s.node, Tokens: tokens, Listen: "127.0.0.1:0", Registerer: registry, Gatherer: registry, Version: "0.0.0"}
	if edit != nil {
		edit(&c)
	}
	if s.Server, err = api.New(c); err != nil {
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
	return s
}

// answer is a response whose body was read.
type answer struct {
	*http.Response
	body string
}

func (a answer) problem(t *testing.T) *api.Problem {
	t.Helper()
	if ct := a.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Fatalf("status %d with content type %q, want a problem: %s", a.StatusCode, ct, a.body)
	}
	p := &api.Problem{}
	if err := json.Unmarshal([]byte(a.body), p); err != nil {
		t.Fatalf("problem: %v: %s", err, a.body)
	}
	if p.Status != a.StatusCode || p.Title == "" || p.Detail == "" || !strings.HasPrefix(p.Type, "urn:watchward:problem:") {
		t.Fatalf("incomplete problem: %s", a.body)
	}
	return p
}

func (a answer) decode(t *testing.T, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), into); err != nil {
		t.Fatalf("status %d: %v: %s", a.StatusCode, err, a.body)
	}
}

// ask sends a request with the token of the given name ("" = none).
func (s *service) ask(t *testing.T, who, method, path, body string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if who != "" {
		r.Header.Set("Authorization", "Bearer "+s.secret[who])
	}
	for i := 0; i+1 < len(headers); i += 2 {
		switch headers[i] {
		case "Host":
			r.Host = headers[i+1]
			continue
		case "Chunked":
			r.ContentLength = -1
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.Header.Get("Content-Type") == "text/event-stream" {
		return answer{Response: res}
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res, string(text)}
}

// dialSocket returns a client for the Unix socket.
func dialSocket(path string) *http.Transport {
	return &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
}

// Records names the members that were asked for.
func (f *fakeNode) Records(_ context.Context, members []string, all bool) ([]byte, error) {
	return fmt.Appendf(nil, "%q %v", members, all), nil
}
