package mesh

import (
	"errors"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watchward/watchward/crypto"
)

// Bounds of envelopes whose author is not known yet.
const (
	parkedMax      = 256
	parkedBytesMax = 4 << 20
	askTries       = 5
	askAgain       = time.Second
)

// parking keeps envelopes of unknown authors while their credential is asked of
// whoever sent them. It is guarded by Mesh.mu.
type parking struct {
	raws   map[crypto.EnvelopeID]parked
	bytes  int
	asking map[peer.ID]bool
}

type parked struct {
	raw  []byte
	from peer.ID
}

func (m *Mesh) park(raw []byte, from peer.ID) {
	e, err := crypto.ParseEnvelope(raw)
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p := &m.parked
	if _, here := p.raws[e.ID]; here || len(p.raws) >= parkedMax || p.bytes+len(raw) > parkedBytesMax || m.ctx.Err() != nil {
		return
	}
	p.raws[e.ID] = parked{raw, from}
	p.bytes += len(raw)
	m.askLocked(from)
}

// askFor begins to ask a peer for its trust records, unless that is under way.
func (m *Mesh) askFor(from peer.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.askLocked(from)
}

// askLocked is askFor with mu held.
func (m *Mesh) askLocked(from peer.ID) {
	if m.parked.asking[from] || m.ctx.Err() != nil {
		return
	}
	m.parked.asking[from] = true
	m.wait.Go(func() { m.ask(from) })
}

// syncSoon runs a session that settles the trust records of this moment.
func (m *Mesh) syncSoon(with peer.ID) error {
	_, err := m.SyncNow(m.ctx, with)
	for tries := 0; errors.Is(err, errBusy) && tries < askTries; tries++ { // that session may be past its trust records
		select {
		case <-m.ctx.Done():
			return m.ctx.Err()
		case <-time.After(askAgain):
		}
		_, err = m.SyncNow(m.ctx, with)
	}
	return err
}

// ask brings the sender's trust records by a sync session, which settles them
// first, and checks again what it sent.
func (m *Mesh) ask(from peer.ID) {
	err := m.syncSoon(from)
	if err != nil && m.ctx.Err() == nil {
		m.log.Debug("ask for a credential", slog.String("peer", from.String()), slog.Any("err", err))
	}
	m.mu.Lock()
	delete(m.parked.asking, from)
	var mine [][]byte
	for id, p := range m.parked.raws {
		if p.from == from {
			mine = append(mine, p.raw)
			m.parked.bytes -= len(p.raw)
			delete(m.parked.raws, id)
		}
	}
	m.mu.Unlock()
	for _, raw := range mine {
		checked, err := m.c.Path.Check(raw, ViaDirect, crypto.Region{}, 0)
		if err == nil {
			m.admit([]*Checked{checked}, []peer.ID{from})
		}
	}
}
