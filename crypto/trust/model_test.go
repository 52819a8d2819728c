package trust_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/trust"
)

func mustUnmarshal[T any](raw []byte) T {
	var v T
	return mustUnmarshalTo(raw, v)
}

func mustUnmarshalTo[T any](raw []byte, v T) T {
	if err := canon.Unmarshal(raw, &v); err != nil {
		panic(err)
	}
	return v
}

// resign changes the signatures of a finished record.
func resign(raw []byte, change func([]wireSignature) []wireSignature) []byte {
	outer := mustUnmarshal[wireRecord](raw)
	var inner any
	switch outer.Type {
	case 2:
		c := mustUnmarshal[wireCredential](outer.Payload)
		c.Signatures = change(c.Signatures)
		inner = c
	default: // charters, revocations and lists have one form
		c := mustUnmarshal[wireCharter](outer.Payload)
		c.Signatures = change(c.Signatures)
		inner = c
	}
	payload, err := canon.Marshal(inner)
	if err != nil {
		panic(err)
	}
	out, err := canon.Marshal(wireRecord{outer.Type, payload})
	if err != nil {
		panic(err)
	}
	return out
}

// The model says in the plainest way what a roster that was given everything must
// answer about a region.
type model struct {
	w      *world
	proven map[string]bool // ids of statements that enough have signed
	known  map[string]bool // charters
}

func (w *world) model() model {
	m := model{w, map[string]bool{}, map[string]bool{"A1": true, "B1": true, "C1": true}}
	for range w.proposals { // a charter may stand on one that another proposal makes
		for _, p := range w.proposals {
			if !m.readable(p) || !m.complete(p) {
				continue
			}
			for _, s := range p.statements {
				m.proven[s.id] = true
				if s.makes != "" {
					m.known[s.makes] = true
				}
			}
		}
	}
	return m
}

func (m model) readable(p *proposed) bool {
	made := map[string]bool{}
	for _, s := range p.statements {
		if !m.known[s.charter] && !made[s.charter] {
			return false
		}
		made[s.makes] = true
	}
	return true
}

func (m model) met(p *proposed, charter string) bool {
	c, n := m.w.charters[charter], 0
	for _, o := range c.Coordinators {
		if p.signed[o.Name] {
			n++
		}
	}
	return n >= int(c.Threshold)
}

func (m model) complete(p *proposed) bool {
	return !slices.ContainsFunc(p.statements, func(s stated) bool {
		return !m.met(p, s.charter) || s.makes != "" && !m.met(p, s.makes)
	})
}

func (m model) all(region string, verbs ...string) (out []stated) {
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(m.w.proposals)) {
		for _, s := range m.w.proposals[name].statements {
			if m.proven[s.id] && !seen[s.id] && m.w.region(s.charter) == region && slices.Contains(verbs, s.verb) {
				seen[s.id] = true
				out = append(out, s)
			}
		}
	}
	return out
}

func (m model) chain(region string) (chain []string) {
	next := region + "1"
	for next != "" {
		chain = append(chain, next)
		at := next
		next = ""
		for _, s := range m.all(region, "charter") {
			a := m.w.charters[s.makes].Hash()
			if s.charter != at {
				continue
			}
			if next == "" || bytes.Compare(a[:], hashOf(m.w.charters[next])) < 0 {
				next = s.makes
			}
		}
	}
	return chain
}

func hashOf(c *trust.Charter) []byte { h := c.Hash(); return h[:] }

// counting returns the charters of the chain whose admissions and lists count.
func (m model) counting(region string) (out []string) {
	bad := map[string]bool{}
	chain := m.chain(region)
	for _, s := range m.all(region, "charter") {
		if slices.Contains(chain, s.makes) {
			for _, k := range s.distrust {
				bad[k] = true
			}
		}
	}
	for _, name := range chain {
		n := 0
		for _, o := range m.w.charters[name].Coordinators {
			if bad[o.Name] {
				n++
			}
		}
		if n < int(m.w.charters[name].Threshold) {
			out = append(out, name)
		}
	}
	return out
}

func (m model) members(region string) map[string]bool {
	out, counting := map[string]bool{}, m.counting(region)
	for _, s := range m.all(region, "admit", "renew") {
		for _, person := range s.people {
			if slices.Contains(counting, s.charter) {
				out[person] = true
			}
		}
	}
	return out
}

