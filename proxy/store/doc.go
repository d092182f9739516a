// Package store is the client of the store behind: any server that speaks S3, or the embedded store in this process.
//
// Send builds a Request, signs it, sends it, and sends it again where a repetition is harmless. A body is framed with a
// checksum trailer, so that a store commits nothing before its reader has returned io.EOF (trailer.go). Answers and bodies
// that stand still end with ErrStalled (watchdog.go). Probe finds out which conditions the store honours: Capabilities.
//
// The package knows nothing of encryption and nothing of the client's request.
package store
