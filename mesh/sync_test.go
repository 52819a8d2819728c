package mesh

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/mesh/wire"
)

const modelNow = int64(1_000_000_000_000)

// forkEvery is which numbers of a history may be used twice.
const forkEvery = 3

// failer is what testing.T and rapid.T have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// modelNode is a node without I/O: what it holds, and what it was sent twice.
type modelNode struct {
	frontier *Frontier
	raws     map[crypto.ChainID]map[uint64][]byte
	seconds  map[crypto.ChainID]map[uint64][]byte // of numbers used twice, the one with the higher id
	trust    modelTrust
	now      int64 // ms, its own clock
	budget   func(crypto.MemberID) int64
	order    []*crypto.Envelope // as they came
	twice    int
}

type modelTrust map[crypto.Hash][]byte

func (m modelTrust) Root() crypto.Hash {
	var buf []byte
	for _, id := range m.IDs() {
		buf = append(buf, id[:]...)
	}
	return crypto.SumContext("test", crypto.Region{}, buf)
}

func (m modelTrust) IDs() []crypto.Hash {
	var out []crypto.Hash
	for id := range m {
		out = append(out, id)
	}
	slices.SortFunc(out, func(a, b crypto.Hash) int { return slices.Compare(a[:], b[:]) })
	return out
}

func (m modelTrust) Record(id crypto.Hash) ([]byte, bool) { raw, ok := m[id]; return raw, ok }

func newModelNode() *modelNode {
	return &modelNode{frontier: NewFrontier(), raws: map[crypto.ChainID]map[uint64][]byte{}, seconds: map[crypto.ChainID]map[uint64][]byte{}, trust: modelTrust{}, now: modelNow}
}

// modelChain is the chain of an author for an audience.
func modelChain(author int, a crypto.Audience) crypto.ChainID {
	return crypto.ChainID{Author: crypto.MemberID{byte(author >> 8), byte(author), 1}, Serial: 1, Audience: a, Epoch: 1}
}

type modelHeader struct {
	seq, floor uint64
	at         int64 // ms
	urgent     bool
	size       int // bytes of items
}

// modelEnvelope is well-formed and unsigned: sessions do not verify.
func modelEnvelope(t failer, c crypto.ChainID, m modelHeader) []byte {
	t.Helper()
	h := crypto.Header{Region: c.Region, Author: c.Author, Serial: c.Serial, Audience: c.Audience, Epoch: c.Epoch, Seq: m.seq, Floor: m.floor,
		Time: m.at, Expiry: m.at + 1000, TLP: 2, Urgent: m.urgent, Count: 1, Size: uint32(m.size)}
	if m.seq > 1 {
		h.Prev = crypto.EnvelopeID{c.Author[0], c.Author[1], byte(m.seq - 1)}
	}
	head, err := canon.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	return append(head, make([]byte, crypto.SignatureSize+m.size)...)
}

func (n *modelNode) take(t failer, raw []byte) {
	t.Helper()
	e, err := crypto.ParseEnvelope(raw)
	if err != nil {
		t.Fatal(err)
	}
	h := &e.Header
	chain := h.Chain()
	if n.raws[chain] == nil {
		n.raws[chain] = map[uint64][]byte{}
	}
	n.order = append(n.order, e)
	slot := func(e *crypto.Envelope) Slot {
		h := &e.Header
		return Slot{Chain: chain, Seq: h.Seq, ID: e.ID, Time: h.Time, Floor: h.Floor, Urgent: h.Urgent}
	}
	holding, _ := n.frontier.Get(chain)
	before := n.raws[chain][h.Seq]
	switch {
	case before == nil:
		n.raws[chain][h.Seq] = raw
		n.frontier.Put(holding.With(slot(e), n.now))
		return
	case n.seconds[chain][h.Seq] != nil:
		return // a history uses a number twice at most
	case slices.Equal(before, raw):
		if h.Seq%forkEvery != 0 {
			n.twice++
		}
		return
	}
	lower, err := crypto.ParseEnvelope(before)
	if err != nil {
		t.Fatal(err)
	}
	higher := e
	if slices.Compare(lower.ID[:], higher.ID[:]) > 0 {
		lower, higher = higher, lower
		holding = holding.With(slot(lower), n.now)
	}
	if n.seconds[chain] == nil {
		n.seconds[chain] = map[uint64][]byte{}
	}
	n.raws[chain][h.Seq], n.seconds[chain][h.Seq] = lower.Raw, higher.Raw
	n.frontier.Put(holding.WithFork(Fork{Seq: h.Seq, ID: higher.ID}))
}

