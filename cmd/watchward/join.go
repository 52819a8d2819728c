package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/invitation"
)

func newJoin() *cobra.Command {
	var o initOptions
	var in, out string
	c := &cobra.Command{
		Use:   "join [INVITATION]",
		Short: "Become a member of a region, by an invitation or by files",
		Long: `Become a member by the invitation that a coordinator sent (watchward region invite).
The directory is made if it is missing: give --name then. The command shows six
words: call the coordinator and compare them. It waits until they admit this node;
Ctrl-C stops it, and the same command goes on where it was.

The same as files, with no network between: --out writes the request to join, for
the coordinator's watchward region admit; --in takes the admission that it wrote.`,
		Example: `  watchward join WW1UQAVQ… --dir B --name "Riverside General"
  watchward join --dir B --name "Riverside General" --out request.ww
  watchward join --dir B --in riverside.ww`,
		Args: cobra.ArbitraryArgs, // mail breaks an invitation into several
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := needDir(cmd)
			if err != nil {
				return err
			}
			if in != "" && (out != "" || len(args) > 0) {
				return usage("--in takes the admission alone: leave out the invitation and --out")
			}
			if in != "" {
				return joinByFile(cmd, dir, in)
			}
			i, given, err := invited(cmd, dir, args)
			if err != nil {
				return err
			}
			if !given && out == "" {
				return usage("by which invitation? Give the text that a coordinator sent, beginning with ww1; or by files: --out REQUEST, then --in ADMISSION")
			}
			if err := makeJoining(cmd, dir, &o); err != nil {
				return err
			}
			if given {
				if err := node.SaveInvitation(dir, i); err != nil {
					return err
				}
			}
			if out != "" {
				return writeRequest(cmd, dir, out)
			}
			return apply(cmd, dir, i)
		},
	}
	o.register(c)
	c.Flags().StringVar(&in, "in", "", "the admission file that a coordinator handed back")
	c.Flags().StringVar(&out, "out", "", "write the request to join into this file, and dial nobody")
	return c
}

// invited returns the invitation that was given, else the one that waits in dir.
func invited(cmd *cobra.Command, dir string, args []string) (i invitation.Invitation, ok bool, err error) {
	saved, waits, err := node.SavedInvitation(dir)
	if len(args) == 0 {
		return saved, waits, err
	}
	if i, err = invitation.Parse(strings.Join(args, "")); err != nil {
		return i, false, usage("%w", err)
	}
	if waits && saved.String() == i.String() {
		return i, true, nil // the coordinator's node may have the request already
	}
	if err := i.Expired(now()); err != nil {
		return i, false, usage("%w", err)
	}
	return i, true, nil
}

// makeJoining makes the node in dir if there is none; it must not be a member yet.
func makeJoining(cmd *cobra.Command, dir string, o *initOptions) error {
	if node.Joined(dir) {
		charter, _, err := node.Charter(dir)
		if err != nil {
			return err
		}
		return fmt.Errorf("%s is a member of %s already: start it with watchward run --dir %s, or join another region from another directory", dir, plain(charter.Name), dir)
	}
	if _, err := os.Stat(filepath.Join(dir, node.ConfigFile)); err == nil {
		return nil
	}
	if o.Name == "" {
		return usage("%s holds no node yet: say --name \"Hospital\" as others will see it, and it is made", dir)
	}
	if err := o.make(dir); err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Made %s in %s.\n", plain(o.Name), dir)
	return nil
}

func joinByFile(cmd *cobra.Command, dir, in string) error {
	admission, err := os.ReadFile(in)
	if err != nil {
		return fileError(in, err)
	}
	if _, err := os.Stat(filepath.Join(dir, node.ConfigFile)); err != nil {
		return usage("%s holds no node: make one with watchward init --dir %s, whose request is what gets admitted", dir, dir)
	}
	region, err := node.JoinSaved(dir, admission)
	if err != nil {
		return err
	}
	return sayJoined(cmd, dir, region)
}

// writeRequest writes a copy of the request to join.
func writeRequest(cmd *cobra.Command, dir, out string) error {
	request, err := os.ReadFile(filepath.Join(dir, node.RequestFile))
	if err != nil {
		return fileError(filepath.Join(dir, node.RequestFile), err)
	}
	words, err := node.Words(dir)
	if err != nil {
		return err
	}
	if err := writeNew(out, request); err != nil {
		return err
	}
	if jsonFlag(cmd) {
		return printJSON(cmd.OutOrStdout(), map[string]string{"request": out, "dir": dir, "words": words})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "Wrote %s, which holds no secret. Words of its keys:\n\n  %s\n\nHand it to a coordinator and compare these words by phone. With what comes back:\n  watchward join --dir %s --in ADMISSION\n", out, words, dir)
	return nil
}

