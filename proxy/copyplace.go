package proxy

import (
	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/sse"
)

// A change in place overwrites an object under a new envelope, conditional on the store's ETag. A copy onto itself changes
// that ETag (see rewrappable). UpdateObjectEncryption keeps the ciphertext: below the size of two parts a store gives both
// objects the same ETag, so that Complete's If-Match cannot tell them apart. Tags do not affect an ETag at all. Changes of an
// envelope or of tags through this process therefore take turns for each object, and look once more when their turn has
// come. Between replicas the time from that look to Complete stays open: see the threat model.

// inTurn runs the last step of a copy. In place it does so only when the object is still the one that was copied.
func (p *copying) inTurn(end func() error) error {
	if !p.replaces() {
		return end()
	}
	release, err := p.lock(p.s.changing, p.to.Name())
	if err != nil {
		return err
	}
	defer release()
	if err := p.lookAgain(); err != nil {
		return err
	}
	return end()
}

// lookAgain is ErrChanged when envelope or tags are no longer what was copied.
func (p *copying) lookAgain() error {
	now, err := p.sourceNow()
	if err != nil || p.tags != tagsOfSource {
		return err
	}
	tags, err := p.tagsOf(now.Stored)
	if err == nil && tags != p.header.Get("X-Amz-Tagging") {
		err = objects.ErrChanged
	}
	return err
}

// sourceNow is the current version under the source's name, or ErrChanged when that is another than was copied.
func (p *copying) sourceNow() (*objects.Found, error) {
	at := p.source.Place
	now, err := p.LookupBy(p.ReadRequest(at, "", p.source.ETag), at, sse.TailSize)
	switch {
	case err != nil && isNotFound(err):
		return nil, objects.ErrChanged
	case err != nil:
		return nil, objects.ChangedError(err)
	case now.Header.Get(s3.HeaderEnvelope) != p.source.Header.Get(s3.HeaderEnvelope):
		return nil, objects.ErrChanged
	}
	return now, nil
}

// changeTags forwards a change of an object's tags, when no change of the object in place is about to overwrite them.
func (c *call) changeTags() error {
	body, err := c.forwardedDocument()
	if err != nil {
		return err
	}
	release, err := c.lock(c.s.changing, c.place().Name())
	if err != nil {
		return err
	}
	defer release()
	return c.forwardWith(c.storeQuery(), body)
}

// takeTagsOfData is takeTags for data that was fetched already. Nothing pins tags but the version's name, and who may read
// an object need not be allowed to name versions: when the source is still the same afterwards, they are its own.
func (p *copying) takeTagsOfData() error {
	err := p.takeTags()
	if err != nil || p.version != "" || p.inPlace() {
		return err // a version does not change, and in place there is a look at the end
	}
	_, err = p.sourceNow()
	return err
}
