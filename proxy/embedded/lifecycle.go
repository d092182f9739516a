package embedded

import (
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"waxseal/proxy/s3"
)

// checkLifecycle holds the rules to S3's, and refuses by name what would not be carried out: transitions, and conditions
// on sizes, because the sizes that the store knows are not those that a client means.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLifecycleConfiguration.html
func checkLifecycle(_ *bucket, text []byte) error {
	var c s3.LifecycleConfiguration
	if err := decodeDocument(text, &c); err != nil {
		return err
	}
	if len(c.Rules) == 0 || len(c.Rules) > 1000 {
		return s3.NewError(s3.MalformedXML)
	}
	seen := map[string]bool{}
	for i := range c.Rules {
		r := &c.Rules[i]
		if len(r.ID) > 255 || r.ID != "" && seen[r.ID] {
			return s3.InvalidArgument("ID", r.ID, "Rule ID must be unique and at most 255 characters long. Found same ID for more than one rule")
		}
		seen[r.ID] = true
		if err := checkRule(r); err != nil {
			return err
		}
	}
	return nil
}

// withRuleIDs gives the rules without an ID one, as S3 does. A document whose rules all have theirs stays as it came.
func withRuleIDs(text []byte) ([]byte, error) {
	var c s3.LifecycleConfiguration
	if err := decodeDocument(text, &c); err != nil {
		return nil, err
	}
	complete := true
	for i := range c.Rules {
		if c.Rules[i].ID == "" {
			c.Rules[i].ID, complete = rand.Text(), false
		}
	}
	if complete {
		return text, nil
	}
	return s3.Encode(&c)
}

// conditionsOf counts the conditions of a filter. S3 takes several of them below And only.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_LifecycleRuleFilter.html
func conditionsOf(f *s3.LifecycleFilter) (n int) {
	for _, there := range []bool{f.Prefix != nil, f.Tag != nil, f.ObjectSizeGreaterThan != nil, f.ObjectSizeLessThan != nil, f.And != nil} {
		if there {
			n++
		}
	}
	return n
}

func checkRule(r *s3.LifecycleRule) error {
	switch {
	case r.Status != "Enabled" && r.Status != "Disabled", (r.Prefix == nil) == (r.Filter == nil), r.Filter != nil && conditionsOf(r.Filter) > 1:
		return s3.NewError(s3.MalformedXML)
	case len(r.Transitions) > 0 || len(r.NoncurrentVersionTransitions) > 0:
		return s3.Errorf(s3.NotImplemented, "transitions between storage classes")
	case r.Expiration == nil && r.NoncurrentVersionExpiration == nil && r.AbortIncompleteMultipartUpload == nil:
		return s3.Errorf(s3.InvalidRequest, "At least one action needs to be specified in a rule")
	}
	f := filterOf(r)
	if f.sizes {
		return s3.Errorf(s3.NotImplemented, "a condition on sizes: the store sees sealed objects, whose sizes are others")
	}
	if err := validTags(f.tags, s3.MaxTagsPerObject); err != nil {
		return err
	}
	if a := r.AbortIncompleteMultipartUpload; a != nil {
		if len(f.tags) > 0 {
			return s3.Errorf(s3.InvalidRequest, "AbortIncompleteMultipartUpload cannot be specified with Tags")
		}
		if !positive(a.DaysAfterInitiation) {
			return s3.InvalidArgument("DaysAfterInitiation", "", "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a positive integer")
		}
	}
	if err := checkNoncurrent(r.NoncurrentVersionExpiration); err != nil {
		return err
	}
	return checkExpiration(r.Expiration, f)
}

// maxNewerVersions is how many noncurrent versions S3 can be told to leave.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_NoncurrentVersionExpiration.html
const maxNewerVersions = 100

func checkNoncurrent(e *s3.NoncurrentVersionExpiration) error {
	switch {
	case e == nil:
		return nil
	case !positive(e.NoncurrentDays):
		return s3.InvalidArgument("NoncurrentDays", "", "'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive integer")
	case e.NewerNoncurrentVersions != nil && (!positive(e.NewerNoncurrentVersions) || *e.NewerNoncurrentVersions > maxNewerVersions):
		return s3.InvalidArgument("NewerNoncurrentVersions", "", "'NewerNoncurrentVersions' for NoncurrentVersionExpiration action must be an integer between 1 and 100")
	}
	return nil
}

