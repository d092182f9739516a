package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"waxseal/keystore"
	"waxseal/keystore/kmsapi"
	"waxseal/keystore/local"
	"waxseal/proxy/ledger"
)

// keysAtOnce is how many keys a page has.
const keysAtOnce = 50

func keyLink(k local.KeySummary) node {
	name := k.ID
	if len(k.Aliases) > 0 {
		name = slices.Min(k.Aliases)
	}
	return el("a", to("/keys", k.ID), cut(name))
}

// states are the states of a key with the colours and the names of their badges.
var states = map[string][2]string{
	keystore.StateEnabled: {"good", "enabled"}, keystore.StateDisabled: {"warn", "disabled"},
	keystore.StatePendingDeletion: {"bad", "pending deletion"}, keystore.StatePendingImport: {"warn", "pending import"},
}

func stateBadge(state string) element {
	if s, ok := states[state]; ok {
		return badge(s[0], s[1])
	}
	return badge("bad", state)
}

// do sends a request of the KMS API in the person's name.
func (v *visit) do(operation string, request map[string]any) (any, error) {
	return kmsapi.Do(v.r.Context(), v.cfg.Keys, v.caller(), operation, request)
}

// showElsewhere says that keys are not here.
func (v *visit) showElsewhere() error {
	v.show(http.StatusOK, "Keys", p(text("The keys of this waxseal are with another key service (--kms-provider). Manage them there.")))
	return nil
}

// keys lists keys.
func (v *visit) keys() error { return v.listKeys(http.StatusOK, nil) }

func (v *visit) listKeys(status int, message node) error {
	if v.cfg.Keys == nil {
		return v.showElsewhere()
	}
	q := v.r.URL.Query()
	list, next, err := v.pageOfKeys(q.Get("after"), q.Get("unused") == "yes")
	if err != nil {
		return err
	}
	has, err := v.cfg.Ledger(v.r.Context())
	if err != nil {
		return err
	}
	t := table{head: []string{"Key", "State", "Description", "Last use", "Objects#", "Id"}, caption: "Keys", empty: "There are no keys yet."}
	held := heldBy(has.Rows)
	for _, k := range list {
		kind := node(nil)
		if k.Managed {
			kind = muted(" AWS managed")
		}
		t.rows = append(t.rows, []node{group{keyLink(k), kind}, stateBadge(k.State), cut(k.Description), nowrap(ago(v.cfg.Now(), k.LastUse)), text(count(held[k.ARN].Objects)), code(k.ID)})
	}
	var more []node
	if q.Get("after") != "" {
		more = append(more, link("First page", to("/keys").query("unused", q.Get("unused"))))
	}
	if next != "" {
		more = append(more, link("Next page", to("/keys").query("after", next, "unused", q.Get("unused"))))
	}
	filter := link("Only keys unused for 90 days", to("/keys").query("unused", "yes"))
	if q.Get("unused") == "yes" {
		filter = link("All keys", to("/keys"))
	}
	v.show(status, "Keys", message, v.createForm(), p(filter), t, el("nav", append([]node{class("pages"), attr{"aria-label", "More keys"}}, more...)...))
	return nil
}

// heldBy sums the ledger by KMS key.
func heldBy(rows []ledger.Row) map[string]ledger.Sum {
	sums := make(map[string]ledger.Sum)
	for _, r := range rows {
		sums[r.Key] = sums[r.Key].Plus(r.Sum)
	}
	return sums
}

// pageOfKeys returns a page of keys and, unless it is the last, the id to go on after.
func (v *visit) pageOfKeys(after string, onlyUnused bool) (list []local.KeySummary, next string, err error) {
	if onlyUnused {
		if list, _, err = v.unusedKeys(); err != nil {
			return nil, "", err
		}
		if at := slices.IndexFunc(list, func(k local.KeySummary) bool { return k.ID == after }); at >= 0 {
			list = list[at+1:]
		}
	} else if list, err = v.cfg.Keys.Summaries(v.r.Context(), v.who.AccountID, after, keysAtOnce+1); err != nil {
		return nil, "", err
	}
	if len(list) > keysAtOnce {
		list = list[:keysAtOnce]
		next = list[keysAtOnce-1].ID
	}
	return list, next, nil
}

func (v *visit) createForm() node {
	return el("details", el("summary", text("Create a key")), v.form("/keys", class("inline"),
		field("alias", "Alias (optional)", "", attr{"placeholder", "payroll"}, attr{"maxlength", "250"}),
		field("description", "Description (optional)", "", attr{"maxlength", "8192"}),
		button("primary", "Create key")))
}

