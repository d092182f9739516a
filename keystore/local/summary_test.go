package local

import (
	"fmt"
	"testing"
)

// TestSummaries tells the same of one key, of a page and of more keys than are looked up one by one, before and after the
// last uses are in the state.
func TestSummaries(t *testing.T) {
	r := newRig(t)
	used := r.newKey(nil)
	must(r.Encrypt(background, alice, &EncryptRequest{KeyId: used.KeyId, Plaintext: []byte("x")}))(t)
	must(r.CreateAlias(background, alice, &CreateAliasRequest{AliasName: "alias/used", TargetKeyId: used.KeyId}))(t)
	look := func(when string, keys int) {
		t.Helper()
		all := must(r.Summaries(background, alice.AccountID, "", 0))(t)
		if len(all) != keys {
			t.Fatalf("%s: %d keys, want %d", when, len(all), keys)
		}
		found := false
		for i, k := range all {
			page := must(r.Summaries(background, alice.AccountID, k.ID, 1))(t)
			if i+1 < len(all) && (len(page) != 1 || page[0].ID != all[i+1].ID) || i+1 == len(all) && len(page) != 0 {
				t.Fatalf("%s: the page after key %d is %+v", when, i, page)
			}
			if k.ID != used.KeyId {
				if !k.LastUse.IsZero() {
					t.Errorf("%s: a key was used that was not: %+v", when, k)
				}
				continue
			}
			found = k.LastUseFor == "Encrypt" && !k.LastUse.IsZero() && fmt.Sprint(k.Aliases) == "[alias/used]" && k.ARN == used.Arn && k.State == "Enabled" && !k.Managed
		}
		if !found {
			t.Errorf("%s: the used key is missing, or not as it is", when)
		}
	}
	look("one", 1)
	for range usesAtOnce {
		r.newKey(nil)
	}
	look("many", usesAtOnce+1)
	r.Close()
	r.open()
	look("from the state", usesAtOnce+1)
}
