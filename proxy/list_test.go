package proxy

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waxseal/keystore/iam"
	"waxseal/proxy/proxytest"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// overMemory is a proxy in front of a store in memory with a bucket named bkt. Its clock is far behind, so that no
// object is too young for the cache.
func overMemory(t testing.TB, options proxytest.Options, change func(*Config)) (*kit, *proxytest.Upstream) {
	t.Helper()
	if options.Now == nil {
		old := time.Now().Add(-time.Hour)
		options.Now = func() time.Time { return old }
	}
	u, endpoint := proxytest.StartUpstream(t, options, "bkt")
	return start(t, store.Config{Endpoint: endpoint, AccessKey: "own", SecretKey: "own-secret"}, change), u
}

// listTargets are the three ways to list a bucket.
func listTargets(bucket string) map[string]string {
	return map[string]string{
		"V1": "/" + bucket + "?encoding-type=url", "V2": "/" + bucket + "?list-type=2&encoding-type=url",
		"versions": "/" + bucket + "?versions&encoding-type=url",
	}
}

type listed struct {
	key, etag string
	size      int64
}

func entriesOf(t testing.TB, doc []byte) []listed {
	t.Helper()
	page, err := s3.ParseListing(doc)
	if err != nil {
		t.Fatalf("%v\n%s", err, doc)
	}
	var all []listed
	for _, e := range page.Entries {
		if e.Kind != s3.KindDeleteMarker {
			all = append(all, listed{e.Key, s3.Unquote(e.ETag), e.Size})
		}
	}
	return all
}

// TestListShowsWhatHeadShows lists objects of every mode and shape with every call, cold and warm.
func TestListShowsWhatHeadShows(t *testing.T) {
	forEachStore(t, func(t *testing.T, up store.Config) {
		k := start(t, up, func(c *Config) { c.AllowInsecureSSEC = true })
		c, bucket := k.client(t), k.bucket(t)
		var want []listed
		for _, name := range []string{"SSE-C", "SSE-KMS", "SSE-S3"} {
			for _, size := range []int{0, 1000, inlineLimit + 5} {
				p := make([]byte, size)
				rand.Read(p)
				key := fmt.Sprintf("d/%s %07d+ü&", name, size)
				info := put(t, c, bucket, key, p, sides(t)[name])
				want = append(want, listed{key, info.ETag, int64(size)})
			}
		}
		for range 2 {
			for name, target := range listTargets(bucket) {
				_, doc := k.mustDo(t, "GET", target, nil, nil)
				if got := entriesOf(t, doc); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s:\n%v\nwant\n%v", name, got, want)
				}
				if bytes.Contains(doc, []byte("axseal")) || bytes.Contains(doc, []byte("UserMetadata")) {
					t.Errorf("%s shows the envelope:\n%s", name, doc)
				}
			}
		}
	})
}

// TestListAsksOncePerObject counts the store's requests: none for what the page itself tells, one for the rest, and
// none when it was seen before.
func TestListAsksOncePerObject(t *testing.T) {
	for _, metadata := range []bool{false, true} {
		k, u := overMemory(t, proxytest.Options{ListMetadata: metadata}, nil)
		for i := range 40 {
			put(t, k.client(t), "bkt", fmt.Sprintf("k%02d", i), make([]byte, 10), nil)
		}
		put(t, k.client(t), "bkt", "large", make([]byte, inlineLimit+1), nil) // has a manifest
		looks := func(target string) int {
			u.ClearRequests()
			k.mustDo(t, "GET", target, nil, nil)
			return count(u.Operations(), "GetObject")
		}
		cold := 41
		if metadata {
			cold = 1
		}
		if n := looks("/bkt?list-type=2"); n != cold {
			t.Errorf("metadata %v: %d looks for a cold page, want %d", metadata, n, cold)
		}
		if n := looks("/bkt"); n != 0 {
			t.Errorf("metadata %v: %d looks for a warm page", metadata, n)
		}
	}
}

