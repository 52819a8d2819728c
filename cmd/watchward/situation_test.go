package main

import "testing"

// TestWrap: a line fits the width, breaks between words, keeps its place and loses none.
func TestWrap(t *testing.T) {
	for _, c := range []struct {
		line  string
		width int
		want  string
	}{
		{"  County Hospital: our file servers", 0, "  County Hospital: our file servers"},
		{"  County Hospital: our file servers", 35, "  County Hospital: our file servers"},
		{"  County Hospital: our file servers", 34, "  County Hospital: our file\n      servers"},
		{"  Universitätsklinikum: äöü", 20, "  Universitätsklinikum:\n      äöü"},
		{"    a b c", 9, "    a b c"},
		{"", 80, ""},
	} {
		if got := wrap(c.line, "    ", c.width); got != c.want {
			t.Errorf("%q at %d:\n got %q\nwant %q", c.line, c.width, got, c.want)
		}
	}
}
