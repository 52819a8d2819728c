package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
)

func newBridges() *cobra.Command {
	return group("bridge", "The services that this node shares with: TAXII, MISP", newBridgeList(), newBridgeShow())
}

func newBridgeList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the bridges and what they did",
		Long: `List the bridges of [[bridge]] in the configuration: whether each reaches its
service, and what came and went since ever.

Exit code 1: one does not reach its service.`,
		Args: cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			all, err := c.Bridges(cmd.Context())
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				err = printJSON(cmd.OutOrStdout(), api.BridgesAnswer{Bridges: all})
			} else {
				showBridges(cmd.OutOrStdout(), all)
			}
			if err == nil && failing(all...) {
				return differs()
			}
			return err
		}),
	}
}

func failing(all ...api.BridgeView) bool {
	for _, b := range all {
		if b.Since != 0 {
			return true
		}
	}
	return false
}

func showBridges(out io.Writer, all []api.BridgeView) {
	if len(all) == 0 {
		fmt.Fprintln(out, "No bridge is configured. See [[bridge]]: watchward config show")
		return
	}
	t := table{header: []string{"BRIDGE", "KIND", "STATE", "LAST GOOD", "TAKEN", "KNOWN", "REFUSED", "PUSHED", "FAILED"}}
	for _, b := range all {
		t.add(b.Name, b.Kind, b.State, ago(stamp(b.Last), now()), thousands(b.Taken), thousands(b.Known), thousands(b.Refused), thousands(b.Pushed), thousands(b.Failed))
	}
	t.print(out)
	for _, b := range all {
		if b.Since != 0 {
			fmt.Fprintf(out, "\n%s fails since %s, next try %s: %s\n", plain(b.Name), ago(stamp(b.Since), now()), ago(stamp(b.Next), now()), plain(b.Reason))
		}
	}
}

func newBridgeShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME",
		Short: "Show one bridge, and why something was not taken or pushed",
		Long: `Show what a bridge does, what it did, and the latest reasons why something was not
taken from its service, or not taken there.

Exit code 1: it does not reach its service.`,
		Args: cobra.ExactArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			d, err := c.Bridge(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				err = printJSON(cmd.OutOrStdout(), d)
			} else {
				showBridge(cmd.OutOrStdout(), d)
			}
			if err == nil && failing(d.BridgeView) {
				return differs()
			}
			return err
		}),
	}
}

func showBridge(out io.Writer, d api.BridgeDetail) {
	showBridges(out, []api.BridgeView{d.BridgeView})
	fmt.Fprintf(out, "\n%s, every %s.\n%s\n", plain(d.URL), plain(d.Every), strings.Join(doings(d), "\n"))
	if d.Waiting > 0 {
		fmt.Fprintf(out, "Objects that wait for what they refer to: %d.\n", d.Waiting)
	}
	if len(d.Reasons) == 0 {
		return
	}
	fmt.Fprintln(out)
	t := table{header: []string{"TIMES", "LAST", "WHICH WAY", "REASON", "SUCH AS"}}
	for _, r := range d.Reasons {
		way := "not taken"
		if r.Push {
			way = "not pushed"
		}
		t.add(thousands(r.Count), ago(stamp(r.Last), now()), way, r.Reason, r.ID)
	}
	t.print(out)
}

// doings says what a bridge does.
func doings(d api.BridgeDetail) (lines []string) {
	switch {
	case d.Pull && d.Share:
		lines = append(lines, "What it takes in is stated to the region, under the marking that it came with.")
	case d.Pull:
		lines = append(lines, "What it takes in is kept here, and tells nobody.")
	default:
		lines = append(lines, "It takes nothing in, and reads what is there so that none of it goes back.")
	}
	if d.Pull && d.Marking != "" {
		lines = append(lines, "What has no marking is taken as TLP:"+plain(d.Marking)+".")
	} else if d.Pull {
		lines = append(lines, "What has no marking is refused.")
	}
	switch d.Push {
	case "own":
		lines = append(lines, "It pushes what this hospital said itself, up to TLP:"+plain(d.Ceiling)+".")
	case "all":
		lines = append(lines, "It pushes all that did not come from there, up to TLP:"+plain(d.Ceiling)+".")
	default:
		lines = append(lines, "It pushes nothing.")
	}
	return lines
}
