package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/document"
	"github.com/watchward/watchward/node/notice"
)

// adviceFileMax bounds the file of an advisory, in bytes.
const adviceFileMax = 64 << 10

// adviceHead is an advisory as a person writes it, above its text.
type adviceHead struct {
	Type      string   `toml:"type"`
	Title     string   `toml:"title"`
	Suppliers []string `toml:"suppliers"`
	Products  []string `toml:"products"`
	CVEs      []string `toml:"cves"`
	Due       any      `toml:"due"`
	Documents []string `toml:"documents"`
}

const adviceFields = "type, title, suppliers, products, cves, due, documents"

func newAdvise() *cobra.Command {
	var o sayOptions
	var to []string
	var urgent bool
	c := &cobra.Command{
		Use:   "advise FILE",
		Short: "Tell the region what to do, or to look for, and see who has",
		Long: `Send an advisory: guidance, a playbook, that a supplier is compromised, or what to
hunt for even if it was patched. FILE is Markdown, since most of it is prose; what
programs must know stands above the text, in TOML between two lines of +++:

  +++
  type = "hunt"               # guidance, playbook, supplier-compromise, hunt
  title = "NetScaler: sessions survive the patch"
  suppliers = ["Citrix"]      # what follows may be left out
  products = ["cpe:2.3:a:citrix:netscaler", "pkg:npm/name@1.0"]
  cves = ["CVE-2023-4966"]
  due = 2026-12-01            # the end of that day here, or 2026-12-01T12:00:00Z
  documents = ["plan.pdf"]    # beside FILE: up to 8 of up to 8 MiB, of any kind
  +++
  Patch, then end all sessions.

Documents travel by themselves, and are on every node before somebody needs them.
The others answer with watchward respond ID seen|done|na|help; show ID says who has,
here and at the coordinators.`,
		Example: "  watchward advise netscaler.md --dry-run\n  watchward advise netscaler.md --tlp GREEN",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, paths, err := readAdvice(args[0])
			if err != nil {
				return usage("%w", err)
			}
			err = withClient(cmd, func(c *client.Client) error {
				for _, path := range paths {
					d, err := attach(cmd, c, path, o.dryRun)
					if err != nil {
						return err
					}
					a.Documents = append(a.Documents, d)
				}
				return nil
			})
			if err != nil {
				return err
			}
			return say(cmd, []api.Submission{{Kind: "advisory", To: to, Urgent: urgent, Parts: api.Parts{Advisory: a}}}, o)
		},
	}
	c.Flags().StringVar(&o.tlp, "tlp", "", "how far it may travel: AMBER (this region, the default), GREEN, CLEAR (endorsed regions too); with --to also AMBER+STRICT, RED")
	c.Flags().BoolVar(&o.local, "local", false, "keep it on this node")
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "check it and show what would leave, field by field; store nothing")
	c.Flags().StringArrayVar(&to, "to", nil, "only for this member, sealed: name or id; repeat it for more")
	c.Flags().BoolVar(&urgent, "urgent", false, "overtake everything else on the way (three words within ten minutes)")
	return c
}

// readAdvice reads an advisory and where its documents are. Errors name the line.
func readAdvice(path string) (*api.Advisory, []string, error) {
	raw, err := readSmall(path, adviceFileMax, "an advisory")
	if err != nil {
		return nil, nil, err
	}
	at := func(line int, err error) error { return fmt.Errorf("%s:%d: %w", path, line, err) }
	const mark = "+++"
	text := strings.TrimPrefix(strings.ReplaceAll(string(raw), "\r\n", "\n"), "\ufeff")
	first, rest, _ := strings.Cut(text, "\n")
	if strings.TrimSpace(first) != mark {
		return nil, nil, at(1, fmt.Errorf("an advisory begins with a line of %s: see watchward advise --help", mark))
	}
	head, body, found := strings.Cut("\n"+rest, "\n"+mark+"\n")
	if !found {
		if head, found = strings.CutSuffix(head, "\n"+mark); !found {
			return nil, nil, at(1, fmt.Errorf("what stands above the text ends with another line of %s", mark))
		}
	}
	var h adviceHead
	err = toml.NewDecoder(strings.NewReader(head)).DisallowUnknownFields().Decode(&h) // head begins with the line after the mark
	var wrong *toml.DecodeError
	var unknown *toml.StrictMissingError
	switch {
	case errors.As(err, &unknown) && len(unknown.Errors) > 0:
		line, _ := unknown.Errors[0].Position()
		return nil, nil, at(line, fmt.Errorf("%s is not a field of an advisory: %s", strings.Join(unknown.Errors[0].Key(), "."), adviceFields))
	case errors.As(err, &wrong):
		line, _ := wrong.Position()
		return nil, nil, at(line, errors.New(strings.TrimPrefix(wrong.Error(), "toml: ")))
	case err != nil:
		return nil, nil, at(1, err)
	}
	due, err := dueOf(h.Due)
	if err != nil {
		return nil, nil, at(lineOf(text, "due", ""), err)
	}
	if _, err := notice.ParseAdvice(h.Type); err != nil {
		return nil, nil, at(lineOf(text, "type", ""), err)
	}
	var paths []string
	for _, d := range h.Documents {
		if !filepath.IsAbs(d) {
			d = filepath.Join(filepath.Dir(path), d)
		}
		paths = append(paths, d)
	}
	if len(paths) > notice.DocumentsMax {
		return nil, nil, at(lineOf(text, "documents", ""), fmt.Errorf("%d documents: give %d, or pack them into one", len(paths), notice.DocumentsMax))
	}
	return &api.Advisory{Type: strings.ToLower(h.Type), Title: h.Title, Text: notice.CleanLines(body), Suppliers: h.Suppliers, Products: h.Products, CVEs: h.CVEs, Due: due}, paths, nil
}

