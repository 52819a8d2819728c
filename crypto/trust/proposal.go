package trust

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
)

// Limits of proposals. What is above RecordSizeMax travels as a file only.
const (
	ProposalSizeMax = 64 << 20 // bytes of a proposal's record in a file
	ProposalsMax    = 16       // open ones of one proposer that a roster keeps: the latest
	statementsMax   = 4
)

// A Statement is what coordinators sign: a charter, an admission, a revocation or
// a list of endorsements, made by Found, Amend, Admission, Revoking or Endorsing.
// The field numbers are wire format.
type Statement struct {
	Type        uint8    `cbor:"1,keyasint"`
	Body        []byte   `cbor:"2,keyasint"` // the signed bytes
	Credentials [][]byte `cbor:"3,keyasint,omitempty"`
	Requests    [][]byte `cbor:"4,keyasint,omitempty"` // proofs of possession, of credentials that are not renewed
}

// A Proposal is an act of a region that waits for coordinators: one or more
// statements that take effect together, when enough have signed each of them.
// It is not safe for concurrent use.
type Proposal struct {
	body      proposalBody
	raw       []byte
	id        crypto.Hash
	acts      []act
	approvals map[crypto.Hash]approval // by signer
}

type proposalBody struct {
	Version    uint8         `cbor:"1,keyasint"`
	Region     crypto.Region `cbor:"2,keyasint"` // zero where one is founded
	Time       int64         `cbor:"3,keyasint"` // ms since 1970
	Proposer   crypto.Hash   `cbor:"4,keyasint"` // SignerOf(key)
	Statements []Statement   `cbor:"5,keyasint"`
}

type proposalRecord struct {
	Body       []byte   `cbor:"1,keyasint"`
	Signatures [][]byte `cbor:"2,keyasint"` // the proposer's approval
}

// approval is one coordinator's signatures, one a statement, empty where it has
// no say.
type approval struct {
	Region     crypto.Region `cbor:"1,keyasint"`
	Proposal   crypto.Hash   `cbor:"2,keyasint"`
	Signer     crypto.Hash   `cbor:"3,keyasint"`
	Signatures [][]byte      `cbor:"4,keyasint"`
}

func (a approval) id() crypto.Hash {
	return recordID(a.Region, typeApproval, slices.Concat(a.Proposal[:], a.Signer[:]), nil)
}

// An act is a decoded statement, and who must sign it.
type act struct {
	Statement
	context     []byte
	quorums     []quorum
	charter     *Charter
	batch       *batchHeader
	credentials []*Credential
	requests    []*Request
	revocation  *Revocation
	list        *Endorsements
	ids         []crypto.Hash // of the records that it becomes
}

// Act returns the records of statements that are signed by enough coordinators'
// keys at once. before is the charter that counts, nil where one is founded; now
// is in ms since 1970.
func Act(before *Charter, keys []*crypto.PrivateKey, now int64, statements ...Statement) ([][]byte, error) {
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: nobody did", ErrThreshold)
	}
	p, err := Propose(before, keys[0], now, statements...)
	if err != nil {
		return nil, err
	}
	for _, key := range keys[1:] {
		if err := p.Sign(key); err != nil {
			return nil, err
		}
	}
	return p.Act()
}

