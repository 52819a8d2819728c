package interop_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = time.Minute

// A dev is a region that watchward dev runs.
type dev struct {
	dir   string
	nodes []hospital
}

// A hospital is one as watchward dev --json prints it.
type hospital struct {
	Name, Dir, API string
}

// startDev starts three hospitals, all of them voters. A fourth, whose node does not
// run, has said many words that one of them takes in.
func startDev(t *testing.T) *dev {
	t.Helper()
	d := &dev{dir: t.TempDir()}
	stop := d.start(t, 4) // makes them members
	stop()
	words := filepath.Join(d.dir, "words.wwb")
	runProgram(t, "testnet", "words", "--count", strconv.Itoa(entriesMin), filepath.Join(d.dir, "hospital-4"), words)
	t.Cleanup(d.start(t, 3))
	d.watchward(t, "import", words)
	d.grow(t, entriesMin)
	return d
}

func (d *dev) start(t *testing.T, hospitals int) (stop func()) {
	t.Helper()
	c := exec.Command(filepath.Join(tools, "watchward"), "dev", "--json", "--dir", d.dir, "--hospitals", strconv.Itoa(hospitals))
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		if err := errors.Join(c.Process.Signal(syscall.SIGINT), c.Wait()); err != nil {
			t.Errorf("watchward dev: %v", err)
		}
	}
	d.nodes = nil
	lines := bufio.NewScanner(out)
	for len(d.nodes) < hospitals && lines.Scan() {
		var h hospital
		if err := json.Unmarshal(lines.Bytes(), &h); err != nil {
			stop()
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		d.nodes = append(d.nodes, h)
	}
	if len(d.nodes) < hospitals {
		stop()
		t.Fatal("watchward dev ended")
	}
	go io.Copy(io.Discard, out) //nolint:errcheck // it ends with the process
	return stop
}

// runProgram runs a program that buildTools built and returns its output.
func runProgram(t *testing.T, program string, args ...string) []byte {
	t.Helper()
	out, err := execute(t.Context(), program, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func execute(ctx context.Context, program string, args ...string) ([]byte, error) {
	var out, wrong bytes.Buffer
	c := exec.CommandContext(ctx, filepath.Join(tools, program), args...)
	c.Stdout, c.Stderr = &out, &wrong
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, wrong.Bytes())
	}
	return out.Bytes(), nil
}

// watchward runs a command at the first hospital.
func (d *dev) watchward(t *testing.T, args ...string) []byte {
	t.Helper()
	return runProgram(t, "watchward", append(args, "--dir", d.nodes[0].Dir)...)
}

// A status is what third parties need of watchward ledger status.
type status struct {
	Origin     string `json:"origin"`
	Checkpoint struct {
		Size    int      `json:"size"`
		Signers []string `json:"signers"`
		Good    bool     `json:"good"`
	} `json:"checkpoint"`
	Voters []struct {
		Name        string `json:"name"`
		LogKey      string `json:"log_key"`
		CosignerKey string `json:"cosigner_key"`
	} `json:"voters"`
}

func (d *dev) status(t *testing.T) (s status) {
	t.Helper()
	if err := json.Unmarshal(d.watchward(t, "ledger", "status", "--json"), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// grow lets the ledger get so large, by words said one by one, and waits for a good
// checkpoint of it with the signatures of all voters.
func (d *dev) grow(t *testing.T, size int) {
	t.Helper()
	end := time.Now().Add(patience)
	for n := 0; ; n++ {
		s := d.status(t)
		if s.Checkpoint.Size >= size && s.Checkpoint.Good && len(s.Checkpoint.Signers) == len(s.Voters) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %s the ledger has %d of %d entries under a checkpoint of %v", patience, s.Checkpoint.Size, size, s.Checkpoint.Signers)
		}
		if s.Checkpoint.Size < size && s.Checkpoint.Size >= entriesMin {
			d.watchward(t, "report", fmt.Sprintf("grows-%d-%d.evil.example", size, n))
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// ledger is what others get to know of it: where it is and whose keys sign it.
func (d *dev) ledger(t *testing.T, entries int) *ledger {
	t.Helper()
	s := d.status(t)
	token := d.watchward(t, "token", "create", "auditor")
	l := &ledger{origin: s.Origin, token: strings.TrimSpace(string(token)), entries: entries}
	l.url = d.nodes[0].API + "/ledger/" + strings.TrimPrefix(s.Origin, "watchward/") + "/"
	for _, v := range s.Voters {
		if slices.Contains(s.Checkpoint.Signers, v.Name) {
			l.log, l.cosign = append(l.log, v.LogKey), append(l.cosign, v.CosignerKey)
		}
	}
	return l
}

// audit is our own verifier, over HTTP like the others. An error is what it found.
func (d *dev) audit(t *testing.T, l *ledger, flags ...string) error {
	t.Helper()
	_, err := execute(t.Context(), "watchward", append([]string{"ledger", "audit", l.url, "--dir", d.nodes[0].Dir}, flags...)...)
	if err != nil && !strings.Contains(err.Error(), "NOT SOUND") {
		t.Fatalf("it says neither that the ledger is sound nor that it is not: %v", err)
	}
	return err
}
