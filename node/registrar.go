package node

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/seal"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/mesh/wire"
	"github.com/watchward/watchward/node/invitation"
)

// Bounds of joining.
const (
	invitationsMax = 64                 // open ones
	requestsMax    = 256                // kept
	requestLife    = 7 * 24 * time.Hour // how long a request is kept, admitted or not

	registrarFile    = "joining.cbor" // in the node's directory; mode 0600
	registrarSizeMax = 8 << 20        // bytes
)

// A registrar is the coordinator's side of joining over the network: invitations
// that are open, and requests that came by them. It implements mesh.Registrar.
// What it answers is on disk.
type registrar struct {
	n    *Node
	path string // "" = in memory

	mu    sync.Mutex
	state registry
}

// A registry is the registrar's file. The field numbers are disk format.
type registry struct {
	Numbers     uint64           `cbor:"1,keyasint"` // given to requests so far
	Invitations []openInvitation `cbor:"2,keyasint"`
	Requests    []keptRequest    `cbor:"3,keyasint"` // by number
}

// An openInvitation has been used by nobody. Of its secret there is a hash only.
// Who can read it can also read identity.key beside it.
type openInvitation struct {
	Key     invitation.Key `cbor:"1,keyasint"`
	Expires int64          `cbor:"2,keyasint"` // ms
}

// A keptRequest has used up an invitation: by that key only the same request may
// come again.
type keptRequest struct {
	Number uint64         `cbor:"1,keyasint"`
	Key    invitation.Key `cbor:"2,keyasint"`
	Raw    []byte         `cbor:"3,keyasint"`
	Since  int64          `cbor:"4,keyasint"` // ms
	IP     string         `cbor:"5,keyasint"` // where it came from first
}

// openRegistrar reads the file of before. A damaged one is put aside: it costs the
// invitations and requests that were open, and nothing else.
func openRegistrar(n *Node) (*registrar, error) {
	r := &registrar{n: n}
	if n.o.Lab != nil {
		return r, nil
	}
	r.path = filepath.Join(n.o.Dir, registrarFile)
	raw, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	if err := canon.Unmarshal(raw, &r.state); err != nil || len(raw) > registrarSizeMax {
		n.log.Warn("invitations and requests to join are lost: the file is put aside, make new invitations",
			slog.String("file", r.path), slog.Any("err", err))
		r.state = registry{}
		return r, os.Rename(r.path, r.path+".damaged")
	}
	return r, nil
}

// change alters the state and returns when it is on disk; on an error nothing has
// changed.
func (r *registrar) change(do func(s *registry) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.n.now().UnixMilli()
	s := registry{Numbers: r.state.Numbers}
	for _, i := range r.state.Invitations {
		if i.Expires+requestLife.Milliseconds() > now { // so long it is called expired, and then unknown
			s.Invitations = append(s.Invitations, i)
		}
	}
	for _, q := range r.state.Requests {
		if q.Since+requestLife.Milliseconds() > now {
			s.Requests = append(s.Requests, q)
		}
	}
	if err := do(&s); err != nil {
		return err
	}
	if r.path != "" {
		raw, err := canon.Marshal(s)
		if err == nil {
			err = writeFile(r.path, raw, 0o600)
		}
		if err != nil {
			return fmt.Errorf("keep invitations and requests: %w", err)
		}
	}
	r.state = s
	return nil
}

// invite keeps the key of a new invitation.
func (r *registrar) invite(key invitation.Key, expires time.Time) error {
	return r.change(func(s *registry) error {
		now := r.n.now().UnixMilli()
		open := 0
		for _, i := range s.Invitations {
			if i.Expires > now {
				open++
			}
		}
		if open >= invitationsMax {
			return errInvitations
		}
		if len(s.Invitations) >= 2*invitationsMax { // the expired ones are then unknown
			s.Invitations = slices.DeleteFunc(s.Invitations, func(i openInvitation) bool { return i.Expires <= now })
		}
		s.Invitations = append(s.Invitations, openInvitation{key, expires.UnixMilli()})
		return nil
	})
}

var errInvitations = errors.New("too many invitations are open")

// Offers implements mesh.Registrar.
func (r *registrar) Offers() bool {
	own, ok := r.n.roster.Member(r.n.roster.Region(), r.n.member, r.n.serial)
	return ok && own.Role == trust.RoleCoordinator
}

// find returns the key of an invitation, and the request that used it up, if any.
func (r *registrar) find(id []byte) (key invitation.Key, used *keptRequest, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.n.now().UnixMilli()
	for i := range r.state.Requests {
		q := &r.state.Requests[i]
		if name := q.Key.ID(); bytes.Equal(name[:], id) && q.Since+requestLife.Milliseconds() > now {
			return q.Key, q, nil
		}
	}
	for _, i := range r.state.Invitations {
		if name := i.Key.ID(); !bytes.Equal(name[:], id) {
			continue
		} else if i.Expires <= now {
			return key, nil, &mesh.JoinRefusal{Reason: wire.RefusedExpired}
		}
		return i.Key, nil, nil
	}
	return key, nil, &mesh.JoinRefusal{Reason: wire.RefusedInvitation}
}

