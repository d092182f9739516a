package sse

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// FooterSize is the fixed size of a manifest's footer, the end of the body.
	FooterSize = 64
	// TailSize is the length of a suffix read, enough for the facts box, the public box and the footer. They have at
	// most 268 bytes today; the rest is for facts to come.
	TailSize = 512

	footerMagic = "WAXSEAL"
	maxUploadID = 1024

	partMinSize = 2 + 8 + 1 + len(StreamHeader{})
)

var (
	partMaxSize = 2 + 8 + 1 + 2*len(StreamHeader{}) + 16 + maxChecksum
	// tableMax bounds a table, so that a forged footer cannot make a reader fetch without end.
	tableMax = 2*maxUploadID + MaxParts*partMaxSize
)

// ManifestPart is a part as the manifest's table has it.
type ManifestPart struct {
	Number   int
	Size     int64 // of plaintext
	Headers  Headers
	MD5      [16]byte
	HasMD5   bool
	Checksum []byte // of the manifest's ChecksumAlgorithm, or none
}

// Manifest ends the body of an object with facts not yet known when the body begins.
type Manifest struct {
	UploadID          string // a completed upload is recognised by it
	Parts             []ManifestPart
	Facts             Facts
	Tag               Tag
	ChecksumAlgorithm uint8 // of the parts' checksums, 0 for none
}

// Footer is the clear end of a manifest; every box of the manifest authenticates it.
type Footer struct {
	Size       int64 // of the object's plaintext
	Parts      uint32
	TableSize  int // of the boxes
	FactsSize  int
	PublicSize int

	service uint32
	salt    [saltSize]byte
}

// ManifestSize is the size of the whole manifest.
func (f *Footer) ManifestSize() int64 {
	return int64(f.TableSize + f.FactsSize + f.PublicSize + FooterSize)
}

// Layout is the layout of the object's parts.
func (m *Manifest) Layout(layers int) *Layout {
	l := &Layout{Layers: layers, Parts: make([]PartInfo, len(m.Parts))}
	for i := range m.Parts {
		p := &m.Parts[i]
		l.Parts[i] = PartInfo{Number: p.Number, Size: p.Size, Headers: p.Headers}
	}
	return l
}

// SealedSize returns the size of Seal's result. It depends on the set of facts (HasMD5, the facts' algorithms, the
// tag's kind, the length of a part's Checksum), not on their values, so that an upload's length can be announced
// before its digests are known.
func (m *Manifest) SealedSize(layers int) int64 {
	f := m.footer(layers)
	return f.ManifestSize()
}

func (m *Manifest) footer(layers int) Footer {
	f := Footer{
		Parts:      uint32(len(m.Parts)),
		TableSize:  m.tableSize(layers) + TagSize,
		FactsSize:  m.Facts.sealedSize(),
		PublicSize: m.Tag.size() + TagSize,
	}
	for i := range m.Parts {
		f.Size += m.Parts[i].Size
	}
	return f
}

// Seal seals the manifest under the object's keys, with a salt of its own.
func (m *Manifest) Seal(keys Keys, svc ServiceKey) ([]byte, error) {
	if err := keys.usable(); err != nil {
		return nil, err
	}
	if svc.Key.IsZero() {
		return nil, ErrNoKey
	}
	var salt [saltSize]byte
	rand.Read(salt[:])
	return m.seal(keys, svc, salt)
}

// seal is Seal with the salt given, for vectors with known bytes.
func (m *Manifest) seal(keys Keys, svc ServiceKey, salt [saltSize]byte) ([]byte, error) {
	return m.sealWith(keys.manifestKey(), svc, salt)
}

// check refuses an inconsistent manifest, both when sealing and when opening.
func (m *Manifest) check() error {
	if len(m.UploadID) > maxUploadID {
		return errors.New("sse: upload id too long")
	}
	if len(m.Parts) == 0 || len(m.Parts) > MaxParts {
		return fmt.Errorf("sse: a manifest of %d parts", len(m.Parts))
	}
	if m.ChecksumAlgorithm != 0 && ChecksumSize(m.ChecksumAlgorithm) == 0 {
		return fmt.Errorf("sse: unknown checksum algorithm %d", m.ChecksumAlgorithm)
	}
	var before int
	var total int64
	for i := range m.Parts {
		p := &m.Parts[i]
		if err := checkPart(p.Number, p.Size); err != nil {
			return err
		}
		if p.Number <= before {
			return fmt.Errorf("sse: part %d after part %d", p.Number, before)
		}
		if n := len(p.Checksum); n > 0 && n != ChecksumSize(m.ChecksumAlgorithm) {
			return fmt.Errorf("sse: checksum of part %d has %d bytes", p.Number, n)
		}
		if total += p.Size; total > MaxPlaintext {
			return errors.New("sse: size out of range")
		}
		before = p.Number
	}
	return m.Tag.check()
}

