package iam

import (
	"bytes"
	"encoding/json"
	"io"
)

// member is one name and value of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

// object splits a JSON object, keeping the order and the bytes of its values. A name that comes twice is refused:
// two readers of one document must not see two policies.
func object(document []byte) ([]member, bool) {
	d := json.NewDecoder(bytes.NewReader(document))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	var list []member
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, false
		}
		m := member{name: name}
		if err := d.Decode(&m.value); err != nil {
			return nil, false
		}
		for _, other := range list {
			if other.name == name {
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

func text(raw json.RawMessage) (string, bool) {
	var s string
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return "", false
	}
	return s, true
}

// texts reads a string or a list of strings.
func texts(raw json.RawMessage) ([]string, bool) {
	if s, ok := text(raw); ok {
		return []string{s}, true
	}
	var list []json.RawMessage
	if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &list) != nil {
		return nil, false
	}
	out := make([]string, len(list))
	for i, item := range list {
		var ok bool
		if out[i], ok = text(item); !ok {
			return nil, false
		}
	}
	return out, true
}

// scalars reads what a condition is compared with: a string, number or boolean, or a list of them.
func scalars(raw json.RawMessage) ([]string, bool) {
	if s, ok := scalar(raw); ok {
		return []string{s}, true
	}
	var list []json.RawMessage
	if len(raw) == 0 || raw[0] != '[' || json.Unmarshal(raw, &list) != nil {
		return nil, false
	}
	out := make([]string, len(list))
	for i, item := range list {
		var ok bool
		if out[i], ok = scalar(item); !ok {
			return nil, false
		}
	}
	return out, true
}

func scalar(raw json.RawMessage) (string, bool) {
	if s, ok := text(raw); ok {
		return s, true
	}
	if len(raw) == 0 || raw[0] == '[' || raw[0] == '{' || raw[0] == '"' || raw[0] == 'n' {
		return "", false
	}
	return string(raw), true
}
