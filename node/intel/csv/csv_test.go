package csv_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/csv"
	"github.com/watchward/watchward/node/intel/inteltest"
	"github.com/watchward/watchward/node/notice"
)

// read returns what is found as "line 2: ipv4 198.51.100.7", "line 3: REFUSED reason"
// and "line 4: SKIPPED reason".
func read(file string, o csv.Options) (out []string, found []intel.Found, err error) {
	err = csv.Read(strings.NewReader(file), o, func(f intel.Found) error {
		found = append(found, f)
		switch {
		case f.Skipped:
			out = append(out, f.Place+": SKIPPED "+f.Reason)
		case f.Notice == nil:
			out = append(out, f.Place+": REFUSED "+f.Reason)
		default:
			out = append(out, f.Place+": "+f.Notice.Indicator.String())
		}
		return nil
	})
	return out, found, err
}

const sha256 = "d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592"

func TestRead(t *testing.T) {
	md5 := strings.Repeat("a1", 16)
	for name, c := range map[string]struct {
		file    string
		o       csv.Options
		mapping string
		want    []string // "*" stands for the rest
	}{
		"header": {"Indicator,Type\nevil.example,domain\n198.51.100.7,ip\n", csv.Options{}, "value=1 (Indicator), type=2 (Type)",
			[]string{"line 2: domain evil.example", "line 3: ipv4 198.51.100.7"}},
		"semicolons, byte order mark, CRLF": {"\xef\xbb\xbfWert;Typ;Bemerkung\r\nevil[.]example;domain;\"a; b\"\r\n", csv.Options{}, "value=1 (Wert), type=2 (Typ)",
			[]string{"line 2: domain evil.example"}},
		"Excel's delimiter": {"\xef\xbb\xbfsep=;\r\nWert;Bemerkung, kurz\r\nevil.example;a, b\r\nb.example;d, e\r\n", csv.Options{}, "value=1 (Wert)",
			[]string{"line 3: domain evil.example", "line 4: domain b.example"}},
		"German": {"Typ;Wert;Zuerst gesehen;Zuletzt gesehen;Quelle;Beschreibung\nDomäne;evil.example;01.11.2026;02.11.2026;BSI;x\nIP-Adresse;198.51.100.7;;;;\nDatei-Hash;" + md5 + ";;;;\nE-Mail-Adresse;a@evil.example;;;;\n", csv.Options{},
			"type=1 (Typ), value=2 (Wert), first_seen=3 (Zuerst gesehen), last_seen=4 (Zuletzt gesehen), source=5 (Quelle)",
			[]string{"line 2: domain evil.example", "line 3: ipv4 198.51.100.7", "line 4: md5 " + md5, "line 5: email a@evil.example"}},
		"German, a column a type": {"Datum,Domäne,IP-Adresse,Prüfsumme\n2026-11-01,evil.example,198.51.100.7," + md5 + "\n", csv.Options{}, "first_seen=1 (Datum), domain=2 (Domäne), ip=3 (IP-Adresse), hash=4 (Prüfsumme)",
			[]string{"line 2, column 2: domain evil.example", "line 2, column 3: ipv4 198.51.100.7", "line 2, column 4: md5 " + md5}},
		"tabs with empty cells": {"ioc\tmalware\ttlp\nevil.example\t\tgreen\n", csv.Options{}, "value=1 (ioc), family=2 (malware), tlp=3 (tlp)",
			[]string{"line 2: domain evil.example"}},
		"bars": {"a|domain\nx|evil.example\n", csv.Options{}, "domain=2 (domain)", []string{"line 2: domain evil.example"}},
		"several values a row": {"ip,domain,md5,sha256\n198.51.100.7,evil.example," + md5 + "," + sha256 + "\n,-,none,n/a\n", csv.Options{}, "ip=1 (ip), domain=2 (domain), md5=3 (md5), sha256=4 (sha256)",
			[]string{"line 2, column 1: ipv4 198.51.100.7", "line 2, column 2: domain evil.example", "line 2, column 3: md5 " + md5, "line 2, column 4: sha256 " + sha256}},
		"context columns": {"ip,asn,email,filename\n198.51.100.7,AS64496,a@evil.example,x.exe\n", csv.Options{}, "ip=1 (ip)", []string{"line 2: ipv4 198.51.100.7"}},
		"nothing else":    {"asn,country\nAS64496,DE\n", csv.Options{}, "asn=1 (asn)", []string{"line 2: asn AS64496"}},
		"commented header": {"# a feed\n# \"first_seen_utc\",\"dst_ip\",\"malware\"\n\"2026-11-01 10:00:00\",\"198.51.100.7\",\"QakBot\"\n", csv.Options{}, "first_seen=1 (first_seen_utc), ip=2 (dst_ip), family=3 (malware)",
			[]string{"line 3: ipv4 198.51.100.7"}},
		"Zeek": {"#fields\tindicator\tindicator_type\tmeta.desc\nevil.example\tIntel::DOMAIN\tx\n", csv.Options{}, "value=1 (indicator), type=2 (indicator_type)",
			[]string{"line 2: domain evil.example"}},
		"no header": {"2026-11-01,1,198.51.100.7:443,ip:port\n2026-11-01,2,evil.example,domain\n2026-11-01,3,b.example,domain\n", csv.Options{}, "value=3, type=4",
			[]string{"line 1: ipv4 198.51.100.7", "line 2: domain evil.example", "line 3: domain b.example"}},
		"told by number":          {"evil.example,mutex\n", csv.Options{Columns: "mutex=1", NoHeader: true}, "mutex=1", []string{"line 1: mutex evil.example"}},
		"told by name":            {"what,Which Kind\nevil.example,domain\n", csv.Options{Columns: "value=what,type=which kind"}, "value=1 (what), type=2 (Which Kind)", []string{"line 2: domain evil.example"}},
		"told against the header": {"ioc,ip\nevil.example,198.51.100.7\n", csv.Options{Columns: "ip=2"}, "ip=2 (ip)", []string{"line 2: ipv4 198.51.100.7"}},
		"multi-line cells":        {"comment,ioc\n\"two\nlines \"\"q\"\"\",evil.example\nx,b.example\n", csv.Options{}, "value=2 (ioc)", []string{"line 2: domain evil.example", "line 4: domain b.example"}},
		"ragged": {"ioc,x,y\nevil.example\nb.example,1,2,3\nc.example,1,2,,\n", csv.Options{}, "value=1 (ioc)",
			[]string{"line 2: domain evil.example", "line 3, column 4: REFUSED the row has 4 columns where the table has 3*", "line 4: domain c.example"}},
		"bad quotes": {"ioc,x\nev\"il.example,1\nb.example,2\n", csv.Options{}, "value=1 (ioc)",
			[]string{"line 2, column 3: REFUSED a quote in a cell*", "line 3: domain b.example"}},
		"bad cells": {"ioc,type,first_seen,tlp\nevil.example,domain,0000-01-01,\nb.example,domain,99999-01-01,\nc.example,domain,,pink\nd.example,email-dst,,\nd.example,c2,,\ne.example,ip,,\nco.uk,domain,,\n10.0.0.1,ip,,\n", csv.Options{}, "value=1 (ioc), type=2 (type), first_seen=3 (first_seen), tlp=4 (tlp)",
			[]string{"line 2, column 3 (first_seen): REFUSED \"0000-01-01\" is not a time*", "line 3, column 3 (first_seen): REFUSED \"99999-01-01\" is not a time*",
				"line 4, column 4 (tlp): REFUSED pink is not a marking*", "line 5, column 1 (ioc): REFUSED a recipient is a victim*", "line 6, column 1 (ioc): REFUSED the type c2 is no type*",
				"line 7, column 1 (ioc): REFUSED e.example is not of the type ip*", "line 8, column 1 (ioc): REFUSED co.uk is a public suffix*", "line 9, column 1 (ioc): REFUSED 10.0.0.1 is a private*"}},
		"MISP's own CSV": {"uuid,event_id,category,type,value,comment,to_ids,date\nx,1,y,filename|md5,a.exe|" + md5 + ",,1,20261101\nx,1,y,ip-dst,198.51.100.7,,0,20261101\n", csv.Options{}, "id=1 (uuid), type=4 (type), value=5 (value), to_ids=7 (to_ids)",
			[]string{"line 2, column 5 (value): SKIPPED harmless files*", "line 2: md5 " + md5, "line 3, column 5 (value): SKIPPED not marked for detection*"}},
		"types that are none": {"type,ioc\nphishing,evil.example\nc2,b.example\n", csv.Options{}, "value=2 (ioc)", []string{"line 2: domain evil.example", "line 3: domain b.example"}},
		"comments":            {"ioc,x\n# not a row\nevil.example,1\n#\"x\nb.example,2", csv.Options{}, "value=1 (ioc)", []string{"line 3: domain evil.example", "line 5: domain b.example"}},
		"kinds": {"kind,value,first_seen,reason\nsighting,evil.example,2026-11-01,\nsighting,b.example,,\ndispute,c.example,,ours\nretraction,d.example,,\n", csv.Options{}, "kind=1 (kind), value=2 (value), first_seen=3 (first_seen)",
			[]string{"line 2: domain evil.example", "line 3: domain b.example", "line 4, column 2 (value): REFUSED a dispute*", "line 5, column 2 (value): REFUSED a retraction*"}},
	} {
		got := ""
		c.o.Mapped = func(m string) { got = m }
		out, found, err := read(c.file, c.o)
		same := slices.EqualFunc(out, c.want, func(g, w string) bool {
			if before, ok := strings.CutSuffix(w, "*"); ok {
				return strings.HasPrefix(g, before)
			}
			return g == w
		})
		if err != nil || !same || got != c.mapping {
			t.Errorf("%s: %v, columns %q\n got %q\nwant %q", name, err, got, out, c.want)
		}
		for _, f := range found {
			if f.Notice != nil {
				inteltest.MustEncode(t, f.Notice)
			}
		}
	}
}

