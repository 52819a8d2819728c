package node

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node/advisory"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const (
	advisoriesRead = 64                  // that are read at once
	openBack       = 30 * 24 * time.Hour // how long an advisory is counted as one to answer
	openMax        = 200                 // of the last so many
)

// Advisories implements api.Node: the library says which may be meant, the store what
// they say and which hold.
func (n *Node) Advisories(ctx context.Context, q api.AdvisoryQuery) (out api.AdvisoriesAnswer, err error) {
	before, err := parsePlace(q.Next)
	if err != nil {
		return out, err
	}
	q.Limit = min(max(q.Limit, 1), api.PageMax)
	n.picture.mu.Lock()
	out.Reading = n.picture.reading
	n.picture.mu.Unlock()
	s, err := n.newShelfView(q.Ceiling)
	if err != nil {
		return out, err
	}
	a := newAsking(q)
	return out, n.eachAdvisory(ctx, a.words(), before, func(at advisory.Place, r store.Record) (bool, error) {
		if !a.means(n, r) {
			return true, nil
		}
		answer, err := n.ownAnswerTo(r.ID)
		if err != nil || q.Open && (r.Author == n.member || answer == notice.AnswerDone || answer == notice.AnswerNA) {
			return true, err
		}
		if len(out.Advisories) == q.Limit {
			return false, nil
		}
		view, err := s.view(r, answer, false)
		out.Advisories, out.Next = append(out.Advisories, view), placeText(at)
		return true, err
	}, func() { out.Next = "" })
}

