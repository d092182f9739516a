// Package audit keeps the record of every use of a key: records in the shape of AWS CloudTrail
// (https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html), written
// durably before the use is answered, readable with [Read], and delivered in CloudTrail's own files by [Deliverer]. A
// record never holds key material; the maker of a record answers for the content of its parameters.
package audit

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
)

// Record is an event. Its fields are in CloudTrail's order.
type Record struct {
	EventVersion        string         `json:"eventVersion"`
	UserIdentity        UserIdentity   `json:"userIdentity"`
	EventTime           Time           `json:"eventTime"`
	EventSource         string         `json:"eventSource"` // "kms.amazonaws.com"
	EventName           string         `json:"eventName"`   // "Decrypt"
	AWSRegion           string         `json:"awsRegion"`
	SourceIPAddress     string         `json:"sourceIPAddress"`
	UserAgent           string         `json:"userAgent"`
	ErrorCode           string         `json:"errorCode,omitempty"`
	ErrorMessage        string         `json:"errorMessage,omitempty"`
	RequestParameters   map[string]any `json:"requestParameters"` // nil is null
	ResponseElements    map[string]any `json:"responseElements"`  // nil is null
	AdditionalEventData map[string]any `json:"additionalEventData,omitempty"`
	RequestID           string         `json:"requestID"`
	EventID             string         `json:"eventID"`
	ReadOnly            bool           `json:"readOnly"`
	Resources           []Resource     `json:"resources,omitempty"`
	EventType           string         `json:"eventType"` // "AwsApiCall"
	ManagementEvent     bool           `json:"managementEvent"`
	RecipientAccountID  string         `json:"recipientAccountId"`
	SharedEventID       string         `json:"sharedEventID,omitempty"`
	EventCategory       string         `json:"eventCategory"` // "Management"
	TLSDetails          *TLSDetails    `json:"tlsDetails,omitempty"`
}

// UserIdentity identifies the requester.
type UserIdentity struct {
	Type           string          `json:"type"` // "IAMUser", "Root", "Role", "AssumedRole", "FederatedUser", "AWSService", "AWSAccount"
	PrincipalID    string          `json:"principalId,omitempty"`
	ARN            string          `json:"arn,omitempty"`
	AccountID      string          `json:"accountId,omitempty"`
	AccessKeyID    string          `json:"accessKeyId,omitempty"`
	UserName       string          `json:"userName,omitempty"`
	SessionContext *SessionContext `json:"sessionContext,omitempty"`
	// IdentityProvider is the issuer of a WebIdentityUser's token.
	IdentityProvider string `json:"identityProvider,omitempty"`
	InvokedBy        string `json:"invokedBy,omitempty"` // "AWS Internal" for a request made by S3 for a user
}

// SessionContext describes temporary credentials.
type SessionContext struct {
	SessionIssuer       map[string]any `json:"sessionIssuer,omitempty"`
	WebIDFederationData map[string]any `json:"webIdFederationData,omitempty"`
	Attributes          map[string]any `json:"attributes,omitempty"`
}

// Resource is a resource of the request, such as a key.
type Resource struct {
	AccountID string `json:"accountId,omitempty"`
	Type      string `json:"type,omitempty"` // "AWS::KMS::Key"
	ARN       string `json:"ARN,omitempty"`
}

// TLSDetails describes the TLS connection of a request.
type TLSDetails struct {
	TLSVersion               string `json:"tlsVersion,omitempty"`
	CipherSuite              string `json:"cipherSuite,omitempty"`
	ClientProvidedHostHeader string `json:"clientProvidedHostHeader,omitempty"`
}

// From sets the origin of a request.
func (r *Record) From(address, agent string, t TLSDetails) {
	r.SourceIPAddress, r.UserAgent = address, agent
	if t.TLSVersion != "" {
		r.TLSDetails = &t
	}
}

// Values of fields shared by most records.
const (
	EventVersion  = "1.11"
	APICall       = "AwsApiCall"
	OperatorEvent = "OperatorEvent"
	OSUser        = "OperatingSystemUser" // the type of an operator's identity
	ServiceEvent  = "AwsServiceEvent"     // an act of the service itself: RotateKey, DeleteKey
	Management    = "Management"
	Data          = "Data"
	KMSSource     = "kms.amazonaws.com"
	OwnSource     = "waxseal" // an operator's act on a waxseal
	S3Source      = "s3.amazonaws.com"
	Internal      = "AWS Internal"
	KMSKey        = "AWS::KMS::Key"
)

// Time is an instant, in JSON in UTC and whole seconds as in CloudTrail.
type Time struct{ time.Time }

// At returns t as a Time.
func At(t time.Time) Time { return Time{t} }

const timeFormat = "2006-01-02T15:04:05Z"

// MarshalJSON writes the time.
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(t.UTC().Format(`"` + timeFormat + `"`)), nil
}

// UnmarshalJSON reads the time.
func (t *Time) UnmarshalJSON(b []byte) error {
	text, err := strconv.Unquote(string(b))
	if err != nil {
		return fmt.Errorf("audit: eventTime %s: %w", b, err)
	}
	t.Time, err = time.Parse(time.RFC3339, text)
	return err
}

// NewID returns a fresh UUID, for EventID and RequestID.
func NewID() string {
	var b [16]byte
	rand.Read(b[:]) //nolint:errcheck // crypto/rand.Read never returns an error
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	var out [36]byte
	hex.Encode(out[0:8], b[0:4])
	hex.Encode(out[9:13], b[4:6])
	hex.Encode(out[14:18], b[6:8])
	hex.Encode(out[19:23], b[8:10])
	hex.Encode(out[24:36], b[10:16])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
}

// Complete fills empty fields that have a usual value: version, time, ids, type, category.
func (r *Record) Complete(now time.Time) {
	setDefault(&r.EventVersion, EventVersion)
	setDefault(&r.EventType, APICall)
	setDefault(&r.EventCategory, Management)
	setDefault(&r.RecipientAccountID, r.UserIdentity.AccountID)
	if r.EventTime.IsZero() {
		r.EventTime = At(now)
	}
	if r.EventID == "" {
		r.EventID = NewID()
	}
	if r.RequestID == "" {
		r.RequestID = NewID()
	}
}

func setDefault(field *string, value string) {
	if *field == "" {
		*field = value
	}
}
