package tlog_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/watchward/watchward/ledger/tlog"
)

// tail is how a log of 8-byte entries looks after a Sync at some size and appends
// after it.
type tail struct {
	synced, size int
	dir          string
	entries      [][]byte
	m            *model
}

func newTail(t *testing.T, synced, size int) tail {
	t.Helper()
	x := tail{synced: synced, size: size, dir: t.TempDir(), entries: pack(0, size, 8)}
	x.m = modelOf(x.entries)
	l := open(t, x.dir)
	appendTo(t, l, x.entries[:synced])
	sync(t, l)
	for at := synced; at < size; at += 7 {
		appendTo(t, l, x.entries[at:min(at+7, size)])
	}
	x.dir = copyDir(t, x.dir) // as a process that dies leaves it
	return x
}

// survives opens a damaged copy and holds it to the whole truth: the log begins as it
// did, is as long as it can be, says what is lost, and grows again to the same tree.
func (x tail) survives(t *testing.T, dir, what string, want int) {
	t.Helper()
	for round := range 2 { // Open itself loses nothing
		l, err := tlog.Open(dir)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		got := int(l.Size())
		if got != want {
			t.Fatalf("%s: %d entries are left, want %d", what, got, want)
		}
		var corrupt tlog.ErrCorrupt
		if lost := got < x.synced; errors.As(l.Damage(), &corrupt) != lost {
			t.Fatalf("%s: %d left of %d: damage: %v", what, got, x.synced, l.Damage())
		}
		compare(t, l, x.entries, x.m, got, max(0, got-1), got/2)
		if round == 0 {
			continue // dies again
		}
		if err := l.Append(x.entries[got:]); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		compare(t, l, x.entries, x.m, x.size, got/2, got)
		if err := l.Damage(); err != nil {
			t.Fatalf("%s: all is back: %v", what, err)
		}
		if err := l.Close(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	l, err := tlog.Open(dir)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer l.Close()
	if l.Size() != uint64(x.size) || l.Damage() != nil {
		t.Fatalf("%s: in the end %d entries, %v", what, l.Size(), l.Damage())
	}
	compare(t, l, x.entries, x.m, x.size, x.synced, x.synced)
}

const bundleRecord, hashRecord = 10, 32 // bytes of an 8-byte entry

// tears returns what a crash can leave of a file that is not on disk from an offset on:
// nothing, or zeros, or what the disk had there.
func tears(data []byte, offset int) map[string][]byte {
	cut := data[:offset]
	zeros := append(bytes.Clone(cut), make([]byte, len(data)-offset)...)
	other := bytes.Clone(data)
	for i := offset; i < len(other); i++ {
		other[i] ^= 0xa5
	}
	hole := bytes.Clone(data) // later pages came to the disk and this one did not
	for i := offset; i < min(offset+hashRecord, len(hole)); i++ {
		hole[i] = 0
	}
	return map[string][]byte{"cut": cut, "zeros": zeros, "other": other, "hole": hole}
}

// sound returns the number of whole records of a file in front of the first byte that
// differs.
func sound(data, torn []byte, record int) int {
	n := 0
	for n < len(torn) && n < len(data) && data[n] == torn[n] {
		n++
	}
	return n / record
}

func TestTornTail(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ synced, size int }{{0, 6}, {20, 27}, {252, 256}, {253, 260}, {508, 514}} {
		x := newTail(t, c.synced, c.size)
		for index := c.synced / 256; index <= (c.size-1)/256; index++ {
			name := fmt.Sprintf("%03d", index)
			if index == c.size/256 {
				name += ".open"
			}
			x.tear(t, "tile/entries/"+name, index*256, bundleRecord)
			x.tear(t, "tile/0/"+name, index*256, hashRecord)
		}
	}
}

// tear tears a file, whose first entry is given, at each offset that Sync has not
// confirmed.
func (x tail) tear(t *testing.T, name string, first, record int) {
	data := readFile(t, x.dir, name)
	defer writeFile(t, x.dir, name, data)
	round := 0
	for offset := max(0, x.synced-first) * record; offset < len(data); offset++ {
		for how, torn := range tears(data, offset) {
			want := x.size
			if n := sound(data, torn, record); n < len(data)/record {
				want = first + n
			}
			what := fmt.Sprintf("%d of %d synced, %s %s at %d", x.synced, x.size, name, how, offset)
			writeFile(t, x.dir, name, torn)
			l, err := tlog.Open(x.dir) // which leaves what it finds
			if err != nil || int(l.Size()) != want || l.Damage() != nil {
				t.Fatalf("%s: %d entries, want %d: %v, %v", what, l.Size(), want, l.Damage(), err)
			}
			compare(t, l, x.entries, x.m, want, max(0, want-1), want/2)
			if round++; round%29 == 0 {
				x.survives(t, copyDir(t, x.dir), what, want)
			}
		}
	}
}

// What Sync has confirmed is missed aloud.
func TestLostAfterSync(t *testing.T) {
	x := newTail(t, 300, 310)
	for name, want := range map[string]int{"tile/entries/001.open": 256 + 20, "tile/0/001.open": 256 + 20} {
		dir := copyDir(t, x.dir)
		data := readFile(t, dir, name)
		data[20*len(data)/54+3] ^= 1
		writeFile(t, dir, name, data)
		x.survives(t, dir, name, want)
	}
	// Both exchanged for those of another log: they agree with each other, not with the mark.
	dir, other := copyDir(t, x.dir), t.TempDir()
	l := open(t, other)
	appendTo(t, l, pack(1_000_000, 310, 8))
	sync(t, l)
	for _, name := range []string{"tile/entries/001.open", "tile/0/001.open"} {
		writeFile(t, dir, name, readFile(t, other, name))
	}
	x.survives(t, copyDir(t, dir), "exchanged", 256)
	// The promise stands until it is kept.
	l = open(t, dir)
	fill(t, l, 260, 8)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if l = open(t, dir); l.Size() != 260 || l.Damage() == nil {
		t.Fatalf("%d entries of 300, and %v", l.Size(), l.Damage())
	}
	// Other entries in the place of the lost ones are not taken for them.
	appendTo(t, l, pack(2_000_000, 310, 8))
	if l.Damage() == nil {
		t.Fatal("others stand in the place of what was lost, and no word of it")
	}
}

// The marks only spare Open work: without one, or with a broken one, it reads more.
func TestTornMarks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir)
	x := tail{size: 66_000, dir: dir, entries: pack(0, 66_000, 8)}
	x.m = modelOf(x.entries)
	for _, n := range []int{400, 65_900, 66_000} {
		appendTo(t, l, x.entries[l.Size():n])
		sync(t, l)
	}
	for slot := range 2 {
		name := fmt.Sprintf("edge.%d", slot)
		data := readFile(t, dir, name)
		for offset := 0; offset <= len(data); offset += max(1, len(data)/5) {
			for how, torn := range tears(data, offset) {
				writeFile(t, dir, name, torn)
				l := open(t, dir)
				if l.Size() != 66_000 || l.Damage() != nil {
					t.Fatalf("%s %s at %d: %d entries, %v", name, how, offset, l.Size(), l.Damage())
				}
				compare(t, l, x.entries, x.m, 66_000, 1000, 65_000)
				_ = l.Close()
			}
		}
		writeFile(t, dir, name, data)
	}
	for _, slot := range []string{"edge.0", "edge.1"} {
		if err := os.Remove(filepath.Join(dir, slot)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "tile", "1", "000")); err != nil { // it can be made of those below
		t.Fatal(err)
	}
	l = open(t, dir)
	compare(t, l, x.entries, x.m, 66_000, 1000, 65_000)
}

