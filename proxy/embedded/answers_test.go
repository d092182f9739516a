package embedded

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"waxseal/proxy/s3"
)

// TestVersionIDsOfNewObjects: x-amz-version-id of every way to make an object, in each state of versioning.
func TestVersionIDsOfNewObjects(t *testing.T) {
	onBoth(t, Config{}, func(k *kit) {
		k.want("200", "PUT", "bkt", "")
		k.want("200", "PUT", "bkt/source", "x")
		for _, state := range []string{"", versioningSuspended, versioningEnabled, versioningSuspended} {
			if state != "" {
				k.setVersioning("bkt", state)
			}
			read, made, copied := "", "", ""
			switch state {
			case versioningSuspended:
				read, copied = "null", "null"
			case versioningEnabled:
				read, made, copied = "an id", "an id", "an id"
			}
			id, list := k.upload("bkt/key", "part")
			for way, r := range map[string]reply{
				made + "/PutObject":               k.want("200", "PUT", "bkt/key", "x"),
				made + "/CompleteMultipartUpload": k.want("200", "POST", "bkt/key?uploadId="+id, list),
				copied + "/CopyObject":            k.want("200", "PUT", "bkt/key", "", "X-Amz-Copy-Source: bkt/source"),
				read + "/GetObject":               k.want("200", "GET", "bkt/key", ""),
				read + "/HeadObject":              k.want("200", "HEAD", "bkt/key", ""),
			} {
				want, operation, _ := strings.Cut(way, "/")
				got := r.header.Get(s3.HeaderVersionID)
				if got != want && (want != "an id" || got == "" || got == "null") {
					k.t.Errorf("%s, versioning %q: version id %q, want %q", operation, state, got, want)
				}
			}
		}
	})
}

// TestEmptyMetadataIsShown: metadata without a value is metadata.
func TestEmptyMetadataIsShown(t *testing.T) {
	onBoth(t, Config{}, func(k *kit) {
		k.want("200", "PUT", "bkt", "")
		k.want("200", "PUT", "bkt/key", "x", "X-Amz-Meta-Empty: ", "X-Amz-Meta-Full: v")
		for _, method := range []string{"GET", "HEAD"} {
			h := k.want("200", method, "bkt/key", "").header
			if values, ok := h["X-Amz-Meta-Empty"]; !ok || values[0] != "" || h.Get("X-Amz-Meta-Full") != "v" {
				k.t.Errorf("%s: %v", method, h)
			}
		}
	})
}

// TestRetentionIsNotWeakened asks for every change of a retention, with and without the bypass.
func TestRetentionIsNotWeakened(t *testing.T) {
	onBoth(t, Config{}, func(k *kit) {
		k.want("200", "PUT", "bkt", "", "X-Amz-Bucket-Object-Lock-Enabled: true")
		until := func(hours time.Duration) string { return s3.FormatTime(k.now.Add(hours * time.Hour)) }
		document := func(mode string, hours time.Duration) string {
			return fmt.Sprintf("<Retention><Mode>%s</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>", mode, until(hours))
		}
		for _, from := range []string{governance, compliance} {
			for name, to := range map[string]struct {
				document   string
				same, long bool
			}{
				"longer":              {document(from, 3), true, true},
				"equal":               {document(from, 2), true, true},
				"shorter":             {document(from, 1), true, false},
				"none":                {"<Retention/>", false, false},
				"the other mode":      {document(map[string]string{governance: compliance, compliance: governance}[from], 2), false, true},
				"the other, longer":   {document(map[string]string{governance: compliance, compliance: governance}[from], 3), false, true},
				"the other, shorter ": {document(map[string]string{governance: compliance, compliance: governance}[from], 1), false, false},
			} {
				for _, bypass := range []string{"", "true"} {
					k.want("200", "PUT", "bkt/key", "x", "X-Amz-Object-Lock-Mode: "+from, "X-Amz-Object-Lock-Retain-Until-Date: "+until(2))
					want := "403"
					if to.same && to.long || from == governance && bypass != "" {
						want = "200"
					}
					r := k.ask("PUT", "bkt/key?retention", to.document, "X-Amz-Bypass-Governance-Retention: "+bypass)
					if fmt.Sprint(r.status) != want {
						k.t.Errorf("%s to %s, bypass %q: %d %s, want %s", from, name, bypass, r.status, r.body, want)
					}
				}
			}
		}
	})
}

