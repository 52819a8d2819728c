package testkit

import (
	"bytes"
	"maps"
	"math/big"
	"slices"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
)

// Verdicts of a Case, in the order of acceptance.
const (
	WantFrame     = "frame"     // crypto.ErrFrame
	WantHeader    = "header"    // crypto.ErrHeader
	WantRegion    = "region"    // not the region of the topic or stream
	WantAuthor    = "author"    // no such member or serial in the roster
	WantSignature = "signature" // crypto.ErrSignature
	WantItems     = "items"     // crypto.ErrItems
	WantGood      = "good"
)

// A Case is one message and the first step of acceptance that must refuse it.
type Case struct {
	Name string
	Raw  []byte
	Want string
}

// BadEnvelopes returns messages that attackers, careless authors and lying
// relays could send, between two genuine ones. The author of most is the
// region's first member; it needs a second. Headers carry time at, in ms since
// 1970; items are at least three different ones that the caller can decode.
func BadEnvelopes(t testing.TB, r *Region, at int64, items ...[]byte) []Case {
	t.Helper()
	if len(r.Members) < 2 || len(items) < 3 {
		t.Fatal("bad envelopes need two members and three items")
	}
	f := &forger{t: t, author: r.Members[0], other: r.Members[1], items: items}
	f.good = f.author.Envelope(t, crypto.Header{Time: at, Exercise: true}, nil, items...)
	f.next = f.author.Envelope(t, crypto.Header{Time: at, Exercise: true}, f.good, items...)
	f.add("genuine", WantGood, f.good.Raw)
	f.add("genuine, the second of its chain", WantGood, f.next.Raw)
	f.frames()
	f.encodings()
	f.limits()
	f.relabels()
	f.signatures()
	f.contents()
	return f.cases
}

type forger struct {
	t             testing.TB
	author, other *Member
	items         [][]byte
	good, next    *crypto.Envelope
	cases         []Case
}

func (f *forger) add(name, want string, raw []byte) {
	f.cases = append(f.cases, Case{Name: name, Want: want, Raw: raw})
}

// message joins any header with any signature and items.
func (f *forger) message(signed, signature, items []byte) []byte {
	return slices.Concat(signed, signature, items)
}

// edited is the good message under a header that change has edited, with the
// good signature: what a relay can make.
func (f *forger) edited(change func(h *crypto.Header)) []byte {
	h := f.good.Header
	change(&h)
	return f.message(f.encode(h), f.good.Signature, f.good.Items)
}

// signed is a message that the author itself signed, whatever the header says.
func (f *forger) signed(change func(h *crypto.Header), items []byte) []byte {
	h := f.good.Header
	change(&h)
	raw := f.encode(h)
	return f.message(raw, f.sign(f.author, crypto.Context("envelope", h.Region), raw), items)
}

func (f *forger) encode(h crypto.Header) []byte {
	f.t.Helper()
	raw, err := canon.Marshal(h)
	if err != nil {
		f.t.Fatal(err)
	}
	return raw
}

func (f *forger) sign(m *Member, context, message []byte) []byte {
	f.t.Helper()
	sig, err := m.Signing.Sign(context, message)
	if err != nil {
		f.t.Fatal(err)
	}
	return sig
}

func (f *forger) frames() {
	raw, header := f.good.Raw, len(f.good.Signed)
	f.add("nothing", WantHeader, nil)
	f.add("one byte", WantHeader, raw[:1])
	f.add("header cut short", WantHeader, raw[:header-1])
	f.add("header alone", WantFrame, raw[:header])
	f.add("signature cut short", WantFrame, raw[:header+crypto.SignatureSize-1])
	f.add("last item cut short", WantFrame, raw[:len(raw)-1])
	f.add("trailing byte", WantFrame, append(slices.Clone(raw), 0))
	f.add("two messages in one", WantFrame, slices.Concat(raw, raw))
	f.add("beyond 256 KiB", WantFrame, append(slices.Clone(raw), make([]byte, crypto.EnvelopeSizeMax)...))
	f.add("half a signature: ML-DSA stripped", WantFrame, f.message(f.good.Signed, f.good.Signature[crypto.SignatureSize-64:], f.good.Items))
	f.add("half a signature: Ed25519 stripped", WantFrame, f.message(f.good.Signed, f.good.Signature[:crypto.SignatureSize-64], f.good.Items))
}

