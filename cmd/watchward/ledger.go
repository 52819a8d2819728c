package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/proof"
)

func newLedger() *cobra.Command {
	return group("ledger", "The region's shared record: what is in it, who keeps it, receipts", newLedgerStatus(), newLedgerVoters(),
		newLedgerReceipt(), newLedgerAudit(), newLedgerTransfer(), newLedgerRecover())
}

func newLedgerStatus() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "How is the ledger? Who leads, how far it is, who signed",
		Long: `How the region's ledger is, as far as the node knows: who leads, how many entries
are in it and how many wait, and who signed the latest checkpoint. Exit code 1 if
something needs a look.`,
		Args: cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			v, err := c.Ledger(cmd.Context())
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				err = printJSON(cmd.OutOrStdout(), v)
			} else {
				showLedger(cmd.OutOrStdout(), &v)
			}
			if err == nil && len(v.Warnings) > 0 {
				err = differs()
			}
			return err
		}),
	}
}

func showLedger(out io.Writer, v *api.LedgerView) {
	word := "is " + paint(out, "32", "well")
	if len(v.Warnings) > 0 {
		word = paint(out, "31", "needs a look")
	}
	fmt.Fprintf(out, "The ledger %s.\n", word)
	for _, w := range v.Warnings {
		fmt.Fprintf(out, "  ! %s\n", plain(w))
	}
	line := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%-10s %s\n", name, plain(fmt.Sprintf(format, args...)))
	}
	line("origin", "%s", v.Origin)
	switch {
	case v.Leads:
		line("this node", "%s, and leads", v.Role)
	case v.Role == "none":
		line("this node", "keeps no copy")
	default:
		line("this node", "%s", v.Role)
	}
	leader := "not known here"
	switch {
	case v.LeaderName != "" && v.Term > 0:
		leader = fmt.Sprintf("%s, in term %d", v.LeaderName, v.Term)
	case v.LeaderName != "":
		leader = v.LeaderName
	}
	line("leader", "%s", leader)
	line("entries", "%s in this node's copy", thousands(int64(v.Size)))
	line("waiting", "%s", thousands(int64(v.Pending)))
	c := v.Checkpoint
	if c == nil {
		line("checkpoint", "none yet")
		return
	}
	line("checkpoint", "of %s over %s", ago(stamp(c.Time), now()), entries(c.Size))
	line("signed", "%s%s", signedBy(c.Signers, len(v.Voters), "coordinator"), without(v, c.Signers))
	if len(v.Witnesses) > 0 {
		line("witnessed", "%s", signedBy(c.Witnesses, len(v.Witnesses), "witness"))
	}
}

// without names the voters whose signatures a checkpoint lacks.
func without(v *api.LedgerView, signers []string) string {
	var missing []string
	for _, o := range v.Voters {
		if !slices.Contains(signers, o.Name) {
			missing = append(missing, o.Name)
		}
	}
	if len(missing) == 0 || len(signers) == 0 {
		return ""
	}
	return "; not yet by " + strings.Join(missing, ", ")
}

func entries(n uint64) string {
	if n == 1 {
		return "1 entry"
	}
	return thousands(int64(n)) + " entries"
}

// signedBy says how many of those who should have signed, and who.
func signedBy(names []string, of int, one string) string {
	all := one + "s"
	if one == "witness" {
		all = "witnesses"
	}
	if of == 1 {
		all = one
	}
	text := fmt.Sprintf("by %d of %d %s", len(names), of, all)
	if len(names) > 0 {
		text += ": " + strings.Join(names, ", ")
	}
	return text
}

// ledgerLine is what status says of the ledger.
func ledgerLine(l *api.LedgerBrief) string {
	if l.Role == "none" {
		return "no copy here"
	}
	text := entries(l.Size)
	if l.Pending > 0 {
		text += fmt.Sprintf(", %s wait", thousands(int64(l.Pending)))
		if l.Pending == 1 {
			text += "s"
		}
	}
	if l.Checkpoint == 0 {
		return text + ", no checkpoint yet"
	}
	return text + ", checkpoint of " + ago(stamp(l.Checkpoint), now())
}

