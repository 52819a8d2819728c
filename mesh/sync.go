package mesh

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh/wire"
)

// Times of the exchange (design, Sync 1).
const (
	settleAfter = 60 * time.Second // younger envelopes are still on their way by gossip
	settleStep  = 30 * time.Second // so that peers who compare often compare the same moment
)

// Limits of one session, whatever a peer claims.
const (
	chainsMax      = 200_000 // chains in the differing scopes
	trustMax       = 100_000 // records a peer may list
	syncVersion    = 0
	ownChainsShown = 64 // of the peer's own chains in a hello
)

var errProtocol = errors.New("sync protocol")

// records are the trust records of a node, as *trust.Roster has them.
type records interface {
	Root() crypto.Hash
	IDs() []crypto.Hash
	Record(crypto.Hash) ([]byte, bool)
}

// A session is one side of a sync exchange as a state machine: it is fed the
// peer's messages and returns what to do, and neither reads nor writes nor asks
// a clock. The order of messages is that of the kinds in package wire; the
// initiator speaks first.
type session struct {
	initiator bool
	now       int64 // ms, when the session began
	frontier  *Frontier
	trust     records
	scopes    []scope                    // what both sides may see
	peer      crypto.MemberID            // whose chains the hello speaks of
	region    crypto.Region              // the peer's region
	budget    func(crypto.MemberID) pull // how much more of an author is pulled today; nil = all

	phase  phase
	clock  int64       // the peer's, ms
	held   []wire.Held // what the peer holds of this node
	at     int64       // T
	differ []scope
	have   map[[wire.TrustPrefix]byte]bool // the peer's trust records
	listed map[crypto.ChainID]wire.Chain   // the peer's chains
	asked  map[crypto.ChainID][]Range      // what was wanted of the peer
	wants  []wire.ChainWant                // what the peer wants
	equal  bool
}

// pull says how far an author is within its daily budget.
type pull uint8

const (
	pullAll pull = iota
	pullOldest
	pullUrgent // nothing but urgent envelopes
)

type phase uint8

const (
	awaitHello phase = iota
	awaitTrustHave
	awaitTrust
	awaitRoot  // responder
	awaitRoots // initiator: roots, or done when equal
	awaitChains
	awaitWant
	transfer
	closed
)

// An action is what the driver does next, in order.
type action struct {
	send    any              // a message
	trust   [][]byte         // records to verify and keep, before anything else is read
	admit   [][]byte         // envelopes to check and admit
	deliver []wire.ChainWant // envelopes to send, then Done
	end     bool             // both directions are done
}

func (s *session) start() []action {
	if !s.initiator {
		return nil
	}
	return []action{{send: s.hello()}}
}

func (s *session) hello() *wire.Hello {
	h := &wire.Hello{Versions: []uint8{syncVersion}, Clock: s.now, Trust: s.trust.Root()}
	for _, held := range s.frontier.Author(s.region, s.peer) {
		if len(h.Yours) < ownChainsShown && len(held.Ranges) > 0 {
			h.Yours = append(h.Yours, wire.Held{Audience: held.Chain.Audience, Serial: held.Chain.Serial, Epoch: held.Chain.Epoch, Seq: held.Highest(), ID: held.Top})
		}
	}
	return h
}

// handle takes one message of the peer.
func (s *session) handle(message any) ([]action, error) {
	switch m := message.(type) {
	case *wire.Hello:
		return s.onHello(m)
	case *wire.TrustHave:
		return s.onTrustHave(m)
	case *wire.Trust:
		return s.onTrust(m)
	case *wire.Root:
		return s.onRoot(m)
	case *wire.Roots:
		return s.onRoots(m)
	case *wire.Chains:
		return s.onChains(m)
	case *wire.Want:
		return s.onWant(m)
	case *wire.Envelopes:
		return s.onEnvelopes(m)
	case *wire.Done:
		return s.onDone()
	}
	return nil, fmt.Errorf("%w: %T", errProtocol, message)
}

