//go:build !linux

package mqtest

import "syscall"

func childOf() *syscall.SysProcAttr { return nil }