func (m model) revoked(region string) map[string][2]uint64 {
	out := map[string][2]uint64{}
	for _, s := range m.all(region, "revoke") {
		cuts, again := out[s.people[0]]
		for i := range cuts {
			if !again || s.cuts[i] < cuts[i] {
				cuts[i] = s.cuts[i]
			}
		}
		out[s.people[0]] = cuts
	}
	return out
}

// endorsing returns the names of the regions that one endorses; of two lists with
// one number either may count.
func (m model) endorsing(region string) (out [][]string) {
	for _, charter := range slices.Backward(m.counting(region)) {
		var top uint64
		for _, s := range m.all(region, "endorse") {
			if s.charter == charter {
				top = max(top, s.number)
			}
		}
		for _, s := range m.all(region, "endorse") {
			if s.charter == charter && s.number == top {
				out = append(out, s.regions)
			}
		}
		if top > 0 {
			return out
		}
	}
	return [][]string{nil}
}

func (m model) open() (out []string) {
	for name, p := range m.w.proposals {
		if p.region != "A" || !m.readable(p) {
			continue
		}
		decided := !slices.ContainsFunc(p.statements, func(s stated) bool {
			replaced := s.verb == "endorse" && slices.ContainsFunc(m.all("A", "endorse"), func(o stated) bool { return o.charter == s.charter && o.number > s.number })
			return !m.proven[s.id] && !replaced
		})
		if !decided {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// check compares what a roster of region A that was given all records answers
// with the model.
func (m model) check(t *rapid.T, r *trust.Roster) {
	var open []string
	for _, p := range r.Proposals() {
		for name, o := range m.w.proposals {
			if o.ID() == p.ID() {
				open = append(open, name)
			}
		}
	}
	slices.Sort(open)
	// Of two lists with one number the roster's is the one with the higher id, which
	// the model does not know: the other's proposal may be open or not.
	want := m.open()
	sameNumber := func(name string) bool {
		return slices.ContainsFunc(m.w.proposals[name].statements, func(s stated) bool {
			return s.verb == "endorse" && slices.ContainsFunc(m.all("A", "endorse"), func(o stated) bool { return o.charter == s.charter && o.number == s.number && o.id != s.id })
		})
	}
	open, want = slices.DeleteFunc(open, sameNumber), slices.DeleteFunc(want, sameNumber)
	if !slices.Equal(open, want) {
		t.Fatalf("open: %v, want %v\n%s", open, want, m.w.show(r))
	}
	for _, region := range []string{"A", "B", "C"} {
		id := m.w.charters[region+"1"].Region()
		if r.CharterOf(id) == nil && region != "A" {
			continue // not endorsed
		}
		m.checkRegion(t, r, region, id)
	}
	var endorsed []string
	for _, e := range []string{"B", "C"} {
		if list := r.Endorsements(r.Region()); list != nil && slices.Contains(list.Regions, m.w.charters[e+"1"].Region()) {
			endorsed = append(endorsed, e)
		}
	}
	if lists := m.endorsing("A"); !slices.ContainsFunc(lists, func(l []string) bool { return slices.Equal(slices.Sorted(slices.Values(l)), endorsed) }) {
		t.Fatalf("endorses %v, want one of %v\n%s", endorsed, lists, m.w.show(r))
	}
	for _, e := range endorsed {
		if r.CharterOf(m.w.charters[e+"1"].Region()) == nil {
			t.Fatalf("knows nothing of %s, which it endorses\n%s", e, m.w.show(r))
		}
	}
}

func (m model) checkRegion(t *rapid.T, r *trust.Roster, region string, id crypto.Region) {
	var chain []string
	for _, c := range r.Charters(id) {
		chain = append(chain, c.Name)
	}
	chain[0] += "1"
	if want := m.chain(region); !slices.Equal(chain, want) {
		t.Fatalf("charters %v, want %v", chain, want)
	}
	members, revoked := m.members(region), m.revoked(region)
	for person := range m.w.people {
		name, serial, keys := m.w.who(person)
		c, ok := r.Member(id, m.w.member(name), serial)
		if ok != members[person] {
			t.Fatalf("%s in %s: %v, want %v\n%s", person, region, ok, members[person], m.w.show(r))
		}
		if !ok {
			continue
		}
		cuts, gone := r.Revoked(c)
		want, isGone := revoked[person]
		got := [2]uint64{trust.CutAt(cuts, crypto.AudienceRegion, 1).Seq, trust.CutAt(cuts, crypto.AudienceCommunity, 1).Seq}
		if gone != isGone || gone && got != want {
			t.Fatalf("%s in %s revoked: %v at %v, want %v at %v", person, region, gone, got, isGone, want)
		}
		later := members[fmt.Sprintf("%s:%d", name, serial+1)]
		bound, ok := r.ByPeer(string(trust.PeerID(keys.PeerKey().Public().(ed25519.PublicKey))))
		if region == "A" && (ok && bound.Region == id) != (!gone && !later) {
			t.Fatalf("%s bound: %v, revoked %v, has a later serial %v", person, ok, gone, later)
		}
	}
}

// TestAnyOrder draws scenarios. Whatever the order of their records, every roster
// is the same and answers what the model says; nodes that hold parts of them and
// meet come to it as well.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		w.draw(t)
		m := w.model()
		var all [][]byte
		for _, name := range w.names {
			all = append(all, w.records[name]...)
		}
		first := trust.NewRoster(w.charters["A1"].Region())
		_, _ = first.AddAll(all)
		m.check(t, first)
		want := whole(w, first)
		places := make([]int, len(all))
		for i := range places {
			places[i] = i
		}
		for range 2 {
			r, mixed := trust.NewRoster(first.Region()), slices.Clone(all)
			for i, at := range rapid.Permutation(places).Draw(t, "order") {
				mixed[i] = all[at]
			}
			_, _ = r.AddAll(mixed)
			if got := whole(w, r); got != want {
				t.Fatalf("another order, another roster:\n%s\nand\n%s", want, got)
			}
		}
		again := trust.NewRoster(first.Region())
		for _, id := range first.IDs() {
			raw, _ := first.Record(id)
			if _, err := again.Add(raw); err != nil {
				t.Fatalf("in the order of IDs: %v", err)
			}
		}
		if got := whole(w, again); got != want {
			t.Fatalf("its own records make another roster:\n%s\nand\n%s", want, got)
		}
		w.meet(t, want)
	})
}

