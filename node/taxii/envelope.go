package taxii

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/watchward/watchward/node/intel/jsonscan"
)

// Limits of an envelope that is sent to a collection. Config.PostBytesMax bounds it whole.
const (
	ObjectsMax     = 10_000
	ObjectBytesMax = 1 << 20
	DepthMax       = 64
)

// An item is one of an envelope's objects. If bad is not "" it is why it is none, and
// the offer has what could be read of it.
type item struct {
	Offer
	bad string
}

// readEnvelope reads an envelope as it streams in. What breaks the JSON or is over a
// bound is an error; what is wrong in one object is that object's alone. An object
// without a version has that of the request.
func readEnvelope(r io.Reader, version string) ([]item, *Error) {
	d := json.NewDecoder(r)
	var items []item
	found := false
	err := eachMember(d, func(key string) error {
		if key != "objects" {
			var ignored json.RawMessage
			return d.Decode(&ignored)
		}
		if found {
			return badRequest("bad-envelope", `the envelope has "objects" twice`)
		}
		found = true
		var err error
		items, err = readObjects(d, version)
		return err
	})
	if err == nil {
		if _, err = d.Token(); err == nil {
			err = badRequest("bad-envelope", "something follows the end of the envelope")
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	switch {
	case err != nil:
		return nil, envelopeError(err)
	case len(items) == 0:
		return nil, refusal(http.StatusUnprocessableEntity, "no-objects", "Nothing to add", `the envelope has no objects: send {"objects":[…]}`)
	}
	return items, nil
}

// eachMember calls member for each key of the object that comes next; it must read the value.
func eachMember(d *json.Decoder, member func(key string) error) error {
	open, err := d.Token()
	if err != nil {
		return err
	}
	if open != json.Delim('{') {
		return errors.New("it is not an object {…}")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		if err := member(key.(string)); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

func readObjects(d *json.Decoder, version string) (items []item, err error) {
	open, err := d.Token()
	if err != nil {
		return nil, err
	}
	if open != json.Delim('[') {
		return nil, badRequest("bad-envelope", `"objects" of the envelope must be a list`)
	}
	for d.More() {
		if len(items) == ObjectsMax {
			return nil, tooLarge(fmt.Sprintf("the envelope has more than %d objects: send them in several", ObjectsMax))
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, fmt.Errorf("in objects[%d]: %w", len(items), err)
		}
		it := inspect(raw, version)
		if it.ID == "" {
			it.ID = fmt.Sprintf("objects[%d]", len(items)) // so that its sender finds it
		}
		items = append(items, it)
	}
	_, err = d.Token()
	return items, err
}

// envelopeError says what stopped the reading.
func envelopeError(err error) *Error {
	var own *Error
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &over):
		return bodyTooLarge(over.Limit)
	}
	return badRequest("bad-envelope", "the envelope is cut off or no JSON: "+shorten(err.Error()))
}

func bodyTooLarge(limit int64) *Error {
	return tooLarge(fmt.Sprintf("the body is larger than %d bytes, the max_content_length of this API root: send it in several", limit))
}

// identifier is the form of a STIX id, section 2.9 of STIX 2.1.
var identifier = regexp.MustCompile(`^([a-z0-9](?:[a-z0-9-]{1,248}[a-z0-9])?)--[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// inspect looks at the form of an object.
func inspect(raw []byte, version string) item {
	it := item{Offer: Offer{Version: version, JSON: raw}}
	switch {
	case len(raw) > ObjectBytesMax:
		it.bad = fmt.Sprintf("it is larger than %d bytes", ObjectBytesMax)
	case raw[0] != '{':
		it.bad = "it is not an object {…}"
	case !utf8.Valid(raw):
		it.bad = "it is not valid UTF-8"
	case jsonscan.Depth(raw) > DepthMax:
		it.bad = fmt.Sprintf("it is nested deeper than %d", DepthMax)
	default:
		it.bad = it.common()
	}
	return it
}

// common reads the common properties that TAXII needs, and returns what is wrong with
// them. A key that comes twice is refused: two programs would read two objects.
func (it *item) common() (bad string) {
	d := json.NewDecoder(bytes.NewReader(it.JSON))
	texts := map[string]string{}
	seen := map[string]bool{}
	err := eachMember(d, func(key string) error {
		if seen[key] {
			return fmt.Errorf("the property %s comes twice", shorten(key))
		}
		seen[key] = true
		switch key {
		case "id", "type", "spec_version", "created", "modified":
		default:
			var ignored json.RawMessage
			return d.Decode(&ignored)
		}
		value, err := d.Token()
		if err != nil {
			return err
		}
		text, ok := value.(string)
		if !ok {
			return fmt.Errorf("its %s is not a text", key)
		}
		texts[key] = text
		return nil
	})
	id := identifier.FindStringSubmatch(texts["id"])
	if id != nil {
		it.ID, it.Type = texts["id"], id[1]
	} else if texts["id"] != "" {
		it.ID = shorten(texts["id"])
	}
	switch {
	case err != nil:
		return err.Error()
	case texts["id"] == "":
		return "it has no id"
	case id == nil:
		return "its id is not of the form type--UUID"
	case texts["type"] != it.Type:
		return "its type " + shorten(texts["type"]) + " is not that of its id"
	case seen["spec_version"] && texts["spec_version"] != stixVersion:
		return "STIX " + shorten(texts["spec_version"]) + " is not taken here: send STIX " + stixVersion
	}
	for _, key := range []string{"created", "modified"} {
		if !seen[key] {
			continue
		}
		if _, err := time.Parse(time.RFC3339Nano, texts[key]); err != nil || !strings.HasSuffix(texts[key], "Z") {
			return "its " + key + " " + shorten(texts[key]) + " is no timestamp: write it like 2026-01-02T15:04:05.000Z"
		}
		it.Version = texts[key]
	}
	return ""
}