// Read is that of Path.
func (n *modelNode) Read(chain crypto.ChainID, r Range, newestFirst bool, yield func(uint64, []byte) bool) error {
	var seqs []uint64
	for seq := range n.raws[chain] {
		if r.From <= seq && seq <= r.To {
			seqs = append(seqs, seq)
		}
	}
	slices.Sort(seqs)
	if newestFirst {
		slices.Reverse(seqs)
	}
	for _, seq := range seqs {
		if !yield(seq, n.raws[chain][seq]) {
			break
		}
		if second := n.seconds[chain][seq]; second != nil && !yield(seq, second) {
			break
		}
	}
	return nil
}

func (n *modelNode) session(initiator bool) *session {
	return &session{initiator: initiator, now: n.now, frontier: n.frontier, trust: n.trust, budget: n.budget,
		common: func() []scope {
			return []scope{{crypto.Region{}, crypto.AudienceCommunity}, {crypto.Region{}, crypto.AudienceRegion}}
		}}
}

// act does what a session says.
func (n *modelNode) act(t failer, actions []action, send func(message any), take func(raw []byte)) {
	t.Helper()
	for _, x := range actions {
		switch {
		case x.send != nil:
			send(x.send)
		case x.pages != nil:
			x.pages(func(message any) bool { send(message); return true })
		case x.trust != nil:
			for _, raw := range x.trust {
				n.trust[crypto.LeafHash(raw)] = raw
			}
		case x.admit != nil:
			for _, raw := range x.admit {
				take(raw)
			}
		case x.deliver != nil:
			for _, w := range *x.deliver {
				err := stored(n, w, func(raw []byte) error {
					send(&wire.Envelopes{Raw: [][]byte{raw}})
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			send(&wire.Done{})
		}
	}
}

type carried struct {
	bytes, envelopes int
	equal            bool
	trips            int
}

// carry runs one session between two nodes and breaks it off after so many
// messages (negative: never). pick says which side reads next.
func carry(t failer, a, b *modelNode, breakAfter int, pick func() int) (carried, error) {
	t.Helper()
	sides := []*modelNode{a, b}
	sessions := []*session{a.session(true), b.session(false)}
	queues := [2][][]byte{} // frames on their way to side i
	var out carried
	send := func(from int, message any) {
		raw, err := canon.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) > wire.FrameMax {
			t.Fatalf("%T of %d bytes", message, len(raw))
		}
		out.bytes += len(raw) + 5
		queues[1-from] = append(queues[1-from], append([]byte{kindOf(message)}, raw...))
	}
	do := func(side int, actions []action) {
		sides[side].act(t, actions, func(message any) { send(side, message) }, func(raw []byte) {
			sides[side].take(t, raw)
			out.envelopes++
		})
	}
	do(0, sessions[0].start())
	for read := 0; len(queues[0])+len(queues[1]) > 0; read++ {
		if read == breakAfter {
			return out, nil
		}
		side := pick()
		if len(queues[side]) == 0 {
			side = 1 - side
		}
		frame := queues[side][0]
		queues[side] = queues[side][1:]
		message, err := wire.DecodeSync(frame[0], frame[1:])
		if err != nil {
			return out, err
		}
		actions, err := sessions[side].handle(message)
		if err != nil {
			return out, fmt.Errorf("side %d: %w", side, err)
		}
		do(side, actions)
	}
	for side, s := range sessions {
		if s.phase != closed {
			return out, fmt.Errorf("side %d hangs in phase %d", side, s.phase)
		}
	}
	out.equal, out.trips = sessions[0].equal, sessions[0].trips
	return out, nil
}

func whole(t failer, a, b *modelNode) carried {
	t.Helper()
	out, err := carry(t, a, b, -1, func() int { return 0 })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// lacking names an envelope that one node holds and another lacks, although no
// floor hides it from either.
func lacking(from, to *modelNode) error {
	for chain, all := range from.raws {
		x, _ := from.frontier.Get(chain)
		y, _ := to.frontier.Get(chain)
		for seq := range all {
			if seq >= max(x.Floor, y.Floor) && to.raws[chain][seq] == nil {
				return fmt.Errorf("%d of chain %v is missing", seq, chain.Author[:2])
			}
			if seq >= max(x.Floor, y.Floor) && !slices.Equal(from.seconds[chain][seq], to.seconds[chain][seq]) {
				return fmt.Errorf("the second %d of chain %v is missing", seq, chain.Author[:2])
			}
		}
	}
	if from.trust.Root() != to.trust.Root() {
		return errors.New("trust records differ")
	}
	return nil
}

// history draws what happened: chains with gaps, floors and urgent words, of
// which each node got to hear some, in some order, by clocks that differ.
func history(t *rapid.T, nodes []*modelNode) {
	for _, n := range nodes {
		n.now += rapid.Int64Range(-240_000, 240_000).Draw(t, "offset")
	}
	type told struct {
		to  *modelNode
		raw []byte
	}
	var all []told
	for author := range rapid.IntRange(0, 4).Draw(t, "authors") {
		chain := modelChain(author, rapid.SampledFrom([]crypto.Audience{crypto.AudienceRegion, crypto.AudienceCommunity}).Draw(t, "audience"))
		m := modelHeader{floor: 1, size: 10, at: modelNow - rapid.Int64Range(0, 2_000_000).Draw(t, "age")}
		for range rapid.IntRange(0, 12).Draw(t, "length") {
			m.seq++
			m.at = min(m.at+rapid.Int64Range(0, 200_000).Draw(t, "wait"), modelNow)
			m.urgent = rapid.IntRange(0, 5).Draw(t, "urgent") == 0
			if rapid.IntRange(0, 5).Draw(t, "raise") == 0 {
				m.floor = rapid.Uint64Range(m.floor, m.seq).Draw(t, "floor")
			}
			if m.seq > 8 && m.seq < 100 && rapid.IntRange(0, 9).Draw(t, "leap") == 0 {
				m.seq = math.MaxUint64 - 1 + rapid.Uint64Range(0, 1).Draw(t, "last")
			}
			raw := modelEnvelope(t, chain, m)
			heard := rapid.IntRange(0, 1<<len(nodes)-1).Draw(t, "heard")
			for i, n := range nodes {
				if heard>>i&1 == 1 {
					all = append(all, told{n, raw})
				}
			}
			if m.seq%forkEvery == 0 && m.seq < 100 && rapid.Bool().Draw(t, "fork") {
				other := m
				other.size++
				all = append(all, told{nodes[0], raw}, told{nodes[0], modelEnvelope(t, chain, other)}) // somebody has both
				if rapid.Bool().Draw(t, "heard the other") {
					all = append(all, told{nodes[len(nodes)-1], modelEnvelope(t, chain, other)})
				}
			}
			if m.seq == math.MaxUint64 {
				break
			}
		}
	}
	for _, i := range anyOrder(t, len(all)) {
		all[i].to.take(t, all[i].raw)
	}
	for _, n := range nodes {
		for i := range rapid.IntRange(0, 3).Draw(t, "records") {
			raw := fmt.Appendf(nil, "record %d", i*rapid.IntRange(1, 2).Draw(t, "which"))
			n.trust[crypto.LeafHash(raw)] = raw
		}
	}
}

func anyOrder(t *rapid.T, n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	return rapid.Permutation(order).Draw(t, "order")
}

// Whatever the nodes hold, wherever sessions break off and in whatever order
// messages are read: once it is settled they end with the same set, nothing came
// twice, and another round between any two finds them equal.
func TestSessionsMakeEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := []*modelNode{newModelNode(), newModelNode(), newModelNode()}[:rapid.IntRange(2, 3).Draw(t, "nodes")]
		history(t, nodes)
		pick := func() int { return rapid.IntRange(0, 1).Draw(t, "side") }
		pair := func() (a, b *modelNode) {
			two := anyOrder(t, len(nodes))
			return nodes[two[0]], nodes[two[1]]
		}
		for range rapid.IntRange(0, 4).Draw(t, "broken sessions") {
			a, b := pair()
			if _, err := carry(t, a, b, rapid.IntRange(0, 25).Draw(t, "break"), pick); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range nodes {
			n.now += 6 * 60_000 // all is settled
		}
		for range 2 {
			for i := range nodes[1:] {
				if _, err := carry(t, nodes[i+1], nodes[i], -1, pick); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, n := range nodes {
			for _, o := range nodes {
				if err := lacking(n, o); err != nil {
					t.Fatal(err)
				}
			}
			if n.twice > 0 {
				t.Fatal("something was sent twice")
			}
		}
		for i := range nodes[1:] {
			if out, err := carry(t, nodes[i], nodes[i+1], -1, pick); err != nil || !out.equal {
				t.Fatalf("still not equal: %+v, %v", out, err)
			}
		}
	})
}

// Nodes that hold the same envelopes see it from their digests alone, although
// they came in another order, by clocks that differ.
func TestSameHistoryIsEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := newModelNode(), newModelNode()
		history(t, []*modelNode{a})
		b.now += rapid.Int64Range(-240_000, 240_000).Draw(t, "offset")
		for raw, record := range a.trust {
			b.trust[raw] = record
		}
		for _, i := range anyOrder(t, len(a.order)) {
			b.take(t, a.order[i].Raw)
		}
		if out := whole(t, a, b); !out.equal {
			t.Fatalf("not equal: %+v", out)
		}
	})
}

