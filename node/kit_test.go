package node_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const (
	minute = int64(60_000) // ms
	day    = 24 * 60 * minute
)

// A bench is one node of a region whose other members' keys a test holds, so
// that it can say anything in their names. The node is open and not started:
// nothing comes to it but what the test brings.
type bench struct {
	*hospital
	region        *testkit.Region
	author, other *testkit.Member
	self          *testkit.Member
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := benchAt(t, t.TempDir(), &clock{})
	b.open(t)
	return b
}

// benchAt makes the directory of a bench.
func benchAt(t testing.TB, dir string, c *clock) *bench {
	t.Helper()
	r := testkit.NewRegion(t, "author", "other", "here")
	b := &bench{region: r, author: r.Members[0], other: r.Members[1], self: r.Members[2], hospital: &hospital{dir: dir, clock: c}}
	if err := keyfile.Save(filepath.Join(dir, "identity.key"), b.self.Identity); err != nil {
		t.Fatal(err)
	}
	makeNode(t, dir, "here")
	admission, err := canon.Marshal(node.Admission{Region: r.ID, Records: r.Records, Seeds: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := node.Join(dir, admission); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.stop(t) })
	return b
}

// item encodes a sighting of a value, at the bench's time.
func (b *bench) item(t testing.TB, value string) []byte {
	t.Helper()
	return encode(t, b.sighting(t, value))
}

func (b *bench) sighting(t testing.TB, value string) *notice.Notice {
	t.Helper()
	i, err := notice.Detect(value, notice.Options{})
	if err != nil {
		t.Fatal(err)
	}
	now := b.clock.now()
	n := &notice.Notice{Kind: notice.KindSighting, Created: now, Indicator: &i, FirstSeen: now, LastSeen: now, Count: 1}
	copy(n.Salt[:], value)
	return n
}

