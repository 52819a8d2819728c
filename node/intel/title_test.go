package intel_test

import (
	"testing"

	"github.com/watchward/watchward/node/intel"
)

// short is what a title is marked as: "AMBER", "? vs nfd".
func short(m intel.Mark) string {
	if m.Unclear != "" {
		return m.TLP.String() + "? " + m.Unclear
	}
	return m.TLP.String()
}

func TestTitle(t *testing.T) {
	for title, want := range map[string]string{
		"[AMBER] wave 3": "AMBER", "wave 3 (TLP AMBER)": "AMBER", "[amber+strict] x": "AMBER+STRICT", "x (ROT)": "RED", "[GREEN] x": "GREEN", "{RED}": "RED", "[x] [AMBER]": "AMBER",
		"TLP:RED x [GREEN]": "RED", "[GELB] x": "? GELB", "TLP:YELLOW x": "? TLP:YELLOW",
		"VS-NfD: Lagebild": "? vs nfd", "Lagebild (VS-NUR FÜR DEN DIENSTGEBRAUCH)": "? nur für den dienstgebrauch", "Vertraulich - Lagebild": "? vertraulich", "AW: Verschlusssache": "? verschlusssache",
		"wave (red team)": "", "Fwd: [clear] x": "", "(green) x": "", "Red Team": "", "amber": "", "vsnfd": "", "": "", "[[": "", "x [": "",
	} {
		if got := short(intel.Title(title)); got != want {
			t.Errorf("%q: %q, want %q", title, got, want)
		}
	}
}

func TestFileName(t *testing.T) {
	for name, want := range map[string]string{
		"TLP_AMBER_liste.csv": "AMBER", "iocs-tlp-red.txt": "RED", "a/b/x_TLP-GREEN.csv": "GREEN", `a\[RED] x.csv`: "RED", "tlp.amber.csv": "AMBER", "TLP-GELB.csv": "? TLP-GELB", "VS-NfD_liste.csv": "? vs nfd",
		"list.csv": "", "red.txt": "", "tlp-amber/list.csv": "", "htlpred.txt": "", "x-tlp-amber-strict.csv": "AMBER+STRICT", "tlp_amber_strict.csv": "AMBER+STRICT", "TLPRED.txt": "RED",
	} {
		if got := short(intel.FileName(name)); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
