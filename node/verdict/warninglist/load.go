package warninglist

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"math"
	"path"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"github.com/watchward/watchward/node/intel/jsonscan"
	"github.com/watchward/watchward/node/notice"
)

// Limits of a Set. What is beyond one is left out, and a Problem says so.
const (
	filesMax      = 1_000
	fileBytesMax  = 256 << 20
	entriesMax    = 2_000_000 // of all lists
	entryBytesMax = notice.ValueMax
	keyBytesMax   = 127 // of an entry with a comment: jsonscan cuts keys at 128
	nameBytesMax  = 200

	substringBytesMin = 3        // what is shorter is in nearly everything
	substringsMax     = 64 << 20 // bytes of all lists
	patternBytesMax   = 1_000
	patternStepsMax   = 1_000  // instructions of one
	patternsStepsMax  = 20_000 // of all lists: each may be tried on each byte of a value

	problemsMax = 100
)

// Load reads every *.json below a directory, as a clone of MISP's repository has them
// (lists/NAME/list.json) or as one's own. A file that cannot be read is left out as a
// whole, an entry that cannot be is left out alone; both are named. The error says
// that there is no directory to read.
func Load(dir fs.FS) (*Set, []Problem, error) { return load(dir, entriesMax) }

func load(dir fs.FS, entriesMax int) (*Set, []Problem, error) {
	l := &loader{dir: dir, set: &Set{seed: maphash.MakeSeed()}, entriesMax: entriesMax}
	files, err := l.files()
	if err != nil {
		return nil, nil, fmt.Errorf("warninglists: %w", err)
	}
	for _, file := range files {
		l.load(file)
	}
	l.finish()
	return l.set, l.problems, nil
}

type loader struct {
	dir        fs.FS
	set        *Set
	problems   []Problem
	entriesMax int

	entries, substringBytes, patternSteps int // taken so far
}

func (l *loader) problem(file, fix, format string, args ...any) {
	switch n := len(l.problems); {
	case n < problemsMax:
		l.problems = append(l.problems, Problem{File: show(file), Reason: plain(fmt.Sprintf(format, args...)), Fix: fix})
	case n == problemsMax:
		l.problems = append(l.problems, Problem{File: show(file), Reason: "this and perhaps more is wrong", Fix: "put right what is named before"})
	}
}

// plain escapes what of a file's text would not show in a message.
func plain(s string) string {
	if notice.Printable(s) {
		return s
	}
	quoted := strconv.QuoteToASCII(s)
	return quoted[1 : len(quoted)-1]
}

// show makes a name or an entry of a file fit for a line.
func show(s string) string {
	const limit = 80
	if len(s) <= limit && s != "" && notice.Printable(s) {
		return s
	}
	return strconv.QuoteToASCII(s[:min(len(s), limit)])
}

// files returns the names of the files to read, in order. What is no plain file, such
// as a pipe that never ends, is not among them.
func (l *loader) files() (files []string, err error) {
	err = fs.WalkDir(l.dir, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && name == ".":
			return err
		case err != nil:
			l.problem(name, "let this program read it", "%v", err)
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir() && name != "." && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".json":
			return nil
		case len(files) == filesMax:
			l.problem(name, "move what is not needed elsewhere", "there are more than %d files: it and those after it are left out", filesMax)
			return fs.SkipAll
		}
		files = append(files, name)
		return nil
	})
	return files, err
}

// load takes in one file, as a whole or not at all.
func (l *loader) load(file string) {
	head, err := l.head(file)
	if err == nil {
		err = l.body(file, head)
	}
	if problem := (*Problem)(nil); errors.As(err, &problem) {
		l.problem(file, problem.Fix, "%s", problem.Reason)
	} else if err != nil {
		l.problem(file, "get it again, whole: it is left out", "%v", err)
	}
}

