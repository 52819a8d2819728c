package node

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/alert"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

const (
	drillEvery = time.Second      // between two looks at an exercise that runs
	drillSaved = 10 * time.Second // how much of its time a crash may forget
)

// drills holds the exercises of this house: one at a time, durable, and over by itself.
// Whatever the clock does, none marks anything for longer than it was given: it ends
// when the clock says so, or when it has run that long, whichever is first.
type drills struct {
	n   *Node
	act sync.Mutex // held by who begins, ends or writes one down

	wake chan struct{}

	mu    sync.Mutex    // guards what follows
	last  *store.Drill  // nil = there was none yet; it is replaced, never changed
	first crypto.ItemID // the first word in it that went to others; zero = none, or not looked for
	since time.Time     // until when Spent has been counted, by the clock that nobody sets
}

// openDrills goes on with what ran before.
func (n *Node) openDrills() error {
	all, err := n.store.Drills()
	if err != nil {
		return err
	}
	n.drills = &drills{n: n, wake: make(chan struct{}, 1), since: time.Now()}
	if len(all) == 0 {
		return nil
	}
	d := all[len(all)-1]
	if n.drills.last = d; d.Ended == 0 {
		d.Spent += drillSaved.Milliseconds() // what a crash may have forgotten
		first, _, err := n.firstOf(d)
		n.drills.first = first.ID
		return err
	}
	return nil
}

// now returns the exercise that runs, nil if none does.
func (d *drills) now() *store.Drill {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil || d.last.Ended != 0 || d.over(d.last, time.Since(d.since)) {
		return nil
	}
	return d.last
}

// over reports whether a drill's time is over, if it has run for so long since its Spent.
func (d *drills) over(r *store.Drill, more time.Duration) bool {
	return d.n.now().UnixMilli() >= r.Until || r.Spent+more.Milliseconds() >= r.Until-r.Started
}

// set puts another state in place of the last. mu is held by nobody.
func (d *drills) set(r *store.Drill) {
	d.mu.Lock()
	d.last, d.since = r, time.Now()
	d.mu.Unlock()
}

// next returns a copy of the last drill for changes, brought up to now.
func (d *drills) next() *store.Drill {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil {
		return nil
	}
	r := *d.last
	r.Spent += time.Since(d.since).Milliseconds()
	r.Low = min(r.Low, d.n.now().UnixMilli())
	r.Reached = slices.Clone(r.Reached)
	return &r
}

// run looks after an exercise until the node stops.
func (d *drills) run() {
	for {
		if err := d.look(); err != nil && d.n.ctx.Err() == nil {
			d.n.log.Error("the exercise is not written down: trying again", slog.Any("err", err))
		}
		var tick <-chan time.Time // never while none runs
		if r := d.next(); r != nil && r.Ended == 0 {
			tick = time.After(drillEvery)
		}
		select {
		case <-d.n.ctx.Done():
			return
		case <-d.wake:
		case <-tick:
		}
	}
}

// said notes the first word of an exercise, once it is durable.
func (d *drills) said(items []store.LocalItem) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range items {
		if d.first == (crypto.ItemID{}) && d.last != nil && d.last.Ended == 0 && begins(i.Exercise, i.Notice, i.Audience) {
			d.first = i.ID
		}
	}
}

// begins reports whether a word of a drill is one that others may act on.
func begins(exercise bool, w *notice.Notice, a crypto.Audience) bool {
	return exercise && w.Ref == nil && (a == crypto.AudienceRegion || a == crypto.AudienceCommunity)
}

// look ends what is over, and notes whom the exercise has reached and how long it ran.
func (d *drills) look() error {
	d.act.Lock()
	defer d.act.Unlock()
	r := d.next()
	if r == nil || r.Ended != 0 {
		return nil
	}
	if d.over(r, 0) {
		return d.end(r, true)
	}
	before := len(r.Reached)
	if err := d.reach(r); err != nil {
		return err
	}
	d.mu.Lock()
	unsaved := r.Spent - d.last.Spent
	d.mu.Unlock()
	if len(r.Reached) == before && unsaved < drillSaved.Milliseconds() {
		return nil
	}
	if err := d.n.store.KeepDrill(d.n.background(), r); err != nil {
		return err
	}
	d.set(r)
	return nil
}

