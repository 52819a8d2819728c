package chaos

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

//go:embed report.html
var page string

// Save keeps a result for Report.
func Save(path string, r Result) error {
	text, err := json.Marshal(r)
	if err == nil {
		err = os.WriteFile(path, text, 0o644)
	}
	if err != nil {
		return fmt.Errorf("keep the result: %w", err)
	}
	return nil
}

// Report writes a page about the result in a file. The page needs no network.
func Report(path, out string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is not there: run go run ./testnet chaos first", path)
	}
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	var r Result
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("report: %s: %w: run go run ./testnet chaos again", path, err)
	}
	if len(r.RegionOf) != r.Hospitals {
		return fmt.Errorf("report: %s is of another version: run go run ./testnet chaos again", path)
	}
	html, err := render(r)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return os.WriteFile(out, html, 0o644)
}

func render(r Result) ([]byte, error) {
	funcs := template.FuncMap{
		"next":    func(i int) int { return i + 1 },
		"seconds": func(ms int64) string { return fmt.Sprintf("%.1f s", float64(ms)/1000) },
		"time":    round,
	}
	t, err := template.New("report").Funcs(funcs).Parse(page)
	if err != nil {
		return nil, err
	}
	s := Summarize(r)
	lost := s.Own.Missing + s.Across.Missing
	var out bytes.Buffer
	err = t.Execute(&out, map[string]any{
		"Result": r, "Summary": s, "Lost": lost, "Good": lost == 0 && r.Verdict == holds, "Minutes": fmt.Sprintf("%.1f", float64(r.DurationMS)/60_000),
		"Propagation": propagation(r), "Delivery": delivery(r), "CatchUp": catchUp(r),
	})
	return out.Bytes(), err
}

