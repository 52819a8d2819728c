package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/notice"
)

// Bounds of bundles: words in a file, to be carried where the network does not go.
const (
	BundlePartMin     = 1 << 20          // bytes of a part; more when it is sealed for many
	BundlePartMax     = 4<<30 - 1        // what a FAT32 stick takes as one file
	BundlePartDefault = int64(512) << 20 // bytes
	BundleBytesMax    = int64(64) << 30  // of one POST: several parts one after the other
	BundlePartsMax    = 10_000           // parts of one POST
	BundleRefusedMax  = 1_000            // refusals named in an answer; all are counted
	BundleAuthorsMax  = 1_000            // authors named in the answer of a dry run
	bundlesMax        = 2                // exports and imports at once; more get 503
	BundleType        = "application/vnd.watchward.bundle"
	BundleTrailer     = "Watchward-Bundle" // of GET: a BundlePart in JSON
)

// BundleQuery selects what one part of a bundle carries.
type BundleQuery struct {
	Audience crypto.Audience // community, in clear; or region, sealed
	To       []string        // region: names or ids of the members to seal for; none = all
	Since    int64           // ms of local arrival; 0 = everything
	Kind     notice.Kind     // with at least one such notice; 0 = all
	Mine     bool            // only this node's own
	Ceiling  notice.TLP
	Created  int64  // ms; the same in all parts of an export
	Part     uint32 // from 1
	After    uint64 // where the part before ended
	Size     int64  // bytes, at most
}

// BundlePart says what a part carries, at the end of GET /v1/bundle.
type BundlePart struct {
	Notices   int64    `json:"notices"`
	Expired   int64    `json:"expired"`              // of which only the proof is left that they were said
	Authors   int      `json:"authors"`              // members whose words they are
	SealedFor int      `json:"sealed_for,omitempty"` // members that can open it
	Left      []string `json:"left_out,omitempty"`   // members for whom nobody can seal
	Next      uint64   `json:"next,omitempty"`       // after of the next part; 0 = this is the last
}

// BundleAnswer says what an import found. Numbers are of notices.
type BundleAnswer struct {
	Read         int64           `json:"read" doc:"Notices found"`
	Taken        int64           `json:"taken" doc:"Stored now"`
	Known        int64           `json:"known" doc:"Stored before"`
	Expired      int64           `json:"expired" doc:"Expired: only the proof that they were said was stored"`
	Held         int64           `json:"held" doc:"From the future: their author's clock is ahead of this node's; they wait for their time"`
	Refused      []BundleRefused `json:"refused" doc:"What was not taken, and why; at most 1,000"`
	RefusedCount int64           `json:"refused_count" doc:"All that was refused"`
	Unknown      []BundleUnknown `json:"unknown" doc:"Authors whose credential is neither here nor in the bundle"`
	NewMembers   int             `json:"new_members" doc:"Members that this node heard of by it"`
	Parts        []BundleRead    `json:"parts" doc:"The parts that were read"`
	Authors      []BundleAuthor  `json:"authors,omitempty" doc:"Of a dry run: whose notices would be stored, within the token's ceiling; at most 1,000"`
	Contents     []BundleContent `json:"contents,omitempty" doc:"Of a dry run: what would be stored, by kind and marking, within the token's ceiling"`
	Broken       string          `json:"broken,omitempty" doc:"Why and where reading stopped; what came before was taken"`
}

// BundleRefused is one thing that was not taken.
type BundleRefused struct {
	At     string `json:"at" doc:"Its place: part 1, byte 4711"`
	Value  string `json:"value" doc:"Whose it says it is"`
	Reason string `json:"reason" doc:"Why"`
}

// BundleUnknown is an author whose credential is missing.
type BundleUnknown struct {
	Member  string `json:"member" doc:"Its id"`
	Notices int64  `json:"notices" doc:"Its notices in the bundle"`
}

// BundleAuthor is a member whose notices a bundle would bring.
type BundleAuthor struct {
	Member  string `json:"member" doc:"Its id"`
	Name    string `json:"name"`
	Notices int64  `json:"notices"`
}

// BundleContent is how much of a kind and marking a bundle would bring.
type BundleContent struct {
	Kind    string `json:"kind"`
	TLP     string `json:"tlp"`
	Notices int64  `json:"notices"`
}

// BundleRead is a part that was read.
type BundleRead struct {
	Created  Time   `json:"created" doc:"When the export began: the same in all its parts"`
	Audience string `json:"audience" doc:"community or region"`
	Part     uint32 `json:"part" doc:"Its number, from 1"`
	More     bool   `json:"more" doc:"The export has further parts"`
}

