package taxii

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/watchward/watchward/node/intel/jsonscan"
)

// FuzzQuery: a query is refused with a reason, or within its bounds and read the same way
// when it is written anew; and its next goes on with it alone.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"", "limit=1&next=AAZHXvZM80OX4fbJ1LfbAt7JdQQ", "match%5Btype%5D=indicator%2Csighting&added_after=2026-01-02T03:04:05.000001Z",
		"match[version]=first,last,all,2026-01-02T03:04:05Z&match[id]=a--b,c--d&match[spec_version]=2.1", "added_after=0001-01-01T00:00:00%2B12:00",
		"added_after=9999-12-31T23:59:59-14:00", "limit=1000000000", "match[version]=9999-12-31T23:59:59-14:00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		for at := range matches {
			r, refused := parseQuery(at, raw)
			if refused != nil {
				if refused.Status != 400 || refused.Code == "" || refused.Description == "" || !utf8.ValidString(refused.Description) || len(refused.Description) > 600 {
					t.Fatalf("%s %q: %+v", at, raw, refused)
				}
				continue
			}
			checkQuery(t, at, r)
		}
	})
}

func checkQuery(t *testing.T, at endpoint, r *request) {
	if r.limit < 1 || r.limit > PageMax || r.After < 0 || !r.First && !r.Last && !r.All && r.Versions == nil {
		t.Fatalf("%s: %+v", at, r)
	}
	for _, list := range [][]string{r.IDs, r.Types, r.Specs} {
		if len(list) > MatchMax || !slices.IsSorted(list) {
			t.Fatalf("%v", list)
		}
	}
	again, refused := parseQuery(at, r.encode(at))
	here, there := place{Endpoint: string(at), Query: r.Query}, place{Endpoint: string(at)}
	if refused == nil {
		there.Query = again.Query
	}
	if refused != nil || again.limit != r.limit || again.next != r.next {
		t.Fatalf("%s: %+v, then %v %+v", r.encode(at), r, refused, again)
	}
	const stamp = 1_767_323_045_000_001
	if got, refused := there.position(here.next(stamp)); refused != nil || got != stamp {
		t.Fatalf("%s: %d %v", r.encode(at), got, refused)
	}
	there.Query.After++
	if _, refused := there.position(here.next(stamp)); refused == nil {
		t.Fatal("a next goes on with another query")
	}
}

// encode writes a query that asks for the same.
func (r *request) encode(at endpoint) string {
	v := url.Values{}
	set := func(key string, list []string) {
		if list != nil {
			v.Set(key, strings.Join(list, ","))
		}
	}
	set("match[id]", r.IDs)
	set("match[type]", r.Types)
	set("match[spec_version]", r.Specs)
	var versions []string
	for word, is := range map[string]bool{"first": r.First, "last": r.Last, "all": r.All} {
		if is {
			versions = append(versions, word)
		}
	}
	for _, at := range r.Versions {
		versions = append(versions, at.Format(time.RFC3339Nano))
	}
	if slices.Contains(matches[at], "version") {
		set("match[version]", versions)
	}
	if at != ofDelete {
		v.Set("limit", strconv.Itoa(r.limit))
		v.Set("added_after", stampText(r.After))
		if r.next != "" {
			v.Set("next", r.next)
		}
	}
	return v.Encode()
}

// FuzzEnvelope: an envelope is refused with a reason, or each of its objects is offered as
// it came or fails with one.
func FuzzEnvelope(f *testing.F) {
	for _, seed := range []string{
		`{"objects":[{"type":"tool","spec_version":"2.1","id":"tool--0000000d-1111-4111-8111-111111111111","created":"2026-01-01T00:00:00Z","modified":"2026-01-02T00:00:00.5Z","name":"x"}]}`,
		`{"objects":[1,null,"x",[],{},{"id":1},{"id":"tool--x","type":"tool"}]}`, `{"more":false,"objects":[{"a":{"b":[1e400,"\ud800"]}}]}`,
		`{}`, `[]`, `{"objects":{}}`, `{"objects":[{"id":"a","id":"b"}]} x`, `{"objects":[`, `{"objects":[{"x":[[[[]]]]}]`, "{\"objects\":[{\"\xff\":1}]}",
	} {
		f.Add([]byte(seed))
	}
	const version = "2026-01-02T03:04:05.000000Z"
	f.Fuzz(func(t *testing.T, body []byte) {
		items, refused := readEnvelope(strings.NewReader(string(body)), version)
		if (refused == nil) == (len(items) == 0) {
			t.Fatalf("%d objects, %v", len(items), refused)
		}
		if refused != nil {
			if refused.Status < 400 || refused.Description == "" || !utf8.ValidString(refused.Description) {
				t.Fatalf("%+v", refused)
			}
			return
		}
		var whole struct{ Objects []json.RawMessage }
		if err := json.Unmarshal(body, &whole); err != nil {
			t.Fatalf("%v, but %d objects were read", err, len(items))
		}
		for _, it := range items {
			checkItem(t, it, version)
		}
	})
}

func checkItem(t *testing.T, it item, version string) {
	if it.ID == "" || it.Version == "" || !utf8.ValidString(it.ID+it.bad) || len(it.bad) > 400 {
		t.Fatalf("%+v", it)
	}
	if it.bad != "" {
		return
	}
	var o struct {
		ID, Type string
		Created  string
		Modified string
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(it.JSON, &members); err != nil {
		t.Fatal(err)
	}
	for key, to := range map[string]*string{"id": &o.ID, "type": &o.Type, "created": &o.Created, "modified": &o.Modified} {
		if members[key] != nil && json.Unmarshal(members[key], to) != nil {
			t.Fatalf("%s of %s", key, it.JSON)
		}
	}
	want := version
	if o.Created != "" {
		want = o.Created
	}
	if o.Modified != "" {
		want = o.Modified
	}
	if it.ID != o.ID || it.Type != o.Type || it.Version != want || !strings.HasPrefix(o.ID, o.Type+"--") || jsonscan.Depth(it.JSON) > DepthMax {
		t.Fatalf("%+v of %s", it.Offer, it.JSON)
	}
}