// read calls member for each key of the object in a file.
func (l *loader) read(file string, member func(s *jsonscan.Scanner, key string) error) error {
	info, err := fs.Stat(l.dir, file)
	switch {
	case err != nil:
		return &Problem{Reason: err.Error(), Fix: "let this program read it"}
	case !info.Mode().IsRegular():
		return &Problem{Reason: "it is no plain file", Fix: "put the list itself here"}
	case info.Size() > fileBytesMax:
		return &Problem{Reason: fmt.Sprintf("it has %d bytes", info.Size()), Fix: fmt.Sprintf("up to %d are read: split it", fileBytesMax)}
	}
	f, err := l.dir.Open(file)
	if err != nil {
		return &Problem{Reason: err.Error(), Fix: "let this program read it"}
	}
	defer f.Close()
	s := jsonscan.New(io.LimitReader(f, fileBytesMax))
	if err := s.Object(func(key string) error { return member(s, key) }); err != nil {
		return err
	}
	if more, err := s.More(); err != nil || more {
		return cmp.Or(err, s.Errorf("something follows the list"))
	}
	return nil
}

// A head is what a file says beside its entries, which may come before it.
type head struct {
	list
	attributes int // how many matching_attributes it names
	listed     bool
}

func (l *loader) head(file string) (head, error) {
	h := head{list: list{Info: Info{File: file, Type: "string"}}} // as MISP takes what has no type
	err := l.read(file, func(s *jsonscan.Scanner, key string) (err error) {
		switch key {
		case "name":
			h.Name, err = text(s)
		case "version":
			h.Version, err = text(s)
		case "type":
			return s.Each(func(i int) error { // some have it in an array
				t, err := text(s)
				if i == 0 {
					h.Type = t
				}
				return err
			})
		case "matching_attributes":
			return s.Each(func(int) error {
				attribute, err := text(s)
				h.attributes++
				h.types |= attributeTypes(attribute)
				return err
			})
		case "list":
			h.listed = true
			return s.Skip()
		default:
			return s.Skip()
		}
		return err
	})
	switch {
	case err != nil:
		return h, err
	case !h.listed:
		return h, &Problem{Reason: "it has no list", Fix: "put warninglists of MISP here, and nothing else: it is left out"}
	case !slices.Contains([]string{"string", "substring", "hostname", "cidr", "regex"}, h.Type):
		return h, &Problem{Reason: "its type is " + show(h.Type), Fix: "choose string, substring, hostname, cidr or regex: it is left out"}
	}
	if h.Name == "" || !notice.Printable(h.Name) {
		h.Name = show(file)
	}
	if !notice.Printable(h.Version) {
		h.Version = ""
	}
	if h.attributes == 0 {
		h.types = math.MaxUint32 // MISP's ALL
	}
	return h, nil
}

func text(s *jsonscan.Scanner) (string, error) {
	t, err := s.Text(nameBytesMax)
	return strings.TrimSpace(t.S), err
}

// attributeTypes returns the types of indicator that an attribute of MISP's may be.
// Those that are none here, such as phone-number, give no bits.
func attributeTypes(attribute string) (bits uint32) {
	for part := range strings.SplitSeq(attribute, "|") {
		for _, t := range attributes[part] {
			bits |= bit(t)
		}
		if part == "ALL" {
			bits = math.MaxUint32
		}
	}
	return bits
}

var (
	addresses  = []notice.Type{notice.TypeIPv4, notice.TypeIPv6, notice.TypeCIDR}
	emails     = []notice.Type{notice.TypeEmail}
	attributes = map[string][]notice.Type{
		"ip-src": addresses, "ip-dst": addresses, "ip": addresses,
		"domain": {notice.TypeDomain}, "hostname": {notice.TypeDomain},
		"url": {notice.TypeURL}, "uri": {notice.TypeURL}, "link": {notice.TypeURL},
		"email": emails, "email-src": emails, "email-dst": emails, "email-reply-to": emails,
		"whois-registrant-email": emails,
		"md5":                    {notice.TypeMD5}, "sha1": {notice.TypeSHA1}, "sha256": {notice.TypeSHA256}, "sha512": {notice.TypeSHA512},
		"malware-sample": {notice.TypeFilename, notice.TypeMD5}, "filename": {notice.TypeFilename},
		"ja3-fingerprint-md5": {notice.TypeJA3}, "x509-fingerprint-sha256": {notice.TypeCertSHA256},
		"AS": {notice.TypeASN}, "mutex": {notice.TypeMutex}, "regkey": {notice.TypeRegistryKey}, "btc": {notice.TypeBTC},
	}
)

