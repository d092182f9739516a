package embedded

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"waxseal/proxy/s3"
)

// extent is a body, or a piece of one: the bytes under an id, in the index or in a file.
type extent struct {
	id     uint64
	size   int64
	inline bool
}

// checksum is one that S3 knows of an object: value as in its header, kind FULL_OBJECT or COMPOSITE.
type checksum struct{ algorithm, kind, value string }

// object is a version of an object, or a delete marker.
type object struct {
	seq      uint64 // orders the versions of a key: a higher one is newer
	salt     uint64 // the part of its version id that cannot be guessed
	null     bool   // written without versioning: its id is null
	marker   bool
	size     int64
	modified int64  // milliseconds since 1970
	etag     string // without quotes
	header   []s3.Field
	tags     []s3.Tag
	checksum checksum
	parts    int    // in the layout; 0: it came in one piece
	body     extent // of one that came in one piece
	mode     string // of its retention
	until    int64  // of its retention, in milliseconds
	hold     bool
	released bool   // a legal hold was set to OFF, which is not the same as never
	acl      string // canned; "" is private
}

func (o *object) versionID() string {
	if o.null {
		return "null"
	}
	return makeID(o.seq, o.salt)
}

func (o *object) time() time.Time { return time.UnixMilli(o.modified).UTC() }