func TestFields(t *testing.T) {
	file := "ioc,first_seen,last_seen,valid_until,tlp,malware,tool,technique,cve,source,id,comment\n" +
		"evil.example,2026-11-01,01.11.2026 12:30,1800000000,amber,QakBot,Cobalt Strike,t1059.001,cve-2021-44228,Ministry,7,x\n" +
		"b.example,,2026-11-01 10:00:00 UTC,1800000000000,,None,,PowerShell,many,,,handle as TLP:RED please\n"
	_, found, err := read("# TLP:GREEN\n"+file, csv.Options{})
	if err != nil || len(found) != 2 {
		t.Fatalf("%+v, %v", found, err)
	}
	n := found[0].Notice
	if *n.Context != (notice.Context{Family: "QakBot", Tool: "Cobalt Strike", Technique: "T1059.001", CVE: "CVE-2021-44228"}) ||
		*n.Origin != (notice.Origin{Source: "csv:Ministry", ID: "7", TLP: notice.TLPAmber}) || found[0].TLP != notice.TLPAmber ||
		n.FirstSeen != 1793491200000 || n.LastSeen != 1793536200000 || n.ValidUntil != 1800000000000 {
		t.Errorf("%+v %+v %+v", n, n.Context, n.Origin)
	}
	n = found[1].Notice
	if n.Context != nil || *n.Origin != (notice.Origin{Source: "csv", TLP: notice.TLPRed}) || n.FirstSeen != n.LastSeen || n.ValidUntil != 1800000000000 {
		t.Errorf("%+v %+v %+v", n, n.Context, n.Origin)
	}
}

