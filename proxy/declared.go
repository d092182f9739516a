package proxy

import (
	"crypto/md5"
	"encoding/base64"
	"strings"

	"waxseal/proxy/s3"
	"waxseal/sse"
)

// declaredOf reads a request's Content-MD5 and checksum.
func (c *call) declaredOf(f fields) (*s3.Declared, error) {
	d := &s3.Declared{Algorithm: sse.CRC64NVME, Part: c.route.name == "UploadPart"}
	if f.hasHeader("Content-MD5") {
		sum, err := base64.StdEncoding.DecodeString(f.header("Content-MD5"))
		if err != nil || len(sum) != md5.Size {
			return nil, s3.Errorf(s3.InvalidDigest, "The Content-MD5 you specified was invalid.").With("Content-MD5", f.header("Content-MD5"))
		}
		d.MD5 = sum
	}
	if err := readChecksum(d, f); err != nil {
		return nil, err
	}
	if c.auth != nil {
		if err := readTrailers(d, c.auth.TrailerNames); err != nil {
			return nil, err
		}
	}
	alg := f.header("x-amz-sdk-checksum-algorithm")
	if alg == "" {
		return d, nil
	}
	id := s3.ChecksumID(alg)
	switch {
	case id == 0:
		return nil, s3.Errorf(s3.InvalidRequest, "Value for x-amz-sdk-checksum-algorithm header is invalid.")
	case !d.Named:
		return nil, s3.Errorf(s3.InvalidRequest, "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.")
	case id != d.Algorithm:
		return nil, s3.Errorf(s3.InvalidRequest, "Value for x-amz-sdk-checksum-algorithm header is invalid.")
	}
	return d, nil
}

// readChecksum reads the header with the checksum of the body.
func readChecksum(d *s3.Declared, f fields) error {
	if err := oneChecksum(f); err != nil {
		return err
	}
	for _, k := range s3.Algorithms {
		if !f.hasHeader(k.Header) {
			continue
		}
		sum, err := base64.StdEncoding.DecodeString(f.header(k.Header))
		if err != nil || len(sum) != sse.ChecksumSize(k.ID) {
			return s3.Errorf(s3.InvalidRequest, "Value for %s header is invalid.", k.Header)
		}
		d.Algorithm, d.Value, d.Named = k.ID, sum, true
	}
	return nil
}

// readTrailers finds the trailer that will have the checksum of the body.
func readTrailers(d *s3.Declared, names []string) error {
	for _, n := range names {
		alg, ok := strings.CutPrefix(strings.ToLower(n), s3.ChecksumPrefix)
		if !ok {
			continue // a trailer signature, for example
		}
		id := s3.ChecksumID(alg)
		if id == 0 {
			return s3.Errorf(s3.NotImplemented, "waxseal does not support the trailer %s", n)
		}
		if d.Named {
			return errTwoChecksums()
		}
		d.Algorithm, d.Trailer, d.Named = id, true, true
	}
	return nil
}

// oneChecksum refuses two x-amz-checksum-* headers, whatever is in them.
func oneChecksum(f fields) error {
	count := 0
	for _, k := range s3.Algorithms {
		if f.hasHeader(k.Header) {
			count++
		}
	}
	if count > 1 {
		return errTwoChecksums()
	}
	return nil
}

func errTwoChecksums() error {
	return s3.Errorf(s3.InvalidRequest, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
}

// showChecksums sets x-amz-checksum-* of an answer; parts is the number of parts behind a composite one.
func (c *outgoing) showChecksums(sums []sse.Checksum, parts uint32) {
	h := &c.res.Header
	for _, s := range sums {
		h.Set(s3.ChecksumHeaderOf(s.Algorithm), s3.ChecksumText(s, parts))
		h.Set("x-amz-checksum-type", s3.ChecksumType(s))
	}
}
