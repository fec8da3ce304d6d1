package registry

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"
)

// Config says where etcd is and how patient a Registry is. Only Endpoints is needed.
type Config struct {
	// Endpoints of etcd's client ports, host:port or URLs, 1 to 64. One is used at a time, beginning with a random one;
	// the next is tried when it does not answer.
	Endpoints []string
	// TLS is used if it is set; an https endpoint without it takes the system's roots.
	TLS *tls.Config
	// Username and Password log in to etcd; both or none.
	Username, Password string
	// Prefix of all keys; "" means "/yumen". It begins with a slash and does not end with one.
	Prefix string
	// TTL is how long an instance stays registered when its process is gone without a word: whole seconds from 1 s to 1 h,
	// 0 means 15 s. Shorter finds dead ones sooner, and loses live ones to a shorter stall of etcd. A heartbeat is sent
	// five times in this time.
	TTL time.Duration
	// SnapshotDir is where the last good set of each watched service is kept, a file each, so that a process can start
	// while etcd is down. It is made if it is missing. "" means no snapshots.
	SnapshotDir string
	// Grace is how long instances that vanished suspiciously (all, or more than half of them) are kept while etcd
	// answers: 100 ms to 1 h, 0 means 60 s, which is longer than any registrar needs to come back.
	Grace time.Duration
	// RequestTimeout bounds each request to etcd, and how long a watch may be silent is one and a half times this:
	// 100 ms to 1 min, 0 means 2 s. A frozen etcd is noticed within two of it. After attempts that ran out of time a new
	// session begins with up to four times as much, or an etcd that everybody comes back to would never get on.
	RequestTimeout time.Duration
	// BackoffMin and BackoffMax bound the wait after every endpoint has failed: it is uniform between 0 and a bound that
	// begins with the first and doubles up to the second. 0 means 50 ms and 2 s, so that all are back within seconds of
	// etcd, at one attempt a second and process. At least 1 ms and at most 1 min.
	BackoffMin, BackoffMax time.Duration
	// Logger gets transitions: etcd lost and found, instances registered and lost, what was malformed. nil means slog.Default().
	Logger *slog.Logger

	listed func() // see feed
}

const (
	prefixDefault         = "/yumen"
	ttlDefault            = 15 * time.Second
	graceDefault          = time.Minute
	requestTimeoutDefault = 2 * time.Second
	backoffMinDefault     = 50 * time.Millisecond
	backoffMaxDefault     = 2 * time.Second

	endpointsMax   = 64
	prefixBytesMax = 256
	// heartbeats in one TTL: four may be lost.
	heartbeats = 5
)

// filled is a private copy with the defaults in, or an error for each field that is wrong, all at once.
func (c Config) filled() (Config, error) {
	c.Prefix = cmp.Or(c.Prefix, prefixDefault)
	c.TTL = cmp.Or(c.TTL, ttlDefault)
	c.Grace = cmp.Or(c.Grace, graceDefault)
	c.RequestTimeout = cmp.Or(c.RequestTimeout, requestTimeoutDefault)
	c.BackoffMin = cmp.Or(c.BackoffMin, backoffMinDefault)
	c.BackoffMax = cmp.Or(c.BackoffMax, max(backoffMaxDefault, c.BackoffMin))
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	var errs []error
	wrong := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("registry: Config.%s %s", field, fmt.Sprintf(format, args...)))
	}
	between := func(field string, d, low, high time.Duration) {
		if d < low || d > high {
			wrong(field, "is %v, wants %v to %v", d, low, high)
		}
	}
	if n := len(c.Endpoints); n < 1 || n > endpointsMax {
		wrong("Endpoints", "has %d entries, wants 1 to %d", n, endpointsMax)
	}
	for _, e := range c.Endpoints {
		if e == "" || strings.ContainsAny(e, ", \t\n") {
			wrong("Endpoints", "has %q, wants host:port or a URL in each entry", e)
		}
	}
	if (c.Username == "") != (c.Password == "") {
		wrong("Username", "and Password want to be set both or not at all")
	}
	if !strings.HasPrefix(c.Prefix, "/") || strings.HasSuffix(c.Prefix, "/") || !isText(c.Prefix, prefixBytesMax) {
		wrong("Prefix", "is %q, wants printable text of at most %d bytes that begins with a slash and does not end with one", clip(c.Prefix), prefixBytesMax)
	}
	between("TTL", c.TTL, time.Second, time.Hour)
	if c.TTL%time.Second != 0 {
		wrong("TTL", "is %v, wants whole seconds", c.TTL)
	}
	between("Grace", c.Grace, 100*time.Millisecond, time.Hour)
	between("RequestTimeout", c.RequestTimeout, 100*time.Millisecond, time.Minute)
	between("BackoffMin", c.BackoffMin, time.Millisecond, time.Minute)
	between("BackoffMax", c.BackoffMax, c.BackoffMin, time.Minute)
	if c.SnapshotDir != "" {
		c.SnapshotDir = filepath.Clean(c.SnapshotDir)
	}
	return c, errors.Join(errs...)
}

// silenceMax is how long a watch may bring nothing, although it was asked for its progress three times meanwhile.
func silenceMax(patience time.Duration) time.Duration { return patience * 3 / 2 }

func (c *Config) heartbeat() time.Duration { return c.TTL / heartbeats }
