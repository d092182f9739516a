package embedded

import (
	"net/http"
	"time"

	"waxseal/proxy/s3"
)

const (
	headerLockMode    = "X-Amz-Object-Lock-Mode"
	headerLockUntil   = "X-Amz-Object-Lock-Retain-Until-Date"
	headerLockHold    = "X-Amz-Object-Lock-Legal-Hold"
	headerLockEnabled = "X-Amz-Bucket-Object-Lock-Enabled"

	governance = "GOVERNANCE"
	compliance = "COMPLIANCE"
)

// lockFromHeaders reads the lock that a write asks for.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
func (s *Store) lockFromHeaders(h http.Header, o *object) error {
	mode, until := h.Get(headerLockMode), h.Get(headerLockUntil)
	if (mode == "") != (until == "") {
		return s3.InvalidArgument("x-amz-object-lock-mode", mode, "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied")
	}
	if mode != "" {
		if mode != governance && mode != compliance {
			return s3.InvalidArgument("x-amz-object-lock-mode", mode, "Unknown wormMode directive.")
		}
		at, err := s.future(until)
		if err != nil {
			return err
		}
		o.mode, o.until = mode, at
	}
	switch hold := h.Get(headerLockHold); hold {
	case "":
	case "ON", "OFF":
		o.setHold(hold)
	default:
		return s3.InvalidArgument("x-amz-object-lock-legal-hold", hold, "Legal Hold must be either of 'ON' or 'OFF'")
	}
	return nil
}

func (o *object) setHold(status string) { o.hold, o.released = status == "ON", status == "OFF" }

// holdStatus is ON or OFF, or "" where nobody has set a legal hold.
func (o *object) holdStatus() string {
	switch {
	case o.hold:
		return "ON"
	case o.released:
		return "OFF"
	}
	return ""
}

// future reads a date that has not passed.
func (s *Store) future(text string) (int64, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, s3.InvalidArgument("x-amz-object-lock-retain-until-date", text, "The retain until date must be provided in ISO 8601 format")
	}
	if !at.After(s.now()) {
		return 0, s3.InvalidArgument("x-amz-object-lock-retain-until-date", text, "The retain until date must be in the future!")
	}
	return at.UnixMilli(), nil
}

// lockable refuses a lock where the bucket has none.
func (b *bucket) lockable(o *object) error {
	if (o.mode != "" || o.hold) && !b.Lock {
		return s3.Errorf(s3.InvalidRequest, "Bucket is missing Object Lock Configuration")
	}
	return nil
}

// defaultRetention gives a new object the bucket's retention, if it has no other.
func (b *bucket) defaultRetention(o *object, now time.Time) {
	r := b.rules.retention
	if r == nil || o.mode != "" || r.Mode == "" {
		return
	}
	o.mode = r.Mode
	switch {
	case r.Days != nil:
		o.until = now.AddDate(0, 0, *r.Days).UnixMilli()
	case r.Years != nil:
		o.until = now.AddDate(*r.Years, 0, 0).UnixMilli()
	}
}

// retained reports whether a version's retention has not ended.
func (o *object) retained(now time.Time) bool { return o.mode != "" && now.UnixMilli() < o.until }

// deletable refuses to delete a version that is locked.
func (o *object) deletable(now time.Time, bypass bool) error {
	if o.hold || o.retained(now) && !(o.mode == governance && bypass) {
		return s3.Errorf(s3.AccessDenied, "Access Denied because object protected by object lock.")
	}
	return nil
}

func (r *response) showLock(o *object) {
	if o.mode != "" {
		r.set(headerLockMode, o.mode).set(headerLockUntil, s3.FormatTime(time.UnixMilli(o.until)))
	}
	r.set(headerLockHold, o.holdStatus())
}

func errNoLock(q *request) error {
	return s3.NewError(s3.NoSuchObjectLockConfiguration).With("Key", q.key)
}

func (s *Store) getRetention(q *request) (*response, error) {
	b, o, err := s.versionOf(q)
	switch {
	case err != nil:
		return nil, err
	case !b.Lock:
		return nil, s3.Errorf(s3.InvalidRequest, "Bucket is missing Object Lock Configuration")
	case o.mode == "":
		return nil, errNoLock(q)
	}
	return answerXML(&s3.Retention{Mode: o.mode, RetainUntilDate: s3.FormatTime(time.UnixMilli(o.until))})
}

func (s *Store) putRetention(q *request) (*response, error) {
	document, err := s.document(q)
	if err != nil {
		return nil, err
	}
	var r s3.Retention
	if err := q.decode(document, &r); err != nil {
		return nil, err
	}
	var until int64
	switch {
	case r.Mode == "" && r.RetainUntilDate == "": // taken off
	case r.Mode != governance && r.Mode != compliance || r.RetainUntilDate == "":
		return nil, s3.NewError(s3.MalformedXML)
	default:
		if until, err = s.future(r.RetainUntilDate); err != nil {
			return nil, err
		}
	}
	bypass := q.header.Get(s3.HeaderBypassRetention) == "true"
	return s.changeObject(q, http.StatusOK, func(b *bucket, o *object) error {
		if !b.Lock {
			return s3.Errorf(s3.InvalidRequest, "Bucket is missing Object Lock Configuration")
		}
		if err := o.weakens(r.Mode, until, s.now(), bypass); err != nil {
			return err
		}
		o.mode, o.until = r.Mode, until
		return nil
	})
}

// weakens refuses to shorten a retention and to change its mode: compliance never, governance without the bypass. A longer
// retention of the same mode is anybody's who may set one.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html#object-lock-retention-modes
func (o *object) weakens(mode string, until int64, now time.Time, bypass bool) error {
	if !o.retained(now) || o.mode == governance && bypass {
		return nil
	}
	if until < o.until || o.mode != mode {
		return s3.Errorf(s3.AccessDenied, "Access Denied because object protected by object lock.")
	}
	return nil
}

func (s *Store) getLegalHold(q *request) (*response, error) {
	b, o, err := s.versionOf(q)
	if err != nil {
		return nil, err
	}
	if !b.Lock {
		return nil, s3.Errorf(s3.InvalidRequest, "Bucket is missing Object Lock Configuration")
	}
	if o.holdStatus() == "" {
		return nil, errNoLock(q)
	}
	return answerXML(&s3.LegalHold{Status: o.holdStatus()})
}

func (s *Store) putLegalHold(q *request) (*response, error) {
	document, err := s.document(q)
	if err != nil {
		return nil, err
	}
	var h s3.LegalHold
	if err := q.decode(document, &h); err != nil {
		return nil, err
	}
	if h.Status != "ON" && h.Status != "OFF" {
		return nil, s3.NewError(s3.MalformedXML)
	}
	return s.changeObject(q, http.StatusOK, func(b *bucket, o *object) error {
		if !b.Lock {
			return s3.Errorf(s3.InvalidRequest, "Bucket is missing Object Lock Configuration")
		}
		o.setHold(h.Status)
		return nil
	})
}