func positive(n *int) bool { return n != nil && *n > 0 }

func checkExpiration(e *s3.LifecycleExpiration, f ruleFilter) error {
	if e == nil {
		return nil
	}
	named := 0
	if e.Days != nil {
		named++
		if *e.Days <= 0 {
			return s3.InvalidArgument("Days", "", "'Days' for Expiration action must be a positive integer")
		}
	}
	if e.Date != "" {
		named++
		at, err := time.Parse(time.RFC3339, e.Date)
		if err != nil || !at.UTC().Equal(at.UTC().Truncate(24*time.Hour)) {
			return s3.InvalidArgument("Date", e.Date, "'Date' must be at midnight GMT")
		}
	}
	if e.ExpiredObjectDeleteMarker != nil {
		named++
		if len(f.tags) > 0 {
			return s3.Errorf(s3.InvalidRequest, "ExpiredObjectDeleteMarker cannot be specified with Tags")
		}
	}
	if named != 1 {
		return s3.NewError(s3.MalformedXML)
	}
	return nil
}

// ruleFilter is what a rule is about.
type ruleFilter struct {
	prefix string
	tags   []s3.Tag
	sizes  bool
}

func filterOf(r *s3.LifecycleRule) (f ruleFilter) {
	prefix := func(p *string) {
		if p != nil {
			f.prefix = *p
		}
	}
	prefix(r.Prefix)
	if r.Filter == nil {
		return f
	}
	prefix(r.Filter.Prefix)
	if r.Filter.Tag != nil {
		f.tags = []s3.Tag{*r.Filter.Tag}
	}
	f.sizes = r.Filter.ObjectSizeGreaterThan != nil || r.Filter.ObjectSizeLessThan != nil
	if and := r.Filter.And; and != nil {
		prefix(and.Prefix)
		f.tags = and.Tags
		f.sizes = f.sizes || and.ObjectSizeGreaterThan != nil || and.ObjectSizeLessThan != nil
	}
	return f
}

// covers reports whether a rule is about an object.
func (f ruleFilter) covers(key string, o *object) bool {
	if !strings.HasPrefix(key, f.prefix) {
		return false
	}
	for _, t := range f.tags {
		if !slices.Contains(o.tags, t) {
			return false
		}
	}
	return true
}

// endOf is the midnight after some days: S3 rounds up.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html
func endOf(since time.Time, days int) time.Time {
	at := since.UTC().AddDate(0, 0, days)
	if midnight := at.Truncate(24 * time.Hour); midnight.Equal(at) {
		return midnight
	}
	return at.Truncate(24 * time.Hour).Add(24 * time.Hour)
}

// expires says when a rule ends a current object.
func expires(e *s3.LifecycleExpiration, o *object) (time.Time, bool) {
	switch {
	case e == nil:
	case e.Days != nil:
		return endOf(o.time(), *e.Days), true
	case e.Date != "":
		at, err := time.Parse(time.RFC3339, e.Date)
		return at.UTC(), err == nil
	}
	return time.Time{}, false
}

// expiration is the value of x-amz-expiration: when an object ends, and by which rule.
func (b *bucket) expiration(key string, o *object) string {
	if b.rules.lifecycle == nil {
		return ""
	}
	at, id := b.expiresBy(key, o)
	if at.IsZero() {
		return ""
	}
	return `expiry-date="` + s3.FormatHTTPTime(at) + `", rule-id="` + id + `"`
}

// expiresBy finds the rule that ends a current object first.
func (b *bucket) expiresBy(key string, o *object) (first time.Time, id string) {
	for i := range b.rules.lifecycle.Rules {
		r := &b.rules.lifecycle.Rules[i]
		if r.Status != "Enabled" || !filterOf(r).covers(key, o) {
			continue
		}
		if at, ok := expires(r.Expiration, o); ok && (first.IsZero() || at.Before(first)) {
			first, id = at, r.ID
		}
	}
	return first, id
}
