package redis

import "syscall"

// diesWithParent ends a server, also a frozen one, whose test process was killed and could not clean up.
func diesWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
