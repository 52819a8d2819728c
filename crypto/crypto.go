// Package crypto is Watchward's vocabulary of what is signed: identities under
// one composite signature suite, and envelopes of opaque items. It knows
// nothing of indicators or hospitals, which keeps the trusted core small.
//
// All hashes are SHA-256 and every signature and identifying hash carries a
// context that names protocol version, purpose and region, so that bytes made
// for one purpose prove nothing in another. See DESIGN.md.
package crypto

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// Version is the protocol version of headers and contexts.
const Version = 0

// A Hash is a SHA-256 digest.
type Hash [32]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// A Region is named by the hash of its genesis charter.
type Region Hash

func (r Region) String() string { return hex.EncodeToString(r[:]) }

// A MemberID is the hash of a member's first public key. It stays when the
// member's key is superseded.
type MemberID Hash

func (m MemberID) String() string { return hex.EncodeToString(m[:]) }

// An EnvelopeID is the hash of an envelope's header.
type EnvelopeID Hash

func (e EnvelopeID) String() string { return hex.EncodeToString(e[:]) }

// An ItemID names one item of one author, whatever envelope carries it:
// the first 20 bytes of SHA-256(author ‖ leaf hash).
type ItemID [20]byte

func (i ItemID) String() string { return hex.EncodeToString(i[:]) }

// NewItemID returns the id of author's item with the given leaf hash.
func NewItemID(author MemberID, leaf Hash) ItemID {
	var buf [64]byte
	copy(buf[:32], author[:])
	copy(buf[32:], leaf[:])
	sum := sha256.Sum256(buf[:])
	return ItemID(sum[:20])
}

// ParseItemID reads the 40 hexadecimal digits of an item's id.
func ParseItemID(s string) (ItemID, error) {
	var id ItemID
	if len(s) != 2*len(id) {
		return id, fmt.Errorf("id %q has %d characters: want 40 hexadecimal digits", shorten(s), len(s))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return id, fmt.Errorf("id %q: want 40 hexadecimal digits", shorten(s))
	}
	return id, nil
}

func shorten(s string) string {
	if len(s) > 48 {
		return s[:48] + "…"
	}
	return s
}

// NewMemberID returns the id of the member whose first public key is key.
func NewMemberID(key *PublicKey) MemberID {
	return MemberID(SumContext("member", Region{}, key.Bytes()))
}

// Context returns the domain separation string of a purpose within a region:
// "watchward/<version>/<purpose>/" followed by the region's 32 bytes. The zero
// region stands for purposes that belong to none.
func Context(purpose string, region Region) []byte {
	out := make([]byte, 0, 64+len(purpose))
	out = fmt.Appendf(out, "watchward/%d/%s/", Version, purpose)
	return append(out, region[:]...)
}

// SumContext hashes data for a purpose within a region.
func SumContext(purpose string, region Region, data []byte) Hash {
	h := sha256.New()
	context := Context(purpose, region)
	h.Write([]byte{byte(len(context))}) // no context is a prefix of another's input
	h.Write(context)
	h.Write(data)
	return Hash(h.Sum(nil))
}

// An Audience says how far an envelope may travel. The numbers are wire format.
type Audience uint8

const (
	AudienceLocal     Audience = 0 // never leaves the node and has no envelope
	AudienceNamed     Audience = 1 // sealed for named members
	AudienceRegion    Audience = 2 // members of the author's region
	AudienceCommunity Audience = 3 // members of every mutually endorsed region
)

func (a Audience) String() string {
	switch a {
	case AudienceLocal:
		return "local"
	case AudienceNamed:
		return "named"
	case AudienceRegion:
		return "region"
	case AudienceCommunity:
		return "community"
	}
	return fmt.Sprintf("audience(%d)", uint8(a))
}
