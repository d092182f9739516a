package local

import (
	"context"
	"reflect"
	"slices"
	"unicode"
	"unicode/utf8"

	"waxseal/keystore/audit"
)

// record writes the audit record of an operation. A call across accounts is recorded in every account concerned. A
// denied call is recorded in the caller's account only: it does not concern the key's owner.
func (c *call) record(ctx context.Context, result error) error {
	c.s.counters.add(c.op, codeOf(result))
	ctx = context.WithoutCancel(ctx) // a client cannot escape the record by hanging up
	r := c.event(result)
	owners := c.otherOwners()
	if len(owners) == 0 || r.ErrorCode == "AccessDenied" {
		return c.s.audit.Write(ctx, r)
	}
	r.SharedEventID = audit.NewID()
	if err := c.s.audit.Write(ctx, r); err != nil {
		return err
	}
	for _, owner := range owners {
		theirs := *r
		theirs.EventID = audit.NewID()
		theirs.RecipientAccountID = owner
		theirs.UserIdentity = audit.UserIdentity{
			Type: "AWSAccount", PrincipalID: r.UserIdentity.PrincipalID, AccountID: c.caller.AccountID, InvokedBy: r.UserIdentity.InvokedBy,
		}
		if err := c.s.audit.Write(ctx, &theirs); err != nil {
			return err
		}
	}
	return nil
}

// otherOwners returns the accounts of the keys concerned, without the caller's account: ReEncrypt may have two.
func (c *call) otherOwners() []string {
	var owners []string
	for _, k := range c.keys {
		if k.Account != c.caller.AccountID && !has(owners, k.Account) {
			owners = append(owners, k.Account)
		}
	}
	return owners
}

func (c *call) event(result error) *audit.Record {
	r := &audit.Record{
		UserIdentity: c.userIdentity(), EventTime: audit.At(c.now), EventSource: audit.KMSSource, EventName: c.op,
		AWSRegion: c.s.region, RequestParameters: c.params, RequestID: c.caller.RequestID, EventID: c.eventID,
		ReadOnly: readOnly(c.op), EventType: audit.APICall, ManagementEvent: true,
		RecipientAccountID: c.caller.AccountID, EventCategory: audit.Management,
	}
	if c.caller.ViaService != "" || c.caller.Service {
		r.From(audit.Internal, audit.Internal, audit.TLSDetails{})
	} else {
		r.From(c.caller.SourceIP, c.caller.UserAgent, audit.TLSDetails(c.caller.TLS))
	}
	if len(c.extra) > 0 {
		r.AdditionalEventData = c.extra
	}
	for _, k := range c.keys {
		r.Resources = append(r.Resources, audit.Resource{AccountID: k.Account, Type: audit.KMSKey, ARN: k.arn()})
	}
	if result == nil {
		r.ResponseElements = c.reply
		return r
	}
	r.ErrorCode = codeOf(result)
	if r.ErrorCode == codeAccessDenied {
		r.ErrorCode = "AccessDenied"
	}
	if e, ok := result.(*Error); ok {
		r.ErrorMessage = cutText(e.Message, maxErrorMessage)
	}
	return r
}

// maxErrorMessage is CloudTrail's limit. Messages repeat parts of a request, and those may be long.
const maxErrorMessage = 1024

func cutText(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// codeOf returns the exception code of a result, empty for success. An error that is no exception means that the
// client's context has ended.
func codeOf(result error) string {
	switch e := result.(type) {
	case nil:
		return ""
	case *Error:
		return e.Code
	}
	return "RequestCanceled"
}

func (c *call) userIdentity() audit.UserIdentity {
	return audit.Identify(audit.Principal{
		Requester: c.caller.Requester, AccountID: c.caller.AccountID, Service: c.caller.Service, ViaService: c.caller.ViaService != "",
	})
}

// changing are the operations that change state; all other operations are read-only in the log, also the
// cryptographic.
var changing = []string{
	"CancelKeyDeletion", "CreateAlias", "CreateGrant", "CreateKey", "DeleteAlias", "DeleteImportedKeyMaterial", "DisableKey",
	"DisableKeyRotation", "EnableKey", "EnableKeyRotation", "ImportKeyMaterial", "PutKeyPolicy", "RetireGrant", "RevokeGrant",
	"RotateKeyOnDemand", "ScheduleKeyDeletion", "TagResource", "UntagResource", "UpdateAlias", "UpdateKeyDescription",
}

// Changes reports whether an operation changes something.
func Changes(op string) bool { return slices.Contains(changing, op) }

func readOnly(op string) bool { return !Changes(op) }

// auditParams returns a request's parameters for the audit record: all fields except unset fields and bytes (plaintext,
// ciphertext, messages, signatures, tokens, key material).
func auditParams(in any) map[string]any {
	params := lowerFields(in)
	delete(params, "grantTokens")
	delete(params, "grantToken")
	return params
}

// lowerFields turns a struct into a map as CloudTrail shows it: names in lower camel case, no bytes, and no zero
// values, except false and numbers outside pointers.
func lowerFields(in any) map[string]any {
	v := reflect.Indirect(reflect.ValueOf(in))
	out := make(map[string]any, v.NumField())
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if shown, ok := showValue(v.Field(i)); ok {
			out[lowerFirst(name)] = shown
		}
	}
	return out
}

func showValue(v reflect.Value) (any, bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil, false
		}
		if t, ok := v.Interface().(*Time); ok {
			return t.UTC().Format("Jan 2, 2006, 3:04:05 PM"), true
		}
		return showValue(v.Elem())
	case reflect.Struct:
		return lowerFields(v.Interface()), true
	case reflect.String:
		return v.String(), v.Len() > 0
	case reflect.Map:
		return v.Interface(), v.Len() > 0
	case reflect.Slice:
		return showList(v)
	case reflect.Bool, reflect.Int:
		return v.Interface(), true
	}
	return nil, false
}

func showList(v reflect.Value) (any, bool) {
	if v.Len() == 0 || v.Type().Elem().Kind() == reflect.Uint8 {
		return nil, false
	}
	list := make([]any, 0, v.Len())
	for i := range v.Len() {
		if shown, ok := showValue(v.Index(i)); ok {
			list = append(list, shown)
		}
	}
	return list, true
}

func lowerFirst(name string) string {
	first, size := utf8.DecodeRuneInString(name)
	return string(unicode.ToLower(first)) + name[size:]
}
