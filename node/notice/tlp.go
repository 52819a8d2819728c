package notice

import (
	"fmt"
	"strings"

	"github.com/watchward/watchward/crypto"
)

// A TLP is a marking of the Traffic Light Protocol 2.0. The numbers are wire
// format and rise with strictness; 0 is unmarked.
type TLP uint8

const (
	TLPClear       TLP = 1
	TLPGreen       TLP = 2
	TLPAmber       TLP = 3
	TLPAmberStrict TLP = 4
	TLPRed         TLP = 5
)

const tlpChoices = "CLEAR, GREEN, AMBER, AMBER+STRICT or RED"

var tlpNames = [...]string{"", "CLEAR", "GREEN", "AMBER", "AMBER+STRICT", "RED"}

// String returns the marking without the "TLP:" prefix, and "" for unmarked.
func (t TLP) String() string {
	if int(t) < len(tlpNames) {
		return tlpNames[t]
	}
	return fmt.Sprintf("tlp(%d)", uint8(t))
}

// ParseTLP reads a marking in any case, with or without the prefix "TLP:".
// WHITE, of TLP 1.0, is CLEAR; the + of AMBER+STRICT may be -, _ or a space.
func ParseTLP(s string) (TLP, error) {
	name := strings.ToUpper(strings.TrimSpace(s))
	name = strings.TrimSpace(strings.TrimPrefix(name, "TLP:"))
	name = strings.NewReplacer("_", "+", "-", "+", " ", "+").Replace(name)
	if name == "WHITE" {
		return TLPClear, nil
	}
	for t := TLPClear; t <= TLPRed; t++ {
		if name == tlpNames[t] {
			return t, nil
		}
	}
	return 0, fieldErrorf("tlp", "choose "+tlpChoices, "%s is not a marking", show(s))
}

// Audience returns the widest audience that t allows. An unmarked notice stays
// local: to share, a marking is required.
func (t TLP) Audience() crypto.Audience {
	switch t {
	case TLPClear, TLPGreen:
		return crypto.AudienceCommunity
	case TLPAmber:
		return crypto.AudienceRegion
	case TLPAmberStrict, TLPRed:
		return crypto.AudienceNamed
	}
	return crypto.AudienceLocal
}

// Fits reports whether an envelope of audience a may carry marking t. A sender
// may tighten (GREEN to the region only) and never loosen (AMBER to the
// community). A value that is no TLP or audience never fits; an unmarked
// notice fits only what never leaves.
func Fits(t TLP, a crypto.Audience) bool {
	return t <= TLPRed && a <= t.Audience()
}

// Stricter returns the stricter of two markings; unmarked is the least strict.
func Stricter(a, b TLP) TLP { return max(a, b) }
