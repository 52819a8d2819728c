package notice

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/watchward/watchward/crypto/canon"
)

// Limits of a filing.
const (
	FilingMax        = 48 << 10 // bytes of the encoded item
	NumberMax        = 20       // characters of an incident's number
	ProseMax         = 4000     // bytes of each text of a filing, which may have lines
	FiledMax         = 40       // entries of each list of a filing, sightings apart
	FiledSightingMax = 100
)

// A Filing is what a hospital reports of an incident to the member it names, its CSIRT:
// one of the reports of NIS2, Art. 23(4). Its fields are wire format. A zero is unknown,
// which is an answer. There is no field for a ransom, nor ever will be: what is known of
// one stays in the house.
type Filing struct {
	Incident string `cbor:"1,keyasint,omitempty"` // the author's number of it
	Stage    Stage  `cbor:"2,keyasint,omitempty"`
	AwareAt  int64  `cbor:"3,keyasint,omitempty"` // ms: the clock of Art. 23 runs from here
	Made     int64  `cbor:"4,keyasint,omitempty"` // ms: when this report was drafted
	Title    string `cbor:"5,keyasint,omitempty"` // ≤ WhatMax

	Malicious   Whether  `cbor:"6,keyasint,omitempty"` // suspected of being unlawful or malicious
	CrossBorder Whether  `cbor:"7,keyasint,omitempty"` // could reach other states
	Severity    Severity `cbor:"8,keyasint,omitempty"`

	Description string `cbor:"9,keyasint,omitempty"` // these five ≤ ProseMax
	Impact      string `cbor:"10,keyasint,omitempty"`
	Cause       string `cbor:"11,keyasint,omitempty"`
	Measures    string `cbor:"12,keyasint,omitempty"`
	Borders     string `cbor:"13,keyasint,omitempty"` // what the cross-border impact is

	Began   int64 `cbor:"14,keyasint,omitempty"` // ms
	Handled int64 `cbor:"15,keyasint,omitempty"` // ms; 0 = it goes on

	Entity  string   `cbor:"16,keyasint,omitempty"` // who reports, and how to reach it
	Contact []string `cbor:"17,keyasint,omitempty"`

	Earlier    []FiledReport     `cbor:"18,keyasint,omitempty"`
	Sightings  []FiledSighting   `cbor:"19,keyasint,omitempty"` // ≤ FiledSightingMax, the last seen first
	Services   []FiledService    `cbor:"20,keyasint,omitempty"` // these three ≤ FiledMax, oldest first
	Links      []FiledLink       `cbor:"21,keyasint,omitempty"`
	Assistance []FiledAssistance `cbor:"22,keyasint,omitempty"`
	More       uint32            `cbor:"23,keyasint,omitempty"` // sightings for which there was no room
}

// A FiledReport is an earlier report of the same incident.
type FiledReport struct {
	Stage Stage `cbor:"1,keyasint,omitempty"`
	At    int64 `cbor:"2,keyasint,omitempty"` // ms
}

// A FiledSighting is what the author saw itself.
type FiledSighting struct {
	Type   Type   `cbor:"1,keyasint,omitempty"`
	Value  string `cbor:"2,keyasint,omitempty"`
	First  int64  `cbor:"3,keyasint,omitempty"` // ms
	Last   int64  `cbor:"4,keyasint,omitempty"`
	Count  uint64 `cbor:"5,keyasint,omitempty"`
	Family string `cbor:"6,keyasint,omitempty"` // malware or tool; may be empty
}

// A FiledService is how a department worked from a time on.
type FiledService struct {
	Department string       `cbor:"1,keyasint,omitempty"`
	State      ServiceState `cbor:"2,keyasint,omitempty"`
	At         int64        `cbor:"3,keyasint,omitempty"` // ms
	Until      int64        `cbor:"4,keyasint,omitempty"` // ms, expected; 0 = not known
}

// A FiledLink is a connection that was cut or restored.
type FiledLink struct {
	Supplier string    `cbor:"1,keyasint,omitempty"`
	Link     string    `cbor:"2,keyasint,omitempty"`
	State    LinkState `cbor:"3,keyasint,omitempty"`
	At       int64     `cbor:"4,keyasint,omitempty"` // ms
	Reason   string    `cbor:"5,keyasint,omitempty"`
}

// A FiledAssistance is help that was asked for, offered or taken.
type FiledAssistance struct {
	Act      Act    `cbor:"1,keyasint,omitempty"`
	What     string `cbor:"2,keyasint,omitempty"`
	Quantity uint32 `cbor:"3,keyasint,omitempty"`
	Unit     string `cbor:"4,keyasint,omitempty"`
	At       int64  `cbor:"5,keyasint,omitempty"` // ms
}

