package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/archive"
	"github.com/watchward/watchward/node/intel/csv"
	"github.com/watchward/watchward/node/intel/mail"
	"github.com/watchward/watchward/node/intel/misp"
	"github.com/watchward/watchward/node/intel/stix"
	"github.com/watchward/watchward/node/intel/text"
	"github.com/watchward/watchward/node/notice"
)

// unreadShown is how many attachments of a mail are named.
const unreadShown = 20

// missingShown is how many files are named that a manifest lists and that are not there.
const missingShown = 20

// readable replaces a directory of bundles by the bundles in it. A MISP feed stays
// as it is; any other directory is refused, since who names one seldom means every
// file in it.
func readable(cmd *cobra.Command, args []string) ([]string, error) {
	var out []string
	for _, name := range args {
		info, err := os.Stat(name)
		if name == "-" || err != nil || !info.IsDir() {
			out = append(out, name)
			continue
		}
		entries, err := os.ReadDir(name)
		if err != nil {
			return nil, fileError(name, err)
		}
		var bundles []string
		feed, others := false, 0
		for _, e := range entries {
			switch file := e.Name(); {
			case file == misp.ManifestName:
				feed = true
			case strings.HasPrefix(file, "."): // what systems leave on sticks
			case !e.IsDir() && isBundleName(file):
				bundles = append(bundles, filepath.Join(name, file))
			default:
				others++
			}
		}
		switch {
		case feed:
			out = append(out, name)
		case len(bundles) == 0:
			return nil, usage("%s is neither a MISP feed (it has no %s) nor does it hold bundles (*%s): name the files: watchward import %s",
				name, misp.ManifestName, bundleExt, filepath.Join(name, "*"))
		default:
			out = append(out, bundles...)
			if others > 0 && !jsonFlag(cmd) {
				fmt.Fprintf(cmd.ErrOrStderr(), "note: of %s the bundles are read, and nothing else: to import other files name them\n", name)
			}
		}
	}
	return out, nil
}

// input imports what one argument names. What is wrong with it is remembered; an
// error ends the command.
func (i *importer) input(ctx context.Context, name string, stdin io.Reader) error {
	i.feeds = map[string]*feed{}
	label := ""
	if i.several {
		label = filepath.Base(name)
	}
	if name == "-" {
		return i.open(ctx, name, label, "-", stdin)
	}
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return i.directory(ctx, name)
	case err == nil && filepath.Base(name) == misp.ManifestName:
		return i.directory(ctx, filepath.Dir(name))
	}
	f, err := os.Open(name)
	if err != nil {
		i.breaks("%v", fileError(name, err))
		return nil
	}
	defer f.Close()
	return i.open(ctx, name, label, filepath.Base(name), f)
}

// breaks remembers that a file could not be taken.
func (i *importer) breaks(format string, args ...any) {
	i.broken = append(i.broken, fmt.Sprintf(format, args...))
}

// open imports a file, or those in an archive. shown names it in errors, label
// in places.
func (i *importer) open(ctx context.Context, shown, label, name string, r io.Reader) error {
	err := archive.Open(name, r, func(f *archive.File) error {
		l, s := label, shown
		if f.Path != "" {
			if l == "" {
				l = name
			}
			l, s = l+": "+f.Path, s+": "+f.Path
		}
		return i.file(ctx, s, l, f)
	})
	if fatal(ctx, err) {
		return err
	}
	if said := len(i.broken); err != nil && (said == 0 || !strings.HasSuffix(i.broken[said-1], err.Error())) {
		i.breaks("%s: %v", shown, err)
	}
	for _, f := range i.feeds {
		i.missing(shown, f)
	}
	i.feeds = map[string]*feed{}
	return nil
}

// fatal reports whether nothing more can be done: the node refuses or is gone,
// or a person has had enough.
func fatal(ctx context.Context, err error) bool {
	var stop *client.Error
	return err != nil && (errors.As(err, &stop) || ctx.Err() != nil)
}

// directory imports a MISP feed.
func (i *importer) directory(ctx context.Context, name string) error {
	root, err := os.OpenRoot(name)
	if err != nil {
		i.breaks("%v", fileError(name, err))
		return nil
	}
	defer root.Close()
	f, err := root.Open(misp.ManifestName)
	if err != nil {
		i.breaks("%v", fileError(filepath.Join(name, misp.ManifestName), err))
		return nil
	}
	manifest, err := misp.ReadManifest(f)
	_ = f.Close()
	if err != nil {
		i.breaks("%s: %v", filepath.Join(name, misp.ManifestName), err)
		return nil
	}
	listed := &feed{manifest: manifest}
	for _, uuid := range slices.Sorted(maps.Keys(manifest)) {
		i.feeds = map[string]*feed{"": listed}
		if err := i.inside(ctx, name, root, uuid+".json"); err != nil {
			return err
		}
	}
	return nil
}

