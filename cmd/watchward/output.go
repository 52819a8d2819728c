package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/watchward/watchward/node/notice"
)

// A table prints rows under a header, each column as wide as it needs and the
// last one cut to the terminal's width. Cells come from other hospitals, so
// they are made harmless first.
type table struct {
	header []string
	rows   [][]string
	widths []int // of the last print; a next one is at least as wide
}

func (t *table) add(cells ...string) {
	for i, c := range cells {
		cells[i] = plain(c)
	}
	t.rows = append(t.rows, cells)
}

// print writes everything at once. A header of empty cells is left out.
func (t *table) print(w io.Writer) error {
	all := append([][]string{t.header}, t.rows...)
	if strings.Join(t.header, "") == "" {
		all = t.rows
	}
	widths := append(t.widths, make([]int, len(t.header)-len(t.widths))...)
	for _, row := range all {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	t.widths = widths
	bold, reset := "", ""
	room := 0
	if width, _, ok := terminal(w); ok {
		bold, reset, room = "\x1b[1m", "\x1b[0m", width
	}
	var text strings.Builder
	for n, row := range all {
		var line strings.Builder
		for i, c := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			line.WriteString(c)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)))
			}
		}
		cells := strings.TrimRight(line.String(), " ")
		if runes := []rune(cells); room > 1 && len(runes) > room {
			cells = string(runes[:room-1]) + "…"
		}
		if n == 0 && len(all) > len(t.rows) {
			cells = bold + cells + reset
		}
		text.WriteString(cells + "\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// terminal reports the size of w if a person looks at it.
func terminal(w io.Writer) (width, height int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, 0, false
	}
	width, height, err := term.GetSize(int(f.Fd()))
	return width, height, err == nil
}

// paint colours text on a terminal only. Colour never carries meaning alone.
func paint(w io.Writer, code, text string) string {
	if _, _, ok := terminal(w); !ok || os.Getenv("NO_COLOR") != "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// plain replaces what could move a terminal's cursor, reorder its text or show as
// nothing.
func plain(s string) string {
	if notice.Printable(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if notice.Printable(string(r)) {
			return r
		}
		return '\uFFFD'
	}, s)
}

// printJSON writes one line of JSON. A person may look at it too: what plain would
// replace is escaped.
func printJSON(w io.Writer, v any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(w, escaped(strings.TrimSuffix(text.String(), "\n"))+"\n")
	return err
}

// escaped is JSON in which what plain would replace is escaped.
func escaped(line string) string {
	if notice.Printable(line) {
		return line
	}
	var out strings.Builder
	for _, r := range line {
		if r == utf8.RuneError || notice.Printable(string(r)) {
			out.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&out, `\u%04x`, unit)
		}
	}
	return out.String()
}

// ago says how long before now t was, as a person would.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := now.Sub(t)
	switch {
	case d < -time.Minute:
		return "in " + span(-d)
	case d < 2*time.Second:
		return "just now"
	}
	return span(d) + " ago"
}

func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	case d < 60*24*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
	return fmt.Sprintf("%d months", int(d.Hours()/24/30))
}

// plural returns "1 member" or "3 members".
func plural(n int64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// thousands writes a number with a comma between each three digits.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && n >= 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size returns bytes as a person reads them.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, suffix := float64(n)/unit, 0
	for value >= unit && suffix < 3 {
		value /= unit
		suffix++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGT"[suffix])
}