func TestEqualNodesSayLittle(t *testing.T) {
	a, b := newModelNode(), newModelNode()
	for author := range 1000 {
		chain := modelChain(author, crypto.AudienceRegion)
		if author < 2 { // what each side holds of the other's own chains
			chain.Author = crypto.MemberID{}
			chain.Epoch = uint32(author + 1)
		}
		raw := modelEnvelope(t, chain, modelHeader{seq: 1, floor: 1, at: modelNow - 1_000_000, size: 10})
		a.take(t, raw)
		b.take(t, raw)
	}
	out := whole(t, a, b)
	t.Logf("%+v", out)
	if !out.equal || out.envelopes != 0 || out.bytes > 400 || out.trips != 2 {
		t.Errorf("%+v", out)
	}
}

func TestOverheadOfAMissedSuffix(t *testing.T) {
	for name, knows := range map[string]int{"initiator": 0, "responder": 1} {
		t.Run(name+" lacks nothing", func(t *testing.T) {
			sides := []*modelNode{newModelNode(), newModelNode()}
			payload := 0
			for author := range 200 {
				chain := modelChain(author, crypto.AudienceRegion)
				for seq := uint64(1); seq <= 2; seq++ {
					raw := modelEnvelope(t, chain, modelHeader{seq: seq, floor: 1, at: modelNow - 1_000_000 + int64(seq), size: 300})
					sides[knows].take(t, raw)
					if seq == 1 {
						sides[1-knows].take(t, raw)
					} else {
						payload += len(raw)
					}
				}
			}
			out := whole(t, sides[0], sides[1])
			t.Logf("payload %d, overhead %d, %d round trips", payload, out.bytes-payload, out.trips)
			if err := lacking(sides[knows], sides[1-knows]); err != nil || out.envelopes != 200 || out.trips > 3 {
				t.Fatalf("%+v, %v", out, err)
			}
			if out.bytes > payload*105/100+8_000 {
				t.Errorf("%d bytes for a payload of %d", out.bytes, payload)
			}
		})
	}
}

