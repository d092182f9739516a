package embedded

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/tags"
	"github.com/versity/versitygw/backend/posix"
)

const childDir = "WAXSEAL_TEST_STORE_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child writes to a store until it is killed, and says on standard output what was acknowledged.
func child(dir string) error {
	s, err := Start(context.Background(), Config{Dir: dir})
	if err != nil {
		return err
	}
	t := new(testing.T) // only for client's Fatal on a malformed endpoint
	c := client(t, s)
	var wg sync.WaitGroup
	errs := make(chan error, 4)
	for w := range 4 {
		wg.Go(func() { errs <- writeForever(c, w) })
	}
	wg.Wait()
	return <-errs
}

func writeForever(c *minio.Core, worker int) error {
	ctx := context.Background()
	for i := 0; ; i++ {
		key := fmt.Sprintf("w%d/d%d/k%d", worker, i%3, i%7)
		data := bytes.Repeat([]byte{byte(rand.Uint32()), byte(i), byte(worker)}, 1+rand.IntN(200000))
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		bucket := []string{"plain", "versioned"}[i%2]
		fmt.Printf("try %s %s %s\n", bucket, key, sum)
		version, err := writeOne(ctx, c, bucket, key, sum, data, i%5 == 0)
		if err != nil {
			return err
		}
		fmt.Printf("ack %s %s %s %s\n", bucket, key, sum, version)
	}
}

func writeOne(ctx context.Context, c *minio.Core, bucket, key, sum string, data []byte, multipart bool) (string, error) {
	opts := minio.PutObjectOptions{DisableMultipart: true, UserMetadata: map[string]string{"Waxseal": sum}}
	if !multipart {
		info, err := c.Client.PutObject(ctx, bucket, key, bytes.NewReader(data), int64(len(data)), opts)
		return info.VersionID, err
	}
	id, err := c.NewMultipartUpload(ctx, bucket, key, opts)
	if err != nil {
		return "", err
	}
	part, err := c.PutObjectPart(ctx, bucket, key, id, 1, bytes.NewReader(data), int64(len(data)), minio.PutObjectPartOptions{})
	if err != nil {
		return "", err
	}
	info, err := c.CompleteMultipartUpload(ctx, bucket, key, id, []minio.CompletePart{{PartNumber: 1, ETag: part.ETag}}, opts)
	return info.VersionID, err
}

// TestKillLosesNothing kills a writing process again and again. What was acknowledged is there, every version of it,
// and everything that is listed is whole: bytes and metadata of one and the same write.
func TestKillLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	dir := t.TempDir()
	s, c := start(t, dir)
	makeBucket(t, c, "plain")
	makeBucket(t, c, "versioned")
	if err := c.EnableVersioning(context.Background(), "versioned"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	j := &journal{last: map[string]string{}, tried: map[string]bool{}, versions: map[string]string{}}
	for round := range rounds {
		j.killRound(t, dir, 40+100*round)
	}
	_, c = start(t, dir)
	j.check(t, c)
	if len(j.last) < 10 || len(j.versions) < 10 {
		t.Errorf("only %d objects and %d versions were acknowledged", len(j.last), len(j.versions))
	}
}

// journal is what a child said.
type journal struct {
	last     map[string]string // bucket/key -> sum of the last acknowledged write
	tried    map[string]bool   // sums sent, acknowledged or not
	versions map[string]string // bucket/key?version -> sum
}

