package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/watchward/watchward/node/api"
)

// lookupBytesMax bounds the values of one request. A server with a smaller limit
// says so, and gets less at a time.
const lookupBytesMax = 1 << 20

// LookupOptions hold for all values of a lookup.
type LookupOptions struct {
	Hosts     bool // a URL or e-mail address also matches by its host
	KnownOnly bool // no answers for what is not known
	Reasons   bool // verdicts with their reasons; not for bulk
}

// Lookup answers any number of values in their order, in several requests if
// need be. yield gets the answers as they come; an error from it ends the lookup.
func (c *Client) Lookup(ctx context.Context, values []string, o LookupOptions, yield func(api.LookupAnswer) error) error {
	limit := lookupBytesMax
	for len(values) > 0 {
		n, size := 0, 0
		for n < len(values) && n < api.LookupMax && (n == 0 || size+len(values[n]) <= limit) {
			size += len(values[n]) + 4
			n++
		}
		err := c.lookup(ctx, api.LookupRequest{Values: values[:n], Hosts: o.Hosts, KnownOnly: o.KnownOnly, Reasons: o.Reasons}, yield)
		var e *Error
		if n > 1 && errors.As(err, &e) && e.Problem != nil && e.Problem.Status == http.StatusRequestEntityTooLarge {
			limit = size / 4
			continue
		}
		if err != nil {
			return err
		}
		values = values[n:]
	}
	return nil
}

// lookup is one request. It reads and writes by hand what call would leave to
// reflection.
func (c *Client) lookup(ctx context.Context, q api.LookupRequest, yield func(api.LookupAnswer) error) error {
	const path = "/v1/lookup"
	ctx, cancel := context.WithTimeout(ctx, c.c.Timeout)
	defer cancel()
	res, err := c.send(ctx, http.MethodPost, path, nil, nil, bytes.NewReader(api.AppendLookup(nil, q)))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var body bytes.Buffer
	if n := res.ContentLength; n > 0 && n <= answerBytesMax {
		body.Grow(int(n) + bytes.MinRead)
	}
	if _, err := body.ReadFrom(io.LimitReader(res.Body, answerBytesMax)); err != nil {
		return c.unreachable(fmt.Errorf("the answer broke off: %w", err))
	}
	var stopped error
	err = api.DecodeAnswers(body.Bytes(), func(a api.LookupAnswer) error {
		stopped = yield(a)
		return stopped
	})
	if stopped == nil && err != nil {
		return c.unreachable(fmt.Errorf("the answer is not readable: %w", err))
	}
	return err
}
