package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
)

func newLogs() *cobra.Command {
	return &cobra.Command{
		Use:   "logs",
		Short: "How this hospital's own logs are read: lines, hits, what is wrong",
		Long: `Show each log of the configuration ([[logs]] and [syslog]): how many lines were read
since the node's start, how many of them named something that is to be detected, and what
is wrong. What was found is in watchward alerts.

Exit code 0: all are read. 1: one is not, or there is none.`,
		Args: cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			all, err := c.Logs(cmd.Context())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			bad := len(all.Logs) == 0
			for _, l := range all.Logs {
				bad = bad || l.Problem != ""
			}
			switch {
			case jsonFlag(cmd):
				err = printJSON(out, all)
			case len(all.Logs) == 0:
				_, err = fmt.Fprintln(out, "No log is named: see [[logs]] and [syslog] in watchward config show")
			default:
				err = logsTable(all.Logs).print(out)
			}
			if err == nil && bad {
				err = differs()
			}
			return err
		}),
	}
}

func logsTable(all []api.LogView) *table {
	t := &table{header: []string{"LOG", "FORMAT", "LINES", "HITS", "NOT READABLE", "LAST LINE", "BEHIND", "WHAT"}}
	for _, l := range all {
		what := l.Path
		if len(l.Listen) > 0 {
			what = strings.Join(l.Listen, ", ")
		}
		if l.Share {
			what += " (hits are told)"
		}
		if l.Problem != "" {
			what = "! " + l.Problem
		}
		t.add(l.Name, l.Format, thousands(l.Lines), thousands(l.Hits), thousands(l.Broken+l.Other+l.Cut), ago(stamp(l.LastLine), now()), size(l.Lag), what)
	}
	return t
}
