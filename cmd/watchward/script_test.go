package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/client"
)

var update = flag.Bool("update", false, "rewrite the expected output inside the scripts")

// Bounds of what a script waits for.
const (
	waitMax   = 30 * time.Second // ready, eventually: an ordinary word may wait 10 s to be grouped
	waitEvery = 20 * time.Millisecond
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"watchward": func() {
		now = skewed(os.Getenv("WATCHWARD_TEST_CLOCK_OFFSET"))
		main()
	}})
}

// skewed is a clock that is so far ahead: in a script
//
//	env WATCHWARD_TEST_CLOCK_OFFSET=72h
func skewed(offset string) func() time.Time {
	if offset == "" {
		return time.Now
	}
	d, err := time.ParseDuration(offset)
	if err != nil {
		panic(err)
	}
	return func() time.Time { return time.Now().Add(d) }
}

// TestScripts runs the transcripts in testdata: each is what a person or a
// program types, and what must come back.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata", UpdateScripts: *update, RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("GORACE", "atexit_sleep_ms=10") // else each command sleeps for 1 s at its end under the race detector
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": cmdCode, "ready": cmdReady, "await": cmdAwait, "eventually": cmdEventually,
			"normal": cmdNormal, "take": cmdTake, "copied": cmdCopied, "blob": cmdBlob,
			"pack": cmdPack, "encode": cmdEncode, "values": cmdValues, "ports": cmdPorts, "fetch": cmdFetch,
		},
	})
}

// cmdCode runs a command that must end with exactly this exit code:
//
//	code 3 watchward status --dir d
func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command [args...]")
	}
	if got := exitCode(ts, ts.Exec(args[1], args[2:]...)); strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

func exitCode(ts *testscript.TestScript, err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	ts.Fatalf("%v", err)
	return -1
}

// within runs try until it returns "", and fails with what it said last.
func within(ts *testscript.TestScript, try func() string) {
	why := try()
	tick := time.NewTicker(waitEvery)
	defer tick.Stop()
	for end := time.Now().Add(waitMax); why != ""; why = try() {
		if time.Now().After(end) {
			ts.Fatalf("after %s: %s", waitMax, why)
		}
		<-tick.C
	}
}

// cmdReady waits until nodes are ready and connected to so many members:
//
//	ready 1 node-a node-b
func cmdReady(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: ready PEERS DIR...")
	}
	peers, err := strconv.Atoi(args[0])
	ts.Check(err)
	for _, dir := range args[1:] {
		within(ts, func() string {
			s, err := status(ts, ts.MkAbs(dir))
			switch {
			case err != nil:
				return err.Error()
			case !s.Ready || s.Peers < peers:
				return fmt.Sprintf("%s: ready %v, %d peers, want %d", dir, s.Ready, s.Peers, peers)
			}
			return ""
		})
	}
}

func status(ts *testscript.TestScript, dir string) (api.Status, error) {
	c, err := client.Open(dir)
	if err != nil {
		return api.Status{}, err
	}
	defer c.Close()
	return c.Status(context.Background())
}

// cmdAwait waits until a file that another command writes has a line like this:
//
//	await out.txt '^Ctrl-C'
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await FILE PATTERN")
	}
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	within(ts, func() string {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err != nil {
			return err.Error()
		}
		if !pattern.Match(text) {
			return fmt.Sprintf("%s has no %q:\n%s", args[0], args[1], text)
		}
		return ""
	})
}

// cmdEventually repeats a command until it succeeds, or with "!" until it ends
// with exit code 1: none, some, or differs.
func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 {
		ts.Fatalf("usage: [!] eventually command [args...]")
	}
	want := 0
	if neg {
		want = client.ExitNo
	}
	within(ts, func() string {
		if code := exitCode(ts, ts.Exec(args[0], args[1:]...)); code != want {
			return fmt.Sprintf("%s: exit code %d, want %d", strings.Join(args, " "), code, want)
		}
		return ""
	})
}

