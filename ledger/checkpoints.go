package ledger

import (
	"errors"
	"fmt"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
)

// Note is given what was announced on the mesh in a region's topic. It reports whether
// others should hear it too, and whether its sender must have known better.
func (l *Ledger) Note(region crypto.Region, raw []byte) (relay, blame bool) {
	m, err := decodeFrame(raw)
	if err != nil {
		return false, true
	}
	switch m := m.(type) {
	case *note:
		return l.follow.noted(region, m.Note)
	case *evidence:
		return l.follow.accused(region, m.Proof)
	}
	return false, true
}

func (f *follower) noted(region crypto.Region, raw []byte) (relay, blame bool) {
	origin, err := originOf(raw)
	if of, _, bad := tlog.ParseOrigin(origin); err != nil || bad != nil || of != region {
		return false, true
	}
	if region != f.l.c.Region {
		return f.notedForeign(origin, raw)
	}
	t := f.trackOf(origin)
	if t == nil {
		return false, false // of an epoch that the charter here does not have yet
	}
	s, news, err := t.take(raw, "")
	return err == nil && s.Good && news, badNote(err)
}

// badNote reports whether who sends a note that is refused so must have known better. Whose
// signatures count may be known there and not here.
func badNote(err error) bool { return errors.Is(err, tlog.ErrNote) || errors.Is(err, tlog.ErrLine) }

// originOf returns whose checkpoint a note says it is.
func originOf(raw []byte) (string, error) {
	n, err := tlog.ParseNote(raw)
	if err != nil {
		return "", err
	}
	c, err := n.Checkpoint()
	return c.Origin, err
}

// Checkpoint returns the newest good checkpoint of the newest epoch, nil if there is
// none yet. What is returned must not be changed.
func (l *Ledger) Checkpoint() (note []byte, c tlog.Checkpoint) {
	for _, t := range l.follow.tracks() {
		if s := t.newest(); s != nil {
			return s.raw, s.Checkpoint
		}
	}
	return nil, tlog.Checkpoint{}
}

// Grown returns a channel that is closed when a better checkpoint comes: larger, later
// or with more signatures.
func (l *Ledger) Grown() <-chan struct{} {
	f := l.follow
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.better
}

// ErrNotCovered: no good checkpoint that is known here has the entry in its tree, or the
// entry is not in the ledger at all.
var ErrNotCovered = errors.New("no checkpoint that is known here has the entry")

// Receipt returns the proof that an entry is in the ledger of this region, of whatever
// epoch: under the newest checkpoint that all witnesses have signed if the entry is in
// it, else under the newest good one. ErrNotCovered says that no checkpoint has it yet.
func (l *Ledger) Receipt(entry []byte) (*verify.Receipt, error) {
	leaf := tlog.LeafHash(entry)
	for _, t := range l.follow.tracks() {
		index, ok, err := t.tree.index(leaf)
		if err != nil {
			return nil, fmt.Errorf("make a receipt: %w", err)
		}
		s := t.over(index)
		if !ok || s == nil {
			continue
		}
		path, err := t.tree.Inclusion(index, s.Size)
		if err != nil {
			l.follow.mend(l.follow.ctx, t, err)
			return nil, fmt.Errorf("make a receipt: %w", err)
		}
		return &verify.Receipt{Entry: entry, Index: index, Path: path, Note: s.raw}, nil
	}
	return nil, ErrNotCovered
}

// over returns the checkpoint under which an entry is shown, nil if it is in none.
func (t *track) over(index uint64) *stand {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range []*stand{t.witnessed, t.good} {
		if s != nil && index < s.Size {
			return s
		}
	}
	return nil
}