// TestBucketMadeAgain: in us-east-1 that is no error and resets the ACL, elsewhere it is refused. Objects stay, and so does
// what CreateBucket could give a new bucket only.
func TestBucketMadeAgain(t *testing.T) {
	onBoth(t, Config{}, func(k *kit) {
		k.want("200", "PUT", "bkt", "", "X-Amz-Object-Ownership: ObjectWriter", "X-Amz-Acl: public-read")
		k.want("200", "PUT", "bkt/key", "x")
		k.setVersioning("bkt", versioningEnabled)
		for _, headers := range [][]string{{"X-Amz-Bucket-Object-Lock-Enabled: true"}, {"X-Amz-Object-Ownership: BucketOwnerPreferred"}} {
			k.want("BucketAlreadyOwnedByYou", "PUT", "bkt", "", headers...)
		}
		k.want("BucketAlreadyOwnedByYou", "PUT", "bkt", "<CreateBucketConfiguration><Tags><Tag><Key>k</Key><Value>v</Value></Tag></Tags></CreateBucketConfiguration>")
		public := func() bool { return strings.Contains(k.want("200", "GET", "bkt?acl", "").body, "AllUsers") }
		if !public() {
			k.t.Error("a refused request has reset the ACL")
		}
		k.want("200", "PUT", "bkt", "")
		if public() {
			k.t.Error("the ACL was not reset")
		}
		if r := k.want("200", "GET", "bkt?versioning", ""); !strings.Contains(r.body, versioningEnabled) {
			k.t.Error(r.body)
		}
		k.want("200", "GET", "bkt/key", "")
	})
	onBoth(t, Config{Region: "eu-west-1"}, func(k *kit) {
		const here = "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>"
		k.want("200", "PUT", "bkt", here)
		k.want("BucketAlreadyOwnedByYou", "PUT", "bkt", here)
	})
}

// TestRulesGetIDs: a lifecycle rule without an ID gets one, of its own and for good.
func TestRulesGetIDs(t *testing.T) {
	onBoth(t, Config{}, func(k *kit) {
		k.want("200", "PUT", "bkt", "")
		const rule = "<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>"
		k.want("200", "PUT", "bkt?lifecycle", "<LifecycleConfiguration><Rule>"+rule+"<Rule><ID>mine</ID>"+rule+"<Rule>"+rule+"</LifecycleConfiguration>")
		text := k.want("200", "GET", "bkt?lifecycle", "")
		var c s3.LifecycleConfiguration
		k.decode(text, &c)
		if len(c.Rules) != 3 || c.Rules[0].ID == "" || c.Rules[1].ID != "mine" || c.Rules[2].ID == "" || c.Rules[0].ID == c.Rules[2].ID || c.Rules[2].Filter.Tag.Value != "v" {
			k.t.Errorf("%s", text.body)
		}
		if again := k.want("200", "GET", "bkt?lifecycle", ""); again.body != text.body {
			k.t.Errorf("%s, then %s", text.body, again.body)
		}
	})
}

// TestGrantsAreCannedOrRefused: a document of grants that is no canned ACL is refused and changes nothing.
func TestGrantsAreCannedOrRefused(t *testing.T) {
	full := "<Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\"><ID>" + owner.ID + "</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant>"
	read := "<Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"Group\"><URI>" + s3.AllUsers + "</URI></Grantee><Permission>READ</Permission></Grant>"
	onBoth(t, Config{}, func(k *kit) {
		k.want("200", "PUT", "bkt", "", "X-Amz-Object-Ownership: ObjectWriter")
		k.want("200", "PUT", "bkt/key", "x")
		for _, at := range []string{"bkt?acl", "bkt/key?acl"} {
			for grants, want := range map[string]string{
				full: "200", full + read: "200", "": "NotImplemented", read: "NotImplemented",
				full + strings.Replace(read, ">READ<", ">WRITE<", 1):                          "NotImplemented",
				strings.Replace(full, owner.ID, strings.Repeat("0", 64), 1):                   "NotImplemented",
				full + strings.Replace(read, "AllUsers", "AuthenticatedUsers", 1):             "NotImplemented",
				strings.Replace(full, ">FULL_CONTROL<", ">READ<", 1):                          "NotImplemented",
				full + strings.Replace(full, owner.ID, strings.Repeat("1", len(owner.ID)), 1): "NotImplemented",
			} {
				k.want("200", "PUT", at, "", "X-Amz-Acl: private")
				before := k.want("200", "GET", at, "").body
				k.want(want, "PUT", at, "<AccessControlPolicy><Owner><ID>"+owner.ID+"</ID></Owner><AccessControlList>"+grants+"</AccessControlList></AccessControlPolicy>")
				if after := k.want("200", "GET", at, "").body; want != "200" && after != before {
					k.t.Errorf("%s: %s", at, after)
				}
			}
		}
	})
}