// A Stage is a report of NIS2, Art. 23(4). Wire format.
type Stage uint8

const (
	StageEarlyWarning Stage = 1 // (a), within 24 hours
	StageNotification Stage = 2 // (b), within 72 hours
	StageProgress     Stage = 3 // (c) and (e), when asked for or when it goes on
	StageFinal        Stage = 4 // (d), one month after the notification
)

// Whether is an answer of yes or no; the zero value is unknown. Wire format.
type Whether uint8

const (
	WhetherYes Whether = 1
	WhetherNo  Whether = 2
)

// A Severity is the author's own judgement; the zero value is unknown. Wire format.
type Severity uint8

const (
	SeverityLow      Severity = 1
	SeverityMedium   Severity = 2
	SeverityHigh     Severity = 3
	SeverityCritical Severity = 4
)

var (
	stageNames    = [...]string{"", "early-warning", "notification", "progress", "final"}
	whetherNames  = [...]string{"unknown", "yes", "no"}
	severityNames = [...]string{"unknown", "low", "medium", "high", "critical"}
)

func (s Stage) String() string    { return wordName(stageNames[:], uint8(s)) }
func (w Whether) String() string  { return wordName(whetherNames[:], uint8(w)) }
func (s Severity) String() string { return wordName(severityNames[:], uint8(s)) }

// Stages returns the reports in the order in which they are due.
func Stages() []Stage {
	return []Stage{StageEarlyWarning, StageNotification, StageProgress, StageFinal}
}

// ParseStage is the inverse of String, in any case.
func ParseStage(s string) (Stage, error) { return parseWord[Stage]("stage", stageNames[:], s) }

// ParseWhether is the inverse of String for a field, in any case; unknown is 0.
func ParseWhether(field, s string) (Whether, error) {
	return parseOpen[Whether](field, whetherNames[:], s)
}

// ParseSeverity is the inverse of String, in any case; unknown is 0.
func ParseSeverity(s string) (Severity, error) {
	return parseOpen[Severity]("severity", severityNames[:], s)
}

// parseOpen is parseWord of what may be unknown.
func parseOpen[W ~uint8](field string, names []string, s string) (W, error) {
	if strings.EqualFold(s, names[0]) {
		return 0, nil
	}
	w, err := parseWord[W](field, names, s)
	if err != nil {
		err.(*FieldError).Fix += ", " + names[0]
	}
	return w, err
}

// choices are the words of a filing, its lists' too.
func (f *Filing) choices() []choice {
	list := []choice{
		{"filing.stage", uint64(f.Stage), stageNames[:]}, {"filing.malicious", uint64(f.Malicious), whetherNames[:]},
		{"filing.cross_border", uint64(f.CrossBorder), whetherNames[:]}, {"filing.severity", uint64(f.Severity), severityNames[:]},
	}
	for _, r := range f.Earlier {
		list = append(list, choice{"filing.earlier", uint64(r.Stage), stageNames[:]})
	}
	for _, s := range f.Services {
		list = append(list, choice{"filing.services", uint64(s.State), serviceNames[:]})
	}
	for _, l := range f.Links {
		list = append(list, choice{"filing.links", uint64(l.State), linkNames[:]})
	}
	for _, a := range f.Assistance {
		list = append(list, choice{"filing.assistance", uint64(a.Act), actNames[:]})
	}
	return list
}

// Check reports, as a *FieldError, what a filing must not say.
func (f *Filing) Check() error {
	if err := checkSaid("filing.incident", f.Incident, NumberMax); err != nil {
		return err
	}
	if err := checkWord("filing.stage", f.Stage, stageNames[:]); err != nil {
		return err
	}
	if f.AwareAt <= 0 || f.Made < f.AwareAt {
		return fieldErrorf("filing.aware_at", "say when the hospital became aware of the incident, before the report is made", "%s is no such time", showTime(f.AwareAt))
	}
	for _, t := range []int64{f.AwareAt, f.Made, f.Began, f.Handled} {
		if err := checkTime("filing.time", t); err != nil {
			return err
		}
	}
	if err := checkSaid("filing.title", f.Title, WhatMax); err != nil {
		return err
	}
	for _, text := range []struct{ field, text string }{
		{"filing.description", f.Description}, {"filing.impact", f.Impact}, {"filing.cause", f.Cause},
		{"filing.measures", f.Measures}, {"filing.borders", f.Borders},
	} {
		if err := CheckProse(text.field, text.text); err != nil {
			return err
		}
	}
	if err := checkLine("filing.entity", f.Entity, PartyMax); err != nil {
		return err
	}
	if len(f.Contact) > ContactMax {
		return fieldErrorf("filing.contact", "give up to 4 lines", "it has %d", len(f.Contact))
	}
	for _, line := range f.Contact {
		if err := checkSaid("filing.contact", line, WhatMax); err != nil {
			return err
		}
	}
	return f.checkLists()
}

