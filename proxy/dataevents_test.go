package proxy

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"waxseal/keystore/audit"
	"waxseal/keystore/iam"
	"waxseal/proxy/proxytest"
)

// overAudited is a kit with data events.
func overAudited(t *testing.T, mode DataEvents, change func(*Config)) (*kit, *audit.Memory) {
	records := new(audit.Memory)
	k, _ := overMemory(t, proxytest.Options{}, func(c *Config) {
		c.Audit, c.DataEvents, c.AllowInsecureSSEC = records, mode, true
		if change != nil {
			change(c)
		}
	})
	return k, records
}

// dataEventRequests has a request for each kind of operation on objects, and the events that it makes in the mode all.
var dataEventRequests = []struct {
	target, header, body string
	event                string
	writes               bool
}{
	{"PUT /bkt/k", "", "hello", "PutObject", true},
	{"GET /bkt/k", "", "", "GetObject", false},
	{"HEAD /bkt/k", "", "", "HeadObject", false},
	{"GET /bkt/k?attributes", "x-amz-object-attributes: ETag", "", "GetObjectAttributes", false},
	{"GET /bkt/k?tagging", "", "", "GetObjectTagging", false},
	{"GET /bkt/k?legal-hold", "", "", "GetObjectLockLegalHold", false},
	{"GET /bkt/k?retention", "", "", "GetObjectLockRetention", false},
	{"PUT /bkt/copy", "x-amz-copy-source: /bkt/k", "", "CopyObject", true},
	{"GET /bkt", "", "", "ListObjects", false},
	{"GET /bkt?list-type=2", "", "", "ListObjects", false},
	{"GET /bkt?versions", "", "", "ListObjectVersions", false},
	{"GET /bkt?uploads", "", "", "ListMultipartUploads", false},
	{"HEAD /bkt", "", "", "HeadBucket", false},
	{"POST /bkt/up?uploads", "", "", "CreateMultipartUpload", true},
	{"DELETE /bkt/k", "", "", "DeleteObject", true},
	{"GET /bkt/none", "", "", "GetObject", false},
	{"PUT /bkt/k?rename", "", "", "", false},
	{"GET /", "", "", "", false},
	{"GET /bkt?location", "", "", "", false},
	{"GET /bkt?policy", "", "", "", false},
}

// TestDataEvents makes every kind of request in each mode, and wants exactly the events that there are to be.
func TestDataEvents(t *testing.T) {
	for _, mode := range []DataEvents{NoDataEvents, WriteDataEvents, AllDataEvents} {
		k, records := overAudited(t, mode, nil)
		for _, row := range dataEventRequests {
			records.Reset()
			method, target, _ := strings.Cut(row.target, " ")
			header := map[string]string{}
			if name, value, ok := strings.Cut(row.header, ": "); ok {
				header[name] = value
			}
			k.do(t, method, target, header, []byte(row.body))
			want := row.event
			if mode == NoDataEvents || mode == WriteDataEvents && !row.writes {
				want = ""
			}
			if want != "" {
				want = fmt.Sprintf("%s readOnly=%t", want, !row.writes)
			}
			got := []string{}
			for _, r := range records.Records() {
				got = append(got, fmt.Sprintf("%s readOnly=%t", r.EventName, r.ReadOnly))
			}
			if strings.Join(got, ";") != want && row.target != "PUT /bkt/k?rename" {
				t.Errorf("%s: %s: %v, want %q", mode, row.target, got, want)
			}
		}
	}
}

// TestDataEventRoutes wants every operation on an object to be a data event, and no operation on a bucket's configuration.
func TestDataEventRoutes(t *testing.T) {
	for i := range routes {
		r := &routes[i]
		want := r.on == onObject && r.name != "CORS preflight" || slices.Contains([]string{"DeleteObjects", "PostObject", "ListObjects",
			"ListObjectsV2", "ListObjectVersions", "ListMultipartUploads", "HeadBucket"}, r.name)
		if r.isDataEvent() != want {
			t.Errorf("%s: %t", r.name, r.isDataEvent())
		}
		if changes := r.method != http.MethodGet && r.method != http.MethodHead; r.readsOnly() == changes && r.name != "SelectObjectContent" {
			t.Errorf("%s: reads only: %t", r.name, r.readsOnly())
		}
	}
	for _, name := range bucketDataEvents {
		if !slices.ContainsFunc(routes, func(r route) bool { return r.name == name }) {
			t.Errorf("there is no route %s", name)
		}
	}
}

