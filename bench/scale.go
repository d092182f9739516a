package main

// scaleCurve is how a cost grows with a number.
type scaleCurve struct {
	Name  string `json:"name"`
	File  string `json:"file"`
	X     string `json:"x"`
	Y     string `json:"y"`
	Lines []struct {
		Name   string  `json:"name"`
		Points []point `json:"points"`
	} `json:"lines"`
	Note string `json:"note"`
}

func (s scaleCurve) chart() chart {
	c := chart{file: s.File, title: s.Name, x: s.X, y: s.Y, logX: true}
	for _, l := range s.Lines {
		c.lines = append(c.lines, series{l.Name, l.Points})
	}
	return c
}
