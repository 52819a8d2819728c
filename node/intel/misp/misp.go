// Package misp reads MISP events in JSON: a bare event, {"Event": …},
// {"response": [{"Event": …}, …]}, an array of events, or several of these one
// after the other; and the manifest of a feed of events. Every attribute of a
// type known here becomes a notice of the kind indicator: import is not seeing.
// Only MISP's own sightings become others: "seen" a sighting, "false positive" a
// dispute of the value, with who said so as their origin; "expiration" is until
// when the indicator is valid. Writer writes events, which Read reads back.
//
// The file streams by; memory is bounded by one event's attributes, which are
// held until the event ends, since its marking and its galaxies usually stand
// after them. An attribute that cannot be taken is refused alone, with its
// place, and so is one whose type, value or to_ids stands in it twice. Unknown
// keys are skipped.
//
// Decisions:
//   - Markings are the tlp: tags of the event and of the attribute, and what the
//     event's info and comments say in such words; the strictest counts. Another
//     tag that starts so is unclear (tlp:ex:chr, the Chatham House rule, is ignored).
//   - A distribution that ends at an organisation, a community or a sharing group
//     is unclear where there is no marking beside it, and an attribute's or
//     object's also under the marking of its event. It is no colour: it says what
//     a server of MISP sends to whom, files with "your organisation only" are
//     published, and our own have it, so that only a person can say.
//   - Deleted attributes, and those in deleted objects, are passed over, or given
//     as Withdrawn with Options.Deleted.
//   - to_ids: what says false is refused as context unless Options.All, also
//     where a publisher sets it nowhere; what does not say is taken.
//   - Of a name with a hash, in a value or an object, only the hash is taken,
//     unless Options.All: harmless files have the same name.
//   - Context (family, tool, technique) comes from misp-galaxy tags: the
//     attribute's own, else the event's where it has just one. An event that
//     lists thirty techniques says nothing about one hash.
//   - Sightings are counted by organisation, so that one who saw an attribute
//     forty times is one sighting with a count. Those of context count only as
//     disputes.
//   - A tag that is a CVE ("CVE-2021-44228") is the attribute's.
//   - Addresses of victims (email-dst, target-…) are refused, always.
//   - A file that breaks off gives the events before the break and an error
//     with the byte and the place. Nothing of the broken event is taken: its
//     marking may be in the part that is missing.
package misp

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/jsonscan"
	"github.com/watchward/watchward/node/notice"
)

// Limits of one event. What comes after is refused, attribute by attribute.
const (
	attributesMax = 200_000
	heldBytesMax  = 96 << 20 // bytes of attributes held
	tagsMax       = 1_000    // tags of the event, and of each attribute
	tagBytesMax   = 500      // a longer tag is ignored

	nameMax        = 100 // bytes of an organisation's name; a longer one is left out
	attributeBytes = 352 // what an attribute takes beside its texts, about
)

// Options of Read.
type Options struct {
	// Indicator says which special addresses are taken.
	Indicator notice.Options
	// All takes attributes that the event's author marked as context only
	// (to_ids false), and the names of files beside their hashes.
	All bool
	// Deleted gives what is deleted as Withdrawn, for who took it before.
	Deleted bool
	// Event is told of each event that was read whole, before what it holds is
	// yielded: its uuid and the time of its last change (s, 0 if it has none).
	// An error ends the reading and is returned as it is.
	Event func(uuid string, timestamp int64) error
}

// Read calls yield for every indicator and every refusal in r, in order. An
// error of yield ends the reading and is returned as it is; any other error
// says that r is not whole or not MISP, with byte and place.
func Read(r io.Reader, o Options, yield func(intel.Found) error) error {
	in := &reader{Scanner: jsonscan.New(r), options: o, yield: yield}
	for {
		if err := in.container(); err != nil {
			return in.explain(err)
		}
		if more, err := in.More(); err != nil || !more {
			return err
		}
	}
}

type reader struct {
	*jsonscan.Scanner
	options Options
	yield   func(intel.Found) error
	stopped error // what yield returned
	event   *event
}

// An event collects what is needed of one until it ends.
type event struct {
	place      string
	known      bool // has at least one key of MISP
	uuid       string
	org, orgc  string
	tags       tags
	reach      reach
	attributes []attribute
	heldBytes  int
	timestamp  int64
	loose      []sighting // beside the attributes
}

// found passes a result on and remembers why the receiver wants no more.
func (in *reader) found(f intel.Found) error {
	if err := in.yield(f); err != nil {
		in.stopped = err
		return err
	}
	return nil
}

