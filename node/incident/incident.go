// Package incident is the desk for reports under NIS2, Art. 23: what a hospital knows of
// an incident, when which report is due, and the drafts. It is pure: times (ms since
// 1970) and evidence go in, state and filings come out. Package node keeps the state and
// sends what is to be sent. See DESIGN.md.
package incident

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/watchward/watchward/node/notice"
)

// Limits of an incident.
const (
	LogMax       = 500 // changes that are remembered: the first, and the last of the rest
	SentMax      = notice.FiledMax
	awareBackMax = 400 * 24 * time.Hour
	skewMax      = 5 * time.Minute // how far in the future a time may be
	ransomMax    = 200             // bytes of each text about a ransom
)

// An Incident is what the house knows of one. The field numbers are disk format. It is
// not safe for concurrent use.
type Incident struct {
	Number  string `cbor:"1,keyasint"` // "2026-1"
	Title   string `cbor:"2,keyasint"`
	AwareAt int64  `cbor:"3,keyasint"` // when the house became aware: starts the clock, and never changes
	Opened  int64  `cbor:"4,keyasint"`
	Facts   Facts  `cbor:"5,keyasint"`
	Ransom  Ransom `cbor:"6,keyasint"`

	Drafts []Draft `cbor:"7,keyasint,omitempty"` // the last of each stage
	Sent   []Sent  `cbor:"8,keyasint,omitempty"` // oldest first

	ProgressAsked int64 `cbor:"9,keyasint,omitempty"`  // when a progress report was asked for
	ProgressBy    int64 `cbor:"10,keyasint,omitempty"` // until when; 0 = none was

	Closed  int64    `cbor:"11,keyasint,omitempty"`
	Why     string   `cbor:"12,keyasint,omitempty"` // it was closed
	Changed int64    `cbor:"13,keyasint,omitempty"` // when what a report says changed last
	Log     []Change `cbor:"14,keyasint,omitempty"`
}

// Facts are what reports say. A zero is unknown, which may be reported.
type Facts struct {
	Began       int64           `cbor:"1,keyasint,omitempty"`
	Handled     int64           `cbor:"2,keyasint,omitempty"` // 0 = it goes on
	Malicious   notice.Whether  `cbor:"3,keyasint,omitempty"`
	CrossBorder notice.Whether  `cbor:"4,keyasint,omitempty"`
	Severity    notice.Severity `cbor:"5,keyasint,omitempty"`
	Description string          `cbor:"6,keyasint,omitempty"`
	Impact      string          `cbor:"7,keyasint,omitempty"`
	Cause       string          `cbor:"8,keyasint,omitempty"`
	Measures    string          `cbor:"9,keyasint,omitempty"`
	Borders     string          `cbor:"10,keyasint,omitempty"`
}

// A Ransom is for the house alone. Nothing that leaves is made from it: a Filing has no
// field for any of it.
type Ransom struct {
	Demanded  notice.Whether `cbor:"1,keyasint,omitempty"`
	Paid      notice.Whether `cbor:"2,keyasint,omitempty"`
	Intends   notice.Whether `cbor:"3,keyasint,omitempty"` // to pay
	Amount    string         `cbor:"4,keyasint,omitempty"`
	Currency  string         `cbor:"5,keyasint,omitempty"`
	Recipient string         `cbor:"6,keyasint,omitempty"`
}

// A Draft is a report as it was made, to be read before it is sent.
type Draft struct {
	Made   int64         `cbor:"1,keyasint"`
	Filing notice.Filing `cbor:"2,keyasint"`
}

// A Sent is a report that left the house.
type Sent struct {
	Stage     notice.Stage `cbor:"1,keyasint"`
	At        int64        `cbor:"2,keyasint"`
	To        string       `cbor:"3,keyasint,omitempty"` // name of the member, or where it was handed in
	Member    string       `cbor:"4,keyasint,omitempty"` // "" = it went another way
	Notice    string       `cbor:"5,keyasint,omitempty"` // id
	Delivered int64        `cbor:"6,keyasint,omitempty"` // the member confirmed that it has it
	Failed    int64        `cbor:"7,keyasint,omitempty"` // it never will be
}

