package node_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

const feedsConfig = `name = "St Anna"
[api]
listen = "127.0.0.1:0"
[block]
min_members = 1
[feeds]
dns_listen = "127.0.0.1:0"
tsig_file = "tsig.keys"
[[feeds.list]]
name = "fw"
format = "plain"
types = ["domain"]
consumers = ["local-commands", "absent"]
[[feeds.list]]
name = "dns"
format = "rpz"
zone = "rpz.test"
transfer = ["key:unbound"]
[[feeds.list]]
name = "open"
format = "rpz"
zone = "open.test"
transfer = ["127.0.0.0/8"]
`

const (
	tsigSecret = "c2VjcmV0IG9mIDMyIGJ5dGVzIGZvciBhIHRlc3QhISE="
	tsigKeys   = "key \"unbound\" {\n\talgorithm hmac-sha256;\n\tsecret \"" + tsigSecret + "\";\n};\n"
)

// feeding starts a node alone that has feeds.
func feeding(t *testing.T) *hospital {
	t.Helper()
	h := &hospital{dir: t.TempDir(), clock: &clock{}}
	makeNode(t, h.dir, "St Anna")
	h.serveFeeds(t)
	return h
}

func (h *hospital) serveFeeds(t *testing.T) {
	t.Helper()
	for name, text := range map[string]string{node.ConfigFile: feedsConfig, "tsig.keys": tsigKeys} {
		if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.open(t)
	t.Cleanup(func() { h.stop(t) })
	h.start(t, nil)
}

// feed fetches a feed with the token of the local commands.
func (h *hospital) feed(t *testing.T, name string) (status int, body string) {
	t.Helper()
	secret, err := os.ReadFile(filepath.Join(h.dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodGet, h.APIURL()+"/feeds/"+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(secret)))
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	raw, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, string(raw)
}

func (h *hospital) feeds(t *testing.T, name, line string) func() bool {
	return func() bool {
		status, body := h.feed(t, name)
		return status == http.StatusOK && strings.Contains("\n"+body, "\n"+line+"\n")
	}
}

// here keeps a word on this node.
var here = api.SubmitOptions{Local: true}

func TestFeedFollowsWordsTimeAndRestarts(t *testing.T) {
	h := feeding(t)
	h.submit(t, here, api.Submission{Value: "evil.example", TLP: "AMBER"}, api.Submission{Value: "worse.example", TLP: "AMBER"})
	secret := h.submit(t, here, api.Submission{Value: "secret.example", TLP: "RED"})
	eventually(t, "both are in it", func() bool { return h.feeds(t, "fw", "evil.example")() && h.feeds(t, "fw", "worse.example")() })
	if _, body := h.feed(t, "fw"); strings.Contains(body, "secret") || len(secret) != 1 {
		t.Fatalf("what is RED is in a feed: %q", body)
	}
	h.stop(t)
	h.open(t)
	h.start(t, nil)
	if status, body := h.feed(t, "fw"); status != http.StatusOK || strings.Count(body, "\n") != 2 {
		t.Fatalf("after a restart it serves %d %q at once", status, body)
	}
	h.clock.advance(200 * 24 * time.Hour)
	eventually(t, "it has expired, and would be empty", func() bool {
		status, _ := h.feed(t, "fw")
		return status == http.StatusServiceUnavailable
	})
}

func TestConsumersThatStayAwayAreMissed(t *testing.T) {
	h := feeding(t)
	eventually(t, "it is made", func() bool { status, _ := h.feed(t, "fw"); return status == http.StatusOK })
	h.LookAtConsumers()
	kinds := func() (out []string) {
		alerts, _, err := h.Alerts(t.Context(), api.AlertQuery{Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range alerts {
			if a.Kind == "feed-consumer" {
				out = append(out, a.Text)
			}
		}
		return out
	}
	if missed := kinds(); len(missed) != 0 {
		t.Fatalf("missed at once: %q", missed)
	}
	h.clock.advance(25 * time.Hour)
	h.LookAtConsumers()
	h.LookAtConsumers()
	missed := kinds()
	if len(missed) != 2 || !slices.ContainsFunc(missed, func(s string) bool { return strings.Contains(s, "absent has not fetched the feed fw ever") }) {
		t.Fatalf("missed: %q", missed)
	}
	h.stop(t) // who fetched is known after a restart
	h.open(t)
	h.start(t, nil)
	h.clock.advance(25 * time.Hour)
	h.LookAtConsumers()
	if missed := kinds(); len(missed) != 3 { // who never came is missed again, since this start
		t.Fatalf("after a restart: %q", missed)
	}
}

// transferred transfers a zone and returns the names in it.
func transferred(t *testing.T, addr, zone, key, secret string, serial uint32) ([]dns.RR, error) {
	t.Helper()
	q := new(dns.Msg).SetAxfr(zone)
	if serial != 0 {
		q = new(dns.Msg).SetIxfr(zone, serial, "localhost.", "nobody.invalid.")
	}
	tr := &dns.Transfer{}
	if key != "" {
		tr.TsigSecret = map[string]string{key: secret}
		q.SetTsig(key, dns.HmacSHA256, 300, time.Now().Unix())
	}
	in, err := tr.In(q, addr)
	if err != nil {
		return nil, err
	}
	var out []dns.RR
	for e := range in {
		if e.Error != nil {
			return nil, e.Error
		}
		out = append(out, e.RR...)
	}
	return out, nil
}

func count(rrs []dns.RR, owner string) (n int) {
	for _, rr := range rrs {
		if rr.Header().Name == owner && rr.Header().Rrtype == dns.TypeCNAME {
			n++
		}
	}
	return n
}

func TestZonesAreTransferred(t *testing.T) {
	h := feeding(t)
	h.submit(t, here, api.Submission{Value: "evil.example", TLP: "AMBER"})
	eventually(t, "it is in the zone", h.feeds(t, "dns", "evil.example CNAME ."))
	at := h.ZonesAddr()
	rrs, err := transferred(t, at, "rpz.test.", "unbound.", tsigSecret, 0)
	if err != nil || count(rrs, "evil.example.rpz.test.") != 1 || count(rrs, "*.evil.example.rpz.test.") != 1 {
		t.Fatalf("%v: %v", rrs, err)
	}
	serial := rrs[0].(*dns.SOA).Serial
	for what, try := range map[string]func() error{
		"no key":      func() error { _, err := transferred(t, at, "rpz.test.", "", "", 0); return err },
		"another key": func() error { _, err := transferred(t, at, "rpz.test.", "other.", tsigSecret, 0); return err },
		"wrong secret": func() error {
			_, err := transferred(t, at, "rpz.test.", "unbound.", "AAAA"+tsigSecret[4:], 0)
			return err
		},
		"no such zone":  func() error { _, err := transferred(t, at, "else.test.", "unbound.", tsigSecret, 0); return err },
		"a key of none": func() error { _, err := transferred(t, at, "open.test.", "unbound.", tsigSecret, 0); return err },
	} {
		if try() == nil {
			t.Errorf("%s: transferred", what)
		}
	}
	if rrs, err := transferred(t, at, "open.test.", "", "", 0); err != nil || count(rrs, "evil.example.open.test.") != 1 {
		t.Errorf("by address: %v: %v", rrs, err)
	}

	h.submit(t, here, api.Submission{Value: "worse.example", TLP: "AMBER"})
	eventually(t, "it is in the zone", h.feeds(t, "dns", "worse.example CNAME ."))
	rrs, err = transferred(t, at, "rpz.test.", "unbound.", tsigSecret, serial)
	if err != nil || len(rrs) != 6 || count(rrs, "evil.example.rpz.test.") != 0 || count(rrs, "worse.example.rpz.test.") != 1 {
		t.Fatalf("what changed since %d: %v: %v", serial, rrs, err)
	}
	now := rrs[0].(*dns.SOA).Serial
	if now <= serial {
		t.Fatalf("serial %d after %d", now, serial)
	}
	if rrs, err = transferred(t, at, "rpz.test.", "unbound.", tsigSecret, now); err != nil || len(rrs) != 1 {
		t.Fatalf("nothing changed since %d: %v: %v", now, rrs, err)
	}
	if rrs, err = transferred(t, at, "rpz.test.", "unbound.", tsigSecret, serial-1000); err != nil || count(rrs, "evil.example.rpz.test.") != 1 {
		t.Fatalf("a serial that never was: %v: %v", rrs, err)
	}
	answer, _, err := (&dns.Client{}).Exchange(new(dns.Msg).SetQuestion("open.test.", dns.TypeSOA), at)
	if err != nil || len(answer.Answer) != 1 {
		t.Fatalf("SOA over UDP: %v: %v", answer, err)
	}
	if answer, _, err = (&dns.Client{}).Exchange(new(dns.Msg).SetQuestion("evil.example.open.test.", dns.TypeA), at); err != nil || answer.Rcode != dns.RcodeRefused {
		t.Fatalf("it is no resolver: %v: %v", answer, err)
	}
}

// A secondary that did not answer, and is waited for longer and longer, is told at once
// of what is new.
func TestSecondaryIsToldOfNewsAtOnce(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	h := feeding(t)
	h.stop(t)
	config := feedsConfig + fmt.Sprintf("notify = [%q]\n", conn.LocalAddr())
	if err := os.WriteFile(filepath.Join(h.dir, node.ConfigFile), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	h.open(t)
	h.start(t, nil)
	hear := func() uint32 {
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		raw := make([]byte, 1<<10)
		n, from, err := conn.ReadFrom(raw)
		if err == nil {
			_, err = conn.WriteTo([]byte("no answer"), from)
		}
		m := new(dns.Msg)
		if err == nil {
			err = m.Unpack(raw[:n])
		}
		if err != nil || m.Opcode != dns.OpcodeNotify || len(m.Answer) != 1 {
			t.Fatalf("%v: %v", m, err)
		}
		return m.Answer[0].(*dns.SOA).Serial
	}
	hear()
	before := hear() // the next would be after four seconds
	began := time.Now()
	h.submit(t, here, api.Submission{Value: "evil.example", TLP: "AMBER"})
	for hear() <= before {
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it heard after %s", took)
	}
}

// What is seen for ever has no place for each time in what waits for its end.
func TestWhatIsSeenAgainWaitsOnce(t *testing.T) {
	h := feeding(t)
	eventually(t, "it is made", func() bool { status, _ := h.feed(t, "fw"); return status == http.StatusOK })
	due, err := h.SeeAgain(t.Context(), notice.Indicator{Type: notice.TypeDomain, Value: "evil.example"}, 5_000)
	if err != nil || due < 3 || due > 1_100 {
		t.Errorf("%d wait for the end of three entries: %v", due, err)
	}
}

// What a revoked member's words kept in a feed leaves at once, also where the node stops
// before it has looked at everything again.
func TestWithdrawnWordsWaitForNobody(t *testing.T) {
	b := benchAt(t, t.TempDir(), &clock{})
	config := strings.Replace(feedsConfig, "St Anna", "here", 1)
	for name, text := range map[string]string{node.ConfigFile: config, "tsig.keys": tsigKeys} {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.open(t)
	var prev *crypto.Envelope
	for k := range 5 {
		prev = b.author.Envelope(t, crypto.Header{Time: b.clock.now()}, prev, b.item(t, fmt.Sprintf("evil%d.example", k)))
		if err := b.bring(t.Context(), prev.Raw, mesh.ViaSync, prev.Header.Audience); err != nil {
			t.Fatal(err)
		}
	}
	b.start(t, nil)
	for k := range 2 { // of which something is still said then, which blocks nothing
		b.submit(t, here, api.Submission{Kind: "indicator", Value: fmt.Sprintf("evil%d.example", k), TLP: "AMBER", Origin: &api.Origin{Source: "list"}})
	}
	eventually(t, "all are in it", func() bool { _, body := b.feed(t, "fw"); return strings.Count(body, "\n") == 5 })
	b.stop(t)
	b.open(t) // its feeds are not looked after
	b.adds(t, revoke(t, b.region.Charter, b.region.Admission, b.author.Credential, b.clock.now()))
	b.stop(t)
	b.open(t)
	b.start(t, nil)
	eventually(t, "the zone is empty", func() bool {
		status, body := b.feed(t, "dns")
		return status == http.StatusOK && !strings.Contains(body, "CNAME .")
	})
}

// A store that was lost empties no zone: it knows no reason why anything should leave.
func TestALostStoreEmptiesNoFeed(t *testing.T) {
	h := feeding(t)
	h.submit(t, here, api.Submission{Value: "evil.example", TLP: "AMBER"}, api.Submission{Value: "worse.example", TLP: "AMBER"})
	eventually(t, "it is in the zone", h.feeds(t, "dns", "worse.example CNAME ."))
	h.stop(t)
	kept := filepath.Join(t.TempDir(), "feeds")
	if err := os.Rename(filepath.Join(h.dir, "feeds"), kept); err != nil {
		t.Fatal(err)
	}
	h.dir = t.TempDir()
	makeNode(t, h.dir, "St Anna")
	if err := os.Rename(kept, filepath.Join(h.dir, "feeds")); err != nil {
		t.Fatal(err)
	}
	h.serveFeeds(t)
	eventually(t, "it waits for a word", func() bool {
		d, ok, err := h.Feeds().ShowFeed(t.Context(), "dns", api.FeedQuery{Ceiling: notice.TLPRed})
		return err == nil && ok && d.Held == 2 && d.Entries == 2
	})
}

// Only one list more is in memory while somebody asks what a policy would do.
func TestOneDiffAtATime(t *testing.T) {
	h := feeding(t)
	h.submit(t, here, api.Submission{Value: "evil.example", TLP: "AMBER"}, api.Submission{Value: "worse.example", TLP: "AMBER"})
	eventually(t, "both are in it", func() bool { _, body := h.feed(t, "fw"); return strings.Count(body, "\n") == 2 })
	diff := func(name string, q api.FeedDiffRequest) (api.FeedDiff, error) {
		d, _, err := h.Feeds().DiffFeed(t.Context(), name, q)
		return d, err
	}
	done := h.Diffing()
	var unavailable *api.Unavailable
	if _, err := diff("fw", api.FeedDiffRequest{}); !errors.As(err, &unavailable) {
		t.Errorf("beside another: %v", err)
	}
	done()
	// What is allowed here is somebody's word already: half of the list waits for nothing.
	if d, err := diff("fw", api.FeedDiffRequest{Allow: []string{"evil.example"}}); err != nil || d.Removed != 1 || d.Waits {
		t.Errorf("%+v: %v", d, err)
	}
	less := strings.Replace(feedsConfig, "min_members = 1", "min_members = 2", 1)
	for _, name := range []string{"fw", "dns"} { // a zone may be empty: only how many leave counts
		if d, err := diff(name, api.FeedDiffRequest{Config: strings.Split(less, "\n")}); err != nil || d.Removed != 2 || !d.Waits {
			t.Errorf("%s: %+v: %v", name, d, err)
		}
	}
}

// A secondary that stops asking is missed, also where tokens are named and where it
// had the zone before anybody noted it.
func TestSecondariesThatStayAwayAreMissed(t *testing.T) {
	h := feeding(t)
	h.stop(t)
	config := strings.Replace(feedsConfig, `transfer = [`, "consumers = [\"local-commands\"]\ntransfer = [", 2)
	if err := os.WriteFile(filepath.Join(h.dir, node.ConfigFile), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	h.open(t)
	h.start(t, nil)
	eventually(t, "they are made", func() bool {
		one, _ := h.feed(t, "dns")
		other, _ := h.feed(t, "open")
		return one == http.StatusOK && other == http.StatusOK
	})
	if _, err := transferred(t, h.ZonesAddr(), "rpz.test.", "unbound.", tsigSecret, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := (&dns.Client{}).Exchange(new(dns.Msg).SetQuestion("open.test.", dns.TypeSOA), h.ZonesAddr()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"key:unbound has not fetched the feed dns since", "127.0.0.1 has not fetched the feed open since"} {
		eventually(t, want, func() bool { // an answer may be there before it is noted
			h.clock.advance(25 * time.Hour)
			h.LookAtConsumers()
			alerts, _, err := h.Alerts(t.Context(), api.AlertQuery{Limit: 100})
			return err == nil && slices.ContainsFunc(alerts, func(a api.AlertView) bool { return strings.Contains(a.Text, want) })
		})
	}
}

// What is known to be harmless or must not be blocked is in no feed, whoever says it is
// bad and whenever that is known.
func TestPoisonIsInNoFeed(t *testing.T) {
	h := feeding(t)
	h.stop(t)
	dir := filepath.Join(h.dir, "lists")
	list(t, dir, "top.json", `{"name": "Top 1000", "type": "hostname", "matching_attributes": ["domain"], "list": ["popular.example"]}`)
	h.tell(t, "[warninglists]\ndir = \"lists\"\n[never_block]\nown = [\"anna.example\"]\nsuppliers = [\"supplier.example\"]\nclinical = [\"pacs.example\"]\n")
	h.open(t)
	h.start(t, nil)
	said := []api.Submission{{Value: "evil.example", TLP: "AMBER"}, {Value: "later.example", TLP: "AMBER"}}
	for _, v := range []string{"popular.example", "www.popular.example", "anna.example", "mail.anna.example", "supplier.example", "update.supplier.example", "pacs.example", "node1.pacs.example"} {
		said = append(said, api.Submission{Value: v, TLP: "AMBER"})
	}
	views := h.submit(t, here, said...)
	only := func(names ...string) func() bool {
		return func() bool {
			_, body := h.feed(t, "dns")
			for _, n := range names {
				if !strings.Contains("\n"+body, "\n"+n+" CNAME .\n") {
					return false
				}
			}
			return strings.Count(body, " CNAME .\n") == 2*len(names) // and what is below
		}
	}
	eventually(t, "only what is bad is in it", only("evil.example", "later.example"))
	list(t, dir, "late.json", `{"name": "Late", "type": "hostname", "matching_attributes": ["domain"], "list": ["later.example"]}`)
	eventually(t, "a list that comes later counts", func() bool { h.clock.advance(time.Minute); h.RefreshPolicies(); return only("evil.example")() })
	alerts := func(kind string) (out []string) {
		all, _, err := h.Alerts(t.Context(), api.AlertQuery{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range all {
			if a.Kind == kind {
				out = append(out, a.Text)
			}
		}
		return out
	}
	eventually(t, "it is said that half of the feed left", func() bool { return len(alerts("feed-listed")) > 0 })
	guarded := strings.Join(alerts("feed-guarded"), "\n")
	for i := range views[2:] {
		if !strings.Contains(guarded, said[2+i].Value+" is said to be bad") || !strings.Contains(guarded, "watchward dispute "+views[2+i].ID) {
			t.Errorf("no alert of %s with its notice: %s", said[2+i].Value, guarded)
		}
	}
}
