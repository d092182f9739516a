package iam_test

import (
	"strings"
	"testing"

	"waxseal/keystore/iam"
)

func TestConditions(t *testing.T) {
	v := func(values ...string) iam.Values { return iam.Values{"k:key": values} }
	none := iam.Values{}
	for _, tc := range []struct {
		condition string
		values    iam.Values
		want      bool
	}{
		{`"StringEquals":{"k:key":"a"}`, v("a"), true},
		{`"StringEquals":{"K:KEY":"a"}`, v("a"), true},
		{`"StringEquals":{"k:key":"a"}`, v("A"), false},
		{`"StringEquals":{"k:key":"a*"}`, v("abc"), false},
		{`"StringEquals":{"k:key":["a","b"]}`, v("b"), true},
		{`"StringEquals":{"k:key":[]}`, v("b"), false},
		{`"StringEquals":{"k:key":"a"}`, none, false},
		{`"StringEquals":{"k:key":"a"}`, v(), false},
		{`"StringEqualsIfExists":{"k:key":"a"}`, none, true},
		{`"StringEqualsIfExists":{"k:key":"a"}`, v("b"), false},
		{`"StringEquals":{"k:key":5}`, v("5"), true},
		{`"StringEquals":{"k:key":true}`, v("true"), true},
		{`"StringEquals":{"k:key":"Alice"}`, iam.Values{"k:key": {"Alice"}, "x": {"y"}}, true},
		{`"StringEquals":{"aws:username":"Alice"}`, none, true},
		{`"StringEquals":{"aws:PrincipalAccount":"` + account + `"}`, none, true},
		{`"StringEquals":{"k:key":"${aws:username}"}`, v("Alice"), true},
		{`"StringEquals":{"k:key":"${aws:username}"}`, v("Bob"), false},
		{`"StringEquals":{"k:key":"a","aws:username":"Bob"}`, v("a"), false},
		{`"StringEquals":{"k:key":"a"},"StringLike":{"aws:username":"A*"}`, v("a"), true},
		{`"StringNotEquals":{"k:key":"a"}`, v("b"), true},
		{`"StringNotEquals":{"k:key":"a"}`, v("a"), false},
		{`"StringNotEquals":{"k:key":["a","b"]}`, v("b"), false},
		{`"StringNotEquals":{"k:key":["a","b"]}`, v("c"), true},
		{`"StringNotEquals":{"k:key":"a"}`, none, true},
		{`"StringNotEquals":{"k:key":"a"}`, v("a", "b"), false},
		{`"StringNotEqualsIfExists":{"k:key":"a"}`, none, true},
		{`"StringEqualsIgnoreCase":{"k:key":"aÉ"}`, v("Aé"), true},
		{`"StringNotEqualsIgnoreCase":{"k:key":"a"}`, v("A"), false},
		{`"StringLike":{"k:key":"a*c?"}`, v("abbbcd"), true},
		{`"StringLike":{"k:key":"a*c?"}`, v("abbbc"), false},
		{`"StringLike":{"k:key":"A*"}`, v("abc"), false},
		{`"StringLike":{"k:key":"*"}`, v(""), true},
		{`"StringLike":{"k:key":"*"}`, none, false},
		{`"StringLike":{"k:key":"a${*}"}`, v("ab"), false},
		{`"StringLikeIfExists":{"k:key":"a*"}`, none, true},
		{`"StringNotLike":{"k:key":"a*"}`, v("abc"), false},
		{`"StringNotLike":{"k:key":"a*"}`, v("bbc"), true},

		{`"NumericEquals":{"k:key":"10"}`, v("10.0"), true},
		{`"NumericEquals":{"k:key":10}`, v("x"), false},
		{`"NumericNotEquals":{"k:key":10}`, v("11"), true},
		{`"NumericNotEquals":{"k:key":10}`, v("10"), false},
		{`"NumericLessThan":{"k:key":10}`, v("9"), true},
		{`"NumericLessThan":{"k:key":10}`, v("10"), false},
		{`"NumericLessThanEquals":{"k:key":10}`, v("10"), true},
		{`"NumericGreaterThan":{"k:key":10}`, v("10"), false},
		{`"NumericGreaterThan":{"k:key":10}`, v("1e2"), true},
		{`"NumericGreaterThanEquals":{"k:key":10}`, v("10"), true},
		{`"NumericGreaterThanEquals":{"k:key":10}`, none, false},
		{`"NumericLessThanIfExists":{"k:key":10}`, none, true},

		{`"DateEquals":{"k:key":"2026-01-02T03:04:05Z"}`, v("1767323045"), true},
		{`"DateEquals":{"k:key":"2026-01-02"}`, v("2026-01-02T00:00:00Z"), true},
		{`"DateNotEquals":{"k:key":"2026-01-02"}`, v("2026-01-02T00:00:01Z"), true},
		{`"DateLessThan":{"k:key":"2026-01-02T00:00:00+01:00"}`, v("2026-01-01T22:59:59Z"), true},
		{`"DateLessThan":{"k:key":"2026-01-02T00:00:00+01:00"}`, v("2026-01-01T23:00:00Z"), false},
		{`"DateLessThanEquals":{"k:key":"2026-01-02"}`, v("2026-01-02"), true},
		{`"DateGreaterThan":{"k:key":"2026-01-02"}`, v("2026-01-02"), false},
		{`"DateGreaterThanEquals":{"k:key":"2026-01-02"}`, v("2026-01-02"), true},
		{`"DateGreaterThan":{"k:key":"2026-01-02"}`, v("garbage"), false},

		{`"Bool":{"k:key":"true"}`, v("true"), true},
		{`"Bool":{"k:key":"TRUE"}`, v("True"), true},
		{`"Bool":{"k:key":false}`, v("true"), false},
		{`"Bool":{"k:key":"false"}`, none, false},
		{`"BoolIfExists":{"k:key":"false"}`, none, true},

		{`"BinaryEquals":{"k:key":"YWI="}`, v("YWI="), true},
		{`"BinaryEquals":{"k:key":"YWI="}`, v("YWM="), false},

		{`"IpAddress":{"k:key":"10.0.0.0/8"}`, v("10.1.2.3"), true},
		{`"IpAddress":{"k:key":"10.0.0.0/8"}`, v("11.1.2.3"), false},
		{`"IpAddress":{"k:key":"10.1.2.3"}`, v("10.1.2.3"), true},
		{`"IpAddress":{"k:key":"10.0.0.0/8"}`, v("::ffff:10.1.2.3"), true},
		{`"IpAddress":{"k:key":["10.0.0.0/8","2001:db8::/32"]}`, v("2001:db8::1"), true},
		{`"IpAddress":{"k:key":"10.0.0.0/8"}`, v("x"), false},
		{`"NotIpAddress":{"k:key":"10.0.0.0/8"}`, v("11.1.2.3"), true},
		{`"NotIpAddress":{"k:key":"10.0.0.0/8"}`, v("10.1.2.3"), false},
		{`"NotIpAddress":{"k:key":"10.0.0.0/8"}`, none, true},

		{`"ArnEquals":{"k:key":"arn:aws:s3:::b"}`, v("arn:aws:s3:::b"), true},
		{`"ArnEquals":{"k:key":"arn:aws:s3:::b*"}`, v("arn:aws:s3:::bc"), true},
		{`"ArnLike":{"k:key":"arn:aws:kms:*:` + account + `:key/*"}`, v("arn:aws:kms:us-east-1:" + account + ":key/x:y"), true},
		{`"ArnLike":{"k:key":"arn:aws:s3:*:*:b"}`, v("arn:aws:s3:::b"), true},
		{`"ArnLike":{"k:key":"arn:aws:s3:::b"}`, v("b"), false},
		{`"ArnLike":{"k:key":"*"}`, v("arn:aws:s3:::b"), true},
		{`"ArnLike":{"k:key":"arn:aws:iam::*:user/${aws:username}"}`, v("arn:aws:iam::1:user/Alice"), true},
		{`"ArnNotLike":{"k:key":"arn:aws:s3:::b*"}`, v("arn:aws:s3:::c"), true},
		{`"ArnNotEquals":{"k:key":"arn:aws:s3:::b"}`, v("arn:aws:s3:::b"), false},

		{`"Null":{"k:key":"true"}`, none, true},
		{`"Null":{"k:key":"true"}`, v(), true},
		{`"Null":{"k:key":"true"}`, v("x"), false},
		{`"Null":{"k:key":"false"}`, v("x"), true},
		{`"Null":{"k:key":false}`, none, false},

		{`"ForAllValues:StringEquals":{"k:key":["a","b"]}`, v("a", "b"), true},
		{`"ForAllValues:StringEquals":{"k:key":["a","b"]}`, v("a", "c"), false},
		{`"ForAllValues:StringEquals":{"k:key":["a","b"]}`, none, true},
		{`"ForAllValues:StringNotEquals":{"k:key":["a","b"]}`, v("c", "d"), true},
		{`"ForAllValues:StringNotEquals":{"k:key":["a","b"]}`, v("c", "a"), false},
		{`"ForAllValues:StringLikeIfExists":{"k:key":"a*"}`, v("ab", "ac"), true},
		{`"ForAnyValue:StringEquals":{"k:key":["a","b"]}`, v("c", "b"), true},
		{`"ForAnyValue:StringEquals":{"k:key":["a","b"]}`, v("c"), false},
		{`"ForAnyValue:StringEquals":{"k:key":["a","b"]}`, none, false},
		{`"ForAnyValue:StringNotEquals":{"k:key":["a","b"]}`, v("a", "c"), true},
		{`"ForAnyValue:StringNotEquals":{"k:key":["a","b"]}`, v("a", "b"), false},
		{`"ForAnyValue:StringEqualsIfExists":{"k:key":"a"}`, none, true},
		{`"StringEquals":{"k:key":"a"}`, v("b", "a"), true},
		{``, none, true},
	} {
		document := statement(`"Effect":"Allow","Principal":"*","Action":"*","Resource":"*","Condition":{` + tc.condition + `}`)
		if r := decide(t, document, iam.Request{Principal: alice, Conditions: tc.values}); (r.Decision == iam.Allow) != tc.want {
			t.Errorf("%s with %q: %v", tc.condition, tc.values, r.Decision)
		}
	}
}

