package node

import (
	"cmp"
	"context"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/paper"
	"github.com/watchward/watchward/node/situation"
)

// Report implements api.Node.
func (n *Node) Report(ctx context.Context, since int64, ceiling notice.TLP) (api.Report, error) {
	s, err := n.Situation(ctx, since, ceiling)
	if err != nil {
		return api.Report{}, err
	}
	hourly := n.picture.shown().Hourly(situation.Ask{Now: int64(s.Now), Ceiling: ceiling})
	return api.Report{TLP: ceiling.String(), Sources: s.Sources(), Hourly: hourly, Situation: s}, nil
}

// PrintReport implements api.Node.
func (n *Node) PrintReport(r *api.Report, format, language string) ([]byte, error) {
	language = cmp.Or(language, n.o.Settings.Language)
	if format == api.ReportMarkdown {
		return paper.SituationMarkdown(r, language, time.Local), nil
	}
	return paper.Situation(r, language, time.Local)
}
