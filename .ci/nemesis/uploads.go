package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const uploadBucket = "nemesis-uploads"

// upload is a multipart upload. Each of its requests goes to another replica.
type upload struct {
	n     *nemesis
	key   string
	id    string
	parts map[int]*part

	brokenOff bool // a Complete had no answer
}

// part is what is known of a part: the content that was acknowledged, and the contents of requests whose answer was lost.
// Such a request may still come to its end, and then its content takes the part's place.
type part struct {
	etag    string
	content string
	lost    []string
	size    int
}

func (p *part) body(content string) []byte { return contents(content, p.size) }

// uploads makes one upload after the other, until the end. Every tenth is left open.
func (n *nemesis) uploads(slot int) {
	for round := 0; !n.over(); round++ {
		u := &upload{n: n, key: fmt.Sprintf("u%d-%d", slot, round), parts: map[int]*part{}}
		if !u.create() {
			continue
		}
		u.fill(rand.IntN(4) == 0)
		switch p := rand.IntN(10); {
		case p == 0:
			n.leaveOpen(u)
		case p <= 2:
			u.abort()
		default:
			u.complete()
		}
	}
}

func (u *upload) path() string { return "/" + uploadBucket + "/" + u.key }

func (u *upload) query(more ...string) url.Values {
	q := url.Values{"uploadId": {u.id}}
	for i := 0; i < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	return q
}

func (u *upload) create() bool {
	header := u.n.encryption()
	a := u.n.surely(func(r *replica) answer {
		return u.n.send(r, request{method: "POST", path: u.path(), query: url.Values{"uploads": {""}}, header: header})
	})
	u.id = element(a.body, "UploadId")
	return a.outcome == done && u.id != ""
}

// fill sends the parts: large ones and a short last one, or a short one alone. Some are sent twice, with another content.
func (u *upload) fill(large bool) {
	last := 1
	if large {
		last = 2 + rand.IntN(2)
	}
	for number := 1; number <= last; number++ {
		size := 5 * mib
		if number == last {
			size = 100 + rand.IntN(100_000)
		}
		u.parts[number] = &part{size: size}
		for again := range 1 + rand.IntN(2) {
			u.put(number, fmt.Sprintf("%s.%d.%d", u.key, number, again))
		}
		u.checkList(u.n.cluster.next())
	}
}

// put sends a part until it is acknowledged.
func (u *upload) put(number int, content string) {
	p := u.parts[number]
	for deadline := time.Now().Add(recovery); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		a := u.n.send(u.n.cluster.next(), request{method: "PUT", path: u.path(), query: u.query("partNumber", strconv.Itoa(number)), body: p.body(content)})
		switch {
		case a.outcome == done:
			p.etag, p.content = a.header.Get("Etag"), content
			u.n.report.upload(func(t *uploadTally) { t.parts++ })
			return
		case a.outcome == unknown:
			p.lost = append(p.lost, content)
		case a.code == "NoSuchUpload":
			u.n.report.violation("lost", "upload %s %s: UploadPart says %s", u.key, u.id, a.code)
			return
		}
	}
}

type partList struct {
	Parts []struct {
		PartNumber int
		ETag       string
	} `xml:"Part"`
	IsTruncated bool
}

// checkList lists the parts at a replica. Every part that was acknowledged must be there.
func (u *upload) checkList(r *replica) bool {
	a := u.n.send(r, request{method: "GET", path: u.path(), query: u.query()})
	if a.outcome == refused {
		u.n.report.violation("lost", "upload %s %s: ListParts at %s says %d %s", u.key, u.id, r.name, a.status, a.code)
	}
	if a.outcome != done {
		return false
	}
	var list partList
	if err := xml.Unmarshal(a.body, &list); err != nil {
		u.n.report.violation("lost", "upload %s: ListParts at %s: %v", u.key, r.name, err)
		return false
	}
	u.n.report.upload(func(t *uploadTally) { t.lists++ })
	if u.n.defect.is("part", 20) && len(list.Parts) > 0 {
		list.Parts = list.Parts[1:]
	}
	etags := map[int]string{}
	for _, p := range list.Parts {
		etags[p.PartNumber] = p.ETag
	}
	for number, p := range u.parts {
		u.compare(r, number, p, etags[number])
	}
	return true
}

func (u *upload) compare(r *replica, number int, p *part, listed string) {
	switch {
	case p.etag == "": // never acknowledged
	case listed == "" && len(p.lost) > 0:
		// A part that was sent again, without an answer, may be at the store without its record: neither is there then.
		p.etag = ""
		u.n.report.upload(func(t *uploadTally) { t.doubtful++ })
	case listed == "" && u.lostByStore():
		// counted by Complete
	case listed == "":
		u.n.report.violation("lost", "upload %s %s: part %d is not in the list of %s", u.key, u.id, number, r.name)
	case listed != p.etag && len(p.lost) == 0:
		u.n.report.violation("lost", "upload %s %s: part %d is %s in the list of %s, acknowledged %s", u.key, u.id, number, listed, r.name, p.etag)
	case listed != p.etag:
		p.etag = listed // a request without an answer came to its end
		p.lost = append(p.lost, p.content)
	}
}