// round writes a time for people.
func round(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// calm reports whether nothing was broken from a time until another.
func (r Result) calm(from, to int64) bool {
	return !slices.ContainsFunc(r.Faults, func(f Broken) bool { return f.FromMS <= to && from <= f.ToMS })
}

// propagation is the share of deliveries (y) that took at most a time (x, log),
// while nothing was broken and while something was.
func propagation(r Result) template.HTML {
	var own, across, broken []int64
	for _, w := range r.Words {
		for node, at := range w.Arrived {
			if at < 0 || !r.due(w, node) {
				continue
			}
			switch delay := max(at-w.AtMS, 1); {
			case !r.calm(w.AtMS, w.AtMS):
				broken = append(broken, delay)
			case r.own(w, node):
				own = append(own, delay)
			default:
				across = append(across, delay)
			}
		}
	}
	const decades = 5 // 1 ms to 100 s
	p := plot{x: func(ms float64) float64 { return math.Log10(max(ms, 1)) / decades }}
	for d, text := range []string{"1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s"} {
		p.tickX(math.Pow10(d), text)
	}
	for _, y := range []float64{0, .25, .5, .75, 1} {
		p.tickY(y, fmt.Sprintf("%.0f %%", y*100))
	}
	p.curve("own", fmt.Sprintf("nothing broken, in the author's region: %d deliveries", len(own)), cumulative(own))
	p.curve("across", fmt.Sprintf("nothing broken, to another region: %d deliveries", len(across)), cumulative(across))
	p.curve("broken", fmt.Sprintf("said while something was broken: %d deliveries", len(broken)), cumulative(broken))
	return p.figure("share of deliveries that were there", "time since the word was said; each step to the right is ten times longer")
}

func cumulative(delays []int64) (points [][2]float64) {
	slices.Sort(delays)
	for i, d := range delays {
		points = append(points, [2]float64{float64(d), float64(i+1) / float64(len(delays))})
	}
	return points
}

// delivery is, over the time of the trial, how many deliveries were due and had
// not arrived: of words said up to then.
func delivery(r Result) template.HTML {
	const steps = 600
	var own, across [][2]float64
	most := 4.0
	for i := range steps + 1 {
		now := r.DurationMS * int64(i) / steps
		waitOwn, waitAcross := 0.0, 0.0
		for _, w := range r.Words {
			for node, at := range w.Arrived {
				switch {
				case w.AtMS > now || at >= 0 && at <= now || !r.due(w, node):
				case r.own(w, node):
					waitOwn++
				default:
					waitAcross++
				}
			}
		}
		own, across = append(own, [2]float64{float64(now), waitOwn}), append(across, [2]float64{float64(now), waitAcross})
		most = max(most, waitOwn, waitAcross)
	}
	p := plot{x: func(ms float64) float64 { return ms / float64(max(r.DurationMS, 1)) }}
	for i, f := range r.Faults {
		p.band(float64(f.FromMS), float64(f.ToMS), every(i, len(r.Faults)), f.Text)
	}
	seconds := float64(r.DurationMS) / 1000
	for at, step := 0.0, quarter(seconds); at <= seconds; at += step {
		p.tickX(at*1000, fmt.Sprintf("%.0f s", at))
	}
	most = p.scaleY(most, "%.0f")
	p.curve("own", "in the author's region", share(own, most))
	if r.Regions > 1 {
		p.curve("across", "to another region", share(across, most))
	}
	return p.figure("deliveries on their way", "time since the start; grey: something is broken (its number is in the table at the end)")
}

// share divides every y by the largest.
func share(points [][2]float64, most float64) [][2]float64 {
	for i := range points {
		points[i][1] /= most
	}
	return points
}

// catchUp is, for each fault, how long after its end its last missed word came.
func catchUp(r Result) template.HTML {
	var took []float64
	longest := 1.0
	for _, f := range r.Faults {
		last := int64(0)
		for _, w := range r.Words {
			if w.AtMS < f.FromMS || w.AtMS > f.ToMS {
				continue
			}
			for _, node := range f.Nodes {
				if r.due(w, node) {
					last = max(last, w.Arrived[node]-f.ToMS)
				}
			}
		}
		took = append(took, float64(last)/1000)
		longest = max(longest, float64(last)/1000)
	}
	p := plot{x: func(x float64) float64 { return x / float64(max(len(took), 1)) }}
	longest = p.scaleY(longest, "%.1f s")
	for i, s := range took {
		label, number := fmt.Sprintf("%.1f s", s), every(i, len(took))
		if number == "" {
			label = ""
		}
		p.bar(float64(i)+.15, float64(i)+.85, s/longest, label, r.Faults[i].Text)
		p.tickX(float64(i)+.5, number)
	}
	return p.figure("seconds after the fault's end", "number of the fault in the table at the end")
}

// every is the number of the fault with an index, empty where there is no room.
func every(i, faults int) string {
	const room = 10
	if i%((faults+room-1)/room) != 0 {
		return ""
	}
	return fmt.Sprint(i + 1)
}

// quarter is about a fourth of most, in one digit: what a scale counts in.
func quarter(most float64) float64 {
	digit := math.Pow10(int(math.Floor(math.Log10(most / 4))))
	return math.Ceil(most/4/digit) * digit
}

// Size of a plot in pixels; the margins hold its labels.
const (
	plotWidth, plotHeight               = 640, 260
	marginLeft, marginTop, marginBottom = 66, 20, 36
	marginRight                         = 34
)

// A plot is an SVG under way. x maps to 0 … 1, and so is y already.
type plot struct {
	x       func(float64) float64
	body    strings.Builder
	legends strings.Builder
}

func (p *plot) px(x float64) float64 {
	return marginLeft + min(max(p.x(x), 0), 1)*(plotWidth-marginLeft-marginRight)
}

func py(y float64) float64 { return marginTop + (1-y)*(plotHeight-marginTop-marginBottom) }

// curve draws points in a style, unless there are none.
func (p *plot) curve(class, legend string, points [][2]float64) {
	if len(points) == 0 {
		return
	}
	fmt.Fprintf(&p.body, `<polyline class="%s" points="`, class)
	for _, xy := range points {
		fmt.Fprintf(&p.body, "%.1f,%.1f ", p.px(xy[0]), py(xy[1]))
	}
	p.body.WriteString(`"/>`)
	fmt.Fprintf(&p.legends, `<li><svg viewBox="0 0 30 10" aria-hidden="true"><polyline class="%s" points="0,5 30,5"/></svg> %s</li>`, class, template.HTMLEscapeString(legend))
}

func (p *plot) band(from, to float64, number, text string) {
	fmt.Fprintf(&p.body, `<rect class="band" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s</title></rect>`,
		p.px(from), py(1), p.px(to)-p.px(from), py(0)-py(1), template.HTMLEscapeString(text))
	p.text((p.px(from)+p.px(to))/2, py(1)-5, "middle", number)
}

func (p *plot) bar(from, to, y float64, label, text string) {
	fmt.Fprintf(&p.body, `<rect class="bar" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s</title></rect>`,
		p.px(from), py(y), p.px(to)-p.px(from), py(0)-py(y), template.HTMLEscapeString(text))
	p.text((p.px(from)+p.px(to))/2, py(y)-5, "middle", label)
}

func (p *plot) tickX(x float64, text string) { p.text(p.px(x), plotHeight-8, "middle", text) }

func (p *plot) tickY(y float64, text string) {
	fmt.Fprintf(&p.body, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f"/>`, marginLeft, plotWidth-marginRight, py(y), py(y))
	p.text(marginLeft-6, py(y)+4, "end", text)
}

// scaleY writes a scale that has room for most, and returns its end.
func (p *plot) scaleY(most float64, format string) (end float64) {
	end = 4 * quarter(most)
	for _, y := range []float64{0, .25, .5, .75, 1} {
		p.tickY(y, fmt.Sprintf(format, y*end))
	}
	return end
}

func (p *plot) text(x, y float64, anchor, text string) {
	fmt.Fprintf(&p.body, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, x, y, anchor, template.HTMLEscapeString(text))
}

// figure is the plot with what its axes are, and its legends.
func (p *plot) figure(y, x string) template.HTML {
	y, x = template.HTMLEscapeString(y), template.HTMLEscapeString(x)
	return template.HTML(fmt.Sprintf(`<figure><ul class="legend">%s</ul><p class="axis">↑ %s</p><div class="wide"><svg viewBox="0 0 %d %d" role="img" aria-label="%s, by %s">%s</svg></div><figcaption>→ %s</figcaption></figure>`,
		p.legends.String(), y, plotWidth, plotHeight, y, x, p.body.String(), x))
}
