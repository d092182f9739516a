package transit

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"waxseal/keystore"
)

// maxAnswer bounds the body read of a response.
const maxAnswer = 1 << 20

// client sends requests to one server.
type client struct {
	http      *http.Client
	base      *url.URL
	namespace string
	timeout   time.Duration
	attempts  int
	// token returns the token to use; refused is the token refused by the server, or empty.
	token func(refused string) (string, error)
}

// httpError is an error response.
type httpError struct {
	status int
	errors []string
}

func (e *httpError) Error() string {
	return fmt.Sprintf("transit: status %d: %s", e.status, strings.Join(e.errors, "; "))
}

func newClient(cfg Config) (*client, error) {
	u, err := url.Parse(cfg.Address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("transit: address %q is not an http or https URL", cfg.Address)
	}
	ip := net.ParseIP(u.Hostname())
	local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	if u.Scheme == "http" && !local && !cfg.AllowPlaintext {
		return nil, fmt.Errorf("transit: address %s is not https: data keys would travel in clear", cfg.Address)
	}
	var roots *x509.CertPool // nil: the system's
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("transit: %w", err)
		}
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("transit: %s has no certificate in it", cfg.CAFile)
		}
	}
	return &client{
		base: u, namespace: cfg.Namespace, timeout: cfg.Timeout, attempts: cfg.MaxAttempts,
		http: &http.Client{
			Transport: &http.Transport{
				Proxy:               http.ProxyFromEnvironment,
				DialContext:         (&net.Dialer{Timeout: cfg.Timeout / 2, KeepAlive: 30 * time.Second}).DialContext,
				TLSHandshakeTimeout: cfg.Timeout / 2,
				TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
				MaxConnsPerHost:     cfg.MaxConns,
				MaxIdleConnsPerHost: cfg.MaxConns,
				IdleConnTimeout:     90 * time.Second,
				ForceAttemptHTTP2:   true,
			},
			// A redirect would take the token and a data key to wherever it says.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// call sends a request and decodes the "data" of its response. All calls are idempotent, and are repeated after
// throttling, a 5xx status, or no response. After a 403 it tries a fresh token, when there is one.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("transit: %w", err)
	}
	defer clear(body)
	token, err := c.token("")
	for attempt := 1; err == nil; attempt++ {
		err = c.once(limited, method, path, token, body, out)
		var h *httpError
		answered := errors.As(err, &h)
		switch {
		case err == nil:
			return nil
		case answered && h.status == http.StatusForbidden:
			fresh, terr := c.token(token)
			if terr != nil || fresh == token {
				return err
			}
			token, err = fresh, nil
			continue
		case answered && h.status != http.StatusTooManyRequests && h.status < 500, attempt >= c.attempts:
			// the final answer
		case limited.Err() == nil && c.pause(limited, attempt):
			err = nil
			continue
		}
		break
	}
	if ctx.Err() != nil { // the requester has gone
		return ctx.Err()
	}
	return err
}

// pause waits before another attempt, longer each time and at random; false: the time is over.
func (c *client) pause(ctx context.Context, attempt int) bool {
	t := time.NewTimer(rand.N(min(50*time.Millisecond<<attempt, c.timeout/4) + 1))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *client) once(ctx context.Context, method, path, token string, body []byte, out any) error {
	var r io.Reader
	if method != http.MethodGet {
		r = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base.JoinPath("v1", path).String(), r)
	if err != nil {
		return fmt.Errorf("transit: %w", err)
	}
	req.Header.Set("X-Vault-Token", token)
	req.Header.Set("X-Vault-Request", "true")
	if c.namespace != "" {
		req.Header.Set("X-Vault-Namespace", c.namespace)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("transit: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	defer clear(answer)
	if err != nil {
		return fmt.Errorf("transit: %w", err)
	}
	if resp.StatusCode >= 300 {
		return newHTTPError(resp, answer)
	}
	if out == nil || len(answer) == 0 {
		return nil
	}
	// Tokens come back under "auth", all else under "data".
	return decode(answer, out)
}

func decode(answer []byte, out any) error {
	var envelope struct {
		Data json.RawMessage `json:"data"`
		Auth json.RawMessage `json:"auth"`
	}
	err := json.Unmarshal(answer, &envelope)
	inner := envelope.Data
	if len(inner) == 0 || string(inner) == "null" {
		inner = envelope.Auth
	}
	defer clear(inner)
	if err == nil {
		err = json.Unmarshal(inner, out)
	}
	if err != nil {
		// The answer may hold a key, and so may an error about it.
		return &httpError{status: http.StatusBadGateway, errors: []string{"the answer is not of the expected form"}}
	}
	return nil
}

func newHTTPError(resp *http.Response, answer []byte) *httpError {
	e := &httpError{status: resp.StatusCode}
	var body struct {
		Errors []string `json:"errors"`
	}
	if json.Unmarshal(answer, &body) == nil {
		e.errors = body.Errors
	}
	if l := resp.Header.Get("Location"); l != "" && resp.StatusCode < 400 {
		e.errors = append(e.errors, "redirects are not followed; configure the address of the active server")
	}
	return e
}

func (c *client) health(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := c.once(limited, http.MethodGet, "sys/health", "", nil, nil)
	var h *httpError
	if errors.As(err, &h) && (h.status == http.StatusTooManyRequests || h.status == 473) {
		return nil // a standby: it forwards requests
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return &keystore.Error{Kind: keystore.Unavailable, Message: "The key service is not available.", Err: err}
}

// orElse makes an error a *keystore.Error. h is the error response in it, or nil without a response. other is the
// kind for a wrong request: status 400 or 404 or, for InvalidCiphertext, an error text about the ciphertext.
func (h *httpError) orElse(err error, keyARN string, other keystore.Kind) error {
	var already *keystore.Error
	if errors.As(err, &already) || errors.Is(err, context.Canceled) {
		return err
	}
	e := &keystore.Error{Kind: keystore.Unavailable, KeyARN: keyARN, Err: err}
	switch {
	case h == nil:
		e.Message = "The key service did not answer."
	case h.status == http.StatusForbidden && h.says("token"):
		e.Message = "The key service does not accept this service's token."
	case h.status == http.StatusForbidden:
		e.Kind, e.Message = keystore.AccessDenied, "The key service denied access to "+keyARN
	case h.status == http.StatusTooManyRequests:
		e.Kind, e.Message = keystore.Throttled, "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls."
	case h.status == http.StatusBadRequest, h.status == http.StatusNotFound,
		other == keystore.InvalidCiphertext && (h.says("message authentication failed") || h.says("invalid ciphertext")):
		e.Kind = other
	default:
		e.Message = "The key service is not available."
	}
	return e
}

func (h *httpError) tooOld() bool { return h.says("too old") }

func (h *httpError) says(part string) bool {
	for _, text := range h.errors {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
