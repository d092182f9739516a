package server

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7/pkg/encrypt"

	"waxseal/keystore/audit"
	"waxseal/keystore/iam"
	"waxseal/keystore/local"
)

// browser is a client that keeps cookies, sends an Origin with its forms, and follows no redirect.
type browser struct {
	t      *testing.T
	url    string
	client *http.Client
	origin string
}

func newConsoleKit(t *testing.T, change ...func(*Config)) (*kit, *httptest.Server) {
	t.Helper()
	return newConsoleKitWith(t, Substitutes{}, append([]func(*Config){func(c *Config) { c.ConsoleListen, c.AuditS3 = "127.0.0.1:0", "all" }}, change...)...)
}

func newConsoleKitWith(t *testing.T, with Substitutes, change ...func(*Config)) (*kit, *httptest.Server) {
	t.Helper()
	k := newKitWith(t, with, change...)
	s := httptest.NewServer(k.app.console.Handler)
	t.Cleanup(s.Close)
	return k, s
}

func newBrowser(t *testing.T, s *httptest.Server) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, s.URL, &http.Client{Jar: jar, Transport: s.Client().Transport}, s.URL}
}

func (b *browser) do(method, path string, form url.Values, change ...func(*http.Request)) (int, string, http.Header) {
	b.t.Helper()
	req, err := http.NewRequest(method, b.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", b.origin)
	}
	for _, c := range change {
		c(req)
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

func (b *browser) get(path string) string {
	b.t.Helper()
	status, body, _ := b.do("GET", path, nil)
	if status != http.StatusOK {
		b.t.Fatalf("GET %s: %d %s", path, status, body)
	}
	return body
}

func (b *browser) signIn(accessKey, secret string) int {
	b.t.Helper()
	status, _, _ := b.do("POST", "/login", url.Values{"access_key": {accessKey}, "secret_key": {secret}})
	return status
}

var csrfField = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

func (b *browser) csrf() string {
	b.t.Helper()
	found := csrfField.FindStringSubmatch(b.get("/"))
	if found == nil {
		b.t.Fatal("no form with a token")
	}
	return found[1]
}

// post sends a form of the console with the session's token.
func (b *browser) post(path string, pairs ...string) (int, string) {
	b.t.Helper()
	form := url.Values{"csrf": {b.csrf()}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	status, body, _ := b.do("POST", path, form)
	return status, body
}

func (k *kit) signedIn(s *httptest.Server) *browser {
	k.t.Helper()
	b := newBrowser(k.t, s)
	if status := b.signIn(k.app.root.AccessKey, k.app.root.SecretKey); status != http.StatusOK {
		k.t.Fatalf("the root user cannot sign in: %d", status)
	}
	return b
}

// consoleForms returns all requests with an effect.
func consoleForms(id string) map[string]url.Values {
	key := "/keys/" + id
	return map[string]url.Values{
		"/keys": {"description": {"x"}}, key + "/disable": {}, key + "/enable": {}, key + "/cancel": {},
		key + "/delete": {"days": {"7"}, "confirm": {id}}, "/logout": {},
	}
}

func keyID(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// TestConsoleForgedForms checks that neither a form from another page nor a form without the session's token has an
// effect.
func TestConsoleForgedForms(t *testing.T) {
	k, s := newConsoleKit(t)
	id := keyID(k.newKey())
	b := k.signedIn(s)
	token := b.csrf()
	stranger := k.signedIn(s).csrf()
	other := func(origin, site string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Del("Origin")
			if origin != "" {
				r.Header.Set("Origin", origin)
			}
			if site != "" {
				r.Header.Set("Sec-Fetch-Site", site)
			}
		}
	}
	for path, form := range consoleForms(id) {
		for name, c := range map[string]struct {
			token  string
			change func(*http.Request)
		}{
			"no token":               {"", func(*http.Request) {}},
			"another session's":      {stranger, func(*http.Request) {}},
			"another origin":         {token, other("https://evil.example", "")},
			"no origin":              {token, other("", "")},
			"the origin null":        {token, other("null", "")},
			"another port":           {token, other(s.URL+"0", "")},
			"a page of another site": {token, other(s.URL, "cross-site")},
			"a sister site":          {token, other(s.URL, "same-site")},
		} {
			sent := url.Values{"csrf": {c.token}}
			for n, v := range form {
				sent[n] = v
			}
			if status, body, _ := b.do("POST", path, sent, c.change); status != http.StatusForbidden || !strings.Contains(body, "Refused") {
				t.Errorf("POST %s with %s: %d", path, name, status)
			}
		}
		// A link or an image is a GET.
		if status, _, _ := b.do("GET", path, nil); status == http.StatusOK && path != "/keys" {
			t.Errorf("GET %s: %d", path, status)
		}
	}
	for _, origin := range []string{"https://evil.example", "null"} {
		status, _, _ := newBrowser(t, s).do("POST", "/login", url.Values{"access_key": {k.app.root.AccessKey}, "secret_key": {k.app.root.SecretKey}}, other(origin, ""))
		if status != http.StatusForbidden {
			t.Errorf("a page of %s signs a browser in: %d", origin, status)
		}
	}
	if page := b.get("/keys/" + id); !strings.Contains(page, ">enabled<") {
		t.Error("a forged form has changed the key")
	}
	if status, page := b.post("/keys/" + id + "/disable"); status != http.StatusOK || !strings.Contains(page, ">disabled<") {
		t.Errorf("an own form does not work: %d", status)
	}
}

// TestConsoleHeaders: no page can be framed, kept, sniffed, or run a script.
func TestConsoleHeaders(t *testing.T) {
	k, s := newConsoleKit(t)
	b := k.signedIn(s)
	for _, path := range []string{"/", "/keys", "/keys/" + keyID(k.newKey()), "/keys/unknown", "/buckets", "/usage", "/audit", "/nowhere", "/login", "/style.css"} {
		_, body, h := b.do("GET", path, nil)
		policy := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: no %s in %q", path, want, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || h.Get("X-Frame-Options") != "DENY" || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, h)
		}
		if path != "/style.css" && h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be kept: %s", path, h.Get("Cache-Control"))
		}
		if regexp.MustCompile(`(?i)<script|\son[a-z]+=|\sstyle=|javascript:`).MatchString(body) {
			t.Errorf("%s has a script or a style in it", path)
		}
	}
	status, _, _ := b.do("GET", "/", nil, func(r *http.Request) { r.Host = "evil.example" })
	if status != http.StatusMisdirectedRequest {
		t.Errorf("a name that somebody has resolve to this address is answered with %d", status)
	}
}

// TestConsoleSessionFixation checks that a token from the browser never becomes a session's token, and that a new
// sign-in ends the browser's former session.
func TestConsoleSessionFixation(t *testing.T) {
	k, s := newConsoleKit(t)
	planted := "planted-by-somebody-else-0123456789abcdefghijk"
	victim := newBrowser(t, s)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	victim.client.Jar.SetCookies(u, []*http.Cookie{{Name: "waxseal-console", Value: planted}})
	if status := victim.signIn(k.app.root.AccessKey, k.app.root.SecretKey); status != http.StatusOK {
		t.Fatal(status)
	}
	attacker := newBrowser(t, s)
	attacker.client.Jar.SetCookies(u, []*http.Cookie{{Name: "waxseal-console", Value: planted}})
	if body := attacker.get("/"); !strings.Contains(body, "Sign in") {
		t.Error("the planted token is signed in")
	}
	first := victim.client.Jar.Cookies(u)[0].Value
	if victim.signIn(k.app.root.AccessKey, k.app.root.SecretKey); victim.client.Jar.Cookies(u)[0].Value == first {
		t.Error("signing in again keeps the token")
	}
	attacker.client.Jar.SetCookies(u, []*http.Cookie{{Name: "waxseal-console", Value: first}})
	if body := attacker.get("/"); !strings.Contains(body, "Sign in") {
		t.Error("the former token is still signed in")
	}
	kept := victim.client.Jar.Cookies(u)[0].Value
	victim.post("/logout")
	attacker.client.Jar.SetCookies(u, []*http.Cookie{{Name: "waxseal-console", Value: kept}})
	if body := attacker.get("/"); !strings.Contains(body, "Sign in") {
		t.Error("the token is signed in after the sign-out")
	}
}

// TestConsoleCookie checks that scripts and other sites cannot use the cookie, and under TLS no other host.
func TestConsoleCookie(t *testing.T) {
	for _, secure := range []bool{false, true} {
		k, s := newConsoleKit(t, func(c *Config) { c.TLSSelfSigned = secure })
		b := newBrowser(t, s)
		b.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		_, _, h := b.do("POST", "/login", url.Values{"access_key": {k.app.root.AccessKey}, "secret_key": {k.app.root.SecretKey}})
		cookie := h.Get("Set-Cookie")
		for _, want := range []string{"HttpOnly", "SameSite=Strict", "Path=/"} {
			if !strings.Contains(cookie, want) {
				t.Errorf("%v: no %s in %q", secure, want, cookie)
			}
		}
		if strings.Contains(cookie, "Domain") || strings.Contains(cookie, "Secure") != secure || strings.HasPrefix(cookie, "__Host-") != secure || (h.Get("Strict-Transport-Security") != "") != secure {
			t.Errorf("TLS %v: %q", secure, cookie)
		}
	}
}

// TestConsoleBruteForce checks that guesses are limited and recorded, and lock nobody else out.
func TestConsoleBruteForce(t *testing.T) {
	k, s := newConsoleKit(t)
	b := newBrowser(t, s)
	statuses := map[int]int{}
	for range 30 {
		statuses[b.signIn(k.app.root.AccessKey, "wrong-secret")]++
	}
	if statuses[http.StatusUnauthorized] > 6 || statuses[http.StatusTooManyRequests] < 24 {
		t.Errorf("30 guesses were answered %v", statuses)
	}
	if status := b.signIn(k.app.root.AccessKey, k.app.root.SecretKey); status != http.StatusTooManyRequests {
		t.Errorf("the right secret right after is told apart: %d", status)
	}
	for _, pair := range [][2]string{{"", ""}, {k.app.root.AccessKey, ""}, {"AKIANOBODY", ""}, {"AKIANOBODY", k.app.root.SecretKey}} {
		status, body, _ := newBrowser(t, s).do("POST", "/login", url.Values{"access_key": {pair[0]}, "secret_key": {pair[1]}})
		if status != http.StatusUnauthorized && status != http.StatusTooManyRequests || strings.Contains(body, "Sign out") {
			t.Errorf("%q is answered %d", pair, status)
		}
	}
	failures, successes := 0, 0
	err := audit.Read(k.conf.AuditDir(), audit.Filter{EventName: "ConsoleLogin"}, func(r audit.Record) bool {
		switch r.ResponseElements["ConsoleLogin"] {
		case "Failure":
			failures++
		case "Success":
			successes++
		}
		return true
	})
	if err != nil || failures < statuses[http.StatusUnauthorized] || successes != 0 {
		t.Errorf("%d failures and %d successes are recorded, %v", failures, successes, err)
	}
}

// TestConsoleHostileNames checks that names of keys and objects are text on every page, even if they contain HTML.
func TestConsoleHostileNames(t *testing.T) {
	k, s := newConsoleKit(t)
	b := k.signedIn(s)
	const evil = `<script>alert(1)</script>"'><img src=x onerror=alert(2)>`
	out, err := k.app.KeyService.CreateKey(context.Background(), rootCaller(), &local.CreateKeyRequest{Description: evil, Tags: []local.Tag{{TagKey: "tag", TagValue: evil}}})
	if err != nil {
		t.Fatal(err)
	}
	id := out.KeyMetadata.KeyId
	if _, err := k.app.KeyService.CreateAlias(context.Background(), rootCaller(), &local.CreateAliasRequest{AliasName: "alias/" + evil, TargetKeyId: id}); err != nil {
		t.Log("aliases like that are refused: ", err)
	}
	k.put("evil"+evil, []byte("x"), kmsSide(t, out.KeyMetadata.Arn))
	k.read("evil" + evil)
	for _, path := range []string{"/", "/keys", "/keys/" + id, "/buckets", "/buckets?bucket=" + url.QueryEscape(evil), "/usage", "/audit",
		"/audit?" + url.Values{"user": {evil}, "event": {evil}, "key": {evil}, "bucket": {evil}, "object": {evil}}.Encode(),
		"/audit?since=" + url.QueryEscape(evil), "/usage?month=" + url.QueryEscape(evil), "/keys?after=" + url.QueryEscape(evil), "/keys/" + url.PathEscape(evil)} {
		_, body, _ := b.do("GET", path, nil)
		if strings.Contains(body, "<script") || strings.Contains(body, "<img") || strings.Contains(body, `"'>`) {
			t.Errorf("%s shows it as it is:\n%s", path, body)
		}
	}
	if page := b.get("/keys/" + id); strings.Count(page, "&lt;script&gt;") < 2 {
		t.Error("the description and the tag are not on the page: the test has not tried them")
	}
	if page := b.get("/audit"); !strings.Contains(page, "&lt;img") {
		t.Error("the object is not among the records: the test has not tried it")
	}
	_, body := b.post("/keys", "description", evil, "alias", evil)
	if strings.Contains(body, "<script") || !strings.Contains(body, "ValidationException") {
		t.Errorf("an alias that AWS does not take: %s", body)
	}
}

// TestConsoleShowsNoSecret looks for every secret there is on every page.
func TestConsoleShowsNoSecret(t *testing.T) {
	k, s := newConsoleKit(t)
	b := k.signedIn(s)
	arn := k.newKey()
	k.put("one", []byte("x"), kmsSide(t, arn))
	if _, err := k.app.KeyService.CreateGrant(context.Background(), rootCaller(), &local.CreateGrantRequest{KeyId: arn, GranteePrincipal: "arn:aws:iam::000000000000:root", Operations: []string{"Decrypt"}}); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{k.app.root.SecretKey, b.client.Jar.Cookies(u)[0].Value}
	for _, path := range []string{"/", "/keys", "/keys/" + keyID(arn), "/buckets", "/usage", "/audit", "/nowhere"} {
		_, body, _ := b.do("GET", path, nil)
		for _, secret := range secrets {
			if strings.Contains(body, secret) {
				t.Errorf("%s has the secret %.4s...", path, secret)
			}
		}
	}
}

// TestConsoleRights checks that people see only what their policies allow, and nothing after their removal.
func TestConsoleRights(t *testing.T) {
	policy := func(actions ...string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["` + strings.Join(actions, `","`) + `"],"Resource":"*"}]}`
	}
	users := map[string]string{"nobody": policy("s3:*"), "all": policy("*"), "viewer": policy("waxseal:ConsoleView"),
		"auditor": policy("waxseal:Console*", "kms:Describe*", "kms:List*", "kms:Get*"), "keeper": policy("waxseal:ConsoleView", "kms:*")}
	k, s := newConsoleKit(t, func(c *Config) {
		for name, p := range users {
			c.Users = append(c.Users, UserConfig{Name: name, AccessKey: "AKIA" + strings.ToUpper(name), SecretKey: name + "-secret", Policy: &policyDocument{[]byte(p)}})
		}
	})
	id := keyID(k.newKey())
	for name, want := range map[string]struct{ view, audit, describe, change int }{
		"nobody":  {403, 403, 403, 403},
		"all":     {403, 403, 403, 403},
		"viewer":  {200, 403, 404, 404},
		"auditor": {200, 200, 200, 403},
		"keeper":  {200, 403, 200, 200},
	} {
		b := newBrowser(t, s)
		if b.signIn("AKIA"+strings.ToUpper(name), name+"-secret"); len(b.client.Jar.Cookies(mustURL(t, s.URL))) == 0 {
			t.Fatalf("%s cannot sign in", name)
		}
		_, page, _ := b.do("GET", "/", nil)
		token := csrfField.FindStringSubmatch(page)[1]
		for path, status := range map[string]int{"/": want.view, "/keys": want.view, "/buckets": want.view, "/usage": want.view, "/audit": want.audit, "/keys/" + id: want.describe} {
			if got, _, _ := b.do("GET", path, nil); got != status {
				t.Errorf("%s: GET %s is answered %d, want %d", name, path, got, status)
			}
		}
		if got, _, _ := b.do("POST", "/keys/"+id+"/disable", url.Values{"csrf": {token}}); got != want.change {
			t.Errorf("%s: disabling is answered %d, want %d", name, got, want.change)
		}
	}
	b := newBrowser(t, s)
	b.signIn("AKIAKEEPER", "keeper-secret")
	b.get("/keys")
	changed := iam.User{Name: "keeper", ARN: iam.UserARN("000000000000", "keeper"), AccountID: "000000000000", AccessKey: "AKIAKEEPER",
		Secret: iam.NewSecret("another-secret"), Everything: true}
	if err := k.app.users.Replace([]iam.User{changed}); err != nil {
		t.Fatal(err)
	}
	if body := b.get("/keys"); !strings.Contains(body, "Sign in") {
		t.Error("a user whose secret was changed is still signed in")
	}
	b.signIn("AKIAKEEPER", "another-secret")
	if status, body, _ := b.do("GET", "/keys", nil); status != http.StatusForbidden || !strings.Contains(body, "Sign out") {
		t.Fatalf("the changed user is not signed in: %d", status)
	}
	if err := k.app.users.Replace(nil); err != nil {
		t.Fatal(err)
	}
	if body := b.get("/keys"); !strings.Contains(body, "Sign in") {
		t.Error("a removed user is still signed in")
	}
}

// TestConsoleAnswers uses only the console: it finds the answers and does the tasks for which the console exists.
func TestConsoleAnswers(t *testing.T) {
	k, s := newConsoleKit(t, func(c *Config) { c.GuardKeyDeletion = true })
	b := k.signedIn(s)
	arn := k.newKey()
	k.put("report.pdf", bytes.Repeat([]byte("x"), 2500), kmsSide(t, arn))
	k.put("note", []byte("x"), encrypt.NewSSE())
	k.read("report.pdf")
	for path, wants := range map[string][]string{
		"/":                   {"$0.00", "saved", "There was no full inventory yet", "Every key was used or made in the last 90 days"},
		"/keys":               {keyID(arn), ">enabled<", "just now"},
		"/buckets":            {"photos", "SSE-KMS", "2.5 kB", "SSE-S3"},
		"/usage":              {arn[strings.LastIndexByte(arn, '/')+1:], "photos"},
		"/keys/" + keyID(arn): {"GenerateDataKey", "Key policy", "kms:*", "has no alias", "Up to 1 object (2.5 kB) are encrypted under this key"},
		"/audit?event=GetObject&object=s3://photos/report.pdf": {"s3://photos/report.pdf", "root", ">ok<"},
		"/audit?event=Decrypt&object=report.pdf":               {"s3://photos/report.pdf", "Decrypt"},
	} {
		page := b.get(path)
		for _, want := range wants {
			if !strings.Contains(page, want) {
				t.Errorf("%s does not have %q:\n%s", path, want, page)
			}
		}
	}
	status, page := b.post("/keys", "alias", "payroll", "description", "of salaries")
	id := regexp.MustCompile(`<h1>Key ([0-9a-f-]{36})</h1>`).FindStringSubmatch(page)
	if status != http.StatusOK || id == nil || !strings.Contains(page, "alias/payroll") || !strings.Contains(page, "of salaries") {
		t.Fatalf("creating: %d %s", status, page)
	}
	for _, step := range []struct {
		path string
		form []string
		want string
	}{
		{"/disable", nil, "The key is disabled"},
		{"/enable", nil, "The key is enabled"},
		{"/delete", []string{"days", "7", "confirm", "another"}, "type its id"},
		{"/delete", []string{"days", "6", "confirm", id[1]}, "Refused: ValidationException"},
		{"/delete", []string{"days", "7", "confirm", id[1]}, "run waxseal inventory first"},
	} {
		if _, page = b.post("/keys/"+id[1]+step.path, step.form...); !strings.Contains(page, step.want) {
			t.Errorf("%s %v: no %q in\n%s", step.path, step.form, step.want, page)
		}
	}
	k.commitWalk()
	if _, page = b.post("/keys/"+id[1]+"/delete", "days", "7", "confirm", id[1]); !strings.Contains(page, "pending deletion") {
		t.Errorf("scheduling: %s", page)
	}
	if _, page = b.post("/keys/" + id[1] + "/enable"); !strings.Contains(page, "Refused: KMSInvalidStateException") {
		t.Errorf("enabling a key that waits for its deletion: %s", page)
	}
	if _, page = b.post("/keys/" + id[1] + "/cancel"); !strings.Contains(page, "The deletion was cancelled") {
		t.Errorf("cancelling: %s", page)
	}
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
