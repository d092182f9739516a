package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// nemesis is a run: a cluster, a load on it, faults, and what was found.
type nemesis struct {
	cluster *cluster
	faults  *faults
	report  *report
	defect  *defect
	results string // directory for histories that fail
	end     time.Time

	key string // KMS key of the registers

	mu       sync.Mutex
	kept     []kept
	open     []*upload // left open
	uploaded []*upload // completed
}

// kept is a history that is read once more at the end.
type kept struct {
	history *history
	read    func(r *replica)
	judge   func(h *history)
}

func (n *nemesis) over() bool { return time.Now().After(n.end) }

func (n *nemesis) keep(h *history, read func(r *replica), judge func(h *history)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.kept = append(n.kept, kept{h, read, judge})
}

// prepare makes what the load works on.
func (n *nemesis) prepare() error {
	for _, bucket := range []string{registerBucket, uploadBucket} {
		if err := n.makeBucket(bucket); err != nil {
			return err
		}
	}
	key, err := n.makeKey()
	n.key = key
	return err
}

func (n *nemesis) makeBucket(name string) error {
	a := n.surely(func(r *replica) answer {
		a := n.send(r, request{method: "PUT", path: "/" + name})
		if a.code == "BucketAlreadyOwnedByYou" {
			a.outcome = done
		}
		return a
	})
	if a.outcome != done {
		return fmt.Errorf("bucket %s: %d %s %v", name, a.status, a.body, a.err)
	}
	return nil
}

func (n *nemesis) makeKey() (arn string, err error) {
	a := n.surely(func(r *replica) answer { return n.kms(r, root, "CreateKey", "{}") })
	if a.outcome != done {
		return "", fmt.Errorf("CreateKey: %d %s %v", a.status, a.body, a.err)
	}
	return field(string(a.body), "Arn"), nil
}

// load runs all clients until the end.
func (n *nemesis) load() {
	var clients sync.WaitGroup
	for slot := range 3 {
		clients.Go(func() { n.registers(slot) })
	}
	for slot := range 3 {
		clients.Go(func() { n.uploads(slot) })
	}
	clients.Go(n.settings)
	clients.Wait()
}

// judge checks a history, and writes one that fails as a page that shows it.
func (n *nemesis) judge(h *history) {
	result, info := h.check(checkTime)
	switch result {
	case porcupine.Ok:
		return
	case porcupine.Unknown:
		n.report.unchecked(h)
		return
	}
	size, _ := h.size()
	n.report.violation("not linearizable", "%s: %d operations, see %s", h.name, size, n.show(h, info))
}

// show writes a history as a page and as text, and returns the page's name.
func (n *nemesis) show(h *history, info porcupine.LinearizationInfo) string {
	path := filepath.Join(n.results, fileName(h.name))
	if err := errors.Join(porcupine.VisualizePath(model(h.initial), info, path+".html"), os.WriteFile(path+".txt", h.text(info), 0o644)); err != nil {
		return err.Error()
	}
	return path + ".html"
}

func fileName(name string) string {
	letters := []rune(name)
	for i, l := range letters {
		if l == ' ' || l == '/' || l == ':' {
			letters[i] = '-'
		}
	}
	return string(letters)
}

// finish reads everything once more on every replica, after all faults.
func (n *nemesis) finish() {
	n.report.finishing()
	for _, k := range n.kept {
		for _, r := range n.cluster.replicas {
			k.read(r)
		}
		k.judge(k.history)
	}
	n.finishUploads()
}

// run is the whole of a run after the cluster has started.
func (n *nemesis) run() error {
	if err := n.prepare(); err != nil {
		return err
	}
	stopped := n.faults.begin(n.end)
	n.load()
	if err := stopped(); err != nil {
		return err
	}
	for _, r := range n.cluster.replicas {
		if err := r.ready(time.Minute); err != nil {
			n.report.violation("not well", "a minute after the last fault: %v", err)
		}
	}
	n.finish()
	return nil
}

// results is made anew for each run.
func makeResults(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.MkdirAll(dir, 0o755)
}
