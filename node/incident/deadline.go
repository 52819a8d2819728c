package incident

import (
	"time"

	"github.com/watchward/watchward/node/notice"
)

// Times of Art. 23(4). Hours are counted in UTC, so that a change to summer time neither
// gives nor takes one.
const (
	earlyWarningIn = 24 * time.Hour
	notificationIn = 72 * time.Hour
)

// A Deadline is a report that is due.
type Deadline struct {
	Stage   notice.Stage
	Due     int64 // ms; 0 = one month after the incident is handled
	Met     int64 // when it arrived; 0 = not yet
	Sent    int64 // when it was sent that has not arrived yet; 0 = it was not
	Guessed bool  // Due counts from when the notification is due: it was not sent yet
}

// Deadlines returns what is due in the order of the stages. Who became aware of an
// incident owes an early warning within 24 hours (a), a notification within 72 (b), and
// one month after the notification a final report (d), or, where the incident goes on
// then, a progress report, and the final one a month after it was handled (e). A
// progress report may also be asked for (c).
func (i *Incident) Deadlines() []Deadline {
	f := i.Facts
	month := Deadline{Stage: notice.StageFinal}
	base := i.firstSent(notice.StageNotification)
	if base == 0 {
		base, month.Guessed = i.AwareAt+notificationIn.Milliseconds(), true
	}
	month.Due = addMonth(base)
	list := []Deadline{
		{Stage: notice.StageEarlyWarning, Due: i.AwareAt + earlyWarningIn.Milliseconds()},
		{Stage: notice.StageNotification, Due: i.AwareAt + notificationIn.Milliseconds()},
	}
	if i.ProgressBy != 0 {
		list = append(list, i.progress(i.ProgressBy, i.ProgressAsked))
	}
	if i.met(notice.StageFinal) == 0 && (f.Handled == 0 || f.Handled > month.Due) {
		p := i.progress(month.Due, i.AwareAt)
		p.Guessed = month.Guessed
		list = append(list, p)
		month.Due, month.Guessed = 0, false
		if f.Handled != 0 {
			month.Due = addMonth(f.Handled)
		}
	}
	list = append(list, month)
	for n := range list {
		if d := &list[n]; d.Stage != notice.StageProgress {
			d.Met, d.Sent = i.met(d.Stage), i.underWay(d.Stage)
		}
	}
	return list
}

// progress is met by a progress report that was sent since a time.
func (i *Incident) progress(due, since int64) Deadline {
	d := Deadline{Stage: notice.StageProgress, Due: due}
	for _, s := range i.Sent {
		switch {
		case s.Stage != notice.StageProgress || s.At < since || s.Failed != 0:
		case s.arrived() == 0:
			d.Sent = s.At
		case d.Met == 0:
			d.Met = s.arrived()
		}
	}
	return d
}

// met is when a report arrived, or one that says more: who notifies within 24 hours has
// warned.
func (i *Incident) met(stage notice.Stage) (first int64) {
	for _, s := range i.Sent {
		if covers(s.Stage, stage) && s.arrived() != 0 && (first == 0 || s.arrived() < first) {
			first = s.arrived()
		}
	}
	return first
}

// underWay is when a report was sent last that has not arrived.
func (i *Incident) underWay(stage notice.Stage) (last int64) {
	for _, s := range i.Sent {
		if covers(s.Stage, stage) && s.arrived() == 0 && s.Failed == 0 {
			last = s.At
		}
	}
	return last
}

// firstSent is when a report was sent first, whether or not it has arrived yet: the
// month that follows begins no later than that.
func (i *Incident) firstSent(stage notice.Stage) int64 {
	for _, s := range i.Sent {
		if covers(s.Stage, stage) && s.Failed == 0 {
			return s.At
		}
	}
	return 0
}

func covers(sent, stage notice.Stage) bool {
	return sent >= stage && (sent == stage || sent != notice.StageProgress)
}

func (s *Sent) arrived() int64 {
	if s.Member == "" {
		return s.At
	}
	return s.Delivered
}

// addMonth is the same time of the same day of the next month, or of its last day where
// that is sooner, in UTC.
func addMonth(ms int64) int64 {
	t := time.UnixMilli(ms).UTC()
	next := t.AddDate(0, 1, 0)
	if next.Day() != t.Day() { // it ran over: 31 January + 1 month
		next = next.AddDate(0, 0, -next.Day())
	}
	return next.UnixMilli()
}

// leads are how long before a report is due people are told.
var leads = map[notice.Stage]time.Duration{
	notice.StageEarlyWarning: 4 * time.Hour, notice.StageNotification: 12 * time.Hour,
	notice.StageProgress: 24 * time.Hour, notice.StageFinal: 72 * time.Hour,
}

// An Alarm is a deadline that somebody should know of now.
type Alarm struct {
	Deadline
	Overdue bool // else it comes
}

// Alarms returns the deadlines that are not met, and past or near at a time (ms).
func (i *Incident) Alarms(now int64) []Alarm {
	if i.Closed != 0 {
		return nil
	}
	var out []Alarm
	for _, d := range i.Deadlines() {
		if d.Met == 0 && d.Due != 0 && !d.Guessed && now >= d.Due-leads[d.Stage].Milliseconds() {
			out = append(out, Alarm{d, now > d.Due})
		}
	}
	return out
}
