package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program with the life of a measurement.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string        // file with all output
	done chan struct{} // closed when it has ended
	err  error         // closed at its end
}

// startProcess runs a program and waits until it listens at addr.
func startProcess(ctx context.Context, dir, name, addr string, env []string, args ...string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, out, out
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = diesWithParent()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	go func() { p.err = p.cmd.Wait(); close(p.done) }()
	if err := p.awaitListener(ctx, addr); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

const startTimeout = 30 * time.Second

func (p *process) awaitListener(ctx context.Context, addr string) error {
	deadline := time.Now().Add(startTimeout)
	for time.Now().Before(deadline) && ctx.Err() == nil {
		select {
		case <-p.done:
			text, _ := os.ReadFile(p.log) // for the message only
			return fmt.Errorf("%s ended at once: %v: %s", p.name, p.err, bytes.TrimSpace(text))
		default:
		}
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("%s does not listen at %s", p.name, addr)
}

// stop ends the program, by its own process id.
func (p *process) stop() {
	if p == nil || p.cmd.Process == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.done:
		return
	case <-time.After(5 * time.Second):
	}
	_ = p.cmd.Process.Kill() // the same
	<-p.done
}

// pids returns the ids of the process and its children: a server may do its work in children.
func (p *process) pids() []int {
	pid := p.cmd.Process.Pid
	all := []int{pid}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return all
	}
	for _, t := range tasks {
		text, err := os.ReadFile(t)
		if err != nil {
			continue // the thread has ended
		}
		for _, f := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(f); err == nil {
				all = append(all, n)
			}
		}
	}
	return all
}

// clockTick is the unit of times in /proc/PID/stat: USER_HZ, 100 on every Linux with Go.
const clockTick = 10 * time.Millisecond

// cpu is the processor time used so far, user and system.
func (p *process) cpu() (time.Duration, error) {
	var ticks int64
	for _, pid := range p.pids() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		// The name, in parentheses, may hold anything; utime and stime are the 14th and 15th field.
		_, rest, ok := strings.Cut(string(text[bytes.LastIndexByte(text, ')'):]), " ")
		f := strings.Fields(rest)
		if !ok || len(f) < 13 {
			return 0, errors.New("/proc/PID/stat is of another form")
		}
		for _, field := range f[11:13] {
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, err
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * clockTick, nil
}

// resetPeak makes peakRSS count from now on.
func (p *process) resetPeak() {
	for _, pid := range p.pids() {
		// Without permission the peak is of the process's whole life.
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
	}
}

// peakRSS returns the peak resident memory in bytes.
func (p *process) peakRSS() int64 {
	var total int64
	for _, pid := range p.pids() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
				if err == nil {
					total += kib << 10
				}
			}
		}
	}
	return total
}

// freeAddr returns an unused loopback address.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
