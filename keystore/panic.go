package keystore

import (
	"fmt"
	"runtime"
	"strings"
)

// panicFrames is how much of the stack an error of Panicked names.
const panicFrames = 12

// Panicked makes an error of the value of recover, so that a fault in a request does not end the process. It names the
// place of the panic, but neither its value nor arguments, as Go's own trace does: key bytes can be among them.
func Panicked(v any) error {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	var at []string
	for more := true; more && len(at) < panicFrames; {
		var f runtime.Frame
		if f, more = frames.Next(); !strings.HasPrefix(f.Function, "runtime.") {
			at = append(at, fmt.Sprintf("%s:%d", f.Function, f.Line))
		}
	}
	what := fmt.Sprintf("%T", v)
	if e, ok := v.(runtime.Error); ok {
		what = e.Error() // "index out of range [3] with length 2": Go's own words
	}
	return fmt.Errorf("panic (%s) at %s", what, strings.Join(at, " < "))
}
