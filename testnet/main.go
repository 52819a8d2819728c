// Command testnet is the proving ground: it runs regions of real hospitals on
// this machine, breaks them on purpose and shows what came of it.
//
//	go run ./testnet up --hospitals 20 --regions 1
//	go run ./testnet chaos --minutes 2
//	go run ./testnet report
//	go run ./testnet bench
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
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{Use: "testnet", Short: "Run regions of hospitals on this machine, and break them", SilenceUsage: true}
	root.AddCommand(newUp(), newChaos(), newReport(), newBench())
	if err := root.ExecuteContext(ctx); err != nil {
		os.Exit(1)
	}
}

func newUp() *cobra.Command {
	var hospitals, regions int
	c := &cobra.Command{
		Use: "up", Short: "Run a region, each hospital a process of its own, until Ctrl-C", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if regions != 1 {
				return fmt.Errorf("--regions %d: regions cannot endorse each other yet, which comes with the trust issue: choose 1", regions)
			}
			return chaos.Up(cmd.Context(), hospitals, cmd.OutOrStdout())
		},
	}
	c.Flags().IntVar(&hospitals, "hospitals", 20, "how many hospitals")
	c.Flags().IntVar(&regions, "regions", 1, "in how many regions")
	return c
}

func newChaos() *cobra.Command {
	o := chaos.Options{}
	var file string
	c := &cobra.Command{
		Use: "chaos", Short: "Break a region for some minutes while words are said, and check that none is lost", Args: cobra.NoArgs,
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
	c.Flags().IntVar(&o.Hospitals, "hospitals", 10, "how many hospitals")
	c.Flags().IntVar(&o.Minutes, "minutes", 2, "for how long, before all is healed")
	c.Flags().Uint64Var(&o.Seed, "seed", rand.Uint64(), "what is broken, and which packets are lost")
	c.Flags().Lookup("seed").DefValue = "random"
	fileFlag(c, &file)
	return c
}

func newReport() *cobra.Command {
	var file, out string
	c := &cobra.Command{
		Use: "report", Short: "Write one page about the last chaos, which opens offline", Args: cobra.NoArgs,
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
