package intel_test

import (
	"strings"
	"testing"

	"github.com/watchward/watchward/node/intel"
)

func TestSniff(t *testing.T) {
	for head, want := range map[string]string{
		`{"Event": {"uuid": "x"`:                             intel.FormatMISP,
		"\xef\xbb\xbf {\r\n \"response\" : [":                intel.FormatMISP,
		`[{"Event": {`:                                       intel.FormatMISP,
		`{"id": "1", "orgc_id": "2", "info": "x"`:            intel.FormatMISP,
		`{"type": "bundle", "id": "bundle--1", "objects": [`: intel.FormatSTIX,
		`[{"type": "indicator", "spec_version": "2.1"`:       intel.FormatSTIX,
		`[{"type": "indicator", "id": "indicator--1"`:        intel.FormatSTIX,
		`{"a": 1}`:         intel.FormatJSON,
		`{}`:               intel.FormatJSON,
		`[]`:               intel.FormatJSON,
		`["evil.example"]`: intel.FormatJSON,
		`{`:                intel.FormatJSON,
		"":                 intel.FormatText,
		"evil.example\n":   intel.FormatText,
		"From: a@b.example\r\nSubject: x\r\n\r\nevil":               intel.FormatMail,
		"X-Spam: no\n folded\nReceived: by x\n\tfor y\nFrom: z\n\n": intel.FormatMail,
		"\xef\xbb\xbfReturn-Path: <x>\nReceived: y":                 intel.FormatMail,
		"From a@b Mon Jan 1\nFrom: a\nTo: b\n\nx":                   intel.FormatMail,
		"Subject: [TLP:RED] x\n\nevil":                              intel.FormatText,
		"From: here\nit says: subject: x\n":                         intel.FormatText,
		"url: http://evil.example\ndomain: evil.example\n":          intel.FormatText,
		"From then on":                           intel.FormatText,
		"[options=\"header\"]\n|===":             intel.FormatText,
		"[[anchor]]\nText":                       intel.FormatText,
		"{46E4D4E6-8B81-84CA-93DA-BB29377B2AC0}": intel.FormatText,
		"[2001:db8::7]:443":                      intel.FormatText,
		"\xff\xfee\x00":                          intel.FormatUTF16,
		"\xfe\xff\x00e":                          intel.FormatUTF16,
		"PK\x03\x04":                             intel.FormatZip,
		"\x1f\x8b\x08":                           intel.FormatGzip,
		"%PDF-1.7":                               intel.FormatPDF,
		"<?xml version=\"1.0\"?>":                intel.FormatXML,
		"<?xml version=\"1.0\"?>\n<!-- x -->\n<ioc xmlns=\"y\">": intel.FormatOpenIOC,
		"<OpenIOC>": intel.FormatOpenIOC, "<o:ioc id=\"x\">": intel.FormatOpenIOC,
		"<?xml version=\"1.0\"?><stix:STIX_Package": intel.FormatXML,
		"<!DOCTYPE html>\n<html>":                   intel.FormatHTML, "<HTML lang=de>": intel.FormatHTML, "<?xml version=\"1.0\"?><!DOCTYPE html PUBLIC \"x\"><html>": intel.FormatHTML,
		"<hxxp://evil[.]example/>": intel.FormatText, "<": intel.FormatText,
		"7z\xbc\xaf\x27": intel.FormatPacked, "Rar!\x1a": intel.FormatPacked, strings.Repeat("a", 257) + "ustar": intel.FormatPacked,
		"{\\rtf1": intel.FormatOffice, "\xd0\xcf\x11\xe0\xa1": intel.FormatOffice,
		"MZ\x90\x00\x03": intel.FormatBinary,
	} {
		if got := intel.Sniff([]byte(head)); got != want {
			t.Errorf("Sniff(%q) = %s, want %s", head, got, want)
		}
	}
}

func TestUnreadable(t *testing.T) {
	for format, want := range map[string]string{
		intel.FormatOpenIOC: "this is OpenIOC, which is not read: ask its author for STIX 2.1", intel.FormatPDF: "this is PDF", intel.FormatBinary: "this is not text",
	} {
		if got := intel.Unreadable(format); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", format, got)
		}
	}
}

func TestShow(t *testing.T) {
	for s, want := range map[string]string{
		"evil.example":          "evil.example",
		" a\tb\n":               "a\uFFFDb\uFFFD",
		"\x1b[31mred":           "\uFFFD[31mred",
		"a\u202eb\xff":          "a\uFFFDb\uFFFD",
		strings.Repeat("ä", 99): strings.Repeat("ä", 58) + "…",
	} {
		if got := intel.Show(s); got != want || len(got) > intel.ShowMax {
			t.Errorf("Show(%q) = %q, want %q", s, got, want)
		}
	}
}
