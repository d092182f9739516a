package console

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"waxseal/keystore"
	"waxseal/keystore/local"
	"waxseal/keystore/usage"
	"waxseal/proxy/ledger"
)

// unusedFor is how long a key of the list of unused keys has not been used.
const unusedFor = 90 * 24 * time.Hour

// mostListed is how many lines of a list the overview shows.
const mostListed = 10

// overview shows what needs attention first.
func (v *visit) overview() error {
	month := usage.MonthOf(v.cfg.Now())
	report, err := v.cfg.Usage(v.r.Context(), month)
	if err != nil {
		return err
	}
	has, err := v.cfg.Ledger(v.r.Context())
	if err != nil {
		return err
	}
	rows := has.Rows
	plain := slices.DeleteFunc(slices.Clone(rows), func(r ledger.Row) bool { return r.Mode != ledger.Plaintext })
	unused, keys, err := v.unusedKeys()
	if err != nil {
		return err
	}
	v.show(http.StatusOK, "Overview",
		el("div", class("cards"),
			v.healthCard(), savingCard(report), plaintextCard(has, plain), v.unusedCard(unused, keys)),
		v.inventoryNote(has),
		el("section", h2("Encryption"), encryptionChart(rows)),
		el("section", h2("Buckets with plaintext"), plaintextTable(plain)),
		el("section", h2("Keys unused for 90 days"), v.unusedTable(unused)))
	return nil
}

func (v *visit) healthCard() element {
	status, report := v.cfg.Ready()
	figure, kind := "ready", "good"
	switch {
	case status != http.StatusOK:
		figure, kind = "not ready", "bad"
	case strings.Contains(report, "degraded"):
		figure, kind = "degraded", "warn"
	}
	return el("section", class("card"), h2("Health"), el("p", class("figure"), badge(kind, figure)),
		el("p", class("muted"), text("Region "+v.cfg.Region+", account "+v.cfg.Account)))
}

func savingCard(r *usage.Report) element {
	return card("Key service calls, "+r.Month, fmt.Sprintf("$%.2f", r.Dollars),
		p(badge("good", fmt.Sprintf("about $%.2f saved", max(0, r.Without-r.Dollars))), text(" by Bucket Keys")),
		el("p", class("muted"), text(fmt.Sprintf("%s calls; about %s without. At AWS's prices.", count(int64(r.Calls)), count(int64(r.Calls+r.Avoided))))))
}

func plaintextCard(has *ledger.Reading, plain []ledger.Row) element {
	var sum ledger.Sum
	for _, r := range plain {
		sum = sum.Plus(r.Sum)
	}
	if has.Walk == nil {
		return card("Not encrypted", "unknown", el("p", class("muted"), text("No inventory yet.")))
	}
	if len(plain) == 0 {
		return card("Not encrypted", "none", p(badge("good", "all encrypted")))
	}
	return card("Not encrypted", objects(sum.Objects), p(badge("bad", plural(int64(len(plain)), "bucket")), text(" with "+bytesOf(sum.Bytes)+" in plaintext")))
}

func (v *visit) unusedCard(unused []local.KeySummary, all int) element {
	if v.cfg.Keys == nil {
		return card("Keys", "elsewhere", el("p", class("muted"), text("Another key service holds them.")))
	}
	kind := "good"
	if len(unused) > 0 {
		kind = "warn"
	}
	return card("Keys", count(int64(all)), p(badge(kind, plural(int64(len(unused)), "key")), text(" unused for 90 days")))
}

// inventoryNote says of when the figures of plaintext are.
func (v *visit) inventoryNote(has *ledger.Reading) node {
	if has.Walk == nil {
		return notice("warn", "There was no full inventory yet: run waxseal inventory. Until then objects from before this state, and plaintext, are not in these figures.")
	}
	return el("p", class("muted"), text("Last full inventory "+ago(v.cfg.Now(), has.Walk.Ended)+". Objects written since count at once, deleted ones until the next."))
}