// inside imports one file of a directory.
func (i *importer) inside(ctx context.Context, dir string, root *os.Root, at string) error {
	shown := filepath.Join(dir, filepath.FromSlash(at))
	f, err := root.Open(at)
	if err != nil {
		i.breaks("%v", fileError(shown, err))
		return nil
	}
	defer f.Close()
	return i.open(ctx, shown, at, path.Base(at), f)
}

// file imports one file: whole or not at all.
func (i *importer) file(ctx context.Context, shown, label string, f *archive.File) error {
	dir, _ := path.Split(f.Path)
	if f.Name == misp.ManifestName && f.Path != "" {
		manifest, err := misp.ReadManifest(f)
		if err != nil {
			i.breaks("%s: %v", shown, err)
			return nil
		}
		i.feeds[dir] = newFeed(manifest)
		return nil
	}
	listed, ours := i.feeds[dir].take(f.Name)
	if !ours {
		return nil // beside a manifest lie the hashes of its values, not values
	}
	s := newSpool()
	defer s.close()
	refused, more := len(i.total.Refused), i.total.RefusedMore
	skipped, skippedMore := len(i.total.Skipped), i.total.SkippedMore
	read, hash, err := i.read(shown, label, f, listed, s)
	if err != nil {
		i.total.Refused, i.total.RefusedMore = i.total.Refused[:refused], more
		i.total.Skipped, i.total.SkippedMore = i.total.Skipped[:skipped], skippedMore
		before := ""
		if read > 0 {
			before = fmt.Sprintf(", not even the %d values before the break", read)
		}
		taken := "was"
		if i.say.dryRun {
			taken = "would be"
		}
		i.breaks("%s: nothing of it %s taken%s: %v", shown, taken, before, err)
		return ctx.Err()
	}
	if encoding := f.Encoding(); encoding != "" {
		i.note(fmt.Sprintf("%s: read as %s", shown, encoding))
	}
	i.total.Read += read
	if i.sink != nil {
		return i.sink(ctx, s)
	}
	if i.asks(i.whole.Unclear) {
		return i.refuseAll(s)
	}
	return i.submit(ctx, s, hash)
}

// read takes a whole file before anything is submitted, so that a file that
// breaks off leaves nothing behind.
func (i *importer) read(shown, label string, file *archive.File, listed *misp.Listed, s *spool) (read int, hash string, err error) {
	sum := sha256.New()
	in := io.TeeReader(file, sum)
	prefix := ""
	if label != "" {
		prefix = label + ": "
	}
	i.pace.begin(0)
	format, unclear := i.formatOf(file), ""
	i.whole = intel.Marks{}
	marked := func(m intel.Marks) { i.whole = m }
	yield := func(f intel.Found) error {
		read++
		i.progress(read, "read")
		f = file.Mark(f)
		if f.Unclear != "" && f.Reason == "" {
			unclear = cmp.Or(unclear, f.Unclear)
			f = i.unclear(f, format)
		}
		if f.Notice == nil && f.Item == nil {
			i.refuse(prefix+f.Place, f.Value, f.Reason, f.Skipped)
			return nil
		}
		if s.count == importItemsMax {
			return fmt.Errorf("more than %d values: split the file", importItemsMax)
		}
		return s.add(found{At: prefix + f.Place, S: api.SubmissionOf(f), Why: f.Reason, Value: f.Value, Skipped: f.Skipped})
	}
	options, timestamp := notice.Options{AllowSpecial: i.say.allowSpecial}, int64(0)
	switch format {
	case intel.FormatMISP:
		err = misp.Read(in, misp.Options{Indicator: options, All: i.all, Event: func(uuid string, changed int64) error {
			timestamp = changed
			if listed != nil && uuid != "" && uuid != strings.TrimSuffix(file.Name, ".json") {
				return fmt.Errorf("the event in it is %s", intel.Show(uuid))
			}
			return nil
		}}, yield)
	case intel.FormatSTIX:
		err = stix.Read(in, stix.Options{Indicator: options, Observables: i.all, Apart: func(patterns int) {
			what := fmt.Sprintf("%d patterns ask", patterns)
			if patterns == 1 {
				what = "one pattern asks"
			}
			i.note(fmt.Sprintf("%s: %s for several values together (AND, FOLLOWEDBY): each was taken by itself", shown, what))
		}}, yield)
	case intel.FormatCSV:
		err = csv.Read(in, csv.Options{Indicator: options, All: i.all, Columns: i.columns, NoHeader: i.noHeader, Marked: marked, Mapped: func(mapping string) {
			i.note(fmt.Sprintf("%s: columns %s (--columns changes it)", shown, mapping))
		}}, yield)
	case intel.FormatMail:
		var unread []string
		err = mail.Read(in, mail.Options{Indicator: options, Unread: func(what string) { unread = append(unread, what) }}, yield)
		i.unread(shown, unread)
	case intel.FormatText, intel.FormatHTML:
		err = text.Read(in, text.Options{Indicator: options, Marked: marked}, yield)
	default:
		err = errors.New(intel.Unreadable(format))
	}
	switch unclear = cmp.Or(unclear, i.whole.Unclear); {
	case unclear == "":
	case i.share && i.say.tlp != "":
		i.note(fmt.Sprintf("%s: its marking %s is not known: --tlp stands for it", shown, unclear))
	case !i.share:
		i.note(fmt.Sprintf("%s: its marking %s is not known: to share it will need --tlp", shown, unclear))
	}
	hash = hex.EncodeToString(sum.Sum(nil))
	if err == nil && listed != nil {
		err = listed.Check(hash, timestamp)
	}
	return read, hash, err
}

