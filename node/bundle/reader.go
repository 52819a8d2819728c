package bundle

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/seal"
	"github.com/watchward/watchward/mesh/wire"
)

// A BrokenError says where a part cannot be read any further. What came before
// that place stays good: every word in it is proven by its own signature.
type BrokenError struct {
	Part uint32 // 0 = before its number was read
	At   int64  // bytes from the part's beginning; of its content, when it is sealed
	Err  error
}

func (e *BrokenError) Error() string {
	where := fmt.Sprintf("at byte %d", e.At)
	if e.Part > 0 {
		where += fmt.Sprintf(" of part %d", e.Part)
	}
	if errors.Is(e.Err, io.ErrUnexpectedEOF) {
		return "it breaks off " + where + ": copy the file again"
	}
	return fmt.Sprintf("it is damaged %s (%v): copy the file again", where, e.Err)
}

func (e *BrokenError) Unwrap() error { return e.Err }

// An Item is one record or envelope of a part, unproven.
type Item struct {
	Record bool   // a trust record; otherwise an envelope
	Raw    []byte // the caller's
	At     int64  // where it begins, as in BrokenError
	Err    error  // it cannot be decoded, alone: Raw is nil
}

// A Reader reads parts, one after the other. It is for one goroutine. A part is
// read by Part, Open if it is sealed, and Next until io.EOF.
type Reader struct {
	source *source
	r      *bufio.Reader // the stream
	in     *bufio.Reader // of frames: the stream, or what a box holds
	header Header
	begin  []byte // magic and header frame
	sum    hash.Hash
	at     int64
	end    End // counted; with More as it was written
	bad    int
}

// NewReader reads a stream of parts.
func NewReader(r io.Reader) *Reader {
	s := &source{r: r}
	return &Reader{source: s, r: bufio.NewReaderSize(s, 64<<10)}
}

// Part reads the next part's header. It returns io.EOF when there is none.
func (r *Reader) Part() (Header, error) {
	first := r.sum == nil
	r.header, r.at, r.end, r.bad, r.in = Header{}, 0, End{}, 0, nil
	magic := make([]byte, len(Magic))
	n, err := io.ReadFull(r.r, magic)
	switch {
	case r.source.err != nil:
		return Header{}, r.source.err
	case errors.Is(err, io.EOF) && !first:
		return Header{}, io.EOF
	case Is(magic[:n]) && string(magic[:n]) != Magic[:n]:
		return Header{}, ErrVersion
	case string(magic[:n]) != Magic[:n] || n == 0:
		if first {
			return Header{}, ErrNoBundle
		}
		return Header{}, r.broken(errors.New("something else follows the last part"))
	case err != nil:
		return Header{}, r.broken(io.ErrUnexpectedEOF)
	}
	r.at = int64(len(Magic))
	kind, raw, err := wire.Read(r.r, HeaderMax)
	if err != nil {
		return Header{}, r.broken(err)
	}
	if kind != kindHeader {
		return Header{}, r.broken(errors.New("its header is missing"))
	}
	if err := canon.Unmarshal(raw, &r.header); err != nil {
		return Header{}, r.broken(errors.New("its header"))
	}
	if err := r.header.check(); err != nil {
		return Header{}, r.broken(fmt.Errorf("its header: %w", err))
	}
	r.sum = sha256.New()
	r.sum.Write(magic)
	addFrame(r.sum, kind, raw)
	var begin bytes.Buffer
	begin.WriteString(Magic)
	if _, err := wire.Write(&begin, kindHeader, r.header); err != nil {
		return Header{}, err
	}
	r.begin, r.at = begin.Bytes(), int64(begin.Len())
	if !r.header.Sealed() {
		r.in = r.r
	}
	return r.header, nil
}

// Open opens a sealed part for member, whose X-Wing seed is given. The error
// wraps a *seal.NotRecipientError or is a *BrokenError.
func (r *Reader) Open(member crypto.MemberID, seed [keyfile.SeedSize]byte) error {
	box, err := seal.NewReader(r.r, r.header.label(r.begin), member, seed)
	if not := (*seal.NotRecipientError)(nil); errors.As(err, &not) {
		return err
	}
	if err != nil {
		return r.broken(err)
	}
	r.in = bufio.NewReaderSize(box, 64<<10)
	return nil
}

// Next returns the next record or envelope, and io.EOF when the part is
// complete and its sum is right. Other errors are a *BrokenError, or those of
// the stream itself.
func (r *Reader) Next() (Item, error) {
	if r.in == nil {
		return Item{}, errors.New("read a bundle: the part is not open")
	}
	at := r.at
	kind, raw, err := wire.Read(r.in, wire.FrameMax)
	if err != nil {
		return Item{}, r.broken(err)
	}
	if kind == kindEnd {
		return Item{}, r.close(raw)
	}
	addFrame(r.sum, kind, raw)
	r.at += int64(frameHead + len(raw))
	item, err := decode(kind, raw)
	if err != nil {
		if r.bad++; r.bad > BadMax {
			return Item{}, r.broken(fmt.Errorf("more than %d pieces cannot be read", BadMax))
		}
		return Item{At: at, Err: err}, nil
	}
	if item.At = at; !item.Record {
		r.end.Envelopes++
		return item, nil
	}
	if r.end.Records++; r.end.Records > RecordsMax {
		return Item{}, r.broken(fmt.Errorf("more than %d trust records", RecordsMax))
	}
	return item, nil
}

// More reports, after io.EOF, whether the export has further parts.
func (r *Reader) More() bool { return r.end.More }

// close compares the end with what was read.
func (r *Reader) close(raw []byte) error {
	var end End
	if err := canon.Unmarshal(raw, &end); err != nil {
		return r.broken(errors.New("its end"))
	}
	if r.header.Sealed() {
		if _, err := r.in.ReadByte(); !errors.Is(err, io.EOF) {
			if err == nil {
				err = errors.New("something follows its end")
			}
			return r.broken(err)
		}
	}
	r.end.More = end.More
	if end.Sum != crypto.Hash(r.sum.Sum(nil)) {
		return r.broken(errors.New("its checksum differs: somewhere before, it was changed"))
	}
	if r.bad == 0 && (end.Envelopes != r.end.Envelopes || end.Records != r.end.Records) {
		return r.broken(fmt.Errorf("%d words and %d records, its end says %d and %d", r.end.Envelopes, r.end.Records, end.Envelopes, end.Records))
	}
	return io.EOF
}

// broken makes an error of what cannot be read further: an end of the stream
// here is never the end of a part. Errors of the stream itself pass.
func (r *Reader) broken(err error) error {
	if r.source.err != nil {
		return r.source.err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.ErrUnexpectedEOF
	}
	return &BrokenError{Part: r.header.Part, At: r.at, Err: err}
}

// A source remembers why the stream failed, to tell that from a damaged part.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		s.err = err
	}
	return n, err
}
