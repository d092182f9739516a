package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	settingTime  = 30 * time.Second // of a setting, then it is another bucket's, key's or user's
	settingPause = time.Second      // between two changes, on the average
	readPause    = 60 * time.Millisecond
)

// setting is a register that is no object: a change of it is acknowledged by one replica, and its effect is looked for at
// all of them.
type setting struct {
	name    string
	initial string
	values  []string
	change  func(r *replica, value string) answer
	// look reads the value by its effect. It gives "" where the answer does not tell.
	look func(r *replica) string
}

// settings runs a setting of each kind, until the end.
func (n *nemesis) settings() {
	makers := []func(name string) (*setting, error){n.bucketDefault, n.bucketPolicy, n.userPolicy, n.keyState, n.aliasTarget, n.grant}
	var all sync.WaitGroup
	for _, maker := range makers {
		all.Go(func() {
			for round := 0; !n.over(); round++ {
				n.oneSetting(maker, fmt.Sprintf("n%d", round))
			}
		})
	}
	all.Wait()
}

// oneSetting changes a setting and looks at it. It ends after a change without an answer: such a change excuses too much.
func (n *nemesis) oneSetting(maker func(string) (*setting, error), name string) {
	s, err := maker(name)
	if err != nil {
		n.report.violation("not made", "%v", err)
		time.Sleep(time.Second)
		return
	}
	h := &history{name: s.name, initial: register{value: s.initial}}
	end := time.Now().Add(settingTime)
	var clients sync.WaitGroup
	going := func() bool {
		_, lost := h.size()
		return time.Now().Before(end) && !n.over() && lost == 0
	}
	clients.Go(func() {
		for going() {
			n.changeSetting(s, h)
			time.Sleep(time.Duration(rand.Int64N(int64(2 * settingPause))))
		}
	})
	for client := range len(n.cluster.replicas) {
		clients.Go(func() {
			for going() {
				n.lookAtSetting(s, h, client+1, n.cluster.next())
				time.Sleep(readPause)
			}
		})
	}
	clients.Wait()
	n.report.histories.add(h)
	n.judgeSetting(h)
	n.keep(h, func(r *replica) { n.lookAtSetting(s, h, len(n.cluster.replicas)+1, r) }, n.judgeSetting)
}

func (n *nemesis) changeSetting(s *setting, h *history) {
	value, r := s.values[rand.IntN(len(s.values))], n.cluster.next()
	h.record(0, input{kind: write, value: value, at: r.name}, func() (output, bool) {
		a := s.change(r, value)
		if a.outcome == refused {
			n.report.violation("refused", "%s: %s at %s: %d %s", s.name, value, r.name, a.status, a.body)
		}
		return output{outcome: a.outcome}, a.outcome != refused
	})
}

// lookAtSetting reads the setting at a replica. A replica that is cut off from the state may be late, by the window at
// most: its reads are not in the history, and are held to the window.
func (n *nemesis) lookAtSetting(s *setting, h *history, client int, r *replica) {
	from := clock()
	value := s.look(r)
	if value == notTold {
		return
	}
	late := n.faults.isDetached(r, from)
	if late {
		n.report.late()
	}
	h.add(porcupine.Operation{ClientId: client, Input: input{kind: read, at: r.name, late: late}, Call: from,
		Output: output{found: register{value: value}}, Return: clock()})
}

// encode is a JSON document.
func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

const (
	allowed, denied = "allowed", "denied"
	notTold         = ""
)

// told says what an answer tells of a right.
func told(a answer, refusal ...string) string {
	if a.outcome == done {
		return allowed
	}
	for _, code := range refusal {
		if a.code == code {
			return denied
		}
	}
	return notTold
}

