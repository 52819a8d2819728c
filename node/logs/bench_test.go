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
