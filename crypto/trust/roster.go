package trust

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
)

// ParsedKeysMax is how many parsed keys a roster keeps, about 40 KB each.
const ParsedKeysMax = 1024

// A Roster knows who belongs to one region and to those that it endorses, from
// records it has verified. It is in memory and safe for concurrent use.
type Roster struct {
	region crypto.Region
	keys   *lru.Cache[serialID, *crypto.PublicKey]

	mu      sync.RWMutex                  // guards what follows
	regions map[crypto.Region]*regional   // this region, and those on its list of endorsements
	peers   map[string]*regional          // by peer id: this region, else the first that has a credential for it
	roots   map[crypto.Region]crypto.Hash // of what peers of a region are shown; empty when records have changed
	changed chan struct{}
	journal *[]Entry // nil = none is kept
	forgets uint64   // how often a region was forgotten
}

// A regional is what is known of one region: records, and what follows from them.
type regional struct {
	region  crypto.Region
	records map[crypto.Hash]held

	charters    map[crypto.Hash]*Charter       // all that are proven, by hash
	lists       map[crypto.Hash]*Endorsements  // the latest under each charter
	batches     map[crypto.Hash]*verifiedBatch // by hash of the encoded header
	credentials []*Credential
	revocations []*Revocation
	cuts        map[serialID][]Cut // of revoked serials
	keysRevoked map[crypto.MemberID]bool
	forks       map[forkID]*Fork
	proposals   map[crypto.Hash]*Proposal // open ones

	// What counts, by the charters in the chain.
	chain     []*Charter               // the genesis first; empty until its record arrived
	counts    map[crypto.Hash]bool     // charters whose admissions and lists count
	endorsing *Endorsements            // nil = it endorses nobody
	serials   map[serialID]*Credential // the latest admitted
	members   map[crypto.MemberID]*Credential
	peers     map[string]*Credential
}

func newRegional(region crypto.Region) *regional {
	g := &regional{
		region: region, records: map[crypto.Hash]held{}, charters: map[crypto.Hash]*Charter{}, lists: map[crypto.Hash]*Endorsements{},
		batches: map[crypto.Hash]*verifiedBatch{}, forks: map[forkID]*Fork{}, proposals: map[crypto.Hash]*Proposal{},
		cuts: map[serialID][]Cut{}, keysRevoked: map[crypto.MemberID]bool{},
	}
	g.forget()
	return g
}

// forget empties what derive and its like fill.
func (g *regional) forget() {
	g.chain, g.counts = nil, map[crypto.Hash]bool{}
	g.serials, g.members, g.peers = map[serialID]*Credential{}, map[crypto.MemberID]*Credential{}, map[string]*Credential{}
}

type serialID struct {
	member crypto.MemberID
	serial uint32
}

// held is a record cut so that credentials of one batch share its signatures,
// which are the larger half of each record.
type held struct {
	kind       uint8
	number     uint64 // of a charter
	whole      []byte // all but credentials
	credential []byte
	index      uint32
	path       []crypto.Hash
	batch      *verifiedBatch
}

// verifiedBatch is a batch that enough coordinators signed.
type verifiedBatch struct {
	header     *batchHeader
	raw        []byte
	signatures []signature
}

// NewRoster returns the empty roster of the region with the given name, which
// is the hash of its genesis charter.
func NewRoster(region crypto.Region) *Roster {
	keys, err := lru.New[serialID, *crypto.PublicKey](ParsedKeysMax)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	return &Roster{
		region: region, keys: keys, changed: make(chan struct{}),
		regions: map[crypto.Region]*regional{region: newRegional(region)}, roots: map[crypto.Region]crypto.Hash{},
		peers: map[string]*regional{},
	}
}

