package paper

import (
	"cmp"
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/watchward/watchward/node/api"
	"github.com/watchward/watchward/node/catalog"
	"github.com/watchward/watchward/node/notice"
)

// A Pack is what is at hand when nothing works: whom to call, how to reach the others,
// what was so when it was made, forms, and playbooks.
type Pack struct {
	Report    *api.Report
	Members   []api.MemberView
	Addresses []string // of nodes that can be dialled, with their peer ids
	Playbooks []Playbook
	Language  string
	Zone      *time.Location
	Every     time.Duration // until the next one
}

// A Playbook is a document that goes along with a pack. Its words are those of others.
type Playbook struct {
	Name   string // of the file, as its author calls it
	Media  string // type
	Title  string
	From   string // who recommends it
	SHA256 [32]byte
	Size   int64 // bytes
	Open   func() (io.ReadCloser, error)
}

// nameMax is the length of the name of a playbook's file behind its hash, in bytes.
const nameMax = 60

// File is where a playbook is in a pack: below the directory of playbooks, under a name
// that the beginning of its hash makes its own, and that no system takes for a path.
func (b *Playbook) File() string {
	name := strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '.' || r == '-' || r == '_') {
			return r
		}
		return '-'
	}, b.Name)
	name = strings.TrimLeft(name[max(0, len(name)-nameMax):], ".-") // its end tells what it is
	return playbooksDir + "/" + hex.EncodeToString(b.SHA256[:8]) + "-" + cmp.Or(name, "document")
}

// HTML is the page of a pack: all of it but the playbooks themselves.
func (k *Pack) HTML() ([]byte, error) {
	p := &packer{newReport(k.Report, k.Language, k.Zone), k}
	return p.sheet().html()
}

// packer puts a pack into words.
type packer struct {
	*report
	k *Pack
}

func (p *packer) sheet() *sheet {
	return &sheet{
		Lang: p.Lang(), Title: p.Text(catalog.PackTitle, shorten(p.r.Name, nameRunes)), Marking: "TLP:" + p.r.TLP,
		Lead: p.Text(catalog.PackMade, p.Moment(p.now), p.Span(p.k.Every)), Sources: p.sources(),
		Headline: p.Text(catalog.PackIntro), Warnings: p.warnings(),
		Sections: slices.DeleteFunc([]section{
			{Title: p.Text(catalog.PackFirst), Note: p.Text(catalog.PackFirstNote), Class: "checks", Steps: p.texts(catalog.PackFirst1, catalog.PackFirst2, catalog.PackFirst3,
				catalog.PackFirst4, catalog.PackFirst5, catalog.PackFirst6, catalog.PackFirst7, catalog.PackFirst8, catalog.PackFirst9)},
			p.people(true), p.contents(),
		}, section.empty),
		Parts: slices.Concat([]part{p.contacts(), p.reachOthers(), p.picture()}, p.authority(), p.forms(), []part{p.playbooks()}),
	}
}

func (p *packer) texts(keys ...catalog.Key) []string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = p.Text(k)
	}
	return out
}

func (p *packer) contents() section {
	s := section{Title: p.Text(catalog.PackContents), Widths: []int{8, 40, 52}, Head: p.texts(catalog.PackPart, catalog.PackWhat, catalog.PackWhen)}
	for i, e := range [][2]catalog.Key{
		{catalog.PackContacts, catalog.PackContactsWhen}, {catalog.PackReach, catalog.PackReachWhen}, {catalog.PackPicture, catalog.PackPictureWhen},
		{catalog.PackForms, catalog.PackFormsWhen}, {catalog.PackPaper, catalog.PackPaperWhen}, {catalog.PackPlaybooks, catalog.PackPlaybooksWhen},
	} {
		s.Rows = append(s.Rows, []cell{{Text: string(rune('A' + i)), Strong: true}, {Text: p.Text(e[0]), Strong: true}, {Text: p.Text(e[1])}})
	}
	return s
}

// letter is a part's title behind its letter.
func (p *packer) letter(letter string, key catalog.Key) string { return letter + " " + p.Text(key) }

var roles = map[string]catalog.Key{"coordinator": catalog.PackCoordinator, "hospital": catalog.PackHospital, "bridge": catalog.PackBridge, "supplier": catalog.PackVendor}

// ownLines is how many numbers a house may write down itself.
const ownLines = 8

