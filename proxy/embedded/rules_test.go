package embedded

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// TestConfigurationRules puts configurations that S3 refuses beside similar ones that it takes.
func TestConfigurationRules(t *testing.T) {
	rule := func(inner string) string {
		return "<LifecycleConfiguration><Rule><ID>a</ID><Status>Enabled</Status>" + inner + "</Rule></LifecycleConfiguration>"
	}
	filter := func(inner string) string {
		return rule("<Filter>" + inner + "</Filter><Expiration><Days>1</Days></Expiration>")
	}
	newer := func(n string) string {
		return rule("<Filter/><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>" + n + "</NewerNoncurrentVersions></NoncurrentVersionExpiration>")
	}
	cors := func(inner string) string {
		return "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin>" + inner + "</CORSRule></CORSConfiguration>"
	}
	const prefix, tag, size = "<Prefix>a</Prefix>", "<Tag><Key>k</Key><Value>v</Value></Tag>", "<ObjectSizeGreaterThan>1</ObjectSizeGreaterThan>"
	onBoth(t, Config{}, func(k *kit) {
		k.want("200", "PUT", "bkt", "")
		for _, c := range []struct{ sub, want, text string }{
			{"lifecycle", "200", filter("")},
			{"lifecycle", "200", filter(prefix)},
			{"lifecycle", "200", filter(tag)},
			{"lifecycle", "200", filter("<And>" + prefix + tag + "</And>")},
			{"lifecycle", "MalformedXML", filter(prefix + tag)},
			{"lifecycle", "MalformedXML", filter(prefix + size)},
			{"lifecycle", "MalformedXML", filter(tag + size)},
			{"lifecycle", "MalformedXML", filter(prefix + "<And>" + prefix + tag + "</And>")},
			{"lifecycle", "200", newer("1")},
			{"lifecycle", "200", newer("100")},
			{"lifecycle", "InvalidArgument", newer("0")},
			{"lifecycle", "InvalidArgument", newer("101")},
			{"lifecycle", "InvalidArgument", newer("-1")},
			{"cors", "200", cors("<ExposeHeader>x-amz-request-id</ExposeHeader>")},
			{"cors", "200", cors("<AllowedHeader>x-*</AllowedHeader>")},
			{"cors", "InvalidRequest", cors("<ExposeHeader>*</ExposeHeader>")},
			{"cors", "InvalidRequest", cors("<ExposeHeader>x-amz-*</ExposeHeader>")},
		} {
			if r := k.ask("PUT", "bkt?"+c.sub, c.text); fmt.Sprint(r.status) != c.want && r.code() != c.want {
				t.Errorf("%s: %d %s, want %s", c.text, r.status, r.body, c.want)
			}
		}
	})
}

// TestReservedNames makes buckets with names that S3 keeps for itself, and with names that only resemble them.
func TestReservedNames(t *testing.T) {
	onBoth(t, Config{}, func(k *kit) {
		for name, want := range map[string]string{
			"xn--a": "400", "sthree-a": "400", "sthree-configurator": "400", "amzn-s3-demo-bucket": "400",
			"a-s3alias": "400", "a--ol-s3": "400", "a.mrap": "400", "a--x-s3": "400", "a--table-s3": "400",
			"xn-a": "200", "sthree": "200", "amzn-s3-demo": "200", "a-xn--a": "200", "s3alias": "200", "a-ol-s3": "200", "mrap": "200", "a-x-s3": "200",
		} {
			k.want(want, "PUT", name, "")
		}
	})
}

// TestNumbersOfListings asks every listing for sizes of a page on both sides of S3's limits.
func TestNumbersOfListings(t *testing.T) {
	onBoth(t, Config{}, func(k *kit) {
		k.want("200", "PUT", "bkt", "")
		id, _ := k.upload("bkt/key", "part")
		for listing, name := range map[string]string{
			"bkt?": "max-keys", "bkt?list-type=2&": "max-keys", "bkt?versions&": "max-keys", "bkt?uploads&": "max-uploads", "bkt/key?uploadId=" + id + "&": "max-parts",
		} {
			for number, want := range map[string]string{
				"0": "200", "1": "200", "1001": "200", "2147483647": "200",
				"2147483648": "InvalidArgument", "-1": "InvalidArgument", "1.5": "InvalidArgument", "x": "InvalidArgument", "99999999999999999999": "InvalidArgument",
			} {
				k.want(want, "GET", listing+name+"="+number, "")
			}
		}
	})
}

// TestVersionedActions gives everybody a single permission by a policy, and asks for the newest and for a named version. Of
// S3's permissions to one object, only these are divided by whether a version is named.
func TestVersionedActions(t *testing.T) {
	onBoth(t, Config{}, func(k *kit) {
		k.want("200", "PUT", "bkt", "", "X-Amz-Bucket-Object-Lock-Enabled: true")
		until := "X-Amz-Object-Lock-Retain-Until-Date: 2030-01-01T00:00:00Z"
		id := k.want("200", "PUT", "bkt/key", "x", "X-Amz-Object-Lock-Mode: GOVERNANCE", until, "X-Amz-Object-Lock-Legal-Hold: ON", "X-Amz-Tagging: k=v").header.Get("X-Amz-Version-Id")
		for _, c := range []struct{ query, newest, named string }{
			{"", "s3:GetObject", "s3:GetObjectVersion"},
			{"acl", "s3:GetObjectAcl", "s3:GetObjectVersionAcl"},
			{"tagging", "s3:GetObjectTagging", "s3:GetObjectVersionTagging"},
			{"retention", "s3:GetObjectRetention", "s3:GetObjectRetention"},
			{"legal-hold", "s3:GetObjectLegalHold", "s3:GetObjectLegalHold"},
		} {
			for _, given := range []string{c.newest, c.named} {
				k.want("204", "PUT", "bkt?policy", fmt.Sprintf(`{"Statement":[{"Effect":"Allow","Principal":"*","Action":%q,"Resource":"arn:aws:s3:::bkt/*"}]}`, given))
				for query, needed := range map[string]string{c.query: c.newest, strings.TrimPrefix(c.query+"&versionId="+id, "&"): c.named} {
					want := 403
					if given == needed {
						want = 200
					}
					if r := k.send(AsAnonymous(context.Background(), nil), "GET", "bkt", "key", query, ""); r.status != want {
						t.Errorf("with %s, GET ?%s is %d, want %d: %s", given, query, r.status, want, r.body)
					}
				}
			}
		}
	})
}
