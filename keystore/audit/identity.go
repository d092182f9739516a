package audit

import "strings"

// Principal is what a record can tell of who made a request.
type Principal struct {
	ARN         string
	ID          string // unique: "AIDA...", "AROA...:session", an account's number for its root
	AccountID   string
	AccessKeyID string
	UserName    string
	Service     bool // the service itself
	ViaService  bool // a service makes the request for the principal
}

// Identify is a principal as CloudTrail shows it
// (https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html).
func Identify(p Principal) UserIdentity {
	if p.Service {
		return UserIdentity{Type: "AWSService", AccountID: p.AccountID, InvokedBy: Internal}
	}
	id := UserIdentity{Type: "IAMUser", PrincipalID: p.ID, ARN: p.ARN, AccountID: p.AccountID, AccessKeyID: p.AccessKeyID}
	_, resource, _ := cutResource(p.ARN)
	switch kind, name, _ := strings.Cut(resource, "/"); kind {
	case "root":
		id.Type = "Root"
	case "role":
		id.Type = "Role"
	case "federated-user":
		id.Type = "FederatedUser"
	case "assumed-role":
		id.Type, id.SessionContext = "AssumedRole", sessionOf(p, name)
	default:
		id.UserName = p.UserName
	}
	if p.ViaService {
		id.InvokedBy = Internal
	}
	return id
}

// sessionOf tells whose session it is. name is the role's and the session's, with a slash between.
func sessionOf(p Principal, name string) *SessionContext {
	role, _, _ := strings.Cut(name, "/")
	roleID, _, _ := strings.Cut(p.ID, ":")
	head, _, _ := cutResource(p.ARN)
	return &SessionContext{SessionIssuer: map[string]any{
		"type": "Role", "principalId": roleID, "arn": strings.Replace(head, ":sts:", ":iam:", 1) + "role/" + role,
		"accountId": p.AccountID, "userName": role,
	}}
}

// cutResource cuts arn:aws:sts::1:assumed-role/R/S behind the account's colon.
func cutResource(arn string) (head, resource string, ok bool) {
	const colons = 5
	at := 0
	for range colons {
		i := strings.IndexByte(arn[at:], ':')
		if i < 0 {
			return "", "", false
		}
		at += i + 1
	}
	return arn[:at], arn[at:], true
}
