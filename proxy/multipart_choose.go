package proxy

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"waxseal/proxy/objects"
	"waxseal/proxy/s3"
	"waxseal/proxy/uploads"
	"waxseal/sse"
)

// completeRequest is what a client asks of a Complete.
type completeRequest struct {
	parts []s3.CompletePart
	list  string // hash of numbers and ETags: tells whether a Complete is a repetition

	ceph     bool   // follow ceph/s3-tests where they contradict AWS
	kind     string // x-amz-checksum-type
	sumAlg   uint8  // of x-amz-checksum-*, 0 for none
	sumValue string
	size     string // x-amz-mp-object-size
}

// maxCompleteBody is far above a list of 10,000 parts with checksums.
const maxCompleteBody = 8 << 20

func (c *call) completeRequest() (*completeRequest, error) {
	r := &completeRequest{ceph: c.s.cfg.CompatCeph, kind: strings.ToUpper(c.header("x-amz-checksum-type")), size: c.header("x-amz-mp-object-size")}
	if err := r.readObjectSum(c); err != nil {
		return nil, err
	}
	body, err := c.completeBody()
	if err != nil {
		return nil, err
	}
	var doc s3.CompleteMultipartUpload
	if err := s3.Decode(bytes.NewReader(body), maxCompleteBody, &doc); err != nil {
		return nil, err
	}
	r.parts = doc.Parts
	if r.ceph {
		r.parts = lastOfEach(r.parts)
	}
	return r, r.checkList()
}

// readObjectSum reads the checksum that the object will have. It is not one of this body, of which Content-MD5 is the only
// digest that there is.
func (r *completeRequest) readObjectSum(c *call) error {
	if r.kind != "" && r.kind != "COMPOSITE" && r.kind != "FULL_OBJECT" {
		return errChecksumType()
	}
	if err := oneChecksum(c); err != nil {
		return err
	}
	for _, k := range s3.Algorithms {
		if !c.hasHeader(k.Header) {
			continue
		}
		r.sumAlg, r.sumValue = k.ID, c.header(k.Header)
		if !r.ceph && !objectSumForm(k.ID, r.sumValue) {
			return s3.Errorf(s3.InvalidRequest, "Value for %s header is invalid.", k.Header)
		}
	}
	return nil
}

// objectSumForm reports whether a value has the form of an object's checksum: base64 of the algorithm's length, for a composite
// one followed by the number of parts, as in "ImIEBA==-3".
func objectSumForm(algorithm uint8, value string) bool {
	encoded, parts, composite := strings.Cut(value, "-")
	if composite {
		if _, err := strconv.ParseUint(parts, 10, 32); err != nil {
			return false
		}
	}
	sum, err := base64.StdEncoding.DecodeString(encoded)
	return err == nil && len(sum) == sse.ChecksumSize(algorithm)
}

func (c *call) completeBody() ([]byte, error) {
	want := &s3.Declared{Algorithm: sse.CRC32}
	if v := c.header("Content-MD5"); v != "" {
		sum, err := base64.StdEncoding.DecodeString(v)
		if err != nil || len(sum) != md5.Size {
			return nil, s3.Errorf(s3.InvalidDigest, "The Content-MD5 you specified was invalid.").With("Content-MD5", v)
		}
		want.MD5 = sum
	}
	body, size, err := c.body()
	if err != nil {
		return nil, err
	}
	if size > maxCompleteBody {
		return nil, s3.NewError(s3.MaxMessageLengthExceeded)
	}
	return io.ReadAll(s3.NewDigestReader(body, size, want, false))
}

// lastOfEach drops entries that the next one names again: test_multipart_resend_first_finishes_last.
func lastOfEach(parts []s3.CompletePart) []s3.CompletePart {
	var kept []s3.CompletePart
	for i, p := range parts {
		if i+1 == len(parts) || parts[i+1].PartNumber != p.PartNumber {
			kept = append(kept, p)
		}
	}
	return kept
}

