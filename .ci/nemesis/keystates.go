package main

import "fmt"

// keyState is whether a KMS key is enabled, as the reads of an object under it tell. So the revocation of a key is held
// to be complete when it is acknowledged, and within the window at a replica that is cut off.
func (n *nemesis) keyState(name string) (*setting, error) {
	key, err := n.makeKey()
	if err != nil {
		return nil, err
	}
	path := "/" + registerBucket + "/under-key-" + name
	header := map[string]string{"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": key,
		"X-Amz-Server-Side-Encryption-Bucket-Key-Enabled": "true"}
	if err := n.putProbe(path, header); err != nil {
		return nil, err
	}
	s := &setting{name: "state of key " + name, initial: allowed, values: []string{allowed, denied}}
	s.change = func(r *replica, value string) answer {
		operation := map[string]string{allowed: "EnableKey", denied: "DisableKey"}[value]
		return n.kms(r, root, operation, encode(map[string]string{"KeyId": key}))
	}
	s.look = func(r *replica) string {
		value := told(n.send(r, request{method: "GET", path: path}), "KMS.DisabledException")
		if value == denied && n.defect.is("revoke", 3) {
			value = allowed
		}
		return value
	}
	return s, nil
}

// aliasTarget is the key that an alias names, as an object gets it that is put under the alias.
func (n *nemesis) aliasTarget(name string) (*setting, error) {
	other, err := n.makeKey()
	if err != nil {
		return nil, err
	}
	alias := "alias/nemesis-" + name
	made := n.surely(func(r *replica) answer {
		a := n.kms(r, root, "CreateAlias", encode(map[string]string{"AliasName": alias, "TargetKeyId": n.key}))
		if a.code == "AlreadyExistsException" {
			a.outcome = done
		}
		return a
	})
	if made.outcome != done {
		return nil, fmt.Errorf("CreateAlias: %d %s %v", made.status, made.body, made.err)
	}
	s := &setting{name: "target of " + alias, initial: n.key, values: []string{n.key, other}}
	s.change = func(r *replica, value string) answer {
		return n.kms(r, root, "UpdateAlias", encode(map[string]string{"AliasName": alias, "TargetKeyId": value}))
	}
	s.look = func(r *replica) string {
		a := n.send(r, request{method: "PUT", path: "/" + registerBucket + "/under-alias-" + name, body: []byte("x"), header: map[string]string{
			"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": alias}})
		if a.outcome != done {
			return notTold
		}
		return a.header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id")
	}
	return s, nil
}

// grant is a user's right to decrypt under a key, by a grant that is made and revoked.
func (n *nemesis) grant(name string) (*setting, error) {
	key, err := n.makeKey()
	if err != nil {
		return nil, err
	}
	plaintext := n.surely(func(r *replica) answer {
		return n.kms(r, root, "Encrypt", encode(map[string]any{"KeyId": key, "Plaintext": []byte("x")}))
	})
	if plaintext.outcome != done {
		return nil, fmt.Errorf("Encrypt: %d %s %v", plaintext.status, plaintext.body, plaintext.err)
	}
	blob := field(string(plaintext.body), "CiphertextBlob")
	// The key's policy leaves rights to root alone, so that the grant decides.
	policy := encode(map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{"Effect": "Allow",
		"Principal": map[string]string{"AWS": "arn:aws:iam::000000000000:root"}, "Action": "kms:*", "Resource": "*",
		"Condition": map[string]any{"StringEquals": map[string]string{"aws:PrincipalArn": "arn:aws:iam::000000000000:root"}}}}})
	a := n.surely(func(r *replica) answer {
		return n.kms(r, root, "PutKeyPolicy", encode(map[string]string{"KeyId": key, "PolicyName": "default", "Policy": policy}))
	})
	if a.outcome != done {
		return nil, fmt.Errorf("PutKeyPolicy: %d %s %v", a.status, a.body, a.err)
	}
	s := &setting{name: "grant of key " + name, initial: denied, values: []string{allowed, denied}}
	s.change = func(r *replica, value string) answer {
		if value == allowed {
			return n.kms(r, root, "CreateGrant", encode(map[string]any{"KeyId": key, "GranteePrincipal": aliceARN, "Operations": []string{"Decrypt"}, "Name": "g"}))
		}
		list := n.kms(r, root, "ListGrants", encode(map[string]string{"KeyId": key}))
		id := field(string(list.body), "GrantId")
		if list.outcome != done || id == "" {
			return list
		}
		a := n.kms(r, root, "RevokeGrant", encode(map[string]string{"KeyId": key, "GrantId": id}))
		if a.code == "NotFoundException" {
			a.outcome = done
		}
		return a
	}
	s.look = func(r *replica) string {
		return told(n.kms(r, alice, "Decrypt", encode(map[string]string{"CiphertextBlob": blob, "KeyId": key})), "AccessDeniedException")
	}
	return s, nil
}
