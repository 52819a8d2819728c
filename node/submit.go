package node

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// Submit implements api.Node: check and canonicalise, mark, make durable, then
// let the outbox sign. It answers when everything taken is on disk.
func (n *Node) Submit(ctx context.Context, items []api.Submission, o api.SubmitOptions) (result api.SubmitResult, _ error) {
	now := n.now().UnixMilli()
	request, err := requestHash(items, o)
	if err != nil {
		return result, err
	}
	batch := store.LocalBatch{Idempotency: o.Idempotency, Request: request, Received: now}
	var held []said
	defer func() { result.Notices = weave(result.Notices, held) }()
	for _, s := range items {
		view, ok, err := n.saidBefore(s, o)
		if err != nil {
			return result, err
		}
		if ok {
			held = append(held, said{len(batch.Items), view})
			continue
		}
		items, err := n.stated(s, o, now)
		if field := (*notice.FieldError)(nil); errors.As(err, &field) {
			result.Refused = append(result.Refused, refused(s, field))
			continue
		}
		if err != nil { // ours, not the submission's
			return result, err
		}
		if len(items) == 0 {
			result.Absent = append(result.Absent, s.Index)
		}
		batch.Items = append(batch.Items, items...)
	}
	if len(batch.Items) == 0 {
		return result, nil
	}
	if o.DryRun {
		stated, err := n.store.Stated(batch.Items)
		if err != nil {
			return result, err
		}
		for i, item := range batch.Items {
			view := n.preview(item, now)
			if r, ok := stated[item.Content]; ok {
				view.Promoted = r.State == store.Local && item.Audience != crypto.AudienceLocal && !r.Retracted
				if !view.Promoted && store.Visible(r.TLP, o.Ceiling) {
					view = n.view(r, o.Ceiling)
				}
				view.ID, view.Known = r.ID.String(), true
			}
			if i < leavingMax {
				if view.Leaves, err = n.leaving(item, now); err != nil {
					return result, err
				}
			}
			result.Notices = append(result.Notices, view)
		}
		result.Notes = n.exerciseNotes(batch.Items)
		return result, nil
	}
	taken, err := n.store.AppendLocal(ctx, batch)
	if errors.Is(err, store.ErrIdempotency) {
		return result, &notice.FieldError{Field: "header.Idempotency-Key", Reason: "this key was used for another request", Fix: "choose a new one"}
	}
	if err != nil {
		return result, unwritten(err)
	}
	n.drills.said(batch.Items)
	n.outbox.nudge()
	known, err := n.known(taken)
	if err != nil {
		return result, err
	}
	for i, t := range taken {
		n.metrics.submitted(batch.Items[i].Notice.Kind, t.Known)
		view := n.preview(batch.Items[i], now)
		if r, ok := known[t.ID]; ok && t.Known && store.Visible(r.TLP, o.Ceiling) {
			view = n.view(r, o.Ceiling)
		}
		view.ID, view.Known, view.Promoted = t.ID.String(), t.Known, t.Promoted
		result.Notices = append(result.Notices, view)
	}
	result.Notes = n.exerciseNotes(batch.Items)
	return result, nil
}

// unwritten tells whoever asked why nothing was stored, where the disk is to
// blame and a person can do something about it.
func unwritten(err error) error {
	switch {
	case errors.Is(err, store.ErrFull):
		return &api.Unavailable{Reason: "the disk is nearly full, so nothing more is stored", Fix: "free some space on the node's disk, writing then goes on by itself"}
	case errors.Is(err, store.ErrBroken):
		return &api.Unavailable{Reason: "writing to disk failed, so nothing more is stored", Fix: "check the disk, then restart watchward"}
	}
	return err
}

// known returns what was stated before, which holds as it was stated: another
// marking in a new submission does not change how far it went.
func (n *Node) known(taken []store.Submitted) (map[crypto.ItemID]store.Record, error) {
	var ids []crypto.ItemID
	for _, t := range taken {
		if t.Known {
			ids = append(ids, t.ID)
		}
	}
	return n.store.Records(ids)
}

