package sse

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Mode is the source of the key-encryption key.
type Mode uint8

const (
	SSES3 Mode = 1 + iota
	SSEKMS
	DSSEKMS
	SSEC
)

func (m Mode) String() string {
	switch m {
	case SSES3:
		return "SSE-S3"
	case SSEKMS:
		return "SSE-KMS"
	case DSSEKMS:
		return "DSSE-KMS"
	case SSEC:
		return "SSE-C"
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}

// Double reports whether objects of the mode have two layers.
func (m Mode) Double() bool { return m == DSSEKMS }

const (
	// MaxEnvelopeText bounds the text of an envelope, and so all allocations of the parser.
	MaxEnvelopeText = 8192

	version1    = 1
	wrappedSize = keySize + TagSize
)

// Flags of the clear bytes. The tag's kind is among them so that it is known, and authenticated by the wrap, even
// when the service key is lost.
const (
	flagManifest = 1 << iota
	flagCompressed
	flagBucketKey
	flagSize
	flagHeaders
	flagVisible
	flagFacts
	flagTagMD5
	flagTagParts
	// The checksum's algorithm fills four bits from flagAlgorithm on.
	flagAlgorithm
	flagComposite = flagAlgorithm << algorithmBits
	flagsKnown    = flagComposite<<1 - 1
)

// algorithmBits hold the number of any checksum algorithm of this version.
const (
	algorithmBits = 4
	algorithmMask = 1<<algorithmBits - 1
)

// Envelope goes with an object and holds everything needed to open it except the KEK. Every field is clear and
// authenticated: by the wrap for a reader with the KEK, by the public box for a reader without.
type Envelope struct {
	Mode         Mode
	KeyID        string            // of the KMS key
	KeyBlob      []byte            // the KMS's ciphertext of the KEK; under SSEC a verifier
	OuterKeyBlob []byte            // the same for the outer KEK, DSSEKMS only
	Context      map[string]string // of the user
	BucketKey    bool

	Manifest   bool  // the body ends with a manifest, and its tag and facts count
	Compressed bool  // the sealed plaintext is Compress of the object
	Size       int64 // of the object's plaintext, -1 when only the manifest knows
	Headers    Headers
	HasHeaders bool // the body is a single part, number 1, with these headers

	VisibleETag string // shown in place of the store's own, after a rewrap

	// ChecksumAlgorithm is the algorithm of the object's checksum. It is clear, because lists open no data key. It is 0
	// without a checksum, and in envelopes of earlier versions. Seal sets both fields from the facts that it seals; if
	// the manifest has the facts, the caller sets the fields.
	ChecksumAlgorithm uint8
	ChecksumComposite bool

	// Set by Seal and ParseEnvelope.
	service    uint32
	salt       [saltSize]byte
	commitment [32]byte
	tagKind    uint8
	wrapped    []byte // one data key, or two
	facts      []byte // box, nil when there are none
	public     []byte // box
}

// Commitment fixes the data keys; a manifest is opened with it.
func (e *Envelope) Commitment() [32]byte { return e.commitment }

// TagKind is the kind of the tag in the public box.
func (e *Envelope) TagKind() uint8 { return e.tagKind }

// HasFacts reports whether Open will return facts.
func (e *Envelope) HasFacts() bool { return e.facts != nil }

// Bodyless reports whether the object is empty and its body too, without even a sealed part: for stores that keep no
// bytes under folder names. The wrap and the public box authenticate this like all clear fields.
func (e *Envelope) Bodyless() bool { return e.Size == 0 && !e.HasHeaders && !e.Manifest }

// Layers is how many times the object's parts are sealed.
func (e *Envelope) Layers() int { return Keys{Double: e.Mode.Double()}.Layers() }

// Layout returns the layout of a single-part object with headers in the envelope. stored is the size of its body
// without a manifest. A compressed object's layout is the layout of its compressed bytes.
func (e *Envelope) Layout(stored int64) (*Layout, error) {
	if e.Bodyless() {
		if stored != 0 {
			return nil, fmt.Errorf("%w: a body of %d bytes where there is none", ErrAuthentication, stored)
		}
		return &Layout{Layers: e.Layers()}, nil
	}
	if !e.HasHeaders {
		return nil, errors.New("sse: the layout is in the manifest")
	}
	size, err := OpenedSize(stored, e.Layers())
	if err != nil {
		return nil, fmt.Errorf("%w: stored size: %w", ErrAuthentication, err)
	}
	if !e.Compressed && e.Size >= 0 && e.Size != size {
		return nil, fmt.Errorf("%w: stored size is not that of %d bytes", ErrAuthentication, e.Size)
	}
	return &Layout{Layers: e.Layers(), Parts: []PartInfo{{Number: 1, Size: size, Headers: e.Headers}}}, nil
}

// KEKs are the key-encryption keys of an envelope. The outer one matters with two layers only.
type KEKs struct{ Inner, Outer Key }

// Seal wraps the keys, with a new salt each time, and seals facts and tag. Without facts there is no facts box; no
// tag is a tag of kind TagNone, because the public box also authenticates the clear fields.
func (e *Envelope) Seal(keys Keys, kek KEKs, svc ServiceKey, binding []byte, facts *Facts, tag *Tag) error {
	if tag == nil {
		tag = new(Tag)
	}
	if facts != nil {
		e.NameChecksum(facts)
	}
	if err := e.checkSeal(keys, kek, svc, tag); err != nil {
		return err
	}
	rand.Read(e.salt[:])
	return e.seal(keys, kek, svc, binding, facts, tag)
}

// seal is Seal with the salt given, for vectors with known bytes.
func (e *Envelope) seal(keys Keys, kek KEKs, svc ServiceKey, binding []byte, facts *Facts, tag *Tag) error {
	var factsPlain []byte
	if facts != nil {
		var err error
		if factsPlain, err = facts.encode(); err != nil {
			return err
		}
	}
	e.service, e.tagKind, e.commitment = svc.ID, tag.Kind, keys.Commitment()
	e.facts = nil
	if facts != nil {
		e.facts = []byte{} // not nil: the clear bytes state the presence of facts
	}
	clearBytes := e.appendClear(nil)

	e.wrapped = kek.Inner.Derive(e.salt[:], labelWrap).sealBox(keys.Data.b[:], associated(labelWrap, clearBytes, binding))
	if keys.Double {
		outer := kek.Outer.Derive(e.salt[:], labelWrapOuter)
		e.wrapped = append(e.wrapped, outer.sealBox(keys.Outer.b[:], associated(labelWrapOuter, clearBytes, binding))...)
	}
	if facts != nil {
		e.facts = keys.derive(e.salt[:], labelEnvelopeFacts).sealBox(factsPlain, associated(labelEnvelopeFacts, clearBytes, binding))
	}
	e.public = svc.Key.Derive(e.salt[:], labelEnvelopePublic).sealBox(tag.encode(nil), associated(labelEnvelopePublic, clearBytes, binding))
	return nil
}

// NameChecksum writes the kind of the facts' only checksum into the clear fields, for the facts of a manifest: Seal does
// so with the facts that it seals.
func (e *Envelope) NameChecksum(facts *Facts) {
	e.ChecksumAlgorithm, e.ChecksumComposite = 0, false
	if len(facts.Checksums) == 1 {
		e.ChecksumAlgorithm, e.ChecksumComposite = facts.Checksums[0].Algorithm, facts.Checksums[0].Composite
	}
}

func (e *Envelope) checkSeal(keys Keys, kek KEKs, svc ServiceKey, tag *Tag) error {
	if keys.Double != e.Mode.Double() {
		return fmt.Errorf("sse: %v is not for keys of %d layers", e.Mode, keys.Layers())
	}
	if err := keys.usable(); err != nil {
		return err
	}
	if kek.Inner.IsZero() || svc.Key.IsZero() || keys.Double && kek.Outer.IsZero() {
		return ErrNoKey
	}
	if err := tag.check(); err != nil {
		return err
	}
	return e.check()
}

// check refuses an inconsistent envelope, both when sealing and when parsing.
func (e *Envelope) check() error {
	switch {
	case e.Mode < SSES3 || e.Mode > SSEC:
		return fmt.Errorf("sse: unknown mode %d", e.Mode)
	case e.Mode == SSEC && len(e.KeyBlob) != verifierSize:
		return errors.New("sse: the blob of a key that is not kept is a verifier")
	case len(e.OuterKeyBlob) > 0 && !e.Mode.Double():
		return errors.New("sse: an outer key blob without an outer layer")
	case e.Size < -1 || e.Size > MaxPlaintext:
		return errors.New("sse: size out of range")
	case e.Size < 0 && !e.Manifest:
		return errors.New("sse: without a manifest the size must be known")
	case !e.HasHeaders && !e.Manifest && e.Size != 0:
		return errors.New("sse: without a manifest the headers must be known")
	case e.Bodyless() && e.Compressed:
		return errors.New("sse: nothing is compressed")
	case e.Manifest && e.Compressed:
		return errors.New("sse: a compressed object has no manifest")
	case e.HasHeaders && e.Size < 0:
		return errors.New("sse: the size of a lone part must be known")
	case !e.HasHeaders && e.Headers != Headers{}, !e.Mode.Double() && e.Headers.Outer != StreamHeader{}:
		return errors.New("sse: headers of layers that are not there")
	case e.ChecksumAlgorithm != 0 && ChecksumSize(e.ChecksumAlgorithm) == 0:
		return fmt.Errorf("sse: unknown checksum algorithm %d", e.ChecksumAlgorithm)
	case e.ChecksumComposite && e.ChecksumAlgorithm == 0:
		return errors.New("sse: a composite checksum of no algorithm")
	}
	return nil
}

// MarshalText gives the sealed envelope as base64url without padding.
func (e *Envelope) MarshalText() ([]byte, error) {
	if e.wrapped == nil {
		return nil, errors.New("sse: the envelope is not sealed")
	}
	b := e.append(nil)
	if base64.RawURLEncoding.EncodedLen(len(b)) > MaxEnvelopeText {
		return nil, fmt.Errorf("sse: an envelope of %d bytes is too long", len(b))
	}
	return base64.RawURLEncoding.AppendEncode(nil, b), nil
}

// append writes the whole record.
func (e *Envelope) append(b []byte) []byte {
	b = e.appendClear(b)
	b = append(b, e.wrapped...)
	if e.facts != nil {
		b = appendBytes(b, e.facts)
	}
	return append(b, e.public...)
}

func (e *Envelope) flags() uint16 {
	var f uint16
	for _, bit := range []struct {
		set  bool
		flag uint16
	}{
		{e.Manifest, flagManifest}, {e.Compressed, flagCompressed}, {e.BucketKey, flagBucketKey},
		{e.Size >= 0, flagSize}, {e.HasHeaders, flagHeaders}, {e.VisibleETag != "", flagVisible},
		{e.facts != nil, flagFacts}, {e.tagKind == TagMD5, flagTagMD5}, {e.tagKind == TagParts, flagTagParts},
		{e.ChecksumComposite, flagComposite},
	} {
		if bit.set {
			f |= bit.flag
		}
	}
	return f | uint16(e.ChecksumAlgorithm)*flagAlgorithm
}

// appendClear writes the clear bytes; flags state which optional fields follow.
func (e *Envelope) appendClear(b []byte) []byte {
	b = slices.Grow(b, e.sizeHint())
	b = append(b, version1, byte(e.Mode))
	b = binary.BigEndian.AppendUint16(b, e.flags())
	b = binary.AppendUvarint(b, uint64(e.service))
	b = append(b, e.salt[:]...)
	b = append(b, e.commitment[:]...)
	if e.Size >= 0 {
		b = binary.AppendUvarint(b, uint64(e.Size))
	}
	if e.HasHeaders {
		b = e.Headers.append(b, e.Layers())
	}
	b = appendBytes(b, e.KeyID)
	b = appendBytes(b, e.KeyBlob)
	if e.Mode.Double() {
		b = appendBytes(b, e.OuterKeyBlob)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Context)))
	if len(e.Context) > 0 {
		for _, name := range slices.Sorted(maps.Keys(e.Context)) {
			b = appendBytes(b, name)
			b = appendBytes(b, e.Context[name])
		}
	}
	if e.VisibleETag != "" {
		b = appendBytes(b, e.VisibleETag)
	}
	return b
}

