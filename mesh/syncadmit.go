package mesh

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/watchward/watchward/crypto"
)

// admit checks and admits what the reader hands over. While it works the reader
// waits, the stream's window fills and the peer waits too.
func (d *driver) admit() error {
	for raws := range d.incoming {
		d.waiting.Release(weight(raws))
		size := total(raws)
	more:
		for len(raws) < admitMax && size < admitBytes {
			select {
			case next, ok := <-d.incoming:
				if !ok {
					break more
				}
				d.waiting.Release(weight(next))
				raws, size = append(raws, next...), size+total(next)
			default:
				break more
			}
		}
		if err := d.take(raws); err != nil {
			return err
		}
	}
	return nil
}

// weight is what a frame counts for among those that wait.
func weight(raws [][]byte) int64 { return int64(min(total(raws), waitingBytes)) }

func total(raws [][]byte) (n int) {
	for _, raw := range raws {
		n += len(raw)
	}
	return n
}

func (d *driver) take(raws [][]byte) error {
	checked := make([]*Checked, len(raws))
	errs := make([]error, len(raws))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, raw := range raws {
		group.Go(func() error {
			checked[i], errs[i] = d.m.c.Path.Check(raw, ViaSync, crypto.Region{}, 0)
			return nil
		})
	}
	_ = group.Wait()
	var batch []*Checked
	for i, c := range checked {
		if errs[i] == nil {
			batch = append(batch, c)
		} else if d.m.judge(errs[i], raws[i], d.id) {
			return errs[i]
		}
	}
	if len(batch) == 0 {
		return nil
	}
	ordered(batch)
	if err := d.m.c.Path.Admit(d.ctx, batch); err != nil {
		return fmt.Errorf("admit: %w", err)
	}
	d.result.EnvelopesIn += int64(len(batch))
	d.m.metrics.results("synced", len(batch))
	d.m.useful(d.id)
	d.m.spend(batch)
	d.m.forwardRecent(batch, d.id)
	for _, c := range batch {
		if c.Mismatch {
			d.m.direct.gap(c, d.id)
		}
	}
	return nil
}

// ordered sorts a batch so that in each chain a predecessor goes first and
// neighbours can be compared; the chain that came first stays first.
func ordered(batch []*Checked) {
	place := map[crypto.ChainID]int{}
	for i, c := range batch {
		if _, known := place[c.Envelope.Header.Chain()]; !known {
			place[c.Envelope.Header.Chain()] = i
		}
	}
	slices.SortStableFunc(batch, func(a, b *Checked) int {
		x, y := &a.Envelope.Header, &b.Envelope.Header
		return cmp.Or(cmp.Compare(place[x.Chain()], place[y.Chain()]), cmp.Compare(x.Seq, y.Seq))
	})
}

// forwardRecent sends on what is new to the mesh; old history is found by the
// others' own sessions.
func (m *Mesh) forwardRecent(batch []*Checked, from peer.ID) {
	since := m.now() - settleAfter.Milliseconds()
	var fresh []*Checked
	for _, c := range batch {
		if c.Envelope.Header.Time > since {
			fresh = append(fresh, c)
		}
	}
	m.forward(fresh, from)
}

// budget says how many bytes of an author may still be pulled today, beside
// urgent words, so that one member cannot fill every disk in a day.
func (m *Mesh) budget(author crypto.MemberID) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turnDay()
	return max(0, pullDayBytes-m.pulled[author])
}

func (m *Mesh) spend(batch []*Checked) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turnDay()
	for _, c := range batch {
		if !c.Envelope.Header.Urgent || len(c.Envelope.Raw) > UrgentMax {
			m.pulled[c.Envelope.Header.Author] += int64(len(c.Envelope.Raw))
		}
	}
}

func (m *Mesh) turnDay() {
	if day := m.now() / (24 * time.Hour).Milliseconds(); day != m.day {
		m.day = day
		clear(m.pulled)
	}
}
