// Package taxii is a TAXII 2.1 server (OASIS Standard, 10 June 2021) over a Shelf. It
// knows the protocol and its limits; what there is, and who may see it, the Shelf says.
//
// Only JSON as it is held goes out, page by page in one pass; of what comes in one bad
// object fails alone. Answers to requests are at once: a status is complete when told.
package taxii

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// DefaultPath is where TAXII clients look for a server (section 4.1).
const DefaultPath = "/taxii2/"

// Limits of a server.
const (
	PostBytesDefault = 10 << 20

	postsMax      = 4        // envelopes in memory at once; more wait
	pagesMax      = 32       // pages in memory at once; more wait
	drainBytesMax = 16 << 20 // read of a refused body, see refuse
)

// A Config makes a Server.
type Config struct {
	// Path is that of the discovery, with a slash at both ends; "" = DefaultPath. Whoever
	// mounts the server gives it this path with and without the last slash: to redirect a
	// POST loses it.
	Path string

	Title, Description, Contact string // of the server; Title is required

	// Roots are the API roots, at least one. The first is the default.
	Roots []Root

	// Identify says who asks. Its error goes to the client if it is an *Error, such as
	// 401 with WWW-Authenticate; any other is logged and answered with 500.
	Identify func(*http.Request) (Caller, error)

	PostBytesMax int64            // of one envelope; 0 = PostBytesDefault
	Log          *slog.Logger     // nil = none
	Now          func() time.Time // nil = time.Now
}

// A Root is an API root: a group of collections.
type Root struct {
	Name               string // in its path: small letters, digits and hyphens
	Title, Description string // Title is required
	Shelf              Shelf
}

var rootName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// A Server answers TAXII requests. It is safe for concurrent use, and holds nothing but
// the statuses of the last day, see statuses. The HTTP server around it bounds the time of
// reading, writing and (by the request's context) of the Shelf.
type Server struct {
	c        Config
	statuses *statuses
	posts    chan struct{} // a place for each envelope in memory
	pages    chan struct{} // a place for each page in memory
}

// New returns a Server.
func New(c Config) (*Server, error) {
	if c.Path == "" {
		c.Path = DefaultPath
	}
	if c.PostBytesMax == 0 {
		c.PostBytesMax = PostBytesDefault
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	switch {
	case !strings.HasPrefix(c.Path, "/") || !strings.HasSuffix(c.Path, "/"):
		return nil, fmt.Errorf("taxii: the path %q must start and end with a slash", c.Path)
	case c.Title == "" || c.Identify == nil || len(c.Roots) == 0 || c.PostBytesMax < 0:
		return nil, errors.New("taxii: a title, Identify and an API root are required, and PostBytesMax is not negative")
	}
	names := map[string]bool{}
	for _, r := range c.Roots {
		if !rootName.MatchString(r.Name) || names[r.Name] || r.Title == "" || r.Shelf == nil {
			return nil, fmt.Errorf("taxii: the API root %q needs a name of its own in small letters, a title and a shelf", r.Name)
		}
		names[r.Name] = true
	}
	return &Server{c: c, statuses: newStatuses(), posts: make(chan struct{}, postsMax), pages: make(chan struct{}, pagesMax)}, nil
}

// An exchange is one request, and who asks.
type exchange struct {
	*Server
	w    http.ResponseWriter
	r    *http.Request
	who  Caller
	root *Root
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Vary", "Accept, Authorization")
	x := &exchange{Server: s, w: w, r: r}
	err := x.serve()
	if err == nil {
		return
	}
	var told *Error
	if !errors.As(err, &told) {
		if r.Context().Err() != nil {
			told = refusal(http.StatusServiceUnavailable, "too-slow", "No answer in time", "the request was given up: ask for less, or try again").with("Retry-After", "5")
		} else {
			s.c.Log.Error("TAXII request failed", "token", x.who.Name, "err", err)
			told = refusal(http.StatusInternalServerError, "internal", "Internal error", "the server's log says why")
		}
	}
	x.refuse(told)
}

// refuse answers with an error. A connection closed with an unread body is reset, and the
// client would lose the answer: what comes is read and thrown away, up to a bound.
func (x *exchange) refuse(e *Error) {
	e.write(x.w)
	if x.r.ContentLength == 0 {
		return
	}
	_ = http.NewResponseController(x.w).Flush()
	_, _ = io.Copy(io.Discard, http.MaxBytesReader(innermost(x.w), x.r.Body, drainBytesMax))
}

// innermost returns net/http's own writer. MaxBytesReader tells no other that there is
// more than the bound, and only then is the connection left open for a moment.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = outer.Unwrap()
	}
}