// sizeHint returns the approximate length of the record: 512 for fields of fixed size, plus the variable fields.
func (e *Envelope) sizeHint() int {
	n := 512 + len(e.KeyID) + len(e.KeyBlob) + len(e.OuterKeyBlob) + len(e.VisibleETag)
	for name, value := range e.Context {
		n += len(name) + len(value) + 4
	}
	return n
}

func (h *Headers) append(b []byte, layers int) []byte {
	b = append(b, h.Data[:]...)
	if layers > 1 {
		b = append(b, h.Outer[:]...)
	}
	return b
}

func (f *fields) headers(layers int) (h Headers) {
	f.into(h.Data[:])
	if layers > 1 {
		f.into(h.Outer[:])
	}
	return h
}

// ParseEnvelope reads the text of MarshalText, in exactly this encoding: a parsed envelope encodes to the same text
// again.
func ParseEnvelope(text string) (*Envelope, error) {
	if len(text) > MaxEnvelopeText {
		return nil, fmt.Errorf("%w: envelope of %d characters", ErrMalformed, len(text))
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: envelope: %v", ErrMalformed, err)
	}
	e, err := parseEnvelope(b)
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	// The length reveals newlines, skipped by base64; the comparison makes up for every further laxness of the
	// decoders.
	if len(text) != base64.RawURLEncoding.EncodedLen(len(b)) || !bytes.Equal(e.append(nil), b) {
		return nil, fmt.Errorf("%w: envelope is not canonical", ErrMalformed)
	}
	return e, nil
}

