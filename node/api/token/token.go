// Package token keeps the bearer tokens of the HTTP API: who may ask, in which
// role, up to which marking.
//
// The file holds only SHA-256 hashes of 256-bit random secrets, so a stolen file
// opens nothing, and a slow password hash would add nothing. A secret is shown
// once, by Create. The daemon sees a change to the file with the next request;
// nothing needs a restart.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/watchward/watchward/node/notice"
)

const (
	// TokensMax bounds the file: every request compares against all of them.
	TokensMax = 256

	prefix        = "wwt_"
	secretBytes   = 32
	checksumBytes = 3 // secret and checksum together fill 56 letters exactly, so no two texts are one secret
	idBytes       = 4
	nameBytesMax  = 64
)

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Errors of Check.
var (
	// ErrMistyped: the text is no token at all; the checksum tells a typing or
	// copying mistake from a token that was revoked.
	ErrMistyped = errors.New("this is not a token: it is cut off or mistyped")
	ErrUnknown  = errors.New("this token is not known here: it was revoked, or belongs to another node")
	ErrExpired  = errors.New("this token has expired")
)

// ErrNone: no token has the id or name given.
var ErrNone = errors.New("no such token")

// A Role says what its holder may do; each includes the ones before it.
type Role uint8

const (
	Reader   Role = 1 // look things up, follow, list
	Reporter Role = 2 // and state notices
	Admin    Role = 3 // and manage tokens
)

var roleNames = [...]string{"", "reader", "reporter", "admin"}

func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// ParseRole reads a role's name.
func ParseRole(s string) (Role, error) {
	for r := Reader; r <= Admin; r++ {
		if strings.EqualFold(s, roleNames[r]) {
			return r, nil
		}
	}
	return 0, &notice.FieldError{Field: "role", Reason: fmt.Sprintf("%.40q is not a role", s), Fix: "choose reader, reporter or admin"}
}

// Token is what is known of a token besides its secret.
type Token struct {
	ID      string     // 8 hexadecimal digits, random
	Name    string     // who or what holds it; unique
	Role    Role       //
	Ceiling notice.TLP // the strictest marking its holder may see
	Created time.Time
	Expires time.Time // zero: never
}

// Tokens is an open token file. It is safe for concurrent use, also by several
// processes.
type Tokens struct {
	path string
	now  func() time.Time

	mu     sync.Mutex // guards entries and seen, and serialises writers of this process
	seen   stamp      // the file that entries come from
	loaded bool
	list   []entry
}

type entry struct {
	Token
	hash [sha256.Size]byte
}

// Open reads the tokens in the file at path, which need not exist yet. now may
// be nil for the real clock.
func Open(path string, now func() time.Time) (*Tokens, error) {
	if now == nil {
		now = time.Now
	}
	t := &Tokens{path: path, now: now}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.refresh(); err != nil {
		return nil, err
	}
	return t, nil
}

// Create adds a token and returns its secret, which is stored nowhere. A zero
// expires means never.
func (t *Tokens) Create(name string, role Role, ceiling notice.TLP, expires time.Time) (string, Token, error) {
	now := t.now().UTC().Truncate(time.Millisecond)
	if err := check(name, role, ceiling, expires, now); err != nil {
		return "", Token{}, err
	}
	var random [secretBytes + idBytes]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the program instead
	secret := format(random[:secretBytes])
	e := entry{
		Token: Token{
			ID: hex.EncodeToString(random[secretBytes:]), Name: name, Role: role, Ceiling: ceiling,
			Created: now, Expires: expires,
		},
		hash: sha256.Sum256([]byte(secret)),
	}
	err := t.change(func(list []entry) ([]entry, error) {
		if len(list) >= TokensMax {
			return nil, &notice.FieldError{Field: "name", Reason: fmt.Sprintf("there are already %d tokens", TokensMax), Fix: "revoke the ones that are not used"}
		}
		for _, other := range list {
			if other.Name == name {
				return nil, &notice.FieldError{Field: "name", Reason: fmt.Sprintf("a token named %q exists", name), Fix: "choose another name, or revoke that one first"}
			}
			if other.ID == e.ID {
				return nil, errors.New("drew an id twice: try again")
			}
		}
		return append(list, e), nil
	})
	if err != nil {
		return "", Token{}, err
	}
	return secret, e.Token, nil
}

