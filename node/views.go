package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// evidenceMax is how many notices an indicator's view shows.
const evidenceMax = 100

// Indicator implements api.Node.
func (n *Node) Indicator(ctx context.Context, typ, value string, ceiling notice.TLP) (api.IndicatorView, bool, error) {
	asked, err := canonical(typ, value, notice.Options{AllowSpecial: true})
	if err != nil {
		return api.IndicatorView{}, false, err
	}
	for c := range asked.Matches {
		s, known, err := n.store.Summary(c.Key(), ceiling)
		if err != nil {
			return api.IndicatorView{}, false, err
		}
		if !known {
			continue
		}
		view := api.IndicatorView{Indicator: api.Indicator{Type: asked.Type.String(), Value: asked.Value}, Summary: summaryView(s)}
		if c != asked {
			view.Matched = &api.Indicator{Type: c.Type.String(), Value: c.Value}
		}
		records, err := n.store.Evidence(c.Key(), ceiling, evidenceMax+1)
		if err != nil {
			return api.IndicatorView{}, false, err
		}
		if len(records) > evidenceMax {
			records, view.More = records[:evidenceMax], true
		}
		for _, r := range records {
			view.Evidence = append(view.Evidence, n.view(r, ceiling))
		}
		v, err := n.verdict(asked, ceiling)
		if err != nil {
			return api.IndicatorView{}, false, err
		}
		view.Verdict = verdictView(v, asked)
		return view, true, nil
	}
	if !n.judge().Decides(asked) {
		return api.IndicatorView{}, false, ctx.Err()
	}
	v, err := n.verdict(asked, ceiling)
	view := api.IndicatorView{Indicator: api.Indicator{Type: asked.Type.String(), Value: asked.Value}, Verdict: verdictView(v, asked)}
	return view, true, errors.Join(err, ctx.Err())
}

// Notice implements api.Node.
func (n *Node) Notice(_ context.Context, id string, ceiling notice.TLP) (api.NoticeView, *api.Proof, bool, error) {
	item, err := crypto.ParseItemID(id)
	if err != nil {
		return api.NoticeView{}, nil, false, &notice.FieldError{Field: "id", Reason: err.Error(), Fix: "copy it from watchward list"}
	}
	r, found, err := n.store.Record(item)
	if err == nil && !found {
		return n.withdrawnView(item, ceiling)
	}
	if err != nil || !store.Visible(r.TLP, ceiling) {
		return api.NoticeView{}, nil, false, err
	}
	views := []api.NoticeView{n.view(r, ceiling)}
	if err := n.markReplaced(views, []store.Record{r}, ceiling); err != nil {
		return api.NoticeView{}, nil, false, err
	}
	view := views[0]
	if r.State != store.Signed || r.Audience == crypto.AudienceNamed { // signed is the box, which only its recipients can open
		return view, nil, true, nil
	}
	proof, err := n.proof(item)
	if errors.Is(err, store.ErrUnknown) { // erased in this moment
		return view, nil, true, nil
	}
	return view, proof, true, err
}

// withdrawnView shows a notice that counts no more. Its proof is not handed out.
func (n *Node) withdrawnView(id crypto.ItemID, ceiling notice.TLP) (api.NoticeView, *api.Proof, bool, error) {
	r, why, found, err := n.withdrawnNotice(id)
	if err != nil || !found || !store.Visible(r.TLP, ceiling) {
		return api.NoticeView{}, nil, false, err
	}
	view := n.view(r, ceiling)
	view.State, view.Marks = api.StateSigned, append(view.Marks, why)
	return view, nil, true, nil
}

