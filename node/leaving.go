package node

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/crypto/seal"
	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/notice"
	"github.com/watchward/watchward/node/store"
)

// leavingMax is how many notices of a dry run show what would leave: a person
// reads it, and an import has a hundred thousand.
const leavingMax = 100

// A HeaderField is one field of an envelope's header, which leaves with the
// notices in it.
type HeaderField struct {
	Key, Name string
	Says      string // what it tells whoever receives it
	open      string // why it is not known before the header is signed
}

// headerSaid is what each field of a header tells. A field that is not in it
// fails a test.
var headerSaid = map[string]HeaderField{
	"Version":  {Says: "the version of the format"},
	"Region":   {Says: "which region it is for"},
	"Author":   {Says: "the member id of this node: who states it"},
	"Serial":   {Says: "which of the member's credentials holds"},
	"Audience": {Says: "how far it may travel"},
	"Epoch":    {Says: "how often the numbering has begun anew", open: "its place among what this node says is given when it is signed"},
	"Seq":      {Says: "the number of what this node said to this audience", open: "its place among what this node says is given when it is signed"},
	"Prev":     {Says: "the id of what this node said before, so that nothing can be left out unseen", open: "its place among what this node says is given when it is signed"},
	"Floor":    {Says: "the lowest number that this node still needs others to keep", open: "its place among what this node says is given when it is signed"},
	"Time":     {Says: "when it was signed, by this node's clock", open: "the moment of signing, at most 10 s after the notice was stated"},
	"Expiry":   {Says: "when all notices in it have expired"},
	"TLP":      {Says: "the marking"},
	"Exercise": {Says: "whether it is part of a drill"},
	"Urgent":   {Says: "whether it overtakes everything else"},
	"Count":    {Says: "how many notices are in it"},
	"Size":     {Says: "their size in bytes"},
	"Root":     {Says: "a hash over the notices"},
}

// HeaderFields returns every field of a header in the order of the keys. One
// that was forgotten says nothing.
func HeaderFields() []HeaderField {
	t := reflect.TypeFor[crypto.Header]()
	out := make([]HeaderField, t.NumField())
	for i := range out {
		f := headerSaid[t.Field(i).Name]
		f.Key, _, _ = strings.Cut(t.Field(i).Tag.Get("cbor"), ",")
		f.Name = strings.ToLower(t.Field(i).Name)
		out[i] = f
	}
	return out
}

// leaving shows what would leave with an item: nil if it stays here.
func (n *Node) leaving(item store.LocalItem, now int64) (*api.Leaving, error) {
	if item.Audience == crypto.AudienceLocal {
		return nil, nil
	}
	contents, err := notice.Contents(item.Raw)
	if err != nil {
		return nil, err
	}
	out := &api.Leaving{ItemBytes: len(item.Raw)}
	for _, c := range contents {
		f := api.LeavingField{Key: c.Key, Field: c.Name, Value: c.Value}
		if c.Name == "salt" {
			f.Note = "drawn anew each time"
		}
		out.Item = append(out.Item, f)
	}
	header, err := n.headerOf(item, now)
	if err != nil {
		return nil, err
	}
	v := reflect.ValueOf(header)
	for i, f := range HeaderFields() {
		shown := api.LeavingField{Key: f.Key, Field: f.Name, Note: f.open}
		if f.open == "" {
			shown.Value = headerText(f.Name, v.Field(i))
		}
		switch f.Name {
		case "count", "size":
			shown.Note = "grouped with others if there are many"
		case "root":
			shown.Note = "another with another salt"
			if item.Audience == crypto.AudienceNamed {
				shown.Value, shown.Note = "", "over the sealed box"
			}
		case "epoch", "seq", "prev", "floor":
			if item.Audience == crypto.AudienceNamed {
				shown.Value, shown.Note = headerText(f.Name, v.Field(i)), "what is sealed has no place in a chain"
			}
		case "urgent":
			if item.Urgent {
				shown.Note = "unless three were within ten minutes"
			}
		}
		out.Header = append(out.Header, shown)
	}
	return out, nil
}

// headerOf is the header of an item that goes alone, but for its place.
func (n *Node) headerOf(item store.LocalItem, now int64) (crypto.Header, error) {
	size := len(item.Raw) + itemHeadSize(len(item.Raw))
	tree, err := crypto.NewTree([]crypto.Hash{crypto.LeafHash(item.Raw)})
	if err != nil {
		return crypto.Header{}, err
	}
	root, err := tree.Root()
	if err != nil {
		return crypto.Header{}, err
	}
	if item.Audience == crypto.AudienceNamed {
		size = int(seal.Overhead(len(item.To), int64(1+size))) // a list of one
		size += itemHeadSize(size)
	}
	return crypto.Header{
		Version: crypto.Version, Region: n.roster.Region(), Author: n.member, Serial: n.serial, Audience: item.Audience,
		Time: now, Expiry: expiryOf(now, item.Notice.DefaultExpiry()), TLP: uint8(item.TLP), Exercise: item.Exercise, Urgent: item.Urgent,
		Count: 1, Size: uint32(size), Root: root,
	}, nil
}

// itemHeadSize is what stands in front of an item of so many bytes: the head of
// a CBOR byte string.
func itemHeadSize(n int) int {
	switch {
	case n < 24:
		return 1
	case n < 1<<8:
		return 2
	}
	return 3 // an item has less than 64 KiB
}

func headerText(name string, v reflect.Value) string {
	switch name {
	case "audience":
		return fmt.Sprintf("%d (%s)", v.Uint(), crypto.Audience(v.Uint()))
	case "tlp":
		return fmt.Sprintf("%d (%s)", v.Uint(), notice.TLP(v.Uint()))
	}
	switch v.Kind() {
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Int64: // all of them are times
		return api.Time(v.Int()).String()
	case reflect.Array:
		b := make([]byte, v.Len())
		reflect.Copy(reflect.ValueOf(b), v)
		return hex.EncodeToString(b)
	}
	return strconv.FormatUint(v.Uint(), 10)
}
