package keystore

import (
	"fmt"
	"runtime"
	"strings"
)

// panicFrames is how much of the stack an error of Panicked names.
const panicFrames = 12

// Panicked makes an error of what recover returned, so that a fault in one request does not end all others. It says
// where the panic was, and neither its value nor arguments, which Go's own trace prints: key bytes can be among them.
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