// explain adds to an error what it means for the event it happened in.
func (in *reader) explain(err error) error {
	if in.stopped != nil {
		return in.stopped
	}
	if in.event != nil && len(in.event.attributes) > 0 {
		return fmt.Errorf("read MISP event: %w (the %d attributes before it in this event are not taken: its marking may be missing)",
			err, len(in.event.attributes))
	}
	return fmt.Errorf("read MISP event: %w", err)
}

// container reads one of the shapes that hold events.
func (in *reader) container() error {
	c, err := in.Peek()
	switch {
	case err != nil:
		return err
	case c == '[':
		return in.Array(func(int) error { return in.container() })
	case c != '{':
		return in.Errorf("%q is not the start of an event: want { or [", c)
	}
	// An object may be an event, or hold events, or both.
	outer := in.event
	ev := &event{place: in.Path()}
	in.event = ev
	holds := false
	err = in.Object(func(key string) error {
		if key == "Event" || key == "response" {
			holds = true
			return in.container()
		}
		return in.eventField(ev, key)
	})
	if err != nil {
		return err
	}
	if ev.known && in.options.Event != nil {
		if in.stopped = in.options.Event(ev.uuid, ev.timestamp); in.stopped != nil {
			return in.stopped
		}
	}
	if err := in.finish(ev); err != nil {
		return err
	}
	in.event = outer
	if !ev.known && !holds {
		return in.Errorf("this is JSON but not a MISP event: it has none of Event, response, Attribute, Object, Orgc")
	}
	return nil
}

func (in *reader) eventField(ev *event, key string) (err error) {
	switch key {
	case "Attribute", "Object", "Orgc", "Tag", "Galaxy", "orgc_id", "threat_level_id":
		ev.known = true
	}
	switch key {
	case "uuid":
		ev.uuid, err = in.uuid()
	case "timestamp":
		var t jsonscan.Text
		t, err = in.Text(jsonscan.TextMax)
		ev.timestamp, _ = strconv.ParseInt(t.S, 10, 64)
	case "Sighting":
		err = in.Each(func(int) error { return in.looseSighting(ev) })
	case "Orgc":
		ev.orgc, err = in.name()
	case "Org":
		ev.org, err = in.name()
	case "info":
		var t jsonscan.Text
		t, err = in.Text(jsonscan.TextMax)
		ev.tags.mark(intel.Title(t.S), in.Path)
	case "distribution":
		ev.reach, err = in.reach()
	case "Tag":
		err = in.tagList(&ev.tags)
	case "Galaxy":
		err = in.galaxies(&ev.tags)
	case "Attribute":
		err = in.Each(func(i int) error { return in.attribute(ev, -1, i) })
	case "Object":
		err = in.Each(func(i int) error { return in.mispObject(ev, i) })
	default:
		err = in.Skip()
	}
	return err
}

func (in *reader) mispObject(ev *event, index int) error {
	before, bytes, gone := len(ev.attributes), ev.heldBytes, false
	var own tags
	far := reachUnsaid
	err := in.Fields(func(key string) (err error) {
		switch key {
		case "comment":
			var t jsonscan.Text
			t, err = in.Text(jsonscan.TextMax)
			own.mark(intel.Marking(t.S), in.Path)
		case "distribution":
			far, err = in.reach()
		case "Attribute":
			err = in.Each(func(i int) error { return in.attribute(ev, index, i) })
		case "deleted":
			gone, err = in.flag()
		default:
			err = in.Skip()
		}
		return err
	})
	if gone && !in.options.Deleted {
		ev.attributes, ev.heldBytes = ev.attributes[:before], bytes
	}
	hashed := slices.ContainsFunc(ev.attributes[before:], func(a attribute) bool { return hashKinds[a.kind] && !a.gone })
	for i := range ev.attributes[before:] {
		a := &ev.attributes[before+i]
		a.named = hashed && a.kind == "filename"
		a.gone = a.gone || gone
		a.tags.tlp, a.tags.strange = notice.Stricter(a.tags.tlp, own.tlp), cmp.Or(a.tags.strange, own.strange)
		a.reach = cmp.Or(a.reach, far)
	}
	return err
}

// decisive are the keys of an attribute that must not come twice: programs
// differ in which they believe.
var decisive = [4]string{"type", "value", "to_ids", "deleted"}