// createKey makes a symmetric key, with an alias if one is given.
func (v *visit) createKey() error {
	if v.cfg.Keys == nil {
		return v.showElsewhere()
	}
	out, err := v.do("CreateKey", map[string]any{"Description": v.r.PostFormValue("description")})
	if err != nil {
		return v.refused(err, func(message node) error { return v.listKeys(http.StatusForbidden, message) })
	}
	id := out.(*local.CreateKeyResponse).KeyMetadata.KeyId
	done := "created"
	if alias := strings.TrimPrefix(strings.TrimSpace(v.r.PostFormValue("alias")), "alias/"); alias != "" {
		if _, err := v.do("CreateAlias", map[string]any{"AliasName": "alias/" + alias, "TargetKeyId": id}); err != nil {
			return v.refused(err, func(message node) error {
				return v.showKey(http.StatusForbidden, id, group{notice("good", "The key was created, without the alias."), message})
			})
		}
	}
	v.goTo(id, done)
	return nil
}

// goTo shows a key after a change: loading the page again does not repeat the change.
func (v *visit) goTo(id, done string) {
	http.Redirect(v.w, v.r, to("/keys", id).query("done", done).value, http.StatusSeeOther)
}

// refused shows what the key service says of a request that it refuses.
func (v *visit) refused(err error, page func(message node) error) error {
	var refusal *kmsapi.Refusal
	if !errors.As(err, &refusal) {
		return err
	}
	return page(el("p", class("notice bad"), attr{"role", "alert"}, el("b", text("Refused: "+refusal.Code)), text(" "+refusal.Message)))
}

// changeKey makes the handler of an operation that has a key and nothing else.
func changeKey(operation, done string) func(*visit) error {
	return func(v *visit) error { return v.change(operation, done, nil) }
}

func (v *visit) change(operation, done string, more map[string]any) error {
	if v.cfg.Keys == nil {
		return v.showElsewhere()
	}
	id := v.r.PathValue("id")
	request := map[string]any{"KeyId": id}
	for name, value := range more {
		request[name] = value
	}
	if _, err := v.do(operation, request); err != nil {
		return v.refused(err, func(message node) error { return v.showKey(http.StatusForbidden, id, message) })
	}
	v.goTo(id, done)
	return nil
}

// scheduleDeletion wants the key's id typed: a deletion cannot be taken back once its time is over.
func (v *visit) scheduleDeletion() error {
	id := v.r.PathValue("id")
	days, err := strconv.Atoi(v.r.PostFormValue("days"))
	if v.r.PostFormValue("confirm") != id || err != nil {
		return v.showKey(http.StatusBadRequest, id, notice("bad", "The key was not scheduled for deletion: type its id as it is shown, and a number of days."))
	}
	return v.change("ScheduleKeyDeletion", "scheduled", map[string]any{"PendingWindowInDays": days})
}

// doneMessages are what a page says after a change.
var doneMessages = map[string]string{
	"created": "The key was created.", "disabled": "The key is disabled: what is encrypted under it cannot be read until it is enabled.",
	"enabled": "The key is enabled.", "scheduled": "The key is scheduled for deletion.", "cancelled": "The deletion was cancelled. The key is disabled.",
}

func (v *visit) key() error {
	var message node
	if done := doneMessages[v.r.URL.Query().Get("done")]; done != "" {
		message = notice("good", done)
	}
	return v.showKey(http.StatusOK, v.r.PathValue("id"), message)
}

// showKey shows everything about a key that the person may see: each part is a request of its own.
func (v *visit) showKey(status int, id string, message node) error {
	if v.cfg.Keys == nil {
		return v.showElsewhere()
	}
	out, err := v.do("DescribeKey", map[string]any{"KeyId": id})
	if err != nil {
		return v.refused(err, func(refusal node) error {
			v.show(http.StatusNotFound, "Key", message, refusal, p(link("All keys", to("/keys"))))
			return nil
		})
	}
	has, err := v.cfg.Ledger(v.r.Context())
	if err != nil {
		return err
	}
	k := out.(*local.DescribeKeyResponse).KeyMetadata
	parts := []node{message, v.keyFacts(&k)}
	if k.KeyManager == "CUSTOMER" {
		parts = append(parts, v.keyActions(&k, has.OfKey(k.Arn)))
	}
	parts = append(parts, el("section", h2("Encrypted under this key"), heldTable(has.OfKey(k.Arn)), v.inventoryNote(has)),
		el("section", h2("Recent uses"), v.recentUses(k.KeyId)),
		el("section", h2("Aliases"), v.part("ListAliases", map[string]any{"KeyId": id}, showAliases)),
		el("section", h2("Tags"), v.part("ListResourceTags", map[string]any{"KeyId": id}, showTags)),
		el("section", h2("Grants"), v.part("ListGrants", map[string]any{"KeyId": id}, showGrants)),
		el("section", h2("Key policy"), v.part("GetKeyPolicy", map[string]any{"KeyId": id}, showPolicy)))
	v.show(status, "Key "+k.KeyId, parts...)
	return nil
}

