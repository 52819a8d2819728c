package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/catalog"
)

// alertsShown is how many alerts one page has.
const alertsShown = 100

func newAlerts() *cobra.Command {
	c := &cobra.Command{
		Use:   "alerts",
		Short: "What a person should know about, newest first; acknowledge, silence, test",
		Long: `Show what a person should know about, newest first. What paged somebody has a state:
open until somebody acknowledges it, acknowledged, silenced, or over. The rest is in the
daily digest.`,
		Example: "  watchward alerts ack 17\n  watchward alerts silence --value scanner.example --for 4h --why 'our own test'\n  watchward alerts test",
		Args:    cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			list, err := c.Alerts(cmd.Context(), time.Time{}, alertsShown, "")
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if jsonFlag(cmd) {
				return printJSON(out, list)
			}
			if len(list.Alerts) == 0 {
				fmt.Fprintln(out, "No alerts.")
				return nil
			}
			t := table{header: []string{"ID", "WHEN", "STATE", "SEVERITY", "KIND", "WHAT"}}
			for _, a := range list.Alerts {
				state := a.State
				if a.AckBy != "" {
					state += " by " + a.AckBy
				}
				if state == "" {
					state = "-"
				}
				what := a.Text
				if a.Line != "" {
					what += " " + catalog.For("").Text(catalog.AlertLogLine, a.Line)
				}
				t.add(a.ID, ago(stamp(a.Time), now()), state, a.Severity, a.Kind, what)
			}
			t.print(out)
			return nil
		}),
	}
	c.AddCommand(newAlertsAck(), newAlertsSilence(), newAlertsTest())
	return c
}

func newAlertsAck() *cobra.Command {
	return &cobra.Command{
		Use:   "ack ID…",
		Short: "Say that you look after an alert, so that nobody else is told",
		Args:  cobra.MinimumNArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			all := api.AlertsAnswer{}
			for _, id := range args {
				a, err := c.AckAlert(cmd.Context(), id)
				if err != nil {
					return err
				}
				all.Alerts = append(all.Alerts, a)
				if !jsonFlag(cmd) {
					fmt.Fprintf(cmd.OutOrStdout(), "Alert %s (%s) is %s.\n", a.ID, plain(a.Kind), plain(a.State))
				}
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), all)
			}
			return nil
		}),
	}
}

func newAlertsSilence() *cobra.Command {
	var life, why, end string
	fields := []string{"kind", "severity", "value", "type", "family", "author", "region", "notice", "verdict"}
	words := map[string]*[]string{}
	c := &cobra.Command{
		Use:   "silence",
		Short: "Keep alerts from telling anybody at once, for a while; or list and end that",
		Long: `Keep what is of all that is named from telling anybody at once, for a while. It is in
the daily digest all the same. Without anything it lists the silences that hold.`,
		Example: "  watchward alerts silence --kind hit --value scanner.example --for 4h --why 'our own test'\n  watchward alerts silence --end 12",
		Args:    cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			q := api.SilenceRequest{Match: map[string][]string{}, Why: why}
			for field, list := range words {
				if len(*list) > 0 {
					q.Match[field] = *list
				}
			}
			switch {
			case end != "":
				return endSilence(cmd, c, end)
			case len(q.Match) == 0 && life == "" && why == "":
				return listSilences(cmd, c)
			case life == "":
				return usage("--for is missing: say how long, as in --for 4h")
			case why == "":
				return usage("--why is missing: say why, for whoever wonders later")
			}
			until, err := parseLife(life, now())
			if err != nil {
				return usage("--for %w", err)
			}
			q.Seconds = int64(until.Sub(now()).Round(time.Second) / time.Second)
			s, err := c.Silence(cmd.Context(), q)
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), s)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Silence %s holds until %s: %s. End it: watchward alerts silence --end %s\n", s.ID, stamp(s.Until).Local().Format("2 Jan 15:04"), plain(matched(s.Match)), s.ID)
			return nil
		}),
	}
	for _, f := range fields {
		words[f] = c.Flags().StringArray(f, nil, "what has this "+f+"; more than once: any of them")
	}
	c.Flags().StringVar(&life, "for", "", "how long: 30m, 4h, 2d, up to 30d")
	c.Flags().StringVar(&why, "why", "", "the reason, for whoever wonders later")
	c.Flags().StringVar(&end, "end", "", "end the silence with this id")
	return c
}

// matched is what a silence is about, in words.
func matched(m map[string][]string) string {
	var parts []string
	for field, words := range m {
		parts = append(parts, field+" "+strings.Join(words, " or "))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func listSilences(cmd *cobra.Command, c *client.Client) error {
	all, err := c.Silences(cmd.Context())
	if err != nil {
		return err
	}
	if jsonFlag(cmd) {
		return printJSON(cmd.OutOrStdout(), api.SilencesAnswer{Silences: all})
	}
	if len(all) == 0 {
		fmt.Fprintln(cmd.OutOrStdout(), "Nothing is silenced.")
		return nil
	}
	t := table{header: []string{"ID", "UNTIL", "BY", "WHAT", "WHY"}}
	for _, s := range all {
		t.add(s.ID, stamp(s.Until).Local().Format("2 Jan 15:04"), s.By, matched(s.Match), s.Why)
	}
	t.print(cmd.OutOrStdout())
	return nil
}

func endSilence(cmd *cobra.Command, c *client.Client, id string) error {
	s, err := c.EndSilence(cmd.Context(), id)
	if err != nil {
		return err
	}
	if jsonFlag(cmd) {
		return printJSON(cmd.OutOrStdout(), s)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "Silence %s is over.\n", s.ID)
	return nil
}

func newAlertsTest() *cobra.Command {
	return &cobra.Command{
		Use:   "test [SINK]",
		Short: "Send a test through each sink, or one, and say what became of it",
		Args:  cobra.MaximumNArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			name := ""
			if len(args) > 0 {
				name = args[0]
			}
			tests, err := c.TestSinks(cmd.Context(), name)
			if err != nil {
				return err
			}
			bad := slices.ContainsFunc(tests, func(s api.SinkTest) bool { return !s.OK })
			out := cmd.OutOrStdout()
			switch {
			case jsonFlag(cmd):
				if err := printJSON(out, api.SinkTests{Sinks: tests}); err != nil {
					return err
				}
			case len(tests) == 0:
				fmt.Fprintln(out, "No sink is configured, so nobody is told: see [[alerts.sinks]] in watchward config show.")
				return differs()
			default:
				t := table{header: []string{"SINK", "TYPE", "UP TO", "RESULT"}}
				for _, s := range tests {
					result := fmt.Sprintf("it has the test, after %.0f ms", s.Millis)
					if !s.OK {
						result = "FAILED: " + s.Error
					}
					t.add(s.Sink, s.Type, "TLP:"+s.TLP, result)
				}
				t.print(out)
			}
			if bad {
				return differs()
			}
			return nil
		}),
	}
}
