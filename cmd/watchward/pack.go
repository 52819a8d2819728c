package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/paper"
)

func newPack() *cobra.Command {
	var tlp, language string
	c := &cobra.Command{
		Use:   "pack [DIR]",
		Short: "Write the offline pack: what to have on paper when nothing works",
		Long: `Write a page to print, with contacts, ways to reach the others without a network, the
situation with cut links and assistance, NIS2 forms and paper forms, and beside it
the playbooks that the region recommends. It needs no script and no network.

The node writes it by itself, weekly, where [pack] dir in its configuration says.
Without DIR it does so now; with DIR the pack goes there, such as a stick. It is
written beside and renamed: whatever fails, the pack that was there stays whole.`,
		Example: "  watchward pack\n  watchward pack /media/stick/watchward",
		Args:    cobra.MaximumNArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			if language != "" && !slices.Contains(catalog.Languages, language) {
				return usage("--language %q: give %s", language, strings.Join(catalog.Languages, " or "))
			}
			if _, err := notice.ParseTLP(tlp); tlp != "" && err != nil {
				return usage("--tlp: %s", intel.Reason(err))
			}
			if len(args) == 0 {
				if tlp != "" || language != "" {
					return usage("--tlp and --language go with DIR: the node's own pack is AMBER, in the language of its configuration")
				}
				a, err := c.MakePack(cmd.Context())
				if err != nil {
					return err
				}
				return packed(cmd, a)
			}
			a := api.PackAnswer{Dir: args[0], Page: paper.PackPage}
			err := c.Pack(cmd.Context(), tlp, language, func(r io.Reader) (err error) {
				a.Playbooks, err = paper.Unpack(r, args[0])
				return fileError(args[0], err)
			})
			if err != nil {
				return err
			}
			return packed(cmd, a)
		}),
	}
	c.Flags().StringVar(&tlp, "tlp", "", "the pack's marking, beyond which nothing is in it (default AMBER)")
	c.Flags().StringVar(&language, "language", "", "the pack's language: en or de (default: the node's)")
	return c
}

// packed says where a pack is now.
func packed(cmd *cobra.Command, a api.PackAnswer) error {
	if jsonFlag(cmd) {
		return printJSON(cmd.OutOrStdout(), a)
	}
	with := ""
	if a.Playbooks > 0 {
		with = ", with " + plural(int64(a.Playbooks), "playbook") + " beside it"
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "Wrote %s%s. Print it.\n", plain(filepath.Join(a.Dir, a.Page)), with)
	return err
}
