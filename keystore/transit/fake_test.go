package transit_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// engine is a Transit engine as Vault and OpenBao have it, as far as it is used here: statuses, error texts, the making
// of absent keys by encrypt, and versions.
type engine struct {
	mu        sync.Mutex
	keys      map[string]*engineKey
	token     string // the accepted token
	mayCreate bool   // the token has create on encrypt/*
	denied    bool   // the token has no capability on transit
	down      bool   // sealed
	ttl       int64
	renewals  int
	requests  []string
	namespace string
}

type engineKey struct {
	kind        string
	derived     bool
	softDeleted bool
	minDecrypt  int
	versions    []cipher.AEAD
}

func newEngine() *engine { return &engine{keys: make(map[string]*engineKey), token: "s.first"} }

func (e *engine) add(name, kind string) *engineKey {
	e.mu.Lock()
	defer e.mu.Unlock()
	k := &engineKey{kind: kind, minDecrypt: 1}
	k.rotate()
	e.keys[name] = k
	return k
}

func (k *engineKey) rotate() {
	var raw [32]byte
	rand.Read(raw[:])
	block, err := aes.NewCipher(raw[:])
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	k.versions = append(k.versions, aead)
}

// set changes the engine under its lock.
func (e *engine) set(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, status int, errors ...string) {
	answer(w, status, map[string]any{"errors": append([]string{}, errors...)})
}

func data(w http.ResponseWriter, v map[string]any) { answer(w, 200, map[string]any{"data": v}) }

func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	e.requests = append(e.requests, r.Method+" "+path)
	switch {
	case e.down:
		refuse(w, 503, "Vault is sealed")
		return
	case path == "sys/health":
		answer(w, 200, map[string]any{"sealed": false})
		return
	case r.Header.Get("X-Vault-Token") != e.token:
		refuse(w, 403, "permission denied", "invalid token")
		return
	case r.Header.Get("X-Vault-Namespace") != e.namespace:
		refuse(w, 403, "permission denied")
		return
	}
	var in struct {
		Plaintext, Ciphertext string
		AssociatedData        string `json:"associated_data"`
	}
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			refuse(w, 400, err.Error())
			return
		}
	}
	switch path {
	case "auth/token/lookup-self":
		data(w, map[string]any{"ttl": e.ttl, "renewable": e.ttl > 0})
		return
	case "auth/token/renew-self":
		e.renewals++
		answer(w, 200, map[string]any{"auth": map[string]any{"lease_duration": e.ttl, "client_token": e.token}, "data": nil})
		return
	}
	op, name, _ := strings.Cut(strings.TrimPrefix(path, "transit/"), "/")
	k := e.keys[name]
	switch {
	case e.denied:
		refuse(w, 403, "1 error occurred:\n\t* permission denied\n\n")
	case op == "keys" && k == nil:
		refuse(w, 404)
	case op == "keys":
		data(w, map[string]any{
			"name": name, "type": k.kind, "derived": k.derived, "soft_deleted": k.softDeleted,
			"supports_encryption": !strings.HasPrefix(k.kind, "ec"), "latest_version": len(k.versions),
		})
	case op == "encrypt" && k == nil && e.mayCreate:
		panic("a key was made by encrypting under a name that does not exist")
	case k == nil:
		refuse(w, 400, "encryption key not found")
	case k.softDeleted:
		refuse(w, 400, "key is soft-deleted; restore it before use")
	case in.AssociatedData != "" && !strings.Contains(k.kind, "gcm") && !strings.Contains(k.kind, "poly1305"):
		refuse(w, 400, fmt.Sprintf("'[0].associated_data' provided for non-AEAD cipher suite %s", k.kind))
	case op == "encrypt":
		k.encrypt(w, in.Plaintext, in.AssociatedData)
	case op == "decrypt":
		k.decrypt(w, in.Ciphertext, in.AssociatedData)
	default:
		refuse(w, 405, "unsupported operation")
	}
}

func (k *engineKey) encrypt(w http.ResponseWriter, plaintext, ad string) {
	plain, err1 := base64.StdEncoding.DecodeString(plaintext)
	aad, err2 := base64.StdEncoding.DecodeString(ad)
	if err1 != nil || err2 != nil {
		refuse(w, 400, "illegal base64 data")
		return
	}
	nonce := make([]byte, 12)
	rand.Read(nonce)
	box := k.versions[len(k.versions)-1].Seal(nonce, nonce, plain, aad)
	data(w, map[string]any{
		"ciphertext":  fmt.Sprintf("vault:v%d:%s", len(k.versions), base64.StdEncoding.EncodeToString(box)),
		"key_version": len(k.versions),
	})
}

func (k *engineKey) decrypt(w http.ResponseWriter, ciphertext, ad string) {
	if ciphertext == "" {
		refuse(w, 400, "missing ciphertext to decrypt")
		return
	}
	rest, ok := strings.CutPrefix(ciphertext, "vault:v")
	if !ok {
		refuse(w, 400, "invalid ciphertext: no prefix")
		return
	}
	v, box, _ := strings.Cut(rest, ":")
	version, err1 := strconv.Atoi(v)
	raw, err2 := base64.StdEncoding.DecodeString(box)
	aad, err3 := base64.StdEncoding.DecodeString(ad)
	switch {
	case err1 != nil || err2 != nil || err3 != nil:
		refuse(w, 400, "invalid ciphertext: could not decode base64")
	case version < 1 || version > len(k.versions):
		refuse(w, 400, "invalid ciphertext: version is too new")
	case version < k.minDecrypt:
		refuse(w, 400, "ciphertext or signature version is disallowed by policy (too old)")
	case len(raw) < 12:
		refuse(w, 400, "invalid ciphertext length")
	default:
		plain, err := k.versions[version-1].Open(nil, raw[:12], raw[12:], aad)
		if err != nil {
			refuse(w, 400, "cipher: message authentication failed")
			return
		}
		data(w, map[string]any{"plaintext": base64.StdEncoding.EncodeToString(plain)})
	}
}
