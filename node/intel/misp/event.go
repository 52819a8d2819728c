package misp

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// EventNoticesMax is how many notices WriteEvent takes.
const EventNoticesMax = heldMax / 2

// A Head is what an event says beside its attributes.
type Head struct {
	UUID    string
	Info    string // its title
	Org     string // the name of whose word it is
	OrgUUID string
	Date    int64 // ms, of which the day counts
	Changed int64 // s: a server that has the event takes only a later one
	TLP     notice.TLP
	Private bool // not published, for one's own organisation only
}

// NewHead is the head of an event that holds one author's notices. key tells the
// author's events apart; the same author and key are the same event everywhere.
func NewHead(author, name, key string) Head {
	return Head{UUID: v5("event", author+"\x00"+key), Org: name, OrgUUID: v5("organisation", author)}
}

// WriteEvent writes one event, {"Event": …}, of notices as a Writer has them:
// indicators before what is said of them. A notice with a stricter marking than
// the head's is an error, and so are more than EventNoticesMax; what was written
// by then is no event.
func WriteEvent(w io.Writer, h Head, notices iter.Seq2[intel.Stated, error]) error {
	e := &outEvent{tlp: h.TLP, by: map[outKey]*outAttribute{}}
	count := 0
	for s, err := range notices {
		if err != nil {
			return fmt.Errorf("write MISP event: %w", err)
		}
		if !writable(&s) {
			continue
		}
		if tlp := markingOf(&s); tlp > h.TLP {
			return fmt.Errorf("write MISP event: %s has TLP:%s in an event of %q", s.ID, tlp, h.TLP)
		}
		if count++; count > EventNoticesMax {
			return fmt.Errorf("write MISP event: more than %d notices: make several events", EventNoticesMax)
		}
		e.add(&s)
	}
	out := bufio.NewWriterSize(w, 64<<10)
	if err := e.write(out, h); err != nil {
		return err
	}
	_ = out.WriteByte('\n')
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write MISP event: %w", err)
	}
	return nil
}

// write writes the event with a head.
func (e *outEvent) write(w *bufio.Writer, h Head) error {
	head := struct {
		UUID         string   `json:"uuid"`
		Info         string   `json:"info"`
		Date         string   `json:"date"`
		Timestamp    stamp    `json:"timestamp"`
		Published    bool     `json:"published"`
		Analysis     string   `json:"analysis"`
		ThreatLevel  string   `json:"threat_level_id"`
		Distribution string   `json:"distribution,omitempty"`
		Orgc         outOrg   `json:"Orgc"`
		Tag          []outTag `json:"Tag"`
	}{
		h.UUID, h.Info, time.UnixMilli(h.Date).UTC().Format(time.DateOnly), stamp(h.Changed),
		!h.Private, analysisComplete, levelUndefined, "", outOrg{h.OrgUUID, h.Org}, h.tags(),
	}
	if h.Private {
		head.Distribution = "0" // your organisation only
	}
	text, err := json.Marshal(head)
	if err != nil {
		return fmt.Errorf("write MISP event: %w", err)
	}
	_, _ = w.WriteString(`{"Event":`)
	_, _ = w.Write(text[:len(text)-1])
	_, _ = w.WriteString(`,"Attribute":[`)
	for i, a := range e.attributes {
		if i > 0 {
			_ = w.WriteByte(',')
		}
		if text, err = json.Marshal(a); err != nil {
			return fmt.Errorf("write MISP event: %w", err)
		}
		_, _ = w.Write(text)
	}
	if _, err := w.WriteString("]}}"); err != nil { // of all writes before as well
		return fmt.Errorf("write MISP event: %w", err)
	}
	return nil
}

// What MISP has in numbers.
const (
	analysisComplete = "2"
	levelUndefined   = "4"
)

func (h *Head) tags() []outTag {
	if h.TLP == 0 {
		return []outTag{}
	}
	return []outTag{{"tlp:" + strings.ToLower(h.TLP.String())}}
}

// Entry returns what a manifest says of the event.
func (h *Head) Entry() ([]byte, error) {
	return json.Marshal(struct {
		Info        string   `json:"info"`
		Orgc        outOrg   `json:"Orgc"`
		Date        string   `json:"date"`
		Timestamp   stamp    `json:"timestamp"`
		Analysis    string   `json:"analysis"`
		ThreatLevel string   `json:"threat_level_id"`
		Tag         []outTag `json:"Tag"`
	}{h.Info, outOrg{h.OrgUUID, h.Org}, time.UnixMilli(h.Date).UTC().Format(time.DateOnly), stamp(h.Changed), analysisComplete, levelUndefined, h.tags()})
}
