package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/watchward/watchward/node/api"
)

const incidentsPath = "/v1/incidents"

func incidentPath(number, rest string) string {
	return incidentsPath + "/" + url.PathEscape(number) + rest
}

// Incidents returns the incidents of this house, those that are open first.
func (c *Client) Incidents(ctx context.Context) ([]api.IncidentView, error) {
	var out api.IncidentsAnswer
	err := c.call(ctx, http.MethodGet, incidentsPath, nil, nil, nil, &out)
	return out.Incidents, err
}

// Incident returns one.
func (c *Client) Incident(ctx context.Context, number string) (out api.IncidentView, err error) {
	err = c.call(ctx, http.MethodGet, incidentPath(number, ""), nil, nil, nil, &out)
	return out, err
}

// OpenIncident begins one.
func (c *Client) OpenIncident(ctx context.Context, q api.IncidentChange) (out api.IncidentView, err error) {
	err = c.call(ctx, http.MethodPost, incidentsPath, nil, nil, q, &out)
	return out, err
}

// UpdateIncident says what is known of one.
func (c *Client) UpdateIncident(ctx context.Context, number string, q api.IncidentChange) (out api.IncidentView, err error) {
	err = c.call(ctx, http.MethodPost, incidentPath(number, ""), nil, nil, q, &out)
	return out, err
}

// DraftIncident makes a report of what is known now.
func (c *Client) DraftIncident(ctx context.Context, number, stage string) (out api.DraftView, err error) {
	err = c.call(ctx, http.MethodPost, incidentPath(number, "/drafts"), nil, nil, api.IncidentDraft{Stage: stage}, &out)
	return out, err
}

// Draft returns the last draft of a stage as a document: html or json. A lang of "" is
// the node's.
func (c *Client) Draft(ctx context.Context, number, stage, format, lang string) ([]byte, error) {
	return c.file(ctx, incidentPath(number, "/drafts/"+url.PathEscape(stage)), document(format, lang))
}

// Filing returns a report that was sent or received, as Draft does.
func (c *Client) Filing(ctx context.Context, id, format, lang string) ([]byte, error) {
	return c.file(ctx, "/v1/filings/"+url.PathEscape(id), document(format, lang))
}

func document(format, lang string) url.Values {
	query := url.Values{"format": {format}}
	set(query, "lang", lang)
	return query
}

// SendIncident sends a draft, or notes where it was handed in.
func (c *Client) SendIncident(ctx context.Context, number string, q api.IncidentSend) (out api.IncidentSent, err error) {
	err = c.call(ctx, http.MethodPost, incidentPath(number, "/send"), nil, nil, q, &out)
	return out, err
}

// CloseIncident closes one.
func (c *Client) CloseIncident(ctx context.Context, number, why string) (out api.IncidentView, err error) {
	err = c.call(ctx, http.MethodPost, incidentPath(number, "/close"), nil, nil, api.IncidentClose{Why: why}, &out)
	return out, err
}
