package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/document"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const (
	documentsDir    = "documents"
	documentsLook   = 10 * time.Second // whether something is named no longer
	documentsAnew   = time.Hour        // advisories expire
	documentsListed = 200              // advisories that are read at once
)

// documents keeps the documents that advisories name, as long as these hold.
type documents struct {
	*document.Documents
	n      *Node
	stale  atomic.Bool // something is named no longer, or may be
	naming sync.Mutex  // held from the listing of what is named until it is wanted, and for what comes meanwhile
}

// openDocuments opens the documents of this node, which a node without a region has too.
func (n *Node) openDocuments() error {
	if n.o.Lab != nil { // in a lab nothing is on disk
		return nil
	}
	lied := prometheus.NewCounter(prometheus.CounterOpts{Name: "watchward_documents_refused_total", Help: "Streams of members that sent what is not in a document, or was not asked for."})
	c := document.Config{
		Dir: filepath.Join(n.o.Dir, documentsDir), Max: int64(n.o.Settings.Documents.MiB) << 20,
		Self: n.member, Now: n.now, Log: n.log, Liar: lied.Inc,
	}
	if n.mesh != nil {
		c.Network = documentCarrier{n}
	}
	d, err := document.Open(c)
	if err != nil {
		return err
	}
	n.documents = &documents{Documents: d, n: n}
	n.registry.MustRegister(lied, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "watchward_documents_missing", Help: "Documents that advisories name and this node has not got yet.",
	}, func() float64 { return float64(d.Missing()) }))
	return nil
}

// start fetches what is named, and serves it.
func (s *documents) start() {
	after := s.n.store.Last()
	if err := s.all(); err != nil {
		s.n.log.Error("documents that advisories name", slog.Any("err", err))
		s.stale.Store(true)
	}
	s.Start()
	if s.n.mesh != nil {
		s.n.mesh.HandleBulk(document.Protocol, func(peer string, b *mesh.Bulk) { s.Serve(peer, b) })
	}
	s.n.wait.Go(func() { s.follow(after) })
	s.n.wait.Go(s.keep)
}

// follow wants what new advisories name.
func (s *documents) follow(after uint64) {
	for s.n.ctx.Err() == nil {
		err := s.n.store.Follow(s.n.ctx, after, 0, func(local uint64, records []store.Record) error {
			for _, r := range records {
				if r.Notice.Kind == notice.KindRetraction {
					s.stale.Store(true)
				}
				s.more(r)
			}
			after = local
			return nil
		})
		if s.n.ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
			return
		}
		s.n.log.Error("documents of new advisories", slog.Any("err", err))
		select {
		case <-s.n.ctx.Done():
		case <-time.After(pictureAgain):
		}
	}
}

// keep lets go of what is named no longer.
func (s *documents) keep() {
	var changed <-chan struct{}
	if s.n.roster != nil {
		changed = s.n.roster.Changed()
	}
	look, anew := time.NewTicker(documentsLook), time.NewTicker(documentsAnew)
	defer look.Stop()
	defer anew.Stop()
	for {
		select {
		case <-s.n.ctx.Done():
			return
		case <-changed:
			changed = s.n.roster.Changed()
			s.stale.Store(true)
			continue
		case <-anew.C:
		case <-look.C:
			if !s.stale.Load() {
				continue
			}
		}
		s.stale.Store(false)
		if err := s.all(); err != nil && s.n.ctx.Err() == nil {
			s.stale.Store(true)
			s.n.log.Error("documents that advisories name", slog.Any("err", err))
		}
	}
}

// all wants what all advisories that hold name, and nothing else.
func (s *documents) all() error { return s.only(s.named) }

// only wants what list returns, and what a new advisory names while it lists.
func (s *documents) only(list func() ([]document.Wanted, error)) error {
	s.naming.Lock()
	defer s.naming.Unlock()
	all, err := list()
	if err == nil {
		s.WantAll(all)
	}
	return err
}

// more wants what a new advisory names.
func (s *documents) more(r store.Record) {
	s.naming.Lock()
	defer s.naming.Unlock()
	s.n.wantDocuments(r)
}

// named returns what all advisories that hold name.
func (s *documents) named() (all []document.Wanted, err error) {
	err = s.each(0, func(r store.Record) bool {
		all = append(all, s.n.wanted(r)...)
		return true
	})
	return all, err
}

// each yields the advisories that hold, within a ceiling, the newest first.
func (s *documents) each(ceiling notice.TLP, yield func(store.Record) bool) error {
	for q := (store.Query{Kind: notice.KindAdvisory, Ceiling: ceiling, Limit: documentsListed}); ; {
		records, next, err := s.n.store.List(q)
		if err != nil {
			return err
		}
		for _, r := range records {
			if !yield(r) {
				return nil
			}
		}
		if next == "" {
			return nil
		}
		q.Cursor = next
	}
}

