package server

import (
	"context"
	"log/slog"
	"time"

	"waxseal/keystore/awsquery"
	"waxseal/keystore/directory"
	"waxseal/keystore/enforce"
	"waxseal/keystore/iam"
	"waxseal/keystore/iamapi"
	"waxseal/keystore/kmsapi"
	"waxseal/keystore/sigv4"
	"waxseal/keystore/stsapi"
	"waxseal/keystore/webidentity"
	"waxseal/proxy"
)

// openUsers makes the directory of users: root, the users of the configuration, the audit delivery user and the users
// of the state.
func (p *App) openUsers(ctx context.Context, c *Config, log *slog.Logger) (err error) {
	if c.AuditBucket != "" {
		var deliveryUser iam.User
		if deliveryUser, p.deliveryUser, err = c.deliveryUser(); err != nil {
			return err
		}
		p.own = append(p.own, deliveryUser)
	}
	file, err := c.fileUsers(p.root, p.own...)
	if err != nil {
		return err
	}
	if p.users, err = iam.NewDirectory(file); err != nil {
		return err
	}
	p.people, err = directory.Open(ctx, directory.Config{
		Replicas: p.replicas, State: p.state, People: p.users, Account: c.Account, Log: log, CheckPolicy: c.checkPolicy,
	}, file)
	if err == nil && !p.looking {
		p.background(p.people.Follow)
	}
	return err
}

// checkPolicy checks an identity policy as strictly as a start checks those in the configuration file.
func (c *Config) checkPolicy(policy *iam.Policy) error {
	if err := proxy.CheckPolicy(policy); err != nil || !c.external() {
		return err
	}
	return enforce.CheckPolicy(policy)
}

// openSTS makes the STS API and its port on the S3 endpoint.
func (p *App) openSTS(c *Config, log *slog.Logger) *awsquery.API {
	sources := make(map[string]webidentity.Source, len(c.Issuers))
	for _, i := range c.Issuers {
		sources[i.URL] = webidentity.Source{JWKSFile: i.JWKSFile, CAFile: i.CAFile, TokenFile: i.TokenFile}
	}
	sts := stsapi.New(stsapi.Config{Directory: p.people, Keys: &webidentity.KeySets{Sources: sources}},
		awsquery.API{Audit: p.audit, Region: c.Region, Account: c.Account, Now: time.Now, Log: log})
	p.sts = awsquery.NewPort(p.people.Resolve, c.Region, time.Now, p.people.Used, sts)
	return sts
}

// openKMS makes the endpoint of the key service, shared with IAM. With an external key service it has no KMS.
func (p *App) openKMS(c *Config, log *slog.Logger) {
	sts := p.openSTS(c, log)
	base := awsquery.API{Audit: p.audit, Region: c.Region, Account: c.Account, Now: time.Now, Log: log}
	h := kmsapi.Handler{
		Service:      p.KeyService,
		Authenticate: kmsapi.SigV4(&sigv4.Verifier{Service: "kms", Region: c.Region, Lookup: p.people.Resolve, Now: time.Now}, p.people.Used),
		Query:        awsquery.NewPort(p.people.Resolve, c.Region, time.Now, p.people.Used, iamapi.New(p.people, base), sts),
		Log:          log,

		TrustedProxies: c.trustedProxies,
	}
	p.kms = h.Server()
	p.onClose(p.kms.ShutdownWithContext)
}
