package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/goleak"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// crash copies the files of an open store, as a power cut would leave them to
// the next start.
func crash(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() == "LOCK" {
			continue
		}
		in, err := os.Open(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(filepath.Join(to, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if f.Name() == "MANIFEST" || filepath.Ext(f.Name()) == ".sst" {
			_, err = io.Copy(out, in)
		} else {
			err = copySparse(out, in)
		}
		if err := errors.Join(err, in.Close(), out.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// copySparse copies a preallocated log without its empty tail.
func copySparse(out, in *os.File) error {
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	buf, zeros := make([]byte, 1<<20), 0
	for off := int64(0); off < info.Size() && zeros < 8; {
		n, err := in.ReadAt(buf, off)
		if n == 0 && err != nil {
			break
		}
		zeros++
		for _, c := range buf[:n] {
			if c != 0 {
				zeros = 0
				break
			}
		}
		if _, err := out.WriteAt(buf[:n], off); err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

func TestNothingAcknowledgedIsLostInACrash(t *testing.T) {
	dir := t.TempDir()
	c := newClock()
	s := open(t, store.Options{Dir: dir, Now: c.Now})
	w := writers(t, 1)[0]
	var entries []store.Entry
	for k := range uint64(40) {
		var notices []*notice.Notice
		for j := range 1 + k%60 { // some in the value log, some not
			notices = append(notices, sighting(values[j%3], 100*k+j, 1))
		}
		entries = append(entries, w.envelope(t, crypto.Header{Time: start - int64(40-k)*60_000}, notices...))
	}
	item := local(t, w.ID, sighting(values[0], 9999, 1), notice.TLPAmber, crypto.AudienceRegion)
	for k, e := range entries {
		put(t, s, e)
		if k == 20 {
			submit(t, s, "", item)
		}
		if k%13 != 1 {
			continue
		}
		again := open(t, store.Options{Dir: crash(t, dir), Now: c.Now})
		check(t, s, again, entries[:k+1])
		if k > 20 && len(groups(t, again)) != 1 {
			t.Fatal("the outbox is empty")
		}
		// And it goes on from there.
		put(t, again, entries[k+1])
		if again.Last() != s.Last()+1 {
			t.Fatalf("local number %d after %d", again.Last(), s.Last())
		}
	}
}

// check compares a store that was opened anew with the one it was.
func check(t *testing.T, was, is *store.Store, entries []store.Entry) {
	t.Helper()
	for _, i := range values {
		if a, b := summary(t, was, i, 0), summary(t, is, i, 0); a != b {
			t.Fatalf("%+v became %+v", a, b)
		}
	}
	for k, e := range entries {
		if got := message(t, is, e.Envelope.Header.Chain(), uint64(k)+1); got != string(e.Envelope.Raw) {
			t.Fatalf("seq %d is lost", k+1)
		}
		if got := put(t, is, e); !got[0].Duplicate {
			t.Fatalf("seq %d is not known", k+1)
		}
	}
	chain := entries[0].Envelope.Header.Chain()
	a, _ := was.Frontier().Get(chain)
	b, _ := is.Frontier().Get(chain)
	if fmt.Sprint(a) != fmt.Sprint(b) {
		t.Fatalf("holding\n%v became\n%v", a, b)
	}
	x, _ := was.Stats()
	y, _ := is.Stats()
	x.DiskBytes, x.Free, y.DiskBytes, y.Free = 0, 0, 0, 0
	if fmt.Sprint(x) != fmt.Sprint(y) {
		t.Fatalf("stats %+v became %+v", x, y)
	}
}

// The test of the fsync itself, testnet/fault's, needs strace.
func TestAcknowledgedIsOnDisk(t *testing.T) {
	if !store.BadgerOptions(t.TempDir()).SyncWrites {
		t.Error("Badger does not sync what it acknowledges")
	}
}

func TestFailedWriteLatches(t *testing.T) {
	s := open(t, store.Options{Dir: t.TempDir(), Now: newClock().Now})
	w := writers(t, 1)[0]
	first := w.envelope(t, crypto.Header{}, sighting(values[0], 1, 1))
	put(t, s, first)
	store.SetCommit(s, func(*badger.Txn) error { return syscall.EIO })
	e := w.envelope(t, crypto.Header{}, sighting(values[0], 2, 1))
	if _, err := s.Append(t.Context(), []store.Entry{e}); !errors.Is(err, store.ErrBroken) || !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	<-s.Failed()
	store.SetCommit(s, (*badger.Txn).Commit)
	if _, err := s.Append(t.Context(), []store.Entry{e}); !errors.Is(err, store.ErrBroken) {
		t.Fatalf("it writes again: %v", err)
	}
	if sum := summary(t, s, values[0], 0); sum.Sightings != 1 {
		t.Fatalf("reading: %+v", sum)
	}
	// Close leaves the files alone.
	if err := errors.Join(s.Close(), store.CloseFiles(s)); err != nil {
		t.Fatal(err)
	}
}

// Badger logs a failed fsync of the value log and acknowledges all the same; a
// table that it cannot write it tries again for ever.
func TestLoggedSyncFailureLatches(t *testing.T) {
	for _, said := range []string{"Error while curlf sync: %v\n", "error flushing memtable to disk: %v, retrying"} {
		s := open(t, store.Options{Now: newClock().Now})
		store.Logger(s).Errorf(said, syscall.ENOSPC) // it passes
		if err := s.SetCursor(t.Context(), "x", 1); err != nil {
			t.Fatal(err)
		}
		store.SetCommit(s, func(txn *badger.Txn) error {
			store.Logger(s).Errorf(said, syscall.EIO)
			return txn.Commit()
		})
		for _, which := range []string{"the write under way", "the next"} {
			if err := s.SetCursor(t.Context(), "x", 1); !errors.Is(err, store.ErrBroken) {
				t.Fatalf("%s: %v", which, err)
			}
		}
		if err := errors.Join(s.Close(), store.CloseFiles(s)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFullDiskRefusesAndRecovers(t *testing.T) {
	s := open(t, store.Options{Dir: t.TempDir(), Now: newClock().Now})
	w := writers(t, 1)[0]
	e := w.envelope(t, crypto.Header{}, sighting(values[0], 1, 1))
	store.SetFree(s, func(string) (uint64, error) { return store.ReserveDefault, nil })
	if _, err := s.Append(t.Context(), []store.Entry{e}); !errors.Is(err, store.ErrFull) {
		t.Fatal(err)
	}
	store.SetFree(s, func(string) (uint64, error) { return 1 << 40, nil })
	store.SetCommit(s, func(*badger.Txn) error { return fmt.Errorf("write: %w", syscall.ENOSPC) })
	if _, err := s.Append(t.Context(), []store.Entry{e}); !errors.Is(err, store.ErrFull) {
		t.Fatal(err)
	}
	store.SetCommit(s, (*badger.Txn).Commit)
	put(t, s, e)
	if r, ok, err := s.Record(e.Items[0].ID); err != nil || !ok || r.Author != w.ID {
		t.Fatal(r, ok, err)
	}
	if sum := summary(t, s, values[0], 0); sum.Sightings != 1 {
		t.Fatalf("%+v", sum)
	}
}

// One caller's bad write takes no other with it, while all share commits.
func TestManyWritersAtOnce(t *testing.T) {
	s := open(t, store.Options{Dir: t.TempDir(), Now: newClock().Now})
	ws := writers(t, 4)
	own := writers(t, 5)[4]
	const each = 30
	var wait sync.WaitGroup
	for _, w := range ws {
		var entries []store.Entry
		for k := range uint64(each) {
			entries = append(entries, w.envelope(t, crypto.Header{}, sighting(values[0], k, 1), sighting(values[1], each+k, 1)))
		}
		wait.Go(func() {
			for _, e := range entries {
				if _, err := s.Append(context.Background(), []store.Entry{e}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Go(func() {
		for k := range uint64(each) {
			it := local(t, own.ID, sighting(values[2], k, 1), notice.TLPAmber, crypto.AudienceRegion)
			if _, err := s.AppendLocal(context.Background(), store.LocalBatch{Items: []store.LocalItem{it}, Received: start}); err != nil {
				t.Error(err)
			}
			if _, ok, err := s.Record(it.ID); !ok || err != nil {
				t.Error("acknowledged and not visible", err)
			}
		}
	})
	wait.Go(func() {
		for range each {
			if err := s.Erase(context.Background(), crypto.ItemID{1}); !errors.Is(err, store.ErrUnknown) {
				t.Error(err)
			}
		}
	})
	wait.Wait()
	if sum := summary(t, s, values[0], 0); sum.Sightings != 4*each || sum.Members != 4 {
		t.Fatalf("%+v", sum)
	}
	if sum := summary(t, s, values[2], 0); sum.Sightings != each {
		t.Fatalf("%+v", sum)
	}
	for _, w := range ws {
		h, _ := s.Frontier().Get(w.last.Header.Chain())
		if len(h.Ranges) != 1 || h.Ranges[0] != (mesh.Range{From: 1, To: each}) {
			t.Fatalf("%v", h.Ranges)
		}
	}
	if st, _ := s.Stats(); st.Last != 5*each || st.Notices != 9*each {
		t.Fatalf("%+v", st)
	}
}

// What a reader sees is counted, also while the writer has not noted yet that its
// commit has landed.
func TestStatsCountWhatIsSeen(t *testing.T) {
	s := open(t, store.Options{Dir: t.TempDir(), Now: newClock().Now})
	w := writers(t, 1)[0]
	landed, noted := make(chan struct{}), make(chan struct{})
	store.SetCommit(s, func(txn *badger.Txn) error {
		err := txn.Commit()
		close(landed)
		<-noted
		return err
	})
	e := w.envelope(t, crypto.Header{}, sighting(values[0], 1, 1), sighting(values[1], 2, 1))
	appended := make(chan error, 1)
	go func() {
		_, err := s.Append(t.Context(), []store.Entry{e})
		appended <- err
	}()
	<-landed
	sum := summary(t, s, values[0], 0)
	st, err := s.Stats()
	close(noted)
	if err != nil || sum.Sightings != 1 || st.Notices != 2 || st.Envelopes != 1 || st.Indicators != 2 {
		t.Errorf("%d sightings are seen; counted: %+v, %v", sum.Sightings, st, err)
	}
	if err := <-appended; err != nil {
		t.Fatal(err)
	}
}

func TestClosedStoreRefuses(t *testing.T) {
	s, err := store.Open(store.Options{InMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetCursor(t.Context(), "x", 1); !errors.Is(err, store.ErrClosed) {
		t.Fatal(err)
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, store.Options{Dir: dir})
	if s, err := store.Open(store.Options{Dir: dir}); err == nil {
		s.Close()
		t.Fatal("two processes have one store")
	}
}
