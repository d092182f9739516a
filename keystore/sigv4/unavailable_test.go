package sigv4

import (
	"errors"
	"testing"

	"waxseal/keystore/iam"
)

// TestLookupUnavailable: an access key that cannot be looked up now is no unknown one, which a client takes for final.
func TestLookupUnavailable(t *testing.T) {
	for _, service := range []string{"s3", "kms", "iam", "sts"} {
		for failed, want := range map[error]int{iam.ErrUnavailable: 503, iam.ErrUnknownKey: 400} {
			v := &Verifier{Service: service, Lookup: func(string, string) (iam.Credential, error) { return iam.Credential{}, failed }}
			if service == "s3" && want == 400 {
				want = 403
			}
			_, _, err := v.credential("AKIA", "")
			var e *Error
			if !errors.As(err, &e) || e.Status != want {
				t.Errorf("%s: %v becomes %v, want status %d", service, failed, err, want)
			}
		}
	}
}
