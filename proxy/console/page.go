package console

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// document is a whole page.
func document(title string, header node, main node) node {
	return el("html", attr{"lang", "en"},
		el("head",
			el("meta", attr{"charset", "utf-8"}),
			el("meta", attr{"name", "viewport"}, attr{"content", "width=device-width, initial-scale=1"}),
			el("meta", attr{"name", "color-scheme"}, attr{"content", "light dark"}),
			el("title", text(title+" · waxseal")),
			el("link", attr{"rel", "stylesheet"}, attr{"href", "/style.css"})),
		el("body", header, main))
}

// sections are the pages of the navigation.
var sections = []struct{ path, name string }{
	{"/", "Overview"}, {"/buckets", "Buckets"}, {"/keys", "Keys"}, {"/usage", "Usage"}, {"/audit", "Audit"},
}

// show sends a page of the person's.
func (v *visit) show(status int, title string, parts ...node) {
	var nav []node
	here := v.r.URL.Path
	for _, s := range sections {
		a := el("a", to(s.path), text(s.name))
		if here == s.path || s.path != "/" && strings.HasPrefix(here, s.path+"/") {
			a = el("a", to(s.path), attr{"aria-current", "page"}, text(s.name))
		}
		nav = append(nav, a)
	}
	header := el("header",
		el("a", class("skip"), attr{"href", "#main"}, text("To the content")),
		el("span", class("brand"), text("waxseal")),
		el("nav", append([]node{attr{"aria-label", "Pages"}}, nav...)...),
		el("div", class("who"), el("span", class("name"), attr{"title", v.who.ARN}, text(v.who.Name)), v.form("/logout", button("quiet", "Sign out"))))
	content := append([]node{attr{"id", "main"}, el("h1", text(title))}, parts...)
	send(v.w, status, document(title, header, el("main", content...)))
}

// form is a form with the session's token.
func (v *visit) form(action string, parts ...node) element {
	fields := []node{attr{"method", "post"}, attr{"action", action}, el("input", attr{"type", "hidden"}, attr{"name", "csrf"}, attr{"value", v.csrf})}
	return el("form", append(fields, parts...)...)
}

func button(kind, name string) element {
	return el("button", attr{"type", "submit"}, class(kind), text(name))
}

// field is a labelled input. Attributes say more of the input.
func field(name, label, value string, more ...node) element {
	input := append([]node{attr{"name", name}, attr{"value", value}, attr{"autocomplete", "off"}}, more...)
	return el("label", el("span", text(label)), el("input", input...))
}

func loginPage(problem string) node {
	var message node
	if problem != "" {
		message = el("p", class("notice bad"), attr{"role", "alert"}, text(problem))
	}
	return document("Sign in", nil, el("main", class("alone"),
		el("h1", text("waxseal")),
		el("p", class("muted"), text("Sign in with an access key.")),
		message,
		el("form", attr{"method", "post"}, attr{"action", "/login"}, class("stacked"),
			el("label", el("span", text("Access key")), el("input", attr{"name", "access_key"}, attr{"autocomplete", "username"}, attr{"autocapitalize", "none"},
				attr{"spellcheck", "false"}, attr{"required", ""}, attr{"autofocus", ""}, attr{"maxlength", "128"})),
			el("label", el("span", text("Secret key")), el("input", attr{"name", "secret_key"}, attr{"type", "password"}, attr{"autocomplete", "current-password"},
				attr{"required", ""}, attr{"maxlength", "256"})),
			button("primary", "Sign in"))))
}

// notice is a message about what was done or refused.
func notice(kind, t string) element {
	return el("p", class("notice "+kind), attr{"role", "status"}, text(t))
}

// facts is a list of names with values.
func facts(pairs ...node) element {
	var parts []node
	for i := 0; i+1 < len(pairs); i += 2 {
		parts = append(parts, el("div", el("dt", pairs[i]), el("dd", pairs[i+1])))
	}
	return el("dl", append([]node{class("facts")}, parts...)...)
}

// card is a figure of the overview with what it means.
func card(title string, figure string, more ...node) element {
	return el("section", append([]node{class("card"), h2(title), el("p", class("figure"), text(figure))}, more...)...)
}

// count is a number with its thousands apart.
func count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// bytesOf is a size as people read it, in units of 1,000.
func bytesOf(n int64) string {
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	exponent := min(int(math.Log10(float64(n))/3), 6)
	value := float64(n) / math.Pow(1000, float64(exponent))
	return fmt.Sprintf("%.1f %cB", value, "kMGTPE"[exponent-1])
}

func objects(n int64) string {
	if n == 1 {
		return "1 object"
	}
	return count(n) + " objects"
}

// moment is an instant in UTC.
func moment(t time.Time) node {
	if t.IsZero() {
		return muted("never")
	}
	t = t.UTC()
	return el("time", attr{"datetime", t.Format(time.RFC3339)}, text(t.Format("2006-01-02 15:04")))
}

// ago says how long before now an instant was.
func ago(now, t time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return "never"
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return plural(int64(d/time.Minute), "minute") + " ago"
	case d < 48*time.Hour:
		return plural(int64(d/time.Hour), "hour") + " ago"
	default:
		return plural(int64(d/(24*time.Hour)), "day") + " ago"
	}
}

func plural(n int64, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return count(n) + " " + unit + "s"
}
