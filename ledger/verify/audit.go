package verify

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
)

const checkpointFile = "checkpoint"

// A Fault is what an audit found, in one file.
type Fault struct {
	File string // below the source; of a Dir by the name that it has there
	Err  error  // what is wrong with it, and what to do
}

func (f *Fault) Error() string { return f.File + ": " + f.Err.Error() }
func (f *Fault) Unwrap() error { return f.Err }

// A Report says what an audit has checked.
type Report struct {
	Checked        // the checkpoint
	Files   uint64 // tiles and bundles that were read
	Bytes   uint64 // in them
	Beyond  uint64 // files of a directory with nothing but what the checkpoint does not speak of yet
}

// Audit checks a whole ledger: the checkpoint's signatures by the policy, each entry,
// each hash of each tile, and that together they have the checkpoint's root; in a Dir
// also that nothing else lies there. It reads files in parallel and holds some MB of
// them. After each tile it calls progress, if not nil, with entries, from one
// goroutine. What is wrong with the ledger is a *Fault, the first in the order of
// entries; every other error is of the context.
func Audit(ctx context.Context, src Source, policy *Policy, progress func(done, total uint64)) (Report, error) {
	a := &audit{src: src, progress: progress}
	note, err := a.read(ctx, checkpointFile, tlog.NoteSizeMax)
	if err != nil {
		return a.report, err
	}
	checked, err := policy.Check(note)
	if err == nil {
		a.report.Checked = *checked
		err = checked.strict()
	}
	if err != nil {
		return a.report, &Fault{checkpointFile, advise(err)}
	}
	err = a.tree(ctx)
	dir, ok := src.(Dir)
	if err == nil && ok {
		err = a.strays(ctx, dir)
	}
	if fault := (*Fault)(nil); ok && errors.As(err, &fault) {
		fault.File = dir.onDisk(fault.File)
	}
	return a.report, err
}

// strict refuses also what Check ignores: in a ledger's own checkpoint there is no line
// of a stranger.
func (c *Checked) strict() error {
	if err := c.quorate(); err != nil {
		return err
	}
	if len(c.Foreign) > 0 {
		return fmt.Errorf("a line in the name of %q is by a signer that the region does not name: give --cosigner VKEY if you know it; else the file was changed, or the region's records here are old", c.Foreign[0])
	}
	return nil
}

// advise adds what to do about a checkpoint that does not pass.
func advise(err error) error {
	switch {
	case errors.Is(err, ErrOrigin):
		return fmt.Errorf("%w: give the directory or address of that one", err)
	case errors.Is(err, ErrQuorum):
		return fmt.Errorf("%w: fetch a newer one from another member, and do not rely on this ledger before", err)
	case errors.Is(err, ErrUnsigned):
		return fmt.Errorf("%w: see that the region's records are new (--region FILE)", err)
	case errors.Is(err, tlog.ErrLine) || errors.Is(err, tlog.ErrNote):
		return fmt.Errorf("%w: the file was changed; fetch it from another member", err)
	}
	return err
}

type audit struct {
	src      Source
	progress func(done, total uint64)
	report   Report

	mu sync.Mutex // guards Files and Bytes of the report
}

// read reads one file. The error is a Fault, or of the context.
func (a *audit) read(ctx context.Context, path string, max int) ([]byte, error) {
	raw, err := a.src.Read(ctx, path, max)
	switch {
	case err == nil:
		a.mu.Lock()
		a.report.Files, a.report.Bytes = a.report.Files+1, a.report.Bytes+uint64(len(raw))
		a.mu.Unlock()
		return raw, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, fs.ErrNotExist) && path == checkpointFile:
		err = errors.New("it is missing, so this is no ledger, or not the whole of it: give the directory, or the address, that has it")
	case errors.Is(err, fs.ErrNotExist) && a.lies(path):
		err = tooShort{}
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("it is missing (%w): fetch it from another member's node", fs.ErrNotExist)
	}
	return nil, &Fault{path, err}
}

// tooShort says that a file is there and not all that should be in it.
type tooShort struct{}

func (tooShort) Error() string {
	return "it holds less than the checkpoint speaks of: if this is a copy of a node that ran, copy again; else fetch it from another member's node"
}

func (tooShort) Is(target error) bool { return target == fs.ErrNotExist }

// lies reports whether a directory has a file for a path under another name.
func (a *audit) lies(path string) bool {
	dir, ok := a.src.(Dir)
	return ok && dir.onDisk(path) != path
}

// tile reads a tile or bundle. Of a partial one that is gone since the tile was filled,
// the first part of the full one does.
func (a *audit) tile(ctx context.Context, t tlog.Path) ([]byte, error) {
	limit := tlog.TileBytes
	if t.Level == tlog.LevelEntries {
		limit = tlog.BundleBytesMax
	}
	raw, err := a.read(ctx, t.String(), limit)
	if t.Width == tlog.TileWidth || !errors.Is(err, fs.ErrNotExist) {
		return raw, err
	}
	full := t
	full.Width = tlog.TileWidth
	whole, fullErr := a.read(ctx, full.String(), limit)
	if fullErr != nil {
		return nil, err
	}
	return first(whole, t), nil
}

