package node

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/watchward/watchward/node/api"
)

// logSilent is how long a log may bring no line before status says so: some hospitals'
// nights are quiet.
const logSilent = 12 * time.Hour

// logFilesShown is how many files of a log are shown.
const logFilesShown = 100

// Logs implements api.Node.
func (n *Node) Logs(ctx context.Context) ([]api.LogView, error) {
	var out []api.LogView
	if n.watch == nil {
		return out, nil
	}
	for _, s := range n.watch.sources {
		v := s.view()
		if s == n.watch.heardAt {
			n.watch.received(&v)
		}
		out = append(out, v)
	}
	return out, ctx.Err()
}

// view shows a source.
func (s *logSource) view() api.LogView {
	s.mu.Lock()
	h := s.health
	places := append([]logPlace(nil), h.files...)
	s.mu.Unlock()
	v := api.LogView{
		Name: s.name, Path: s.path, Format: h.format, Share: s.share, Problem: h.problem, Since: api.Time(h.since),
		Lines: h.lines, Broken: h.broken, Other: h.other, Cut: h.cut, Hits: h.hits, Lost: h.lost, Rotated: h.rotated, Truncated: h.truncated,
		LastLine: api.Time(h.lastLine), LastStamp: api.Time(h.lastStamp),
	}
	if v.Format == "" {
		v.Format = s.format.String()
	}
	for _, p := range places {
		if info, err := os.Stat(p.path); err == nil {
			v.Lag += max(0, info.Size()-p.offset)
		}
		if len(v.Files) < logFilesShown {
			v.Files = append(v.Files, api.LogFileView{Path: p.path, Offset: p.offset})
		}
	}
	return v
}

// received adds what is known of syslog alone.
func (w *watch) received(v *api.LogView) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range [][2]string{{"udp", w.udp}, {"tcp", w.tcp}, {"tls", w.tls}} {
		if l[1] != "" {
			v.Listen = append(v.Listen, l[0]+" "+l[1])
		}
	}
	v.Lost += w.stats.Refused + w.stats.Limited
	v.Broken += w.stats.Broken
	if w.problem != "" {
		v.Problem = w.problem
	}
}

// warnings are what status says of logs that are not read, or bring nothing.
func (w *watch) warnings(started, now time.Time) (out []string) {
	if w == nil {
		return nil
	}
	for _, s := range w.sources {
		v := s.view()
		if s == w.heardAt {
			w.received(&v)
		}
		last := time.UnixMilli(max(int64(v.LastLine), started.UnixMilli()))
		switch {
		case v.Problem != "":
			out = append(out, fmt.Sprintf("the log %s is not read: %s", s.name, v.Problem))
		case now.Sub(last) > logSilent:
			out = append(out, fmt.Sprintf("the log %s has brought no line for %d hours: is it still written?", s.name, int(now.Sub(last).Hours())))
		}
	}
	return out
}
