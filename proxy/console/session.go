package console

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"sync"
	"time"

	"waxseal/keystore/iam"
)

// Bounds of sessions.
const (
	idleTime    = 30 * time.Minute
	longestTime = 8 * time.Hour
	mostOpen    = 1000 // sessions; the one idle longest makes room
)

// session is a signed-in person. The access key is looked up again on each request.
type session struct {
	accessKey string
	secret    [sha256.Size]byte // a hash of the secret that opened the session: another secret ends it
	csrf      string            // in every form
	begun     time.Time
	seen      time.Time
}

// sessions are kept in memory: a restart signs everybody out. They are found by the hash of their token, so that nothing
// in memory, or in a dump of it, is a token.
type sessions struct {
	now func() time.Time

	mu   sync.Mutex
	open map[[sha256.Size]byte]*session
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, open: make(map[[sha256.Size]byte]*session)}
}

func randomToken() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// begin opens a session with a token that nobody has seen before: a token that a browser brings along is never taken.
func (s *sessions) begin(accessKey string, secret iam.Secret) (token string) {
	token = randomToken()
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= mostOpen {
		s.dropOldest()
	}
	s.open[sha256.Sum256([]byte(token))] = &session{accessKey: accessKey, secret: sha256.Sum256([]byte(secret.Reveal())), csrf: randomToken(), begun: now, seen: now}
	return token
}

func (s *sessions) dropOldest() {
	var oldest [sha256.Size]byte
	var at time.Time
	for id, one := range s.open {
		if at.IsZero() || one.seen.Before(at) {
			oldest, at = id, one.seen
		}
	}
	delete(s.open, oldest)
}

// find returns a copy of the session of a token, and counts as a use of it.
func (s *sessions) find(token string) (session, bool) {
	now, id := s.now(), sha256.Sum256([]byte(token))
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.open[id]
	if !ok {
		return session{}, false
	}
	if now.Sub(one.seen) > idleTime || now.Sub(one.begun) > longestTime {
		delete(s.open, id)
		return session{}, false
	}
	one.seen = now
	return *one, true
}

func (s *sessions) end(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, sha256.Sum256([]byte(token)))
}

// holds reports whether a credential is still the one that opened the session.
func (s *session) holds(c iam.Credential) bool {
	sum := sha256.Sum256([]byte(c.Secret.Reveal()))
	return c.Owner != nil && subtle.ConstantTimeCompare(sum[:], s.secret[:]) == 1
}

// cookieName has the prefix that browsers accept over TLS only, for the whole host, from the host itself.
func (c *Console) cookieName() string {
	if c.cfg.Secure {
		return "__Host-waxseal"
	}
	return "waxseal-console"
}

func (c *Console) setCookie(w http.ResponseWriter, token string) {
	cookie := &http.Cookie{Name: c.cookieName(), Value: token, Path: "/", HttpOnly: true, Secure: c.cfg.Secure, SameSite: http.SameSiteStrictMode}
	if token == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}

func (c *Console) token(r *http.Request) string {
	cookie, err := r.Cookie(c.cookieName())
	if err != nil {
		return ""
	}
	return cookie.Value
}