// unclear deals with a value whose marking nobody understands. It may stay here;
// to share it a person has to say how far, and what is known of its marking is
// not loosened by that.
func (i *importer) unclear(f intel.Found, format string) intel.Found {
	if i.asks(f.Unclear) {
		f.Notice, f.Item = nil, nil
		f.Reason = whyUnclear(f.Unclear)
		if format == intel.FormatCSV {
			f.Reason += "; a column that is no marking is left out by --columns"
		}
	}
	f.TLP = notice.Stricter(f.TLP, i.told())
	return f
}

// asks reports whether a marking that nobody understands stands in the way.
func (i *importer) asks(unclear string) bool { return unclear != "" && i.share && i.say.tlp == "" }

// told is what a person says of markings, 0 if nothing: the node refuses what is none.
func (i *importer) told() notice.TLP {
	tlp, _ := notice.ParseTLP(i.say.tlp)
	return tlp
}

func whyUnclear(marking string) string {
	return "its marking " + marking + " is not known, so nobody can say how far it may travel: say it with --tlp, or import without --share"
}

// refuseAll refuses what was read before the marking of its file was met.
func (i *importer) refuseAll(s *spool) error {
	values, err := s.values()
	if err != nil {
		return err
	}
	for range s.count {
		var v found
		if err := values.Decode(&v); err != nil {
			return fmt.Errorf("read what was set aside: %w", err)
		}
		i.refuse(v.At, cmp.Or(v.Value, v.S.Value), cmp.Or(v.Why, whyUnclear(i.whole.Unclear)), v.Skipped)
	}
	return nil
}

// mark gives a value the marking of its file, which may have been met below it.
func (i *importer) mark(s *api.Submission) {
	if i.whole.TLP == 0 && i.whole.Unclear == "" {
		return
	}
	stricter := func(text string, tlp notice.TLP) string {
		own, _ := notice.ParseTLP(text) // "" is none
		return notice.Stricter(own, tlp).String()
	}
	said := i.whole.TLP
	if i.whole.Unclear != "" {
		said = notice.Stricter(said, i.told())
	}
	s.TLP = stricter(s.TLP, said)
	if s.Origin != nil {
		s.Origin.TLP = stricter(s.Origin.TLP, i.whole.TLP)
	}
}

// unread names the parts of a mail that were not read.
func (i *importer) unread(shown string, parts []string) {
	verb := "was"
	if len(parts) > 1 {
		verb = "were"
	}
	if more := len(parts) - unreadShown; more > 0 {
		parts = append(parts[:unreadShown:unreadShown], fmt.Sprintf("… and %d more", more))
	}
	if len(parts) > 0 {
		i.note(fmt.Sprintf("%s: %s %s not read", shown, strings.Join(parts, ", "), verb))
	}
}

// formatOf says how a file is to be read.
func (i *importer) formatOf(f *archive.File) string {
	table := i.columns != "" || i.noHeader || csv.Sniff(f.Head)
	switch {
	case i.format != "":
		return i.format
	case f.Format == intel.FormatText && table:
		return intel.FormatCSV
	}
	return f.Format
}

// A feed is a directory of MISP events with its manifest.
type feed struct {
	manifest misp.Manifest
	there    map[string]bool // events met; nil where the manifest is gone through one by one
}

func newFeed(m misp.Manifest) *feed { return &feed{manifest: m, there: map[string]bool{}} }

// take returns what the manifest says of a file, and whether the file is to be
// read at all. Where there is no manifest, every file is.
func (f *feed) take(name string) (*misp.Listed, bool) {
	if f == nil {
		return nil, true
	}
	uuid, isEvent := strings.CutSuffix(name, ".json")
	listed, ok := f.manifest[uuid]
	if f.there != nil {
		f.there[uuid] = true
	}
	return &listed, ok && isEvent
}

// missing names the events of a manifest that an archive does not have.
func (i *importer) missing(shown string, f *feed) {
	if f.there == nil {
		return
	}
	gone := 0
	for _, uuid := range slices.Sorted(maps.Keys(f.manifest)) {
		if f.there[uuid] {
			continue
		}
		if gone++; gone <= missingShown {
			i.breaks("%s: %s.json: %s lists it, and it is not there", shown, uuid, misp.ManifestName)
		}
	}
	if gone > missingShown {
		i.breaks("%s: … and %d more that are not there", shown, gone-missingShown)
	}
}
