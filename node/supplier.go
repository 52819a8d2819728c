package node

import (
	"fmt"
	"strings"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/alert"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const (
	supplierBack  = 24 * time.Hour     // what came while this node did not run, and is still worth an alert
	supplierAgain = 7 * 24 * time.Hour // between two alerts of one supplier: others cut it too
)

// alertSupplier alerts people that another member has cut its link to a supplier that this
// house has declared in its own profile: partners had hours to decide whether to do so too.
func (n *Node) alertSupplier(r store.Record) error {
	l := r.Notice.Link
	if l == nil || l.State != notice.LinkCut || r.Author == n.member || r.Retracted || r.Expiry <= n.now().UnixMilli() {
		return nil
	}
	own, known, err := n.profile(n.member)
	if err != nil || !known || own.Retracted {
		return err
	}
	for _, s := range own.Notice.Profile.Suppliers {
		if notice.Fold(s) != notice.Fold(l.Supplier) {
			continue
		}
		reason := ""
		if l.Reason != "" {
			reason = ": " + strings.TrimSuffix(l.Reason, ".")
		}
		n.alert(store.Alert{
			Kind: alert.KindSupplier, Severity: "warning", TLP: notice.Stricter(r.TLP.House(), own.TLP), Refs: []crypto.ItemID{r.ID, own.ID},
			Dedup: drillDedup(r, fmt.Sprintf("%s/%s/%d", alert.KindSupplier, notice.Fold(s), r.Received/supplierAgain.Milliseconds())),
			Text:  n.marked(r, n.text(catalog.AlertSupplier, n.nameOrID(r.Author), s, reason)),
		})
		break
	}
	return nil
}
