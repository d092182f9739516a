package server

import (
	"bytes"
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"waxseal/keystore/local"
	"waxseal/keystore/state"
	"waxseal/keystore/usage"
	"waxseal/proxy/ledger"
)

// movedClock is a clock set by a test.
type movedClock struct{ by atomic.Int64 }

func (c *movedClock) now() time.Time { return time.Now().Add(time.Duration(c.by.Load())) }

func (c *movedClock) move(by time.Duration) { c.by.Store(int64(by)) }

func (c *chromium) signIn(url string, k *kit) {
	c.t.Helper()
	c.open(url)
	c.enter("//input[@name='access_key']", k.app.root.AccessKey)
	c.enter("//input[@name='secret_key']", k.app.root.SecretKey)
	c.follow("//button[.='Sign in']")
}

// TestConsoleInABrowser does the work of a person with only the console.
func TestConsoleInABrowser(t *testing.T) {
	c := startChromium(t)
	clock := new(movedClock)
	const day = 24 * time.Hour
	clock.move(-100 * day)
	store := func(conf *Config) { conf.ConsoleListen, conf.GuardKeyDeletion = "127.0.0.1:0", true }
	k, s := newConsoleKitWith(t, Substitutes{Now: clock.now}, store)
	forgotten := k.newKey()
	if _, err := k.app.KeyService.CreateAlias(context.Background(), rootCaller(), &local.CreateAliasRequest{AliasName: "alias/forgotten", TargetKeyId: forgotten}); err != nil {
		t.Fatal(err)
	}
	arn := k.newKey()
	if _, err := k.app.KeyService.CreateAlias(context.Background(), rootCaller(), &local.CreateAliasRequest{AliasName: "alias/archive", TargetKeyId: arn}); err != nil {
		t.Fatal(err)
	}
	clock.move(-day)
	k.put("salaries.ods", bytes.Repeat([]byte("x"), 250_000), kmsSide(t, arn))
	k.put("logo.png", bytes.Repeat([]byte("x"), 90_000), encrypt.NewSSE())
	k.read("salaries.ods")
	clock.move(0)
	k.store.PutObject(kitBucket, "left.txt", bytes.Repeat([]byte("x"), 30_000), http.Header{})
	k.walkWith(map[ledger.Holding]ledger.Sum{
		{Bucket: kitBucket, Mode: "aws:kms", Key: arn}: {Objects: 1, Bytes: 250_000},
		{Bucket: kitBucket, Mode: "AES256"}:            {Objects: 1, Bytes: 90_000},
		{Bucket: kitBucket, Mode: ledger.Plaintext}:    {Objects: 1, Bytes: 30_000},
	})

	if err := k.app.usage.Avoid(context.Background(), usage.MonthOf(time.Now()), 1_200_000); err != nil {
		t.Fatal(err)
	}

	c.show(1280, "light")
	c.open(s.URL)
	c.pictures("login")
	c.enter("//input[@name='access_key']", "AKIAWRONG")
	c.enter("//input[@name='secret_key']", "wrong")
	c.follow("//button[.='Sign in']")
	c.want("do not fit")
	c.signIn(s.URL, k)

	// A bucket with plaintext, the key unused for 90 days, this month's saving.
	c.want("Overview", "about $3.54 saved", "by Bucket Keys", "1 object", "1 bucket")
	if got := c.text("//section[h2='Buckets with plaintext']//td[1]"); got != kitBucket {
		t.Errorf("the bucket with plaintext is %q", got)
	}
	if got := c.text("//section[h2='Keys unused for 90 days']//tbody"); got == "" || !bytes.Contains([]byte(got), []byte("alias/forgotten")) || bytes.Contains([]byte(got), []byte("alias/archive")) {
		t.Errorf("unused keys are %q", got)
	}
	c.pictures("overview")
	c.follow("//section[h2='Buckets with plaintext']//a")
	c.want("Bucket photos", "plaintext", "30.0 kB")
	c.pictures("bucket")

	// Who decrypted an object yesterday?
	c.follow("//nav//a[.='Audit']")
	c.enter("//input[@name='event']", "Decrypt")
	c.enter("//input[@name='object']", "s3://photos/salaries.ods")
	c.follow("//button[.='Search']")
	c.want("root", "s3://photos/salaries.ods", "ok", time.Now().UTC().Add(-day).Format("2006-01-02"))
	c.pictures("audit")
	c.follow("//nav//a[.='Usage']")
	c.want("Without Bucket Keys")
	c.pictures("usage")

	// A key's life.
	c.follow("//nav//a[.='Keys']")
	c.want("alias/archive", "alias/forgotten", "24 hours ago", "never")
	c.pictures("keys")
	c.click("//summary[.='Create a key']")
	c.enter("//input[@name='alias']", "payroll")
	c.enter("//input[@name='description']", "Salaries & pensions <2026>")
	c.follow("//button[.='Create key']")
	c.want("The key was created", "alias/payroll", "Salaries & pensions <2026>")
	c.follow("//button[.='Disable']")
	c.want("The key is disabled")
	c.follow("//nav//a[.='Keys']")
	c.follow("//a[.='alias/archive']")
	c.want("Encrypted under this key", "s3://photos/salaries.ods", "root")
	c.follow("//button[.='Disable']")
	if _, _, _, err := k.core.GetObject(context.Background(), kitBucket, "salaries.ods", minio.GetObjectOptions{}); err == nil {
		t.Error("an object under the disabled key can be read")
	}
	c.open(s.URL + "/keys/" + keyID(arn))
	c.want("disabled")
	c.pictures("key")
	c.follow("//button[.='Enable']")
	c.want("The key is enabled")
	if got := k.read("salaries.ods"); len(got) != 250_000 {
		t.Errorf("%d bytes after the key was enabled", len(got))
	}
	c.click("//summary[.='Schedule deletion']")
	c.want("Up to 1 object (250.0 kB) are encrypted under this key")
	c.enter("//input[@name='confirm']", keyID(arn))
	c.follow("//button[.='Schedule deletion']")
	c.want("Refused: KMSInvalidStateException", "may be encrypted under it")
	c.pictures("refused")
	c.follow("//button[.='Sign out']")
	c.want("Sign in with an access key")
	c.open(s.URL + "/keys")
	c.want("Sign in with an access key")
}

