package keyfile_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/testkit"
)

func identity(t testing.TB) *keyfile.Identity {
	t.Helper()
	id, err := keyfile.NewIdentity(testkit.Random("a"))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func noPassphrase() ([]byte, error) { return nil, errors.New("nobody is here to type") }

func TestIdentityRoundTrip(t *testing.T) {
	id, path := identity(t), filepath.Join(t.TempDir(), "identity.key")
	if err := keyfile.Save(path, id); err != nil {
		t.Fatal(err)
	}
	got, err := keyfile.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Signing.Seed(), id.Signing.Seed()) || got.PeerSeed != id.PeerSeed || got.SealSeed != id.SealSeed {
		t.Error("keys differ")
	}
	if id.PeerSeed == id.SealSeed || bytes.Contains(id.Signing.Seed(), id.PeerSeed[:]) {
		t.Error("one seed serves twice")
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("%d files are left: %v", len(left), err)
	}
}

func TestNeverOverwrites(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "identity.key")
	if err := keyfile.Save(path, identity(t)); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other, err := keyfile.NewIdentity(testkit.Random("b"))
	if err != nil {
		t.Fatal(err)
	}
	if err := keyfile.Save(path, other); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
	target := filepath.Join(dir, "elsewhere")
	link := filepath.Join(dir, "link")
	if err := os.Symlink(target, link); err == nil {
		if err := keyfile.Save(link, other); !errors.Is(err, fs.ErrExist) {
			t.Errorf("through a dangling link: %v", err)
		}
		if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
			t.Error("wrote through a link")
		}
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file changed: %v", err)
	}
}

func TestUnsafeFilesAreRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: modes and links mean something else on Windows")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "identity.key")
	if err := keyfile.Save(path, identity(t)); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o644, 0o660, 0o601, 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := keyfile.Load(path); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	for _, mode := range []fs.FileMode{0o600, 0o400} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := keyfile.Load(path); err != nil {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := keyfile.Load(link); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("a link: %v", err)
	}
	if _, err := keyfile.Load(dir); err == nil {
		t.Error("a directory is accepted")
	}
	if _, err := keyfile.Load(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestStickWithoutRights has keys where no mode can be set: an admission key is
// meant to lie there, an identity is not.
func TestStickWithoutRights(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: modes mean something else on Windows")
	}
	dir := t.TempDir()
	own, admission := filepath.Join(dir, "identity.key"), filepath.Join(dir, "admission.key")
	key, err := crypto.GenerateKey(testkit.Random("b"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(keyfile.Save(own, identity(t)), keyfile.SaveAdmission(admission, key, nil), os.Chmod(own, 0o755), os.Chmod(admission, 0o755)); err != nil {
		t.Fatal(err)
	}
	if _, err := keyfile.LoadAdmission(admission, nil); err == nil || keyfile.Rightless(admission) != "" {
		t.Errorf("where rights are kept: %v", err)
	}
	keyfile.OnFileSystem(t, "exFAT")
	if _, err := keyfile.LoadAdmission(admission, nil); err != nil || keyfile.Rightless(admission) != "exFAT" {
		t.Errorf("an admission key on a stick: %v", err)
	}
	if _, err := keyfile.Load(own); err == nil || !strings.Contains(err.Error(), "lies on exFAT, which keeps no rights") {
		t.Errorf("an identity on a stick: %v", err)
	}
}

func TestDamagedFilesAreRefused(t *testing.T) {
	good := keyfile.Encoded(identity(t))
	path := filepath.Join(t.TempDir(), "identity.key")
	load := func(data []byte) error {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := keyfile.Load(path)
		return err
	}
	if err := load(good); err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if load(good[:n]) == nil {
			t.Errorf("the first %d bytes of %d are accepted", n, len(good))
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		if load(bad) == nil {
			t.Errorf("byte %d may be flipped", i)
		}
	}
	for name, bad := range map[string][]byte{
		"a line too many": append(bytes.Clone(good), '\n'),
		"other line ends": bytes.ReplaceAll(good, []byte("\n"), []byte("\r\n")),
		"a large file":    append(bytes.Clone(good), make([]byte, 10_000)...),
		"twice the same":  bytes.Repeat(good, 2),
	} {
		if load(bad) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestAdmissionKey(t *testing.T) {
	key, err := crypto.GenerateKey(testkit.Random("coordinator"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	plain, locked := filepath.Join(dir, "plain.key"), filepath.Join(dir, "locked.key")
	if err := keyfile.SaveAdmission(plain, key, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := keyfile.LoadAdmission(plain, noPassphrase); err != nil || !got.Public().Equal(key.Public()) {
		t.Errorf("plain: %v", err)
	}
	if err := keyfile.SaveAdmissionCheaply(locked, key, []byte("correct horse")); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(locked); err != nil || bytes.Contains(data, []byte("signing")) || !bytes.HasPrefix(data, []byte("-----BEGIN AGE")) {
		t.Errorf("is not encrypted: %v", err)
	}
	if got, err := keyfile.LoadAdmission(locked, func() ([]byte, error) { return []byte("correct horse"), nil }); err != nil || !got.Public().Equal(key.Public()) {
		t.Errorf("locked: %v", err)
	}
	for _, phrase := range []string{"", "wrong", "correct horse ", strings.Repeat("x", 2000)} {
		if _, err := keyfile.LoadAdmission(locked, func() ([]byte, error) { return []byte(phrase), nil }); !errors.Is(err, keyfile.ErrPassphrase) {
			t.Errorf("%.20q: %v", phrase, err)
		}
	}
	if _, err := keyfile.LoadAdmission(locked, noPassphrase); err == nil || !strings.Contains(err.Error(), "nobody is here") {
		t.Errorf("without a passphrase: %v", err)
	}
	data, err := os.ReadFile(locked)
	if err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(dir, "damaged.key")
	for _, bad := range [][]byte{data[:len(data)/2], bytes.Replace(data, []byte("A"), []byte("B"), 5)} {
		if err := os.WriteFile(damaged, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := keyfile.LoadAdmission(damaged, func() ([]byte, error) { return []byte("correct horse"), nil }); err == nil {
			t.Error("a damaged file is accepted")
		}
	}
}

func TestOnePurposeIsNotAnother(t *testing.T) {
	id, dir := identity(t), t.TempDir()
	node, admission, locked := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
	if err := errors.Join(keyfile.Save(node, id), keyfile.SaveAdmission(admission, id.Signing, nil), keyfile.SaveAdmissionCheaply(locked, id.Signing, []byte("x"))); err != nil {
		t.Fatal(err)
	}
	if _, err := keyfile.Load(admission); err == nil || !strings.Contains(err.Error(), `"admission"`) {
		t.Errorf("an admission key as identity: %v", err)
	}
	if _, err := keyfile.Load(locked); err == nil || !strings.Contains(err.Error(), "passphrase") {
		t.Errorf("a locked key as identity: %v", err)
	}
	if _, err := keyfile.LoadAdmission(node, noPassphrase); err == nil || !strings.Contains(err.Error(), `"identity"`) {
		t.Errorf("an identity as admission key: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	good := keyfile.Encoded(identity(f))
	f.Add(good)
	f.Add(good[:60])
	f.Add([]byte("watchward key file v1: identity\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// The check is no secret, so a fuzzer that finds another file has found
		// an encoding of other keys; it must at least have the one size.
		if keyfile.Decoded(data) && len(data) != len(good) {
			t.Fatalf("%d bytes are an identity", len(data))
		}
	})
}
