package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ChunkMax bounds the bytes of one chunk.
const ChunkMax = 32 << 10

// ErrChunk says that a stream is not one of chunks.
var ErrChunk = errors.New("bad chunk")

// Streams of bulk are cut into chunks, so that what is under way on a slow link
// can be bounded, and what was read is told to the sender. The head of a chunk is
// a varint: twice the number of bytes that follow, or twice the number of bytes
// that were read since it was last told, plus one.

// AppendChunk appends the head of a chunk of n bytes.
func AppendChunk(b []byte, n int) []byte { return binary.AppendUvarint(b, uint64(n)<<1) }

// AppendTaken appends the word that n bytes were read.
func AppendTaken(b []byte, n int) []byte { return binary.AppendUvarint(b, uint64(n)<<1|1) }

// ReadChunk reads the next head. Either chunk bytes follow, or taken bytes were
// read by the other side.
func ReadChunk(r io.ByteReader) (chunk, taken int, err error) {
	v, err := binary.ReadUvarint(r)
	if err != nil {
		return 0, 0, err
	}
	n := v >> 1
	switch {
	case n == 0 || v&1 == 0 && n > ChunkMax || n > 1<<30:
		return 0, 0, fmt.Errorf("%w: of %d bytes", ErrChunk, n)
	case v&1 == 1:
		return 0, int(n), nil
	}
	return int(n), 0, nil
}
