package console

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"waxseal/keystore/audit"
)

// Bounds of a search: whoever may see the records may not keep the disk busy.
const (
	searchesAtOnce = 2
	searchTime     = 5 * time.Second
	recentTime     = time.Second // for a part of a key's page
	mostFound      = 200
	recentFound    = 20
	recentDays     = 30
)

const dayFormat = "2006-01-02"

// audit searches the records of uses.
func (v *visit) audit() error {
	q := v.r.URL.Query()
	if len(q) == 0 {
		day := v.cfg.Now().UTC().Format(dayFormat)
		q.Set("since", v.cfg.Now().UTC().AddDate(0, 0, -1).Format(dayFormat))
		q.Set("until", day)
	}
	f, err := filterOf(q)
	var found node
	switch {
	case err != nil:
		found = notice("bad", err.Error())
	default:
		found = v.search(f, mostFound, searchTime)
	}
	v.show(http.StatusOK, "Audit", searchForm(q), v.auditHint(), found)
	return nil
}

// filterOf reads a search. Days are in UTC, and both are in it.
func filterOf(q url.Values) (f audit.Filter, err error) {
	f = audit.Filter{EventName: q.Get("event"), Key: q.Get("key"), User: q.Get("user"), Bucket: q.Get("bucket"), Object: q.Get("object"), ErrorOnly: q.Get("errors") != ""}
	if object, ok := strings.CutPrefix(f.Object, "s3://"); ok {
		f.Bucket, f.Object, _ = strings.Cut(object, "/")
	}
	if since := q.Get("since"); since != "" {
		if f.Since, err = time.Parse(dayFormat, since); err != nil {
			return f, fmt.Errorf("%q is not a day such as 2026-11-30", since)
		}
	}
	if until := q.Get("until"); until != "" {
		if f.Until, err = time.Parse(dayFormat, until); err != nil {
			return f, fmt.Errorf("%q is not a day such as 2026-11-30", until)
		}
		f.Until = f.Until.AddDate(0, 0, 1)
	}
	return f, nil
}

func searchForm(q url.Values) node {
	errorsOnly := []node{attr{"type", "checkbox"}, attr{"name", "errors"}, attr{"value", "yes"}}
	if q.Get("errors") != "" {
		errorsOnly = append(errorsOnly, attr{"checked", ""})
	}
	return el("form", attr{"method", "get"}, attr{"action", "/audit"}, class("inline"),
		field("since", "From (UTC)", q.Get("since"), attr{"type", "date"}), field("until", "To", q.Get("until"), attr{"type", "date"}),
		field("event", "Event", q.Get("event"), attr{"placeholder", "Decrypt"}), field("user", "User", q.Get("user")),
		field("key", "Key id or ARN", q.Get("key")), field("bucket", "Bucket", q.Get("bucket")),
		field("object", "Object", q.Get("object"), attr{"placeholder", "key, or s3://bucket/key"}),
		el("label", class("check"), el("input", errorsOnly...), el("span", text("Refused only"))),
		button("primary", "Search"))
}

// auditHint says what of objects the records have.
func (v *visit) auditHint() node {
	if v.cfg.DataLog {
		return el("p", class("muted"), text("Requests for objects (GetObject, PutObject, ...) have records of their own, beside the uses of KMS keys."))
	}
	return el("p", class("muted"), text("Only uses of KMS keys are recorded. With Bucket Keys one use serves many objects of a bucket, and its record names the bucket: search by bucket. With --audit-s3 all each request for an object has a record."))
}

// search shows the newest records that a filter picks.
func (v *visit) search(f audit.Filter, most int, patience time.Duration) node {
	select {
	case v.searches <- struct{}{}:
		defer func() { <-v.searches }()
	default:
		return notice("warn", "Other searches are under way. Try again in a moment.")
	}
	ctx, cancel := context.WithTimeout(v.r.Context(), patience)
	defer cancel()
	found, complete, err := audit.Newest(ctx, v.cfg.AuditDir, f, most)
	if err != nil {
		v.cfg.Log.Error("console: a search failed", "err", err)
		return notice("bad", "The records could not be read. The log of waxseal has the reason.")
	}
	t := table{head: []string{"Time (UTC)", "Event", "Result", "Who", "From", "What", "Key"}, caption: "Audit records", empty: "No record fits."}
	if f.Uses { // the page is the key's
		t.head = t.head[:len(t.head)-1]
	}
	for i := range found {
		t.rows = append(t.rows, v.recordRow(&found[i])[:len(t.head)])
	}
	if complete {
		return t
	}
	if len(found) < most {
		return group{notice("warn", "The search took too long and was ended: these are the newest records. Choose fewer days."), t}
	}
	return group{el("p", class("muted"), text(fmt.Sprintf("The newest %s records. Choose fewer days for others.", count(int64(most))))), t}
}

func (v *visit) recordRow(r *audit.Record) []node {
	return []node{el("time", text(r.EventTime.UTC().Format("2006-01-02 15:04:05"))), text(r.EventName), result(r), whoDid(r), nowrap(r.SourceIPAddress), orDash(what(r)), v.keyOf(r)}
}

func whoDid(r *audit.Record) node {
	u := &r.UserIdentity
	if u.Type == "Root" {
		return el("span", attr{"title", u.ARN}, text("root"))
	}
	for _, name := range []string{u.UserName, u.ARN, u.PrincipalID, u.InvokedBy, u.AccountID} {
		if name != "" {
			return el("span", attr{"title", u.ARN}, text(name))
		}
	}
	return muted("–")
}

// what is the bucket or object that a record is about.
func what(r *audit.Record) string {
	bucket := r.Bucket()
	if object := r.Object(); object != "" {
		return "s3://" + bucket + "/" + object
	}
	if bucket != "" {
		return "s3://" + bucket
	}
	return ""
}

func (v *visit) keyOf(r *audit.Record) node {
	for _, resource := range r.Resources {
		if resource.Type == audit.KMSKey {
			return v.arnLink(resource.ARN)
		}
	}
	return muted("–")
}

func result(r *audit.Record) node {
	if r.ErrorCode == "" {
		return badge("good", "ok")
	}
	return badge("bad", r.ErrorCode)
}

// recentUses are the newest records of a key, for who may see records.
func (v *visit) recentUses(id string) node {
	if !v.may(ActionAudit) {
		return el("p", class("muted"), text("Not shown: it needs "+ActionAudit))
	}
	return group{v.search(audit.Filter{Key: id, Uses: true, Since: v.cfg.Now().AddDate(0, 0, -recentDays)}, recentFound, recentTime),
		p(link("Search all records of this key", to("/audit").query("key", id)))}
}
