package node

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/mesh/wire"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/store"
)

// Bounds and times of bringing named envelopes to their recipients.
const (
	courierMax    = 16 // members that are served at once
	courierBatch  = 16 // envelopes read at once
	retryMin      = 250 * time.Millisecond
	retryMax      = 5 * time.Minute
	courierEvery  = time.Minute // a look at the queue without a reason: for what expires
	reachedTracks = 4096        // members whose coming is noted until the courier looks
)

// Why a trip ends before everything is there.
var (
	errGone  = errors.New("no credential of the member is known")
	errLater = errors.New("the member asked to be tried later")

	errSilenced = errors.New("this node's credential was revoked: nobody takes what it says")
)

// courier brings named envelopes to their recipients until each has confirmed or
// they expire. The queue is in the store: whatever ends the courier, the next one
// goes on, and a confirmation that was lost is given again.
type courier struct {
	n    *Node
	wake chan struct{}

	mu      sync.Mutex
	trips   map[crypto.MemberID]*trip
	reached map[string]bool // peers that came since the last look
}

// A trip is the way to one member.
type trip struct {
	under bool // one goroutine is on it
	again bool // the member came meanwhile
	next  time.Time
	delay time.Duration
}

func newCourier(n *Node) *courier {
	return &courier{n: n, wake: make(chan struct{}, 1), trips: map[crypto.MemberID]*trip{}, reached: map[string]bool{}}
}

// nudge makes the courier look at the queue.
func (c *courier) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// reached is called by the mesh when a member can be spoken to: what waits for it
// is tried at once.
func (n *Node) reached(peer string) {
	c := n.courier
	c.mu.Lock()
	if len(c.reached) < reachedTracks {
		c.reached[peer] = true
	}
	c.mu.Unlock()
	c.nudge()
}

// run serves the queue until ctx ends, and returns when every trip has ended.
func (c *courier) run(ctx context.Context) {
	var trips sync.WaitGroup
	defer trips.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-timer.C:
		}
		timer.Reset(c.look(ctx, &trips))
	}
}

// look begins the trips that are due and returns when to look again.
func (c *courier) look(ctx context.Context, trips *sync.WaitGroup) time.Duration {
	waiting, err := c.n.store.Awaiting(0)
	if err != nil {
		c.n.log.Error("what waits for named members", slog.Any("err", err))
		return courierEvery
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now, again, under := time.Now(), courierEvery, 0
	for peer := range c.reached {
		credential, ok := c.n.roster.ByPeer(peer)
		if !ok {
			continue
		}
		if t := c.trips[credential.Member]; t != nil {
			t.next, t.again = now, t.under
		}
	}
	clear(c.reached)
	for member, t := range c.trips {
		if waiting[member] == 0 && !t.under {
			delete(c.trips, member)
		} else if t.under {
			under++
		}
	}
	for member := range waiting {
		t := c.trips[member]
		if t == nil {
			t = &trip{next: now}
			c.trips[member] = t
		}
		switch {
		case t.under:
		case t.next.After(now):
			again = min(again, t.next.Sub(now))
		case under < courierMax:
			under++
			t.under = true
			trips.Go(func() { c.travel(ctx, member, t) })
		}
	}
	return again
}

// travel brings one member what waits for it, oldest first, until all is there or
// it cannot be reached.
func (c *courier) travel(ctx context.Context, member crypto.MemberID, t *trip) {
	err := c.bring(ctx, member)
	c.mu.Lock()
	t.under = false
	switch {
	case err == nil || t.again:
		t.delay, t.next, t.again = 0, time.Now(), false
	default:
		t.delay = min(max(2*t.delay, retryMin), retryMax)
		t.next = time.Now().Add(t.delay/2 + rand.N(t.delay))
	}
	c.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		c.n.log.Debug("named notices wait", slog.String("member", member.String()), slog.Any("err", err))
	}
	c.nudge()
}

func (c *courier) bring(ctx context.Context, member crypto.MemberID) error {
	for last := uint64(0); ; {
		batch, err := c.n.store.Queued(member, last, courierBatch)
		if err != nil || len(batch) == 0 {
			return err
		}
		for _, q := range batch {
			if err := c.deliver(ctx, member, q); err != nil {
				return err
			}
			last = q.Local
		}
	}
}

// deliver brings one envelope to one member, or gives it up.
func (c *courier) deliver(ctx context.Context, member crypto.MemberID, q store.Queued) error {
	if q.Expiry <= c.n.now().UnixMilli() {
		return c.settle(ctx, member, q, store.Lapsed, catalog.AlertNotReached)
	}
	if c.n.silenced() {
		return errSilenced
	}
	e, err := crypto.ParseEnvelope(q.Raw)
	if err != nil {
		return err
	}
	if own, known := c.n.roster.Member(e.Header.Region, e.Header.Author, e.Header.Serial); !known || c.n.revoked(own) {
		return c.settle(ctx, member, q, store.Declined, catalog.AlertOldKeys)
	}
	credential := c.n.credentialOf(member)
	if credential == nil {
		return errGone
	}
	result, err := c.n.mesh.Deliver(ctx, string(credential.Peer), q.Raw)
	switch {
	case err != nil:
		return err
	case result == wire.ReceiptTaken:
		return c.settle(ctx, member, q, store.Delivered, "")
	case result == wire.ReceiptRefused:
		return c.settle(ctx, member, q, store.Declined, catalog.AlertNotOpened)
	}
	return errLater
}

// settle ends the wait, and says why if it was in vain.
func (c *courier) settle(ctx context.Context, member crypto.MemberID, q store.Queued, state store.DeliveryState, why catalog.Key) error {
	settled, err := c.n.store.Settle(context.WithoutCancel(ctx), member, q.Local, state, c.n.now().UnixMilli())
	if err != nil || !settled || why == "" {
		return err
	}
	id, err := c.n.store.ItemAt(q.Local)
	if err == nil {
		c.n.unsent(q.TLP, member, id, why)
	}
	return err
}
