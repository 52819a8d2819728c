package bench_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	loadProcesses   = 4 // at most, in which clients live
	loadConnections = 4 // at most, of one process: its clients share them
)

// A load is a process of clients, each of whom writes one 512-byte entry after the
// other. It says "ready", and answers each line "CLIENTS CONNECTIONS MILLISECONDS"
// with what each entry took, in µs, as one line of JSON. It ends with its input.
type load struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

func startLoad(t testing.TB, c *exec.Cmd) *load {
	t.Helper()
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	l := &load{c, in, bufio.NewReaderSize(out, 1<<20)}
	t.Cleanup(func() {
		if err := errors.Join(in.Close(), c.Wait()); err != nil {
			t.Errorf("%s: %v", c.Path, err)
		}
	})
	if line, err := l.out.ReadString('\n'); err != nil || strings.TrimSpace(line) != "ready" {
		t.Fatalf("%s says %q: %v", c.Path, line, err)
	}
	return l
}

// A rate is what clients felt.
type rate struct {
	second   float64 // entries
	p50, p99 time.Duration
}

func (r rate) String() string {
	return fmt.Sprintf("%.0f/s, p50 %v, p99 %v", r.second, r.p50, r.p99)
}

// run lets clients, spread over processes, write for so long.
func run(t testing.TB, loads []*load, clients int, long time.Duration) rate {
	t.Helper()
	loads = loads[:min(clients, len(loads))]
	for i, l := range loads {
		mine := (clients + i) / len(loads)
		if _, err := fmt.Fprintln(l.in, mine, min(mine, loadConnections), long.Milliseconds()); err != nil {
			t.Fatal(err)
		}
	}
	var all []time.Duration
	for _, l := range loads {
		line, err := l.out.ReadBytes('\n')
		if err != nil {
			t.Fatalf("a process of clients is gone: %v", err)
		}
		var took []int64
		if err := json.Unmarshal(line, &took); err != nil {
			t.Fatal(err)
		}
		for _, us := range took {
			all = append(all, time.Duration(us)*time.Microsecond)
		}
	}
	if len(all) == 0 {
		t.Fatal("clients wrote nothing")
	}
	slices.Sort(all)
	return rate{float64(len(all)) / long.Seconds(), all[len(all)/2], all[min(len(all)*99/100, len(all)-1)]}
}
