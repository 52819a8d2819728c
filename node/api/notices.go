package api

import (
	"bytes"
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// Bounds of requests about notices.
const (
	SubmissionsMax   = 10_000 // notices in one request
	idempotencyMax   = 128    // bytes of an Idempotency-Key
	PageMax          = 1_000  // notices or alerts of one page
	countMax         = 999_999_999
	recipientsMax    = 32 // of one notice
	submissionFields = "kind, value, type, tlp, first_seen, last_seen, count, valid_until, context, origin, ref, reason, to, notice, urgent, " + partFields
	submissionHelp   = "see /openapi.json, Submission, for the fields"
)

type submitInput struct {
	TLP          string `query:"tlp" doc:"Marking of the notices that have none"`
	Share        bool   `query:"share" default:"true" doc:"false: keep them on this node. To share, a marking is required"`
	DryRun       bool   `query:"dry_run" doc:"Check everything, store nothing"`
	AllowSpecial bool   `query:"allow_special" doc:"Take private and special-use addresses and names"`
	Again        bool   `query:"again" doc:"Take what is imported also where the same was retracted here"`
	Elsewhere    bool   `query:"known_elsewhere" doc:"The caller has it from somebody else too: what is held here under a stricter marking does not bind"`
	Idempotency  string `header:"Idempotency-Key" maxLength:"128" doc:"The same key within 7 days returns the same ids"`
}

// Submissions is the body of POST /v1/notices with many notices. One notice may
// also be the body itself.
type Submissions struct {
	Notices []Submission `json:"notices" maxItems:"10000" doc:"The notices"`
}

// SubmitAnswer says what became of each notice.
type SubmitAnswer struct {
	Notices []NoticeView `json:"notices" doc:"What was taken or known before, in the order of the request"`
	Refused []Refused    `json:"refused" doc:"What was not taken, and why; the others were"`
	Absent  []int        `json:"absent,omitempty" doc:"Places in the request of retractions by origin that found nothing to take back"`
}

type submitOutput struct {
	Status int
	Body   SubmitAnswer
}

func submitOperation(s *Server) huma.Operation {
	o := operation(http.MethodPost, "submit", "/v1/notices", "State one notice or many")
	o.Description = "One bad notice never stops the others: see refused. 201: something was added; 200: all was known, or a dry run; 422: everything was refused."
	o.Metadata = map[string]any{"body": &huma.Schema{OneOf: []*huma.Schema{s.schema(Submission{}), s.schema(Submissions{})}}}
	o.DefaultStatus = http.StatusCreated
	answer := &huma.Response{Description: "All was known before, or a dry run", Content: map[string]*huma.MediaType{
		"application/json": {Schema: s.schema(SubmitAnswer{})},
	}}
	o.Responses = map[string]*huma.Response{"200": answer}
	return o
}

func (s *Server) submit(ctx context.Context, in *submitInput) (*submitOutput, error) {
	who := callerOf(ctx)
	o := SubmitOptions{
		Idempotency: in.Idempotency, DryRun: in.DryRun, AllowSpecial: in.AllowSpecial,
		Again: in.Again, KnownElsewhere: in.Elsewhere,
		Local: !in.Share, Ceiling: who.ceiling, Caller: who.name,
	}
	if err := checkIdempotency(in.Idempotency); err != nil {
		return nil, err
	}
	if in.TLP != "" {
		var err error
		if o.TLP, err = notice.ParseTLP(in.TLP); err != nil {
			return nil, badQuery("tlp", in.TLP, err)
		}
	}
	items, refused, err := decodeSubmissions(bodyOf(ctx))
	if err != nil {
		return nil, err
	}
	var result SubmitResult
	if len(items) > 0 {
		if result, err = s.c.Node.Submit(ctx, items, o); err != nil {
			return nil, err
		}
	}
	refused = mergeRefused(refused, result.Refused)
	if len(result.Notices)+len(result.Absent) == 0 && len(refused) > 0 {
		return nil, allRefused(refused)
	}
	out := &submitOutput{Status: http.StatusOK, Body: SubmitAnswer{Notices: list(result.Notices), Refused: list(refused), Absent: result.Absent}}
	for _, n := range result.Notices {
		if !n.Known && !in.DryRun {
			out.Status = http.StatusCreated
			break
		}
	}
	return out, nil
}

// mergeRefused merges two lists that are each in order of the request.
func mergeRefused(a, b []Refused) []Refused {
	out := make([]Refused, 0, len(a)+len(b))
	for len(a) > 0 || len(b) > 0 {
		if len(b) == 0 || len(a) > 0 && a[0].Index <= b[0].Index {
			out, a = append(out, a[0]), a[1:]
			continue
		}
		r := b[0]
		if r.At == "" {
			r.At = submissionAt(r.Index)
		}
		r.Value = shorten(r.Value)
		out, b = append(out, r), b[1:]
	}
	return out
}

func allRefused(refused []Refused) *Problem {
	first := refused[0]
	p := problem(http.StatusUnprocessableEntity, "all-refused", "Nothing was taken", first.Reason, first.Fix)
	p.Refused = refused
	if len(refused) > 1 {
		p.Detail = strconv.Itoa(len(refused)) + " notices were refused; the first: " + first.Reason
	}
	for _, r := range refused[:min(len(refused), detailsMax)] {
		d := Detail{Location: "body." + r.At, Message: r.Reason, Fix: r.Fix}
		if r.Field != "" {
			d.Location += "." + r.Field
		}
		if r.Value != "" {
			d.Value = r.Value
		}
		p.Errors = append(p.Errors, d)
	}
	return p
}

func submissionAt(i int) string { return "notices[" + strconv.Itoa(i) + "]" }

func checkIdempotency(key string) error {
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' || len(key) > idempotencyMax {
			return problem(http.StatusUnprocessableEntity, "bad-parameter", "A header is refused",
				"the Idempotency-Key has spaces, is not ASCII or is longer than 128 bytes", "use a UUID or a hash").
				at("header.Idempotency-Key", key)
		}
	}
	return nil
}