func (s *session) expect(p phase, message any) error {
	if s.phase != p {
		return fmt.Errorf("%w: %T out of order", errProtocol, message)
	}
	return nil
}

func (s *session) onHello(m *wire.Hello) ([]action, error) {
	if err := s.expect(awaitHello, m); err != nil {
		return nil, err
	}
	if !slices.Contains(m.Versions, syncVersion) {
		return nil, fmt.Errorf("%w: the peer knows versions %v, this node %d", errProtocol, m.Versions, syncVersion)
	}
	s.clock, s.held = m.Clock, m.Yours
	step := settleStep.Milliseconds()
	s.at = (min(s.now, m.Clock) - settleAfter.Milliseconds()) / step * step
	var out []action
	if !s.initiator {
		out = append(out, action{send: s.hello()})
	}
	if m.Trust != s.trust.Root() {
		s.phase, s.have = awaitTrustHave, map[[wire.TrustPrefix]byte]bool{}
		return append(out, s.trustHave()...), nil
	}
	return append(out, s.afterTrust()...), nil
}

func (s *session) trustHave() []action {
	var out []action
	ids := s.trust.IDs()
	for {
		page := &wire.TrustHave{}
		for len(ids) > 0 && len(page.IDs) < wire.PageBytes {
			page.IDs, ids = append(page.IDs, ids[0][:wire.TrustPrefix]...), ids[1:]
		}
		page.More = len(ids) > 0
		out = append(out, action{send: page})
		if !page.More {
			return out
		}
	}
}

func (s *session) onTrustHave(m *wire.TrustHave) ([]action, error) {
	if err := s.expect(awaitTrustHave, m); err != nil {
		return nil, err
	}
	for id := range slices.Chunk(m.IDs, wire.TrustPrefix) {
		s.have[[wire.TrustPrefix]byte(id)] = true
	}
	if len(s.have) > trustMax {
		return nil, fmt.Errorf("%w: more than %d trust records", errProtocol, trustMax)
	}
	if m.More {
		return nil, nil
	}
	s.phase = awaitTrust
	var out []action
	page, size := &wire.Trust{}, 0
	for _, id := range s.trust.IDs() {
		raw, ok := s.trust.Record(id)
		if !ok || s.have[[wire.TrustPrefix]byte(id[:wire.TrustPrefix])] {
			continue
		}
		if size+len(raw) > wire.PageBytes && size > 0 {
			page.More = true
			out = append(out, action{send: page})
			page, size = &wire.Trust{}, 0
		}
		page.Records, size = append(page.Records, raw), size+len(raw)
	}
	return append(out, action{send: page}), nil
}

func (s *session) onTrust(m *wire.Trust) ([]action, error) {
	if err := s.expect(awaitTrust, m); err != nil {
		return nil, err
	}
	var out []action
	if len(m.Records) > 0 {
		out = append(out, action{trust: m.Records})
	}
	if m.More {
		return out, nil
	}
	return append(out, s.afterTrust()...), nil
}

func (s *session) afterTrust() []action {
	s.phase = awaitRoot
	if !s.initiator {
		return nil
	}
	s.phase = awaitRoots
	return []action{{send: &wire.Root{At: s.at, Root: s.root()}}}
}

func (s *session) root() crypto.Hash {
	var buf []byte
	for _, sc := range s.scopes {
		root := s.frontier.Root(sc.region, sc.audience, s.at)
		buf = append(buf, root[:]...)
	}
	return crypto.SumContext("frontier-scope", crypto.Region{}, buf)
}

func (s *session) onRoot(m *wire.Root) ([]action, error) {
	if err := s.expect(awaitRoot, m); err != nil {
		return nil, err
	}
	if m.At != s.at {
		return nil, fmt.Errorf("%w: the peer compares at %d, this node at %d", errProtocol, m.At, s.at)
	}
	if m.Root == s.root() {
		s.phase, s.equal = closed, true
		return []action{{send: &wire.Done{}}, {end: true}}, nil
	}
	answer := &wire.Roots{}
	for _, sc := range s.scopes {
		answer.Scopes = append(answer.Scopes, wire.ScopeRoot{Region: sc.region, Audience: sc.audience, Root: s.frontier.Root(sc.region, sc.audience, s.at)})
	}
	s.phase = awaitChains
	return []action{{send: answer}}, nil
}

