package proof_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/ledger/tlog"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/proof"
)

const said = testkit.Founded + 3_600_000

// A world is two regions, and five notices of which anna signed each the third.
type world struct {
	north, south *testkit.Region
	anna, ben    *testkit.Member
	envelope     *crypto.Envelope // AMBER, for the region
}

func newWorld(t testing.TB) *world {
	w := &world{north: testkit.NewRegionNamed(t, "north", "anna", "ben"), south: testkit.NewRegionNamed(t, "south", "cara")}
	w.anna, w.ben = w.north.Members[0], w.north.Members[1]
	w.envelope = w.anna.Envelope(t, crypto.Header{Time: said}, nil, items(t)...)
	return w
}

func items(t testing.TB) (out [][]byte) {
	t.Helper()
	for i, value := range []string{"one.example", "two.example", "three.example", "four.example", "five.example"} {
		raw, err := notice.Encode(&notice.Notice{
			Kind: notice.KindSighting, Created: said, Salt: [16]byte{byte(i + 1)}, FirstSeen: said, LastSeen: said, Count: 1,
			Indicator: &notice.Indicator{Type: notice.TypeDomain, Value: value},
		})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, raw)
	}
	return out
}

// file proves the third notice of an envelope by what the region knows of the author.
func (w *world) file(t testing.TB, e *crypto.Envelope) *proof.File {
	t.Helper()
	h := &e.Header
	f, err := proof.New(e, 2, w.north.Roster(t).Proof(h.Region, h.Author, h.Serial, h.Audience))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// signed is the file of another envelope that anna signed.
func (w *world) signed(t testing.TB, h crypto.Header, items ...[]byte) *proof.File {
	t.Helper()
	return w.file(t, w.anna.Envelope(t, h, nil, items...))
}

// edited puts another header before anna's signature, as a carrier could.
func (w *world) edited(t testing.TB, change func(h *crypto.Header)) *proof.File {
	t.Helper()
	f := w.file(t, w.envelope)
	h := f.Envelope.Header
	change(&h)
	raw, err := canon.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	if f.Envelope, err = crypto.ParseEnvelope(slices.Concat(raw, f.Envelope.Signature)); err != nil {
		t.Fatal(err)
	}
	return f
}

func flipped(raw []byte, at int) []byte {
	out := bytes.Clone(raw)
	if at < 0 {
		at += len(out)
	}
	out[at] ^= 1
	return out
}

// fork is the proof that anna used a number of a chain twice.
func (w *world) fork(t testing.TB, h crypto.Header) []byte {
	t.Helper()
	h.Time = said
	twin := h
	twin.Exercise = true
	raw, err := trust.NewForkProof(w.anna.Envelope(t, h, nil, []byte("a")).Bare(), w.anna.Envelope(t, twin, nil, []byte("b")).Bare())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// proven is the verdict of a file that proves its notice.
const proven = proof.Step("proven")

func TestVerdicts(t *testing.T) {
	w := newWorld(t)
	good := func() *proof.File { return w.file(t, w.envelope) }
	endorsing := w.south.Roster(t)
	if _, err := endorsing.AddAll([][]byte{w.south.Endorse(t, nil, w.north)}); err != nil {
		t.Fatal(err)
	}
	south := proof.Known{Region: &w.south.ID, Records: endorsing.Standing(w.south.ID, false)}
	charter, anna, ben := w.north.Records[0], w.anna.Record, w.ben.Record
	with := func(records ...[]byte) *proof.File {
		f := good()
		f.Records = records
		return f
	}
	change := func(edit func(f *proof.File)) *proof.File {
		f := good()
		edit(f)
		return f
	}
	forked := w.fork(t, crypto.Header{})
	tests := []struct {
		name  string
		file  *proof.File
		known proof.Known
		want  proof.Step
	}{
		{"genuine", good(), proof.Known{}, proven},
		{"genuine, and the region compared", good(), proof.Known{Region: &w.north.ID}, proven},
		{"genuine, of a region that the trusted one endorses", good(), south, proven},
		{"the credential is in the region's file only", with(charter), proof.Known{Region: &w.north.ID, Records: w.north.Records}, proven},
		{"another region is trusted", good(), proof.Known{Region: &w.south.ID}, proof.StepRegion},
		{"another region is trusted, which endorses nobody", good(), proof.Known{Region: &w.south.ID, Records: w.south.Records[:1]}, proof.StepRegion},
		{"the region of zeros is trusted", good(), proof.Known{Region: &crypto.Region{}}, proof.StepRegion},
		{"no charter", with(anna), proof.Known{}, proof.StepCharter},
		{"the charter of another genesis", with(w.south.Records[0], anna), proof.Known{}, proof.StepCharter},
		{"a bit of the charter's signature", with(flipped(charter, -1), anna), proof.Known{}, proof.StepCharter},
		{"a bit of the charter", with(flipped(charter, 40), anna), proof.Known{}, proof.StepCharter},
		{"no credential", with(charter), proof.Known{}, proof.StepAuthor},
		{"the credential of another member", with(charter, ben), proof.Known{}, proof.StepAuthor},
		{"a bit of the admission's signature", with(charter, flipped(anna, -1)), proof.Known{}, proof.StepAuthor},
		{"a bit of the credential", with(charter, flipped(anna, 60)), proof.Known{}, proof.StepAuthor},
		{"another serial", w.edited(t, func(h *crypto.Header) { h.Serial = 2 }), proof.Known{}, proof.StepAuthor},
		{"a record of another region", with(charter, anna, w.south.Records[0]), proof.Known{}, proof.StepRecords},
		{"a record that is none", with(charter, anna, []byte("x")), proof.Known{}, proof.StepRecords},
		{"a forged fork", with(charter, anna, flipped(forked, -1)), proof.Known{}, proof.StepRecords},
		{"a fork", with(charter, anna, forked), proof.Known{}, proven},
		{"signed in the grace after the credential's end", w.signed(t, crypto.Header{Time: testkit.Forever + 1}, items(t)...), proof.Known{}, proven},
		{"signed after that", w.signed(t, crypto.Header{Time: testkit.Forever + trust.Grace.Milliseconds() + 1}, items(t)...), proof.Known{}, proof.StepCredential},
		{"signed before it began", w.signed(t, crypto.Header{Time: testkit.Founded - 1}, items(t)...), proof.Known{}, proof.StepCredential},
		{"AMBER for the community", w.signed(t, crypto.Header{Time: said, Audience: crypto.AudienceCommunity, TLP: 3}, items(t)...), proof.Known{}, proof.StepMarking},
		{"RED for the region", w.signed(t, crypto.Header{Time: said, TLP: 5}, items(t)...), proof.Known{}, proof.StepMarking},
		{"sealed for named members", w.signed(t, crypto.Header{Time: said, Audience: crypto.AudienceNamed, TLP: 5}, items(t)...), proof.Known{}, proof.StepMarking},
		{"GREEN, kept in the region", w.signed(t, crypto.Header{Time: said, TLP: 2}, items(t)...), proof.Known{}, proven},
		{"loosened on the way", w.edited(t, func(h *crypto.Header) { h.TLP = 2 }), proof.Known{}, proof.StepSignature},
		{"said at another time", w.edited(t, func(h *crypto.Header) { h.Time++ }), proof.Known{}, proof.StepSignature},
		{"another root", w.edited(t, func(h *crypto.Header) { h.Root[0] ^= 1 }), proof.Known{}, proof.StepSignature},
		{"no drill any more", w.edited(t, func(h *crypto.Header) { h.Exercise = true }), proof.Known{}, proof.StepSignature},
		{"another author, with its credential", func() *proof.File {
			f := w.edited(t, func(h *crypto.Header) { h.Author = w.ben.ID })
			f.Records = [][]byte{charter, ben}
			return f
		}(), proof.Known{}, proof.StepSignature},
		{"the signature of another envelope", change(func(f *proof.File) {
			other := w.anna.Envelope(t, crypto.Header{Time: said + 1}, nil, items(t)...)
			f.Envelope, _ = crypto.ParseEnvelope(slices.Concat(f.Envelope.Signed, other.Signature))
		}), proof.Known{}, proof.StepSignature},
		{"another item of the envelope", change(func(f *proof.File) { f.Item = items(t)[3] }), proof.Known{}, proof.StepItem},
		{"an item of nobody", change(func(f *proof.File) { f.Item = flipped(f.Item, -1) }), proof.Known{}, proof.StepItem},
		{"another index", change(func(f *proof.File) { f.Index = 3 }), proof.Known{}, proof.StepItem},
		{"an index behind the last", change(func(f *proof.File) { f.Index = 5 }), proof.Known{}, proof.StepItem},
		{"a path cut short", change(func(f *proof.File) { f.Path = f.Path[:len(f.Path)-1] }), proof.Known{}, proof.StepItem},
		{"a path too long", change(func(f *proof.File) { f.Path = append(f.Path, crypto.Hash{}) }), proof.Known{}, proof.StepItem},
		{"a path in another order", change(func(f *proof.File) { slices.Reverse(f.Path) }), proof.Known{}, proof.StepItem},
		{"no path", change(func(f *proof.File) { f.Path = nil }), proof.Known{}, proof.StepItem},
		{"an inner node for an item", change(func(f *proof.File) { // RFC 6962 tells leaves from nodes
			a, b := crypto.LeafHash(items(t)[2]), crypto.LeafHash(items(t)[3])
			f.Item, f.Path, f.Index = slices.Concat([]byte{1}, a[:], b[:]), f.Path[1:], 1
		}), proof.Known{}, proof.StepItem},
		{"no notice", w.signed(t, crypto.Header{Time: said}, []byte("a"), []byte("b"), []byte("c")), proof.Known{}, proof.StepNotice},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw, err := tt.file.Encode()
			if err != nil {
				t.Fatal(err)
			}
			f, err := proof.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			p, err := proof.Verify(f, tt.known)
			got := proven
			if failed := (*proof.Failure)(nil); errors.As(err, &failed) {
				got = failed.Step
			}
			if got != tt.want {
				t.Fatalf("%s, want %s: %v", got, tt.want, err)
			}
			if err != nil {
				return
			}
			e := w.envelope
			if want := crypto.NewItemID(w.anna.ID, crypto.LeafHash(items(t)[2])); p.ID != want || p.Notice.Indicator.Value != "three.example" ||
				p.Author.Name != "anna" || p.Charter.Name != "north" || p.Header.Region != e.Header.Region {
				t.Errorf("proves %+v", p)
			}
			if endorsed := tt.known.Region == &w.south.ID; (p.Endorser != nil) != endorsed || endorsed && p.Endorser.Name != "south" {
				t.Errorf("endorsed by %+v", p.Endorser)
			}
		})
	}
}