// requestHash stands for a request as it was made: times that were left out are
// drawn anew each time and so are no part of it.
func requestHash(items []api.Submission, o api.SubmitOptions) ([32]byte, error) {
	text, err := json.Marshal(struct {
		Items []api.Submission
		TLP   notice.TLP
		Local bool
		Again bool   `json:",omitempty"`
		Drill string `json:",omitempty"`
	}{items, o.TLP, o.Local, o.Again, o.Exercise})
	if err != nil {
		return [32]byte{}, fmt.Errorf("hash request: %w", err)
	}
	return sha256.Sum256(text), nil
}

// stated makes the items that a submission asks for: one, unless it takes back
// what its origin withdrew.
func (n *Node) stated(s api.Submission, o api.SubmitOptions, now int64) ([]store.LocalItem, error) {
	if isWithdrawal(s) {
		return n.withdraw(s, o, now)
	}
	item, err := n.state(s, o, now)
	return []store.LocalItem{item}, err
}

// state makes the item that a submission asks for.
func (n *Node) state(s api.Submission, o api.SubmitOptions, now int64) (store.LocalItem, error) {
	word, err := n.word(s, o, now)
	if err != nil {
		return store.LocalItem{}, err
	}
	m, err := n.mark(s, o, word)
	if err != nil {
		return store.LocalItem{}, err
	}
	if err := n.fitsRef(word); err != nil {
		return store.LocalItem{}, err
	}
	if _, err := rand.Read(word.Salt[:]); err != nil {
		return store.LocalItem{}, fmt.Errorf("draw salt: %w", err)
	}
	if err := word.Check(now); err != nil {
		return store.LocalItem{}, err
	}
	raw, err := notice.Encode(word)
	if err != nil {
		return store.LocalItem{}, err
	}
	exercise, err := n.exercises(word, o)
	if err != nil {
		return store.LocalItem{}, err
	}
	content, err := n.contentOf(word, exercise)
	if err != nil {
		return store.LocalItem{}, err
	}
	urgent := s.Urgent || word.Kind == notice.KindMayday
	return store.LocalItem{
		Raw: raw, Notice: word, TLP: m.tlp, Audience: m.audience, To: m.to, Author: n.member,
		ID: crypto.NewItemID(n.member, crypto.LeafHash(raw)), Content: content,
		Again: o.Again, Exercise: exercise,
		Urgent: urgent && m.audience != crypto.AudienceLocal && (o.DryRun || n.urgent.take(now, word.Kind == notice.KindMayday)),
	}, nil
}

// word maps a submission to the notice it states.
func (n *Node) word(s api.Submission, o api.SubmitOptions, now int64) (*notice.Notice, error) {
	kind := notice.KindSighting
	if s.Kind != "" {
		var err error
		if kind, err = notice.ParseKind(s.Kind); err != nil {
			return nil, err
		}
	}
	w := &notice.Notice{
		Kind: kind, Created: now, Reason: s.Reason, Count: s.Count,
		FirstSeen: int64(s.FirstSeen), LastSeen: int64(s.LastSeen), ValidUntil: int64(s.ValidUntil),
	}
	if s.Value != "" {
		indicator, err := canonical(s.Type, s.Value, notice.Options{AllowSpecial: o.AllowSpecial})
		if err != nil {
			return nil, err
		}
		w.Indicator = &indicator
	}
	if s.Ref != "" {
		ref, err := crypto.ParseItemID(s.Ref)
		if err != nil {
			return nil, &notice.FieldError{Field: "ref", Reason: err.Error(), Fix: "copy the id from watchward list"}
		}
		w.Ref = &ref
	}
	if err := n.part(w, &s.Parts, o.DryRun, now); err != nil {
		return nil, err
	}
	if w.Filing = s.Report; kind == notice.KindFiling && (w.Filing == nil || len(s.To) == 0) {
		return nil, notByHand()
	}
	if w.Ref == nil {
		if err := n.replaces(w); err != nil {
			return nil, err
		}
	}
	if kind == notice.KindSighting {
		w.Count = max(w.Count, 1)
		if w.LastSeen == 0 {
			w.LastSeen = now
		}
		if w.FirstSeen == 0 {
			w.FirstSeen = w.LastSeen
		}
	}
	if s.Context != nil {
		w.Context = &notice.Context{Family: s.Context.Family, Tool: s.Context.Tool, Technique: s.Context.Technique, CVE: s.Context.CVE}
	}
	if s.Origin != nil {
		w.Origin = &notice.Origin{Source: s.Origin.Source, ID: s.Origin.ID}
		if s.Origin.TLP != "" {
			var err error
			if w.Origin.TLP, err = notice.ParseTLP(s.Origin.TLP); err != nil {
				return nil, err
			}
		}
	}
	return w, nil
}

