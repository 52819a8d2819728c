package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
)

// sayOptions are the flags of every command that states something.
type sayOptions struct {
	tlp          string
	local        bool
	dryRun       bool
	allowSpecial bool
	elsewhere    bool
	real         bool
}

// exercise is how what is said goes with an exercise that runs.
func (o *sayOptions) exercise() string {
	if o.real {
		return api.ExerciseNo
	}
	return ""
}

func (o *sayOptions) realFlag(c *cobra.Command) {
	c.Flags().BoolVar(&o.real, "real", false, "while an exercise runs here: this is real, and not marked EXERCISE")
}

func (o *sayOptions) flags(c *cobra.Command) {
	c.Flags().StringVar(&o.tlp, "tlp", "", "how far it may travel: CLEAR, GREEN (endorsed regions), AMBER (this region); with --to also AMBER+STRICT (the members' hospitals), RED (those people alone)")
	o.realFlag(c)
	c.Flags().BoolVar(&o.local, "local", false, "keep it on this node: no other hospital gets it; an export to a file has it if its marking allows")
	c.Flags().BoolVar(&o.elsewhere, "known-elsewhere", false, "you have it from somebody else too: a stricter marking held here does not bind")
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "check it and show what would leave, field by field; store nothing")
}

func newReport() *cobra.Command {
	var o sayOptions
	var s api.Submission
	var context api.Context
	c := &cobra.Command{
		Use:   "report VALUE…",
		Short: "Say that this hospital saw something: addresses, domains, URLs, hashes …",
		Long: `Report that VALUE was observed here. Defanged values are fine: hxxp://evil[.]example.
The marking decides who hears it; without --tlp the node's default applies
(share.tlp in its configuration). What others told you belongs to import.
With --to it is sealed for the members that are named: it goes to their nodes alone,
waits until they can be reached, and show tells when each of them has it.`,
		Example: "  watchward report evil.example 198.51.100.7 --tlp AMBER --family Qakbot\n" +
			"  watchward report evil.example --tlp RED --to \"Riverside General\"",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, values []string) error {
			s.Kind = "sighting"
			if context != (api.Context{}) {
				s.Context = &context
			}
			submissions := make([]api.Submission, len(values))
			for i, v := range values {
				submissions[i] = s
				submissions[i].Value = v
			}
			return say(cmd, submissions, o)
		},
	}
	o.flags(c)
	c.Flags().BoolVar(&o.allowSpecial, "allow-special", false, "take private and special-use addresses and names")
	c.Flags().StringVar(&s.Type, "type", "", "type of the values (default: detected)")
	c.Flags().StringArrayVar(&s.To, "to", nil, "only for this member, sealed: name or id; repeat it for more")
	c.Flags().BoolVar(&s.Urgent, "urgent", false, "overtake everything else on the way (three words within ten minutes)")
	c.Flags().Uint64Var(&s.Count, "count", 0, "how often it was seen (default 1)")
	c.Flags().StringVar(&context.Family, "family", "", "malware family")
	c.Flags().StringVar(&context.Tool, "tool", "", "tool of the attacker")
	c.Flags().StringVar(&context.Technique, "technique", "", "ATT&CK technique: T1059.001")
	c.Flags().StringVar(&context.CVE, "cve", "", "vulnerability: CVE-2021-44228")
	return c
}

