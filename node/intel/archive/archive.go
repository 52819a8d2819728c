// Package archive opens the containers and encodings that intelligence comes
// in: gzip and zip, UTF-16 and Windows-1252. Whatever it opens may be hostile,
// so everything has a bound: the bytes it grows to, how much larger they are
// than the input, the members, their names, and how deep archives lie in each
// other. It writes nothing but a temporary copy of a zip that cannot be seeked.
package archive

import (
	"archive/zip"
	"bufio"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// Bounds of one input.
const (
	BytesMax   = int64(4) << 30 // of all that is read, unpacked
	MembersMax = 20_000         // of a zip
	nameMax    = 255            // bytes of a member's name
	depthMax   = 2              // archives in each other: one, and one in it
	ratioMax   = 200            // unpacked bytes to one of the input; JSON has 5 to 40
	ratioFrom  = 32 << 20       // unpacked bytes from which on the ratio counts
)

// A File is what lies in an input: the input itself, or a member of an archive.
type File struct {
	// Path leads to it inside the input, "" if it is the input: "list.csv",
	// "inner.zip: list.csv".
	Path string
	// Name is the last part of its path, for a gzip without its ending.
	Name string
	// Format is what intel.Sniff says of it, decoded.
	Format string
	// Named is what its path says of its marking, and the name of the input: "TLP_AMBER_list.csv".
	Named intel.Marks
	// Beside is what a README in the archive says, for what has no other marking.
	Beside intel.Marks
	// Head is the start of it, up to intel.SniffBytes; it is read again by Read.
	Head []byte

	in   *bufio.Reader
	text *legacy
	from string
}

// Read reads the file, unpacked; text is decoded to UTF-8.
func (f *File) Read(p []byte) (int, error) { return f.in.Read(p) }

// Encoding names what the text was decoded from, "" for UTF-8. For
// Windows-1252, which only a character that is not ASCII tells, it is right
// once the file has been read.
func (f *File) Encoding() string {
	if f.text != nil && f.text.found {
		return "Windows-1252"
	}
	return f.from
}

// Mark gives what was found in the file the marking that its name has, and where
// neither has one that of the archive's notes.
func (f *File) Mark(found intel.Found) intel.Found {
	m := f.Named
	if found.TLP == 0 && found.Unclear == "" && m.TLP == 0 && m.Unclear == "" {
		m = f.Beside
	}
	found.TLP, found.Unclear = notice.Stricter(found.TLP, m.TLP), cmp.Or(found.Unclear, m.Unclear)
	if n := found.Notice; n != nil && n.Origin != nil {
		n.Origin.TLP = notice.Stricter(n.Origin.TLP, m.TLP)
	}
	return found
}

// Open calls yield for each file in an input, in the order of their paths; the
// manifest.json of a directory comes first in it. An error of yield ends the
// opening and is returned as it is. The name is that of the input's file, for
// gzip, which mostly does not know its own.
//
// What is wrong with an archive as a whole is found before the first file is
// yielded. What shows only while a member is read is an error of its Read, and
// Open returns it as well.
func Open(name string, in io.Reader, yield func(*File) error) error {
	b := &budget{in: in}
	o := &opener{budget: b, yield: yield, name: path.Base(name)}
	if f, ok := in.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			o.plain, b.size, b.file = f, info.Size(), true
		}
	}
	if err := o.open("", path.Base(name), b, 0); err != nil {
		return err
	}
	return b.err
}

// A budget counts what an input grows to.
type budget struct {
	in   io.Reader
	size int64 // of the input
	file bool  // the size is known; else it is what was read so far
	out  int64
	err  error // which bound was broken
}

// Read reads the input itself.
func (b *budget) Read(p []byte) (int, error) {
	n, err := b.in.Read(p)
	if !b.file {
		b.size += int64(n)
	}
	return n, b.spend(n, err)
}

