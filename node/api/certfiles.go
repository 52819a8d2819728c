package api

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certCheckEvery bounds how often a handshake looks at the files.
const certCheckEvery = 10 * time.Second

// certFiles serves a certificate from files and takes up a renewed one without
// a restart. While new files do not fit together, the old certificate stays.
type certFiles struct {
	cert, key string
	log       *slog.Logger

	mu      sync.Mutex // guards what follows
	current *tls.Certificate
	changed [2]time.Time
	checked time.Time
}

func newCertFiles(cert, key string, log *slog.Logger) (*certFiles, error) {
	f := &certFiles{cert: cert, key: key, log: log}
	f.changed = f.times()
	if err := f.load(); err != nil {
		return nil, fmt.Errorf("load [api] tls_cert and tls_key: %w", err)
	}
	f.checked = time.Now()
	return f, nil
}

func (f *certFiles) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.checked) < certCheckEvery {
		return f.current, nil
	}
	f.checked = time.Now()
	if changed := f.times(); changed != f.changed {
		if err := f.load(); err != nil {
			f.log.Warn("the renewed TLS certificate cannot be used, the old one stays", "err", err)
		} else {
			f.changed = changed
			f.log.Info("TLS certificate renewed")
		}
	}
	return f.current, nil
}

func (f *certFiles) load() error {
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return err
	}
	f.current = &pair
	return nil
}

func (f *certFiles) times() (t [2]time.Time) {
	for i, path := range []string{f.cert, f.key} {
		if info, err := os.Stat(path); err == nil {
			t[i] = info.ModTime()
		}
	}
	return t
}