func newDispute() *cobra.Command {
	var o sayOptions
	var reason string
	c := &cobra.Command{
		Use:   "dispute ID|VALUE",
		Short: "Say that something is a false positive, and why",
		Long: `Dispute a notice by its id, or every notice about a value. Anybody may dispute;
only the author can retract. A dispute of a notice travels as far as the notice.`,
		Example: `  watchward dispute cdn.example --reason "our own update server"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkID(args[0]); err != nil {
				return err
			}
			return say(cmd, []api.Submission{about("dispute", args[0], reason)}, o)
		},
	}
	o.flags(c)
	c.Flags().BoolVar(&o.allowSpecial, "allow-special", false, "take private and special-use addresses and names")
	c.Flags().StringVar(&reason, "reason", "", "why")
	return c
}

func about(kind, what, reason string) api.Submission {
	if isID(what) {
		return api.Submission{Kind: kind, Ref: strings.ToLower(what), Reason: reason}
	}
	return api.Submission{Kind: kind, Value: what, Reason: reason}
}

// isID tells an id from a value: SHA-1 has as many digits, so what looks like
// both is an id only where one is asked for or where a notice has it.
func isID(s string) bool {
	if len(s) != 40 {
		return false
	}
	return strings.Trim(strings.ToLower(s), "0123456789abcdef") == ""
}

// checkID refuses the beginning of an id: hexadecimal digits that are neither an
// id nor a hash are no value of any type.
func checkID(s string) error {
	start := strings.TrimSuffix(strings.TrimSuffix(s, "…"), "...")
	if len(start) < 6 || len(start) >= 40 || len(start) == 32 || strings.Trim(strings.ToLower(start), "0123456789abcdef") != "" {
		return nil
	}
	return usage("%q is the beginning of an id, if it is one: copy all of its 40 hexadecimal digits from watchward list", s)
}

// say submits and shows what became of each submission.
func say(cmd *cobra.Command, submissions []api.Submission, o sayOptions) error {
	c, err := connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	answer, err := c.Submit(cmd.Context(), submissions, client.SubmitOptions{TLP: o.tlp, Local: o.local, DryRun: o.dryRun, AllowSpecial: o.allowSpecial, Elsewhere: o.elsewhere, Exercise: o.exercise()})
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if jsonFlag(cmd) {
		if err := printJSON(out, answer); err != nil {
			return err
		}
	} else {
		showSaid(cmd, answer, o)
	}
	if len(answer.Refused) > 0 {
		return differs()
	}
	return nil
}

func showSaid(cmd *cobra.Command, answer api.SubmitAnswer, o sayOptions) {
	out, errOut := cmd.OutOrStdout(), cmd.ErrOrStderr()
	if len(answer.Notices) > 0 {
		t := table{header: []string{"ID", "KIND", "ABOUT", "TLP", "TO", ""}}
		for _, v := range answer.Notices {
			note := ""
			switch {
			case o.dryRun:
				note = "dry run: not stored"
			case v.Known:
				note = "said before"
			}
			if v.Exercise {
				note = strings.TrimSuffix("EXERCISE; "+note, "; ")
			}
			t.add(v.ID, v.Kind, withUnicode(subject(v)), v.TLP, reachOf(v), note)
		}
		t.print(out)
	}
	showAbroad(errOut, answer.Notices)
	for _, note := range answer.Notes {
		fmt.Fprintf(errOut, "note: %s\n", plain(note))
	}
	for _, v := range answer.Notices {
		if o.dryRun && v.Audience == "local" {
			fmt.Fprintf(out, "\n%s: nothing leaves, it stays on this node\n", plain(subject(v)))
		} else if v.Leaves != nil {
			showLeaving(out, v)
		}
	}
	for _, v := range answer.Notices {
		if bare, has := withoutQuery(v); has && !o.dryRun {
			fmt.Fprintf(errOut, "note: %s: what follows the ? is shared with it. If it names a session or a person: watchward retract %s, and report %s\n", plain(v.Indicator.Value), v.ID, plain(bare))
		} else if has {
			fmt.Fprintf(errOut, "note: %s: what follows the ? would be shared with it. If it names a session or a person, report %s\n", plain(v.Indicator.Value), plain(bare))
		}
	}
	for _, r := range answer.Refused {
		fmt.Fprintf(errOut, "%s %s: %s\n", paint(errOut, "31", "refused"), plain(r.Value), plain(r.Reason))
		if r.Fix != "" {
			fmt.Fprintf(errOut, "  %s\n", plain(r.Fix))
		}
	}
}

// withoutQuery returns the URL of a notice without its query, and whether it has one
// that others get to read.
func withoutQuery(v api.NoticeView) (bare string, has bool) {
	if v.Indicator == nil || v.Indicator.Type != "url" || v.Audience == "local" || v.Kind == "dispute" {
		return "", false
	}
	bare, _, has = strings.Cut(v.Indicator.Value, "?")
	return bare, has
}

// showLeaving shows what would leave with a notice, field by field.
func showLeaving(out io.Writer, v api.NoticeView) {
	fmt.Fprintf(out, "\n%s: %d bytes would leave, to %s\n", plain(subject(v)), v.Leaves.ItemBytes, plain(reachOf(v)))
	t := table{header: []string{"KEY", "FIELD", "VALUE", ""}}
	for _, f := range v.Leaves.Item {
		t.add(f.Key, f.Field, f.Value, f.Note)
	}
	t.print(out)
	if v.Audience == "named" {
		fmt.Fprintln(out, "sealed for them, and around the box, in clear and under this node's signature")
	} else {
		fmt.Fprintln(out, "and around them, under this node's signature")
	}
	t = table{header: []string{"KEY", "FIELD", "VALUE", ""}}
	for _, f := range v.Leaves.Header {
		t.add(f.Key, f.Field, f.Value, f.Note)
	}
	t.print(out)
}

// subject says in one cell what a notice speaks of.
func subject(v api.NoticeView) string {
	part := partSubject(v)
	switch {
	case part != "":
		return part
	case v.Indicator != nil:
		return v.Indicator.Value
	case v.Ref != "":
		return "notice " + v.Ref
	}
	return ""
}

// showAbroad names recipients in other regions: their coordinators are not ours.
func showAbroad(out io.Writer, notices []api.NoticeView) {
	said := map[string]bool{}
	for _, v := range notices {
		for _, to := range v.To {
			if to.Region != "" && !said[to.Member] {
				said[to.Member] = true
				fmt.Fprintf(out, "note: %s is a member of region %s, not of this one\n", plain(to.Name), plain(to.Region))
			}
		}
	}
}

// reachOf says who hears a notice.
func reachOf(v api.NoticeView) string {
	if len(v.To) == 0 {
		return reach(v.Audience)
	}
	names := make([]string, len(v.To))
	for i, to := range v.To {
		names[i] = to.Name
	}
	return strings.Join(names, ", ")
}

// reach says who hears an audience.
func reach(audience string) string {
	switch audience {
	case "local":
		return "this node"
	case "named":
		return "named members"
	case "region":
		return "this region"
	case "community":
		return "endorsed regions"
	}
	return audience
}
