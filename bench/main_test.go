package main

import (
	"os"
	"testing"
)

// TestMain lets the test's own binary be the processes that a benchmark starts.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "null-store" {
		exit(serveNullStore(os.Args[2]))
	}
	os.Exit(m.Run())
}
