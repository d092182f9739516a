package audit

import (
	"encoding/json"
	"testing"
)

// TestIdentify: each kind of principal, as CloudTrail's examples have it.
func TestIdentify(t *testing.T) {
	const account = "111122223333"
	for want, p := range map[string]Principal{
		`{"type":"IAMUser","principalId":"AIDAX","arn":"arn:aws:iam::111122223333:user/path/alice","accountId":"111122223333","accessKeyId":"AKIA","userName":"alice"}`: {
			ARN: "arn:aws:iam::" + account + ":user/path/alice", ID: "AIDAX", UserName: "alice", AccessKeyID: "AKIA"},
		`{"type":"Root","principalId":"111122223333","arn":"arn:aws:iam::111122223333:root","accountId":"111122223333"}`: {
			ARN: "arn:aws:iam::" + account + ":root", ID: account, UserName: "root"},
		`{"type":"Role","principalId":"AROAX","arn":"arn:aws:iam::111122223333:role/app","accountId":"111122223333"}`: {
			ARN: "arn:aws:iam::" + account + ":role/app", ID: "AROAX", UserName: "app"},
		`{"type":"AssumedRole","principalId":"AROAX:s1","arn":"arn:aws:sts::111122223333:assumed-role/app/s1","accountId":"111122223333","accessKeyId":"ASIA",` +
			`"sessionContext":{"sessionIssuer":{"accountId":"111122223333","arn":"arn:aws:iam::111122223333:role/app","principalId":"AROAX","type":"Role","userName":"app"}}}`: {
			ARN: "arn:aws:sts::" + account + ":assumed-role/app/s1", ID: "AROAX:s1", UserName: "config-name", AccessKeyID: "ASIA"},
		`{"type":"FederatedUser","principalId":"111122223333:bob","arn":"arn:aws:sts::111122223333:federated-user/bob","accountId":"111122223333"}`: {
			ARN: "arn:aws:sts::" + account + ":federated-user/bob", ID: account + ":bob", UserName: "bob"},
		`{"type":"AWSService","accountId":"111122223333","invokedBy":"AWS Internal"}`: {
			ARN: "arn:aws:iam::" + account + ":root", ID: account, Service: true},
		`{"type":"IAMUser","principalId":"AIDAX","arn":"arn:aws:iam::111122223333:user/alice","accountId":"111122223333","userName":"alice","invokedBy":"AWS Internal"}`: {
			ARN: "arn:aws:iam::" + account + ":user/alice", ID: "AIDAX", UserName: "alice", ViaService: true},
	} {
		p.AccountID = account
		got, err := json.Marshal(Identify(p))
		if err != nil || string(got) != want {
			t.Errorf("got  %s, %v\nwant %s", got, err, want)
		}
	}
}

// TestFindSessions: who looks for a role finds its sessions.
func TestFindSessions(t *testing.T) {
	session := Identify(Principal{ARN: "arn:aws:sts::111122223333:assumed-role/app/s1", ID: "AROAX:s1", AccountID: "111122223333"})
	for name, want := range map[string]bool{
		"app": true, "AROAX": true, "AROAX:s1": true, "arn:aws:iam::111122223333:role/app": true, session.ARN: true, "s1": false, "root": false,
	} {
		if session.is(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
