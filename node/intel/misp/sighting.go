package misp

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/jsonscan"
	"github.com/watchward/watchward/node/notice"
)

// Types of MISP's sightings.
const (
	sightingSeen    = "0"
	sightingFalse   = "1" // a false positive
	sightingExpired = "2"
)

const (
	witnessesMax    = 100    // organisations that saw or dispute one attribute
	witnessBytes    = 200    // what one takes in memory, about
	looseMax        = 10_000 // sightings that stand beside the attributes
	falsePositive   = "marked as a false positive in MISP"
	sightingTimeMax = 253_402_300_799 // s: the end of year 9999
)

// sightings is what is known of who saw an attribute, one entry a witness:
// MISP has an object for each time.
type sightings struct {
	by      []witness
	expires int64 // ms, the latest date of an expiration
}

// A witness is who saw, or disputes.
type witness struct {
	note
	disputes bool
	ours     bool // the note is one of Writer, with an id of its own or none
}

// A note is what Writer adds in texts that MISP passes on as they are, after the
// word "watchward": in a comment whose word an attribute is, and in a sighting's
// source what a date alone cannot say.
type note struct {
	Origin string `json:"origin,omitempty"`
	ID     string `json:"id,omitempty"`
	First  int64  `json:"first,omitempty"` // ms
	Last   int64  `json:"last,omitempty"`  // ms
	Count  uint64 `json:"count,omitempty"`
	Reason string `json:"reason,omitempty"`
	Notice string `json:"notice,omitempty"` // its id, where ID is not it already
}

const noteMark = "watchward "

func (n note) String() string {
	text, err := json.Marshal(n)
	if err != nil {
		panic(err) // texts and numbers
	}
	return noteMark + string(text)
}

// readNote is the inverse of String, for what is fit to be kept.
func readNote(text string) (n note, ok bool) {
	text, ok = strings.CutPrefix(text, noteMark)
	if !ok || json.Unmarshal([]byte(text), &n) != nil {
		return note{}, false
	}
	for _, s := range []string{n.Origin, n.ID, n.Reason} {
		if !notice.Printable(s) || strings.TrimSpace(s) != s {
			return note{}, false
		}
	}
	good := len(n.Origin) <= notice.NameMax && len(n.ID) <= notice.NameMax && len(n.Reason) <= notice.ReasonMax &&
		n.First >= 0 && n.Last >= n.First && n.Last <= sightingTimeMax*1000+999 && n.Count <= notice.CountMax
	return n, good
}

// item is the notice that a note was written for, nil if it does not say.
func (n note) item() *crypto.ItemID {
	text := n.Notice
	if text == "" && strings.HasPrefix(n.Origin, ownOrigin) {
		text = n.ID
	}
	if id, err := crypto.ParseItemID(text); err == nil {
		return &id
	}
	return nil
}

// ownOrigin starts the origin of what was first said in the mesh.
const ownOrigin = "watchward:"

// readOrigin returns the origin that a comment of Writer names.
func readOrigin(comment string) (source, id string, ok bool) {
	n, ok := readNote(comment)
	return n.Origin, n.ID, ok && n.Origin != ""
}

// A sighting is one object of that name.
type sighting struct {
	kind, source, org string
	date              string
	id, uuid          string // of its attribute, where it stands beside them
}

