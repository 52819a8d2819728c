package archive

import (
	"bufio"
	"io"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"github.com/watchward/watchward/node/intel"
)

// decode finds the format of a file and turns text into UTF-8. JSON is UTF-8 by
// its specification (RFC 8259), so there only a byte order mark is believed.
func (f *File) decode() {
	f.Format = intel.Sniff(f.Head)
	if f.Format == intel.FormatUTF16 {
		f.from = "UTF-16"
		wide := unicode.UTF16(unicode.LittleEndian, unicode.ExpectBOM).NewDecoder()
		f.in = bufio.NewReaderSize(transform.NewReader(f.in, wide), intel.SniffBytes)
		f.Head = peek(f.in)
		f.Format = intel.Sniff(f.Head)
		return
	}
	switch f.Format {
	case intel.FormatText, intel.FormatHTML:
		f.text = &legacy{in: f.in}
		f.in = bufio.NewReaderSize(f.text, intel.SniffBytes)
		f.Head = peek(f.in)
	}
}

// legacy reads text that is UTF-8 or Windows-1252, which has Latin-1 in it. It
// decides at the first character that is not ASCII, by the bytes around it:
// text of one encoding hardly ever is well-formed in the other.
type legacy struct {
	in    *bufio.Reader
	rest  io.Reader // once decided
	found bool      // it is Windows-1252
}

func (l *legacy) Read(p []byte) (int, error) {
	if l.rest != nil {
		return l.rest.Read(p)
	}
	if _, err := l.in.Peek(1); err != nil {
		return 0, err
	}
	ahead, _ := l.in.Peek(l.in.Buffered())
	n := 0
	for n < len(ahead) && n < len(p) && ahead[n] < utf8.RuneSelf {
		n++
	}
	if n > 0 {
		copy(p, ahead[:n])
		return l.in.Discard(n)
	}
	ahead, _ = l.in.Peek(intel.SniffBytes)
	if l.rest = io.Reader(l.in); narrow(ahead) {
		l.found = true
		l.rest = transform.NewReader(l.in, charmap.Windows1252.NewDecoder())
	}
	return l.rest.Read(p)
}

// narrow reports whether more of the bytes that are not ASCII stand alone than
// belong to well-formed UTF-8.
func narrow(text []byte) bool {
	alone, together := 0, 0
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1 && utf8.FullRune(text):
			alone++
		case size > 1:
			together++
		}
		text = text[size:]
	}
	return alone > together
}
