package interop_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// An amAlert is an alert as Alertmanager shows it and tells its receivers.
type amAlert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// An alertmanager is a real one, and what it told its receiver.
type alertmanager struct {
	url string

	mu   sync.Mutex
	told []string // "firing warning hit", in order
}

func startAlertmanager(t *testing.T) *alertmanager {
	t.Helper()
	am := &alertmanager{}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var told struct {
			Alerts []struct {
				Status string `json:"status"`
				amAlert
			} `json:"alerts"`
		}
		if err := json.NewDecoder(r.Body).Decode(&told); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		am.mu.Lock()
		defer am.mu.Unlock()
		for _, a := range told.Alerts {
			am.told = append(am.told, fmt.Sprintf("%s %s %s", a.Status, a.Labels["severity"], a.Labels["kind"]))
		}
	}))
	t.Cleanup(receiver.Close)
	dir, addr := t.TempDir(), freeAddr(t)
	conf := filepath.Join(dir, "alertmanager.yml")
	text := fmt.Sprintf(`route:
  receiver: people
  group_by: ["..."]
  group_wait: 0s
  group_interval: 1s
receivers:
- name: people
  webhook_configs:
  - url: %q
    send_resolved: true
`, receiver.URL)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	background(t, exec.Command(program(t, "prometheus-alertmanager", "prometheus-alertmanager"), "--config.file", conf,
		"--storage.path", filepath.Join(dir, "data"), "--web.listen-address", addr, "--cluster.listen-address", "", "--log.level", "warn"))
	am.url = "http://" + addr
	eventually(t, "Alertmanager is ready", func() bool {
		answer, err := http.Get(am.url + "/-/ready")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	return am
}

// alerts are those that it holds for open.
func (am *alertmanager) alerts(t *testing.T) (all []amAlert) {
	t.Helper()
	raw, err := (&ledger{url: am.url}).get(t.Context(), "/api/v2/alerts")
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// has says whether these, and no others, are open.
func (am *alertmanager) has(t *testing.T, severities ...string) func() bool {
	return func() bool {
		var open []string
		for _, a := range am.alerts(t) {
			open = append(open, a.Labels["severity"])
		}
		slices.Sort(open)
		return slices.Equal(open, severities)
	}
}

// heard says whether its receiver was told something.
func (am *alertmanager) heard(what string) func() bool {
	return func() bool {
		am.mu.Lock()
		defer am.mu.Unlock()
		return slices.Contains(am.told, what)
	}
}

// A real Alertmanager has what pages with its labels, as one alert although it gets
// worse, and it is over there when somebody has acknowledged it.
func TestAlertmanagerHasWhatPages(t *testing.T) {
	am := startAlertmanager(t)
	f := startSingle(t, fmt.Sprintf(`
[never_block]
suppliers = ["detected.example"]
[[logs]]
name = "resolver"
path = "dns.log"
format = "dnsmasq"
[[alerts.rules]]
name = "hits"
kind = ["hit"]
do = "page"
group_by = ["kind"]
[[alerts.sinks]]
name = "am"
type = "alertmanager"
url = %q
private = true
tlp = "AMBER"
`, am.url))
	f.watchward(t, "alerts", "test", "am")
	eventually(t, "it has the test", am.has(t, "info"))
	if got := am.alerts(t)[0]; got.Labels["alertname"] != "Watchward-test" {
		t.Errorf("%+v", got)
	}

	f.watchward(t, "report", "blocked.example", "--tlp", "AMBER", "--local")
	f.watchward(t, "report", "detected.example", "--tlp", "GREEN", "--local")
	f.logs(t, "detected.example")
	eventually(t, "it has the hit", am.has(t, "info", "warning"))
	at := slices.IndexFunc(am.alerts(t), func(a amAlert) bool { return a.Labels["kind"] == "hit" })
	got := am.alerts(t)[at]
	for label, want := range map[string]string{"alertname": "Watchward-hit", "severity": "warning", "instance": "St Anna"} {
		if got.Labels[label] != want {
			t.Errorf("label %s is %q, want %q", label, got.Labels[label], want)
		}
	}
	if a := got.Annotations; !strings.Contains(a["description"], "detected.example") || a["tlp"] != "GREEN" || a["summary"] != "St Anna: HIT" {
		t.Errorf("%+v", a)
	}
	eventually(t, "its receiver is told", am.heard("firing warning hit"))

	f.logs(t, "blocked.example")
	eventually(t, "it is worse, and nothing else", am.has(t, "critical", "info"))
	eventually(t, "its receiver is told", am.heard("firing critical hit"))
	f.watchward(t, "alerts", "ack", got.Labels["alert"])
	eventually(t, "it is over", am.has(t, "info"))
	eventually(t, "its receiver is told", am.heard("resolved critical hit"))
	eventually(t, "its receiver is told", am.heard("resolved warning hit"))
}

// logs writes a line of the resolver's log.
func (f *single) logs(t *testing.T, name string) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(f.dir, "dns.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintf(log, "Nov 27 10:00:00 dnsmasq[1]: query[A] %s from 10.0.0.5\n", name)
	}
	if err == nil {
		err = log.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}
