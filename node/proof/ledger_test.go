package proof_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger/entry"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
	"github.com/watchward/watchward/node/proof"
)

// A kept is a region whose ledger three voters keep and wim witnesses, with anna's word
// at index 37 of 100.
type kept struct {
	region  *testkit.Region
	word    *crypto.Envelope
	entries [][]byte
}

const (
	wordAt = 37
	later  = said + 2_000 // when the checkpoint is signed
)

func newKept(t testing.TB) *kept {
	t.Helper()
	k := &kept{region: testkit.NewRegionLedger(t, "north", []string{"ada", "bob", "cyd"}, []string{"wim"}, "anna")}
	k.word = k.member("anna").Envelope(t, crypto.Header{Time: said}, nil, items(t)...)
	for i := range 100 {
		k.entries = append(k.entries, entry.Encode(entry.Record, crypto.Hash{byte(i)}))
	}
	k.entries[wordAt] = entry.Encode(entry.Envelope, crypto.Hash(k.word.ID))
	return k
}

func (k *kept) member(name string) *testkit.Member {
	at := slices.IndexFunc(k.region.Members, func(m *testkit.Member) bool { return m.Credential.Name == name })
	return k.region.Members[at]
}

// receipt proves the entry at index under a checkpoint of an origin that some members
// signed.
func (k *kept) receipt(t testing.TB, index int, origin string, names ...string) *verify.Receipt {
	t.Helper()
	root, path := testkit.Prove(t, k.entries, index)
	var notes [][]byte
	for i, name := range names {
		role := tlog.Voter
		if name == "wim" {
			role = tlog.Witness
		}
		m := k.member(name)
		note, err := tlog.Sign(tlog.Checkpoint{Origin: origin, Size: uint64(len(k.entries)), Root: root}, tlog.Cosigner(k.region.ID, m.ID),
			crypto.NewLedgerKey(m.Signing), role, time.UnixMilli(later).Add(time.Duration(i)*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		notes = append(notes, note)
	}
	note, err := tlog.Merge(notes...)
	if err != nil {
		t.Fatal(err)
	}
	return &verify.Receipt{Entry: bytes.Clone(k.entries[index]), Index: uint64(index), Path: path, Note: note}
}

// file is the third item of anna's word with a receipt, by what a roster knows.
func (k *kept) file(t testing.TB, roster *trust.Roster, r *verify.Receipt) *proof.File {
	t.Helper()
	h := &k.word.Header
	f, err := proof.New(k.word, 2, roster.Proof(h.Region, h.Author, h.Serial, h.Audience, verify.Members(roster, h.Region, 1)...))
	if err != nil {
		t.Fatal(err)
	}
	f.Receipt = r
	return f
}

// revoking returns what revokes a member's key.
func (k *kept) revoking(t testing.TB, name string) [][]byte {
	t.Helper()
	st, err := trust.Revoking(k.region.Charter, k.member(name).Credential, nil, said)
	if err != nil {
		t.Fatal(err)
	}
	records, err := trust.Act(k.region.Charter, []*crypto.PrivateKey{k.region.Admission}, said, st)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func TestLedgerVerdicts(t *testing.T) {
	k := newKept(t)
	first, second := tlog.Origin(k.region.ID, 1), tlog.Origin(k.region.ID, 2)
	change := func(edit func(r *verify.Receipt)) *verify.Receipt {
		r := k.receipt(t, wordAt, first, "ada", "bob", "wim")
		edit(r)
		return r
	}
	for _, tt := range []struct {
		name    string
		receipt *verify.Receipt
		revoked string // a member that the file's records say is
		known   [][]byte
		want    string // of the error at StepLedger; empty: it holds
		signers string
	}{
		{name: "no receipt"},
		{name: "signed by a quorum and the witness", receipt: k.receipt(t, wordAt, first, "ada", "bob", "wim"), signers: "ada bob, wim"},
		{name: "signed by all voters", receipt: k.receipt(t, wordAt, first, "cyd", "bob", "ada"), signers: "ada bob cyd, "},
		{name: "another index", receipt: change(func(r *verify.Receipt) { r.Index-- }), want: "not where the receipt says"},
		{name: "an index beyond the end", receipt: change(func(r *verify.Receipt) { r.Index = 100 }), want: "not where the receipt says"},
		{name: "a bit of the path", receipt: change(func(r *verify.Receipt) { r.Path[3][0] ^= 1 }), want: "not where the receipt says"},
		{name: "no path", receipt: change(func(r *verify.Receipt) { r.Path = nil }), want: "not where the receipt says"},
		{name: "a larger ledger in the note's text", receipt: change(func(r *verify.Receipt) {
			r.Note = bytes.Replace(r.Note, []byte("\n100\n"), []byte("\n101\n"), 1)
		}), want: "not by the key that it names"},
		{name: "a signature of another", receipt: change(func(r *verify.Receipt) {
			n, err := tlog.ParseNote(r.Note)
			if err != nil {
				t.Fatal(err)
			}
			n.Lines[1].Sig = n.Lines[3].Sig
			r.Note = n.Bytes()
		}), want: "not by the key that it names"},
		{name: "the entry of another notice", receipt: k.receipt(t, wordAt+1, first, "ada", "bob"), want: "something else"},
		{name: "the entry of this notice, where another is", receipt: change(func(r *verify.Receipt) { r.Index, r.Path = 38, k.receipt(t, 38, first, "ada").Path }), want: "not where the receipt says"},
		{name: "the id as another type of entry", receipt: change(func(r *verify.Receipt) { r.Entry = entry.Encode(entry.Record, crypto.Hash(k.word.ID)) }), want: "something else"},
		{name: "signed under an epoch that is not", receipt: k.receipt(t, wordAt, second, "ada", "bob"), want: "epoch 2"},
		{name: "the origin of another region", receipt: k.receipt(t, wordAt, tlog.Origin(crypto.Region{1}, 1), "ada", "bob"), want: "the notice of another"},
		{name: "an origin that is no ledger of ours", receipt: k.receipt(t, wordAt, "example.com/log", "ada", "bob"), want: "no origin"},
		{name: "below quorum", receipt: k.receipt(t, wordAt, first, "ada", "wim"), want: "1 of 3, and it takes 2"},
		{name: "signed by the witness alone", receipt: k.receipt(t, wordAt, first, "wim"), want: "no coordinator signed"},
		{name: "signed by the author alone", receipt: k.receipt(t, wordAt, first, "anna"), want: "no coordinator signed"},
		{name: "a voter is revoked, and the others are too few", receipt: k.receipt(t, wordAt, first, "ada", "bob"), revoked: "bob", want: "1 of 3, and it takes 2"},
		{name: "a voter is revoked, and the others are enough", receipt: k.receipt(t, wordAt, first, "ada", "bob", "cyd"), revoked: "bob", signers: "ada cyd, "},
		{name: "a newer file of the region says that a voter is revoked", receipt: k.receipt(t, wordAt, first, "ada", "bob"), known: k.revoking(t, "bob"), want: "1 of 3, and it takes 2"},
		{name: "the witness is revoked", receipt: k.receipt(t, wordAt, first, "ada", "bob", "wim"), revoked: "wim", signers: "ada bob, "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			roster := k.region.Roster(t)
			if tt.revoked != "" {
				if _, err := roster.AddAll(k.revoking(t, tt.revoked)); err != nil {
					t.Fatal(err)
				}
			}
			raw, err := k.file(t, roster, tt.receipt).Encode()
			if err != nil {
				t.Fatal(err)
			}
			f, err := proof.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			p, err := proof.Verify(f, proof.Known{Region: &k.region.ID, Records: tt.known})
			if tt.want != "" {
				failed := (*proof.Failure)(nil)
				if !errors.As(err, &failed) || failed.Step != proof.StepLedger || !strings.Contains(err.Error(), tt.want) {
					t.Fatalf("%v", err)
				}
				return
			}
			if err != nil || (p.Ledger == nil) != (tt.receipt == nil) {
				t.Fatalf("%+v, error %v", p, err)
			}
			if p.Ledger == nil {
				return
			}
			l := p.Ledger
			if signers := strings.Join(l.Voters, " ") + ", " + strings.Join(l.Witnesses, " "); signers != tt.signers || l.Index != wordAt || l.Size != 100 ||
				l.Origin != first || l.VotersOf != 3 || l.Quorum != 2 || l.WitnessesOf != 1 || l.Witnessed != strings.HasSuffix(signers, "wim") || l.Time.UnixMilli() != later {
				t.Errorf("%+v", l)
			}
		})
	}
}

// A bit more or less in a file with a receipt proves nothing, or the same: a line whose
// key nobody knows is as if it were not there.
func TestEachBitOfAReceiptCounts(t *testing.T) {
	k := newKept(t)
	raw, err := k.file(t, k.region.Roster(t), k.receipt(t, wordAt, tlog.Origin(k.region.ID, 1), "ada", "bob")).Encode()
	if err != nil {
		t.Fatal(err)
	}
	f, err := proof.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	rest, err := (&proof.File{Records: f.Records, Envelope: f.Envelope, Item: f.Item, Index: f.Index, Path: f.Path}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for at := len(rest); at < len(raw); at += 3 { // the receipt comes last
		changed := bytes.Clone(raw)
		changed[at] ^= 1 << (at % 8)
		f, err := proof.Parse(changed)
		if err != nil {
			continue
		}
		p, err := proof.Verify(f, proof.Known{})
		if err == nil && (p.Ledger.Index != wordAt || p.Ledger.Size != 100 || len(p.Ledger.Voters) != 2) {
			t.Fatalf("byte %d of %d may be changed: %+v", at, len(raw), p.Ledger)
		}
	}
}

// Five voters, three witnesses and the author of a region of seven coordinators who all
// must sign fit into a file, beside twenty charters.
func TestTheLargestReceiptFits(t *testing.T) {
	const charters, signatures = 20, trust.CoordinatorsMax
	charter := signatures * (crypto.PublicKeySize + 2*crypto.SignatureSize + 200)
	credential := crypto.PublicKeySize + crypto.LedgerPublicSize + 1216 + 2000 + signatures*(crypto.SignatureSize+64)
	members := 1 + trust.VotersMax + trust.WitnessesMax
	if got := charters*charter + 2*members*credential + verify.ReceiptSizeMax; got > proof.SizeMax || charters+2*members > proof.RecordsMax {
		t.Errorf("%d bytes", got)
	}
}

// Version and content must agree, so that older readers say what is the matter.
func TestReceiptVersions(t *testing.T) {
	k := newKept(t)
	with, err := k.file(t, k.region.Roster(t), k.receipt(t, wordAt, tlog.Origin(k.region.ID, 1), "ada", "bob")).Encode()
	if err != nil {
		t.Fatal(err)
	}
	without, err := k.file(t, k.region.Roster(t), nil).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(with, []byte(proof.MagicReceipt)) || !bytes.HasPrefix(without, []byte(proof.Magic)) {
		t.Error("the version does not tell files with a receipt from those without")
	}
	for name, raw := range map[string][]byte{
		"a receipt under version 0":  bytes.Replace(with, []byte(proof.MagicReceipt), []byte(proof.Magic), 1),
		"no receipt under version 1": bytes.Replace(without, []byte(proof.Magic), []byte(proof.MagicReceipt), 1),
	} {
		if _, err := proof.Parse(raw); err == nil {
			t.Errorf("took %s", name)
		}
	}
	bad := k.file(t, k.region.Roster(t), k.receipt(t, wordAt, tlog.Origin(k.region.ID, 1), "ada"))
	bad.Receipt.Note = []byte("x")
	if _, err := bad.Encode(); err == nil {
		t.Error("wrote a receipt without a note")
	}
}