func (f *Filing) checkLists() error {
	for _, l := range []struct {
		field     string
		have, max int
	}{
		{"filing.earlier", len(f.Earlier), FiledMax}, {"filing.sightings", len(f.Sightings), FiledSightingMax}, {"filing.services", len(f.Services), FiledMax},
		{"filing.links", len(f.Links), FiledMax}, {"filing.assistance", len(f.Assistance), FiledMax},
	} {
		if l.have > l.max {
			return fieldErrorf(l.field, fmt.Sprintf("keep %d", l.max), "there are %d", l.have)
		}
	}
	for _, r := range f.Earlier {
		if err := firstError(checkWord("filing.earlier", r.Stage, stageNames[:]), checkTime("filing.earlier", r.At)); err != nil {
			return err
		}
	}
	for _, s := range f.Sightings {
		i := Indicator{s.Type, s.Value}
		if err := firstError(i.check(), checkTime("filing.sightings", s.First), checkTime("filing.sightings", s.Last), checkText("filing.sightings", s.Family, NameMax)); err != nil {
			return err
		}
	}
	for _, s := range f.Services {
		if err := firstError(checkSaid("filing.services", s.Department, PartyMax), checkWord("filing.services", s.State, serviceNames[:]),
			checkTime("filing.services", s.At), checkTime("filing.services", s.Until)); err != nil {
			return err
		}
	}
	for _, l := range f.Links {
		if err := firstError(checkSaid("filing.links", l.Supplier, PartyMax), checkSaid("filing.links", l.Link, PartyMax),
			checkWord("filing.links", l.State, linkNames[:]), checkTime("filing.links", l.At), checkLine("filing.links", l.Reason, TextMax)); err != nil {
			return err
		}
	}
	for _, a := range f.Assistance {
		if err := firstError(checkWord("filing.assistance", a.Act, actNames[:]), checkLine("filing.assistance", a.What, WhatMax),
			checkLine("filing.assistance", a.Unit, UnitMax), checkTime("filing.assistance", a.At)); err != nil {
			return err
		}
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// CheckProse accepts up to ProseMax bytes of printable lines, without space around the
// whole.
func CheckProse(field, s string) error {
	if len(s) > ProseMax {
		return fieldErrorf(field, fmt.Sprintf("shorten it to %d", ProseMax), "it has %d bytes", len(s))
	}
	if !utf8.ValidString(s) {
		return fieldErrorf(field, "save the text as UTF-8", "it is not valid UTF-8")
	}
	if strings.TrimSpace(s) != s {
		return fieldErrorf(field, "trim it", "it has space around it")
	}
	for line := range strings.SplitSeq(s, "\n") {
		if err := checkPrintable(field, line); err != nil {
			return err
		}
	}
	return nil
}

// CheckTitle accepts a filing's title.
func CheckTitle(field, s string) error { return checkSaid(field, s, WhatMax) }

// filedLists are the lists of maps in a filing: the last key of their maps, by their key.
var filedLists = map[uint64]uint64{18: 2, 19: 6, 20: 4, 21: 5, 22: 5}

// stripFiling takes what this version does not know out of the lists of a filing.
func stripFiling(fields map[uint64]canon.Raw) error {
	raw, ok := fields[filingKey]
	if !ok {
		return nil
	}
	var inner map[uint64]canon.Raw
	if err := canon.Unmarshal(raw, &inner); err != nil {
		return err
	}
	for key, last := range filedLists {
		var list []map[uint64]canon.Raw
		if inner[key] == nil {
			continue
		}
		if err := canon.Unmarshal(inner[key], &list); err != nil {
			return err
		}
		for _, entry := range list {
			if err := stripUnknown(entry, last); err != nil {
				return err
			}
		}
		var err error
		if inner[key], err = canon.Marshal(list); err != nil {
			return err
		}
	}
	known, err := canon.Marshal(inner)
	fields[filingKey] = known
	return err
}