// Challenge implements mesh.Registrar, cheapest first: without the invitation's
// secret nobody makes this node verify a signature.
func (r *registrar) Challenge(j *wire.Join, from peer.ID) (box, content []byte, err error) {
	key, used, err := r.find(j.Invitation)
	if err != nil {
		return nil, nil, err
	}
	if !hmac.Equal(key.Prove(j.Request), j.Proof) {
		return nil, nil, &mesh.JoinRefusal{Reason: wire.RefusedInvitation}
	}
	if used != nil && !bytes.Equal(used.Raw, j.Request) {
		return nil, nil, &mesh.JoinRefusal{Reason: wire.RefusedUsed}
	}
	request, err := trust.ParseRequest(j.Request)
	if err != nil || string(request.Peer) != string(from) {
		return nil, nil, &mesh.JoinRefusal{Reason: wire.RefusedRequest}
	}
	public, err := crypto.ParsePublicKey(request.Key)
	if err != nil {
		return nil, nil, &mesh.JoinRefusal{Reason: wire.RefusedRequest}
	}
	content = make([]byte, wire.AnswerSize)
	if _, err := rand.Read(content); err != nil {
		return nil, nil, err
	}
	to := []seal.Recipient{{Member: crypto.NewMemberID(public), Key: request.SealKey}}
	if box, err = seal.Seal(possession(r.n.roster.Region(), j.Request), to, content); err != nil {
		return nil, nil, &mesh.JoinRefusal{Reason: wire.RefusedRequest}
	}
	return box, content, nil
}

// possession is the label of a challenge: it opens for one request in one region.
func possession(region crypto.Region, request []byte) seal.Label {
	sum := sha256.Sum256(request)
	return seal.Label{Purpose: "possession", Region: region, Bound: sum[:]}
}

// Keep implements mesh.Registrar.
func (r *registrar) Keep(_ context.Context, j *wire.Join, ip string) (number uint64, err error) {
	key, used, err := r.find(j.Invitation)
	if err != nil {
		return 0, err
	}
	if used != nil && bytes.Equal(used.Raw, j.Request) {
		return used.Number, nil
	}
	err = r.change(func(s *registry) error {
		if slices.ContainsFunc(s.Requests, func(q keptRequest) bool { return q.Key == key }) {
			return &mesh.JoinRefusal{Reason: wire.RefusedUsed}
		}
		if len(s.Requests) >= requestsMax && !r.dropAdmitted(s) {
			return &mesh.JoinRefusal{Reason: wire.RefusedFull}
		}
		s.Invitations = slices.DeleteFunc(s.Invitations, func(i openInvitation) bool { return i.Key == key })
		s.Numbers++
		number = s.Numbers
		s.Requests = append(s.Requests, keptRequest{number, key, j.Request, r.n.now().UnixMilli(), ip})
		return nil
	})
	if err == nil {
		r.n.log.Info("somebody asks to join", slog.Uint64("request", number), slog.String("ip", ip))
	}
	return number, err
}

// dropAdmitted makes room by the oldest request whose author is a member.
func (r *registrar) dropAdmitted(s *registry) bool {
	for i := range s.Requests {
		request, err := trust.ParseRequest(s.Requests[i].Raw)
		if err == nil && r.admitted(request) != nil {
			s.Requests = slices.Delete(s.Requests, i, i+1)
			return true
		}
	}
	return false
}

// admitted returns the credential of a request's author, nil if there is none.
func (r *registrar) admitted(q *trust.Request) *trust.Credential {
	c, ok := r.n.roster.ByPeer(string(q.Peer))
	if !ok || c.Region != r.n.roster.Region() || !bytes.Equal(c.Key, q.Key) {
		return nil
	}
	return c
}

// Admission implements mesh.Registrar.
func (r *registrar) Admission(ctx context.Context, j *wire.Join) ([]byte, error) {
	request, err := trust.ParseRequest(j.Request)
	if err != nil {
		return nil, err
	}
	for {
		changed := r.n.roster.Changed()
		if c := r.admitted(request); c != nil {
			return r.admission(c)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

// admission is what a new member is handed: what proves its own credential and
// those of some coordinators, and where this node is. Sync brings the rest.
func (r *registrar) admission(of *trust.Credential) ([]byte, error) {
	ids := []crypto.Hash{of.RecordID()}
	for _, c := range r.n.roster.Charters(r.n.roster.Region()) {
		ids = append(ids, c.RecordID())
	}
	most := len(ids) + coordinatorsShown
	for _, c := range r.n.roster.Members(r.n.roster.Region()) {
		if c.Role == trust.RoleCoordinator && c != of && len(ids) < most {
			ids = append(ids, c.RecordID())
		}
	}
	a := Admission{Region: r.n.roster.Region()}
	for _, id := range ids {
		record, ok := r.n.roster.Record(id)
		if !ok {
			return nil, errors.New("a record of the admission has left the roster")
		}
		a.Records = append(a.Records, record)
	}
	for _, s := range dialable(r.n.MeshAddrs(), r.n.o.Settings.Mesh.Announce) {
		if len(a.Seeds) < seedsMax {
			a.Seeds = append(a.Seeds, s)
		}
	}
	raw, err := canon.Marshal(a)
	if err == nil && len(raw) > wire.AdmissionMax {
		err = fmt.Errorf("the admission has %d bytes, at most %d: hand over the file that region admit --out writes", len(raw), wire.AdmissionMax)
	}
	return raw, err
}

// coordinatorsShown bounds the credentials in an admission. With seven signatures one
// has 28 KB.
const coordinatorsShown = 8