// spend counts bytes that were read on any level.
func (b *budget) spend(n int, err error) error {
	b.out += int64(n)
	switch {
	case b.err != nil:
	case b.out > BytesMax:
		b.err = fmt.Errorf("it is larger than %d GiB, unpacked: split it", BytesMax>>30)
	case b.out > ratioFrom && b.out/ratioMax > b.size:
		b.err = fmt.Errorf("it grows to more than %d times its size, as only a zip bomb does: unpack it yourself if you trust it", ratioMax)
	}
	return cmp.Or(b.err, err)
}

// counted is a reader whose bytes the budget counts.
type counted struct {
	io.Reader
	*budget
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	return n, c.spend(n, err)
}

type opener struct {
	*budget
	plain  *os.File // the input, if it can be seeked
	yield  func(*File) error
	name   string      // of the input
	beside intel.Marks // what the notes of the archives say that are open
}

// open yields what a reader holds: one file, or those of an archive.
func (o *opener) open(at, name string, r io.Reader, depth int) error {
	in := bufio.NewReaderSize(r, intel.SniffBytes)
	head := peek(in)
	switch format := intel.Sniff(head); {
	case depth == depthMax && (format == intel.FormatZip || format == intel.FormatGzip):
		return fmt.Errorf("%sarchives lie too deep in each other: unpack the outer ones", prefix(at))
	case format == intel.FormatGzip:
		return o.gzip(at, name, in, depth)
	case format == intel.FormatZip:
		return o.zip(at, in, depth)
	}
	f := &File{Path: at, Name: name, in: in, Head: head, Beside: o.beside}
	for _, part := range strings.FieldsFunc(o.name+"/"+at, func(r rune) bool { return r == '/' }) {
		f.Named.Add("the name "+intel.Show(part), intel.FileName(part))
	}
	f.decode()
	return o.yield(f)
}

// peek returns the start of a reader without consuming it. What breaks it off
// comes again when it is read.
func peek(in *bufio.Reader) []byte {
	head, _ := in.Peek(intel.SniffBytes)
	return head
}

func (o *opener) gzip(at, name string, in io.Reader, depth int) error {
	z, err := gzip.NewReader(in)
	if err != nil {
		return fmt.Errorf("%sopen gzip: %w", prefix(at), err)
	}
	inner, cut := strings.CutSuffix(name, ".gz")
	if !cut {
		inner = name
	}
	// A gzip holds one file: its path is the gzip's own.
	return o.open(at, inner, counted{z, o.budget}, depth+1)
}

func (o *opener) zip(at string, in *bufio.Reader, depth int) error {
	file := o.plain
	if depth > 0 || file == nil { // what was read of it cannot be read again
		spooled, remove, err := spool(in)
		if err != nil {
			return fmt.Errorf("%sopen zip: %w", prefix(at), err)
		}
		defer remove()
		file = spooled
	}
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("%sopen zip: %w", prefix(at), err)
	}
	z, err := zip.NewReader(file, info.Size())
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return fmt.Errorf("%sopen zip: %w: get it again, whole", prefix(at), err)
	}
	members, err := members(z)
	if err != nil {
		return fmt.Errorf("%s%w", prefix(at), err)
	}
	outer := o.beside
	defer func() { o.beside = outer }()
	if err := o.notes(prefix(at), members); err != nil {
		return err
	}
	for _, m := range members {
		if err := o.member(prefix(at)+m.Name, m, depth); err != nil {
			return err
		}
		if o.err != nil {
			return o.err
		}
	}
	return nil
}

func (o *opener) member(at string, m *zip.File, depth int) error {
	r, err := m.Open()
	if err != nil {
		return fmt.Errorf("%s: %w: unpack it yourself", at, err)
	}
	defer r.Close()
	return o.open(at, path.Base(m.Name), counted{r, o.budget}, depth+1)
}

// noteNames are how the names of notes to an archive start.
var noteNames = []string{"readme", "read_me", "read-me", "read me", "liesmich", "lies_mich", "lies-mich", "lies mich", "hinweis", "note", "about",
	"handling", "marking", "tlp", "einstufung", "kennzeichnung", "weitergabe", "disclaimer"}

