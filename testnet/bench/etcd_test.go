package bench_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	etcdMembers = 3
	etcdEnv     = "WATCHWARD_BENCH_ETCD" // an etcd to measure instead of the one in testnet/rivals
)

// An etcd is three members on loopback, TLS with client certificates between them
// and to clients, and processes of clients that put at its leader.
type etcd struct {
	loads []*load
}

// startEtcd starts etcd; nil, with how to get it, where it cannot be had.
func startEtcd(t testing.TB, dir string) *etcd {
	t.Helper()
	server, client, err := buildEtcd(t, dir)
	if err != nil {
		t.Logf("SKIPPED: nothing is measured beside etcd: %v", err)
		return nil
	}
	ca := newAuthority(t, dir)
	pair, peers := ca.issue(t, "etcd"), ""
	var clientURLs, peerURLs []string
	for k := range etcdMembers {
		peerURLs = append(peerURLs, "https://"+freeAddress(t))
		clientURLs = append(clientURLs, "https://"+freeAddress(t))
		peers += fmt.Sprintf(",m%d=%s", k, peerURLs[k])
	}
	var members []*exec.Cmd
	t.Cleanup(func() {
		for _, m := range members {
			_ = m.Process.Kill()
			_ = m.Wait()
		}
	})
	for k := range etcdMembers {
		m := exec.Command(server, "--name", fmt.Sprintf("m%d", k), "--data-dir", filepath.Join(dir, fmt.Sprintf("m%d", k)),
			"--listen-peer-urls", peerURLs[k], "--initial-advertise-peer-urls", peerURLs[k],
			"--listen-client-urls", clientURLs[k], "--advertise-client-urls", clientURLs[k],
			"--initial-cluster", peers[1:], "--initial-cluster-state", "new", "--log-level", "error",
			"--cert-file", pair.Certificate, "--key-file", pair.Key, "--trusted-ca-file", ca.file, "--client-cert-auth",
			"--peer-cert-file", pair.Certificate, "--peer-key-file", pair.Key, "--peer-trusted-ca-file", ca.file, "--peer-client-cert-auth")
		m.Stderr = os.Stderr
		if err := m.Start(); err != nil {
			t.Fatal(err)
		}
		members = append(members, m)
	}
	args := func(url string) []string { return []string{url, ca.file, pair.Certificate, pair.Key} }
	leader := etcdLeader(t, client, args(strings.Join(clientURLs, ",")))
	x := &etcd{}
	for range loadProcesses {
		x.loads = append(x.loads, startLoad(t, exec.Command(client, args(leader)...)))
	}
	return x
}

// buildEtcd makes both programs.
func buildEtcd(t testing.TB, dir string) (server, client string, err error) {
	c := exec.CommandContext(t.Context(), "go", "build", "-o", dir+string(filepath.Separator), "tool", "./etcdload")
	c.Dir = filepath.Join("..", "rivals")
	if out, err := c.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("%s\nto have it, run \"go mod download\" in testnet/rivals once, where the Go module proxy can be reached", out)
	}
	server = filepath.Join(dir, "server") // go.etcd.io/etcd/server/v3
	if other := os.Getenv(etcdEnv); other != "" {
		if server, err = exec.LookPath(other); err != nil {
			return "", "", fmt.Errorf("%s: %w (Debian: apt-get install etcd-server)", etcdEnv, err)
		}
	}
	return server, filepath.Join(dir, "etcdload"), nil
}

// etcdLeader waits for a leader and returns its URL.
func etcdLeader(t testing.TB, client string, args []string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, client, append(args, "leader")...)
	out, err := c.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("etcd has no leader: %v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// freeAddress is one on loopback that nobody listens at just now.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// An authority issues certificates for loopback.
type authority struct {
	dir, file   string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	serial      int64
}

// A pair is the files of a certificate and its key.
type pair struct{ Certificate, Key string }

func newAuthority(t testing.TB, dir string) *authority {
	t.Helper()
	a := &authority{dir: dir}
	a.certificate = &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.file = a.issue(t, "ca").Certificate
	return a
}

// issue makes a certificate; the first of all is the authority's own.
func (a *authority) issue(t testing.TB, name string) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := &x509.Certificate{
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if a.key == nil {
		made, a.key = a.certificate, key
	}
	a.serial++
	made.SerialNumber, made.Subject = big.NewInt(a.serial), pkix.Name{CommonName: name}
	made.NotBefore, made.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, made, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p := pair{filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")}
	for file, block := range map[string]*pem.Block{p.Certificate: {Type: "CERTIFICATE", Bytes: der}, p.Key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}
