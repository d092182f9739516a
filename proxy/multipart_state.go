package proxy

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"waxseal/keystore/state"
	"waxseal/proxy/s3"
	"waxseal/sse"
)

// An upload's state lives in the state store until the upload has ended, so that any request about it can be served
// after a restart:
//
//	proxy/upload/<name>               what Create decided, and how far Complete has come
//	proxy/part/<name>/<number>/<id>   what is known of one send of a part
//
// name is a hash of bucket, key and upload id: a key alone may be as long as the state store's keys can be. Records
// of parts are only added. Which of two sends of a part counts is for the store to say, and it is asked at Complete.
const (
	uploadPrefix = "proxy/upload/"
	partPrefix   = "proxy/part/"
)

// phase is how far an upload has come.
type phase string

const (
	phaseOpen       phase = "open"
	phaseCompleting phase = "completing" // the store may have been told to complete it
	phaseDone       phase = "done"       // kept for a while, so that a repeated Complete gets the same answer
)

// upload is one multipart upload.
type upload struct {
	Bucket   string `json:"bucket"`
	Key      string `json:"key"`
	UploadID string `json:"upload_id"`
	Envelope string `json:"envelope"`

	Checksum  uint8 `json:"checksum"`            // algorithm, of every part and of the object
	Composite bool  `json:"composite,omitempty"` // the object's is a checksum of its parts' checksums
	Named     bool  `json:"named,omitempty"`     // the client asked for that algorithm

	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"` // when the phase began
	Phase   phase     `json:"phase"`
	Outcome *outcome  `json:"outcome,omitempty"` // of the last Complete that got as far as the store

	ManifestKey *keptKey `json:"manifest_key,omitempty"` // of an SSE-C upload

	name     string
	revision int64
	env      *sse.Envelope
}

// outcome is what a Complete answers.
type outcome struct {
	List    string       `json:"list"` // hash of the client's list of parts
	ETag    string       `json:"etag"`
	Sum     sse.Checksum `json:"sum"`
	Parts   uint32       `json:"parts"`
	Version string       `json:"version,omitempty"`
}

// part is one send of a part.
type part struct {
	Number int       `json:"number"`
	Size   int64     `json:"size"` // of plaintext
	ETag   string    `json:"etag"` // as clients see it, without quotes
	Time   time.Time `json:"time"`

	StoreETag string `json:"store_etag,omitempty"` // of the sealed part at the store
	Held      string `json:"held,omitempty"`       // or the name under which it is held here
	HeldCRC   uint32 `json:"held_crc,omitempty"`   // CRC32C of the held bytes
	HeldSum   []byte `json:"held_sum,omitempty"`   // SHA-256 of the bytes, where they are staged in a bucket

	MD5    []byte         `json:"md5,omitempty"`
	Sums   []sse.Checksum `json:"sums"` // the upload's algorithm first, then what else the client declared
	Data   []byte         `json:"data"` // stream headers
	Outer  []byte         `json:"outer,omitempty"`
	sealed int64          // size at the store or on disk

	id       string
	revision int64
	intent   int64 // revision of the intent, of a part that is staged in a bucket
}

func (p *part) setHeaders(h sse.Headers, layers int) {
	p.Data = append([]byte(nil), h.Data[:]...)
	if layers > 1 {
		p.Outer = append([]byte(nil), h.Outer[:]...)
	}
}

func (p *part) headers() (h sse.Headers) {
	copy(h.Data[:], p.Data)
	copy(h.Outer[:], p.Outer)
	return h
}

// sum is the part's checksum of an algorithm, nil when it is not known.
func (p *part) sum(algorithm uint8) []byte {
	for _, s := range p.Sums {
		if s.Algorithm == algorithm {
			return s.Value
		}
	}
	return nil
}

// uploads keeps the state of the uploads in flight.
type uploads struct {
	state  state.Store
	held   *held   // for what a request keeps on disk for itself
	staged staging // for what another request needs
	now    func() time.Time

	working *turns // at completing or aborting an upload
}

