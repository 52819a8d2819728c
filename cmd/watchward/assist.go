package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/notice"
)

func newService() *cobra.Command {
	var o sayOptions
	var until, text string
	set := &cobra.Command{
		Use:     "set DEPARTMENT open|diverted|closed",
		Short:   "Say how a department works; all is the whole hospital",
		Long:    "Tell the region that a department is open, diverts its patients or is closed. The last\nword on a department counts. service set all closed declares the hospital down.",
		Example: "  watchward service set \"Stroke unit\" diverted --until 4h --text \"to Riverside General\"",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			end, err := untilFlag(until)
			if err != nil {
				return err
			}
			if _, err := notice.ParseServiceState(args[1]); err != nil {
				return usage("%w", err)
			}
			s := api.Service{Department: args[0], State: strings.ToLower(args[1]), Until: end, Text: text}
			return say(cmd, []api.Submission{{Kind: "service", Parts: api.Parts{Service: &s}}}, o)
		},
	}
	o.markFlags(set)
	set.Flags().StringVar(&until, "until", "", "until when that is expected to last: 4h, 2d or a time")
	set.Flags().StringVar(&text, "text", "", "more about it")
	return group("service", "How the departments of this hospital work", set)
}

// untilFlag reads when something ends; "" is not known.
func untilFlag(s string) (api.Time, error) {
	if s == "" {
		return 0, nil
	}
	t, err := parseLife(s, now())
	if err != nil {
		return 0, usage("--until %w", err)
	}
	return api.Time(t.UnixMilli()), nil
}

func newAssist() *cobra.Command {
	return group("assist", "Ask for help, offer it, take it", newAssistSay("request"), newAssistSay("offer"), newAssistClaim(), newAssistClose(), newAssistList())
}

// newAssistSay makes the command that states a request or an offer.
func newAssistSay(act string) *cobra.Command {
	var o sayOptions
	var a api.Assistance
	var until, answers string
	c := &cobra.Command{
		Use:     act + " WHAT",
		Short:   map[string]string{"request": "Ask the region for help", "offer": "Offer help to the region"}[act],
		Example: "  watchward assist " + act + ` "mobile CT scanner" --quantity 2 --until 3d`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if a.Until, err = untilFlag(until); err != nil {
				return err
			}
			if answers != "" {
				if err := needID(answers); err != nil {
					return err
				}
			}
			a.Act, a.What = act, args[0]
			return sayAssist(cmd, a, answers, o)
		},
	}
	o.markFlags(c)
	c.Flags().Uint32Var(&a.Quantity, "quantity", 1, "how many")
	c.Flags().StringVar(&a.Unit, "unit", "", "of what unit: beds, samples a day")
	c.Flags().StringVar(&until, "until", "", "until when: 4h, 2d or a time")
	if act == "offer" {
		c.Flags().StringVar(&answers, "for", "", "id of the request that it answers")
	}
	return c
}

func sayAssist(cmd *cobra.Command, a api.Assistance, ref string, o sayOptions) error {
	return say(cmd, []api.Submission{{Kind: "assistance", Ref: strings.ToLower(ref), Parts: api.Parts{Assistance: &a}}}, o)
}

