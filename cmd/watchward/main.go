// Command watchward runs and asks a node of the hospitals' alert mesh.
//
// watchward dev starts a region of three hospitals on this machine. See the
// README for the first five minutes, and watchward help for every command.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node/api/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command and returns its exit code.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	began := false
	noteBegin(root, &began)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if !began { // it was the arguments
		err = usage("%w\nSee %s --help", err, command.CommandPath())
	}
	if bare, ok := err.(*fs.PathError); ok { // nobody on the way said what it means
		err = fileError(bare.Path, bare)
	}
	failed := &failure{code: client.ExitCode(err), err: err}
	errors.As(err, &failed)
	if failed.err != nil {
		text := strings.ReplaceAll(failed.err.Error(), "\t", "  ") // cobra's suggestions have tabs
		for i, line := range strings.Split(text, "\n") {
			if i == 0 {
				line = paint(errOut, "31", "watchward:") + " " + plain(line)
			} else {
				line = plain(line)
			}
			fmt.Fprintln(errOut, line)
		}
	}
	return failed.code
}

// noteBegin makes every command set began when it takes over: an error before
// that is one of usage, and cobra does not tell them apart.
func noteBegin(c *cobra.Command, began *bool) {
	if run := c.RunE; run != nil {
		c.RunE = func(cmd *cobra.Command, args []string) error {
			*began = true
			return run(cmd, args)
		}
	}
	for _, sub := range c.Commands() {
		noteBegin(sub, began)
	}
}

// A failure ends the command with an exit code. Without an error the command
// has said everything already.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit code %d", f.code)
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

func usage(format string, args ...any) error {
	return &failure{code: client.ExitUsage, err: fmt.Errorf(format, args...)}
}

// differs ends a command that did its work and found not everything.
func differs() error { return &failure{code: client.ExitNo} }
