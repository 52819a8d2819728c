package misp_test

import (
	"bytes"
	"crypto/md5"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/misp"
	"github.com/watchward/watchward/node/notice"
)

func each(stated ...intel.Stated) iter.Seq2[intel.Stated, error] {
	return func(yield func(intel.Stated, error) bool) {
		for _, s := range stated {
			if !yield(s, nil) {
				return
			}
		}
	}
}

func writeEvent(h misp.Head, stated ...intel.Stated) (string, error) {
	var out bytes.Buffer
	err := misp.WriteEvent(&out, h, each(stated...))
	return out.String(), err
}

// What changes an attribute makes it newer: a server that has it takes nothing else.
func TestEventTimes(t *testing.T) {
	h := misp.NewHead("author", "Hospital 1", "2025-11-13")
	h.Info, h.Date, h.Changed, h.TLP = "Hospital 1, 2025-11-13", 1_763_000_000_000, 1_763_000_007, notice.TLPGreen
	said := stated(1, notice.KindIndicator, "evil.example")
	before, err := writeEvent(h, said)
	if err != nil || !strings.Contains(before, `"timestamp":"1763000000"`) || !strings.Contains(before, `"published":true`) ||
		!strings.Contains(before, `"timestamp":"1763000007"`) || strings.Contains(before, `"distribution"`) {
		t.Errorf("%s, %v", before, err)
	}
	again := misp.NewHead("author", "renamed", "2025-11-13")
	if other := misp.NewHead("author", "Hospital 1", "2025-11-14"); again.UUID != h.UUID || other.UUID == h.UUID || other.OrgUUID != h.OrgUUID {
		t.Errorf("%+v, %+v, %+v", h, again, other)
	}
	gone := said
	gone.Retracted = true
	if after, err := writeEvent(h, gone); err != nil || !strings.Contains(after, `"timestamp":"1763000001","deleted":true`) {
		t.Errorf("%s, %v", after, err)
	}
	seen := stated(2, notice.KindSighting, "evil.example")
	seen.Notice.Created += 60_000
	if after, err := writeEvent(h, said, seen); err != nil || !strings.Contains(after, `"timestamp":"1763000060","Tag"`) && !strings.Contains(after, `"timestamp":"1763000060","Sighting"`) {
		t.Errorf("%s, %v", after, err)
	}
}

func TestEventRefuses(t *testing.T) {
	h := misp.Head{TLP: notice.TLPClear}
	if _, err := writeEvent(h, stated(1, notice.KindIndicator, "evil.example")); err == nil || !strings.Contains(err.Error(), "has TLP:GREEN in an event of") {
		t.Errorf("a stricter marking: %v", err)
	}
	h.TLP = notice.TLPGreen
	many := make([]intel.Stated, misp.EventNoticesMax+1)
	for i := range many {
		many[i] = stated(1, notice.KindIndicator, "evil.example")
	}
	if _, err := writeEvent(h, many...); err == nil || !strings.Contains(err.Error(), "make several events") {
		t.Errorf("too many: %v", err)
	}
	if _, err := writeEvent(h, many[1:]...); err != nil {
		t.Error(err)
	}
	broken := errors.New("the store is closed")
	failing := func(yield func(intel.Stated, error) bool) { yield(intel.Stated{}, broken) }
	if err := misp.WriteEvent(&bytes.Buffer{}, h, failing); !errors.Is(err, broken) {
		t.Error(err)
	}
}

