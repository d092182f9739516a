package proxy

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	mc "github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/signer"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// inRegions is waxseal in one region before a store in another, and a client of waxseal's region.
func inRegions(t *testing.T, own, region string) (*proxytest.Upstream, func(method, target, body string) (*http.Response, []byte), *kit) {
	t.Helper()
	u, endpoint := proxytest.StartUpstream(t, proxytest.Options{Region: region})
	k := start(t, store.Config{Endpoint: endpoint, Region: region, AccessKey: "own", SecretKey: "own-secret"}, func(c *Config) { c.Region = own })
	return u, func(method, target, body string) (*http.Response, []byte) {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+k.endpoint+target, bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Content-Sha256", hexSum([]byte(body)))
		return roundTrip(t, signer.SignV4(*req, testAccess, testSecret, "", own))
	}, k
}

func constrained(inner string) string {
	return `<CreateBucketConfiguration xmlns="` + s3.Namespace + `">` + inner + `</CreateBucketConfiguration>`
}

// TestLocation: the client's region is waxseal's, the store's is its own, and neither hears of the other's. The store
// refuses, as AWS does, a CreateBucket that does not name its region.
func TestLocation(t *testing.T) {
	for _, r := range []struct{ own, store string }{
		{"us-east-1", "us-east-1"}, {"us-east-1", "eu-west-1"}, {"ap-northeast-2", "us-east-1"},
		{"ap-northeast-2", "eu-west-1"}, {"eu-west-1", "us-east-1"}, {"garage", "eu-west-1"},
	} {
		t.Run(r.own+" before "+r.store, func(t *testing.T) {
			u, do, k := inRegions(t, r.own, r.store)
			bodies := map[string]string{
				"absent": "", "empty": constrained(""), "blank": constrained("<LocationConstraint></LocationConstraint>"),
				"tagged": constrained("<Tags><Tag><Key>a</Key><Value>b</Value></Tag></Tags>"),
			}
			if r.own != "us-east-1" || r.store != "us-east-1" { // AWS takes the name us-east-1 nowhere
				bodies["own"] = constrained("<LocationConstraint>" + r.own + "</LocationConstraint>")
			}
			if r.own == "eu-west-1" {
				bodies["old-name"] = constrained("<LocationConstraint>EU</LocationConstraint>")
			}
			for name, body := range bodies {
				resp, got := do("PUT", "/bucket-"+name, body)
				if resp.StatusCode != http.StatusOK || resp.Header.Get("Location") != "/bucket-"+name {
					t.Errorf("%s: %s %q\n%s", name, resp.Status, resp.Header.Get("Location"), got)
				}
			}
			if sent := u.Requests()[0]; r.store == "us-east-1" && r.own != r.store && sent.ContentLength > 0 && !strings.HasPrefix(sent.Bucket, "bucket-tagged") {
				t.Errorf("a body of %d bytes where none is needed", sent.ContentLength)
			}

			u.ClearRequests()
			for asked, code := range map[string]s3.Code{
				"sa-east-1": s3.IllegalLocationConstraintException, "us-gov-west-1": s3.IllegalLocationConstraintException,
				"nonsense": s3.InvalidLocationConstraint, "us_east_1": s3.InvalidLocationConstraint,
			} {
				resp, got := do("PUT", "/elsewhere", constrained("<LocationConstraint>"+asked+"</LocationConstraint>"))
				wantError(t, resp, got, 400, code)
				if code == s3.IllegalLocationConstraintException && !strings.Contains(string(got), "The "+asked+" location constraint is incompatible") {
					t.Errorf("%s", got)
				}
			}
			resp, got := do("PUT", "/elsewhere", "<CreateBucketConfiguration")
			wantError(t, resp, got, 400, s3.MalformedXML)
			if n := len(u.Requests()); n != 0 {
				t.Errorf("%d requests reached the store: %v", n, u.Operations())
			}

			resp, got = do("GET", "/bucket-absent?location", "")
			want := r.own
			if want == "us-east-1" {
				want = ""
			}
			if at := reply[s3.LocationConstraint](t, got); resp.StatusCode != http.StatusOK || at.Location != want {
				t.Errorf("GetBucketLocation: %s %q, want %q", resp.Status, at.Location, want)
			}
			resp, got = do("GET", "/nonesuch?location", "")
			wantError(t, resp, got, 404, s3.NoSuchBucket)
			if resp, _ = do("HEAD", "/bucket-absent", ""); resp.StatusCode != http.StatusOK || resp.Header.Get(s3.HeaderBucketRegion) != r.own {
				t.Errorf("HeadBucket: %s %q", resp.Status, resp.Header.Get(s3.HeaderBucketRegion))
			}
			for query, n := range map[string]int{"": len(bodies), "?bucket-region=" + r.own: len(bodies), "?prefix=bucket-a&bucket-region=" + r.own: 1, "?bucket-region=sa-east-1": 0} {
				_, got = do("GET", "/"+query, "")
				list := reply[s3.ListAllMyBucketsResult](t, got).Buckets.Buckets
				if len(list) != n {
					t.Errorf("ListBuckets%s: %d buckets, want %d", query, len(list), n)
				}
				for _, b := range list {
					if b.BucketRegion != r.own {
						t.Errorf("ListBuckets%s: %s is in %s", query, b.Name, b.BucketRegion)
					}
				}
			}

			// A client that asks where a bucket is before it signs: with the store's answer it could not go on.
			c, err := minio.New(k.endpoint, &minio.Options{Creds: mc.NewStaticV4(testAccess, testSecret, "")})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.StatObject(t.Context(), "bucket-absent", "nothing", minio.StatObjectOptions{}); minio.ToErrorResponse(err).Code != "NoSuchKey" {
				t.Errorf("minio-go: %v", err)
			}
		})
	}
}

// TestLocationOfPlacement: what only the store can judge goes there as it came.
func TestLocationOfPlacement(t *testing.T) {
	u, do, _ := inRegions(t, "ap-northeast-2", "")
	for i, name := range []string{"default:cold", ":cold"} {
		body := constrained("<LocationConstraint>" + name + "</LocationConstraint>")
		if resp, got := do("PUT", fmt.Sprintf("/placed-%d", i), body); resp.StatusCode != http.StatusOK {
			t.Errorf("%s\n%s", resp.Status, got)
		}
		if sent := u.Requests()[i]; sent.ContentLength != int64(len(body)) {
			t.Errorf("%d bytes of %d arrived", sent.ContentLength, len(body))
		}
	}
}
