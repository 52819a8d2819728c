package mesh

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
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
	chainsMax      = 100_000 // chains in the differing scopes, and of wants twice as many
	spansMax       = 1 << 20 // ranges and urgent envelopes of all those chains
	trustMax       = 100_000 // records a peer may list, or send
	messagesMax    = 1 << 16 // that are not envelopes
	syncVersion    = 0
	ownChainsShown = 64 // of the peer's own chains in a hello, the newest
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
	common    func() []scope              // what both sides may see, asked once the trust records are equal
	peer      crypto.MemberID             // whose chains the hello speaks of
	region    crypto.Region               // the peer's region
	budget    func(crypto.MemberID) int64 // bytes that may still be pulled of an author today; nil = no bound

	phase    phase
	scopes   []scope
	messages int
	trips    int         // round trips before envelopes flow, as the initiator counts them
	clock    int64       // the peer's, ms
	held     []wire.Held // what the peer holds of this node
	at       int64       // T
	trusted  crypto.Hash // root of the trust records as this side's hello told it
	have     map[trustID]bool
	records  int // trust records that the peer sent
	differ   []scope
	shown    []crypto.ChainID // this side's list, as the peer's wants number it
	listed   []wire.Chain     // the peer's list
	spans    int
	asked    map[crypto.ChainID]*asking
	latest   arrival // of the envelope that came last
	wants    []delivery
	given    map[uint32][]Range // what the peer wants, by place in shown; nil = no more of it
	equal    bool
}

// trustID is the part of a trust record's id that peers exchange.
type trustID [wire.TrustPrefix]byte

func (s *session) chain(c *wire.Chain) crypto.ChainID {
	sc := s.differ[c.Scope]
	return crypto.ChainID{Region: sc.region, Author: c.Author, Serial: c.Serial, Audience: sc.audience, Epoch: c.Epoch}
}

// asking is what of one chain was asked of the peer and has not come yet.
type asking struct {
	urgent []Range // beside the budget
	rest   []Range
	room   int64 // bytes that the rest may still have
}

// An arrival is an envelope that came, by its place.
type arrival struct {
	chain crypto.ChainID
	seq   uint64
	id    crypto.EnvelopeID // zero after the second one
}

// A delivery is a want of the peer.
type delivery struct {
	chain  crypto.ChainID
	ranges []Range
	oldest bool
	bytes  uint64 // 0 = no bound
}

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

// An action is what the driver does next, in order. One of its fields is set.
type action struct {
	send    any           // a message
	pages   iter.Seq[any] // messages, made as they are sent: trust records may be many
	trust   [][]byte      // records to verify and keep, before anything else is read
	admit   [][]byte      // envelopes to check and admit
	deliver *[]delivery   // envelopes to send, then Done
}

func (s *session) start() []action {
	if !s.initiator {
		return nil
	}
	return []action{{send: s.hello()}}
}

func (s *session) hello() *wire.Hello {
	s.trusted = s.trust.Root()
	h := &wire.Hello{Versions: []uint8{syncVersion}, Clock: s.now, Trust: s.trusted}
	own := s.frontier.Author(s.region, s.peer)
	slices.SortStableFunc(own, func(a, b Holding) int {
		return cmp.Or(cmp.Compare(b.Chain.Serial, a.Chain.Serial), cmp.Compare(b.Chain.Epoch, a.Chain.Epoch))
	})
	for _, held := range own[:min(len(own), ownChainsShown)] {
		c := &held.Chain
		h.Yours = append(h.Yours, wire.Held{Audience: c.Audience, Serial: c.Serial, Epoch: c.Epoch, Seq: held.Highest(), ID: held.Top})
	}
	return h
}

// handle takes one message of the peer.
func (s *session) handle(message any) ([]action, error) {
	if e, ok := message.(*wire.Envelopes); ok {
		return s.onEnvelopes(e)
	}
	if s.messages++; s.messages > messagesMax {
		return nil, fmt.Errorf("%w: more than %d messages", errProtocol, messagesMax)
	}
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
	s.clock, s.held, s.trips = m.Clock, m.Yours, 1
	step := settleStep.Milliseconds()
	s.at = (min(s.now, m.Clock) - settleAfter.Milliseconds()) / step * step
	var out []action
	if !s.initiator {
		out = append(out, action{send: s.hello()})
	}
	// Both sides must come to the same answer, so not the root of this moment.
	if m.Trust != s.trusted {
		s.phase, s.have = awaitTrustHave, map[trustID]bool{}
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
		s.have[trustID(id)] = true
	}
	if len(s.have) > trustMax {
		return nil, fmt.Errorf("%w: lists more than %d trust records", errProtocol, trustMax)
	}
	if m.More {
		return nil, nil
	}
	s.phase = awaitTrust
	return []action{{pages: trustPages(s.trust, s.have)}}, nil
}

