package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "watchward",
		Short: "A peer alert mesh between hospitals, with no server in the middle",
		Long: `Watchward tells the other hospitals of your region what you see, under your
signature, and tells you what they see. Every node answers from its own disk:
it works when central services are down.

Start with:  watchward dev`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version(),
	}
	flags := root.PersistentFlags()
	flags.String("dir", os.Getenv("WATCHWARD_DIR"), "the node's directory (default $WATCHWARD_DIR)")
	flags.Lookup("dir").DefValue = "" // the help text says it already
	flags.String("api", "", "URL of the node's API, instead of --dir")
	flags.String("token-file", "", "file with the token for --api")
	flags.Bool("json", false, "print JSON for programs")
	root.AddGroup(
		&cobra.Group{ID: "words", Title: "See and say:"},
		&cobra.Group{ID: "node", Title: "The node:"},
		&cobra.Group{ID: "region", Title: "The region:"},
	)
	for id, commands := range map[string][]*cobra.Command{
		"words":  {newMayday(), newReport(), newLookup(), newHunt(), newAsk(), newRespond(), newDispute(), newRetract(), newList(), newShow(), newTail(), newImport(), newExport(), newVerify(), newAlerts(), newScan()},
		"node":   {newDev(), newInit(), newRun(), newStatus(), newLogs(), newConfig(), newAllow(), newDeny(), newFeeds(), newBridges(), newToken(), newVersion()},
		"region": {newRegion(), newJoin(), newMembers(), newSituation(), newProfile(), newService(), newAssist(), newLink(), newLedger()},
	} {
		for _, c := range commands {
			c.GroupID = id
			root.AddCommand(c)
		}
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return flagError(err) })
	root.SetHelpCommand(newHelp(root))
	root.InitDefaultHelpCmd() // now, so that it is treated as every other
	return root
}

// flagError says what a flag takes in place of how its parser failed.
func flagError(err error) error {
	text, _, isNumber := strings.Cut(err.Error(), ": strconv.Parse")
	if !isNumber {
		return err
	}
	return fmt.Errorf("%s: give a whole number, 0 or more", text)
}

// newHelp is cobra's help, which would answer a misspelt command with exit code 0.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about any command",
		RunE: func(_ *cobra.Command, args []string) error {
			found, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return usage("there is no command %q\nSee %s --help", strings.Join(args, " "), found.CommandPath())
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

// group makes a command that only holds others. Without it cobra would answer a
// misspelt subcommand with help and exit code 0.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(commands...)
	return c
}

func jsonFlag(c *cobra.Command) bool {
	on, _ := c.Flags().GetBool("json")
	return on
}
