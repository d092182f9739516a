package proxy

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"waxseal/proxy/objects"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
	"waxseal/sse"
)

// kindOfHead is the kind of checksum that a HEAD in checksum mode shows, as "CRC32 FULL_OBJECT".
func (k *kit) kindOfHead(t *testing.T, path string, header map[string]string) string {
	t.Helper()
	h := map[string]string{"x-amz-checksum-mode": "ENABLED"}
	for name, value := range header {
		h[name] = value
	}
	resp, _ := k.mustDo(t, "HEAD", path, h, nil)
	for _, c := range s3.Algorithms {
		if resp.Header.Get(c.Header) != "" {
			return c.Name + " " + resp.Header.Get("x-amz-checksum-type")
		}
	}
	return ""
}

// kindsListed are the kinds of checksums on a page, by key.
func kindsListed(t *testing.T, doc []byte) map[string]string {
	t.Helper()
	page, err := s3.ParseListing(doc)
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[string]string)
	for _, e := range page.Entries {
		kinds[e.Key] = strings.TrimSpace(strings.Join(e.ChecksumAlgorithm, ",") + " " + e.ChecksumType)
	}
	return kinds
}

// TestListNamesTheChecksum writes objects by every route, in every shape, and wants each list, cold and warm, to name the
// checksum that HEAD shows. https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
func TestListNamesTheChecksum(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, func(c *Config) { c.AllowInsecureSSEC = true })
		b := k.bucket(t)
		want := k.checkedObjects(t, b)
		for i := range 2 {
			for name, target := range listTargets(b) {
				_, doc := k.mustDo(t, "GET", target, nil, nil)
				got := kindsListed(t, doc)
				for key, kind := range want {
					if got[key] != kind {
						t.Errorf("%s, round %d, %s: %q, HEAD says %q", name, i, key, got[key], kind)
					}
				}
				if len(got) != len(want) {
					t.Errorf("%s: %d entries, %d objects", name, len(got), len(want))
				}
			}
		}
	})
}

// checkedObjects writes objects that get their checksums in different ways, and gives what HEAD says of each.
type checkedObjects struct {
	t    *testing.T
	k    *kit
	base string
	want map[string]string
}

func (k *kit) checkedObjects(t *testing.T, bucket string) map[string]string {
	o := &checkedObjects{t, k, "/" + bucket + "/", make(map[string]string)}
	o.written()
	o.uploaded()
	o.copied()
	return o.want
}

func (o *checkedObjects) add(key, kind string, header map[string]string) {
	o.t.Helper()
	if o.want[key] = o.k.kindOfHead(o.t, o.base+key, header); o.want[key] != kind {
		o.t.Errorf("HEAD of %s: %q, want %q", key, o.want[key], kind)
	}
}

// written are PUTs of every size and mode, with every algorithm.
func (o *checkedObjects) written() {
	customer := customerHeaders(bytes.Repeat([]byte{7}, 32))
	for shape, size := range map[string]int{"folder/": 0, "empty": 0, "small": 1000, "large": inlineLimit + 5} {
		body := noise(uint64(size), size)
		for mode, header := range map[string]map[string]string{"s3": nil, "kms": sseKMS(testKeyARN), "dsse": dsse(testKeyARN), "c": customer} {
			o.k.mustDo(o.t, "PUT", o.base+mode+shape, header, body)
			if mode != "c" {
				header = nil
			}
			o.add(mode+shape, "CRC64NVME FULL_OBJECT", header)
		}
		for _, c := range s3.Algorithms {
			o.k.mustDo(o.t, "PUT", o.base+c.Name+shape, map[string]string{c.Header: s3.Base64(newSum(c.ID, body))}, body)
			o.add(c.Name+shape, c.Name+" FULL_OBJECT", nil)
		}
	}
}

