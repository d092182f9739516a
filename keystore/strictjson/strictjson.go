// Package strictjson reads JSON documents for decisions about access and keys: policies, requests to the key service,
// encryption contexts. Two readers of a document must not see different contents, and two documents must not be read as
// equal. So the package refuses three things accepted by encoding/json: a name that comes twice, bytes after the end,
// and invalid Unicode (bytes that are no UTF-8, a surrogate without its other half: encoding/json turns both into
// U+FFFD).
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// Member is a name and value of a JSON object.
type Member struct {
	Name  string
	Value json.RawMessage
}

// Object splits a JSON object, keeping the order and the bytes of its values. It reports whether the document is an
// object.
func Object(document []byte) ([]Member, bool) {
	if checkText(document) != nil {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(document))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	var list []Member
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, false
		}
		m := Member{Name: name}
		if err := d.Decode(&m.Value); err != nil {
			return nil, false
		}
		for _, other := range list {
			if other.Name == name {
				return nil, false
			}
		}
		list = append(list, m)
	}
	if _, err := d.Token(); err != nil {
		return nil, false
	}
	_, err := d.Token()
	return list, err == io.EOF
}

// maxDepth is deeper than any document read here, and shallower than any stack.
const maxDepth = 32

// Decode reads a whole document as json.Unmarshal reads it into an any, but numbers are json.Number. Errors name no
// value: it may be a secret.
func Decode(document []byte) (any, error) {
	if err := checkText(document); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	v, err := decodeValue(d, maxDepth)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("there is something behind the document")
	}
	return v, nil
}

var errSyntax = errors.New("not valid JSON")

func decodeValue(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, errSyntax
	}
	if depth == 0 {
		return nil, fmt.Errorf("nested more than %d levels deep", maxDepth)
	}
	switch t {
	case json.Delim('{'):
		return decodeObject(d, depth-1)
	case json.Delim('['):
		return decodeList(d, depth-1)
	}
	return t, nil
}

func decodeObject(d *json.Decoder, depth int) (any, error) {
	object := map[string]any{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errSyntax
		}
		if _, twice := object[name]; twice {
			return nil, errors.New("a name comes twice in one object")
		}
		if object[name], err = decodeValue(d, depth); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, errSyntax
	}
	return object, nil
}

func decodeList(d *json.Decoder, depth int) (any, error) {
	list := []any{}
	for d.More() {
		v, err := decodeValue(d, depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	if _, err := d.Token(); err != nil {
		return nil, errSyntax
	}
	return list, nil
}

// checkText refuses text that encoding/json would replace by U+FFFD.
func checkText(document []byte) error {
	if !utf8.Valid(document) {
		return errors.New("not UTF-8")
	}
	for i := bytes.IndexByte(document, '\\'); i >= 0 && i < len(document); {
		switch unit, ok := escapedUnit(document[i:]); {
		case document[i] != '\\':
			i++
		case !ok:
			i += 2
		case isHigh(unit):
			low, ok := escapedUnit(document[i+escapeSize:])
			if !ok || !isLow(low) {
				return errSurrogate
			}
			i += 2 * escapeSize
		case isLow(unit):
			return errSurrogate
		default:
			i += escapeSize
		}
	}
	return nil
}

var errSurrogate = errors.New("half of a surrogate pair is no character")

// escapeSize is the length of an escape like \u00e9.
const escapeSize = 6

// escapedUnit reads the UTF-16 unit of an escape at the beginning of b.
func escapedUnit(b []byte) (uint64, bool) {
	if len(b) < escapeSize || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(b[2:escapeSize]), 16, 16)
	return unit, err == nil
}

func isHigh(unit uint64) bool { return unit >= 0xd800 && unit < 0xdc00 }
func isLow(unit uint64) bool  { return unit >= 0xdc00 && unit < 0xe000 }
