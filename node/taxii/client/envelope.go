package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/watchward/watchward/node/intel/jsonscan"
)

// Limits of an envelope. Config.PageBytes bounds it whole.
const (
	ObjectsMax     = 100_000 // of one page, whatever was asked for
	ObjectBytesMax = 1 << 20 // of an object; a larger one is refused alone
	DepthMax       = 64      // likewise
	refusedMax     = 100     // refusals kept of a page; the rest is counted
	typeMax        = 250     // bytes of a type, section 3.1 of STIX
	tokenMax       = 4 << 10 // bytes of a next
)

// A Refused is an object that was not taken from a page.
type Refused struct {
	ID     string // fit to be shown; objects[N] where it has none
	Reason string
}

// An envelope is a page as the server sent it.
type envelope struct {
	objects  []json.RawMessage
	refused  []Refused // at most refusedMax
	refusals int
	more     *bool // nil = it does not say
	next     string
}

var errNoEnvelope = errors.New("it is not an envelope of objects: look whether the url is that of a TAXII 2.1 server")

// readEnvelope reads an envelope, section 3.7. What is wrong in one object is that object's alone.
func readEnvelope(body []byte) (*envelope, error) {
	e := &envelope{}
	d := json.NewDecoder(bytes.NewReader(body))
	seen := map[string]bool{}
	strange := false
	err := eachMember(d, func(key string) error {
		if seen[key] {
			return fmt.Errorf("it has %s twice", show(key))
		}
		switch key {
		case "objects":
			seen[key] = true
			return e.readObjects(d)
		case "more":
			seen[key] = true
			return d.Decode(&e.more)
		case "next":
			seen[key] = true
			return d.Decode(&e.next)
		}
		strange = true
		var ignored json.RawMessage
		return d.Decode(&ignored)
	})
	if err == nil {
		if _, err = d.Token(); err == nil {
			err = errors.New("something follows its end")
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("its answer is broken at byte %d: %s", d.InputOffset(), show(err.Error()))
	case len(seen) == 0 && strange:
		return nil, errNoEnvelope
	case len(e.next) > tokenMax:
		return nil, fmt.Errorf("its next is longer than %d bytes", tokenMax)
	}
	return e, nil
}

// eachMember calls member for each key of the object that comes next; it must read the value.
func eachMember(d *json.Decoder, member func(key string) error) error {
	open, err := d.Token()
	if err != nil {
		return err
	}
	if open != json.Delim('{') {
		return errNoEnvelope
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		if err := member(key.(string)); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

func (e *envelope) readObjects(d *json.Decoder) error {
	open, err := d.Token()
	if err != nil || open == nil { // null: nothing
		return err
	}
	if open != json.Delim('[') {
		return errors.New("its objects are no list")
	}
	for n := 0; d.More(); n++ {
		if n == ObjectsMax {
			return fmt.Errorf("it has more than %d objects", ObjectsMax)
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return err
		}
		if _, bad := inspect(raw, n); bad != nil {
			e.refuse(*bad)
			continue
		}
		e.objects = append(e.objects, raw)
	}
	_, err = d.Token()
	return err
}

func (e *envelope) refuse(r Refused) {
	e.refusals++
	if len(e.refused) < refusedMax {
		e.refused = append(e.refused, r)
	}
}

// A label is by which an object is known.
type label struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Created  string `json:"created"`
	Modified string `json:"modified"`
}

// version is modified, else created, section 3.6.1; "" if it has neither.
func (l *label) version() string {
	if l.Modified != "" {
		return l.Modified
	}
	return l.Created
}

// inspect looks at the form of an object, which is valid JSON; what it means is the caller's.
func inspect(raw []byte, index int) (label, *Refused) {
	var l label
	bad := ""
	switch {
	case len(raw) > ObjectBytesMax:
		bad = fmt.Sprintf("it is larger than %d bytes", ObjectBytesMax)
	case len(raw) == 0 || raw[0] != '{':
		bad = "it is not an object {…}"
	case !utf8.Valid(raw):
		bad = "it is not valid UTF-8"
	case jsonscan.Depth(raw) > DepthMax:
		bad = fmt.Sprintf("it is nested deeper than %d", DepthMax)
	case json.Unmarshal(raw, &l) != nil:
		bad = "its id, type, created or modified is not a text"
	case !identifies(l.ID, l.Type):
		bad = "its id is not its type with a UUID"
	default:
		return l, nil
	}
	r := &Refused{ID: show(l.ID), Reason: bad}
	if r.ID == "" {
		r.ID = fmt.Sprintf("objects[%d]", index)
	}
	return l, r
}

// identifies reports whether an id is a type with a UUID in its usual form: whoever
// keeps ids relies on their length.
func identifies(id, kind string) bool {
	text, ok := strings.CutPrefix(id, kind+"--")
	if !ok || kind == "" || len(kind) > typeMax || len(text) != 36 {
		return false
	}
	_, err := uuid.Parse(text)
	return err == nil
}
