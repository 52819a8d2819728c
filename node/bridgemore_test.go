package node_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// pythonEnv names a Python that has medallion 3.0.0.
const pythonEnv = "WATCHWARD_PYTHON"

const medallionConfig = `{
	"users": {"analyst": "p4ssw0rd"},
	"taxii": {"max_page_size": 40},
	"data": {
		"/discovery": {"title": "medallion", "default": "http://127.0.0.1:PORT/api1/", "api_roots": ["http://127.0.0.1:PORT/api1/"]},
		"api1": {
			"information": {"title": "One", "versions": ["application/taxii+json;version=2.1"], "max_content_length": 200000},
			"status": [],
			"collections": [{"id": "91a7b528-80eb-42ed-a74d-c6fbd5a26116", "title": "Both", "can_read": true, "can_write": true, "media_types": [], "manifest": [], "objects": []}]
		}
	}
}`

// A server that others wrote stands between two regions, with two bridges to it in one.
func TestBridgesByMedallion(t *testing.T) {
	python := os.Getenv(pythonEnv)
	if python == "" {
		t.Skip("SKIPPED: " + pythonEnv + " is not set to a Python with medallion 3.0.0: bridges are NOT tested with a foreign server")
	}
	c := exec.Command(python, "taxii/client/testdata/foreign.py")
	c.Stdin, c.Stderr = strings.NewReader(medallionConfig), t.Output()
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("medallion does not start: %v", err)
	}
	a, b := makeRegions(t, 2)
	bridged := []*hospital{a.hospitals[0], b.hospitals[0], b.hospitals[1]}
	for _, h := range bridged {
		h.configure(t, fmt.Sprintf("[[bridge]]\nname = \"isac\"\nkind = \"taxii\"\nurl = \"http://127.0.0.1:%s/taxii2/\"\ncollection = \"Both\"\nuser = \"analyst\"\npassword_file = %q\npull = true\nshare = true\npush = \"all\"\nceiling = \"AMBER\"\nevery = \"24h\"\nprivate = true\n",
			strings.TrimSpace(port), h.secret(t, "password", "p4ssw0rd")))
	}
	for _, r := range []*region{a, b} {
		for _, h := range r.hospitals {
			h.open(t)
			h.BridgeTurns("isac", func() {})
			h.start(t, nil)
		}
		r.meet(t)
	}
	a.bridged(t, "isac")
	b.bridged(t, "isac")
	round := func() {
		for _, h := range bridged {
			h.bridges(t, "isac")
			a.agree(t)
			b.agree(t)
		}
	}
	all := slices.Concat(a.hospitals, b.hospitals)
	there, here := a.hospitals[1], b.hospitals[1]
	var mine, theirs []string
	for i := range 20 {
		theirs = append(theirs, there.submit(t, amber, sighting(fmt.Sprintf("there-%d.example", i), a.clock.now()))[0].ID)
		mine = append(mine, here.submit(t, green, api.Submission{Kind: "indicator", Value: fmt.Sprintf("here-%d.example", i), Context: &api.Context{Family: "QakBot"}})[0].ID)
	}
	for i := range 20 {
		hasWords(t, round, fmt.Sprintf("there-%d.example", i), []string{"sighting AMBER"}, all...)
		hasWords(t, round, fmt.Sprintf("here-%d.example", i), []string{"indicator GREEN"}, all...)
	}
	there.submit(t, api.SubmitOptions{}, api.Submission{Kind: "retraction", Ref: theirs[3], Reason: "a mistake"})
	here.submit(t, api.SubmitOptions{}, api.Submission{Kind: "retraction", Ref: mine[4], Reason: "a mistake"})
	hasWords(t, round, "there-3.example", []string{"sighting AMBER retracted"}, b.hospitals...)
	hasWords(t, round, "here-4.example", []string{"indicator GREEN retracted"}, a.hospitals...)
	there.submit(t, api.SubmitOptions{}, api.Submission{Kind: "dispute", Ref: a.hospitals[0].notices(t, "here-5.example")[0], Reason: "a CDN"})
	hasWords(t, round, "here-5.example", []string{"dispute GREEN", "indicator GREEN"}, b.hospitals...)
	before := fmt.Sprint(all[0].total(t), all[2].total(t))
	for range 3 {
		round()
	}
	if after := fmt.Sprint(all[0].total(t), all[2].total(t)); after != before {
		t.Errorf("there were %s notices, and after three more rounds there are %s", before, after)
	}
}

