package ledger

import (
	"context"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// raftLogger is raft's logger on slog. What raft calls information is ours to tell
// people in our words, so it is told as debug.
func raftLogger(log *slog.Logger) hclog.Logger {
	level := hclog.Info
	if log.Enabled(context.Background(), slog.LevelDebug) {
		level = hclog.Debug
	}
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Level: hclog.Off, Output: io.Discard})
	l.RegisterSink(sink{log, level})
	return l
}

type sink struct {
	log   *slog.Logger
	level hclog.Level
}

func (s sink) Accept(name string, level hclog.Level, msg string, args ...any) {
	if level < s.level {
		return
	}
	as := slog.LevelDebug
	switch level {
	case hclog.Warn:
		as = slog.LevelInfo // every lost connection is one
	case hclog.Error:
		as = slog.LevelWarn
	}
	s.log.Log(context.Background(), as, name+": "+msg, args...)
}
