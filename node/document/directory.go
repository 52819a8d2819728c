package document

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// What is in the directory: a whole document under its hash, one that has come in part
// under that, the start of that of its chunks and partSuffix, and what is being written.
// Names come from hashes alone.
const (
	partSuffix = ".part"
	tmpPattern = "put-*.tmp"
)

// A directory keeps documents as files. It is safe for concurrent use.
type directory struct {
	path string
	max  int64
	now  func() time.Time

	mu    sync.Mutex
	files map[Hash]*file
	parts map[string]int64 // bytes of what has come in part, by its file's name
}

// A file is a whole document. What is in it does not change.
type file struct {
	size int64
	at   time.Time // when it came
	ref  Ref       // zero until it was read and is what its name says
	list []byte
}

func openDirectory(path string, max int64, now func() time.Time) (*directory, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	d := &directory{path: path, max: max, now: now, files: map[Hash]*file{}, parts: map[string]int64{}}
	for _, e := range entries {
		id, err := ParseHash(e.Name())
		info, gone := e.Info()
		switch {
		case gone != nil || !info.Mode().IsRegular():
		case strings.HasSuffix(e.Name(), ".tmp"):
			_ = os.Remove(filepath.Join(path, e.Name())) // a crash left it
		case strings.HasSuffix(e.Name(), partSuffix):
			d.parts[e.Name()] = info.Size()
		case err == nil:
			d.files[id] = &file{size: info.Size(), at: info.ModTime()}
		}
	}
	return d, nil
}

func (d *directory) name(id Hash) string { return filepath.Join(d.path, id.String()) }

// partName is the name of the file with what has come of a document. That of its chunks
// is in it, or who signs a false list could spoil what came by the true one.
func partName(ref Ref) string { return ref.ID.String() + "-" + ref.Chunks.String()[:16] + partSuffix }

func (d *directory) has(id Hash) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.files[id] != nil
}

// put writes a file, and returns when it is durable. pinned says what must not make
// room for it.
func (d *directory) put(r io.Reader, pinned func(name string) bool) (ref Ref, err error) {
	tmp, err := os.CreateTemp(d.path, tmpPattern)
	if err != nil {
		return Ref{}, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tmp.Close(), os.Remove(tmp.Name()))
		}
	}()
	ref, list, err := copyHashed(tmp, r)
	if err != nil {
		return Ref{}, err
	}
	if d.has(ref.ID) {
		if _, err := d.load(ref.ID); err == nil {
			d.mu.Lock()
			d.files[ref.ID].at = d.now()
			d.mu.Unlock()
			return ref, errors.Join(tmp.Close(), os.Remove(tmp.Name()))
		}
	}
	if err = d.room(int64(ref.Size), pinned); err != nil {
		return Ref{}, err
	}
	if err = d.keep(tmp, ref, list); err != nil {
		return Ref{}, err
	}
	return ref, nil
}

// copyHashed copies a document to w and returns what names it.
func copyHashed(w io.Writer, r io.Reader) (ref Ref, list []byte, err error) {
	whole, buffer := sha256.New(), make([]byte, ChunkSize)
	for {
		n, err := io.ReadFull(r, buffer)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return ref, nil, err
		}
		if int(ref.Size)+n > SizeMax {
			return ref, nil, ErrTooLarge
		}
		if n > 0 {
			sum := sha256.Sum256(buffer[:n])
			list = append(list, sum[:]...)
			ref.Size += uint32(n)
			_, _ = whole.Write(buffer[:n])
			if _, err := w.Write(buffer[:n]); err != nil {
				return ref, nil, err
			}
		}
		if err != nil {
			break
		}
	}
	if ref.Size == 0 {
		return ref, nil, ErrEmpty
	}
	ref.ID, ref.Chunks = sum(whole), sha256.Sum256(list)
	return ref, list, nil
}

func sum(h hash.Hash) (out Hash) { return Hash(h.Sum(out[:0])) }

// keep makes an open file durable and gives it its name. f is closed if it returns nil.
func (d *directory) keep(f *os.File, ref Ref, list []byte) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil { // before the rename, for Windows
		return err
	}
	if err := os.Rename(f.Name(), d.name(ref.ID)); err != nil {
		return err
	}
	if dir, err := os.Open(d.path); err == nil {
		_ = dir.Sync() // where directories can be synced
		_ = dir.Close()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[ref.ID] = &file{size: int64(ref.Size), at: d.now(), ref: ref, list: list}
	delete(d.parts, partName(ref))
	return nil
}

// room makes room for so many bytes more: what has come in part goes first, then the
// oldest, but nothing that is pinned by its file's name.
func (d *directory) room(more int64, pinned func(name string) bool) error {
	type candidate struct {
		name string
		size int64
		at   time.Time
	}
	d.mu.Lock()
	used := int64(0)
	var all []candidate
	for id, f := range d.files {
		used, all = used+f.size, append(all, candidate{id.String(), f.size, f.at})
	}
	for name, size := range d.parts {
		used, all = used+size, append(all, candidate{name: name, size: size})
	}
	d.mu.Unlock()
	slices.SortFunc(all, func(a, b candidate) int { return a.at.Compare(b.at) })
	for _, c := range all {
		if used+more <= d.max {
			break
		}
		if !pinned(c.name) && d.drop(c.name) {
			used -= c.size
		}
	}
	if used+more > d.max {
		return ErrFull
	}
	return nil
}

