package s3

import "strconv"

// Append appends the document, with its entries as they are now.
func (l *Listing) Append(dst []byte) []byte {
	at, dropped := 0, 0
	for i := range l.Entries {
		if l.Entries[i].Drop {
			dropped++
		}
	}
	count := dropped > 0 && l.countTo > 0
	for i := range l.Entries {
		e := &l.Entries[i]
		if !e.Drop && !e.changed() {
			continue
		}
		if count && l.countFrom < e.start {
			dst, at, count = l.appendCount(dst, at, dropped), l.countTo, false
		}
		dst = append(dst, l.doc[at:e.start]...)
		if !e.Drop {
			dst = e.append(dst, l.doc)
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

// append writes a changed entry: its children are read once more, and those that are to change are replaced
// where they stand.
func (e *ListEntry) append(dst []byte, doc string) []byte {
	s := scanner{doc: doc, pos: e.start, depth: 1}
	name, empty, _ := s.open()
	dst = append(dst, doc[e.start:s.pos]...)
	if empty {
		return dst
	}
	at := s.pos
	w := entryWriter{e: e, dst: dst}
	// The element was read before, so this cannot fail.
	_ = s.children(name, func(s *scanner, child string, start int, empty bool) error {
		err := s.skip(child, empty)
		w.dst = append(w.dst, doc[at:start]...)
		w.child(child, doc[start:s.pos])
		at = s.pos
		return err
	})
	end := e.end - len("</") - len(name) - len(">")
	w.dst = append(w.dst, doc[at:end]...)
	w.rest()
	return append(w.dst, doc[end:e.end]...)
}

type entryWriter struct {
	e                              *ListEntry
	dst                            []byte
	etag, size, checksum, metadata bool // written
}

func (w *entryWriter) child(name, element string) {
	e := w.e
	switch {
	case name == "ETag":
		w.writeETag(element)
	case name == "LastModified" && e.LastModified != e.was.LastModified:
		w.dst = appendElement(w.dst, name, e.LastModified)
	case name == "Size" && e.Size != e.was.Size:
		w.writeSize()
	case (name == "ChecksumAlgorithm" || name == "ChecksumType") && e.checksumChanged():
		w.writeChecksum()
	case name == "UserMetadata" && (e.DropMetadata || e.metadataChanged()):
		w.writeMetadata()
	case name == "UserTags" && e.DropMetadata, name == "Internal" && e.DropInternal:
	default:
		w.size = w.size || name == "Size"
		w.dst = append(w.dst, element...)
	}
}

// rest writes what had no place among the children.
func (w *entryWriter) rest() {
	if !w.etag && w.e.ETag != w.e.was.ETag {
		w.writeETag("")
	}
	if w.e.checksumChanged() {
		w.writeChecksum()
	}
	if !w.size && w.e.Size != w.e.was.Size {
		w.writeSize()
	}
	if w.e.metadataChanged() {
		w.writeMetadata()
	}
}

// writeETag also writes the checksum's algorithm and type if they are new: that is where S3 has them.
func (w *entryWriter) writeETag(element string) {
	w.etag = true
	if w.e.ETag == w.e.was.ETag {
		w.dst = append(w.dst, element...)
	} else {
		w.dst = appendElement(w.dst, "ETag", w.e.ETag)
	}
	if w.e.checksumChanged() {
		w.writeChecksum()
	}
}

func (w *entryWriter) writeSize() {
	w.size = true
	w.dst = append(w.dst, "<Size>"...)
	w.dst = strconv.AppendInt(w.dst, w.e.Size, 10)
	w.dst = append(w.dst, "</Size>"...)
}

func (w *entryWriter) writeChecksum() {
	if w.checksum {
		return
	}
	w.checksum = true
	for _, a := range w.e.ChecksumAlgorithm {
		w.dst = appendElement(w.dst, "ChecksumAlgorithm", a)
	}
	if w.e.ChecksumType != "" {
		w.dst = appendElement(w.dst, "ChecksumType", w.e.ChecksumType)
	}
}

func (w *entryWriter) writeMetadata() {
	if w.metadata || w.e.DropMetadata {
		return
	}
	w.metadata = true
	w.dst = append(w.dst, "<UserMetadata>"...)
	for _, f := range w.e.UserMetadata {
		w.dst = appendElement(w.dst, f.Name, f.Value)
	}
	w.dst = append(w.dst, "</UserMetadata>"...)
}