// Propose opens a proposal with its proposer's signature. before is the charter
// that counts, nil where one is founded; now is in ms since 1970.
func Propose(before *Charter, key *crypto.PrivateKey, now int64, statements ...Statement) (*Proposal, error) {
	body := proposalBody{Version: Version, Time: now, Proposer: SignerOf(key.Public().Bytes()), Statements: statements}
	if before != nil {
		body.Region = before.Region()
		if find([]quorum{before.quorum()}, body.Proposer) == nil {
			return nil, errStrangeKey
		}
	}
	raw, err := canon.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode proposal: %w", err)
	}
	p, err := parseProposal(raw, func(hash crypto.Hash) *Charter {
		if before != nil && before.hash == hash {
			return before
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, p.Sign(key)
}

// parseProposal decodes and checks all but signatures. charters finds a charter
// that is known.
func parseProposal(raw []byte, charters func(crypto.Hash) *Charter) (*Proposal, error) {
	p := &Proposal{raw: raw, approvals: map[crypto.Hash]approval{}}
	if err := canon.Unmarshal(raw, &p.body); err != nil {
		return nil, fmt.Errorf("proposal: %w", err)
	}
	switch b := &p.body; {
	case b.Version != Version:
		return nil, fmt.Errorf("proposal: version %d, this build knows %d", b.Version, Version)
	case b.Time < 0:
		return nil, errors.New("proposal: made before 1970")
	case len(b.Statements) == 0 || len(b.Statements) > statementsMax:
		return nil, fmt.Errorf("proposal: %d statements, want 1 to %d", len(b.Statements), statementsMax)
	}
	p.id = recordID(p.body.Region, typeProposal, raw, nil)
	for _, st := range p.body.Statements {
		a, err := st.decode(p.body.Region, charters)
		if err != nil {
			return nil, fmt.Errorf("proposal: %w", err)
		}
		a.ids = a.recordIDs()
		p.acts = append(p.acts, *a)
		charters = p.charters(charters)
	}
	if find(p.acts[0].quorums[:1], p.body.Proposer) == nil {
		return nil, errors.New("proposal: its proposer is not a coordinator of the charter that counts")
	}
	return p, nil
}

// charters adds the charters that the proposal itself brings to those known.
func (p *Proposal) charters(known func(crypto.Hash) *Charter) func(crypto.Hash) *Charter {
	return func(hash crypto.Hash) *Charter {
		for _, a := range p.acts {
			if a.charter != nil && a.charter.hash == hash {
				return a.charter
			}
		}
		return known(hash)
	}
}

func (st Statement) decode(region crypto.Region, charters func(crypto.Hash) *Charter) (*act, error) {
	a := &act{Statement: st}
	var of crypto.Region
	var under crypto.Hash
	var err error
	switch st.Type {
	case typeCharter:
		if a.charter, err = parseCharter(st.Body); err != nil {
			return nil, err
		}
		c := a.charter
		if c.Number == 1 != (region == crypto.Region{}) || c.Genesis != region {
			return nil, fmt.Errorf("charter: %w", ErrRegion)
		}
		if c.Number > 1 {
			if err := c.follow(charters(c.Prev)); err != nil {
				return nil, err
			}
		}
		a.context, a.quorums = c.context(), c.quorums()
	case typeCredential:
		if a.batch, err = parseBatch(st.Body); err == nil {
			of, under, a.context = a.batch.Region, a.batch.Charter, admissionContext(region)
			err = a.decodeAdmission(region)
		}
	case typeRevocation:
		if a.revocation, err = parseRevocation(st.Body); err == nil {
			of, under, a.context = a.revocation.Region, a.revocation.Charter, revocationContext(region)
		}
	case typeEndorsements:
		if a.list, err = parseEndorsements(st.Body); err == nil {
			of, under, a.context = a.list.Region, a.list.Charter, endorsementsContext(region)
		}
	default:
		return nil, fmt.Errorf("statement: %w: %d", ErrUnknownType, st.Type)
	}
	if err != nil {
		return nil, err
	}
	if st.Type != typeCredential && len(st.Credentials)+len(st.Requests) > 0 {
		return nil, errors.New("statement: credentials belong to an admission")
	}
	if st.Type == typeCharter {
		return a, nil
	}
	if of != region {
		return nil, fmt.Errorf("statement: %w", ErrRegion)
	}
	charter := charters(under)
	if charter == nil {
		return nil, fmt.Errorf("statement: %w", ErrCharterMissing)
	}
	a.quorums = []quorum{charter.quorum()}
	return a, nil
}

func (a *act) decodeAdmission(region crypto.Region) error {
	if len(a.Credentials) != int(a.batch.Count) || len(a.Requests) > len(a.Credentials) {
		return fmt.Errorf("admission: %d credentials and %d requests, the batch has %d", len(a.Credentials), len(a.Requests), a.batch.Count)
	}
	tree, err := crypto.NewTree(leaves(a.Credentials))
	if err != nil {
		return fmt.Errorf("admission: %w", err)
	}
	if root, err := tree.Root(); err != nil || root != a.batch.Root {
		return errors.Join(errors.New("admission: the credentials are not those that the batch names"), err)
	}
	for _, raw := range a.Credentials {
		c, err := parseCredential(raw, region)
		if err != nil {
			return err
		}
		a.credentials = append(a.credentials, c)
	}
	for _, raw := range a.Requests {
		r, err := ParseRequest(raw)
		if err != nil {
			return err
		}
		a.requests = append(a.requests, r)
	}
	return nil
}

// Sign adds the signatures of a coordinator.
func (p *Proposal) Sign(key *crypto.PrivateKey) error {
	ap := approval{Region: p.body.Region, Proposal: p.id, Signer: SignerOf(key.Public().Bytes()), Signatures: make([][]byte, len(p.acts))}
	if _, signed := p.approvals[ap.Signer]; signed {
		return errors.New("this coordinator has signed already: another one must sign")
	}
	say := false
	for i, a := range p.acts {
		ap.Signatures[i] = []byte{}
		if find(a.quorums, ap.Signer) == nil {
			continue
		}
		sig, err := key.Sign(a.context, a.Body)
		if err != nil {
			return err
		}
		ap.Signatures[i], say = sig, true
	}
	if !say {
		return errStrangeKey
	}
	p.approvals[ap.Signer] = ap
	return nil
}

var errStrangeKey = errors.New("this key is not one of the charter's coordinators: use the admission key that the charter lists")

// check verifies an approval of this proposal.
func (p *Proposal) check(ap approval) error {
	if len(ap.Signatures) != len(p.acts) {
		return fmt.Errorf("approval: %d signatures for %d statements", len(ap.Signatures), len(p.acts))
	}
	say := false
	for i, a := range p.acts {
		if find(a.quorums, ap.Signer) == nil {
			if len(ap.Signatures[i]) > 0 {
				return errors.New("approval: signed by one who has no say")
			}
			continue
		}
		if err := (signature{ap.Signer, ap.Signatures[i]}).check(a.quorums, a.context, a.Body); err != nil {
			return fmt.Errorf("approval: %w", err)
		}
		say = true
	}
	if !say {
		return errors.New("approval: its signer is no coordinator of the charter")
	}
	return nil
}

// ID returns the proposal's id.
func (p *Proposal) ID() crypto.Hash { return p.id }

// Region returns the region that it is about, zero where one is founded.
func (p *Proposal) Region() crypto.Region { return p.body.Region }

// Time returns when it was opened, by its proposer's clock, in ms since 1970.
func (p *Proposal) Time() int64 { return p.body.Time }

// Signed returns the names of the coordinators that have signed, sorted.
func (p *Proposal) Signed() []string {
	var names []string
	for signer := range p.approvals {
		for _, a := range p.acts {
			if c := find(a.quorums, signer); c != nil {
				names = append(names, c.Name)
				break
			}
		}
	}
	slices.Sort(names)
	return names
}

// Lacking returns how many more coordinators must sign at least.
func (p *Proposal) Lacking() (n int) {
	for i, a := range p.acts {
		n = max(n, lacking(a.quorums, func(signer crypto.Hash) bool {
			ap, ok := p.approvals[signer]
			return ok && len(ap.Signatures[i]) > 0
		}))
	}
	return n
}

// A Change is what one statement of a proposal would do: exactly one of its
// fields is set, but for Requests, which go with Credentials. They are shared and
// must not be changed.
type Change struct {
	Charter      *Charter
	Credentials  []*Credential
	Requests     []*Request // proofs of possession
	Revocation   *Revocation
	Endorsements *Endorsements
}

// Changes returns what the proposal would do.
func (p *Proposal) Changes() []Change {
	out := make([]Change, len(p.acts))
	for i, a := range p.acts {
		out[i] = Change{a.charter, a.credentials, a.requests, a.revocation, a.list}
	}
	return out
}

// Records returns the proposal and its approvals as records, to be passed on.
func (p *Proposal) Records() ([][]byte, error) {
	first, ok := p.approvals[p.body.Proposer]
	if !ok {
		return nil, errors.New("the proposer has not signed")
	}
	raw, err := encodeRecord(typeProposal, proposalRecord{p.raw, first.Signatures})
	if err != nil {
		return nil, err
	}
	out := [][]byte{raw}
	for _, signer := range p.signers() {
		raw, err := encodeRecord(typeApproval, p.approvals[signer])
		if err != nil {
			return nil, err
		}
		out = append(out, raw)
	}
	return out, nil
}

func (p *Proposal) signers() []crypto.Hash {
	return slices.SortedFunc(maps.Keys(p.approvals), compareHashes)
}

// Act returns the finished records, once enough coordinators have signed, in an
// order in which they can be added. Before, the error wraps ErrThreshold.
func (p *Proposal) Act() ([][]byte, error) {
	if n := p.Lacking(); n > 0 {
		return nil, fmt.Errorf("%w: %d did, %d more must", ErrThreshold, len(p.approvals), n)
	}
	var out [][]byte
	for i, a := range p.acts {
		var list []signature
		for _, signer := range p.signers() {
			if sig := p.approvals[signer].Signatures[i]; len(sig) > 0 {
				list = append(list, signature{signer, sig})
			}
		}
		records, err := a.records(list)
		if err != nil {
			return nil, err
		}
		out = append(out, records...)
	}
	return out, nil
}

func (a *act) records(list []signature) (out [][]byte, err error) {
	var raw []byte
	switch a.Type {
	case typeCharter:
		raw, err = encodeRecord(a.Type, charterRecord{a.Body, list})
	case typeRevocation:
		raw, err = encodeRecord(a.Type, revocationRecord{a.Body, list})
	case typeEndorsements:
		raw, err = encodeRecord(a.Type, endorsementsRecord{a.Body, list})
	case typeCredential:
		tree, err := crypto.NewTree(leaves(a.Credentials))
		if err != nil {
			return nil, err
		}
		for i, credential := range a.Credentials {
			path, err := tree.Prove(i)
			if err != nil {
				return nil, err
			}
			raw, err := encodeRecord(a.Type, credentialRecord{credential, uint32(i), path, a.Body, list})
			if err != nil {
				return nil, err
			}
			out = append(out, raw)
		}
		return out, nil
	}
	return [][]byte{raw}, err
}

func (a *act) recordIDs() []crypto.Hash {
	switch a.Type {
	case typeCharter:
		return []crypto.Hash{a.charter.RecordID()}
	case typeRevocation:
		return []crypto.Hash{recordID(a.revocation.Region, a.Type, a.Body, nil)}
	case typeEndorsements:
		return []crypto.Hash{a.list.id}
	}
	out := make([]crypto.Hash, len(a.Credentials))
	for i, raw := range a.Credentials {
		out[i] = recordID(a.batch.Region, a.Type, raw, a.Body)
	}
	return out
}

// ReadProposals returns the proposals among records, with the approvals that are
// there, also of such as are too large for a roster and of regions that are only
// being founded. Other records are passed over. charters finds the charters that
// are known, by hash; it may be nil.
func ReadProposals(records [][]byte, charters func(crypto.Hash) *Charter) ([]*Proposal, error) {
	if charters == nil {
		charters = func(crypto.Hash) *Charter { return nil }
	}
	var out []*Proposal
	var approvals []approval
	for _, raw := range records {
		rec, err := decodeRecord(raw, ProposalSizeMax)
		if err != nil {
			return nil, err
		}
		switch rec.Type {
		case typeProposal:
			p, err := decodeProposal(rec.Payload, charters)
			if err != nil {
				return nil, err
			}
			out = append(out, p)
			charters = p.charters(charters)
		case typeApproval:
			var ap approval
			if err := canon.Unmarshal(rec.Payload, &ap); err != nil {
				return nil, fmt.Errorf("approval: %w", err)
			}
			approvals = append(approvals, ap)
		}
	}
	for _, ap := range approvals {
		for _, p := range out {
			if p.id != ap.Proposal || p.body.Region != ap.Region {
				continue
			}
			if err := p.check(ap); err != nil {
				return nil, err
			}
			p.approvals[ap.Signer] = ap
		}
	}
	return out, nil
}

// decodeProposal reads a proposal with its proposer's approval, and verifies that.
func decodeProposal(payload []byte, charters func(crypto.Hash) *Charter) (*Proposal, error) {
	var rec proposalRecord
	if err := canon.Unmarshal(payload, &rec); err != nil {
		return nil, fmt.Errorf("proposal record: %w", err)
	}
	p, err := parseProposal(rec.Body, charters)
	if err != nil {
		return nil, err
	}
	first := approval{p.body.Region, p.id, p.body.Proposer, rec.Signatures}
	if err := p.check(first); err != nil {
		return nil, err
	}
	p.approvals[first.Signer] = first
	return p, nil
}

// addProposal keeps an open proposal of this region. Others' are none of its
// business.
func (r *Roster) addProposal(raw, payload []byte) (bool, error) {
	var rec proposalRecord
	if err := canon.Unmarshal(payload, &rec); err != nil {
		return false, fmt.Errorf("proposal record: %w", err)
	}
	var body proposalBody
	if err := canon.Unmarshal(rec.Body, &body); err != nil {
		return false, fmt.Errorf("proposal: %w", err)
	}
	if body.Region != r.region {
		return false, fmt.Errorf("proposal of %s: %w", body.Region, ErrRegion)
	}
	g, _ := r.of(r.region)
	if r.has(g, recordID(r.region, typeProposal, rec.Body, nil)) {
		return false, nil
	}
	p, err := decodeProposal(payload, func(hash crypto.Hash) *Charter {
		_, c := r.under(r.region, hash)
		return c
	})
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	if _, known := g.records[p.id]; known || g.isDecided(p) || !r.makeRoom(g, p) {
		r.mu.Unlock()
		return false, nil
	}
	r.noteAdded(raw)
	g.proposals[p.id] = p
	g.records[p.id] = held{kind: typeProposal, whole: bytes.Clone(raw)}
	err = g.approve(p, p.approvals[p.body.Proposer])
	r.noteChange()
	r.mu.Unlock()
	return true, errors.Join(err, r.act(p))
}

// makeRoom lets go of the proposer's earliest proposal when it has too many, and
// reports whether this one is later.
func (r *Roster) makeRoom(g *regional, p *Proposal) bool {
	var same []*Proposal
	for _, o := range g.proposals {
		if o.body.Proposer == p.body.Proposer {
			same = append(same, o)
		}
	}
	if len(same) < ProposalsMax {
		return true
	}
	first := slices.MinFunc(same, (*Proposal).compare)
	if p.compare(first) < 0 {
		return false
	}
	r.drop(g, first)
	return true
}

func (p *Proposal) compare(o *Proposal) int {
	if p.body.Time != o.body.Time {
		return int(max(-1, min(1, p.body.Time-o.body.Time)))
	}
	return compareHashes(p.id, o.id)
}

// approve enters an approval that was verified.
func (g *regional) approve(p *Proposal, ap approval) error {
	p.approvals[ap.Signer] = ap
	raw, err := encodeRecord(typeApproval, ap)
	if err != nil {
		return err
	}
	g.records[ap.id()] = held{kind: typeApproval, whole: raw}
	return nil
}

func (r *Roster) addApproval(payload []byte) (bool, error) {
	var ap approval
	if err := canon.Unmarshal(payload, &ap); err != nil {
		return false, fmt.Errorf("approval: %w", err)
	}
	if ap.Region != r.region {
		return false, fmt.Errorf("approval of %s: %w", ap.Region, ErrRegion)
	}
	g, _ := r.of(r.region)
	if r.has(g, ap.id()) {
		return false, nil
	}
	r.mu.RLock()
	p := g.proposals[ap.Proposal]
	r.mu.RUnlock()
	if p == nil {
		return false, fmt.Errorf("approval: %w", ErrProposalMissing)
	}
	if err := p.check(ap); err != nil { // reads only what never changes
		return false, err
	}
	r.mu.Lock()
	if _, known := g.records[ap.id()]; known || g.proposals[p.id] != p {
		r.mu.Unlock()
		return false, nil
	}
	err := g.approve(p, ap)
	r.noteAdded(g.records[ap.id()].whole)
	r.noteChange()
	r.mu.Unlock()
	return true, errors.Join(err, r.act(p))
}

// act makes a proposal's records once enough coordinators have signed. All who
// hold the same approvals do the same.
func (r *Roster) act(p *Proposal) error {
	r.mu.RLock()
	records, err := p.Act()
	r.mu.RUnlock()
	if errors.Is(err, ErrThreshold) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, raw := range records {
		if _, err := r.Add(raw); err != nil {
			return fmt.Errorf("act on proposal: %w", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(r.regions[r.region], p)
	r.noteChange()
	return nil
}

// decided lets go of proposals that have been acted on.
func (r *Roster) decided(g *regional) {
	for _, p := range g.proposals {
		if g.isDecided(p) {
			r.drop(g, p)
		}
	}
}

// isDecided reports whether all that a proposal would do is done, or can no
// longer count.
func (g *regional) isDecided(p *Proposal) bool {
	for _, a := range p.acts {
		if a.list != nil && !a.list.after(g.lists[a.list.Charter]) {
			continue
		}
		for _, id := range a.ids {
			if _, there := g.records[id]; !there {
				return false
			}
		}
	}
	return true
}

func (r *Roster) drop(g *regional, p *Proposal) {
	delete(g.proposals, p.id)
	r.remove(g, p.id)
	for _, ap := range p.approvals {
		r.remove(g, ap.id())
	}
}

// Proposals returns the open proposals of this region, the oldest first.
func (r *Roster) Proposals() []*Proposal {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []*Proposal
	for _, p := range r.regions[r.region].proposals {
		c := *p
		c.approvals = maps.Clone(p.approvals)
		out = append(out, &c)
	}
	slices.SortFunc(out, (*Proposal).compare)
	return out
}

// Moot reports whether a proposal can do nothing any more: charters have gone on
// without it, those it would admit are members with the keys and the end that it
// gives, those it would revoke are revoked, or a later list is in force.
func (r *Roster) Moot(p *Proposal) bool {
	latest := r.Charter()
	for _, a := range p.acts {
		switch {
		case a.charter != nil:
			if latest == nil || a.charter.Prev == latest.hash {
				return false
			}
		case a.list != nil:
			if before := r.Endorsements(r.region); before == nil || before.Charter != a.list.Charter || a.list.Number > before.Number {
				return false
			}
		case a.revocation != nil:
			if c, known := r.Member(r.region, a.revocation.Member, a.revocation.Serial); !known {
				return false
			} else if _, revoked := r.Revoked(c); !revoked {
				return false
			}
		}
		for _, c := range a.credentials {
			current, known := r.Member(c.Region, c.Member, c.Serial)
			if _, revoked := r.Revoked(c); !revoked && (!known || !current.SameKeys(c) || current.Role != c.Role || current.NotAfter+day < c.NotAfter) {
				return false
			}
		}
	}
	return true
}

const day = 24 * 60 * 60 * 1000 // ms

// Doubts returns, in words for a coordinator, what speaks against signing a
// proposal, going by this roster: nil means that all is in order.
func (r *Roster) Doubts(p *Proposal) (doubts []string) {
	doubt := func(format string, args ...any) { doubts = append(doubts, fmt.Sprintf(format, args...)) }
	latest := r.Charter()
	for _, a := range p.acts {
		switch {
		case a.charter != nil && latest != nil && a.charter.Prev != latest.hash:
			doubt("charter %d follows one that does not count: the charter in force is number %d", a.charter.Number, latest.Number)
		case a.charter != nil:
			doubts = append(doubts, r.doubtLedger(p, a.charter)...)
		case a.batch != nil && latest != nil && a.batch.Charter != latest.hash && !p.makes(a.batch.Charter):
			doubt("it admits under an earlier charter: number %d is in force", latest.Number)
		case a.list != nil && r.replaced(p, a.list):
			doubt("the list of endorsed regions has been replaced since")
		case a.revocation != nil:
			c, known := r.Member(a.revocation.Region, a.revocation.Member, a.revocation.Serial)
			if !known {
				doubt("it revokes serial %d of a member who is not known to have one", a.revocation.Serial)
			} else if c.KeyID() != a.revocation.Key {
				doubt("it names %q, and revokes another key than that one's", c.Name)
			}
		}
		for _, c := range a.credentials {
			current, known := r.Member(c.Region, c.Member, c.Serial)
			proven := slices.ContainsFunc(a.requests, func(req *Request) bool { return req.asks(c) })
			if !proven && !(known && current.SameKeys(c)) {
				doubt("nobody has shown to hold the keys of %q", c.Name)
			}
			if known && !bytes.Equal(current.Key, c.Key) {
				doubt("%q has another key under serial %d", c.Name, c.Serial)
			}
			for _, b := range p.acts {
				if b.revocation != nil && b.revocation.Key == c.KeyID() {
					doubt("the new keys of %q are those that are to be revoked", c.Name)
				}
			}
			if _, revoked := r.Revoked(c); revoked {
				doubt("the key of %q, or its serial %d, is revoked", c.Name, c.Serial)
			}
			switch before := r.latest(c); {
			case before == nil && r.called(c.Region, c.Name):
				doubt("a member is called %q already: is it the same hospital?", c.Name)
			case before == nil:
			case before.Name != c.Name:
				doubt("%q would be called %q", before.Name, c.Name)
			case before.Role != c.Role && !p.makes(a.batch.Charter): // with a charter, roles follow it
				doubt("%q would be a %s, and is a %s", c.Name, c.Role, before.Role)
			case before.Serial < c.Serial && !p.revokes(before) && !r.isRevoked(before):
				doubt("the keys that %q has now, of serial %d, would not be revoked", c.Name, before.Serial)
			}
		}
	}
	return doubts
}

// latest returns the current credential of the member that a credential is for.
func (r *Roster) latest(c *Credential) *Credential {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if g := r.regions[c.Region]; g != nil {
		return g.members[c.Member]
	}
	return nil
}

// called reports whether a member has a name. It looks at each.
func (r *Roster) called(region crypto.Region, name string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if g := r.regions[region]; g != nil {
		for _, c := range g.members {
			if c.Name == name && !g.revoked(c) {
				return true
			}
		}
	}
	return false
}

func (r *Roster) isRevoked(c *Credential) bool {
	_, revoked := r.Revoked(c)
	return revoked
}

// revokes reports whether the proposal itself ends a credential's serial.
func (p *Proposal) revokes(c *Credential) bool {
	return slices.ContainsFunc(p.acts, func(a act) bool {
		return a.revocation != nil && a.revocation.Member == c.Member && a.revocation.Serial == c.Serial
	})
}

// replaced reports whether a list of this region that a proposal brings would not
// count beside the one that does.
func (r *Roster) replaced(p *Proposal, list *Endorsements) bool {
	now, latest := r.Endorsements(r.region), r.Charter()
	switch {
	case now == nil || p.makes(list.Charter):
		return false
	case now.Charter == list.Charter:
		return !list.after(now)
	}
	return latest != nil && list.Charter != latest.hash
}

// makes reports whether the proposal itself brings a charter.
func (p *Proposal) makes(charter crypto.Hash) bool {
	return slices.ContainsFunc(p.acts, func(a act) bool { return a.charter != nil && a.charter.hash == charter })
}
