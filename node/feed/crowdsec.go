package feed

import (
	"bufio"
	"encoding/json"
	"hash/fnv"
	"io"
	"strings"
	"time"

	"github.com/watchward/watchward/node/notice"
)

// crowdSecForever is how long a decision lasts that ends by a word alone: bouncers need a time.
const crowdSecForever = 365 * 24 * time.Hour

// A decision is one as CrowdSec's local API hands it to bouncers.
type decision struct {
	ID       int64  `json:"id"`
	Origin   string `json:"origin"`
	Type     string `json:"type"`
	Scope    string `json:"scope"`
	Value    string `json:"value"`
	Duration string `json:"duration"` // Go's notation
	Scenario string `json:"scenario"`
}

func (p *Policy) decision(e *Entry, left time.Duration) decision {
	h := fnv.New64a()
	_, _ = h.Write([]byte(e.Value))
	d := decision{
		ID:     int64(h.Sum64() >> 11), // within what JSON's numbers carry exactly
		Origin: "watchward", Type: "ban", Scope: "Ip", Value: e.Value, Duration: left.String(), Scenario: "watchward/" + p.Name,
	}
	if e.Type == notice.TypeCIDR {
		d.Scope = "Range"
	}
	return d
}

// WriteDecisions writes the answer to a bouncer: everything, or what happened since
// the serial that it knows. Scopes, if any, are those it asks for. Where the serial is
// too old to tell, everything is new again; what left meanwhile ends with its time.
func (s *Snapshot) WriteDecisions(w io.Writer, all bool, since uint32, scopes []string, now int64) error {
	d, ok := s.Since(since)
	if all || !ok {
		d = Delta{}
	}
	out := bufio.NewWriterSize(w, 64<<10)
	first := true
	put := func(e *Entry, left time.Duration) error {
		c := s.Policy.decision(e, left)
		if len(scopes) > 0 && !containsFold(scopes, c.Scope) {
			return nil
		}
		if !first {
			_ = out.WriteByte(',')
		}
		first = false
		raw, err := json.Marshal(c)
		_, _ = out.Write(raw) // Flush has its error
		return err
	}
	fresh := func(e *Entry) error {
		left := crowdSecForever
		if e.Until > 0 {
			left = max(time.Duration(e.Until-now)*time.Millisecond, time.Second)
		}
		return put(e, left.Truncate(time.Second))
	}
	_, _ = out.WriteString(`{"new":[`)
	if all || !ok {
		for e := range s.All {
			if err := fresh(e); err != nil {
				return err
			}
		}
	}
	for _, list := range [][]*Entry{d.Added, d.Renewed} {
		for _, e := range list {
			if err := fresh(e); err != nil {
				return err
			}
		}
	}
	_, _ = out.WriteString(`],"deleted":[`)
	first = true
	for _, e := range d.Removed {
		if err := put(e, 0); err != nil {
			return err
		}
	}
	_, _ = out.WriteString("]}\n")
	return out.Flush()
}

func containsFold(list []string, s string) bool {
	for _, x := range list {
		if strings.EqualFold(strings.TrimSpace(x), s) {
			return true
		}
	}
	return false
}