// TestListAsksForMetadataOnlyWhereItTells: MinIO's metadata costs it more than the page itself. A prefix whose objects
// were all known is listed without; a page that turns out to have many others is asked for once more, with it.
func TestListAsksForMetadataOnlyWhereItTells(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{ListMetadata: true}, nil)
	n := 0
	add := func(prefix string, more int) {
		for range more {
			put(t, k.client(t), "bkt", fmt.Sprintf("%s%03d", prefix, n), make([]byte, 10), nil)
			n++
		}
	}
	add("a/", looksPerList+8)
	const plain, full = "ListObjectsV2", "ListObjectsV2 with metadata"
	for _, step := range []struct {
		prefix string
		more   int
		want   []string
		looks  int
	}{
		{"a/", 0, []string{full}, 0},
		{"a/", 0, []string{full}, 0}, // it might have been the second page of many
		{"a/", 0, []string{plain}, 0},
		{"a/", 3, []string{plain}, 3},
		{"a/", looksPerList + 1, []string{plain, full}, 0},
		{"a/", 0, []string{full}, 0},
		{"a/", 0, []string{plain}, 0},
		{"b/", looksPerList + 1, []string{full}, 0},
		{"b/", 0, []string{full}, 0},
		{"b/", 0, []string{plain}, 0},
		{"a/", 0, []string{plain}, 0},
	} {
		add(step.prefix, step.more)
		u.ClearRequests()
		_, doc := k.mustDo(t, "GET", "/bkt?list-type=2&prefix="+step.prefix, nil, nil)
		for _, e := range entriesOf(t, doc) {
			if e.size != 10 {
				t.Errorf("%+v: %v", step, e)
			}
		}
		var got []string
		for _, r := range u.Requests() {
			switch {
			case r.Operation == plain && strings.Contains(r.URI, "metadata=true"):
				got = append(got, full)
			case r.Operation == plain:
				got = append(got, plain)
			}
		}
		if looks := count(u.Operations(), "GetObject"); !slices.Equal(got, step.want) || looks != step.looks {
			t.Errorf("%+v: %v and %d looks", step, got, looks)
		}
	}
}

// TestListSettles: what was young when a page told it is not asked for for ever once it is old.
func TestListSettles(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	k, u := overMemory(t, proxytest.Options{ListMetadata: true, Now: time.Now}, nil)
	for i := range looksPerList + 1 {
		put(t, k.client(t), "bkt", fmt.Sprint("k", i), nil, nil)
	}
	asksForMetadata := func() bool {
		u.ClearRequests()
		k.mustDo(t, "GET", "/bkt?list-type=2", nil, nil)
		return strings.Contains(u.Requests()[0].URI, "metadata=true")
	}
	if !asksForMetadata() {
		t.Fatal("the first page was asked for without metadata")
	}
	for deadline := time.Now().Add(10 * stableAge); asksForMetadata(); time.Sleep(stableAge / 10) {
		if time.Now().After(deadline) {
			t.Fatal("old objects are never stable")
		}
	}
}

// TestListCacheForgets: what is listed follows the object through a rewrite, a change of its envelope alone, and a
// change that the store hides.
func TestListCacheForgets(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	c := k.client(t)
	list := func() []listed {
		_, doc := k.mustDo(t, "GET", "/bkt?list-type=2", nil, nil)
		return entriesOf(t, doc)
	}
	put(t, c, "bkt", "k", []byte("one"), nil)
	list()
	info := put(t, c, "bkt", "k", []byte("three"), nil)
	if got := list(); len(got) != 1 || got[0] != (listed{"k", info.ETag, 5}) {
		t.Errorf("after a rewrite: %v", got)
	}
	// Another encryption in place: the store keeps the bytes, clients see another ETag or the same one, as HEAD says.
	k.mustDo(t, "PUT", "/bkt/k", map[string]string{"x-amz-copy-source": "/bkt/k", hdrSSE: algKMS, "x-amz-metadata-directive": "REPLACE"}, nil)
	head, _ := k.mustDo(t, "HEAD", "/bkt/k", nil, nil)
	if got := list(); len(got) != 1 || got[0] != (listed{"k", s3.Unquote(head.Header.Get("Etag")), 5}) {
		t.Errorf("after a rewrap: %v, HEAD says %s", got, head.Header.Get("Etag"))
	}
	u.Delete("bkt", "k")
	if got := list(); len(got) != 0 {
		t.Errorf("after a deletion: %v", got)
	}
}

