package node

import (
	"crypto/sha256"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// part fills in what the kind of a word says that others do not. Text is trimmed and
// brought into NFC.
func (n *Node) part(w *notice.Notice, p *api.Parts, dry bool, now int64) error {
	if p.Filing != nil {
		return notByHand()
	}
	if p.Question != nil {
		w.Question = &notice.Question{Text: clean(p.Question.Text)}
	}
	if p.Profile != nil {
		w.Profile = profileOf(p.Profile)
	}
	if p.Mayday != nil {
		w.Mayday = &notice.Mayday{Text: clean(p.Mayday.Text)}
	}
	if s := p.Service; s != nil {
		state, err := notice.ParseServiceState(s.State)
		if err != nil {
			return err
		}
		w.Service = &notice.Service{Department: clean(s.Department), State: state, Until: int64(s.Until), Text: clean(s.Text)}
	}
	if p.Assistance != nil {
		if err := n.assistance(w, p.Assistance); err != nil {
			return err
		}
	}
	if p.Link != nil {
		if err := link(w, p.Link, now); err != nil {
			return err
		}
	}
	if p.Advisory != nil {
		var err error
		if w.Advisory, err = n.advise(p.Advisory, dry); err != nil {
			return err
		}
	}
	if p.Response != nil {
		answer, err := notice.ParseAnswer(p.Response.Answer)
		if err != nil {
			return err
		}
		w.Response = &notice.Response{Answer: answer}
	}
	return nil
}

func profileOf(p *api.Profile) *notice.Profile {
	return &notice.Profile{Name: clean(p.Name), Contact: cleanAll(p.Contact), Departments: cleanAll(p.Departments),
		Suppliers: cleanAll(p.Suppliers), City: clean(p.City), Country: clean(p.Country)}
}

// assistance counts one where nobody said how many; a claim takes all there is.
func (n *Node) assistance(w *notice.Notice, a *api.Assistance) error {
	act, err := notice.ParseAct(a.Act)
	if err != nil {
		return err
	}
	w.Assistance = &notice.Assistance{Act: act, What: clean(a.What), Quantity: a.Quantity, Unit: clean(a.Unit), Until: int64(a.Until)}
	if a.Quantity > 0 || act > notice.ActClaim {
		return nil
	}
	w.Assistance.Quantity = 1
	if act == notice.ActClaim && w.Ref != nil {
		about, found, err := n.store.Record(*w.Ref)
		if err == nil && found && about.Notice.Assistance != nil {
			w.Assistance.Quantity = max(about.Notice.Assistance.Quantity, 1)
		}
		return err
	}
	return nil
}

func link(w *notice.Notice, l *api.Link, now int64) error {
	state, err := notice.ParseLinkState(l.State)
	if err != nil {
		return err
	}
	direction := notice.DirectionBoth
	if l.Direction != "" {
		if direction, err = notice.ParseDirection(l.Direction); err != nil {
			return err
		}
	}
	w.Link = &notice.Link{Supplier: clean(l.Supplier), Link: clean(l.Link), Direction: direction, State: state, At: int64(l.At),
		Reason: clean(l.Reason), Criteria: clean(l.Criteria), AttestedBy: clean(l.AttestedBy)}
	if l.At == 0 {
		w.Link.At = now
	}
	return nil
}

func clean(s string) string { return norm.NFC.String(strings.TrimSpace(s)) }

func cleanAll(list []string) []string {
	var out []string
	for _, s := range list {
		out = append(out, clean(s))
	}
	return out
}

// partsOf shows what the kind of a word says that others do not.
func partsOf(w *notice.Notice) (p api.Parts) {
	if w.Question != nil {
		p.Question = &api.Question{Text: w.Question.Text}
	}
	if w.Profile != nil {
		p.Profile = (*api.Profile)(w.Profile)
	}
	if w.Mayday != nil {
		p.Mayday = &api.Mayday{Text: w.Mayday.Text}
	}
	if s := w.Service; s != nil {
		p.Service = &api.Service{Department: s.Department, State: s.State.String(), Until: api.Time(s.Until), Text: s.Text}
	}
	if a := w.Assistance; a != nil {
		p.Assistance = &api.Assistance{Act: a.Act.String(), What: a.What, Quantity: a.Quantity, Unit: a.Unit, Until: api.Time(a.Until)}
	}
	if l := w.Link; l != nil {
		p.Link = &api.Link{Supplier: l.Supplier, Link: l.Link, Direction: l.Direction.String(), State: l.State.String(), At: api.Time(l.At),
			Reason: l.Reason, Criteria: l.Criteria, AttestedBy: l.AttestedBy}
	}
	if w.Advisory != nil {
		p.Advisory = advisoryView(w.Advisory)
	}
	if w.Response != nil {
		p.Response = &api.Response{Answer: w.Response.Answer.String()}
	}
	if w.Filing != nil {
		f := filingView(w.Filing)
		p.Filing = &f
	}
	return p
}

// notByHand refuses a filing that the desk did not make.
func notByHand() error {
	return &notice.FieldError{Field: "kind", Reason: "a filing is made by the incident desk, from what was drafted and read there",
		Fix: "watchward incident send (in the API: POST /v1/incidents/{number}/send)"}
}

// replaces lets a mayday speak of the one of this node that is open: a member has one.
// The same call, made again, is the same word.
func (n *Node) replaces(w *notice.Notice) error {
	if w.Kind != notice.KindMayday || w.Mayday == nil {
		return nil
	}
	open, _, err := n.store.List(store.Query{Kind: notice.KindMayday, Author: &n.member, Limit: 1})
	if err != nil || len(open) == 0 {
		return err
	}
	if w.Ref = &open[0].ID; open[0].Notice.Mayday.Text == w.Mayday.Text {
		w.Ref = open[0].Notice.Ref
	}
	return nil
}

// contentOf is the content key by which a word is taken once. What a hospital says of
// itself it says again after it has said otherwise: open, closed, open. The second
// "open" is another word than the first, and known by what it follows.
// What is said in a drill is never the same as what is said for real.
func (n *Node) contentOf(w *notice.Notice, exercise bool) ([20]byte, error) {
	key, err := n.contentFor(w, exercise)
	if exercise {
		key = store.DrillContent(key)
	}
	return key, err
}

func (n *Node) contentFor(w *notice.Notice, exercise bool) ([20]byte, error) {
	key := notice.ContentKey(n.member, w)
	if !w.Kind.HasPart() {
		return key, nil
	}
	said, _, err := n.store.List(store.Query{Kind: w.Kind, Author: &n.member, Limit: store.ListMax})
	if err != nil {
		return key, err
	}
	for _, r := range said {
		if r.Exercise != exercise || !supersedesWord(w, r.Notice) {
			continue
		}
		otherwise := notice.ContentKey(n.member, r.Notice) != key
		if w.Assistance != nil { // the same request again, after the first was closed
			if otherwise {
				continue
			}
			if otherwise, err = n.isOver(r); err != nil {
				return key, err
			}
		}
		if otherwise {
			sum := sha256.Sum256(append(key[:], r.ID[:]...))
			return [20]byte(sum[:]), nil
		}
	}
	return key, nil
}

// supersedesWord reports whether of two words of one author the later one counts alone.
func supersedesWord(a, b *notice.Notice) bool {
	switch a.Kind {
	case notice.KindProfile:
		return true
	case notice.KindService:
		return notice.Fold(a.Service.Department) == notice.Fold(b.Service.Department)
	case notice.KindResponse:
		return *a.Ref == *b.Ref
	case notice.KindAssistance:
		return a.Assistance.Act == b.Assistance.Act
	}
	return false
}

// newest returns the one that its author said last, in the author's order: of each
// chain the last, of several chains the one with the latest time. What waits to be
// signed is later than all that is.
func newest(records []store.Record) (last store.Record, found bool) {
	chains := map[crypto.Audience]store.Record{}
	for _, r := range records {
		if before, ok := chains[r.Audience]; !ok || laterInChain(r, before) {
			chains[r.Audience] = r
		}
	}
	for _, r := range chains {
		if !found || saidAt(r) > saidAt(last) || saidAt(r) == saidAt(last) && r.Audience > last.Audience {
			last, found = r, true
		}
	}
	return last, found
}

func laterInChain(a, b store.Record) bool {
	switch {
	case a.Header == nil || b.Header == nil:
		return b.Header != nil || a.Header == nil && a.Local > b.Local
	case a.Header.Serial != b.Header.Serial:
		return a.Header.Serial > b.Header.Serial
	case a.Header.Epoch != b.Header.Epoch:
		return a.Header.Epoch > b.Header.Epoch
	case a.Header.Seq != b.Header.Seq:
		return a.Header.Seq > b.Header.Seq
	case a.Header.Time != b.Header.Time: // sealed: of no chain
		return a.Header.Time > b.Header.Time
	case a.Index != b.Index:
		return a.Index > b.Index
	}
	return string(a.ID[:]) > string(b.ID[:])
}

func saidAt(r store.Record) int64 {
	if r.Header != nil {
		return r.Header.Time
	}
	return r.Notice.Created
}

// profile returns a member's profile that counts.
func (n *Node) profile(member crypto.MemberID) (store.Record, bool, error) {
	records, _, err := n.store.List(store.Query{Kind: notice.KindProfile, Author: &member, Limit: store.ListMax})
	if err != nil {
		return store.Record{}, false, err
	}
	records = slices.DeleteFunc(records, func(r store.Record) bool { return r.Exercise }) // whom to call is never a drill
	last, found := newest(records)
	return last, found, nil
}

// markReplaced marks the profiles and maydays after which their author said a later
// one, as far as a ceiling shows it.
func (n *Node) markReplaced(views []api.NoticeView, records []store.Record, ceiling notice.TLP) error {
	type of struct {
		author crypto.MemberID
		kind   notice.Kind
	}
	last := map[of]crypto.ItemID{}
	for i, r := range records {
		key := of{r.Author, r.Notice.Kind}
		if r.Retracted || key.kind != notice.KindProfile && key.kind != notice.KindMayday {
			continue
		}
		if _, asked := last[key]; !asked {
			said, _, err := n.store.List(store.Query{Kind: key.kind, Author: &r.Author, Ceiling: ceiling, Limit: store.ListMax})
			if err != nil {
				return err
			}
			l, _ := newest(said)
			last[key] = l.ID
		}
		if last[key] != r.ID && r.Expiry > n.now().UnixMilli() {
			views[i].Marks = append(views[i].Marks, api.MarkReplaced)
		}
	}
	return nil
}