// After a partition each side has 10,000 notices that the other lacks, in
// envelopes of 512.
func TestOverheadAfterAPartition(t *testing.T) {
	a, b := newModelNode(), newModelNode()
	payload := 0
	for i := range 40 {
		raw := modelEnvelope(t, modelChain(i, crypto.AudienceRegion), modelHeader{seq: 1, floor: 1, at: modelNow - 1_000_000, size: 512 * 150})
		[]*modelNode{a, b}[i%2].take(t, raw)
		payload += len(raw)
	}
	out := whole(t, a, b)
	t.Logf("payload %d, overhead %d", payload, out.bytes-payload)
	if out.envelopes != 40 || out.bytes > payload*105/100+16_000 {
		t.Errorf("%+v for a payload of %d", out, payload)
	}
}

// Urgent words come first whatever their chain, then the newest chain, and of
// each chain the newest.
func TestOrderOfTransfer(t *testing.T) {
	a, b := newModelNode(), newModelNode()
	for author, age := range []int64{5_000_000, 300_000, 2_000_000} {
		for seq := uint64(1); seq <= 3; seq++ {
			a.take(t, modelEnvelope(t, modelChain(author, crypto.AudienceRegion), modelHeader{seq: seq, floor: 1,
				at: modelNow - age + int64(seq), urgent: author == 0 && seq == 3, size: 10}))
		}
	}
	whole(t, a, b)
	var got []string
	for _, e := range b.order {
		got = append(got, fmt.Sprintf("%d/%d", e.Header.Author[1], e.Header.Seq))
	}
	want := []string{"0/3", "1/3", "1/2", "1/1", "2/3", "2/2", "2/1", "0/2", "0/1"}
	if !slices.Equal(got, want) {
		t.Errorf("came as %v, want %v", got, want)
	}
}

