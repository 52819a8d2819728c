package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger"
	"github.com/watchward/watchward/ledger/entry"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// Bounds of the scribe.
const (
	dueMax        = 8192 // entries that it remembers as lacking; what came later is looked at when these are in
	scribeBatch   = 512  // entries handed to the ledger at once
	scribeTick    = time.Second
	scribeLook    = 50 * time.Millisecond // between two looks at what the ledger has meanwhile
	scribePrune   = time.Minute           // between two looks at whether what lacks is still held here
	scribeAppend  = 10 * time.Second      // until an append is tried anew
	omittedAfter  = 5 * time.Minute       // of checkpoints without it
	checkpointGap = 3 * time.Minute       // a ledger that works signs one a minute, also when nothing happens
)

// A book is what the scribe needs of the ledger.
type book interface {
	Append(ctx context.Context, entries ...[]byte) ([]ledger.Appended, error)
	Index(leaf crypto.Hash) (uint64, bool, error)
	Leads() bool
	LeaderChanged() <-chan struct{}
	Grown() <-chan struct{}
	Foreign() [][]byte
	Status() ledger.Status
}

// A due entry belongs in the ledger and is not in this node's copy.
type due struct {
	raw  []byte
	leaf crypto.Hash
	id   crypto.Hash

	// Of an envelope:
	local    uint64
	received int64 // ms
	author   crypto.MemberID
	omitted  int64 // ms, of the first in an unbroken row of checkpoints that lack it; 0 = none yet
}

func newDue(t entry.Type, id crypto.Hash) due {
	raw := entry.Encode(t, id)
	return due{raw: raw, leaf: crypto.LeafHash(raw), id: id}
}

// A scribe sees to it that everything that belongs in the region's ledger comes into
// it. Every member's follows the store and the roster and knows what the ledger
// lacks; the leader's appends that. So a new leader finishes the work of the one
// before, and since the ledger takes the same bytes once, nothing is there twice.
//
// Its durable cursor is the number of arrival up to which the ledger has everything:
// one an epoch, for a ledger that begins anew is to hold all of it.
type scribe struct {
	n       *Node
	l       book
	looked  time.Time       // when it last asked the ledger about what lacks …
	size    uint64          // … and how large that was then
	pruned  time.Time       // when it last looked whether what lacks is held here
	roster  <-chan struct{} // the roster's Changed when it was last read
	savedAt time.Time
	most    int // dueMax

	mu      sync.Mutex           // guards what follows; run alone changes it
	epoch   uint32               // 0 = there is no ledger
	lacking []due                // records first come first, envelopes in order of arrival
	more    bool                 // there is more in the store than lacking has room for
	next    uint64               // local number up to which the store was looked through
	saved   uint64               // the durable cursor
	known   map[crypto.Hash]bool // ids of records that the ledger has
	foreign map[string][]byte    // by origin: the latest checkpoint of another region that waits
	row     int64                // ms, of the latest checkpoint in an unbroken row
}

func newScribe(n *Node, l book) *scribe {
	return &scribe{n: n, l: l, most: dueMax, foreign: map[string][]byte{}}
}

// run works until ctx ends.
func (s *scribe) run(ctx context.Context) {
	tick := time.NewTicker(scribeTick)
	defer tick.Stop()
	for ctx.Err() == nil {
		stored, roster := s.n.store.Changed(), s.n.roster.Changed()
		leader, grown := s.l.LeaderChanged(), s.l.Grown()
		more, err := s.step(ctx)
		if err != nil && ctx.Err() == nil && !errors.Is(err, ledger.ErrNone) {
			s.n.log.Debug("the ledger waits", slog.Any("err", err)) // status, metrics and an alarm tell people
		}
		if more && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-stored:
		case <-roster:
		case <-leader:
		case <-grown:
			if rest := scribeLook - time.Since(s.looked); rest > 0 && !s.l.Leads() { // a busy ledger grows all the time
				select {
				case <-time.After(rest):
				case <-ctx.Done():
				}
			}
		case <-tick.C:
		}
	}
}