// parseEnvelope keeps parts of b.
func parseEnvelope(b []byte) (*Envelope, error) {
	in := fields{b: b}
	if v := in.u8(); in.err == nil && v != version1 {
		return nil, fmt.Errorf("%w: %d", ErrUnsupportedVersion, v)
	}
	e := &Envelope{Mode: Mode(in.u8()), Size: -1}
	flags := in.u16()
	e.ChecksumAlgorithm = uint8(flags / flagAlgorithm & algorithmMask)
	laterAlgorithm := e.ChecksumAlgorithm != 0 && ChecksumSize(e.ChecksumAlgorithm) == 0
	if in.err == nil && (flags&^flagsKnown != 0 || e.Mode > SSEC || laterAlgorithm) {
		return nil, fmt.Errorf("%w: mode %d, flags %#x", ErrUnsupportedVersion, e.Mode, flags)
	}
	e.parseClear(&in, flags)
	e.parseBoxes(&in, flags)
	if err := in.end(); err != nil {
		return nil, err
	}
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return e, nil
}

func (e *Envelope) parseClear(in *fields, flags uint16) {
	e.Manifest = flags&flagManifest != 0
	e.Compressed = flags&flagCompressed != 0
	e.BucketKey = flags&flagBucketKey != 0
	e.HasHeaders = flags&flagHeaders != 0
	e.ChecksumComposite = flags&flagComposite != 0
	e.service = uint32(in.uvarint(1<<32 - 1))
	in.into(e.salt[:])
	in.into(e.commitment[:])
	if flags&flagSize != 0 {
		e.Size = int64(in.uvarint(MaxPlaintext))
	}
	if e.HasHeaders {
		e.Headers = in.headers(e.Layers())
	}
	e.KeyID = string(in.view())
	e.KeyBlob = in.view()
	if e.Mode.Double() {
		e.OuterKeyBlob = in.view()
	}
	e.Context = in.context()
	if flags&flagVisible != 0 {
		e.VisibleETag = string(in.view())
	}
}

