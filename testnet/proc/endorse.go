package proc

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/config"
)

// Endorse makes a region endorse others, and only those: without any it
// withdraws what it endorsed. Its coordinator signs that and puts it into the
// admission of one of its hospitals, which must not run: it takes it in at its
// next start, and tells everybody.
func (r *Region) Endorse(at *Node, others ...*Region) error {
	if at.Running() {
		return fmt.Errorf("endorse: %s runs, and reads its admission at its start only", at.Name)
	}
	key, err := keyfile.LoadAdmission(r.keyPath(), nil) // it has no passphrase
	if err != nil {
		return fmt.Errorf("endorse: %w", err)
	}
	roster, err := at.roster()
	if err != nil {
		return fmt.Errorf("endorse: %w", err)
	}
	var records [][]byte
	var ids []crypto.Region
	for _, other := range others {
		theirs, err := other.Nodes[0].roster()
		if err != nil {
			return fmt.Errorf("endorse %s: %w", other.Name, err)
		}
		charter, _ := theirs.Record(theirs.Charter().RecordID())
		records, ids = append(records, charter), append(ids, theirs.Region())
	}
	list, err := trust.Endorse(roster.Charter(), []*crypto.PrivateKey{key}, roster.Endorsements(roster.Region()), ids, time.Now().UnixMilli())
	if err != nil {
		return err
	}
	return node.AddRecords(at.Dir, append(records, list))
}

// roster is what the node's admission says about its region and others.
func (n *Node) roster() (*trust.Roster, error) {
	raw, err := os.ReadFile(filepath.Join(n.Dir, "admission.ww"))
	if err != nil {
		return nil, err
	}
	_, roster, err := node.ParseAdmission(raw)
	return roster, err
}

// addresses are where others dial the node, which need not run.
func (n *Node) addresses() ([]string, error) {
	settings, err := config.Load(filepath.Join(n.Dir, node.ConfigFile))
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(n.Dir, node.RequestFile))
	if err != nil {
		return nil, err
	}
	request, err := trust.ParseRequest(raw)
	if err != nil {
		return nil, err
	}
	id, err := peer.IDFromBytes(request.Peer)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, listen := range settings.Mesh.Listen {
		all = append(all, listen+"/p2p/"+id.String())
	}
	return all, nil
}

// awaitOthers returns when each region is connected to each other one.
func awaitOthers(ctx context.Context, regions []*Region) error {
	for i, r := range regions {
		for _, other := range regions[i+1:] {
			if err := Poll(ctx, func() error { return r.meets(ctx, other) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// meets reports, as an error, that no hospital is connected to another region.
func (r *Region) meets(ctx context.Context, other *Region) error {
	for _, n := range r.Nodes {
		c, err := n.Client()
		if err != nil {
			return err
		}
		members, err := c.Members(ctx)
		c.Close()
		if err != nil {
			return err
		}
		if slices.ContainsFunc(members, func(m api.MemberView) bool { return m.Connected && m.Region == other.Name }) {
			return nil
		}
	}
	return fmt.Errorf("%s is not connected to %s", r.Name, other.Name)
}