// first returns the part of a full tile that is a partial one; of less than that, all.
func first(whole []byte, t tlog.Path) []byte {
	if t.Level != tlog.LevelEntries {
		return whole[:min(len(whole), t.Width*len(crypto.Hash{}))]
	}
	n := 0
	for range t.Width {
		if len(whole)-n < 2 {
			return whole
		}
		n += 2 + int(binary.BigEndian.Uint16(whole[n:]))
	}
	return whole[:min(n, len(whole))]
}

// tree checks all tiles and their root.
func (a *audit) tree(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	workers := a.src.Parallel()
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	type job struct {
		index uint64
		done  chan part
	}
	size := a.report.Size
	tiles := (size + tlog.TileWidth - 1) / tlog.TileWidth
	jobs, order := make(chan job), make(chan chan part, 2*workers) // so much is read ahead
	group.Go(func() {
		defer close(jobs)
		defer close(order)
		for i := range tiles {
			j := job{i, make(chan part, 1)}
			select {
			case order <- j.done:
			case <-ctx.Done():
				return
			}
			select {
			case jobs <- j:
			case <-ctx.Done():
				return
			}
		}
	})
	for range workers {
		group.Go(func() {
			for j := range jobs {
				j.done <- a.leaves(ctx, j.index)
			}
		})
	}
	above := func(t tlog.Path, hashes []crypto.Hash) error { return a.compare(ctx, t, hashes) }
	p, done := &pile{}, uint64(0)
	for next := range order {
		var leaves part
		select {
		case leaves = <-next:
		case <-ctx.Done():
			return ctx.Err()
		}
		if leaves.err != nil {
			return leaves.err
		}
		if leaves.differs != nil {
			return a.blame(ctx, p, tlog.Path{Index: done / tlog.TileWidth, Width: len(leaves.hashes)}, leaves)
		}
		if err := p.add(leaves.hashes, above); err != nil {
			return err
		}
		if done += uint64(len(leaves.hashes)); a.progress != nil {
			a.progress(done, size)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := p.open(above); err != nil {
		return err
	}
	root, err := p.root()
	if err != nil {
		return err
	}
	if root != a.report.Root {
		return &Fault{checkpointFile, fmt.Errorf("its root is not that of the %d entries here: the tiles fit each other, so either they or the checkpoint are of another history; keep both as evidence, and compare with another member's", size)}
	}
	return nil
}

type part struct {
	hashes  []crypto.Hash // of the entries
	tile    []byte        // that should have the same
	differs error         // it has not
	err     error
}

// leaves reads the entries below a tile of level 0, and that tile.
func (a *audit) leaves(ctx context.Context, index uint64) (p part) {
	t := tlog.Path{Level: tlog.LevelEntries, Index: index}
	t.Width = t.In(a.report.Size)
	raw, err := a.tile(ctx, t)
	if err != nil {
		return part{err: err}
	}
	entries, err := tlog.SplitBundle(raw, t.Width)
	if err != nil {
		return part{err: &Fault{t.String(), damaged(err)}}
	}
	p.hashes = make([]crypto.Hash, len(entries))
	for i, e := range entries {
		p.hashes[i] = tlog.LeafHash(e)
	}
	t.Level = 0
	if p.tile, p.err = a.tile(ctx, t); p.err == nil {
		p.differs = same(p.tile, p.hashes)
	}
	return p
}

// blame says which of two is damaged, the entries below a tile or the tile. If all
// tiles of level 0 together have the signed root, it is the entries. p has the tiles
// before.
func (a *audit) blame(ctx context.Context, p *pile, t tlog.Path, l part) error {
	fault := &Fault{t.String(), damaged(l.differs)}
	raw := l.tile
	for next := t; ; {
		if err := p.addTile(raw); err != nil {
			return fault
		}
		next.Index++
		if next.Width = next.In(a.report.Size); next.Width == 0 {
			break
		}
		var err error
		if raw, err = a.tile(ctx, next); ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			return fault
		}
	}
	if root, err := p.root(); err == nil && root == a.report.Root {
		t.Level = tlog.LevelEntries
		return &Fault{t.String(), damaged(errors.New("an entry is not the one whose hash stands in the tile above it"))}
	}
	return fault
}

// compare reads a tile and checks that it has exactly these hashes.
func (a *audit) compare(ctx context.Context, t tlog.Path, hashes []crypto.Hash) error {
	raw, err := a.tile(ctx, t)
	if err != nil {
		return err
	}
	if err := same(raw, hashes); err != nil {
		return &Fault{t.String(), damaged(err)}
	}
	return nil
}

func damaged(err error) error {
	return fmt.Errorf("%w: the file was changed or damaged; fetch it from another member's node", err)
}
