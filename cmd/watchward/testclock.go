//go:build testclock

package main

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// now is the clock of binaries for tests: WATCHWARD_TEST_CLOCK_OFFSET is how
// far it is ahead, as a duration. No binary that is shipped has the build tag,
// so nobody's environment can move the clock of a hospital.
var now = func() time.Time { return time.Now().Add(testOffset()) }

var testOffset = sync.OnceValue(func() time.Duration {
	text := os.Getenv("WATCHWARD_TEST_CLOCK_OFFSET")
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		fmt.Fprintf(os.Stderr, "watchward: WATCHWARD_TEST_CLOCK_OFFSET: %v: write it as 8760h\n", err)
		os.Exit(2)
	}
	return d
})
