package proxy

import (
	"net/http"
	"strings"
	"testing"

	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
)

// TestCopiesMoveNoData: from any mode of one layer to any other, to another name and in place, the store copies the
// ciphertext and waxseal moves an envelope. Small enough objects could hide a mistake: these are of several parts.
func TestCopiesMoveNoData(t *testing.T) {
	k := startContract(t, nil)
	key := k.newKey()
	parts := []string{string(noise(1, 5*mib)), string(noise(2, 6*mib)), "the end"}
	_, id := k.startUpload("o", nil)
	var tags []string
	for i, p := range parts {
		tags = append(tags, k.ask("PUT", k.object("o")+"?uploadId="+id+"&partNumber="+itoa(i+1), nil, p).ok(t).Header.Get("Etag"))
	}
	k.ask("POST", k.object("o")+"?uploadId="+id, nil, completeBody(tags...)).ok(t)
	body := strings.Join(parts, "")

	from, source := "o", hdr(nil)
	for _, step := range []struct {
		name, to string
		h        hdr
		reads    hdr
	}{
		{"SSE-S3 to SSE-KMS", "kms", sseKMS(key), nil},
		{"SSE-KMS to SSE-C", "c", sseC(1), sseC(1)},
		{"SSE-C to another SSE-C key", "c2", sseC(2), sseC(2)},
		{"SSE-C to SSE-S3", "back", sseS3(), nil},
		{"SSE-S3 to SSE-KMS with a Bucket Key", "bk", with(sseKMS(key), bucketKeyOn()), nil},
		{"in place to SSE-S3", "bk", sseS3(), nil},
		{"in place to SSE-C", "bk", sseC(1), sseC(1)},
	} {
		k.run(t, step.name, func(t *testing.T) {
			k.store.ClearRequests()
			k.ask("PUT", k.object(step.to), with(step.h, source, hdr{"x-amz-copy-source": k.object(from)}), "").ok(t)
			k.wantNoData(t, k.store.Requests())
			if got := k.ask("GET", k.object(step.to), step.reads, "").ok(t); string(got.body) != body {
				t.Errorf("%d bytes read back, or other ones", len(got.body))
			}
			if got := k.ask("GET", k.object(step.to)+"?partNumber=2", step.reads, "").ok(t); string(got.body) != parts[1] {
				t.Error("part 2 is another")
			}
		})
		from, source = step.to, nil
		for name, v := range step.reads {
			if source == nil {
				source = hdr{}
			}
			source[strings.Replace(name, hdrSSEC, hdrCopySSE, 1)] = v
		}
	}
}

// wantNoData: nothing was sent to the store but documents, and nothing read but the ends of objects.
func (k *contractKit) wantNoData(t *testing.T, requests []proxytest.Recorded) {
	t.Helper()
	var sent int64
	for _, r := range requests {
		sent += max(r.ContentLength, 0)
		document := r.Query.Has("tagging") || r.Query.Has("uploadId")
		if r.Method == http.MethodGet && !document && !strings.HasPrefix(r.Header.Get("Range"), "bytes=-") {
			t.Errorf("%s %s with range %q reads data", r.Method, r.URI, r.Header.Get("Range"))
		}
	}
	if sent > 8<<10 {
		t.Errorf("%d bytes went to the store", sent)
	}
}

// TestCopyKeepsTheChecksumAlgorithm of the source, unless another is asked for.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
func TestCopyKeepsTheChecksumAlgorithm(t *testing.T) {
	k := startContract(t, nil)
	k.forEachMode(t, func(t *testing.T, m mode) {
		k.ask("PUT", k.object("o"), with(m.write, hdr{"x-amz-checksum-crc32": "NhCmhg=="}), "hello").ok(t)
		for algorithm, want := range map[string]string{"": "NhCmhg==", "CRC32": "NhCmhg=="} {
			h := with(m.write, m.source, hdr{"x-amz-copy-source": k.object("o")})
			if algorithm != "" {
				h["x-amz-checksum-algorithm"] = algorithm
			}
			doc := reply[s3.CopyObjectResult](t, k.ask("PUT", k.object("copy"), h, "").ok(t).body)
			if doc.ChecksumCRC32 != want {
				t.Errorf("algorithm %q: %+v", algorithm, doc)
			}
		}
		h := with(m.write, m.source, hdr{"x-amz-copy-source": k.object("o"), "x-amz-checksum-algorithm": "SHA256"})
		doc := reply[s3.CopyObjectResult](t, k.ask("PUT", k.object("copy"), h, "").ok(t).body)
		if doc.ChecksumSHA256 == "" || doc.ChecksumCRC32 != "" {
			t.Errorf("SHA256 was asked for: %+v", doc)
		}
		k.ask("PUT", k.object("copy"), with(h, hdr{"x-amz-checksum-algorithm": "CRC99"}), "").fails(t, 400, s3.InvalidRequest, "")
	})
}
