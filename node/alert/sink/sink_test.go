package sink_test

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"crypto/tls"

	"github.com/watchward/watchward/node/alert"
	"github.com/watchward/watchward/node/alert/sink"
	"github.com/watchward/watchward/node/config"
)

var message = alert.Message{
	ID: "abc-1-1", Type: alert.TypePage, Node: "St Anna", Time: 1_780_000_000_000, Severity: "warning", Kind: "hit", TLP: "GREEN",
	Text: "evil.example <!channel> in dns.log", Group: "17", Value: "evil.example", Valued: "domain", Count: 2,
}

const hush = "s3cret-of-the-house"

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, c config.AlertSink, o sink.Options) sink.Sink {
	t.Helper()
	c.Name = "x"
	o.Version = "1.0"
	s, err := sink.New(c, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func send(t *testing.T, s sink.Sink) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return s.Send(ctx, message)
}

// fails wants an error that says something and holds no secret.
func fails(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), hush) || strings.Contains(err.Error(), "/hook") {
		t.Errorf("error %v, want %q and no secret", err, want)
	}
}

func hosts(addrs ...string) func(context.Context, string) ([]netip.Addr, error) {
	return func(context.Context, string) (out []netip.Addr, _ error) {
		for _, a := range addrs {
			out = append(out, netip.MustParseAddr(a))
		}
		return out, nil
	}
}

// A webhook goes to no address inside, whatever its name says and whenever it says so,
// and follows no redirect.
func TestWebhookStaysOutside(t *testing.T) {
	var called atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called.Add(1) }))
	defer server.Close()
	for _, url := range []string{
		"https://127.0.0.1/hook", "https://[::1]/hook", "https://10.1.2.3/hook", "https://[::ffff:192.168.0.1]/hook", "https://169.254.169.254/hook",
		"https://100.64.0.1/hook", "https://[fd00::1]/hook", "https://[64:ff9b::a00:1]/hook", "https://0.0.0.0/hook", "https://224.0.0.1/hook",
	} {
		fails(t, send(t, open(t, config.AlertSink{Type: "webhook", URL: url}, sink.Options{})), "set private = true")
		fails(t, send(t, open(t, config.AlertSink{Type: "chat", URLFile: file(t, url)}, sink.Options{})), "set private = true")
	}
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	url := "https://hooks.example:" + port + "/hook"
	for _, addrs := range [][]string{{"127.0.0.1"}, {"198.51.100.7", "127.0.0.1"}, {"::ffff:10.0.0.1"}} {
		fails(t, send(t, open(t, config.AlertSink{Type: "webhook", URL: url}, sink.Options{Resolve: hosts(addrs...)})), "set private = true")
	}
	// Rebinding: the first answer is outside, the next inside. It is asked once.
	asked := 0
	rebinding := func(context.Context, string) ([]netip.Addr, error) {
		if asked++; asked == 1 {
			return hosts("192.0.2.1")(nil, "") // for documentation: nobody is there
		}
		return hosts("127.0.0.1")(nil, "")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := open(t, config.AlertSink{Type: "webhook", URL: url}, sink.Options{Resolve: rebinding}).Send(ctx, message); err == nil || asked != 1 {
		t.Errorf("error %v, asked %d times", err, asked)
	}
	if called.Load() != 0 {
		t.Error("a webhook reached what is inside")
	}
	// Inside is reached where that is meant.
	if err := send(t, open(t, config.AlertSink{Type: "webhook", URL: "http://house:" + port, Private: true}, sink.Options{Resolve: hosts("127.0.0.1")})); err != nil || called.Load() != 1 {
		t.Errorf("%v, called %d times", err, called.Load())
	}
}