// decodeSubmissions reads one notice or {"notices": […]}. What is wrong with one
// notice refuses that notice; a text that is no JSON refuses the request.
func decodeSubmissions(body []byte) (items []Submission, refused []Refused, err error) {
	many := hasKey(body, "notices")
	err = decodeBody(body, func(r *jsonReader) error {
		one := func(i int) error {
			if i >= SubmissionsMax {
				return r.bad("", "more than 10000 notices", "send them in several requests")
			}
			item := Submission{Index: i}
			bad, err := r.tolerate(func() error { return item.decode(r) })
			switch {
			case err != nil:
				return err
			case bad != nil:
				refused = append(refused, refuseOf(i, bad, &item))
			default:
				items = append(items, item)
			}
			return nil
		}
		if !many {
			return one(0)
		}
		err := r.object(func(key string) error {
			if key != "notices" {
				return r.unknown(key, "notices; options are query parameters")
			}
			return r.array(one)
		})
		if err == nil && len(items)+len(refused) == 0 {
			err = &badValue{location: "body.notices", reason: "the list is empty", fix: "send at least one notice"}
		}
		return err
	})
	return items, refused, err
}

// hasKey reports whether the body is an object with the given key at its top.
func hasKey(body []byte, want string) bool {
	if !bytes.Contains(body, []byte(`"`+want+`"`)) {
		return false
	}
	r, err := newJSONReader(body)
	if err != nil || r.kind() != '{' {
		return false
	}
	found := false
	_ = r.object(func(key string) error { // the second reading reports what is broken
		found = found || key == want
		return r.skip()
	})
	return found
}

func refuseOf(i int, bad *badValue, item *Submission) Refused {
	field := bad.location
	for _, prefix := range []string{"body." + submissionAt(i), "body"} {
		if rest, ok := cutPrefix(field, prefix); ok {
			field = rest
			break
		}
	}
	value := item.Value
	if value == "" {
		value = bad.value
	}
	fix := bad.fix
	if fix == "" {
		fix = submissionHelp
	}
	return Refused{At: submissionAt(i), Index: i, Value: shorten(value), Field: field, Reason: bad.reason, Fix: fix}
}

