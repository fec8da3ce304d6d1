package etcd

import "syscall"

// diesWithParent ends also a frozen child, which cannot see that its standard input was closed.
func diesWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
