package mqtest

import "syscall"

// childOf makes a process die with the test binary, also when that is killed.
func childOf() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
