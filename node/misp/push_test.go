package misp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/watchward/watchward/node/intel"
	events "github.com/watchward/watchward/node/intel/misp"
	"github.com/watchward/watchward/node/misp"
	"github.com/watchward/watchward/node/notice"
)

// A pushed server takes events and sightings as MISP does: an edit of what it has
// not is 404, one that is not newer is 403.
type pushed struct {
	t         testing.TB
	events    map[string]string // its time of change, by uuid
	sightings []string
	refuses   string
}

func (s *pushed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Authorization") != key {
		s.t.Errorf("%v", r.Header)
	}
	var said struct {
		Event        struct{ UUID, Timestamp string }
		UUID         string
		Values       []string
		Type, Source string
		Timestamp    string
	}
	if err := json.Unmarshal(body, &said); err != nil {
		s.t.Errorf("%s: %v", body, err)
	}
	no := func(status int, text string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"name":%q,"message":%q,"url":%q,"errors":%q}`, "Not so", "Not so", r.URL.Path, text)
	}
	uuid, edit := strings.CutPrefix(strings.TrimSuffix(r.URL.Path, "/metadata:1"), "/events/edit/")
	has, known := s.events[said.Event.UUID]
	switch {
	case r.URL.Path == "/sightings/add":
		if said.UUID == "" && !slices.Equal(said.Values, []string{"evil.example"}) {
			no(http.StatusForbidden, "No valid attributes found.")
			return
		}
		s.sightings = append(s.sightings, fmt.Sprintf("%s%s type %s at %s by %.10s", said.UUID, strings.Join(said.Values, ","), said.Type, said.Timestamp, said.Source))
		_, _ = io.WriteString(w, `{"Sighting":{"id":"4"}}`)
		return
	case edit && !known:
		no(http.StatusNotFound, "Invalid event")
		return
	case edit && uuid != said.Event.UUID:
		s.t.Errorf("%s edits %s", r.URL, said.Event.UUID)
	case edit && said.Event.Timestamp <= has:
		no(http.StatusForbidden, "Event could not be saved: No timestamp on the pushed edit or event in the request not newer than the local copy.")
		return
	}
	s.events[said.Event.UUID] = said.Event.Timestamp
	fmt.Fprintf(w, `{"Event":{"uuid":%q}%s}`, said.Event.UUID, s.refuses)
}

func eventText(t testing.TB, changed int64, stated ...intel.Stated) (uuid string, text []byte) {
	t.Helper()
	h := events.NewHead("author", "Hospital 1", "day")
	h.Changed, h.TLP = changed, notice.TLPGreen
	var out bytes.Buffer
	var all iter.Seq2[intel.Stated, error] = func(yield func(intel.Stated, error) bool) {
		for _, s := range stated {
			if !yield(s, nil) {
				return
			}
		}
	}
	if err := events.WriteEvent(&out, h, all); err != nil {
		t.Fatal(err)
	}
	return h.UUID, out.Bytes()
}

func TestPutEvent(t *testing.T) {
	s := &pushed{t: t, events: map[string]string{}}
	client, asked := served(t, s, misp.Config{Key: key})
	n := said(1, notice.KindIndicator, "evil.example", noon)
	uuid, first := eventText(t, 1_700_000_000, n)
	put := func(text []byte, want misp.Put, paths ...string) {
		t.Helper()
		got, err := client.PutEvent(t.Context(), uuid, text)
		if err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
		if have := asked.take(); !slices.Equal(have, paths) {
			t.Errorf("%q", have)
		}
	}
	edit := "POST /events/edit/" + uuid + "/metadata:1"
	put(first, misp.Put{Changed: true}, edit+" 404", "POST /events/add/metadata:1 200")
	put(first, misp.Put{}, edit+" 403")
	_, second := eventText(t, 1_700_000_001, n)
	s.refuses = `,"errors":{"Attribute":{"3":{"value":["Checksum has an invalid length ` + key + `"]}}}`
	put(second, misp.Put{Changed: true, Refused: "Checksum has an invalid length …"}, edit+" 200")
	if _, err := client.PutEvent(t.Context(), "../../users/delete/1", first); err == nil || !strings.Contains(err.Error(), "no uuid") {
		t.Error(err)
	}
}

func TestPutEventErrors(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		status int
		want   string
	}{
		"a role that may not": {`{"message":"You do not have permission to do that."}`, 403, "do not have permission"}, "broken": {`{"message":"An Internal Error Has Occurred."}`, 500, "Internal Error"},
		"a web page": {`<html>`, 200, "push an event to MISP"}, "half": {`{"Event":`, 200, "the file ends"}, "too large": {``, 413, "413"},
	} {
		client, _ := served(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.answer)
		}), misp.Config{Key: key})
		uuid, text := eventText(t, 1)
		if put, err := client.PutEvent(t.Context(), uuid, text); err == nil || !strings.Contains(err.Error(), c.want) || put != (misp.Put{}) {
			t.Errorf("%s: %+v, %v", name, put, err)
		}
	}
}

func TestAddSighting(t *testing.T) {
	s := &pushed{t: t}
	client, _ := served(t, s, misp.Config{Key: key})
	seen, dispute := said(1, notice.KindSighting, "evil.example", noon), said(2, notice.KindDispute, "evil.example", noon)
	for _, n := range []intel.Stated{seen, dispute} {
		x, ok := events.SightingOf(&n)
		if !ok {
			t.Fatalf("%+v is no sighting", n.Notice)
		}
		if err := client.AddSighting(t.Context(), "", n.Notice.Indicator.Value, x); err != nil {
			t.Error(err)
		}
		if err := client.AddSighting(t.Context(), events.AttributeUUID(&n), "", x); err != nil {
			t.Error(err)
		}
		if err := client.AddSighting(t.Context(), "", "unknown.example", x); !errors.Is(err, misp.ErrNoAttribute) {
			t.Error(err)
		}
	}
	want := []string{"evil.example type 0 at 1772366400 by watchward ", events.AttributeUUID(&seen) + " type 0 at 1772366400 by watchward ",
		"evil.example type 1 at 1772366400 by watchward ", events.AttributeUUID(&dispute) + " type 1 at 1772366400 by watchward "}
	if !slices.Equal(s.sightings, want) {
		t.Errorf("%q", s.sightings)
	}
	forever, gone, until := said(3, notice.KindIndicator, "a.example", noon), said(4, notice.KindSighting, "a.example", noon), said(5, notice.KindIndicator, "a.example", noon)
	gone.Retracted, until.Notice.ValidUntil = true, noon.UnixMilli()
	for _, n := range []intel.Stated{forever, gone} {
		if x, ok := events.SightingOf(&n); ok {
			t.Errorf("%+v", x)
		}
	}
	if x, ok := events.SightingOf(&until); !ok || x.Type != "2" || x.Time != "1772366400" {
		t.Errorf("%+v", x)
	}
}