func encode(t testing.TB, n *notice.Notice) []byte {
	t.Helper()
	raw, err := notice.Encode(n)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// bring runs one message through the whole accept order, as it came.
func (b *bench) bring(ctx context.Context, raw []byte, via mesh.Via, a crypto.Audience) error {
	region := b.region.ID
	if via != mesh.ViaGossip { // only a topic says what it carries
		region, a = crypto.Region{}, 0
	}
	checked, err := b.Path().Check(raw, via, region, a)
	if err != nil {
		return err
	}
	return b.Path().Admit(ctx, []*mesh.Checked{checked})
}

// verdict says which step refused a message.
func verdict(err error) string {
	var refusal *mesh.Refusal
	switch {
	case err == nil:
		return testkit.WantGood
	case errors.Is(err, mesh.ErrUnknownAuthor):
		return testkit.WantAuthor
	case errors.As(err, &refusal):
		return refusal.Reason
	}
	return err.Error()
}

// takes brings a message, which must be stored.
func (b *bench) takes(t testing.TB, e *crypto.Envelope, via mesh.Via) {
	t.Helper()
	if err := b.bring(t.Context(), e.Raw, via, e.Header.Audience); err != nil {
		t.Fatalf("an envelope is not taken: %v", err)
	}
	if id, held := b.Store().Slot(e.Header.Chain(), e.Header.Seq); !held || id != e.ID {
		t.Fatalf("an envelope was taken and its place holds %s", id)
	}
}

// says brings a message, which must meet a verdict and change nothing.
func (b *bench) says(t testing.TB, raw []byte, via mesh.Via, want string) {
	t.Helper()
	before := b.figures(t)
	if got := verdict(b.bring(t.Context(), raw, via, crypto.AudienceRegion)); got != want {
		t.Errorf("verdict %q, want %q", got, want)
	}
	if after := b.figures(t); after != before {
		t.Errorf("the store changed: %+v, before %+v", after, before)
	}
}

// figures are those of the store that any write changes.
type figures struct {
	notices, indicators, envelopes, waiting, last uint64
	root                                          crypto.Hash
	listed                                        int
}

func (b *bench) figures(t testing.TB) figures {
	t.Helper()
	s, err := b.Store().Stats()
	if err != nil {
		t.Fatal(err)
	}
	all, _, err := b.Store().List(store.Query{Limit: store.ListMax, Lapsed: true, Takeback: true})
	if err != nil {
		t.Fatal(err)
	}
	root := b.Store().Frontier().Root(b.region.ID, crypto.AudienceRegion, b.clock.now()+400*day)
	return figures{s.Notices, s.Indicators, s.Envelopes, s.Waiting, s.Last, root, len(all)}
}

var vias = map[string]mesh.Via{"gossip": mesh.ViaGossip, "sync": mesh.ViaSync, "direct": mesh.ViaDirect}

// sooner names relabelled envelopes that a step before the signature refuses:
// their marking does not fit their audience, or their audience not the topic.
var sooner = map[string]func(mesh.Via) string{
	"TLP raised": func(mesh.Via) string { return "tlp" },
	"audience widened": func(via mesh.Via) string {
		if via == mesh.ViaGossip {
			return "region"
		}
		return "tlp"
	},
}

// Every named bad envelope meets its verdict, whatever way it comes, and leaves
// no trace.
func TestBadEnvelopesLeaveNoTrace(t *testing.T) {
	b := newBench(t)
	values := []string{"one.example", "two.example", "three.example"}
	var items [][]byte
	for _, v := range values {
		items = append(items, b.item(t, v))
	}
	cases := testkit.BadEnvelopes(t, b.region, b.clock.now(), items...)
	bad := 0
	for _, c := range cases {
		if c.Want == testkit.WantGood {
			continue
		}
		bad++
		for name, via := range vias {
			want := c.Want
			if step := sooner[c.Name]; step != nil {
				want = step(via)
			}
			t.Run(c.Name+"/"+name, func(t *testing.T) { b.says(t, c.Raw, via, want) })
		}
	}
	if bad < 50 {
		t.Fatalf("only %d bad envelopes in the kit", bad)
	}
	for _, v := range values {
		if b.knows(t, v) {
			t.Fatalf("%s is known after refusals alone", v)
		}
	}
	// The genuine ones come last: nothing bad may have spoilt them.
	for _, c := range cases {
		if c.Want != testkit.WantGood {
			continue
		}
		err := b.bring(t.Context(), c.Raw, mesh.ViaGossip, crypto.AudienceRegion)
		if err != nil && !errors.Is(err, mesh.ErrDuplicate) {
			t.Fatalf("%s: %v", c.Name, err)
		}
	}
	if got := b.figures(t); got.envelopes != 2 || got.notices != 3 {
		t.Fatalf("two genuine envelopes with the same three items left %+v", got)
	}
}

// A relay that sends a genuine header under a broken signature first must not
// be able to censor: the genuine envelope is taken after it.
func TestBrokenSignatureFirstDoesNotCensor(t *testing.T) {
	for name, via := range vias {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			genuine := b.author.Envelope(t, crypto.Header{Time: b.clock.now()}, nil, b.item(t, "evil.example"))
			broken := slices.Clone(genuine.Raw)
			broken[len(genuine.Signed)+100] ^= 1
			for range 3 {
				b.says(t, broken, via, testkit.WantSignature)
			}
			b.takes(t, genuine, via)
			if !b.knows(t, "evil.example") {
				t.Fatal("the genuine envelope was taken and its word is not known")
			}
		})
	}
}

