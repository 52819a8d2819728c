package api

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/notice"
)

// DocumentsNode is the part of Node that keeps documents: files that advisories name.
type DocumentsNode interface {
	// PutDocument keeps what r has, and returns when it is durable.
	PutDocument(ctx context.Context, r io.Reader) (DocumentAnswer, error)
	// Document returns a file by its SHA-256, 64 hexadecimal digits. What nothing names
	// that the ceiling lets be known is not found, unless it was put here and is named by
	// nothing: then it counts as AMBER+STRICT. What is named and has not come yet is an
	// *Unavailable.
	Document(ctx context.Context, sha256 string, ceiling notice.TLP) (DocumentFile, bool, error)
}

// DocumentAnswer says how a notice names a document.
type DocumentAnswer struct {
	SHA256 string `json:"sha256" doc:"Its id"`
	Size   uint32 `json:"size" doc:"In bytes"`
}

// DocumentFile is a document with the name that a notice gives it, "" if there is none.
type DocumentFile struct {
	Content []byte
	Name    string
}

// documentsMax is how many documents are put at once; more get 503.
const documentsMax = 8

// documentPolicy is what a browser may do with a document that somebody has saved: nothing.
const documentPolicy = "default-src 'none'; frame-ancestors 'none'; sandbox"

func (s *Server) registerDocuments() {
	binary := map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}
	put := answering(operation(http.MethodPost, "put-document", "/v1/documents", "Keep a file of up to 8 MiB, which an advisory can name then"), "application/json", s.schema(DocumentAnswer{}))
	put.Description = "The body is the file, whatever it is. What no advisory names makes room for others in time."
	put.RequestBody = &huma.RequestBody{Required: true, Content: binary}
	add(s, route{need: token.Reporter, stream: true}, put, s.putDocument)
	fetch := answering(get("get-document", "/v1/documents/{sha256}", "A document that an advisory names, as an attachment"), "application/octet-stream", binary["application/octet-stream"].Schema)
	fetch.Description = "Nobody has looked into it: its author may be somebody who was broken into. 503: it has not come yet."
	add(s, route{need: token.Reader}, fetch, s.getDocument)
}

func (s *Server) putDocument(context.Context, *struct{}) (*huma.StreamResponse, error) {
	return s.carry(s.documents, tooMany("documents", "documents are being put", documentsMax), func(ctx context.Context, r *http.Request, w http.ResponseWriter) *Problem {
		if r.ContentLength > notice.DocumentMax {
			return documentTooLarge()
		}
		rc := http.NewResponseController(w)
		_ = rc.SetWriteDeadline(time.Time{}) // it is set anew before the answer
		in := &bundleReader{ctx: ctx, r: http.MaxBytesReader(w, r.Body, notice.DocumentMax), rc: rc, timeout: s.c.Limits.Answer}
		answer, err := s.c.Node.PutDocument(ctx, in)
		_ = rc.SetWriteDeadline(time.Now().Add(s.c.Limits.StreamWrite))
		var over *http.MaxBytesError
		switch {
		case errors.As(err, &over):
			return documentTooLarge()
		case in.cut:
			return problem(http.StatusBadRequest, "cut-off", "The body is cut off",
				"the connection broke or was too slow while the document was read", "send it again").at("body", "")
		case err != nil:
			p, internal := problemOf(err)
			if internal != nil {
				s.log.Error("request failed", "operation", "put-document", "err", internal)
			}
			return p
		}
		body, err := json.Marshal(answer)
		if err != nil {
			return internalProblem()
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(append(body, '\n')) // nobody is left to tell when the client is gone
		return nil
	}), nil
}

func documentTooLarge() *Problem {
	return problem(http.StatusRequestEntityTooLarge, "body-too-large", "Document too large",
		fmt.Sprintf("a document has at most %d MiB", notice.DocumentMax>>20), "split it, or give a link to it in the text").at("body", "")
}

type documentInput struct {
	SHA256 string `path:"sha256" maxLength:"64" doc:"64 hexadecimal digits"`
}

type documentOutput struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	Length      int    `header:"Content-Length" hidden:"true"`
	Disposition string `header:"Content-Disposition" hidden:"true"`
	Policy      string `header:"Content-Security-Policy" hidden:"true"`
	Body        []byte
}

func (s *Server) getDocument(ctx context.Context, in *documentInput) (*documentOutput, error) {
	id := strings.ToLower(in.SHA256)
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != 32 {
		return nil, problem(http.StatusUnprocessableEntity, "bad-parameter", "Not a SHA-256", "a SHA-256 has 64 hexadecimal digits", "watchward show ID lists an advisory's documents").at("path.sha256", in.SHA256)
	}
	f, found, err := s.c.Node.Document(ctx, id, callerOf(ctx).ceiling)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, problem(http.StatusNotFound, "no-such-document", "No such document", "no advisory that you may see names a document with this SHA-256",
			"watchward list advisory shows those that are known").at("path.sha256", id)
	}
	name := f.Name
	if name == "" {
		name = id[:16]
	}
	return &documentOutput{
		ContentType: "application/octet-stream", Length: len(f.Content), Policy: documentPolicy,
		Disposition: mime.FormatMediaType("attachment", map[string]string{"filename": name}), Body: f.Content,
	}, nil
}