// serve finds out who asks, what for, and whether the answer's type is taken.
func (x *exchange) serve() (err error) {
	if x.who, err = x.c.Identify(x.r); err != nil {
		return err
	}
	h, allowed := x.route()
	switch {
	case h == nil && allowed == "":
		return notFound("no-such-path", "nothing is served at this path: start at "+x.c.Path)
	case !acceptable(x.r.Header):
		return refusal(http.StatusNotAcceptable, "wrong-accept", "Not acceptable", "answers are of one type: send Accept: "+MediaType)
	case h == nil:
		return refusal(http.StatusMethodNotAllowed, "wrong-method", "Method not allowed", shorten(x.r.Method)+" is not for this path: use "+allowed).with("Allow", allowed)
	}
	return h()
}

type handler func() error

// route returns what handles the request; without that, what methods its path has. The
// path is read with and without a slash at its end.
func (x *exchange) route() (h handler, allowed string) {
	path := strings.TrimSuffix(x.r.URL.Path, "/")
	if path == strings.TrimSuffix(x.c.Path, "/") {
		return x.get(x.discovery)
	}
	rest, ok := strings.CutPrefix(path, x.c.Path)
	if !ok {
		return nil, ""
	}
	at := strings.Split(rest, "/")
	i := slices.IndexFunc(x.c.Roots, func(r Root) bool { return r.Name == at[0] })
	if i < 0 || slices.Contains(at, "") {
		return nil, ""
	}
	x.root = &x.c.Roots[i]
	return x.routeIn(at[1:])
}

// routeIn routes within an API root.
func (x *exchange) routeIn(at []string) (h handler, allowed string) {
	switch {
	case len(at) == 0:
		return x.get(x.information)
	case len(at) == 2 && at[0] == "status":
		return x.get(func() error { return x.status(at[1]) })
	case at[0] != "collections":
		return nil, ""
	case len(at) == 1:
		return x.get(x.collections)
	case len(at) == 2:
		return x.get(func() error { return x.collection(at[1]) })
	}
	switch id := at[1]; {
	case len(at) == 3 && at[2] == "manifest":
		return x.get(func() error { return x.page(ofManifest, id, "") })
	case len(at) == 3 && at[2] == "objects":
		if x.r.Method == http.MethodPost {
			return func() error { return x.post(id) }, ""
		}
		h, _ = x.get(func() error { return x.page(ofObjects, id, "") })
		return h, "GET, HEAD, POST"
	case len(at) == 4 && at[2] == "objects":
		if x.r.Method == http.MethodDelete {
			return func() error { return x.delete(id, at[3]) }, ""
		}
		h, _ = x.get(func() error { return x.page(ofObject, id, at[3]) })
		return h, "GET, HEAD, DELETE"
	case len(at) == 5 && at[2] == "objects" && at[4] == "versions":
		return x.get(func() error { return x.page(ofVersions, id, at[3]) })
	}
	return nil, ""
}

func (x *exchange) get(h handler) (handler, string) {
	if x.r.Method == http.MethodGet || x.r.Method == http.MethodHead {
		return h, ""
	}
	return nil, "GET, HEAD"
}

