package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/watchward/watchward/node/api"
)

// Bridges lists the bridges to other services.
func (c *Client) Bridges(ctx context.Context) ([]api.BridgeView, error) {
	var out api.BridgesAnswer
	err := c.call(ctx, http.MethodGet, "/v1/bridges", nil, nil, nil, &out)
	return out.Bridges, err
}

// Bridge returns one, with why something was not taken or pushed.
func (c *Client) Bridge(ctx context.Context, name string) (out api.BridgeDetail, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/bridges/"+url.PathEscape(name), nil, nil, nil, &out)
}
