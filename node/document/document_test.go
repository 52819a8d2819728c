package document_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/document"
)

// A document reaches all though none is connected to all, and its author says it no
// more than three times.
func TestEverybodyGetsIt(t *testing.T) {
	const members, size = 30, 3<<20 + 17
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newTown()
		defer w.close(t)
		author := w.join(t, "author", filepath.Join(root, "author"), func(c *document.Config) { c.Self = crypto.MemberID{1} })
		file := content(1, size)
		ref := author.has(t, file)
		var others []*member
		for i := range members {
			others = append(others, w.join(t, fmt.Sprintf("m%02d", i), filepath.Join(root, fmt.Sprint(i)), nil))
		}
		for _, m := range others {
			m.Want(wanted(ref))
		}
		for _, m := range others {
			eventually(t, m.name+" has it", func() bool { return m.State(ref).Whole })
			if !m.holds(file) {
				t.Errorf("%s has something else", m.name)
			}
		}
		if out := float64(author.out.Load()) / size; out > 3 {
			t.Errorf("the author said it %.2f times", out)
		} else {
			t.Logf("the author said it %.2f times", out)
		}
	})
}

// Where the author is all that others know, it says it to each.
func TestStar(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newTown()
		defer w.close(t)
		author := w.join(t, "author", filepath.Join(root, "author"), func(c *document.Config) { c.Self = crypto.MemberID{1} })
		file := content(2, 1<<20)
		ref := author.has(t, file)
		begun := time.Now()
		var others []*member
		for i := range 8 {
			m := w.join(t, fmt.Sprintf("m%02d", i), filepath.Join(root, fmt.Sprint(i)), nil)
			m.knows = func([]string, string) []string { return []string{"author"} }
			others = append(others, m)
			m.Want(wanted(ref))
		}
		for _, m := range others {
			eventually(t, m.name+" has it", func() bool { return m.holds(file) })
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

func TestPut(t *testing.T) {
	w := newTown()
	defer w.close(t)
	m := w.join(t, "m", dirOf(t, "m"), func(c *document.Config) { c.Max = 20 << 20 })
	for name, c := range map[string]struct {
		size int
		want error
	}{
		"empty":              {0, document.ErrEmpty},
		"one byte":           {1, nil},
		"a chunk":            {document.ChunkSize, nil},
		"a chunk and a byte": {document.ChunkSize + 1, nil},
		"the largest":        {document.SizeMax, nil},
		"one byte more":      {document.SizeMax + 1, document.ErrTooLarge},
		"eighty million":     {80_000_000, document.ErrTooLarge},
	} {
		file := content(3, c.size)
		ref, err := m.Put(bytes.NewReader(file))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (ref != refOf(file) || !m.holds(file)) {
			t.Errorf("%s: %+v", name, ref)
		}
	}
	if _, err := m.Put(errReader{}); !errors.Is(err, errBroken) {
		t.Errorf("a reader that breaks: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(m.dir, "*.tmp"))
	if err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

var errBroken = errors.New("broken")

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errBroken }

// The oldest that nothing names makes room; what is named stays.
func TestRoom(t *testing.T) {
	w := newTown()
	defer w.close(t)
	now := time.Now()
	m := w.join(t, "m", dirOf(t, "m"), func(c *document.Config) {
		c.Max = 3 << 20
		c.Now = func() time.Time { now = now.Add(time.Second); return now }
	})
	named, old, young, next := content(4, 1<<20), content(5, 1<<20), content(6, 1<<20), content(7, 1<<20)
	m.has(t, named)
	for _, file := range [][]byte{old, young, next} {
		if _, err := m.Put(bytes.NewReader(file)); err != nil {
			t.Fatal(err)
		}
	}
	if !m.holds(named) || m.holds(old) || !m.holds(young) || !m.holds(next) {
		t.Fatalf("kept: named %t, old %t, young %t, next %t", m.holds(named), m.holds(old), m.holds(young), m.holds(next))
	}
	m.Want(wanted(refOf(young)))
	m.Want(wanted(refOf(next)))
	if _, err := m.Put(bytes.NewReader(old)); !errors.Is(err, document.ErrFull) {
		t.Errorf("all that is here is named: %v", err)
	}
	m.WantAll([]document.Wanted{wanted(refOf(named))})
	if _, err := m.Put(bytes.NewReader(old)); err != nil || m.holds(young) {
		t.Errorf("what is named no longer: %v, kept %t", err, m.holds(young))
	}
}

// What the disk has damaged is nobody's document, and comes again.
func TestDamage(t *testing.T) {
	w := newTown()
	defer w.close(t)
	a, b := w.join(t, "a", dirOf(t, "a"), nil), w.join(t, "b", dirOf(t, "b"), nil)
	file := content(8, 1<<20)
	ref := a.has(t, file)
	b.Want(wanted(ref))
	eventually(t, "b has it", func() bool { return b.holds(file) })
	name := filepath.Join(a.dir, ref.ID.String())
	spoilt := bytes.Clone(file)
	spoilt[500_000]++
	if err := os.WriteFile(name, spoilt, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Content(ref.ID); !errors.Is(err, document.ErrMissing) {
		t.Fatalf("a damaged file: %v", err)
	}
	eventually(t, "a has it again", func() bool { return a.holds(file) })
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a has it a third time", func() bool { return a.holds(file) })
}

// A fetch goes on where it was, after the end of the process too; what of the part is
// damaged comes again.
func TestGoesOn(t *testing.T) {
	w := newTown()
	defer w.close(t)
	file := content(9, 4<<20)
	ref := refOf(file)
	half := w.player("half", func(_ string, s document.Stream) { giveSome(s, file, 40) })
	dir := dirOf(t, "b")
	b := w.join(t, "b", dir, nil)
	b.Want(wanted(ref))
	eventually(t, "b has a part", func() bool { return b.State(ref).Held == 40 })
	b.leave(t)
	half.leave(t)
	part, err := filepath.Glob(filepath.Join(dir, "*.part"))
	if err != nil || len(part) != 1 {
		t.Fatalf("%v, %v", part, err)
	}
	f, err := os.OpenFile(part[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("spoilt"), 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	a := w.join(t, "a", dirOf(t, "a"), nil)
	a.has(t, file)
	b = w.join(t, "b", dir, nil)
	b.Want(wanted(ref))
	eventually(t, "b has it", func() bool { return b.holds(file) })
	if out, most := a.out.Load(), int64(25*document.ChunkSize+8<<10); out > most { // 24 chunks and the spoilt one
		t.Errorf("a said %d bytes, at most %d are missing", out, most)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.part")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// giveSome gives the first n chunks of a document.
func giveSome(s document.Stream, file []byte, n int) {
	defer s.Close()
	if _, err := document.Receive(s, document.AskMax); err == nil {
		give(s, file, n)
	}
}

// give gives the first n chunks of a document that is sought.
func give(s document.Stream, file []byte, n int) {
	held := document.All(n)
	if document.Send(s, &document.List{Hashes: document.ListOf(file)}) != nil || document.Send(s, &document.Have{Chunks: held[:]}) != nil {
		return
	}
	for {
		message, err := document.Receive(s, document.AskMax)
		if err != nil {
			return
		}
		for _, i := range message.(*document.Want).Chunks {
			at := int(i) * document.ChunkSize
			if document.Send(s, &document.Chunk{Index: i, Data: file[at:min(at+document.ChunkSize, len(file))]}) != nil {
				return
			}
		}
	}
}

// Who may not hear what names a document gets nothing of it, as if it were not there.
func TestOnlyWhoMayHear(t *testing.T) {
	w := newTown()
	defer w.close(t)
	a := w.join(t, "a", dirOf(t, "a"), nil)
	b := w.join(t, "b", dirOf(t, "b"), nil)
	other := crypto.Region{2}
	b.may = func(to document.Audience) bool { return to.Region == other }
	file := content(10, 200_000)
	ref := a.has(t, file)
	b.Want(wanted(ref))
	s := a.dial(t, "b", ref)
	none := a.dial(t, "b", refOf(content(11, 5)))
	unnamed := content(12, 100)
	if _, err := a.Put(bytes.NewReader(unnamed)); err != nil {
		t.Fatal(err)
	}
	fresh := a.dial(t, "c", refOf(unnamed)) // which no notice names
	for name, s := range map[string]document.Stream{"not for it": s, "not here": none, "not named": fresh} {
		if err := document.Send(s, &document.Want{Chunks: []uint8{0}, Alone: true}); err != nil {
			t.Fatal(err)
		}
		if got := hear(t, s); fmt.Sprint(got) != fmt.Sprint(&document.Later{}) {
			t.Errorf("%s: %T", name, got)
		}
	}
	a.Want(document.Wanted{Ref: ref, Author: crypto.MemberID{3}, To: document.Audience{Region: other, Audience: crypto.AudienceCommunity}})
	eventually(t, "b has what is for it now", func() bool { return b.holds(file) })
}

// Nobody gets a document more often than it needs.
func TestGreed(t *testing.T) {
	w := newTown()
	defer w.close(t)
	a := w.join(t, "a", dirOf(t, "a"), nil)
	w.player("greedy", nil)
	file := content(13, 2*document.ChunkSize)
	ref := a.has(t, file)
	got := 0
	for range 5 {
		s := a.dial(t, "greedy", ref)
		hear(t, s)
		hear(t, s)
		for err := error(nil); err == nil; {
			if err = document.Send(s, &document.Want{Chunks: []uint8{0}, Alone: true}); err == nil {
				var message any
				if message, err = document.Receive(s, document.AnswerMax); err == nil {
					got += len(message.(*document.Chunk).Data)
				}
			}
		}
		_ = s.Close()
	}
	if got != 3*len(file) {
		t.Errorf("it got %d bytes of %d", got, len(file))
	}
}

// An author whose chunks are not those of the whole is found out, and harms nobody else:
// the same document is got by the word of another.
func TestFalseList(t *testing.T) {
	w := newTown()
	defer w.close(t)
	file, lie := content(14, 300_000), content(15, 300_000)
	lying := refOf(lie)
	lying.ID = refOf(file).ID
	liar := w.player("liar", func(_ string, s document.Stream) { giveSome(s, lie, 5) })
	b := w.join(t, "b", dirOf(t, "b"), nil)
	b.Want(wanted(lying))
	eventually(t, "all chunks came, and were nothing", func() bool {
		left, err := filepath.Glob(filepath.Join(b.dir, "*"))
		return liar.out.Load() > int64(len(lie)) && err == nil && len(left) == 0 && b.State(lying).Held == 0 && b.Missing() == 1
	})
	a := w.join(t, "a", dirOf(t, "a"), nil)
	a.has(t, file)
	b.Want(wanted(refOf(file)))
	eventually(t, "b has it", func() bool { return b.holds(file) })
	eventually(t, "nothing is missing", func() bool { return b.Missing() == 0 })
}

// One author takes no more than its share: of the room, and of what is fetched in a day.
func TestShare(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newTown()
		defer w.close(t)
		a := w.join(t, "a", filepath.Join(root, "a"), nil)
		b := w.join(t, "b", filepath.Join(root, "b"), func(c *document.Config) { c.Max = 8 << 20 })
		var all []document.Wanted
		for i := range uint64(4) {
			all = append(all, wanted(a.has(t, content(20+i, 1<<20))))
		}
		another := wanted(a.has(t, content(30, 1<<20)))
		another.Author = crypto.MemberID{2}
		b.WantAll(all)
		missing := func(when string, want int) {
			t.Helper()
			time.Sleep(10 * time.Minute)
			if got := b.Missing(); got != want {
				t.Errorf("%s: %d are missing, want %d", when, got, want)
			}
		}
		missing("at first", 2)
		b.Want(another)
		missing("with what another wants", 2)
		if !b.State(another.Ref).Whole {
			t.Error("one author takes the room of another")
		}
		time.Sleep(25 * time.Hour)
		missing("on another day", 2)
		i := slices.IndexFunc(all, func(w document.Wanted) bool { return b.State(w.Ref).Whole })
		b.WantAll(append(all[:i:i], all[i+1:]...))
		missing("when one is named no longer", 1)
		for i := range uint64(2) {
			all = append(all, wanted(a.has(t, content(50+i, 1<<20))))
		}
		b.WantAll(all[4:])
		missing("when the day's share is taken", 1)
	})
}

// What an author makes others fetch in vain counts in its share of the day as well.
func TestShareOfWhatIsFetchedInVain(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newTown()
		defer w.close(t)
		lies := map[document.Hash][]byte{}
		var all []document.Wanted
		for i := range uint64(4) {
			lie := content(60+i, 1<<20)
			ref := refOf(lie)
			ref.ID = document.Hash{byte(i)}
			lies[ref.Chunks] = lie
			all = append(all, wanted(ref))
		}
		liar := w.player("liar", func(_ string, s document.Stream) {
			defer s.Close()
			if message, err := document.Receive(s, document.AskMax); err == nil {
				give(s, lies[message.(*document.Seek).Chunks], 1<<20/document.ChunkSize)
			}
		})
		b := w.join(t, "b", filepath.Join(root, "b"), func(c *document.Config) { c.Max = 8 << 20 })
		b.WantAll(all)
		time.Sleep(10 * time.Minute)
		if out := liar.out.Load(); out < 2<<20 || out > 2<<20+64<<10 {
			t.Errorf("%d bytes came of an author that has 2 MiB a day", out)
		}
	})
}

// What came of a document before its fetch was stuck does not count twice.
func TestShareOfWhatGoesOn(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newTown()
		defer w.close(t)
		file := content(64, 2<<20) // all of the share
		ref := refOf(file)
		half := w.player("half", func(_ string, s document.Stream) { giveSome(s, file, 16) })
		b := w.join(t, "b", filepath.Join(root, "b"), func(c *document.Config) { c.Max = 8 << 20 })
		b.Want(wanted(ref))
		time.Sleep(2 * time.Minute)
		if got := b.State(ref).Held; got != 16 {
			t.Errorf("%d chunks are there", got)
		}
		half.leave(t)
		a := w.join(t, "a", filepath.Join(root, "a"), nil)
		a.has(t, file)
		time.Sleep(10 * time.Minute)
		if !b.holds(file) {
			t.Error("the rest does not come")
		}
	})
}

// Many documents that wait for their author's share stop nobody: what to fetch is found in
// far less time than it takes to look at each of them for each.
func TestManyThatWait(t *testing.T) {
	w := newTown()
	defer w.close(t)
	m := &member{town: w}
	var err error
	if m.Documents, err = document.Open(document.Config{Dir: dirOf(t, "m"), Max: 4 << 20, Network: m}); err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const many = 40_000
	all := []document.Wanted{wanted(m.has(t, content(70, 1<<20)))} // all of the share
	for i := range many {
		ref := document.Ref{Size: 1}
		binary.BigEndian.PutUint32(ref.ID[:], uint32(i))
		all = append(all, wanted(ref))
	}
	m.WantAll(all)
	begun := time.Now()
	if m.Begin() {
		t.Error("a document beyond the share is fetched")
	}
	if took := time.Since(begun); took > 5*time.Second { // some 10 ms; each for each are minutes
		t.Errorf("it took %s to look at %d documents", took, many)
	}
}
