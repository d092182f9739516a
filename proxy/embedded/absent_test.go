package embedded

import (
	"strings"
	"testing"
)

// switches are the forms of a configuration that switch an absent feature off and on, and no form at all.
type switches struct {
	off       string // "" where no form does
	on, wrong []string
}

// TestAbsentFeatures walks every configuration that the store does not carry out. A form that switches it off is taken and
// shown, a form that switches it on is refused by the operation's name and changes nothing.
func TestAbsentFeatures(t *testing.T) {
	const ns = ` xmlns="http://s3.amazonaws.com/doc/2006-03-01/"`
	forms := map[string]switches{
		"notification": {"<NotificationConfiguration" + ns + "></NotificationConfiguration>", []string{
			"<NotificationConfiguration><TopicConfiguration><Topic>arn:aws:sns:us-east-1:000000000000:t</Topic><Event>s3:ObjectCreated:*</Event></TopicConfiguration></NotificationConfiguration>",
			"<NotificationConfiguration" + ns + "><QueueConfiguration/></NotificationConfiguration>",
			"<NotificationConfiguration><CloudFunctionConfiguration/></NotificationConfiguration>",
			"<NotificationConfiguration><EventBridgeConfiguration></EventBridgeConfiguration></NotificationConfiguration>"},
			[]string{"", "<BucketLoggingStatus/>", "<NotificationConfiguration>"}},
		"logging": {"<BucketLoggingStatus" + ns + "/>", []string{
			"<BucketLoggingStatus><LoggingEnabled><TargetBucket>bkt</TargetBucket><TargetPrefix>l/</TargetPrefix></LoggingEnabled></BucketLoggingStatus>"},
			[]string{"", "<NotificationConfiguration/>"}},
		"accelerate": {"<AccelerateConfiguration><Status>Suspended</Status></AccelerateConfiguration>",
			[]string{"<AccelerateConfiguration><Status>Enabled</Status></AccelerateConfiguration>"},
			[]string{"", "<AccelerateConfiguration><Status>enabled</Status></AccelerateConfiguration>", "<AccelerateConfiguration/>"}},
		"requestPayment": {"<RequestPaymentConfiguration><Payer>BucketOwner</Payer></RequestPaymentConfiguration>",
			[]string{"<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>"},
			[]string{"", "<RequestPaymentConfiguration><Payer>Nobody</Payer></RequestPaymentConfiguration>"}},
		"website":     {"", []string{"<WebsiteConfiguration><IndexDocument><Suffix>i</Suffix></IndexDocument></WebsiteConfiguration>"}, nil},
		"replication": {"", []string{"<ReplicationConfiguration/>"}, nil},
		"encryption":  {"", []string{"<ServerSideEncryptionConfiguration/>"}, nil},
	}
	onBoth(t, Config{}, func(k *kit) {
		k.want("200", "PUT", "bkt", "")
		walked := 0
		for _, d := range documents {
			form, absent := forms[d.sub]
			if !absent {
				continue
			}
			walked++
			before := k.ask("GET", "bkt?"+d.sub, "")
			if d.empty != "" && !strings.Contains(before.body, "<"+d.empty+" ") {
				k.t.Errorf("%s: %s, want %s", d.sub, before.body, d.empty)
			}
			for _, text := range form.on {
				r := k.want("NotImplemented", "PUT", "bkt?"+d.sub, text)
				if !strings.Contains(r.body, "Put"+d.noun) {
					k.t.Errorf("%s: %s does not name the operation", d.sub, r.body)
				}
			}
			for _, text := range form.wrong {
				k.want("MalformedXML", "PUT", "bkt?"+d.sub, text)
			}
			if after := k.ask("GET", "bkt?"+d.sub, ""); after.body != before.body {
				k.t.Errorf("%s: %s after refusals, %s before", d.sub, after.body, before.body)
			}
			if form.off == "" {
				continue
			}
			k.want("200", "PUT", "bkt?"+d.sub, form.off)
			if r := k.want("200", "GET", "bkt?"+d.sub, ""); r.body != form.off {
				k.t.Errorf("%s: %s, want %s", d.sub, r.body, form.off)
			}
		}
		if walked != len(forms) {
			k.t.Errorf("%d of %d configurations are documents of the store", walked, len(forms))
		}
	})
}

// TestAbsentCollections: of configurations with ids there are none, to list, to get, to delete or to make.
func TestAbsentCollections(t *testing.T) {
	onBoth(t, Config{}, func(k *kit) {
		k.want("NoSuchBucket", "GET", "bkt?analytics", "")
		k.want("200", "PUT", "bkt", "")
		for _, c := range collections {
			if r := k.want("200", "GET", "bkt?"+c.sub, ""); !strings.Contains(r.body, "<"+c.root) || !strings.Contains(r.body, "<IsTruncated>false</IsTruncated>") {
				k.t.Errorf("%s: %s", c.sub, r.body)
			}
			k.want("NoSuchConfiguration", "GET", "bkt?"+c.sub+"&id=one", "")
			k.want("NoSuchConfiguration", "DELETE", "bkt?"+c.sub+"&id=one", "")
			if r := k.want("NotImplemented", "PUT", "bkt?"+c.sub+"&id=one", "<Any/>"); !strings.Contains(r.body, "Put"+c.noun) {
				k.t.Errorf("%s: %s", c.sub, r.body)
			}
		}
	})
}