// step does what can be done now. more says that there is more of it.
func (s *scribe) step(ctx context.Context) (more bool, err error) {
	status := s.l.Status()
	if status.Epoch == 0 || status.Role == ledger.RoleNone {
		s.begin(0, 0)
		return false, nil
	}
	if status.Epoch != s.epoch {
		saved, err := s.n.store.Cursor(cursorOf(status.Epoch))
		if err != nil {
			return false, err
		}
		s.begin(status.Epoch, saved)
	}
	if err := s.strike(status.Size); err != nil {
		return false, err
	}
	if err := s.readRoster(); err != nil {
		return false, err
	}
	if err := s.readStore(); err != nil {
		return false, err
	}
	s.takeForeign()
	if s.l.Leads() {
		if err := s.append(ctx); err != nil {
			return false, err
		}
	}
	if s.l.Status().Epoch != s.epoch { // what was asked may have been said of the next ledger
		return true, nil
	}
	s.judge(status)
	return s.more && len(s.lacking) < s.most, s.save(ctx)
}

// cursorOf is the name of an epoch's cursor.
func cursorOf(epoch uint32) string { return fmt.Sprintf("ledger/%d", epoch) }

// begin starts with an epoch from a place in the store.
func (s *scribe) begin(epoch uint32, from uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch, s.lacking, s.more, s.next, s.saved, s.row = epoch, nil, false, from, from, 0
	s.known, s.roster, s.size = map[crypto.Hash]bool{}, nil, 0
}