func canonical(typ, value string, o notice.Options) (notice.Indicator, error) {
	if typ == "" {
		return notice.Detect(value, o)
	}
	t, err := notice.ParseType(typ)
	if err != nil {
		return notice.Indicator{}, err
	}
	return notice.Canonical(t, value, o)
}

// mark decides how far a word may travel: as far as the word it speaks of, else
// by its own marking, the request's, its origin's or the node's default, and
// never further than its origin allows. Where the origin says nothing, what is
// held of the same indicator binds: a list copied out of a marked mail, or out of
// what another hospital said, is as much its author's as that is.
func (n *Node) mark(s api.Submission, o api.SubmitOptions, w *notice.Notice) (marking, error) {
	tlp, none := o.TLP, marking{}
	if s.TLP != "" {
		var err error
		if tlp, err = notice.ParseTLP(s.TLP); err != nil {
			return none, err
		}
	}
	origin := notice.TLP(0)
	if w.Origin != nil {
		origin = w.Origin.TLP
	}
	if tlp == 0 {
		tlp = origin
	}
	if tlp != 0 && tlp < origin {
		return none, &notice.FieldError{Field: "tlp", Reason: fmt.Sprintf("its origin marked it TLP:%s, which TLP:%s would loosen", origin, tlp),
			Fix: fmt.Sprintf("share it as TLP:%s or stricter", origin)}
	}
	if w.Ref != nil && w.Kind != notice.KindMayday {
		if len(s.To) > 0 {
			return none, &notice.FieldError{Field: toField, Reason: "a word about a notice goes to those who heard the notice", Fix: "leave the members out"}
		}
		return n.markReference(w, o, tlp)
	}
	if o.Local && w.Kind == notice.KindMayday {
		return none, &notice.FieldError{Field: "kind", Reason: "a mayday that stays on this node calls nobody", Fix: "leave out --local (in the API: share=false)"}
	}
	if o.Local {
		if len(s.To) > 0 {
			return none, &notice.FieldError{Field: toField, Reason: "it cannot stay on this node and go to others", Fix: "leave out the members, or --local"}
		}
		return marking{tlp: tlp}, nil
	}
	if tlp == 0 && w.Kind.HasPart() { // what a hospital says of itself is for its region, unless it says otherwise
		tlp = notice.TLPAmber
	}
	if origin == 0 && w.Indicator != nil && !o.KnownElsewhere {
		var err error
		if tlp, err = n.asHeld(w, tlp, o.Ceiling); err != nil {
			return none, err
		}
	}
	if len(s.To) > 0 {
		to, err := n.recipients(s.To, tlp)
		return marking{tlp, crypto.AudienceNamed, to}, err
	}
	if tlp == 0 {
		tlp = n.defaultTLP
	}
	return n.shared(tlp)
}

// A marking is how far a word travels. The zero value stays here, unmarked.
type marking struct {
	tlp      notice.TLP
	audience crypto.Audience
	to       []crypto.MemberID // of the named audience, in order
}

// asHeld keeps a word that is to be shared from loosening what is held here:
// without a marking it takes the stricter one of that and the default, with a
// looser one it is refused. What lies above a caller's ceiling it cannot have the
// word from.
func (n *Node) asHeld(w *notice.Notice, tlp, ceiling notice.TLP) (notice.TLP, error) {
	held, err := n.store.Strictest(w.Indicator.Key(), ceiling)
	if err != nil {
		return 0, err
	}
	if tlp == 0 {
		if held > n.defaultTLP {
			return held, nil
		}
		return 0, nil
	}
	if tlp < held {
		return 0, &notice.FieldError{Field: "tlp", Reason: fmt.Sprintf("it is held here as TLP:%s, which TLP:%s would loosen", held, tlp),
			Fix: fmt.Sprintf("share it as TLP:%s or stricter, or say --known-elsewhere if you have it from somebody who allows TLP:%s too", held, tlp)}
	}
	return tlp, nil
}

