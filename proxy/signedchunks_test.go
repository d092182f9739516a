package proxy

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"waxseal/proxy/s3"
)

// signedUpload is the head of a PUT whose body is one signed chunk of size bytes, the chunk's head, and the end of the
// body; data is what the chunk's signature is over.
func (k *kit) signedUpload(target string, size int, data io.Reader) (head, end string) {
	head = k.head("PUT", target, map[string]string{"X-Amz-Content-Sha256": s3.StreamingPayload,
		"X-Amz-Decoded-Content-Length": fmt.Sprint(size), "Content-Encoding": "aws-chunked"})
	seed := regexp.MustCompile(`Signature=([0-9a-f]{64})`).FindStringSubmatch(head)[1]
	date := regexp.MustCompile(`X-Amz-Date: (\S+)`).FindStringSubmatch(head)[1]
	scope := date[:8] + "/us-east-1/s3/aws4_request"
	sum := sha256.New()
	if _, err := io.CopyN(sum, data, int64(size)); err != nil {
		panic(err)
	}
	none := sha256.Sum256(nil)
	sign := func(previous string, sum []byte) string {
		return sigV4Text(date[:8], "AWS4-HMAC-SHA256-PAYLOAD\n"+date+"\n"+scope+"\n"+previous+"\n"+hex.EncodeToString(none[:])+"\n"+hex.EncodeToString(sum))
	}
	first := sign(seed, sum.Sum(nil))
	begin := fmt.Sprintf("%x;chunk-signature=%s\r\n", size, first)
	end = "\r\n0;chunk-signature=" + sign(first, none[:]) + "\r\n\r\n"
	return head + length(len(begin)+size+len(end)) + begin, end
}

func sigV4Text(day, text string) string {
	key := []byte("AWS4" + testSecret)
	for _, step := range []string{day, "us-east-1", "s3", "aws4_request", text} {
		h := hmac.New(sha256.New, key)
		io.WriteString(h, step)
		key = h.Sum(nil)
	}
	return hex.EncodeToString(key)
}

// TestAlteredSignedChunk: whatever went up of a chunk that is not what was signed, no object comes of it, at a store with
// trailers and at one without.
func TestAlteredSignedChunk(t *testing.T) {
	for _, plain := range []bool{false, true} {
		k, up := memoryKit(t, nil)
		caps := k.server.up.Capabilities()
		caps.Trailers = !plain
		k.server.up.Assume(caps)
		bucket := k.bucket(t)
		for _, size := range []int{1000, inlineLimit, 8 << 20} {
			data := string(noise(uint64(size), size))
			for name, altered := range map[string]string{"": data, "first": "#" + data[1:], "last": data[:size-1] + "#"} {
				key := fmt.Sprintf("object-%d-%s", size, name)
				head, end := k.signedUpload("/"+bucket+"/"+key, size, strings.NewReader(data))
				c := k.dial(t)
				go io.WriteString(c.Conn, head+altered+end)
				resp, body := c.answer("PUT")
				if name == "" && resp.StatusCode != http.StatusOK {
					t.Fatalf("%d bytes: %s %s", size, resp.Status, body)
				}
				_, there := up.Object(bucket, key)
				if name != "" {
					wantError(t, resp, body, http.StatusForbidden, s3.SignatureDoesNotMatch)
				}
				if there != (name == "") {
					t.Errorf("%d bytes, %s: object %v", size, name, there)
				}
			}
		}
	}
}

// TestSignedChunksInMemory: signed chunks of any size take no more memory than other bodies.
func TestSignedChunksInMemory(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector has memory of its own")
	}
	const uploads, size, limit = 40, 16 << 20, 128 << 20
	store := httptest.NewServer(&nullStore{dir: t.TempDir()})
	defer store.Close()
	child := startChild(t, t.TempDir(), store.URL)
	head, end := child.kit.signedUpload("/bucket/object", size, zeros{})
	each(t, uploads, func(int) error {
		c, err := net.Dial("tcp", child.kit.endpoint)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Minute))
		go io.Copy(c, io.MultiReader(strings.NewReader(head), io.LimitReader(zeros{}, size), strings.NewReader(end)))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = errors.New(resp.Status)
		}
		return err
	})
	peak := child.peak(t)
	t.Logf("%d MiB resident at most", peak>>20)
	if peak > limit {
		t.Errorf("%d uploads with chunks of %d MiB take %d MiB", uploads, size>>20, peak>>20)
	}
}
