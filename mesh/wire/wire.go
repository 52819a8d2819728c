// Package wire is what peers say to each other on the mesh's own streams:
// frames, and the messages in them, as deterministic CBOR within named limits.
//
// A frame is a length of four bytes, big endian, and that many bytes: one byte
// that names the message and the message.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
)

// Limits of what a peer may send.
const (
	FrameMax    = crypto.EnvelopeSizeMax + 4<<10 // bytes of a frame
	PageBytes   = 48 << 10                       // aim of a page: lists and small envelopes
	EntriesMax  = 4096                           // entries of one list in one frame
	RangesMax   = 4096                           // ranges of one chain
	RecordsMax  = 64 << 10                       // bytes of one trust record
	AddressMax  = 256                            // bytes of one multiaddress
	PeerMax     = 64                             // bytes of one peer id
	VersionsMax = 16
)

// ErrFrame says that a frame is too long or empty.
var ErrFrame = errors.New("bad frame")

// Write sends one message. kind is the byte that names it.
func Write(w io.Writer, kind byte, message any) (n int, err error) {
	body, err := canon.Marshal(message)
	if err != nil {
		return 0, fmt.Errorf("encode message %d: %w", kind, err)
	}
	if len(body)+1 > FrameMax {
		return 0, fmt.Errorf("%w: message %d has %d bytes, at most %d", ErrFrame, kind, len(body), FrameMax-1)
	}
	frame := make([]byte, 0, 5+len(body))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(body)+1))
	frame = append(append(frame, kind), body...)
	return w.Write(frame)
}

// Read receives one frame of at most limit bytes, of which it returns the kind
// and the still encoded message. It allocates no more than what arrives.
func Read(r io.Reader, limit int) (kind byte, body []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size == 0 || uint64(size) > uint64(min(limit, FrameMax)) {
		return 0, nil, fmt.Errorf("%w: %d bytes, at most %d", ErrFrame, size, min(limit, FrameMax))
	}
	frame := make([]byte, size)
	if _, err := io.ReadFull(r, frame); err != nil {
		return 0, nil, fmt.Errorf("read frame: %w", noEOF(err))
	}
	return frame[0], frame[1:], nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// decode reads a message and checks its limits.
func decode[M interface{ check() error }](body []byte, m M) (M, error) {
	if err := canon.Unmarshal(body, m); err != nil {
		return m, fmt.Errorf("%T: %w", m, err)
	}
	if err := m.check(); err != nil {
		return m, fmt.Errorf("%T: %w", m, err)
	}
	return m, nil
}

func atMost(name string, n, limit int) error {
	if n > limit {
		return fmt.Errorf("%d %s, at most %d", n, name, limit)
	}
	return nil
}
