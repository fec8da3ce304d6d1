//go:build !linux

package etcd

import "syscall"

func diesWithParent() *syscall.SysProcAttr { return nil }