// Add verifies one record and takes it in. It reports whether the roster has
// changed; a record it has already is no error. ErrCharterMissing says that
// the record may be good once the charter is known. Validity in time is not
// looked at, since a roster must not depend on a clock: see ValidAt.
func (r *Roster) Add(raw []byte) (added bool, err error) {
	rec, err := decodeRecord(raw, RecordSizeMax)
	if err != nil {
		return false, err
	}
	switch rec.Type {
	case typeCharter:
		return r.addCharter(raw, rec.Payload)
	case typeRevocation:
		return r.addRevocation(raw, rec.Payload)
	case typeEndorsements:
		return r.addEndorsements(raw, rec.Payload)
	case typeFork:
		return r.addFork(raw, rec.Payload)
	case typeProposal:
		return r.addProposal(raw, rec.Payload)
	case typeApproval:
		return r.addApproval(rec.Payload)
	}
	return r.addCredential(raw, rec.Payload)
}

// AddAll adds records in any order: those that come before what they stand on are
// tried again after it. It returns how many were new and, joined, why others were
// refused.
func (r *Roster) AddAll(raws [][]byte) (added int, err error) {
	all := slices.Clone(raws)
	slices.SortStableFunc(all, func(a, b []byte) int { return cmp.Compare(rankOf(a), rankOf(b)) })
	standing := slices.IndexFunc(all, func(raw []byte) bool { return rankOf(raw) > rankEndorsements })
	if standing > 0 { // charters and lists alone first: else all others would be read twice
		added, _ = r.settle(all[:standing])
	}
	more, err := r.settle(all)
	return added + more, err
}

// settle adds records until none stands on another that is still to come.
func (r *Roster) settle(all [][]byte) (added int, err error) {
	var errs, waiting []error
	for left := all; ; {
		var early [][]byte
		before, forgot := added, r.forgotten()
		waiting = nil
		for _, raw := range left {
			ok, err := r.Add(raw)
			if ok {
				added++
			}
			switch {
			case IsEarly(err):
				early, waiting = append(early, raw), append(waiting, err)
			case err != nil:
				errs = append(errs, err)
			}
		}
		switch {
		case r.forgotten() != forgot: // a region that a later charter may have brought back, empty
			left, errs = all, nil
		case len(early) == 0 || added == before:
			return added, errors.Join(append(errs, waiting...)...)
		default:
			left = early
		}
	}
}

const rankEndorsements = 1 // in order

// rankOf is the place of a record's type in order, by its first bytes. What is
// no record is last.
func rankOf(raw []byte) int {
	const at = 2 // a map of two, key 1, the type
	if len(raw) <= at {
		return len(order)
	}
	if rank := slices.Index(order[:], raw[at]); rank >= 0 {
		return rank
	}
	return len(order)
}

func (r *Roster) forgotten() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.forgets
}

// IsEarly reports whether Add refused a record only because others, on which it
// stands, are not known yet.
func IsEarly(err error) bool {
	return errors.Is(err, ErrRegion) || errors.Is(err, ErrCharterMissing) || errors.Is(err, ErrAuthorMissing) || errors.Is(err, ErrProposalMissing)
}

// of returns what is known of a region, and the charter in force, nil if unknown.
func (r *Roster) of(region crypto.Region) (*regional, *Charter) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	g := r.regions[region]
	if g == nil || len(g.chain) == 0 {
		return g, nil
	}
	return g, g.chain[len(g.chain)-1]
}

// under returns what is known of a region, and one of its charters by hash, nil
// if unknown, in the chain or not.
func (r *Roster) under(region crypto.Region, charter crypto.Hash) (*regional, *Charter) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	g := r.regions[region]
	if g == nil {
		return nil, nil
	}
	return g, g.charters[charter]
}

func (r *Roster) has(g *regional, record crypto.Hash) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, ok := g.records[record]
	return ok
}