// dueOf reads a date, which ends with its day here, or a time.
func dueOf(v any) (api.Time, error) {
	switch v := v.(type) {
	case nil:
		return 0, nil
	case toml.LocalDate:
		return api.Time(v.AsTime(time.Local).AddDate(0, 0, 1).UnixMilli() - 1), nil
	case toml.LocalDateTime:
		return api.Time(v.AsTime(time.Local).UnixMilli()), nil
	case time.Time:
		return api.Time(v.UnixMilli()), nil
	}
	return 0, errors.New("due takes a date without quotes: due = 2026-12-01, or a time: 2026-12-01T12:00:00Z")
}

// readSmall reads a file that is no larger than it may be, and no device.
func readSmall(path string, limit int, what string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no file", path)
	case info.Size() > int64(limit):
		return nil, fmt.Errorf("%s has %s, and %s has at most %s", path, size(info.Size()), what, size(int64(limit)))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(raw) > limit {
		err = fmt.Errorf("%s grows while it is read: try again", path)
	}
	return raw, err
}

// attach hands a document to the node; in a dry run it only measures it.
func attach(cmd *cobra.Command, c *client.Client, path string, dry bool) (d api.Document, err error) {
	raw, err := readSmall(path, notice.DocumentMax, "a document")
	if err == nil && len(raw) == 0 {
		err = fmt.Errorf("%s is empty", path)
	}
	if err != nil {
		return d, usage("%w", err)
	}
	d.Name, d.Media = filepath.Base(path), mediaOf(path)
	if !notice.IsFileName(d.Name) {
		return d, usage("%q is no name that every system takes: rename the file", d.Name)
	}
	if dry {
		ref, err := document.Measure(bytes.NewReader(raw))
		d.SHA256, d.Chunks, d.Size = ref.ID.String(), ref.Chunks.String(), ref.Size
		return d, err
	}
	kept, err := c.PutDocument(cmd.Context(), bytes.NewReader(raw))
	d.SHA256, d.Size = kept.SHA256, kept.Size
	return d, err
}

// mediaOf says what a document is by its name: nobody looks into it.
func mediaOf(path string) string {
	if media := medias[strings.ToLower(filepath.Ext(path))]; media != "" {
		return media
	}
	return "application/octet-stream"
}

var medias = map[string]string{
	".pdf": "application/pdf", ".json": "application/json", ".md": "text/markdown", ".txt": "text/plain", ".csv": "text/csv",
	".xml": "application/xml", ".zip": "application/zip", ".png": "image/png", ".svg": "image/svg+xml",
	".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	".odt":  "application/vnd.oasis.opendocument.text", ".ods": "application/vnd.oasis.opendocument.spreadsheet",
}

// isSHA256 tells the id of a document.
func isSHA256(s string) bool {
	return len(s) == 64 && strings.Trim(strings.ToLower(s), "0123456789abcdef") == ""
}

// writeDocument writes a document to a file that is not there yet; into a directory, under
// the name that its advisory gives it.
func writeDocument(cmd *cobra.Command, c *client.Client, id, to string) error {
	id = strings.ToLower(id)
	content, name, err := c.Document(cmd.Context(), id)
	if err != nil {
		return err
	}
	if info, err := os.Stat(to); err == nil && info.IsDir() {
		if !notice.IsFileName(name) { // what a node answers is no reason to write elsewhere
			name = id[:16]
		}
		to = filepath.Join(to, name)
	}
	if err := writeNew(to, content); err != nil {
		return err
	}
	if jsonFlag(cmd) {
		return printJSON(cmd.OutOrStdout(), map[string]any{"file": to, "sha256": id, "bytes": len(content)})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "Wrote %s, %s. Nobody has looked into it: open it as you would an attachment.\n", plain(to), size(int64(len(content))))
	return nil
}