func newLedgerVoters() *cobra.Command {
	return &cobra.Command{
		Use:   "voters",
		Short: "Who keeps the ledger, by the charter and by Raft, and how well they follow",
		Long: `The voters by the region's charter and by Raft's configuration, which follows it
one voter at a time. How far each one is and when it was heard, the leader's node
knows best: ask it there. The charter changes with watchward region amend --voter.`,
		Args: cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			v, err := c.Ledger(cmd.Context())
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), map[string]any{"voters": v.Voters, "witnesses": v.Witnesses})
			}
			return showVoters(cmd.OutOrStdout(), &v)
		}),
	}
}

func showVoters(out io.Writer, v *api.LedgerView) error {
	t := table{header: []string{"NAME", "CHARTER", "RAFT", "BEHIND", "HEARD", "STATE"}}
	for _, o := range v.Voters {
		charter, raft, behind, heard, state := "no", o.State, "unknown", "unknown", "unknown"
		if o.Charter {
			charter = "voter"
		}
		if raft == "" {
			raft = "not yet"
			if v.Role != "voter" {
				raft = "not known here"
			}
		}
		if o.Lag != nil {
			behind = strconv.FormatUint(*o.Lag, 10)
		}
		if o.Healthy != nil {
			heard, state = "", "lost"
			if *o.Healthy {
				state = "well"
			}
			if o.LastContact != 0 {
				heard = ago(stamp(o.LastContact), now())
			}
			if o.State == "leader" {
				heard = "this node"
			}
		}
		t.add(o.Name, charter, raft, behind, heard, state)
	}
	if err := t.print(out); err != nil {
		return err
	}
	for _, w := range v.Witnesses {
		state := "has not signed the latest checkpoint"
		if w.Signed {
			state = "signed the latest checkpoint"
		}
		fmt.Fprintf(out, "witness %s: %s\n", plain(w.Name), state)
	}
	if n := len(v.Voters); !v.Leads && n > 0 {
		fmt.Fprintf(out, "How well each one follows, the leader's node knows%s.\n", plain(atLeader(v)))
	}
	return nil
}

func atLeader(v *api.LedgerView) string {
	if v.LeaderName == "" {
		return ""
	}
	return ": " + v.LeaderName
}

func newLedgerReceipt() *cobra.Command {
	var to string
	var wait time.Duration
	c := &cobra.Command{
		Use:   "receipt NOTICE",
		Short: "Write a notice in a file that also proves its place in the ledger",
		Long: `Write a notice with the proof that its author signed it, that it is in the region's
ledger, and that most of the coordinators signed the ledger as it stands there. The
file is checked with watchward verify: no node, no network, none of us.

A notice is under a checkpoint about a second after it was sent, and up to ten seconds
after it was reported. --wait says how long to wait for that.`,
		Example: "  watchward ledger receipt 5f2d… --out evil.wwproof --dir A",
		Args:    cobra.ExactArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			raw, err := c.Receipt(cmd.Context(), args[0], wait)
			if client.NotYet(err) && wait > 0 {
				return fmt.Errorf("within %s: %w", wait, err)
			}
			if err != nil {
				return err
			}
			f, err := saveProof(to, raw)
			if err != nil {
				return err
			}
			v, err := c.Ledger(cmd.Context())
			if err != nil {
				return err
			}
			return showReceipt(cmd, args[0], to, len(raw), f, &v)
		}),
	}
	c.Flags().StringVar(&to, "out", "", "the file to write")
	c.Flags().DurationVar(&wait, "wait", 30*time.Second, "how long to wait until the notice is in the ledger")
	_ = c.MarkFlagRequired("out")
	return c
}

