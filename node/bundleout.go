package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/seal"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/bundle"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const (
	// bundleBatch is how many bytes of envelopes an export reads at once.
	bundleBatch = 4 << 20
	// sealGrace is how long after its end a credential is still sealed for
	// (design, Time 6): without quorum nobody gets a new one.
	sealGrace = 90 * 24 * time.Hour
	// memberPrefixMin is the shortest beginning of a member's id that names it.
	memberPrefixMin = 8
	// leftMax is how many members are named for whom nobody can seal.
	leftMax = 20
	// recordFrame is what a record needs beside its bytes, at most.
	recordFrame = 16
)

// errNoRegion says that a node alone has nobody to carry words to or from.
var errNoRegion = &api.Unavailable{Reason: "this node belongs to no region yet, so it cannot tell whose word to take", Fix: "join one first: watchward join"}

// ExportBundle implements api.Node.
func (n *Node) ExportBundle(ctx context.Context, w io.Writer, q api.BundleQuery) (api.BundlePart, error) {
	if n.roster == nil || n.roster.Charter() == nil {
		return api.BundlePart{}, errNoRegion
	}
	x := &exporter{n: n, w: w, q: q, now: n.now().UnixMilli(), shown: map[author]bool{}}
	if q.Audience == crypto.AudienceRegion {
		if err := x.chooseRecipients(); err != nil {
			return api.BundlePart{}, err
		}
	}
	err := x.run(ctx)
	return x.part, err
}

// An exporter writes one part.
type exporter struct {
	n     *Node
	w     io.Writer
	q     api.BundleQuery
	now   int64 // ms
	to    []seal.Recipient
	out   *bundle.Writer  // nil until there is something to write
	shown map[author]bool // whose records are in the part
	forks map[author][]byte
	part  api.BundlePart
}

// author is one member's serial.
type author struct {
	member crypto.MemberID
	serial uint32
}

// chooseRecipients decides who can open the part: named members, or all that
// the region audience is for. One whose seal key is broken harms itself alone.
func (x *exporter) chooseRecipients() error {
	members := x.n.roster.Members(x.n.roster.Region())
	charter := x.n.roster.Charter()
	if len(x.q.To) > 0 {
		var named []*trust.Credential
		for _, name := range x.q.To {
			c, err := findMember(members, name)
			if err == nil && !charter.Allows(c.Role, crypto.AudienceRegion) {
				err = &notice.FieldError{Field: "query.to", Reason: fmt.Sprintf("%s is a %s, and the region's charter keeps what is for the region from those", c.Name, c.Role),
					Fix: "export the community audience for it"}
			}
			if err == nil && x.n.revoked(c) {
				err = &notice.FieldError{Field: "query.to", Reason: fmt.Sprintf("the credential of %s was revoked: its keys may be in other hands", c.Name),
					Fix: "a coordinator gives it new keys with watchward region supersede"}
			}
			if err == nil && seal.CheckKey(c.SealKey) != nil {
				err = &notice.FieldError{Field: "query.to", Reason: fmt.Sprintf("nobody can seal for %s: its key for that is broken", c.Name),
					Fix: "ask a coordinator to give it new keys"}
			}
			if err != nil {
				return err
			}
			named = append(named, c)
		}
		members = named
	}
	seen := map[crypto.MemberID]bool{}
	for _, c := range members {
		switch {
		case seen[c.Member], x.n.revoked(c), !charter.Allows(c.Role, crypto.AudienceRegion), c.NotAfter+sealGrace.Milliseconds() < x.now:
			continue
		case seal.CheckKey(c.SealKey) != nil:
			if len(x.part.Left) < leftMax {
				x.part.Left = append(x.part.Left, c.Name)
			}
			continue
		}
		seen[c.Member] = true
		x.to = append(x.to, seal.Recipient{Member: c.Member, Key: c.SealKey})
	}
	x.part.SealedFor = len(x.to)
	if len(x.to) == 0 || len(x.to) > seal.RecipientsMax {
		return &notice.FieldError{Field: "query.to", Reason: fmt.Sprintf("%d members could open it, and it can be sealed for 1 to %d", len(x.to), seal.RecipientsMax),
			Fix: "name the members whose credentials are valid"}
	}
	if least := seal.Overhead(len(x.to), api.BundlePartMin); x.q.Size < least {
		return &notice.FieldError{Field: "query.size", Reason: fmt.Sprintf("sealed for %d members, a part needs at least %d bytes", len(x.to), least),
			Fix: "choose larger parts, or name fewer members"}
	}
	return nil
}

// findMember finds a member by its name, in any case, by its id, or by the
// beginning of its id.
func findMember(members []*trust.Credential, name string) (*trust.Credential, error) {
	found := matching(members, name)
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, &notice.FieldError{Field: "query.to", Reason: fmt.Sprintf("no member of this region that is known here is called %.80q", name),
			Fix: "watchward members lists those who are; one that was admitted is known once it has connected: let it connect once, or import a bundle of its own"}
	}
	return nil, &notice.FieldError{Field: "query.to", Reason: fmt.Sprintf("%d members are called %.80q", len(found), name), Fix: "give the id that watchward members --json shows"}
}