func (s *session) onRoots(m *wire.Roots) ([]action, error) {
	if err := s.expect(awaitRoots, m); err != nil {
		return nil, err
	}
	for _, theirs := range m.Scopes {
		sc := scope{theirs.Region, theirs.Audience}
		if slices.Contains(s.scopes, sc) && !slices.Contains(s.differ, sc) && s.frontier.Root(sc.region, sc.audience, s.at) != theirs.Root {
			s.differ = append(s.differ, sc)
		}
	}
	s.phase = awaitChains
	return s.chains(), nil
}

// chains lists what this side holds now in the scopes that differ: once lists
// travel anyway, even the youngest envelope may come along.
func (s *session) chains() []action {
	var out []action
	page, size := &wire.Chains{}, 0
	for _, sc := range s.differ {
		page.Scopes = append(page.Scopes, wire.Scope{Region: sc.region, Audience: sc.audience})
	}
	for _, sc := range s.differ {
		for _, h := range s.frontier.Chains(sc.region, sc.audience) {
			c := wire.Chain{ID: h.Chain, Floor: h.Floor, Time: h.Last()}
			c.Ranges = toWire(clip(h.Ranges, h.Floor))
			for _, slot := range h.Recent {
				if slot.Urgent {
					c.Urgent = append(c.Urgent, slot.Seq)
				}
			}
			if n := 100 + 20*len(c.Ranges) + 10*len(c.Urgent); size+n > wire.PageBytes && size > 0 {
				page.More = true
				out = append(out, action{send: page})
				page, size = &wire.Chains{}, 0
			} else {
				size += n
			}
			page.Chains = append(page.Chains, c)
		}
	}
	return append(out, action{send: page})
}

func (s *session) onChains(m *wire.Chains) ([]action, error) {
	if err := s.expect(awaitChains, m); err != nil {
		return nil, err
	}
	if s.listed == nil {
		s.listed = map[crypto.ChainID]wire.Chain{}
	}
	for _, theirs := range m.Scopes {
		sc := scope{theirs.Region, theirs.Audience}
		if !slices.Contains(s.scopes, sc) {
			return nil, fmt.Errorf("%w: lists a scope that is not shared", errProtocol)
		}
		if !s.initiator && !slices.Contains(s.differ, sc) {
			s.differ = append(s.differ, sc) // the initiator has compared
		}
	}
	for _, c := range m.Chains {
		if !slices.Contains(s.differ, scope{c.ID.Region, c.ID.Audience}) {
			return nil, fmt.Errorf("%w: lists a chain of another scope", errProtocol)
		}
		s.listed[c.ID] = c
	}
	if len(s.listed) > chainsMax {
		return nil, fmt.Errorf("%w: more than %d chains", errProtocol, chainsMax)
	}
	if m.More {
		return nil, nil
	}
	s.phase = awaitWant
	var out []action
	if !s.initiator {
		out = s.chains()
	}
	return append(out, s.want()...), nil
}

