package sse

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"hash/crc32"
	"hash/crc64"
	"io"
	"maps"
	mrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zeebo/xxh3"
)

var update = flag.Bool("update", false, "write the examples of this version that are not in testdata yet")

// example is an archived object. Every later version reads the objects of a released version: a file may be added to
// the archive, but none may be changed.
type example struct {
	About      string            `json:"about"`
	Envelope   string            `json:"envelope"`
	Binding    string            `json:"binding"` // hex, as all keys and digests
	KEK        string            `json:"kek"`
	OuterKEK   string            `json:"outer_kek,omitempty"`
	ServiceID  uint32            `json:"service_id"`
	ServiceKey string            `json:"service_key"`
	Mode       Mode              `json:"mode"`
	KeyID      string            `json:"key_id"`
	KeyBlob    string            `json:"key_blob"`
	BucketKey  bool              `json:"bucket_key"`
	Context    map[string]string `json:"context"`
	Compressed bool              `json:"compressed"`
	Manifest   bool              `json:"manifest"`
	UploadID   string            `json:"upload_id"`
	Tag        string            `json:"tag"`
	Visible    string            `json:"visible"`
	MD5        string            `json:"md5"`
	Checksums  []exampleChecksum `json:"checksums"`
	Algorithm  uint8             `json:"checksum_algorithm,omitempty"` // as the envelope names it for lists
	Composite  bool              `json:"checksum_composite,omitempty"`
	Parts      []examplePart     `json:"parts"`
	Size       int64             `json:"size"`
	SHA256     string            `json:"sha256"`
	Body       string            `json:"body"` // base64
}

type exampleChecksum struct {
	Algorithm uint8  `json:"algorithm"`
	Composite bool   `json:"composite"`
	Value     string `json:"value"`
}

type examplePart struct {
	Number int   `json:"number"`
	Size   int64 `json:"size"` // of the plaintext
}

// recipe has the ingredients of an example.
type recipe struct {
	about    string
	envelope Envelope
	parts    map[int][]byte // by number
	tag      uint8
	facts    []uint8 // checksums beside the MD5, nil for no facts at all
	compose  bool    // the checksums are composite
	upload   string
}

var recipes = map[string]recipe{
	"small": {about: "one part, everything known when it began",
		envelope: Envelope{Mode: SSES3, KeyBlob: []byte("root-1")},
		parts:    map[int][]byte{1: []byte("hello, waxseal")}, tag: TagMD5, facts: []uint8{CRC64NVME}},
	"empty": {about: "no plaintext: one segment that says so",
		envelope: Envelope{Mode: SSES3, KeyBlob: []byte("root-1")}, parts: map[int][]byte{1: nil}, tag: TagMD5, facts: []uint8{}},
	"bodyless": {about: "an empty object without a body, as a folder's marker",
		envelope: Envelope{Mode: SSES3, KeyBlob: []byte("root-1")}, tag: TagMD5, facts: []uint8{CRC64NVME}},
	"kms": {about: "SSE-KMS with a bucket key, a context, a visible ETag after a rewrap; exactly two full segments",
		envelope: Envelope{Mode: SSEKMS, KeyID: testARN, KeyBlob: []byte("a blob of the KMS"), BucketKey: true, VisibleETag: "0123456789-rewrapped",
			Context: map[string]string{"tenant": "blue", "app": "photos", "empty": "", "ünicode": "✓"}},
		parts: map[int][]byte{1: pattern(131000)}, facts: []uint8{SHA256, CRC32}},
	"streamed": {about: "one part of known size whose MD5 came last",
		envelope: Envelope{Mode: SSES3, KeyBlob: []byte("root-1"), Manifest: true},
		parts:    map[int][]byte{1: pattern(131001)}, tag: TagMD5, facts: []uint8{CRC32C, SHA1}},
	"multipart": {about: "three parts with gaps in their numbers",
		envelope: Envelope{Mode: SSES3, KeyBlob: []byte("root-1"), Manifest: true, Size: -1},
		parts:    map[int][]byte{1: pattern(70000), 3: pattern(65481), 10000: pattern(10)}, tag: TagParts, facts: []uint8{CRC64NVME}, upload: "upload-1"},
	"dsse": {about: "two layers, one part",
		envelope: Envelope{Mode: DSSEKMS, KeyID: testARN, KeyBlob: []byte("a blob of the KMS"), OuterKeyBlob: []byte("root-1")},
		parts:    map[int][]byte{1: pattern(65481)}, facts: []uint8{CRC32}},
	"dsse-multipart": {about: "two layers, three parts, the last one empty",
		envelope: Envelope{Mode: DSSEKMS, KeyID: testARN, KeyBlob: []byte("a blob of the KMS"), OuterKeyBlob: []byte("root-1"), Manifest: true, Size: -1},
		parts:    map[int][]byte{1: pattern(65425), 2: pattern(1000), 3: nil}, facts: nil, upload: "upload-2"},
	"sha512": {about: "a checksum that the first byte of the facts has no bit for",
		envelope: Envelope{Mode: SSEKMS, KeyID: testARN, KeyBlob: []byte("a blob of the KMS")},
		parts:    map[int][]byte{1: pattern(3000)}, facts: []uint8{CRC32C, SHA512}},
	"xxhash128": {about: "the same in a manifest",
		envelope: Envelope{Mode: SSES3, KeyBlob: []byte("root-1"), Manifest: true},
		parts:    map[int][]byte{1: pattern(70000)}, tag: TagMD5, facts: []uint8{XXHASH128}},
	"customer": {about: "SSE-C",
		envelope: Envelope{Mode: SSEC}, parts: map[int][]byte{1: pattern(1000)}, facts: []uint8{CRC64NVME}},
	"compressed": {about: "S2 before sealing",
		envelope: Envelope{Mode: SSES3, KeyBlob: []byte("root-1"), Compressed: true},
		parts:    map[int][]byte{1: []byte(compressible())}, tag: TagMD5, facts: []uint8{CRC32C}},
	"named-checksum": {about: "one part; the envelope names the kind of its checksum for lists",
		envelope: Envelope{Mode: SSES3, KeyBlob: []byte("root-1")},
		parts:    map[int][]byte{1: []byte("hello, lists")}, tag: TagMD5, facts: []uint8{XXHASH128}},
	"named-composite": {about: "three parts whose composite checksum the envelope names, and the manifest holds",
		envelope: Envelope{Mode: SSEKMS, KeyID: testARN, KeyBlob: []byte("a blob of the KMS"), Manifest: true, Size: -1, ChecksumAlgorithm: SHA256, ChecksumComposite: true},
		parts:    map[int][]byte{2: pattern(70000), 3: pattern(65481), 4: pattern(10)}, tag: TagParts, facts: []uint8{SHA256}, compose: true, upload: "upload-3"},
}