// sighting reads one, or refuses it by its place.
func (in *reader) sighting(take func(*sighting) error) error {
	s := sighting{kind: sightingSeen}
	err := in.Fields(func(key string) (err error) {
		var t jsonscan.Text
		switch key {
		case "type":
			t, err = in.Text(jsonscan.TextMax)
			s.kind = t.S
		case "source":
			t, err = in.Text(jsonscan.TextMax)
			s.source = t.S
		case "date_sighting":
			t, err = in.Text(jsonscan.TextMax)
			s.date = t.S
		case "attribute_id":
			t, err = in.Text(jsonscan.TextMax)
			s.id = t.S
		case "attribute_uuid":
			s.uuid, err = in.uuid()
		case "Organisation":
			s.org, err = in.name()
		default:
			err = in.Skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	return take(&s)
}

// addTo counts a sighting for an attribute. It returns why it cannot, or "".
func (s *sighting) addTo(a *attribute) (reason string) {
	seconds, err := strconv.ParseInt(s.date, 10, 64)
	if err != nil || seconds <= 0 || seconds > sightingTimeMax {
		return fmt.Sprintf("date_sighting %q is not a time: give seconds since 1970", intel.Show(s.date))
	}
	n, ours := readNote(s.source)
	if !ours {
		n = note{First: seconds * 1000, Last: seconds * 1000, Count: 1}
		source := strings.TrimSpace(s.source)
		if len(source) > nameMax || !notice.Printable(source) {
			source = ""
		}
		n.Origin = cmp.Or(s.org, source)
		if n.Origin != "" {
			n.Origin = "misp:" + n.Origin
		}
	}
	if a.seen == nil {
		a.seen = &sightings{}
	}
	switch s.kind {
	case sightingSeen:
		n.First, n.Last, n.Count = cmp.Or(n.First, n.Last), cmp.Or(n.Last, n.First), max(n.Count, 1)
		if n.First == 0 {
			n.First, n.Last = seconds*1000, seconds*1000
		}
	case sightingFalse:
		n = note{Origin: n.Origin, ID: n.ID, Notice: n.Notice, Reason: cmp.Or(n.Reason, falsePositive)}
	case sightingExpired:
		a.seen.expires = max(a.seen.expires, cmp.Or(n.Last, seconds*1000))
		return ""
	default:
		return fmt.Sprintf("%q is not a type of sighting: MISP has 0 (seen), 1 (false positive) and 2 (expiration)", intel.Show(s.kind))
	}
	return a.seen.add(witness{n, s.kind == sightingFalse, ours})
}

// add merges what one witness says more than once, notices of the mesh apart. The
// same notice once more is no more: who sends it and hears no answer sends it again.
func (s *sightings) add(w witness) (reason string) {
	for i := range s.by {
		have := &s.by[i]
		if have.ours && *have == w {
			return ""
		}
		same := have.ID == w.ID && have.Notice == w.Notice || !have.ours || !w.ours || len(s.by) == witnessesMax
		if same && have.Origin == w.Origin && have.disputes == w.disputes {
			have.First, have.Last = min(have.First, w.First), max(have.Last, w.Last)
			have.Count = min(have.Count+w.Count, notice.CountMax)
			return ""
		}
	}
	if len(s.by) == witnessesMax {
		return fmt.Sprintf("more than %d organisations saw it: the others are not counted", witnessesMax)
	}
	s.by = append(s.by, w)
	return ""
}

func (s *sightings) until() int64 {
	if s == nil {
		return 0
	}
	return s.expires
}

// assign gives the sightings that stand beside the attributes to theirs.
func (ev *event) assign() {
	if len(ev.loose) == 0 {
		return
	}
	by := map[string]*attribute{}
	for i := range ev.attributes {
		a := &ev.attributes[i]
		by["id "+a.id], by["uuid "+a.uuid] = a, a
	}
	delete(by, "id ")
	delete(by, "uuid ")
	for i := range ev.loose {
		s := &ev.loose[i]
		if a := cmp.Or(by["uuid "+s.uuid], by["id "+s.id]); a != nil {
			_ = s.addTo(a) // its date was checked when it was read
		}
	}
}

// takeSightings yields who saw a value, and who disputes it.
func (in *reader) takeSightings(ev *event, a *attribute, v Value, disputesOnly bool) error {
	if a.seen == nil {
		return nil
	}
	for _, w := range a.seen.by {
		if disputesOnly && !w.disputes {
			continue
		}
		origin := *ev.origin(a)
		if w.Origin != "" {
			origin.Source = w.Origin
		}
		if w.ours {
			origin.ID = w.ID
		}
		n := &notice.Notice{Kind: notice.KindDispute, Indicator: &v.Indicator, Reason: w.Reason, Origin: &origin}
		if !w.disputes {
			n = &notice.Notice{Kind: notice.KindSighting, Indicator: &v.Indicator, FirstSeen: w.First, LastSeen: w.Last, Count: w.Count,
				Context: contextOf(&a.tags, &ev.tags), Origin: &origin}
		}
		var item *crypto.ItemID
		if w.ours {
			item = w.item()
		}
		if err := in.found(intel.Found{Place: ev.placeOf(a) + ".Sighting", Item: item, Notice: n, TLP: origin.TLP, Unclear: ev.unclear(a), Value: intel.Show(v.Text)}); err != nil {
			return err
		}
	}
	return nil
}
