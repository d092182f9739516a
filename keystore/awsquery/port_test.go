package awsquery

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"waxseal/keystore/audit"
	"waxseal/keystore/iam"
	"waxseal/keystore/sigv4"
)

// TestPort: APIs are told apart by the credential's scope; a request is a signed, urlencoded POST of / without a query.
func TestPort(t *testing.T) {
	now := func() time.Time { return time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC) }
	api := func(name string) *API {
		return &API{Name: name, Version: "v", Audit: new(audit.Memory), Now: now, Log: slog.New(slog.DiscardHandler), Account: "1", Operations: []Operation{
			{Name: "Who", Do: func(_ context.Context, r *Request) (any, error) { return struct{ Arn string }{r.Caller.ARN}, nil }},
			{Name: "Open", Unsigned: true, NoResult: true, Do: func(context.Context, *Request) (any, error) { return nil, nil }},
		}}
	}
	lookup := func(key, _ string) (iam.Credential, error) {
		if key != "AKIAROOT" {
			return iam.Credential{}, iam.ErrUnknownKey
		}
		return iam.Credential{Secret: iam.NewSecret("secret"), Owner: iam.RootOf("123456789012")}, nil
	}
	used := 0
	port := NewPort(lookup, "eu-west-1", now, func(*iam.Requester, string, string) { used++ }, api("iam"), api("sts"))
	type ask struct{ service, region, key, target, contentType, body, signed string }
	do := func(a ask) (taken bool, status int, body string) {
		ctx := new(fasthttp.RequestCtx)
		ctx.Request.Header.SetMethod("POST")
		ctx.Request.SetRequestURI(a.target)
		ctx.Request.Header.SetHost("localhost")
		ctx.Request.Header.SetContentType(a.contentType)
		if a.service != "" {
			path, query, _ := strings.Cut(a.target, "?")
			sum := sha256.Sum256([]byte(a.signed))
			s := &sigv4.Signer{Service: a.service, Region: a.region}
			stamp := sigv4.Timestamp(now())
			ctx.Request.Header.Set("X-Amz-Date", stamp)
			ctx.Request.Header.Set("Authorization", s.Sign(a.key, "secret", stamp, &sigv4.Outgoing{Method: "POST", Path: path, Query: query,
				Headers: []sigv4.Header{{Name: "host", Value: "localhost"}, {Name: "x-amz-date", Value: stamp}}, Payload: hex.EncodeToString(sum[:])}))
		}
		if !port.Takes(ctx) {
			return false, 0, ""
		}
		if err := port.Head(ctx); err != nil {
			port.Refuse(ctx, err)
		} else {
			port.Serve(ctx, []byte(a.body), Origin{}, func() {})
		}
		return true, ctx.Response.StatusCode(), string(ctx.Response.Body())
	}
	const who, open = "Action=Who&Version=v", "Action=Open&Version=v"
	good := ask{"iam", "us-east-1", "AKIAROOT", "/", urlencoded + "; charset=utf-8", who, who}
	with := func(change func(*ask)) ask { a := good; change(&a); return a }
	for name, row := range map[string]struct {
		ask    ask
		taken  bool
		status int
		text   string
	}{
		"iam":                     {good, true, 200, "iam.amazonaws.com/doc/v/"},
		"sts":                     {with(func(a *ask) { a.service = "sts" }), true, 200, "sts.amazonaws.com/doc/v/"},
		"its own region":          {with(func(a *ask) { a.region = "eu-west-1" }), true, 200, "<Arn>arn:aws:iam::123456789012:root</Arn>"},
		"another region":          {with(func(a *ask) { a.region = "eu-west-2" }), true, 403, "SignatureDoesNotMatch"},
		"kms":                     {with(func(a *ask) { a.service = "kms" }), false, 0, ""},
		"s3":                      {with(func(a *ask) { a.service = "s3" }), false, 0, ""},
		"a body that was changed": {with(func(a *ask) { a.signed = open }), true, 403, "SignatureDoesNotMatch"},
		"an unknown key":          {with(func(a *ask) { a.key = "AKIANOBODY" }), true, 403, "InvalidClientTokenId"},
		"parameters in the query": {with(func(a *ask) { a.target = "/?" + who }), true, 400, "MalformedInput"},
		"another path":            {with(func(a *ask) { a.target = "/x" }), true, 404, "InvalidAction"},
		"JSON":                    {with(func(a *ask) { a.contentType = "application/json" }), true, 400, "MalformedInput"},
		"unsigned, of STS":        {ask{"", "", "", "/", urlencoded, open, ""}, true, 200, "<OpenResponse"},
		"unsigned, not open":      {ask{"", "", "", "/", urlencoded, who, ""}, true, 403, "MissingAuthenticationToken"},
		"unsigned, a form":        {ask{"", "", "", "/", "multipart/form-data; boundary=x", open, ""}, false, 0, ""},
	} {
		taken, status, body := do(row.ask)
		if taken != row.taken || status != row.status || !strings.Contains(body, row.text) {
			t.Errorf("%s: taken %v, %d %s", name, taken, status, body)
		}
	}
	if used != 3 {
		t.Errorf("%d uses were told, want those of the three that were signed rightly", used)
	}
}
