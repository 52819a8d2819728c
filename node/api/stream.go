package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Bounds of the live stream.
const (
	streamsMax      = 64 // open at once; more get 503
	streamEventsMax = 4  // events held for one client; an event is one envelope at most
)

type streamInput struct {
	LastEventID string `header:"Last-Event-ID" maxLength:"20" doc:"Go on after this event; sent by clients that reconnect"`
	After       string `query:"after" maxLength:"20" doc:"The same for clients that cannot set the header; 0: everything stored"`
}

// stream sends each notice as an event "notice". Only the last notice of an
// event of the node carries an id, so that a client cut off in the middle gets
// the whole event again: twice is harmless, never is not.
//
// A client that does not take what is written within the limit is dropped; it
// reconnects and goes on where it was, and the node held four events for it.
func (s *Server) stream(ctx context.Context, in *streamInput) (*huma.StreamResponse, error) {
	after, err := startAfter(in)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		if s.occupy(w) {
			defer func() { <-s.streams }()
			s.follow(r, w, after)
		}
	}}, nil
}

// occupy takes a place for a stream, or says that there is none.
func (s *Server) occupy(w http.ResponseWriter) bool {
	select {
	case s.streams <- struct{}{}:
		return true
	default:
		problem(http.StatusServiceUnavailable, "too-many-streams", "Too many streams",
			strconv.Itoa(streamsMax)+" streams are open", "close one, or share one stream between programs").with("Retry-After", "10").write(w)
		return false
	}
}

func startAfter(in *streamInput) (uint64, error) {
	location, text := "header.Last-Event-ID", in.LastEventID
	if text == "" {
		location, text = "query.after", in.After
	}
	if text == "" {
		return FromNow, nil
	}
	after, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, problem(http.StatusUnprocessableEntity, "bad-parameter", "Not an event id", "an event id is a whole number",
			"send the id of the last event, or leave it out").at(location, text)
	}
	return after, nil
}

// follow runs the node's Follow beside the writing, so that a slow client fills
// a bounded channel and not the node.
func (s *Server) follow(r *http.Request, w http.ResponseWriter, after uint64) {
	ctx, cancel := context.WithCancel(r.Context())
	events := make(chan Event, streamEventsMax)
	ended := make(chan error, 1)
	go func() {
		ended <- s.c.Node.Follow(ctx, after, callerOf(ctx).ceiling, func(e Event) error {
			select {
			case events <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	running := true
	defer func() {
		cancel()
		if running {
			<-ended
		}
	}()
	out := &eventWriter{streamWriter: s.newStreamWriter(w)}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // proxies that buffer would hold alerts back
	err := out.send([]byte(": watchward\n\n"))
	beat := time.NewTicker(s.c.Limits.Heartbeat)
	defer beat.Stop()
	for err == nil {
		select {
		case e := <-events:
			err = out.event(e)
		case <-beat.C:
			err = out.send([]byte(": alive\n\n"))
		case failed := <-ended:
			running = false
			if ctx.Err() == nil {
				s.log.Error("stream ended", "err", failed)
			}
			return
		case <-s.stopping:
			return
		case <-ctx.Done():
			return
		}
	}
	s.log.Debug("stream client dropped", "remote", r.RemoteAddr, "err", err)
}

// A streamWriter writes an answer that has no limit of time, each write under a
// deadline of its own.
type streamWriter struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	timeout time.Duration
}

func (s *Server) newStreamWriter(w http.ResponseWriter) streamWriter {
	out := streamWriter{w: w, rc: http.NewResponseController(w), timeout: s.c.Limits.StreamWrite}
	_ = out.rc.SetReadDeadline(time.Time{}) // the request is read; its limit must not end the stream
	return out
}

func (o streamWriter) Write(b []byte) (int, error) {
	if err := o.rc.SetWriteDeadline(time.Now().Add(o.timeout)); err != nil {
		return 0, err
	}
	return o.w.Write(b)
}

// eventWriter writes server-sent events (WHATWG HTML, section 9.2).
type eventWriter struct {
	streamWriter
	buf []byte
}

func (o *eventWriter) event(e Event) error {
	if len(e.Notices) == 0 { // an id without data sets the position and is no event
		o.buf = strconv.AppendUint(append(o.buf[:0], "id: "...), e.Seq, 10)
		return o.send(append(o.buf, "\n\n"...))
	}
	for i := range e.Notices {
		data, err := json.Marshal(&e.Notices[i])
		if err != nil {
			return err
		}
		o.buf = append(o.buf[:0], "event: notice\n"...)
		if i == len(e.Notices)-1 {
			o.buf = strconv.AppendUint(append(o.buf, "id: "...), e.Seq, 10)
			o.buf = append(o.buf, '\n')
		}
		o.buf = append(append(append(o.buf, "data: "...), data...), "\n\n"...)
		if _, err := o.Write(o.buf); err != nil {
			return err
		}
	}
	return o.rc.Flush()
}

func (o *eventWriter) send(b []byte) error {
	if _, err := o.Write(b); err != nil {
		return err
	}
	return o.rc.Flush()
}