func (u *upload) abort() {
	a := u.n.surely(func(r *replica) answer {
		a := u.n.send(r, request{method: "DELETE", path: u.path(), query: u.query()})
		if a.code == "NoSuchUpload" { // by a request before, without an answer
			a.outcome = done
		}
		return a
	})
	if a.outcome != done {
		return
	}
	for _, r := range u.n.cluster.replicas {
		if a := u.n.send(r, request{method: "GET", path: u.path(), query: u.query()}); a.outcome == done {
			u.n.report.violation("not aborted", "upload %s %s: %s lists its parts", u.key, u.id, r.name)
		}
	}
	u.n.report.upload(func(t *uploadTally) { t.aborted++ })
}

func (u *upload) document() []byte {
	var b strings.Builder
	b.WriteString("<CompleteMultipartUpload>")
	for number := 1; number <= len(u.parts); number++ {
		fmt.Fprintf(&b, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", number, u.parts[number].etag)
	}
	b.WriteString("</CompleteMultipartUpload>")
	return []byte(b.String())
}

// complete completes the upload and reads the object.
func (u *upload) complete() {
	if !u.sendDoubtful() {
		return // no replica took it
	}
	if u.completed() {
		u.verify(u.n.cluster.next())
		u.n.report.upload(func(t *uploadTally) { t.completed++ })
		u.n.keepUpload(u)
	}
}

// completed sends Complete until an answer tells how it ended.
func (u *upload) completed() bool {
	for deadline := time.Now().Add(recovery); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		a := u.n.send(u.n.cluster.next(), request{method: "POST", path: u.path(), query: u.query(), body: u.document()})
		switch {
		case a.outcome == done:
			return true
		case a.outcome == unknown:
			u.brokenOff = true
		case a.code == "NoSuchUpload" && u.brokenOff:
			return true
		case a.code == "InvalidPart" && u.lostByStore():
			u.n.report.upload(func(t *uploadTally) { t.destroyed++ })
			return false
		case a.code == "InvalidPart" && u.anyLost():
			u.checkList(u.n.cluster.next())
			u.sendDoubtful()
		case a.status != 409:
			u.n.report.violation("lost", "upload %s %s: Complete says %d %s", u.key, u.id, a.status, a.body)
			return false
		}
	}
	return false
}

// sendDoubtful sends the parts again that are not there, as a client does without an answer. It reports whether all are.
func (u *upload) sendDoubtful() bool {
	for number, p := range u.parts {
		if p.etag == "" {
			u.put(number, fmt.Sprintf("%s.%d.again", u.key, number))
		}
		if p.etag == "" {
			return false
		}
	}
	return true
}

// lostByStore asks the store itself. MinIO removes the metadata of parts before it puts them together: when the connection
// of a Complete ends meanwhile (the replica was killed), the upload stays there without parts, and without an object.
func (u *upload) lostByStore() bool {
	if !u.brokenOff || u.n.cluster.store == nil {
		return false
	}
	direct := &replica{name: "store", s3: &link{addr: strings.TrimPrefix(u.n.cluster.storeURL, "http://")}, clientsOf: newHTTPClient()}
	a := direct.do(request{method: "GET", path: u.path(), query: u.query(), by: storeUser})
	return a.outcome == done && !bytes.Contains(a.body, []byte("<Part>"))
}

func (u *upload) anyLost() bool {
	for _, p := range u.parts {
		if len(p.lost) > 0 {
			return true
		}
	}
	return false
}

// verify reads the object, which must be there, part by part what was acknowledged.
func (u *upload) verify(r *replica) {
	a := u.n.surely(func(other *replica) answer {
		a := u.n.send(r, request{method: "GET", path: u.path()})
		if a.outcome == refused {
			u.n.report.violation("lost", "GET %s at %s, after Complete: %d %s", u.path(), r.name, a.status, a.code)
			a.outcome = done
		}
		r = other
		return a
	})
	if a.outcome != done || a.status != 200 {
		return
	}
	rest := u.n.spoil(u.key, a.body)
	for number := 1; number <= len(u.parts); number++ {
		p := u.parts[number]
		if len(rest) < p.size || !u.isContent(p, rest[:p.size]) {
			u.n.report.violation("wrong bytes", "GET %s: part %d of %d bytes", u.path(), number, p.size)
			return
		}
		rest = rest[p.size:]
	}
	if len(rest) > 0 {
		u.n.report.violation("wrong bytes", "GET %s: %d bytes too many", u.path(), len(rest))
	}
}

func (u *upload) isContent(p *part, body []byte) bool {
	for _, content := range append([]string{p.content}, p.lost...) {
		if bytes.Equal(body, p.body(content)) {
			return true
		}
	}
	return false
}

func (n *nemesis) leaveOpen(u *upload) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open = append(n.open, u)
}

func (n *nemesis) keepUpload(u *upload) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.uploaded = append(n.uploaded, u)
}

// finishUploads lists the parts of the open uploads on each replica, completes them, and reads all objects once more.
func (n *nemesis) finishUploads() {
	n.report.upload(func(t *uploadTally) { t.open = len(n.open) })
	for _, u := range n.open {
		for _, r := range n.cluster.replicas {
			u.checkList(r)
		}
		u.complete()
	}
	for i, u := range n.uploaded {
		u.verify(n.cluster.replicas[i%len(n.cluster.replicas)])
	}
}
