package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/watchward/watchward/node/api"
)

// Feeds lists what enforcement points fetch, and who fetches it.
func (c *Client) Feeds(ctx context.Context) ([]api.FeedView, error) {
	var out api.FeedsAnswer
	err := c.call(ctx, http.MethodGet, "/v1/feeds", nil, nil, nil, &out)
	return out.Feeds, err
}

// Feed returns one feed with up to limit entries from a place on, and why a value is in
// it or not.
func (c *Client) Feed(ctx context.Context, name, why string, limit int, next string) (out api.FeedDetail, err error) {
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if why != "" {
		q.Set("why", why)
	}
	if next != "" {
		q.Set("next", next)
	}
	return out, c.call(ctx, http.MethodGet, "/v1/feeds/"+url.PathEscape(name), q, nil, nil, &out)
}

// DiffFeed returns what a feed would be under another policy.
func (c *Client) DiffFeed(ctx context.Context, name string, q api.FeedDiffRequest) (out api.FeedDiff, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/feeds/"+url.PathEscape(name)+"/diff", nil, nil, q, &out)
}

// AcceptFeed lets what waits in a feed have its way.
func (c *Client) AcceptFeed(ctx context.Context, name string) (out api.FeedAccepted, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/feeds/"+url.PathEscape(name)+"/accept", nil, nil, nil, &out)
}
