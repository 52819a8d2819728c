package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// Limits of what is submitted here.
const (
	LocalItemsMax      = 10_000             // items of one LocalBatch
	IdempotencyKeyMax  = 255                // bytes
	IdempotencyKeyLife = 7 * 24 * time.Hour // how long an idempotency key keeps its ids
)

// ErrIdempotency: an idempotency key was used before for other content.
var ErrIdempotency = errors.New("this idempotency key was used for another request: choose a new key")

// A LocalBatch is what one request submits.
type LocalBatch struct {
	Items       []LocalItem
	Received    int64    // ms
	Idempotency string   // "" = none; the same key with the same request gives the same ids for 7 days
	Request     [32]byte // hash of the request as it was made; zero = the items' content stands for it
}

// A LocalItem is one of our own items that has no envelope yet, or never will.
type LocalItem struct {
	ID       crypto.ItemID
	Raw      []byte         // the encoded item
	Notice   *notice.Notice // the same decoded
	Author   crypto.MemberID
	TLP      notice.TLP        // 0 = unmarked, only for the local audience
	Audience crypto.Audience   // local: stays here; else it waits in the outbox
	Content  [20]byte          // notice.ContentKey; two items with the same, for the same, are one
	To       []crypto.MemberID // for the named audience: whom it is for, up to seal.NamedMax
	Exercise bool
	Urgent   bool
	Again    bool // take it although the same was retracted; else what was imported is not
}

// takesAgain reports whether what states the same and was retracted gives way. An
// import that is repeated must not undo a retraction; who saw it again says so.
func (l *LocalItem) takesAgain() bool { return l.Again || l.Notice.Origin == nil }

// Submitted says what became of a LocalItem.
type Submitted struct {
	ID       crypto.ItemID // of the notice that states it; an older one's if Known
	Known    bool          // it was stated before, and still holds or was retracted
	Promoted bool          // Known, and was local: it now waits in the outbox under the same id
}

