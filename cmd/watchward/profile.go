package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/notice"
)

func newProfile() *cobra.Command {
	return group("profile", "Who this hospital is and how to reach it at any hour", newProfileEdit(), newProfileShow())
}

// A profileText is a profile as a person edits it.
type profileText struct {
	Name        string   `toml:"name"`
	Contact     []string `toml:"contact,multiline"`
	Departments []string `toml:"departments,multiline"`
	Suppliers   []string `toml:"suppliers,multiline"`
	City        string   `toml:"city"`
	Country     string   `toml:"country"`
}

const profileHead = `# The profile of this hospital. Every member of the region keeps it, and it is what
# they call by when there is no other way.
# contact: how to reach somebody at any hour, one to four lines, as
#   "+353 1 555 0100 (duty officer)". departments and suppliers: up to 40 each;
#   name those suppliers only that others may know of.

`

// profileTextMax bounds a profile's text, in bytes.
const profileTextMax = 64 << 10

func newProfileEdit() *cobra.Command {
	var o sayOptions
	var p api.Profile
	var in string
	c := &cobra.Command{
		Use:   "edit",
		Short: "Write this hospital's profile: in an editor, or by flags",
		Long: `Without flags the profile is opened in $VISUAL or $EDITOR as a short TOML text, and
said when the editor ends. With flags only those fields change; a list that is given
takes the place of the one before.`,
		Example: "  watchward profile edit --contact \"+353 1 555 0100 (duty officer)\" --supplier \"LIS GmbH\"",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := profileNow(cmd)
			if err != nil {
				return err
			}
			flags := cmd.Flags()
			byFlag := changeProfile(&text, &p, flags.Changed)
			switch {
			case in != "" && byFlag:
				return usage("--in is the whole profile: leave out the other flags, or --in")
			case in != "":
				if text, err = readProfile(in); err != nil {
					return usage("%w", err)
				}
			case !byFlag:
				if text, err = editProfile(text); err != nil {
					return err
				}
			}
			said := api.Profile(text)
			return say(cmd, []api.Submission{{Kind: "profile", Parts: api.Parts{Profile: &said}}}, o)
		},
	}
	o.markFlags(c)
	c.Flags().StringVar(&in, "in", "", "take the profile from this TOML file")
	c.Flags().StringVar(&p.Name, "name", "", "the hospital's name")
	c.Flags().StringArrayVar(&p.Contact, "contact", nil, "how to reach somebody at any hour; repeat it for more lines, up to four")
	c.Flags().StringArrayVar(&p.Departments, "department", nil, "a department; repeat it for more")
	c.Flags().StringArrayVar(&p.Suppliers, "supplier", nil, "a supplier that others may know of; repeat it for more")
	c.Flags().StringVar(&p.City, "city", "", "its city")
	c.Flags().StringVar(&p.Country, "country", "", "its country")
	return c
}

// changeProfile takes over what flags say, and reports whether there is any.
func changeProfile(to *profileText, by *api.Profile, changed func(string) bool) bool {
	some := false
	for flag, take := range map[string]func(){
		"name": func() { to.Name = by.Name }, "contact": func() { to.Contact = by.Contact },
		"department": func() { to.Departments = by.Departments }, "supplier": func() { to.Suppliers = by.Suppliers },
		"city": func() { to.City = by.City }, "country": func() { to.Country = by.Country },
	} {
		if changed(flag) {
			take()
			some = true
		}
	}
	return some
}

// profileNow returns this hospital's profile, or one that has its name alone.
func profileNow(cmd *cobra.Command) (text profileText, err error) {
	return text, withClient(cmd, func(c *client.Client) error {
		all, err := allNotices(cmd, c, client.NoticesQuery{Kind: "profile", Mine: true})
		if err != nil {
			return err
		}
		for _, v := range all {
			if !slices.Contains(v.Marks, api.MarkReplaced) {
				text = profileText(*v.Profile)
				return nil
			}
		}
		s, err := c.Status(cmd.Context())
		text.Name = s.Name
		return err
	})
}

// editProfile lets a person edit a profile. What is wrong with it stays in the file,
// so that nothing has to be written twice.
func editProfile(text profileText) (profileText, error) {
	editor := os.Getenv("VISUAL")
	if editor == "" {
		editor = os.Getenv("EDITOR")
	}
	if editor == "" {
		return text, usage("which editor? Set EDITOR, or give flags: watchward profile edit --help")
	}
	raw, err := toml.Marshal(text)
	if err != nil {
		return text, err
	}
	dir, err := os.MkdirTemp("", "watchward-profile-")
	if err != nil {
		return text, err
	}
	path := filepath.Join(dir, "profile.toml")
	if err := os.WriteFile(path, append([]byte(profileHead), raw...), 0o600); err != nil {
		return text, err
	}
	words := strings.Fields(editor) // EDITOR may have flags: code --wait
	command := exec.Command(words[0], append(words[1:], path)...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := command.Run(); err != nil {
		os.RemoveAll(dir)
		return text, fmt.Errorf("the editor %s: %w: nothing was said", editor, err)
	}
	edited, err := readProfile(path)
	if err != nil {
		return text, usage("%w\nPut it right there, then: watchward profile edit --in %s", err, path)
	}
	return edited, os.RemoveAll(dir)
}

// readProfile reads and checks a profile. Errors name the line.
func readProfile(path string) (text profileText, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return text, err
	}
	if len(raw) > profileTextMax {
		return text, fmt.Errorf("%s has %d bytes, and a profile is short: at most %d", path, len(raw), profileTextMax)
	}
	at := func(line int, err error) error { return fmt.Errorf("%s:%d: %w", path, line, err) }
	d := toml.NewDecoder(bytes.NewReader(raw)).DisallowUnknownFields()
	err = d.Decode(&text)
	var wrong *toml.DecodeError
	var unknown *toml.StrictMissingError
	switch {
	case errors.As(err, &unknown) && len(unknown.Errors) > 0:
		line, _ := unknown.Errors[0].Position()
		return text, at(line, fmt.Errorf("%s is not a field of a profile: name, contact, departments, suppliers, city, country", strings.Join(unknown.Errors[0].Key(), ".")))
	case errors.As(err, &wrong):
		line, _ := wrong.Position()
		return text, at(line, errors.New(strings.TrimPrefix(wrong.Error(), "toml: ")))
	case err != nil:
		return text, at(1, err)
	}
	line, err := checkProfile(text, string(raw))
	if err != nil {
		return text, at(line, err)
	}
	return text, nil
}

