package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
)

func newFeeds() *cobra.Command {
	return group("feed", "The lists that firewalls and resolvers fetch from this node", newFeedList(), newFeedShow(), newFeedDiff(), newFeedAccept())
}

func newFeedList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the feeds and who fetches them",
		Long: `List the feeds of [feeds] in the configuration, with who fetches each and when.

Exit code 1: one waits for a word (watchward feed accept), or a consumer stays away.`,
		Args: cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			feeds, err := c.Feeds(cmd.Context())
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				err = printJSON(cmd.OutOrStdout(), api.FeedsAnswer{Feeds: feeds})
			} else {
				showFeeds(cmd.OutOrStdout(), feeds)
			}
			if err == nil && troubled(feeds) {
				return differs()
			}
			return err
		}),
	}
}

func troubled(feeds []api.FeedView) bool {
	for _, f := range feeds {
		if f.Waits != "" {
			return true
		}
		for _, c := range f.Consumers {
			if c.Missed {
				return true
			}
		}
	}
	return false
}

func showFeeds(out io.Writer, feeds []api.FeedView) {
	if len(feeds) == 0 {
		fmt.Fprintln(out, "No feed is configured. See [[feeds.list]]: watchward config show")
		return
	}
	t := table{header: []string{"FEED", "FORMAT", "VERDICT", "ENTRIES", "CHANGED", "STATE", "FETCHED BY"}}
	for _, f := range feeds {
		state := f.State
		if f.LeftOut > 0 {
			state += fmt.Sprintf(", %s left out", thousands(int64(f.LeftOut)))
		}
		who := make([]string, 0, len(f.Consumers))
		for _, c := range f.Consumers {
			who = append(who, consumer(c))
		}
		if len(who) == 0 {
			who = append(who, "nobody yet")
		}
		t.add(f.Name, f.Format, f.Verdict, thousands(int64(f.Entries)), ago(stamp(f.Changed), now()), state, strings.Join(who, "; "))
	}
	t.print(out)
	for _, f := range feeds {
		if f.Waits != "" {
			fmt.Fprintf(out, "\n%s waits for a word: %s.\n  look:                watchward feed diff %s\n  if that is right:    watchward feed accept %s\n", f.Name, plain(f.Waits), f.Name, f.Name)
		}
	}
}

// consumer is who fetches and when, in few words.
func consumer(c api.FeedConsumer) string {
	if c.Last == 0 {
		if c.Missed {
			return c.Name + " NEVER CAME"
		}
		return c.Name + " not yet"
	}
	s := c.Name + " " + ago(stamp(c.Last), now())
	if c.Missed {
		s += " STAYS AWAY"
	} else if !c.Current {
		s += ", has an older one"
	}
	return s
}

func newFeedShow() *cobra.Command {
	var why, next string
	var limit int
	c := &cobra.Command{
		Use:   "show NAME",
		Short: "Show what is in a feed, or why a value is not",
		Long: `Show the entries of a feed. With --why VALUE it says whether that value is in it and
why: what members said, what is decided here, and what must never be blocked.

Exit code 1 with --why: it is not in the feed.`,
		Example: "  watchward feed show firewall --why 8.8.8.8",
		Args:    cobra.ExactArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			if limit < 1 || limit > api.FeedShownMax {
				return usage("--limit %d: give 1 to %d", limit, api.FeedShownMax)
			}
			ask := limit
			if why != "" {
				ask = 0
			}
			d, err := c.Feed(cmd.Context(), args[0], why, ask, next)
			if err != nil {
				return err
			}
			switch {
			case jsonFlag(cmd):
				err = printJSON(cmd.OutOrStdout(), d)
			case d.Why != nil:
				showWhy(cmd.OutOrStdout(), d)
			default:
				showFeed(cmd.OutOrStdout(), d)
			}
			if err == nil && d.Why != nil && !d.Why.In {
				return differs()
			}
			return err
		}),
	}
	c.Flags().StringVar(&why, "why", "", "say of this value why it is in the feed or not")
	c.Flags().IntVar(&limit, "limit", 100, "at most so many entries")
	c.Flags().StringVar(&next, "next", "", "go on where the last page ended")
	return c
}

func showWhy(out io.Writer, d api.FeedDetail) {
	w := d.Why
	value := plain(withUnicode(w.Value))
	switch {
	case w.In && w.Reason != "":
		fmt.Fprintf(out, "%s is in %s: %s.\n", value, d.Name, plain(w.Reason))
	case w.In:
		fmt.Fprintf(out, "%s is in %s.\n", value, d.Name)
	default:
		fmt.Fprintf(out, "%s is not in %s: %s.\n", value, d.Name, plain(w.Reason))
	}
	if w.By != "" {
		fmt.Fprintf(out, "%s is in it, and stands for all below it.\n", plain(w.By))
	}
	fmt.Fprintf(out, "It is worth %s here.\n", w.Verdict)
	for _, r := range w.Reasons {
		fmt.Fprintf(out, "  %s\n", plain(r))
	}
}

