package proxy

import (
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"waxseal/proxy/s3"
)

// diffOp is one generated operation. It holds numbers where values differ between the sides: the n-th ETag, version or
// upload that was learnt, modulo how many there are.
type diffOp struct {
	Kind   string
	Key    string            `json:",omitempty"`
	Src    string            `json:",omitempty"`
	Size   int               `json:",omitempty"`
	Seed   uint64            `json:",omitempty"`
	Header map[string]string `json:",omitempty"`
	Query  map[string]string `json:",omitempty"`
	Cond   map[string]string `json:",omitempty"` // header -> current, old, wrong, quoteless, any, list; of Key or of Src
	Of     string            `json:",omitempty"` // "", null, bogus, or a number: the version
	Upload int               `json:",omitempty"`
	Part   int               `json:",omitempty"`
	Parts  string            `json:",omitempty"` // how Complete's list is wrong
	Body   string            `json:",omitempty"`
	Keys   []string          `json:",omitempty"`
}

func (op *diffOp) isWrite() bool {
	return slices.Contains([]string{"put", "copy", "part", "partCopy", "create", "complete", "abort", "delete", "deleteMany", "tag", "untag", "versioning"}, op.Kind)
}

var diffKeys = []string{"a", "b", "dir/x", "dir/y z+ü", "dir/sub/1", "dir/sub/2", "dir", "photos/2024/cat.jpg", "k%2F=&?#", "x//y", "zz/"}

var diffSizes = []int{0, 1, 7, 1000, 65479, 65480, 65481, 131_001, 200_000, inlineLimit, inlineLimit + 1}

type generator struct {
	*rand.Rand
	keys []string
	gaps bool // in part numbers; see accepted
}

// generate makes a plan that depends on its arguments only.
func generate(seed uint64, n int, keys []string) []diffOp {
	g := &generator{rand.New(rand.NewPCG(seed, 0)), keys, seed%2 == 0}
	plan := make([]diffOp, 0, n)
	for len(plan) < n {
		plan = append(plan, g.next()...)
	}
	for _, key := range keys { // at the end all must be the same
		plan = append(plan, diffOp{Kind: "get", Key: key}, diffOp{Kind: "head", Key: key})
	}
	return append(plan, diffOp{Kind: "listVersions"}, diffOp{Kind: "listV2"}, diffOp{Kind: "listUploads"})
}

