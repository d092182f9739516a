package keystoretest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// Transit is as much of a Transit engine as a round trip needs: AES-256-GCM keys that bind associated data, and
// their versions.
type Transit struct {
	token string
	mu    sync.Mutex
	keys  map[string][]cipher.AEAD
}

func NewTransit(token string, names ...string) *Transit {
	e := &Transit{token: token, keys: make(map[string][]cipher.AEAD)}
	for _, name := range names {
		e.Rotate(name)
	}
	return e
}

// Rotate gives a key its next version.
func (e *Transit) Rotate(name string) {
	block, err := aes.NewCipher(random(32))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.keys[name] = append(e.keys[name], aead)
}

// ServeHTTP implements http.Handler.
func (e *Transit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v1/sys/health" { // as Vault does, whoever asks
		_, _ = io.WriteString(w, "{}")
		return
	}
	if r.Header.Get("X-Vault-Token") != e.token {
		http.Error(w, `{"errors":["permission denied","invalid token"]}`, http.StatusForbidden)
		return
	}
	out, err := e.answer(r)
	if err != nil {
		http.Error(w, `{"errors":["`+err.Error()+`"]}`, http.StatusBadRequest)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"data": out})
}

func (e *Transit) answer(r *http.Request) (map[string]any, error) {
	path := strings.Split(strings.TrimPrefix(r.URL.Path, "/v1/"), "/")
	if len(path) != 3 || path[0] != "transit" {
		return map[string]any{"ttl": 0}, nil // sys/health, auth/token/lookup-self
	}
	e.mu.Lock()
	versions := e.keys[path[2]]
	e.mu.Unlock()
	if versions == nil {
		return nil, errors.New("no such key")
	}
	if path[1] == "keys" {
		return map[string]any{"type": "aes256-gcm96", "supports_encryption": true, "latest_version": len(versions)}, nil
	}
	var in struct {
		Plaintext, Ciphertext string
		AssociatedData        []byte `json:"associated_data"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, err
	}
	if path[1] == "encrypt" {
		aead := versions[len(versions)-1]
		nonce := random(aead.NonceSize())
		box := aead.Seal(nonce, nonce, []byte(in.Plaintext), in.AssociatedData)
		return map[string]any{"ciphertext": fmt.Sprintf("vault:v%d:%s", len(versions), base64.StdEncoding.EncodeToString(box))}, nil
	}
	var version int
	var text string
	if _, err := fmt.Sscanf(in.Ciphertext, "vault:v%d:%s", &version, &text); err != nil || version < 1 || version > len(versions) {
		return nil, errors.New("invalid ciphertext")
	}
	aead := versions[version-1]
	box, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(box) < aead.NonceSize() {
		return nil, errors.New("invalid ciphertext")
	}
	plaintext, err := aead.Open(nil, box[:aead.NonceSize()], box[aead.NonceSize():], in.AssociatedData)
	if err != nil {
		return nil, errors.New("invalid ciphertext")
	}
	return map[string]any{"plaintext": string(plaintext)}, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}
