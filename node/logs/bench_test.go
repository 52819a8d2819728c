package logs_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/watchward/watchward/node/logs"
)

// varied repeats a log with names, addresses and hashes that differ, so that no
// value is seen twice soon: n copies of it.
func varied(log []byte, n int) []byte {
	var b bytes.Buffer
	for i := range n {
		b.Write(bytes.ReplaceAll(log, []byte("evil.example"), fmt.Appendf(nil, "evil-%d.example", i)))
	}
	return b.Bytes()
}

// BenchmarkParser reads each log of testdata: as a real log, in which most values
// were seen a moment ago, and as one whose names never come twice.
func BenchmarkParser(b *testing.B) {
	for file, a := range transcripts(b) {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		for kind, log := range map[string][]byte{"repeated": varied(a.Files[0].Data, 1), "new": varied(a.Files[0].Data, 20000)} {
			b.Run(name+"/"+kind, func(b *testing.B) {
				p := logs.New(options(b, formatOf(b, file)))
				lines := bytes.SplitAfter(bytes.TrimSpace(log), []byte("\n"))
				b.SetBytes(int64(len(log) / len(lines)))
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					_, _ = p.Line(lines[i])
					if i++; i == len(lines) {
						i = 0
					}
				}
			})
		}
	}
}

// BenchmarkHostile reads lines of 64 KiB that are made to be slow: each reader's
// marks again and again. Its slowest must stay within some ten times of the
// others, whatever the length: what grows with the square of a line is a way to
// stop a node.
func BenchmarkHostile(b *testing.B) {
	for name, start := range map[string]string{
		"suricata": `{"event_type":"dns","dns":{"rrname":"`, "fortigate": `date=2026-11-27 logid="1" type="x" url="`,
		"panos": "1,2026/11/27 10:00:00,1,THREAT,url,1,", "unbound": "[1795770000] unbound[1:0] info: ", "plain": "",
		"zeek": `{"ts":1,"uid":"C","answers":[`, "squid": `10.0.0.5 - - [27/Nov/2026:10:00:04 +0100] "GET `,
		"msdns": "27.11.2026 10:00:00 0D84 PACKET  00 UDP Rcv 10.0.0.5 3a4f   Q [0001] A      ", "bind": "client 10.0.0.5#1 (x): query: ",
	} {
		format, err := logs.ParseFormat(name)
		if err != nil {
			b.Fatal(err)
		}
		for _, part := range []string{`\"`, `\\`, `\u`, `"`, `""`, "=", "a=", `a="`, " ", ",", "[", "{", `{"a":`, `[{"rrname":"x"},`, "a.b ", "1.1.1.1 ",
			"a.de ", "[.]", "(1)a", "@", ".", "://", "\xff", "<"} {
			line := []byte(start + strings.Repeat(part, logs.LineMax/len(part)))
			b.Run(name+"/"+part, func(b *testing.B) {
				p := logs.New(options(b, format))
				b.SetBytes(logs.LineMax)
				for b.Loop() {
					_, _ = p.Line(line)
				}
			})
		}
		many := bytes.NewBufferString(start) // values that all differ
		for i := 0; many.Len() < logs.LineMax; i++ {
			fmt.Fprintf(many, `a%d.evil.example 198.18.%d.%d "http://a%d.de/x",`, i, i/256%256, i%256, i)
		}
		b.Run(name+"/values", func(b *testing.B) {
			p := logs.New(options(b, format))
			b.SetBytes(logs.LineMax)
			for b.Loop() {
				_, _ = p.Line(many.Bytes())
			}
		})
	}
}
