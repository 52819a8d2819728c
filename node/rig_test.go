package node_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/notice"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen: less than a round of sync, which
// would hide what does not come at once.
const patience = 25 * time.Second

// A clock runs like the real one, from wherever a test sets it, or stands.
type clock struct {
	ahead  atomic.Int64 // ns
	stands atomic.Int64 // ns since 1970; 0: it runs
}

func (c *clock) Now() time.Time {
	now := time.Now()
	if at := c.stands.Load(); at != 0 {
		now = time.Unix(0, at)
	}
	return now.Add(time.Duration(c.ahead.Load()))
}

// stop makes it stand at one in the morning of the next day, UTC: what is counted by time or by
// day is then the same on any machine, at any time.
func (c *clock) stop() {
	now := c.Now()
	c.advance(now.Truncate(24 * time.Hour).Add(25 * time.Hour).Sub(now))
	c.stands.Store(time.Now().UnixNano())
}

func (c *clock) now() int64 { return c.Now().UnixMilli() }

// advance sets the clock forward, or back.
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// settle makes everything said so far old enough to be compared by sync.
func (c *clock) settle() { c.advance(2 * time.Minute) }

// A hospital is a node's directory, and the node while it runs.
type hospital struct {
	*node.Node
	dir   string
	clock *clock
	log   *slog.Logger // nil = none
}

// A region is some hospitals that run in this process, on loopback.
type region struct {
	key       *crypto.PrivateKey
	hospitals []*hospital
	clock     *clock
}

// makeRegion makes the directories of n hospitals in one region by the steps
// that a real one takes. None of them knows an address of another.
func makeRegion(t testing.TB, n int) *region {
	t.Helper()
	return makeMembers(t, n, func(int) trust.Role { return trust.RoleHospital })
}

// makeMembers is makeRegion with a role for each but the first, which is a
// coordinator's.
func makeMembers(t testing.TB, n int, role func(i int) trust.Role) *region {
	t.Helper()
	dir := t.TempDir()
	r := &region{clock: &clock{}}
	for i := range n {
		h := &hospital{dir: filepath.Join(dir, fmt.Sprintf("hospital-%d", i+1)), clock: r.clock}
		makeNode(t, h.dir, fmt.Sprintf("Hospital %d", i+1))
		r.hospitals = append(r.hospitals, h)
	}
	var err error
	if r.key, err = crypto.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	if _, err := node.CreateRegion(r.hospitals[0].dir, trust.Charter{Name: "Test region"}, r.key, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	for i, h := range r.hospitals[1:] {
		if _, err := node.Join(h.dir, r.admissionAs(t, h.dir, role(i+1))); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, h := range r.hospitals {
			h.stop(t)
		}
	})
	return r
}

// admission is what the region hands to the node in dir.
func (r *region) admission(t testing.TB, dir string) []byte {
	t.Helper()
	return r.admissionAs(t, dir, trust.RoleHospital)
}

