package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/crypto/words"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/config"
)

func newRegionInit() *cobra.Command {
	var o foundOptions
	c := &cobra.Command{
		Use:   "init",
		Short: "Found a region, alone or with other coordinators",
		Long: `Found a region under a charter. Its coordinators decide together who belongs to it:
so many of them as --threshold says must sign each act. Their keys lie on sticks in
safes, not on the nodes' machines.

Alone: the admission key is written to --key, and the node in --dir is the first
member. With others: each makes a key and a card (watchward region key), hands the
card to one of them, who writes the charter to --out. That is a draft until all
have signed it, in turn: watchward region sign FILE. The hash of the charter is the
region's name, which every member pins.`,
		Example: `  watchward region init --name "North Region" --key a.key --dir A
  watchward region init --name "North Region" --key a.key --with b.key.card --with c.key.card --threshold 2 --out north.ww --dir A`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := needDir(cmd)
			if err != nil {
				return err
			}
			if len(o.with) > 0 {
				return draft(cmd, dir, o)
			}
			if o.out != "" || o.threshold > 1 {
				return usage("--out and --threshold go with other coordinators: name their cards with --with")
			}
			return foundAlone(cmd, dir, o)
		},
	}
	c.Flags().StringVar(&o.name, "name", "", "the region's name")
	c.Flags().StringVar(&o.key, "key", "", "file of this coordinator's admission key; alone, it is made if there is none")
	c.Flags().StringArrayVar(&o.with, "with", nil, "card of another coordinator (watchward region key)")
	c.Flags().IntVar(&o.threshold, "threshold", 0, "how many coordinators must agree; default: more than half")
	c.Flags().StringVar(&o.out, "out", "", "file for the draft, which all coordinators sign")
	c.Flags().StringArrayVar(&o.roles, "region-role", nil, "bridge or supplier: a role that may hear what is for the region alone")
	o.ledger.add(c, "name of a founder's node")
	c.Flags().StringArrayVar(&o.seeds, "seed", nil, "multiaddress with /p2p/ID that members dial first")
	c.Flags().BoolVar(&o.protect, "passphrase", false, "protect a new key with a passphrase (WATCHWARD_PASSPHRASE, or asked for)")
	_ = c.MarkFlagRequired("name")
	_ = c.MarkFlagRequired("key")
	return c
}

type foundOptions struct {
	name, key, out     string
	with, seeds, roles []string
	threshold          int
	protect            bool
	ledger             ledgerFlags
}

// keepers enters into the terms who keeps the ledger.
func (o *foundOptions) keepers(cmd *cobra.Command, terms *trust.Charter, cards []*trust.Card) error {
	find, err := amongFounders(cards)
	if err != nil {
		return err
	}
	return o.ledger.apply(cmd, terms, find)
}

// foundersKey returns the key in a file, which is made if there is none.
func foundersKey(cmd *cobra.Command, path string, protect bool) (*crypto.PrivateKey, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return newAdmissionKey(cmd, path, protect)
	}
	return keyfile.LoadAdmission(path, func() ([]byte, error) { return askPassphrase(cmd, "Passphrase of "+path+": ") })
}

func foundAlone(cmd *cobra.Command, dir string, o foundOptions) error {
	if node.Joined(dir) {
		return fmt.Errorf("%s belongs to a region already: make another directory with watchward init", dir)
	}
	roles, err := parseRoles(o.roles)
	if err != nil {
		return usage("--region-role: %w", err)
	}
	request, err := os.ReadFile(filepath.Join(dir, node.RequestFile))
	if err != nil {
		return fmt.Errorf("%s holds no node: make one with watchward init first", dir)
	}
	terms := trust.Charter{Name: o.name, RegionRoles: roles}
	if err := o.keepers(cmd, &terms, []*trust.Card{{Request: request}}); err != nil {
		return err
	}
	key, err := foundersKey(cmd, o.key, o.protect)
	if err != nil {
		return err
	}
	region, err := node.CreateRegion(dir, terms, key, o.seeds, now())
	if err != nil {
		return err
	}
	warnFounder(cmd, dir, o.key, o.protect)
	if jsonFlag(cmd) {
		return printJSON(cmd.OutOrStdout(), map[string]string{"region": region.String(), "name": o.name, "key": o.key})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "Founded %s (%s…).\nThe admission key is in %s: move it to a safe place.\nRestart the node if it runs, then invite others:\n  watchward region invite --dir %s\n  watchward region admit REQUEST --dir %s --key %s\n",
		plain(o.name), region.String()[:16], o.key, dir, dir, o.key)
	return nil
}

