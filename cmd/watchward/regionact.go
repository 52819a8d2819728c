package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/crypto/words"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
)

func newRegionKey() *cobra.Command {
	var out, name string
	var protect bool
	c := &cobra.Command{
		Use:   "key",
		Short: "Make an admission key, and the card to hand to who founds the region",
		Long: `Make the key by which a coordinator signs for the region, and a card: what whoever
writes the charter needs of it. The card holds no secret and carries the join
request of the node in --dir, so that founding the region admits it. Keep the key
on a stick in a safe, not on the node's machine.`,
		Example: `  watchward region key --out a.key --dir A      # also writes a.key.card`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var request []byte
			if dir, _ := cmd.Flags().GetString("dir"); dir != "" {
				path := filepath.Join(dir, node.RequestFile)
				raw, err := os.ReadFile(path)
				if err != nil {
					return fileError(path, err)
				}
				parsed, err := trust.ParseRequest(raw)
				if err != nil {
					return err
				}
				if request = raw; name == "" {
					name = parsed.Name
				}
			}
			if name == "" {
				return usage("whose key? Say --name, or --dir with a node's directory")
			}
			key, err := newAdmissionKey(cmd, out, protect)
			if err != nil {
				return err
			}
			card, err := trust.NewCard(key, name, request)
			if err != nil {
				return err
			}
			if err := writeNew(out+cardSuffix, card); err != nil {
				return err
			}
			spoken := words.Of(key.Public().Bytes(), nil, nil)
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), map[string]string{"name": name, "key": out, "card": out + cardSuffix, "words": spoken})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "The admission key of %s is in %s: move it to a safe place.\nHand %s to who founds or amends the region. Its words, to compare by phone:\n  %s\n",
				plain(name), out, out+cardSuffix, spoken)
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "file for the new key; the card is written beside it")
	c.Flags().StringVar(&name, "name", "", "the coordinator's name; default: that of the node in --dir")
	c.Flags().BoolVar(&protect, "passphrase", false, "protect the key with a passphrase (WATCHWARD_PASSPHRASE, or asked for)")
	_ = c.MarkFlagRequired("out")
	return c
}

const cardSuffix = ".card"

func newAdmissionKey(cmd *cobra.Command, path string, protect bool) (*crypto.PrivateKey, error) {
	var passphrase []byte
	if protect {
		var err error
		if passphrase, err = askPassphrase(cmd, "New passphrase for "+path+": "); err != nil {
			return nil, err
		}
		again, err := askPassphrase(cmd, "The same again: ")
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(again, passphrase) {
			return nil, usage("the two passphrases differ: nothing was made")
		}
	}
	key, err := crypto.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return key, keyfile.SaveAdmission(path, key, passphrase)
}

func readCards(paths []string) ([]*trust.Card, error) {
	var cards []*trust.Card
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, fileError(path, err)
		}
		card, err := trust.ParseCard(raw)
		if err != nil {
			return nil, fmt.Errorf("%s is no coordinator's card, or a damaged one: ask for the file that watchward region key wrote (%w)", path, err)
		}
		cards = append(cards, card)
	}
	return cards, nil
}

