package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger/verify"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/proof"
	"github.com/watchward/watchward/node/store"
)

// ProofFile implements api.Node.
func (n *Node) ProofFile(_ context.Context, id string, ceiling notice.TLP) (file []byte, found bool, err error) {
	return n.proofFile(id, ceiling, nil)
}

// proofFile is ProofFile, and with a receipt also proves the place in the ledger.
func (n *Node) proofFile(id string, ceiling notice.TLP, receipt *verify.Receipt) (file []byte, found bool, err error) {
	item, err := crypto.ParseItemID(id)
	if err != nil {
		return nil, false, &notice.FieldError{Field: "id", Reason: err.Error(), Fix: "copy it from watchward list"}
	}
	r, found, err := n.store.Record(item)
	if err != nil || !found || !store.Visible(r.TLP, ceiling) {
		return nil, false, err
	}
	switch {
	case r.TLP > notice.ExportMax:
		return nil, true, &api.NoProof{Reason: fmt.Sprintf("TLP:%s is for named people and never leaves in a file", r.TLP), Fix: "let them ask its author"}
	case r.State == store.Waits:
		return nil, true, &api.NoProof{Reason: "it is not signed yet", Fix: "try again in ten seconds"}
	case r.Audience == crypto.AudienceNamed:
		return nil, true, &api.NoProof{Reason: "it was sealed for named members, so nobody else can tell what was signed", Fix: "let them ask its author"}
	case r.State != store.Signed || !notice.Leaves(r.TLP, r.Audience, notice.ExitProof, ceiling):
		return nil, true, &api.NoProof{Reason: "it never left this node, so nothing proves it", Fix: "share it first: say it again with a marking"}
	}
	e, index, err := n.envelopeOf(item)
	if e == nil || err != nil {
		return nil, err != nil, err
	}
	h := &e.Header
	if n.roster == nil || h.Region != n.roster.Region() && !n.roster.Endorses(h.Region) {
		return nil, true, &api.NoProof{Reason: "its author's region is not endorsed any more, so nothing here proves its key", Fix: "ask a member of that region"}
	}
	var keepers []crypto.MemberID
	if receipt != nil {
		keepers = n.keepers()
	}
	f, err := proof.New(e, index, n.roster.Proof(h.Region, h.Author, h.Serial, h.Audience, keepers...))
	if err != nil {
		return nil, true, fmt.Errorf("stored envelope of %s: %w", id, err)
	}
	f.Receipt = receipt
	if f.Links, err = n.links(h); err != nil {
		return nil, true, err
	}
	file, err = f.Encode()
	return file, true, err
}

// links are the headers that lead from an envelope of a revoked serial to its cut,
// found from the cut backwards, since a number may have been used twice; none if the
// author is not revoked, or they are not here.
func (n *Node) links(h *crypto.Header) (links [][]byte, err error) {
	author, ok := n.roster.Member(h.Region, h.Author, h.Serial)
	if !ok {
		return nil, nil
	}
	cuts, revoked := n.roster.Revoked(author)
	cut := trust.CutAt(cuts, h.Audience, h.Epoch)
	if !revoked || cut.Seq <= h.Seq || cut.Seq-h.Seq > proof.LinksMax {
		return nil, nil
	}
	want := cut.ID
	err = n.store.Read(h.Chain(), mesh.Range{From: h.Seq + 1, To: cut.Seq}, true, func(_ uint64, raw []byte) bool {
		if e, err := crypto.ParseEnvelope(raw); err == nil && e.ID == want {
			links, want = append(links, bytes.Clone(e.Signed)), e.Header.Prev
		}
		return true
	})
	if err != nil || uint64(len(links)) != cut.Seq-h.Seq {
		return nil, err
	}
	slices.Reverse(links)
	return links, nil
}

// envelopeOf returns the stored envelope of a signed item and the item's number in it,
// nil if it was erased in this moment.
func (n *Node) envelopeOf(item crypto.ItemID) (*crypto.Envelope, int, error) {
	raw, index, err := n.store.Envelope(item)
	if errors.Is(err, store.ErrUnknown) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	e, err := crypto.ParseEnvelope(raw)
	if err != nil {
		return nil, 0, fmt.Errorf("stored envelope of %s: %w", item, err)
	}
	return e, index, nil
}

// RegionFile implements api.Node.
func (n *Node) RegionFile(_ context.Context, members bool) ([]byte, error) {
	if n.roster == nil || n.roster.Charter() == nil {
		return nil, errNoRegion
	}
	return proof.EncodeRegion(n.roster, members, n.MeshAddrs())
}

// RegionFile returns what Node.RegionFile would of the region of the node in dir, as
// far as it knew when it stopped.
func RegionFile(dir string, members bool) ([]byte, error) {
	roster, _, err := RosterOf(dir)
	if err != nil {
		return nil, err
	}
	return proof.EncodeRegion(roster, members, nil)
}
