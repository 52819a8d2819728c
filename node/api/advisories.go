package api

import (
	"context"
	"strings"

	"github.com/watchward/watchward/node/notice"
)

// Advisory tells others what to do, or what to look for.
type Advisory struct {
	Type      string     `json:"type" enum:"guidance,playbook,supplier-compromise,hunt" doc:"hunt: look for it even if you have patched"`
	Title     string     `json:"title" maxLength:"120"`
	Text      string     `json:"text,omitempty" maxLength:"4096" doc:"Lines, up to 4096 bytes; Markdown is not rendered"`
	Suppliers []string   `json:"suppliers,omitempty" maxItems:"16" doc:"Whom it is about"`
	Products  []string   `json:"products,omitempty" maxItems:"16" doc:"CPE 2.3 (cpe:2.3:a:vendor:product:version) or package URLs (pkg:npm/name@version)"`
	CVEs      []string   `json:"cves,omitempty" maxItems:"32" doc:"CVE-2021-44228"`
	Due       Time       `json:"due,omitempty" doc:"Until when it should be done"`
	Documents []Document `json:"documents,omitempty" maxItems:"8" doc:"Files that belong to it, put before with POST /v1/documents"`
}

// Document is a file that belongs to an advisory.
type Document struct {
	SHA256 string `json:"sha256" doc:"Of the whole file: its id"`
	Size   uint32 `json:"size,omitempty" doc:"In bytes; in a POST it may be left out"`
	Chunks string `json:"chunks,omitempty" doc:"SHA-256 of the list of its chunks' hashes, by which a part of it is checked; in a POST it may be left out"`
	Name   string `json:"name" maxLength:"120" doc:"Of the file, without a path"`
	Media  string `json:"media_type" maxLength:"100" doc:"application/pdf"`
}

// AdvisoryQuery selects advisories.
type AdvisoryQuery struct {
	Search   string // words, or parts of words; all must be there
	Product  string // CPE, package URL, or words of one
	Supplier string // words of its name
	Mine     bool   // only this node's own
	Open     bool   // only those of others that this hospital has not answered with done or na
	Since    int64  // ms of local arrival; 0 = everything
	Limit    int    // 1 … 1,000
	Next     string // cursor of the previous page
	Ceiling  notice.TLP
}

// AdvisoriesNode is the part of Node that is about advisories.
type AdvisoriesNode interface {
	// Advisories returns a page of those that hold, the last to arrive first, with who
	// has acted where the node may say, but without the members' names.
	Advisories(ctx context.Context, q AdvisoryQuery) (AdvisoriesAnswer, error)
	// Advisory returns one, with the members.
	Advisory(ctx context.Context, id string, ceiling notice.TLP) (AdvisoryView, bool, error)
}

// AdvisoryView is an advisory with what became of it.
type AdvisoryView struct {
	Word
	Advisory
	Received Time      `json:"received" doc:"By this node's clock"`
	Marks    []string  `json:"marks,omitempty" doc:"What a reader should know: retracted, clock off …"`
	Concerns []string  `json:"concerns,omitempty" doc:"What of it this hospital has declared: suppliers of its profile, [advisories] suppliers and products of its configuration"`
	Answer   string    `json:"answer,omitempty" enum:"seen,done,na,help" doc:"This hospital's own last answer"`
	Overdue  bool      `json:"overdue,omitempty" doc:"due is over, and this hospital has answered neither done nor na"`
	Progress *Progress `json:"progress,omitempty" doc:"Who has acted: shown by the node of its author, and by those of coordinators"`
}

// Progress counts the answers of those to whom an advisory is addressed: the last one of
// each. What others answer does not count.
type Progress struct {
	Addressed int            `json:"addressed" doc:"Members that it is for, its author left out"`
	Seen      int            `json:"seen"`
	Done      int            `json:"done"`
	NA        int            `json:"na" doc:"It does not concern them"`
	Help      int            `json:"help" doc:"They need help with it"`
	Missing   int            `json:"missing" doc:"They have not answered"`
	Members   []AnsweredView `json:"members,omitempty" doc:"Of one advisory: help first, then missing, seen, done, na; who has been so for longest first"`
}

// Count counts a member's answer.
func (p *Progress) Count(answer string) {
	switch answer {
	case "seen":
		p.Seen++
	case "done":
		p.Done++
	case "na":
		p.NA++
	case "help":
		p.Help++
	default:
		p.Missing++
	}
}