// compressible has literals, near, far and repeated copies.
func compressible() string {
	var b strings.Builder
	r := mrand.New(mrand.NewPCG(1, 2))
	words := strings.Fields("sealed wax proxy stores cipher segments and never plaintext of any length or kind whatsoever")
	for b.Len() < 60000 {
		b.WriteString(words[r.IntN(len(words))])
		b.WriteByte(" \n,."[r.IntN(4)])
		if r.IntN(200) == 0 {
			b.WriteString(strings.Repeat("=", r.IntN(3000)))
		}
		if r.IntN(300) == 0 {
			b.WriteString(b.String()[:min(b.Len(), 700)])
		}
	}
	return b.String()
}

func checksumOf(algorithm uint8, plain []byte) []byte {
	switch algorithm {
	case CRC32:
		return binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(plain))
	case CRC32C:
		return binary.BigEndian.AppendUint32(nil, crc32.Checksum(plain, crc32.MakeTable(crc32.Castagnoli)))
	case CRC64NVME:
		return binary.BigEndian.AppendUint64(nil, crc64.Checksum(plain, crc64.MakeTable(0x9a6c9329ac4bc9b5)))
	case SHA1:
		s := sha1.Sum(plain)
		return s[:]
	case SHA512:
		s := sha512.Sum512(plain)
		return s[:]
	case MD5:
		s := md5.Sum(plain)
		return s[:]
	case XXHASH128:
		s := xxh3.Hash128(plain).Bytes()
		return s[:]
	}
	s := sha256.Sum256(plain)
	return s[:]
}