func newRegionProposals() *cobra.Command {
	var in string
	c := &cobra.Command{
		Use:   "proposals [ID]",
		Short: "Show what waits for coordinators' signatures",
		Long: `Show the acts that have been proposed and not signed by enough coordinators, or one
of them with everything it would do. Compare the words by phone before you sign.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			proposals, roster, err := openProposals(cmd, in)
			if err != nil {
				return err
			}
			out, all := cmd.OutOrStdout(), proposals
			if len(args) == 1 {
				p, err := pick(proposals, args[0])
				if err != nil {
					return err
				}
				proposals = []*trust.Proposal{p}
			}
			if jsonFlag(cmd) {
				views := make([]proposalView, len(proposals))
				for i, p := range proposals {
					views[i] = viewProposal(p, roster, proposals)
				}
				return printJSON(out, map[string]any{"proposals": views})
			}
			if len(proposals) == 0 {
				fmt.Fprintln(out, "Nothing waits for a signature.")
				return nil
			}
			if len(args) == 0 {
				t := table{header: []string{"ID", "OPENED", "SIGNED", "LACKS", "WHAT"}}
				for _, p := range proposals {
					v := viewProposal(p, roster, proposals)
					t.add(v.ID[:12], ago(time.UnixMilli(p.Time()), now()), strings.Join(v.Signed, ", "), fmt.Sprint(v.Lacking), strings.Join(v.Does, "; "))
				}
				return t.print(out)
			}
			v := viewProposal(proposals[0], roster, all)
			fmt.Fprintf(out, "proposal  %s\nopened    %s\nsigned    %s; %d more must\n", v.ID, v.Opened, plain(strings.Join(v.Signed, ", ")), v.Lacking)
			for _, does := range v.Does {
				fmt.Fprintf(out, "would     %s\n", plain(does))
			}
			for _, doubt := range v.Doubts {
				fmt.Fprintf(out, "doubt     %s\n", plain(doubt))
			}
			return nil
		},
	}
	c.Flags().StringVar(&in, "in", "", "look into a file of the region instead of a node's directory")
	return c
}

type proposalView struct {
	ID      string   `json:"id"`
	Opened  string   `json:"opened"`
	Does    []string `json:"does"`
	Signed  []string `json:"signed"`
	Lacking int      `json:"lacking"`
	Doubts  []string `json:"doubts"`
}

func viewProposal(p *trust.Proposal, roster *trust.Roster, beside []*trust.Proposal) proposalView {
	v := proposalView{ID: p.ID().String(), Opened: time.UnixMilli(p.Time()).UTC().Format(time.RFC3339), Does: describe(p, roster, beside...), Signed: p.Signed(), Lacking: p.Lacking(), Doubts: []string{}}
	if roster != nil {
		v.Doubts = append(v.Doubts, roster.Doubts(p)...)
	}
	return v
}

// openProposals returns what waits in a file, or at a node. roster is nil where a
// region is only being founded.
func openProposals(cmd *cobra.Command, in string) ([]*trust.Proposal, *trust.Roster, error) {
	if in == "" {
		c, err := openCouncil(cmd, "", nil, true)
		if err != nil {
			return nil, nil, err
		}
		defer c.close()
		return liveProposals(c.roster), c.roster, nil
	}
	a, err := readRegionFile(in)
	if err != nil {
		return nil, nil, err
	}
	proposals, err := a.Proposals(nil)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", in, err)
	}
	roster, err := a.Roster()
	if err != nil {
		roster = nil
	}
	return proposals, roster, nil
}

// liveProposals returns the proposals that a signature can still serve.
func liveProposals(roster *trust.Roster) []*trust.Proposal {
	return slices.DeleteFunc(roster.Proposals(), roster.Moot)
}

// pick returns the proposal whose id begins so.
func pick(proposals []*trust.Proposal, id string) (*trust.Proposal, error) {
	var found []*trust.Proposal
	for _, p := range proposals {
		if len(id) >= 4 && strings.HasPrefix(p.ID().String(), strings.ToLower(id)) {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		if len(id) < 4 {
			return nil, usage("%s is too little of an id: say four digits of it at least", plain(id))
		}
		return nil, fmt.Errorf("no proposal %s waits for a signature: it is decided, has not arrived here yet (wait a moment), or is mistyped; watchward region proposals lists them", plain(id))
	}
	return nil, usage("%s fits %d proposals: say more of the id", id, len(found))
}

func newRegionSign() *cobra.Command {
	var f councilFlags
	c := &cobra.Command{
		Use:   "sign ID|FILE",
		Short: "Sign a proposal as a coordinator: the last signature that is needed acts",
		Long: `Sign what another coordinator has proposed. ID is the beginning of a proposal's id,
as watchward region proposals shows it; FILE is a draft of a charter, or what
another coordinator wrote with --out: it is signed in place. See what it would do
first: watchward region proposals ID, or proposals --in FILE. Nobody can sign twice, and
what was signed by enough takes effect everywhere.`,
		Example: `  watchward region sign 3f2a91c0 --key b.key --dir B
  watchward region sign region.ww --key b.key`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := os.Stat(args[0]); err == nil {
				return signFile(cmd, args[0], f)
			}
			if strings.ContainsAny(args[0], `/\.`) {
				return fmt.Errorf("%s: there is no such file", args[0])
			}
			c, err := openCouncil(cmd, "", nil, true)
			if err != nil {
				return err
			}
			defer c.close()
			p, err := pick(c.roster.Proposals(), args[0])
			if err != nil {
				return err
			}
			keys, err := loadKeys(cmd, f.keys)
			if err != nil {
				return err
			}
			o, err := c.sign(p, keys, f, nil)
			if err != nil {
				return err
			}
			return o.print(cmd, cmd.OutOrStdout())
		},
	}
	c.Flags().StringArrayVar(&f.keys, "key", nil, "file of a coordinator's admission key")
	c.Flags().StringVar(&f.out, "out", "", "also write the records to a file")
	c.Flags().BoolVar(&f.despite, "despite-doubts", false, "sign although the node has doubts")
	_ = c.MarkFlagRequired("key")
	return c
}

// signFile signs all that waits in a file, in place. If --dir names a node of the
// region, it is handed what is decided.
func signFile(cmd *cobra.Command, path string, f councilFlags) error {
	a, err := readRegionFile(path)
	if err != nil {
		return err
	}
	keys, err := loadKeys(cmd, f.keys)
	if err != nil {
		return err
	}
	roster, err := a.Roster()
	if err != nil {
		roster = nil // a draft
	}
	before, err := a.Proposals(nil)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if roster != nil && len(before) > 1 {
		return fmt.Errorf("%s holds %d proposals, and nobody should sign several unseen: ask for a file of one of them", path, len(before))
	}
	for _, p := range before {
		if roster == nil || f.despite {
			break
		}
		if doubts := roster.Doubts(p); len(doubts) > 0 {
			return fmt.Errorf("this should not be signed: %s", strings.Join(doubts, "; "))
		}
	}
	var signed []*trust.Proposal
	for _, key := range keys {
		if signed, err = a.Sign(key, nil); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	raw, err := a.Encode()
	if err != nil {
		return err
	}
	if f.out != "" {
		err = writeNew(f.out, raw)
		path = f.out
	} else {
		err = replaceFile(path, raw)
	}
	if err != nil {
		return err
	}
	done := true
	outcomes := make([]outcome, len(signed))
	for i, p := range signed {
		outcomes[i] = outcome{ID: p.ID().String(), Does: describe(p, roster, signed...), Signed: p.Signed(), Lacking: p.Lacking(), Done: p.Lacking() == 0, File: path}
		done = done && outcomes[i].Done
	}
	out := cmd.OutOrStdout()
	if jsonFlag(cmd) {
		return printJSON(out, map[string]any{"region": a.Region.String(), "signed": outcomes, "done": done})
	}
	for _, o := range outcomes {
		for _, does := range o.Does {
			fmt.Fprintln(out, plain(does))
		}
	}
	if !done {
		last := outcomes[0]
		for _, o := range outcomes {
			if o.Lacking > last.Lacking {
				last = o
			}
		}
		fmt.Fprintf(out, "Signed by %s; %s must sign %s as well.\n", plain(strings.Join(last.Signed, ", ")), plural(int64(last.Lacking), "more coordinator"), path)
		return nil
	}
	fmt.Fprintf(out, "Done. %s is for all whom it concerns:\n  new members:  watchward join --in %s --dir DIRECTORY\n  members:      watchward region take %s --dir DIRECTORY\n", path, path, path)
	return nil
}

func newRegionTake() *cobra.Command {
	return &cobra.Command{
		Use:   "take FILE",
		Short: "Take in what a file says of the region, or of a region that it endorses",
		Long: `Hand a file of trust records to the node: what coordinators signed on a file, or what
watchward region show --out wrote in another region. Each record is verified.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, records, seeds, err := readRegions(args[0])
			if err != nil {
				return err
			}
			c, err := openCouncil(cmd, "", nil, false)
			if err != nil {
				return err
			}
			defer c.close()
			before := c.roster.Root()
			if _, err := c.roster.AddAll(records); err != nil && before == c.roster.Root() {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if err := c.deliver(slices.DeleteFunc(records, func(raw []byte) bool { return len(raw) > trust.RecordSizeMax }), seeds...); err != nil {
				return err
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), map[string]any{"records": len(records)})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Took in %s.\n", plural(int64(len(records)), "record"))
			return nil
		},
	}
}

