package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
	"github.com/watchward/watchward/node/proof"
)

// A signedTree is one side of a contradiction.
type signedTree struct {
	Size uint64 `json:"size"`
	Root string `json:"root"`
}

// verifySplit checks the proof that somebody signed two ledgers. Whose keys those are,
// the region's file says.
func verifySplit(cmd *cobra.Command, e *verify.Equivocation, region string) error {
	if region == "" {
		return usage("this proves that somebody signed two ledgers, and whose keys they are the region's file says: --region FILE, written by watchward region show --out FILE --members")
	}
	roster, err := auditRoster(cmd, region)
	if err != nil {
		return err
	}
	origin, trees, err := treesOf(e)
	if err != nil {
		return notSplit(cmd, err)
	}
	of, epoch, err := tlog.ParseOrigin(origin)
	if err == nil && of != roster.Region() {
		err = fmt.Errorf("it is of region %s, and --region is of region %s", of, roster.Region())
	}
	if err != nil {
		return notSplit(cmd, err)
	}
	policy, err := verify.PolicyOf(roster, of, epoch)
	if err != nil {
		return notSplit(cmd, err)
	}
	both, err := e.Verify(policy)
	if err != nil {
		return notSplit(cmd, err)
	}
	names := signers(both)
	slices.Sort(names)
	if jsonFlag(cmd) {
		return printJSON(cmd.OutOrStdout(), map[string]any{"proven": true, "origin": origin, "signed_both": names, "trees": trees})
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%s: %s signed two ledgers that contradict each other.\n\n", paint(out, "31", "PROVEN"), plain(strings.Join(names, " and ")))
	fmt.Fprintf(out, "%-8s %s\n", "ledger", origin)
	for i, t := range trees {
		fmt.Fprintf(out, "%-8s %s with the root %s\n", [...]string{"one", "another"}[i], entries(t.Size), t.Root)
	}
	what := "Both have as many entries, and not the same ones."
	if trees[0].Size != trees[1].Size {
		what = "The larger one does not begin with the smaller one."
	}
	fmt.Fprintf(out, "\n%s No honest coordinator signs that: who did\nlied, was robbed of its key, or was restored from an old copy. Receipts of this ledger\nthat only they signed prove nothing; the region begins anew with watchward ledger recover.\n", what)
	return nil
}

func treesOf(e *verify.Equivocation) (origin string, trees [2]signedTree, err error) {
	for i, raw := range [][]byte{e.A, e.B} {
		n, err := tlog.ParseNote(raw)
		if err != nil {
			return "", trees, err
		}
		c, err := n.Checkpoint()
		if err != nil {
			return "", trees, err
		}
		origin, trees[i] = c.Origin, signedTree{Size: c.Size, Root: c.Root.String()}
	}
	return origin, trees, nil
}

func notSplit(cmd *cobra.Command, err error) error {
	return notProven(cmd, &proof.Failure{Step: stepSplit, Err: err})
}
