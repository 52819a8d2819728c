package api

import (
	"context"
	"net/http"
	"time"

	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/notice"
)

// Limits of what silences say.
const (
	silenceWordsMax = 64
	silenceBytesMax = 200
	silenceLifeMax  = 30 * 24 * time.Hour
)

// AlertsNode is the part of a Node that tells people.
type AlertsNode interface {
	// Alerts returns a page, newest first, and the cursor of the next page.
	Alerts(ctx context.Context, q AlertQuery) ([]AlertView, string, error)
	// AckAlert notes that somebody looks after an alert; false if none with that id is
	// visible under the ceiling, or it asked nobody.
	AckAlert(ctx context.Context, id, by string, ceiling notice.TLP) (AlertView, bool, error)
	// Silences returns what holds, what ends first in front.
	Silences(ctx context.Context) ([]SilenceView, error)
	// Silence makes one. Its errors may be a *notice.FieldError.
	Silence(ctx context.Context, q SilenceRequest, by string) (SilenceView, error)
	// EndSilence ends one; false if there is none with that id.
	EndSilence(ctx context.Context, id string) (SilenceView, bool, error)
	// TestSinks sends a test to one sink, or with "" to all; false if there is none of
	// that name.
	TestSinks(ctx context.Context, name string) ([]SinkTest, bool, error)
}

// SilenceRequest is the body of POST /v1/silences.
type SilenceRequest struct {
	Match   map[string][]string `json:"match" doc:"By field (kind, severity, value, family, author, region, type, notice or verdict) the words of which an alert must have one"`
	Seconds int64               `json:"seconds" minimum:"60" maximum:"2592000" doc:"How long it holds"`
	Why     string              `json:"why" maxLength:"500" doc:"For whoever wonders later"`
}

// SilenceView keeps alerts from telling anybody at once; the daily digest has them.
type SilenceView struct {
	ID      string              `json:"id"`
	Match   map[string][]string `json:"match"`
	Created Time                `json:"created"`
	Until   Time                `json:"until"`
	Why     string              `json:"why"`
	By      string              `json:"by" doc:"Name of the token"`
}

// SilencesAnswer lists the silences.
type SilencesAnswer struct {
	Silences []SilenceView `json:"silences"`
}

// SinkTest is what became of a test.
type SinkTest struct {
	Sink    string  `json:"sink"`
	Type    string  `json:"type" doc:"webhook, chat, alertmanager, syslog, smtp or command"`
	TLP     string  `json:"tlp" doc:"The strictest marking that goes there"`
	OK      bool    `json:"ok"`
	Error   string  `json:"error,omitempty"`
	Millis  float64 `json:"ms" doc:"How long it took"`
	Waiting int64   `json:"waiting,omitempty" doc:"Messages that wait for it"`
}

// SinkTests are the answer of POST /v1/alerts/test.
type SinkTests struct {
	Sinks []SinkTest `json:"sinks"`
}

func (s *Server) registerAlerts(read route) {
	add(s, read, get("list-alerts", "/v1/alerts", "What a person should know, newest first"), s.listAlerts)
	report := route{need: token.Reporter}
	add(s, report, operation(http.MethodPost, "ack-alert", "/v1/alerts/{id}/ack", "Say that somebody looks after an alert, so that nobody else is told"), s.ackAlert)
	test := operation(http.MethodPost, "test-sinks", "/v1/alerts/test", "Send a test through each sink, or one")
	add(s, route{need: token.Admin, stream: true}, test, s.testSinks) // it may take as long as sinks do
	house := route{need: token.Reader, ceiling: notice.TLPAmberStrict}
	add(s, house, get("list-silences", "/v1/silences", "What is kept from telling anybody at once"), s.listSilences)
	silence := post[SilenceRequest](s, "silence", "/v1/silences", "Keep alerts from telling anybody at once, for a while")
	silence.DefaultStatus = http.StatusCreated
	add(s, route{need: token.Reporter, ceiling: notice.TLPAmberStrict, body: true}, silence, s.silence)
	end := operation(http.MethodDelete, "end-silence", "/v1/silences/{id}", "End a silence at once")
	add(s, route{need: token.Reporter, ceiling: notice.TLPAmberStrict}, end, s.endSilence)
}

type alertIDInput struct {
	ID string `path:"id" maxLength:"64" doc:"Of the alert"`
}

type alertOutput struct{ Body AlertView }

func (s *Server) ackAlert(ctx context.Context, in *alertIDInput) (*alertOutput, error) {
	c := callerOf(ctx)
	v, found, err := s.c.Node.AckAlert(ctx, in.ID, c.name, c.ceiling)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, problem(http.StatusNotFound, "no-such-alert", "No such alert", "no alert with this id paged anybody, or it is marked above the token's ceiling",
			"see GET /v1/alerts: what has a state can be acknowledged").at("path.id", in.ID)
	}
	return &alertOutput{v}, nil
}

type silencesOutput struct{ Body SilencesAnswer }

func (s *Server) listSilences(ctx context.Context, _ *struct{}) (*silencesOutput, error) {
	all, err := s.c.Node.Silences(ctx)
	if err != nil {
		return nil, err
	}
	return &silencesOutput{SilencesAnswer{list(all)}}, nil
}

type silenceOutput struct{ Body SilenceView }

func (s *Server) silence(ctx context.Context, _ *struct{}) (*silenceOutput, error) {
	q, err := decodeSilence(bodyOf(ctx))
	if err != nil {
		return nil, err
	}
	v, err := s.c.Node.Silence(ctx, q, callerOf(ctx).name)
	if err != nil {
		return nil, err
	}
	return &silenceOutput{v}, nil
}

func decodeSilence(body []byte) (q SilenceRequest, err error) {
	err = decodeBody(body, func(r *jsonReader) error {
		return r.object(func(key string) (err error) {
			switch key {
			case "match":
				q.Match = map[string][]string{}
				return r.object(func(field string) error {
					return r.array(func(i int) error {
						if i >= silenceWordsMax || len(q.Match) > silenceWordsMax {
							return r.bad("", "too many words", "make several silences")
						}
						w, err := r.text()
						if err == nil && (w == "" || len(w) > silenceBytesMax) {
							return r.bad(w, "this is no word to choose by", "give 1 to 200 bytes")
						}
						q.Match[field] = append(q.Match[field], w)
						return err
					})
				})
			case "seconds":
				n, err := r.uint(uint64(silenceLifeMax / time.Second))
				q.Seconds = int64(n)
				return err
			case "why":
				q.Why, err = r.text()
				return err
			}
			return r.unknown(key, "match, seconds, why")
		})
	})
	return q, err
}

func (s *Server) endSilence(ctx context.Context, in *alertIDInput) (*silenceOutput, error) {
	v, found, err := s.c.Node.EndSilence(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, problem(http.StatusNotFound, "no-such-silence", "No such silence", "no silence with this id holds", "see GET /v1/silences").at("path.id", in.ID)
	}
	return &silenceOutput{v}, nil
}

type testInput struct {
	Sink string `query:"sink" maxLength:"40" doc:"Name of a sink; left out: all"`
}

type testOutput struct{ Body SinkTests }

func (s *Server) testSinks(ctx context.Context, in *testInput) (*testOutput, error) {
	tests, found, err := s.c.Node.TestSinks(ctx, in.Sink)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, problem(http.StatusNotFound, "no-such-sink", "No such sink", "there is no sink of that name",
			"name one of [[alerts.sinks]] in the configuration").at("query.sink", in.Sink)
	}
	return &testOutput{SinkTests{list(tests)}}, nil
}
