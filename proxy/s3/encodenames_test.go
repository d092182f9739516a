package s3

import "testing"

func TestAppendEncoded(t *testing.T) {
	for src, want := range map[string]string{
		`<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>a +</Prefix>` +
			`<EncodingType></EncodingType><StartAfter/><Contents><Key>a +/&#x1;&amp;</Key><Size>7</Size></Contents>` +
			`<CommonPrefixes><Prefix>ü/</Prefix></CommonPrefixes><NextContinuationToken>a b</NextContinuationToken></ListBucketResult>`: `<?xml version="1.0" encoding="UTF-8"?>` +
			`<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>a+%2B</Prefix><StartAfter></StartAfter>` +
			`<Contents><Key>a+%2B/%01%26</Key><Size>8</Size></Contents><CommonPrefixes><Prefix>%C3%BC/</Prefix></CommonPrefixes>` +
			`<NextContinuationToken>a b</NextContinuationToken><EncodingType>url</EncodingType></ListBucketResult>`,
		`<ListVersionsResult><KeyMarker>%</KeyMarker><Version><Key>%</Key><Size>7</Size></Version><DeleteMarker><Key>~</Key></DeleteMarker></ListVersionsResult>`: `<ListVersionsResult>` +
			`<KeyMarker>%25</KeyMarker><Version><Key>%25</Key><Size>8</Size></Version><DeleteMarker><Key>~</Key></DeleteMarker><EncodingType>url</EncodingType></ListVersionsResult>`,
		`<ListBucketResult></ListBucketResult>`: `<ListBucketResult><EncodingType>url</EncodingType></ListBucketResult>`,
	} {
		l, err := ParseListing([]byte(src))
		if err != nil || l.Encoded() {
			t.Fatal(err)
		}
		for i := range l.Entries {
			if l.Entries[i].Kind != KindDeleteMarker {
				l.Entries[i].Size++
			}
		}
		got := string(l.AppendEncoded(nil))
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		if again, err := ParseListing([]byte(got)); err != nil || len(again.Entries) != len(l.Entries) {
			t.Errorf("%+v %v", again, err)
		} else if len(l.Entries) > 0 && again.Entries[0].Key != l.Entries[0].Key {
			t.Errorf("key %q became %q", l.Entries[0].Key, again.Entries[0].Key)
		}
	}
}
