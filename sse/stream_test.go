package sse

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/tink-crypto/tink-go/v2/streamingaead/subtle"
)

const firstPlain = segmentPlain - StreamHeaderSize

// lengths stand at and around every edge of the segments.
var lengths = []int{
	0, 1, 1000,
	firstPlain - 1, firstPlain, firstPlain + 1,
	firstPlain + segmentPlain - 1, firstPlain + segmentPlain, firstPlain + segmentPlain + 1,
	firstPlain + 2*segmentPlain, firstPlain + 2*segmentPlain + 500,
	1<<20 + 7,
}

// pattern returns plaintext without repetition, so that a misplaced byte shows.
func pattern(n int) []byte {
	b := make([]byte, n)
	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], uint64(n))
	mrand.NewChaCha8(seed).Read(b)
	return b
}

func sealPart(t testing.TB, k Keys, number int, plain []byte) ([]byte, PartInfo) {
	t.Helper()
	p := k.SealPart(number, bytes.NewReader(plain), int64(len(plain)))
	defer p.Close()
	var b bytes.Buffer
	if _, err := p.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), PartInfo{Number: number, Size: int64(len(plain)), Headers: p.Headers()}
}

// object is a sealed body with its keys, layout and plaintext.
type object struct {
	keys   Keys
	layout *Layout
	body   []byte
	plain  []byte
}

func sealObject(t testing.TB, double bool, sizes ...int) *object {
	t.Helper()
	o := &object{keys: NewKeys(double)}
	o.layout = &Layout{Layers: o.keys.Layers()}
	for i, n := range sizes {
		plain := pattern(n)
		body, info := sealPart(t, o.keys, 2*i+1, plain)
		o.body = append(o.body, body...)
		o.plain = append(o.plain, plain...)
		o.layout.Parts = append(o.layout.Parts, info)
	}
	if o.layout.BodySize() != int64(len(o.body)) || o.layout.Size() != int64(len(o.plain)) {
		t.Fatalf("layout says %d in %d, the body is %d in %d", o.layout.Size(), o.layout.BodySize(), len(o.plain), len(o.body))
	}
	return o
}

// open reads a range of body, which may be a forged body.
func (o *object) open(off, n int64, body []byte) ([]byte, error) {
	r := o.layout.Range(off, n)
	body = body[min(r.Offset, int64(len(body))):]
	return readRange(o.keys, o.layout, r, bytes.NewReader(body[:min(r.Length, int64(len(body)))]))
}

func readRange(k Keys, l *Layout, r Range, src io.Reader) ([]byte, error) {
	p, err := k.Open(l, r, src)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return io.ReadAll(p)
}

// all opens the whole of a body, however long it is.
func (o *object) all(body []byte) ([]byte, error) {
	return readRange(o.keys, o.layout, o.layout.Range(0, o.layout.Size()), bytes.NewReader(body))
}

func TestRoundTrip(t *testing.T) {
	for _, double := range []bool{false, true} {
		for _, n := range lengths {
			o := sealObject(t, double, n)
			if want := SealedSize(int64(n), o.keys.Layers()); int64(len(o.body)) != want {
				t.Fatalf("%d bytes sealed into %d, not %d", n, len(o.body), want)
			}
			for _, step := range []int{1, 512, 65519, 65520, 65536, 65537, 1 << 20} {
				if step == 1 && n > 1000 {
					continue
				}
				name := fmt.Sprintf("double %v, %d bytes by %d", double, n, step)
				p := o.keys.SealPart(1, bytes.NewReader(o.plain), int64(n))
				sealed := readSteps(t, p, step)
				l := &Layout{Layers: o.keys.Layers(), Parts: []PartInfo{{1, int64(n), p.Headers()}}}
				r, err := o.keys.Open(l, l.Range(0, int64(n)), bytes.NewReader(sealed))
				if err != nil {
					t.Fatal(name, err)
				}
				if got := readSteps(t, r, step); !bytes.Equal(got, o.plain) {
					t.Fatal(name, ": wrong plaintext")
				}
			}
		}
	}
}

func readSteps(t *testing.T, r io.Reader, step int) []byte {
	t.Helper()
	var all []byte
	buf := make([]byte, step)
	for {
		n, err := r.Read(buf)
		all = append(all, buf[:n]...)
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			t.Fatal("a read without bytes or error")
		}
	}
}

