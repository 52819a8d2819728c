package keyfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/watchward/watchward/crypto"
)

// What a file says it is for, in its first line. A file made for one purpose is
// refused for another.
const (
	purposeIdentity  = "identity"
	purposeAdmission = "admission"
)

const (
	firstLine     = "watchward key file v1: "
	comment       = "# Secret: whoever reads this file can speak as its owner. Keep mode 0600.\n"
	checkLine     = "check "
	checkSize     = 8       // bytes of SHA-256 over all lines before
	fileSizeMax   = 8 << 10 // bytes; an identity has about 400
	ageBeginning  = "-----BEGIN AGE ENCRYPTED FILE-----"
	workFactor    = 18      // log2 of scrypt's N: about a second, 256 MiB
	workFactorMax = 20      // what Load spends on a file at most
	passphraseMax = 1 << 10 // bytes
)

// ErrPassphrase says that the passphrase does not open the file.
var ErrPassphrase = errors.New("wrong passphrase")

// A field is one secret of a file: a name and bytes of a fixed size.
type field struct {
	name   string
	secret []byte
}

// Save creates a node's identity file. It never overwrites a file.
func Save(path string, id *Identity) error {
	return create(path, encode(purposeIdentity, id.fields(id.Signing.Seed())))
}

// Load reads a node's identity file. It refuses files that others may read.
func Load(path string) (*Identity, error) {
	data, err := read(path, false)
	if err != nil {
		return nil, err
	}
	id, seed := &Identity{}, make([]byte, crypto.SeedSize)
	if err := decode(data, purposeIdentity, id.fields(seed)); err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	if id.Signing, err = crypto.NewPrivateKey(seed); err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return id, nil
}

func (id *Identity) fields(signing []byte) []field {
	return []field{{"signing", signing}, {"peer", id.PeerSeed[:]}, {"seal", id.SealSeed[:]}}
}

// SaveAdmission creates the file of a coordinator's admission key, encrypted
// with age (scrypt) unless the passphrase is empty. It never overwrites a file.
func SaveAdmission(path string, key *crypto.PrivateKey, passphrase []byte) error {
	return saveAdmission(path, key, passphrase, workFactor)
}

func saveAdmission(path string, key *crypto.PrivateKey, passphrase []byte, workFactor int) error {
	data := encode(purposeAdmission, []field{{"signing", key.Seed()}})
	if len(passphrase) > 0 {
		var err error
		if data, err = encrypt(data, passphrase, workFactor); err != nil {
			return fmt.Errorf("key file %s: %w", path, err)
		}
	}
	return create(path, data)
}

// LoadAdmission reads a coordinator's admission key. It calls passphrase only
// if the file is encrypted, and returns ErrPassphrase if that does not open it. It
// refuses files that others may read, but on a stick that keeps no rights: see
// Rightless.
func LoadAdmission(path string, passphrase func() ([]byte, error)) (*crypto.PrivateKey, error) {
	data, err := read(path, true)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(data, []byte(ageBeginning)) {
		phrase, err := passphrase()
		if err != nil {
			return nil, fmt.Errorf("key file %s: ask for the passphrase: %w", path, err)
		}
		if data, err = decrypt(data, phrase); err != nil {
			return nil, fmt.Errorf("key file %s: %w", path, err)
		}
	}
	seed := make([]byte, crypto.SeedSize)
	if err := decode(data, purposeAdmission, []field{{"signing", seed}}); err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return crypto.NewPrivateKey(seed)
}

// encode writes a line a field and a check over them. The check is no defence,
// since who can write here can compute it: it tells a damaged file from a
// stranger's, before a node starts under a key nobody knows.
func encode(purpose string, fields []field) []byte {
	var b strings.Builder
	b.WriteString(firstLine + purpose + "\n" + comment)
	for _, f := range fields {
		b.WriteString(f.name + " " + base64.StdEncoding.EncodeToString(f.secret) + "\n")
	}
	sum := sha256.Sum256([]byte(b.String()))
	return append([]byte(b.String()), checkLine+hex.EncodeToString(sum[:checkSize])+"\n"...)
}

// decode fills the fields' secrets, whose sizes say what it expects.
func decode(data []byte, purpose string, fields []field) error {
	line, rest, _ := strings.Cut(string(data), "\n")
	switch found, ok := strings.CutPrefix(line, firstLine); {
	case strings.HasPrefix(line, ageBeginning):
		return errors.New("is encrypted with a passphrase: only admission keys may be")
	case !ok:
		return fmt.Errorf("the first line is not %q", firstLine+purpose)
	case found != purpose:
		return fmt.Errorf("holds keys for %q, here %q is needed", shorten(found), purpose)
	}
	at := strings.LastIndex(strings.TrimSuffix(string(data), "\n"), "\n") + 1
	sum := sha256.Sum256(data[:at])
	if string(data[at:]) != checkLine+hex.EncodeToString(sum[:checkSize])+"\n" {
		return errors.New("is damaged, its check line does not fit: restore it from a backup")
	}
	lines := strings.Split(strings.TrimPrefix(rest, comment), "\n")
	if len(lines) != len(fields)+2 { // the check line, and nothing after its end
		return fmt.Errorf("has %d lines of keys: want %d", len(lines)-2, len(fields))
	}
	for i, f := range fields {
		text, ok := strings.CutPrefix(lines[i], f.name+" ")
		if !ok {
			return fmt.Errorf("key %d is not called %q", i+1, f.name)
		}
		secret, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil || len(secret) != len(f.secret) {
			return fmt.Errorf("key %q is not %d bytes in base64", f.name, len(f.secret))
		}
		copy(f.secret, secret)
	}
	return nil
}

func encrypt(data, passphrase []byte, workFactor int) ([]byte, error) {
	if len(passphrase) > passphraseMax {
		return nil, fmt.Errorf("the passphrase has %d bytes: at most %d", len(passphrase), passphraseMax)
	}
	recipient, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return nil, err
	}
	recipient.SetWorkFactor(workFactor)
	var out bytes.Buffer
	armored := armor.NewWriter(&out)
	w, err := age.Encrypt(armored, recipient)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	if _, err := w.Write(data); err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	if err := errors.Join(w.Close(), armored.Close()); err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return out.Bytes(), nil
}

func decrypt(data, passphrase []byte) ([]byte, error) {
	if len(passphrase) == 0 || len(passphrase) > passphraseMax {
		return nil, ErrPassphrase
	}
	identity, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, err
	}
	identity.SetMaxWorkFactor(workFactorMax)
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(data)), identity)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, ErrPassphrase
	}
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	out, err := io.ReadAll(io.LimitReader(r, fileSizeMax))
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	return out, nil
}

func shorten(s string) string {
	if len(s) > 32 {
		return s[:32] + "…"
	}
	return s
}
