package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/watchward/watchward/node/notice"
)

// decodeBody runs read over the one value of a body. That the text is broken
// somewhere outweighs a value that is wrong before that place.
func decodeBody(body []byte, read func(r *jsonReader) error) error {
	r, err := newJSONReader(body)
	if err != nil {
		return badJSON(err)
	}
	bad, err := r.tolerate(func() error { return read(r) })
	if err == nil {
		err = r.end()
	}
	if err == nil && bad != nil {
		err = bad
	}
	if err != nil {
		return badJSON(err)
	}
	return nil
}

// parsed reads a text and, with parse, what it stands for. Here and below null
// stands for a field left out.
func (r *jsonReader) parsed(to *string, parse func(string) (string, error)) error {
	if r.null() {
		return nil
	}
	s, err := r.text()
	if err != nil {
		return err
	}
	if parse == nil {
		*to = s
		return nil
	}
	canonical, err := parse(s)
	if err != nil {
		return r.wrong(s, err)
	}
	*to = canonical
	return nil
}

// time reads an RFC 3339 time.
func (r *jsonReader) time(to *Time) error {
	if r.null() {
		return nil
	}
	s, err := r.text()
	if err != nil {
		return err
	}
	t, err := parseTime(s)
	if err != nil {
		return r.wrong(s, err)
	}
	*to = t
	return nil
}

// count reads how often something was seen.
func (r *jsonReader) count(to *uint64) (err error) {
	if !r.null() {
		*to, err = r.uint(countMax)
	}
	return err
}

// wrong reports a value that its parser refused.
func (r *jsonReader) wrong(value string, err error) error {
	var field *notice.FieldError
	if errors.As(err, &field) {
		return r.bad(value, field.Reason, field.Fix)
	}
	return r.bad(value, err.Error(), "")
}

// badJSON turns a reader's error into what the client is told.
func badJSON(err error) error {
	switch e := err.(type) {
	case *badText:
		return problem(http.StatusBadRequest, "bad-json", "Not strict JSON", e.Error(), "send one JSON value in UTF-8, without duplicate keys").
			at(e.location, "")
	case *badValue:
		fix := e.fix
		if fix == "" {
			fix = "see /openapi.json for the fields"
		}
		p := problem(http.StatusUnprocessableEntity, "bad-value", "A value is refused", e.reason, fix)
		return p.at(e.location, e.value)
	}
	return err
}

// badQuery refuses a query parameter.
func badQuery(name, value string, err error) error {
	reason, fix := err.Error(), "see /openapi.json for the parameters"
	var field *notice.FieldError
	if errors.As(err, &field) {
		reason, fix = field.Reason, field.Fix
	}
	return problem(http.StatusUnprocessableEntity, "bad-parameter", "A parameter is refused", reason, fix).at("query."+name, value)
}

// cutPrefix cuts a location's prefix and the dot behind it.
func cutPrefix(location, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(location, prefix)
	return strings.TrimPrefix(rest, "."), ok
}
