package jsonscan_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/watchward/watchward/node/intel/jsonscan"
)

// walk reads a whole value and writes it again, so that encoding/json can judge
// what was understood.
func walk(s *jsonscan.Scanner, b *strings.Builder) error {
	c, err := s.Peek()
	if err != nil {
		return err
	}
	comma := ""
	next := func() { b.WriteString(comma); comma = "," }
	switch c {
	case '{':
		b.WriteString("{")
		err = s.Object(func(key string) error {
			next()
			quoted, _ := json.Marshal(key)
			b.Write(append(quoted, ':'))
			return walk(s, b)
		})
		b.WriteString("}")
	case '[':
		b.WriteString("[")
		err = s.Array(func(int) error { next(); return walk(s, b) })
		b.WriteString("]")
	case '"':
		var t jsonscan.Text
		t, err = s.Text(jsonscan.TextMax)
		quoted, _ := json.Marshal(t.S)
		b.Write(quoted)
	default:
		var t jsonscan.Text
		if t, err = s.Text(jsonscan.TextMax); c == 'n' {
			t.S = "null"
		}
		b.WriteString(t.S)
	}
	return err
}

func TestScanner(t *testing.T) {
	for text, want := range map[string]string{
		"\xef\xbb\xbf {\"a\" : [1, -2.5e3, true,null , \"x\\u00e9\\ud83d\\ude00\\n\"], \"b\":{}}": `{"a":[1,-2.5e3,true,null,"xé😀\n"],"b":{}}`,
		`"\ud800x"`:                   `"` + "\ufffd" + `x"`,
		`[]`:                          `[]`,
		`{"a":`:                       "error: byte 5, at a: the file ends in the middle: get it again, whole",
		`{"a":[1,{"b c":tru}]}`:       `error: byte 18, at a[1].b c: "tru" is no JSON`,
		`[1 2]`:                       `error: byte 3, at the top: '2' is no JSON here: want one of ,]`,
		`"a` + "\n" + `"`:             "error: byte 3, at the top: a bare control character in a string",
		`"\x"`:                        `error: byte 3, at the top: the escape \'x' is no JSON`,
		`[` + strings.Repeat("1", 65): "error: byte 66, at [0]: a number of more than 64 characters",
		strings.Repeat("[", 66):       "nested deeper than 64",
	} {
		var b strings.Builder
		if err := walk(jsonscan.New(strings.NewReader(text)), &b); err != nil {
			b.Reset()
			fmt.Fprintf(&b, "error: %v", err)
		}
		if got := b.String(); got != want && !(strings.HasPrefix(want, "nested") && strings.HasSuffix(got, want)) {
			t.Errorf("%q gives %s, want %s", text, got, want)
		}
	}
}

// TestBounds reads a text much longer than what is kept of it.
func TestBounds(t *testing.T) {
	s := jsonscan.New(strings.NewReader(`["` + strings.Repeat("a", 1<<20) + `","b"]`))
	var got []jsonscan.Text
	err := s.Array(func(int) error {
		in, index := s.Place()
		if in != "" || index != len(got) || s.Path() != fmt.Sprintf("[%d]", index) {
			t.Errorf("at %q[%d], %q", in, index, s.Path())
		}
		text, err := s.Text(10)
		got = append(got, text)
		return err
	})
	if err != nil || len(got) != 2 || got[0] != (jsonscan.Text{S: "aaaaaaaaaa", Long: true}) || got[1] != (jsonscan.Text{S: "b"}) {
		t.Errorf("%.40v, %v", got, err)
	}
}

// FuzzScanner compares with encoding/json: what the scanner takes is JSON, and
// what is JSON it takes, within its bounds.
func FuzzScanner(f *testing.F) {
	for _, text := range []string{`{"a":[1,2.5,"x"]}`, `"\ud83d\ude00"`, `[[[[]]]]`, `nul`, `1e`, "\xff", `{"a":1,"a":2}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := jsonscan.New(strings.NewReader(text))
		var b strings.Builder
		err := walk(s, &b)
		more := false
		if err == nil {
			more, err = s.More()
		}
		if err == nil && !more && !json.Valid([]byte(strings.TrimPrefix(text, "\xef\xbb\xbf"))) {
			t.Errorf("%q was taken and is no JSON", text)
		}
		if err != nil && json.Valid([]byte(text)) && !strings.Contains(err.Error(), "deeper than") && !strings.Contains(err.Error(), "a number of more") {
			t.Errorf("%q is JSON: %v", text, err)
		}
		if err == nil && !json.Valid([]byte(b.String())) {
			t.Errorf("%q was understood as %s", text, b.String())
		}
	})
}