// A node of the role bridge takes in what its charter lets it say, and refuses the rest
// one by one, in words that tell what to do.
func TestBridgeRoleTakesWhatItMaySay(t *testing.T) {
	a, b := makeRegion(t, 1), makeMembers(t, 2, func(int) trust.Role { return trust.RoleBridge })
	b.clock = a.clock
	for _, h := range b.hospitals {
		h.clock = a.clock
	}
	from, to := a.hospitals[0], b.hospitals[1]
	from.exchanges(t, "share")
	from.open(t)
	from.alone(t)
	to.bridgeTo(t, from, "isac", "")
	for _, h := range b.hospitals {
		h.open(t)
		h.start(t, nil)
	}
	b.meet(t)
	from.submit(t, amber, sighting("amber.example", a.clock.now()), sighting("amber-2.example", a.clock.now()))
	from.submit(t, green, sighting("green.example", a.clock.now()))
	hasWords(t, func() { to.bridges(t, "isac") }, "green.example", []string{"sighting GREEN"}, b.hospitals...)
	eventually(t, "what is for the region alone is refused", func() bool {
		to.bridges(t, "isac")
		d, _ := to.Bridge("isac")
		return d.Refused >= 2
	})
	d, _ := to.Bridge("isac")
	if len(d.Reasons) != 1 || !strings.Contains(d.Reasons[0].Reason, "the region's charter gives a bridge no part") || !strings.Contains(d.Reasons[0].Reason, "region amend --region-role") {
		t.Errorf("the reasons are %+v", d.Reasons)
	}
	if to.knows(t, "amber.example") {
		t.Error("AMBER was taken in by a bridge")
	}
	if len(d.Reason) > 0 || d.State != "good" {
		t.Errorf("the bridge is %s: %s", d.State, d.Reason)
	}

	// What the charter allows from then on is taken, though it was refused before.
	charter, _, err := node.Charter(b.hospitals[0].dir)
	if err != nil {
		t.Fatal(err)
	}
	allow, _, err := trust.Amend(charter, trust.Charter{Name: charter.Name, Threshold: 1, Coordinators: charter.Coordinators, RegionRoles: []trust.Role{trust.RoleBridge}})
	if err != nil {
		t.Fatal(err)
	}
	records, err := trust.Act(charter, []*crypto.PrivateKey{b.key}, b.clock.now(), allow)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range b.hospitals {
		if err := h.Path().AddTrust(t.Context(), records); err != nil {
			t.Fatal(err)
		}
	}
	hasWords(t, func() { to.bridges(t, "isac") }, "amber.example", []string{"sighting AMBER"}, b.hospitals...)
}

// A wobbly server stands before another, wherever that is, and fails as it is told.
type wobbly struct {
	to    atomic.Pointer[url.URL]
	fails atomic.Pointer[func(w http.ResponseWriter, r *http.Request, serve http.Handler)]
}

func (s *wobbly) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := httputil.NewSingleHostReverseProxy(s.to.Load())
	p.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusNotFound) }
	if f := s.fails.Swap(nil); f != nil {
		(*f)(w, r, p)
		return
	}
	p.ServeHTTP(w, r)
}

// failures are what may happen to one request. None is one that the client tries again
// by itself, since the test would wait.
var failures = []func(w http.ResponseWriter, r *http.Request, serve http.Handler){
	func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { w.WriteHeader(http.StatusForbidden) },
	func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { fmt.Fprint(w, "<html>") },
	func(w http.ResponseWriter, r *http.Request, serve http.Handler) { // done, and not heard
		serve.ServeHTTP(httptest.NewRecorder(), r)
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<html>")
	},
	func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Retry-After", "7200")
		w.WriteHeader(http.StatusTooManyRequests)
	},
}

// Whatever comes in whatever order, words, withdrawals, rounds, failures and restarts, in
// the end each word is once on each side.
func TestBridgeInAnyOrder(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { bridgeInAnyOrder(t, rand.New(rand.NewPCG(seed, 9))) })
	}
}

