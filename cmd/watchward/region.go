package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/config"
)

func newRegion() *cobra.Command {
	return group("region", "Found a region, admit members, show its charter", newRegionInit(), newRegionAdmit(), newRegionShow())
}

func newRegionInit() *cobra.Command {
	var name, key string
	var seeds []string
	var protect bool
	c := &cobra.Command{
		Use:   "init",
		Short: "Found a region with this node as its first member",
		Long: `Found a region under a charter of one coordinator. Its admission key is written
to --key: keep it on a stick in a safe, not on this machine. Whoever holds it
decides who belongs to the region.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := needDir(cmd)
			if err != nil {
				return err
			}
			var passphrase []byte
			if protect {
				if passphrase, err = askPassphrase(cmd, "New passphrase for "+key+": "); err != nil {
					return err
				}
			}
			region, err := node.CreateRegion(dir, name, key, passphrase, seeds, now())
			if err != nil {
				return err
			}
			warnFounder(cmd, dir, key, protect)
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), map[string]string{"region": region.String(), "name": name, "key": key})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Founded %s (%s…).\nThe admission key is in %s: move it to a safe place.\nRestart the node if it runs, then admit others:\n  watchward region admit REQUEST --dir %s --key %s --out ADMISSION\n",
				plain(name), region.String()[:16], key, dir, key)
			return nil
		},
	}
	c.Flags().StringVar(&name, "name", "", "the region's name")
	c.Flags().StringVar(&key, "key", "", "file for the new admission key")
	c.Flags().StringArrayVar(&seeds, "seed", nil, "multiaddress with /p2p/ID that members dial first")
	c.Flags().BoolVar(&protect, "passphrase", false, "protect the key with a passphrase (WATCHWARD_PASSPHRASE, or asked for)")
	_ = c.MarkFlagRequired("name")
	_ = c.MarkFlagRequired("key")
	return c
}

func newRegionAdmit() *cobra.Command {
	var key, out, role string
	var seeds []string
	c := &cobra.Command{
		Use:   "admit REQUEST",
		Short: "Make the author of a join request a member",
		Long: `Admit a node by the request file that its watchward init wrote, and write the
admission to hand back. It takes effect when it is handed back: compare the
member id by phone before. The admission holds no secret. If the node in --dir runs, the newcomer is told
its addresses; otherwise name them with --seed.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := needDir(cmd)
			if err != nil {
				return err
			}
			request, err := os.ReadFile(args[0])
			if err != nil {
				return fileError(args[0], err)
			}
			parsed, err := trust.ParseRequest(request)
			if err != nil {
				return fmt.Errorf("%s is no join request, or a damaged one: ask for the %s that watchward init wrote (%w)", args[0], node.RequestFile, err)
			}
			if len(seeds) == 0 {
				seeds = runningAddrs(cmd)
			}
			admission, err := admit(dir, key, request, role, seeds, cmd)
			if err != nil {
				return err
			}
			if err := writeNew(out, admission); err != nil {
				return err
			}
			public, err := crypto.ParsePublicKey(parsed.Key)
			if err != nil {
				return err
			}
			member := crypto.NewMemberID(public).String()
			warnAdmission(cmd, key, admission)
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), map[string]any{"name": parsed.Name, "member": member, "role": role, "admission": out, "seeds": seeds})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Admitted %s as %s, member id\n  %s\nCompare it by phone with what their watchward init printed, and only then hand\n%s back. There: watchward join --dir DIRECTORY --in %s\n",
				plain(parsed.Name), role, member, out, filepath.Base(out))
			return nil
		},
	}
	c.Flags().StringVar(&key, "key", "", "the region's admission key")
	c.Flags().StringVar(&out, "out", "admission.ww", "file for the admission")
	c.Flags().StringVar(&role, "role", "hospital", "hospital, coordinator, bridge or supplier")
	c.Flags().StringArrayVar(&seeds, "seed", nil, "multiaddress with /p2p/ID that the newcomer dials first")
	_ = c.MarkFlagRequired("key")
	return c
}

