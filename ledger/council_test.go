package ledger

import (
	"testing"

	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/ledger/tlog"
)

// Whoever names epochs that no charter has does not hide the one that there is.
func TestPoliciesOfEpochsThatAreNot(t *testing.T) {
	r := testkit.NewRegionLedger(t, "north", []string{"ada"}, nil)
	c := newCouncils(r.Roster(t), r.ID)
	for epoch := range uint32(2 * policiesMax) {
		if c.policy(tlog.Origin(r.ID, epoch+2)) != nil {
			t.Fatalf("epoch %d has a policy", epoch+2)
		}
	}
	if c.policy(tlog.Origin(r.ID, 1)) == nil {
		t.Error("the region's ledger has no policy any more")
	}
}
