package alert

import (
	"fmt"
	"strings"
	"time"

	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/node/notice"
)

// Bounds of what is remembered.
const (
	groupsMax   = 2_000
	membersMax  = 64  // alerts of a group that are known by their numbers
	linesMax    = 300 // of the next digest; the rest is counted by kind
	SilencesMax = 256

	joins     = 24 * time.Hour     // a group takes in what comes so long after the last
	joinsMost = 7 * 24 * time.Hour // and at most so long after the first
	groupLife = 7 * 24 * time.Hour // after the last
	bareEvery = 10 * time.Minute   // between two pages that a sink may not be shown

	SilenceMax = 30 * 24 * time.Hour
)

// A State of a group is disk format.
type State uint8

const (
	Open         State = 1
	Acknowledged State = 2
	Silenced     State = 3
	Over         State = 4
)

var stateNames = [...]string{Open: "open", Acknowledged: "acknowledged", Silenced: "silenced", Over: "over"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// A Group is what a person sees as one thing. The field numbers are disk format.
type Group struct {
	ID       string     `cbor:"1,keyasint"` // number of its first alert
	Rule     string     `cbor:"2,keyasint"`
	Key      string     `cbor:"3,keyasint"`
	State    State      `cbor:"4,keyasint"`
	First    int64      `cbor:"5,keyasint"`
	Last     int64      `cbor:"6,keyasint"`
	Count    uint64     `cbor:"7,keyasint"`
	Kind     string     `cbor:"8,keyasint"`
	Severity string     `cbor:"9,keyasint"`
	Text     string     `cbor:"10,keyasint"` // of the first, or of the first that was worse
	TLP      notice.TLP `cbor:"11,keyasint"` // strictest of all
	Alerts   []uint64   `cbor:"12,keyasint"`
	Refs     []string   `cbor:"13,keyasint"`
	Value    string     `cbor:"14,keyasint"`
	Valued   string     `cbor:"15,keyasint"`
	Author   string     `cbor:"16,keyasint"`
	Step     uint64     `cbor:"17,keyasint"`           // of Rule.Then, how many were told
	Next     int64      `cbor:"18,keyasint"`           // when somebody is told again; 0: never
	Told     []string   `cbor:"19,keyasint"`           // sinks
	By       string     `cbor:"20,keyasint"`           // who acknowledged
	At       int64      `cbor:"21,keyasint"`           // when
	Line     string     `cbor:"22,keyasint,omitempty"` // of Text's event
}

// joinable says whether something that comes now belongs to the group.
func (g *Group) joinable(now int64) bool {
	return g.State != Over && now < g.Last+joins.Milliseconds() && now < g.First+joinsMost.Milliseconds()
}

// A Silence keeps what it matches from telling anybody at once, until it ends.
type Silence struct {
	ID      string `cbor:"1,keyasint"`
	Match   Match  `cbor:"2,keyasint"`
	Until   int64  `cbor:"3,keyasint"`
	Why     string `cbor:"4,keyasint"`
	By      string `cbor:"5,keyasint"`
	Created int64  `cbor:"6,keyasint"`
}

// A line is what the next digest has; without text it counts what there is no room for.
type line struct {
	Number   uint64     `cbor:"1,keyasint"`
	Time     int64      `cbor:"2,keyasint"`
	Kind     string     `cbor:"3,keyasint"`
	Severity string     `cbor:"4,keyasint"`
	TLP      notice.TLP `cbor:"5,keyasint"`
	Text     string     `cbor:"6,keyasint"`
	Count    uint64     `cbor:"7,keyasint"`
}

// meta is the rest. It is kept with every step that sends something.
type meta struct {
	Number   uint64           `cbor:"1,keyasint"` // the last that was given to a message, line or silence
	DigestAt int64            `cbor:"2,keyasint"`
	Bare     map[string]int64 `cbor:"3,keyasint"` // by sink: when it last heard of something above it
	Hour     int64            `cbor:"4,keyasint"`
	Told     map[string]hour  `cbor:"5,keyasint"` // by rule: in Hour
}

// An hour counts what a rule told in it.
type hour struct {
	Count int64      `cbor:"1,keyasint"`
	TLP   notice.TLP `cbor:"2,keyasint"` // strictest of that
	Said  bool       `cbor:"3,keyasint"` // that there is more than its limit
}

// Names under which state is kept.
const (
	nameGroup   = "group/"
	nameSilence = "silence/"
	nameLine    = "line/"
	nameMeta    = "meta"
)

// load takes in what was kept under a name.
func (e *Engine) load(name string, value []byte) error {
	var err error
	switch {
	case name == nameMeta:
		err = canon.Unmarshal(value, &e.meta)
	case strings.HasPrefix(name, nameGroup):
		g := &Group{}
		if err = canon.Unmarshal(value, g); err == nil {
			e.index(g)
		}
	case strings.HasPrefix(name, nameSilence):
		s := &Silence{}
		if err = canon.Unmarshal(value, s); err == nil {
			e.silences[s.ID] = s
		}
	case strings.HasPrefix(name, nameLine):
		l := &line{}
		if err = canon.Unmarshal(value, l); err == nil {
			e.lines = append(e.lines, l)
		}
	}
	if err != nil {
		return fmt.Errorf("what was alerted, %s: %w", name, err)
	}
	return nil
}

func lineName(n uint64) string { return fmt.Sprintf("%s%020d", nameLine, n) }

// index makes a group known by its alerts and its key. What several have is the newest
// one's, in whatever order they come: numbers of alerts rise, clocks may be set back.
func (e *Engine) index(g *Group) {
	e.groups[g.ID] = g
	for _, a := range g.Alerts {
		if other := e.byAlert[a]; other == nil || other.Alerts[0] < g.Alerts[0] {
			e.byAlert[a] = g
		}
	}
	if other := e.byKey[g.Key]; other == nil || other.Alerts[0] < g.Alerts[0] {
		e.byKey[g.Key] = g
	}
}

func (e *Engine) forget(g *Group) {
	delete(e.groups, g.ID)
	for _, a := range g.Alerts {
		if e.byAlert[a] == g {
			delete(e.byAlert, a)
		}
	}
	if e.byKey[g.Key] == g {
		delete(e.byKey, g.Key)
	}
	for _, other := range e.groups { // an older one may have been behind it
		if other.Key == g.Key || other.Kind == KindMayday && g.Kind == KindMayday && other.Author == g.Author {
			e.index(other)
		}
	}
	e.out.keep(nameGroup+g.ID, nil)
}

// Changes are what a call to an Engine did. All of it must be durable together before
// anybody is told; if that fails, the engine is made anew from what is durable.
type Changes struct {
	Keep  map[string][]byte // name → value; nil deletes
	Send  []Message
	Raise []Raised // to be stored as alerts; doing it twice must change nothing
}

// A Raised is an alert about alerts, or about a notice.
type Raised struct {
	Kind, Severity, Text, Dedup string
	TLP                         notice.TLP
	Ref                         string // the notice, if it is about one
}

func (c *Changes) keep(name string, value []byte) {
	if c.Keep == nil {
		c.Keep = map[string][]byte{}
	}
	c.Keep[name] = value
}

// marshal encodes what this package made; that cannot fail.
func marshal(v any) []byte {
	raw, err := canon.Marshal(v)
	if err != nil {
		panic("alert: " + err.Error())
	}
	return raw
}

// take hands over what was done since the last time.
func (e *Engine) take() Changes {
	for g := range e.dirty {
		if e.groups[g.ID] == g {
			e.out.keep(nameGroup+g.ID, marshal(g))
		}
	}
	clear(e.dirty)
	out := e.out
	if len(out.Send) > 0 || len(out.Keep) > 0 {
		out.keep(nameMeta, marshal(e.meta))
	}
	e.out = Changes{}
	return out
}

// Add puts what came later behind what came before.
func (c *Changes) Add(later Changes) {
	for name, value := range later.Keep {
		c.keep(name, value)
	}
	c.Send, c.Raise = append(c.Send, later.Send...), append(c.Raise, later.Raise...)
}