// discovery gives the API roots without a host: a server behind a proxy does not know by
// which one it is reached, and a wrong scheme would send a token in the clear.
func (x *exchange) discovery() error {
	roots := make([]string, len(x.c.Roots))
	for i, r := range x.c.Roots {
		roots[i] = x.c.Path + r.Name + "/"
	}
	answer(x.w, http.StatusOK, struct {
		Title       string   `json:"title"`
		Description string   `json:"description,omitempty"`
		Contact     string   `json:"contact,omitempty"`
		Default     string   `json:"default"`
		Roots       []string `json:"api_roots"`
	}{x.c.Title, x.c.Description, x.c.Contact, roots[0], roots})
	return nil
}

func (x *exchange) information() error {
	answer(x.w, http.StatusOK, struct {
		Title       string   `json:"title"`
		Description string   `json:"description,omitempty"`
		Versions    []string `json:"versions"`
		PostMax     int64    `json:"max_content_length"`
	}{x.root.Title, x.root.Description, []string{MediaType}, x.c.PostBytesMax})
	return nil
}

type collectionResource struct {
	ID          string   `json:"id"`
	Title       string   `json:"title"`
	Description string   `json:"description,omitempty"`
	Alias       string   `json:"alias,omitempty"`
	CanRead     bool     `json:"can_read"`
	CanWrite    bool     `json:"can_write"`
	MediaTypes  []string `json:"media_types"`
}

func (c *Collection) resource() collectionResource {
	return collectionResource{c.ID, c.Title, c.Description, c.Alias, c.CanRead, c.CanWrite, []string{stixMediaType(stixVersion)}}
}

func (x *exchange) collections() error {
	list, err := x.root.Shelf.Collections(x.r.Context(), x.who)
	if err != nil {
		return err
	}
	var body struct {
		Collections []collectionResource `json:"collections,omitempty"`
	}
	for _, c := range list[:min(len(list), CollectionsMax)] {
		body.Collections = append(body.Collections, c.resource())
	}
	answer(x.w, http.StatusOK, body)
	return nil
}

func (x *exchange) collection(id string) error {
	c, err := x.find(id)
	if err != nil {
		return err
	}
	answer(x.w, http.StatusOK, c.resource())
	return nil
}

// find returns a collection by its id or alias.
func (x *exchange) find(id string) (*Collection, error) {
	list, err := x.root.Shelf.Collections(x.r.Context(), x.who)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(c Collection) bool { return c.ID == id || c.Alias != "" && c.Alias == id })
	if i < 0 {
		return nil, notFound("no-such-collection", "no collection "+shorten(id)+" that this token may see: list them at "+x.rootPath()+"collections/")
	}
	return &list[i], nil
}

func (x *exchange) rootPath() string { return x.c.Path + x.root.Name + "/" }

// page answers with objects, a manifest or versions; of one object if there is an id.
func (x *exchange) page(at endpoint, collection, id string) error {
	c, err := x.find(collection)
	if err != nil {
		return err
	}
	if !c.CanRead {
		return forbidden("no-read", "this token may not read the collection "+c.Title)
	}
	r, refused := parseQuery(at, x.r.URL.RawQuery)
	if refused != nil {
		return refused
	}
	if id != "" {
		r.IDs = []string{id}
	}
	here := place{Root: x.root.Name, Endpoint: string(at) + " " + id, Collection: c.ID, Generation: c.Generation, Query: r.Query}
	if r.next != "" {
		position, refused := here.position(r.next)
		if refused != nil {
			return refused
		}
		r.After = max(r.After, position)
	}
	if !enter(x.r.Context(), x.pages) {
		return busy()
	}
	defer func() { <-x.pages }()
	p := newPage()
	defer p.free()
	if err := p.fill(x, at, c.ID, r); err != nil {
		return err
	}
	if id != "" && p.objects == 0 {
		if err := x.exists(c.ID, id); err != nil {
			return err
		}
	}
	p.send(x.w, &here)
	return nil
}