// TestListYoungObjects: facts of an object that could still change unseen are not used again.
func TestListYoungObjects(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{Now: time.Now}, nil)
	put(t, k.client(t), "bkt", "k", []byte("x"), nil)
	for range 2 {
		u.ClearRequests()
		k.mustDo(t, "GET", "/bkt?list-type=2", nil, nil)
		if n := count(u.Operations(), "GetObject"); n != 1 {
			t.Errorf("%d looks at a young object", n)
		}
	}
}

// TestListNeverFillsFromAnotherName: two names with the same store ETag, size and time are two objects.
func TestListNeverFillsFromAnotherName(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, func(c *Config) { c.ReadThrough = []string{"bkt"} })
	put(t, k.client(t), "bkt", "sealed", []byte("hello"), nil)
	k.mustDo(t, "GET", "/bkt", nil, nil)
	s, _ := u.Object("bkt", "sealed")
	u.PutObject("bkt", "copied", s.Body, nil) // the ciphertext as a plaintext object
	_, doc := k.mustDo(t, "GET", "/bkt", nil, nil)
	got := entriesOf(t, doc)
	if got[0] != (listed{"copied", s.ETag, int64(len(s.Body))}) || got[1].size != 5 {
		t.Errorf("%v", got)
	}
}

// TestListSurvivesForeignObjects: one foreign, one tampered and one archived object do not hide the others.
func TestListSurvivesForeignObjects(t *testing.T) {
	for _, metadata := range []bool{false, true} {
		k, u := overMemory(t, proxytest.Options{ListMetadata: metadata}, nil)
		c := k.client(t)
		for _, key := range []string{"good", "tampered", "cut", "archived", "denied"} {
			put(t, c, "bkt", key, bytes.Repeat([]byte(key), 1<<20/len(key)+100), nil)
		}
		u.PutObject("bkt", "foreign", []byte("plaintext"), nil)
		u.Mutate("bkt", "tampered", func(s *proxytest.Stored) { s.Body[len(s.Body)-70] ^= 1 })
		u.Mutate("bkt", "cut", func(s *proxytest.Stored) { s.Body = s.Body[:3] })
		u.SetHook(func(op proxytest.Op) proxytest.Fault {
			switch {
			case op.Name == "GetObject" && op.Key == "archived":
				return proxytest.Fault{Early: s3.NewError(s3.InvalidObjectState)}
			case op.Name == "GetObject" && op.Key == "denied":
				return proxytest.Fault{Early: s3.NewError(s3.AccessDenied)}
			}
			return proxytest.Fault{}
		})
		_, doc := k.mustDo(t, "GET", "/bkt?list-type=2", nil, nil)
		for _, e := range entriesOf(t, doc) {
			s, _ := u.Object("bkt", e.key)
			switch asStored := e.size == int64(len(s.Body)) && e.etag == s.ETag; {
			case e.key == "good" && (asStored || e.size != 1<<20+400):
				t.Errorf("metadata %v: %v", metadata, e)
			case e.key != "good" && !asStored:
				t.Errorf("metadata %v: %v, stored %d %s", metadata, e, len(s.Body), s.ETag)
			}
		}
		for reason, n := range map[string]float64{"not_sealed": 1, "tampered": 2, "archived": 1, "denied": 1} {
			if got := counted(t, k, "waxseal_s3_listed_as_stored_total", reason); got != n {
				t.Errorf("metadata %v: %s counted %v times", metadata, reason, got)
			}
		}
	}
}

