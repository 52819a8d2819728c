package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// PutDocument hands a document to the node, as it is read.
func (c *Client) PutDocument(ctx context.Context, document io.Reader) (out api.DocumentAnswer, err error) {
	from := &reading{r: document}
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

// Document returns a document by its SHA-256, and the name of its file, "" if it has
// none. The name is what the node says: check it before it is used.
func (c *Client) Document(ctx context.Context, id string) (content []byte, name string, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.c.Timeout)
	defer cancel()
	res, err := c.send(ctx, http.MethodGet, "/v1/documents/"+url.PathEscape(id), nil, nil, nil)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	if content, err = io.ReadAll(io.LimitReader(res.Body, notice.DocumentMax+1)); err != nil {
		return nil, "", c.unreachable(fmt.Errorf("the answer broke off: %w", err))
	}
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != id {
		return nil, "", fmt.Errorf("the node answered another document than %s: check its disk", id)
	}
	if _, parameters, err := mime.ParseMediaType(res.Header.Get("Content-Disposition")); err == nil {
		name = parameters["filename"]
	}
	return content, name, nil
}
