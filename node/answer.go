package node

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/situation"
	"github.com/watchward/watchward/node/store"
)

// What a node does by itself on questions of others within an hour: answers and alerts.
// Whoever asks 10,000 questions must not make a whole region speak.
const (
	actsHour  = 60
	actsAsker = 10 // because of one member
)

// answers counts what was done on questions of late. heed alone uses it.
type answers struct {
	loaded bool // what was answered before the start is known
	acts   []act
}

type act struct {
	asker crypto.MemberID
	at    int64 // ms
}

// room reports whether something may be done on a question of a member now. What was
// answered before a start is read from the store.
func (a *answers) room(n *Node, asker crypto.MemberID, now int64) (bool, error) {
	const hour = int64(time.Hour / time.Millisecond)
	if !a.loaded {
		said, _, err := n.store.List(store.Query{Kind: notice.KindResponse, Author: &n.member, Since: now - hour, Takeback: true, Limit: store.ListMax})
		if err != nil {
			return false, err
		}
		for _, r := range said {
			if q, found, err := n.store.Record(*r.Notice.Ref); err != nil {
				return false, err
			} else if found && q.Notice.Kind == notice.KindQuestion && !q.Exercise {
				a.acts = append(a.acts, act{q.Author, r.Received})
			}
		}
		a.loaded = true
	}
	a.acts = slices.DeleteFunc(a.acts, func(b act) bool { return b.at <= now-hour || b.at > now })
	by := 0
	for _, b := range a.acts {
		if b.asker == asker {
			by++
		}
	}
	return len(a.acts) < actsHour && by < actsAsker, nil
}

// asked does what this node does by itself on a question of another hospital: it
// answers, as far as its policy allows (config, ask.answer), or else alerts its people
// if they have seen what is asked for and have not told. All other questions page
// nobody: they are in the situation and in the status until somebody answers.
func (h *heed) asked(q store.Record) error {
	n, now := h.n, h.n.now().UnixMilli()
	if q.Author == n.member || q.Retracted || q.Expiry <= now || n.floods.muted(q.Author, false, n.now()) ||
		factSaid(q) <= now-situation.AskedFor.Milliseconds() {
		return nil
	}
	done := &h.answers
	if q.Exercise { // a drill takes no room of real questions
		done = &h.drillAnswers
	}
	if room, err := done.room(n, q.Author, now); err != nil || !room {
		return err
	}
	said, err := n.store.SpokenBy(q.ID, n.member)
	if err != nil || len(said) > 0 { // once, also where it was taken back
		return err
	}
	own, err := n.ownWords(*q.Notice.Indicator, 0)
	if err != nil {
		return err
	}
	own, did := sameWorld(own, q.Exercise), false
	if answer := ownAnswer(n.o.Settings.Ask.Answer, q, own); answer != 0 && !q.Exercise { // a drill is for people
		did, err = n.respond(q, answer)
	} else if seen := ownSeen(own); seen != nil && !answersItself(q, own, now) {
		did = n.alertAsked(q, own, seen)
	}
	if did {
		done.acts = append(done.acts, act{q.Author, now})
	}
	return err
}

// factSaid is when a notice was said, never after it came.
func factSaid(r store.Record) int64 {
	if r.Flags&store.ClockOff != 0 {
		return r.Received
	}
	return min(r.Notice.Created, r.Received)
}

// sameWorld leaves out what was said in drills, unless it is asked for in one.
func sameWorld(own []store.Record, exercise bool) []store.Record {
	return slices.DeleteFunc(own, func(r store.Record) bool { return r.Exercise && !exercise })
}

// ownWords returns what this hospital itself has of a value: of the value, its parent
// names, the networks around it and the host of a URL; what it saw, imported and
// disputed, shared or not.
func (n *Node) ownWords(i notice.Indicator, ceiling notice.TLP) (own []store.Record, err error) {
	n.candidates(i, true, func(c notice.Indicator) bool {
		key := c.Key()
		if !n.store.MayHave(key) {
			return true
		}
		var found []store.Record
		found, err = n.store.EvidenceBy(key, n.member, ceiling)
		own = append(own, found...)
		return err == nil
	})
	return own, err
}

// ownAnswer is what a node answers by itself to a question, 0 if a person decides.
//
// "seen" tells nobody anything new: whoever hears it was told the sighting itself.
// "not-seen" goes to this region only, and is said only where nothing of the hospital's
// own is there at all: of what is kept here not even the denial may be untrue. To what
// is sealed a person answers.
func ownAnswer(policy string, q store.Record, own []store.Record) notice.Answer {
	if policy != config.AnswerSeen && policy != config.AnswerAll || q.Audience == crypto.AudienceNamed {
		return 0
	}
	told := false
	for _, r := range own {
		if r.Notice.Kind == notice.KindDispute {
			return 0 // its people think that it is none
		}
		told = told || tells(q, r)
	}
	switch {
	case told:
		return notice.AnswerSeen
	case policy == config.AnswerAll && len(own) == 0 && q.Audience == crypto.AudienceRegion:
		return notice.AnswerNotSeen
	}
	return 0
}

// tells reports whether a notice is a sighting of what is asked for that all who hear
// an answer have been told.
func tells(q, r store.Record) bool {
	return r.Notice.Kind == notice.KindSighting && *r.Notice.Indicator == *q.Notice.Indicator && r.State == store.Signed &&
		(r.Audience == crypto.AudienceRegion || r.Audience == crypto.AudienceCommunity) && r.TLP != 0 && r.TLP <= q.TLP
}

