package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
)

func newToken() *cobra.Command {
	return group("token", "Make, list and revoke tokens for the API", newTokenCreate(), newTokenList(), newTokenRevoke())
}

func newTokenCreate() *cobra.Command {
	var q api.TokenRequest
	var life string
	c := &cobra.Command{
		Use:     "create NAME",
		Short:   "Make a token; it is shown once and kept only as a hash",
		Example: "  watchward token create siem --role reader --ceiling GREEN",
		Args:    cobra.ExactArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			q.Name = args[0]
			if life != "" {
				until, err := parseLife(life, now())
				if err != nil {
					return usage("--life %w", err)
				}
				q.Expires = api.Time(until.UnixMilli())
			}
			made, err := c.CreateToken(cmd.Context(), q)
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), made)
			}
			fmt.Fprintln(cmd.OutOrStdout(), made.Token)
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s, sees up to TLP:%s. Keep the line above: it cannot be shown again.\n", plain(made.Name), made.Role, made.Ceiling)
			return nil
		}),
	}
	c.Flags().StringVar(&q.Role, "role", "reader", "reader, reporter (may also state) or admin")
	c.Flags().StringVar(&q.Ceiling, "ceiling", "GREEN", "the strictest marking it may see")
	c.Flags().StringVar(&life, "life", "", "how long it is valid: 90d, 12h, or until 2027-01-31 (default: until it is revoked)")
	return c
}

func newTokenList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List tokens; secrets are not kept",
		Args:  cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			tokens, err := c.Tokens(cmd.Context())
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), api.TokensAnswer{Tokens: tokens})
			}
			t := table{header: []string{"ID", "NAME", "ROLE", "SEES UP TO", "MADE", "EXPIRES"}}
			for _, x := range tokens {
				expires := "never"
				if x.Expires != 0 {
					expires = ago(stamp(x.Expires), now())
				}
				t.add(x.ID, x.Name, x.Role, "TLP:"+x.Ceiling, ago(stamp(x.Created), now()), expires)
			}
			t.print(cmd.OutOrStdout())
			return nil
		}),
	}
}

func newTokenRevoke() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID|NAME",
		Short: "Revoke a token at once",
		Args:  cobra.ExactArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			gone, err := c.RevokeToken(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), gone)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Revoked %s (%s).\n", plain(gone.Name), gone.ID)
			return nil
		}),
	}
}
