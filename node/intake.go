package node

import (
	"context"
	"fmt"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/stix"
	"github.com/watchward/watchward/node/notice"
)

// intakeBatch is how many notices are stated at once.
const intakeBatch = 1_000

// An intake says under which rules something is taken in that other programs state.
type intake struct {
	caller  string     // token or bridge, for the security log
	ceiling notice.TLP // what it may see: a reference above it is not found
	share   bool       // stated to the region, else kept here
	marking notice.TLP // of what has none; 0 = that is refused
}

// A takenIn is what became of something found.
type takenIn struct {
	ok     bool
	known  bool            // nothing was stated: it is held already
	plain  bool            // it states nothing by itself, or is not meant to be taken
	by     crypto.MemberID // who has stated the same from there; zero = nobody else
	reason string          // if it was not taken, why and what to do
}

// takeIn states what a reader found, each under its own marking, and says of each what
// became of it. What came from this mesh, or is held from the same origin by whatever
// way, states nothing: so it goes in no circle.
func (n *Node) takeIn(ctx context.Context, in intake, found []intel.Found) ([]takenIn, error) {
	out := make([]takenIn, len(found))
	var batch []api.Submission
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		result, err := n.Submit(ctx, batch, api.SubmitOptions{Local: !in.share, Ceiling: in.ceiling, Caller: in.caller})
		if err != nil {
			return err
		}
		for _, s := range batch {
			out[s.Index] = takenIn{ok: true}
		}
		for _, i := range result.Absent {
			out[i] = takenIn{ok: true, known: true}
		}
		for _, r := range result.Refused {
			out[r.Index] = takenIn{reason: joined(r.Reason, r.Fix)}
		}
		if len(result.Notices) == len(batch) { // else withdrawals, or refusals, stand between
			for i, v := range result.Notices {
				out[batch[i].Index].known = v.Known
			}
		}
		batch = batch[:0]
		return nil
	}
	for i, f := range found {
		why, held, by, err := n.fitsIn(&in, &f)
		switch {
		case err != nil:
			return nil, err
		case why != "":
			out[i] = takenIn{reason: why, plain: f.Skipped}
			continue
		case held:
			out[i] = takenIn{ok: true, known: true, by: by}
			continue
		}
		s := api.SubmissionOf(f)
		s.Index = i
		if batch = append(batch, s); len(batch) == intakeBatch {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	return out, flush()
}

func joined(reason, fix string) string {
	if fix == "" {
		return reason
	}
	return reason + ": " + fix
}

// fitsIn says why something found is not taken, or that it is held already.
func (n *Node) fitsIn(in *intake, f *intel.Found) (why string, held bool, by crypto.MemberID, err error) {
	switch {
	case f.Notice == nil && f.Item == nil:
		return f.Reason, false, by, nil
	case f.Notice == nil: // known by its id alone
		_, found, err := n.store.Record(*f.Item)
		if err == nil && !found {
			why = f.Reason
		}
		return why, found, by, err
	case f.Unclear != "" && in.marking == 0:
		return "its marking " + f.Unclear + " is not known, so nobody can say how far it may travel: mark it with a TLP marking", false, by, nil
	case f.TLP == 0 && in.marking == 0:
		return "it has no marking, so nobody can say how far it may travel: mark it TLP:CLEAR, GREEN or AMBER", false, by, nil
	case f.TLP > notice.ExportMax:
		return fmt.Sprintf("TLP:%s is for named people and is not taken from other programs: hand it over in person", f.TLP), false, by, nil
	}
	if f.TLP == 0 || f.Unclear != "" {
		f.TLP = notice.Stricter(f.TLP, in.marking)
	}
	held, by, err = n.circles(in, f)
	return "", held, by, err
}

// circles reports whether something found came from here, or is held from the same
// origin. What its origin takes back is for Submit, which finds what was stated of it.
func (n *Node) circles(in *intake, f *intel.Found) (held bool, by crypto.MemberID, err error) {
	if f.Item != nil {
		if r, found, err := n.store.Record(*f.Item); err != nil || found && (r.Notice.Indicator == nil || f.Notice.Indicator == nil || *r.Notice.Indicator == *f.Notice.Indicator) {
			return found, by, err
		}
	}
	if n.handout == nil {
		return false, by, nil
	}
	for _, name := range otherNames(f) {
		if has, err := n.handout.shelf.Has(name); err != nil || has {
			return has, by, err
		}
		if held, by, err = n.heldFrom(in, name, f); err != nil || held {
			return held, by, err
		}
	}
	return false, by, nil
}

// otherNames are ids under which what was found may be known here: that of its origin,
// and those that a notice has in STIX and in MISP, for it may have come both ways.
func otherNames(f *intel.Found) (names []string) {
	add := func(id crypto.ItemID) { names = append(names, id.String(), stix.ID(f.Notice.Kind, id)) }
	if o := f.Notice.Origin; o != nil && o.ID != "" {
		names = append(names, o.ID)
		if id, err := crypto.ParseItemID(o.ID); err == nil {
			add(id)
		}
	}
	if f.Item != nil {
		add(*f.Item)
	}
	return names
}

// heldFrom reports whether what was found was stated from an origin already, and by whom
// if that is another member.
func (n *Node) heldFrom(in *intake, origin string, f *intel.Found) (held bool, by crypto.MemberID, err error) {
	if f.Withdrawn || origin == "" {
		return false, by, nil
	}
	ids, err := n.handout.shelf.Origin(origin)
	if err != nil {
		return false, by, err
	}
	for _, id := range ids {
		r, found, err := n.store.Record(id)
		if err != nil {
			return false, by, err
		}
		// What this node said itself is Submit's to judge: it may be shared now. Under
		// another name it would be another word there.
		if r.Author == n.member && (origin == f.Notice.Origin.ID || in.share && r.Audience == crypto.AudienceLocal) {
			continue
		}
		if found && !r.Retracted && r.Notice.Kind == f.Notice.Kind && r.Notice.Indicator != nil &&
			f.Notice.Indicator != nil && *r.Notice.Indicator == *f.Notice.Indicator {
			if r.Author != n.member {
				by = r.Author
			}
			return true, by, nil
		}
	}
	return false, by, nil
}