func plaintextTable(plain []ledger.Row) node {
	t := table{head: []string{"Bucket", "Objects#", "Bytes#"}, caption: "Buckets with plaintext", empty: "No bucket is known to have plaintext objects."}
	for _, r := range plain {
		t.rows = append(t.rows, []node{link(r.Bucket, to("/buckets").query("bucket", r.Bucket)), text(count(r.Objects)), text(bytesOf(r.Bytes))})
	}
	return t
}

// unusedKeys finds the customer's keys that nobody has used for unusedFor, those unused longest first.
func (v *visit) unusedKeys() (unused []local.KeySummary, all int, err error) {
	if v.cfg.Keys == nil {
		return nil, 0, nil
	}
	keys, err := v.cfg.Keys.Summaries(v.r.Context(), v.who.AccountID, "", 0)
	if err != nil {
		return nil, 0, err
	}
	before := v.cfg.Now().Add(-unusedFor)
	for _, k := range keys {
		if !k.Managed && k.State != keystore.StatePendingDeletion && k.Created.Before(before) && k.LastUse.Before(before) {
			unused = append(unused, k)
		}
	}
	slices.SortFunc(unused, func(a, b local.KeySummary) int {
		return cmp.Or(a.LastUse.Compare(b.LastUse), a.Created.Compare(b.Created))
	})
	return unused, len(keys), nil
}

func (v *visit) unusedTable(unused []local.KeySummary) node {
	t := table{head: []string{"Key", "State", "Last use", "Created"}, caption: "Keys unused for 90 days", empty: "Every key was used or made in the last 90 days."}
	for _, k := range unused[:min(len(unused), mostListed)] {
		t.rows = append(t.rows, []node{keyLink(k), stateBadge(k.State), nowrap(ago(v.cfg.Now(), k.LastUse)), moment(k.Created)})
	}
	if len(unused) <= mostListed {
		return t
	}
	return group{t, el("p", class("muted"), text(fmt.Sprintf("and %s more: ", count(int64(len(unused)-mostListed)))), link("all unused keys", to("/keys").query("unused", "yes")))}
}

// modes are the encryptions in the order of the chart, with their names for people.
var modes = []struct{ mode, name, class string }{
	{"aws:kms", "SSE-KMS", "kms"}, {"aws:kms:dsse", "DSSE-KMS", "dsse"}, {"AES256", "SSE-S3", "s3"},
	{ledger.CustomerKey, "SSE-C", "customer"}, {ledger.Plaintext, "plaintext", "plain"},
}

func modeName(mode string) string {
	for _, m := range modes {
		if m.mode == mode {
			return m.name
		}
	}
	return mode
}

// encryptionChart is a bar of the bytes by encryption, with a legend that says the same in words.
func encryptionChart(rows []ledger.Row) node {
	sums := make(map[string]ledger.Sum)
	var all ledger.Sum
	for _, r := range rows {
		sums[r.Mode], all = sums[r.Mode].Plus(r.Sum), all.Plus(r.Sum)
	}
	if all.Objects == 0 {
		return el("p", class("empty"), text("No object was written or counted yet."))
	}
	const width = 1000.0
	bar := []node{class("bar"), attr{"viewBox", "0 0 1000 24"}, attr{"preserveAspectRatio", "none"}, attr{"role", "img"}, attr{"aria-label", "Bytes by encryption"}}
	var legend []node
	at := 0.0
	for _, m := range modes {
		sum := sums[m.mode]
		if sum.Objects == 0 {
			continue
		}
		share := float64(sum.Bytes) / max(1, float64(all.Bytes))
		bar = append(bar, el("rect", class("fill-"+m.class), attr{"x", fmt.Sprintf("%.1f", at)}, attr{"y", "0"}, attr{"width", fmt.Sprintf("%.1f", share*width)}, attr{"height", "24"}))
		at += share * width
		legend = append(legend, el("li", el("span", class("swatch swatch-"+m.class)), el("b", text(m.name)), text(fmt.Sprintf(" %s, %s (%.1f %%)", objects(sum.Objects), bytesOf(sum.Bytes), 100*share))))
	}
	return group{el("svg", bar...), el("ul", append([]node{class("legend")}, legend...)...)}
}

