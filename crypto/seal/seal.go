// Package seal encrypts for named members: HPKE (RFC 9180, base mode) with
// X-Wing wraps one content key for each recipient, and the content follows in
// chunks, so that a sealed gigabyte needs kilobytes of memory. Whoever alters,
// drops, repeats, reorders or cuts off anything makes opening fail there.
//
// A box says whom it is for by member id, 32 bytes in clear, and how long the
// content is; nothing else. It does not say who sealed it: HPKE's base mode
// proves no sender, so what is inside must carry its own signatures.
//
// The layout, all sizes in bytes, numbers big-endian:
//
//	version 1 ‖ recipients 2 ‖ recipients × (member 32 ‖ enc 1120 ‖ wrapped key 48) ‖ mac 32
//	chunks × (last flag and length 4 ‖ ciphertext of length+16)
//
// Recipients are sorted by member id, without repetition. All chunks but the
// last hold ChunkSize bytes; the last may be empty only if it is the first.
// See DESIGN.md of package crypto.
package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cloudflare/circl/hpke"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
)

// Version is the version of the layout and of every key's derivation.
const Version = 0

// Limits and sizes, in bytes where not said otherwise.
const (
	RecipientsMax = 16_384   // members of one box
	ChunkSize     = 64 << 10 // content of every chunk but the last
	chunksMax     = 1 << 32  // of one box: 256 TiB

	headSize    = 3
	encSize     = 1120 // X-Wing ciphertext
	keySize     = 32   // AES-256
	tagSize     = 16
	stanzaSize  = memberSize + encSize + keySize + tagSize
	memberSize  = len(crypto.MemberID{})
	macSize     = sha256.Size
	lengthSize  = 4
	lastChunk   = 1 << 31
	nonceSize   = 12
	lastInNonce = nonceSize - 1
)

// ErrDamaged says that a box, or a part of it, is not what was sealed under
// this label for this member.
var ErrDamaged = errors.New("what is sealed was changed, or belongs elsewhere")

// NotRecipientError says that a box is for others.
type NotRecipientError struct {
	Recipients []crypto.MemberID // as the box says, unproven
}

func (e *NotRecipientError) Error() string {
	return fmt.Sprintf("it is sealed for %d others, not for this member", len(e.Recipients))
}

// A Label says what a box is. It is not in the box: whoever opens it must know
// it, and with another label nothing opens.
type Label struct {
	Purpose string        // a word of the protocol
	Region  crypto.Region // of the recipients
	TLP     uint8         // the strictest marking of the content
	Bound   []byte        // what goes along in clear and must not be exchanged
}

// context separates the keys of one label from those of all others.
func (l Label) context() []byte {
	bound := sha256.Sum256(l.Bound)
	return append(append(crypto.Context("seal/"+l.Purpose, l.Region), l.TLP), bound[:]...)
}

// A Recipient is a member that a box is for.
type Recipient struct {
	Member crypto.MemberID
	Key    []byte // X-Wing public key, keyfile.SealKeySize bytes, of its credential
}

// CheckKey reports why nobody can seal for a key.
func CheckKey(key []byte) error {
	if len(key) != keyfile.SealKeySize {
		return fmt.Errorf("the seal key has %d bytes: want %d", len(key), keyfile.SealKeySize)
	}
	if _, err := hpke.KEM_XWING.Scheme().UnmarshalBinaryPublicKey(key); err != nil {
		return fmt.Errorf("the seal key is none: %w", err)
	}
	return nil
}

// Overhead returns how many bytes a box for so many recipients adds to so many
// bytes of content.
func Overhead(recipients int, content int64) int64 {
	chunks := max(1, (content+ChunkSize-1)/ChunkSize)
	return headSize + int64(recipients)*int64(stanzaSize) + macSize + chunks*(lengthSize+tagSize)
}

// Seal returns content sealed for members.
func Seal(label Label, to []Recipient, content []byte) ([]byte, error) {
	var box bytes.Buffer
	box.Grow(len(content) + int(Overhead(len(to), int64(len(content)))))
	w, err := NewWriter(&box, label, to)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(content)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	return box.Bytes(), nil
}