// TestListGoneMeanwhile leaves out what was deleted between the page and the look, and counts what is left.
func TestListGoneMeanwhile(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	for _, key := range []string{"a", "b", "c"} {
		put(t, k.client(t), "bkt", key, []byte("x"), nil)
	}
	u.SetHook(func(op proxytest.Op) proxytest.Fault {
		if op.Name == "GetObject" && op.Key == "b" {
			return proxytest.Fault{Early: s3.NewError(s3.NoSuchKey)}
		}
		return proxytest.Fault{}
	})
	_, doc := k.mustDo(t, "GET", "/bkt?list-type=2", nil, nil)
	if got := entriesOf(t, doc); len(got) != 2 || !strings.Contains(string(doc), "<KeyCount>2<") {
		t.Errorf("%s", doc)
	}
}

// TestListChangedMeanwhile takes everything about a changed object from one answer.
func TestListChangedMeanwhile(t *testing.T) {
	now := time.Now().Add(-time.Hour)
	k, u := overMemory(t, proxytest.Options{Now: func() time.Time { return now }}, nil)
	put(t, k.client(t), "bkt", "k", []byte("old"), nil)
	old, _ := u.Object("bkt", "k")
	now = now.Add(time.Minute)
	info := put(t, k.client(t), "bkt", "k", []byte("newer"), nil)
	u.SetHook(func(op proxytest.Op) proxytest.Fault {
		if op.Name != "ListObjectsV2" {
			return proxytest.Fault{}
		}
		return proxytest.Fault{Corrupt: func(body []byte) {
			s, _ := u.Object("bkt", "k")
			copy(body, bytes.Replace(body, []byte(s.ETag), []byte(old.ETag), 1))
			copy(body, bytes.Replace(body, []byte(s3.FormatTime(now)), []byte(s3.FormatTime(now.Add(-time.Minute))), 1))
		}}
	})
	_, doc := k.mustDo(t, "GET", "/bkt?list-type=2", nil, nil)
	if got := entriesOf(t, doc); len(got) != 1 || got[0] != (listed{"k", info.ETag, 5}) || !bytes.Contains(doc, []byte(s3.FormatTime(now.Truncate(time.Second)))) {
		t.Errorf("%s", doc)
	}
}

// TestListFailsWithTheStore: sizes that cannot be had are not guessed.
func TestListFailsWithTheStore(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	for i := range 50 {
		put(t, k.client(t), "bkt", fmt.Sprint(i), []byte("x"), nil)
	}
	u.SetHook(proxytest.Nth("GetObject", 0, proxytest.Fault{Early: s3.NewError(s3.ServiceUnavailable)}))
	resp, body := k.do(t, "GET", "/bkt", nil, nil)
	wantError(t, resp, body, 503, s3.ServiceUnavailable)
	resp, body = k.do(t, "GET", "/nobucket", nil, nil)
	wantError(t, resp, body, 404, s3.NoSuchBucket)
}

// TestListOwnCredentials: the list is asked for with the user's rights at the store, the facts with waxseal's.
func TestListOwnCredentials(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{ListMetadata: true, DenyListMetadata: true}, func(c *Config) {
		users, err := iam.NewDirectory([]iam.User{{Name: "alice", ARN: "arn:aws:iam::000000000000:user/alice", AccountID: "000000000000",
			AccessKey: testAccess, Secret: iam.NewSecret(testSecret), Everything: true, Upstream: &iam.Credentials{AccessKey: "alice-at-store", Secret: iam.NewSecret("s")}}})
		if err != nil {
			t.Fatal(err)
		}
		c.Users = users
	})
	put(t, k.client(t), "bkt", "k", []byte("x"), nil)
	u.ClearRequests()
	k.mustDo(t, "GET", "/bkt?list-type=2", nil, nil)
	want := map[string]string{"ListObjectsV2": "alice-at-store", "GetObject": "own"}
	for _, r := range u.Requests() {
		if r.AccessKey != want[r.Operation] {
			t.Errorf("%s as %s", r.Operation, r.AccessKey)
		}
	}
}