// markReference marks a word about another. It goes exactly where that one
// went, so that everybody who heard the first hears the second.
func (n *Node) markReference(w *notice.Notice, o api.SubmitOptions, tlp notice.TLP) (marking, error) {
	none := marking{}
	about, found, err := n.store.Record(*w.Ref)
	if err != nil {
		return none, err
	}
	if !found || !store.Visible(about.TLP, o.Ceiling) {
		return none, &notice.FieldError{Field: "ref", Reason: fmt.Sprintf("no notice %s is known here", w.Ref), Fix: "copy the id from watchward list"}
	}
	if w.Kind == notice.KindRetraction && about.Author != n.member {
		return none, &notice.FieldError{Field: "ref", Reason: "only its author can retract a notice", Fix: "dispute it instead: watchward dispute " + w.Ref.String()}
	}
	if tlp != 0 && tlp < about.TLP {
		return none, &notice.FieldError{Field: "tlp", Reason: fmt.Sprintf("the notice it speaks of is TLP:%s", about.TLP), Fix: "leave the marking out"}
	}
	if about.Audience == crypto.AudienceLocal || o.Local && w.Kind != notice.KindRetraction {
		return marking{tlp: about.TLP}, nil
	}
	if about.Audience == crypto.AudienceNamed {
		if n.mesh == nil {
			return none, alone()
		}
		to, err := n.hearers(about)
		return marking{about.TLP, crypto.AudienceNamed, to}, err
	}
	return n.shared(about.TLP)
}

func (n *Node) shared(tlp notice.TLP) (marking, error) {
	switch tlp.Audience() {
	case crypto.AudienceLocal:
		return marking{}, &notice.FieldError{Field: "tlp", Reason: "to share it, it needs a marking",
			Fix: "say --tlp AMBER (this region) or --tlp GREEN (every endorsed region), or --local to keep it here"}
	case crypto.AudienceNamed:
		return marking{}, &notice.FieldError{Field: "tlp", Reason: fmt.Sprintf("TLP:%s goes to named members only", tlp),
			Fix: "name them (report --to MEMBER), or keep it on this node: report with --local, import without --share"}
	}
	if n.mesh == nil {
		return marking{}, alone()
	}
	if n.silenced() {
		return marking{}, &notice.FieldError{Field: "tlp", Reason: "this node's credential was revoked, so nobody would hear it",
			Fix: "ask a coordinator for watchward region supersede, or say --local to keep it here"}
	}
	if own, known := n.roster.Member(n.roster.Region(), n.member, n.serial); known && !n.roster.Allowed(own, tlp.Audience()) {
		return marking{}, &notice.FieldError{Field: "tlp", Reason: fmt.Sprintf("the region's charter gives a %s no part in what is for the region alone", own.Role),
			Fix: "mark it GREEN or CLEAR, name members (report --to), keep it here (--local), or ask the coordinators for watchward region amend --region-role"}
	}
	return marking{tlp: tlp, audience: tlp.Audience()}, nil
}

// refused names what is wrong with one submission, by its place in the request,
// in which others may have been refused before this node saw any.
func refused(s api.Submission, why *notice.FieldError) api.Refused {
	r := api.Refused{At: fmt.Sprintf("notices[%d]", s.Index), Index: s.Index, Value: s.Value, Field: why.Field, Reason: why.Reason, Fix: why.Fix}
	if s.Value == "" {
		r.Value = s.Ref
	}
	if r.Value == "" && s.Advisory != nil {
		r.Value = s.Advisory.Title
	}
	if runes := []rune(r.Value); len(runes) > 80 {
		r.Value = string(runes[:80]) + "…"
	}
	return r
}
