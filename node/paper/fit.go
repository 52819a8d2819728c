package paper

import (
	"math"

	"github.com/watchward/watchward/node/catalog"
)

// What the parts of a page take, in mm, as sheet.html sets them. They are measured and
// rounded up: a page that is not quite full is better than a third one.
const (
	pagesMax    = 2
	pageRoom    = 255.0 // of A4 below the running head
	pageLoss    = 13.0  // at a page's end, where a row is not broken
	pageWidth   = 186.0
	lineHeight  = 3.55
	smallHeight = 2.9
	rowHeight   = 1.3 // around a row's text
	titleHeight = 7.0
	headHeight  = 4.0
	moreHeight  = 4.0
	barHeight   = 3.0 // of a figure in a cell
	signHeight  = 39.0
	leadHeight  = 9.0 // of a headline, and of a warning
	nameHeight  = 2.85
	nameColumns = 5

	em        = 2.9 // mm
	smallEm   = 2.47
	idEm      = 2.26
	linesMax  = 3 // of a cell; sheet.html shows no more, and an ellipsis
	smallsMax = 2
)

// leastRows is how many rows a table has, if there are as many, before any has more.
const leastRows = 2

// fit leaves of long tables what stays on two pages: of each its first rows, then the
// others in turn. What room is left the names get.
func (s *sheet) fit(p *catalog.Printer) {
	room := pagesMax*pageRoom - (pagesMax-1)*pageLoss - signHeight - leadHeight*float64(1+len(s.Warnings))
	all := make([][][]cell, len(s.Sections))
	for i := range s.Sections {
		sec := &s.Sections[i]
		room -= sec.frame()
		all[i], sec.Rows = sec.Rows, nil
	}
	full := make([]bool, len(s.Sections))
	for turn, taken := 0, true; taken; turn++ {
		taken = false
		for i := range s.Sections {
			sec := &s.Sections[i]
			for n := len(sec.Rows); n < len(all[i]) && !full[i] && (turn > 0 || n < leastRows); n = len(sec.Rows) {
				height := sec.height(all[i][n])
				if turn > 0 && height > room {
					full[i] = true
					break
				}
				room -= height
				sec.Rows, taken = append(sec.Rows, all[i][n]), true
				if turn > 0 {
					break
				}
			}
		}
	}
	for i := range s.Sections {
		sec := &s.Sections[i]
		if sec.left += len(all[i]) - len(sec.Rows); sec.left == 0 && len(all[i]) > leastRows {
			room += moreHeight
		}
		if lines := max(0, int(room/nameHeight)); len(sec.Names) > lines*nameColumns {
			sec.left += len(sec.Names) - lines*nameColumns
			sec.Names = sec.Names[:lines*nameColumns]
		}
		sec.More = more(p, sec.left)
	}
}

// frame is the height of all but rows and names.
func (s *section) frame() float64 {
	height := 0.0
	if s.Title != "" {
		height += titleHeight
	}
	if len(s.Rows) > 0 {
		height += headHeight
	}
	if len(s.Rows) > leastRows || len(s.Names) > 0 {
		height += moreHeight
	}
	height += s.Tall
	for _, t := range s.Text {
		height += 1 + lineHeight*math.Ceil(width(t, em)/pageWidth)
	}
	return height
}

// height is that of a row.
func (s *section) height(row []cell) float64 {
	most := 0.0
	for i, c := range row {
		room := pageWidth*float64(s.Widths[i])/100 - 2
		if c.Mark != "" {
			room -= 3
		}
		text := width(c.Text, em)
		if c.Strong {
			text *= boldWider
		}
		height := lineHeight*lines(text+width(c.ID, idEm), room, linesMax) + smallHeight*lines(width(c.Small, smallEm), room, smallsMax)
		if c.Figure != "" {
			height += barHeight
		}
		most = max(most, height)
	}
	return most + rowHeight
}

// lines is how many a text so wide takes in a column. Words do not fill it: an eighth is
// lost.
func lines(width, room float64, limit int) float64 {
	if width > room {
		width *= 1.12
	}
	return min(float64(limit), math.Ceil(width/room))
}

// advances are the widths of the printable characters of ASCII in Helvetica, in thousandths
// of an em, from its AFM file. Arial and Liberation Sans have the same.
var advances = [...]uint16{
	278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
	1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
	333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
}

const (
	boldWider = 1.08
	others    = 720  // of letters that are not ASCII …
	broad     = 1000 // … and of those of East Asia and symbols
)

// width of a text in mm, set in so large an em.
func width(s string, em float64) float64 {
	sum := 0
	for _, r := range s {
		switch i := int(r) - ' '; {
		case i >= 0 && i < len(advances):
			sum += int(advances[i])
		case r < 0x2000:
			sum += others
		default:
			sum += broad
		}
	}
	return float64(sum) / 1000 * em
}
