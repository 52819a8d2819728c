package trust

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
)

// ParsedKeysMax is how many parsed keys a roster keeps, about 40 KB each.
const ParsedKeysMax = 1024

// A Roster knows who belongs to one region, from records it has verified. It
// is in memory and safe for concurrent use.
type Roster struct {
	region crypto.Region
	keys   *lru.Cache[serialID, *crypto.PublicKey]

	mu      sync.RWMutex // guards what follows
	charter *Charter     // nil until its record arrived
	records map[crypto.Hash]held
	batches map[crypto.Hash]*verifiedBatch // by hash of the encoded header
	serials map[serialID]*Credential       // the latest admitted
	members map[crypto.MemberID]*Credential
	peers   map[string]*Credential
	forks   map[serialID]*Fork
	root    crypto.Hash
	rootDue bool // root is older than records
	changed chan struct{}
}

type serialID struct {
	member crypto.MemberID
	serial uint32
}

// held is a record cut so that credentials of one batch share its signatures,
// which are the larger half of each record.
type held struct {
	whole      []byte // charters and fork proofs
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
		region: region, keys: keys, changed: make(chan struct{}), rootDue: true,
		records: map[crypto.Hash]held{}, batches: map[crypto.Hash]*verifiedBatch{},
		serials: map[serialID]*Credential{}, members: map[crypto.MemberID]*Credential{}, peers: map[string]*Credential{},
		forks: map[serialID]*Fork{},
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
	case typeFork:
		return r.addFork(raw, rec.Payload)
	}
	return r.addCredential(rec.Payload)
}

// AddAll adds records in any order: those that come before their charter or
// their author's credential are tried again after it. It returns how many were new and, joined, why others
// were refused.
func (r *Roster) AddAll(raws [][]byte) (added int, err error) {
	var errs []error
	for round, left := 0, raws; len(left) > 0; round++ {
		var early [][]byte
		for _, raw := range left {
			ok, err := r.Add(raw)
			switch {
			case ok:
				added++
			case round < 2 && (errors.Is(err, ErrCharterMissing) || errors.Is(err, ErrAuthorMissing)):
				early = append(early, raw) // charter, then credential, then fork proof
			case err != nil:
				errs = append(errs, err)
			}
		}
		left = early
	}
	return added, errors.Join(errs...)
}

