package proxytest

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"net/http"
	"regexp"
)

// A store without encoding-type=url writes names as XML allows, with U+FFFD for other characters. Its continuation
// token is the last name of the page.

// askPlain turns a request to such a store into a request for the engine.
func askPlain(r *http.Request) {
	q := r.URL.Query()
	if !q.Has("encoding-type") && !q.Has("continuation-token") {
		return
	}
	if after := q.Get("continuation-token"); after != "" {
		q.Set("start-after", after)
		q.Del("continuation-token")
	}
	if q.Get("encoding-type") == "url" {
		q.Del("encoding-type")
	}
	r.URL.RawQuery = q.Encode()
}

var (
	characterNumber = regexp.MustCompile(`&#x[0-9a-f]+;`)
	nextToken       = regexp.MustCompile(`<NextContinuationToken>(.*?)</NextContinuationToken>`)
)

// plainPage turns the engine's page into a page of such a store.
func plainPage(page []byte) []byte {
	page = nextToken.ReplaceAllFunc(page, func(element []byte) []byte {
		token, err := base64.URLEncoding.DecodeString(string(nextToken.FindSubmatch(element)[1]))
		must(err)
		var name bytes.Buffer
		must(xml.EscapeText(&name, token[1:]))
		return []byte("<NextContinuationToken>" + name.String() + "</NextContinuationToken>")
	})
	return characterNumber.ReplaceAll(page, []byte("\uFFFD"))
}
