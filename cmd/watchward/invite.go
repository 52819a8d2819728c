package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"rsc.io/qr"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/crypto/words"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
)

func newRegionInvite() *cobra.Command {
	var life string
	c := &cobra.Command{
		Use:   "invite",
		Short: "Make an invitation, by which one hospital asks to join",
		Long: `Make an invitation, for one hospital. Send it as you like: by mail, read out, or as
the QR code that a terminal shows. It says which region it is and where this node
is, and lets one request come in; nobody is a member by it. The running node in
--dir must be a coordinator's, and others must be able to dial it.`,
		Example: `  watchward region invite --for 48h --dir A`,
		Args:    cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			until, err := parseLife(life, now())
			if err != nil {
				return usage("--for %w", err)
			}
			made, err := c.Invite(cmd.Context(), until.Sub(now()).Round(time.Second))
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if jsonFlag(cmd) {
				return printJSON(out, made)
			}
			fmt.Fprintln(out, made.Invitation)
			errOut := cmd.ErrOrStderr()
			if _, _, ok := terminal(out); ok {
				picture, err := drawQR(made.Invitation)
				if err != nil {
					return err
				}
				fmt.Fprint(out, "\n"+picture)
			}
			fmt.Fprintf(errOut, "Good for one request until %s. There: watchward join INVITATION --dir B --name \"Hospital\"\nThen here: watchward region requests\n", made.Expires)
			for _, s := range made.Seeds {
				if strings.Contains(s, "/ip4/127.") || strings.Contains(s, "/ip6/::1/") {
					fmt.Fprintln(errOut, "warning: it names this machine's loopback address, which other machines cannot dial: set listen or announce under [mesh] in the configuration.")
					break
				}
			}
			return nil
		}),
	}
	c.Flags().StringVar(&life, "for", "48h", "how long it is good: 48h, 7d; at most 30d")
	return c
}

// quiet is the white border of a QR code, in modules.
const quiet = 4

// drawQR draws a QR code with two modules a character, black on white whatever the
// terminal's colours are.
func drawQR(text string) (string, error) {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return "", fmt.Errorf("draw the QR code: %w", err)
	}
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		b.WriteString("\x1b[30;107m")
		for x := -quiet; x < code.Size+quiet; x++ {
			switch above, below := code.Black(x, y), code.Black(x, y+1); {
			case above && below:
				b.WriteRune('█')
			case above:
				b.WriteRune('▀')
			case below:
				b.WriteRune('▄')
			default:
				b.WriteRune(' ')
			}
		}
		b.WriteString("\x1b[0m\n")
	}
	return b.String(), nil
}

func newRegionRequests() *cobra.Command {
	return &cobra.Command{
		Use:   "requests",
		Short: "Show who asks to join by an invitation of this node",
		Long: `Show who asks to join by an invitation of the running node, the oldest first. What
they call themselves is their own word: call them, on a number that you know, and
compare the six words before watchward region admit. A request is kept for 7 days.`,
		Args: cobra.NoArgs,
		RunE: asking(func(cmd *cobra.Command, c *client.Client, _ []string) error {
			requests, err := c.JoinRequests(cmd.Context())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if jsonFlag(cmd) {
				return printJSON(out, api.JoinRequests{Requests: requests})
			}
			if len(requests) == 0 {
				fmt.Fprintln(out, "Nobody asks to join. Invite with watchward region invite.")
				return nil
			}
			t := table{header: []string{"NUMBER", "NAME", "SINCE", "FROM", "STATE", "WORDS"}}
			for _, r := range requests {
				state := "waits"
				if r.Admitted {
					state = "member"
				}
				t.add(strconv.FormatUint(r.Number, 10), r.Name, ago(time.UnixMilli(int64(r.Since)), now()), r.From, state, r.Words)
			}
			return t.print(out)
		}),
	}
}