func (r *Roster) addCharter(raw, payload []byte) (bool, error) {
	var signed charterRecord
	if err := canon.Unmarshal(payload, &signed); err != nil {
		return false, fmt.Errorf("charter record: %w", err)
	}
	if crypto.Region(crypto.SumContext("charter", crypto.Region{}, signed.Charter)) != r.region {
		return false, fmt.Errorf("charter: %w: its hash is not the pinned %s", ErrRegion, r.region)
	}
	if r.Charter() != nil {
		return false, nil
	}
	c, err := parseCharter(signed.Charter)
	if err != nil {
		return false, err
	}
	if err := checkSignatures(signed.Signatures, c.Coordinators, len(c.Coordinators), charterContext, signed.Charter); err != nil {
		return false, fmt.Errorf("charter: %w", err)
	}
	id := recordID(r.region, typeCharter, signed.Charter, nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.charter != nil {
		return false, nil
	}
	r.charter = c
	r.records[id] = held{whole: bytes.Clone(raw)}
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
	header, err := parseBatch(rec.Batch, r.region)
	if err != nil {
		return false, err
	}
	cred, err := parseCredential(rec.Credential, r.region)
	if err != nil {
		return false, err
	}
	if err := rec.check(header); err != nil {
		return false, err
	}
	id := recordID(r.region, typeCredential, rec.Credential, rec.Batch)
	hash := crypto.LeafHash(rec.Batch)
	r.mu.RLock()
	charter, batch := r.charter, r.batches[hash]
	_, known := r.records[id]
	r.mu.RUnlock()
	switch {
	case known:
		return false, nil
	case charter == nil || charter.hash != header.Charter:
		return false, fmt.Errorf("credential of %q: %w", cred.Name, ErrCharterMissing)
	}
	if batch == nil {
		err := checkSignatures(rec.Signatures, charter.Coordinators, int(charter.Threshold), admissionContext(r.region), rec.Batch)
		if err != nil {
			return false, fmt.Errorf("credential of %q: %w", cred.Name, err)
		}
		batch = &verifiedBatch{header: header, raw: rec.Batch, signatures: rec.Signatures}
	}
	cred.admitted, cred.record = header.Time, id
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.records[id]; known {
		return false, nil
	}
	if first := r.batches[hash]; first != nil {
		batch = first
	}
	r.batches[hash] = batch
	r.records[id] = held{credential: rec.Credential, index: rec.Index, path: rec.Path, batch: batch}
	r.index(cred)
	r.noteChange()
	return true, nil
}

// index enters a credential wherever it is later than what is there. The order
// is total, so the result does not depend on who came first.
func (r *Roster) index(c *Credential) {
	at := serialID{c.Member, c.Serial}
	if old := r.serials[at]; old == nil || compareCredentials(old, c) < 0 {
		r.serials[at] = c
	}
	if old := r.members[c.Member]; old == nil || compareCredentials(old, c) < 0 {
		r.members[c.Member] = c
	}
	if old := r.peers[string(c.Peer)]; old == nil || compareCredentials(old, c) < 0 {
		r.peers[string(c.Peer)] = c
	}
}

// compareCredentials orders by serial, then by when the coordinators signed.
func compareCredentials(a, b *Credential) int {
	return cmp.Or(cmp.Compare(a.Serial, b.Serial), cmp.Compare(a.admitted, b.admitted), bytes.Compare(a.record[:], b.record[:]))
}

func (r *Roster) noteChange() {
	r.rootDue = true
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

// Endorses reports whether members of region are heard here. In this version
// that is the roster's own region only.
func (r *Roster) Endorses(region crypto.Region) bool { return region == r.region }

// Charter returns the region's charter, or nil while it is unknown.
func (r *Roster) Charter() *Charter {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.charter
}

// Member returns the latest credential of a member's serial.
func (r *Roster) Member(region crypto.Region, member crypto.MemberID, serial uint32) (*Credential, bool) {
	if region != r.region {
		return nil, false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	c, ok := r.serials[serialID{member, serial}]
	return c, ok
}

// ByPeer returns the credential that binds a libp2p peer id, given as its
// bytes. Only the member's latest credential binds one.
func (r *Roster) ByPeer(peer string) (*Credential, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c := r.peers[peer]
	if c == nil || string(r.members[c.Member].Peer) != peer {
		return nil, false
	}
	return c, true
}

// Members returns the latest credential of each member, sorted by name.
func (r *Roster) Members(region crypto.Region) []*Credential {
	if region != r.region {
		return nil
	}
	r.mu.RLock()
	out := make([]*Credential, 0, len(r.members))
	for _, c := range r.members {
		out = append(out, c)
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

// IDs returns the sorted ids of all records.
func (r *Roster) IDs() []crypto.Hash {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.ids()
}

func (r *Roster) ids() []crypto.Hash {
	out := make([]crypto.Hash, 0, len(r.records))
	for id := range r.records {
		out = append(out, id)
	}
	slices.SortFunc(out, func(a, b crypto.Hash) int { return bytes.Compare(a[:], b[:]) })
	return out
}

// Record returns the bytes of a record, for another roster's Add.
func (r *Roster) Record(id crypto.Hash) ([]byte, bool) {
	r.mu.RLock()
	h, ok := r.records[id]
	r.mu.RUnlock()
	if !ok || h.whole != nil {
		return h.whole, ok
	}
	raw, err := encodeRecord(typeCredential, credentialRecord{
		Credential: h.credential, Index: h.index, Path: h.path, Batch: h.batch.raw, Signatures: h.batch.signatures,
	})
	return raw, err == nil
}

// Root returns a hash over the ids of all records: equal rosters have equal
// roots.
func (r *Roster) Root() crypto.Hash {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rootDue {
		h := sha256.New()
		h.Write(crypto.Context("roster", r.region))
		for _, id := range r.ids() {
			h.Write(id[:])
		}
		r.root, r.rootDue = crypto.Hash(h.Sum(nil)), false
	}
	return r.root
}