// revoking returns the record that revokes anna's key.
func (w *world) revoking(t testing.TB, cuts ...trust.Cut) []byte {
	t.Helper()
	st, err := trust.Revoking(w.north.Charter, w.anna.Credential, cuts, said)
	if err != nil {
		t.Fatal(err)
	}
	records, err := trust.Act(w.north.Charter, []*crypto.PrivateKey{w.north.Admission}, said, st)
	if err != nil {
		t.Fatal(err)
	}
	return records[0]
}

// Of a revoked author stands what the cut is linked to, and nothing else.
func TestRevoked(t *testing.T) {
	w := newWorld(t)
	chain := []*crypto.Envelope{w.envelope}
	for i := range 4 {
		chain = append(chain, w.anna.Envelope(t, crypto.Header{Time: said + int64(i) + 1}, chain[i], items(t)...))
	}
	links := func(of []*crypto.Envelope) (out [][]byte) {
		for _, e := range of {
			out = append(out, e.Signed)
		}
		return out
	}
	thief := w.anna.Envelope(t, crypto.Header{Time: said + 1, Exercise: true}, chain[0], items(t)...) // number 2, a second time
	at := func(e *crypto.Envelope) trust.Cut {
		return trust.Cut{Audience: e.Header.Audience, Epoch: e.Header.Epoch, Seq: e.Header.Seq, ID: e.ID}
	}
	elsewhere := at(chain[3])
	elsewhere.Epoch = 2
	for _, tt := range []struct {
		name  string
		word  *crypto.Envelope
		links [][]byte
		cuts  []trust.Cut
		want  string // of the reason; empty if it stands
	}{
		{"at the cut", chain[3], nil, []trust.Cut{at(chain[3])}, ""},
		{"before it, linked", chain[1], links(chain[2:4]), []trust.Cut{at(chain[3])}, ""},
		{"before it, linked beyond it", chain[1], links(chain[2:5]), []trust.Cut{at(chain[3])}, ""},
		{"after it", chain[4], nil, []trust.Cut{at(chain[3])}, "lies after the cut"},
		{"nothing of the chain stands", chain[1], nil, nil, "lies after the cut"},
		{"another epoch stands", chain[1], links(chain[2:4]), []trust.Cut{elsewhere}, "lies after the cut"},
		{"before it, not linked", chain[1], nil, []trust.Cut{at(chain[3])}, "nothing here shows"},
		{"a link is missing", chain[0], links(slices.Concat(chain[1:2], chain[3:4])), []trust.Cut{at(chain[3])}, "does not follow"},
		{"the links end early", chain[1], links(chain[2:3]), []trust.Cut{at(chain[3])}, "nothing here shows"},
		{"a thief's, of a number before the cut", thief, links(chain[2:4]), []trust.Cut{at(chain[3])}, "does not follow"},
		{"a thief's, at the cut", thief, nil, []trust.Cut{at(chain[1])}, "not among those"},
		{"a link that is none", chain[1], [][]byte{chain[2].Signed, []byte("x")}, []trust.Cut{at(chain[3])}, "damaged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			roster := w.north.Roster(t)
			if _, err := roster.Add(w.revoking(t, tt.cuts...)); err != nil {
				t.Fatal(err)
			}
			f, err := proof.New(tt.word, 2, roster.Proof(w.north.ID, w.anna.ID, 1, crypto.AudienceRegion))
			if err != nil {
				t.Fatal(err)
			}
			f.Links = tt.links
			raw, err := f.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if f, err = proof.Parse(raw); err != nil {
				t.Fatal(err)
			}
			p, err := proof.Verify(f, proof.Known{})
			failed := (*proof.Failure)(nil)
			if tt.want == "" && (err != nil || !p.Revoked) ||
				tt.want != "" && (!errors.As(err, &failed) || failed.Step != proof.StepRevocation || !strings.Contains(failed.Error(), tt.want)) {
				t.Errorf("error %v", err)
			}
			// A file from before the revocation has no word of it.
			f.Records = w.north.Roster(t).Proof(w.north.ID, w.anna.ID, 1, crypto.AudienceRegion)
			if p, err = proof.Verify(f, proof.Known{}); err != nil || p.Revoked {
				t.Errorf("before it was known: %v", err)
			}
			if _, err = proof.Verify(f, proof.Known{Region: &w.north.ID, Records: roster.Standing(w.north.ID, false)}); (err == nil) != (tt.want == "") {
				t.Errorf("with the region's newer file: %v", err)
			}
		})
	}
}

