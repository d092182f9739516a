package proxy

import (
	"slices"
	"strings"
	"unicode/utf8"

	"waxseal/proxy/s3"
	"waxseal/proxy/store"
)

// maxKeyBytes is S3's limit on a key, in bytes of UTF-8.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
const maxKeyBytes = 1024

// checkKey refuses keys that S3 does not have, and those that this store would keep under another name. Every key that
// a client names passes here, before anything is sent to the store.
func (s *Server) checkKey(key string) error {
	switch {
	case len(key) > maxKeyBytes:
		return s3.Errorf(s3.KeyTooLongError, "Your key is too long").
			With("Size", itoa(len(key))).With("MaxSizeAllowed", itoa(maxKeyBytes))
	case !utf8.ValidString(key):
		return s3.Errorf(s3.InvalidURI, "Couldn't parse the specified URI.")
	case s.up.Capabilities().CleansPaths && renamed(key):
		// An object is sealed to its name. Under another one it would overwrite that name's object, and not open.
		return s3.InvalidArgument("key", key, "The store behind waxseal would keep the object under another name: keys with empty, \".\" or \"..\" segments are refused")
	case s.up.Capabilities().CleansPaths && strings.ContainsRune(key, 0):
		return s3.InvalidArgument("key", key, "The store behind waxseal cannot keep this key: keys with the character U+0000 are refused")
	case s.up.Capabilities().CleansPaths && internal(key):
		return s3.InvalidArgument("key", key, "The store behind waxseal may keep uploads of others under this name: keys below \""+storeInternal+"\" are refused")
	case s.up.Capabilities().FoldsFolders && likeFolder(key):
		return s3.InvalidArgument("key", key, "The store behind waxseal keeps this key and a folder's as one object: keys with a segment that ends in \""+store.FolderSuffix+"\" are refused")
	}
	return nil
}

// checkNewKey refuses to write a key that the store's listings do not show. Reading and deleting such a key is allowed:
// its object may have been there before.
func (s *Server) checkNewKey(key string) error {
	if s.up.Capabilities().LosesNames && s3.LostInXML(key) {
		return s3.InvalidArgument("key", key, "The store behind waxseal lists this key under another name: keys with characters that XML 1.0 cannot hold, and with U+FFFD, are refused")
	}
	return nil
}

// likeFolder reports whether a segment of the key looks like a folder of MinIO's.
func likeFolder(key string) bool {
	for segment := range strings.SplitSeq(key, "/") {
		if strings.HasSuffix(segment, store.FolderSuffix) {
			return true
		}
	}
	return false
}

// nameMarkers are the parameters that say behind which name a listing goes on.
var nameMarkers = []string{"marker", "key-marker", "start-after", pageTokenParam}

// checkMarkers refuses a listing that would go on behind a name that the store's listing did not show: with U+FFFD in
// the name's place a page would skip keys, or be the same again.
func (c *call) checkMarkers() error {
	if c.route.on != onBucket || !c.s.up.Capabilities().LosesNames {
		return nil
	}
	for _, name := range nameMarkers {
		if v := c.query.Get(name); slices.Contains(c.route.params, name) && s3.LostInXML(v) {
			return s3.InvalidArgument(name, c.shownMarker(name, v), "The page ended at a key that the store behind waxseal cannot list: with characters that XML 1.0 cannot hold. Rename that object at the store, or list another prefix.")
		}
	}
	return nil
}

// shownMarker is the marker as the client sent it; a store's own token is not shown.
func (c *call) shownMarker(name, value string) string {
	if name == pageTokenParam {
		return ""
	}
	return value
}

// storeInternal is where versitygw keeps the parts of uploads in each bucket. It lets whoever may write a bucket's keys
// read and delete them there, past every policy about the upload's own key.
const storeInternal = ".sgwtmp"

// internal says whether a key would lie in a directory of the store's own.
func internal(key string) bool {
	first, _, _ := strings.Cut(key, "/")
	return first == storeInternal
}

// renamed says whether a store that takes keys for paths would clean this one. A single slash at the end is a folder's
// marker and stays.
func renamed(key string) bool {
	if key == "" {
		return false
	}
	for segment := range strings.SplitSeq(strings.TrimSuffix(key, "/"), "/") {
		if segment == "" || segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// refuseOwn refuses a bucket that is waxseal's own.
func (s *Server) refuseOwn(bucket string) error {
	if s.cfg.StagingBucket != "" && bucket == s.cfg.StagingBucket {
		return s3.Errorf(s3.AccessDenied, "Bucket %s is waxseal's own", bucket)
	}
	return nil
}
