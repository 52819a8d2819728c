package token_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/notice"
)

var never time.Time

func open(t *testing.T, path string, now func() time.Time) *token.Tokens {
	t.Helper()
	tokens, err := token.Open(path, now)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func TestLifeOfAToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	tokens := open(t, path, func() time.Time { return now })
	secret, made, err := tokens.Create("scanner", token.Reporter, notice.TLPAmber, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tokens.Check(secret); err != nil || got != made {
		t.Errorf("check: %+v, %v, want %+v", got, err, made)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), secret[4:20]) {
		t.Error("the file holds the secret")
	}
	if info, _ := os.Stat(path); runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %o", info.Mode().Perm())
	}
	again := open(t, path, func() time.Time { return now })
	if got, err := again.Check(secret); err != nil || got != made {
		t.Errorf("after opening again: %+v, %v", got, err)
	}
	now = now.Add(time.Hour)
	if _, err := tokens.Check(secret); !errors.Is(err, token.ErrExpired) {
		t.Errorf("at the time of expiry: %v", err)
	}
	now = now.Add(-time.Minute)
	if gone, err := again.Revoke(made.ID); err != nil || gone != made {
		t.Errorf("revoke: %+v, %v", gone, err)
	}
	if _, err := tokens.Check(secret); !errors.Is(err, token.ErrUnknown) {
		t.Errorf("revoked by another process: %v", err)
	}
	if _, err := tokens.Revoke("scanner"); !errors.Is(err, token.ErrNone) {
		t.Errorf("revoked twice: %v", err)
	}
}

func TestOneWrongLetterIsMistyped(t *testing.T) {
	tokens := open(t, filepath.Join(t.TempDir(), "tokens.json"), nil)
	secret, _, err := tokens.Create("a", token.Reader, notice.TLPRed, never)
	if err != nil {
		t.Fatal(err)
	}
	if len(secret) != 60 {
		t.Errorf("a token has %d characters", len(secret))
	}
	rapid.Check(t, func(t *rapid.T) {
		b := []byte(secret)
		i := rapid.IntRange(0, len(b)-1).Draw(t, "at")
		b[i] = byte(rapid.IntRange(0, 255).Draw(t, "letter"))
		if string(b) == secret {
			return
		}
		if _, err := tokens.Check(string(b)); !errors.Is(err, token.ErrMistyped) {
			t.Fatalf("%q: %v", b, err)
		}
	})
	for _, s := range []string{"", "wwt_", secret[:59], secret + "a", strings.ToUpper(secret), " " + secret} {
		if _, err := tokens.Check(s); !errors.Is(err, token.ErrMistyped) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	tokens := open(t, filepath.Join(t.TempDir(), "tokens.json"), nil)
	if _, _, err := tokens.Create("taken", token.Reader, notice.TLPRed, never); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Second)
	for _, c := range []struct {
		field, name string
		role        token.Role
		ceiling     notice.TLP
		expires     time.Time
	}{
		{"name", "", token.Reader, notice.TLPRed, never}, {"name", strings.Repeat("x", 65), token.Reader, notice.TLPRed, never},
		{"name", "with space", token.Reader, notice.TLPRed, never}, {"name", "new\nline", token.Reader, notice.TLPRed, never},
		{"name", "taken", token.Reader, notice.TLPRed, never}, {"role", "a", 0, notice.TLPRed, never}, {"role", "a", 4, notice.TLPRed, never},
		{"ceiling", "a", token.Reader, 0, never}, {"ceiling", "a", token.Reader, 6, never}, {"expires", "a", token.Reader, notice.TLPRed, past},
	} {
		_, _, err := tokens.Create(c.name, c.role, c.ceiling, c.expires)
		var field *notice.FieldError
		if !errors.As(err, &field) || field.Field != c.field || field.Fix == "" {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestNumberOfTokensIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	var b strings.Builder
	for i := range token.TokensMax {
		fmt.Fprintf(&b, `,{"id":"%08x","name":"t%d","role":"reader","ceiling":"RED","sha256":"%064x","created":"2026-01-01T00:00:00Z"}`, i, i, i)
	}
	if err := os.WriteFile(path, []byte(`{"version":0,"tokens":[`+b.String()[1:]+`]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens := open(t, path, nil)
	if _, _, err := tokens.Create("one-more", token.Reader, notice.TLPRed, never); err == nil {
		t.Error("there is no bound")
	}
	if _, err := tokens.Revoke("t0"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := tokens.Create("one-more", token.Reader, notice.TLPRed, never); err != nil {
		t.Errorf("no place after a revocation: %v", err)
	}
}

// TestBrokenFileRefusesAll: an old list in memory might hold a revoked token.
func TestBrokenFileRefusesAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	tokens := open(t, path, nil)
	secret, _, err := tokens.Create("a", token.Reader, notice.TLPRed, never)
	if err != nil {
		t.Fatal(err)
	}
	good, _ := os.ReadFile(path)
	for _, bad := range []string{
		"", "{", "null{}", `{"version":1,"tokens":[]}`, `{"tokens":[],"more":1}`, string(good) + "{}",
		`{"tokens":[{"id":"a","name":"a","role":"king","ceiling":"RED","sha256":""}]}`,
		`{"tokens":[{"id":"a","name":"a","role":"reader","ceiling":"PURPLE","sha256":""}]}`,
		`{"tokens":[{"id":"a","name":"a","role":"reader","ceiling":"RED","sha256":"00"}]}`, strings.Repeat(" ", 300<<10),
	} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := tokens.Check(secret); err == nil {
			t.Errorf("%.60q: the token still works", bad)
		}
		if _, _, err := tokens.Create("b", token.Reader, notice.TLPRed, never); err == nil {
			t.Errorf("%.60q was overwritten", bad)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Check(secret); !errors.Is(err, token.ErrUnknown) {
		t.Errorf("the file is gone: %v", err)
	}
}

// TestWritersDoNotLoseEachOther runs several openings of one file, as several
// processes would.
func TestWritersDoNotLoseEachOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens.json")
	const writers, each = 4, 5
	var done sync.WaitGroup
	for w := range writers {
		done.Go(func() {
			tokens, err := token.Open(path, nil)
			if err != nil {
				t.Error(err)
				return
			}
			for i := range each {
				if _, _, err := tokens.Create(fmt.Sprintf("w%d-%d", w, i), token.Reader, notice.TLPRed, never); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done.Wait()
	list, err := open(t, path, nil).List()
	if err != nil || len(list) != writers*each {
		t.Errorf("%d tokens, want %d, %v", len(list), writers*each, err)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if len(left) != 1 {
		t.Errorf("files were left behind: %v", left)
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(`{"version":0,"tokens":[{"id":"a","name":"a","role":"reader","ceiling":"RED","sha256":"` + strings.Repeat("00", 32) + `","created":"2026-01-01T00:00:00Z"}]}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "tokens.json")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		tokens, err := token.Open(path, nil)
		if err != nil {
			return
		}
		secret, made, err := tokens.Create("fuzz-new", token.Reader, notice.TLPRed, never)
		if err != nil {
			return
		}
		if got, err := tokens.Check(secret); err != nil || got != made {
			t.Fatalf("%+v, %v", got, err)
		}
	})
}