// buckets shows what each bucket holds, or one bucket's holdings.
func (v *visit) buckets() error {
	has, err := v.cfg.Ledger(v.r.Context())
	if err != nil {
		return err
	}
	one := v.r.URL.Query().Get("bucket")
	t := table{head: []string{"Bucket", "Encryption", "Key", "Objects#", "Bytes#"}, caption: "Objects by bucket and encryption", empty: "No object was written or counted yet."}
	shown := slices.DeleteFunc(slices.Clone(has.Rows), func(r ledger.Row) bool { return one != "" && r.Bucket != one })
	const most = 1000
	for _, r := range shown[:min(most, len(shown))] {
		kind := "plain"
		if r.Mode == ledger.Plaintext {
			kind = "bad"
		}
		t.rows = append(t.rows, []node{link(r.Bucket, to("/buckets").query("bucket", r.Bucket)), badge(kind, modeName(r.Mode)), v.arnLink(r.Key), text(count(r.Objects)), text(bytesOf(r.Bytes))})
	}
	title := "Buckets"
	var more node
	if one != "" {
		title = "Bucket " + one
		more = p(link("All buckets", to("/buckets")), text(" · "), link("Who used it", to("/audit").query("bucket", one)))
	}
	if len(shown) > most {
		more = group{more, notice("warn", fmt.Sprintf("Only %s of %s lines are shown: waxseal inventory --estimate has all.", count(most), count(int64(len(shown)))))}
	}
	v.show(http.StatusOK, title, v.inventoryNote(has), more, el("section", encryptionChart(shown)), t)
	return nil
}

// usage shows the calls of a month.
func (v *visit) usage() error {
	month, err := usage.ParseMonth(cmp.Or(v.r.URL.Query().Get("month"), usage.MonthOf(v.cfg.Now())))
	if err != nil {
		v.show(http.StatusBadRequest, "Usage", notice("bad", err.Error()))
		return nil
	}
	r, err := v.cfg.Usage(v.r.Context(), month)
	if err != nil {
		return err
	}
	t := table{head: []string{"Key", "Bucket", "Requester", "Calls#", "Refused#"}, caption: "Calls of the key service", empty: "No call in this month."}
	rows := slices.SortedFunc(slices.Values(r.Rows), func(a, b usage.Row) int { return cmp.Compare(b.Calls, a.Calls) })
	const most = 500
	for _, row := range rows[:min(most, len(rows))] {
		t.rows = append(t.rows, []node{v.arnLink(row.Key), orDash(row.Bucket), orDash(row.Requester), text(count(int64(row.Calls))), text(count(int64(row.Refused)))})
	}
	var cut node
	if len(rows) > most {
		cut = notice("warn", fmt.Sprintf("Only the %s lines with the most calls of %s are shown: waxseal usage has all.", count(most), count(int64(len(rows)))))
	}
	v.show(http.StatusOK, "Usage",
		el("form", attr{"method", "get"}, attr{"action", "/usage"}, class("inline"), field("month", "Month", month, attr{"type", "month"}), button("primary", "Show")),
		el("div", class("cards"), savingCard(r),
			card("Without Bucket Keys", fmt.Sprintf("$%.2f", r.Without), el("p", class("muted"), text("approximate: a crash loses the avoided calls of its last minute"))),
			card("Refused", count(int64(r.Refused)), el("p", class("muted"), text("calls that policies or key states refused")))),
		p(muted("Prices: "+r.Prices)), cut, t)
	return nil
}

func orDash(t string) node {
	if t == "" {
		return muted("–")
	}
	return text(t)
}

// arnLink is a link to a key of the embedded key service, else its ARN.
func (v *visit) arnLink(arn string) node {
	_, id, ok := strings.Cut(arn, ":key/")
	switch {
	case arn == "":
		return muted("–")
	case !ok || v.cfg.Keys == nil:
		return code(arn)
	}
	return el("a", to("/keys", id), class("id"), code(id))
}
