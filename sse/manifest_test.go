package sse

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var testService = ServiceKey{ID: 3, Key: NewKey()}

func testServices(id uint32) (Key, bool) { return testService.Key, id == testService.ID }

func testManifest(parts int, double bool) *Manifest {
	m := &Manifest{UploadID: "upload-1", Facts: *md5Facts(CRC32C), Tag: Tag{Kind: TagParts, MD5: [16]byte{5}, Parts: uint32(parts)}, ChecksumAlgorithm: SHA256}
	m.Facts.Checksums[0].Composite = true
	for i := range parts {
		m.Parts = append(m.Parts, ManifestPart{Number: i + 1, Size: int64(5<<20 + i), Headers: someHeaders(double),
			MD5: [16]byte{byte(i)}, HasMD5: true, Checksum: bytes.Repeat([]byte{byte(i)}, 32)})
	}
	return m
}

func sealManifest(t testing.TB, m *Manifest, k Keys) []byte {
	t.Helper()
	b, err := m.Seal(k, testService)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != m.SealedSize(k.Layers()) {
		t.Fatalf("%d bytes, announced as %d", len(b), m.SealedSize(k.Layers()))
	}
	return b
}

// manifests of every kind.
func manifests() map[string]*Manifest {
	mixed := testManifest(3, false)
	mixed.Parts[1].HasMD5, mixed.Parts[1].MD5 = false, [16]byte{}
	mixed.Parts[2].Checksum = nil
	mixed.Parts[2].Number = MaxParts
	return map[string]*Manifest{
		"streamed": {Parts: []ManifestPart{{Number: 1, Size: 10}}, Facts: Facts{HasMD5: true}, Tag: Tag{Kind: TagMD5}},
		"bare":     {Parts: []ManifestPart{{Number: 1}}},
		"three":    testManifest(3, false),
		"mixed":    mixed,
	}
}

