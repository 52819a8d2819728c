package sim

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
)

func peerOf(w *World, c *trust.Credential) string {
	w.Helper()
	id, err := peer.IDFromBytes(c.Peer)
	if err != nil {
		w.Fatal(err)
	}
	return id.String()
}

// A Word is one envelope that was said, and what a flood would need to bring it
// to everybody over the connections of that moment.
type Word struct {
	*crypto.Envelope
	By    *Member
	At    time.Time
	Bound []time.Duration
}

// Speak lets a member say an envelope of about size bytes of items, and notes
// the flood bound of the moment.
func (m *Member) Speak(header crypto.Header, size int) Word { return m.SpeakItems(header, 1, size) }

// SpeakItems is Speak with n items of size bytes each.
func (m *Member) SpeakItems(header crypto.Header, n, size int) Word {
	m.World.Helper()
	items := make([][]byte, n)
	for k := range items {
		items[k] = make([]byte, size)
		for i := range items[k] {
			items[k][i] = byte(m.World.Rand.Uint32())
		}
	}
	w := Word{By: m, Bound: m.World.Bound(m.Index, m.World.Links())}
	w.Envelope = m.Sign(header, items...)
	w.At = time.Now()
	m.Publish(w.Envelope)
	return w
}

// A Delivery is how words reached members.
type Delivery struct {
	Seed           uint64
	Members, Words int
	Lost           int
	Times, Bounds  []time.Duration // sorted
	FirstLost      string
	Unreachable    int // no way over connections when it was said
}

// A Receiver is a member, or a hospital.
type Receiver interface {
	Arrived(crypto.EnvelopeID) (time.Time, bool)
	self() *Member
}

func (m *Member) self() *Member { return m }

// Measure collects how words reached members other than their authors.
func Measure[R Receiver](w *World, words []Word, members []R) Delivery {
	d := Delivery{Seed: w.Config.Seed, Members: len(members), Words: len(words)}
	for _, word := range words {
		for _, m := range members {
			if m.self() == word.By {
				continue
			}
			at, came := m.Arrived(word.ID)
			if !came {
				d.Lost++
				if d.FirstLost == "" {
					d.FirstLost = fmt.Sprintf("%s of %s at %s", word.ID, word.By.Credential.Name, m.self().Credential.Name)
				}
				continue
			}
			if word.Bound[m.self().Index] == math.MaxInt64 {
				d.Unreachable++
				continue
			}
			d.Times = append(d.Times, at.Sub(word.At))
			d.Bounds = append(d.Bounds, word.Bound[m.self().Index])
		}
	}
	slices.Sort(d.Times)
	slices.Sort(d.Bounds)
	return d
}

// Quantile returns the value below which a share q of sorted samples lie.
func Quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// Stretch is how many times longer a share q took than the flood bound's.
func (d Delivery) Stretch(q float64) float64 {
	return float64(Quantile(d.Times, q)) / float64(max(Quantile(d.Bounds, q), 1))
}

func (d Delivery) String() string {
	ms := func(of []time.Duration, q float64) float64 { return float64(Quantile(of, q).Microseconds()) / 1000 }
	return fmt.Sprintf("seed %d: %d words to %d members, lost %d; p50 %.1f ms of %.1f (%.2f ×), p99 %.1f ms of %.1f (%.2f ×), longest %.1f ms",
		d.Seed, d.Words, d.Members, d.Lost, ms(d.Times, .5), ms(d.Bounds, .5), d.Stretch(.5), ms(d.Times, .99), ms(d.Bounds, .99), d.Stretch(.99), ms(d.Times, 1))
}