// One author's history is pulled within the day's budget, the oldest first when
// it is short, and urgent words beside it.
func TestBudget(t *testing.T) {
	const size = 100_000
	a, b := newModelNode(), newModelNode()
	for seq := uint64(1); seq <= 30; seq++ {
		a.take(t, modelEnvelope(t, modelChain(1, crypto.AudienceRegion), modelHeader{seq: seq, floor: 1, at: modelNow - 1_000_000 + int64(seq)*20_000,
			urgent: seq == 30, size: size}))
	}
	left := int64(10*size + 1)
	b.budget = func(crypto.MemberID) int64 { return left }
	whole(t, a, b)
	if len(b.order) != 11 || b.order[0].Header.Seq != 30 || b.order[1].Header.Seq != 1 || b.order[10].Header.Seq != 10 {
		t.Fatalf("%d envelopes, first %d", len(b.order), b.order[0].Header.Seq)
	}
	left = 0
	whole(t, a, b)
	if len(b.order) != 11 {
		t.Errorf("%d envelopes with no budget left", len(b.order))
	}
	left = 40 * size
	whole(t, a, b)
	if err := lacking(a, b); err != nil || b.twice > 0 {
		t.Error(err, b.twice)
	}
}

// Two envelopes with one number: each side gets to see the other's, although
// both hold the same numbers.
func TestForkAtTheEnd(t *testing.T) {
	a, b := newModelNode(), newModelNode()
	for seq := uint64(1); seq <= 3; seq++ {
		for i, n := range []*modelNode{a, b} {
			size := 10
			if seq == 3 {
				size += i
			}
			n.take(t, modelEnvelope(t, modelChain(1, crypto.AudienceRegion), modelHeader{seq: seq, floor: 1, at: modelNow - 1_000_000, size: size}))
		}
	}
	mine, theirs := a.order[2].ID, b.order[2].ID
	if out := whole(t, a, b); out.envelopes != 2 || a.order[3].ID != theirs || b.order[3].ID != mine {
		t.Errorf("%+v: %v, %v", out, a.order[3:], b.order[3:])
	}
}

