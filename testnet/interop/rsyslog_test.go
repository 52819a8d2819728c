package interop_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// An rsyslog is a directory for a real rsyslogd, and what it can do.
type rsyslog struct {
	program, dir string
	tls          bool // it has the module gtls
}

func newRsyslog(t *testing.T) *rsyslog {
	t.Helper()
	r := &rsyslog{program: program(t, "rsyslogd", "rsyslog"), dir: t.TempDir()}
	modules, err := filepath.Glob("/usr/lib/*/rsyslog/lmnsd_gtls.so")
	if err != nil {
		t.Fatal(err)
	}
	if r.tls = len(modules) > 0; !r.tls {
		t.Log("SKIPPED: rsyslog has no module for TLS (Debian: rsyslog-gnutls): syslog over TLS was not tried with it")
	}
	return r
}

// start starts it with a configuration.
func (r *rsyslog) start(t *testing.T, conf string) {
	t.Helper()
	path := filepath.Join(r.dir, "rsyslog.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, exec.Command(r.program, "-n", "-f", path, "-i", filepath.Join(r.dir, "pid")))
}

// certificate makes one for 127.0.0.1 that signs itself, and returns the files of the
// certificate and its key.
func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// written matches what rsyslogd writes of an alert: the fields of RFC 5424's header as
// it has parsed them, then CEF.
var written = regexp.MustCompile(`^(\w+) pri=13\.4 version=1 host=(\S+) app=watchward proc=- id=page data=- ` +
	`msg=CEF:0\|Watchward\|watchward\|[^|]+\|hit\|St Anna: HIT\|6\|rt=\d{13} externalId=\S+ act=page cs1Label=TLP cs1=GREEN cs2Label=domain cs2=detected\.example .*msg=HIT in log resolver: .*detected\.example`)

// A real rsyslogd takes what the sink sends, over TCP and TLS, and has every field where
// RFC 5424 puts it.
func TestRsyslogTakesAlerts(t *testing.T) {
	r := newRsyslog(t)
	log, tcp, tls := filepath.Join(r.dir, "log"), freeAddr(t), freeAddr(t)
	_, tcpPort, _ := net.SplitHostPort(tcp)
	_, tlsPort, _ := net.SplitHostPort(tls)
	cert, key := certificate(t, r.dir)
	conf := fmt.Sprintf(`module(load="imtcp")
template(name="fields" type="string" string="%%inputname%% pri=%%syslogfacility%%.%%syslogseverity%% version=%%protocol-version%% host=%%hostname%% app=%%app-name%% proc=%%procid%% id=%%msgid%% data=%%structured-data%% msg=%%msg%%\n")
ruleset(name="alerts") { action(type="omfile" file=%q template="fields") }
input(type="imtcp" name="tcp" address="127.0.0.1" port=%q ruleset="alerts")
`, log, tcpPort)
	sinks := map[string]string{"tcp": "tcp://" + tcp}
	if r.tls {
		sinks["tls"] = "tls://" + tls
		conf = fmt.Sprintf("global(defaultNetstreamDriverCAFile=%q defaultNetstreamDriverCertFile=%q defaultNetstreamDriverKeyFile=%q)\n", cert, cert, key) + conf +
			fmt.Sprintf("input(type=\"imtcp\" name=\"tls\" address=\"127.0.0.1\" port=%q ruleset=\"alerts\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" streamDriver.authMode=\"anon\")\n", tlsPort)
	}
	more := `
[never_block]
suppliers = ["detected.example"]
[[logs]]
name = "resolver"
path = "dns.log"
format = "dnsmasq"
`
	for name, url := range sinks {
		more += fmt.Sprintf("[[alerts.sinks]]\nname = %q\ntype = \"syslog\"\nurl = %q\nca_file = %q\n", name, url, cert)
	}
	r.start(t, conf)
	f := startSingle(t, more)
	f.watchward(t, "report", "detected.example", "--tlp", "GREEN", "--local")
	f.logs(t, "detected.example")
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	var text string
	for name := range sinks {
		eventually(t, "rsyslogd has the alert by "+name, func() bool {
			raw, _ := os.ReadFile(log) // not there yet
			text = string(raw)
			return strings.Contains("\n"+text, "\n"+name+" ")
		})
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) != len(sinks) {
		t.Errorf("%d lines of %d alerts", len(lines), len(sinks))
	}
	for _, line := range lines {
		if m := written.FindStringSubmatch(line); m == nil || m[2] != host {
			t.Errorf("rsyslogd wrote %q", line)
		}
	}
}

// A real rsyslogd hands on what a resolver on its machine logs, in the formats and by
// the ways it has, and each is a hit.
func TestRsyslogHandsOnLogs(t *testing.T) {
	r := newRsyslog(t)
	udp, tcp, tls := freeAddr(t), freeAddr(t), freeAddr(t)
	cert, key := certificate(t, r.dir)
	more := fmt.Sprintf("[syslog]\nudp = %q\ntcp = %q\n", udp, tcp)
	if r.tls {
		more += fmt.Sprintf("tls = %q\ntls_cert = %q\ntls_key = %q\n", tls, cert, key)
	}
	f := startSingle(t, more)
	socket := filepath.Join(r.dir, "dev-log")
	conf := fmt.Sprintf("global(defaultNetstreamDriverCAFile=%q)\nmodule(load=\"imuxsock\" sysSock.use=\"off\")\ninput(type=\"imuxsock\" socket=%q)\n", cert, socket)
	ways := []struct{ name, addr, protocol, more string }{
		{"udp.example", udp, "udp", `template="RSYSLOG_SyslogProtocol23Format"`},
		{"tcp.example", tcp, "tcp", `template="RSYSLOG_TraditionalForwardFormat"`},
		{"counted.example", tcp, "tcp", `template="RSYSLOG_SyslogProtocol23Format" tcp_framing="octet-counted"`},
	}
	if r.tls {
		ways = append(ways, struct{ name, addr, protocol, more string }{"tls.example", tls, "tcp",
			`template="RSYSLOG_SyslogProtocol23Format" tcp_framing="octet-counted" streamDriver="gtls" streamDriverMode="1" streamDriverAuthMode="x509/certvalid"`})
	}
	for _, w := range ways {
		_, port, _ := net.SplitHostPort(w.addr)
		conf += fmt.Sprintf("if $msg contains %q then action(type=\"omfwd\" target=\"127.0.0.1\" port=%q protocol=%q action.resumeRetryCount=\"-1\" action.resumeInterval=\"1\" %s)\n", w.name, port, w.protocol, w.more)
		f.watchward(t, "report", w.name, "--tlp", "AMBER", "--local")
	}
	r.start(t, conf)
	var device net.Conn
	eventually(t, "rsyslogd listens", func() (there bool) {
		var err error
		device, err = net.Dial("unixgram", socket)
		return err == nil
	})
	defer device.Close()
	for _, w := range ways {
		if _, err := fmt.Fprintf(device, "<30>%s dnsmasq[77]: query[A] www.%s from 10.0.0.5", time.Now().Format(time.Stamp), w.name); err != nil {
			t.Fatal(err)
		}
		eventually(t, "what came by "+w.name+" is a hit", func() bool {
			return strings.Contains(string(f.watchward(t, "alerts")), "HIT in log syslog: query www."+w.name)
		})
	}
}
