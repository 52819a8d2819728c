package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/seal"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/bundle"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// Bounds of what an import holds at once: one such batch is read and checked
// while another is admitted.
const (
	importEnvelopes = 64
	importBytes     = 4 << 20
	importRecords   = 1_000
	recipientsNamed = 3     // of a part that is sealed for others
	unknownMax      = 1_000 // authors told apart whose credential is missing
)

// ImportBundle implements api.Node. Every envelope passes through the one door
// (path.go) as sync brings it. It is not sent on: the others' own sessions find
// it, and a stick must not flood the mesh with history. An author's budget of
// bytes a day is about what peers make this node pull, and does not count here.
func (n *Node) ImportBundle(ctx context.Context, r io.Reader) (api.BundleAnswer, error) {
	if n.roster == nil {
		return api.BundleAnswer{}, errNoRegion
	}
	i := newImporter(n, r, n.roster)
	return i.run(ctx, i.admit)
}

// CheckBundle implements api.Node: everything is done that an import does, but with
// a copy of the roster, and nothing is kept.
func (n *Node) CheckBundle(ctx context.Context, r io.Reader, ceiling notice.TLP) (api.BundleAnswer, error) {
	if n.roster == nil {
		return api.BundleAnswer{}, errNoRegion
	}
	i := newImporter(n, r, n.roster.Clone())
	i.dry = newBundleSurvey(ceiling)
	a, err := i.run(ctx, func(context.Context) error {
		for batch := range i.ready {
			for _, c := range batch {
				i.survey(c)
			}
		}
		return nil
	})
	a.Authors, a.Contents = i.dry.answer()
	return a, err
}

func newImporter(n *Node, r io.Reader, roster *trust.Roster) *importer {
	return &importer{n: n, roster: roster, in: bundle.NewReader(r), unknown: map[crypto.MemberID]int64{}, ready: make(chan []*mesh.Checked, 1)}
}

// run reads everything and hands it to admit by i.ready.
func (i *importer) run(ctx context.Context, admit func(context.Context) error) (api.BundleAnswer, error) {
	known := len(i.roster.Members(i.roster.Region()))
	// Reading ends when admitting fails, but not the other way round: what was
	// read before the stream failed is taken.
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var group errgroup.Group
	group.Go(func() error {
		defer close(i.ready)
		return i.read(reading)
	})
	group.Go(func() error {
		err := admit(ctx)
		stop(err)
		return err
	})
	err := group.Wait()
	if errors.Is(err, store.ErrFull) {
		err = &api.Unavailable{Reason: "the disk is nearly full, so nothing more is stored", Fix: "free some space and import it again: it goes on where it was"}
	}
	if err != nil {
		return api.BundleAnswer{}, err
	}
	i.a.Taken, i.a.Expired, i.a.Known, i.a.Held = i.taken, i.expired, i.a.Known+i.known, i.a.Held+i.waits
	i.a.NewMembers = len(i.roster.Members(i.roster.Region())) - known
	for member, count := range i.unknown {
		i.a.Unknown = append(i.a.Unknown, api.BundleUnknown{Member: member.String(), Notices: count})
	}
	slices.SortFunc(i.a.Unknown, func(a, b api.BundleUnknown) int { return strings.Compare(a.Member, b.Member) })
	return i.a, nil
}

// An importer takes in one stream of parts.
type importer struct {
	n      *Node
	roster *trust.Roster // the node's, or a copy
	dry    *bundleSurvey // nil = take it in
	in     *bundle.Reader
	part   bundle.Header
	ready  chan []*mesh.Checked // from read to admit

	// read owns these
	a         api.BundleAnswer
	unknown   map[crypto.MemberID]int64
	envelopes []bundle.Item
	records   []bundle.Item
	bytes     int

	// admit owns these
	taken, known, expired, waits int64
}

