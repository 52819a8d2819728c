package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
)

// Protocol names the streams on which members ask each other about a ledger.
// A stream carries questions one after the other, each with one answer. What is
// announced on the mesh is a frame of the same kinds, without its length.
const Protocol = "/watchward/ledger/0"

// The kinds of frames. The numbers are wire format.
const (
	kindAskNote  = 1 // the newest good note of an origin
	kindAskMine  = 2 // the newest note that one voter has signed
	kindAskTile  = 3
	kindAskFind  = 4
	kindCosign   = 5 // a voter is asked to sign
	kindWitness  = 6 // a witness is asked to sign
	kindNote     = 16
	kindTile     = 17
	kindFound    = 18
	kindEvidence = 19
	kindTaken    = 20
	kindRefused  = 21
)

// Limits of a frame's parts, in bytes.
const (
	originMax   = 128
	pathMax     = 64
	noteMax     = 31 << 10             // with sixteen signature lines; it fits a message of the mesh
	tileMax     = 256 * (2 + EntryMax) // an entry bundle
	evidenceMax = 31 << 10             // it fits a message of the mesh
	frameMax    = tileMax + 1<<10      // of a whole frame
	askMax      = evidenceMax + 1<<10  // of a frame that nobody has asked for
)

// errFrame says that a frame is malformed or beyond a limit.
var errFrame = errors.New("bad frame")

// Why a question has no answer. The numbers are wire format.
const (
	refusedUnknown refusal = 1 // an origin, a tile or an entry that this member does not hold
	refusedLater   refusal = 2 // not yet, or too many questions: ask again or somebody else
	refusedLeader  refusal = 3 // only the leader answers, and it is not known here
	refusedBelow   refusal = 4 // below what this member has signed
	refusedDiffers refusal = 5 // this member's tree has another root
	refusedRole    refusal = 6 // the one who asks, or is asked, is no voter or witness
)

// A refusal is a question's answer that says why there is none.
type refusal uint8

func (r refusal) Error() string {
	switch r {
	case refusedUnknown:
		return "not held there"
	case refusedLater:
		return "not now"
	case refusedLeader:
		return "no leader is known there"
	case refusedBelow:
		return "it has signed a larger tree already"
	case refusedDiffers:
		return "its tree has another root"
	case refusedRole:
		return "not a voter or witness of this ledger"
	}
	return fmt.Sprintf("refused for reason %d", uint8(r))
}

// askNote asks for the newest good note of an origin.
type askNote struct {
	Origin string `cbor:"1,keyasint"`
}

func (m *askNote) check() error { return checkOrigin(m.Origin) }

// askMine asks for the newest note with a line of one voter, so that a voter that
// comes back from a backup learns how much it has signed. Without a member it asks a
// voter only who leads, and since when there is no quorum.
type askMine struct {
	Origin string          `cbor:"1,keyasint"`
	Member crypto.MemberID `cbor:"2,keyasint"`
}

func (m *askMine) check() error { return checkOrigin(m.Origin) }

// askTile asks for a tile or an entry bundle by its path in C2SP tlog-tiles.
type askTile struct {
	Origin string `cbor:"1,keyasint"`
	Path   string `cbor:"2,keyasint"`
}

func (m *askTile) check() error {
	if !strings.HasPrefix(m.Path, "tile/") {
		return fmt.Errorf("%w: %.20q is no tile's path", errFrame, m.Path)
	}
	return errors.Join(checkOrigin(m.Origin), atMost("bytes of a path", len(m.Path), pathMax))
}

// askFind asks where an entry is. Strong answers come from the leader alone, to
// which a question is forwarded once.
type askFind struct {
	Origin    string `cbor:"1,keyasint"`
	Entry     []byte `cbor:"2,keyasint"`
	Strong    bool   `cbor:"3,keyasint"`
	Forwarded bool   `cbor:"4,keyasint"`
}

func (m *askFind) check() error {
	return errors.Join(checkOrigin(m.Origin), checkEntry(m.Entry))
}

// cosign asks a voter to sign a tree.
type cosign struct {
	Origin string      `cbor:"1,keyasint"`
	Size   uint64      `cbor:"2,keyasint"`
	Root   crypto.Hash `cbor:"3,keyasint"`
}

func (m *cosign) check() error { return checkOrigin(m.Origin) }

// witness asks a witness to sign a good note.
type witness struct {
	Note []byte `cbor:"1,keyasint"`
}

func (m *witness) check() error { return checkNote(m.Note) }

// note carries a checkpoint, empty where there is none: told unasked, or as the
// answer to who asks for one, or for the lines of a signer, which come as a note of
// their own. A voter says with it who leads, and since when there is no quorum.
type note struct {
	Note     []byte          `cbor:"1,keyasint"`
	NoQuorum int64           `cbor:"2,keyasint"` // ms since 1970, 0 if there is one or the sender is no voter
	Leader   crypto.MemberID `cbor:"3,keyasint"` // zero: it knows of none, or is no voter
}

func (m *note) check() error {
	if m.NoQuorum < 0 {
		return fmt.Errorf("%w: no quorum since before 1970", errFrame)
	}
	return atMost("bytes of a note", len(m.Note), noteMax)
}