type exportBundleInput struct {
	Audience string   `query:"audience" enum:"community,region" default:"community" doc:"community: in clear, up to GREEN; region: also AMBER, sealed for members of the region"`
	To       []string `query:"to,explode" maxItems:"100" doc:"region: name or id of a member to seal for; repeat it. None: all members of the region"`
	Since    string   `query:"since" doc:"What arrived here at or after this time"`
	Kind     string   `query:"kind" doc:"Only what holds a notice of this kind"`
	Mine     bool     `query:"mine" doc:"Only what this hospital said"`
	Created  string   `query:"created" doc:"Time of the first part; default: now"`
	Part     uint32   `query:"part" minimum:"1" default:"1" doc:"Number of the part"`
	After    uint64   `query:"after" doc:"next of the part before"`
	Size     int64    `query:"size" minimum:"1048576" maximum:"4294967295" default:"536870912" doc:"Bytes of the part, at most"`
}

// registerBundle adds both routes. Whoever may read a notice may also carry it,
// and whoever may report may bring what others have signed: nothing is believed
// that its author did not sign. Neither has a time limit, only one of progress:
// sticks are slow, and stall for seconds.
func (s *Server) registerBundle() {
	export := answering(get("export-bundle", "/v1/bundle", "One part of a bundle: signed notices in a file, for a node that the network does not reach"), BundleType, nil)
	export.Description = "Carries notices as their authors signed them, nothing above the token's ceiling; the region audience needs a ceiling of AMBER. " +
		"The trailer " + BundleTrailer + " is a JSON object that says what the part holds and, in next, where the following part begins."
	export.Responses["204"] = &huma.Response{Description: "Nothing to export, or no more"}
	add(s, route{need: token.Reader, stream: true}, export, s.exportBundle)
	take := answering(operation(http.MethodPost, "import-bundle", "/v1/bundle", "Take in a bundle: one part, or several one after the other"), "application/json", s.schema(BundleAnswer{}))
	take.Description = "Each notice is verified as if it had come from a peer. What cannot be taken is named in refused and stops nothing; broken says where the file ends too early. " +
		"422: it is no bundle, of another region, or sealed for others. Importing it again takes nothing. " +
		"With dry_run, taken says what would be stored, authors and contents whose and what it is, and nothing is."
	take.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{BundleType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}}
	add(s, route{need: token.Reporter, stream: true}, take, s.importBundle)
}

func (s *Server) exportBundle(ctx context.Context, in *exportBundleInput) (*huma.StreamResponse, error) {
	q := BundleQuery{
		Audience: crypto.AudienceCommunity, To: in.To, Mine: in.Mine, Part: in.Part, After: in.After, Size: in.Size,
		Ceiling: callerOf(ctx).ceiling,
	}
	if in.Audience == crypto.AudienceRegion.String() {
		q.Audience = crypto.AudienceRegion
	}
	if q.Audience == crypto.AudienceRegion && !notice.Leaves(notice.TLPAmber, q.Audience, notice.ExitBundle, q.Ceiling) {
		return nil, problem(http.StatusForbidden, "low-ceiling", "The token's ceiling is too low",
			fmt.Sprintf("the token sees up to %s; what is for the region needs AMBER", q.Ceiling), "export the community audience, or make a token: watchward token create NAME --ceiling AMBER")
	}
	if len(q.To) > 0 && q.Audience != crypto.AudienceRegion {
		return nil, badQuery("to", q.To[0], errors.New("what is for the community is not sealed: it may be carried by anybody"))
	}
	var err error
	if q.Since, err = since(in.Since); err != nil {
		return nil, err
	}
	if in.Created != "" {
		created, err := parseTime(in.Created)
		if err != nil {
			return nil, badQuery("created", in.Created, err)
		}
		q.Created = int64(created)
	}
	if in.Kind != "" {
		if q.Kind, err = notice.ParseKind(in.Kind); err != nil {
			return nil, badQuery("kind", in.Kind, err)
		}
	}
	return s.carry(s.bundles, tooMany("bundles", "bundles are being written or read", bundlesMax), func(ctx context.Context, r *http.Request, w http.ResponseWriter) *Problem {
		out := &bundleWriter{w: w, rc: http.NewResponseController(w), timeout: s.c.Limits.Answer}
		_ = out.rc.SetReadDeadline(time.Time{}) // the request is read
		part, err := s.c.Node.ExportBundle(ctx, out, q)
		switch {
		case err != nil && !out.began:
			s.bundleProblem("export-bundle", err).write(w)
		case err != nil:
			s.log.Warn("a bundle was cut off", "remote", r.RemoteAddr, "err", err)
			panic(http.ErrAbortHandler) // so that the client can tell
		case !out.began:
			w.WriteHeader(http.StatusNoContent)
		default:
			if err := out.finish(part); err != nil {
				panic(http.ErrAbortHandler)
			}
		}
		return nil
	}), nil
}

type importBundleInput struct {
	DryRun bool `query:"dry_run" doc:"Check everything, store nothing"`
}

