package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"waxseal/keystore/audit"
)

// envWebhookToken is the variable of the token for "Authorization: Bearer" to the webhook.
const envWebhookToken = "WAXSEAL_AUDIT_WEBHOOK_TOKEN"

// webhookProgress is the file in the records' directory with the position of the webhook. The records themselves are
// its spool: they are durable, and are read from this position on.
const webhookProgress = "webhook.json"

const (
	webhookBatch   = 1 << 20 // bytes of JSON in a request
	webhookTimeout = 30 * time.Second
	// webhookSpool bounds the bytes of records that wait for the webhook when old records are pruned. A dead webhook
	// must not fill the disk: without room for records no key can be used.
	webhookSpool = 1 << 30
)

// checkWebhook refuses a URL with credentials, because the URL is shown and recorded.
func (c *Config) checkWebhook() error {
	if c.AuditWebhook == "" {
		return nil
	}
	if err := checkURL("--audit-webhook", c.AuditWebhook, envWebhookToken); err != nil {
		return err
	}
	if u, err := url.Parse(c.AuditWebhook); err != nil || u.RawQuery != "" || u.Fragment != "" || strings.Contains(c.AuditWebhook, "?") {
		return errors.New("--audit-webhook: a URL without a query is needed: a token belongs into " + envWebhookToken)
	}
	return nil
}

// openWebhook posts audit records in order, each at least once, until the process ends.
func (p *App) openWebhook(c *Config, log *slog.Logger) {
	hook := &webhook{url: c.AuditWebhook, token: os.Getenv(envWebhookToken), head: p.audit.Head, client: &http.Client{
		Timeout: webhookTimeout,
		// A redirect would send records and the token to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	d := &audit.Deliverer{
		Dir: c.AuditDir(), Account: c.Account, Region: c.Region, Rotate: p.audit.Rotate, Progress: webhookProgress, Plain: true,
		BatchBytes: webhookBatch, Interval: min(c.AuditInterval, time.Minute), Deliver: hook.post,
		Report: func(err error) { log.Warn("audit records wait for the webhook", "err", err) },
	}
	p.background(func(ctx context.Context) {
		_ = d.Run(ctx) // ends with ctx; its only error is that of ctx
	})
}

// webhook is the destination of posted audit records.
type webhook struct {
	url, token string
	head       func() audit.Head
	client     *http.Client
}

// post sends a batch: {"Records": [...]}. A repeated batch has the same name. The newest digest goes with it, as an
// anchor outside: see audit.Trust.
func (w *webhook) post(ctx context.Context, name string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "waxseal")
	req.Header.Set("Waxseal-Audit-Batch", name)
	if h := w.head(); h.Sequence > 0 {
		req.Header.Set("Waxseal-Audit-Digest", fmt.Sprintf("%s:%d:%s", h.Chain, h.Sequence, h.Hash))
	}
	if w.token != "" {
		req.Header.Set("Authorization", "Bearer "+w.token)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)); err != nil {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("the webhook answered %s", resp.Status)
	}
	return nil
}
