package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"

	"waxseal/bench/bareproxy"
	"waxseal/bench/nullstore"
)

func serveBareProxy(addr, store string) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return bareproxy.Serve(l, store)
}

// startBare puts the bare proxy in front of the store, in a process of its own.
func (p *paths) startBare(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	proc, err := startProcess(ctx, p.dir, "bare-proxy", addr, nil, self, "bare-proxy", addr, p.addr)
	if err != nil {
		return err
	}
	p.procs = append(p.procs, proc)
	p.targets = append(p.targets, &target{name: bareWay, addr: addr, proc: proc, keep: nullstore.KeptPrefix + "plain/"})
	return nil
}

// writeMultiples compares waxseal with the proxies without encryption, in a cell along the bare one.
func (m *measured) writeMultiples(b *strings.Builder) {
	if len(m.Rounds[bareWay]) == 0 {
		return
	}
	for _, way := range []string{nginxWay, bareWay} {
		cpu, ok := m.ratio(sseKMS, way, cpuPer1000)
		rate, ok2 := m.ratio(sseKMS, way, opsPerSec)
		if ok && ok2 {
			fmt.Fprintf(b, "\n%s against %s: %.1f times the CPU of a request, %.2f of the requests a second.\n", sseKMS, way, cpu, rate)
		}
	}
}
