package verify_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
)

// A whole ledger passes, of any shape, from each source, and progress ends at its end.
func TestAuditPasses(t *testing.T) {
	w := newWorld(t)
	p := w.policy(t)
	for _, n := range []int{0, 1, 2, 255, 256, 257, 600, 65535, 65536, 65537, 66000} {
		all := w.ledger(t, n, 6)
		dir := all.dir(t)
		server := httptest.NewServer(http.FileServer(http.Dir(dir)))
		web, err := verify.URL(server.URL, "")
		if err != nil {
			t.Fatal(err)
		}
		for name, src := range map[string]verify.Source{"memory": all, "dir": dir, "web": web} {
			last, total := uint64(0), uint64(n)
			r, err := verify.Audit(t.Context(), src, p, func(done, of uint64) {
				if done <= last || of != total {
					t.Errorf("%d, %s: from %d to %d of %d", n, name, last, done, of)
				}
				last = done
			})
			if err != nil || last != total || r.Size != total || !r.Witnessed || r.Files != uint64(len(all)) || r.Beyond != 0 {
				t.Errorf("%d, %s: %+v, progress %d, error %v", n, name, r, last, err)
			}
		}
		server.Close()
	}
}

// Whoever changes one bit of a ledger, wherever, is found, and the file is named.
func TestEachBitOfALedgerCounts(t *testing.T) {
	r := testkit.NewRegionLedger(t, "solo", []string{"ada"}, nil) // one voter, since each byte costs a verification
	w := &world{r, tlog.Origin(r.ID, 1)}
	all := entries(259, 1)
	good, p := publish(t, all, w.sign(t, w.checkpoint(t, all), "ada")), w.policy(t)
	paths := slices.Sorted(maps.Keys(good))
	if want := []string{"checkpoint", "tile/0/000", "tile/0/001.p/3", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/3"}; !slices.Equal(paths, want) {
		t.Fatalf("files %v", paths)
	}
	for _, path := range paths {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			for at := range good[path] {
				bad := maps.Clone(good)
				bad[path] = bytes.Clone(bad[path])
				bad[path][at] ^= 1 << (at % 8)
				_, err := verify.Audit(context.Background(), bad, p, nil)
				if fault := (*verify.Fault)(nil); !errors.As(err, &fault) || fault.File != path {
					t.Fatalf("byte %d of %s may be changed: %v", at, path, err)
				}
			}
		})
	}
}

