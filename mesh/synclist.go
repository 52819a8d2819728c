package mesh

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh/wire"
)

// chains lists what this side holds now in the scopes that differ: once lists
// travel anyway, even the youngest envelope may come along.
func (s *session) chains(page *wire.Chains, worth func(Holding) bool) []action {
	var out []action
	size := 64 * len(page.Scopes)
	for i, sc := range s.differ {
		for _, h := range s.frontier.Chains(sc.region, sc.audience) {
			if len(h.Ranges) == 0 || !worth(h) {
				continue
			}
			c := wire.Chain{
				Scope: uint16(i), Author: h.Chain.Author, Serial: h.Chain.Serial, Epoch: h.Chain.Epoch,
				Floor: h.Floor, Ranges: toWire(clip(h.Ranges, h.Floor)), Top: prefixOf(h.Top), Time: h.Last() / 1000,
			}
			for _, slot := range h.Recent {
				if slot.Urgent && len(c.Urgent) < wire.UrgentMax {
					c.Urgent = append(c.Urgent, slot.Seq)
				}
			}
			for _, f := range h.Forks {
				if f.Seq >= h.Floor {
					c.Forks = append(c.Forks, wire.Fork{Seq: f.Seq, ID: prefixOf(f.ID)})
				}
			}
			n := 80 + 20*(len(c.Ranges)+len(c.Forks)) + 10*len(c.Urgent) // at most
			if size+n > wire.PageBytes && size > 0 {
				page.More = true
				out = append(out, action{send: page})
				page, size = &wire.Chains{}, 0
			}
			page.Chains, size = append(page.Chains, c), size+n
			s.shown = append(s.shown, h.Chain)
		}
	}
	return append(out, action{send: page})
}

func (s *session) onChains(m *wire.Chains) ([]action, error) {
	if err := s.expect(awaitChains, m); err != nil {
		return nil, err
	}
	for _, theirs := range m.Scopes {
		sc := scope{theirs.Region, theirs.Audience}
		if s.initiator || !slices.Contains(s.scopes, sc) || slices.Contains(s.differ, sc) {
			return nil, fmt.Errorf("%w: lists a scope that is not shared", errProtocol)
		}
		s.differ = append(s.differ, sc) // the initiator has compared
	}
	for i := range m.Chains {
		c := &m.Chains[i]
		if int(c.Scope) >= len(s.differ) {
			return nil, fmt.Errorf("%w: lists a chain of another scope", errProtocol)
		}
		s.spans += len(c.Ranges) + len(c.Urgent)
	}
	s.listed = append(s.listed, m.Chains...)
	if len(s.listed) > chainsMax || s.spans > spansMax {
		return nil, fmt.Errorf("%w: lists %d chains with %d ranges, at most %d with %d", errProtocol, len(s.listed), s.spans, chainsMax, spansMax)
	}
	if m.More {
		return nil, nil
	}
	s.phase = awaitWant
	s.trips++
	var out []action
	if !s.initiator {
		out = s.chains(&wire.Chains{}, s.lacks())
	}
	return append(out, s.want()...), nil
}

// lacks tells of which chains this side holds what the peer, by its list, does
// not: the only ones the responder needs to list.
func (s *session) lacks() func(Holding) bool {
	theirs := make(map[crypto.ChainID]*wire.Chain, len(s.listed))
	for i := range s.listed {
		theirs[s.chain(&s.listed[i])] = &s.listed[i]
	}
	return func(h Holding) bool {
		c := theirs[h.Chain]
		return c == nil || forked(h, c) || len(holdingOf(c).Missing(h)) > 0 || slices.ContainsFunc(h.Forks, func(f Fork) bool {
			return f.Seq >= max(h.Floor, c.Floor) && !slices.Contains(c.Forks, wire.Fork{Seq: f.Seq, ID: prefixOf(f.ID)})
		})
	}
}

func holdingOf(c *wire.Chain) Holding { return Holding{Floor: c.Floor, Ranges: fromWire(c.Ranges)} }

func prefixOf(id crypto.EnvelopeID) [wire.TopPrefix]byte {
	return [wire.TopPrefix]byte(id[:wire.TopPrefix])
}

