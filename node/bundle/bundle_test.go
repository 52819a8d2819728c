package bundle_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/canon"
	"github.com/watchward/watchward/crypto/seal"
	"github.com/watchward/watchward/crypto/testkit"
	"github.com/watchward/watchward/crypto/trust"
	"github.com/watchward/watchward/mesh/wire"
	"github.com/watchward/watchward/node/bundle"
)

func header(a crypto.Audience) bundle.Header {
	return bundle.Header{Region: crypto.Region{7}, Name: "North", Created: 1_700_000_000_000, Part: 3, Audience: a}
}

var owner = crypto.MemberID{9}

func seed() (out [32]byte) { return [32]byte{1, 2, 3} }

func recipients(t testing.TB) []seal.Recipient {
	t.Helper()
	r := testkit.NewRegion(t, "owner")
	return []seal.Recipient{{Member: owner, Key: r.Members[0].SealKey()}}
}

func ownerSeed(t testing.TB) [32]byte {
	t.Helper()
	return testkit.NewRegion(t, "owner").Members[0].SealSeed
}

// contents are what a part of these tests holds: records, then envelopes.
func contents() (records, envelopes [][]byte) {
	for i := range 3 {
		records = append(records, bytes.Repeat([]byte{byte(i + 1)}, 100*(i+1)))
	}
	for i := range 5 {
		envelopes = append(envelopes, bytes.Repeat([]byte{byte(0x40 + i)}, 40_000*i+1))
	}
	return records, envelopes
}

func write(t testing.TB, a crypto.Audience, more bool) []byte {
	t.Helper()
	var to []seal.Recipient
	if a == crypto.AudienceRegion {
		to = recipients(t)
	}
	var out bytes.Buffer
	w, err := bundle.NewWriter(&out, header(a), to)
	if err != nil {
		t.Fatal(err)
	}
	records, envelopes := contents()
	size := w.Size(0)
	for _, raw := range records {
		size = w.Size(len(raw))
		if err := w.Record(raw); err != nil {
			t.Fatal(err)
		}
	}
	for _, raw := range envelopes {
		size = w.Size(len(raw))
		if err := w.Envelope(raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(more); err != nil {
		t.Fatal(err)
	}
	if w.Envelopes() != len(envelopes) || int64(out.Len()) > size || int64(out.Len()) < size-100 {
		t.Errorf("%d envelopes in %d bytes, Size said %d", w.Envelopes(), out.Len(), size)
	}
	return out.Bytes()
}

// A reading is what a part gave.
type reading struct {
	header             bundle.Header
	records, envelopes [][]byte
	bad                []int64 // places
	err                error
}

// readPart reads the next part to its end.
func readPart(t testing.TB, r *bundle.Reader) (out reading) {
	t.Helper()
	if out.header, out.err = r.Part(); out.err != nil {
		return out
	}
	if out.header.Sealed() {
		if out.err = r.Open(owner, ownerSeed(t)); out.err != nil {
			return out
		}
	}
	for {
		item, err := r.Next()
		switch {
		case err != nil:
			out.err = err
			return out
		case item.Err != nil:
			out.bad = append(out.bad, item.At)
		case item.Record:
			out.records = append(out.records, item.Raw)
		default:
			out.envelopes = append(out.envelopes, item.Raw)
		}
	}
}

func TestPartsTravel(t *testing.T) {
	records, envelopes := contents()
	var stream []byte
	audiences := []crypto.Audience{crypto.AudienceCommunity, crypto.AudienceRegion, crypto.AudienceRegion, crypto.AudienceCommunity}
	for i, a := range audiences {
		stream = append(stream, write(t, a, i%2 == 0)...)
	}
	for name, in := range map[string]io.Reader{"at once": bytes.NewReader(stream), "by bytes": iotest.OneByteReader(bytes.NewReader(stream))} {
		r := bundle.NewReader(in)
		for i, a := range audiences {
			got := readPart(t, r)
			if !errors.Is(got.err, io.EOF) || got.header != header(a) || r.More() != (i%2 == 0) {
				t.Fatalf("%s: part %d: %+v, %v", name, i+1, got.header, got.err)
			}
			if !reflect.DeepEqual(got.records, records) || !reflect.DeepEqual(got.envelopes, envelopes) {
				t.Fatalf("%s: part %d differs", name, i+1)
			}
		}
		if _, err := r.Part(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: behind the last part: %v", name, err)
		}
	}
}

func TestWhatIsNotWritten(t *testing.T) {
	to := recipients(t)
	long := header(crypto.AudienceCommunity)
	long.Name = strings.Repeat("x", trust.NameSizeMax+1)
	control := header(crypto.AudienceCommunity)
	control.Name = "North\x1b[2J"
	none := header(crypto.AudienceCommunity)
	none.Part = 0
	for name, x := range map[string]struct {
		h  bundle.Header
		to []seal.Recipient
	}{
		"the region's in clear":    {header(crypto.AudienceRegion), nil},
		"the community's, sealed":  {header(crypto.AudienceCommunity), to},
		"for named members":        {header(crypto.AudienceNamed), to},
		"what stays":               {header(crypto.AudienceLocal), nil},
		"a long name":              {long, nil},
		"a name that moves a line": {control, nil},
		"part 0":                   {none, nil},
	} {
		var out bytes.Buffer
		if _, err := bundle.NewWriter(&out, x.h, x.to); err == nil || out.Len() > 0 {
			t.Errorf("%s: %d bytes, %v", name, out.Len(), err)
		}
	}
}

// frame is one frame with any body.
func frame(kind byte, body []byte) []byte {
	return append(append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+1)), kind), body...)
}