// A marking anywhere in the file counts from there on, in its start for all.
func TestMarkings(t *testing.T) {
	late := "ioc,x\n" + strings.Repeat("evil.example,1\n", 10_000) + "# TLP:RED\nb.example,2\n"
	_, found, err := read(late, csv.Options{})
	if err != nil || len(found) != 10_001 || found[0].TLP != 0 || found[10_000].TLP != notice.TLPRed {
		t.Errorf("%d, %v", len(found), err)
	}
	_, found, _ = read("# TLP:AMBER\nioc,tlp\nevil.example,green\n", csv.Options{})
	if len(found) != 1 || found[0].TLP != notice.TLPAmber {
		t.Errorf("a row loosens the file's marking: %+v", found)
	}
	_, found, _ = read("ioc,x\nevil.example,1\n# TLP:RED\n", csv.Options{})
	if len(found) != 1 || found[0].TLP != notice.TLPRed {
		t.Errorf("%+v", found)
	}
}

// TestMarkingColumns: a column of markings is found by many names and by what
// is in it, and a word in it that is none is never passed over.
func TestMarkingColumns(t *testing.T) {
	for name, c := range map[string]struct {
		file, mapping string
		want          []string
	}{
		"German":                 {"ioc;Einstufung\na.example;bernstein\nb.example;grün\nc.example;rot\nd.example;weiß\ne.example;\n", "value=1 (ioc), tlp=2 (Einstufung)", []string{"AMBER", "GREEN", "RED", "CLEAR", ` ? "" (line 6, column 2 (Einstufung): empty, and other rows have one)`}},
		"one that is none":       {"ioc;Ampel\na.example;rot\nb.example;gelb\nc.example;rot\n", "value=1 (ioc), tlp=2 (Ampel)", []string{"RED", "REFUSED line 3, column 2 (Ampel): gelb is not a marking*leave the column out with --columns", "RED"}},
		"unknown":                {"ioc,tlp\na.example,unknown\nb.example,n/a\n", "value=1 (ioc), tlp=2 (tlp)", []string{"REFUSED line 2, column 2 (tlp): unknown is not a marking*", ` ? "" (line 3, column 2 (tlp): empty, and other rows have one)`}},
		"TLP in its name":        {"ioc,Handling (TLP-Stufe)\na.example,yellow\nb.example,TLP AMBER STRICT\n", "value=1 (ioc), tlp=2 (Handling (TLP-Stufe))", []string{"REFUSED line 2, column 2 (Handling (TLP-Stufe)): yellow is not*", "AMBER+STRICT"}},
		"an unknown name":        {"ioc,Wer darf\na.example,TLP:AMBER\nb.example,\nc.example,RED\n", "value=1 (ioc), tlp=2 (Wer darf)", []string{"AMBER", ` ? "" (line 3, column 2 (Wer darf): empty, and other rows have one)`, "RED"}},
		"no name":                {"ioc,\na.example,AMBER\n", "value=1 (ioc), tlp=2 ()", []string{"AMBER"}},
		"no header":              {"a.example,AMBER\nb.example,bernstein\nc.example,pink\n", "value=1, tlp=2", []string{"AMBER", "AMBER", "REFUSED line 3, column 2: pink is not*"}},
		"two":                    {"ioc,tlp,Weitergabe\na.example,green,AMBER\n", "value=1 (ioc), tlp=2 (tlp), tlp=3 (Weitergabe)", []string{"AMBER"}},
		"values of unknown name": {"Adresse,Einstufung\n198.51.100.7,AMBER\n", "value=1 (Adresse), tlp=2 (Einstufung)", []string{"AMBER"}},
		"a remark":               {"ioc,tlp\na.example,\"TLP:AMBER, for us\"\n", "value=1 (ioc), tlp=2 (tlp)", []string{"AMBER"}},
		"MISP's distribution": {"ioc,distribution\na.example,Your organisation only\nb.example,\nc.example,amber\n", "value=1 (ioc), sharing=2 (distribution: what is not TLP in it needs --tlp to be shared)",
			[]string{` ? "Your organisation only" (line 2, column 2 (distribution))`, ` ? "" (line 3, column 2 (distribution): empty, and other rows have one)`, "AMBER"}},
		"beside a marking": {"ioc,tlp,classification\na.example,green,phishing\nb.example,,c2\n", "value=1 (ioc), tlp=2 (tlp), sharing=3 (classification: what is not TLP in it needs --tlp to be shared)", []string{"GREEN", ` ? "c2" (line 3, column 3 (classification))`}},
		"two that are not understood": {"ioc,distribution,Freigabe\na.example,,nur intern\n", "value=1 (ioc), sharing=2 (distribution: what is not TLP in it needs --tlp to be shared), sharing=3 (Freigabe: what is not TLP in it needs --tlp to be shared)",
			[]string{` ? "nur intern" (line 2, column 3 (Freigabe))`}},
		"Markdown below a title": {"# Report\n| IOC | TLP |\n|:----|-----|\n| a.example | AMBER |\n| b.example | gelb |\n", "value=2 (IOC), tlp=3 (TLP)", []string{"AMBER", "REFUSED line 5, column 3 (TLP): gelb is not*"}},
		"a title": {"Ministerium fuer Gesundheit;;\nWert;Typ;Einstufung\na.example;Domain;Rot\nb.example;Domain;Gelb\n", `value=1 (Wert), type=2 (Typ), sharing=3 (Einstufung: what is not TLP in it needs --tlp to be shared); 1 in front of the header passed over: "Ministerium fuer Gesundheit"`,
			[]string{"RED", ` ? "Gelb" (line 4, column 3 (Einstufung))`}},
		"titles of one cell":   {"Lagebild, Teil 2\nTLP:AMBER\n\nWert;Typ\na.example;Domain\n", `value=1 (Wert), type=2 (Typ); 2 in front of the header passed over: "Lagebild, Teil 2"`, []string{"AMBER"}},
		"a marking as a title": {"Einstufung;Rot;;\nWert;Typ;Datum;Quelle\na.example;Domain;;\n", `value=1 (Wert), type=2 (Typ), first_seen=3 (Datum), source=4 (Quelle); 1 in front of the header passed over: "Einstufung | Rot"`, []string{"RED"}},
		"a footer": {"Wert;Typ;Einstufung\na.example;Domain;Rot\nStand: 26.11.2026\n", "value=1 (Wert), type=2 (Typ), tlp=3 (Einstufung)",
			[]string{"RED", "REFUSED line 3: the row has 1 of the table's 3 columns*"}},
		"a footer that marks": {"Wert;Typ;Quelle\na.example;Domain;x\nTLP:AMBER\nb.example;Domain;x\n", "value=1 (Wert), type=2 (Typ), source=3 (Quelle)", []string{"", "AMBER"}},
		"cut off":             {"Wert;Typ;Einstufung\na.example;Domain;Rot\nb.example;Dom", "value=1 (Wert), type=2 (Typ), tlp=3 (Einstufung)", []string{"RED", "REFUSED line 3: the row has 2 of the table's 3 columns*"}},
		"cut off in a value":  {"Wert;Typ;Quelle\na.example;Domain;x\nb.exam", "value=1 (Wert), type=2 (Typ), source=3 (Quelle)", []string{"", "REFUSED line 3: the row has 1 of the table's 3 columns*"}},
		"a delimiter in a remark": {"Wert;Bemerkung;Einstufung\na.example;x;Rot\nb.example;x; y;Gruen\n", "value=1 (Wert), sharing=3 (Einstufung: what is not TLP in it needs --tlp to be shared)",
			[]string{"RED", "REFUSED line 3, column 4: the row has 4 columns where the table has 3*"}},
		"all that together": {"Ministerium;;\nWert;Bemerkung;Einstufung\na.example;x;Rot\nb.example;x; y;Rot\nc.example\nStand: heute\n", `value=1 (Wert), sharing=3 (Einstufung: what is not TLP in it needs --tlp to be shared); 1 in front of the header passed over: "Ministerium"`,
			[]string{"RED", "REFUSED line 4, column 4*", "REFUSED line 5*", "REFUSED line 6*"}},
		"a marking that is missing": {"ioc,tlp\na.example,\nb.example,green\nc.example,-\n", "value=1 (ioc), tlp=2 (tlp)",
			[]string{` ? "" (line 2, column 2 (tlp): empty, and other rows have one)`, "GREEN", ` ? "" (line 4, column 2 (tlp): empty, and other rows have one)`}},
		"no row has one":                   {"ioc,tlp\na.example,\nb.example,\n", "value=1 (ioc), tlp=2 (tlp)", []string{"", ""}},
		"missing under the marking of all": {"# TLP:GREEN\nioc,tlp\na.example,\nb.example,amber\n", "value=1 (ioc), tlp=2 (tlp)", []string{"GREEN", "AMBER"}},
		"severity":                         {"ioc,severity\na.example,green\nb.example,red\n", "value=1 (ioc)", []string{"", ""}},
		"a comment that is no":             {"# TLP:YELLOW\nioc,x\na.example,1\n", "value=1 (ioc)", []string{` ? "TLP:YELLOW" (line 1)`}},
		"a cell":                           {"ioc,x\na.example,\"see TLP:YELLOW\"\nb.example,tlp green\n", "value=1 (ioc)", []string{` ? "TLP:YELLOW" (line 2, column 2 (x))`, "GREEN"}},
		"a comment over a list":            {"# TLP:AMBER, from a friend\na.example,1,x\nb.example,2,y\nc.example,3,z\n", "value=1", []string{"AMBER", "AMBER", "AMBER"}},
	} {
		mapping := ""
		_, found, err := read(c.file, csv.Options{Mapped: func(m string) { mapping = m }})
		var got []string
		for _, f := range found {
			line := f.TLP.String()
			if f.Unclear != "" {
				line += " ? " + f.Unclear
			}
			if f.Reason != "" {
				line = "REFUSED " + f.Place + ": " + f.Reason
			}
			got = append(got, line)
		}
		same := slices.EqualFunc(got, c.want, func(g, w string) bool {
			before, after, cut := strings.Cut(w, "*")
			return g == w || cut && strings.HasPrefix(g, before) && strings.HasSuffix(g, after)
		})
		if err != nil || !same || mapping != c.mapping || !csv.Sniff([]byte(c.file)) {
			t.Errorf("%s: %v, sniffed %v, columns %q, want %q\n got %q\nwant %q", name, err, csv.Sniff([]byte(c.file)), mapping, c.mapping, got, c.want)
		}
	}
	// The first marking of a column may stand far below: then it is the whole that is unclear.
	whole := ""
	_, _, err := read("ioc,tlp\n"+strings.Repeat("evil.example,\n", 100)+"b.example,amber\n", csv.Options{Marked: func(m intel.Marks) { whole = m.Unclear }})
	if err != nil || whole != `"" (line 2, column 2 (tlp): empty, and other rows have one)` {
		t.Errorf("%v, %q", err, whole)
	}
	// A line below the start of the file is named by its number.
	_, found, _ := read("ioc,x\n"+strings.Repeat("evil.example,1\n", 10_000)+"# TLP:YELLOW\nb.example,2\n", csv.Options{})
	if len(found) != 10_001 || found[0].Unclear != "" || found[10_000].Unclear != `"TLP:YELLOW" (line 10002)` {
		t.Errorf("%d, %q", len(found), found[len(found)-1].Unclear)
	}
}

