package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
)

func newAllow() *cobra.Command {
	return newDecision(api.DecisionAllow, "Neither detect nor block something here, whatever others say",
		`Allow values on this node: they are worth nothing here, and in no feed, whatever
members and lists say. To tell the others that something is harmless, dispute it.`,
		`  watchward allow update.example --why "our own update server"`)
}

func newDeny() *cobra.Command {
	return newDecision(api.DecisionDeny, "Block something here, whatever others say",
		`Deny values on this node: they are blocked here, also where a warninglist names
them. What is never blocked (special-use ranges, [never_block] of the configuration)
is not blocked by that either, which is said. To tell the others what you saw,
report it.`,
		`  watchward deny evil.example 198.51.100.0/24 --why "phishing, call of 28 November"`)
}

// newDecision makes allow or deny.
func newDecision(decision, short, long, example string) *cobra.Command {
	var list, remove bool
	var typ, why string
	c := &cobra.Command{
		Use:   decision + " VALUE…",
		Short: short,
		Long: long + `

A name stands for all below it, a network for what is in it; of what is allowed and
denied the entry closest to a value decides. It is kept until it is taken back.

Exit code 1: something has no effect.`,
		Example: example,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case list && (remove || why != "" || len(args) > 0):
				return usage("--list shows all that is: leave out the rest")
			case !list && len(args) == 0:
				return usage("give at least one value, or --list to see what is")
			case remove && why != "":
				return usage("--why goes with a decision, not with taking it back")
			}
			return asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
				if list {
					return listPolicies(cmd, c, decision)
				}
				return decide(cmd, c, decision, args, api.PolicyRequest{Type: typ, Why: why, Remove: remove})
			})(cmd, args)
		},
	}
	c.Flags().BoolVar(&list, "list", false, "show what is, with who said so and why")
	c.Flags().BoolVar(&remove, "remove", false, "take it back")
	c.Flags().StringVar(&why, "why", "", "why, for whoever asks later")
	c.Flags().StringVar(&typ, "type", "", "type of the values (default: detected)")
	return c
}

func decide(cmd *cobra.Command, c *client.Client, decision string, values []string, as api.PolicyRequest) error {
	asked := make([]api.PolicyRequest, len(values))
	as.Decision = decision
	for i, v := range values {
		asked[i] = as
		asked[i].Value = v
	}
	made, err := c.Decide(cmd.Context(), asked)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if jsonFlag(cmd) {
		if err := printJSON(out, api.PoliciesAnswer{Policies: made}); err != nil {
			return err
		}
	}
	idle := false
	for _, p := range made {
		idle = idle || p.Note != ""
		if !jsonFlag(cmd) {
			showDecided(out, cmd.ErrOrStderr(), p)
		}
	}
	if idle {
		return differs()
	}
	return nil
}

func showDecided(out, errOut io.Writer, p api.PolicyView) {
	did := map[string]string{api.DecisionAllow: "Allowed here", api.DecisionDeny: "Denied here"}[p.Decision]
	switch {
	case p.Removed:
		did = "No longer " + map[string]string{api.DecisionAllow: "allowed", api.DecisionDeny: "denied"}[p.Decision]
	case p.Known:
		did += " already"
	}
	value := p.Type + " " + withUnicode(p.Value)
	fmt.Fprintf(out, "%s: %s\n", did, plain(value))
	if p.Note != "" {
		fmt.Fprintf(errOut, "note: %s\n", plain(withUnicode(p.Value)+": "+p.Note))
	}
}

func listPolicies(cmd *cobra.Command, c *client.Client, decision string) error {
	all, err := c.Policies(cmd.Context(), decision)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if jsonFlag(cmd) {
		return printJSON(out, api.PoliciesAnswer{Policies: all})
	}
	if len(all) == 0 {
		fmt.Fprintf(out, "Nothing is %s here.\n", map[string]string{api.DecisionAllow: "allowed", api.DecisionDeny: "denied"}[decision])
		return nil
	}
	t := table{header: []string{"TYPE", "VALUE", "SINCE", "BY", "EFFECT", "WHY"}}
	for _, p := range all {
		effect := p.Effect
		if p.Note != "" {
			effect += " (" + p.Note + ")"
		}
		t.add(p.Type, withUnicode(p.Value), ago(stamp(p.At), now()), p.By, effect, p.Why)
	}
	return t.print(out)
}

// verdictText is a verdict in a word or two.
func verdictText(v *api.VerdictView) string {
	switch {
	case v == nil:
		return ""
	case v.Guarded:
		return fmt.Sprintf("%s %d, in no feed", v.Level, v.Score)
	}
	return fmt.Sprintf("%s %d", v.Level, v.Score)
}

// showVerdict prints a verdict and why it is so.
func showVerdict(out io.Writer, value string, v *api.VerdictView) {
	text := fmt.Sprintf("%s: %s, worth %d of 100", withUnicode(value), v.Level, v.Score)
	if v.Guarded {
		text += ", in no feed"
	}
	if v.Expires != 0 {
		text += "; until " + stamp(v.Expires).UTC().Format("2 January 2006") + " if nobody says more"
	}
	fmt.Fprintln(out, plain(text))
	if v.Matched != nil {
		fmt.Fprintf(out, "    by what is said of %s\n", plain(v.Matched.Type+" "+withUnicode(v.Matched.Value)))
	}
	for _, r := range v.Reasons {
		sign := "-"
		if r.Raised {
			sign = "+"
		}
		fmt.Fprintf(out, "  %s %s\n", sign, plain(r.Text))
	}
}
