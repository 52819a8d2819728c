package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/watchward/watchward/node/taxii/client"
)

const statusPath = "/api1/status/5a1b/"

// A taker is a server that is pushed to. What it says is post's; the manifest has there.
type taker struct {
	t     failer
	post  func(numbers []int) reply
	get   func(n int) reply // the status, asked for the nth time
	there []int

	mu    sync.Mutex // guards what follows
	posts [][]int
	asked int
	most  int64 // bytes of a POST
	body  []byte
}

func (k *taker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case r.Method == http.MethodPost:
		if r.URL.Path != "/api1/collections/"+inbox.ID+"/objects/" || r.Header.Get("Content-Type") != client.MediaType {
			k.t.Errorf("it was posted to %s with %s", r.URL.Path, r.Header.Get("Content-Type"))
		}
		body, err := io.ReadAll(r.Body)
		var e struct{ Objects []json.RawMessage }
		if err != nil || json.Unmarshal(body, &e) != nil {
			k.t.Errorf("what was posted is no envelope: %v", err)
		}
		var numbers []int
		for _, o := range e.Objects {
			numbers = append(numbers, number(o))
		}
		k.posts, k.most, k.body = append(k.posts, numbers), max(k.most, int64(len(body))), body
		one := k.post(numbers)
		if one.do != nil {
			one.do(w, r)
			return
		}
		one.write(w)
	case r.URL.Path == statusPath:
		k.asked++
		k.get(k.asked).write(w)
	case strings.HasSuffix(r.URL.Path, "/manifest/"):
		var objects []string
		for _, n := range k.there {
			if strings.Contains(r.URL.Query().Get("match[id]"), idOf(n)) {
				objects = append(objects, fmt.Sprintf(`{"id":%q,"date_added":"1999-01-01T00:00:00Z","version":"1999-01-01T00:00:00Z"}`, idOf(n)))
			}
		}
		reply{body: `{"objects":[` + strings.Join(objects, ",") + `]}`}.write(w)
	default:
		k.t.Errorf("it was asked %s %s", r.Method, r.URL)
	}
}

// details lists objects for a status.
func details(numbers ...int) string {
	var list []string
	for _, n := range numbers {
		list = append(list, fmt.Sprintf(`{"id":%q,"version":"1999-01-01T00:00:00Z","message":"no %d"}`, idOf(n), n))
	}
	return "[" + strings.Join(list, ",") + "]"
}

// state is a status resource with these counts and members.
func state(word string, total, success, failure, pending int, members string) reply {
	return reply{status: 202, body: fmt.Sprintf(`{"id":"5a1b","status":%q,"total_count":%d,"success_count":%d,"failure_count":%d,"pending_count":%d%s}`,
		word, total, success, failure, pending, members)}
}

func taken(numbers []int) reply { return state("complete", len(numbers), len(numbers), 0, 0, "") }

func pending(numbers []int) reply { return state("pending", len(numbers), 0, 0, len(numbers), "") }

func says(r reply) func([]int) reply { return func([]int) reply { return r } }

// whole refuses a POST for one of its objects.
func whole(bad int, status int) func([]int) reply {
	return func(numbers []int) reply {
		if slices.Contains(numbers, bad) {
			return reply{status: status, body: `{"title":"bad","http_status":"4xx"}`}
		}
		return taken(numbers)
	}
}

