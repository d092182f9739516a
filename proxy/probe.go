package proxy

// Capabilities are what a store was seen to honour.
type Capabilities struct {
	// CleansPaths is a store that takes keys for paths and stores "a//b" or "/b" under another name, as MinIO and
	// versitygw do.
	CleansPaths   bool
	DeleteIfMatch bool // If-Match on DELETE; MinIO ignores it
}

// assumedCapabilities hold until a probe has run.
func assumedCapabilities() Capabilities { return Capabilities{} }

func (s *Server) capabilities() Capabilities { return s.probe }
