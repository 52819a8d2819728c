package ledger

import (
	"context"
	"fmt"
	"testing"

	"github.com/watchward/watchward/ledger/tlog"
)

// A voter that adds lines of nobody to its own takes no room from the others', and no
// audit finds them in the checkpoint.
func TestLinesOfStrangersTakeNoRoom(t *testing.T) {
	r := newTestRegion(t, 3, 1, 0)
	var voters []*testNode
	for _, name := range []string{"v1", "v2", "v3"} {
		v := r.node(name, "")
		v.growAll(testEntries("a", 0, 30))
		voters = append(voters, v)
	}
	v, liar := voters[0], voters[1]
	liar.lies(func(peer string, q message) (message, bool) {
		if _, ok := q.(*cosign); !ok {
			return nil, false
		}
		m, err := liar.honest(context.Background(), peer, q)
		if err != nil {
			return nil, false
		}
		n, err := tlog.ParseNote(m.(*note).Note)
		if err != nil {
			return nil, false
		}
		for i := range tlog.LinesMax - 4 {
			n.Lines = append(n.Lines, tlog.Line{Name: fmt.Sprintf("nobody.example/%d", i), ID: uint32(i), Sig: make([]byte, 72)})
		}
		return &note{Note: n.Bytes()}, true
	})
	for _, v := range voters {
		v.start()
	}
	for _, v := range voters {
		v.signs()
	}
	w := r.started("w1")
	w.signs()
	v.cosigned()
	r.eventually("all voters have signed", func() bool { return len(v.track().newest().Voters) == 3 })
	if !v.follow.askWitnesses(v.track(), v.track().newest()) {
		t.Fatal("the witness did not sign")
	}
	s := v.track().newest()
	c, err := v.policy().Check(s.raw)
	if err != nil || !c.Witnessed || len(c.Voters) != 3 || len(c.Foreign) != 0 {
		t.Errorf("%+v, error %v", c, err)
	}
}
