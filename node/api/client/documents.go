package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/watchward/watchward/node/api"
)

// PutDocument keeps a file of up to 8 MiB at the node, for an advisory to name.
func (c *Client) PutDocument(ctx context.Context, file io.Reader) (out api.DocumentAnswer, err error) {
	from := &reading{r: file}
	res, err := c.send(ctx, http.MethodPost, "/v1/documents", nil, http.Header{"Content-Type": {"application/octet-stream"}}, from)
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

// Document returns a document by its SHA-256.
func (c *Client) Document(ctx context.Context, sha256 string) ([]byte, error) {
	return c.file(ctx, "/v1/documents/"+sha256, nil)
}
