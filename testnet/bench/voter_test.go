package bench_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	_ "net/http/pprof" // of the processes, if WATCHWARD_BENCH_PPROF is set
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	p2pcrypto "github.com/libp2p/go-libp2p/core/crypto"
	libp2phost "github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	p2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger"
	"github.com/watchward/watchward/ledger/verify"
)

const (
	voterEnv = "WATCHWARD_BENCH_VOTER" // file of a voterSpec: the process is a voter or a witness
	pprofEnv = "WATCHWARD_BENCH_PPROF" // a port of loopback: the first shows its profile there, the next one further on
)

// A voterSpec is what a voter's process needs to know. The first places are voters.
type voterSpec struct {
	Place   int
	Dir     string // of its ledger
	Keys    string // its identity
	Region  crypto.Region
	Records [][]byte
	Peers   []string // addresses of all, with their peer ids
	Clients string   // address at which it takes clients
	Pair    pair     // its certificate
	Voter   bool
}

func (s *voterSpec) receipt() string { return filepath.Join(filepath.Dir(s.Dir), "receipt") }

// runVoter is a ledger and nothing else as a process: other voters over libp2p as the
// mesh has it, clients over TLS. It ends with its input.
func runVoter(path string, in io.Reader, out io.Writer) (err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var s voterSpec
	if err := json.Unmarshal(raw, &s); err != nil {
		return err
	}
	profile(s.Place)
	id, err := keyfile.Load(s.Keys)
	if err != nil {
		return err
	}
	roster := trust.NewRoster(s.Region)
	if _, err := roster.AddAll(s.Records); err != nil {
		return err
	}
	n, err := newPlainNetwork(id, s)
	if err != nil {
		return err
	}
	defer n.close()
	if s.Voter && os.Getenv("GOGC") == "" { // as the daemon does
		debug.SetGCPercent(400)
		debug.SetMemoryLimit(256 << 20)
	}
	l, err := ledger.Open(ledger.Config{
		Dir: s.Dir, Region: s.Region, Self: crypto.NewMemberID(id.Signing.Public()), Key: crypto.NewLedgerKey(id.Signing),
		Roster: roster, Network: n, Vote: s.Voter, Mirror: true, Heartbeat: heartbeat(),
		Raise: func(a ledger.Alarm) { fmt.Fprintln(os.Stderr, "alarm:", a.Text) },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := l.Start(); err != nil {
		return err
	}
	policy, err := verify.PolicyOf(roster, s.Region, 1)
	if err != nil {
		return err
	}
	v := &voter{spec: s, ledger: l, policy: policy}
	secure, err := tls.LoadX509KeyPair(s.Pair.Certificate, s.Pair.Key)
	if err != nil {
		return err
	}
	door, err := tls.Listen("tcp", s.Clients, &tls.Config{Certificates: []tls.Certificate{secure}, MinVersion: tls.VersionTLS13})
	if err != nil {
		return err
	}
	defer door.Close()
	go v.serve(door)
	fmt.Fprintln(out, "ready")
	_, err = io.Copy(io.Discard, in)
	return err
}

// heartbeat is the product's, or what WATCHWARD_BENCH_HEARTBEAT says: a longer one for
// a machine that does much else.
func heartbeat() time.Duration {
	d, _ := time.ParseDuration(os.Getenv("WATCHWARD_BENCH_HEARTBEAT"))
	return d
}

func profile(place int) {
	port, err := strconv.Atoi(os.Getenv(pprofEnv))
	if err != nil {
		return
	}
	runtime.SetBlockProfileRate(10_000) // ns
	go func() {
		fmt.Fprintln(os.Stderr, http.ListenAndServe(net.JoinHostPort("127.0.0.1", strconv.Itoa(port+place)), nil))
	}()
}

// A plainNetwork is libp2p with the mesh's transports between known peers.
type plainNetwork struct {
	host libp2phost.Host
	end  context.CancelFunc
	dial sync.WaitGroup
}

func newPlainNetwork(id *keyfile.Identity, s voterSpec) (*plainNetwork, error) {
	key, err := p2pcrypto.UnmarshalEd25519PrivateKey(id.PeerKey())
	if err != nil {
		return nil, err
	}
	peers := make([]peer.AddrInfo, len(s.Peers))
	for i, a := range s.Peers {
		p, err := peer.AddrInfoFromString(a)
		if err != nil {
			return nil, err
		}
		peers[i] = *p
	}
	h, err := libp2p.New(libp2p.Identity(key), libp2p.ListenAddrs(peers[s.Place].Addrs...), libp2p.DisableMetrics(), libp2p.DisableRelay(),
		libp2p.Security(p2ptls.ID, p2ptls.New), libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.Transport(libp2pquic.NewTransport), libp2p.Transport(tcp.NewTCPTransport),
		libp2p.ResourceManager(&network.NullResourceManager{}))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &plainNetwork{host: h, end: cancel}
	for i, p := range peers {
		if i != s.Place {
			n.dial.Go(func() { connect(ctx, h, p) })
		}
	}
	return n, nil
}

// connect keeps h connected to a peer until ctx ends.
func connect(ctx context.Context, h libp2phost.Host, p peer.AddrInfo) {
	for ctx.Err() == nil {
		if h.Network().Connectedness(p.ID) != network.Connected {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			_ = h.Connect(ctx, p)
			cancel()
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (n *plainNetwork) close() error {
	n.end()
	n.dial.Wait()
	return n.host.Close()
}

func (n *plainNetwork) Open(ctx context.Context, to, proto string) (ledger.Stream, error) {
	s, err := n.host.NewStream(network.WithNoDial(ctx, "bench"), peer.ID(to), protocol.ID(proto))
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (n *plainNetwork) Handle(proto string, allow func(peer string) bool, h func(peer string, s ledger.Stream)) {
	if h == nil {
		n.host.RemoveStreamHandler(protocol.ID(proto))
		return
	}
	n.host.SetStreamHandler(protocol.ID(proto), func(s network.Stream) {
		from := string(s.Conn().RemotePeer())
		if !allow(from) {
			_ = s.Reset()
			return
		}
		h(from, s)
	})
}

func (n *plainNetwork) Peers() (all []string) {
	for _, p := range n.host.Network().Peers() {
		all = append(all, string(p))
	}
	return all
}

func (n *plainNetwork) Announce(context.Context, crypto.Region, []byte) error { return nil }

func addressOf(id *keyfile.Identity, address string) (string, error) {
	key, err := p2pcrypto.UnmarshalEd25519PrivateKey(id.PeerKey())
	if err != nil {
		return "", err
	}
	p, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return "", err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	m, err := multiaddr.NewMultiaddr(fmt.Sprintf(voterAddress(), host, port, p))
	if err != nil {
		return "", err
	}
	return m.String(), nil
}

// voterAddress is how voters reach each other: QUIC as the mesh prefers it, or TCP.
func voterAddress() string {
	if os.Getenv("WATCHWARD_BENCH_TRANSPORT") == "tcp" {
		return "/ip4/%s/tcp/%s/p2p/%s"
	}
	return "/ip4/%s/udp/%s/quic-v1/p2p/%s"
}

// The clients' protocol, which is here for the benchmark alone. A request is a number
// of 4 bytes, what is wanted, the body's length in 2 bytes, and the body. An answer is
// the number, whether it was done, and a value of 8 bytes.
const (
	opAppend   = 'a' // body: an entry; value: its index
	opLeads    = 'l' // done if this voter leads
	opTransfer = 't' // body: the member that is to lead
	opReceipt  = 'r' // as opAppend, and the entry is under a good checkpoint
	opWitness  = 'w' // as opReceipt, and the checkpoint is witnessed
	opKeep     = 'k' // as opReceipt, and the receipt is in the voter's file
	opSize     = 's' // value: entries here

	requestHead = 7
	answerSize  = 13
)

type voter struct {
	spec   voterSpec
	ledger *ledger.Ledger
	policy *verify.Policy
}

func (v *voter) serve(door net.Listener) {
	for {
		c, err := door.Accept()
		if err != nil {
			return
		}
		go v.client(c)
	}
}

// client answers one connection's requests, each as soon as it is done.
func (v *voter) client(c net.Conn) {
	defer c.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	answers := make(chan []byte, 1024)
	var writer sync.WaitGroup
	writer.Go(func() { writeAll(c, answers) })
	defer func() {
		cancel()
		wait.Wait()
		close(answers)
		writer.Wait()
	}()
	in := bufio.NewReaderSize(c, 64<<10)
	for {
		var head [requestHead]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint16(head[5:]))
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		wait.Go(func() {
			value, err := v.do(ctx, head[4], body)
			answer := append(head[:4:4], 0)
			if err != nil {
				answer[4] = 1
			}
			answers <- binary.BigEndian.AppendUint64(answer, value)
		})
	}
}

// writeAll writes what there is in as few records as it can, and drains from when the
// connection is gone.
func writeAll(c net.Conn, from <-chan []byte) {
	out := bufio.NewWriterSize(c, 64<<10)
	for message := range from {
		if _, err := out.Write(message); err == nil && len(from) == 0 {
			_ = out.Flush() // an error stays with out
		}
	}
}

func (v *voter) do(ctx context.Context, op byte, body []byte) (uint64, error) {
	switch op {
	case opLeads:
		if !v.ledger.Leads() {
			return 0, ledger.ErrNotLeader{}
		}
		return 0, nil
	case opTransfer:
		return 0, v.ledger.Transfer(ctx, crypto.MemberID(body))
	case opSize:
		return v.ledger.Status().Size, nil
	}
	done, err := v.ledger.Append(ctx, body)
	if err != nil {
		return 0, err
	}
	if op != opAppend {
		r, err := v.proven(ctx, body, op == opWitness)
		if err == nil && op == opKeep {
			err = keepReceipt(v.spec.receipt(), r)
		}
		if err != nil {
			return 0, err
		}
	}
	return done[0].Index, nil
}

func keepReceipt(path string, r *verify.Receipt) error {
	raw, err := r.Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o600)
}

// proven returns when the entry has a receipt that verifies.
func (v *voter) proven(ctx context.Context, entry []byte, witnessed bool) (*verify.Receipt, error) {
	for {
		grown := v.ledger.Grown()
		if r, err := v.ledger.Receipt(entry); err == nil {
			if c, err := r.Verify(v.policy); err == nil && (c.Witnessed || !witnessed) {
				return r, nil
			}
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
