package feed_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/watchward/watchward/node/feed"
	"github.com/watchward/watchward/node/notice"
)

func TestFormats(t *testing.T) {
	long := strings.Repeat("a", 60)
	for _, tt := range []struct {
		format feed.Format
		typ    notice.Type
		value  string
		want   string // "" = left out
	}{
		{feed.Plain, notice.TypeIPv4, "203.0.113.7", "203.0.113.7\n"},
		{feed.Plain, notice.TypeDomain, "*.evil.example", ""},
		{feed.Plain, notice.TypeURL, "http://evil.example/a#b", ""},
		{feed.Plain, notice.TypeFilename, "a\nb", ""},
		{feed.Plain, notice.TypeFilename, "; comment", ""},
		{feed.PANOS, notice.TypeCIDR, "203.0.113.0/24", "203.0.113.0/24\n"},
		{feed.PANOS, notice.TypeURL, "https://evil.example", "evil.example/\n"},
		{feed.PANOS, notice.TypeURL, "https://evil.example/a?b=c", "evil.example/a?b=c\n"},
		{feed.PANOS, notice.TypeURL, "https://evil.example/*", ""},
		{feed.PANOS, notice.TypeURL, "https://evil.example/^", ""},
		{feed.PANOS, notice.TypeIPv4, "203.0.113.*", ""},
		{feed.PANOS, notice.TypeIPv4, "203.0.113.7,203.0.113.8", ""},
		{feed.PANOS, notice.TypeURL, "ftp://evil.example/a", ""},
		{feed.PANOS, notice.TypeURL, "http://evil.example/" + strings.Repeat("a", 250), ""},
		{feed.FortiGate, notice.TypeSHA256, strings.Repeat("a", 64), strings.Repeat("a", 64) + "\n"},
		{feed.FortiGate, notice.TypeURL, "http://evil.example/a*b", ""},
		{feed.Hosts, notice.TypeDomain, "evil.example", "0.0.0.0 evil.example\n"},
		{feed.RPZ, notice.TypeDomain, "evil.example", "evil.example CNAME .\n*.evil.example CNAME .\n"},
		{feed.RPZ, notice.TypeIPv4, "198.51.100.7", "32.7.100.51.198.rpz-ip CNAME .\n"},
		{feed.RPZ, notice.TypeCIDR, "198.51.100.0/24", "24.0.100.51.198.rpz-ip CNAME .\n"},
		{feed.RPZ, notice.TypeIPv6, "2001:db8::1", "128.1.zz.db8.2001.rpz-ip CNAME .\n"},
		{feed.RPZ, notice.TypeIPv6, "2001:db8:0:1:1:1:1:1", "128.1.1.1.1.1.0.db8.2001.rpz-ip CNAME .\n"},
		{feed.RPZ, notice.TypeCIDR, "2001:db8::/32", "32.zz.db8.2001.rpz-ip CNAME .\n"},
		{feed.RPZ, notice.TypeDomain, strings.Repeat("a", 64) + ".example", ""},
		{feed.RPZ, notice.TypeDomain, long + "." + long + "." + long + "." + long + ".example", ""},
		{feed.RPZ, notice.TypeDomain, "32.7.100.51.198.rpz-ip", ""},
		{feed.Suricata, notice.TypeDomain, "evil.example", "ZXZpbC5leGFtcGxl\n"},
		{feed.Suricata, notice.TypeMD5, strings.Repeat("0", 32), strings.Repeat("0", 32) + "\n"},
		{feed.Suricata, notice.TypeIPv6, "2001:db8::1", "2001:db8::1\n"},
		{feed.Zeek, notice.TypeURL, "http://evil.example/a", "evil.example/a\tIntel::URL\twatchward\treported\t-\n"},
		{feed.Zeek, notice.TypeFilename, "two words.exe", "two words.exe\tIntel::FILE_NAME\twatchward\treported\t-\n"},
		{feed.Zeek, notice.TypeFilename, "a\tb", ""},
		{feed.Zeek, notice.TypeFilename, `a\x09b`, ""},
		{feed.Zeek, notice.TypeFilename, "-", ""},
		{feed.CrowdSec, notice.TypeIPv4, "203.0.113.7", "203.0.113.7\n"},
		{feed.CSV, notice.TypeFilename, `a,"b`, "filename,\"a,\"\"b\",,,,0\n"},
		{feed.CSV, notice.TypeFilename, "=cmd()", ""},
		{feed.CSV, notice.TypeFilename, "a\u202eb", ""},
	} {
		p := policy(tt.format, tt.typ)
		got, err := p.Line(&feed.Entry{Indicator: notice.Indicator{Type: tt.typ, Value: tt.value}})
		if (err == nil) != (tt.want != "") || err == nil && string(got) != tt.want {
			t.Errorf("%s %s %q: %q, %v; want %q", tt.format, tt.typ, tt.value, got, err, tt.want)
		}
	}
}

