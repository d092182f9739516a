package s3

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const v2Doc = `<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix></Prefix><KeyCount>3</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>` +
	`<Contents><Key>a &amp; b</Key><LastModified>2026-11-21T10:00:00.000Z</LastModified><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><ChecksumAlgorithm>CRC32C</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>1040</Size><Owner><ID>o</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>` + "\n" +
	`<Contents><Key>c</Key><LastModified>2026-11-21T10:00:01.000Z</LastModified><ETag>"e"</ETag><Size>56</Size><StorageClass>STANDARD</StorageClass><UserMetadata><X-Amz-Meta-Waxseal>env</X-Amz-Meta-Waxseal><X-Amz-Meta-Own>v&lt;1&gt;</X-Amz-Meta-Own></UserMetadata><UserTags>a=b</UserTags><Internal><K>4</K><M>2</M></Internal></Contents>` +
	`<Contents><Key>d</Key><Size>7</Size></Contents>` +
	`<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListBucketResult>`

const versionsDoc = `<ListVersionsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>` +
	`<DeleteMarker><Key>k%2Fx+y</Key><VersionId>v3</VersionId><IsLatest>true</IsLatest><LastModified>t</LastModified></DeleteMarker>` +
	`<Version><Key>k%2Fx+y</Key><VersionId>v2</VersionId><IsLatest>false</IsLatest><ETag>"2"</ETag><Size>200</Size></Version>` +
	`<DeleteMarker><Key>m</Key><VersionId>v1</VersionId><IsLatest>false</IsLatest></DeleteMarker>` +
	`<Version><Key>m</Key><VersionId>null</VersionId><IsLatest>true</IsLatest><ETag>"1"</ETag><Size>100</Size></Version>` +
	`<EncodingType>url</EncodingType></ListVersionsResult>`

func TestParseListing(t *testing.T) {
	l, err := ParseListing([]byte(v2Doc))
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Entries) != 3 {
		t.Fatalf("%d entries", len(l.Entries))
	}
	a, c := l.Entries[0], l.Entries[1]
	if a.Key != "a & b" || a.ETag != `"d41d8cd98f00b204e9800998ecf8427e"` || a.Size != 1040 || a.StorageClass != "STANDARD" ||
		a.LastModified != "2026-11-21T10:00:00.000Z" || !slices.Equal(a.ChecksumAlgorithm, []string{"CRC32C"}) || a.ChecksumType != "FULL_OBJECT" {
		t.Errorf("first entry: %+v", a)
	}
	want := []Field{{"X-Amz-Meta-Waxseal", "env"}, {"X-Amz-Meta-Own", "v<1>"}}
	if !c.HasMetadata || !c.HasInternal || c.UserTags != "a=b" || !slices.Equal(c.UserMetadata, want) {
		t.Errorf("second entry: %+v", c)
	}
	if got := l.Append(nil); string(got) != v2Doc {
		t.Errorf("an untouched listing changed:\n%s", got)
	}
}

