package seal_test

import (
	"bytes"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/seal"
	"github.com/watchward/watchward/crypto/testkit"
)

// Sizes of the layout, stated again: they are wire format.
const (
	headSize   = 3
	stanzaSize = 32 + 1120 + 48
	macSize    = 32
	chunkHead  = 4
	tagSize    = 16
	wholeChunk = chunkHead + seal.ChunkSize + tagSize
)

func label() seal.Label {
	return seal.Label{Purpose: "test", Region: crypto.Region{7}, TLP: 3, Bound: []byte("in clear")}
}

// A member of these tests has the id that its name begins with.
type member struct {
	id crypto.MemberID
	*keyfile.Identity
}

func members(t testing.TB, names ...string) []member {
	t.Helper()
	out := make([]member, len(names))
	for i, name := range names {
		id, err := keyfile.NewIdentity(testkit.Random(name))
		if err != nil {
			t.Fatal(err)
		}
		out[i] = member{crypto.MemberID(sha256.Sum256([]byte(name))), id}
	}
	return out
}

func recipients(all []member) (to []seal.Recipient) {
	for _, m := range all {
		to = append(to, seal.Recipient{Member: m.id, Key: m.SealKey()})
	}
	return to
}

func sealed(t testing.TB, to []member, content []byte) []byte {
	t.Helper()
	box, err := seal.Seal(label(), recipients(to), content)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

func contentOf(n int) []byte {
	out := make([]byte, n)
	_, _ = io.ReadFull(testkit.Random("content"), out)
	return out
}

func TestEveryRecipientOpens(t *testing.T) {
	to := members(t, "anna", "riverside", "north")
	for _, size := range []int{0, 1, seal.ChunkSize - 1, seal.ChunkSize, seal.ChunkSize + 1, 3 * seal.ChunkSize} {
		content := contentOf(size)
		box := sealed(t, to, content)
		if want := int64(size) + seal.Overhead(len(to), int64(size)); int64(len(box)) != want {
			t.Errorf("%d bytes sealed are %d, Overhead says %d", size, len(box), want)
		}
		for _, m := range to {
			got, err := seal.Open(label(), m.id, m.SealSeed, box)
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes: %d come back, %v", size, len(got), err)
			}
		}
	}
}

