package interop_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// protectedWithin is the time from a report at another hospital until this one's resolver
// refuses the name and its webhook has the alert.
const protectedWithin = 2 * time.Second

// A hospital reads its Suricata's log and has an unbound that asks its node; another
// reports a name that was looked up here before. The resolver refuses it, the webhook has
// the alert, and the history says when it was looked up first.
func TestWhatAnotherReportsIsRefusedHere(t *testing.T) {
	unbound := program(t, "unbound", "unbound")
	d := &dev{dir: t.TempDir()}
	d.start(t, 2)() // makes them members
	here, there := d.nodes[0].Dir, d.nodes[1].Dir
	resolver, dns := freeAddr(t), freeAddr(t)
	logs := t.TempDir()
	type call struct {
		Kind, Value, Text string
		at                time.Time
	}
	called := make(chan call, 16)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		c := call{at: time.Now()}
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			t.Error(err)
		}
		called <- c
	}))
	t.Cleanup(hook.Close)
	path := filepath.Join(here, "config.toml")
	config, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	config = bytes.Replace(config, []byte("#min_members = 0"), []byte("min_members = 1"), 1)
	config = fmt.Appendf(config, `
[[logs]]
name = "suricata"
path = %q

[[alerts.sinks]]
name = "pager"
type = "webhook"
url = %q
private = true
tlp = "AMBER"

[[feeds.list]]
name = "dns"
format = "rpz"
transfer = ["127.0.0.1"]
notify = [%q]
`, logs, hook.URL, resolver)
	config = bytes.Replace(config, []byte("#dns_listen = \"\""), fmt.Appendf(nil, "dns_listen = %q", dns), 1)
	if err := os.WriteFile(path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.start(t, 2))
	startUnbound(t, unbound, resolver, "dns.rpz", dns)
	for i := range 3 {
		name := fmt.Sprintf("loader-%d.evil.example", i)
		first := time.Now().Add(-72 * time.Hour).UTC()
		line := fmt.Sprintf(`{"timestamp":%q,"event_type":"dns","src_ip":"10.0.0.5","dest_ip":"10.0.0.53","dns":{"type":"query","rrname":%q,"rrtype":"A"}}`+"\n", first.Format("2006-01-02T15:04:05.000000-0700"), name)
		if err := os.WriteFile(filepath.Join(logs, fmt.Sprintf("eve-%d.json", i)), []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		hunted := func() string {
			out, err := execute(t.Context(), "watchward", "hunt", name, "--json", "--dir", here)
			if err != nil {
				return ""
			}
			return string(out)
		}
		eventually(t, "the history has "+name, func() bool { return strings.Contains(hunted(), `"first":"`+first.Format("2006-01-02")) })
		eventually(t, "the resolver answers for "+name, func() bool { return ask(t, resolver, name) == dnsmessage.RCodeSuccess })
		begin := time.Now()
		runProgram(t, "watchward", "report", name, "--tlp", "AMBER", "--dir", there)
		eventually(t, "the resolver refuses "+name, func() bool { return ask(t, resolver, name) == dnsmessage.RCodeNameError })
		refused := time.Since(begin)
		var hooked time.Duration
		select {
		case c := <-called:
			hooked = c.at.Sub(begin)
			if c.Kind != "seen-here" || c.Value != name || !strings.Contains(c.Text, "3 days ago") {
				t.Errorf("the webhook has %+v", c)
			}
		case <-time.After(patience):
			t.Fatalf("the webhook was not called for %s", name)
		}
		t.Logf("%s: refused after %s, the webhook was called after %s", name, refused.Round(time.Millisecond), hooked.Round(time.Millisecond))
		if refused > protectedWithin || hooked > protectedWithin {
			t.Errorf("%s: refused after %s, webhook after %s, want both within %s", name, refused, hooked, protectedWithin)
		}
		if out := hunted(); !strings.Contains(out, `"first":"`+first.Format("2006-01-02")) {
			t.Errorf("the history does not say when:\n%s", out)
		}
	}
}