// Flags of a part.
const (
	partMD5 = 1 << iota
	partChecksum
	partKnown = 1<<iota - 1
)

func (p *ManifestPart) flags() (f byte) {
	if p.HasMD5 {
		f |= partMD5
	}
	if len(p.Checksum) > 0 {
		f |= partChecksum
	}
	return f
}

func (m *Manifest) tableSize(layers int) int {
	n := len(binary.AppendUvarint(nil, uint64(len(m.UploadID)))) + len(m.UploadID) + 1 + m.Tag.size()
	for i := range m.Parts {
		p := &m.Parts[i]
		n += 2 + 8 + 1 + layers*len(StreamHeader{}) + len(p.Checksum)
		if p.HasMD5 {
			n += len(p.MD5)
		}
	}
	return n
}

// appendTable writes upload id, checksum algorithm and tag, then the parts. The tag is here a second time for readers
// without the service key.
func (m *Manifest) appendTable(b []byte, layers int) []byte {
	b = appendBytes(b, m.UploadID)
	b = append(b, m.ChecksumAlgorithm)
	b = m.Tag.encode(b)
	for i := range m.Parts {
		p := &m.Parts[i]
		b = binary.BigEndian.AppendUint16(b, uint16(p.Number))
		b = binary.BigEndian.AppendUint64(b, uint64(p.Size))
		b = append(b, p.flags())
		b = p.Headers.append(b, layers)
		if p.HasMD5 {
			b = append(b, p.MD5[:]...)
		}
		b = append(b, p.Checksum...)
	}
	return b
}

func decodeTable(plain []byte, parts uint32, layers int) (*Manifest, error) {
	in := fields{b: plain}
	m := &Manifest{UploadID: string(in.view()), ChecksumAlgorithm: in.u8(), Tag: in.tag()}
	if in.err == nil && uint64(parts)*uint64(partMinSize) > uint64(len(in.b)) {
		in.fail(fmt.Errorf("%w: table too short for its parts", ErrMalformed))
	}
	if in.err == nil {
		m.Parts = make([]ManifestPart, parts)
	}
	for i := range m.Parts {
		m.Parts[i] = in.part(layers, ChecksumSize(m.ChecksumAlgorithm))
	}
	if err := in.end(); err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return m, nil
}

func (f *fields) part(layers, checksum int) ManifestPart {
	p := ManifestPart{Number: int(f.u16()), Size: f.size()}
	flags := f.u8()
	if flags&^partKnown != 0 {
		f.fail(fmt.Errorf("%w: flags of a part", ErrUnsupportedVersion))
	}
	p.Headers = f.headers(layers)
	if p.HasMD5 = flags&partMD5 != 0; p.HasMD5 {
		f.into(p.MD5[:])
	}
	if flags&partChecksum != 0 {
		if checksum == 0 {
			f.fail(fmt.Errorf("%w: checksum of no algorithm", ErrMalformed))
		}
		p.Checksum = f.take(checksum) // aliases the table, owned by the manifest
	}
	return p
}

