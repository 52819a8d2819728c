package trust_test

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/keyfile"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
)

// A world is a scenario: what coordinators, members and thieves of some regions
// made, and the nodes that heard of it. Everything has a name. Its steps are lines
// of text, written by hand in testdata/scenario or drawn by TestAnyOrder.
//
//	region A m=2 a1 a2 a3            founds a region: its charter and record are A1
//	propose p1 a1 STATEMENT + …      opens a proposal: record p1
//	sign p1 a2                       an approval: record p1/a2
//	act p1                           the finished records of the signatures so far: p1!
//	strip p1! 1                      the same under the first signature only: p1!-1
//	extra p1! a9                     the same under one signature more: p1!+a9
//	stolen anna serial               two words of anna in one place: record fork-anna-serial
//	node n A                         a node of a region, which knows nothing
//	give n p1 p1/a2 …                records to a node, in this order; all = all there are
//	exchange n m                     what sync does until both show the same
//	show n                           what the node's roster answers
//
// Statements:
//
//	charter A2 A1 m=1 a1 a4 -a2      follows A1; a2 is distrusted
//	admit A1 anna berta anna:2       under a charter; :2 is the second serial
//	renew A1 anna:2                  again, later
//	revoke A1 anna:1 5 3             the cuts in the region and the community chain, 0 = none
//	endorse A1 1 B C                 list 1
type world struct {
	keys      map[string]*crypto.PrivateKey
	people    map[string]*keyfile.Identity // by name and serial
	charters  map[string]*trust.Charter    // by name
	proposals map[string]*proposed
	records   map[string][][]byte
	names     []string // of records, in the order in which they were made
	nodes     map[string]*trust.Roster
	time      int64
}

type proposed struct {
	*trust.Proposal
	statements []stated
	signed     map[string]bool
	by         string
	region     string
}

// stated is a statement as the model knows it.
type stated struct {
	id       string // equal for equal statements
	verb     string
	charter  string // under which, or that it follows
	makes    string // charter
	distrust []string
	people   []string // name:serial
	time     int64
	cuts     [2]uint64
	number   uint64
	regions  []string
}

func newWorld() *world {
	return &world{
		keys: map[string]*crypto.PrivateKey{}, people: map[string]*keyfile.Identity{}, charters: map[string]*trust.Charter{},
		proposals: map[string]*proposed{}, records: map[string][][]byte{}, nodes: map[string]*trust.Roster{}, time: testkit.Founded,
	}
}

// keysMade and peopleMade are shared: making them takes longest.
var (
	keysMade   = map[string]*crypto.PrivateKey{}
	peopleMade = map[string]*keyfile.Identity{}
	wishes     = map[string]*trust.Request{}
)

func (w *world) key(name string) *crypto.PrivateKey {
	if w.keys[name] == nil {
		if keysMade[name] == nil {
			keysMade[name], _ = crypto.GenerateKey(testkit.Random("coordinator " + name))
		}
		w.keys[name] = keysMade[name]
	}
	return w.keys[name]
}

// who returns a member's keys of a serial, given as name:serial or name.
func (w *world) who(person string) (name string, serial uint32, id *keyfile.Identity) {
	name, number, found := strings.Cut(person, ":")
	if !found {
		number = "1"
	}
	n, _ := strconv.Atoi(number)
	at := name + ":" + number
	if w.people[at] == nil {
		if peopleMade[at] == nil {
			peopleMade[at], _ = keyfile.NewIdentity(testkit.Random(at))
		}
		w.people[at] = peopleMade[at]
	}
	return name, uint32(n), w.people[at]
}

func (w *world) request(person string) *trust.Request {
	name, _, id := w.who(person)
	if wishes[person] == nil {
		raw, err := trust.NewRequest(id, name, nil)
		if err != nil {
			panic(err)
		}
		if wishes[person], err = trust.ParseRequest(raw); err != nil {
			panic(err)
		}
	}
	return wishes[person]
}

func (w *world) member(name string) crypto.MemberID {
	_, _, first := w.who(name + ":1")
	return crypto.NewMemberID(first.Signing.Public())
}

func (w *world) keep(name string, records ...[]byte) {
	if w.records[name] == nil {
		w.names = append(w.names, name)
	}
	w.records[name] = records
}

