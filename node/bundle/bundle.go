// Package bundle is the mesh on a USB stick: a file of signed words and of the
// trust records that it takes to check them. Anybody may carry it. It proves
// nothing by itself and needs not be trusted: whoever imports it verifies each
// word as if it had come from a peer.
//
// An export is one part or several, of at most a given size. Each part stands
// alone, and parts may be read in any order, or one after the other as one
// stream. A part is
//
//	Magic ‖ header frame ‖ frames ‖ end frame
//
// A frame is that of package mesh/wire: a length of 4 bytes, big-endian, and so
// many bytes, of which the first names the kind and the rest is one value in
// deterministic CBOR.
//
//	kind 1  header    {1 region, 2 its name, 3 created (ms), 4 part, 5 audience}
//	kind 2  record    {1 trust record}
//	kind 3  envelope  {1 envelope, as it was signed}
//	kind 4  end       {1 envelopes, 2 records, 3 SHA-256 of all before this frame, 4 more parts follow}
//
// What is for the community goes as it is. A part of the region audience is
// sealed (crypto/seal) for named members: behind its header everything is one
// box, and the frames are its content. The sum is then over the content; magic
// and header are bound to the box.
//
// The records that prove an author come before its first envelope in a part,
// the charter before all others. Envelopes come in the order in which they
// arrived at the node that wrote the part, expired ones without their items:
// predecessors mostly come first, so a reader that keeps the order admits each
// beside its neighbour, and one that was cut off has no holes.
package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"unicode"
	"unicode/utf8"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/seal"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh/wire"
)

// Magic begins every part. The digit is the version of the format.
const (
	Magic       = magicPrefix + "0\n"
	magicPrefix = "watchward-bundle/"
)

// What a file is instead of a bundle that this package reads.
var (
	ErrNoBundle = errors.New("this is no bundle: give a file that watchward export --bundle wrote")
	ErrVersion  = errors.New("this bundle has a version that this node does not know: update watchward")
)

// Limits of a part.
const (
	HeaderMax  = 1 << 10 // bytes of the header frame
	RecordsMax = 100_000 // trust records
	BadMax     = 1_000   // frames that cannot be decoded; then the rest is not looked at

	frameHead = 5 // length and kind
	endSize   = frameHead + 64
)

// Kinds of frames.
const (
	kindHeader   = 1
	kindRecord   = 2
	kindEnvelope = 3
	kindEnd      = 4
)

// TLP is the marking under which a sealed part is sealed: the strictest that
// the region audience carries.
const TLP = 3 // AMBER

// A Header says what a part is, in clear and unproven.
type Header struct {
	Region   crypto.Region   `cbor:"1,keyasint"`
	Name     string          `cbor:"2,keyasint"` // of the region, to show to people
	Created  int64           `cbor:"3,keyasint"` // ms; the same in all parts of an export
	Part     uint32          `cbor:"4,keyasint"` // from 1
	Audience crypto.Audience `cbor:"5,keyasint"`
}

// Sealed reports whether the part is for named members only.
func (h *Header) Sealed() bool { return h.Audience == crypto.AudienceRegion }

func (h *Header) check() error {
	switch {
	case h.Audience != crypto.AudienceRegion && h.Audience != crypto.AudienceCommunity:
		return fmt.Errorf("the %s audience does not travel in a file", h.Audience)
	case h.Part == 0 || h.Created < 0:
		return errors.New("parts are numbered from 1 and written after 1970")
	case len(h.Name) > trust.NameSizeMax || !utf8.ValidString(h.Name):
		return errors.New("the region's name is none")
	}
	for _, r := range h.Name {
		if !unicode.IsPrint(r) {
			return errors.New("the region's name has a character that cannot be shown")
		}
	}
	return nil
}

// label binds a sealed part to its header as it is written.
func (h *Header) label(begin []byte) seal.Label {
	return seal.Label{Purpose: "bundle", Region: h.Region, TLP: TLP, Bound: begin}
}

// An End closes a part.
type End struct {
	Envelopes uint64      `cbor:"1,keyasint"`
	Records   uint64      `cbor:"2,keyasint"`
	Sum       crypto.Hash `cbor:"3,keyasint"` // SHA-256 of all frames before, header and Magic included
	More      bool        `cbor:"4,keyasint"` // the export goes on with another part
}

