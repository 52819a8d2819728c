package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh"
	"github.com/watchward/watchward/node"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/proof"
)

// exitTable says what leaves a node (+) and what does not (-), by each way out and
// for each who may be at its end: one column a marking, first of what is shared, then
// of what is kept. A line needs a probe in exitProbes, and TestExits tries every cell
// with real nodes.
//
// The author is a hospital of one region. "member" is another one of it, "endorsed"
// one of a region that is endorsed mutually, "stranger" one of a third. API and files
// are asked for with a token of each ceiling.
const exitTable = `
                                  shared   kept
                                  CGASR    CGASR0
gossip      member                +++--    ------
gossip      endorsed              ++---    ------
gossip      stranger              -----    ------
urgent      member                +++--    ------
urgent      endorsed              ++---    ------
urgent      stranger              -----    ------
sync        member                +++--    ------
sync        endorsed              ++---    ------
sync        stranger              -----    ------
carried     member                +++--    ------
carried     endorsed              ++---    ------
carried     stranger              -----    ------
named       member                ---++    ------
named       endorsed              -----    ------
named       stranger              -----    ------
clear       anybody               ++---    ------
clear       ceiling-CLEAR         +----    ------
sealed      anybody               -----    ------
sealed      member                --+--    ------
sealed      stranger              -----    ------
proof       ceiling-CLEAR         +----    ------
proof       ceiling-GREEN         ++---    ------
proof       ceiling-AMBER         +++--    ------
proof       ceiling-AMBER+STRICT  +++--    ------
proof       ceiling-RED           +++--    ------
ledger      member                +++--    ------
ledger      endorsed              -----    ------
ledger      stranger              -----    ------
receipt     ceiling-CLEAR         +----    ------
receipt     ceiling-GREEN         ++---    ------
receipt     ceiling-AMBER         +++--    ------
receipt     ceiling-AMBER+STRICT  +++--    ------
receipt     ceiling-RED           +++--    ------
stix        ceiling-CLEAR         +----    +-----
stix        ceiling-GREEN         ++---    ++----
stix        ceiling-AMBER         +++--    +++---
stix        ceiling-RED           +++--    +++---
stix        unmarked              +++--    +++--+
stix        default               ++---    ++----
misp        ceiling-AMBER         +++--    +++---
misp        ceiling-RED           +++--    +++---
misp        unmarked              +++--    +++--+
misp        default               ++---    ++----
csv         ceiling-AMBER         +++--    +++---
csv         ceiling-RED           +++--    +++---
csv         unmarked              +++--    +++--+
csv         default               ++---    ++----
taxii       ceiling-CLEAR         +----    ------
taxii       ceiling-GREEN         ++---    ------
taxii       ceiling-AMBER         +++--    ------
taxii       ceiling-AMBER+STRICT  +++--    ------
taxii       ceiling-RED           +++--    ------
bridge      ceiling-CLEAR         +----    ------
bridge      ceiling-GREEN         ++---    ------
bridge      ceiling-AMBER         +++--    ------
bridge      default               ++---    ------
mispfeed    ceiling-CLEAR         +----    ------
mispfeed    ceiling-GREEN         ++---    ------
mispfeed    ceiling-AMBER         +++--    ------
mispfeed    ceiling-AMBER+STRICT  +++--    ------
mispfeed    ceiling-RED           +++--    ------
list        ceiling-CLEAR         +----    +-----
list        ceiling-GREEN         ++---    ++----
list        ceiling-AMBER         +++--    +++---
list        ceiling-AMBER+STRICT  ++++-    ++++-+
list        ceiling-RED           +++++    ++++++
show        ceiling-CLEAR         +----    +-----
show        ceiling-GREEN         ++---    ++----
show        ceiling-AMBER         +++--    +++---
show        ceiling-AMBER+STRICT  ++++-    ++++-+
show        ceiling-RED           +++++    ++++++
lookup      ceiling-CLEAR         +----    +-----
lookup      ceiling-GREEN         ++---    ++----
lookup      ceiling-AMBER         +++--    +++---
lookup      ceiling-AMBER+STRICT  ++++-    ++++-+
lookup      ceiling-RED           +++++    ++++++
indicator   ceiling-CLEAR         +----    +-----
indicator   ceiling-GREEN         ++---    ++----
indicator   ceiling-AMBER         +++--    +++---
indicator   ceiling-AMBER+STRICT  ++++-    ++++-+
indicator   ceiling-RED           +++++    ++++++
stream      ceiling-CLEAR         +----    +-----
stream      ceiling-GREEN         ++---    ++----
stream      ceiling-AMBER         +++--    +++---
stream      ceiling-AMBER+STRICT  ++++-    ++++-+
stream      ceiling-RED           +++++    ++++++
counters    ceiling-CLEAR         +----    +-----
counters    ceiling-GREEN         ++---    ++----
counters    ceiling-AMBER         +++--    +++---
counters    ceiling-AMBER+STRICT  ++++-    ++++-+
counters    ceiling-RED           +++++    ++++++
`

