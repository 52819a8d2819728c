package bench_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

const (
	redisSet      = "values"
	redisCall     = 1_000 // values of one SMISMEMBER
	redisPipeline = 16    // commands on their way at once
)

// A redis is a server of our own on loopback that holds a set, and one
// connection to it.
type redis struct {
	conn net.Conn
	in   *bufio.Reader
}

// startRedis fills a new server's set with the values of mixed; nil if there is
// no redis-server.
func startRedis(t testing.TB, indicators int) *redis {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Log("redis-server is not installed: nothing is measured beside it")
		return nil
	}
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	server := exec.CommandContext(ctx, path, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", dir)
	if err := server.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	x := &redis{}
	t.Cleanup(func() {
		if x.conn != nil {
			_ = x.conn.Close()
		}
		cancel()
		_ = server.Wait() // it was killed
	})
	eventually(t, "Redis answers", 10*time.Millisecond, func() bool {
		x.conn, err = net.Dial("tcp", "127.0.0.1:"+port)
		return err == nil
	})
	x.in = bufio.NewReaderSize(x.conn, 1<<20)
	values := make([]string, 0, redisCall)
	for k := 0; k < indicators; k += redisCall {
		values = values[:0]
		for i := k; i < min(k+redisCall, indicators); i++ {
			values = append(values, mixed(i).Value)
		}
		if _, err := x.conn.Write(resp("SADD", values)); err != nil {
			t.Fatal(err)
		}
		if _, err := x.number(':'); err != nil {
			t.Fatal(err)
		}
	}
	return x
}

// resp is a command on the set, in the protocol of Redis.
func resp(command string, values []string) []byte {
	b := fmt.Appendf(nil, "*%d\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(values)+2, len(command), command, len(redisSet), redisSet)
	for _, v := range values {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(v), v)
	}
	return b
}

// number reads one line: a number behind a byte that says what it is.
func (x *redis) number(kind byte) (int, error) {
	line, err := x.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != kind {
		return 0, fmt.Errorf("Redis says %q", line)
	}
	return strconv.Atoi(string(line[1 : len(line)-2]))
}

// rate returns values a second, with redisPipeline commands on their way.
func (x *redis) rate(t testing.TB, values []string) float64 {
	t.Helper()
	var commands [][]byte
	for part := range slices.Chunk(values, redisCall) {
		commands = append(commands, resp("SMISMEMBER", part))
	}
	free := make(chan struct{}, redisPipeline)
	sent := make(chan error, 1)
	start := time.Now()
	go func() {
		for _, c := range commands {
			free <- struct{}{}
			if _, err := x.conn.Write(c); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	known := 0
	for range commands {
		n, err := x.number('*')
		for range n {
			var yes int
			if yes, err = x.number(':'); err != nil {
				break
			}
			known += yes
		}
		if err != nil {
			t.Fatal(err)
		}
		<-free
	}
	took := time.Since(start)
	if err := <-sent; err != nil || known != len(values)/2 {
		t.Fatalf("Redis knows %d of %d values, want every second: %v", known, len(values), err)
	}
	return float64(len(values)) / took.Seconds()
}

// A grep looks values up in a file of all indicators, one a line.
type grep struct {
	dir  string
	list string
}

func newGrep(t testing.TB, indicators int) *grep {
	t.Helper()
	dir := t.TempDir()
	g := &grep{dir: dir, list: filepath.Join(dir, "list")}
	var text bytes.Buffer
	for k := range indicators {
		text.WriteString(mixed(k).Value)
		text.WriteByte('\n')
	}
	if err := os.WriteFile(g.list, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return g
}

// rate returns values a second. The time has grep's start and its reading of the
// list in it, as whoever types it waits for them.
func (g *grep) rate(t testing.TB, values []string) float64 {
	t.Helper()
	asked := filepath.Join(g.dir, "asked")
	var text bytes.Buffer
	for _, v := range values {
		text.WriteString(v)
		text.WriteByte('\n')
	}
	if err := os.WriteFile(asked, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	c := exec.CommandContext(t.Context(), "grep", "-F", "-x", "-f", g.list, asked)
	c.Env = append(os.Environ(), "LC_ALL=C")
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Skipf("no grep: %v", err)
	}
	found, err := io.Copy(io.Discard, out)
	if err = errors.Join(err, c.Wait()); err != nil || found == 0 {
		t.Fatalf("grep: %v", err)
	}
	return float64(len(values)) / time.Since(start).Seconds()
}
