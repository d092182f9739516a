package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"waxseal/keystore/iam"
)

// Report is the output of check-config.
type Report struct {
	File     string          `json:"file,omitempty"`
	Settings []settingReport `json:"settings"`
	Secrets  []secretReport  `json:"secrets"`
	Users    []userReport    `json:"users"`
	Store    string          `json:"store"`
	Keys     string          `json:"key_service"`
	Checks   []checkReport   `json:"checks,omitempty"` // with --connect
	Mistakes []string        `json:"mistakes"`
}

type settingReport struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
	From  string `json:"from"`
}

// secretReport tells that a secret is set, and never its value.
type secretReport struct {
	Variable string `json:"variable"`
	Set      bool   `json:"set"`
}

type userReport struct {
	Name     string `json:"name"`
	ARN      string `json:"arn"`
	From     string `json:"from"`
	Policy   bool   `json:"policy"`       // false: everything is allowed
	Upstream bool   `json:"own_at_store"` // false: acts at the store as waxseal
	Root     bool   `json:"root,omitempty"`
}

type checkReport struct {
	Name  string `json:"check"`
	Error string `json:"error,omitempty"`
}

// report returns the part of the report that needs no network.
func (c *Config) report(r *reading) *Report {
	report := &Report{File: r.file, Settings: c.settings(r), Store: hideUserinfo(c.storePlace()), Keys: c.keysPlace(),
		Users: c.userReports(r), Mistakes: []string{}}
	for _, name := range secretVariables {
		report.Secrets = append(report.Secrets, secretReport{name, os.Getenv(name) != ""})
	}
	r.mistake(c.checkStart()...)
	for _, err := range r.mistakes {
		report.mistake(err.Error())
	}
	return report
}

// mistake adds a mistake, unless another check has found it.
func (r *Report) mistake(text string) {
	if text = strings.ReplaceAll(text, "\n", "; "); !slices.Contains(r.Mistakes, text) {
		r.Mistakes = append(r.Mistakes, text)
	}
}

// settings returns the whole configuration except the users.
func (c *Config) settings(r *reading) (all []settingReport) {
	v := reflect.ValueOf(*c)
	for _, f := range reflect.VisibleFields(v.Type()) {
		key := f.Tag.Get("yaml")
		if key == "" || key == "users" {
			continue
		}
		from := "default"
		if r.from[key] != "" {
			from = r.from[key]
		}
		all = append(all, settingReport{key, shown(v.FieldByIndex(f.Index).Interface()), from})
	}
	return all
}

// shown returns a value in its written form. A URL with credentials is a mistake, and is not shown.
func shown(value any) any {
	switch v := value.(type) {
	case time.Duration:
		return v.String()
	case string:
		return hideUserinfo(v)
	case []string:
		return append([]string{}, v...) // an empty list is [] in JSON
	}
	return value
}

func hideUserinfo(text string) string {
	if strings.Contains(text, "@") {
		return "(not shown)"
	}
	return text
}

// keysPlace returns the location of the KMS keys.
func (c *Config) keysPlace() string {
	if !c.external() {
		return "the embedded key service, at " + c.KMSListen
	}
	at := hideUserinfo(c.KMSEndpoint)
	if at == "" && c.KMSProvider == providerAWS {
		at = "AWS's own endpoint"
	}
	return c.KMSProvider + " at " + at + ", SSE-S3 under " + c.KMSRootKey
}

func (c *Config) userReports(r *reading) []userReport {
	_, from, err := dataDir(c.DataDir).rootUser()
	if err != nil {
		from = "cannot be read"
	}
	all := []userReport{{Name: "root", ARN: iam.RootARN(c.Account), From: from, Root: true}}
	for _, u := range c.Users {
		arn := u.ARN
		if arn == "" {
			account := c.Account
			if u.Account != "" {
				account = u.Account
			}
			arn = iam.UserARN(account, u.Name)
		}
		all = append(all, userReport{Name: u.Name, ARN: arn, From: r.file, Policy: !u.WrittenPolicy.IsZero(), Upstream: !u.WrittenUpstream.IsZero()})
	}
	return all
}

// connect asks an external store and an external key service.
func (r *Report) connect(ctx context.Context, c *Config) {
	ask := func(name string, elsewhere bool, check func(context.Context) error) {
		if !elsewhere {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, readyTimeout)
		defer cancel()
		done := checkReport{Name: name}
		if err := check(ctx); err != nil {
			done.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
			r.mistake(name + ": " + done.Error)
		}
		r.Checks = append(r.Checks, done)
	}
	ask("store", c.UpstreamEndpoint != "", c.askStore)
	ask("keys", c.external(), c.askKeys)
}

// Verdict prints the mistakes and returns an error if there are any.
func (r *Report) Verdict(w io.Writer) error {
	for _, m := range r.Mistakes {
		if _, err := fmt.Fprintln(w, m); err != nil {
			return err
		}
	}
	switch n := len(r.Mistakes); n {
	case 0:
		return nil
	case 1:
		return errors.New("check-config: there is a mistake")
	default:
		return fmt.Errorf("check-config: there are %d mistakes", n)
	}
}

// PrintJSON prints the report as a JSON object.
func (r *Report) PrintJSON(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

// Print prints the report as tables.
func (r *Report) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "SETTING\tVALUE\tFROM")
	for _, s := range r.Settings {
		fmt.Fprintf(t, "%s\t%s\t%s\n", s.Key, plainValue(s.Value), s.From)
	}
	fmt.Fprintln(t, "\nSECRET\t")
	for _, s := range r.Secrets {
		fmt.Fprintf(t, "%s\t%s\n", s.Variable, map[bool]string{true: "is set (not shown)", false: "-"}[s.Set])
	}
	fmt.Fprintln(t, "\nUSER\tARN\tRIGHTS")
	for _, u := range r.Users {
		fmt.Fprintf(t, "%s\t%s\t%s\n", u.Name, u.ARN, u.rights())
	}
	fmt.Fprintf(t, "\nObjects go to\t%s\nKeys are at\t%s\n", r.Store, r.Keys)
	for _, c := range r.Checks {
		answer := "ok"
		if c.Error != "" {
			answer = "failed"
		}
		fmt.Fprintf(t, "Asked: %s\t%s\n", c.Name, answer)
	}
	if len(r.Mistakes) == 0 {
		fmt.Fprintln(t, "\nNo mistakes were found.")
	}
	return t.Flush()
}

func (u userReport) rights() string {
	switch {
	case u.Root:
		return "everything (credentials: " + u.From + ")"
	case u.Policy && u.Upstream:
		return "its policy; own credentials at the store"
	case u.Policy:
		return "its policy"
	case u.Upstream:
		return "everything, no policy; own credentials at the store"
	}
	return "everything, no policy"
}

// plainValue returns a value on a single line, "-" if it is empty.
func plainValue(value any) string {
	text := ""
	switch v := value.(type) {
	case []string:
		text = strings.Join(v, ",")
	case map[string]string:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			text += " " + name + "=" + v[name]
		}
	case []CompressionConfig:
		for _, rule := range v {
			text += " " + rule.Bucket + ":" + strings.Join(rule.Types, ",")
		}
	default:
		text = fmt.Sprint(v)
	}
	if text = strings.TrimSpace(text); text == "" {
		return "-"
	}
	return text
}
