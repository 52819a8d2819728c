package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/bundle"
)

// importBundles imports files that are bundles, and reports whether they are.
func importBundles(cmd *cobra.Command, c *client.Client, args []string) (bool, error) {
	var found, others []string
	for _, path := range args {
		is, err := isBundle(cmd, path)
		if err != nil {
			return false, err
		}
		if is {
			found = append(found, path)
		} else {
			others = append(others, path)
		}
	}
	if len(found) == 0 {
		return false, nil
	}
	if len(others) > 0 {
		return true, usage("%s is a bundle and %s is none: import them one after the other", found[0], others[0])
	}
	for _, name := range []string{"share", "tlp", "allow-special", "all"} {
		if cmd.Flags().Changed(name) {
			return true, usage("--%s says nothing about a bundle: what is in it stays as its authors signed it", name)
		}
	}
	i := bundleImport{client: c, cmd: cmd}
	i.result.DryRun, _ = cmd.Flags().GetBool("dry-run")
	err := i.all(found)
	i.summary()
	if err == nil && (len(i.result.Refused) > 0 || len(i.result.Unknown) > 0 || len(i.result.Errors) > 0) {
		return true, differs()
	}
	return true, err
}

// isBundle looks at the beginning of a file. Of standard input nothing is lost.
func isBundle(cmd *cobra.Command, path string) (bool, error) {
	if path == "-" {
		in := bufio.NewReader(cmd.InOrStdin())
		head, _ := in.Peek(len(bundle.Magic)) // what cannot be read is found by whoever reads on
		cmd.SetIn(in)
		return bundle.Is(head), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return false, nil // the other import says it as well
	}
	defer f.Close()
	if isBundleName(path) {
		return true, nil // file says what is wrong with one that is broken
	}
	return begins(f), nil
}

// bundleExt ends the names of bundles.
const bundleExt = ".wwb"

func isBundleName(path string) bool { return strings.EqualFold(filepath.Ext(path), bundleExt) }

// begins reports whether a file begins as a bundle does.
func begins(f io.Reader) bool {
	head := make([]byte, len(bundle.Magic))
	n, _ := io.ReadFull(f, head)
	return bundle.Is(head[:n])
}

// bundleImport takes in bundles.
type bundleImport struct {
	client *client.Client
	cmd    *cobra.Command
	result bundleResult
	read   []api.BundleRead
}

// bundleResult is what --json prints.
type bundleResult struct {
	Read       int64               `json:"read"`
	Taken      int64               `json:"taken"`
	Known      int64               `json:"known"`
	Expired    int64               `json:"expired"`
	Held       int64               `json:"held"`
	Refused    []api.BundleRefused `json:"refused"`
	refused    int64
	Unknown    []api.BundleUnknown `json:"unknown"`
	NewMembers int                 `json:"new_members"`
	Errors     []string            `json:"errors,omitempty"`
	DryRun     bool                `json:"dry_run,omitempty"` // taken would be; authors and contents say whose and what
	Authors    []api.BundleAuthor  `json:"authors,omitempty"`
	Contents   []api.BundleContent `json:"contents,omitempty"`
}

// all imports files one by one: one that is no good stops none of the others.
func (i *bundleImport) all(paths []string) error {
	for _, path := range paths {
		a, err := i.file(path)
		var e *client.Error
		switch {
		case i.cmd.Context().Err() != nil:
			return fmt.Errorf("%s: cut off: import it again, it goes on where it was", path)
		case errors.As(err, &e) && e.Problem != nil && (e.Problem.Status == http.StatusUnprocessableEntity || e.Problem.Status == http.StatusRequestEntityTooLarge):
			i.result.Errors = append(i.result.Errors, fmt.Sprintf("%s: %v", path, e.Problem)) // of the file, not of the request's body
			continue
		case e != nil:
			return err
		case err != nil:
			i.result.Errors = append(i.result.Errors, fmt.Sprintf("%s: %v", path, err))
			continue
		}
		i.add(path, a, len(paths) > 1)
	}
	return nil
}

func (i *bundleImport) add(path string, a api.BundleAnswer, several bool) {
	r := &i.result
	r.Read, r.Taken, r.Known = r.Read+a.Read, r.Taken+a.Taken, r.Known+a.Known
	r.Expired, r.Held, r.NewMembers = r.Expired+a.Expired, r.Held+a.Held, r.NewMembers+a.NewMembers
	for _, one := range a.Refused {
		if several {
			one.At = filepath.Base(path) + ": " + one.At
		}
		r.Refused = append(r.Refused, one)
	}
	r.refused += a.RefusedCount
	r.Unknown = append(r.Unknown, a.Unknown...)
	i.read = append(i.read, a.Parts...)
	for _, author := range a.Authors {
		r.addAuthor(author)
	}
	for _, content := range a.Contents {
		r.addContent(content)
	}
	if a.Broken != "" {
		was := "was"
		if r.DryRun {
			was = "would be"
		}
		r.Errors = append(r.Errors, fmt.Sprintf("%s: %s; what came before %s taken", path, a.Broken, was))
	}
}

// addAuthor adds what another file would bring of an author.
func (r *bundleResult) addAuthor(a api.BundleAuthor) {
	at := slices.IndexFunc(r.Authors, func(b api.BundleAuthor) bool { return b.Member == a.Member })
	if at < 0 {
		r.Authors = append(r.Authors, a)
		return
	}
	r.Authors[at].Notices += a.Notices
}

