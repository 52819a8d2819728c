package node

import (
	"context"
	"errors"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// Export implements api.Node: page by page, the last received first. What is
// told while it runs is not in it. Nothing is held while yield takes its time.
func (n *Node) Export(ctx context.Context, q api.ExportQuery, yield func(intel.Stated) error) (count api.ExportCount, err error) {
	query := store.Query{Since: q.Since, Limit: store.ListMax, Ceiling: max(q.Ceiling, q.Sees), Takeback: true}
	if q.Mine {
		query.Author = &n.member
	}
	if q.Unmarked {
		query.Ceiling = max(query.Ceiling, notice.TLPAmberStrict) // as which they count; exported has the ceiling's last word
	}
	for {
		records, next, err := n.store.List(query)
		if err != nil {
			return count, err
		}
		for _, r := range records {
			s, ok, err := n.exported(r, q, &count)
			if err == nil && ok {
				count.Notices++
				if r.State == store.Local {
					count.Local++
				}
				err = yield(s)
			}
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return count, err
			}
		}
		if next == "" {
			return count, nil
		}
		query.Cursor = next
	}
}

// exported is what a record states outside, and whether it may; what the ceiling
// or a missing marking keeps back is counted. A retraction
// stands for what it takes back, where that came too early to come itself.
func (n *Node) exported(r store.Record, q api.ExportQuery, count *api.ExportCount) (s intel.Stated, ok bool, err error) {
	if r.Notice.Kind == notice.KindRetraction {
		if q.Since == 0 || !goesOut(r, q) {
			return s, false, nil
		}
		target, found, err := n.store.Record(*r.Notice.Ref)
		if err != nil || !found || target.Received >= q.Since || target.Author != r.Author || target.Notice.Kind == notice.KindRetraction {
			return s, false, err
		}
		r = target
		r.Retracted = true
	}
	tlp := strictest(r)
	switch {
	case r.Exercise, // outside nobody could tell a drill from the real thing
		r.Notice.Kind.HasPart() && (r.Notice.Kind != notice.KindAdvisory || !q.Advisories), // other programs have no form for it
		q.Kind != 0 && r.Notice.Kind != q.Kind:
		return s, false, nil
	case goesOut(r, q):
	case tlp > notice.ExportMax:
		count.Never++
		return s, false, nil
	case tlp > q.Ceiling:
		count.Stricter++
		return s, false, nil
	case tlp == 0:
		count.Unmarked++
		return s, false, nil
	default:
		count.Never++
		return s, false, nil
	}
	s = intel.Stated{ID: r.ID, Notice: r.Notice, TLP: r.TLP, Author: r.Author, AuthorName: n.memberName(r.Author), Retracted: r.Retracted}
	if r.Notice.Kind == notice.KindDispute && r.Notice.Ref != nil {
		target, found, err := n.store.Record(*r.Notice.Ref)
		if err != nil {
			return s, false, err
		}
		if found && target.Notice.Kind.HasPart() {
			return s, false, nil
		}
		if found && goesOut(target, q) {
			s.RefKind, s.RefValue = target.Notice.Kind, target.Notice.Indicator
		}
	}
	return s, true, nil
}

// goesOut reports whether a notice may leave in an export.
func goesOut(r store.Record, q api.ExportQuery) bool {
	tlp, exit, ceiling := r.TLP, notice.ExitExport, q.Ceiling
	if tlp == 0 {
		tlp = strictest(r)
	}
	if q.Unmarked {
		exit = notice.ExitUnmarked
		if tlp == 0 { // it counts as stricter than any export, and was asked for
			ceiling = notice.TLPAmberStrict
		}
	}
	return strictest(r) <= q.Ceiling && notice.Leaves(tlp, r.Audience, exit, ceiling)
}

// strictest is the marking of a notice or that of its origin.
func strictest(r store.Record) notice.TLP {
	if r.Notice.Origin == nil {
		return r.TLP
	}
	return notice.Stricter(r.TLP, r.Notice.Origin.TLP)
}

// withdrawMax bounds the notices of one value among which a withdrawn one is
// looked for.
const withdrawMax = 10_000

// isWithdrawal tells a retraction that names a value and whom it came from: the
// source took it back, and we retract what we had from there.
func isWithdrawal(s api.Submission) bool {
	return s.Kind == notice.KindRetraction.String() && s.Ref == "" && s.Value != "" && s.Origin != nil && s.Origin.ID != ""
}

// withdraw makes the retractions of what this node stated of a value under an
// origin's id; none if it stated nothing.
func (n *Node) withdraw(s api.Submission, o api.SubmitOptions, now int64) (items []store.LocalItem, err error) {
	indicator, err := canonical(s.Type, s.Value, notice.Options{AllowSpecial: true})
	if err != nil {
		return nil, err
	}
	records, err := n.store.Evidence(indicator.Key(), o.Ceiling, withdrawMax)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		if r.Author != n.member || r.Retracted || r.Notice.Origin == nil || r.Notice.Origin.ID != s.Origin.ID {
			continue
		}
		item, err := n.state(api.Submission{Kind: s.Kind, Ref: r.ID.String(), Reason: s.Reason}, o, now)
		if field := (*notice.FieldError)(nil); errors.As(err, &field) && field.Field == "ref" {
			continue // gone in this moment
		}
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}
