package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// Limits of what a server says it has; more is an error.
const (
	RootsMax       = 100
	CollectionsMax = 1000 // of an API root
)

// A Collection is what a server calls one. Texts are fit to be shown.
type Collection struct {
	Root  string // URL of its API root
	ID    string
	Alias string // stands for the id in paths; "" = none
	Title string

	CanRead, CanWrite bool

	ContentMax int64 // bytes of a POST that its API root takes; 0 = it does not say
}

// Collections returns those of the API root at Config.URL, or of all roots that a
// discovery there names, the default first. Roots that cannot be read are left out; the
// error says so, beside the collections of the others.
func (c *Client) Collections(ctx context.Context) ([]Collection, error) {
	var d struct {
		Title    string          `json:"title"`
		Default  string          `json:"default"`
		Roots    []string        `json:"api_roots"`
		Versions json.RawMessage `json:"versions"` // of an API root
		Max      int64           `json:"max_content_length"`
	}
	if err := c.resource(ctx, c.base, &d); err != nil {
		return nil, err
	}
	if len(d.Roots) == 0 && d.Default != "" {
		d.Roots = []string{d.Default}
	}
	switch {
	case len(d.Roots) > RootsMax:
		return nil, refusal(c.base, http.StatusOK, fmt.Sprintf("it names more than %d API roots: set the url to the one that is meant", RootsMax))
	case len(d.Roots) > 0:
		return c.rootsCollections(ctx, d.Default, d.Roots)
	case d.Versions != nil:
		return c.collections(ctx, c.base, d.Max)
	case d.Title != "":
		return nil, refusal(c.base, http.StatusOK, "its discovery names no API root: look at the credentials, and at what they may see")
	}
	return nil, refusal(c.base, http.StatusOK, "it is neither a discovery nor an API root: look at the url, which mostly ends in /taxii2/")
}

func (c *Client) rootsCollections(ctx context.Context, first string, roots []string) (all []Collection, err error) {
	var faults []error
	seen := map[string]bool{}
	for _, ref := range append([]string{first}, roots...) {
		if ref == "" {
			continue
		}
		u, inside := c.within(c.base, ref)
		if !inside {
			fault := refusal(c.base, http.StatusOK, "its API root "+show(ref)+" is on another server, where the credentials do not go: if it is meant, set the url to it")
			if !seen[ref] {
				faults = append(faults, fault)
			}
			seen[ref] = true
			continue
		}
		if slashed(u); seen[u.String()] {
			continue
		}
		seen[u.String()] = true
		var root struct {
			Max int64 `json:"max_content_length"`
		}
		if err := c.resource(ctx, u, &root); err != nil {
			faults = append(faults, err)
			continue
		}
		some, err := c.collections(ctx, u, root.Max)
		if err != nil {
			faults = append(faults, err)
		}
		all = append(all, some...)
	}
	return all, errors.Join(faults...)
}

// identifier is what a collection's id may be: a UUID by the specification, any word on
// some servers, but never a path.
var identifier = regexp.MustCompile(`^[A-Za-z0-9_~:@-][A-Za-z0-9._~:@-]{0,199}$`)

func (c *Client) collections(ctx context.Context, root *url.URL, contentMax int64) (all []Collection, err error) {
	var r struct {
		Collections []struct {
			ID       string `json:"id"`
			Alias    string `json:"alias"`
			Title    string `json:"title"`
			CanRead  bool   `json:"can_read"`
			CanWrite bool   `json:"can_write"`
		} `json:"collections"`
	}
	u := root.JoinPath("collections/")
	if err := c.resource(ctx, u, &r); err != nil {
		return nil, err
	}
	if len(r.Collections) > CollectionsMax {
		return nil, refusal(u, http.StatusOK, fmt.Sprintf("it has more than %d collections", CollectionsMax))
	}
	for _, one := range r.Collections {
		if !identifier.MatchString(one.ID) {
			continue // it cannot be asked for
		}
		all = append(all, Collection{
			Root: root.String(), ID: one.ID, Alias: show(one.Alias), Title: show(one.Title),
			CanRead: one.CanRead, CanWrite: one.CanWrite, ContentMax: max(0, contentMax),
		})
	}
	return all, nil
}

// Collection returns the one with this id, alias or title.
func (c *Client) Collection(ctx context.Context, name string) (Collection, error) {
	all, err := c.Collections(ctx)
	for _, by := range []func(*Collection) string{
		func(o *Collection) string { return o.ID }, func(o *Collection) string { return o.Alias }, func(o *Collection) string { return o.Title },
	} {
		var found []Collection
		for i := range all {
			if strings.EqualFold(by(&all[i]), name) && name != "" {
				found = append(found, all[i])
			}
		}
		switch {
		case len(found) == 1:
			return found[0], nil
		case len(found) > 1:
			return Collection{}, fmt.Errorf("%s: %d collections are called %s: name one by its id, or set the url to its API root", c.base.Host, len(found), show(name))
		}
	}
	if err != nil {
		return Collection{}, err
	}
	var has []string
	for _, o := range all {
		has = append(has, o.ID)
	}
	return Collection{}, fmt.Errorf("%s has no collection %s that the credentials may see: it has %s", c.base.Host, show(name), show(strings.Join(has, " ")+" "))
}

// resource reads a small resource into to.
func (c *Client) resource(ctx context.Context, u *url.URL, to any) error {
	a, err := c.do(ctx, request{method: http.MethodGet, url: u, max: resourceMax})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(a.body, to); err != nil {
		return refusal(u, a.status, "its answer is not what TAXII 2.1 has here: "+show(err.Error()))
	}
	return nil
}

// at is a path of a collection, checked: a Collection may have been kept for long.
func (c *Client) at(o Collection, path string) (*url.URL, error) {
	root, inside := c.within(c.base, o.Root)
	if !inside || !identifier.MatchString(o.ID) {
		return nil, fmt.Errorf("%s: the collection %s is not of this server: ask for its collections anew", c.base.Host, show(o.ID))
	}
	return root.JoinPath("collections", o.ID, path), nil
}
