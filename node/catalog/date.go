package catalog

import (
	"fmt"
	"strings"
	"time"
)

const (
	dateMonths   Key = "date.months"
	dateDay      Key = "date.day"
	dateShort    Key = "date.short"
	dateBrief    Key = "date.brief"
	spanDays     Key = "span.days"
	spanHours    Key = "span.hours"
	spanMinutes  Key = "span.minutes"
	spanHoursMin Key = "span.hours-minutes"
)

var dateTexts = texts{
	dateMonths: {
		en: "January February March April May June July August September October November December",
		de: "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
	},
	dateDay: {en: "%s %s %s", de: "%s. %s %s"},
	dateShort: {
		en: "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
		de: "Jan. Feb. März Apr. Mai Juni Juli Aug. Sept. Okt. Nov. Dez.",
	},
	dateBrief:    {en: "%s %s", de: "%s. %s"},
	spanDays:     {en: "%d days", de: "%d Tage"},
	spanHours:    {en: "%d h", de: "%d Std."},
	spanMinutes:  {en: "%d min", de: "%d Min."},
	spanHoursMin: {en: "%d h %d min", de: "%d Std. %d Min."},
}

// Day is the date of t in t's zone: "28 November 2026".
func (p *Printer) Day(t time.Time) string {
	month := strings.Fields(p.Text(dateMonths))[t.Month()-1]
	return p.Text(dateDay, fmt.Sprint(t.Day()), month, fmt.Sprint(t.Year()))
}

// Moment is t to the minute in its zone, which is named: "28 November 2026, 09:09 CET".
func (p *Printer) Moment(t time.Time) string {
	return p.Day(t) + t.Format(", 15:04 ") + p.zone(t)
}

// Short is Moment for tables: "2026-11-28 09:09 CET".
func (p *Printer) Short(t time.Time) string { return t.Format("2006-01-02 15:04 ") + p.zone(t) }

// Brief is t to the minute without its year: "28 Nov 09:09 UTC".
func (p *Printer) Brief(t time.Time) string { return p.brief(t) + t.Format(" 15:04 ") + p.zone(t) }

// BriefLocal is Brief without the zone, for who knows that it is the reader's.
func (p *Printer) BriefLocal(t time.Time) string { return p.brief(t) + t.Format(" 15:04") }

// BriefSeconds is Brief to the second.
func (p *Printer) BriefSeconds(t time.Time) string {
	return p.brief(t) + t.Format(" 15:04:05 ") + p.zone(t)
}

func (p *Printer) brief(t time.Time) string {
	return p.Text(dateBrief, fmt.Sprint(t.Day()), strings.Fields(p.Text(dateShort))[t.Month()-1])
}

// zone names the zone of t as people of the language do. What has no name is a difference
// from UTC.
func (p *Printer) zone(t time.Time) string {
	name := t.Format("MST")
	if strings.HasPrefix(name, "+") || strings.HasPrefix(name, "-") {
		return "UTC" + t.Format("-07:00")
	}
	if p.lang == "de" {
		switch name {
		case "CET":
			return "MEZ"
		case "CEST":
			return "MESZ"
		}
	}
	return name
}

// Span is how long something takes or is ago, whichever way it counts: minutes below an
// hour, hours and minutes below two days, then days.
func (p *Printer) Span(d time.Duration) string {
	d = d.Abs().Truncate(time.Minute)
	hours, minutes := int(d.Hours()), int(d.Minutes())%60
	switch {
	case hours >= 48:
		return p.Text(spanDays, hours/24)
	case hours == 0:
		return p.Text(spanMinutes, minutes)
	case minutes == 0:
		return p.Text(spanHours, hours)
	}
	return p.Text(spanHoursMin, hours, minutes)
}
