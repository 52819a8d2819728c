package testkit

import (
	"slices"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/seal"
)

// Verdicts of named cases, beside those of all envelopes.
const (
	WantRecipient = "recipient" // sealed for others
	WantSealed    = "sealed"    // the box does not open
	WantAudience  = "audience"  // not what travels this way
)

// Recipient is a member as others seal for it.
func (m *Member) Recipient() seal.Recipient {
	return seal.Recipient{Member: m.ID, Key: m.SealKey()}
}

// Named seals items for members, as the member says them. Time must be given;
// expiry, TLP (RED) and place are filled in as far as they are zero.
func (m *Member) Named(t testing.TB, header crypto.Header, to []*Member, items ...[]byte) *crypto.Envelope {
	t.Helper()
	header = m.named(header)
	recipients := make([]seal.Recipient, len(to))
	for i, r := range to {
		recipients[i] = r.Recipient()
	}
	e, err := seal.NewNamed(header, items, recipients, m.Signing)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (m *Member) named(header crypto.Header) crypto.Header {
	const day = 24 * 60 * 60 * 1000
	header.Region, header.Author, header.Serial = m.Credential.Region, m.ID, m.Credential.Serial
	if header.TLP == 0 {
		header.TLP = 5
	}
	if header.Expiry == 0 {
		header.Expiry = header.Time + 90*day
	}
	return header
}

// BadNamed returns what attackers, careless authors and former recipients could
// bring to the region's third member as sealed for it, after a genuine one by the
// first. Headers carry time at, in ms since 1970.
func BadNamed(t testing.TB, r *Region, at int64, item []byte) []Case {
	t.Helper()
	if len(r.Members) < 3 {
		t.Fatal("named cases need three members")
	}
	f := &namedForger{forger: forger{t: t, author: r.Members[0], other: r.Members[1]}, here: r.Members[2], item: item}
	f.good = f.author.Named(t, crypto.Header{Time: at}, []*Member{f.other, f.here}, item)
	f.add("genuine", WantGood, f.good.Raw)
	f.box()
	f.headers()
	f.labels()
	f.inside()
	return f.cases
}

type namedForger struct {
	forger
	here *Member
	item []byte
}

// again is a box behind the good header, signed by its author.
func (f *namedForger) again(box []byte, change func(h *crypto.Header)) []byte {
	return f.by(f.author, box, change)
}

func (f *namedForger) by(m *Member, box []byte, change func(h *crypto.Header)) []byte {
	f.t.Helper()
	h := f.good.Header
	if change != nil {
		change(&h)
	}
	e, err := crypto.NewEnvelope(h, [][]byte{box}, m.Signing)
	if err != nil {
		f.t.Fatal(err)
	}
	return e.Raw
}

func (f *namedForger) goodBox() []byte {
	f.t.Helper()
	items, err := f.good.Split()
	if err != nil {
		f.t.Fatal(err)
	}
	return slices.Clone(items[0])
}

// sealedAs seals content for this member under a label.
func (f *namedForger) sealedAs(change func(l *seal.Label), content []byte) []byte {
	f.t.Helper()
	h := f.good.Header
	h.Count, h.Size, h.Root = 0, 0, crypto.Hash{}
	label := seal.Label{Purpose: "named", Region: h.Region, TLP: h.TLP, Bound: f.encode(h)}
	if change != nil {
		change(&label)
	}
	box, err := seal.Seal(label, []seal.Recipient{f.here.Recipient()}, content)
	if err != nil {
		f.t.Fatal(err)
	}
	return box
}

// box are changes to the box, on the way and by the author's own hand.
func (f *namedForger) box() {
	box := f.goodBox()
	const stanza = 32 + 1120 + 48
	for name, at := range map[string]int{
		"version": 0, "count": 2, "another's key": 3 + 100, "own key": 3 + stanza + 100, "own wrapped key": 3 + stanza + 32 + 1120,
		"list's mac": 3 + 2*stanza, "content": len(box) - 20, "last byte": len(box) - 1,
	} {
		flipped := slices.Clone(box)
		flipped[at] ^= 1
		raw := slices.Clone(f.good.Raw)
		raw[len(raw)-len(box)+at] ^= 1
		f.add("bit of the "+name+" flipped on the way", WantItems, raw)
		f.add("bit of the "+name+" flipped and signed", WantSealed, f.again(flipped, nil))
	}
	f.add("member id of the recipient changed and signed", WantRecipient, f.again(f.otherMember(box), nil))
	f.add("another recipient struck off and signed", WantSealed, f.again(f.struckOff(box), nil))
	f.add("box cut short and signed", WantSealed, f.again(box[:len(box)-1], nil))
	f.add("box with a byte more and signed", WantSealed, f.again(append(slices.Clone(box), 0), nil))
	f.add("empty box", WantSealed, f.again([]byte{}, nil))
	f.add("item in clear instead of a box", WantSealed, f.again(f.item, nil))
	two, err := crypto.NewEnvelope(f.good.Header, [][]byte{box, box}, f.author.Signing)
	if err != nil {
		f.t.Fatal(err)
	}
	f.add("two boxes", WantItems, two.Raw)
}

// otherMember renames the recipient within the order of the list.
func (f *namedForger) otherMember(box []byte) []byte {
	out := slices.Clone(box)
	const stanza = 32 + 1120 + 48
	for i := range 2 {
		if at := 3 + i*stanza; crypto.MemberID(out[at:]) == f.here.ID {
			out[at+31] ^= 1
		}
	}
	return out
}

// struckOff is the box for this member alone.
func (f *namedForger) struckOff(box []byte) []byte {
	const stanza = 32 + 1120 + 48
	at := 3
	if crypto.MemberID(box[at:]) == f.here.ID {
		at += stanza
	}
	out := slices.Delete(slices.Clone(box), at, at+stanza)
	out[2] = 1
	return out
}

// headers are the good box behind other headers.
func (f *namedForger) headers() {
	box := f.goodBox()
	changes := map[string]func(h *crypto.Header){
		"relabelled GREEN":        func(h *crypto.Header) { h.TLP = 2 },
		"relabelled AMBER+STRICT": func(h *crypto.Header) { h.TLP = 4 },
		"with another time":       func(h *crypto.Header) { h.Time-- },
		"with another expiry":     func(h *crypto.Header) { h.Expiry++ },
		"made an exercise":        func(h *crypto.Header) { h.Exercise = true },
		"made urgent":             func(h *crypto.Header) { h.Urgent = true },
	}
	for name, change := range changes {
		f.add(name+" on the way", WantSignature, f.edited(change))
		f.add(name+" and signed", WantSealed, f.again(box, change))
	}
	f.add("signed by another recipient as its own", WantSealed, f.by(f.other, box, func(h *crypto.Header) { h.Author = f.other.ID }))
	f.add("signed by another in the author's name", WantSignature, f.by(f.other, box, nil))
	f.add("moved to another region", WantRegion, f.again(box, func(h *crypto.Header) { h.Region = crypto.Region{0xee} }))
	f.add("by a serial that is not known", WantAuthor, f.again(box, func(h *crypto.Header) { h.Serial++ }))
	f.add("of the region audience", WantAudience, f.again(box, func(h *crypto.Header) {
		h.Audience, h.TLP, h.Epoch, h.Seq, h.Floor = crypto.AudienceRegion, 3, 1, 1, 1
	}))
	for name, change := range map[string]func(h *crypto.Header){
		"an epoch": func(h *crypto.Header) { h.Epoch = 1 }, "a number": func(h *crypto.Header) { h.Seq = 1 },
		"a floor": func(h *crypto.Header) { h.Floor = 1 }, "a prev": func(h *crypto.Header) { h.Prev[0] = 1 },
	} {
		f.add("with "+name, WantHeader, f.signed(change, f.good.Items))
	}
	f.add("for another member alone", WantRecipient, f.author.Named(f.t, crypto.Header{Time: f.good.Header.Time}, []*Member{f.other}, f.item).Raw)
}

// labels are boxes that were sealed as something else.
func (f *namedForger) labels() {
	content := f.list(f.item)
	for name, change := range map[string]func(l *seal.Label){
		"for a bundle":       func(l *seal.Label) { l.Purpose = "bundle" },
		"in another region":  func(l *seal.Label) { l.Region = crypto.Region{0xee} },
		"under another TLP":  func(l *seal.Label) { l.TLP = 4 },
		"behind no header":   func(l *seal.Label) { l.Bound = nil },
		"behind another one": func(l *seal.Label) { l.Bound[len(l.Bound)-1] ^= 1 },
	} {
		f.add("sealed "+name, WantSealed, f.again(f.sealedAs(change, content), nil))
	}
}

// inside is what opens and is no list of items.
func (f *namedForger) inside() {
	f.add("sealed for this member alone", WantGood, f.again(f.sealedAs(nil, f.list(f.item)), nil))
	f.add("nothing sealed", WantItems, f.again(f.sealedAs(nil, nil), nil))
	f.add("a list of nothing sealed", WantItems, f.again(f.sealedAs(nil, f.list()), nil))
	f.add("an item sealed without a list", WantItems, f.again(f.sealedAs(nil, f.item), nil))
	f.add("a list and a byte more sealed", WantItems, f.again(f.sealedAs(nil, append(f.list(f.item), 0)), nil))
	f.add("1,025 items sealed", WantItems, f.again(f.sealedAs(nil, f.list(make([][]byte, crypto.ItemsMax+1)...)), nil))
}

func (f *namedForger) list(items ...[]byte) []byte {
	f.t.Helper()
	if items == nil {
		items = [][]byte{}
	}
	for i := range items {
		if items[i] == nil {
			items[i] = []byte{}
		}
	}
	raw, err := canon.Marshal(items)
	if err != nil {
		f.t.Fatal(err)
	}
	return raw
}
