package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

func newList() *cobra.Command {
	var mine, open bool
	var product, supplier string
	var search, since, next string
	var limit int
	c := &cobra.Command{
		Use:     "list [KIND]",
		Short:   "List notices, newest first",
		Example: "  watchward list sighting --search evil --since 24h\n  watchward list advisory --search \"session tokens\" --open",
		Args:    cobra.MaximumNArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			q := client.NoticesQuery{Mine: mine, Search: search, Next: next}
			if len(args) == 1 {
				q.Kind = args[0]
			}
			if err := checkKind(q.Kind); err != nil {
				return err
			}
			if limit < 1 {
				return usage("--limit %d: give 1 or more", limit)
			}
			var err error
			if q.Since, err = parseSince(since, now()); err != nil {
				return usage("--since %w", err)
			}
			if q.Kind != notice.KindAdvisory.String() {
				if product != "" || supplier != "" || open {
					return usage("--product, --supplier and --open are for advisories: watchward list advisory")
				}
			} else {
				return listAdvisories(cmd, c, client.AdvisoriesQuery{Search: search, Product: product, Supplier: supplier, Mine: mine, Open: open, Since: q.Since, Next: next}, limit)
			}
			page := api.NoticesAnswer{Notices: []api.NoticeView{}}
			for len(page.Notices) < limit {
				q.Limit = min(limit-len(page.Notices), api.PageMax)
				more, err := c.Notices(cmd.Context(), q)
				if err != nil {
					return err
				}
				page.Notices, page.Next = append(page.Notices, more.Notices...), more.Next
				if q.Next = more.Next; more.Next == "" {
					break
				}
			}
			sending := false
			if mine && !jsonFlag(cmd) {
				s, err := c.Status(cmd.Context())
				if err != nil {
					return err
				}
				sending = s.Peers > 0
			}
			return showList(cmd, page, mine, sending)
		}),
	}
	c.Flags().BoolVar(&mine, "mine", false, "only this node's own")
	c.Flags().StringVar(&search, "search", "", "only values that contain this; of advisories, those that have all these words")
	c.Flags().StringVar(&product, "product", "", "of advisories: only those about this product (CPE, package URL, or words of one)")
	c.Flags().StringVar(&supplier, "supplier", "", "of advisories: only those about this supplier")
	c.Flags().BoolVar(&open, "open", false, "of advisories: only those of others that this hospital has not answered with done or na")
	c.Flags().StringVar(&since, "since", "", "only what arrived here since then: 30d, 12h, 2026-01-31 or a full time")
	c.Flags().IntVar(&limit, "limit", 50, "at most so many")
	c.Flags().StringVar(&next, "next", "", "go on where the last page ended")
	return c
}

// checkKind refuses what is no kind of notice; "" is all.
func checkKind(kind string) error {
	if kind == "" {
		return nil
	}
	_, err := notice.ParseKind(kind)
	switch {
	case err == nil:
		return nil
	case isID(kind) || checkID(kind) != nil:
		return usage("%q is no kind of notice: to see one by its id: watchward show ID", kind)
	}
	return usage("%s; to find a value: --search", intel.Reason(err))
}

func showList(cmd *cobra.Command, page api.NoticesAnswer, mine, sending bool) error {
	out := cmd.OutOrStdout()
	if jsonFlag(cmd) {
		return printJSON(out, page)
	}
	if len(page.Notices) == 0 {
		fmt.Fprintln(out, "Nothing here.")
		return nil
	}
	t := table{header: []string{"ID", "ARRIVED", "KIND", "ABOUT", "TLP", "BY", "NOTE"}}
	row := noticeRow
	if mine {
		t.header, row = []string{"ID", "SAID", "KIND", "ABOUT", "TLP", "TO", "STATE", "NOTE"}, func(v api.NoticeView) []string { return ownRow(v, sending) }
	}
	for _, v := range page.Notices {
		t.add(row(v)...)
	}
	t.print(out)
	if page.Next != "" {
		fmt.Fprintf(out, "\nThere is more: --next %s\n", plain(page.Next))
	}
	return nil
}

// ownRow says of an own notice how far it goes and how far it got. sending says
// that a member is connected.
func ownRow(v api.NoticeView, sending bool) []string {
	state := map[string]string{
		api.StateLocal: "kept here", api.StateWaiting: "to be sent", api.StateSent: "held by others",
		api.StateSigned: "signed, nobody is known to have it yet",
	}[v.State]
	if v.State == api.StateSigned && sending {
		state = "signed, being sent"
	}
	return []string{v.ID, ago(stamp(v.Received), now()), v.Kind, withUnicode(subject(v)), v.TLP, reachOf(v), state, notesOf(v)}
}

// notesOf is what a reader should know of a notice, in one cell.
func notesOf(v api.NoticeView) string {
	var notes []string
	if v.Exercise {
		notes = append(notes, "EXERCISE")
	}
	notes = append(notes, v.Marks...)
	if c := v.Context; c != nil {
		for _, s := range []string{c.Family, c.Tool, c.Technique, c.CVE} {
			if s != "" {
				notes = append(notes, s)
			}
		}
	}
	if v.Reason != "" {
		notes = append(notes, v.Reason)
	}
	return strings.Join(notes, ", ")
}

func noticeRow(v api.NoticeView) []string {
	by := v.AuthorName
	if by == "" {
		by = v.Author[:min(12, len(v.Author))]
	}
	tlp := v.TLP
	if v.Audience == "local" {
		tlp = strings.TrimSpace(tlp + " local")
	}
	return []string{v.ID, ago(stamp(v.Received), now()), v.Kind, withUnicode(subject(v)), tlp, by, notesOf(v)}
}

func stamp(t api.Time) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(t))
}
