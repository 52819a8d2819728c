package client

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/watchward/watchward/node/api"
)

// Policies returns what is allowed or denied here, or both with "".
func (c *Client) Policies(ctx context.Context, decision string) ([]api.PolicyView, error) {
	all := []api.PolicyView{}
	query := page(time.Time{}, api.PoliciesMax, "")
	set(query, "decision", decision)
	for {
		var out api.PoliciesAnswer
		if err := c.call(ctx, http.MethodGet, "/v1/policies", query, nil, nil, &out); err != nil {
			return nil, err
		}
		if all = append(all, out.Policies...); out.Next == "" {
			return all, nil
		}
		query.Set("next", out.Next)
	}
}

// Decide allows and denies values, or takes that back. Up to api.PoliciesMax are all
// or none; more go in several requests.
func (c *Client) Decide(ctx context.Context, asked []api.PolicyRequest) ([]api.PolicyView, error) {
	all := []api.PolicyView{}
	for part := range slices.Chunk(asked, api.PoliciesMax) {
		var out api.PoliciesAnswer
		if err := c.call(ctx, http.MethodPost, "/v1/policies", nil, nil, api.PoliciesRequest{Policies: part}, &out); err != nil {
			return all, err
		}
		all = append(all, out.Policies...)
	}
	return all, nil
}
