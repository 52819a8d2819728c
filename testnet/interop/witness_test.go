package interop_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	f_log "github.com/transparency-dev/formats/log"
	f_note "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/tessera/client"
	witness "github.com/transparency-dev/witness/client/http"
	"golang.org/x/mod/sumdb/note"
)

// A witness is an omniwitness, a process of its own, that knows one ledger.
type omniwitness struct {
	client    witness.Witness
	vkeys     []string        // of an Ed25519 and an ML-DSA-44 key
	verifiers []note.Verifier // of both
	size      uint64          // that it has signed
}

func startWitness(t *testing.T, l *ledger) *omniwitness {
	t.Helper()
	const name = "witness.example"
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	vkey, err = f_note.VKeyToCosignatureV1(vkey)
	if err != nil {
		t.Fatal(err)
	}
	mldsaSkey, mldsaVkey, err := f_note.GenerateMLDSAKey(name)
	if err != nil {
		t.Fatal(err)
	}
	logs := fmt.Sprintf("Logs:\n  - Origin: %s\n    URL: %s\n    PublicKey: %s\n", l.origin, l.url, l.log[0])
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	address := freeAddress(t)
	c := exec.Command(filepath.Join(tools, "omniwitness"), "-listen", address, "-metrics_listen", "",
		"-db_file", filepath.Join(dir, "db"), "-additional_logs", file("logs.yaml", logs),
		"-private_key_path", file("ed25519", skey), "-private_key_path", file("mldsa", mldsaSkey))
	c.Stderr = t.Output()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	w := &omniwitness{client: witness.NewWitness(&url.URL{Scheme: "http", Host: address}, http.DefaultClient)}
	w.vkeys = []string{vkey, mldsaVkey}
	for _, key := range w.vkeys {
		v, err := f_note.NewVerifierForCosignatureV1(key)
		if err != nil {
			t.Fatal(err)
		}
		w.verifiers = append(w.verifiers, v)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			_ = connection.Close()
			return w
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// freeAddress is one on loopback that nobody listens at just now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// feed brings the witness the ledger's checkpoint, with the proof from what it has
// signed before, as a feeder does (feedwitness), and returns the checkpoint with the
// witness's lines under it.
func (w *omniwitness) feed(ctx context.Context, l *ledger) ([]byte, error) {
	raw, err := l.get(ctx, "checkpoint")
	if err != nil {
		return nil, err
	}
	var c f_log.Checkpoint // as it stands: to verify it is the witness's work
	if _, err := c.Unmarshal(raw); err != nil {
		return nil, err
	}
	var proof [][]byte
	if w.size > 0 {
		if proof, err = consistency(ctx, l, w.size, c.Size); err != nil {
			return nil, err
		}
	}
	lines, _, err := w.client.Update(ctx, w.size, raw, proof)
	if err != nil {
		return nil, err
	}
	w.size = c.Size
	cosigned := append(raw, lines...)
	n, err := note.Open(cosigned, note.VerifierList(w.verifiers...))
	if err != nil {
		return nil, err
	}
	if len(n.Sigs) != len(w.verifiers) {
		return nil, fmt.Errorf("the witness has signed %d times, want %d", len(n.Sigs), len(w.verifiers))
	}
	return cosigned, nil
}

// consistency builds a proof from the ledger's tiles, by Tessera's client.
func consistency(ctx context.Context, l *ledger, from, to uint64) ([][]byte, error) {
	u, err := url.Parse(l.url)
	if err != nil {
		return nil, err
	}
	f, err := client.NewHTTPFetcher(u, &http.Client{Transport: l})
	if err != nil {
		return nil, err
	}
	b, err := client.NewProofBuilder(ctx, to, f.ReadTile)
	if err != nil {
		return nil, err
	}
	proof, err := b.ConsistencyProof(ctx, from, to)
	if err == nil && len(proof) == 0 && from != to {
		err = errors.New("a consistency proof of nothing")
	}
	return proof, err
}
