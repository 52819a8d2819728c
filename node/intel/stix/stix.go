// Package stix reads and writes STIX 2.1 (OASIS Standard, 10 June 2021); what
// STIX 2.0 has alike is read as well. A file is a bundle, an object, an array of
// these, or several one after the other, and is one scope: references may come
// before what they refer to.
//
// Reading keeps the few properties that matter of each object, within bounds,
// until the file ends, since what marks, revokes or explains an object may stand
// behind it. So a file that breaks off gives nothing, and an error with the byte
// and the place. One bad object is refused alone, by its id. A key that comes
// twice refuses its object: programs differ in which of the two they believe.
//
// Decisions:
//   - An indicator with a STIX pattern gives an indicator for each value that
//     =, IN and ISSUBSET compare with, however they are combined. Patterns of
//     other languages, and indicators of benign activity, are refused.
//   - valid_from is when it was first seen, as far as the file says. What has
//     an end that has passed is refused where it is submitted.
//   - A sighting of an indicator is one of each value of its pattern. Where the
//     pattern has alternatives it does not say which was seen: its observed data
//     must, else it is refused. A sighting of malware, a tool or the like is one
//     of what its observed data holds. A count of 0 is refused: not seen.
//   - An observable alone is not known bad and is refused, unless
//     Options.Observables, or an infrastructure of an attacker's kind consists
//     of it. Observed data without a sighting changes nothing: that something
//     was there does not make it bad. Recipients of mail are victims: never.
//   - An opinion that disagrees is a dispute of each value; others say nothing.
//   - What is revoked is given as Withdrawn.
//   - Family, tool, technique and CVE are what the indicator indicates, where it
//     is one of each kind, and not marked stricter than the indicator.
//   - The strictest marking counts, granular ones as well; TLP 1.0 and 2.0, in
//     definitions, statements, labels, names and descriptions. A TLP marking of an
//     unknown colour is RED. Other statements say nothing.
//   - Unclear (see intel.Found) are references to markings that the file does not
//     hold, definitions of another kind, and granular markings of what has no other.
//   - What a report, a grouping or a note refers to has its marking, if it has none
//     of its own.
//   - Of several versions of an object the last modified counts.
//
// Writing is the inverse for what this project states; see Writer.
package stix

import (
	"cmp"
	"errors"
	"fmt"
	"io"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/jsonscan"
	"github.com/watchward/watchward/node/notice"
)

// Limits of one file.
const (
	objectsMax   = 1_000_000 // objects kept, marking definitions apart
	heldBytesMax = 768 << 20 // of them, about
	refsMax      = 10_000    // references of one object, more are not looked at; marking definitions
	nameMax      = 100       // bytes of the name of an organisation; a longer one is left out
	followedMax  = 4_000_000 // values that references lead to in all: a thousand sightings of a thousand values are a million
	objectBytes  = 384       // what an object takes beside its texts, about
)

// Options of Read.
type Options struct {
	// Indicator says which special addresses are taken.
	Indicator notice.Options
	// Observables takes observables that nothing in the file calls bad.
	Observables bool
	// Apart is told, after the last value, how many patterns match several values
	// only together (AND, FOLLOWEDBY): they are taken one by one. It may be nil, and
	// is not called for none.
	Apart func(patterns int)
}

// Read calls yield for every notice and every refusal in r, in order. An error
// of yield ends the reading and is returned as it is; any other error says that
// r is not whole or not STIX, with byte and place, and that nothing was yielded.
func Read(r io.Reader, o Options, yield func(intel.Found) error) error {
	return read(r, o, followedMax, yield)
}

// read is Read with a limit of what references may lead to.
func read(r io.Reader, o Options, follow int, yield func(intel.Found) error) error {
	in := &reader{
		Scanner: jsonscan.New(r), options: o, follows: follow, byID: map[string]int{}, markings: map[string]marking{},
		within: map[string]marking{}, words: map[string]string{},
	}
	for {
		if err := in.container(); err != nil {
			if len(in.objects) > 0 {
				err = fmt.Errorf("%w (objects read before it: %d; none is taken, since what marks or revokes it may be missing)", err, len(in.objects))
			}
			return fmt.Errorf("read STIX: %w", err)
		}
		if more, err := in.More(); err != nil {
			return fmt.Errorf("read STIX: %w", err)
		} else if !more {
			break
		}
	}
	if !in.typed && len(in.objects) > 0 {
		return errors.New("read STIX: this is JSON but not STIX: nothing in it has a type")
	}
	return resolve(in, yield)
}