// trustPages yields the records that a peer does not have.
func trustPages(from records, have map[trustID]bool) iter.Seq[any] {
	return func(yield func(any) bool) {
		page, size := &wire.Trust{}, 0
		for _, id := range from.IDs() {
			if have[trustID(id[:wire.TrustPrefix])] {
				continue
			}
			raw, ok := from.Record(id)
			if !ok {
				continue
			}
			if size+len(raw) > wire.PageBytes && size > 0 {
				page.More = true
				if !yield(page) {
					return
				}
				page, size = &wire.Trust{}, 0
			}
			page.Records, size = append(page.Records, raw), size+len(raw)
		}
		yield(page)
	}
}

func (s *session) onTrust(m *wire.Trust) ([]action, error) {
	if err := s.expect(awaitTrust, m); err != nil {
		return nil, err
	}
	if s.records += len(m.Records); s.records > trustMax {
		return nil, fmt.Errorf("%w: sends more than %d trust records", errProtocol, trustMax)
	}
	var out []action
	if len(m.Records) > 0 {
		out = append(out, action{trust: m.Records})
	}
	if m.More {
		return out, nil
	}
	s.trips++
	return append(out, s.afterTrust()...), nil
}

func (s *session) afterTrust() []action {
	s.phase, s.scopes = awaitRoot, s.common()
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
		return []action{{send: &wire.Done{}}}, nil
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
	s.trips++
	first := &wire.Chains{}
	for _, sc := range s.differ {
		first.Scopes = append(first.Scopes, wire.Scope{Region: sc.region, Audience: sc.audience})
	}
	return s.chains(first, func(Holding) bool { return true }), nil
}

func (s *session) onWant(m *wire.Want) ([]action, error) {
	if err := s.expect(awaitWant, m); err != nil {
		return nil, err
	}
	if s.given == nil {
		s.given = map[uint32][]Range{}
	}
	for _, w := range m.Wants {
		if int(w.Chain) >= len(s.shown) {
			return nil, fmt.Errorf("%w: wants a chain that was not listed", errProtocol)
		}
		// A chain is wanted at most twice, what is urgent and the rest, and
		// nothing is given twice: one message could ask for everything a
		// thousand times.
		chain, ranges := s.shown[w.Chain], fromWire(w.Ranges)
		if before, again := s.given[w.Chain]; !again {
			s.given[w.Chain] = ranges
		} else if before == nil || !slices.Equal(subtract(ranges, before), ranges) {
			return nil, fmt.Errorf("%w: wants an envelope twice", errProtocol)
		} else {
			s.given[w.Chain] = nil
		}
		s.wants = append(s.wants, delivery{chain, ranges, w.Oldest, w.Bytes})
		s.spans += len(ranges)
	}
	if len(s.wants) > 2*chainsMax || s.spans > 2*spansMax {
		return nil, fmt.Errorf("%w: wants more than %d chains or %d ranges", errProtocol, 2*chainsMax, spansMax)
	}
	if m.More {
		return nil, nil
	}
	s.phase, s.given = transfer, nil
	return []action{{deliver: &s.wants}}, nil
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
		// Each is taken once, so what a peer sends is bounded by what was asked;
		// of a number that its author used twice both come, one after the other.
		chain, seq := e.Header.Chain(), e.Header.Seq
		a, one := s.asked[chain], []Range{{seq, seq}}
		if before := s.latest; before.chain == chain && before.seq == seq && before.id != e.ID && before.id != (crypto.EnvelopeID{}) {
			s.latest.id = crypto.EnvelopeID{}
			continue
		}
		s.latest = arrival{chain, seq, e.ID}
		switch {
		case a != nil && holds(a.urgent, seq) && e.Header.Urgent:
			a.urgent = subtract(a.urgent, one)
		case a != nil && holds(a.rest, seq) && a.room > 0:
			a.rest = subtract(a.rest, one)
			a.room -= int64(len(raw))
		default:
			return nil, fmt.Errorf("%w: an envelope that was not asked for", errProtocol)
		}
	}
	return []action{{admit: m.Raw}}, nil
}

// short counts the chains of which the peer did not give all that it listed and
// was asked for, although there was room for it.
func (s *session) short() (n int) {
	for _, a := range s.asked {
		if len(a.urgent) > 0 || len(a.rest) > 0 && a.room > 0 {
			n++
		}
	}
	return n
}

func (s *session) onDone() ([]action, error) {
	switch s.phase {
	case awaitRoots:
		s.trips++
		s.phase, s.equal = closed, true
	case transfer:
		s.phase = closed
	default:
		return nil, fmt.Errorf("%w: done out of order", errProtocol)
	}
	return nil, nil
}
