package trust_test

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto/trust"
)

// kept is what somebody keeps who goes by a journal alone.
func kept(disk map[string]bool, entries []trust.Entry) {
	for _, e := range entries {
		if e.Left {
			delete(disk, string(e.Raw))
		} else {
			disk[string(e.Raw)] = true
		}
	}
}

// Whoever keeps by its journal what a roster takes in has the same roster again,
// and nothing of what is replaced, decided, pushed out or was only offered.
func TestJournalKeepsTheRoster(t *testing.T) {
	w, fresh := besieged(t)
	for i := range trust.ProposalsMax + 3 {
		if _, err := w.do(fmt.Sprintf("propose flood%d a1 admit A1 emil", i)); err != nil {
			t.Fatal(err)
		}
	}
	var all [][]byte
	for _, name := range w.names {
		all = append(all, w.records[name]...)
	}
	base := fresh()
	rapid.Check(t, func(t *rapid.T) {
		r := base.Clone()
		r.KeepJournal()
		disk := map[string]bool{}
		for _, id := range r.IDs() {
			raw, _ := r.Record(id)
			disk[string(raw)] = true
		}
		for _, raw := range rapid.Permutation(all).Draw(t, "order") {
			_, _ = r.Add(raw)
			if rapid.Bool().Draw(t, "offered again, spoilt") {
				_, _ = r.Add(spoil(raw))
			}
			if rapid.Bool().Draw(t, "taken") {
				kept(disk, r.TakeJournal())
			}
		}
		kept(disk, r.TakeJournal())
		if len(r.TakeJournal()) != 0 {
			t.Fatal("it says things twice")
		}
		var records [][]byte
		for raw := range disk {
			records = append(records, []byte(raw))
		}
		again := trust.NewRoster(r.Region())
		if _, err := again.AddAll(records); err != nil {
			t.Fatalf("what was kept is not good: %v", err)
		}
		if again.Root() != r.Root() {
			t.Fatal("what was kept is another roster")
		}
		if len(disk) > len(r.IDs()) {
			t.Fatalf("%d records were kept of a roster of %d", len(disk), len(r.IDs()))
		}
		for _, raw := range r.Passing() {
			if !disk[string(raw)] && !ownApproval(raw) {
				t.Fatal("a record passes that was not kept")
			}
		}
	})
}

// ownApproval reports whether a record is an approval: a proposer's own comes with
// its proposal.
func ownApproval(raw []byte) bool {
	kind, _ := trust.KindOf(raw)
	return kind == trust.KindApproval
}

// spoil breaks the last byte of a record: of most kinds a signature's.
func spoil(raw []byte) []byte {
	out := bytes.Clone(raw)
	out[len(out)-1] ^= 1
	return out
}