type reader struct {
	*jsonscan.Scanner
	options   Options
	objects   []*object
	byID      map[string]int     // into objects
	markings  map[string]marking // of the marking definitions of the file
	within    map[string]marking // of what a report refers to, by id
	all       marking            // of a report that refers to more than is looked at
	words     map[string]string  // texts that many objects share
	heldBytes int
	follows   int  // values that references may still lead to
	typed     bool // an object had a type
}

// container reads an object, a bundle, or an array of these.
func (in *reader) container() error {
	c, err := in.Peek()
	switch {
	case err != nil:
		return err
	case c == '[':
		return in.Array(func(int) error { return in.container() })
	case c != '{':
		return in.Errorf("%q is not the start of an object: want { or [", c)
	}
	o := &object{}
	place, index := in.Place()
	o.place, o.index = in.share(place), index
	if err := in.object(o, true); err != nil {
		return err
	}
	if o.kind == "bundle" || o.kind == "" && o.holds {
		return nil
	}
	if in.typed = in.typed || o.kind != ""; o.kind == "" {
		o.spoil("it has no type")
	}
	return in.keep(o)
}

// keep holds an object until the file ends.
func (in *reader) keep(o *object) error {
	if o.kind == "marking-definition" {
		if len(in.markings) >= refsMax {
			return in.Errorf("more than %d markings: split the file", refsMax)
		}
		in.markings[o.id] = in.markings[o.id].and(o.definition())
		return nil
	}
	if !o.matters() {
		return nil
	}
	if at, ok := in.byID[o.id]; ok && o.id != "" {
		if in.objects[at].modified <= o.modified {
			in.objects[at] = o
		}
		return nil
	}
	if in.heldBytes += o.size(); len(in.objects) >= objectsMax || in.heldBytes > heldBytesMax {
		return in.Errorf("more than %d objects or %d MiB of them: split the file", objectsMax, heldBytesMax>>20)
	}
	if o.id != "" {
		in.byID[o.id] = len(in.objects)
	}
	in.objects = append(in.objects, o)
	return nil
}

// find returns the object with an id, nil if the file does not hold it.
func (in *reader) find(id string) *object {
	if at, ok := in.byID[id]; ok {
		return in.objects[at]
	}
	return nil
}

// share returns one copy of a text that comes with many objects.
func (in *reader) share(s string) string {
	if known, ok := in.words[s]; ok || len(in.words) >= refsMax {
		if ok {
			return known
		}
		return s
	}
	in.words[s] = s
	return s
}

// A marking is what is known of how far something may travel.
type marking struct {
	tlp     notice.TLP // 0 if none
	unclear string     // see intel.Found
}

func (m marking) and(other marking) marking {
	return marking{notice.Stricter(m.tlp, other.tlp), cmp.Or(m.unclear, other.unclear)}
}

// marking returns the strictest of an object's markings, or what it is part of is
// marked as.
func (in *reader) marking(o *object) marking {
	m := o.marked
	for _, refs := range [...][]string{o.markings, o.granular} {
		for _, ref := range refs {
			known, here := in.markings[ref]
			m = m.and(known)
			m.tlp = notice.Stricter(m.tlp, knownMarkings[ref])
			if knownMarkings[ref] == 0 && !here && m.unclear == "" {
				m.unclear = fmt.Sprintf("%q (%s)", intel.Show(ref), o.at())
			}
		}
	}
	if len(o.granular) > 0 && len(o.markings) == 0 && m.unclear == "" {
		m.unclear = fmt.Sprintf("%q (%s)", "granular_markings", o.at())
	}
	if max(len(o.markings), len(o.granular)) >= refsMax && m.unclear == "" { // not all are known
		m.unclear = fmt.Sprintf("%q (%s)", "object_marking_refs of too many", o.at())
	}
	if m == (marking{}) {
		return in.all.and(in.within[o.id])
	}
	return m
}

func (in *reader) tlp(o *object) notice.TLP { return in.marking(o).tlp }
