package stix

import (
	"encoding/json"
	"strings"

	"github.com/watchward/watchward/crypto"
	"github.com/watchward/watchward/node/notice"
)

// Told is what an object says of where it comes from.
type Told struct {
	// Notice is the id of the notice that it states, "" if it states none of this
	// project's.
	Notice string
	// Carrier says that it states nothing by itself: see Writer.
	Carrier bool
	// Origins are ids under which it was known before it came to its author: that which
	// Writer wrote, and external ids that are those of STIX objects.
	Origins []string
}

// TellOf reads that from an object. What cannot be read says nothing.
func TellOf(object []byte) (t Told) {
	var o struct {
		External   []source                   `json:"external_references"`
		Extensions map[string]json.RawMessage `json:"extensions"`
	}
	if json.Unmarshal(object, &o) != nil {
		return t
	}
	var x ownExtension
	if json.Unmarshal(o.Extensions[extensionOwn], &x) == nil {
		t.Notice, t.Carrier = x.Notice, x.Carrier
		if x.OriginID != "" {
			t.Origins = append(t.Origins, x.OriginID)
		}
	}
	for _, e := range o.External {
		if strings.Contains(e.ID, "--") && e.ID != x.OriginID && len(t.Origins) < externalMax {
			t.Origins = append(t.Origins, e.ID)
		}
	}
	return t
}

// externalMax bounds the ids that an object names.
const externalMax = 16

// ID is the id of the object that states a notice, "" where STIX has no form for it.
func ID(kind notice.Kind, id crypto.ItemID) string {
	switch kind {
	case notice.KindIndicator, notice.KindSighting:
		return idOf(kind.String(), id.String())
	case notice.KindDispute:
		return idOf("opinion", id.String())
	}
	return ""
}
