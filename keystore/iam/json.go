package iam

import (
	"encoding/json"
)

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

// scalars reads a condition's values: a string, number or boolean, or a list of them.
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