func TestParseVersions(t *testing.T) {
	l, err := ParseListing([]byte(versionsDoc))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range l.Entries {
		got = append(got, fmt.Sprint(e.Kind, " ", e.Key, " ", e.VersionID, " ", e.IsLatest, " ", e.Size))
	}
	want := []string{"DeleteMarker k/x y v3 true 0", "Version k/x y v2 false 200", "DeleteMarker m v1 false 0", "Version m null true 100"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestRewriteListing(t *testing.T) {
	for _, test := range []struct {
		name     string
		change   func(*ListEntry)
		replaced []string // pairs of old and new text in v2Doc
	}{
		{"nothing", func(e *ListEntry) {}, nil},
		{"size", func(e *ListEntry) {
			if e.Key == "c" {
				e.Size = 0
			}
		}, []string{"<Size>56<", "<Size>0<"}},
		{"etag", func(e *ListEntry) {
			if e.Key == "c" {
				e.ETag = `"x-1"`
			}
		}, []string{`<ETag>"e"<`, `<ETag>&quot;x-1&quot;<`}},
		{"no checksum", func(e *ListEntry) { e.ChecksumAlgorithm, e.ChecksumType = nil, "" },
			[]string{"<ChecksumAlgorithm>CRC32C</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>", ""}},
		{"other checksum", func(e *ListEntry) {
			if e.Key != "d" {
				e.ChecksumAlgorithm, e.ChecksumType = []string{"SHA1", "CRC32"}, "COMPOSITE"
			}
		}, []string{
			"<ChecksumAlgorithm>CRC32C</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>", "<ChecksumAlgorithm>SHA1</ChecksumAlgorithm><ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>COMPOSITE</ChecksumType>",
			`<ETag>"e"</ETag>`, `<ETag>"e"</ETag><ChecksumAlgorithm>SHA1</ChecksumAlgorithm><ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>COMPOSITE</ChecksumType>`}},
		{"nothing of MinIO's", func(e *ListEntry) { e.DropMetadata, e.DropInternal = true, true },
			[]string{"<UserMetadata><X-Amz-Meta-Waxseal>env</X-Amz-Meta-Waxseal><X-Amz-Meta-Own>v&lt;1&gt;</X-Amz-Meta-Own></UserMetadata><UserTags>a=b</UserTags><Internal><K>4</K><M>2</M></Internal>", ""}},
		{"one metadata entry less", func(e *ListEntry) {
			e.UserMetadata = slices.DeleteFunc(e.UserMetadata, func(f Field) bool { return f.Name == "X-Amz-Meta-Waxseal" })
		}, []string{"<X-Amz-Meta-Waxseal>env</X-Amz-Meta-Waxseal>", ""}},
		{"metadata changed in place", func(e *ListEntry) {
			if e.HasMetadata {
				e.UserMetadata[0].Value = "<"
			}
		}, []string{"env", "&lt;"}},
		{"missing elements", func(e *ListEntry) {
			if e.Key == "d" {
				e.ETag, e.ChecksumType = `"n"`, "T"
			}
		}, []string{"<Size>7</Size>", "<Size>7</Size><ETag>&quot;n&quot;</ETag><ChecksumType>T</ChecksumType>"}},
		{"entry dropped", func(e *ListEntry) { e.Drop = e.Key == "d" },
			[]string{"<Contents><Key>d</Key><Size>7</Size></Contents>", "", "<KeyCount>3<", "<KeyCount>2<"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := strings.NewReplacer(test.replaced...).Replace(v2Doc)
			got, err := RewriteListing([]byte("x"), []byte(v2Doc), func(e *ListEntry) error { test.change(e); return nil })
			if err != nil || string(got) != "x"+want {
				t.Errorf("err %v\n got %s\nwant %s", err, got, want)
			}
		})
	}
}

func TestRewriteListingStops(t *testing.T) {
	stop := errors.New("stop")
	if _, err := RewriteListing(nil, []byte(v2Doc), func(*ListEntry) error { return stop }); err != stop {
		t.Errorf("err %v", err)
	}
}

func TestListingUnusualShapes(t *testing.T) {
	for name, doc := range map[string]string{
		"comment":       strings.Replace(v2Doc, "<Contents>", "<!-- c --><Contents>", 1),
		"CDATA":         strings.Replace(v2Doc, "<Key>c</Key>", "<Key><![CDATA[c]]></Key>", 1),
		"attribute":     strings.Replace(v2Doc, "<Owner>", `<Owner x="y">`, 1),
		"end tag space": strings.Replace(v2Doc, "</Size>", "</Size >", 1),
		"CRLF":          strings.ReplaceAll(v2Doc, "\n", "\r\n"),
		"declaration":   strings.Replace(v2Doc, `<?xml version="1.0" encoding="UTF-8"?>`, `<?xml version='1.0' encoding='utf-8'?>`, 1),
		"prefix": strings.NewReplacer("xmlns=", "xmlns:s3=", "<List", "<s3:List", "</List", "</s3:List", "<Name", "<s3:Name", "</Name", "</s3:Name").
			Replace(`<ListBucketResult xmlns="` + Namespace + `"><Name>b</Name></ListBucketResult>`),
	} {
		t.Run(name, func(t *testing.T) {
			want, _ := ParseListing([]byte(v2Doc))
			got, err := ParseListing([]byte(doc))
			if err != nil {
				t.Fatal(err)
			}
			if name == "prefix" {
				return
			}
			for i := range want.Entries {
				w, g := want.Entries[i], got.Entries[i]
				if w.Key != g.Key || w.Size != g.Size || w.ETag != g.ETag || !slices.Equal(w.UserMetadata, g.UserMetadata) {
					t.Errorf("entry %d: %+v, want %+v", i, g, w)
				}
			}
		})
	}
}

func TestListingRefused(t *testing.T) {
	wrap := func(s string) string { return "<ListBucketResult>" + s + "</ListBucketResult>" }
	for name, doc := range map[string]string{
		"empty":           "",
		"html":            "<html><body>502</body></html>",
		"error":           "<Error><Code>NoSuchBucket</Code></Error>",
		"truncated":       v2Doc[:len(v2Doc)-10],
		"trailing":        v2Doc + "<x/>",
		"trailing text":   v2Doc + "x",
		"two keys":        wrap("<Contents><Key>a</Key><Key>b</Key></Contents>"),
		"two sizes":       wrap("<Contents><Key>a</Key><Size>1</Size><Size>2</Size></Contents>"),
		"no key":          wrap("<Contents><Size>1</Size></Contents>"),
		"negative size":   wrap("<Contents><Key>a</Key><Size>-1</Size></Contents>"),
		"key with child":  wrap("<Contents><Key>a<b/></Key></Contents>"),
		"mixed up":        wrap("<Contents><Key>a</Contents></Key>"),
		"doctype":         `<!DOCTYPE x [<!ENTITY e "v">]>` + wrap("<Contents><Key>&e;</Key></Contents>"),
		"entity":          wrap("<Contents><Key>&nope;</Key></Contents>"),
		"foreign element": `<ListBucketResult xmlns="` + Namespace + `" xmlns:x="y"><Contents><x:Key>a</x:Key></Contents></ListBucketResult>`,
		"deep":            wrap(strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100)),
		"bad encoding":    wrap("<EncodingType>url</EncodingType><Contents><Key>%zz</Key></Contents>"),
		"not UTF-8":       wrap("<Contents><Key>\xff</Key></Contents>"),
	} {
		if l, err := ParseListing([]byte(doc)); err == nil {
			t.Errorf("%s: accepted: %+v", name, l.Entries)
		}
	}
}

// TestPrintable tries every byte at every place, between the lowest and the highest neighbours.
func TestPrintable(t *testing.T) {
	for c := range 256 {
		for at := range 8 {
			for _, other := range []string{" ", "\x7f"} {
				text := strings.Repeat(other, at) + string([]byte{byte(c)}) + strings.Repeat(other, 7-at)
				if got, want := printable(text), c >= 0x20 && c < 0x80; got != want {
					t.Errorf("%q: %v", text, got)
				}
			}
		}
	}
}

// FuzzListing holds the scanner to encoding/xml: what both read, they read alike, and what the scanner reads,
// it writes back unchanged and with changes that encoding/xml then sees.
func FuzzListing(f *testing.F) {
	f.Add([]byte(v2Doc))
	f.Add([]byte(versionsDoc))
	f.Add([]byte("<ListBucketResult><Contents><Key>&#x61;&#10;</Key><ETag/><Size> 7 </Size></Contents></ListBucketResult>"))
	f.Add([]byte("<ListBucketResult><Contents><Key><![CDATA[x]]></Key><!-- c --></Contents></ListBucketResult>"))
	files, _ := filepath.Glob("testdata/listing-*.xml")
	for _, name := range files {
		b, _ := os.ReadFile(name)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		l, err := ParseListing(doc)
		if err != nil {
			return
		}
		agrees(t, l, doc)
		if l.doc == string(doc) && !bytes.Equal(l.Append(nil), doc) {
			t.Fatal("untouched listing changed")
		}
		for i := range l.Entries {
			e := &l.Entries[i]
			e.Size, e.ETag, e.DropMetadata, e.DropInternal = e.Size+1, "new"+e.ETag, true, true
			e.ChecksumAlgorithm, e.ChecksumType = []string{"CRC32"}, "T"
		}
		out := l.Append(nil)
		again, err := ParseListing(out)
		if err != nil {
			t.Fatalf("rewritten listing does not parse: %v\n%s", err, out)
		}
		for i, e := range l.Entries {
			a := again.Entries[i]
			empty := strings.HasSuffix(l.doc[e.start:e.end], "/>")
			if a.Key != e.Key || !empty && (a.Size != e.Size || a.ETag != e.ETag || a.ChecksumType != "T" || a.HasMetadata || a.HasInternal) {
				t.Fatalf("entry %d: %+v became %+v", i, e, a)
			}
		}
		agrees(t, again, out)
	})
}

