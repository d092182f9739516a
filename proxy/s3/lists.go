package s3

import "encoding/xml"

// ListBucketResult answers ListObjects, the first version.
type ListBucketResult struct {
	XMLName        xml.Name       `xml:"ListBucketResult"`
	Name           string         `xml:"Name"`
	Prefix         string         `xml:"Prefix"`
	Marker         string         `xml:"Marker"`
	NextMarker     string         `xml:"NextMarker,omitempty"`
	MaxKeys        int            `xml:"MaxKeys"`
	Delimiter      string         `xml:"Delimiter,omitempty"`
	EncodingType   string         `xml:"EncodingType,omitempty"`
	IsTruncated    bool           `xml:"IsTruncated"`
	Contents       []Object       `xml:"Contents"`
	CommonPrefixes []CommonPrefix `xml:"CommonPrefixes"`
}

// ListBucketResultV2 answers ListObjectsV2.
type ListBucketResultV2 struct {
	XMLName               xml.Name       `xml:"ListBucketResult"`
	Name                  string         `xml:"Name"`
	Prefix                string         `xml:"Prefix"`
	ContinuationToken     string         `xml:"ContinuationToken,omitempty"`
	NextContinuationToken string         `xml:"NextContinuationToken,omitempty"`
	StartAfter            string         `xml:"StartAfter,omitempty"`
	KeyCount              int            `xml:"KeyCount"`
	MaxKeys               int            `xml:"MaxKeys"`
	Delimiter             string         `xml:"Delimiter,omitempty"`
	EncodingType          string         `xml:"EncodingType,omitempty"`
	IsTruncated           bool           `xml:"IsTruncated"`
	Contents              []Object       `xml:"Contents"`
	CommonPrefixes        []CommonPrefix `xml:"CommonPrefixes"`
}

// Object is an object of a listing.
type Object struct {
	Key               string   `xml:"Key"`
	LastModified      string   `xml:"LastModified"`
	ETag              string   `xml:"ETag"`
	ChecksumAlgorithm []string `xml:"ChecksumAlgorithm,omitempty"`
	ChecksumType      string   `xml:"ChecksumType,omitempty"`
	Size              int64    `xml:"Size"`
	Owner             *Owner   `xml:"Owner,omitempty"`
	StorageClass      string   `xml:"StorageClass,omitempty"`

	// MinIO's answer to metadata=true.
	UserMetadata *MetadataElements `xml:"UserMetadata,omitempty"`
	UserTags     string            `xml:"UserTags,omitempty"`
}

// ListVersionsResult answers ListObjectVersions. Entries keeps versions and delete markers interleaved, as
// the store sorted them: newest first within a key.
type ListVersionsResult struct {
	XMLName             xml.Name       `xml:"ListVersionsResult"`
	Name                string         `xml:"Name"`
	Prefix              string         `xml:"Prefix"`
	KeyMarker           string         `xml:"KeyMarker"`
	VersionIDMarker     string         `xml:"VersionIdMarker"`
	NextKeyMarker       string         `xml:"NextKeyMarker,omitempty"`
	NextVersionIDMarker string         `xml:"NextVersionIdMarker,omitempty"`
	MaxKeys             int            `xml:"MaxKeys"`
	Delimiter           string         `xml:"Delimiter,omitempty"`
	EncodingType        string         `xml:"EncodingType,omitempty"`
	IsTruncated         bool           `xml:"IsTruncated"`
	Entries             []Version      `xml:",any"`
	CommonPrefixes      []CommonPrefix `xml:"CommonPrefixes"`
}

// Version is a version or, when DeleteMarker is set, a delete marker.
type Version struct {
	DeleteMarker      bool     `xml:"-"`
	Key               string   `xml:"Key"`
	VersionID         string   `xml:"VersionId"`
	IsLatest          bool     `xml:"IsLatest"`
	LastModified      string   `xml:"LastModified"`
	ETag              string   `xml:"ETag,omitempty"`
	ChecksumAlgorithm []string `xml:"ChecksumAlgorithm,omitempty"`
	ChecksumType      string   `xml:"ChecksumType,omitempty"`
	Size              *int64   `xml:"Size,omitempty"`
	StorageClass      string   `xml:"StorageClass,omitempty"`
	Owner             *Owner   `xml:"Owner,omitempty"`

	UserMetadata *MetadataElements `xml:"UserMetadata,omitempty"`
	UserTags     string            `xml:"UserTags,omitempty"`

	unknown bool // some other child of the root
}

// MarshalXML implements xml.Marshaler.
func (v Version) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	type plain Version
	start.Name = xml.Name{Local: "Version"}
	if v.DeleteMarker {
		start.Name.Local = "DeleteMarker"
	}
	return e.EncodeElement(plain(v), start)
}

// UnmarshalXML implements xml.Unmarshaler.
func (v *Version) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	type plain Version
	switch start.Name.Local {
	case "Version", "DeleteMarker":
		if err := d.DecodeElement((*plain)(v), &start); err != nil {
			return err
		}
		v.DeleteMarker = start.Name.Local == "DeleteMarker"
		return nil
	}
	v.unknown = true
	return d.Skip()
}

// UnmarshalXML implements xml.Unmarshaler: children that are neither versions nor markers are left out.
func (l *ListVersionsResult) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	type plain ListVersionsResult
	if err := d.DecodeElement((*plain)(l), &start); err != nil {
		return err
	}
	kept := l.Entries[:0]
	for _, v := range l.Entries {
		if !v.unknown {
			kept = append(kept, v)
		}
	}
	l.Entries = kept
	return nil
}

// MetadataElements is MinIO's <UserMetadata>: one child per entry, named after the header.
type MetadataElements struct {
	Fields []Field
}

// MarshalXML implements xml.Marshaler.
func (m MetadataElements) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	for _, f := range m.Fields {
		if err := e.EncodeElement(f.Value, xml.StartElement{Name: xml.Name{Local: f.Name}}); err != nil {
			return err
		}
	}
	return e.EncodeToken(start.End())
}

// UnmarshalXML implements xml.Unmarshaler.
func (m *MetadataElements) UnmarshalXML(d *xml.Decoder, _ xml.StartElement) error {
	for {
		t, err := d.Token()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			f := Field{Name: t.Name.Local}
			if err := d.DecodeElement(&f.Value, &t); err != nil {
				return err
			}
			m.Fields = append(m.Fields, f)
		case xml.EndElement:
			return nil
		}
	}
}
