package sink

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/watchward/watchward/node/alert"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/config"
)

// An httpSink posts JSON: to a webhook, a chat or Alertmanager.
type httpSink struct {
	c config.AlertSink
	o Options
}

func newHTTP(c config.AlertSink, o Options) *httpSink { return &httpSink{c, o} }

// allowed refuses what is no address of the internet: who can choose where a webhook
// goes, by a name that changes its mind, must not reach what is inside.
func (h *httpSink) allowed(a netip.Addr) error {
	if h.c.Private || h.c.Type == config.SinkAlertmanager { // that is inside by its nature
		return nil
	}
	return outside(a)
}

// Send posts one message.
func (h *httpSink) Send(ctx context.Context, m alert.Message) error {
	u, err := address(h.c, "https", "http")
	if err != nil {
		return err
	}
	key := ""
	if h.c.SecretFile != "" {
		if key, err = secret(h.c.SecretFile); err != nil {
			return err
		}
	}
	payload, header, err := h.request(u, m, key)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(payload))
	if err != nil {
		return cause(err)
	}
	r.Header = header
	t, err := tlsConfig(h.c, u.Hostname())
	if err != nil {
		return err
	}
	transport := &http.Transport{ // no proxy: it would look the name up again
		TLSClientConfig: t, DisableKeepAlives: true, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: answerMax,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return h.o.dial(ctx, network, host, port, h.allowed)
		},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	if err != nil {
		return cause(err)
	}
	defer answer.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(answer.Body, answerMax))
	return answered(answer.StatusCode, excerpt(said, key, u.String(), u.RequestURI()))
}

// answered says what a status means.
func answered(status int, said string) error {
	text := fmt.Sprintf("it answered %d %s", status, http.StatusText(status))
	if said != "" {
		text += ": " + said
	}
	switch {
	case status/100 == 2:
		return nil
	case status/100 == 3:
		return fmt.Errorf("it answered %d, and redirects are not followed: set the url to where it leads", status)
	case status == http.StatusBadRequest || status == http.StatusRequestEntityTooLarge || status == http.StatusUnprocessableEntity:
		return &Refused{text}
	}
	return fmt.Errorf("%s", text)
}

// request returns what is posted, and completes where to.
func (h *httpSink) request(u *url.URL, m alert.Message, key string) ([]byte, http.Header, error) {
	header := http.Header{"Content-Type": {"application/json"}, "User-Agent": {"watchward/" + h.o.Version}, "Idempotency-Key": {m.ID}}
	if h.c.Type != config.SinkWebhook {
		if key != "" {
			header.Set("Authorization", "Bearer "+key)
		}
		if h.c.Type == config.SinkChat {
			payload, err := json.Marshal(chatText{Text: plain(title(h.o.Words, m)) + "\n" + plain(defanged(text(h.o.Words, m), m.Value))})
			return payload, header, err
		}
		if !strings.HasSuffix(u.Path, "/api/v2/alerts") {
			u.Path = strings.TrimSuffix(u.Path, "/") + "/api/v2/alerts"
		}
		payload, err := json.Marshal(amAlerts(h.o.Words, m))
		return payload, header, err
	}
	payload := body(m)
	stamp := strconv.FormatInt(h.o.Now().Unix(), 10)
	header.Set("Webhook-Id", m.ID)
	header.Set("Webhook-Timestamp", stamp)
	if key != "" {
		header.Set("Webhook-Signature", Sign(key, m.ID, stamp, payload))
	}
	return payload, header, nil
}

// Sign returns the signature of a webhook as standardwebhooks.com has it: "v1," and the
// base64 of HMAC-SHA256 over ID.TIMESTAMP.BODY. A key that begins with whsec_ is base64.
func Sign(key, id, stamp string, body []byte) string {
	secret := []byte(key)
	if rest, ok := strings.CutPrefix(key, "whsec_"); ok {
		if raw, err := base64.StdEncoding.DecodeString(rest); err == nil {
			secret = raw
		}
	}
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s.", id, stamp)
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// A chatText is what Slack, Mattermost and the like take. No preview of a link is fetched.
type chatText struct {
	Text        string `json:"text"`
	UnfurlLinks bool   `json:"unfurl_links"`
	UnfurlMedia bool   `json:"unfurl_media"`
}

// plain keeps a chat from taking what others wrote for a mention.
func plain(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// defanged keeps a chat from making links of a text's URLs and of the value that it is
// about: nobody should be one click from what is warned of.
func defanged(s, value string) string {
	if value != "" {
		s = strings.ReplaceAll(s, value, strings.ReplaceAll(value, ".", "[.]"))
	}
	return strings.NewReplacer("http://", "hxxp://", "https://", "hxxps://").Replace(s)
}

// An amAlert is an alert of Alertmanager's API v2.
type amAlert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	StartsAt    string            `json:"startsAt"`
	EndsAt      string            `json:"endsAt"`
}

// How long Alertmanager keeps what nobody acknowledges, and a test.
const (
	amLife     = 24 * time.Hour
	amTestLife = 5 * time.Minute
)

// amAlerts is a message as Alertmanager has it. An alert is what its labels are, and
// the severity is one, for routes ask for it: what is worse now, or over, ends what it
// was before.
func amAlerts(words *catalog.Printer, m alert.Message) []amAlert {
	all := []amAlert{newAMAlert(words, m, m.Severity, m.Open())}
	if m.Group == "" || m.Count <= 1 { // it was never another
		return all
	}
	for _, s := range slices.Sorted(maps.Keys(severities)) {
		if s != m.Severity {
			all = append(all, newAMAlert(words, m, s, false))
		}
	}
	return all
}

// newAMAlert names an alert by its group, so that what is told again is the same one;
// by nothing that may become another while it is open, so without its marking.
func newAMAlert(words *catalog.Printer, m alert.Message, severity string, open bool) amAlert {
	kind := m.Kind
	if kind == "" {
		kind = "above"
	}
	a := amAlert{
		Labels:      map[string]string{"alertname": "Watchward-" + kind, "kind": kind, "severity": severity, "instance": m.Node},
		Annotations: map[string]string{"summary": title(words, m), "description": text(words, m)},
	}
	if m.Group != "" {
		a.Labels["alert"] = m.Group
	} else {
		a.Labels["message"] = m.ID
	}
	if m.TLP != "" {
		a.Annotations["tlp"] = m.TLP
	}
	life := amLife
	if m.Type == alert.TypeTest {
		life = amTestLife
	}
	at := time.UnixMilli(m.Time).UTC()
	a.StartsAt, a.EndsAt = at.Format(time.RFC3339Nano), at.Add(life).Format(time.RFC3339Nano)
	if !open {
		a.EndsAt = a.StartsAt
	}
	return a
}
