package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/api/token"
	"github.com/watchward/watchward/node/config"
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/intel/stix"
	"github.com/watchward/watchward/node/misp"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/shelf"
	"github.com/watchward/watchward/node/taxii"
)

// collections are what TAXII clients read: each holds what is marked up to its ceiling.
var collections = []struct {
	alias, title, description string
	ceiling                   notice.TLP
}{
	{"clear", "Community, TLP:CLEAR", "What the region tells its communities and anybody may know.", notice.TLPClear},
	{"green", "Community, up to TLP:GREEN", "What the region tells its communities, with all that is in the collection clear.", notice.TLPGreen},
	{"amber", "Region, up to TLP:AMBER", "What members tell their region, with all that is in the collections clear and green.", notice.TLPAmber},
}

const (
	inboxAlias  = "inbox"
	inboxServer = "inbox" // under which name the shelf remembers what was added
)

// collectionSpace is the namespace of the collections' ids (RFC 9562, version 5).
var collectionSpace = uuid.MustParse("0d5f3a0e-6d3c-4f0e-9a53-7d0d4c1b6e21")

func (h *handout) collectionID(alias string) string {
	return uuid.NewSHA1(collectionSpace, []byte(h.n.member.String()+alias)).String()
}

// Collections implements taxii.Shelf.
func (h *handout) Collections(_ context.Context, who taxii.Caller) ([]taxii.Collection, error) {
	generation := h.shelf.Generation()
	var out []taxii.Collection
	for _, c := range collections {
		if c.ceiling <= who.Ceiling {
			out = append(out, taxii.Collection{
				ID: h.collectionID(c.alias), Alias: c.alias, Title: c.title, Description: c.description, CanRead: true, Generation: generation,
			})
		}
	}
	if inbox := h.n.o.Settings.Exchange.Inbox; inbox != config.InboxOff && who.Role >= token.Reporter {
		description := "What is added is kept at this node, under its own marking."
		if inbox == config.InboxShare {
			description = "What is added is stated to the region, under its own marking."
		}
		out = append(out, taxii.Collection{
			ID: h.collectionID(inboxAlias), Alias: inboxAlias, Title: "Inbox", Description: description, CanWrite: true, Generation: generation,
		})
	}
	return out, nil
}

// Objects implements taxii.Shelf.
func (h *handout) Objects(ctx context.Context, who taxii.Caller, collection string, q *taxii.Query) iter.Seq2[taxii.Object, error] {
	for _, c := range collections {
		if c.ceiling <= who.Ceiling && h.collectionID(c.alias) == collection {
			return h.shelf.Objects(ctx, c.ceiling, q)
		}
	}
	return func(func(taxii.Object, error) bool) {}
}

// Delete implements taxii.Shelf: no collection can be deleted from. Who stated
// something takes it back, with a version that is revoked.
func (h *handout) Delete(context.Context, taxii.Caller, string, *taxii.Query) (int, error) {
	return 0, nil
}

// Events implements api.Exchange.
func (h *handout) Events(ceiling notice.TLP) misp.Shelf { return h.shelf.Events(ceiling) }

// Add implements taxii.Shelf: what is in an envelope is read as one file would be, with
// what this token and this shelf gave before, for what refers to it.
func (h *handout) Add(ctx context.Context, who taxii.Caller, _ string, offers []taxii.Offer) ([]taxii.Outcome, error) {
	objects := make([]json.RawMessage, len(offers))
	for i, o := range offers {
		objects[i] = o.JSON
	}
	in := intake{caller: who.Name, ceiling: who.Ceiling, share: h.n.o.Settings.Exchange.Inbox == config.InboxShare}
	taken, err := h.takeObjects(ctx, in, inboxServer, who.Name, objects)
	if u := (*api.Unavailable)(nil); errors.As(err, &u) {
		return nil, &taxii.Error{
			Status: http.StatusServiceUnavailable, Code: "unavailable", Title: "Nothing is taken now", Description: u.Reason + ": " + u.Fix,
			Header: http.Header{"Retry-After": {"60"}},
		}
	}
	if err != nil {
		return nil, err
	}
	out := make([]taxii.Outcome, len(offers))
	for i, t := range taken {
		out[i] = taxii.Outcome{Taken: t.ok, Message: t.reason}
		if t.known {
			out[i].Message = "held already"
		}
	}
	return out, nil
}

