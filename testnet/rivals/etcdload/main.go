// Command etcdload puts values into etcd, for testnet/bench to measure. Its
// arguments are URLs and the files of a TLS client: CA, certificate, key. It says
// "ready", and for each line "CLIENTS CONNECTIONS MILLISECONDS" on stdin it lets so
// many clients put one 512-byte value after the other for that long, and writes
// what each put took, in µs, as one line of JSON. It ends with its input. With a
// last argument "leader" it prints the leader's URL instead, once there is one.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

const valueSize = 512

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "etcdload:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 4 && (len(args) != 5 || args[4] != "leader") {
		return errors.New("usage: etcdload URL[,URL] CA CERTIFICATE KEY [leader]")
	}
	secure, err := clientTLS(args[1], args[2], args[3])
	if err != nil {
		return err
	}
	l := &load{urls: strings.Split(args[0], ","), secure: secure}
	defer l.close()
	if len(args) == 5 {
		return l.leader()
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var clients, connections, ms int
		if _, err := fmt.Sscan(lines.Text(), &clients, &connections, &ms); err != nil {
			return fmt.Errorf("%q: %w", lines.Text(), err)
		}
		took, err := l.round(clients, connections, time.Duration(ms)*time.Millisecond)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(took); err != nil {
			return err
		}
	}
	return lines.Err()
}

func clientTLS(ca, certificate, key string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", ca)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS13}, nil
}

type load struct {
	urls        []string
	secure      *tls.Config
	connections []*clientv3.Client
}

func (l *load) close() {
	for _, c := range l.connections {
		_ = c.Close()
	}
}

// connect makes connections until there are n.
func (l *load) connect(n int) error {
	for len(l.connections) < n {
		c, err := clientv3.New(clientv3.Config{Endpoints: l.urls, TLS: l.secure, DialTimeout: 10 * time.Second, Logger: zap.NewNop()})
		if err != nil {
			return err
		}
		l.connections = append(l.connections, c)
	}
	return nil
}

// leader waits for a leader and prints where it takes clients.
func (l *load) leader() error {
	if err := l.connect(1); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		for _, url := range l.urls {
			s, err := l.connections[0].Status(ctx, url)
			if ctx.Err() != nil {
				return fmt.Errorf("no leader in 30 s: %w", err)
			}
			if err == nil && s.Leader == s.Header.MemberId {
				fmt.Println(url)
				return nil
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// round lets clients put for so long and returns how long each put took, in µs.
func (l *load) round(clients, connections int, long time.Duration) ([]int64, error) {
	if err := l.connect(connections); err != nil {
		return nil, err
	}
	took := make([][]int64, clients)
	failed := make([]error, clients)
	var wait sync.WaitGroup
	end := time.Now().Add(long)
	for i := range clients {
		wait.Go(func() { took[i], failed[i] = put(l.connections[i%connections], end) })
	}
	wait.Wait()
	all := []int64{}
	for _, t := range took {
		all = append(all, t...)
	}
	return all, errors.Join(failed...)
}

// put puts new keys, one after the other.
func put(c *clientv3.Client, end time.Time) (took []int64, err error) {
	ctx, cancel := context.WithDeadline(context.Background(), end.Add(30*time.Second))
	defer cancel()
	value := make([]byte, valueSize)
	for time.Now().Before(end) {
		_, _ = rand.Read(value)
		start := time.Now()
		key := rand.Text()
		for { // again where a leader was lost, as the ledger's clients do
			if _, err := c.Put(ctx, key, string(value)); err == nil {
				break
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			time.Sleep(5 * time.Millisecond)
		}
		took = append(took, time.Since(start).Microseconds())
	}
	return took, nil
}
