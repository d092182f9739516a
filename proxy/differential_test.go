package proxy

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// TestDifferential does the same generated operations straight at a store and through waxseal in front of a store of
// the same kind, and wants the same answers. WAXSEAL_DIFF_OPS and WAXSEAL_DIFF_SEED set their number and the seed.
func TestDifferential(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	seed, ops := uint64(envInt("WAXSEAL_DIFF_SEED", 1)), envInt("WAXSEAL_DIFF_OPS", 700)
	forEachStore(t, func(t *testing.T, up store.Config) {
		for name, behind := range map[string]string{"": "", "engine behind": "memory"} {
			if behind == "" || up.AccessKey != "memory" {
				t.Run(name, func(t *testing.T) { differ(t, up, behind, seed, ops) })
			}
		}
	})
}

// differ compares a store with waxseal in front of one of its kind, or of the embedded store's engine in memory: that holds the
// engine against MinIO and versitygw.
func differ(t *testing.T, up store.Config, behind string, seed uint64, ops int) {
	inMemory := up.AccessKey == "memory"
	if !inMemory && os.Getenv("WAXSEAL_DIFF_OPS") == "" {
		ops = 400
	}
	d := newDifferential(t, up, behind)
	d.gaps = seed%2 == 0
	plan := generate(seed, ops, d.keys)
	bad, why := d.run(plan)
	if why == "" {
		return
	}
	plan = plan[:bad+1]
	if inMemory {
		plan, why = shrink(plan, why, func(p []diffOp) string {
			again := newDifferential(t, up, behind)
			again.gaps = d.gaps
			_, why := again.run(p)
			return why
		})
	}
	t.Errorf("seed %d, operation %d: %s\nthese operations do it, the last of them:\n%s", seed, bad, why, printed(plan[max(0, len(plan)-40):]))
}

func envInt(name string, standard int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return standard
}

func printed(plan []diffOp) string {
	var b strings.Builder
	for i := range plan {
		line, _ := json.Marshal(&plan[i])
		fmt.Fprintf(&b, "\t%s\n", line)
	}
	return b.String()
}

// shrink takes operations out of a failing plan as long as it goes on failing.
func shrink(plan []diffOp, why string, try func([]diffOp) string) ([]diffOp, string) {
	deadline := time.Now().Add(20 * time.Second)
	for size := (len(plan) + 1) / 2; size > 0 && time.Now().Before(deadline); {
		smaller := false
		for at := 0; at+size < len(plan) && time.Now().Before(deadline); {
			rest := slices.Concat(plan[:at], plan[at+size:])
			if w := try(rest); w != "" {
				plan, why, smaller = rest, w, true
			} else {
				at += size
			}
		}
		if !smaller {
			size /= 2
		}
	}
	return plan, why
}

// differential is one store reached in two ways.
type differential struct {
	engine bool // the embedded store's engine is behind waxseal, not a store of the kind
	t      testing.TB
	kind   string   // memory, minio, versitygw
	keys   []string // that the store can hold beside each other

	straight, through *diffSide
	etags             map[[2]string]bool // pairs of ETags that are one object's
	gaps              bool               // part numbers have gaps
}

// diffSide is one of the ways, with what was learnt on it. What operations refer to (ETags, versions, uploads) they
// name by when it was learnt: the values differ.
type diffSide struct {
	endpoint, access, secret string
	bucket                   string

	etags    map[string][]string // by key, as writes answered them
	versions map[string][]string
	uploads  []diffUpload
	token    string // of the last ListObjectsV2
	lossy    bool   // answers may get lost
	known    map[string]string
}

type diffUpload struct {
	key, id string
	parts   map[int]string // ETags
	done    bool
}

