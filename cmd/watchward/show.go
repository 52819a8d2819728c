package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
)

func newShow() *cobra.Command {
	var to string
	command := &cobra.Command{
		Use:   "show ID|VALUE",
		Short: "Show a notice with its proof, or what is known of a value",
		Long: `Show a notice with its proof, or what is known of a value.

With --out the notice is written to a file with all that proves it: anybody can
check it with watchward verify FILE, without a node and without a network. Its
marking holds for the file.

Of an advisory it says who has acted, where this hospital wrote it or coordinates the
region. With the SHA-256 of one of its documents, --out writes that document; into a
directory, under its own name.`,
		Args: cobra.ExactArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			switch {
			case to != "" && isSHA256(args[0]):
				return writeDocument(cmd, c, args[0], to)
			case to != "" && !isID(args[0]):
				return usage("--out takes a notice or a document: copy the 40 digits of its id from watchward list, or the 64 of a document's from watchward show ID")
			case to != "":
				return writeProof(cmd, c, strings.ToLower(args[0]), to)
			case isID(args[0]):
				return showNotice(cmd, c, strings.ToLower(args[0]))
			}
			if err := checkID(args[0]); err != nil {
				return err
			}
			return showIndicator(cmd, c, args[0])
		}),
	}
	command.Flags().StringVar(&to, "out", "", "write the notice to this file, with what proves it; or a document")
	return command
}

// isMissing reports whether the node says that there is no such thing.
func isMissing(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && e.Problem != nil && e.Problem.Status == http.StatusNotFound
}

func showNotice(cmd *cobra.Command, c *client.Client, id string) error {
	n, err := c.Notice(cmd.Context(), id)
	if isMissing(err) { // a SHA-1 value has 40 digits too
		return showIndicator(cmd, c, id)
	}
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if jsonFlag(cmd) && n.Advisory == nil {
		return printJSON(out, n)
	}
	var answers api.AdvisoryView
	if n.Advisory != nil {
		if answers, err = c.Advisory(cmd.Context(), id); err != nil && !isMissing(err) { // it may count no more
			return err
		}
	}
	if jsonFlag(cmd) {
		return printJSON(out, struct {
			api.NoticeAnswer
			Concerns []string      `json:"concerns,omitempty"`
			Answer   string        `json:"answer,omitempty"`
			Progress *api.Progress `json:"progress,omitempty"`
		}{n, answers.Concerns, answers.Answer, answers.Progress})
	}
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(out, "%-12s %s\n", name, plain(value))
		}
	}
	v := n.NoticeView
	showSubject(line, v)
	line("by", fmt.Sprintf("%s (member %s…)", v.AuthorName, v.Author[:min(16, len(v.Author))]))
	line("marking", "TLP:"+v.TLP)
	if v.TLP == "" {
		line("marking", "none")
	}
	line("heard by", reach(v.Audience))
	for _, to := range v.To {
		line("to", delivery(to))
	}
	line("said", v.Created.String())
	line("arrived", v.Received.String())
	showContent(line, v)
	line("note", strings.Join(v.Marks, ", "))
	if i := v.Indicator; i != nil {
		if known, err := c.Indicator(cmd.Context(), i.Type, i.Value); err == nil && known.Verdict != nil {
			line("verdict", verdictText(known.Verdict)+" here; why: watchward show "+i.Value)
		} else if err != nil && !isMissing(err) {
			return err
		}
	}
	switch {
	case n.Proof != nil:
		line("proof", fmt.Sprintf("item %d of %d, signed by the author (ML-DSA-65 + Ed25519); --json prints it", n.Proof.Index+1, n.Proof.Count))
	case v.State == api.StateWaiting:
		line("proof", "not yet: it is about to be signed")
	case v.Audience == "named":
		line("proof", "none to show others: it came sealed, and its author signed the box")
	case v.State == api.StateLocal:
		line("proof", "none: it never left this node")
	}
	showAnswers(out, answers)
	return nil
}

// showSubject prints what a notice is about.
func showSubject(line func(name, value string), v api.NoticeView) {
	line("notice", v.ID)
	if v.Exercise {
		line("EXERCISE", "it is part of a drill, and not real")
	}
	line("kind", v.Kind)
	if v.Indicator != nil {
		line("about", v.Indicator.Type+" "+withUnicode(v.Indicator.Value))
	}
	line("about notice", v.Ref)
}