func (j *journal) killRound(t *testing.T, dir string, lines int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	for n := 0; ; n++ {
		if n == lines {
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		line, err := r.ReadString('\n')
		if err != nil {
			break
		}
		j.note(strings.Fields(line))
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
}

func (j *journal) note(f []string) {
	name := f[1] + "/" + f[2]
	if f[0] == "try" {
		j.tried[f[3]] = true
		return
	}
	j.last[name] = f[3]
	if len(f) > 4 {
		j.versions[name+"?"+f[4]] = f[3]
	}
}

func (j *journal) check(t *testing.T, c *minio.Core) {
	t.Helper()
	listed := map[string]bool{}
	for _, bucket := range []string{"plain", "versioned"} {
		for o := range c.Client.ListObjects(bucketContext(t), bucket, minio.ListObjectsOptions{Recursive: true}) {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			listed[bucket+"/"+o.Key] = true
			if sum := readSum(t, c, bucket, o.Key, ""); !j.tried[sum] {
				t.Errorf("%s/%s holds what nobody wrote", bucket, o.Key)
			}
		}
	}
	for name := range j.last {
		if !listed[name] {
			t.Errorf("%s was acknowledged and is gone", name)
		}
	}
	for name, want := range j.versions {
		path, version, _ := strings.Cut(name, "?")
		bucket, key, _ := strings.Cut(path, "/")
		if got := readSum(t, c, bucket, key, version); got != want {
			t.Errorf("%s was acknowledged as %s and is %s", name, want, got)
		}
	}
}

// readSum reads an object and is the hash of its bytes, which must be the one in its metadata.
func readSum(t *testing.T, c *minio.Core, bucket, key, version string) string {
	t.Helper()
	r, info, _, err := c.GetObject(context.Background(), bucket, key, minio.GetObjectOptions{VersionID: version})
	if err != nil {
		t.Errorf("get %s/%s %s: %v", bucket, key, version, err)
		return ""
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Errorf("read %s/%s: %v", bucket, key, err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(data))
	if meta := info.UserMetadata["Waxseal"]; meta != sum {
		t.Errorf("%s/%s has bytes %s under the metadata of %s", bucket, key, sum, meta)
	}
	return sum
}

// TestRecovery makes by hand what a kill at the worst moments leaves.
func TestRecovery(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	s, c := start(t, dir)
	makeBucket(t, c, "photos")
	put(t, c, "photos", "src", random(t, 5<<20))
	id, parts := upload(t, c, "photos", "big", "src")
	uploads := layout{data: filepath.Join(dir, "data")}.uploads("photos", "big")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// Complete renamed the upload and went no further; CreateBucket made a directory and no more; a PUT was staged.
	rename(t, filepath.Join(uploads, id), filepath.Join(uploads, id+".e-2.inprogress"))
	if err := os.Mkdir(filepath.Join(dir, "data", "half"), 0o700); err != nil {
		t.Fatal(err)
	}
	staged := filepath.Join(dir, "data", "photos", posix.MetaTmpDir, "staged")
	if err := os.WriteFile(staged, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}

	s, c = start(t, dir)
	if exists(staged) {
		t.Error("a staged file stays")
	}
	makeBucket(t, c, "half")
	if _, err := c.CompleteMultipartUpload(ctx, "photos", "big", id, parts, minio.PutObjectOptions{}); err != nil {
		t.Fatalf("the upload cannot be completed any more: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// Complete made the object and did not get to remove the parts.
	if err := os.MkdirAll(filepath.Join(uploads, id+".e-2.inprogress"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := (attributes{}).XattrMeta.StoreAttribute(nil, uploads, "", "objname", []byte("big")); err != nil {
		t.Fatal(err)
	}
	_, c = start(t, dir)
	up, err := c.ListMultipartUploads(ctx, "photos", "", "", "", "", 10)
	if err != nil || len(up.Uploads) != 0 {
		t.Errorf("uploads %v, %v", up.Uploads, err)
	}
	if got := get(t, c, "photos", "big", minio.GetObjectOptions{}); len(got) != 5<<20+4 {
		t.Errorf("%d bytes", len(got))
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// TestSyncsBeforeAcknowledgement names, for every kind of change, what must be on disk before the answer.
func TestSyncsBeforeAcknowledgement(t *testing.T) {
	dir := t.TempDir()
	s, c := start(t, dir)
	ctx := context.Background()
	var mu sync.Mutex
	var seen []string
	s.sync.observe = func(path string) error {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, path)
		return nil
	}
	data := filepath.Join(dir, "data")
	var id string
	var part minio.ObjectPart
	steps := []struct {
		name string
		do   func() error
		want []string // below data/; in this order, others between
	}{
		{"CreateBucket", func() error { return c.MakeBucket(ctx, "bkt", minio.MakeBucketOptions{}) }, []string{"bkt", "."}},
		{"PutObject", func() error { _, err := putRaw(c, "bkt", "x/y/k", "v"); return err },
			[]string{"bkt/.sgwtmp/*", "bkt/x/y/k", "bkt/x/y", "bkt/x", "bkt"}},
		{"PutObjectTagging", func() error { return tag(c, "bkt", "x/y/k") }, []string{"bkt/x/y/k"}},
		{"CopyObject", func() error {
			_, err := c.CopyObject(ctx, "bkt", "x/y/k", "bkt", "z/copy", nil, minio.CopySrcOptions{}, minio.PutObjectOptions{})
			return err
		}, []string{"bkt/.sgwtmp/*", "bkt/z/copy", "bkt/z", "bkt"}},
		{"CreateMultipartUpload", func() (err error) {
			id, err = c.NewMultipartUpload(ctx, "bkt", "m", minio.PutObjectOptions{})
			return err
		}, []string{"bkt/.sgwtmp/multipart/*/*", "bkt/.sgwtmp/multipart/*", "bkt/.sgwtmp/multipart", "bkt/.sgwtmp", "bkt"}},
		{"UploadPart", func() (err error) {
			part, err = c.PutObjectPart(ctx, "bkt", "m", id, 1, strings.NewReader("v"), 1, minio.PutObjectPartOptions{})
			return err
		}, []string{"bkt/.sgwtmp/multipart/*/*", "bkt/.sgwtmp/multipart/*/*/1", "bkt/.sgwtmp/multipart/*/*"}},
		{"UploadPartCopy", func() error {
			_, err := c.CopyObjectPart(ctx, "bkt", "x/y/k", "bkt", "m", id, 2, 0, -1, nil)
			return err
		}, []string{"bkt/.sgwtmp/multipart/*/*", "bkt/.sgwtmp/multipart/*/*/2", "bkt/.sgwtmp/multipart/*/*"}},
		{"CompleteMultipartUpload", func() error {
			_, err := c.CompleteMultipartUpload(ctx, "bkt", "m", id,
				[]minio.CompletePart{{PartNumber: 1, ETag: part.ETag}}, minio.PutObjectOptions{})
			return err
		}, []string{"bkt/.sgwtmp/*", "bkt/m", "bkt", "bkt/.sgwtmp/multipart"}},
		{"PutBucketVersioning", func() error { return c.EnableVersioning(ctx, "bkt") }, []string{"bkt"}},
		{"PutObject over a version", func() error { _, err := putRaw(c, "bkt", "m", "w"); return err },
			[]string{"../versions/bkt/.sgwtmp/*", "bkt/.sgwtmp/*", "../versions/bkt/*/*/*/*", "../versions/bkt", "../versions", "bkt/m", "bkt"}},
		{"DeleteObject, a marker", func() error { return c.RemoveObject(ctx, "bkt", "m", minio.RemoveObjectOptions{}) },
			[]string{"../versions/bkt/.sgwtmp/*", "../versions/bkt/*/*/*/*", "bkt/m"}},
		{"DeleteObject", func() error { return c.RemoveObject(ctx, "bkt", "x/y/k", minio.RemoveObjectOptions{VersionID: "null"}) },
			[]string{"bkt"}},
	}
	for _, step := range steps {
		seen = nil
		before := s.Syncs()
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := s.Syncs() - before; got != int64(len(seen)) || got == 0 {
			t.Errorf("%s: %d syncs counted, %d seen", step.name, got, len(seen))
		}
		if missing := firstMissing(data, seen, step.want); missing != "" {
			t.Errorf("%s: %s was not synced in its turn; synced were\n\t%s", step.name, missing, strings.Join(seen, "\n\t"))
		}
	}
}

func firstMissing(base string, seen, want []string) string {
	for _, path := range seen {
		if len(want) == 0 {
			break
		}
		if !filepath.IsAbs(path) { // staged files are opened by a path from the working directory
			path = filepath.Join(base, path)
		}
		if ok, err := filepath.Match(filepath.Join(base, want[0]), path); err == nil && ok {
			want = want[1:]
		}
	}
	if len(want) > 0 {
		return want[0]
	}
	return ""
}

func putRaw(c *minio.Core, bucket, key, data string) (minio.UploadInfo, error) {
	return c.PutObject(context.Background(), bucket, key, strings.NewReader(data), int64(len(data)), "", "", minio.PutObjectOptions{})
}

func tag(c *minio.Core, bucket, key string) error {
	set, err := tags.NewTags(map[string]string{"a": "b"}, true)
	if err != nil {
		return err
	}
	return c.PutObjectTagging(context.Background(), bucket, key, set, minio.PutObjectTaggingOptions{})
}

// TestWritersTakeTurns lets writers, deleters and copiers of one name run into each other: whatever is there
// afterwards is whole.
func TestWritersTakeTurns(t *testing.T) {
	if testing.Short() {
		t.Skip("long: crashes, faults, races")
	}
	_, c := start(t, t.TempDir())
	makeBucket(t, c, "versioned")
	if err := c.EnableVersioning(context.Background(), "versioned"); err != nil {
		t.Fatal(err)
	}
	acked := make(chan [2]string, 1000)
	var wg sync.WaitGroup
	deadline := time.Now().Add(700 * time.Millisecond)
	for w := range 6 {
		wg.Go(func() {
			for i := 0; time.Now().Before(deadline); i++ {
				if w == 0 {
					_ = c.RemoveObject(context.Background(), "versioned", "k", minio.RemoveObjectOptions{})
					continue
				}
				data := bytes.Repeat([]byte{byte(w), byte(i)}, 1000*w)
				sum := fmt.Sprintf("%x", sha256.Sum256(data))
				version, err := writeOne(context.Background(), c, "versioned", "k", sum, data, w > 3)
				if err == nil {
					acked <- [2]string{version, sum}
				}
			}
		})
	}
	wg.Wait()
	close(acked)
	n := 0
	for a := range acked {
		n++
		if got := readSum(t, c, "versioned", "k", a[0]); got != a[1] {
			t.Errorf("version %s was acknowledged as %s and is %s", a[0], a[1], got)
		}
	}
	if n < 10 {
		t.Errorf("only %d writes were acknowledged", n)
	}
}
