package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/watchward/watchward/node/api"
)

// Ledger returns how the region's ledger is.
func (c *Client) Ledger(ctx context.Context) (out api.LedgerView, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/ledger/status", nil, nil, nil, &out)
	return out, err
}

// LedgerEntry returns where something stands in the ledger; strong asks the leader.
func (c *Client) LedgerEntry(ctx context.Context, id string, strong bool) (out api.LedgerEntry, err error) {
	query := url.Values{}
	flag(query, "strong", strong)
	err = c.call(ctx, http.MethodGet, "/v1/ledger/entries/"+url.PathEscape(id), query, nil, nil, &out)
	return out, err
}

// receiptEvery is how often Receipt asks.
const receiptEvery = 250 * time.Millisecond

// Receipt returns a notice in a file that also proves its place in the ledger. What
// is not under a checkpoint yet is asked for again, for so long; the error then is
// the node's last answer.
func (c *Client) Receipt(ctx context.Context, id string, wait time.Duration) ([]byte, error) {
	end := time.Now().Add(wait)
	for {
		raw, err := c.file(ctx, "/v1/ledger/receipts/"+url.PathEscape(id), nil)
		if !NotYet(err) || !time.Now().Add(receiptEvery).Before(end) {
			return raw, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(receiptEvery):
		}
	}
}

// NotYet reports whether a node answered that something is not in the ledger yet.
func NotYet(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Problem != nil && e.Problem.Word() == api.WordNotYet
}

// TransferLedger lets another voter lead: to, or any if it is "".
func (c *Client) TransferLedger(ctx context.Context, to string) (out api.LedgerTransfer, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/ledger/transfer", nil, nil, api.LedgerTransferRequest{To: to}, &out)
	return out, err
}
