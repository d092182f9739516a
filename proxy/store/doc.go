// Package store is the client of the store behind: any server that speaks S3, or the embedded store in this process.
//
// Send builds a Request, signs it, sends it, and retries it if it is idempotent. A body is framed with a checksum
// trailer, so that a store commits nothing before the body's reader has returned io.EOF (trailer.go). Responses and
// bodies that stall end with ErrStalled (watchdog.go). Probe finds out the conditions that the store honours:
// Capabilities.
//
// The package knows nothing of encryption and nothing of the client's request.
package store