// The reader takes what the writer made whatever pieces either is fed, and
// leaves what follows the box.
func TestStreams(t *testing.T) {
	to := members(t, "anna")
	rapid.Check(t, func(t *rapid.T) {
		content := contentOf(rapid.IntRange(0, 3*seal.ChunkSize).Draw(t, "size"))
		var box bytes.Buffer
		w, err := seal.NewWriter(&box, label(), recipients(to))
		if err != nil {
			t.Fatal(err)
		}
		for rest := content; len(rest) > 0; {
			n := min(len(rest), rapid.IntRange(1, 2*seal.ChunkSize).Draw(t, "piece"))
			if m, err := w.Write(rest[:n]); err != nil || m != n {
				t.Fatalf("%d of %d written, %v", m, n, err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		box.WriteString("what follows")
		r, err := seal.NewReader(iotest.HalfReader(&box), label(), to[0].id, to[0].SealSeed)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, content) || box.String() != "what follows" {
			t.Fatalf("%d bytes of %d, %d left, %v", len(got), len(content), box.Len(), err)
		}
	})
}

// info is what the stanzas of sealed boxes are bound to.
func info() []byte {
	l := label()
	bound := sha256.Sum256(l.Bound)
	return append(append(crypto.Context("seal/test", l.Region), l.TLP), bound[:]...)
}

// unwrapped is the content key that a stanza of a box holds, as the standard
// library's HPKE opens it.
func unwrapped(t *testing.T, box []byte, index int, m member) (stanza, key []byte, private hpke.PrivateKey) {
	t.Helper()
	at := headSize + index*stanzaSize
	stanza = box[at : at+stanzaSize]
	private, err := hpke.MLKEM768X25519().NewPrivateKey(m.SealSeed[:])
	if err != nil {
		t.Fatal(err)
	}
	r, err := hpke.NewRecipient(stanza[32:32+1120], private, hpke.HKDFSHA256(), hpke.AES256GCM(), info())
	if err != nil {
		t.Fatal(err)
	}
	if key, err = r.Open(stanza[:32], stanza[32+1120:]); err != nil || len(key) != 32 {
		t.Fatalf("a stanza opens to %x, %v", key, err)
	}
	return stanza, key, private
}

// Whoever could open one box knows nothing of the next.
func TestEveryBoxHasItsOwnKey(t *testing.T) {
	to := members(t, "anna")
	_, one, _ := unwrapped(t, sealed(t, to, []byte("hello")), 0, to[0])
	_, other, _ := unwrapped(t, sealed(t, to, []byte("hello")), 0, to[0])
	if bytes.Equal(one, other) {
		t.Errorf("two boxes have one key, %x", one)
	}
}

// The standard library's HPKE opens each stanza to one and the same key, and
// wraps a key that this package unwraps.
func TestStandardLibraryAgrees(t *testing.T) {
	to := members(t, "anna", "riverside")
	box := sealed(t, to, []byte("hello"))
	var key []byte
	for i, m := range inOrder(to) {
		stanza, opened, private := unwrapped(t, box, i, m)
		if !bytes.Equal(private.PublicKey().Bytes(), m.SealKey()) {
			t.Fatal("the two libraries derive different keys of one seed")
		}
		if key != nil && !bytes.Equal(key, opened) {
			t.Fatalf("a stanza opens to %x, another to %x", opened, key)
		}
		key = opened
		// The other way: another stanza for the same key.
		enc, sender, err := hpke.NewSender(private.PublicKey(), hpke.HKDFSHA256(), hpke.AES256GCM(), info())
		if err != nil {
			t.Fatal(err)
		}
		wrapped, err := sender.Seal(stanza[:32], key)
		if err != nil {
			t.Fatal(err)
		}
		other := seal.Rebuild(t, label(), box, i, append(append(bytes.Clone(stanza[:32]), enc...), wrapped...), key)
		if got, err := seal.Open(label(), m.id, m.SealSeed, other); err != nil || string(got) != "hello" {
			t.Errorf("a key that the standard library wrapped: %q, %v", got, err)
		}
	}
}

func inOrder(all []member) []member {
	if bytes.Compare(all[0].id[:], all[1].id[:]) > 0 {
		all = []member{all[1], all[0]}
	}
	return all
}

// One flipped bit anywhere, and nothing after it is believed.
func TestEveryBitCounts(t *testing.T) {
	to := members(t, "anna", "riverside")
	content := []byte("the content")
	box := sealed(t, to, content)
	step := 1
	if testing.Short() {
		step = 7
	}
	for at := 0; at < len(box); at += step {
		flipped := bytes.Clone(box)
		flipped[at] ^= 1 << (at % 8)
		for _, m := range to {
			if got, err := seal.Open(label(), m.id, m.SealSeed, flipped); err == nil {
				t.Errorf("byte %d flipped: opens to %q", at, got)
			}
		}
	}
}

func TestLabels(t *testing.T) {
	to := members(t, "anna")
	box := sealed(t, to, []byte("content"))
	for name, change := range map[string]func(*seal.Label){
		"purpose": func(l *seal.Label) { l.Purpose = "tes" },
		"region":  func(l *seal.Label) { l.Region[0]++ },
		"TLP":     func(l *seal.Label) { l.TLP = 2 },
		"bound":   func(l *seal.Label) { l.Bound = []byte("in cleaR") },
	} {
		l := label()
		change(&l)
		if _, err := seal.Open(l, to[0].id, to[0].SealSeed, box); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("another %s: %v", name, err)
		}
	}
}

func TestOthersCannotOpen(t *testing.T) {
	to := members(t, "anna", "riverside")
	stranger := members(t, "stranger")[0]
	box := sealed(t, to, []byte("content"))
	var not *seal.NotRecipientError
	if _, err := seal.Open(label(), stranger.id, stranger.SealSeed, box); !errors.As(err, &not) || len(not.Recipients) != 2 || not.Recipients[0] != inOrder(to)[0].id {
		t.Errorf("a stranger: %v", err)
	}
	if _, err := seal.Open(label(), to[0].id, stranger.SealSeed, box); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("a stranger who says it is another: %v", err)
	}
	if _, err := seal.Open(label(), to[0].id, to[1].SealSeed, box); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("a recipient with another's id: %v", err)
	}
}