// do takes one step and returns what it shows.
func (w *world) do(line string) (string, error) {
	f := strings.Fields(line)
	if len(f) < 2 {
		return "", fmt.Errorf("step %q", line)
	}
	switch f[0] {
	case "region":
		return "", w.found(f[1], f[2], f[3:])
	case "propose":
		return "", w.propose(f[1], f[2], strings.Split(strings.Join(f[3:], " "), " + "))
	case "sign":
		return w.sign(f[1], f[2])
	case "act":
		return w.act(f[1])
	case "strip", "extra":
		return "", w.forge(f[0], f[1], f[2])
	case "stolen":
		return "", w.fork(f[1], f[2])
	case "node":
		w.nodes[f[1]] = trust.NewRoster(w.charters[f[2]+"1"].Region())
		return "", nil
	case "give":
		return w.give(f[1], f[2:])
	case "exchange":
		return w.exchange(w.nodes[f[1]], w.nodes[f[2]])
	case "show":
		return w.show(w.nodes[f[1]]), nil
	}
	return "", fmt.Errorf("step %q", line)
}

func (w *world) terms(name, m string, keys []string) trust.Charter {
	n, _ := strconv.Atoi(strings.TrimPrefix(m, "m="))
	c := trust.Charter{Name: name, Threshold: uint8(n), Created: testkit.Founded}
	for _, k := range keys {
		bytes := w.key(strings.TrimPrefix(k, "-")).Public().Bytes()
		if strings.HasPrefix(k, "-") {
			c.Distrusts = append(c.Distrusts, trust.SignerOf(bytes))
		} else {
			c.Coordinators = append(c.Coordinators, trust.Coordinator{Name: k, Key: bytes})
		}
	}
	return c
}

func (w *world) found(name, m string, keys []string) error {
	st, charter, err := trust.Found(w.terms(name, m, keys))
	if err != nil {
		return err
	}
	var all []*crypto.PrivateKey
	for _, k := range keys {
		all = append(all, w.key(k))
	}
	records, err := trust.Act(nil, all, testkit.Founded, st)
	w.charters[name+"1"] = charter
	w.keep(name+"1", records...)
	return err
}

// region returns the name of a charter's region.
func (w *world) region(charter string) string { return charter[:1] }

func (w *world) propose(name, by string, texts []string) error {
	w.time++
	p := &proposed{signed: map[string]bool{by: true}, by: by}
	var before *trust.Charter
	var statements []trust.Statement
	for _, text := range texts {
		st, s, err := w.state(strings.Fields(text))
		if err != nil {
			return err
		}
		if before == nil {
			before, p.region = w.charters[s.charter], w.region(s.charter)
		}
		s.id = fmt.Sprint(st.Type, st.Body)
		statements, p.statements = append(statements, st), append(p.statements, s)
	}
	var err error
	if p.Proposal, err = trust.Propose(before, w.key(by), w.time, statements...); err != nil {
		return err
	}
	w.proposals[name] = p
	records, err := p.Records()
	w.keep(name, records...)
	return err
}

func (w *world) state(f []string) (st trust.Statement, s stated, err error) {
	s = stated{verb: f[0], charter: f[1], time: w.time}
	charter := w.charters[f[1]]
	switch f[0] {
	case "charter":
		s.makes, s.charter = f[1], f[2]
		var made *trust.Charter
		st, made, err = trust.Amend(w.charters[f[2]], w.terms(s.makes, f[3], f[4:]))
		if err == nil {
			w.charters[s.makes] = made
		}
		for _, k := range f[4:] {
			if strings.HasPrefix(k, "-") {
				s.distrust = append(s.distrust, k[1:])
			}
		}
	case "admit", "renew":
		var grants []trust.Grant
		for _, person := range f[2:] {
			name, serial, _ := w.who(person)
			g := trust.Grant{Request: w.request(person), Serial: serial, NotBefore: testkit.Founded, NotAfter: testkit.Forever}
			if serial > 1 {
				g.Member = w.member(name)
			}
			grants = append(grants, g)
			s.people = append(s.people, fmt.Sprintf("%s:%d", name, serial))
		}
		st, err = trust.Admission(charter, grants, w.time)
	case "revoke":
		name, serial, id := w.who(f[2])
		s.people = []string{fmt.Sprintf("%s:%d", name, serial)}
		var cuts []trust.Cut
		for i, text := range f[3:] {
			if s.cuts[i], err = strconv.ParseUint(text, 10, 64); err == nil && s.cuts[i] > 0 {
				cuts = append(cuts, trust.Cut{Audience: crypto.AudienceRegion + crypto.Audience(i), Epoch: 1, Seq: s.cuts[i], ID: crypto.EnvelopeID{byte(s.cuts[i])}})
			}
		}
		c := &trust.Credential{Region: charter.Region(), Member: w.member(name), Serial: serial, Key: id.Signing.Public().Bytes()}
		st, err = trust.Revoking(charter, c, cuts, w.time)
	case "endorse":
		var regions []crypto.Region
		s.regions = f[3:]
		for _, name := range s.regions {
			regions = append(regions, w.charters[name+"1"].Region())
		}
		s.number, _ = strconv.ParseUint(f[2], 10, 64)
		var before *trust.Endorsements
		if s.number > 1 {
			before = &trust.Endorsements{Charter: charter.Hash(), Number: s.number - 1}
		}
		st, err = trust.Endorsing(charter, before, regions, w.time)
	default:
		err = fmt.Errorf("statement %q", f)
	}
	return st, s, err
}

