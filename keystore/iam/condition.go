package iam

import (
	"encoding/json"
	"slices"
	"strings"

	"waxseal/keystore/strictjson"
)

// condition is an operator on a condition key; all conditions of a statement must hold
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html).
type condition struct {
	key      string // lower case
	operator operator
	operands []operand
}

// operator is a condition operator with its prefix and suffix taken apart.
type operator struct {
	kind     comparison
	negated  bool
	ifExists bool
	set      quantifier
}

// quantifier is the rule for a key with several values
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html).
type quantifier uint8

const (
	single quantifier = iota
	forAll
	forAny
)

// operators has every base operator; a negated operator shares the kind of its positive operator.
var operators = map[string]operator{
	"StringEquals":              {kind: stringEquals},
	"StringNotEquals":           {kind: stringEquals, negated: true},
	"StringEqualsIgnoreCase":    {kind: stringEqualsFold},
	"StringNotEqualsIgnoreCase": {kind: stringEqualsFold, negated: true},
	"StringLike":                {kind: stringLike},
	"StringNotLike":             {kind: stringLike, negated: true},
	"NumericEquals":             {kind: numericEquals},
	"NumericNotEquals":          {kind: numericEquals, negated: true},
	"NumericLessThan":           {kind: numericLess},
	"NumericLessThanEquals":     {kind: numericLessEquals},
	"NumericGreaterThan":        {kind: numericGreater},
	"NumericGreaterThanEquals":  {kind: numericGreaterEquals},
	"DateEquals":                {kind: dateEquals},
	"DateNotEquals":             {kind: dateEquals, negated: true},
	"DateLessThan":              {kind: dateLess},
	"DateLessThanEquals":        {kind: dateLessEquals},
	"DateGreaterThan":           {kind: dateGreater},
	"DateGreaterThanEquals":     {kind: dateGreaterEquals},
	"Bool":                      {kind: boolEquals},
	"BinaryEquals":              {kind: binaryEquals},
	"IpAddress":                 {kind: ipIn},
	"NotIpAddress":              {kind: ipIn, negated: true},
	"ArnEquals":                 {kind: arnLike},
	"ArnNotEquals":              {kind: arnLike, negated: true},
	"ArnLike":                   {kind: arnLike},
	"ArnNotLike":                {kind: arnLike, negated: true},
	"Null":                      {kind: isNull},
}

func parseOperator(name string) (operator, bool) {
	set := single
	base := name
	if rest, ok := strings.CutPrefix(name, "ForAllValues:"); ok {
		set, base = forAll, rest
	} else if rest, ok := strings.CutPrefix(name, "ForAnyValue:"); ok {
		set, base = forAny, rest
	}
	base, ifExists := strings.CutSuffix(base, "IfExists")
	o, ok := operators[base]
	if !ok || o.kind == isNull && (ifExists || set != single) {
		return o, false
	}
	o.ifExists, o.set = ifExists, set
	return o, true
}

func parseConditions(raw json.RawMessage, variables bool) ([]condition, error) {
	members, ok := strictjson.Object(raw)
	if !ok {
		return nil, malformed("Invalid policy syntax.")
	}
	var out []condition
	for _, m := range members {
		o, ok := parseOperator(m.Name)
		if !ok {
			return nil, malformed("Invalid Condition type : " + m.Name)
		}
		keys, ok := strictjson.Object(m.Value)
		if !ok {
			return nil, malformed("Invalid policy syntax.")
		}
		for _, k := range keys {
			c, err := parseCondition(o, k, variables)
			if err != nil {
				return nil, err
			}
			out = append(out, c)
		}
	}
	return out, nil
}

func parseCondition(o operator, k strictjson.Member, variables bool) (condition, error) {
	c := condition{key: strings.ToLower(k.Name), operator: o}
	values, ok := scalars(k.Value)
	if !ok || k.Name == "" {
		return c, malformed("Invalid policy syntax.")
	}
	for _, value := range values {
		operand, ok := parseOperand(o.kind, value, variables)
		if !ok {
			return c, malformed("Invalid value for condition key " + k.Name + " : " + value)
		}
		c.operands = append(c.operands, operand)
	}
	return c, nil
}

// holds judges a request.
func (c *condition) holds(r *Request) bool {
	values := r.values(c.key)
	o := c.operator
	if o.kind == isNull {
		return c.meets(r, boolText(len(values) == 0))
	}
	if len(values) == 0 {
		// Without the key a negated operator is met, and so is "for all".
		return o.ifExists || o.set == forAll || o.set == single && o.negated
	}
	met := func(value string) bool { return c.meets(r, value) != o.negated }
	switch {
	case o.set == forAll, o.set == single && o.negated:
		return !slices.ContainsFunc(values, func(value string) bool { return !met(value) })
	default:
		return slices.ContainsFunc(values, met)
	}
}

// meets reports whether a request's value meets the operator (equals, is less, is like, ...) with any of the policy's
// values.
func (c *condition) meets(r *Request, value string) bool {
	var runes []rune
	switch c.operator.kind {
	case stringEquals, stringEqualsFold, stringLike:
		runes = []rune(value)
	}
	for i := range c.operands {
		if c.operands[i].compare(r, c.operator.kind, value, runes) {
			return true
		}
	}
	return false
}

// ConditionKeys lists the keys of a statement's conditions, in lower case.
func (s *Statement) ConditionKeys() []string {
	var keys []string
	for _, c := range s.conditions {
		if !slices.Contains(keys, c.key) {
			keys = append(keys, c.key)
		}
	}
	return keys
}

// UsesConditionKey reports whether a condition of the statement has the key name, in any case, or, for a name with an
// asterisk at its end, a key with this prefix.
func (s *Statement) UsesConditionKey(name string) bool {
	name = strings.ToLower(name)
	prefix, wild := strings.CutSuffix(name, "*")
	return slices.ContainsFunc(s.conditions, func(c condition) bool {
		return c.key == name || wild && strings.HasPrefix(c.key, prefix)
	})
}
