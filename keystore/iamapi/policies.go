package iamapi

import (
	"context"
	"slices"
	"strings"

	"waxseal/keystore/awsquery"
	"waxseal/keystore/directory"
)

// onlyVersion is the version of every managed policy.
const onlyVersion = "v1"

func (a *api) policies() []awsquery.Operation {
	scope := awsquery.Rule{Enum: []string{"All", "AWS", "Local"}}
	return []awsquery.Operation{
		making("CreatePolicy", a.createPolicy, need("PolicyName", name128), may("Path", policyPath), need("PolicyDocument", documentRule),
			may("Description", awsquery.Rule{Max: 1000})),
		reading("GetPolicy", a.getPolicy, need("PolicyArn", arnRule)),
		reading("GetPolicyVersion", a.getPolicyVersion, need("PolicyArn", arnRule), need("VersionId", awsquery.Match(`v[1-9][0-9]*(\.[A-Za-z0-9-]*)?`, 0, 0))),
		reading("ListPolicyVersions", a.listPolicyVersions, with(paged, need("PolicyArn", arnRule))...),
		reading("ListPolicies", a.listPolicies, with(paged, may("Scope", scope), may("OnlyAttached", awsquery.Rule{Bool: true}), may("PathPrefix", policyPath))...),
		op("DeletePolicy", a.deletePolicy, need("PolicyArn", arnRule)),
	}
}

type policyResult struct {
	PolicyName                    string
	PolicyID                      string `xml:"PolicyId"`
	ARN                           string `xml:"Arn"`
	Path                          string
	DefaultVersionID              string `xml:"DefaultVersionId"`
	AttachmentCount               int
	PermissionsBoundaryUsageCount int
	IsAttachable                  bool
	Description                   string `xml:",omitempty"`
	CreateDate                    string
	UpdateDate                    string
}

func (a *api) policyARN(p *directory.Policy) string { return p.ARN(a.dir.Account(), "policy") }

func (a *api) showPolicy(m *directory.Model, p *directory.Policy) policyResult {
	made := isoTime(p.Created)
	return policyResult{p.Name, p.ID, a.policyARN(p), p.Path, onlyVersion, attachments(m, a.policyARN(p)), 0, true, p.Description, made, made}
}

// attachments counts the users, groups and roles with a managed policy.
func attachments(m *directory.Model, arn string) int {
	n := 0
	count := func(p directory.Policies) {
		if slices.Contains(p.Attached, arn) {
			n++
		}
	}
	for _, u := range m.Users {
		count(u.Policies)
	}
	for _, g := range m.Groups {
		count(g.Policies)
	}
	for _, r := range m.Roles {
		count(r.Policies)
	}
	return n
}

func (a *api) createPolicy(ctx context.Context, r *awsquery.Request) (out struct{ Policy policyResult }, err error) {
	name, document := r.Get("PolicyName"), r.Get("PolicyDocument")
	if err := a.authorize(r, a.arn("policy"+path(r)+name)); err != nil {
		return out, err
	}
	if size(document) > maxManaged {
		return out, limit("PolicySize", maxManaged)
	}
	if err := a.checkDocument(document); err != nil {
		return out, err
	}
	p := directory.NewPolicy(name, path(r), document, r.Now)
	p.Description = r.Get("Description")
	err = a.change(ctx, func(m *directory.Model) error {
		if m.Policies[strings.ToLower(name)] != nil {
			return awsquery.Fail(409, "EntityAlreadyExists", "A policy called %s already exists. Duplicate names are not allowed.", name)
		}
		m.PutPolicy(p)
		return nil
	})
	out.Policy = a.showPolicy(a.dir.Model(), p)
	return out, err
}

// policy finds the managed policy named by a request.
func (a *api) policy(m *directory.Model, r *awsquery.Request) (*directory.Policy, error) {
	arn := r.Get("PolicyArn")
	if p := m.PolicyByARN(arn); p != nil && a.policyARN(p) == arn {
		return p, nil
	}
	return nil, awsquery.Fail(404, "NoSuchEntity", "Policy %s was not found.", arn)
}

func (a *api) readPolicy(r *awsquery.Request) (*directory.Policy, error) {
	if err := a.authorize(r, r.Get("PolicyArn")); err != nil {
		return nil, err
	}
	return a.policy(a.dir.Model(), r)
}

func (a *api) getPolicy(_ context.Context, r *awsquery.Request) (out struct{ Policy policyResult }, err error) {
	p, err := a.readPolicy(r)
	if err == nil {
		out.Policy = a.showPolicy(a.dir.Model(), p)
	}
	return out, err
}

type versionResult struct {
	Document         string `xml:",omitempty"`
	VersionID        string `xml:"VersionId"`
	IsDefaultVersion bool
	CreateDate       string
}

func (a *api) getPolicyVersion(_ context.Context, r *awsquery.Request) (out struct{ PolicyVersion versionResult }, err error) {
	p, err := a.readPolicy(r)
	if err != nil {
		return out, err
	}
	if v := r.Get("VersionId"); v != onlyVersion {
		return out, awsquery.Fail(404, "NoSuchEntity", "Policy %s version %s does not exist or is not attachable.", r.Get("PolicyArn"), v)
	}
	out.PolicyVersion = versionResult{encoded(p.Document), onlyVersion, true, isoTime(p.Created)}
	return out, nil
}

type listVersionsResult struct {
	Versions []versionResult `xml:"Versions>member"`
	page
}

func (a *api) listPolicyVersions(_ context.Context, r *awsquery.Request) (out listVersionsResult, err error) {
	p, err := a.readPolicy(r)
	if err != nil {
		return out, err
	}
	out.Versions, out.page, err = cut(r, []versionResult{{"", onlyVersion, true, isoTime(p.Created)}}, func(v versionResult) string { return v.VersionID })
	return out, err
}

type listPoliciesResult struct {
	Policies []policyResult `xml:"Policies>member"`
	page
}

func (a *api) listPolicies(_ context.Context, r *awsquery.Request) (out listPoliciesResult, err error) {
	if err := a.authorize(r, "*"); err != nil {
		return out, err
	}
	m := a.dir.Model()
	var all []policyResult
	for _, p := range m.Policies {
		shown := a.showPolicy(m, p)
		if r.Get("Scope") != "AWS" && hasPrefix(p.Path, r.Get("PathPrefix")) && (r.Get("OnlyAttached") != "true" || shown.AttachmentCount > 0) {
			all = append(all, shown)
		}
	}
	out.Policies, out.page, err = cut(r, all, func(p policyResult) string { return p.PolicyName })
	return out, err
}

func (a *api) deletePolicy(ctx context.Context, r *awsquery.Request) error {
	if err := a.authorize(r, r.Get("PolicyArn")); err != nil {
		return err
	}
	return a.change(ctx, func(m *directory.Model) error {
		p, err := a.policy(m, r)
		if err != nil {
			return err
		}
		if attachments(m, a.policyARN(p)) > 0 {
			return awsquery.Fail(409, "DeleteConflict", "Cannot delete a policy attached to entities.")
		}
		m.RemovePolicy(p)
		return nil
	})
}

func hasPrefix(path, prefix string) bool { return strings.HasPrefix(path, prefix) }

func lowerKind(kind string) string { return strings.ToLower(kind) }