// reach notes the members that have begun to hold the first word of a drill.
func (d *drills) reach(r *store.Drill) error {
	if d.n.mesh == nil {
		return nil
	}
	d.mu.Lock()
	id := d.first
	d.mu.Unlock()
	if id == (crypto.ItemID{}) {
		return nil
	}
	first, found, err := d.n.store.Record(id)
	if err != nil || !found || first.Header == nil || first.Header.Serial != d.n.serial {
		return err
	}
	for _, m := range d.n.mesh.Holders(first.Audience, first.Header.Epoch, first.Header.Seq) {
		if !slices.ContainsFunc(r.Reached, func(x store.Reach) bool { return x.Member == m }) && len(r.Reached) < drillMembersMax {
			r.Reached = append(r.Reached, store.Reach{Member: m, At: d.n.now().UnixMilli()})
		}
	}
	return nil
}

// end ends a drill, with what came of it.
func (d *drills) end(r *store.Drill, itself bool) error {
	if err := d.reach(r); err != nil {
		return err
	}
	r.Ended, r.Itself = max(d.n.now().UnixMilli(), 1), itself
	came, err := d.n.afterAction(d.n.ctx, r)
	if err != nil {
		return err
	}
	if r.Report, err = fitReport(&came); err != nil {
		return err
	}
	if err := d.n.store.KeepDrill(d.n.background(), r); err != nil {
		return unwritten(err)
	}
	d.set(r)
	if itself {
		d.n.alert(store.Alert{Kind: alert.KindExercise, Severity: "info", Dedup: fmt.Sprintf("%s/ended/%d", alert.KindExercise, r.Number),
			TLP: notice.TLPAmberStrict, Text: d.n.text(catalog.DrillEnded, d.n.drillName(r))})
	}
	d.n.log.Info("the exercise has ended", slog.Uint64("exercise", r.Number), slog.Bool("by_itself", itself))
	return nil
}

// fitReport encodes what came of a drill, without the last deeds of who did most where
// that is too long.
func fitReport(came *api.AfterAction) ([]byte, error) {
	for {
		raw, err := json.Marshal(came)
		if err != nil || len(raw) <= store.DrillReportMax {
			return raw, err
		}
		most := 0
		for i := range came.Members {
			if len(came.Members[i].Did) > len(came.Members[most].Did) {
				most = i
			}
		}
		if len(came.Members) == 0 || len(came.Members[most].Did) == 0 {
			return nil, fmt.Errorf("what came of the exercise has %d bytes", len(raw))
		}
		did := came.Members[most].Did
		half := len(did) / 2
		came.Members[most].Did, came.More = did[:half], came.More+len(did)-half
	}
}

func (n *Node) drillName(r *store.Drill) string {
	if r.Name == "" {
		return n.text(catalog.DrillUnnamed)
	}
	return r.Name
}

// StartExercise implements api.Node.
func (n *Node) StartExercise(ctx context.Context, name string, life time.Duration, by string) (v api.ExerciseView, _ error) {
	name = clean(name)
	if err := notice.CheckLine("body.name", name, api.ExerciseNameMax); err != nil {
		return v, err
	}
	if life < time.Second || life > api.ExerciseMax {
		return v, &notice.FieldError{Field: "body.for", Reason: fmt.Sprintf("an exercise runs from 1 s to %s, and not %s", api.ExerciseMax, life), Fix: "give a time such as 2h"}
	}
	d := n.drills
	d.act.Lock()
	defer d.act.Unlock()
	if r := d.now(); r != nil {
		return v, &notice.FieldError{Field: "exercise", Reason: fmt.Sprintf("the exercise %s runs already, until %s", n.drillName(r), api.Time(r.Until)),
			Fix: "end it first: watchward exercise stop"}
	}
	r := d.next()
	if r != nil && r.Ended == 0 {
		if err := d.end(r, true); err != nil { // its time was over a moment ago
			return v, err
		}
	}
	now := n.now().UnixMilli()
	begun := &store.Drill{Number: 1, Name: name, By: by, Started: now, Until: now + life.Milliseconds(), Low: now, After: n.store.Last()}
	if r != nil {
		begun.Number = r.Number + 1
	}
	if err := n.store.KeepDrill(context.WithoutCancel(ctx), begun); err != nil {
		return v, unwritten(err)
	}
	d.mu.Lock()
	d.first = crypto.ItemID{}
	d.mu.Unlock()
	d.set(begun)
	poke(d.wake)
	n.log.Info("an exercise has begun", slog.Uint64("exercise", begun.Number), slog.String("caller", by))
	return drillView(begun), nil
}

// StopExercise implements api.Node.
func (n *Node) StopExercise(ctx context.Context) (came api.AfterAction, err error) {
	d := n.drills
	d.act.Lock()
	defer d.act.Unlock()
	r := d.next()
	if r == nil || d.now() == nil {
		fix := "begin one: watchward exercise start"
		if r != nil {
			fix = "what came of the last one: watchward exercise show"
		}
		return came, &notice.FieldError{Field: "exercise", Reason: "no exercise runs here", Fix: fix}
	}
	if err := d.end(r, false); err != nil {
		return came, err
	}
	return came, json.Unmarshal(r.Report, &came)
}