func TestWebhookAnswers(t *testing.T) {
	var called atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called.Add(1) }))
	defer elsewhere.Close()
	var sent atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		case "/refuse":
			http.Error(w, "no "+r.Header.Get("Authorization")+hush, http.StatusBadRequest)
		case "/long": // the secret is where what is shown ends
			http.Error(w, strings.Repeat("x", 190)+hush, http.StatusInternalServerError)
		case "/huge":
			w.WriteHeader(http.StatusInternalServerError)
			chunk := make([]byte, 64<<10)
			for range 160 { // 10 MiB
				n, err := w.Write(chunk)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		case "/hang":
			_, _ = io.Copy(io.Discard, r.Body) // else nobody notices that the other side went
			<-r.Context().Done()
		}
	}))
	defer server.Close()
	to := func(path string) sink.Sink {
		return open(t, config.AlertSink{Type: "webhook", URL: server.URL + path, Private: true, SecretFile: file(t, hush)}, sink.Options{})
	}
	if fails(t, send(t, to("/redirect")), "redirects are not followed"); called.Load() != 0 {
		t.Error("a redirect was followed")
	}
	err := send(t, to("/refuse"))
	var refused *sink.Refused
	if fails(t, err, "400 Bad Request"); !errors.As(err, &refused) {
		t.Errorf("%v would be tried again for ever", err)
	}
	if err := send(t, to("/long")); err == nil || strings.Contains(err.Error(), hush[:5]) {
		t.Errorf("part of a secret: %v", err)
	}
	fails(t, send(t, to("/huge")), "500")
	if n := sent.Load(); n > 8<<20 {
		t.Errorf("%d bytes of an answer were read", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := to("/hang").Send(ctx, message); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	fails(t, send(t, open(t, config.AlertSink{Type: "webhook", URLFile: file(t, "http://127.0.0.1:1/hook/"+hush), Private: true}, sink.Options{})), "refused")
	fails(t, send(t, open(t, config.AlertSink{Type: "chat", URLFile: file(t, "http://hooks.example/hook/"+hush)}, sink.Options{})), "reads along")
	fails(t, send(t, open(t, config.AlertSink{Type: "webhook", URL: server.URL, Private: true, SecretFile: file(t, "\n")}, sink.Options{})), "holds no secret")
	fails(t, send(t, open(t, config.AlertSink{Type: "webhook", URL: server.URL, Private: true, SecretFile: "absent"}, sink.Options{})), "cannot be read")
	fails(t, send(t, open(t, config.AlertSink{Type: "webhook", URL: server.URL, Private: true, CAFile: file(t, "x")}, sink.Options{})), "no certificate")
}

// The example of the specification (standard-webhooks, spec/standard-webhooks.md).
func TestSign(t *testing.T) {
	got := sink.Sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// What a chat and Alertmanager get.
func TestBodies(t *testing.T) {
	var path, body, auth string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		path, body, auth = r.URL.Path, string(raw), r.Header.Get("Authorization")
	}))
	defer server.Close()
	if err := send(t, open(t, config.AlertSink{Type: "chat", URLFile: file(t, server.URL+"/services/x"), Private: true}, sink.Options{})); err != nil {
		t.Fatal(err)
	}
	var chat map[string]any
	if err := json.Unmarshal([]byte(body), &chat); err != nil || len(chat) != 3 || chat["unfurl_links"] != false || chat["unfurl_media"] != false || path != "/services/x" || auth != "" {
		t.Errorf("%s %s %s %v", path, auth, body, err)
	}
	if text, _ := chat["text"].(string); strings.Contains(text, "<!channel>") || !strings.Contains(text, "&lt;!channel&gt;") || !strings.Contains(text, "watchward alerts ack 17") || !strings.HasPrefix(text, "St Anna: HIT\n") || strings.Contains(text, "evil.example") || !strings.Contains(text, "evil[.]example") {
		t.Errorf("%q", text)
	}
	url := message
	url.Text, url.Value, url.Valued = "http://evil.example/x, see https://other.example/y", "http://evil.example/x", "url"
	if err := open(t, config.AlertSink{Type: "chat", URLFile: file(t, server.URL+"/services/x"), Private: true}, sink.Options{}).Send(t.Context(), url); err != nil || !strings.Contains(body, "hxxp://evil[.]example/x, see hxxps://other.example/y") {
		t.Errorf("%s %v", body, err)
	}
	if err := send(t, open(t, config.AlertSink{Type: "alertmanager", URL: server.URL + "/am/", Private: true, SecretFile: file(t, "tok")}, sink.Options{})); err != nil {
		t.Fatal(err)
	}
	if path != "/am/api/v2/alerts" || auth != "Bearer tok" || !strings.Contains(body, `"alert":"17"`) || !strings.Contains(body, `"startsAt":"2026-05-28T20:26:40Z","endsAt":"2026-05-29T20:26:40Z"`) {
		t.Errorf("%s %s %s", path, auth, body)
	}
	var all []struct {
		Labels           map[string]string
		StartsAt, EndsAt string
	}
	if err := json.Unmarshal([]byte(body), &all); err != nil || len(all) != 3 || all[0].Labels["severity"] != "warning" {
		t.Fatalf("%s: %v", body, err)
	}
	for i, a := range all {
		if _, marked := a.Labels["tlp"]; marked || (a.StartsAt == a.EndsAt) != (i > 0) {
			t.Errorf("what became worse is not one alert: %+v", a)
		}
	}
}