func (n *Submission) decode(r *jsonReader) error {
	n.Kind = notice.KindSighting.String()
	return r.object(func(key string) error {
		switch key {
		case "kind":
			return r.parsed(&n.Kind, func(s string) (string, error) { k, err := notice.ParseKind(s); return k.String(), err })
		case "type":
			return r.parsed(&n.Type, func(s string) (string, error) { t, err := notice.ParseType(s); return t.String(), err })
		case "tlp":
			return r.parsed(&n.TLP, canonicalTLP)
		case "ref":
			return r.parsed(&n.Ref, func(s string) (string, error) { id, err := crypto.ParseItemID(s); return id.String(), err })
		case "notice":
			return r.parsed(&n.Notice, func(s string) (string, error) { id, err := crypto.ParseItemID(s); return id.String(), err })
		case "to":
			return r.array(func(i int) error {
				if i >= recipientsMax {
					return r.bad("", "more than 32 members", "say it to some of them first, then to the others")
				}
				n.To = append(n.To, "")
				return r.parsed(&n.To[i], nil)
			})
		case "value":
			return r.parsed(&n.Value, nil)
		case "reason":
			return r.parsed(&n.Reason, nil)
		case "first_seen":
			return r.time(&n.FirstSeen)
		case "last_seen":
			return r.time(&n.LastSeen)
		case "valid_until":
			return r.time(&n.ValidUntil)
		case "count":
			return r.count(&n.Count)
		case "urgent":
			var err error
			n.Urgent, err = r.boolean()
			return err
		case "context":
			if r.null() {
				return nil
			}
			n.Context = &Context{}
			return n.Context.decode(r)
		case "origin":
			if r.null() {
				return nil
			}
			n.Origin = &Origin{}
			return n.Origin.decode(r)
		}
		if known, err := n.Parts.decode(r, key); known {
			return err
		}
		return r.unknown(key, submissionFields)
	})
}

func (c *Context) decode(r *jsonReader) error {
	return r.object(func(key string) error {
		field := map[string]*string{"family": &c.Family, "tool": &c.Tool, "technique": &c.Technique, "cve": &c.CVE}[key]
		if field == nil {
			return r.unknown(key, "family, tool, technique, cve")
		}
		return r.parsed(field, nil)
	})
}

func (o *Origin) decode(r *jsonReader) error {
	return r.object(func(key string) error {
		switch key {
		case "source":
			return r.parsed(&o.Source, nil)
		case "id":
			return r.parsed(&o.ID, nil)
		case "tlp":
			return r.parsed(&o.TLP, canonicalTLP)
		}
		return r.unknown(key, "source, id, tlp")
	})
}

func canonicalTLP(s string) (string, error) {
	t, err := notice.ParseTLP(s)
	return t.String(), err
}

type noticesInput struct {
	Kind   string `query:"kind" enum:"indicator,sighting,retraction,dispute,question,profile,mayday,service,assistance,link,advisory,response" doc:"Only this kind"`
	Author string `query:"author" enum:"me" doc:"me: only this node's own"`
	Search string `query:"search" maxLength:"256" doc:"Part of a value"`
	Since  string `query:"since" format:"date-time" doc:"What arrived here since then"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"At most so many"`
	Next   string `query:"next" maxLength:"512" doc:"The next of the page before"`
}

// NoticesAnswer is a page of notices.
type NoticesAnswer struct {
	Notices []NoticeView `json:"notices"`
	Next    string       `json:"next,omitempty" doc:"Ask again with it for the next page"`
}

type noticesOutput struct{ Body NoticesAnswer }