func agrees(t *testing.T, l *Listing, doc []byte) {
	t.Helper()
	var want struct {
		EncodingType string
		Entries      []struct {
			XMLName           xml.Name
			Key               string
			VersionID         string `xml:"VersionId"`
			ETag              string
			Size              int64
			LastModified      string
			StorageClass      string
			ChecksumAlgorithm []string
			ChecksumType      string
		} `xml:",any"`
	}
	if err := xml.Unmarshal(doc, &want); err != nil {
		t.Fatalf("scanner accepts what encoding/xml refuses: %v\n%s", err, doc)
	}
	i := 0
	for _, w := range want.Entries {
		if !slices.Contains(kindNames[:], w.XMLName.Local) {
			continue
		}
		if i == len(l.Entries) {
			t.Fatal("scanner found fewer entries")
		}
		e := l.Entries[i]
		i++
		key := w.Key
		if l.encoded {
			key, _ = url.QueryUnescape(key)
		}
		if e.Kind.String() != w.XMLName.Local || e.Key != key || e.VersionID != w.VersionID || e.ETag != w.ETag || e.Size != w.Size ||
			e.LastModified != w.LastModified || e.StorageClass != w.StorageClass || e.ChecksumType != w.ChecksumType ||
			!slices.Equal(e.ChecksumAlgorithm, w.ChecksumAlgorithm) {
			t.Fatalf("scanner says %+v, encoding/xml %+v", e, w)
		}
	}
	if i != len(l.Entries) {
		t.Fatal("scanner found more entries")
	}
}

