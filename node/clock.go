package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/watchward/watchward/node/store"
)

// clockSkew is what the members' clocks say of this node's.
type clockSkew struct {
	offset  time.Duration // how far the median is ahead
	members int
}

// clockCompared reports whether enough members have been asked for the time
// since the start. Until then nothing that arrives is thrown away as expired.
func (n *Node) clockCompared() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.skew.members >= skewMembers
}

// Bounds of the clock's comparison (design, Time 2).
const (
	skewMax     = 2 * time.Minute
	skewMembers = 3
)

// compareClock takes the median of the members' clocks. When this one is far
// off it is corrected, and a person is told once a day.
func (n *Node) compareClock() {
	if n.mesh == nil {
		return
	}
	var offsets []time.Duration
	for _, p := range n.mesh.Peers() {
		if !p.LastSync.IsZero() {
			offsets = append(offsets, p.Offset)
		}
	}
	skew := clockSkew{members: len(offsets)}
	if len(offsets) > 0 {
		sort.Slice(offsets, func(i, j int) bool { return offsets[i] < offsets[j] })
		skew.offset = offsets[len(offsets)/2]
	}
	n.mu.Lock()
	n.skew = skew
	n.mu.Unlock()
	n.metrics.skew.Set(skew.offset.Seconds())
	switch {
	case skew.members < skewMembers: // too few to say; what they said before holds
	case skew.offset.Abs() <= skewMax:
		n.correction.Store(0)
		n.keepClock(0)
	default:
		if old := n.correction.Swap(int64(skew.offset)); time.Duration(old-int64(skew.offset)).Abs() > skewMax {
			n.picture.anew() // what this node has said counts at another time
		}
		n.keepClock(skew.offset)
		n.alert(store.Alert{Kind: "clock", Severity: "warning", Dedup: "clock/" + n.now().UTC().Format(time.DateOnly),
			Text: fmt.Sprintf("This machine's clock is %s off the median of %d members, whose time is used instead: check its time server.", skew.offset.Abs().Round(time.Second), skew.members)})
	}
}

// clockKeepEvery is how often the time is written down while it is corrected.
const clockKeepEvery = time.Minute

// A keptClock is what a node remembers of its machine's wrong clock, for a start
// at which there is nobody to ask.
type keptClock struct {
	Offset int64 `json:"offset_ms"` // was added to the machine's clock
	Good   int64 `json:"good_ms"`   // the time as it was corrected, when this was written
}

// correction says what to add to a machine's clock that shows now (ms). The clock
// may have been put right since: of its time and the corrected one the earlier
// counts that is not before the last that was known.
func (k keptClock) correction(now int64) time.Duration {
	known, corrected := k.Good-skewMax.Milliseconds(), now+k.Offset
	if corrected < known || now >= known && now < corrected {
		return 0
	}
	return time.Duration(k.Offset) * time.Millisecond
}

// recallClock takes up the correction that was in force when the node stopped.
// It holds until enough members have been met.
func (n *Node) recallClock() {
	if n.o.Lab != nil {
		return
	}
	var k keptClock
	raw, err := os.ReadFile(filepath.Join(n.o.Dir, clockFile))
	if err == nil {
		err = json.Unmarshal(raw, &k)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil: // only a hint: the members will say
		n.log.Warn("the clock's correction is not known", slog.Any("err", err))
	default:
		n.correction.Store(int64(k.correction(n.o.Now().UnixMilli())))
		n.clockKept = n.o.Now()
	}
}

// keepClock writes the correction down now and then, and forgets it when there is
// none.
func (n *Node) keepClock(offset time.Duration) {
	path, now := filepath.Join(n.o.Dir, clockFile), n.o.Now()
	var err error
	switch {
	case n.o.Lab != nil:
	case offset == 0 && n.clockKept.IsZero(), offset != 0 && now.Sub(n.clockKept).Abs() < clockKeepEvery:
	case offset == 0:
		n.clockKept = time.Time{}
		if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	default:
		n.clockKept = now
		var raw []byte
		if raw, err = json.Marshal(keptClock{offset.Milliseconds(), now.Add(offset).UnixMilli()}); err == nil {
			err = writeFile(path, raw, 0o600)
		}
	}
	if err != nil {
		n.log.Warn("the clock's correction is not kept", slog.Any("err", err))
	}
}
