package iam

import (
	"slices"
	"strings"
)

// fixing are the condition keys that end public access when a policy fixes them to values without wildcards
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html, "The meaning of
// public").
var fixing = []string{"aws:sourcearn", "aws:sourcevpc", "aws:sourcevpce", "aws:sourceowner", "aws:sourceaccount",
	"aws:userid", "aws:principalarn", "aws:principalaccount", "aws:principalorgid", "aws:principalorgpaths",
	"aws:calledvia", "aws:viaawsservice", "s3:x-amz-server-side-encryption-aws-kms-key-id", "s3:dataaccesspointarn",
	"s3:dataaccesspointaccount"}

// Public reports whether the policy grants something to everyone: GetBucketPolicyStatus's IsPublic.
func (p *Policy) Public() bool { return slices.ContainsFunc(p.statements, (*Statement).Public) }

// Public reports whether the statement allows something to everyone, without a condition that narrows the principals.
func (s *Statement) Public() bool {
	if s.Effect != EffectAllow || s.principals == nil || !s.principals.anyone && !s.notPrincipals {
		return false
	}
	return !slices.ContainsFunc(s.conditions, func(c condition) bool { return c.narrows() })
}

func (c *condition) narrows() bool {
	if c.operator.negated || c.operator.ifExists || c.operator.set == forAll || len(c.operands) == 0 {
		return false
	}
	switch c.operator.kind {
	case ipIn:
		return c.key == "aws:sourceip" && !slices.ContainsFunc(c.operands, func(o operand) bool { return wide(o) })
	case stringEquals, stringEqualsFold, stringLike, arnLike:
		return slices.Contains(fixing, c.key) && !slices.ContainsFunc(c.operands, func(o operand) bool {
			return strings.ContainsAny(o.text, "*?") || strings.Contains(o.text, "${")
		})
	}
	return false
}

// wide reports whether a block of addresses is too large to narrow access: S3 takes IPv4 blocks down to /8 and IPv6
// blocks down to /32 for narrow, and the private blocks.
func wide(o operand) bool {
	switch {
	case o.net.Addr().Is4():
		return o.net.Bits() < 8
	case o.net.Addr().IsPrivate():
		return o.net.Bits() < 7
	}
	return o.net.Bits() < 32
}
