package server

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"waxseal/keystore/audit"
	"waxseal/keystore/state"
)

// operatorHeader names the operating system's user behind a command on the control socket. Only the user of the running
// waxseal, or root, can open the socket. The header tells apart the people sharing these users, and is not proven.
const operatorHeader = "Waxseal-Operator"

// thisOperator returns the user of this process, as "name (uid 1000)". With sudo it is the user who called sudo.
func thisOperator() string {
	name := os.Getenv("SUDO_USER")
	if u, err := user.Current(); name == "" && err == nil {
		name = u.Username
	}
	return fmt.Sprintf("%s (uid %d)", name, os.Getuid())
}

// operatorOf returns the sender of a request to the control socket.
func operatorOf(r *http.Request) string {
	if who := r.Header.Get(operatorHeader); who != "" {
		return who
	}
	return "unknown, at the control socket"
}

// operatorEvent is an operator's action on a waxseal.
type operatorEvent struct {
	name     string // "Backup"
	readOnly bool
	params   map[string]any
	err      error // nil: success, or the beginning
}

// record writes the audit record of an operator's event.
func (p *App) record(ctx context.Context, c *Config, who string, e operatorEvent) error {
	r := &audit.Record{
		UserIdentity: audit.UserIdentity{Type: audit.OSUser, UserName: who, AccountID: c.Account},
		EventSource:  audit.OwnSource, EventName: e.name, EventType: audit.OperatorEvent, AWSRegion: c.Region,
		SourceIPAddress: "localhost", UserAgent: "waxseal", RequestParameters: e.params,
		ReadOnly: e.readOnly, ManagementEvent: true,
	}
	if e.err != nil {
		r.ErrorCode, r.ErrorMessage = "InternalFailure", cutMessage(e.err.Error())
	}
	// Cancelling the command does not avoid the record.
	if err := p.audit.Write(context.WithoutCancel(ctx), r); err != nil {
		return fmt.Errorf("the audit record of %s was not written: %w", e.name, err)
	}
	return nil
}

// cutMessage cuts an errorMessage to CloudTrail's limit.
func cutMessage(text string) string {
	const limit = 1024
	if len(text) > limit {
		text = text[:limit]
	}
	return text
}

// recorded writes the record of an event and calls do. If do fails, it writes another record.
func (p *App) recorded(ctx context.Context, c *Config, who string, e operatorEvent, do func() error) error {
	if err := p.record(ctx, c, who, e); err != nil {
		return err
	}
	err := do()
	if err == nil {
		return nil
	}
	e.err = err
	return errors.Join(err, p.record(ctx, c, who, e))
}

// configurationKey holds the configuration of the last start.
const configurationKey = "audit/configuration"

// recordStart records the start of a waxseal with its configuration, and the settings changed since the last start.
func (p *App) recordStart(ctx context.Context, c *Config, version string) error {
	now, err := c.audited()
	if err != nil {
		return err
	}
	before, err := p.state.Get(ctx, configurationKey)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	was := make(map[string]json.RawMessage)
	if len(before.Value) > 0 {
		if err := json.Unmarshal(before.Value, &was); err != nil {
			return fmt.Errorf("%s: %w", configurationKey, err)
		}
	}
	value, err := json.Marshal(now)
	if err != nil {
		return err
	}
	e := operatorEvent{name: "StartServer", params: map[string]any{"version": version, "configuration": now}}
	if before.Revision != 0 {
		e.params["changedSettings"] = changedSettings(was, now)
	}
	if err := p.record(ctx, c, thisOperator(), e); err != nil {
		return err
	}
	_, err = p.state.Txn(ctx, nil, []state.Op{{Key: configurationKey, Value: value}})
	return err
}

// changedSettings returns the names of the settings whose values differ.
func changedSettings(was, now map[string]json.RawMessage) []string {
	names := []string{}
	for name, value := range now {
		if string(was[name]) != string(value) {
			names = append(names, name)
		}
	}
	for name := range was {
		if _, still := now[name]; !still {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// audited returns the configuration for audit records: without secrets, and with the name, ARN and SHA-256 of the
// rights of each user.
func (c *Config) audited() (map[string]json.RawMessage, error) {
	values := make(map[string]any)
	for _, s := range c.settings(&reading{}) {
		values[s.Key] = s.Value
	}
	for i := range c.Users {
		u := &c.Users[i]
		var policy []byte
		if !u.WrittenPolicy.IsZero() {
			var err error
			if policy, err = yaml.Marshal(&u.WrittenPolicy); err != nil {
				return nil, fmt.Errorf("config: users: %s: policy: %w", u.Name, err)
			}
		}
		values["users."+u.Name] = map[string]any{"arn": u.ARN, "policySHA256": fmt.Sprintf("%x", sha256.Sum256(policy))}
	}
	out := make(map[string]json.RawMessage)
	for name, value := range values {
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		out[name] = text
	}
	return out, nil
}

// Task describes a job for its audit records.
type Task struct {
	Name string // "verify"
	URL  string // s3://bucket/prefix
}

// changing lists the jobs that write objects.
var changing = []string{"migrate", "rewrap"}

func (t Task) event(name string) operatorEvent {
	return operatorEvent{name: name, readOnly: !slices.Contains(changing, t.Name), params: map[string]any{"job": t.Name, "url": t.URL}}
}

func (t Task) query() url.Values { return url.Values{"job": {t.Name}, "url": {t.URL}} }

func taskOf(q url.Values) Task { return Task{Name: q.Get("job"), URL: q.Get("url")} }

// ended tells the running waxseal how a job has ended.
func (t Task) ended(ctx context.Context, dir dataDir, took time.Duration, err error) error {
	q := t.query()
	q.Set("seconds", strconv.FormatFloat(took.Seconds(), 'f', 0, 64))
	if err != nil {
		q.Set("error", cutMessage(err.Error()))
	}
	body, err := ask(context.WithoutCancel(ctx), dir, http.MethodPost, "/job/end?"+q.Encode())
	if err != nil {
		return fmt.Errorf("the end of the job is not in the audit records: %w", err)
	}
	return body.Close()
}

// endJob handles the end of a job on the control socket: it writes the record.
func (p *App) endJob(c *Config) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		e := taskOf(q).event("EndJob")
		e.params["seconds"] = q.Get("seconds")
		if text := q.Get("error"); text != "" {
			e.err = errors.New(text)
		}
		if err := p.record(r.Context(), c, operatorOf(r), e); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
}
