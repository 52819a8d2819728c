package document_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/node/document"
)

// A trade is how a peer behaves that tests play: it gives file, but for what change makes
// of a message. A nil message is not sent; after an error it is gone.
type trade func(message any) (any, error)

var errGone = errors.New("gone")

// deal plays a peer that holds a whole document.
func deal(file []byte, seed uint64, anew func(*rand.Rand) trade) func(string, document.Stream) {
	var streams atomic.Uint64
	return func(_ string, s document.Stream) {
		defer s.Close()
		change := anew(rand.New(rand.NewPCG(seed, streams.Add(1))))
		say := func(message any) error {
			message, err := change(message)
			if err != nil || message == nil {
				return err
			}
			return document.Send(s, message)
		}
		if _, err := document.Receive(s, document.AskMax); err != nil {
			return
		}
		held := document.All(len(document.ListOf(file)) / 32)
		if say(&document.List{Hashes: document.ListOf(file)}) != nil || say(&document.Have{Chunks: held[:]}) != nil {
			return
		}
		for {
			message, err := document.Receive(s, document.AskMax)
			if err != nil {
				return
			}
			for _, i := range message.(*document.Want).Chunks {
				at := int(i) * document.ChunkSize
				if say(&document.Chunk{Index: i, Data: bytes.Clone(file[at:min(at+document.ChunkSize, len(file))])}) != nil {
					return
				}
			}
		}
	}
}

// trades are what peers do that are no good, by what one may call them. Each is made anew
// for a stream.
var trades = map[string]func(r *rand.Rand) trade{
	"honest": func(*rand.Rand) trade { return func(m any) (any, error) { return m, nil } },
	"lies now and then": func(r *rand.Rand) trade {
		return func(m any) (any, error) {
			if c, ok := m.(*document.Chunk); ok && r.IntN(3) == 0 {
				c.Data[r.IntN(len(c.Data))]++
			}
			return m, nil
		}
	},
	"short chunks": func(*rand.Rand) trade {
		return func(m any) (any, error) {
			if c, ok := m.(*document.Chunk); ok && len(c.Data) > 1 {
				c.Data = c.Data[1:]
			}
			return m, nil
		}
	},
	"another chunk": func(*rand.Rand) trade {
		return func(m any) (any, error) {
			if c, ok := m.(*document.Chunk); ok {
				c.Index++
			}
			return m, nil
		}
	},
	"a chunk beyond the end": func(*rand.Rand) trade {
		return func(m any) (any, error) {
			if c, ok := m.(*document.Chunk); ok {
				c.Index = 200
			}
			return m, nil
		}
	},
	"another list": func(*rand.Rand) trade {
		return func(m any) (any, error) {
			if l, ok := m.(*document.List); ok {
				l.Hashes = append([]byte{l.Hashes[0] + 1}, l.Hashes[1:]...)
			}
			return m, nil
		}
	},
	"a longer list": func(*rand.Rand) trade {
		return func(m any) (any, error) {
			if l, ok := m.(*document.List); ok {
				l.Hashes = append(bytes.Clone(l.Hashes), make([]byte, 32)...)
			}
			return m, nil
		}
	},
	"no list": func(*rand.Rand) trade {
		return func(m any) (any, error) {
			if _, ok := m.(*document.List); ok {
				return nil, nil
			}
			return m, nil
		}
	},
	"claims all and gives nothing": func(*rand.Rand) trade {
		return func(m any) (any, error) {
			if _, ok := m.(*document.Chunk); ok {
				return nil, nil
			}
			return m, nil
		}
	},
	"puts all off": func(*rand.Rand) trade {
		return func(m any) (any, error) {
			if c, ok := m.(*document.Chunk); ok {
				return &document.Later{Index: c.Index}, nil
			}
			return m, nil
		}
	},
	"puts off what nobody asked": func(*rand.Rand) trade {
		return func(m any) (any, error) {
			if _, ok := m.(*document.Chunk); ok {
				return &document.Later{Index: 201}, nil
			}
			return m, nil
		}
	},
	"slow": func(r *rand.Rand) trade {
		return func(m any) (any, error) {
			time.Sleep(time.Duration(r.Int64N(int64(20 * time.Second))))
			return m, nil
		}
	},
	"silent": func(*rand.Rand) trade {
		return func(any) (any, error) { return nil, nil }
	},
	"vanishes": func(r *rand.Rand) trade {
		left := r.IntN(8)
		return func(m any) (any, error) {
			if left--; left < 0 {
				return nil, errGone
			}
			return m, nil
		}
	},
	"asks in turn": func(*rand.Rand) trade {
		return func(m any) (any, error) {
			if _, ok := m.(*document.Chunk); ok {
				return &document.Want{Chunks: []uint8{0}}, nil
			}
			return m, nil
		}
	},
}

