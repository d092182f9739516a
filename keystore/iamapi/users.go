package iamapi

import (
	"context"
	"slices"
	"strings"

	"waxseal/keystore/awsquery"
	"waxseal/keystore/directory"
	"waxseal/keystore/iam"
)

func (a *api) users() []awsquery.Operation {
	return []awsquery.Operation{
		making("CreateUser", a.createUser, may("Path", pathRule), need("UserName", name64)),
		reading("GetUser", a.getUser, may("UserName", name128)),
		reading("ListUsers", a.listUsers, with(paged, may("PathPrefix", pathPrefix))...),
		op("DeleteUser", a.deleteUser, need("UserName", name128)),
	}
}

// userResult is a user as IAM shows it.
type userResult struct {
	Path       string
	UserName   string
	UserID     string `xml:"UserId"`
	ARN        string `xml:"Arn"`
	CreateDate string `xml:",omitempty"`
}

func (a *api) showUser(u *directory.User) userResult {
	return userResult{u.Path, u.Name, u.ID, u.ARN(a.dir.Account(), "user"), isoTime(u.Created)}
}

// showFileUser shows a user of the configuration file, without a creation date: the file has none.
func showFileUser(u *iam.User) userResult {
	_, resource, _ := strings.Cut(u.ARN, ":user")
	path := "/"
	if i := strings.LastIndexByte(resource, '/'); i > 0 {
		path = resource[:i+1]
	}
	return userResult{path, u.Name, u.ID(), u.ARN, ""}
}

// fileUsers returns the account's users of the configuration file.
func (a *api) fileUsers() []iam.User {
	return slices.DeleteFunc(slices.Clone(a.dir.File()), func(u iam.User) bool {
		return u.AccountID != a.dir.Account() || !strings.Contains(u.ARN, ":user/")
	})
}

func (a *api) fileUser(name string) *iam.User {
	users := a.fileUsers()
	i := slices.IndexFunc(users, func(u iam.User) bool { return u.Name == name })
	if i < 0 {
		return nil
	}
	return &users[i]
}

// userARN returns the ARN to authorize a request about a user: with the user's path, if the user exists.
func (a *api) userARN(name string) string {
	if u := findUser(a.dir.Model(), name); u != nil {
		return u.ARN(a.dir.Account(), "user")
	}
	if u := a.fileUser(name); u != nil {
		return u.ARN
	}
	return a.arn("user/" + name)
}

func findUser(m *directory.Model, name string) *directory.User {
	if u := m.Users[strings.ToLower(name)]; u != nil && u.Name == name {
		return u
	}
	return nil
}

// user finds a user of the state for a change.
func (a *api) user(m *directory.Model, name string) (*directory.User, error) {
	if u := findUser(m, name); u != nil {
		return u.Clone(), nil
	}
	if a.fileUser(name) != nil {
		return nil, unmodifiable(name)
	}
	return nil, noSuch("user", name)
}

func (a *api) createUser(ctx context.Context, r *awsquery.Request) (out struct{ User userResult }, err error) {
	name := r.Get("UserName")
	if err := a.authorize(r, a.arn("user"+path(r)+name)); err != nil {
		return out, err
	}
	u := directory.NewUser(name, path(r), r.Now)
	err = a.change(ctx, func(m *directory.Model) error {
		if m.Users[strings.ToLower(name)] != nil || a.dir.Reserved(name) {
			return exists("user", name)
		}
		m.PutUser(u)
		return nil
	})
	out.User = a.showUser(u)
	r.Reply = map[string]any{"user": map[string]any{"userName": u.Name, "userId": u.ID, "arn": out.User.ARN, "path": u.Path}}
	return out, err
}

func (a *api) getUser(_ context.Context, r *awsquery.Request) (out struct{ User userResult }, err error) {
	name := r.Get("UserName")
	if name == "" {
		return a.getSelf(r)
	}
	if err := a.authorize(r, a.userARN(name)); err != nil {
		return out, err
	}
	if u := findUser(a.dir.Model(), name); u != nil {
		out.User = a.showUser(u)
		return out, nil
	}
	if u := a.fileUser(name); u != nil {
		out.User = showFileUser(u)
		return out, nil
	}
	return out, noSuch("user", name)
}

// getSelf is GetUser without a name: it returns the caller.
func (a *api) getSelf(r *awsquery.Request) (out struct{ User userResult }, err error) {
	who := r.Caller.Requester
	switch {
	case who.Root:
		out.User = userResult{Path: "/", UserName: who.Name, UserID: who.ID, ARN: who.ARN}
		return out, nil
	case !strings.Contains(who.ARN, ":user/"):
		return out, errNoName()
	}
	if err := a.authorize(r, who.ARN); err != nil {
		return out, err
	}
	if u := findUser(a.dir.Model(), who.Name); u != nil && u.ID == who.ID {
		out.User = a.showUser(u)
	} else if u := a.fileUser(who.Name); u != nil {
		out.User = showFileUser(u)
	}
	return out, nil
}

func errNoName() error {
	return awsquery.Fail(400, "ValidationError", "Must specify userName when calling with non-User credentials")
}

type listUsersResult struct {
	Users []userResult `xml:"Users>member"`
	page
}

func (a *api) listUsers(_ context.Context, r *awsquery.Request) (out listUsersResult, err error) {
	if err := a.authorize(r, "*"); err != nil {
		return out, err
	}
	prefix := r.Get("PathPrefix")
	var all []userResult
	for _, u := range a.dir.Model().Users {
		if strings.HasPrefix(u.Path, prefix) && !a.dir.Reserved(u.Name) {
			all = append(all, a.showUser(u))
		}
	}
	for _, u := range a.fileUsers() {
		if shown := showFileUser(&u); strings.HasPrefix(shown.Path, prefix) {
			all = append(all, shown)
		}
	}
	out.Users, out.page, err = cut(r, all, func(u userResult) string { return u.UserName })
	return out, err
}

func (a *api) deleteUser(ctx context.Context, r *awsquery.Request) error {
	name := r.Get("UserName")
	if err := a.authorize(r, a.userARN(name)); err != nil {
		return err
	}
	return a.change(ctx, func(m *directory.Model) error {
		u, err := a.user(m, name)
		if err != nil {
			return err
		}
		if len(u.Keys) > 0 {
			return conflict("delete access keys")
		}
		if len(u.Groups) > 0 {
			return conflict("remove users from group")
		}
		if err := u.Policies.Removable(); err != "" {
			return conflict(err)
		}
		m.RemoveUser(u)
		return nil
	})
}
