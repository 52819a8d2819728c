// Package sink has the ways out of alerts: a webhook, a chat's incoming webhook,
// Alertmanager, syslog with CEF, mail and a command. A sink sends one message at a
// time, says whether that worked, and remembers nothing: whoever uses it tries again.
//
// No error has an address of a webhook, a password or a key in it: both may be
// secrets, and errors end up in logs.
package sink

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/watchward/watchward/node/alert"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/verdict"
)

// Bounds of every sink.
const (
	TimeMax     = 30 * time.Second // of one message
	answerMax   = 64 << 10         // bytes of an answer that are read
	shownMax    = 200              // bytes of an answer that an error shows
	secretMax   = 4 << 10          // bytes of a secret's file
	dialTimeMax = 10 * time.Second
)

// A Sink sends messages. It is safe for concurrent use.
type Sink interface {
	// Send returns nil when the other side has the message as far as it can tell. An
	// error that is a *Refused will not go away by trying again.
	Send(ctx context.Context, m alert.Message) error
}

// Refused: the other side has looked at the message and will never take it.
type Refused struct{ Reason string }

func (r *Refused) Error() string { return r.Reason }

// Options of New.
type Options struct {
	Version string
	Words   *catalog.Printer // of what people read; nil: English
	Now     func() time.Time
	// Resolve looks up a host; nil: this machine's resolver. Tests have their own.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
}

// New returns the sink of a configuration that passed Validate. It opens nothing:
// files are read when a message is sent, so that a secret can be changed.
func New(c config.AlertSink, o Options) (Sink, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Words == nil {
		o.Words = catalog.For("")
	}
	if o.Resolve == nil {
		o.Resolve = lookUp
	}
	switch c.Type {
	case config.SinkWebhook, config.SinkChat, config.SinkAlertmanager:
		return newHTTP(c, o), nil
	case config.SinkSyslog:
		return &syslog{c, o}, nil
	case config.SinkSMTP:
		return &mailer{c, o}, nil
	case config.SinkCommand:
		return &command{c.Command}, nil
	}
	return nil, fmt.Errorf("sink %s: %q is no type", c.Name, c.Type)
}

func lookUp(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// body is a message as webhooks and commands get it.
func body(m alert.Message) []byte {
	raw, err := json.Marshal(struct {
		alert.Message
		Time string `json:"time"`
	}{m, time.UnixMilli(m.Time).UTC().Format("2006-01-02T15:04:05.000Z")})
	if err != nil {
		panic("sink: " + err.Error()) // strings and numbers alone
	}
	return raw
}

// title is one line for a subject.
func title(words *catalog.Printer, m alert.Message) string {
	switch {
	case m.Above:
		return words.Text(catalog.AlertTitleAbove, m.Node)
	case m.Type == alert.TypeDigest:
		return words.Text(catalog.AlertTitleDigest, m.Node)
	case m.Type == alert.TypeTest:
		return words.Text(catalog.AlertTitleTest, m.Node)
	}
	t := fmt.Sprintf("%s: %s", m.Node, strings.ToUpper(m.Kind))
	switch m.Type {
	case alert.TypeEscalation:
		t += words.Text(catalog.AlertTitleEscalation)
	case alert.TypeRepeat:
		t += words.Text(catalog.AlertTitleRepeat)
	case alert.TypeAcknowledged:
		t += words.Text(catalog.AlertTitleAcknowledged)
	case alert.TypeOver:
		t += words.Text(catalog.AlertTitleOver)
	}
	return t
}

// text is a message for people.
func text(words *catalog.Printer, m alert.Message) string {
	var b strings.Builder
	b.WriteString(m.Text)
	if m.Line != "" {
		b.WriteString("\n" + words.Text(catalog.AlertLogLine, m.Line))
	}
	if m.Type == alert.TypeAcknowledged {
		b.WriteString("\n" + words.Text(catalog.AlertBy, m.By))
	}
	if m.Group != "" && m.Open() && m.Type != alert.TypeUpdate {
		b.WriteString("\n" + words.Text(catalog.AlertAck, m.Group))
	}
	if m.TLP != "" {
		fmt.Fprintf(&b, "\nTLP:%s", m.TLP)
	}
	return b.String()
}

// secret reads a file with one secret line.
func secret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("its secret cannot be read: %w", err)
	}
	defer f.Close()
	raw := make([]byte, secretMax+1)
	n, err := f.Read(raw)
	if err != nil || n > secretMax {
		return "", fmt.Errorf("%s holds no secret: put one line of at most %d bytes there", path, secretMax)
	}
	s := strings.TrimSpace(string(raw[:n]))
	if s == "" || strings.ContainsAny(s, "\r\n") {
		return "", fmt.Errorf("%s holds no secret: put one line there", path)
	}
	return s, nil
}

