package sse

import (
	"bytes"
	"encoding/base64"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const testARN = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab"

var testBinding = []byte("\x06bucket\x03key\x02")

// sealedEnvelope is an envelope with its keys.
type sealedEnvelope struct {
	*Envelope
	keys       Keys
	kek, outer Key
	svc        ServiceKey
	facts      *Facts
	tag        *Tag
}

func (s *sealedEnvelope) service(id uint32) (Key, bool) { return s.svc.Key, id == s.svc.ID }

func (s *sealedEnvelope) text(t testing.TB) string {
	t.Helper()
	text, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func sealEnvelope(t testing.TB, e Envelope, facts *Facts, tag *Tag) *sealedEnvelope {
	t.Helper()
	s := &sealedEnvelope{Envelope: &e, keys: NewKeys(e.Mode.Double()), kek: NewKey(), outer: NewKey(),
		svc: ServiceKey{ID: 7, Key: NewKey()}, facts: facts, tag: tag}
	if e.Mode == SSEC {
		e.KeyBlob = NewVerifier(s.kek)
	}
	if err := s.Seal(s.keys, KEKs{Inner: s.kek, Outer: s.outer}, s.svc, testBinding, facts, tag); err != nil {
		t.Fatal(err)
	}
	return s
}

func md5Facts(algorithms ...uint8) *Facts {
	f := &Facts{HasMD5: true, MD5: [16]byte{1, 2, 3}}
	for _, a := range algorithms {
		f.Checksums = append(f.Checksums, Checksum{Algorithm: a, Value: bytes.Repeat([]byte{a}, ChecksumSize(a))})
	}
	return f
}

func someHeaders(double bool) Headers {
	h := Headers{Data: newStreamHeader()}
	if double {
		h.Outer = newStreamHeader()
	}
	return h
}

// envelopes of every kind.
func envelopes(t testing.TB) map[string]*sealedEnvelope {
	tag := &Tag{Kind: TagMD5, MD5: [16]byte{1, 2, 3}}
	return map[string]*sealedEnvelope{
		"small": sealEnvelope(t, Envelope{Mode: SSES3, KeyBlob: []byte{1}, Size: 5, HasHeaders: true, Headers: someHeaders(false)},
			md5Facts(CRC64NVME), tag),
		"kms": sealEnvelope(t, Envelope{Mode: SSEKMS, KeyID: testARN, KeyBlob: bytes.Repeat([]byte{9}, 184), BucketKey: true,
			Context: map[string]string{"b": "2", "a": "1", "": "", "aa": "\x00"}, Size: 1 << 40, HasHeaders: true, Headers: someHeaders(false)},
			&Facts{}, nil),
		"dsse": sealEnvelope(t, Envelope{Mode: DSSEKMS, KeyID: testARN, KeyBlob: bytes.Repeat([]byte{9}, 184), OuterKeyBlob: []byte("root-1"),
			Size: 0, HasHeaders: true, Headers: someHeaders(true)}, md5Facts(SHA256, CRC32), nil),
		"customer":  sealEnvelope(t, Envelope{Mode: SSEC, Size: 77, HasHeaders: true, Headers: someHeaders(false)}, nil, nil),
		"streamed":  sealEnvelope(t, Envelope{Mode: SSES3, Manifest: true, Size: 1 << 30, HasHeaders: true, Headers: someHeaders(false)}, nil, nil),
		"multipart": sealEnvelope(t, Envelope{Mode: SSES3, Manifest: true, Size: -1}, nil, nil),
		"composite": sealEnvelope(t, Envelope{Mode: SSES3, Manifest: true, Size: -1, ChecksumAlgorithm: CRC32C, ChecksumComposite: true}, nil, nil),
		"rewrapped": sealEnvelope(t, Envelope{Mode: SSEKMS, KeyID: testARN, Manifest: true, Size: -1, VisibleETag: "abc-3"}, nil,
			&Tag{Kind: TagParts, MD5: [16]byte{4}, Parts: 3}),
		"compressed": sealEnvelope(t, Envelope{Mode: SSES3, Compressed: true, Size: 10000, HasHeaders: true, Headers: someHeaders(false)},
			&Facts{Checksums: []Checksum{{Algorithm: SHA1, Composite: true, Value: make([]byte, 20)}}}, tag),
	}
}

func TestEnvelopeRoundTrip(t *testing.T) {
	for name, s := range envelopes(t) {
		text := s.text(t)
		e, err := ParseEnvelope(text)
		if err != nil {
			t.Fatal(name, err)
		}
		if !reflect.DeepEqual(e, s.Envelope) && !(len(e.KeyBlob) == 0 && len(s.KeyBlob) == 0) {
			t.Errorf("%s: parsed as\n%+v, was\n%+v", name, e, s.Envelope)
		}
		if again, err := e.MarshalText(); err != nil || string(again) != text {
			t.Errorf("%s: encodes as another text, %v", name, err)
		}
		keys, facts, err := e.Open(s.kek, s.outer, testBinding)
		if err != nil || keys.Data != s.keys.Data || keys.Double != s.keys.Double || keys.Double && keys.Outer != s.keys.Outer {
			t.Errorf("%s: keys, %v", name, err)
		}
		if !sameFacts(facts, s.facts) || e.HasFacts() != (s.facts != nil) {
			t.Errorf("%s: facts %+v, not %+v", name, facts, s.facts)
		}
		want := Tag{}
		if s.tag != nil {
			want = *s.tag
		}
		if tag, err := e.OpenTag(s.service, testBinding); err != nil || tag != want || e.TagKind() != want.Kind {
			t.Errorf("%s: tag %v, %v", name, tag, err)
		}
		if e.Commitment() != s.keys.Commitment() {
			t.Errorf("%s: commitment", name)
		}
	}
}

// sameFacts does not look at the order of the checksums.
func sameFacts(a, b *Facts) bool {
	if a == nil || b == nil {
		return a == b
	}
	order := func(f *Facts) []Checksum {
		return slices.SortedFunc(slices.Values(f.Checksums), func(a, b Checksum) int { return int(a.Algorithm) - int(b.Algorithm) })
	}
	return a.HasMD5 == b.HasMD5 && a.MD5 == b.MD5 && reflect.DeepEqual(order(a), order(b))
}

func TestEnvelopeSaltIsFresh(t *testing.T) {
	s := envelopes(t)["small"]
	before, salt := s.text(t), s.salt
	if err := s.Seal(s.keys, KEKs{Inner: s.kek, Outer: s.outer}, s.svc, testBinding, s.facts, s.tag); err != nil {
		t.Fatal(err)
	}
	if s.text(t) == before || s.salt == salt {
		t.Error("two envelopes have one salt")
	}
}

// TestEnvelopeSize holds the promise of FORMAT.md: with an AWS blob, known size,
// headers, MD5 and any checksum but SHA512 an envelope stays under 700 characters.
func TestEnvelopeSize(t *testing.T) {
	e := Envelope{Mode: SSEKMS, KeyID: testARN, KeyBlob: make([]byte, 184), BucketKey: true,
		Size: 5 << 30, HasHeaders: true, Headers: someHeaders(false)}
	for name, c := range map[string]struct {
		facts *Facts
		tag   *Tag
		want  int
	}{
		"store's tag, CRC64NVME": {md5Facts(CRC64NVME), nil, 646},
		"store's tag, SHA256":    {md5Facts(SHA256), nil, 678},
		"MD5 tag, SHA256":        {md5Facts(SHA256), &Tag{Kind: TagMD5}, 699},
	} {
		if got := len(sealEnvelope(t, e, c.facts, c.tag).text(t)); got != c.want || got >= 700 {
			t.Errorf("%s: %d characters, not %d", name, got, c.want)
		}
	}
}

// TestEnvelopeEveryBit: an envelope with a flipped bit does not parse, or does not open; in the clear fields and the
// public box it does not pass OpenTag either. For two of the envelopes every bit is flipped, for the rest a bit of
// each byte.
func TestEnvelopeEveryBit(t *testing.T) {
	for name, s := range envelopes(t) {
		raw, _ := base64.RawURLEncoding.DecodeString(s.text(t))
		clearSize := len(s.appendClear(nil))
		factsStart := clearSize + len(s.wrapped)
		publicStart := len(raw) - len(s.public)
		for i := range raw {
			for bit := range 8 {
				if name != "small" && name != "dsse" && bit != i%8 {
					continue
				}
				b := bytes.Clone(raw)
				b[i] ^= 1 << bit
				e, err := ParseEnvelope(base64.RawURLEncoding.EncodeToString(b))
				if err != nil {
					if e != nil || !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsupportedVersion) {
						t.Fatalf("%s: byte %d: %v %v", name, i, e, err)
					}
					continue
				}
				keys, facts, err := e.Open(s.kek, s.outer, testBinding)
				if i < publicStart && !errors.Is(err, ErrAuthentication) || err != nil && (keys != Keys{} || facts != nil) {
					t.Fatalf("%s: byte %d bit %d: opened %v, %v", name, i, bit, facts, err)
				}
				tag, err := e.OpenTag(func(uint32) (Key, bool) { return s.svc.Key, true }, testBinding)
				if (i < clearSize || i >= publicStart) && (!errors.Is(err, ErrAuthentication) || tag != Tag{}) {
					t.Fatalf("%s: byte %d bit %d: tag %v, %v", name, i, bit, tag, err)
				}
			}
		}
		if factsStart > publicStart {
			t.Fatal("regions")
		}
	}
}

func TestEnvelopeTextIsStrict(t *testing.T) {
	text := envelopes(t)["kms"].text(t)
	for name, bad := range map[string]string{
		"empty": "", "space": " " + text, "newline": text[:40] + "\n" + text[40:], "carriage return": text + "\r", "padding": text + "=",
		"cut": text[:len(text)-4], "more": text + "AAAA", "standard alphabet": "+/+/" + text[4:], "one char": "A",
		"long": strings.Repeat("A", MaxEnvelopeText+1),
	} {
		if e, err := ParseEnvelope(bad); e != nil || !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUnsupportedVersion) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEnvelopeCutAnywhere: no prefix parses, and none makes the parser panic.
func TestEnvelopeCutAnywhere(t *testing.T) {
	for name, s := range envelopes(t) {
		raw, _ := base64.RawURLEncoding.DecodeString(s.text(t))
		for n := range raw {
			if _, err := parseEnvelope(raw[:n]); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%s cut to %d: %v", name, n, err)
			}
		}
		if _, err := parseEnvelope(append(bytes.Clone(raw), 0)); !errors.Is(err, ErrMalformed) {
			t.Fatalf("%s with a byte more: %v", name, err)
		}
	}
}

func TestEnvelopeVersions(t *testing.T) {
	raw, _ := base64.RawURLEncoding.DecodeString(envelopes(t)["small"].text(t))
	for name, change := range map[string]func(b []byte){
		"version 0": func(b []byte) { b[0] = 0 }, "version 2": func(b []byte) { b[0] = 2 },
		"mode 5": func(b []byte) { b[1] = 5 }, "flag 15": func(b []byte) { b[2] |= 0x80 }, "flag 14": func(b []byte) { b[2] |= 0x40 },
		"checksum of algorithm 11": func(b []byte) { b[2] = 11 << 1 },
	} {
		b := bytes.Clone(raw)
		change(b)
		if _, err := ParseEnvelope(base64.RawURLEncoding.EncodeToString(b)); !errors.Is(err, ErrUnsupportedVersion) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEnvelopeNamesTheChecksum: the clear fields name the facts' only checksum; of several they name none, and without facts they
// keep what the caller says.
func TestEnvelopeNamesTheChecksum(t *testing.T) {
	type kind struct {
		algorithm uint8
		composite bool
	}
	for name, want := range map[string]kind{
		"small": {CRC64NVME, false}, "kms": {}, "dsse": {}, "customer": {}, "multipart": {},
		"composite": {CRC32C, true}, "compressed": {SHA1, true},
	} {
		e, err := ParseEnvelope(envelopes(t)[name].text(t))
		if err != nil {
			t.Fatal(err)
		}
		if got := (kind{e.ChecksumAlgorithm, e.ChecksumComposite}); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	for a := CRC32; a <= XXHASH128; a++ {
		s := sealEnvelope(t, Envelope{Mode: SSES3, Manifest: true, Size: -1, ChecksumAlgorithm: a}, nil, nil)
		if e, err := ParseEnvelope(s.text(t)); err != nil || e.ChecksumAlgorithm != a || e.ChecksumComposite {
			t.Errorf("algorithm %d: %+v, %v", a, e, err)
		}
	}
}

// TestEnvelopeUncanonical: encodings of the same meaning in different bytes are refused.
func TestEnvelopeUncanonical(t *testing.T) {
	s := sealEnvelope(t, Envelope{Mode: SSEKMS, Context: map[string]string{"a": "1", "b": "2"}, Manifest: true, Size: -1}, nil, nil)
	raw, _ := base64.RawURLEncoding.DecodeString(s.text(t))
	at := bytes.Index(raw, []byte("\x01a\x011\x01b\x012"))
	swapped := bytes.Clone(raw)
	copy(swapped[at:], "\x01b\x012\x01a\x011")
	twice := bytes.Clone(raw)
	copy(twice[at:], "\x01a\x011\x01a\x012")
	longForm := slices.Insert(bytes.Clone(raw), 5, 0) // service key id 7 as 0x87 0x00
	longForm[4] |= 0x80
	for name, b := range map[string][]byte{"unsorted": swapped, "repeated": twice, "long varint": longForm} {
		if _, err := ParseEnvelope(base64.RawURLEncoding.EncodeToString(b)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEnvelopeWrongKeysAndBinding(t *testing.T) {
	for name, s := range envelopes(t) {
		outer := NewKey()
		if !s.keys.Double {
			outer = s.outer
		}
		for fault, open := range map[string]func() (Keys, *Facts, error){
			"kek":     func() (Keys, *Facts, error) { return s.Open(NewKey(), s.outer, testBinding) },
			"no kek":  func() (Keys, *Facts, error) { return s.Open(Key{}, Key{}, testBinding) },
			"binding": func() (Keys, *Facts, error) { return s.Open(s.kek, s.outer, append(testBinding, 0)) },
			"swapped": func() (Keys, *Facts, error) { return s.Open(s.outer, s.kek, testBinding) },
			"outer":   func() (Keys, *Facts, error) { return s.Open(s.kek, outer, testBinding) },
		} {
			if fault == "outer" && !s.keys.Double {
				continue
			}
			if keys, facts, err := open(); !errors.Is(err, ErrAuthentication) || (keys != Keys{}) || facts != nil {
				t.Errorf("%s, %s: %v", name, fault, err)
			}
		}
		if tag, err := s.OpenTag(s.service, nil); !errors.Is(err, ErrAuthentication) || tag != (Tag{}) {
			t.Errorf("%s: tag under another binding: %v", name, err)
		}
		if _, err := s.OpenTag(func(uint32) (Key, bool) { return NewKey(), true }, testBinding); !errors.Is(err, ErrAuthentication) {
			t.Errorf("%s: tag under another service key: %v", name, err)
		}
		if _, err := s.OpenTag(func(uint32) (Key, bool) { return Key{}, false }, testBinding); !errors.Is(err, ErrUnknownServiceKey) {
			t.Errorf("%s: tag without the service key: %v", name, err)
		}
	}
}

// TestEnvelopeCommitment: a wrap of a key that is not the committed key, forged with the KEK, is refused.
func TestEnvelopeCommitment(t *testing.T) {
	for _, double := range []bool{false, true} {
		mode := SSEKMS
		if double {
			mode = DSSEKMS
		}
		s := sealEnvelope(t, Envelope{Mode: mode, Manifest: true, Size: -1}, nil, nil)
		other := NewKeys(double)
		clearBytes := s.appendClear(nil)
		s.wrapped = s.kek.Derive(s.salt[:], labelWrap).sealBox(other.Data.b[:], associated(labelWrap, clearBytes, testBinding))
		if double {
			s.wrapped = append(s.wrapped, s.outer.Derive(s.salt[:], labelWrapOuter).sealBox(other.Outer.b[:], associated(labelWrapOuter, clearBytes, testBinding))...)
		}
		if _, _, err := s.Open(s.kek, s.outer, testBinding); !errors.Is(err, ErrAuthentication) || !strings.Contains(err.Error(), "commitment") {
			t.Errorf("double %v: %v", double, err)
		}
	}
}

// TestEnvelopeBoxesMoved: boxes of another envelope with the same object, keys and binding are refused.
func TestEnvelopeBoxesMoved(t *testing.T) {
	s := envelopes(t)["small"]
	other := *s.Envelope
	if err := other.Seal(s.keys, KEKs{Inner: s.kek, Outer: s.outer}, s.svc, testBinding, s.facts, s.tag); err != nil {
		t.Fatal(err)
	}
	moved := *s.Envelope
	moved.wrapped = other.wrapped
	if _, _, err := moved.Open(s.kek, s.outer, testBinding); !errors.Is(err, ErrAuthentication) {
		t.Error("wrap moved:", err)
	}
	moved = *s.Envelope
	moved.facts = other.facts
	if _, _, err := moved.Open(s.kek, s.outer, testBinding); !errors.Is(err, ErrAuthentication) {
		t.Error("facts moved:", err)
	}
	moved = *s.Envelope
	moved.public = other.public
	if _, err := moved.OpenTag(s.service, testBinding); !errors.Is(err, ErrAuthentication) {
		t.Error("public box moved:", err)
	}
	moved = *s.Envelope
	moved.facts = nil
	if _, _, err := moved.Open(s.kek, s.outer, testBinding); !errors.Is(err, ErrAuthentication) {
		t.Error("facts dropped:", err)
	}
}

func TestEnvelopeFieldChangedAfterSeal(t *testing.T) {
	for name, change := range map[string]func(e *Envelope){
		"size": func(e *Envelope) { e.Size++ }, "key": func(e *Envelope) { e.KeyID += "x" }, "bucket key": func(e *Envelope) { e.BucketKey = true },
		"etag": func(e *Envelope) { e.VisibleETag = "x" }, "compressed": func(e *Envelope) { e.Compressed = true },
		"context": func(e *Envelope) { e.Context = map[string]string{"a": "b"} }, "mode": func(e *Envelope) { e.Mode = SSEKMS },
	} {
		s := envelopes(t)["small"]
		change(s.Envelope)
		if _, _, err := s.Open(s.kek, s.outer, testBinding); !errors.Is(err, ErrAuthentication) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSealRefuses(t *testing.T) {
	good := Envelope{Mode: SSES3, Size: 1, HasHeaders: true}
	for name, c := range map[string]struct {
		change func(e *Envelope, s *sealedEnvelope)
		want   error
	}{
		"no data key":     {func(_ *Envelope, s *sealedEnvelope) { s.keys.Data.Zero() }, ErrNoKey},
		"no kek":          {func(_ *Envelope, s *sealedEnvelope) { s.kek.Zero() }, ErrNoKey},
		"no service key":  {func(_ *Envelope, s *sealedEnvelope) { s.svc.Key.Zero() }, ErrNoKey},
		"layers":          {func(e *Envelope, _ *sealedEnvelope) { e.Mode = DSSEKMS }, nil},
		"no outer kek":    {func(e *Envelope, s *sealedEnvelope) { e.Mode, s.keys = DSSEKMS, NewKeys(true); s.outer.Zero() }, ErrNoKey},
		"mode 0":          {func(e *Envelope, _ *sealedEnvelope) { e.Mode = 0 }, nil},
		"mode 5":          {func(e *Envelope, _ *sealedEnvelope) { e.Mode = 5 }, nil},
		"no verifier":     {func(e *Envelope, _ *sealedEnvelope) { e.Mode = SSEC }, nil},
		"outer blob":      {func(e *Envelope, _ *sealedEnvelope) { e.OuterKeyBlob = []byte{1} }, nil},
		"no size":         {func(e *Envelope, _ *sealedEnvelope) { e.Size = -1 }, nil},
		"size":            {func(e *Envelope, _ *sealedEnvelope) { e.Size = MaxPlaintext + 1 }, nil},
		"no headers":      {func(e *Envelope, _ *sealedEnvelope) { e.HasHeaders = false }, nil},
		"stray headers":   {func(e *Envelope, _ *sealedEnvelope) { e.HasHeaders, e.Manifest, e.Headers.Data[0] = false, true, 1 }, nil},
		"outer header":    {func(e *Envelope, _ *sealedEnvelope) { e.Headers.Outer[0] = 1 }, nil},
		"manifest and s2": {func(e *Envelope, _ *sealedEnvelope) { e.Manifest, e.Compressed = true, true }, nil},
		"algorithm 11":    {func(e *Envelope, _ *sealedEnvelope) { e.ChecksumAlgorithm = 11 }, nil},
		"bare composite":  {func(e *Envelope, _ *sealedEnvelope) { e.ChecksumComposite = true }, nil},
		"kind of tag":     {func(_ *Envelope, s *sealedEnvelope) { s.tag = &Tag{Kind: 3} }, nil},
		"tag of no parts": {func(_ *Envelope, s *sealedEnvelope) { s.tag = &Tag{Kind: TagParts} }, nil},
		"checksum size": {func(_ *Envelope, s *sealedEnvelope) {
			s.facts = md5Facts(CRC32)
			s.facts.Checksums[0].Value = []byte{1}
		}, nil},
		"checksum twice":   {func(_ *Envelope, s *sealedEnvelope) { s.facts = md5Facts(CRC32, CRC32) }, nil},
		"checksum unknown": {func(_ *Envelope, s *sealedEnvelope) { s.facts = md5Facts(11) }, nil},
		"two of bit 6":     {func(_ *Envelope, s *sealedEnvelope) { s.facts = md5Facts(SHA512, MD5) }, nil},
	} {
		e := good
		s := &sealedEnvelope{keys: NewKeys(false), kek: NewKey(), outer: NewKey(), svc: ServiceKey{Key: NewKey()}}
		c.change(&e, s)
		err := e.Seal(s.keys, KEKs{Inner: s.kek, Outer: s.outer}, s.svc, nil, s.facts, s.tag)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := e.MarshalText(); err == nil {
			t.Errorf("%s: an envelope that was not sealed has a text", name)
		}
		if _, _, err := e.Open(s.kek, s.outer, nil); err == nil {
			t.Errorf("%s: an envelope that was not sealed opens", name)
		}
	}
	long := Envelope{Mode: SSES3, Manifest: true, Size: -1, Context: map[string]string{"a": strings.Repeat("x", MaxEnvelopeText)}}
	if _, err := sealEnvelope(t, long, nil, nil).MarshalText(); err == nil {
		t.Error("an endless envelope has a text")
	}
}

func TestEnvelopeLayout(t *testing.T) {
	all := envelopes(t)
	for name, c := range map[string]struct {
		stored, size int64
		ok           bool
	}{
		"small": {CiphertextSize(5), 5, true}, "dsse": {112, 0, true}, "compressed": {CiphertextSize(77), 77, true}, "multipart": {56, 0, false},
	} {
		l, err := all[name].Layout(c.stored)
		if (err == nil) != c.ok || c.ok && (l.Size() != c.size || l.BodySize() != c.stored || l.Parts[0].Headers != all[name].Headers) {
			t.Errorf("%s: %v, %v", name, l, err)
		}
	}
	for _, stored := range []int64{0, 55, CiphertextSize(5) - 1, CiphertextSize(5) + 1} {
		if _, err := all["small"].Layout(stored); !errors.Is(err, ErrAuthentication) {
			t.Errorf("%d stored bytes for 5: %v", stored, err)
		}
	}
}

func TestModes(t *testing.T) {
	for m, want := range map[Mode]string{SSES3: "SSE-S3", SSEKMS: "SSE-KMS", DSSEKMS: "DSSE-KMS", SSEC: "SSE-C", 9: "Mode(9)"} {
		if m.String() != want || m.Double() != (m == DSSEKMS) {
			t.Errorf("%v", m)
		}
	}
	for tag, want := range map[Tag]string{
		{}:                          "",
		{Kind: TagMD5}:              "00000000000000000000000000000000",
		{Kind: TagParts, Parts: 12}: "00000000000000000000000000000000-12",
	} {
		if tag.String() != want {
			t.Errorf("%v shows as %q", tag.Kind, tag.String())
		}
	}
	if got := slices.Sorted(maps.Keys(map[int]bool{ChecksumSize(CRC32): true, ChecksumSize(CRC32C): true, ChecksumSize(CRC64NVME): true,
		ChecksumSize(SHA1): true, ChecksumSize(SHA256): true, ChecksumSize(SHA512): true, ChecksumSize(MD5): true, ChecksumSize(0): true, ChecksumSize(200): true})); !slices.Equal(got, []int{0, 4, 8, 16, 20, 32, 64}) {
		t.Error("checksum sizes", got)
	}
}