func TestReaderContract(t *testing.T) {
	for _, double := range []bool{false, true} {
		for _, n := range lengths {
			if n > 3*SegmentSize {
				continue // TestReader reads byte by byte
			}
			o := sealObject(t, double, n, n/2)
			p := &SealedPart{headers: o.layout.Parts[0].Headers}
			p.seal(o.keys, 1, bytes.NewReader(pattern(n)), int64(n))
			if err := iotest.TestReader(p, o.body[:SealedSize(int64(n), o.keys.Layers())]); err != nil {
				t.Fatal(double, n, err)
			}
			r, err := o.keys.Open(o.layout, o.layout.Range(0, int64(len(o.plain))), bytes.NewReader(o.body))
			if err != nil {
				t.Fatal(err)
			}
			if err := iotest.TestReader(r, o.plain); err != nil {
				t.Fatal(double, n, err)
			}
		}
	}
}

// TestAwkwardSources reads through sources of short reads, or with an error beside the last bytes.
func TestAwkwardSources(t *testing.T) {
	o := sealObject(t, true, firstPlain+segmentPlain+3, 70000)
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"half": iotest.HalfReader, "data with error": iotest.DataErrReader, "one byte": iotest.OneByteReader,
	} {
		got, err := readRange(o.keys, o.layout, o.layout.Range(0, 1<<40), wrap(bytes.NewReader(o.body)))
		if err != nil || !bytes.Equal(got, o.plain) {
			t.Fatal(name, err)
		}
		p := o.keys.SealPart(1, wrap(bytes.NewReader(o.plain)), int64(len(o.plain)))
		sealed, err := io.ReadAll(p)
		if err != nil || int64(len(sealed)) != SealedSize(int64(len(o.plain)), 2) {
			t.Fatal(name, err)
		}
	}
}

func tinkFor(t testing.TB, k Key) *subtle.AESGCMHKDF {
	t.Helper()
	s, err := subtle.NewAESGCMHKDF(k.b[:], "SHA256", 32, SegmentSize, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func partAAD(label string, n int) []byte {
	return binary.BigEndian.AppendUint32([]byte(label), uint32(n))
}

func TestTinkOpensOurs(t *testing.T) {
	for _, double := range []bool{false, true} {
		for _, n := range lengths {
			k := NewKeys(double)
			plain := pattern(n)
			sealed, _ := sealPart(t, k, 7, plain)
			var r io.Reader = bytes.NewReader(sealed)
			var err error
			if double {
				if r, err = tinkFor(t, k.Outer).NewDecryptingReader(r, partAAD("waxseal/v1/outer", 7)); err != nil {
					t.Fatal(err)
				}
			}
			if r, err = tinkFor(t, k.Data).NewDecryptingReader(r, partAAD("waxseal/v1/part", 7)); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%d bytes, double %v: %v", n, double, err)
			}
		}
	}
}

func TestWeOpenTinks(t *testing.T) {
	for _, n := range lengths {
		k := NewKeys(false)
		var sealed bytes.Buffer
		w, err := tinkFor(t, k.Data).NewEncryptingWriter(&sealed, partAAD("waxseal/v1/part", 7))
		if err != nil {
			t.Fatal(err)
		}
		plain := pattern(n)
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		info := PartInfo{Number: 7, Size: int64(n)}
		copy(info.Headers.Data[:], sealed.Bytes()[1:])
		o := &object{keys: k, plain: plain, body: sealed.Bytes(), layout: &Layout{Layers: 1, Parts: []PartInfo{info}}}
		if got, err := o.all(o.body); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		for range 20 {
			o.randomRange(t)
		}
	}
}

// randomRange opens a random range from a source without any byte outside it.
func (o *object) randomRange(t *testing.T) {
	t.Helper()
	off := mrand.Int64N(o.layout.Size() + 1)
	n := mrand.Int64N(o.layout.Size() - off + 1)
	got, err := o.open(off, n, o.body)
	if err != nil || !bytes.Equal(got, o.plain[off:off+n]) {
		t.Fatalf("[%d, +%d) of %d: %d bytes, %v", off, n, o.layout.Size(), len(got), err)
	}
}

func TestSourceLength(t *testing.T) {
	failure := errors.New("digest differs")
	for _, double := range []bool{false, true} {
		for _, n := range lengths {
			k := NewKeys(double)
			plain := pattern(n + 1)
			complete := SealedSize(int64(n), k.Layers())
			for _, c := range []struct {
				name string
				src  io.Reader
				want error
			}{
				{"long", bytes.NewReader(plain), ErrTooLong},
				{"fails at its end", io.MultiReader(bytes.NewReader(plain[:n]), iotest.ErrReader(failure)), failure},
				{"wrapped EOF", io.MultiReader(bytes.NewReader(plain[:n]), iotest.ErrReader(fmt.Errorf("cut: %w", io.EOF))), io.EOF},
				{"short", bytes.NewReader(plain[:max(0, n-1)]), io.ErrUnexpectedEOF},
			} {
				if c.name == "short" && n == 0 {
					continue
				}
				p := k.SealPart(1, c.src, int64(n))
				got, err := io.ReadAll(p)
				if !errors.Is(err, c.want) {
					t.Fatalf("%s, %d bytes: %v", c.name, n, err)
				}
				// Not even the last segment may have got out.
				if int64(len(got)) > complete-complete%SegmentSize && complete%SegmentSize != 0 {
					t.Fatalf("%s, %d bytes: %d of %d sealed bytes got out", c.name, n, len(got), complete)
				}
				if int64(len(got)) == complete {
					t.Fatalf("%s, %d bytes: sealed to the end", c.name, n)
				}
				if _, again := p.Read(make([]byte, 1)); again == nil || again.Error() != err.Error() {
					t.Fatalf("%s: error does not stick: %v", c.name, again)
				}
			}
		}
	}
}

func TestSealPartRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		keys   Keys
		number int
		size   int64
	}{
		{"part 0", NewKeys(false), 0, 0},
		{"part 10001", NewKeys(false), MaxParts + 1, 0},
		{"negative size", NewKeys(false), 1, -1},
		{"endless size", NewKeys(false), 1, MaxPlaintext + 1},
		{"wiped key", Keys{}, 1, 0},
		{"wiped outer key", Keys{Data: NewKey(), Double: true}, 1, 0},
	} {
		p := c.keys.SealPart(c.number, bytes.NewReader(nil), c.size)
		if got, err := io.ReadAll(p); err == nil || len(got) > 0 {
			t.Errorf("%s: %d bytes, %v", c.name, len(got), err)
		}
	}
}

