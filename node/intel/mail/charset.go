package mail

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/htmlindex"

	"github.com/watchward/watchward/node/intel"
)

// decodeCharset turns text into UTF-8. Text that is not in the charset it names,
// as far as that shows, is refused: a value in it would be another.
func decodeCharset(charset string, raw []byte) ([]byte, error) {
	switch strings.ToLower(charset) {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		if at := invalid(raw); at >= 0 {
			return nil, lies(cmp.Or(charset, "utf-8"), raw[:at])
		}
		return raw, nil
	}
	from, err := htmlindex.Get(charset)
	if err != nil {
		return nil, fmt.Errorf("the charset %q is not known: save its text as UTF-8", intel.Show(charset))
	}
	out, err := from.NewDecoder().Bytes(raw)
	if err != nil {
		return nil, fmt.Errorf("the charset %q: %w", intel.Show(charset), err)
	}
	if at := bytes.IndexRune(out, utf8.RuneError); at >= 0 {
		return nil, lies(charset, out[:at])
	}
	// UTF-8 that is called Latin-1 is well-formed UTF-8, which Latin-1 never is by chance.
	switch name, _ := htmlindex.Name(from); name {
	case "windows-1252", "iso-8859-15":
		if at := bytes.IndexFunc(raw, func(r rune) bool { return r >= utf8.RuneSelf }); at >= 0 && utf8.Valid(raw) {
			return nil, lies(charset, raw[:at])
		}
	}
	return out, nil
}

// invalid finds the first byte that is not UTF-8, -1 if there is none.
func invalid(raw []byte) int {
	for at := 0; at < len(raw); {
		r, size := utf8.DecodeRune(raw[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return -1
}

func lies(charset string, before []byte) error {
	return fmt.Errorf("line %d of its text: it is not in the charset %q: save its text as UTF-8, or try --format text",
		1+bytes.Count(before, []byte("\n")), intel.Show(charset))
}