// An offered object is one that a server or a token gave.
type offered struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Creator  string `json:"created_by_ref"`
	Created  string `json:"created"`
	Modified string `json:"modified"`
	Revoked  bool   `json:"revoked"`
	raw      []byte
	version  int64
}

func readOffered(raw []byte) (o offered, ok bool) {
	if json.Unmarshal(raw, &o) != nil || o.ID == "" {
		return o, false
	}
	o.raw = raw
	for _, text := range []string{o.Modified, o.Created} {
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			o.version = at.UnixMilli()
			break
		}
	}
	return o, true
}

// takeObjects takes STIX objects in, read as one file, and says of each what became of
// it. server and party name from whom they come: an id belongs to the party that gave
// it first, and what refers to an object that came earlier finds it.
func (h *handout) takeObjects(ctx context.Context, in intake, server, party string, objects []json.RawMessage) ([]takenIn, error) {
	if err := h.room(); err != nil {
		return nil, err
	}
	out := make([]takenIn, len(objects))
	fits := map[string]int{} // place of an id that is read
	remember := map[string]shelf.Foreign{}
	var file objectFile
	for i, raw := range objects {
		o, ok := readOffered(raw)
		if !ok {
			out[i].reason = "it has no id: every STIX object needs one"
			continue
		}
		known, why, err := h.belongs(&o, server, party)
		if err != nil {
			return nil, err
		}
		out[i] = takenIn{ok: why == "", known: known, reason: why}
		if known || why != "" {
			continue
		}
		if j, twice := fits[o.ID]; twice && remember[o.ID].Version > o.version { // the reader takes the later one
			out[i] = out[j]
			continue
		}
		fits[o.ID] = i
		remember[o.ID] = shelf.Foreign{Version: o.version, Creator: party + "\x00" + o.Creator, Text: raw}
		file.add(raw)
	}
	if len(fits) == 0 {
		return out, nil
	}
	if err := h.referred(ctx, in.ceiling, server, remember, &file); err != nil {
		return nil, err
	}
	found, places, err := readObjects(file.end(), fits)
	if err != nil {
		return h.takeReadable(ctx, in, server, party, objects, err)
	}
	taken, err := h.n.takeIn(ctx, in, found)
	if err != nil {
		return nil, err
	}
	for _, i := range fits {
		out[i].plain = true // until something is found in it
	}
	for k, t := range taken { // an object with several values is taken if one is, and says what is not
		merge(&out[places[k]], t, k > 0 && slices.Contains(places[:k], places[k]))
	}
	for id, i := range fits {
		if !out[i].ok {
			delete(remember, id)
		}
	}
	return out, h.shelf.Remember(server, remember)
}

// takeReadable takes the objects that can be read, where others beside them cannot.
func (h *handout) takeReadable(ctx context.Context, in intake, server, party string, objects []json.RawMessage, why error) ([]takenIn, error) {
	out := make([]takenIn, len(objects))
	var rest []json.RawMessage
	var places []int
	for i, raw := range objects {
		var alone objectFile
		alone.add(raw)
		if _, _, err := readObjects(alone.end(), nil); err != nil {
			out[i].reason = err.Error()
		} else {
			rest, places = append(rest, raw), append(places, i)
		}
	}
	if len(rest) == len(objects) { // it is all of them together
		for i := range out {
			out[i].reason = why.Error()
		}
		return out, nil
	}
	taken, err := h.takeObjects(ctx, in, server, party, rest)
	for k, t := range taken {
		out[places[k]] = t
	}
	return out, err
}

// merge adds what became of one value to what became of its object.
func merge(o *takenIn, t takenIn, more bool) {
	if !more {
		*o = t
		return
	}
	o.ok, o.known = o.ok || t.ok, o.known && t.known
	if o.reason == "" {
		o.reason = t.reason
	}
}

