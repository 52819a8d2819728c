package node_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const chainMark = "does not follow its author's last word"

// An envelope that does not fit the one before it, by its link or its time, is
// taken and marked, whichever of the two comes first.
func TestChainThatDoesNotFitIsMarked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(h *crypto.Header)
		marked bool
	}{
		{"linked", func(*crypto.Header) {}, false},
		{"linked to another envelope", func(h *crypto.Header) { h.Prev[0] ^= 1 }, true},
		{"written before its predecessor", func(h *crypto.Header) { h.Time -= 2 * minute }, true},
	} {
		for _, order := range []string{"in order", "backwards", "in order at once", "backwards at once", "in order after a restart"} {
			t.Run(c.name+"/"+order, func(t *testing.T) {
				b := newBench(t)
				now := b.clock.now()
				first := b.author.Envelope(t, crypto.Header{Time: now}, nil, b.item(t, "one.example"))
				h := crypto.Header{Time: now, Epoch: 1, Seq: 2, Prev: first.ID}
				c.change(&h)
				second := b.author.Envelope(t, h, nil, b.item(t, "two.example"))
				all := []*crypto.Envelope{first, second}
				if order[0] == 'b' {
					slices.Reverse(all)
				}
				switch order {
				case "in order at once", "backwards at once":
					b.admitAtOnce(t, all...)
				case "in order after a restart":
					b.takes(t, all[0], mesh.ViaSync)
					b.stop(t)
					b.open(t)
					b.takes(t, all[1], mesh.ViaSync)
				default:
					b.takes(t, all[0], mesh.ViaGossip)
					b.takes(t, all[1], mesh.ViaGossip)
				}
				for _, v := range []string{"one.example", "two.example"} {
					if !b.knows(t, v) {
						t.Errorf("%s is not known", v)
					}
				}
				marked := b.marked(t, itemID(t, first, 0), chainMark) || b.marked(t, itemID(t, second, 0), chainMark)
				if marked != c.marked {
					t.Errorf("marked %t, want %t", marked, c.marked)
				}
			})
		}
	}
}

