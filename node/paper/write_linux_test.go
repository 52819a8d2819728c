package paper_test

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// disk mounts a file system of so many bytes, which the test's end takes away.
func disk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("SKIPPED: WHAT A FULL OR READ-ONLY DISK DOES IS NOT CHECKED: mount: %v: run it as root", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestFullAndReadOnlyDisk: the error says which it is, and the pack before stays whole.
func TestFullAndReadOnlyDisk(t *testing.T) {
	dir := disk(t, "256k")
	if err := small.pack("en", playbook("old.pdf", "old")).Write(dir); err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	full := small.pack("de", playbook("new.pdf", "new"), playbook("large.pdf", strings.Repeat("x", 300_000)))
	if err := full.Write(dir); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
	same(t, files(t, dir), before)
	if err := (region{members: 2000, text: usual}).pack("de").Write(dir); !errors.Is(err, unix.ENOSPC) { // at the page
		t.Errorf("a full disk: %v", err)
	}
	same(t, files(t, dir), before)

	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	k := small.pack("de", playbook("new.pdf", "new"))
	if err := k.Write(dir); !errors.Is(err, unix.EROFS) {
		t.Errorf("a read-only disk: %v", err)
	}
	same(t, files(t, dir), before)
}
