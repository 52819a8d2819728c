package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/watchward/watchward/node/alert"
)

// A command is run once a message, without a shell, with the message as JSON on its
// standard input. Exit code 0 means that it has it.
type command struct{ argv []string }

// killedAfter is how long a command has to let go of its output once it was killed.
const killedAfter = 2 * time.Second

// Send runs the command. It ends, with all that it started where the system can do
// that, when ctx does.
func (c *command) Send(ctx context.Context, m alert.Message) error {
	run := exec.CommandContext(ctx, c.argv[0], c.argv[1:]...)
	run.Env = []string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}
	if root := os.Getenv("SYSTEMROOT"); root != "" { // Windows starts little without
		run.Env = append(run.Env, "SYSTEMROOT="+root)
	}
	run.WaitDelay = killedAfter
	together(run)
	run.Stdin = bytes.NewReader(body(m))
	out := &bounded{}
	run.Stdout, run.Stderr = out, out
	err := run.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s did not end in time: it was killed", c.argv[0])
	case errors.Is(err, exec.ErrWaitDelay):
		return nil // it ended well; what it started still holds its output
	}
	if said := excerpt(out.b); said != "" {
		return fmt.Errorf("%s: %w: %s", c.argv[0], err, said)
	}
	return fmt.Errorf("%s: %w", c.argv[0], err)
}

// bounded keeps the start of what is written and drops the rest.
type bounded struct{ b []byte }

func (w *bounded) Write(p []byte) (int, error) {
	w.b = append(w.b, p[:min(len(p), shownMax-len(w.b))]...)
	return len(p), nil
}
