package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/notice"
)

// Values are small and written by the hundred thousand, so they are varints in
// a fixed order. Each begins with what tells versions apart where it may change.

// errCorrupt says that a stored value cannot be what this package wrote.
var errCorrupt = errors.New("corrupt value: restore this node from a backup, or let it fetch everything again from its peers")

// A reader takes values off the front of b; the first mistake stays in err.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// time reads what putTime wrote: ms since 1970, never negative.
func (r *reader) time() int64 {
	v := r.uvarint()
	if v > math.MaxInt64 {
		r.bad = true
		return 0
	}
	return int64(v)
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) fill(out []byte) { copy(out, r.bytes(len(out))) }

// done reports whether everything was read and nothing was left over.
func (r *reader) done(what string) error {
	if r.bad || len(r.b) != 0 {
		return fmt.Errorf("%s: %w", what, errCorrupt)
	}
	return nil
}

func putTime(b []byte, ms int64) []byte { return binary.AppendUvarint(b, uint64(max(ms, 0))) }

// --- entries ---

const (
	entryEnvelope = 1
	entryLocal    = 2
	entryNamed    = 3 // a sealed envelope and what is in it
)

// Internal flags of local entries, beside the exported Flags.
const (
	flagExercise = 1 << 4
	flagUrgent   = 1 << 5
	flagWaiting  = 1 << 6 // in the outbox
)

const entryHeadSize = 10 // kind, flags, received

func appendEntryHead(b []byte, kind, flags byte, received int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, kind, flags), uint64(received))
}

// An entry is one local sequence number's content: an envelope's message, or
// one item of ours that has no envelope.
type entry struct {
	kind     byte
	flags    byte
	received int64
	rest     []byte // the message, an encoded localEntry, or a named one
}

func decodeEntry(v []byte) (entry, error) {
	if len(v) < entryHeadSize || v[0] != entryEnvelope && v[0] != entryLocal && v[0] != entryNamed {
		return entry{}, fmt.Errorf("entry: %w", errCorrupt)
	}
	return entry{kind: v[0], flags: v[1], received: int64(binary.BigEndian.Uint64(v[2:])), rest: v[entryHeadSize:]}, nil
}

// A localEntry is one of our own items before, or without, an envelope.
type localEntry struct {
	flags    byte
	received int64
	tlp      notice.TLP
	audience crypto.Audience
	member   uint32
	expiry   int64
	content  [20]byte
	to       []crypto.MemberID // of the named audience
	raw      []byte
}

func (w *localEntry) encode() []byte {
	b := appendEntryHead(make([]byte, 0, len(w.raw)+64), entryLocal, w.flags, w.received)
	b = append(b, byte(w.tlp), byte(w.audience))
	b = binary.AppendUvarint(b, uint64(w.member))
	b = putTime(b, w.expiry)
	b = append(b, w.content[:]...)
	if w.audience == crypto.AudienceNamed {
		b = append(b, byte(len(w.to))) // at most seal.NamedMax
		for _, m := range w.to {
			b = append(b, m[:]...)
		}
	}
	return append(b, w.raw...)
}

func (e entry) local() (*localEntry, error) {
	r := reader{b: e.rest}
	w := &localEntry{flags: e.flags, received: e.received}
	w.tlp, w.audience = notice.TLP(r.byte()), crypto.Audience(r.byte())
	w.member = uint32(r.uvarint())
	w.expiry = r.time()
	r.fill(w.content[:])
	if w.audience == crypto.AudienceNamed {
		w.to = make([]crypto.MemberID, r.byte())
		for i := range w.to {
			r.fill(w.to[i][:])
		}
	}
	if r.bad || e.kind != entryLocal {
		return nil, fmt.Errorf("local entry: %w", errCorrupt)
	}
	w.raw = r.b
	return w, nil
}

// --- slots and chains ---

// A slot is one number of a chain and the envelope that holds it.
type slot struct {
	local  uint64
	id     crypto.EnvelopeID
	time   int64
	expiry int64
	floor  uint64
	urgent bool
	bare   bool // its items are gone
}

func (s *slot) encode() []byte {
	b := make([]byte, 0, 64)
	b = append(b, bits(s.urgent, s.bare))
	b = append(b, s.id[:]...)
	b = binary.AppendUvarint(b, s.local)
	b = putTime(b, s.time)
	b = putTime(b, s.expiry)
	return binary.AppendUvarint(b, s.floor)
}