// strike takes off the list what the ledger has meanwhile, and now and then what is
// not held here any more: what a revocation cut off is due no longer.
func (s *scribe) strike(size uint64) error {
	s.looked = time.Now()
	prune := s.looked.Sub(s.pruned) > scribePrune
	if size == s.size && !prune {
		return nil
	}
	s.size = size
	if prune {
		s.pruned = s.looked
	}
	var left []due
	for _, d := range s.lacking {
		_, in, err := s.l.Index(d.leaf)
		if err == nil && !in && prune {
			in, err = s.gone(d)
		}
		if err != nil {
			return err
		}
		if !in {
			left = append(left, d)
		} else if d.local == 0 {
			s.known[d.id] = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lacking = left
	return nil
}

// gone reports whether something is not held here any more.
func (s *scribe) gone(d due) (bool, error) {
	if d.local == 0 {
		_, found := s.n.roster.Find(d.id)
		return !found && s.n.roster.CharterBy(s.n.roster.Region(), d.id) == nil, nil
	}
	here := false
	_, _, _, err := s.n.store.Messages(d.local-1, 1, func(m store.Message) bool {
		here = here || m.Local == d.local && crypto.Hash(m.Envelope.ID) == d.id
		return true
	})
	return !here, err
}

// lacks puts on the list what the ledger does not have.
func (s *scribe) lacks(d due) error {
	_, in, err := s.l.Index(d.leaf)
	if err != nil {
		return err
	}
	if in {
		if d.local == 0 {
			s.known[d.id] = true
		}
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lacking = append(s.lacking, d)
	return nil
}

// readRoster looks for charters and trust records of the own region that are new.
func (s *scribe) readRoster() error {
	changed := s.n.roster.Changed()
	if changed == s.roster {
		return nil
	}
	region := s.n.roster.Region()
	listed := map[crypto.Hash]bool{}
	for _, d := range s.lacking {
		listed[d.id] = true
	}
	take := func(t entry.Type, id crypto.Hash) error {
		if s.known[id] || listed[id] {
			return nil
		}
		return s.lacks(newDue(t, id))
	}
	for _, c := range s.n.roster.Charters(region) {
		if err := take(entry.Charter, c.Hash()); err != nil {
			return err
		}
	}
	for _, id := range s.n.roster.Decided(region) {
		if err := take(entry.Record, id); err != nil {
			return err
		}
	}
	s.roster = changed
	return nil
}

// readStore looks at what arrived since, as far as there is room on the list. Sealed
// words are not among what it is shown.
func (s *scribe) readStore() error {
	room := s.most - len(s.lacking)
	if room <= 0 {
		s.setMore(true)
		return nil
	}
	region := s.n.roster.Region()
	var found []due
	_, next, done, err := s.n.store.Messages(s.next, 1, func(m store.Message) bool {
		h := &m.Envelope.Header
		if h.Region == region && h.Audience != crypto.AudienceNamed {
			d := newDue(entry.Envelope, crypto.Hash(m.Envelope.ID))
			d.local, d.received, d.author = m.Local, m.Received, h.Author
			found = append(found, d)
		}
		return len(found) == room // the first that it takes ends the look
	})
	if err != nil {
		return err
	}
	for _, d := range found {
		if err := s.lacks(d); err != nil {
			return err
		}
	}
	s.next = next
	s.setMore(!done)
	return nil
}

func (s *scribe) setMore(more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.more = more
}

// takeForeign keeps the latest checkpoint of each other region.
func (s *scribe) takeForeign() {
	for _, raw := range s.l.Foreign() {
		n, err := tlog.ParseNote(raw)
		if err != nil {
			continue // the ledger verified it
		}
		if c, err := n.Checkpoint(); err == nil {
			sum := sha256.Sum256([]byte(c.Text()))
			s.foreign[c.Origin] = entry.Encode(entry.Checkpoint, sum)
		}
	}
}

// append hands to the ledger what lacks, while this node leads.
func (s *scribe) append(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, scribeAppend)
	defer cancel()
	for len(s.lacking) > 0 {
		part := s.lacking[:min(scribeBatch, len(s.lacking))]
		entries := make([][]byte, len(part))
		for i, d := range part {
			entries[i] = d.raw
		}
		if _, err := s.l.Append(ctx, entries...); err != nil {
			return err
		}
		for _, d := range part {
			if d.local == 0 {
				s.known[d.id] = true
			}
		}
		s.mu.Lock()
		s.lacking = slices.Clone(s.lacking[len(part):])
		s.mu.Unlock()
	}
	for origin, raw := range s.foreign {
		if _, err := s.l.Append(ctx, raw); err != nil {
			return err
		}
		delete(s.foreign, origin)
	}
	return nil
}

// save moves the durable cursor to where everything before is in the ledger.
func (s *scribe) save(ctx context.Context) error {
	at := s.next
	for _, d := range s.lacking {
		if d.local != 0 {
			at = min(at, d.local-1)
		}
	}
	if at <= s.saved || time.Since(s.savedAt) < scribeTick {
		return nil // what a crash loses of it is looked through again
	}
	s.savedAt = time.Now()
	if err := s.n.store.SetCursor(ctx, cursorOf(s.epoch), at); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved = at
	return nil
}

// pending returns how much of what this node knows is not in its copy of the ledger;
// more says that it is at least so much.
func (s *scribe) pending() (count int, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lacking), s.more
}

// judge looks for words that the ledger leaves out: it went on for five minutes
// without a break, and has none of it. While there is no quorum nobody is accused.
func (s *scribe) judge(status ledger.Status) {
	c := status.Checkpoint
	at := c.Time.UnixMilli()
	if !c.Good || status.Size < c.Size || at <= s.row {
		return // no newer one, or what it holds is not here yet
	}
	if at-s.row > checkpointGap.Milliseconds() {
		for i := range s.lacking {
			s.lacking[i].omitted = 0
		}
	}
	s.row = at
	for i := range s.lacking {
		d := &s.lacking[i]
		switch {
		case d.local == 0 || at <= d.received:
		case d.omitted == 0:
			d.omitted = at
		case at-d.omitted >= omittedAfter.Milliseconds():
			s.omission(d, at)
		}
	}
}

// omission tells of a word that is left out: once a day and author, since a
// coordinator that leaves out one word will leave out more.
func (s *scribe) omission(d *due, at int64) {
	who := s.n.memberName(d.author)
	if d.author == s.n.member {
		who = "this node"
	}
	day := time.UnixMilli(at).UTC().Format(time.DateOnly)
	s.n.alert(store.Alert{
		Kind: "ledger-omission", Severity: "critical", TLP: notice.TLPAmber, Dedup: fmt.Sprintf("ledger-omission/%s/%s", d.author, day),
		Text: fmt.Sprintf("The region's ledger has gone on for five minutes without a word of %s that is held here (envelope %s). "+
			"A coordinator may be holding it back: ask them. The word itself is spread as always.", who, d.id),
	})
}