func (r *completeRequest) checkList() error {
	if len(r.parts) == 0 {
		return s3.Errorf(s3.InvalidRequest, "You must specify at least one part")
	}
	h := sha256.New()
	before := 0
	for i := range r.parts {
		p := &r.parts[i]
		p.ETag = s3.Unquote(strings.TrimSpace(p.ETag))
		if p.PartNumber < 1 {
			return s3.InvalidArgument("PartNumber", itoa(p.PartNumber), "PartNumber must be >= 1")
		}
		if p.PartNumber > sse.MaxParts {
			return s3.InvalidArgument("PartNumber", itoa(p.PartNumber), "Part number must be an integer between 1 and 10000, inclusive")
		}
		if p.PartNumber <= before {
			return s3.NewError(s3.InvalidPartOrder)
		}
		before = p.PartNumber
		if err := checkSumForms(p); err != nil {
			return err
		}
		h.Write(objects.AppendString(nil, itoa(p.PartNumber)))
		h.Write(objects.AppendString(nil, p.ETag))
	}
	r.list = hex.EncodeToString(h.Sum(nil))
	return nil
}

// choose finds the parts that the client's list names and holds them to what it says of them.
func (r *completeRequest) choose(u *uploads.Upload, all uploads.Candidates, atStore map[int]string) ([]*uploads.Part, error) {
	chosen := make([]*uploads.Part, len(r.parts))
	for i := range r.parts {
		want := &r.parts[i]
		p := all.Current(want.PartNumber, atStore)
		if p == nil || p.ETag != want.ETag && !(r.ceph && all.SentAs(p, want.ETag)) {
			return nil, errInvalidPart(u, want)
		}
		if err := r.checkPartSums(u, want, p); err != nil {
			return nil, err
		}
		chosen[i] = p
	}
	return chosen, checkSizes(chosen)
}

func errInvalidPart(u *uploads.Upload, want *s3.CompletePart) error {
	return s3.NewError(s3.InvalidPart).With("UploadId", u.UploadID).With("PartNumber", itoa(want.PartNumber)).With("ETag", want.ETag)
}

// checkSumForms reports what S3 says of a part that the list gives more than one checksum, or one that is not base64 of its
// algorithm's length.
func checkSumForms(p *s3.CompletePart) error {
	var given strings.Builder
	count, value := 0, ""
	formed := true
	for _, alg := range s3.ChecksumAlgorithms {
		if v := *p.Checksums.Field(alg); v != "" {
			count, value = count+1, v
			sum, err := base64.StdEncoding.DecodeString(v)
			formed = formed && err == nil && len(sum) == sse.ChecksumSize(s3.ChecksumID(alg))
			fmt.Fprintf(&given, "%s:%s;", alg, v)
		}
	}
	switch {
	case count > 1:
		return s3.InvalidArgument("Checksum", given.String(), "Invalid Base64 or multiple checksums present in request")
	case !formed:
		return s3.InvalidArgument("Checksum", value, "Invalid Base64 or multiple checksums present in request")
	}
	return nil
}

// checkPartSums compares the checksum that the list gives for a part. A composite checksum needs one for each, of the algorithm
// that the upload was created with.
func (r *completeRequest) checkPartSums(u *uploads.Upload, want *s3.CompletePart, p *uploads.Part) error {
	name := s3.ChecksumName(u.Checksum)
	if u.Named && *want.Checksums.Field(name) == "" && !r.ceph {
		if other := firstSum(want); other != "" {
			return s3.Errorf(s3.BadDigest, "The %s you specified for part %d did not match what we received.", strings.ToLower(other), p.Number)
		}
		if u.Composite {
			return s3.Errorf(s3.InvalidRequest, "The upload was created using a %s checksum. The complete request must include the checksum for each part. It was missing for part %d in the request.", strings.ToLower(name), p.Number)
		}
	}
	for _, alg := range s3.ChecksumAlgorithms {
		given := *want.Checksums.Field(alg)
		if given == "" {
			continue
		}
		have := p.Sum(s3.ChecksumID(alg))
		if have == nil || s3.Base64(have) != given {
			return errInvalidPart(u, want)
		}
	}
	return nil
}