// List returns all tokens, oldest first.
func (t *Tokens) List() ([]Token, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.refresh(); err != nil {
		return nil, err
	}
	out := make([]Token, len(t.list))
	for i, e := range t.list {
		out[i] = e.Token
	}
	return out, nil
}

// Revoke removes the token with the given id or name and returns it. It returns
// ErrNone if there is none. Even the last admin may go: whoever can write the
// node's directory can create another.
func (t *Tokens) Revoke(idOrName string) (Token, error) {
	var gone Token
	err := t.change(func(list []entry) ([]entry, error) {
		for i, e := range list {
			if e.ID == idOrName || e.Name == idOrName {
				gone = e.Token
				return append(list[:i:i], list[i+1:]...), nil
			}
		}
		return nil, ErrNone
	})
	return gone, err
}

// Check returns the token of a secret, or ErrMistyped, ErrUnknown or ErrExpired; with
// the last the token too, for what looks further than its end.
// It compares with every token in constant time, so that the time says nothing.
func (t *Tokens) Check(secret string) (Token, error) {
	if !WellFormed(secret) {
		return Token{}, ErrMistyped
	}
	hash := sha256.Sum256([]byte(secret))
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.refresh(); err != nil {
		return Token{}, err
	}
	found := -1
	for i := range t.list {
		if subtle.ConstantTimeCompare(t.list[i].hash[:], hash[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return Token{}, ErrUnknown
	}
	token := t.list[found].Token
	if !token.Expires.IsZero() && !t.now().Before(token.Expires) {
		return token, ErrExpired
	}
	return token, nil
}

// WellFormed reports whether secret has the form of a token, checksum included.
func WellFormed(secret string) bool {
	text, ok := strings.CutPrefix(secret, prefix)
	if !ok || len(text) != encoding.EncodedLen(secretBytes+checksumBytes) {
		return false
	}
	raw, err := encoding.DecodeString(text)
	if err != nil || len(raw) != secretBytes+checksumBytes {
		return false
	}
	sum := checksum(raw[:secretBytes])
	return subtle.ConstantTimeCompare(sum, raw[secretBytes:]) == 1
}

func format(secret []byte) string {
	raw := append(append(make([]byte, 0, secretBytes+checksumBytes), secret...), checksum(secret)...)
	return prefix + encoding.EncodeToString(raw)
}

func checksum(secret []byte) []byte {
	sum := sha256.Sum256(append([]byte("watchward/token/checksum/"), secret...))
	return sum[:checksumBytes]
}

func check(name string, role Role, ceiling notice.TLP, expires, now time.Time) error {
	switch {
	case name == "" || len(name) > nameBytesMax:
		return &notice.FieldError{Field: "name", Reason: fmt.Sprintf("a name has 1 to %d bytes", nameBytesMax), Fix: "name the machine or person that will hold the token"}
	case strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' }):
		return &notice.FieldError{Field: "name", Reason: fmt.Sprintf("%q has spaces or characters outside of ASCII", name), Fix: "use letters, digits, - . _ @"}
	case role < Reader || role > Admin:
		return &notice.FieldError{Field: "role", Reason: "a role is missing", Fix: "choose reader, reporter or admin"}
	case ceiling < notice.TLPClear || ceiling > notice.TLPRed:
		return &notice.FieldError{Field: "ceiling", Reason: "the highest marking the holder may see is missing", Fix: "choose CLEAR, GREEN, AMBER, AMBER+STRICT or RED"}
	case !expires.IsZero() && !expires.After(now):
		return &notice.FieldError{Field: "expires", Reason: "the time of expiry has passed", Fix: "give a time in the future, or none"}
	}
	return nil
}