// showContent prints what a notice says of it.
func showContent(line func(name, value string), v api.NoticeView) {
	if v.FirstSeen != 0 {
		line("seen", fmt.Sprintf("%s, first %s, last %s", plural(int64(v.Count), "time"), v.FirstSeen, v.LastSeen))
	}
	if v.ValidUntil != 0 {
		line("valid until", v.ValidUntil.String())
	}
	if v.Context != nil {
		line("family", v.Context.Family)
		line("tool", v.Context.Tool)
		line("technique", v.Context.Technique)
		line("cve", v.Context.CVE)
	}
	if v.Origin != nil {
		line("origin", strings.TrimSpace(v.Origin.Source+" "+v.Origin.ID+" "+v.Origin.TLP))
	}
	line("reason", v.Reason)
	showPart(line, v)
}

// delivery says whom a named notice is for and what became of it there.
func delivery(to api.RecipientView) string {
	name := to.Name
	if name == "" {
		name = "member " + to.Member[:min(16, len(to.Member))] + "…"
	}
	if to.Region != "" {
		name += " (region " + to.Region + ")"
	}
	switch to.State {
	case api.DeliveryWaiting:
		return name + ": waiting since " + to.At.String()
	case api.DeliveryDone:
		return name + ": delivered " + to.At.String()
	case api.DeliveryDeclined:
		return name + ": not delivered, it could not be opened there " + to.At.String()
	case api.DeliveryLapsed:
		return name + ": not delivered, it expired " + to.At.String()
	}
	return name
}

func showIndicator(cmd *cobra.Command, c *client.Client, value string) error {
	v, err := c.Indicator(cmd.Context(), "", value)
	if isMissing(err) {
		if jsonFlag(cmd) {
			fmt.Fprintln(cmd.OutOrStdout(), "{}")
		} else {
			fmt.Fprintf(cmd.OutOrStdout(), "Nobody has said anything about %s.\n", plain(value))
			if isSHA256(value) {
				fmt.Fprintf(cmd.OutOrStdout(), "If it is a document of an advisory:  watchward show %s --out FILE\n", plain(value))
			}
		}
		return differs()
	}
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if jsonFlag(cmd) {
		return printJSON(out, v)
	}
	fmt.Fprintf(out, "%s %s\n", plain(v.Indicator.Type), plain(withUnicode(v.Indicator.Value)))
	if v.Matched != nil {
		fmt.Fprintf(out, "matched by %s %s\n", plain(v.Matched.Type), plain(v.Matched.Value))
	}
	fmt.Fprintf(out, "Seen by %s, %s; imported %s; disputed by %s.\n\n",
		plural(int64(v.Summary.Members), "hospital"), plural(int64(v.Summary.Sightings), "time"),
		plural(int64(v.Summary.Reports), "time"), plural(int64(v.Summary.Disputes), "member"))
	if v.Verdict != nil {
		showVerdict(out, v.Indicator.Value, v.Verdict)
		fmt.Fprintln(out)
	}
	if len(v.Evidence) == 0 { // it was only decided here
		return nil
	}
	return showList(cmd, api.NoticesAnswer{Notices: v.Evidence}, false, false)
}

func newTail() *cobra.Command {
	var after uint64
	c := &cobra.Command{
		Use:   "tail",
		Short: "Follow notices as they arrive",
		Args:  cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			from := after
			if !cmd.Flags().Changed("after") {
				from = api.FromNow
			}
			out, asJSON := cmd.OutOrStdout(), jsonFlag(cmd)
			err := c.Tail(cmd.Context(), from, func(v api.NoticeView) error {
				if asJSON {
					return printJSON(out, v)
				}
				row := noticeRow(v)
				at := stamp(v.Received).Local().Format(time.TimeOnly)
				_, err := fmt.Fprintf(out, "%s  %-10s  %-6s %s  by %s  %s\n", at, plain(row[2]), plain(row[4]), plain(row[3]), plain(row[5]), plain(row[6]))
				return err
			}, func(error) {
				fmt.Fprintln(cmd.ErrOrStderr(), "The node is gone; waiting for it to come back. Ctrl-C ends.")
			})
			if cmd.Context().Err() != nil { // Ctrl-C is how it ends
				return nil
			}
			return err
		}),
	}
	c.Flags().Uint64Var(&after, "after", 0, "start after this local sequence; 0 replays everything (default: from now on)")
	return c
}