// belongs reports whether an object is held as it is, and why it is refused.
func (h *handout) belongs(o *offered, server, party string) (known bool, why string, err error) {
	q := &taxii.Query{IDs: []string{o.ID}, All: true, Bodies: true}
	same, ours := false, false
	for mine, err := range h.shelf.Objects(context.Background(), shelf.TLPMax, q) {
		if err != nil {
			return false, "", err
		}
		ours = true
		same = same || bytes.Equal(mine.JSON, bytes.TrimSpace(o.raw))
		if at, err := time.Parse(time.RFC3339Nano, mine.Version); err == nil {
			same = same || at.UnixMilli() == o.version && !o.Revoked
		}
	}
	switch {
	case same:
		return true, "", nil
	case ours:
		return false, "this id is that of a notice of this mesh, which its author alone can change: dispute it with an opinion", nil
	}
	before, ok, err := h.shelf.Foreign(server, o.ID)
	if err != nil {
		return false, "", err
	}
	switch {
	case ok && before.Creator != party+"\x00"+o.Creator:
		return false, "this id came from somebody else, who alone can change it: give your object an id of its own", nil
	case ok && o.version < before.Version:
		return true, "", nil
	case ok && o.version == before.Version && bytes.Equal(before.Text, o.raw):
		return true, "", nil
	case !ok && o.Revoked: // nothing came from there that could be taken back
		return true, "", h.shelf.Remember(server, map[string]shelf.Foreign{o.ID: {Version: o.version, Creator: party + "\x00" + o.Creator}})
	}
	return false, "", nil
}

// referred adds to a file what its objects refer to and do not bring along: as this
// server gave it before, or as this shelf has it.
func (h *handout) referred(ctx context.Context, ceiling notice.TLP, server string, there map[string]shelf.Foreign, file *objectFile) error {
	wanted := map[string]bool{}
	want := func(id string) {
		if _, ok := there[id]; !ok {
			wanted[id] = true
		}
	}
	for _, f := range there {
		shelf.Refs(f.Text, want)
	}
	// What is referred to refers in turn: to its marking and its evidence.
	for depth := 0; len(wanted) > 0 && depth < 3; depth++ {
		now := wanted
		wanted = map[string]bool{}
		for id := range now {
			text, err := h.text(ctx, ceiling, server, id)
			if err != nil {
				return err
			}
			there[id] = shelf.Foreign{} // asked for
			if text != nil {
				file.add(text)
				shelf.Refs(text, want)
			}
			defer delete(there, id) // remembered already, or nothing
		}
	}
	return nil
}

// text returns an object that was given before, nil if there is none.
func (h *handout) text(ctx context.Context, ceiling notice.TLP, server, id string) ([]byte, error) {
	before, ok, err := h.shelf.Foreign(server, id)
	if err != nil || ok && before.Text != nil {
		return before.Text, err
	}
	for o, err := range h.shelf.Objects(ctx, min(ceiling, shelf.TLPMax), &taxii.Query{IDs: []string{id}, Last: true, Bodies: true}) {
		if err != nil {
			return nil, err
		}
		return bytes.Clone(o.JSON), nil
	}
	return nil, nil
}

// readObjects returns what the objects of a file state, and whose it is: places are
// those that fits has by id. What objects beside them state was stated when they came.
func readObjects(file []byte, fits map[string]int) (found []intel.Found, places []int, err error) {
	err = stix.Read(bytes.NewReader(file), stix.Options{}, func(f intel.Found) error {
		if i, ok := fits[f.Object]; ok {
			found, places = append(found, f), append(places, i)
		}
		return nil
	})
	return found, places, err
}

// An objectFile is a STIX bundle of objects.
type objectFile struct{ buf bytes.Buffer }

func (b *objectFile) add(object []byte) {
	if b.buf.Len() == 0 {
		b.buf.WriteString(`{"type":"bundle","id":"bundle--`)
		b.buf.WriteString(uuid.NewString())
		b.buf.WriteString(`","objects":[`)
	} else {
		b.buf.WriteByte(',')
	}
	b.buf.Write(object)
	b.buf.WriteByte('\n')
}

func (b *objectFile) end() []byte { return fmt.Append(b.buf.Bytes(), "]}") }