// body takes in the entries of a file, under the number of the next list.
func (l *loader) body(file string, h head) error {
	if h.types == 0 {
		return nil // of nothing that is an indicator here
	}
	s := newStage(h, uint16(len(l.set.lists)), l)
	err := l.read(file, func(scan *jsonscan.Scanner, key string) error {
		if key != "list" {
			return scan.Skip()
		}
		if c, err := scan.Peek(); err == nil && c == '{' { // values with comments
			return scan.Object(func(value string) error {
				if err := s.take(jsonscan.Text{S: value, Long: len(value) > keyBytesMax}); err != nil {
					return err
				}
				return scan.Skip()
			})
		}
		return scan.Each(func(int) error {
			t, err := scan.Text(entryBytesMax)
			if err != nil {
				return err
			}
			return s.take(t)
		})
	})
	if err != nil {
		return err
	}
	if s.left > 0 {
		l.problem(file, "the other entries count", "%d of %d entries are left out, the first is %s: %s", s.left, s.left+s.entries, show(s.first), s.why)
	}
	s.commit()
	return nil
}

// finish makes what was read fit to be searched.
func (l *loader) finish() {
	for _, entries := range []*[]entry{&l.set.strings, &l.set.hosts} {
		slices.SortFunc(*entries, func(a, b entry) int {
			return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.list, b.list), compareBool(a.holds, b.holds))
		})
		*entries = slices.Clip(slices.CompactFunc(*entries, func(a, b entry) bool { return a.hash == b.hash && a.list == b.list }))
	}
	for i := range l.set.substrings {
		texts := l.set.substrings[i].texts
		slices.Sort(texts)
		kept := texts[:0]
		for _, t := range texts {
			if n := len(kept); n == 0 || !strings.HasPrefix(t, kept[n-1]) {
				kept = append(kept, t)
			}
		}
		l.set.substrings[i].texts = kept
	}
}

// pattern reads a regular expression as PHP writes it, /…/i, or bare, and says how many
// instructions it has.
func pattern(s string) (*regexp.Regexp, int, error) {
	expr := s
	if len(s) > 1 && strings.IndexByte("/#~@!%", s[0]) >= 0 {
		if end := strings.LastIndexByte(s, s[0]); end > 0 {
			flags := strings.NewReplacer("u", "", "D", "").Replace(s[end+1:])
			expr = s[1:end]
			if s[0] == '/' {
				expr = strings.ReplaceAll(expr, `\/`, "/")
			}
			if strings.Trim(flags, "imsU") != "" {
				return nil, 0, fmt.Errorf("the flags %s are not known", show(flags))
			}
			if flags != "" {
				expr = "(?" + flags + ")" + expr
			}
		}
	}
	steps, err := instructions(expr)
	if err != nil {
		return nil, 0, fmt.Errorf("%.200v", err)
	}
	if steps > patternStepsMax {
		return nil, 0, fmt.Errorf("it compiles to %d steps, more than %d", steps, patternStepsMax)
	}
	e, err := regexp.Compile(expr)
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("%.200v", err)
	case e.MatchString(""):
		return nil, 0, errors.New("it matches everything")
	}
	return e, steps, nil
}

func instructions(expr string) (int, error) {
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return 0, err
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return 0, err
	}
	return len(prog.Inst), nil
}
