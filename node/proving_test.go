package node_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/proof"
)

// proves asks for a notice's file and verifies it as a stranger would.
func (h *hospital) proves(t testing.TB, id string, ceiling notice.TLP, known proof.Known) *proof.Proven {
	t.Helper()
	raw, found, err := h.ProofFile(t.Context(), id, ceiling)
	if err != nil || !found {
		t.Fatalf("found %v, error %v", found, err)
	}
	f, err := proof.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	p, err := proof.Verify(f, known)
	if err != nil {
		t.Fatal(err)
	}
	if p.ID.String() != id {
		t.Fatalf("proves %s, not %s", p.ID, id)
	}
	return p
}

// regionFile is the node's own word of its region, as a stranger reads it.
func (h *hospital) regionFile(t testing.TB) proof.Known {
	t.Helper()
	raw, err := h.RegionFile(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	r, err := proof.ParseRegion(raw)
	if err != nil {
		t.Fatal(err)
	}
	return proof.Known{Region: &r.Region, Records: r.Records}
}

// Own and foreign words, of both audiences, prove themselves.
func TestProofFile(t *testing.T) {
	b := newBench(t)
	b.alone(t)
	said := func(h crypto.Header, value string) string {
		h.Time = b.clock.now()
		e := b.author.Envelope(t, h, nil, b.item(t, "first-"+value), b.item(t, value), b.item(t, "third-"+value))
		b.takes(t, e, mesh.ViaGossip)
		return itemID(t, e, 1)
	}
	foreignAmber := said(crypto.Header{}, "amber.example")
	foreignGreen := said(crypto.Header{Audience: crypto.AudienceCommunity, TLP: uint8(notice.TLPGreen)}, "green.example")
	own := b.submit(t, green, sighting("own.example", b.clock.now()))[0].ID
	ownAmber := b.submit(t, amber, sighting("own-amber.example", b.clock.now()))[0].ID
	for _, id := range []string{own, ownAmber} {
		eventually(t, "it is signed", func() bool { v, _ := b.notice(t, id); return v.State != api.StateWaiting })
	}
	known := b.regionFile(t)
	for id, want := range map[string]struct {
		value, author string
		audience      crypto.Audience
	}{
		foreignAmber: {"amber.example", "author", crypto.AudienceRegion},
		foreignGreen: {"green.example", "author", crypto.AudienceCommunity},
		own:          {"own.example", "here", crypto.AudienceCommunity},
		ownAmber:     {"own-amber.example", "here", crypto.AudienceRegion},
	} {
		p := b.proves(t, id, 0, known)
		if p.Notice.Indicator.Value != want.value || p.Author.Name != want.author || p.Header.Audience != want.audience || p.Header.Region != b.region.ID {
			t.Errorf("%s proves %+v", want.value, p)
		}
	}
	b.proves(t, foreignGreen, notice.TLPGreen, known)
	if raw, found, err := b.ProofFile(t.Context(), foreignAmber, notice.TLPGreen); raw != nil || found || err != nil {
		t.Errorf("AMBER under a ceiling of GREEN: %d bytes, found %v, error %v", len(raw), found, err)
	}

	// What is proven against an author goes with its word.
	twin := b.author.Envelope(t, crypto.Header{Time: b.clock.now()}, nil, b.item(t, "twin.example"))
	if err := b.bring(t.Context(), twin.Raw, mesh.ViaGossip, crypto.AudienceRegion); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the fork is proven", func() bool { return b.proves(t, foreignAmber, 0, known).Fork != nil })
	if b.proves(t, foreignGreen, 0, known).Fork != nil {
		t.Error("a fork among AMBER words is told beside a GREEN one")
	}
}

// What a member said before its key was revoked still proves itself.
func TestProofOfTheRevoked(t *testing.T) {
	b := newBench(t)
	b.alone(t)
	chain := []*crypto.Envelope{nil}
	for i := range 5 {
		e := b.author.Envelope(t, crypto.Header{Time: b.clock.now()}, chain[i], b.item(t, fmt.Sprintf("v%d.example", i+1)))
		b.takes(t, e, mesh.ViaGossip)
		chain = append(chain, e)
	}
	cut := chain[4]
	st, err := trust.Revoking(b.region.Charter, b.author.Credential, []trust.Cut{{Audience: crypto.AudienceRegion, Epoch: 1, Seq: 4, ID: cut.ID}}, b.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	records, err := trust.Act(b.region.Charter, []*crypto.PrivateKey{b.region.Admission}, b.clock.now(), st)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Path().AddTrust(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 4; i++ {
		if p := b.proves(t, itemID(t, chain[i], 0), 0, proof.Known{}); !p.Revoked {
			t.Errorf("number %d does not say that its author is revoked", i)
		}
	}
	raw, found, err := b.ProofFile(t.Context(), itemID(t, chain[5], 0), 0)
	if err != nil || !found {
		return // the node does not show it any more
	}
	f, err := proof.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := proof.Verify(f, proof.Known{}); err == nil {
		t.Error("what lies after the cut is proven")
	}
}

func TestNoProofFile(t *testing.T) {
	b := newBench(t)
	b.alone(t)
	at := b.clock.now()
	for name, id := range map[string]string{
		"local":    b.submit(t, local, sighting("local.example", at))[0].ID,
		"RED here": b.submit(t, api.SubmitOptions{Local: true, TLP: notice.TLPRed}, sighting("red.example", at))[0].ID,
	} {
		raw, found, err := b.ProofFile(t.Context(), id, 0)
		if refusal := (*api.NoProof)(nil); raw != nil || !found || !errors.As(err, &refusal) || refusal.Fix == "" {
			t.Errorf("%s: %d bytes, found %v, error %v", name, len(raw), found, err)
		}
	}
	if _, found, err := b.ProofFile(t.Context(), "0000000000000000000000000000000000000000", 0); found || err != nil {
		t.Errorf("of no notice: found %v, error %v", found, err)
	}
	if _, _, err := b.ProofFile(t.Context(), "xyz", 0); err == nil {
		t.Error("takes an id that is none")
	}
}

// A region's file is an admission; one that runs says where it is.
func TestRegionFile(t *testing.T) {
	b := newBench(t)
	b.alone(t)
	files := map[bool][][]byte{}
	for _, members := range []bool{false, true} {
		running, err := b.RegionFile(t.Context(), members)
		if err != nil {
			t.Fatal(err)
		}
		files[members] = append(files[members], running)
	}
	seeds := [][]string{b.MeshAddrs(), {}}
	b.stop(t)
	for _, members := range []bool{false, true} {
		stopped, err := node.RegionFile(b.dir, members)
		if err != nil {
			t.Fatal(err)
		}
		for i, raw := range append(files[members], stopped) {
			a, roster, err := node.ParseAdmission(raw)
			if err != nil || !slices.Equal(a.Seeds, seeds[i]) || (len(roster.Members(a.Region)) == 3) != members {
				t.Errorf("members %v: seeds %v, error %v", members, a.Seeds, err)
			}
		}
	}
}

// A word of another region is proven to whoever trusts a region that endorses it.
func TestProofOfAnotherRegion(t *testing.T) {
	a, b := makeRegions(t, 1)
	a.endorse(t, b)
	b.endorse(t, a)
	a.run(t)
	b.run(t)
	here, there := a.hospitals[0], b.hospitals[0]
	if err := here.Mesh().AddSeeds(there.MeshAddrs()); err != nil {
		t.Fatal(err)
	}
	id := there.submit(t, green, sighting("far.example", here.clock.now()))[0].ID
	eventually(t, "the word arrives", func() bool { return here.knows(t, "far.example") })
	p := here.proves(t, id, 0, here.regionFile(t))
	if p.Endorser == nil || p.Trusted != here.regionID(t) || p.Header.Region != there.regionID(t) {
		t.Errorf("proves %+v", p)
	}
	if p = here.proves(t, id, 0, there.regionFile(t)); p.Endorser != nil {
		t.Errorf("proves %+v", p)
	}
	raw, _, err := here.ProofFile(t.Context(), id, 0)
	if err != nil {
		t.Fatal(err)
	}
	f, err := proof.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	roster := trust.NewRoster(f.Envelope.Header.Region)
	if _, err := roster.AddAll(f.Records); err != nil || roster.Endorsements(roster.Region()) != nil {
		t.Errorf("the file says whom its region endorses, error %v", err)
	}
	trusted := here.regionID(t)
	_, err = proof.Verify(f, proof.Known{Region: &trusted})
	if failed := (*proof.Failure)(nil); !errors.As(err, &failed) || failed.Step != proof.StepRegion {
		t.Errorf("without the endorsement: %v", err)
	}
}
