package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// problemsMax is how many broken lines a Tally names.
const problemsMax = 10

// A Splitter cuts a stream into lines. It holds at most LineMax of a line that
// has not ended; of a longer one the start is given and the rest passed over.
// The zero value is ready.
type Splitter struct {
	part    []byte
	cut     bool  // part is full and more was passed over
	waiting int64 // bytes of the line that has not ended
	before  int64 // bytes before it, or before the one that is being given
}

// Write gives yield each line that ends in b, without its end; cut says that
// there was more of it. A line is valid until yield returns. An error of yield
// ends it and is returned, with how much of b was dealt with: the line it came
// from is.
func (s *Splitter) Write(b []byte, yield func(line []byte, cut bool) error) (int, error) {
	done := 0
	for {
		end := bytes.IndexByte(b[done:], '\n')
		if end < 0 {
			s.hold(b[done:])
			return len(b), nil
		}
		line := b[done : done+end]
		done += end + 1
		var err error
		if s.waiting > 0 {
			s.hold(line)
			s.waiting++
			err = s.Flush(yield)
		} else {
			err = yield(line[:min(len(line), LineMax)], len(line) > LineMax)
			s.before += int64(len(line)) + 1
		}
		if err != nil {
			return done, err
		}
	}
}

// hold keeps what fits of a line that has not ended.
func (s *Splitter) hold(b []byte) {
	s.waiting += int64(len(b))
	room := LineMax - len(s.part)
	s.part = append(s.part, b[:min(room, len(b))]...)
	s.cut = s.cut || len(b) > room
}

// Before is how many bytes of the stream came before the line that is being
// given, or else before the one that has not ended.
func (s *Splitter) Before() int64 { return s.before }

// Flush gives yield what has come of a last line, if anything has.
func (s *Splitter) Flush(yield func(line []byte, cut bool) error) error {
	if s.waiting == 0 {
		return nil
	}
	err := yield(s.part, s.cut)
	s.before += s.waiting
	s.part, s.cut, s.waiting = s.part[:0], false, 0
	return err
}

// A Tally counts what became of the lines of a log.
type Tally struct {
	Lines       int64
	Bytes       int64 // as far as lines were looked at, without their ends
	Events      int64 // lines with at least one observable
	Observables int64
	Dropped     int64 // observables of lines that had too many
	Cut         int64 // lines longer than LineMax
	Broken      int64
	Other       int64 // lines that are not of the format
	// First are the first few lines that were cut or broken, or not of the format.
	First []Problem
}

// A Problem is one line that gave nothing, or not all.
type Problem struct {
	Line   int64 // from 1
	Reason string
}

func (p Problem) String() string { return fmt.Sprintf("line %d: %s", p.Line, p.Reason) }

// Add counts a line.
func (t *Tally) Add(line []byte, cut bool, event *Event, err error) {
	t.Lines++
	t.Bytes += int64(len(line))
	if len(event.Observables) > 0 {
		t.Events++
		t.Observables += int64(len(event.Observables))
	}
	t.Dropped += int64(event.Dropped)
	switch {
	case cut:
		t.Cut++
		err = errCut
	case errors.Is(err, ErrOther):
		t.Other++
	case err != nil:
		t.Broken++
	}
	if err != nil && len(t.First) < problemsMax {
		t.First = append(t.First, Problem{t.Lines, err.Error()})
	}
}

var errCut = fmt.Errorf("longer than %d KiB: what is beyond was not looked at", LineMax>>10)

// Read reads a log to its end and calls yield for each line that has
// observables. Line and event are valid until yield returns. A last line without
// an end counts. An error of yield ends the reading and is returned as it is.
func (p *Parser) Read(r io.Reader, yield func(number int64, line []byte, event *Event) error) (Tally, error) {
	var t Tally
	var split Splitter
	each := func(line []byte, cut bool) error {
		event, err := p.Line(line)
		t.Add(line, cut, event, err)
		if len(event.Observables) == 0 {
			return nil
		}
		return yield(t.Lines, line, event)
	}
	buffer := make([]byte, readSize)
	for {
		n, err := r.Read(buffer)
		if _, failed := split.Write(buffer[:n], each); failed != nil {
			return t, failed
		}
		if errors.Is(err, io.EOF) {
			return t, split.Flush(each)
		}
		if err != nil {
			return t, fmt.Errorf("read log: line %d: %w", t.Lines+1, err)
		}
	}
}

const readSize = 256 << 10
