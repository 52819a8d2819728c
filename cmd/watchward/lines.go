package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/watchward/watchward/node/api"
)

// Bounds of a lookup of standard input.
const (
	lineMax       = 4096      // bytes; more can be no value
	lineShownMax  = 80        // bytes of a line that is refused
	linesMax      = 10_000    // of one request
	linesBytesMax = 1 << 20   // of one request
	linesAhead    = 2         // requests on their way at once
	linesBuffer   = 256 << 10 // bytes read at once
)

const lineTooLong = "the line is longer than 4096 bytes: give one value a line"

// A line is a value to look up, or why it can be none.
type line struct {
	value   string
	refused string
}

// newLine makes a line of a text without its end.
func newLine(text []byte) line {
	text = bytes.TrimSpace(text)
	switch {
	case len(text) > lineMax:
		return line{shown(text), lineTooLong}
	case !utf8.Valid(text):
		return line{shown(text), "it is not valid UTF-8: save the text as UTF-8"}
	}
	return line{value: string(text)}
}

// shown is the beginning of a line that is refused.
func shown(text []byte) string {
	if len(text) <= lineShownMax {
		return string(bytes.ToValidUTF8(text, []byte("\uFFFD")))
	}
	return string(bytes.ToValidUTF8(text[:lineShownMax], []byte("\uFFFD"))) + "…"
}

// A request is some lines and, once done is closed, the answers to them.
type request struct {
	lines []line
	size  int // bytes of the values
	done  chan struct{}

	asked   int
	answers []api.LookupAnswer
	err     error
}

// stream looks up the lines of in and prints the answers in their order. While
// one request is answered the next one is on its way and a third is read, so
// what is in memory has a bound, and neither side waits for the other.
func (l *lookup) stream(ctx context.Context, in io.Reader) error {
	g, ctx := errgroup.WithContext(ctx)
	read := make(chan []line)
	ended := make(chan error, 1)
	go func() { // not waited for: it may hang in its read, and ends with the process
		defer close(read)
		ended <- readLines(ctx, in, read)
	}()
	requests := make(chan *request, linesAhead-1)
	g.Go(func() error {
		defer close(requests)
		return l.send(ctx, g, read, requests)
	})
	g.Go(func() error {
		for r := range requests {
			select {
			case <-r.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := l.print(r.asked, r.answers, r.err); err != nil {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	return <-ended
}

// send makes requests of what was read: of as many lines as have come when one
// can be sent, so that a slow input is answered at once and a fast one in bulk.
func (l *lookup) send(ctx context.Context, g *errgroup.Group, read <-chan []line, requests chan<- *request) error {
	r := &request{done: make(chan struct{})}
	for read != nil || len(r.lines) > 0 {
		from, to := read, requests
		if len(r.lines) >= linesMax || r.size >= linesBytesMax {
			from = nil
		}
		if len(r.lines) == 0 {
			to = nil
		}
		select {
		case lines, ok := <-from:
			if !ok {
				read = nil
			}
			for _, line := range lines {
				r.lines, r.size = append(r.lines, line), r.size+len(line.value)
			}
		case to <- r:
			sent := r
			g.Go(func() error {
				defer close(sent.done)
				sent.asked, sent.answers, sent.err = l.ask(ctx, sent.lines)
				return nil // print tells, after what came before
			})
			r = &request{done: make(chan struct{})}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// readLines passes on the lines of in, as many at once as have been read.
func readLines(ctx context.Context, in io.Reader, to chan<- []line) error {
	b := bufio.NewReaderSize(in, linesBuffer)
	var lines []line
	size := 0
	for first := true; ; first = false {
		if len(lines) > 0 && (len(lines) == linesMax || size >= linesBytesMax || !whole(b)) {
			select {
			case to <- lines:
			case <-ctx.Done():
				return nil
			}
			lines, size = nil, 0
		}
		text, err := b.ReadSlice('\n')
		long := errors.Is(err, bufio.ErrBufferFull)
		if first {
			text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
		}
		next := newLine(text)
		if long { // whatever it begins with
			next = line{shown(text), lineTooLong}
		}
		if next != (line{}) {
			lines, size = append(lines, next), size+len(next.value)
		}
		for long { // the rest of it
			_, err = b.ReadSlice('\n')
			long = errors.Is(err, bufio.ErrBufferFull)
		}
		if err == nil {
			continue
		}
		if len(lines) > 0 {
			select {
			case to <- lines:
			case <-ctx.Done():
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
}

// whole reports whether the next line can be had without waiting.
func whole(b *bufio.Reader) bool {
	ahead, _ := b.Peek(b.Buffered())
	return bytes.IndexByte(ahead, '\n') >= 0
}
