package inteltest

import (
	"io"
	"unicode/utf8"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// A TB is a test, a fuzz target or a property.
type TB interface {
	Fatalf(format string, args ...any)
}

// MustEncode shows that what a reader gives is fit to be sent, salt and time apart.
func MustEncode(t TB, n *notice.Notice) {
	complete := *n
	complete.Created = 1_700_000_000_000
	if _, err := notice.Encode(&complete); err != nil {
		t.Fatalf("%+v: %v", n.Indicator, err)
	}
}

// CheckFound shows that a result is a notice or a refusal, with its place, and
// fit to be shown.
func CheckFound(t TB, f intel.Found) {
	if (f.Notice == nil) == (f.Reason == "") || f.Place == "" || !utf8.ValidString(f.Value) || len(f.Value) > intel.ShowMax {
		t.Fatalf("%+v", f)
	}
	if f.Notice != nil {
		MustEncode(t, f.Notice)
	}
}

// Endless returns a reader of n bytes c, which holds none of them.
func Endless(c byte, n int64) io.Reader { return io.LimitReader(repeated(c), n) }

type repeated byte

func (c repeated) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	p[0] = byte(c)
	for n := 1; n < len(p); n *= 2 {
		copy(p[n:], p[:n])
	}
	return len(p), nil
}