// attribute reads one attribute and holds it until its event ends.
func (in *reader) attribute(ev *event, object, index int) error {
	a := attribute{object: object, index: index}
	var had [4]bool
	err := in.Fields(func(key string) (err error) {
		var t jsonscan.Text
		if at := slices.Index(decisive[:], key); at >= 0 {
			if had[at] {
				a.refused = key + " stands in it twice: nobody can say which counts"
			}
			had[at] = true
		}
		switch key {
		case "type":
			t, err = in.Text(jsonscan.TextMax)
			a.kind = t.S
		case "value":
			t, err = in.Text(jsonscan.TextMax)
			if a.value = t.S; t.Long {
				a.refused = "the value is longer than " + strconv.Itoa(notice.ValueMax) + " bytes"
			}
		case "id":
			t, err = in.Text(jsonscan.TextMax)
			a.id = t.S
		case "comment":
			if t, err = in.Text(jsonscan.TextMax); strings.HasPrefix(t.S, noteMark) {
				a.comment = t.S
			} else {
				a.tags.mark(intel.Marking(t.S), in.Path)
			}
		case "distribution":
			a.reach, err = in.reach()
		case "Sighting":
			err = in.Each(func(int) error {
				return in.sighting(func(s *sighting) error { return in.addSighting(s, &a) })
			})
		case "uuid":
			a.uuid, err = in.uuid()
		case "to_ids":
			var flagged bool
			flagged, err = in.flag()
			a.context = !flagged
		case "deleted":
			a.gone, err = in.flag()
		case "first_seen":
			a.firstSeen, err = in.time()
		case "last_seen":
			a.lastSeen, err = in.time()
		case "Tag":
			err = in.tagList(&a.tags)
		case "Galaxy":
			err = in.galaxies(&a.tags)
		default:
			err = in.Skip()
		}
		return err
	})
	if err != nil || a.gone && !in.options.Deleted {
		return err
	}
	size := attributeBytes + len(a.kind) + len(a.value) + len(a.uuid) + len(a.id) + len(a.comment) + a.tags.size()
	if a.seen != nil {
		size += witnessBytes * len(a.seen.by)
	}
	if len(ev.attributes) >= attributesMax || ev.heldBytes+size > heldBytesMax {
		return in.found(intel.Found{Place: ev.placeOf(&a), Value: intel.Show(a.value),
			Reason: fmt.Sprintf("the event is too large: split it into events of up to %d attributes", attributesMax)})
	}
	ev.heldBytes += size
	ev.attributes = append(ev.attributes, a)
	return nil
}

// addSighting counts a sighting, or refuses it by its place.
func (in *reader) addSighting(s *sighting, a *attribute) error {
	if reason := s.addTo(a); reason != "" {
		return in.found(intel.Found{Place: in.Path(), Value: intel.Show(a.value), Reason: reason})
	}
	return nil
}

// looseSighting holds a sighting that names its attribute until the event ends.
func (in *reader) looseSighting(ev *event) error {
	return in.sighting(func(s *sighting) error {
		if err := in.addSighting(s, &attribute{}); err != nil {
			return err
		}
		if size := witnessBytes + len(s.source); len(ev.loose) < looseMax && ev.heldBytes+size <= heldBytesMax {
			ev.loose, ev.heldBytes = append(ev.loose, *s), ev.heldBytes+size
			return nil
		}
		return in.found(intel.Found{Place: in.Path(), Reason: fmt.Sprintf("more than %d sightings beside the attributes: split the event", looseMax)})
	})
}

// name reads the name of an organisation, or "" if it is not fit to be stored.
func (in *reader) name() (name string, err error) {
	err = in.Fields(func(key string) error {
		if key != "name" {
			return in.Skip()
		}
		t, err := in.Text(jsonscan.TextMax)
		if name = strings.TrimSpace(t.S); len(name) > nameMax || !notice.Printable(name) {
			name = ""
		}
		return err
	})
	return name, err
}

// uuid reads an id and drops it if it does not look like one: it becomes part
// of what others store.
func (in *reader) uuid() (string, error) {
	t, err := in.Text(jsonscan.TextMax)
	id := strings.ToLower(t.S)
	if len(id) > 36 || strings.Trim(id, "0123456789abcdef-") != "" {
		id = ""
	}
	return id, err
}

// flag reads a truth value in any of MISP's ways: true, "1", 1.
func (in *reader) flag() (bool, error) {
	t, err := in.Text(jsonscan.TextMax)
	switch strings.ToLower(t.S) {
	case "true", "1":
		return true, err
	}
	return false, err
}

// time reads an ISO 8601 time as ms, or 0.
func (in *reader) time() (int64, error) {
	t, err := in.Text(jsonscan.TextMax)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05-0700", "2006-01-02"} {
		if at, bad := time.Parse(layout, t.S); bad == nil && at.UnixMilli() > 0 {
			return at.UnixMilli(), err
		}
	}
	return 0, err
}
