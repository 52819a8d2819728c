package node

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/seal"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/crypto/words"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/mesh/wire"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/invitation"
	"github.com/watchward/watchward/node/notice"
)

// How long an invitation may be good.
const (
	InvitationLifeMin = time.Minute
	InvitationLifeMax = 30 * 24 * time.Hour
)

// Invite implements api.Node.
func (n *Node) Invite(_ context.Context, life time.Duration) (api.Invitation, error) {
	if life < InvitationLifeMin || life > InvitationLifeMax {
		return api.Invitation{}, &notice.FieldError{Field: "body.life_seconds", Reason: "an invitation is good for a minute to 30 days", Fix: "48 h are enough for most"}
	}
	if n.registrar == nil {
		return api.Invitation{}, &api.Unavailable{Reason: "this node belongs to no region yet", Fix: "found one with watchward region init, and restart the node"}
	}
	if !n.registrar.Offers() {
		return api.Invitation{}, &api.Unavailable{Reason: "this is no coordinator's node, and only those take requests to join", Fix: "ask a coordinator to invite: watchward members shows who they are"}
	}
	seeds := dialable(n.MeshAddrs(), n.o.Settings.Mesh.Announce)
	if len(seeds) == 0 {
		return api.Invitation{}, &api.Unavailable{Reason: "nobody can dial this node, since it listens on no address",
			Fix: "set listen under [mesh] in its configuration, and announce if a router forwards the port; then restart it. Or join by files: watchward join --out REQUEST there"}
	}
	i := invitation.Invitation{Region: n.roster.Region(), Seeds: seeds[:min(len(seeds), invitation.SeedsMax)], Expires: n.now().Add(life).Truncate(time.Second)}
	if _, err := rand.Read(i.Secret[:]); err != nil {
		return api.Invitation{}, err
	}
	text := i.String()
	if text == "" {
		return api.Invitation{}, &api.Unavailable{Reason: fmt.Sprintf("an address of this node is too long for an invitation: %s", strings.Join(i.Seeds, ", ")), Fix: "set a shorter one in announce under [mesh] of its configuration"}
	}
	if err := n.registrar.invite(i.Key(), i.Expires); errors.Is(err, errInvitations) {
		return api.Invitation{}, &api.Unavailable{Reason: fmt.Sprintf("%d invitations are open already", invitationsMax), Fix: "use one of them, or wait until one expires"}
	} else if err != nil {
		return api.Invitation{}, err
	}
	return api.Invitation{Invitation: text, Expires: api.Time(i.Expires.UnixMilli()), Seeds: i.Seeds}, nil
}

// JoinRequests implements api.Node.
func (n *Node) JoinRequests(context.Context) ([]api.JoinRequest, error) {
	if n.registrar == nil {
		return nil, nil
	}
	n.registrar.mu.Lock()
	kept := slices.Clone(n.registrar.state.Requests)
	n.registrar.mu.Unlock()
	var out []api.JoinRequest
	for _, k := range kept {
		if k.Since+requestLife.Milliseconds() <= n.now().UnixMilli() {
			continue
		}
		q, err := trust.ParseRequest(k.Raw)
		if err != nil {
			return nil, err
		}
		out = append(out, api.JoinRequest{
			Number: k.Number, Name: q.Name, Member: memberOf(q).String(), Words: words.Of(q.Key, q.SealKey, q.Peer),
			Since: api.Time(k.Since), From: k.IP, Admitted: n.registrar.admitted(q) != nil, Request: k.Raw,
		})
	}
	return out, nil
}

func memberOf(q *trust.Request) crypto.MemberID {
	return crypto.MemberID(crypto.SumContext("member", crypto.Region{}, q.Key))
}

// AddRecords implements api.Node.
func (n *Node) AddRecords(ctx context.Context, admission []byte) (added int, err error) {
	if n.roster == nil {
		return 0, &api.Unavailable{Reason: "this node belongs to no region yet", Fix: "found one with watchward region init, or join one; then restart the node"}
	}
	refuse := func(reason string) error {
		return &notice.FieldError{Field: "body", Reason: reason, Fix: "send what watchward region admit wrote"}
	}
	var a Admission
	if err := canon.Unmarshal(admission, &a); err != nil {
		return 0, refuse("this is no admission, or a damaged one")
	}
	if a.Region != n.roster.Region() {
		return 0, refuse("these records are of another region")
	}
	before := map[crypto.Hash]bool{}
	for _, id := range n.roster.IDs() {
		before[id] = true
	}
	if err := (path{n}).AddTrust(ctx, a.Records); err != nil {
		return 0, refuse("a record is refused: " + err.Error())
	}
	if err := n.Meet(a.Seeds); err != nil {
		return 0, refuse("an address is refused: " + err.Error())
	}
	for _, id := range n.roster.IDs() {
		if !before[id] {
			added++
		}
	}
	return added, nil
}