func TestPush(t *testing.T) {
	for _, c := range []struct {
		name  string
		n     int
		post  func([]int) reply
		get   func(int) reply
		there []int
		blind bool // the collection cannot be read
		want  map[string]int
		err   string
		posts [2]int // at least, at most; zero = one
		took  [2]time.Duration
	}{
		{name: "all", n: 3, post: taken, want: map[string]int{"taken": 3}},
		{name: "in batches", n: 2500, post: taken, want: map[string]int{"taken": 2500}, posts: [2]int{3, 3}},
		{name: "nothing", n: 0, posts: [2]int{0, 0}, want: map[string]int{}},
		{name: "one is refused", n: 3, post: says(state("complete", 3, 2, 1, 0, `,"failures":`+details(1))), want: map[string]int{"taken": 2, "declined no 1": 1}},
		{name: "all by name", n: 2, post: says(state("complete", 2, 1, 1, 0, `,"failures":`+details(1)+`,"successes":`+details(0))), want: map[string]int{"taken no 0": 1, "declined no 1": 1}},
		{name: "only those that were taken by name", n: 3, post: says(state("complete", 3, 1, 2, 0, `,"successes":`+details(1))), want: map[string]int{"taken no 1": 1, "declined": 2}},
		{name: "some, and it does not say which", n: 3, post: says(state("complete", 3, 2, 1, 0, ``)), want: map[string]int{"unknown": 3}},
		{name: "all refused, and it does not say which", n: 3, post: says(state("complete", 3, 0, 3, 0, ``)), want: map[string]int{"declined": 3}},
		{name: "refused, and there", n: 50, post: says(state("complete", 50, 0, 50, 0, ``)), there: []int{0, 21, 49}, want: map[string]int{"declined": 47, "taken it was there already": 3}},
		{name: "refused, and there, and nobody may see it", n: 3, post: says(state("complete", 3, 0, 3, 0, ``)), there: []int{1}, blind: true, want: map[string]int{"declined": 3}},
		{name: "counts of what nobody sent", n: 3, post: says(state("complete", 9, 1_000_000_000, -7, 0, `,"failures":`+details(1, 77))), want: map[string]int{"unknown": 2, "declined no 1": 1}},
		{name: "a status without a status", n: 3, post: says(reply{status: 202, body: `{}`}), want: map[string]int{"unknown the server took it and gave no status": 3}},
		{name: "a status of TAXII 2.0", n: 3, post: says(state("complete", 3, 3, 0, 0, `,"successes":["`+idOf(1)+`"]`)), want: map[string]int{"unknown the server took it and gave no status": 3}},
		{name: "202 with HTML", n: 1500, post: says(reply{status: 202, header: "Content-Type: text/html", body: html}), blind: true, posts: [2]int{2, 2},
			want: map[string]int{"unknown it answered 202 with text/html where TAXII was expected: look whether the url is that of a TAXII 2.1 server": 1500}},

		{name: "pending and then complete", n: 3, post: pending, get: func(n int) reply {
			if n < 4 {
				return pending(make([]int, 3))
			}
			return state("complete", 3, 2, 1, 0, `,"failures":`+details(2))
		}, want: map[string]int{"taken": 2, "declined no 2": 1}, took: [2]time.Duration{7 * time.Second, 16 * time.Second}},
		{name: "pending for ever", n: 3, post: pending, get: func(int) reply { return state("pending", 3, 1, 0, 2, `,"successes":`+details(1)) },
			want: map[string]int{"pending": 2, "taken no 1": 1}, took: [2]time.Duration{client.StatusWaitMax - 15*time.Second, client.StatusWaitMax}},
		{name: "pending and then forgotten", n: 3, post: pending, get: func(int) reply { return reply{status: 404} }, want: map[string]int{"pending": 3}, took: [2]time.Duration{500 * time.Millisecond, time.Second}},
		{name: "complete, and some are open", n: 2, post: says(state("complete", 2, 1, 0, 1, ``)), get: func(int) reply { return taken(make([]int, 2)) }, want: map[string]int{"taken": 2}, took: [2]time.Duration{500 * time.Millisecond, time.Second}},
		{name: "a status whose id is a path", n: 1, post: says(reply{status: 202, body: `{"id":"../../x","status":"pending"}`}), want: map[string]int{"pending": 1}},

		{name: "a POST is refused for one of 1,000", n: 1000, post: whole(577, 422), want: map[string]int{"taken": 999, "declined it answered 422 Unprocessable Entity: bad": 1}, posts: [2]int{10, 2*10 + 2}},
		{name: "a POST is too large until it is one object", n: 8, post: func(numbers []int) reply {
			if len(numbers) > 1 {
				return reply{status: 413}
			}
			return taken(numbers)
		}, want: map[string]int{"taken": 8}, posts: [2]int{15, 15}},
		{name: "the server fails at one of 1,000", n: 1000, post: whole(0, 500), blind: true, want: map[string]int{"taken": 999, "unknown it answered 500 Internal Server Error: bad": 1}, posts: [2]int{10, 22}},
		{name: "the server fails", n: 1000, post: says(reply{status: 500}), blind: true, err: "500", want: map[string]int{"unknown it answered 500 Internal Server Error": 3, "unsent": 997}, posts: [2]int{10, 20}},
		{name: "all are bad", n: 1000, post: says(reply{status: 400}), blind: true, err: "400", want: nil, posts: [2]int{100, 2*client.SplitsMax + 2}},
		{name: "429 and then not", n: 3, post: firstly(reply{status: 429, header: "Retry-After: 20"}, taken), want: map[string]int{"taken": 3}, posts: [2]int{2, 2}, took: [2]time.Duration{20 * time.Second, 24 * time.Second}},
		{name: "502 is not pushed at again", n: 3, post: says(reply{status: 502}), blind: true, err: "502", want: map[string]int{"unknown it answered 502 Bad Gateway": 3}},
		{name: "a broken line is not pushed at again", n: 3, post: says(reply{do: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }}), there: []int{1}, err: "cannot be reached",
			want: map[string]int{"taken it was there already": 1, "unknown it cannot be reached: EOF": 2}},
		{name: "401", n: 3, post: says(reply{status: 401}), blind: true, err: "401", want: map[string]int{"unsent": 3}},
		{name: "a redirect", n: 3, post: says(reply{status: 307, header: "Location: /lost/"}), blind: true, err: "redirects what is posted", want: nil},
		{name: "a redirect elsewhere", n: 3, post: says(reply{status: 307, header: "Location: http://thief.example/"}), blind: true, err: "thief.example", want: nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := &taker{t: t, post: c.post, get: c.get, there: c.there}
			bubble(t, k, client.Config{}, func(t *testing.T, one *client.Client, n *network) {
				o := inbox
				o.CanRead = !c.blind
				began := time.Now()
				outcomes, err := one.Push(t.Context(), o, objects(0, c.n))
				took := time.Since(began)
				if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
					t.Errorf("the error is %v and not …%s…", err, c.err)
				}
				if c.want != nil {
					sameStates(t, outcomes, c.want)
				}
				for i, o := range outcomes {
					if o.ID != idOf(i) {
						t.Fatalf("outcome %d is of %s", i, o.ID)
					}
				}
				if c.posts == [2]int{} && c.n > 0 {
					c.posts = [2]int{1, 1}
				}
				if got := len(k.posts); got < c.posts[0] || got > c.posts[1] {
					t.Errorf("there were %d POSTs", got)
				}
				if c.took[1] == 0 {
					c.took[1] = time.Millisecond
				}
				if took < c.took[0] || took >= c.took[1] {
					t.Errorf("it took %v", took)
				}
				if n.elsewhere() != nil {
					t.Errorf("it dialled %v", n.elsewhere())
				}
			})
		})
	}
}

