package misp_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/inteltest"
	"github.com/watchward/watchward/node/intel/misp"
	"github.com/watchward/watchward/node/notice"
)

var org = misp.WriterOptions{Org: "St Anna", Now: 1_764_000_000_000}

func write(t interface{ Fatal(...any) }, stated []intel.Stated) string {
	var out bytes.Buffer
	w := misp.NewWriter(&out, org)
	for _, s := range stated {
		if err := w.Write(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(out.Bytes()) {
		t.Fatal("no JSON: " + out.String())
	}
	return out.String()
}

// TestRoundTrip: what Writer writes, Read gives back, for every type. Events go
// by marking, so the order does not hold.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stated := inteltest.Stated(t, 20)
		file := write(t, stated)
		got, items := map[string]notice.Notice{}, map[string]crypto.ItemID{}
		key := func(n *notice.Notice) string { return n.Kind.String() + " " + n.Indicator.String() }
		err := misp.Read(strings.NewReader(file), misp.Options{Indicator: notice.Options{AllowSpecial: true}}, func(f intel.Found) error {
			if f.Notice == nil || f.TLP != f.Notice.Origin.TLP {
				t.Fatalf("%+v", f)
			}
			got[key(f.Notice)] = *f.Notice
			if f.Item == nil {
				t.Fatalf("it does not name its notice: %+v", f)
			}
			items[key(f.Notice)] = *f.Item
			return nil
		})
		want := inteltest.Expect(stated)
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d of %d, %v", len(got), len(want), err)
		}
		for i, w := range want {
			if items[key(&w)] != stated[i].ID {
				t.Fatalf("%s names another notice", key(&w))
			}
			if w.Kind != notice.KindIndicator && len(w.Origin.ID) > 36 && got[key(&w)].Origin.ID == "" { // no room for it
				w.Origin.ID = ""
			}
			if w.Kind == notice.KindDispute && w.Reason == "" {
				w.Reason = "marked as a false positive in MISP"
			}
			if g := got[key(&w)]; !reflect.DeepEqual(g, w) {
				t.Fatalf("\n got %s\nwant %s", inteltest.Show(g), inteltest.Show(w))
			}
		}
		if again := write(t, stated); again != file {
			t.Fatalf("written again it differs")
		}
	})
}

func stated(id byte, kind notice.Kind, value string) intel.Stated {
	s := intel.Stated{TLP: notice.TLPGreen, AuthorName: fmt.Sprintf("Hospital %d", id%4), Notice: &notice.Notice{
		Kind: kind, Created: 1_763_000_000_000, Indicator: &notice.Indicator{Type: notice.TypeDomain, Value: value}}}
	s.ID[0], s.Author[0] = id, id%4
	if kind == notice.KindSighting {
		s.Notice.FirstSeen, s.Notice.LastSeen, s.Notice.Count = 1_763_000_000_000+int64(id), 1_763_000_100_000+int64(id), 2
	}
	return s
}

// Sightings of one value lie in one attribute, as MISP wants it.
func TestSightingsShareAnAttribute(t *testing.T) {
	gone := stated(9, notice.KindIndicator, "gone.example")
	gone.Retracted = true
	file := write(t, []intel.Stated{
		stated(1, notice.KindIndicator, "evil.example"), stated(2, notice.KindSighting, "evil.example"), stated(3, notice.KindSighting, "evil.example"),
		stated(4, notice.KindDispute, "evil.example"), stated(5, notice.KindSighting, "seen.example"), gone,
		stated(6, notice.KindSighting, "gone.example"), {Notice: &notice.Notice{Kind: notice.KindRetraction}},
	})
	var event struct {
		Event struct {
			UUID, Info, Date string
			Orgc             struct{ Name string }
			Tag              []struct{ Name string }
			Attribute        []struct {
				UUID, Type, Category, Value, Comment string
				ToIDs, Deleted                       bool
				Sighting                             []struct{ UUID, Type, Date_sighting, Source string }
			}
		}
	}
	if err := json.Unmarshal([]byte(file), &event); err != nil {
		t.Fatal(err)
	}
	e := event.Event
	if e.Orgc.Name != "St Anna" || e.Date != "2025-11-24" || len(e.Tag) != 1 || e.Tag[0].Name != "tlp:green" || len(e.Attribute) != 4 ||
		len(e.Attribute[0].Sighting) != 3 || e.Attribute[0].Sighting[2].Type != "1" || !e.Attribute[2].Deleted || e.Attribute[3].Deleted {
		t.Errorf("%s", file)
	}
	taken, refused, err := read(strings.NewReader(file), misp.Options{})
	if err != nil || len(refused) != 0 || len(taken) != 6 {
		t.Errorf("%q, %q, %v", values(taken), reasons(refused), err)
	}
}

// Events are bounded: more than that is several.
func TestManyAttributes(t *testing.T) {
	var stateds []intel.Stated
	for i := range 45_000 {
		s := stated(1, notice.KindIndicator, fmt.Sprintf("%d.example", i))
		s.ID[1], s.ID[2] = byte(i), byte(i>>8)
		if i%3 == 0 {
			s.TLP = notice.TLPAmber
		}
		stateds = append(stateds, s)
	}
	file := write(t, stateds)
	var events struct {
		Response []struct {
			Event struct {
				UUID      string
				Attribute []struct{}
			}
		}
	}
	if err := json.Unmarshal([]byte(file), &events); err != nil {
		t.Fatal(err)
	}
	uuids := map[string]bool{}
	for _, e := range events.Response {
		uuids[e.Event.UUID] = true
		if len(e.Event.Attribute) > 20_000 {
			t.Errorf("%d attributes in one event", len(e.Event.Attribute))
		}
	}
	if len(uuids) != len(events.Response) || len(uuids) < 3 {
		t.Errorf("%d events, %d uuids", len(events.Response), len(uuids))
	}
	taken, _, err := read(strings.NewReader(file), misp.Options{})
	if err != nil || len(taken) != len(stateds) {
		t.Errorf("%d, %v", len(taken), err)
	}
}

func TestWriteNothing(t *testing.T) {
	taken, refused, err := read(strings.NewReader(write(t, nil)), misp.Options{})
	if err != nil || len(taken)+len(refused) != 0 {
		t.Errorf("%v, %v, %v", taken, refused, err)
	}
	w := misp.NewWriter(failing{}, org)
	if err := w.Close(); err == nil {
		t.Error("an error of writing is not told")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