func (s *Server) listNotices(ctx context.Context, in *noticesInput) (*noticesOutput, error) {
	q := Query{Mine: in.Author == "me", Search: in.Search, Limit: in.Limit, Next: in.Next, Ceiling: callerOf(ctx).ceiling}
	var err error
	if in.Kind != "" {
		if q.Kind, err = notice.ParseKind(in.Kind); err != nil {
			return nil, badQuery("kind", in.Kind, err)
		}
	}
	if q.Since, err = since(in.Since); err != nil {
		return nil, err
	}
	notices, next, err := s.c.Node.Notices(ctx, q)
	if err != nil {
		return nil, err
	}
	return &noticesOutput{NoticesAnswer{list(notices), next}}, nil
}

func since(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	t, err := parseTime(text)
	if err != nil {
		return 0, badQuery("since", text, err)
	}
	return int64(t), nil
}

type idInput struct {
	ID string `path:"id" maxLength:"64"`
}

// NoticeAnswer is one notice, with its proof once it is signed.
type NoticeAnswer struct {
	NoticeView
	Proof *Proof `json:"proof,omitempty" doc:"Missing as long as the notice is local or waiting"`
}

type noticeOutput struct{ Body NoticeAnswer }

func (s *Server) getNotice(ctx context.Context, in *idInput) (*noticeOutput, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	view, proof, ok, err := s.c.Node.Notice(ctx, in.ID, callerOf(ctx).ceiling)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, in.missing()
	}
	if proof != nil {
		proof.Path = list(proof.Path) // empty where an envelope has one item
	}
	return &noticeOutput{NoticeAnswer{view, proof}}, nil
}

func (in *idInput) check() error {
	if _, err := crypto.ParseItemID(in.ID); err != nil {
		return problem(http.StatusUnprocessableEntity, "bad-parameter", "Not an id", err.Error(), "ids are shown by list and lookup").at("path.id", in.ID)
	}
	return nil
}

func (in *idInput) missing() error {
	return problem(http.StatusNotFound, "no-such-notice", "No such notice", "no notice with this id is visible to this token",
		"it may not have arrived, be erased, or be marked above the token's ceiling").at("path.id", in.ID)
}

type alertsInput struct {
	Since string `query:"since" format:"date-time" doc:"Only since then"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"At most so many"`
	Next  string `query:"next" maxLength:"512" doc:"The next of the page before"`
}

// AlertsAnswer is a page of alerts.
type AlertsAnswer struct {
	Alerts []AlertView `json:"alerts"`
	Next   string      `json:"next,omitempty" doc:"Ask again with it for the next page"`
}

type alertsOutput struct{ Body AlertsAnswer }

func (s *Server) listAlerts(ctx context.Context, in *alertsInput) (*alertsOutput, error) {
	from, err := since(in.Since)
	if err != nil {
		return nil, err
	}
	alerts, next, err := s.c.Node.Alerts(ctx, AlertQuery{Since: from, Limit: in.Limit, Next: in.Next, Ceiling: callerOf(ctx).ceiling})
	if err != nil {
		return nil, err
	}
	return &alertsOutput{AlertsAnswer{list(alerts), next}}, nil
}

// MembersAnswer lists the members.
type MembersAnswer struct {
	Members []MemberView `json:"members"`
}

type membersOutput struct{ Body MembersAnswer }

type cutsInput struct {
	Member string `query:"member" required:"true" doc:"A member's id"`
	Serial uint32 `query:"serial" doc:"Of its credential; the latest if left out"`
}

type cutsOutput struct{ Body CutsAnswer }

func (s *Server) getCuts(ctx context.Context, in *cutsInput) (*cutsOutput, error) {
	cuts, err := s.c.Node.Cuts(ctx, in.Member, in.Serial)
	if err != nil {
		return nil, err
	}
	return &cutsOutput{cuts}, nil
}

func (s *Server) listMembers(ctx context.Context, _ *struct{}) (*membersOutput, error) {
	members, err := s.c.Node.Members(ctx, callerOf(ctx).ceiling)
	if err != nil {
		return nil, err
	}
	return &membersOutput{MembersAnswer{list(members)}}, nil
}
