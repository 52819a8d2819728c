package verdict

import (
	"math"
	"time"

	"github.com/watchward/watchward/node/notice"
)

const (
	// threshold is the score below which a value is worth nothing, and baseSeen
	// what one fresh sighting is worth: threshold and default_base_score of MISP's
	// "NIDS Simple Decaying Model".
	threshold = 30
	baseSeen  = 80
	// baseReported is less: who has it from elsewhere did not see it.
	baseReported = 60
)

// A model is MISP's polynomial one (arXiv 1803.11052 and 1902.03914; MISP,
// DecayingModelsFormulas/Polynomial.php): of a base score there is left, at an
// age t, 1 − (t/τ)^(1/δ).
type model struct {
	lifetime float64 // τ, ms
	exponent float64 // 1/δ
}

// Lifetimes by type. MISP's NIDS model gives all that a network sees 120 days
// and δ = 2, so that half is gone in a month. Here δ < 1: a word keeps its worth
// while its author keeps it, and falls when it is old. DESIGN.md has the table.
var (
	addresses = days(120, 0.5) // MISP's lifetime; the notice itself ends after 90
	names     = days(240, 0.5) // twice that: names change hands more slowly
	lasting   = days(400, 0.3) // the longest life of a notice: a hash stays what it is
)

func days(lifetime, delta float64) *model {
	return &model{lifetime: lifetime * float64((24 * time.Hour).Milliseconds()), exponent: 1 / delta}
}

func modelOf(t notice.Type) *model {
	switch t {
	case notice.TypeIPv4, notice.TypeIPv6, notice.TypeCIDR:
		return addresses
	case notice.TypeDomain, notice.TypeURL, notice.TypeEmail:
		return names
	}
	return lasting
}

// left returns how much of a base score is left at an age (ms): 1 for what is
// fresh or, by a clock that is off, from the future; 0 from the lifetime on.
func (m *model) left(age int64) float64 {
	if age <= 0 {
		return 1
	}
	return max(0, 1-math.Pow(float64(age)/m.lifetime, m.exponent))
}
