package console

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"
	"unicode"
)

// The pages are written without html/template: it looks methods up by name, with which the linker keeps every exported
// method of the program. A page is a tree of nodes. Text and attribute values are strings until [escape] writes them,
// there is no node for ready HTML, and names of elements and attributes are constants of this package.

// node is a part of a page.
type node interface{ write(b *bytes.Buffer) }

// text is plain text.
type text string

func (t text) write(b *bytes.Buffer) { escape(b, string(t)) }

// attr is an attribute of the element that it is a part of.
type attr struct{ name, value string }

func (attr) write(*bytes.Buffer) {} // the element writes it

// group is nodes one after the other. A nil node is left out.
type group []node

func (g group) write(b *bytes.Buffer) {
	for _, n := range g {
		if n != nil {
			n.write(b)
		}
	}
}

// element is an HTML element.
type element struct {
	name  string
	parts []node
}

// el makes an element of attributes and content. A nil part is left out.
func el(name string, parts ...node) element { return element{name, parts} }

// void are the elements without content and end tag.
var void = map[string]bool{"meta": true, "link": true, "input": true}

func (e element) write(b *bytes.Buffer) {
	b.WriteByte('<')
	b.WriteString(e.name)
	for _, p := range e.parts {
		if a, ok := p.(attr); ok {
			b.WriteByte(' ')
			b.WriteString(a.name)
			b.WriteString(`="`)
			escape(b, a.value)
			b.WriteByte('"')
		}
	}
	b.WriteByte('>')
	if void[e.name] {
		return
	}
	for _, p := range e.parts {
		if p != nil {
			p.write(b)
		}
	}
	b.WriteString("</")
	b.WriteString(e.name)
	b.WriteByte('>')
}

// escape is the only way of strings into a page: it holds in text and between the quotes of an attribute. What cannot be
// seen is shown as its code point: a control or direction character in a name would make the page show another name.
func escape(b *bytes.Buffer, s string) {
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '&':
			b.WriteString("&amp;")
		case r == '"':
			b.WriteString("&#34;")
		case r == '\'':
			b.WriteString("&#39;")
		case r == '\n' || r == '\t' || unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(b, `\u{%x}`, r)
		}
	}
}

func class(name string) attr { return attr{"class", name} }

// to is a link to a page of the console: it begins with a slash of this package, so that no name makes it a script or an
// address elsewhere. Segments are escaped.
func to(path string, segments ...string) attr { return attr{"href", pathOf(path, segments...)} }

func pathOf(path string, segments ...string) string {
	var b strings.Builder
	b.WriteString("/" + strings.TrimLeft(path, "/\\"))
	for _, s := range segments {
		b.WriteString("/" + url.PathEscape(s))
	}
	return b.String()
}

// query adds parameters to a link.
func (a attr) query(pairs ...string) attr {
	q := make(url.Values)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) > 0 {
		a.value += "?" + q.Encode()
	}
	return a
}

func p(parts ...node) element       { return el("p", parts...) }
func h2(title string) element       { return el("h2", text(title)) }
func link(t string, a attr) element { return el("a", a, text(t)) }

// cut is text on one line that the page cuts where there is no room. Pointing at it shows the whole.
func cut(t string) element { return el("span", class("cut"), attr{"title", t}, text(t)) }

func nowrap(t string) element { return el("span", class("nowrap"), text(t)) }

func code(t string) element  { return el("code", text(t)) }
func muted(t string) element { return el("span", class("muted"), text(t)) }

// badge is a word about a state. Kind is good, bad, warn or plain.
func badge(kind, t string) element { return el("span", class("badge "+kind), text(t)) }

// table is a table that scrolls in itself on narrow screens. Cells of number columns are aligned to the right.
type table struct {
	head    []string // a name that ends with # is of a column of numbers
	rows    [][]node
	caption string
	empty   string // shown in place of a table without rows
}

func (t table) write(b *bytes.Buffer) {
	if len(t.rows) == 0 {
		el("p", class("empty"), text(t.empty)).write(b)
		return
	}
	var head []node
	numbers := make([]bool, len(t.head))
	for i, name := range t.head {
		name, numbers[i] = strings.CutSuffix(name, "#")
		cell := []node{attr{"scope", "col"}, text(name)}
		if numbers[i] {
			cell = append(cell, class("number"))
		}
		head = append(head, el("th", cell...))
	}
	var body []node
	for _, row := range t.rows {
		var cells []node
		for i, c := range row {
			parts := []node{c}
			if numbers[i] {
				parts = append(parts, class("number"))
			}
			cells = append(cells, el("td", parts...))
		}
		body = append(body, el("tr", cells...))
	}
	el("div", class("scroll"), attr{"tabindex", "0"}, attr{"role", "region"}, attr{"aria-label", t.caption},
		el("table", el("thead", el("tr", head...)), el("tbody", body...))).write(b)
}
