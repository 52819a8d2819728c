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

// program returns the path of a real consumer of feeds, or skips loudly.
func program(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("SKIPPED: %s is not installed (Debian: %s): feeds were not fetched by it", name, pkg)
	}
	return path
}

// A feeder is a node alone that blocks what it saw itself.
type feeder struct {
	dir, api, token, dns string
}

func startFeeder(t *testing.T, notify string) *feeder {
	t.Helper()
	f := &feeder{dir: filepath.Join(t.TempDir(), "node"), dns: freeAddr(t)}
	runProgram(t, "watchward", "init", "--dir", f.dir, "--name", "St Anna", "--api-listen", "127.0.0.1:0")
	config := fmt.Sprintf(`name = "St Anna"
[api]
listen = "127.0.0.1:0"
[block]
min_members = 1
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
`, f.dns, notify)
	if err := os.WriteFile(filepath.Join(f.dir, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, exec.Command(filepath.Join(tools, "watchward"), "run", "--dir", f.dir))
	f.eventually(t, "the node is ready", func() bool {
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

func (f *feeder) watchward(t *testing.T, args ...string) []byte {
	t.Helper()
	return runProgram(t, "watchward", append(args, "--dir", f.dir)...)
}

func (f *feeder) eventually(t *testing.T, what string, is func() bool) {
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
	f.eventually(t, "the zone has them", func() bool { return strings.Count(string(f.zone(t)), "CNAME") == 6 })
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

// A live unbound transfers the zone, is told of a change, and refuses the name.
func TestUnboundRefusesWhatIsReported(t *testing.T) {
	unbound := program(t, "unbound", "unbound")
	resolver := freeAddr(t)
	f := startFeeder(t, resolver)
	dir := t.TempDir()
	_, port, _ := net.SplitHostPort(resolver)
	host, dnsPort, _ := net.SplitHostPort(f.dns)
	conf := filepath.Join(dir, "unbound.conf")
	text := fmt.Sprintf(`server:
  directory: %[1]q
  chroot: ""
  username: ""
  pidfile: ""
  interface: 127.0.0.1@%[2]s
  do-daemonize: no
  use-syslog: no
  do-not-query-localhost: no
  module-config: "respip iterator"
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@1
rpz:
  name: rpz.test.
  primary: %[3]s@%[4]s
  allow-notify: 127.0.0.1
`, dir, port, host, dnsPort)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f.watchward(t, "report", "evil.example", "--tlp", "AMBER", "--local")
	background(t, exec.Command(unbound, "-d", "-c", conf))
	refused := func(name string) func() bool {
		return func() bool { return ask(t, resolver, name) == dnsmessage.RCodeNameError }
	}
	f.eventually(t, "it refuses evil.example", refused("evil.example"))
	if refused("harmless.example")() {
		t.Fatal("it refuses all names")
	}
	begin := time.Now()
	f.watchward(t, "report", "fresh.example", "--tlp", "AMBER", "--local")
	f.eventually(t, "it refuses what is below a fresh name", refused("www.fresh.example"))
	t.Logf("reported and refused within %s", time.Since(begin))
	f.watchward(t, "allow", "evil.example")
	f.eventually(t, "it lets an allowed name go", func() bool { return !refused("evil.example")() })
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
	f.eventually(t, "it bans an address", did("add 203.0.113.7"))
	f.eventually(t, "it bans a network", did("add 203.0.114.0/24"))
	f.watchward(t, "report", "203.0.113.8", "--tlp", "AMBER", "--local")
	f.eventually(t, "it bans what is new", did("add 203.0.113.8"))
	f.watchward(t, "allow", "203.0.113.8")
	f.eventually(t, "it lets go what is allowed", did("del 203.0.113.8"))
}