// A fork is told, but not one among AMBER words beside what is for the community.
func TestForksAreTold(t *testing.T) {
	w := newWorld(t)
	community := crypto.Header{Audience: crypto.AudienceCommunity, TLP: 2}
	for _, tt := range []struct {
		name string
		fork crypto.Header
		word crypto.Header
		want bool
	}{
		{"both for the region", crypto.Header{}, crypto.Header{}, true},
		{"both for the community", community, community, true},
		{"the fork is for all", community, crypto.Header{}, true},
		{"the fork is for the region alone", crypto.Header{}, community, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.word.Time = said
			e := w.anna.Envelope(t, tt.word, nil, items(t)...)
			roster := w.north.Roster(t)
			if _, err := roster.Add(w.fork(t, tt.fork)); err != nil {
				t.Fatal(err)
			}
			f, err := proof.New(e, 0, roster.Proof(w.north.ID, w.anna.ID, 1, e.Header.Audience))
			if err != nil {
				t.Fatal(err)
			}
			p, err := proof.Verify(f, proof.Known{})
			if err != nil || (p.Fork != nil) != tt.want || p.InFork() {
				t.Errorf("fork %+v, error %v", p.Fork, err)
			}
			if p, err = proof.Verify(f, proof.Known{Region: &w.north.ID, Records: [][]byte{w.fork(t, tt.fork)}}); err != nil || p.Fork == nil {
				t.Errorf("with what is known beside it: fork %+v, error %v", p.Fork, err)
			}
		})
	}
	twin := w.anna.Envelope(t, crypto.Header{Time: said, Exercise: true}, nil, items(t)...)
	raw, err := trust.NewForkProof(w.envelope.Bare(), twin.Bare())
	if err != nil {
		t.Fatal(err)
	}
	p, err := proof.Verify(w.file(t, w.envelope), proof.Known{Region: &w.north.ID, Records: [][]byte{raw}})
	if err != nil || !p.InFork() {
		t.Errorf("one of two words with one number: %v", err)
	}
}

