package embedded

import (
	"bytes"
	"encoding/xml"

	"waxseal/proxy/s3"
)

// Configurations of features that the store does not have: a document that switches the feature off is kept, a document
// that switches it on is refused. For example, an empty NotificationConfiguration is taken, as
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketNotificationConfiguration.html has it.

// refuseConfiguration refuses a document of which no form switches the feature off.
func refuseConfiguration(*bucket, []byte) error {
	return s3.Errorf(s3.NotImplemented, "it would be kept and not carried out")
}

// onlyEmpty takes the document that has nothing in its root. Any element below the root would switch something on.
func onlyEmpty(root string) func(*bucket, []byte) error {
	return func(b *bucket, text []byte) error {
		var c struct {
			XMLName  xml.Name
			Elements []struct{} `xml:",any"`
		}
		if err := s3.DecodeReply(bytes.NewReader(text), maxDocument, &c); err != nil {
			return err
		}
		if c.XMLName.Local != root {
			return s3.NewError(s3.MalformedXML)
		}
		if len(c.Elements) > 0 {
			return refuseConfiguration(b, text)
		}
		return nil
	}
}

func checkAcceleration(b *bucket, text []byte) error {
	var c s3.AccelerateConfiguration
	if err := decodeDocument(text, &c); err != nil {
		return err
	}
	switch c.Status {
	case "Suspended":
		return nil
	case "Enabled":
		return refuseConfiguration(b, text)
	}
	return s3.NewError(s3.MalformedXML)
}

func checkRequestPayment(b *bucket, text []byte) error {
	var c s3.RequestPaymentConfiguration
	if err := decodeDocument(text, &c); err != nil {
		return err
	}
	switch c.Payer {
	case "BucketOwner":
		return nil
	case "Requester":
		return refuseConfiguration(b, text)
	}
	return s3.NewError(s3.MalformedXML)
}

// collection is a kind of configuration of which a bucket has many, each with an id. The store has none of them.
type collection struct {
	sub, noun string
	actions   [2]string // to get and to change
	root      string    // of the list
}

var collections = []collection{
	{"analytics", "BucketAnalyticsConfiguration", [2]string{"s3:GetAnalyticsConfiguration", "s3:PutAnalyticsConfiguration"}, "ListBucketAnalyticsConfigurationResult"},
	{"inventory", "BucketInventoryConfiguration", [2]string{"s3:GetInventoryConfiguration", "s3:PutInventoryConfiguration"}, "ListInventoryConfigurationsResult"},
	{"metrics", "BucketMetricsConfiguration", [2]string{"s3:GetMetricsConfiguration", "s3:PutMetricsConfiguration"}, "ListMetricsConfigurationsResult"},
	{"intelligent-tiering", "BucketIntelligentTieringConfiguration", [2]string{"s3:GetIntelligentTieringConfiguration", "s3:PutIntelligentTieringConfiguration"},
		"ListBucketIntelligentTieringConfigurationsOutput"},
}

func addCollections() {
	for _, c := range collections {
		operations["Get"+c.noun] = op{c.actions[0], onBucket, none, c.get}
		operations["Put"+c.noun] = op{c.actions[1], onBucket, none, c.put}
		operations["Delete"+c.noun] = op{c.actions[1], onBucket, none, c.delete}
	}
}

func (c collection) get(s *Store, q *request) (*response, error) {
	if q.query.Has("id") {
		return c.delete(s, q)
	}
	if _, err := s.bucketOf(q); err != nil {
		return nil, err
	}
	return answerXMLAs(c.root, s3.EmptyList{})
}

func (c collection) put(s *Store, q *request) (*response, error) {
	if _, err := s.bucketOf(q); err != nil {
		return nil, err
	}
	return nil, s3.Errorf(s3.NotImplemented, "The embedded store does not support Put%s: it would be kept and not carried out", c.noun)
}

// delete refuses to delete a configuration that cannot be there.
func (c collection) delete(s *Store, q *request) (*response, error) {
	if _, err := s.bucketOf(q); err != nil {
		return nil, err
	}
	return nil, s3.NewError(s3.NoSuchConfiguration)
}
