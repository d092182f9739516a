package directory

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"waxseal/keystore/iam"
	"waxseal/keystore/state"
)

// Config configures a directory. Now and Log have defaults.
type Config struct {
	Replicas   *state.Replicas
	State      state.Store // sealed
	People     *iam.Directory
	Account    string
	Deployment string // in session tokens: a token of another deployment opens nowhere else
	Now        func() time.Time
	Log        *slog.Logger

	// CheckPolicy refuses an identity policy that waxseal could not enforce, such as a Deny on an unknown condition
	// key. It is called for a new policy, not for policies in the state.
	CheckPolicy func(*iam.Policy) error
}

// Directory resolves the users, roles and sessions of waxseal's account.
type Directory struct {
	cfg  Config
	now  atomic.Pointer[snapshot]
	file atomic.Pointer[[]iam.User]

	loading sync.Mutex // serialises loads, so that an older load never replaces a newer
	uses    uses
	tokens  tokens

	follows  follows // cfg.Replicas
	readings readings
}

// snapshot is a model with its parsed policies.
type snapshot struct {
	*Model
	parsed map[string]*iam.Policy // by document
}

// Open reads the directory from the state. file are the users of the configuration, root among them.
func Open(ctx context.Context, cfg Config, file []iam.User) (*Directory, error) {
	if cfg.State == nil || cfg.People == nil || cfg.Account == "" {
		return nil, errors.New("directory: State, People and Account are needed")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	cfg.Replicas.Mirror(revisionKey)
	d := &Directory{cfg: cfg, follows: cfg.Replicas}
	d.now.Store(&snapshot{Model: newModel()})
	d.file.Store(&file)
	if err := d.Reload(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// Account returns the account of all users and roles.
func (d *Directory) Account() string { return d.cfg.Account }

// Model returns the directory's contents. They must not be changed.
func (d *Directory) Model() *Model { return d.now.Load().Model }

// File returns the users of the configuration file, root among them.
func (d *Directory) File() []iam.User { return *d.file.Load() }

// Reload reads the state again.
func (d *Directory) Reload(ctx context.Context) error {
	d.loading.Lock()
	defer d.loading.Unlock()
	m, err := d.load(ctx)
	if err == nil {
		err = d.show(m, *d.file.Load())
	}
	if err != nil {
		return err
	}
	d.cfg.Replicas.CaughtUp(revisionKey, m.revision)
	return nil
}

// SetFile replaces the users of the configuration file in one step. On an error it replaces nothing.
func (d *Directory) SetFile(file []iam.User) error {
	d.loading.Lock()
	defer d.loading.Unlock()
	if err := d.show(d.Model(), file); err != nil {
		return err
	}
	d.file.Store(&file)
	return nil
}

func (d *Directory) load(ctx context.Context) (*Model, error) {
	entries, err := d.cfg.State.Range(ctx, prefix, "", 0)
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	return readModel(entries)
}

// show puts a model and the file's users in force for all requests.
func (d *Directory) show(m *Model, file []iam.User) error {
	s := &snapshot{Model: m, parsed: make(map[string]*iam.Policy)}
	contents := iam.Contents{Users: file, Principals: map[string]string{}, Credentials: map[string]iam.Credential{}, Session: d.resolveSession}
	taken := fileNames(file, d.cfg.Account)
	for _, u := range m.Users {
		if taken[lower(u.Name)] {
			// The file's user came later; the state's user is not served until the file's user is gone.
			d.cfg.Log.Warn("a user of the state has the name of a user of the configuration file, and is not served", "user", u.Name)
			continue
		}
		arn := u.ARN(d.cfg.Account, "user")
		contents.Principals[arn] = u.ID
		rights := iam.Rights{Policies: s.userPolicies(u)}
		for _, k := range u.Keys {
			if k.Inactive {
				continue
			}
			contents.Credentials[k.ID] = iam.Credential{Secret: iam.NewSecret(k.Secret), Owner: iam.Requester{
				Name: u.Name, ARN: arn, AccountID: d.cfg.Account, ID: u.ID, AccessKey: k.ID, Rights: rights,
			}.Identify()}
		}
	}
	for _, r := range m.Roles {
		contents.Principals[r.ARN(d.cfg.Account, "role")] = r.ID
	}
	if err := d.cfg.People.Set(contents); err != nil {
		return err
	}
	d.now.Store(s)
	return nil
}

// fileNames returns the names of the configuration file's users, in lower case.
func fileNames(file []iam.User, account string) map[string]bool {
	names := map[string]bool{}
	for _, u := range file {
		if u.AccountID == account {
			names[lower(u.Name)] = true
		}
	}
	return names
}

// Reserved reports whether the configuration file has a user of this name.
func (d *Directory) Reserved(name string) bool {
	return fileNames(*d.file.Load(), d.cfg.Account)[lower(name)]
}

// userPolicies returns the effective policies of a user: its own, and its groups'.
func (s *snapshot) userPolicies(u *User) []*iam.Policy {
	all := s.policiesOf(u.Policies)
	for _, name := range u.Groups {
		if g := s.Groups[lower(name)]; g != nil {
			all = append(all, s.policiesOf(g.Policies)...)
		}
	}
	return all
}

// denyAll stands for an unreadable policy: it may have been a Deny.
var denyAll = func() *iam.Policy {
	p, err := iam.ParsePolicy([]byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`), iam.Options{Kind: iam.Identity})
	if err != nil {
		panic("directory: internal error: " + err.Error())
	}
	return p
}()

func (s *snapshot) policiesOf(p Policies) []*iam.Policy {
	var all []*iam.Policy
	for _, name := range sortedKeys(p.Inline) {
		all = append(all, s.parse(p.Inline[name]))
	}
	for _, arn := range p.Attached {
		managed := s.PolicyByARN(arn)
		if managed == nil {
			all = append(all, denyAll) // an attached policy cannot be deleted: this state is damaged
			continue
		}
		all = append(all, s.parse(managed.Document))
	}
	return all
}

func (s *snapshot) parse(document string) *iam.Policy {
	if p := s.parsed[document]; p != nil {
		return p
	}
	p, err := iam.ParsePolicy([]byte(document), iam.Options{Kind: iam.Identity})
	if err != nil {
		p = denyAll
	}
	s.parsed[document] = p
	return p
}

var errWatchEnded = errors.New("the watch ended")

// ErrBusy is returned for a change after too many lost races with concurrent changes.
var ErrBusy = errors.New("directory: too many changes at once")

// Change reads the state, has f change a fresh model of it, and writes the records put and removed by f, all or
// nothing. On return the change is in force in this process.
func (d *Directory) Change(ctx context.Context, f func(*Model) error) error {
	err := d.change(ctx, f)
	if errors.Is(err, state.ErrUnavailable) || errors.Is(err, state.ErrUnknown) {
		return fmt.Errorf("%w: %w", iam.ErrUnavailable, err)
	}
	return err
}

func (d *Directory) change(ctx context.Context, f func(*Model) error) error {
	for range 100 {
		m, err := d.load(ctx)
		if err != nil {
			return err
		}
		if err := errors.Join(f(m), m.failed); err != nil {
			return err
		}
		if len(m.changed) == 0 {
			return nil
		}
		conds := []state.Cond{{Key: revisionKey, Revision: m.revision}}
		ops := append(m.changed, state.Op{Key: revisionKey, Value: []byte(strconv.FormatInt(d.cfg.Now().UnixNano(), 10))})
		rev, err := d.cfg.State.Txn(ctx, conds, ops)
		if !errors.Is(err, state.ErrConflict) {
			// Also after an unknown outcome: the reload shows which state is in force.
			err = errors.Join(err, d.Reload(context.WithoutCancel(ctx)))
			if err == nil {
				d.cfg.Replicas.Settle(ctx, rev) // the change is in force on all replicas
			}
			return err
		}
	}
	return ErrBusy
}

// Follow keeps the directory up to date with changes by other processes, until ctx ends.
func (d *Directory) Follow(ctx context.Context) {
	for ctx.Err() == nil {
		if err := d.follow(ctx); err != nil && ctx.Err() == nil {
			d.cfg.Log.Error("the directory of users does not follow the state", "err", err)
			sleep(ctx, time.Second)
		}
	}
}

// follow watches first and reads then, so that no change is missed in between.
func (d *Directory) follow(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	events, err := d.cfg.State.Watch(ctx, prefix)
	if err != nil {
		return err
	}
	if err := d.Reload(ctx); err != nil {
		return err
	}
	flush := time.NewTicker(useInterval)
	defer flush.Stop()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return errWatchEnded
			}
			if !e.Lagged && e.Key != revisionKey {
				continue // each change writes the revision, too
			}
			if err := d.Reload(ctx); err != nil {
				return err
			}
		case <-flush.C:
			d.flushUses(ctx)
			if err := d.RotateRing(ctx); err != nil {
				return err
			}
		case <-ctx.Done():
			d.flushUses(context.WithoutCancel(ctx))
			return nil
		}
	}
}

func sleep(ctx context.Context, t time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(t):
	}
}

func base64Text(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// CheckDocument refuses a malformed identity policy, and a policy that waxseal could not enforce.
func (d *Directory) CheckDocument(document string) error {
	p, err := iam.ParsePolicy([]byte(document), iam.Options{Kind: iam.Identity})
	if err == nil && d.cfg.CheckPolicy != nil {
		err = d.cfg.CheckPolicy(p)
	}
	return err
}

// CheckTrust refuses a trust policy that is malformed or names an unknown principal.
func (d *Directory) CheckTrust(document string) (*iam.Policy, error) {
	p, err := iam.ParseTrust([]byte(document))
	if err != nil {
		return nil, err
	}
	if p.NamesNobody(d.cfg.People) {
		return nil, &iam.MalformedError{Message: "Invalid principal in policy"}
	}
	for _, arn := range p.Federated() {
		if d.Model().ProviderByARN(d.cfg.Account, arn) == nil {
			return nil, &iam.MalformedError{Message: "Invalid principal in policy: there is no identity provider " + arn}
		}
	}
	return p, nil
}

// ProviderByARN finds an OpenID Connect provider.
func (m *Model) ProviderByARN(account, arn string) *Provider {
	p := m.Providers[iam.Provider(arn)]
	if p == nil || p.ARN(account) != arn {
		return nil
	}
	return p
}

// ARN returns the provider's ARN.
func (p *Provider) ARN(account string) string {
	return "arn:aws:iam::" + account + ":oidc-provider/" + p.URL
}

// IsPrincipal reports whether there is the user or role of an ARN.
func (d *Directory) IsPrincipal(arn string) bool {
	_, ok := d.cfg.People.PrincipalID(arn)
	return ok
}

// Trust returns the parsed trust policy of a role.
func (d *Directory) Trust(r *Role) (*iam.Policy, error) { return iam.ParseTrust([]byte(r.Trust)) }
