// Package strictjson reads the JSON documents that decide about access: policies. Two readers of one document must not
// see two policies, so what encoding/json passes over is refused: a name that comes twice, and anything behind the end.
package strictjson

import (
	"bytes"
	"encoding/json"
	"io"
)

// Member is one name and value of a JSON object.
type Member struct {
	Name  string
	Value json.RawMessage
}

// Object splits a JSON object, keeping the order and the bytes of its values. It says whether the document is one.
func Object(document []byte) ([]Member, bool) {
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
