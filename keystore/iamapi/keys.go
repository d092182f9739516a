package iamapi

import (
	"context"
	"slices"
	"strings"

	"waxseal/keystore/awsquery"
	"waxseal/keystore/directory"
)

// maxKeys is AWS's limit: two, so that a new key is in use before the old key goes.
const maxKeys = 2

func (a *api) keys() []awsquery.Operation {
	status := awsquery.Rule{Enum: []string{"Active", "Inactive"}}
	return []awsquery.Operation{
		making("CreateAccessKey", a.createKey, may("UserName", name128)),
		reading("ListAccessKeys", a.listKeys, with(paged, may("UserName", name128))...),
		op("UpdateAccessKey", a.updateKey, may("UserName", name128), need("AccessKeyId", keyIDRule), need("Status", status)),
		op("DeleteAccessKey", a.deleteKey, may("UserName", name128), need("AccessKeyId", keyIDRule)),
		reading("GetAccessKeyLastUsed", a.lastUsed, need("AccessKeyId", keyIDRule)),
	}
}

// ownOr returns the user named by a request, or the caller.
func (a *api) ownOr(r *awsquery.Request) (string, error) {
	if name := r.Get("UserName"); name != "" {
		return name, nil
	}
	if who := r.Caller.Requester; who.AccountID == a.dir.Account() && strings.Contains(who.ARN, ":user/") {
		return who.Name, nil
	}
	return "", errNoName()
}

type keyResult struct {
	UserName        string
	AccessKeyID     string `xml:"AccessKeyId"`
	Status          string
	SecretAccessKey string `xml:",omitempty"`
	CreateDate      string `xml:",omitempty"`
}

func showKey(user string, k directory.AccessKey) keyResult {
	status := "Active"
	if k.Inactive {
		status = "Inactive"
	}
	return keyResult{UserName: user, AccessKeyID: k.ID, Status: status, CreateDate: isoTime(k.Created)}
}

func (a *api) createKey(ctx context.Context, r *awsquery.Request) (out struct{ AccessKey keyResult }, err error) {
	name, err := a.ownOr(r)
	if err == nil {
		err = a.authorize(r, a.userARN(name))
	}
	if err != nil {
		return out, err
	}
	key := directory.NewAccessKey(r.Now)
	err = a.change(ctx, func(m *directory.Model) error {
		u, err := a.user(m, name)
		if err != nil {
			return err
		}
		if len(u.Keys) >= maxKeys {
			return limit("AccessKeysPerUser", maxKeys)
		}
		u.Keys = append(u.Keys, key)
		m.PutUser(u)
		return nil
	})
	if err != nil {
		return out, err
	}
	out.AccessKey = showKey(name, key)
	out.AccessKey.SecretAccessKey = key.Secret
	r.Reply = map[string]any{"accessKey": map[string]any{"userName": name, "accessKeyId": key.ID, "status": "Active"}}
	return out, nil
}

type listKeysResult struct {
	UserName          string
	AccessKeyMetadata []keyResult `xml:"AccessKeyMetadata>member"`
	page
}

func (a *api) listKeys(_ context.Context, r *awsquery.Request) (out listKeysResult, err error) {
	if out.UserName, err = a.ownOr(r); err != nil {
		return out, err
	}
	if err := a.authorize(r, a.userARN(out.UserName)); err != nil {
		return out, err
	}
	var all []keyResult
	if u := findUser(a.dir.Model(), out.UserName); u != nil {
		for _, k := range u.Keys {
			all = append(all, showKey(u.Name, k))
		}
	} else if u := a.fileUser(out.UserName); u != nil {
		all = append(all, keyResult{UserName: u.Name, AccessKeyID: u.AccessKey, Status: "Active"})
	} else {
		return out, noSuch("user", out.UserName)
	}
	out.AccessKeyMetadata, out.page, err = cut(r, all, func(k keyResult) string { return k.AccessKeyID })
	return out, err
}

// changeKey changes or removes an access key of a user.
func (a *api) changeKey(ctx context.Context, r *awsquery.Request, change func(*directory.Model, *directory.User, int)) error {
	name, err := a.ownOr(r)
	if err == nil {
		err = a.authorize(r, a.userARN(name))
	}
	if err != nil {
		return err
	}
	id := r.Get("AccessKeyId")
	return a.change(ctx, func(m *directory.Model) error {
		u, err := a.user(m, name)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(u.Keys, func(k directory.AccessKey) bool { return k.ID == id })
		if i < 0 {
			return awsquery.Fail(404, "NoSuchEntity", "The Access Key with id %s cannot be found.", id)
		}
		change(m, u, i)
		m.PutUser(u)
		return nil
	})
}

func (a *api) updateKey(ctx context.Context, r *awsquery.Request) error {
	return a.changeKey(ctx, r, func(_ *directory.Model, u *directory.User, i int) { u.Keys[i].Inactive = r.Get("Status") == "Inactive" })
}

func (a *api) deleteKey(ctx context.Context, r *awsquery.Request) error {
	return a.changeKey(ctx, r, func(m *directory.Model, u *directory.User, i int) {
		m.ForgetUse(u.Keys[i].ID)
		u.Keys = slices.Delete(u.Keys, i, i+1)
	})
}

type lastUsedResult struct {
	UserName          string
	AccessKeyLastUsed struct {
		LastUsedDate string `xml:",omitempty"`
		ServiceName  string
		Region       string
	}
}

func (a *api) lastUsed(ctx context.Context, r *awsquery.Request) (out lastUsedResult, err error) {
	id := r.Get("AccessKeyId")
	if out.UserName = a.holderOf(id); out.UserName == "" {
		if err := a.authorize(r, "*"); err != nil {
			return out, err
		}
		return out, awsquery.Fail(404, "NoSuchEntity", "The Access Key with id %s cannot be found.", id)
	}
	if err := a.authorize(r, a.userARN(out.UserName)); err != nil {
		return out, err
	}
	use, err := a.dir.LastUse(ctx, id)
	if err != nil {
		return out, err
	}
	out.AccessKeyLastUsed.ServiceName, out.AccessKeyLastUsed.Region = "N/A", "N/A"
	if !use.When.IsZero() {
		out.AccessKeyLastUsed.LastUsedDate, out.AccessKeyLastUsed.ServiceName, out.AccessKeyLastUsed.Region = isoTime(use.When), use.Service, use.Region
	}
	return out, nil
}

// holderOf returns the name of an access key's user.
func (a *api) holderOf(id string) string {
	for _, u := range a.dir.Model().Users {
		if slices.ContainsFunc(u.Keys, func(k directory.AccessKey) bool { return k.ID == id }) {
			return u.Name
		}
	}
	for _, u := range a.fileUsers() {
		if u.AccessKey == id {
			return u.Name
		}
	}
	return ""
}