// Whatever mixture of peers a document is sought at, it ends with the right file or none;
// with one honest peer among them, it is there. Nobody who is honest is taken for a liar.
func TestAnyMixture(t *testing.T) {
	root := t.TempDir()
	run := 0
	names := slices.Sorted(maps.Keys(trades))
	rapid.Check(t, func(rt *rapid.T) {
		run++
		size := rapid.SampledFrom([]int{1, document.ChunkSize, 5*document.ChunkSize + 1, 20 * document.ChunkSize}).Draw(rt, "size")
		kinds := rapid.SliceOfN(rapid.SampledFrom(names), 1, 16).Draw(rt, "peers")
		seed := rapid.Uint64().Draw(rt, "seed")
		var wrong string
		synctest.Test(t, func(t *testing.T) {
			wrong = mixture(t, filepath.Join(root, fmt.Sprint(run)), content(seed, size), kinds, seed)
		})
		if wrong != "" {
			rt.Fatal(wrong)
		}
	})
}

// mixture seeks a document among peers and says what is wrong with how that ends.
func mixture(t *testing.T, dir string, file []byte, kinds []string, seed uint64) string {
	w := newTown()
	defer w.close(t)
	var lied atomic.Int32
	liars, honest := 0, false
	for i, kind := range kinds {
		honest = honest || kind == "honest"
		if !peaceful[kind] {
			liars++
		}
		w.player(fmt.Sprintf("%02d", i), deal(file, seed+uint64(i), trades[kind]))
	}
	m := w.join(t, "m", dir, func(c *document.Config) { c.Liar = func() { lied.Add(1) } })
	ref := refOf(file)
	m.Want(wanted(ref))
	for end := time.Now().Add(15 * time.Minute); !m.State(ref).Whole && time.Now().Before(end); {
		time.Sleep(time.Second)
	}
	got, err := m.Content(ref.ID)
	switch {
	case err == nil && !bytes.Equal(got, file):
		return "another file than the one that is wanted"
	case err != nil && honest:
		return fmt.Sprintf("an honest peer has it, and it is not here: %v, %+v", err, m.State(ref))
	case liars == 0 && lied.Load() > 0:
		return fmt.Sprintf("%d peers are taken for liars, and none is one", lied.Load())
	}
	return ""
}

// peaceful are the trades of peers that may be honest.
var peaceful = map[string]bool{
	"honest": true, "slow": true, "silent": true, "vanishes": true, "claims all and gives nothing": true, "puts all off": true, "no list": true,
}

// A peer that lies is asked nothing for a while, and told of.
func TestLiarIsLeft(t *testing.T) {
	root := t.TempDir()
	for _, kind := range []string{"short chunks", "another chunk", "a chunk beyond the end", "another list", "a longer list", "puts off what nobody asked", "asks in turn"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTown()
				defer w.close(t)
				file := content(40, 200_000)
				var lied, asked atomic.Int32
				plays := deal(file, 0, trades[kind])
				w.player("liar", func(peer string, s document.Stream) { asked.Add(1); plays(peer, s) })
				m := w.join(t, "m", filepath.Join(root, kind), func(c *document.Config) { c.Liar = func() { lied.Add(1) } })
				m.Want(wanted(refOf(file)))
				time.Sleep(9 * time.Minute)
				if lied.Load() != 1 || asked.Load() != 1 {
					t.Errorf("told of %d times, asked %d times", lied.Load(), asked.Load())
				}
				time.Sleep(9 * time.Minute)
				if asked.Load() < 2 {
					t.Error("it is left for good")
				}
			})
		})
	}
}

