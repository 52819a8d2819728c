package tail_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/node/logs"
	"github.com/watchward/watchward/node/logs/tail"
)

// A bench is a log in a directory, its writer, and who follows it.
type bench struct {
	t   testing.TB
	log string
	f   *tail.Follower
	got []string
	met []string
}

func start(t *testing.T) *bench {
	b := &bench{t: t, log: filepath.Join(t.TempDir(), "eve.json")}
	b.f = tail.Open(b.log, nil)
	t.Cleanup(func() { b.f.Close() })
	return b
}

// write appends to a file, as a daemon does.
func (b *bench) write(path, text string) {
	b.t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	b.must(err)
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// poll polls until there is nothing more to read at once.
func (b *bench) poll() {
	b.t.Helper()
	for {
		r, err := b.f.Poll(func(l tail.Line) error { b.got = append(b.got, string(l.Text)); return nil })
		b.must(err)
		for i, is := range []bool{r.Missing, r.Rotated, r.Truncated, r.Lost} {
			if is {
				b.met = append(b.met, [...]string{"missing", "rotated", "truncated", "lost"}[i])
			}
		}
		if !r.More {
			return
		}
	}
}

// restart goes on from the state, as another process would.
func (b *bench) restart() {
	state := b.f.State()
	b.f.Close()
	b.f = tail.Open(b.log, state)
}

// want compares what has been given since it was last asked.
func (b *bench) want(lines string, met ...string) {
	b.t.Helper()
	b.poll()
	if got := strings.Join(b.got, " "); got != lines || fmt.Sprint(b.met) != fmt.Sprint(met) {
		b.t.Errorf("got %q and met %v, want %q and %v", got, b.met, lines, met)
	}
	b.got, b.met = nil, nil
}

func TestFollow(t *testing.T) {
	b := start(t)
	b.want("", "missing")
	b.write(b.log, "a\nb\r\nhal")
	b.want("a b")
	b.write(b.log, "f")
	b.want("")
	b.write(b.log, "\n\nd\n")
	b.want("half  d")
}

// TestRename rotates as logrotate does with create: the daemon goes on with the
// old file until it is told.
func TestRename(t *testing.T) {
	b := start(t)
	b.write(b.log, "a\n")
	b.want("a")
	b.must(os.Rename(b.log, b.log+".1"))
	b.want("", "missing")
	b.write(b.log+".1", "b\n")
	b.want("b", "missing")
	b.write(b.log, "")
	b.want("", "rotated")
	b.write(b.log+".1", "c\nlast")
	b.want("c")
	b.write(b.log+".1", " words")
	b.write(b.log, "d\n")
	b.want("last words d")
	b.write(b.log, "e\n")
	b.want("e")
}

// TestRenameTwice rotates again before a line was written.
func TestRenameTwice(t *testing.T) {
	b := start(t)
	b.write(b.log, "a\n")
	b.want("a")
	b.must(os.Rename(b.log, b.log+".1"))
	b.write(b.log, "")
	b.want("", "rotated")
	b.must(os.Rename(b.log+".1", b.log+".2"))
	b.must(os.Rename(b.log, b.log+".1"))
	b.write(b.log, "b\n")
	b.want("b", "rotated")
}

// TestTruncate empties the file: to less than was read, and to more by the time
// of the next look.
func TestTruncate(t *testing.T) {
	b := start(t)
	b.write(b.log, "first line\nsecond line\nhal")
	b.want("first line second line")
	b.must(os.Truncate(b.log, 0))
	b.write(b.log, "short\n")
	b.want("short", "truncated")
	b.must(os.Truncate(b.log, 0))
	b.write(b.log, "longer than it was before\n")
	b.want("longer than it was before", "truncated")
}

func TestRestart(t *testing.T) {
	b := start(t)
	b.restart() // before there is a file
	b.write(b.log, "a\nb\nhal")
	b.want("a b")
	b.restart()
	b.write(b.log, "f\nc\n")
	b.want("half c")

	b.restart() // renamed meanwhile
	b.write(b.log, "d\n")
	b.must(os.Rename(b.log, filepath.Join(filepath.Dir(b.log), "eve-20261127.json")))
	b.write(b.log, "e\n")
	b.want("d e", "rotated")

	b.restart() // renamed, and the daemon not yet told
	b.must(os.Rename(b.log, b.log+".1"))
	b.write(b.log, "")
	b.want("", "rotated")
	b.restart()
	b.write(b.log+".1", "f\n")
	b.want("f", "rotated")
	b.write(b.log, "g\n")
	b.want("g")

	b.restart() // emptied and longer than before
	b.must(os.Truncate(b.log, 0))
	b.write(b.log, "a new beginning\n")
	b.want("a new beginning", "truncated")

	b.restart() // gone, and another in its place
	b.must(os.Rename(b.log, filepath.Join(t.TempDir(), "away")))
	b.write(b.log, "h\n")
	b.want("h", "lost")

	b.restart() // renamed twice, the second time before a line was written
	b.must(os.Rename(b.log, b.log+".2"))
	b.write(b.log, "")
	b.want("", "rotated")
	b.must(os.Rename(b.log, b.log+".1"))
	b.restart()
	b.want("", "missing", "rotated")
	b.write(b.log+".1", "i\n")
	b.want("i", "missing")
	b.write(b.log, "j\n")
	b.want("j", "rotated")
}

// TestHead knows a file by more than its start at the time of a restart.
func TestHead(t *testing.T) {
	b := start(t)
	b.write(b.log, "same\nhal")
	b.want("same")
	b.restart()
	b.write(b.log, "f, and what tells\n")
	b.want("half, and what tells")
	b.must(os.Truncate(b.log, 0))
	b.write(b.log, "same\nhalf, and another text that is longer\n")
	b.want("same half, and another text that is longer", "truncated")
}

// TestLong reads a line of 20 MiB, binary, over several polls and a restart.
func TestLong(t *testing.T) {
	b := start(t)
	b.write(b.log, "a\n"+strings.Repeat("\x00\xff", 10<<20))
	b.want("a")
	b.restart()
	b.write(b.log, "\nb\n")
	b.poll()
	if len(b.got) != 2 || len(b.got[0]) != logs.LineMax || b.got[1] != "b" {
		t.Errorf("%d lines", len(b.got))
	}
}

// TestOffsets finds each line where it is said to start.
func TestOffsets(t *testing.T) {
	b := start(t)
	text := "a\nbb\r\n" + strings.Repeat("c", 2*logs.LineMax) + "\n\nd"
	b.write(b.log, text)
	offsets := ""
	_, err := b.f.Poll(func(l tail.Line) error {
		offsets += fmt.Sprint(l.Offset, l.Cut, " ")
		if !strings.HasPrefix(text[l.Offset:], string(l.Text)) {
			t.Errorf("at %d is not %.20q", l.Offset, l.Text)
		}
		return nil
	})
	if want := fmt.Sprintf("0 false 2 false 6 true %d false ", 6+2*logs.LineMax+1); err != nil || offsets != want {
		t.Errorf("%s, want %s, %v", offsets, want, err)
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := tail.Open(dir, nil).Poll(nil); err == nil || err.Error() != "follow "+dir+": it is no regular file: name the log itself" {
		t.Errorf("a directory: %v", err)
	}
	if runtime.GOOS != "windows" && os.Getuid() != 0 {
		path := filepath.Join(dir, "closed")
		if err := os.WriteFile(path, nil, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := tail.Open(path, nil).Poll(nil); !errors.Is(err, os.ErrPermission) {
			t.Errorf("a file that may not be read: %v", err)
		}
	}
	b := start(t)
	b.write(b.log, "a\nb\nc\n")
	stop := errors.New("stop")
	if _, err := b.f.Poll(func(tail.Line) error { return stop }); err != stop {
		t.Errorf("an error of yield became %v", err)
	}
	b.want("b c")
}

// TestFollowEnds polls by itself until it is told to end.
func TestFollowEnds(t *testing.T) {
	b := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan string)
	ended := make(chan error)
	go func() {
		ended <- b.f.Follow(ctx, time.Millisecond, func(l tail.Line) error { seen <- string(l.Text); return nil }, func(tail.Report, error) {})
	}()
	b.write(b.log, "a\n")
	if got := <-seen; got != "a" {
		t.Error(got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestAnyOrder writes, rotates, restarts and polls in any order: each line is
// given once, in order. Rotating twice between two polls may lose lines, and so
// may emptying: those have tests of their own.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		b := &bench{t: t, log: filepath.Join(dir, "conn.log")}
		b.f = tail.Open(b.log, nil)
		defer func() { b.f.Close() }()
		writing, lines, rotations := b.log, 0, 0
		var want []string
		rt.Repeat(map[string]func(*rapid.T){
			"line": func(rt *rapid.T) {
				lines++
				line := fmt.Sprintf("%d%s", lines, strings.Repeat("x", rapid.IntRange(0, 2000).Draw(rt, "length")))
				want = append(want, line)
				b.write(writing, line+"\n")
			},
			"rename": func(rt *rapid.T) {
				if writing != b.log || len(want) == 0 {
					return
				}
				b.poll() // so that the file is known
				rotations++
				writing = fmt.Sprintf("%s.%d", b.log, rotations)
				b.must(os.Rename(b.log, writing))
				b.write(b.log, "")
			},
			"reopen":  func(*rapid.T) { writing = b.log },
			"restart": func(*rapid.T) { b.restart() },
			"poll":    func(*rapid.T) { b.poll() },
		})
		b.write(b.log, "end\n")
		want = append(want, "end")
		b.poll()
		b.poll()
		if got := strings.Join(b.got, "\n"); got != strings.Join(want, "\n") {
			rt.Fatalf("%d lines given, %d written", len(b.got), len(want))
		}
	})
}

// A renamed file that is read to its end is named, and known under its new name; what is
// written to it after that is there to be read.
func TestDoneIsKnownByItsNewName(t *testing.T) {
	b := start(t)
	b.write(b.log, "a\n")
	b.want("a")
	b.must(os.Rename(b.log, b.log+".1"))
	b.write(b.log, "b\n")
	var done []tail.Position
	for len(b.got) < 1 {
		r, err := b.f.Poll(func(l tail.Line) error { b.got = append(b.got, string(l.Text)); return nil })
		b.must(err)
		done = append(done, r.Done...)
	}
	if len(done) != 1 || !done[0].Is(b.log+".1") || done[0].Is(b.log) || done[0].Is(b.log+".2") {
		t.Fatalf("%+v", done)
	}
	b.write(b.log+".1", "c\n")
	old := tail.Open(b.log+".1", tail.State{done[0]})
	defer old.Close()
	var got []string
	_, err := old.Poll(func(l tail.Line) error { got = append(got, string(l.Text)); return nil })
	b.must(err)
	if fmt.Sprint(got) != "[c]" {
		t.Errorf("after its end it gives %v", got)
	}
}
