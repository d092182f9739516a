package transit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/keystoretest"
	"waxseal/keystore/transit"
)

// TestLive runs the provider suite against a real engine: WAXSEAL_TEST_TRANSIT is the URL of a development server of
// OpenBao or Vault (`bao server -dev -dev-root-token-id=root`), WAXSEAL_TEST_TRANSIT_TOKEN its root token. It mounts
// an engine of its own, and the provider's token has exactly the capabilities listed in docs/kms.md.
func TestLive(t *testing.T) {
	address, token := os.Getenv("WAXSEAL_TEST_TRANSIT"), os.Getenv("WAXSEAL_TEST_TRANSIT_TOKEN")
	if address == "" || token == "" {
		t.Skip("set WAXSEAL_TEST_TRANSIT and WAXSEAL_TEST_TRANSIT_TOKEN to run against a Transit engine")
	}
	mount := fmt.Sprintf("waxseal-test-%d", time.Now().UnixNano())
	try := func(t *testing.T, method, path string, body any) (int, []byte) {
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
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, answer
	}
	live := func(t *testing.T, method, path string, body any) []byte {
		t.Helper()
		status, answer := try(t, method, path, body)
		if status >= 300 {
			t.Fatalf("%s %s: %d: %s", method, path, status, answer)
		}
		return answer
	}
	live(t, "POST", "sys/mounts/"+mount, map[string]string{"type": "transit"})
	t.Cleanup(func() { live(t, "DELETE", "sys/mounts/"+mount, nil) })
	live(t, "PUT", "sys/policies/acl/"+mount, map[string]string{"policy": `
		path "` + mount + `/keys/*" { capabilities = ["read"] }
		path "` + mount + `/encrypt/*" { capabilities = ["update"] }
		path "` + mount + `/decrypt/*" { capabilities = ["update"] }`})
	t.Cleanup(func() { live(t, "DELETE", "sys/policies/acl/"+mount, nil) })
	var made struct {
		Auth struct {
			Token string `json:"client_token"`
		} `json:"auth"`
	}
	if err := json.Unmarshal(live(t, "POST", "auth/token/create", map[string]any{"policies": []string{mount}, "ttl": "1h"}), &made); err != nil || made.Auth.Token == "" {
		t.Fatalf("no token: %v", err)
	}

	var down atomic.Bool
	server, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		httputil.NewSingleHostReverseProxy(server).ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)

	n := 0
	keystoretest.Run(t, func(t *testing.T) (keystore.Provider, keystoretest.Fixture) {
		n++ // keys of its own for each test
		name := func(s string) string { return fmt.Sprintf("%s-%d", s, n) }
		for key, kind := range map[string]string{"photos": "aes256-gcm96", "archive": "chacha20-poly1305", "signing": "rsa-2048"} {
			live(t, "POST", mount+"/keys/"+name(key), map[string]string{"type": kind})
		}
		p, err := transit.New(transit.Config{Address: front.URL, Token: made.Auth.Token, Mount: mount})
		if err != nil {
			t.Fatal(err)
		}
		f := keystoretest.Fixture{
			Key: name("photos"), OtherKey: name("archive"), Alias: "alias/" + name("photos"), AliasARN: arnPrefix + "alias/" + name("photos"),
			Missing: name("nonesuch"), Asymmetric: name("signing"),
			Rotate:  func(t *testing.T, id string) { live(t, "POST", mount+"/keys/"+id+"/rotate", nil) },
			SetDown: func(_ *testing.T, is bool) { down.Store(is) },
		}
		live(t, "POST", mount+"/keys/"+name("spare"), nil)
		if status, _ := try(t, "DELETE", mount+"/keys/"+name("spare")+"/soft-delete", nil); status < 300 { // OpenBao has it
			f.SetEnabled = func(t *testing.T, id string, enabled bool) {
				if enabled {
					live(t, "POST", mount+"/keys/"+id+"/soft-delete-restore", nil)
				} else {
					live(t, "DELETE", mount+"/keys/"+id+"/soft-delete", nil)
				}
			}
		}
		return p, f
	})
}