// A failed Append leaves no ghosts: what it wrote before it failed does not come back,
// although it is whole.
func TestFailedAppend(t *testing.T) {
	entries := pack(0, 300, 8)
	m := modelOf(entries)
	for _, level := range []string{"entries", "0"} {
		dir := t.TempDir()
		l := open(t, dir)
		appendTo(t, l, entries[:250])
		block := filepath.Join(dir, "tile", level, "001.open")
		if err := os.Mkdir(block, 0o700); err != nil {
			t.Fatal(err)
		}
		if l.Append(entries[250:300]) == nil {
			t.Fatal("appended into a directory")
		}
		if l.Size() != 250 {
			t.Fatal(l.Size())
		}
		compare(t, l, entries, m, 250, 249, 100)
		if err := os.Remove(block); err != nil {
			t.Fatal(err)
		}
		appendTo(t, l, entries[250:252])
		again := open(t, copyDir(t, dir))
		if again.Size() != 252 {
			t.Fatalf("%d entries: a ghost came back", again.Size())
		}
		sync(t, l) // also when what the failed one wrote is not there any more
		appendTo(t, l, entries[252:])
		compare(t, l, entries, m, 300, 251, 250)
	}
}

// Sync reaches all that changed, names too, and nothing else.
func TestPending(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	pending := func(when string, wantTiles, wantDirs string) {
		t.Helper()
		tiles, dirs := l.Pending()
		if strings.Join(tiles, " ") != wantTiles || strings.Join(dirs, " ") != wantDirs {
			t.Fatalf("%s: %v in %v, want %s in %s", when, tiles, dirs, wantTiles, wantDirs)
		}
	}
	const all = ". tile tile/0 tile/entries"
	fill(t, l, 250, 8)
	pending("new files", "tile/0/000 tile/entries/000", all)
	sync(t, l)
	pending("synced", "", "")
	fill(t, l, 251, 8)
	pending("old files have their names", "tile/0/000 tile/entries/000", "")
	sync(t, l)
	fill(t, l, 256, 8)
	pending("sealed", "tile/0/000 tile/entries/000", all)
	fill(t, l, 257, 8)
	pending("the next", "tile/0/000 tile/0/001 tile/entries/000 tile/entries/001", all)
	l = open(t, dir)
	pending("after a crash, from the mark on", "tile/0/000 tile/0/001 tile/entries/000 tile/entries/001", all)
	if err := l.Rewind(255); err != nil {
		t.Fatal(err)
	}
	pending("rewound", "", "")
	fill(t, l, 65_537, 8)
	sync(t, l)
	l = open(t, dir)
	pending("opened", "tile/0/256 tile/entries/256", all)
}

