package syslog

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
)

var (
	errEnd   = errors.New("the connection ended between two messages")
	errCount = errors.New("the count of a message is too large")
)

// frame reads the next message: counted ("57 <134>1 …") if it starts with a
// number, a space and a "<", else up to the end of the line (RFC 6587, 3.4.1 and
// 3.4.2; some senders change between them). The text is valid until the next
// call, and there may be some with an error.
func frame(r *bufio.Reader) (text []byte, cut bool, err error) {
	count, err := counted(r)
	switch {
	case err != nil:
		return nil, false, err
	case count > 0:
		return octets(r, count)
	}
	text, err = r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		text = bytes.Clone(text)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.ReadSlice('\n')
		}
		cut = true
	}
	if errors.Is(err, io.EOF) { // the last line may have no end
		err = errEnd
	}
	return text, cut, err
}

// counted reads the count of a message that has one, else it reads nothing and
// returns 0.
func counted(r *bufio.Reader) (int, error) {
	n := 0
	for i := 0; i <= countMax; i++ {
		head, err := r.Peek(i + 1)
		if len(head) <= i {
			if i == 0 && (errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded)) {
				return 0, errEnd
			}
			if errors.Is(err, io.EOF) {
				return 0, nil // what is there is a line
			}
			return 0, err
		}
		switch c := head[i]; {
		case c >= '0' && c <= '9':
			n = 10*n + int(c-'0')
			continue
		case c != ' ' || i == 0:
			return 0, nil
		}
		if next, _ := r.Peek(i + 2); n == 0 || len(next) < i+2 || next[i+1] != '<' {
			return 0, nil
		}
		if n > frameMax {
			return 0, errCount
		}
		_, err = r.Discard(i + 1)
		return n, err
	}
	return 0, nil
}

// octets reads a message of a known size.
func octets(r *bufio.Reader, count int) (text []byte, cut bool, err error) {
	keep := min(count, r.Size())
	text, err = r.Peek(keep)
	if err != nil {
		return nil, false, err
	}
	if cut = keep < count; cut {
		text = bytes.Clone(text)
		_, err = r.Discard(count)
		return text, cut, err
	}
	_, err = r.Discard(count) // leaves the bytes where they are
	return text, cut, err
}