// bucketDefault is a bucket's default encryption, as an object without headers of its own gets it.
func (n *nemesis) bucketDefault(name string) (*setting, error) {
	bucket := "nemesis-default-" + name
	if err := n.makeBucket(bucket); err != nil {
		return nil, err
	}
	s := &setting{name: "default encryption of " + bucket, initial: "AES256", values: []string{"AES256", n.key, "aws:kms:dsse " + n.key}}
	s.change = func(r *replica, value string) answer {
		rule := "<SSEAlgorithm>AES256</SSEAlgorithm>"
		if algorithm, key, ok := strings.Cut(value, " "); ok {
			rule = "<SSEAlgorithm>" + algorithm + "</SSEAlgorithm><KMSMasterKeyID>" + key + "</KMSMasterKeyID>"
		} else if value != "AES256" {
			rule = "<SSEAlgorithm>aws:kms</SSEAlgorithm><KMSMasterKeyID>" + value + "</KMSMasterKeyID>"
		}
		document := "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>" + rule +
			"</ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
		return n.send(r, request{method: "PUT", path: "/" + bucket, query: url.Values{"encryption": {""}}, body: []byte(document)})
	}
	s.look = func(r *replica) string {
		a := n.send(r, request{method: "PUT", path: "/" + bucket + "/probe", body: []byte("x")})
		if a.outcome != done {
			return notTold
		}
		switch algorithm := a.header.Get("X-Amz-Server-Side-Encryption"); algorithm {
		case "aws:kms":
			return a.header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")
		case "aws:kms:dsse":
			return algorithm + " " + a.header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")
		default:
			return algorithm
		}
	}
	return s, nil
}

// putProbe makes the object that a right is tried on.
func (n *nemesis) putProbe(path string, header map[string]string) error {
	a := n.surely(func(r *replica) answer {
		return n.send(r, request{method: "PUT", path: path, header: header, body: []byte("probe")})
	})
	if a.outcome != done {
		return fmt.Errorf("PUT %s: %d %s %v", path, a.status, a.body, a.err)
	}
	return nil
}

// bucketPolicy is a Deny for alice in a bucket's policy.
func (n *nemesis) bucketPolicy(name string) (*setting, error) {
	bucket := "nemesis-policy-" + name
	if err := n.makeBucket(bucket); err != nil {
		return nil, err
	}
	if err := n.putProbe("/"+bucket+"/probe", nil); err != nil {
		return nil, err
	}
	s := &setting{name: "policy of " + bucket, initial: allowed, values: []string{allowed, denied}}
	s.change = func(r *replica, value string) answer {
		q := request{method: "DELETE", path: "/" + bucket, query: url.Values{"policy": {""}}}
		if value == denied {
			q.method = "PUT"
			q.body = []byte(encode(map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
				"Effect": "Deny", "Principal": map[string]string{"AWS": aliceARN}, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::" + bucket + "/*"}}}))
		}
		a := n.send(r, q)
		if a.code == "NoSuchBucketPolicy" {
			a.outcome = done
		}
		return a
	}
	s.look = func(r *replica) string {
		return told(n.send(r, request{method: "GET", path: "/" + bucket + "/probe", by: alice}), "AccessDenied")
	}
	return s, nil
}

// userPolicy is the right of a user that was made by the IAM API, with keys that every replica must know at once.
func (n *nemesis) userPolicy(name string) (*setting, error) {
	user := "user-" + name
	bucket := "nemesis-user-" + name
	if err := n.makeBucket(bucket); err != nil {
		return nil, err
	}
	if err := n.putProbe("/"+bucket+"/probe", nil); err != nil {
		return nil, err
	}
	a := n.surely(func(r *replica) answer {
		a := n.iam(r, "CreateUser", map[string]string{"UserName": user})
		if a.code == "EntityAlreadyExists" {
			a.outcome = done
		}
		return a
	})
	if a.outcome != done {
		return nil, fmt.Errorf("CreateUser: %d %s %v", a.status, a.body, a.err)
	}
	a = n.surely(func(r *replica) answer { return n.iam(r, "CreateAccessKey", map[string]string{"UserName": user}) })
	by := credentials{element(a.body, "AccessKeyId"), element(a.body, "SecretAccessKey")}
	if a.outcome != done || by.accessKey == "" {
		return nil, fmt.Errorf("CreateAccessKey: %d %s %v", a.status, a.body, a.err)
	}
	s := &setting{name: "policy of user " + user, initial: denied, values: []string{allowed, denied}}
	s.change = func(r *replica, value string) answer {
		effect := map[string]string{allowed: "Allow", denied: "Deny"}[value]
		return n.iam(r, "PutUserPolicy", map[string]string{"UserName": user, "PolicyName": "p", "PolicyDocument": encode(map[string]any{
			"Version": "2012-10-17", "Statement": []any{map[string]any{"Effect": effect, "Action": "s3:*", "Resource": "*"}}})})
	}
	s.look = func(r *replica) string {
		a := n.send(r, request{method: "GET", path: "/" + bucket + "/probe", by: by})
		if a.code == "InvalidAccessKeyId" {
			n.report.violation("lost", "access key of %s is not known to %s", user, r.name)
		}
		return told(a, "AccessDenied")
	}
	return s, nil
}