func encoded(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := canon.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// What is no part, or stops being one, says so with its place.
func TestBadParts(t *testing.T) {
	whole := write(t, crypto.AudienceCommunity, false)
	head := len(bundle.Magic)
	begin := head + int(binary.BigEndian.Uint32(whole[head:])) + 4
	cut := func(n int) []byte { return whole[:n] }
	with := func(frames ...[]byte) []byte {
		return append(append(bytes.Clone(whole[:begin]), bytes.Join(frames, nil)...), whole[begin:]...)
	}
	headed := func(h any) []byte { return append([]byte(bundle.Magic), frame(1, encoded(t, h))...) }
	sealedHeader := header(crypto.AudienceNamed)
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-60_000] ^= 1 // in the last envelope
	huge := binary.BigEndian.AppendUint32(nil, 1<<31)
	body := func(raw []byte) []byte { return encoded(t, map[int][]byte{1: raw}) }
	for name, x := range map[string]struct {
		raw  []byte
		want string // of the error
		good int    // envelopes that come before it
		bad  int    // frames refused alone
	}{
		"whole":                  {whole, "EOF", 5, 0},
		"nothing":                {nil, "this is no bundle", 0, 0},
		"a text":                 {[]byte("evil.example\n"), "this is no bundle", 0, 0},
		"a text that begins so":  {[]byte("watchward is a daemon"), "this is no bundle", 0, 0},
		"a later version":        {[]byte("watchward-bundle/7\nand what follows"), "has a version", 0, 0},
		"half a magic":           {cut(10), "breaks off at byte 0", 0, 0},
		"only the magic":         {cut(head), fmt.Sprintf("breaks off at byte %d", head), 0, 0},
		"half a header":          {cut(head + 20), fmt.Sprintf("breaks off at byte %d", head), 0, 0},
		"only a header":          {cut(begin), fmt.Sprintf("breaks off at byte %d of part 3", begin), 0, 0},
		"cut in an envelope":     {cut(len(whole) - 100_000), "breaks off at byte", 4, 0},
		"cut in the end":         {cut(len(whole) - 1), "breaks off at byte", 5, 0},
		"a header of a peer":     {headed(&wire.Hello{Versions: []uint8{0}}), "damaged at byte 19", 0, 0},
		"a header for named":     {headed(sealedHeader), "does not travel in a file", 0, 0},
		"no header":              {append([]byte(bundle.Magic), frame(3, body([]byte("x")))...), "its header is missing", 0, 0},
		"a huge header":          {append([]byte(bundle.Magic), frame(1, make([]byte, bundle.HeaderMax))...), "damaged at byte 19", 0, 0},
		"a header twice":         {with(whole[head:begin]), "checksum differs", 5, 1},
		"an unknown kind":        {with(frame(9, body([]byte("x")))), "checksum differs", 5, 1},
		"an empty envelope":      {with(frame(3, body([]byte{}))), "checksum differs", 5, 1},
		"a huge envelope":        {with(frame(3, body(make([]byte, crypto.EnvelopeSizeMax+1)))), "checksum differs", 5, 1},
		"a huge record":          {with(frame(2, body(make([]byte, trust.RecordSizeMax+1)))), "checksum differs", 5, 1},
		"a body with more":       {with(frame(3, encoded(t, map[int][]byte{1: {1}, 2: {2}}))), "checksum differs", 5, 1},
		"a body of another form": {with(frame(3, []byte{0xff})), "checksum differs", 5, 1},
		"a longer form":          {with(frame(3, []byte{0xa1, 0x01, 0x58, 0x01, 0x07})), "checksum differs", 5, 1},
		"trailing bytes":         {with(frame(3, append(body([]byte("x")), 0))), "checksum differs", 5, 1},
		"an empty frame":         {with([]byte{0, 0, 0, 0}), fmt.Sprintf("damaged at byte %d of part 3", begin), 0, 0},
		"a huge frame":           {with(huge), fmt.Sprintf("damaged at byte %d of part 3", begin), 0, 0},
		"an envelope added":      {with(frame(3, body([]byte("x")))), "checksum differs", 6, 0},
		"a flipped bit":          {flipped, "checksum differs", 5, 0},
		"too many bad frames":    {with(bytes.Repeat(frame(9, []byte{0}), bundle.BadMax+1)), "more than 1000 pieces", 0, bundle.BadMax},
		"an end of another form": {append(bytes.Clone(whole[:begin]), frame(4, []byte{0xa0})...), "damaged at byte", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := readPart(t, bundle.NewReader(bytes.NewReader(x.raw)))
			if got.err == nil || !strings.Contains(got.err.Error(), x.want) || len(got.envelopes) != x.good || len(got.bad) != x.bad {
				t.Errorf("%d envelopes, %d bad ones, %v, want %d, %d, %q", len(got.envelopes), len(got.bad), got.err, x.good, x.bad, x.want)
			}
		})
	}
	r := bundle.NewReader(bytes.NewReader(append(bytes.Clone(whole), "and more"...)))
	if got := readPart(t, r); !errors.Is(got.err, io.EOF) {
		t.Fatal(got.err)
	}
	if _, err := r.Part(); err == nil || !strings.Contains(err.Error(), "something else follows") {
		t.Errorf("behind a part: %v", err)
	}
}

