// Package document keeps the files that notices name, such as playbooks and guidance,
// and gets them from whoever holds them. A document is opaque: nothing here looks into
// it. It is known by the SHA-256 of the whole, and by that of the list of its chunks'
// hashes, which its author signs as well: so each chunk is checked as it comes, whoever
// brings it.
//
// It works whatever carries its streams, and knows members by their peer ids.
//
// See DESIGN.md.
package document

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/bits"
	"slices"
	"sync"
	"time"

	"github.com/watchward/watchward/crypto"
)

// Sizes in bytes.
const (
	SizeMax   = 8 << 20 // of a document
	ChunkSize = 64 << 10
	chunksMax = SizeMax / ChunkSize

	MaxDefault = 1 << 30 // of all documents together
	shareParts = 4       // an author's documents have one part of so many, and so what is fetched of it in a day
)

// Protocol names the streams.
const Protocol = "/watchward/document/0"

// What may be wrong with a document. Each says what to do.
var (
	ErrMissing  = errors.New("this document is not here (yet): it comes when a member that holds it is connected")
	ErrTooLarge = errors.New("a document has at most 8 MiB: split it, or give a link to it in the text")
	ErrEmpty    = errors.New("the document is empty: choose another file")
	ErrFull     = errors.New("there is no room for more documents: raise [documents] mib in the configuration, or free some of the disk")
)

// A Hash is a SHA-256.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash reads 64 hexadecimal digits.
func ParseHash(s string) (h Hash, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) {
		return h, fmt.Errorf("%.80q is no SHA-256: give its 64 hexadecimal digits", s)
	}
	return Hash(b), nil
}

// A Ref names a document for good: no other content has it.
type Ref struct {
	ID     Hash   // of the whole file
	Chunks Hash   // of the hashes of its chunks, one behind the other
	Size   uint32 // bytes, 1 to SizeMax
}

// count returns how many chunks it has.
func (r Ref) count() int { return (int(r.Size) + ChunkSize - 1) / ChunkSize }

// span returns where a chunk begins, and how long it is.
func (r Ref) span(i int) (at, size int) {
	at = i * ChunkSize
	return at, min(ChunkSize, int(r.Size)-at)
}

// listOf returns the hashes of a content's chunks, one behind the other.
func listOf(content []byte) (list []byte) {
	for part := range slices.Chunk(content, ChunkSize) {
		sum := sha256.Sum256(part)
		list = append(list, sum[:]...)
	}
	return list
}

// set says of which chunks something holds.
type set [chunksMax / 8]byte

func (s *set) has(i int) bool { return s[i/8]&(1<<(i%8)) != 0 }
func (s *set) add(i int)      { s[i/8] |= 1 << (i % 8) }
func (s *set) count() (n int) {
	for _, b := range s {
		n += bits.OnesCount8(b)
	}
	return n
}

// first is the set of the first n chunks.
func first(n int) (s set) {
	for i := range n {
		s.add(i)
	}
	return s
}

// An Audience is who may have a document: those who may hear a notice that names it.
type Audience struct {
	Region   crypto.Region
	Audience crypto.Audience
	Members  []crypto.MemberID // of the named audience alone
}

// A Wanted is a document that a notice names, which is pinned as long as it does.
type Wanted struct {
	Ref
	Author crypto.MemberID // who says that it is wanted
	To     Audience
}

// A Stream carries what is said about one document to a member. One goroutine may read
// while another writes. Close ends it both ways at once, and a Read and Write with it.
type Stream interface {
	io.ReadWriteCloser
}

// A Network is how members reach each other. It must be safe for concurrent use.
type Network interface {
	// Peers returns the members that are connected and may have a document, the one
	// whose word it is first.
	Peers(w Wanted) []string
	// Open opens a stream to one of them, whose Serve is called there. It ends with ctx.
	Open(ctx context.Context, peer string) (Stream, error)
	// May reports whether a member may have what is for an audience.
	May(peer string, to Audience) bool
}