// addContent adds what another file would bring of a kind and marking.
func (r *bundleResult) addContent(c api.BundleContent) {
	at := slices.IndexFunc(r.Contents, func(b api.BundleContent) bool { return b.Kind == c.Kind && b.TLP == c.TLP })
	if at < 0 {
		r.Contents = append(r.Contents, c)
		return
	}
	r.Contents[at].Notices += c.Notices
}

func (i *bundleImport) file(path string) (api.BundleAnswer, error) {
	in, total := i.cmd.InOrStdin(), int64(-1)
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return api.BundleAnswer{}, err
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil {
			total = info.Size()
		}
		if !begins(f) {
			return api.BundleAnswer{}, fmt.Errorf("this is an empty or broken bundle (%d bytes): the stick was pulled too early?", total)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return api.BundleAnswer{}, err
		}
		in = f
	}
	count := &counter{r: in, progress: func(bytes int64, rate float64, done bool) { showRate(i.cmd, bytes, total, rate, done) }}
	post := i.client.ImportBundle
	if i.result.DryRun {
		post = i.client.CheckBundle
	}
	a, err := post(i.cmd.Context(), count)
	count.end()
	return a, err
}

func (i *bundleImport) summary() {
	out, errOut, r := i.cmd.OutOrStdout(), i.cmd.ErrOrStderr(), &i.result
	if jsonFlag(i.cmd) {
		if r.Refused == nil {
			r.Refused = []api.BundleRefused{}
		}
		if r.Unknown == nil {
			r.Unknown = []api.BundleUnknown{}
		}
		_ = printJSON(out, r)
		return
	}
	t := table{header: []string{"READ", "TAKEN", "KNOWN BEFORE", "EXPIRED", "REFUSED"}}
	became := "became"
	if r.DryRun {
		t.header[1], became = "WOULD TAKE", "would become"
	}
	t.add(fmt.Sprint(r.Read), fmt.Sprint(r.Taken), fmt.Sprint(r.Known), fmt.Sprint(r.Expired), fmt.Sprint(r.refused))
	t.print(out)
	if r.DryRun {
		fmt.Fprintln(out, "Dry run: nothing was stored.")
		r.showContents(out)
	}
	if r.NewMembers > 0 {
		fmt.Fprintf(out, "%s of the region %s known.\n", plural(int64(r.NewMembers), "new member"), became)
	}
	if r.Held > 0 {
		fmt.Fprintf(out, "%s from the future: a clock is wrong there, or here. They are shown when their time comes.\n", plural(r.Held, "notice"))
	}
	for _, u := range r.Unknown {
		fmt.Fprintf(out, "%s by member %.16s…, whom this node cannot check: its credential is neither here nor in the bundle.\n", plural(u.Notices, "notice"), u.Member)
	}
	if text := missingParts(i.read); text != "" {
		fmt.Fprintln(out, text)
	}
	if len(r.Refused) > 0 {
		fmt.Fprintln(out)
		t := table{header: []string{"REFUSED AT", "OF", "WHY"}}
		for _, one := range r.Refused[:min(len(r.Refused), refusedShown)] {
			t.add(one.At, one.Value, one.Reason)
		}
		t.print(out)
		if more := r.refused - refusedShown; more > 0 {
			fmt.Fprintf(out, "… and %d more (--json lists them)\n", more)
		}
	}
	for _, e := range r.Errors {
		fmt.Fprintf(errOut, "%s %s\n", paint(errOut, "31", "error"), plain(e))
	}
}

// showContents says what a bundle would bring, and of whom.
func (r *bundleResult) showContents(out io.Writer) {
	if len(r.Authors) == 0 {
		return
	}
	fmt.Fprintln(out)
	t := table{header: []string{"WOULD TAKE", "KIND", "TLP"}}
	for _, c := range r.Contents {
		t.add(fmt.Sprint(c.Notices), c.Kind, c.TLP)
	}
	t.print(out)
	fmt.Fprintln(out)
	t = table{header: []string{"WOULD TAKE", "OF"}}
	for _, a := range r.Authors[:min(len(r.Authors), wouldShown)] {
		t.add(fmt.Sprint(a.Notices), a.Name)
	}
	t.print(out)
	if more := len(r.Authors) - wouldShown; more > 0 {
		fmt.Fprintf(out, "… and %d more (--json lists them)\n", more)
	}
}

// missingParts says which parts of an export were not among those read. Each is
// good alone, so it is a hint and no more.
func missingParts(read []api.BundleRead) string {
	type export struct {
		created  api.Time
		audience string
	}
	have, last := map[export]map[uint32]bool{}, map[export]uint32{}
	for _, p := range read {
		e := export{p.Created, p.Audience}
		if have[e] == nil {
			have[e] = map[uint32]bool{}
		}
		have[e][p.Part] = true
		if p.More {
			last[e] = max(last[e], p.Part+1)
		}
		last[e] = max(last[e], p.Part)
	}
	missing := 0
	for e, parts := range have {
		missing += int(last[e]) - len(parts)
	}
	if missing <= 0 {
		return ""
	}
	return fmt.Sprintf("The export has at least %s that was not among these: import them too.", plural(int64(missing), "part"))
}
