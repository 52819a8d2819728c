package taxii

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// MediaType is that of every request and answer with a body. Clients compare it piece by
// piece, so it is written without a space.
const MediaType = "application/taxii+json;version=2.1"

const (
	bareType    = "application/taxii+json"
	taxiiLatest = "2.1"
)

// stixMediaType is that of an object in a spec version of STIX.
func stixMediaType(spec string) string { return "application/stix+json;version=" + spec }

// acceptable reports whether a client takes our media type. One that says nothing takes
// anything (RFC 9110 12.5.1); the bare type is the latest version.
func acceptable(h http.Header) bool {
	ranges := h.Values("Accept")
	if len(ranges) == 0 {
		return true
	}
	for r := range strings.SplitSeq(strings.Join(ranges, ","), ",") {
		media, params, err := mime.ParseMediaType(r)
		if err != nil || refused(params["q"]) {
			continue
		}
		switch media {
		case "*/*", "application/*":
			return true
		case bareType:
			if v, given := params["version"]; !given || v == taxiiLatest {
				return true
			}
		}
	}
	return false
}

// refused reports whether a weight of Accept is 0.
func refused(q string) bool {
	weight, err := strconv.ParseFloat(q, 64)
	return err == nil && weight == 0
}

// readable reports whether a body's type is ours, in UTF-8 and as it is.
func readable(h http.Header) bool {
	media, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || media != bareType || h.Get("Content-Encoding") != "" {
		return false
	}
	if v, given := params["version"]; given && v != taxiiLatest {
		return false
	}
	charset, given := params["charset"]
	return !given || strings.EqualFold(charset, "utf-8")
}
