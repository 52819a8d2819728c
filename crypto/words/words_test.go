package words_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto/words"
)

// The list is wire format between two people: both ends must have the same one,
// whatever version of the module they were built with.
func TestListIsTheOneThatWasPublished(t *testing.T) {
	all := words.All()
	seen := map[string]bool{}
	for _, w := range all {
		if w == "" || seen[w] {
			t.Fatalf("%q is empty or comes twice", w)
		}
		seen[w] = true
	}
	sum := sha256.Sum256([]byte(strings.Join(all, "\n")))
	const want = "abae49761b88f3f1ba31ef944bea1f61b795a3cd7e1cfb7d276ed45bf77967ba"
	if got := hex.EncodeToString(sum[:]); len(all) != 7776 || all[0] != "abacus" || all[7775] != "zoom" || got != want {
		t.Fatalf("%d words from %s to %s with the sum %s", len(all), all[0], all[len(all)-1], got)
	}
}

func TestOf(t *testing.T) {
	key, seal, peer := bytes.Repeat([]byte{1}, 1984), bytes.Repeat([]byte{2}, 1216), bytes.Repeat([]byte{3}, 38)
	got := words.Of(key, seal, peer)
	const want = "carport echo gag frisk manatee unearth"
	if got != want {
		t.Errorf("words are %q, want %q", got, want)
	}
	for name, other := range map[string]string{
		"key":      words.Of(append([]byte{9}, key[1:]...), seal, peer),
		"seal key": words.Of(key, append([]byte{9}, seal[1:]...), peer),
		"peer id":  words.Of(key, seal, append([]byte{9}, peer[1:]...)),
	} {
		if other == got {
			t.Errorf("another %s has the same words", name)
		}
	}
}

func TestBegin(t *testing.T) {
	const of = "t-shirt abacus zoom felt-tip acid bunt"
	for typed, want := range map[string]bool{
		"t-shirt": true, "T SHIRT": true, "tshirt-aba": true, of: true,
		"": false, " ": false, "7": false, "abacus": false, "t-shirt zoom": false, of + " more": false,
	} {
		if got := words.Begin(of, typed); got != want {
			t.Errorf("%q: %t", typed, got)
		}
	}
}
