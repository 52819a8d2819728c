package ledger

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
)

// Files of an epoch beside its tiles. The checkpoint is where C2SP tlog-tiles has it.
const (
	tilesDir       = "tiles"
	checkpointFile = "checkpoint" // in tilesDir
	witnessedFile  = "witnessed"  // newest checkpoint with all witnesses
	linesFile      = "lines"      // checkpoints with the newest line of a voter that is not in checkpointFile
)

// Limits of what is kept of an epoch's checkpoints.
const (
	targetsMax = 8  // good ones that are larger than the tree here
	pendingMax = 16 // larger ones that no quorum signed
	doubtsMax  = 16 // ones that contradict the tree here and are not proven to
	linesMax   = 16 // checkpoints in linesFile
)

var errNoPolicy = errors.New("whose signatures count is not known here")

// A stand is a checkpoint with signatures that were verified. It is not changed.
type stand struct {
	raw []byte
	*verify.Checked
}

func (s *stand) by(member crypto.MemberID) bool {
	is := func(v verify.Signature) bool { return v.Member == member }
	return s != nil && (slices.ContainsFunc(s.Voters, is) || slices.ContainsFunc(s.Witnesses, is))
}

// signedAt is when so many voters had signed that the checkpoint was good: an old line
// of one more does not make it older. Zero if they never had.
func (s *stand) signedAt() time.Time {
	var times []time.Time
	for _, v := range s.Voters {
		times = append(times, v.Time)
	}
	if s.Quorum == 0 || len(times) < s.Quorum {
		return time.Time{}
	}
	slices.SortFunc(times, func(a, b time.Time) int { return b.Compare(a) })
	return times[s.Quorum-1]
}

// A doubt is a checkpoint that contradicts the tree here.
type doubt struct {
	*stand
	from string // who told it, empty if nobody did
}

// A track is what this node knows of one epoch's checkpoints: those that its own
// tree agrees with, those that it has yet to grow to, and those that contradict it.
type track struct {
	councils *councils
	origin   string
	dir      string
	tree     *tree
	votes    func() bool // the tree here is one of those that vote
	wake     func()      // there is something for the follower to do
	grown    func()      // there is a better checkpoint

	// mu is held for as long as files are written.
	mu        sync.Mutex
	good      *stand // newest good one
	witnessed *stand // newest of those that all witnesses have signed
	targets   []*stand
	pending   []doubt
	doubts    []doubt
	split     bool                          // it is proven that voters signed two ledgers
	signed    map[crypto.MemberID]*stand    // newest with a member's lines
	seen      map[crypto.MemberID]time.Time // when the newest good one with a member's lines was signed
	unsaved   bool                          // signed has what no file has
	loading   bool                          // what is taken now is from the files
	damage    error                         // the tree here could not be read, for this reason
	mends     map[string]int                // how often each tile was fetched again
	shown     kept                          // good, as its file
	proven    kept                          // witnessed, as its file
	lined     time.Time                     // when signed was written last

	marks markState
}

// check verifies a checkpoint's signatures. Lines of strangers are left out: a voter that
// adds some would take the room of others' lines.
func (t *track) check(raw []byte) (*stand, error) {
	policy := t.councils.policy(t.origin)
	if policy == nil {
		return nil, errNoPolicy
	}
	c, err := policy.Check(raw)
	if err != nil {
		return nil, err
	}
	if len(c.Foreign) > 0 {
		raw = policy.Trim(raw)
	}
	return &stand{raw, c}, nil
}

