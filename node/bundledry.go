package node

import (
	"cmp"
	"slices"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// A bundleSurvey counts what a bundle would bring. admit's side owns it.
type bundleSurvey struct {
	ceiling  notice.TLP // what is stricter is in neither list
	authors  map[crypto.MemberID]*api.BundleAuthor
	contents map[api.BundleContent]int64 // by kind and marking
}

func newBundleSurvey(ceiling notice.TLP) *bundleSurvey {
	return &bundleSurvey{ceiling, map[crypto.MemberID]*api.BundleAuthor{}, map[api.BundleContent]int64{}}
}

// survey counts an envelope that would be stored.
func (i *importer) survey(c *mesh.Checked) {
	h := &c.Envelope.Header
	if c.Envelope.Erased() {
		i.expired += int64(h.Count)
		return
	}
	i.taken += int64(h.Count)
	tlp := notice.TLP(h.TLP)
	if !store.Visible(tlp, i.dry.ceiling) {
		return
	}
	author := i.dry.authors[h.Author]
	if author == nil {
		author = &api.BundleAuthor{Member: h.Author.String(), Name: i.name(h)}
		i.dry.authors[h.Author] = author
	}
	author.Notices += int64(h.Count)
	for _, item := range decode(c).Items {
		kind := "unreadable"
		if item.Notice != nil {
			kind = item.Notice.Kind.String()
		}
		i.dry.contents[api.BundleContent{Kind: kind, TLP: tlp.String()}]++
	}
}

// answer lists what was counted, the most first; of the authors no more than are told.
func (s *bundleSurvey) answer() (authors []api.BundleAuthor, contents []api.BundleContent) {
	for _, a := range s.authors {
		authors = append(authors, *a)
	}
	slices.SortFunc(authors, func(a, b api.BundleAuthor) int {
		return cmp.Or(cmp.Compare(b.Notices, a.Notices), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Member, b.Member))
	})
	for c, n := range s.contents {
		c.Notices = n
		contents = append(contents, c)
	}
	slices.SortFunc(contents, func(a, b api.BundleContent) int {
		return cmp.Or(cmp.Compare(b.Notices, a.Notices), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.TLP, b.TLP))
	})
	return authors[:min(len(authors), api.BundleAuthorsMax)], contents
}