// readRegions reads the regions, records and addresses in a file: of a region, or
// a signed list of them.
func readRegions(path string) (regions []crypto.Region, records [][]byte, seeds []string, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, nil, fileError(path, err)
	}
	if list, err := trust.ParseList(raw); err == nil {
		return list.Regions, list.Records, list.Seeds, nil
	}
	a, err := node.ReadRecords(raw)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return []crypto.Region{a.Region}, a.Records, a.Seeds, nil
}

func newRegionRevoke() *cobra.Command {
	var f councilFlags
	c := &cobra.Command{
		Use:   "revoke MEMBER",
		Short: "Expel a member: what it said up to now stays, nothing after it counts",
		Long: `Revoke a member's keys. The node in --dir, which must run, says how much it holds of
what the member said: that stays. All else under these keys counts no longer, with
whatever time it is written. This is never undone; new keys come with supersede.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := openCouncil(cmd, f.in, args, false)
			if err != nil {
				return err
			}
			defer c.close()
			m, err := node.FindMember(c.roster.Members(c.roster.Region()), args[0])
			if err != nil {
				return err
			}
			if _, revoked := c.roster.Revoked(m); revoked {
				return fmt.Errorf("%s is revoked already", m.Name)
			}
			st, err := c.revoking(m)
			if err != nil {
				return err
			}
			o, err := c.decide(f, nil, st)
			if err != nil {
				return err
			}
			return o.print(cmd, cmd.OutOrStdout())
		},
	}
	f.add(c)
	return c
}

// revoking returns the statement that revokes a member's serial, with cuts from what
// the node holds.
func (c *council) revoking(m *trust.Credential) (trust.Statement, error) {
	if c.client == nil {
		return trust.Statement{}, errors.New("the node must run, since it says which of the member's words stay: start it with watchward run")
	}
	held, err := c.client.Cuts(c.cmd.Context(), m.Member.String(), m.Serial)
	if err != nil {
		return trust.Statement{}, err
	}
	cuts, err := parseCuts(held.Cuts)
	if err != nil {
		return trust.Statement{}, err
	}
	return trust.Revoking(c.roster.Charter(), m, cuts, now().UnixMilli())
}

func parseCuts(held []api.CutView) ([]trust.Cut, error) {
	audiences := map[string]crypto.Audience{crypto.AudienceRegion.String(): crypto.AudienceRegion, crypto.AudienceCommunity.String(): crypto.AudienceCommunity}
	cuts := make([]trust.Cut, len(held))
	for i, v := range held {
		id, err := hex.DecodeString(v.ID)
		if err != nil || len(id) != len(crypto.EnvelopeID{}) || audiences[v.Audience] == 0 {
			return nil, fmt.Errorf("the node's answer names no place in a chain: %s %s", v.Audience, v.ID)
		}
		cuts[i] = trust.Cut{Audience: audiences[v.Audience], Epoch: v.Epoch, Seq: v.Seq, ID: crypto.EnvelopeID(id)}
	}
	return cuts, nil
}

func newRegionSupersede() *cobra.Command {
	var f councilFlags
	c := &cobra.Command{
		Use:   "supersede MEMBER REQUEST",
		Short: "Give a member new keys: its old ones are revoked, its name and id stay",
		Long: `Replace the keys of a member that lost them, or had them stolen. REQUEST is what its
new node asks with: the request.ww of a fresh watchward init, or the number or words
of one that came by an invitation. Compare the words by phone.`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := openCouncil(cmd, f.in, args[:1], false)
			if err != nil {
				return err
			}
			defer c.close()
			request, _, err := findRequest(cmd, args[1:])
			if err != nil {
				return err
			}
			m, err := node.FindMember(c.roster.Members(c.roster.Region()), args[0])
			if err != nil {
				return err
			}
			var act []trust.Statement
			if _, revoked := c.roster.Revoked(m); !revoked {
				revoke, err := c.revoking(m)
				if err != nil {
					return err
				}
				act = append(act, revoke)
			}
			admit, err := node.Admitting(c.roster, [][]byte{request}, m.Role, m, now())
			if err != nil {
				return err
			}
			o, err := c.decide(f, nil, append(act, admit)...)
			if err != nil {
				return err
			}
			return o.print(cmd, cmd.OutOrStdout())
		},
	}
	f.add(c)
	return c
}

func newRegionRenew() *cobra.Command {
	var f councilFlags
	var all bool
	c := &cobra.Command{
		Use:   "renew [MEMBER…]",
		Short: "Give members' credentials another two years",
		Long: `Renew the credentials of members that are named, of those that end within 120 days
where none is, or with --all of everybody. Keys stay as they are.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := openCouncil(cmd, f.in, args, len(args) == 0)
			if err != nil {
				return err
			}
			defer c.close()
			members, err := c.toRenew(args, all)
			if err != nil {
				return err
			}
			// A proposal of so many fits what the mesh carries.
			const together = 12
			size := len(members)
			if f.out == "" && f.in == "" && c.roster.Charter().Threshold > 1 {
				size = together
			}
			var outcomes []outcome
			for part := range slices.Chunk(members, size) {
				st, err := node.Renewing(c.roster, part, now())
				if err != nil {
					return err
				}
				o, err := c.decide(f, nil, st)
				if err != nil {
					return err
				}
				outcomes = append(outcomes, o)
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), map[string]any{"proposals": outcomes})
			}
			for _, o := range outcomes {
				if err := o.print(cmd, cmd.OutOrStdout()); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f.add(c)
	c.Flags().BoolVar(&all, "all", false, "of all members, whenever their credentials end")
	return c
}

