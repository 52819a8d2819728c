package syslog_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"

	"github.com/watchward/watchward/node/logs"
	"github.com/watchward/watchward/node/logs/syslog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen starts a listener on loopback; messages come out of the channel.
func listen(t *testing.T, c syslog.Config) (*syslog.Listener, chan string) {
	t.Helper()
	got := make(chan string, 100)
	l, err := syslog.Listen(c, func(m syslog.Message) { got <- fmt.Sprintf("%s %t %s", m.From, m.Cut, m.Text) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l, got
}

func send(t *testing.T, addr net.Addr, text string) net.Conn {
	t.Helper()
	c, err := net.Dial(addr.Network(), addr.String())
	if err == nil {
		t.Cleanup(func() { c.Close() })
		_, err = io.WriteString(c, text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func want(t *testing.T, got chan string, messages ...string) {
	t.Helper()
	for _, message := range messages {
		if g := <-got; g != message {
			t.Errorf("got %.80q, want %.80q", g, message)
		}
	}
}

func TestUDP(t *testing.T) {
	l, got := listen(t, syslog.Config{UDP: "127.0.0.1:0"})
	udp, tcp, _ := l.Addrs()
	if tcp != nil {
		t.Errorf("TCP listens at %s and was not asked to", tcp)
	}
	c := send(t, udp, "<134>Nov 27 10:00:00 gw a\n")
	_, _ = io.WriteString(c, "\n")
	_, _ = io.WriteString(c, strings.Repeat("x", 60000))
	want(t, got, "127.0.0.1 false <134>Nov 27 10:00:00 gw a", "127.0.0.1 false "+strings.Repeat("x", 60000))
}

func TestTCP(t *testing.T) {
	l, got := listen(t, syslog.Config{TCP: "127.0.0.1:0"})
	_, tcp, _ := l.Addrs()
	c := send(t, tcp, "<134>by line\n12 <134>counted<134>again by line\n14 <134>two\nlines\n\n<1")
	want(t, got, "127.0.0.1 false <134>by line", "127.0.0.1 false <134>counted", "127.0.0.1 false <134>again by line",
		"127.0.0.1 false <134>two\nlines")
	_, _ = io.WriteString(c, "34>without an end")
	c.Close()
	want(t, got, "127.0.0.1 false <134>without an end")
	c = send(t, tcp, "8 <134>bro9 <134>ken")
	want(t, got, "127.0.0.1 false <134>bro")
	c.Close()
	for l.Stats().Broken == 0 { // as soon as it is seen to be gone
		runtime.Gosched()
	}
}

func TestTLS(t *testing.T) {
	certificate := selfSigned(t)
	l, got := listen(t, syslog.Config{TLS: "127.0.0.1:0", Certificates: &tls.Config{Certificates: []tls.Certificate{certificate}}})
	_, _, at := l.Addrs()
	roots := x509.NewCertPool()
	roots.AddCert(certificate.Leaf)
	c, err := tls.Dial("tcp", at.String(), &tls.Config{RootCAs: roots, ServerName: "syslog.hospital.example"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "13 <134>over TLS\n")
	want(t, got, "127.0.0.1 false <134>over TLS")
	plain := send(t, at, "<134>in clear\n")
	_, _ = io.ReadAll(plain) // until it is dropped
	if s := l.Stats(); s.Broken != 1 || s.Messages != 1 {
		t.Errorf("%+v", s)
	}
	if _, err := syslog.Listen(syslog.Config{TLS: "127.0.0.1:0"}, nil); err == nil || !strings.Contains(err.Error(), "give tls_cert") {
		t.Errorf("without a certificate: %v", err)
	}
}

func selfSigned(t *testing.T) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "syslog"}, DNSNames: []string{"syslog.hospital.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// TestRefused drops who may not send, and connections beyond the bounds.
func TestRefused(t *testing.T) {
	l, _ := listen(t, syslog.Config{UDP: "127.0.0.1:0", TCP: "127.0.0.1:0", Allow: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
	udp, tcp, _ := l.Addrs()
	_, _ = io.ReadAll(send(t, tcp, "")) // until it is dropped
	if s := l.Stats(); s.Refused != 1 {
		t.Errorf("%+v", s)
	}
	send(t, udp, "<1>a")
	for l.Stats().Refused+l.Stats().Messages < 2 {
		runtime.Gosched()
	}
	if s := l.Stats(); s.Refused != 2 {
		t.Errorf("%+v", s)
	}
	for name, c := range map[string]syslog.Config{"in all": {ConnectionsMax: 2}, "of one address": {PerAddressMax: 2}} {
		c.TCP = "127.0.0.1:0"
		l, got := listen(t, c)
		_, tcp, _ := l.Addrs()
		send(t, tcp, "<1>a\n")
		want(t, got, "127.0.0.1 false <1>a")
		second := send(t, tcp, "<1>b\n")
		want(t, got, "127.0.0.1 false <1>b")
		_, _ = io.ReadAll(send(t, tcp, ""))
		if s := l.Stats(); s.Refused != 1 || s.Messages != 2 {
			t.Errorf("%s: %+v", name, s)
		}
		second.Close()
		for l.Stats().Messages < 3 { // its place is free again, as soon as it is seen to be gone
			c := send(t, tcp, "<1>c\n")
			c.(*net.TCPConn).CloseWrite()
			_, _ = io.ReadAll(c)
		}
	}
}

// TestRate drops datagrams beyond the rate, and slows a connection.
func TestRate(t *testing.T) {
	if free, wait := syslog.Waits(100, 150); free != 100 || wait != 10*time.Millisecond {
		t.Errorf("%d of 150 at 100 a second are free, the next in %s", free, wait)
	}
	l, got := listen(t, syslog.Config{UDP: "127.0.0.1:0", TCP: "127.0.0.1:0", RateMax: 3})
	udp, tcp, _ := l.Addrs()
	c := send(t, udp, "<1>0")
	for i := 1; l.Stats().Limited == 0; i++ {
		if _, err := fmt.Fprintf(c, "<1>%d", i); err != nil {
			t.Fatal(err)
		}
	}
	want(t, got, "127.0.0.1 false <1>0")
	for len(got) > 0 {
		<-got
	}
	send(t, tcp, "<1>a\n<1>b\n<1>c\n<1>d\n<1>e\n")
	for _, text := range []string{"a", "b", "c", "d", "e"} { // all, some later
		for g := <-got; g != "127.0.0.1 false <1>"+text; g = <-got {
			if !strings.HasPrefix(g, "127.0.0.1 false <1>") || strings.ContainsAny(g[19:], "abcde") {
				t.Fatalf("got %s, want %s", g, text)
			}
		}
	}
}

func TestFrames(t *testing.T) {
	big := "<1>" + strings.Repeat("x", 100_000)
	for _, c := range []struct{ name, stream, want, err string }{
		{"nothing", "", "", ""},
		{"a number that is no count", "12 monkeys\n2026-11-27 <x\n7", "12 monkeys\n|2026-11-27 <x\n|7|", ""},
		{"a count of nothing", "0 <1>a\n", "0 <1>a\n|", ""},
		{"the largest that is whole", fmt.Sprintf("%d %s", logs.LineMax, big[:logs.LineMax]), big[:logs.LineMax] + "|", ""},
		{"counted and cut", fmt.Sprintf("%d %s6 <1>end", len(big), big), big[:logs.LineMax] + "…|<1>end|", ""},
		{"a line that is cut", big + "\n<1>end\n", big[:logs.LineMax] + "…|<1>end\n|", ""},
		{"too large", "8388609 <1>a", "", "the count of a message is too large"},
		{"more digits than a count", "83886080 <1>a\n", "83886080 <1>a\n|", ""},
		{"it breaks off", "9 <1>a", "", "EOF"},
	} {
		for kind, r := range map[string]io.Reader{"at once": strings.NewReader(c.stream), "byte by byte": iotest.OneByteReader(strings.NewReader(c.stream))} {
			got := ""
			err := syslog.Frames(r, func(text string, cut bool) {
				got += text
				if cut {
					got += "…"
				}
				got += "|"
			})
			if fmt.Sprint(err) != c.err && !(err == nil && c.err == "") {
				t.Errorf("%s, %s: %v", c.name, kind, err)
			}
			if got != c.want {
				t.Errorf("%s, %s: got %.100q (%d), want %.100q (%d)", c.name, kind, got, len(got), c.want, len(c.want))
			}
		}
	}
}

// FuzzFrames reads any stream to its end, the same in any pieces.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("<1>a\n5 <1>bc12 x\n99999999999 <"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		read := func(r io.Reader) (got []string, err error) {
			err = syslog.Frames(r, func(text string, cut bool) {
				if len(text) > logs.LineMax {
					t.Errorf("%d bytes", len(text))
				}
				got = append(got, text)
			})
			return got, err
		}
		a, errA := read(bytes.NewReader(stream))
		b, errB := read(iotest.HalfReader(bytes.NewReader(stream)))
		if fmt.Sprintf("%q %v", a, errA) != fmt.Sprintf("%q %v", b, errB) {
			t.Errorf("%q: %q, %v and %q, %v", stream, a, errA, b, errB)
		}
	})
}

// TestLogger receives from util-linux's logger, over what it can.
func TestLogger(t *testing.T) {
	logger, err := exec.LookPath("logger")
	if err != nil {
		t.Skip("SKIPPED: a real sender was NOT tried: there is no logger (util-linux)")
	}
	l, got := listen(t, syslog.Config{UDP: "127.0.0.1:0", TCP: "127.0.0.1:0"})
	udp, tcp, _ := l.Addrs()
	for _, args := range [][]string{
		{"--udp", "--rfc3164", "--port", port(udp)}, {"--udp", "--rfc5424", "--port", port(udp)},
		{"--tcp", "--rfc3164", "--port", port(tcp)}, {"--tcp", "--rfc5424", "--octet-count", "--port", port(tcp)},
	} {
		args = append(args, "--server", "127.0.0.1", "--tag", "named", "client @0x1 10.0.0.5#53 (www.evil.example): query: www.evil.example IN A + (10.0.0.53)")
		if out, err := exec.Command(logger, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		_, text, _ := strings.Cut(<-got, " false ")
		event, err := logs.New(logs.Options{}).Line([]byte(text))
		if err != nil || len(event.Observables) != 1 || event.Observables[0].Value != "www.evil.example" || time.Since(event.Time).Abs() > time.Hour {
			t.Errorf("%v: %q gives %+v, %v", args, text, event, err)
		}
	}
}

func port(a net.Addr) string {
	_, port, _ := net.SplitHostPort(a.String())
	return port
}