type tile struct {
	Data []byte `cbor:"1,keyasint"`
}

func (m *tile) check() error {
	if len(m.Data) == 0 {
		return fmt.Errorf("%w: an empty tile", errFrame)
	}
	return atMost("bytes of a tile", len(m.Data), tileMax)
}

// found says where an entry is, as of a tree's size.
type found struct {
	Index  uint64          `cbor:"1,keyasint"`
	Size   uint64          `cbor:"2,keyasint"`
	Time   int64           `cbor:"3,keyasint"` // ms since 1970
	Leader crypto.MemberID `cbor:"4,keyasint"`
	Here   bool            `cbor:"5,keyasint"` // the entry is in the tree
}

func (m *found) check() error {
	if m.Here && m.Index >= m.Size || m.Time < 0 {
		return fmt.Errorf("%w: entry %d of a tree of %d", errFrame, m.Index, m.Size)
	}
	return nil
}

// evidence carries the proof that voters have signed two ledgers.
type evidence struct {
	Proof []byte `cbor:"1,keyasint"`
}

func (m *evidence) check() error {
	if len(m.Proof) == 0 {
		return fmt.Errorf("%w: no proof", errFrame)
	}
	return atMost("bytes of a proof", len(m.Proof), evidenceMax)
}

// taken answers what was only told.
type taken struct{}

func (m *taken) check() error { return nil }

type refused struct {
	Reason refusal `cbor:"1,keyasint"`
}

func (m *refused) check() error {
	if m.Reason < refusedUnknown || m.Reason > refusedRole {
		return fmt.Errorf("%w: refused for unknown reason %d", errFrame, m.Reason)
	}
	return nil
}

type message interface{ check() error }

// kindOf returns the byte that names a message.
func kindOf(m message) byte {
	switch m.(type) {
	case *askNote:
		return kindAskNote
	case *askMine:
		return kindAskMine
	case *askTile:
		return kindAskTile
	case *askFind:
		return kindAskFind
	case *cosign:
		return kindCosign
	case *witness:
		return kindWitness
	case *note:
		return kindNote
	case *tile:
		return kindTile
	case *found:
		return kindFound
	case *evidence:
		return kindEvidence
	case *taken:
		return kindTaken
	}
	return kindRefused
}

// decodeFrame reads a message within its limits from a frame: one byte that names
// it, and its deterministic encoding.
func decodeFrame(frame []byte) (message, error) {
	if len(frame) == 0 {
		return nil, fmt.Errorf("%w: empty", errFrame)
	}
	var m message
	switch frame[0] {
	case kindAskNote:
		m = &askNote{}
	case kindAskMine:
		m = &askMine{}
	case kindAskTile:
		m = &askTile{}
	case kindAskFind:
		m = &askFind{}
	case kindCosign:
		m = &cosign{}
	case kindWitness:
		m = &witness{}
	case kindNote:
		m = &note{}
	case kindTile:
		m = &tile{}
	case kindFound:
		m = &found{}
	case kindEvidence:
		m = &evidence{}
	case kindTaken:
		m = &taken{}
	case kindRefused:
		m = &refused{}
	default:
		return nil, fmt.Errorf("%w: of unknown kind %d", errFrame, frame[0])
	}
	if err := canon.Unmarshal(frame[1:], m); err != nil {
		return nil, fmt.Errorf("%T: %w", m, err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("%T: %w", m, err)
	}
	return m, nil
}

// encodeFrame returns a message's frame, without its length.
func encodeFrame(m message) ([]byte, error) {
	body, err := canon.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, err)
	}
	return append([]byte{kindOf(m)}, body...), nil
}

// writeFrame sends one message.
func writeFrame(w io.Writer, m message) error {
	frame, err := encodeFrame(m)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...))
	return err
}

// readFrame receives one message of at most limit bytes. It allocates no more than
// that.
func readFrame(r io.Reader, limit int) (message, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size == 0 || uint64(size) > uint64(min(limit, frameMax)) {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", errFrame, size, min(limit, frameMax))
	}
	frame := make([]byte, size)
	if _, err := io.ReadFull(r, frame); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read frame: %w", err)
	}
	return decodeFrame(frame)
}

func checkOrigin(origin string) error {
	if !strings.HasPrefix(origin, "watchward/") {
		return fmt.Errorf("%w: %.20q is no ledger's origin", errFrame, origin)
	}
	return atMost("bytes of an origin", len(origin), originMax)
}

func checkEntry(entry []byte) error {
	if len(entry) == 0 {
		return fmt.Errorf("%w: an empty entry", errFrame)
	}
	return atMost("bytes of an entry", len(entry), EntryMax)
}

func checkNote(raw []byte) error {
	if len(raw) == 0 {
		return fmt.Errorf("%w: an empty note", errFrame)
	}
	return atMost("bytes of a note", len(raw), noteMax)
}

func atMost(name string, n, limit int) error {
	if n > limit {
		return fmt.Errorf("%w: %d %s, at most %d", errFrame, n, name, limit)
	}
	return nil
}
