package logs

import (
	"bytes"
	"time"
)

// A stamp is a time as it is written, before its zone is known.
type stamp struct {
	year, month, day     int
	hour, minute, second int
	nano                 int
	offset               int // seconds east
	zoned                bool
}

// A cursor reads numbers and marks off the start of a text. After the first
// thing that is not as wanted it reads nothing more.
type cursor struct {
	b   []byte
	i   int
	bad bool
}

// number reads min to max digits, a leading space counting as a zero where pad.
func (c *cursor) number(min, max int, pad bool) int {
	start, n := c.i, 0
	for c.i < len(c.b) && c.i-start < max {
		d := c.b[c.i]
		if pad && d == ' ' && c.i == start && max > 1 {
			c.i++
			continue
		}
		if d < '0' || d > '9' {
			break
		}
		n = n*10 + int(d-'0')
		c.i++
	}
	c.bad = c.bad || c.i-start < min || c.i > start && c.b[c.i-1] == ' '
	return n
}

// mark reads one byte of a set.
func (c *cursor) mark(set string) byte {
	if c.i < len(c.b) && bytes.IndexByte([]byte(set), c.b[c.i]) >= 0 {
		c.i++
		return c.b[c.i-1]
	}
	c.bad = true
	return 0
}

func (c *cursor) at(set string) bool {
	return c.i < len(c.b) && bytes.IndexByte([]byte(set), c.b[c.i]) >= 0
}

var months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// name reads a month.
func (c *cursor) name() int {
	if c.i+3 <= len(c.b) {
		for m := 0; m < 12; m++ {
			if months[3*m:3*m+3] == string(c.b[c.i:c.i+3]) {
				c.i += 3
				return m + 1
			}
		}
	}
	c.bad = true
	return 0
}

// clock reads 15:04:05 with a fraction or without.
func (c *cursor) clock(s *stamp) {
	s.hour = c.number(1, 2, true)
	c.mark(":")
	s.minute = c.number(2, 2, false)
	c.mark(":")
	s.second = c.number(2, 2, false)
	if c.bad || !c.at(".,") {
		return
	}
	if c.i+1 == len(c.b) || c.b[c.i+1] < '0' || c.b[c.i+1] > '9' {
		return
	}
	c.i++
	scale := 100_000_000
	for ; c.i < len(c.b) && c.b[c.i] >= '0' && c.b[c.i] <= '9'; c.i++ {
		s.nano += int(c.b[c.i]-'0') * scale
		scale /= 10
	}
}

// zone reads Z, +01, +0100 or +01:00, or nothing.
func (c *cursor) zone(s *stamp) {
	switch {
	case c.at("Zz"):
		c.i++
		s.zoned = true
	case c.at("+-"):
		sign := 1
		if c.mark("+-") == '-' {
			sign = -1
		}
		s.offset = c.number(2, 2, false) * 3600
		if c.at(":") {
			c.i++
		}
		if c.at("0123456789") {
			s.offset += c.number(2, 2, false) * 60
		}
		s.offset, s.zoned = s.offset*sign, true
	}
}

// date reads 2006-01-02 with any of the marks between.
func (c *cursor) date(s *stamp, marks string) {
	s.year = c.number(4, 4, false)
	c.mark(marks)
	s.month = c.number(1, 2, false)
	c.mark(marks)
	s.day = c.number(1, 2, false)
}

// iso reads 2006-01-02T15:04:05.999+01:00 and its like off the start of b, and
// returns how long it is.
func iso(b []byte, between string) (s stamp, size int, ok bool) {
	c := cursor{b: b}
	c.date(&s, "-/:.")
	c.mark(between)
	if c.bad {
		return s, 0, false
	}
	c.clock(&s)
	c.zone(&s)
	return s, c.i, !c.bad && s.valid()
}

func (s *stamp) valid() bool {
	return s.year >= 1970 && s.year <= 2200 && s.month >= 1 && s.month <= 12 && s.day >= 1 && s.day <= 31 &&
		s.hour <= 23 && s.minute <= 59 && s.second <= 60 && s.offset > -24*3600 && s.offset < 24*3600
}

// time is the stamp as a time.
func (p *Parser) time(s stamp) time.Time {
	if s.zoned {
		return time.Date(s.year, time.Month(s.month), s.day, s.hour, s.minute, s.second, s.nano, time.UTC).
			Add(-time.Duration(s.offset) * time.Second)
	}
	return time.Date(s.year, time.Month(s.month), s.day, s.hour, s.minute, s.second, s.nano, p.zone)
}

// setISO sets the event's time from all of b, if it is one.
func (p *Parser) setISO(b []byte) {
	if s, _, ok := iso(b, "T -"); ok {
		p.event.Time = p.time(s)
	}
}

// undated reads "Jan _2 15:04:05" of RFC 3164, or the same with a year before or
// after the clock, off the start of b.
func (p *Parser) undated(b []byte) (at time.Time, size int, ok bool) {
	var s stamp
	c := cursor{b: b}
	s.month = c.name()
	c.mark(" ")
	s.day = c.number(1, 2, true)
	c.mark(" ")
	if c.bad {
		return at, 0, false
	}
	if year := c; year.number(4, 4, false) >= 1970 && year.mark(" ") != 0 && !year.bad { // of network gear
		s.year = c.number(4, 4, false)
		c.mark(" ")
	}
	c.clock(&s)
	guess := s.year == 0
	if guess {
		s.year = 2000 // a leap year, to be judged
	}
	if c.bad || !s.valid() {
		return at, 0, false
	}
	if guess {
		return p.latest(s), c.i, true
	}
	return p.time(s), c.i, true
}

// latest gives a stamp the latest year that it has a day in and that puts it no
// later than a day after now: a device's clock may be ahead, or its zone.
func (p *Parser) latest(s stamp) time.Time {
	limit := p.now().Add(24 * time.Hour)
	for s.year = limit.In(p.zone).Year(); ; s.year-- { // at most 9 steps, to a leap year
		at := p.time(s)
		if !at.After(limit) && at.Day() == s.day {
			return at
		}
		if s.year < 1970 {
			return time.Time{}
		}
	}
}

// epoch reads "1700000000.123" from all of b; whole numbers too large for
// seconds are milli-, micro- or nanoseconds.
func epoch(b []byte) (time.Time, bool) {
	whole, fraction, _ := bytes.Cut(b, []byte("."))
	if len(whole) == 0 || len(whole) > 19 {
		return time.Time{}, false
	}
	n := int64(0)
	for _, d := range whole {
		if d < '0' || d > '9' || n > (1<<63-10)/10 {
			return time.Time{}, false
		}
		n = n*10 + int64(d-'0')
	}
	switch {
	case n >= 1e17:
		return time.Unix(0, n), true
	case n >= 1e14:
		return time.UnixMicro(n), true
	case n >= 1e11:
		return time.UnixMilli(n), true
	}
	nano, scale := int64(0), int64(100_000_000)
	for _, d := range fraction {
		if d < '0' || d > '9' {
			return time.Time{}, false
		}
		nano += int64(d-'0') * scale
		scale /= 10
	}
	return time.Unix(n, nano), true
}
