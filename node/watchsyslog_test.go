package node_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

// listening returns the address on which syslog is received.
func (l *logged) listening(t testing.TB, how string) string {
	t.Helper()
	addr := ""
	eventually(t, how+" is listened on", func() bool {
		for _, a := range l.log(t, "syslog").Listen {
			if rest, ok := strings.CutPrefix(a, how+" "); ok {
				addr = rest
			}
		}
		return addr != ""
	})
	return addr
}

// sends writes a text to an address.
func sends(t testing.TB, network, addr, text string) {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err == nil {
		_, err = c.Write([]byte(text))
	}
	if err == nil {
		err = c.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What devices send is read as their lines in files are, over UDP, TCP and TLS.
func TestLogsSyslog(t *testing.T) {
	l := newLogged(t, "[syslog]\nudp = \"127.0.0.1:0\"\ntcp = \"127.0.0.1:0\"\ntls = \"127.0.0.1:0\"\ntls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n")
	l.knowsOf(t, "udp.example", "tcp.example", "tls.example", "after.example")
	l.start(t, nil)
	eventually(t, "it is said that there is no certificate", func() bool {
		return strings.Contains(l.log(t, "syslog").Problem, "syslog.tls_cert: ") && l.warned(t, "the log syslog is not read")
	})
	certificate(t, filepath.Join(l.dir, "cert.pem"), filepath.Join(l.dir, "key.pem"))
	udp := l.listening(t, "udp")
	sends(t, "udp", udp, "<30>Nov 27 10:00:00 resolver dnsmasq[1]: query[A] udp.example from 10.0.0.5")
	l.awaitHit(t, "udp.example")
	tcp := l.listening(t, "tcp")
	line := "<30>Nov 27 10:00:00 resolver dnsmasq[1]: query[A] tcp.example from 10.0.0.5"
	sends(t, "tcp", tcp, fmt.Sprintf("%d %s", len(line), line)+strings.Repeat("x", 1<<20)+"\n<30>half a mess")
	l.awaitHit(t, "tcp.example")
	c, err := tls.Dial("tcp", l.listening(t, "tls"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "<30>Nov 27 10:00:00 resolver dnsmasq[1]: query[A] tls.example from 10.0.0.5\n")
	if text := l.awaitHit(t, "tls.example"); !strings.Contains(text, "HIT in log syslog: query tls.example (detect)") {
		t.Errorf("%s", text)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if v := l.log(t, "syslog"); v.Lines < 5 || v.Hits != 3 || v.Format != "mixed" || v.Problem != "" {
		t.Errorf("%+v", v)
	}
	if l.warned(t, "the log syslog") {
		t.Error("status warns of what is well")
	}
}

// What is this house's own and what is on a warninglist make no hit. A supplier and
// what clinical systems need do, and that is told to nobody.
func TestLogHitsByPolicy(t *testing.T) {
	l := newLogged(t, strings.Replace(oneLog, "format =", "share = true\nformat =", 1)+`
[never_block]
own = ["own.example", "198.51.100.0/24"]
suppliers = ["supplier.example"]
clinical = ["lab.example"]

[warninglists]
dir = "%s/lists"
`)
	list(t, filepath.Join(l.logs, "lists"), "popular.json", popular)
	l.RefreshPolicies() // a list that is new may still be written
	l.RefreshPolicies()
	l.knowsOf(t, "own.example", "supplier.example", "lab.example", "popular.example", "198.51.100.7", "last.example")
	l.write(t, "dns.log", query("a.own.example")+query("www.supplier.example")+query("lab.example")+query("popular.example")+
		"Nov 27 10:00:00 dnsmasq[1]: reply x.example is 198.51.100.7\n"+query("last.example"))
	l.start(t, nil)
	l.awaitHit(t, "last.example")
	for value, why := range map[string]string{"www.supplier.example": "supplier.example is in never_block.suppliers", "lab.example": "in never_block.clinical"} {
		if text := l.hit(t, value); !strings.Contains(text, "(detect). 1 line,") || !strings.Contains(text, why) {
			t.Errorf("%s: %q", value, text)
		}
	}
	if all := l.alerts(t, "hit"); len(all) != 3 {
		t.Errorf("%+v", all)
	}
	var told []api.NoticeView
	eventually(t, "a hit is told", func() bool {
		var err error
		told, _, err = l.Notices(t.Context(), api.Query{Kind: notice.KindSighting, Mine: true, Limit: 100})
		return err == nil && len(told) > 0
	})
	if len(told) != 1 || told[0].Indicator.Value != "last.example" {
		t.Errorf("told: %+v", told)
	}
}

// What was seen is in the history before it is written down how far was read.
func TestLogsFeedHistory(t *testing.T) {
	l := newLogged(t, oneLog)
	l.write(t, "dns.log", strings.Repeat(query("fine.example"), 5)+query("other.example"))
	l.start(t, nil)
	eventually(t, "all is read", func() bool { return l.log(t, "resolver").Lines == 6 })
	l.stop(t)
	l.open(t)
	traces, err := l.History().Find([]notice.Indicator{{Type: notice.TypeDomain, Value: "fine.example"}, {Type: notice.TypeDomain, Value: "never.example"}})
	if err != nil || traces[0].Count != 5 || traces[1].Count != 0 {
		t.Errorf("%+v %v", traces, err)
	}
}

// A line is alerted within half a second: five polls a second, and the alert is durable.
func TestLogHitIsQuick(t *testing.T) {
	l := newLogged(t, oneLog)
	var values []string
	for i := range 20 {
		values = append(values, fmt.Sprintf("evil-%d.example", i))
	}
	l.knowsOf(t, values...)
	l.write(t, "dns.log", query("fine.example"))
	l.start(t, nil)
	eventually(t, "it reads", func() bool { return l.log(t, "resolver").Lines == 1 })
	var took []int64
	for _, v := range values {
		began := l.clock.now()
		l.write(t, "dns.log", query(v))
		l.awaitHit(t, v)
		all := l.alerts(t, "hit")
		at := slices.IndexFunc(all, func(a api.AlertView) bool { return strings.Contains(a.Text, " "+v+" ") })
		took = append(took, int64(all[at].Time)-began)
	}
	slices.Sort(took)
	t.Logf("line written → alert: median %d ms, longest %d ms", took[len(took)/2], took[len(took)-1])
	if took[len(took)/2] > 500 {
		t.Errorf("the median is %d ms", took[len(took)/2])
	}
}

// certificate makes one for 127.0.0.1.
func certificate(t testing.TB, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct {
		path, kind string
		der        []byte
	}{{key, "PRIVATE KEY", secret}, {cert, "CERTIFICATE", der}} {
		if err := os.WriteFile(f.path, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A value that is denied here hits although nobody knows it; one that is allowed does not.
func TestLogHitsWhatIsDecidedHere(t *testing.T) {
	l := newLogged(t, oneLog)
	l.knowsOf(t, "allowed.example", "last.example")
	l.start(t, nil)
	l.write(t, "dns.log", query("denied.example"))
	eventually(t, "the line is read", func() bool { return l.log(t, "resolver").Lines == 1 })
	if _, err := l.Decide(t.Context(), "somebody", []api.PolicyRequest{{Value: "denied.example", Decision: api.DecisionDeny}, {Value: "allowed.example", Decision: api.DecisionAllow}}); err != nil {
		t.Fatal(err)
	}
	l.write(t, "dns.log", query("denied.example")+query("allowed.example")+query("last.example"))
	l.awaitHit(t, "last.example")
	if text := l.hit(t, "denied.example"); !strings.Contains(text, "(block). 1 line,") || !strings.Contains(text, "denied here") {
		t.Errorf("%q", text)
	}
	if all := l.alerts(t, "hit"); len(all) != 2 {
		t.Errorf("%+v", all)
	}
}
