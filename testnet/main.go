// Command testnet is the proving ground: it runs regions of real hospitals on
// this machine, breaks them on purpose and shows what came of it.
//
//	go run ./testnet up --hospitals 20 --regions 2
//	go run ./testnet chaos --minutes 2
//	go run ./testnet report
//	go run ./testnet bench
//	go run ./testnet words DIR FILE
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/testnet/bench"
	"github.com/watchward/watchward/testnet/chaos"
	"github.com/watchward/watchward/testnet/words"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use: "testnet", Short: "Run regions of hospitals on this machine, and break them", SilenceUsage: true,
		Long: `Run regions of hospitals on this machine, each hospital a process of its own,
and break them. "up" is for trying commands, "chaos" for seeing that nothing is
lost, "report" shows the last chaos on one page, and "bench" measures.`,
	}
	root.AddCommand(newUp(), newChaos(), newReport(), newBench(), newWords())
	if err := root.ExecuteContext(ctx); err != nil {
		os.Exit(1)
	}
}

func newUp() *cobra.Command {
	var hospitals, regions int
	c := &cobra.Command{
		Use: "up", Short: "Run hospitals, each a process of its own, until Ctrl-C", Args: cobra.NoArgs,
		Long: `Run hospitals, each a process of its own, in one region or in several that
endorse each other, and print where each is and what to try. Of what one says,
GREEN is heard in every region and AMBER in its own. Ctrl-C stops all of them
and removes their data.`,
		Example: "  go run ./testnet up --hospitals 20 --regions 2",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return chaos.Up(cmd.Context(), hospitals, regions, cmd.OutOrStdout())
		},
	}
	sizeFlags(c, &hospitals, 20, &regions)
	return c
}

func newChaos() *cobra.Command {
	o := chaos.Options{}
	var file string
	c := &cobra.Command{
		Use: "chaos", Short: "Break hospitals for some minutes while words are said, and check that none is lost", Args: cobra.NoArgs,
		Long: `Run hospitals and have them say four words a second, while one thing after the
other is broken: processes are killed and paused; with root on Linux networks are
cut, lossy and slow too. At the end all is healed, and the exit code is 0 only
if every word that was acknowledged is where it has to be and nowhere else. With
several regions half of the words are GREEN, for all of them, and half AMBER, for
one.

In the table, DELIVERED counts words at hospitals other than their author's,
MISSING those that are not there yet, and P50 and P99 are the times within which
half and 99 of 100 arrived. ACROSS and what follows are the same for GREEN words
in other regions.`,
		Example: "  go run ./testnet chaos --minutes 2\n  go run ./testnet chaos --minutes 2 --regions 2",
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Out = cmd.OutOrStdout()
			result, err := chaos.Run(cmd.Context(), o)
			if result.DurationMS == 0 {
				return err
			}
			err = errors.Join(err, result.Print(o.Out), chaos.Save(file, result))
			fmt.Fprintf(o.Out, "\nKept in %s; see it: go run ./testnet report\n", file)
			return err
		},
	}
	sizeFlags(c, &o.Hospitals, 10, &o.Regions)
	c.Flags().IntVar(&o.Minutes, "minutes", 2, "for how long, before all is healed")
	c.Flags().Uint64Var(&o.Seed, "seed", rand.Uint64(), "what is broken, and which packets are lost")
	c.Flags().Lookup("seed").DefValue = "random"
	fileFlag(c, &file)
	return c
}

func sizeFlags(c *cobra.Command, hospitals *int, usual int, regions *int) {
	c.Flags().IntVar(hospitals, "hospitals", usual, "how many hospitals in all, 60 at most and 2 for each region at least")
	c.Flags().IntVar(regions, "regions", 1, "in how many regions, 1 to 5, of about the same size")
}

func newReport() *cobra.Command {
	var file, out string
	c := &cobra.Command{
		Use: "report", Short: "Write one page about the last chaos, which opens offline", Args: cobra.NoArgs,
		Long: `Write one HTML page about the last chaos: how fast words arrived, how many had
arrived at each moment, how long each fault was felt, and what was broken when.
The page is one file that loads nothing and needs no JavaScript.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := chaos.Report(file, out); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Wrote %s: open it in a browser.\n", out)
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", filepath.Join(os.TempDir(), "watchward-chaos.html"), "the page")
	fileFlag(c, &file)
	return c
}

func fileFlag(c *cobra.Command, file *string) {
	c.Flags().StringVar(file, "file", filepath.Join(os.TempDir(), "watchward-chaos.json"), "what the last chaos measured")
}

func newBench() *cobra.Command {
	var o bench.Options
	c := &cobra.Command{
		Use: "bench", Short: "Run all benchmarks and print what was asked and what was measured, in one table", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Out, o.Log = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return bench.Run(cmd.Context(), o)
		},
	}
	c.Flags().StringVar(&o.Only, "only", "", "part of a benchmark's name")
	c.Flags().BoolVar(&o.Write, "write", false, "put the table into testnet/bench/RESULTS.md")
	c.Flags().StringVar(&o.Root, "root", ".", "directory of the repository")
	c.Flags().DurationVar(&o.Timeout, "timeout", 30*time.Minute, "for each benchmark")
	return c
}

func newWords() *cobra.Command {
	var count int
	c := &cobra.Command{
		Use: "words DIR FILE", Short: "Write a bundle of many words by the node in DIR, which must not run", Args: cobra.ExactArgs(2),
		Long: `Write a bundle of many words, each in an envelope of its own, by the member whose
node is in DIR. The node must not run, and must have said nothing before. Any node of
the region takes them in: watchward import FILE. This is how a long ledger is made.`,
		Example: "  go run ./testnet words --count 10000 watchward-dev/hospital-4 words.wwb",
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := os.Create(args[1])
			if err != nil {
				return err
			}
			return errors.Join(words.Write(args[0], count, f), f.Close())
		},
	}
	c.Flags().IntVar(&count, "count", 10_000, "how many words")
	return c
}
