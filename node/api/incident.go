package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/notice"
)

// IncidentsNode is the part of a Node that is the desk for reports of incidents (NIS2,
// Art. 23). All of it is the house's own, for a ceiling of AMBER+STRICT. Errors may be a
// *notice.FieldError.
type IncidentsNode interface {
	// Incidents returns all, those that are open first, then the newest. What is known of
	// a ransom is left out.
	Incidents(ctx context.Context) ([]IncidentView, error)
	// Incident returns one. What is known of a ransom is in it for a ceiling of RED.
	Incident(ctx context.Context, number string, ceiling notice.TLP) (IncidentView, bool, error)
	// OpenIncident begins one; it is durable then, as what the others change.
	OpenIncident(ctx context.Context, c IncidentChange, by string, ceiling notice.TLP) (IncidentView, error)
	UpdateIncident(ctx context.Context, number string, c IncidentChange, by string, ceiling notice.TLP) (IncidentView, bool, error)
	// DraftIncident makes a report of what is known now.
	DraftIncident(ctx context.Context, number string, stage, by string) (DraftView, bool, error)
	// SendIncident sends the draft of a stage to a member, sealed for it, or notes that it
	// was handed in elsewhere.
	SendIncident(ctx context.Context, number string, s IncidentSend, by string, ceiling notice.TLP) (IncidentSent, bool, error)
	CloseIncident(ctx context.Context, number, why, by string, ceiling notice.TLP) (IncidentView, bool, error)
	// ReportPage returns the last draft of a stage, or, with a notice's id instead of a
	// number, a filing that was sent or received, as a document: html or json. "" is the
	// node's language.
	ReportPage(ctx context.Context, q ReportQuery) ([]byte, bool, error)
}

// ReportQuery names a document.
type ReportQuery struct {
	Number, Stage string // a draft; or
	ID            string // a notice
	Format        string // html or json
	Language      string
	Ceiling       notice.TLP
}

// Filing is a report of an incident, of NIS2, Art. 23(4). What is missing is unknown.
type Filing struct {
	Incident    string   `json:"incident" doc:"The author's number of it"`
	Stage       string   `json:"stage" enum:"early-warning,notification,progress,final"`
	AwareAt     Time     `json:"aware_at"`
	Made        Time     `json:"made"`
	Title       string   `json:"title"`
	Malicious   string   `json:"malicious" enum:"unknown,yes,no" doc:"Suspected of being unlawful or malicious"`
	CrossBorder string   `json:"cross_border" enum:"unknown,yes,no"`
	Severity    string   `json:"severity" enum:"unknown,low,medium,high,critical"`
	Description string   `json:"description,omitempty"`
	Impact      string   `json:"impact,omitempty"`
	Cause       string   `json:"cause,omitempty"`
	Measures    string   `json:"measures,omitempty"`
	Borders     string   `json:"borders,omitempty" doc:"What the cross-border impact is"`
	Began       Time     `json:"began,omitempty"`
	Handled     Time     `json:"handled,omitempty" doc:"Missing: it goes on, or the stage does not say"`
	Entity      string   `json:"entity,omitempty"`
	Contact     []string `json:"contact,omitempty"`

	Earlier    []FiledReport     `json:"earlier,omitempty" doc:"Reports of the same incident before"`
	Sightings  []FiledSighting   `json:"sightings,omitempty" doc:"What the author saw itself, the last seen first"`
	Services   []FiledService    `json:"services,omitempty"`
	Links      []FiledLink       `json:"links,omitempty"`
	Assistance []FiledAssistance `json:"assistance,omitempty"`
	More       uint32            `json:"more,omitempty" doc:"Sightings that had no room"`
}

// FiledReport is an earlier report.
type FiledReport struct {
	Stage string `json:"stage"`
	At    Time   `json:"at"`
}

// FiledSighting is what the author saw.
type FiledSighting struct {
	Indicator
	First  Time   `json:"first_seen"`
	Last   Time   `json:"last_seen"`
	Count  uint64 `json:"count"`
	Family string `json:"family,omitempty"`
}

// FiledService is how a department worked from a time on.
type FiledService struct {
	Department string `json:"department"`
	State      string `json:"state"`
	At         Time   `json:"at"`
	Until      Time   `json:"until,omitempty"`
}

// FiledLink is a connection that was cut or restored.
type FiledLink struct {
	Supplier string `json:"supplier"`
	Link     string `json:"link"`
	State    string `json:"state"`
	At       Time   `json:"at"`
	Reason   string `json:"reason,omitempty"`
}

