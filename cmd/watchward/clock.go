//go:build !testclock

package main

import "time"

// now is the command's clock, and the node's. Nothing but a test sets it.
var now = time.Now
