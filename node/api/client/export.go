package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/watchward/watchward/node/api"
)

// ExportQuery selects what an export holds; zero values are the server's.
type ExportQuery struct {
	Format   string
	Kind     string
	TLP      string // the strictest marking
	Since    time.Time
	Mine     bool
	Unmarked bool // also what has no marking
}

// Export writes everything that a query selects to w. When it returns an error,
// what w got is not whole.
func (c *Client) Export(ctx context.Context, q ExportQuery, w io.Writer) (count api.ExportCount, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	query := page(q.Since, 0, "")
	for key, value := range map[string]string{"format": q.Format, "kind": q.Kind, "tlp": q.TLP} {
		set(query, key, value)
	}
	flag(query, "mine", q.Mine)
	flag(query, "unmarked", q.Unmarked)
	res, err := c.send(ctx, http.MethodGet, "/v1/export", query, nil, nil)
	if err != nil {
		return count, err
	}
	defer res.Body.Close()
	silence := time.AfterFunc(silenceMax, cancel) // a dead connection sends nothing
	defer silence.Stop()
	block := make([]byte, 64<<10)
	for {
		n, err := res.Body.Read(block)
		silence.Reset(silenceMax)
		if _, bad := w.Write(block[:n]); bad != nil {
			return count, fmt.Errorf("write the export: %w", bad)
		}
		switch {
		case errors.Is(err, io.EOF):
			if err := json.Unmarshal([]byte(res.Trailer.Get(api.ExportTrailer)), &count); err != nil {
				return count, c.unreachable(errors.New("the answer broke off: its end is missing"))
			}
			return count, nil
		case err != nil:
			return count, c.unreachable(fmt.Errorf("the answer broke off: %w", err))
		}
	}
}

func flag(query url.Values, key string, on bool) {
	if on {
		query.Set(key, "true")
	}
}
