package interop_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/torchwood"
	f_note "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// A ledger is where one is served, and whose signatures it should bear.
type ledger struct {
	url     string // of the checkpoint's and the tiles' common parent, with a slash at the end
	token   string // "" where the ledger is public
	origin  string
	log     []string // vkeys of Ed25519 log signatures, those that the checkpoint has
	cosign  []string // vkeys of ML-DSA-44 cosignatures, likewise
	entries int      // at least
}

// get fetches a file of the ledger.
func (l *ledger) get(ctx context.Context, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.url+path, nil)
	if err != nil {
		return nil, err
	}
	l.authorize(r)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, answer.Status, body)
	}
	return body, err
}

func (l *ledger) authorize(r *http.Request) {
	if l.token != "" {
		r.Header.Set("Authorization", "Bearer "+l.token)
	}
}

// RoundTrip lets tools that know no tokens read the ledger.
func (l *ledger) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	l.authorize(r)
	return http.DefaultTransport.RoundTrip(r)
}

// tools is the directory of all programs: those that go.mod names, and ours.
var tools string

func buildTools(dir string) error {
	tools = dir
	for _, build := range []struct {
		module   string
		packages []string
	}{{".", []string{"tool"}}, {filepath.Join("..", ".."), []string{"./cmd/watchward", "./testnet"}}} {
		c := exec.Command("go", append([]string{"build", "-o", dir + string(filepath.Separator)}, build.packages...)...)
		c.Dir = build.module
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("build %v: %w\n%s", build.packages, err, out)
		}
	}
	return nil
}

// fsck is Tessera's program. It tells what it found on stderr alone.
func fsck(t *testing.T, l *ledger) error {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(l.log[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), filepath.Join(tools, "fsck"), "-ui=false", "-N", "8",
		"-storage_url", l.url, "-bearer_token", l.token, "-public_key", key, "-origin", l.origin)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("fsck: %v\n%s", err, out)
	}
	if _, wrong, failed := strings.Cut(string(out), "fsck failed: "); failed {
		first, _, _ := strings.Cut(wrong, "\n") // hashes follow
		return errors.New(first)
	}
	if !bytes.Contains(out, []byte("Successfully fsck'd log with size")) {
		t.Fatalf("fsck says neither that it failed nor that it did not:\n%s", out)
	}
	return nil
}

// torchwoodClient is torchwood's: it wants the log signatures of all voters that signed, and
// reads and checks every entry, and the last one's inclusion proof.
func torchwoodClient(ctx context.Context, l *ledger) error {
	policies := []torchwood.Policy{torchwood.OriginPolicy(l.origin)}
	for _, key := range l.log {
		v, err := note.NewVerifier(key)
		if err != nil {
			return err
		}
		policies = append(policies, torchwood.SingleVerifierPolicy(v))
	}
	fetcher, err := torchwood.NewTileFetcher(l.url, torchwood.WithHTTPClient(&http.Client{Transport: l}), torchwood.WithConcurrencyLimit(8))
	if err != nil {
		return err
	}
	raw, err := fetcher.ReadEndpoint(ctx, "checkpoint")
	if err != nil {
		return err
	}
	checkpoint, _, err := torchwood.VerifyCheckpoint(raw, torchwood.ThresholdPolicy(len(policies), policies...))
	if err != nil {
		return err
	}
	c, err := torchwood.NewClient(fetcher)
	if err != nil {
		return err
	}
	count := int64(0)
	for range c.AllEntries(ctx, checkpoint.Tree, 0) {
		count++
	}
	if err := c.Err(); err != nil {
		return err
	}
	if count != checkpoint.N || count < int64(l.entries) {
		return fmt.Errorf("%d entries of %d, want %d or more", count, checkpoint.N, l.entries)
	}
	entry, proof, err := c.Entry(ctx, checkpoint.Tree, count-1)
	if err != nil {
		return err
	}
	v := torchwood.FormatProof(count-1, proof, raw)
	return torchwood.VerifyProof(torchwood.ThresholdPolicy(len(policies), policies...), tlog.RecordHash(entry), v)
}

// cosignatures wants the ML-DSA-44 lines of all voters that signed, checked with
// filippo.io/mldsa by transparency-dev/formats.
func cosignatures(ctx context.Context, l *ledger) error {
	raw, err := l.get(ctx, "checkpoint")
	if err != nil {
		return err
	}
	var verifiers []note.Verifier
	for _, key := range l.cosign {
		v, err := f_note.NewMLDSAVerifier(key)
		if err != nil {
			return err
		}
		verifiers = append(verifiers, v)
	}
	n, err := note.Open(raw, note.VerifierList(verifiers...))
	if err != nil {
		return err
	}
	if len(n.Sigs) != len(verifiers) {
		return fmt.Errorf("%d of %d ML-DSA-44 cosignatures verify", len(n.Sigs), len(verifiers))
	}
	for _, s := range n.Sigs {
		if at, err := f_note.CoSigV1Timestamp(s); err != nil || at.IsZero() {
			return fmt.Errorf("the time of %s: %v %w", s.Name, at, err)
		}
	}
	return nil
}
