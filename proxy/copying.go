package proxy

import (
	"net/http"
	"strings"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/sse"
)

// copying is an object on its way to another name, another mode or another key.
//
// Where both modes seal in the same number of layers, nothing but the data key is wrapped anew, and the store copies
// the ciphertext itself. Source and copy then share a data key: the threat model says what that means.
type copying struct {
	*call
	source   *objects.Object
	from     *objects.Opened      // the source with its keys, once they were needed
	customer *objects.CustomerKey // of an SSE-C source
	version  string               // of the source, where the request names one
	past     bool                 // the request names a version that is not the current one
	to       objects.Place
	enc      *objects.Encryption
	header   http.Header // of the copy, without its envelope
	keepETag bool        // UpdateObjectEncryption and the operator's rewrap: the copy shows the source's ETag
	tags     tagCopy

	// What the copy came to.
	env      *sse.Envelope
	facts    *sse.Facts
	shown    string // its ETag; empty: the store's
	resp     http.Header
	storeTag string
	modified string
}

// tagCopy says where the copy's tags come from.
type tagCopy uint8

// nameVersion takes down which version the request names. A copy in place of another version than the current one
// replaces what it has not read; of the current one, by whichever name, it must not lose a write that comes between.
func (p *copying) nameVersion(version string) error {
	if version == "" {
		return nil
	}
	named := p.source.Version
	p.version, p.source.Version = version, version
	if !p.inPlace() || named == "" {
		return nil // a store that names no version of the object has but the current one
	}
	now, err := p.LookupBy(p.ReadRequest(p.to, "", ""), p.to, sse.TailSize)
	if err != nil && !isNotFound(err) {
		return err
	}
	p.past = err != nil || now.Version != named && !(named == "null" && now.Version == "")
	return nil
}

// replaces says whether what the copy overwrites is what it was made of.
func (p *copying) replaces() bool { return p.inPlace() && !p.past }

func (p *copying) checkSize(size int64) error {
	if size > maxPut {
		return s3.Errorf(s3.InvalidRequest, "The specified copy source is larger than the maximum allowable size for a copy source: %d", int64(maxPut))
	}
	return nil
}

func (p *copying) inPlace() bool { return p.source.Place == p.to }

func (p *copying) replacesMetadata() bool {
	return strings.EqualFold(p.call.header("x-amz-metadata-directive"), "REPLACE")
}

func (p *copying) conditional() bool {
	return p.header.Get("If-Match") != "" || p.header.Get("If-None-Match") != ""
}

// pin is the store's name of exactly the source that was looked at.
func (p *copying) pin(h http.Header) {
	src := s3.CopySource{Bucket: p.source.Place.Bucket, Key: p.source.Place.Key, VersionID: p.version}
	h.Set("X-Amz-Copy-Source", src.String())
	h.Set("X-Amz-Copy-Source-If-Match", s3.Quote(p.source.ETag))
	if v := p.call.header(s3.HeaderSourceExpectedOwner); v != "" {
		h.Set(s3.HeaderSourceExpectedOwner, v)
	}
}

// targetChanged tells what a write's condition on its target means: in place it is the pin of what was copied, which
// was written meanwhile.
func (p *copying) targetChanged(err error) error {
	if p.conditional() && !p.inPlace() {
		return p.pinLost(err, p.to) // it is the client's own
	}
	return objects.ChangedError(err)
}

// openSource opens the source's data key, once.
func (p *copying) openSource() (*objects.Opened, error) {
	if p.from != nil {
		return p.from, nil
	}
	o, err := p.Open(p.source, p.customer)
	if err != nil {
		return nil, objects.ChangedError(err) // a manifest is fetched pinned
	}
	p.from = o
	return o, nil
}

const hdrSource = "x-amz-copy-source-"

// noFields are the parameters of a request that has none, about an object of which it may name a version.
type noFields struct{ namedVersion string }

func (f noFields) versionNamed() string { return f.namedVersion }

func (noFields) header(string) string { return "" }

func (noFields) hasHeader(string) bool { return false }

const (
	tagsOfSource  tagCopy = iota
	tagsOfRequest         // x-amz-tagging, or none
)
