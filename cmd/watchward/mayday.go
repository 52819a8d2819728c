package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
)

// markFlags are the flags of every command by which a hospital speaks of itself.
func (o *sayOptions) markFlags(c *cobra.Command) {
	o.realFlag(c)
	c.Flags().StringVar(&o.tlp, "tlp", "", "how far it may travel: AMBER (this region, the default), GREEN (endorsed regions too)")
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "check it and show what would leave, field by field; store nothing")
}

func newMayday() *cobra.Command {
	var o sayOptions
	var retract bool
	var reason string
	c := &cobra.Command{
		Use:   `mayday "TEXT" | mayday --retract`,
		Short: "Call the region: this hospital is under attack",
		Long: `Tell every hospital of the region that this one is under attack. It overtakes
everything, needs no name server, no coordinator and no clock that is right, and
raises the highest alert everywhere, with the contact from this hospital's profile
(watchward profile edit, before it is needed). What cannot be sent now is sent by
itself as soon as anybody can be reached. A new mayday takes the place of the one
before; --retract takes it back.`,
		Example: "  watchward mayday \"ransom note on radiology hosts\"\n" +
			"  watchward mayday --retract --reason \"a drill of our supplier\"",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case retract && len(args) > 0:
				return usage("--retract takes back what is open: leave out the text, or --retract")
			case retract:
				return retractMaydays(cmd, reason, o)
			case reason != "":
				return usage("--reason goes with --retract")
			case len(args) == 0 || strings.TrimSpace(args[0]) == "":
				return usage(`say in a few words what happens: watchward mayday "ransom note on radiology hosts"`)
			}
			return say(cmd, []api.Submission{{Kind: "mayday", Parts: api.Parts{Mayday: &api.Mayday{Text: args[0]}}}}, o)
		},
	}
	o.markFlags(c)
	_ = c.Flags().MarkHidden("real") // it always is
	c.Flags().BoolVar(&retract, "retract", false, "take the open mayday back")
	c.Flags().StringVar(&reason, "reason", "", "with --retract: why")
	return c
}

