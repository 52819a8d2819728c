// Package words shows a member's keys as six words, which two people compare by
// phone: whoever stands between two machines can change keys, not what is said on
// the phone.
//
// The words are those of the EFF's large word list (7,776 words, CC BY 3.0 US),
// which were chosen to be told apart when spoken. Six of them are 77 bits: nobody
// finds other keys with the same words.
package words

import (
	"math/big"
	"strings"
	"unicode"

	"github.com/sethvargo/go-diceware/diceware"

	"github.com/watchward/watchward/crypto"
)

// Count is how many words stand for a member's keys.
const Count = 6

const (
	sides    = 6 // of a die; five dice name a word
	listSize = 7776
)

// Of returns the words of a member's three keys, as its join request and its
// credential have them, with a blank between two.
func Of(key, sealKey, peer []byte) string {
	sum := crypto.SumContext("words", crypto.Region{}, append(append(append([]byte(nil), key...), sealKey...), peer...))
	number, size, place := new(big.Int).SetBytes(sum[:]), big.NewInt(listSize), new(big.Int)
	out := make([]string, Count)
	for i := range out {
		number.DivMod(number, size, place)
		out[i] = at(int(place.Int64()))
	}
	return strings.Join(out, " ")
}

// at returns the word at a place of the list, whose words are named by dice.
func at(place int) string {
	rolls := 0
	for unit := 1; unit < 100_000; unit *= 10 {
		rolls += unit * (place%sides + 1)
		place /= sides
	}
	return diceware.WordListEffLarge().WordAt(rolls)
}

// Begin reports whether what somebody typed is how the words begin. Case, blanks
// and hyphens do not matter; a part of a word counts, nothing does not.
func Begin(words, typed string) bool {
	bare := letters(typed)
	return bare != "" && strings.HasPrefix(letters(words), bare)
}

func letters(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, s)
}