func newUploads(s state.Store, h *held, now func() time.Time) *uploads {
	return &uploads{state: s, held: h, staged: &stagingDir{h, s, now}, now: now, working: newTurns()}
}

func uploadName(bucket, key, id string) string {
	b := appendString(nil, bucket)
	b = appendString(b, key)
	b = appendString(b, id)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func errNoSuchUpload(id string) error { return s3.NewError(s3.NoSuchUpload).With("UploadId", id) }

// create records an upload that the store has begun.
func (s *uploads) create(ctx context.Context, u *upload) error {
	u.name, u.Phase, u.Created = uploadName(u.Bucket, u.Key, u.UploadID), phaseOpen, s.now().UTC()
	u.Changed = u.Created
	return s.save(ctx, u, nil)
}

// save writes an upload that nobody else has changed since it was read, nor any of also; else state.ErrConflict.
func (s *uploads) save(ctx context.Context, u *upload, also []*part) error {
	value, err := json.Marshal(u)
	if err != nil {
		return fmt.Errorf("upload %s: %w", u.UploadID, err)
	}
	conds := []state.Cond{{Key: uploadPrefix + u.name, Revision: u.revision}}
	for _, p := range also {
		conds = append(conds, state.Cond{Key: partKey(u, p), Revision: p.revision})
	}
	rev, err := s.state.Txn(ctx, conds, []state.Op{{Key: uploadPrefix + u.name, Value: value}})
	if err != nil {
		return fmt.Errorf("upload %s: %w", u.UploadID, err)
	}
	u.revision = rev
	return nil
}

// get reads an upload; state.ErrNotFound when there is none.
func (s *uploads) get(ctx context.Context, bucket, key, id string) (*upload, error) {
	e, err := s.state.Get(ctx, uploadPrefix+uploadName(bucket, key, id))
	if err != nil {
		return nil, fmt.Errorf("upload %s: %w", id, err)
	}
	return decodeUpload(e)
}

func decodeUpload(e state.Entry) (*upload, error) {
	u := &upload{revision: e.Revision, name: strings.TrimPrefix(e.Key, uploadPrefix)}
	if err := json.Unmarshal(e.Value, u); err != nil {
		return nil, fmt.Errorf("upload record %s: %w", e.Key, err)
	}
	env, err := sse.ParseEnvelope(u.Envelope)
	if err != nil {
		return nil, fmt.Errorf("upload record %s: %w", e.Key, err)
	}
	u.env = env
	return u, nil
}

func partKey(u *upload, p *part) string {
	return fmt.Sprintf("%s%s/%05d/%s", partPrefix, u.name, p.Number, p.id)
}

// addPart records a part that lies safely at the store or on disk. After that a client may hear of it.
func (s *uploads) addPart(ctx context.Context, u *upload, p *part) error {
	p.Time = s.now().UTC()
	p.id = partID(p)
	value, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("part %d: %w", p.Number, err)
	}
	for {
		stale, err := s.replaced(ctx, u, p)
		if err != nil {
			return err
		}
		conds := []state.Cond{{Key: uploadPrefix + u.name, Revision: u.revision}}
		ops := []state.Op{{Key: partKey(u, p), Value: value}}
		if p.Held != "" {
			needs, clears := s.staged.record(p)
			conds, ops = append(conds, needs...), append(ops, clears...)
		}
		for _, old := range stale {
			ops = append(ops, state.Op{Key: partKey(u, old), Delete: true})
		}
		p.revision, err = s.state.Txn(ctx, conds, ops)
		if err == nil {
			s.staged.remove(stale...)
			return nil
		}
		if !errors.Is(err, state.ErrConflict) {
			return fmt.Errorf("part %d of upload %s: %w", p.Number, u.UploadID, err)
		}
		now, err := s.get(ctx, u.Bucket, u.Key, u.UploadID)
		if errors.Is(err, state.ErrNotFound) || err == nil && now.Phase == phaseDone {
			return errNoSuchUpload(u.UploadID)
		}
		if err != nil {
			return err
		}
		if now.revision == u.revision {
			return errStagingGone // the upload is as it was: it is the other condition that does not hold
		}
		*u = *now
	}
}