// checkProfile reports what is wrong with a profile, and in which line of its text.
func checkProfile(p profileText, text string) (line int, err error) {
	check := func(p profileText) error {
		return (&notice.Notice{Kind: notice.KindProfile, Salt: [16]byte{1}, Created: now().UnixMilli(), Profile: (*notice.Profile)(&p)}).Check(now().UnixMilli())
	}
	good := profileText{Name: "x", Contact: []string{"x"}}
	for _, list := range []struct {
		key   string
		names []string
		put   func(*profileText, []string)
	}{
		{"contact", p.Contact, func(p *profileText, names []string) { p.Contact = names }},
		{"departments", p.Departments, func(p *profileText, names []string) { p.Departments = names }},
		{"suppliers", p.Suppliers, func(p *profileText, names []string) { p.Suppliers = names }},
	} {
		for i, name := range list.names {
			one := good
			list.put(&one, list.names[max(0, i+1-notice.ContactMax):i+1]) // with those before it: no two are alike
			if list.key != "contact" {
				list.put(&one, list.names[:min(i+1, notice.ListMax)])
			}
			if err := check(one); err != nil {
				return lineOf(text, list.key, name), err
			}
		}
	}
	err = check(p)
	if field := (*notice.FieldError)(nil); errors.As(err, &field) {
		key := strings.TrimPrefix(strings.TrimPrefix(field.Field, "profile"), ".")
		return lineOf(text, key, ""), err
	}
	return 0, err
}

// lineOf finds the line of a key, and from there on that of a value.
func lineOf(text, key, value string) int {
	at := 1
	found := key == ""
	for i, line := range strings.Split(text, "\n") {
		name, _, _ := strings.Cut(line, "=")
		if !found && strings.TrimSpace(name) == key {
			at, found = i+1, true
		}
		if found && value != "" && strings.Contains(line, value) {
			at = i + 1 // the last, since the first of two alike is right
		}
	}
	return at
}

func newProfileShow() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:     "show [MEMBER]",
		Short:   "Show this hospital's profile, or another's: who to call",
		Long:    "Show a profile: this hospital's, or that of a member by its name, a part of it, or the\nbeginning of its id; with --all everybody's. It is answered from this node's disk.",
		Example: "  watchward profile show \"Riverside General\"",
		Args:    cobra.MaximumNArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			q := client.NoticesQuery{Kind: "profile", Mine: len(args) == 0 && !all}
			found, err := allNotices(cmd, c, q)
			if err != nil {
				return err
			}
			found = slices.DeleteFunc(found, func(v api.NoticeView) bool {
				return slices.Contains(v.Marks, api.MarkReplaced) || len(args) == 1 && !isCalled(v, args[0])
			})
			slices.SortStableFunc(found, func(a, b api.NoticeView) int { return strings.Compare(a.AuthorName, b.AuthorName) })
			return showProfiles(cmd, found, args)
		}),
	}
	c.Flags().BoolVar(&all, "all", false, "every member's")
	return c
}

// isCalled reports whether a person means the author of a profile.
func isCalled(v api.NoticeView, name string) bool {
	fold := notice.Fold(name)
	return strings.Contains(notice.Fold(v.AuthorName), fold) || strings.Contains(notice.Fold(v.Profile.Name), fold) ||
		len(name) >= 6 && strings.HasPrefix(v.Author, strings.ToLower(name))
}

func showProfiles(cmd *cobra.Command, found []api.NoticeView, args []string) error {
	out := cmd.OutOrStdout()
	if jsonFlag(cmd) {
		if err := printJSON(out, api.NoticesAnswer{Notices: found}); err != nil {
			return err
		}
	}
	switch {
	case len(found) > 0:
	case len(args) == 1:
		return &failure{code: client.ExitNo, err: fmt.Errorf("no profile of %s is here: watchward members shows who there is", args[0])}
	default:
		return &failure{code: client.ExitNo, err: errors.New("this hospital has no profile yet: watchward profile edit")}
	}
	if jsonFlag(cmd) {
		return nil
	}
	for i, v := range found {
		if i > 0 {
			fmt.Fprintln(out)
		}
		line := func(name, value string) {
			if value != "" {
				fmt.Fprintf(out, "%-12s %s\n", name, plain(value))
			}
		}
		if v.AuthorName != v.Profile.Name {
			line("member", v.AuthorName) // under the name that the coordinators gave it
		}
		showProfile(line, v.Profile)
		line("said", ago(stamp(v.Received), now()))
		line("note", strings.Join(v.Marks, ", "))
	}
	return nil
}
