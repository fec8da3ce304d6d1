//go:build !unix

package rpc

import (
	"errors"
	"time"
)

// usage is not measured here.
type usage struct{}

func newUsage() (usage, error) {
	return usage{}, errors.New("rpc: this system has no getrusage")
}

func (*usage) cpu(time.Duration) float64 { return 0 }
func (*usage) memory() float64           { return 0 }
