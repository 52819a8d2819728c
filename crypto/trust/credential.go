package trust

import (
	"bytes"
	"errors"
	"fmt"
	"time"

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
	Ledger    []byte          `cbor:"12,keyasint,omitempty"` // ledger keys, 1344 bytes; nil = it has none

	batch  *verifiedBatch // it was signed in
	record crypto.Hash    // id of the record it came in
}

// Charter returns the hash of the charter under which the credential was signed, zero
// for one that is not in a roster.
func (c *Credential) Charter() crypto.Hash {
	if c.batch == nil {
		return crypto.Hash{}
	}
	return c.batch.header.Charter
}

// Grace is how long an expired credential goes on to count, marked: a region
// whose coordinators do not come together must not fall silent.
const Grace = 90 * 24 * time.Hour

// ValidAt reports whether t, in ms since 1970, lies within the credential's
// validity. Both ends belong to it.
func (c *Credential) ValidAt(t int64) bool { return c.NotBefore <= t && t <= c.NotAfter }

// GraceAt reports whether t, in ms since 1970, lies in the Grace after the
// credential's end.
func (c *Credential) GraceAt(t int64) bool {
	return c.NotAfter < t && t-c.NotAfter <= Grace.Milliseconds()
}

// KeyID returns the hash of the credential's key, by which a Revocation names it.
func (c *Credential) KeyID() crypto.MemberID {
	if c.Serial == 1 {
		return c.Member
	}
	return memberOf(c.Key)
}

// SameKeys reports whether both bind the same keys to the same member.
func (c *Credential) SameKeys(d *Credential) bool {
	return c.Member == d.Member && c.Serial == d.Serial && bytes.Equal(c.Key, d.Key) && bytes.Equal(c.SealKey, d.SealKey) && bytes.Equal(c.Peer, d.Peer) && bytes.Equal(c.Ledger, d.Ledger)
}

// asks reports whether the request proves possession of the credential's keys.
func (r *Request) asks(c *Credential) bool {
	return bytes.Equal(r.Key, c.Key) && bytes.Equal(r.SealKey, c.SealKey) && bytes.Equal(r.Peer, c.Peer) && bytes.Equal(r.Ledger, c.Ledger)
}

// RecordID returns the id of the record that proves the credential, by which
// Roster.Record finds the bytes to show to others.
func (c *Credential) RecordID() crypto.Hash { return c.record }

// A Grant says under which terms somebody is admitted, or a credential renewed.
type Grant struct {
	Request   *Request        // from ParseRequest, which verified its proofs; nil to renew
	Renews    *Credential     // whose keys, name, serial and member are taken over, and its role unless Role says another
	Role      Role            // 0 means hospital
	Serial    uint32          // 0 means 1
	Member    crypto.MemberID // needed for serials above 1; 0 otherwise
	NotBefore int64           // ms since 1970
	NotAfter  int64           // ms since 1970
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

// Admission returns the statement that admits 1 to BatchMax members, under a
// charter. One signature covers them all: their credentials are the leaves of a
// Merkle tree. now is in ms since 1970; where a member has several credentials
// of one serial, the one of the latest batch counts.
func Admission(charter *Charter, grants []Grant, now int64) (Statement, error) {
	if len(grants) == 0 || len(grants) > BatchMax {
		return Statement{}, fmt.Errorf("%d members to admit, want 1 to %d", len(grants), BatchMax)
	}
	st := Statement{Type: typeCredential}
	for i, g := range grants {
		raw, err := g.encode(charter.Region(), now)
		if err != nil {
			return Statement{}, fmt.Errorf("admit member %d: %w", i+1, err)
		}
		st.Credentials = append(st.Credentials, raw)
		if g.Request != nil {
			st.Requests = append(st.Requests, g.Request.raw)
		}
	}
	tree, err := crypto.NewTree(leaves(st.Credentials))
	if err != nil {
		return Statement{}, err
	}
	root, err := tree.Root()
	if err != nil {
		return Statement{}, err
	}
	st.Body, err = canon.Marshal(batchHeader{
		Version: Version, Region: charter.Region(), Charter: charter.Hash(), Time: now, Count: uint32(len(grants)), Root: root,
	})
	return st, err
}

func leaves(credentials [][]byte) []crypto.Hash {
	out := make([]crypto.Hash, len(credentials))
	for i, raw := range credentials {
		out[i] = crypto.LeafHash(raw)
	}
	return out
}

func (g Grant) encode(region crypto.Region, now int64) ([]byte, error) {
	c := Credential{Version: Version, Region: region, NotBefore: g.NotBefore, NotAfter: g.NotAfter}
	switch {
	case g.Renews != nil:
		o := g.Renews
		c.Member, c.Serial, c.Key, c.SealKey, c.Peer, c.Ledger, c.Name, c.Role = o.Member, o.Serial, o.Key, o.SealKey, o.Peer, o.Ledger, o.Name, o.Role
		if g.Role != 0 {
			c.Role = g.Role
		}
	case g.Request != nil:
		r := g.Request
		c.Key, c.SealKey, c.Peer, c.Ledger, c.Name, c.Role = r.Key, r.SealKey, r.Peer, r.Ledger, r.Name, max(g.Role, RoleHospital)
		c.Serial, c.Member = max(g.Serial, 1), g.Member
		if c.Serial == 1 {
			c.Member = memberOf(c.Key)
		}
	default:
		return nil, errors.New("no request")
	}
	if c.NotAfter <= now {
		return nil, fmt.Errorf("the credential of %q would have expired already", c.Name)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%q: %w", c.Name, err)
	}
	return canon.Marshal(c)
}

// Admit is the act of an Admission, by the keys of enough coordinators: one
// record a grant, in the grants' order.
func Admit(charter *Charter, keys []*crypto.PrivateKey, grants []Grant, now int64) ([][]byte, error) {
	st, err := Admission(charter, grants, now)
	if err != nil {
		return nil, err
	}
	return Act(charter, keys, now, st)
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
	if c.Ledger != nil {
		c.Ledger = share(raw, c.Ledger)
	}
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
	case len(c.Ledger) != 0 && len(c.Ledger) != crypto.LedgerPublicSize:
		return fmt.Errorf("the ledger keys have %d bytes: want %d", len(c.Ledger), crypto.LedgerPublicSize)
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
