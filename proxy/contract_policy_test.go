package proxy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"waxseal/keystore/iam"
	embedded "waxseal/keystore/local"
	"waxseal/proxy/s3"
)

// setPolicy gives the kit's bucket one Deny statement on writes under a condition.
func (k *contractKit) setPolicy(condition string) {
	k.t.Helper()
	k.ask("PUT", "/"+k.bucket+"?policy=", nil, fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::%s/*","Condition":%s}]}`, k.bucket, condition)).ok(k.t)
}

// TestBucketPolicyConditions: encryption's condition keys reflect the request's own headers, and a Deny comes before any
// header is looked at. https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html#require-sse-kms
func TestBucketPolicyConditions(t *testing.T) {
	k := startContract(t, nil)
	key, other := k.newKey(), k.newKey()
	k.ask("PUT", k.object("source"), nil, "x").ok(t)
	writes := map[string]func(hdr) answer{
		"PutObject":             func(h hdr) answer { return k.ask("PUT", k.object("o"), h, "x") },
		"CreateMultipartUpload": func(h hdr) answer { return k.ask("POST", k.object("o")+"?uploads=", h, "") },
		"CopyObject": func(h hdr) answer {
			return k.ask("PUT", k.object("o"), with(h, hdr{"x-amz-copy-source": k.object("source")}), "")
		},
		"PostObject": func(h hdr) answer { return k.post(k.t.(*testing.T), with(h, hdr{"key": "o"}), "x") },
	}
	type row struct {
		name, condition string
		denied, allowed []hdr
	}
	for _, row := range []row{
		{"StringNotEquals aws:kms", `{"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms"}}`,
			[]hdr{nil, sseS3(), dsse(key), {hdrSSE: "AES192"}, sseC(1)}, []hdr{sseKMS(key), {hdrSSE: algKMS}}},
		{"StringNotEquals AES256", `{"StringNotEquals":{"s3:x-amz-server-side-encryption":"AES256"}}`,
			[]hdr{nil, sseKMS(key), {hdrSSE: "AES192"}}, []hdr{sseS3()}},
		{"StringNotEquals aws:kms:dsse", `{"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms:dsse"}}`,
			[]hdr{nil, sseS3(), sseKMS(key)}, []hdr{dsse(key)}},
		{"Null true", `{"Null":{"s3:x-amz-server-side-encryption":"true"}}`,
			[]hdr{nil, sseC(1)}, []hdr{sseS3(), sseKMS(key), dsse(key)}},
		{"StringEquals AES256", `{"StringEquals":{"s3:x-amz-server-side-encryption":"AES256"}}`,
			[]hdr{sseS3()}, []hdr{nil, sseKMS(key), sseC(1)}},
		{"another KMS key", `{"StringNotEquals":{"s3:x-amz-server-side-encryption-aws-kms-key-id":"` + key + `"}}`,
			[]hdr{nil, sseKMS(other), {hdrSSE: algKMS}, sseKMS(keyID(key))}, []hdr{sseKMS(key), dsse(key)}},
		{"another KMS key, where one is named", `{"StringNotEquals":{"s3:x-amz-server-side-encryption-aws-kms-key-id":"` + key + `"},"Null":{"s3:x-amz-server-side-encryption-aws-kms-key-id":"false"}}`,
			[]hdr{sseKMS(other)}, []hdr{nil, sseKMS(key)}},
		{"SSE-C wanted", `{"Null":{"s3:x-amz-server-side-encryption-customer-algorithm":"true"}}`,
			[]hdr{nil, sseS3(), sseKMS(key)}, []hdr{sseC(1)}},
		{"SSE-C not wanted", `{"Null":{"s3:x-amz-server-side-encryption-customer-algorithm":"false"}}`,
			[]hdr{sseC(1), {hdrSSEC + "algorithm": "AES128"}}, []hdr{nil, sseS3(), sseKMS(key)}},
		{"StringNotEquals an SSE-C algorithm", `{"StringNotEquals":{"s3:x-amz-server-side-encryption-customer-algorithm":"AES256"}}`,
			[]hdr{nil, {hdrSSEC + "algorithm": "AES192"}}, []hdr{sseC(1)}},
	} {
		k.run(t, row.name, func(t *testing.T) {
			k.setPolicy(row.condition)
			for operation, send := range writes {
				for _, h := range row.denied {
					k.run(t, fmt.Sprintf("%s denied %v", operation, short(h)), func(t *testing.T) {
						send(h).fails(t, 403, s3.AccessDenied, "...with an explicit deny in a resource-based policy")
					})
				}
				for _, h := range row.allowed {
					k.run(t, fmt.Sprintf("%s allowed %v", operation, short(h)), func(t *testing.T) { send(h).ok(t) })
				}
			}
		})
	}
	k.run(t, "a default does not count as a header", func(t *testing.T) {
		k.setDefault(k.bucket, algKMS, key, false)
		k.setPolicy(`{"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms"}}`)
		k.ask("PUT", k.object("o"), nil, "x").fails(t, 403, s3.AccessDenied, "")
	})
	k.run(t, "the store never gets the statement, and GET returns the whole document", func(t *testing.T) {
		if k.store.Contains([]byte("StringNotEquals")) {
			t.Error("the store has the statement")
		}
		if body := string(k.ask("GET", "/"+k.bucket+"?policy=", nil, "").ok(t).body); !strings.Contains(body, `"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms"}`) {
			t.Error(body)
		}
	})
	k.run(t, "DELETE ends it", func(t *testing.T) {
		k.ask("DELETE", "/"+k.bucket+"?policy=", nil, "").ok(t)
		k.ask("PUT", k.object("o"), sseS3(), "x").ok(t)
	})
}

func short(h hdr) string {
	for _, name := range []string{hdrSSE, hdrSSEC + "algorithm", hdrKMSKey} {
		if v, ok := h[name]; ok {
			return v + " " + h[hdrKMSKey]
		}
	}
	return "nothing"
}

// TestBucketPolicyOnUploads: parts cannot name SSE-S3 or SSE-KMS: what Create named counts. An SSE-C header must be on
// all three. https://docs.aws.amazon.com/AmazonS3/latest/userguide/ServerSideEncryptionCustomerKeys.html
func TestBucketPolicyOnUploads(t *testing.T) {
	k := startContract(t, nil)
	key := k.newKey()
	upload := func(id string, h hdr) (part, complete answer) {
		k.t.Helper()
		part = k.ask("PUT", k.object("mp")+"?partNumber=1&uploadId="+id, h, "x")
		return part, k.ask("POST", k.object("mp")+"?uploadId="+id, h, completeBody(part.Header.Get("Etag")))
	}
	_, early := k.startUpload("mp", nil)
	k.setPolicy(`{"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms"}}`)
	k.run(t, "an upload of SSE-KMS", func(t *testing.T) {
		_, id := k.startUpload("mp", sseKMS(key))
		part, complete := upload(id, nil)
		part.ok(t)
		complete.ok(t)
	})
	k.run(t, "an upload from before the policy", func(t *testing.T) {
		part, complete := upload(early, nil)
		part.fails(t, 403, s3.AccessDenied, "")
		complete.fails(t, 403, s3.AccessDenied, "")
	})
	k.setPolicy(`{"Null":{"s3:x-amz-server-side-encryption":"false"}}`)
	k.run(t, "an upload that named nothing, where nothing is to be named", func(t *testing.T) {
		_, id := k.startUpload("mp", nil)
		part, complete := upload(id, nil)
		part.ok(t)
		complete.ok(t)
	})
	k.setPolicy(`{"Null":{"s3:x-amz-server-side-encryption-customer-algorithm":"true"}}`)
	k.run(t, "SSE-C on Create, UploadPart and Complete", func(t *testing.T) {
		k.ask("POST", k.object("mp")+"?uploads=", nil, "").fails(t, 403, s3.AccessDenied, "")
		_, id := k.startUpload("mp", sseC(1))
		part, complete := upload(id, nil)
		part.fails(t, 403, s3.AccessDenied, "")
		complete.fails(t, 403, s3.AccessDenied, "")
		part, complete = upload(id, sseC(1))
		part.ok(t)
		complete.ok(t)
	})
}

// TestIdentityPolicyConditions: a user's own policy sees the same.
func TestIdentityPolicyConditions(t *testing.T) {
	policy, err := iam.ParsePolicy([]byte(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"*","Resource":"*"},
		{"Effect":"Deny","Action":"s3:PutObject","Resource":"*","Condition":{"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms"}}},
		{"Effect":"Deny","Action":"kms:Decrypt","Resource":"*"}]}`), iam.Options{Kind: iam.Identity})
	if err != nil {
		t.Fatal(err)
	}
	k := startContract(t, func(c *Config) {
		alice := userOf(c.Users, "AKIAalice")
		changed := *alice
		changed.Policy, changed.Everything = policy, false
		root := userOf(c.Users, testAccess)
		if err := c.Users.Replace([]iam.User{*root, changed}); err != nil {
			t.Fatal(err)
		}
	})
	key := k.newKey()
	k.askAs("alice", "PUT", k.object("o"), nil, "x").fails(t, 403, s3.AccessDenied, "")
	k.askAs("alice", "PUT", k.object("o"), hdr{hdrSSE: "AES192"}, "x").fails(t, 403, s3.AccessDenied, "")
	k.askAs("alice", "PUT", k.object("o"), sseKMS(key), "x").ok(t)
	k.askAs("alice", "GET", k.object("o"), nil, "").fails(t, 403, s3.AccessDenied,
		"User: arn:aws:iam::"+testAccount+":user/alice is not authorized to perform: kms:Decrypt on resource: "+key+" with an explicit deny in an identity-based policy")
}

// TestKeyPolicyOnTLS: a key's policy sees how the request to S3 came, also where an authorisation is remembered.
func TestKeyPolicyOnTLS(t *testing.T) {
	_, local, _ := net.ParseCIDR("127.0.0.0/8")
	k := startContract(t, func(c *Config) { c.TrustedProxies = []*net.IPNet{local} })
	key := k.newKey(func(r *embedded.CreateKeyRequest) {
		r.Policy = `{"Version":"2012-10-17","Statement":[
			{"Effect":"Allow","Principal":{"AWS":"` + iam.RootARN(testAccount) + `"},"Action":"kms:*","Resource":"*"},
			{"Effect":"Deny","Principal":"*","Action":["kms:GenerateDataKey","kms:Decrypt"],"Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}`
	})
	secure := hdr{"X-Forwarded-Proto": "https"}
	for name, put := range map[string]hdr{"KMS key": sseKMS(key), "Bucket Key": with(sseKMS(key), hdr{"x-amz-server-side-encryption-bucket-key-enabled": "true"})} {
		k.ask("PUT", k.object(name), with(put, secure), "x").ok(t)
		k.ask("GET", k.object(name), secure, "").ok(t)
		k.ask("PUT", k.object(name), put, "x").fails(t, 403, s3.AccessDenied, "")
		k.ask("GET", k.object(name), nil, "").fails(t, 403, s3.AccessDenied, "")
	}
}

// TestKeyPolicies: a KMS key's policy and grants apply to the requester, with and without Bucket Keys.
// https://docs.aws.amazon.com/kms/latest/developerguide/key-policies.html
func TestKeyPolicies(t *testing.T) {
	k := startContract(t, nil)
	ctx := context.Background()
	principal := func(name string) string { return iam.UserARN(testAccount, name) }
	// alice encrypts only, bob decrypts only, carol has nothing: the separation of the source documents.
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":"%s"},"Action":"kms:*","Resource":"*"},
		{"Effect":"Allow","Principal":{"AWS":"%s"},"Action":"kms:GenerateDataKey*","Resource":"*","Condition":{"StringEquals":{"kms:ViaService":"s3.us-east-1.amazonaws.com"}}},
		{"Effect":"Allow","Principal":{"AWS":"%s"},"Action":"kms:Decrypt","Resource":"*"}]}`,
		iam.RootARN(testAccount), principal("alice"), principal("bob"))
	// Delegation to the account would let every user without a policy in.
	policy = strings.Replace(policy, `"Action":"kms:*","Resource":"*"`, `"Action":"kms:*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalArn":"`+iam.RootARN(testAccount)+`"}}`, 1)
	key := k.newKey(func(r *embedded.CreateKeyRequest) { r.Policy, r.BypassPolicyLockoutSafetyCheck = policy, true })
	denied := func(a answer, user, action string) {
		k.t.Helper()
		a.fails(k.t, 403, s3.AccessDenied, "User: "+principal(user)+" is not authorized to perform: kms:"+action+" on resource: "+key+
			" because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access")
	}
	for name, h := range map[string]hdr{"SSE-KMS": sseKMS(key), "DSSE-KMS": dsse(key), "SSE-KMS with a Bucket Key": with(sseKMS(key), bucketKeyOn())} {
		k.run(t, name, func(t *testing.T) {
			k.run(t, "who may only encrypt", func(t *testing.T) {
				k.askAs("alice", "PUT", k.object("o"), h, "x").ok(t)
				denied(k.askAs("alice", "GET", k.object("o"), nil, ""), "alice", "Decrypt")
			})
			k.run(t, "who may only decrypt, also while another's Bucket Key is in memory", func(t *testing.T) {
				k.askAs("bob", "GET", k.object("o"), nil, "").ok(t)
				denied(k.askAs("bob", "PUT", k.object("o"), h, "x"), "bob", "GenerateDataKey")
			})
			k.run(t, "who may do neither", func(t *testing.T) {
				denied(k.askAs("carol", "PUT", k.object("o"), h, "x"), "carol", "GenerateDataKey")
				denied(k.askAs("carol", "GET", k.object("o"), nil, ""), "carol", "Decrypt")
				k.askAs("carol", "HEAD", k.object("o"), nil, "").ok(t) // S3 asks KMS for nothing here
			})
		})
	}
	k.run(t, "a grant, within its constraints", func(t *testing.T) {
		k.ask("PUT", k.object("granted"), sseKMS(key), "x").ok(t)
		k.ask("PUT", k.object("other"), sseKMS(key), "x").ok(t)
		out, err := k.kms.CreateGrant(ctx, k.rootCaller(), &embedded.CreateGrantRequest{
			KeyId: key, GranteePrincipal: principal("carol"), Operations: []string{"Decrypt"},
			Constraints: &embedded.GrantConstraints{EncryptionContextSubset: map[string]string{"aws:s3:arn": "arn:aws:s3:::" + k.bucket + "/granted"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		k.askAs("carol", "GET", k.object("granted"), nil, "").ok(t)
		denied(k.askAs("carol", "GET", k.object("other"), nil, ""), "carol", "Decrypt")
		if _, err := k.kms.RevokeGrant(ctx, k.rootCaller(), &embedded.RevokeGrantRequest{KeyId: key, GrantId: out.GrantId}); err != nil {
			t.Fatal(err)
		}
		denied(k.askAs("carol", "GET", k.object("granted"), nil, ""), "carol", "Decrypt")
	})
	k.run(t, "a condition on the object's ARN breaks with a Bucket Key", func(t *testing.T) {
		key := k.newKey(func(r *embedded.CreateKeyRequest) {
			r.BypassPolicyLockoutSafetyCheck = true
			r.Policy = fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"%s"},"Action":"kms:*","Resource":"*",
				"Condition":{"StringLike":{"kms:EncryptionContext:aws:s3:arn":"arn:aws:s3:::%s/*"}}}]}`, principal("alice"), k.bucket)
		})
		k.askAs("alice", "PUT", k.object("o"), sseKMS(key), "x").ok(t)
		k.askAs("alice", "PUT", k.object("o"), with(sseKMS(key), bucketKeyOn()), "x").fails(t, 403, s3.AccessDenied, "")
	})
}

// update sends UpdateObjectEncryption with a digest of its body.
func (k *contractKit) update(key, inner string) answer {
	k.t.Helper()
	body := `<ObjectEncryption xmlns="http://s3.amazonaws.com/doc/2006-03-01/">` + inner + `</ObjectEncryption>`
	h := s3.NewChecksumOf(s3.ChecksumID("CRC32"))
	h.Write([]byte(body))
	return k.ask("PUT", k.object(key)+"?encryption=", hdr{"x-amz-checksum-crc32": s3.Base64(h.Sum(nil))}, body)
}

func toKMS(arn, bucketKey string) string {
	return "<SSE-KMS><KMSKeyArn>" + arn + "</KMSKeyArn>" + optional("BucketKeyEnabled", bucketKey) + "</SSE-KMS>"
}

// TestUpdateObjectEncryption: https://docs.aws.amazon.com/AmazonS3/latest/API/API_UpdateObjectEncryption.html
func TestUpdateObjectEncryption(t *testing.T) {
	k := startContract(t, nil)
	key, other := k.newKey(), k.newKey()
	sums := hdr{"x-amz-checksum-mode": "ENABLED"}
	shapes := map[string]string{"of a few bytes": "hello", "with a manifest": string(noise(3, inlineLimit+9))}
	for name, body := range shapes {
		for _, from := range modes(other)[1:4] {
			k.run(t, from.name+" object "+name+" keeps ETag, checksum, metadata and data", func(t *testing.T) {
				k.ask("PUT", k.object("o"), with(from.write, hdr{"x-amz-meta-colour": "red", "content-type": "text/plain", "x-amz-tagging": "a=b"}), body).ok(t)
				before := k.ask("HEAD", k.object("o"), sums, "").ok(t)
				if a := k.update("o", toKMS(key, "")).ok(t); a.StatusCode != 200 || len(a.body) != 0 {
					t.Errorf("%s %q", a.Status, a.body)
				}
				for _, method := range []string{"HEAD", "GET"} {
					after := k.ask(method, k.object("o"), sums, "").ok(t).echoes(t, sseKMS(key))
					for _, name := range []string{"Etag", "x-amz-checksum-crc64nvme", "x-amz-checksum-type", "Content-Type", "X-Amz-Meta-Colour", "Content-Length"} {
						if before.Header.Get(name) != after.Header.Get(name) {
							t.Errorf("%s: %s was %q, is %q", method, name, before.Header.Get(name), after.Header.Get(name))
						}
					}
					if method == "GET" && string(after.body) != body {
						t.Error("other bytes")
					}
				}
				if tags := string(k.ask("GET", k.object("o")+"?tagging=", nil, "").ok(t).body); !strings.Contains(tags, "<Key>a</Key><Value>b</Value>") {
					t.Errorf("tags %s", tags)
				}
				k.update("o", toKMS(other, "true")).ok(t)
				a := k.ask("GET", k.object("o"), nil, "").ok(t).echoes(t, with(sseKMS(other), bucketKeyOn()))
				if a.etag() != before.etag() || string(a.body) != body {
					t.Errorf("the second time: ETag %s, was %s", a.etag(), before.etag())
				}
			})
		}
	}
	k.run(t, "no data moves", func(t *testing.T) {
		k.ask("PUT", k.object("big"), nil, string(noise(4, 3*mib))).ok(t)
		k.store.ClearRequests()
		k.update("big", toKMS(key, "")).ok(t)
		var sent int64
		for _, r := range k.store.Requests() {
			sent += r.ContentLength
			if r.Method == http.MethodGet && r.Header.Get("Range") == "" && !r.Query.Has("tagging") {
				t.Errorf("%s %s read the whole object", r.Method, r.URI)
			}
		}
		if sent > 4096 {
			t.Errorf("%d bytes went to the store", sent)
		}
	})
	k.ask("PUT", k.object("o"), nil, "x").ok(t)
	for name, row := range map[string]struct{ inner, message string }{
		"no type":                 {"", updateNoType},
		"SSE-S3 as the target":    {"<SSE-S3/>", updateNoType},
		"no key":                  {"<SSE-KMS/>", updateNoKey},
		"a bare key id":           {toKMS(keyID(key), ""), updateBadKey},
		"an alias":                {toKMS("alias/aws/s3", ""), updateBadKey},
		"an alias ARN":            {toKMS("arn:aws:kms:us-east-1:"+testAccount+":alias/x", ""), updateBadKey},
		"an odd BucketKeyEnabled": {toKMS(key, "maybe"), updateBadFlag},
	} {
		k.run(t, name, func(t *testing.T) { k.update("o", row.inner).fails(t, 400, s3.InvalidRequest, row.message) })
	}
	k.run(t, "a key of another account", func(t *testing.T) {
		k.update("o", toKMS(strings.Replace(key, testAccount, "999999999999", 1), "")).fails(t, 403, s3.AccessDenied, updateAccount)
	})
	k.run(t, "a key that is not there", func(t *testing.T) {
		k.update("o", toKMS("arn:aws:kms:us-east-1:"+testAccount+":key/11111111-2222-4333-8444-555555555555", "")).fails(t, 400, s3.KMSNotFoundException, "")
	})
	k.run(t, "no such key", func(t *testing.T) { k.update("none", toKMS(key, "")).fails(t, 404, s3.NoSuchKey, "") })
	k.run(t, "a source of DSSE-KMS", func(t *testing.T) {
		k.ask("PUT", k.object("dsse"), dsse(key), "x").ok(t)
		k.update("dsse", toKMS(key, "")).fails(t, 400, s3.InvalidRequest, updateSource)
	})
	k.run(t, "a source of SSE-C", func(t *testing.T) {
		k.ask("PUT", k.object("c"), sseC(1), "x").ok(t)
		k.update("c", toKMS(key, "")).fails(t, 400, s3.InvalidRequest, updateSource)
	})
	k.run(t, "a digest of the document is required", func(t *testing.T) {
		k.ask("PUT", k.object("o")+"?encryption=", nil, "<ObjectEncryption>"+toKMS(key, "")+"</ObjectEncryption>").fails(t, 400, s3.InvalidRequest, "")
	})
	k.run(t, "a locked object", func(t *testing.T) {
		before := k.bucket
		defer func() { k.bucket = before }()
		k.bucket += "-lock"
		k.ask("PUT", "/"+k.bucket, hdr{"X-Amz-Bucket-Object-Lock-Enabled": "true"}, "").ok(t)
		for name, lock := range map[string]hdr{
			"governance": {"X-Amz-Object-Lock-Mode": "GOVERNANCE", "X-Amz-Object-Lock-Retain-Until-Date": "2999-01-01T00:00:00Z"},
			"compliance": {"X-Amz-Object-Lock-Mode": "COMPLIANCE", "X-Amz-Object-Lock-Retain-Until-Date": "2999-01-01T00:00:00Z"},
			"legal hold": {"X-Amz-Object-Lock-Legal-Hold": "ON"},
		} {
			k.ask("PUT", k.object(name), with(lock, nil), "x").ok(t)
			k.update(name, toKMS(key, "")).fails(t, 403, s3.AccessDenied, updateLocked)
		}
	})
	k.run(t, "it asks for Decrypt of the old key and GenerateDataKey of the new", func(t *testing.T) {
		k.ask("PUT", k.object("o"), sseKMS(other), "x").ok(t)
		r := k.wantCalls(func() { k.update("o", toKMS(key, "")).ok(t) }, "Decrypt", "GenerateDataKey")
		if r[0].Resources[0].ARN != other || r[1].Resources[0].ARN != key {
			t.Errorf("of %v and %v", r[0].Resources, r[1].Resources)
		}
	})
}

// TestUpdateOfPlaintext: an object that is not encrypted cannot be updated.
func TestUpdateOfPlaintext(t *testing.T) {
	k := startContract(t, func(c *Config) { c.ReadThrough = []string{"plaintext-bucket"} })
	k.ask("PUT", "/plaintext-bucket", nil, "").ok(t)
	k.bucket = "plaintext-bucket"
	k.store.PutObject(k.bucket, "o", []byte("in the clear"), nil)
	k.update("o", toKMS(k.newKey(), "")).fails(t, 400, s3.InvalidRequest, updatePlain)
}
