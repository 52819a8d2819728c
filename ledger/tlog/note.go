// Package tlog keeps a Merkle log in tiles and speaks for it in signed notes, in the
// formats of C2SP (tlog-tiles, tlog-checkpoint, tlog-cosignature), so that tools that
// nobody here wrote can check it.
package tlog

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a signed note. Verifiers elsewhere stop at 16 signatures; five voters
// and three witnesses with two lines each make 16 and 29 KB.
const (
	NoteSizeMax = 32 << 10 // bytes
	LinesMax    = 16       // signature lines
)

// ErrNote says that bytes are no signed note within the limits, or that its text is no
// checkpoint.
var ErrNote = errors.New("not a signed checkpoint")

// A Note is text with signature lines (c2sp.org/signed-note). Nothing in one from
// ParseNote is verified. It must not be changed while others read it.
type Note struct {
	Text  string // ends with a newline
	Lines []Line // 1 to LinesMax, no two of one key
}

// A Line is a signature in a note.
type Line struct {
	Name string // of the key
	ID   uint32 // of the key: the first four bytes of a hash over name, type and key
	Sig  []byte // what the key's type says; for a cosignature the time first
}

const dash = "— " // begins each signature line

// ParseNote reads a signed note strictly: UTF-8 without control characters, canonical
// base64, 1 to LinesMax lines, no key twice, at most NoteSizeMax bytes. The bytes of
// the result are raw again. The error wraps ErrNote.
func ParseNote(raw []byte) (*Note, error) {
	switch {
	case len(raw) > NoteSizeMax:
		return nil, fmt.Errorf("%w: more than %d bytes", ErrNote, NoteSizeMax)
	case !utf8.Valid(raw):
		return nil, fmt.Errorf("%w: not UTF-8", ErrNote)
	case bytes.ContainsFunc(raw, func(r rune) bool { return r < ' ' && r != '\n' }):
		return nil, fmt.Errorf("%w: a control character", ErrNote)
	}
	whole := string(raw)
	at := strings.LastIndex(whole, "\n\n")
	if at < 0 || !strings.HasSuffix(whole, "\n") {
		return nil, fmt.Errorf("%w: no empty line between text and signatures, or no newline at the end", ErrNote)
	}
	n := &Note{Text: whole[:at+1]}
	for text := range strings.SplitSeq(strings.TrimSuffix(whole[at+2:], "\n"), "\n") {
		if len(n.Lines) == LinesMax {
			return nil, fmt.Errorf("%w: more than %d signatures", ErrNote, LinesMax)
		}
		line, err := parseLine(text)
		if err != nil {
			return nil, fmt.Errorf("%w: signature line %d: %w", ErrNote, len(n.Lines)+1, err)
		}
		if n.line(line.Name, line.ID) != nil {
			return nil, fmt.Errorf("%w: signature line %d: the second of one key", ErrNote, len(n.Lines)+1)
		}
		n.Lines = append(n.Lines, line)
	}
	return n, nil
}

func parseLine(text string) (Line, error) {
	rest, ok := strings.CutPrefix(text, dash)
	name, encoded, cut := strings.Cut(rest, " ")
	switch {
	case !ok || !cut:
		return Line{}, errors.New("not of the form — NAME BASE64")
	case !validName(name):
		return Line{}, errors.New("a key name that is none")
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(encoded)
	switch {
	case err != nil:
		return Line{}, errors.New("what follows the name is no base64")
	case len(sig) < 5:
		return Line{}, errors.New("no signature")
	}
	return Line{Name: name, ID: binary.BigEndian.Uint32(sig), Sig: sig[4:]}, nil
}

// validName says whether a key may be called so: no spaces of any script, no plus.
func validName(name string) bool {
	return name != "" && utf8.ValidString(name) && !strings.Contains(name, "+") &&
		strings.IndexFunc(name, func(r rune) bool { return unicode.IsSpace(r) || r < ' ' }) < 0
}

// line returns the line of a key, nil if there is none.
func (n *Note) line(name string, id uint32) *Line {
	for i := range n.Lines {
		if l := &n.Lines[i]; l.ID == id && l.Name == name {
			return l
		}
	}
	return nil
}

// Bytes returns the note as it is sent, stored and served.
func (n *Note) Bytes() []byte {
	out := append([]byte(n.Text), '\n')
	for _, l := range n.Lines {
		out = append(append(append(out, dash...), l.Name...), ' ')
		out = base64.StdEncoding.AppendEncode(out, append(binary.BigEndian.AppendUint32(nil, l.ID), l.Sig...))
		out = append(out, '\n')
	}
	return out
}

// Merge unites the signature lines of notes of one text, in the order given. Of two
// lines of one key the first stays, so what is newest, or verified, goes first. It
// verifies nothing. The error wraps ErrNote; it also comes for different texts and for
// more than LinesMax lines.
func Merge(notes ...[]byte) ([]byte, error) {
	var all *Note
	for _, raw := range notes {
		n, err := ParseNote(raw)
		switch {
		case err != nil:
			return nil, err
		case all == nil:
			all = n
			continue
		case n.Text != all.Text:
			return nil, fmt.Errorf("%w: signatures of two different texts cannot be one note", ErrNote)
		}
		for _, l := range n.Lines {
			if all.line(l.Name, l.ID) == nil {
				all.Lines = append(all.Lines, l)
			}
		}
	}
	if all == nil {
		return nil, fmt.Errorf("%w: nothing to merge", ErrNote)
	}
	if len(all.Lines) > LinesMax {
		return nil, fmt.Errorf("%w: %d signatures, at most %d", ErrNote, len(all.Lines), LinesMax)
	}
	return slices.Clip(all.Bytes()), nil
}
