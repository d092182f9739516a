//go:build !linux

package main

import (
	"syscall"
	"time"
)

func diesWithParent() *syscall.SysProcAttr { return nil }

// threadCPU is the time on the wall where no other is known.
func threadCPU() time.Duration { return time.Since(processStart) }

var processStart = time.Now()
