// Package objects seals, finds and opens objects at a store: key-encryption keys, envelopes, manifests' ends.
//
// A Session stands for one request. The package knows no client of the proxy: a Requester says who asks, sends requests to
// the store, and adds the headers that belong to the client's request.
package objects