// Open returns the content of a box that is sealed for member, whose X-Wing
// seed is given. The error wraps ErrDamaged, io.ErrUnexpectedEOF or a
// *NotRecipientError.
func Open(label Label, member crypto.MemberID, seed [keyfile.SeedSize]byte, box []byte) ([]byte, error) {
	rest := bytes.NewReader(box)
	r, err := NewReader(rest, label, member, seed)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	if err == nil && rest.Len() > 0 {
		err = fmt.Errorf("%w: %d bytes follow", ErrDamaged, rest.Len())
	}
	if err != nil {
		return nil, err
	}
	return content, nil
}

// suite is fixed: there is nothing to negotiate.
var suite = hpke.NewSuite(hpke.KEM_XWING, hpke.KDF_HKDF_SHA256, hpke.AEAD_AES256GCM)

// wrap makes the stanza of one recipient.
func wrap(context []byte, to Recipient, key []byte) ([]byte, error) {
	public, err := hpke.KEM_XWING.Scheme().UnmarshalBinaryPublicKey(to.Key)
	if err != nil {
		return nil, fmt.Errorf("seal for %s: %w", to.Member, err)
	}
	sender, err := suite.NewSender(public, context)
	if err != nil {
		return nil, fmt.Errorf("seal for %s: %w", to.Member, err)
	}
	enc, sealer, err := sender.Setup(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("seal for %s: %w", to.Member, err)
	}
	wrapped, err := sealer.Seal(key, to.Member[:])
	if err != nil {
		return nil, fmt.Errorf("seal for %s: %w", to.Member, err)
	}
	return slices.Concat(to.Member[:], enc, wrapped), nil
}

// unwrap opens one's own stanza.
func unwrap(context, stanza []byte, seed [keyfile.SeedSize]byte) ([]byte, error) {
	private, err := hpke.KEM_XWING.Scheme().UnmarshalBinaryPrivateKey(seed[:])
	if err != nil {
		return nil, fmt.Errorf("open with the seal key: %w", err)
	}
	receiver, err := suite.NewReceiver(private, context)
	if err != nil {
		return nil, fmt.Errorf("open with the seal key: %w", err)
	}
	member, enc, wrapped := stanza[:memberSize], stanza[memberSize:memberSize+encSize], stanza[memberSize+encSize:]
	opener, err := receiver.Setup(enc)
	if err != nil {
		return nil, fmt.Errorf("%w: its key", ErrDamaged)
	}
	key, err := opener.Open(wrapped, member)
	if err != nil || len(key) != keySize {
		return nil, fmt.Errorf("%w, or is sealed for an earlier key of this member", ErrDamaged)
	}
	return key, nil
}

// contentKeys derives what a content key stands for, under one label and one
// list of recipients: a mac over that list, and the cipher of the chunks. The
// mac also commits to the key: AES-GCM alone would let one box open to
// different content for different recipients.
func contentKeys(context, key []byte, head [sha256.Size]byte) (mac []byte, aead cipher.AEAD, err error) {
	macKey, err := hkdf.Key(sha256.New, key, nil, string(context)+"head", keySize)
	if err != nil {
		return nil, nil, fmt.Errorf("derive keys: %w", err)
	}
	h := hmac.New(sha256.New, macKey)
	h.Write(head[:])
	chunkKey, err := hkdf.Key(sha256.New, key, head[:], string(context)+"content", keySize)
	if err != nil {
		return nil, nil, fmt.Errorf("derive keys: %w", err)
	}
	block, err := aes.NewCipher(chunkKey)
	if err != nil {
		return nil, nil, fmt.Errorf("derive keys: %w", err)
	}
	aead, err = cipher.NewGCM(block)
	return h.Sum(nil), aead, err
}

// nonce is that of the STREAM construction: a counter, and whether it is the
// last chunk.
func nonce(chunk uint64, last bool) (n [nonceSize]byte) {
	binary.BigEndian.PutUint64(n[lastInNonce-8:lastInNonce], chunk)
	if last {
		n[lastInNonce] = 1
	}
	return n
}