// CEF's escaping, revision 25: bars in the header, equal signs in the extension,
// backslashes in both, and one line whatever others wrote.
func TestCEF(t *testing.T) {
	m := message
	m.Node, m.Text, m.Value = `St|Anna\`, "a=b\\c|d\r\ne\x00\x1b[31m", "x=y"
	got := sink.CEF(m, "1|0", 4096)
	want := `CEF:0|Watchward|watchward|1\|0|hit|St\|Anna\\: HIT|6|rt=1780000000000 externalId=abc-1-1 act=page cs1Label=TLP cs1=GREEN cs2Label=domain cs2=x\=y cs3Label=alert cs3=17 cnt=2 msg=a\=b\\c|d\ne  [31m`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	m.Value = strings.Repeat(`=\`, 1024) // as long as a value may be
	if got := sink.CEF(m, "1", 2048); len(got) > 2048 || !strings.HasSuffix(got, `ne  [31m`) {
		t.Errorf("%d bytes: %s", len(got), got)
	}
	m.Value = ""
	m.Text = strings.Repeat(`\ä`, 1000)
	for limit := 300; limit < 320; limit++ {
		got := sink.CEF(m, "1", limit)
		msg := got[strings.Index(got, "msg=")+4:]
		if len(got) > limit || strings.ContainsRune(msg, 0xfffd) || strings.Count(msg, `\`)%2 != 0 || strings.Contains(got, "\n") {
			t.Errorf("limit %d: %d bytes, %q", limit, len(got), msg)
		}
	}
	if m.Above, m.Kind = true, ""; !strings.Contains(sink.CEF(m, "1", 4096), "|above|") {
		t.Error("a bare page has no class")
	}
}

// frames reads what a stream of syslog sends.
func frames(t *testing.T, l net.Listener) <-chan string {
	out := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		r := bufio.NewReader(conn)
		var n int
		if _, err := fmt.Fscanf(r, "%d ", &n); err != nil {
			t.Errorf("no count: %v", err)
			out <- ""
			return
		}
		raw := make([]byte, n)
		_, _ = io.ReadFull(r, raw)
		rest, _ := io.ReadAll(r)
		out <- string(raw) + string(rest)
	}()
	return out
}

func TestSyslog(t *testing.T) {
	const head = "<108>1 2026-05-28T20:26:40.000Z "
	now := func() time.Time { return time.UnixMilli(message.Time) }
	good := func(how, got string) {
		t.Helper()
		fields := strings.SplitN(got, " ", 8)
		if !strings.HasPrefix(got, head) || len(fields) != 8 || fields[3] != "watchward" || fields[4] != "-" || fields[5] != "page" || fields[6] != "-" || !strings.HasPrefix(fields[7], "CEF:0|Watchward|") {
			t.Errorf("%s: %q", how, got)
		}
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	if err := send(t, open(t, config.AlertSink{Type: "syslog", URL: "udp://" + udp.LocalAddr().String()}, sink.Options{Now: now})); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	n, _, err := udp.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	good("udp", string(buf[:n]))

	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	got := frames(t, tcp)
	if err := send(t, open(t, config.AlertSink{Type: "syslog", URL: "tcp://" + tcp.Addr().String()}, sink.Options{Now: now})); err != nil {
		t.Fatal(err)
	}
	good("tcp", <-got)

	server := httptest.NewTLSServer(nil)
	defer server.Close()
	ca := file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	secured := func() net.Listener {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: server.TLS.Certificates})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	l := secured()
	got = frames(t, l)
	if err := send(t, open(t, config.AlertSink{Type: "syslog", URL: "tls://" + l.Addr().String(), CAFile: ca}, sink.Options{Now: now})); err != nil {
		t.Fatal(err)
	}
	good("tls", <-got)
	l = secured()
	go func() {
		if conn, err := l.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
		}
	}()
	fails(t, send(t, open(t, config.AlertSink{Type: "syslog", URL: "tls://" + l.Addr().String()}, sink.Options{Now: now})), "certificate")
}

// A mailServer speaks as much SMTP as a client needs, with or without STARTTLS.
func mailServer(t *testing.T, starttls *tls.Config, refuse bool) (addr string, got <-chan string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	out := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { conn.Close() }()
		r := bufio.NewReader(conn)
		say := func(s string) { fmt.Fprintf(conn, "%s\r\n", s) }
		say("220 mail.example")
		secured := false
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				out <- ""
				return
			}
			switch verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " "); verb {
			case "EHLO":
				if starttls != nil && !secured {
					say("250-mail.example\r\n250 STARTTLS")
				} else {
					say("250-mail.example\r\n250 AUTH PLAIN")
				}
			case "STARTTLS":
				say("220 go")
				conn, secured = tls.Server(conn, starttls), true
				r = bufio.NewReader(conn)
			case "AUTH":
				if refuse {
					say("535 wrong: " + hush)
				} else {
					say("235 ok")
				}
			case "DATA":
				say("354 go")
				var b strings.Builder
				for {
					line, err := r.ReadString('\n')
					if err != nil || line == ".\r\n" {
						break
					}
					b.WriteString(line)
				}
				say("250 taken")
				out <- b.String()
			case "QUIT":
				say("221 bye")
				return
			default:
				say("250 ok")
			}
		}
	}()
	return l.Addr().String(), out
}

func TestMail(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	ca := file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	c := config.AlertSink{Type: "smtp", From: "Watchward <w@h.example>", To: []string{"Eva <it@h.example>"}, CAFile: ca, User: "w", SecretFile: file(t, hush)}
	certs := &tls.Config{Certificates: server.TLS.Certificates}

	addr, got := mailServer(t, certs, false)
	c.URL = "smtp://" + addr
	if err := send(t, open(t, c, sink.Options{})); err != nil {
		t.Fatal(err)
	}
	mail := <-got
	for _, want := range []string{"From: \"Watchward\" <w@h.example>\r\n", "To: \"Eva\" <it@h.example>\r\n", "Subject: St Anna: HIT\r\n", "Auto-Submitted: auto-generated\r\n", "Message-ID: <", "evil.example <!channel> in dns.log\r\n", "watchward alerts ack 17"} {
		if !strings.Contains(mail, want) {
			t.Errorf("no %q in\n%s", want, mail)
		}
	}
	addr, _ = mailServer(t, nil, false)
	c.URL = "smtp://" + addr
	fails(t, send(t, open(t, c, sink.Options{})), "no STARTTLS")
	addr, _ = mailServer(t, certs, true)
	c.URL = "smtp://" + addr
	fails(t, send(t, open(t, c, sink.Options{})), "535")
	addr, _ = mailServer(t, certs, false)
	c.URL, c.CAFile = "smtp://"+addr, ""
	fails(t, send(t, open(t, c, sink.Options{})), "certificate")
	addr, got = mailServer(t, nil, false)
	if err := send(t, open(t, config.AlertSink{Type: "smtp", URL: "smtp-plain://" + addr, From: c.From, To: c.To}, sink.Options{})); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(<-got, "Subject: St Anna: HIT") {
		t.Error("a relay in the house gets no mail")
	}
}

func TestCommand(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: needs sh")
	}
	out := filepath.Join(t.TempDir(), "out")
	run := func(script string, args ...string) sink.Sink {
		return open(t, config.AlertSink{Type: "command", Command: append([]string{"/bin/sh", "-c", script, "sh"}, args...)}, sink.Options{})
	}
	t.Setenv("WATCHWARD_TEST_SECRET", hush)
	if err := send(t, run(`cat >"$1"; printf '\n%s' "$2$WATCHWARD_TEST_SECRET" >>"$1"`, out, "$(reboot); *")); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	body, args, _ := strings.Cut(string(raw), "\n")
	var m map[string]any
	if err := json.Unmarshal([]byte(body), &m); err != nil || m["id"] != message.ID || m["time"] != "2026-05-28T20:26:40.000Z" || args != "$(reboot); *" {
		t.Errorf("%v: %s", err, raw)
	}
	err = send(t, run(`head -c 10000000 /dev/zero | tr '\0' 'x'; echo wrong >&2; exit 3`))
	if fails(t, err, "exit status 3"); err != nil && len(err.Error()) > 400 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
	fails(t, send(t, open(t, config.AlertSink{Type: "command", Command: []string{"/nowhere/page"}}, sink.Options{})), "no such file")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	from := time.Now()
	if err := run(`sleep 60 & sleep 60`).Send(ctx, message); err == nil || !strings.Contains(err.Error(), "did not end in time") || time.Since(from) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(from))
	}
}

// A line of the own logs that came this far is shown, cut where there is no room.
func TestLine(t *testing.T) {
	m := message
	m.Line = "query[A] from 10.0.0.5"
	const want = "The first line, for this house alone: query[A] from 10.0.0.5"
	if got := sink.CEF(m, "1.0", 4096); !strings.HasSuffix(got, want) {
		t.Errorf("%s", got)
	}
	if got := sink.CEF(message, "1.0", 4096); strings.Contains(got, "first line") {
		t.Errorf("%s", got)
	}
}
