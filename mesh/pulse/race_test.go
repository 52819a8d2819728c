//go:build race

package pulse_test

const raceEnabled = true
