package node_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// A file that may not be read is said to be so, and read once it may.
func TestLogsNotAllowed(t *testing.T) {
	if os.Getuid() == 0 {
		asNobody(t)
		return
	}
	l := newLogged(t, oneLog)
	l.knowsOf(t, "evil.example")
	l.write(t, "dns.log", query("evil.example"))
	path := filepath.Join(l.logs, "dns.log")
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	l.start(t, nil)
	eventually(t, "it is said", func() bool { return l.warned(t, "let the user that watchward runs as read it") })
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	l.awaitHit(t, "evil.example")
}

// asNobody runs the test by itself as a user without privileges: root may read everything.
func asNobody(t *testing.T) {
	t.Helper()
	const nobody = 65534
	c := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v", "-test.run=^"+t.Name()+"$")
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("as nobody: %v\n%s", err, out)
	}
}
