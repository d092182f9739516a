package embedded

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"sort"
	"strings"
	"testing"

	"waxseal/proxy/s3"
)

// model is what a versioned bucket should have, kept in the simplest way.
type model struct {
	versioning string
	keys       map[string][]modelVersion // newest first
}

type modelVersion struct {
	id, body string
	marker   bool
}

func (m *model) put(key string, v modelVersion) {
	if m.versioning != versioningEnabled {
		v.id = "null"
		m.keys[key] = slices.DeleteFunc(slices.Clone(m.keys[key]), func(v modelVersion) bool { return v.id == "null" })
	}
	m.keys[key] = append([]modelVersion{v}, m.keys[key]...)
}

func (m *model) remove(key, id string) {
	if m.keys[key] = slices.DeleteFunc(slices.Clone(m.keys[key]), func(v modelVersion) bool { return v.id == id }); len(m.keys[key]) == 0 {
		delete(m.keys, key)
	}
}

func (m *model) sorted() []string {
	var keys []string
	for k := range m.keys {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// list is a listing without pages: keys or versions, and common prefixes, each once, in order.
func (m *model) list(prefix, delimiter string, versions bool) (lines []string) {
	seen := map[string]bool{}
	for _, key := range m.sorted() {
		if !strings.HasPrefix(key, prefix) || !versions && m.keys[key][0].marker {
			continue
		}
		if i := strings.Index(key[len(prefix):], delimiter); delimiter != "" && i >= 0 {
			if common := key[:len(prefix)+i+len(delimiter)]; !seen[common] {
				seen[common] = true
				lines = append(lines, "prefix "+common)
			}
			continue
		}
		if !versions {
			lines = append(lines, "key "+key)
			continue
		}
		for i, v := range m.keys[key] {
			lines = append(lines, fmt.Sprintf("version %s %s marker=%v latest=%v", key, v.id, v.marker, i == 0))
		}
	}
	return lines
}

var modelKeys = []string{"a", "a/", "a/b", "a/b/c", "a//", "a//b", ".", "..", "../x", "/", "//", "a\x00", "a\x00b", "a\x01", "b", "\u00e4", "\ufffe", "\U0001f600", "z/" + strings.Repeat("k", 1000), "a b+c%20", "a?x=y", "a.b", "a-b"}

// TestModel holds the store against the model: puts, deletes, deletes of versions, changes of the versioning, and after
// each change reads and listings with random prefixes, delimiters and page sizes.
func TestModel(t *testing.T) {
	onBoth(t, Config{}, func(k *kit) {
		rnd := rand.New(rand.NewPCG(1, 2))
		k.want("200", "PUT", "bkt", "")
		m := &model{keys: map[string][]modelVersion{}}
		for step := range 600 {
			key := modelKeys[rnd.IntN(len(modelKeys))]
			switch n := rnd.IntN(20); {
			case n == 0 && step > 50:
				m.versioning = []string{versioningEnabled, versioningEnabled, versioningSuspended}[rnd.IntN(3)]
				k.setVersioning("bkt", m.versioning)
			case n < 11:
				k.modelPut(m, key, rnd.IntN(40_000))
			case n < 15 || len(m.keys[key]) == 0:
				k.modelDelete(m, key)
			default:
				v := m.keys[key][rnd.IntN(len(m.keys[key]))]
				if m.versioning != "" {
					k.sendOwner("204", "DELETE", key, "versionId="+v.id, "")
					m.remove(key, v.id)
				}
			}
			k.modelRead(m, key)
			if step%4 == 0 {
				k.modelList(m, rnd)
			}
		}
	})
}

func (k *kit) sendOwner(want, method, key, query, body string) reply {
	k.t.Helper()
	r := k.send(AsOwner(k.t.Context()), method, "bkt", key, query, body)
	if fmt.Sprint(r.status) != want {
		k.t.Fatalf("%s %q ?%s: %d %s, want %s", method, key, query, r.status, r.body, want)
	}
	return r
}

func (k *kit) modelPut(m *model, key string, size int) {
	k.t.Helper()
	body := strings.Repeat("x", size) + fmt.Sprint(rand.Uint64())
	r := k.sendOwner("200", "PUT", key, "", body)
	m.put(key, modelVersion{id: r.header.Get("X-Amz-Version-Id"), body: body})
}

func (k *kit) modelDelete(m *model, key string) {
	k.t.Helper()
	r := k.sendOwner("204", "DELETE", key, "", "")
	if m.versioning == "" {
		m.remove(key, "null")
		return
	}
	m.put(key, modelVersion{id: r.header.Get("X-Amz-Version-Id"), marker: true})
}

func (k *kit) modelRead(m *model, key string) {
	k.t.Helper()
	all := m.keys[key]
	if len(all) == 0 || all[0].marker {
		k.sendOwner("404", "GET", key, "", "")
	} else if r := k.sendOwner("200", "GET", key, "", ""); r.body != all[0].body {
		k.t.Fatalf("%q: another body, of %d bytes", key, len(r.body))
	}
	for _, v := range all {
		if m.versioning == "" {
			break
		}
		if v.marker {
			k.sendOwner("405", "GET", key, "versionId="+v.id, "")
		} else if r := k.sendOwner("200", "GET", key, "versionId="+v.id, ""); r.body != v.body {
			k.t.Fatalf("%q %s: another body", key, v.id)
		}
	}
}

func (k *kit) modelList(m *model, rnd *rand.Rand) {
	k.t.Helper()
	prefix := []string{"", "a", "a/", "a\x00", "/", ".", "z/"}[rnd.IntN(7)]
	delimiter := []string{"", "/", "//", "b", "\x00", "/b", "\ufffe"}[rnd.IntN(7)]
	limit := 1 + rnd.IntN(5)
	for _, test := range []struct {
		kind string
		list func(prefix, delimiter string, limit int) []string
	}{{"v2", k.listV2}, {"v1", k.listV1}, {"versions", k.listVersions}} {
		got, want := test.list(prefix, delimiter, limit), m.list(prefix, delimiter, test.kind == "versions")
		if test.kind == "versions" && m.versioning == "" {
			for i := range want {
				want[i] = strings.Replace(want[i], "  marker", " null marker", 1)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			k.t.Fatalf("%s prefix %q delimiter %q by %d:\n got %q\nwant %q", test.kind, prefix, delimiter, limit, got, want)
		}
	}
}

func plain(k *kit, text string) string {
	s, err := url.QueryUnescape(text)
	if err != nil {
		k.t.Fatal(err)
	}
	return s
}

func lines(k *kit, objects []s3.Object, prefixes []s3.CommonPrefix) (all []string) {
	for _, o := range objects {
		all = append(all, "key "+plain(k, o.Key))
	}
	for _, p := range prefixes {
		all = append(all, "prefix "+plain(k, p.Prefix))
	}
	return all
}

func (k *kit) page(query string, limit int, prefix, delimiter string, into any) {
	k.t.Helper()
	q := fmt.Sprintf("%s&max-keys=%d&prefix=%s&delimiter=%s&encoding-type=url", query, limit, url.QueryEscape(prefix), url.QueryEscape(delimiter))
	k.decode(k.sendOwner("200", "GET", "", q, ""), into)
}

func (k *kit) listV2(prefix, delimiter string, limit int) (all []string) {
	for token := ""; ; {
		var page s3.ListBucketResultV2
		query := "list-type=2"
		if token != "" {
			query += "&continuation-token=" + url.QueryEscape(token)
		}
		k.page(query, limit, prefix, delimiter, &page)
		all = append(all, lines(k, page.Contents, page.CommonPrefixes)...)
		if page.KeyCount > limit || page.IsTruncated && page.KeyCount == 0 {
			k.t.Fatalf("a page of %d, limit %d", page.KeyCount, limit)
		}
		if token = page.NextContinuationToken; !page.IsTruncated {
			return all
		}
	}
}

func (k *kit) listV1(prefix, delimiter string, limit int) (all []string) {
	for marker := ""; ; {
		var page s3.ListBucketResult
		k.page("marker="+url.QueryEscape(marker), limit, prefix, delimiter, &page)
		all = append(all, lines(k, page.Contents, page.CommonPrefixes)...)
		if !page.IsTruncated {
			return all
		}
		if marker = plain(k, page.NextMarker); marker == "" {
			marker = plain(k, page.Contents[len(page.Contents)-1].Key)
		}
	}
}

func (k *kit) listVersions(prefix, delimiter string, limit int) (all []string) {
	for keyMarker, idMarker := "", ""; ; {
		var page s3.ListVersionsResult
		k.page("versions&key-marker="+url.QueryEscape(keyMarker)+"&version-id-marker="+idMarker, limit, prefix, delimiter, &page)
		for _, v := range page.Entries {
			all = append(all, fmt.Sprintf("version %s %s marker=%v latest=%v", plain(k, v.Key), v.VersionID, v.DeleteMarker, v.IsLatest))
		}
		all = append(all, lines(k, nil, page.CommonPrefixes)...)
		if !page.IsTruncated {
			return all
		}
		keyMarker, idMarker = plain(k, page.NextKeyMarker), page.NextVersionIDMarker
	}
}
