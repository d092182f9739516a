package proxy

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// mayTakeTags asks for the rights that copied tags need: to read them at the source, and to write them at the target,
// where policies see them as if the request had named them. A source without tags needs no such right.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-tagging.html#tagging-and-policies
func (p *copying) mayTakeTags() error {
	if p.tags != tagsOfSource || p.keepETag {
		return nil
	}
	if free, err := p.unrestricted(p.source.Place.Bucket, p.to.Bucket); free || err != nil {
		return err
	}
	tags, err := p.tagsOf(&p.source.Stored)
	if err != nil {
		return err
	}
	if !p.inPlace() { // the copy gets the tags that are authorised here, whatever becomes of the source's
		p.tags = tagsOfRequest
		p.header.Del("X-Amz-Tagging")
	}
	if tags == "" {
		return nil
	}
	p.header.Set("X-Amz-Tagging", tags)
	if err := p.authorizeAction("s3:GetObjectTagging", p.source.Place.Bucket, p.source.Place.Key, noFields{p.version}); err != nil {
		return err
	}
	written := taggedFields{p.call, tags}
	if err := p.authorizeAction("s3:PutObjectTagging", p.to.Bucket, p.to.Key, written); err != nil {
		return err
	}
	return p.authorizeAction("s3:PutObject", p.to.Bucket, p.to.Key, written)
}

// takeTags gives the copy the source's tags, which an upload does not inherit.
func (p *copying) takeTags() error {
	tags, err := p.tagsOf(&p.source.Stored)
	if err == nil && tags != "" {
		p.header.Set("X-Amz-Tagging", tags)
	}
	return err
}

// tagsOf reads the source's tags as a header has them; o is what was last seen of it.
func (p *copying) tagsOf(o *objects.Stored) (string, error) {
	if n := o.Header.Get("X-Amz-Tagging-Count"); n == "0" {
		return "", nil
	}
	query := "tagging="
	if p.version != "" {
		query += "&versionId=" + s3.EscapeQuery(p.version)
	}
	h := make(http.Header)
	p.sourceOwner(h, p.source.Place)
	resp, err := p.Send(&store.Request{Method: http.MethodGet, Bucket: p.source.Place.Bucket, Key: p.source.Place.Key, Query: query, Header: h})
	if err != nil {
		return "", err
	}
	if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusNotImplemented {
		store.Drain(resp) // NoSuchTagSet, or a store without tags
		return "", nil
	}
	if resp.StatusCode != http.StatusOK {
		return "", store.Failure(resp)
	}
	body, err := store.ReadDocument(resp)
	if err != nil {
		return "", err
	}
	var doc s3.Tagging
	if err := s3.DecodeReply(bytes.NewReader(body), store.MaxDocument, &doc); err != nil {
		return "", err
	}
	var pairs []string
	for _, t := range doc.TagSet.Tags {
		pairs = append(pairs, url.QueryEscape(t.Key)+"="+url.QueryEscape(t.Value))
	}
	return strings.Join(pairs, "&"), nil
}

// taggedFields are a request's parameters with the tags that it will really write: those of a copy's source.
type taggedFields struct {
	fields
	tags string
}

func (f taggedFields) header(name string) string {
	if strings.EqualFold(name, "x-amz-tagging") {
		return f.tags
	}
	return f.fields.header(name)
}

func (f taggedFields) hasHeader(name string) bool {
	return strings.EqualFold(name, "x-amz-tagging") || f.fields.hasHeader(name)
}