func (r *Roster) addCharter(raw, payload []byte) (bool, error) {
	var signed charterRecord
	if err := canon.Unmarshal(payload, &signed); err != nil {
		return false, fmt.Errorf("charter record: %w", err)
	}
	c, err := parseCharter(signed.Charter)
	if err != nil {
		return false, err
	}
	g, known := r.under(c.Region(), c.hash)
	switch {
	case g == nil:
		return false, fmt.Errorf("charter of %s: %w, which %s does not endorse", c.Region(), ErrRegion, r.region)
	case known != nil:
		return false, nil
	case c.Number > 1:
		_, before := r.under(c.Region(), c.Prev)
		if err := c.follow(before); err != nil {
			return false, err
		}
	}
	if err := checkSignatures(signed.Signatures, c.quorums(), c.context(), signed.Charter); err != nil {
		return false, fmt.Errorf("charter: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.regions[g.region] != g || g.charters[c.hash] != nil {
		return false, nil
	}
	g.charters[c.hash] = c
	r.noteAdded(raw)
	g.records[c.RecordID()] = held{kind: typeCharter, number: c.Number, whole: bytes.Clone(raw)}
	r.derive(g)
	r.decided(g)
	r.noteChange()
	return true, nil
}

// derive finds the chain of charters that counts, and all that follows from it.
func (r *Roster) derive(g *regional) {
	g.forget()
	next := map[crypto.Hash]*Charter{} // by the charter before: the one with the lowest hash
	for _, c := range g.charters {
		if o := next[c.Prev]; o == nil || compareHashes(c.hash, o.hash) < 0 {
			next[c.Prev] = c
		}
	}
	distrusted := map[crypto.Hash]bool{}
	for c := next[crypto.Hash{}]; c != nil; c = next[c.hash] {
		g.chain = append(g.chain, c)
		for _, signer := range c.Distrusts {
			distrusted[signer] = true
		}
	}
	for _, c := range g.chain {
		g.counts[c.hash] = c.trusted(distrusted)
	}
	for _, c := range g.credentials {
		g.index(c)
	}
	if len(g.credentials) > 0 {
		r.rebind()
	}
	r.endorse(g)
}

// trusted reports whether so many coordinators of a charter are trusted that
// everything under it has one of them among its signers. Who signed a given
// record is not asked, since its copies may carry different signatures and
// rosters would not agree.
func (c *Charter) trusted(distrusted map[crypto.Hash]bool) bool {
	n := 0
	for _, o := range c.Coordinators {
		if len(distrusted) > 0 && distrusted[SignerOf(o.Key)] {
			n++
		}
	}
	return n < int(c.Threshold)
}

// Upholds reports whether what was admitted and endorsed under a charter of this
// region, given by its hash, goes on to count once next is in force.
func (r *Roster) Upholds(next *Charter, charter crypto.Hash) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	g, distrusted := r.regions[r.region], map[crypto.Hash]bool{}
	for _, c := range append(slices.Clone(g.chain), next) {
		for _, signer := range c.Distrusts {
			distrusted[signer] = true
		}
	}
	c := g.charters[charter]
	return c != nil && c.trusted(distrusted)
}

// Allowed reports whether the member of a credential may speak in an audience: a
// charter in force allows or has allowed it to its role. What was allowed once goes
// on to count, so that what a node takes does not depend on when it came.
func (r *Roster) Allowed(c *Credential, audience crypto.Audience) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	g := r.regions[c.Region]
	return g != nil && slices.ContainsFunc(g.chain, func(charter *Charter) bool { return charter.Allows(c.Role, audience) })
}

// A CharterFork is two charters that follow the same one, each signed by enough
// coordinators of it: some of them signed both. The one with the lower hash
// counts, everywhere.
type CharterFork struct {
	Counts, Other *Charter
}

// CharterForks returns the forks in the charters of a region, by number.
func (r *Roster) CharterForks(region crypto.Region) (forks []CharterFork) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	g := r.regions[region]
	if g == nil {
		return nil
	}
	for _, c := range g.charters {
		if n := int(c.Number); n <= len(g.chain) && g.chain[n-1] != c && g.chain[n-1].Prev == c.Prev {
			forks = append(forks, CharterFork{g.chain[n-1], c})
		}
	}
	slices.SortFunc(forks, func(a, b CharterFork) int {
		return cmp.Or(cmp.Compare(a.Other.Number, b.Other.Number), compareHashes(a.Other.hash, b.Other.hash))
	})
	return forks
}