func TestSniff(t *testing.T) {
	for file, want := range map[string]bool{
		"ioc,type\nevil.example,domain\n":                                  true,
		"Wert;Typ\nevil.example;domain\n":                                  true,
		"1,evil.example,x\n2,b.example,y\n3,c.example,z\n":                 true,
		"2026-11-01;evil.example\n2026-11-01;b.example\n2026-11-02;c.de\n": true,
		"":                                     false,
		"evil.example\nb.example\nc.example\n": false,
		"evil.example,seen in May\nb.example;x\n":                           false,
		"evil.example,bad\nb.example,bad\nc.example,bad\n":                  false, // "value,comment"
		"domain,evil.example\nip,198.51.100.7\nurl,http://a.example/\n":     false, // "type,value"
		"0.0.0.0\tevil.example\n0.0.0.0\tb.example\n0.0.0.0\tc.example\n":   false, // hosts
		sha256 + "  evil.exe\n" + sha256 + "  b.exe\n":                      false,
		"Dear all, we saw evil[.]example, and\nmore, of, it\nsoon, we hope": false,
		"Source, see below\nevil.example, seen\n":                           false,
		"| Type | Value |\n|------|-------|\n| domain | `evil[.]example` |": false,
	} {
		if got := csv.Sniff([]byte(file)); got != want {
			t.Errorf("Sniff(%q) = %v", file, got)
		}
	}
	dir := os.Getenv("WATCHWARD_SAMPLES")
	if dir == "" {
		t.Skip("WATCHWARD_SAMPLES is not set: real lists are NOT tested")
	}
	lists, err := filepath.Glob(filepath.Join(dir, "lists", "*"))
	if err != nil || len(lists) == 0 {
		t.Fatalf("%v, %v", lists, err)
	}
	for _, path := range lists {
		raw, err := os.ReadFile(path)
		if err != nil || csv.Sniff(raw) {
			t.Errorf("%s: taken for CSV, %v", path, err)
		}
	}
}