// forked reports whether both sides end with the same number and not with the
// same envelope. Each then asks for the other's: who holds both can prove it.
func forked(mine Holding, c *wire.Chain) bool {
	n := len(c.Ranges)
	return n > 0 && mine.Highest() == c.Ranges[n-1].To && prefixOf(mine.Top) != c.Top
}

// want asks for what the peer holds and this side lacks: urgent envelopes
// first, whatever their chain, then the chain with the newest first.
func (s *session) want() []action {
	s.asked = map[crypto.ChainID]*asking{}
	var lacking []uint32
	chains := map[crypto.MemberID]int64{}
	for i := range s.listed {
		c := &s.listed[i]
		id := s.chain(c)
		mine, _ := s.frontier.Get(id)
		missing := mine.Missing(holdingOf(c))
		if forked(mine, c) {
			missing = insert(missing, mine.Highest())
		}
		for _, f := range c.Forks {
			if f.Seq >= max(mine.Floor, c.Floor) && holds(holdingOf(c).Ranges, f.Seq) && !slices.ContainsFunc(mine.Forks, func(m Fork) bool {
				return m.Seq == f.Seq && prefixOf(m.ID) == f.ID
			}) {
				missing = insert(missing, f.Seq)
			}
		}
		if len(missing) == 0 || s.asked[id] != nil {
			continue
		}
		var urgent []Range
		for _, seq := range c.Urgent {
			if holds(missing, seq) {
				urgent = insert(urgent, seq)
			}
		}
		s.asked[id] = &asking{urgent: urgent, rest: subtract(missing, urgent), room: math.MaxInt64}
		chains[c.Author]++
		lacking = append(lacking, uint32(i))
	}
	slices.SortStableFunc(lacking, func(a, b uint32) int { return cmp.Compare(s.listed[b].Time, s.listed[a].Time) })
	var wants []wire.ChainWant
	for _, i := range lacking {
		if a := s.asked[s.chain(&s.listed[i])]; len(a.urgent) > 0 {
			a.urgent = newest(a.urgent)
			wants = append(wants, wire.ChainWant{Chain: i, Ranges: toWire(a.urgent)})
		}
	}
	for _, i := range lacking {
		a, author := s.asked[s.chain(&s.listed[i])], s.listed[i].Author
		w := wire.ChainWant{Chain: i}
		if s.budget != nil {
			left := max(s.budget(author), 0)
			a.room = left / chains[author]
			w.Bytes, w.Oldest = uint64(a.room), left < pullDayBytes/2
		}
		switch {
		case a.room == 0:
			a.rest = nil
		case w.Oldest:
			a.rest = a.rest[:min(len(a.rest), wire.RangesMax)]
		default:
			a.rest = newest(a.rest)
		}
		if len(a.rest) > 0 {
			w.Ranges = toWire(a.rest)
			wants = append(wants, w)
		}
	}
	return pageWants(wants)
}

func pageWants(wants []wire.ChainWant) []action {
	var out []action
	page, size := &wire.Want{}, 0
	for _, w := range wants {
		n := 20 + 20*len(w.Ranges) // at most
		if (size+n > wire.PageBytes || len(page.Wants) == wire.EntriesMax) && size > 0 {
			page.More = true
			out = append(out, action{send: page})
			page, size = &wire.Want{}, 0
		}
		page.Wants, size = append(page.Wants, w), size+n
	}
	return append(out, action{send: page})
}

// newest keeps as many ranges as one message carries; the next session brings
// the others.
func newest(in []Range) []Range { return in[max(0, len(in)-wire.RangesMax):] }

func toWire(in []Range) []wire.Range {
	in = newest(in)
	out := make([]wire.Range, len(in))
	for i, r := range in {
		out[i] = wire.Range{From: r.From, To: r.To}
	}
	return out
}

func fromWire(in []wire.Range) []Range {
	out := make([]Range, len(in))
	for i, r := range in {
		out[i] = Range{r.From, r.To}
	}
	return out
}

// holds reports whether ascending ranges have seq.
func holds(in []Range, seq uint64) bool { return Holding{Ranges: in}.Has(seq) }
