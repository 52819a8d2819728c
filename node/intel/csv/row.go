package csv

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/misp"
	"github.com/watchward/watchward/node/notice"
)

const sourceMax = 100 // bytes of a source's name; a longer one is left out

func newBuffered(text []byte) *bufio.Reader {
	return bufio.NewReaderSize(bytes.NewReader(text), 4<<10)
}

// row yields what one row says.
func (t *table) row(cells []string, line int, marks *intel.Marks, o Options, yield func(intel.Found) error) error {
	if t.own {
		cells = slices.Clone(cells)
		for i, c := range cells {
			cells[i] = restore(c)
		}
	}
	if t.comma == '|' && strings.Trim(strings.Join(cells, ""), "-: ") == "" { // the rule below a header in Markdown
		return nil
	}
	f := fields{Notice: notice.Notice{Kind: notice.KindIndicator, Origin: &notice.Origin{Source: "csv"}}, tlp: marks.TLP, unclear: marks.Unclear, own: t.own}
	cellAt := func(column int) string {
		name := ""
		if column < len(t.header) {
			name = t.header[column]
		}
		return place(line, column+1, name)
	}
	refusal := func(column int, value, reason string) intel.Found {
		return intel.Found{Place: cellAt(column), Item: f.item, TLP: f.tlp, Unclear: f.unclear, Value: intel.Show(value), Reason: reason}
	}
	if extra := len(t.role); len(cells) > extra && strings.Join(cells[extra:], "") != "" {
		return yield(refusal(extra, cells[extra], fmt.Sprintf("the row has %d columns where the table has %d: put a cell with a delimiter in quotes", len(cells), extra)))
	}
	other := ""
	for i, cell := range cells[:min(len(cells), len(t.role))] {
		if reason := f.read(t.role[i].name, strings.TrimSpace(cell)); reason != "" {
			return yield(refusal(i, cell, reason))
		}
		if f.strange != "" {
			f.unclear, f.strange = cmp.Or(f.unclear, fmt.Sprintf("%q (%s)", f.strange, cellAt(i))), ""
		}
		if f.other != "" && other == "" {
			other = fmt.Sprintf("%q (%s)", f.other, cellAt(i))
		}
	}
	if none := t.noMarking(cells, f.tlp, cellAt, marks); f.tlp == 0 {
		f.unclear = cmp.Or(f.unclear, other, none)
	}
	if f.gone {
		return nil
	}
	several := 0
	for i := range t.role {
		if t.role[i].name == "value" {
			several++
		}
	}
	for i, cell := range cells[:min(len(cells), len(t.role))] {
		if t.role[i].name != "value" || f.empty(cell) {
			continue
		}
		for _, v := range values(t.role[i].kind, f.kind, strings.TrimSpace(cell), o.Indicator) {
			reason := v.Reason
			skipped := f.noIDS && !o.All
			if reason == "" && skipped {
				reason = misp.NotForDetection
			}
			if reason == "" && !o.All {
				reason, skipped = v.OnlyAll, v.OnlyAll != ""
			}
			if reason == "" {
				reason = f.check()
			}
			if reason != "" {
				out := refusal(i, v.Text, reason)
				out.Skipped = skipped
				if err := yield(out); err != nil {
					return err
				}
				continue
			}
			at := "line " + strconv.Itoa(line)
			if several > 1 {
				at = place(line, i+1, "")
			}
			if err := yield(intel.Found{Place: at, Item: f.item, TLP: f.tlp, Unclear: f.unclear, Value: intel.Show(v.Text), Notice: f.notice(v.Indicator)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// hasMarking reports whether something stands in one of a row's columns of markings.
func (t *table) hasMarking(cells []string) bool {
	for i, c := range cells[:min(len(cells), len(t.role))] {
		if isMarking(t.role[i]) && !blank(c) {
			return true
		}
	}
	return false
}

// noMarking returns what is unclear about a row that has nothing where others have
// their marking, "" if it has something. If the first to have one comes later, the
// whole is unclear.
func (t *table) noMarking(cells []string, tlp notice.TLP, cellAt func(int) string, marks *intel.Marks) string {
	at := slices.IndexFunc(t.role, isMarking)
	if at < 0 || t.own {
		return ""
	}
	if t.hasMarking(cells) {
		if !t.marked && t.unmarked != "" {
			marks.Unclear = cmp.Or(marks.Unclear, t.unmarked)
		}
		t.marked = true
		return ""
	}
	if tlp != 0 {
		return ""
	}
	unclear := fmt.Sprintf("%q (%s: empty, and other rows have one)", "", cellAt(at))
	if !t.marked {
		t.unmarked = cmp.Or(t.unmarked, unclear)
		return ""
	}
	return unclear
}

// fields is what a row says beside its values.
type fields struct {
	notice.Notice
	context notice.Context
	kind    string // the type of its values
	tlp     notice.TLP
	strange string // what a cell has as a marking that is none: "TLP:YELLOW"
	other   string // what a column of another way of marking has: "Your organisation only"
	unclear string // the first of those, with its place
	noIDS   bool
	gone    bool // its author has taken it back
	own     bool // Writer wrote it: every word is meant
	item    *crypto.ItemID
}

var (
	techniqueForm = regexp.MustCompile(`^T\d{4}(\.\d{3})?$`)
	cveForm       = regexp.MustCompile(`^CVE-\d{4}-\d{4,19}$`)
)

// read takes one cell, and returns why the row is refused, "" if it is not.
func (f *fields) read(name, cell string) (reason string) {
	if name == "value" {
		return ""
	}
	if name == "tlp" || name == "sharing" {
		return f.marking(name, cell)
	}
	if !f.own {
		mark := intel.Marking(cell)
		f.tlp, f.strange = notice.Stricter(f.tlp, mark.TLP), mark.Unclear
	}
	if f.empty(cell) {
		return ""
	}
	var err error
	switch name {
	case "type":
		f.kind = cell
	case "kind":
		f.Notice.Kind, err = notice.ParseKind(cell)
	case "first_seen":
		f.FirstSeen, err = parseTime(cell)
	case "last_seen":
		f.LastSeen, err = parseTime(cell)
	case "valid_until":
		f.ValidUntil, err = parseTime(cell)
	case "notice":
		if id, bad := crypto.ParseItemID(cell); bad == nil && f.own {
			f.item = &id
		}
	case "to_ids":
		f.noIDS = cell == "0" || strings.EqualFold(cell, "false")
	case "retracted":
		f.gone = cell == "1" || strings.EqualFold(cell, "true")
	default:
		f.text(name, cell)
	}
	if err != nil {
		return intel.Reason(err)
	}
	return ""
}

// marking takes a cell of a column of markings.
func (f *fields) marking(name, cell string) (reason string) {
	if blank(cell) {
		return ""
	}
	tlp, ok := intel.ParseMarking(cell)
	if mark := intel.Marking(cell); !ok && mark.Unclear == "" {
		tlp, ok = mark.TLP, mark.TLP != 0 // "TLP:AMBER, for us only"
	}
	f.tlp = notice.Stricter(f.tlp, tlp)
	switch {
	case ok:
		return ""
	case name == "sharing":
		f.other = intel.Show(cell)
		return ""
	}
	_, err := notice.ParseTLP(cell)
	return intel.Reason(err) + ", or leave the column out with --columns"
}

// blank reports whether a cell of a column of markings is empty, in any of the
// usual ways; "unknown" is none.
func blank(cell string) bool {
	switch strings.ToLower(strings.TrimSpace(cell)) {
	case "", "-", "none", "null", "n/a":
		return true
	}
	return false
}

// text takes a cell that is kept as it is, if it is fit to be.
func (f *fields) text(name, cell string) {
	if !notice.Printable(cell) || len(cell) > notice.NameMax {
		return
	}
	switch name {
	case "family":
		f.context.Family = cell
	case "tool":
		f.context.Tool = cell
	case "technique":
		if id := strings.ToUpper(cell); techniqueForm.MatchString(id) {
			f.context.Technique = id
		}
	case "cve":
		if id := strings.ToUpper(cell); cveForm.MatchString(id) {
			f.context.CVE = id
		}
	case "source":
		if len(cell) <= sourceMax {
			f.Origin.Source = "csv:" + cell
		}
	case "origin":
		f.Origin.Source = cell
	case "id", "origin_id":
		f.Origin.ID = cell
	}
}

// check says what is wrong with a row as a whole.
func (f *fields) check() string {
	switch {
	case f.LastSeen != 0 && f.LastSeen < f.FirstSeen:
		return "last_seen is before first_seen"
	case f.Notice.Kind == notice.KindDispute:
		return "a dispute in a table is another's: if it is yours too, say watchward dispute"
	case f.Notice.Kind == notice.KindRetraction:
		return "a retraction cannot be imported: only its author makes one"
	case f.Notice.Kind.HasPart():
		return "a " + f.Notice.Kind.String() + " cannot be imported: a hospital says itself how it is"
	}
	return ""
}

// notice makes the notice of one value.
func (f *fields) notice(i notice.Indicator) *notice.Notice {
	n := f.Notice
	origin := *f.Origin
	origin.TLP = f.tlp
	n.Indicator, n.Origin = &i, &origin
	if n.FirstSeen == 0 {
		n.FirstSeen = n.LastSeen
	}
	n.Kind = notice.KindIndicator // a sighting that was read of was not made here
	if f.context != (notice.Context{}) {
		context := f.context
		n.Context = &context
	}
	return &n
}

func (f *fields) empty(cell string) bool { return cell == "" || !f.own && empty(cell) }

// empty reports whether a cell says nothing, in any of the usual ways.
func empty(cell string) bool {
	switch strings.ToLower(strings.TrimSpace(cell)) {
	case "", "-", "none", "null", "n/a", "unknown", "unknown malware":
		return true
	}
	return false
}

var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05-0700", "2006-01-02 15:04:05", "2006-01-02 15:04:05 UTC", "2006-01-02 15:04:05 MST",
	"2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02", "02.01.2006 15:04:05", "02.01.2006 15:04", "02.01.2006"}

// parseTime reads a time as ms: ISO 8601 in most of its ways, German dates,
// seconds or milliseconds since 1970. Without a zone it is UTC.
func parseTime(cell string) (int64, error) {
	const year2200 = 7_258_118_400 // s; a larger number is milliseconds
	ms := int64(-1)
	if n, err := strconv.ParseInt(cell, 10, 64); err == nil {
		if ms = n; n > 0 && n < year2200 {
			ms = n * 1000
		}
	}
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, cell); err == nil {
			ms = t.UnixMilli()
			break
		}
	}
	const timeMax = 253_402_300_799_999 // the end of year 9999
	if ms <= 0 || ms > timeMax {
		return 0, fmt.Errorf("%q is not a time between 1970 and 9999: write it as 2026-01-31T12:00:00Z", intel.Show(cell))
	}
	return ms, nil
}

// expected are the types that a column may hold whose kind is no one type.
var expected = map[string][]notice.Type{
	"ip":   {notice.TypeIPv4, notice.TypeIPv6, notice.TypeCIDR},
	"host": {notice.TypeDomain, notice.TypeIPv4, notice.TypeIPv6},
	"hash": {notice.TypeMD5, notice.TypeSHA1, notice.TypeSHA256, notice.TypeSHA512},
}

// typeNames are names of types in other tools' tables, and what they are here.
var typeNames = map[string]string{
	"ip": "ip", "ip-address": "ip", "ipaddress": "ip", "ip:port": "ip", "ipv4-addr": "ip", "ipv6-addr": "ip", "ipv4": "ip", "ipv6": "ip",
	"ipv4-addr:value": "ip", "ipv6-addr:value": "ip", "address": "ip", "intel::addr": "ip", "intel::subnet": "cidr",
	"domain": "host", "domain-name": "host", "domain-name:value": "host", "fqdn": "host", "host": "host", "intel::domain": "host",
	"url": "url", "url:value": "url", "intel::url": "url", "email-addr": "email", "email-addr:value": "email", "e-mail": "email", "intel::email": "email",
	"hash": "hash", "file": "hash", "filehash": "hash", "intel::file-hash": "hash", "md5-hash": "md5", "sha1-hash": "sha1", "sha256-hash": "sha256",
	"sha512-hash": "sha512", "filehash-md5": "md5", "filehash-sha1": "sha1", "filehash-sha256": "sha256", "sha-1": "sha1", "sha-256": "sha256", "sha-512": "sha512",
	"domäne": "host", "domaene": "host", "ip-adresse": "ip", "adresse": "ip", "datei-hash": "hash", "dateihash": "hash", "hashwert": "hash", "prüfsumme": "hash", "pruefsumme": "hash",
	"e-mail-adresse": "email", "email-adresse": "email", "dateiname": "filename",
	"file-name": "filename", "intel::file-name": "filename", "registry": "registry-key", "bitcoin": "btc",
}

// kindOf returns what a type column's word means here, in MISP's words if it is
// none of ours.
func kindOf(word string) string {
	name := strings.NewReplacer("_", "-", " ", "-").Replace(strings.ToLower(strings.TrimSpace(word)))
	if kind := typeNames[name]; kind != "" {
		return kind
	}
	if t, err := notice.ParseType(name); err == nil {
		return t.String()
	}
	return strings.TrimSpace(word)
}

func knownType(word string) bool {
	kind := kindOf(word)
	_, err := notice.ParseType(kind)
	return err == nil || expected[kind] != nil || misp.KnownType(kind)
}

// values reads a cell: as its column's kind, where that is no more than "value"
// as the row's type, and without one by its look.
func values(kind, word, cell string, o notice.Options) []misp.Value {
	if kind == "value" {
		kind = ""
		if word != "" {
			kind = kindOf(word)
		}
	}
	types := expected[kind]
	t, typed := notice.ParseType(kind)
	var i notice.Indicator
	var err error
	switch {
	case kind == "" || types != nil:
		if i, err = notice.Detect(cell, o); err == nil && types != nil && !slices.Contains(types, i.Type) {
			err = fmt.Errorf("%s is not of the type %s: correct it, or the columns (--columns)", intel.Show(cell), strings.Replace(kind, "host", "domain", 1))
		}
	case typed == nil && kind != "url": // MISP's reading of a URL takes bare hosts as well
		i, err = notice.Canonical(t, cell, o)
	default:
		return misp.Values(kind, cell, o)
	}
	v := misp.Value{Text: cell, Indicator: i}
	if err != nil {
		v.Reason = intel.Reason(err)
	}
	return []misp.Value{v}
}
