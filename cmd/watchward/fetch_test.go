package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdFetch asks for a URL as a firewall does until the answer has a status, and writes
// its body into the file fetched and its header into headers:
//
//	fetch 200 URL 'Authorization: Bearer wwt_…'
func cmdFetch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fetch STATUS URL [HEADER...]")
	}
	within(ts, func() string {
		r, err := http.NewRequest(http.MethodGet, args[1], nil)
		ts.Check(err)
		for _, h := range args[2:] {
			name, value, _ := strings.Cut(h, ": ")
			r.Header.Set(name, value)
		}
		a, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			return err.Error()
		}
		defer a.Body.Close()
		body, err := io.ReadAll(a.Body)
		if err != nil {
			return err.Error()
		}
		if fmt.Sprint(a.StatusCode) != args[0] {
			return fmt.Sprintf("status %d, want %s:\n%s", a.StatusCode, args[0], body)
		}
		var headers strings.Builder
		_ = a.Header.Write(&headers)
		ts.Check(os.WriteFile(ts.MkAbs("fetched"), body, 0o600))
		ts.Check(os.WriteFile(ts.MkAbs("headers"), []byte(headers.String()), 0o600))
		return ""
	})
}