// uploaded are multipart uploads with every kind of checksum.
func (o *checkedObjects) uploaded() {
	for _, c := range []struct{ alg, kind, want string }{
		{"", "", "CRC64NVME FULL_OBJECT"}, {"CRC64NVME", "", "CRC64NVME FULL_OBJECT"}, {"CRC32", "", "CRC32 COMPOSITE"},
		{"CRC32", "FULL_OBJECT", "CRC32 FULL_OBJECT"}, {"SHA256", "", "SHA256 COMPOSITE"}, {"XXHASH128", "COMPOSITE", "XXHASH128 COMPOSITE"},
	} {
		create := map[string]string{}
		if c.alg != "" {
			create["x-amz-checksum-algorithm"] = c.alg
		}
		if c.kind != "" {
			create["x-amz-checksum-type"] = c.kind
		}
		key := "upload" + c.alg + c.kind
		u := o.k.rawUpload(o.t, o.base+key, create)
		for n, data := range map[int][]byte{2: noise(2, s3.MinPartSize), 3: noise(3, 10)} {
			header := map[string]string{}
			if c.alg != "" {
				sum := s3.Base64(newSum(s3.ChecksumID(c.alg), data))
				header[s3.ChecksumPrefix+c.alg] = sum
				u.sums[n] = fmt.Sprintf("<Checksum%s>%s</Checksum%s>", c.alg, sum, c.alg)
			}
			u.mustPut(n, header, data)
		}
		if resp, body := u.complete(nil); resp.StatusCode != http.StatusOK {
			o.t.Fatalf("%s: %s\n%s", key, resp.Status, body)
		}
		o.add(key, c.want, nil)
	}
}

// copied are copies of data that stays as it is, of data that is sealed anew, and a change in place.
func (o *checkedObjects) copied() {
	copyOf := func(key, source, kind string, header map[string]string) {
		o.t.Helper()
		o.k.mustDo(o.t, "PUT", o.base+key, with(header, hdr{"x-amz-copy-source": o.base + source}), nil)
		o.add(key, kind, nil)
	}
	copyOf("copy-small", "SHA1small", "SHA1 FULL_OBJECT", sseKMS(testKeyARN))
	copyOf("copy-large", "SHA256large", "SHA256 FULL_OBJECT", sseKMS(testKeyARN))
	copyOf("copy-upload", "uploadSHA256", "SHA256 COMPOSITE", sseKMS(testKeyARN))
	copyOf("copy-sealed-anew", "uploadSHA256", "CRC32C FULL_OBJECT", hdr{"x-amz-checksum-algorithm": "CRC32C"})
	copyOf("copy-layers", "s3large", "CRC64NVME FULL_OBJECT", dsse(testKeyARN))
	copyOf("MD5large", "MD5large", "MD5 FULL_OBJECT", sseKMS(testKeyARN))
}

// TestListOfUnnamedChecksums: an envelope from before envelopes named their checksum shows none, whatever the store says of the
// ciphertext's.
func TestListOfUnnamedChecksums(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	k.mustDo(t, "PUT", "/bkt/k", nil, noise(1, inlineLimit+1))
	u.Mutate("bkt", "k", func(s *proxytest.Stored) {
		env := envelopeOfStored(t, s.Header)
		kek, _ := sse.KeyFrom(k.root.kek.Bytes())
		at := objects.Binding("bkt", "k", env.Mode)
		keys, facts, err := env.Open(kek, sse.Key{}, at)
		if err != nil || facts != nil || env.ChecksumAlgorithm != sse.CRC64NVME {
			t.Fatalf("%+v, %v", env, err)
		}
		env.ChecksumAlgorithm = 0
		service, _ := sse.KeyFrom(k.root.service.Bytes())
		if err := env.Seal(keys, sse.KEKs{Inner: kek, Outer: sse.Key{}}, sse.ServiceKey{ID: k.root.serviceID, Key: service}, at, nil, nil); err != nil {
			t.Fatal(err)
		}
		text, _ := env.MarshalText()
		s.Header.Set(s3.HeaderEnvelope, string(text))
	})
	for name, target := range listTargets("bkt") {
		_, doc := k.mustDo(t, "GET", target, nil, nil)
		if got := kindsListed(t, doc); got["k"] != "" || len(got) != 1 {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := k.kindOfHead(t, "/bkt/k", nil); got != "CRC64NVME FULL_OBJECT" {
		t.Errorf("HEAD: %q", got)
	}
}