// firstly says something the first time.
func firstly(r reply, then func([]int) reply) func([]int) reply {
	n := 0
	return func(numbers []int) reply {
		if n++; n == 1 {
			return r
		}
		return then(numbers)
	}
}

// TestPushForm: what has no form is not sent and stops nothing, two versions of an
// object are two, and bytes stay as they are.
func TestPushForm(t *testing.T) {
	old := strings.Replace(object(1), `"modified":"1999-01-01T00:00:00.000Z"`, `"modified":"1998-01-01T00:00:00.120Z"`, 1)
	given := []json.RawMessage{
		json.RawMessage(`{`), json.RawMessage(`5`), json.RawMessage(`{"type":"indicator"}`), json.RawMessage(deep(65)), nil,
		json.RawMessage(old), json.RawMessage(object(1)),
		json.RawMessage(`{"type":"note","id":"note--00000000-0000-4000-8000-000000000001","x":"` + strings.Repeat("x", 3000) + `"}`),
	}
	k := &taker{t: t, post: says(state("complete", 2, 1, 1, 0, `,"failures":[{"id":"`+idOf(1)+`","version":"1998-01-01T00:00:00.12Z","message":"old s3cret-t0ken"}]`))}
	bubble(t, k, client.Config{}, func(t *testing.T, one *client.Client, _ *network) {
		o := inbox
		o.CanRead, o.ContentMax = false, 2000
		outcomes, err := one.Push(t.Context(), o, given)
		var got []string
		for _, x := range outcomes {
			got = append(got, fmt.Sprintf("%s %s %s %s", x.ID, x.Version, x.State, x.Message))
		}
		want := []string{
			"objects[0]  declined it is not JSON", "objects[1]  declined it is not an object {…}", "objects[2]  declined its id is not its type with a UUID",
			"objects[3]  declined it is nested deeper than 64", "objects[4]  declined it is not JSON",
			idOf(1) + " 1998-01-01T00:00:00.120Z declined old …", idOf(1) + " 1999-01-01T00:00:00.000Z taken ",
			"note--00000000-0000-4000-8000-000000000001  declined it is larger than the 2000 bytes that the server takes",
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%v\n%s", err, strings.Join(got, "\n"))
		}
		if want := `{"objects":[` + old + "," + object(1) + `]}`; string(k.body) != want {
			t.Errorf("it sent %s", k.body)
		}
	})
}

