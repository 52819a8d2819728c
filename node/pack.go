package node

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/paper"
	"github.com/watchward/watchward/node/store"
)

const (
	packFirst = 10 * time.Minute // after a start: by then the node has heard the others
	packLook  = time.Hour        // between two looks at the pack: the clock may be set, a stick be changed

	packPlaybooksMax = 256 << 20 // bytes of the documents in a pack
)

// packs makes the node's own offline pack.
type packs struct {
	n      *Node
	making sync.Mutex // one at a time
}

// every is how old a pack may become.
func (k *packs) every() time.Duration {
	d, _ := time.ParseDuration(k.n.o.Settings.Pack.Every) // the configuration was checked
	return d
}

// dir is where it is written, "" = nowhere. It is said to people who are in another
// directory than the node.
func (k *packs) dir() string {
	dir := k.n.inDir(k.n.o.Settings.Pack.Dir)
	if absolute, err := filepath.Abs(dir); err == nil && dir != "" {
		return absolute
	}
	return dir
}

// run makes packs until the node stops.
func (k *packs) run() {
	wait := time.NewTimer(packFirst)
	defer wait.Stop()
	for {
		select {
		case <-k.n.ctx.Done():
			return
		case <-wait.C:
		}
		k.look(k.n.now())
		wait.Reset(packLook)
	}
}

// look makes a pack if that which is there is too old, and alerts if that fails, once a day.
func (k *packs) look(now time.Time) {
	if age := now.Sub(k.made()); age >= 0 && age < k.every() {
		return
	}
	if _, err := k.write(k.n.ctx, k.dir()); err != nil && k.n.ctx.Err() == nil {
		k.n.log.Error("the offline pack is not made", slog.Any("err", err))
		k.n.alert(store.Alert{Kind: "pack", Severity: "warning", TLP: notice.TLPAmber, Dedup: "pack/" + now.UTC().Format(time.DateOnly), Text: k.trouble(err)})
	}
}

// made is when the pack that is there was made; zero = there is none.
func (k *packs) made() time.Time {
	info, err := os.Stat(filepath.Join(k.dir(), paper.PackPage))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// trouble says in the node's language why there is no new pack, what to do, and what there
// is.
func (k *packs) trouble(err error) string {
	p := catalog.For(k.n.o.Settings.Language)
	old := p.Text(catalog.PackNoneThere)
	if made := k.made(); !made.IsZero() {
		old = p.Text(catalog.PackStillThere, p.Moment(made.Local()))
	}
	return p.Text(catalog.PackTrouble, k.dir(), packFailure(p, err), old)
}

// packFailure is why a pack was not written, a colon, and what to do.
func packFailure(p *catalog.Printer, err error) string {
	for _, e := range []struct {
		err error
		key catalog.Key
	}{{syscall.ENOSPC, catalog.PackFull}, {syscall.EROFS, catalog.PackReadOnly}, {fs.ErrPermission, catalog.PackForbidden}, {fs.ErrNotExist, catalog.PackMissing}} {
		if errors.Is(err, e.err) {
			return p.Text(e.key)
		}
	}
	return p.Text(catalog.PackFailed, err.Error())
}

// pack gathers what is in a pack.
func (n *Node) pack(ctx context.Context, language string, ceiling notice.TLP) (*paper.Pack, error) {
	r, err := n.Report(ctx, 0, ceiling)
	if err != nil {
		return nil, err
	}
	k := &paper.Pack{Report: &r, Language: cmp.Or(language, n.o.Settings.Language), Zone: time.Local, Every: n.packs.every(), Addresses: n.dialled()}
	if k.Members, err = n.Members(ctx, ceiling); err != nil {
		return nil, err
	}
	k.Playbooks, err = n.playbooks(ceiling)
	return k, err
}

// playbooks are the documents of advisories that are here, those of playbooks first, then
// the newest, as far as a pack has room.
func (n *Node) playbooks(ceiling notice.TLP) (out []paper.Playbook, err error) {
	if n.documents == nil {
		return nil, nil
	}
	var others []paper.Playbook
	seen := map[[32]byte]bool{}
	err = n.documents.each(ceiling, func(r store.Record) bool {
		for _, d := range r.Notice.Advisory.Documents {
			if _, err := n.documents.Ref(d.SHA256); err != nil || seen[d.SHA256] || r.Exercise {
				continue
			}
			seen[d.SHA256] = true
			b := paper.Playbook{
				Name: d.Name, Media: d.Media, Title: r.Notice.Advisory.Title, From: n.nameOrID(r.Author), SHA256: d.SHA256, Size: int64(d.Size),
				Open: func() (io.ReadCloser, error) {
					content, err := n.documents.Content(d.SHA256)
					return io.NopCloser(bytes.NewReader(content)), err
				},
			}
			if r.Notice.Advisory.Type == notice.AdvicePlaybook {
				out = append(out, b)
			} else {
				others = append(others, b)
			}
		}
		return true
	})
	out = append(out, others...)
	room := int64(packPlaybooksMax)
	for i, b := range out {
		if room -= b.Size; room < 0 {
			out = out[:i]
			break
		}
	}
	return out, err
}

// dialled returns addresses by which nodes of the region are reached: those that this one
// was given, and its own.
func (n *Node) dialled() []string {
	return append(n.MeshAddrs(), n.o.Settings.Mesh.Seeds...)
}

// Pack implements api.Node.
func (n *Node) Pack(ctx context.Context, language string, ceiling notice.TLP) (func(io.Writer) error, error) {
	k, err := n.pack(ctx, language, ceiling)
	if err != nil {
		return nil, err
	}
	return k.Tar, nil
}

// MakePack implements api.Node.
func (n *Node) MakePack(ctx context.Context) (api.PackAnswer, error) {
	dir := n.packs.dir()
	if dir == "" {
		return api.PackAnswer{}, &api.Unavailable{Reason: "[pack] dir is not set", Fix: "set it in config.toml, or name a directory: watchward pack DIR"}
	}
	k, err := n.packs.write(ctx, dir)
	if err == nil {
		return api.PackAnswer{Dir: dir, Page: paper.PackPage, Playbooks: len(k.Playbooks)}, nil
	}
	if why, fix, known := strings.Cut(packFailure(catalog.For("en"), err), ": "); known && ctx.Err() == nil {
		err = &api.Unavailable{Reason: "the offline pack was not written to " + dir + ": " + why, Fix: fix}
	}
	return api.PackAnswer{}, err
}

// write makes a pack and puts it into a directory.
func (k *packs) write(ctx context.Context, dir string) (*paper.Pack, error) {
	k.making.Lock()
	defer k.making.Unlock()
	pack, err := k.n.pack(ctx, "", api.ReportDefault)
	if err == nil {
		err = pack.Write(dir)
	}
	if err == nil {
		k.n.log.Info("offline pack", slog.String("dir", dir), slog.Int("playbooks", len(pack.Playbooks)))
	}
	return pack, err
}
