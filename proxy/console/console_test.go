package console

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"waxseal/keystore/iam"
)

// hostile are texts that would be more than text on a page that does not escape them.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `javascript:alert(1)`, `</textarea><svg onload=alert(1)>`,
	`&lt;b&gt;`, "a\x00b", "\u202Egnp.exe", "\xff\xfe", `<!--`, `]]>`, "\u2028", `${7*7}{{7*7}}`, `//evil.example`, `\\evil.example`, `data:text/html,x`,
}

// TestEscape: whatever a text is, it comes back from a parser as that text, and makes no element or attribute.
func TestEscape(t *testing.T) {
	for _, s := range hostile {
		var b bytes.Buffer
		el("p", attr{"title", s}, attr{"value", s}, text(s), to("/keys", s).query("x", s), link(s, to("/keys", s)), badge("good", s), code(s)).write(&b)
		decoder := xml.NewDecoder(&b)
		elements := 0
		for {
			token, err := decoder.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%q: %v in %s", s, err, b.String())
			}
			start, ok := token.(xml.StartElement)
			if !ok {
				continue
			}
			elements++
			for _, a := range start.Attr {
				if !map[string]bool{"title": true, "value": true, "href": true, "class": true}[a.Name.Local] {
					t.Errorf("%q made the attribute %s", s, a.Name.Local)
				}
				if a.Name.Local == "href" && (!strings.HasPrefix(a.Value, "/keys/") || strings.ContainsAny(a.Value, "<>\"'\\\x00")) {
					t.Errorf("%q made the link %q", s, a.Value)
				}
			}
		}
		if elements != 4 {
			t.Errorf("%q made %d elements of 4", s, elements)
		}
	}
}

// TestInvisibleIsShown: a name that looks like another shows why.
func TestInvisibleIsShown(t *testing.T) {
	var b bytes.Buffer
	text("pay\u202Elor\x1b[31m\u200b").write(&b)
	if got, want := b.String(), `pay\u{202e}lor\u{1b}[31m\u{200b}`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestLinksStayHere: no path leads to another host.
func TestLinksStayHere(t *testing.T) {
	for _, path := range append(hostile, "/", "//evil.example/x", `/\evil.example`, "keys") {
		got := to(path).value
		if u, err := url.Parse(got); strings.HasPrefix(got, "//") || strings.HasPrefix(got, `/\`) || !strings.HasPrefix(got, "/") || err == nil && u.Host != "" {
			t.Errorf("to(%q) is %q", path, got)
		}
	}
}

type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

func TestSessionsEnd(t *testing.T) {
	c := &clock{time.Unix(1e9, 0)}
	s := newSessions(c.read)
	token := s.begin("AKIA", iam.NewSecret("secret"))
	if other := s.begin("AKIA", iam.NewSecret("secret")); other == token || len(token) < 43 {
		t.Fatalf("tokens %q and %q", token, other)
	}
	for _, wrong := range []string{"", "x", token + "x", token[1:]} {
		if _, ok := s.find(wrong); ok {
			t.Errorf("the token %q has a session", wrong)
		}
	}
	for range int(longestTime/idleTime) * 2 {
		c.now = c.now.Add(idleTime/2 - time.Second)
		if _, ok := s.find(token); !ok && c.now.Sub(time.Unix(1e9, 0)) < longestTime {
			t.Fatal("a session in use has ended")
		}
	}
	c.now = c.now.Add(idleTime)
	if _, ok := s.find(token); ok {
		t.Error("the session outlasts its longest time")
	}
	token = s.begin("AKIA", iam.NewSecret("secret"))
	c.now = c.now.Add(idleTime + time.Second)
	if _, ok := s.find(token); ok {
		t.Error("an idle session has not ended")
	}
	for range 2 * mostOpen {
		s.begin("AKIA", iam.NewSecret("secret"))
	}
	if len(s.open) > mostOpen {
		t.Errorf("%d sessions are open", len(s.open))
	}
}

func TestSessionHoldsOneSecret(t *testing.T) {
	s := newSessions(time.Now)
	one, _ := s.find(s.begin("AKIA", iam.NewSecret("old")))
	owner := iam.RootOf("000000000000")
	for secret, want := range map[string]bool{"old": true, "new": false, "": false} {
		if got := one.holds(iam.Credential{Secret: iam.NewSecret(secret), Owner: owner}); got != want {
			t.Errorf("a session of the secret %q holds with %q: %v", "old", secret, got)
		}
	}
}

// TestThrottle: guesses from an address wait longer and longer, other addresses do not, and all of them together are
// bounded.
func TestThrottle(t *testing.T) {
	c := &clock{time.Unix(1e9, 0)}
	th := newThrottle(c.read)
	tried := 0
	for range 3600 { // an hour of a guess a second
		if th.admit("192.0.2.1") == 0 {
			tried++
		}
		c.now = c.now.Add(time.Second)
	}
	if tried < freeFailures || tried > 20 {
		t.Errorf("%d guesses in an hour were looked at", tried)
	}
	if wait := th.admit("192.0.2.2"); wait != 0 {
		t.Errorf("another address waits %v", wait)
	}
	for range freeFailures - 1 {
		th.admit("2001:db8::1")
	}
	th.admit("2001:db8::2")
	if th.admit("2001:db8::3") == 0 {
		t.Error("addresses of one IPv6 network are counted apart")
	}
	c.now = c.now.Add(time.Hour)
	th.succeeded("192.0.2.1")
	for i := range freeFailures {
		if wait := th.admit("192.0.2.1"); wait != 0 {
			t.Errorf("after a right sign-in attempt %d waits %v", i, wait)
		}
	}
	c.now = c.now.Add(time.Hour)
	tried = 0
	for i := range 10_000 {
		if th.admit(fmt.Sprintf("10.%d.%d.1", i>>8, i&255)) == 0 {
			tried++
		}
	}
	if tried != failuresAMin {
		t.Errorf("%d guesses from 10,000 addresses in a minute were looked at", tried)
	}
}

func TestFilter(t *testing.T) {
	f, err := filterOf(url.Values{"since": {"2026-11-30"}, "until": {"2026-11-30"}, "object": {"s3://photos/a/b.jpg"}, "event": {"Decrypt"}})
	if err != nil || f.Bucket != "photos" || f.Object != "a/b.jpg" || f.Until.Sub(f.Since) != 24*time.Hour {
		t.Errorf("%+v, %v", f, err)
	}
	for _, day := range []string{"yesterday", "2026-13-01", "<script>"} {
		if _, err := filterOf(url.Values{"since": {day}}); err == nil {
			t.Errorf("%q is a day", day)
		}
	}
}

func TestWords(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) is %q", n, got)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 1_500_000: "1.5 MB", 1 << 62: "4.6 EB"} {
		if got := bytesOf(n); got != want {
			t.Errorf("bytesOf(%d) is %q", n, got)
		}
	}
}
