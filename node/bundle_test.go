package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/seal"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/bundle"
	"github.com/watchward/watchward/node/notice"
)

// export writes everything that a query selects, part after part.
func (h *hospital) export(t testing.TB, q api.BundleQuery) (parts [][]byte, total api.BundlePart) {
	t.Helper()
	if q.Audience == 0 {
		q.Audience = crypto.AudienceCommunity
	}
	if q.Size == 0 {
		q.Size = api.BundlePartDefault
	}
	q.Created, q.Part = h.clock.now(), 1
	for {
		var part bytes.Buffer
		p, err := h.ExportBundle(t.Context(), &part, q)
		if err != nil {
			t.Fatal(err)
		}
		if part.Len() == 0 {
			return parts, total
		}
		parts = append(parts, part.Bytes())
		total.Notices, total.Expired, total.SealedFor = total.Notices+p.Notices, total.Expired+p.Expired, p.SealedFor
		total.Authors, total.Left = max(total.Authors, p.Authors), p.Left
		if p.Next == 0 {
			return parts, total
		}
		q.Part, q.After = q.Part+1, p.Next
	}
}

// imports takes in parts as one stream.
func (h *hospital) imports(t testing.TB, parts ...[]byte) api.BundleAnswer {
	t.Helper()
	a, err := h.ImportBundle(t.Context(), bytes.NewReader(bytes.Join(parts, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// cannot hands over a bundle of which nothing can be read, and returns why.
func (h *hospital) cannot(t testing.TB, raw []byte) *notice.FieldError {
	t.Helper()
	a, err := h.ImportBundle(t.Context(), bytes.NewReader(raw))
	var field *notice.FieldError
	if !errors.As(err, &field) {
		t.Fatalf("%+v, %v: want a reason for the client", a, err)
	}
	if field.Reason == "" || field.Fix == "" {
		t.Fatalf("it says too little: %+v", field)
	}
	return field
}

// A hospital that was cut off for a month catches up from a stick in front of
// the network coming back, and then syncs nothing twice.
func TestStickInsteadOfTheNetwork(t *testing.T) {
	r := startRegion(t, 3)
	a, b, c := r.hospitals[0], r.hospitals[1], r.hospitals[2]
	b.stop(t)
	for i := range 10 { // a month, in which the others speak in both audiences
		r.clock.advance(3 * 24 * time.Hour)
		a.submit(t, api.SubmitOptions{TLP: notice.TLPGreen}, sighting(fmt.Sprintf("green-%d.example", i), r.clock.now()))
		c.submit(t, api.SubmitOptions{TLP: notice.TLPAmber}, sighting(fmt.Sprintf("amber-%d.example", i), r.clock.now()))
		eventually(t, "A has what C said", func() bool { return a.knows(t, fmt.Sprintf("amber-%d.example", i)) && waiting(t, a) == 0 })
	}
	r.clock.settle()
	green, _ := a.export(t, api.BundleQuery{})
	amber, total := a.export(t, api.BundleQuery{Audience: crypto.AudienceRegion})
	if total.SealedFor != 3 || total.Notices != 10 {
		t.Fatalf("the region's part: %+v", total)
	}
	if bytes.Contains(bytes.Join(amber, nil), []byte("amber-3.example")) {
		t.Fatal("AMBER words are on the stick in clear")
	}
	a.stop(t)
	c.stop(t)

	b.open(t) // nobody is there
	b.start(t, nil)
	b.surveys(t, r.clock.now(), append(green, amber...))
	got := b.imports(t, append(green, amber...)...)
	if got.Read != 20 || got.Taken != 20 || got.RefusedCount != 0 || got.Broken != "" || len(got.Parts) != 2 {
		t.Fatalf("imported: %+v", got)
	}
	for i := range 10 {
		if !b.knows(t, fmt.Sprintf("green-%d.example", i)) || !b.knows(t, fmt.Sprintf("amber-%d.example", i)) {
			t.Fatalf("B does not know what was said %d days ago", 3*(10-i))
		}
	}
	if again := b.imports(t, append(green, amber...)...); again.Taken != 0 || again.Known != 20 {
		t.Errorf("imported again: %+v", again)
	}
	before := countOf(t, b, "synced")
	a.open(t)
	a.start(t, nil)
	r.meet(t) // compared, and nothing was brought twice
	if got := countOf(t, b, "synced") - before; got != 0 {
		t.Errorf("sync brought %v envelopes that the stick had brought", got)
	}
	if a.root(t, r.clock.now()) != b.root(t, r.clock.now()) {
		t.Error("A and B hold different words")
	}
}

// surveys asks what parts of ten GREEN and ten AMBER sightings by two members would
// bring: all of them, each time, and only what the ceiling allows is told apart.
func (h *hospital) surveys(t testing.TB, at int64, parts [][]byte) {
	t.Helper()
	before := h.root(t, at)
	green, amber := api.BundleContent{Kind: "sighting", TLP: "GREEN", Notices: 10}, api.BundleContent{Kind: "sighting", TLP: "AMBER", Notices: 10}
	for ceiling, want := range map[notice.TLP][]api.BundleContent{notice.TLPRed: {amber, green}, notice.TLPGreen: {green}} {
		a, err := h.CheckBundle(t.Context(), bytes.NewReader(bytes.Join(parts, nil)), ceiling)
		if err != nil {
			t.Fatal(err)
		}
		if a.Read != 20 || a.Taken != 20 || a.Known != 0 || a.RefusedCount != 0 || !slices.Equal(a.Contents, want) || len(a.Authors) != len(want) {
			t.Errorf("up to %s: %+v", ceiling, a)
		}
	}
	if h.root(t, at) != before {
		t.Error("a dry run stored something")
	}
}

func waiting(t testing.TB, h *hospital) int {
	t.Helper()
	s, err := h.Status(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return s.Waiting
}

// root is over all that a hospital holds at a time.
func (h *hospital) root(t testing.TB, at int64) (out [2]crypto.Hash) {
	t.Helper()
	for i, a := range []crypto.Audience{crypto.AudienceRegion, crypto.AudienceCommunity} {
		out[i] = h.Store().Frontier().Root(h.regionID(t), a, at)
	}
	return out
}

// countOf is how many foreign envelopes became of one kind, by the mesh's count.
func countOf(t testing.TB, h *hospital, result string) float64 {
	t.Helper()
	families, err := h.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "watchward_envelopes_total" && m.GetLabel()[0].GetValue() == result {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// fresh is a member of a test region that knows the charter and its own
// credential, and nobody else.
func fresh(t testing.TB, r *testkit.Region, m *testkit.Member, c *clock) *hospital {
	t.Helper()
	h := &hospital{dir: t.TempDir(), clock: c}
	if err := keyfile.Save(filepath.Join(h.dir, "identity.key"), m.Identity); err != nil {
		t.Fatal(err)
	}
	makeNode(t, h.dir, m.Credential.Name)
	admission, err := canon.Marshal(node.Admission{Region: r.ID, Records: [][]byte{r.Records[0], m.Record}, Seeds: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := node.Join(h.dir, admission); err != nil {
		t.Fatal(err)
	}
	h.open(t)
	t.Cleanup(func() { h.stop(t) })
	return h
}

// says signs so many envelopes of one sighting each, a minute apart.
func (b *bench) chain(t testing.TB, m *testkit.Member, a crypto.Audience, tlp notice.TLP, n int) []*crypto.Envelope {
	t.Helper()
	out := make([]*crypto.Envelope, n)
	var last *crypto.Envelope
	for i := range out {
		at := b.clock.now() - int64(n-i)*minute
		h := crypto.Header{Audience: a, TLP: uint8(tlp), Time: at, Expiry: at + 90*day}
		last = m.Envelope(t, h, last, b.item(t, fmt.Sprintf("%s-%d-%d.example", m.Credential.Name, a, i)))
		out[i] = last
	}
	return out
}

// stick writes a part by hand: records, then envelopes.
func stick(t testing.TB, h bundle.Header, to []seal.Recipient, records [][]byte, envelopes ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := bundle.NewWriter(&out, h, to)
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range records {
		if err := w.Record(raw); err != nil {
			t.Fatal(err)
		}
	}
	for _, raw := range envelopes {
		if err := w.Envelope(raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(false); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func (b *bench) header(a crypto.Audience) bundle.Header {
	return bundle.Header{Region: b.region.ID, Name: "test", Created: b.clock.now(), Part: 1, Audience: a}
}

func raws(envelopes ...[]*crypto.Envelope) (out [][]byte) {
	for _, list := range envelopes {
		for _, e := range list {
			out = append(out, e.Raw)
		}
	}
	return out
}

// A node that has never met the author, and shares the charter, takes its words
// and its credential from one part alone.
func TestStickIntroducesAuthors(t *testing.T) {
	b := newBench(t)
	for _, m := range []*testkit.Member{b.author, b.other} {
		for _, e := range b.chain(t, m, crypto.AudienceCommunity, notice.TLPGreen, 3) {
			b.takes(t, e, mesh.ViaSync)
		}
		for _, e := range b.chain(t, m, crypto.AudienceRegion, notice.TLPAmber, 2) {
			b.takes(t, e, mesh.ViaSync)
		}
	}
	green, _ := b.export(t, api.BundleQuery{})
	amber, _ := b.export(t, api.BundleQuery{Audience: crypto.AudienceRegion})
	for _, stick := range [][][]byte{green, amber} {
		h := fresh(t, b.region, b.self, b.clock)
		a := h.imports(t, stick...)
		if a.NewMembers != 2 || a.Taken != a.Read || a.Taken == 0 || len(a.Unknown) != 0 {
			t.Errorf("imported: %+v", a)
		}
	}
	// Without the credential they are counted, and nothing of them is stored.
	h := fresh(t, b.region, b.self, b.clock)
	bare := stick(t, b.header(crypto.AudienceCommunity), nil, nil, raws(b.chain(t, b.author, crypto.AudienceCommunity, notice.TLPGreen, 3))...)
	a := h.imports(t, bare)
	if len(a.Unknown) != 1 || a.Unknown[0] != (api.BundleUnknown{Member: b.author.ID.String(), Notices: 3}) || a.Taken != 0 || a.Read != 3 {
		t.Errorf("without a credential: %+v", a)
	}
}

func TestStickOfAnotherRegion(t *testing.T) {
	b := newBench(t)
	other := testkit.NewRegionNamed(t, "elsewhere", "them")
	header := b.header(crypto.AudienceCommunity)
	header.Region, header.Name = other.ID, "elsewhere"
	why := b.cannot(t, stick(t, header, nil, other.Records))
	if !strings.Contains(why.Reason, `this bundle is of the region "elsewhere"`) || !strings.Contains(why.Reason, `belongs to "test"`) {
		t.Errorf("why: %s", why.Reason)
	}
	// A part that claims our region and carries another's words.
	before := b.figures(t)
	foreign := other.Members[0].Envelope(t, crypto.Header{Audience: crypto.AudienceCommunity, TLP: 2, Time: b.clock.now()}, nil, b.item(t, "foreign.example"))
	a := b.imports(t, stick(t, b.header(crypto.AudienceCommunity), nil, other.Records, foreign.Raw))
	if a.RefusedCount != 3 || a.Taken != 0 || b.figures(t) != before {
		t.Errorf("another region's words under our name: %+v", a)
	}
}

func TestStickForOthers(t *testing.T) {
	b := newBench(t)
	for _, e := range b.chain(t, b.author, crypto.AudienceRegion, notice.TLPAmber, 2) {
		b.takes(t, e, mesh.ViaSync)
	}
	parts, total := b.export(t, api.BundleQuery{Audience: crypto.AudienceRegion, To: []string{"OTHER", b.author.ID.String()[:12]}})
	if total.SealedFor != 2 {
		t.Fatalf("sealed: %+v", total)
	}
	why := b.cannot(t, parts[0])
	if !strings.Contains(why.Reason, "author") || !strings.Contains(why.Reason, "other") || !strings.Contains(why.Reason, "not for here") {
		t.Errorf("why: %s", why.Reason)
	}
	// Behind a part that it could read, that is where the reading stops.
	open := stick(t, b.header(crypto.AudienceCommunity), nil, nil, raws(b.chain(t, b.author, crypto.AudienceCommunity, notice.TLPGreen, 1))...)
	a := b.imports(t, open, parts[0])
	if a.Taken != 1 || !strings.Contains(a.Broken, "sealed for") {
		t.Errorf("imported: %+v", a)
	}
	for name, q := range map[string]api.BundleQuery{
		"a stranger":    {Audience: crypto.AudienceRegion, To: []string{"nobody"}},
		"a short id":    {Audience: crypto.AudienceRegion, To: []string{b.author.ID.String()[:7]}},
		"too small":     {Audience: crypto.AudienceRegion, Size: 1000},
		"two of a name": {Audience: crypto.AudienceRegion, To: []string{"other", "ambiguous"}},
	} {
		if q.Size == 0 {
			q.Size = api.BundlePartDefault
		}
		var out bytes.Buffer
		_, err := b.ExportBundle(t.Context(), &out, q)
		var field *notice.FieldError
		if !errors.As(err, &field) || out.Len() != 0 {
			t.Errorf("%s: %v, %d bytes", name, err, out.Len())
		}
	}
}

// What is for the region is sealed for those who may hear it: no supplier, none
// whose credential ended long ago, and none whose key for sealing is broken, who
// is named.
func TestStickRecipients(t *testing.T) {
	b := newBench(t)
	b.takes(t, b.chain(t, b.author, crypto.AudienceRegion, notice.TLPAmber, 1)[0], mesh.ViaSync)
	now := b.clock.now()
	admit := func(name string, change func(*trust.Request, *trust.Grant)) {
		id, err := keyfile.NewIdentity(testkit.Random(name))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := trust.NewRequest(id, name, nil)
		if err != nil {
			t.Fatal(err)
		}
		request, err := trust.ParseRequest(raw)
		if err != nil {
			t.Fatal(err)
		}
		g := trust.Grant{Request: request, NotBefore: now - 400*day, NotAfter: now + day}
		change(request, &g)
		records, err := trust.Admit(b.region.Charter, []*crypto.PrivateKey{b.region.Admission}, []trust.Grant{g}, g.NotBefore)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Path().AddTrust(t.Context(), records); err != nil {
			t.Fatal(err)
		}
	}
	admit("late", func(_ *trust.Request, g *trust.Grant) { g.NotAfter = now - 89*day })
	admit("gone", func(_ *trust.Request, g *trust.Grant) { g.NotAfter = now - 91*day })
	admit("supplier", func(_ *trust.Request, g *trust.Grant) { g.Role = trust.RoleSupplier })
	admit("broken", func(r *trust.Request, _ *trust.Grant) { r.SealKey = bytes.Repeat([]byte{0xff}, len(r.SealKey)) })
	parts, total := b.export(t, api.BundleQuery{Audience: crypto.AudienceRegion})
	if total.SealedFor != 4 || len(total.Left) != 1 || total.Left[0] != "broken" { // author, other, here, late
		t.Errorf("sealed: %+v", total)
	}
	if a := b.imports(t, parts...); a.Known != 1 {
		t.Errorf("imported: %+v", a)
	}
	b.adds(t, revoke(t, b.region.Charter, b.region.Admission, b.other.Credential, now))
	if _, total := b.export(t, api.BundleQuery{Audience: crypto.AudienceRegion}); total.SealedFor != 3 {
		t.Errorf("sealed for %d when one of them is revoked", total.SealedFor)
	}
	for name, want := range map[string]string{"supplier": "is a supplier", "other": "was revoked", "broken": "nobody can seal for broken", "gone": "0 members could open it"} {
		q := api.BundleQuery{Audience: crypto.AudienceRegion, Size: api.BundlePartDefault, To: []string{name}}
		var field *notice.FieldError
		if _, err := b.ExportBundle(t.Context(), io.Discard, q); !errors.As(err, &field) || !strings.Contains(field.Reason, want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// One bad envelope in the middle is named and stops nothing.
func TestStickWithBadWords(t *testing.T) {
	b := newBench(t)
	chain := b.chain(t, b.author, crypto.AudienceRegion, notice.TLPAmber, 20)
	to := []seal.Recipient{{Member: b.self.ID, Key: b.self.SealKey()}}
	all := raws(chain)
	bad := bytes.Clone(all[7])
	bad[len(bad)-1] ^= 1
	all[7] = bad
	all[9] = []byte("no envelope")
	raw := stick(t, b.header(crypto.AudienceRegion), to, nil, all...)
	a := b.imports(t, raw)
	if a.Read != 20 || a.Taken != 18 || a.RefusedCount != 2 || a.Broken != "" {
		t.Fatalf("imported: %+v", a)
	}
	for i, want := range []api.BundleRefused{
		{Value: "author", Reason: "its words are not those that were signed"},
		{Value: "", Reason: "it is damaged, or of a version that this node does not know"},
	} {
		got := a.Refused[i]
		if got.Value != want.Value || got.Reason != want.Reason || !strings.HasPrefix(got.At, "part 1, byte ") {
			t.Errorf("refused: %+v, want %+v", got, want)
		}
	}
}

// Every named bad envelope meets on a stick the verdict that it meets from a
// peer, with words that say so.
func TestStickRefusesWhatThePathRefuses(t *testing.T) {
	b := newBench(t)
	cases := testkit.BadEnvelopes(t, b.region, b.clock.now(), b.item(t, "one.example"), b.item(t, "two.example"), b.item(t, "three.example"))
	for _, c := range cases {
		if c.Want == testkit.WantGood || c.Want == testkit.WantAuthor || len(c.Raw) == 0 || len(c.Raw) > crypto.EnvelopeSizeMax {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			before := b.figures(t)
			a := b.imports(t, stick(t, b.header(crypto.AudienceCommunity), nil, nil, c.Raw))
			if a.RefusedCount != 1 || a.Refused[0].Reason == "" || strings.Contains(a.Refused[0].Reason, "envelope") || a.Taken != 0 {
				t.Errorf("imported: %+v", a)
			}
			if b.figures(t) != before {
				t.Error("it left a trace")
			}
		})
	}
}

// What preceded the break is taken, and the place is named.
func TestStickThatBreaksOff(t *testing.T) {
	b := newBench(t)
	chain := b.chain(t, b.author, crypto.AudienceCommunity, notice.TLPGreen, 10)
	whole := stick(t, b.header(crypto.AudienceCommunity), nil, nil, raws(chain)...)
	a := b.imports(t, whole[:len(whole)/2])
	if a.Taken < 3 || a.Taken > 6 || !strings.Contains(a.Broken, "it breaks off at byte ") || len(a.Parts) != 0 {
		t.Fatalf("half a part: %+v", a)
	}
	first := a.Taken
	// The import goes on where it was.
	if a = b.imports(t, whole); a.Known != first || a.Taken != 10-first || a.Broken != "" {
		t.Errorf("the whole one after it: %+v", a)
	}
	// An end is missing: everything is taken, and it is said.
	if a = b.imports(t, whole[:len(whole)-3]); a.Known != 10 || a.Broken == "" {
		t.Errorf("without its end: %+v", a)
	}
	for name, raw := range map[string][]byte{"nothing": nil, "a text": []byte("hello"), "half a magic": []byte(bundle.Magic[:9]), "no header": []byte(bundle.Magic),
		"a later version": []byte(strings.Replace(bundle.Magic, "0", "1", 1))} {
		t.Log(name, b.cannot(t, raw).Reason)
	}
}

// An import that is cut off half way has kept what came, and goes on.
func TestStickPulledHalfWay(t *testing.T) {
	b := newBench(t)
	whole := stick(t, b.header(crypto.AudienceCommunity), nil, nil, raws(b.chain(t, b.author, crypto.AudienceCommunity, notice.TLPGreen, 200))...)
	pulled := errors.New("the stick was pulled")
	_, err := b.ImportBundle(t.Context(), io.MultiReader(bytes.NewReader(whole[:len(whole)/2]), &failing{pulled}))
	if !errors.Is(err, pulled) {
		t.Fatalf("%v, want %v", err, pulled)
	}
	a := b.imports(t, whole)
	if a.Known == 0 || a.Taken == 0 || a.Known+a.Taken != 200 {
		t.Errorf("after it: %+v", a)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.ImportBundle(ctx, bytes.NewReader(whole)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

// Expired words leave only the proof that they were said; those from the future
// wait; a fork comes with its proof.
func TestStickOfOddWords(t *testing.T) {
	b := newBench(t)
	chain := b.chain(t, b.author, crypto.AudienceCommunity, notice.TLPGreen, 3)
	short := b.author.Envelope(t, crypto.Header{Audience: crypto.AudienceCommunity, TLP: 2, Time: b.clock.now(), Expiry: b.clock.now() + minute}, chain[2], b.item(t, "short.example"))
	fork := b.author.Envelope(t, crypto.Header{Audience: crypto.AudienceCommunity, TLP: 1, Time: chain[2].Header.Time}, chain[1], b.item(t, "fork.example"))
	for _, e := range append(chain, short, fork) {
		if err := b.bring(t.Context(), e.Raw, mesh.ViaSync, 0); err != nil {
			t.Fatal(err)
		}
	}
	b.clock.advance(2 * time.Minute)
	parts, total := b.export(t, api.BundleQuery{})
	if total.Notices != 5 || total.Expired != 1 || bytes.Contains(parts[0], []byte("short.example")) || !bytes.Contains(parts[0], []byte("fork.example")) {
		t.Fatalf("exported: %+v", total)
	}
	h := fresh(t, b.region, b.self, b.clock)
	a := h.imports(t, parts...)
	if a.Taken != 4 || a.Expired != 1 || a.RefusedCount != 0 || a.Read != 5 {
		t.Errorf("imported: %+v", a)
	}
	if len(h.alerts(t, "fork")) != 1 {
		t.Error("nobody is told of the fork")
	}
	// The proof comes along also to those who take only one of the two.
	other := fresh(t, b.region, b.self, b.clock)
	if one, total := b.export(t, api.BundleQuery{Ceiling: notice.TLPClear}); total.Notices != 1 {
		t.Errorf("exported: %+v", total)
	} else if other.imports(t, one...); len(other.alerts(t, "fork")) != 1 {
		t.Error("the fork's proof did not come along")
	}
	if a := h.imports(t, parts...); a.Known != 5 || a.Taken != 0 {
		t.Errorf("imported again: %+v", a)
	}
	// A fork in the region's chain is told to the region only: headers say when
	// and how much was said.
	secret := b.chain(t, b.other, crypto.AudienceRegion, notice.TLPAmber, 1)[0]
	again := b.other.Envelope(t, crypto.Header{Time: secret.Header.Time}, nil, b.item(t, "again.example"))
	said := b.chain(t, b.other, crypto.AudienceCommunity, notice.TLPGreen, 1)[0]
	for _, e := range []*crypto.Envelope{secret, again, said} {
		if err := b.bring(t.Context(), e.Raw, mesh.ViaSync, 0); err != nil {
			t.Fatal(err)
		}
	}
	if clear, _ := b.export(t, api.BundleQuery{}); bytes.Contains(clear[0], again.Signed) || bytes.Contains(clear[0], secret.Signed) {
		t.Error("what is in clear tells of a fork in the region's chain")
	}
	sealed, _ := b.export(t, api.BundleQuery{Audience: crypto.AudienceRegion})
	one := fresh(t, b.region, b.self, b.clock)
	if one.imports(t, sealed...); len(one.alerts(t, "fork")) != 1 {
		t.Error("the fork in the region's chain is not told to the region")
	}
	future := b.other.Envelope(t, crypto.Header{Audience: crypto.AudienceCommunity, TLP: 2, Time: b.clock.now() + 60*minute}, nil, b.item(t, "future.example"))
	a = b.imports(t, stick(t, b.header(crypto.AudienceCommunity), nil, nil, future.Raw))
	if a.Held != 1 || a.Taken != 0 || a.RefusedCount != 0 {
		t.Errorf("from the future: %+v", a)
	}
	// What was erased here is not carried: nobody would take it from this node.
	if err := b.Store().Erase(t.Context(), crypto.NewItemID(said.Header.Author, itemHash(t, said))); err != nil {
		t.Fatal(err)
	}
	if _, left := b.export(t, api.BundleQuery{}); left.Notices != total.Notices {
		t.Errorf("after erasing: %+v, before that was said: %+v", left, total)
	}
	bare := b.other.Envelope(t, crypto.Header{Audience: crypto.AudienceCommunity, TLP: 2, Time: b.clock.now()}, nil, b.item(t, "bare.example"))
	a = b.imports(t, stick(t, b.header(crypto.AudienceCommunity), nil, nil, bare.Bare()))
	if a.RefusedCount != 1 || !strings.Contains(a.Refused[0].Reason, "taken out on the way") {
		t.Errorf("without its words: %+v", a)
	}
}

// itemHash is the leaf hash of an envelope's only item.
func itemHash(t testing.TB, e *crypto.Envelope) crypto.Hash {
	t.Helper()
	items, err := e.Split()
	if err != nil || len(items) != 1 {
		t.Fatalf("%d items, %v", len(items), err)
	}
	return crypto.LeafHash(items[0])
}

// Parts stay within their size, each is good alone, and in any order.
func TestStickInParts(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const envelopes = 120
	var last *crypto.Envelope
	for i := range envelopes {
		items := make([][]byte, 300)
		for j := range items {
			items[j] = b.item(t, fmt.Sprintf("%d-%d.example", i, j))
		}
		last = b.author.Envelope(t, crypto.Header{Time: b.clock.now() - minute}, last, items...)
		b.takes(t, last, mesh.ViaSync)
	}
	parts, total := b.export(t, api.BundleQuery{Audience: crypto.AudienceRegion, Size: api.BundlePartMin})
	if len(parts) < 3 || total.Notices != envelopes*300 {
		t.Fatalf("%d parts: %+v", len(parts), total)
	}
	for i, p := range parts {
		if len(p) > api.BundlePartMin || i < len(parts)-1 && len(p) < api.BundlePartMin/2 {
			t.Errorf("part %d has %d bytes", i+1, len(p))
		}
	}
	h := fresh(t, b.region, b.self, b.clock)
	taken := int64(0)
	for i := range parts {
		a := h.imports(t, parts[len(parts)-1-i])
		if a.Parts[0].Part != uint32(len(parts)-i) || a.Parts[0].More != (i > 0) {
			t.Errorf("part %d: %+v", len(parts)-i, a.Parts)
		}
		taken += a.Taken
	}
	if taken != total.Notices {
		t.Errorf("%d of %d taken", taken, total.Notices)
	}
	if marked := h.Store().Frontier().Chains(b.region.ID, crypto.AudienceRegion); len(marked) != 1 || len(marked[0].Ranges) != 1 {
		t.Errorf("holdings: %+v", marked)
	}
}

// What a query does not select is not in the files.
func TestStickSelection(t *testing.T) {
	b := newBench(t)
	bring := func(m *testkit.Member, a crypto.Audience, tlp notice.TLP, items ...[]byte) {
		b.takes(t, m.Envelope(t, crypto.Header{Audience: a, TLP: uint8(tlp), Time: b.clock.now()}, nil, items...), mesh.ViaSync)
	}
	report := b.sighting(t, "reported.example")
	report.Kind, report.FirstSeen, report.LastSeen, report.Count = notice.KindIndicator, 0, 0, 0
	bring(b.author, crypto.AudienceCommunity, notice.TLPClear, b.item(t, "clear.example"))
	bring(b.author, crypto.AudienceRegion, notice.TLPGreen, b.item(t, "tightened.example"))
	b.clock.advance(time.Hour)
	bring(b.other, crypto.AudienceCommunity, notice.TLPGreen, b.item(t, "green.example"), encode(t, report))
	bring(b.other, crypto.AudienceRegion, notice.TLPAmber, b.item(t, "amber.example"))
	bring(b.self, crypto.AudienceCommunity, notice.TLPGreen, b.item(t, "own.example"))
	since := b.clock.now() - 30*minute
	region := crypto.AudienceRegion
	for name, x := range map[string]struct {
		q    api.BundleQuery
		want int64
	}{
		"the community's":     {api.BundleQuery{}, 4},
		"the region's":        {api.BundleQuery{Audience: region}, 2},
		"since":               {api.BundleQuery{Since: since}, 3},
		"the region's, since": {api.BundleQuery{Audience: region, Since: since}, 1},
		"mine":                {api.BundleQuery{Mine: true}, 1},
		"with an indicator":   {api.BundleQuery{Kind: notice.KindIndicator}, 2},
		"with a dispute":      {api.BundleQuery{Kind: notice.KindDispute}, 0},
		"up to CLEAR":         {api.BundleQuery{Ceiling: notice.TLPClear}, 1},
		"the region's, GREEN": {api.BundleQuery{Audience: region, Ceiling: notice.TLPGreen}, 1},
		"the region's, AMBER": {api.BundleQuery{Audience: region, Ceiling: notice.TLPAmber}, 2},
		"from the end":        {api.BundleQuery{After: 1 << 40}, 0},
	} {
		if parts, total := b.export(t, x.q); total.Notices != x.want || (len(parts) == 0) != (x.want == 0) {
			t.Errorf("%s: %d notices in %d parts, want %d", name, total.Notices, len(parts), x.want)
		}
	}
}

func TestStickWithoutARegion(t *testing.T) {
	h := &hospital{dir: t.TempDir(), clock: &clock{}}
	makeNode(t, h.dir, "alone")
	h.open(t)
	t.Cleanup(func() { h.stop(t) })
	var un *api.Unavailable
	if _, err := h.ImportBundle(t.Context(), strings.NewReader(bundle.Magic)); !errors.As(err, &un) {
		t.Errorf("import: %v", err)
	}
	if _, err := h.ExportBundle(t.Context(), io.Discard, api.BundleQuery{Audience: crypto.AudienceCommunity, Size: api.BundlePartDefault}); !errors.As(err, &un) {
		t.Errorf("export: %v", err)
	}
}
