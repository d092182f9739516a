// Package console is waxseal's console for a browser: what is encrypted with what, what it costs, which keys there are and
// who used them; and a key's life. Pages are made here and need no scripts.
//
// People sign in with an access key. What the console shows needs the right to waxseal:ConsoleView, records of uses
// waxseal:ConsoleAudit; what it does to keys are requests of the KMS API in the person's name.
package console

import (
	"bytes"
	"context"
	"crypto/subtle"
	_ "embed"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/iam"
	"waxseal/keystore/local"
	"waxseal/keystore/usage"
	"waxseal/proxy/ledger"
)

// Actions of the console, for identity policies.
const (
	ActionView  = "waxseal:ConsoleView"
	ActionAudit = "waxseal:ConsoleAudit"
)

// Config is what the console shows and with what it asks. All fields but Keys are needed.
type Config struct {
	Users    iam.Resolver
	Keys     *local.Service // nil: the keys are with another key service
	Ledger   func(ctx context.Context) (*ledger.Reading, error)
	Usage    func(ctx context.Context, month string) (*usage.Report, error)
	Ready    func() (status int, text string)
	Audit    audit.Sink
	AuditDir string
	DataLog  bool // requests for objects have records of their own

	Region, Account string

	Secure bool                         // it is served over TLS
	Client func(r *http.Request) string // the client's address
	Now    func() time.Time
	Log    *slog.Logger
}

// Console answers requests of browsers.
type Console struct {
	cfg      Config
	sessions *sessions
	throttle *throttle
	searches chan struct{} // places for searches of the audit records
	mux      *http.ServeMux
}

// New makes a console.
func New(cfg Config) *Console {
	c := &Console{cfg: cfg, sessions: newSessions(cfg.Now), throttle: newThrottle(cfg.Now), searches: make(chan struct{}, searchesAtOnce), mux: http.NewServeMux()}
	c.mux.HandleFunc("GET /style.css", sendStyle)
	c.mux.HandleFunc("GET /login", c.showLogin)
	c.mux.HandleFunc("POST /login", c.login)
	for pattern, page := range map[string]route{
		"GET /{$}":                {ActionView, (*visit).overview},
		"GET /keys":               {ActionView, (*visit).keys},
		"POST /keys":              {ActionView, (*visit).createKey},
		"GET /keys/{id}":          {ActionView, (*visit).key},
		"POST /keys/{id}/disable": {ActionView, changeKey("DisableKey", "disabled")},
		"POST /keys/{id}/enable":  {ActionView, changeKey("EnableKey", "enabled")},
		"POST /keys/{id}/cancel":  {ActionView, changeKey("CancelKeyDeletion", "cancelled")},
		"POST /keys/{id}/delete":  {ActionView, (*visit).scheduleDeletion},
		"GET /buckets":            {ActionView, (*visit).buckets},
		"GET /usage":              {ActionView, (*visit).usage},
		"GET /audit":              {ActionAudit, (*visit).audit},
		"POST /logout":            {"", (*visit).logout},
		"/":                       {ActionView, (*visit).unknown},
	} {
		c.mux.HandleFunc(pattern, c.signedIn(page))
	}
	return c
}

// route is a page with the right that it needs; none: being signed in is enough.
type route struct {
	action string
	serve  func(*visit) error
}

// visit is a request of a signed-in person.
type visit struct {
	*Console
	session
	w   http.ResponseWriter
	r   *http.Request
	who *iam.Requester
}

//go:embed style.css
var style []byte

func sendStyle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "max-age=300")
	_, _ = w.Write(style) // a client that has gone needs none
}

// maxForm is more than any form of the console has.
const maxForm = 64 << 10

// ServeHTTP implements http.Handler.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin") // with no-referrer browsers send forms with the Origin null
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if c.cfg.Secure {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if r.Method != http.MethodGet && r.Method != http.MethodHead && !sameOrigin(r) {
		c.refuse(w, http.StatusForbidden, "This request did not come from a page of the console.")
		return
	}
	c.mux.ServeHTTP(w, r)
}

// sameOrigin reports whether a page of the console itself sent the request. Browsers send an Origin with every POST.
func sameOrigin(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return false
	}
	origin, err := url.Parse(r.Header.Get("Origin"))
	return err == nil && origin.Host != "" && origin.Host == r.Host
}

// signedIn serves a page to who is signed in and has the right to it.
func (c *Console) signedIn(page route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, ok := c.visitOf(w, r)
		if !ok {
			c.setCookie(w, "")
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return
		}
		if r.Method == http.MethodPost && !v.ownForm() {
			c.refuse(w, http.StatusForbidden, "This form is not of your session. Go back, load the page again and send it once more.")
			return
		}
		if page.action != "" && !v.may(page.action) {
			v.show(http.StatusForbidden, "Not allowed", p(text("Your policies do not allow you "), code(page.action), text(". A user other than root needs a policy that names it: a wildcard for all actions does not count.")))
			return
		}
		if err := page.serve(v); err != nil {
			v.fail(err)
		}
	}
}

