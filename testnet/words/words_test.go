package words_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/bundle"
	"github.com/watchward/watchward/testnet/words"
)

// Words are a chain of envelopes of one notice each that others take.
func TestWordsAreAChain(t *testing.T) {
	r := testkit.NewRegion(t, "silent")
	silent, dir := r.Members[0], t.TempDir()
	admission, err := canon.Marshal(node.Admission{Region: r.ID, Records: r.Records, Seeds: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(keyfile.Save(filepath.Join(dir, "identity.key"), silent.Identity), os.WriteFile(filepath.Join(dir, "admission.ww"), admission, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := words.Write(dir, 0, &out); err == nil {
		t.Error("no words were written")
	}
	const count = 3
	if err := words.Write(dir, count, &out); err != nil {
		t.Fatal(err)
	}
	in := bundle.NewReader(&out)
	if _, err := in.Part(); err != nil {
		t.Fatal(err)
	}
	prev, seq := crypto.EnvelopeID{}, uint64(0)
	for {
		item, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || item.Err != nil {
			t.Fatal(err, item.Err)
		}
		if item.Record {
			continue
		}
		e, err := crypto.ParseEnvelope(item.Raw)
		if err != nil {
			t.Fatal(err)
		}
		seq++
		items, err := e.Split()
		if err := errors.Join(err, e.Verify(silent.Signing.Public())); err != nil || e.Header.Seq != seq || e.Header.Prev != prev || len(items) != 1 {
			t.Errorf("envelope %d: %v, %d after %s, %d items", seq, err, e.Header.Seq, e.Header.Prev, len(items))
		}
		prev = e.ID
	}
	if seq != count {
		t.Errorf("%d words, want %d", seq, count)
	}
}
