// Package sse turns a plaintext stream into the waxseal object format and back, also from the middle. FORMAT.md
// beside this file is the specification.
//
//	Body     := sealed part 1 || ... || sealed part N || [manifest]
//	Part n   := Tink AES-GCM-HKDF stream(Data key, "waxseal/v1/part" || be32(n))
//	            sealed once more under Outer ("waxseal/v1/outer") with two layers
//	Manifest := table box || facts box || public box || footer
//	Envelope := clear fields || wrapped data key(s) || [facts box] || public box
//
// Writing an object with facts known when it begins:
//
//	keys := NewKeys(false)
//	part := keys.SealPart(1, src, size)
//	env := Envelope{Mode: SSES3, Size: size, Headers: part.Headers(), HasHeaders: true}
//	err := env.Seal(keys, KEKs{Inner: kek, Outer: Key{}}, service, binding, facts, tag)
//
// Reading n bytes of it from the middle:
//
//	env, err := ParseEnvelope(text)
//	keys, facts, err := env.Open(kek, Key{}, binding)
//	layout, err := env.Layout(stored)
//	r := layout.Range(off, n)
//	plain, err := keys.Open(layout, r, bodyBytes(r.Offset, r.Length))
//
// Data keys are random and belong to one object. Every stream has a random salt and so a key of its own: parts may be
// sealed in any order, by anyone, and sealed again with new bytes. Every box has a key of its own too, derived with
// the salt of its envelope or manifest, so that no (key, nonce) is ever used twice.
//
// # Compatibility
//
// Every later version reads the objects of a released version; testdata/v1 holds the examples for the proof. An
// unknown version is ErrUnsupportedVersion.
package sse

import "errors"

// Errors for errors.Is. Their texts, and the texts of wrapping errors, name the failure and never hold a key or
// plaintext.
var (
	// ErrAuthentication: the bytes are not the bytes sealed under this key.
	ErrAuthentication = errors.New("sse: authentication failed")
	// ErrMalformed: the bytes are not in the format at all.
	ErrMalformed = errors.New("sse: malformed")
	// ErrUnsupportedVersion: the bytes come from a later version.
	ErrUnsupportedVersion = errors.New("sse: unsupported version")
	// ErrUnknownServiceKey: the service key of the public facts is not at hand. The facts under the data key remain
	// readable.
	ErrUnknownServiceKey = errors.New("sse: unknown service key")
	// ErrTooLong: a source gave more bytes than it had announced.
	ErrTooLong = errors.New("sse: more bytes than announced")
	// ErrClosed: the reader was closed before its end.
	ErrClosed = errors.New("sse: reader closed")
	// ErrNoKey: a sealing key is zero, as after Key.Zero.
	ErrNoKey = errors.New("sse: no key")
)
