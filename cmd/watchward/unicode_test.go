package main

import (
	"testing"

	"golang.org/x/net/idna"
)

func TestWithUnicode(t *testing.T) {
	ascii := func(name string) string {
		out, err := idna.Display.ToASCII(name)
		if err != nil {
			out, err = idna.Punycode.ToASCII(name)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return out
	}
	cyrillic := ascii("\u0430\u0440\u0440\u04cf\u0435.example") // apple, to the eye
	mixed := ascii("p\u0430ypal.example")                       // one Cyrillic letter
	dotless := ascii("paypa\u0131.example")
	for value, want := range map[string]string{
		"xn--mnchen-3ya.example":                             "xn--mnchen-3ya.example (münchen.example)",
		"https://a@xn--mnchen-3ya.example:8443/xn--x?q=xn--": "https://a@xn--mnchen-3ya.example:8443/xn--x?q=xn-- (münchen.example)",
		"info@" + ascii("straße.example"):                    "info@" + ascii("straße.example") + " (straße.example)",
		"evil.example":                                       "evil.example",
		"https://evil.example/xn--mnchen-3ya":                "https://evil.example/xn--mnchen-3ya",
		"xn--.example":                                       "xn--.example",
		"xn--zzzzzzzz99.example":                             "xn--zzzzzzzz99.example",
		cyrillic:                                             cyrillic,
		mixed:                                                mixed,
		dotless:                                              dotless,
		mixed + ".xn--mnchen-3ya.example":                    mixed + ".xn--mnchen-3ya.example",
		"":                                                   "",
	} {
		if got := withUnicode(value); got != want {
			t.Errorf("%s is shown as %s, want %s", value, got, want)
		}
	}
}