// want asks for what the peer holds and this side lacks: chains with urgent
// envelopes first, then the newest first.
func (s *session) want() []action {
	s.asked = map[crypto.ChainID][]Range{}
	var lacking []wire.Chain
	for id, c := range s.listed {
		mine, _ := s.frontier.Get(id)
		theirs := Holding{Chain: id, Floor: c.Floor, Ranges: fromWire(c.Ranges)}
		if missing := mine.Missing(theirs); len(missing) > 0 {
			s.asked[id] = missing
			lacking = append(lacking, c)
		}
	}
	slices.SortFunc(lacking, func(a, b wire.Chain) int {
		return cmp.Or(cmp.Compare(b.Time, a.Time), bytes.Compare(a.ID.Author[:], b.ID.Author[:]),
			cmp.Compare(a.ID.Serial, b.ID.Serial), cmp.Compare(a.ID.Audience, b.ID.Audience), cmp.Compare(a.ID.Epoch, b.ID.Epoch))
	})
	var wants []wire.ChainWant
	urgent := map[crypto.ChainID][]Range{}
	for _, c := range lacking { // urgent, whatever its chain
		for _, seq := range c.Urgent {
			if holds(s.asked[c.ID], seq) {
				urgent[c.ID] = insert(urgent[c.ID], seq)
			}
		}
		if len(urgent[c.ID]) > 0 {
			wants = append(wants, wire.ChainWant{ID: c.ID, Ranges: toWire(urgent[c.ID])})
		}
	}
	for _, c := range lacking {
		rest := subtract(s.asked[c.ID], urgent[c.ID])
		budget := pullAll
		if s.budget != nil {
			budget = s.budget(c.ID.Author)
		}
		if len(rest) > 0 && budget != pullUrgent {
			w := wire.ChainWant{ID: c.ID, Oldest: budget == pullOldest}
			w.Ranges = toWire(rest)
			wants = append(wants, w)
		}
	}
	return pageWants(wants)
}

func pageWants(wants []wire.ChainWant) []action {
	var out []action
	page, size := &wire.Want{}, 0
	for _, w := range wants {
		n := 90 + 20*len(w.Ranges)
		if size+n > wire.PageBytes && size > 0 {
			page.More = true
			out = append(out, action{send: page})
			page, size = &wire.Want{}, 0
		}
		page.Wants, size = append(page.Wants, w), size+n
	}
	return append(out, action{send: page})
}

// toWire keeps the newest ranges where there are too many for one message; the
// next session brings the others.
func toWire(in []Range) []wire.Range {
	in = in[max(0, len(in)-wire.RangesMax):]
	out := make([]wire.Range, len(in))
	for i, r := range in {
		out[i] = wire.Range(r)
	}
	return out
}

func fromWire(in []wire.Range) []Range {
	out := make([]Range, len(in))
	for i, r := range in {
		out[i] = Range(r)
	}
	return out
}

// holds reports whether ascending ranges have seq.
func holds(in []Range, seq uint64) bool { return Holding{Ranges: in}.Has(seq) }

func (s *session) onWant(m *wire.Want) ([]action, error) {
	if err := s.expect(awaitWant, m); err != nil {
		return nil, err
	}
	for _, w := range m.Wants {
		if !slices.Contains(s.scopes, scope{w.ID.Region, w.ID.Audience}) {
			return nil, fmt.Errorf("%w: wants a chain of a scope that is not shared", errProtocol)
		}
	}
	if s.wants = append(s.wants, m.Wants...); len(s.wants) > 2*chainsMax {
		return nil, fmt.Errorf("%w: wants more than %d chains", errProtocol, 2*chainsMax)
	}
	if m.More {
		return nil, nil
	}
	s.phase = transfer
	return []action{{deliver: s.wants}}, nil
}

func (s *session) onEnvelopes(m *wire.Envelopes) ([]action, error) {
	if err := s.expect(transfer, m); err != nil {
		return nil, err
	}
	for _, raw := range m.Raw {
		e, err := crypto.ParseEnvelope(raw)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errProtocol, err)
		}
		chain, seq := e.Header.Chain(), e.Header.Seq
		if !holds(s.asked[chain], seq) {
			return nil, fmt.Errorf("%w: an envelope that was not asked for", errProtocol)
		}
		// Each is taken once, so what a peer sends is bounded by what was asked.
		s.asked[chain] = subtract(s.asked[chain], []Range{{seq, seq}})
	}
	return []action{{admit: m.Raw}}, nil
}

func (s *session) onDone() ([]action, error) {
	switch s.phase {
	case awaitRoots:
		s.phase, s.equal = closed, true
	case transfer:
		s.phase = closed
	default:
		return nil, fmt.Errorf("%w: done out of order", errProtocol)
	}
	return []action{{end: true}}, nil
}