// address is where a sink goes to.
func address(c config.AlertSink, schemes ...string) (*url.URL, error) {
	text := c.URL
	if c.URLFile != "" {
		s, err := secret(c.URLFile)
		if err != nil {
			return nil, err
		}
		if reason := config.SinkURL(s, c.Private, schemes); reason != "" {
			return nil, fmt.Errorf("the address in %s: %s", c.URLFile, reason)
		}
		text = s
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("its url is no address") // the error quotes it
	}
	return u, nil
}

func tlsConfig(c config.AlertSink, host string) (*tls.Config, error) {
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if c.CAFile == "" {
		return t, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("its ca_file cannot be read: %w", err)
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM", c.CAFile)
	}
	return t, nil
}

// dial connects to a host that is looked up once: the address that was checked is the
// one that is dialled, so that no second answer can point elsewhere.
func (o Options) dial(ctx context.Context, network, host, port string, allowed func(netip.Addr) error) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeMax)
	defer cancel()
	var addrs []netip.Addr
	if a, err := netip.ParseAddr(host); err == nil {
		addrs = []netip.Addr{a}
	} else if addrs, err = o.Resolve(ctx, host); err != nil {
		return nil, fmt.Errorf("its host is not found: %w", cause(err))
	}
	err := errors.New("its host has no address")
	var d net.Dialer
	for _, a := range addrs {
		a = a.Unmap()
		if err = allowed(a); err != nil {
			return nil, err // also of one among many: who mixes them means no good
		}
	}
	for _, a := range addrs {
		var conn net.Conn
		if conn, err = d.DialContext(ctx, network, net.JoinHostPort(a.Unmap().String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, cause(err)
}

func anywhere(netip.Addr) error { return nil }

// outside refuses what is no address of the internet.
func outside(a netip.Addr) error {
	if what, special := verdict.Special(a); special {
		return fmt.Errorf("its host has the address %s, which is %s: set private = true if that is meant", a, what)
	}
	return nil
}

// Dialer returns how a service is reached whose address is in the configuration: as a
// webhook is, and at an address that is not of the internet only if private is set.
func Dialer(private bool) func(ctx context.Context, network, addr string) (net.Conn, error) {
	o, allowed := Options{Resolve: lookUp}, outside
	if private {
		allowed = anywhere
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		return o.dial(ctx, network, host, port, allowed)
	}
}

// cause is an error without the address that url.Error quotes.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// excerpt is the start of what the other side said, on one line, without what is
// secret.
func excerpt(raw []byte, secrets ...string) string {
	s := string(raw)
	for _, hush := range secrets {
		if hush != "" {
			s = strings.ReplaceAll(s, hush, "…")
		}
	}
	s = strings.ToValidUTF8(s[:min(len(s), shownMax)], "")
	return string(bytes.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, []byte(s)))
}

// port is a URL's, or the usual one of its scheme.
func port(u *url.URL, usual map[string]string) string {
	if p := u.Port(); p != "" {
		return p
	}
	return usual[u.Scheme]
}
