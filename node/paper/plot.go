package paper

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"
)

// Plots are drawn in black, white and patterns (sheet.html has them), so that any printer
// will do. What is written in one is made here: no words of others are in a plot, so that
// it may go into a page as it is.

// Sizes of plots of their own, in units.
const (
	plotWidth     = 700.0
	stackedHeight = 40.0
	hourlyHeight  = 65.0
)

// tall is the height in mm of such a plot on a page.
func tall(height float64) float64 { return 0.5 + pageWidth*height/plotWidth }

// A drawing is an SVG that is being made, in units of its own.
type drawing struct{ strings.Builder }

// draw begins a drawing of a size, as wide as it is given room (percent or mm).
func draw(width, height float64, room string) *drawing {
	d := &drawing{}
	fmt.Fprintf(d, `<svg viewBox="0 0 %g %g" style="width:%s" role="img">`, width, height, room)
	return d
}

func (d *drawing) rect(x, y, w, h float64, fill string) {
	fmt.Fprintf(d, `<rect x="%.2f" y="%.2f" width="%.2f" height="%.2f" fill="%s" stroke="#000" stroke-width="0.7"/>`, x, y, w, h, fill)
}

func (d *drawing) bar(x, y, w, h float64) {
	fmt.Fprintf(d, `<rect x="%.2f" y="%.2f" width="%.2f" height="%.2f"/>`, x, y, w, h)
}

func (d *drawing) line(x1, y1, x2, y2, width float64) {
	fmt.Fprintf(d, `<path d="M%.2f %.2fL%.2f %.2f" stroke="#000" stroke-width="%g"/>`, x1, y1, x2, y2, width)
}

func (d *drawing) label(x, y, size float64, anchor, text string) {
	fmt.Fprintf(d, `<text x="%.2f" y="%.2f" font-size="%g" text-anchor="%s">%s</text>`, x, y, size, anchor, template.HTMLEscapeString(text))
}

func (d *drawing) end() template.HTML { return template.HTML(d.String() + "</svg>") }

// A share is a piece of a bar.
type share struct {
	count int
	fill  string // of the pattern
	label string
}

// fills of members' states, the worst first.
const (
	fillAttack = "#000"
	fillDown   = "url(#hatch)"
	fillSilent = "url(#dots)"
	fillOK     = "#fff"
)

// barLeast is the least width of a piece that is not nothing: one hospital among hundreds
// is seen too.
const barLeast = 4.0

// stacked is one bar of shares over the whole width, with the number and name of each.
func stacked(shares []share) template.HTML {
	const width, height = plotWidth, stackedHeight
	shares = slices.DeleteFunc(slices.Clone(shares), func(s share) bool { return s.count == 0 })
	total := 0
	for _, s := range shares {
		total += s.count
	}
	if total == 0 {
		return ""
	}
	room := width - 1.4 - barLeast*float64(len(shares))
	d := draw(width, height, "100%")
	x, free := 0.7, 0.0
	for _, s := range shares {
		w := barLeast + room*float64(s.count)/float64(total)
		d.rect(x, 0.7, w, 20, s.fill)
		at := max(x, free)
		text := fmt.Sprintf("%d %s", s.count, s.label)
		d.rect(at+0.5, 28.5, 9, 9, s.fill)
		d.label(at+13, 37, 11.5, "start", text)
		x, free = x+w, at+24+7.8*float64(len([]rune(text)))
	}
	return d.end()
}

// portion is a bar of how much of a whole there is.
func portion(count, of float64) template.HTML {
	const width, height = 100.0, 9.0
	if of <= 0 {
		return ""
	}
	d := draw(width, height, "100%")
	d.rect(0.5, 0.5, width-1, height-1, "#fff")
	if w := (width - 1) * min(1, count/of); w > 0 {
		d.bar(0.5, 0.5, max(w, 1.5), height-1)
	}
	return d.end()
}

// ticks is a line of time from one moment to another with a stroke for each event, and a
// faint one each day.
func ticks(from, to time.Time, events []time.Time) template.HTML {
	const width, height = 200.0, 15.0
	d := draw(width, height, "100%")
	at := func(t time.Time) float64 {
		return 1 + (width-2)*min(1, max(0, float64(t.Sub(from))/float64(to.Sub(from))))
	}
	for day := from.Add(24 * time.Hour); day.Before(to); day = day.Add(24 * time.Hour) {
		d.line(at(day), height-4, at(day), height+2, 0.5)
	}
	d.line(0, height-3, width, height-3, 0.8)
	for _, e := range events {
		d.bar(at(e)-0.9, 0.5, 1.8, height-3.5)
	}
	return d.end()
}

// hourly is a row of bars, an hour each, the last of which is now.
func hourly(counts []int, now time.Time, number func(int) string, clock func(time.Time) string) template.HTML {
	const width, top, foot = plotWidth, 9.0, 12.0
	const height = hourlyHeight - top - foot
	most := slices.Max(counts)
	if most == 0 {
		return ""
	}
	d := draw(width, top+height+foot, "100%")
	step := width / float64(len(counts))
	d.line(0, top, 6, top, 0.6)
	d.label(8, top+3.5, 9, "start", number(most))
	for i, n := range counts {
		h := (height - 1) * float64(n) / float64(most)
		if n > 0 {
			h = max(h, 0.8)
		}
		x := step * float64(i)
		d.bar(x+0.6, top+height-h, step-1.2, h)
		hour := now.Add(-time.Duration(len(counts)-1-i) * time.Hour)
		if hour.Hour()%12 == 0 {
			d.line(x, top+height, x, top+height+4, 0.8)
			text := hour.Format("15:00")
			if hour.Hour() == 0 {
				text, _, _ = strings.Cut(clock(hour), " 0") // the day alone
			}
			if x < width-26 {
				d.label(x+2, top+height+10.5, 9, "start", text)
			}
		}
	}
	d.line(0, top+height, width, top+height, 0.8)
	return d.end()
}

// spark is a row of bars in text.
func spark(counts []int) string {
	levels := []rune("·▁▂▃▄▅▆▇█")
	most := slices.Max(counts)
	var out strings.Builder
	for _, n := range counts {
		level := 0
		if n > 0 {
			level = 1 + (len(levels)-2)*n/most
		}
		out.WriteRune(levels[level])
	}
	return out.String()
}
