//go:build unix

package node_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// Real files as they are: each with what must not stop the others.
func TestLogsBadInput(t *testing.T) {
	l := newLogged(t, `[[logs]]
name = "all"
path = "%s/in"
format = "dnsmasq"

[[logs]]
name = "pipe"
path = "%s/pipe"

[[logs]]
name = "device"
path = "/dev/zero"

[[logs]]
name = "absent"
path = "%s/later.log"
format = "dnsmasq"

[[logs]]
name = "pattern"
path = "%s/none*.log"
`)
	in := func(name string) string { return filepath.Join("in", name) }
	if err := os.MkdirAll(filepath.Join(l.logs, "in", "deeper"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, pipe := range []string{"pipe", in("pipe.log")} {
		if err := syscall.Mkfifo(filepath.Join(l.logs, pipe), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l.knowsOf(t, "after-long.example", "after-binary.example", "invalid.example", "half.example", "rotated.example", "new.example", "short.example",
		"later.example", "second.example")
	l.write(t, in("long.log"), "Nov 27 10:00:00 dnsmasq[1]: query[A] "+strings.Repeat("a", 100<<20)+"\n"+query("after-long.example"))
	binary := bytes.Repeat([]byte{0, 0xff, 0x1b, '\n', 0x7f, 0xc3}, 20_000)
	l.write(t, in("binary.log"), string(binary)+"\n"+query("after-binary.example"))
	l.write(t, in("invalid.log"), "Nov 27 10:00:00 dnsmasq[1]: query[A] invalid.example from \xff\xfe\x1b[2J\u202e\n")
	l.write(t, in("packed.log.gz"), query("evil.example"))
	l.write(t, in("rotate.log"), query("rotated.example"))
	l.write(t, in("cut.log"), strings.Repeat(query("fine.example"), 50))
	half := query("half.example")
	l.write(t, in("half.log"), half[:60])
	l.start(t, nil)
	for _, v := range []string{"after-long.example", "after-binary.example", "rotated.example"} {
		l.awaitHit(t, v)
	}
	l.awaitHit(t, "invalid.example")
	hit := l.alerts(t, "hit")
	i := slices.IndexFunc(hit, func(a api.AlertView) bool { return a.About.Value == "invalid.example" })
	if line := hit[i].Line; !strings.Contains(line, `from \xff\xfe\u{1b}[2J\u{202e}`) || !notice.Printable(line) {
		t.Errorf("the line is not escaped: %q", line)
	}
	for log, want := range map[string]string{"pipe": "it is no regular file", "device": "it is no regular file", "absent": "there is no file", "pattern": "no file is like"} {
		eventually(t, log+" is said to be no log", func() bool {
			return strings.Contains(l.log(t, log).Problem, want) && l.warned(t, "the log "+log+" is not read: ")
		})
	}
	v := l.log(t, "all")
	if v.Cut != 1 || v.Other == 0 || v.Problem != "" || len(v.Files) != 6 {
		t.Errorf("%+v", v)
	}
	// What is missing may come, half a line may end.
	l.write(t, "later.log", query("later.example"))
	l.awaitHit(t, "later.example")
	eventually(t, "the problem is over", func() bool { return l.log(t, "absent").Problem == "" && !l.warned(t, "the log absent is not read") })
	if l.hit(t, "half.example") != "" {
		t.Error("half a line was read")
	}
	l.write(t, in("half.log"), half[60:])
	l.awaitHit(t, "half.example")
	// A rotated file is read to its end, and not again under its new name.
	old := filepath.Join(l.logs, in("rotate.log"))
	lines := l.log(t, "all").Lines
	if err := os.Rename(old, old+".1"); err != nil {
		t.Fatal(err)
	}
	l.write(t, in("rotate.log.1"), query("fine.example"))
	l.write(t, in("rotate.log"), query("new.example"))
	l.awaitHit(t, "new.example")
	eventually(t, "the renamed file is followed under its new name", func() bool { return len(l.log(t, "all").Files) == 7 })
	l.write(t, in("rotate.log.1"), query("second.example"))
	l.awaitHit(t, "second.example")
	if got := l.log(t, "all").Lines - lines; got != 3 {
		t.Errorf("%d lines after a rotation, want 3", got)
	}
	// A file that was made shorter begins anew.
	if err := os.WriteFile(filepath.Join(l.logs, in("cut.log")), []byte(query("short.example")), 0o600); err != nil {
		t.Fatal(err)
	}
	l.awaitHit(t, "short.example")
	if v := l.log(t, "all"); v.Truncated != 1 || v.Lag != 0 {
		t.Errorf("%+v", v)
	}
}