// A Change says who did what.
type Change struct {
	At   int64  `cbor:"1,keyasint"`
	By   string `cbor:"2,keyasint"`
	What string `cbor:"3,keyasint"`
}

// Open begins an incident. aware is when the house became aware of it, by is who says so.
// Errors are *notice.FieldError.
func Open(number, title string, aware, now int64, by string) (*Incident, error) {
	i := &Incident{Number: number, AwareAt: aware, Opened: now, Changed: now}
	if aware > now+skewMax.Milliseconds() {
		return nil, field("aware_at", "say when it was: a time up to now", "%s is in the future", at(aware))
	}
	if aware < now-awareBackMax.Milliseconds() {
		return nil, field("aware_at", "check the year", "%s is more than 400 days ago", at(aware))
	}
	i.AwareAt = min(aware, now)
	if err := i.retitle(title); err != nil {
		return nil, err
	}
	i.log(now, by, "opened")
	return i, nil
}

func (i *Incident) retitle(title string) error {
	title = clean(title)
	if err := notice.CheckTitle("title", title); err != nil {
		return err
	}
	i.Title = title
	return nil
}

// An Update changes what is not nil.
type Update struct {
	AwareAt *int64 // refused, unless it is what it was
	Title   *string

	Began, Handled         *int64
	Malicious, CrossBorder *notice.Whether
	Severity               *notice.Severity
	Description, Impact    *string
	Cause, Measures        *string
	Borders                *string

	ProgressBy *int64 // a progress report was asked for until then; 0 = no longer

	Demanded, Paid, Intends     *notice.Whether
	Amount, Currency, Recipient *string
}

// Update changes what is known, all of it or nothing. Errors are *notice.FieldError.
func (i *Incident) Update(u Update, now int64, by string) error {
	if err := i.open(); err != nil {
		return err
	}
	if u.AwareAt != nil && *u.AwareAt != i.AwareAt {
		return field("aware_at", "if it is wrong, close this incident with the reason and open another: both stay on record",
			"the clock of Art. 23 has run since %s, and that is never changed", at(i.AwareAt))
	}
	next := *i
	what, err := next.change(u, now)
	if err != nil {
		return err
	}
	if len(what) == 0 {
		return nil
	}
	next.log(now, by, "changed "+strings.Join(what, ", "))
	*i = next
	return nil
}

// change applies an update and names what it changed.
func (i *Incident) change(u Update, now int64) (what []string, err error) {
	f, r := &i.Facts, &i.Ransom
	reported := func(name string, changed bool) {
		if changed {
			what, i.Changed = append(what, name), i.after(now)
		}
	}
	if u.Title != nil {
		before := i.Title
		if err := i.retitle(*u.Title); err != nil {
			return nil, err
		}
		reported("title", i.Title != before)
	}
	for _, t := range []struct {
		name string
		to   *int64
		from *int64
	}{{"began", &f.Began, u.Began}, {"handled", &f.Handled, u.Handled}} {
		if t.from == nil {
			continue
		}
		if *t.from < 0 || *t.from > now+skewMax.Milliseconds() {
			return nil, field(t.name, "give a time up to now, or unknown", "%s is in the future", at(*t.from))
		}
		reported(t.name, set(t.to, t.from))
	}
	if f.Began != 0 && f.Handled != 0 && f.Handled < f.Began {
		return nil, field("handled", "give a time after it began", "%s is before it began", at(f.Handled))
	}
	reported("malicious", set(&f.Malicious, u.Malicious))
	reported("cross_border", set(&f.CrossBorder, u.CrossBorder))
	reported("severity", set(&f.Severity, u.Severity))
	for _, t := range []struct {
		name string
		to   *string
		from *string
	}{{"description", &f.Description, u.Description}, {"impact", &f.Impact, u.Impact}, {"cause", &f.Cause, u.Cause},
		{"measures", &f.Measures, u.Measures}, {"borders", &f.Borders, u.Borders}} {
		if t.from == nil {
			continue
		}
		text := clean(*t.from)
		if err := notice.CheckProse(t.name, text); err != nil {
			return nil, err
		}
		reported(t.name, set(t.to, &text))
	}
	if u.ProgressBy != nil {
		if *u.ProgressBy != 0 && *u.ProgressBy <= i.AwareAt {
			return nil, field("progress_by", "give the time by which it was asked for, or none", "%s is before the house became aware", at(*u.ProgressBy))
		}
		if set(&i.ProgressBy, u.ProgressBy) {
			i.ProgressAsked = now
			what = append(what, "progress_by")
		}
	}
	return i.changeRansom(r, u, what)
}

