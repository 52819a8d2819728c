package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
)

func TestPutDocument(t *testing.T) {
	s := start(t, nil)
	for name, c := range map[string]struct {
		who    string
		size   int
		status int
		word   string
	}{
		"a file":          {"reporter", 5, 200, ""},
		"the largest":     {"admin", notice.DocumentMax, 200, ""},
		"a byte too much": {"reporter", notice.DocumentMax + 1, 413, "body-too-large"},
		"80 MB":           {"reporter", 80_000_000, 413, "body-too-large"},
		"a reader's":      {"reader", 5, 403, "weak-token"},
		"nobody's":        {"", 5, 401, "no-token"},
	} {
		for _, length := range []string{"Said", "Chunked"} {
			a := s.ask(t, c.who, http.MethodPost, "/v1/documents", strings.Repeat("x", c.size), "Content-Type", "application/pdf", length, "yes")
			if a.StatusCode != c.status || c.word != "" && a.problem(t).Word() != c.word {
				t.Errorf("%s, length %s: %d %.200s", name, length, a.StatusCode, a.body)
			}
			var got api.DocumentAnswer
			if a.StatusCode == 200 {
				if a.decode(t, &got); int(got.Size) != c.size || len(got.SHA256) != 64 {
					t.Errorf("%s, length %s: %+v", name, length, got)
				}
			}
		}
	}
	s.node.fail = &api.Unavailable{Reason: "there is no room", Fix: "make some"}
	if p := s.ask(t, "reporter", http.MethodPost, "/v1/documents", "x").problem(t); p.Status != 503 || p.Fix != "make some" {
		t.Errorf("without room: %+v", p)
	}
}

// A document is a file to be saved: no browser shows it, or runs what is in it.
func TestGetDocument(t *testing.T) {
	s := start(t, nil)
	a := s.ask(t, "reader", http.MethodGet, "/v1/documents/"+strings.ToUpper(documentID), "")
	if a.StatusCode != 200 || a.body != "<script>alert(1)</script>" {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	for header, want := range map[string]string{
		"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
		"Content-Disposition":     "attachment; filename*=utf-8''Plan%20f%C3%BCr%20%C3%84rzte.html",
	} {
		if got := a.Header.Values(header); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
	for path, status := range map[string]int{
		"/v1/documents/" + strings.Repeat("0", 64): 404, "/v1/documents/" + documentID[:63]: 422, "/v1/documents/..%2f..%2fidentity.key": 422,
	} {
		if got := s.ask(t, "reader", http.MethodGet, path, ""); got.StatusCode != status {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
		}
	}
	if got := s.ask(t, "green", http.MethodGet, "/v1/documents/"+documentID, ""); got.StatusCode != 404 {
		t.Errorf("above the ceiling: %d", got.StatusCode)
	}
}
