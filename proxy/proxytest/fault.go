package proxytest

import (
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"waxseal/proxy/s3"
)

// An Op is a request, as a hook sees it before anything is done.
type Op struct {
	Method, Bucket, Key string
	Name                string // AWS's name of the operation: PutObject, UploadPart, ...
	N                   int    // how many requests of this name there were, with this one
	Query               url.Values
	Header              http.Header
}

// A Fault is what goes wrong with a request. The zero value is nothing.
type Fault struct {
	// Delay passes and Block is waited for before anything else happens. Block ends when the client goes away.
	Delay time.Duration
	Block <-chan struct{}

	// Early is answered at once, without reading the body; Before after reading it. Neither does anything.
	Early, Before *s3.Error
	// CutBefore closes the connection instead of doing anything.
	CutBefore bool
	// After is answered though the request was done; CutAfter closes the connection after doing it.
	After    *s3.Error
	CutAfter bool
	// Late is answered with status 200 and after some white space, though the request was done: how S3 says
	// that a long Complete or copy failed after it had begun to answer.
	Late *s3.Error

	// Answer is the body of a 200 in place of the store's answer, though the request was done: a document that no store
	// of this program would keep.
	Answer []byte

	// CutBodyAfter closes the connection after so many bytes of the answer's body; negative is right after
	// the headers. Content-Length still promises the whole.
	CutBodyAfter int
	// Corrupt changes the answer's body, Header its headers.
	Corrupt func(body []byte)
	Header  func(http.Header)
}

func (f Fault) wait(q *request) {
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-q.Context().Done():
		}
	}
	if f.Block != nil {
		select {
		case <-f.Block:
		case <-q.Context().Done():
		}
	}
}

// A Hook decides about each request. Hooks run concurrently with requests, one at a time.
type Hook func(Op) Fault

// SetHook puts a hook in place; nil takes it away.
func (u *Upstream) SetHook(h Hook) {
	u.hook.mu.Lock()
	defer u.hook.mu.Unlock()
	u.hook.hook = h
}

type hookBox struct {
	mu   sync.Mutex
	hook Hook
}

func (b *hookBox) call(op Op) Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.hook == nil {
		return Fault{}
	}
	return b.hook(op)
}

// Nth returns a hook with a fault for the nth request of an operation, counted from the hook's making. 0 means every
// request.
func Nth(operation string, n int, fault Fault) Hook {
	seen := 0
	return func(op Op) Fault {
		if op.Name != operation {
			return Fault{}
		}
		if seen++; n == 0 || seen == n {
			return fault
		}
		return Fault{}
	}
}

// Hooks calls all of several hooks. The first fault wins.
func Hooks(hooks ...Hook) Hook {
	return func(op Op) Fault {
		var first Fault
		found := false
		for _, h := range hooks {
			if f := h(op); !found && f.any() {
				first, found = f, true
			}
		}
		return first
	}
}

func (f Fault) any() bool {
	return f.Delay != 0 || f.Block != nil || f.Early != nil || f.Before != nil || f.CutBefore || f.After != nil || f.CutAfter ||
		f.Late != nil || f.CutBodyAfter != 0 || f.Corrupt != nil || f.Header != nil
}

// FailNotPersist answers the nth request of the operation with 500, and it did not happen.
func FailNotPersist(operation string, n int) Hook {
	return Nth(operation, n, Fault{Before: s3.NewError(s3.InternalError)})
}

// FailButPersist answers the nth request of the operation with 500, and yet it did happen: the case that is
// forgotten.
func FailButPersist(operation string, n int) Hook {
	return Nth(operation, n, Fault{After: s3.NewError(s3.InternalError)})
}

// LoseNotPersist closes the connection instead of doing the nth request of the operation.
func LoseNotPersist(operation string, n int) Hook {
	return Nth(operation, n, Fault{CutBefore: true})
}

// LoseButPersist does the nth request of the operation and closes the connection instead of answering.
func LoseButPersist(operation string, n int) Hook {
	return Nth(operation, n, Fault{CutAfter: true})
}

func drain(r io.Reader) { _, _ = io.Copy(io.Discard, r) }
