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
}

// A regional is what is known of one region.
type regional struct {
	region    crypto.Region
	charter   *Charter      // nil until its record arrived
	endorsing *Endorsements // the latest list; nil = it endorses nobody
	records   map[crypto.Hash]held
	batches   map[crypto.Hash]*verifiedBatch // by hash of the encoded header
	serials   map[serialID]*Credential       // the latest admitted
	members   map[crypto.MemberID]*Credential
	peers     map[string]*Credential
	forks     map[serialID]*Fork
}

func newRegional(region crypto.Region) *regional {
	return &regional{
		region: region, records: map[crypto.Hash]held{}, batches: map[crypto.Hash]*verifiedBatch{},
		serials: map[serialID]*Credential{}, members: map[crypto.MemberID]*Credential{}, peers: map[string]*Credential{},
		forks: map[serialID]*Fork{},
	}
}

type serialID struct {
	member crypto.MemberID
	serial uint32
}

// held is a record cut so that credentials of one batch share its signatures,
// which are the larger half of each record.
type held struct {
	kind       uint8
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
	rec, err := decodeRecord(raw)
	if err != nil {
		return false, err
	}
	switch rec.Type {
	case typeCharter:
		return r.addCharter(raw, rec.Payload)
	case typeEndorsements:
		return r.addEndorsements(raw, rec.Payload)
	case typeFork:
		return r.addFork(raw, rec.Payload)
	}
	return r.addCredential(rec.Payload)
}

// AddAll adds records in any order: those that come before what they stand on are
// tried again after it. It returns how many were new and, joined, why others were
// refused.
func (r *Roster) AddAll(raws [][]byte) (added int, err error) {
	var errs []error
	for round, left := 0, raws; len(left) > 0; round++ {
		var early [][]byte
		for _, raw := range left {
			ok, err := r.Add(raw)
			switch {
			case ok:
				added++
			case round < stepsMax && isEarly(err):
				early = append(early, raw)
			case err != nil:
				errs = append(errs, err)
			}
		}
		left = early
	}
	return added, errors.Join(errs...)
}

// stepsMax is how many records may stand on one another: a region's charter, its
// endorsements, an endorsed charter, a credential under it, a fork proof.
const stepsMax = 5

func isEarly(err error) bool {
	return errors.Is(err, ErrRegion) || errors.Is(err, ErrCharterMissing) || errors.Is(err, ErrAuthorMissing)
}

// of returns what is known of a region, and its charter, nil if unknown.
func (r *Roster) of(region crypto.Region) (*regional, *Charter) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if g := r.regions[region]; g != nil {
		return g, g.charter
	}
	return nil, nil
}

func (r *Roster) addCharter(raw, payload []byte) (bool, error) {
	var signed charterRecord
	if err := canon.Unmarshal(payload, &signed); err != nil {
		return false, fmt.Errorf("charter record: %w", err)
	}
	region := crypto.Region(crypto.SumContext("charter", crypto.Region{}, signed.Charter))
	switch g, known := r.of(region); {
	case g == nil:
		return false, fmt.Errorf("charter of %s: %w, which %s does not endorse", region, ErrRegion, r.region)
	case known != nil:
		return false, nil
	}
	c, err := parseCharter(signed.Charter)
	if err != nil {
		return false, err
	}
	if err := checkSignatures(signed.Signatures, c.Coordinators, len(c.Coordinators), charterContext, signed.Charter); err != nil {
		return false, fmt.Errorf("charter: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.regions[region]
	if g == nil || g.charter != nil {
		return false, nil
	}
	g.charter = c
	g.records[c.RecordID()] = held{kind: typeCharter, whole: bytes.Clone(raw)}
	r.noteChange()
	return true, nil
}

// addCredential checks the cheapest first: the proof is hashing only, and the
// signatures of a batch are verified once.
func (r *Roster) addCredential(payload []byte) (bool, error) {
	var rec credentialRecord
	if err := canon.Unmarshal(payload, &rec); err != nil {
		return false, fmt.Errorf("credential record: %w", err)
	}
	header, err := parseBatch(rec.Batch)
	if err != nil {
		return false, err
	}
	region := header.Region
	g, charter := r.of(region)
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
	case charter == nil || charter.hash != header.Charter:
		return false, fmt.Errorf("credential of %q: %w", cred.Name, ErrCharterMissing)
	}
	if batch == nil {
		err := checkSignatures(rec.Signatures, charter.Coordinators, int(charter.Threshold), admissionContext(region), rec.Batch)
		if err != nil {
			return false, fmt.Errorf("credential of %q: %w", cred.Name, err)
		}
		batch = &verifiedBatch{header: header, raw: rec.Batch, signatures: rec.Signatures}
	}
	cred.admitted, cred.record = header.Time, id
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := g.records[id]; known || r.regions[region] != g {
		return false, nil
	}
	if first := g.batches[hash]; first != nil {
		batch = first
	}
	g.batches[hash] = batch
	g.records[id] = held{kind: typeCredential, credential: rec.Credential, index: rec.Index, path: rec.Path, batch: batch}
	g.index(cred)
	r.prefer(g, string(cred.Peer))
	r.noteChange()
	return true, nil
}

// index enters a credential wherever it is later than what is there. The order
// is total, so the result does not depend on who came first.
func (g *regional) index(c *Credential) {
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
	return cmp.Or(cmp.Compare(a.Serial, b.Serial), cmp.Compare(a.admitted, b.admitted), bytes.Compare(a.record[:], b.record[:]))
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

// CharterOf returns the charter of this region or of one that it endorses, or
// nil while it is unknown.
func (r *Roster) CharterOf(region crypto.Region) *Charter {
	_, charter := r.of(region)
	return charter
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

// ByPeer returns the credential that binds a libp2p peer id, given as its
// bytes: in this region, else in one that it endorses. Only the member's latest
// credential binds one.
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
	if c == nil || string(g.members[c.Member].Peer) != peer {
		return nil
	}
	return c
}

// Members returns the latest credential of each member, sorted by name.
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
