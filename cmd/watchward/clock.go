//go:build !testclock

package main

import "time"

// now is the command's clock, and the node's.
func now() time.Time { return time.Now() }
