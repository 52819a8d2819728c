package client

import (
	"context"
	"net/http"

	"github.com/watchward/watchward/node/api"
)

// Hunt asks when values were in the hospital's own logs, in several requests if need
// be. The answers are in their order.
func (c *Client) Hunt(ctx context.Context, values []string, hosts bool) (out api.HuntAnswers, err error) {
	for len(values) > 0 {
		n, size := 0, 0
		for n < len(values) && n < api.HuntMax && (n == 0 || size+len(values[n]) <= lookupBytesMax) {
			size += len(values[n]) + 4
			n++
		}
		var part api.HuntAnswers
		if err := c.call(ctx, http.MethodPost, "/v1/hunt", nil, nil, api.HuntRequest{Values: values[:n], Hosts: hosts}, &part); err != nil {
			return out, err
		}
		out.Answers, out.Since = append(out.Answers, part.Answers...), max(out.Since, part.Since)
		values = values[n:]
	}
	return out, nil
}