// A said is one column: a word, as far as it was taken.
type said struct {
	tlp           notice.TLP
	kept          bool
	value, urgent string // two values, of which the second overtakes
	id            string // of the first; empty if sharing it was refused
	bit           uint64 // by which it counts in what is known of sameValue
}

// sameValue is seen under every marking, each time another power of two times.
const sameValue = "same.example"

// An exitWorld is the author with all who may be at the end of a way out.
type exitWorld struct {
	author, member, late, apart *hospital // of one region
	endorsed, endorsedLate      *hospital
	stranger                    *hospital
	words                       []*said

	readers map[string]*client.Client // by ceiling
	secrets map[string]string         // their tokens
	files   map[string]string         // what was exported, and the stream, by name
	sealed  []byte
}

// exitProbes find out whether a word has left. who is the second column, without
// "ceiling-".
var exitProbes = map[string]func(t *testing.T, w *exitWorld, s *said, who string) bool{
	"gossip": func(t *testing.T, w *exitWorld, s *said, who string) bool {
		return map[string]*hospital{"member": w.member, "endorsed": w.endorsed, "stranger": w.stranger}[who].hears(t, s.value)
	},
	"urgent": func(t *testing.T, w *exitWorld, s *said, who string) bool {
		return map[string]*hospital{"member": w.member, "endorsed": w.endorsed, "stranger": w.stranger}[who].hears(t, s.urgent)
	},
	// Those who came when all was said have it from others than the author.
	"sync": func(t *testing.T, w *exitWorld, s *said, who string) bool {
		return map[string]*hospital{"member": w.late, "endorsed": w.endorsedLate, "stranger": w.stranger}[who].knows(t, s.value)
	},
	// Somebody brings the very bytes.
	"carried": func(t *testing.T, w *exitWorld, s *said, who string) bool {
		id, err := crypto.ParseItemID(s.id)
		if err != nil {
			return false
		}
		raw, _, err := w.author.Store().Envelope(id)
		if err != nil {
			return false
		}
		_, err = map[string]*hospital{"member": w.member, "endorsed": w.endorsed, "stranger": w.stranger}[who].Path().Check(raw, mesh.ViaSync, crypto.Region{}, 0)
		return err == nil || errors.Is(err, mesh.ErrDuplicate)
	},
	"named": func(t *testing.T, w *exitWorld, s *said, who string) bool {
		if s.id == "" {
			return false
		}
		v, found := map[string]*hospital{"member": w.member, "endorsed": w.endorsed, "stranger": w.stranger}[who].notice(t, s.id)
		return found && v.Audience == crypto.AudienceNamed.String()
	},
	"clear": func(_ *testing.T, w *exitWorld, s *said, who string) bool {
		return strings.Contains(w.files["clear "+who], s.value)
	},
	"sealed": func(t *testing.T, w *exitWorld, s *said, who string) bool {
		switch who {
		case "member":
			return w.apart.knows(t, s.value)
		case "stranger":
			return w.stranger.knows(t, s.value)
		}
		return bytes.Contains(w.sealed, []byte(s.value))
	},
	"proof": func(t *testing.T, w *exitWorld, s *said, who string) bool {
		raw, err := w.readers[who].ProofFile(t.Context(), s.id)
		return err == nil && s.provenBy(t, raw)
	},
	// A hash that stands for it.
	"ledger": func(t *testing.T, w *exitWorld, s *said, who string) bool {
		id, err := crypto.ParseItemID(s.id)
		if err != nil {
			return false
		}
		if _, _, err := w.author.Store().Envelope(id); err != nil {
			return false
		}
		envelope := w.author.envelope(t, s.id).String()
		at := map[string]*hospital{"member": w.member, "endorsed": w.endorsed, "stranger": w.stranger}[who]
		_, found, err := at.LedgerEntry(t.Context(), envelope, false, 0)
		return err == nil && found
	},
	"receipt": func(t *testing.T, w *exitWorld, s *said, who string) bool {
		raw, err := w.readers[who].Receipt(t.Context(), s.id, 0)
		return err == nil && s.provenBy(t, raw)
	},
	"taxii": func(t *testing.T, w *exitWorld, s *said, who string) bool {
		return strings.Contains(w.author.served(t, w.secrets[who]), s.value)
	},
	"mispfeed": func(t *testing.T, w *exitWorld, s *said, who string) bool {
		return strings.Contains(w.author.mispFeed(t, w.secrets[who]), s.value)
	},
	"bridge": func(_ *testing.T, w *exitWorld, s *said, who string) bool {
		return strings.Contains(w.files["bridge "+who], s.value)
	},
	"stix": exported("stix"), "misp": exported("misp"), "csv": exported("csv"),
	"list": func(t *testing.T, w *exitWorld, s *said, who string) bool {
		page, err := w.readers[who].Notices(t.Context(), client.NoticesQuery{Search: s.value, Limit: 10})
		return err == nil && len(page.Notices) == 1 && page.Notices[0].ID == s.id
	},
	"show": func(t *testing.T, w *exitWorld, s *said, who string) bool {
		n, err := w.readers[who].Notice(t.Context(), s.id)
		return err == nil && n.Indicator.Value == s.value
	},
	"lookup": func(t *testing.T, w *exitWorld, s *said, who string) (known bool) {
		err := w.readers[who].Lookup(t.Context(), []string{s.value}, client.LookupOptions{}, func(a api.LookupAnswer) error {
			known = a.Known || a.Summary != nil
			return nil
		})
		return err == nil && known
	},
	"indicator": func(t *testing.T, w *exitWorld, s *said, who string) bool {
		v, err := w.readers[who].Indicator(t.Context(), "", s.value)
		return err == nil && len(v.Evidence) == 1
	},
	"stream": func(_ *testing.T, w *exitWorld, s *said, who string) bool {
		return strings.Contains(w.files["stream "+who], s.value)
	},
	"counters": func(t *testing.T, w *exitWorld, s *said, who string) bool {
		v, err := w.readers[who].Indicator(t.Context(), "", sameValue)
		return err == nil && v.Summary.Sightings&s.bit != 0
	},
}

