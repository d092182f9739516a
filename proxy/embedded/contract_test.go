package embedded

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"waxseal/keystore/iam"
	"waxseal/proxy/s3"
)

// TestEveryKeyIsItsOwn stores an object under each of many keys that file systems and XML confuse, and reads each back.
func TestEveryKeyIsItsOwn(t *testing.T) {
	onBoth(t, Config{}, func(k *kit) {
		k.want("200", "PUT", "bkt", "")
		keys := append([]string{strings.Repeat("x", 1024), strings.Repeat("/", 1024), "a/../b", "./a", "a/./b", "\x7f", "\u0085", "%2F", "+", " ", "a ", "\r", "\n", "\t", "<>&\"'", "\u2028", "\ufeff"}, modelKeys...)
		for r := rune(0); r < 0x20; r++ {
			keys = append(keys, "c"+string(r)+"c")
		}
		for _, key := range keys {
			k.sendOwner("200", "PUT", key, "", "of "+key)
		}
		for _, key := range keys {
			if r := k.sendOwner("200", "GET", key, "", ""); r.body != "of "+key {
				t.Errorf("%q has the bytes of %q", key, r.body)
			}
		}
		if got := k.listV2("", "", 7); len(got) != len(keys) {
			t.Errorf("%d keys are listed, of %d", len(got), len(keys))
		}
		// Without encoding-type=url the page still has every key, by its characters' numbers.
		listing, err := s3.ParseListing([]byte(k.sendOwner("200", "GET", "", "list-type=2", "").body))
		if err != nil {
			t.Fatal(err)
		}
		listed := map[string]bool{}
		for i := range listing.Entries {
			listed[listing.Entries[i].Key] = true
		}
		for _, key := range keys {
			if !listed[key] {
				t.Errorf("%q is not in the page", key)
			}
		}
		k.sendOwner("400", "PUT", strings.Repeat("x", 1025), "", "")
	})
}

// TestUnsignedIsRefusedEverywhere asks everything of a fresh bucket without a signature: the zero value of a context is
// anonymous, and to anonymous requests nothing is given.
func TestUnsignedIsRefusedEverywhere(t *testing.T) {
	onBoth(t, Config{}, func(k *kit) {
		k.versioned("bkt")
		k.want("200", "PUT", "bkt/key", "body")
		id, _ := k.upload("bkt/key", "part")
		for name, o := range operations {
			if name == "Preflight" {
				continue
			}
			r := k.send(context.Background(), methodOf(name), bucketFor(name, o), keyFor(o), queryFor(name, id), documentFor(name), headersFor(name)...)
			if r.status != http.StatusForbidden && !strings.Contains(r.body, "<Code>AccessDenied</Code>") {
				t.Errorf("%s: %d %s", name, r.status, r.body)
			}
		}
		if r := k.want("200", "GET", "bkt/key", ""); r.body != "body" {
			t.Errorf("the object has changed: %q", r.body)
		}
	})
}

func methodOf(name string) string {
	switch {
	case strings.HasPrefix(name, "Head"):
		return "HEAD"
	case strings.HasPrefix(name, "Get"), strings.HasPrefix(name, "List"):
		return "GET"
	case name == "DeleteObjects", name == "CreateMultipartUpload", name == "CompleteMultipartUpload":
		return "POST"
	case strings.HasPrefix(name, "Delete"), strings.HasPrefix(name, "Abort"):
		return "DELETE"
	}
	return "PUT"
}

func bucketFor(name string, o op) string {
	if name == "CreateBucket" {
		return "new-bucket"
	}
	if o.on == onService {
		return ""
	}
	return "bkt"
}

func keyFor(o op) string {
	if o.on == onObject {
		return "key"
	}
	return ""
}

func queryFor(name, id string) string {
	for _, table := range []map[string]map[string]string{bucketOperations, objectOperations} {
		for sub, names := range table {
			for _, of := range names {
				if of == name {
					return sub
				}
			}
		}
	}
	for _, d := range documents {
		if strings.HasSuffix(name, d.noun) {
			return d.sub
		}
	}
	switch name {
	case "UploadPart", "UploadPartCopy":
		return "partNumber=1&uploadId=" + id
	case "CompleteMultipartUpload", "AbortMultipartUpload", "ListParts":
		return "uploadId=" + id
	case "ListObjectsV2":
		return "list-type=2"
	}
	return ""
}

