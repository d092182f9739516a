package iamapi

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"waxseal/keystore/awsquery"
	"waxseal/keystore/directory"
)

// AWS's quotas of a provider.
const (
	maxClientIDs   = 100
	maxThumbprints = 5
)

func (a *api) providers() []awsquery.Operation {
	arn, clientID := need("OpenIDConnectProviderArn", arnRule), awsquery.Rule{Min: 1, Max: 255}
	return []awsquery.Operation{
		making("CreateOpenIDConnectProvider", a.createProvider, need("Url", awsquery.Rule{Min: 1, Max: 255}),
			awsquery.Param{Name: "ClientIDList", List: true, Rule: clientID},
			awsquery.Param{Name: "ThumbprintList", List: true, Rule: awsquery.Match(`[0-9A-Fa-f]{40}`, 40, 40)}),
		reading("GetOpenIDConnectProvider", a.getProvider, arn),
		reading("ListOpenIDConnectProviders", a.listProviders),
		op("DeleteOpenIDConnectProvider", a.deleteProvider, arn),
		op("AddClientIDToOpenIDConnectProvider", a.addClientID, arn, need("ClientID", clientID)),
		op("RemoveClientIDFromOpenIDConnectProvider", a.removeClientID, arn, need("ClientID", clientID)),
	}
}

func invalidInput(format string, args ...any) error {
	return awsquery.Fail(400, "InvalidInput", format, args...)
}

// providerURL returns the URL of a provider without its scheme. A token's issuer must be exactly this URL, so a URL
// with a second spelling is refused.
func providerURL(given string) (string, error) {
	u, err := url.Parse(given)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || !strings.HasPrefix(given, "https://"):
		return "", invalidInput("Invalid Open ID Connect Provider URL: it must begin with https://")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(given, "?#"):
		return "", invalidInput("Invalid Open ID Connect Provider URL: it must have no user, query or fragment")
	case u.Host != strings.ToLower(u.Host):
		return "", invalidInput("Invalid Open ID Connect Provider URL: its host must be in lower case")
	}
	return strings.TrimPrefix(given, "https://"), nil
}

func (a *api) createProvider(ctx context.Context, r *awsquery.Request) (out struct {
	OpenIDConnectProviderARN string `xml:"OpenIDConnectProviderArn"`
}, err error,
) {
	address, err := providerURL(r.Get("Url"))
	p := &directory.Provider{URL: address, ClientIDs: r.List("ClientIDList"), Thumbprints: r.List("ThumbprintList"), Created: r.Now}
	out.OpenIDConnectProviderARN = p.ARN(a.dir.Account())
	if denied := a.authorize(r, out.OpenIDConnectProviderARN); denied != nil {
		return out, denied
	}
	switch {
	case err != nil:
		return out, err
	case len(p.ClientIDs) > maxClientIDs:
		return out, limit("ClientIdsPerOpenIdConnectProvider", maxClientIDs)
	case len(p.Thumbprints) > maxThumbprints:
		return out, invalidInput("Thumbprint list must contain fewer than %d entries.", maxThumbprints)
	}
	return out, a.change(ctx, func(m *directory.Model) error {
		if m.Providers[address] != nil {
			return awsquery.Fail(409, "EntityAlreadyExists", "Provider with url %s already exists.", r.Get("Url"))
		}
		m.PutProvider(p)
		return nil
	})
}

func (a *api) provider(m *directory.Model, r *awsquery.Request) (*directory.Provider, error) {
	arn := r.Get("OpenIDConnectProviderArn")
	if p := m.ProviderByARN(a.dir.Account(), arn); p != nil {
		return p.Clone(), nil
	}
	return nil, awsquery.Fail(404, "NoSuchEntity", "OpenIDConnect Provider not found for arn %s", arn)
}

type providerResult struct {
	URL            string   `xml:"Url"`
	ClientIDList   []string `xml:"ClientIDList>member"`
	ThumbprintList []string `xml:"ThumbprintList>member"`
	CreateDate     string
}

func (a *api) getProvider(_ context.Context, r *awsquery.Request) (out providerResult, err error) {
	if err := a.authorize(r, r.Get("OpenIDConnectProviderArn")); err != nil {
		return out, err
	}
	p, err := a.provider(a.dir.Model(), r)
	if err == nil {
		out = providerResult{p.URL, p.ClientIDs, p.Thumbprints, isoTime(p.Created)}
	}
	return out, err
}

type providerName struct {
	ARN string `xml:"Arn"`
}

type listProvidersResult struct {
	OpenIDConnectProviderList []providerName `xml:"OpenIDConnectProviderList>member"`
}

func (a *api) listProviders(_ context.Context, r *awsquery.Request) (out listProvidersResult, err error) {
	if err := a.authorize(r, "*"); err != nil {
		return out, err
	}
	for _, p := range a.dir.Model().Providers {
		out.OpenIDConnectProviderList = append(out.OpenIDConnectProviderList, providerName{p.ARN(a.dir.Account())})
	}
	slices.SortFunc(out.OpenIDConnectProviderList, func(a, b providerName) int { return strings.Compare(a.ARN, b.ARN) })
	return out, nil
}

// changeProvider changes a provider.
func (a *api) changeProvider(ctx context.Context, r *awsquery.Request, change func(*directory.Model, *directory.Provider) error) error {
	if err := a.authorize(r, r.Get("OpenIDConnectProviderArn")); err != nil {
		return err
	}
	return a.change(ctx, func(m *directory.Model) error {
		p, err := a.provider(m, r)
		if err != nil {
			return err
		}
		return change(m, p)
	})
}

func (a *api) deleteProvider(ctx context.Context, r *awsquery.Request) error {
	return a.changeProvider(ctx, r, func(m *directory.Model, p *directory.Provider) error {
		m.RemoveProvider(p)
		return nil
	})
}

func (a *api) addClientID(ctx context.Context, r *awsquery.Request) error {
	return a.changeProvider(ctx, r, func(m *directory.Model, p *directory.Provider) error {
		id := r.Get("ClientID")
		switch {
		case slices.Contains(p.ClientIDs, id):
			return nil
		case len(p.ClientIDs) >= maxClientIDs:
			return limit("ClientIdsPerOpenIdConnectProvider", maxClientIDs)
		}
		p.ClientIDs = append(p.ClientIDs, id)
		m.PutProvider(p)
		return nil
	})
}

func (a *api) removeClientID(ctx context.Context, r *awsquery.Request) error {
	return a.changeProvider(ctx, r, func(m *directory.Model, p *directory.Provider) error {
		p.ClientIDs = slices.DeleteFunc(p.ClientIDs, func(id string) bool { return id == r.Get("ClientID") })
		m.PutProvider(p)
		return nil
	})
}
