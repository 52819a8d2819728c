package notice_test

import (
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// What leaves: for each exit and audience one letter a marking, of which
// none, CLEAR, GREEN, AMBER, AMBER+STRICT, RED, 6, 255.
func TestLeaves(t *testing.T) {
	tlps := []notice.TLP{0, notice.TLPClear, notice.TLPGreen, notice.TLPAmber, notice.TLPAmberStrict, notice.TLPRed, 6, 255}
	// Columns: local, named, region, community, no audience.
	table := map[notice.Exit][5]string{
		0:                   {"--------", "--------", "--------", "--------", "--------"},
		notice.ExitMesh:     {"--------", "--------", "-+++----", "-++-----", "--------"},
		notice.ExitNamed:    {"--------", "-+++++--", "--------", "--------", "--------"},
		notice.ExitBundle:   {"--------", "--------", "-+++----", "-++-----", "--------"},
		notice.ExitProof:    {"--------", "--------", "-+++----", "-++-----", "--------"},
		notice.ExitExport:   {"-+++----", "--------", "-+++----", "-++-----", "--------"},
		notice.ExitUnmarked: {"++++----", "--------", "-+++----", "-++-----", "--------"},
		notice.ExitExchange: {"--------", "--------", "-+++----", "-++-----", "--------"},
		notice.ExitAPI:      {"++++++--", "-+++++--", "-+++----", "-++-----", "--------"},
		9:                   {"--------", "--------", "--------", "--------", "--------"},
	}
	for exit, row := range table {
		for audience, cells := range row {
			for i, tlp := range tlps {
				for ceiling := notice.TLP(0); ceiling <= notice.TLPRed; ceiling++ {
					counts := tlp
					if tlp == 0 {
						counts = notice.TLPAmberStrict
					}
					want := cells[i] == '+' && (ceiling == 0 || counts <= ceiling)
					if got := notice.Leaves(tlp, crypto.Audience(audience), exit, ceiling); got != want {
						t.Errorf("exit %d: TLP:%s for the %s audience, ceiling %s: %v", exit, tlp, crypto.Audience(audience), ceiling, got)
					}
				}
			}
		}
	}
}
