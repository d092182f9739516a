package proxy

// Capabilities are what a store was seen to honour.
type Capabilities struct {
	DeleteIfMatch bool // If-Match on DELETE; MinIO ignores it
}

// assumedCapabilities hold until a probe has run.
func assumedCapabilities() Capabilities { return Capabilities{} }

func (s *Server) capabilities() Capabilities { return s.probe }