// TestListVersions shows each version's own facts and leaves delete markers alone.
func TestListVersions(t *testing.T) {
	k, u := overMemory(t, proxytest.Options{}, nil)
	u.SetVersioning("bkt", "Enabled")
	for _, p := range []string{"1", "22", "333"} {
		put(t, k.client(t), "bkt", "k", []byte(p), nil)
	}
	k.mustDo(t, "DELETE", "/bkt/k", nil, nil)
	_, doc := k.mustDo(t, "GET", "/bkt?versions", nil, nil)
	got := entriesOf(t, doc)
	if len(got) != 3 || got[0].size != 3 || got[1].size != 2 || got[2].size != 1 || !bytes.Contains(doc, []byte("<DeleteMarker>")) {
		t.Errorf("%v\n%s", got, doc)
	}
}

// TestListMetadataExtension gives MinIO's metadata to a client that asks for it, without the envelope.
func TestListMetadataExtension(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{ListMetadata: true}, nil)
	put(t, k.client(t), "bkt", "k", []byte("x"), nil)
	_, doc := k.mustDo(t, "GET", "/bkt?list-type=2&metadata=true", nil, nil)
	if !bytes.Contains(doc, []byte("<X-Amz-Meta-Color>red</X-Amz-Meta-Color>")) || bytes.Contains(doc, []byte("axseal")) {
		t.Errorf("%s", doc)
	}
}

// TestListLostServiceKey: facts that the service key vouched for are had from under the data keys.
func TestListLostServiceKey(t *testing.T) {
	for i := range 4 {
		k, _ := overMemory(t, proxytest.Options{ListMetadata: i%2 == 1}, nil)
		k.root.serviceID = serviceIDs[i/2]
		var want []listed
		for i := range 20 {
			size := 10 + i%2*inlineLimit
			info := put(t, k.client(t), "bkt", fmt.Sprintf("%02d", i), make([]byte, size), nil)
			want = append(want, listed{info.Key, info.ETag, int64(size)})
		}
		k.root.forget()
		_, doc := k.mustDo(t, "GET", "/bkt?list-type=2", nil, nil)
		if got := entriesOf(t, doc); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%v\nwant %v", got, want)
		}
	}
}

// TestListPages walks a bucket page by page, with a delimiter.
func TestListPages(t *testing.T) {
	k, _ := overMemory(t, proxytest.Options{}, nil)
	for _, key := range []string{"a", "d/1", "d/2", "e", "f"} {
		put(t, k.client(t), "bkt", key, []byte(key), nil)
	}
	var seen []string
	for token := ""; ; {
		target := "/bkt?list-type=2&max-keys=2&delimiter=%2F"
		if token != "" {
			target += "&continuation-token=" + s3.EscapeQuery(token)
		}
		_, doc := k.mustDo(t, "GET", target, nil, nil)
		page := reply[s3.ListBucketResultV2](t, doc)
		for _, o := range page.Contents {
			seen = append(seen, o.Key)
			if o.Size != int64(len(o.Key)) {
				t.Errorf("%+v", o)
			}
		}
		for _, p := range page.CommonPrefixes {
			seen = append(seen, p.Prefix)
		}
		if token = page.NextContinuationToken; token == "" {
			break
		}
	}
	if fmt.Sprint(seen) != "[a d/ e f]" {
		t.Error(seen)
	}
}

// BenchmarkList lists 1,000 objects: with the metadata in the page, from the cache, and with a look at each.
func BenchmarkList(b *testing.B) {
	for _, m := range []struct {
		name           string
		metadata, warm bool
	}{{"metadata", true, false}, {"warm", false, true}, {"cold", false, false}} {
		b.Run(m.name, func(b *testing.B) {
			k, _ := overMemory(b, proxytest.Options{ListMetadata: m.metadata}, nil)
			for i := range 1000 {
				if resp, body := k.do(b, http.MethodPut, fmt.Sprintf("/bkt/photos/2026/%04d.jpg", i), nil, []byte("x")); resp.StatusCode != 200 {
					b.Fatalf("%s", body)
				}
			}
			k.mustDo(b, "GET", "/bkt?list-type=2", nil, nil)
			for b.Loop() {
				if !m.warm {
					k.server.facts.lists.Purge()
				}
				k.mustDo(b, "GET", "/bkt?list-type=2", nil, nil)
			}
		})
	}
}

// counted is the value of a counter with one label.
func counted(t testing.TB, k *kit, name, label string) float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(k.server.metrics)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}