func bridgeInAnyOrder(t *testing.T, random *rand.Rand) {
	a, b := makeRegions(t, 1)
	from, to := a.hospitals[0], b.hospitals[0]
	from.exchanges(t, "share")
	from.open(t)
	from.alone(t)
	w := &wobbly{}
	proxy := httptest.NewServer(w)
	t.Cleanup(proxy.Close)
	aim := func() {
		u, err := url.Parse(from.APIURL())
		if err != nil {
			t.Fatal(err)
		}
		w.to.Store(u)
	}
	aim()
	file := to.secret(t, "token", from.token(t, "bridge", "reporter", notice.TLPAmber))
	to.configure(t, fmt.Sprintf("[[bridge]]\nname = \"isac\"\nkind = \"taxii\"\nurl = \"%s/taxii2/\"\ncollection = \"amber\"\npush_collection = \"inbox\"\ntoken_file = %q\npull = true\nshare = true\npush = \"all\"\nceiling = \"AMBER\"\nevery = \"24h\"\nprivate = true\n", proxy.URL, file))
	to.open(t)
	to.alone(t)
	type spoken struct {
		by        *hospital
		id, value string
		kind, tlp string
		back      bool
	}
	var said []*spoken
	restart := func(h *hospital) {
		h.stop(t)
		h.open(t)
		h.start(t, nil)
	}
	for step := range 40 {
		switch random.IntN(8) {
		case 0, 1, 2:
			s := &spoken{by: []*hospital{from, to}[random.IntN(2)], value: fmt.Sprintf("word-%d.example", step), kind: []string{"sighting", "indicator"}[random.IntN(2)]}
			o := []api.SubmitOptions{green, amber}[random.IntN(2)]
			s.tlp = o.TLP.String()
			s.id = s.by.submit(t, o, api.Submission{Kind: s.kind, Value: s.value})[0].ID
			said = append(said, s)
		case 3:
			if len(said) == 0 {
				continue
			}
			if s := said[random.IntN(len(said))]; !s.back {
				s.back = true
				s.by.submit(t, api.SubmitOptions{}, api.Submission{Kind: "retraction", Ref: s.id, Reason: "a mistake"})
			}
		case 4, 5:
			to.BridgeOnce(t.Context(), "isac")
		case 6:
			f := failures[random.IntN(len(failures))]
			w.fails.Store(&f)
			to.BridgeOnce(t.Context(), "isac")
		case 7:
			if random.IntN(2) == 0 {
				restart(to)
			} else {
				restart(from)
				aim()
			}
		}
	}
	w.fails.Store(nil)
	for _, s := range said {
		other := from
		if s.by == from {
			other = to
		}
		want := []string{s.kind + " " + s.tlp}
		if s.back {
			want[0] += " retracted"
		}
		eventually(t, fmt.Sprintf("%s has %q of %s", other.Name(), want, s.value), func() bool {
			to.bridges(t, "isac")
			got := other.words(t, s.value)
			return slices.Equal(got, want) || s.back && len(got) == 0 // taken back before it crossed
		})
		if got := s.by.words(t, s.value); !slices.Equal(got, want) {
			t.Errorf("%s said %q of %s and has %q", s.by.Name(), want, s.value, got)
		}
	}
}

// Two regions of two exchange thousands of words both ways over two bridges at once.
// WATCHWARD_BRIDGED sets how many on each side, 10,000 for the figure.
func TestBridgesExchangeThousands(t *testing.T) { exchanged(t) }