// Config of Documents. Dir is required.
type Config struct {
	Dir     string
	Max     int64            // bytes of all together; 0 = MaxDefault
	Self    crypto.MemberID  // whose own documents have no share to keep to
	Network Network          // nil = nothing is fetched
	Now     func() time.Time // nil = time.Now
	Log     *slog.Logger     // nil = none
	Liar    func()           // called when a member sends what is not in a document; nil = nothing
}

// Documents are those of one node. It is safe for concurrent use.
type Documents struct {
	c    Config
	log  *slog.Logger
	dir  *directory
	wake chan struct{} // something else is wanted, or can be fetched now

	ctx    context.Context
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	docs    map[Ref]*doc
	wanting chan struct{} // closed when one is added to docs
	fetches int
	serves  int
	served  map[string]int       // of them, by peer
	left    map[string]time.Time // peers that lied, until nothing is asked of them
	spent   map[crypto.MemberID]int64
	day     int64
}

// A doc is a document that is wanted. It is guarded by Documents.mu, but for its part.
type doc struct {
	ref     Ref
	wanted  []Wanted // by whom, and for whom
	list    []byte   // nil until it is known
	held    set
	whole   bool
	part    *part // nil before the first try, and when it is whole
	busy    bool  // it is being fetched
	rests   time.Time
	tries   int
	gifts   gifts
	changed chan struct{} // closed when more is held
}

// author is whose share it counts in.
func (x *doc) author() (id crypto.MemberID) {
	if len(x.wanted) > 0 {
		id = x.wanted[0].Author
	}
	return id
}

// missing returns how many bytes of it are still to come.
func (x *doc) missing() (n int64) {
	for i := range x.ref.count() {
		if !x.held.has(i) {
			_, size := x.ref.span(i)
			n += int64(size)
		}
	}
	return n
}

// A State says how far a document is here.
type State struct {
	Whole bool
	Held  int // chunks
	Of    int
}