func (f *Footer) append(b []byte) []byte {
	b = append(b, f.salt[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(f.Size))
	b = binary.BigEndian.AppendUint32(b, f.Parts)
	b = binary.BigEndian.AppendUint32(b, uint32(f.TableSize))
	b = binary.BigEndian.AppendUint32(b, f.service)
	b = binary.BigEndian.AppendUint16(b, uint16(f.FactsSize))
	b = binary.BigEndian.AppendUint16(b, uint16(f.PublicSize))
	b = append(b, version1)
	return append(b, footerMagic...)
}

// ParseFooter reads the footer from the last bytes of a body. Do not show its values before OpenTag, OpenFacts or
// OpenManifest has authenticated them.
func ParseFooter(tail []byte) (*Footer, error) {
	if len(tail) < FooterSize {
		return nil, fmt.Errorf("%w: no manifest: %d bytes", ErrMalformed, len(tail))
	}
	in := fields{b: tail[len(tail)-FooterSize:]}
	f := new(Footer)
	in.into(f.salt[:])
	f.Size = in.size()
	f.Parts = in.u32()
	f.TableSize = int(in.u32())
	f.service = in.u32()
	f.FactsSize = int(in.u16())
	f.PublicSize = int(in.u16())
	version := in.u8()
	if magic := in.take(len(footerMagic)); in.err == nil && string(magic) != footerMagic {
		return nil, fmt.Errorf("%w: no manifest", ErrMalformed)
	}
	if in.err == nil && version != version1 {
		return nil, fmt.Errorf("%w: manifest of version %d", ErrUnsupportedVersion, version)
	}
	if err := in.end(); err != nil {
		return nil, err
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *Footer) check() error {
	switch {
	case f.Parts == 0 || f.Parts > MaxParts,
		f.TableSize > tableMax || f.TableSize < int(f.Parts)*partMinSize+TagSize,
		f.FactsSize < factsPrefix+TagSize || f.FactsSize > factsMaxPlain+TagSize,
		f.PublicSize < 1+TagSize || f.PublicSize > tagMaxSize+TagSize:
		return fmt.Errorf("%w: footer of the manifest", ErrMalformed)
	}
	return nil
}

// cut returns the box of size bytes at before bytes from the end of tail.
func cut(tail []byte, size, before int) ([]byte, error) {
	end := len(tail) - before
	if end < size {
		return nil, fmt.Errorf("%w: %d bytes do not hold the manifest's box", ErrMalformed, len(tail))
	}
	return tail[end-size : end], nil
}

// OpenTag authenticates the footer and gives the tag without a data key.
// commitment is the envelope's.
func (f *Footer) OpenTag(tail []byte, commitment [32]byte, svc ServiceKeys) (Tag, error) {
	box, err := cut(tail, f.PublicSize, FooterSize)
	if err != nil {
		return Tag{}, err
	}
	aad := associated(labelPublic, f.append(nil), commitment[:])
	tag, err := svc.open(f.service, f.salt[:], labelPublic, box, aad)
	if err != nil {
		return Tag{}, fmt.Errorf("manifest: %w", err)
	}
	return tag, nil
}

// OpenFacts authenticates the footer and gives the facts.
func (f *Footer) OpenFacts(tail []byte, keys Keys) (*Facts, error) {
	box, err := cut(tail, f.FactsSize, FooterSize+f.PublicSize)
	if err != nil {
		return nil, err
	}
	plain, err := f.openBox(keys, labelFacts, box)
	if err != nil {
		return nil, fmt.Errorf("%w: facts of the manifest", err)
	}
	return decodeFacts(plain)
}

func (f *Footer) openBox(keys Keys, label string, box []byte) ([]byte, error) {
	k := keys.manifestKey()
	defer k.Zero()
	return k.secret.Derive(f.salt[:], label).openBox(box, associated(label, f.append(nil), k.commitment[:]))
}

// OpenManifest opens the whole manifest; sealed is exactly all of its bytes.
func OpenManifest(sealed []byte, keys Keys) (*Manifest, error) {
	f, err := ParseFooter(sealed)
	if err != nil {
		return nil, err
	}
	if int64(len(sealed)) != f.ManifestSize() {
		return nil, fmt.Errorf("%w: manifest of %d bytes, not %d", ErrMalformed, len(sealed), f.ManifestSize())
	}
	table, err := f.openBox(keys, labelTable, sealed[:f.TableSize])
	if err != nil {
		return nil, fmt.Errorf("%w: table of the manifest", err)
	}
	m, err := decodeTable(table, f.Parts, keys.Layers())
	if err != nil {
		return nil, err
	}
	facts, err := f.OpenFacts(sealed, keys)
	if err != nil {
		return nil, err
	}
	m.Facts = *facts
	if want := m.footer(keys.Layers()); want.Size != f.Size || want.PublicSize != f.PublicSize {
		return nil, fmt.Errorf("%w: footer and table of the manifest differ", ErrAuthentication)
	}
	return m, nil
}
