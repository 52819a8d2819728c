package trust

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/keyfile"
)

// A Credential is the coordinators' word that a member owns its keys. Those
// from a Roster are shared and must not be changed. Times are milliseconds
// since 1970. The field numbers are wire format.
type Credential struct {
	Version   uint8           `cbor:"1,keyasint"`
	Region    crypto.Region   `cbor:"2,keyasint"`
	Member    crypto.MemberID `cbor:"3,keyasint"` // hash of the member's first key
	Serial    uint32          `cbor:"4,keyasint"` // 1 with the first key; each new key needs a new one
	Key       []byte          `cbor:"5,keyasint"` // composite public key, 1984 bytes
	SealKey   []byte          `cbor:"6,keyasint"` // X-Wing public key, 1216 bytes
	Peer      []byte          `cbor:"7,keyasint"` // libp2p peer id, 38 bytes
	Name      string          `cbor:"8,keyasint"`
	Role      Role            `cbor:"9,keyasint"`
	NotBefore int64           `cbor:"10,keyasint"`
	NotAfter  int64           `cbor:"11,keyasint"`

	admitted int64       // time of the batch it was signed in
	record   crypto.Hash // id of the record it came in
}

// ValidAt reports whether t, in ms since 1970, lies within the credential's
// validity. Both ends belong to it.
func (c *Credential) ValidAt(t int64) bool { return c.NotBefore <= t && t <= c.NotAfter }

// RecordID returns the id of the record that proves the credential, by which
// Roster.Record finds the bytes to show to others.
func (c *Credential) RecordID() crypto.Hash { return c.record }

// A Grant says under which terms a request is admitted.
type Grant struct {
	Request   *Request        // from ParseRequest, which verified its proofs
	Role      Role            // 0 means hospital
	Serial    uint32          // 0 means 1
	Member    crypto.MemberID // needed for serials above 1; 0 otherwise
	NotBefore int64           // ms since 1970
	NotAfter  int64           // ms since 1970
}

// A Batch is a set of credentials that waits for coordinators' signatures. One
// signature covers them all: they are the leaves of a Merkle tree.
type Batch struct {
	charter     *Charter
	credentials [][]byte
	tree        *crypto.Tree
	raw         []byte // encoded batchHeader
	signatures  []signature
}

// batchHeader is what coordinators sign under the context "admission".
type batchHeader struct {
	Version uint8         `cbor:"1,keyasint"`
	Region  crypto.Region `cbor:"2,keyasint"`
	Charter crypto.Hash   `cbor:"3,keyasint"` // under whose coordinators and threshold
	Time    int64         `cbor:"4,keyasint"` // ms since 1970
	Count   uint32        `cbor:"5,keyasint"` // credentials
	Root    crypto.Hash   `cbor:"6,keyasint"` // RFC 6962 root over the credentials
}

type credentialRecord struct {
	Credential []byte        `cbor:"1,keyasint"`
	Index      uint32        `cbor:"2,keyasint"`
	Path       []crypto.Hash `cbor:"3,keyasint,omitempty"` // empty in a batch of one
	Batch      []byte        `cbor:"4,keyasint"`
	Signatures []signature   `cbor:"5,keyasint"`
}

// NewBatch prepares credentials for 1 to BatchMax grants. now is in ms since
// 1970; where a member has several credentials of one serial, the one of the
// latest batch counts.
func NewBatch(charter *Charter, grants []Grant, now int64) (*Batch, error) {
	if len(grants) == 0 || len(grants) > BatchMax {
		return nil, fmt.Errorf("%d members to admit, want 1 to %d", len(grants), BatchMax)
	}
	b := &Batch{charter: charter}
	leaves := make([]crypto.Hash, len(grants))
	for i, g := range grants {
		if g.Request == nil {
			return nil, fmt.Errorf("admit member %d: no request", i+1)
		}
		raw, err := g.encode(charter.Region(), now)
		if err != nil {
			return nil, fmt.Errorf("admit %q: %w", g.Request.Name, err)
		}
		b.credentials = append(b.credentials, raw)
		leaves[i] = crypto.LeafHash(raw)
	}
	var err error
	if b.tree, err = crypto.NewTree(leaves); err != nil {
		return nil, err
	}
	root, err := b.tree.Root()
	if err != nil {
		return nil, err
	}
	b.raw, err = canon.Marshal(batchHeader{
		Version: Version, Region: charter.Region(), Charter: charter.Hash(), Time: now, Count: uint32(len(grants)), Root: root,
	})
	return b, err
}