// addCredential checks the cheapest first: the proof is hashing only, and the
// signatures of a batch are verified once.
func (r *Roster) addCredential(raw, payload []byte) (bool, error) {
	var rec credentialRecord
	if err := canon.Unmarshal(payload, &rec); err != nil {
		return false, fmt.Errorf("credential record: %w", err)
	}
	header, err := parseBatch(rec.Batch)
	if err != nil {
		return false, err
	}
	region := header.Region
	g, charter := r.under(region, header.Charter)
	if g == nil {
		return false, fmt.Errorf("batch of %s: %w, which %s does not endorse", region, ErrRegion, r.region)
	}
	cred, err := parseCredential(rec.Credential, region)
	if err != nil {
		return false, err
	}
	if err := rec.check(header); err != nil {
		return false, err
	}
	id := recordID(region, typeCredential, rec.Credential, rec.Batch)
	hash := crypto.LeafHash(rec.Batch)
	r.mu.RLock()
	batch := g.batches[hash]
	_, known := g.records[id]
	r.mu.RUnlock()
	switch {
	case known:
		return false, nil
	case charter == nil:
		return false, fmt.Errorf("credential of %q: %w", cred.Name, ErrCharterMissing)
	}
	if batch == nil {
		err := checkSignatures(rec.Signatures, []quorum{charter.quorum()}, admissionContext(region), rec.Batch)
		if err != nil {
			return false, fmt.Errorf("credential of %q: %w", cred.Name, err)
		}
		batch = &verifiedBatch{header: header, raw: rec.Batch, signatures: rec.Signatures}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := g.records[id]; known || r.regions[region] != g {
		return false, nil
	}
	if first := g.batches[hash]; first != nil {
		batch = first
	}
	cred.batch, cred.record = batch, id
	g.batches[hash] = batch
	g.credentials = append(g.credentials, cred)
	r.noteAdded(raw)
	g.records[id] = held{kind: typeCredential, credential: rec.Credential, index: rec.Index, path: rec.Path, batch: batch}
	g.index(cred)
	r.prefer(g, string(cred.Peer))
	r.decided(g)
	r.noteChange()
	return true, nil
}

// index enters a credential that counts wherever it is later than what is there.
// The order is total, so the result does not depend on who came first.
func (g *regional) index(c *Credential) {
	if !g.counts[c.batch.header.Charter] {
		return
	}
	at := serialID{c.Member, c.Serial}
	if old := g.serials[at]; old == nil || compareCredentials(old, c) < 0 {
		g.serials[at] = c
	}
	if old := g.members[c.Member]; old == nil || compareCredentials(old, c) < 0 {
		g.members[c.Member] = c
	}
	if old := g.peers[string(c.Peer)]; old == nil || compareCredentials(old, c) < 0 {
		g.peers[string(c.Peer)] = c
	}
}

// compareCredentials orders by serial, then by when the coordinators signed.
func compareCredentials(a, b *Credential) int {
	return cmp.Or(cmp.Compare(a.Serial, b.Serial), cmp.Compare(a.batch.header.Time, b.batch.header.Time), bytes.Compare(a.record[:], b.record[:]))
}

func (r *Roster) noteChange() {
	clear(r.roots)
	close(r.changed)
	r.changed = make(chan struct{})
}

// Changed returns a channel that is closed when the roster changes next.
func (r *Roster) Changed() <-chan struct{} {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.changed
}

// Region returns the name of the region.
func (r *Roster) Region() crypto.Region { return r.region }

// Charter returns the region's charter, or nil while it is unknown.
func (r *Roster) Charter() *Charter { return r.CharterOf(r.region) }

// CharterOf returns the charter in force of this region or of one that it
// endorses, or nil while it is unknown.
func (r *Roster) CharterOf(region crypto.Region) *Charter {
	_, charter := r.of(region)
	return charter
}

// Charters returns the charters of a region that count, the genesis first.
func (r *Roster) Charters(region crypto.Region) []*Charter {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if g := r.regions[region]; g != nil {
		return slices.Clone(g.chain)
	}
	return nil
}

// CharterBy returns a charter of a region by its hash, in the chain or not, nil if
// it is unknown.
func (r *Roster) CharterBy(region crypto.Region, hash crypto.Hash) *Charter {
	_, c := r.under(region, hash)
	return c
}

// Member returns the latest credential of a member's serial, in this region or
// in one that it endorses.
func (r *Roster) Member(region crypto.Region, member crypto.MemberID, serial uint32) (*Credential, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	g := r.regions[region]
	if g == nil {
		return nil, false
	}
	c, ok := g.serials[serialID{member, serial}]
	return c, ok
}

// ByKey returns the latest credential of this region for a composite key, revoked
// or not. It looks at each serial.
func (r *Roster) ByKey(key []byte) (*Credential, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var latest *Credential
	for _, c := range r.regions[r.region].serials {
		if bytes.Equal(c.Key, key) && (latest == nil || compareCredentials(latest, c) < 0) {
			latest = c
		}
	}
	return latest, latest != nil
}

// ByPeer returns the credential that binds a libp2p peer id, given as its
// bytes: in this region, else in one that it endorses. Only the member's latest
// credential binds one, and none that is revoked.
func (r *Roster) ByPeer(peer string) (*Credential, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	g := r.peers[peer]
	if g == nil {
		return nil, false
	}
	if c := g.byPeer(peer); c != nil {
		return c, true
	}
	for _, region := range r.sorted() {
		if c := r.regions[region].byPeer(peer); c != nil {
			return c, true
		}
	}
	return nil, false
}

// prefer notes that a region has a credential for a peer id.
func (r *Roster) prefer(g *regional, peer string) {
	before := r.peers[peer]
	if before == nil || before.region != r.region && (g.region == r.region || compareRegions(g.region, before.region) < 0) {
		r.peers[peer] = g
	}
}

// sorted returns the regions, this one first and the others in order.
func (r *Roster) sorted() []crypto.Region {
	out := []crypto.Region{r.region}
	for region := range r.regions {
		if region != r.region {
			out = append(out, region)
		}
	}
	slices.SortFunc(out[1:], compareRegions)
	return out
}

func (g *regional) byPeer(peer string) *Credential {
	c := g.peers[peer]
	if c == nil || string(g.members[c.Member].Peer) != peer || g.revoked(c) {
		return nil
	}
	return c
}

// Members returns the latest credential of each member, revoked or not, sorted by
// name.
func (r *Roster) Members(region crypto.Region) []*Credential {
	r.mu.RLock()
	var out []*Credential
	if g := r.regions[region]; g != nil {
		out = slices.AppendSeq(make([]*Credential, 0, len(g.members)), maps.Values(g.members))
	}
	r.mu.RUnlock()
	slices.SortFunc(out, func(a, b *Credential) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), compareMembers(a.Member, b.Member))
	})
	return out
}

// Key returns the parsed key of a credential, from a cache of ParsedKeysMax.
func (r *Roster) Key(c *Credential) (*crypto.PublicKey, error) {
	at := serialID{c.Member, c.Serial}
	if key, ok := r.keys.Get(at); ok && bytes.Equal(key.Bytes(), c.Key) {
		return key, nil
	}
	key, err := crypto.ParsePublicKey(c.Key)
	if err != nil {
		return nil, fmt.Errorf("key of %q: %w", c.Name, err)
	}
	r.keys.Add(at, key)
	return key, nil
}
