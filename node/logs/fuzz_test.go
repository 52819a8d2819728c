package logs_test

import (
	"bytes"
	"testing"

	"github.com/watchward/watchward/node/logs"
	"github.com/watchward/watchward/node/notice"
)

// fuzz feeds lines to one parser, which remembers headers and values, and checks
// what holds for any line of any format.
func fuzz(f *testing.F, format logs.Format) {
	for file, a := range transcripts(f) {
		if formatOf(f, file) == format || format == logs.Auto || format == logs.Mixed {
			f.Add(a.Files[0].Data)
		}
	}
	f.Fuzz(func(t *testing.T, log []byte) {
		p, again := logs.New(options(t, format)), logs.New(options(t, format))
		for line := range bytes.Lines(log) {
			event, err := p.Line(line)
			checkEvent(t, line, event)
			if format == logs.Auto {
				continue
			}
			// What follows a line in its buffer has no part in it.
			padded := append(bytes.Clone(line), `","rrname":"evil.example"}`...)
			other, otherErr := again.Line(padded[:len(line)])
			if len(other.Observables) != len(event.Observables) || otherErr != err {
				t.Errorf("%q gives %v, %v, and %v, %v in a larger buffer", line, event.Observables, err, other.Observables, otherErr)
			}
			checkEvent(t, padded[:len(line)], other)
		}
	})
}

func checkEvent(t *testing.T, line []byte, event *logs.Event) {
	t.Helper()
	if len(event.Observables) > logs.ObservablesMax {
		t.Errorf("%d observables", len(event.Observables))
	}
	for _, o := range event.Observables {
		if o.Role < logs.RoleSource || o.Role > logs.RoleText || o.Start < 0 || o.Start >= o.End || o.End > len(line) {
			t.Errorf("%q: %s %s at %d to %d", line, o.Role, o.Indicator, o.Start, o.End)
		}
		if got, err := notice.Canonical(o.Type, o.Value, notice.Options{}); err != nil || got != o.Indicator {
			t.Errorf("%q: %s is not canonical: %v, %v", line, o.Indicator, got, err)
		}
	}
}

func FuzzAuto(f *testing.F)         { fuzz(f, logs.Auto) }
func FuzzMixed(f *testing.F)        { fuzz(f, logs.Mixed) }
func FuzzPlain(f *testing.F)        { fuzz(f, logs.Plain) }
func FuzzSuricata(f *testing.F)     { fuzz(f, logs.Suricata) }
func FuzzZeek(f *testing.F)         { fuzz(f, logs.Zeek) }
func FuzzDnsmasq(f *testing.F)      { fuzz(f, logs.Dnsmasq) }
func FuzzUnbound(f *testing.F)      { fuzz(f, logs.Unbound) }
func FuzzBIND(f *testing.F)         { fuzz(f, logs.BIND) }
func FuzzMicrosoftDNS(f *testing.F) { fuzz(f, logs.MicrosoftDNS) }
func FuzzFortiGate(f *testing.F)    { fuzz(f, logs.FortiGate) }
func FuzzPANOS(f *testing.F)        { fuzz(f, logs.PANOS) }
func FuzzSophos(f *testing.F)       { fuzz(f, logs.Sophos) }
func FuzzSquid(f *testing.F)        { fuzz(f, logs.Squid) }