func benchListing() []byte {
	var b bytes.Buffer
	b.WriteString(v2Doc[:strings.Index(v2Doc, "<Contents>")])
	for i := range 1000 {
		fmt.Fprintf(&b, `<Contents><Key>photos/2026/11/img-%06d.jpg</Key><LastModified>2026-11-21T10:00:00.000Z</LastModified><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>%d</Size><StorageClass>STANDARD</StorageClass></Contents>`, i, 1040+i)
	}
	b.WriteString("</ListBucketResult>")
	return b.Bytes()
}

func BenchmarkRewriteListing(b *testing.B) {
	doc := benchListing()
	dst := make([]byte, 0, 2*len(doc))
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := RewriteListing(dst[:0], doc, func(e *ListEntry) error { e.Size -= 56; e.ETag = `"0123"`; return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseListing(b *testing.B) {
	doc := benchListing()
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseListing(doc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkListingEncodingXML(b *testing.B) {
	doc := benchListing()
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		var l ListBucketResultV2
		if err := xml.Unmarshal(doc, &l); err != nil {
			b.Fatal(err)
		}
		if _, err := Encode(&l); err != nil {
			b.Fatal(err)
		}
	}
}

// TestListingControlCharacters: MinIO writes a control character as a reference that XML 1.0 does not allow, NUL in a
// marker that it repeats included.
func TestListingControlCharacters(t *testing.T) {
	for ref, char := range map[string]string{"&#x1;": "\x01", "&#x0;": "\x00", "&#0;": "\x00", "&#xFFFE;": "\uFFFE"} {
		src := `<ListBucketResult><Marker>` + ref + `</Marker><Contents><Key>p` + ref + `q</Key><LastModified>t</LastModified><ETag>"e"</ETag><Size>7</Size></Contents></ListBucketResult>`
		got, err := RewriteListing(nil, []byte(src), func(e *ListEntry) error {
			if e.Key != "p"+char+"q" {
				t.Errorf("key %q", e.Key)
			}
			e.Size, e.LastModified = 3, "u"
			return nil
		})
		want := strings.NewReplacer(">t<", ">u<", ">7<", ">3<").Replace(src)
		if err != nil || string(got) != want {
			t.Errorf("%v\n%s", err, got)
		}
	}
}
