package logs_test

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/watchward/watchward/node/logs"
)

var update = flag.Bool("update", false, "write what is found into testdata")

// options are those of the transcripts: a hospital in Berlin.
func options(t testing.TB, format logs.Format) logs.Options {
	t.Helper()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return logs.Options{
		Format: format, Zone: berlin, Now: func() time.Time { return time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC) },
		Own: logs.Own{Networks: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/28")}, Names: []string{"hospital.example"}},
	}
}

// transcripts are the logs in testdata by their format.
func transcripts(t testing.TB) map[string]*txtar.Archive {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 11 {
		t.Fatalf("%d transcripts, %v", len(files), err)
	}
	all := map[string]*txtar.Archive{}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil || len(a.Files) != 2 || a.Files[0].Name != "log" || a.Files[1].Name != "want" {
			t.Fatalf("%s: %v", file, err)
		}
		all[file] = a
	}
	return all
}

func formatOf(t testing.TB, file string) logs.Format {
	t.Helper()
	name, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".txtar"), "-")
	f, err := logs.ParseFormat(name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// transcript says what is found in a log, a line each.
func transcript(t testing.TB, log []byte, o logs.Options) string {
	t.Helper()
	p := logs.New(o)
	var b strings.Builder
	number := 0
	for line := range strings.Lines(string(log)) {
		number++
		event, err := p.Line([]byte(line))
		if len(event.Observables) > 0 || !event.Time.IsZero() {
			at := "no time"
			if !event.Time.IsZero() {
				at = event.Time.UTC().Format(time.RFC3339Nano)
			}
			fmt.Fprintf(&b, "%d %s\n", number, at)
		}
		for _, o := range event.Observables {
			fmt.Fprintf(&b, "%d   %s %s", number, o.Role, o.Indicator)
			if at := line[o.Start:o.End]; at != o.Value {
				fmt.Fprintf(&b, " <- %s", at)
			}
			b.WriteString("\n")
		}
		if err != nil {
			fmt.Fprintf(&b, "%d   ! %v\n", number, err)
		}
	}
	return b.String()
}

// TestTranscripts reads each log as what it is, and again without being told.
func TestTranscripts(t *testing.T) {
	for file, a := range transcripts(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			format := formatOf(t, file)
			got := transcript(t, a.Files[0].Data, options(t, format))
			if *update {
				a.Files[1].Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := string(a.Files[1].Data); got != want {
				t.Errorf("read as %s: got\n%s\nwant\n%s", format, got, want)
			}
			if format == logs.Plain {
				return // it is what is left when no line tells: see TestAuto
			}
			if auto := transcript(t, a.Files[0].Data, options(t, logs.Auto)); auto != got {
				t.Errorf("read without being told: got\n%s\nwant\n%s", auto, got)
			}
		})
	}
}

// TestAuto tells a log by the first line that has a look, and leaves it at that.
func TestAuto(t *testing.T) {
	p := logs.New(options(t, logs.Auto))
	line := func(text string) string {
		event, _ := p.Line([]byte(text))
		return fmt.Sprintf("%s %d", p.Format(), len(event.Observables))
	}
	for _, c := range []struct{ text, want string }{
		{"", "auto 0"},
		{"started by evil.example", "auto 1"}, // plain so far
		{"Nov 27 10:00:00 gw dnsmasq[1]: query[A] evil.example from 10.0.0.5", "dnsmasq 1"},
		{"blocked evil.example", "dnsmasq 0"},
	} {
		if got := line(c.text); got != c.want {
			t.Errorf("%q: %s, want %s", c.text, got, c.want)
		}
	}
	p = logs.New(options(t, logs.Auto))
	for range 100 {
		line("blocked evil.example")
	}
	if got := line("Nov 27 10:00:00 gw dnsmasq[1]: query[A] evil.example from 10.0.0.5"); got != "plain 1" {
		t.Errorf("after 100 plain lines: %s", got)
	}
}

