package sim

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// A Journal keeps what members log, but for its debugging.
type Journal struct {
	mu    sync.Mutex
	lines []Line
}

// A Line is one record of a member's log.
type Line struct {
	Who  string // name of the member that wrote it
	At   time.Time
	Text string
}

// journalMax bounds what is kept; later lines are dropped.
const journalMax = 200_000

func (j *Journal) logger(who string) *slog.Logger {
	return slog.New(slog.NewTextHandler(page{j, who}, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

type page struct {
	j   *Journal
	who string
}

// Write implements io.Writer.
func (p page) Write(line []byte) (int, error) {
	p.j.mu.Lock()
	defer p.j.mu.Unlock()
	if len(p.j.lines) < journalMax {
		p.j.lines = append(p.j.lines, Line{p.who, time.Now(), string(bytes.TrimSpace(line))})
	}
	return len(line), nil
}

// Find returns the lines in which all words occur.
func (j *Journal) Find(words ...string) (found []Line) {
	j.mu.Lock()
	defer j.mu.Unlock()
next:
	for _, l := range j.lines {
		for _, word := range words {
			if !strings.Contains(l.Text, word) {
				continue next
			}
		}
		found = append(found, l)
	}
	return found
}