func newMembers() *cobra.Command {
	return &cobra.Command{
		Use:   "members",
		Short: "Who is in the region, and when they were last heard",
		Args:  cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			members, err := c.Members(cmd.Context())
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), api.MembersAnswer{Members: members})
			}
			t := table{header: []string{"NAME", "ROLE", "STATE", "CONNECTED", "LAST WORD", "MEMBER", "NOTE"}}
			for _, m := range members {
				connected := "no"
				switch {
				case m.Self:
					connected = "this node"
				case m.Connected:
					connected = "yes"
				}
				last := "none yet"
				if m.LastWord != 0 {
					last = ago(stamp(m.LastWord), now())
				}
				notes := m.Marks
				if m.State == api.StateSilent {
					when := ""
					if m.Since != 0 {
						when = ago(stamp(m.Since), now())
					}
					notes = append([]string{lastHeard(when, m.HeardBy)}, notes...)
				}
				t.add(m.Name, strings.Join(m.Roles, ", "), m.State, connected, last, m.ID[:min(16, len(m.ID))]+"…", strings.Join(notes, ", "))
			}
			t.print(cmd.OutOrStdout())
			return nil
		}),
	}
}

// lastHeard says of a silent member when it was heard last, and by whom, "" and "" if
// that is not known.
func lastHeard(when, by string) string {
	text := "never heard"
	if when != "" {
		text = "last heard " + when
	}
	if by != "" {
		text += " by " + by
	}
	return text
}

func newStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Am I well? Version, peers, members, last words, disk, clock",
		Args:  cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				if err := printJSON(cmd.OutOrStdout(), s); err != nil {
					return err
				}
			} else {
				showStatus(cmd.OutOrStdout(), s)
			}
			if len(s.Warnings) > 0 {
				return differs()
			}
			return nil
		}),
	}
}

func showStatus(out io.Writer, s api.Status) {
	word := "is " + paint(out, "32", "well")
	if len(s.Warnings) > 0 {
		word = paint(out, "31", "needs a look")
	}
	line := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%-10s %s\n", name, plain(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(out, "%s %s.\n", plain(s.Name), word)
	for _, w := range s.Warnings {
		fmt.Fprintf(out, "  ! %s\n", plain(w))
	}
	line("version", "%s", s.Version)
	line("region", "%s", s.Region)
	if e := s.Exercise; e != nil {
		line("EXERCISE", "runs%s until %s: what this hospital says is marked", quoted(e.Name), exerciseTime(e.Until))
	}
	if s.State != "" && s.State != api.StateOK {
		line("state", "%s, by this hospital's own word: watchward situation", s.State)
	}
	line("members", "%d, this node included; %d connected%s", s.Members, s.Peers, notOK(s.States))
	line("last in", "%s", ago(stamp(s.LastIn), now()))
	line("last out", "%s", ago(stamp(s.LastOut), now()))
	if s.Waiting > 0 {
		line("waiting", "%s to be signed and sent", plural(int64(s.Waiting), "notice"))
	}
	if s.Awaited > 0 {
		line("to deliver", "%s on the way to %s", plural(int64(s.Awaited), "named notice"), plural(int64(s.Awaiting), "member"))
	}
	if s.Questions > 0 {
		line("questions", "%d of other hospitals to answer: watchward respond", s.Questions)
	}
	if s.Advisories > 0 {
		line("advisories", "%d of other hospitals to answer: watchward list advisory --open", s.Advisories)
	}
	line("notices", "%d", s.Notices)
	if l := s.Ledger; l != nil {
		line("ledger", "%s", ledgerLine(l))
	}
	line("disk", "%s used, %s free", size(s.Disk.Used), size(s.Disk.Free))
	clock := fmt.Sprintf("%d ms from the median of %s", s.Clock.OffsetMS, plural(int64(s.Clock.Members), "member"))
	if s.Clock.Members == 0 {
		clock = "not compared with anybody yet"
	}
	line("clock", "%s (%s)", s.Now, clock)
	line("member", "%s", s.Member)
	line("peer id", "%s", s.PeerID)
	for _, l := range s.Listen {
		line("listens", "%s", l)
	}
}

// notOK counts the members that are not OK, "" if all are.
func notOK(c api.StateCounts) (text string) {
	for _, n := range []struct {
		count int
		state string
	}{{c.UnderAttack, api.StateUnderAttack}, {c.DeclaredDown, api.StateDeclaredDown}, {c.Silent, api.StateSilent}} {
		if n.count > 0 {
			text += fmt.Sprintf("; %d %s", n.count, n.state)
		}
	}
	return text
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), map[string]string{"version": version()})
			}
			fmt.Fprintln(cmd.OutOrStdout(), "watchward", version())
			return nil
		},
	}
}
