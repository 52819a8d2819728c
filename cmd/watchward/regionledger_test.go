package main

import (
	"testing"

	"github.com/watchward/watchward/node"
)

// Two coordinators' nodes keep a ledger no longer than one does: then it is one.
func TestDevLedger(t *testing.T) {
	for hospitals, want := range map[int]int{1: 1, 2: 1, 3: 3, 4: 3} {
		o := devOptions{hospitals: hospitals, dir: t.TempDir()}
		dirs, err := makeDevNodes(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := foundDevRegion(o.dir, dirs); err != nil {
			t.Fatal(err)
		}
		roster, _, err := node.RosterOf(dirs[0])
		if err != nil {
			t.Fatal(err)
		}
		charter := roster.Charter()
		if len(charter.Voters) != want || charter.Ledger != 1 || len(charter.Witnesses) != 0 {
			t.Errorf("%d hospitals: %d voters of epoch %d", hospitals, len(charter.Voters), charter.Ledger)
		}
		for _, v := range charter.Voters {
			m, known := roster.Member(roster.Region(), v, 1)
			if !known || m.MayVote() != nil {
				t.Errorf("%d hospitals: voter %s cannot vote", hospitals, v)
			}
		}
	}
}