func TestOneListIsOfOneKind(t *testing.T) {
	p := feed.Policy{Name: "x", Format: feed.PANOS, Types: []notice.Type{notice.TypeIPv4, notice.TypeDomain}}
	if err := p.Check(); err == nil {
		t.Error("an EDL of addresses takes no names")
	}
	p = feed.Policy{Name: "x", Format: feed.Suricata, Types: []notice.Type{notice.TypeMD5, notice.TypeSHA256}}
	if err := p.Check(); err == nil {
		t.Error("a dataset has one type")
	}
}

// Whatever a value is: what is written of it is read back as this value and nothing
// else, or nothing is written.
func FuzzFormats(f *testing.F) {
	for _, v := range []string{"evil.example", "a b", "a\tb", "a\nb", "#a", ";", "*.x", `a\x09`, `"`, "203.0.113.7", "2001:db8::/32", "http://a/b", "-", "=1", "a,b", "\u2028", "\x00"} {
		f.Add(v, byte(4), byte(1))
	}
	f.Fuzz(func(t *testing.T, value string, typ, format byte) {
		ft := feed.Formats()[int(format)%len(feed.Formats())]
		i := notice.Indicator{Type: notice.Types()[int(typ)%len(notice.Types())], Value: value}
		p := feed.Policy{Name: "test", Format: ft, Types: []notice.Type{i.Type}, Zone: "rpz.test", TLP: notice.TLPAmber}
		if p.Check() != nil {
			return
		}
		line, err := p.Line(&feed.Entry{Indicator: i})
		if err != nil {
			return
		}
		if bytes.Count(line, []byte("\n")) != 1+strings.Count(string(line), "\n*.") || line[len(line)-1] != '\n' {
			t.Fatalf("%s: %q is not one line", ft, line)
		}
		got, err := read(&p, line)
		want := value
		if ft == feed.PANOS && i.Type == notice.TypeURL || ft == feed.Zeek && i.Type == notice.TypeURL {
			_, want, _ = strings.Cut(value, "://")
			if !strings.Contains(want, "/") {
				want += "/"
			}
		}
		if ft == feed.RPZ && i.Type != notice.TypeDomain { // written another way; canonical values come back
			if c, err := notice.Canonical(i.Type, value, notice.Options{AllowSpecial: true}); err != nil || c != i {
				return
			}
		}
		if err != nil || got != want {
			t.Fatalf("%s %s: %q was written as %q and read as %q, %v", ft, i.Type, value, line, got, err)
		}
	})
}

// read reads one entry as a consumer does.
func read(p *feed.Policy, line []byte) (string, error) {
	text := strings.TrimSuffix(string(line), "\n")
	switch p.Format {
	case feed.Hosts:
		fields := strings.Fields(text)
		return fields[len(fields)-1], nil
	case feed.RPZ:
		return readZone(p, line)
	case feed.Suricata:
		switch p.Types[0] {
		case notice.TypeMD5, notice.TypeSHA256, notice.TypeIPv4, notice.TypeIPv6:
			return text, nil
		}
		raw, err := base64.StdEncoding.DecodeString(text)
		return string(raw), err
	case feed.Zeek:
		fields := strings.Split(text, "\t")
		if len(fields) != 5 || strings.HasPrefix(text, "#") || fields[0] == "-" {
			return "", fmt.Errorf("%d fields", len(fields))
		}
		return fields[0], nil
	case feed.CSV:
		records, err := csv.NewReader(bytes.NewReader(append(p.Header(1), line...))).ReadAll()
		if err != nil || len(records) != 2 {
			return "", fmt.Errorf("%d records: %v", len(records), err)
		}
		return records[1][1], nil
	}
	lines := 0
	value := ""
	for s := bufio.NewScanner(bytes.NewReader(line)); s.Scan(); lines++ {
		value = s.Text()
		if value == "" || strings.ContainsAny(value[:1], "#;!") || strings.ContainsAny(value, " \t\r\v\f") {
			return "", fmt.Errorf("a consumer reads %q otherwise", value)
		}
	}
	if lines != 1 {
		return "", fmt.Errorf("%d lines", lines)
	}
	return value, nil
}

