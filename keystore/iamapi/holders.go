package iamapi

import (
	"context"
	"slices"

	"waxseal/keystore/awsquery"
	"waxseal/keystore/directory"
)

// maxAttached is AWS's quota of the managed policies of a user, group or role.
const maxAttached = 10

// holder is a kind of record with policies: the operations of the kinds differ in names only.
type holder struct {
	kind      string // "User"
	name      awsquery.Rule
	maxInline int
	arn       func(name string) string
	// find returns the policies in a copy of the record, and a function to put the copy back.
	find func(m *directory.Model, name string) (*directory.Policies, func(), error)
}

func (a *api) holders() []holder {
	return []holder{
		{"User", name64, 2048, a.userARN, func(m *directory.Model, name string) (*directory.Policies, func(), error) {
			u, err := a.user(m, name)
			if err != nil {
				return nil, nil, err
			}
			return &u.Policies, func() { m.PutUser(u) }, nil
		}},
		{"Group", name128, 5120, a.groupARN, func(m *directory.Model, name string) (*directory.Policies, func(), error) {
			g, err := findGroup(m, name)
			if err != nil {
				return nil, nil, err
			}
			return &g.Policies, func() { m.PutGroup(g) }, nil
		}},
		{"Role", name64, 10240, a.roleARN, func(m *directory.Model, name string) (*directory.Policies, func(), error) {
			r, err := findRole(m, name)
			if err != nil {
				return nil, nil, err
			}
			return &r.Policies, func() { m.PutRole(r) }, nil
		}},
	}
}

func (a *api) ofHolders() []awsquery.Operation {
	var all []awsquery.Operation
	for _, h := range a.holders() {
		name, policy, arn := need(h.kind+"Name", h.name), need("PolicyName", name128), need("PolicyArn", arnRule)
		all = append(all,
			op("Put"+h.kind+"Policy", a.changing(h, a.putInline), name, policy, need("PolicyDocument", documentRule)),
			op("Delete"+h.kind+"Policy", a.changing(h, deleteInline), name, policy),
			op("Attach"+h.kind+"Policy", a.changing(h, attach), name, arn),
			op("Detach"+h.kind+"Policy", a.changing(h, detach), name, arn),
			reading("Get"+h.kind+"Policy", a.getInline(h), name, policy),
			reading("List"+h.kind+"Policies", a.listInline(h), with(paged, name)...),
			reading("ListAttached"+h.kind+"Policies", a.listAttached(h), with(paged, name, may("PathPrefix", policyPath))...),
		)
	}
	return all
}

// changing makes an operation of a change of policies.
func (a *api) changing(h holder, change func(*directory.Model, holder, *directory.Policies, *awsquery.Request) error) func(context.Context, *awsquery.Request) error {
	return func(ctx context.Context, r *awsquery.Request) error {
		name := r.Get(h.kind + "Name")
		if err := a.authorize(r, h.arn(name)); err != nil {
			return err
		}
		return a.change(ctx, func(m *directory.Model) error {
			p, put, err := h.find(m, name)
			if err != nil {
				return err
			}
			if err := change(m, h, p, r); err != nil {
				return err
			}
			put()
			return nil
		})
	}
}

func (a *api) putInline(_ *directory.Model, h holder, p *directory.Policies, r *awsquery.Request) error {
	document := r.Get("PolicyDocument")
	if err := a.checkDocument(document); err != nil {
		return err
	}
	if p.Inline == nil {
		p.Inline = map[string]string{}
	}
	p.Inline[r.Get("PolicyName")] = document
	total := 0
	for _, document := range p.Inline {
		total += size(document)
	}
	if total > h.maxInline {
		return awsquery.Fail(409, "LimitExceeded", "Maximum policy size of %d bytes exceeded for %s %s", h.maxInline, lowerKind(h.kind), r.Get(h.kind+"Name"))
	}
	return nil
}

func deleteInline(_ *directory.Model, h holder, p *directory.Policies, r *awsquery.Request) error {
	name := r.Get("PolicyName")
	if _, ok := p.Inline[name]; !ok {
		return noInline(h, r)
	}
	delete(p.Inline, name)
	return nil
}