// FiledAssistance is help that was asked for, offered or taken.
type FiledAssistance struct {
	Act      string `json:"act"`
	What     string `json:"what,omitempty"`
	Quantity uint32 `json:"quantity,omitempty"`
	Unit     string `json:"unit,omitempty"`
	At       Time   `json:"at"`
}

// IncidentChange is what is said of an incident; what is left out stays. Times are RFC
// 3339. The word unknown takes back what was known.
type IncidentChange struct {
	Title       *string       `json:"title,omitempty" maxLength:"120" doc:"Needed to open one"`
	AwareAt     *string       `json:"aware_at,omitempty" doc:"When the hospital became aware of it; now when left out at the opening. It never changes: another time is refused"`
	Began       *string       `json:"began,omitempty"`
	Handled     *string       `json:"handled,omitempty" doc:"When it was over; until then it goes on"`
	Malicious   *string       `json:"malicious,omitempty" enum:"unknown,yes,no" doc:"Suspected of being unlawful or malicious"`
	CrossBorder *string       `json:"cross_border,omitempty" enum:"unknown,yes,no" doc:"Could have an impact in other states"`
	Severity    *string       `json:"severity,omitempty" enum:"unknown,low,medium,high,critical"`
	Description *string       `json:"description,omitempty" maxLength:"4000" doc:"This and the texts below may have lines"`
	Impact      *string       `json:"impact,omitempty" maxLength:"4000"`
	Cause       *string       `json:"cause,omitempty" maxLength:"4000"`
	Measures    *string       `json:"measures,omitempty" maxLength:"4000"`
	Borders     *string       `json:"borders,omitempty" maxLength:"4000"`
	ProgressBy  *string       `json:"progress_by,omitempty" doc:"Until when a progress report was asked for; unknown: none is"`
	Ransom      *RansomChange `json:"ransom,omitempty"`
}

// RansomChange is what is said of a ransom. It never leaves this node.
type RansomChange struct {
	Demanded  *string `json:"demanded,omitempty" enum:"unknown,yes,no"`
	Paid      *string `json:"paid,omitempty" enum:"unknown,yes,no"`
	Intends   *string `json:"intends,omitempty" enum:"unknown,yes,no" doc:"To pay"`
	Amount    *string `json:"amount,omitempty" maxLength:"200"`
	Currency  *string `json:"currency,omitempty" maxLength:"200"`
	Recipient *string `json:"recipient,omitempty" maxLength:"200"`
}

// IncidentView is an incident as the house sees it.
type IncidentView struct {
	Number      string         `json:"number" doc:"2026-1"`
	Title       string         `json:"title"`
	AwareAt     Time           `json:"aware_at"`
	Opened      Time           `json:"opened"`
	Began       Time           `json:"began,omitempty"`
	Handled     Time           `json:"handled,omitempty"`
	Malicious   string         `json:"malicious"`
	CrossBorder string         `json:"cross_border"`
	Severity    string         `json:"severity"`
	Description string         `json:"description,omitempty"`
	Impact      string         `json:"impact,omitempty"`
	Cause       string         `json:"cause,omitempty"`
	Measures    string         `json:"measures,omitempty"`
	Borders     string         `json:"borders,omitempty"`
	Ransom      *RansomView    `json:"ransom,omitempty" doc:"For this house alone; shown one by one, for a ceiling of RED"`
	Deadlines   []DeadlineView `json:"deadlines"`
	Drafts      []DraftBrief   `json:"drafts"`
	Sent        []SentView     `json:"sent"`
	Closed      Time           `json:"closed,omitempty"`
	Why         string         `json:"why,omitempty" doc:"It was closed"`
	Log         []ChangeLine   `json:"log,omitempty" doc:"Who did what; of one incident alone"`
}

// RansomView is what is known of a ransom.
type RansomView struct {
	Demanded  string `json:"demanded"`
	Paid      string `json:"paid"`
	Intends   string `json:"intends"`
	Amount    string `json:"amount,omitempty"`
	Currency  string `json:"currency,omitempty"`
	Recipient string `json:"recipient,omitempty"`
}

// States of a deadline.
const (
	DeadlineOpen    = "open"
	DeadlineSent    = "sent" // and not confirmed yet
	DeadlineMet     = "met"
	DeadlineOverdue = "overdue"
	DeadlineLater   = "later" // it is not known yet when it is due
	DeadlineClosed  = "closed"
)