func documentFor(name string) string {
	if name == "DeleteObjects" {
		return "<Delete><Object><Key>key</Key></Object></Delete>"
	}
	return ""
}

func headersFor(name string) []string {
	switch name {
	case "CopyObject", "UploadPartCopy":
		return []string{"X-Amz-Copy-Source: /bkt/key"}
	case "DeleteObjects":
		sum := md5.Sum([]byte(documentFor(name)))
		return []string{"Content-MD5: " + b64(sum[:])}
	case "GetObjectAttributes":
		return []string{"X-Amz-Object-Attributes: ETag"}
	}
	return nil
}

// TestPublicAccess gives everybody rights by policies and by ACLs, and takes them again.
func TestPublicAccess(t *testing.T) {
	onBoth(t, Config{}, func(k *kit) {
		k.want("200", "PUT", "bkt", "")
		k.want("200", "PUT", "bkt/key", "body")
		anonymous := func(method, key, query string, conditions iam.Values) int {
			return k.send(AsAnonymous(context.Background(), conditions), method, "bkt", key, query, "").status
		}
		policy := func(effect, action, resource, more string) string {
			return fmt.Sprintf(`{"Statement":[{"Effect":%q,"Principal":"*","Action":%q,"Resource":"arn:aws:s3:::bkt%s"%s}]}`, effect, action, resource, more)
		}
		check := func(what string, want int, method, key, query string, conditions iam.Values) {
			t.Helper()
			if got := anonymous(method, key, query, conditions); got != want {
				t.Errorf("%s: %s %s?%s is %d, want %d", what, method, key, query, got, want)
			}
		}
		k.want("204", "PUT", "bkt?policy", policy("Allow", "s3:GetObject", "/*", ""))
		check("policy", 200, "GET", "key", "", nil)
		check("policy", 200, "HEAD", "key", "", nil)
		check("policy", 403, "GET", "missing", "", nil) // who may not list is not told what is not there
		check("policy", 403, "GET", "", "list-type=2", nil)
		check("policy", 403, "PUT", "key", "", nil)
		check("policy", 403, "GET", "key", "versionId=null", nil) // another permission
		k.want("204", "PUT", "bkt?policy", policy("Allow", "s3:GetObject", "/*", `,"Condition":{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}`))
		check("condition", 403, "GET", "key", "", nil)
		check("condition", 200, "GET", "key", "", iam.Values{"aws:sourceip": {"192.0.2.7"}})
		k.want("204", "PUT", "bkt?policy", policy("Allow", "s3:*", "/*", ""))
		check("all", 200, "PUT", "key2", "", nil)
		k.want("200", "PUT", "bkt?publicAccessBlock", "<PublicAccessBlockConfiguration><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>")
		check("blocked", 403, "GET", "key", "", nil)
		k.want("204", "DELETE", "bkt?publicAccessBlock", "")
		k.want("204", "DELETE", "bkt?policy", "")

		k.want("AccessControlListNotSupported", "PUT", "bkt/key?acl", "", "X-Amz-Acl: public-read")
		k.want("200", "PUT", "bkt?ownershipControls", "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>")
		k.want("200", "PUT", "bkt/key?acl", "", "X-Amz-Acl: public-read")
		check("object ACL", 200, "GET", "key", "", nil)
		check("object ACL", 403, "GET", "key2", "", nil)
		check("object ACL", 403, "GET", "", "list-type=2", nil)
		k.want("200", "PUT", "bkt?acl", "", "X-Amz-Acl: public-read")
		check("bucket ACL", 200, "GET", "", "list-type=2", nil)
		check("bucket ACL", 404, "GET", "missing", "", nil)
		k.want("204", "PUT", "bkt?policy", policy("Deny", "s3:GetObject", "/*", ""))
		check("deny", 403, "GET", "key", "", nil)
		k.want("204", "DELETE", "bkt?policy", "")
		k.want("200", "PUT", "bkt?publicAccessBlock", "<PublicAccessBlockConfiguration><IgnorePublicAcls>true</IgnorePublicAcls></PublicAccessBlockConfiguration>")
		check("ignored ACL", 403, "GET", "key", "", nil)
		k.want("NotImplemented", "PUT", "bkt?acl", "", "X-Amz-Acl: public-read-write")
	})
}