// Pieces of a box that do not come whole, once and in their order.
func TestPieces(t *testing.T) {
	to := members(t, "anna")
	box := sealed(t, to, contentOf(4*seal.ChunkSize+10))
	head := headSize + stanzaSize + macSize
	piece := func(i int) []byte { return box[head+i*wholeChunk : min(len(box), head+(i+1)*wholeChunk)] }
	join := func(parts ...[]byte) []byte { return bytes.Join(append([][]byte{box[:head]}, parts...), nil) }
	notLast := bytes.Clone(piece(4))
	notLast[0] = 0
	last := bytes.Clone(piece(3))
	last[0] |= 0x80
	empty := append(binary.BigEndian.AppendUint32(nil, 1<<31), make([]byte, tagSize)...)
	for name, x := range map[string]struct {
		box  []byte
		want error
		good int // chunks that come before the error
	}{
		"whole":                  {join(piece(0), piece(1), piece(2), piece(3), piece(4)), nil, 4},
		"reordered":              {join(piece(0), piece(2), piece(1), piece(3), piece(4)), seal.ErrDamaged, 1},
		"repeated":               {join(piece(0), piece(0), piece(1), piece(2), piece(3), piece(4)), seal.ErrDamaged, 1},
		"one left out":           {join(piece(0), piece(1), piece(3), piece(4)), seal.ErrDamaged, 2},
		"cut between pieces":     {join(piece(0), piece(1)), io.ErrUnexpectedEOF, 2},
		"cut in a piece":         {join(piece(0), piece(1)[:100]), io.ErrUnexpectedEOF, 1},
		"cut in a length":        {join(piece(0), piece(1)[:2]), io.ErrUnexpectedEOF, 1},
		"cut and marked as last": {join(piece(0), piece(1), piece(2), last), seal.ErrDamaged, 3},
		"the last one not last":  {join(piece(0), piece(1), piece(2), piece(3), notLast), seal.ErrDamaged, 4},
		"an empty last one":      {join(piece(0), piece(1), piece(2), piece(3), empty), seal.ErrDamaged, 4},
		"nothing":                {box[:head], io.ErrUnexpectedEOF, 0},
		"half a mac":             {box[:head-1], io.ErrUnexpectedEOF, 0},
		"half a stanza":          {box[:100], io.ErrUnexpectedEOF, 0},
		"half a head":            {box[:1], io.ErrUnexpectedEOF, 0},
		"empty":                  {nil, io.ErrUnexpectedEOF, 0},
		"a huge length":          {join(piece(0), []byte{0x7f, 0xff, 0xff, 0xff}), seal.ErrDamaged, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := seal.NewReader(bytes.NewReader(x.box), label(), to[0].id, to[0].SealSeed)
			n := int64(0)
			if err == nil {
				n, err = io.Copy(io.Discard, r)
			}
			if !errors.Is(err, x.want) || n/seal.ChunkSize != int64(x.good) {
				t.Errorf("%d whole pieces, %v, want %d, %v", n/seal.ChunkSize, err, x.good, x.want)
			}
		})
	}
	if _, err := seal.Open(label(), to[0].id, to[0].SealSeed, append(box, 0)); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("a byte behind the box: %v", err)
	}
}

