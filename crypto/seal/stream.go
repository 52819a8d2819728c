package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
)

// A Writer seals what is written to it. It is for one goroutine.
type Writer struct {
	w     io.Writer
	aead  cipher.AEAD
	chunk uint64
	held  []byte // of the chunk that fills, at most ChunkSize
	out   []byte
	err   error // of an earlier call
}

// NewWriter begins a box for 1 to RecipientsMax members. Content that was
// written is complete only once Close has returned nil; Close does not close w.
func NewWriter(w io.Writer, label Label, to []Recipient) (*Writer, error) {
	if len(to) == 0 || len(to) > RecipientsMax {
		return nil, fmt.Errorf("seal for %d members: want 1 to %d", len(to), RecipientsMax)
	}
	to = slices.Clone(to)
	slices.SortFunc(to, func(a, b Recipient) int { return bytes.Compare(a.Member[:], b.Member[:]) })
	key := make([]byte, keySize)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("draw a content key: %w", err)
	}
	context := label.context()
	sum := sha256.New()
	out := io.MultiWriter(w, sum)
	if _, err := out.Write(binary.BigEndian.AppendUint16([]byte{Version}, uint16(len(to)))); err != nil {
		return nil, err
	}
	for i, r := range to {
		if i > 0 && r.Member == to[i-1].Member {
			return nil, fmt.Errorf("seal for %s: it is named twice", r.Member)
		}
		stanza, err := wrap(context, r, key)
		if err != nil {
			return nil, err
		}
		if _, err := out.Write(stanza); err != nil {
			return nil, err
		}
	}
	mac, aead, err := contentKeys(context, key, [sha256.Size]byte(sum.Sum(nil)))
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(mac); err != nil {
		return nil, err
	}
	return &Writer{w: w, aead: aead, held: make([]byte, 0, ChunkSize)}, nil
}

// Write seals p.
func (w *Writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 && w.err == nil {
		if len(w.held) == ChunkSize { // only now is it known not to be the last
			w.flush(false)
			continue
		}
		m := min(len(p), ChunkSize-len(w.held))
		w.held, p, n = append(w.held, p[:m]...), p[m:], n+m
	}
	return n, w.err
}

// Close writes the last chunk.
func (w *Writer) Close() error {
	if w.err == nil {
		w.flush(true)
	}
	if w.err != nil {
		return w.err
	}
	w.err = errors.New("seal: written after Close")
	return nil
}

func (w *Writer) flush(last bool) {
	if w.chunk >= chunksMax {
		w.err = fmt.Errorf("seal: more than %d chunks", int64(chunksMax))
		return
	}
	length := uint32(len(w.held))
	if last {
		length |= lastChunk
	}
	n := nonce(w.chunk, last)
	w.out = binary.BigEndian.AppendUint32(w.out[:0], length)
	w.out = w.aead.Seal(w.out, n[:], w.held, nil)
	_, w.err = w.w.Write(w.out)
	w.chunk, w.held = w.chunk+1, w.held[:0]
}

// A Reader opens a box. It is for one goroutine.
type Reader struct {
	r     io.Reader
	aead  cipher.AEAD
	chunk uint64
	in    []byte // a chunk as it came
	ready []byte // of it, opened and not yet read
	err   error
}

// NewReader opens a box for member, whose X-Wing seed is given. The error wraps
// ErrDamaged, io.ErrUnexpectedEOF or a *NotRecipientError. Content comes chunk
// by chunk, each proven in its place: after an error what came before holds. No
// byte behind the box is read.
func NewReader(r io.Reader, label Label, member crypto.MemberID, seed [keyfile.SeedSize]byte) (*Reader, error) {
	sum := sha256.New()
	in := io.TeeReader(r, sum)
	var head [headSize]byte
	if err := readFull(in, head[:]); err != nil {
		return nil, err
	}
	count := int(binary.BigEndian.Uint16(head[1:]))
	switch {
	case head[0] != Version:
		return nil, fmt.Errorf("a sealed box of version %d: this build knows %d", head[0], Version)
	case count == 0 || count > RecipientsMax:
		return nil, fmt.Errorf("%w: %d recipients, want 1 to %d", ErrDamaged, count, RecipientsMax)
	}
	own, others, err := stanzas(in, count, member)
	if err != nil {
		return nil, err
	}
	if own == nil {
		return nil, &NotRecipientError{Recipients: others}
	}
	context := label.context()
	key, err := unwrap(context, own, seed)
	if err != nil {
		return nil, err
	}
	want, aead, err := contentKeys(context, key, [sha256.Size]byte(sum.Sum(nil)))
	if err != nil {
		return nil, err
	}
	var mac [macSize]byte
	if err := readFull(r, mac[:]); err != nil {
		return nil, err
	}
	if !hmac.Equal(mac[:], want) {
		return nil, fmt.Errorf("%w: its list of recipients", ErrDamaged)
	}
	return &Reader{r: r, aead: aead, in: make([]byte, 0, ChunkSize+tagSize)}, nil
}

// stanzas reads the list of recipients and returns member's own stanza.
func stanzas(r io.Reader, count int, member crypto.MemberID) (own []byte, all []crypto.MemberID, err error) {
	var stanza [stanzaSize]byte
	for range count {
		if err := readFull(r, stanza[:]); err != nil {
			return nil, nil, err
		}
		id := crypto.MemberID(stanza[:memberSize])
		if len(all) > 0 && bytes.Compare(all[len(all)-1][:], id[:]) >= 0 {
			return nil, nil, fmt.Errorf("%w: its recipients are not in order", ErrDamaged)
		}
		if all = append(all, id); id == member {
			own = bytes.Clone(stanza[:])
		}
	}
	return own, all, nil
}

// Read returns content that is proven.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.ready) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.next()
	}
	n := copy(p, r.ready)
	r.ready = r.ready[n:]
	return n, nil
}

// next opens one chunk, and sets err when no other follows.
func (r *Reader) next() {
	var head [lengthSize]byte
	if r.err = readFull(r.r, head[:]); r.err != nil {
		return
	}
	length := binary.BigEndian.Uint32(head[:])
	last := length&lastChunk != 0
	length &^= lastChunk
	switch {
	case length > ChunkSize || !last && length != ChunkSize, last && length == 0 && r.chunk > 0, r.chunk >= chunksMax:
		r.err = fmt.Errorf("%w: the length of piece %d", ErrDamaged, r.chunk+1)
		return
	}
	r.in = r.in[:length+tagSize]
	if r.err = readFull(r.r, r.in); r.err != nil {
		return
	}
	n := nonce(r.chunk, last)
	opened, err := r.aead.Open(r.in[:0], n[:], r.in, nil)
	if err != nil {
		r.err = fmt.Errorf("%w: piece %d", ErrDamaged, r.chunk+1)
		return
	}
	r.ready, r.chunk = opened, r.chunk+1
	if last {
		r.err = io.EOF
	}
}

// readFull fills p; an end before that is never the end of a box.
func readFull(r io.Reader, p []byte) error {
	_, err := io.ReadFull(r, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("what is sealed breaks off: %w", io.ErrUnexpectedEOF)
	}
	return err
}