// Whoever changes one bit of a file, wherever, has a file that proves nothing.
func TestEachBitCounts(t *testing.T) {
	w := newWorld(t)
	raw, err := w.file(t, w.envelope).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(raw); at += 13 {
		changed := bytes.Clone(raw)
		changed[at] ^= 1 << (at % 8)
		if f, err := proof.Parse(changed); err == nil {
			if _, err := proof.Verify(f, proof.Known{}); err == nil {
				t.Fatalf("byte %d of %d may be changed", at, len(raw))
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	w := newWorld(t)
	raw, err := w.file(t, w.envelope).Encode()
	if err != nil {
		t.Fatal(err)
	}
	empty := w.anna.Envelope(t, crypto.Header{Time: said}, nil, nil) // whose items are one byte
	for _, tt := range []struct {
		name string
		raw  []byte
		want error // nil: any
	}{
		{"nothing", nil, proof.ErrNoProof},
		{"a bundle", []byte("watchward-bundle/0\nx"), proof.ErrNoProof},
		{"another version", []byte("watchward-proof/2\nx"), proof.ErrVersion},
		{"the magic alone", []byte(proof.Magic), nil},
		{"cut short", raw[:len(raw)-1], nil},
		{"trailing byte", append(bytes.Clone(raw), 0), nil},
		{"two in one", slices.Concat(raw, raw), nil},
		{"too large", append(bytes.Clone(raw), make([]byte, proof.SizeMax)...), nil},
		{"half a signature", body(t, map[int]any{1: [][]byte{}, 2: w.envelope.Signed, 3: w.envelope.Signature[64:], 4: []byte("x"), 5: 0}), nil},
		{"a header that reaches into the signature", body(t, map[int]any{1: [][]byte{}, 2: slices.Concat(empty.Signed, []byte{0}),
			3: empty.Signature, 4: []byte("x"), 5: 0}), nil},
		{"an index that is no index", body(t, map[int]any{1: [][]byte{}, 2: w.envelope.Signed, 3: w.envelope.Signature, 4: []byte("x"), 5: -1}), nil},
		{"a path without end", body(t, map[int]any{1: [][]byte{}, 2: w.envelope.Signed, 3: w.envelope.Signature, 4: []byte("x"), 5: 0, 6: make([]crypto.Hash, 11)}), nil},
		{"records without end", body(t, map[int]any{1: make([][]byte, proof.RecordsMax+1), 2: w.envelope.Signed, 3: w.envelope.Signature, 4: []byte("x"), 5: 0}), nil},
		{"a key of a later version", body(t, map[int]any{1: [][]byte{}, 2: w.envelope.Signed, 3: w.envelope.Signature, 4: []byte("x"), 5: 0, 7: 1}), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := proof.Parse(tt.raw); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

func body(t *testing.T, fields map[int]any) []byte {
	t.Helper()
	raw, err := canon.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(proof.Magic), raw...)
}

// A region's file has no member, no seed and no other region in it unless asked.
func TestRegionFile(t *testing.T) {
	w := newWorld(t)
	w.north.Endorse(t, nil, w.south)
	roster := w.north.Roster(t)
	if _, err := roster.AddAll(w.south.Records); err != nil {
		t.Fatal(err)
	}
	for members, want := range map[bool]int{false: 0, true: 2} {
		raw, err := proof.EncodeRegion(roster, members, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := proof.ParseRegion(raw)
		if err != nil || r.Region != w.north.ID || len(r.Seeds) != 0 {
			t.Fatalf("%+v, error %v", r, err)
		}
		read := trust.NewRoster(r.Region)
		for _, record := range r.Records { // in this order
			if added, err := read.Add(record); err != nil || !added {
				t.Fatal(err)
			}
		}
		if got := len(read.Members(w.north.ID)); got != want || read.Charter() == nil || read.Endorsements(w.north.ID) == nil || read.CharterOf(w.south.ID) != nil {
			t.Errorf("members %v: %d members, charter %v", members, got, read.Charter())
		}
	}
	if _, err := proof.ParseRegion([]byte("x")); err == nil {
		t.Error("took what is no region")
	}
}

func FuzzParse(f *testing.F) {
	w := newWorld(f)
	raw, err := w.file(f, w.envelope).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Add([]byte(proof.Magic))
	k := newKept(f)
	if raw, err = k.file(f, k.region.Roster(f), k.receipt(f, wordAt, tlog.Origin(k.region.ID, 1), "ada", "bob")).Encode(); err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		file, err := proof.Parse(raw)
		if err != nil {
			return
		}
		again, err := file.Encode()
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("read and written it is another file: %v", err)
		}
		p, err := proof.Verify(file, proof.Known{Region: &w.north.ID})
		if err == nil && p.Author.Member != w.anna.ID {
			t.Fatalf("a word of %s, who said nothing", p.Author.Name)
		}
	})
}

func FuzzParseRegion(f *testing.F) {
	w := newWorld(f)
	raw, err := proof.EncodeRegion(w.north.Roster(f), true, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := proof.ParseRegion(raw)
		if err != nil {
			return
		}
		again, err := canon.Marshal(r)
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("read and written it is another file: %v", err)
		}
	})
}