func newAssistClaim() *cobra.Command {
	var o sayOptions
	var quantity uint32
	c := &cobra.Command{
		Use:   "claim ID",
		Short: "Take a request or an offer, or some of it",
		Long: `Say that this hospital serves a request, or takes an offer. The hospital that asked or
offered confirms the first claim it receives by itself, as long as something is left;
until then all claims show.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needID(args[0]); err != nil {
				return err
			}
			return sayAssist(cmd, api.Assistance{Act: "claim", Quantity: quantity}, args[0], o)
		},
	}
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "check it and show what would leave, field by field; store nothing")
	c.Flags().Uint32Var(&quantity, "quantity", 0, "how many of it (default: all)")
	return c
}

func newAssistClose() *cobra.Command {
	var o sayOptions
	c := &cobra.Command{
		Use:   "close ID",
		Short: "End a request or an offer of this hospital",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needID(args[0]); err != nil {
				return err
			}
			return sayAssist(cmd, api.Assistance{Act: "close"}, args[0], o)
		},
	}
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "check it and show what would leave, field by field; store nothing")
	return c
}

func newAssistList() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "list",
		Short: "What is asked for and offered, oldest first, and who takes it",
		Args:  cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			said, err := allNotices(cmd, c, client.NoticesQuery{Kind: "assistance"})
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), api.NoticesAnswer{Notices: said})
			}
			reach, err := contacts(cmd, c)
			if err != nil {
				return err
			}
			t := table{header: []string{"ID", "AGE", "BY", "WHAT", "STATE", "REACH"}}
			for _, h := range helps(said) {
				if state := h.state(); all || state != "closed" && state != "over" {
					t.add(h.ID, ago(stamp(h.Received), now()), h.AuthorName, drillMark(h.Exercise)+h.Assistance.Act+": "+helpText(h.Assistance), h.text(), reach[h.Author])
				}
			}
			if len(t.rows) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "Nothing is asked for or offered.")
				return nil
			}
			return t.print(cmd.OutOrStdout())
		}),
	}
	c.Flags().BoolVar(&all, "all", false, "also what is closed or over")
	return c
}

// contacts are how to reach members at any hour, by their ids.
func contacts(cmd *cobra.Command, c *client.Client) (map[string]string, error) {
	all, err := allNotices(cmd, c, client.NoticesQuery{Kind: "profile"})
	reach := map[string]string{}
	for _, v := range all {
		if !slices.Contains(v.Marks, api.MarkReplaced) {
			reach[v.Author] = strings.Join(v.Profile.Contact, "; ")
		}
	}
	return reach, err
}

// A help is a request or an offer with what was said of it.
type help struct {
	api.NoticeView
	claims    []api.NoticeView
	confirmed map[string]bool // claims, by id
	closed    bool
}

// helps puts what belongs together together, oldest first. What others than its author
// confirm or close has no effect.
func helps(said []api.NoticeView) []*help {
	byID := map[string]*help{}
	var out []*help
	for _, v := range said {
		if act := v.Assistance.Act; act == "request" || act == "offer" {
			h := &help{NoticeView: v, confirmed: map[string]bool{}}
			byID[v.ID], out = h, append(out, h)
		}
	}
	claimOf := map[string]*help{}
	for _, v := range slices.Backward(said) {
		h := byID[v.Ref]
		switch {
		case h == nil:
		case v.Assistance.Act == "claim":
			h.claims, claimOf[v.ID] = append(h.claims, v), h
		case v.Assistance.Act == "close" && v.Author == h.Author:
			h.closed = true
		}
	}
	for _, v := range said {
		if h := claimOf[v.Ref]; h != nil && v.Assistance.Act == "confirm" && v.Author == h.Author {
			h.confirmed[v.Ref] = true
		}
	}
	slices.SortStableFunc(out, func(a, b *help) int { return cmp.Compare(a.Received, b.Received) })
	return out
}

func (h *help) state() string {
	switch {
	case h.closed:
		return "closed"
	case h.Assistance.Until != 0 && stamp(h.Assistance.Until).Before(now()):
		return "over"
	case len(h.confirmed) > 0:
		return "confirmed"
	case len(h.claims) > 0:
		return "claimed"
	}
	return "open"
}

// text is the state, with who claims.
func (h *help) text() string {
	text := h.state()
	for i, c := range h.claims {
		text += map[bool]string{true: ": ", false: ", "}[i == 0] + fmt.Sprintf("%d by %s", c.Assistance.Quantity, c.AuthorName)
		if h.confirmed[c.ID] {
			text += " (confirmed)"
		}
	}
	return text
}

func newLink() *cobra.Command {
	return group("link", "Which connections to suppliers are cut, by whom, and what they wait for", newLinkSay("cut"), newLinkSay("restore"), newLinkList())
}

func newLinkSay(act string) *cobra.Command {
	var o sayOptions
	l := api.Link{State: map[string]string{"cut": "cut", "restore": "restored"}[act]}
	var at string
	c := &cobra.Command{
		Use:     act + " SUPPLIER LINK",
		Short:   map[string]string{"cut": "Say that a connection to a supplier was cut", "restore": "Say that it was restored"}[act],
		Example: "  watchward link " + act + ` "LIS GmbH" "VPN to LIS" --reason "they are encrypted"`,
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if at != "" {
				t, err := parseSince(at, now())
				if err != nil {
					return usage("--at %w", err)
				}
				l.At = api.Time(t.UnixMilli())
			}
			l.Supplier, l.Link = args[0], args[1]
			return say(cmd, []api.Submission{{Kind: "link", Parts: api.Parts{Link: &l}}}, o)
		},
	}
	o.markFlags(c)
	c.Flags().StringVar(&l.Direction, "direction", "both", "which way, seen from here: in, out or both")
	c.Flags().StringVar(&at, "at", "", "when: 2h (ago) or a time (default: now)")
	c.Flags().StringVar(&l.Reason, "reason", "", "why")
	if act == "cut" {
		c.Flags().StringVar(&l.Criteria, "criteria", "", "what must hold before it is connected again")
	}
	c.Flags().StringVar(&l.AttestedBy, "attested-by", "", "who vouches that it is safe, or is not")
	return c
}

func newLinkList() *cobra.Command {
	return &cobra.Command{
		Use:     "list [SUPPLIER]",
		Short:   "Who has cut and restored what, as a time line",
		Example: "  watchward link list \"LIS GmbH\"",
		Args:    cobra.MaximumNArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			said, err := allNotices(cmd, c, client.NoticesQuery{Kind: "link"})
			if err != nil {
				return err
			}
			if len(args) == 1 {
				said = slices.DeleteFunc(said, func(v api.NoticeView) bool { return notice.Fold(v.Link.Supplier) != notice.Fold(args[0]) })
			}
			slices.SortStableFunc(said, func(a, b api.NoticeView) int { return cmp.Compare(a.Link.At, b.Link.At) })
			out := cmd.OutOrStdout()
			switch {
			case jsonFlag(cmd):
				return printJSON(out, api.NoticesAnswer{Notices: said})
			case len(said) == 0:
				fmt.Fprintln(out, "No link was cut.")
				return nil
			}
			t := table{header: []string{"AT", "BY", "SUPPLIER", "LINK", "WAY", "IS", "WHY"}}
			for _, v := range said {
				t.add(v.Link.At.String(), v.AuthorName, v.Link.Supplier, v.Link.Link, v.Link.Direction, v.Link.State, linkWhy(v.Link))
			}
			return t.print(out)
		}),
	}
}

func linkWhy(l *api.Link) string {
	why := []string{}
	for _, s := range []string{l.Reason, cond(l.Criteria != "", "reconnect when: "+l.Criteria), cond(l.AttestedBy != "", "attested by "+l.AttestedBy)} {
		if s != "" {
			why = append(why, s)
		}
	}
	return strings.Join(why, "; ")
}

func cond(on bool, s string) string {
	if on {
		return s
	}
	return ""
}
