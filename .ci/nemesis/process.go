package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// process is a program under the nemesis' control. It ends with the nemesis.
type process struct {
	name string
	args []string
	env  []string
	log  string // file with its output, of all its lives

	mu    sync.Mutex
	cmd   *exec.Cmd
	ended chan struct{}
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := startLocked(cmd); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	ended := make(chan struct{})
	p.cmd, p.ended = cmd, ended
	go func() {
		cmd.Wait()
		close(ended)
	}()
	return nil
}

// signal sends a signal to the process.
func (p *process) signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	return p.cmd.Process.Signal(s)
}

// kill ends the process at once and waits for its end.
func (p *process) kill() {
	if p.signal(syscall.SIGKILL) == nil {
		p.wait(10 * time.Second)
	}
}

// wait reports whether the process has ended, after at most d.
func (p *process) wait(d time.Duration) bool {
	p.mu.Lock()
	ended := p.ended
	p.mu.Unlock()
	if ended == nil {
		return true
	}
	select {
	case <-ended:
		return true
	case <-time.After(d):
		return false
	}
}

// starters has one thread that starts all processes: Pdeathsig is sent when the thread of the start ends.
var starters = make(chan func())

func init() {
	go func() {
		runtime.LockOSThread()
		for start := range starters {
			start()
		}
	}()
}

func startLocked(cmd *exec.Cmd) (err error) {
	done := make(chan struct{})
	starters <- func() {
		err = cmd.Start()
		close(done)
	}
	<-done
	return err
}

// freeAddress returns an address of loopback that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// answers waits until url is answered with a status that ok takes.
func (p *process) answers(url string, d time.Duration, ok func(status int) bool) error {
	client := http.Client{Timeout: 2 * time.Second}
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if resp, err := client.Get(url); err == nil {
			resp.Body.Close()
			if ok(resp.StatusCode) {
				return nil
			}
		}
		if p.wait(0) {
			return fmt.Errorf("%s has ended; its output is in %s", p.name, p.log)
		}
	}
	return fmt.Errorf("%s does not answer at %s; its output is in %s", p.name, url, p.log)
}