func (n *Node) proof(id crypto.ItemID) (*api.Proof, error) {
	raw, index, err := n.store.Envelope(id)
	if err != nil {
		return nil, err
	}
	e, err := crypto.ParseEnvelope(raw)
	if err != nil {
		return nil, fmt.Errorf("stored envelope of %s: %w", id, err)
	}
	item, path, err := e.Prove(index)
	if err != nil {
		return nil, fmt.Errorf("stored envelope of %s: %w", id, err)
	}
	proof := &api.Proof{Item: item, Index: index, Count: int(e.Header.Count), Root: e.Header.Root[:], Header: e.Signed, Signature: e.Signature}
	for _, h := range path {
		proof.Path = append(proof.Path, h[:])
	}
	return proof, nil
}

// Notices implements api.Node.
func (n *Node) Notices(_ context.Context, q api.Query) ([]api.NoticeView, string, error) {
	query := store.Query{Kind: q.Kind, Search: q.Search, Since: q.Since, Limit: q.Limit, Cursor: q.Next, Ceiling: q.Ceiling}
	if q.Mine {
		query.Author = &n.member
	}
	records, next, err := n.store.List(query)
	if errors.Is(err, store.ErrCursor) {
		return nil, "", badCursor()
	}
	if err != nil {
		return nil, "", err
	}
	views := make([]api.NoticeView, len(records))
	for i, r := range records {
		views[i] = n.view(r, q.Ceiling)
	}
	return views, next, n.markReplaced(views, records, q.Ceiling)
}

// toldMax bounds what a follower is remembered to have been told; beyond it
// something is told twice.
const toldMax = 65_536

// Follow implements api.Node. An own word comes once, when it is submitted.
func (n *Node) Follow(ctx context.Context, after uint64, ceiling notice.TLP, yield func(api.Event) error) error {
	if after == api.FromNow {
		after = n.store.Last()
		if err := yield(api.Event{Seq: after}); err != nil { // where a client begins
			return err
		}
	}
	told := map[crypto.ItemID]bool{} // while they waited to be signed
	return n.store.Follow(ctx, after, ceiling, func(local uint64, records []store.Record) error {
		event := api.Event{Seq: local, Notices: make([]api.NoticeView, 0, len(records))}
		for _, r := range records {
			if r.State == store.Signed && told[r.ID] {
				delete(told, r.ID)
				continue
			}
			if r.State == store.Waits && len(told) < toldMax {
				told[r.ID] = true
			}
			event.Notices = append(event.Notices, n.view(r, ceiling))
		}
		return yield(event)
	})
}

func badCursor() error {
	return &notice.FieldError{Field: "next", Reason: "it is no cursor of an earlier page", Fix: "start again without it"}
}

// view shows a stored notice to who may see what a ceiling allows.
func (n *Node) view(r store.Record, ceiling notice.TLP) api.NoticeView {
	v := WordView(r.Notice)
	v.ID, v.TLP, v.Audience = r.ID.String(), r.TLP.String(), r.Audience.String()
	v.Author, v.AuthorName = r.Author.String(), n.memberName(r.Author)
	v.Received, v.Exercise = api.Time(r.Received), r.Exercise
	switch r.State {
	case store.Signed:
		v.State = api.StateSigned
		if n.sent(r) {
			v.State = api.StateSent
		}
	case store.Waits:
		v.State = api.StateWaiting
	default:
		v.State = api.StateLocal
	}
	if r.Audience == crypto.AudienceNamed {
		v.To = n.recipientViews(r.To, n.deliveries(r))
		if slices.ContainsFunc(v.To, func(to api.RecipientView) bool { return to.State == api.DeliveryDone }) {
			v.State = api.StateSent
		}
	}
	v.Marks = n.marks(r, ceiling)
	return v
}

// deliveries returns what became of an own named notice.
func (n *Node) deliveries(r store.Record) []store.Delivery {
	if r.State != store.Signed || r.Author != n.member {
		return nil
	}
	found, err := n.store.Deliveries(r.Local)
	if err != nil {
		n.log.Error("deliveries", slog.Any("err", err))
	}
	return found
}

