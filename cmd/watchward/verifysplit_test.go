package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/proof"
)

// The proof of two ledgers says who signed both, to anybody with the region's file.
func TestVerifySplit(t *testing.T) {
	r := testkit.NewRegionLedger(t, "north", []string{"ada", "bob", "cyd"}, nil, "anna")
	other := testkit.NewRegionLedger(t, "south", []string{"eve"}, nil)
	dir := t.TempDir()
	file := func(name string, raw []byte, err error) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err == nil {
			err = os.WriteFile(path, raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	regionFile := func(name string, r *testkit.Region, members bool) string {
		raw, err := proof.EncodeRegion(r.Roster(t), members, nil)
		return file(name, raw, err)
	}
	north, south, keyless := regionFile("north", r, true), regionFile("south", other, true), regionFile("keyless", r, false)
	at := func(root byte) tlog.Checkpoint {
		return tlog.Checkpoint{Origin: tlog.Origin(r.ID, 1), Size: 1300, Root: crypto.Hash{root}}
	}
	split := func(name string, a, b []byte) string {
		e, err := verify.NewEquivocation(a, b, crypto.Hash{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := e.Encode()
		return file(name, raw, err)
	}
	one := signedNote(t, r, at(1), "ada", "bob")
	two := split("two", one, signedNote(t, r, at(2), "bob", "ada"))
	bob := split("bob", one, signedNote(t, r, at(2), "bob", "cyd"))
	for _, tt := range []struct {
		file, region string
		code         int
		text         string
	}{
		{bob, north, 0, "PROVEN: bob signed two ledgers that contradict each other.\n"},
		{two, north, 0, "PROVEN: ada and bob signed two ledgers that contradict each other.\n"},
		{two, north, 0, "another  1,300 entries with the root 0200000000"},
		{bob, "", client.ExitUsage, "--region FILE, written by watchward region show --out FILE --members"},
		{bob, keyless, client.ExitUsage, "write it with --members"},
		{bob, south, client.ExitNo, "NOT PROVEN: nobody is shown to have signed two ledgers (step split): it is of region " + r.ID.String()},
		{split("none", one, signedNote(t, r, at(2), "cyd")), north, client.ExitNo, "nobody signed both"},
		{split("same", one, one), north, client.ExitNo, "the checkpoints agree"},
	} {
		args := []string{"verify", tt.file}
		if tt.region != "" {
			args = append(args, "--region", tt.region)
		}
		var out, errOut bytes.Buffer
		if code := run(t.Context(), args, nil, &out, &errOut); code != tt.code {
			t.Errorf("%v: code %d, want %d", args, code, tt.code)
		}
		if text := out.String() + errOut.String(); !strings.Contains(text, tt.text) {
			t.Errorf("%v: %s", args, text)
		}
	}
	var out, errOut bytes.Buffer
	if code := run(t.Context(), []string{"verify", bob, "--region", north, "--json"}, nil, &out, &errOut); code != 0 || !strings.Contains(out.String(), `"signed_both":["bob"]`) {
		t.Errorf("code %d: %s%s", code, out.String(), errOut.String())
	}
}
