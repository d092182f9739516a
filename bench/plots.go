package main

import (
	"fmt"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// series is a line of a chart.
type series struct {
	name   string
	points []point
}

// chart is a picture of lines.
type chart struct {
	file, title, x, y string
	logX, logY        bool
	lines             []series
}

const (
	chartWidth  = 18 * vg.Centimeter
	chartHeight = 11 * vg.Centimeter
)

// draw writes the chart as SVG. Charts without a point are left out.
func (c chart) draw(base string) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.title, c.x, c.y
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding = vg.Points(3)
	p.Add(plotter.NewGrid())
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
		dots.Shape, dots.Radius = plotutil.Shape(i), vg.Points(2)
		p.Add(line)
		if len(xys) <= 20 {
			p.Add(dots)
		}
		p.Legend.Add(s.name, line, dots)
		drawn++
	}
	if drawn == 0 {
		return nil
	}
	c.axes(p)
	return p.Save(chartWidth, chartHeight, filepath.Join(resultsDir(base), c.file+".svg"))
}

func (c chart) axes(p *plot.Plot) {
	if c.logX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	if c.logY {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	} else {
		p.Y.Min = min(0, p.Y.Min)
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = short{p.X.Tick.Marker}, short{p.Y.Tick.Marker}
	// Room for the legend above the lines.
	if c.logY {
		p.Y.Max *= 6
	} else {
		p.Y.Max *= 1.4
	}
}

// xys leaves out what a logarithm cannot show.
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
	p := plot.New()
	p.Title.Text, p.Y.Label.Text = b.title, b.y
	p.Legend.Top = true
	p.NominalX(b.groups...)
	p.X.Min, p.X.Max = -.5, float64(len(b.groups))-.5
	p.Legend.Padding = vg.Points(3)
	width := chartWidth / vg.Length(len(b.groups)*(len(b.names)+3))
	for i, name := range b.names {
		chart, err := plotter.NewBarChart(plotter.Values(b.values[i]), width)
		if err != nil {
			return fmt.Errorf("%s: %w", b.file, err)
		}
		chart.LineStyle.Width = 0
		chart.Color = plotutil.Color(i)
		chart.Offset = width * vg.Length(float64(i)-float64(len(b.names)-1)/2)
		p.Add(chart)
		p.Legend.Add(name, chart)
	}
	p.Y.Min = 0
	p.Y.Max *= 1.3
	return p.Save(chartWidth, chartHeight, filepath.Join(resultsDir(base), b.file+".svg"))
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