const notesMax = 20 // of an archive that are looked at, in the order of their paths

// notes looks into the start of an archive's notes for a marking of all that has
// no other. They are read again in their turn.
func (o *opener) notes(at string, members []*zip.File) error {
	seen := 0
	for _, m := range members {
		base := strings.ToLower(path.Base(m.Name))
		switch path.Ext(base) {
		case "", ".txt", ".md", ".adoc", ".rst", ".nfo", ".1st":
		default:
			continue
		}
		if !slices.ContainsFunc(noteNames, func(start string) bool { return strings.HasPrefix(base, start) }) {
			continue
		}
		if seen++; seen > notesMax { // one of them may have it
			o.beside.Add(at+m.Name, intel.Mark{Unclear: fmt.Sprintf("more than %d notes", notesMax)})
			return nil
		}
		r, err := m.Open()
		if err != nil {
			return fmt.Errorf("%s%s: %w: unpack it yourself", at, m.Name, err)
		}
		note := &File{in: bufio.NewReaderSize(counted{r, o.budget}, intel.SniffBytes)}
		note.Head = peek(note.in)
		note.decode()
		if note.Format == intel.FormatText {
			number := 0
			for line := range strings.Lines(string(note.Head)) {
				number++
				o.beside.Line(fmt.Sprintf("%s%s: line %d", at, m.Name, number), strings.TrimSpace(line))
			}
		}
		_ = r.Close()
	}
	return nil
}

// members returns the files of a zip, or why it is not opened.
func members(z *zip.Reader) ([]*zip.File, error) {
	if len(z.File) > MembersMax {
		return nil, fmt.Errorf("the zip has %d members: at most %d", len(z.File), MembersMax)
	}
	var out []*zip.File
	seen := map[string]bool{}
	for _, m := range z.File {
		name := strings.ReplaceAll(m.Name, `\`, "/") // as old Windows tools write it
		shown := intel.Show(m.Name)
		switch {
		case name == "[Content_Types].xml":
			return nil, errors.New(intel.Unreadable(intel.FormatOffice))
		case len(name) > nameMax || !fs.ValidPath(strings.TrimSuffix(name, "/")) || strings.ContainsAny(name, ":\x00"):
			return nil, fmt.Errorf("the zip has a member named %q, which leads out of it: nothing of it is read", shown)
		case strings.HasSuffix(name, "/") || strings.HasPrefix(name, "__MACOSX/") || strings.HasPrefix(path.Base(name), "."):
			continue
		case m.Flags&1 != 0:
			return nil, fmt.Errorf("%s in the zip is encrypted: unpack it with its password", shown)
		case !m.Mode().IsRegular():
			return nil, fmt.Errorf("%s in the zip is no file but a link or a device: nothing of it is read", shown)
		case seen[name]:
			return nil, fmt.Errorf("the zip has two members named %s: nobody can say which counts", shown)
		}
		seen[name], m.Name = true, name
		out = append(out, m)
	}
	if len(out) == 0 {
		return nil, errors.New("the zip is empty")
	}
	slices.SortFunc(out, func(a, b *zip.File) int { return cmp.Compare(sortKey(a.Name), sortKey(b.Name)) })
	return out, nil
}

// sortKey puts a feed's manifest before the events it lists.
func sortKey(name string) string {
	dir, base := path.Split(name)
	if base == "manifest.json" {
		base = ""
	}
	return dir + base
}

// spool copies what cannot be seeked into a temporary file.
func spool(r io.Reader) (*os.File, func(), error) {
	f, err := os.CreateTemp("", "watchward-*.zip")
	if err != nil {
		return nil, nil, err
	}
	remove := func() { _ = f.Close(); _ = os.Remove(f.Name()) }
	if _, err := io.Copy(f, r); err != nil {
		remove()
		return nil, nil, err
	}
	return f, remove, nil
}

func prefix(at string) string {
	if at == "" {
		return ""
	}
	return at + ": "
}
