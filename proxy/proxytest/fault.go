package proxytest

import (
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"waxseal/proxy/s3"
)

// An Op is a request as a hook sees it, before it has an effect.
type Op struct {
	Method, Bucket, Key string
	Name                string // AWS's name of the operation: PutObject, UploadPart, ...
	N                   int    // how many requests of this name have come, including this one
	Query               url.Values
	Header              http.Header
}

// A Fault says how a request goes wrong. The zero value is no fault.
type Fault struct {
	// Delay is slept, and then Block is awaited, before anything else happens. Block ends when the client disconnects.
	Delay time.Duration
	Block <-chan struct{}

	// Early is the response before the body is read, Before the response after it. With either, the request has no
	// effect.
	Early, Before *s3.Error
	// CutBefore closes the connection; the request has no effect.
	CutBefore bool
	// After is the response to a request that took effect; CutAfter closes the connection after the request took
	// effect.
	After    *s3.Error
	CutAfter bool
	// Late is a response with status 200 and white space before the error, to a request that took effect. S3 reports
	// like this that a long Complete or copy failed after the response had begun.
	Late *s3.Error

	// Answer is the body of a 200 in place of the store's response, to a request that took effect. It is for documents
	// that no store of this program would keep.
	Answer []byte

	// CutBodyAfter closes the connection after so many bytes of the response's body; negative means right after the
	// headers. Content-Length still promises the whole body.
	CutBodyAfter int
	// Corrupt changes the body of the response, Header its headers.
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

// A Hook decides about each request. Hooks run concurrently with requests, but only a single hook at a time.
type Hook func(Op) Fault

// SetHook sets the hook; nil removes it.
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

// Nth returns a hook with a fault for the nth request of an operation, counted from the call of Nth. 0 means every
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

// Hooks returns a hook that calls all hooks. The first fault wins.
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

// FailNotPersist answers the nth request of the operation with 500. The request has no effect.
func FailNotPersist(operation string, n int) Hook {
	return Nth(operation, n, Fault{Before: s3.NewError(s3.InternalError)})
}

// FailButPersist answers the nth request of the operation with 500, though the request takes effect. Clients tend to
// forget this case.
func FailButPersist(operation string, n int) Hook {
	return Nth(operation, n, Fault{After: s3.NewError(s3.InternalError)})
}

// LoseNotPersist closes the connection at the nth request of the operation. The request has no effect.
func LoseNotPersist(operation string, n int) Hook {
	return Nth(operation, n, Fault{CutBefore: true})
}

// LoseButPersist closes the connection after the nth request of the operation has taken effect.
func LoseButPersist(operation string, n int) Hook {
	return Nth(operation, n, Fault{CutAfter: true})
}

func drain(r io.Reader) { _, _ = io.Copy(io.Discard, r) }
