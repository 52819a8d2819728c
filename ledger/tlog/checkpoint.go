package tlog

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/watchward/watchward/crypto"
)

// A Checkpoint says how large a ledger is and what is in it (c2sp.org/tlog-checkpoint).
// Its text is three lines and has no extension lines.
type Checkpoint struct {
	Origin string      // names the ledger and its epoch
	Size   uint64      // entries, below 2^63
	Root   crypto.Hash // of the RFC 6962 tree over them; SHA-256 of nothing if there are none
}

// Text returns what is signed.
func (c Checkpoint) Text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// ParseCheckpoint reads the text of a note. The error wraps ErrNote.
func ParseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return Checkpoint{}, fmt.Errorf("%w: the text is not three lines: origin, size and root", ErrNote)
	}
	c := Checkpoint{Origin: lines[0]}
	size, err := strconv.ParseUint(lines[1], 10, 63)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: a size that is no number below 2^63", ErrNote)
	}
	c.Size = size
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != len(c.Root) {
		return Checkpoint{}, fmt.Errorf("%w: a root that is no base64 of 32 bytes", ErrNote)
	}
	c.Root = crypto.Hash(root)
	switch {
	case !validName(c.Origin) || len(c.Origin) > math.MaxUint8:
		return Checkpoint{}, fmt.Errorf("%w: an origin that is none", ErrNote)
	case c.Text() != text:
		return Checkpoint{}, fmt.Errorf("%w: not in its one form", ErrNote)
	case c.Size == 0 && c.Root != sha256.Sum256(nil):
		return Checkpoint{}, fmt.Errorf("%w: the root of no entries is SHA-256 of nothing", ErrNote)
	}
	return c, nil
}

// Checkpoint returns what the note's text says. The error wraps ErrNote.
func (n *Note) Checkpoint() (Checkpoint, error) { return ParseCheckpoint(n.Text) }

const originPrefix = "watchward/"

// Origin names the ledger of a region in an epoch. It is also the name of each voter's
// log key.
func Origin(region crypto.Region, epoch uint32) string {
	return fmt.Sprintf("%s%s/%d", originPrefix, region, epoch)
}

// ParseOrigin is the inverse of Origin. The error wraps ErrNote.
func ParseOrigin(origin string) (region crypto.Region, epoch uint32, err error) {
	digits, number, _ := strings.Cut(strings.TrimPrefix(origin, originPrefix), "/")
	raw, _ := hex.DecodeString(digits)
	n, err := strconv.ParseUint(number, 10, 32)
	if len(raw) == len(region) {
		region = crypto.Region(raw)
	}
	if err != nil || n == 0 || Origin(region, uint32(n)) != origin {
		return crypto.Region{}, 0, fmt.Errorf("%w: %q is no origin of a watchward ledger", ErrNote, origin)
	}
	return region, uint32(n), nil
}

// Cosigner names the cosignature keys of a member.
func Cosigner(region crypto.Region, member crypto.MemberID) string {
	return fmt.Sprintf("%s%s/member/%s", originPrefix, region, member)
}

// A Role says which lines a member gives to a checkpoint.
type Role uint8

const (
	Voter   Role = 1 // the log's own Ed25519 signature and an ML-DSA-44 cosignature
	Witness Role = 2 // both cosignatures
)

// Sign returns a note of the checkpoint with the two lines of one signer, to be united
// with those of others by Merge. The cosigner's name is from Cosigner. The time goes
// into the cosignatures in whole seconds and must lie after 1970.
func Sign(c Checkpoint, cosigner string, key *crypto.LedgerKey, role Role, at time.Time) ([]byte, error) {
	if _, err := ParseCheckpoint(c.Text()); err != nil {
		return nil, err
	}
	public := key.Public()
	kinds := [2]Kind{KindCosignature, KindMLDSA44}
	names := [2]string{cosigner, cosigner}
	switch role {
	case Voter:
		kinds[0], names[0] = KindLog, c.Origin
	case Witness:
	default:
		return nil, fmt.Errorf("sign a checkpoint: unknown role %d", role)
	}
	n := &Note{Text: c.Text()}
	for i, kind := range kinds {
		k, err := KeyOf(names[i], kind, public)
		if err != nil {
			return nil, err
		}
		sig, err := k.sign(c, key, at)
		if err != nil {
			return nil, err
		}
		n.Lines = append(n.Lines, Line{Name: k.name, ID: k.id, Sig: sig})
	}
	return n.Bytes(), nil
}