// TestGlobIsNotExponential matches the classic bad case.
func TestGlobIsNotExponential(t *testing.T) {
	document := statement(`"Effect":"Allow","Principal":"*","Action":"*","Resource":"arn:aws:s3:::` + strings.Repeat("a*", 200) + `b"`)
	if r := decide(t, document, iam.Request{Principal: alice, Resource: "arn:aws:s3:::" + strings.Repeat("a", 20000)}); r.Decision != iam.NoMatch {
		t.Fatal(r)
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add([]byte(statement(`"Effect":"Allow","Principal":{"AWS":["*"]},"Action":"s3:*","Resource":"arn:aws:s3:::b/${aws:username}*","Condition":{"ForAnyValue:ArnLikeIfExists":{"a":["arn:*:*:*:*:*"]}}`)),
		"s3:GetObject", "arn:aws:s3:::b/k", "a", "b")
	f.Add([]byte(`{"Statement":{"Effect":"Deny","NotPrincipal":{"Service":"x"},"NotAction":"*","NotResource":"*","Condition":{"DateLessThan":{"x":1},"IpAddress":{"y":"::1"},"Null":{"z":true}}}}`), "a", "b", "x", "y")
	f.Fuzz(func(t *testing.T, document []byte, action, resource, key, value string) {
		p, err := iam.ParsePolicy(document, iam.Options{})
		if err != nil {
			if p != nil {
				t.Fatal("a policy with an error")
			}
			return
		}
		r := &iam.Request{Principal: alice, Action: action, Resource: resource, Conditions: iam.Values{key: {value}}}
		whole := p.Decide(r)
		if (whole.Decision == iam.NoMatch) != (whole.Statement == nil) || (whole.By == iam.NoPrincipal) != (whole.Statement == nil) {
			t.Fatalf("%+v", whole)
		}
		p.Public()
		// A part parses again, and the parts decide as the whole does.
		deny := func(s *iam.Statement) bool { return s.Effect == iam.EffectDeny }
		parts := [2]iam.Decision{}
		denies, allows := p.Split(deny)
		for i, part := range []*iam.Policy{denies, allows} {
			if part == nil {
				continue
			}
			again, err := iam.ParsePolicy(part.Document(), iam.Options{})
			if err != nil {
				t.Fatalf("%v: %s", err, part.Document())
			}
			parts[i], _ = again.Evaluate(r)
		}
		want := parts[0]
		if want != iam.Deny {
			want = parts[1]
		}
		if want != whole.Decision {
			t.Fatalf("parts %v, whole %v", parts, whole.Decision)
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	p := parse(b, statement(`"Effect":"Allow","Principal":{"AWS":"`+account+`"},"Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::bucket/${aws:username}/*","Condition":{"StringLike":{"aws:UserAgent":"aws-*"},"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`), iam.Options{})
	v := iam.Values{}
	v.Set("aws:UserAgent", "aws-sdk-go")
	v.Set("aws:SourceIp", "10.1.1.1")
	r := &iam.Request{Principal: alice, Action: "s3:PutObject", Resource: "arn:aws:s3:::bucket/Alice/some/key", Conditions: v}
	b.ReportAllocs()
	for b.Loop() {
		if d, _ := p.Evaluate(r); d != iam.Allow {
			b.Fatal(d)
		}
	}
}