// meet hands each record to some nodes, which take it in when they can, and lets
// them meet until all have met all.
func (w *world) meet(t *rapid.T, want string) {
	type node struct {
		*trust.Roster
		mine [][]byte
	}
	var nodes []*node
	for _, region := range []string{"A", "A", "B"} {
		nodes = append(nodes, &node{Roster: trust.NewRoster(w.charters[region+"1"].Region())})
	}
	for _, name := range w.names {
		keeper := rapid.IntRange(0, 1).Draw(t, "keeper of "+name)
		for i, n := range nodes {
			if i == keeper || i == 2 {
				n.mine = append(n.mine, w.records[name]...)
			}
		}
	}
	together := func(a, b *node) {
		for _, n := range []*node{a, b} {
			_, _ = n.AddAll(n.mine)
		}
		if !a.Endorses(b.Region()) || !b.Endorses(a.Region()) {
			return
		}
		if _, err := w.exchange(a.Roster, b.Roster); err != nil {
			t.Fatal(err)
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "meetings") {
		at := rapid.Permutation([]int{0, 1, 2}).Draw(t, "who")
		together(nodes[at[0]], nodes[at[1]])
	}
	for settled := ""; settled != fmt.Sprint(nodes[0].Root(), nodes[1].Root(), nodes[2].Root()); {
		settled = fmt.Sprint(nodes[0].Root(), nodes[1].Root(), nodes[2].Root())
		together(nodes[0], nodes[1])
		together(nodes[1], nodes[2])
		together(nodes[0], nodes[1])
	}
	for _, n := range nodes[:2] {
		if got := whole(w, n.Roster); got != want {
			t.Fatalf("nodes that met differ from one that was given all:\n%s\nand\n%s", got, want)
		}
	}
}

// draw makes a scenario of three regions.
func (w *world) draw(t *rapid.T) {
	step := func(format string, args ...any) bool {
		_, err := w.do(fmt.Sprintf(format, args...))
		return err == nil
	}
	step("region A m=2 a1 a2 a3")
	step("region B m=1 b1 b2")
	step("region C m=1 c1")
	pick := func(what string, from ...string) string { return rapid.SampledFrom(from).Draw(t, what) }
	keys := map[string][]string{"A": {"a1", "a2", "a3", "a4", "a5"}, "B": {"b1", "b2"}, "C": {"c1"}}
	made := 0 // charters
	statement := func(region string) string {
		var charters []string
		for _, name := range slices.Sorted(maps.Keys(w.charters)) {
			if w.region(name) == region {
				charters = append(charters, name)
			}
		}
		under := pick("under", charters...)
		person := strings.ToLower(region) + pick("who", "nna", "nna:2", "lex", "lex:2")
		switch verb := pick("verb", "charter", "admit", "admit", "renew", "revoke", "endorse", "endorse"); verb {
		case "charter":
			made++
			coordinators := rapid.Permutation(keys[region]).Draw(t, "coordinators")
			n := rapid.IntRange(1, min(3, len(coordinators))).Draw(t, "n")
			text := fmt.Sprintf("charter %s%d%s %s m=%d %s", region, int(w.charters[under].Number)+1, "abcdefghijklmnopqrstuvwxyz"[made:made+1], under, rapid.IntRange(1, n).Draw(t, "m"), strings.Join(coordinators[:n], " "))
			if n < len(coordinators) && rapid.Bool().Draw(t, "distrust") {
				text += " -" + coordinators[n]
			}
			return text
		case "revoke":
			return fmt.Sprintf("revoke %s %s %d %d", under, person, rapid.IntRange(0, 2).Draw(t, "cut"), rapid.IntRange(0, 2).Draw(t, "cut"))
		case "endorse":
			others := map[string][]string{"A": {"", "B", "C", "B C"}, "B": {"", "A", "A C"}, "C": {"A"}}[region]
			return fmt.Sprintf("endorse %s %d %s", under, rapid.IntRange(1, 3).Draw(t, "number"), pick("endorsed", others...))
		default:
			return fmt.Sprintf("%s %s %s", verb, under, person)
		}
	}
	for i := range rapid.IntRange(1, 9).Draw(t, "acts") {
		region := pick("region", "A", "A", "A", "B", "C")
		text := statement(region)
		if rapid.IntRange(0, 3).Draw(t, "together") == 0 {
			text += " + " + statement(region)
		}
		order := rapid.Permutation(keys[region]).Draw(t, "signers")
		name := fmt.Sprintf("p%d", i)
		for len(order) > 0 && !step("propose %s %s %s", name, order[0], text) {
			order = order[1:] // no coordinator, or a statement that nobody can make
		}
		if len(order) == 0 {
			continue
		}
		for _, by := range order[1:min(len(order), 1+rapid.IntRange(0, 4).Draw(t, "signs"))] {
			step("sign %s %s", name, by)
		}
		if step("act %s", name); w.records[name+"!"] != nil {
			for _, raw := range w.records[name+"!"] {
				w.thief(t, name, raw)
			}
			if region == "A" && rapid.Bool().Draw(t, "carried by the mesh only") {
				delete(w.records, name+"!")
				w.names = slices.DeleteFunc(w.names, func(n string) bool { return n == name+"!" })
			}
		}
	}
	for _, serial := range []string{"1", "2"} {
		if rapid.IntRange(0, 2).Draw(t, "fork "+serial) == 0 {
			step("stolen anna %s", serial)
		}
	}
}

// thief adds records that must change nothing: without the last signature, under a
// stranger's, or under one that is broken.
func (w *world) thief(t *rapid.T, name string, raw []byte) {
	switch rapid.IntRange(0, 3).Draw(t, "thief") {
	case 1:
		w.keep(name+"+stranger", resign(raw, func(list []wireSignature) []wireSignature {
			list = append(slices.Clone(list), wireSignature{trust.SignerOf([]byte("stranger")), list[0].Bytes})
			slices.SortFunc(list, func(a, b wireSignature) int { return bytes.Compare(a.Signer[:], b.Signer[:]) })
			return list
		}))
	case 2:
		w.keep(name+" broken", resign(raw, func(list []wireSignature) []wireSignature {
			list = slices.Clone(list)
			list[0].Bytes = bytes.Clone(list[0].Bytes)
			list[0].Bytes[7] ^= 1
			return list
		}))
	}
}
