package node

import (
	"testing"

	"pgregory.net/rapid"
)

// Whatever arrives when, no word waits longer than the window, and no window
// holds more ordinary envelopes than the pace allows.
func TestPaceBoundsWaitingAndEnvelopes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var p pace
		var signed []int64
		now, waitingSince := int64(1_000_000), int64(-1)
		arrivals := rapid.SliceOfN(rapid.Int64Range(0, 15_000), 1, 200).Draw(t, "gaps")
		for i := 0; i < len(arrivals); {
			next := now + arrivals[i]
			if waitingSince >= 0 {
				ok, again := p.ready(now)
				if ok {
					p.note(now)
					signed = append(signed, now)
					if waited := now - waitingSince; waited > paceWindow.Milliseconds() {
						t.Fatalf("a word waited %d ms", waited)
					}
					waitingSince = -1
				} else if again <= now {
					t.Fatalf("told to ask again at %d, and it is %d", again, now)
				} else if again < next {
					arrivals[i] = next - again
					now = again
					continue
				}
			}
			now = next
			if waitingSince < 0 {
				waitingSince = now
			}
			i++
		}
		for i := range signed {
			if j := i + paceEnvelopes; j < len(signed) && signed[j]-signed[i] < paceWindow.Milliseconds() {
				t.Fatalf("%d envelopes within %d ms", paceEnvelopes+1, signed[j]-signed[i])
			}
		}
	})
}

func TestPaceSurvivesAClockSetBack(t *testing.T) {
	var p pace
	for range paceEnvelopes {
		p.note(1_000_000_000)
	}
	if ok, _ := p.ready(1); !ok {
		t.Fatal("the outbox waits for a time that lies years ahead")
	}
}
