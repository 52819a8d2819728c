package misp_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/node/misp"
)

// scripted answers each request with the next text.
type scripted struct {
	retry string
	texts []string
}

func (s *scripted) RoundTrip(r *http.Request) (*http.Response, error) {
	if len(s.texts) == 0 {
		return &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {s.retry}}, Body: io.NopCloser(strings.NewReader(s.retry)), Request: r}, nil
	}
	text := s.texts[0]
	s.texts = s.texts[1:]
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

// Whatever a server answers, a pull ends, and its position only goes forward.
func FuzzPull(f *testing.F) {
	e := remote{UUID: uuidOf("a"), Published: 9, Value: "a.example"}
	f.Add(`{"response":[`+e.json(true)+`]}`, `{"response":[]}`, `{"response":[`+e.json(false)+`]}`, "7")
	f.Add(`[{"Sighting":{"uuid":"x","date_sighting":"1","Event":{"uuid":"y"}}}]`, `[]`, `{}`, "Sun, 01 Mar 2026 12:00:00 GMT")
	f.Fuzz(func(t *testing.T, first, second, third, retry string) {
		from := misp.Position{Events: misp.Window{Since: 3}, Sightings: misp.Window{Since: 3}}
		for _, pull := range []func(*misp.Client, misp.Intake) (misp.Position, error){
			func(c *misp.Client, in misp.Intake) (misp.Position, error) {
				return c.Pull(context.Background(), from, in)
			},
			func(c *misp.Client, in misp.Intake) (misp.Position, error) {
				return c.PullFeed(context.Background(), from, in)
			},
		} {
			client, err := misp.New(misp.Config{
				URL: "https://misp.example", Transport: &scripted{retry, []string{first, second, third}}, Now: func() time.Time { return noon },
			})
			if err != nil {
				t.Fatal(err)
			}
			var b basket
			in := b.intake()
			in.Sightings = true
			at, err := pull(client, in)
			if at.Events.Since < 3 || at.Events.Since > noon.Unix() || at.Sightings.Since < 3 || at.Sightings.Since > noon.Unix() {
				t.Errorf("%+v", at)
			}
			if refused := (*misp.Error)(nil); errors.As(err, &refused) && (refused.RetryAfter < 0 || refused.RetryAfter > 24*time.Hour) {
				t.Errorf("%v", refused)
			}
		}
	})
}
