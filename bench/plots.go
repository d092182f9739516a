package main

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// series is a line of a chart. The points of an extrapolated series were measured for a part of the workload and
// multiplied; the line is dashed.
type series struct {
	name         string
	points       []point
	extrapolated bool
}

// chart is a picture of lines.
type chart struct {
	file, title, x, y string
	logX, logY        bool
	bytes             bool // X is a number of bytes
	lines             []series
}

const (
	chartWidth  = 20 * vg.Centimeter
	chartHeight = 11 * vg.Centimeter
	margin      = 8 // points around a picture
)

// draw writes the chart as SVG. Charts without a point are left out.
func (c chart) draw(base string) error {
	p, legend := newPlot(c.title, c.x, c.y), newLegend()
	drawn := 0
	for i, s := range c.lines {
		xys := s.xys(c.logX, c.logY)
		if len(xys) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(xys)
		if err != nil {
			return err
		}
		line.Color, dots.Color = plotutil.Color(i), plotutil.Color(i)
		line.Width = vg.Points(1.5)
		if s.extrapolated {
			line.Dashes = []vg.Length{vg.Points(5), vg.Points(3)}
		}
		dots.Shape, dots.Radius = plotutil.Shape(i), vg.Points(2)
		p.Add(line)
		thumbs := []plot.Thumbnailer{line}
		if len(xys) <= 20 {
			p.Add(dots)
			thumbs = append(thumbs, dots)
		}
		legend.Add(s.name, thumbs...)
		drawn++
	}
	if drawn == 0 {
		return nil
	}
	c.axes(p)
	return writeSVG(p, legend, base, c.file)
}

func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.Padding = vg.Points(6)
	p.Add(plotter.NewGrid())
	return p
}

// newLegend returns a legend for beside the plot, never over it.
func newLegend() *plot.Legend {
	l := plot.NewLegend()
	l.Top, l.Left, l.Padding = true, true, vg.Points(3)
	return &l
}

// writeSVG writes a plot with its legend on the right as SVG, on white for dark pages.
func writeSVG(p *plot.Plot, legend *plot.Legend, base, file string) error {
	canvas := vgsvg.New(chartWidth, chartHeight)
	all := draw.New(canvas)
	all.FillPolygon(color.White, []vg.Point{all.Min, {X: all.Max.X, Y: all.Min.Y}, all.Max, {X: all.Min.X, Y: all.Max.Y}})
	all = draw.Crop(all, margin, -margin, margin, -margin)
	beside := legend.Rectangle(all)
	width := beside.Max.X - beside.Min.X
	legend.Draw(draw.Crop(all, all.Max.X-all.Min.X-width, 0, 0, -2*vg.Centimeter))
	p.Draw(draw.Crop(all, 0, -width-3*margin, 0, 0))
	f, err := os.Create(filepath.Join(resultsDir(base), file+".svg"))
	if err != nil {
		return err
	}
	_, err = canvas.WriteTo(f)
	return errors.Join(err, f.Close())
}

func (c chart) axes(p *plot.Plot) {
	if c.logX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	if c.logY {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
		p.Y.Min, p.Y.Max = math.Pow10(int(math.Floor(math.Log10(p.Y.Min)))), math.Pow10(int(math.Ceil(math.Log10(p.Y.Max))))
	} else {
		p.Y.Min, p.Y.Max = min(0, p.Y.Min), p.Y.Max*1.05
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = short{p.X.Tick.Marker}, short{p.Y.Tick.Marker}
	if x := positions(c.lines); c.logX && len(x) <= 8 {
		p.X.Tick.Marker = ticksAt{x, c.label()}
	}
}

// positions returns the X values of all points of the lines.
func positions(lines []series) []float64 {
	var x []float64
	for _, s := range lines {
		for _, p := range s.points {
			x = append(x, p.X)
		}
	}
	slices.Sort(x)
	return slices.Compact(x)
}

// label is how the values of the X axis are written.
func (c chart) label() func(float64) string {
	if c.bytes {
		return func(x float64) string { return sizeText(int64(x)) }
	}
	return shortNumber
}

// ticksAt ticks an axis where something was measured: an axis from 1 to 60 has no power of ten but 1 and 10.
type ticksAt struct {
	values []float64
	label  func(float64) string
}

// Ticks implements plot.Ticker.
func (t ticksAt) Ticks(_, _ float64) []plot.Tick {
	ticks := make([]plot.Tick, len(t.values))
	for i, x := range t.values {
		ticks[i] = plot.Tick{Value: x, Label: t.label(x)}
	}
	return ticks
}

// xys leaves out points beyond a logarithmic scale.
func (s series) xys(logX, logY bool) plotter.XYs {
	var out plotter.XYs
	for _, p := range s.points {
		if logX && p.X <= 0 || logY && p.Y <= 0 {
			continue
		}
		out = append(out, plotter.XY{X: p.X, Y: p.Y})
	}
	return out
}

// bars is a picture of groups of bars.
type bars struct {
	file, title, y string
	groups         []string    // along the axis
	names          []string    // of the bars in a group
	values         [][]float64 // by name, then by group
}

func (b bars) draw(base string) error {
	if len(b.groups) == 0 || len(b.names) == 0 {
		return nil
	}
	p, legend := newPlot(b.title, "", b.y), newLegend()
	p.NominalX(b.groups...)
	p.X.Min, p.X.Max = -.5, float64(len(b.groups))-.5
	width := .7 * chartWidth / vg.Length(len(b.groups)*(len(b.names)+2))
	for i, name := range b.names {
		chart, err := plotter.NewBarChart(plotter.Values(b.values[i]), width)
		if err != nil {
			return fmt.Errorf("%s: %w", b.file, err)
		}
		chart.LineStyle.Width = 0
		chart.Color = plotutil.Color(i)
		chart.Offset = width * vg.Length(float64(i)-float64(len(b.names)-1)/2)
		p.Add(chart)
		legend.Add(name, chart)
	}
	p.Y.Min, p.Y.Max = 0, p.Y.Max*1.05
	return writeSVG(p, legend, base, b.file)
}

// short labels large numbers as people write them.
type short struct{ plot.Ticker }

// Ticks implements plot.Ticker.
func (s short) Ticks(low, high float64) []plot.Tick {
	ticks := s.Ticker.Ticks(low, high)
	for i := range ticks {
		if ticks[i].Label != "" {
			ticks[i].Label = shortNumber(ticks[i].Value)
		}
	}
	return ticks
}

func shortNumber(v float64) string {
	switch {
	case v >= 1e9:
		return fmt.Sprintf("%.3gG", v/1e9)
	case v >= 1e6:
		return fmt.Sprintf("%.3gM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.3gk", v/1e3)
	}
	return fmt.Sprintf("%.4g", v)
}