// TestConsoleEmptyAndFull looks at the pages of a new waxseal, and of a waxseal with 10,000 keys.
func TestConsoleEmptyAndFull(t *testing.T) {
	c := startChromium(t)
	k, s := newConsoleKitWith(t, Substitutes{State: state.NewMemory()}, func(conf *Config) { conf.ConsoleListen = "127.0.0.1:0" })
	c.show(1280, "light")
	c.signIn(s.URL, k)
	pages := []string{"overview", "buckets", "keys", "usage", "audit"}
	look := func(kind string) {
		for _, page := range pages {
			path := "/" + page
			if page == "overview" {
				path = "/"
			}
			c.open(s.URL + path)
			c.pictures(kind + "-" + page)
		}
	}
	look("empty")
	if testing.Short() {
		t.Skip("10,000 keys take some seconds")
	}
	for i := range 10_000 {
		in := &local.CreateKeyRequest{Description: "A key of the application in which nobody has looked for a long time, kept for its archive"}
		out, err := k.app.KeyService.CreateKey(context.Background(), rootCaller(), in)
		if err != nil {
			t.Fatal(err)
		}
		if i%7 == 0 {
			alias := &local.CreateAliasRequest{AliasName: "alias/team/application-with-a-long-name/" + out.KeyMetadata.KeyId, TargetKeyId: out.KeyMetadata.KeyId}
			if _, err := k.app.KeyService.CreateAlias(context.Background(), rootCaller(), alias); err != nil {
				t.Fatal(err)
			}
		}
	}
	look("full")
	c.open(s.URL + "/")
	c.want("10,000")
	c.open(s.URL + "/keys")
	first := c.text("//tbody/tr[1]/td[6]")
	c.follow("//a[.='Next page']")
	if second := c.text("//tbody/tr[1]/td[6]"); second <= first {
		t.Errorf("the next page begins with %s, the first with %s", second, first)
	}
	c.follow("//a[.='First page']")
	if again := c.text("//tbody/tr[1]/td[6]"); again != first {
		t.Errorf("the first page begins with %s, and then with %s", first, again)
	}
}