// provenBy reports whether a file proves the word to a stranger.
func (s *said) provenBy(t *testing.T, raw []byte) bool {
	t.Helper()
	f, err := proof.Parse(raw)
	if err != nil {
		t.Error(err)
		return false
	}
	p, err := proof.Verify(f, proof.Known{})
	return err == nil && p.Notice.Indicator.Value == s.value && notice.TLP(p.Header.TLP) == s.tlp
}

// hears reports whether a word about a value came to a hospital otherwise than
// sealed for it.
func (h *hospital) hears(t *testing.T, value string) bool {
	t.Helper()
	found, _, err := h.Notices(t.Context(), api.Query{Search: value, Limit: 10, Ceiling: notice.TLPRed})
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(found, func(v api.NoticeView) bool { return v.Audience != crypto.AudienceNamed.String() })
}

// exported looks into an export in a format.
func exported(format string) func(*testing.T, *exitWorld, *said, string) bool {
	return func(_ *testing.T, w *exitWorld, s *said, who string) bool {
		return strings.Contains(w.files[format+" "+who], s.value)
	}
}

func TestExits(t *testing.T) {
	w := newExitWorld(t)
	type cell struct {
		name      string
		word      *said
		leaves    func() bool
		wantLeave bool
	}
	var cells []cell
	lines := strings.Split(strings.TrimSpace(exitTable), "\n")[2:]
	seen := map[string]bool{}
	for _, line := range lines {
		fields := strings.Fields(line)
		if len(fields) != 4 || len(fields[2]+fields[3]) != len(w.words) || strings.Trim(fields[2]+fields[3], "+-") != "" {
			t.Fatalf("a line with an empty cell: %q", line)
		}
		probe := exitProbes[fields[0]]
		if probe == nil {
			t.Fatalf("nobody can tell what leaves by %s", fields[0])
		}
		seen[fields[0]] = true
		for i, s := range w.words {
			name := fmt.Sprintf("%s to %s: TLP:%s, kept %v", fields[0], fields[1], s.tlp, s.kept)
			who := strings.TrimPrefix(fields[1], "ceiling-")
			cells = append(cells, cell{name, s, func() bool { return probe(t, w, s, who) }, (fields[2] + fields[3])[i] == '+'})
		}
	}
	for name := range exitProbes {
		if !seen[name] {
			t.Errorf("the table has no line for %s", name)
		}
	}
	for _, c := range cells { // first all that leaves, so that what does not has had its time
		if c.wantLeave {
			eventually(t, c.name, c.leaves)
		}
	}
	for _, c := range cells {
		if !c.wantLeave && c.leaves() {
			t.Errorf("%s: it leaves", c.name)
		}
	}
}