func (c *council) toRenew(names []string, all bool) ([]*trust.Credential, error) {
	listed := c.roster.Members(c.roster.Region())
	var out []*trust.Credential
	for _, name := range names {
		m, err := node.FindMember(listed, name)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	soon := now().Add(120 * 24 * time.Hour).UnixMilli()
	for _, m := range listed {
		if _, revoked := c.roster.Revoked(m); len(names) == 0 && !revoked && (all || m.NotAfter < soon) {
			out = append(out, m)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no credential ends within 120 days: name a member, or say --all")
	}
	return out, nil
}

func newRegionEndorse() *cobra.Command {
	var f councilFlags
	var drop []string
	var publisher string
	c := &cobra.Command{
		Use:   "endorse [FILE…]",
		Short: "Hear another region, in its own name only; or do so no longer",
		Long: `Endorse regions: their coordinators say who their members are, and can say nothing
about members here. Words travel where both regions endorse each other. FILE is
what watchward region show --out wrote there, or a signed list of regions: compare
with its publisher the words that the command shows, and say them with --publisher.`,
		Example: `  watchward region endorse north.ww --key a.key --dir A
  watchward region endorse --withdraw "North Region" --key a.key --dir A`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args)+len(drop) == 0 {
				return usage("which region? Name the file that watchward region show --out wrote there, or --withdraw REGION")
			}
			c, err := openCouncil(cmd, f.in, nil, false)
			if err != nil {
				return err
			}
			defer c.close()
			var add []crypto.Region
			extra := &node.Admission{}
			for _, path := range args {
				if err := checkPublisher(path, publisher); err != nil {
					return err
				}
				regions, records, seeds, err := readRegions(path)
				if err != nil {
					return err
				}
				if err := checkRegions(path, regions, records); err != nil {
					return err
				}
				for _, region := range regions {
					if region != c.roster.Region() {
						add = append(add, region)
					}
				}
				extra.Records, extra.Seeds = append(extra.Records, records...), append(extra.Seeds, seeds...)
			}
			var leave []crypto.Region
			for _, name := range drop {
				region, err := c.endorsed(name)
				if err != nil {
					return err
				}
				leave = append(leave, region)
			}
			st, err := node.Endorsing(c.roster, add, leave, now())
			if err != nil {
				return err
			}
			o, err := c.decide(f, extra, st)
			if err != nil {
				return err
			}
			if err := o.print(cmd, cmd.OutOrStdout()); err != nil || jsonFlag(cmd) || o.Done || len(args) == 0 {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Once it is decided, let a node take in what the file says of that region:\n  watchward region take %s --dir DIRECTORY\n", args[0])
			return nil
		},
	}
	f.add(c)
	c.Flags().StringArrayVar(&drop, "withdraw", nil, "name or hash of a region that is endorsed no longer")
	c.Flags().StringVar(&publisher, "publisher", "", "the six words of who signed the list, as they were told by phone")
	return c
}

// checkPublisher refuses a list whose publisher nobody has compared.
func checkPublisher(path, said string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fileError(path, err)
	}
	list, err := trust.ParseList(raw)
	if err != nil {
		return nil // no list
	}
	spoken := words.Of(list.Publisher, nil, nil)
	if said == "" {
		return fmt.Errorf("%s is the list %q of %s, signed by whoever has the key with the words\n  %s\nAsk its publisher for them, and say them with --publisher", path, list.Name, plural(int64(len(list.Regions)), "region"), spoken)
	}
	if !strings.EqualFold(strings.Join(strings.Fields(said), " "), spoken) {
		return fmt.Errorf("%s is not signed by the publisher with these words: do not use it", path)
	}
	return nil
}

