package node_test

import (
	"testing"
	"time"

	"github.com/watchward/watchward/node"
)

// A node that starts with nobody to ask goes by its kept correction, unless the
// clock was put right in between.
func TestKeptClock(t *testing.T) {
	const good, year, hour, minute = int64(1_790_000_000_000), 365 * day, day / 24, day / 1440
	for name, c := range map[string]struct{ offset, now, want int64 }{
		"a year ahead still":                 {-year, good + year + 2*hour, -year},
		"a year ahead still, away for weeks": {-year, good + year + 30*day, -year},
		"was ahead, is right":                {-year, good + 2*hour, 0},
		"a year behind still":                {year, good - year + 2*hour, year},
		"was behind, is right":               {year, good + 2*hour, 0},
		"was ahead, is behind":               {-year, good - 5*year, 0},
		"started at once":                    {-year, good + year, -year},
		"set back a little meanwhile":        {-year, good + year - minute, -year},
	} {
		if got := node.KeptCorrection(c.offset, good, c.now); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("%s: %s is added", name, got)
		}
	}
}