// sign refuses what Sign does, and says so.
func (w *world) sign(name, by string) (string, error) {
	p := w.proposals[name]
	if err := p.Sign(w.key(by)); err != nil {
		return err.Error() + "\n", nil
	}
	p.signed[by] = true
	records, err := p.Records()
	if err != nil {
		return "", err
	}
	signer := trust.SignerOf(w.key(by).Public().Bytes())
	for _, raw := range records[1:] {
		if ap := unpackApproval(raw); ap.Signer == signer {
			w.keep(name+"/"+by, raw)
		}
	}
	return "", nil
}

func (w *world) act(name string) (string, error) {
	records, err := w.proposals[name].Act()
	if err != nil {
		return err.Error() + "\n", nil
	}
	w.keep(name+"!", records...)
	return "", nil
}

// forge makes finished records under fewer signatures, or under one more, by one
// who may not sign.
func (w *world) forge(how, name, with string) error {
	var out [][]byte
	for _, raw := range w.records[name] {
		change := func(list []wireSignature) []wireSignature {
			if how == "strip" {
				n, _ := strconv.Atoi(with)
				return list[:min(n, len(list))]
			}
			k := w.key(with)
			list = append(slices.Clone(list), wireSignature{trust.SignerOf(k.Public().Bytes()), bytes.Clone(list[0].Bytes)})
			slices.SortFunc(list, func(a, b wireSignature) int { return bytes.Compare(a.Signer[:], b.Signer[:]) })
			return list
		}
		out = append(out, resign(raw, change))
	}
	w.keep(name+map[string]string{"strip": "-", "extra": "+"}[how]+with, out...)
	return nil
}

// fork has a member say two things in one place, under a serial of region A.
func (w *world) fork(name, serial string) error {
	_, n, id := w.who(name + ":" + serial)
	h := crypto.Header{
		Region: w.charters["A1"].Region(), Author: w.member(name), Serial: n, Audience: crypto.AudienceRegion, TLP: 3,
		Epoch: 1, Seq: 1, Floor: 1, Time: testkit.Founded, Expiry: testkit.Founded + 1000,
	}
	var bare [2][]byte
	for i := range bare {
		e, err := crypto.NewEnvelope(h, [][]byte{{byte(i)}}, id.Signing)
		if err != nil {
			return err
		}
		bare[i] = e.Bare()
	}
	raw, err := trust.NewForkProof(bare[0], bare[1])
	w.keep("fork-"+name+"-"+serial, raw)
	return err
}

// give adds records one after the other, and shows what was refused.
func (w *world) give(node string, names []string) (string, error) {
	var out strings.Builder
	if slices.Equal(names, []string{"all"}) {
		names = w.names
	}
	for _, name := range names {
		if w.records[name] == nil {
			return "", fmt.Errorf("no record %q", name)
		}
		for _, raw := range w.records[name] {
			if _, err := w.nodes[node].Add(raw); err != nil {
				fmt.Fprintf(&out, "%s: %v\n", name, err)
			}
		}
	}
	return w.named(out.String()), nil
}

// named puts names for hashes.
func (w *world) named(text string) string {
	for name, c := range w.charters {
		text = strings.ReplaceAll(text, c.Hash().String(), name)
	}
	for name, k := range w.keys {
		text = strings.ReplaceAll(text, trust.SignerOf(k.Public().Bytes()).String(), name)
	}
	return text
}

// exchange does what two nodes that meet do: each sends what the other did not
// list, until both show the other the same.
func (w *world) exchange(a, b *trust.Roster) (string, error) {
	const roundsMax = 8
	for range roundsMax {
		x, y := a.For(b.Region()), b.For(a.Region())
		if x.Root() == y.Root() {
			return "", nil
		}
		toB, toA := lacks(x, y), lacks(y, x)
		_, _ = b.AddAll(toB) // what one refuses shows in the roots
		_, _ = a.AddAll(toA)
	}
	return "", fmt.Errorf("%d rounds, and the two still differ:\n%s\nand\n%s", roundsMax, w.show(a), w.show(b))
}

func lacks(from, to trust.View) (out [][]byte) {
	have := map[crypto.Hash]bool{}
	for _, id := range to.IDs() {
		have[id] = true
	}
	for _, id := range from.IDs() {
		if raw, ok := from.Record(id); ok && !have[id] {
			out = append(out, raw)
		}
	}
	return out
}

