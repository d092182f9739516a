package main

import (
	"os"
	"testing"
)

// TestMain lets the test's own binary serve as a benchmark's child process.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "null-store" {
		exit(serveNullStore(os.Args[2]))
	}
	os.Exit(m.Run())
}