func TestBroken(t *testing.T) {
	for file, want := range map[string]string{
		"":                    "no column with values was found",
		"a,b\n1,2\n":          "no column with values was found: say which it is with --columns value=NUMBER; the columns are 1 \"a\", 2 \"b\"",
		"ioc,x\n\"evil,1\n\n": "line 2: a quote that opens here is not closed",
	} {
		_, _, err := read(file, csv.Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", file, err)
		}
	}
	for columns, want := range map[string]string{
		"value": "not NAME=COLUMN", "vlaue=1": "not NAME=COLUMN", "value=9": "no column 9", "value=nope": "no column \"nope\"",
		"value=1,ip=1": "named twice", "type=1": "no column of values", "value=0": "no column 0",
	} {
		_, _, err := read("ioc,x\nevil.example,1\n", csv.Options{Columns: columns})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", columns, err)
		}
	}
	full := errors.New("disk full")
	if err := csv.Read(strings.NewReader("ioc,x\nevil.example,1\n"), csv.Options{}, func(intel.Found) error { return full }); err != full {
		t.Error(err)
	}
	r := io.MultiReader(strings.NewReader("ioc,x\n"+strings.Repeat("evil.example,1\n", 10_000)), iotest.ErrReader(full))
	if err := csv.Read(r, csv.Options{}, func(intel.Found) error { return nil }); !errors.Is(err, full) {
		t.Error(err)
	}
}