func firstSum(want *s3.CompletePart) string {
	for _, alg := range s3.ChecksumAlgorithms {
		if *want.Checksums.Field(alg) != "" {
			return alg
		}
	}
	return ""
}

// checkSizes holds all parts but the last to S3's least size, which is one of plaintext.
func checkSizes(chosen []*uploads.Part) error {
	for _, p := range chosen[:len(chosen)-1] {
		if p.Size < s3.MinPartSize {
			return s3.NewError(s3.EntityTooSmall).With("ProposedSize", itoa64(p.Size)).With("MinSizeAllowed", itoa64(s3.MinPartSize)).
				With("PartNumber", itoa(p.Number)).With("ETag", p.ETag)
		}
	}
	return nil
}

// outcome is what the completed object will show, checked against what the client says of it.
func (r *completeRequest) outcome(u *uploads.Upload, chosen []*uploads.Part) (*uploads.Outcome, error) {
	kind := s3.ChecksumType(sse.Checksum{Composite: u.Composite})
	if r.kind != "" && r.kind != kind {
		return nil, s3.Errorf(s3.InvalidRequest, "The upload was created using the %s checksum mode. The complete request must use the same checksum mode.", kind)
	}
	if err := r.checkSize(chosen); err != nil {
		return nil, err
	}
	sum, err := uploads.ObjectSum(u, chosen)
	if err != nil {
		return nil, err
	}
	out := &uploads.Outcome{List: r.list, ETag: uploads.TagOf(uploads.ETagsOf(chosen)).String(), Sum: sum, Parts: uint32(len(chosen))}
	switch {
	case r.sumAlg == 0 || !u.Named && r.sumAlg != u.Checksum:
		// S3 ignores the checksum of an object whose upload was created without naming its algorithm.
	case r.sumAlg != u.Checksum, r.sumValue != s3.ChecksumText(sum, out.Parts) && r.sumValue != s3.Base64(sum.Value):
		return nil, s3.Errorf(s3.BadDigest, "The %s you specified did not match the calculated checksum.", strings.ToLower(s3.ChecksumName(u.Checksum)))
	}
	return out, nil
}

func (r *completeRequest) checkSize(chosen []*uploads.Part) error {
	if r.size == "" {
		return nil
	}
	want, err := strconv.ParseInt(r.size, 10, 64)
	if err == nil && want < 0 {
		return s3.Errorf(s3.InvalidRequest, "Value for x-amz-mp-object-size header is less than zero: '%s'", r.size)
	}
	if err != nil {
		return s3.Errorf(s3.InvalidRequest, "Value for x-amz-mp-object-size header is invalid: '%s'", r.size)
	}
	var size int64
	for _, p := range chosen {
		size += p.Size
	}
	if size != want {
		return s3.Errorf(s3.InvalidRequest, "The provided 'x-amz-mp-object-size' header value %d does not match what was computed: %d", want, size)
	}
	return nil
}

// made says whether an object with that ETag was made of the client's list; m is nil where its parts are not known. In
// Ceph a part may be listed with the ETag of an earlier send (uploads.SentAs), so that only the numbers tell.
func (r *completeRequest) made(etag string, m *sse.Manifest) bool {
	sameNumber := func(a s3.CompletePart, b sse.ManifestPart) bool { return a.PartNumber == b.Number }
	if m != nil && !slices.EqualFunc(r.parts, m.Parts, sameNumber) {
		return false
	}
	if r.ceph && m != nil {
		return true
	}
	etags := make([]string, len(r.parts))
	for i := range r.parts {
		etags[i] = r.parts[i].ETag
	}
	return uploads.TagOf(etags).String() == etag
}
