// Package objects seals, finds and opens objects at a store: key-encryption keys, envelopes, manifests' ends.
//
// A Session stands for one request. The package knows no client of the proxy: a Requester names the caller, sends
// requests to the store, and adds the headers of the client's request.
package objects
