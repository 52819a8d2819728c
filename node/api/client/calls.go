package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/watchward/watchward/node/api"
)

// SubmitOptions hold for all notices of a call.
type SubmitOptions struct {
	TLP          string // marking of the notices that have none
	Local        bool   // keep them on the node
	DryRun       bool
	AllowSpecial bool
	Again        bool   // take imports again that were retracted
	Elsewhere    bool   // it is known from elsewhere too: what is held under a stricter marking does not bind
	Exercise     string // one of api.Exercise…; "" = as the node has it
	Idempotency  string
}

// Submit states at most api.SubmissionsMax notices. That all were refused is
// not an error: Refused says why.
func (c *Client) Submit(ctx context.Context, items []api.Submission, o SubmitOptions) (api.SubmitAnswer, error) {
	query := url.Values{}
	if o.TLP != "" {
		query.Set("tlp", o.TLP)
	}
	if o.Local {
		query.Set("share", "false")
	}
	if o.DryRun {
		query.Set("dry_run", "true")
	}
	if o.AllowSpecial {
		query.Set("allow_special", "true")
	}
	if o.Again {
		query.Set("again", "true")
	}
	if o.Elsewhere {
		query.Set("known_elsewhere", "true")
	}
	set(query, "exercise", o.Exercise)
	header := http.Header{}
	if o.Idempotency != "" {
		header.Set("Idempotency-Key", o.Idempotency)
	}
	var out api.SubmitAnswer
	err := c.call(ctx, http.MethodPost, "/v1/notices", query, header, api.Submissions{Notices: items}, &out)
	var e *Error
	if errors.As(err, &e) && e.Problem != nil && len(e.Problem.Refused) > 0 {
		return api.SubmitAnswer{Notices: []api.NoticeView{}, Refused: e.Problem.Refused}, nil
	}
	return out, err
}

// NoticesQuery selects notices; zero values select all.
type NoticesQuery struct {
	Kind   string
	Mine   bool
	Search string
	Since  time.Time
	Limit  int // 1 … api.PageMax; 0 = the server's default
	Next   string
}

// Notices returns a page, newest first.
func (c *Client) Notices(ctx context.Context, q NoticesQuery) (out api.NoticesAnswer, err error) {
	query := page(q.Since, q.Limit, q.Next)
	set(query, "kind", q.Kind)
	set(query, "search", q.Search)
	if q.Mine {
		query.Set("author", "me")
	}
	err = c.call(ctx, http.MethodGet, "/v1/notices", query, nil, nil, &out)
	return out, err
}

// Situation returns the regional picture, with what changed since a time unless that
// is zero.
func (c *Client) Situation(ctx context.Context, since time.Time) (out api.Situation, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/situation", page(since, 0, ""), nil, nil, &out)
	return out, err
}

// AdvisoriesQuery selects advisories; zero values select all.
type AdvisoriesQuery struct {
	Search, Product, Supplier string
	Mine, Open                bool
	Since                     time.Time
	Limit                     int // 1 … api.PageMax; 0 = the server's default
	Next                      string
}

// Advisories returns a page, the last to arrive first.
func (c *Client) Advisories(ctx context.Context, q AdvisoriesQuery) (out api.AdvisoriesAnswer, err error) {
	query := page(q.Since, q.Limit, q.Next)
	set(query, "search", q.Search)
	set(query, "product", q.Product)
	set(query, "supplier", q.Supplier)
	if q.Mine {
		query.Set("author", "me")
	}
	flag(query, "open", q.Open)
	err = c.call(ctx, http.MethodGet, "/v1/advisories", query, nil, nil, &out)
	return out, err
}

// Advisory returns one, with who has acted.
func (c *Client) Advisory(ctx context.Context, id string) (out api.AdvisoryView, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/advisories/"+url.PathEscape(id), nil, nil, nil, &out)
	return out, err
}

// Questions returns the questions of others that wait for an answer.
func (c *Client) Questions(ctx context.Context) (out api.QuestionsAnswer, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/questions", nil, nil, nil, &out)
	return out, err
}

// Alerts returns a page, newest first.
func (c *Client) Alerts(ctx context.Context, since time.Time, limit int, next string) (out api.AlertsAnswer, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/alerts", page(since, limit, next), nil, nil, &out)
	return out, err
}

// AckAlert says that somebody looks after an alert.
func (c *Client) AckAlert(ctx context.Context, id string) (out api.AlertView, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/alerts/"+url.PathEscape(id)+"/ack", nil, nil, nil, &out)
	return out, err
}

