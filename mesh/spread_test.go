package mesh_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
)

// counted makes a node count, and returns what it has counted of its trust records.
func counted(c *mesh.Config) func(result string) int {
	registry := prometheus.NewRegistry()
	c.Registerer = registry
	return func(result string) int {
		families, err := registry.Gather()
		if err != nil {
			panic(err)
		}
		for _, f := range families {
			for _, x := range f.GetMetric() {
				if f.GetName() == "watchward_trust_records_total" && x.GetLabel()[0].GetValue() == result {
					return int(x.GetCounter().GetValue())
				}
			}
		}
		return 0
	}
}

// wireCredential is a credential's record, to be broken.
type wireCredential struct {
	Credential []byte        `cbor:"1,keyasint"`
	Index      uint32        `cbor:"2,keyasint"`
	Path       []crypto.Hash `cbor:"3,keyasint,omitempty"`
	Batch      []byte        `cbor:"4,keyasint"`
	Signatures []struct {
		Signer crypto.Hash `cbor:"1,keyasint"`
		Bytes  []byte      `cbor:"2,keyasint"`
	} `cbor:"5,keyasint"`
}

type wireRecord struct {
	Type    uint8  `cbor:"1,keyasint"`
	Payload []byte `cbor:"2,keyasint"`
}

func pack(t *testing.T, kind uint8, payload any) []byte {
	t.Helper()
	inner, err := canon.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := canon.Marshal(wireRecord{kind, inner})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// broken changes a credential's record.
func broken(t *testing.T, raw []byte, change func(*wireCredential)) []byte {
	t.Helper()
	var r wireRecord
	var c wireCredential
	if err := canon.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	if err := canon.Unmarshal(r.Payload, &c); err != nil {
		t.Fatal(err)
	}
	change(&c)
	return pack(t, r.Type, c)
}

func knows(n *node, m *testkit.Member) bool {
	_, ok := n.roster.Member(m.Credential.Region, m.ID, m.Credential.Serial)
	return ok
}

// Twenty nodes in a row, each of which knows its neighbours alone: a new member
// is known at the far end as fast as gossip goes. Sync would take half a minute a
// hop.
func TestTrustRecordGoesFromHopToHop(t *testing.T) {
	t.Parallel()
	const hops = 20
	var names []string
	for i := range hops {
		names = append(names, fmt.Sprintf("hospital %02d", i))
	}
	r := testkit.NewRegion(t, names...)
	records := slices.Clone(r.Records)
	newcomer := r.Admit(t, "newcomer")[0]
	var row []*node
	var counts []func(string) int
	for i := range hops {
		row = append(row, start(t, r, i, func(c *mesh.Config) {
			roster := trust.NewRoster(r.ID)
			near := append([][]byte{records[0]}, records[1+max(i-1, 0):1+min(i+2, hops)]...)
			if _, err := roster.AddAll(near); err != nil {
				t.Fatal(err)
			}
			p := newMemory(roster)
			p.strangers = true
			p.takes = func(raw []byte) bool { return bytes.Equal(raw, newcomer.Record) }
			c.Path = p
			if i > 0 {
				seed(row[i-1])(c)
			}
			counts = append(counts, counted(c))
		}))
	}
	relays := func(from, to *node) { // by the one between them, to whom from is unknown
		before := to.refused("credential")
		await(t, "gossip over two hops", func() bool {
			from.say(t, crypto.Header{Audience: crypto.AudienceCommunity}, []byte("are you there?"))
			time.Sleep(10 * time.Millisecond)
			return to.refused("credential") > before
		})
	}
	for i := range hops - 2 {
		relays(row[i], row[i+2])
		relays(row[i+2], row[i])
	}
	began := time.Now()
	if err := row[0].AddTrust(t.Context(), [][]byte{newcomer.Record}); err != nil {
		t.Fatal(err)
	}
	await(t, "known at the far end", func() bool { return knows(row[hops-1], newcomer) })
	t.Logf("%d hops took %s", hops-1, time.Since(began))
	for i, n := range row {
		if !knows(n, newcomer) {
			t.Errorf("node %d does not know it", i)
		}
		if got := counts[i]("accepted"); i > 0 && got != 1 {
			t.Errorf("node %d took %d records from gossip", i, got)
		}
	}
}

// What no honest peer relays is its sender's blame, and goes no further.
func TestBadTrustRecordsAreTheSendersBlame(t *testing.T) {
	r := testkit.NewRegion(t, "victim", "other", "malformed", "forger", "alone", "misplacing", "elsewhere")
	known := slices.Clone(r.Records)
	newcomer := r.Admit(t, "newcomer")[0]
	var log lines
	start := func(member int, change func(*mesh.Config)) *node {
		return start(t, r, member, func(c *mesh.Config) {
			roster := trust.NewRoster(r.ID)
			if _, err := roster.AddAll(known); err != nil {
				t.Fatal(err)
			}
			c.Roster = roster
			if change != nil {
				change(c)
			}
		})
	}
	victim := start(0, func(c *mesh.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	var otherLog lines
	other := start(1, both(spoke(victim), func(c *mesh.Config) { c.Log = slog.New(slog.NewTextHandler(&otherLog, nil)) }))
	awaitGossip(t, victim, other)
	root := victim.roster.Root()
	for i, c := range []struct {
		raw      []byte
		audience crypto.Audience
	}{
		{append([]byte{0xa2, 1, 2, 2}, "no record"...), crypto.AudienceCommunity},
		{broken(t, newcomer.Record, func(c *wireCredential) { c.Signatures[0].Bytes[200] ^= 1 }), crypto.AudienceCommunity},
		{broken(t, newcomer.Record, func(c *wireCredential) { c.Signatures = c.Signatures[:0] }), crypto.AudienceCommunity},
		{newcomer.Record, crypto.AudienceRegion},
	} {
		bad := r.Members[2+i]
		topic := hostile(t, bad, victim, topicName(r, c.audience))[0]
		if err := topic.Publish(t.Context(), c.raw); err != nil {
			t.Fatal(err)
		}
		id, err := peer.IDFromBytes(bad.Credential.Peer)
		if err != nil {
			t.Fatal(err)
		}
		await(t, bad.Credential.Name+" named", func() bool { return log.with("refused", id.String()) == 1 })
	}
	awaitGossip(t, victim, other)
	if otherLog.with("refused") > 0 {
		t.Errorf("bad records were relayed: %v", otherLog.text)
	}
	if victim.roster.Root() != root {
		t.Error("a bad record is in the roster")
	}
	// Nothing of it counts as seen.
	if err := victim.AddTrust(t.Context(), [][]byte{newcomer.Record}); err != nil {
		t.Fatal(err)
	}
	await(t, "the good one at the other", func() bool { return knows(other, newcomer) })
}

// Who brings a record that stands on others which are not here, or one of a later
// version, is not to blame. The first is asked for those others.
func TestEarlyTrustRecordBeginsSync(t *testing.T) {
	r := testkit.NewRegion(t, "victim", "relay", "later version")
	known := slices.Clone(r.Records)
	author := r.Admit(t, "author")[0]
	header := crypto.Header{Time: now()}
	proof, err := trust.NewForkProof(author.Envelope(t, header, nil, []byte("one")).Bare(), author.Envelope(t, header, nil, []byte("two")).Bare())
	if err != nil {
		t.Fatal(err)
	}
	var log lines
	victim := start(t, r, 0, func(c *mesh.Config) {
		c.Roster = trust.NewRoster(r.ID)
		if _, err := c.Roster.AddAll(known); err != nil {
			t.Fatal(err)
		}
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	h := bare(t, r.Members[1].PeerSeed)
	topic := join(t, h, r.Members[1], victim, topicName(r, crypto.AudienceCommunity))[0]
	asked := make(chan struct{}, 100)
	h.SetStreamHandler("/watchward/sync/0", func(s network.Stream) {
		asked <- struct{}{}
		_ = s.Reset()
	})
	if err := topic.Publish(t.Context(), proof); err != nil {
		t.Fatal(err)
	}
	select {
	case <-asked:
	case <-time.After(patience):
		t.Fatal("it was not asked")
	}
	later := hostile(t, r.Members[2], victim, topicName(r, crypto.AudienceCommunity))[0]
	const enough = 8 // that a peer is no longer heard if it is to blame
	for i := range enough {
		proof, err := trust.NewForkProof(author.Envelope(t, header, nil, []byte("one")).Bare(), author.Envelope(t, header, nil, []byte{byte(i)}).Bare())
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(topic.Publish(t.Context(), proof), later.Publish(t.Context(), pack(t, 23, i))); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "all of a later version looked at", func() bool { return log.with("trust record refused") == enough })
	for i, name := range []string{"one", "another"} {
		newcomer := r.Admit(t, name)[0]
		if err := []*pubsub.Topic{topic, later}[i].Publish(t.Context(), newcomer.Record); err != nil {
			t.Fatal(err)
		}
		await(t, "a good record of the same peer", func() bool { return knows(victim, newcomer) })
	}
}

// A region that admits many at once does not flood: gossip says a few of them, and
// what is pressing all the same.
func TestManyNewMembersDoNotFlood(t *testing.T) {
	r := testkit.NewRegion(t, "a", "b")
	known := slices.Clone(r.Records)
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprint("newcomer ", i))
	}
	admitted := r.Admit(t, names...)
	header := crypto.Header{Time: now()}
	forker := r.Members[0]
	proof, err := trust.NewForkProof(forker.Envelope(t, header, nil, []byte("one")).Bare(), forker.Envelope(t, header, nil, []byte("two")).Bare())
	if err != nil {
		t.Fatal(err)
	}
	var said, took func(string) int
	few := func(c *mesh.Config) {
		c.Roster = trust.NewRoster(r.ID)
		if _, err := c.Roster.AddAll(known); err != nil {
			t.Fatal(err)
		}
	}
	a := start(t, r, 0, both(few, func(c *mesh.Config) { said = counted(c) }))
	b := start(t, r, 1, both(few, spoke(a), func(c *mesh.Config) { took = counted(c) }))
	awaitGossip(t, a, b)
	var news [][]byte
	for _, m := range admitted {
		news = append(news, m.Record)
	}
	if err := a.AddTrust(t.Context(), append(news, proof)); err != nil {
		t.Fatal(err)
	}
	await(t, "the fork proof at b", func() bool { return len(b.roster.Forks()) == 1 })
	await(t, "the others are left to sync", func() bool { return said("left") == 100-16 })
	await(t, "what was said", func() bool { return took("accepted") == 16+1 })
	if n := said("said"); n != 16+1 {
		t.Errorf("%d records were said", n)
	}
	syncNow(t, b, a)
	if a.roster.Root() != b.roster.Root() {
		t.Error("sync did not bring the others")
	}
}

// A member that brings more records than anybody verifies cannot keep others from
// bringing one, although gossip asks about each message once.
func TestTooManyTrustRecordsCensorNobody(t *testing.T) {
	r := testkit.NewRegion(t, "victim", "honest", "hostile")
	known := slices.Clone(r.Records)
	newcomer := r.Admit(t, "newcomer")[0]
	few := func(c *mesh.Config) {
		c.Roster = trust.NewRoster(r.ID)
		if _, err := c.Roster.AddAll(known); err != nil {
			t.Fatal(err)
		}
	}
	var took func(string) int
	victim := start(t, r, 0, both(few, func(c *mesh.Config) { took = counted(c) }))
	honest := start(t, r, 1, both(few, spoke(victim)))
	awaitGossip(t, honest, victim)
	topic := hostile(t, r.Members[2], victim, topicName(r, crypto.AudienceCommunity))[0]
	for i := 0; took("left") == 0; i++ {
		if err := topic.Publish(t.Context(), pack(t, 23, i)); err != nil {
			t.Fatal(err)
		}
		if i%64 == 0 {
			time.Sleep(10 * time.Millisecond)
		}
	}
	before := took("left")
	await(t, "its genuine record is left too", func() bool {
		if err := topic.Publish(t.Context(), newcomer.Record); err != nil {
			t.Fatal(err)
		}
		return took("left") > before
	})
	if knows(victim, newcomer) {
		t.Fatal("it was looked at")
	}
	if err := honest.AddTrust(t.Context(), [][]byte{newcomer.Record}); err != nil {
		t.Fatal(err)
	}
	await(t, "the record that an honest one brings", func() bool { return knows(victim, newcomer) })
}

// A charter that seven have signed is too large for gossip: sync brings it at once.
// And since its region does not hear this one yet, its members alone are told.
func TestLargeCharterGoesBySync(t *testing.T) {
	r := testkit.NewRegion(t, "a", "b", "c", "d")
	charter, region := charterOfSeven(t)
	if len(charter) <= mesh.GossipMax {
		t.Fatalf("a charter of %d bytes", len(charter))
	}
	list, err := trust.Endorse(r.Charter, []*crypto.PrivateKey{r.Admission}, nil, []crypto.Region{region}, testkit.Founded)
	if err != nil {
		t.Fatal(err)
	}
	var row []*node
	for i := range r.Members {
		var change func(*mesh.Config)
		if i > 0 {
			change = seed(row[i-1])
		}
		row = append(row, start(t, r, i, change))
	}
	awaitPeers(t, 3, row...)
	for _, n := range row[1:] {
		awaitGossip(t, row[0], n)
	}
	began := time.Now()
	if err := row[0].AddTrust(t.Context(), [][]byte{charter, list}); err != nil {
		t.Fatal(err)
	}
	for _, n := range row {
		await(t, "the charter", func() bool { return n.roster.CharterOf(region) != nil })
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	} else {
		t.Logf("it took %s", took)
	}
}

func charterOfSeven(t *testing.T) ([]byte, crypto.Region) {
	t.Helper()
	var keys []*crypto.PrivateKey
	c := trust.Charter{Name: "large", Created: testkit.Founded, Threshold: 4}
	for i := range trust.CoordinatorsMax {
		key, err := crypto.GenerateKey(testkit.Random(fmt.Sprint("coordinator ", i)))
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
		c.Coordinators = append(c.Coordinators, trust.Coordinator{Name: fmt.Sprint("coordinator ", i), Key: key.Public().Bytes()})
	}
	found, charter, err := trust.Found(c)
	if err != nil {
		t.Fatal(err)
	}
	records, err := trust.Act(nil, keys, testkit.Founded, found)
	if err != nil {
		t.Fatal(err)
	}
	return records[0], charter.Region()
}
