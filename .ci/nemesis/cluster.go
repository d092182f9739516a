package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// window is --bucket-key-ttl of the replicas: how long a replica cut off from the state may go on with what it knows.
const window = 10 * time.Second

var (
	root      = credentials{"AKIANEMESISROOTUSER0", "secret-of-the-nemesis-root-0123456789"}
	storeUser = credentials{"nemesis", "secret-of-the-store"}
	alice     = credentials{"AKIANEMESISALICE0000", "secret-of-the-nemesis-alice-0123456789"}
)

const aliceARN = "arn:aws:iam::000000000000:user/alice"

// replica is a waxseal with a link before and behind every connection it has.
type replica struct {
	name      string
	process   *process
	s3, kms   *link // clients' ways to it
	admin     string
	clientsOf *http.Client
	suspect   atomic.Bool // a fault is on: clients with a health check would go elsewhere

	links                 []*link // all but the one to the store
	clients, state, store []*gate // on the ways of clients to it, and on its own to etcd and to the store
}

// cluster is everything that runs.
type cluster struct {
	dir       string
	programs  programs
	etcd      []*process
	members   []string // client addresses of etcd
	store     *process
	storeURL  string
	storeLink *link
	storeEnv  []string
	replicas  []*replica
	picked    atomic.Int64
}

// programs are the files to run.
type programs struct{ waxseal, etcd, store string }

