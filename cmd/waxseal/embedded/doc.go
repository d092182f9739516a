// Package embedded is the durable store that waxseal uses when no upstream is configured: versitygw's posix backend,
// in this process, behind a unix socket that only this user can open.
//
// The backend is used through its public interfaces and mended where it falls short of "acknowledged means durable":
//
//   - attributes.go wraps its metadata store: an object's bytes are on disk before its name exists, a version is on
//     disk before the object that replaces it.
//   - durable.go wraps its operations: they answer after files and directories are synced, and those that the
//     backend does in several unlocked steps (delete against put, complete against upload, delete of a bucket against
//     put) run one at a time per name.
//   - recover.go puts right, at start, what a killed process left half-done.
//
// docs/embedded-store.md says why this library, and what it cannot hold.
package embedded