// people lists members of the region and how to reach them: coordinators, or the others.
func (p *packer) people(coordinators bool) section {
	told := map[string]*api.ContactView{}
	for _, m := range p.r.Members {
		told[m.Member] = m.Contact
	}
	s := section{Title: p.Text(catalog.PackOthers), Widths: []int{33, 14, 53}, Head: p.texts(catalog.ReportWho, catalog.PackRole, catalog.ReportReach)}
	if coordinators {
		s.Title = p.Text(catalog.PackCoordinators)
	}
	members := slices.SortedFunc(slices.Values(p.k.Members), func(a, b api.MemberView) int { return strings.Compare(a.Name, b.Name) })
	for _, m := range members {
		if m.Region != p.r.Region && !m.Self || slices.Contains(m.Roles, "coordinator") != coordinators {
			continue
		}
		who := cell{Text: p.party(api.Party{Member: m.ID, Name: m.Name}), Strong: true}
		if m.Self {
			who.Small = p.Text(catalog.PackSelf)
		}
		var role []string
		for _, r := range m.Roles {
			if key, ok := roles[r]; ok {
				role = append(role, p.Text(key))
			}
		}
		reach := cell{Text: p.Text(catalog.ReportNoContact)}
		if c := told[m.ID]; c != nil {
			reach.Text = shorten(strings.Join(c.Lines, "; "), notice.ContactMax*(notice.WhatMax+2))
		}
		s.Rows = append(s.Rows, []cell{who, {Text: strings.Join(role, ", ")}, reach})
	}
	return s
}

func (p *packer) contacts() part {
	own := section{Title: p.Text(catalog.PackOwn), Note: p.Text(catalog.PackOwnNote), Class: "write", Widths: []int{50, 50},
		Head: p.texts(catalog.ReportWho, catalog.PackPhone), Rows: blank(ownLines, 2)}
	return part{ID: "A", Title: p.letter("A", catalog.PackContacts), Note: p.Text(catalog.PackContactsNote),
		Sections: slices.DeleteFunc([]section{own, p.people(true), p.people(false)}, section.empty)}
}

// blank rows are written on.
func blank(rows, columns int) [][]cell {
	out := make([][]cell, rows)
	for i := range out {
		out[i] = make([]cell, columns)
	}
	return out
}

func (p *packer) reachOthers() part {
	addresses := section{Title: p.Text(catalog.PackAddresses), Class: "code", Widths: []int{100}, Head: p.texts(catalog.PackAddress)}
	for _, a := range p.k.Addresses {
		addresses.Rows = append(addresses.Rows, []cell{{Text: shorten(a, notice.ValueMax)}})
	}
	sections := []section{
		{Title: p.Text(catalog.PackByPhone), Steps: p.texts(catalog.PackByPhone1, catalog.PackByPhone2, catalog.PackByPhone3)},
		{Title: p.Text(catalog.PackByStick), Steps: p.texts(catalog.PackByStick1, catalog.PackByStick2, catalog.PackByStick3)},
		{Title: p.Text(catalog.PackByLine), Steps: p.texts(catalog.PackByLine1, catalog.PackByLine2)},
		addresses,
		{Title: p.Text(catalog.PackNewNode), Steps: p.texts(catalog.PackNewNode1, catalog.PackNewNode2)},
	}
	return part{ID: "B", Title: p.letter("B", catalog.PackReach), Sections: slices.DeleteFunc(sections, section.empty)}
}

// picture has the links and the help first: they are what a house acts by.
func (p *packer) picture() part {
	sections := slices.DeleteFunc([]section{p.states(), p.links(), p.help(), p.attacked(), p.dark(), p.services(), p.spreading()}, section.empty)
	for i := range sections {
		sections[i].More = more(p.Printer, sections[i].left)
	}
	if len(sections) == 0 {
		sections = []section{{Text: p.texts(catalog.PackNothing)}}
	}
	return part{ID: "C", Title: p.letter("C", catalog.PackPicture), Note: p.Text(catalog.PackPictureOld, p.Moment(p.now)), Sections: sections}
}

func (p *packer) playbooks() part {
	s := section{Widths: []int{30, 20, 50}, Head: p.texts(catalog.PackDocument, catalog.ReportWho, catalog.PackFile)}
	for i := range p.k.Playbooks {
		b := &p.k.Playbooks[i]
		s.Rows = append(s.Rows, []cell{{Text: shorten(cmp.Or(b.Title, b.Name), valueRunes), Small: shorten(b.Media, nameRunes), Strong: true}, {Text: shorten(b.From, nameRunes)},
			{Text: b.File(), Small: groups(hex.EncodeToString(b.SHA256[:]))}})
	}
	f := part{ID: "F", Title: p.letter("F", catalog.PackPlaybooks), Note: p.Text(catalog.PackPlaybooksNote), Sections: []section{s}}
	if len(s.Rows) == 0 {
		f.Note, f.Sections = p.Text(catalog.PackNoPlaybooks), nil
	}
	return f
}
