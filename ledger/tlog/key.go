package tlog

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/cloudflare/circl/sign/mldsa/mldsa44"

	"github.com/watchward/watchward/crypto"
)

// A Kind is what a key's signatures are: the type byte of signed-note.
type Kind uint8

const (
	KindLog         Kind = 0x01 // Ed25519 over the text
	KindCosignature Kind = 0x04 // Ed25519 with a time, cosignature/v1
	KindMLDSA44     Kind = 0x06 // ML-DSA-44 with a time, subtree/v1
)

// ErrNoLine says that a key has no signature in a note.
var ErrNoLine = errors.New("no signature by this key")

// ErrLine says that a note has a signature in the name of a key which that key did not
// make.
var ErrLine = errors.New("the signature is not by the key that it names")

// timeMax is the last second that a cosignature may name: later ones have no form in
// RFC 3339.
const timeMax = 253402300799

// A Key verifies the lines of one kind of one signer. It is immutable and safe for
// concurrent use; one of ML-DSA-44 takes some 20 KB.
type Key struct {
	name   string
	id     uint32
	kind   Kind
	public []byte
	mldsa  *mldsa44.PublicKey // parsed once: that is half the work of a verification
}

// KeyOf returns the key of a kind among a member's ledger keys, under a name: the
// origin for KindLog, else the one from Cosigner.
func KeyOf(name string, kind Kind, public crypto.LedgerPublic) (*Key, error) {
	if kind == KindMLDSA44 {
		return newKey(name, kind, public.MLDSA44)
	}
	return newKey(name, kind, public.Ed25519)
}

// ParseKey reads a vkey string: NAME+ID+BASE64.
func ParseKey(vkey string) (*Key, error) {
	name, rest, _ := strings.Cut(vkey, "+")
	id, encoded, _ := strings.Cut(rest, "+")
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(raw) == 0 {
		return nil, errors.New("a verifier key has the form NAME+ID+BASE64")
	}
	k, err := newKey(name, Kind(raw[0]), raw[1:])
	if err != nil {
		return nil, err
	}
	if k.String() != vkey {
		return nil, fmt.Errorf("verifier key of %q: its id is %08x, not %q", name, k.id, id)
	}
	return k, nil
}

func newKey(name string, kind Kind, public []byte) (*Key, error) {
	k := &Key{name: name, kind: kind, public: public}
	if !validName(name) || len(name) > math.MaxUint8 {
		return nil, fmt.Errorf("verifier key: %q is no name: 1 to 255 bytes without spaces and plus signs", name)
	}
	switch kind {
	case KindLog, KindCosignature:
		if err := crypto.CheckEd25519(public); err != nil {
			return nil, fmt.Errorf("verifier key of %q: %w", name, err)
		}
	case KindMLDSA44:
		k.mldsa = new(mldsa44.PublicKey)
		if err := k.mldsa.UnmarshalBinary(public); err != nil {
			return nil, fmt.Errorf("verifier key of %q: ML-DSA-44: %w", name, err)
		}
	default:
		return nil, fmt.Errorf("verifier key of %q: type %#02x is not known here: want 0x01, 0x04 or 0x06", name, uint8(kind))
	}
	h := sha256.New()
	h.Write([]byte(name))
	h.Write([]byte{'\n', byte(kind)})
	h.Write(public)
	k.id = binary.BigEndian.Uint32(h.Sum(nil))
	return k, nil
}

// String returns the vkey by which the tools of others know the key.
func (k *Key) String() string {
	return fmt.Sprintf("%s+%08x+%s", k.name, k.id, base64.StdEncoding.EncodeToString(append([]byte{byte(k.kind)}, k.public...)))
}

// Name returns the name under which the key signs.
func (k *Key) Name() string { return k.name }

// Kind returns what the key's signatures are.
func (k *Key) Kind() Kind { return k.kind }

// Made reports whether a line names this key. It does not say that the signature holds.
func (k *Key) Made(l Line) bool { return l.ID == k.id && l.Name == k.name }

// Verify checks the key's line in a note. It returns the time in it, which is zero for
// KindLog. The error is ErrNoLine, or wraps ErrLine or ErrNote.
func (k *Key) Verify(n *Note) (at time.Time, err error) {
	line := n.line(k.name, k.id)
	if line == nil {
		return at, ErrNoLine
	}
	c, err := n.Checkpoint()
	if err != nil {
		return at, err
	}
	sig := line.Sig
	if k.kind != KindLog {
		if len(sig) < 8 || binary.BigEndian.Uint64(sig) > timeMax {
			return at, fmt.Errorf("%w: no time in it", ErrLine)
		}
		at, sig = time.Unix(int64(binary.BigEndian.Uint64(sig)), 0), sig[8:]
	}
	message, ok := k.message(c, at), false
	if k.kind == KindMLDSA44 {
		ok = len(sig) == mldsa44.SignatureSize && mldsa44.Verify(k.mldsa, message, nil, sig)
	} else {
		ok = ed25519.Verify(k.public, message, sig)
	}
	if !ok {
		return time.Time{}, ErrLine
	}
	return at, nil
}

// sign returns what stands in the key's line.
func (k *Key) sign(c Checkpoint, key *crypto.LedgerKey, at time.Time) ([]byte, error) {
	if k.kind == KindLog {
		return key.SignEd25519(k.message(c, at)), nil
	}
	if at.Unix() <= 0 || at.Unix() > timeMax {
		return nil, fmt.Errorf("sign a checkpoint: the time %s has no place in a cosignature: set the clock", at)
	}
	sig := binary.BigEndian.AppendUint64(nil, uint64(at.Unix()))
	if k.kind == KindCosignature {
		return append(sig, key.SignEd25519(k.message(c, at))...), nil
	}
	mldsa, err := key.SignMLDSA44(k.message(c, at), nil)
	return append(sig, mldsa...), err
}

// message returns the bytes that the key signs (c2sp.org/signed-note and
// c2sp.org/tlog-cosignature).
func (k *Key) message(c Checkpoint, at time.Time) []byte {
	switch k.kind {
	case KindCosignature:
		return []byte("cosignature/v1\ntime " + strconv.FormatInt(at.Unix(), 10) + "\n" + c.Text())
	case KindMLDSA44: // the struct cosigned_message, of the whole tree
		out := append([]byte("subtree/v1\n\x00"), byte(len(k.name)))
		out = append(out, k.name...)
		out = binary.BigEndian.AppendUint64(out, uint64(at.Unix()))
		out = append(append(out, byte(len(c.Origin))), c.Origin...)
		out = binary.BigEndian.AppendUint64(out, 0)
		out = binary.BigEndian.AppendUint64(out, c.Size)
		return append(out, c.Root[:]...)
	}
	return []byte(c.Text())
}