// encodings are headers that say the same, or nothing, in other bytes. The
// first bytes of a header are b1 (a map of 17) 01 00 (version 0) 02 58 20
// (region, 32 bytes).
func (f *forger) encodings() {
	tail := f.good.Raw[len(f.good.Signed):]
	header := func(name string, old, new []byte) {
		if !bytes.Contains(f.good.Signed, old) {
			f.t.Fatalf("%s: the header does not contain %x", name, old)
		}
		f.add("header with "+name, WantHeader, append(bytes.Replace(f.good.Signed, old, new, 1), tail...))
	}
	start := f.good.Signed[:6]
	header("a long integer", start[:3], []byte{0xb1, 0x01, 0x18, 0x00})
	header("a long map length", start[:1], []byte{0xb8, 17})
	header("an indefinite map", start[:1], []byte{0xbf})
	header("a duplicate key", start[:3], []byte{0xb1, 0x01, 0x00, 0x01, 0x00})
	header("a duplicate key that is counted", start[:3], []byte{0xb2, 0x01, 0x00, 0x01, 0x00})
	header("keys out of order", start[:3], []byte{0xb1, 0x12, 0x00})
	header("a key missing", start[:3], []byte{0xb0})
	header("a tag", start[:3], []byte{0xb1, 0x01, 0xc1, 0x00})
	header("null for a number", start[:3], []byte{0xb1, 0x01, 0xf6})
	header("a float for a number", start[:3], []byte{0xb1, 0x01, 0xf9, 0x00, 0x00})
	header("text for a number", start[:3], []byte{0xb1, 0x01, 0x60})
	header("a negative version", start[:3], []byte{0xb1, 0x01, 0x20})
	header("a region of 31 bytes", start[3:7], []byte{0x02, 0x58, 0x1f})
	header("a long length of the region", start[3:6], []byte{0x02, 0x59, 0x00, 0x20})
	field := append([]byte{0xb2}, f.good.Signed[1:]...)
	f.add("header with an unknown field", WantHeader, slices.Concat(field, []byte{0x12, 0x00}, tail))
	f.add("header nested 5,000 deep", WantHeader, append(bytes.Repeat([]byte{0x81}, 5000), tail...))
	f.add("header that is a map of 2^64-1", WantHeader, append([]byte{0xbb, 255, 255, 255, 255, 255, 255, 255, 255}, tail...))
	f.add("header that is bytes of 2^63", WantHeader, append([]byte{0x5b, 0x80, 0, 0, 0, 0, 0, 0, 0}, tail...))
}

// limits are headers that the author signed, so that only the limits refuse
// them.
func (f *forger) limits() {
	const day = 24 * 60 * 60 * 1000
	changes := map[string]func(h *crypto.Header){
		"of the next version":           func(h *crypto.Header) { h.Version++ },
		"for the local audience":        func(h *crypto.Header) { h.Audience = crypto.AudienceLocal },
		"for an unknown audience":       func(h *crypto.Header) { h.Audience = 4 },
		"without TLP":                   func(h *crypto.Header) { h.TLP = 0 },
		"with an unknown TLP":           func(h *crypto.Header) { h.TLP = 6 },
		"without items":                 func(h *crypto.Header) { h.Count = 0 },
		"with 1,025 items":              func(h *crypto.Header) { h.Count = crypto.ItemsMax + 1 },
		"without bytes":                 func(h *crypto.Header) { h.Size = 0 },
		"with 4 GiB of items":           func(h *crypto.Header) { h.Size = 1<<32 - 1 },
		"from before 1970":              func(h *crypto.Header) { h.Time = -1 },
		"expired when made":             func(h *crypto.Header) { h.Expiry = h.Time },
		"with an extreme expiry":        func(h *crypto.Header) { h.Expiry = 1<<63 - 1 },
		"valid 401 days":                func(h *crypto.Header) { h.Expiry = h.Time + 401*day },
		"in epoch 0":                    func(h *crypto.Header) { h.Epoch = 0 },
		"in slot 0":                     func(h *crypto.Header) { h.Seq = 0 },
		"with floor 0":                  func(h *crypto.Header) { h.Floor = 0 },
		"with its floor above itself":   func(h *crypto.Header) { h.Floor = h.Seq + 1 },
		"that is first and has a prev":  func(h *crypto.Header) { h.Prev[0] = 1 },
		"that is second without a prev": func(h *crypto.Header) { h.Seq = 2 },
		"sealed, in a chain":            func(h *crypto.Header) { h.Audience = crypto.AudienceNamed },
	}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		f.add("signed "+name, WantHeader, f.signed(changes[name], f.good.Items))
	}
}

