package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/watchward/watchward/node/api"
)

// BundleQuery selects what one part of a bundle carries.
type BundleQuery struct {
	Audience string   // community or region
	To       []string // region: members to seal for; none = all
	Since    time.Time
	Kind     string
	Mine     bool
	Created  time.Time // of the export: the same in all its parts
	Part     int       // from 1
	After    uint64    // Next of the part before
	Size     int64     // bytes of the part, at most
}

// ExportBundle copies one part to w. It reports false, and writes nothing, when
// nothing is selected. There is no time limit: ctx is one.
func (c *Client) ExportBundle(ctx context.Context, q BundleQuery, w io.Writer) (part api.BundlePart, some bool, err error) {
	query := url.Values{
		"audience": {q.Audience}, "part": {strconv.Itoa(q.Part)}, "after": {strconv.FormatUint(q.After, 10)},
		"size": {strconv.FormatInt(q.Size, 10)}, "created": {q.Created.UTC().Format(time.RFC3339Nano)},
	}
	set(query, "kind", q.Kind)
	if len(q.To) > 0 {
		query["to"] = q.To
	}
	if !q.Since.IsZero() {
		query.Set("since", q.Since.UTC().Format(time.RFC3339Nano))
	}
	if q.Mine {
		query.Set("mine", "true")
	}
	res, err := c.send(ctx, http.MethodGet, "/v1/bundle", query, nil, nil)
	if err != nil {
		return part, false, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNoContent {
		return part, false, nil
	}
	from := &reading{r: res.Body}
	if _, err := io.Copy(w, from); err != nil {
		if from.err == nil { // it is w's
			return part, false, err
		}
		return part, false, c.unreachable(fmt.Errorf("the answer broke off: %w", err))
	}
	if err := json.Unmarshal([]byte(res.Trailer.Get(api.BundleTrailer)), &part); err != nil {
		return part, false, c.unreachable(fmt.Errorf("the answer broke off: its end is missing"))
	}
	return part, true, nil
}

// reading remembers the error of what is read.
type reading struct {
	r   io.Reader
	err error
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// ImportBundle hands a bundle to the node: one part, or several one after the
// other. There is no time limit: ctx is one.
func (c *Client) ImportBundle(ctx context.Context, bundle io.Reader) (api.BundleAnswer, error) {
	return c.postBundle(ctx, bundle, nil)
}

// CheckBundle asks what ImportBundle would do.
func (c *Client) CheckBundle(ctx context.Context, bundle io.Reader) (api.BundleAnswer, error) {
	return c.postBundle(ctx, bundle, url.Values{"dry_run": {"true"}})
}

func (c *Client) postBundle(ctx context.Context, bundle io.Reader, query url.Values) (out api.BundleAnswer, err error) {
	from := &reading{r: bundle}
	header := http.Header{"Content-Type": {api.BundleType}}
	res, err := c.send(ctx, http.MethodPost, "/v1/bundle", query, header, from)
	if err != nil {
		if from.err != nil {
			return out, from.err
		}
		return out, err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, answerBytesMax)).Decode(&out); err != nil {
		return out, c.unreachable(fmt.Errorf("the answer broke off: %w", err))
	}
	return out, nil
}
