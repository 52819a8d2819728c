package main

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// cmdPack makes a zip or, by the ending .gz, a gzip of files. A file may have
// another name in a zip than outside:
//
//	pack feed.zip list.csv ../../etc/passwd=list.csv
func cmdPack(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: pack FILE [NAME=]MEMBER...")
	}
	var out bytes.Buffer
	if strings.HasSuffix(args[0], ".gz") {
		z := gzip.NewWriter(&out)
		_, err := io.WriteString(z, ts.ReadFile(args[1]))
		ts.Check(err)
		ts.Check(z.Close())
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), out.Bytes(), 0o600))
		return
	}
	z := zip.NewWriter(&out)
	for _, member := range args[1:] {
		name, file, ok := strings.Cut(member, "=")
		if !ok {
			file = name
		}
		w, err := z.Create(name)
		ts.Check(err)
		_, err = io.WriteString(w, ts.ReadFile(file))
		ts.Check(err)
	}
	ts.Check(z.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out.Bytes(), 0o600))
}

// cmdEncode writes a file in another encoding, utf-16 or latin-1:
//
//	encode utf-16 list.csv wide.csv
func cmdEncode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: encode ENCODING FROM TO")
	}
	encoder := charmap.ISO8859_1.NewEncoder()
	if args[0] == "utf-16" {
		encoder = unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder()
	}
	text, err := encoder.String(ts.ReadFile(args[1]))
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(text), 0o600))
}

// cmdValues writes a list of so many domains:
//
//	values 50000 list.txt
func cmdValues(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: values COUNT FILE")
	}
	count, err := strconv.Atoi(args[0])
	ts.Check(err)
	var out bytes.Buffer
	for i := range count {
		fmt.Fprintf(&out, "host-%d.many.example\n", i)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), out.Bytes(), 0o600))
}
