package node

import (
	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// A said is the answer to a submission that states nothing new.
type said struct {
	before int // items of the batch that come before it
	view   api.NoticeView
}

// saidBefore returns the notice that a submission names as its own, if this node has
// it: what comes back out of an export of the region was said already, by its
// author, and saying it again would make the importer a second witness. A notice
// about another value than the submission's is not it.
func (n *Node) saidBefore(s api.Submission, o api.SubmitOptions) (view api.NoticeView, ok bool, err error) {
	if s.Notice == "" {
		return view, false, nil
	}
	id, err := crypto.ParseItemID(s.Notice)
	if err != nil { // the API has refused it already
		return view, false, nil
	}
	r, found, err := n.store.Record(id)
	if err != nil || !found || !store.Visible(r.TLP, o.Ceiling) {
		return view, false, err
	}
	if about := r.Notice.Indicator; about != nil && s.Value != "" {
		same, err := canonical(s.Type, s.Value, notice.Options{AllowSpecial: true})
		if err != nil || same != *about {
			return view, false, nil
		}
	}
	view = n.view(r, o.Ceiling)
	view.Known = true
	return view, true, nil
}

// weave puts what was held between the answers about the batch, in the order of
// the request.
func weave(answers []api.NoticeView, held []said) []api.NoticeView {
	if len(held) == 0 {
		return answers
	}
	out := make([]api.NoticeView, 0, len(answers)+len(held))
	for i := 0; ; i++ {
		for len(held) > 0 && (held[0].before <= i || i >= len(answers)) {
			out, held = append(out, held[0].view), held[1:]
		}
		if i >= len(answers) {
			return out
		}
		out = append(out, answers[i])
	}
}
