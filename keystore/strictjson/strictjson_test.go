package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestObject(t *testing.T) {
	got, ok := Object([]byte(` {"b": [1, 2], "a": {"x": "y"}, "c": null} `))
	if !ok || len(got) != 3 || got[0].Name != "b" || string(got[0].Value) != "[1, 2]" || got[1].Name != "a" || string(got[1].Value) != `{"x": "y"}` {
		t.Fatalf("got %q, %v", got, ok)
	}
	if got, ok := Object([]byte("{}")); !ok || len(got) != 0 {
		t.Errorf("an empty object: %q, %v", got, ok)
	}
	for name, document := range map[string]string{
		"nothing": "", "a list": `["a"]`, "a string": `"a"`, "null": "null", "cut in a name": `{"a`, "cut in a value": `{"a": [1`, "no end": `{"a": 1`,
		"a name twice": `{"a": 1, "a": 1}`, "a name twice, written otherwise": `{"a": 1, "\u0061": 1}`, "something behind": `{"a": 1} {}`,
		"a comma at the end": `{"a": 1,}`, "no comma": `{"a": 1 "b": 2}`, "a number for a name": `{1: 2}`,
	} {
		if got, ok := Object([]byte(document)); ok {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func FuzzObject(f *testing.F) {
	f.Add([]byte(`{"a": 1, "b": {"c": []}}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		list, ok := Object(document)
		seen := make(map[string]bool)
		for _, m := range list {
			if ok && seen[m.Name] {
				t.Fatalf("%q comes twice", m.Name)
			}
			seen[m.Name] = true
		}
	})
}

func TestDecode(t *testing.T) {
	for document, want := range map[string]any{
		`{"a":{"b":[1,"x",null,true]}}`:  map[string]any{"a": map[string]any{"b": []any{json.Number("1"), "x", nil, true}}},
		` "\ud83d\ude00 \\ud800 \u00e9"`: "😀 \\ud800 é",
		`{}`:                             map[string]any{},
		`null`:                           nil,
		`"\\\\ud800"`:                    `\\ud800`,
		"\"\uFFFD\"":                     "\uFFFD",
	} {
		if got, err := Decode([]byte(document)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %#v, %v", document, got, err)
		}
	}
}

// refused are documents refused at any depth.
var refused = map[string]string{
	"nothing": "", "cut": `{"a":`, "a name twice": `{"a":"1","a":"1"}`, "a name twice, escaped": `{"a":1,"\u0061":2}`,
	"behind it": `{} x`, "another document behind it": `{}{}`, "a high surrogate alone": `{"a":"\ud800"}`,
	"a low surrogate alone": `{"a":"\udc00"}`, "surrogates in the wrong order": `{"a":"\udc00\ud800"}`,
	"a high surrogate before text": `{"a":"\ud800x"}`, "a surrogate in a name": `{"\uDBFF":1}`,
	"two high surrogates": `{"a":"\ud800\ud800"}`, "a surrogate behind a backslash": `{"a":"\\\ud800"}`,
	"no UTF-8": "{\"a\":\"\xff\"}", "an encoded surrogate": "{\"a\":\"\xed\xa0\x80\"}", "no UTF-8 in a name": "{\"\x80\":1}",
	"too deep": strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40), "a comma at the end": `{"a":1,}`,
}

func TestDecodeRefuses(t *testing.T) {
	for name, document := range refused {
		for _, whole := range []string{document, `{"outer":` + document + `}`} {
			if got, err := Decode([]byte(whole)); err == nil {
				t.Errorf("%s: %q gives %#v", name, whole, got)
			}
		}
		if _, ok := Object([]byte(document)); ok && name != "too deep" {
			t.Errorf("%s: %q is an object", name, document)
		}
	}
}

// FuzzDecode: encoding/json reads a document accepted by Decode in the same way, and no two documents with different
// strings are read as equal.
func FuzzDecode(f *testing.F) {
	for _, document := range refused {
		f.Add([]byte(document))
	}
	f.Add([]byte(`{"a":{"b":[1,"\ud83d\ude00",null,true]}}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		got, err := Decode(document)
		if err != nil {
			return
		}
		d := json.NewDecoder(bytes.NewReader(document))
		d.UseNumber()
		var want any
		if err := d.Decode(&want); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %#v, encoding/json %#v, %v", document, got, want, err)
		}
		if strings.Contains(fmt.Sprint(got), "\uFFFD") && !bytes.Contains(document, []byte("\uFFFD")) && !bytes.Contains(bytes.ToLower(document), []byte(`\ufffd`)) {
			t.Fatalf("%q: a character was replaced", document)
		}
	})
}