func newDifferential(t testing.TB, up store.Config, behind string) *differential {
	t.Helper()
	d := &differential{t: t, kind: storeKind(up), keys: diffKeys, etags: map[[2]string]bool{}}
	direct := up
	if d.kind == "memory" {
		other := httptest.NewServer(proxytest.NewUpstream())
		t.Cleanup(other.Close)
		direct.Endpoint = other.URL
		mine := httptest.NewServer(proxytest.NewUpstream())
		t.Cleanup(mine.Close)
		up.Endpoint = mine.URL
	}
	if d.engine = behind == "memory"; d.engine {
		engine := httptest.NewServer(proxytest.NewUpstream())
		t.Cleanup(engine.Close)
		up = store.Config{Endpoint: engine.URL, AccessKey: "memory", SecretKey: "memory-secret"}
	}
	k := start(t, up, nil)
	if d.engine { // two waxseals, so that documents are in one form
		other := start(t, direct, nil)
		direct = store.Config{Endpoint: "http://" + other.endpoint, AccessKey: testAccess, SecretKey: testSecret}
		caps := other.server.up.Capabilities()
		caps.CleansPaths = d.kind == "versitygw"
		other.server.up.Assume(caps)
	}
	if d.kind == "memory" { // keys that look like paths are part of the plans
		if err := k.server.up.ProbeOnce(t.Context(), k.server.scratch()); err != nil {
			t.Fatal(err)
		}
	}
	d.through = &diffSide{endpoint: "http://" + k.endpoint, access: testAccess, secret: testSecret}
	d.straight = &diffSide{endpoint: direct.Endpoint, access: direct.AccessKey, secret: direct.SecretKey}
	d.straight.lossy = d.kind == "versitygw"
	for _, s := range d.sides() {
		s.bucket = "diff-" + strings.ToLower(newRequestID())
		s.etags, s.versions, s.known = map[string][]string{}, map[string][]string{}, map[string]string{}
		if a := s.do(t, &diffOp{Kind: "makeBucket"}); a.status != http.StatusOK {
			t.Fatalf("making a bucket: %d %s", a.status, a.body)
		}
	}
	if d.kind == "memory" {
		return d
	}
	if behind == "" {
		caps := k.server.up.Capabilities()
		caps.CleansPaths = d.kind == "versitygw"
		k.server.up.Assume(caps)
	}
	// Neither store has keys that look like paths, and versitygw no files that are directories.
	d.keys = slices.DeleteFunc(slices.Clone(diffKeys), func(k string) bool {
		return renamed(k) || (d.engine || d.kind == "versitygw") && (k == "dir" || k == "zz/")
	})
	return d
}

