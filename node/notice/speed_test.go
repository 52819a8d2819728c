package notice_test

import (
	"testing"

	"github.com/watchward/watchward/node/notice"
)

// BenchmarkDetect reads the values that proxies and mail logs are full of.
func BenchmarkDetect(b *testing.B) {
	for _, v := range []string{"cdn17.evil-4711.com", "198.51.100.7", "2001:db8::7", sha256Text, "http://www.evil-12.net/gate/3.php?id=17", "invoice.exe"} {
		b.Run(v[:min(len(v), 20)], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := notice.Detect(v, allow); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMatches goes over what a value matches.
func BenchmarkMatches(b *testing.B) {
	for _, v := range []string{"cdn17.evil-4711.com", "198.51.100.7"} {
		i, err := notice.Detect(v, allow)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(v, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for m := range i.Matches {
					_ = m.Key()
				}
			}
		})
	}
}
