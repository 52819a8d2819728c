package misp

import (
	"io"
	"strconv"
	"strings"

	"github.com/watchward/watchward/node/intel/jsonscan"
)

// An item is an event or a sighting, as a list has it.
type item struct {
	uuid      string
	event     string // the uuid of a sighting's event
	timestamp int64  // s, of its last change
	published int64  // s
	sighted   int64  // s, of a sighting
}

// readList calls yield for each item of a list: {"response": [{"Event": …}]}, an
// array, or the same with Sighting. An error of yield ends it.
func readList(r io.Reader, yield func(item) error) error {
	l := &list{Scanner: jsonscan.New(r), yield: yield}
	if err := l.container(); err != nil {
		return err
	}
	if more, err := l.More(); err != nil || more {
		return l.Errorf("something follows the end of the list")
	}
	return nil
}

type list struct {
	*jsonscan.Scanner
	yield func(item) error
}

func (l *list) container() error {
	c, err := l.Peek()
	switch {
	case err != nil:
		return err
	case c == '[':
		return l.Array(func(int) error { return l.container() })
	case c != '{':
		return l.Errorf("%q is not the start of a list: want { or [", c)
	}
	var it item
	known := false
	err = l.Object(func(key string) error {
		switch key {
		case "response":
			known = true
			return l.container()
		case "Event", "Sighting":
			known = true
			return l.item(&it)
		}
		return l.field(&it, key)
	})
	switch {
	case err != nil:
		return err
	case it.uuid != "":
		return l.yield(it)
	case !known:
		return l.Errorf("this is JSON but no list of MISP: it has none of response, Event, Sighting")
	}
	return nil
}

func (l *list) item(it *item) error {
	return l.Fields(func(key string) error {
		if key == "Event" { // of a sighting
			return l.Fields(func(key string) error {
				if key != "uuid" {
					return l.Skip()
				}
				return l.text(&it.event)
			})
		}
		return l.field(it, key)
	})
}

func (l *list) field(it *item, key string) error {
	switch key {
	case "uuid":
		return l.text(&it.uuid)
	case "event_uuid":
		return l.text(&it.event)
	case "timestamp":
		return l.number(&it.timestamp)
	case "publish_timestamp":
		return l.number(&it.published)
	case "date_sighting":
		return l.number(&it.sighted)
	}
	return l.Skip()
}

func (l *list) text(to *string) error {
	t, err := l.Text(jsonscan.TextMax)
	*to = strings.ToLower(t.S)
	return err
}

// number reads a stamp; what is none, or negative, is 0.
func (l *list) number(to *int64) error {
	t, err := l.Text(jsonscan.TextMax)
	n, _ := strconv.ParseInt(t.S, 10, 64)
	*to = min(max(n, 0), stampMax)
	return err
}

// stampMax is the end of year 9999.
const stampMax = 253_402_300_799