// wantDocuments wants what a notice names, if it holds. It is quick, and twice the same
// is once.
func (n *Node) wantDocuments(r store.Record) {
	if n.documents == nil || r.Retracted || r.Expiry > 0 && r.Expiry <= n.now().UnixMilli() {
		return
	}
	for _, w := range n.wanted(r) {
		n.documents.Want(w)
	}
}

// wanted is what a notice names, for those who hear it. What is not signed yet is for
// this node alone.
func (n *Node) wanted(r store.Record) (out []document.Wanted) {
	if r.Notice == nil || r.Notice.Advisory == nil {
		return nil
	}
	var to document.Audience
	if r.Header != nil {
		to = document.Audience{Region: r.Header.Region, Audience: r.Audience}
		if r.Audience == crypto.AudienceNamed {
			to.Members = append(slices.Clone(r.To), r.Author)
		}
	}
	for _, d := range r.Notice.Advisory.Documents {
		out = append(out, document.Wanted{Ref: document.Ref{ID: d.SHA256, Chunks: d.Chunks, Size: d.Size}, Author: r.Author, To: to})
	}
	return out
}

// documentCarrier is the mesh as documents see it.
type documentCarrier struct{ n *Node }

// Peers implements document.Network.
func (c documentCarrier) Peers(w document.Wanted) (out []string) {
	for _, peer := range c.n.mesh.Connected() {
		if !c.May(peer, w.To) {
			continue
		}
		if credential, ok := c.n.roster.ByPeer(peer); ok && credential.Member == w.Author {
			out = slices.Insert(out, 0, peer)
		} else {
			out = append(out, peer)
		}
	}
	return out
}

// Open implements document.Network.
func (c documentCarrier) Open(ctx context.Context, peer string) (document.Stream, error) {
	return c.n.mesh.OpenBulk(ctx, peer, document.Protocol)
}

// May implements document.Network.
func (c documentCarrier) May(peer string, to document.Audience) bool {
	if to.Audience == crypto.AudienceNamed {
		credential, ok := c.n.roster.ByPeer(peer)
		return ok && slices.Contains(to.Members, credential.Member)
	}
	return c.n.mesh.MayHear(peer, to.Region, to.Audience)
}

// PutDocument implements api.Node.
func (n *Node) PutDocument(_ context.Context, r io.Reader) (api.DocumentAnswer, error) {
	ref, err := n.documents.Put(r)
	switch {
	case errors.Is(err, document.ErrFull):
		return api.DocumentAnswer{}, &api.Unavailable{Reason: "there is no room for more documents", Fix: "raise documents.mib in the configuration, or retract advisories with documents that are old"}
	case errors.Is(err, document.ErrEmpty):
		return api.DocumentAnswer{}, &notice.FieldError{Field: "body", Reason: "the document is empty", Fix: "choose another file"}
	case err != nil:
		return api.DocumentAnswer{}, err
	}
	return api.DocumentAnswer{SHA256: ref.ID.String(), Size: ref.Size}, nil
}

// Document implements api.Node.
func (n *Node) Document(_ context.Context, sha256 string, ceiling notice.TLP) (file api.DocumentFile, found bool, err error) {
	id, err := document.ParseHash(sha256)
	if err != nil {
		return file, false, &notice.FieldError{Field: "sha256", Reason: err.Error(), Fix: "watchward show ID lists an advisory's documents"}
	}
	named, visible := false, false
	err = n.documents.each(0, func(r store.Record) bool {
		for _, d := range r.Notice.Advisory.Documents {
			if d.SHA256 == id {
				named = true
				if !visible && store.Visible(r.TLP, ceiling) {
					visible, file.Name = true, d.Name
				}
			}
		}
		return !visible
	})
	if err != nil || !visible && (named || !store.Visible(0, ceiling)) {
		return api.DocumentFile{}, false, err
	}
	file.Content, err = n.documents.Content(id)
	switch {
	case errors.Is(err, document.ErrMissing) && named:
		return file, false, &api.Unavailable{Reason: "this document has not come yet", Fix: "it comes when a member that holds it is connected: try again later"}
	case errors.Is(err, document.ErrMissing):
		return file, false, nil
	}
	return file, err == nil, err
}

// documentOf fills in how an advisory names a document that was put here.
func (n *Node) documentOf(field string, d *notice.Document) error {
	err, ref := error(document.ErrMissing), document.Ref{}
	if n.documents != nil {
		ref, err = n.documents.Ref(d.SHA256)
	}
	switch {
	case errors.Is(err, document.ErrMissing):
		return &notice.FieldError{Field: field + ".sha256", Reason: "no document with this SHA-256 is here", Fix: "put the file first: POST /v1/documents, which watchward advise does"}
	case err != nil:
		return err
	case d.Size != 0 && d.Size != ref.Size:
		return &notice.FieldError{Field: field + ".size", Reason: "the document has another size", Fix: "leave it out"}
	}
	d.Size, d.Chunks = ref.Size, ref.Chunks
	return nil
}