// TestBodiesThatFail sends bodies that end early, late or with an error: nothing of them is kept.
func TestBodiesThatFail(t *testing.T) {
	onBoth(t, Config{}, func(k *kit) {
		k.want("200", "PUT", "bkt", "")
		gone := errors.New("the client has gone")
		for name, test := range map[string]struct {
			body   io.Reader
			length int64
			err    error
		}{
			"short":              {strings.NewReader("short"), 10, nil},
			"short, large":       {strings.NewReader(strings.Repeat("x", 200_000)), 300_000, nil},
			"long":               {strings.NewReader("longer"), 3, nil},
			"error":              {iotest.ErrReader(gone), 10, gone},
			"error at the end":   {io.MultiReader(strings.NewReader("ten bytes."), iotest.ErrReader(gone)), 10, gone},
			"error, large":       {io.MultiReader(strings.NewReader(strings.Repeat("x", 200_000)), iotest.ErrReader(gone)), 300_000, gone},
			"error behind large": {io.MultiReader(strings.NewReader(strings.Repeat("x", 200_000)), iotest.ErrReader(gone)), 200_000, gone},
		} {
			for _, target := range []string{"", "parts"} {
				query := ""
				if target != "" {
					id, _ := k.upload("bkt/key")
					query = "partNumber=1&uploadId=" + id
				}
				req := (&http.Request{Method: "PUT", URL: &url.URL{Path: "/bkt/key", RawQuery: query}, Header: http.Header{}, Body: io.NopCloser(test.body), ContentLength: test.length}).
					WithContext(AsOwner(context.Background()))
				resp, err := k.store.RoundTrip(req)
				if !errors.Is(err, test.err) || err == nil && resp.StatusCode != http.StatusBadRequest {
					t.Errorf("%s %s: %v, %v", name, target, resp, err)
				}
			}
			k.want("404", "GET", "bkt/key", "")
		}
		report, err := k.store.Check(t.Context(), true, false)
		if err != nil || len(report.Damage)+len(report.Waste) > 0 || report.Bodies > 0 {
			t.Errorf("%v, %+v", err, report)
		}
	})
}

// TestConditions evaluates the conditions of writes, copies and deletes where there is an object, none, and a marker.
func TestConditions(t *testing.T) {
	onBoth(t, Config{MinPartSize: -1}, func(k *kit) {
		k.versioned("bkt")
		k.want("200", "PUT", "bkt/source", "body")
		for _, there := range []string{"object", "nothing", "marker"} {
			for _, condition := range []string{"If-None-Match: *", "If-Match: *", "If-Match: \"x\"", "If-Match: right", "If-Match: \"unterminated"} {
				for _, write := range []string{"put", "copy", "complete", "delete"} {
					key := "bkt/" + url.PathEscape(there+condition+write)
					var etag string
					if there != "nothing" {
						etag = k.want("200", "PUT", key, "old").header.Get("ETag")
					}
					if there == "marker" {
						k.want("204", "DELETE", key, "")
					}
					k.conditional(key, there, strings.Replace(condition, "right", etag, 1), condition, write)
				}
			}
		}
	})
}