// relabels are what a relay can do to a header whose signature it keeps.
func (f *forger) relabels() {
	elsewhere := crypto.Region{0xee}
	for _, c := range []struct {
		name, want string
		change     func(h *crypto.Header)
	}{
		{"EXERCISE removed", WantSignature, func(h *crypto.Header) { h.Exercise = false }},
		{"TLP lowered", WantSignature, func(h *crypto.Header) { h.TLP-- }},
		{"TLP raised", WantSignature, func(h *crypto.Header) { h.TLP++ }},
		{"audience widened", WantSignature, func(h *crypto.Header) { h.Audience = crypto.AudienceCommunity }},
		{"urgent added", WantSignature, func(h *crypto.Header) { h.Urgent = true }},
		{"time moved", WantSignature, func(h *crypto.Header) { h.Time++ }},
		{"expiry moved", WantSignature, func(h *crypto.Header) { h.Expiry++ }},
		{"moved to another epoch", WantSignature, func(h *crypto.Header) { h.Epoch++ }},
		{"moved to another slot", WantSignature, func(h *crypto.Header) { h.Seq, h.Prev[0] = 2, 1 }},
		{"root replaced", WantSignature, func(h *crypto.Header) { h.Root[0] ^= 1 }},
		{"count raised", WantSignature, func(h *crypto.Header) { h.Count++ }},
		{"author replaced", WantSignature, func(h *crypto.Header) { h.Author = f.other.ID }},
		{"author unknown", WantAuthor, func(h *crypto.Header) { h.Author[0] ^= 1 }},
		{"serial raised", WantAuthor, func(h *crypto.Header) { h.Serial++ }},
		{"moved to another region", WantRegion, func(h *crypto.Header) { h.Region = elsewhere }},
	} {
		f.add(c.name, c.want, f.edited(c.change))
	}
	f.add("genuine in another region", WantRegion, f.signed(func(h *crypto.Header) { h.Region = elsewhere }, f.good.Items))
	// Signed for another region, brought here under our region's name.
	signature := f.sign(f.author, crypto.Context("envelope", elsewhere), f.good.Signed)
	f.add("signed under another region", WantSignature, f.message(f.good.Signed, signature, f.good.Items))
}

func (f *forger) signatures() {
	const cut = crypto.SignatureSize - 64 // where the Ed25519 half begins
	good := f.good.Signature
	flip := func(at int) []byte {
		out := slices.Clone(good)
		out[at] ^= 1
		return out
	}
	context := crypto.Context("envelope", f.good.Header.Region)
	byOther := f.sign(f.other, context, f.good.Signed)
	for _, c := range []struct {
		name string
		sig  []byte
	}{
		{"genuine header with a broken signature", flip(cut / 2)},
		{"Ed25519 half broken", flip(cut + 3)},
		{"ML-DSA half zeroed", slices.Concat(make([]byte, cut), good[cut:])},
		{"Ed25519 half zeroed", slices.Concat(good[:cut], make([]byte, 64))},
		{"signature zeroed", make([]byte, crypto.SignatureSize)},
		{"halves of two messages", slices.Concat(good[:cut], f.next.Signature[cut:])},
		{"halves of two messages, the other way", slices.Concat(f.next.Signature[:cut], good[cut:])},
		{"halves of two keys", slices.Concat(good[:cut], byOther[cut:])},
		{"halves of two keys, the other way", slices.Concat(byOther[:cut], good[cut:])},
		{"signature of another message", f.next.Signature},
		{"signature of another member", byOther},
		{"signed for another purpose", f.sign(f.author, crypto.Context("admission", f.good.Header.Region), f.good.Signed)},
		{"signed under another version", f.sign(f.author, bytes.Replace(context, []byte("/0/"), []byte("/1/"), 1), f.good.Signed)},
		{"signed without context", f.sign(f.author, nil, f.good.Signed)},
		{"signed together with its items", f.sign(f.author, context, slices.Concat(f.good.Signed, f.good.Items))},
		{"Ed25519 S+L", slices.Concat(good[:cut], AddOrder(good[cut:]))},
	} {
		f.add(c.name, WantSignature, f.message(f.good.Signed, c.sig, f.good.Items))
	}
}

