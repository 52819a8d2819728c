package main

import (
	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api/client"
)

func newExport() *cobra.Command {
	var b bundleExport
	var bundle bool
	c := &cobra.Command{
		Use:   "export --bundle",
		Short: "Write what is known here into files: bundles, to carry where the network does not go",
		Long: `With --bundle, write notices as their authors signed them, so that a hospital
that is cut off can take them in from a stick: watchward import FILE. Anybody may
carry the files. What is for this region only (AMBER) goes into files of its own,
sealed for all members of the region, or for those named with --to.
What only this node knows, and what is for named members, is never in a bundle.

Without -o the files go into this directory. A file is there whole or not at all;
after an interruption those that are there are good, each alone and in any order.`,
		Example: "  watchward export --bundle -o /media/stick --since 30d\n  watchward export --bundle -o anna.wwb --to 'St Anna'",
		Args:    cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			if bundle {
				return b.run(cmd, c)
			}
			return usage("export what? --bundle writes notices to carry to another hospital")
		}),
	}
	c.Flags().BoolVar(&bundle, "bundle", false, "signed notices, for watchward import at another hospital")
	b.flags(c)
	return c
}