// What differs from run to run, and what stands for it.
var volatile = []struct {
	pattern *regexp.Regexp
	word    string // numbered if it ends in a hyphen
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z`), "TIME"},
	{regexp.MustCompile(`12D3Koo[1-9A-HJ-NP-Za-km-z]{45}`), "PEER-"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "MEMBER-"},
	{regexp.MustCompile(`\b[0-9a-f]{40}\b`), "ID-"},
	{regexp.MustCompile(`\b[0-9a-f]{16}…`), "MEMBER…"},
	{regexp.MustCompile(`"id":"[0-9a-f]{8}"`), `"id":"TOKEN"`},
	{regexp.MustCompile(`wwt_[a-z0-9]+`), "wwt_SECRET"},
	{regexp.MustCompile(`(\bsalt +|"salt","value":")[0-9a-f]{32}\b`), "${1}SALT"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`/127\.0\.0\.1/(udp|tcp)/\d+`), "/127.0.0.1/$1/PORT"},
	{regexp.MustCompile(`[A-Za-z0-9+/]{43}=|[A-Za-z0-9+/]{64,}={0,2}`), "BASE64"},
	{regexp.MustCompile(`"latency_ms":[\d.]+,`), ""},                   // once the link has been measured
	{regexp.MustCompile(`"state":( ?)"sent"`), `"state":${1}"signed"`}, // once a peer has said that it holds it
	{regexp.MustCompile(`"offset_ms":[-\d]+,"members":\d+`), `"offset_ms":"N","members":"N"`},
	{regexp.MustCompile(`"(used_bytes|free_bytes|offset_ms|latency_ms)":( ?)[-\d.e]+`), `"$1":${2}"N"`},
	{regexp.MustCompile(`"version":( ?)"[^"]*"`), `"version":${1}"VERSION"`},
	{regexp.MustCompile(`\b\d{1,2} [A-Z][a-z]+ \d{4}, \d\d:\d\d [A-Z]+`), "MOMENT"},
	{regexp.MustCompile(`\b\d{1,2} [A-Z][a-z]{2} \d\d:\d\d( UTC)?`), "CLOCK"},
	{regexp.MustCompile(`\b([0-9a-f]{4} ){3,15}[0-9a-f]{4}\b`), "FINGERPRINT"},
	{regexp.MustCompile(`(CLOCK( NEW)?\**) [0-9a-f]{8}\b`), "$1 ID"},
	{regexp.MustCompile(`just now|\d+ (s|min) ago`), "AGO"},
	{regexp.MustCompile(` {2,}`), "  "},
	{regexp.MustCompile(`(?m) +$`), ""},
}

// cmdNormal writes the last standard output, with fixed words for what differs
// from run to run and one JSON field a line, into the file normal.
func cmdNormal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: normal")
	}
	text := ts.ReadFile("stdout")
	for _, v := range volatile {
		if !strings.HasSuffix(v.word, "-") {
			text = v.pattern.ReplaceAllString(text, v.word)
			continue
		}
		seen := map[string]string{}
		text = v.pattern.ReplaceAllStringFunc(text, func(s string) string {
			if seen[s] == "" {
				seen[s] = v.word + strconv.Itoa(len(seen)+1)
			}
			return seen[s]
		})
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		var pretty bytes.Buffer
		if strings.HasPrefix(line, "{") && json.Indent(&pretty, []byte(line), "", "  ") == nil {
			line = pretty.String()
		}
		out.WriteString(line)
	}
	ts.Check(os.WriteFile(ts.MkAbs("normal"), []byte(out.String()), 0o600))
}

// cmdTake puts a value of the last standard output, which is JSON, into a
// variable:
//
//	take ID notices.0.id
func cmdTake(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: take VARIABLE PATH")
	}
	var v any
	ts.Check(json.NewDecoder(strings.NewReader(ts.ReadFile("stdout"))).Decode(&v)) // of several, the first
	for _, step := range strings.Split(args[1], ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(at) {
				ts.Fatalf("%s: no element %s", args[1], step)
			}
			v = at[i]
		}
	}
	if v == nil {
		ts.Fatalf("%s is not there", args[1])
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}

// cmdCopied runs the commands that a file offers to copy, in their order, as
// often as somebody needs to read the next.
func cmdCopied(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: copied FILE COUNT")
	}
	count := 0
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if command, ok := strings.CutPrefix(line, "  watchward "); ok {
			count++
			cmdEventually(ts, false, append([]string{"watchward"}, strings.Fields(command)...))
		}
	}
	if strconv.Itoa(count) != args[1] {
		ts.Fatalf("%d commands to copy, want %s", count, args[1])
	}
}

// cmdBlob writes a file that is too large for an archive, or no text: a
// beginning and then so many times a text. \xff stands for that byte.
//
//	blob deep.json '{"Event":' 100000 '['
func cmdBlob(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: blob FILE BEGINNING COUNT TEXT")
	}
	count, err := strconv.Atoi(args[2])
	ts.Check(err)
	text := strings.ReplaceAll(args[1], `\xff`, "\xff") + strings.Repeat(args[3], count)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// cmdPorts puts a port for watchward dev --port into a variable, with which so many
// hospitals find theirs free. They are below those that the system gives away.
//
//	ports PORT 7
func cmdPorts(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: ports VARIABLE HOSPITALS")
	}
	hospitals, err := strconv.Atoi(args[1])
	ts.Check(err)
	within(ts, func() string {
		port := 10_000 + 10*rand.IntN(2000)
		for i := range hospitals {
			for p := port + 10*i; p <= port+10*i+1; p++ {
				if err := free(p); err != nil {
					return err.Error()
				}
			}
		}
		ts.Setenv(args[0], strconv.Itoa(port))
		return ""
	})
}

// free reports, as an error, that a port is taken.
func free(port int) error {
	at := fmt.Sprintf("127.0.0.1:%d", port)
	tcp, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp", at)
	if err == nil {
		err = udp.Close()
	}
	return errors.Join(err, tcp.Close())
}
