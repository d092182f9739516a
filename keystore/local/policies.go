package local

import (
	"context"
	"encoding/json"
	"strconv"

	"waxseal/keystore"
)

// policyName is the name of a key's only policy.
const policyName = "default"

// defaultPolicy leaves the decision to the identity policies of the key's account.
func defaultPolicy(account string) string {
	return `{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "arn:aws:iam::` + account + `:root"
    },
    "Action" : "kms:*",
    "Resource" : "*"
  } ]
}`
}

// managedPolicy returns the policy of AWS managed keys: every principal of the account with access to S3 may use the
// key through S3; directly, the account may only view it.
func managedPolicy(account, region string) string {
	policy := map[string]any{
		"Version": "2012-10-17",
		"Id":      "auto-s3-2",
		"Statement": []any{
			map[string]any{
				"Sid":       "Allow access through S3 for all principals in the account that are authorized to use S3",
				"Effect":    "Allow",
				"Principal": map[string]any{"AWS": "*"},
				"Action":    []string{"kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"},
				"Resource":  "*",
				"Condition": map[string]any{"StringEquals": map[string]string{
					"kms:CallerAccount": account,
					"kms:ViaService":    "s3." + region + ".amazonaws.com",
				}},
			},
			map[string]any{
				"Sid":       "Allow direct access to key metadata to the account",
				"Effect":    "Allow",
				"Principal": map[string]any{"AWS": "arn:aws:iam::" + account + ":root"},
				"Action":    []string{"kms:Describe*", "kms:Get*", "kms:List*", "kms:RevokeGrant"},
				"Resource":  "*",
			},
		},
	}
	out, err := json.Marshal(policy)
	if err != nil {
		panic("keystore/local: internal error: managed key policy: " + err.Error())
	}
	return string(out)
}

func checkPolicyName(name string) error {
	if name != "" && name != policyName {
		return failf(codeNotFound, "No such policy exists")
	}
	return nil
}

// GetKeyPolicy returns a key's policy as it was put.
func (s *Service) GetKeyPolicy(ctx context.Context, caller keystore.Caller, in *GetKeyPolicyRequest) (*GetKeyPolicyResponse, error) {
	return perform(ctx, s, caller, "GetKeyPolicy", in, func(c *call) (*GetKeyPolicyResponse, error) {
		k, err := c.use(ctx, in.KeyId, access{})
		if err != nil {
			return nil, err
		}
		if err := checkPolicyName(in.PolicyName); err != nil {
			return nil, err
		}
		return &GetKeyPolicyResponse{k.Policy, policyName}, nil
	})
}

// PutKeyPolicy replaces a key's policy, unless the new policy would lock the caller out.
func (s *Service) PutKeyPolicy(ctx context.Context, caller keystore.Caller, in *PutKeyPolicyRequest) (*Empty, error) {
	f := facts{"kms:BypassPolicyLockoutSafetyCheck": {strconv.FormatBool(in.BypassPolicyLockoutSafetyCheck)}}
	return perform(ctx, s, caller, "PutKeyPolicy", in, func(c *call) (*Empty, error) {
		_, err := c.change(ctx, in.KeyId, access{facts: f}, func(e *edit) error {
			if err := checkPolicyName(in.PolicyName); err != nil {
				return err
			}
			if err := c.checkPolicy(e.record, in.Policy, in.BypassPolicyLockoutSafetyCheck); err != nil {
				return err
			}
			e.Policy = in.Policy
			return nil
		})
		return &Empty{}, err
	})
}

// ListKeyPolicies lists the only policy of a key, "default".
func (s *Service) ListKeyPolicies(ctx context.Context, caller keystore.Caller, in *ListOfKeyRequest) (*ListKeyPoliciesResponse, error) {
	return perform(ctx, s, caller, "ListKeyPolicies", in, func(c *call) (*ListKeyPoliciesResponse, error) {
		if _, err := c.use(ctx, in.KeyId, access{}); err != nil {
			return nil, err
		}
		p, err := openMarker("policies", in.Marker, in.Limit, 100)
		if err != nil {
			return nil, err
		}
		out := new(ListKeyPoliciesResponse)
		out.PolicyNames, out.NextMarker = cut("policies", p, []string{policyName}, func(n string) string { return n })
		out.Truncated = out.NextMarker != ""
		return out, nil
	})
}
