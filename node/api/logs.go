package api

import (
	"context"

	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/notice"
)

// LogsAnswer says how this hospital's own logs are read.
type LogsAnswer struct {
	Logs []LogView `json:"logs"`
}

// LogView is one log, or what is received by syslog. Counts are since the node's start.
type LogView struct {
	Name      string        `json:"name"`
	Path      string        `json:"path,omitempty" doc:"As configured; missing of syslog"`
	Listen    []string      `json:"listen,omitempty" doc:"Of syslog: the addresses in use, as udp 10.0.0.7:5514"`
	Format    string        `json:"format" doc:"As configured, or what auto found"`
	Share     bool          `json:"share"`
	Problem   string        `json:"problem,omitempty" doc:"Why it is not read"`
	Since     Time          `json:"since,omitempty" doc:"Since when there is a problem, or none"`
	Lines     int64         `json:"lines"`
	Broken    int64         `json:"broken" doc:"Lines that break off or are damaged: what came before was read"`
	Other     int64         `json:"other" doc:"Lines that are not of the format"`
	Cut       int64         `json:"cut" doc:"Lines longer than 64 KiB: what is beyond was not looked at"`
	Hits      int64         `json:"hits" doc:"Lines that name what is to be detected"`
	Lost      int64         `json:"lost" doc:"Times that a file was gone before it was read to its end, and messages that were refused or came too fast"`
	Rotated   int64         `json:"rotated"`
	Truncated int64         `json:"truncated"`
	LastLine  Time          `json:"last_line,omitempty" doc:"When the last line was read"`
	LastStamp Time          `json:"last_stamp,omitempty" doc:"When the last line says that it was written"`
	Lag       int64         `json:"lag_bytes" doc:"Bytes that are written and not read yet"`
	Files     []LogFileView `json:"files" doc:"What is followed, up to 100"`
}

// LogFileView is how far one file is read.
type LogFileView struct {
	Path   string `json:"path"`
	Offset int64  `json:"offset"`
}

type logsAnswer struct{ Body LogsAnswer }

func (s *Server) registerLogs() {
	// How often a log names what is known tells of what is marked RED too.
	add(s, route{need: token.Reader, ceiling: notice.TLPRed}, get("list-logs", "/v1/logs", "How this hospital's own logs are read"), s.logs)
}

func (s *Server) logs(ctx context.Context, _ *struct{}) (*logsAnswer, error) {
	logs, err := s.c.Node.Logs(ctx)
	if err != nil {
		return nil, err
	}
	for i := range logs {
		logs[i].Files = list(logs[i].Files)
	}
	return &logsAnswer{LogsAnswer{list(logs)}}, nil
}
