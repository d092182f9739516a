package main

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"waxseal/bench/nullstore"
)

// target is a measured way to the store.
type target struct {
	name    string
	addr    string
	proc    *process // CPU and memory are measured here; nil: no process in between
	admin   string   // waxseal's admin endpoint, for its allocations
	pprof   string   // waxseal's endpoint of profiles
	scrape  float64  // allocations of a scrape of admin itself
	put     map[string]string
	get     map[string]string
	restart func(context.Context) error // starts it anew on the same data
	rival   bool                        // another's: it may fail
	// keep is the prefix of this way's kept objects: no way can read the objects of another.
	keep string
}

const benchBucket = "bench"

// Names of the ways.
const (
	straightWay = "straight"
	nginxWay    = "nginx"
	bareWay     = "bare fasthttp"
	sseS3       = "SSE-S3"
	sseS3Opaque = "SSE-S3 opaque"
	sseKMS      = "SSE-KMS+BK"
	sseC        = "SSE-C"
	dsse        = "DSSE-KMS"
)

// paths are the running processes between client and null store.
type paths struct {
	dir     string
	store   *process
	addr    string // of the store
	targets []*target
	procs   []*process
	skipped []string // ways not measured, and why
}

// startPaths starts the null store, nginx where it is installed, and waxseal.
func startPaths(ctx context.Context, waxseal string) (*paths, error) {
	dir, err := os.MkdirTemp("", "waxseal-bench-")
	if err != nil {
		return nil, err
	}
	p := &paths{dir: dir}
	if err := p.start(ctx, waxseal); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (p *paths) start(ctx context.Context, waxseal string) error {
	if err := p.startStore(ctx); err != nil {
		return err
	}
	p.targets = append(p.targets, &target{name: straightWay, addr: p.addr, keep: nullstore.KeptPrefix + "plain/"})
	if err := p.startNginx(ctx); err != nil {
		return err
	}
	if err := p.startBare(ctx); err != nil {
		return err
	}
	if err := p.startModes(ctx, waxseal); err != nil {
		return err
	}
	p.startRivals(ctx, waxseal)
	return nil
}

func (p *paths) startStore(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if p.addr, err = freeAddr(); err != nil {
		return err
	}
	p.store, err = startProcess(ctx, p.dir, "null-store", p.addr, nil, self, "null-store", p.addr)
	return err
}

func (p *paths) stop() {
	for i := len(p.procs) - 1; i >= 0; i-- {
		p.procs[i].stop()
	}
	p.store.stop()
	os.RemoveAll(p.dir)
}

const nginxConf = `worker_processes %d;
daemon off;
pid %s/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path %[2]s/body;
  proxy_temp_path %[2]s/proxy;
  fastcgi_temp_path %[2]s/fastcgi;
  uwsgi_temp_path %[2]s/uwsgi;
  scgi_temp_path %[2]s/scgi;
  client_max_body_size 0;
  keepalive_requests 1000000000;
  upstream store { server %s; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen %s;
    location / {
      proxy_pass http://store;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_buffer_size 64k;
      proxy_buffers 8 64k;
    }
  }
}
`

// startNginx puts nginx in front of the store as a plain proxy: it copies bytes, streaming in both directions, with a
// worker for every processor, and does not look at them.
func (p *paths) startNginx(ctx context.Context) error {
	bin, err := exec.LookPath("nginx")
	if err != nil {
		p.skipped = append(p.skipped, nginxWay+": not installed (apt-get install nginx-light)")
		return nil
	}
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	conf := filepath.Join(p.dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, processors(), p.dir, p.addr, addr), 0o600); err != nil {
		return err
	}
	proc, err := startProcess(ctx, p.dir, "nginx", addr, nil, bin, "-p", p.dir, "-c", conf)
	if err != nil {
		p.skipped = append(p.skipped, nginxWay+": "+err.Error())
		return nil
	}
	p.procs = append(p.procs, proc)
	p.targets = append(p.targets, &target{name: nginxWay, addr: addr, proc: proc, keep: nullstore.KeptPrefix + "plain/"})
	return nil
}

