package awsquery

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/xml"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"waxseal/keystore"
	"waxseal/keystore/audit"
	"waxseal/keystore/iam"
)

// AWS's operations, by service. An operation without support here is refused by name.
var (
	//go:embed iam.txt
	iamOperations string
	//go:embed sts.txt
	stsOperations string
)

// known are the operations of AWS by API.
var known = map[string][]string{"iam": strings.Fields(iamOperations), "sts": strings.Fields(stsOperations)}

// API is a service of the query protocol.
type API struct {
	Name       string // "iam": the credential scope's service, and the prefix of its actions
	Version    string
	Operations []Operation
	Audit      audit.Sink
	Region     string // of the records
	Account    string
	Now        func() time.Time
	Log        *slog.Logger
}

// Operation is an operation of an API.
type Operation struct {
	Name   string
	Params []Param
	// Unsigned: the request needs no signature.
	Unsigned bool
	// Reads: the operation changes nothing.
	Reads bool
	// NoResult: the answer has no element of its own.
	NoResult bool
	Do       func(ctx context.Context, r *Request) (result any, err error)
}

// Request is a request to an operation.
type Request struct {
	*Values
	API    *API
	Name   string // the operation's
	Caller keystore.Caller
	Now    time.Time

	Identity *audit.UserIdentity // the requester of an unsigned request, such as the bearer of a token
	Reply    map[string]any      // responseElements of the record
}

// Namespace returns the XML namespace of answers.
func (a *API) Namespace() string {
	return "https://" + a.Name + ".amazonaws.com/doc/" + a.Version + "/"
}

// Answer is the response to a client.
type Answer struct {
	Status    int
	Body      []byte // XML
	RequestID string
	Code      string // of an error, or ""
}

// Serve answers a request after the check of its signature. If the request has no signature, the caller has no
// Requester.
func (a *API) Serve(ctx context.Context, caller keystore.Caller, body []byte) Answer {
	if caller.RequestID == "" {
		caller.RequestID = uuid.NewString()
	}
	form, err := ParseForm(body)
	if err != nil {
		return a.Refusal(caller.RequestID, err)
	}
	op, err := a.find(form)
	if err != nil {
		return a.Refusal(caller.RequestID, err)
	}
	if caller.Requester == nil && !op.Unsigned {
		return a.Refusal(caller.RequestID, Fail(403, "MissingAuthenticationToken", "Request is missing Authentication Token"))
	}
	r := &Request{API: a, Name: op.Name, Caller: caller, Now: a.Now().UTC()}
	result, err := a.run(ctx, op, r, form)
	if err != nil {
		return a.Refusal(caller.RequestID, err)
	}
	return a.success(op, result, caller.RequestID)
}

func (a *API) find(form *Form) (*Operation, error) {
	name, version := form.Get("Action"), form.Get("Version")
	if name == "" {
		return nil, Fail(400, "MissingAction", "The request must have the parameter Action in its body.")
	}
	i := slices.IndexFunc(a.Operations, func(o Operation) bool { return o.Name == name })
	switch {
	case version != a.Version, i < 0 && !slices.Contains(known[a.Name], name):
		return nil, Fail(400, "InvalidAction", "Could not find operation %s for version %s", shown(name), shown(version))
	case i < 0:
		return nil, Fail(501, "NotImplemented", "waxseal does not support the operation %s of %s.", name, strings.ToUpper(a.Name))
	}
	return &a.Operations[i], nil
}

// run checks, does and records. Without its record a request has no result.
func (a *API) run(ctx context.Context, op *Operation, r *Request, form *Form) (result any, err error) {
	defer func() {
		if v := recover(); v != nil {
			result, err = nil, keystore.Panicked(v)
		}
	}()
	if r.Values, err = op.read(form); err == nil {
		result, err = op.Do(ctx, r)
	}
	if failed := a.Audit.Write(context.WithoutCancel(ctx), a.record(op, r, form, err)); failed != nil {
		return nil, errors.Join(err, failed)
	}
	return result, err
}

// record returns the audit record in CloudTrail's form.
func (a *API) record(op *Operation, r *Request, form *Form, err error) *audit.Record {
	who := audit.Identify(audit.Principal{Requester: r.Caller.Requester, AccountID: a.Account})
	if r.Identity != nil {
		who = *r.Identity
	}
	record := &audit.Record{
		UserIdentity: who, EventTime: audit.At(r.Now), EventSource: a.Name + ".amazonaws.com", EventName: op.Name, AWSRegion: a.Region,
		RequestParameters: op.parameters(form), RequestID: r.Caller.RequestID, ReadOnly: op.Reads, ManagementEvent: true,
		RecipientAccountID: a.Account,
	}
	record.From(r.Caller.SourceIP, r.Caller.UserAgent, audit.TLSDetails(r.Caller.TLS))
	if err == nil {
		record.ResponseElements = r.Reply
		return record
	}
	e := visible(err)
	record.ErrorCode, record.ErrorMessage = e.Code, e.Message
	return record
}