// Records that come while hellos cross leave both sides in step.
func TestTrustChangesDuringHello(t *testing.T) {
	a, b := newModelNode(), newModelNode()
	x, y := a.session(true), b.session(false)
	first := x.start()
	a.trust[crypto.Hash{1}] = []byte("came from somebody else")
	answer, err := y.handle(first[0].send)
	if err != nil || len(answer) != 1 {
		t.Fatal(answer, err)
	}
	next, err := x.handle(answer[0].send)
	if err != nil || len(next) != 1 {
		t.Fatal(next, err)
	}
	if _, err := y.handle(next[0].send); err != nil {
		t.Errorf("%T: %v", next[0].send, err)
	}
}

// What no honest peer says ends the session.
func TestSessionRefuses(t *testing.T) {
	chain := modelChain(1, crypto.AudienceRegion)
	raw := modelEnvelope(t, chain, modelHeader{seq: 1, floor: 1, at: modelNow - 1_000_000, size: 10})
	at := (modelNow - settleAfter.Milliseconds()) / settleStep.Milliseconds() * settleStep.Milliseconds()
	other := &wire.Root{At: at, Root: crypto.Hash{1}}
	shared := []wire.Scope{{Audience: crypto.AudienceRegion}}
	one := []wire.Range{{From: 1, To: 1}}
	entry := wire.Chain{Author: chain.Author, Serial: 1, Epoch: 1, Floor: 1, Ranges: one}
	list := &wire.Chains{Scopes: shared, Chains: []wire.Chain{entry}}
	urgent := entry
	urgent.Ranges, urgent.Urgent = []wire.Range{{From: 1, To: 1}}, []uint64{1}
	want := func(wants ...wire.ChainWant) *wire.Want { return &wire.Want{Wants: wants} }
	sent := &wire.Envelopes{Raw: [][]byte{raw}}
	for name, script := range map[string][]any{
		"another moment":                 {&wire.Root{At: at + 30_000}},
		"a second hello":                 {&wire.Hello{Versions: []uint8{0}}},
		"trust records unasked":          {&wire.Trust{}},
		"envelopes at once":              {sent},
		"done at once":                   {&wire.Done{}},
		"roots to a responder":           {&wire.Roots{}},
		"a scope that is not shared":     {other, &wire.Chains{Scopes: []wire.Scope{{Audience: crypto.AudienceNamed}}}},
		"a scope twice":                  {other, &wire.Chains{Scopes: append(shared, shared...)}},
		"a chain outside the scopes":     {other, &wire.Chains{Chains: []wire.Chain{entry}}},
		"a want of what was not listed":  {other, list, want(wire.ChainWant{Chain: 1, Ranges: one})},
		"a want twice":                   {other, list, want(wire.ChainWant{Ranges: one}, wire.ChainWant{Ranges: one})},
		"three wants":                    {other, list, want(wire.ChainWant{}, wire.ChainWant{}, wire.ChainWant{Ranges: one})},
		"what was not asked for":         {other, &wire.Chains{Scopes: shared}, want(), sent},
		"the same envelope again":        {other, list, want(), sent, sent},
		"no envelope at all":             {other, list, want(), &wire.Envelopes{Raw: [][]byte{[]byte("?")}}},
		"an urgent one that is not":      {other, &wire.Chains{Scopes: shared, Chains: []wire.Chain{urgent}}, want(), sent},
		"wants after wants":              {other, list, want(), want()},
		"a kind of message that is none": {new(int)},
	} {
		t.Run(name, func(t *testing.T) {
			n := newModelNode()
			n.take(t, modelEnvelope(t, modelChain(2, crypto.AudienceRegion), modelHeader{seq: 1, floor: 1, at: modelNow - 1_000_000, size: 10}))
			s := n.session(false)
			script := append([]any{&wire.Hello{Versions: []uint8{0}, Clock: modelNow, Trust: n.trust.Root()}}, script...)
			for i, message := range script {
				_, err := s.handle(message)
				if last := i == len(script)-1; last != (err != nil) || last && !errors.Is(err, errProtocol) {
					t.Fatalf("message %d, %T: %v", i, message, err)
				}
			}
		})
	}
}

