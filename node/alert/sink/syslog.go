package sink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/watchward/watchward/node/alert"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/config"
)

// A syslog sink sends RFC 5424 messages with ArcSight's CEF in them.
type syslog struct {
	c config.AlertSink
	o Options
}

const (
	facility    = 13       // log audit
	udpBytesMax = 2048     // what a receiver should take, RFC 5426, 3.2
	cefBytesMax = 7 * 1024 // what many receivers of streams take
	drainMax    = 2 * time.Second
)

// Send sends one message: a datagram, or a counted frame (RFC 6587, 3.4.1; RFC 5425)
// on a connection of its own. Syslog has no answer; a stream that the other side
// closes after ours has been read to its end.
func (s *syslog) Send(ctx context.Context, m alert.Message) error {
	u, err := address(s.c, "udp", "tcp", "tls")
	if err != nil {
		return err
	}
	network := u.Scheme
	if network == "tls" {
		network = "tcp"
	}
	conn, err := s.o.dial(ctx, network, u.Hostname(), port(u, map[string]string{"udp": "514", "tcp": "514", "tls": "6514"}), anywhere)
	if err != nil {
		return err
	}
	defer conn.Close()
	if end, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(end)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if network == "udp" {
		_, err = conn.Write([]byte(s.frame(m, udpBytesMax)))
		return err
	}
	if u.Scheme == "tls" {
		t, err := tlsConfig(s.c, u.Hostname())
		if err != nil {
			return err
		}
		secured := tls.Client(conn, t)
		if err := secured.HandshakeContext(ctx); err != nil {
			return err
		}
		conn = secured
	}
	text := s.frame(m, cefBytesMax)
	if _, err = fmt.Fprintf(conn, "%d %s", len(text), text); err != nil {
		return err
	}
	return drain(conn)
}

// drain says that nothing more comes and waits a moment for the other side to close.
func drain(conn net.Conn) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return nil
	}
	if err := half.CloseWrite(); err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Now().Add(drainMax))
	_, err := io.Copy(io.Discard, io.LimitReader(conn, answerMax))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil // it keeps its side open
	}
	return err
}

// frame returns one message of at most limit bytes.
func (s *syslog) frame(m alert.Message, limit int) string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "-"
	}
	head := fmt.Sprintf("<%d>1 %s %s watchward - %s - ", facility*8+severities[m.Severity].syslog,
		s.o.Now().UTC().Format("2006-01-02T15:04:05.000Z"), printable(host, 255), printable(m.Type, 32))
	cef := CEF(m, s.o.Version, limit-len(head))
	return head + cef
}

// printable is a field of RFC 5424's header: PRINTUSASCII of limited length.
func printable(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s[:min(len(s), limit)]
}

// severities as RFC 5424 and CEF have them.
var severities = map[string]struct{ syslog, cef int }{
	"info": {6, 3}, "warning": {4, 6}, "critical": {2, 10},
}

// CEF returns a message in ArcSight's Common Event Format, revision 25, with a text
// that is cut, and a value if it alone takes half, so that all fits into limit bytes, from
// 1,024 on.
func CEF(m alert.Message, version string, limit int) string {
	english := catalog.For("") // a SIEM's rules know one language
	kind := m.Kind
	if m.Above {
		kind = "above"
	}
	head := fmt.Sprintf("CEF:0|Watchward|watchward|%s|%s|%s|%d|", header(version), header(kind), header(title(english, m)), severities[m.Severity].cef)
	var b strings.Builder
	b.WriteString(head)
	field := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s=%s ", key, extension(value))
		}
	}
	field("rt", fmt.Sprint(m.Time))
	field("externalId", m.ID)
	field("act", m.Type)
	if m.TLP != "" {
		field("cs1Label", "TLP")
		field("cs1", m.TLP)
	}
	if m.Value != "" {
		field("cs2Label", m.Valued)
		fmt.Fprintf(&b, "cs2=%s ", cut(extension(m.Value), limit/2))
	}
	if m.Group != "" {
		field("cs3Label", "alert")
		field("cs3", m.Group)
	}
	if m.Count > 0 {
		field("cnt", fmt.Sprint(m.Count))
	}
	said := m.Text
	if m.Line != "" {
		said += " " + english.Text(catalog.AlertLogLine, m.Line)
	}
	return b.String() + "msg=" + cut(extension(said), limit-b.Len()-len("msg="))
}

// cut returns as much of an escaped value as fits.
func cut(escaped string, room int) string {
	if len(escaped) <= room {
		return escaped
	}
	escaped = strings.ToValidUTF8(escaped[:max(0, room)], "")
	if (len(escaped)-len(strings.TrimRight(escaped, `\`)))%2 == 1 { // half an escape
		escaped = escaped[:len(escaped)-1]
	}
	return escaped
}

// header escapes a field of the header: bars and backslashes, on one line.
func header(s string) string {
	return strings.NewReplacer(`\`, `\\`, `|`, `\|`, "\n", " ", "\r", " ").Replace(tame(s))
}

// extension escapes a value: equal signs, backslashes and ends of lines.
func extension(s string) string {
	return strings.NewReplacer(`\`, `\\`, `=`, `\=`, "\r\n", `\n`, "\n", `\n`, "\r", `\r`).Replace(tame(s))
}

// tame takes control characters out, but for ends of lines.
func tame(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\r' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}
