package document

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/mesh/wire"
)

// The messages of a document stream, as frames of package wire. Whoever opens it says
// seek; the other side answers with list and have once it holds something of the
// document, and with have whenever it holds more. Each chunk that is wanted comes, or
// is put off by later. The numbers are wire format.
const (
	kindSeek  = 56
	kindList  = 57
	kindHave  = 58
	kindWant  = 59
	kindChunk = 60
	kindLater = 61

	askMax    = 1 << 10          // bytes of a frame of whoever seeks
	answerMax = ChunkSize + 1<<9 // and of whoever answers
	chunkHead = 6                // bytes of a frame before a chunk's data: its size, kind and index
)

// seek opens a stream, which is for this document alone.
type seek struct {
	ID     Hash   `cbor:"1,keyasint"`
	Chunks Hash   `cbor:"2,keyasint"`
	Size   uint32 `cbor:"3,keyasint"`
}

// list carries the hashes of all chunks, one behind the other.
type list struct {
	Hashes []byte `cbor:"1,keyasint"`
}

// have says which chunks the sender holds: the lowest bit of the first byte is chunk 0.
type have struct {
	Chunks []byte `cbor:"1,keyasint"`
}

// want asks for chunks. Alone says that nobody else who is asked has them.
type want struct {
	Chunks []uint8 `cbor:"1,keyasint"`
	Alone  bool    `cbor:"2,keyasint"`
}

// chunk carries one. It is not CBOR, which would copy it several times, but the index
// and the data as they are.
type chunk struct {
	Index uint8
	Data  []byte // of a message that was received, until the next one is
}

// later says that others have been given the chunk, and will have it.
type later struct {
	Index uint8 `cbor:"1,keyasint"`
}

// What no honest peer sends.
var (
	errProtocol = errors.New("it breaks the protocol of documents")
	errUnasked  = fmt.Errorf("%w: it sends what it was not asked for", errProtocol)
	errChunk    = fmt.Errorf("%w: a chunk is not what it must be", errProtocol)
)

// send writes one message. The writer is used by one goroutine at a time.
func send(w io.Writer, message any) error {
	kind := byte(0)
	switch message.(type) {
	case *seek:
		kind = kindSeek
	case *list:
		kind = kindList
	case *have:
		kind = kindHave
	case *want:
		kind = kindWant
	case *later:
		kind = kindLater
	}
	_, err := wire.Write(w, kind, message)
	return err
}

// sendChunk writes chunk i, of which frame has the data behind chunkHead bytes.
func sendChunk(w io.Writer, i int, frame []byte) error {
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	frame[4], frame[5] = kindChunk, byte(i)
	_, err := w.Write(frame)
	return err
}

// A receiver reads messages of at most limit bytes, one after the other.
type receiver struct {
	r      io.Reader
	limit  int
	buffer []byte
}

func (r *receiver) next() (any, error) {
	var head [4]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size == 0 || uint64(size) > uint64(r.limit) {
		return nil, fmt.Errorf("%w: a message of %d bytes, at most %d", errProtocol, size, r.limit)
	}
	r.buffer = slices.Grow(r.buffer[:0], int(size))[:size]
	if _, err := io.ReadFull(r.r, r.buffer); err != nil {
		return nil, err
	}
	m, err := decode(r.buffer[0], r.buffer[1:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errProtocol, err)
	}
	return m, nil
}

func decode(kind byte, body []byte) (any, error) {
	var m any
	switch kind {
	case kindSeek:
		m = &seek{}
	case kindList:
		m = &list{}
	case kindHave:
		m = &have{}
	case kindWant:
		m = &want{}
	case kindChunk:
		if n := len(body) - 1; n < 1 || n > ChunkSize {
			return nil, fmt.Errorf("a chunk of %d bytes, 1 to %d may be", n, ChunkSize)
		}
		return &chunk{Index: body[0], Data: body[1:]}, nil
	case kindLater:
		m = &later{}
	default:
		return nil, fmt.Errorf("message of unknown kind %d", kind)
	}
	if err := canon.Unmarshal(body, m); err != nil {
		return nil, err
	}
	return m, checkLimits(m)
}

func checkLimits(message any) error {
	switch m := message.(type) {
	case *seek:
		if m.Size == 0 || m.Size > SizeMax {
			return fmt.Errorf("a document of %d bytes, 1 to %d may be", m.Size, SizeMax)
		}
	case *list:
		if n := len(m.Hashes); n == 0 || n%sha256.Size != 0 || n > chunksMax*sha256.Size {
			return fmt.Errorf("a list of %d bytes", n)
		}
	case *have:
		if n := len(m.Chunks); n > chunksMax/8 {
			return fmt.Errorf("holdings of %d bytes, at most %d", n, chunksMax/8)
		}
	case *want:
		if n := len(m.Chunks); n == 0 || n > askedMax {
			return fmt.Errorf("%d chunks are wanted, 1 to %d may be", n, askedMax)
		}
	}
	return nil
}
