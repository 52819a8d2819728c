package incident

import (
	"slices"

	"github.com/watchward/watchward/node/notice"
)

// Evidence is what the house said itself in the span of an incident, as far as it may be
// reported: see Span.
type Evidence struct {
	Entity  string
	Contact []string

	Sightings  []notice.FiledSighting // any number, the last seen first
	Services   []notice.FiledService  // oldest first, as those below
	Links      []notice.FiledLink
	Assistance []notice.FiledAssistance
}

// valuesMax bounds the values of a draft in bytes, so that its texts have room.
const valuesMax = 12 << 10

// spanBefore is how far before the house became aware its own words count, where nobody
// knows when the incident began.
const spanBefore = 24 * 60 * 60 * 1000

// Span returns from when until when what the house said belongs to the incident.
func (i *Incident) Span(now int64) (from, until int64) {
	from, until = i.AwareAt-spanBefore, now
	if f := i.Facts; f.Began != 0 {
		from = min(f.Began, i.AwareAt)
	}
	if i.Facts.Handled != 0 {
		until = i.Facts.Handled
	}
	return from, until
}

// Draft makes a report of what is known now, and keeps it in the place of the last one
// of its stage. It is current, also if the clock was set back since the last change. It says what its stage asks for and no more. Errors are
// *notice.FieldError.
func (i *Incident) Draft(stage notice.Stage, e Evidence, now int64, by string) (notice.Filing, error) {
	if err := i.open(); err != nil {
		return notice.Filing{}, err
	}
	f := i.Facts
	filing := notice.Filing{
		Incident: i.Number, Stage: stage, AwareAt: i.AwareAt, Made: max(now, i.AwareAt), Title: i.Title, Entity: e.Entity, Contact: e.Contact,
		Malicious: f.Malicious, CrossBorder: f.CrossBorder, Description: f.Description, Began: f.Began,
	}
	for _, s := range i.Sent {
		if s.Failed == 0 {
			filing.Earlier = append(filing.Earlier, notice.FiledReport{Stage: s.Stage, At: s.At})
		}
	}
	if stage >= notice.StageNotification {
		filing.Severity, filing.Impact, filing.Measures = f.Severity, f.Impact, f.Measures
		filing.Services, filing.Links, filing.Assistance = last(e.Services), last(e.Links), last(e.Assistance)
		filing.Sightings, filing.More = room(e.Sightings)
		filing.Handled = f.Handled
	}
	if stage >= notice.StageProgress {
		filing.Cause = f.Cause
	}
	if stage == notice.StageFinal || f.CrossBorder == notice.WhetherYes && stage >= notice.StageNotification {
		filing.Borders = f.Borders
	}
	if err := filing.Check(); err != nil {
		return filing, err
	}
	i.Drafts = append(slices.DeleteFunc(slices.Clone(i.Drafts), func(d Draft) bool { return d.Filing.Stage == stage }), Draft{max(now, i.Changed), filing})
	i.log(now, by, "drafted "+stage.String())
	return filing, nil
}

// last keeps the newest that a filing has room for.
func last[T any](list []T) []T { return list[max(0, len(list)-notice.FiledMax):] }

// room keeps the sightings that a filing has room for, and counts the others.
func room(all []notice.FiledSighting) (kept []notice.FiledSighting, more uint32) {
	bytes := 0
	for _, s := range all {
		if bytes += len(s.Value) + len(s.Family); len(kept) == notice.FiledSightingMax || bytes > valuesMax {
			return kept, uint32(len(all) - len(kept))
		}
		kept = append(kept, s)
	}
	return kept, 0
}

// Drafted returns the last draft of a stage.
func (i *Incident) Drafted(stage notice.Stage) (Draft, bool) {
	for _, d := range i.Drafts {
		if d.Filing.Stage == stage {
			return d, true
		}
	}
	return Draft{}, false
}

// Current reports whether a draft says what is known still.
func (i *Incident) Current(d Draft) bool { return d.Made >= i.Changed }

