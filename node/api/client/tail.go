package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/watchward/watchward/node/api"
)

const (
	lineBytesMax = 1 << 20 // of a stream; a notice has a few kilobytes
	silenceMax   = time.Minute
	retryFirst   = 200 * time.Millisecond
	retryLast    = 10 * time.Second
	partialMax   = 2048 // ids kept to drop repeats after a reconnect; an envelope has at most 1,024 items
)

// errYield wraps an error of the caller, so that it is not taken for the
// connection's.
type errYield struct{ error }

// Tail follows the notices that arrive, from after on: api.FromNow for what
// comes next, 0 for everything stored. It reconnects and goes on where it was,
// until ctx ends (its error is returned) or yield returns an error. When the
// first connection fails, or the node denies one, that is returned. lost, if not
// nil, is told once each time a connection that stood is gone.
func (c *Client) Tail(ctx context.Context, after uint64, yield func(api.NoticeView) error, lost func(error)) error {
	t := &tail{c: c, after: after, yield: yield, partial: map[string]bool{}}
	wait := retryFirst
	for first := true; ; first = false {
		t.progress = false
		err := t.connect(ctx)
		var e *Error
		var own errYield
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &own):
			return own.error
		case first && !t.progress, errors.As(err, &e) && e.Problem != nil && e.Problem.Status != http.StatusServiceUnavailable:
			return err
		}
		if t.progress {
			wait = retryFirst
			if lost != nil {
				lost(err)
			}
		}
		select {
		case <-time.After(wait):
			wait = min(2*wait, retryLast)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

type tail struct {
	c        *Client
	after    uint64
	yield    func(api.NoticeView) error
	progress bool            // the stream was open
	partial  map[string]bool // yielded since the last id: a reconnect brings them again
}

func (t *tail) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	query := url.Values{}
	if t.after != api.FromNow {
		query.Set("after", strconv.FormatUint(t.after, 10))
	}
	res, err := t.c.send(ctx, http.MethodGet, "/v1/stream", query, nil, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	t.progress = true
	silence := time.AfterFunc(silenceMax, cancel) // a dead connection sends no heartbeat
	defer silence.Stop()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, lineBytesMax)
	var id, data string
	for lines.Scan() {
		silence.Reset(silenceMax)
		key, text, _ := strings.Cut(lines.Text(), ":")
		text = strings.TrimPrefix(text, " ")
		switch {
		case lines.Text() == "":
			if err := t.event(id, data); err != nil {
				return err
			}
			id, data = "", ""
		case key == "id":
			id = text
		case key == "data":
			data += text
		}
	}
	if err := lines.Err(); err != nil {
		return t.c.unreachable(err)
	}
	return t.c.unreachable(io.ErrUnexpectedEOF)
}

// event takes one event; an id closes the group of notices before it.
func (t *tail) event(id, data string) error {
	if data != "" {
		if err := t.notice(data); err != nil {
			return err
		}
	}
	if id == "" {
		return nil
	}
	seq, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return fmt.Errorf("read the stream: event id %.20q is no number", id)
	}
	t.after = seq
	clear(t.partial)
	return nil
}

func (t *tail) notice(data string) error {
	var n api.NoticeView
	if err := json.Unmarshal([]byte(data), &n); err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}
	if t.partial[n.ID] {
		return nil
	}
	if err := t.yield(n); err != nil {
		return errYield{err}
	}
	if len(t.partial) < partialMax {
		t.partial[n.ID] = true
	}
	return nil
}
