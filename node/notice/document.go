package notice

import (
	"crypto/sha256"
	"slices"
	"strings"
)

// Limits of documents.
const (
	DocumentMax  = 8 << 20 // bytes of one
	DocumentsMax = 8       // that one notice names
	mediaMax     = 100     // characters
)

// A Document is a file that a notice names. Its content travels by other ways, from
// whoever holds it, and is what the two hashes say or nothing.
type Document struct {
	SHA256 [sha256.Size]byte // of the whole file
	Chunks [sha256.Size]byte // of the list of its chunks' hashes, as package document has it
	Size   uint32            // bytes: 1 to DocumentMax
	Name   string            // a file's name without a path, ≤ WhatMax
	Media  string            // type/subtype, in small letters
}

// check checks a document, of which field is the name in errors.
func (d *Document) check(field string) error {
	if d.SHA256 == [sha256.Size]byte{} || d.Chunks == [sha256.Size]byte{} {
		return fieldErrorf(field+".sha256", "give that of the file", "it is not there")
	}
	if d.Size == 0 || d.Size > DocumentMax {
		return fieldErrorf(field+".size", "a document has 1 to 8388608 bytes: split it, or give a link in the text", "it has %d bytes", d.Size)
	}
	if err := checkSaid(field+".name", d.Name, WhatMax); err != nil {
		return err
	}
	if !isFileName(d.Name) {
		return fieldErrorf(field+".name", "give the name of a file alone, such as playbook.pdf", "%s is no name that every system takes, or has a path", show(d.Name))
	}
	if len(d.Media) > mediaMax || !isMedia(d.Media) {
		return fieldErrorf(field+".media_type", "give type/subtype, such as application/pdf", "%s is no media type", show(d.Media))
	}
	return nil
}

// reserved are the names that Windows keeps for devices, whatever extension they have.
var reserved = []string{
	"con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9",
	"lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
}

// isFileName reports whether a name can be that of a file on every system, in the
// directory where it is wanted and in no other, and no option of a command.
func isFileName(name string) bool {
	if strings.ContainsAny(name, `/\:*?"<>|`) || strings.ContainsAny(name[:1], ".-~") || strings.HasSuffix(name, ".") {
		return false
	}
	stem, _, _ := strings.Cut(strings.ToLower(name), ".")
	return !slices.Contains(reserved, strings.TrimSpace(stem))
}

// isMedia reports whether s is type/subtype of small letters, digits and .+-.
func isMedia(s string) bool {
	kind, sub, found := strings.Cut(s, "/")
	return found && isToken(kind) && isToken(sub)
}

func isToken(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune(".+-", r)
	}) < 0
}
