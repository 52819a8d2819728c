package taxii_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the transcripts anew")

// statusID is a random UUID, as status resources have.
var statusID = regexp.MustCompile(`"id":"([0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})","status"`)

// shown are the headers of a transcript, if they are there.
var shown = []string{"Content-Type", "Allow", "Www-Authenticate", "Retry-After", "X-Taxii-Date-Added-First", "X-Taxii-Date-Added-Last"}

// TestTranscripts says every request of a transcript to one server and wants its answers.
// Lines with "> " are a request: method and path, then headers, then >> its body. What
// follows is the answer. STATUS stands for the id of the last status, NEXT for the next
// of the last page.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := converse(t, string(text))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got != string(text) {
				t.Errorf("%s differs; -update writes it anew:\n%s", file, got)
			}
		})
	}
}

// converse returns the transcript with the answers that came.
func converse(t *testing.T, text string) string {
	server := newServer(t, stocked(t), nil)
	var out strings.Builder
	status, next := "", ""
	for block := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n\n") {
		if out.Len() > 0 {
			out.WriteString("\n")
		}
		var method, path, body string
		var header []string
		for line := range strings.SplitSeq(block, "\n") {
			request, isRequest := strings.CutPrefix(line, "> ")
			more, isBody := strings.CutPrefix(line, ">> ")
			switch {
			case isBody:
				body += more
			case isRequest && method == "":
				method, path, _ = strings.Cut(request, " ")
			case isRequest:
				key, value, _ := strings.Cut(request, ":")
				header = append(header, key, strings.TrimSpace(value))
			case !strings.HasPrefix(line, "#"):
				continue // the answer that is wanted
			}
			out.WriteString(line + "\n")
		}
		if method == "" {
			continue
		}
		path = strings.NewReplacer("STATUS", status, "NEXT", next).Replace(path)
		w := ask(server, method, path, body, header...)
		fmt.Fprintf(&out, "%d\n", w.Code)
		for _, key := range shown {
			if v := w.Header().Get(key); v != "" {
				fmt.Fprintf(&out, "%s: %s\n", key, v)
			}
		}
		answer := w.Body.String()
		if m := statusID.FindStringSubmatch(answer); m != nil {
			status = m[1]
		}
		if status != "" {
			answer = strings.ReplaceAll(answer, status, "STATUS")
		}
		if _, after, ok := strings.Cut(answer, `"next":"`); ok {
			next, _, _ = strings.Cut(after, `"`)
		}
		if answer != "" {
			out.WriteString(answer + "\n")
		}
	}
	return out.String()
}