func TestManifestRoundTrip(t *testing.T) {
	all := manifests()
	all["double"] = testManifest(3, true)
	for name, m := range all {
		k := NewKeys(name == "double")
		sealed := sealManifest(t, m, k)
		got, err := OpenManifest(sealed, k)
		if err != nil {
			t.Fatal(name, err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%s: %+v, not %+v", name, got, m)
		}
		tail := sealed[max(0, len(sealed)-TailSize):]
		f, err := ParseFooter(tail)
		if err != nil {
			t.Fatal(name, err)
		}
		if l := m.Layout(k.Layers()); f.Size != l.Size() || int(f.Parts) != len(l.Parts) || f.ManifestSize() != int64(len(sealed)) {
			t.Errorf("%s: footer %+v", name, f)
		}
		if tag, err := f.OpenTag(tail, k.Commitment(), testServices); err != nil || tag != m.Tag {
			t.Errorf("%s: tag %v, %v", name, tag, err)
		}
		if facts, err := f.OpenFacts(tail, k); err != nil || !sameFacts(facts, &m.Facts) {
			t.Errorf("%s: facts %v, %v", name, facts, err)
		}
	}
}

// TestTailSize: the largest boxes and the footer fit the suffix read.
func TestTailSize(t *testing.T) {
	m := testManifest(2, false)
	m.Facts = *md5Facts(CRC32, CRC32C, CRC64NVME, SHA1, SHA256, SHA512)
	k := NewKeys(false)
	f, err := ParseFooter(sealManifest(t, m, k))
	if err != nil {
		t.Fatal(err)
	}
	if got := f.FactsSize + f.PublicSize + FooterSize; got > TailSize || got != 167+37+64 {
		t.Errorf("tail of %d bytes", got)
	}
}

// TestManifestAnnounced: the size is known when no digest is.
func TestManifestAnnounced(t *testing.T) {
	k := NewKeys(false)
	m := &Manifest{UploadID: "u", Parts: []ManifestPart{{Number: 1, Size: 1 << 30, Headers: someHeaders(false)}},
		Facts: Facts{HasMD5: true, Checksums: []Checksum{{Algorithm: SHA256}, {Algorithm: CRC32}}}, Tag: Tag{Kind: TagMD5}}
	announced := m.SealedSize(1)
	if _, err := m.Seal(k, testService); err == nil {
		t.Error("sealed without its digests")
	}
	m.Facts = *md5Facts(CRC32, SHA256)
	m.Tag.MD5 = m.Facts.MD5
	if got := len(sealManifest(t, m, k)); int64(got) != announced {
		t.Errorf("%d bytes, announced %d", got, announced)
	}
}

// TestManifestOf10000Parts: also of the largest parts, with the longest checksum of all and the longest upload id.
func TestManifestOf10000Parts(t *testing.T) {
	for _, double := range []bool{false, true} {
		for a := CRC32; a <= XXHASH128; a++ {
			k := NewKeys(double)
			m := testManifest(MaxParts, double)
			m.UploadID = strings.Repeat("u", maxUploadID)
			m.setAlgorithm(a)
			sealed := sealManifest(t, m, k)
			got, err := OpenManifest(sealed, k)
			if err != nil || !reflect.DeepEqual(got, m) {
				t.Fatalf("%d layers, algorithm %d, %d bytes: %v", k.Layers(), a, len(sealed), err)
			}
		}
	}
}

// setAlgorithm gives the parts and the object checksums of an algorithm.
func (m *Manifest) setAlgorithm(a uint8) {
	value := bytes.Repeat([]byte{a}, ChecksumSize(a))
	m.ChecksumAlgorithm = a
	m.Facts.Checksums = []Checksum{{Algorithm: a, Composite: true, Value: value}}
	for i := range m.Parts {
		m.Parts[i].Checksum = value
	}
}

// TestTableBound: the largest table has the size in FORMAT.md.
func TestTableBound(t *testing.T) {
	m := testManifest(MaxParts, true)
	m.UploadID = strings.Repeat("u", maxUploadID)
	m.setAlgorithm(SHA512)
	if f := m.footer(2); f.TableSize != 1_691_064 || tableMax != 1_692_048 || f.TableSize > tableMax {
		t.Errorf("%d bytes, bound to %d", f.TableSize, tableMax)
	}
}

// TestManifestEveryBit: every reader refuses a flipped bit in its part of the manifest.
func TestManifestEveryBit(t *testing.T) {
	k := NewKeys(false)
	sealed := sealManifest(t, testManifest(2, false), k)
	f, _ := ParseFooter(sealed)
	factsAt := f.TableSize
	publicAt := factsAt + f.FactsSize
	footerAt := publicAt + f.PublicSize
	for i := range sealed {
		for bit := range 8 {
			b := bytes.Clone(sealed)
			b[i] ^= 1 << bit
			if m, err := OpenManifest(b, k); (i < publicAt || i >= footerAt) && (err == nil || m != nil) {
				t.Fatalf("byte %d bit %d: opened", i, bit)
			}
			f, err := ParseFooter(b)
			if err != nil {
				if f != nil || i < footerAt {
					t.Fatalf("byte %d: %v", i, err)
				}
				continue
			}
			services := func(uint32) (Key, bool) { return testService.Key, true }
			if tag, err := f.OpenTag(b, k.Commitment(), services); i >= publicAt && (err == nil || tag != Tag{}) {
				t.Fatalf("byte %d bit %d: tag", i, bit)
			}
			if facts, err := f.OpenFacts(b, k); (i >= factsAt && i < publicAt || i >= footerAt) && (err == nil || facts != nil) {
				t.Fatalf("byte %d bit %d: facts", i, bit)
			}
		}
	}
}

func TestManifestCut(t *testing.T) {
	k := NewKeys(false)
	sealed := sealManifest(t, testManifest(2, false), k)
	for n := range sealed {
		if _, err := OpenManifest(sealed[:n], k); err == nil {
			t.Fatal("opened the first", n)
		}
		if _, err := OpenManifest(sealed[len(sealed)-n:], k); err == nil {
			t.Fatal("opened the last", n)
		}
		f, err := ParseFooter(sealed[len(sealed)-n:])
		if (err == nil) != (n >= FooterSize) {
			t.Fatal("footer in the last", n, err)
		}
		if err != nil {
			continue
		}
		tail := sealed[len(sealed)-n:]
		if _, err := f.OpenTag(tail, k.Commitment(), testServices); (err == nil) != (n >= FooterSize+f.PublicSize) {
			t.Fatal("tag in the last", n, err)
		}
		if _, err := f.OpenFacts(tail, k); (err == nil) != (n >= FooterSize+f.PublicSize+f.FactsSize) {
			t.Fatal("facts in the last", n, err)
		}
	}
	if _, err := OpenManifest(append([]byte{0}, sealed...), k); !errors.Is(err, ErrMalformed) {
		t.Fatal("with a byte before:", err)
	}
}

// TestManifestOfAnother: of another object, of another send under the same keys (boxes exchanged), under wrong keys.
func TestManifestOfAnother(t *testing.T) {
	k := NewKeys(false)
	m := testManifest(2, false)
	a, b := sealManifest(t, m, k), sealManifest(t, m, k)
	f, _ := ParseFooter(a)
	for name, cut := range map[string]int{"table": f.TableSize, "table and facts": f.TableSize + f.FactsSize, "all boxes": len(a) - FooterSize} {
		mixed := slices.Concat(a[:cut], b[cut:])
		if _, err := OpenManifest(mixed, k); !errors.Is(err, ErrAuthentication) {
			t.Errorf("%s of another send: %v", name, err)
		}
	}
	if _, err := OpenManifest(a, NewKeys(false)); !errors.Is(err, ErrAuthentication) {
		t.Error("manifest of another object:", err)
	}
	if _, err := f.OpenTag(a, NewKeys(false).Commitment(), testServices); !errors.Is(err, ErrAuthentication) {
		t.Error("tag of another object:", err)
	}
	if _, err := f.OpenTag(a, k.Commitment(), func(uint32) (Key, bool) { return NewKey(), true }); !errors.Is(err, ErrAuthentication) {
		t.Error("tag under another service key:", err)
	}
	if _, err := f.OpenTag(a, k.Commitment(), func(uint32) (Key, bool) { return Key{}, false }); !errors.Is(err, ErrUnknownServiceKey) {
		t.Error("tag without the service key:", err)
	}
	double := NewKeys(true)
	both := sealManifest(t, testManifest(2, true), double)
	for name, keys := range map[string]Keys{"inner only": {Data: double.Data}, "other outer": {Data: double.Data, Outer: NewKey(), Double: true},
		"other inner": {Data: NewKey(), Outer: double.Outer, Double: true}} {
		if _, err := OpenManifest(both, keys); !errors.Is(err, ErrAuthentication) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestManifestGuardsTheParts plays a malicious store with a multipart object against a reader with the manifest.
func TestManifestGuardsTheParts(t *testing.T) {
	for _, double := range []bool{false, true} {
		o := sealObject(t, double, 70000, 80000, 90000)
		m := &Manifest{UploadID: "u"}
		for _, p := range o.layout.Parts {
			m.Parts = append(m.Parts, ManifestPart{Number: p.Number, Size: p.Size, Headers: p.Headers})
		}
		whole := append(bytes.Clone(o.body), sealManifest(t, m, o.keys)...)
		read := func(stored []byte) ([]byte, error) {
			f, err := ParseFooter(stored[max(0, len(stored)-TailSize):])
			if err != nil {
				return nil, err
			}
			if f.ManifestSize() > int64(len(stored)) {
				return nil, ErrMalformed
			}
			at := len(stored) - int(f.ManifestSize())
			opened, err := OpenManifest(stored[at:], o.keys)
			if err != nil {
				return nil, err
			}
			l := opened.Layout(o.keys.Layers())
			return readRange(o.keys, l, l.Range(0, l.Size()), bytes.NewReader(stored[:at]))
		}
		if got, err := read(whole); err != nil || !bytes.Equal(got, o.plain) {
			t.Fatal(err)
		}
		n1 := int(SealedSize(70000, o.keys.Layers()))
		n2 := n1 + int(SealedSize(80000, o.keys.Layers()))
		resent, _ := sealPart(t, o.keys, 3, pattern(80000))
		tail := whole[len(o.body):]
		for name, stored := range map[string][]byte{
			"manifest dropped": o.body,
			"first dropped":    whole[n1:],
			"middle dropped":   slices.Concat(o.body[:n1], o.body[n2:], tail),
			"last dropped":     slices.Concat(o.body[:n2], tail),
			"reordered":        slices.Concat(o.body[n1:n2], o.body[:n1], o.body[n2:], tail),
			"earlier send":     slices.Concat(o.body[:n1], resent, o.body[n2:], tail),
			"inserted":         slices.Concat(o.body[:n2], o.body[n1:], tail),
			"byte between":     slices.Concat(o.body, []byte{0}, tail),
			"byte after":       append(bytes.Clone(whole), 0),
		} {
			if got, err := read(stored); err == nil || len(got) == len(o.plain) {
				t.Errorf("double %v, %s: %d bytes, %v", double, name, len(got), err)
			}
		}
	}
}

func TestManifestRefuses(t *testing.T) {
	k := NewKeys(false)
	for name, change := range map[string]func(m *Manifest){
		"no parts":        func(m *Manifest) { m.Parts = nil },
		"too many":        func(m *Manifest) { m.Parts = make([]ManifestPart, MaxParts+1) },
		"part 0":          func(m *Manifest) { m.Parts[0].Number = 0 },
		"part 10001":      func(m *Manifest) { m.Parts[2].Number = MaxParts + 1 },
		"not ascending":   func(m *Manifest) { m.Parts[1].Number = 1 },
		"negative size":   func(m *Manifest) { m.Parts[1].Size = -1 },
		"endless":         func(m *Manifest) { m.Parts[0].Size, m.Parts[1].Size = MaxPlaintext, MaxPlaintext },
		"algorithm":       func(m *Manifest) { m.ChecksumAlgorithm = 6 },
		"no algorithm":    func(m *Manifest) { m.ChecksumAlgorithm = 0 },
		"checksum size":   func(m *Manifest) { m.Parts[0].Checksum = []byte{1} },
		"upload id":       func(m *Manifest) { m.UploadID = string(make([]byte, maxUploadID+1)) },
		"kind of tag":     func(m *Manifest) { m.Tag.Kind = 3 },
		"facts' checksum": func(m *Manifest) { m.Facts.Checksums[0].Value = nil },
	} {
		m := testManifest(3, false)
		change(m)
		if b, err := m.Seal(k, testService); err == nil || b != nil {
			t.Errorf("%s: sealed", name)
		}
	}
	if _, err := testManifest(1, false).Seal(Keys{}, testService); !errors.Is(err, ErrNoKey) {
		t.Error("no data key:", err)
	}
	if _, err := testManifest(1, false).Seal(k, ServiceKey{}); !errors.Is(err, ErrNoKey) {
		t.Error("no service key:", err)
	}
}

func TestFooterBounds(t *testing.T) {
	good := sealManifest(t, testManifest(2, false), NewKeys(false))
	good = good[len(good)-FooterSize:]
	for name, c := range map[string]struct {
		at   int
		set  []byte
		want error
	}{
		"size":       {32, bytes.Repeat([]byte{0xff}, 8), ErrMalformed},
		"no parts":   {40, []byte{0, 0, 0, 0}, ErrMalformed},
		"parts":      {40, []byte{0, 0, 0x27, 0x11}, ErrMalformed},
		"table":      {44, []byte{0xff, 0xff, 0xff, 0xff}, ErrMalformed},
		"tiny table": {44, []byte{0, 0, 0, 20}, ErrMalformed},
		"facts":      {52, []byte{1, 0}, ErrMalformed},
		"public":     {54, []byte{0, 0}, ErrMalformed},
		"version":    {56, []byte{2}, ErrUnsupportedVersion},
		"magic":      {57, []byte("waxseal"), ErrMalformed},
	} {
		b := bytes.Clone(good)
		copy(b[c.at:], c.set)
		if f, err := ParseFooter(b); f != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTableIsBoundedByItsInput(t *testing.T) {
	m := testManifest(1, false)
	table := m.appendTable(nil, 1)
	if allocs := testing.AllocsPerRun(10, func() {
		if _, err := decodeTable(table, MaxParts, 1); err == nil {
			t.Fatal("10000 parts in the table of one")
		}
	}); allocs > 20 {
		t.Error(allocs, "allocations")
	}
	for n := range table {
		if got, err := decodeTable(table[:n], 1, 1); got != nil || !errors.Is(err, ErrMalformed) {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
	if _, err := decodeTable(append(table, 0), 1, 1); !errors.Is(err, ErrMalformed) {
		t.Error(fmt.Sprint("a byte more: ", err))
	}
}
