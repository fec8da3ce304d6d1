package acme

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/crypto/acme"
)

const (
	// requestTimeout bounds one request to the authority, which may have to look into a busy database.
	requestTimeout = 30 * time.Second
	// answerBytesMax bounds an answer. A chain of certificates is the longest, at some ten kilobytes.
	answerBytesMax = 1 << 20
	// pollMin and pollMax bound the time between two looks at an order that is under way, whatever the authority says: one
	// that says nothing sensible is not asked in a circle, and an order ends with orderTimeout.
	pollMin = time.Second
	pollMax = 30 * time.Second
	// nonceTries is how often a request is signed anew because the authority did not like its nonce (RFC 8555, 6.5), and
	// noncePause the time before. Load balancers that do not share nonces refuse every other one.
	nonceTries = 12
	noncePause = 5 * time.Millisecond
)

// newClient returns a client without an account, for one order. Orders are weeks apart: nothing learnt in one, be it the
// directory, a nonce or a connection, is worth keeping for the next.
func (m *Manager) newClient() *acme.Client {
	return &acme.Client{
		DirectoryURL: m.cfg.Directory, UserAgent: "yumen",
		HTTPClient: &http.Client{Timeout: requestTimeout, Transport: &transport{
			inner: &http.Transport{
				Proxy:             http.ProxyFromEnvironment,
				TLSClientConfig:   &tls.Config{RootCAs: m.cfg.Roots, MinVersion: tls.VersionTLS12, Time: m.cfg.Clock.Now},
				ForceAttemptHTTP2: true,
			},
			now: m.cfg.Clock.Now, pollMin: m.pollMin,
		}},
		RetryBackoff: backoffInRequest,
	}
}

// backoffInRequest lets the library repeat a request for its nonce's sake alone. What it would do about an authority that
// is busy or limits us is the Manager's to do, with its own clock: zero ends the request with its error. Of the refusals
// it asks about with a status from 400 to 499, all but 429 are about the nonce.
func backoffInRequest(n int, _ *http.Request, res *http.Response) time.Duration {
	if res.StatusCode < 400 || res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests || n > nonceTries {
		return 0
	}
	return noncePause
}

// transport stands between the library and the network and bounds what the authority can make the library do: hold an
// answer of any length, and wait for any time.
type transport struct {
	inner   *http.Transport
	now     func() time.Time
	pollMin time.Duration
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := t.inner.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	res.Body = &boundedBody{ReadCloser: res.Body, left: answerBytesMax}
	if res.StatusCode < 300 {
		// Here the header is about the next look. The library counts in whole seconds.
		wait := min(retryAfter(res.Header, t.now()), pollMax)
		if wait < pollMin {
			wait = t.pollMin
		}
		res.Header.Set("Retry-After", strconv.Itoa(int(wait/time.Second)))
	}
	return res, nil
}

// CloseIdleConnections is what http.Client looks for.
func (t *transport) CloseIdleConnections() { t.inner.CloseIdleConnections() }

// errAnswerTooLong is the error of reading beyond answerBytesMax.
var errAnswerTooLong = errors.New("the authority's answer is longer than 1 MB")

type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errAnswerTooLong
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// retryAfter returns what the header asks for, zero if nothing or nothing sensible (RFC 9110, 10.2.3).
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.ParseUint(v, 10, 32); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}
