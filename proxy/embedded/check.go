package embedded

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
)

// Report is what Check found.
type Report struct {
	Objects, Versions, Uploads int // current objects, noncurrent versions with delete markers, uploads under way
	Bodies                     int
	Bytes                      int64
	// Damage is what is lost or contradicts itself. Nothing repairs it.
	Damage []string
	// Waste are bytes that nothing refers to, as a crash may leave them. Repaired counts how many of them went.
	Waste    []string
	Repaired int
}

// checker walks a store's index once, and its files once.
type checker struct {
	*txn
	report *Report
	data   bool
	ctx    context.Context

	buckets map[uint64]*bucket
	bodies  map[uint64]extent // that the index refers to
	inline  []uint64          // waste
	listed  []uint64
	stray   []uint64
}

// Check compares the index with itself and with the files. With data it reads all bytes and compares them with their
// ETags. With repair it removes what nothing refers to. No request may be served meanwhile.
func (s *Store) Check(ctx context.Context, data, repair bool) (*Report, error) {
	c := &checker{report: new(Report), data: data, ctx: ctx, buckets: map[uint64]*bucket{}, bodies: map[uint64]extent{}}
	for _, damage := range s.medium.check() {
		c.damaged("the index: %s", damage)
	}
	if len(c.report.Damage) > 0 {
		return c.report, nil // what it says of the files is worth nothing
	}
	if err := s.emptyTrash(ctx); err != nil {
		return nil, err
	}
	err := s.view(func(t *txn) error {
		c.txn = t
		for _, walk := range []func() error{c.walkBuckets, c.walkObjects, c.walkNulls, c.walkLayouts, c.walkUploads, c.walkBodies, c.walkFiles} {
			if err := walk(); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && repair {
		err = s.repair(ctx, c)
	}
	return c.report, err
}

func (c *checker) damaged(format string, args ...any) {
	c.report.Damage = append(c.report.Damage, fmt.Sprintf(format, args...))
}

func (c *checker) waste(format string, args ...any) {
	c.report.Waste = append(c.report.Waste, fmt.Sprintf(format, args...))
}

// each walks a space.
func (c *checker) each(s space, fn func(k, v []byte) error) error {
	cur := c.cursor(s)
	for k, v := cur.seek(nil); k != nil; k, v = cur.next() {
		if err := fn(k, v); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) walkBuckets() error {
	return c.each(bucketSpace, func(k, v []byte) error {
		b, err := c.store.buckets.decode(string(k), v)
		if err != nil {
			c.damaged("bucket %s: %v", k, err)
			return nil
		}
		c.buckets[b.ID] = b
		return nil
	})
}

// name is how a report calls what an index key is about.
func (c *checker) name(k []byte) (name string, ok bool) {
	key, _ := keyOf(k)
	b := c.buckets[idOf(k)]
	if b == nil {
		return fmt.Sprintf("bucket number %d, key %q", idOf(k), key), false
	}
	return fmt.Sprintf("%s, key %q", b.Name, key), true
}

func (c *checker) walkObjects() error {
	for _, s := range []space{currentSpace, versionSpace} {
		err := c.each(s, func(k, v []byte) error {
			name, known := c.name(k)
			o, err := decodeObject(v)
			switch {
			case err != nil:
				c.damaged("%s: its entry cannot be read", name)
				return nil
			case !known:
				c.damaged("%s: there is no such bucket", name)
			}
			name += ", version " + o.versionID()
			if s == currentSpace {
				c.report.Objects++
				c.current(name, k, o)
			} else {
				c.report.Versions++
				c.older(name, k, o)
			}
			return c.object(name, o)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// current checks that a current object is an object, and the newest of its versions.
func (c *checker) current(name string, k []byte, o *object) {
	if o.marker {
		c.damaged("%s: a delete marker stands where objects do", name)
	}
	if older, _ := c.cursor(versionSpace).seek(k); bytes.HasPrefix(older, k) && ^idOf(older[len(k):]) >= o.seq {
		c.damaged("%s: a noncurrent version is newer", name)
	}
}

// older checks a noncurrent version's place. The newest of them is no object where there is no current one.
func (c *checker) older(name string, k []byte, o *object) {
	at := k[:len(k)-8]
	if ^idOf(k[len(at):]) != o.seq {
		c.damaged("%s: it stands in another version's place", name)
	}
	first, _ := c.cursor(versionSpace).seek(at)
	if !o.marker && bytes.Equal(first, k) && c.get(currentSpace, at) == nil {
		c.damaged("%s: it should be current", name)
	}
	if o.null && idOf(c.get(nullSpace, at)) != o.seq {
		c.damaged("%s: it cannot be found by its id", name)
	}
}

// object checks an object's bytes.
func (c *checker) object(name string, o *object) error {
	if o.parts == 0 {
		if o.size != o.body.size {
			c.damaged("%s: its size is not that of its body", name)
		}
		return c.body(name, o.body, o.etag)
	}
	record := c.get(layoutSpace, idKey(o.seq))
	if record == nil {
		c.damaged("%s: its parts are not known", name)
		return nil
	}
	parts, err := decodeLayout(record)
	if err != nil {
		c.damaged("%s: its parts cannot be read", name)
		return nil
	}
	var size int64
	for i := range parts {
		size += parts[i].size
		if err := c.body(fmt.Sprintf("%s, part %d", name, parts[i].number), parts[i].body, parts[i].etag); err != nil {
			return err
		}
	}
	if size != o.size || len(parts) != o.parts {
		c.damaged("%s: its parts are not those of an object of %d bytes", name, o.size)
	}
	return nil
}

// body checks that bytes are there, and the right ones.
func (c *checker) body(name string, x extent, etag string) error {
	if x.id == 0 {
		if x.size != 0 {
			c.damaged("%s: its bytes are nowhere", name)
		}
		return nil
	}
	if _, twice := c.bodies[x.id]; twice {
		c.damaged("%s: its bytes belong to another object, too", name)
	}
	c.bodies[x.id] = x
	c.report.Bodies++
	c.report.Bytes += x.size
	if x.inline {
		data := c.get(inlineSpace, idKey(x.id))
		if int64(len(data)) != x.size {
			c.damaged("%s: its bytes are not in the index", name)
			return nil
		}
		return c.compare(name, bytes.NewReader(data), x.size, etag)
	}
	if c.get(fileSpace, idKey(x.id)) == nil {
		c.damaged("%s: the index does not know its file %016x", name, x.id)
	}
	f, err := c.store.medium.open(x.id)
	if err != nil {
		c.damaged("%s: its file: %v", name, err)
		return nil
	}
	defer f.Close()
	n, err := f.size()
	if err != nil || n != x.size {
		c.damaged("%s: its file %016x has %d bytes and not %d", name, x.id, n, x.size)
		return err
	}
	return c.compare(name, io.NewSectionReader(f, 0, n), n, etag)
}

// compare reads bytes and compares them with their ETag.
func (c *checker) compare(name string, r io.Reader, size int64, etag string) error {
	if !c.data {
		return nil
	}
	h := c.store.cfg.NewETag()
	n, err := io.Copy(h, &interruptible{r, c.ctx})
	if c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	if err != nil || n != size || hex.EncodeToString(h.Sum(nil)) != etag {
		c.damaged("%s: its bytes have changed, or cannot be read", name)
	}
	return nil
}

type interruptible struct {
	r   io.Reader
	ctx context.Context
}

func (i *interruptible) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}

func (c *checker) walkNulls() error {
	return c.each(nullSpace, func(k, v []byte) error {
		if c.get(versionSpace, appendID(bytes.Clone(k), ^idOf(v))) == nil {
			name, _ := c.name(k)
			c.damaged("%s: its version with the id null is not there", name)
		}
		return nil
	})
}

// walkLayouts looks for parts of no object: their bodies are in no list yet.
func (c *checker) walkLayouts() error {
	return c.each(layoutSpace, func(k, v []byte) error {
		parts, err := decodeLayout(v)
		if err != nil || len(parts) == 0 {
			c.damaged("layout %d cannot be read", idOf(k))
			return nil
		}
		if _, ok := c.bodies[parts[0].body.id]; !ok && parts[0].body.id != 0 {
			c.damaged("layout %d belongs to no object", idOf(k))
		}
		return nil
	})
}

func (c *checker) walkUploads() error {
	uploads := map[uint64]string{}
	err := c.each(uploadSpace, func(k, v []byte) error {
		name, known := c.name(k[:len(k)-8])
		o, err := decodeObject(v)
		if err != nil || !known {
			c.damaged("%s: an upload that cannot be read, or has no bucket", name)
			return nil
		}
		c.report.Uploads++
		uploads[o.seq] = name + ", upload " + (&upload{*o}).id()
		return nil
	})
	if err != nil {
		return err
	}
	return c.each(partSpace, func(k, v []byte) error {
		name, known := uploads[idOf(k)]
		p, err := decodePart(v)
		if err != nil || !known {
			c.damaged("part %x: it cannot be read, or belongs to no upload", k)
			return nil
		}
		return c.body(fmt.Sprintf("%s, part %d", name, p.number), p.body, p.etag)
	})
}

// walkBodies looks for bytes that the index has and refers to nowhere.
func (c *checker) walkBodies() error {
	err := c.each(inlineSpace, func(k, _ []byte) error {
		if x, ok := c.bodies[idOf(k)]; !ok || !x.inline {
			c.waste("bytes in the index, number %d, of no object", idOf(k))
			c.inline = append(c.inline, idOf(k))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.each(fileSpace, func(k, _ []byte) error {
		if x, ok := c.bodies[idOf(k)]; !ok || x.inline {
			c.waste("file %016x, of no object", idOf(k))
			c.listed = append(c.listed, idOf(k))
		}
		return nil
	})
}

// walkFiles looks for files that the index does not know.
func (c *checker) walkFiles() error {
	for id, err := range c.store.medium.files(0) {
		if err != nil {
			return err
		}
		if c.get(fileSpace, idKey(id)) == nil && c.get(trashSpace, idKey(id)) == nil {
			c.waste("file %016x, which the index does not know", id)
			c.stray = append(c.stray, id)
		}
	}
	return nil
}

// repair removes what nothing refers to. In a damaged store it removes nothing: an entry that cannot be read may be the
// one that refers to it.
func (s *Store) repair(ctx context.Context, c *checker) error {
	if len(c.report.Damage) > 0 || len(c.report.Waste) == 0 {
		return nil
	}
	err := s.commit(ctx, func(t *txn) error {
		if err := t.forget(inlineSpace, c.inline); err != nil {
			return err
		}
		for _, id := range c.listed {
			if err := t.dropBody(extent{id: id}); err != nil {
				return err
			}
		}
		return nil
	})
	for _, id := range c.stray {
		if err == nil {
			err = s.medium.remove(id)
		}
	}
	if err == nil {
		c.report.Repaired = len(c.report.Waste)
		err = s.emptyTrash(ctx)
	}
	return err
}
