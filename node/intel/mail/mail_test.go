package mail_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/inteltest"
	"github.com/watchward/watchward/node/intel/mail"
)

// read returns what is found as "part 1: line 3 domain evil.example AMBER", and what was not read.
func read(t *testing.T, file string) (out, unread []string, err error) {
	t.Helper()
	err = mail.Read(strings.NewReader(file), mail.Options{Unread: func(what string) { unread = append(unread, what) }}, func(f intel.Found) error {
		inteltest.CheckFound(t, f)
		line := f.Place
		if f.Notice != nil {
			line += " " + f.Notice.Indicator.String()
			if f.Notice.Origin.Source != "mail" || f.Notice.Origin.TLP != f.TLP {
				t.Errorf("%+v", f.Notice.Origin)
			}
		} else if f.Skipped {
			line += " SKIPPED " + f.Reason
		} else {
			line += " REFUSED " + f.Reason
		}
		if f.TLP != 0 {
			line += " " + f.TLP.String()
		}
		if f.Unclear != "" {
			line += " ? " + f.Unclear
		}
		out = append(out, line)
		return nil
	})
	return out, unread, err
}

const (
	head   = "Received: from relay[.]example (198.51.100.99) by x\nFrom: anna[at]sender[.]example\nReply-To: <x@evil[.]example>\nMessage-ID: <1@c2[.]example>\n"
	mixed  = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
	b64    = "Content-Type: text/plain\nContent-Transfer-Encoding: base64\n"
	filler = "Dear all, this is what we saw of them today.\n"
)