// TestMixed reads each line of a central syslog as what it is.
func TestMixed(t *testing.T) {
	var log, want strings.Builder
	for file, a := range transcripts(t) {
		if strings.Contains(file, "zeek.") || strings.Contains(file, "plain") || strings.Contains(file, "msdns") {
			continue // headers stand far from what they speak of
		}
		first, _, _ := strings.Cut(string(a.Files[0].Data), "\n")
		log.WriteString(first + "\n")
		want.WriteString(transcript(t, []byte(first), options(t, formatOf(t, file))))
	}
	strip := func(s string) string { // the numbers of lines
		var b strings.Builder
		for line := range strings.Lines(s) {
			_, rest, _ := strings.Cut(line, " ")
			b.WriteString(rest)
		}
		return b.String()
	}
	if got := transcript(t, []byte(log.String()), options(t, logs.Mixed)); strip(got) != strip(want.String()) {
		t.Errorf("got\n%s\nwant\n%s", got, want.String())
	}
}

func TestParseFormat(t *testing.T) {
	for f := logs.Auto; f <= logs.Squid; f++ {
		if got, err := logs.ParseFormat(strings.ToUpper(f.String())); err != nil || got != f {
			t.Errorf("%s gives %s, %v", f, got, err)
		}
	}
	if f, err := logs.ParseFormat(""); f != logs.Auto || err != nil {
		t.Errorf("nothing gives %s, %v", f, err)
	}
	if _, err := logs.ParseFormat("cisco"); err == nil || !strings.Contains(err.Error(), "choose auto, mixed, plain, suricata") {
		t.Errorf("cisco: %v", err)
	}
}

// TestOwn keeps what belongs to the hospital out, in every part a value can have.
func TestOwn(t *testing.T) {
	o := options(t, logs.Plain)
	o.Own.Networks = append(o.Own.Networks, netip.MustParsePrefix("2001:db8:5::/48"), netip.MustParsePrefix("::ffff:198.18.0.0/112"),
		netip.MustParsePrefix("198.51.100.0/25"))
	o.Own.Names = append(o.Own.Names, "Clinic.Example.")
	p := logs.New(o)
	for text, want := range map[string]string{
		"203.0.113.15":                                  "",
		"203.0.113.16":                                  "ipv4 203.0.113.16",
		"198.51.100.127":                                "",
		"::ffff:198.51.100.5":                           "",
		"::ffff:198.51.100.128":                         "ipv4 198.51.100.128",
		"2001:db8:5::1":                                 "",
		"2001:db8:6::1":                                 "ipv6 2001:db8:6::1",
		"http://203.0.113.2/a":                          "",
		"https://[2001:db8:5::2]:8443/a":                "",
		"http://www.hospital.example/a":                 "",
		"HOSPITAL.example":                              "",
		"pacs.clinic.example":                           "",
		"nothospital.example":                           "domain nothospital.example",
		"10.1.2.3 172.16.5.5 192.168.1.1 100.64.1.1":    "",
		"127.0.0.1 ::1 169.254.1.1 fe80::1 fd00::1":     "",
		"224.0.0.251 ff02::fb 255.255.255.255 0.0.0.0":  "",
		"server.lan wpad.local db.internal x.home.arpa": "",
		"http://10.0.0.1/a http://server.lan/b":         "",
		"co.uk com example":                             "",
	} {
		event, err := p.Line([]byte(text))
		got := ""
		for _, o := range event.Observables {
			got += o.Indicator.String()
		}
		if got != want || err != nil {
			t.Errorf("%s gives %q, %v, want %q", text, got, err, want)
		}
	}
}