func newExitWorld(t *testing.T) *exitWorld {
	t.Helper()
	a, b := makeRegions(t, 4)
	c := makeRegion(t, 1)
	c.hospitals[0].clock = a.clock
	endorseAll(t, a, b)
	w := &exitWorld{
		author: a.hospitals[0], member: a.hospitals[1], late: a.hospitals[2], apart: a.hospitals[3],
		endorsed: b.hospitals[0], endorsedLate: b.hospitals[1], stranger: c.hospitals[0],
		readers: map[string]*client.Client{}, secrets: map[string]string{}, files: map[string]string{},
	}
	known, _, err := node.ParseAdmission(a.admission(t, w.apart.dir)) // one that is apart is known, or nobody could seal for it
	if err != nil {
		t.Fatal(err)
	}
	if err := node.AddRecords(w.author.dir, known.Records); err != nil {
		t.Fatal(err)
	}
	w.author.exchanges(t, "off")
	ceilings := []string{"CLEAR", "GREEN", "AMBER", "default"}
	server := w.author.pushesTo(t, ceilings...)
	for _, h := range []*hospital{w.author, w.member, w.endorsed, w.stranger} {
		h.open(t)
	}
	for _, h := range []*hospital{w.author, w.member, w.endorsed, w.stranger} {
		h.start(t, slices.Concat(w.author.MeshAddrs(), w.member.MeshAddrs(), w.endorsed.MeshAddrs()))
	}
	for _, h := range []*hospital{w.author, w.member, w.endorsed} {
		eventually(t, h.Name()+" has met the two others", func() bool {
			peers := h.Mesh().Peers()
			return len(peers) == 2 && !peers[0].LastSync.IsZero() && !peers[1].LastSync.IsZero()
		})
	}
	(&keeping{region: a}).amend(t, func(c *trust.Charter) {
		c.Voters, c.Ledger = []crypto.MemberID{w.author.member(t)}, 1
	})
	for tlp := notice.TLPClear; tlp <= notice.TLPRed; tlp++ {
		w.say(t, tlp, false)
	}
	for tlp := notice.TLPClear; tlp <= notice.TLPRed; tlp++ {
		w.say(t, tlp, true)
	}
	w.say(t, 0, true)
	w.author.submit(t, api.SubmitOptions{TLP: notice.TLPClear}, sighting("end.example", a.clock.now()))
	eventually(t, "all is signed", func() bool { return waiting(t, w.author) == 0 })
	for _, s := range w.words {
		if !s.kept && s.id != "" && s.tlp == notice.TLPAmber {
			eventually(t, "the member has all", func() bool { return w.member.knows(t, s.value) && w.endorsed.knows(t, "end.example") })
		}
	}
	a.clock.settle()
	for h, seeds := range map[*hospital][]string{w.late: w.member.MeshAddrs(), w.endorsedLate: w.endorsed.MeshAddrs(), w.apart: nil} {
		h.open(t)
		h.start(t, seeds)
	}
	w.write(t)
	eventually(t, "all is handed out", w.author.HandsOutAll)
	for _, c := range ceilings {
		w.author.bridges(t, strings.ToLower(c))
		w.files["bridge "+c] = server.has(c)
	}
	return w
}

// endorseAll makes all hospitals of two regions know that these endorse each other.
func endorseAll(t *testing.T, a, b *region) {
	t.Helper()
	idA, charterA := a.card(t)
	idB, charterB := b.card(t)
	listA, listB := a.endorsing(t, nil, idB), b.endorsing(t, nil, idA)
	for _, h := range a.hospitals {
		if err := node.AddRecords(h.dir, [][]byte{listA, charterB, listB}); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range b.hospitals {
		if err := node.AddRecords(h.dir, [][]byte{listB, charterA, listA}); err != nil {
			t.Fatal(err)
		}
	}
}

// say states the words of one column.
func (w *exitWorld) say(t *testing.T, tlp notice.TLP, kept bool) {
	t.Helper()
	name := strings.ReplaceAll(strings.ToLower(tlp.String()), "+", "-")
	s := &said{tlp: tlp, kept: kept, bit: 1 << len(w.words)}
	s.value, s.urgent = fmt.Sprintf("%s-%v.example", name, kept), fmt.Sprintf("%s-%v-urgent.example", name, kept)
	if tlp == 0 {
		s.value, s.urgent = "none-true.example", "none-true-urgent.example"
	}
	w.words = append(w.words, s)
	at := w.author.clock.now()
	urgent, same := sighting(s.urgent, at), sighting(sameValue, at)
	urgent.Urgent, same.Count = true, s.bit
	word := sighting(s.value, at)
	if !kept && tlp >= notice.TLPAmberStrict { // nobody may share it but by naming people
		to := []string{w.member.Name()}
		word.To, urgent.To, same.To = to, to, to
	}
	result, err := w.author.Submit(t.Context(), []api.Submission{word, urgent, same},
		api.SubmitOptions{TLP: tlp, Local: kept, KnownElsewhere: true})
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case len(result.Notices) == 3:
		s.id = result.Notices[0].ID
	case kept || len(result.Refused) != 3:
		t.Fatalf("TLP:%s, kept %v: %+v", tlp, kept, result)
	}
}

