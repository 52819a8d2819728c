package syslog

import (
	"bufio"
	"io"
	"time"

	"github.com/watchward/watchward/node/logs"
)

// Frames reads a stream to its end.
func Frames(r io.Reader, yield func(text string, cut bool)) error {
	b := bufio.NewReaderSize(r, logs.LineMax)
	for {
		text, cut, err := frame(b)
		if len(text) > 0 {
			yield(string(text), cut)
		}
		if err == errEnd {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Waits says how long each of n messages at one moment would have to wait.
func Waits(rate, n int) (free int, wait time.Duration) {
	b := newBucket(rate)
	now := time.Unix(1795770000, 0)
	for range n {
		if w := b.take(now); w > 0 {
			wait = w
		} else {
			free++
		}
	}
	if wait > 0 && b.take(now.Add(wait)) > 0 {
		wait = -1 // it was said too short
	}
	return free, wait
}