func (r recipe) make(t *testing.T) *example {
	e := r.envelope
	keys, kek, outer, svc := NewKeys(e.Mode.Double()), NewKey(), NewKey(), ServiceKey{ID: 300, Key: NewKey()}
	if e.Mode == SSEC {
		e.KeyBlob = NewVerifier(kek)
	}
	x := &example{About: r.about, Binding: hex.EncodeToString([]byte("\x06bucket\x05a/key\x01")), KEK: hex.EncodeToString(kek.b[:]),
		ServiceID: svc.ID, ServiceKey: hex.EncodeToString(svc.Key.b[:]), Mode: e.Mode, KeyID: e.KeyID, KeyBlob: hex.EncodeToString(e.KeyBlob),
		BucketKey: e.BucketKey, Context: e.Context, Compressed: e.Compressed, Manifest: e.Manifest, UploadID: r.upload, Visible: e.VisibleETag}
	if keys.Double {
		x.OuterKEK = hex.EncodeToString(outer.b[:])
	}
	var plain, body, md5s []byte
	m := &Manifest{UploadID: r.upload}
	for _, number := range slices.Sorted(maps.Keys(r.parts)) {
		p := r.parts[number]
		plain = append(plain, p...)
		sum := md5.Sum(p)
		md5s = append(md5s, sum[:]...)
		if e.Compressed {
			p, _ = Compress(p)
		}
		sealed, info := sealPart(t, keys, number, p)
		body = append(body, sealed...)
		x.Parts = append(x.Parts, examplePart{number, info.Size})
		mp := ManifestPart{Number: number, Size: info.Size, Headers: info.Headers, MD5: sum, HasMD5: r.tag == TagParts}
		if !mp.HasMD5 {
			mp.MD5 = [16]byte{}
		}
		if r.upload != "" && info.Size > 0 {
			m.ChecksumAlgorithm, mp.Checksum = CRC32C, checksumOf(CRC32C, p)
		}
		m.Parts = append(m.Parts, mp)
	}
	x.Size = int64(len(plain))
	x.SHA256 = hex.EncodeToString(checksumOf(SHA256, plain))
	if e.Size == 0 && len(m.Parts) > 0 {
		e.Size, e.HasHeaders, e.Headers = x.Size, true, m.Parts[0].Headers
	}
	facts, tag := r.known(x, plain, md5s)
	if e.Manifest {
		m.Tag = *tag
		if facts != nil {
			m.Facts = *facts
		}
		sealed, err := m.Seal(keys, svc)
		if err != nil {
			t.Fatal(err)
		}
		body, facts, tag = append(body, sealed...), nil, nil
	}
	x.Body = base64.StdEncoding.EncodeToString(body)
	binding, _ := hex.DecodeString(x.Binding)
	if err := e.Seal(keys, KEKs{Inner: kek, Outer: outer}, svc, binding, facts, tag); err != nil {
		t.Fatal(err)
	}
	text, err := e.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	x.Envelope, x.Algorithm, x.Composite = string(text), e.ChecksumAlgorithm, e.ChecksumComposite
	return x
}

// known returns facts and tag, and writes them into the example.
func (r recipe) known(x *example, plain, md5s []byte) (*Facts, *Tag) {
	tag := &Tag{Kind: r.tag}
	switch r.tag {
	case TagMD5:
		tag.MD5 = md5.Sum(plain)
	case TagParts:
		tag.MD5, tag.Parts = md5.Sum(md5s), uint32(len(r.parts))
	}
	x.Tag = tag.String()
	if r.facts == nil {
		return nil, tag
	}
	facts := &Facts{MD5: md5.Sum(plain), HasMD5: true}
	x.MD5 = hex.EncodeToString(facts.MD5[:])
	for _, a := range slices.Sorted(slices.Values(r.facts)) {
		c := Checksum{Algorithm: a, Composite: r.compose, Value: checksumOf(a, plain)}
		if c.Composite {
			c.Value = r.composed(a)
		}
		facts.Checksums = append(facts.Checksums, c)
		x.Checksums = append(x.Checksums, exampleChecksum{a, c.Composite, hex.EncodeToString(c.Value)})
	}
	return facts, tag
}

// composed is the checksum of the parts' checksums.
func (r recipe) composed(algorithm uint8) []byte {
	var sums []byte
	for _, number := range slices.Sorted(maps.Keys(r.parts)) {
		sums = append(sums, checksumOf(algorithm, r.parts[number])...)
	}
	return checksumOf(algorithm, sums)
}

const archive = "testdata/v1"

func TestArchive(t *testing.T) {
	if *update {
		writeExamples(t)
	}
	files, err := filepath.Glob(filepath.Join(archive, "*.json"))
	if err != nil || len(files) < len(recipes) {
		t.Fatalf("%d examples in %s, %v", len(files), archive, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			x := new(example)
			if err := json.Unmarshal(b, x); err != nil {
				t.Fatal(err)
			}
			x.check(t)
		})
	}
}