// TestDataEventShape compares a record with CloudTrail's.
func TestDataEventShape(t *testing.T) {
	_, trusted, err := net.ParseCIDR("127.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	k, records := overAudited(t, AllDataEvents, func(c *Config) { c.TrustedProxies = append(c.TrustedProxies, trusted) })
	k.mustDo(t, "PUT", "/bkt/dir/k", map[string]string{"X-Forwarded-For": "192.0.2.66, 198.51.100.7", "User-Agent": "tester/1",
		"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": testKeyARN}, []byte("hello"))
	k.do(t, "GET", "/bkt/dir/k?versionId=null", map[string]string{"Range": "bytes=0-9"}, nil)
	all := records.Records()
	if len(all) != 2 {
		t.Fatalf("%d records", len(all))
	}
	put, get := all[0], all[1]
	if put.SourceIPAddress != "198.51.100.7" || get.SourceIPAddress != "127.0.0.1" || put.UserAgent != "[tester/1]" {
		t.Errorf("from %s with %s, from %s", put.SourceIPAddress, put.UserAgent, get.SourceIPAddress)
	}
	for name, check := range map[string]struct{ got, want any }{
		"identity":   {put.UserIdentity.Type + " " + put.UserIdentity.ARN, "Root " + iam.RootARN("000000000000")},
		"source":     {put.EventSource + " " + put.EventCategory + " " + put.EventType, "s3.amazonaws.com Data AwsApiCall"},
		"management": {put.ManagementEvent, false},
		"resources": {fmt.Sprint(put.Resources), "[{ AWS::S3::Object arn:aws:s3:::bkt/dir/k} " +
			"{000000000000 AWS::S3::Bucket arn:aws:s3:::bkt}]"},
		"parameters": {fmt.Sprintln(put.RequestParameters["bucketName"], put.RequestParameters["key"],
			put.RequestParameters["x-amz-server-side-encryption"]), "bkt dir/k aws:kms\n"},
		"answer": {put.ResponseElements["x-amz-server-side-encryption-aws-kms-key-id"], testKeyARN},
		"data": {fmt.Sprint(put.AdditionalEventData), "map[AuthenticationMethod:AuthHeader SSEApplied:SSE_KMS SignatureVersion:SigV4 " +
			"bytesTransferredIn:5 bytesTransferredOut:0 x-amz-id-2:waxseal]"},
		"read":       {get.ReadOnly, true},
		"read bytes": {get.AdditionalEventData["bytesTransferredOut"], int64(5)},
		"no answer":  {get.ResponseElements == nil, true},
		"the query":  {get.RequestParameters["versionId"], "null"},
	} {
		if check.got != check.want {
			t.Errorf("%s: %v, want %v", name, check.got, check.want)
		}
	}
}

// TestDataEventsOfDeletes names every key that a DeleteObjects names.
func TestDataEventsOfDeletes(t *testing.T) {
	k, records := overAudited(t, WriteDataEvents, nil)
	body := []byte(`<Delete><Object><Key>a</Key></Object><Object><Key>b/c</Key></Object></Delete>`)
	k.mustDo(t, "POST", "/bkt?delete", map[string]string{"Content-MD5": md5Text(body)}, body)
	all := records.Records()
	if len(all) != 1 || fmt.Sprint(all[0].Resources) != "[{ AWS::S3::Object arn:aws:s3:::bkt/a} { AWS::S3::Object arn:aws:s3:::bkt/b/c} "+
		"{000000000000 AWS::S3::Bucket arn:aws:s3:::bkt}]" {
		t.Errorf("%+v", all)
	}
}

// TestDataEventsOfStrangers records who is refused with credentials that hold, and nobody whose do not, nor an anonymous
// requester who is refused: these could fill the disk.
func TestDataEventsOfStrangers(t *testing.T) {
	k, records := overAudited(t, AllDataEvents, func(c *Config) {
		deny, err := iam.ParsePolicy([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"s3:GetObject","Resource":"*"}]}`), iam.Options{Kind: iam.Identity})
		if err != nil {
			t.Fatal(err)
		}
		users, err := iam.NewDirectory([]iam.User{
			{Name: "root", ARN: iam.RootARN("000000000000"), AccountID: "000000000000", AccessKey: testAccess, Secret: iam.NewSecret(testSecret), Root: true},
			{Name: "eve", ARN: iam.UserARN("000000000000", "eve"), AccountID: "000000000000", AccessKey: "AKIAEVE", Secret: iam.NewSecret("eve-secret"), Policy: deny},
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Users, c.Anonymous, c.Courier = users, true, iam.RootARN("000000000000")
	})
	for _, row := range []struct{ access, secret, want string }{
		{"AKIAEVE", "eve-secret", "GetObject AccessDenied eve"},
		{"AKIAEVE", "wrong", ""},
		{"AKIANOBODY", "eve-secret", ""},
		{"", "", "GetObject NoSuchKey "}, // the store lets it in
		{testAccess, testSecret, ""},     // who delivers records
	} {
		records.Reset()
		k.doAs(t, row.access, row.secret, "GET", "/bkt/k", nil, nil)
		got := []string{}
		for _, r := range records.Records() {
			got = append(got, r.EventName+" "+r.ErrorCode+" "+r.UserIdentity.UserName)
		}
		if strings.Join(got, ";") != row.want {
			t.Errorf("%s: %v, want %q", row.access, got, row.want)
		}
	}
	k, records = overAudited(t, AllDataEvents, nil) // and nobody anonymous
	k.doAs(t, "", "", "GET", "/bkt/k", nil, nil)
	if n := records.Count(""); n != 0 {
		t.Errorf("%d records of an anonymous requester who is refused", n)
	}
}

// TestDataEventsHoldNoSecret looks for keys and signatures in the records of requests that have some.
func TestDataEventsHoldNoSecret(t *testing.T) {
	k, records := overAudited(t, AllDataEvents, nil)
	key := bytes.Repeat([]byte{0xA5}, 32)
	customer := map[string]string{"x-amz-server-side-encryption-customer-algorithm": "AES256",
		"x-amz-server-side-encryption-customer-key": base64.StdEncoding.EncodeToString(key), "x-amz-server-side-encryption-customer-key-MD5": md5Text(key)}
	k.mustDo(t, "PUT", "/bkt/c", customer, []byte("hello"))
	k.do(t, "GET", "/bkt/c", customer, nil)
	k.do(t, "GET", "/bkt/c", nil, nil)
	request := k.presign("GET", "/bkt/c", nil, nil)
	resp, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	all, err := json.Marshal(records.Records())
	if err != nil {
		t.Fatal(err)
	}
	if n := records.Count(""); n != 4 {
		t.Errorf("%d records", n)
	}
	for _, secret := range []string{customer["x-amz-server-side-encryption-customer-key"], customer["x-amz-server-side-encryption-customer-key-MD5"],
		request.URL.Query().Get("X-Amz-Signature"), "Signature="} {
		if bytes.Contains(all, []byte(secret)) {
			t.Errorf("%q is in the records: %s", secret, all)
		}
	}
}

// TestDataEventsThatAreNotKept fails a write whose record was not kept.
func TestDataEventsThatAreNotKept(t *testing.T) {
	k, records := overAudited(t, WriteDataEvents, nil)
	records.Fail(errors.New("the disk is full"))
	resp, body := k.do(t, "PUT", "/bkt/k", nil, []byte("hello"))
	wantError(t, resp, body, http.StatusInternalServerError, "InternalError")
	if strings.Contains(string(body), "disk") {
		t.Errorf("%s", body)
	}
	records.Fail(nil)
	k.mustDo(t, "PUT", "/bkt/k", nil, []byte("hello"))
}

// TestSourceIPBehindProxies has policies see the client's address, and not one that the client made up.
func TestSourceIPBehindProxies(t *testing.T) {
	_, trusted, err := net.ParseCIDR("127.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		trusted bool
		header  string
		status  int
	}{
		{true, "198.51.100.7", 200}, {true, "192.0.2.1, 198.51.100.7", 200}, {true, "198.51.100.7, 192.0.2.1", 403}, {true, "", 403},
		{false, "198.51.100.7", 403}, {false, "", 403},
	} {
		k, _ := overMemory(t, proxytest.Options{}, func(c *Config) {
			policy, err := iam.ParsePolicy([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*",
				"Condition":{"IpAddress":{"aws:SourceIp":"198.51.100.0/24"}}}]}`), iam.Options{Kind: iam.Identity})
			if err != nil {
				t.Fatal(err)
			}
			c.Users, err = iam.NewDirectory([]iam.User{{Name: "bob", ARN: iam.UserARN("000000000000", "bob"), AccountID: "000000000000",
				AccessKey: testAccess, Secret: iam.NewSecret(testSecret), Policy: policy}})
			if err != nil {
				t.Fatal(err)
			}
			if row.trusted {
				c.TrustedProxies = append(c.TrustedProxies, trusted)
			}
		})
		header := map[string]string{}
		if row.header != "" {
			header["X-Forwarded-For"] = row.header
		}
		if resp, body := k.do(t, "PUT", "/bkt/k", header, []byte("x")); resp.StatusCode != row.status {
			t.Errorf("%+v: %s %s", row, resp.Status, body)
		}
	}
}

func md5Text(p []byte) string {
	sum := md5.Sum(p)
	return base64.StdEncoding.EncodeToString(sum[:])
}