// What is wrong with a directory is said of a file, with what to do.
func TestAuditFaults(t *testing.T) {
	w := newWorld(t)
	all := entries(600, 6)
	cp := w.checkpoint(t, all)
	good := publish(t, all, w.sign(t, cp, "ada", "bob", "wim"))
	other := publish(t, entries(600, 7), nil)
	elsewhere, forked := cp, cp
	elsewhere.Origin = tlog.Origin(w.ID, 2)
	forked.Root[0] ^= 1
	replace := func(path string, raw []byte) func(f files) {
		return func(f files) { f[path] = raw }
	}
	remove := func(path string) func(f files) {
		return func(f files) { delete(f, path) }
	}
	for _, tt := range []struct {
		name   string
		change func(f files)
		file   string
		text   string
	}{
		{"nothing there", func(f files) { clear(f) }, "checkpoint", "missing"},
		{"no checkpoint", remove("checkpoint"), "checkpoint", "missing"},
		{"of another epoch", replace("checkpoint", w.sign(t, elsewhere, "ada", "bob")), "checkpoint", "another ledger"},
		{"below quorum", replace("checkpoint", w.sign(t, cp, "ada", "wim")), "checkpoint", "1 of 3, and it takes 2"},
		{"signed by the witness alone", replace("checkpoint", w.sign(t, cp, "wim")), "checkpoint", "no coordinator signed"},
		{"a stranger's line too", replace("checkpoint", w.sign(t, cp, "ada", "bob", "hal")), "checkpoint", "by a signer that the region does not name: give --cosigner VKEY if you know it"},
		{"the root of another history", replace("checkpoint", w.sign(t, forked, "ada", "bob")), "checkpoint", "another history"},
		{"a checkpoint too large", replace("checkpoint", make([]byte, tlog.NoteSizeMax+1)), "checkpoint", "32768"},
		{"the last bundle missing", remove("tile/entries/002.p/88"), "tile/entries/002.p/88", "fetch it from another"},
		{"the last tile missing", remove("tile/0/002.p/88"), "tile/0/002.p/88", "fetch it from another"},
		{"a full tile missing", remove("tile/0/001"), "tile/0/001", "fetch it from another"},
		{"a bundle of others", replace("tile/entries/001", other["tile/entries/001"]), "tile/entries/001", "not the one"},
		{"the last bundle of others", replace("tile/entries/002.p/88", other["tile/entries/002.p/88"]), "tile/entries/002.p/88", "not the one"},
		{"a bundle with an entry less", replace("tile/entries/002.p/88", other["tile/entries/002.p/88"][9:]), "tile/entries/002.p/88", "entry 87"},
		{"a bundle with a byte more", func(f files) { f["tile/entries/000"] = append(bytes.Clone(f["tile/entries/000"]), 0) }, "tile/entries/000", "more"},
		{"a bundle too large", replace("tile/entries/000", make([]byte, tlog.BundleBytesMax+1)), "tile/entries/000", "262656"},
		{"an empty tile", replace("tile/0/000", nil), "tile/0/000", "0 bytes"},
		{"a tile and bundle of others", func(f files) {
			for _, path := range []string{"tile/entries/001", "tile/0/001"} {
				f[path] = other[path]
			}
		}, "tile/1/000.p/2", "hash 2 of 2"},
		{"a file that is no tile", replace("notes.txt", []byte("x")), "notes.txt", "does not belong"},
		{"a tile by another name", replace("tile/0/0", good["tile/0/000"]), "tile/0/0", "does not belong"},
		{"an old partial tile of others", replace("tile/0/001.p/7", other["tile/0/001"][:7*32]), "tile/0/001.p/7", "not the beginning"},
		{"an old partial bundle of others", replace("tile/entries/002.p/1", other["tile/entries/002.p/88"][:9]), "tile/entries/002.p/1", "not the beginning"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := maps.Clone(good)
			tt.change(f)
			_, err := verify.Audit(t.Context(), f.dir(t), w.policy(t), nil)
			fault := (*verify.Fault)(nil)
			if !errors.As(err, &fault) || fault.File != tt.file || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A directory may have older partial tiles, and newer ones than the checkpoint.
func TestAuditOfALivingDirectory(t *testing.T) {
	w := newWorld(t)
	all := entries(700, 6)
	f := publish(t, all, nil)
	for path, raw := range publish(t, all[:600], w.sign(t, w.checkpoint(t, all[:600]), "ada", "bob")) {
		f[path] = raw
	}
	f["tile/0/001.p/7"] = f["tile/0/001"][:7*32]
	f["tile/entries/003.p/1"] = []byte("beyond the checkpoint, so nobody looks at it")
	r, err := verify.Audit(t.Context(), f.dir(t), w.policy(t), nil)
	if err != nil || r.Size != 600 || r.Beyond != 3 {
		t.Errorf("%+v, error %v", r, err)
	}
	// The partial tiles may have gone when full ones came.
	f = publish(t, entries(1024, 6), w.sign(t, w.checkpoint(t, entries(1000, 6)), "ada", "bob"))
	if r, err = verify.Audit(t.Context(), f, w.policy(t), nil); err == nil || !strings.Contains(err.Error(), "tile/1/000.p/3") {
		t.Errorf("a partial tile that nothing replaces: %+v, error %v", r, err)
	}
	f["tile/1/000.p/3"] = f["tile/1/000.p/4"][:3*32]
	if r, err = verify.Audit(t.Context(), f, w.policy(t), nil); err != nil || r.Size != 1000 {
		t.Errorf("%+v, error %v", r, err)
	}
}

func TestAuditOverHTTP(t *testing.T) {
	w := newWorld(t)
	all := w.ledger(t, 600, 6)
	var broken atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		path, ok := strings.CutPrefix(in.URL.Path, "/ledger/")
		switch raw, there := all[path]; {
		case in.Header.Get("Authorization") != "Bearer secret":
			http.Error(out, "who?", http.StatusUnauthorized)
		case ok && there && broken.Add(-1) >= 0:
			http.Error(out, "busy", http.StatusServiceUnavailable)
		case ok && there && raw == nil: // without end
			for err := error(nil); err == nil; {
				_, err = out.Write(make([]byte, 1<<16))
			}
		case ok && there:
			_, _ = out.Write(raw)
		case strings.HasPrefix(in.URL.Path, "/moved/"):
			http.Redirect(out, in, "/ledger/checkpoint", http.StatusFound)
		default:
			http.NotFound(out, in)
		}
	}))
	defer server.Close()
	audit := func(base, token string) (verify.Report, error) {
		src, err := verify.URL(base, token)
		if err != nil {
			t.Fatal(err)
		}
		return verify.Audit(t.Context(), src, w.policy(t), nil)
	}
	broken.Store(1)
	if r, err := audit(server.URL+"/ledger", "secret"); err != nil || r.Size != 600 {
		t.Errorf("%+v, error %v", r, err)
	}
	broken.Store(0)
	if _, err := audit(server.URL+"/ledger/", ""); err == nil || !strings.Contains(err.Error(), "--token") {
		t.Errorf("without a token: %v", err)
	}
	if _, err := audit(server.URL+"/elsewhere", "secret"); err == nil || !strings.Contains(err.Error(), "checkpoint: it is missing") {
		t.Errorf("at another address: %v", err)
	}
	if _, err := audit(server.URL+"/moved", "secret"); err == nil || !strings.Contains(err.Error(), "302") {
		t.Errorf("where the ledger has moved: %v", err)
	}
	all["tile/0/000"] = nil
	if _, err := audit(server.URL+"/ledger", "secret"); err == nil || !strings.Contains(err.Error(), "tile/0/000: more than 8192 bytes") {
		t.Errorf("a server without end: %v", err)
	}
	for _, base := range []string{"", "ledger", "file:///ledger", "http://", "https://host/?x=1", "https://host/#x", "ftp://host/x"} {
		if _, err := verify.URL(base, ""); err == nil || !strings.Contains(err.Error(), "https://HOST") {
			t.Errorf("%q: %v", base, err)
		}
	}
}

