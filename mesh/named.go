package mesh

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"golang.org/x/time/rate"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh/wire"
)

// What is sealed for named members travels on streams of its own, from its author
// to each recipient, and is never handed on: no topic, no session and no pull
// knows it.
const protocolNamed protocol.ID = "/watchward/named/0"

// Bounds and times of named streams.
const (
	namedTime     = 30 * time.Second // for one envelope: sent, verified, on disk, confirmed
	namedDayBytes = 64 << 20         // of one author a day; beyond it, it is asked to come again later
	reachTime     = 15 * time.Second
	reachPoll     = 50 * time.Millisecond
)

// ErrUnreached says that there is no way to a member now.
var ErrUnreached = errors.New("the member cannot be reached now")

// named counts what each author has brought today.
type named struct {
	mu    sync.Mutex
	bytes map[crypto.MemberID]int
	day   int64
}

// spend reports whether an author may bring so many bytes more today.
func (n *named) spend(author crypto.MemberID, bytes int, now int64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if day := now / dayMillis; day != n.day || n.bytes == nil {
		n.bytes, n.day = map[crypto.MemberID]int{}, day
	}
	if n.bytes[author]+bytes > namedDayBytes {
		return false
	}
	n.bytes[author] += bytes
	return true
}

const dayMillis = 24 * 60 * 60 * 1000

// Deliver brings a sealed envelope to a member, by its peer id, and returns what
// the member says of it: one of wire's receipts. It connects if need be, through a
// relay where there is no direct way. An error means that it is to be tried again:
// nobody knows then whether it arrived.
func (m *Mesh) Deliver(ctx context.Context, to string, raw []byte) (result uint8, err error) {
	id := peer.ID(to)
	if !m.gate.member(id) {
		return 0, errStranger
	}
	if err := m.reach(ctx, id, true); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, namedTime)
	defer cancel()
	s, err := m.host.NewStream(network.WithAllowLimitedConn(ctx, "named"), id, protocolNamed)
	if err != nil {
		return 0, err
	}
	defer context.AfterFunc(ctx, func() { _ = s.Reset() })()
	receipt, err := exchange(s, raw)
	if err != nil {
		_ = s.Reset()
		return 0, err
	}
	_ = s.Close() // the receipt says it all
	return receipt, nil
}

// exchange sends one envelope and reads its receipt.
func exchange(s network.Stream, raw []byte) (uint8, error) {
	e, err := crypto.ParseEnvelope(raw)
	if err != nil {
		return 0, err
	}
	if _, err := wire.Write(s, wire.KindPush, &wire.Push{Raw: raw}); err != nil {
		return 0, err
	}
	kind, body, err := wire.Read(s, wire.PageBytes)
	if err != nil {
		return 0, err
	}
	message, err := wire.DecodeDirect(kind, body)
	if err != nil {
		return 0, err
	}
	receipt, ok := message.(*wire.Receipt)
	if !ok || receipt.ID != e.ID {
		return 0, fmt.Errorf("%w: no receipt for what was sent", errProtocol)
	}
	return receipt.Result, nil
}

// reach makes sure that there is a connection to a member: the one that is there,
// a direct one, or with circuits one through a relay.
func (m *Mesh) reach(ctx context.Context, id peer.ID, circuits bool) error {
	here := func() bool {
		there := m.host.Network().Connectedness(id)
		return there == network.Connected || circuits && there == network.Limited
	}
	if here() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	var watching sync.WaitGroup
	watching.Go(func() { // it may come by itself while an address of old is dialled in vain
		tick := time.NewTicker(reachPoll)
		defer tick.Stop()
		for !here() {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
		cancel()
	})
	defer watching.Wait()
	defer cancel()
	if addrs := m.book.known()[id]; len(addrs) > 0 && m.dialAt(ctx, id, addrs) == nil {
		return nil
	}
	err := ErrUnreached
	if circuits {
		err = m.relayed(ctx, id)
	}
	if err != nil && !here() {
		return err
	}
	return nil
}

// handleNamed takes what others have sealed for this member.
func (m *Mesh) handleNamed(s network.Stream) {
	defer s.Close()
	from := s.Conn().RemotePeer()
	pace := rate.NewLimiter(messageRate, messageBurst)
	for {
		if pace.Wait(m.ctx) != nil {
			_ = s.Reset()
			return
		}
		_ = s.SetDeadline(time.Now().Add(namedTime))
		kind, body, err := wire.Read(s, wire.FrameMax)
		if err != nil { // the author has said everything, or is gone
			_ = s.Reset()
			return
		}
		message, err := wire.DecodeDirect(kind, body)
		push, ok := message.(*wire.Push)
		if err != nil || !ok {
			m.metrics.rejected("named")
			m.log.Warn("a peer's stream is not what it should be", slog.String("peer", from.String()), slog.Any("err", errors.Join(err, errProtocol)))
			_ = s.Reset()
			return
		}
		receipt := m.takeNamed(push.Raw, from)
		if _, err := wire.Write(s, wire.KindReceipt, receipt); err != nil || receipt.Result == wire.ReceiptRefused {
			return
		}
	}
}

// takeNamed runs an envelope through the accept order and says what became of it.
// Taken means durable here.
func (m *Mesh) takeNamed(raw []byte, from peer.ID) *wire.Receipt {
	receipt := &wire.Receipt{Result: wire.ReceiptRefused}
	checked, err := m.checkNamed(raw, from, receipt)
	if err == nil {
		if err = m.c.Path.Admit(m.ctx, []*Checked{checked}); err == nil {
			m.metrics.result("accepted")
			receipt.Result = wire.ReceiptTaken
			return receipt
		}
	}
	var refusal *Refusal
	switch {
	case errors.Is(err, ErrDuplicate): // its receipt was lost
		receipt.Result = wire.ReceiptTaken
	case errors.As(err, &refusal) && refusal.Reason != "credential" && refusal.Reason != "region":
	default: // what may be otherwise when clocks or trust records have changed, or the disk has room
		receipt.Result = wire.ReceiptLater
	}
	m.judge(err, nil, from)
	return receipt
}

// checkNamed is Check for what the author itself must bring.
func (m *Mesh) checkNamed(raw []byte, from peer.ID, receipt *wire.Receipt) (*Checked, error) {
	e, err := crypto.ParseEnvelope(raw)
	if err != nil {
		return nil, &Refusal{Reason: "frame", Err: err}
	}
	receipt.ID = e.ID
	sender, ok := m.c.Roster.ByPeer(string(from))
	if !ok || !wrote(sender, &e.Header) {
		return nil, &Refusal{Reason: "author", Err: errors.New("what is sealed is brought by its author alone")}
	}
	checked, err := m.c.Path.Check(raw, ViaNamed, crypto.Region{}, 0)
	if err != nil {
		return nil, err
	}
	if !m.named.spend(e.Header.Author, len(raw), m.now()) {
		m.metrics.result("muted")
		return nil, ErrHeld
	}
	return checked, nil
}

// wrote reports whether a peer's credential is one of the author's.
func wrote(c *trust.Credential, h *crypto.Header) bool {
	return c.Region == h.Region && c.Member == h.Author
}
