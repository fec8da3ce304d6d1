package cache

import (
	"strconv"
	"time"
)

// Said is what Cache-Status tells of one answer (RFC 9211). The zero value says nothing but the cache's name.
type Said struct {
	Hit     bool
	Forward string        // why the upstream was asked: miss, stale, request, method, bypass, vary-miss, partial, uri-miss; empty: not
	Status  int           // of the upstream, if it is not the answer's
	Stored  bool          // the answer is kept
	Shared  bool          // it came by another's request: collapsed
	TTL     time.Duration // what is left of the lifetime, negative if it is stale; with HasTTL
	HasTTL  bool
	Detail  string // one word of our own
}

// Append appends the member for a cache of that name.
func (s *Said) Append(b []byte, name string) []byte {
	b = append(b, name...)
	if s.Hit {
		b = append(b, "; hit"...)
	}
	if s.Forward != "" {
		b = append(append(b, "; fwd="...), s.Forward...)
	}
	if s.Status != 0 {
		b = strconv.AppendInt(append(b, "; fwd-status="...), int64(s.Status), 10)
	}
	if s.HasTTL {
		b = strconv.AppendInt(append(b, "; ttl="...), int64(floorSeconds(s.TTL)), 10)
	}
	if s.Stored {
		b = append(b, "; stored"...)
	}
	if s.Shared {
		b = append(b, "; collapsed"...)
	}
	if s.Detail != "" {
		b = append(append(b, "; detail="...), s.Detail...)
	}
	return b
}

func floorSeconds(d time.Duration) int64 { return floorDiv(int64(d), int64(time.Second)) }

// AppendAge appends the value of Age: whole seconds, no more than 2^31 (RFC 9111 1.2.2).
func AppendAge(b []byte, age time.Duration) []byte {
	return strconv.AppendInt(b, min(max(floorSeconds(age), 0), secondsMax), 10)
}