// TestKinds reads the same text as things of several types, which what is
// remembered of it must not mix up.
func TestKinds(t *testing.T) {
	const hash = "e7d705a3286e19ea42f587b344ee6865"
	line := []byte(`{"event_type":"tls","tls":{"sni":"` + hash + `.evil.example","ja3":{"hash":"` + hash + `"}},"fileinfo":{"md5":"` + hash + `","filename":"` + hash + `"}}`)
	p := logs.New(options(t, logs.Suricata))
	for range 2 {
		event, err := p.Line(line)
		got := ""
		for _, o := range event.Observables {
			got += o.Role.String() + " " + o.Type.String() + "|"
		}
		if want := "host domain|client ja3|file md5|file filename|"; got != want || err != nil {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
}

// TestTime has the rules for stamps that say less than all.
func TestTime(t *testing.T) {
	now := time.Date(2027, 1, 1, 0, 30, 0, 0, time.UTC)
	for _, c := range []struct{ name, format, line, want string }{
		{"last year", "dnsmasq", "Dec 31 23:59:59 gw dnsmasq[1]: query[A] evil.example from 10.0.0.5", "2026-12-31T22:59:59Z"},
		{"this year", "dnsmasq", "Jan  1 01:10:00 gw dnsmasq[1]: query[A] evil.example from 10.0.0.5", "2027-01-01T00:10:00Z"},
		{"a clock ahead", "dnsmasq", "Jan  1 20:00:00 gw dnsmasq[1]: query[A] evil.example from 10.0.0.5", "2027-01-01T19:00:00Z"},
		{"not tomorrow", "dnsmasq", "Jan  3 20:00:00 gw dnsmasq[1]: query[A] evil.example from 10.0.0.5", "2026-01-03T19:00:00Z"},
		{"a leap day", "dnsmasq", "Feb 29 12:00:00 gw dnsmasq[1]: query[A] evil.example from 10.0.0.5", "2024-02-29T11:00:00Z"},
		{"no such day", "dnsmasq", "Feb 30 12:00:00 gw dnsmasq[1]: query[A] evil.example from 10.0.0.5", ""},
		{"with a year", "plain", "<13>Nov 27 2025 10:00:00 gw: evil.example", "2025-11-27T09:00:00Z"},
		{"summer", "plain", "2026-07-01 10:00:00 evil.example", "2026-07-01T08:00:00Z"},
		{"an offset", "plain", "2026-07-01T10:00:00-05:30 evil.example", "2026-07-01T15:30:00Z"},
		{"a leap second", "plain", "2016-12-31T23:59:60Z evil.example", "2017-01-01T00:00:00Z"},
		{"month 13", "plain", "2026-13-01T10:00:00Z evil.example", ""},
		{"milliseconds", "fortigate", "eventtime=1795770000123 logid=1 srcip=198.51.100.5", "2026-11-27T09:00:00.123Z"},
		{"seconds", "fortigate", "eventtime=1795770000 logid=1 srcip=198.51.100.5", "2026-11-27T09:00:00Z"},
		{"too many digits", "zeek", `{"ts":99999999999999999999,"uid":"C"}`, ""},
		{"American", "msdns", "11/27/2026 9:05:06 PM 0D84 PACKET  00 UDP Rcv 10.0.0.5 3a4f   Q [0001   D   NOERROR] A      (4)evil(7)example(0)", "2026-11-27T20:05:06Z"},
		{"American morning", "msdns", "2/3/2026 12:05:06 AM 0D84 PACKET  00 UDP Rcv 10.0.0.5 3a4f   Q [0001   D   NOERROR] A      (4)evil(7)example(0)", "2026-02-02T23:05:06Z"},
		{"French", "msdns", "02/03/2026 12:05:06 A1B2 PACKET  00 UDP Rcv 10.0.0.5 3a4f   Q [0001   D   NOERROR] A      (4)evil(7)example(0)", "2026-03-02T11:05:06Z"},
		{"Swedish", "msdns", "2026-03-02 12:05:06 A1B2 PACKET  00 UDP Rcv 10.0.0.5 3a4f   Q [0001   D   NOERROR] A      (4)evil(7)example(0)", "2026-03-02T11:05:06Z"},
	} {
		f, err := logs.ParseFormat(c.format)
		if err != nil {
			t.Fatal(err)
		}
		o := options(t, f)
		o.Now = func() time.Time { return now }
		event, _ := logs.New(o).Line([]byte(c.line))
		got := ""
		if !event.Time.IsZero() {
			got = event.Time.UTC().Format(time.RFC3339Nano)
		}
		if got != c.want {
			t.Errorf("%s: %s gives %s, want %s", c.name, c.line, got, c.want)
		}
	}
	// What one date has told counts for those that do not tell.
	p := logs.New(options(t, logs.MicrosoftDNS))
	const rest = " 0D84 PACKET  00 UDP Rcv 10.0.0.5 3a4f   Q [0001   D   NOERROR] A      (4)evil(7)example(0)"
	for _, date := range []string{"02/27/2026 12:00:00", "02/03/2026 12:00:00"} {
		if event, err := p.Line([]byte(date + rest)); err != nil || event.Time.Month() != time.February {
			t.Errorf("%s is %v, %v", date, event.Time, err)
		}
	}
}

// TestBounds reads what nobody means well with.
func TestBounds(t *testing.T) {
	many := strings.Builder{}
	for i := range 300 {
		fmt.Fprintf(&many, "a%d.evil.example ", i)
	}
	event, err := logs.New(options(t, logs.Plain)).Line([]byte(many.String()))
	if err != nil || len(event.Observables) != logs.ObservablesMax || event.Dropped != 44 {
		t.Errorf("%d observables, %d dropped, %v", len(event.Observables), event.Dropped, err)
	}
	long := strings.Repeat("x", logs.LineMax-20) + " in.evil.example beyond.evil.example"
	event, err = logs.New(options(t, logs.Plain)).Line([]byte(long))
	if err != nil || len(event.Observables) != 1 || event.Observables[0].Value != "in.evil.example" {
		t.Errorf("a long line gives %v, %v", event.Observables, err)
	}
	// Memory of a parser does not grow with what it reads: values are kept in a
	// fixed number of slots, and long ones not at all.
	p := logs.New(options(t, logs.Plain))
	line := []byte("198.51.100.7 evil.example http://evil.example/a 10.0.0.5 co.uk")
	if n := testing.AllocsPerRun(100, func() { _, _ = p.Line(line) }); n != 0 {
		t.Errorf("values seen before cost %v allocations", n)
	}
}

// TestRead reads a stream in pieces of every size, with lines of every kind.
func TestRead(t *testing.T) {
	var log strings.Builder
	log.WriteString("{\"event_type\":\"dns\",\"dns\":{\"rrname\":\"a.evil.example\"}}\r\n\n")
	log.WriteString("{\"event_type\":\"dns\",\"src_ip\":\"198.51.100.5\",\"x\":\"" + strings.Repeat("y", 3*logs.LineMax) + "\"}\n")
	for range 20 {
		log.WriteString("{\"event_type\n")
	}
	log.WriteString("restarted\n{\"event_type\":\"dns\",\"dns\":{\"rrname\":\"last.evil.example\"}}")
	want := "1 a.evil.example|3 198.51.100.5|25 last.evil.example|"
	for _, size := range []int{1, 7, 4096, 1 << 20} {
		got := ""
		tally, err := logs.New(options(t, logs.Suricata)).Read(pieces{strings.NewReader(log.String()), size},
			func(number int64, line []byte, e *logs.Event) error {
				got += fmt.Sprintf("%d %s|", number, e.Observables[0].Value)
				return nil
			})
		if err != nil || got != want {
			t.Errorf("pieces of %d: %s, %v", size, got, err)
		}
		if tally.Lines != 25 || tally.Events != 3 || tally.Observables != 3 || tally.Cut != 1 || tally.Broken != 20 || tally.Other != 1 {
			t.Errorf("pieces of %d: %+v", size, tally)
		}
		if len(tally.First) != 10 || tally.First[0].String() != "line 3: longer than 64 KiB: what is beyond was not looked at" ||
			tally.First[1].String() != "line 4: the JSON breaks off or is none" {
			t.Errorf("pieces of %d: %v", size, tally.First)
		}
	}
	stop := errors.New("stop")
	if _, err := logs.New(options(t, logs.Auto)).Read(strings.NewReader(log.String()), func(int64, []byte, *logs.Event) error { return stop }); err != stop {
		t.Errorf("an error of yield became %v", err)
	}
}

// pieces gives its reader's bytes in reads of at most size.
type pieces struct {
	r    *strings.Reader
	size int
}

func (p pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.size)]) }
