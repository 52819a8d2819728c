package main

import (
	"bytes"
	"errors"
	"fmt"
	"github.com/watchward/watchward/crypto/words"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node"
)

func newRegion() *cobra.Command {
	return group("region", "Found a region, admit and expel members, change its charter", newRegionInit(), newRegionKey(), newRegionInvite(), newRegionRequests(),
		newRegionAdmit(), newRegionRevoke(), newRegionSupersede(), newRegionRenew(), newRegionAmend(), newRegionEndorse(), newRegionList(),
		newRegionProposals(), newRegionSign(), newRegionTake(), newRegionShow())
}

func newRegionAdmit() *cobra.Command {
	var f councilFlags
	var role string
	var seeds []string
	c := &cobra.Command{
		Use:   "admit REQUEST…",
		Short: "Make the authors of join requests members",
		Long: `Admit nodes by their requests to join: compare the six words by phone before. REQUEST
is one that came by an invitation, by the number or the first of the words that
watchward region requests shows; or files that watchward init or join --out wrote.

Where the charter wants several coordinators, this opens a proposal, which the
others sign: watchward region proposals, watchward region sign. Once it is decided,
the node in --dir takes it in if it runs, and tells the others; a node that waits in
watchward join gets it from there. For a file the admission is also written to
--out, to hand back. It holds no secret. The newcomer is told the running node's
addresses; otherwise name them with --seed.`,
		Example: `  watchward region admit 3 --dir A --key a.key
  watchward region admit "carport echo gag" --dir A --key a.key
  watchward region admit request.ww --dir A --key a.key --out riverside.ww`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			as, err := trust.ParseRole(role)
			if err != nil {
				return err
			}
			if f.in == "" {
				if _, err := needDir(cmd); err != nil {
					return err
				}
			}
			requests, kept, err := findRequests(cmd, args)
			if err != nil {
				return err
			}
			c, err := openCouncil(cmd, f.in, nil, false)
			if err != nil {
				return err
			}
			defer c.close()
			c.seeds = append(slices.Clone(seeds), c.seeds...)
			if !kept && f.in == "" && f.out == "" {
				f.out = "admission.ww"
			}
			st, err := node.Admitting(c.roster, requests, as, nil, now())
			if err != nil {
				return err
			}
			o, err := c.decide(f, nil, st)
			if err != nil {
				return err
			}
			warnAdmission(cmd, f.keys, c.seeds)
			return o.printAdmission(c, requests, role)
		},
	}
	f.add(c)
	c.Flags().StringVar(&role, "role", "hospital", "hospital, coordinator, bridge or supplier")
	c.Flags().StringArrayVar(&seeds, "seed", nil, "multiaddress with /p2p/ID that the newcomer dials first")
	return c
}

// warnAdmission says what will not work with an admission.
func warnAdmission(cmd *cobra.Command, keys, seeds []string) {
	errOut := cmd.ErrOrStderr()
	for _, key := range keys {
		if name := keyfile.Rightless(key); name != "" {
			fmt.Fprintf(errOut, "note: %s lies on %s, which keeps no rights: put the stick back into its safe.\n", key, name)
		}
	}
	if len(seeds) == 0 {
		fmt.Fprintln(errOut, `warning: the admission names no address, so the newcomer can dial nobody and will hear nothing. One of:
  run this node where others can reach it (mesh.listen in its configuration), and admit again with another --out
  say --seed /ip4/ADDRESS/udp/PORT/quic-v1/p2p/ID, as "listens" in watchward status shows it
  set mesh.seeds in the newcomer's configuration`)
	}
}