// DeadlineView is a report that is due.
type DeadlineView struct {
	Stage   string `json:"stage"`
	Due     Time   `json:"due,omitempty" doc:"Missing: one month after the incident is handled"`
	State   string `json:"state" enum:"open,sent,met,overdue,later,closed"`
	Met     Time   `json:"met,omitempty" doc:"When it arrived"`
	Guessed bool   `json:"guessed,omitempty" doc:"It counts from when the notification is sent, which it was not yet"`
}

// DraftBrief says that a report was drafted.
type DraftBrief struct {
	Stage   string `json:"stage"`
	Made    Time   `json:"made"`
	Current bool   `json:"current" doc:"Nothing that it says has changed since"`
}

// SentView is a report that left the house.
type SentView struct {
	Stage  string `json:"stage"`
	At     Time   `json:"at"`
	To     string `json:"to" doc:"Name of the member, or where it was handed in"`
	Member string `json:"member,omitempty" doc:"Missing: it went another way"`
	Notice string `json:"notice,omitempty" doc:"Id of the filing"`
	State  string `json:"state" enum:"waiting,delivered,failed,elsewhere" doc:"delivered: the member's node has confirmed that it has it"`
	Since  Time   `json:"since,omitempty" doc:"Of delivered and failed"`
}

// ChangeLine says who did what.
type ChangeLine struct {
	At   Time   `json:"at"`
	By   string `json:"by"`
	What string `json:"what"`
}

// DraftView is a report to read before it is sent.
type DraftView struct {
	Filing  Filing   `json:"filing"`
	Unknown []string `json:"unknown" doc:"What a report of this stage should say and does not know"`
	LeftOut int      `json:"left_out" doc:"Own words in the span of the incident that are left out: stricter than AMBER, or about what somebody marked so"`
}

// IncidentSend says where a report goes.
type IncidentSend struct {
	Stage     string `json:"stage" enum:"early-warning,notification,progress,final"`
	To        string `json:"to,omitempty" doc:"The member, by name or id, that alone gets the draft, sealed for it"`
	TLP       string `json:"tlp,omitempty" enum:"AMBER+STRICT,RED" default:"AMBER+STRICT"`
	Elsewhere string `json:"elsewhere,omitempty" maxLength:"120" doc:"Instead of to: where it was handed in, such as a portal and the number that it gave"`
	At        Time   `json:"at,omitempty" doc:"With elsewhere: when; now when left out"`
	DryRun    bool   `json:"dry_run,omitempty" doc:"Show what would leave, and send nothing"`
	Real      bool   `json:"real,omitempty" doc:"Send it although an exercise runs here: a report is never part of one"`
}

// IncidentSent is the answer to a send.
type IncidentSent struct {
	Incident IncidentView `json:"incident"`
	Notice   *NoticeView  `json:"notice,omitempty" doc:"The filing; of a dry run with what would leave"`
}

// IncidentsAnswer lists incidents.
type IncidentsAnswer struct {
	Incidents []IncidentView `json:"incidents"`
}

// IncidentClose is the body of a close.
type IncidentClose struct {
	Why string `json:"why,omitempty" maxLength:"4000" doc:"Needed where no final report has arrived"`
}

// IncidentDraft is the body of a draft.
type IncidentDraft struct {
	Stage string `json:"stage" enum:"early-warning,notification,progress,final"`
}

func (s *Server) registerIncidents() {
	house := route{need: token.Reader, ceiling: notice.TLPAmberStrict}
	write := route{need: token.Reporter, ceiling: notice.TLPAmberStrict, body: true}
	const path = "/v1/incidents/{number}"
	add(s, house, get("list-incidents", "/v1/incidents", "Incidents of this house, with what is due"), s.incidents)
	add(s, house, get("get-incident", path, "One incident, with what is due, what was sent, and who did what"), s.incident)
	open := post[IncidentChange](s, "open-incident", "/v1/incidents", "Open an incident: the clock of NIS2, Art. 23 runs from aware_at")
	open.DefaultStatus = http.StatusCreated
	add(s, write, open, s.openIncident)
	add(s, write, post[IncidentChange](s, "update-incident", path, "Say what is known of an incident"), s.updateIncident)
	draft := post[IncidentDraft](s, "draft-incident", path+"/drafts", "Draft a report from what is known, and what this hospital said in the span of the incident")
	add(s, write, draft, s.draftIncident)
	page := answering(get("get-draft", path+"/drafts/{stage}", "The last draft of a report as a document"), "text/html", nil)
	asFiling := &huma.MediaType{Schema: s.schema(Filing{})}
	page.Responses["200"].Content["application/json"] = asFiling
	add(s, house, page, s.draftPage)
	add(s, write, post[IncidentSend](s, "send-incident", path+"/send", "Send a draft to a member, sealed for it, or note where it was handed in"), s.sendIncident)
	add(s, write, post[IncidentClose](s, "close-incident", path+"/close", "Close an incident: nothing of it is due any more"), s.closeIncident)
	filing := answering(get("get-filing", "/v1/filings/{id}", "A report that was sent or received, as a document"), "text/html", nil)
	filing.Responses["200"].Content["application/json"] = asFiling
	add(s, route{need: token.Reader}, filing, s.filingPage)
}

