// Package embedded is an S3 store for one machine, in the process of who uses it: an http.RoundTripper over an ordered
// index and bodies in files. The same engine works over two media, a directory and memory.
//
// A request is served in the goroutine of its caller, and no lock or transaction is held while a body moves. The store
// checks no signatures: the context of a request says whether its owner asks (AsOwner). A request whose context does not
// is anonymous, and bucket policies, canned ACLs and public access blocks decide about it.
//
// # Durability
//
// A write is acknowledged when it will survive the loss of power. Its order is: the body's bytes, fsync, fsync of the
// directory that got a name, commit of the index. What a commit drops is unlinked afterwards. So a crash leaves at most
// files without an entry, which the next start removes. An entry without its file is damage: fsck reports it, and nothing
// repairs it. After an fsync that failed nothing is certain any more, and the store stops.
package embedded
