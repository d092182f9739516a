package main

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

const (
	registerBucket  = "nemesis-registers"
	registerClients = 3
	registerTime    = 20 * time.Second // of a history
)

// registers runs one register after the other, each under several clients at once, until the end.
func (n *nemesis) registers(slot int) {
	for round := 0; !n.over(); round++ {
		key := fmt.Sprintf("r%d-%d", slot, round)
		o := &object{n: n, key: key, history: &history{name: "register " + key}, known: map[string]register{}}
		o.run()
		n.report.histories.add(o.history)
		n.judge(o.history)
		n.keep(o.history, o.finalRead, n.judge)
	}
}

// object is a register that is an S3 object.
type object struct {
	n       *nemesis
	key     string
	history *history

	mu      sync.Mutex
	written int
	known   map[string]register // by ETag: what a client has been told of
	last    []register          // told of most recently
}

func (o *object) path() string { return "/" + registerBucket + "/" + o.key }

func (o *object) run() {
	var clients sync.WaitGroup
	end := time.Now().Add(registerTime)
	for client := range registerClients {
		clients.Go(func() {
			for !o.history.full() && time.Now().Before(end) && !o.n.over() {
				o.step(client)
			}
		})
	}
	clients.Wait()
}

func (o *object) step(client int) {
	switch p := rand.IntN(100); {
	case p < 40:
		o.read(client, o.n.cluster.next())
	case p < 55:
		o.put(client, input{kind: write})
	case p < 75:
		if expect, ok := o.recent(); ok {
			o.put(client, input{kind: swap, expect: expect})
		}
	case p < 82:
		o.put(client, input{kind: create})
	case p < 88:
		o.remove(client)
	default:
		o.touch(client)
	}
}

// recent picks a value and its ETag out of the last that a client was told of.
func (o *object) recent() (register, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.last) == 0 {
		return register{}, false
	}
	return o.last[len(o.last)-1-rand.IntN(min(2, len(o.last)))], true
}

func (o *object) told(r register) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = append(o.last, r)
}

func (o *object) newID() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.written++
	return fmt.Sprintf("%s.%d", o.key, o.written)
}

func (o *object) read(client int, r *replica) {
	o.history.record(client, input{kind: read, at: r.name}, func() (output, bool) {
		found, ok := o.get(r)
		return output{found: found}, ok
	})
}

// get reads the object. It gives ok false where that does not tell what is there.
func (o *object) get(r *replica) (register, bool) {
	a := o.n.send(r, request{method: "GET", path: o.path()})
	if a.code == "NoSuchKey" {
		return register{}, true
	}
	if a.outcome != done {
		return register{}, false
	}
	id, err := identify(o.n.spoil(o.key, a.body))
	if err != nil {
		o.n.report.violation("wrong bytes", "GET %s at %s: %v", o.path(), r.name, err)
		return register{}, false
	}
	found := register{id, a.header.Get("Etag")}
	o.told(found)
	return found, true
}

// encryption picks how an object is sealed: not at all named, with SSE-S3, or with the KMS key of all registers.
func (n *nemesis) encryption() map[string]string {
	switch rand.IntN(4) {
	case 0:
		return map[string]string{}
	case 1:
		return map[string]string{"X-Amz-Server-Side-Encryption": "AES256"}
	case 2:
		return map[string]string{"X-Amz-Server-Side-Encryption": "aws:kms:dsse", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": n.key}
	}
	return map[string]string{"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": n.key,
		"X-Amz-Server-Side-Encryption-Bucket-Key-Enabled": fmt.Sprint(rand.IntN(2) == 0)}
}

// put writes the object under the condition of in.kind.
func (o *object) put(client int, in input) {
	in.value = o.newID()
	header := o.n.encryption()
	switch in.kind {
	case swap:
		header["If-Match"] = in.expect.etag
	case create:
		header["If-None-Match"] = "*"
	}
	r := o.n.cluster.next()
	in.at = r.name
	o.history.record(client, in, func() (output, bool) {
		a := o.n.send(r, request{method: "PUT", path: o.path(), header: header, body: contents(in.value, sizeOf(in.value))})
		out := output{outcome: a.outcome, found: register{in.value, a.header.Get("Etag")}, absent: a.code == "NoSuchKey", why: a.code}
		if a.outcome == done {
			o.told(out.found)
		}
		return out, a.outcome != refused || o.isCondition(in.kind, a)
	})
}

// isCondition reports whether a refusal tells that the condition did not hold. Another one (a conflicting request, for
// example) tells nothing, and the request did nothing.
func (o *object) isCondition(k kind, a answer) bool {
	return k == create && a.status == http.StatusPreconditionFailed || k == swap && (a.status == http.StatusPreconditionFailed || a.code == "NoSuchKey")
}

func (o *object) remove(client int) {
	r := o.n.cluster.next()
	o.history.record(client, input{kind: remove, at: r.name}, func() (output, bool) {
		a := o.n.send(r, request{method: "DELETE", path: o.path()})
		return output{outcome: a.outcome, why: a.code}, a.outcome != refused
	})
}

// touch copies the object in place, to be sealed otherwise.
func (o *object) touch(client int) {
	header := o.n.encryption()
	header["X-Amz-Copy-Source"] = escape(o.path())
	header["X-Amz-Metadata-Directive"] = "REPLACE"
	r := o.n.cluster.next()
	o.history.record(client, input{kind: touch, at: r.name}, func() (output, bool) {
		a := o.n.send(r, request{method: "PUT", path: o.path(), header: header})
		out := output{outcome: a.outcome, found: register{etag: element(a.body, "ETag")}, absent: a.code == "NoSuchKey", why: a.code}
		return out, a.outcome != refused || out.absent
	})
}

// finalRead reads the object at the end of the run, on each replica.
func (o *object) finalRead(r *replica) { o.read(registerClients, r) }
