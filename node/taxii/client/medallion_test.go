package client_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/watchward/watchward/node/taxii/client"
)

// pythonEnv names the Python that testnet/interop/python/environment makes.
const pythonEnv = "WATCHWARD_PYTHON"

const medallionConfig = `{
	"users": {"analyst": "p4ssw0rd"},
	"taxii": {"max_page_size": 40},
	"data": {
		"/discovery": {"title": "medallion", "default": "/api1/", "api_roots": ["http://127.0.0.1:PORT/api1/", "http://127.0.0.1:PORT/gone/", "http://localhost:5000/api2/"]},
		"api1": {
			"information": {"title": "One", "versions": ["application/taxii+json;version=2.1"], "max_content_length": 20000},
			"status": [],
			"collections": [
				{"id": "91a7b528-80eb-42ed-a74d-c6fbd5a26116", "title": "Both", "can_read": true, "can_write": true, "media_types": [], "manifest": [], "objects": []},
				{"id": "472c94ae-3113-4e3e-a4dd-a9f4ac7471d4", "title": "In", "can_read": false, "can_write": true, "media_types": [], "manifest": [], "objects": []},
				{"id": "365fed99-08fa-fdcd-a1b3-fb247eb41d01", "title": "A slow one", "can_read": true, "can_write": true, "media_types": [], "manifest": [], "objects": []},
				{"id": "52892447-4d7e-4f70-b94d-d7f22742ff63", "title": "Out", "can_read": true, "can_write": false, "media_types": [], "manifest": [], "objects": []}
			]
		}
	}
}`

// medallion starts OASIS's server and returns the address of its discovery.
func medallion(t *testing.T) string {
	python := os.Getenv(pythonEnv)
	if python == "" {
		t.Skipf("SKIPPED: NOT CHECKED with medallion: set %s to the python that testnet/interop/python/environment makes", pythonEnv)
	}
	c := exec.Command(python, "testdata/foreign.py")
	c.Stdin = strings.NewReader(medallionConfig)
	c.Stderr = t.Output()
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("medallion does not start: %v", err)
	}
	return "http://127.0.0.1:" + strings.TrimSpace(port) + "/taxii2/"
}

func objects(from, to int) (all []json.RawMessage) {
	for n := from; n < to; n++ {
		all = append(all, json.RawMessage(object(n)))
	}
	return all
}

// states counts outcomes by state and message.
func states(outcomes []client.Outcome) map[string]int {
	n := map[string]int{}
	for _, o := range outcomes {
		n[strings.TrimSpace(string(o.State)+" "+o.Message)]++
	}
	return n
}

func sameStates(t *testing.T, outcomes []client.Outcome, want map[string]int) {
	t.Helper()
	if got := states(outcomes); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the outcomes are %v and not %v", got, want)
	}
}

// pull polls until nothing new comes and counts how often each object came.
func pull(t *testing.T, one *client.Client, o client.Collection, from client.Position, limit, pages int) (map[int]int, client.Position) {
	t.Helper()
	stop := errors.New("enough")
	seen := map[int]int{}
	at, err := one.Poll(t.Context(), o, from, client.Options{Limit: limit, Types: []string{"indicator"}}, func(page client.Page) error {
		if pages--; pages < 0 {
			return stop
		}
		for _, raw := range page.Objects {
			seen[number(raw)]++
		}
		return nil
	})
	if err != nil && err != stop {
		t.Fatal(err)
	}
	return seen, at
}

func all(t *testing.T, seen map[int]int, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		if seen[n] == 0 {
			t.Errorf("object %d was missed", n)
		}
		delete(seen, n)
	}
	if len(seen) > 0 {
		t.Errorf("objects came that should not: %v", seen)
	}
}

// TestMedallion uses a server that others wrote. It gives one token for all pages of a
// poll, moves on with each use of it, stamps all objects of a POST alike, and refuses
// what it has.
func TestMedallion(t *testing.T) {
	url := medallion(t)
	one, err := client.New(client.Config{URL: url, User: "analyst", Password: "p4ssw0rd", Rate: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()

	collections, err := one.Collections(t.Context())
	if len(collections) != 4 || err == nil || !strings.Contains(err.Error(), "localhost:5000/api2/ is on another server") || !strings.Contains(err.Error(), "/gone/: it answered 404") {
		t.Errorf("there are %v, %v", collections, err)
	}
	find := func(name string) client.Collection {
		o, err := one.Collection(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	both, in, slow, out := find("Both"), find("in"), find("365fed99-08fa-fdcd-a1b3-fb247eb41d01"), find("Out")
	if both.ContentMax != 20000 || in.CanRead || !in.CanWrite || out.CanWrite {
		t.Errorf("the collections are %v %v %v", both, in, out)
	}

	push := func(o client.Collection, from, to int, want map[string]int) {
		t.Helper()
		outcomes, err := one.Push(t.Context(), o, objects(from, to))
		if err != nil {
			t.Error(err)
		}
		sameStates(t, outcomes, want)
	}
	push(both, 0, 250, map[string]int{"taken": 250})
	push(both, 200, 300, map[string]int{"taken": 50, "taken it was there already": 50})
	push(slow, 0, 30, map[string]int{"taken": 30})
	push(in, 0, 10, map[string]int{"taken": 10})
	push(in, 0, 10, map[string]int{"declined Unable to process object": 10})
	outcomes, err := one.Push(t.Context(), out, objects(0, 10))
	if err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a collection that takes nothing took it: %v", err)
	}
	sameStates(t, outcomes, map[string]int{"unsent": 10})

	for _, limit := range []int{1000, 7, 1} { // it clamps to 40
		seen, _ := pull(t, one, both, client.Position{}, limit, 1000)
		all(t, seen, 0, 300)
	}
	// An end in the middle, in every page, and a new client each time.
	seen, at := pull(t, one, both, client.Position{}, 100, 2)
	for range 20 {
		some, next := pull(t, one, both, at, 100, 2)
		for n, times := range some {
			seen[n] += times
		}
		at = next
	}
	all(t, seen, 0, 300)
	push(both, 300, 310, map[string]int{"taken": 10})
	seen, _ = pull(t, one, both, at, 100, 1000)
	for n := range seen {
		if n < 300 { // of the last seconds
			delete(seen, n)
		}
	}
	all(t, seen, 300, 310)
	if seen, _ := pull(t, one, out, client.Position{}, 100, 10); len(seen) > 0 {
		t.Errorf("an empty collection gave %v", seen)
	}

	wrong, err := client.New(client.Config{URL: url, User: "analyst", Password: "guessed-it"})
	if err != nil {
		t.Fatal(err)
	}
	defer wrong.Close()
	if _, err := wrong.Collections(t.Context()); err == nil || !strings.Contains(err.Error(), "401") || strings.Contains(err.Error(), "guessed") {
		t.Errorf("a wrong password: %v", err)
	}
}
