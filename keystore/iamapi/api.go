// Package iamapi is AWS IAM's query API over a directory: users, access keys, groups, roles, policies and OpenID
// Connect providers. IAM operations without support here are refused by name.
package iamapi

import (
	"context"
	"errors"
	"slices"
	"strings"

	"waxseal/keystore/awsquery"
	"waxseal/keystore/directory"
)

const version = "2010-05-08"

// api holds the directory for the operations.
type api struct{ dir *directory.Directory }

// New returns the IAM API at the place described by base, such as its account and region.
func New(dir *directory.Directory, base awsquery.API) *awsquery.API {
	a := &api{dir}
	base.Name, base.Version = "iam", version
	for _, list := range [][]awsquery.Operation{a.users(), a.keys(), a.groups(), a.roles(), a.policies(), a.providers(), a.ofHolders()} {
		base.Operations = append(base.Operations, list...)
	}
	return &base
}

// Rules of AWS's model.
var (
	name64       = awsquery.Match(`[\w+=,.@-]+`, 1, 64)
	name128      = awsquery.Match(`[\w+=,.@-]+`, 1, 128)
	pathRule     = awsquery.Match(`(\u002F)|(\u002F[\u0021-\u007E]+\u002F)`, 1, 512)
	pathPrefix   = awsquery.Match(`\u002F[\u0021-\u007F]*`, 1, 512)
	policyPath   = awsquery.Match(`((/[A-Za-z0-9\.,\+@=_-]+)*)/`, 1, 512)
	documentRule = awsquery.Match(`[\u0009\u000A\u000D\u0020-\u00FF]+`, 1, 131072)
	arnRule      = awsquery.Rule{Min: 20, Max: 2048}
	keyIDRule    = awsquery.Match(`[\w]+`, 16, 128)
	description  = awsquery.Match(`[\u0009\u000A\u000D\u0020-\u007E\u00A1-\u00FF]*`, 0, 1000)
	sessionRule  = awsquery.Rule{Number: true, Min: 3600, Max: 43200}
)

func need(name string, rule awsquery.Rule) awsquery.Param {
	return awsquery.Param{Name: name, Required: true, Rule: rule}
}

func may(name string, rule awsquery.Rule) awsquery.Param {
	return awsquery.Param{Name: name, Rule: rule}
}

// paged are the parameters of a paged list.
var paged = []awsquery.Param{
	may("Marker", awsquery.Match(`[\u0020-\u00FF]+`, 1, 320)), may("MaxItems", awsquery.Rule{Number: true, Min: 1, Max: 1000}),
}

func with(list []awsquery.Param, more ...awsquery.Param) []awsquery.Param {
	return append(slices.Clone(more), list...)
}

// op returns an operation with a change and without a result.
func op(name string, do func(context.Context, *awsquery.Request) error, params ...awsquery.Param) awsquery.Operation {
	return awsquery.Operation{Name: name, Params: params, NoResult: true, Do: func(ctx context.Context, r *awsquery.Request) (any, error) {
		return nil, do(ctx, r)
	}}
}

// making returns an operation with a change and a result.
func making[T any](name string, do func(context.Context, *awsquery.Request) (T, error), params ...awsquery.Param) awsquery.Operation {
	return awsquery.Operation{Name: name, Params: params, Do: func(ctx context.Context, r *awsquery.Request) (any, error) { return do(ctx, r) }}
}

// reading returns an operation without a change.
func reading[T any](name string, do func(context.Context, *awsquery.Request) (T, error), params ...awsquery.Param) awsquery.Operation {
	o := making(name, do, params...)
	o.Reads = true
	return o
}

// arn returns the ARN of a resource of the account, such as "user/path/name".
func (a *api) arn(resource string) string { return "arn:aws:iam::" + a.dir.Account() + ":" + resource }

// authorize refuses a request that the caller's policies do not allow, and callers from other accounts: this API
// manages waxseal's own account only.
func (a *api) authorize(r *awsquery.Request, resource string) error {
	if r.Caller.AccountID != a.dir.Account() {
		return awsquery.Fail(403, "AccessDenied", "User: %s is not authorized to perform: iam:%s on resource: %s of another account", r.Caller.ARN, r.Name, resource)
	}
	return r.Authorize("iam:"+r.Name, resource, nil)
}

// change is directory.Change with errors of IAM.
func (a *api) change(ctx context.Context, f func(*directory.Model) error) error {
	err := a.dir.Change(ctx, f)
	if errors.Is(err, directory.ErrBusy) {
		return awsquery.Fail(409, "ConcurrentModification", "Too many changes are made at once. Try again.")
	}
	return err
}

func noSuch(kind, name string) error {
	return awsquery.Fail(404, "NoSuchEntity", "The %s with name %s cannot be found.", kind, name)
}

func exists(kind, name string) error {
	return awsquery.Fail(409, "EntityAlreadyExists", "%s with name %s already exists.", strings.ToUpper(kind[:1])+kind[1:], name)
}

func conflict(why string) error {
	return awsquery.Fail(409, "DeleteConflict", "Cannot delete entity, must %s first.", why)
}

func limit(what string, n int) error {
	return awsquery.Fail(409, "LimitExceeded", "Cannot exceed quota for %s: %d", what, n)
}

func unmodifiable(name string) error {
	return awsquery.Fail(400, "UnmodifiableEntity", "The user %s is one of waxseal's configuration file: it is changed there, for the next start.", name)
}

// path returns the path in a request, or the root.
func path(r *awsquery.Request) string {
	if p := r.Get("Path"); p != "" {
		return p
	}
	return "/"
}
