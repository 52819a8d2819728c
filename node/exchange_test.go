package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/notice"
)

// exchanges has a node that is not open serve TAXII and MISP.
func (h *hospital) exchanges(t testing.TB, inbox string) {
	t.Helper()
	name := filepath.Join(h.dir, node.ConfigFile)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for old, set := range map[string]string{"#taxii = false": "taxii = true", "#misp = false": "misp = true", `#inbox = "local"`: fmt.Sprintf("inbox = %q", inbox)} {
		if !bytes.Contains(text, []byte("\n"+old+"\n")) {
			t.Fatalf("the configuration has no line %q", old)
		}
		text = bytes.Replace(text, []byte("\n"+old+"\n"), []byte("\n"+set+"\n"), 1)
	}
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// fetch asks the API for a path, as whoever has a token. A body is posted.
func (h *hospital) fetch(t testing.TB, secret, path string, body []byte) (status int, header http.Header, answer []byte) {
	t.Helper()
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(t.Context(), method, h.APIURL()+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("any", secret)
	r.Header.Set("Content-Type", "application/taxii+json;version=2.1")
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	if answer, err = io.ReadAll(a.Body); err != nil {
		t.Fatal(err)
	}
	return a.StatusCode, a.Header, answer
}

// adminToken is the token of the local commands.
func (h *hospital) adminToken(t testing.TB) string {
	t.Helper()
	secret, err := os.ReadFile(filepath.Join(h.dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(secret))
}

// collected is what a collection holds: the latest version of each object, by id.
func (h *hospital) collected(t testing.TB, secret, collection string) map[string]string {
	t.Helper()
	out, next := map[string]string{}, ""
	for {
		status, _, answer := h.fetch(t, secret, "/taxii2/watchward/collections/"+collection+"/objects/?limit=7"+next, nil)
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
		var page struct {
			More    bool
			Next    string
			Objects []json.RawMessage
		}
		if err := json.Unmarshal(answer, &page); err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Objects {
			var common struct{ ID string }
			if err := json.Unmarshal(o, &common); err != nil {
				t.Fatal(err)
			}
			if out[common.ID] != "" {
				t.Errorf("%s comes twice", common.ID)
			}
			out[common.ID] = string(o)
		}
		if !page.More {
			return out
		}
		next = "&next=" + page.Next
	}
}

// stixExport is an export in STIX, by the ids of its objects.
func (h *hospital) stixExport(t testing.TB, tlp notice.TLP) map[string]string {
	t.Helper()
	admin, err := client.Open(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	var text bytes.Buffer
	if _, err := admin.Export(t.Context(), client.ExportQuery{Format: "stix", TLP: tlp.String()}, &text); err != nil {
		t.Fatal(err)
	}
	var bundle struct{ Objects []json.RawMessage }
	if err := json.Unmarshal(text.Bytes(), &bundle); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, o := range bundle.Objects {
		var common struct{ ID string }
		if err := json.Unmarshal(o, &common); err != nil {
			t.Fatal(err)
		}
		out[common.ID] = string(o)
	}
	return out
}

// differ says what two sets of objects do not have alike.
func differ(got, want map[string]string) string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(want)) {
		if got[id] != want[id] {
			out = append(out, fmt.Sprintf("%s is %s\nwant %s", id, got[id], want[id]))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(got)) {
		if want[id] == "" {
			out = append(out, id+" is there as well")
		}
	}
	return strings.Join(out, "\n")
}

// What export writes and what the server gives is the same STIX, to the byte, under
// every ceiling, whatever came first, and after the next start.
func TestServedIsExported(t *testing.T) {
	r := makeRegion(t, 2)
	a, b := r.hospitals[0], r.hospitals[1]
	a.exchanges(t, "off")
	for _, h := range r.hospitals {
		h.open(t)
	}
	a.start(t, nil)
	b.start(t, a.MeshAddrs())
	at := r.clock.now()
	var ids []string
	for i, tlp := range []notice.TLP{notice.TLPClear, notice.TLPGreen, notice.TLPAmber} {
		value := fmt.Sprintf("v%d.example", i)
		seen, known := sighting(value, at), api.Submission{Kind: "indicator", Value: value, ValidUntil: api.Time(at + 1e9), FirstSeen: api.Time(at - 5)}
		known.Context = &api.Context{Family: "Qakbot", CVE: "CVE-2021-44228"}
		known.Origin = &api.Origin{Source: "misp:ISAC", ID: fmt.Sprint("x", i), TLP: "CLEAR"}
		gone := sighting("gone-"+value, at)
		for _, v := range a.submit(t, api.SubmitOptions{TLP: tlp}, seen, known, gone) {
			ids = append(ids, v.ID)
		}
	}
	kept := a.submit(t, api.SubmitOptions{TLP: notice.TLPClear, Local: true}, sighting("kept.example", at))
	dispute := api.Submission{Kind: "dispute", Ref: ids[1], Reason: "ours"}
	eventually(t, "b has all", func() bool { _, found := b.notice(t, ids[8]); return found })
	said := b.submit(t, api.SubmitOptions{TLP: notice.TLPGreen}, dispute, api.Submission{Kind: "dispute", Value: "v1.example"})
	a.submit(t, api.SubmitOptions{TLP: notice.TLPGreen}, api.Submission{Kind: "retraction", Ref: ids[5]})
	a.submit(t, api.SubmitOptions{TLP: notice.TLPAmber}, api.Submission{Kind: "retraction", Ref: ids[8]})
	eventually(t, "a has b's disputes", func() bool { _, found := a.notice(t, said[1].ID); return found })
	a.submit(t, api.SubmitOptions{TLP: notice.TLPClear}, sighting("end.example", at))

	check := func(when string) {
		t.Helper()
		for _, tlp := range []notice.TLP{notice.TLPClear, notice.TLPGreen, notice.TLPAmber} {
			want := a.stixExport(t, tlp)
			for id, text := range want {
				if strings.Contains(text, "kept.example") || strings.Contains(text, kept[0].ID) {
					delete(want, id) // a person may export what is kept here; no server gives it
				}
			}
			alias := strings.ToLower(tlp.String())
			eventually(t, "end.example is served", func() bool {
				return strings.Contains(fmt.Sprint(a.collected(t, a.adminToken(t), alias)), "end.example")
			})
			if d := differ(a.collected(t, a.adminToken(t), alias), want); d != "" {
				t.Errorf("%s, up to %s:\n%s", when, tlp, d)
			}
		}
	}
	check("at first")
	revoked := 0
	for _, o := range a.collected(t, a.adminToken(t), "amber") {
		if strings.Contains(o, `"revoked":true`) {
			revoked++
		}
	}
	if revoked != 2 {
		t.Errorf("%d objects are revoked, want the 2 that were taken back", revoked)
	}
	a.stop(t)
	a.open(t)
	a.start(t, nil)
	check("after a start")
	a.stop(t)
	if err := os.RemoveAll(filepath.Join(a.dir, "shelf")); err != nil {
		t.Fatal(err)
	}
	a.open(t)
	a.start(t, nil)
	check("without its shelf")
}

// A post to the inbox, and what became of each object of it, by its id.
func (h *hospital) post(t testing.TB, secret string, objects ...string) (failures map[string]string) {
	t.Helper()
	status, _, answer := h.fetch(t, secret, "/taxii2/watchward/collections/inbox/objects/", []byte(`{"objects":[`+strings.Join(objects, ",")+`]}`))
	var s struct {
		Status                  string
		Total, Success, Failure int
		Successes, Failures     []struct{ ID, Message string }
	}
	if err := json.Unmarshal(answer, &s); err != nil || status != http.StatusAccepted || s.Status != "complete" {
		t.Fatalf("%d %s", status, answer)
	}
	if len(s.Successes)+len(s.Failures) != len(objects) {
		t.Fatalf("of %d objects it says %s", len(objects), answer)
	}
	failures = map[string]string{}
	for _, f := range s.Failures {
		failures[f.ID] = f.Message
	}
	return failures
}

const (
	isac     = "identity--11111111-1111-4111-8111-111111111111"
	markClr  = "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487"
	markGrn  = "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb"
	markRed  = "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1"
	markStrc = "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003"
)

func stixID(kind string, n int) string {
	return fmt.Sprintf("%s--%08x-2222-4222-8222-222222222222", kind, n)
}

// outside is an object of somebody else; more is of its own.
func outside(kind string, n int, modified, mark, more string) string {
	if mark != "" {
		mark = fmt.Sprintf(`"object_marking_refs":[%q],`, mark)
	}
	return fmt.Sprintf(`{"type":%q,"spec_version":"2.1","id":%q,"created_by_ref":%q,"created":"2026-01-01T00:00:00Z","modified":%q,%s%s}`,
		kind, stixID(kind, n), isac, modified, mark, more)
}

func bad(value string) string {
	return fmt.Sprintf(`"pattern":"[domain-name:value = '%s']","pattern_type":"stix","valid_from":"2026-01-01T00:00:00Z"`, value)
}

const (
	early = "2026-01-01T00:00:00Z"
	later = "2026-02-01T00:00:00Z"
)

// The inbox judges each object alone: what may be told is stated under its own marking,
// what may not is refused with the reason, and an id is its owner's.
func TestInbox(t *testing.T) {
	r := makeRegion(t, 2)
	a, b := r.hospitals[0], r.hospitals[1]
	a.exchanges(t, "share")
	for _, h := range r.hospitals {
		h.open(t)
	}
	a.start(t, nil)
	b.start(t, a.MeshAddrs())
	secret := a.adminToken(t)
	admin, err := client.Open(a.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	tokens := map[string]string{}
	for _, name := range []string{"reader", "reporter"} {
		made, err := admin.CreateToken(t.Context(), api.TokenRequest{Name: "soc-" + name, Role: name, Ceiling: "GREEN"})
		if err != nil {
			t.Fatal(err)
		}
		tokens[name] = made.Token
	}
	identity := fmt.Sprintf(`{"type":"identity","spec_version":"2.1","id":%q,"created":%q,"modified":%q,"name":"ISAC X","identity_class":"organization"}`, isac, early, early)
	refused := a.post(t, secret, identity,
		outside("indicator", 1, early, markGrn, bad("one.example")),
		outside("indicator", 2, early, "", bad("unmarked.example")),
		outside("indicator", 3, early, markRed, bad("red.example")),
		outside("indicator", 4, early, markStrc, bad("strict.example")),
		outside("indicator", 5, early, markGrn, `"pattern":"[domain-name:value = 'five.example'","pattern_type":"stix","valid_from":"2026-01-01T00:00:00Z"`),
		outside("indicator", 6, early, markClr, bad("six.example")),
		outside("indicator", 7, early, markGrn, bad("10.0.0.1")),
	)
	for n, want := range map[int]string{2: "no marking", 3: "TLP:RED", 4: "TLP:AMBER+STRICT", 5: "pattern"} {
		if got := refused[stixID("indicator", n)]; !strings.Contains(got, want) {
			t.Errorf("object %d: %q does not tell of %q", n, got, want)
		}
	}
	if len(refused) != 5 {
		t.Errorf("refused: %v", refused)
	}
	eventually(t, "b knows what was taken", func() bool { return b.knows(t, "one.example") && b.knows(t, "six.example") })
	for _, value := range []string{"unmarked.example", "red.example", "strict.example", "five.example"} {
		if a.knows(t, value) {
			t.Error(value, "was refused, and is known")
		}
	}
	one := b.lookup(t, "one.example", notice.TLPRed)
	if one.Summary.TLP != "GREEN" || one.Summary.Reports != 1 {
		t.Errorf("one.example: %+v", one.Summary)
	}
	count := a.count(t)

	// Again, all or in part, changes nothing.
	if refused := a.post(t, secret, outside("indicator", 1, early, markGrn, bad("one.example"))); len(refused) != 0 {
		t.Error(refused)
	}
	if got := a.count(t); got != count {
		t.Errorf("%d notices, %d before the same came again", got, count)
	}

	// What came before is found by what refers to it: a sighting, and a dispute.
	if refused := a.post(t, secret,
		outside("sighting", 8, later, markGrn, fmt.Sprintf(`"sighting_of_ref":%q`, stixID("indicator", 1))),
		outside("opinion", 9, later, markGrn, fmt.Sprintf(`"opinion":"strongly-disagree","object_refs":[%q]`, stixID("indicator", 6))),
	); len(refused) != 0 {
		t.Error(refused)
	}
	eventually(t, "b has the sighting and the dispute", func() bool {
		one, six := b.lookup(t, "one.example", notice.TLPRed), b.lookup(t, "six.example", notice.TLPRed)
		return one.Summary != nil && one.Summary.Members == 1 && six.Summary != nil && six.Summary.Disputes == 1
	})

	// Somebody else's id, by token and by creator.
	other := strings.Replace(outside("indicator", 1, later, markGrn, `"revoked":true,`+bad("one.example")), isac, strings.Replace(isac, "1", "9", 1), 1)
	if refused := a.post(t, secret, other); len(refused) != 1 {
		t.Error("another creator changes an object:", refused)
	}
	revoked := outside("indicator", 1, later, markGrn, `"revoked":true,`+bad("one.example"))
	if refused := a.post(t, tokens["reporter"], revoked); len(refused) != 1 {
		t.Error("another token changes an object:", refused)
	}
	for id, o := range a.collected(t, secret, "green") {
		if strings.HasPrefix(id, "indicator--") && !strings.Contains(o, `"revoked"`) {
			stolen := strings.Replace(strings.Replace(o, `"spec_version"`, `"revoked":true,"spec_version"`, 1), `"modified":"2026`, `"modified":"2027`, 1)
			if refused := a.post(t, secret, stolen); !strings.Contains(refused[id], "this mesh") {
				t.Errorf("an object of the mesh is changed by whoever wants: %v", refused)
			}
			break
		}
	}
	if n := b.lookup(t, "one.example", notice.TLPRed).Summary.Reports; n != 1 {
		t.Errorf("one.example has %d reports after others tried to take it back", n)
	}

	// Its owner takes it back, and an older version changes nothing any more.
	if refused := a.post(t, secret, revoked); len(refused) != 0 {
		t.Error(refused)
	}
	eventually(t, "b knows that it was taken back", func() bool {
		s := b.lookup(t, "one.example", notice.TLPRed).Summary
		return s != nil && s.Reports == 0
	})
	a.post(t, secret, outside("indicator", 1, early, markGrn, bad("one.example")))
	if n := a.lookup(t, "one.example", notice.TLPRed).Summary.Reports; n != 0 {
		t.Error("an older version brought it back")
	}

	// One bad of a thousand.
	var many []string
	for i := range 1000 {
		value := fmt.Sprintf("many%d.example", i)
		if i == 500 {
			value = "not a domain"
		}
		many = append(many, outside("indicator", 1000+i, early, markGrn, bad(value)))
	}
	if refused := a.post(t, secret, many...); len(refused) != 1 || refused[stixID("indicator", 1500)] == "" {
		t.Errorf("of 1,000 with one bad object %v are refused", refused)
	}
	if !a.knows(t, "many499.example") || !a.knows(t, "many501.example") {
		t.Error("what stood beside a bad object was not taken")
	}

	// One that no reader can take, beside one that is sound.
	hashes := strings.TrimPrefix(strings.Repeat(`,"MD5":"a"`, 10_001), ",")
	unreadable := outside("observed-data", 50, early, markGrn, `"first_observed":"2026-01-01T00:00:00Z","last_observed":"2026-01-01T00:00:00Z","number_observed":1,"objects":{"0":{"type":"file","hashes":{`+hashes+`}}}`)
	if refused := a.post(t, secret, unreadable, outside("indicator", 51, early, markGrn, bad("beside.example"))); len(refused) != 1 || refused[stixID("observed-data", 50)] == "" || !a.knows(t, "beside.example") {
		t.Errorf("beside what cannot be read: %v", refused)
	}

	// Rights: who may not add has no inbox; an empty envelope is for it to refuse.
	for name, want := range map[string]int{"reader": http.StatusNotFound, "reporter": http.StatusUnprocessableEntity} {
		if status, _, answer := a.fetch(t, tokens[name], "/taxii2/watchward/collections/inbox/objects/", []byte(`{}`)); status != want {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	if status, _, answer := a.fetch(t, tokens["reader"], "/taxii2/watchward/collections/amber/objects/", nil); status != http.StatusNotFound {
		t.Errorf("a token of the ceiling GREEN reads amber: %d %s", status, answer)
	}
	if status, _, _ := a.fetch(t, "nonsense", "/taxii2/", nil); status != http.StatusUnauthorized {
		t.Errorf("whoever has no token gets %d", status)
	}
	if status, _, answer := b.fetch(t, b.adminToken(t), "/taxii2/", nil); status != http.StatusNotFound || !bytes.Contains(answer, []byte("exchange.taxii = true")) {
		t.Errorf("where it is off: %d %s", status, answer)
	}
}

// count is how many notices a node has stored so far.
func (h *hospital) count(t testing.TB) int {
	t.Helper()
	stats, err := h.Store().Stats()
	if err != nil {
		t.Fatal(err)
	}
	return int(stats.Notices)
}

// An inbox of the default keeps what is added, and tells nobody.
func TestInboxKeeps(t *testing.T) {
	r := makeRegion(t, 2)
	a, b := r.hospitals[0], r.hospitals[1]
	a.exchanges(t, "local")
	for _, h := range r.hospitals {
		h.open(t)
	}
	a.start(t, nil)
	b.start(t, a.MeshAddrs())
	refused := a.post(t, a.adminToken(t),
		outside("indicator", 1, early, markGrn, bad("kept.example")), outside("indicator", 2, early, markRed, bad("red.example")))
	if len(refused) != 1 || refused[stixID("indicator", 2)] == "" || a.knows(t, "red.example") {
		t.Errorf("refused: %v", refused)
	}
	if !a.knows(t, "kept.example") {
		t.Error("what was taken is not known")
	}
	a.submit(t, api.SubmitOptions{TLP: notice.TLPGreen}, sighting("told.example", r.clock.now()))
	eventually(t, "b knows what was told", func() bool { return b.knows(t, "told.example") })
	eventually(t, "what was told is served", func() bool { return strings.Contains(a.served(t, a.adminToken(t)), "told.example") })
	if b.knows(t, "kept.example") || strings.Contains(a.served(t, a.adminToken(t)), "kept.example") {
		t.Error("what is kept here has left")
	}
}

// A dispute that came before what it disputes is served once that is there, and what a
// withdrawn word took back is served as standing again.
func TestServedInAnyOrder(t *testing.T) {
	b := benchAt(t, t.TempDir(), &clock{})
	b.exchanges(t, "off")
	b.open(t)
	b.start(t, nil)
	say := func(prev *crypto.Envelope, item []byte) *crypto.Envelope {
		return b.author.Envelope(t, crypto.Header{Time: b.clock.now()}, prev, item)
	}
	word := b.item(t, "one.example")
	one, id := say(nil, word), crypto.NewItemID(b.author.Credential.Member, crypto.LeafHash(word))
	now := b.clock.now()
	dispute := b.other.Envelope(t, crypto.Header{Time: now}, nil, encode(t, &notice.Notice{Kind: notice.KindDispute, Created: now, Ref: &id, Reason: "ours"}))
	back := say(one, encode(t, &notice.Notice{Kind: notice.KindRetraction, Created: now, Ref: &id}))
	bring := func(e *crypto.Envelope) {
		t.Helper()
		if err := b.bring(t.Context(), e.Raw, mesh.ViaSync, e.Header.Audience); err != nil {
			t.Fatal(err)
		}
	}
	all := func() string { return fmt.Sprint(b.collected(t, b.adminToken(t), "amber")) }
	bring(dispute)
	bring(b.other.Envelope(t, crypto.Header{Time: now}, dispute, b.item(t, "other.example")))
	eventually(t, "what came after the dispute is served", func() bool { return strings.Contains(all(), "other.example") })
	bring(one)
	eventually(t, "the dispute is served", func() bool { return strings.Contains(all(), `"type":"opinion"`) })
	bring(back)
	eventually(t, "it is served as taken back", func() bool { return strings.Contains(all(), `"revoked":true`) })
	b.adds(t, revoke(t, b.region.Charter, b.region.Admission, b.author.Credential, b.clock.now(), cutAt(one)))
	eventually(t, "it stands again, and so does its dispute", func() bool {
		now := all()
		return !strings.Contains(now, `"revoked":true`) && strings.Contains(now, "one.example") && strings.Contains(now, `"type":"opinion"`)
	})
}

// A look at everything that is interrupted begins again, also after a start.
func TestInterruptedLookBeginsAgain(t *testing.T) {
	b := benchAt(t, t.TempDir(), &clock{})
	b.exchanges(t, "off")
	b.open(t)
	e := b.author.Envelope(t, crypto.Header{Time: b.clock.now()}, nil, b.item(t, "one.example"))
	if err := b.bring(t.Context(), e.Raw, mesh.ViaSync, e.Header.Audience); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if !b.LookAgain(ended) {
		t.Error("what was interrupted is taken for done")
	}
	if b.Looked() {
		t.Error("… and written down as done")
	}
	enough, cancel := context.WithCancel(t.Context())
	again := make(chan bool, 1)
	go func() { again <- b.LookAgain(enough) }()
	eventually(t, "all is looked at", b.Looked)
	cancel()
	if <-again {
		t.Error("what was looked at whole is looked at again")
	}
}

// What a revoked member said beyond its cut is handed out as taken back, to those too
// who had it.
func TestWithdrawnIsServedAsRevoked(t *testing.T) {
	b := benchAt(t, t.TempDir(), &clock{})
	b.exchanges(t, "off")
	b.open(t)
	say := func(prev *crypto.Envelope, value string) *crypto.Envelope {
		return b.author.Envelope(t, crypto.Header{Time: b.clock.now()}, prev, b.item(t, value))
	}
	one := say(nil, "one.example")
	stolen := say(one, "stolen.example")
	for _, e := range []*crypto.Envelope{one, stolen} {
		if err := b.bring(t.Context(), e.Raw, mesh.ViaSync, e.Header.Audience); err != nil {
			t.Fatal(err)
		}
	}
	b.start(t, nil)
	served := func(value string, revoked bool) func() bool {
		return func() bool {
			all := b.collected(t, b.adminToken(t), "amber")
			for id, o := range all {
				var s struct {
					Of string `json:"sighting_of_ref"`
				}
				if strings.HasPrefix(id, "sighting--") && json.Unmarshal([]byte(o), &s) == nil && strings.Contains(all[s.Of], value) {
					return strings.Contains(o, `"revoked":true`) == revoked
				}
			}
			return false
		}
	}
	eventually(t, "both are served", func() bool { return served("one.example", false)() && served("stolen.example", false)() })
	b.adds(t, revoke(t, b.region.Charter, b.region.Admission, b.author.Credential, b.clock.now(), cutAt(one)))
	eventually(t, "what lies beyond the cut is revoked", served("stolen.example", true))
	if !served("one.example", false)() {
		t.Error("what counts is revoked")
	}
}
