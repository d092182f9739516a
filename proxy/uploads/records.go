package uploads

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"waxseal/keystore/state"
	"waxseal/proxy/keyed"
	"waxseal/proxy/s3"
	"waxseal/sse"
)

// An upload's records lie in the state store until the upload has ended, so that any request about it can be served
// after a restart:
//
//	proxy/upload/<name>               settings from Create, and the progress of Complete
//	proxy/part/<name>/<number>/<id>   a single send of a part
//
// name is a hash of bucket, key and upload ID, because an object key alone may fill the longest key of the state store.
// A repeated part adds a record. Between two sends of a part the store decides, and Complete asks it.
const (
	UploadPrefix = "proxy/upload/"
	PartPrefix   = "proxy/part/"
)

// Phase is the progress of an upload.
type Phase string

const (
	Open       Phase = "open"
	Completing Phase = "completing" // the store may have received CompleteMultipartUpload
	Done       Phase = "done"       // kept for KeepDone, so that a repeated Complete gets the same response
)

// Upload is a multipart upload.
type Upload struct {
	Bucket   string `json:"bucket"`
	Key      string `json:"key"`
	UploadID string `json:"upload_id"`
	Envelope string `json:"envelope"`

	Checksum  uint8 `json:"checksum"`            // algorithm, of every part and of the object
	Composite bool  `json:"composite,omitempty"` // the object's checksum is a checksum of its parts' checksums
	Named     bool  `json:"named,omitempty"`     // the client asked for the algorithm

	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"` // start of the phase
	Phase   Phase     `json:"phase"`
	Outcome *Outcome  `json:"outcome,omitempty"` // of the last Complete sent to the store

	ManifestKey *ManifestKey `json:"manifest_key,omitempty"` // of an SSE-C upload

	Name     string        `json:"-"` // name of the records: a hash
	Revision int64         `json:"-"` // of the record when it was read
	Env      *sse.Envelope `json:"-"`
}

// Outcome is the response of a Complete.
type Outcome struct {
	List    string       `json:"list"` // hash of the client's list of parts
	ETag    string       `json:"etag"`
	Sum     sse.Checksum `json:"sum"`
	Parts   uint32       `json:"parts"`
	Version string       `json:"version,omitempty"`
}

// Records keeps the records of unfinished uploads.
type Records struct {
	state  state.Store
	Space  *Space  // for files of a single request
	Staged Staging // for parts that wait for another request
	now    func() time.Time

	Working *keyed.Mutex // Unfinished returns the uploads begun before a time and not completed.
}

// NewRecords keeps records in s and staged parts on the disk space of h.
func NewRecords(s state.Store, h *Space, now func() time.Time) *Records {
	return &Records{state: s, Space: h, Staged: &stagingDir{h, s, now}, now: now, Working: keyed.NewMutex()}
}

// UploadName returns the name of an upload in its records.
func UploadName(bucket, key, id string) string {
	var b []byte
	for _, s := range [...]string{bucket, key, id} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// NoSuchUpload returns S3's error for an upload that has ended or never existed.
func NoSuchUpload(id string) error { return s3.NewError(s3.NoSuchUpload).With("UploadId", id) }

// Create records a new upload after the store has created it.
func (s *Records) Create(ctx context.Context, u *Upload) error {
	u.Name, u.Phase, u.Created = UploadName(u.Bucket, u.Key, u.UploadID), Open, s.now().UTC()
	u.Changed = u.Created
	return s.Save(ctx, u, nil)
}

// Save writes an upload, and the parts of also. If any of their records has changed since it was read, it returns
// state.ErrConflict.
func (s *Records) Save(ctx context.Context, u *Upload, also []*Part) error {
	value, err := json.Marshal(u)
	if err != nil {
		return fmt.Errorf("upload %s: %w", u.UploadID, err)
	}
	conds := []state.Cond{{Key: UploadPrefix + u.Name, Revision: u.Revision}}
	for _, p := range also {
		conds = append(conds, state.Cond{Key: partKey(u, p), Revision: p.revision})
	}
	rev, err := s.state.Txn(ctx, conds, []state.Op{{Key: UploadPrefix + u.Name, Value: value}})
	if err != nil {
		return fmt.Errorf("upload %s: %w", u.UploadID, err)
	}
	u.Revision = rev
	return nil
}

// Unfinished returns the uploads that began before a time and are not completed.
func (s *Records) Unfinished(ctx context.Context, before time.Time) ([]*Upload, error) {
	entries, err := s.state.Range(ctx, UploadPrefix, "", 0)
	if err != nil {
		return nil, fmt.Errorf("uploads: %w", err)
	}
	var all []*Upload
	for _, e := range entries {
		u, err := DecodeUpload(e)
		if err != nil {
			return nil, err
		}
		if u.Phase != Done && u.Created.Before(before) {
			all = append(all, u)
		}
	}
	return all, nil
}

// Get reads an upload, or returns state.ErrNotFound.
func (s *Records) Get(ctx context.Context, bucket, key, id string) (*Upload, error) {
	e, err := s.state.Get(ctx, UploadPrefix+UploadName(bucket, key, id))
	if err != nil {
		return nil, fmt.Errorf("upload %s: %w", id, err)
	}
	return DecodeUpload(e)
}

// DecodeUpload decodes the record of an upload.
func DecodeUpload(e state.Entry) (*Upload, error) {
	u := &Upload{Revision: e.Revision, Name: strings.TrimPrefix(e.Key, UploadPrefix)}
	if err := json.Unmarshal(e.Value, u); err != nil {
		return nil, fmt.Errorf("upload record %s: %w", e.Key, err)
	}
	env, err := sse.ParseEnvelope(u.Envelope)
	if err != nil {
		return nil, fmt.Errorf("upload record %s: %w", e.Key, err)
	}
	u.Env = env
	return u, nil
}

func partKey(u *Upload, p *Part) string {
	return fmt.Sprintf("%s%s/%05d/%s", PartPrefix, u.Name, p.Number, p.id)
}

// AddPart records a part after the store or the disk has it durably. The client's response comes after the record.
func (s *Records) AddPart(ctx context.Context, u *Upload, p *Part) error {
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
		conds := []state.Cond{{Key: UploadPrefix + u.Name, Revision: u.Revision}}
		ops := []state.Op{{Key: partKey(u, p), Value: value}}
		if p.Staged != "" {
			needs, clears := s.Staged.record(p)
			conds, ops = append(conds, needs...), append(ops, clears...)
		}
		for _, old := range stale {
			ops = append(ops, state.Op{Key: partKey(u, old), Delete: true})
		}
		p.revision, err = s.state.Txn(ctx, conds, ops)
		if err == nil {
			s.Staged.remove(stale...)
			return nil
		}
		if !errors.Is(err, state.ErrConflict) {
			return fmt.Errorf("part %d of upload %s: %w", p.Number, u.UploadID, err)
		}
		now, err := s.Get(ctx, u.Bucket, u.Key, u.UploadID)
		if errors.Is(err, state.ErrNotFound) || err == nil && now.Phase == Done {
			return NoSuchUpload(u.UploadID)
		}
		if err != nil {
			return err
		}
		if now.Revision == u.Revision {
			return ErrStagingGone // the upload is unchanged, so the condition on the intent failed
		}
		*u = *now
	}
}