// replaced are the held parts that a new one of the same number makes useless. While a Complete is under way it may
// be reading one of them.
func (s *uploads) replaced(ctx context.Context, u *upload, p *part) ([]*part, error) {
	if u.Phase != phaseOpen {
		return nil, nil
	}
	same, err := s.readParts(ctx, u, fmt.Sprintf("%05d/", p.Number))
	if err != nil {
		return nil, err
	}
	stale := slices.DeleteFunc(same, func(old *part) bool { return old.Held == "" || old.id == p.id })
	return stale[:min(len(stale), state.MaxTxnSize/2)], nil
}

func partID(p *part) string {
	sum := sha256.Sum256([]byte(p.StoreETag + "/" + p.Held))
	return hex.EncodeToString(sum[:16])
}

// parts reads all that is known of an upload's parts, in order of number.
func (s *uploads) parts(ctx context.Context, u *upload) ([]*part, error) {
	return s.readParts(ctx, u, "")
}

func (s *uploads) readParts(ctx context.Context, u *upload, under string) ([]*part, error) {
	entries, err := s.state.Range(ctx, partPrefix+u.name+"/"+under, "", 0)
	if err != nil {
		return nil, fmt.Errorf("parts of upload %s: %w", u.UploadID, err)
	}
	all := make([]*part, len(entries))
	for i, e := range entries {
		p, err := decodePart(e)
		if err != nil {
			return nil, err
		}
		if u.env != nil {
			p.sealed = sse.SealedSize(p.Size, u.env.Layers())
		}
		all[i] = p
	}
	return all, nil
}

func decodePart(e state.Entry) (*part, error) {
	p := &part{revision: e.Revision, id: e.Key[strings.LastIndexByte(e.Key, '/')+1:]}
	if err := json.Unmarshal(e.Value, p); err != nil {
		return nil, fmt.Errorf("part record %s: %w", e.Key, err)
	}
	return p, nil
}

// forget removes an upload's record, as it was read, and its parts. The record goes first: without it no part can be
// added any more.
func (s *uploads) forget(ctx context.Context, u *upload) error {
	_, err := s.state.Txn(ctx, []state.Cond{{Key: uploadPrefix + u.name, Revision: u.revision}},
		[]state.Op{{Key: uploadPrefix + u.name, Delete: true}})
	if err != nil {
		return fmt.Errorf("forgetting upload %s: %w", u.UploadID, err)
	}
	return s.forgetParts(ctx, u)
}

func (s *uploads) forgetParts(ctx context.Context, u *upload) error {
	all, err := s.parts(ctx, u)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(all, state.MaxTxnSize/2) {
		ops := make([]state.Op, len(some))
		for i, p := range some {
			ops[i] = state.Op{Key: partKey(u, p), Delete: true}
		}
		if err := state.WriteAll(ctx, s.state, ops); err != nil {
			return fmt.Errorf("forgetting parts of upload %s: %w", u.UploadID, err)
		}
		s.staged.remove(some...)
	}
	return nil
}

// candidates are an upload's parts by number.
type candidates map[int][]*part

func byNumber(all []*part) candidates {
	c := make(candidates)
	for _, p := range all {
		c[p.Number] = append(c[p.Number], p)
	}
	return c
}

func (c candidates) numbers() []int { return slices.Sorted(maps.Keys(c)) }

// disputed says whether only the store knows which send of a part counts.
func (c candidates) disputed(number int) bool {
	n := 0
	for _, p := range c[number] {
		if p.Held == "" {
			n++
		}
	}
	return n > 1
}

// current is the send of a part that counts: of those at the store the one that it has now, of those held here the
// last, and of these two the later. Without atStore a part that is not disputed is taken to be there.
func (c candidates) current(number int, atStore map[int]string) *part {
	var best *part
	for _, p := range c[number] {
		if p.Held == "" && atStore != nil && atStore[number] != p.StoreETag {
			continue
		}
		if best == nil || p.revision > best.revision {
			best = p
		}
	}
	return best
}

func randomName() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
