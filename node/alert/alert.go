// Package alert decides who is told of what, and when: rules, groups, silences,
// acknowledging, escalation, the daily digest. It is pure: events and times (ms
// since 1970) go in, messages and what is to be remembered come out. Package sink
// has the ways out; package node keeps both durable. See DESIGN.md.
package alert

import (
	"slices"
	"strings"
	"time"

	"github.com/watchward/watchward/node/notice"
)

// Kinds of alerts that mean something here. Any other is a word that rules know.
const (
	KindHit          = "hit"             // in the own logs
	KindSeenHere     = "seen-here"       // in the own history
	KindMayday       = "mayday"          // critical: in the own region
	KindMaydayBack   = "mayday-back"     // it is taken back
	KindMaydayDoubt  = "mayday-disputed" // a coordinator disputes it
	KindAdvisory     = "advisory"        // one about a supplier or a product that this house declared
	KindSupplier     = "supplier"        // trouble of a supplier that this house declared
	KindDeadline     = "deadline"        // a report of an incident is due
	KindFiling       = "filing"          // another member reports an incident to this house
	KindExercise     = "exercise"        // another member holds one, or the own one has ended; warning: of a coordinator
	KindNotice       = "notice"          // a notice that a rule with do = page or digest chose
	KindLimit        = "alerts-limit"    // a rule matched more than its limit
	limitDedupPrefix = KindLimit + "/"
)

// Fields that rules, groups and silences know.
const (
	FieldKind     = "kind"
	FieldSeverity = "severity"
	FieldNotice   = "notice"
	FieldType     = "type"
	FieldValue    = "value"
	FieldFamily   = "family"
	FieldAuthor   = "author"
	FieldRegion   = "region"
	FieldVerdict  = "verdict"
)

// Fields returns them all.
func Fields() []string {
	return []string{FieldKind, FieldSeverity, FieldNotice, FieldType, FieldValue, FieldFamily, FieldAuthor, FieldRegion, FieldVerdict}
}

// An Event is an alert that was stored, or a notice that arrived.
type Event struct {
	Alert    uint64 // number of the alert; 0: a notice
	Notice   string // id of the notice, if it is one
	Time     int64
	Severity string              // info, warning or critical
	TLP      notice.TLP          // strictest of its sources; 0: about this node, for everybody
	Text     string              // for people
	Line     string              // of the own logs: only for sinks that ask for lines
	Dedup    string              // of the alert
	Refs     []string            // ids of notices
	Own      bool                // a notice of this node
	Fields   map[string][]string // without severity; the first of each is what groups go by
}

// Kind is the alert's kind, or "" for a notice.
func (e *Event) Kind() string { return first(e.Fields[FieldKind]) }

// Add gives a field words that it does not have yet; empty ones are none.
func (e *Event) Add(field string, words ...string) {
	for _, w := range words {
		if w != "" && !slices.Contains(e.Fields[field], w) {
			e.Fields[field] = append(e.Fields[field], w)
		}
	}
}