// sent reports whether a signed word is this node's own and a peer has said that
// it holds it.
func (n *Node) sent(r store.Record) bool {
	if n.mesh == nil || r.Audience == crypto.AudienceNamed || r.Author != n.member || r.Header == nil || r.Header.Serial != n.serial {
		return false
	}
	epoch, seq := n.mesh.Held(r.Audience)
	return r.Header.Epoch < epoch || r.Header.Epoch == epoch && r.Header.Seq <= seq
}

// marks are what a reader should know of a notice.
func (n *Node) marks(r store.Record, ceiling notice.TLP) []string {
	var out []string
	add := func(on bool, mark string) {
		if on {
			out = append(out, mark)
		}
	}
	add(r.Retracted, "retracted")
	disputes := r.DisputesWithin(ceiling)
	add(disputes > 0, fmt.Sprintf("disputed by %d", disputes))
	add(r.Expiry <= n.now().UnixMilli(), "expired")
	add(r.Flags&store.ClockOff != 0, "clock off")
	add(n.lateSigned(r.Header), "signed with an expired credential")
	add(n.uncertain(r.Header), "its author's keys were revoked since, and nothing shows that it was said before")
	add(r.Flags&store.Mismatch != 0, "does not follow its author's last word")
	add(r.Flags&store.Forked != 0, "its author said two things at once")
	return out
}

// lateSigned reports whether an envelope was signed after its author's credential
// had ended. A renewal takes the doubt back, so it is asked of the roster each time.
func (n *Node) lateSigned(h *crypto.Header) bool {
	if h == nil || n.roster == nil {
		return false
	}
	author, known := n.roster.Member(h.Region, h.Author, h.Serial)
	return known && h.Time > author.NotAfter
}

// uncertain reports whether an envelope is of no chain, so that no cut vouches for it,
// and of a serial that was revoked. What was here before the revocation stays.
func (n *Node) uncertain(h *crypto.Header) bool {
	if h == nil || n.roster == nil || h.Audience != crypto.AudienceNamed {
		return false
	}
	author, known := n.roster.Member(h.Region, h.Author, h.Serial)
	return !known || n.revoked(author)
}

// preview shows a notice that is being submitted.
func (n *Node) preview(item store.LocalItem, now int64) api.NoticeView {
	v := WordView(item.Notice)
	v.ID, v.TLP, v.Audience = item.ID.String(), item.TLP.String(), item.Audience.String()
	v.Author, v.AuthorName, v.Received = n.member.String(), n.name, api.Time(now)
	v.Exercise, v.State, v.To = item.Exercise, api.StateWaiting, n.recipientViews(item.To, nil)
	if item.Audience == crypto.AudienceLocal {
		v.State = api.StateLocal
	}
	return v
}

// WordView shows what a notice says, without what is known around it.
func WordView(w *notice.Notice) api.NoticeView {
	v := api.NoticeView{
		Kind: w.Kind.String(), Created: api.Time(w.Created), FirstSeen: api.Time(w.FirstSeen), LastSeen: api.Time(w.LastSeen),
		Count: w.Count, ValidUntil: api.Time(w.ValidUntil), Reason: w.Reason, Parts: partsOf(w),
	}
	if w.Indicator != nil {
		v.Indicator = &api.Indicator{Type: w.Indicator.Type.String(), Value: w.Indicator.Value}
	}
	if w.Ref != nil {
		v.Ref = w.Ref.String()
	}
	if c := w.Context; c != nil {
		v.Context = &api.Context{Family: c.Family, Tool: c.Tool, Technique: c.Technique, CVE: c.CVE}
	}
	if o := w.Origin; o != nil {
		v.Origin = &api.Origin{Source: o.Source, ID: o.ID, TLP: o.TLP.String()}
	}
	return v
}

func summaryView(s store.Summary) api.Summary {
	return api.Summary{
		FirstSeen: api.Time(s.First), LastSeen: api.Time(s.Last), Sightings: s.Sightings,
		Members: s.Members, Reports: int(s.Reports), Disputes: s.Disputes, TLP: s.TLP.String(),
	}
}