// AppendLocal stores own items and returns when they are durable. What was
// stated before, by its content, and neither expired nor was retracted (an
// import: retracted or not), is not taken again; but a local notice that is now to be shared goes to the outbox,
// under the id it has.
//
// Up to about 4,000 items are one transaction. A larger batch is split, and
// repeating it after a crash takes nothing twice.
func (s *Store) AppendLocal(ctx context.Context, l LocalBatch) ([]Submitted, error) {
	if len(l.Items) > LocalItemsMax {
		return nil, fmt.Errorf("%d items in one batch: at most %d", len(l.Items), LocalItemsMax)
	}
	if len(l.Idempotency) > IdempotencyKeyMax {
		return nil, fmt.Errorf("the idempotency key has %d bytes: at most %d", len(l.Idempotency), IdempotencyKeyMax)
	}
	words := make([]word, len(l.Items))
	for i := range l.Items {
		it := &l.Items[i]
		words[i] = newWord(it.ID, 0, it.Notice, it.TLP, it.Exercise, it.Notice.DefaultExpiry(), 0)
	}
	out := make([]Submitted, len(l.Items))
	const keysPerLocal = 7
	for start := 0; start < len(l.Items); {
		end := min(start+keysMax/keysPerLocal, len(l.Items))
		answered := false
		err := s.do(ctx, keysPerLocal*(end-start), func(b *batch) error {
			var err error
			if answered, err = b.answered(&l, out); answered || err != nil {
				return err
			}
			for i := start; i < end; i++ {
				if out[i], err = b.appendLocal(&l.Items[i], &words[i], l.Received); err != nil {
					return fmt.Errorf("store item %d: %w", i, err)
				}
			}
			if end == len(l.Items) {
				return b.answer(&l, out)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if answered {
			break
		}
		start = end
	}
	return out, nil
}

func (b *batch) appendLocal(l *LocalItem, w *word, received int64) (Submitted, error) {
	known, err := b.stated(l)
	if err != nil {
		return Submitted{}, err
	}
	if known != nil {
		promoted, err := b.promote(known, l, w)
		return Submitted{ID: known.id, Known: true, Promoted: promoted}, err
	}
	member, err := b.member(l.Author)
	if err != nil {
		return Submitted{}, err
	}
	entry := &localEntry{
		flags: bits(l.Exercise, l.Urgent) << 4, received: received, tlp: l.TLP, audience: l.Audience,
		member: member, expiry: l.Notice.DefaultExpiry(), content: l.key(), to: l.To, raw: l.Raw,
	}
	local := b.nextLocal()
	place := itemState{state: itemLocal, local: local, member: member, first: local}
	if l.Audience != crypto.AudienceLocal {
		place.state = itemWaiting
	}
	if known, err := b.state(w, place); err != nil || known {
		return Submitted{ID: l.ID, Known: known}, err // the same bytes, salt and all
	}
	if err := b.known(l.key(), l.ID); err != nil {
		return Submitted{}, err
	}
	if err := b.set(expiryKey(entry.expiry, local), nil); err != nil {
		return Submitted{}, err
	}
	return Submitted{ID: l.ID}, b.putLocal(entry, local, l.ID)
}

// putLocal stages a local entry, and its place in the outbox if it waits.
func (b *batch) putLocal(w *localEntry, local uint64, id crypto.ItemID) error {
	if w.audience != crypto.AudienceLocal {
		w.flags |= flagWaiting
		b.meta.waiting++
		if err := b.set(outboxKey(w, local), id[:]); err != nil {
			return err
		}
	}
	return b.put(entryKey(local), w.encode())
}

// stated returns the item that states the same and still holds, or was retracted
// for good.
func (b *batch) stated(l *LocalItem) (*item, error) {
	it, err := b.statedAs(l, l.key())
	if err != nil || it != nil || len(l.To) == 0 {
		return it, err
	}
	// What was kept on this node is now said to some.
	it, err = b.statedAs(l, l.Content)
	if err != nil || it == nil || it.state != itemLocal || it.flags&itemRetracted != 0 {
		return nil, err
	}
	return it, nil
}

func (b *batch) statedAs(l *LocalItem, key [20]byte) (*item, error) {
	id, ok := b.contents[key]
	if !ok {
		v, err := b.get(contentKey(key))
		if err != nil || len(v) != len(id) {
			return nil, err
		}
		id = crypto.ItemID(v)
	}
	it, err := b.item(id)
	if err != nil || !it.here || it.state == itemReferred || it.flags&itemRetracted != 0 && l.takesAgain() {
		return nil, err
	}
	if err := b.load(it); err != nil || it.evidence == nil || it.evidence.expiry <= b.now {
		return nil, err
	}
	return it, nil
}

// known keeps what an own item is known by.
func (b *batch) known(key [20]byte, id crypto.ItemID) error {
	b.contents[key] = id
	return b.set(contentKey(key), id[:])
}

// promote moves a local notice into the outbox when it is now to be shared.
func (b *batch) promote(it *item, l *LocalItem, w *word) (bool, error) {
	if it.state != itemLocal || l.Audience == crypto.AudienceLocal || it.flags&itemRetracted != 0 {
		return false, nil
	}
	entry, err := b.localEntry(it.local)
	if err != nil {
		return false, err
	}
	entry.tlp, entry.audience, entry.to = l.TLP, l.Audience, l.To
	if key := l.key(); key != entry.content {
		if err := b.delete(contentKey(entry.content)); err != nil {
			return false, err
		}
		b.contents[entry.content] = crypto.ItemID{}
		if err := b.known(key, it.id); err != nil {
			return false, err
		}
		entry.content = key
	}
	entry.flags = bits(l.Exercise, l.Urgent) << 4
	it.state, it.dirty = itemWaiting, true
	b.remark(it.evidence.tlp, w.evidence.tlp)
	it.evidence.tlp, it.evidence.exercise = w.evidence.tlp, w.evidence.exercise
	if err := b.putLocal(entry, it.local, it.id); err != nil {
		return false, err
	}
	return true, b.restate(it)
}

// answered fills out with what was answered to the same idempotency key.
func (b *batch) answered(l *LocalBatch, out []Submitted) (bool, error) {
	if l.Idempotency == "" {
		return false, nil
	}
	v, err := b.read(requestKey(l))
	if err != nil || v == nil {
		return false, err
	}
	content := l.content()
	if len(v) != len(content)+len(crypto.ItemID{})*len(out) || [32]byte(v) != content {
		return false, ErrIdempotency
	}
	for i, v := 0, v[len(content):]; i < len(out); i++ {
		out[i] = Submitted{ID: crypto.ItemID(v), Known: true}
		v = v[len(crypto.ItemID{}):]
	}
	return true, nil
}

// answer remembers the ids under the batch's idempotency key.
func (b *batch) answer(l *LocalBatch, out []Submitted) error {
	if l.Idempotency == "" {
		return nil
	}
	content := l.content()
	v := content[:]
	for _, o := range out {
		v = append(v, o.ID[:]...)
	}
	b.written[string(requestKey(l))] = v
	return b.setEntry(badger.NewEntry(requestKey(l), v).WithTTL(IdempotencyKeyLife))
}

func requestKey(l *LocalBatch) []byte {
	sum := sha256.Sum256([]byte(l.Idempotency))
	return append([]byte{tableRequest}, sum[:]...)
}

// content stands for what a batch says, salts and times of writing apart.
func (l *LocalBatch) content() [32]byte {
	if l.Request != ([32]byte{}) {
		return l.Request
	}
	h := sha256.New()
	for i := range l.Items {
		key := l.Items[i].key()
		h.Write(key[:])
		h.Write([]byte{byte(l.Items[i].TLP), byte(l.Items[i].Audience)})
	}
	return [32]byte(h.Sum(nil))
}

// --- outbox ---

// A Group is what waits for one kind of envelope, oldest first.
type Group struct {
	Audience crypto.Audience
	TLP      notice.TLP
	Exercise bool
	Urgent   bool
	Items    []Waiting
	More     bool // more of the same wait
}

// A Waiting item is signed by Append of an envelope that carries Raw.
type Waiting struct {
	ID       crypto.ItemID
	Raw      []byte
	Received int64             // ms, when it was submitted
	Expiry   int64             // ms
	To       []crypto.MemberID // of the named audience
}

// Waiting returns, for each kind of envelope, the oldest waiting items: up to
// itemsMax and up to bytesMax of their encoded size, at least one.
func (s *Store) Waiting(itemsMax, bytesMax int) ([]Group, error) {
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	var groups []Group
	o := badger.DefaultIteratorOptions
	o.Prefix = []byte{tableOutbox}
	it := txn.NewIterator(o)
	defer it.Close()
	size := 0
	for it.Rewind(); it.Valid(); {
		key := it.Item().KeyCopy(nil)
		if len(key) != 4+8 {
			return nil, fmt.Errorf("outbox: %w", errCorrupt)
		}
		g := Group{Audience: crypto.Audience(key[1]), TLP: notice.TLP(key[2]), Exercise: key[3]&flagExercise != 0, Urgent: key[3]&flagUrgent != 0}
		if n := len(groups); n == 0 || !groups[n-1].same(&g) {
			groups, size = append(groups, g), 0
		}
		last := &groups[len(groups)-1]
		w, err := waiting(txn, it.Item(), key)
		if err != nil {
			return nil, fmt.Errorf("outbox: %w", err)
		}
		size += len(w.Raw)
		if n := len(last.Items); n > 0 && (n >= itemsMax || size > bytesMax) {
			last.More = true
			it.Seek(append(key[:4:4], 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)) // the next kind
			continue
		}
		last.Items = append(last.Items, w)
		it.Next()
	}
	return groups, nil
}

func (g *Group) same(o *Group) bool {
	return g.Audience == o.Audience && g.TLP == o.TLP && g.Exercise == o.Exercise && g.Urgent == o.Urgent
}

func waiting(txn *badger.Txn, at *badger.Item, key []byte) (Waiting, error) {
	w := Waiting{}
	if err := at.Value(func(v []byte) error {
		if len(v) != len(w.ID) {
			return errCorrupt
		}
		w.ID = crypto.ItemID(v)
		return nil
	}); err != nil {
		return w, err
	}
	v, err := get(txn, append([]byte{tableEntry}, key[4:]...))
	if err != nil {
		return w, err
	}
	e, err := decodeEntry(v)
	if err != nil {
		return w, err
	}
	l, err := e.local()
	if err != nil {
		return w, err
	}
	w.Raw, w.Received, w.Expiry, w.To = l.raw, l.received, l.expiry, l.to
	return w, nil
}