// checkRegions checks that a file proves the regions that it names.
func checkRegions(path string, regions []crypto.Region, records [][]byte) error {
	for _, region := range regions {
		roster := trust.NewRoster(region)
		_, _ = roster.AddAll(records) // those of other regions are refused
		if roster.Charter() == nil {
			return fmt.Errorf("%s does not prove region %s: its charter is missing", path, region)
		}
	}
	return nil
}

// endorsed returns the region with a name or a hash, of those that are endorsed.
func (c *council) endorsed(name string) (crypto.Region, error) {
	var found []crypto.Region
	if list := c.roster.Endorsements(c.roster.Region()); list != nil {
		for _, region := range list.Regions {
			charter := c.roster.CharterOf(region)
			if charter != nil && charter.Name == name || len(name) >= 8 && strings.HasPrefix(region.String(), strings.ToLower(name)) {
				found = append(found, region)
			}
		}
	}
	if len(found) != 1 {
		return crypto.Region{}, fmt.Errorf("%d regions called %q are endorsed: watchward region show lists them; say the beginning of the hash", len(found), name)
	}
	return found[0], nil
}

func newRegionList() *cobra.Command {
	var name, key, out string
	c := &cobra.Command{
		Use:   "list FILE…",
		Short: "Publish a signed list of regions, such as one kept for a country",
		Long: `Make a list from which regions can endorse others at once. It decides nothing: each
region endorses by its own coordinators. FILE is what watchward region show --out
wrote in a region. The key is an admission key made with watchward region key.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := loadKeys(cmd, []string{key})
			if err != nil {
				return err
			}
			list := trust.CharterList{Name: name, Time: now().UnixMilli()}
			for _, path := range args {
				regions, records, seeds, err := readRegions(path)
				if err != nil {
					return err
				}
				if err := checkRegions(path, regions, records); err != nil {
					return err
				}
				list.Regions = append(list.Regions, regions...)
				list.Records = append(list.Records, records...)
				list.Seeds = append(list.Seeds, seeds...)
			}
			slices.SortFunc(list.Regions, func(a, b crypto.Region) int { return strings.Compare(a.String(), b.String()) })
			list.Regions = slices.Compact(list.Regions)
			raw, err := trust.SignList(list, keys[0])
			if err != nil {
				return err
			}
			if err := writeNew(out, raw); err != nil {
				return err
			}
			spoken := words.Of(keys[0].Public().Bytes(), nil, nil)
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), map[string]any{"list": out, "regions": len(list.Regions), "words": spoken})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s lists %s. Those who use it compare these words with you by phone:\n  %s\n", out, plural(int64(len(list.Regions)), "region"), spoken)
			return nil
		},
	}
	c.Flags().StringVar(&name, "name", "", "the list's name")
	c.Flags().StringVar(&key, "key", "", "the publisher's key")
	c.Flags().StringVar(&out, "out", "", "file for the list")
	for _, flag := range []string{"name", "key", "out"} {
		_ = c.MarkFlagRequired(flag)
	}
	return c
}

func newRegionAmend() *cobra.Command {
	var f councilFlags
	var ledger ledgerFlags
	var add, remove, distrust, roles []string
	var threshold int
	var name string
	c := &cobra.Command{
		Use:   "amend",
		Short: "Change the charter: coordinators, how many must agree, what roles may hear, who keeps the ledger",
		Long: `Propose the next charter. It needs the signatures that the present charter wants,
and those that it wants itself. What is not said stays as it is. A coordinator that
leaves keeps no right, and what it signed stays valid, unless it is distrusted: when
so many are that they could have admitted somebody alone, nothing counts any more
that was admitted or endorsed under the charters in which they decided: the same
proposal then renews what this node knows of, so look through it before you sign.
The nodes of those who come become coordinators' nodes, which can invite, and those of
the ones who leave hospitals', where they have the names of their coordinators.

Voters keep the ledger: coordinators' nodes, most of whom must run for it to grow, so
three or five of them. Witnesses are hospitals that cosign it. The first voters begin
it; from then on it goes on, whoever keeps it.`,
		Example: `  watchward region amend --voter "St Anna" --voter Riverside --voter Uni --key a.key --dir A
  watchward region amend --add d.key.card --threshold 3 --key a.key --dir A
  watchward region amend --remove "St Anna" --key a.key --dir A`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := openCouncil(cmd, f.in, nil, true)
			if err != nil {
				return err
			}
			defer c.close()
			before := c.roster.Charter()
			next := successor(before)
			next.Coordinators = nil
			if err := ledger.apply(cmd, &next, c.among()); err != nil {
				return err
			}
			for _, o := range before.Coordinators {
				switch {
				case slices.Contains(distrust, o.Name):
					next.Distrusts = append(next.Distrusts, trust.SignerOf(o.Key))
				case !slices.Contains(remove, o.Name):
					next.Coordinators = append(next.Coordinators, o)
				}
			}
			for _, o := range append(slices.Clone(remove), distrust...) {
				if err := c.everCoordinator(o, &next, slices.Contains(distrust, o)); err != nil {
					return err
				}
			}
			cards, err := readCards(add)
			if err != nil {
				return err
			}
			for _, card := range cards {
				next.Coordinators = append(next.Coordinators, card.Coordinator())
			}
			gone := append(slices.Clone(remove), distrust...)
			if name != "" {
				next.Name = name
			}
			if threshold > 0 {
				next.Threshold = uint8(min(threshold, 255))
			}
			if cmd.Flags().Changed("region-role") {
				if next.RegionRoles, err = parseRoles(roles); err != nil {
					return err
				}
			}
			st, charter, err := trust.Amend(before, next)
			if err != nil {
				return fmt.Errorf("the charter is refused: %w", err)
			}
			again, err := node.Restating(c.roster, charter, cards, gone, now())
			if err != nil {
				return err
			}
			o, err := c.decide(f, nil, append([]trust.Statement{st}, again...)...)
			if err != nil {
				return err
			}
			return o.print(cmd, cmd.OutOrStdout())
		},
	}
	f.add(c)
	c.Flags().StringArrayVar(&add, "add", nil, "card of a new coordinator (watchward region key)")
	c.Flags().StringArrayVar(&remove, "remove", nil, "name of a coordinator that leaves")
	c.Flags().StringArrayVar(&distrust, "distrust", nil, "name of a coordinator, present or past, whose key is in wrong hands")
	c.Flags().IntVar(&threshold, "threshold", 0, "how many coordinators must agree from now on")
	c.Flags().StringVar(&name, "name", "", "the region's new name")
	c.Flags().StringArrayVar(&roles, "region-role", nil, "bridge or supplier: a role that may hear what is for the region alone; none: --region-role none")
	ledger.add(c, "name of a member")
	return c
}

// everCoordinator checks a name that is to leave, and distrusts one that left
// before.
func (c *council) everCoordinator(name string, next *trust.Charter, distrust bool) error {
	charters := c.roster.Charters(c.roster.Region())
	for i, charter := range slices.Backward(charters) {
		for _, o := range charter.Coordinators {
			if o.Name != name {
				continue
			}
			if signer := trust.SignerOf(o.Key); distrust && !slices.Contains(next.Distrusts, signer) {
				next.Distrusts = append(next.Distrusts, signer)
			}
			if distrust || i == len(charters)-1 {
				return nil
			}
		}
	}
	return fmt.Errorf("no coordinator is called %q: watchward region show lists them", name)
}

func parseRoles(names []string) ([]trust.Role, error) {
	var out []trust.Role
	for _, name := range names {
		if name == "none" {
			continue
		}
		role, err := trust.ParseRole(name)
		if err != nil {
			return nil, err
		}
		out = append(out, role)
	}
	return out, nil
}
