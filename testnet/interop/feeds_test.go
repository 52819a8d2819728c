package interop_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// program returns the path of a real program that ours works with, or skips loudly.
func program(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("SKIPPED: %s is not installed (Debian: %s): it was not tried with ours", name, pkg)
	}
	return path
}

// A single is a node alone that blocks what it saw itself.
type single struct {
	dir, api, token string
}

// A feeder is one that serves feeds.
type feeder struct {
	*single
	dns string
}

func startFeeder(t *testing.T, notify string) *feeder {
	t.Helper()
	dns := freeAddr(t)
	return &feeder{dns: dns, single: startSingle(t, fmt.Sprintf(`
[feeds]
dns_listen = %q
[[feeds.list]]
name = "dns"
format = "rpz"
zone = "rpz.test"
transfer = ["127.0.0.1"]
notify = [%q]
[[feeds.list]]
name = "bouncer"
format = "crowdsec"
`, dns, notify))}
}

// startSingle starts a node with some more configuration.
func startSingle(t *testing.T, more string) *single {
	t.Helper()
	f := &single{dir: filepath.Join(t.TempDir(), "node")}
	runProgram(t, "watchward", "init", "--dir", f.dir, "--name", "St Anna", "--api-listen", "127.0.0.1:0")
	config := "name = \"St Anna\"\n[api]\nlisten = \"127.0.0.1:0\"\n[block]\nmin_members = 1\n" + more
	if err := os.WriteFile(filepath.Join(f.dir, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, exec.Command(filepath.Join(tools, "watchward"), "run", "--dir", f.dir))
	eventually(t, "the node is ready", func() bool {
		_, err := execute(t.Context(), "watchward", "feed", "list", "--dir", f.dir)
		return err == nil
	})
	var e struct{ URL string }
	raw, err := os.ReadFile(filepath.Join(f.dir, "api.json"))
	if err == nil {
		err = json.Unmarshal(raw, &e)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.api = e.URL
	f.token = strings.TrimSpace(string(f.watchward(t, "token", "create", "consumer", "--ceiling", "AMBER")))
	return f
}

// background starts a program and ends it with the test.
func background(t *testing.T, c *exec.Cmd) {
	t.Helper()
	c.Stdout, c.Stderr = os.Stderr, os.Stderr
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()
	})
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (f *single) watchward(t *testing.T, args ...string) []byte {
	t.Helper()
	return runProgram(t, "watchward", append(args, "--dir", f.dir)...)
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s not: %s", patience, what)
		}
	}
}

func (f *feeder) zone(t *testing.T) []byte {
	t.Helper()
	l := &ledger{url: f.api + "/feeds/", token: f.token}
	raw, err := l.get(t.Context(), "dns")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestZoneByNamedCheckzone(t *testing.T) {
	check := program(t, "named-checkzone", "bind9-utils")
	f := startFeeder(t, "127.0.0.1:9")
	f.watchward(t, "report", "evil.example", "203.0.113.7", "203.0.114.0/24", "2a00:1::7", "2a00:1:2::/48", "--tlp", "AMBER", "--local")
	eventually(t, "the zone has them", func() bool { return strings.Count(string(f.zone(t)), "CNAME") == 6 })
	path := filepath.Join(t.TempDir(), "zone")
	if err := os.WriteFile(path, f.zone(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(check, "-i", "none", "rpz.test", path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// ask asks a resolver for a name's address.
func ask(t *testing.T, resolver, name string) dnsmessage.RCode {
	t.Helper()
	q := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	raw, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("udp", resolver)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(200 * time.Millisecond))
	answer := make([]byte, 4096)
	if _, err = c.Write(raw); err == nil {
		var n int
		n, err = c.Read(answer)
		answer = answer[:n]
	}
	var m dnsmessage.Message
	if err != nil || m.Unpack(answer) != nil {
		return dnsmessage.RCodeServerFailure // it starts still
	}
	return m.RCode
}

// startUpstream is a DNS server that knows an address of every name, and returns where
// it is.
func startUpstream(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-gone })
	go func() {
		defer close(gone)
		raw := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(raw)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(raw[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			if q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 3600},
					Body:   &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}},
				}}
			}
			if answer, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

// refusedWithin is the time from a report to a resolver that refuses the name.
const refusedWithin = 2 * time.Second

