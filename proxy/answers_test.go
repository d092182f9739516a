package proxy

import (
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// TestSuffixOfNothing: the last bytes of an empty object are all of it. Recorded answers of S3 have 200 and no range.
func TestSuffixOfNothing(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, func(c *Config) { c.AllowInsecureSSEC, c.ReadThrough = true, []string{"bkt"} })
	u.PutObject("bkt", "plain", nil, nil)
	objects := map[string]map[string]string{"/bkt/plain": nil}
	for mode, header := range encryptionHeaders() {
		path := "/bkt/" + s3.EscapePath(mode)
		k.mustDo(t, "PUT", path, header, nil)
		objects[path] = nil
		if mode == "SSE-C" {
			objects[path] = header
		}
		k.mustDo(t, "PUT", path+"/", header, nil)
		objects[path+"/"] = objects[path]
	}
	for path, header := range objects {
		for _, method := range []string{"GET", "HEAD"} {
			for spec, want := range map[string]int{"bytes=-1": 200, "bytes=-524288": 200, "bytes=-99999999999999999999": 200, "bytes=-0": 416, "bytes=0-": 416, "bytes=0-0": 416} {
				h := map[string]string{"Range": spec}
				for n, v := range header {
					h[n] = v
				}
				resp, body := k.do(t, method, path, h, nil)
				if resp.StatusCode != want || want == 200 && (len(body) > 0 || resp.Header.Get("Content-Length") != "0" || resp.Header.Get("Content-Range") != "") {
					t.Errorf("%s %s %s: %s %v", method, path, spec, resp.Status, resp.Header)
				}
			}
		}
	}
}

// TestWhatEveryAnswerHas: the two ids, in answers and errors, and in errors no Resource, which S3 has not.
func TestWhatEveryAnswerHas(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	for _, r := range [][2]string{{"PUT", "/bkt/k"}, {"GET", "/bkt/k"}, {"HEAD", "/bkt/k"}, {"GET", "/bkt/none"}, {"GET", "/none"}, {"GET", "/bkt"}, {"PUT", "/bkt?website"}, {"GET", "/bkt/k?acl&tagging"}} {
		resp, body := k.do(t, r[0], r[1], nil, nil)
		if resp.Header.Get("x-amz-id-2") == "" || resp.Header.Get("x-amz-request-id") == "" {
			t.Errorf("%v: %v", r, resp.Header)
		}
		if strings.Contains(string(body), "<Resource>") || resp.StatusCode >= 400 && !strings.Contains(string(body), "<HostId>"+resp.Header.Get("x-amz-id-2")+"</HostId>") {
			t.Errorf("%v: %s", r, body)
		}
	}
}

// TestStandardIsNotNamed: S3 leaves x-amz-storage-class out for STANDARD.
func TestStandardIsNotNamed(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	for class, want := range map[string]string{"": "", "STANDARD": "", "STANDARD_IA": "STANDARD_IA"} {
		h := map[string]string{}
		if class != "" {
			h["x-amz-storage-class"] = class
		}
		k.mustDo(t, "PUT", "/bkt/k", h, []byte("x"))
		for _, method := range []string{"GET", "HEAD"} {
			if resp, _ := k.mustDo(t, method, "/bkt/k", nil, nil); resp.Header.Get("x-amz-storage-class") != want {
				t.Errorf("%s of %q: %q", method, class, resp.Header.Get("x-amz-storage-class"))
			}
		}
	}
}

// TestBadDigestsFields: the declared MD5 is repeated in hexadecimal digits, a part's in base64; the right one in base64.
func TestBadDigestsFields(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	wrong, right := md5Sum([]byte("other")), s3.Base64(md5Sum([]byte("x")))
	h := map[string]string{"Content-MD5": s3.Base64(wrong)}
	_, id := k.mustDo(t, "POST", "/bkt/k?uploads=", nil, nil)
	up := reply[s3.InitiateMultipartUploadResult](t, id).UploadID
	for path, want := range map[string]string{"/bkt/k": hex.EncodeToString(wrong), "/bkt/k?partNumber=1&uploadId=" + s3.EscapeQuery(up): s3.Base64(wrong)} {
		resp, body := k.do(t, "PUT", path, h, []byte("x"))
		wantError(t, resp, body, 400, s3.BadDigest)
		if s := string(body); !strings.Contains(s, "<ExpectedDigest>"+want+"<") || !strings.Contains(s, "<CalculatedDigest>"+right+"<") {
			t.Errorf("%s: %s", path, s)
		}
	}
}