// after is now, or later than all drafts if the clock was set back: what changes makes
// them old, whatever it shows.
func (i *Incident) after(now int64) int64 {
	for _, d := range i.Drafts {
		now = max(now, d.Made+1)
	}
	return now
}

// changeRansom changes what no report says, and so leaves drafts as they are.
func (i *Incident) changeRansom(r *Ransom, u Update, what []string) ([]string, error) {
	for _, w := range []struct {
		name string
		to   *notice.Whether
		from *notice.Whether
	}{{"ransom.demanded", &r.Demanded, u.Demanded}, {"ransom.paid", &r.Paid, u.Paid}, {"ransom.intends", &r.Intends, u.Intends}} {
		if set(w.to, w.from) {
			what = append(what, w.name)
		}
	}
	for _, t := range []struct {
		name string
		to   *string
		from *string
	}{{"ransom.amount", &r.Amount, u.Amount}, {"ransom.currency", &r.Currency, u.Currency}, {"ransom.recipient", &r.Recipient, u.Recipient}} {
		if t.from == nil {
			continue
		}
		text := clean(*t.from)
		if len(text) > ransomMax || !notice.Printable(text) {
			return nil, field(t.name, "give up to 200 bytes of one line", "it is too long, or no text")
		}
		if set(t.to, &text) {
			what = append(what, t.name)
		}
	}
	return what, nil
}

func set[T comparable](to *T, from *T) (changed bool) {
	if from == nil || *to == *from {
		return false
	}
	*to = *from
	return true
}

// Close ends an incident: nothing of it is due any more. Without a final report it needs
// to be said why. Errors are *notice.FieldError.
func (i *Incident) Close(why string, now int64, by string) error {
	if err := i.open(); err != nil {
		return err
	}
	why = clean(why)
	if err := notice.CheckProse("why", why); err != nil {
		return err
	}
	if why == "" && i.met(notice.StageFinal) == 0 {
		return field("why", `say why none is needed: watchward incident close `+i.Number+` --why "not significant, by the CSIRT's word"`, "no final report of %s has arrived", i.Number)
	}
	i.Closed, i.Why = now, why
	i.log(now, by, "closed")
	return nil
}

// open refuses to change what is closed.
func (i *Incident) open() error {
	if i.Closed == 0 {
		return nil
	}
	return field("number", "open another; its aware_at may be the same", "incident %s was closed %s", i.Number, at(i.Closed))
}

// log remembers who did what. The first change stays, the oldest of the others go.
func (i *Incident) log(now int64, by, what string) {
	i.Log = append(slices.Clone(i.Log), Change{now, by, what})
	if len(i.Log) > LogMax {
		i.Log = slices.Delete(i.Log, 1, 2)
	}
}

func clean(s string) string {
	return norm.NFC.String(strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n")))
}

func field(name, fix, format string, args ...any) error {
	return &notice.FieldError{Field: name, Reason: fmt.Sprintf(format, args...), Fix: fix}
}

func at(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