func newRegionShow() *cobra.Command {
	var to string
	var members bool
	c := &cobra.Command{
		Use:   "show",
		Short: "Show the region's charter, and which regions it endorses",
		Long: `Show the region's charter, and which regions it endorses. With --out, write what
somebody else needs to check the words of its members, or to endorse it: charters and
endorsements, the running node's addresses, with --members also who the members are.
The file holds no secret.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := needDir(cmd)
			if err != nil {
				return err
			}
			if members && to == "" {
				return usage("--members goes with --out")
			}
			if to != "" {
				return writeRegion(cmd, dir, to, members)
			}
			council, err := openCouncil(cmd, "", nil, true) // who the members are says which proposals are moot
			if err != nil {
				return err
			}
			defer council.close()
			v := viewRegion(council.roster)
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), v)
			}
			v.print(cmd.OutOrStdout())
			return nil
		},
	}
	c.Flags().StringVar(&to, "out", "", "write the region to this file, for watchward verify --region")
	c.Flags().BoolVar(&members, "members", false, "also every member's credential")
	return c
}

// A regionView is what region show says.
type regionView struct {
	Name         string            `json:"name"`
	Region       string            `json:"region"`
	Number       uint64            `json:"number"`
	Created      string            `json:"created"`
	Threshold    int               `json:"threshold"`
	Coordinators []coordinatorView `json:"coordinators"`
	RegionRoles  []string          `json:"region_roles"`
	Ledger       *ledgerView       `json:"ledger"` // null = none
	Endorses     []endorsedView    `json:"endorses"`
	Proposals    int               `json:"proposals"`
	Forks        int               `json:"forks"`
}

type coordinatorView struct {
	Name  string `json:"name"`
	Words string `json:"words"`
}

// ledgerView is who keeps the ledger, by name.
type ledgerView struct {
	Epoch     uint32   `json:"epoch"`
	Voters    []string `json:"voters"`
	Witnesses []string `json:"witnesses"`
}

type endorsedView struct {
	Region string `json:"region"`
	Name   string `json:"name,omitempty"`
	Mutual bool   `json:"mutual"`
}

func viewRegion(roster *trust.Roster) regionView {
	region, charter := roster.Region(), roster.Charter()
	v := regionView{
		Name: charter.Name, Region: region.String(), Number: charter.Number, Created: time.UnixMilli(charter.Created).UTC().Format(time.RFC3339),
		Threshold: int(charter.Threshold), Coordinators: []coordinatorView{}, RegionRoles: []string{}, Endorses: []endorsedView{},
		Proposals: len(liveProposals(roster)), Forks: len(roster.CharterForks(region)),
	}
	for _, c := range charter.Coordinators {
		v.Coordinators = append(v.Coordinators, coordinatorView{c.Name, words.Of(c.Key, nil, nil)})
	}
	slices.SortFunc(v.Coordinators, func(a, b coordinatorView) int { return strings.Compare(a.Name, b.Name) })
	for _, r := range charter.RegionRoles {
		v.RegionRoles = append(v.RegionRoles, r.String())
	}
	if charter.Ledger > 0 {
		called := func(m crypto.MemberID) string { return memberCalled(roster, region, m) }
		v.Ledger = &ledgerView{charter.Ledger, memberNames(charter.Voters, called), memberNames(charter.Witnesses, called)}
	}
	if list := roster.Endorsements(region); list != nil {
		for _, r := range list.Regions {
			e := endorsedView{Region: r.String(), Mutual: roster.Mutual(region, r)}
			if c := roster.CharterOf(r); c != nil {
				e.Name = c.Name
			}
			v.Endorses = append(v.Endorses, e)
		}
	}
	return v
}

func (v regionView) print(out io.Writer) {
	fmt.Fprintf(out, "%s\nregion     %s\ncharter    number %d of %s\ndecide     %d of %s\n", plain(v.Name), v.Region, v.Number, v.Created,
		v.Threshold, plural(int64(len(v.Coordinators)), "coordinator"))
	for _, c := range v.Coordinators {
		fmt.Fprintf(out, "           %s: %s\n", plain(c.Name), c.Words)
	}
	if len(v.RegionRoles) > 0 {
		fmt.Fprintf(out, "may hear   %s too, what is for the region alone\n", strings.Join(v.RegionRoles, " and "))
	}
	if l := v.Ledger; l == nil {
		fmt.Fprintf(out, "ledger     none: watchward region amend --voter begins one\n")
	} else {
		fmt.Fprintf(out, "ledger     epoch %d\nvoters     %s: %d must agree\n", l.Epoch, plain(strings.Join(l.Voters, ", ")), len(l.Voters)/2+1)
		if len(l.Witnesses) > 0 {
			fmt.Fprintf(out, "witnesses  %s\n", plain(strings.Join(l.Witnesses, ", ")))
		}
	}
	for i, e := range v.Endorses {
		label, name, state := "", e.Name, "both endorse each other"
		if i == 0 {
			label = "endorses"
		}
		if name == "" {
			name = "region"
		}
		if !e.Mutual {
			state = "it does not endorse this one, as far as is known here"
		}
		fmt.Fprintf(out, "%-9s  %s %s…: %s\n", label, plain(name), e.Region[:16], state)
	}
	if v.Proposals > 0 {
		fmt.Fprintf(out, "waiting    %s for signatures: watchward region proposals\n", plural(int64(v.Proposals), "proposal"))
	}
	if v.Forks > 0 {
		fmt.Fprintf(out, "ALARM      coordinators have signed two charters after the same one: call them\n")
	}
}

// passphraseEnv lets scripts give a passphrase.
const passphraseEnv = "WATCHWARD_PASSPHRASE"

func askPassphrase(cmd *cobra.Command, prompt string) ([]byte, error) {
	if p := os.Getenv(passphraseEnv); p != "" {
		return []byte(p), nil
	}
	f, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, usage("a passphrase is needed: set %s, or run this on a terminal", passphraseEnv)
	}
	fmt.Fprint(cmd.ErrOrStderr(), prompt)
	p, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(cmd.ErrOrStderr())
	if err == nil && len(bytes.TrimSpace(p)) == 0 {
		err = usage("the passphrase is empty")
	}
	return p, err
}

// writeNew writes a file that must not be there yet.
func writeNew(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s is there already: choose another name with --out", path)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}