// startUnbound starts an unbound that takes its policy from a zone of a node.
func startUnbound(t *testing.T, unbound, resolver, zone, node string) {
	t.Helper()
	dir := t.TempDir()
	at := func(addr string) string { return strings.Replace(addr, ":", "@", 1) }
	conf := filepath.Join(dir, "unbound.conf")
	text := fmt.Sprintf(`server:
  directory: %q
  chroot: ""
  username: ""
  pidfile: ""
  interface: %s
  do-daemonize: no
  use-syslog: no
  do-not-query-localhost: no
  module-config: "respip iterator"
forward-zone:
  name: "."
  forward-addr: %s
rpz:
  name: %s
  primary: %s
  allow-notify: 127.0.0.1
`, dir, at(resolver), at(startUpstream(t)), zone, at(node))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, exec.Command(unbound, "-d", "-c", conf))
}

// A live unbound transfers the zone, is told of changes, and within two seconds refuses
// names that it answered before.
func TestUnboundRefusesWhatIsReported(t *testing.T) {
	unbound := program(t, "unbound", "unbound")
	resolver := freeAddr(t)
	f := startFeeder(t, resolver)
	f.watchward(t, "report", "evil.example", "--tlp", "AMBER", "--local")
	startUnbound(t, unbound, resolver, "rpz.test", f.dns)
	says := func(name string, code dnsmessage.RCode) func() bool {
		return func() bool { return ask(t, resolver, name) == code }
	}
	eventually(t, "it refuses evil.example", says("evil.example", dnsmessage.RCodeNameError))
	for i := range 5 {
		name := fmt.Sprintf("fresh-%d.example", i)
		eventually(t, "it answers for "+name, says("www."+name, dnsmessage.RCodeSuccess))
		begin := time.Now()
		f.watchward(t, "report", name, "--tlp", "AMBER", "--local")
		reported := time.Since(begin)
		eventually(t, "it refuses what is below "+name, says("www."+name, dnsmessage.RCodeNameError))
		refused := time.Since(begin)
		t.Logf("%s: reported after %s, refused after %s", name, reported.Round(time.Millisecond), refused.Round(time.Millisecond))
		if refused > refusedWithin {
			t.Errorf("%s was refused after %s, want within %s", name, refused, refusedWithin)
		}
	}
	f.watchward(t, "allow", "evil.example")
	eventually(t, "it lets an allowed name go", says("evil.example", dnsmessage.RCodeSuccess))
	if list := string(f.watchward(t, "feed", "list")); !strings.Contains(list, "127.0.0.1 ") {
		t.Errorf("who transferred it is not shown:\n%s", list)
	}
}

func TestCrowdSecBouncer(t *testing.T) {
	bouncer := program(t, "crowdsec-custom-bouncer", "crowdsec-custom-bouncer")
	f := startFeeder(t, "127.0.0.1:9")
	dir := t.TempDir()
	out, script, conf := filepath.Join(dir, "out"), filepath.Join(dir, "act"), filepath.Join(dir, "bouncer.yaml")
	for path, text := range map[string]string{
		out: "", script: "#!/bin/sh\necho \"$1 $2\" >> " + out + "\n",
		conf: fmt.Sprintf("bin_path: %s\nfeed_via_stdin: false\ntotal_retries: 0\npiddir: %s\nupdate_frequency: 1s\ncache_retention_duration: 1s\n"+
			"daemonize: false\nlog_mode: stdout\nlog_level: info\napi_url: %s/crowdsec/\napi_key: %s\nprometheus:\n  enabled: false\n", script, dir, f.api, f.token),
	} {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	f.watchward(t, "report", "203.0.113.7", "203.0.114.0/24", "--tlp", "AMBER", "--local")
	background(t, exec.Command(bouncer, "-c", conf))
	did := func(line string) func() bool {
		return func() bool {
			raw, err := os.ReadFile(out)
			return err == nil && strings.Contains(string(raw), line+"\n")
		}
	}
	eventually(t, "it bans an address", did("add 203.0.113.7"))
	eventually(t, "it bans a network", did("add 203.0.114.0/24"))
	f.watchward(t, "report", "203.0.113.8", "--tlp", "AMBER", "--local")
	eventually(t, "it bans what is new", did("add 203.0.113.8"))
	f.watchward(t, "allow", "203.0.113.8")
	eventually(t, "it lets go what is allowed", did("del 203.0.113.8"))
}
