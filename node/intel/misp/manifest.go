package misp

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/jsonscan"
)

// ManifestName is the file that lists the events of a feed. Each event lies
// beside it, as its uuid and ".json".
const ManifestName = "manifest.json"

// eventsMax bounds a manifest: the largest public feeds have some thousands.
const eventsMax = 100_000

// A Manifest says what a feed's events are, by their uuid.
type Manifest map[string]Listed

// Listed is what a manifest says of one event.
type Listed struct {
	Timestamp int64  // s, of its last change; 0 if it is not given
	SHA256    string // of its file, in hexadecimal; "" if it is not given
}

// EventFile is the name of an event's file, "" if uuid is none.
func EventFile(uuid string) string {
	if !uuidForm.MatchString(uuid) {
		return ""
	}
	return uuid + ".json"
}

var (
	uuidForm   = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	sha256Form = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// ReadManifest reads the manifest of a feed. A name that is no uuid refuses it
// all: names become paths.
func ReadManifest(r io.Reader) (Manifest, error) {
	s := jsonscan.New(r)
	m := Manifest{}
	err := s.Object(func(key string) error {
		uuid := strings.ToLower(key)
		switch {
		case !uuidForm.MatchString(uuid):
			return s.Errorf("%s is not the uuid of an event", intel.Show(key))
		case len(m) == eventsMax:
			return s.Errorf("more than %d events", eventsMax)
		}
		var l Listed
		err := s.Fields(func(key string) error {
			if key != "timestamp" && key != "integrity:sha256" {
				return s.Skip()
			}
			t, err := s.Text(jsonscan.TextMax)
			switch {
			case err != nil:
			case key == "timestamp":
				l.Timestamp, _ = strconv.ParseInt(t.S, 10, 64)
			case t.S != "" && !sha256Form.MatchString(strings.ToLower(t.S)):
				err = s.Errorf("%s is not a SHA-256", intel.Show(t.S))
			default:
				l.SHA256 = strings.ToLower(t.S)
			}
			return err
		})
		if _, twice := m[uuid]; twice && err == nil {
			err = s.Errorf("the event is listed twice")
		}
		m[uuid] = l
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read MISP manifest: %w", err)
	}
	if more, err := s.More(); err != nil || more {
		return nil, fmt.Errorf("read MISP manifest: %w", s.Errorf("something follows its end"))
	}
	return m, nil
}

// Check compares a file that was read with what its manifest says: the hash of
// its bytes where that is listed, else the time of the event's last change.
func (l Listed) Check(sha256 string, timestamp int64) error {
	const again = "the feed changed while it was copied, or the file was altered: get the feed again"
	switch {
	case l.SHA256 != "" && l.SHA256 != sha256:
		return fmt.Errorf("its SHA-256 is not the one in %s: %s", ManifestName, again)
	case l.SHA256 == "" && l.Timestamp != 0 && timestamp != 0 && l.Timestamp != timestamp:
		return fmt.Errorf("its timestamp is %d, in %s %d: %s", timestamp, ManifestName, l.Timestamp, again)
	}
	return nil
}
