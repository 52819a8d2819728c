// Package invitation is the short text by which a hospital finds a region: which
// one it is, where its coordinator's node can be dialled, and a secret that is good
// for one request. It survives e-mail, a phone and a QR code.
//
// The text is "ww1" and RFC 4648 base32 without padding of deterministic CBOR and
// four bytes of its SHA-256. Case, blanks, line breaks and hyphens do not matter.
package invitation

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	p2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
)

// Limits of an invitation.
const (
	SeedsMax   = 3   // addresses
	SecretSize = 16  // bytes
	IDSize     = 8   // bytes
	textMax    = 600 // characters, blanks apart: what fits a QR code that a phone reads from a screen
	addrMax    = 100 // bytes of one address
)

const (
	prefix    = "ww1"
	checkSize = 4 // bytes
)

// An Invitation is what a coordinator's node made for one hospital.
type Invitation struct {
	Region  crypto.Region // hash of the genesis charter: pins who may admit
	Seeds   []string      // multiaddresses that end in /p2p/ID
	Expires time.Time     // to the second
	Secret  [SecretSize]byte
}

// body is what the text holds. The field numbers are format.
type body struct {
	Region  crypto.Region `cbor:"1,keyasint"`
	Seeds   []seed        `cbor:"2,keyasint"`
	Expires int64         `cbor:"3,keyasint"` // s since 1970
	Secret  []byte        `cbor:"4,keyasint"`
}

// A seed is one node. Its addresses are binary multiaddresses.
type seed struct {
	Peer  []byte   `cbor:"1,keyasint"` // Ed25519 key
	Addrs [][]byte `cbor:"2,keyasint"`
}

var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// String returns the text, in capitals: so a QR code takes it as alphanumeric,
// which is half the size. It returns "" for an invitation that Parse would refuse.
func (i Invitation) String() string {
	b := body{Region: i.Region, Expires: i.Expires.Unix(), Secret: i.Secret[:]}
	for _, s := range i.Seeds {
		key, addr, err := split(s)
		if err != nil {
			return ""
		}
		if n := len(b.Seeds); n > 0 && bytes.Equal(b.Seeds[n-1].Peer, key) {
			b.Seeds[n-1].Addrs = append(b.Seeds[n-1].Addrs, addr)
			continue
		}
		b.Seeds = append(b.Seeds, seed{Peer: key, Addrs: [][]byte{addr}})
	}
	raw, err := canon.Marshal(b)
	if err != nil || b.check() != nil {
		return ""
	}
	return strings.ToUpper(prefix) + encoding.EncodeToString(append(raw, check(raw)...))
}

// split cuts a seed into its Ed25519 key and its binary address.
func split(s string) (key, addr []byte, err error) {
	info, err := peer.AddrInfoFromString(s)
	if err != nil {
		return nil, nil, err
	}
	if len(info.Addrs) != 1 {
		return nil, nil, fmt.Errorf("%q has no address before /p2p", s)
	}
	public, err := info.ID.ExtractPublicKey()
	if err != nil {
		return nil, nil, err
	}
	if key, err = public.Raw(); err != nil || public.Type() != p2pcrypto.Ed25519 {
		return nil, nil, fmt.Errorf("%q has no Ed25519 peer id", s)
	}
	return key, info.Addrs[0].Bytes(), nil
}

func check(raw []byte) []byte {
	sum := sha256.Sum256(append([]byte(prefix), raw...))
	return sum[:checkSize]
}