func noInline(h holder, r *awsquery.Request) error {
	return awsquery.Fail(404, "NoSuchEntity", "The %s policy with name %s cannot be found.", lowerKind(h.kind), r.Get("PolicyName"))
}

func attach(m *directory.Model, _ holder, p *directory.Policies, r *awsquery.Request) error {
	arn := r.Get("PolicyArn")
	switch {
	case m.PolicyByARN(arn) == nil:
		return awsquery.Fail(404, "NoSuchEntity", "Policy %s does not exist or is not attachable.", arn)
	case slices.Contains(p.Attached, arn):
		return nil
	case len(p.Attached) >= maxAttached:
		return limit("PoliciesPer"+"Entity", maxAttached)
	}
	p.Attached = append(p.Attached, arn)
	return nil
}

func detach(_ *directory.Model, _ holder, p *directory.Policies, r *awsquery.Request) error {
	arn := r.Get("PolicyArn")
	if !slices.Contains(p.Attached, arn) {
		return awsquery.Fail(404, "NoSuchEntity", "Policy %s was not found.", arn)
	}
	p.Attached = slices.DeleteFunc(p.Attached, func(a string) bool { return a == arn })
	return nil
}

// policiesOf finds the policies for a request that reads them. A user of the configuration file has no policies here:
// its policy is in the file.
func (a *api) policiesOf(h holder, r *awsquery.Request) (*directory.Policies, error) {
	name := r.Get(h.kind + "Name")
	if err := a.authorize(r, h.arn(name)); err != nil {
		return nil, err
	}
	if h.kind == "User" && a.fileUser(name) != nil {
		return &directory.Policies{}, nil
	}
	p, _, err := h.find(a.dir.Model(), name)
	return p, err
}

// inlineResult is an inline policy; its holder's name has the element of the holder's kind.
type inlineResult struct {
	UserName       string `xml:",omitempty"`
	GroupName      string `xml:",omitempty"`
	RoleName       string `xml:",omitempty"`
	PolicyName     string
	PolicyDocument string
}

func (a *api) getInline(h holder) func(context.Context, *awsquery.Request) (inlineResult, error) {
	return func(_ context.Context, r *awsquery.Request) (out inlineResult, err error) {
		p, err := a.policiesOf(h, r)
		if err != nil {
			return out, err
		}
		document, ok := p.Inline[r.Get("PolicyName")]
		if !ok {
			return out, noInline(h, r)
		}
		return inlineResult{r.Get("UserName"), r.Get("GroupName"), r.Get("RoleName"), r.Get("PolicyName"), encoded(document)}, nil
	}
}

type listInlineResult struct {
	PolicyNames []string `xml:"PolicyNames>member"`
	page
}

func (a *api) listInline(h holder) func(context.Context, *awsquery.Request) (listInlineResult, error) {
	return func(_ context.Context, r *awsquery.Request) (out listInlineResult, err error) {
		p, err := a.policiesOf(h, r)
		if err != nil {
			return out, err
		}
		var names []string
		for name := range p.Inline {
			names = append(names, name)
		}
		out.PolicyNames, out.page, err = cut(r, names, func(name string) string { return name })
		return out, err
	}
}

type attachedPolicy struct {
	PolicyName string
	PolicyARN  string `xml:"PolicyArn"`
}

type listAttachedResult struct {
	AttachedPolicies []attachedPolicy `xml:"AttachedPolicies>member"`
	page
}

func (a *api) listAttached(h holder) func(context.Context, *awsquery.Request) (listAttachedResult, error) {
	return func(_ context.Context, r *awsquery.Request) (out listAttachedResult, err error) {
		p, err := a.policiesOf(h, r)
		if err != nil {
			return out, err
		}
		var all []attachedPolicy
		for _, arn := range p.Attached {
			if managed := a.dir.Model().PolicyByARN(arn); managed != nil && hasPrefix(managed.Path, r.Get("PathPrefix")) {
				all = append(all, attachedPolicy{managed.Name, arn})
			}
		}
		out.AttachedPolicies, out.page, err = cut(r, all, func(p attachedPolicy) string { return p.PolicyARN })
		return out, err
	}
}
