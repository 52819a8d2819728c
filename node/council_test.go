package node_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/node"
)

// founders makes keys and cards of n coordinators, each with a node's request.
func founders(t *testing.T, n int) (keys []*crypto.PrivateKey, cards []*trust.Card) {
	t.Helper()
	for i := range n {
		key, err := crypto.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := trust.NewCard(key, fmt.Sprint("coordinator ", i), request(t, fmt.Sprint("node ", i)))
		if err != nil {
			t.Fatal(err)
		}
		card, err := trust.ParseCard(raw)
		if err != nil {
			t.Fatal(err)
		}
		keys, cards = append(keys, key), append(cards, card)
	}
	return keys, cards
}

// founded is a region of two coordinators, both of whom decide.
func founded(t *testing.T) ([]*crypto.PrivateKey, *node.Admission, *trust.Roster) {
	t.Helper()
	keys, cards := founders(t, 2)
	a, err := node.Draft(trust.Charter{Name: "North", Threshold: 2}, cards, keys[0], nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Sign(keys[1], nil); err != nil {
		t.Fatal(err)
	}
	roster, err := a.Roster()
	if err != nil {
		t.Fatal(err)
	}
	return keys, a, roster
}

func request(t *testing.T, name string) []byte {
	t.Helper()
	id, err := keyfile.NewIdentity(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := trust.NewRequest(id, name, []string{"/ip4/192.0.2.1/tcp/8461"})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A draft goes from one to the next, in any order, and is a region after the last.
func TestDraftIsSignedInTurn(t *testing.T) {
	keys, cards := founders(t, 3)
	a, err := node.Draft(trust.Charter{Name: "North", Threshold: 2}, cards, keys[1], nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Seeds) != 3 {
		t.Errorf("seeds %v", a.Seeds)
	}
	if _, err := a.Roster(); err == nil {
		t.Error("a draft is a region")
	}
	for _, key := range []*crypto.PrivateKey{keys[2], keys[0]} {
		raw, err := a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if a, err = node.ReadRecords(raw); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Sign(key, nil); err != nil {
			t.Fatal(err)
		}
	}
	roster, err := a.Roster()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(roster.Members(roster.Region())); n != 3 || roster.Charter().Threshold != 2 {
		t.Errorf("%d members, threshold %d", n, roster.Charter().Threshold)
	}
}

// What the mesh cannot carry goes by file, through the same hands.
func TestLargeProposalGoesByFile(t *testing.T) {
	keys, a, roster := founded(t)
	var requests [][]byte
	for i := range 20 {
		requests = append(requests, request(t, fmt.Sprint("hospital ", i)))
	}
	st, err := node.Admitting(roster, requests, trust.RoleHospital, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p, err := trust.Propose(roster.Charter(), keys[0], time.Now().UnixMilli(), st)
	if err != nil {
		t.Fatal(err)
	}
	records, err := p.Records()
	if err != nil {
		t.Fatal(err)
	}
	if len(records[0]) <= trust.RecordSizeMax {
		t.Fatalf("%d bytes: the mesh carries that", len(records[0]))
	}
	if _, err := roster.Add(records[0]); err == nil {
		t.Error("a roster takes what the mesh cannot carry")
	}
	a.Records = append(a.Records, records...)
	if before, err := a.Roster(); err != nil || len(before.Members(before.Region())) != 2 {
		t.Fatalf("an undecided file: %v", err)
	}
	if _, err := a.Sign(keys[0], nil); err == nil {
		t.Error("one coordinator signs twice")
	}
	signed, err := a.Sign(keys[1], nil)
	if err != nil || len(signed) != 1 || signed[0].Lacking() != 0 {
		t.Fatalf("%v, %v", signed, err)
	}
	after, err := a.Roster()
	if err != nil || len(after.Members(after.Region())) != 22 {
		t.Fatalf("a decided file: %v", err)
	}
}

// The last signature acts wherever it is added, what it makes is on disk, and the
// next start has it.
func TestLastSignatureActsAndIsKept(t *testing.T) {
	keys, a, roster := founded(t)
	h := &hospital{dir: t.TempDir(), clock: &clock{}}
	makeNode(t, h.dir, "here")
	asked, err := os.ReadFile(filepath.Join(h.dir, node.RequestFile))
	if err != nil {
		t.Fatal(err)
	}
	own, err := node.Admitting(roster, [][]byte{asked}, trust.RoleHospital, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	records, err := trust.Act(roster.Charter(), keys, time.Now().UnixMilli(), own)
	if err != nil {
		t.Fatal(err)
	}
	a.Records = append(a.Records, records...)
	raw, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := node.Join(h.dir, raw); err != nil {
		t.Fatal(err)
	}
	h.open(t)
	t.Cleanup(func() { h.stop(t) })
	newcomer := request(t, "newcomer")
	st, err := node.Admitting(roster, [][]byte{newcomer}, trust.RoleHospital, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p, err := trust.Propose(roster.Charter(), keys[0], time.Now().UnixMilli(), st)
	if err != nil {
		t.Fatal(err)
	}
	if records, err = p.Records(); err != nil {
		t.Fatal(err)
	}
	if err := h.Path().AddTrust(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	names := func() (out []string) {
		views, err := h.Members(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range views {
			out = append(out, v.Name)
		}
		return out
	}
	if slices.Contains(names(), "newcomer") {
		t.Fatal("one signature admits")
	}
	if err := p.Sign(keys[1]); err != nil {
		t.Fatal(err)
	}
	if records, err = p.Records(); err != nil {
		t.Fatal(err)
	}
	if err := h.Path().AddTrust(t.Context(), records[2:]); err != nil && !errors.Is(err, trust.ErrProposalMissing) {
		t.Fatal(err)
	}
	if err := h.Path().AddTrust(t.Context(), records[1:2]); err != nil && !errors.Is(err, trust.ErrProposalMissing) {
		t.Fatal(err)
	}
	if !slices.Contains(names(), "newcomer") {
		t.Fatal("the last signature does not act")
	}
	h.stop(t)
	h.open(t)
	if !slices.Contains(names(), "newcomer") {
		t.Error("what the last signature made is forgotten")
	}
}