// take looks at a checkpoint that a peer has told, or that was signed here. It
// returns what the checkpoint's signatures say, and whether it is news: larger or
// with more signatures than what is known.
func (t *track) take(raw []byte, from string) (s *stand, news bool, err error) {
	if s := t.known(raw); s != nil {
		return s, false, nil
	}
	if s, err = t.check(raw); err != nil {
		return nil, false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remember(s)
	if s.Size > t.tree.Size() {
		return s, t.await(s, from), nil
	}
	news, err = t.compare(s, from)
	return s, news, err
}

// known returns the checkpoint if these very bytes are known: most come from several
// peers.
func (t *track) known(raw []byte) *stand {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range append([]*stand{t.good, t.witnessed}, t.targets...) {
		if s != nil && bytes.Equal(s.raw, raw) {
			return s
		}
	}
	return nil
}

// remember notes whose lines a checkpoint has.
func (t *track) remember(s *stand) {
	at := s.signedAt()
	for _, v := range slices.Concat(s.Voters, s.Witnesses) {
		if s.Good && at.After(t.seen[v.Member]) {
			t.seen[v.Member] = at
		}
		if old := t.signed[v.Member]; old == nil || old.Size < s.Size {
			t.signed[v.Member], t.unsaved = s, true
		}
	}
}

// await keeps a checkpoint for when the tree has grown to it.
func (t *track) await(s *stand, from string) (news bool) {
	for _, o := range t.targets {
		if o.Size == s.Size && o.Root != s.Root {
			t.doubt(doubt{s, from})
			return false
		}
	}
	if !s.Good {
		if t.pending = append(t.pending, doubt{s, from}); len(t.pending) > pendingMax {
			t.pending = t.pending[1:]
		}
		return false
	}
	news = true
	for i, o := range t.targets {
		if o.Size == s.Size {
			t.targets[i], news = t.unite(o, s), false
			return news
		}
	}
	t.targets = append(t.targets, s)
	slices.SortFunc(t.targets, func(a, b *stand) int { return cmp.Compare(b.Size, a.Size) })
	if len(t.targets) > targetsMax {
		// The largest may be one that nobody can show: the smallest is kept too.
		t.targets = slices.Delete(t.targets, targetsMax-2, len(t.targets)-1)
	}
	t.wake()
	return news
}

// settle looks at what the tree has grown to.
func (t *track) settle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	size := t.tree.Size()
	var due []doubt
	t.targets = slices.DeleteFunc(t.targets, func(s *stand) bool {
		if s.Size <= size {
			due = append(due, doubt{s, ""})
		}
		return s.Size <= size
	})
	t.pending = slices.DeleteFunc(t.pending, func(d doubt) bool {
		if d.Size <= size {
			due = append(due, d)
		}
		return d.Size <= size
	})
	slices.SortFunc(due, func(a, b doubt) int { return cmp.Compare(b.Size, a.Size) })
	for _, d := range due {
		if _, err := t.compare(d.stand, d.from); err != nil {
			t.pending = append(t.pending, d) // the tree cannot be read just now
		}
	}
	if len(t.pending) > pendingMax {
		t.pending = t.pending[len(t.pending)-pendingMax:]
	}
}

// compare looks at a checkpoint that the tree is large enough for.
func (t *track) compare(s *stand, from string) (news bool, err error) {
	if s.Size == 0 {
		return false, nil
	}
	root, err := t.tree.Root(s.Size)
	switch {
	case err != nil:
		t.damage = err
		t.wake()
		return false, err
	case root != s.Root:
		t.doubt(doubt{s, from})
		return false, nil
	case !s.Good:
		return false, nil
	}
	return t.hold(s)
}

// damaged returns why the tree here could not be read, once.
func (t *track) damaged() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.damage
	t.damage = nil
	return err
}

// doubt keeps a checkpoint that contradicts the tree, or another checkpoint.
func (t *track) doubt(d doubt) {
	if t.split {
		return // it is known what to think of this ledger
	}
	for _, o := range t.doubts {
		if o.Size == d.Size && o.Root == d.Root {
			return
		}
	}
	if len(t.doubts) < doubtsMax {
		t.doubts = append(t.doubts, d)
	}
	t.wake()
}

// hold makes a good checkpoint that the tree agrees with the one to show.
func (t *track) hold(s *stand) (news bool, err error) {
	better, full := s, s
	if t.good != nil {
		switch {
		case t.good.Size > s.Size:
			better = t.good
		case t.good.Size == s.Size:
			better = t.unite(t.good, s)
			full = better
		}
	}
	if w := t.witnessed; w != nil && w.Size == s.Size {
		full = t.unite(w, full)
	}
	if t.good == nil || !bytes.Equal(better.raw, t.good.raw) {
		if err := t.keep(&t.shown, better); err != nil {
			return false, err
		}
		t.remember(better)
		t.good, news = better, true
	}
	if w := t.witnessed; full.Witnessed && (w == nil || full.Size > w.Size || full.Size == w.Size && !bytes.Equal(full.raw, w.raw)) {
		if err := t.keep(&t.proven, full); err != nil {
			return news, err
		}
		t.witnessed, news = full, true
	}
	if news {
		t.grown()
		if len(t.doubts) > 0 {
			t.wake() // it may be the other half of a proof
		}
	}
	return news, nil
}

// keepEvery is how often a kept checkpoint is written at most. Most are replaced within
// 100 ms, and each file is two syncs of the disk that everything else waits for. What a
// crash takes is no promise: how much this member has signed is in its mark, who got a
// receipt has the checkpoint, peers hold it too, and the leader has the tree signed again.
const keepEvery = 10 * time.Second

// A kept is a checkpoint's file: a whole one at any time, the newest or one of the last
// keepEvery.
type kept struct {
	path    string
	written time.Time
	waits   *stand // newer than the file
}

// keep writes a checkpoint to its file, or has it written later.
func (t *track) keep(k *kept, s *stand) error {
	if t.loading {
		return nil
	}
	k.waits = s
	if time.Since(k.written) < keepEvery {
		return nil
	}
	return t.write(k)
}

// write writes what waits.
func (t *track) write(k *kept) error {
	s := k.waits
	if s == nil {
		return nil
	}
	// A checkpoint must not outlive its tiles. A voter has them in its raft log, too.
	if !t.votes() {
		if err := t.tree.Sync(); err != nil {
			return fmt.Errorf("keep a checkpoint: %w", err)
		}
	}
	if err := writeDurably(k.path, s.raw); err != nil {
		return fmt.Errorf("keep a checkpoint: %w", err)
	}
	k.waits, k.written = nil, time.Now()
	return nil
}

