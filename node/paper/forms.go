package paper

import (
	"slices"
	"strings"

	"github.com/watchward/watchward/node/catalog"
)

// A blankField is a field of a form before it is put into words.
type blankField struct {
	label, hint catalog.Key
	lines       int
	boxes       []catalog.Key
}

var yesNo = []catalog.Key{catalog.PackYes, catalog.PackNo, catalog.PackNotKnown}

// whose is what every form for the authority begins with.
var whose = []blankField{
	{label: catalog.PackEntity},
	{label: catalog.PackAwareAt, hint: catalog.PackAwareHint},
	{label: catalog.PackReachable},
	{label: catalog.PackSentTo},
}

// authority has the forms of NIS2, Article 23(4), a page each.
func (p *packer) authority() (out []part) {
	for _, f := range []struct {
		id     string
		title  catalog.Key
		fields []blankField
	}{
		{"D1", catalog.PackEarly, []blankField{
			{label: catalog.PackMalicious, boxes: yesNo}, {label: catalog.PackCrossBorder, boxes: yesNo},
			{label: catalog.PackHappened, lines: 16}, {label: catalog.PackWantHelp, boxes: yesNo[:2], lines: 3},
		}},
		{"D2", catalog.PackNotify, []blankField{
			{label: catalog.PackUpdate, lines: 5},
			{label: catalog.PackSeverity, boxes: []catalog.Key{catalog.PackSev1, catalog.PackSev2, catalog.PackSev3, catalog.PackNotKnown}},
			{label: catalog.PackImpact, hint: catalog.PackImpactHint, lines: 6}, {label: catalog.PackIndicators, lines: 5}, {label: catalog.PackMeasures, lines: 5},
		}},
		{"D3", catalog.PackFinal, []blankField{
			{label: catalog.PackDetailed, lines: 7}, {label: catalog.PackRootCause, lines: 4}, {label: catalog.PackMeasures, lines: 5},
			{label: catalog.PackCrossImpact, lines: 3}, {label: catalog.PackOngoing, lines: 2},
		}},
	} {
		fields := append(p.fields(slices.Concat(whose, f.fields)), field{Label: strings.Join(p.texts(catalog.ReportSignName, catalog.ReportSignPlace, catalog.ReportSignature), ", "), Lines: 2})
		fields[0].Hint = p.Text(catalog.PackEntityHint, shorten(p.r.Name, nameRunes))
		out = append(out, part{ID: f.id, Title: p.Text(f.title), Note: p.Text(catalog.PackArticle), Sections: []section{{Forms: fields}}})
	}
	return out
}

func (p *packer) fields(blanks []blankField) []field {
	out := make([]field, len(blanks))
	for i, b := range blanks {
		out[i] = field{Label: p.Text(b.label), Lines: b.lines}
		if b.hint != "" {
			out[i].Hint = p.Text(b.hint)
		}
		if b.boxes != nil {
			out[i].Boxes = p.texts(b.boxes...)
		}
	}
	return out
}

// logLines is how many events a page of the log has.
const logLines = 28

// forms has those for paper and telephone.
func (p *packer) forms() []part {
	log := section{Class: "write", Widths: []int{18, 62, 20}, Head: p.texts(catalog.PackTime, catalog.PackEvent, catalog.PackBy), Rows: blank(logLines, 3)}
	calls := []section{}
	for _, f := range []struct {
		title  catalog.Key
		fields []blankField
	}{
		{catalog.PackMayday, []blankField{{label: catalog.PackFromTo}, {label: catalog.PackSeen, lines: 2}, {label: catalog.PackBroken, lines: 2}, {label: catalog.PackCallBack}}},
		{catalog.PackHelp, []blankField{{label: catalog.PackFromTo, boxes: []catalog.Key{catalog.PackWanted, catalog.PackOffered}, lines: 1}, {label: catalog.PackNeed, lines: 2}, {label: catalog.PackCallBack}}},
		{catalog.PackLink, []blankField{{label: catalog.PackLinkWhat, lines: 2}, {label: catalog.PackLinkWhy, lines: 2}}},
		{catalog.PackService, []blankField{{label: catalog.PackDept, boxes: []catalog.Key{catalog.PackOpen, catalog.PackDiverted, catalog.PackClosed}, lines: 2}}},
		{catalog.PackSlip, []blankField{{label: catalog.PackSlipWhat, lines: 2}}},
	} {
		calls = append(calls, section{Title: p.Text(f.title), Forms: p.fields(f.fields)})
	}
	return []part{
		{ID: "E1", Title: p.Text(catalog.PackLog), Note: p.Text(catalog.PackLogNote), Sections: []section{log}},
		{ID: "E2", Title: p.Text(catalog.PackCalls), Note: p.Text(catalog.PackCallsNote), Sections: calls},
	}
}
