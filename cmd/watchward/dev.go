package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/watchward/watchward/node"
)

// devHospitalsMax keeps a region in one process within a laptop's means.
const devHospitalsMax = 50

func newDev() *cobra.Command {
	var o devOptions
	c := &cobra.Command{
		Use:   "dev",
		Short: "Start a region of hospitals on this machine, to try things out",
		Long: `Start a whole region in one process on loopback: real nodes, real keys, real
mesh. The first three are coordinators, of whom two decide; the others join by
invitation. Each hospital's complete state is in DIR/hospital-K, and the same command
again goes on with all data. Ctrl-C stops it cleanly. The coordinators' admission
keys lie beside the hospitals without a passphrase (dev-only-admission-K.key): a real
region keeps them on sticks in safes.

Ports are any that are free, or with --port P: the first hospital's API takes P and
its mesh P+1 (UDP and TCP), the next hospital's P+10 and P+11, and so on.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.json = jsonFlag(cmd)
			return runDev(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	c.Flags().IntVar(&o.hospitals, "hospitals", 3, "how many hospitals")
	c.Flags().StringVar(&o.dir, "dir", "watchward-dev", "directory of the region's state")
	c.Flags().IntVar(&o.port, "port", 0, "first hospital's API port P; its mesh takes P+1, the next hospital P+10 and P+11 … (0: free ports)")
	return c
}

type devOptions struct {
	hospitals int
	dir       string
	port      int
	json      bool
}

// devNames are the first hospitals' names; further ones are numbered.
var devNames = []string{"St Anna", "Riverside General", "University Hospital", "Lakeside Clinic", "Harbour Hospital", "County Hospital", "Hillside Clinic"}

func devName(k int) string {
	if k <= len(devNames) {
		return devNames[k-1]
	}
	return fmt.Sprintf("Hospital %d", k)
}

// devReady is the line that --json prints for each hospital.
type devReady struct {
	Name   string `json:"name"`
	Dir    string `json:"dir"`
	API    string `json:"api"`
	PeerID string `json:"peer_id"`
}

func runDev(ctx context.Context, o devOptions, out, errOut io.Writer) error {
	if o.hospitals < 1 || o.hospitals > devHospitalsMax {
		return usage("--hospitals %d: choose 1 to %d", o.hospitals, devHospitalsMax)
	}
	if last := o.port + 10*(o.hospitals-1) + 1; o.port < 0 || last > 65535 {
		return usage("--port %d: the last hospital would need port %d, and 65535 is the highest", o.port, last)
	}
	dirs, err := makeDevNodes(o)
	if err != nil {
		return err
	}
	keys, err := foundDevRegion(o.dir, dirs)
	if err != nil {
		return err
	}
	nodes := make([]*node.Node, len(dirs))
	defer func() {
		var group errgroup.Group
		for _, n := range nodes {
			if n != nil {
				group.Go(n.Close)
			}
		}
		if err := group.Wait(); err == nil && !o.json && ctx.Err() != nil {
			fmt.Fprintln(out, "\nStopped. The same command goes on with all data.")
		}
	}()
	open := func(i int) error {
		n, err := openNode(dirs[i], nodeOptions{listen: devListen(o.port, i)})
		if err != nil {
			return err
		}
		nodes[i] = n
		return n.Start()
	}
	var late []int // those that join by invitation now
	for i, dir := range dirs {
		if !node.Joined(dir) {
			late = append(late, i)
		} else if err := open(i); err != nil {
			return err
		}
	}
	if err := inviteAll(ctx, nodes[0], keys, dirs, late); err != nil {
		return err
	}
	for _, i := range late {
		if err := open(i); err != nil {
			return err
		}
	}
	// All are up; now each learns where the others are.
	var seeds []string
	for _, n := range nodes {
		seeds = append(seeds, n.MeshAddrs()...)
	}
	for _, n := range nodes {
		if err := n.Meet(seeds); err != nil {
			return err
		}
	}
	if awaitAll(ctx, nodes, errOut); ctx.Err() != nil {
		return nil
	}
	if o.json {
		for i, n := range nodes {
			if err := printJSON(out, devReady{Name: n.Name(), Dir: dirs[i], API: n.APIURL(), PeerID: n.PeerID()}); err != nil {
				return err
			}
		}
	} else {
		greet(out, dirs, nodes)
	}
	return waitAll(ctx, nodes)
}

// dev is ready when every hospital hears so many others, or after this time.
const (
	devHears    = 8
	devPatience = 15 * time.Second
)

// awaitAll waits until all nodes hear each other, and says so when some do not
// in good time: the region works all the same, and sync brings what they miss.
func awaitAll(ctx context.Context, nodes []*node.Node, errOut io.Writer) {
	bounded, cancel := context.WithTimeout(ctx, devPatience)
	defer cancel()
	for _, n := range nodes {
		if err := n.AwaitPeers(bounded, min(len(nodes)-1, devHears)); err != nil && ctx.Err() == nil {
			fmt.Fprintf(errOut, "note: %s does not hear the others yet; it goes on trying\n", n.Name())
		}
	}
}

// waitAll returns when ctx ends, or with the error of the first node that stops
// by itself.
func waitAll(ctx context.Context, nodes []*node.Node) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group errgroup.Group
	for _, n := range nodes {
		group.Go(func() error {
			defer cancel()
			return n.Wait(ctx)
		})
	}
	return group.Wait()
}

func devListen(port, i int) *listen {
	if port == 0 {
		return nil
	}
	api := port + 10*i
	return &listen{api: net.JoinHostPort("127.0.0.1", strconv.Itoa(api)), mesh: meshListen("127.0.0.1", api+1)}
}

// makeDevNodes makes what is missing of the nodes' directories.
func makeDevNodes(o devOptions) ([]string, error) {
	dirs := make([]string, o.hospitals)
	for i := range dirs {
		dirs[i] = filepath.Join(o.dir, fmt.Sprintf("hospital-%d", i+1))
		if err := initDev(dirs[i], devName(i+1), o.port, i); err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

func initDev(dir, name string, port, i int) error {
	if _, err := os.Stat(filepath.Join(dir, node.ConfigFile)); err == nil {
		return nil
	}
	l := devListen(port, i)
	if l == nil {
		l = &listen{api: "127.0.0.1:0", mesh: meshListen("127.0.0.1", 0)}
	}
	return node.Init(dir, node.InitOptions{Name: name, API: l.api, Mesh: l.mesh, TLP: "GREEN"})
}

func greet(out io.Writer, dirs []string, nodes []*node.Node) {
	t := table{header: []string{"HOSPITAL", "API", "DIRECTORY"}}
	for i, n := range nodes {
		t.add(n.Name(), n.APIURL(), dirs[i])
	}
	fmt.Fprintf(out, "%s in one region, ready.\n\n", plural(int64(len(nodes)), "hospital"))
	t.print(out)
	self := invocation()
	last := dirs[len(dirs)-1]
	fmt.Fprintf(out, "\nTry, in another terminal:\n")
	fmt.Fprintf(out, "  %s report evil.example --dir %s\n", self, dirs[0])
	fmt.Fprintf(out, "  %s lookup evil.example --dir %s\n", self, last)
	fmt.Fprintf(out, "  %s status --dir %s\n", self, last)
	fmt.Fprintf(out, "\nCtrl-C stops the region; its data stays in %s.\n", filepath.Dir(dirs[0]))
}

// invocation is how the reader most likely started this program, so that the
// commands to copy work.
func invocation() string {
	if strings.Contains(os.Args[0], "go-build") {
		return "go run ./cmd/watchward"
	}
	return os.Args[0]
}
