package proxy

import (
	"strings"
	"unicode/utf8"

	"waxseal/proxy/s3"
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
	case s.capabilities().CleansPaths && renamed(key):
		// An object is sealed to its name. Under another one it would overwrite that name's object, and not open.
		return s3.InvalidArgument("key", key, "The store behind waxseal would keep the object under another name: keys with empty, \".\" or \"..\" segments are refused")
	case s.capabilities().CleansPaths && internal(key):
		return s3.InvalidArgument("key", key, "The store behind waxseal may keep uploads of others under this name: keys below \""+storeInternal+"\" are refused")
	}
	return nil
}

// storeInternal is where versitygw, and with it the embedded store, keeps the parts of uploads in each bucket. It lets
// whoever may write a bucket's keys read and delete them there, past every policy about the upload's own key.
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
