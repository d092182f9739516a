package s3

import (
	"slices"
	"strconv"
	"strings"
)

// Append appends the document, with its entries as they are now.
func (l *Listing) Append(dst []byte) []byte {
	// An ETag gets longer by its escaped quotes and a number of parts, an entry by the elements of a checksum.
	dst = slices.Grow(dst, len(l.doc)+128*len(l.Entries))
	at, dropped := 0, 0
	for i := range l.Entries {
		if l.Entries[i].Drop {
			dropped++
		}
	}
	count := dropped > 0 && l.countTo > 0
	for i := range l.Entries {
		e := &l.Entries[i]
		if !e.Drop && !l.changed(e) {
			continue
		}
		if count && l.countFrom < e.start {
			dst, at, count = l.appendCount(dst, at, dropped), l.countTo, false
		}
		dst = append(dst, l.doc[at:e.start]...)
		if !e.Drop {
			dst = l.appendEntry(dst, e)
		}
		at = e.end
	}
	if count {
		dst, at = l.appendCount(dst, at, dropped), l.countTo
	}
	return append(dst, l.doc[at:]...)
}

// appendCount corrects KeyCount when entries were left out.
func (l *Listing) appendCount(dst []byte, at, dropped int) []byte {
	dst = append(dst, l.doc[at:l.countFrom]...)
	return strconv.AppendInt(dst, int64(max(l.keyCount-dropped, 0)), 10)
}

// appendEntry writes a changed entry: changed children are replaced in place.
func (l *Listing) appendEntry(dst []byte, e *ListEntry) []byte {
	if strings.HasSuffix(l.doc[e.start:e.end], "/>") {
		return append(dst, l.doc[e.start:e.end]...)
	}
	w := entryWriter{e: e, dst: dst, checksumChanged: l.checksumChanged(e), metadataChanged: l.metadataChanged(e)}
	at := e.start
	for _, m := range l.marks[e.marks.from:e.marks.to] {
		w.dst = append(w.dst, l.doc[at:m.start]...)
		w.child(m.field, l.doc[m.start:m.end])
		at = int(m.end)
	}
	end := e.end - len("</") - len(e.Kind.String()) - len(">")
	w.dst = append(w.dst, l.doc[at:end]...)
	w.rest()
	return append(w.dst, l.doc[end:e.end]...)
}

type entryWriter struct {
	e                                *ListEntry
	dst                              []byte
	checksumChanged, metadataChanged bool
	written                          field
}

func (w *entryWriter) child(f field, element string) {
	e := w.e
	switch {
	case f == fieldETag:
		w.writeETag(element)
	case f == fieldLastModified && e.LastModified != e.was.lastModified:
		w.dst = appendElement(w.dst, "LastModified", e.LastModified)
	case f == fieldSize && e.Size != e.was.size:
		w.writeSize()
	case f&(fieldChecksumAlgorithm|fieldChecksumType) != 0 && w.checksumChanged:
		w.writeChecksum()
	case f == fieldMetadata && (e.DropMetadata || w.metadataChanged):
		w.writeMetadata()
	case f == fieldTags && e.DropMetadata, f == fieldInternal && e.DropInternal:
	default:
		w.written |= f
		w.dst = append(w.dst, element...)
	}
}

// rest writes the facts without a place among the children.
func (w *entryWriter) rest() {
	if w.written&fieldETag == 0 && w.e.ETag != w.e.was.etag {
		w.writeETag("")
	}
	if w.checksumChanged {
		w.writeChecksum()
	}
	if w.written&fieldSize == 0 && w.e.Size != w.e.was.size {
		w.writeSize()
	}
	if w.metadataChanged {
		w.writeMetadata()
	}
}

// writeETag also writes the checksum's algorithm and type if they are new: that is where S3 has them.
func (w *entryWriter) writeETag(element string) {
	w.written |= fieldETag
	if w.e.ETag == w.e.was.etag {
		w.dst = append(w.dst, element...)
	} else {
		w.dst = appendElement(w.dst, "ETag", w.e.ETag)
	}
	if w.checksumChanged {
		w.writeChecksum()
	}
}

func (w *entryWriter) writeSize() {
	w.written |= fieldSize
	w.dst = append(w.dst, "<Size>"...)
	w.dst = strconv.AppendInt(w.dst, w.e.Size, 10)
	w.dst = append(w.dst, "</Size>"...)
}

func (w *entryWriter) writeChecksum() {
	if w.written&fieldChecksumType != 0 {
		return
	}
	w.written |= fieldChecksumType
	for _, a := range w.e.ChecksumAlgorithm {
		w.dst = appendElement(w.dst, "ChecksumAlgorithm", a)
	}
	if w.e.ChecksumType != "" {
		w.dst = appendElement(w.dst, "ChecksumType", w.e.ChecksumType)
	}
}

func (w *entryWriter) writeMetadata() {
	if w.written&fieldMetadata != 0 || w.e.DropMetadata {
		return
	}
	w.written |= fieldMetadata
	w.dst = append(w.dst, "<UserMetadata>"...)
	for _, f := range w.e.UserMetadata {
		w.dst = appendElement(w.dst, f.Name, f.Value)
	}
	w.dst = append(w.dst, "</UserMetadata>"...)
}
