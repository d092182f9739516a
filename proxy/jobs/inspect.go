package jobs

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"

	"waxseal/sse"
)

// Inspection says how objects are sealed, as the store has them: nothing is opened and no key is used.
type Inspection struct {
	Bucket, Prefix string
	Versions       bool // all versions
	JSON           bool // a JSON object a line
}

// Run shows every object below the prefix, and the sums.
func (i Inspection) Run(ctx context.Context, store *minio.Core, w io.Writer) error {
	if i.JSON {
		return i.each(ctx, store, func(s sealing) error { return showJSON(w, s) })
	}
	return i.table(ctx, store, w)
}

// sealing describes the encryption of an object.
type sealing struct {
	Key        string            `json:"key"`
	Version    string            `json:"version,omitempty"`
	StoredSize int64             `json:"stored_size"`
	StoreETag  string            `json:"store_etag"`
	Mode       string            `json:"mode,omitempty"` // none: not sealed
	Size       int64             `json:"size"`
	Parts      int               `json:"parts,omitempty"`
	Manifest   bool              `json:"manifest,omitempty"`
	Compressed bool              `json:"compressed,omitempty"`
	KMSKey     string            `json:"kms_key,omitempty"`
	BucketKey  bool              `json:"bucket_key,omitempty"`
	Context    map[string]string `json:"encryption_context,omitempty"`
	Commitment string            `json:"commitment,omitempty"`
	Envelope   int               `json:"envelope_size,omitempty"`
	Problem    string            `json:"problem,omitempty"`
}

// each shows every object below the prefix. An unreadable object is shown with its problem, and makes the whole fail at
// the end.
func (i Inspection) each(ctx context.Context, store *minio.Core, show func(sealing) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	problems, n := 0, 0
	list := minio.ListObjectsOptions{Prefix: i.Prefix, Recursive: true, WithVersions: i.Versions}
	for o := range store.Client.ListObjects(ctx, i.Bucket, list) {
		if o.Err != nil {
			return o.Err
		}
		if o.IsDeleteMarker {
			continue
		}
		n++
		s := look(ctx, store, i.Bucket, o)
		if s.Problem != "" {
			problems++
		}
		if err := show(s); err != nil {
			return err
		}
	}
	if problems > 0 {
		return fmt.Errorf("%d of %d objects have a problem", problems, n)
	}
	return ctx.Err()
}

// look reads an object's envelope and, where there is a manifest, its footer.
func look(ctx context.Context, store *minio.Core, bucket string, o minio.ObjectInfo) sealing {
	s := sealing{Key: o.Key, Version: o.VersionID, StoredSize: o.Size, Size: o.Size}
	info, err := store.StatObject(ctx, bucket, o.Key, minio.StatObjectOptions{VersionID: o.VersionID})
	if err != nil {
		return s.failed(err)
	}
	s.StoredSize, s.StoreETag = info.Size, info.ETag
	text := info.UserMetadata["Waxseal"]
	if text == "" {
		return s
	}
	e, err := sse.ParseEnvelope(text)
	if err != nil {
		return s.failed(err)
	}
	s.describe(e, len(text))
	if e.Manifest {
		err = s.readFooter(ctx, store, bucket)
	} else if s.Size < 0 {
		var l *sse.Layout
		if l, err = e.Layout(s.StoredSize); err == nil {
			s.Size = l.Size()
		}
	}
	if err != nil {
		return s.failed(err)
	}
	return s
}

func (s sealing) failed(err error) sealing {
	s.Problem = err.Error()
	return s
}

func (s *sealing) describe(e *sse.Envelope, size int) {
	commitment := e.Commitment()
	s.Mode, s.Size, s.Parts, s.Manifest = e.Mode.String(), e.Size, 1, e.Manifest
	s.Compressed, s.BucketKey, s.Context = e.Compressed, e.BucketKey, e.Context
	s.KMSKey, s.Commitment, s.Envelope = e.KeyID, hex.EncodeToString(commitment[:]), size
}

func (s *sealing) readFooter(ctx context.Context, store *minio.Core, bucket string) error {
	if s.StoredSize < sse.FooterSize {
		return errors.New("is too short for its manifest")
	}
	opts := minio.GetObjectOptions{VersionID: s.Version}
	if err := opts.SetRange(s.StoredSize-sse.FooterSize, s.StoredSize-1); err != nil {
		return err
	}
	body, _, _, err := store.GetObject(ctx, bucket, s.Key, opts)
	if err != nil {
		return err
	}
	defer body.Close()
	tail, err := io.ReadAll(io.LimitReader(body, sse.FooterSize))
	if err != nil {
		return err
	}
	footer, err := sse.ParseFooter(tail)
	if err != nil {
		return err
	}
	s.Size, s.Parts = footer.Size, int(footer.Parts)
	return nil
}

func showJSON(w io.Writer, s sealing) error { return json.NewEncoder(w).Encode(s) }

// table shows a header, a line for each object, and at the end the sums.
func (i Inspection) table(ctx context.Context, store *minio.Core, w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%-10s %12s %12s  %s\n", "MODE", "BYTES", "STORED", "KEY"); err != nil {
		return err
	}
	sums := make(sealingSums)
	err := i.each(ctx, store, func(s sealing) error {
		sums.add(s)
		return showLine(w, s)
	})
	return errors.Join(err, sums.print(w))
}

// sealingSum adds up objects: their plaintext, and the store's bytes for it.
type sealingSum struct {
	objects       int
	bytes, stored int64
}

func (s *sealingSum) add(objects int, bytes, stored int64) {
	s.objects += objects
	s.bytes += max(bytes, 0) // unknown where the object has a problem
	s.stored += stored
}

func (s sealingSum) print(w io.Writer, what string) error {
	objects := "objects"
	if s.objects == 1 {
		objects = "object"
	}
	_, err := fmt.Fprintf(w, "%-10s %12d %12d  %d %s\n", what, s.bytes, s.stored, s.objects, objects)
	return err
}

// sealingSums are the sums by mode.
type sealingSums map[string]*sealingSum

func (m sealingSums) add(s sealing) {
	if m[s.mode()] == nil {
		m[s.mode()] = new(sealingSum)
	}
	m[s.mode()].add(1, s.Size, s.StoredSize)
}

// print has a line for each mode, where there are several, and a last line for all objects.
func (m sealingSums) print(w io.Writer) error {
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	var all sealingSum
	for _, mode := range slices.Sorted(maps.Keys(m)) {
		sum := m[mode]
		all.add(sum.objects, sum.bytes, sum.stored)
		if len(m) == 1 {
			continue
		}
		if err := sum.print(w, mode); err != nil {
			return err
		}
	}
	return all.print(w, "all")
}

// mode is the mode as people read it.
func (s sealing) mode() string { return cmp.Or(s.Mode, "not sealed") }

func showLine(w io.Writer, s sealing) error {
	var about []string
	if s.BucketKey {
		about = append(about, "bucket key")
	}
	if s.Compressed {
		about = append(about, "compressed")
	}
	if s.Manifest {
		about = append(about, fmt.Sprintf("%d parts", s.Parts))
	}
	if s.KMSKey != "" {
		about = append(about, s.KMSKey)
	}
	if s.Version != "" {
		about = append(about, "version "+s.Version)
	}
	if s.Problem != "" {
		about = append(about, "PROBLEM: "+s.Problem)
	}
	_, err := fmt.Fprintf(w, "%-10s %12d %12d  %s  %s\n", s.mode(), s.Size, s.StoredSize, s.Key, strings.Join(about, ", "))
	return err
}
