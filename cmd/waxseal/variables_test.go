package main

import (
	"strings"
	"testing"
)

// TestUnknownVariableStopsEveryCommand checks that every command with a configuration refuses an unknown variable.
func TestUnknownVariableStopsEveryCommand(t *testing.T) {
	t.Setenv("WAXSEAL_UPSTREAM_ENDPIONT", "https://store.example")
	for _, args := range [][]string{
		{"serve"}, {"backup", "x"}, {"restore", "x"}, {"rekey"}, {"audit"}, {"inspect", "s3://b"}, {"verify", "s3://b"}, {"migrate", "s3://b"},
		{"rewrap", "s3://b"}, {"healthcheck"}, {"check-config"},
	} {
		var out, errs strings.Builder
		if code := run(args, &out, &errs); code != 1 || !strings.Contains(errs.String(), "did you mean WAXSEAL_UPSTREAM_ENDPOINT?") {
			t.Errorf("%v: %d %s", args, code, errs.String())
		}
	}
}