// eachAdvisory calls do for each advisory that holds and may have some words, the last to
// arrive first, until it returns false; at the end of all of them it calls end.
func (n *Node) eachAdvisory(ctx context.Context, words []string, before advisory.Place, do func(advisory.Place, store.Record) (bool, error), end func()) error {
	for places := range slices.Chunk(n.picture.library.Find(words, before), advisoriesRead) {
		ids := make([]crypto.ItemID, len(places))
		for i, p := range places {
			ids[i] = p.ID
		}
		records, err := n.store.Records(ids)
		if err != nil {
			return err
		}
		for _, p := range places {
			r, found := records[p.ID]
			if !found || r.Notice.Advisory == nil || r.Retracted || r.Expiry <= n.now().UnixMilli() || !advisory.Says(r.Notice, words) {
				continue
			}
			if more, err := do(p, r); err != nil || !more {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	end()
	return nil
}

// Advisory implements api.Node.
func (n *Node) Advisory(_ context.Context, id string, ceiling notice.TLP) (api.AdvisoryView, bool, error) {
	item, err := crypto.ParseItemID(id)
	if err != nil {
		return api.AdvisoryView{}, false, &notice.FieldError{Field: "id", Reason: err.Error(), Fix: "copy it from watchward list advisory"}
	}
	r, found, err := n.store.Record(item)
	if err != nil || !found || r.Notice.Advisory == nil || !store.Visible(r.TLP, ceiling) {
		return api.AdvisoryView{}, false, err
	}
	answer, err := n.ownAnswerTo(r.ID)
	if err != nil {
		return api.AdvisoryView{}, false, err
	}
	s, err := n.newShelfView(ceiling)
	if err != nil {
		return api.AdvisoryView{}, false, err
	}
	view, err := s.view(r, answer, true)
	return view, err == nil, err
}

// openAdvisories counts the advisories of others, of late, that this hospital has not
// answered with done or na.
func (n *Node) openAdvisories(ctx context.Context, ceiling notice.TLP) (open int, err error) {
	since, seen := n.now().Add(-openBack).UnixMilli(), 0
	return open, n.eachAdvisory(ctx, nil, advisory.Place{}, func(_ advisory.Place, r store.Record) (bool, error) {
		if seen++; r.Received < since || seen > openMax {
			return false, nil
		}
		if r.Author == n.member || r.Exercise || !store.Visible(r.TLP, ceiling) {
			return true, nil
		}
		answer, err := n.ownAnswerTo(r.ID)
		if answer != notice.AnswerDone && answer != notice.AnswerNA {
			open++
		}
		return true, err
	}, func() {})
}

// ownAnswerTo returns this hospital's last answer to an advisory, 0 if there is none.
func (n *Node) ownAnswerTo(id crypto.ItemID) (notice.Answer, error) {
	said, err := n.store.SpokenBy(id, n.member)
	if err != nil {
		return 0, err
	}
	last, found := newest(slices.DeleteFunc(said, func(r store.Record) bool { return !n.answersAdvisory(r) }))
	if !found {
		return 0, nil
	}
	return last.Notice.Response.Answer, nil
}

// answersAdvisory reports whether a word is an answer to an advisory that holds.
func (n *Node) answersAdvisory(r store.Record) bool {
	return r.Notice.Response != nil && r.Notice.Response.Answer.Fits(notice.KindAdvisory) && !r.Retracted && r.Expiry > n.now().UnixMilli()
}

// An asking is what a query asks of each advisory.
type asking struct {
	q                          api.AdvisoryQuery
	search, supplier, products []string
	product                    notice.Product
	exact                      bool // product is one
}

func newAsking(q api.AdvisoryQuery) asking {
	a := asking{q: q, search: advisory.Words(q.Search), supplier: advisory.Words(q.Supplier), products: advisory.Words(q.Product)}
	if p, err := notice.ParseProduct(strings.TrimSpace(q.Product)); err == nil {
		a.product, a.exact, a.products = p, true, p.Words()
	}
	return a
}

// words are what an advisory has somewhere, if it is meant.
func (a asking) words() []string { return slices.Concat(a.search, a.supplier, a.products) }

func (a asking) means(n *Node, r store.Record) bool {
	if !store.Visible(r.TLP, a.q.Ceiling) || a.q.Mine && r.Author != n.member || r.Received < a.q.Since {
		return false
	}
	if !advisory.Says(r.Notice, a.search) {
		return false
	}
	has := func(names, words []string) bool {
		return len(words) == 0 || slices.ContainsFunc(names, func(name string) bool {
			fold := notice.Fold(name)
			return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(fold, w) })
		})
	}
	if !has(r.Notice.Advisory.Suppliers, a.supplier) {
		return false
	}
	if !a.exact {
		return has(r.Notice.Advisory.Products, a.products)
	}
	return slices.ContainsFunc(r.Notice.Advisory.Products, func(s string) bool {
		p, err := notice.ParseProduct(s)
		return err == nil && p.Matches(a.product)
	})
}

// Places as cursors.
func placeText(p advisory.Place) string { return strconv.FormatUint(p.Local, 16) + "." + p.ID.String() }

func parsePlace(s string) (p advisory.Place, err error) {
	if s == "" {
		return p, nil
	}
	local, id, _ := strings.Cut(s, ".")
	if p.Local, err = strconv.ParseUint(local, 16, 64); err != nil {
		return p, badCursor()
	}
	if p.ID, err = crypto.ParseItemID(id); err != nil {
		return p, badCursor()
	}
	return p, nil
}

// A shelfView shows advisories under a ceiling.
type shelfView struct {
	n        *Node
	ceiling  notice.TLP
	names    *situationView
	own      concerns
	oversees bool // a coordinator's, who sees how far the others are
}

func (n *Node) newShelfView(ceiling notice.TLP) (*shelfView, error) {
	s := &shelfView{n: n, ceiling: ceiling, names: newSituationView(n)}
	s.oversees = n.roster != nil && s.names.coordinates(n.member, n.member)
	var err error
	s.own, err = n.concerns(ceiling)
	return s, err
}

func (s *shelfView) view(r store.Record, answer notice.Answer, members bool) (api.AdvisoryView, error) {
	v := api.AdvisoryView{
		Word:     api.Word{ID: r.ID.String(), Party: s.names.party(r.Author), Said: api.Time(factSaid(r)), TLP: r.TLP.String(), Exercise: r.Exercise},
		Advisory: *advisoryView(r.Notice.Advisory), Received: api.Time(r.Received), Marks: s.n.marks(r, s.ceiling),
	}
	v.Concerns, _, _ = s.own.of(r.Notice.Advisory)
	if answer != 0 {
		v.Answer = answer.String()
	}
	settled := answer == notice.AnswerDone || answer == notice.AnswerNA || r.Author == s.n.member
	v.Overdue = v.Due != 0 && int64(v.Due) <= s.n.now().UnixMilli() && !settled
	if r.Author != s.n.member && !s.oversees {
		return v, nil
	}
	var err error
	v.Progress, err = s.progress(r, members)
	return v, err
}

// progress counts who has answered, of those that an advisory is for; nil if it is for
// nobody.
func (s *shelfView) progress(r store.Record, members bool) (*api.Progress, error) {
	addressed := s.n.addressed(r)
	if len(addressed) == 0 {
		return nil, nil
	}
	answers, err := s.n.store.Answers(r.ID, s.ceiling)
	if err != nil {
		return nil, err
	}
	by := map[crypto.MemberID][]store.Record{}
	for _, a := range answers {
		if s.n.answersAdvisory(a) && a.Exercise == r.Exercise { // a drill's answer is none to the real thing
			by[a.Author] = append(by[a.Author], a)
		}
	}
	p := &api.Progress{Addressed: len(addressed)}
	for _, c := range addressed {
		v := api.AnsweredView{Party: s.names.party(c.Member), Answer: api.AnswerMissing}
		if last, found := newest(by[c.Member]); found {
			v.Answer, v.Since, v.ID = last.Notice.Response.Answer.String(), api.Time(factSaid(last)), last.ID.String()
		} else if members {
			v.Since = api.Time(max(factSaid(r), s.n.joined(c)))
		}
		p.Count(v.Answer)
		if members {
			p.Members = append(p.Members, v)
		}
	}
	order := []string{notice.AnswerHelp.String(), api.AnswerMissing, notice.AnswerSeen.String(), notice.AnswerDone.String(), notice.AnswerNA.String()}
	slices.SortFunc(p.Members, func(a, b api.AnsweredView) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Answer), slices.Index(order, b.Answer)), cmp.Compare(a.Since, b.Since),
			strings.Compare(a.Name, b.Name), strings.Compare(a.Member, b.Member))
	})
	return p, nil
}