func (r *region) admissionAs(t testing.TB, dir string, role trust.Role) []byte {
	t.Helper()
	request, err := os.ReadFile(filepath.Join(dir, node.RequestFile))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := node.Admit(r.hospitals[0].dir, r.key, request, role, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// startRegion starts a region of n hospitals and returns when all are connected.
func startRegion(t testing.TB, n int) *region {
	t.Helper()
	r := makeRegion(t, n)
	for _, h := range r.hospitals {
		h.open(t)
	}
	for _, h := range r.hospitals {
		h.start(t, nil)
	}
	r.meet(t)
	return r
}

// seeds are the addresses of all hospitals that are open.
func (r *region) seeds() []string {
	var out []string
	for _, h := range r.hospitals {
		if h.Node != nil {
			out = append(out, h.MeshAddrs()...)
		}
	}
	return out
}

// meet tells all running hospitals of each other and waits until they have met.
func (r *region) meet(t testing.TB) {
	t.Helper()
	for _, h := range r.hospitals {
		if h.Node == nil {
			continue
		}
		if err := h.Mesh().AddSeeds(r.seeds()); err != nil {
			t.Fatal(err)
		}
	}
	r.awaitPeers(t)
}

// awaitPeers waits until each running hospital is connected to all others.
func (r *region) awaitPeers(t testing.TB) {
	t.Helper()
	running := 0
	for _, h := range r.hospitals {
		if h.Node != nil {
			running++
		}
	}
	for _, h := range r.hospitals {
		if h.Node == nil {
			continue
		}
		eventually(t, fmt.Sprintf("%s is connected to %d others and has compared", h.Name(), running-1), func() bool {
			met := 0
			for _, p := range h.Mesh().Peers() {
				if !p.LastSync.IsZero() {
					met++
				}
			}
			return met == running-1
		})
	}
}

func makeNode(t testing.TB, dir, name string) {
	t.Helper()
	mesh := []string{"/ip4/127.0.0.1/udp/0/quic-v1"}
	if err := node.Init(dir, node.InitOptions{Name: name, API: "127.0.0.1:0", Mesh: mesh, TLP: "GREEN"}); err != nil {
		t.Fatal(err)
	}
}

// copyNode copies the directory of a stopped node, with the rights its key needs.
func copyNode(t testing.TB, to, from string) {
	t.Helper()
	if err := errors.Join(os.CopyFS(to, os.DirFS(from)), os.Chmod(filepath.Join(to, "identity.key"), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func (h *hospital) open(t testing.TB) {
	t.Helper()
	settings, err := config.Load(filepath.Join(h.dir, node.ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	settings.API.Socket = ""
	n, err := node.Open(node.Options{Dir: h.dir, Settings: settings, Version: "test", Now: h.clock.Now, Log: h.log})
	if err != nil {
		t.Fatal(err)
	}
	h.Node = n
}

func (h *hospital) start(t testing.TB, seeds []string) {
	t.Helper()
	if err := errors.Join(h.Start(), h.Meet(seeds)); err != nil {
		t.Fatal(err)
	}
}

// alone starts a hospital that nobody will greet, and lets the time pass in
// which its first signature waits for a greeting.
func (h *hospital) alone(t testing.TB) {
	t.Helper()
	h.start(t, nil)
	h.clock.advance(4 * time.Second)
}

func (h *hospital) stop(t testing.TB) {
	t.Helper()
	if h.Node == nil {
		return
	}
	if err := h.Close(); err != nil {
		t.Errorf("close %s: %v", h.Name(), err)
	}
	h.Node = nil
}

// submit states something, and nothing of it may be refused.
func (h *hospital) submit(t testing.TB, o api.SubmitOptions, items ...api.Submission) []api.NoticeView {
	t.Helper()
	result, err := h.Submit(t.Context(), items, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Refused) > 0 {
		t.Fatalf("%s refused %d of %d: %+v", h.Name(), len(result.Refused), len(items), result.Refused[0])
	}
	return result.Notices
}

// refuses states one thing and returns why it was refused.
func (h *hospital) refuses(t testing.TB, o api.SubmitOptions, item api.Submission) api.Refused {
	t.Helper()
	result, err := h.Submit(t.Context(), []api.Submission{item}, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Refused) != 1 || len(result.Notices) != 0 {
		t.Fatalf("%s took %+v", h.Name(), item)
	}
	if r := result.Refused[0]; r.Reason == "" || r.Fix == "" || r.Field == "" {
		t.Fatalf("the refusal says too little: %+v", r)
	}
	return result.Refused[0]
}

// lookup answers one value.
func (h *hospital) lookup(t testing.TB, value string, ceiling notice.TLP) api.LookupAnswer {
	t.Helper()
	answers, err := h.Lookup(t.Context(), []string{value}, api.LookupOptions{Ceiling: ceiling})
	if err != nil {
		t.Fatal(err)
	}
	return answers[0]
}

func (h *hospital) knows(t testing.TB, value string) bool {
	t.Helper()
	return h.lookup(t, value, 0).Known
}

// notice returns a notice with what a reader should know of it.
func (h *hospital) notice(t testing.TB, id string) (api.NoticeView, bool) {
	t.Helper()
	view, _, found, err := h.Notice(t.Context(), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	return view, found
}

func (h *hospital) marked(t testing.TB, id, mark string) bool {
	t.Helper()
	view, found := h.notice(t, id)
	return found && slices.Contains(view.Marks, mark)
}

// alerts returns the alerts of one kind.
func (h *hospital) alerts(t testing.TB, kind string) []api.AlertView {
	t.Helper()
	all, _, err := h.Alerts(t.Context(), api.AlertQuery{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(a api.AlertView) bool { return a.Kind != kind })
}

// held returns the raw envelopes of one author that a hospital holds, by chain
// and number.
func (h *hospital) held(t testing.TB, author crypto.MemberID) []*crypto.Envelope {
	t.Helper()
	var out []*crypto.Envelope
	for _, a := range []crypto.Audience{crypto.AudienceRegion, crypto.AudienceCommunity} {
		for _, c := range h.Store().Frontier().Chains(h.regionID(t), a) {
			if c.Chain.Author != author {
				continue
			}
			for _, r := range c.Ranges {
				err := h.Path().Read(c.Chain, r, false, func(_ uint64, raw []byte) bool {
					e, err := crypto.ParseEnvelope(bytes.Clone(raw))
					if err != nil {
						t.Error(err)
						return false
					}
					out = append(out, e)
					return true
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return out
}

// awaitHeld waits until a hospital holds so many raw envelopes of one author, and returns
// them: a notice is signed a moment before the envelope is counted.
func (h *hospital) awaitHeld(t testing.TB, author crypto.MemberID, n int) (out []*crypto.Envelope) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s holds %d envelopes", h.Name(), n), func() bool {
		out = h.held(t, author)
		return len(out) == n
	})
	return out
}

func (h *hospital) regionID(t testing.TB) crypto.Region {
	t.Helper()
	_, id, err := node.Charter(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// member is a hospital's member id.
func (h *hospital) member(t testing.TB) crypto.MemberID {
	t.Helper()
	id, err := keyfile.Load(filepath.Join(h.dir, "identity.key"))
	if err != nil {
		t.Fatal(err)
	}
	return crypto.NewMemberID(id.Signing.Public())
}

// eventually waits for what must become true.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	eventuallyIn(t, patience, what, holds)
}

func eventuallyIn(t testing.TB, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("after %s it does not hold that %s", limit, what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// sighting is a submission of something seen here at a fixed time.
func sighting(value string, at int64) api.Submission {
	return api.Submission{Kind: "sighting", Value: value, FirstSeen: api.Time(at), LastSeen: api.Time(at)}
}