func (b *bench) admitAtOnce(t testing.TB, all ...*crypto.Envelope) {
	t.Helper()
	var batch []*mesh.Checked
	for _, e := range all {
		checked, err := b.Path().Check(e.Raw, mesh.ViaSync, crypto.Region{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		batch = append(batch, checked)
	}
	if err := b.Path().Admit(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
}

// Whatever order an honest chain comes in, in whatever batches, all of it is
// stored, nothing is marked, and a node that has it is equal to any other.
func TestHonestChainInAnyOrder(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var chain []*crypto.Envelope
	var last *crypto.Envelope
	values := []string{"a.example", "b.example", "c.example", "d.example", "e.example", "f.example"}
	for i, v := range values {
		last = b.author.Envelope(t, crypto.Header{Time: b.clock.now() + int64(i)}, last, b.item(t, v))
		chain = append(chain, last)
	}
	b.admitAtOnce(t, chain...)
	want := b.figures(t).root
	rapid.Check(t, func(rt *rapid.T) {
		b := benchAt(t, t.TempDir(), b.clock)
		b.open(t)
		defer b.stop(t)
		order := rapid.Permutation(chain).Draw(rt, "order")
		for len(order) > 0 {
			n := rapid.IntRange(1, len(order)).Draw(rt, "batch")
			b.admitAtOnce(t, order[:n]...)
			order = order[n:]
		}
		if got := b.figures(t); got.root != want || got.notices != 6 || got.envelopes != 6 {
			rt.Fatalf("figures %+v, want root %s", got, want)
		}
		for _, e := range chain {
			if view, _ := b.notice(t, itemID(t, e, 0)); len(view.Marks) > 0 {
				rt.Fatalf("number %d is marked %q", e.Header.Seq, view.Marks)
			}
		}
	})
}

// An item that cannot be read is refused alone. What a later version wrote is
// stored and relayed and never acted on.
func TestItemsThatCannotBeRead(t *testing.T) {
	good := func(b *bench, v string) []byte { return b.item(t, v) }
	extended := func(b *bench, v string, key ...byte) []byte {
		raw := b.item(t, v)
		raw[0]++ // a map of one more
		return append(append(raw, key...), 0)
	}
	for _, c := range []struct {
		name string
		item func(b *bench) []byte
		here bool
	}{
		{"no CBOR", func(*bench) []byte { return []byte{0xff} }, false},
		{"empty", func(*bench) []byte { return []byte{} }, false},
		{"cut short", func(b *bench) []byte { raw := good(b, "odd.example"); return raw[:len(raw)-1] }, false},
		{"trailing byte", func(b *bench) []byte { return append(good(b, "odd.example"), 0) }, false},
		{"9 KiB", func(*bench) []byte { return bytes.Repeat([]byte{0x41}, 9<<10) }, false},
		{"nested 5,000 deep", func(*bench) []byte { return bytes.Repeat([]byte{0x81}, 5000) }, false},
		{"a value that is not canonical", func(b *bench) []byte {
			return bytes.Replace(good(b, "odd.example"), []byte("odd.example"), []byte("ODD.example"), -1)
		}, false},
		{"unknown critical key", func(b *bench) []byte { return extended(b, "odd.example", 20) }, false},
		{"unknown ignorable key", func(b *bench) []byte { return extended(b, "odd.example", 0x18, 64) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			items := [][]byte{good(b, "one.example"), c.item(b), good(b, "two.example")}
			e := b.author.Envelope(t, crypto.Header{Time: b.clock.now()}, nil, items...)
			b.takes(t, e, mesh.ViaGossip)
			if !b.knows(t, "one.example") || !b.knows(t, "two.example") {
				t.Error("the good items beside it are not known")
			}
			if b.knows(t, "odd.example") != c.here {
				t.Errorf("the odd item is known: %t", !c.here)
			}
			if _, found := b.notice(t, itemID(t, e, 1)); found != c.here {
				t.Errorf("the odd item is found by its id: %t", found)
			}
			all, _, err := b.Store().List(store.Query{})
			if err != nil || len(all) != map[bool]int{false: 2, true: 3}[c.here] {
				t.Errorf("%d notices are listed, error %v", len(all), err)
			}
			// Others get it as it was signed.
			if held := b.held(t, b.author.ID); len(held) != 1 || !bytes.Equal(held[0].Raw, e.Raw) {
				t.Error("the envelope is not kept byte by byte")
			}
			_, proof, found, err := b.Notice(t.Context(), itemID(t, e, 2), 0)
			if err != nil || !found || proof == nil {
				t.Fatalf("proof of a good item: found %t, error %v", found, err)
			}
			path := make([]crypto.Hash, len(proof.Path))
			for i := range path {
				path[i] = crypto.Hash(proof.Path[i])
			}
			if err := crypto.CheckProof(path, proof.Count, proof.Index, crypto.Hash(proof.Root), crypto.LeafHash(proof.Item)); err != nil {
				t.Error(err)
			}
		})
	}
}

// An author's retraction counts from the author alone, and a word about another
// may come before it or after.
func TestForeignRetractionIsIgnored(t *testing.T) {
	b := newBench(t)
	word := b.item(t, "evil.example")
	about := crypto.NewItemID(b.author.ID, crypto.LeafHash(word))
	retract := func(salt byte) []byte {
		return encode(t, &notice.Notice{Kind: notice.KindRetraction, Salt: [16]byte{salt}, Created: b.clock.now(), Ref: &about, Reason: "typing mistake"})
	}
	theirs := b.other.Envelope(t, crypto.Header{Time: b.clock.now()}, nil, retract(1))
	b.takes(t, theirs, mesh.ViaGossip)
	first := b.author.Envelope(t, crypto.Header{Time: b.clock.now()}, nil, word)
	b.takes(t, first, mesh.ViaGossip)
	b.takes(t, b.other.Envelope(t, crypto.Header{Time: b.clock.now()}, theirs, retract(3)), mesh.ViaGossip)
	if !b.knows(t, "evil.example") || b.marked(t, about.String(), "retracted") {
		t.Fatal("somebody else took a word back")
	}
	own := b.author.Envelope(t, crypto.Header{Time: b.clock.now()}, first, retract(2))
	b.takes(t, own, mesh.ViaGossip)
	if b.knows(t, "evil.example") || !b.marked(t, about.String(), "retracted") {
		t.Fatal("an author's retraction does not count")
	}
	if err := b.bring(t.Context(), own.Raw, mesh.ViaSync, 0); !errors.Is(err, mesh.ErrDuplicate) {
		t.Fatal(err)
	}
}