// answersItself reports whether a sighting of this hospital shows as its answer.
func answersItself(q store.Record, own []store.Record, now int64) bool {
	return slices.ContainsFunc(own, func(r store.Record) bool {
		return tells(q, r) && r.Notice.LastSeen > now-situation.Window.Milliseconds()
	})
}

// respond answers a question by itself.
func (n *Node) respond(q store.Record, answer notice.Answer) (bool, error) {
	done, err := n.Submit(n.ctx, []api.Submission{{Kind: notice.KindResponse.String(), Ref: q.ID.String(),
		Parts: api.Parts{Response: &api.Response{Answer: answer.String()}}}}, api.SubmitOptions{})
	for _, refused := range done.Refused { // a person's answer would be refused as well
		n.log.Warn("a question is not answered", slog.String("question", q.ID.String()), slog.String("reason", refused.Reason))
	}
	return len(done.Notices) > 0, err
}

// alertAsked tells people that a question is about what they have seen.
func (n *Node) alertAsked(q store.Record, own []store.Record, seen *api.OwnSeen) bool {
	a := store.Alert{Kind: "question", Severity: "warning", TLP: q.TLP.House(), Refs: []crypto.ItemID{q.ID},
		Dedup: drillDedup(q, fmt.Sprintf("question/%x/%s", q.Notice.Indicator.Key(), time.UnixMilli(q.Received).UTC().Format(time.DateOnly)))}
	for _, r := range own {
		a.TLP = notice.Stricter(a.TLP, r.TLP.House())
	}
	kept := ""
	if seen.Kept {
		kept = n.printer().Text(catalog.AlertQuestionKept)
	}
	a.Text = n.marked(q, n.text(catalog.AlertQuestion,
		n.nameOrID(q.Author), q.Notice.Indicator.Type.String(), shorten(q.Notice.Indicator.Value, spreadShownMax),
		n.printer().Brief(time.UnixMilli(int64(seen.Last)).UTC()), kept))
	return n.alert(a)
}

// ownShown is how many ids an OwnSeen has.
const ownShown = 4

// ownSeen sums up the sightings among a hospital's own words, nil if there is none.
func ownSeen(own []store.Record) *api.OwnSeen {
	own = slices.DeleteFunc(slices.Clone(own), func(r store.Record) bool { return r.Notice.Kind != notice.KindSighting })
	if len(own) == 0 {
		return nil
	}
	slices.SortFunc(own, func(a, b store.Record) int {
		return cmp.Or(cmp.Compare(b.Notice.LastSeen, a.Notice.LastSeen), strings.Compare(a.ID.String(), b.ID.String()))
	})
	s := &api.OwnSeen{Last: api.Time(own[0].Notice.LastSeen), Kept: true}
	for _, r := range own {
		s.Count += r.Notice.Count
		s.Kept = s.Kept && r.Audience == crypto.AudienceLocal
		if v := r.Notice.Indicator.Value; !slices.Contains(s.Values, v) && len(s.Values) < ownShown {
			s.Values = append(s.Values, v)
		}
		if len(s.IDs) < ownShown {
			s.IDs = append(s.IDs, r.ID.String())
		}
	}
	return s
}

// questionsMax is how many questions one answer of the API has.
const questionsMax = 100

// unanswered returns the open questions of others that this hospital has not answered,
// the oldest first. What it told them by a sighting it has answered.
func (n *Node) unanswered(ceiling notice.TLP) []situation.Question {
	n.picture.mu.Lock()
	picture := n.picture.now
	n.picture.mu.Unlock()
	open := picture.Questions(situation.Ask{Now: n.now().UnixMilli(), Ceiling: ceiling})
	return slices.DeleteFunc(open, func(q situation.Question) bool {
		return q.Member == n.member || slices.ContainsFunc(q.Answers, func(a situation.Answer) bool {
			return a.Member == n.member && !n.keeps(a)
		})
	})
}

// keeps reports whether an answer is a sighting of this hospital that nobody was told.
func (n *Node) keeps(a situation.Answer) bool {
	if a.Member != n.member || !a.Sighting {
		return false
	}
	r, found, err := n.store.Record(a.ID)
	return err == nil && found && r.Audience == crypto.AudienceLocal
}

// Questions implements api.Node. Members take turns, so that who asks much hides nobody.
func (n *Node) Questions(ctx context.Context, ceiling notice.TLP) (out api.QuestionsAnswer, _ error) {
	open := n.unanswered(ceiling)
	turn, turns := map[crypto.MemberID]int{}, map[crypto.ItemID]int{}
	for _, q := range open {
		turns[q.ID] = turn[q.Member]
		turn[q.Member]++
	}
	slices.SortStableFunc(open, func(a, b situation.Question) int { return cmp.Compare(turns[a.ID], turns[b.ID]) })
	s := newSituationView(n)
	for i, q := range open {
		if len(out.Questions) == questionsMax {
			out.More = len(open) - i
			break
		}
		if said, err := n.store.SpokenBy(q.ID, n.member); err != nil {
			return out, err
		} else if slices.ContainsFunc(said, func(r store.Record) bool { return !r.Retracted && r.Notice.Kind == notice.KindResponse }) {
			continue // it is so long ago that the picture has forgotten it
		}
		own, err := n.ownWords(q.Indicator, ceiling)
		if err != nil {
			return out, err
		}
		out.Questions = append(out.Questions, api.OpenQuestion{QuestionView: s.question(q), Own: ownSeen(sameWorld(own, q.Exercise))})
	}
	return out, ctx.Err()
}
