package strictjson

import "testing"

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