func TestWhatDoesNotBelongIsRefused(t *testing.T) {
	b := newBench(t)
	now, word := b.clock.now(), b.item(t, "evil.example")
	stranger := testkit.NewRegionNamed(t, "test", "author", "other", "here", "stranger").Members[3]
	elsewhere := testkit.NewRegionNamed(t, "elsewhere", "author").Members[0]
	sealed := crypto.Header{Time: now, Audience: crypto.AudienceNamed, TLP: uint8(notice.TLPRed)}
	for _, c := range []struct {
		name, want string
		envelope   *crypto.Envelope
		vias       []mesh.Via // nil = all
	}{
		{"AMBER for the community", "tlp", b.author.Envelope(t, crypto.Header{Time: now, Audience: crypto.AudienceCommunity, TLP: uint8(notice.TLPAmber)}, nil, word), []mesh.Via{mesh.ViaSync, mesh.ViaDirect}},
		{"AMBER+STRICT for the region", "tlp", b.author.Envelope(t, crypto.Header{Time: now, TLP: uint8(notice.TLPAmberStrict)}, nil, word), nil},
		{"RED for the region", "tlp", b.author.Envelope(t, crypto.Header{Time: now, TLP: uint8(notice.TLPRed)}, nil, word), nil},
		{"urgent RED for the region", "tlp", b.author.Envelope(t, crypto.Header{Time: now, TLP: uint8(notice.TLPRed), Urgent: true}, nil, word), nil},
		{"sealed", "audience", b.author.Envelope(t, sealed, nil, word), []mesh.Via{mesh.ViaSync, mesh.ViaDirect}},
		{"for the community in the region's topic", "region", b.author.Envelope(t, crypto.Header{Time: now, Audience: crypto.AudienceCommunity, TLP: uint8(notice.TLPGreen)}, nil, word), []mesh.Via{mesh.ViaGossip}},
		{"sealed in the region's topic", "region", b.author.Envelope(t, sealed, nil, word), []mesh.Via{mesh.ViaGossip}},
		{"of another region", "region", elsewhere.Envelope(t, crypto.Header{Time: now}, nil, word), nil},
		{"of a stranger", testkit.WantAuthor, stranger.Envelope(t, crypto.Header{Time: now}, nil, word), nil},
		{"urgent, of a stranger", testkit.WantAuthor, stranger.Envelope(t, crypto.Header{Time: now, Urgent: true}, nil, word), nil},
		{"from before its credential", "credential", b.author.Envelope(t, crypto.Header{Time: testkit.Founded - day, Expiry: testkit.Founded + 300*day}, nil, word), []mesh.Via{mesh.ViaSync, mesh.ViaDirect}},
	} {
		for name, via := range vias {
			if c.vias == nil || slices.Contains(c.vias, via) {
				t.Run(c.name+"/"+name, func(t *testing.T) { b.says(t, c.envelope.Raw, via, c.want) })
			}
		}
	}
	if b.knows(t, "evil.example") {
		t.Fatal("the word is known after refusals alone")
	}
}

// A stranger's envelope is taken once its credential came.
func TestUnknownAuthorIsTakenAfterItsCredential(t *testing.T) {
	b := newBench(t)
	late := b.region.Admit(t, "late")[0]
	e := late.Envelope(t, crypto.Header{Time: b.clock.now()}, nil, b.item(t, "evil.example"))
	b.says(t, e.Raw, mesh.ViaGossip, testkit.WantAuthor)
	forged := slices.Clone(late.Record)
	forged[len(forged)-10] ^= 1
	root := b.RosterRoot()
	if err := b.Path().AddTrust(t.Context(), [][]byte{forged}); err == nil || b.RosterRoot() != root {
		t.Fatalf("a forged credential: error %v, roster changed %t", err, b.RosterRoot() != root)
	}
	b.says(t, e.Raw, mesh.ViaGossip, testkit.WantAuthor)
	if err := b.Path().AddTrust(t.Context(), [][]byte{forged, late.Record}); err == nil {
		t.Error("the forged record beside a good one is not reported")
	}
	b.takes(t, e, mesh.ViaGossip)

	b.stop(t) // and it is kept
	b.open(t)
	next := late.Envelope(t, crypto.Header{Time: b.clock.now()}, e, b.item(t, "two.example"))
	b.takes(t, next, mesh.ViaGossip)
}

// A node without a region keeps and answers what it is told, and shares nothing.
func TestNodeWithoutRegion(t *testing.T) {
	dir := t.TempDir()
	makeNode(t, dir, "alone")
	h := &hospital{dir: dir, clock: &clock{}}
	h.open(t)
	defer h.stop(t)
	h.start(t, nil)
	if h.knows(t, "evil.example") {
		t.Fatal("an empty node knows something")
	}
	h.submit(t, api.SubmitOptions{Local: true}, sighting("evil.example", h.clock.now()))
	if !h.knows(t, "evil.example") {
		t.Fatal("a node without a region does not know its own word")
	}
	h.refuses(t, api.SubmitOptions{}, sighting("two.example", h.clock.now()))
}