func TestClose(t *testing.T) {
	o := sealObject(t, true, 200000)
	p := o.keys.SealPart(1, bytes.NewReader(o.plain), int64(len(o.plain)))
	r, err := o.keys.Open(o.layout, o.layout.Range(0, 200000), bytes.NewReader(o.body))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]io.ReadCloser{"seal": p, "open": r} {
		if _, err := io.ReadFull(c, make([]byte, 100)); err != nil {
			t.Fatal(name, err)
		}
		c.Close()
		c.Close()
		if n, err := c.Read(make([]byte, 100)); n != 0 || err != ErrClosed {
			t.Fatal(name, n, err)
		}
	}
	if o.keys.Data.IsZero() {
		t.Fatal("Close wiped the caller's keys")
	}
}

// TestConcurrent seals and opens many objects at once over the shared buffers,
// some of them left in the middle.
func TestConcurrent(t *testing.T) {
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 10 {
				plain := pattern(50000*i + j)
				k := NewKeys(j%2 == 0)
				p := k.SealPart(1, bytes.NewReader(plain), int64(len(plain)))
				if j == 5 {
					io.CopyN(io.Discard, p, int64(len(plain)/2))
					p.Close()
					continue
				}
				sealed, err := io.ReadAll(p)
				p.Close()
				l := &Layout{Layers: k.Layers(), Parts: []PartInfo{{1, int64(len(plain)), p.Headers()}}}
				got, openErr := readRange(k, l, l.Range(0, int64(len(plain))), bytes.NewReader(sealed))
				if err != nil || openErr != nil || !bytes.Equal(got, plain) {
					t.Error(err, openErr)
				}
			}
		})
	}
	wg.Wait()
}

type failingWriter struct{ left int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

// TestWriteToStops: a writer's error ends WriteTo, not the reader.
func TestWriteToStops(t *testing.T) {
	o := sealObject(t, false, 300000)
	p := o.keys.SealPart(1, bytes.NewReader(o.plain), 300000)
	r, err := o.keys.Open(o.layout, o.layout.Range(0, 300000), bytes.NewReader(o.body))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		io.WriterTo
		io.Reader
		size int64
	}{"seal": {p, p, int64(len(o.body))}, "open": {r, r, 300000}} {
		n, err := c.WriteTo(&failingWriter{left: 140000})
		if err != io.ErrShortWrite {
			t.Fatal(name, err)
		}
		rest, err := io.ReadAll(c.Reader)
		if err != nil || n+int64(len(rest)) != c.size {
			t.Fatal(name, n, len(rest), err)
		}
	}
}