// readZone reads a zone with an entry by miekg/dns and turns what it names back.
func readZone(p *feed.Policy, line []byte) (string, error) {
	z := dns.NewZoneParser(bytes.NewReader(append(p.Header(1), line...)), "", "")
	var owners []string
	for rr, ok := z.Next(); ok; rr, ok = z.Next() {
		if c, is := rr.(*dns.CNAME); is {
			if c.Target != "." {
				return "", fmt.Errorf("target %q", c.Target)
			}
			owners = append(owners, strings.TrimSuffix(c.Hdr.Name, "."+p.Zone+"."))
		}
	}
	if z.Err() != nil || len(owners) == 0 {
		return "", fmt.Errorf("%d names: %v", len(owners), z.Err())
	}
	address, is := strings.CutSuffix(owners[0], ".rpz-ip")
	if !is {
		if len(owners) != 2 || owners[1] != "*."+owners[0] {
			return "", fmt.Errorf("names %q", owners)
		}
		return owners[0], nil
	}
	labels := strings.Split(address, ".")
	bits := labels[0]
	var turned []string
	for k := len(labels) - 1; k > 0; k-- {
		turned = append(turned, labels[k])
	}
	addr := strings.Join(turned, ".")
	if len(turned) != 4 || strings.Contains(addr, "zz") {
		addr = strings.ReplaceAll(":"+strings.Join(turned, ":")+":", ":zz:", "::")
		addr = strings.TrimSuffix(strings.TrimPrefix(addr, ":"), ":")
		if strings.HasSuffix(addr, ":") && !strings.HasSuffix(addr, "::") {
			addr += ":"
		}
		if strings.HasPrefix(addr, ":") && !strings.HasPrefix(addr, "::") {
			addr = ":" + addr
		}
	}
	prefix, err := netip.ParsePrefix(addr + "/" + bits)
	if err != nil {
		return "", err
	}
	if p.Types[0] == notice.TypeCIDR {
		return prefix.String(), nil
	}
	return prefix.Addr().String(), nil
}

func TestDecisionsAreJSON(t *testing.T) {
	l := feed.NewList(policy(feed.CrowdSec, notice.TypeIPv4))
	fill(t, l, 3)
	serial := l.Snapshot().Serial
	l.Apply(ip(0), &feed.Decision{Cause: feed.Unsaid}, false)
	renewed := in(ip(1), 2)
	renewed.Entry.Until = start + 3_600_000
	l.Apply(ip(1), renewed, false)
	s := commit(t, l, start+1000)
	for _, tt := range []struct {
		all           bool
		scopes        []string
		fresh, gone   int
		since, second uint32
	}{
		{true, nil, 2, 0, serial, 0}, {false, nil, 1, 1, serial, 0}, {false, nil, 0, 0, s.Serial, 0},
		{false, nil, 2, 0, serial - 9, 0}, {true, []string{"Range"}, 0, 0, serial, 0}, {true, []string{"ip"}, 2, 0, serial, 0},
	} {
		var b bytes.Buffer
		if err := s.WriteDecisions(&b, tt.all, tt.since, tt.scopes, start); err != nil {
			t.Fatal(err)
		}
		var out struct {
			New, Deleted []struct{ Value, Duration, Scope string }
		}
		if err := json.Unmarshal(b.Bytes(), &out); err != nil {
			t.Fatalf("%s: %v", b.Bytes(), err)
		}
		if len(out.New) != tt.fresh || len(out.Deleted) != tt.gone {
			t.Errorf("%+v: %s", tt, b.Bytes())
		}
		if !tt.all && tt.fresh == 1 && out.New[0].Duration != "1h0m0s" {
			t.Errorf("lasts %s", out.New[0].Duration)
		}
	}
}

// A change among 1,000,000 entries, until it is in what is served.
func BenchmarkChangeOfAMillion(b *testing.B) {
	l := feed.NewList(policy(feed.Plain, notice.TypeIPv4))
	for n := range 1_000_000 {
		l.Apply(ip(n), in(ip(n), 1), false)
	}
	if _, err := l.Commit(start); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(l.Snapshot().Size()), "bytes")
	for n := 0; b.Loop(); n++ {
		i := ip(2_000_000 + n%1000)
		if n/1000%2 == 0 {
			l.Apply(i, in(i, 1), false)
		} else {
			l.Apply(i, &feed.Decision{Cause: feed.Unsaid}, false)
		}
		if _, err := l.Commit(start + int64(n)); err != nil {
			b.Fatal(err)
		}
	}
}