// A Sync that failed is never followed by one that says that all is well.
func TestFailedSync(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	fill(t, l, 10, 8)
	if err := os.Rename(filepath.Join(dir, "tile", "0", "000.open"), filepath.Join(dir, "away")); err != nil {
		t.Fatal(err)
	}
	if l.Sync() == nil {
		t.Fatal("a file is gone and Sync says nothing")
	}
	if err := os.Rename(filepath.Join(dir, "away"), filepath.Join(dir, "tile", "0", "000.open")); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{"sync": l.Sync(), "append": l.Append(pack(10, 1, 8)), "rewind": l.Rewind(5), "close": l.Close()} {
		if err == nil || !strings.Contains(err.Error(), "disk") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if l = open(t, dir); l.Size() != 10 {
		t.Fatal(l.Size())
	}
}

// After Rewind nothing of what was dropped is on disk.
func TestRewindOnDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir)
	entries := pack(0, 66_001, 8)
	appendTo(t, l, entries)
	for round, to := range []int{66_000, 65_537, 65_536, 65_535, 600, 257, 256, 255, 1, 0} {
		if err := l.Rewind(uint64(to)); err != nil {
			t.Fatal(err)
		}
		want := to/256*2 + to/65_536
		if to%256 > 0 {
			want += 2
		}
		if got := files(t, filepath.Join(dir, "tile")); got != want {
			t.Fatalf("rewound to %d: %d files, want %d", to, got, want)
		}
		entries = append(entries[:to], pack(round*1_000_000, 700, 8)...)
		m := modelOf(entries)
		appendTo(t, l, entries[to:])
		compare(t, l, entries, m, len(entries), to, to)
		l = open(t, dir) // without Close
		compare(t, l, entries, m, len(entries), to, to)
	}
}

func files(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A crash between the last byte of a tile and its name.
func TestInterruptedSeal(t *testing.T) {
	x := newTail(t, 10, 256)
	for _, names := range [][]string{{"tile/entries/000", "tile/0/000"}, {"tile/entries/000"}, {"tile/0/000"}} {
		dir := copyDir(t, x.dir)
		for _, name := range names {
			name = filepath.Join(dir, filepath.FromSlash(name))
			if err := os.Rename(name, name+".open"); err != nil {
				t.Fatal(err)
			}
		}
		bundle := "tile/entries/000"
		if len(names) == 2 { // and what a failed Append left behind it
			bundle += ".open"
			writeFile(t, dir, bundle, append(readFile(t, dir, bundle), 1, 2, 3))
		}
		l := open(t, dir)
		for _, name := range []string{"tile/entries/000", "tile/0/000"} {
			if !bytes.Equal(readFile(t, dir, name), readFile(t, x.dir, name)) {
				t.Fatalf("%s is not as it was, after %v", name, names)
			}
		}
		compare(t, l, x.entries, x.m, 256, 255, 10)
		_ = l.Close()
		x.survives(t, dir, "sealed late", 256)
	}
}

const killedDir = "TLOG_TEST_DIR"

// What a killed process had appended is there, and the tree is that of its entries.
func TestKilled(t *testing.T) {
	if dir := os.Getenv(killedDir); dir != "" {
		appendForEver(t, dir)
	}
	dir := t.TempDir()
	for round := range 8 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), killedDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		said := 0
		for range 20 + 13*round { // then it is in the middle of the next
			if !lines.Scan() {
				break
			}
			if said, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(lines.Text())
			}
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		l := open(t, dir)
		size := int(l.Size())
		if size < said || said == 0 || l.Damage() != nil {
			t.Fatalf("%d entries of %d, %v", size, said, l.Damage())
		}
		entries := pack(0, size, 8)
		compare(t, l, entries, modelOf(entries), size, size-1, size/2)
		_ = l.Close()
	}
}

func appendForEver(t *testing.T, dir string) {
	l := open(t, dir)
	for {
		n := int(l.Size())
		appendTo(t, l, pack(n, 1+n%97, 8))
		if n%5 == 0 {
			sync(t, l)
		}
		fmt.Println(l.Size())
	}
}
