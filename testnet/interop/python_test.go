package interop_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// pythonEnv names the Python that python/environment makes.
const pythonEnv = "WATCHWARD_PYTHON"

// python returns a command of another's Python program, or skips loudly.
func python(ctx context.Context, t *testing.T, what string, args ...string) *exec.Cmd {
	t.Helper()
	path := os.Getenv(pythonEnv)
	if path == "" {
		t.Skipf("SKIPPED: NOT CHECKED with %s: set %s to the python that testnet/interop/python/environment makes", what, pythonEnv)
	}
	c := exec.CommandContext(ctx, path, args...)
	c.Env = append(os.Environ(), "HOME="+t.TempDir(), "PYTHONDONTWRITEBYTECODE=1") // nothing of it is kept
	return c
}

func writeFile(t *testing.T, name string, content []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