// TestSinks sends a test to one sink, or with "" to all.
func (c *Client) TestSinks(ctx context.Context, sink string) ([]api.SinkTest, error) {
	var out api.SinkTests
	query := url.Values{}
	set(query, "sink", sink)
	err := c.call(ctx, http.MethodPost, "/v1/alerts/test", query, nil, nil, &out)
	return out.Sinks, err
}

// Silences returns what is kept from telling anybody at once.
func (c *Client) Silences(ctx context.Context) ([]api.SilenceView, error) {
	var out api.SilencesAnswer
	err := c.call(ctx, http.MethodGet, "/v1/silences", nil, nil, nil, &out)
	return out.Silences, err
}

// Silence makes a silence.
func (c *Client) Silence(ctx context.Context, q api.SilenceRequest) (out api.SilenceView, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/silences", nil, nil, q, &out)
	return out, err
}

// EndSilence ends a silence.
func (c *Client) EndSilence(ctx context.Context, id string) (out api.SilenceView, err error) {
	err = c.call(ctx, http.MethodDelete, "/v1/silences/"+url.PathEscape(id), nil, nil, nil, &out)
	return out, err
}

func page(since time.Time, limit int, next string) url.Values {
	query := url.Values{}
	if !since.IsZero() {
		query.Set("since", since.UTC().Format(time.RFC3339Nano))
	}
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	set(query, "next", next)
	return query
}

func set(query url.Values, key, value string) {
	if value != "" {
		query.Set(key, value)
	}
}

// Notice returns one notice with its proof.
func (c *Client) Notice(ctx context.Context, id string) (out api.NoticeAnswer, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/notices/"+url.PathEscape(id), nil, nil, nil, &out)
	return out, err
}

// ProofFile returns a notice in a file that proves itself.
func (c *Client) ProofFile(ctx context.Context, id string) ([]byte, error) {
	return c.file(ctx, "/v1/notices/"+url.PathEscape(id)+"/proof", nil)
}

// RegionFile returns what a verifier needs to know of the node's region, with
// members also who they are.
func (c *Client) RegionFile(ctx context.Context, members bool) ([]byte, error) {
	query := url.Values{}
	flag(query, "members", members)
	return c.file(ctx, "/v1/region/file", query)
}

// Indicator returns what is known of a value; an empty type is detected.
func (c *Client) Indicator(ctx context.Context, typ, value string) (out api.IndicatorView, err error) {
	query := url.Values{"value": {value}}
	set(query, "type", typ)
	err = c.call(ctx, http.MethodGet, "/v1/indicators", query, nil, nil, &out)
	return out, err
}

// Status returns how the node is.
func (c *Client) Status(ctx context.Context) (out api.Status, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/status", nil, nil, nil, &out)
	return out, err
}

// Members returns who is in the region.
func (c *Client) Members(ctx context.Context) ([]api.MemberView, error) {
	var out api.MembersAnswer
	err := c.call(ctx, http.MethodGet, "/v1/members", nil, nil, nil, &out)
	return out.Members, err
}

// Cuts returns how far the node holds what a member said with a serial; 0 means
// its latest.
func (c *Client) Cuts(ctx context.Context, member string, serial uint32) (api.CutsAnswer, error) {
	var out api.CutsAnswer
	query := url.Values{"member": {member}}
	if serial != 0 {
		query.Set("serial", strconv.FormatUint(uint64(serial), 10))
	}
	err := c.call(ctx, http.MethodGet, "/v1/region/cuts", query, nil, nil, &out)
	return out, err
}

// Tokens lists the node's tokens.
func (c *Client) Tokens(ctx context.Context) ([]api.TokenView, error) {
	var out api.TokensAnswer
	err := c.call(ctx, http.MethodGet, "/v1/tokens", nil, nil, nil, &out)
	return out.Tokens, err
}

// CreateToken makes a token; its secret is in the answer and nowhere else.
func (c *Client) CreateToken(ctx context.Context, q api.TokenRequest) (out api.NewToken, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/tokens", nil, nil, q, &out)
	return out, err
}

// RevokeToken revokes a token by its id or name.
func (c *Client) RevokeToken(ctx context.Context, idOrName string) (out api.TokenView, err error) {
	err = c.call(ctx, http.MethodDelete, "/v1/tokens/"+url.PathEscape(idOrName), nil, nil, nil, &out)
	return out, err
}