// contents are items that do not fit a header with a valid signature.
func (f *forger) contents() {
	swapped := slices.Clone(f.items)
	swapped[0], swapped[1] = swapped[1], swapped[0]
	same := func(*crypto.Header) {}
	f.add("items swapped", WantItems, f.message(f.good.Signed, f.good.Signature, encode(f.t, swapped...)))
	altered := slices.Clone(f.good.Items)
	altered[len(altered)-1] ^= 1
	f.add("last item altered", WantItems, f.message(f.good.Signed, f.good.Signature, altered))
	f.add("signed with a count too low", WantItems, f.signed(func(h *crypto.Header) { h.Count-- }, f.good.Items))
	f.add("signed with a count too high", WantItems, f.signed(func(h *crypto.Header) { h.Count++ }, f.good.Items))
	f.add("signed with another root", WantItems, f.signed(func(h *crypto.Header) { h.Root[0] ^= 1 }, f.good.Items))
	f.add("signed with a size too low", WantFrame, f.signed(func(h *crypto.Header) { h.Size-- }, f.good.Items))
	f.add("signed with a size too high", WantFrame, f.signed(func(h *crypto.Header) { h.Size++ }, f.good.Items))
	f.add("signed with its last item missing", WantItems, f.signed(f.sized(encode(f.t, f.items[:2]...)), encode(f.t, f.items[:2]...)))

	// The classic trees without domain separation or sizes accept these two.
	three, last := f.items[:3], f.items[2]
	doubled := encode(f.t, append(slices.Clone(three), last)...)
	f.add("last leaf doubled under the same root", WantItems, f.signed(func(h *crypto.Header) {
		h.Count, h.Size, h.Root = 4, uint32(len(doubled)), f.root(three...)
	}, doubled))
	left, right := crypto.LeafHash(f.items[0]), crypto.LeafHash(f.items[1])
	node := encode(f.t, slices.Concat(left[:], right[:]))
	f.add("inner node shown as a leaf", WantItems, f.signed(func(h *crypto.Header) {
		h.Count, h.Size, h.Root = 1, uint32(len(node)), f.root(f.items[:2]...)
	}, node))

	sequences := map[string][]byte{
		"a long length":           {0x58, 0x03, 'a', 'b', 'c'},
		"an indefinite length":    {0x5f, 0x43, 'a', 'b', 'c', 0xff},
		"text for bytes":          {0x63, 'a', 'b', 'c'},
		"a number for bytes":      {0x00},
		"a length beyond the end": {0x44, 'a', 'b', 'c'},
		"a length of 2^64-1":      {0x5b, 255, 255, 255, 255, 255, 255, 255, 255},
		"half a length":           {0x59, 0x01},
	}
	for _, name := range slices.Sorted(maps.Keys(sequences)) {
		raw := sequences[name]
		f.add("item with "+name, WantItems, f.signed(func(h *crypto.Header) {
			h.Count, h.Size, h.Root = 1, uint32(len(raw)), f.root([]byte("abc"))
		}, raw))
	}
	f.add("signed and genuine again", WantGood, f.signed(same, f.good.Items))
}

func (f *forger) sized(items []byte) func(h *crypto.Header) {
	return func(h *crypto.Header) { h.Size = uint32(len(items)) }
}

func (f *forger) root(items ...[]byte) crypto.Hash {
	f.t.Helper()
	leaves := make([]crypto.Hash, len(items))
	for i, item := range items {
		leaves[i] = crypto.LeafHash(item)
	}
	tree, err := crypto.NewTree(leaves)
	if err != nil {
		f.t.Fatal(err)
	}
	root, err := tree.Root()
	if err != nil {
		f.t.Fatal(err)
	}
	return root
}

func encode(t testing.TB, items ...[]byte) []byte {
	t.Helper()
	var out []byte
	for _, item := range items {
		raw, err := canon.Marshal(item)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, raw...)
	}
	return out
}

// AddOrder returns an Ed25519 signature with S+L in place of S, which careless
// verifiers accept as a second signature of the same message.
func AddOrder(sig []byte) []byte {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := slices.Clone(sig[32:])
	slices.Reverse(s)
	sum := new(big.Int).Add(new(big.Int).SetBytes(s), order).FillBytes(make([]byte, 32))
	slices.Reverse(sum)
	return slices.Concat(sig[:32], sum)
}