func (f *fields) context() map[string]string {
	n := f.uvarint(uint64(len(f.b) / 2)) // a pair has at least two bytes
	if n == 0 {
		return nil
	}
	m := make(map[string]string, n)
	for range n {
		name := string(f.view())
		m[name] = string(f.view())
	}
	return m // a repeated name shows when the envelope is encoded again
}

func (e *Envelope) parseBoxes(in *fields, flags uint16) {
	switch {
	case flags&flagTagMD5 != 0 && flags&flagTagParts != 0:
		in.fail(fmt.Errorf("%w: two kinds of tag", ErrMalformed))
	case flags&flagTagMD5 != 0:
		e.tagKind = TagMD5
	case flags&flagTagParts != 0:
		e.tagKind = TagParts
	}
	e.wrapped = in.take(e.Layers() * wrappedSize)
	if flags&flagFacts != 0 {
		if e.facts = in.view(); len(e.facts) < factsPrefix+TagSize {
			in.fail(fmt.Errorf("%w: facts box", ErrMalformed))
		}
	}
	e.public = in.take(Tag{Kind: e.tagKind}.size() + TagSize)
}

// Open unwraps the keys and checks them against the commitment. Facts are nil
// when the envelope has none. outerKEK matters with two layers only.
func (e *Envelope) Open(kek, outerKEK Key, binding []byte) (Keys, *Facts, error) {
	keys, facts, err := e.open(kek, outerKEK, binding)
	if err != nil {
		keys.Zero()
		return Keys{}, nil, err
	}
	return keys, facts, nil
}

