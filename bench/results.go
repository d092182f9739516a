package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// section describes a part's own run: parts can be run on different days.
type section struct {
	Machine machine   `json:"machine"`
	Command string    `json:"command"`
	Quick   bool      `json:"quick"`
	Begun   time.Time `json:"begun"`
	Seconds float64   `json:"seconds"`

	follows bool // another part of the same command came before it
}

// kmsSection is the part about the KMS's bill.
type kmsSection struct {
	section
	Outcomes  []kmsOutcome `json:"outcomes"`
	Throttled []throttled  `json:"throttled"`
	LeftOut   int          `json:"left_out"` // experiments without time in a quick run
}

// dataSection is the part about the data path.
type dataSection struct {
	section
	dataResults
	Checks []check `json:"checks"`
}

// scaleSection is the part about growth.
type scaleSection struct {
	section
	Curves   []scaleCurve `json:"curves"`
	Envelope int          `json:"envelope_bytes"`
}

// memorySection is the part about memory.
type memorySection struct {
	section
	Figures []memoryFigure `json:"figures"`
}

// report is all parts there are.
type report struct {
	kms    *kmsSection
	data   *dataSection
	memory *memorySection
	scale  *scaleSection
	warp   *warpSection
}

// resultsDir is where a base directory has its results.
func resultsDir(base string) string { return filepath.Join(base, "results") }

func save(base, name string, v any) error {
	if err := os.MkdirAll(resultsDir(base), 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(resultsDir(base), name+".json"), append(text, '\n'), 0o644)
}

// load reads a part; it is nil when there is none.
func loadPart[T any](base, name string) (*T, error) {
	text, err := os.ReadFile(filepath.Join(resultsDir(base), name+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal(text, v); err != nil {
		return nil, fmt.Errorf("%s.json: %w", name, err)
	}
	return v, nil
}

func loadReport(base string) (r report, err error) {
	if r.kms, err = loadPart[kmsSection](base, "kms"); err != nil {
		return r, err
	}
	if r.data, err = loadPart[dataSection](base, "data"); err != nil {
		return r, err
	}
	if r.data != nil {
		r.data.Checks = r.data.checks(r.data.Machine.Processors) // as they are defined now
	}
	if r.memory, err = loadPart[memorySection](base, "memory"); err != nil {
		return r, err
	}
	if r.scale, err = loadPart[scaleSection](base, "scale"); err != nil {
		return r, err
	}
	if r.warp, err = loadPart[warpSection](base, "warp"); err != nil {
		return r, err
	}
	r.follow()
	return r, nil
}

// follow notes the parts measured right after another part by a command for all parts, kms first: the load average
// before such a part comes from the part before.
func (r *report) follow() {
	if r.data != nil {
		r.data.follows = !strings.HasSuffix(r.data.Command, " data")
	}
	if r.memory != nil {
		r.memory.follows = !strings.HasSuffix(r.memory.Command, " memory")
	}
	if r.scale != nil {
		r.scale.follows = !strings.HasSuffix(r.scale.Command, " scale")
	}
	if r.warp != nil {
		r.warp.follows = !strings.HasSuffix(r.warp.Command, " warp")
	}
}
