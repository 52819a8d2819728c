package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
)

const (
	evidenceDir    = "evidence"
	evidenceSuffix = ".equivocation"
	convictedMax   = 4096 // origins that are known to be split
)

// equivocation returns the encoded proof that a member signed two checkpoints that
// contradict each other. prefix and path are as verify.NewEquivocation takes them. Of
// the signatures only those of one member who signed both are in it: it travels on
// the mesh.
func equivocation(a, b *stand, prefix crypto.Hash, path []crypto.Hash) ([]byte, error) {
	region, _, err := tlog.ParseOrigin(a.Origin)
	if err != nil {
		return nil, err
	}
	for _, v := range slices.Concat(a.Voters, a.Witnesses) {
		if !b.by(v.Member) {
			continue
		}
		name := tlog.Cosigner(region, v.Member)
		e, err := verify.NewEquivocation(only(a.raw, name), only(b.raw, name), prefix, path)
		if err != nil {
			return nil, err
		}
		return e.Encode()
	}
	return nil, verify.ErrNoEquivocation
}

// only returns a note with the lines of one name.
func only(raw []byte, name string) []byte {
	n, err := tlog.ParseNote(raw)
	if err != nil {
		return raw
	}
	n.Lines = slices.DeleteFunc(n.Lines, func(l tlog.Line) bool { return l.Name != name })
	return n.Bytes()
}

// prove makes proofs of the checkpoints that contradict the tree here, if it can: from
// this tree alone, or with the tree of the other checkpoint, of whoever shows it.
func (f *follower) prove(t *track) {
	t.mu.Lock()
	doubts, split := slices.Clone(t.doubts), t.split
	t.mu.Unlock()
	if split {
		return
	}
	for _, d := range doubts {
		proof, err := f.proof(t, d)
		if f.ctx.Err() != nil {
			return
		}
		if err == nil {
			f.convict(t.origin, proof, true)
			return
		}
		f.log.Warn("a signed checkpoint contradicts the ledger here, and it cannot be proven yet", "origin", t.origin, "size", d.Size, "reason", err)
		f.alarm(Alarm{Kind: "ledger-differs", Severity: "warning", Dedup: "ledger-differs/" + t.origin,
			Text: fmt.Sprintf("a checkpoint of the ledger %s, of %d entries, contradicts the copy here, and who signed both cannot be shown yet: ask the coordinators (watchward ledger status)", t.origin, d.Size)})
	}
}

// proof returns the encoded proof against one checkpoint.
func (f *follower) proof(t *track, d doubt) ([]byte, error) {
	err := verify.ErrNoEquivocation
	for _, a := range t.witnesses() {
		if !slices.ContainsFunc(slices.Concat(a.Voters, a.Witnesses), func(v verify.Signature) bool { return d.by(v.Member) }) {
			continue
		}
		prefix, path, asked := f.contradiction(t, a, d)
		if asked != nil {
			err = asked
			continue
		}
		proof, bad := equivocation(a, d.stand, prefix, path)
		if bad == nil {
			if err = f.holds(t.origin, proof); err == nil {
				return proof, nil
			}
			continue
		}
		err = bad
	}
	return nil, err
}

// contradiction returns what shows that a checkpoint of the tree here and another one
// do not go together: the root at the smaller size in the tree of the larger one, and
// the path to it.
func (f *follower) contradiction(t *track, a *stand, d doubt) (prefix crypto.Hash, path []crypto.Hash, err error) {
	switch {
	case a.Size == d.Size:
		return prefix, nil, nil
	case a.Size > d.Size:
		if prefix, err = t.tree.Root(d.Size); err == nil {
			path, err = t.tree.Consistency(d.Size, a.Size)
		}
		return prefix, path, err
	}
	ctx, cancel := context.WithTimeout(f.ctx, pollFor)
	defer cancel()
	var from []string
	if d.from != "" {
		from = []string{d.from}
	}
	src := f.sourceOf(ctx, d.stand, from...)
	if prefix, err = src.prefix(a.Size); err == nil {
		path, err = src.consistency(a.Size)
	}
	return prefix, path, err
}

// witnesses returns the checkpoints that the tree here agrees with, the largest first,
// and after them others that are known: what a contradiction may be shown with.
func (t *track) witnesses() (out []*stand) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range []*stand{t.good, t.witnessed} {
		if s != nil && s.Checked != nil {
			out = append(out, s)
		}
	}
	for _, s := range t.signed {
		if s.Size <= t.tree.Size() {
			if root, err := t.tree.Root(s.Size); err == nil && root == s.Root {
				out = append(out, s)
			}
		}
	}
	return append(out, t.targets...)
}