// TestChecksumsOfTheWhole: who reads all of an object gets its checksum, also as a range or as its only part.
func TestChecksumsOfTheWhole(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	data := []byte("test content 123")
	sum := crc32.ChecksumIEEE(data)
	crc := s3.Base64([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
	named := map[string]string{"x-amz-checksum-crc32": crc}
	k.mustDo(t, "PUT", "/bkt/whole", named, data)
	_, body := k.mustDo(t, "POST", "/bkt/part?uploads=", map[string]string{"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "FULL_OBJECT"}, nil)
	id := s3.EscapeQuery(reply[s3.InitiateMultipartUploadResult](t, body).UploadID)
	resp, _ := k.mustDo(t, "PUT", "/bkt/part?partNumber=1&uploadId="+id, named, data)
	doc := fmt.Sprintf("<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag><ChecksumCRC32>%s</ChecksumCRC32></Part></CompleteMultipartUpload>", resp.Header.Get("ETag"), crc)
	k.mustDo(t, "POST", "/bkt/part?uploadId="+id, nil, []byte(doc))
	for _, key := range []string{"whole", "part"} {
		for _, method := range []string{"GET", "HEAD"} {
			for query, ranges := range map[string][]string{"": {"", "bytes=0-100", "bytes=0-15", "bytes=0-", "bytes=-16", "bytes=-99"}, "?partNumber=1": {""}} {
				for _, spec := range ranges {
					h := map[string]string{"x-amz-checksum-mode": "ENABLED"}
					if spec != "" {
						h["Range"] = spec
					}
					resp, _ := k.do(t, method, "/bkt/"+key+query, h, nil)
					if resp.Header.Get("x-amz-checksum-crc32") != crc || resp.Header.Get("x-amz-checksum-type") != "FULL_OBJECT" {
						t.Errorf("%s %s%s %s: %v", method, key, query, spec, resp.Header)
					}
				}
			}
			for _, spec := range []string{"bytes=1-", "bytes=0-14", "bytes=-15"} {
				resp, _ := k.do(t, method, "/bkt/"+key, map[string]string{"x-amz-checksum-mode": "ENABLED", "Range": spec}, nil)
				if got := resp.Header.Get("x-amz-checksum-crc32"); got != "" {
					t.Errorf("%s %s %s: %s", method, key, spec, got)
				}
			}
		}
	}
}

// TestUnknownSubResources: a sub-resource that waxseal does not know is refused by name, and reaches no operation of
// another name.
func TestUnknownSubResources(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt/k", nil, []byte("x"))
	u.ClearRequests()
	for _, name := range []string{"metadataAnnotationTable", "newThing", "versions2", "Acl", "x-new", "inventory-v2", "\u00fc", "renameBucket"} {
		for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE"} {
			for _, path := range []string{"/bkt", "/bkt/", "/fresh", "/bkt/k"} {
				for _, value := range []string{"", "="} {
					if path == "/bkt/k" && (method == "GET" || method == "HEAD") {
						continue // passed over, as below
					}
					resp, body := k.do(t, method, path+"?"+s3.EscapeQuery(name)+value, nil, nil)
					if resp.StatusCode != http.StatusNotImplemented || method != "HEAD" && !strings.Contains(string(body), "?"+name) {
						t.Errorf("%s %s?%s%s: %s\n%s", method, path, name, value, resp.Status, body)
					}
				}
			}
		}
		for _, method := range []string{"PUT", "DELETE"} {
			if resp, _ := k.do(t, method, "/fresh?"+s3.EscapeQuery(name)+"=1", nil, nil); resp.StatusCode != http.StatusNotImplemented {
				t.Errorf("%s of a bucket with ?%s=1: %s", method, name, resp.Status)
			}
		}
	}
	if got := asked(u); len(got) > 0 {
		t.Errorf("reached the store: %v", got)
	}
	for _, target := range []string{"/bkt/k?x-id=GetObject", "/bkt/k?cachebust=17", "/bkt/k?1401234567", "/bkt/k?v2", "/bkt/k?=", "/bkt?prefix=", "/bkt?list-type=2&delimiter=&prefix="} {
		k.mustDo(t, "GET", target, nil, nil)
	}
	k.mustDo(t, "PUT", "/fresh?x-id=CreateBucket", nil, nil)
}

// TestDocumentsThatAreXML: a byte order mark, and S3's namespace under a prefix, are XML; other namespaces are not S3's.
func TestDocumentsThatAreXML(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	const bom, ns = "\uFEFF", s3.Namespace
	for doc, want := range map[string]int{
		bom + "<Delete><Object><Key>k</Key></Object></Delete>":                                                                   200,
		bom + s3.Declaration + "<Delete><Object><Key>k</Key></Object></Delete>":                                                  200,
		`<s:Delete xmlns:s="` + ns + `"><s:Object><s:Key>k</s:Key></s:Object></s:Delete>`:                                        200,
		`<Delete><s:Object xmlns:s="` + ns + `"><s:Key>k</s:Key></s:Object></Delete>`:                                            200,
		`<a:Delete xmlns:a="` + ns + `" xmlns:b="` + ns + `"><b:Object><a:Key>k</a:Key></b:Object></a:Delete>`:                   200,
		`<s:Delete xmlns:s="urn:other"><s:Object><s:Key>k</s:Key></s:Object></s:Delete>`:                                         400,
		`<s:Delete><s:Object><s:Key>k</s:Key></s:Object></s:Delete>`:                                                             400,
		`<s:Delete xmlns:s="` + ns + `"><s:Object xmlns:s="urn:other"><s:Key>k</s:Key></s:Object></s:Delete>`:                    400,
		`<Delete><s:Object xmlns:s="` + ns + `"><s:Key>k</s:Key></s:Object><s:Object><s:Key>k</s:Key></s:Object></Delete>`:       400,
		bom + bom + "<Delete><Object><Key>k</Key></Object></Delete>":                                                             400,
		`<s:Delete xmlns:s="` + ns + `"><s:Object><s:Key>k</s:Key><Key>k</Key></s:Object></s:Delete>`:                            400,
		`<s:Delete xmlns:s="` + ns + `"><s:Object><s:Key>k</s:Key><s:Unknown>k</s:Unknown></s:Object></s:Delete>`:                400,
		`<Delete xmlns="` + ns + `"><Object xmlns:x="urn:other"><Key>k</Key></Object><Object><Key>l</Key></Object></Delete>`:     200,
		`<Delete xmlns="` + ns + `"><x:Object xmlns:x="urn:other"><Key>k</Key></x:Object><Object><Key>l</Key></Object></Delete>`: 400,
	} {
		resp, body := k.do(t, "POST", "/bkt?delete=", map[string]string{"Content-MD5": s3.Base64(md5Sum([]byte(doc)))}, []byte(doc))
		if resp.StatusCode != want {
			t.Errorf("%s: %s\n%s", doc, resp.Status, body)
		}
	}
	k.mustDo(t, "PUT", "/bkt/t", nil, []byte("x"))
	tags := bom + "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>"
	k.mustDo(t, "PUT", "/bkt/t?tagging=", map[string]string{"Content-MD5": s3.Base64(md5Sum([]byte(tags)))}, []byte(tags))
}

// TestACLsWithoutAnACL: neither document nor header is a required header that is missing.
func TestACLsWithoutAnACL(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt/k", nil, []byte("x"))
	u.ClearRequests()
	for _, path := range []string{"/bkt?acl=", "/bkt/k?acl="} {
		resp, body := k.do(t, "PUT", path, nil, nil)
		wantError(t, resp, body, 400, s3.MissingSecurityHeader)
	}
	if got := u.Operations(); len(got) > 0 {
		t.Errorf("reached the store: %v", got)
	}
}

// TestUploadsEncoded: a store that does not know encoding-type=url is made up for.
func TestUploadsEncoded(t *testing.T) {
	for _, plain := range []bool{true, false} {
		k, _ := overMemory(t, proxytest.Options{PlainNames: plain}, nil)
		for _, key := range []string{"a b/c+d", "ü/x", "z"} {
			k.mustDo(t, "POST", "/bkt/"+s3.EscapePath(key)+"?uploads=", map[string]string{"x-amz-checksum-algorithm": "SHA1"}, nil)
		}
		_, body := k.mustDo(t, "GET", "/bkt?uploads=&encoding-type=url&max-uploads=2", nil, nil)
		doc := reply[s3.ListMultipartUploadsResult](t, body)
		if doc.EncodingType != "url" || len(doc.Uploads) != 2 || doc.Uploads[0].Key != "a+b/c%2Bd" || doc.NextKeyMarker != doc.Uploads[1].Key || doc.Uploads[0].ChecksumAlgorithm != "SHA1" {
			t.Errorf("PlainNames %v: %s", plain, body)
		}
		_, body = k.mustDo(t, "GET", "/bkt?uploads=&encoding-type=url&delimiter=/", nil, nil)
		if doc := reply[s3.ListMultipartUploadsResult](t, body); len(doc.CommonPrefixes) != 2 || doc.CommonPrefixes[0].Prefix != "a+b/" || doc.CommonPrefixes[1].Prefix != "%C3%BC/" {
			t.Errorf("PlainNames %v: %s", plain, body)
		}
		if _, body := k.mustDo(t, "GET", "/bkt?uploads=", nil, nil); strings.Contains(string(body), "EncodingType") {
			t.Errorf("not asked for: %s", body)
		}
	}
}

// TestRetentionsRoot: whatever a store calls it, the document of an object's retention is a Retention.
func TestRetentionsRoot(t *testing.T) {
	for _, root := range []string{"Retention", "ObjectLockRetention"} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "<%s><Mode>GOVERNANCE</Mode><RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate></%s>", root, root)
		}))
		k := start(t, store.Config{Endpoint: srv.URL, AccessKey: "own", SecretKey: "own-secret"}, nil).withoutPolicies()
		_, body := k.mustDo(t, "GET", "/bkt/k?retention=", nil, nil)
		if !strings.Contains(string(body), `<Retention xmlns="`+s3.Namespace+`"><Mode>GOVERNANCE</Mode><RetainUntilDate>2030-01-01T00:00:00Z<`) {
			t.Errorf("%s: %s", root, body)
		}
		srv.Close()
	}
}
