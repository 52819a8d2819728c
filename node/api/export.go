package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/csv"
	"github.com/watchward/watchward/node/intel/misp"
	"github.com/watchward/watchward/node/intel/stix"
	"github.com/watchward/watchward/node/notice"
)

// ExportDefault is the ceiling of an export that names none.
const ExportDefault = notice.TLPGreen

// ExportTrailer is the trailer of an export: an ExportCount in JSON.
const ExportTrailer = "Watchward-Export"

// An exporter writes notices in a format. Close ends the file.
type exporter interface {
	Write(intel.Stated) error
	Close() error
}

// exportFormats are the formats of an export, in the order shown.
var exportFormats = []string{"stix", "misp", "csv"}

// newExporter returns the writer of a format, and its media type. Every format
// is here and in exportFormats. org is who exports.
func newExporter(format, org string, w io.Writer) (e exporter, mediaType string) {
	switch format {
	case "stix":
		return stix.NewWriter(w), "application/stix+json;version=2.1"
	case "misp":
		return misp.NewWriter(w, misp.WriterOptions{Org: org, Now: time.Now().UnixMilli()}), "application/json"
	case "csv":
		return csv.NewWriter(w), "text/csv; charset=utf-8"
	}
	return nil, ""
}

type exportInput struct {
	Format   string `query:"format" default:"stix" maxLength:"20" doc:"stix (STIX 2.1), misp (MISP events) or csv"`
	Kind     string `query:"kind" enum:"indicator,sighting,dispute,advisory" doc:"Only this kind; advisories are in stix alone"`
	Since    string `query:"since" format:"date-time" doc:"Only what arrived here since then, and what was taken back since then"`
	Mine     bool   `query:"mine" doc:"Only this node's own"`
	TLP      string `query:"tlp" doc:"The strictest marking: CLEAR, GREEN (default) or AMBER. The token's ceiling holds as well"`
	Unmarked bool   `query:"unmarked" doc:"Also what has no marking, so that nobody has said how far it may travel. Needs a ceiling of AMBER+STRICT"`
}

func (s *Server) export(ctx context.Context, in *exportInput) (*huma.StreamResponse, error) {
	q, err := exportQuery(in, callerOf(ctx))
	if err != nil {
		return nil, err
	}
	if !slices.Contains(exportFormats, in.Format) {
		return nil, problem(http.StatusUnprocessableEntity, "bad-parameter", "No such format", shorten(in.Format)+" is no format of an export",
			"choose "+strings.Join(exportFormats, ", ")).at("query.format", in.Format)
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		if s.occupy(w) {
			defer func() { <-s.streams }()
			s.send(r, w, in.Format, q)
		}
	}}, nil
}

func exportQuery(in *exportInput, who caller) (q ExportQuery, err error) {
	q = ExportQuery{Sees: who.ceiling, Advisories: in.Format == "stix", Mine: in.Mine, Unmarked: in.Unmarked, Ceiling: ExportDefault}
	if in.TLP != "" {
		if q.Ceiling, err = notice.ParseTLP(in.TLP); err != nil {
			return q, badQuery("tlp", in.TLP, err)
		}
		if q.Ceiling > notice.ExportMax {
			return q, problem(http.StatusUnprocessableEntity, "bad-parameter", "Not in an export",
				"TLP:"+q.Ceiling.String()+" is for named people and never leaves in an export", "choose CLEAR, GREEN or AMBER").at("query.tlp", in.TLP)
		}
	}
	if in.Unmarked && who.ceiling < notice.TLPAmberStrict {
		return q, problem(http.StatusForbidden, "low-ceiling", "The token's ceiling is too low",
			"what has no marking counts as AMBER+STRICT, and the token sees up to "+who.ceiling.String(),
			"leave unmarked out, or make a token: watchward token create NAME --ceiling AMBER+STRICT")
	}
	q.Ceiling = min(q.Ceiling, who.ceiling)
	if in.Kind != "" {
		if q.Kind, err = notice.ParseKind(in.Kind); err != nil {
			return q, badQuery("kind", in.Kind, err)
		}
	}
	q.Since, err = since(in.Since)
	return q, err
}

// errStopping ends an export when the server closes.
var errStopping = &Unavailable{"the node is stopping", "try again when it runs"}

// send writes the whole export. Once something was sent, a failure can only be
// told by cutting the connection: a file that is not whole must not look so.
func (s *Server) send(r *http.Request, w http.ResponseWriter, format string, q ExportQuery) {
	out := &lateWriter{streamWriter: s.newStreamWriter(w)}
	e, mediaType := newExporter(format, s.c.Name, out)
	out.mediaType = mediaType
	count, err := s.c.Node.Export(r.Context(), q, func(n intel.Stated) error {
		select {
		case <-s.stopping:
			return errStopping
		default:
			return e.Write(n)
		}
	})
	if err == nil {
		err = e.Close()
	}
	if err == nil {
		var text []byte
		text, err = json.Marshal(count)
		w.Header().Set(ExportTrailer, string(text))
	}
	if err == nil {
		return
	}
	if out.failed != nil { // the server cuts a connection that could not be written
		s.log.Debug("export client dropped", "remote", r.RemoteAddr, "err", out.failed)
		return
	}
	p, internal := problemOf(err)
	if internal != nil {
		s.log.Error("request failed", "operation", "export", "err", internal)
	}
	if out.began {
		panic(http.ErrAbortHandler)
	}
	p.write(w)
}

// A lateWriter sends the header with the first byte, so that what fails before
// can still be a problem.
type lateWriter struct {
	streamWriter
	mediaType string
	began     bool
	failed    error // the client is gone, or takes nothing
}

func (o *lateWriter) Write(b []byte) (int, error) {
	if !o.began {
		o.began = true
		o.w.Header().Set("Content-Type", o.mediaType)
		o.w.Header().Set("Trailer", ExportTrailer)
	}
	n, err := o.streamWriter.Write(b)
	o.failed = err
	return n, err
}