func (s *Server) importBundle(c context.Context, q *importBundleInput) (*huma.StreamResponse, error) {
	ceiling := callerOf(c).ceiling
	return s.carry(s.bundles, tooMany("bundles", "bundles are being written or read", bundlesMax), func(ctx context.Context, r *http.Request, w http.ResponseWriter) *Problem {
		rc := http.NewResponseController(w)
		_ = rc.SetWriteDeadline(time.Time{}) // it is set anew before the answer
		in := &bundleReader{ctx: ctx, r: http.MaxBytesReader(w, r.Body, BundleBytesMax), rc: rc, timeout: s.c.Limits.Answer}
		var answer BundleAnswer
		var err error
		if q.DryRun {
			answer, err = s.c.Node.CheckBundle(ctx, in, ceiling)
		} else {
			answer, err = s.c.Node.ImportBundle(ctx, in)
		}
		var body []byte
		if err != nil && in.cut {
			err = errCutOff
		}
		if err == nil {
			answer.Refused, answer.Unknown, answer.Parts = list(answer.Refused), list(answer.Unknown), list(answer.Parts)
			body, err = json.Marshal(answer)
		}
		_ = rc.SetWriteDeadline(time.Now().Add(s.c.Limits.StreamWrite))
		if err != nil {
			return s.bundleProblem("import-bundle", err)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(body, '\n')) // nobody is left to tell when the client is gone
		return nil
	}), nil
}

// tooMany is the problem that a kind of large request meets when all its places are taken.
func tooMany(what, busy string, most int) *Problem {
	return problem(http.StatusServiceUnavailable, "too-many-"+what, "Too many "+what, fmt.Sprintf("%d %s", most, busy), "try again when one is done").with("Retry-After", "10")
}

// carry runs one large request, of which few may be under way: as many as there are
// places. It ends with the request or the server. What do returns is answered when its
// place is free, since reading on what was refused takes time.
func (s *Server) carry(places chan struct{}, busy *Problem, do func(context.Context, *http.Request, http.ResponseWriter) *Problem) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		select {
		case places <- struct{}{}:
		default:
			refuse(w, r, busy)
			return
		}
		free := sync.OnceFunc(func() { <-places })
		defer free()
		ctx, cancel := context.WithCancel(r.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			select {
			case <-s.stopping:
				cancel()
			case <-ctx.Done():
			}
		}()
		defer func() { cancel(); <-done }()
		ended := context.AfterFunc(ctx, func() { // a read that waits must not outlive the server
			_ = http.NewResponseController(w).SetReadDeadline(time.Now())
		})
		defer ended()
		if p := do(ctx, r, w); p != nil {
			free()
			refuse(w, r, p)
		}
	}}
}

// bundleProblem is what the client is told of an error.
func (s *Server) bundleProblem(operation string, err error) *Problem {
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return problem(http.StatusRequestEntityTooLarge, "body-too-large", "Body too large",
			fmt.Sprintf("the bundle is larger than %d GiB", BundleBytesMax>>30), "import its parts one by one").at("body", "")
	}
	if errors.Is(err, errCutOff) {
		return problem(http.StatusBadRequest, "cut-off", "The body is cut off",
			"the connection broke or was too slow while the bundle was read", "import it again: it goes on where it was").at("body", "")
	}
	p, internal := problemOf(err)
	if internal != nil {
		s.log.Error("request failed", "operation", operation, "err", internal)
	}
	return p
}

// errCutOff says that a body could not be read to its end.
var errCutOff = errors.New("the body is cut off")

// bundleWriter sends a part, each write under its own deadline, so that a slow
// client is served and a dead one is not. The header goes with the first write.
type bundleWriter struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	timeout time.Duration
	began   bool
}

func (o *bundleWriter) Write(p []byte) (int, error) {
	if !o.began {
		o.began = true
		h := o.w.Header()
		h.Set("Content-Type", BundleType)
		h.Set("Trailer", BundleTrailer)
	}
	if err := o.rc.SetWriteDeadline(time.Now().Add(o.timeout)); err != nil {
		return 0, err
	}
	return o.w.Write(p)
}

func (o *bundleWriter) finish(part BundlePart) error {
	text, err := json.Marshal(part)
	if err != nil {
		return err
	}
	o.w.Header().Set(BundleTrailer, string(text))
	return nil
}

// bundleReader reads a body, each read under its own deadline.
type bundleReader struct {
	ctx     context.Context
	r       io.Reader
	rc      *http.ResponseController
	timeout time.Duration
	cut     bool // the body could not be read to its end, which also ends ctx
}

func (i *bundleReader) Read(p []byte) (int, error) {
	if err := i.rc.SetReadDeadline(time.Now().Add(i.timeout)); err != nil {
		return 0, err
	}
	if err := i.ctx.Err(); err != nil {
		_ = i.rc.SetReadDeadline(time.Now()) // as carry has set it, perhaps before
		return 0, err
	}
	n, err := i.r.Read(p)
	var over *http.MaxBytesError
	if err != nil && !errors.Is(err, io.EOF) && !errors.As(err, &over) {
		i.cut, err = true, errCutOff
	}
	return n, err
}