// A peer that puts off what it has never read that it is asked for stops nobody.
func TestPeerThatReadsNothing(t *testing.T) {
	w := newTown()
	file := content(44, 12*document.ChunkSize)
	said := make(chan error, 1)
	deaf := func(s document.Stream) error {
		if _, err := document.Receive(s, document.AskMax); err != nil {
			return err
		}
		if err := document.Send(s, &document.List{Hashes: document.ListOf(file)}); err != nil {
			return err
		}
		for i := range 10 { // one that the writer has, eight that wait for it, and one more
			held := document.All(i + 1)
			if err := document.Send(s, &document.Have{Chunks: held[:]}); err != nil {
				return err
			}
			if i == 9 {
				break
			}
			if err := document.Send(s, &document.Later{Index: uint8(i)}); err != nil {
				return err
			}
		}
		return nil
	}
	w.player("deaf", func(_ string, s document.Stream) {
		defer s.Close()
		select {
		case said <- deaf(s):
		default: // it is asked again
		}
	})
	m := w.join(t, "m", dirOf(t, "m"), nil)
	m.Want(wanted(refOf(file)))
	if err := <-said; err != nil {
		t.Error(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- m.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("Close does not end")
	}
	w.close(t)
}

// What nobody asked for is not taken, be it good.
func TestUnaskedIsNotTaken(t *testing.T) {
	root := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newTown()
		defer w.close(t)
		file := content(43, 100)
		var lied atomic.Int32
		w.player("eager", func(_ string, s document.Stream) {
			defer s.Close()
			if _, err := document.Receive(s, document.AskMax); err != nil {
				return
			}
			_ = document.Send(s, &document.List{Hashes: document.ListOf(file)})
			_ = document.Send(s, &document.Chunk{Data: file})
			_, _ = document.Receive(s, document.AskMax)
		})
		m := w.join(t, "m", filepath.Join(root, "m"), func(c *document.Config) { c.Liar = func() { lied.Add(1) } })
		m.Want(wanted(refOf(file)))
		time.Sleep(time.Minute)
		if lied.Load() != 1 || m.holds(file) {
			t.Errorf("told of %d times, taken %t", lied.Load(), m.holds(file))
		}
	})
}

// Whatever a peer says to the side that serves, it gets no more than the document, and the
// stream ends.
func TestServeTakesNoNonsense(t *testing.T) {
	root := t.TempDir()
	file := content(41, 200_000)
	ref := refOf(file)
	for name, says := range map[string][]any{
		"a want before it seeks": {&document.Want{Chunks: []uint8{0}}},
		"a chunk beyond the end": {&document.Seek{ID: ref.ID, Chunks: ref.Chunks, Size: ref.Size}, &document.Want{Chunks: []uint8{9}}},
		"a chunk":                {&document.Seek{ID: ref.ID, Chunks: ref.Chunks, Size: ref.Size}, &document.Chunk{Data: []byte{1}}},
		"nothing":                {},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown()
			defer w.close(t)
			m := w.join(t, "m", filepath.Join(root, name), nil)
			m.has(t, file)
			s := m.raw(t, "peer")
			for _, message := range says {
				go func() { _ = document.Send(s, message) }() // a pipe has no room
				time.Sleep(time.Millisecond)
			}
			if len(says) == 0 {
				go func() { _, _ = s.Write([]byte{0, 0, 0, 0, 1}) }()
			}
			for {
				message, err := document.Receive(s, document.AnswerMax)
				if err != nil {
					break
				}
				if _, ok := message.(*document.Chunk); ok {
					t.Fatalf("it got %T", message)
				}
			}
		})
	}
}

// One peer cannot take all places of those that are served.
func TestOnePeerDoesNotCrowdOutOthers(t *testing.T) {
	w := newTown()
	defer w.close(t)
	m := w.join(t, "m", dirOf(t, "m"), nil)
	w.player("other", nil)
	ref := m.has(t, content(42, 5))
	var open []document.Stream
	for range 300 {
		open = append(open, m.raw(t, "crowd"))
	}
	refused := 0
	for _, s := range open {
		refusedBy := make(chan error, 1)
		go func() {
			_, err := s.Write([]byte{0, 0})
			refusedBy <- err
		}()
		if <-refusedBy != nil {
			refused++
		}
	}
	if refused != 292 {
		t.Errorf("%d of 300 streams of one peer are refused", refused)
	}
	if got := hear(t, m.dial(t, "other", ref)); fmt.Sprintf("%T", got) != "*document.list" {
		t.Errorf("another peer hears %T", got)
	}
}
