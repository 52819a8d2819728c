package notice

import (
	"strings"
	"testing"
)

func TestDocument(t *testing.T) {
	good := Document{SHA256: [32]byte{1}, Chunks: [32]byte{2}, Size: 5, Name: "Playbook Ärzte 2.pdf", Media: "application/pdf"}
	for name, change := range map[string]func(d *Document){
		"as it should be": nil,
		"no hash":         func(d *Document) { d.SHA256 = [32]byte{} },
		"no list":         func(d *Document) { d.Chunks = [32]byte{} },
		"empty":           func(d *Document) { d.Size = 0 },
		"too large":       func(d *Document) { d.Size = DocumentMax + 1 },
		"80 MB":           func(d *Document) { d.Size = 80_000_000 },
		"no name":         func(d *Document) { d.Name = "" },
		"a path":          func(d *Document) { d.Name = "../../etc/cron.d/job" },
		"absolute":        func(d *Document) { d.Name = "/etc/passwd" },
		"Windows path":    func(d *Document) { d.Name = `..\job.bat` },
		"a drive":         func(d *Document) { d.Name = "C:job.bat" },
		"a device":        func(d *Document) { d.Name = "nul.txt" },
		"the directory":   func(d *Document) { d.Name = ".." },
		"hidden":          func(d *Document) { d.Name = ".bashrc" },
		"a line":          func(d *Document) { d.Name = "a\nb.pdf" },
		"reversed":        func(d *Document) { d.Name = "gnp.\u202eexe" },
		"long":            func(d *Document) { d.Name = strings.Repeat("a", WhatMax+1) },
		"no type":         func(d *Document) { d.Media = "" },
		"header":          func(d *Document) { d.Media = "text/html\r\nX: y" },
		"parameters":      func(d *Document) { d.Media = "text/html;charset=utf-8" },
	} {
		t.Run(name, func(t *testing.T) {
			d := good
			if change != nil {
				change(&d)
			}
			if err := d.check("documents[0]"); (err == nil) != (change == nil) {
				t.Errorf("%+v: %v", d, err)
			}
		})
	}
}
