package transit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/keystoretest"
	"waxseal/keystore/transit"
)

// TestLive runs the provider suite against a real engine: WAXSEAL_TEST_TRANSIT is the URL of a development server of
// OpenBao or Vault (`bao server -dev -dev-root-token-id=root`), WAXSEAL_TEST_TRANSIT_TOKEN its root token. It mounts an
// engine of its own.
func TestLive(t *testing.T) {
	address, token := os.Getenv("WAXSEAL_TEST_TRANSIT"), os.Getenv("WAXSEAL_TEST_TRANSIT_TOKEN")
	if address == "" || token == "" {
		t.Skip("set WAXSEAL_TEST_TRANSIT and WAXSEAL_TEST_TRANSIT_TOKEN to run against a Transit engine")
	}
	mount := fmt.Sprintf("waxseal-test-%d", time.Now().UnixNano())
	live := func(t *testing.T, method, path string, body any) {
		t.Helper()
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, method, address+"/v1/"+path, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Vault-Token", token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if answer, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode >= 300 {
			t.Fatalf("%s %s: %s: %s %v", method, path, resp.Status, answer, err)
		}
	}
	live(t, "POST", "sys/mounts/"+mount, map[string]string{"type": "transit"})
	t.Cleanup(func() { live(t, "DELETE", "sys/mounts/"+mount, nil) })
	n := 0
	keystoretest.Run(t, func(t *testing.T) (keystore.Provider, keystoretest.Fixture) {
		n++ // keys of its own for each test
		name := func(s string) string { return fmt.Sprintf("%s-%d", s, n) }
		for key, kind := range map[string]string{"photos": "aes256-gcm96", "archive": "chacha20-poly1305", "signing": "rsa-2048"} {
			live(t, "POST", mount+"/keys/"+name(key), map[string]string{"type": kind})
		}
		p, err := transit.New(transit.Config{Address: address, Token: token, Mount: mount})
		if err != nil {
			t.Fatal(err)
		}
		return p, keystoretest.Fixture{
			Key: name("photos"), OtherKey: name("archive"), Alias: "alias/" + name("photos"), AliasARN: arnPrefix + "alias/" + name("photos"),
			Missing: name("nonesuch"), Asymmetric: name("signing"),
			Rotate: func(t *testing.T, id string) { live(t, "POST", mount+"/keys/"+id+"/rotate", nil) },
		}
	})
}
