package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/watchward/watchward/node/notice"
)

// Formats of a report.
const (
	ReportHTML     = "html"
	ReportMarkdown = "md"
	ReportJSON     = "json"
)

// ReportDefault is the marking of a report that names none: what a region says among
// itself.
const ReportDefault = notice.TLPAmber

// Report is the situation with what stands on a report that people sign.
type Report struct {
	TLP     string  `json:"tlp" doc:"Its marking: nothing stricter is in it, nor counted"`
	Sources Sources `json:"sources"`
	Hourly  []int   `json:"sightings_by_hour" doc:"Sightings of the last 72 hours, the oldest first; the last hour is not over"`
	Situation
}

// Sources are the signed notices that a report is made from.
type Sources struct {
	Notices     int    `json:"notices"`
	Members     int    `json:"members" doc:"Who said them"`
	Newest      Time   `json:"newest,omitempty" doc:"When the last of those was said that the report dates"`
	Fingerprint string `json:"fingerprint" doc:"SHA-256 of the ids of all notices in the report, in hexadecimal, each once, sorted, with a newline each"`
}

// sources collects what a situation is made from.
type sources struct {
	ids     []string
	members map[string]bool
	newest  Time
}

func (s *sources) add(member string, ids ...string) {
	for _, id := range ids {
		if id != "" {
			s.ids = append(s.ids, id)
			s.members[member] = true
		}
	}
}

func (s *sources) word(words ...Word) {
	for _, w := range words {
		s.add(w.Member, w.ID)
		s.newest = max(s.newest, w.Said)
	}
}

// Sources sums up the notices that s shows. The fingerprint is the same wherever the
// same notices are shown, and an id commits to what was said and who said it.
func (s *Situation) Sources() Sources {
	c := sources{members: map[string]bool{}}
	contact := func(member string, v *ContactView) {
		if v != nil {
			c.add(member, v.ID)
		}
	}
	for _, m := range s.Members {
		c.add(m.Member, m.IDs...)
		contact(m.Member, m.Contact)
	}
	for _, m := range s.Maydays {
		c.word(m.Word)
		c.add(m.Member, m.Replaces)
		contact(m.Member, m.Contact)
		for _, d := range m.Disputed {
			c.word(d.Word)
		}
	}
	for _, e := range s.Services {
		c.word(e.Word)
	}
	for _, h := range s.Assistance {
		c.word(h.Word)
		c.word(h.Offers...)
		c.add(h.Member, h.Closed)
		for _, claim := range h.Claims {
			c.word(claim.Word)
			c.add(h.Member, claim.Confirm)
		}
		for _, r := range h.Refused {
			c.word(r.Word)
		}
	}
	for _, l := range s.Suppliers {
		c.word(l.Cut...)
		for _, e := range l.Line {
			c.word(e.Word)
		}
	}
	for _, q := range s.Questions {
		c.word(q.Word)
		for _, a := range q.Answers {
			c.word(a.Word)
		}
	}
	for _, e := range s.Spreading {
		for _, m := range e.Seen {
			c.add(m.Member, m.IDs...)
			c.newest = max(c.newest, m.Last)
		}
	}
	for _, e := range s.Changes {
		c.add(e.Member, e.IDs...)
	}
	return c.sum()
}

func (s *sources) sum() Sources {
	slices.Sort(s.ids)
	s.ids = slices.Compact(s.ids)
	h := sha256.New()
	for _, id := range s.ids {
		h.Write([]byte(id + "\n")) // a hash takes everything
	}
	return Sources{Notices: len(s.ids), Members: len(s.members), Newest: s.newest, Fingerprint: hex.EncodeToString(h.Sum(nil))}
}

func (s *Server) registerReport(read route) {
	o := get("get-report", "/v1/situation/report", "The situation as a report to print and sign: HTML, Markdown or JSON")
	o = answering(o, "text/html", nil)
	content := o.Responses["200"].Content
	content["text/markdown"], content["application/json"] = content["text/html"], &huma.MediaType{Schema: s.schema(Report{})}
	o.Description = "From local data alone. Its marking, the notices it is made from and their fingerprint stand on every page. The HTML needs no script and nothing from elsewhere."
	add(s, read, o, s.report)
}

type reportInput struct {
	Format   string `query:"format" enum:"html,md,json" default:"html"`
	Since    string `query:"since" format:"date-time" doc:"Mark what was said since then; in JSON also what changed"`
	TLP      string `query:"tlp" doc:"Its marking, beyond which nothing is in it: AMBER unless the token sees less"`
	Language string `query:"language" enum:"en,de" doc:"Left out: the node's"`
}

func (s *Server) report(ctx context.Context, in *reportInput) (*page, error) {
	ceiling, err := reportCeiling(ctx, in.TLP)
	if err != nil {
		return nil, err
	}
	from, err := since(in.Since)
	if err != nil {
		return nil, err
	}
	r, err := s.c.Node.Report(ctx, from, ceiling)
	if err != nil {
		return nil, err
	}
	if in.Format == ReportJSON {
		r.Hourly = list(r.Hourly)
		r.neverNull()
		body, err := json.Marshal(&r)
		return pageOf(in.Format, append(body, '\n')), err
	}
	body, err := s.c.Node.PrintReport(&r, in.Format, in.Language)
	return pageOf(in.Format, body), err
}

// page is an answer that a browser may show.
type page struct {
	Status      int
	ContentType string `header:"Content-Type" hidden:"true"`
	Policy      string `header:"Content-Security-Policy" hidden:"true"`
	Body        []byte
}

// htmlPolicy lets a page have its own style and nothing else: no script, no form, nothing
// from elsewhere.
const htmlPolicy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"

func pageOf(format string, body []byte) *page {
	contentType := map[string]string{ReportHTML: "text/html", ReportMarkdown: "text/markdown", ReportJSON: "application/json"}[format]
	if format != ReportJSON {
		contentType += "; charset=utf-8"
	}
	return &page{http.StatusOK, contentType, htmlPolicy, body}
}
