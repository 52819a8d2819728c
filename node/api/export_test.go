package api

import (
	"crypto/tls"
	"net/http"
	"sort"
	"time"
)

// Routes returns the pattern of every registered route.
func (s *Server) Routes() []string {
	var out []string
	for pattern := range s.routes {
		out = append(out, pattern)
	}
	sort.Strings(out)
	return out
}

// StreamsMax and StreamEventsMax are the stream's bounds.
const (
	StreamsMax      = streamsMax
	StreamEventsMax = streamEventsMax
)

var (
	Limit             = limit
	DecodeSubmissions = decodeSubmissions
	AppendAnswers     = appendAnswers
)

// DecodeLookup returns the values only.
func DecodeLookup(body []byte) ([]string, error) {
	q, err := decodeLookup(body)
	return q.Values, err
}

// DecodeToken drops the result.
func DecodeToken(body []byte) error {
	_, err := decodeToken(body)
	return err
}

// ServeHTTP answers without a listener.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.guard.ServeHTTP(w, r) }

// NewCertFiles opens a certificate that is read again when it changes.
var NewCertFiles = newCertFiles

// Renew looks at the files now and returns the certificate in use.
func (f *certFiles) Renew() *tls.Certificate {
	f.checked = time.Time{}
	c, _ := f.certificate(nil)
	return c
}