// replaced returns the staged parts made obsolete by a new part of the same number. During a Complete it returns none:
// the Complete may be reading them.
func (s *Records) replaced(ctx context.Context, u *Upload, p *Part) ([]*Part, error) {
	if u.Phase != Open {
		return nil, nil
	}
	same, err := s.readParts(ctx, u, fmt.Sprintf("%05d/", p.Number))
	if err != nil {
		return nil, err
	}
	stale := slices.DeleteFunc(same, func(old *Part) bool { return old.Staged == "" || old.id == p.id })
	return stale[:min(len(stale), state.MaxTxnSize/2)], nil
}

func partID(p *Part) string {
	sum := sha256.Sum256([]byte(p.StoreETag + "/" + p.Staged))
	return hex.EncodeToString(sum[:16])
}

// Parts reads the records of an upload's parts, ordered by part number.
func (s *Records) Parts(ctx context.Context, u *Upload) ([]*Part, error) {
	return s.readParts(ctx, u, "")
}

func (s *Records) readParts(ctx context.Context, u *Upload, under string) ([]*Part, error) {
	entries, err := s.state.Range(ctx, PartPrefix+u.Name+"/"+under, "", 0)
	if err != nil {
		return nil, fmt.Errorf("parts of upload %s: %w", u.UploadID, err)
	}
	all := make([]*Part, len(entries))
	for i, e := range entries {
		p, err := decodePart(e)
		if err != nil {
			return nil, err
		}
		if u.Env != nil {
			p.Sealed = sse.SealedSize(p.Size, u.Env.Layers())
		}
		all[i] = p
	}
	return all, nil
}

func decodePart(e state.Entry) (*Part, error) {
	p := &Part{revision: e.Revision, id: e.Key[strings.LastIndexByte(e.Key, '/')+1:]}
	if err := json.Unmarshal(e.Value, p); err != nil {
		return nil, fmt.Errorf("part record %s: %w", e.Key, err)
	}
	return p, nil
}

// Forget removes an upload's record, if it is unchanged, and then its parts. The record goes first: without it no part
// can be added.
func (s *Records) Forget(ctx context.Context, u *Upload) error {
	_, err := s.state.Txn(ctx, []state.Cond{{Key: UploadPrefix + u.Name, Revision: u.Revision}},
		[]state.Op{{Key: UploadPrefix + u.Name, Delete: true}})
	if err != nil {
		return fmt.Errorf("forgetting upload %s: %w", u.UploadID, err)
	}
	return s.ForgetParts(ctx, u)
}

// ForgetParts removes the records of an upload's parts, and its staged parts.
func (s *Records) ForgetParts(ctx context.Context, u *Upload) error {
	all, err := s.Parts(ctx, u)
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
		s.Staged.remove(some...)
	}
	return nil
}

// RandomName returns 32 random hexadecimal digits.
func RandomName() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// ManifestKey lets waxseal complete an SSE-C upload without the client's key, as S3 does and some clients expect. The
// manifest must be sealed under the data key, which waxseal does not have at Complete and must not keep. Create does
// come with the client's key. It stores the manifest key: derived from the data key, it seals manifests and opens no
// data. The upload's record holds it, wrapped under the root key, until the upload has ended.
type ManifestKey struct {
	Root []byte `json:"root"` // names the root key
	Box  []byte `json:"box"`
}