// TestHuge: a gigabyte in one cell, in quotes or not, or in a comment is never held.
func TestHuge(t *testing.T) {
	const size = 1 << 30
	for start, whole := range map[string]bool{"ioc,x\nevil.example,": false, "ioc,x\nevil.example,\"": false, "ioc,x\n#": true, "ioc,x\n\n": false} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := csv.Read(io.MultiReader(strings.NewReader(start), inteltest.Endless('a', size)), csv.Options{}, func(intel.Found) error { return nil })
		runtime.ReadMemStats(&after)
		if (err == nil) != whole || err != nil && !strings.Contains(err.Error(), "longer than 1 MiB") {
			t.Errorf("%q: %v", start, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
			t.Errorf("%q: %d bytes were allocated", start, n)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("ioc,type,first_seen\nevil.example,domain,2026-11-01\n"), "")
	f.Add([]byte("# a\n# \"dst_ip\";\"x\"\n\"198.51.100.7\";\"a\nb\"\n"), "value=1")
	f.Add([]byte("kind\tvalue\ttlp\nsighting\t'=x\tred\n\xff\"\n"), "ip=2,type=1")
	f.Fuzz(func(t *testing.T, file []byte, columns string) {
		csv.Sniff(file)
		_ = csv.Read(bytes.NewReader(file), csv.Options{Columns: columns}, func(found intel.Found) error {
			inteltest.CheckFound(t, found)
			return nil
		})
	})
}