// listAdvisories is list advisory.
func listAdvisories(cmd *cobra.Command, c *client.Client, q client.AdvisoriesQuery, limit int) error {
	page := api.AdvisoriesAnswer{Advisories: []api.AdvisoryView{}}
	for len(page.Advisories) < limit {
		q.Limit = min(limit-len(page.Advisories), api.PageMax)
		more, err := c.Advisories(cmd.Context(), q)
		if err != nil {
			return err
		}
		page.Advisories, page.Next, page.Reading = append(page.Advisories, more.Advisories...), more.Next, more.Reading
		if q.Next = more.Next; more.Next == "" {
			break
		}
	}
	out := cmd.OutOrStdout()
	if jsonFlag(cmd) {
		return printJSON(out, page)
	}
	if page.Reading {
		fmt.Fprintln(cmd.ErrOrStderr(), "note: the node has just started and has not read all that it holds")
	}
	if len(page.Advisories) == 0 {
		fmt.Fprintln(out, "Nothing here.")
		return nil
	}
	t := table{header: []string{"ID", "ARRIVED", "TYPE", "TITLE", "TLP", "BY", "DUE", "ANSWERED", "NOTE"}}
	for _, v := range page.Advisories {
		t.add(v.ID, ago(stamp(v.Received), now()), v.Type, v.Title, v.TLP, name(v.Party), dueText(v), answeredText(v), adviceNotes(v))
	}
	t.print(out)
	if page.Next != "" {
		fmt.Fprintf(out, "\nThere is more: --next %s\n", plain(page.Next))
	}
	return nil
}

func dueText(v api.AdvisoryView) string {
	if v.Due == 0 {
		return ""
	}
	text := stamp(v.Due).Local().Format("2006-01-02 15:04")
	if v.Overdue {
		text += " OVERDUE"
	}
	return text
}

// answeredText says what this hospital answered, and how far the others are where that is
// known.
func answeredText(v api.AdvisoryView) string {
	p := v.Progress
	if p == nil {
		return v.Answer
	}
	text := fmt.Sprintf("%d of %d", p.Addressed-p.Missing, p.Addressed)
	if v.Answer != "" {
		text = v.Answer + "; " + text
	}
	return text
}

func adviceNotes(v api.AdvisoryView) string {
	var notes []string
	if v.Exercise {
		notes = append(notes, "EXERCISE")
	}
	notes = append(notes, v.Marks...)
	if len(v.Concerns) > 0 {
		notes = append(notes, "you have "+strings.Join(v.Concerns, ", "))
	}
	if v.Progress != nil && v.Progress.Help > 0 {
		notes = append(notes, plural(int64(v.Progress.Help), "member")+" asked for help")
	}
	return strings.Join(notes, ", ")
}

// showAdvice prints what an advisory says. Its text stands below, as it was written.
func showAdvice(line func(name, value string), a *api.Advisory) {
	line("type", a.Type)
	line("title", a.Title)
	line("suppliers", strings.Join(a.Suppliers, ", "))
	for _, p := range a.Products {
		line("product", p)
	}
	line("cves", strings.Join(a.CVEs, ", "))
	if a.Due != 0 {
		line("due", a.Due.String())
	}
	for _, d := range a.Documents {
		line("document", fmt.Sprintf("%s, %s, %s: watchward show %s --out .", d.Name, d.Media, size(int64(d.Size)), d.SHA256))
	}
	for text := range strings.SplitSeq(a.Text, "\n") {
		if a.Text != "" {
			line("text", "| "+text)
		}
	}
}

// showAnswers prints who has acted on an advisory, as far as this node may say.
func showAnswers(out io.Writer, v api.AdvisoryView) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%-12s %s\n", name, plain(fmt.Sprintf(format, args...)))
	}
	if len(v.Concerns) > 0 {
		line("you have", "%s", strings.Join(v.Concerns, ", "))
	}
	if v.Answer != "" {
		line("you answered", "%s", v.Answer)
	}
	p := v.Progress
	if p == nil {
		return
	}
	line("answered", "%d of %d: %d done, %d na, %d seen, %d need help; %d missing", p.Addressed-p.Missing, p.Addressed, p.Done, p.NA, p.Seen, p.Help, p.Missing)
	if len(p.Members) == 0 {
		return
	}
	fmt.Fprintln(out)
	t := table{header: []string{"MEMBER", "ANSWER", "SINCE", ""}}
	for _, m := range p.Members {
		t.add(name(m.Party), m.Answer, m.Since.String(), ago(stamp(m.Since), now()))
	}
	t.print(out)
}
