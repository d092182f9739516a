package sse

import (
	"bytes"
	"io"
	"testing"
)

// FuzzParseEnvelope: a parsed envelope encodes to the same text; an error comes without a result; no method of a
// parsed envelope panics.
func FuzzParseEnvelope(f *testing.F) {
	for _, s := range envelopes(f) {
		f.Add(s.text(f))
	}
	f.Add("")
	f.Add("AQEA")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := ParseEnvelope(text)
		if err != nil {
			if e != nil {
				t.Fatal("an envelope and an error")
			}
			return
		}
		again, err := e.MarshalText()
		if err != nil || string(again) != text {
			t.Fatalf("%q encodes as %q, %v", text, again, err)
		}
		keys, facts, err := e.Open(Key{b: [32]byte{1}}, Key{b: [32]byte{2}}, nil)
		if err == nil || (keys != Keys{}) || facts != nil {
			t.Fatal("opened under keys that nobody has used")
		}
		if tag, err := e.OpenTag(func(uint32) (Key, bool) { return Key{b: [32]byte{1}}, true }, nil); err == nil || (tag != Tag{}) {
			t.Fatal("tag under a key that nobody has used")
		}
		if l, err := e.Layout(int64(len(text))); err == nil && l.Range(0, 10).Length > l.BodySize() {
			t.Fatal("range beyond the body")
		}
	})
}

// FuzzManifest feeds bytes to the readers before authentication (footer) and, as if authenticated, to the readers
// after it (table, facts, tag).
func FuzzManifest(f *testing.F) {
	for _, double := range []bool{false, true} {
		m := testManifest(2, double)
		k := NewKeys(double)
		f.Add(sealManifest(f, m, k), uint16(2), double)
		f.Add(m.appendTable(nil, k.Layers()), uint16(2), double)
		facts, _ := m.Facts.encode()
		f.Add(facts, uint16(1), double)
		f.Add(m.Tag.encode(nil), uint16(1), double)
	}
	f.Fuzz(func(t *testing.T, b []byte, parts uint16, double bool) {
		k := Keys{Data: Key{b: [32]byte{1}}, Outer: Key{b: [32]byte{2}}, Double: double}
		if m, err := OpenManifest(b, k); err == nil || m != nil {
			t.Fatal("opened under keys that nobody has used")
		}
		if footer, err := ParseFooter(b); err == nil {
			if !bytes.Equal(footer.append(nil), b[len(b)-FooterSize:]) {
				t.Fatal("footer encodes to other bytes")
			}
		} else if footer != nil {
			t.Fatal("a footer and an error")
		}
		if m, err := decodeTable(b, uint32(parts), k.Layers()); err == nil {
			if !bytes.Equal(m.appendTable(nil, k.Layers()), b) || m.tableSize(k.Layers()) != len(b) {
				t.Fatal("table encodes to other bytes")
			}
		} else if m != nil {
			t.Fatal("a table and an error")
		}
		if facts, err := decodeFacts(b); err == nil {
			if again, err := facts.encode(); err != nil || !bytes.Equal(again, b) {
				t.Fatal("facts encode to other bytes:", err)
			}
		}
		if tag, err := decodeTag(b); err == nil && !bytes.Equal(tag.encode(nil), b) {
			t.Fatal("tag encodes to other bytes")
		}
	})
}

// FuzzOpenStream: for any change of a body, the released bytes are a prefix of the range, and only the true bytes
// give all of it.
func FuzzOpenStream(f *testing.F) {
	var objects [2]*object
	for i := range objects {
		objects[i] = sealObject(f, i == 1, 70000, 0, 140000)
	}
	f.Add(uint32(0), uint32(210000), uint32(0), []byte{0}, uint32(1<<31), false)
	f.Add(uint32(66000), uint32(10), uint32(65536), []byte{1}, uint32(1<<31), true)
	f.Add(uint32(1), uint32(140000), uint32(5), []byte{}, uint32(70000), true)
	f.Fuzz(func(t *testing.T, off, n, at uint32, change []byte, length uint32, double bool) {
		o := objects[0]
		if double {
			o = objects[1]
		}
		r := o.layout.Range(int64(off), int64(n))
		sealed := o.body[r.Offset : r.Offset+r.Length]
		body := bytes.Clone(sealed)
		for i, c := range change {
			body[(int(at)+i)%len(body)] ^= c
		}
		body = body[:min(len(body), int(length))]
		reader, err := o.keys.Open(o.layout, r, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(reader)
		start, size := r.Plain()
		want := o.plain[start : start+size]
		if !bytes.HasPrefix(want, got) {
			t.Fatal("released other bytes")
		}
		if same := bytes.Equal(body, sealed); same != (err == nil) || err == nil && len(got) != len(want) {
			t.Fatalf("same bytes: %v, error: %v", same, err)
		}
	})
}