func exchanged(t testing.TB) (a, b *region) {
	t.Helper()
	count := 1_000
	if n, err := strconv.Atoi(os.Getenv("WATCHWARD_BRIDGED")); err == nil {
		count = n
	}
	a, b, round := bridgedRegions(t, true, "")
	say := func(h *hospital, side string) {
		for from := 0; from < count; from += 1000 {
			var all []api.Submission
			for i := from; i < min(from+1000, count); i++ {
				all = append(all, sighting(fmt.Sprintf("%s-%d.example", side, i), a.clock.now()))
			}
			h.submit(t, []api.SubmitOptions{green, amber}[from/1000%2], all...)
		}
	}
	say(a.hospitals[1], "there")
	say(b.hospitals[1], "here")
	start := time.Now()
	all := slices.Concat(a.hospitals, b.hospitals)
	eventuallyIn(t, 10*time.Minute, "all have all", func() bool {
		round()
		for _, h := range all {
			if s, err := h.Store().Stats(); err != nil || s.Notices < uint64(2*count) {
				return false
			}
		}
		return true
	})
	t.Logf("%d words each way in %s", count, time.Since(start).Round(time.Millisecond))
	round()
	for _, h := range all {
		s, err := h.Store().Stats()
		if err != nil || s.Notices != uint64(2*count) {
			t.Errorf("%s has %d notices, want %d each once, error %v", h.Name(), s.Notices, 2*count, err)
		}
		for i := 0; i < count; i += max(1, count/50) {
			for _, side := range []string{"there", "here"} {
				value := fmt.Sprintf("%s-%d.example", side, i)
				if !h.lookup(t, value, notice.TLPAmber).Known || h.lookup(t, value, notice.TLPGreen).Known != (i/1000%2 == 0) {
					t.Fatalf("%s has another marking of %s than it was said under", h.Name(), value)
				}
			}
		}
	}
	return a, b
}

// Two bridges of one region to another that would take and push the same at the same
// time: the second waits until the first has had its turn.
func TestBridgesTakeTurns(t *testing.T) {
	a, b, _ := bridgedRegions(t, true, "")
	all := slices.Concat(a.hospitals, b.hospitals)
	there, here := a.hospitals[1], b.hospitals[1]
	for i, h := range b.hospitals { // each sees that the other takes too
		there.submit(t, green, sighting(fmt.Sprintf("first-%d.example", i), a.clock.now()))
		a.agree(t)
		h.bridges(t, "isac")
		a.agree(t)
		b.agree(t)
		b.hospitals[1-i].bridges(t, "isac")
	}
	first, second := b.hospitals[0], b.hospitals[1]
	if first.member(t).String() > second.member(t).String() {
		first, second = second, first
	}
	together := func() {
		t.Helper()
		a.agree(t)
		b.agree(t)
		waits, goOn, done := make(chan struct{}, 9), make(chan struct{}), make(chan string, 1)
		second.BridgeTurns("isac", func() { waits <- struct{}{}; <-goOn })
		first.BridgeTurns("isac", func() { t.Error("the first one waits") })
		go func() { done <- second.BridgeOnce(t.Context(), "isac") }()
		select {
		case <-waits:
		case why := <-done:
			t.Fatalf("the second one does not wait: %s", why)
		}
		first.bridges(t, "isac")
		a.agree(t)
		b.agree(t)
		close(goOn)
		if why := <-done; why != "" {
			t.Fatal(why)
		}
		a.agree(t)
		b.agree(t)
	}
	there.submit(t, amber, sighting("there.example", a.clock.now()))
	together()
	here.submit(t, green, sighting("here.example", a.clock.now()))
	together()
	hasWords(t, func() {}, "there.example", []string{"sighting AMBER"}, all...)
	hasWords(t, func() {}, "here.example", []string{"sighting GREEN"}, all...)
}

// A between stands before a service: it does something after an answer was made and
// before it is given, and keeps what is pushed.
type between struct {
	to     atomic.Pointer[url.URL]
	then   atomic.Pointer[func()]
	mu     sync.Mutex
	pushed strings.Builder
}

func (s *between) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		raw, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.pushed.Write(raw)
		s.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(raw))
	}
	answer := httptest.NewRecorder()
	httputil.NewSingleHostReverseProxy(s.to.Load()).ServeHTTP(answer, r)
	if strings.HasSuffix(r.URL.Path, "/objects/") && r.Method == http.MethodGet {
		if then := s.then.Swap(nil); then != nil {
			(*then)()
		}
	}
	for k, v := range answer.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// What another member's bridge takes in while this one reads is not pushed to where it