// body is that of a record or envelope frame.
type body struct {
	Raw []byte `cbor:"1,keyasint"`
}

// Is reports whether a file that begins like this is a bundle.
func Is(head []byte) bool { return bytes.HasPrefix(head, []byte(magicPrefix)) }

// A Writer writes one part. It is for one goroutine.
type Writer struct {
	out        io.Writer // of frames
	box        *seal.Writer
	sum        hash.Hash
	end        End
	size       int64 // bytes of magic and frames
	recipients int
	buf        bytes.Buffer
}

// NewWriter begins a part. Members are named when, and only when, its audience
// is the region's. The part is whole only once Close has returned nil.
func NewWriter(w io.Writer, h Header, to []seal.Recipient) (*Writer, error) {
	if err := h.check(); err != nil {
		return nil, fmt.Errorf("write a bundle: %w", err)
	}
	if h.Sealed() != (len(to) > 0) {
		return nil, fmt.Errorf("write a bundle: the %s audience, sealed for %d members", h.Audience, len(to))
	}
	x := &Writer{out: w, sum: sha256.New(), recipients: len(to)}
	begin := bytes.NewBufferString(Magic)
	if _, err := wire.Write(begin, kindHeader, h); err != nil {
		return nil, err
	}
	x.sum.Write(begin.Bytes())
	x.size = int64(begin.Len())
	if _, err := w.Write(begin.Bytes()); err != nil {
		return nil, err
	}
	if h.Sealed() {
		var err error
		if x.box, err = seal.NewWriter(w, h.label(begin.Bytes()), to); err != nil {
			return nil, err
		}
		x.out = x.box
	}
	return x, nil
}

// Record adds a trust record.
func (w *Writer) Record(raw []byte) error {
	w.end.Records++
	if w.end.Records > RecordsMax {
		return fmt.Errorf("write a bundle: more than %d trust records", RecordsMax)
	}
	return w.frame(kindRecord, body{raw})
}

// Envelope adds an envelope.
func (w *Writer) Envelope(raw []byte) error {
	w.end.Envelopes++
	return w.frame(kindEnvelope, body{raw})
}

// Envelopes returns how many envelopes the part has.
func (w *Writer) Envelopes() int { return int(w.end.Envelopes) }

// Size returns the bytes that the part has if so many more bytes of records or
// envelopes are added and it is closed then.
func (w *Writer) Size(more int) int64 {
	size := w.size + int64(more) + endSize
	if more > 0 {
		size += frameHead + 8
	}
	if w.box != nil {
		size += seal.Overhead(w.recipients, size)
	}
	return size
}

// Close writes the end. It does not close the writer below.
func (w *Writer) Close(more bool) error {
	w.end.Sum, w.end.More = crypto.Hash(w.sum.Sum(nil)), more
	if err := w.frame(kindEnd, w.end); err != nil {
		return err
	}
	if w.box != nil {
		return w.box.Close()
	}
	return nil
}

func (w *Writer) frame(kind byte, message any) error {
	w.buf.Reset()
	if _, err := wire.Write(&w.buf, kind, message); err != nil {
		return err
	}
	w.sum.Write(w.buf.Bytes())
	w.size += int64(w.buf.Len())
	_, err := w.out.Write(w.buf.Bytes())
	return err
}

// decode reads the value of a frame.
func decode(kind byte, raw []byte) (Item, error) {
	var b body
	limit := crypto.EnvelopeSizeMax
	switch kind {
	case kindRecord:
		limit = trust.RecordSizeMax
	case kindEnvelope:
	default:
		return Item{}, fmt.Errorf("kind %d is not known", kind)
	}
	if err := canon.Unmarshal(raw, &b); err != nil {
		return Item{}, err
	}
	if len(b.Raw) == 0 || len(b.Raw) > limit {
		return Item{}, fmt.Errorf("%d bytes: want 1 to %d", len(b.Raw), limit)
	}
	return Item{Record: kind == kindRecord, Raw: b.Raw}, nil
}

// addFrame adds to a sum what wire.Read took apart.
func addFrame(sum hash.Hash, kind byte, raw []byte) {
	var head [frameHead]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(raw)+1))
	head[4] = kind
	sum.Write(head[:])
	sum.Write(raw)
}
