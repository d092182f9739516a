package kmsapi

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// sdkOperations returns the operations of the SDK's newest KMS model, with their input types.
func sdkOperations(t *testing.T) map[string]reflect.Type {
	t.Helper()
	found := map[string]reflect.Type{}
	client := reflect.TypeFor[*kms.Client]()
	for i := range client.NumMethod() {
		m := client.Method(i)
		if m.Type.NumIn() == 4 && m.Type.NumOut() == 2 && m.Type.In(2).Kind() == reflect.Pointer {
			found[m.Name] = m.Type.In(2).Elem()
		}
	}
	if len(found) < 56 {
		t.Fatalf("only %d operations", len(found))
	}
	return found
}

// TestModel: every operation, member and value of the newest model is known here: answered, or refused by name.
func TestModel(t *testing.T) {
	for name, input := range sdkOperations(t) {
		op := operations[name]
		switch {
		case op == nil:
			t.Errorf("%s is unknown", name)
		case !isRefused(name):
			compareModel(t, name, input, op.request)
		}
	}
}

// isRefused reports whether an operation is refused with any members. TestRefusedByName sends each.
func isRefused(name string) bool { return len(operations[name].request.members) == 0 }

func compareModel(t *testing.T, path string, input reflect.Type, s *schema) {
	t.Helper()
	for i := range input.NumField() {
		f := input.Field(i)
		if !f.IsExported() {
			continue
		}
		at := slices.IndexFunc(s.members, func(m member) bool { return m.name == f.Name })
		if at < 0 {
			t.Errorf("%s.%s is unknown", path, f.Name)
			continue
		}
		m, element := &s.members[at], f.Type
		if element.Kind() == reflect.Pointer || element.Kind() == reflect.Slice {
			element = element.Elem()
		}
		for _, value := range valuesOf(element) {
			if !slices.Contains(m.rules.enum, value) && !slices.Contains(m.each.enum, value) {
				t.Errorf("%s.%s: %s is unknown", path, f.Name, value)
			}
		}
		if m.inner != nil && element.Kind() == reflect.Struct {
			compareModel(t, path+"."+f.Name, element, m.inner)
		}
	}
}

// valuesOf returns the values of an enumeration, and none for any other type.
func valuesOf(t reflect.Type) (values []string) {
	method := reflect.New(t).Elem().MethodByName("Values")
	if t.Kind() != reflect.String || !method.IsValid() {
		return nil
	}
	list := method.Call(nil)[0]
	for i := range list.Len() {
		values = append(values, list.Index(i).String())
	}
	return values
}

// TestRefusedByName: an operation or value of the newest model without support here is refused, and the exception names
// it.
func TestRefusedByName(t *testing.T) {
	e := start(t)
	url := open(t, e)
	for name := range sdkOperations(t) {
		if !isRefused(name) {
			continue
		}
		for _, body := range []tree{{}, {"KeyId": "x", "Anything": tree{"deep": []any{1}}}} {
			wantRefused(t, name, postJSON(t, url, name, body), "not supported by this key service")
		}
	}
	for _, spec := range valuesOf(reflect.TypeFor[types.KeySpec]()) {
		for _, usage := range valuesOf(reflect.TypeFor[types.KeyUsageType]()) {
			if spec == "RSA_3072" || spec == "RSA_4096" {
				continue // as RSA_2048, and slow
			}
			answer := postJSON(t, url, "CreateKey", tree{"KeySpec": spec, "KeyUsage": usage})
			if !strings.Contains(answer, `"KeyMetadata"`) {
				wantNamed(t, spec+" "+usage, answer, spec)
			}
		}
	}
	key := e.newKey(t)
	for _, op := range valuesOf(reflect.TypeFor[types.GrantOperation]()) {
		answer := postJSON(t, url, "CreateGrant", tree{"KeyId": key, "GranteePrincipal": "arn:aws:iam::" + testAccount + ":user/bob", "Operations": []any{op}})
		if !strings.Contains(answer, `"GrantId"`) {
			wantNamed(t, op, answer, op)
		}
	}
	for name, body := range map[string]tree{
		"CreateGrant GranteeServicePrincipal":          {"GranteeServicePrincipal": "s3.amazonaws.com"},
		"CreateGrant RetiringServicePrincipal":         {"GranteePrincipal": "arn:aws:iam::" + testAccount + ":user/bob", "RetiringServicePrincipal": "s3.amazonaws.com"},
		"CreateGrant Constraints.SourceArn":            {"GranteePrincipal": "arn:aws:iam::" + testAccount + ":user/bob", "Constraints": tree{"SourceArn": "arn:aws:s3:::b"}},
		"CreateGrant SourceArn":                        {"GranteePrincipal": "arn:aws:iam::" + testAccount + ":user/bob", "Constraints": tree{"SourceArn": "arn:aws:s3:::b", "EncryptionContextSubset": tree{"a": "b"}}},
		"ListGrants GranteeServicePrincipal":           {"GranteeServicePrincipal": "s3.amazonaws.com"},
		"ListRetirableGrants RetiringServicePrincipal": {"RetiringServicePrincipal": "s3.amazonaws.com"},
	} {
		operation, parameter, _ := strings.Cut(name, " ")
		body["KeyId"] = key
		if operation == "CreateGrant" {
			body["Operations"] = []any{"Decrypt"}
		}
		wantRefused(t, name, postJSON(t, url, operation, body), parameter)
	}
	if listed := postJSON(t, url, "ListGrants", tree{"KeyId": key}); strings.Contains(listed, "SourceArn") {
		t.Errorf("a grant was made: %s", listed)
	}
}

