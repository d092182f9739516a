package iamapi

import (
	"context"
	"strings"

	"waxseal/keystore/awsquery"
	"waxseal/keystore/directory"
)

// defaultSession is AWS's: an hour.
const defaultSession = 3600

func (a *api) roles() []awsquery.Operation {
	return []awsquery.Operation{
		making("CreateRole", a.createRole, may("Path", pathRule), need("RoleName", name64), need("AssumeRolePolicyDocument", documentRule),
			may("Description", description), may("MaxSessionDuration", sessionRule)),
		reading("GetRole", a.getRole, need("RoleName", name64)),
		reading("ListRoles", a.listRoles, with(paged, may("PathPrefix", pathPrefix))...),
		op("DeleteRole", a.deleteRole, need("RoleName", name64)),
		making("UpdateRole", a.updateRole, need("RoleName", name64), may("Description", description), may("MaxSessionDuration", sessionRule)),
		op("UpdateAssumeRolePolicy", a.updateTrust, need("RoleName", name64), need("PolicyDocument", documentRule)),
	}
}

type roleResult struct {
	Path                     string
	RoleName                 string
	RoleID                   string `xml:"RoleId"`
	ARN                      string `xml:"Arn"`
	CreateDate               string
	AssumeRolePolicyDocument string
	Description              string `xml:",omitempty"`
	MaxSessionDuration       int
}

func (a *api) showRole(r *directory.Role) roleResult {
	return roleResult{r.Path, r.Name, r.ID, r.ARN(a.dir.Account(), "role"), isoTime(r.Created), encoded(r.Trust), r.Description, r.MaxSession}
}

func findRole(m *directory.Model, name string) (*directory.Role, error) {
	if r := m.Roles[strings.ToLower(name)]; r != nil && r.Name == name {
		return r.Clone(), nil
	}
	return nil, noSuch("role", name)
}

func (a *api) roleARN(name string) string {
	if r, err := findRole(a.dir.Model(), name); err == nil {
		return r.ARN(a.dir.Account(), "role")
	}
	return a.arn("role/" + name)
}

func (a *api) createRole(ctx context.Context, r *awsquery.Request) (out struct{ Role roleResult }, err error) {
	name := r.Get("RoleName")
	if err := a.authorize(r, a.arn("role"+path(r)+name)); err != nil {
		return out, err
	}
	role := directory.NewRole(name, path(r), r.Now)
	role.Trust, role.Description, role.MaxSession = r.Get("AssumeRolePolicyDocument"), r.Get("Description"), r.Number("MaxSessionDuration", defaultSession)
	if err := a.checkTrust(role.Trust); err != nil {
		return out, err
	}
	err = a.change(ctx, func(m *directory.Model) error {
		if m.Roles[strings.ToLower(name)] != nil || a.dir.IsPrincipal(a.arn("role/"+name)) {
			return exists("role", name)
		}
		m.PutRole(role)
		return nil
	})
	out.Role = a.showRole(role)
	return out, err
}

func (a *api) getRole(_ context.Context, r *awsquery.Request) (out struct{ Role roleResult }, err error) {
	name := r.Get("RoleName")
	if err := a.authorize(r, a.roleARN(name)); err != nil {
		return out, err
	}
	role, err := findRole(a.dir.Model(), name)
	if err == nil {
		out.Role = a.showRole(role)
	}
	return out, err
}

type listRolesResult struct {
	Roles []roleResult `xml:"Roles>member"`
	page
}

func (a *api) listRoles(_ context.Context, r *awsquery.Request) (out listRolesResult, err error) {
	if err := a.authorize(r, "*"); err != nil {
		return out, err
	}
	var all []roleResult
	for _, role := range a.dir.Model().Roles {
		if strings.HasPrefix(role.Path, r.Get("PathPrefix")) {
			all = append(all, a.showRole(role))
		}
	}
	out.Roles, out.page, err = cut(r, all, func(r roleResult) string { return r.RoleName })
	return out, err
}

// changeRole changes a role.
func (a *api) changeRole(ctx context.Context, r *awsquery.Request, change func(*directory.Model, *directory.Role) error) error {
	name := r.Get("RoleName")
	if err := a.authorize(r, a.roleARN(name)); err != nil {
		return err
	}
	return a.change(ctx, func(m *directory.Model) error {
		role, err := findRole(m, name)
		if err != nil {
			return err
		}
		return change(m, role)
	})
}

func (a *api) deleteRole(ctx context.Context, r *awsquery.Request) error {
	return a.changeRole(ctx, r, func(m *directory.Model, role *directory.Role) error {
		if why := role.Policies.Removable(); why != "" {
			return conflict(why)
		}
		m.RemoveRole(role)
		return nil
	})
}

func (a *api) updateRole(ctx context.Context, r *awsquery.Request) (struct{}, error) {
	return struct{}{}, a.changeRole(ctx, r, func(m *directory.Model, role *directory.Role) error {
		if r.Has("Description") {
			role.Description = r.Get("Description")
		}
		role.MaxSession = r.Number("MaxSessionDuration", role.MaxSession)
		m.PutRole(role)
		return nil
	})
}

func (a *api) updateTrust(ctx context.Context, r *awsquery.Request) error {
	return a.changeRole(ctx, r, func(m *directory.Model, role *directory.Role) error {
		role.Trust = r.Get("PolicyDocument")
		if err := a.checkTrust(role.Trust); err != nil {
			return err
		}
		m.PutRole(role)
		return nil
	})
}
