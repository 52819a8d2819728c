package sim

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/config"
)

// A Hospital is a member that runs the whole node: outbox, accept order, store
// (Badger in memory), alerts, budgets. It has no API and loses what it holds
// when it stops.
type Hospital struct {
	*Member
	Node *node.Node // nil while it is stopped
	dir  string

	mu      sync.Mutex
	arrived map[crypto.EnvelopeID]arrival
}

type arrival struct {
	*crypto.Envelope
	at time.Time
}

// Hospitals makes the directories of members, which are not to be started as
// mere meshes then.
func (w *World) Hospitals(members ...*Member) []*Hospital {
	w.Helper()
	dir := w.TempDir()
	known := w.Region.Records[:1+w.Config.Hubs] // the charter and the hubs; the others' come by sync
	out := make([]*Hospital, len(members))
	for i, m := range members {
		at := filepath.Join(dir, m.Credential.Name)
		if err := os.Mkdir(at, 0o700); err != nil {
			w.Fatal(err)
		}
		if err := keyfile.Save(filepath.Join(at, "identity.key"), m.Identity); err != nil {
			w.Fatal(err)
		}
		if err := node.Init(at, node.InitOptions{Name: m.Credential.Name, TLP: "GREEN"}); err != nil {
			w.Fatal(err)
		}
		records := append(known[:len(known):len(known)], w.Region.Records[1+m.Index])
		admission, err := canon.Marshal(node.Admission{Region: w.Region.ID, Records: records, Seeds: []string{}})
		if err != nil {
			w.Fatal(err)
		}
		if _, err := node.Join(at, admission); err != nil {
			w.Fatal(err)
		}
		out[i] = &Hospital{Member: m, dir: at, arrived: map[crypto.EnvelopeID]arrival{}}
	}
	return out
}

// Open starts the hospital's node.
func (h *Hospital) Open() {
	w := h.World
	w.Helper()
	settings := config.Default()
	settings.Name, settings.Share.TLP = h.Credential.Name, "GREEN"
	settings.Mesh.Hub, settings.Mesh.Seeds = h.Part == Hub, h.seeds()
	if h.Part != Spoke {
		settings.Mesh.Listen = []string{Address(h.Index)}
	}
	n, err := node.Open(node.Options{
		Dir: h.dir, Settings: settings, Version: "simulated", Log: w.Journal.logger(h.Credential.Name), Now: h.Now,
		Lab: &node.Lab{Transports: w.transport(h.Index), Path: func(p mesh.Path) mesh.Path { return &charged{p, h} }},
	})
	if err == nil {
		err = n.Start()
	}
	if err != nil {
		w.Fatal(err)
	}
	h.Node = n
}

// Peers returns how many members the hospital is connected to.
func (h *Hospital) Peers() int {
	h.World.Helper()
	status, err := h.Node.Status(context.Background(), 0)
	if err != nil {
		h.World.Fatal(err)
	}
	return status.Peers
}

// Close stops the hospital's node.
func (h *Hospital) Close() {
	h.World.Helper()
	if h.Node == nil {
		return
	}
	if err := h.Node.Close(); err != nil {
		h.World.Errorf("close %s: %v", h.Credential.Name, err)
	}
	h.Node = nil
}

// Report states that values were seen here.
func (h *Hospital) Report(o api.SubmitOptions, values ...string) []api.NoticeView {
	h.World.Helper()
	var items []api.Submission
	for _, v := range values {
		seen := api.Time(h.Now().UnixMilli())
		items = append(items, api.Submission{Kind: "sighting", Value: v, FirstSeen: seen, LastSeen: seen})
	}
	result, err := h.Node.Submit(context.Background(), items, o)
	if err != nil || len(result.Refused) > 0 {
		h.World.Fatalf("%s: %v, refused %+v", h.Credential.Name, err, result.Refused)
	}
	return result.Notices
}

// Speak reports a value and notes the flood bound of the moment. The envelope
// is known once it has come somewhere: see Found.
func (h *Hospital) Speak(o api.SubmitOptions, value string) Word {
	h.World.Helper()
	w := Word{By: h.Member, Bound: h.World.Bound(h.Index, h.World.Links())}
	h.Report(o, value)
	w.At = time.Now()
	return w
}

// Found fills in the envelopes in which words travelled: of each author the
// first that it signed after the word.
func Found(words []Word, hospitals []*Hospital) {
	for i := range words {
		w := &words[i]
		for _, h := range hospitals {
			h.mu.Lock()
			for _, a := range h.arrived {
				sent := a.Header.Author == w.By.ID && a.Header.Time >= w.At.UnixMilli()
				if sent && (w.Envelope == nil || a.Header.Time < w.Header.Time) {
					w.Envelope = a.Envelope
				}
			}
			h.mu.Unlock()
		}
		if w.Envelope == nil {
			w.Envelope = &crypto.Envelope{} // it came nowhere
		}
	}
}

// Knows reports whether a value is known.
func (h *Hospital) Knows(value string) bool {
	h.World.Helper()
	answers, err := h.Node.Lookup(context.Background(), []string{value}, api.LookupOptions{})
	if err != nil {
		h.World.Fatal(err)
	}
	return answers[0].Known
}

// Arrived returns when a foreign envelope became visible.
func (h *Hospital) Arrived(id crypto.EnvelopeID) (time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a, came := h.arrived[id]
	return a.at, came
}

// charged is a node's accept order that takes the time its work takes.
type charged struct {
	mesh.Path
	h *Hospital
}

// Check implements mesh.Path.
func (p *charged) Check(raw []byte, via mesh.Via, region crypto.Region, a crypto.Audience) (*mesh.Checked, error) {
	costs := p.h.World.Config.Costs
	p.h.cpu.work(costs.Check)
	checked, err := p.Path.Check(raw, via, region, a)
	if err == nil {
		p.h.cpu.work(costs.Relay)
	}
	return checked, err
}

// Admit implements mesh.Path.
func (p *charged) Admit(ctx context.Context, batch []*mesh.Checked) error {
	costs := p.h.World.Config.Costs
	p.h.cpu.work(time.Duration(len(batch)) * costs.Admit)
	time.Sleep(costs.Commit)
	if err := p.Path.Admit(ctx, batch); err != nil {
		return err
	}
	p.h.mu.Lock()
	defer p.h.mu.Unlock()
	for _, c := range batch {
		if _, twice := p.h.arrived[c.Envelope.ID]; !twice {
			p.h.arrived[c.Envelope.ID] = arrival{c.Envelope, time.Now()}
		}
	}
	return nil
}
