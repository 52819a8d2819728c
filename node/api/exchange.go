package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/misp"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/taxii"
)

const (
	taxiiPath = taxii.DefaultPath
	mispPath  = "/misp/"
)

// An Exchange is what other programs fetch by themselves, and bring.
type Exchange interface {
	taxii.Shelf
	// Events is the feed of MISP for whoever sees up to a ceiling.
	Events(ceiling notice.TLP) misp.Shelf
}

// exchange serves what other programs fetch. They know tokens as bearers, and as
// passwords.
type exchange struct {
	s     *Server
	taxii http.Handler // nil = off
	misp  http.Handler // nil = off
}

func newExchange(s *Server) (*exchange, error) {
	x := &exchange{s: s}
	c := &s.c
	if c.TAXII {
		server, err := taxii.New(taxii.Config{
			Title: "Watchward: " + c.Name, Description: "What this hospital and its region tell one another.",
			Roots:    []taxii.Root{{Name: "watchward", Title: c.Name, Shelf: c.Exchange}},
			Identify: x.identify, PostBytesMax: c.BodyMax, Log: c.Log,
		})
		if err != nil {
			return nil, err
		}
		x.taxii = server
	}
	if c.MISP {
		x.misp = http.StripPrefix(mispPath, misp.NewHandler(misp.HandlerConfig{
			Shelf: func(r *http.Request) misp.Shelf { return c.Exchange.Events(callerOf(r.Context()).ceiling) }, Log: c.Log,
		}))
	}
	return x, nil
}

// handles returns what serves a path, and the name of the route; nil if none does.
func (x *exchange) handles(path string) (h http.Handler, route string) {
	switch {
	case strings.HasPrefix(path+"/", taxiiPath):
		if x.taxii == nil {
			return notServed("TAXII", "exchange.taxii"), "taxii"
		}
		return x.taxii, "taxii"
	case strings.HasPrefix(path+"/", mispPath):
		if x.misp == nil {
			return notServed("a feed for MISP", "exchange.misp"), "misp"
		}
		return http.HandlerFunc(x.serveMISP), "misp"
	}
	return nil, ""
}

func notServed(what, key string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		problem(http.StatusNotFound, "not-served", "Not served", what+" is not served by this node", "set "+key+" = true in its configuration and restart it").write(w)
	})
}

// serve serves within the time that every answer has.
func (x *exchange) serve(w http.ResponseWriter, r *http.Request, h http.Handler) {
	ctx, cancel := context.WithTimeout(r.Context(), x.s.c.Limits.Answer)
	defer cancel()
	h.ServeHTTP(w, r.WithContext(ctx))
}

func (x *exchange) serveMISP(w http.ResponseWriter, r *http.Request) {
	who, p := x.s.guard.identify(asBearer(r))
	if p != nil {
		x.s.guard.deny(w, r, p.with("WWW-Authenticate", `Basic realm="watchward", charset="UTF-8"`), "misp")
		return
	}
	x.misp.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, who)))
}

// identify implements taxii.Config.Identify.
func (x *exchange) identify(r *http.Request) (taxii.Caller, error) {
	who, p := x.s.guard.identify(asBearer(r))
	if p == nil {
		return taxii.Caller{Name: who.name, Role: who.role, Ceiling: who.ceiling}, nil
	}
	x.s.guard.denied(r, p, "taxii")
	e := &taxii.Error{Status: p.Status, Code: p.Word(), Title: p.Title, Description: p.Detail + ": " + p.Fix, Header: http.Header{}}
	if p.Status == http.StatusUnauthorized {
		e.Header.Set("WWW-Authenticate", `Basic realm="watchward", charset="UTF-8"`)
	}
	return taxii.Caller{}, e
}

// asBearer returns a request whose token is a bearer token: TAXII's clients send it as a
// password, with any name, or as a Token.
func asBearer(r *http.Request) *http.Request {
	secret := ""
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if user, password, ok := r.BasicAuth(); ok {
		if secret = password; token.WellFormed(user) {
			secret = user
		}
	} else if strings.EqualFold(scheme, "Token") {
		secret = rest
	}
	if secret == "" || len(r.Header.Values("Authorization")) > 1 {
		return r
	}
	c := *r
	c.Header = r.Header.Clone()
	c.Header.Set("Authorization", "Bearer "+secret)
	return &c
}
