package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// logAccess writes one line and counts, when a call is over.
func (c *call) logAccess() {
	took := c.s.cfg.Now().Sub(c.start)
	m := c.s.metrics
	m.requests.WithLabelValues(c.operation(), strconv.Itoa(c.status)).Inc()
	m.duration.WithLabelValues(c.operation()).Observe(took.Seconds())
	m.bytesIn.Add(float64(c.gotBytes))
	m.bytesOut.Add(float64(c.sentBytes))
	c.endSpan(took)
	attrs := []slog.Attr{slog.String("id", c.id), slog.String("op", c.operation()),
		slog.String("bucket", c.bucket), slog.String("key", c.key), slog.String("user", c.arn()), slog.Int("status", c.status),
		slog.String("code", string(c.errCode)), slog.Int64("in", c.gotBytes), slog.Int64("out", c.sentBytes), slog.Int64("ms", took.Milliseconds()),
		slog.String("client", c.clientIP().String()), slog.String("agent", c.agent())}
	for _, more := range []struct{ name, value string }{{"mode", c.shown(s3.HeaderSSE)}, {"kms_key", c.shown(s3.HeaderSSEKMSKeyID)}, {"trace", c.span.ID()}} {
		if more.value != "" {
			attrs = append(attrs, slog.String(more.name, more.value))
		}
	}
	c.s.log.LogAttrs(context.Background(), slog.LevelInfo, "request", attrs...)
}

// logFailure tells the operator what the client need not know: the cause of an error that is not the client's.
func (c *call) logFailure(e *s3.Error, err error) {
	switch {
	case errors.Is(err, objects.ErrArchived): // the client's to restore
	case e.Code == s3.InvalidObjectState:
		c.s.metrics.tampered.Inc()
		c.s.log.Error("object refused", "id", c.id, "op", c.operation(), "bucket", c.bucket, "key", c.key, "err", err)
	case e.Status() == http.StatusNotImplemented, errors.Is(err, errSlowDown):
		c.s.log.Warn("request refused", "id", c.id, "op", c.operation(), "bucket", c.bucket, "key", c.key, "err", err)
	case e.Status() >= 500:
		c.s.log.Error("request failed", "id", c.id, "op", c.operation(), "bucket", c.bucket, "key", c.key, "err", err)
	}
}

// cutMidStream notes that an answer ended before its Content-Length. Only what the store broke off, or what did not
// authenticate, is a fault: clients leave as they like, and a shutdown is the operator's.
func (c *call) cutMidStream(err error) {
	level, what := slog.LevelError, "answer cut"
	switch {
	case errors.Is(err, store.ErrClientGone), context.Cause(c.Up) == store.ErrClientGone:
		level, what = slog.LevelInfo, "client left before the answer's end"
	case c.s.base.Err() != nil:
		level, what = slog.LevelWarn, "answer cut by the shutdown"
	default:
		c.s.metrics.cut.Inc()
	}
	c.s.log.Log(context.Background(), level, what, "id", c.id, "bucket", c.bucket, "key", c.key, "sent", c.sentBytes, "err", err)
}

// operation is a call's operation for logs and metrics.
func (c *parsed) operation() string {
	if c.route == nil {
		return "-"
	}
	return c.route.name
}
