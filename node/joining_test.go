package node_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"golang.org/x/sync/errgroup"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/seal"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/crypto/words"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/mesh/wire"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/invitation"
	"github.com/watchward/watchward/node/notice"
)

// coordinator starts a region whose coordinator's node listens, with the addresses
// given, else by QUIC.
func coordinator(t testing.TB, listen ...string) *region {
	t.Helper()
	r := makeRegion(t, 1)
	h := r.hospitals[0]
	if len(listen) > 0 {
		h.listen(t, listen...)
	}
	h.open(t)
	h.start(t, nil)
	return r
}

// listen sets where a hospital's node listens when it opens next.
func (h *hospital) listen(t testing.TB, addrs ...string) {
	t.Helper()
	path := filepath.Join(h.dir, node.ConfigFile)
	settings, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	settings.Mesh.Listen = addrs
	if err := errors.Join(os.Remove(path), config.Write(path, settings)); err != nil {
		t.Fatal(err)
	}
}

func (r *region) invite(t testing.TB) invitation.Invitation {
	t.Helper()
	made, err := r.hospitals[0].Invite(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	i, err := invitation.Parse(made.Invitation)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// requests are those that the coordinator's node keeps.
func (r *region) requests(t testing.TB) []api.JoinRequest {
	t.Helper()
	out, err := r.hospitals[0].JoinRequests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// admit hands the admission of a request to the coordinator's node.
func (r *region) admit(t testing.TB, request []byte) {
	t.Helper()
	admission, err := node.Admit(r.hospitals[0].dir, r.key, request, trust.RoleHospital, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if added, err := r.hospitals[0].AddRecords(t.Context(), admission); err != nil || added != 1 {
		t.Fatalf("%d records added, %v", added, err)
	}
}

// An applying is a directory in which somebody waits to be admitted.
type applying struct {
	dir    string
	kept   chan uint64
	lost   chan error
	cancel context.CancelFunc
	ended  chan error
}

func apply(t testing.TB, dir string, i invitation.Invitation) *applying {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	a := &applying{dir: dir, kept: make(chan uint64, 100), lost: make(chan error, 100), cancel: cancel, ended: make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := node.Apply(ctx, dir, i, node.Waiting{
			Kept: func(n uint64) { a.kept <- n },
			Lost: func(err error, _ time.Duration) { a.lost <- err },
		})
		a.ended <- err
	}()
	t.Cleanup(func() { cancel(); <-done })
	return a
}

func (a *applying) awaitKept(t testing.TB) uint64 {
	t.Helper()
	select {
	case n := <-a.kept:
		return n
	case err := <-a.ended:
		t.Fatalf("it ended before the request was kept: %v", err)
	case <-time.After(patience):
		t.Fatal("the request is not kept")
	}
	return 0
}

func (a *applying) awaitEnd(t testing.TB) error {
	t.Helper()
	select {
	case err := <-a.ended:
		return err
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	return nil
}

// By an invitation a hospital is a member without a file being carried and
// without a restart of the coordinator's node, over every transport.
func TestJoinByInvitation(t *testing.T) {
	for name, listen := range map[string]string{
		"quic": "/ip4/127.0.0.1/udp/0/quic-v1", "tcp": "/ip4/127.0.0.1/tcp/0", "wss": "/ip4/127.0.0.1/tcp/0/tls/ws",
	} {
		t.Run(name, func(t *testing.T) {
			r := coordinator(t, listen)
			a := apply(t, newcomer(t, "Newcomer"), r.invite(t))
			number := a.awaitKept(t)
			spoken, err := node.Words(a.dir)
			if err != nil {
				t.Fatal(err)
			}
			asked := r.requests(t)
			if len(asked) != 1 || asked[0].Number != number || asked[0].Name != "Newcomer" || asked[0].Words != spoken || asked[0].From != "127.0.0.1" || asked[0].Admitted {
				t.Fatalf("the coordinator sees %+v", asked)
			}
			r.admit(t, asked[0].Request)
			if err := a.awaitEnd(t); err != nil {
				t.Fatal(err)
			}
			if asked = r.requests(t); !asked[0].Admitted {
				t.Error("the request is not shown as admitted")
			}
			h := &hospital{dir: a.dir, clock: r.clock}
			h.open(t)
			r.hospitals = append(r.hospitals, h)
			h.start(t, nil)
			r.awaitPeers(t)
			h.submit(t, green, sighting("joined.example", r.clock.now()))
			eventually(t, "the newcomer is heard", func() bool { return r.hospitals[0].knows(t, "joined.example") })
		})
	}
}

// Whatever is switched off in between, the same command goes on.
func TestJoinGoesOn(t *testing.T) {
	r := coordinator(t)
	home := r.hospitals[0]
	i, dir := r.invite(t), newcomer(t, "Newcomer")
	if err := node.SaveInvitation(dir, i); err != nil {
		t.Fatal(err)
	}
	a := apply(t, dir, i)
	first := a.awaitKept(t)
	a.cancel()
	if err := a.awaitEnd(t); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}

	// The coordinator's node restarts, on the same port, while the joiner waits again.
	b := apply(t, dir, i)
	if again := b.awaitKept(t); again != first {
		t.Fatalf("kept as number %d, then as %d", first, again)
	}
	addr, _, _ := strings.Cut(i.Seeds[0], "/p2p/")
	home.listen(t, addr)
	home.stop(t)
	select {
	case <-b.lost:
	case <-time.After(patience):
		t.Fatal("nobody says that contact is lost")
	}
	home.open(t)
	home.start(t, nil)
	b.awaitKept(t)
	b.cancel()
	_ = b.awaitEnd(t)

	// It is admitted while nobody waits, and after the invitation has expired.
	home.clock.advance(2 * time.Hour)
	r.admit(t, r.requests(t)[0].Request)
	if err := apply(t, dir, i).awaitEnd(t); err != nil {
		t.Fatal(err)
	}
	if !node.Joined(dir) {
		t.Error("it is no member")
	}
	if _, waits, err := node.SavedInvitation(dir); waits || err != nil {
		t.Errorf("the invitation still waits: %t, %v", waits, err)
	}
}

// What is kept is kept for a while and not for ever, and holds no secret.
func TestRegistrarForgets(t *testing.T) {
	r := coordinator(t)
	home := r.hospitals[0]
	i, dir := r.invite(t), newcomer(t, "Newcomer")
	apply(t, dir, i).awaitKept(t)
	path := filepath.Join(home.dir, "joining.cbor")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	raw, err := os.ReadFile(path)
	if err != nil || bytes.Contains(raw, i.Secret[:]) {
		t.Errorf("the secret is on disk, %v", err)
	}
	home.clock.advance(7*24*time.Hour + time.Minute)
	if asked := r.requests(t); len(asked) != 0 {
		t.Errorf("after a week there is %+v", asked)
	}
	r.invite(t)
	if raw, err = os.ReadFile(path); err != nil || bytes.Contains(raw, []byte("Newcomer")) {
		t.Errorf("after a week the request is on disk, %v", err)
	}

	// A damaged file stops nothing.
	home.stop(t)
	if err := os.WriteFile(path, raw[:len(raw)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	home.open(t)
	home.start(t, nil)
	if kept, err := os.ReadFile(path + ".damaged"); err != nil || !bytes.Equal(kept, raw[:len(raw)-1]) {
		t.Errorf("the damaged file is not put aside: %v", err)
	}
}

// joiner is what Apply hands to the mesh, for tests to spoil.
func joiner(t testing.TB, dir string, i invitation.Invitation) *mesh.Joiner {
	t.Helper()
	id, err := keyfile.Load(filepath.Join(dir, "identity.key"))
	if err != nil {
		t.Fatal(err)
	}
	request, err := os.ReadFile(filepath.Join(dir, node.RequestFile))
	if err != nil {
		t.Fatal(err)
	}
	key := i.Key()
	name := key.ID()
	return &mesh.Joiner{
		Identity: id.PeerSeed, Seeds: i.Seeds, Kept: func(uint64) {}, Lost: func(error, time.Duration) {},
		Join: wire.Join{Invitation: name[:], Proof: key.Prove(request), Request: request},
		Open: func(box []byte) ([]byte, error) {
			return seal.Open(node.Possession(i.Region, request), crypto.NewMemberID(id.Signing.Public()), id.SealSeed, box)
		},
	}
}

// Each lie is refused for its own reason, and nothing of it is kept.
func TestJoinRefused(t *testing.T) {
	t.Parallel()
	refused := func(reason uint8) func(error) bool {
		return func(err error) bool {
			var r *mesh.JoinRefusal
			return errors.As(err, &r) && r.Reason == reason && r.Error() != ""
		}
	}
	says := func(text string) func(error) bool {
		return func(err error) bool { return err != nil && strings.Contains(err.Error(), text) }
	}
	for name, x := range map[string]struct {
		spoil func(t *testing.T, r *region, j *mesh.Joiner, i invitation.Invitation)
		want  func(error) bool
		kept  int
	}{
		"a wrong secret": {func(t *testing.T, r *region, j *mesh.Joiner, i invitation.Invitation) {
			i.Secret[0]++
			j.Join.Proof = i.Key().Prove(j.Join.Request)
		}, refused(wire.RefusedInvitation), 0},
		"an invitation of nobody": {func(t *testing.T, r *region, j *mesh.Joiner, i invitation.Invitation) {
			j.Join.Invitation = []byte("nobody's")
		}, refused(wire.RefusedInvitation), 0},
		"an expired invitation": {func(t *testing.T, r *region, j *mesh.Joiner, i invitation.Invitation) {
			r.clock.advance(time.Hour + time.Second)
		}, refused(wire.RefusedExpired), 0},
		"an invitation of long ago": {func(t *testing.T, r *region, j *mesh.Joiner, i invitation.Invitation) {
			r.clock.advance(8 * 24 * time.Hour)
			r.invite(t) // forgets
		}, refused(wire.RefusedInvitation), 0},
		"an invitation that somebody used": {func(t *testing.T, r *region, j *mesh.Joiner, i invitation.Invitation) {
			apply(t, newcomer(t, "First"), i).awaitKept(t)
		}, refused(wire.RefusedUsed), 1},
		"a request under another's proof": {func(t *testing.T, r *region, j *mesh.Joiner, i invitation.Invitation) {
			j.Join.Request = joiner(t, newcomer(t, "Other"), i).Join.Request
		}, refused(wire.RefusedInvitation), 0},
		"a request that is none": {func(t *testing.T, r *region, j *mesh.Joiner, i invitation.Invitation) {
			j.Join.Request = []byte("request")
			j.Join.Proof = i.Key().Prove(j.Join.Request)
		}, refused(wire.RefusedRequest), 0},
		"a request with a broken signature": {func(t *testing.T, r *region, j *mesh.Joiner, i invitation.Invitation) {
			j.Join.Request = slices.Clone(j.Join.Request)
			j.Join.Request[len(j.Join.Request)-1] ^= 1
			j.Join.Proof = i.Key().Prove(j.Join.Request)
		}, refused(wire.RefusedRequest), 0},
		"a request that another peer replays": {func(t *testing.T, r *region, j *mesh.Joiner, i invitation.Invitation) {
			j.Identity = sha256.Sum256([]byte("thief"))
		}, refused(wire.RefusedRequest), 0},
		"a request with another's seal key": {func(t *testing.T, r *region, j *mesh.Joiner, i invitation.Invitation) {
			victim, err := keyfile.NewIdentity(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			thief := *victim // signs itself, and names the victim's seal key
			if thief.Signing, err = crypto.GenerateKey(rand.Reader); err != nil {
				t.Fatal(err)
			}
			j.Identity = thief.PeerSeed
			if j.Join.Request, err = trust.NewRequest(&thief, "Thief", nil); err != nil {
				t.Fatal(err)
			}
			j.Join.Proof = i.Key().Prove(j.Join.Request)
			j.Open = func([]byte) ([]byte, error) { return make([]byte, wire.AnswerSize), nil }
		}, refused(wire.RefusedKeys), 0},
		"an invitation of another region": {func(t *testing.T, r *region, j *mesh.Joiner, i invitation.Invitation) {
			i.Region[0]++
			j.Open = joiner(t, newcomer(t, "Other"), i).Open
		}, says("is it of another region than the invitation?"), 0},
		"a node that is not there": {func(t *testing.T, r *region, j *mesh.Joiner, i invitation.Invitation) {
			r.hospitals[0].stop(t)
		}, says("cannot reach the coordinator's node at /ip4/127.0.0.1/udp/"), -1},
		"a node with another key": {func(t *testing.T, r *region, j *mesh.Joiner, i invitation.Invitation) {
			addr, _, _ := strings.Cut(i.Seeds[0], "/p2p/")
			j.Seeds = []string{addr + "/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"}
		}, says("cannot reach the coordinator's node at /ip4/127.0.0.1/udp/"), 0},
		"a node that is no coordinator's": {func(t *testing.T, r *region, j *mesh.Joiner, i invitation.Invitation) {
			h := &hospital{dir: newcomer(t, "Hospital"), clock: r.clock}
			if _, err := node.Join(h.dir, r.admission(t, h.dir)); err != nil {
				t.Fatal(err)
			}
			r.hospitals = append(r.hospitals, h)
			h.open(t)
			h.start(t, nil)
			j.Seeds = h.MeshAddrs()
			var unavailable *api.Unavailable
			if _, err := h.Invite(t.Context(), time.Hour); !errors.As(err, &unavailable) || !strings.Contains(err.Error(), "no coordinator's node") {
				t.Errorf("it invites: %v", err)
			}
		}, says("takes no requests now"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := coordinator(t)
			i := r.invite(t)
			j := joiner(t, newcomer(t, "Newcomer"), i)
			x.spoil(t, r, j, i)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if admission, err := j.Run(ctx); !x.want(err) {
				t.Errorf("%d bytes of an admission, and %v", len(admission), err)
			}
			if x.kept < 0 {
				return
			}
			if asked := r.requests(t); len(asked) != x.kept {
				t.Errorf("kept %+v", asked)
			}
		})
	}
}

// Who guesses is slowed, whatever the invitation.
func TestGuessingIsSlowed(t *testing.T) {
	r := coordinator(t)
	i, dir := r.invite(t), newcomer(t, "Newcomer")
	wrong := i
	wrong.Secret[0]++
	var reasons []uint8
	for range 16 { // on a busy machine a connection may end before the answer
		if len(reasons) == 8 {
			break
		}
		ctx, cancel := context.WithCancel(t.Context())
		j := joiner(t, dir, wrong)
		j.Lost = func(err error, _ time.Duration) { // a joiner comes again after RefusedSlower
			var refusal *mesh.JoinRefusal
			if errors.As(err, &refusal) {
				reasons = append(reasons, refusal.Reason)
			}
			cancel()
		}
		_, err := j.Run(ctx)
		var refusal *mesh.JoinRefusal
		if errors.As(err, &refusal) {
			reasons = append(reasons, refusal.Reason)
		}
		cancel()
	}
	want := append(slices.Repeat([]uint8{wire.RefusedInvitation}, 6), wire.RefusedSlower, wire.RefusedSlower)
	if !slices.Equal(reasons, want) {
		t.Errorf("refused for %v, want %v", reasons, want)
	}
}

// A thousand strangers with invitations of their own making leave the region its
// connections, and nothing on disk.
func TestThousandStrangers(t *testing.T) {
	r := coordinator(t, "/ip4/127.0.0.1/tcp/0")
	home, member := r.hospitals[0], &hospital{dir: newcomer(t, "Member"), clock: r.clock}
	if _, err := node.Join(member.dir, r.admission(t, member.dir)); err != nil {
		t.Fatal(err)
	}
	member.listen(t)
	r.hospitals = append(r.hospitals, member)
	member.open(t)
	member.start(t, nil)
	r.meet(t)

	i := r.invite(t)
	info, err := peer.AddrInfoFromString(i.Seeds[0])
	if err != nil {
		t.Fatal(err)
	}
	request := joiner(t, newcomer(t, "Stranger"), i).Join.Request
	proof := make([]byte, sha256.Size)
	name := i.Key().ID()
	var mu sync.Mutex
	answered := 0
	group := errgroup.Group{}
	group.SetLimit(100)
	for range 1000 {
		group.Go(func() error {
			h, err := libp2p.New(libp2p.NoListenAddrs, libp2p.DisableMetrics(), libp2p.DisableRelay(), libp2p.Transport(tcp.NewTCPTransport), libp2p.ResourceManager(nil))
			if err != nil {
				return err
			}
			defer h.Close()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := h.Connect(ctx, *info); err != nil {
				return nil
			}
			s, err := h.NewStream(ctx, info.ID, "/watchward/join/0")
			if err != nil {
				return nil
			}
			if _, err := wire.Write(s, wire.KindJoin, &wire.Join{Invitation: name[:], Proof: proof, Request: request}); err != nil {
				return nil
			}
			if kind, _, err := wire.Read(s, wire.JoinMax); err == nil {
				mu.Lock()
				defer mu.Unlock()
				if answered++; kind != wire.KindRefused {
					return fmt.Errorf("a stranger was answered with message %d", kind)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if answered > 40 { // a burst of 16, and 12 a minute
		t.Errorf("%d of 1,000 strangers were heard", answered)
	}
	if asked := r.requests(t); len(asked) != 0 {
		t.Errorf("kept %+v", asked)
	}
	member.submit(t, green, sighting("calm.example", r.clock.now()))
	eventually(t, "members hear each other", func() bool { return home.knows(t, "calm.example") })
	t.Logf("%d of 1,000 were heard", answered)
}

// Requests and invitations have their bounds; what is a member already makes room.
func TestRegistrarBounds(t *testing.T) {
	r := coordinator(t)
	home := r.hospitals[0]
	for n := range 64 {
		if _, err := home.Invite(t.Context(), time.Hour); err != nil {
			t.Fatalf("invitation %d: %v", n+1, err)
		}
	}
	var unavailable *api.Unavailable
	if _, err := home.Invite(t.Context(), time.Hour); !errors.As(err, &unavailable) {
		t.Fatalf("a 65th invitation: %v", err)
	}
	var field *notice.FieldError
	for _, life := range []time.Duration{0, time.Second, 31 * 24 * time.Hour} {
		if _, err := home.Invite(t.Context(), life); !errors.As(err, &field) {
			t.Errorf("good for %s: %v", life, err)
		}
	}
	home.clock.advance(time.Hour)

	keep := func(n int) ([]byte, error) {
		id, err := keyfile.NewIdentity(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		request, err := trust.NewRequest(id, fmt.Sprint("Hospital ", n), nil)
		if err != nil {
			t.Fatal(err)
		}
		key := r.invite(t).Key()
		name := key.ID()
		_, err = home.Keep(&wire.Join{Invitation: name[:], Proof: key.Prove(request), Request: request})
		return request, err
	}
	var last []byte
	for n := range 256 {
		var err error
		if last, err = keep(n); err != nil {
			t.Fatalf("request %d: %v", n+1, err)
		}
	}
	var refusal *mesh.JoinRefusal
	if _, err := keep(257); !errors.As(err, &refusal) || !refusal.Later() {
		t.Fatalf("a 257th request: %v", err)
	}
	r.admit(t, last)
	if _, err := keep(258); err != nil {
		t.Fatalf("a member's request makes no room: %v", err)
	}
	asked := r.requests(t)
	if n := len(asked); n != 256 || asked[n-1].Number != 257 || asked[n-2].Number != 255 {
		t.Errorf("%d requests, the last with number %d", n, asked[n-1].Number)
	}

	home.stop(t)
	home.open(t)
	if again := r.requests(t); len(again) != 256 || words.Count != len(strings.Fields(again[0].Words)) {
		t.Errorf("%d requests after a restart", len(again))
	}
}

// Only addresses that others can dial are in an invitation, those of most use first.
func TestInvitationSeeds(t *testing.T) {
	const id = "/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"
	for name, x := range map[string]struct{ addrs, announced, want []string }{
		"none":          {},
		"loopback only": {[]string{"/ip4/127.0.0.1/tcp/1" + id}, nil, []string{"/ip4/127.0.0.1/tcp/1" + id}},
		"sorted": {
			[]string{"/ip4/127.0.0.1/tcp/1" + id, "/ip4/10.0.0.1/tcp/1" + id, "/ip4/8.8.4.4/tcp/1" + id, "/ip6/fe80::1/tcp/1" + id, "/dns4/hub.example/tcp/1" + id},
			[]string{"/dns4/hub.example/tcp/1"},
			[]string{"/dns4/hub.example/tcp/1" + id, "/ip4/8.8.4.4/tcp/1" + id, "/ip4/10.0.0.1/tcp/1" + id},
		},
	} {
		if got := node.Dialable(x.addrs, x.announced); !slices.Equal(got, x.want) {
			t.Errorf("%s: %v, want %v", name, got, x.want)
		}
	}
	r := makeRegion(t, 1)
	r.hospitals[0].listen(t)
	r.hospitals[0].open(t)
	var unavailable *api.Unavailable
	if _, err := r.hospitals[0].Invite(t.Context(), time.Hour); !errors.As(err, &unavailable) || !strings.Contains(unavailable.Fix, "listen under [mesh]") {
		t.Errorf("a node that listens nowhere invites: %v", err)
	}
}

// Records come from a coordinator by hand, and are verified like all others.
func TestAddRecords(t *testing.T) {
	r, other := coordinator(t), makeRegion(t, 1)
	home, dir := r.hospitals[0], newcomer(t, "Newcomer")
	good := r.admission(t, dir)
	for name, x := range map[string]struct {
		body []byte
		why  string
	}{
		"nothing":        {nil, "no admission"},
		"garbage":        {[]byte("garbage"), "no admission"},
		"another region": {other.admission(t, dir), "of another region"},
		"a bad record":   {bytes.Replace(good, []byte("Newcomer"), []byte("Newcomes"), 1), "a record is refused"},
	} {
		var field *notice.FieldError
		if added, err := home.AddRecords(t.Context(), x.body); !errors.As(err, &field) || added != 0 || !strings.Contains(field.Reason, x.why) {
			t.Errorf("%s: %d added, %v", name, added, err)
		}
	}
	for _, want := range []int{1, 0} {
		if added, err := home.AddRecords(t.Context(), good); err != nil || added != want {
			t.Errorf("%d added, want %d: %v", added, want, err)
		}
	}
}

// BenchmarkJoin is from an invitation to the newcomer's first word at the
// coordinator's node: real nodes on loopback, with no person who compares words.
func BenchmarkJoin(b *testing.B) {
	r := coordinator(b)
	for b.Loop() {
		b.StopTimer()
		dir := newcomer(b, "Newcomer")
		b.StartTimer()
		a := apply(b, dir, r.invite(b))
		a.awaitKept(b)
		asked := r.requests(b)
		r.admit(b, asked[len(asked)-1].Request)
		if err := a.awaitEnd(b); err != nil {
			b.Fatal(err)
		}
		h := &hospital{dir: dir, clock: r.clock}
		h.open(b)
		h.start(b, nil)
		value := fmt.Sprintf("word-%d.example", asked[len(asked)-1].Number)
		h.submit(b, green, sighting(value, r.clock.now()))
		eventually(b, "the newcomer is heard", func() bool { return r.hospitals[0].knows(b, value) })
		b.StopTimer()
		h.stop(b)
		b.StartTimer()
	}
}