// findRequest returns the request that admit's arguments name, and whether the
// running node keeps it: a file, else the number or the first of the words of one.
func findRequest(cmd *cobra.Command, args []string) (request []byte, kept bool, err error) {
	text := strings.Join(args, " ")
	request, err = os.ReadFile(text)
	if err == nil {
		return request, false, nil
	}
	if !errors.Is(err, fs.ErrNotExist) || strings.ContainsAny(text, `/\.`) {
		return nil, false, fileError(text, err)
	}
	c, err := connect(cmd)
	if err != nil {
		return nil, false, fmt.Errorf("%s is no file, and there is no node to ask for such a request: %w", plain(text), err)
	}
	defer c.Close()
	requests, err := c.JoinRequests(cmd.Context())
	if err != nil {
		return nil, false, fmt.Errorf("%s is no file, and the node cannot be asked for such a request: %w", plain(text), err)
	}
	var found []api.JoinRequest
	for _, r := range requests {
		if strconv.FormatUint(r.Number, 10) == text || words.Begin(r.Words, text) {
			found = append(found, r)
		}
	}
	switch {
	case len(found) == 0:
		return nil, false, fmt.Errorf("%s is neither a file nor the number or words of a request: see watchward region requests", plain(text))
	case len(found) > 1:
		return nil, false, usage("%s fits %d requests: say more of the words, or the number", plain(text), len(found))
	}
	return found[0].Request, true, nil
}

// findRequests is findRequest for several files too. Each is a join request.
func findRequests(cmd *cobra.Command, args []string) (requests [][]byte, kept bool, err error) {
	each := [][]string{args}
	if _, err := os.Stat(args[0]); err == nil { // files, then
		each = slices.Collect(slices.Chunk(args, 1))
	}
	for _, arg := range each {
		request, there, err := findRequest(cmd, arg)
		if err != nil {
			return nil, false, err
		}
		if _, err := trust.ParseRequest(request); err != nil {
			return nil, false, fmt.Errorf("%s is no join request, or a damaged one: ask for the %s that watchward init wrote (%w)", strings.Join(arg, " "), node.RequestFile, err)
		}
		requests, kept = append(requests, request), there
	}
	return requests, kept, nil
}

// admitted is what --json prints of a newcomer.
type admitted struct {
	Name   string `json:"name"`
	Member string `json:"member"`
	Words  string `json:"words"`
	Role   string `json:"role"`
}

// printAdmission says who was admitted, or would be, and what to do next.
func (o outcome) printAdmission(c *council, requests [][]byte, role string) error {
	out := c.cmd.OutOrStdout()
	var list []admitted
	for _, raw := range requests {
		q, err := trust.ParseRequest(raw)
		if err != nil {
			return err
		}
		public, err := crypto.ParsePublicKey(q.Key)
		if err != nil {
			return err
		}
		list = append(list, admitted{q.Name, crypto.NewMemberID(public).String(), words.Of(q.Key, q.SealKey, q.Peer), role})
	}
	if jsonFlag(c.cmd) {
		return printJSON(out, struct {
			outcome
			Admitted []admitted `json:"admitted"`
			Seeds    []string   `json:"seeds"`
			Taken    bool       `json:"taken"`
		}{o, list, c.seeds, o.Done && c.client != nil})
	}
	if !o.Done {
		return o.print(c.cmd, out)
	}
	for _, a := range list {
		fmt.Fprintf(out, "Admitted %s as %s, member id\n  %s\nwords\n  %s\n", plain(a.Name), a.Role, a.Member, a.Words)
	}
	if c.client != nil {
		fmt.Fprintln(out, "This node knows them, and the other members hear of them by it.")
	}
	if o.File != "" {
		fmt.Fprintf(out, "Unless you compared the words by phone before, do it now, with what their watchward\ninit or join printed. Then hand %s back. There: watchward join --dir DIRECTORY --in %s\n", o.File, filepath.Base(o.File))
	} else {
		fmt.Fprintln(out, "Their watchward join gets the admission from here: it waits for it, or is given again.")
	}
	return nil
}