// retractMaydays takes back all maydays of this hospital that were not, so that none
// is open after it.
func retractMaydays(cmd *cobra.Command, reason string, o sayOptions) error {
	var submissions []api.Submission
	err := withClient(cmd, func(c *client.Client) error {
		open, err := allNotices(cmd, c, client.NoticesQuery{Kind: "mayday", Mine: true})
		for _, v := range open {
			submissions = append(submissions, about("retraction", v.ID, reason))
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(submissions) == 0 {
		return &failure{code: client.ExitNo, err: errors.New("no mayday of this hospital is open")}
	}
	return say(cmd, submissions, o)
}

// withClient asks a node.
func withClient(cmd *cobra.Command, do func(*client.Client) error) error {
	c, err := connect(cmd)
	if err != nil {
		return err
	}
	defer c.Close()
	return do(c)
}

// noticesMax bounds what a list of one kind reads.
const noticesMax = 100_000

// allNotices returns all that a query selects, newest first.
func allNotices(cmd *cobra.Command, c *client.Client, q client.NoticesQuery) ([]api.NoticeView, error) {
	q.Limit = api.PageMax
	all := []api.NoticeView{}
	for {
		page, err := c.Notices(cmd.Context(), q)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Notices...)
		if q.Next = page.Next; page.Next == "" || len(all) >= noticesMax {
			return all, nil
		}
	}
}

func newAsk() *cobra.Command {
	var o sayOptions
	var text, typ string
	c := &cobra.Command{
		Use:   "ask VALUE",
		Short: "Ask the region whether it has seen something",
		Long: `Put a question to every hospital of the region before deciding that a risk is low.
Asking is not reporting: the value does not become known by it. The answers come as
sightings (report) and as responses (respond); situation shows them. A person answers
for a hospital, unless its configuration lets its node do so (ask.answer).`,
		Example: `  watchward ask evil.example --text "beacons of a radiology host, every 60 s"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s := api.Submission{Kind: "question", Value: args[0], Type: typ}
			if text != "" {
				s.Question = &api.Question{Text: text}
			}
			return say(cmd, []api.Submission{s}, o)
		},
	}
	o.markFlags(c)
	c.Flags().StringVar(&text, "text", "", "what to know beside the value")
	c.Flags().StringVar(&typ, "type", "", "type of the value (default: detected)")
	c.Flags().BoolVar(&o.elsewhere, "known-elsewhere", false, "you have it from somebody else too: a stricter marking held here does not bind")
	c.Flags().BoolVar(&o.allowSpecial, "allow-special", false, "take private and special-use addresses and names")
	return c
}

func needID(s string) error {
	if !isID(s) {
		return usage("%q is not an id: copy one of 40 hexadecimal digits, all of it, from watchward list", s)
	}
	return nil
}

// partSubject says in one cell what a notice says that no indicator does; "" if it
// is of another kind.
func partSubject(v api.NoticeView) string {
	switch {
	case v.Mayday != nil:
		return v.Mayday.Text
	case v.Profile != nil:
		return v.Profile.Name
	case v.Service != nil:
		return serviceText(v.Service)
	case v.Assistance != nil && v.Assistance.What != "":
		return v.Assistance.Act + ": " + helpText(v.Assistance)
	case v.Assistance != nil && v.Assistance.Act == "claim":
		return fmt.Sprintf("claim of %d on %s", v.Assistance.Quantity, v.Ref)
	case v.Assistance != nil:
		return v.Assistance.Act + " " + v.Ref
	case v.Link != nil:
		return fmt.Sprintf("%s: %s %s", v.Link.Supplier, v.Link.Link, v.Link.State)
	case v.Advisory != nil:
		return v.Advisory.Type + ": " + v.Advisory.Title
	case v.Response != nil:
		return v.Response.Answer + ", to " + v.Ref
	case v.Filing != nil:
		return fmt.Sprintf("%s of incident %s: %s", v.Filing.Stage, v.Filing.Incident, v.Filing.Title)
	}
	return ""
}

func serviceText(s *api.Service) string {
	text := s.Department + " " + s.State
	if s.Until != 0 {
		text += " until " + s.Until.String()
	}
	return text
}

func helpText(a *api.Assistance) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.Quantity, a.Unit)) + " × " + a.What
}

// showPart prints what the kind of a notice says that others do not.
func showPart(line func(name, value string), v api.NoticeView) {
	at := func(name string, t api.Time) {
		if t != 0 {
			line(name, t.String())
		}
	}
	if v.Question != nil {
		line("asks", v.Question.Text)
	}
	if v.Mayday != nil {
		line("mayday", v.Mayday.Text)
	}
	if v.Profile != nil {
		showProfile(line, v.Profile)
	}
	if s := v.Service; s != nil {
		line("department", s.Department)
		line("is", s.State)
		at("until", s.Until)
		line("text", s.Text)
	}
	if a := v.Assistance; a != nil {
		line("act", a.Act)
		if a.What != "" {
			line("help", helpText(a))
		} else if a.Quantity > 0 {
			line("quantity", fmt.Sprint(a.Quantity))
		}
		at("until", a.Until)
	}
	if l := v.Link; l != nil {
		line("supplier", l.Supplier)
		line("link", l.Link+", "+l.Direction)
		line("is", l.State)
		at("since", l.At)
		line("why", l.Reason)
		line("reconnect", l.Criteria)
		line("attested by", l.AttestedBy)
	}
	if v.Advisory != nil {
		showAdvice(line, v.Advisory)
	}
	if v.Response != nil {
		line("answer", v.Response.Answer)
	}
	if f := v.Filing; f != nil {
		line("report", f.Stage)
		line("incident", f.Incident+": "+f.Title)
		at("aware", f.AwareAt)
		line("severity", f.Severity)
		line("read it", "watchward incident show "+v.ID+" --out report.html")
	}
}

func showProfile(line func(name, value string), p *api.Profile) {
	line("name", p.Name)
	line("city", p.City)
	line("country", p.Country)
	for _, c := range p.Contact {
		line("reach", c)
	}
	line("departments", strings.Join(p.Departments, ", "))
	line("suppliers", strings.Join(p.Suppliers, ", "))
}