// TestLegalHoldHasThreeStates: a legal hold that was set to OFF is shown, and one that was never set is not.
func TestLegalHoldHasThreeStates(t *testing.T) {
	onBoth(t, Config{}, func(k *kit) {
		k.want("200", "PUT", "bkt", "", "X-Amz-Bucket-Object-Lock-Enabled: true")
		shown := func(path, want string) {
			k.t.Helper()
			if got := k.want("200", "HEAD", path, "").header.Get(headerLockHold); got != want {
				k.t.Errorf("%s: %q, want %q", path, got, want)
			}
			if want == "" {
				k.want("NoSuchObjectLockConfiguration", "GET", path+"?legal-hold", "")
			} else if r := k.want("200", "GET", path+"?legal-hold", ""); !strings.Contains(r.body, "<Status>"+want+"<") {
				k.t.Error(r.body)
			}
		}
		k.want("200", "PUT", "bkt/never", "x")
		shown("bkt/never", "")
		for _, status := range []string{"ON", "OFF"} {
			k.want("200", "PUT", "bkt/put", "x", headerLockHold+": "+status)
			shown("bkt/put", status)
			k.want("200", "PUT", "bkt/never?legal-hold", "<LegalHold><Status>"+status+"</Status></LegalHold>")
			shown("bkt/never", status)
			k.want("200", "PUT", "bkt/copy", "", "X-Amz-Copy-Source: bkt/put", headerLockHold+": "+status)
			shown("bkt/copy", status)
			k.want("200", "PUT", "bkt/plain", "", "X-Amz-Copy-Source: bkt/put")
			shown("bkt/plain", "")
			var made s3.InitiateMultipartUploadResult
			k.decode(k.want("200", "POST", "bkt/parts?uploads", "", headerLockHold+": "+status), &made)
			etag := k.want("200", "PUT", "bkt/parts?partNumber=1&uploadId="+made.UploadID, "x").header.Get("ETag")
			k.want("200", "POST", "bkt/parts?uploadId="+made.UploadID,
				"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>"+etag+"</ETag></Part></CompleteMultipartUpload>")
			shown("bkt/parts", status)
		}
	})
}

// TestErrorsHaveCORS: a request with an Origin that a rule allows gets the rule's headers with an error too, the owner's
// and anybody's.
func TestErrorsHaveCORS(t *testing.T) {
	onBoth(t, Config{}, func(k *kit) {
		k.want("200", "PUT", "bkt", "")
		k.want("200", "PUT", "bkt/key", "x")
		k.want("200", "PUT", "bkt?cors", "<CORSConfiguration><CORSRule><AllowedOrigin>https://a</AllowedOrigin><AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod><AllowedHeader>x-known</AllowedHeader><ExposeHeader>ETag</ExposeHeader></CORSRule></CORSConfiguration>")
		for _, c := range []struct {
			ctx                 context.Context
			method, key, origin string
			status              int
			allowed             bool
		}{
			{AsOwner(t.Context()), "GET", "key", "https://a", 200, true},
			{AsOwner(t.Context()), "GET", "none", "https://a", 404, true},
			{AsOwner(t.Context()), "PUT", strings.Repeat("k", 1025), "https://a", 400, true},
			{AsOwner(t.Context()), "GET", "none", "https://b", 404, false},
			{AsOwner(t.Context()), "DELETE", "none", "https://a", 204, false},
			{t.Context(), "GET", "key", "https://a", 403, true},
			{t.Context(), "PUT", "key", "https://a", 403, true},
			{t.Context(), "DELETE", "key", "https://a", 403, false},
			{t.Context(), "DELETE for PUT", "key", "https://a", 403, true},
			{AsOwner(t.Context()), "GET for DELETE", "key", "https://a", 200, false},
			{AsOwner(t.Context()), "GET for GET with X-Other", "key", "https://a", 200, false},
			{AsOwner(t.Context()), "GET for GET with X-Known", "key", "https://a", 200, true},
		} {
			method, asked, _ := strings.Cut(c.method, " for ")
			asked, header, _ := strings.Cut(asked, " with ")
			r := k.send(c.ctx, method, "bkt", c.key, "", "", "Origin: "+c.origin, "Access-Control-Request-Method: "+asked, "Access-Control-Request-Headers: "+header)
			got := r.header.Get("Access-Control-Allow-Origin") == c.origin && r.header.Get("Access-Control-Allow-Methods") == "GET, PUT"
			if r.status != c.status || got != c.allowed {
				k.t.Errorf("%s %.9s from %s: %d, %v", c.method, c.key, c.origin, r.status, r.header)
			}
		}
	})
}

// TestOwnershipOfNewBuckets: ACLs do not count in a new bucket, and do where it was made so or its controls were deleted.
func TestOwnershipOfNewBuckets(t *testing.T) {
	onBoth(t, Config{}, func(k *kit) {
		counts := func(bucket string, want bool) {
			k.t.Helper()
			status := "AccessControlListNotSupported"
			if want {
				status = "200"
			}
			k.want(status, "PUT", bucket+"?acl", "", "X-Amz-Acl: public-read")
		}
		for ownership, acls := range map[string]bool{"": false, ownershipEnforced: false, ownershipPreferred: true, ownershipWriter: true} {
			bucket, headers := "new-"+strings.ToLower(ownership+"x"), []string{s3.HeaderOwnership + ": " + ownership}
			if ownership == "" {
				ownership, headers = ownershipEnforced, nil
			}
			k.want("200", "PUT", bucket, "", headers...)
			if r := k.want("200", "GET", bucket+"?ownershipControls", ""); !strings.Contains(r.body, ">"+ownership+"<") {
				k.t.Errorf("%s: %s", bucket, r.body)
			}
			counts(bucket, acls)
			k.want("204", "DELETE", bucket+"?ownershipControls", "")
			k.want("OwnershipControlsNotFoundError", "GET", bucket+"?ownershipControls", "")
			counts(bucket, true)
		}
		for _, wrong := range []string{"", "Random", "bucketownerenforced"} {
			k.want("InvalidArgument", "PUT", "wrong", "", s3.HeaderOwnership+": "+wrong)
		}
	})
}
