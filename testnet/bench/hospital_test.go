package bench_test

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/store"
)

const quicAny = "/ip4/127.0.0.1/udp/0/quic-v1"

// A clock runs like the real one, from wherever a run sets it.
type clock struct{ ahead atomic.Int64 } // ns

func (c *clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// settle makes everything said so far old enough to be compared by sync.
func (c *clock) settle() { c.ahead.Add(int64(2 * time.Minute)) }

// A hospital is a node's directory, and the node while it runs.
type hospital struct {
	*node.Node
	dir    string
	clock  *clock
	listen []string // where it was found the first time: others look for it there
}

// makeRegion makes the directories of n hospitals in one region by the steps
// that a real one takes.
func makeRegion(t testing.TB, n int) []*hospital {
	t.Helper()
	dir, c := t.TempDir(), &clock{}
	out := make([]*hospital, n)
	for i := range out {
		out[i] = &hospital{dir: filepath.Join(dir, fmt.Sprintf("hospital-%d", i+1)), clock: c}
		initNode(t, out[i].dir, fmt.Sprintf("Hospital %d", i+1))
		t.Cleanup(func() { out[i].stop(t) })
	}
	key, err := crypto.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := node.CreateRegion(out[0].dir, trust.Charter{Name: "Bench"}, key, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, h := range out[1:] {
		request, err := os.ReadFile(filepath.Join(h.dir, node.RequestFile))
		if err != nil {
			t.Fatal(err)
		}
		admission, err := node.Admit(out[0].dir, key, request, trust.RoleHospital, nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := node.Join(h.dir, admission); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// enlist makes the directory of a member of a test region, whose other members'
// keys the run holds. It is admitted with the charter and the first records
// alone; the others it learns from a peer.
func enlist(t testing.TB, r *testkit.Region, m *testkit.Member, records ...[]byte) *hospital {
	t.Helper()
	h := &hospital{dir: t.TempDir(), clock: &clock{}}
	if err := keyfile.Save(filepath.Join(h.dir, "identity.key"), m.Identity); err != nil {
		t.Fatal(err)
	}
	initNode(t, h.dir, m.Credential.Name)
	admission, err := canon.Marshal(node.Admission{Region: r.ID, Records: slices.Concat(r.Records[:1], records), Seeds: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := node.Join(h.dir, admission); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.stop(t) })
	return h
}

func initNode(t testing.TB, dir, name string) {
	t.Helper()
	o := node.InitOptions{Name: name, API: "127.0.0.1:0", Mesh: []string{quicAny}, TLP: "GREEN"}
	if err := node.Init(dir, o); err != nil {
		t.Fatal(err)
	}
}

func (h *hospital) open(t testing.TB) {
	t.Helper()
	settings, err := config.Load(filepath.Join(h.dir, node.ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	settings.API.Socket, settings.Metrics.Public = "", true
	if h.listen != nil {
		settings.Mesh.Listen = h.listen
	}
	if h.Node, err = node.Open(node.Options{Dir: h.dir, Settings: settings, Version: "bench", Now: h.clock.Now}); err != nil {
		t.Fatal(err)
	}
}

func (h *hospital) start(t testing.TB) {
	t.Helper()
	if err := h.Start(); err != nil {
		t.Fatal(err)
	}
	h.listen = nil
	for _, a := range h.MeshAddrs() {
		a, _, _ = strings.Cut(a, "/p2p/")
		h.listen = append(h.listen, a)
	}
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

// startAll starts hospitals, then tells each where the others are.
func startAll(t testing.TB, all []*hospital) {
	t.Helper()
	var seeds []string
	for _, h := range all {
		h.open(t)
		h.start(t)
		seeds = append(seeds, h.MeshAddrs()...)
	}
	for _, h := range all {
		if err := h.Meet(seeds); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitSync waits until a node has compared with so many others.
func (h *hospital) awaitSync(t testing.TB, others int) {
	t.Helper()
	eventually(t, h.Name()+" has compared with the others", 10*time.Millisecond, func() bool {
		members, err := h.Members(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		met := 0
		for _, m := range members {
			if m.Connected && m.LastSync != 0 {
				met++
			}
		}
		return met >= others
	})
}

func (h *hospital) status(t testing.TB) api.Status {
	t.Helper()
	s, err := h.Status(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// syncBytes are the bytes of all sync streams that have ended, by direction.
func (h *hospital) syncBytes(t testing.TB) (in, out int64) {
	t.Helper()
	const name = "watchward_sync_bytes_total{direction="
	lines := bufio.NewScanner(strings.NewReader(get(t, http.DefaultClient, h.APIURL()+"/metrics")))
	for lines.Scan() {
		label, number, ok := strings.Cut(strings.TrimPrefix(lines.Text(), name), "} ")
		if !ok || !strings.HasPrefix(lines.Text(), name) {
			continue
		}
		n, err := strconv.ParseFloat(number, 64)
		if err != nil {
			t.Fatal(err)
		}
		switch label {
		case `"in"`:
			in = int64(n)
		case `"out"`:
			out = int64(n)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	return in, out
}

// get returns the body of a page.
func get(t testing.TB, c *http.Client, url string) string {
	t.Helper()
	answer, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, answer.Status, err)
	}
	return string(body)
}

// holdings reads the envelopes in a stopped node's directory: their ids, those
// of their items, and their bytes.
func (h *hospital) holdings(t testing.TB) (ids map[crypto.EnvelopeID]bool, items map[crypto.ItemID]bool, bytes int64) {
	t.Helper()
	_, region, err := node.Charter(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(store.Options{Dir: filepath.Join(h.dir, "store"), Now: h.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ids, items = map[crypto.EnvelopeID]bool{}, map[crypto.ItemID]bool{}
	for _, a := range []crypto.Audience{crypto.AudienceRegion, crypto.AudienceCommunity} {
		for _, c := range s.Frontier().Chains(region, a) {
			err := s.Read(c.Chain, mesh.Range{From: 1, To: c.Highest()}, false, func(_ uint64, raw []byte) bool {
				e, err := crypto.ParseEnvelope(raw)
				if err != nil {
					t.Error(err)
					return false
				}
				ids[e.ID], bytes = true, bytes+int64(len(raw))
				split, err := e.Split()
				if err != nil {
					t.Error(err)
				}
				for _, item := range split {
					items[crypto.NewItemID(e.Header.Author, crypto.LeafHash(item))] = true
				}
				return true
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return ids, items, bytes
}
