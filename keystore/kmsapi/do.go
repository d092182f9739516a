package kmsapi

import (
	"context"
	"encoding/json"

	"waxseal/keystore"
	"waxseal/keystore/local"
)

// Do performs an operation for a caller authenticated by another endpoint: the request is checked, authorized and
// recorded like a request to the KMS endpoint. The error of a refusal is a *Refusal.
func Do(ctx context.Context, s *local.Service, caller keystore.Caller, operation string, request map[string]any) (any, error) {
	out, err := do(ctx, s, caller, operation, request)
	if err != nil {
		e := exceptionOf(err)
		return nil, &Refusal{e.code, e.message}
	}
	return out, nil
}

// Refusal is an exception of the KMS API.
type Refusal struct{ Code, Message string }

func (r *Refusal) Error() string { return r.Code + ": " + r.Message }

func do(ctx context.Context, s *local.Service, caller keystore.Caller, operation string, request map[string]any) (any, error) {
	op := operations[operation]
	if op == nil {
		return nil, unknownOperation()
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	return op.perform(ctx, s, caller, body)
}

// perform checks a request's body and calls the operation. The caller is known, so that a refusal has a record, too.
func (op *operation) perform(ctx context.Context, s *local.Service, caller keystore.Caller, body []byte) (any, error) {
	request, err := decode(body)
	if err == nil {
		err = op.request.check(request, op.strict)
	}
	if err != nil {
		e := exceptionOf(err)
		return nil, s.RefuseInvalid(ctx, caller, op.name, e.code, e.message)
	}
	return op.call(ctx, s, caller, op.request, request)
}