type numberInput struct {
	Number string `path:"number" maxLength:"20" doc:"Of the incident"`
}

type incidentsOutput struct{ Body IncidentsAnswer }
type incidentOutput struct{ Body IncidentView }
type draftOutput struct{ Body DraftView }
type sentOutput struct{ Body IncidentSent }

func noIncident(number string) error {
	return problem(http.StatusNotFound, "no-such-incident", "No such incident", "this house has no incident of that number",
		"watchward incident list --all shows those that it has").at("path.number", number)
}

func incidentAnswer(v IncidentView, found bool, err error, number string) (*incidentOutput, error) {
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, noIncident(number)
	}
	return &incidentOutput{v}, nil
}

func (s *Server) incidents(ctx context.Context, _ *struct{}) (*incidentsOutput, error) {
	all, err := s.c.Node.Incidents(ctx)
	if err != nil {
		return nil, err
	}
	return &incidentsOutput{IncidentsAnswer{list(all)}}, nil
}

func (s *Server) incident(ctx context.Context, in *numberInput) (*incidentOutput, error) {
	v, found, err := s.c.Node.Incident(ctx, in.Number, callerOf(ctx).ceiling)
	return incidentAnswer(v, found, err, in.Number)
}

func (s *Server) openIncident(ctx context.Context, _ *struct{}) (*incidentOutput, error) {
	c, err := decodeIncident(bodyOf(ctx))
	if err != nil {
		return nil, err
	}
	who := callerOf(ctx)
	v, err := s.c.Node.OpenIncident(ctx, c, who.name, who.ceiling)
	return incidentAnswer(v, true, err, "")
}

func (s *Server) updateIncident(ctx context.Context, in *numberInput) (*incidentOutput, error) {
	c, err := decodeIncident(bodyOf(ctx))
	if err != nil {
		return nil, err
	}
	who := callerOf(ctx)
	v, found, err := s.c.Node.UpdateIncident(ctx, in.Number, c, who.name, who.ceiling)
	return incidentAnswer(v, found, err, in.Number)
}

func (s *Server) draftIncident(ctx context.Context, in *numberInput) (*draftOutput, error) {
	var d IncidentDraft
	err := decodeBody(bodyOf(ctx), func(r *jsonReader) error {
		return r.fields(map[string]*string{"stage": &d.Stage}, "stage", nil)
	})
	if err != nil {
		return nil, err
	}
	v, found, err := s.c.Node.DraftIncident(ctx, in.Number, d.Stage, callerOf(ctx).name)
	if err == nil && !found {
		err = noIncident(in.Number)
	}
	if err != nil {
		return nil, err
	}
	v.Unknown = list(v.Unknown)
	return &draftOutput{v}, nil
}

func (s *Server) sendIncident(ctx context.Context, in *numberInput) (*sentOutput, error) {
	var q IncidentSend
	err := decodeBody(bodyOf(ctx), func(r *jsonReader) error {
		texts := map[string]*string{"stage": &q.Stage, "to": &q.To, "tlp": &q.TLP, "elsewhere": &q.Elsewhere}
		return r.fields(texts, "stage, to, tlp, elsewhere, at, dry_run, real", func(key string) (known bool, err error) {
			switch key {
			case "at":
				return true, r.time(&q.At)
			case "dry_run":
				q.DryRun, err = r.boolean()
				return true, err
			case "real":
				q.Real, err = r.boolean()
				return true, err
			}
			return false, nil
		})
	})
	if err != nil {
		return nil, err
	}
	who := callerOf(ctx)
	v, found, err := s.c.Node.SendIncident(ctx, in.Number, q, who.name, who.ceiling)
	if err == nil && !found {
		err = noIncident(in.Number)
	}
	if err != nil {
		return nil, err
	}
	return &sentOutput{v}, nil
}