// matching returns the members that a name means.
func matching(members []*trust.Credential, name string) (found []*trust.Credential) {
	for _, c := range members {
		id := c.Member.String()
		if strings.EqualFold(c.Name, name) || strings.EqualFold(id, name) ||
			len(name) >= memberPrefixMin && strings.HasPrefix(id, strings.ToLower(strings.TrimSuffix(name, "…"))) {
			found = append(found, c)
		}
	}
	return found
}

// run writes envelopes until the part is full or nothing is left.
func (x *exporter) run(ctx context.Context) error {
	x.findForks()
	for after := x.q.After; ; {
		messages, next, done, err := x.n.store.Messages(after, bundleBatch, x.want)
		if err != nil {
			return err
		}
		for _, m := range messages {
			if err := ctx.Err(); err != nil {
				return err
			}
			full, err := x.add(m)
			if err != nil {
				return err
			}
			if full {
				x.part.Next = after
				return x.out.Close(true)
			}
			after = m.Local
		}
		after = next
		if !done {
			continue
		}
		if x.out == nil {
			return nil
		}
		return x.out.Close(false)
	}
}

// want selects envelopes as the query says. What was erased here before it
// expired is left out: "gone" is the author's word, so nobody would take it.
func (x *exporter) want(m store.Message) bool {
	h := &m.Envelope.Header
	switch {
	case h.Region != x.n.roster.Region(), h.Audience != x.q.Audience, !notice.Leaves(notice.TLP(h.TLP), h.Audience, notice.ExitBundle, x.q.Ceiling),
		m.Received < x.q.Since, x.q.Mine && h.Author != x.n.member,
		m.Envelope.Erased() && h.Expiry > x.now:
		return false
	}
	return x.q.Kind == 0 || h.Expiry > x.now && x.holds(m.Envelope)
}

// holds reports whether an item is of the kind that the query asks for.
func (x *exporter) holds(e *crypto.Envelope) bool {
	items, err := e.Split()
	if err != nil {
		return false
	}
	for _, raw := range items {
		if n, err := notice.Decode(raw); err == nil && n.Kind == x.q.Kind {
			return true
		}
	}
	return false
}

// add writes one envelope with what proves its author, unless the part is full.
func (x *exporter) add(m store.Message) (full bool, err error) {
	h := &m.Envelope.Header
	raw, expired := m.Envelope.Raw, h.Expiry <= x.now
	if expired {
		raw = m.Envelope.Bare()
	}
	if x.out == nil {
		if err := x.begin(); err != nil {
			return false, err
		}
	}
	who := author{h.Author, h.Serial}
	var records [][]byte
	more := len(raw)
	if !x.shown[who] {
		if records, err = x.proofs(who); err != nil {
			return false, err
		}
		for _, r := range records {
			more += len(r) + recordFrame
		}
	}
	if x.out.Envelopes() > 0 && x.out.Size(more) > x.q.Size {
		return true, nil
	}
	for _, r := range records {
		if err := x.out.Record(r); err != nil {
			return false, err
		}
	}
	if !x.shown[who] {
		x.shown[who] = true
		x.part.Authors++
	}
	x.part.Notices += int64(h.Count)
	if expired {
		x.part.Expired += int64(h.Count)
	}
	return false, x.out.Envelope(raw)
}

// begin writes the header and the charter.
func (x *exporter) begin() error {
	created := x.q.Created
	if created == 0 {
		created = x.now
	}
	charter := x.n.roster.Charter()
	var err error
	x.out, err = bundle.NewWriter(x.w, bundle.Header{
		Region: x.n.roster.Region(), Name: charter.Name, Created: created, Part: max(x.q.Part, 1), Audience: x.q.Audience,
	}, x.to)
	if err != nil {
		return err
	}
	raw, ok := x.n.roster.Record(charter.RecordID())
	if !ok {
		return errors.New("export: the charter's record is missing")
	}
	return x.out.Record(raw)
}

// proofs are the records that let a stranger check an author's words.
func (x *exporter) proofs(who author) ([][]byte, error) {
	c, ok := x.n.roster.Member(x.n.roster.Region(), who.member, who.serial)
	if !ok {
		return nil, fmt.Errorf("export: the credential of %s is missing", who.member)
	}
	raw, ok := x.n.roster.Record(c.RecordID())
	if !ok {
		return nil, fmt.Errorf("export: the record of %s is missing", who.member)
	}
	out := [][]byte{raw}
	if fork := x.forks[who]; fork != nil {
		out = append(out, fork)
	}
	return out, nil
}

// findForks collects the proofs that an author forked. What is in clear tells
// nothing of chains that are for the region only.
func (x *exporter) findForks() {
	x.forks = map[author][]byte{}
	for _, f := range x.n.roster.Forks() {
		if x.q.Audience == crypto.AudienceCommunity && f.Chain.Audience != crypto.AudienceCommunity {
			continue
		}
		if raw, ok := x.n.roster.Record(f.RecordID()); ok {
			x.forks[author{f.Chain.Author, f.Chain.Serial}] = raw
		}
	}
}