// A sealer that cuts pieces otherwise makes another box of the same content,
// which nobody takes.
func TestPiecesAreCutOneWay(t *testing.T) {
	to := members(t, "anna")
	for size, more := range map[int]int{10: 1, seal.ChunkSize: 0} { // a short piece that is not the last, and an empty last one
		var box bytes.Buffer
		w, err := seal.NewWriter(&box, label(), recipients(to))
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write(contentOf(size))
		seal.Flush(w)
		_, again := w.Write(contentOf(more))
		if err = errors.Join(err, again, w.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := seal.Open(label(), to[0].id, to[0].SealSeed, box.Bytes()); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// Pieces of two boxes for the same members do not mix.
func TestBoxesDoNotMix(t *testing.T) {
	to := members(t, "anna")
	a, b := sealed(t, to, []byte("one thing")), sealed(t, to, []byte("other one"))
	head := headSize + stanzaSize + macSize
	for name, box := range map[string][]byte{
		"content": append(bytes.Clone(a[:head]), b[head:]...),
		"list":    append(bytes.Clone(a[:head-macSize]), b[head-macSize:]...),
	} {
		if got, err := seal.Open(label(), to[0].id, to[0].SealSeed, box); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("the %s of another: %q, %v", name, got, err)
		}
	}
}

// Whoever is struck off the list, or the list in another order, is noticed.
func TestTheListIsProven(t *testing.T) {
	to := members(t, "anna", "riverside", "north")
	box := sealed(t, to, []byte("content"))
	stanza := func(i int) []byte { return box[headSize+i*stanzaSize : headSize+(i+1)*stanzaSize] }
	rest := box[headSize+3*stanzaSize:]
	list := func(stanzas ...[]byte) []byte {
		head := binary.BigEndian.AppendUint16([]byte{seal.Version}, uint16(len(stanzas)))
		return bytes.Join([][]byte{head, bytes.Join(stanzas, nil), rest}, nil)
	}
	for name, box := range map[string][]byte{
		"struck off": list(stanza(0), stanza(1)),
		"reordered":  list(stanza(1), stanza(0), stanza(2)),
		"repeated":   list(stanza(0), stanza(0), stanza(1), stanza(2)),
		"none":       list(),
	} {
		for _, m := range to {
			if got, err := seal.Open(label(), m.id, m.SealSeed, box); err == nil {
				t.Errorf("%s: opens to %q", name, got)
			}
		}
	}
}

func TestWhoCanBeSealedFor(t *testing.T) {
	to := recipients(members(t, "anna", "riverside"))
	short := to[0]
	short.Key = short.Key[1:]
	none := to[0]
	none.Key = bytes.Repeat([]byte{0xff}, keyfile.SealKeySize) // coefficients beyond ML-KEM's modulus
	for name, list := range map[string][]seal.Recipient{
		"nobody": nil, "one twice": {to[0], to[1], to[0]}, "a short key": {to[1], short}, "no key": {to[1], none},
		"too many": make([]seal.Recipient, seal.RecipientsMax+1),
	} {
		if _, err := seal.Seal(label(), list, []byte("content")); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
	for key, good := range map[*seal.Recipient]bool{&to[0]: true, &short: false, &none: false} {
		if err := seal.CheckKey(key.Key); (err == nil) != good {
			t.Errorf("CheckKey: %v, want good %v", err, good)
		}
	}
}

// A writer that fails keeps failing, and a box without its end does not open.
func TestWriterFails(t *testing.T) {
	to := members(t, "anna")
	broken := errors.New("the stick is full")
	w, err := seal.NewWriter(&limited{room: headSize + stanzaSize + macSize, err: broken}, label(), recipients(to))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(contentOf(2 * seal.ChunkSize)); !errors.Is(err, broken) {
		t.Errorf("written: %v", err)
	}
	if err := w.Close(); !errors.Is(err, broken) {
		t.Errorf("closed: %v", err)
	}
	if _, err := seal.NewWriter(&limited{room: 10, err: broken}, label(), recipients(to)); !errors.Is(err, broken) {
		t.Errorf("begun: %v", err)
	}
}

type limited struct {
	room int
	err  error
}

func (l *limited) Write(p []byte) (int, error) {
	if l.room -= len(p); l.room < 0 {
		return 0, l.err
	}
	return len(p), nil
}

var update = flag.Bool("update", false, "make a new fixture: only with another Version")

// fixture is a box of version 0 for two members, as it was first written.
func fixture(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join("testdata", "box.0")
	if *update {
		if err := os.WriteFile(path, sealed(t, members(t, "anna", "riverside"), []byte("the content")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	box, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return box
}

// What was sealed once opens for ever.
func TestFixture(t *testing.T) {
	for _, m := range members(t, "anna", "riverside") {
		if got, err := seal.Open(label(), m.id, m.SealSeed, fixture(t)); err != nil || string(got) != "the content" {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// Whatever comes, opening neither panics nor gives content that was not sealed.
func FuzzOpen(f *testing.F) {
	to := members(f, "anna", "riverside")
	box := fixture(f) // the same in each of the fuzzer's processes
	f.Add(box)
	f.Add(box[:len(box)-1])
	f.Add([]byte{seal.Version, 0, 1})
	f.Add([]byte{seal.Version, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := seal.Open(label(), to[0].id, to[0].SealSeed, in)
		if err == nil && !bytes.Equal(in, box) {
			t.Errorf("%x opens to %q", in, got)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	to := members(b, "anna", "riverside", "north")
	content := contentOf(1 << 20)
	b.Run("write", func(b *testing.B) {
		b.SetBytes(int64(len(content)))
		for b.Loop() {
			sealed(b, to, content)
		}
	})
	box := sealed(b, to, content)
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(len(content)))
		for b.Loop() {
			if _, err := seal.Open(label(), to[0].id, to[0].SealSeed, box); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, n := range []int{1, 100} {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprint("member ", i)
		}
		to := recipients(members(b, names...))
		b.Run(fmt.Sprintf("recipients-%d", n), func(b *testing.B) {
			for b.Loop() {
				if _, err := seal.Seal(label(), to, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