// begin starts the store, etcd's members and the replicas. A single replica has neither etcd nor a store: its state is a
// file and its store the embedded one.
func begin(dir string, p programs, replicas, members int) (*cluster, error) {
	c := &cluster{dir: dir, programs: p}
	if replicas > 1 {
		if err := errors.Join(c.startStore(), c.startEtcd(members)); err != nil {
			return c, err
		}
	}
	for n := range replicas {
		r, err := c.newReplica(fmt.Sprintf("replica%d", n+1), replicas == 1)
		if err != nil {
			return c, err
		}
		c.replicas = append(c.replicas, r)
	}
	if c.storeLink != nil {
		go c.storeLink.serve()
	}
	for _, r := range c.replicas {
		if err := errors.Join(r.process.start(), r.ready(time.Minute)); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c *cluster) end() {
	for _, r := range c.replicas {
		r.process.kill()
		for _, l := range r.links {
			l.listener.Close()
		}
		for _, g := range slices.Concat(r.clients, r.state, r.store) {
			g.set(false, true)
		}
	}
	for _, p := range append(c.etcd, c.store) {
		if p != nil {
			p.kill()
		}
	}
}

func (c *cluster) startStore() error {
	addr, err := freeAddress()
	if err != nil {
		return err
	}
	_, port, _ := strings.Cut(addr, ":")
	data := filepath.Join(c.dir, "store")
	p := &process{name: "store", log: filepath.Join(c.dir, "store.log")}
	user, secret := storeUser.accessKey, storeUser.secretKey
	switch filepath.Base(c.programs.store) {
	case "minio":
		p.args = []string{c.programs.store, "server", "--quiet", "--address", addr, "--certs-dir", filepath.Join(c.dir, "none"), data}
		p.env = []string{"MINIO_ROOT_USER=" + user, "MINIO_ROOT_PASSWORD=" + secret, "MINIO_BROWSER=off", "MINIO_UPDATE=off", "CI=true"}
	case "versitygw":
		p.args = []string{c.programs.store, "-a", user, "-s", secret, "--port", "127.0.0.1:" + port, "--quiet", "--iam-dir", filepath.Join(c.dir, "iam"), "posix", data}
	default:
		return fmt.Errorf("%s is neither minio nor versitygw", c.programs.store)
	}
	if err := errors.Join(os.MkdirAll(data, 0o700), os.MkdirAll(filepath.Join(c.dir, "iam"), 0o700)); err != nil {
		return err
	}
	c.store, c.storeURL = p, "http://"+addr
	c.storeEnv = []string{"WAXSEAL_UPSTREAM_ACCESS_KEY=" + user, "WAXSEAL_UPSTREAM_SECRET_KEY=" + secret}
	if err := p.start(); err != nil {
		return err
	}
	if c.storeLink, err = newSharedLink(addr, c.storeGate); err != nil {
		return err
	}
	return p.answers(c.storeURL, 30*time.Second, func(status int) bool { return status < 500 })
}

// startEtcd starts a cluster of members. Their data lie in dir, without the synchronisation of each write to the disk:
// a killed process loses nothing by that, and a slow disk would be what is measured.
func (c *cluster) startEtcd(members int) error {
	var initial, peers []string
	for n := range members {
		client, err := freeAddress()
		if err != nil {
			return err
		}
		peer, err := freeAddress()
		if err != nil {
			return err
		}
		c.members, peers = append(c.members, client), append(peers, "http://"+peer)
		initial = append(initial, fmt.Sprintf("etcd%d=http://%s", n+1, peer))
	}
	for n := range members {
		name, client := fmt.Sprintf("etcd%d", n+1), "http://"+c.members[n]
		p := &process{name: name, log: filepath.Join(c.dir, name+".log"), args: []string{c.programs.etcd, "--name", name,
			"--data-dir", filepath.Join(c.dir, name), "--listen-client-urls", client, "--advertise-client-urls", client,
			"--listen-peer-urls", peers[n], "--initial-advertise-peer-urls", peers[n], "--initial-cluster", strings.Join(initial, ","),
			"--unsafe-no-fsync", "--log-level", "warn"}}
		c.etcd = append(c.etcd, p)
		if err := p.start(); err != nil {
			return err
		}
	}
	return c.etcdReady(30 * time.Second)
}

func (c *cluster) etcdReady(d time.Duration) error {
	for n, p := range c.etcd {
		if err := p.answers("http://"+c.members[n]+"/health", d, func(status int) bool { return status == 200 }); err != nil {
			return err
		}
	}
	return nil
}

// leader returns the member of etcd that leads.
func (c *cluster) leader() int {
	for n, addr := range c.members {
		resp, err := http.Post("http://"+addr+"/v3/maintenance/status", "application/json", strings.NewReader("{}"))
		if err != nil {
			continue
		}
		var text bytes.Buffer
		text.ReadFrom(resp.Body)
		resp.Body.Close()
		if id := field(text.String(), "member_id"); id != "" && id == field(text.String(), "leader") {
			return n
		}
	}
	return rand.IntN(len(c.members))
}

// field returns a string of a JSON document by its name.
func field(text, name string) string {
	_, rest, _ := strings.Cut(text, `"`+name+`":"`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

func (c *cluster) newReplica(name string, alone bool) (*replica, error) {
	r := &replica{name: name, clientsOf: newHTTPClient()}
	var addrs [3]string
	for i := range addrs {
		var err error
		if addrs[i], err = freeAddress(); err != nil {
			return nil, err
		}
	}
	for i, to := range []**link{&r.s3, &r.kms} {
		l, g, err := newLink(addrs[i])
		if err != nil {
			return nil, err
		}
		*to, r.links, r.clients = l, append(r.links, l), append(r.clients, g)
	}
	r.admin = addrs[2]
	args := []string{c.programs.waxseal, "serve", "--data-dir", filepath.Join(c.dir, name), "--config", filepath.Join(c.dir, "waxseal.yaml"),
		"--listen", addrs[0], "--kms-listen", addrs[1], "--admin-listen", addrs[2], "--bucket-key-ttl", window.String(), "--drain-delay", "3s"}
	if !alone {
		more, err := c.share(r)
		if err != nil {
			return nil, err
		}
		args = append(args, more...)
	}
	users := fmt.Sprintf("users:\n- {name: alice, access_key: %s, secret_key: %s}\n", alice.accessKey, alice.secretKey)
	if err := os.WriteFile(filepath.Join(c.dir, "waxseal.yaml"), []byte(users), 0o600); err != nil {
		return nil, err
	}
	r.process = &process{name: name, args: args, log: filepath.Join(c.dir, name+".log"), env: append(c.storeEnv,
		"WAXSEAL_ACCESS_KEY="+root.accessKey, "WAXSEAL_SECRET_KEY="+root.secretKey,
		"WAXSEAL_ROOT_SECRET="+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))}
	return r, nil
}

// share gives a replica its links to etcd and to the store, and returns the flags that name them.
func (c *cluster) share(r *replica) ([]string, error) {
	var members []string
	for _, addr := range c.members {
		l, g, err := newLink(addr)
		if err != nil {
			return nil, err
		}
		r.links, r.state, members = append(r.links, l), append(r.state, g), append(members, l.addr)
	}
	r.store = []*gate{newGate()}
	return []string{"--state", "etcd://" + strings.Join(members, ",") + "/nemesis", "--replica", r.name, "--staging-bucket", "nemesis-staged",
		"--upstream-endpoint", "http://" + c.storeLink.addr}, nil
}

// storeGate is the gate of the replica that a connection to the store comes from. All replicas name the store alike, and
// so have one link to it.
func (c *cluster) storeGate(client net.Conn) *gate {
	for range 100 { // the kernel's list leaves lines out while it changes
		for _, r := range c.replicas {
			if r.process.owns(client) {
				return r.store[0]
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

// ready waits until the replica's /readyz says so.
func (r *replica) ready(d time.Duration) error {
	return r.process.answers("http://"+r.admin+"/readyz", d, func(status int) bool { return status == 200 })
}

func (r *replica) signal(s syscall.Signal) error { return r.process.signal(s) }

// with runs a command that finds the replicas' endpoints in its environment.
func (c *cluster) with(command []string) (well bool, err error) {
	var s3, kms []string
	for _, r := range c.replicas {
		s3, kms = append(s3, "http://"+r.s3.addr), append(kms, "http://"+r.kms.addr)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "S3S="+strings.Join(s3, ","), "KMSS="+strings.Join(kms, ","),
		"AWS_ACCESS_KEY_ID="+root.accessKey, "AWS_SECRET_ACCESS_KEY="+root.secretKey, "AWS_DEFAULT_REGION="+region, "AWS_EC2_METADATA_DISABLED=true")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return false, errors.Join(err, c.logs())
	}
	return true, nil
}

// next picks replicas round robin. It mostly passes over replicas with a fault, as a balancer with health checks does.
func (c *cluster) next() *replica {
	for range c.replicas {
		r := c.replicas[int(c.picked.Add(1))%len(c.replicas)]
		if !r.suspect.Load() || rand.IntN(20) == 0 {
			return r
		}
	}
	return c.replicas[int(c.picked.Add(1))%len(c.replicas)]
}

// build makes a program from a package of the repository's module, or of one that it requires.
func build(repository, to, pkg string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-o", to, pkg)
	cmd.Dir, cmd.Env = repository, append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w: %s", pkg, err, out)
	}
	return nil
}

// logs is an error with the ends of all logs: of a run that could not go on.
func (c *cluster) logs() error {
	paths, err := filepath.Glob(filepath.Join(c.dir, "*.log"))
	all := []error{err}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		all = append(all, err, fmt.Errorf("%s:\n%s", filepath.Base(path), strings.Join(lines[max(0, len(lines)-8):], "\n")))
	}
	return errors.Join(all...)
}