// The same matrix for a sealed part: it gives what its pieces prove.
func TestBadSealedParts(t *testing.T) {
	whole := write(t, crypto.AudienceRegion, false)
	clear := write(t, crypto.AudienceCommunity, false)
	at := func(i int) []byte {
		out := bytes.Clone(whole)
		out[i] ^= 1
		return out
	}
	renamed := bytes.Replace(whole, []byte("North"), []byte("South"), 1)
	for name, x := range map[string]struct {
		raw  []byte
		want string
		good int
	}{
		"whole":            {whole, "EOF", 5},
		"another name":     {renamed, "what is sealed was changed", 0},
		"its list":         {at(300), "what is sealed was changed", 0},
		"its last piece":   {at(len(whole) - 1), "what is sealed was changed", 4},
		"an earlier piece": {at(len(whole) / 2), "what is sealed was changed", 3},
		"cut":              {whole[:len(whole)-70_000], "it breaks off at byte", 4},
		"cut in the list":  {whole[:400], "it breaks off at byte", 0},
		"not sealed":       {append(bytes.Clone(whole[:86]), clear[86:]...), "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := readPart(t, bundle.NewReader(bytes.NewReader(x.raw)))
			if got.err == nil || !strings.Contains(got.err.Error(), x.want) || len(got.envelopes) != x.good {
				t.Errorf("%d envelopes, %v, want %d, %q", len(got.envelopes), got.err, x.good, x.want)
			}
		})
	}
	// What follows the end inside the box belongs to no part.
	var begin bytes.Buffer
	begin.WriteString(bundle.Magic)
	if _, err := wire.Write(&begin, 1, header(crypto.AudienceRegion)); err != nil {
		t.Fatal(err)
	}
	end := frame(4, encoded(t, bundle.End{Sum: sha256.Sum256(begin.Bytes())}))
	for more, want := range map[string]string{"": "EOF", "x": "something follows its end"} {
		l := seal.Label{Purpose: "bundle", Region: header(crypto.AudienceRegion).Region, TLP: bundle.TLP, Bound: begin.Bytes()}
		box, err := seal.Seal(l, recipients(t), append(bytes.Clone(end), more...))
		if err != nil {
			t.Fatal(err)
		}
		got := readPart(t, bundle.NewReader(io.MultiReader(bytes.NewReader(begin.Bytes()), bytes.NewReader(box))))
		if got.err == nil || !strings.Contains(got.err.Error(), want) {
			t.Errorf("%q behind the end: %v", more, got.err)
		}
	}
	r := bundle.NewReader(bytes.NewReader(whole))
	if _, err := r.Part(); err != nil {
		t.Fatal(err)
	}
	var not *seal.NotRecipientError
	if err := r.Open(crypto.MemberID{1}, seed()); !errors.As(err, &not) || not.Recipients[0] != owner {
		t.Errorf("a stranger: %v", err)
	}
	if _, err := r.Next(); err == nil {
		t.Error("a part that is not open is read")
	}
}