func (k *kit) conditional(key, there, header, condition, write string) {
	k.t.Helper()
	want := "200"
	switch {
	case write == "delete" && strings.HasPrefix(condition, "If-None"):
		return
	case condition == "If-None-Match: *" && there == "object":
		want = "412"
	case strings.HasPrefix(condition, "If-Match") && there != "object":
		want = "404"
	case condition == `If-Match: "x"`, condition == `If-Match: "unterminated`:
		want = "412"
	case write == "delete":
		want = "204"
	}
	if strings.HasPrefix(header, "If-Match: ") && len(header) == len("If-Match: ") {
		return // there is no right ETag of nothing
	}
	switch write {
	case "put":
		k.want(want, "PUT", key, "new", header)
	case "copy":
		k.want(want, "PUT", key, "", "X-Amz-Copy-Source: /bkt/source", header)
	case "complete":
		id, list := k.upload(key, "part")
		k.want(want, "POST", key+"?uploadId="+id, list, header)
	case "delete":
		k.want(want, "DELETE", key, "", header)
	}
}

// TestLocks holds deletes and changes against retention and legal holds.
func TestLocks(t *testing.T) {
	onBoth(t, Config{}, func(k *kit) {
		k.want("200", "PUT", "bkt", "", "X-Amz-Bucket-Object-Lock-Enabled: true")
		until := k.now.Add(time.Hour).Format(time.RFC3339)
		locked := func(key, mode string) string {
			return k.want("200", "PUT", key, "x", "X-Amz-Object-Lock-Mode: "+mode, "X-Amz-Object-Lock-Retain-Until-Date: "+until).header.Get("X-Amz-Version-Id")
		}
		g, c := locked("bkt/g", "GOVERNANCE"), locked("bkt/c", "COMPLIANCE")
		const bypass = "X-Amz-Bypass-Governance-Retention: true"
		k.want("403", "DELETE", "bkt/g?versionId="+g, "")
		k.want("403", "DELETE", "bkt/c?versionId="+c, "", bypass)
		shorter := "<Retention><Mode>%s</Mode><RetainUntilDate>" + k.now.Add(time.Minute).Format(time.RFC3339) + "</RetainUntilDate></Retention>"
		k.want("403", "PUT", "bkt/g?retention", fmt.Sprintf(shorter, "GOVERNANCE"))
		k.want("200", "PUT", "bkt/g?retention", fmt.Sprintf(shorter, "GOVERNANCE"), bypass)
		k.want("403", "PUT", "bkt/c?retention", fmt.Sprintf(shorter, "COMPLIANCE"), bypass)
		k.want("204", "DELETE", "bkt/g?versionId="+g, "", bypass)
		k.want("204", "DELETE", "bkt/c", "") // a marker deletes nothing
		k.want("200", "PUT", "bkt/h", "x", "X-Amz-Object-Lock-Legal-Hold: ON")
		h := k.want("200", "HEAD", "bkt/h", "").header
		if h.Get("X-Amz-Object-Lock-Legal-Hold") != "ON" {
			t.Errorf("HEAD shows %v", h)
		}
		k.want("403", "DELETE", "bkt/h?versionId="+h.Get("X-Amz-Version-Id"), "", bypass)
		k.want("200", "PUT", "bkt/h?legal-hold", "<LegalHold><Status>OFF</Status></LegalHold>")
		k.want("204", "DELETE", "bkt/h?versionId="+h.Get("X-Amz-Version-Id"), "")
		k.want("200", "PUT", "bkt?object-lock", "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>")
		d := k.want("200", "PUT", "bkt/d", "x").header.Get("X-Amz-Version-Id")
		if r := k.want("200", "GET", "bkt/d?retention", ""); !strings.Contains(r.body, "<RetainUntilDate>2026-12-02T10:00:00.000Z<") {
			t.Errorf("default retention: %s", r.body)
		}
		k.now = k.now.Add(25 * time.Hour)
		k.want("204", "DELETE", "bkt/d?versionId="+d, "")
		k.want("204", "DELETE", "bkt/c?versionId="+c, "")
		k.want("InvalidBucketState", "PUT", "bkt?versioning", "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>")
		k.want("200", "PUT", "plain", "")
		k.want("InvalidRequest", "PUT", "plain/x", "x", "X-Amz-Object-Lock-Legal-Hold: ON")
	})
}

