package verify_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/ledger/verify"
)

func names(signatures []verify.Signature) string {
	var out []string
	for _, s := range signatures {
		out = append(out, s.Name)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// Who signed decides what a checkpoint is worth.
func TestCheck(t *testing.T) {
	w := newWorld(t)
	p := w.policy(t)
	cp := w.checkpoint(t, entries(5, 6))
	for _, tt := range []struct {
		by                []string
		voters, witnesses string
		good, witnessed   bool
		foreign           int
		err               error
	}{
		{[]string{"ada"}, "ada", "", false, false, 0, nil},
		{[]string{"ada", "wim"}, "ada", "wim", false, false, 0, nil},
		{[]string{"ada", "bob"}, "ada bob", "", true, false, 0, nil},
		{[]string{"ada", "bob", "cyd"}, "ada bob cyd", "", true, false, 0, nil},
		{[]string{"bob", "cyd", "wim"}, "bob cyd", "wim", true, true, 0, nil},
		{[]string{"ada", "hal"}, "ada", "", false, false, 2, nil},
		{[]string{"ada", "bob", "hal"}, "ada bob", "", true, false, 2, nil},
		{[]string{"wim"}, "", "", false, false, 0, verify.ErrUnsigned},
		{[]string{"hal"}, "", "", false, false, 0, verify.ErrUnsigned},
	} {
		c, err := p.Check(w.sign(t, cp, tt.by...))
		if !errors.Is(err, tt.err) {
			t.Errorf("%v: error %v", tt.by, err)
		}
		if err != nil || tt.err != nil {
			continue
		}
		if names(c.Voters) != tt.voters || names(c.Witnesses) != tt.witnesses || c.Good != tt.good || c.Witnessed != tt.witnessed ||
			len(c.Foreign) != tt.foreign || c.Checkpoint != cp || c.VotersOf != 3 || c.Quorum != 2 || c.WitnessesOf != 1 || !c.Time.Equal(signedAt) {
			t.Errorf("%v: %+v", tt.by, c)
		}
	}
}

// A line counts only if it is what it claims.
func TestCheckRefuses(t *testing.T) {
	w := newWorld(t)
	p := w.policy(t)
	cp := w.checkpoint(t, entries(5, 6))
	good := w.sign(t, cp, "ada", "bob")
	other := cp
	other.Size = 4
	elsewhere := cp
	elsewhere.Origin = tlog.Origin(crypto.Region{}, 1)
	note := func(change func(n *tlog.Note)) []byte {
		n, err := tlog.ParseNote(good)
		if err != nil {
			t.Fatal(err)
		}
		change(n)
		return n.Bytes()
	}
	moved := func(line int) func(n *tlog.Note) { // the signature of another text
		n, err := tlog.ParseNote(w.sign(t, other, "ada", "bob"))
		if err != nil {
			t.Fatal(err)
		}
		return func(to *tlog.Note) { to.Lines[line].Sig = n.Lines[line].Sig }
	}
	for _, tt := range []struct {
		name string
		note []byte
		want error
	}{
		{"no note", []byte("x"), tlog.ErrNote},
		{"no checkpoint", note(func(n *tlog.Note) { n.Text = "hello\n" }), tlog.ErrNote},
		{"an extension line", note(func(n *tlog.Note) { n.Text += "more\n" }), tlog.ErrNote},
		{"another origin", w.sign(t, elsewhere, "ada", "bob"), verify.ErrOrigin},
		{"another text", note(func(n *tlog.Note) { n.Text = other.Text() }), tlog.ErrLine},
		{"the log signature of another text", note(moved(0)), tlog.ErrLine},
		{"the ML-DSA-44 cosignature of another text", note(moved(1)), tlog.ErrLine},
		{"one voter's cosignature under another's key", note(func(n *tlog.Note) { n.Lines[1].Sig = n.Lines[3].Sig }), tlog.ErrLine},
		{"another time", note(func(n *tlog.Note) { n.Lines[1].Sig[7] ^= 1 }), tlog.ErrLine},
		{"a time beyond all", note(func(n *tlog.Note) { n.Lines[1].Sig[0] = 0x7f }), tlog.ErrLine},
		{"a cosignature cut short", note(func(n *tlog.Note) { n.Lines[1].Sig = n.Lines[1].Sig[:100] }), tlog.ErrLine},
		{"the log signatures alone", note(func(n *tlog.Note) { n.Lines = []tlog.Line{n.Lines[0], n.Lines[2]} }), verify.ErrUnsigned},
	} {
		if c, err := p.Check(tt.note); !errors.Is(err, tt.want) {
			t.Errorf("%s: %+v, error %v", tt.name, c, err)
		}
	}
	// Without its log signature a voter still counts: ours is the ML-DSA-44 line.
	c, err := p.Check(note(func(n *tlog.Note) { n.Lines = []tlog.Line{n.Lines[1], n.Lines[3]} }))
	if err != nil || !c.Good {
		t.Errorf("%+v, error %v", c, err)
	}
}

// Charter, revocation and time decide whose signature counts.
func TestPolicyOf(t *testing.T) {
	w := newWorld(t)
	cp := w.checkpoint(t, entries(5, 6))
	all := w.sign(t, cp, "ada", "bob", "cyd", "wim")
	late := w.signAt(t, cp, time.UnixMilli(testkit.Forever).Add(trust.Grace+time.Second), "ada", "bob", "cyd")
	revoked := func(t *testing.T, roster *trust.Roster, name string) {
		t.Helper()
		st, err := trust.Revoking(w.Charter, w.member(name).Credential, nil, signedAt.UnixMilli())
		if err != nil {
			t.Fatal(err)
		}
		records, err := trust.Act(w.Charter, []*crypto.PrivateKey{w.Admission}, signedAt.UnixMilli(), st)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := roster.AddAll(records); err != nil {
			t.Fatal(err)
		}
	}
	check := func(t *testing.T, p *verify.Policy, note []byte, voters, witnesses string, good bool) {
		t.Helper()
		c, err := p.Check(note)
		if voters == "" && errors.Is(err, verify.ErrUnsigned) {
			return
		}
		if err != nil || names(c.Voters) != voters || names(c.Witnesses) != witnesses || c.Good != good || len(c.Foreign) != 0 {
			t.Errorf("%+v, error %v", c, err)
		}
	}
	t.Run("all", func(t *testing.T) { check(t, w.policy(t), all, "ada bob cyd", "wim", true) })
	t.Run("signed after the credentials' end and grace", func(t *testing.T) { check(t, w.policy(t), late, "", "", false) })
	t.Run("one revoked", func(t *testing.T) {
		roster := w.Roster(t)
		revoked(t, roster, "ada")
		check(t, policyOf(t, roster, w.ID, 1), all, "bob cyd", "wim", true)
	})
	t.Run("two revoked", func(t *testing.T) { // the quorum is the charter's, whoever is left
		roster := w.Roster(t)
		revoked(t, roster, "ada")
		revoked(t, roster, "bob")
		check(t, policyOf(t, roster, w.ID, 1), all, "cyd", "wim", false)
	})
	t.Run("the witness revoked", func(t *testing.T) {
		roster := w.Roster(t)
		revoked(t, roster, "wim")
		p := policyOf(t, roster, w.ID, 1)
		check(t, p, all, "ada bob cyd", "", true)
		if c, err := p.Check(all); err != nil || c.Witnessed {
			t.Errorf("%+v, error %v", c, err)
		}
	})
	t.Run("the credentials not known", func(t *testing.T) {
		roster := trust.NewRoster(w.ID)
		if _, err := roster.AddAll([][]byte{w.Records[0], w.member("ada").Record, w.member("wim").Record}); err != nil {
			t.Fatal(err)
		}
		c, err := policyOf(t, roster, w.ID, 1).Check(all)
		if err != nil || names(c.Voters) != "ada" || c.Quorum != 2 || c.Good || len(c.Foreign) != 4 {
			t.Errorf("%+v, error %v", c, err)
		}
	})
	t.Run("superseded", func(t *testing.T) {
		roster := w.Roster(t)
		revoked(t, roster, "ada")
		id, err := keyfile.NewIdentity(testkit.Random("ada's new key"))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := trust.NewRequest(id, "ada", nil)
		if err != nil {
			t.Fatal(err)
		}
		request, err := trust.ParseRequest(raw)
		if err != nil {
			t.Fatal(err)
		}
		records, err := trust.Admit(w.Charter, []*crypto.PrivateKey{w.Admission}, []trust.Grant{{
			Request: request, Role: trust.RoleCoordinator, Serial: 2, Member: w.member("ada").ID, NotBefore: testkit.Founded, NotAfter: testkit.Forever,
		}}, testkit.Founded)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := roster.AddAll(records); err != nil {
			t.Fatal(err)
		}
		p := policyOf(t, roster, w.ID, 1)
		check(t, p, all, "bob cyd", "wim", true) // the line of the old key is known, and does not count
		note, err := tlog.Sign(cp, tlog.Cosigner(w.ID, w.member("ada").ID), crypto.NewLedgerKey(id.Signing), tlog.Voter, signedAt)
		if err != nil {
			t.Fatal(err)
		}
		both, err := tlog.Merge(w.sign(t, cp, "ada", "bob"), note)
		if err != nil {
			t.Fatal(err)
		}
		check(t, p, both, "ada bob", "", true)
		var serials []uint32
		for _, c := range roster.Serials(w.ID, w.member("ada").ID) {
			serials = append(serials, c.Serial)
		}
		if !slices.Equal(serials, []uint32{2, 1}) || roster.Serials(crypto.Region{1}, w.member("ada").ID) != nil {
			t.Errorf("serials %v", serials)
		}
	})
	t.Run("later charters", func(t *testing.T) {
		w := newWorld(t)
		w.Amend(t, func(c *trust.Charter) { c.Voters = []crypto.MemberID{w.member("bob").ID} })
		check(t, w.policy(t), all, "bob", "wim", true) // what ada and cyd signed is known, and does not count
		w.Amend(t, func(c *trust.Charter) { c.Ledger, c.Witnesses = 2, nil })
		check(t, w.policy(t), all, "bob", "wim", true)
		p := policyOf(t, w.Roster(t), w.ID, 2)
		if _, err := p.Check(all); !errors.Is(err, verify.ErrOrigin) {
			t.Errorf("of the epoch before: %v", err)
		}
		second := cp
		second.Origin = tlog.Origin(w.ID, 2)
		if c, err := p.Check(w.sign(t, second, "bob")); err != nil || !c.Good || c.Witnessed || p.Origin() != second.Origin {
			t.Errorf("%+v, error %v", c, err)
		}
		for _, epoch := range []uint32{0, 3} {
			if _, err := verify.PolicyOf(w.Roster(t), w.ID, epoch); err == nil {
				t.Errorf("epoch %d has a policy", epoch)
			}
		}
		if _, err := verify.PolicyOf(w.Roster(t), crypto.Region{1}, 1); err == nil {
			t.Error("an unknown region has a policy")
		}
	})
}

// A member counts once, and so does a key, whoever claims it.
func TestEachCountsOnce(t *testing.T) {
	w := newWorld(t)
	cp := w.checkpoint(t, entries(5, 6))
	ada := w.member("ada")
	public := func(name string) crypto.LedgerPublic { return crypto.NewLedgerKey(w.member(name).Signing).Public() }
	voter := func(id crypto.MemberID, public crypto.LedgerPublic) verify.Signer {
		return verify.Signer{Member: id, Name: "x", Ledger: public, Voter: true}
	}
	note, err := tlog.Sign(cp, tlog.Cosigner(w.ID, ada.ID), crypto.NewLedgerKey(w.member("bob").Signing), tlog.Voter, signedAt)
	if err != nil {
		t.Fatal(err)
	}
	two, err := tlog.Merge(w.sign(t, cp, "ada"), note)
	if err != nil {
		t.Fatal(err)
	}
	stolen, err := tlog.Sign(cp, tlog.Cosigner(w.ID, w.member("bob").ID), crypto.NewLedgerKey(ada.Signing), tlog.Witness, signedAt)
	if err != nil {
		t.Fatal(err)
	}
	three, err := tlog.Merge(w.sign(t, cp, "ada"), stolen)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		signers []verify.Signer
		note    []byte
	}{
		{"two serials of one member", []verify.Signer{voter(ada.ID, public("ada")), voter(ada.ID, public("bob"))}, two},
		{"one key of two members", []verify.Signer{voter(ada.ID, public("ada")), voter(w.member("bob").ID, public("ada"))}, three},
	} {
		p, err := verify.NewPolicy(w.origin, 3, 0, tt.signers)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := p.Check(tt.note); err != nil || len(c.Voters) != 1 || c.Good {
			t.Errorf("%s: %+v, error %v", tt.name, c, err)
		}
	}
}

func TestNewPolicyRefuses(t *testing.T) {
	w := newWorld(t)
	for name, make := range map[string]func() (*verify.Policy, error){
		"an origin of others": func() (*verify.Policy, error) { return verify.NewPolicy("example.com/log", 3, 0, nil) },
		"no voters":           func() (*verify.Policy, error) { return verify.NewPolicy(w.origin, 0, 0, nil) },
		"no keys": func() (*verify.Policy, error) {
			return verify.NewPolicy(w.origin, 1, 0, []verify.Signer{{Voter: true}})
		},
	} {
		if p, err := make(); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// A quorum is more than half, so that two always share a voter.
func TestQuorum(t *testing.T) {
	w := newWorld(t)
	for voters, want := range map[int]int{1: 1, 2: 2, 3: 2, 4: 3, 5: 3} {
		p, err := verify.NewPolicy(w.origin, voters, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		if of, quorum := p.Quorum(); of != voters || quorum != want {
			t.Errorf("%d of %d, want %d of %d", quorum, of, want, voters)
		}
	}
}

// The keys that are told to others verify what is signed.
func TestKeys(t *testing.T) {
	w := newWorld(t)
	n, err := tlog.ParseNote(w.sign(t, w.checkpoint(t, entries(5, 6)), "ada", "bob", "cyd", "wim"))
	if err != nil {
		t.Fatal(err)
	}
	keys := w.policy(t).Keys()
	if len(keys) != 8 {
		t.Fatalf("%d keys", len(keys))
	}
	for _, vkey := range keys {
		k, err := tlog.ParseKey(vkey)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Verify(n); err != nil {
			t.Errorf("%s: %v", vkey, err)
		}
	}
}

// What a policy does not know is left out, and all else stays.
func TestTrim(t *testing.T) {
	w := newWorld(t)
	cp := w.checkpoint(t, entries(3, 6))
	p := w.policy(t)
	raw := w.sign(t, cp, "ada", "hal", "wim")
	n, err := tlog.ParseNote(raw)
	if err != nil || len(n.Lines) != 6 {
		t.Fatalf("%d lines, error %v", len(n.Lines), err)
	}
	n.Lines = slices.Delete(n.Lines, 2, 4) // hal's
	known := n.Bytes()
	if got := p.Trim(raw); !bytes.Equal(got, known) {
		t.Errorf("with a stranger's lines:\n%s", got)
	}
	if got := p.Trim(known); !bytes.Equal(got, known) {
		t.Errorf("with none:\n%s", got)
	}
}
