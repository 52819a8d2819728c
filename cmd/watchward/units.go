package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// parseSince reads a time, a date, or how long ago. "" is the zero time.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, ok := parseMoment(s); ok {
		return t, nil
	}
	if t, ok := shift(s, now, -1); ok {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("%q: give how long ago (30d, 2w, 12h) or a time (2026-01-31, 2026-01-31T12:00:00Z)", s)
}

// parseLife reads when something ends: a time, a date, or how long from now.
func parseLife(s string, now time.Time) (time.Time, error) {
	t, ok := parseMoment(s)
	if !ok {
		t, ok = shift(s, now, 1)
	}
	if !ok || !t.After(now) {
		return time.Time{}, fmt.Errorf("%q: give how long (90d, 2w, 12h) or a time to come (2027-01-31, 2027-01-31T12:00:00Z)", s)
	}
	return t, nil
}

// parseMoment reads a time; without a zone it is this machine's.
func parseMoment(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// shift moves now by a duration, which may be in days or weeks, into a direction:
// 1 or -1.
func shift(s string, now time.Time, direction int) (time.Time, bool) {
	if s == "" {
		return time.Time{}, false
	}
	number, unit := s[:len(s)-1], s[len(s)-1]
	if days, err := strconv.Atoi(number); err == nil && days >= 0 && days <= 100_000 && (unit == 'd' || unit == 'w') {
		if unit == 'w' {
			days *= 7
		}
		return now.AddDate(0, 0, direction*days), true
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(time.Duration(direction) * d), true
	}
	return time.Time{}, false
}

// parseSize reads bytes with K, M or G, which are powers of 1024.
func parseSize(s string) (int64, error) {
	shift := 0
	switch number := strings.TrimRight(s, "KMGkmg"); {
	case len(s)-len(number) > 1:
		return 0, errors.New("one unit")
	case len(s) > len(number):
		shift = 10 * (1 + strings.Index("KMG", strings.ToUpper(s[len(number):])))
		s = number
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > 1<<40 {
		return 0, errors.New("no number")
	}
	return n << shift, nil
}