func storeKind(up store.Config) string {
	if up.AccessKey == "memory" {
		return "memory"
	}
	resp, err := http.Get(up.Endpoint + "/minio/health/live")
	if err != nil {
		return "other"
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK && strings.Contains(resp.Header.Get("Server"), "MinIO") {
		return "minio"
	}
	return "versitygw"
}

func (d *differential) sides() []*diffSide { return []*diffSide{d.straight, d.through} }

// run does the plan, and gives the first operation that made a difference.
func (d *differential) run(plan []diffOp) (at int, why string) {
	for i := range plan {
		op := &plan[i]
		if !d.supported(op) {
			continue
		}
		if d.kind != "memory" {
			d.adapt(op)
		}
		a, b := d.straight.do(d.t, op), d.through.do(d.t, op)
		if d.kind != "memory" && d.quirk(op, a, b) {
			continue
		}
		if a == nil || b == nil {
			if a != b {
				return i, fmt.Sprintf("%s: one side knows what it refers to, the other does not", op.Kind)
			}
			continue
		}
		if d.accepted(op, a, b) {
			continue
		}
		if d.engine && a.header.Get("X-Amz-Version-Id") == "" && b.header.Get("X-Amz-Version-Id") == "null" {
			b.header.Del("X-Amz-Version-Id") // S3 names the null version that was copied, deleted or marked as such, LocalStack recorded
			b.header.Del("X-Amz-Delete-Marker")
		}
		d.straight.learn(op, a)
		d.through.learn(op, b)
		if why := d.compare(op, a, b); why != "" {
			if os.Getenv("WAXSEAL_DIFF_ALL") != "" {
				line, _ := json.Marshal(op)
				fmt.Printf("DIFF %d %s %s\n%s\nstraight %s\nthrough  %s\n", i, op.Kind, why, line, a, b)
				continue
			}
			return i, fmt.Sprintf("%s %s\nstraight %s\nthrough  %s\n", op.Kind, why, a, b)
		}
	}
	return 0, ""
}

// diffAnswer is an answer in a form that can be compared.
type diffAnswer struct {
	to      *diffRequest
	request string
	status  int
	code    s3.Code
	header  http.Header
	body    []byte
	facts   []diffFact // of an XML answer, in order
}

type diffFact struct{ path, value string }

func (a *diffAnswer) String() string {
	body := a.body
	if len(body) > 3000 || bytes.ContainsFunc(body, func(r rune) bool { return r == '\uFFFD' || r == 0 }) {
		body = fmt.Appendf(nil, "(%d bytes)", len(body))
	}
	return fmt.Sprintf("%s -> %d %s %v\n%s", a.request, a.status, a.code, a.header, body)
}

// do does an operation on one side and learns from its answer. It gives nil where the operation refers to what there
// is not.
func (s *diffSide) do(t testing.TB, op *diffOp) *diffAnswer {
	t.Helper()
	q, ok := s.request(op)
	if !ok {
		return nil
	}
	req, err := http.NewRequest(q.method, s.endpoint+"/"+s.bucket+q.path()+q.encodedQuery(), bytes.NewReader(q.body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range q.header {
		req.Header.Set(name, value)
	}
	req.Header.Set("X-Amz-Content-Sha256", hexSum(q.body))
	req.Header.Set("Accept-Encoding", "identity")
	req = signer.SignV4(*req, s.access, s.secret, "", "us-east-1")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil && s.lossy {
		return &diffAnswer{to: q, request: err.Error()} // versitygw resets a connection instead of answering early
	}
	if err != nil {
		t.Fatalf("%s %s: %v", op.Kind, req.URL, err)
	}
	defer resp.Body.Close()
	a := &diffAnswer{to: q, request: req.Method + " " + req.URL.String(), status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatalf("%s %s: %v", op.Kind, req.URL, err)
	}
	if a.status >= 400 {
		a.code = s3.ParseError(a.status, a.body).Code
	} else if strings.Contains(resp.Header.Get("Content-Type"), "xml") && bytes.HasPrefix(bytes.TrimSpace(a.body), []byte("<")) && op.Kind != "get" {
		if a.facts, err = flatten(a.body); err != nil {
			t.Fatalf("%s: %v\n%s", op.Kind, err, a.body)
		}
		if len(a.facts) > 0 && strings.HasPrefix(a.facts[0].path, "/Error/") {
			a.code = s3.ParseError(a.status, a.body).Code // an error with status 200
		}
	}
	return a
}

// flatten makes a list of paths and values of an XML document. Children are sorted by name, so that two stores may
// order them differently, but keep their order where they share a name. Listings keep it altogether.
func flatten(doc []byte) ([]diffFact, error) {
	type node struct {
		name     string
		text     strings.Builder
		children []*node
	}
	root := &node{}
	stack := []*node{root}
	dec := xml.NewDecoder(bytes.NewReader(doc))
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		top := stack[len(stack)-1]
		switch tok := tok.(type) {
		case xml.StartElement:
			n := &node{name: tok.Name.Local}
			top.children = append(top.children, n)
			stack = append(stack, n)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			top.text.Write(tok)
		}
	}
	var facts []diffFact
	var walk func(n *node, path string)
	walk = func(n *node, path string) {
		if len(n.children) == 0 {
			if text := strings.TrimSpace(n.text.String()); text != "" {
				facts = append(facts, diffFact{path, n.text.String()})
			}
			return
		}
		if n.name != "ListVersionsResult" {
			sort.SliceStable(n.children, func(i, j int) bool { return n.children[i].name < n.children[j].name })
		}
		for _, c := range n.children {
			walk(c, path+"/"+c.name)
		}
	}
	walk(root, "")
	return facts, nil
}

// learn remembers what later operations may refer to.
func (s *diffSide) learn(op *diffOp, a *diffAnswer) {
	if a.status >= 300 || a.code != "" {
		return
	}
	q := a.to
	value := func(path string) string {
		for _, f := range a.facts {
			if f.path == path {
				return f.value
			}
		}
		return ""
	}
	etag := a.header.Get("Etag")
	switch op.Kind {
	case "copy":
		etag = value("/CopyObjectResult/ETag")
	case "complete":
		etag = value("/CompleteMultipartUploadResult/ETag")
		q.upload.done = true
	case "create":
		s.uploads = append(s.uploads, diffUpload{key: q.key, id: value("/InitiateMultipartUploadResult/UploadId"), parts: map[int]string{}})
		return
	case "part", "partCopy":
		if op.Kind == "partCopy" {
			etag = value("/CopyPartResult/ETag")
		}
		q.upload.parts[op.Part] = etag
		return
	case "listV2":
		s.token = value("/ListBucketResult/NextContinuationToken")
		return
	case "put":
	case "delete":
		etag = ""
	case "deleteMany":
		for i, f := range a.facts {
			if f.path == "/DeleteResult/Deleted/DeleteMarkerVersionId" && i+1 < len(a.facts) {
				s.learnVersion(a.facts[i+1].value, f.value)
			}
		}
		return
	default:
		return
	}
	if etag != "" {
		s.etags[q.key] = append(s.etags[q.key], etag)
	}
	if id := a.header.Get("X-Amz-Version-Id"); id != "" {
		s.learnVersion(q.key, id)
	}
}

func (s *diffSide) learnVersion(key, id string) {
	if slices.Contains(s.versions[key], id) {
		return
	}
	s.versions[key] = append(s.versions[key], id)
	s.known[id] = fmt.Sprintf("version %d of %s", len(s.versions[key]), key)
	if id == "null" {
		s.known[id] = id
	}
}

// comparedHeaders are those that must have the same value, and presentHeaders those that must be there or not.
var (
	comparedHeaders = []string{"Content-Range", "Content-Type", "Cache-Control", "Content-Disposition", "Content-Encoding",
		"Content-Language", "Expires", "X-Amz-Delete-Marker", "X-Amz-Tagging-Count", "X-Amz-Mp-Parts-Count",
		"X-Amz-Website-Redirect-Location", "X-Amz-Storage-Class", "Accept-Ranges"}
	presentHeaders = []string{"Last-Modified", "X-Amz-Version-Id", "X-Amz-Copy-Source-Version-Id", "Etag"}
)

// compare says how two answers differ, or nothing.
func (d *differential) compare(op *diffOp, a, b *diffAnswer) string {
	if a.status != b.status || a.code != b.code {
		return "answered differently"
	}
	for _, name := range comparedHeaders {
		if name == "Accept-Ranges" && (op.Kind != "get" && op.Kind != "head" || a.status >= 300) || name == "Content-Range" && a.status >= 400 && d.kind != "memory" {
			continue
		}
		if name == "Content-Type" && (a.facts != nil || a.status >= 300 || op.isWrite()) {
			continue
		}
		if x, y := a.header.Get(name), b.header.Get(name); x != y && !d.headerAccepted(op, name, a) {
			return fmt.Sprintf("has %s %q and %q", name, x, y)
		}
	}
	for _, name := range presentHeaders {
		if d.kind != "memory" && (name == "X-Amz-Copy-Source-Version-Id" || name == "Etag" && op.Kind != "get" && op.Kind != "head" && op.Kind != "put") {
			continue
		}
		if x, y := a.header.Get(name), b.header.Get(name); (x == "") != (y == "") && !d.headerAccepted(op, name, a) {
			return fmt.Sprintf("has %s %q and %q", name, x, y)
		}
	}
	if why := compareMetadata(a.header, b.header); why != "" {
		return why
	}
	if why := d.sameETag(op, a.header.Get("Etag"), b.header.Get("Etag")); why != "" {
		return why
	}
	if op.Kind == "head" || op.Kind == "get" {
		if x, y := a.header.Get("Content-Length"), b.header.Get("Content-Length"); x != y && a.status < 300 {
			return fmt.Sprintf("has Content-Length %s and %s", x, y)
		}
	}
	if x, y := d.straight.known[a.header.Get("X-Amz-Version-Id")], d.through.known[b.header.Get("X-Amz-Version-Id")]; x != y {
		return fmt.Sprintf("is of %s and %s", x, y)
	}
	for name, values := range a.header {
		// What a store knows of the plaintext without waxseal, it must say with it.
		if strings.HasPrefix(name, "X-Amz-Checksum-") && name != "X-Amz-Checksum-Type" && !slices.Equal(values, b.header[name]) && !d.headerAccepted(op, name, a) {
			return fmt.Sprintf("has %s %q and %q", name, values, b.header[name])
		}
	}
	if a.status >= 400 {
		return ""
	}
	if a.facts != nil || b.facts != nil {
		return d.compareFacts(op, a.facts, b.facts)
	}
	if d.engine && op.Kind == "tags" && bytes.Equal(bytes.TrimSpace(a.body), bytes.Replace(b.body, []byte(` xmlns="`+s3.Namespace+`"`), nil, 1)) {
		return "" // MinIO's document has no namespace
	}
	if !bytes.Equal(a.body, b.body) {
		return fmt.Sprintf("has %d bytes and %d others", len(a.body), len(b.body))
	}
	return ""
}

func compareMetadata(a, b http.Header) string {
	names := map[string]bool{}
	for _, h := range []http.Header{a, b} {
		for name := range h {
			if strings.HasPrefix(name, s3.PrefixMeta) {
				names[name] = true
			}
		}
	}
	for name := range names {
		if x, y := a.Get(name), b.Get(name); x != y {
			return fmt.Sprintf("has %s %q and %q", name, x, y)
		}
	}
	return ""
}

// sameETag holds a pair of ETags to the pairs that writes have made. Those of a plain write are MD5s, and equal.
func (d *differential) sameETag(op *diffOp, x, y string) string {
	if x, y = strings.Trim(x, `"`), strings.Trim(y, `"`); x == y {
		return ""
	}
	if op.Kind == "copy" || op.Kind == "complete" && d.kind != "memory" {
		d.etags[[2]string{x, y}] = true
		return ""
	}
	if d.etags[[2]string{x, y}] {
		return ""
	}
	return fmt.Sprintf("has ETag %s and %s", x, y)
}

// notCompared are elements that belong to the store or the moment, not to the objects.
var notCompared = []string{"Owner", "Initiator", "ChecksumAlgorithm", "ChecksumType", "Location", "RequestId", "HostId",
	"LastModified", "Initiated", "MaxParts", "NextPartNumberMarker", "PartNumberMarker", "NextContinuationToken", "ContinuationToken", "ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME",
	"ChecksumSHA1", "ChecksumSHA256", "Bucket", "xmlns"}

func (d *differential) compareFacts(op *diffOp, a, b []diffFact) string {
	a, b = d.reduced(a, d.straight), d.reduced(b, d.through)
	if d.engine { // each store has an order of elements, and writes empty ones or not
		a, b = inOrder(a), inOrder(b)
	}
	for i := range max(len(a), len(b)) {
		var x, y diffFact
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x.path == y.path && strings.HasSuffix(x.path, "/ETag") {
			if why := d.sameETag(op, x.value, y.value); why != "" {
				return why
			}
			continue
		}
		if x != y {
			return fmt.Sprintf("says %q and %q", x, y)
		}
	}
	return ""
}

// inOrder sorts what a document says by where it says it. It leaves out what is empty, the sizes that MinIO gives delete
// markers, and the null version that MinIO does not name in DeleteObjects.
func inOrder(facts []diffFact) []diffFact {
	facts = slices.DeleteFunc(facts, func(f diffFact) bool {
		return f.value == "" || strings.HasSuffix(f.path, "/DeleteMarker/Size") || strings.HasPrefix(f.path, "/DeleteResult/Deleted/DeleteMarker")
	})
	slices.SortStableFunc(facts, func(x, y diffFact) int { return strings.Compare(x.path, y.path) })
	return facts
}

// reduced is what of a document can be compared: versions and uploads by when they were learnt, times by being there.
func (d *differential) reduced(facts []diffFact, s *diffSide) []diffFact {
	var out []diffFact
	for _, f := range facts {
		parts := strings.Split(f.path, "/")
		if slices.ContainsFunc(parts, func(p string) bool { return slices.Contains(notCompared, p) }) {
			continue
		}
		switch last := parts[len(parts)-1]; {
		case last == "Name" && len(parts) == 3:
			continue // the bucket's
		case s.known[f.value] != "" && strings.Contains(last, "Version"):
			f.value = s.known[f.value]
		case strings.Contains(last, "Version") && len(f.value) > 10:
			f.value = "a version that nobody was told of"
		case last == "UploadId", last == "UploadIdMarker", last == "NextUploadIdMarker":
			i := slices.IndexFunc(s.uploads, func(u diffUpload) bool { return u.id == f.value })
			f.value = fmt.Sprint("upload ", i)
		case f.value == "STANDARD" && last == "StorageClass":
			continue
		case f.value == "0" && (last == "PartNumberMarker" || last == "NextPartNumberMarker"):
			continue
		}
		out = append(out, f)
	}
	return out
}
