package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/watchward/watchward/node/api"
)

// makeCert writes a self-signed certificate for loopback and returns its paths.
func makeCert(t *testing.T, dir string, serial int64, changed time.Time) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, changed, changed); err != nil {
			t.Fatal(err)
		}
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return cert, key, pool
}

func TestTLS(t *testing.T) {
	cert, key, pool := makeCert(t, t.TempDir(), 1, time.Now())
	s := start(t, func(c *api.Config) { c.TLSCert, c.TLSKey = cert, key })
	if !strings.HasPrefix(s.URL(), "https://127.0.0.1:") {
		t.Fatalf("URL %s", s.URL())
	}
	for _, http2 := range []bool{false, true} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: http2}
		r, _ := http.NewRequestWithContext(t.Context(), "GET", s.URL()+"/v1/status", nil)
		r.Header.Set("Authorization", "Bearer "+s.secret["reader"])
		res, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatalf("http2 %v: %v", http2, err)
		}
		res.Body.Close()
		transport.CloseIdleConnections()
		if want := map[bool]int{false: 1, true: 2}[http2]; res.StatusCode != 200 || res.ProtoMajor != want {
			t.Errorf("%d by HTTP/%d, want HTTP/%d", res.StatusCode, res.ProtoMajor, want)
		}
	}
}

func TestCertificateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	cert, key, _ := makeCert(t, dir, 1, now)
	f, err := api.NewCertFiles(cert, key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 { return f.Renew().Leaf.SerialNumber.Int64() }
	makeCert(t, dir, 2, now.Add(time.Second))
	if got := serial(); got != 2 {
		t.Errorf("the new certificate is not used: %d", got)
	}
	if err := os.WriteFile(key, []byte("half a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 2 {
		t.Errorf("a broken key replaced the certificate: %d", got)
	}
	makeCert(t, dir, 3, now.Add(3*time.Second))
	if got := serial(); got != 3 {
		t.Errorf("the certificate after a broken one is not used: %d", got)
	}
}

func TestNewRefuses(t *testing.T) {
	s := start(t, nil)
	for name, edit := range map[string]func(*api.Config){
		"no node":     func(c *api.Config) { c.Node = nil },
		"no tokens":   func(c *api.Config) { c.Tokens = nil },
		"no listener": func(c *api.Config) { c.Listen = "" },
		"half TLS":    func(c *api.Config) { c.TLSCert = "cert.pem" },
	} {
		c := api.Config{Node: s.node, Tokens: s.tokens, Listen: "127.0.0.1:0"}
		edit(&c)
		if _, err := api.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, edit := range map[string]func(*api.Config){
		"port in use":    func(c *api.Config) { c.Listen = s.Addr().String() },
		"no certificate": func(c *api.Config) { c.TLSCert, c.TLSKey = "absent.pem", "absent.pem" },
		"a file":         func(c *api.Config) { c.Socket = filepath.Join(s.dir, "tokens.json") },
	} {
		c := api.Config{Node: s.node, Tokens: s.tokens, Listen: "127.0.0.1:0"}
		edit(&c)
		other, err := api.New(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Start(); err == nil {
			t.Errorf("%s: started", name)
		}
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, "tokens.json")); err != nil {
		t.Errorf("the file in the socket's place: %v", err)
	}
}
