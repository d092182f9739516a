package iamapi

import (
	"context"
	"slices"
	"strings"

	"waxseal/keystore/awsquery"
	"waxseal/keystore/directory"
)

// maxGroups is AWS's quota of the groups of a user.
const maxGroups = 10

func (a *api) groups() []awsquery.Operation {
	return []awsquery.Operation{
		making("CreateGroup", a.createGroup, may("Path", pathRule), need("GroupName", name128)),
		reading("GetGroup", a.getGroup, with(paged, need("GroupName", name128))...),
		reading("ListGroups", a.listGroups, with(paged, may("PathPrefix", pathPrefix))...),
		reading("ListGroupsForUser", a.groupsOf, with(paged, need("UserName", name128))...),
		op("DeleteGroup", a.deleteGroup, need("GroupName", name128)),
		op("AddUserToGroup", a.addToGroup, need("GroupName", name128), need("UserName", name128)),
		op("RemoveUserFromGroup", a.removeFromGroup, need("GroupName", name128), need("UserName", name128)),
	}
}

type groupResult struct {
	Path       string
	GroupName  string
	GroupID    string `xml:"GroupId"`
	ARN        string `xml:"Arn"`
	CreateDate string
}

func (a *api) showGroup(g *directory.Group) groupResult {
	return groupResult{g.Path, g.Name, g.ID, g.ARN(a.dir.Account(), "group"), isoTime(g.Created)}
}

func findGroup(m *directory.Model, name string) (*directory.Group, error) {
	if g := m.Groups[strings.ToLower(name)]; g != nil && g.Name == name {
		return g.Clone(), nil
	}
	return nil, noSuch("group", name)
}

func (a *api) groupARN(name string) string {
	if g, err := findGroup(a.dir.Model(), name); err == nil {
		return g.ARN(a.dir.Account(), "group")
	}
	return a.arn("group/" + name)
}

func (a *api) createGroup(ctx context.Context, r *awsquery.Request) (out struct{ Group groupResult }, err error) {
	name := r.Get("GroupName")
	if err := a.authorize(r, a.arn("group"+path(r)+name)); err != nil {
		return out, err
	}
	g := directory.NewGroup(name, path(r), r.Now)
	err = a.change(ctx, func(m *directory.Model) error {
		if m.Groups[strings.ToLower(name)] != nil {
			return exists("group", name)
		}
		m.PutGroup(g)
		return nil
	})
	out.Group = a.showGroup(g)
	return out, err
}

type getGroupResult struct {
	Group groupResult
	Users []userResult `xml:"Users>member"`
	page
}

func (a *api) getGroup(_ context.Context, r *awsquery.Request) (out getGroupResult, err error) {
	name := r.Get("GroupName")
	if err := a.authorize(r, a.groupARN(name)); err != nil {
		return out, err
	}
	g, err := findGroup(a.dir.Model(), name)
	if err != nil {
		return out, err
	}
	out.Group = a.showGroup(g)
	var members []userResult
	for _, u := range a.dir.Model().Users {
		if slices.Contains(u.Groups, g.Name) {
			members = append(members, a.showUser(u))
		}
	}
	out.Users, out.page, err = cut(r, members, func(u userResult) string { return u.UserName })
	return out, err
}

type listGroupsResult struct {
	Groups []groupResult `xml:"Groups>member"`
	page
}

func (a *api) listGroups(_ context.Context, r *awsquery.Request) (out listGroupsResult, err error) {
	if err := a.authorize(r, "*"); err != nil {
		return out, err
	}
	var all []groupResult
	for _, g := range a.dir.Model().Groups {
		if strings.HasPrefix(g.Path, r.Get("PathPrefix")) {
			all = append(all, a.showGroup(g))
		}
	}
	out.Groups, out.page, err = cut(r, all, func(g groupResult) string { return g.GroupName })
	return out, err
}

func (a *api) groupsOf(_ context.Context, r *awsquery.Request) (out listGroupsResult, err error) {
	name := r.Get("UserName")
	if err := a.authorize(r, a.userARN(name)); err != nil {
		return out, err
	}
	m := a.dir.Model()
	u := findUser(m, name)
	if u == nil && a.fileUser(name) == nil {
		return out, noSuch("user", name)
	}
	var all []groupResult
	if u != nil {
		for _, group := range u.Groups {
			if g, err := findGroup(m, group); err == nil {
				all = append(all, a.showGroup(g))
			}
		}
	}
	out.Groups, out.page, err = cut(r, all, func(g groupResult) string { return g.GroupName })
	return out, err
}

func (a *api) deleteGroup(ctx context.Context, r *awsquery.Request) error {
	name := r.Get("GroupName")
	if err := a.authorize(r, a.groupARN(name)); err != nil {
		return err
	}
	return a.change(ctx, func(m *directory.Model) error {
		g, err := findGroup(m, name)
		if err != nil {
			return err
		}
		for _, u := range m.Users {
			if slices.Contains(u.Groups, name) {
				return conflict("remove users from group")
			}
		}
		if why := g.Policies.Removable(); why != "" {
			return conflict(why)
		}
		m.RemoveGroup(g)
		return nil
	})
}

// changeMember changes the groups of a user.
func (a *api) changeMember(ctx context.Context, r *awsquery.Request, change func(u *directory.User, group string) error) error {
	group := r.Get("GroupName")
	if err := a.authorize(r, a.groupARN(group)); err != nil {
		return err
	}
	return a.change(ctx, func(m *directory.Model) error {
		if _, err := findGroup(m, group); err != nil {
			return err
		}
		u, err := a.user(m, r.Get("UserName"))
		if err != nil {
			return err
		}
		if err := change(u, group); err != nil {
			return err
		}
		m.PutUser(u)
		return nil
	})
}

func (a *api) addToGroup(ctx context.Context, r *awsquery.Request) error {
	return a.changeMember(ctx, r, func(u *directory.User, group string) error {
		switch {
		case slices.Contains(u.Groups, group):
			return nil
		case len(u.Groups) >= maxGroups:
			return limit("GroupsPerUser", maxGroups)
		}
		u.Groups = append(u.Groups, group)
		return nil
	})
}

func (a *api) removeFromGroup(ctx context.Context, r *awsquery.Request) error {
	return a.changeMember(ctx, r, func(u *directory.User, group string) error {
		if !slices.Contains(u.Groups, group) {
			return noSuch("user", u.Name)
		}
		u.Groups = slices.DeleteFunc(u.Groups, func(g string) bool { return g == group })
		return nil
	})
}
