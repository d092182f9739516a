package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// haproxyConf has the health checks of docs/operations.md: /readyz says 503 for the drain delay before a replica takes no
// more requests, and haproxy looks every half second. A request that failed is not sent again.
const haproxyConf = `global
	maxconn 1000
defaults
	mode http
	timeout connect 5s
	timeout client 60s
	timeout server 60s
	retries 0
	option httpchk GET /readyz
	http-check expect status 200
	default-server inter 500ms fall 1 rise 2
`

func (c *cluster) haproxy(dir string) (balanced *replica, p *process, err error) {
	program, err := find("haproxy")
	if err != nil {
		return nil, nil, err
	}
	balanced = &replica{name: "haproxy", clientsOf: newHTTPClient(), s3: &link{}, kms: &link{}}
	conf := haproxyConf
	for i, port := range []struct {
		name string
		to   *link
	}{{"s3", balanced.s3}, {"kms", balanced.kms}} {
		if port.to.addr, err = freeAddress(); err != nil {
			return nil, nil, err
		}
		conf += fmt.Sprintf("listen %s\n\tbind %s\n", port.name, port.to.addr)
		for _, r := range c.replicas {
			conf += fmt.Sprintf("\tserver %s %s check addr 127.0.0.1 port %s\n", r.name, r.links[i].target, r.admin[len("127.0.0.1:"):])
		}
	}
	path := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		return nil, nil, err
	}
	p = &process{name: "haproxy", args: []string{program, "-db", "-f", path}, log: filepath.Join(dir, "haproxy.log")}
	if err := p.start(); err != nil {
		return nil, nil, err
	}
	return balanced, p, p.answers("http://"+balanced.s3.addr, 30*time.Second, func(status int) bool { return status < http.StatusInternalServerError })
}

// rolling restarts the replicas behind haproxy, one after the other, under load. No request may fail.
func (n *nemesis) rolling(dir string) (well bool, err error) {
	balanced, p, err := n.cluster.haproxy(dir)
	if err != nil {
		return false, err
	}
	defer p.kill()
	if err := n.prepare(); err != nil {
		return false, err
	}
	var over atomic.Bool
	var clients sync.WaitGroup
	for client := range 8 {
		clients.Go(func() {
			for round := 0; !over.Load(); round++ {
				n.ask(balanced, client, round)
			}
		})
	}
	restarts, err := n.restartAll()
	over.Store(true)
	clients.Wait()
	if err != nil {
		return false, errors.Join(err, n.cluster.logs())
	}
	fmt.Printf("%d restarts under load\n", restarts)
	return n.verdict(), nil
}

// restartAll restarts all replicas, over and over until the run's end.
func (n *nemesis) restartAll() (restarts int, err error) {
	for {
		for _, r := range n.cluster.replicas {
			time.Sleep(2 * time.Second) // so that haproxy has the last one back
			if n.over() && restarts >= len(n.cluster.replicas) {
				return restarts, nil
			}
			n.report.fault("restart", "restart "+r.name)
			n.faults.set("restart")
			end := syscall.SIGTERM
			if n.defect.is("kill", 1) {
				end = syscall.SIGKILL
			}
			if err := r.signal(end); err != nil {
				return restarts, err
			}
			if !r.process.wait(time.Minute) {
				return restarts, fmt.Errorf("%s does not end", r.name)
			}
			if err := errors.Join(r.process.start(), r.ready(time.Minute)); err != nil {
				return restarts, err
			}
			restarts++
		}
	}
}

// ask sends the requests of one round: an object is written and read, an upload made and completed, a key used.
func (n *nemesis) ask(at *replica, client, round int) {
	id := fmt.Sprintf("rolling-%d-%d", client, round)
	path := "/" + registerBucket + "/" + id
	n.must(at, request{method: "PUT", path: path, header: n.encryption(), body: contents(id, sizeOf(id))})
	if a := n.must(at, request{method: "GET", path: path}); a.outcome == done {
		if _, err := identify(a.body); err != nil {
			n.report.violation("wrong bytes", "%v", err)
		}
	}
	up := n.must(at, request{method: "POST", path: path, query: map[string][]string{"uploads": {""}}, header: n.encryption()})
	query := map[string][]string{"uploadId": {element(up.body, "UploadId")}}
	if up.outcome == done {
		sent := n.must(at, request{method: "PUT", path: path, query: map[string][]string{"uploadId": query["uploadId"], "partNumber": {"1"}}, body: contents(id, sizeOf(id))})
		u := &upload{parts: map[int]*part{1: {etag: sent.header.Get("Etag")}}}
		n.must(at, request{method: "POST", path: path, query: query, body: u.document()})
	}
	n.must(at, request{method: "DELETE", path: path})
	n.must(at, request{method: "POST", path: "/", service: "kms", body: []byte(encode(map[string]any{"KeyId": n.key, "NumberOfBytes": 32})),
		header: map[string]string{"X-Amz-Target": "TrentService.GenerateDataKey", "Content-Type": "application/x-amz-json-1.1"}})
}

// must sends a request that has to succeed.
func (n *nemesis) must(at *replica, q request) answer {
	a := n.send(at, q)
	if a.outcome != done {
		n.report.violation("failed", "%s %s: %d %s %v", q.method, q.path, a.status, a.code, a.err)
	}
	return a
}