// unite returns the checkpoint of one tree with the lines of two, the newer ones first.
// A voter's old line is left out of a newer checkpoint that is good without it: who looks
// at the oldest line would take the ledger for one that is not signed any more.
func (t *track) unite(old, s *stand) *stand {
	newer, older := s, old
	if newer.signedAt().Before(older.signedAt()) {
		newer, older = older, newer
	}
	rest := older.raw
	if newer.Good && newer.signedAt().Sub(older.signedAt()) > uniteFor {
		if rest = t.witnessLines(older); rest == nil {
			return newer
		}
	}
	raw, err := tlog.Merge(newer.raw, rest)
	switch {
	case err != nil:
		return newer
	case bytes.Equal(raw, old.raw):
		return old
	}
	both, err := t.check(raw)
	if err != nil {
		return newer
	}
	return both
}

// uniteFor is how far the voters' lines of one checkpoint may lie apart.
const uniteFor = 10 * time.Second

// witnessLines returns a checkpoint with the lines of its witnesses alone, nil if there
// are none.
func (t *track) witnessLines(s *stand) []byte {
	n, err := tlog.ParseNote(s.raw)
	region, _, bad := tlog.ParseOrigin(t.origin)
	if err != nil || bad != nil {
		return nil
	}
	names := map[string]bool{}
	for _, w := range s.Witnesses {
		names[tlog.Cosigner(region, w.Member)] = true
	}
	n.Lines = slices.DeleteFunc(n.Lines, func(l tlog.Line) bool { return !names[l.Name] })
	if len(n.Lines) == 0 {
		return nil
	}
	return n.Bytes()
}

// checkpointPath is beside the tiles, where who audits or serves the directory finds it.
func (t *track) checkpointPath() string { return filepath.Join(t.dir, tilesDir, checkpointFile) }

// load reads what an earlier run kept, before anything else is taken. Damaged files are as if there were none: peers
// have them too.
func (t *track) load() error {
	t.loading = true
	defer func() { t.loading, t.unsaved = false, false }()
	for _, path := range []string{t.shown.path, t.proven.path} {
		raw, err := readSmall(path, tlog.NoteSizeMax)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the checkpoint kept here: %w", err)
		}
		t.restore(raw)
	}
	raw, err := readSmall(filepath.Join(t.dir, linesFile), linesMax*(tlog.NoteSizeMax+8))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the signatures kept here: %w", err)
	}
	var notes [][]byte
	if err == nil && canon.Unmarshal(raw, &notes) == nil {
		for _, n := range notes {
			t.take(n, "")
		}
	}
	return nil
}

// restore takes a checkpoint that was good when it was kept: it stays the one to show
// though a signer has been revoked since.
func (t *track) restore(raw []byte) {
	s, _, err := t.take(raw, "")
	if err == nil && s.Good {
		return
	}
	n, err := tlog.ParseNote(raw)
	if err != nil {
		return
	}
	c, err := n.Checkpoint()
	if err != nil || c.Origin != t.origin || t.tree.Size() < c.Size {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if root, err := t.tree.Root(c.Size); err == nil && root == c.Root && t.good == nil {
		t.good = &stand{raw, &verify.Checked{Checkpoint: c}}
	}
}

// save writes down what is due: the checkpoints to keep, and the newest line of each
// voter as far as no checkpoint has it. At the end all is due.
func (t *track) save(end bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, k := range []*kept{&t.shown, &t.proven} {
		if end || time.Since(k.written) >= keepEvery {
			errs = append(errs, t.write(k))
		}
	}
	if end || time.Since(t.lined) >= keepEvery {
		errs = append(errs, t.saveLines())
	}
	return errors.Join(errs...)
}

// saveLines needs the lock.
func (t *track) saveLines() error {
	if !t.unsaved {
		return nil
	}
	var notes [][]byte
	for member, s := range t.signed {
		if len(notes) < linesMax && !t.good.by(member) && !slices.ContainsFunc(notes, func(n []byte) bool { return bytes.Equal(n, s.raw) }) {
			notes = append(notes, s.raw)
		}
	}
	t.unsaved = false
	if len(notes) == 0 {
		return nil
	}
	slices.SortFunc(notes, bytes.Compare)
	raw, err := canon.Marshal(notes)
	if err != nil {
		return fmt.Errorf("encode signatures: %w", err)
	}
	t.lined = time.Now()
	return writeDurably(filepath.Join(t.dir, linesFile), raw)
}

// lastSigned returns when the newest good checkpoint was signed that has a member's line,
// zero if none has.
func (t *track) lastSigned(member crypto.MemberID) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen[member]
}

// mine returns the newest checkpoint with a voter's line, nil if there is none.
func (t *track) mine(member crypto.MemberID) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.signed[member]; s != nil {
		return s.raw
	}
	return nil
}

// newest returns the newest good checkpoint, nil if there is none.
func (t *track) newest() *stand {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.good
}