// Open opens the directory of documents. Start fetches what is wanted.
func Open(c Config) (*Documents, error) {
	if c.Max == 0 {
		c.Max = MaxDefault
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := openDirectory(c.Dir, c.Max, c.Now)
	if err != nil {
		return nil, fmt.Errorf("open the documents in %s: %w", c.Dir, err)
	}
	d := &Documents{
		c: c, log: c.Log, dir: dir, wake: make(chan struct{}, 1), docs: map[Ref]*doc{}, wanting: make(chan struct{}),
		served: map[string]int{}, left: map[string]time.Time{}, spent: map[crypto.MemberID]int64{},
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d, nil
}

// Start fetches from now on.
func (d *Documents) Start() { d.wait.Go(d.run) }

// Close ends all streams and fetches and waits for them. What has come so far is kept.
func (d *Documents) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.cancel()
	d.wait.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, x := range d.docs {
		if x.part != nil {
			errs = append(errs, x.part.close())
			x.part = nil
		}
	}
	return errors.Join(errs...)
}

// Put keeps a file, of 1 to SizeMax bytes, and returns when it is on the disk. It stays
// for a while though nothing names it.
func (d *Documents) Put(r io.Reader) (Ref, error) {
	ref, err := d.dir.put(r, d.pinned)
	if err != nil {
		return Ref{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if x := d.docs[ref]; x != nil && !x.whole {
		d.completed(x)
	}
	return ref, nil
}

// Ref returns what names a document that is here. Another one, or one that is not whole,
// is ErrMissing.
func (d *Documents) Ref(id Hash) (Ref, error) {
	f, err := d.dir.load(id)
	if err != nil {
		return Ref{}, d.lost(id, err)
	}
	return f.ref, nil
}

// Content returns a document that is here. It is checked at each call: what the disk has
// damaged is ErrMissing, and is fetched again if it is wanted.
func (d *Documents) Content(id Hash) ([]byte, error) {
	content, err := d.dir.read(id)
	if err != nil {
		return nil, d.lost(id, err)
	}
	return content, nil
}

// lost makes a document whose file is gone or damaged be fetched again.
func (d *Documents) lost(id Hash, err error) error {
	if !errors.Is(err, ErrMissing) {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for ref, x := range d.docs {
		if ref.ID == id && x.whole {
			x.whole, x.held, x.list = false, set{}, nil
			d.nudge()
		}
	}
	return err
}

// State returns how far a document is here.
func (d *Documents) State(ref Ref) State {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := State{Of: ref.count()}
	if x := d.docs[ref]; x != nil {
		s.Whole, s.Held = x.whole, x.held.count()
	} else if d.dir.has(ref.ID) {
		s.Whole = true
	}
	if s.Whole {
		s.Held = s.Of
	}
	return s
}

// Missing counts the documents that are wanted and not whole here.
func (d *Documents) Missing() (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, x := range d.docs {
		if !x.whole {
			n++
		}
	}
	return n
}

// Want adds a document to those that are wanted. Twice the same is once.
func (d *Documents) Want(w Wanted) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.want(w)
}

// WantAll wants these and no others: what is not among them is pinned no longer.
func (d *Documents) WantAll(all []Wanted) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, x := range d.docs {
		x.wanted = nil
	}
	for _, w := range all {
		d.want(w)
	}
	for _, x := range d.docs {
		d.forget(x)
	}
}

// forget lets go of a document that nothing names, once its fetch has seen that. mu is
// held.
func (d *Documents) forget(x *doc) {
	if len(x.wanted) > 0 || x.busy {
		return
	}
	delete(d.docs, x.ref)
	close(x.changed)
	if x.part != nil {
		_ = x.part.close()
	}
}

func (d *Documents) want(w Wanted) {
	if w.Size == 0 || w.Size > SizeMax || d.closed {
		return
	}
	x := d.docs[w.Ref]
	if x == nil {
		x = &doc{ref: w.Ref, changed: make(chan struct{}), whole: d.dir.has(w.ID)}
		if x.whole {
			x.held = first(w.count())
		}
		d.docs[w.Ref] = x
		close(d.wanting)
		d.wanting = make(chan struct{})
	}
	same := func(o Wanted) bool {
		return o.Author == w.Author && o.To.Region == w.To.Region && o.To.Audience == w.To.Audience && slices.Equal(o.To.Members, w.To.Members)
	}
	if !slices.ContainsFunc(x.wanted, same) {
		x.wanted = append(x.wanted, w)
		d.more(x) // to those who may have it now
	}
	if !x.whole {
		d.nudge()
	}
}

// pinned reports whether a file must not make room for others.
func (d *Documents) pinned(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for ref := range d.docs {
		if ref.ID.String() == name || partName(ref) == name {
			return true
		}
	}
	return false
}

// completed notes that a document is whole; a fetch of it that is under way fails.
// mu is held.
func (d *Documents) completed(x *doc) {
	if x.part != nil {
		_ = x.part.close() // which finish has done
		d.dir.drop(partName(x.ref))
	}
	x.whole, x.held, x.part = true, first(x.ref.count()), nil
	d.more(x)
}

// more wakes those who wait for more of a document. mu is held.
func (d *Documents) more(x *doc) {
	close(x.changed)
	x.changed = make(chan struct{})
}

func (d *Documents) nudge() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// liar leaves a peer that sent what is in no document, for a while.
func (d *Documents) liar(peer string, err error) {
	now := time.Now()
	d.mu.Lock()
	again := d.left[peer].After(now)
	d.left[peer] = now.Add(liarTime)
	d.mu.Unlock()
	if d.c.Liar != nil {
		d.c.Liar()
	}
	if again { // the log is not to be flooded either
		return
	}
	d.log.Warn("a peer's document stream is not what it should be: nothing is asked of it for a while", slog.String("peer", fmt.Sprintf("%x", peer)), slog.Any("err", err))
}
