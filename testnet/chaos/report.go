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

// Size of a plot in pixels; the margins hold its labels.
const (
	plotWidth, plotHeight = 820, 260
	marginX, marginY      = 56, 34
)

func render(r Result) ([]byte, error) {
	next := func(i int) int { return i + 1 }
	t, err := template.New("report").Funcs(template.FuncMap{"next": next}).Parse(page)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = t.Execute(&out, map[string]any{
		"Result": r, "Summary": Summarize(r), "Minutes": fmt.Sprintf("%.1f", float64(r.DurationMS)/60_000),
		"Propagation": propagation(r), "Delivery": delivery(r), "CatchUp": catchUp(r),
	})
	return out.Bytes(), err
}

// calm reports whether nothing was broken from a time until another.
func (r Result) calm(from, to int64) bool {
	return !slices.ContainsFunc(r.Faults, func(f Broken) bool { return f.FromMS <= to && from <= f.ToMS })
}

// propagation is the share of deliveries (y) that took at most a time (x, log),
// while nothing was broken and while something was.
func propagation(r Result) template.HTML {
	var calm, broken []int64
	for _, w := range r.Words {
		for node, at := range w.Arrived {
			if node == w.From || at < 0 {
				continue
			}
			if delay := max(at-w.AtMS, 1); r.calm(w.AtMS, w.AtMS) {
				calm = append(calm, delay)
			} else {
				broken = append(broken, delay)
			}
		}
	}
	const decades = 5 // 1 ms to 100 s
	p := plot{x: func(ms float64) float64 { return math.Log10(max(ms, 1)) / decades }}
	for d := range decades + 1 {
		p.tickX(math.Pow10(d), (time.Duration(math.Pow10(d)) * time.Millisecond).String())
	}
	p.percentY()
	p.curve("calm", cumulative(calm))
	p.curve("broken", cumulative(broken))
	p.legend("calm", fmt.Sprintf("nothing broken: %d deliveries", len(calm)), 0)
	p.legend("broken", fmt.Sprintf("while something was broken: %d", len(broken)), 1)
	return p.svg("Share of deliveries by the time they took")
}

func cumulative(delays []int64) (points [][2]float64) {
	slices.Sort(delays)
	for i, d := range delays {
		points = append(points, [2]float64{float64(d), float64(i+1) / float64(len(delays))})
	}
	return points
}

// delivery is, over the time of the trial, the share of deliveries due that had
// arrived: of words said up to then.
func delivery(r Result) template.HTML {
	const steps = 400
	p := plot{x: func(ms float64) float64 { return ms / float64(max(r.DurationMS, 1)) }}
	for _, f := range r.Faults {
		p.band(float64(f.FromMS), float64(f.ToMS), f.Text)
	}
	for _, share := range []float64{0, .25, .5, .75, 1} {
		ms := share * float64(r.DurationMS)
		p.tickX(ms, (time.Duration(ms) * time.Millisecond).Round(time.Second).String())
	}
	p.percentY()
	var points [][2]float64
	for i := range steps + 1 {
		now := r.DurationMS * int64(i) / steps
		due, there := 0, 0
		for _, w := range r.Words {
			for node, at := range w.Arrived {
				if node == w.From || w.AtMS > now {
					continue
				}
				due++
				if at >= 0 && at <= now {
					there++
				}
			}
		}
		if due > 0 {
			points = append(points, [2]float64{float64(now), float64(there) / float64(due)})
		}
	}
	p.curve("calm", points)
	return p.svg("Share of deliveries due that had arrived, over time; grey: something is broken (point at it)")
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
				last = max(last, w.Arrived[node]-f.ToMS)
			}
		}
		took = append(took, float64(last)/1000)
		longest = max(longest, float64(last)/1000)
	}
	p := plot{x: func(x float64) float64 { return x / float64(max(len(took), 1)) }}
	for _, share := range []float64{0, .25, .5, .75, 1} {
		p.tickY(share, fmt.Sprintf("%.1f s", share*longest))
	}
	for i, s := range took {
		p.bar(float64(i)+.15, float64(i)+.85, s/longest, fmt.Sprintf("%s: %.2f s", r.Faults[i].Text, s))
		p.tickX(float64(i)+.5, fmt.Sprint(i+1))
	}
	return p.svg("Seconds from the end of each fault until every word that was said meanwhile is there")
}

// A plot is an SVG under way. x maps to 0 … 1, and so is y already.
type plot struct {
	x    func(float64) float64
	body strings.Builder
}

func (p *plot) px(x float64) float64 {
	return marginX + min(max(p.x(x), 0), 1)*(plotWidth-marginX-10)
}

func py(y float64) float64 { return 10 + (1-y)*(plotHeight-marginY-10) }

func (p *plot) curve(class string, points [][2]float64) {
	if len(points) == 0 {
		return
	}
	fmt.Fprintf(&p.body, `<polyline class="%s" points="`, class)
	for _, xy := range points {
		fmt.Fprintf(&p.body, "%.1f,%.1f ", p.px(xy[0]), py(xy[1]))
	}
	p.body.WriteString(`"/>`)
}

func (p *plot) band(from, to float64, text string) {
	fmt.Fprintf(&p.body, `<rect class="band" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s</title></rect>`,
		p.px(from), py(1), p.px(to)-p.px(from), py(0)-py(1), template.HTMLEscapeString(text))
}

func (p *plot) bar(from, to, y float64, text string) {
	fmt.Fprintf(&p.body, `<rect class="bar" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s</title></rect>`,
		p.px(from), py(y), p.px(to)-p.px(from), py(0)-py(y), template.HTMLEscapeString(text))
}

func (p *plot) tickX(x float64, text string) {
	fmt.Fprintf(&p.body, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`, p.px(x), plotHeight-12, template.HTMLEscapeString(text))
}

func (p *plot) tickY(y float64, text string) {
	fmt.Fprintf(&p.body, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`,
		marginX, plotWidth-10, py(y), py(y), marginX-6, py(y)+4, template.HTMLEscapeString(text))
}

func (p *plot) percentY() {
	for _, y := range []float64{0, .25, .5, .75, 1} {
		p.tickY(y, fmt.Sprintf("%.0f %%", y*100))
	}
}

func (p *plot) legend(class, text string, row int) {
	y := py(0) - 34 + float64(18*row)
	fmt.Fprintf(&p.body, `<polyline class="%s" points="%d,%.1f %d,%.1f"/><text x="%d" y="%.1f">%s</text>`,
		class, plotWidth-290, y, plotWidth-262, y, plotWidth-254, y+4, template.HTMLEscapeString(text))
}

func (p *plot) svg(title string) template.HTML {
	return template.HTML(fmt.Sprintf(`<figure><svg viewBox="0 0 %d %d" role="img" aria-label="%s">%s</svg><figcaption>%s</figcaption></figure>`,
		plotWidth, plotHeight, template.HTMLEscapeString(title), p.body.String(), template.HTMLEscapeString(title)))
}