// warnFounder says what will not work in a region that was just founded.
func warnFounder(cmd *cobra.Command, dir, key string, protected bool) {
	errOut := cmd.ErrOrStderr()
	if name := keyfile.Rightless(key); name != "" && !protected {
		fmt.Fprintf(errOut, "warning: %s lies on %s, which keeps no rights: whoever has the stick can read the key. Keep it in a safe; another time, --passphrase protects it.\n", key, name)
	}
	path := filepath.Join(dir, node.ConfigFile)
	if settings, err := config.Load(path); err == nil && len(settings.Mesh.Listen) == 0 {
		fmt.Fprintf(errOut, `warning: no other hospital can dial this node, since it listens on no address, so who is admitted reaches nobody.
  In %s, under [mesh], set
    listen = ["/ip4/ADDRESS/udp/%d/quic-v1", "/ip4/ADDRESS/tcp/%d"]
  with this machine's address (watchward init --mesh-host does it), and restart the node.
`, path, defaultMeshPort, defaultMeshPort)
	}
}

// warnAdmission says what will not work with an admission.
func warnAdmission(cmd *cobra.Command, key string, admission []byte) {
	errOut := cmd.ErrOrStderr()
	if name := keyfile.Rightless(key); name != "" {
		fmt.Fprintf(errOut, "note: %s lies on %s, which keeps no rights: put the stick back into its safe.\n", key, name)
	}
	if a, _, err := node.ParseAdmission(admission); err == nil && len(a.Seeds) == 0 {
		fmt.Fprintln(errOut, `warning: the admission names no address, so the newcomer can dial nobody and will hear nothing. One of:
  run this node where others can reach it (mesh.listen in its configuration), and admit again with another --out
  say --seed /ip4/ADDRESS/udp/PORT/quic-v1/p2p/ID, as "listens" in watchward status shows it
  set mesh.seeds in the newcomer's configuration`)
	}
}

// admit signs an admission with the key in a file.
func admit(dir, keyPath string, request []byte, role string, seeds []string, cmd *cobra.Command) ([]byte, error) {
	as, err := trust.ParseRole(role)
	if err != nil {
		return nil, err
	}
	key, err := keyfile.LoadAdmission(keyPath, func() ([]byte, error) {
		if cmd == nil {
			return nil, errors.New("a passphrase is needed")
		}
		return askPassphrase(cmd, "Passphrase of "+keyPath+": ")
	})
	if err != nil {
		return nil, err
	}
	return node.Admit(dir, key, request, as, seeds, now())
}

// runningAddrs are the mesh addresses of the node in --dir, if it runs.
func runningAddrs(cmd *cobra.Command) []string {
	c, err := connect(cmd)
	if err != nil {
		return nil
	}
	defer c.Close()
	s, err := c.Status(cmd.Context())
	if err != nil {
		return nil
	}
	return s.Listen
}

func newRegionShow() *cobra.Command {
	var to string
	var members bool
	c := &cobra.Command{
		Use:   "show",
		Short: "Show the region's charter",
		Long: `Show the region's charter. With --out, write what somebody else needs to check
the words of its members: charters and endorsements, with --members also who they
are. The file holds no secret.`,
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
			charter, region, err := node.Charter(dir)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if jsonFlag(cmd) {
				names := make([]string, len(charter.Coordinators))
				for i, c := range charter.Coordinators {
					names[i] = c.Name
				}
				return printJSON(out, map[string]any{"name": charter.Name, "region": region.String(), "number": charter.Number,
					"threshold": charter.Threshold, "coordinators": names})
			}
			fmt.Fprintf(out, "%s\nregion   %s\ncharter  number %d of %s\nadmits   %d of %d coordinators\n", plain(charter.Name), region,
				charter.Number, time.UnixMilli(charter.Created).UTC().Format(time.RFC3339), charter.Threshold, len(charter.Coordinators))
			for _, c := range charter.Coordinators {
				fmt.Fprintf(out, "         %s\n", plain(c.Name))
			}
			return nil
		},
	}
	c.Flags().StringVar(&to, "out", "", "write the region to this file, for watchward verify --region")
	c.Flags().BoolVar(&members, "members", false, "also every member's credential")
	return c
}

func newJoin() *cobra.Command {
	var in string
	c := &cobra.Command{
		Use:   "join",
		Short: "Become a member, with the admission a coordinator handed back",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := needDir(cmd)
			if err != nil {
				return err
			}
			admission, err := os.ReadFile(in)
			if err != nil {
				return fileError(in, err)
			}
			region, err := node.Join(dir, admission)
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), map[string]string{"region": region, "dir": dir})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Joined %s. Start the node, or restart it:\n  watchward run --dir %s\n", plain(region), dir)
			return nil
		},
	}
	c.Flags().StringVar(&in, "in", "", "the admission file")
	_ = c.MarkFlagRequired("in")
	return c
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
