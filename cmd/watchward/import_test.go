package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
)

// TestImportStopped stops an import of five batches while the node stores the
// second: what is printed is never less than what was stored.
func TestImportStopped(t *testing.T) {
	for _, c := range []struct {
		name     string
		patience time.Duration
		want     importResult
	}{
		{"and waits for what is on its way", time.Minute, importResult{Read: 3 * importBatch, Taken: 3 * importBatch}},
		{"and does not wait", 0, importResult{Read: 3 * importBatch, Taken: importBatch, Unsure: 2 * importBatch}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			under, stored := make(chan struct{}, importFlying+1), make(chan struct{})
			asked := make(chan struct{}, 5)
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var q api.Submissions
				body, err := io.ReadAll(r.Body)
				if err = errors.Join(err, json.Unmarshal(body, &q)); err != nil {
					t.Errorf("request: %v", err)
					return
				}
				asked <- struct{}{}
				if q.Notices[0].Value != "v0.example" {
					under <- struct{}{}
					select {
					case <-stored:
					case <-r.Context().Done(): // given up
						return
					}
				}
				out := api.SubmitAnswer{Notices: make([]api.NoticeView, len(q.Notices))}
				for i := range out.Notices {
					out.Notices[i].Audience = "local"
				}
				_ = json.NewEncoder(w).Encode(out) // after giving up nobody listens
			}))
			defer s.Close()
			node, err := client.New(client.Config{URL: s.URL, Token: "t"})
			if err != nil {
				t.Fatal(err)
			}
			defer node.Close()
			set := newSpool()
			defer set.close()
			for n := range 5 * importBatch {
				if err := set.add(found{S: api.Submission{Value: fmt.Sprintf("v%d.example", n)}}); err != nil {
					t.Fatal(err)
				}
			}
			var out bytes.Buffer
			i := importer{client: node, out: &out, errOut: &out, patience: c.patience, reach: map[string]int{}}
			i.total.Read = 5 * importBatch
			go func() { // the first batch is stored, the next two are on their way
				<-under
				<-under
				stop()
				if c.patience > 0 {
					close(stored)
				}
			}()
			if err := i.submit(ctx, set, strings.Repeat("0", 64)); err == nil {
				t.Error("a stopped import says that all is done")
			}
			if i.total.Read != c.want.Read || i.total.Taken != c.want.Taken || i.total.Unsure != c.want.Unsure {
				t.Errorf("read %d, taken %d, unsure %d; want %d, %d, %d", i.total.Read, i.total.Taken, i.total.Unsure, c.want.Read, c.want.Taken, c.want.Unsure)
			}
			if len(asked) != 3 {
				t.Errorf("%d batches were sent, want 3", len(asked))
			}
			i.summary()
			if said := strings.Contains(out.String(), "at least 2000 were taken and up to 6000."); said != (c.want.Unsure > 0) {
				t.Errorf("it says:\n%s", &out)
			}
		})
	}
}