func (e *Envelope) open(kek, outerKEK Key, binding []byte) (keys Keys, facts *Facts, err error) {
	if len(e.wrapped) != e.Layers()*wrappedSize {
		return keys, nil, errors.New("sse: the envelope is not sealed")
	}
	keys.Double = e.Mode.Double()
	clearBytes := e.appendClear(nil)
	if keys.Data, err = e.unwrap(kek, labelWrap, e.wrapped[:wrappedSize], clearBytes, binding); err != nil {
		return keys, nil, err
	}
	if keys.Double {
		if keys.Outer, err = e.unwrap(outerKEK, labelWrapOuter, e.wrapped[wrappedSize:], clearBytes, binding); err != nil {
			return keys, nil, err
		}
	}
	commitment := keys.Commitment()
	if subtle.ConstantTimeCompare(commitment[:], e.commitment[:]) != 1 {
		return keys, nil, fmt.Errorf("%w: key commitment", ErrAuthentication)
	}
	if e.facts == nil {
		return keys, nil, nil
	}
	plain, err := keys.derive(e.salt[:], labelEnvelopeFacts).openBox(e.facts, associated(labelEnvelopeFacts, clearBytes, binding))
	if err != nil {
		return keys, nil, fmt.Errorf("%w: facts of the envelope", err)
	}
	facts, err = decodeFacts(plain)
	return keys, facts, err
}

func (e *Envelope) unwrap(kek Key, label string, box, clearBytes, binding []byte) (Key, error) {
	plain, err := kek.Derive(e.salt[:], label).openBox(box, associated(label, clearBytes, binding))
	if err != nil {
		return Key{}, fmt.Errorf("%w: wrapped data key", err)
	}
	defer clear(plain)
	return KeyFrom(plain)
}

// OpenTag opens the public box, and so authenticates every clear field and the
// binding without a KEK.
func (e *Envelope) OpenTag(svc ServiceKeys, binding []byte) (Tag, error) {
	aad := associated(labelEnvelopePublic, e.appendClear(nil), binding)
	tag, err := svc.open(e.service, e.salt[:], labelEnvelopePublic, e.public, aad)
	if err != nil {
		return Tag{}, fmt.Errorf("envelope: %w", err)
	}
	if tag.Kind != e.tagKind {
		return Tag{}, fmt.Errorf("%w: kind of the envelope's tag", ErrAuthentication)
	}
	return tag, nil
}
