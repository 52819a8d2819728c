package taxii

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of a query. Its length is that of a header, which the HTTP server bounds.
const (
	PageMax       = 1000 // objects of a page, also where a client asks for more, or names none
	MatchMax      = 1000 // values of one match[…]
	queryBytesMax = 64 << 10
	valueBytesMax = 256
)

// An endpoint is one of those that take a query.
type endpoint string

const (
	ofObjects  endpoint = "objects"
	ofManifest endpoint = "manifest"
	ofObject   endpoint = "object"
	ofVersions endpoint = "versions"
	ofDelete   endpoint = "delete"
)

// matches are the filters of an endpoint, as the specification has them.
var matches = map[endpoint][]string{
	ofObjects:  {"id", "type", "version", "spec_version"},
	ofManifest: {"id", "type", "version", "spec_version"},
	ofObject:   {"version", "spec_version"},
	ofVersions: {"spec_version"},
	ofDelete:   {"version", "spec_version"},
}

// A request is what the query of a URL asks for.
type request struct {
	Query
	limit int
	next  string // as it came; "" = from the start
}

// parseQuery reads the query of a URL. Parameters that TAXII does not have are ignored,
// but a filter that is not known is not: the answer would hold what was not asked for.
func parseQuery(at endpoint, raw string) (*request, *Error) {
	if len(raw) > queryBytesMax {
		return nil, badRequest("bad-query", fmt.Sprintf("the query is longer than %d bytes: ask for less at once", queryBytesMax))
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badRequest("bad-query", "the query of the URL cannot be read: "+shorten(err.Error()))
	}
	r := &request{limit: PageMax}
	for key, list := range values {
		if p := r.parameter(at, key, list); p != nil {
			return nil, p
		}
	}
	switch {
	case at == ofVersions, at == ofDelete && values["match[version]"] == nil:
		r.All = true
	case values["match[version]"] == nil:
		r.Last = true
	}
	r.Bodies = at == ofObjects || at == ofObject
	return r, nil
}

func (r *request) parameter(at endpoint, key string, list []string) *Error {
	field, isMatch := strings.CutPrefix(key, "match[")
	if !isMatch && (at == ofDelete || key != "limit" && key != "next" && key != "added_after") {
		return nil
	}
	if len(list) > 1 {
		return badRequest("bad-query", shorten(key)+" comes twice: put all values into one, with commas")
	}
	value := list[0]
	if isMatch {
		return r.match(at, strings.TrimSuffix(field, "]"), value)
	}
	switch key {
	case "limit":
		return r.setLimit(value)
	case "next":
		if value == "" {
			return badNext("it is empty")
		}
		r.next = value
	case "added_after":
		after, err := parseTime(value)
		if err != nil {
			return badRequest("bad-added-after", "added_after: "+shorten(value)+" is no timestamp: write it like 2026-01-02T15:04:05.000000Z")
		}
		r.After = max(0, after.UnixMicro())
	}
	return nil
}

// setLimit takes a whole number of at least 1, also one that fits no machine word.
func (r *request) setLimit(value string) *Error {
	digits := strings.TrimLeft(value, "0")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return badRequest("bad-limit", "limit: "+shorten(value)+" is not a whole number of at least 1")
	}
	r.limit = PageMax
	if n, err := strconv.Atoi(digits); err == nil {
		r.limit = min(n, PageMax)
	}
	return nil
}

func (r *request) match(at endpoint, field, value string) *Error {
	if !slices.Contains(matches[at], field) {
		return badRequest("bad-match", "match["+shorten(field)+"] is not for this path: known here are match["+strings.Join(matches[at], "], match[")+"]")
	}
	list := strings.Split(value, ",")
	if len(list) > MatchMax {
		return badRequest("bad-match", fmt.Sprintf("match[%s] has more than %d values: ask in several requests", field, MatchMax))
	}
	for _, v := range list {
		if v == "" || len(v) > valueBytesMax {
			return badRequest("bad-match", fmt.Sprintf("match[%s] has a value that is empty or longer than %d bytes", field, valueBytesMax))
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	switch field {
	case "id":
		r.IDs = list
	case "type":
		r.Types = list
	case "spec_version":
		r.Specs = list
	case "version":
		return r.versions(list)
	}
	return nil
}

func (r *request) versions(list []string) *Error {
	for _, v := range list {
		switch v {
		case "all":
			r.All = true
		case "first":
			r.First = true
		case "last":
			r.Last = true
		default:
			at, err := parseTime(v)
			if err != nil {
				return badRequest("bad-version", "match[version]: "+shorten(v)+" is neither first, last, all nor a timestamp")
			}
			r.Versions = append(r.Versions, at)
		}
	}
	slices.SortFunc(r.Versions, time.Time.Compare)
	r.Versions = slices.CompactFunc(r.Versions, time.Time.Equal)
	return nil
}

// parseTime reads a timestamp of RFC 3339, with or without fractions, in any zone and
// case. A plus that was not encoded has become a space in a query.
func parseTime(s string) (time.Time, error) {
	s = strings.ToUpper(s)
	if len(s) > 6 && s[len(s)-6] == ' ' {
		s = s[:len(s)-6] + "+" + s[len(s)-5:]
	}
	at, err := time.Parse(time.RFC3339Nano, s)
	at = at.UTC()
	if err == nil && (at.Year() < 1 || at.Year() > 9999) { // by its zone
		err = errors.New("out of range")
	}
	return at, err
}

// A place is what a next was given for. Its fields are hashed into the next, so that it
// goes on with nothing else.
type place struct {
	Root, Endpoint, Collection, Generation string
	Query                                  Query
}

const (
	nextBytes  = 8 + nextSum
	nextSum    = 12
	nextDomain = "watchward taxii next 0\n"
)

// next returns the token that goes on behind an added stamp. It holds no secret, and who
// makes one up gets what added_after gives: the hash is there to find mistakes.
func (p *place) next(stamp int64) string {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, nextBytes), uint64(stamp))
	return base64.RawURLEncoding.EncodeToString(append(b, p.sum(b)...))
}

func (p *place) sum(stamp []byte) []byte {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // plain texts and times up to the year 9999
	}
	h := sha256.New()
	h.Write([]byte(nextDomain))
	h.Write(stamp)
	h.Write(text)
	return h.Sum(nil)[:nextSum]
}

// position returns the added stamp that a token goes on behind.
func (p *place) position(next string) (int64, *Error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(next)
	if err != nil || len(b) != nextBytes {
		return 0, badNext("it was not given by this server")
	}
	if string(p.sum(b[:8])) != string(b[8:]) {
		return 0, badNext("it is of another collection or other filters, or the collection was made anew: repeat all filters beside it")
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

func badNext(why string) *Error {
	return badRequest("bad-next", "next: "+why+"; or start again with added_after, the X-TAXII-Date-Added-Last of the last page that came")
}
