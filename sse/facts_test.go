package sse

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"
)

func TestFactsRoundTrip(t *testing.T) {
	later := []uint8{0, SHA512, MD5, XXHASH64, XXHASH3, XXHASH128}
	for have := range 64 * len(later) {
		for composite := range 2 {
			f := &Facts{HasMD5: have&1 != 0}
			if f.HasMD5 {
				f.MD5 = [16]byte{1}
			}
			for a := SHA256; a >= CRC32; a-- { // against the order of the encoding
				if have%64&(1<<a) != 0 {
					f.Checksums = append(f.Checksums, Checksum{a, composite == 1, bytes.Repeat([]byte{a}, ChecksumSize(a))})
				}
			}
			if a := later[have/64]; a != 0 {
				f.Checksums = append(f.Checksums, Checksum{a, composite == 1, bytes.Repeat([]byte{a}, ChecksumSize(a))})
			}
			b, err := f.encode()
			if err != nil || len(b)+TagSize != f.sealedSize() || len(b) > factsMaxPlain {
				t.Fatal(have, len(b), err)
			}
			got, err := decodeFacts(b)
			if err != nil || !sameFacts(got, f) {
				t.Fatalf("%+v, not %+v, %v", got, f, err)
			}
		}
	}
}

// TestSealedRecordsRefuse: even authenticated records are read strictly, since a later version may have sealed them.
func TestSealedRecordsRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing":              {nil, ErrMalformed},
		"half":                 {[]byte{0}, ErrMalformed},
		"no algorithm":         {[]byte{64, 0}, ErrMalformed},
		"SHA256 out of place":  {append([]byte{64, 0, SHA256}, make([]byte, 32)...), ErrUnsupportedVersion},
		"algorithm 11":         {append([]byte{64, 0, 11}, make([]byte, 16)...), ErrUnsupportedVersion},
		"short SHA512":         {append([]byte{64, 0, SHA512}, make([]byte, 63)...), ErrMalformed},
		"bit 7":                {[]byte{128, 0}, ErrUnsupportedVersion},
		"composite MD5":        {append([]byte{1, 1}, make([]byte, 16)...), ErrMalformed},
		"composite of nothing": {[]byte{0, 2}, ErrMalformed},
		"short MD5":            {append([]byte{1, 0}, make([]byte, 15)...), ErrMalformed},
		"long MD5":             {append([]byte{1, 0}, make([]byte, 17)...), ErrMalformed},
	} {
		if f, err := decodeFacts(c.b); f != nil || !errors.Is(err, c.want) {
			t.Errorf("facts, %s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "kind 3": {3}, "short": make([]byte, 2), "MD5 cut": append([]byte{1}, make([]byte, 15)...),
		"no parts": append([]byte{2}, make([]byte, 20)...), "10001 parts": append(append([]byte{2}, make([]byte, 16)...), 0, 0, 0x27, 0x11),
	} {
		if tag, err := decodeTag(b); (tag != Tag{}) || !errors.Is(err, ErrMalformed) {
			t.Errorf("tag, %s: %v", name, err)
		}
	}
}

func TestTableRefuses(t *testing.T) {
	m := testManifest(1, false)
	good := m.appendTable(nil, 1)
	if got, err := decodeTable(good, 1, 1); err != nil || !reflect.DeepEqual(got.Parts, m.Parts) {
		t.Fatal(err)
	}
	algorithm := 1 + len(m.UploadID)
	part := algorithm + 1 + m.Tag.size()
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		want   error
	}{
		"flag of a part":        {func(b []byte) []byte { b[part+10] |= 4; return b }, ErrUnsupportedVersion},
		"part 0":                {func(b []byte) []byte { b[part+1] = 0; return b }, ErrMalformed},
		"endless size":          {func(b []byte) []byte { b[part+2] = 0x80; return b }, ErrMalformed},
		"no algorithm":          {func(b []byte) []byte { b[algorithm] = 0; return b }, ErrMalformed},
		"unknown algorithm":     {func(b []byte) []byte { b[algorithm] = 6; return b }, ErrMalformed},
		"upload id in two ways": {func(b []byte) []byte { b[0] |= 0x80; return slices.Insert(b, 1, 0) }, ErrMalformed},
	} {
		if got, err := decodeTable(c.change(bytes.Clone(good)), 1, 1); got != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFooterAndTableAgree: a footer sealed with another table's size is refused although every box opens.
func TestFooterAndTableAgree(t *testing.T) {
	k := NewKeys(false)
	m := testManifest(2, false)
	for name, change := range map[string]func(f *Footer){
		"same": func(*Footer) {}, "size": func(f *Footer) { f.Size++ }, "public": func(f *Footer) { f.PublicSize -= 4 },
	} {
		f := m.footer(1)
		change(&f)
		footer, commitment := f.append(nil), k.Commitment()
		facts, _ := m.Facts.encode()
		sealed := slices.Concat(
			k.manifestKey().secret.Derive(f.salt[:], labelTable).sealBox(m.appendTable(nil, 1), associated(labelTable, footer, commitment[:])),
			k.manifestKey().secret.Derive(f.salt[:], labelFacts).sealBox(facts, associated(labelFacts, footer, commitment[:])),
			make([]byte, f.PublicSize), footer)
		if _, err := OpenManifest(sealed, k); (err == nil) != (name == "same") || name != "same" && !errors.Is(err, ErrAuthentication) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
