package s3

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"waxseal/sse"
)

func TestErrorXML(t *testing.T) {
	e := InvalidArgument("x-amz-server-side-encryption", "a<b", `no & "no" &quot; 'no'`)
	e.RequestID, e.HostID = "R", "H"
	want := `<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
		`<Error><Code>InvalidArgument</Code><Message>no &amp; "no" &amp;quot; 'no'</Message><ArgumentName>x-amz-server-side-encryption</ArgumentName>` +
		`<ArgumentValue>a&lt;b</ArgumentValue><RequestId>R</RequestId><HostId>H</HostId></Error>`
	if got := string(e.AppendXML(nil)); got != want {
		t.Errorf("got %s", got)
	}
	back := ParseError(400, e.AppendXML(nil))
	back.HTTPStatus = 0
	if !reflect.DeepEqual(back, e) {
		t.Errorf("read back %+v, want %+v", back, e)
	}
}

// TestMessagesAsRecorded holds messages to their ends: S3 has a full stop behind some of them only.
func TestMessagesAsRecorded(t *testing.T) {
	for code, message := range map[Code]string{
		NotImplemented:          "A header you provided implies functionality that is not implemented",
		UnexpectedContent:       "This request does not support content",
		PreconditionFailed:      "At least one of the pre-conditions you specified did not hold",
		NoSuchBucket:            "The specified bucket does not exist",
		NoSuchKey:               "The specified key does not exist.",
		NoSuchVersion:           "The specified version does not exist.",
		NoSuchUpload:            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
		MalformedXML:            "The XML you provided was not well-formed or did not validate against our published schema",
		MethodNotAllowed:        "The specified method is not allowed against this resource.",
		InvalidPartOrder:        "The list of parts was not in ascending order. Parts must be ordered by part number.",
		EntityTooSmall:          "Your proposed upload is smaller than the minimum allowed size",
		EntityTooLarge:          "Your proposed upload exceeds the maximum allowed size",
		InvalidRange:            "The requested range is not satisfiable",
		NoSuchBucketPolicy:      "The bucket policy does not exist",
		NoSuchTagSet:            "The TagSet does not exist",
		BucketNotEmpty:          "The bucket you tried to delete is not empty",
		BucketAlreadyOwnedByYou: "Your previous request to create the named bucket succeeded and you already own it.",
	} {
		if got := NewError(code).Message; got != message {
			t.Errorf("%s: %q, want %q", code, got, message)
		}
	}
}

// TestRequiredElements walks the parts of a Complete, none of whose two elements may be absent.
func TestRequiredElements(t *testing.T) {
	for part, whole := range map[string]bool{
		"<PartNumber>1</PartNumber><ETag>e</ETag>": true, "<ETag></ETag><PartNumber>0</PartNumber>": true,
		"<PartNumber>1</PartNumber>": false, "<ETag>e</ETag>": false, "": false, "<ChecksumCRC32>c</ChecksumCRC32>": false,
	} {
		for _, before := range []string{"", "<Part><PartNumber>1</PartNumber><ETag>e</ETag></Part>"} {
			document := "<CompleteMultipartUpload>" + before + "<Part>" + part + "</Part></CompleteMultipartUpload>"
			err := Decode(strings.NewReader(document), 1<<20, new(CompleteMultipartUpload))
			if whole != (err == nil) || !whole && !errors.Is(err, NewError(MalformedXML)) {
				t.Errorf("%s: %v", document, err)
			}
		}
	}
}

func TestParseErrorOfStrangers(t *testing.T) {
	for _, body := range []string{"", "<html>502</html>", "<Error><Code>Slow", "\x00"} {
		if e := ParseError(502, []byte(body)); e.Status() != 502 {
			t.Errorf("%q: %+v", body, e)
		}
	}
	e := ParseError(403, []byte(`<Error xmlns="x"><Code>AccessDenied</Code><Detail><Inner>y</Inner></Detail></Error>`))
	if e.Code != AccessDenied {
		t.Errorf("%+v", e)
	}
}

func TestErrorIsComparedByCode(t *testing.T) {
	var err error = Errorf(NoSuchKey, "no %q", "k")
	if !errors.Is(err, NewError(NoSuchKey)) || errors.Is(err, NewError(NoSuchBucket)) {
		t.Error("errors.Is does not compare codes")
	}
	if err.Error() != `NoSuchKey: no "k"` {
		t.Error(err)
	}
}

func TestStatuses(t *testing.T) {
	for code, want := range map[Code]int{
		NoSuchKey: 404, PreconditionFailed: 412, ConditionalRequestConflict: 409, KMSDisabledException: 400,
		SlowDown: 503, NotImplemented: 501, InvalidRange: 416, MissingContentLength: 411, "Unheard": 500,
	} {
		if got := code.Status(); got != want {
			t.Errorf("%s: %d, want %d", code, got, want)
		}
	}
	if e := (&Error{Code: NoSuchKey, HTTPStatus: 400}); e.Status() != 400 {
		t.Error("status not overridden")
	}
}

func TestHeadersAreCanonical(t *testing.T) {
	for _, a := range Algorithms {
		if header := ChecksumHeader(a.Name); header != textproto.CanonicalMIMEHeaderKey(PrefixChecksum+a.Name) {
			t.Errorf("%s: %s", a.Name, header)
		}
		if new(Checksums).Field(a.Name) == nil {
			t.Errorf("%s has no element", a.Name)
		}
		if NewChecksum(a.Name).Size() != sse.ChecksumSize(a.ID) {
			t.Errorf("%s has the number of another algorithm", a.Name)
		}
	}
	for _, h := range []string{HeaderSSE, HeaderSSEKMSKeyID, HeaderSSEContext, HeaderSSEBucketKey, HeaderSSECAlgorithm, HeaderSSECKey,
		HeaderSSECKeyMD5, HeaderCopySSEC, HeaderCopySSECKey, HeaderCopySSECKeyMD5, HeaderContentMD5, HeaderETag, HeaderMFA, HeaderID2} {
		if h != textproto.CanonicalMIMEHeaderKey(h) {
			t.Errorf("%s is not canonical", h)
		}
	}
}

// documents holds one of each, as AWS writes it.
var documents = []struct {
	v    any
	text string
}{
	{&CopyObjectResult{LastModified: "t", ETag: `"e"`, Checksums: Checksums{ChecksumCRC32: "c"}},
		`<CopyObjectResult xmlns="NS"><LastModified>t</LastModified><ETag>&quot;e&quot;</ETag><ChecksumCRC32>c</ChecksumCRC32></CopyObjectResult>`},
	{&InitiateMultipartUploadResult{Bucket: "b", Key: "k", UploadID: "u"},
		`<InitiateMultipartUploadResult xmlns="NS"><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>`},
	{&ListVersionsResult{Name: "b", MaxKeys: 2, Entries: []Version{
		{Key: "k", VersionID: "2", IsLatest: true, LastModified: "t", DeleteMarker: true},
		{Key: "k", VersionID: "1", LastModified: "s", ETag: "e", Size: new(int64), StorageClass: "STANDARD"}}, CommonPrefixes: []CommonPrefix{{"p/"}}},
		`<ListVersionsResult xmlns="NS"><Name>b</Name><Prefix></Prefix><KeyMarker></KeyMarker><VersionIdMarker></VersionIdMarker><MaxKeys>2</MaxKeys><IsTruncated>false</IsTruncated>` +
			`<DeleteMarker><Key>k</Key><VersionId>2</VersionId><IsLatest>true</IsLatest><LastModified>t</LastModified></DeleteMarker>` +
			`<Version><Key>k</Key><VersionId>1</VersionId><IsLatest>false</IsLatest><LastModified>s</LastModified><ETag>e</ETag><Size>0</Size><StorageClass>STANDARD</StorageClass></Version>` +
			`<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListVersionsResult>`},
	{&ServerSideEncryptionConfiguration{Rules: []EncryptionRule{{Default: &EncryptionByDefault{SSEAlgorithm: "aws:kms", KMSMasterKeyID: "alias/x"},
		BucketKeyEnabled: new(bool), BlockedEncryptionTypes: &BlockedEncryptionTypes{[]string{"SSE-C"}}}}},
		`<ServerSideEncryptionConfiguration xmlns="NS"><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>alias/x</KMSMasterKeyID></ApplyServerSideEncryptionByDefault>` +
			`<BucketKeyEnabled>false</BucketKeyEnabled><BlockedEncryptionTypes><EncryptionType>SSE-C</EncryptionType></BlockedEncryptionTypes></Rule></ServerSideEncryptionConfiguration>`},
	{&PostResponse{Location: "l", Bucket: "b", Key: "k", ETag: "e"},
		`<PostResponse><Location>l</Location><Bucket>b</Bucket><Key>k</Key><ETag>e</ETag></PostResponse>`},
	{&Tagging{}, `<Tagging xmlns="NS"><TagSet></TagSet></Tagging>`},
	{&ListBucketResult{Name: "b", MaxKeys: 1, Contents: []Object{{Key: "k", LastModified: "t", ETag: "e", Size: 3,
		UserMetadata: &MetadataElements{[]Field{{"X-Amz-Meta-A", "1"}}}}}},
		`<ListBucketResult xmlns="NS"><Name>b</Name><Prefix></Prefix><Marker></Marker><MaxKeys>1</MaxKeys><IsTruncated>false</IsTruncated><Contents><Key>k</Key><LastModified>t</LastModified><ETag>e</ETag><Size>3</Size>` +
			`<UserMetadata><X-Amz-Meta-A>1</X-Amz-Meta-A></UserMetadata></Contents></ListBucketResult>`},
	{&LocationConstraint{Location: "eu-west-1"}, `<LocationConstraint xmlns="NS">eu-west-1</LocationConstraint>`},
}

func TestDocumentsRoundTrip(t *testing.T) {
	for _, d := range documents {
		got, err := Encode(d.v)
		if err != nil {
			t.Fatal(err)
		}
		want := Declaration + strings.ReplaceAll(d.text, "NS", Namespace)
		if string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		back := reflect.New(reflect.TypeOf(d.v).Elem())
		if err := DecodeReply(bytes.NewReader(got), 1<<20, back.Interface()); err != nil {
			t.Errorf("%T: %v", d.v, err)
			continue
		}
		again, _ := Encode(back.Interface())
		if !bytes.Equal(again, got) {
			t.Errorf("read back as %s\nwant %s", again, got)
		}
	}
}

func TestDecode(t *testing.T) {
	for _, ok := range []string{
		`<Delete><Object><Key>a</Key></Object><Quiet>true</Quiet></Delete>`,
		` <?xml version="1.0"?>` + "\n" + `<Delete xmlns="` + Namespace + `"> <Object>` + "\n" + `<Key>a</Key><VersionId/></Object><Quiet>true</Quiet></Delete>` + "\n<!-- end -->",
		`<Delete><!-- c --><Object><Key><![CDATA[a]]></Key></Object><Quiet> true </Quiet></Delete>`,
	} {
		var d Delete
		ok = strings.TrimPrefix(ok, " ")
		if err := Decode(strings.NewReader(ok), 1<<10, &d); err != nil || len(d.Objects) != 1 || d.Objects[0].Key != "a" || !d.Quiet {
			t.Errorf("%s: %v, %+v", ok, err, d)
		}
	}
	for name, bad := range map[string]string{
		"empty":             ``,
		"text":              `hello`,
		"root":              `<Remove></Remove>`,
		"namespace":         `<Delete xmlns="urn:other"><Object><Key>a</Key></Object></Delete>`,
		"prefix":            `<x:Delete xmlns:x="` + Namespace + `"><Object><Key>a</Key></Object></x:Delete>`,
		"unknown element":   `<Delete><Object><Key>a</Key><Wish/></Object></Delete>`,
		"unknown child":     `<Delete><Force>true</Force></Delete>`,
		"single one twice":  `<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>`,
		"child of a leaf":   `<Delete><Object><Key>a<b/></Key></Object></Delete>`,
		"text between":      `<Delete>junk<Object><Key>a</Key></Object></Delete>`,
		"no end":            `<Delete><Object><Key>a</Key></Object>`,
		"wrong end":         `<Delete><Object><Key>a</Object></Key></Delete>`,
		"two roots":         `<Delete></Delete><Delete></Delete>`,
		"trailing text":     `<Delete></Delete>x`,
		"doctype":           `<!DOCTYPE Delete [<!ENTITY x "y">]><Delete><Object><Key>&x;</Key></Object></Delete>`,
		"entity":            `<Delete><Object><Key>&x;</Key></Object></Delete>`,
		"number":            `<Delete><Object><Key>a</Key><Size>ten</Size></Object></Delete>`,
		"not UTF-8":         "<Delete><Object><Key>\xff</Key></Object></Delete>",
		"foreign encoding":  `<?xml version="1.0" encoding="EBCDIC"?><Delete></Delete>`,
		"deep":              strings.Repeat("<Delete>", 1000),
		"processing inside": `<Delete><Object><Key>a</Key></Object></Delete><?php`,
	} {
		var d Delete
		if err := Decode(strings.NewReader(bad), 1<<20, &d); !errors.Is(err, NewError(MalformedXML)) {
			t.Errorf("%s: %v, %+v", name, err, d)
		}
	}
}

func TestDecodeBounds(t *testing.T) {
	doc := `<Delete><Object><Key>a</Key></Object></Delete>`
	var d Delete
	if err := Decode(strings.NewReader(doc), int64(len(doc)), &d); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if err := Decode(strings.NewReader(doc), int64(len(doc))-1, &d); !errors.Is(err, NewError(MaxMessageLengthExceeded)) {
		t.Errorf("over the limit: %v", err)
	}
	cut := io.MultiReader(strings.NewReader(doc[:20]), iotest.ErrReader(io.ErrUnexpectedEOF))
	if err := Decode(cut, 1<<10, &d); err != io.ErrUnexpectedEOF {
		t.Errorf("a cut body: %v", err)
	}
}

func TestDecodeReplyPassesOverStrangers(t *testing.T) {
	var l ListVersionsResult
	doc := `<ListVersionsResult xmlns="urn:any"><Name>b</Name><Extra><A/></Extra><Version><Key>k</Key><X/></Version><Other/></ListVersionsResult>`
	if err := DecodeReply(strings.NewReader(doc), 1<<10, &l); err != nil || len(l.Entries) != 1 || l.Entries[0].Key != "k" {
		t.Errorf("%v, %+v", err, l)
	}
}

func TestEncryptionDocumentAbsence(t *testing.T) {
	var c ServerSideEncryptionConfiguration
	doc := `<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>`
	if err := Decode(strings.NewReader(doc), 1<<10, &c); err != nil {
		t.Fatal(err)
	}
	if r := c.Rules[0]; r.BucketKeyEnabled != nil || r.BlockedEncryptionTypes != nil || r.Default.SSEAlgorithm != "AES256" {
		t.Errorf("%+v", r)
	}
}

func TestFormatTime(t *testing.T) {
	at := time.Date(2026, 11, 21, 9, 8, 7, 6e6, time.FixedZone("", 3600))
	if got := FormatTime(at); got != "2026-11-21T08:08:07.006Z" {
		t.Error(got)
	}
	if got := FormatHTTPTime(at); got != "Sat, 21 Nov 2026 08:08:07 GMT" {
		t.Error(got)
	}
}

// FuzzDecode: encoding/xml accepts every document of the strict reader, with the same content.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`<Delete><Object><Key>a</Key><VersionId>v</VersionId></Object><Quiet>true</Quiet></Delete>`))
	f.Add([]byte(`<CompleteMultipartUpload xmlns="` + Namespace + `"><Part><PartNumber>1</PartNumber><ETag>"e"</ETag></Part></CompleteMultipartUpload>`))
	f.Add([]byte(`<ServerSideEncryptionConfiguration><Rule><BucketKeyEnabled>true</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		for _, v := range []any{new(Delete), new(CompleteMultipartUpload), new(ServerSideEncryptionConfiguration), new(Tagging), new(ObjectEncryption)} {
			if Decode(bytes.NewReader(doc), 1<<16, v) != nil {
				continue
			}
			plain := reflect.New(reflect.TypeOf(v).Elem()).Interface()
			if err := xml.Unmarshal(doc, plain); err != nil {
				t.Fatalf("%T: accepted what encoding/xml refuses: %v", v, err)
			}
			if !reflect.DeepEqual(v, plain) {
				t.Fatalf("read %+v, encoding/xml %+v", v, plain)
			}
		}
		_ = ParseError(400, doc)
	})
}

// TestErrorIs: a code finds errors in any words, and a message of its own only itself.
func TestErrorIs(t *testing.T) {
	own := Errorf(InvalidRequest, "One of waxseal's refusals.")
	for _, c := range []struct {
		err, target *Error
		want        bool
	}{
		{own, own, true},
		{own, NewError(InvalidRequest), true},
		{own, &Error{Code: InvalidRequest}, true},
		{own, Errorf(InvalidRequest, "Another of its refusals."), false},
		{NewError(InvalidRequest), own, false},
		{own, NewError(NoSuchKey), false},
	} {
		if got := errors.Is(fmt.Errorf("wrapped: %w", c.err), c.target); got != c.want {
			t.Errorf("%v is %v: %v", c.err, c.target, got)
		}
	}
}