func pick[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

func (g *generator) one(in int) bool { return g.IntN(in) == 0 }

func (g *generator) next() []diffOp {
	op := diffOp{Key: pick(g, g.keys...), Seed: uint64(g.IntN(1 << 16)), Header: map[string]string{}, Query: map[string]string{}, Cond: map[string]string{}}
	switch n := g.IntN(100); {
	case n < 22:
		g.put(&op)
	case n < 40:
		op.Kind = "get"
		g.read(&op)
	case n < 50:
		op.Kind = "head"
		g.read(&op)
	case n < 57:
		g.copy(&op)
	case n < 63:
		op.Kind, op.Of = "delete", pick(g, "", "", "", strconv.Itoa(g.IntN(9)), "null", "bogus")
	case n < 66:
		op.Kind = "deleteMany"
		op.Keys = []string{g.keys[g.IntN(4)], g.keys[4+g.IntN(len(g.keys)-4)], "not-there"}
		if g.one(3) {
			op.Parts = "quiet"
		}
	case n < 80:
		g.list(&op)
	case n < 84:
		op.Kind, op.Of = pick(g, "tag", "tags", "tags", "untag"), pick(g, "", "", strconv.Itoa(g.IntN(5)))
		op.Body = pick(g, "", "one", "two")
	case n < 86:
		op.Kind, op.Body = "versioning", pick(g, "Enabled", "Enabled", "Suspended", "Nonsense", "")
	case n < 88:
		op.Kind = pick(g, "headBucket", "location", "attributes")
		op.Header["x-amz-object-attributes"] = "ETag,ObjectSize,StorageClass"
	case n < 92:
		return g.upload(op.Key)
	default:
		g.uploadStep(&op)
	}
	return []diffOp{op}
}

func (g *generator) put(op *diffOp) {
	op.Kind, op.Size = "put", pick(g, diffSizes...)
	if g.one(3) {
		op.Size = g.IntN(5000)
	}
	g.describe(op)
	switch g.IntN(8) {
	case 0:
		op.Cond["If-None-Match"] = pick(g, "any", "any", "any", "current")
	case 1:
		op.Cond["If-Match"] = pick(g, "current", "current", "old", "wrong", "bare") // * is 501 on S3, which stores take
	case 2:
		op.Body = pick(g, "md5", "wrong md5", "bad md5", "crc32c", "wrong sha256", "sha256")
	}
}

// describe gives a write metadata of all kinds.
func (g *generator) describe(op *diffOp) {
	set := func(in int, name string, values ...string) {
		if g.one(in) {
			op.Header[name] = pick(g, values...)
		}
	}
	set(2, "Content-Type", "text/plain; charset=utf-8", "image/png", "application/xml")
	set(4, "Cache-Control", "no-cache", "max-age=60, private")
	set(4, "Content-Disposition", `attachment; filename="a b.txt"`)
	set(5, "Content-Encoding", "gzip", "br, gzip")
	set(5, "Content-Language", "de, en")
	set(6, "Expires", "Wed, 21 Oct 2045 07:28:00 GMT")
	set(2, "x-amz-meta-colour", "red", "green blue", "a, b", "x=y;z")
	set(4, "x-amz-meta-mixed-Case", "Mixed Value")
	set(8, "x-amz-meta-long", strings.Repeat("m", 300))
	set(6, "x-amz-tagging", "a=1", "a=1&b=two%20words", "project=x&empty=")
}

func (g *generator) read(op *diffOp) {
	op.Of = pick(g, "", "", "", "", strconv.Itoa(g.IntN(9)), "null", "bogus")
	if g.one(2) {
		a, n := pick(g, 0, 1, 100, 65479, 65480, 70_000, 199_999, 200_000, 1<<20, 5<<20), pick(g, 0, 1, 10, 65480, 1<<20, 1<<30)
		op.Header["Range"] = pick(g,
			fmt.Sprintf("bytes=%d-%d", a, a+n), fmt.Sprintf("bytes=%d-%d", a, a+n), fmt.Sprintf("bytes=%d-", a), fmt.Sprintf("bytes=-%d", n),
			"bytes=0-0", "bytes=-1", "bytes=5-2", "bytes=0-10,20-30", "bytes=", "bytes=-", "bits=0-1", "bytes=a-b", "bytes=0-99999999999999999999", "bytes = 0-5")
	}
	switch g.IntN(6) {
	case 0:
		op.Cond["If-Match"] = pick(g, "current", "old", "wrong", "any", "bare", "list")
	case 1:
		op.Cond["If-None-Match"] = pick(g, "current", "old", "wrong", "any", "bare", "list", "weak")
	case 2:
		op.Header[pick(g, "If-Modified-Since", "If-Unmodified-Since")] = pick(g, "Sat, 01 Jan 2000 00:00:00 GMT", "Thu, 01 Jan 2099 00:00:00 GMT", "not a date")
	}
	if g.one(12) {
		op.Cond["If-Match"], op.Cond["If-None-Match"] = pick(g, "current", "wrong"), pick(g, "current", "wrong")
	}
	if g.one(8) {
		op.Query["response-content-type"] = "text/x-other"
		op.Query["response-content-disposition"] = `inline; filename="q"`
	}
	if g.one(6) {
		op.Header["x-amz-checksum-mode"] = "ENABLED"
	}
	if g.one(8) && op.Header["Range"] == "" {
		op.Query["partNumber"] = pick(g, "1", "2", "3", "0", "x", "10001")
	}
}

func (g *generator) copy(op *diffOp) {
	op.Kind, op.Src, op.Of = "copy", pick(g, g.keys...), pick(g, "", "", "", strconv.Itoa(g.IntN(5)), "bogus")
	if g.one(2) {
		op.Header["x-amz-metadata-directive"] = pick(g, "REPLACE", "REPLACE", "COPY")
		g.describe(op)
	}
	if g.one(3) {
		op.Header["x-amz-tagging-directive"] = pick(g, "REPLACE", "COPY")
	}
	switch g.IntN(6) {
	case 0:
		op.Cond["x-amz-copy-source-if-match"] = pick(g, "current", "old", "wrong")
	case 1:
		op.Cond["x-amz-copy-source-if-none-match"] = pick(g, "current", "old", "wrong")
	}
}

func (g *generator) list(op *diffOp) {
	op.Kind = pick(g, "listV1", "listV2", "listV2", "listV2", "listVersions", "listVersions", "listUploads")
	set := func(in int, name string, values ...string) {
		if g.one(in) {
			op.Query[name] = pick(g, values...)
		}
	}
	set(2, "prefix", "", "d", "dir/", "dir/sub/", "nothing", "x/", "k%")
	set(2, "delimiter", "/", "/", "/", "s")
	size := "max-keys"
	if op.Kind == "listUploads" {
		size = "max-uploads"
	}
	set(3, size, "1", "2", "3", "1000", "0", "-1", "x")
	set(5, "encoding-type", "url", "url", "other")
	switch op.Kind {
	case "listV1":
		set(4, "marker", "b", "dir/", "dir/sub/1")
	case "listV2":
		set(5, "start-after", "b", "dir/", "dir/sub/1")
		set(4, "fetch-owner", "true")
		if g.one(3) {
			op.Body = "continue"
		}
	case "listVersions":
		set(4, "key-marker", "b", "dir/x")
	}
}

// upload is a whole multipart upload, with what may go wrong in one.
func (g *generator) upload(key string) []diffOp {
	const latest = -1
	create := diffOp{Kind: "create", Key: key, Header: map[string]string{}}
	g.describe(&create)
	plan := []diffOp{create}
	number, n := 1, 1+g.IntN(3)
	for i := range n {
		size := 5<<20 + g.IntN(3)*65_480 + g.IntN(100)
		if i == n-1 {
			size = pick(g, 0, 1, 1000, 65480, 5<<20-1, 5<<20, 5<<20+13)
		} else if g.one(8) {
			size = 1000 // EntityTooSmall
		}
		plan = append(plan, diffOp{Kind: "part", Upload: latest, Part: number, Size: size, Seed: uint64(g.IntN(1 << 16))})
		if g.one(6) {
			plan = append(plan, diffOp{Kind: "part", Upload: latest, Part: number, Size: size, Seed: uint64(g.IntN(1 << 16))})
		}
		if number++; g.gaps {
			number += pick(g, 0, 0, 1, 6)
		}
	}
	if g.one(2) {
		plan = append(plan, diffOp{Kind: "listParts", Upload: latest, Query: map[string]string{"max-parts": pick(g, "1", "2", "1000")}})
	}
	if g.one(8) {
		return plan // left open
	}
	done := diffOp{Kind: "complete", Upload: latest, Parts: pick(g, "", "", "", "", "reversed", "wrong etag", "missing", "drop last", "empty", "bare"), Cond: map[string]string{}}
	if g.one(5) {
		done.Cond[pick(g, "If-Match", "If-None-Match")] = pick(g, "current", "wrong")
		if _, ok := done.Cond["If-None-Match"]; ok {
			done.Cond["If-None-Match"] = "any"
		}
	}
	plan = append(plan, done)
	read := diffOp{Kind: "get", Key: key, Header: map[string]string{}, Query: map[string]string{}, Cond: map[string]string{}}
	g.read(&read)
	return append(plan, read, diffOp{Kind: "head", Key: key})
}

// uploadStep is something about an upload that was begun at some time.
func (g *generator) uploadStep(op *diffOp) {
	op.Kind = pick(g, "part", "part", "listParts", "complete", "abort", "listUploads", "partCopy")
	op.Upload, op.Part, op.Size, op.Src = g.IntN(20), 1+g.IntN(4), pick(g, 0, 1, 3000, 5<<20), pick(g, g.keys...)
	if op.Kind == "part" && g.one(8) {
		op.Part = pick(g, 0, 10_001)
	}
	if op.Kind == "partCopy" && g.one(2) {
		op.Header["x-amz-copy-source-range"] = pick(g, "bytes=0-0", "bytes=1-100", "bytes=65000-66000", "bytes=5-", "nonsense")
	}
}

// diffRequest is an operation as one side sends it.
type diffRequest struct {
	method string
	key    string
	query  map[string]string
	header map[string]string
	body   []byte
	upload *diffUpload
}

func (q *diffRequest) path() string {
	if q.key == "" {
		return ""
	}
	return "/" + s3.EscapePath(q.key)
}

func (q *diffRequest) encodedQuery() string {
	var names []string
	for name := range q.query {
		names = append(names, name)
	}
	slices.Sort(names)
	text := ""
	for i, name := range names {
		text += map[bool]string{true: "?", false: "&"}[i == 0] + s3.EscapeQuery(name) + "=" + s3.EscapeQuery(q.query[name])
	}
	return text
}

// request makes an operation's request; false where it refers to what there is not.
func (s *diffSide) request(op *diffOp) (*diffRequest, bool) {
	q := &diffRequest{method: http.MethodGet, key: op.Key, query: map[string]string{}, header: map[string]string{}}
	for n, v := range op.Query {
		q.query[n] = v
	}
	for n, v := range op.Header {
		q.header[n] = v
	}
	of := op.Key
	if strings.HasPrefix(op.Kind, "list") || slices.Contains([]string{"deleteMany", "versioning", "headBucket", "location", "makeBucket"}, op.Kind) {
		q.key = ""
	}
	if op.needsUpload() {
		if len(s.uploads) == 0 {
			return nil, false
		}
		i := op.Upload % len(s.uploads)
		if op.Upload < 0 {
			i = len(s.uploads) - 1
		}
		q.upload = &s.uploads[i]
		q.key, of = q.upload.key, q.upload.key
		q.query["uploadId"] = q.upload.id
	}
	if op.Kind == "copy" {
		of = op.Src
	}
	if !s.conditions(op, q, of) {
		return nil, false
	}
	version, ok := s.version(op.Of, of)
	if !ok {
		return nil, false
	}
	if version != "" && op.Kind != "copy" {
		q.query["versionId"] = version
	}
	s.fill(op, q, version)
	return q, true
}

func (op *diffOp) needsUpload() bool {
	return slices.Contains([]string{"part", "partCopy", "listParts", "complete", "abort"}, op.Kind)
}

func (s *diffSide) version(of, key string) (string, bool) {
	switch n, err := strconv.Atoi(of); {
	case of == "", of == "null":
		return of, true
	case err != nil:
		return "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrH", true // as AWS's look
	case len(s.versions[key]) == 0:
		return "", false
	default:
		return s.versions[key][n%len(s.versions[key])], true
	}
}

const noETag = `"0123456789abcdef0123456789abcdef"`

func (s *diffSide) conditions(op *diffOp, q *diffRequest, key string) bool {
	seen := s.etags[key]
	for name, what := range op.Cond {
		value := ""
		switch {
		case what == "any":
			value = "*"
		case what == "wrong" || len(seen) == 0:
			value = noETag
		case what == "old":
			value = seen[len(seen)/2]
		default:
			value = seen[len(seen)-1]
		}
		switch what {
		case "bare":
			value = strings.Trim(value, `"`)
		case "list":
			value = noETag + ", " + value
		case "weak":
			value = "W/" + value
		}
		q.header[name] = value
	}
	return true
}

// fill completes the request of one kind of operation.
func (s *diffSide) fill(op *diffOp, q *diffRequest, version string) {
	switch op.Kind {
	case "makeBucket":
		q.method = http.MethodPut
	case "put":
		q.method, q.body = http.MethodPut, noise(op.Seed, op.Size)
		declare(q, op.Body)
	case "get", "listV1":
	case "attributes":
		q.query["attributes"] = ""
	case "head":
		q.method = http.MethodHead
	case "headBucket":
		q.method, q.header = http.MethodHead, nil
	case "location":
		q.query["location"] = ""
	case "delete":
		q.method = http.MethodDelete
	case "deleteMany":
		s.deleteMany(op, q)
	case "copy":
		q.method = http.MethodPut
		q.header["x-amz-copy-source"] = s3.CopySource{Bucket: s.bucket, Key: op.Src, VersionID: version}.String()
	case "listV2":
		q.query["list-type"] = "2"
		if op.Body == "continue" && s.token != "" {
			q.query["continuation-token"] = s.token
		}
	case "listVersions":
		q.query["versions"] = ""
	case "listUploads":
		q.query["uploads"] = ""
	case "tags", "untag", "tag":
		q.query["tagging"] = ""
		switch op.Kind {
		case "untag":
			q.method = http.MethodDelete
		case "tag":
			q.method = http.MethodPut
			q.body = []byte("<Tagging><TagSet>" + map[string]string{"": "", "one": "<Tag><Key>k</Key><Value>v</Value></Tag>",
				"two": "<Tag><Key>k</Key><Value>ä b</Value></Tag><Tag><Key>l</Key><Value></Value></Tag>"}[op.Body] + "</TagSet></Tagging>")
			declare(q, "md5")
		}
	case "versioning":
		q.query["versioning"] = ""
		if op.Body != "" {
			q.method, q.body = http.MethodPut, []byte("<VersioningConfiguration><Status>"+op.Body+"</Status></VersioningConfiguration>")
			declare(q, "md5")
		}
	default:
		s.fillUpload(op, q)
	}
}

func (s *diffSide) fillUpload(op *diffOp, q *diffRequest) {
	switch op.Kind {
	case "create":
		q.method, q.query["uploads"] = http.MethodPost, ""
	case "part":
		q.method, q.query["partNumber"], q.body = http.MethodPut, strconv.Itoa(op.Part), noise(op.Seed, op.Size)
	case "partCopy":
		q.method, q.query["partNumber"] = http.MethodPut, strconv.Itoa(op.Part)
		q.header["x-amz-copy-source"] = s3.CopySource{Bucket: s.bucket, Key: op.Src}.String()
	case "abort":
		q.method = http.MethodDelete
	case "complete":
		q.method, q.body = http.MethodPost, q.upload.list(op.Parts)
	}
}

func (u *diffUpload) list(how string) []byte {
	var numbers []int
	for n := range u.parts {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	switch {
	case how == "reversed":
		slices.Reverse(numbers)
	case how == "drop last" && len(numbers) > 1:
		numbers = numbers[:len(numbers)-1]
	case how == "empty":
		numbers = nil
	}
	doc := "<CompleteMultipartUpload>"
	for i, n := range numbers {
		etag := u.parts[n]
		if how == "wrong etag" && i == 0 {
			etag = noETag
		}
		if how == "bare" {
			etag = strings.Trim(etag, `"`)
		}
		doc += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", n, etag)
	}
	if how == "missing" {
		doc += fmt.Sprintf("<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", 9000, noETag)
	}
	return []byte(doc + "</CompleteMultipartUpload>")
}

func (s *diffSide) deleteMany(op *diffOp, q *diffRequest) {
	q.method, q.query["delete"] = http.MethodPost, ""
	doc := "<Delete>"
	if op.Parts == "quiet" {
		doc += "<Quiet>true</Quiet>"
	}
	for _, key := range op.Keys {
		doc += "<Object><Key>" + strings.NewReplacer("&", "&amp;").Replace(key) + "</Key></Object>"
	}
	q.body = []byte(doc + "</Delete>")
	declare(q, "md5")
}

// declare adds a digest of the body, right or wrong.
func declare(q *diffRequest, how string) {
	body := q.body
	if strings.HasPrefix(how, "wrong ") {
		body = append(slices.Clone(body), 'x')
	}
	switch strings.TrimPrefix(how, "wrong ") {
	case "md5":
		sum := md5.Sum(body)
		q.header["Content-MD5"] = s3.Base64(sum[:])
	case "bad md5":
		q.header["Content-MD5"] = "bm9uc2Vuc2U="
	case "crc32c":
		h := s3.NewChecksumOf(s3.ChecksumID("CRC32C"))
		h.Write(body)
		q.header["x-amz-checksum-crc32c"] = s3.Base64(h.Sum(nil))
	case "sha256":
		sum := sha256.Sum256(body)
		q.header["x-amz-checksum-sha256"] = s3.Base64(sum[:])
	}
}

// supported says whether both sides can be asked at all.
func (d *differential) supported(op *diffOp) bool {
	name := map[string]string{"deleteMany": "DeleteObjects", "attributes": "GetObjectAttributes"}[op.Kind]
	i := slices.IndexFunc(routes, func(r route) bool { return r.name == name })
	return name == "" || routes[i].handler != nil
}

// accepted are differences that are right: where a request has two faults, either may be named, and where S3 says
// nothing definite. Nothing was changed on either side.
func (d *differential) accepted(op *diffOp, a, b *diffAnswer) bool {
	either := func(codes ...s3.Code) bool {
		return a.status >= 400 && b.status >= 400 && (op.Kind == "head" || slices.Contains(codes, a.code) && slices.Contains(codes, b.code))
	}
	switch {
	case op.Kind == "complete" && (op.Parts == "missing" || op.Parts == "wrong etag" || op.Parts == "reversed"):
		return either(s3.InvalidPart, s3.EntityTooSmall, s3.InvalidPartOrder)
	case op.Kind == "complete" && a.status == http.StatusOK && b.code == s3.NoSuchUpload:
		// A Complete that is repeated with another list.
		return a.to.upload.done
	case op.Kind == "complete" && (either(s3.MalformedXML) || either(s3.InvalidRequest, s3.MalformedXML)):
		return a.code != b.code // no parts
	case op.Kind == "part":
		return (op.Part < 1 || op.Part > 10_000) && either(codeInvalidArgument, s3.NoSuchUpload)
	case d.gaps && op.Query["partNumber"] > "1":
		// S3 counts the parts of an object, some stores keep the numbers that they were uploaded with.
		return true
	case op.Query["partNumber"] > "1" && a.status == http.StatusRequestedRangeNotSatisfiable:
		return b.status == http.StatusPartialContent // a copy that keeps its parts; S3's have none
	case slices.Contains([]string{"0", "x", "10001"}, op.Query["partNumber"]):
		return a.status >= 300 && b.status == http.StatusBadRequest
	case op.Kind == "partCopy":
		// AWS says InvalidArgument of a range behind the source's end, ceph/s3-tests wants InvalidRange.
		return either(codeInvalidArgument, s3.InvalidRange)
	}
	return false
}

// adapt takes out of an operation what the stores do in ways of their own, and could not be compared after.
func (d *differential) adapt(op *diffOp) {
	for name, what := range op.Cond {
		if what == "list" || what == "weak" || op.Kind == "put" && (name == "If-None-Match") == (what == "current") || d.kind == "versitygw" && op.Kind == "put" && name == "If-Match" {
			delete(op.Cond, name)
		}
	}
	if r := op.Header["x-amz-copy-source-range"]; r == "bytes=5-" || r == "nonsense" {
		delete(op.Header, "x-amz-copy-source-range")
	}
	if d.kind == "minio" && strings.HasSuffix(op.Src, "/") {
		op.Src = "a" // it refuses to copy a part from such a key, and copies the object with other tags than were asked for
	}
	if d.kind == "versitygw" && op.Kind == "copy" && op.Src == op.Key && op.Header["x-amz-metadata-directive"] == "REPLACE" {
		for name, value := range map[string]string{"Cache-Control": "no-cache", "Content-Disposition": "inline", "Content-Encoding": "gzip",
			"Content-Language": "de", "Content-Type": "image/png", "Expires": "Wed, 21 Oct 2045 07:28:00 GMT"} {
			if op.Header[name] == "" {
				op.Header[name] = value // it keeps those that the request does not replace
			}
		}
	}
	if d.kind == "minio" && op.Kind == "copy" && op.Header["x-amz-tagging-directive"] != "REPLACE" {
		delete(op.Header, "x-amz-tagging") // it takes the tags even so; S3 copies the source's
	}
	if d.kind == "minio" && op.Kind == "copy" && op.Src == op.Key {
		delete(op.Header, "x-amz-tagging-directive") // to it other tags are a change, to S3 they are none
	}
	if (d.engine || d.kind == "versitygw") && op.Kind == "versioning" {
		op.Body = "" // versitygw keeps versions in its own way, and IsLatest is not what it says; MinIO has no markers of null
	}
}

// quirk is where a store departs from S3, and waxseal does not. What the operation would have changed, it then changed
// on neither side, or on both.
func (d *differential) quirk(op *diffOp, a, b *diffAnswer) bool {
	if a == nil || b == nil {
		return false
	}
	refused := a.status >= 400 && b.status >= 400
	switch {
	case a.status == 0: // the answer was lost
		return b.status >= 400
	case d.kind == "versitygw" && a.status >= 400 && b.code == s3.ServiceUnavailable:
		return true // it was lost on its way to waxseal
	case a.status == http.StatusNotModified && b.status == http.StatusNotModified:
		return true // with few headers
	case refused && a.status == b.status:
		return true // each store has codes of its own
	case refused && (op.Of != "" || op.Kind == "part" || op.Body != "" || op.Kind == "complete" || op.Kind == "partCopy" || op.Kind == "tags" || op.Kind == "attributes"):
		return true
	case op.Kind == "copy" && a.status == http.StatusNotModified:
		return b.status == http.StatusPreconditionFailed // versitygw answers a PUT as if it were a GET
	case d.engine && op.Kind == "abort":
		return a.status == http.StatusNoContent && b.code == s3.NoSuchUpload // it has ended: MinIO forgets that
	case op.Kind == "tags" && d.kind == "versitygw":
		return true // in any order
	case (op.Kind == "head" || op.Kind == "get") && len(op.Cond) > 1:
		return true // of two conditions that fail, each looks at another first
	case op.Kind == "head" || op.Kind == "get":
		// A range of no length, dates that are none, parts of what has none.
		return op.Header["Range"] != "" || op.Query["partNumber"] != "" || op.Header["If-Modified-Since"]+op.Header["If-Unmodified-Since"] != "" || op.Of != ""
	case op.Kind == "complete" && (a.to.upload.done || d.kind == "versitygw" && b.code == s3.NoSuchUpload):
		return true // repeated; or answered by what the object happens to be
	case op.Kind == "attributes", op.Kind == "headBucket", op.Kind == "location":
		return true
	case strings.HasPrefix(op.Kind, "list"):
		// Empty sizes, unknown encodings, and where a marker lies within a common prefix.
		return op.Query["max-keys"] != "" || op.Query["max-uploads"] != "" || op.Query["encoding-type"] != "" || op.Query["marker"]+op.Query["start-after"]+op.Query["key-marker"] != "" || op.Kind == "listUploads"
	case op.Kind == "deleteMany":
		return op.Parts == "quiet"
	}
	return false
}

func (d *differential) headerAccepted(op *diffOp, name string, straight *diffAnswer) bool {
	if name == "X-Amz-Mp-Parts-Count" && straight.header.Get(name) == "" {
		return true // a copy that keeps its parts; S3's have none
	}
	if op.Kind == "copy" && d.kind == "minio" && strings.HasPrefix(name, "X-Amz-Checksum-") {
		return true // it is in the document, where S3 has it
	}
	if name == "Expires" && d.kind == "minio" && straight.header.Get(name) == "" {
		return true // its CopyObject loses it
	}
	if d.engine && name == "Expires" && d.kind == "minio" {
		return true // it writes the date anew, S3 keeps it as it came
	}
	if d.engine && name == "X-Amz-Storage-Class" && straight.header.Get(name) == "STANDARD" {
		return true // which S3 does not show
	}
	// versitygw takes the spaces out of a list of encodings, once aws-chunked was one of them.
	return name == "Content-Encoding" && d.kind == "versitygw"
}

var codeInvalidArgument = s3.InvalidArgument("", "", "").Code
