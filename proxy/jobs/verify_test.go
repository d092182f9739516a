package jobs

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"

	"waxseal/proxy/proxytest"
)

func TestVerify(t *testing.T) {
	b := newKit(t, proxytest.Options{})
	big := make([]byte, 3<<20)
	rand.Read(big)
	for i := range 5 {
		b.put(fmt.Sprint("good", i), big[:i*100_000], nil)
	}
	b.put("late", big, nil)
	b.put("early", []byte("small"), nil)
	b.put("lost", []byte("x"), nil)
	b.put("c", []byte("a client's"), customer(t))
	b.plain("old", []byte("in the clear"))
	if err := b.job().verifyAll(); err != nil {
		t.Fatal(err)
	}
	b.store.Mutate(jobBucket, "late", func(o *proxytest.Stored) { o.Body[2<<20] ^= 1 })
	b.store.Mutate(jobBucket, "early", func(o *proxytest.Stored) { o.Body[50] ^= 1 })
	b.store.Mutate(jobBucket, "lost", func(o *proxytest.Stored) { o.Header.Set("X-Amz-Meta-Waxseal", "AAAA") })
	err := b.job().verifyAll()
	if err == nil || err.Error() != "3 of 10 objects failed" {
		t.Errorf("verify says %v", err)
	}
	b.wantOut("FAILED  late: breaks off after ", "FAILED  early: The stored object failed authentication", "FAILED  lost: ",
		"10 objects: 5 opened, 1 not encrypted, 1 SSE-C, not opened")
}

func (j *Job) verifyAll() error {
	if err := j.each(context.Background(), noBookmark(), j.verify); err != nil {
		return err
	}
	return j.summary(opened, inTheClear, customerKey, gone)
}
