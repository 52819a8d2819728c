package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/watchward/watchward/node/api"
)

// Invite makes an invitation that is good for so long.
func (c *Client) Invite(ctx context.Context, life time.Duration) (out api.Invitation, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/region/invitations", nil, nil, api.InvitationRequest{LifeSeconds: uint64(life / time.Second)}, &out)
	return out, err
}

// JoinRequests returns who asks to join, the oldest first.
func (c *Client) JoinRequests(ctx context.Context) ([]api.JoinRequest, error) {
	var out api.JoinRequests
	err := c.call(ctx, http.MethodGet, "/v1/region/requests", nil, nil, nil, &out)
	return out.Requests, err
}

// AddRecords hands the trust records of an admission to the node.
func (c *Client) AddRecords(ctx context.Context, admission []byte) (out api.RecordsAnswer, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.c.Timeout)
	defer cancel()
	header := http.Header{"Content-Type": {api.RecordsType}}
	res, err := c.send(ctx, http.MethodPost, "/v1/region/records", nil, header, bytes.NewReader(admission))
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	if err := json.NewDecoder(io.LimitReader(res.Body, answerBytesMax)).Decode(&out); err != nil {
		return out, c.unreachable(fmt.Errorf("the answer broke off: %w", err))
	}
	return out, nil
}

// Records returns the trust records of the region in a file, with those of the
// members that are named, or of all.
func (c *Client) Records(ctx context.Context, members []string, all bool) ([]byte, error) {
	query := url.Values{"member": members}
	if all {
		query.Set("all", "true")
	}
	res, err := c.send(ctx, http.MethodGet, "/v1/region/records", query, nil, nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, answerBytesMax))
	if err != nil {
		return nil, c.unreachable(fmt.Errorf("the answer broke off: %w", err))
	}
	return raw, nil
}
