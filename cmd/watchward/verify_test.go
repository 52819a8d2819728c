package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/ledger/entry"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/proof"
)

const receiptSaid = testkit.Founded + 3_600_000

// receiptFile writes a proof with a receipt, of a ledger with 1,300 entries of which it
// is number 1,234, signed by some of its members.
func receiptFile(t *testing.T, r *testkit.Region, names ...string) string {
	t.Helper()
	item, err := notice.Encode(&notice.Notice{
		Kind: notice.KindSighting, Created: receiptSaid, Salt: [16]byte{1}, FirstSeen: receiptSaid, LastSeen: receiptSaid, Count: 1,
		Indicator: &notice.Indicator{Type: notice.TypeDomain, Value: "evil.example"},
	})
	if err != nil {
		t.Fatal(err)
	}
	anna := membersOf(r)["anna"]
	e := anna.Envelope(t, crypto.Header{Time: receiptSaid}, nil, item)
	word := entry.Encode(entry.Envelope, crypto.Hash(e.ID))
	var entries [][]byte
	for i := range 1300 {
		entries = append(entries, entry.Encode(entry.Record, crypto.Hash{byte(i), byte(i >> 8)}))
	}
	entries[1234] = word
	root, path := testkit.Prove(t, entries, 1234)
	note := signedNote(t, r, tlog.Checkpoint{Origin: tlog.Origin(r.ID, 1), Size: 1300, Root: root}, names...)
	roster := r.Roster(t)
	f, err := proof.New(e, 0, roster.Proof(r.ID, anna.ID, 1, crypto.AudienceRegion, verify.Members(roster, r.ID, 1)...))
	if err != nil {
		t.Fatal(err)
	}
	f.Receipt = &verify.Receipt{Entry: word, Index: 1234, Path: path, Note: note}
	raw, err := f.Encode()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "receipt")
	if err := os.WriteFile(name, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func membersOf(r *testkit.Region) map[string]*testkit.Member {
	members := map[string]*testkit.Member{}
	for _, m := range r.Members {
		members[m.Credential.Name] = m
	}
	return members
}

// signedNote is a checkpoint with the lines of some members: those with a w are witnesses.
func signedNote(t *testing.T, r *testkit.Region, c tlog.Checkpoint, names ...string) []byte {
	t.Helper()
	members := membersOf(r)
	var notes [][]byte
	for _, name := range names {
		m, role := members[name], tlog.Voter
		if strings.HasPrefix(name, "w") {
			role = tlog.Witness
		}
		note, err := tlog.Sign(c, tlog.Cosigner(r.ID, m.ID), crypto.NewLedgerKey(m.Signing), role, time.UnixMilli(receiptSaid+5000))
		if err != nil {
			t.Fatal(err)
		}
		notes = append(notes, note)
	}
	note, err := tlog.Merge(notes...)
	if err != nil {
		t.Fatal(err)
	}
	return note
}

// A receipt says where a notice is in the ledger and who signed that.
func TestVerifyReceipt(t *testing.T) {
	r := testkit.NewRegionLedger(t, "north", []string{"ada", "bob", "cyd"}, []string{"wim", "wes"}, "anna")
	const at = "in the ledger at 1,234 of 1,300, checkpoint of 1999-12-31T01:00:05.000Z, signed by "
	for _, tt := range []struct {
		signers, text string
		code          int
	}{
		{"ada bob wim wes", at + "2 of 3 coordinators (ada, bob), witnessed by wes, wim", 0},
		{"cyd ada bob wim", at + "3 of 3 coordinators (ada, bob, cyd), witnessed by 1 of 2 (wim)", 0},
		{"ada bob", at + "2 of 3 coordinators (ada, bob), not witnessed", 0},
		{"ada wim", "NOT PROVEN: the region's ledger does not show it (step ledger): too few coordinators signed the checkpoint: 1 of 3, and it takes 2", client.ExitNo},
	} {
		file := receiptFile(t, r, strings.Fields(tt.signers)...)
		var out, errOut bytes.Buffer
		if code := run(t.Context(), []string{"verify", file, "--region", r.ID.String()}, nil, &out, &errOut); code != tt.code {
			t.Errorf("%s: code %d: %s", tt.signers, code, errOut.String())
		}
		if text := out.String() + errOut.String(); !strings.Contains(text, tt.text+"\n") || tt.code == 0 && !strings.Contains(text, tlog.Origin(r.ID, 1)+"\n") {
			t.Errorf("%s: %s", tt.signers, text)
		}
		out.Reset()
		if code := run(t.Context(), []string{"verify", file, "--json"}, nil, &out, &errOut); code != tt.code {
			t.Errorf("%s: code %d: %s", tt.signers, code, errOut.String())
		}
		var v struct {
			Proven bool          `json:"proven"`
			Step   string        `json:"step"`
			Ledger *provenLedger `json:"ledger"`
		}
		if err := json.Unmarshal(out.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		if tt.code != 0 {
			if v.Proven || v.Step != "ledger" || v.Ledger != nil {
				t.Errorf("%s: %s", tt.signers, out.String())
			}
			continue
		}
		if l := v.Ledger; l == nil || l.Index != 1234 || l.Size != 1300 || l.Time != api.Time(receiptSaid+5000) || l.VotersOf != 3 || l.Quorum != 2 || l.WitnessesOf != 2 ||
			l.Witnessed != (len(l.Witnesses) == 2) || l.Origin != fmt.Sprintf("watchward/%s/1", r.ID) || len(l.Voters) < 2 {
			t.Errorf("%s: %s", tt.signers, out.String())
		}
	}
}