func (o *object) headerValue(name string) string {
	for _, f := range o.header {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

// makeID makes a version's or an upload's id, which names its place in the index.
func makeID(seq, salt uint64) string {
	return hex.EncodeToString(appendID(idKey(seq), salt))
}

// parseID takes an id apart. What no id looks like gives false: such an id names nothing.
func parseID(id string) (seq, salt uint64, ok bool) {
	b, err := hex.DecodeString(id)
	if err != nil || len(b) != 16 || strings.ToLower(id) != id {
		return 0, 0, false
	}
	return idOf(b), idOf(b[8:]), true
}

// upload is a multipart upload under way. What it will be as an object is in its object.
type upload struct {
	object
}

func (u *upload) id() string { return makeID(u.seq, u.salt) }

// part is a part of an upload, or of an object that was uploaded in parts.
type part struct {
	number   int
	size     int64
	etag     string
	modified int64
	checksum string
	body     extent
}

// outcome is what Complete answered.
type outcome struct {
	bucket   uint64
	key      string
	salt     uint64
	etag     string
	version  string
	checksum checksum
	at       int64
}

// errDamaged is an entry of the index that cannot be read.
var errDamaged = errors.New("embedded store: an entry of the index is damaged")

// encoder writes records: a version byte, then fields in a fixed order.
type encoder struct{ b []byte }

const recordFormat = 1

func newEncoder(size int) *encoder { return &encoder{append(make([]byte, 0, size), recordFormat)} }

func (e *encoder) uint(v uint64)   { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)     { e.uint(uint64(v)) }
func (e *encoder) text(s string)   { e.uint(uint64(len(s))); e.b = append(e.b, s...) }
func (e *encoder) fixed(v uint64)  { e.b = appendID(e.b, v) }
func (e *encoder) flags(f ...bool) { e.uint(packFlags(f)) }

func packFlags(f []bool) (v uint64) {
	for i, set := range f {
		if set {
			v |= 1 << i
		}
	}
	return v
}

func (e *encoder) extent(x extent) {
	e.uint(x.id)
	e.int(x.size)
	e.flags(x.inline)
}

func (e *encoder) checksum(c checksum) { e.text(c.algorithm); e.text(c.kind); e.text(c.value) }

// decoder reads records. Its texts are parts of one copy of the record. It never fails loudly: bad says whether a field
// was missing.
type decoder struct {
	s   string
	bad bool
}

func newDecoder(record []byte) *decoder {
	d := &decoder{s: string(record)}
	if d.s == "" || d.s[0] != recordFormat {
		d.bad, d.s = true, ""
		return d
	}
	d.s = d.s[1:]
	return d
}

func (d *decoder) uint() uint64 {
	var v uint64
	for shift := uint(0); shift < 64; shift += 7 {
		if d.s == "" {
			break
		}
		c := d.s[0]
		d.s = d.s[1:]
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	d.bad = true
	return 0
}

func (d *decoder) int() int64 { return int64(d.uint()) }

// count reads the number of elements that follow, each of a byte at least.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.s)) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) text() string {
	n := d.count()
	s := d.s[:n]
	d.s = d.s[n:]
	return s
}

func (d *decoder) fixed() uint64 {
	if len(d.s) < 8 {
		d.bad = true
		return 0
	}
	v := idOf([]byte(d.s[:8]))
	d.s = d.s[8:]
	return v
}

func (d *decoder) flags(f ...*bool) {
	v := d.uint()
	for i, set := range f {
		*set = v&(1<<i) != 0
	}
}

func (d *decoder) extent() (x extent) {
	x.id, x.size = d.uint(), d.int()
	d.flags(&x.inline)
	return x
}

func (d *decoder) checksum() checksum { return checksum{d.text(), d.text(), d.text()} }

func (d *decoder) err() error {
	if d.bad || d.s != "" {
		return errDamaged
	}
	return nil
}

func (o *object) encode() []byte {
	e := newEncoder(256 + 64*len(o.header))
	e.uint(o.seq)
	e.fixed(o.salt)
	e.flags(o.null, o.marker, o.hold, o.released)
	e.int(o.size)
	e.int(o.modified)
	e.text(o.etag)
	e.uint(uint64(len(o.header)))
	for _, f := range o.header {
		e.text(f.Name)
		e.text(f.Value)
	}
	e.uint(uint64(len(o.tags)))
	for _, t := range o.tags {
		e.text(t.Key)
		e.text(t.Value)
	}
	e.checksum(o.checksum)
	e.int(int64(o.parts))
	e.extent(o.body)
	e.text(o.mode)
	e.int(o.until)
	e.text(o.acl)
	return e.b
}

func decodeObject(record []byte) (*object, error) {
	d, o := newDecoder(record), new(object)
	o.seq, o.salt = d.uint(), d.fixed()
	d.flags(&o.null, &o.marker, &o.hold, &o.released)
	o.size, o.modified, o.etag = d.int(), d.int(), d.text()
	if n := d.count(); n > 0 {
		o.header = make([]s3.Field, n)
		for i := range o.header {
			o.header[i] = s3.Field{Name: d.text(), Value: d.text()}
		}
	}
	if n := d.count(); n > 0 {
		o.tags = make([]s3.Tag, n)
		for i := range o.tags {
			o.tags[i] = s3.Tag{Key: d.text(), Value: d.text()}
		}
	}
	o.checksum = d.checksum()
	o.parts, o.body = int(d.int()), d.extent()
	o.mode, o.until, o.acl = d.text(), d.int(), d.text()
	return o, d.err()
}

func (p *part) encodeTo(e *encoder) {
	e.int(int64(p.number))
	e.int(p.size)
	e.text(p.etag)
	e.int(p.modified)
	e.text(p.checksum)
	e.extent(p.body)
}

func (d *decoder) part() part {
	return part{number: int(d.int()), size: d.int(), etag: d.text(), modified: d.int(), checksum: d.text(), body: d.extent()}
}

func (p *part) encode() []byte {
	e := newEncoder(96)
	p.encodeTo(e)
	return e.b
}

func decodePart(record []byte) (part, error) {
	d := newDecoder(record)
	p := d.part()
	return p, d.err()
}

// encodeLayout writes the parts of an object.
func encodeLayout(parts []part) []byte {
	e := newEncoder(16 + 96*len(parts))
	e.uint(uint64(len(parts)))
	for i := range parts {
		parts[i].encodeTo(e)
	}
	return e.b
}

func decodeLayout(record []byte) ([]part, error) {
	d := newDecoder(record)
	parts := make([]part, d.count())
	for i := range parts {
		parts[i] = d.part()
	}
	return parts, d.err()
}

func (o *outcome) encode() []byte {
	e := newEncoder(256)
	e.uint(o.bucket)
	e.text(o.key)
	e.fixed(o.salt)
	e.text(o.etag)
	e.text(o.version)
	e.checksum(o.checksum)
	e.int(o.at)
	return e.b
}

func decodeOutcome(record []byte) (*outcome, error) {
	d := newDecoder(record)
	o := &outcome{bucket: d.uint(), key: d.text(), salt: d.fixed(), etag: d.text(), version: d.text(), checksum: d.checksum(), at: d.int()}
	return o, d.err()
}