// visitOf finds the session of a request and looks its access key up again: a user who was removed, or a key that was
// made inactive or new, ends it at once.
func (c *Console) visitOf(w http.ResponseWriter, r *http.Request) (*visit, bool) {
	token := c.token(r)
	s, ok := c.sessions.find(token)
	if !ok {
		return nil, false
	}
	credential, err := c.cfg.Users.Resolve(s.accessKey, "")
	if err != nil || !s.holds(credential) {
		c.sessions.end(token)
		return nil, false
	}
	return &visit{Console: c, session: s, w: w, r: r, who: credential.Owner}, true
}

// ownForm reports whether a form has the session's token.
func (v *visit) ownForm() bool {
	return subtle.ConstantTimeCompare([]byte(v.r.PostFormValue("csrf")), []byte(v.csrf)) == 1
}

// may reports whether the person's policies allow an action of the console.
func (v *visit) may(action string) bool {
	return v.who.Decide(&iam.Request{Principal: v.who.Principal(), Action: action, Resource: "*",
		Conditions: v.caller().Conditions(v.cfg.Now(), v.cfg.Region)}).Allowed()
}

// caller is how the key service sees the person.
func (v *visit) caller() keystore.Caller {
	k := keystore.CallerOf(v.who)
	k.SourceIP, k.UserAgent, k.RequestID = v.cfg.Client(v.r), v.r.UserAgent(), uuid.NewString()
	k.Transport = keystore.TransportOf(v.cfg.Secure)
	return k
}

// fail shows an error that is no answer of the key service: those pages show themselves.
func (v *visit) fail(err error) {
	v.cfg.Log.Error("console: a page failed", "path", v.r.URL.Path, "err", err)
	v.show(http.StatusInternalServerError, "Something is wrong", p(text("This page could not be made. The log of waxseal has the reason.")))
}

func (v *visit) unknown() error {
	v.show(http.StatusNotFound, "Not found", p(text("There is no such page.")))
	return nil
}

func (v *visit) logout() error {
	v.sessions.end(v.token(v.r))
	v.setCookie(v.w, "")
	http.Redirect(v.w, v.r, "/login", http.StatusSeeOther)
	return nil
}

// refuse shows an error to who may not be signed in.
func (c *Console) refuse(w http.ResponseWriter, status int, message string) {
	send(w, status, document("Refused", nil, el("main", class("alone"), el("h1", text("Refused")), p(text(message)), p(link("To the console", to("/"))))))
}

func send(w http.ResponseWriter, status int, doc node) {
	var b bytes.Buffer
	b.WriteString("<!DOCTYPE html>\n")
	doc.write(&b)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a client that has gone needs no page
}

func (c *Console) showLogin(w http.ResponseWriter, r *http.Request) {
	if _, ok := c.visitOf(w, r); ok {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	send(w, http.StatusOK, loginPage(""))
}

// login opens a session for the owner of an access key. What is wrong about a wrong pair is not told.
func (c *Console) login(w http.ResponseWriter, r *http.Request) {
	from := c.cfg.Client(r)
	if wait := c.throttle.admit(from); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		send(w, http.StatusTooManyRequests, loginPage("Too many wrong attempts. Try again in "+wait.Round(time.Second).String()+"."))
		return
	}
	accessKey, secret := strings.TrimSpace(r.PostFormValue("access_key")), r.PostFormValue("secret_key")
	credential, err := c.cfg.Users.Resolve(accessKey, "")
	known := err == nil && credential.Owner != nil
	right := subtle.ConstantTimeCompare([]byte(secret), []byte(credential.Secret.Reveal())) == 1 && known && secret != ""
	if err := c.recordLogin(r, credential.Owner, right); err != nil {
		c.cfg.Log.Error("console: a sign-in could not be recorded", "err", err)
		send(w, http.StatusServiceUnavailable, loginPage("Sign-ins cannot be recorded now, and are refused until they can."))
		return
	}
	if !right {
		send(w, http.StatusUnauthorized, loginPage("Access key and secret do not fit."))
		return
	}
	c.throttle.succeeded(from)
	c.sessions.end(c.token(r)) // what this browser was signed in as before
	c.setCookie(w, c.sessions.begin(accessKey, credential.Secret))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// recordLogin writes the audit record of a sign-in. A wrong access key is not in it: people put secrets into that field.
func (c *Console) recordLogin(r *http.Request, who *iam.Requester, right bool) error {
	record := &audit.Record{
		UserIdentity: audit.Identify(audit.Principal{Requester: who}), EventSource: audit.OwnSource, EventName: "ConsoleLogin",
		EventType: "AwsConsoleSignIn", AWSRegion: c.cfg.Region, SourceIPAddress: c.cfg.Client(r), UserAgent: r.UserAgent(),
		ResponseElements: map[string]any{"ConsoleLogin": "Success"}, ManagementEvent: true, RequestID: uuid.NewString(),
	}
	if !right {
		record.ResponseElements, record.ErrorCode, record.ErrorMessage = map[string]any{"ConsoleLogin": "Failure"}, "AccessDenied", "Failed authentication"
	}
	return c.cfg.Audit.Write(context.WithoutCancel(r.Context()), record)
}