// A peer that goes on and on is stopped.
func TestEndlessLists(t *testing.T) {
	pages := map[string]struct {
		before []any
		page   func(i int) any
	}{
		"trust ids": {[]any{&wire.Hello{Versions: []uint8{0}, Clock: modelNow, Trust: crypto.Hash{1}}}, func(i int) any {
			ids := make([]byte, wire.TrustPrefix*wire.EntriesMax)
			for k := range wire.EntriesMax {
				copy(ids[k*wire.TrustPrefix:], fmt.Sprint(i, k))
			}
			return &wire.TrustHave{IDs: ids, More: true}
		}},
		"empty pages": {[]any{&wire.Hello{Versions: []uint8{0}, Clock: modelNow, Trust: crypto.Hash{1}}}, func(int) any {
			return &wire.TrustHave{More: true}
		}},
		"records": {[]any{&wire.Hello{Versions: []uint8{0}, Clock: modelNow, Trust: crypto.Hash{1}}, &wire.TrustHave{}}, func(int) any {
			return &wire.Trust{Records: make([][]byte, 1000), More: true}
		}},
		"ranges": {[]any{&wire.Hello{Versions: []uint8{0}, Clock: modelNow, Trust: modelTrust{}.Root()}, &wire.Root{At: (modelNow - 60_000) / 30_000 * 30_000},
			&wire.Chains{Scopes: []wire.Scope{{Audience: crypto.AudienceRegion}}, More: true}}, func(int) any {
			return &wire.Chains{Chains: []wire.Chain{{Ranges: make([]wire.Range, wire.RangesMax)}}, More: true}
		}},
	}
	for name, x := range pages {
		t.Run(name, func(t *testing.T) {
			s := newModelNode().session(false)
			for _, message := range x.before {
				if _, err := s.handle(message); err != nil {
					t.Fatal(err)
				}
			}
			for i := range messagesMax + 1 {
				if _, err := s.handle(x.page(i)); err != nil {
					if !errors.Is(err, errProtocol) {
						t.Fatal(err)
					}
					return
				}
			}
			t.Error("never stopped")
		})
	}
}

// A batch is in the order of each chain, whatever order it came in.
func TestBatchesAreOrdered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var batch []*Checked
		for range rapid.IntRange(0, 30).Draw(t, "count") {
			h := crypto.Header{Author: crypto.MemberID{rapid.Byte().Draw(t, "author") % 3}, Seq: rapid.Uint64Range(1, 20).Draw(t, "seq")}
			batch = append(batch, &Checked{Envelope: &crypto.Envelope{Header: h}})
		}
		ordered(batch)
		last := map[crypto.MemberID]uint64{}
		for _, c := range batch {
			h := &c.Envelope.Header
			if h.Seq < last[h.Author] {
				t.Fatalf("%d after %d", h.Seq, last[h.Author])
			}
			last[h.Author] = h.Seq
		}
	})
}
