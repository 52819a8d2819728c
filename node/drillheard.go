package node

import (
	"fmt"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/alert"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/store"
)

const (
	drillAgain  = 12 * time.Hour // between two alerts of one member's drills
	drillsHeard = 8              // alerts of others' drills in a day; one more says that there are more
)

// hearDrill tells people, once in 12 h, that another member of this region holds an
// exercise: a coordinator's is told at once, another's with what can wait. heed's
// round alone calls it.
func (h *heed) hearDrill(r store.Record) error {
	n := h.n
	if !r.Exercise || r.Author == n.member || n.floods.muted(r.Author, false, n.now()) || n.roster == nil || r.Notice.Ref != nil ||
		r.Received <= n.now().Add(-drillAgain).UnixMilli() || r.Header != nil && r.Header.Region != n.roster.Region() {
		return nil
	}
	now := n.now()
	a := store.Alert{Kind: alert.KindExercise, Severity: "info", TLP: r.TLP.House(), Refs: []crypto.ItemID{r.ID},
		Dedup: fmt.Sprintf("%s/%s/%d", alert.KindExercise, r.Author, r.Received/drillAgain.Milliseconds()),
		Text:  n.text(catalog.DrillHeard, n.nameOrID(r.Author))}
	if newSituationView(n).coordinates(r.Author, n.member) {
		a.Severity = "warning"
	}
	if told, err := n.store.Alerted(a.Dedup); err != nil || told {
		return err
	}
	if day := now.UTC().Format(time.DateOnly); day != h.drillDay {
		h.drillDay, h.drillCount = day, 0
	}
	if h.drillCount++; h.drillCount > drillsHeard {
		a.Severity, a.TLP, a.Refs = "info", 0, nil
		a.Dedup, a.Text = fmt.Sprintf("%s/more/%s", alert.KindExercise, h.drillDay), n.text(catalog.DrillHeardMore)
	}
	n.alert(a)
	return nil
}

// marked puts EXERCISE before what people read of a drill's notice.
func (n *Node) marked(r store.Record, text string) string {
	if !r.Exercise {
		return text
	}
	return n.text(catalog.DrillMark, text)
}

// drillDedup keeps a drill's alerts apart from real ones: who is told of one is told of
// the other too.
func drillDedup(r store.Record, dedup string) string {
	if !r.Exercise {
		return dedup
	}
	return alert.KindExercise + "/" + dedup
}
