package intel_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// marked says what a text is marked as: "AMBER", "? TLP:YELLOW (line 1)", or "".
func marked(text string) string {
	var m intel.Marks
	number := 0
	for line := range strings.Lines(text) {
		number++
		m.Line(fmt.Sprint("line ", number), strings.TrimRight(line, "\n"))
	}
	if m.Unclear != "" {
		return strings.TrimSpace(m.TLP.String() + " ? " + m.Unclear)
	}
	return m.TLP.String()
}

func TestMarking(t *testing.T) {
	for text, want := range map[string]string{
		// Spellings of a marking.
		"TLP:AMBER": "AMBER", "tlp:amber": "AMBER", "TLP AMBER": "AMBER", "TLP=AMBER": "AMBER", "TLP/AMBER": "AMBER", "TLPAMBER": "AMBER", "TLP-AMBER": "AMBER", "tlp_amber": "AMBER",
		"TLP 2.0: AMBER": "AMBER", "TLP2.0:AMBER": "AMBER", "TLP v2.0 AMBER": "AMBER", "TLP (2.0): AMBER": "AMBER", "TLP 2.0 level: AMBER": "AMBER", "TLP\u00a0: AMBER": "AMBER", "TLP：AMBER": "AMBER",
		"TLP is AMBER": "AMBER", "TLP-Stufe: Rot": "RED", "TLP level – amber": "AMBER", "the TLP marking is RED": "RED",
		"TLP:AMBER+STRICT": "AMBER+STRICT", "TLP AMBER STRICT": "AMBER+STRICT", "TLP:AMBER-STRICT": "AMBER+STRICT", "TLP:AMBER + STRICT": "AMBER+STRICT", "TLP:AMBERSTRICT": "AMBER+STRICT", "TLP: amber (strict)": "AMBER+STRICT", "**TLP:** **AMBER**+STRICT": "AMBER+STRICT",
		"Traffic Light Protocol: AMBER": "AMBER", "Traffic Light Protocol (TLP): AMBER": "AMBER", "traffic-light-protocol: amber": "AMBER",
		"Einstufung: AMBER": "AMBER", "Einstufung: bernstein": "AMBER", "  * Kennzeichnung = rot": "RED", "Classification: TLP AMBER": "AMBER", "Classification: GREEN": "GREEN", "| Einstufung | AMBER |": "AMBER", "Handling: AMBER": "AMBER", "TLP:\u200bAMBER": "AMBER", "Marking - RED": "RED",
		"**TLP:** AMBER": "AMBER", "**TLP**: `AMBER`": "AMBER", "TLP: [AMBER]": "AMBER", "| TLP | AMBER |": "AMBER", "[TLP:RED] wave 3": "RED", "Subject: [TLP AMBER] x": "AMBER", "#TLP:RED": "RED",
		"TLP:WHITE": "CLEAR", "TLP: CLEAR": "CLEAR", "TLP GRÜN": "GREEN", "TLP:gruen": "GREEN", "TLP rot": "RED", "TLP:weiß": "CLEAR", "TLP:WEISS": "CLEAR", "TLP: Bernstein": "AMBER",
		"TLP:GREEN/AMBER": "AMBER", "TLP:GREEN and TLP:RED": "RED", "it is tlp:green, not tlp:clear": "GREEN", "TLP CLEAR": "CLEAR", "TLP:RED2 x TLP:AMBER": `AMBER ? "TLP:RED2" (line 1)`,
		// In the next line, cell or row.
		"TLP:\nAMBER": "AMBER", "TLP\n\nAMBER": "AMBER", "**TLP:**\n\n**AMBER**": "AMBER", "Einstufung:\nrot": "RED", "TLP:\nAMBER – for us only": "AMBER", "TLP:\nCLEAR": "CLEAR",
		"| IOC | TLP |\n|---|---|\n| evil[.]example | AMBER |\n| b[.]example | `RED` |": "RED",
		"| TLP | IOC |\n|---|---|\n| AMBER | evil[.]example |":                          "AMBER",
		"IOC\nTLP\nevil[.]example\nAMBER\nb[.]example\nRED":                             "RED",
		// There, and not understood.
		"TLP:YELLOW": `? "TLP:YELLOW" (line 1)`, "x\ntlp: orange": `? "tlp: orange" (line 2)`, "TLP gelb": `? "TLP gelb" (line 1)`, "[TLP:YELLOW] wave 3": `? "TLP:YELLOW" (line 1)`, "Einstufung: gelb": `? "Einstufung: gelb" (line 1)`,
		"TLP:GREEN\nTLP:YELLOW": `GREEN ? "TLP:YELLOW" (line 2)`, "TLP:AMBER+FOO": `? "TLP:AMBER+FOO" (line 1)`, "TLP: for internal use only": `? "TLP: for" (line 1)`, "TLP:REDISH": `? "TLP:REDISH" (line 1)`,
		"TLP: A M B E R": `? "TLP: A" (line 1)`, "TLP:\u0410MBER": "? \"TLP:\u0410MBER\" (line 1)", "[TLP ABMER]": `? "TLP ABMER" (line 1)`, "TLP ABMER": `? "TLP ABMER" (line 1)`, "TLP:\ngelb": `? "gelb" (line 2)`, "**TLP:**\n\nABMER": `? "ABMER" (line 3)`, "TLP:\nABMER": `? "ABMER" (line 2)`, "TLPYELLOW": `? "TLPYELLOW" (line 1)`, "Traffic Light Protocol: YELLOW": `? "Traffic Light Protocol: YELLOW" (line 1)`,
		"| IOC | TLP |\n| evil[.]example | gelb |": `? "gelb" (line 2)`,
		// Other ways of marking.
		"VS-NfD": `? "VS-NfD" (line 1)`, "x\n** Verschlusssache – nur für den Dienstgebrauch **": `? "** Verschlusssache – nur für den Dienstgebrauch **" (line 2)`, "VERTRAULICH": `? "VERTRAULICH" (line 1)`, "Nur fuer den Dienstgebrauch!": `? "Nur fuer den Dienstgebrauch!" (line 1)`, "Einstufung: VS-NfD": `? "Einstufung: VS-NfD" (line 1)`,
		"Das ist vertraulich zu behandeln": "", "Vertrauliche Daten flossen ab": "", "nur vertraulich gesagt": "", "vs code": "", "verschlusssache.example": "",
		// Prose about it, and what only looks like it.
		"the TLP of this mail": "", "TLP definitions: https://www.first.org/tlp": "", "what does TLP mean": "", "What does TLP mean?": "", "TLP: what it means": "", "TLP: https://www.first.org/tlp/": "", "see https://www.first.org/tlp/red and /tlp": "",
		"TLP:EX:CHR": "", "TLP: none": "", "TLP: n/a": "", "TLP: -": "", "TLP:": "", "a TLP white paper": "", "TLP rules apply": "", "mtlp:red": "", "TLPs: red": "", "tlp.red.example": "", "tlp-red.example": "", "http://tlp-amber.example/": "", "tlp.example": "",
		"Distribution: Clear Linux": "", "Classification: phishing": "", "Sharing": "", "marking red cells": "", "Einstufung: kritisch": "", "a classification: amber": "", "Distribution\nClear": "", "Sharing\nAMBER": "AMBER", "TLP\nCLEAR": "CLEAR",
		"IOC\nTLP\nComment\nevil[.]example\nphishing": "", "| TLP | IOC |\n|---|---|\n| | evil[.]example |": "", "The Traffic Light Protocol (TLP) is a set of rules": "", "TLP 2.0": "", "": "", "tl": "", "evil.example": "",
	} {
		if got := marked(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestMarkingAlone(t *testing.T) {
	for line, want := range map[string]bool{
		"TLP:AMBER": true, "# ** TLP: AMBER **": true, "Classification: TLP:WHITE": true, "TLP:YELLOW": true, "TLP:": true, "Einstufung: rot": true,
		"evil.example": false, "TLP:AMBER evil.example": false, "TLP definitions": false, "TLP:AMBER" + strings.Repeat(" ", 100): false, "": false,
	} {
		if got := intel.Marking(line).Alone; got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

func TestParseMarking(t *testing.T) {
	for text, want := range map[string]notice.TLP{
		"AMBER": notice.TLPAmber, " tlp:amber+strict": notice.TLPAmberStrict, "Amber Strict": notice.TLPAmberStrict, "TLP 2.0: GREEN": notice.TLPGreen, "[red]": notice.TLPRed,
		"grün": notice.TLPGreen, "gruen": notice.TLPGreen, "rot": notice.TLPRed, "Weiß": notice.TLPClear, "weiss": notice.TLPClear, "BERNSTEIN": notice.TLPAmber, "TLP:grün": notice.TLPGreen, "Bernstein/rot": notice.TLPRed,
		"": 0, "gelb": 0, "yellow": 0, "TLP:gelb": 0, "red herring": 0, "the red": 0, "TLP": 0, "amber+foo": 0, "evil.example": 0,
	} {
		if got, ok := intel.ParseMarking(text); got != want || ok != (want != 0) {
			t.Errorf("%q: %v %v, want %v", text, got, ok, want)
		}
	}
}

func FuzzMarking(f *testing.F) {
	f.Add("TLP 2.0: AMBER+STRICT\n| TLP | x |\n| gelb | rot |")
	f.Add("Traffic Light Protocol\n\nred")
	f.Fuzz(func(t *testing.T, text string) {
		var m intel.Marks
		for line := range strings.Lines(text) {
			m.Line("line", line)
			tlp, ok := intel.ParseMarking(line)
			if ok != (tlp != 0) || len(intel.Marking(line).Unclear) > intel.ShowMax {
				t.Fatalf("%q: %v %v", line, tlp, ok)
			}
		}
	})
}

func BenchmarkMarking(b *testing.B) {
	lines := []string{"evil.example", "http://www.evil.example/path/that/is/long?x=1", "d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592", "The attacker then talks to tlsproxy[.]example in the second stage of it."}
	for b.Loop() {
		for _, l := range lines {
			intel.Marking(l)
		}
	}
}
