//go:build unix && !linux

package redis

import "syscall"

func diesWithParent() *syscall.SysProcAttr { return nil }