// sealer is a running `waxseal serve`.
type sealer struct {
	proc                    *process
	addr, kms, admin, pprof string
	launch                  func(context.Context) (*process, error)
}

// startSealer runs waxseal in front of the null store.
func (p *paths) startSealer(ctx context.Context, bin, name string, args ...string) (*sealer, error) {
	return p.startSealerAt(ctx, bin, name, p.addr, user{"store", "store-secret"}, args...)
}

// startSealerAt runs waxseal in front of any store.
func (p *paths) startSealerAt(ctx context.Context, bin, name, store string, as user, args ...string) (*sealer, error) {
	var addr [4]string
	for i := range addr {
		var err error
		if addr[i], err = freeAddr(); err != nil {
			return nil, err
		}
	}
	env := []string{
		"WAXSEAL_ACCESS_KEY=" + benchAccess, "WAXSEAL_SECRET_KEY=" + benchSecret,
		"WAXSEAL_UPSTREAM_ACCESS_KEY=" + as.access, "WAXSEAL_UPSTREAM_SECRET_KEY=" + as.secret,
	}
	args = append([]string{bin, "serve", "--listen", addr[0], "--kms-listen", addr[1], "--admin-listen", addr[2],
		"--pprof-listen", addr[3], "--data-dir", filepath.Join(p.dir, name), "--upstream-endpoint", "http://" + store, "--allow-insecure-ssec",
		"--drain-delay", "0"}, args...)
	s := &sealer{addr: addr[0], kms: addr[1], admin: addr[2], pprof: addr[3], launch: func(ctx context.Context) (*process, error) {
		return startProcess(ctx, p.dir, name, addr[0], env, args...)
	}}
	var err error
	if s.proc, err = s.launch(ctx); err != nil {
		return nil, err
	}
	p.procs = append(p.procs, s.proc)
	return s, nil
}

// restart starts a waxseal anew on its data, with nothing in its caches.
func (p *paths) restart(ctx context.Context, old *process, s *sealer) error {
	old.stop()
	proc, err := s.launch(ctx)
	if err != nil {
		return err
	}
	for i := range p.procs {
		if p.procs[i] == old {
			p.procs[i] = proc
		}
	}
	for _, t := range p.targets {
		if t.proc == old {
			t.proc = proc
		}
	}
	s.proc = proc
	return nil
}

// startModes starts two waxseals, as the kind of ETag is a flag, and gives a way for every mode.
func (p *paths) startModes(ctx context.Context, bin string) error {
	usual, err := p.startSealer(ctx, bin, "waxseal")
	if err != nil {
		return err
	}
	opaque, err := p.startSealer(ctx, bin, "waxseal-opaque", "--etag", "opaque")
	if err != nil {
		return err
	}
	customer := customerHeaders()
	for _, t := range []*target{
		{name: sseKMS, put: map[string]string{"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-bucket-key-enabled": "true"}},
		{name: sseS3},
		{name: sseS3Opaque},
		{name: sseC, put: customer, get: customer},
		{name: dsse, put: map[string]string{"x-amz-server-side-encryption": "aws:kms:dsse"}},
	} {
		s := usual
		if t.name == sseS3Opaque {
			s = opaque
		}
		t.proc, t.addr, t.admin, t.pprof = s.proc, s.addr, s.admin, s.pprof
		t.scrape = scrapeCost(s.admin)
		t.restart = func(ctx context.Context) error { return p.restart(ctx, s.proc, s) }
		t.keep = nullstore.KeptPrefix + strings.NewReplacer(" ", "-", "+", "-").Replace(strings.ToLower(t.name)) + "/"
		p.targets = append(p.targets, t)
	}
	return nil
}

func customerHeaders() map[string]string {
	key := bytes.Repeat([]byte{7}, 32)
	sum := md5.Sum(key)
	const h = "x-amz-server-side-encryption-customer-"
	return map[string]string{h + "algorithm": "AES256", h + "key": base64.StdEncoding.EncodeToString(key),
		h + "key-MD5": base64.StdEncoding.EncodeToString(sum[:])}
}

// find is the way of a name, nil when it is not there.
func (p *paths) find(name string) *target {
	for _, t := range p.targets {
		if t.name == name {
			return t
		}
	}
	return nil
}