// draft writes a charter of several coordinators, signed by the first.
func draft(cmd *cobra.Command, dir string, o foundOptions) error {
	if o.out == "" {
		return usage("--out: name a file for the draft, which the others sign")
	}
	request, err := os.ReadFile(filepath.Join(dir, node.RequestFile))
	if err != nil {
		return fmt.Errorf("%s holds no node: make one with watchward init first", dir)
	}
	parsed, err := trust.ParseRequest(request)
	if err != nil {
		return err
	}
	others, err := readCards(o.with)
	if err != nil {
		return err
	}
	roles, err := parseRoles(o.roles)
	if err != nil {
		return usage("--region-role: %w", err)
	}
	keys, err := loadKeys(cmd, []string{o.key})
	if err != nil {
		return fmt.Errorf("%w (watchward region key makes one, with its card)", err)
	}
	key := keys[0]
	own := &trust.Card{Name: parsed.Name, Key: key.Public().Bytes(), Request: request}
	cards := append([]*trust.Card{own}, others...)
	threshold := o.threshold
	if threshold == 0 {
		threshold = len(cards)/2 + 1
	}
	if threshold < 1 || threshold > len(cards) {
		return usage("--threshold %d: there are %d coordinators", threshold, len(cards))
	}
	terms := trust.Charter{Name: o.name, Threshold: uint8(threshold), RegionRoles: roles}
	if err := o.keepers(cmd, &terms, cards); err != nil {
		return err
	}
	a, err := node.Draft(terms, cards, key, o.seeds, now())
	if err != nil {
		return err
	}
	raw, err := a.Encode()
	if err != nil {
		return err
	}
	if err := writeNew(o.out, raw); err != nil {
		return err
	}
	warnKey(cmd, o.key, o.protect)
	out := cmd.OutOrStdout()
	if jsonFlag(cmd) {
		return printJSON(out, map[string]any{"region": a.Region.String(), "name": o.name, "threshold": threshold, "coordinators": len(cards), "draft": o.out, "key": o.key})
	}
	fmt.Fprintf(out, "Drafted %s: %d of %d coordinators decide. Compare the words of each by phone:\n", plain(o.name), threshold, len(cards))
	t := table{header: []string{"", "", ""}}
	for _, c := range cards {
		t.add("  "+c.Name, words.Of(c.Key, nil, nil))
	}
	if err := t.print(out); err != nil {
		return err
	}
	fmt.Fprintf(out, "The charter is a draft until all have signed it. Hand %s to one after the other, who says\n  watchward region sign %s --key KEY\nThen all of you: watchward join --in %s --dir DIRECTORY\n", o.out, o.out, o.out)
	return nil
}

// warnKey warns of a key that others can read.
func warnKey(cmd *cobra.Command, key string, protected bool) {
	if name := keyfile.Rightless(key); name != "" && !protected {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s lies on %s, which keeps no rights: whoever has the stick can read the key. Keep it in a safe; another time, --passphrase protects it.\n", key, name)
	}
}

// warnFounder says what will not work in a region that was just founded.
func warnFounder(cmd *cobra.Command, dir, key string, protected bool) {
	warnKey(cmd, key, protected)
	path := filepath.Join(dir, node.ConfigFile)
	if settings, err := config.Load(path); err == nil && len(settings.Mesh.Listen) == 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), `warning: no other hospital can dial this node, since it listens on no address, so who is admitted reaches nobody.
  In %s, under [mesh], set
    listen = ["/ip4/ADDRESS/udp/%d/quic-v1", "/ip4/ADDRESS/tcp/%d"]
  with this machine's address (watchward init --mesh-host does it), and restart the node.
`, path, defaultMeshPort, defaultMeshPort)
	}
}