// dialable returns the addresses that others may dial, those of use to most
// first: what was announced, then public ones, private ones, and loopback only
// where there is nothing else, for a region on one machine.
func dialable(addrs, announced []string) []string {
	class := func(s string) int {
		m, err := multiaddr.NewMultiaddr(s)
		bare, _, _ := strings.Cut(s, "/p2p/")
		switch {
		case err != nil:
			return 9
		case slices.Contains(announced, bare):
			return 0
		case manet.IsPublicAddr(m):
			return 1
		case manet.IsIPLoopback(m):
			return 3
		case manet.IsIP6LinkLocal(m), manet.IsIPUnspecified(m):
			return 9
		}
		return 2
	}
	out := slices.DeleteFunc(slices.Clone(addrs), func(s string) bool { return class(s) == 9 })
	slices.SortStableFunc(out, func(a, b string) int { return cmp.Compare(class(a), class(b)) })
	if len(out) > 0 && class(out[0]) < 3 {
		out = slices.DeleteFunc(out, func(s string) bool { return class(s) == 3 })
	}
	return out
}

// invitationFile holds the invitation by which the node in a directory joins, while
// it waits; mode 0600.
const invitationFile = "invitation.ww"

// SavedInvitation returns the invitation by which the node in dir asked to join,
// if it still waits.
func SavedInvitation(dir string) (i invitation.Invitation, ok bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, invitationFile))
	if errors.Is(err, fs.ErrNotExist) {
		return i, false, nil
	}
	if err != nil {
		return i, false, err
	}
	i, err = invitation.Parse(string(text))
	if err != nil {
		err = fmt.Errorf("%s: %w", filepath.Join(dir, invitationFile), err)
	}
	return i, err == nil, err
}

// SaveInvitation keeps an invitation, so that a join that was cut off goes on.
func SaveInvitation(dir string, i invitation.Invitation) error {
	return writeFile(filepath.Join(dir, invitationFile), []byte(i.String()+"\n"), 0o600)
}

// A Waiting is told how an Apply stands. Both are called one at a time.
type Waiting struct {
	Kept func(number uint64)                  // a coordinator's node has the request; comes again and again
	Lost func(why error, again time.Duration) // contact is lost; the next attempt comes after again
}

// Apply hands the request of the node in dir to the coordinator's node that an
// invitation names, waits until people have admitted it, and makes it a member.
// It returns the region's name.
func Apply(ctx context.Context, dir string, i invitation.Invitation, w Waiting) (region string, err error) {
	id, err := keyfile.Load(filepath.Join(dir, identityFile))
	if err != nil {
		return "", err
	}
	request, err := os.ReadFile(filepath.Join(dir, RequestFile))
	if err != nil {
		return "", err
	}
	parsed, err := readRequest(filepath.Join(dir, RequestFile))
	if err != nil {
		return "", err
	}
	if !bytes.Equal(parsed.Key, id.Signing.Public().Bytes()) {
		return "", fmt.Errorf("%s is of another node than identity.key beside it: was one of them copied?", filepath.Join(dir, RequestFile))
	}
	key := i.Key()
	name := key.ID()
	j := mesh.Joiner{
		Identity: id.PeerSeed, Seeds: i.Seeds, Kept: w.Kept, Lost: w.Lost,
		Join: wire.Join{Invitation: name[:], Proof: key.Prove(request), Request: request},
		Open: func(box []byte) ([]byte, error) {
			return seal.Open(possession(i.Region, request), crypto.NewMemberID(id.Signing.Public()), id.SealSeed, box)
		},
	}
	admission, err := j.Run(ctx)
	if err != nil {
		return "", err
	}
	return joinOf(dir, admission, i.Region)
}

// JoinSaved is Join by a file; where an invitation waits in dir, the admission must
// be of its region.
func JoinSaved(dir string, admission []byte) (region string, err error) {
	i, waits, err := SavedInvitation(dir)
	if err != nil || !waits {
		return Join(dir, admission) // a damaged invitation pins nothing
	}
	return joinOf(dir, admission, i.Region)
}

// joinOf is Join with an admission that must be of a region, after which no
// invitation waits any more.
func joinOf(dir string, admission []byte, region crypto.Region) (name string, err error) {
	a, _, err := ParseAdmission(admission)
	if err != nil {
		return "", err
	}
	if a.Region != region {
		return "", fmt.Errorf("this admission is of region %s, and the invitation was of %s: tell the coordinator", a.Region, region)
	}
	if name, err = Join(dir, admission); err != nil {
		return "", err
	}
	if err = os.Remove(filepath.Join(dir, invitationFile)); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return name, err
}

// Words returns the words by which people compare the keys of the node in dir.
func Words(dir string) (string, error) {
	q, err := readRequest(filepath.Join(dir, RequestFile))
	if err != nil {
		return "", err
	}
	return words.Of(q.Key, q.SealKey, q.Peer), nil
}