// show is all that a roster answers, in names.
func (w *world) show(r *trust.Roster) string {
	var out strings.Builder
	of := map[crypto.Hash]string{}
	for name, c := range w.charters {
		of[c.Hash()] = name
	}
	for _, home := range slices.Sorted(maps.Keys(w.charters)) {
		if !strings.HasSuffix(home, "1") {
			continue
		}
		name, region := home[:len(home)-1], w.charters[home].Region()
		var lines []string
		line := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
		for _, c := range r.Charters(region) {
			line("charter %s", of[c.Hash()])
		}
		for _, f := range r.CharterForks(region) {
			line("fork: %s counts, not %s", of[f.Counts.Hash()], of[f.Other.Hash()])
		}
		if list := r.Endorsements(region); list != nil {
			var names []string
			for _, e := range list.Regions {
				names = append(names, of[crypto.Hash(e)][:1])
			}
			slices.Sort(names)
			line("endorses %s by %s list %d", strings.Join(names, " "), of[list.Charter], list.Number)
		}
		if r.Endorses(region) && region != r.Region() {
			line("heard")
		}
		lines = append(lines, w.showMembers(r, region)...)
		if len(lines) > 0 {
			fmt.Fprintf(&out, "%s\n  %s\n", name, strings.Join(lines, "\n  "))
		}
	}
	for _, p := range r.Proposals() {
		for name, o := range w.proposals {
			if o.ID() == p.ID() {
				fmt.Fprintf(&out, "open %s: signed %s, lacks %d\n", name, strings.Join(p.Signed(), " "), p.Lacking())
			}
		}
	}
	forks := map[string]bool{}
	for _, f := range r.Forks() {
		for person := range w.people {
			if name, serial, _ := w.who(person); w.member(name) == f.Chain.Author && serial == f.Chain.Serial {
				forks[person] = true
			}
		}
	}
	for _, person := range slices.Sorted(maps.Keys(forks)) {
		fmt.Fprintf(&out, "%s contradicts itself\n", person)
	}
	return out.String()
}

func (w *world) showMembers(r *trust.Roster, region crypto.Region) (lines []string) {
	for _, person := range slices.Sorted(maps.Keys(w.people)) {
		name, serial, id := w.who(person)
		c, ok := r.Member(region, w.member(name), serial)
		if !ok {
			continue
		}
		text := person
		if bound, ok := r.ByPeer(string(trust.PeerID(id.PeerKey().Public().(ed25519.PublicKey)))); ok && bound == c {
			text += " bound"
		}
		if cuts, revoked := r.Revoked(c); revoked {
			text += fmt.Sprintf(" revoked at %d %d", trust.CutAt(cuts, crypto.AudienceRegion, 1).Seq, trust.CutAt(cuts, crypto.AudienceCommunity, 1).Seq)
		}
		lines = append(lines, text)
	}
	return lines
}

// state also has what show does not name.
func whole(w *world, r *trust.Roster) string {
	return w.show(r) + fmt.Sprintln(r.Root()) + strings.ReplaceAll(fmt.Sprint(r.IDs()), " ", "\n")
}

func unpackApproval(raw []byte) (ap struct {
	Region     crypto.Region `cbor:"1,keyasint"`
	Proposal   crypto.Hash   `cbor:"2,keyasint"`
	Signer     crypto.Hash   `cbor:"3,keyasint"`
	Signatures [][]byte      `cbor:"4,keyasint"`
}) {
	outer := mustUnmarshal[wireRecord](raw)
	return mustUnmarshalTo(outer.Payload, ap)
}

var rewrite = flag.Bool("rewrite", false, "write what scenarios show into their files")

// TestScenarios runs testdata/scenario: steps, each with what it shows between
// ---- and an empty line.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenario/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := newWorld().play(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got != string(text) {
				t.Errorf("got:\n%s", firstDifference(got, string(text)))
			}
		})
	}
}

// play takes all steps of a text and returns it with what they really show.
func (w *world) play(text string) (string, error) {
	var out strings.Builder
	expected := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case expected:
			expected = line != ""
			continue
		case line == "----":
			expected = true
			continue
		}
		fmt.Fprintln(&out, line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		shown, err := w.do(line)
		if err != nil && strings.HasPrefix(line, "propose ") {
			shown, err = w.named(err.Error())+"\n", nil
		}
		if err != nil {
			return "", fmt.Errorf("%s: %w", line, err)
		}
		if shown != "" {
			fmt.Fprintf(&out, "----\n%s\n", shown)
		}
	}
	return out.String(), nil
}

func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d: %q\nwant:    %q\nin all:\n%s", i+1, a[i], b[i], got)
		}
	}
	return cmp.Or(got, "nothing")
}