func wantRefused(t *testing.T, what, answer, named string) {
	t.Helper()
	if !strings.Contains(answer, `"UnsupportedOperationException"`) || !strings.Contains(answer, named) {
		t.Errorf("%s: %s", what, answer)
	}
}

// wantNamed wants an exception that names the unsupported feature, or the conflicting members.
func wantNamed(t *testing.T, what, answer, named string) {
	t.Helper()
	if !strings.Contains(answer, `"__type":"UnsupportedOperationException"`) && !strings.Contains(answer, `"__type":"ValidationException"`) || !strings.Contains(answer, named) {
		t.Errorf("%s: %s", what, answer)
	}
}

// TestUnknownMembers sends an unknown member at each level of each operation's input. An operation that changes state
// refuses it: it may be a limit of a newer model. Elsewhere it is ignored, as in AWS's JSON protocol.
func TestUnknownMembers(t *testing.T) {
	e := start(t)
	url, key := open(t, e), e.newKey(t)
	strict := 0
	for name, op := range operations {
		if isRefused(name) {
			continue
		}
		for path, body := range withUnknown(op.request, key) {
			answer := postJSON(t, url, name, body)
			refused := strings.Contains(answer, `"ValidationException"`) && strings.Contains(answer, "Value at '"+path+"' failed to satisfy constraint: Member is not known")
			if refused != op.strict {
				t.Errorf("%s with %s: refused %v, %.200s", name, path, refused, answer)
			}
			if op.strict {
				strict++
			}
		}
	}
	for _, name := range []string{"CreateGrant", "CreateKey", "PutKeyPolicy", "RetireGrant", "RevokeGrant", "UpdateAlias", "ImportKeyMaterial", "TagResource"} {
		if !operations[name].strict {
			t.Errorf("%s takes unknown members", name)
		}
	}
	if strict < 20 {
		t.Errorf("only %d requests were to be refused", strict)
	}
}

// withUnknown returns requests with an unknown member, by its path: at the top, and in each structure.
func withUnknown(s *schema, key string) map[string]tree {
	requests := map[string]tree{"newMember": filled(s, key)}
	requests["newMember"]["NewMember"] = "x"
	for _, m := range s.members {
		inner := tree{"NewMember": 1}
		switch m.kind {
		case kindStruct:
			body := filled(s, key)
			body[m.name] = inner
			requests[m.path+".newMember"] = body
		case kindStructs:
			body := filled(s, key)
			body[m.name] = []any{inner}
			requests[m.path+".1.member.newMember"] = body
		}
	}
	return requests
}

// TestNullIsAbsent: an unknown member without a value limits nothing.
func TestNullIsAbsent(t *testing.T) {
	answer := postJSON(t, open(t, start(t)), "CreateKey", tree{"NewMember": nil})
	var out struct{ KeyMetadata *struct{ KeyId string } }
	if err := json.Unmarshal([]byte(answer), &out); err != nil || out.KeyMetadata == nil {
		t.Errorf("%v: %s", err, answer)
	}
}
