package misp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/watchward/watchward/node/intel/jsonscan"
	events "github.com/watchward/watchward/node/intel/misp"
)

// answerBytesMax bounds what a server says of what was pushed.
const answerBytesMax = 64 << 20

// Put is what became of an event that was pushed.
type Put struct {
	// Changed is false where the server has it as new, or newer.
	Changed bool
	// Refused is what the server says of parts that it did not take, fit to be
	// shown; "" = it took all.
	Refused string
}

// PutEvent gives a server an event as intel/misp.WriteEvent writes it, whose uuid is
// given too: it edits the event, or adds it where the server has none. What the
// server has and the event does not hold stays, so that an event of only what changed
// will do; what is deleted must be in it as deleted. To be taken, the event and each
// attribute must have a later time of change than the server's. Pushing the same again
// changes nothing.
func (c *Client) PutEvent(ctx context.Context, uuid string, event []byte) (Put, error) {
	if events.EventFile(uuid) == "" {
		return Put{}, fmt.Errorf("push an event to MISP: %q is no uuid", uuid)
	}
	put, err := c.put(ctx, "events/edit/"+uuid, event)
	if e := (*Error)(nil); errors.As(err, &e) {
		switch {
		case e.Status == http.StatusNotFound:
			put, err = c.put(ctx, "events/add", event)
		case e.Status == http.StatusForbidden && strings.Contains(e.Said, "not newer than"):
			return Put{}, nil
		}
	}
	if err != nil {
		return Put{}, fmt.Errorf("push an event to MISP: %w", err)
	}
	return put, nil
}

// put posts an event. Only what it is about is wanted back, not all of it.
func (c *Client) put(ctx context.Context, path string, event []byte) (Put, error) {
	a, err := c.do(ctx, http.MethodPost, path+"/metadata:1", event, http.Header{"Content-Type": {"application/json"}}, answerBytesMax)
	if err != nil {
		return Put{}, err
	}
	defer a.Close()
	refused, err := c.complaints(a)
	return Put{Changed: true, Refused: refused}, a.content(err)
}

// complaints reads the errors that stand in an answer of 200.
func (c *Client) complaints(a *answer) (string, error) {
	s := jsonscan.New(a)
	var all []string
	err := s.Object(func(key string) error {
		if key != "errors" {
			return s.Skip()
		}
		return texts(s, &all)
	})
	return c.show(strings.Join(all, "; ")), err
}

// texts collects the texts of any value, up to what is shown.
func texts(s *jsonscan.Scanner, to *[]string) error {
	c, err := s.Peek()
	switch {
	case err != nil:
		return err
	case c == '{':
		return s.Object(func(string) error { return texts(s, to) })
	case c == '[':
		return s.Array(func(int) error { return texts(s, to) })
	}
	t, err := s.Text(saidMax)
	if t.S != "" && len(*to) < 10 {
		*to = append(*to, t.S)
	}
	return err
}

// ErrNoAttribute says that a server has no attribute to which a sighting belongs.
var ErrNoAttribute = errors.New("the server has no such attribute: push its event first")

// AddSighting tells a server of a sighting, a false positive or an expiration: of the
// attribute with that uuid, or where it is "", of every attribute with the value. It
// is ErrNoAttribute where there is none. The server gives the sighting an id of its
// own: told twice it is there twice, and reading it back counts it once.
func (c *Client) AddSighting(ctx context.Context, attribute, value string, s events.Sighting) error {
	request := struct {
		UUID   string   `json:"uuid,omitempty"`
		Values []string `json:"values,omitempty"`
		events.Sighting
	}{UUID: attribute, Sighting: s}
	if attribute == "" {
		request.Values = []string{value}
	}
	a, err := c.post(ctx, "sightings/add", request, answerBytesMax)
	if e := (*Error)(nil); errors.As(err, &e) && strings.Contains(strings.ToLower(e.Said), "no valid attribute") {
		return ErrNoAttribute
	}
	if err == nil {
		defer a.Close()
		refused := ""
		refused, err = c.complaints(a)
		if err = a.content(err); err == nil && refused != "" {
			err = errors.New("it took nothing: " + refused)
		}
	}
	if err != nil {
		return fmt.Errorf("push a sighting to MISP: %w", err)
	}
	return nil
}