// An error of the stream is no damage of the part.
func TestTheStreamFails(t *testing.T) {
	gone := errors.New("the stick was pulled")
	for _, a := range []crypto.Audience{crypto.AudienceCommunity, crypto.AudienceRegion} {
		whole := write(t, a, false)
		for _, n := range []int{0, 5, 40, 200, len(whole) / 2, len(whole)} {
			r := bundle.NewReader(io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(gone)))
			got := readPart(t, r)
			if n == len(whole) && errors.Is(got.err, io.EOF) {
				_, got.err = r.Part()
			}
			if !errors.Is(got.err, gone) {
				t.Errorf("%s, after %d bytes: %v", a, n, got.err)
			}
		}
	}
}

// Whatever comes, reading neither panics nor ends well unless writing what it
// gave makes the same bytes.
func FuzzReader(f *testing.F) {
	small := func(a crypto.Audience) []byte {
		var out bytes.Buffer
		w, err := bundle.NewWriter(&out, header(a), nil)
		if err != nil {
			f.Fatal(err)
		}
		if err := errors.Join(w.Record([]byte("record")), w.Envelope([]byte("one")), w.Envelope([]byte("two")), w.Close(true)); err != nil {
			f.Fatal(err)
		}
		return out.Bytes()
	}(crypto.AudienceCommunity)
	f.Add(small)
	f.Add(append(bytes.Clone(small), small...))
	f.Add(small[:len(small)-5])
	f.Add([]byte(bundle.Magic))
	sealed := write(f, crypto.AudienceRegion, false)
	f.Add(sealed[:2000])
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bundle.NewReader(bytes.NewReader(in))
		got := readPart(t, r)
		if !errors.Is(got.err, io.EOF) || len(got.bad) > 0 || got.header.Sealed() {
			return
		}
		var out bytes.Buffer
		w, err := bundle.NewWriter(&out, got.header, nil)
		if err != nil {
			t.Fatal(err)
		}
		// Records may stand among the envelopes, so only the sizes compare.
		for _, raw := range got.records {
			err = errors.Join(err, w.Record(raw))
		}
		for _, raw := range got.envelopes {
			err = errors.Join(err, w.Envelope(raw))
		}
		if err = errors.Join(err, w.Close(r.More())); err != nil {
			t.Fatal(err)
		}
		if len(in) < out.Len() {
			t.Errorf("%d bytes are taken for a part of %d", len(in), out.Len())
		}
	})
}
