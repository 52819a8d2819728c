package csv_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/csv"
	"github.com/watchward/watchward/node/intel/inteltest"
	"github.com/watchward/watchward/node/notice"
)

// TestRoundTrip: what Writer writes, Read gives back: value, times, context,
// origin, marking and the notice's id, for every type. Sightings come back as
// indicators and disputes as refusals: a table says what is known, not who saw it.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stated := inteltest.Stated(t, 20)
		var out bytes.Buffer
		w := csv.NewWriter(&out)
		for _, s := range stated {
			if err := w.Write(s); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var got []notice.Notice
		var items []crypto.ItemID
		err := csv.Read(&out, csv.Options{Indicator: notice.Options{AllowSpecial: true}}, func(f intel.Found) error {
			if at := len(items); f.Item == nil || at >= len(stated) || *f.Item != stated[at].ID {
				t.Fatalf("result %d: %+v", at, f)
			}
			items = append(items, *f.Item)
			if f.Reason != "" && strings.Contains(f.Reason, "dispute") {
				return nil
			}
			if f.Notice == nil || f.TLP != f.Notice.Origin.TLP {
				t.Fatalf("%+v", f)
			}
			got = append(got, *f.Notice)
			return nil
		})
		var want []notice.Notice
		for _, n := range inteltest.Expect(stated) {
			if n.Kind != notice.KindDispute {
				n.Kind, n.Count = notice.KindIndicator, 0
				want = append(want, n)
			}
		}
		if len(items) != len(stated) {
			t.Fatalf("%d of %d rows", len(items), len(stated))
		}
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d of %d, %v", len(got), len(want), err)
		}
		for i := range want {
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Fatalf("\n got %s\nwant %s", inteltest.Show(got[i]), inteltest.Show(want[i]))
			}
		}
	})
}

// A spreadsheet must not run what a hospital across the region has written.
func TestFormulas(t *testing.T) {
	for _, value := range []string{"=cmd.exe", "+x", "-2+3", "@sum(a1)", "'quoted", "''=x", "＝x", "plain", "a=b"} {
		var out bytes.Buffer
		w := csv.NewWriter(&out)
		n := &notice.Notice{Kind: notice.KindIndicator, Indicator: &notice.Indicator{Type: notice.TypeMutex, Value: value}, Context: &notice.Context{Family: value}}
		if err := w.Write(intel.Stated{Notice: n}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		_, row, _ := strings.Cut(out.String(), "\n")
		for _, cell := range strings.Split(row, ",") {
			if strings.ContainsAny(cell[:min(1, len(cell))], "=+-@") || strings.HasPrefix(cell, "＝") {
				t.Errorf("%q is written as %q", value, cell)
			}
		}
		_, found, err := read(out.String(), csv.Options{})
		if err != nil || len(found) != 1 || found[0].Notice.Indicator.Value != value || found[0].Notice.Context.Family != value {
			t.Errorf("%q: %+v, %v", value, found, err)
		}
	}
	// Another's quote is its own.
	_, found, err := read("type,value\nmutex,'=x\n", csv.Options{})
	if err != nil || len(found) != 1 || found[0].Notice.Indicator.Value != "'=x" {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestWriteNothing(t *testing.T) {
	var out bytes.Buffer
	if err := csv.NewWriter(&out).Close(); err != nil || out.String() != strings.Join(csv.Header, ",")+"\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}