func (g Grant) encode(region crypto.Region, now int64) ([]byte, error) {
	key, err := crypto.ParsePublicKey(g.Request.Key)
	if err != nil {
		return nil, err
	}
	c := Credential{
		Version: Version, Region: region, Member: g.Member, Serial: max(g.Serial, 1),
		Key: g.Request.Key, SealKey: g.Request.SealKey, Peer: g.Request.Peer,
		Name: g.Request.Name, Role: max(g.Role, RoleHospital), NotBefore: g.NotBefore, NotAfter: g.NotAfter,
	}
	if c.Serial == 1 {
		c.Member = crypto.NewMemberID(key)
	}
	if c.NotAfter <= now {
		return nil, errors.New("the credential would have expired already")
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return canon.Marshal(c)
}

// Sign adds the signature of one of the charter's coordinators.
func (b *Batch) Sign(key *crypto.PrivateKey) error {
	list, err := addSignature(b.signatures, b.charter.Coordinators, admissionContext(b.charter.Region()), b.raw, key)
	if err != nil {
		return fmt.Errorf("sign admission: %w", err)
	}
	b.signatures = list
	return nil
}

// Records returns one record a grant, in the grants' order, as soon as enough
// coordinators have signed.
func (b *Batch) Records() ([][]byte, error) {
	if len(b.signatures) < int(b.charter.Threshold) {
		return nil, fmt.Errorf("%w: %d, the charter wants %d", ErrThreshold, len(b.signatures), b.charter.Threshold)
	}
	out := make([][]byte, len(b.credentials))
	for i, raw := range b.credentials {
		path, err := b.tree.Prove(i)
		if err != nil {
			return nil, err
		}
		out[i], err = encodeRecord(typeCredential, credentialRecord{
			Credential: raw, Index: uint32(i), Path: path, Batch: b.raw, Signatures: b.signatures,
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Admit is NewBatch, Sign with every key, and Records in one.
func Admit(charter *Charter, keys []*crypto.PrivateKey, grants []Grant, now int64) ([][]byte, error) {
	b, err := NewBatch(charter, grants, now)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if err := b.Sign(key); err != nil {
			return nil, err
		}
	}
	return b.Records()
}

func admissionContext(region crypto.Region) []byte { return crypto.Context("admission", region) }

// parseCredential decodes and checks a credential, but not who signed it. The
// keys are parsed on first use only: 15,000 parsed keys are 600 MB.
func parseCredential(raw []byte, region crypto.Region) (*Credential, error) {
	c := &Credential{}
	if err := canon.Unmarshal(raw, c); err != nil {
		return nil, fmt.Errorf("credential: %w", err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("credential: %w", err)
	}
	if c.Region != region {
		return nil, fmt.Errorf("credential: %w", ErrRegion)
	}
	c.Key, c.SealKey, c.Peer = share(raw, c.Key), share(raw, c.SealKey), share(raw, c.Peer)
	return c, nil
}

// share returns the place within whole that holds the same bytes as part. A
// roster keeps the signed bytes anyway; with this it holds the keys once.
func share(whole, part []byte) []byte {
	at := bytes.Index(whole, part)
	if at < 0 {
		return part
	}
	return whole[at : at+len(part) : at+len(part)]
}

func (c *Credential) check() error {
	if err := checkName(c.Name); err != nil {
		return err
	}
	if _, err := checkPeerID(c.Peer); err != nil {
		return err
	}
	switch {
	case c.Version != Version:
		return fmt.Errorf("version %d, this build knows %d", c.Version, Version)
	case len(c.Key) != crypto.PublicKeySize:
		return fmt.Errorf("the key has %d bytes: want %d", len(c.Key), crypto.PublicKeySize)
	case len(c.SealKey) != keyfile.SealKeySize:
		return fmt.Errorf("the seal key has %d bytes: want %d", len(c.SealKey), keyfile.SealKeySize)
	case !c.Role.known():
		return fmt.Errorf("unknown role %d", c.Role)
	case c.NotBefore < 0 || c.NotAfter < c.NotBefore:
		return errors.New("valid until before it is valid from")
	case c.Serial == 0:
		return errors.New("serials start at 1")
	case c.Member == crypto.MemberID{}:
		return errors.New("serials above 1 need the member's id")
	case c.Serial == 1 && c.Member != memberOf(c.Key):
		return errors.New("the member id is not the hash of the first key")
	}
	return nil
}

// memberOf is crypto.NewMemberID without parsing the key.
func memberOf(key []byte) crypto.MemberID {
	return crypto.MemberID(crypto.SumContext("member", crypto.Region{}, key))
}

func parseBatch(raw []byte) (*batchHeader, error) {
	b := &batchHeader{}
	if err := canon.Unmarshal(raw, b); err != nil {
		return nil, fmt.Errorf("batch: %w", err)
	}
	switch {
	case b.Version != Version:
		return nil, fmt.Errorf("batch: version %d, this build knows %d", b.Version, Version)
	case b.Count == 0 || b.Count > BatchMax:
		return nil, fmt.Errorf("batch: %d credentials, want 1 to %d", b.Count, BatchMax)
	case b.Time < 0:
		return nil, errors.New("batch: signed before 1970")
	}
	return b, nil
}

// check proves that the record's credential is leaf Index of its batch.
func (r *credentialRecord) check(b *batchHeader) error {
	if len(r.Path) > pathMax {
		return fmt.Errorf("the path has %d hashes: at most %d", len(r.Path), pathMax)
	}
	if err := crypto.CheckProof(r.Path, int(b.Count), int(r.Index), b.Root, crypto.LeafHash(r.Credential)); err != nil {
		return fmt.Errorf("credential: %w", err)
	}
	return nil
}