// exists tells an object that the filters leave out from one that is not there.
func (x *exchange) exists(collection, id string) error {
	q := &Query{IDs: []string{id}, All: true}
	for _, err := range x.root.Shelf.Objects(x.r.Context(), x.who, collection, q) {
		return err
	}
	return noSuchObject(id)
}

func noSuchObject(id string) *Error {
	return notFound("no-such-object", "the collection has no object "+shorten(id)+" that this token may see")
}

// enter takes a place, and reports whether there was one in time.
func enter(ctx context.Context, places chan struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	default:
	}
	select {
	case places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (x *exchange) delete(collection, id string) error {
	c, err := x.find(collection)
	if err != nil {
		return err
	}
	if !c.CanRead || !c.CanWrite || !c.CanDelete {
		return forbidden("no-delete", "this token may not delete from the collection "+c.Title)
	}
	r, refused := parseQuery(ofDelete, x.r.URL.RawQuery)
	if refused != nil {
		return refused
	}
	r.IDs = []string{id}
	n, err := x.root.Shelf.Delete(x.r.Context(), x.who, c.ID, &r.Query)
	if err != nil {
		return err
	}
	if n == 0 {
		return noSuchObject(id)
	}
	send(x.w, http.StatusOK, nil)
	return nil
}

// post takes an envelope. Nothing of it is offered before all of it was read.
func (x *exchange) post(collection string) error {
	c, err := x.find(collection)
	if err != nil {
		return err
	}
	switch {
	case !c.CanWrite:
		return forbidden("no-write", "this token may not add to the collection "+c.Title)
	case !readable(x.r.Header):
		return refusal(http.StatusUnsupportedMediaType, "wrong-content-type", "Not a TAXII envelope", "send Content-Type: "+MediaType+" and no Content-Encoding")
	case x.r.ContentLength > x.c.PostBytesMax:
		return bodyTooLarge(x.c.PostBytesMax)
	}
	if !enter(x.r.Context(), x.posts) {
		return busy()
	}
	defer func() { <-x.posts }()
	now := x.c.Now()
	items, refused := readEnvelope(http.MaxBytesReader(innermost(x.w), x.r.Body, x.c.PostBytesMax), stampText(now.UnixMicro()))
	if refused != nil {
		return refused
	}
	s, err := x.offer(c.ID, items, now)
	if err != nil {
		return err
	}
	send(x.w, http.StatusAccepted, x.statuses.keep(s, x.root.Name, x.who.Name, now))
	return nil
}

// offer hands what is well-formed to the shelf and returns what became of everything.
func (x *exchange) offer(collection string, items []item, now time.Time) (*status, error) {
	var offers []Offer
	for _, it := range items {
		if it.bad == "" {
			offers = append(offers, it.Offer)
		}
	}
	var outcomes []Outcome
	var err error
	if len(offers) > 0 {
		outcomes, err = x.root.Shelf.Add(x.r.Context(), x.who, collection, offers)
		if err == nil && len(outcomes) != len(offers) {
			err = fmt.Errorf("%d objects were offered, and something became of %d", len(offers), len(outcomes))
		}
	}
	if err != nil {
		return nil, err
	}
	s := &status{ID: uuid.NewString(), Status: "complete", Requested: stampText(now.UnixMicro()), Total: len(items)}
	for _, it := range items {
		o := Outcome{Message: it.bad}
		if it.bad == "" {
			o, outcomes = outcomes[0], outcomes[1:]
		}
		s.add(it.ID, it.Version, o)
	}
	return s, nil
}

// status answers with what became of a request, to whom made it.
func (x *exchange) status(id string) error {
	body := x.statuses.get(id, x.root.Name, x.who.Name, x.c.Now())
	if body == nil {
		return notFound("no-such-status", "no status "+shorten(id)+" of this token: one is kept for a day at most; send the objects again, which does no harm")
	}
	send(x.w, http.StatusOK, body)
	return nil
}
