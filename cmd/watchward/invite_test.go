package main

import (
	"strings"
	"testing"

	"rsc.io/qr"
)

// What is drawn is the code, module by module, within a white border.
func TestDrawQR(t *testing.T) {
	const text = "WW1UQAVQIHITN5JPVUFKXMFGFTQ2DUVURNYYIZ5NCP7FIYQ22K7EKT2II2XCYBIDIQBLAQ"
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		t.Fatal(err)
	}
	picture, err := drawQR(text)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(picture, "\n"), "\n")
	if want := (code.Size + 2*4 + 1) / 2; len(lines) != want {
		t.Fatalf("%d lines, want %d", len(lines), want)
	}
	for n, line := range lines {
		bare, ok := strings.CutPrefix(line, "\x1b[30;107m")
		bare, end := strings.CutSuffix(bare, "\x1b[0m")
		cells := []rune(bare)
		if !ok || !end || len(cells) != code.Size+2*4 {
			t.Fatalf("line %d is %q", n, line)
		}
		for x, cell := range cells {
			above, below := code.Black(x-4, 2*n-4), code.Black(x-4, 2*n-3)
			want := map[[2]bool]rune{{false, false}: ' ', {true, false}: '▀', {false, true}: '▄', {true, true}: '█'}[[2]bool{above, below}]
			if cell != want {
				t.Fatalf("line %d, cell %d is %q, want %q", n, x, cell, want)
			}
		}
	}
	if _, err := drawQR(strings.Repeat("A", 5000)); err == nil {
		t.Error("what fits no QR code is drawn")
	}
}
