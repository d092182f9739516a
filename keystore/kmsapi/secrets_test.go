package kmsapi

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"waxseal/keystore/iam"
)

// secretText stands where a request can hold a secret: plaintext, key material, messages, tokens.
const secretText = "0TOP-SECRET-VALUE-0123456789abcd"

// TestNoSecretInKMSAnswers sends a secret in every member that holds bytes, of every operation, with valid values and
// with every kind of invalid value. No refusal, record or line of the log shows the secret.
func TestNoSecretInKMSAnswers(t *testing.T) {
	e := start(t)
	var log bytes.Buffer
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(func() { slog.SetDefault(old) })
	key := e.newKey(t)
	url := open(t, e)
	sent := 0
	for name, op := range operations {
		for _, m := range op.request.members {
			if m.kind != kindBlob && m.name != "GrantTokens" && m.name != "GrantToken" {
				continue
			}
			for _, value := range badSecrets(m.kind) {
				body := filled(op.request, key)
				body[m.name] = value
				answer := postJSON(t, url, name, body)
				wantNoSecret(t, fmt.Sprintf("%s.%s = %.40v", name, m.name, value), answer)
				sent++
			}
		}
	}
	if sent < 100 {
		t.Errorf("only %d requests were sent", sent)
	}
	records, err := json.Marshal(e.audit.Records())
	if err != nil {
		t.Fatal(err)
	}
	wantNoSecret(t, "audit records", string(records))
	wantNoSecret(t, "log", log.String())
}

func badSecrets(k kind) []any {
	encoded := base64.StdEncoding.EncodeToString([]byte(secretText))
	values := []any{
		encoded, secretText, secretText + "!", []any{secretText}, []any{encoded, 1}, tree{"a": secretText}, tree{secretText: 1},
		strings.Repeat(encoded[:40], 300), []any{[]any{secretText}},
	}
	if k == kindStrings {
		for range 11 {
			values = append(values, []any{strings.Repeat(secretText, 300)})
		}
	}
	return values
}

// filled returns a request with a value of the right type in each required member.
func filled(s *schema, key string) tree {
	body := tree{}
	for _, m := range s.members {
		switch {
		case m.name == "KeyId" || m.name == "DestinationKeyId" || m.name == "TargetKeyId":
			body[m.name] = key
		case !m.isRequired:
		case m.kind == kindBlob:
			body[m.name] = "AAAA"
		case m.kind == kindString && len(m.rules.enum) > 0:
			body[m.name] = m.rules.enum[0]
		case m.kind == kindString:
			body[m.name] = "alias/x"
		}
	}
	return body
}

func (e *endpoint) newKey(t *testing.T) string {
	t.Helper()
	out := postJSON(t, open(t, e), "CreateKey", tree{"Description": "of " + iam.UserARN(testAccount, "alice")})
	var reply struct{ KeyMetadata struct{ KeyId string } }
	if err := json.Unmarshal([]byte(out), &reply); err != nil || reply.KeyMetadata.KeyId == "" {
		t.Fatal(out, err)
	}
	return reply.KeyMetadata.KeyId
}

func postJSON(t *testing.T, url, operation string, body tree) string {
	t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Amz-Target", targetPrefix+operation)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}

func wantNoSecret(t *testing.T, where, text string) {
	t.Helper()
	encoded := base64.StdEncoding.EncodeToString([]byte(secretText))
	for _, form := range []string{secretText[1:20], encoded[:24], hex.EncodeToString([]byte(secretText))[:24]} {
		if strings.Contains(text, form) {
			t.Errorf("%s: %.300s", where, text)
			return
		}
	}
}
