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
	"os"
	"os/signal"
	"strings"
	"syscall"

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
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	failed := &failure{code: client.ExitCode(err), err: err}
	errors.As(err, &failed)
	if failed.err != nil {
		for i, line := range strings.Split(failed.err.Error(), "\n") {
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
