package feed

import "strings"

// Line and Text are what a list writes of a value, for tests of formats.
func (p *Policy) Line(e *Entry) ([]byte, error) { return p.Format.line(nil, p, e) }

// Header is what stands before the lines.
func (p *Policy) Header(serial uint32) []byte { return p.header(serial) }

// Text is all of a snapshot.
func (s *Snapshot) Text() string { var b strings.Builder; _, _ = s.WriteTo(&b); return b.String() }
