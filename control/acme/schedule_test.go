package acme

import (
	"net/http"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
)

func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		failures int
		random   float64
		want     time.Duration
	}{
		{1, 0, backoffMin}, {1, 1, backoffMin + 4*time.Minute}, {2, 1, backoffMin + 8*time.Minute}, {6, 0.5, backoffMin + 64*time.Minute},
		{7, 1, backoffMin + backoffMax}, {16, 1, backoffMin + backoffMax}, {17, 1, backoffMin + backoffMax}, {1 << 40, 1, backoffMin + backoffMax},
	} {
		if got := backoff(c.failures, c.random); got != c.want {
			t.Errorf("after %d failures: %v, want %v", c.failures, got, c.want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		header string
		want   time.Duration
	}{
		{"", 0}, {"5", 5 * time.Second}, {"-5", 0}, {"5s", 0}, {"4294967295", 4294967295 * time.Second}, {"99999999999999999999", 0},
		{"Sun, 01 Mar 2026 12:01:00 GMT", time.Minute}, {"Sun, 01 Mar 2026 11:00:00 GMT", 0},
	} {
		h := http.Header{}
		h.Set("Retry-After", c.header)
		if got := retryAfter(h, now); got != c.want {
			t.Errorf("%q: %v, want %v", c.header, got, c.want)
		}
		if got := askedToWait(&acme.Error{Header: h}, now); got != min(c.want, waitMax) {
			t.Errorf("%q: asked to wait %v", c.header, got)
		}
	}
}