func TestAuditStops(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := verify.Audit(ctx, w.ledger(t, 5000, 6), w.policy(t), func(done, _ uint64) {
		if done > 600 {
			cancel()
		}
	})
	if fault := (*verify.Fault)(nil); !errors.Is(err, context.Canceled) || errors.As(err, &fault) {
		t.Errorf("error %v", err)
	}
}

// benchmark audits 200,000 entries of 512 bytes in a directory.
func BenchmarkAudit(b *testing.B) {
	const n = 200_000
	w := newWorld(b)
	dir := w.ledger(b, n, 512).dir(b)
	p := w.policy(b)
	for b.Loop() {
		if _, err := verify.Audit(b.Context(), dir, p, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

// A file that was put in the place of a directory is an error of its own.
func TestAuditOfAFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := verify.Audit(t.Context(), verify.Dir(name), newWorld(t).policy(t), nil)
	if fault := (*verify.Fault)(nil); !errors.As(err, &fault) || fault.File != "checkpoint" {
		t.Errorf("error %v", err)
	}
}

// The directory in which a node keeps its log passes while it grows, after a crash, and
// in each width of its last tiles.
func TestAuditOfALog(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	log, err := tlog.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	all := entries(1100, 6)
	p := w.policy(t)
	for _, size := range []int{1, 255, 256, 257, 900, 1024, 1100} {
		if err := log.Append(all[log.Size():size]); err != nil {
			t.Fatal(err)
		}
		if err := log.Sync(); err != nil {
			t.Fatal(err)
		}
		for _, signed := range []int{size, max(1, size-200)} {
			put(t, dir, "checkpoint", w.sign(t, w.checkpoint(t, all[:signed]), "ada", "bob"))
			if r, err := verify.Audit(t.Context(), verify.Dir(dir), p, nil); err != nil || r.Size != uint64(signed) {
				t.Errorf("%d of %d: %+v, error %v", signed, size, r, err)
			}
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "checkpoint", w.sign(t, w.checkpoint(t, all), "ada", "bob"))
	for _, path := range []string{"tile/0/004.open", "tile/entries/004.open", "tile/0/002", "tile/entries/002"} {
		name := filepath.Join(dir, filepath.FromSlash(path))
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		raw[7] ^= 1
		put(t, dir, path, raw)
		_, err = verify.Audit(t.Context(), verify.Dir(dir), p, nil)
		if fault := (*verify.Fault)(nil); !errors.As(err, &fault) || fault.File != path {
			t.Errorf("%s: %v", path, err)
		}
		raw[7] ^= 1
		if strings.HasSuffix(path, ".open") {
			put(t, dir, path, raw[:len(raw)-1])
			_, err = verify.Audit(t.Context(), verify.Dir(dir), p, nil)
			if err == nil || !strings.Contains(err.Error(), path+": it holds less than the checkpoint speaks of") {
				t.Errorf("%s is shorter: %v", path, err)
			}
		}
		put(t, dir, path, raw)
	}
	if r, err := verify.Audit(t.Context(), verify.Dir(dir), p, nil); err != nil {
		t.Errorf("%+v, error %v", r, err)
	}
}

// A witness from outside the region passes by its keys, each of its lines, and none that
// was changed.
func TestAuditKnowsOutsideWitnesses(t *testing.T) {
	w := newWorld(t)
	all := entries(3, 6)
	cp := w.checkpoint(t, all)
	good := publish(t, all, w.sign(t, cp, "ada", "bob", "hal"))
	public := crypto.NewLedgerKey(w.member("hal").Signing).Public()
	var keys []*tlog.Key
	for _, kind := range []tlog.Kind{tlog.KindCosignature, tlog.KindMLDSA44} {
		k, err := tlog.KeyOf(tlog.Cosigner(w.ID, w.member("hal").ID), kind, public)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	audit := func(f files, keys ...*tlog.Key) (verify.Report, error) {
		p, err := w.policy(t).WithCosigners(keys...)
		if err != nil {
			t.Fatal(err)
		}
		return verify.Audit(t.Context(), f, p, nil)
	}
	r, err := audit(good, keys...)
	if err != nil || len(r.Voters) != 2 || r.Witnessed || !slices.Equal(r.Cosigners, []string{keys[0].Name()}) {
		t.Errorf("%+v, error %v", r, err)
	}
	for i := range keys {
		if _, err := audit(good, keys[i]); err == nil || !strings.Contains(err.Error(), "does not name") {
			t.Errorf("with the other line unknown: %v", err)
		}
	}
	n, err := tlog.ParseNote(good["checkpoint"])
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range n.Lines {
		if l.Name != keys[0].Name() {
			continue
		}
		l.Sig[20] ^= 1
		bad := maps.Clone(good)
		bad["checkpoint"] = n.Bytes()
		if _, err := audit(bad, keys...); !errors.Is(err, tlog.ErrLine) {
			t.Errorf("line %d was changed: %v", i, err)
		}
		l.Sig[20] ^= 1
	}
	log, err := tlog.KeyOf(w.origin, tlog.KindLog, public)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.policy(t).WithCosigners(log); err == nil || !strings.Contains(err.Error(), "0x04 or 0x06") {
		t.Errorf("a log's key as cosigner: %v", err)
	}
}