// TestLifecycle lets days pass.
func TestLifecycle(t *testing.T) {
	onBoth(t, Config{}, func(k *kit) {
		k.versioned("bkt")
		k.want("NotImplemented", "PUT", "bkt?lifecycle", "<LifecycleConfiguration><Rule><Filter/><Status>Enabled</Status><Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition></Rule></LifecycleConfiguration>")
		k.want("200", "PUT", "bkt?lifecycle", "<LifecycleConfiguration>"+
			"<Rule><ID>logs</ID><Filter><Prefix>logs/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>3</Days></Expiration><NoncurrentVersionExpiration><NoncurrentDays>2</NoncurrentDays></NoncurrentVersionExpiration><AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>"+
			"<Rule><ID>tagged</ID><Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>")
		if got := k.want("200", "PUT", "bkt/logs/a", "1").header.Get("X-Amz-Expiration"); got != `expiry-date="Sat, 05 Dec 2026 00:00:00 GMT", rule-id="logs"` {
			t.Error(got)
		}
		k.want("200", "PUT", "bkt/logs/a", "2")
		k.want("200", "PUT", "bkt/other", "1")
		k.want("200", "PUT", "bkt/tagged", "1", "X-Amz-Tagging: k=v")
		k.upload("bkt/logs/up", "part")
		k.upload("bkt/up", "part")
		for _, day := range []struct {
			versions, uploads int // that are left
			current           string
		}{
			{4, 2, "logs/a other tagged"}, {4, 2, "logs/a other tagged"}, {5, 1, "logs/a other"}, {4, 1, "logs/a other"}, {5, 1, "other"},
			{5, 1, "other"}, {5, 1, "other"}, {4, 1, "other"}, {3, 1, "other"},
		} {
			if err := k.store.Expire(t.Context()); err != nil {
				t.Fatal(err)
			}
			var versions s3.ListVersionsResult
			k.decode(k.want("200", "GET", "bkt?versions", ""), &versions)
			var uploads s3.ListMultipartUploadsResult
			k.decode(k.want("200", "GET", "bkt?uploads", ""), &uploads)
			current := strings.ReplaceAll(strings.Join(k.listV2("", "", 100), " "), "key ", "")
			if len(versions.Entries) != day.versions || len(uploads.Uploads) != day.uploads || current != day.current {
				t.Errorf("%s: %d versions, %d uploads, %q; want %v", k.now.Format(time.DateOnly), len(versions.Entries), len(uploads.Uploads), current, day)
			}
			k.now = k.now.Add(24 * time.Hour)
		}
	})
}

// TestDocuments puts, gets and deletes every configuration of a bucket that is carried out.
func TestDocuments(t *testing.T) {
	texts := map[string]string{
		"policy":            `{"Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::bkt/*"}]}`,
		"lifecycle":         "<LifecycleConfiguration><Rule><ID>a</ID><Filter><Prefix>a/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>",
		"cors":              "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>",
		"tagging":           "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>",
		"object-lock":       "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>",
		"publicAccessBlock": "<PublicAccessBlockConfiguration><BlockPublicPolicy>true</BlockPublicPolicy></PublicAccessBlockConfiguration>",
		"ownershipControls": "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>",
	}
	onBoth(t, Config{}, func(k *kit) {
		k.versioned("bkt")
		k.want("204", "DELETE", "bkt?ownershipControls", "") // a new bucket has some
		for _, d := range documents {
			text, known := texts[d.sub]
			if !known {
				continue // an absent feature's
			}
			before := "200"
			if d.missing != "" {
				before = string(d.missing)
			}
			k.want(before, "GET", "bkt?"+d.sub, "")
			k.want("400", "PUT", "bkt?"+d.sub, "<Other/>")
			if r := k.ask("PUT", "bkt?"+d.sub, text); r.status/100 != 2 {
				t.Errorf("%s: %d %s", d.sub, r.status, r.body)
			}
			if r := k.want("200", "GET", "bkt?"+d.sub, ""); r.body != text {
				t.Errorf("%s: %s", d.sub, r.body)
			}
			if d.deletable {
				k.want("204", "DELETE", "bkt?"+d.sub, "")
				k.want(before, "GET", "bkt?"+d.sub, "")
			} else {
				k.want("NotImplemented", "DELETE", "bkt?"+d.sub, "")
			}
		}
	})
}