// Ready returns the report of a stage that may be sent: what somebody could read, and
// that says what is known still. Errors are *notice.FieldError.
func (i *Incident) Ready(stage notice.Stage) (notice.Filing, error) {
	if err := i.open(); err != nil {
		return notice.Filing{}, err
	}
	d, found := i.Drafted(stage)
	make := "watchward incident draft " + i.Number + " " + stage.String() + " --out report.html, and read it"
	switch {
	case !found:
		return d.Filing, field("stage", make, "there is no draft of the %s", stage)
	case !i.Current(d):
		return d.Filing, field("stage", make, "the draft of the %s is older than what was changed at %s", stage, at(i.Changed))
	case len(i.Sent) >= SentMax:
		return d.Filing, field("stage", "close this incident, and open another", "%d reports were sent", SentMax)
	}
	return d.Filing, nil
}

// NoteSent remembers a report that left the house; the same notice once.
func (i *Incident) NoteSent(s Sent, now int64, by string) {
	if s.Notice != "" && slices.ContainsFunc(i.Sent, func(o Sent) bool { return o.Notice == s.Notice && o.Member == s.Member }) {
		return
	}
	i.Sent = append(slices.Clone(i.Sent), s)
	slices.SortStableFunc(i.Sent, func(a, b Sent) int { return int(min(max(a.At-b.At, -1), 1)) })
	i.log(now, by, "sent "+s.Stage.String()+" to "+s.To)
}

// NoteElsewhere remembers a report that was handed in another way: in a portal, by
// telephone. sent is when. Errors are *notice.FieldError.
func (i *Incident) NoteElsewhere(stage notice.Stage, where string, sent, now int64, by string) error {
	if err := i.open(); err != nil {
		return err
	}
	where = clean(where)
	if err := notice.CheckTitle("elsewhere", where); err != nil {
		return err
	}
	if sent < i.AwareAt || sent > now+skewMax.Milliseconds() {
		return field("at", "say when it was handed in", "%s is before the house became aware, or in the future", at(sent))
	}
	if len(i.Sent) >= SentMax {
		return field("stage", "close this incident, and open another", "%d reports were sent", SentMax)
	}
	i.NoteSent(Sent{Stage: stage, At: sent, To: where}, now, by)
	return nil
}

// NoteDelivery remembers what became of a report on its way, and says whether that is
// new.
func (i *Incident) NoteDelivery(notice, member string, delivered, failed int64) bool {
	for n, s := range i.Sent {
		if s.Notice != notice || s.Member != member || s.Delivered != 0 || s.Failed != 0 || delivered == 0 && failed == 0 {
			continue
		}
		i.Sent = slices.Clone(i.Sent)
		i.Sent[n].Delivered, i.Sent[n].Failed = delivered, failed
		what := "confirmed"
		if failed != 0 {
			what = "not taken"
		}
		i.log(max(delivered, failed), s.To, what+" "+s.Stage.String())
		return true
	}
	return false
}

// Unknown names what a report should say and does not know, by the fields of Update; the
// contact is of the profile.
func Unknown(f *notice.Filing) []string {
	var out []string
	for _, q := range []struct {
		name    string
		from    notice.Stage
		unknown bool
	}{
		{"malicious", notice.StageEarlyWarning, f.Malicious == 0}, {"cross_border", notice.StageEarlyWarning, f.CrossBorder == 0},
		{"description", notice.StageEarlyWarning, f.Description == ""},
		{"contact", notice.StageEarlyWarning, len(f.Contact) == 0},
		{"severity", notice.StageNotification, f.Severity == 0}, {"impact", notice.StageNotification, f.Impact == ""},
		{"measures", notice.StageProgress, f.Measures == ""}, {"cause", notice.StageFinal, f.Cause == ""},
		{"borders", notice.StageFinal, f.Borders == "" && f.CrossBorder != notice.WhetherNo},
	} {
		if q.unknown && f.Stage >= q.from {
			out = append(out, q.name)
		}
	}
	return out
}
