package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// problemPrefix starts the type of every problem. The word after it is stable.
const problemPrefix = "urn:watchward:problem:"

const (
	detailsMax     = 100 // errors named in one problem
	shownBytesMax  = 80  // bytes of input quoted back
	contentProblem = "application/problem+json"
)

// Problem is an error as RFC 9457 has it, plus the fix. It is a Go error.
type Problem struct {
	Type   string   `json:"type" doc:"urn:watchward:problem: and a stable word"`
	Title  string   `json:"title" doc:"What kind of problem this is"`
	Status int      `json:"status" doc:"HTTP status"`
	Detail string   `json:"detail" doc:"What is wrong here"`
	Fix    string   `json:"fix,omitempty" doc:"What to do about it"`
	Errors []Detail `json:"errors,omitempty" doc:"Each thing that is wrong, at most 100"`

	Refused []Refused `json:"refused,omitempty" doc:"When all notices of a POST were refused: each of them"`

	header http.Header
}

// Detail is one thing that is wrong.
type Detail struct {
	Location string `json:"location" doc:"Where: body.notices[3].value, query.limit, header.Authorization"`
	Message  string `json:"message" doc:"What is wrong there"`
	Value    any    `json:"value,omitempty" doc:"What was found, shortened"`
	Fix      string `json:"fix,omitempty" doc:"What to do about it"`
}

func problem(status int, word, title, detail, fix string) *Problem {
	return &Problem{Type: problemPrefix + word, Title: title, Status: status, Detail: detail, Fix: fix}
}

func (p *Problem) at(location string, value string) *Problem {
	d := Detail{Location: location, Message: p.Detail}
	if value != "" {
		d.Value = shorten(value)
	}
	p.Errors = append(p.Errors, d)
	return p
}

func (p *Problem) with(key, value string) *Problem {
	if p.header == nil {
		p.header = http.Header{}
	}
	p.header.Set(key, value)
	return p
}

// Word returns the stable word of the problem's type.
func (p *Problem) Word() string { return strings.TrimPrefix(p.Type, problemPrefix) }

func (p *Problem) Error() string {
	if p.Fix == "" {
		return p.Detail
	}
	return p.Detail + ": " + p.Fix
}

// GetStatus returns the HTTP status; huma asks for it.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders returns headers to send along; huma asks for them.
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType returns the media type of problems; huma asks for it.
func (p *Problem) ContentType(string) string { return contentProblem }

// write sends the problem outside of huma's routes.
func (p *Problem) write(w http.ResponseWriter) {
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte(`{"title":"Internal error","status":500}`)
		p.Status = http.StatusInternalServerError
	}
	h := w.Header()
	for key, values := range p.header {
		h[key] = values
	}
	h.Set("Content-Type", contentProblem)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // nobody is left to tell when the client is gone
}

// asProblem is a huma transformer: huma's own errors, which come from checking
// parameters, get the same shape as all others.
func asProblem(_ huma.Context, _ string, v any) (any, error) {
	e, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	if e.Status >= 500 {
		return internalProblem(), nil
	}
	p := problem(e.Status, "bad-parameter", "A parameter is refused", e.Detail, "see /openapi.json for the parameters of this path")
	for _, d := range e.Errors {
		if d == nil || len(p.Errors) == detailsMax {
			continue
		}
		detail := Detail{Location: shorten(d.Location), Message: shorten(d.Message)}
		if s, ok := d.Value.(string); ok && s != "" {
			detail.Value = shorten(s)
		}
		p.Errors = append(p.Errors, detail)
	}
	if len(p.Errors) > 0 {
		p.Detail = p.Errors[0].Location + ": " + p.Errors[0].Message
	}
	return p, nil
}

// shorten cuts s for display and escapes what a terminal might act on.
func shorten(s string) string { return shortenTo(s, shownBytesMax) }

func shortenTo(s string, n int) string {
	short := cut(s, n)
	quoted := strconv.QuoteToGraphic(short)
	out := strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
	if len(short) < len(s) {
		out += "…"
	}
	return out
}