// addressed returns the members that an advisory is for, its author left out.
func (n *Node) addressed(r store.Record) (out []*trust.Credential) {
	if n.roster == nil || r.Audience == crypto.AudienceLocal {
		return nil
	}
	region := n.roster.Region()
	if r.Header != nil {
		region = r.Header.Region
	}
	seen := map[crypto.MemberID]bool{r.Author: true}
	for _, of := range n.roster.Regions() {
		if r.Audience == crypto.AudienceRegion && of != region || of != region && !n.roster.Mutual(region, of) {
			continue
		}
		for _, c := range n.roster.Members(of) {
			hears := n.roster.Allowed(c, r.Audience)
			if r.Audience == crypto.AudienceNamed {
				hears = slices.Contains(r.To, c.Member)
			}
			if hears && !seen[c.Member] && !n.revoked(c) {
				seen[c.Member] = true
				out = append(out, c)
			}
		}
	}
	return out
}

// joined is when a member became one (ms).
func (n *Node) joined(c *trust.Credential) int64 {
	at := c.NotBefore
	for _, other := range n.roster.Serials(c.Region, c.Member) {
		at = min(at, other.NotBefore)
	}
	return at
}

// advise fills in an advisory as it is submitted.
func (n *Node) advise(a *api.Advisory, dry bool) (*notice.Advisory, error) {
	kind, err := notice.ParseAdvice(a.Type)
	if err != nil {
		return nil, err
	}
	out := &notice.Advisory{Type: kind, Title: clean(a.Title), Text: notice.CleanLines(a.Text), Suppliers: cleanAll(a.Suppliers), Due: int64(a.Due)}
	for _, s := range a.Products {
		p, err := notice.ParseProduct(clean(s))
		if err != nil {
			err.(*notice.FieldError).Field = "advisory.products"
			return nil, err
		}
		out.Products = append(out.Products, p.String())
	}
	for _, s := range a.CVEs {
		out.CVEs = append(out.CVEs, strings.ToUpper(clean(s)))
	}
	for i, d := range a.Documents {
		field := fmt.Sprintf("advisory.documents[%d]", i)
		doc, err := n.document(field, d, dry)
		if err != nil {
			return nil, err
		}
		out.Documents = append(out.Documents, doc)
	}
	return out, nil
}

func advisoryView(a *notice.Advisory) *api.Advisory {
	v := &api.Advisory{Type: a.Type.String(), Title: a.Title, Text: a.Text, Suppliers: a.Suppliers, Products: a.Products, CVEs: a.CVEs, Due: api.Time(a.Due)}
	for _, d := range a.Documents {
		v.Documents = append(v.Documents, api.Document{SHA256: hex.EncodeToString(d.SHA256[:]), Chunks: hex.EncodeToString(d.Chunks[:]), Size: d.Size, Name: d.Name, Media: d.Media})
	}
	return v
}

// document reads a document of an advisory as it is submitted. In a dry run it need not be
// here, if all is said of it.
func (n *Node) document(field string, d api.Document, dry bool) (notice.Document, error) {
	out := notice.Document{Size: d.Size, Name: clean(d.Name), Media: d.Media}
	for _, h := range []struct {
		name, text string
		to         *[32]byte
		must       bool
	}{{"sha256", d.SHA256, &out.SHA256, true}, {"chunks", d.Chunks, &out.Chunks, false}} {
		raw, err := hex.DecodeString(h.text)
		if err != nil || len(raw) != len(h.to) && (h.must || len(raw) > 0) {
			return out, &notice.FieldError{Field: field + "." + h.name, Reason: fmt.Sprintf("%.80q is no SHA-256", h.text), Fix: "give its 64 hexadecimal digits, as POST /v1/documents returned them"}
		}
		copy(h.to[:], raw)
	}
	if n.documents == nil {
		return out, &notice.FieldError{Field: field, Reason: "this node keeps no documents", Fix: "leave it out"}
	}
	err := n.documentOf(field, &out)
	if missing := (*notice.FieldError)(nil); dry && out.Chunks != ([32]byte{}) && errors.As(err, &missing) && missing.Field == field+".sha256" {
		err = nil
	}
	return out, err
}