func (s *Server) closeIncident(ctx context.Context, in *numberInput) (*incidentOutput, error) {
	var q IncidentClose
	err := decodeBody(bodyOf(ctx), func(r *jsonReader) error {
		return r.fields(map[string]*string{"why": &q.Why}, "why", nil)
	})
	if err != nil {
		return nil, err
	}
	who := callerOf(ctx)
	v, found, err := s.c.Node.CloseIncident(ctx, in.Number, q.Why, who.name, who.ceiling)
	return incidentAnswer(v, found, err, in.Number)
}

type draftPageInput struct {
	Number   string `path:"number" maxLength:"20" doc:"Of the incident"`
	Stage    string `path:"stage" enum:"early-warning,notification,progress,final"`
	Format   string `query:"format" enum:"html,json" default:"html"`
	Language string `query:"lang" enum:"en,de" doc:"Of html; the node's when left out"`
}

type filingInput struct {
	ID       string `path:"id" pattern:"^[0-9a-f]{40}$" doc:"Of the notice"`
	Format   string `query:"format" enum:"html,json" default:"html"`
	Language string `query:"lang" enum:"en,de" doc:"Of html; the node's when left out"`
}

// document is an answer for a file. It is never shown in the place it came from: what
// it says was written by others.
type document struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	Body        []byte
	Disposition string `header:"Content-Disposition" hidden:"true"`
	Policy      string `header:"Content-Security-Policy" hidden:"true"`
}

func documentAnswer(format, name string, text []byte) *document {
	mediaType := "text/html; charset=utf-8"
	if format == "json" {
		mediaType = "application/json"
	}
	return &document{mediaType, text, `attachment; filename="` + name + "." + format + `"`,
		"default-src 'none'; style-src 'unsafe-inline'; sandbox"}
}

func (s *Server) draftPage(ctx context.Context, in *draftPageInput) (*document, error) {
	q := ReportQuery{Number: in.Number, Stage: in.Stage, Format: in.Format, Language: in.Language, Ceiling: callerOf(ctx).ceiling}
	text, found, err := s.c.Node.ReportPage(ctx, q)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, problem(http.StatusNotFound, "no-such-draft", "No such draft", "this house has no draft of that stage, or no such incident",
			"make one: watchward incident draft "+in.Number+" "+in.Stage).at("path.stage", in.Stage)
	}
	return documentAnswer(in.Format, in.Stage, text), nil
}

func (s *Server) filingPage(ctx context.Context, in *filingInput) (*document, error) {
	text, found, err := s.c.Node.ReportPage(ctx, ReportQuery{ID: in.ID, Format: in.Format, Language: in.Language, Ceiling: callerOf(ctx).ceiling})
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, problem(http.StatusNotFound, "no-such-filing", "No such report", "no filing has that id, or it is marked above the token's ceiling",
			"see GET /v1/notices?kind=filing").at("path.id", in.ID)
	}
	return documentAnswer(in.Format, "report-"+in.ID[:8], text), nil
}

func decodeIncident(body []byte) (c IncidentChange, err error) {
	err = decodeBody(body, func(r *jsonReader) error {
		return r.choose(map[string]**string{
			"title": &c.Title, "aware_at": &c.AwareAt, "began": &c.Began, "handled": &c.Handled, "malicious": &c.Malicious,
			"cross_border": &c.CrossBorder, "severity": &c.Severity, "description": &c.Description, "impact": &c.Impact, "cause": &c.Cause,
			"measures": &c.Measures, "borders": &c.Borders, "progress_by": &c.ProgressBy,
		}, "title, aware_at, began, handled, malicious, cross_border, severity, description, impact, cause, measures, borders, progress_by, ransom", func(key string) (bool, error) {
			if key != "ransom" {
				return false, nil
			}
			if r.null() {
				return true, nil
			}
			c.Ransom = &RansomChange{}
			return true, r.choose(map[string]**string{
				"demanded": &c.Ransom.Demanded, "paid": &c.Ransom.Paid, "intends": &c.Ransom.Intends,
				"amount": &c.Ransom.Amount, "currency": &c.Ransom.Currency, "recipient": &c.Ransom.Recipient,
			}, "demanded, paid, intends, amount, currency, recipient", nil)
		})
	})
	return c, err
}

// choose reads an object of texts each of which may be left out.
func (r *jsonReader) choose(texts map[string]**string, known string, other func(key string) (bool, error)) error {
	return r.object(func(key string) error {
		if to := texts[key]; to != nil {
			if r.null() {
				return nil
			}
			*to = new(string)
			return r.parsed(*to, nil)
		}
		if other != nil {
			if found, err := other(key); found {
				return err
			}
		}
		return r.unknown(key, known)
	})
}