// parameters returns a request's parameters for the audit record.
func (o *Operation) parameters(form *Form) map[string]any {
	params := map[string]any{}
	for _, p := range o.Params {
		switch {
		case p.Secret:
		case p.List:
			if list, err := form.list(p.Name, p.Member); err == nil && list != nil {
				params[lowerFirst(p.Name)] = list
			}
		case form.Has(p.Name):
			params[lowerFirst(p.Name)] = form.Get(p.Name)
		}
	}
	if len(params) == 0 {
		return nil
	}
	return params
}

// success returns the answer with a result.
func (a *API) success(op *Operation, result any, requestID string) Answer {
	var b bytes.Buffer
	e := xml.NewEncoder(&b)
	outer := xml.StartElement{Name: xml.Name{Local: op.Name + "Response"}, Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: a.Namespace()}}}
	steps := []func() error{func() error { return e.EncodeToken(outer) }}
	if !op.NoResult {
		steps = append(steps, func() error {
			return e.EncodeElement(result, xml.StartElement{Name: xml.Name{Local: op.Name + "Result"}})
		})
	}
	steps = append(steps,
		func() error {
			return e.EncodeElement(struct{ RequestId string }{requestID}, xml.StartElement{Name: xml.Name{Local: "ResponseMetadata"}})
		},
		func() error { return e.EncodeToken(outer.End()) }, e.Flush)
	for _, step := range steps {
		if err := step(); err != nil {
			panic("awsquery: internal error: a result cannot be encoded: " + err.Error())
		}
	}
	return Answer{Status: 200, Body: b.Bytes(), RequestID: requestID}
}

// visible returns an error in its form for the client.
func visible(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &Error{"ServiceUnavailable", "The service did not answer in time. Try again.", 503}
	case errors.Is(err, iam.ErrUnavailable):
		return &Error{"ServiceUnavailable", "Users and roles cannot be looked up now. Try again.", 503}
	}
	return &Error{"ServiceFailure", "The request processing has failed because of an internal error. Try again.", 500}
}

type errorDocument struct {
	XMLName   xml.Name `xml:"ErrorResponse"`
	Namespace string   `xml:"xmlns,attr"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

// Refusal returns the answer to a failed request.
func (a *API) Refusal(requestID string, err error) Answer {
	e := visible(err)
	if e.Status >= 500 && e.Status != 501 {
		a.Log.Error(a.Name+": request failed", "request", requestID, "code", e.Code, "err", err)
	}
	kind := "Sender"
	if e.Status >= 500 {
		kind = "Receiver"
	}
	body, failed := xml.Marshal(errorDocument{Namespace: a.Namespace(), Type: kind, Code: e.Code, Message: e.Message, RequestID: requestID})
	if failed != nil {
		panic("awsquery: internal error: an error cannot be encoded: " + failed.Error())
	}
	return Answer{Status: e.Status, Body: body, RequestID: requestID, Code: e.Code}
}

// Authorize refuses an action that the caller's own policies do not allow.
func (r *Request) Authorize(action, resource string, more iam.Values) error {
	conditions := r.Caller.Conditions(r.Now, r.API.Region)
	for key, values := range more {
		conditions.Set(key, values...)
	}
	own := r.Caller.Requester.Decide(&iam.Request{Principal: r.Caller.Requester.Principal(), Action: action, Resource: resource, Conditions: conditions})
	if own.Decision() == iam.Allow {
		return nil
	}
	return r.Denied(action, resource, own)
}

// Denied returns AWS's refusal of an action.
func (r *Request) Denied(action, resource string, own iam.Own) error {
	why := "because no identity-based policy allows the " + action + " action"
	switch {
	case own.Identity == iam.Deny:
		why = "with an explicit deny in an identity-based policy"
	case own.Session == iam.Deny:
		why = "with an explicit deny in a session policy"
	case own.Identity == iam.Allow && own.Session != iam.Allow:
		why = "because no session policy allows the " + action + " action"
	}
	return Fail(403, "AccessDenied", "User: %s is not authorized to perform: %s on resource: %s %s", r.Caller.ARN, action, resource, why)
}
