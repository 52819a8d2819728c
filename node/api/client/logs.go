package client

import (
	"context"
	"net/http"

	"github.com/watchward/watchward/node/api"
)

// Logs returns how the node reads its hospital's own logs.
func (c *Client) Logs(ctx context.Context) (out api.LogsAnswer, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/logs", nil, nil, nil, &out)
	return out, err
}