// drop deletes a file by its name.
func (d *directory) drop(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := os.Remove(filepath.Join(d.path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	delete(d.parts, name)
	if id, err := ParseHash(name); err == nil {
		delete(d.files, id)
	}
	return true
}

// read returns a whole document, which is what its name says.
func (d *directory) read(id Hash) ([]byte, error) {
	if !d.has(id) {
		return nil, ErrMissing
	}
	content, err := os.ReadFile(d.name(id))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil || sha256.Sum256(content) != id {
		d.mu.Lock()
		delete(d.files, id)
		d.mu.Unlock()
		_ = os.Remove(d.name(id)) // it is no document any more
		return nil, fmt.Errorf("its file was damaged: %w", ErrMissing)
	}
	return content, nil
}

// load returns a whole document's file, read and checked once.
func (d *directory) load(id Hash) (file, error) {
	d.mu.Lock()
	f := d.files[id]
	if f != nil && f.ref != (Ref{}) {
		defer d.mu.Unlock()
		return *f, nil
	}
	d.mu.Unlock()
	content, err := d.read(id)
	if err != nil {
		return file{}, err
	}
	list := listOf(content)
	d.mu.Lock()
	defer d.mu.Unlock()
	if f = d.files[id]; f == nil {
		return file{}, ErrMissing
	}
	f.ref, f.list = Ref{ID: id, Chunks: sha256.Sum256(list), Size: uint32(len(content))}, list
	return *f, nil
}

// A part is a document that has come in part: a file of its size, and behind that the
// list of its chunks' hashes. Which chunks are there is found by hashing them, so that
// a crash needs no care. It is used by one fetch, and read by those who serve.
type part struct {
	d    *directory
	ref  Ref
	list []byte
	f    *os.File
}

// openPart opens a document's part, which has the list if it was there before; held are
// the chunks that are whole.
func (d *directory) openPart(ref Ref) (p *part, held set, err error) {
	f, err := os.OpenFile(filepath.Join(d.path, partName(ref)), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, held, err
	}
	d.mu.Lock()
	d.parts[partName(ref)] = int64(ref.Size) + int64(ref.count()*sha256.Size)
	d.mu.Unlock()
	p = &part{d: d, ref: ref, f: f}
	list := make([]byte, ref.count()*sha256.Size)
	if _, err := f.ReadAt(list, int64(ref.Size)); err != nil || sha256.Sum256(list) != ref.Chunks {
		return p, held, nil
	}
	p.list = list
	buffer := make([]byte, ChunkSize)
	for i := range ref.count() {
		_, size := ref.span(i)
		if p.read(i, buffer[:size]) == nil && p.fits(i, buffer[:size]) {
			held.add(i)
		}
	}
	return p, held, nil
}

// learn keeps the list, which must be the one that the document's author signed.
func (p *part) learn(list []byte) error {
	if len(list) != p.ref.count()*sha256.Size || sha256.Sum256(list) != p.ref.Chunks {
		return fmt.Errorf("%w: another list of chunks", errProtocol)
	}
	if _, err := p.f.WriteAt(list, int64(p.ref.Size)); err != nil {
		return err
	}
	p.list = list
	return nil
}

// hash returns what chunk i must have.
func (p *part) hash(i int) []byte { return p.list[i*sha256.Size : (i+1)*sha256.Size] }

// fits reports whether data is chunk i.
func (p *part) fits(i int, data []byte) bool {
	_, size := p.ref.span(i)
	sum := sha256.Sum256(data)
	return len(data) == size && bytes.Equal(sum[:], p.hash(i))
}

// write keeps chunk i, which fits.
func (p *part) write(i int, data []byte) error {
	at, _ := p.ref.span(i)
	_, err := p.f.WriteAt(data, int64(at))
	return err
}

// read fills data with what is where chunk i belongs.
func (p *part) read(i int, data []byte) error {
	at, _ := p.ref.span(i)
	_, err := p.f.ReadAt(data, int64(at))
	return err
}

// errFalse says that chunks and whole do not belong together: their author lied.
var errFalse = errors.New("the chunks are those that were signed, and the whole is not")

// finish makes a whole document of a part that has all chunks.
func (p *part) finish() error {
	whole := sha256.New()
	if _, err := io.Copy(whole, io.NewSectionReader(p.f, 0, int64(p.ref.Size))); err != nil {
		return err
	}
	if sum(whole) != p.ref.ID {
		return errFalse
	}
	if err := p.f.Truncate(int64(p.ref.Size)); err != nil {
		return err
	}
	return p.d.keep(p.f, p.ref, p.list)
}

func (p *part) close() error { return p.f.Close() }