func (e *Event) values(field string) []string {
	if field == FieldSeverity {
		return []string{e.Severity}
	}
	return e.Fields[field]
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// A Match is, by field, the words of which an event must have one; "*" is any.
type Match map[string][]string

// matches compares without regard to case.
func (m Match) matches(e *Event) bool {
	for field, want := range m {
		if len(want) == 0 {
			continue
		}
		if !slices.ContainsFunc(e.values(field), func(have string) bool {
			return slices.ContainsFunc(want, func(w string) bool { return w == "*" || strings.EqualFold(w, have) })
		}) {
			return false
		}
	}
	return true
}

// An Action is what becomes of an event.
type Action string

const (
	Page   Action = "page"   // tell at once, and wait for somebody to acknowledge
	Send   Action = "send"   // tell at once
	Digest Action = "digest" // tell once a day
	Drop   Action = "drop"
)

// A Rule decides about the events that it matches.
type Rule struct {
	Name    string
	Match   Match
	Do      Action
	To      []string      // sinks told at once; none: all
	Then    []string      // sinks told one after another while nobody acknowledges
	GroupBy []string      // none: each event is alone
	Repeat  time.Duration // 0: never
	Limit   int           // an hour
}

// matches says whether a rule is about an event: about a notice only if it names
// kinds of notices, and about an own one only if it names its author.
func (r *Rule) matches(e *Event) bool {
	if e.Alert == 0 && (len(r.Match[FieldNotice]) == 0 || e.Own && len(r.Match[FieldAuthor]) == 0) {
		return false
	}
	return r.Match.matches(e)
}

// pageLimit is how often one of the rules behind the configured ones pages in an hour.
const pageLimit = 10

// DefaultRules are behind all others: these page, and what no rule matches is in
// the digest.
func DefaultRules() []Rule {
	page := func(name string, m Match, group ...string) Rule {
		return Rule{Name: name, Match: m, Do: Page, GroupBy: group, Limit: pageLimit}
	}
	return []Rule{
		page("built-in hit", Match{FieldKind: {KindHit}}, FieldValue),
		page("built-in seen-here", Match{FieldKind: {KindSeenHere}}, FieldValue),
		page("built-in mayday", Match{FieldKind: {KindMayday}, FieldSeverity: {"critical"}}, FieldAuthor),
		page("built-in supplier", Match{FieldKind: {KindSupplier}}),
		page("built-in exercise", Match{FieldKind: {KindExercise}, FieldSeverity: {"warning"}}, FieldAuthor),
		page("built-in advisory", Match{FieldKind: {KindAdvisory}}),
		page("built-in deadline", Match{FieldKind: {KindDeadline}}),
		page("built-in filing", Match{FieldKind: {KindFiling}}, FieldAuthor),
	}
}

// A Sink is a way out, as rules know it.
type Sink struct {
	Name    string
	Ceiling notice.TLP // GREEN, if nobody said otherwise; never RED
	Bare    bool       // of a page above the ceiling it is told that there is one
	Digest  bool       // it gets the daily digest
	Lines   bool       // it gets lines of the own logs
}

// shows says whether a marking may go to the sink.
func (s *Sink) shows(t notice.TLP) bool {
	return t == 0 || t != notice.TLPRed && t.House() <= s.Ceiling
}

// Types of messages.
const (
	TypePage         = "page"
	TypeRepeat       = "repeat"
	TypeEscalation   = "escalation"
	TypeSend         = "send"
	TypeUpdate       = "update"       // of what was paged
	TypeAcknowledged = "acknowledged" // the same
	TypeOver         = "over"         // the same
	TypeDigest       = "digest"
	TypeTest         = "test"
)

// A Message goes to one sink, at least once; ID tells who has it twice. The JSON is
// what webhooks and commands get, the field numbers are disk format.
type Message struct {
	ID       string   `cbor:"1,keyasint" json:"id"`
	Type     string   `cbor:"2,keyasint" json:"type"`
	Node     string   `cbor:"3,keyasint" json:"node"`
	Time     int64    `cbor:"4,keyasint" json:"-"`
	Severity string   `cbor:"5,keyasint,omitempty" json:"severity,omitempty"`
	Kind     string   `cbor:"6,keyasint,omitempty" json:"kind,omitempty"`
	TLP      string   `cbor:"7,keyasint,omitempty" json:"tlp,omitempty"`
	Text     string   `cbor:"8,keyasint" json:"text"`
	Group    string   `cbor:"9,keyasint,omitempty" json:"group,omitempty"` // id to acknowledge
	Count    uint64   `cbor:"10,keyasint,omitempty" json:"count,omitempty"`
	Refs     []string `cbor:"11,keyasint,omitempty" json:"refs,omitempty"`
	Value    string   `cbor:"12,keyasint,omitempty" json:"value,omitempty"`
	Valued   string   `cbor:"13,keyasint,omitempty" json:"value_type,omitempty"`
	By       string   `cbor:"14,keyasint,omitempty" json:"by,omitempty"` // who acknowledged
	Above    bool     `cbor:"15,keyasint,omitempty" json:"above,omitempty"`
	Line     string   `cbor:"16,keyasint,omitempty" json:"line,omitempty"` // of the own logs

	Sink   string `cbor:"-" json:"-"`
	Number uint64 `cbor:"-" json:"-"` // rising
}

// Open says whether a message is about something that somebody should do something
// about, and not that it is over.
func (m *Message) Open() bool { return m.Type != TypeAcknowledged && m.Type != TypeOver }