// TestPushBatches: however large objects are and whatever is refused, each is sent in
// order, no POST is larger than the server takes, and each gets what was said of it.
func TestPushBatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := int64(rapid.IntRange(400, 4000).Draw(t, "limit"))
		var given []json.RawMessage
		for n := range rapid.IntRange(0, 60).Draw(t, "objects") {
			given = append(given, json.RawMessage(strings.Replace(object(n), "198.51", strings.Repeat("x", rapid.IntRange(0, 4000).Draw(t, "size")), 1)))
		}
		bad := rapid.SliceOfN(rapid.IntRange(0, 60), 0, 3).Draw(t, "bad")
		k := &taker{t: t, post: func(numbers []int) reply {
			if slices.ContainsFunc(bad, func(n int) bool { return slices.Contains(numbers, n) }) {
				return reply{status: 422}
			}
			return taken(numbers)
		}}
		one, _, stop := start(t, k, client.Config{})
		defer stop()
		o := inbox
		o.CanRead, o.ContentMax = false, limit
		outcomes, err := one.Push(t.Context(), o, given)
		if err != nil || len(outcomes) != len(given) || k.most > limit {
			t.Fatalf("%d outcomes, a POST of %d bytes, %v", len(outcomes), k.most, err)
		}
		for n, x := range outcomes {
			want := client.Taken
			if len(given[n])+len(`{"objects":[]}`) > int(limit) || slices.Contains(bad, n) {
				want = client.Declined
			}
			if x.State != want || x.ID != idOf(n) {
				t.Fatalf("object %d is %v and not %s", n, x, want)
			}
		}
		first := map[int]bool{}
		latest := -1
		for _, post := range k.posts {
			for _, n := range post {
				if !first[n] && n < latest {
					t.Fatalf("object %d was sent after %d", n, latest)
				}
				first[n], latest = true, max(latest, n)
			}
		}
		if most := len(given) + len(bad)*2*bits.Len(60) + 1; len(k.posts) > most {
			t.Fatalf("%d POSTs", len(k.posts))
		}
	})
}

// TestPushStops: the end of a context leaves outcomes that say what is known.
func TestPushStops(t *testing.T) {
	k := &taker{t: t, post: pending, get: func(int) reply { return pending(make([]int, 3)) }}
	bubble(t, k, client.Config{}, func(t *testing.T, one *client.Client, _ *network) {
		ctx, cancel := contextFor(t, 20*time.Second)
		defer cancel()
		outcomes, err := one.Push(ctx, inbox, objects(0, 3))
		if !errors.Is(err, ctx.Err()) || ctx.Err() == nil {
			t.Errorf("the error is %v", err)
		}
		sameStates(t, outcomes, map[string]int{"pending": 3})
	})
}