func decodeSlot(v []byte) (slot, error) {
	r := reader{b: v}
	f := r.byte()
	s := slot{urgent: f&1 != 0, bare: f&2 != 0}
	r.fill(s.id[:])
	s.local = r.uvarint()
	s.time, s.expiry = r.time(), r.time()
	s.floor = r.uvarint()
	return s, r.done("slot")
}

func bits(flags ...bool) (b byte) {
	for i, f := range flags {
		if f {
			b |= 1 << i
		}
	}
	return b
}

// rangesMax bounds the ranges of one chain. Only an author that skips numbers
// on purpose makes so many holes.
const rangesMax = 1 << 16

// A chainState is what is stored of a chain: its holding without Recent, which
// Open rebuilds from the slots.
type chainState struct {
	number   uint32
	holding  mesh.Holding
	received int64  // ms, when its last envelope came
	swept    uint64 // slots below it are deleted, their floor having passed
	dirty    bool   // in a batch: must be written

	cut       Cut
	low       uint64            // if cut: the lowest number that is linked to it, cut.Seq+1 while none is
	next      crypto.EnvelopeID // the only envelope that counts below low
	unsettled bool              // what is stored does not agree with the cut yet
}

func (c *chainState) encode() []byte {
	h := &c.holding
	b := make([]byte, 0, 128+20*len(h.Ranges))
	b = append(b, h.Chain.Region[:]...)
	b = append(b, h.Chain.Author[:]...)
	b = binary.AppendUvarint(b, uint64(h.Chain.Serial))
	b = append(b, byte(h.Chain.Audience))
	b = binary.AppendUvarint(b, uint64(h.Chain.Epoch))
	b = append(b, h.Top[:]...)
	b = binary.AppendUvarint(b, h.Floor)
	b = putTime(b, c.received)
	b = binary.AppendUvarint(b, c.swept)
	b = append(b, bits(c.cut.Limited, c.unsettled))
	if c.cut.Limited {
		b = binary.AppendUvarint(b, c.cut.Seq)
		b = append(b, c.cut.ID[:]...)
		b = binary.AppendUvarint(b, c.low)
		b = append(b, c.next[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(h.Ranges)))
	last := uint64(0)
	for _, r := range h.Ranges {
		b = binary.AppendUvarint(b, r.From-last)
		b = binary.AppendUvarint(b, r.To-r.From)
		last = r.To
	}
	for _, f := range h.Forks {
		if f.Seq >= h.Floor {
			b = append(binary.AppendUvarint(b, f.Seq), f.ID[:]...)
		}
	}
	return b
}

func decodeChain(number uint32, v []byte) (*chainState, error) {
	r := reader{b: v}
	c := &chainState{number: number}
	h := &c.holding
	r.fill(h.Chain.Region[:])
	r.fill(h.Chain.Author[:])
	h.Chain.Serial = uint32(r.uvarint())
	h.Chain.Audience = crypto.Audience(r.byte())
	h.Chain.Epoch = uint32(r.uvarint())
	r.fill(h.Top[:])
	h.Floor = r.uvarint()
	c.received = r.time()
	c.swept = r.uvarint()
	f := r.byte()
	c.cut.Limited, c.unsettled = f&1 != 0, f&2 != 0
	if c.cut.Limited {
		c.cut.Seq = r.uvarint()
		r.fill(c.cut.ID[:])
		c.low = r.uvarint()
		r.fill(c.next[:])
	}
	n := r.uvarint()
	if n > rangesMax || n > uint64(len(r.b)) {
		return nil, fmt.Errorf("chain: %w", errCorrupt)
	}
	last := uint64(0)
	for range n {
		from := last + r.uvarint()
		to := from + r.uvarint()
		if from < last || to < from {
			return nil, fmt.Errorf("chain: %w", errCorrupt)
		}
		h.Ranges = append(h.Ranges, mesh.Range{From: from, To: to})
		last = to
	}
	for len(r.b) > 0 && len(h.Forks) < mesh.ForksMax {
		f := mesh.Fork{Seq: r.uvarint()}
		r.fill(f.ID[:])
		h.Forks = append(h.Forks, f)
	}
	return c, r.done("chain")
}

// --- items ---

// States of an item.
const (
	itemReferred = 1 // only spoken of; the item itself is not here
	itemLocal    = 2
	itemWaiting  = 3
	itemSigned   = 4
)

// Flags of an item.
const (
	itemRetracted = 1 << 0
	itemSpokenOf  = 1 << 1 // there are references to it
	itemShared    = 1 << 2 // it is in several envelopes
)

// An itemState is what is known of an item by its id alone.
type itemState struct {
	state  byte
	flags  byte
	local  uint64
	index  uint16
	member uint32
	first  uint64 // local number under which it was first visible
}

func (s *itemState) encode() []byte {
	b := make([]byte, 0, 20)
	b = append(b, s.state|s.flags<<4)
	b = binary.AppendUvarint(b, s.local)
	b = binary.AppendUvarint(b, uint64(s.index))
	b = binary.AppendUvarint(b, uint64(s.member))
	if s.first != s.local {
		b = binary.AppendUvarint(b, s.first)
	}
	return b
}

func decodeItem(v []byte) (itemState, error) {
	r := reader{b: v}
	c := r.byte()
	s := itemState{state: c & 15, flags: c >> 4}
	s.local = r.uvarint()
	s.index = uint16(r.uvarint())
	s.member = uint32(r.uvarint())
	s.first = s.local
	if len(r.b) > 0 {
		s.first = r.uvarint()
	}
	return s, r.done("item")
}

// --- evidence ---

// Evidence is what one item says of one indicator.
type evidence struct {
	kind        notice.Kind
	tlp         notice.TLP
	retracted   bool
	exercise    bool
	member      uint32
	first, last int64
	count       uint64
	expiry      int64

	// Whose word it is, and of what. whole says that both are known: evidence of
	// before they were kept lacks them, and only the notice tells.
	whole          bool
	source, family string
}

func (e *evidence) appendTo(b []byte) []byte {
	named := e.source != "" || e.family != ""
	b = append(b, byte(e.kind), byte(e.tlp)|bits(e.retracted, e.exercise, e.whole, named)<<4)
	b = binary.AppendUvarint(b, uint64(e.member))
	b = putTime(b, e.first)
	b = putTime(b, max(e.last-e.first, 0))
	b = binary.AppendUvarint(b, e.count)
	b = putTime(b, e.expiry)
	if named {
		b = append(binary.AppendUvarint(b, uint64(len(e.source))), e.source...)
		b = append(b, e.family...)
	}
	return b
}

func decodeEvidence(v []byte) (evidence, error) {
	r := reader{b: v}
	e := evidence{kind: notice.Kind(r.byte())}
	c := r.byte()
	e.tlp, e.retracted, e.exercise, e.whole = notice.TLP(c&15), c&16 != 0, c&32 != 0, c&64 != 0
	e.member = uint32(r.uvarint())
	e.first = r.time()
	e.last = e.first + r.time()
	e.count = r.uvarint()
	e.expiry = r.time()
	if c&128 != 0 {
		e.source = string(r.bytes(int(min(r.uvarint(), notice.ValueMax+1))))
		e.family = string(r.bytes(len(r.b)))
		if e.source == "" && e.family == "" {
			return e, fmt.Errorf("evidence without its names: %w", errCorrupt)
		}
	}
	if e.tlp > notice.TLPRed {
		return e, fmt.Errorf("evidence marked %d: %w", e.tlp, errCorrupt)
	}
	return e, r.done("evidence")
}

// counts reports whether the evidence is part of a summary at now (ms).
func (e *evidence) counts(now int64) bool { return !e.retracted && !e.exercise && e.expiry > now }

// --- meta ---

const formatVersion = 1

// Meta is what the store knows of itself; it is written with every batch.
type meta struct {
	local      uint64                    // last local sequence number
	notices    [notice.TLPRed + 1]uint64 // by marking
	indicators uint64
	envelopes  uint64
	alerts     uint64 // number of the last alert
	waiting    uint64 // items in the outbox
	chains     uint32 // not stored: chains have the numbers below it
}

func (m *meta) encode() []byte {
	b := []byte{formatVersion}
	for _, v := range []uint64{m.local, m.indicators, m.envelopes, m.alerts, m.waiting} {
		b = binary.AppendUvarint(b, v)
	}
	for _, v := range m.notices {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

// within returns how many notices may be shown under a ceiling.
func (m *meta) within(ceiling notice.TLP) (n uint64) {
	for tlp, count := range m.notices {
		if Visible(notice.TLP(tlp), ceiling) {
			n += count
		}
	}
	return n
}

func decodeMeta(v []byte) (meta, error) {
	r := reader{b: v}
	if version := r.byte(); version != formatVersion {
		return meta{}, fmt.Errorf("store format %d, this build reads %d: use the version of watchward that wrote it", version, formatVersion)
	}
	m := meta{local: r.uvarint(), indicators: r.uvarint(), envelopes: r.uvarint(), alerts: r.uvarint(), waiting: r.uvarint()}
	for i := range m.notices {
		m.notices[i] = r.uvarint()
	}
	return m, r.done("meta")
}
