package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
)

// TestNextStep: what was sent waits for its confirmation, and is not drafted again; what
// failed is.
func TestNextStep(t *testing.T) {
	const draft, wait = "\nNext:  watchward incident draft 2026-1 early-warning --out report.html\n", "\nNext:  the %s waits until CSIRT North has confirmed it:  watchward incident show 2026-1\n"
	for name, c := range map[string]struct{ deadline, stage, sent, want string }{
		"none is sent": {api.DeadlineOpen, "", "", draft},
		"on its way":   {api.DeadlineSent, "early-warning", "waiting", fmt.Sprintf(wait, "early-warning")},
		"covered":      {api.DeadlineSent, "notification", "waiting", fmt.Sprintf(wait, "notification")},
		"overdue":      {api.DeadlineOverdue, "early-warning", "waiting", fmt.Sprintf(wait, "early-warning")},
		"failed":       {api.DeadlineOpen, "early-warning", "failed", draft},
	} {
		v := api.IncidentView{Number: "2026-1", Deadlines: []api.DeadlineView{{Stage: "early-warning", Due: 1, State: c.deadline}}}
		if c.sent != "" {
			v.Sent = []api.SentView{{Stage: c.stage, To: "CSIRT North", State: c.sent}}
		}
		var out strings.Builder
		showIncident(&out, v)
		if !strings.HasSuffix(out.String(), c.want) {
			t.Errorf("%s: %q, want %q", name, out.String(), c.want)
		}
	}
}

// TestTimesOnTheWall: a time that was once is taken, one that was twice or never is
// refused with how to say it.
func TestTimesOnTheWall(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skipf("SKIPPED: no time zones on this machine: %v", err)
	}
	for wall, want := range map[string]string{
		"2026-10-25T01:59": "2026-10-25T01:59:00+02:00",
		"2026-10-25T02:00": "2026-10-25T02:00:00+02:00 2026-10-25T02:00:00+01:00",
		"2026-10-25T02:59": "2026-10-25T02:59:00+02:00 2026-10-25T02:59:00+01:00",
		"2026-10-25T03:00": "2026-10-25T03:00:00+01:00",
		"2026-03-29T01:59": "2026-03-29T01:59:00+01:00",
		"2026-03-29T02:00": "", "2026-03-29T02:30": "",
		"2026-03-29T03:00": "2026-03-29T03:00:00+02:00",
		"2026-07-01T12:00": "2026-07-01T12:00:00+02:00",
	} {
		at, err := time.Parse("2006-01-02T15:04", wall)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range onTheWall(at, berlin) {
			got = append(got, a.Format(time.RFC3339))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", wall, got, want)
		}
	}
	local := time.Local
	time.Local = berlin
	defer func() { time.Local = local }()
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	if _, err := parseWhen("2026-10-25T02:30", now, false); err == nil || !strings.Contains(err.Error(), "write it as 2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00") {
		t.Errorf("twice: %v", err)
	}
	if _, err := parseWhen("2026-03-29T02:30", now, false); err == nil || !strings.Contains(err.Error(), "never was") {
		t.Errorf("never: %v", err)
	}
	if got, err := parseWhen("2026-10-25T02:30:00+01:00", now, false); err != nil || got.UTC().Hour() != 1 {
		t.Errorf("with an offset: %v, %v", got, err)
	}
}