// A joinState is a line that join --json prints: waiting once, then joined.
type joinState struct {
	State  string `json:"state"`
	Region string `json:"region,omitempty"`
	Dir    string `json:"dir"`
	Member string `json:"member,omitempty"`
	Words  string `json:"words,omitempty"`
	Number uint64 `json:"number,omitempty"` // of the request, at the coordinator's node
}

// apply asks to join and waits for people, with a line at whatever changes.
func apply(cmd *cobra.Command, dir string, i invitation.Invitation) error {
	words, err := node.Words(dir)
	if err != nil {
		return err
	}
	member, err := node.Member(dir)
	if err != nil {
		return err
	}
	out, errOut := cmd.OutOrStdout(), cmd.ErrOrStderr()
	w := &waiting{to: errOut}
	first := true
	region, err := node.Apply(cmd.Context(), dir, i, node.Waiting{
		Kept: func(number uint64) {
			if first {
				first = false
				if jsonFlag(cmd) {
					_ = printJSON(out, joinState{State: "waiting", Dir: dir, Member: member, Words: words, Number: number})
				} else {
					fmt.Fprintf(out, "The coordinator's node has the request, as number %d. Words of this node's keys:\n\n  %s\n\nCall the coordinator, on a number that you know, and compare these words. Then they\nadmit this node. Ctrl-C stops; the same command goes on.\n", number, words)
				}
			}
			w.note("Waiting to be admitted")
		},
		Lost: func(why error, again time.Duration) {
			w.line(fmt.Sprintf("%s; trying again in %s.", plain(why.Error()), again.Round(time.Second)))
		},
	})
	w.stop()
	var unreachable *mesh.UnreachableError
	switch {
	case errors.Is(err, context.Canceled):
		text := "Stopped: the request waits at the coordinator's node. Go on with watchward join --dir " + dir
		if first {
			text = "Stopped: no coordinator's node has the request yet. The same command goes on."
		}
		return &failure{code: client.ExitNo, err: errors.New(text)}
	case errors.As(err, &unreachable):
		return &failure{code: client.ExitUnreachable, err: fmt.Errorf("%w: does it run, and do the firewalls on the way let these ports through, here outwards? Or join by files: watchward join --dir %s --out REQUEST", err, dir)}
	case err != nil:
		return err
	}
	return sayJoined(cmd, dir, region)
}

func sayJoined(cmd *cobra.Command, dir, region string) error {
	if jsonFlag(cmd) {
		return printJSON(cmd.OutOrStdout(), joinState{State: "joined", Region: region, Dir: dir})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "Joined %s. Start the node, or restart it:\n  watchward run --dir %s\n", plain(region), dir)
	return nil
}

// waiting shows that something goes on: on a terminal a line that counts the time,
// elsewhere one line when it begins.
type waiting struct {
	to io.Writer

	mu    sync.Mutex
	text  string
	since time.Time
	ended chan struct{} // closed to stop the counting; nil = it has not begun
	done  chan struct{}
}

// note sets what is waited for.
func (w *waiting) note(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.text == text {
		return
	}
	w.text, w.since = text, time.Now()
	if _, _, ok := terminal(w.to); !ok {
		fmt.Fprintln(w.to, text+" …")
		return
	}
	w.show()
	if w.ended == nil {
		w.ended, w.done = make(chan struct{}), make(chan struct{})
		go w.count(w.ended, w.done)
	}
}

func (w *waiting) show() {
	if w.text != "" {
		fmt.Fprintf(w.to, "\r\x1b[K%s … %s", w.text, span(time.Since(w.since)))
	}
}

func (w *waiting) count(ended, done chan struct{}) {
	defer close(done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		w.mu.Lock()
		w.show()
		w.mu.Unlock()
	}
}

// line prints a line that stays; what is waited for is to be noted anew.
func (w *waiting) line(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended != nil {
		text = "\r\x1b[K" + text
	}
	w.text = ""
	fmt.Fprintln(w.to, text)
}

// stop ends the counting line.
func (w *waiting) stop() {
	w.mu.Lock()
	ended, done := w.ended, w.done
	w.ended, w.text = nil, ""
	w.mu.Unlock()
	if ended == nil {
		return
	}
	close(ended)
	<-done
	fmt.Fprint(w.to, "\r\x1b[K")
}