// read reads parts, checks what they hold, and hands it over in batches. An
// error means that nothing was read, or that this node cannot go on.
func (i *importer) read(ctx context.Context) error {
	for {
		err := i.readPart(ctx)
		switch {
		case err == nil:
			continue
		case errors.Is(err, io.EOF):
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		field, ok := asField(err)
		if !ok || len(i.a.Parts) == 0 && i.a.Read == 0 && i.a.RefusedCount == 0 {
			if ok {
				return field
			}
			return err
		}
		i.a.Broken = field.Reason
		if field.Fix != "" {
			i.a.Broken += ": " + field.Fix
		}
		return nil
	}
}

// asField makes of an error in what was read what the client is told, and
// reports whether it is one.
func asField(err error) (*notice.FieldError, bool) {
	var field *notice.FieldError
	if errors.As(err, &field) {
		return field, true
	}
	var broken *bundle.BrokenError
	if errors.Is(err, bundle.ErrNoBundle) || errors.Is(err, bundle.ErrVersion) || errors.As(err, &broken) {
		reason, fix, _ := strings.Cut(err.Error(), ": ")
		return &notice.FieldError{Field: "body", Reason: reason, Fix: fix}, true
	}
	return nil, false
}

func (i *importer) readPart(ctx context.Context) error {
	var err error
	if i.part, err = i.in.Part(); err != nil {
		return err
	}
	if len(i.a.Parts) >= api.BundlePartsMax {
		return &notice.FieldError{Field: "body", Reason: fmt.Sprintf("more than %d parts", api.BundlePartsMax), Fix: "import the rest apart"}
	}
	if err := i.mine(); err != nil {
		return err
	}
	if i.part.Sealed() {
		if err := i.open(); err != nil {
			return err
		}
	}
	for {
		item, err := i.in.Next()
		switch {
		case err != nil:
			if e := i.flush(ctx); e != nil {
				return e
			}
			if errors.Is(err, io.EOF) {
				i.a.Parts = append(i.a.Parts, api.BundleRead{
					Created: api.Time(i.part.Created), Audience: i.part.Audience.String(), Part: i.part.Part, More: i.in.More(),
				})
				return nil
			}
			return err
		case item.Err != nil:
			i.refuse(item, "", "it is damaged")
		case item.Record:
			i.records = append(i.records, item)
		default:
			i.envelopes = append(i.envelopes, item)
		}
		i.bytes += len(item.Raw)
		if len(i.envelopes) >= importEnvelopes || len(i.records) >= importRecords || i.bytes >= importBytes {
			if err := i.flush(ctx); err != nil {
				return err
			}
		}
	}
}

// mine checks that the part is of a region whose members are heard here.
func (i *importer) mine() error {
	if i.roster.Endorses(i.part.Region) {
		return nil
	}
	own := i.roster.Region().String()
	if c := i.roster.Charter(); c != nil {
		own = fmt.Sprintf("%q (%.12s…)", c.Name, own)
	}
	return &notice.FieldError{Field: "body",
		Reason: fmt.Sprintf("this bundle is of the region %q (%.12s…), this node belongs to %s", i.part.Name, i.part.Region, own),
		Fix:    "give it to a member of its region"}
}

// open opens a sealed part, or says for whom it is.
func (i *importer) open() error {
	err := i.in.Open(i.n.member, i.n.identity.SealSeed)
	not := (*seal.NotRecipientError)(nil)
	if !errors.As(err, &not) {
		return err
	}
	var names []string
	for _, id := range not.Recipients[:min(recipientsNamed, len(not.Recipients))] {
		name := i.n.memberName(id)
		if name == "" {
			name = id.String()[:12] + "…"
		}
		names = append(names, name)
	}
	others := strings.Join(names, ", ")
	if more := len(not.Recipients) - len(names); more > 0 {
		others += fmt.Sprintf(" and %d more", more)
	}
	return &notice.FieldError{Field: "body", Reason: fmt.Sprintf("this part is sealed for %s, not for %s", others, i.n.name),
		Fix: fmt.Sprintf("ask for one that is: watchward export --bundle --to %q", i.n.name)}
}

// flush adds the records that were read, then checks the envelopes.
func (i *importer) flush(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := i.addRecords(ctx); err != nil {
		return err
	}
	checked := make([]*mesh.Checked, len(i.envelopes))
	errs := make([]error, len(i.envelopes))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for j, item := range i.envelopes {
		group.Go(func() error {
			if i.dry != nil {
				checked[j], _, errs[j] = path{i.n}.check(i.roster, item.Raw, mesh.ViaSync, crypto.Region{}, 0)
			} else {
				checked[j], errs[j] = path{i.n}.Check(item.Raw, mesh.ViaSync, crypto.Region{}, 0)
			}
			return nil
		})
	}
	_ = group.Wait()
	var batch []*mesh.Checked
	for j, item := range i.envelopes {
		if errs[j] != nil {
			i.judge(item, errs[j])
		} else {
			i.a.Read += int64(checked[j].Envelope.Header.Count)
			batch = append(batch, checked[j])
		}
	}
	i.envelopes, i.bytes = i.envelopes[:0], 0
	if len(batch) == 0 {
		return nil
	}
	select {
	case i.ready <- batch:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// addRecords verifies and keeps trust records. Those that are refused are
// looked for one by one: their places are worth it, and they are rare.
func (i *importer) addRecords(ctx context.Context) error {
	if len(i.records) == 0 {
		return nil
	}
	raws := make([][]byte, len(i.records))
	for j, item := range i.records {
		raws[j] = item.Raw
	}
	var err error
	if i.dry != nil {
		_, err = i.roster.AddAll(raws)
	} else {
		err = path{i.n}.AddTrust(ctx, raws)
	}
	if err != nil {
		found := false
		for _, item := range i.records {
			if _, err := i.roster.Add(item.Raw); err != nil {
				i.refuse(item, "a credential", err.Error())
				found = true
			}
		}
		if !found {
			return err // the store's
		}
	}
	i.records = i.records[:0]
	return nil
}

// judge counts what is not admitted now. Its header is read again: what Check
// refuses it does not return.
func (i *importer) judge(item bundle.Item, err error) {
	e, parse := crypto.ParseEnvelope(item.Raw)
	count, who := int64(1), ""
	if parse == nil {
		count, who = int64(e.Header.Count), i.name(&e.Header)
	}
	i.a.Read += count
	var refusal *mesh.Refusal
	switch {
	case errors.Is(err, mesh.ErrDuplicate):
		i.a.Known += count
	case errors.Is(err, mesh.ErrHeld):
		i.a.Held += count
	case errors.Is(err, mesh.ErrUnknownAuthor):
		if _, ok := i.unknown[e.Header.Author]; ok || len(i.unknown) < unknownMax {
			i.unknown[e.Header.Author] += count
		}
	case errors.Is(err, mesh.ErrStale):
		i.refuse(item, who, "its words were taken out on the way, before they expired")
	case errors.As(err, &refusal):
		i.refuse(item, who, refusals[refusal.Reason])
	default:
		i.refuse(item, who, err.Error())
	}
}

// name is what the author of an envelope is called, "" if nobody knows.
func (i *importer) name(h *crypto.Header) string {
	if c, ok := i.roster.Member(h.Region, h.Author, h.Serial); ok {
		return c.Name
	}
	return i.n.memberName(h.Author)
}

// refusals say to people what the accept order found, by its word.
var refusals = map[string]string{
	"frame":      "it is damaged: its length is wrong",
	"header":     "it is damaged, or of a version that this node does not know",
	"region":     "it is of another region",
	"audience":   "it is for named members and travels in no bundle",
	"tlp":        "its marking does not allow whom it is addressed to",
	"credential": "it was signed when its author's credential was not valid",
	"signature":  "the signature is not its author's",
	"items":      "its words are not those that were signed",
	"revoked":    "its author was revoked, and it was signed after that or cannot be proven to be older",
}

func (i *importer) refuse(item bundle.Item, value, reason string) {
	if i.a.RefusedCount++; len(i.a.Refused) >= api.BundleRefusedMax {
		return
	}
	at := fmt.Sprintf("part %d, byte %d", i.part.Part, item.At)
	i.a.Refused = append(i.a.Refused, api.BundleRefused{At: at, Value: value, Reason: reason})
}

// admit stores what read hands over.
func (i *importer) admit(ctx context.Context) error {
	for batch := range i.ready {
		done, err := path{i.n}.admit(ctx, batch)
		if err != nil {
			return err
		}
		for j, a := range done {
			count := int64(batch[j].Envelope.Header.Count)
			switch {
			case a.Withdrawn: // until it can be linked
				i.waits += count
			case a.Duplicate:
				i.known += count
			case batch[j].Envelope.Erased():
				i.expired += count
			default:
				i.taken += count
			}
		}
	}
	return nil
}
