package misp

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/watchward/watchward/node/intel"
	events "github.com/watchward/watchward/node/intel/misp"
)

// PullFeed takes the events of a feed that its manifest lists otherwise than the
// position has them, oldest first, and returns where it came to, also with an error.
// Where nothing changed it is one request, and without an answer's body where the
// feed's server knows conditions. in.Sightings says nothing here: a feed's events
// have theirs. What the manifest no longer lists is forgotten, not taken back: feeds
// drop what is old.
//
// An event's file is held until it has the SHA-256 that the manifest may name, so
// that it is bounded by 64 MiB. One that is older than its manifest says, or has
// another hash, comes from a cache or was altered: in.Failed is told, and the next
// pull asks again.
func (c *Client) PullFeed(ctx context.Context, from Position, in Intake) (Position, error) {
	at := from.clone()
	a, err := c.manifest(ctx, at)
	if err != nil {
		return from, pullFeedError(err)
	}
	if a.StatusCode == http.StatusNotModified {
		a.Close()
		return at, nil
	}
	tag, modified := a.Response.Header.Get("ETag"), a.Response.Header.Get("Last-Modified")
	listed, err := events.ReadManifest(a)
	a.Close()
	if err != nil {
		return from, pullFeedError(err)
	}
	maps.DeleteFunc(at.Files, func(uuid, _ string) bool { _, ok := listed[uuid]; return !ok })
	if at.Files == nil {
		at.Files = map[string]string{}
	}
	at.Tag, at.Modified = "", "" // until all is had
	whole := true
	for batch := range slices.Chunk(filesChanged(at.Files, listed, &in), batchMax) {
		for _, uuid := range batch {
			err := c.file(ctx, uuid, listed[uuid], &in)
			switch {
			case err == nil:
			case errors.As(err, &staleError{}):
				in.failed(uuid, err)
				whole = false
				continue
			case alone(err):
				in.failed(uuid, err)
			default:
				return at, pullFeedError(err)
			}
			at.Files[uuid] = mark(listed[uuid])
		}
		if err := in.reached(at); err != nil {
			return at, pullFeedError(err)
		}
	}
	if whole {
		at.Tag, at.Modified = tag, modified
	}
	return at, pullFeedError(in.reached(at))
}

func pullFeedError(err error) error {
	if t := (taken{}); errors.As(err, &t) {
		return t.error
	}
	if err != nil {
		return fmt.Errorf("pull the MISP feed: %w", err)
	}
	return nil
}

// manifest asks for the manifest, unless it is the one that was had.
func (c *Client) manifest(ctx context.Context, at Position) (*answer, error) {
	header := http.Header{}
	if at.Tag != "" {
		header.Set("If-None-Match", at.Tag)
	}
	if at.Modified != "" {
		header.Set("If-Modified-Since", at.Modified)
	}
	return c.do(ctx, http.MethodGet, events.ManifestName, nil, header, c.listMax)
}

// mark is what a position keeps of an event.
func mark(l events.Listed) string {
	text := strconv.FormatInt(l.Timestamp, 10)
	if l.SHA256 != "" {
		text += " " + l.SHA256
	}
	return text
}

// filesChanged are the events to get, oldest first.
func filesChanged(had map[string]string, listed events.Manifest, in *Intake) []string {
	var out []string
	for uuid, l := range listed {
		if had[uuid] != mark(l) && !in.skips(uuid) {
			out = append(out, uuid)
		}
	}
	slices.SortFunc(out, func(a, b string) int {
		return cmp.Or(cmp.Compare(listed[a].Timestamp, listed[b].Timestamp), cmp.Compare(a, b))
	})
	return out
}

// A staleError says that a file is not yet what the manifest says.
type staleError struct{ error }

// alone reports whether a file is bad, and not the feed.
func alone(err error) bool {
	if t := (taken{}); errors.As(err, &t) {
		return false
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Status == http.StatusNotFound || e.Status == http.StatusGone
	}
	return errors.As(err, &contentError{})
}

// file takes what one event's file holds.
func (c *Client) file(ctx context.Context, uuid string, l events.Listed, in *Intake) error {
	a, err := c.do(ctx, http.MethodGet, events.EventFile(uuid), nil, nil, c.fileMax)
	if err != nil {
		return err
	}
	defer a.Close()
	text, err := io.ReadAll(a)
	if err != nil {
		return a.content(err)
	}
	sum := sha256.Sum256(text)
	if l.SHA256 != "" {
		if err := l.Check(hex.EncodeToString(sum[:]), 0); err != nil {
			return staleError{err}
		}
	}
	had := false
	err = in.read(bytes.NewReader(text), func(got string, timestamp int64) error {
		switch {
		case got != uuid:
			return fmt.Errorf("it holds the event %q, another than its name says", intel.Show(got))
		case had:
			return errors.New("it holds the event twice")
		case l.SHA256 == "" && timestamp != 0 && timestamp < l.Timestamp: // a newer one is only newer
			return staleError{l.Check("", timestamp)}
		}
		had = true
		return nil
	})
	if err == nil && !had {
		err = errors.New("it holds no event")
	}
	if errors.As(err, &staleError{}) {
		return err
	}
	return a.content(err)
}

// Hashes calls yield for every line of the feed's hashes.csv: the MD5 of a value, and
// the event that has it. The file is read as it comes, up to 2 GiB. An error of yield
// ends it and is returned as it is.
func (c *Client) Hashes(ctx context.Context, yield func(sum [md5.Size]byte, event string) error) error {
	a, err := c.do(ctx, http.MethodGet, events.HashesName, nil, nil, hashesBytesMax)
	if err != nil {
		return pullFeedError(err)
	}
	defer a.Close()
	return pullFeedError(events.ReadHashes(a, func(sum [md5.Size]byte, event string) error {
		if err := yield(sum, event); err != nil {
			return taken{err}
		}
		return nil
	}))
}
