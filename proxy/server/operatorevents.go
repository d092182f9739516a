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

// operatorHeader names, on the control socket, the user of the operating system that runs a command. Who can open the
// socket is the user of the waxseal that serves, or root: the name tells people apart that act as these, and is not proven.
const operatorHeader = "Waxseal-Operator"

// thisOperator is the user that runs this process, as "name (uid 1000)". sudo tells whose command it is.
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

// operatorEvent is what an operator does to a waxseal.
type operatorEvent struct {
	name     string // "Backup"
	readOnly bool
	params   map[string]any
	err      error // nil: it succeeded, or begins
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
	// A command that is broken off does not escape the record.
	if err := p.audit.Write(context.WithoutCancel(ctx), r); err != nil {
		return fmt.Errorf("the audit record of %s was not written: %w", e.name, err)
	}
	return nil
}

// cutMessage keeps CloudTrail's limit of an errorMessage.
func cutMessage(text string) string {
	const limit = 1024
	if len(text) > limit {
		text = text[:limit]
	}
	return text
}

// recorded writes the record of an event, does it, and writes another one when it fails.
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

// configurationKey holds the configuration that was served with last.
const configurationKey = "audit/configuration"

// recordStart records that a waxseal begins to serve: with which configuration, and which settings are others than the
// last time.
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

// changedSettings are the names of settings whose values differ.
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

// audited is the configuration as records show it: without a secret, with users by name and ARN and the SHA-256 of what
// they may do.
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

// Task is what a job does, for its audit records.
type Task struct {
	Name string // "verify"
	URL  string // s3://bucket/prefix
}

// changing are the jobs that write objects.
var changing = []string{"migrate", "rewrap"}

func (t Task) event(name string) operatorEvent {
	return operatorEvent{name: name, readOnly: !slices.Contains(changing, t.Name), params: map[string]any{"job": t.Name, "url": t.URL}}
}

func (t Task) query() url.Values { return url.Values{"job": {t.Name}, "url": {t.URL}} }

func taskOf(q url.Values) Task { return Task{Name: q.Get("job"), URL: q.Get("url")} }

// ended tells the waxseal that serves how a job has ended.
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

// endJob records, for the control socket, the end of a job.
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