// holds returns nil if a proof convicts somebody.
func (f *follower) holds(origin string, proof []byte) error {
	policy := f.councils.policy(origin)
	if policy == nil {
		return errNoPolicy
	}
	e, err := verify.ParseEquivocation(proof)
	if err != nil {
		return err
	}
	_, err = e.Verify(policy)
	return err
}

// accused looks at a proof that somebody shows.
func (f *follower) accused(region crypto.Region, proof []byte) (relay, blame bool) {
	e, err := verify.ParseEquivocation(proof)
	if err != nil {
		return false, true
	}
	origin, err := originOf(e.A)
	if of, _, bad := tlog.ParseOrigin(origin); err != nil || bad != nil || of != region {
		return false, true
	}
	if f.convicted(origin) {
		return false, false
	}
	switch err := f.holds(origin, proof); {
	case errors.Is(err, errNoPolicy):
		return false, false
	case err != nil:
		// Its signers may be known there and not here.
		return false, badNote(err)
	}
	return f.convict(origin, proof, false), false
}

// convict keeps a proof that holds, says so to a person, and to others. It reports
// whether this is news.
func (f *follower) convict(origin string, proof []byte, announce bool) bool {
	f.mu.Lock()
	if f.splits[origin] || len(f.splits) >= convictedMax {
		f.mu.Unlock()
		return false
	}
	f.splits[origin] = true
	err := f.keepEvidence(origin, proof)
	f.mu.Unlock()
	if err != nil {
		f.log.Error("the proof of a split ledger is not kept", "origin", origin, "reason", err)
	}
	if t := f.trackOf(origin); t != nil {
		t.mu.Lock()
		t.split, t.doubts = true, nil
		t.mu.Unlock()
	}
	region, _, _ := tlog.ParseOrigin(origin)
	way := "until the region begins a new one without them (watchward ledger recover)"
	if region != f.l.c.Region {
		way = "until that region begins a new one: tell its coordinators"
	}
	f.alarm(Alarm{Kind: "ledger-split-view", Severity: "critical", Dedup: "ledger-split-view/" + origin, Evidence: proof,
		Text: fmt.Sprintf("%s signed two ledgers that contradict each other as %s: its receipts count as unwitnessed %s; the proof is %s",
			f.guilty(origin, proof), origin, way, f.evidencePath(origin))})
	if announce {
		f.announce(region, &evidence{Proof: proof})
	}
	return true
}

// guilty returns the names of those whom a proof convicts.
func (f *follower) guilty(origin string, proof []byte) string {
	var names []string
	if e, err := verify.ParseEquivocation(proof); err == nil {
		if p := f.councils.policy(origin); p != nil {
			both, _ := e.Verify(p)
			for _, s := range both {
				names = append(names, s.Name)
			}
		}
	}
	return strings.Join(names, ", ")
}

// convicted reports whether it is proven that an origin's voters signed two ledgers.
func (f *follower) convicted(origin string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.splits[origin]
}

func (f *follower) evidencePath(origin string) string {
	return filepath.Join(f.l.c.Dir, evidenceDir, strings.ReplaceAll(origin, "/", "-")+evidenceSuffix)
}

func (f *follower) keepEvidence(origin string, proof []byte) error {
	if err := os.MkdirAll(filepath.Join(f.l.c.Dir, evidenceDir), 0o700); err != nil {
		return err
	}
	return writeDurably(f.evidencePath(origin), proof)
}

// loadEvidence reads which ledgers are known to be split.
func (f *follower) loadEvidence() {
	files, _ := filepath.Glob(filepath.Join(f.l.c.Dir, evidenceDir, "*"+evidenceSuffix))
	for _, file := range files {
		raw, err := readSmall(file, verify.EquivocationSizeMax)
		if err != nil {
			continue
		}
		if e, err := verify.ParseEquivocation(raw); err == nil {
			if origin, err := originOf(e.A); err == nil && f.evidencePath(origin) == file {
				f.splits[origin] = true
			}
		}
	}
}

// showEvidence shows a peer what proves that a ledger of this region is split.
func (f *follower) showEvidence(ctx context.Context, peer string) {
	for _, t := range f.tracks() {
		if !f.convicted(t.origin) {
			continue
		}
		raw, err := readSmall(f.evidencePath(t.origin), verify.EquivocationSizeMax)
		if err == nil {
			_, err = ask[*taken](ctx, f.asker, peer, &evidence{Proof: raw})
		}
		if err != nil {
			f.log.Debug("the proof of a split ledger was not shown", "origin", t.origin, "reason", err)
		}
	}
}
