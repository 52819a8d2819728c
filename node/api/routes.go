package api

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/notice"
)

// route is what the guard must know of a route. Its zero value refuses all but
// admins with the body unread.
type route struct {
	open    bool       // anybody may ask
	need    token.Role // otherwise the role needed …
	ceiling notice.TLP // … and the lowest ceiling
	body    bool       // has a JSON body
	stream  bool       // no time limit
}

// register fills the table of routes. Every route of the server is here.
func (s *Server) register() {
	read := route{need: token.Reader}
	add(s, read, get("status", "/v1/status", "How this node is"), s.status)
	add(s, read, get("list-notices", "/v1/notices", "List notices, newest first"), s.listNotices)
	add(s, read, get("get-notice", "/v1/notices/{id}", "One notice with the proof that its author signed it"), s.getNotice)
	s.registerProof(read)
	s.registerSituation(read)
	s.registerAdvisories(read)
	add(s, read, get("get-indicator", "/v1/indicators", "What is known of one value, with the evidence"), s.getIndicator)
	add(s, read, get("list-members", "/v1/members", "Who is in the region"), s.listMembers)
	s.registerAlerts(read)
	stream := answering(get("stream", "/v1/stream", "Follow notices as they arrive"), "text/event-stream", nil)
	stream.Description = "Server-sent events named notice, each with a notice as data. The last of those that arrived together carries an id to go on from."
	add(s, route{need: token.Reader, stream: true}, stream, s.stream)
	export := answering(get("export", "/v1/export", "Everything within a ceiling as one file"), "application/stix+json;version=2.1", nil)
	for _, format := range exportFormats {
		_, mediaType := newExporter(format, "", nil)
		schema := &huma.Schema{Type: huma.TypeObject}
		if format == "csv" {
			schema.Type = huma.TypeString
		}
		export.Responses["200"].Content[mediaType] = &huma.MediaType{Schema: schema}
	}
	export.Description = "What has no marking is left out unless asked for. An answer that breaks off is not whole: its connection is cut. " +
		"The trailer " + ExportTrailer + " is a JSON object that says how many notices are in it and how many were left out: stricter than the ceiling, never in an export, or without a marking."
	add(s, route{need: token.Reader, stream: true}, export, s.export)
	lookup := post[LookupRequest](s, "lookup", "/v1/lookup", "What is known of up to 10,000 values")
	lookup = answering(lookup, "application/json", s.schema(LookupAnswers{}))
	add(s, route{need: token.Reader, body: true}, lookup, s.lookup)
	add(s, route{need: token.Reader, ceiling: notice.TLPAmberStrict, body: true},
		post[HuntRequest](s, "hunt", "/v1/hunt", "When up to 10,000 values were in this hospital's own logs, which have no marking and so count as AMBER+STRICT"), s.hunt)
	add(s, route{need: token.Reporter, body: true}, submitOperation(s), s.submit)
	s.registerBundle()
	s.registerDocuments()
	s.registerRecords()
	s.registerRegion()
	s.registerLedger()
	s.registerFeeds()
	s.registerPolicies()
	s.registerLogs()

	admin := route{need: token.Admin}
	add(s, admin, get("get-cuts", "/v1/region/cuts", "How far this node holds what a member said, for its revocation"), s.getCuts)
	add(s, admin, get("list-tokens", "/v1/tokens", "List tokens; secrets are not kept"), s.listTokens)
	create := post[TokenRequest](s, "create-token", "/v1/tokens", "Make a token; its secret is shown this once")
	create.DefaultStatus = http.StatusCreated
	add(s, route{need: token.Admin, body: true}, create, s.createToken)
	revoke := operation(http.MethodDelete, "revoke-token", "/v1/tokens/{id}", "Revoke a token by its id or name, at once")
	add(s, admin, revoke, s.revokeToken)

	metrics := route{need: token.Reader, ceiling: notice.TLPRed}
	if s.c.MetricsPublic {
		metrics = route{open: true}
	}
	open := route{open: true}
	add(s, metrics, answering(get("metrics", "/metrics", "Prometheus metrics; they count all markings, so a token needs the ceiling RED"), "text/plain", nil), s.metrics)
	add(s, open, answering(get("healthz", "/healthz", "The process is alive"), "text/plain", nil), s.healthz)
	add(s, open, answering(get("readyz", "/readyz", "The store is open and the identity loaded"), "text/plain", nil), s.readyz)
	add(s, open, answering(get("openapi", "/openapi.json", "This description"), "application/openapi+json", nil), s.openAPI)
}

func get(id, path, summary string) huma.Operation {
	return operation(http.MethodGet, id, path, summary)
}

func operation(method, id, path, summary string) huma.Operation {
	return huma.Operation{Method: method, OperationID: id, Path: path, Summary: summary}
}

// answering describes an answer that is not made by huma. A nil schema is text.
func answering(o huma.Operation, contentType string, schema *huma.Schema) huma.Operation {
	if schema == nil {
		schema = &huma.Schema{Type: huma.TypeString}
	}
	o.Responses = map[string]*huma.Response{"200": {
		Description: "OK", Content: map[string]*huma.MediaType{contentType: {Schema: schema}},
	}}
	return o
}

