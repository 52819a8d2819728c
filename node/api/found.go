package api

import (
	"github.com/watchward/watchward/node/intel"
	"github.com/watchward/watchward/node/notice"
)

// SubmissionOf is what a notice that a reader found states, under its own marking.
func SubmissionOf(f intel.Found) Submission {
	if f.Notice == nil { // known by its id, or nothing to state
		return Submission{Notice: f.Item.String()}
	}
	n := f.Notice
	s := Submission{
		Kind: n.Kind.String(), TLP: f.TLP.String(), FirstSeen: Time(n.FirstSeen), LastSeen: Time(n.LastSeen),
		Count: n.Count, ValidUntil: Time(n.ValidUntil), Reason: n.Reason,
	}
	if n.Indicator != nil {
		s.Type, s.Value = n.Indicator.Type.String(), n.Indicator.Value
	}
	if c := n.Context; c != nil {
		s.Context = &Context{Family: c.Family, Tool: c.Tool, Technique: c.Technique, CVE: c.CVE}
	}
	if f.Item != nil {
		s.Notice = f.Item.String()
	}
	if f.Withdrawn { // the node finds what it stated of the value from there
		s = Submission{Kind: notice.KindRetraction.String(), Type: s.Type, Value: s.Value, Reason: "taken back by its source"}
	}
	if o := n.Origin; o != nil {
		s.Origin = &Origin{Source: o.Source, ID: o.ID, TLP: o.TLP.String()}
	}
	return s
}