// With Options.Deleted what is deleted is taken back, under the origin it had.
func TestDeletedIsWithdrawn(t *testing.T) {
	file := `{"Event": {"uuid": "5be1e65d-8198-497b-bdf5-5ec20a016219", "Orgc": {"name": "CSIRT"}, "Tag": [{"name": "tlp:green"}], "Attribute": [
		{"uuid": "aaaa0000-0000-4000-8000-000000000001", "type": "domain", "value": "a.example", "to_ids": false, "deleted": true, "Sighting": [{"date_sighting": "1"}]},
		{"type": "domain", "value": "b.example", "to_ids": true}, {"type": "ip-dst", "value": "10.0.0.1", "deleted": "1"},
		{"type": "domain", "value": "carrier.example", "deleted": true, "Tag": [{"name": "watchward:sightings-only"}]}],
		"Object": [{"deleted": true, "Attribute": [{"type": "md5", "value": "` + strings.Repeat("a1", 16) + `"}]}, {"Attribute": [{"type": "filename", "value": "x.exe"}, {"type": "md5", "value": "` + strings.Repeat("b2", 16) + `", "deleted": true}]}]}}`
	for deleted, want := range map[bool][]string{
		false: {"b.example", "x.exe"},
		true:  {"-a.example", "b.example", "-" + strings.Repeat("a1", 16), "x.exe", "-" + strings.Repeat("b2", 16)},
	} {
		var got []string
		err := misp.Read(strings.NewReader(file), misp.Options{Deleted: deleted}, func(f intel.Found) error {
			if f.Notice == nil {
				t.Errorf("refused: %+v", f)
				return nil
			}
			value := f.Notice.Indicator.Value
			if f.Withdrawn {
				value = "-" + value
			}
			if value == "-a.example" && (f.Notice.Origin.ID != "5be1e65d-8198-497b-bdf5-5ec20a016219/aaaa0000-0000-4000-8000-000000000001" || f.TLP != notice.TLPGreen) {
				t.Errorf("%+v", f.Notice.Origin)
			}
			got = append(got, value)
			return nil
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%v: %q, %v", deleted, got, err)
		}
	}
}

// A sighting that was sent twice, since nobody heard the answer, counts once.
func TestSightingSentTwice(t *testing.T) {
	sent := `{"date_sighting": "1700000000", "source": "watchward {\"origin\":\"watchward:St Anna\",\"id\":\"x\",\"first\":1700000000000,\"last\":1700000000000,\"count\":3}"}`
	file := `{"Attribute": [{"type": "domain", "value": "evil.example", "to_ids": true, "Sighting": [` + sent + `, ` + sent + `]}]}`
	taken, _, err := read(strings.NewReader(file), misp.Options{})
	if want := []string{"indicator evil.example misp", "sighting evil.example watchward:St Anna***"}; err != nil || !slices.Equal(told(taken), want) {
		t.Errorf("%q, %v", told(taken), err)
	}
}

func TestHashes(t *testing.T) {
	const id = "5be1e65d-8198-497b-bdf5-5ec20a016219"
	s := stated(1, notice.KindIndicator, "evil.example")
	sum, ok := misp.Hash(&s)
	line := misp.HashLine(sum, id)
	if !ok || line != "96119eb3210daa472225fbad69fa9770,"+id+"\n" { // as md5sum says
		t.Errorf("%q, %v", line, ok)
	}
	gone := s
	gone.Retracted = true
	if _, ok := misp.Hash(&gone); ok {
		t.Error("what was taken back has a hash")
	}
	found := 0
	if err := misp.ReadHashes(strings.NewReader(line+"\r\n\n"+strings.ToUpper(line)), func(got [md5.Size]byte, uuid string) error {
		if found++; got != sum || uuid != id {
			t.Errorf("%x %q", got, uuid)
		}
		return nil
	}); err != nil || found != 2 {
		t.Errorf("%d, %v", found, err)
	}
	stop := errors.New("enough")
	if err := misp.ReadHashes(strings.NewReader(line), func([md5.Size]byte, string) error { return stop }); err != stop {
		t.Error(err)
	}
	for file, want := range map[string]string{
		"<html>": `line 1, "<html>"`, line + line[:40] + "\n": "line 2", strings.Repeat("a", 31) + "," + id: "line 1", strings.Repeat("a", 34) + "," + id: "line 1",
		strings.Repeat("a", 32) + ",../../etc/passwd": "line 1", strings.Repeat("x", 5000): "too long",
	} {
		if err := misp.ReadHashes(strings.NewReader(file), func([md5.Size]byte, string) error { return nil }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.50q: %v", file, err)
		}
	}
}

func FuzzHashes(f *testing.F) {
	f.Add("2b2e3f8c6d2b2e3f8c6d2b2e3f8c6d22,5be1e65d-8198-497b-bdf5-5ec20a016219\n")
	f.Fuzz(func(t *testing.T, file string) {
		_ = misp.ReadHashes(strings.NewReader(file), func(_ [md5.Size]byte, uuid string) error {
			if misp.EventFile(uuid) == "" {
				t.Errorf("%q", uuid)
			}
			return nil
		})
	})
}

// A dispute of a notice is one of its value, for those who have the notice from elsewhere.
func TestDisputeOfANotice(t *testing.T) {
	value := notice.Indicator{Type: notice.TypeDomain, Value: "evil.example"}
	ref := crypto.ItemID{1}
	s := intel.Stated{ID: crypto.ItemID{2}, TLP: notice.TLPGreen, RefKind: notice.KindIndicator, RefValue: &value,
		Notice: &notice.Notice{Kind: notice.KindDispute, Ref: &ref, Reason: "ours", Created: 1_770_000_000_000}}
	var out bytes.Buffer
	h := misp.NewHead("author", "Hospital 1", "2026-02-02")
	h.TLP = notice.TLPGreen
	if err := misp.WriteEvent(&out, h, func(yield func(intel.Stated, error) bool) { yield(s, nil) }); err != nil {
		t.Fatal(err)
	}
	var disputes int
	err := misp.Read(&out, misp.Options{}, func(f intel.Found) error {
		if f.Notice != nil && f.Notice.Kind == notice.KindDispute && *f.Notice.Indicator == value && f.Notice.Reason == "ours" {
			disputes++
		}
		return nil
	})
	if err != nil || disputes != 1 {
		t.Errorf("%d disputes are read: %v", disputes, err)
	}
}