// writeExamples writes the missing files and never changes an existing file.
func writeExamples(t *testing.T) {
	if err := os.MkdirAll(archive, 0o777); err != nil {
		t.Fatal(err)
	}
	for name, r := range recipes {
		file := filepath.Join(archive, name+".json")
		if _, err := os.Stat(file); err == nil {
			continue
		}
		b, err := json.MarshalIndent(r.make(t), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(b, '\n'), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (x *example) key(t *testing.T, s string) Key {
	t.Helper()
	if s == "" {
		return Key{}
	}
	k, err := KeyFrom(unhex(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (x *example) check(t *testing.T) {
	body, err := base64.StdEncoding.DecodeString(x.Body)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ParseEnvelope(x.Envelope)
	if err != nil {
		t.Fatal(err)
	}
	if e.Mode != x.Mode || e.KeyID != x.KeyID || hex.EncodeToString(e.KeyBlob) != x.KeyBlob || e.BucketKey != x.BucketKey ||
		!maps.Equal(e.Context, x.Context) || e.Compressed != x.Compressed || e.Manifest != x.Manifest || e.VisibleETag != x.Visible ||
		e.ChecksumAlgorithm != x.Algorithm || e.ChecksumComposite != x.Composite {
		t.Errorf("clear fields: %+v", e)
	}
	binding := unhex(t, x.Binding)
	kek := x.key(t, x.KEK)
	keys, facts, err := e.Open(kek, x.key(t, x.OuterKEK), binding)
	if err != nil {
		t.Fatal(err)
	}
	if e.Mode == SSEC && !CheckVerifier(e.KeyBlob, kek) {
		t.Error("verifier")
	}
	services := func(id uint32) (Key, bool) { return x.key(t, x.ServiceKey), id == x.ServiceID }
	tag, err := e.OpenTag(services, binding)
	if err != nil {
		t.Fatal(err)
	}
	var layout *Layout
	if x.Manifest {
		layout, facts, tag = x.manifest(t, e, body, keys, services)
	} else if layout, err = e.Layout(int64(len(body))); err != nil {
		t.Fatal(err)
	}
	if tag.String() != x.Tag {
		t.Errorf("tag %s", tag)
	}
	x.checkFacts(t, facts)
	x.checkBody(t, keys, layout, body)
}

func (x *example) manifest(t *testing.T, e *Envelope, body []byte, keys Keys, services ServiceKeys) (*Layout, *Facts, Tag) {
	tail := body[max(0, len(body)-TailSize):]
	f, err := ParseFooter(tail)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := f.OpenTag(tail, e.Commitment(), services)
	if err != nil {
		t.Fatal(err)
	}
	m, err := OpenManifest(body[len(body)-int(f.ManifestSize()):], keys)
	if err != nil {
		t.Fatal(err)
	}
	layout := m.Layout(keys.Layers())
	if m.UploadID != x.UploadID || m.Tag != tag || f.Size != x.Size || layout.BodySize()+f.ManifestSize() != int64(len(body)) {
		t.Errorf("manifest %+v", m)
	}
	if e.HasHeaders {
		fromEnvelope, err := e.Layout(int64(len(body)) - f.ManifestSize())
		if err != nil || fromEnvelope.Parts[0] != layout.Parts[0] {
			t.Errorf("layouts of envelope and manifest differ: %v", err)
		}
	}
	return layout, &m.Facts, tag
}

func (x *example) checkFacts(t *testing.T, facts *Facts) {
	if facts == nil || !facts.HasMD5 {
		if x.MD5 != "" {
			t.Error("no MD5")
		}
		return
	}
	if got := hex.EncodeToString(facts.MD5[:]); got != x.MD5 {
		t.Error("MD5", got)
	}
	var got []exampleChecksum
	for _, c := range facts.Checksums {
		got = append(got, exampleChecksum{c.Algorithm, c.Composite, hex.EncodeToString(c.Value)})
	}
	if !slices.Equal(got, x.Checksums) {
		t.Errorf("checksums %v", got)
	}
}

func (x *example) checkBody(t *testing.T, keys Keys, layout *Layout, body []byte) {
	var parts []examplePart
	for _, p := range layout.Parts {
		parts = append(parts, examplePart{p.Number, p.Size})
	}
	if !slices.Equal(parts, x.Parts) {
		t.Errorf("parts %v", parts)
	}
	if len(parts) == 0 {
		if len(body) != 0 || x.Size != 0 {
			t.Errorf("a body of %d bytes", len(body))
		}
		return
	}
	o := &object{keys: keys, layout: layout, body: body[:layout.BodySize()]}
	var err error
	if o.plain, err = o.all(o.body); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		o.randomRange(t)
	}
	plain := o.plain
	if x.Compressed {
		if plain, err = io.ReadAll(NewDecompressor(bytes.NewReader(plain), x.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if int64(len(plain)) != x.Size || hex.EncodeToString(checksumOf(SHA256, plain)) != x.SHA256 {
		t.Errorf("plaintext of %d bytes", len(plain))
	}
}

// TestPythonReader opens the archive with a reader written from FORMAT.md.
func TestPythonReader(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	if out, err := exec.Command("python3", "-c", "import cryptography").CombinedOutput(); err != nil {
		if os.Getenv("WAXSEAL_REQUIRE_PYTHON") == "1" {
			t.Fatalf("python3 with the cryptography library is required: %v\n%s", err, out)
		}
		t.Skip("needs python3 with the cryptography library (pip install cryptography); WAXSEAL_REQUIRE_PYTHON=1 makes this a failure")
	}
	out, err := exec.Command("python3", "testdata/reader.py", archive).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files, _ := filepath.Glob(filepath.Join(archive, "*.json"))
	if got := strings.Count(string(out), "ok "); got != len(files) || got == 0 {
		t.Fatalf("%d of %d examples opened\n%s", got, len(files), out)
	}
}