// schema returns a reference to the schema of v's type.
func (s *Server) schema(v any) *huma.Schema {
	t := reflect.TypeOf(v)
	return s.huma.OpenAPI().Components.Schemas.Schema(t, true, t.Name())
}

// post describes an operation with a JSON body of type B. The body is decoded by
// the handler and not by huma: ours is strict and fast (json.go). So huma is
// shown the body only after it has built the route.
func post[B any](s *Server, id, path, summary string) huma.Operation {
	o := operation(http.MethodPost, id, path, summary)
	var b B
	o.Metadata = map[string]any{"body": s.schema(b)}
	return o
}

// add registers a route with huma and in the guard's table.
func add[I, O any](s *Server, rt route, o huma.Operation, handle func(context.Context, *I) (*O, error)) {
	schema := s.schema(Problem{})
	problemResponse := func(text string) *huma.Response {
		return &huma.Response{Description: text, Content: map[string]*huma.MediaType{contentProblem: {Schema: schema}}}
	}
	if o.Responses == nil {
		o.Responses = map[string]*huma.Response{}
	}
	o.Responses["default"] = problemResponse("A problem, with its fix")
	if !rt.open {
		o.Responses["401"] = problemResponse("No token, or a wrong one")
		o.Responses["403"] = problemResponse("The token is too weak")
		o.Security = []map[string][]string{{"token": {rt.need.String()}}}
	} else {
		o.Responses["421"] = problemResponse("Not a host of this node")
	}
	o.SkipValidateBody = true
	body, _ := o.Metadata["body"].(*huma.Schema)
	o.Metadata = nil
	huma.Register(s.huma, o, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err == nil {
			return out, nil
		}
		p, internal := problemOf(err)
		if internal != nil {
			s.log.Error("request failed", "operation", o.OperationID, "err", internal)
		}
		return nil, p
	})
	s.routes[o.Method+" "+o.Path] = rt
	if body != nil {
		registered := s.huma.OpenAPI().Paths[o.Path].Post
		registered.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: body}}}
	}
}

// describe renders the OpenAPI description once; routes do not change.
func (s *Server) describe() error {
	schemas := s.huma.OpenAPI().Components.Schemas.Map()
	delete(schemas, "ErrorModel") // huma's own shape of errors, which asProblem replaces
	delete(schemas, "ErrorDetail")
	for _, schema := range schemas {
		neverNull(schema)
	}
	paths := s.huma.OpenAPI().Paths
	for path, item := range maps.Clone(paths) {
		if whole := strings.Replace(path, "...}", "}", 1); whole != path { // OpenAPI knows no wildcards
			delete(paths, path)
			paths[whole] = item
		}
	}
	raw, err := json.MarshalIndent(s.huma.OpenAPI(), "", "  ")
	if err != nil {
		return fmt.Errorf("api: describe routes: %w", err)
	}
	s.openapi = append(raw, '\n')
	return nil
}

// neverNull takes back huma's guess that a Go slice may be null in JSON: ours
// are always lists.
func neverNull(schema *huma.Schema) {
	for _, p := range schema.Properties {
		if p.Type == huma.TypeArray {
			p.Nullable = false
		}
		neverNull(p)
	}
}

// raw is an answer whose bytes are ready.
type raw struct {
	Status      int
	ContentType string `header:"Content-Type" hidden:"true"`
	Length      string `header:"Content-Length" hidden:"true"`
	Body        []byte
}

func rawAnswer(contentType string, body []byte) *raw {
	return &raw{Status: http.StatusOK, ContentType: contentType, Length: strconv.Itoa(len(body)), Body: body}
}

func (s *Server) healthz(context.Context, *struct{}) (*raw, error) {
	return rawAnswer("text/plain; charset=utf-8", []byte("ok\n")), nil
}

func (s *Server) readyz(ctx context.Context, _ *struct{}) (*raw, error) {
	if err := s.c.Node.Ready(ctx); err != nil {
		p, internal := problemOf(err)
		if internal != nil {
			s.log.Warn("not ready", "err", internal)
			p = problem(http.StatusServiceUnavailable, "not-ready", "Not ready", "the node is starting or its store is closed", "the node's log says why")
		}
		return nil, p
	}
	return rawAnswer("text/plain; charset=utf-8", []byte("ready\n")), nil
}

func (s *Server) openAPI(context.Context, *struct{}) (*raw, error) {
	return rawAnswer("application/openapi+json", s.openapi), nil
}

func (s *Server) metrics(context.Context, *struct{}) (*huma.StreamResponse, error) {
	if s.c.Gatherer == nil {
		return nil, problem(http.StatusNotFound, "no-metrics", "No metrics", "this node keeps no metrics", "")
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		promhttp.HandlerFor(s.c.Gatherer, promhttp.HandlerOpts{MaxRequestsInFlight: 4}).ServeHTTP(w, r)
	}}, nil
}

type statusAnswer struct{ Body Status }

func (s *Server) status(ctx context.Context, _ *struct{}) (*statusAnswer, error) {
	status, err := s.c.Node.Status(ctx, callerOf(ctx).ceiling)
	if err != nil {
		return nil, err
	}
	status.Listen, status.Warnings = list(status.Listen), list(status.Warnings)
	return &statusAnswer{status}, nil
}

// list returns an empty list for nil, so that JSON has [] and never null.
func list[T any](v []T) []T {
	if v == nil {
		return []T{}
	}
	return v
}