// write takes all files that the author hands out, and carries the bundles.
func (w *exitWorld) write(t *testing.T) {
	t.Helper()
	for tlp := notice.TLPClear; tlp <= notice.TLPRed; tlp++ {
		w.readers[tlp.String()], w.secrets[tlp.String()] = w.author.reader(t, tlp)
	}
	for _, format := range []string{"stix", "misp", "csv"} {
		for name, q := range map[string]client.ExportQuery{
			"CLEAR": {TLP: "AMBER"}, "GREEN": {TLP: "AMBER"}, "AMBER": {TLP: "AMBER"}, "RED": {TLP: "AMBER"},
			"unmarked": {TLP: "AMBER", Unmarked: true}, "default": {},
		} {
			reader := w.readers[name]
			if reader == nil {
				reader = w.readers["RED"]
			}
			q.Format = format
			var out strings.Builder
			if _, err := reader.Export(t.Context(), q, &out); err != nil {
				t.Fatal(err)
			}
			w.files[format+" "+name] = out.String()
		}
	}
	for tlp, reader := range w.readers {
		w.files["stream "+tlp] = follow(t, reader)
	}
	bundle := func(reader *client.Client, audience string) []byte {
		t.Helper()
		var out bytes.Buffer
		if _, _, err := reader.ExportBundle(t.Context(), client.BundleQuery{Audience: audience, Created: w.author.clock.Now(), Part: 1, Size: api.BundlePartDefault}, &out); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	w.files["clear anybody"] = string(bundle(w.readers["RED"], "community"))
	w.files["clear CLEAR"] = string(bundle(w.readers["CLEAR"], "community"))
	w.sealed = bundle(w.readers["RED"], "region")
	if answer, err := w.apart.ImportBundle(t.Context(), bytes.NewReader(w.sealed)); err != nil || answer.Taken == 0 {
		t.Fatalf("the member that is apart takes %+v, error %v", answer, err)
	}
	for _, raw := range [][]byte{w.sealed, []byte(w.files["clear anybody"])} {
		if answer, err := w.stranger.ImportBundle(t.Context(), bytes.NewReader(raw)); err == nil && answer.Taken > 0 {
			t.Errorf("a stranger takes %+v", answer)
		}
	}
}

// follow is all that a stream tells until its last word.
func follow(t *testing.T, c *client.Client) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out strings.Builder
	done := errors.New("that was the last")
	err := c.Tail(ctx, 0, func(v api.NoticeView) error {
		fmt.Fprintln(&out, v.Indicator.Value)
		if v.Indicator.Value == "end.example" {
			return done
		}
		return nil
	}, func(err error) { t.Error(err) })
	if !errors.Is(err, done) {
		t.Fatal(err)
	}
	return out.String()
}

// served is all that TAXII gives somebody, from every collection.
func (h *hospital) served(t testing.TB, secret string) string {
	t.Helper()
	var out strings.Builder
	for _, alias := range []string{"clear", "green", "amber"} {
		if status, _, _ := h.fetch(t, secret, "/taxii2/watchward/collections/"+alias+"/", nil); status == http.StatusOK {
			fmt.Fprintln(&out, h.collected(t, secret, alias))
		}
	}
	return out.String()
}

// mispFeed is all that the feed of MISP gives somebody.
func (h *hospital) mispFeed(t testing.TB, secret string) string {
	t.Helper()
	_, _, manifest := h.fetch(t, secret, "/misp/manifest.json", nil)
	var listed map[string]any
	if err := json.Unmarshal(manifest, &listed); err != nil {
		t.Fatalf("%v: %s", err, manifest)
	}
	var out strings.Builder
	for uuid := range listed {
		_, _, event := h.fetch(t, secret, "/misp/"+uuid+".json", nil)
		out.Write(event)
	}
	return out.String()
}