// part is a part of a key's page, or the reason why the person does not see it.
func (v *visit) part(operation string, request map[string]any, show func(any) node) node {
	out, err := v.do(operation, request)
	var refusal *kmsapi.Refusal
	switch {
	case errors.As(err, &refusal):
		return el("p", class("muted"), text("Not shown: "+refusal.Code))
	case err != nil:
		v.cfg.Log.Error("console: a part of a page failed", "operation", operation, "err", err)
		return el("p", class("muted"), text("Not shown: something is wrong"))
	}
	return show(out)
}

func (v *visit) keyFacts(k *local.KeyMetadata) node {
	pairs := []node{text("State"), stateBadge(k.KeyState), text("ARN"), code(k.Arn), text("Description"), orDash(k.Description),
		text("Spec"), text(k.KeySpec + ", " + k.KeyUsage), text("Origin"), text(k.Origin), text("Created"), moment(k.CreationDate.Time)}
	if k.DeletionDate != nil {
		pairs = append(pairs, text("Will be deleted"), moment(k.DeletionDate.Time))
	}
	last := v.part("GetKeyLastUsage", map[string]any{"KeyId": k.KeyId}, func(out any) node {
		use := out.(*local.GetKeyLastUsageResponse).KeyLastUsage
		if use == nil {
			return muted("never")
		}
		return group{moment(use.Timestamp.Time), text(" " + use.Operation)}
	})
	return facts(append(pairs, text("Last use"), last)...)
}

// keyActions are what can be done with a key in its state.
func (v *visit) keyActions(k *local.KeyMetadata, held []ledger.Row) node {
	path := pathOf("/keys", k.KeyId)
	if k.KeyState == keystore.StatePendingDeletion {
		return el("section", class("actions"), h2("Life cycle"), v.form(path+"/cancel", button("primary", "Cancel the deletion")))
	}
	change := v.form(path+"/disable", button("warn", "Disable"))
	if k.KeyState != keystore.StateEnabled {
		change = v.form(path+"/enable", button("primary", "Enable"))
	}
	warning := node(nil)
	if len(held) > 0 {
		sum := heldBy(held)[k.Arn]
		warning = el("p", class("notice bad"), text(fmt.Sprintf("Up to %s (%s) are encrypted under this key. After its deletion nobody can read them, ever.", objects(sum.Objects), bytesOf(sum.Bytes))))
	}
	return el("section", class("actions"), h2("Life cycle"), change,
		el("details", el("summary", text("Schedule deletion")), warning, v.form(path+"/delete", class("inline"),
			field("days", "Waiting time in days (7 to 30)", "30", attr{"type", "number"}, attr{"min", "7"}, attr{"max", "30"}),
			field("confirm", "Type the key's id to confirm", "", attr{"required", ""}),
			button("danger", "Schedule deletion"))))
}

func heldTable(held []ledger.Row) node {
	t := table{head: []string{"Bucket", "Encryption", "Objects#", "Bytes#"}, caption: "Objects under this key", empty: "The ledger has no object under this key."}
	for _, r := range held {
		t.rows = append(t.rows, []node{link(r.Bucket, to("/buckets").query("bucket", r.Bucket)), text(modeName(r.Mode)), text(count(r.Objects)), text(bytesOf(r.Bytes))})
	}
	return t
}

func showAliases(out any) node {
	list := out.(*local.ListAliasesResponse)
	t := table{head: []string{"Alias", "Created"}, caption: "Aliases", empty: "The key has no alias."}
	for _, a := range list.Aliases {
		t.rows = append(t.rows, []node{code(a.AliasName), moment(a.CreationDate.Time)})
	}
	return cutList(t, list.Truncated)
}

func showTags(out any) node {
	list := out.(*local.ListResourceTagsResponse)
	t := table{head: []string{"Tag", "Value"}, caption: "Tags", empty: "The key has no tags."}
	for _, tag := range list.Tags {
		t.rows = append(t.rows, []node{text(tag.TagKey), text(tag.TagValue)})
	}
	return cutList(t, list.Truncated)
}

func showGrants(out any) node {
	list := out.(*local.ListGrantsResponse)
	t := table{head: []string{"Grantee", "Operations", "Name", "Created"}, caption: "Grants", empty: "The key has no grants."}
	for _, g := range list.Grants {
		t.rows = append(t.rows, []node{code(g.GranteePrincipal), text(strings.Join(g.Operations, ", ")), orDash(g.Name), moment(g.CreationDate.Time)})
	}
	return cutList(t, list.Truncated)
}

func cutList(t table, truncated bool) node {
	if !truncated {
		return t
	}
	return group{t, p(muted("There are more: aws kms lists all."))}
}

func showPolicy(out any) node {
	policy := out.(*local.GetKeyPolicyResponse).Policy
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, []byte(policy), "", "  "); err == nil {
		policy = pretty.String()
	}
	return el("div", class("scroll"), attr{"tabindex", "0"}, attr{"role", "region"}, attr{"aria-label", "Key policy"}, el("pre", text(policy)))
}
