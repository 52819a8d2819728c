package sink

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/smtp"
	"net/textproto"
	"strings"
	"time"

	"github.com/watchward/watchward/node/alert"
	"github.com/watchward/watchward/node/config"
)

// A mailer sends mail over SMTP with TLS: from the first byte (smtps) or by STARTTLS,
// which is asked for and never done without (smtp).
type mailer struct {
	c config.AlertSink
	o Options
}

// Send sends one mail to all recipients.
func (s *mailer) Send(ctx context.Context, m alert.Message) error {
	u, err := address(s.c, "smtp", "smtps", "smtp-plain")
	if err != nil {
		return err
	}
	password := ""
	if s.c.SecretFile != "" {
		if password, err = secret(s.c.SecretFile); err != nil {
			return err
		}
	}
	t, err := tlsConfig(s.c, u.Hostname())
	if err != nil {
		return err
	}
	conn, err := s.o.dial(ctx, "tcp", u.Hostname(), port(u, map[string]string{"smtp": "587", "smtps": "465", "smtp-plain": "25"}), anywhere)
	if err != nil {
		return err
	}
	defer conn.Close()
	if end, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(end)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return said(s.talk(conn, u.Scheme, u.Hostname(), t, password, m), password)
}

// said is an error of a server, which may repeat what it was told.
func said(err error, password string) error {
	if err == nil {
		return nil
	}
	var answer *textproto.Error
	if !errors.As(err, &answer) {
		return err
	}
	text := fmt.Sprintf("it answered %d: %s", answer.Code, excerpt([]byte(answer.Msg), password))
	if answer.Code == 552 || answer.Code == 554 {
		return &Refused{text}
	}
	return errors.New(text)
}

func (s *mailer) talk(conn net.Conn, scheme, host string, t *tls.Config, password string, m alert.Message) error {
	if scheme == "smtps" {
		conn = tls.Client(conn, t)
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	defer c.Close()
	if scheme == "smtp" {
		if ok, _ := c.Extension("STARTTLS"); !ok {
			return errors.New("it offers no STARTTLS, and nothing is sent readable: use smtps://, or smtp-plain:// to a relay in the house")
		}
		if err := c.StartTLS(t); err != nil {
			return err
		}
	}
	if s.c.User != "" {
		if err := c.Auth(smtp.PlainAuth("", s.c.User, password, host)); err != nil {
			return err
		}
	}
	from, err := mail.ParseAddress(s.c.From)
	if err != nil {
		return err
	}
	if err := c.Mail(from.Address); err != nil {
		return err
	}
	for _, to := range s.c.To {
		a, err := mail.ParseAddress(to)
		if err != nil {
			return err
		}
		if err := c.Rcpt(a.Address); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(s.mail(from, m)); err != nil {
		return err
	}
	if err := w.Close(); err != nil { // now the server has it
		return err
	}
	_ = c.Quit()
	return nil
}

// mail is the message as RFC 5322 has it.
func (s *mailer) mail(from *mail.Address, m alert.Message) []byte {
	var b bytes.Buffer
	_, domain, _ := strings.Cut(from.Address, "@")
	head := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, strings.Map(oneLine, value)) }
	head("Date", s.o.Now().Format(time.RFC1123Z))
	head("From", from.String())
	var to []string
	for _, t := range s.c.To {
		if a, err := mail.ParseAddress(t); err == nil {
			to = append(to, a.String())
		}
	}
	head("To", strings.Join(to, ", "))
	head("Subject", mime.QEncoding.Encode("utf-8", strings.Map(oneLine, title(s.o.Words, m))))
	head("Message-ID", fmt.Sprintf("<%x@%s>", sha256.Sum256([]byte(m.ID)), domain))
	head("Auto-Submitted", "auto-generated")
	head("MIME-Version", "1.0")
	head("Content-Type", "text/plain; charset=utf-8")
	head("Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	q := quotedprintable.NewWriter(&b)
	_, _ = q.Write([]byte(strings.ReplaceAll(text(s.o.Words, m), "\n", "\r\n") + "\r\n"))
	_ = q.Close()
	return b.Bytes()
}

func oneLine(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}