// Parse reads an invitation as somebody typed or pasted it. It does not look at
// the clock: see Expired.
func Parse(text string) (Invitation, error) {
	bare := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || r == '-' || r == '\u00ad' || r == '\u200b' {
			return -1
		}
		return unicode.ToUpper(r)
	}, text)
	rest, ok := strings.CutPrefix(bare, strings.ToUpper(prefix))
	switch {
	case !ok && len(bare) > len(prefix) && strings.HasPrefix(bare, "WW") && unicode.IsDigit(rune(bare[2])):
		return Invitation{}, fmt.Errorf("this invitation is of version %c, and this build of watchward knows 1: install the version that the coordinator has", bare[2])
	case !ok:
		return Invitation{}, errors.New("this is no invitation: it begins with ww1, as watchward region invite prints it")
	case len(rest) > textMax:
		return Invitation{}, fmt.Errorf("the invitation has %d characters, at most %d: is something pasted behind it, or is it there twice?", len(rest)+len(prefix), textMax+len(prefix))
	}
	if at := strings.IndexFunc(rest, func(r rune) bool { return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", r) }); at >= 0 {
		bad := []rune(rest[at:])[0]
		return Invitation{}, fmt.Errorf("the invitation has the character %q at place %d, and only letters and 2 to 7 may stand there: compare it with what the coordinator sent", bad, len([]rune(rest[:at]))+len(prefix)+1)
	}
	raw, err := encoding.DecodeString(rest)
	if err != nil || len(raw) <= checkSize || encoding.EncodeToString(raw) != rest || !bytes.Equal(check(raw[:len(raw)-checkSize]), raw[len(raw)-checkSize:]) {
		return Invitation{}, errors.New("the invitation has a mistake: a character is missing or wrong; copy it whole, or ask for it again")
	}
	var b body
	if err := canon.Unmarshal(raw[:len(raw)-checkSize], &b); err != nil {
		return Invitation{}, fmt.Errorf("the invitation is damaged: ask for a new one (%w)", err)
	}
	if err := b.check(); err != nil {
		return Invitation{}, fmt.Errorf("the invitation is damaged: ask for a new one (%w)", err)
	}
	i := Invitation{Region: b.Region, Expires: time.Unix(b.Expires, 0).UTC(), Secret: [SecretSize]byte(b.Secret)}
	for _, s := range b.Seeds {
		if i.Seeds, err = s.append(i.Seeds); err != nil {
			return Invitation{}, fmt.Errorf("the invitation names an address that this build cannot read: ask for a new one (%w)", err)
		}
	}
	if i.String() != bare { // one invitation has one text
		return Invitation{}, errors.New("the invitation is damaged: ask for a new one")
	}
	return i, nil
}

func (b *body) check() error {
	n := 0
	for _, s := range b.Seeds {
		if len(s.Peer) != ed25519.PublicKeySize || len(s.Addrs) == 0 {
			return errors.New("a node without key or address")
		}
		for _, a := range s.Addrs {
			if len(a) == 0 || len(a) > addrMax {
				return fmt.Errorf("an address of %d bytes", len(a))
			}
			n++
		}
	}
	switch {
	case n == 0 || n > SeedsMax:
		return fmt.Errorf("%d addresses, want 1 to %d", n, SeedsMax)
	case len(b.Secret) != SecretSize:
		return fmt.Errorf("a secret of %d bytes, want %d", len(b.Secret), SecretSize)
	case b.Expires <= 0 || b.Expires > 253402300799: // year 9999
		return errors.New("an expiry that is no time")
	}
	return nil
}

// append adds the seed's addresses as text.
func (s seed) append(to []string) ([]string, error) {
	key, err := p2pcrypto.UnmarshalEd25519PublicKey(s.Peer)
	if err != nil {
		return nil, err
	}
	id, err := peer.IDFromPublicKey(key)
	if err != nil {
		return nil, err
	}
	for _, raw := range s.Addrs {
		addr, err := multiaddr.NewMultiaddrBytes(raw)
		if err != nil {
			return nil, err
		}
		to = append(to, addr.String()+"/p2p/"+id.String())
	}
	return to, nil
}

// Expired reports why an invitation is too old at a time, nil if it is not.
func (i Invitation) Expired(now time.Time) error {
	if now.Before(i.Expires) {
		return nil
	}
	return fmt.Errorf("the invitation expired on %s (this machine's clock says %s): ask the coordinator for a new one",
		i.Expires.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
}

// A Key proves that somebody holds an invitation's secret. It is a hash of it, and
// what the coordinator's node keeps: the secret itself is nowhere but in the text.
type Key [sha256.Size]byte

// Key returns the invitation's key.
func (i Invitation) Key() Key {
	return Key(crypto.SumContext("invitation", i.Region, i.Secret[:]))
}

// ID returns the name of the key's invitation, which is no secret.
func (k Key) ID() [IDSize]byte {
	sum := crypto.SumContext("invitation-id", crypto.Region{}, k[:])
	return [IDSize]byte(sum[:])
}

// Prove returns the proof that goes along with a join request.
func (k Key) Prove(request []byte) []byte {
	h := hmac.New(sha256.New, k[:])
	h.Write(request)
	return h.Sum(nil)
}
