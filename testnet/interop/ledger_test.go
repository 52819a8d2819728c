// Package interop_test checks a region's ledger with tools that nobody of this project
// wrote: Tessera's fsck, torchwood's client, the signed notes of
// transparency-dev/formats with filippo.io/mldsa, and an omniwitness. It is a module of
// its own, so that the product does not depend on them.
package interop_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode"

	"github.com/transparency-dev/witness/witness"
	"golang.org/x/mod/sumdb/note"
)

const (
	entriesMin = 10_000
	flipsEach  = 2 // of each kind of file, beside the first bit and the last
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "interop")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if err := buildTools(dir); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// TestLedger has a ledger that watchward dev made checked by each tool, then cosigned
// while it grows, and then a bit of it turned over.
func TestLedger(t *testing.T) {
	d := startDev(t)
	l := d.ledger(t, entriesMin)
	t.Run("fsck", func(t *testing.T) {
		if err := fsck(t, l); err != nil {
			t.Error(err)
		}
	})
	t.Run("torchwood", func(t *testing.T) {
		if err := torchwoodClient(t.Context(), l); err != nil {
			t.Error(err)
		}
	})
	t.Run("ML-DSA-44", func(t *testing.T) {
		if err := cosignatures(t.Context(), l); err != nil {
			t.Error(err)
		}
	})
	t.Run("omniwitness", func(t *testing.T) { cosigned(t, d, l) })
	t.Run("flips", func(t *testing.T) { flippedBits(t, d, l) })
}

// cosigned lets a witness that is no member sign the checkpoint, then that of the
// ledger when it has grown, and shows that it does not sign what is not proven.
func cosigned(t *testing.T, d *dev, l *ledger) {
	w := startWitness(t, l)
	first, err := w.feed(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	before := sizeOf(t, first)
	d.grow(t, before+1)
	second, err := w.feed(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if sizeOf(t, second) <= before {
		t.Fatalf("the witness signed %d entries, and then %d", before, sizeOf(t, second))
	}
	// Who knows the log's key and the witness's checks the note as one.
	log, err := note.NewVerifier(l.log[0])
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(second, note.VerifierList(append(w.verifiers, log)...))
	if err != nil || len(n.Sigs) != len(w.verifiers)+1 {
		t.Errorf("of log and witness %d signatures: %v", len(n.Sigs), err)
	}
	// It is a checkpoint like any other to tools that do not know the witness. Our audit
	// takes no line that it cannot check, a flipped bit of a name would look like one, and
	// checks those whose keys it is given.
	c, shown := newCopy(t, l)
	c.files["checkpoint"] = second
	if err := errors.Join(fsck(t, shown), torchwoodClient(t.Context(), shown), cosignatures(t.Context(), shown)); err != nil {
		t.Errorf("with a witness's lines under the checkpoint: %v", err)
	}
	if err := d.audit(t, shown, "--cosigner", w.vkeys[0], "--cosigner", w.vkeys[1]); err != nil {
		t.Errorf("with the witness's keys: %v", err)
	}
	if err := d.audit(t, shown, "--cosigner", w.vkeys[0]); err == nil || !strings.Contains(err.Error(), "give --cosigner VKEY") {
		t.Errorf("with one of the witness's two keys: %v", err)
	}
	c.turn(flip{"checkpoint", 8*bytes.LastIndex(second, []byte("witness.example")) + 1})
	if err := d.audit(t, shown, "--cosigner", w.vkeys[0], "--cosigner", w.vkeys[1]); err == nil {
		t.Error("a changed name of the witness passes")
	}
	// A proof with one bit wrong is no proof, a checkpoint with one no checkpoint.
	d.grow(t, sizeOf(t, second)+1)
	c, shown = newCopy(t, l)
	raw, err := c.read(t.Context(), "checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	root := bytes.Index(raw, []byte("\n\n")) - 44
	for !unicode.IsLetter(rune(raw[root])) { // of which a bit makes it another letter
		root++
	}
	c.turn(flip{"checkpoint", root*8 + 5})
	if _, err := w.feed(t.Context(), shown); err == nil {
		t.Error("the witness signed a root that the ledger did not")
	}
	c.turn(flip{fmt.Sprintf("tile/1/000.p/%d", sizeOf(t, raw)/256), 0})
	if _, err := w.feed(t.Context(), shown); !errors.Is(err, witness.ErrInvalidProof) {
		t.Errorf("to a false proof the witness says: %v", err)
	}
	c.turn(flip{})
	if _, err := w.feed(t.Context(), shown); err != nil {
		t.Errorf("nothing is wrong any more, and the witness says: %v", err)
	}
}

// flippedBits turns bits over, one at a time, and wants each to be found.
func flippedBits(t *testing.T, d *dev, l *ledger) {
	c, shown := newCopy(t, l)
	theirs := []struct {
		name  string
		check func(*ledger) error
	}{
		{"fsck", func(l *ledger) error { return fsck(t, l) }},
		{"torchwood", func(l *ledger) error { return torchwoodClient(t.Context(), l) }},
		{"ML-DSA-44", func(l *ledger) error { return cosignatures(t.Context(), l) }},
	}
	for _, f := range append([]flip{{}}, c.flips(t, flipsEach)...) {
		c.turn(f)
		var found []string
		for _, tool := range theirs {
			if err := tool.check(shown); err != nil {
				found = append(found, tool.name)
				t.Logf("%v: %s: %v", f, tool.name, err)
			}
		}
		ours := d.audit(t, shown)
		if ours != nil {
			t.Logf("%v: watchward ledger audit: %v", f, ours)
		}
		switch {
		case f == flip{}:
			if ours != nil || len(found) > 0 {
				t.Fatalf("found something where nothing is turned over: %v, ours: %v", found, ours)
			}
		case f.path == "checkpoint" && len(found) == 0, f.path != "checkpoint" && len(found) < 2:
			t.Errorf("%v: found by %v only", f, found)
		case ours == nil:
			t.Errorf("%v: watchward ledger audit does not find it", f)
		}
	}
}
