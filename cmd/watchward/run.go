package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/config"
)

// memoryLimit in bytes is where Go's collector starts to work harder: a node that
// fills as fast as it can stays below 300 MiB. Beside it stand the store's mapped
// files, which the system takes back at will. GOMEMLIMIT in the environment
// replaces it.
const memoryLimit = 256 << 20

// voterGC is after how much growth, in percent, the collector runs in a node that votes
// on the ledger: its heap is small and its appends make much garbage, and each collection
// makes appends wait. memoryLimit still holds. GOGC in the environment replaces it.
const voterGC = 400

// defaultMeshPort is the port that firewalls are asked to open.
const defaultMeshPort = 8461

func newInit() *cobra.Command {
	var o initOptions
	c := &cobra.Command{
		Use:   "init",
		Short: "Make a node: its directory, keys, configuration and join request",
		Long: `Make the directory of a new node. Without --mesh-host it dials out only, which
needs no open port; a coordinator needs an address that the others can reach.`,
		Example: `  watchward init --dir /var/lib/watchward --name "St Anna"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := needDir(cmd)
			if err != nil {
				return err
			}
			if err := o.make(dir); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			member, err := node.Member(dir)
			if err != nil {
				return err
			}
			words, err := node.Words(dir)
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				return printJSON(out, map[string]string{"dir": dir, "name": o.Name, "member": member, "request": filepath.Join(dir, node.RequestFile), "words": words})
			}
			fmt.Fprintf(out, "Made %s in %s, member id\n  %s\nwords of its keys\n  %s\nNext, one of:\n", plain(o.Name), dir, member, words)
			fmt.Fprintf(out, "  found a region:  watchward region init --dir %s --name \"My region\" --key FILE\n", dir)
			fmt.Fprintf(out, "  join one:        watchward join INVITATION --dir %s, which a coordinator sends you;\n", dir)
			fmt.Fprintf(out, "                   with no network between: hand %s to a coordinator,\n", filepath.Join(dir, node.RequestFile))
			fmt.Fprintf(out, "                   then watchward join --dir %s --in ADMISSION\n", dir)
			fmt.Fprintf(out, "  start alone:     watchward run --dir %s\n", dir)
			return nil
		},
	}
	o.register(c)
	_ = c.MarkFlagRequired("name")
	return c
}

// initOptions are the flags that make a node's directory.
type initOptions struct {
	node.InitOptions
	host string
	port int
}

func (o *initOptions) register(c *cobra.Command) {
	c.Flags().StringVar(&o.Name, "name", "", "the hospital's name, as others will see it")
	c.Flags().StringVar(&o.API, "api-listen", "", "address of the API (default 127.0.0.1:8460)")
	c.Flags().StringVar(&o.host, "mesh-host", "", "IP address to listen on for other members (default: dial out only)")
	c.Flags().IntVar(&o.port, "mesh-port", defaultMeshPort, "port for other members, UDP and TCP")
	c.Flags().StringVar(&o.TLP, "tlp", "", "marking of what is shared without one: GREEN or AMBER (default: none, so each must say)")
}

func (o *initOptions) make(dir string) error {
	if o.host != "" {
		if net.ParseIP(o.host) == nil {
			return usage("--mesh-host %q is no IP address: give the address to listen on, 0.0.0.0 for all", o.host)
		}
		o.Mesh = meshListen(o.host, o.port)
	}
	return node.Init(dir, o.InitOptions)
}

// meshListen is QUIC and TCP on one port.
func meshListen(host string, port int) []string {
	family := "ip4"
	if net.ParseIP(host).To4() == nil {
		family = "ip6"
	}
	p := strconv.Itoa(port)
	return []string{"/" + family + "/" + host + "/udp/" + p + "/quic-v1", "/" + family + "/" + host + "/tcp/" + p}
}

func newRun() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the node until it is told to stop",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := needDir(cmd)
			if err != nil {
				return err
			}
			if os.Getenv("GOMEMLIMIT") == "" {
				debug.SetMemoryLimit(memoryLimit)
			}
			n, err := openNode(dir, nodeOptions{log: cmd.ErrOrStderr()})
			if err != nil {
				return err
			}
			if n.Votes() && os.Getenv("GOGC") == "" {
				debug.SetGCPercent(voterGC)
			}
			if err := n.Start(); err != nil {
				return closeAfter(n, err)
			}
			if jsonFlag(cmd) {
				err = printJSON(cmd.OutOrStdout(), devReady{Name: n.Name(), Dir: dir, API: n.APIURL(), PeerID: n.PeerID()})
			} else {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is ready: %s\n", plain(n.Name()), n.APIURL())
			}
			if err == nil {
				err = n.Wait(cmd.Context())
			}
			return closeAfter(n, err)
		},
	}
}

func closeAfter(n *node.Node, err error) error {
	if e := n.Close(); err == nil {
		err = e
	}
	return err
}

type nodeOptions struct {
	listen *listen   // instead of the configured addresses
	log    io.Writer // nil = errors only, on standard error
}

// listen overrides where a node listens.
type listen struct {
	api  string
	mesh []string
}

func openNode(dir string, o nodeOptions) (*node.Node, error) {
	settings, err := config.Load(filepath.Join(dir, node.ConfigFile))
	if err != nil {
		return nil, err
	}
	if o.listen != nil {
		settings.API.Listen, settings.Mesh.Listen = o.listen.api, o.listen.mesh
	}
	return node.Open(node.Options{Dir: dir, Settings: settings, Version: version(), Log: logger(settings, o.log), Now: now})
}

func logger(c config.Config, w io.Writer) *slog.Logger {
	level := slog.LevelError
	if w == nil {
		w = os.Stderr
	} else if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// version is what the build knows of itself.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "devel"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 && v == "devel" {
			v += "-" + s.Value[:12]
		}
	}
	return v
}

func newConfig() *cobra.Command {
	load := func(cmd *cobra.Command, args []string) (config.Config, string, error) {
		if len(args) == 1 {
			c, err := config.Load(args[0])
			return c, args[0], err
		}
		dir, err := needDir(cmd)
		if err != nil {
			return config.Config{}, "", err
		}
		path := filepath.Join(dir, node.ConfigFile)
		c, err := config.Load(path)
		return c, path, err
	}
	return group("config", "Check or show the configuration", &cobra.Command{
		Use:   "validate [FILE]",
		Short: "Check the configuration: every error with line, key and fix",
		Long: `Check the configuration. Every mistake is named with its line, key and fix; of the
syntax only the first, since what follows cannot be read.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, path, err := load(cmd, args)
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), map[string]any{"file": path, "valid": true})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is fine.\n", path)
			return nil
		},
	}, &cobra.Command{
		Use:   "show [FILE]",
		Short: "Show the configuration in effect, defaults included, with what each key means",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			settings, _, err := load(cmd, args)
			if err != nil {
				return err
			}
			if jsonFlag(cmd) {
				return printJSON(cmd.OutOrStdout(), settings)
			}
			return config.Show(cmd.OutOrStdout(), settings)
		},
	})
}