func showFeed(out io.Writer, d api.FeedDetail) {
	showFeeds(out, []api.FeedView{d.FeedView})
	fmt.Fprintf(out, "\nTypes %s; words up to TLP:%s; fetched at %s.\n", strings.Join(d.Types, ", "), d.TLP, d.Path)
	if d.Zone != "" {
		fmt.Fprintf(out, "Zone %s, serial %d.\n", plain(d.Zone), d.Serial)
	}
	if d.Unfit > 0 {
		fmt.Fprintf(out, "%s the format cannot carry.\n", plural(int64(d.Unfit), "value")+" left out, which")
	}
	if len(d.List) == 0 {
		return
	}
	fmt.Fprintln(out)
	t := table{header: []string{"VALUE", "TYPE", "SINCE", "SEEN BY", "LAST SEEN", "UNTIL", "NOTE"}}
	for _, e := range d.List {
		note := ""
		switch {
		case e.Held:
			note = "waits to leave"
		case e.Denied:
			note = "denied here"
		}
		t.add(withUnicode(e.Value), e.Type, ago(stamp(e.Since), now()), fmt.Sprint(e.Members), ago(stamp(e.Seen), now()), ago(stamp(e.Until), now()), note)
	}
	t.print(out)
	if d.Next != "" {
		fmt.Fprintf(out, "\nThere is more: --next %q\n", d.Next)
	}
}

func newFeedDiff() *cobra.Command {
	var q api.FeedDiffRequest
	var file string
	c := &cobra.Command{
		Use:   "diff NAME",
		Short: "Show what a feed would be under another policy, or what waits in it",
		Long: `Show what would come into a feed and what would leave it: under a changed
configuration (--config), with values allowed or denied here. Nothing is changed.
Without any of these it shows what waits for watchward feed accept.

Exit code 1: something would change.`,
		Example: "  watchward feed diff firewall --config new.toml\n  watchward feed diff firewall --allow cdn.example",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if file != "" {
				raw, err := os.ReadFile(file)
				if err != nil {
					return usage("--config: %w", err)
				}
				q.Config = strings.Split(string(raw), "\n")
			}
			return asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
				d, err := c.DiffFeed(cmd.Context(), args[0], q)
				if err != nil {
					return err
				}
				if jsonFlag(cmd) {
					err = printJSON(cmd.OutOrStdout(), d)
				} else {
					showDiff(cmd.OutOrStdout(), d)
				}
				if err == nil && d.Added+d.Removed > 0 {
					return differs()
				}
				return err
			})(cmd, args)
		},
	}
	c.Flags().StringVar(&file, "config", "", "a whole configuration file, instead of the one the node runs with")
	c.Flags().StringArrayVar(&q.Allow, "allow", nil, "as if this value were allowed here; may be repeated")
	c.Flags().StringArrayVar(&q.Deny, "deny", nil, "as if this value were denied here; may be repeated")
	return c
}

func showDiff(out io.Writer, d api.FeedDiff) {
	if d.Added+d.Removed == 0 {
		fmt.Fprintf(out, "Nothing would change: %s.\n", thousands(int64(d.Entries))+" in it")
		return
	}
	for _, c := range d.Changes {
		if c.Added {
			fmt.Fprintf(out, "+ %s\n", plain(withUnicode(c.Value)))
		} else {
			fmt.Fprintf(out, "- %s: %s\n", plain(withUnicode(c.Value)), plain(c.Reason))
		}
	}
	fmt.Fprintf(out, "%s now, %s then: %s come, %s leave.\n", thousands(int64(d.Entries)), thousands(int64(d.Would)), thousands(int64(d.Added)), thousands(int64(d.Removed)))
	if d.Waits {
		fmt.Fprintf(out, "That is a shrink that waits for a word: watchward feed accept %s\n", d.Name)
	}
}

func newFeedAccept() *cobra.Command {
	return &cobra.Command{
		Use:   "accept NAME",
		Short: "Let a feed shrink that waits for your word",
		Long: `A feed that would lose more than a fifth of its entries within a day keeps them until
somebody says that this is right: a mistake in a list or in the configuration must
not open the firewall. What expired or was taken back does not count, and what must
never be blocked leaves at once.`,
		Args: cobra.ExactArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			a, err := c.AcceptFeed(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), a)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s left, %s in it now.\n", a.Name, thousands(int64(a.Left)), thousands(int64(a.Entries)))
			return nil
		}),
	}
}