// came from, though this one did not see it there.
func TestBridgePushesNothingThatCameMeanwhile(t *testing.T) {
	a, b := makeRegions(t, 2)
	for _, h := range a.hospitals {
		h.exchanges(t, "share")
		h.open(t)
		h.start(t, nil)
	}
	a.meet(t)
	s := &between{}
	proxy := httptest.NewServer(s)
	t.Cleanup(proxy.Close)
	u, err := url.Parse(a.hospitals[0].APIURL())
	if err != nil {
		t.Fatal(err)
	}
	s.to.Store(u)
	b.hospitals[0].bridgeTo(t, a.hospitals[0], "isac", "")
	file := b.hospitals[1].secret(t, "token", a.hospitals[0].token(t, "second", "reporter", notice.TLPAmber))
	b.hospitals[1].configure(t, fmt.Sprintf("[[bridge]]\nname = \"isac\"\nkind = \"taxii\"\nurl = \"%s/taxii2/\"\ncollection = \"amber\"\npush_collection = \"inbox\"\ntoken_file = %q\npush = \"all\"\nevery = \"24h\"\nprivate = true\n", proxy.URL, file))
	for _, h := range b.hospitals {
		h.open(t)
		h.start(t, nil)
	}
	b.meet(t)
	b.bridged(t, "isac")
	b.hospitals[1].submit(t, green, sighting("own.example", a.clock.now())) // so that there is something to push
	b.agree(t)
	then := func() {
		a.hospitals[0].submit(t, green, sighting("there.example", a.clock.now()))
		a.agree(t)
		b.hospitals[0].bridges(t, "isac")
		b.agree(t)
	}
	s.then.Store(&then)
	for range 3 {
		b.hospitals[1].bridges(t, "isac")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if text := s.pushed.String(); !strings.Contains(text, "own.example") || strings.Contains(text, "there.example") {
		t.Errorf("it pushed %s", text)
	}
	if b.hospitals[1].total(t) != 2 {
		t.Errorf("a bridge that only pushes has taken something in: %d notices", b.hospitals[1].total(t))
	}
}

// Two regions share over TAXII and over MISP at once: a word that comes both ways is one.
func TestBridgesOfTwoKinds(t *testing.T) {
	a, b := makeRegions(t, 1)
	from, to := a.hospitals[0], b.hospitals[0]
	m, address := newMISP(t, a.clock.Now)
	for _, h := range []*hospital{from, to} {
		h.configure(t, fmt.Sprintf("[[bridge]]\nname = \"csirt\"\nkind = \"misp\"\nurl = %q\nkey_file = %q\npull = true\nshare = true\npush = \"all\"\nevery = \"24h\"\nprivate = true\n",
			address, h.secret(t, "misp.key", "the-key")))
	}
	from.exchanges(t, "share")
	from.open(t)
	from.alone(t)
	to.bridgeTo(t, from, "isac", "")
	to.open(t)
	to.start(t, nil)
	a.bridged(t, "csirt")
	b.bridged(t, "csirt")
	b.bridged(t, "isac")
	rounds := 0
	round := func() { // now the one way comes first, now the other
		a.clock.advance(10 * time.Second)
		if rounds++; rounds%2 == 0 {
			to.bridges(t, "isac")
			b.agree(t)
		}
		from.bridges(t, "csirt")
		a.agree(t)
		to.bridges(t, "csirt")
		b.agree(t)
		from.bridges(t, "csirt")
		a.agree(t)
		to.bridges(t, "isac")
		b.agree(t)
	}
	m.add("5be1e65d-8198-497b-bdf5-000000000001", "5be1e65d-8198-497b-bdf5-000000000002", "tlp:green", "cert.example")
	for i := range 3 {
		from.submit(t, green, sighting(fmt.Sprintf("there-%d.example", i), a.clock.now()))
		to.submit(t, green, api.Submission{Kind: "indicator", Value: fmt.Sprintf("here-%d.example", i)})
		round()
	}
	for i := range 3 {
		hasWords(t, round, fmt.Sprintf("there-%d.example", i), []string{"sighting GREEN"}, from, to)
		hasWords(t, round, fmt.Sprintf("here-%d.example", i), []string{"indicator GREEN"}, from, to)
	}
	for range 3 {
		round()
	}
	for _, h := range []*hospital{from, to} {
		if n := h.total(t); n != 7 {
			t.Errorf("%s has %d notices, want 7: %q %q %q", h.Name(), n, h.words(t, "cert.example"), h.words(t, "there-0.example"), h.words(t, "here-0.example"))
		}
	}
}