// AnsweredView says how far a member is.
type AnsweredView struct {
	Party
	Answer string `json:"answer" enum:"missing,seen,done,na,help"`
	Since  Time   `json:"since" doc:"Of its answer; of one that is missing, when it could have known first"`
	ID     string `json:"id,omitempty" doc:"Of the answer"`
}

// AnswerMissing is the answer of a member that has not answered.
const AnswerMissing = "missing"

// AdvisoriesAnswer is a page of advisories.
type AdvisoriesAnswer struct {
	Advisories []AdvisoryView `json:"advisories"`
	Reading    bool           `json:"reading,omitempty" doc:"The node has just started and has not read all that it holds"`
	Next       string         `json:"next,omitempty" doc:"Ask again with it for the next page"`
}

func (s *Server) registerAdvisories(read route) {
	o := get("list-advisories", "/v1/advisories", "List and search advisories, the last to arrive first")
	o.Description = "To advise: POST /v1/notices with an advisory. To answer one: POST /v1/notices with a response (seen, done, na, help) and its id as ref."
	add(s, read, o, s.listAdvisories)
	add(s, read, get("get-advisory", "/v1/advisories/{id}", "One advisory, with who has acted"), s.getAdvisory)
}

type advisoriesInput struct {
	Search   string `query:"search" maxLength:"256" doc:"Words, or parts of them, all of which it must have"`
	Product  string `query:"product" maxLength:"256" doc:"A CPE 2.3 or package URL that it is about, or words of one"`
	Supplier string `query:"supplier" maxLength:"256" doc:"Words of a supplier that it is about"`
	Author   string `query:"author" enum:"me" doc:"me: only this node's own"`
	Open     bool   `query:"open" doc:"Only those of others that this hospital has not answered with done or na"`
	Since    string `query:"since" format:"date-time" doc:"What arrived here since then"`
	Limit    int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"At most so many"`
	Next     string `query:"next" maxLength:"512" doc:"The next of the page before"`
}

type advisoriesOutput struct{ Body AdvisoriesAnswer }

func (s *Server) listAdvisories(ctx context.Context, in *advisoriesInput) (*advisoriesOutput, error) {
	q := AdvisoryQuery{Search: in.Search, Product: in.Product, Supplier: in.Supplier, Mine: in.Author == "me", Open: in.Open,
		Limit: in.Limit, Next: in.Next, Ceiling: callerOf(ctx).ceiling}
	var err error
	if q.Since, err = since(in.Since); err != nil {
		return nil, err
	}
	v, err := s.c.Node.Advisories(ctx, q)
	v.Advisories = list(v.Advisories)
	return &advisoriesOutput{v}, err
}

type advisoryOutput struct{ Body AdvisoryView }

func (s *Server) getAdvisory(ctx context.Context, in *idInput) (*advisoryOutput, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	v, found, err := s.c.Node.Advisory(ctx, in.ID, callerOf(ctx).ceiling)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, in.missing()
	}
	return &advisoryOutput{v}, nil
}

func (a *Advisory) decode(r *jsonReader) error {
	texts := map[string]*string{"title": &a.Title, "text": &a.Text}
	return r.fields(texts, "type, title, text, suppliers, products, cves, due, documents", func(key string) (bool, error) {
		switch key {
		case "type":
			return true, r.parsed(&a.Type, func(text string) (string, error) { v, err := notice.ParseAdvice(text); return v.String(), err })
		case "suppliers":
			return true, r.texts(&a.Suppliers, notice.PartiesMax, "name the 16 that matter most")
		case "products":
			return true, r.texts(&a.Products, notice.ProductsMax, "name the 16 that matter most")
		case "cves":
			return true, r.texts(&a.CVEs, notice.CVEsMax, "name the 32 that matter most")
		case "due":
			return true, r.time(&a.Due)
		case "documents":
			if r.null() {
				return true, nil
			}
			return true, r.array(func(i int) error {
				if i >= notice.DocumentsMax {
					return r.bad("", "more than 8 documents", "pack some into one")
				}
				a.Documents = append(a.Documents, Document{})
				return a.Documents[i].decode(r)
			})
		}
		return false, nil
	})
}

func (d *Document) decode(r *jsonReader) error {
	texts := map[string]*string{"sha256": &d.SHA256, "chunks": &d.Chunks, "name": &d.Name, "media_type": &d.Media}
	err := r.fields(texts, "sha256, size, chunks, name, media_type", func(key string) (bool, error) {
		if key != "size" {
			return false, nil
		}
		if r.null() {
			return true, nil
		}
		n, err := r.uint(notice.DocumentMax)
		d.Size = uint32(n)
		return true, err
	})
	d.SHA256 = strings.ToLower(d.SHA256)
	return err
}
