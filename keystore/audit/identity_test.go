package audit

import (
	"encoding/json"
	"testing"
	"time"

	"waxseal/keystore/iam"
)

// TestIdentify: each kind of principal, as CloudTrail's examples have it.
func TestIdentify(t *testing.T) {
	const account = "111122223333"
	who := func(arn, id, name, key string) Principal {
		return Principal{AccountID: account, Requester: &iam.Requester{ARN: arn, AccountID: account, ID: id, Name: name, AccessKey: key}}
	}
	via := who("arn:aws:iam::"+account+":user/alice", "AIDAX", "alice", "")
	via.ViaService = true
	issued := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	session := who("arn:aws:sts::"+account+":assumed-role/app/s1", "AROAX:s1", "s1", "ASIA")
	session.Requester.Session = &iam.Session{RoleARN: "arn:aws:iam::" + account + ":role/team/app", RoleID: "AROAX", RoleName: "app", Issued: issued}
	pod := who("arn:aws:sts::"+account+":assumed-role/app/pod", "AROAX:pod", "pod", "ASIA")
	federated := *session.Requester.Session
	federated.Federated, federated.Audience, federated.Subject = "token.example.com", "sts.amazonaws.com", "system:serviceaccount:a:b"
	pod.Requester.Session = &federated
	issuer := func(arn string) string {
		return `"sessionContext":{"sessionIssuer":{"accountId":"111122223333","arn":"` + arn + `","principalId":"AROAX","type":"Role","userName":"app"}`
	}
	for want, p := range map[string]Principal{
		`{"type":"IAMUser","principalId":"AIDAX","arn":"arn:aws:iam::111122223333:user/path/alice","accountId":"111122223333","accessKeyId":"AKIA","userName":"alice"}`: who(
			"arn:aws:iam::"+account+":user/path/alice", "AIDAX", "alice", "AKIA"),
		`{"type":"Root","principalId":"111122223333","arn":"arn:aws:iam::111122223333:root","accountId":"111122223333"}`: who(
			"arn:aws:iam::"+account+":root", account, "root", ""),
		`{"type":"Role","principalId":"AROAX","arn":"arn:aws:iam::111122223333:role/app","accountId":"111122223333"}`: who(
			"arn:aws:iam::"+account+":role/app", "AROAX", "app", ""),
		`{"type":"AssumedRole","principalId":"AROAX:s1","arn":"arn:aws:sts::111122223333:assumed-role/app/s1","accountId":"111122223333","accessKeyId":"ASIA",` +
			issuer("arn:aws:iam::111122223333:role/app") + `}}`: who("arn:aws:sts::"+account+":assumed-role/app/s1", "AROAX:s1", "config-name", "ASIA"),
		`{"type":"AssumedRole","principalId":"AROAX:s1","arn":"arn:aws:sts::111122223333:assumed-role/app/s1","accountId":"111122223333","accessKeyId":"ASIA",` +
			issuer("arn:aws:iam::111122223333:role/team/app") + `,"attributes":{"creationDate":"2026-11-21T12:00:00Z","mfaAuthenticated":"false"}}}`: session,
		`{"type":"AssumedRole","principalId":"AROAX:pod","arn":"arn:aws:sts::111122223333:assumed-role/app/pod","accountId":"111122223333","accessKeyId":"ASIA",` +
			issuer("arn:aws:iam::111122223333:role/team/app") + `,"webIdFederationData":{"attributes":{"aud":"sts.amazonaws.com","sub":"system:serviceaccount:a:b"},` +
			`"federatedProvider":"token.example.com"},"attributes":{"creationDate":"2026-11-21T12:00:00Z","mfaAuthenticated":"false"}}}`: pod,
		`{"type":"FederatedUser","principalId":"111122223333:bob","arn":"arn:aws:sts::111122223333:federated-user/bob","accountId":"111122223333"}`: who(
			"arn:aws:sts::"+account+":federated-user/bob", account+":bob", "bob", ""),
		`{"type":"AWSService","accountId":"111122223333","invokedBy":"AWS Internal"}`: {AccountID: account, Service: true},
		`{"type":"AWSAccount","accountId":"anonymous"}`:                               {AccountID: account},
		`{"type":"IAMUser","principalId":"AIDAX","arn":"arn:aws:iam::111122223333:user/alice","accountId":"111122223333","userName":"alice","invokedBy":"AWS Internal"}`: via,
	} {
		got, err := json.Marshal(Identify(p))
		if err != nil || string(got) != want {
			t.Errorf("got  %s, %v\nwant %s", got, err, want)
		}
	}
}

// TestFindSessions: a filter for a role finds its sessions.
func TestFindSessions(t *testing.T) {
	session := Identify(Principal{Requester: &iam.Requester{ARN: "arn:aws:sts::111122223333:assumed-role/app/s1", ID: "AROAX:s1", AccountID: "111122223333"}})
	for name, want := range map[string]bool{
		"app": true, "AROAX": true, "AROAX:s1": true, "arn:aws:iam::111122223333:role/app": true, session.ARN: true, "s1": false, "root": false,
	} {
		if session.is(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