func showReceipt(cmd *cobra.Command, id, to string, bytes int, f *proof.File, now *api.LedgerView) error {
	tlp := notice.TLP(f.Envelope.Header.TLP)
	if f.Receipt == nil {
		return errors.New("the node's answer has no receipt")
	}
	cp, err := f.Receipt.Checkpoint()
	if err != nil {
		return err
	}
	split := now.Split && now.Origin == cp.Origin
	if jsonFlag(cmd) {
		return printJSON(cmd.OutOrStdout(), map[string]any{"file": to, "id": id, "tlp": tlp.String(), "bytes": bytes,
			"origin": cp.Origin, "index": f.Receipt.Index, "size": cp.Size, "split": split})
	}
	if split {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: a signer of this ledger has signed another one too, so the receipt counts as unwitnessed, which the file does not say: give %s along with it\n", plain(now.Evidence))
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "Wrote %s: in the ledger at %s, under a checkpoint over %s. It is TLP:%s: %s.\nTo check it, anywhere: watchward verify %s\n",
		to, thousands(int64(f.Receipt.Index)), entries(cp.Size), tlp, handling[tlp], to)
	return err
}

func newLedgerTransfer() *cobra.Command {
	return &cobra.Command{
		Use:   "transfer [NAME]",
		Short: "Let another voter lead, before this node stops; say it at the leader's node",
		Long: `Hand the lead over to a voter, or to the one that is furthest. Nothing waits longer
than some milliseconds. It is good manners before an upgrade; a leader that just stops
is replaced within a second.`,
		Args: cobra.MaximumNArgs(1),
		RunE: asking(func(cmd *cobra.Command, c *client.Client, args []string) error {
			done, err := c.TransferLedger(cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), done)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s leads now.\n", plain(done.Name))
			return err
		}),
	}
}

func newLedgerRecover() *cobra.Command {
	var f councilFlags
	var who ledgerFlags
	var yes bool
	c := &cobra.Command{
		Use:   "recover",
		Short: "Begin the ledger anew, when most of its voters are lost or one has lied",
		Long: `Propose a charter under which the ledger begins anew, in its next epoch. It needs the
same signatures as any other charter: watchward region sign.

When: most of the voters are lost for good, or the ledger was seen to tell two stories
(watchward alerts). Not when they are only away: the ledger goes on when they are back,
and nothing that waits is lost. While the ledger is well it wants --yes.

What it means: the ledger of before stays as it is, is served and checked as before,
and grows no more. A voter never signs what contradicts what it has signed, so an old
copy cannot go on in its place; that is why a new epoch is needed. The new one begins
with the last checkpoint of the old one that its first leader knows, and takes in again
all that the region's nodes hold. Receipts of before stay good.

Name those who keep it from now on with --voter, all of them, if they change.`,
		Example: `  watchward ledger recover --voter "St Anna" --voter Riverside --voter Uni --key a.key --dir A`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := openCouncil(cmd, f.in, nil, true)
			if err != nil {
				return err
			}
			defer c.close()
			before := c.roster.Charter()
			if before.Ledger == 0 {
				return usage("this region has no ledger yet: watchward region amend --voter NAME begins one")
			}
			if !yes && c.ledgerWell() {
				return usage("the ledger is well, and this would end it for good and begin another: nothing needs it; say --yes if you mean it")
			}
			next := successor(before)
			if err := who.apply(cmd, &next, c.among()); err != nil {
				return err
			}
			next.Ledger++
			fmt.Fprintf(cmd.ErrOrStderr(), "note: when this is decided, epoch %d of the ledger ends for good: it can be read and checked, and never grows again\n", before.Ledger)
			st, _, err := trust.Amend(before, next)
			if err != nil {
				return fmt.Errorf("the charter is refused: %w", err)
			}
			o, err := c.decide(f, nil, st)
			if err != nil {
				return err
			}
			return o.print(cmd, cmd.OutOrStdout())
		},
	}
	f.add(c)
	who.add(c, "name of a member")
	c.Flags().BoolVar(&yes, "yes", false, "also if the ledger is well")
	return c
}

// ledgerWell reports whether a node that runs says that the ledger is well.
func (c *council) ledgerWell() bool {
	if c.client == nil {
		return false
	}
	v, err := c.client.Ledger(c.cmd.Context())
	return err == nil && len(v.Warnings) == 0 && v.Checkpoint != nil
}
