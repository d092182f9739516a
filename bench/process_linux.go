package main

import "syscall"

// diesWithParent leaves no server behind when the benchmark is killed.
func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