// Exercises implements api.Node.
func (n *Node) Exercises(context.Context) ([]api.ExerciseView, error) {
	all, err := n.store.Drills()
	if err != nil {
		return nil, err
	}
	slices.Reverse(all)
	out := make([]api.ExerciseView, len(all))
	for i, r := range all {
		out[i] = drillView(r)
		if i == 0 && r.Ended == 0 && n.drills.now() == nil { // over a moment ago
			out[i].Ended, out[i].Itself = api.Time(min(r.Until, n.now().UnixMilli())), true
		}
	}
	return out, nil
}

// Exercise implements api.Node.
func (n *Node) Exercise(ctx context.Context, number uint64) (came api.AfterAction, found bool, _ error) {
	all, err := n.store.Drills()
	if err != nil || len(all) == 0 {
		return came, false, err
	}
	r := all[len(all)-1]
	if number != 0 {
		i := slices.IndexFunc(all, func(r *store.Drill) bool { return r.Number == number })
		if i < 0 {
			return came, false, nil
		}
		r = all[i]
	}
	if r.Ended != 0 {
		return came, true, json.Unmarshal(r.Report, &came)
	}
	came, err = n.afterAction(ctx, r)
	return came, true, err
}

func drillView(r *store.Drill) api.ExerciseView {
	return api.ExerciseView{Number: r.Number, Name: r.Name, By: r.By, Started: api.Time(r.Started), Until: api.Time(r.Until), Ended: api.Time(r.Ended), Itself: r.Itself}
}

// exercises decides whether a word is part of an exercise. Every word of this node comes
// by here.
//
// A mayday is real, whatever runs: nobody may doubt one. A profile says whom to call, and
// is real too; so is a report to an authority, which SendIncident refuses in an exercise
// unless it is said to be real. A word about a notice is as real as the notice: so a retraction of what is
// real takes it back, and whoever answers a drill's question answers in the drill without
// holding one. What has an origin (imports, other programs, hits of logs) was not made up
// for the drill, and an attack during one must not be hidden.
func (n *Node) exercises(w *notice.Notice, o api.SubmitOptions) (bool, error) {
	if w.Kind == notice.KindMayday || w.Kind == notice.KindProfile || w.Kind == notice.KindFiling {
		return false, nil
	}
	if w.Ref != nil {
		about, found, err := n.store.Record(*w.Ref)
		return found && about.Exercise, err
	}
	runs := n.drills.now() != nil
	switch o.Exercise {
	case api.ExerciseNo:
		return false, nil
	case api.ExerciseYes:
		if !runs {
			return false, &notice.FieldError{Field: "query.exercise", Reason: "no exercise runs here", Fix: "begin one: watchward exercise start"}
		}
		return true, nil
	}
	return runs && w.Origin == nil, nil
}

// exerciseNotes say what whoever said something should know while an exercise runs.
func (n *Node) exerciseNotes(items []store.LocalItem) (notes []string) {
	if n.drills.now() == nil {
		if slices.ContainsFunc(items, func(i store.LocalItem) bool { return i.Exercise }) {
			notes = append(notes, "what it speaks of is part of an exercise, so this is marked EXERCISE too")
		}
		return notes
	}
	var real []string
	for _, i := range items {
		switch kind := i.Notice.Kind; {
		case kind == notice.KindMayday:
			notes = append(notes, "an exercise runs here, and a mayday is never part of one: this one is REAL, and everybody is alerted. Take it back if that was not meant: watchward mayday --retract")
		case !i.Exercise && !slices.Contains(real, kind.String()):
			real = append(real, kind.String())
		}
	}
	if len(real) > 0 {
		notes = append(notes, "an exercise runs here, and this is real, without the mark: "+strings.Join(real, ", "))
	}
	if slices.ContainsFunc(items, func(i store.LocalItem) bool { return i.Exercise }) {
		notes = append(notes, "an exercise runs here: this is marked EXERCISE")
	}
	return notes
}

// exerciseBrief is what the status has of an exercise that runs; nil if none does.
func (n *Node) exerciseBrief(ceiling notice.TLP) *api.ExerciseBrief {
	r := n.drills.now()
	if r == nil {
		return nil
	}
	b := &api.ExerciseBrief{Until: api.Time(r.Until)}
	if store.Visible(0, ceiling) {
		b.Name = r.Name
	}
	return b
}