func encoded(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// nest puts so many parts around a text.
func nest(depth int) string {
	text := "Content-Type: text/plain\n\nIt is evil[.]example, again.\n"
	for i := range depth {
		text = fmt.Sprintf("Content-Type: multipart/mixed; boundary=x%d\n\n--x%d\n%s\n--x%d--\n", i, i, text, i)
	}
	return text
}

var mails = map[string]struct {
	file         string
	want, unread []string
}{
	"plain": {head + "Subject: wave 3\n\n" + filler + "It is evil[.]example.\n", []string{"body: line 2 domain evil.example"}, nil},
	"CRLF, and a marking in the subject": {strings.ReplaceAll(head+"Subject: [TLP:AMBER]\n wave at b[.]example\n\n"+filler+"It is evil[.]example.\n", "\n", "\r\n"),
		[]string{"Subject domain b.example AMBER", "body: line 2 domain evil.example AMBER"}, nil},
	"encoded subject": {head + "Subject: =?utf-8?B?" + encoded("[TLP:RED] für ") + "?=\n =?iso-8859-1?Q?k=F6ln[.]example?=\n\nIt is evil[.]example today.\n",
		[]string{"Subject domain xn--kln-sna.example RED", "body: line 1 domain evil.example RED"}, nil},
	"a marking that nobody knows": {head + "Subject: TLP:YELLOW wave\n\nIt is evil[.]example today.\n", []string{`body: line 1 domain evil.example ? "TLP:YELLOW" (Subject)`}, nil},
	"a marking at the end":        {head + "Subject: x\n" + mixed + "--b\n\nIt is evil[.]example today.\n--b\nContent-Type: text/html\n\n<table><tr><td>TLP:</td><td>AMBER</td></table>\n--b--\n", []string{"part 1: line 1 domain evil.example AMBER"}, nil},
	"a marking far below":         {head + "Subject: x\n\nIt is evil[.]example today.\n" + strings.Repeat(filler, 3_000) + "TLP: gelb\n", []string{`body: line 1 domain evil.example ? "TLP: gelb" (body: line 3002)`}, nil},
	"a header of its own":         {head + "X-TLP: RED\nSubject: x\n\nIt is evil[.]example today.\n", []string{"body: line 1 domain evil.example RED"}, nil},
	"quoted-printable":            {head + "Subject: x\nContent-Type: text/plain; charset=windows-1252\nContent-Transfer-Encoding: quoted-printable\n\nIt is m=FCn=\nchen[.]example today =96 and now.\n", []string{"body: line 1 domain xn--mnchen-3ya.example"}, nil},
	"base64":                      {head + "Subject: x\n" + b64 + "\n" + encoded(filler + "It is evil[.]example.")[:40] + "\n" + encoded(filler + "It is evil[.]example.")[40:] + "\n", []string{"body: line 2 domain evil.example"}, nil},
	"UTF-16":                      {head + "Subject: x\nContent-Type: text/plain; charset=utf-16le\nContent-Transfer-Encoding: base64\n\n" + encoded("I\x00t\x00 \x00e\x00[\x00.\x00]\x00d\x00e\x00 \x00x\x00"), []string{"body: line 1 domain e.de"}, nil},
	"alternatives give a value once": {head + "Subject: x\nContent-Type: multipart/alternative; boundary=\"a b\"\n\npreamble pre[.]example\n--a b\n\nIt is evil[.]example, and 10.0.0.1.\n--a b\nContent-Type: text/html; charset=utf-8\n\n<p>It is evil<b>[.]</b>example, and 10.0.0.1. <a href='hxxp://b[.]example'>x</a>\n--a b--\nepilogue epi[.]example\n",
		[]string{"part 1: line 1 domain evil.example", "part 1: line 1 REFUSED 10.0.0.1 is a private address: pass --allow-special if you mean it", "part 2: line 1 url http://b.example/"}, nil},
	"a list is one": {head + "Subject: x\n\nhttp://evil.example/a\nb.example\n", []string{"body: line 1 url http://evil.example/a", "body: line 2 domain b.example"}, nil},
	"attachments": {head + "Subject: x\n" + mixed + "--b\n\nIt is evil[.]example today.\n--b\nContent-Type: application/pdf\nContent-Disposition: attachment; filename=\"invoice.pdf\"\nContent-Transfer-Encoding: base64\n\n!!!\n--b\nContent-Type: image/png\n\nx[.]example\n--b\nContent-Type: text/csv; name=\"=?utf-8?Q?K=C3=B6ln.csv?=\"\n\nc.example,1\n--b\nContent-Type: application/pgp-signature\n\nx\n--b--\n",
		[]string{"part 1: line 1 domain evil.example"}, []string{"attachment invoice.pdf", "part 3 (image/png)", "attachment Köln.csv"}},
	"a mail in it": {head + "Subject: Fwd\n" + mixed + "--b\n\nSee b[.]example below.\n--b\nContent-Type: message/rfc822\n\nReceived: from r[.]example\nSubject: TLP:RED old c[.]example\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nIt is evil[.]example today.\n--c--\n--b--\n",
		[]string{"part 1: line 1 domain b.example RED", "part 2: Subject domain c.example RED", "part 2.1: line 1 domain evil.example RED"}, nil},
	"a digest":               {head + "Subject: x\nContent-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: y\n\nIt is evil[.]example today.\n--b--\n", []string{"part 1: line 1 domain evil.example"}, nil},
	"no text":                {head + "Subject: x\nContent-Type: application/pdf\n\nevil[.]example\n", nil, []string{"body (application/pdf)"}},
	"mbox":                   {"From anna@b Mon Nov  2 10:00:00 2026\n" + head + "Subject: x\n\nIt is evil[.]example today.\n", []string{"body: line 1 domain evil.example"}, nil},
	"ten deep":               {head + "Subject: x\n" + nest(10), []string{"part 1.1.1.1.1.1.1.1.1.1: line 1 domain evil.example"}, nil},
	"keywords":               {head + "Keywords: wave, AMBER\nSubject: x\n\nIt is evil[.]example today.\n", []string{`body: line 1 domain evil.example AMBER`}, nil},
	"comments":               {head + "Comments: =?utf-8?Q?TLP:RED?=\nSubject: x\n\nIt is evil[.]example today.\n", []string{`body: line 1 domain evil.example RED`}, nil},
	"sensitivity":            {head + "Sensitivity: Company-Confidential\nSubject: x\n\nIt is evil[.]example today.\n", []string{`body: line 1 domain evil.example ? "Sensitivity: Company-Confidential" (Sensitivity)`}, nil},
	"a subject in brackets":  {head + "Subject: [AMBER] x\n\nIt is evil[.]example today.\n", []string{`body: line 1 domain evil.example AMBER`}, nil},
	"a subject with both":    {head + "Subject: x (TLP AMBER)\n\nIt is evil[.]example today.\n", []string{`body: line 1 domain evil.example AMBER`}, nil},
	"an authority's subject": {head + "Subject: VS-NfD: x\n\nIt is evil[.]example today.\n", []string{`body: line 1 domain evil.example ? "vs nfd" (Subject)`}, nil},
	"an authority's line":    {head + "Subject: x\n\nIt is evil[.]example today.\nVERTRAULICH\n", []string{`body: line 1 domain evil.example ? "VERTRAULICH" (body: line 2)`}, nil},
	"a name that marks": {head + "Subject: x\n" + mixed + "--b\n\nIt is evil[.]example today.\n--b\nContent-Type: text/csv\nContent-Disposition: attachment; filename=TLP_RED_liste.csv\n\nx\n--b--\n",
		[]string{"part 1: line 1 domain evil.example RED"}, []string{"attachment TLP_RED_liste.csv"}},
	"a link":    {head + "Subject: x\n\nIt is evil[.]example today.\nMore at https://www.first.org/tlp/ today.\n", []string{"body: line 1 domain evil.example", "body: line 2 SKIPPED a link that works, in prose, is mostly a reference: write it as hxxp:// or in a list if it is meant"}, nil},
	"old words": {head + "Subject: x\nContent-Type: text\n\nIt is evil[.]example today.\n", []string{"body: line 1 domain evil.example"}, nil},
}

func TestRead(t *testing.T) {
	for name, c := range mails {
		got, unread, err := read(t, c.file)
		if err != nil || !slices.Equal(got, c.want) || !slices.Equal(unread, c.unread) {
			t.Errorf("%s: %v, not read %q, want %q\n got %q\nwant %q", name, err, unread, c.unread, got, c.want)
		}
		if format := intel.Sniff([]byte(c.file)); format != intel.FormatMail {
			t.Errorf("%s: Sniff says %s", name, format)
		}
	}
}

// TestBroken: what cannot be read is named with its place, what preceded it is
// given, and of a broken part nothing.
func TestBroken(t *testing.T) {
	one := "--b\n\nIt is evil[.]example today.\n"
	before := []string{"part 1: line 1 domain evil.example"}
	many := head + "Subject: x\n" + mixed + strings.Repeat(one, 1_000) + "--b--\n"
	for name, c := range map[string]struct {
		file, want string
		before     []string
	}{
		"truncated base64":      {head + mixed + one + "--b\n" + b64 + "\n" + encoded("It is b[.]example.\n")[:21] + "\n--b--\n", "part 2: line 1 of its text: it ends in the middle", before},
		"no base64":             {head + mixed + one + "--b\n" + b64 + "\n" + encoded("It is b[.]example.\n") + "\nfoot[.]er\n--b--\n", "part 2: line 2 of its text: illegal base64 data", before},
		"no quoted-printable":   {head + mixed + one + "--b\nContent-Transfer-Encoding: quoted-printable\n\nIt is b[.]example.\n\x01\n--b--\n", "part 2: line 2 of its text: quotedprintable: invalid unescaped byte", before},
		"an unknown encoding":   {head + mixed + one + "--b\nContent-Transfer-Encoding: x-uuencode\n\nx\n--b--\n", `part 2: text/plain in the Content-Transfer-Encoding "x-uuencode", which is not known`, before},
		"another boundary":      {head + strings.Replace(mixed, "=b", "=c", 1) + one + "--b--\n", `part 1: the mail ends without its boundary "c"`, nil},
		"no boundary":           {head + "Content-Type: multipart/mixed\n\n" + one, "it is multipart/mixed and names no boundary", nil},
		"cut in a text":         {head + mixed + one + "--b\n\nIt is b[.]example", "part 2: line 1 of its text: it ends in the middle", before},
		"cut in an attachment":  {head + mixed + one + "--b\nContent-Type: image/png\n\nxx", `part 3: the mail ends without its boundary "b"`, before},
		"no UTF-8":              {head + mixed + one + "--b\nContent-Type: text/plain; charset=utf-8\n\nIt is b[.]example.\nK\xf6ln\n--b--\n", `part 2: line 2 of its text: it is not in the charset "utf-8"`, before},
		"no charset":            {head + "\nIt is K\xf6ln, and b[.]example.\n", `body: line 1 of its text: it is not in the charset "utf-8"`, nil},
		"UTF-8 as Latin-1":      {head + "Content-Type: text/plain; charset=iso-8859-1\n\nx\nIt is köln[.]example.\n", `body: line 2 of its text: it is not in the charset "iso-8859-1"`, nil},
		"no Shift JIS":          {head + "Content-Type: text/plain; charset=shift_jis\n\nIt is \xff\xff b[.]example.\n", `it is not in the charset "shift_jis"`, nil},
		"an unknown charset":    {head + "Content-Type: text/plain; charset=utf-7\n\nIt is b[.]example.\n", `body: the charset "utf-7" is not known`, nil},
		"a subject that hides":  {head + "Subject: =?utf-7?Q?TLP:RED?=\n\nIt is b[.]example.\n", `Subject: "=?utf-7?Q?TLP:RED?=": the charset "utf-7" is not known`, nil},
		"a subject that breaks": {head + "Subject: =?utf-8?B?VExQ*?=\n\nIt is b[.]example.\n", "an encoded word in it is broken", nil},
		"several":               {"From a@b x\n" + head + "\nIt is b[.]example.\n\nFrom c@d x\nFrom: c\n\ny\n", "line 9: another mail starts here: an mbox of several is not read", nil},
		"no header":             {"From: x\nnonsense\n\nIt is b[.]example.\n", "its header: malformed", nil},
		"eleven deep":           {head + nest(11), "lies more than 10 parts deep", nil},
		"mails deep":            {head + strings.Repeat("Content-Type: message/rfc822\n\n", 12), "lies more than 10 parts deep", nil},
		"many parts":            {many, "part 1000: it has more than 1000 parts", before},
		"a bad type":            {head + "Content-Type: multipart/mixed; boundary=a; boundary=b\n\n", "its Content-Type", nil},
	} {
		got, unread, err := read(t, c.file)
		if err == nil || !strings.HasPrefix(err.Error(), "read mail: ") || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || !slices.Equal(got, c.before) || unread != nil {
			t.Errorf("%s: %v, want %q; got %q", name, err, c.want, got)
		}
	}
}

func TestBounds(t *testing.T) {
	err := mail.Read(io.MultiReader(strings.NewReader(head+"\n"), inteltest.Endless('x', 1<<40)), mail.Options{}, func(intel.Found) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Error(err)
	}
	// Texts that grow when they are decoded count as they are.
	grows := head + "Content-Type: text/plain; charset=utf-8\n\n" + strings.Repeat("evil[.]example\n", 4_000_000)
	nested := strings.Repeat("From: x\nContent-Type: message/rfc822\n\n", 2) + grows
	err = mail.Read(strings.NewReader(nested), mail.Options{}, func(intel.Found) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "its texts are larger than 64 MiB") {
		t.Error(err)
	}
	full := errors.New("disk full")
	if err := mail.Read(strings.NewReader(mails["plain"].file), mail.Options{}, func(intel.Found) error { return full }); err != full {
		t.Error(err)
	}
}

func FuzzRead(f *testing.F) {
	for _, m := range mails {
		if len(m.file) < 4<<10 {
			f.Add([]byte(m.file))
		}
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		intel.Sniff(file)
		_ = mail.Read(bytes.NewReader(file), mail.Options{}, func(found intel.Found) error {
			inteltest.CheckFound(t, found)
			return nil
		})
	})
}
