// Package redisconn is how whatever is shared between gateways, or between services, reaches Redis: the settings, a connection made by
// them, and which answers mean that nobody is served. What is kept there, how often it is asked for and what becomes of requests while
// it cannot be reached is for each of its users to say.
package redisconn

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// Settings say which Redis, and how to reach it.
type Settings struct {
	Address  string // host:port; of a cluster, any of its nodes
	Username string
	Password string
	Database int
	TLS      *tls.Config // nil: none
	// FreshTLS, if there, returns the TLS of each connection that is made, in the place of TLS, which must be there too: for
	// certificates that may be others by then. It is called on goroutines that dial, and may read files.
	FreshTLS func() *tls.Config
	// TLSName tells one TLS from another in Key; empty where all is that of the address and the system.
	TLSName string
	// Timeout is for one round trip, and for connecting. Each user has its own default.
	Timeout time.Duration
	// ClientName is what CLIENT LIST shows; empty means yumen.
	ClientName string
}

// Key tells one Redis from another in a gateway's memory. The password is part of it, by a hash: a link with another one is another link.
func (s *Settings) Key() string {
	return fmt.Sprintf("redis/%s/%d/%s/%x/%v/%s/%v",
		s.Address, s.Database, s.Username, sha256.Sum256([]byte(s.Password)), s.TLS != nil, s.TLSName, s.Timeout)
}

// Dial connects, and returns an error within about two timeouts. Whoever gets the client closes it. It keeps one connection, on
// which what goroutines ask at the same time follows one another without waiting.
func Dial(s *Settings) (rueidis.Client, error) {
	o := rueidis.ClientOption{
		InitAddress: []string{s.Address},
		Username:    s.Username, Password: s.Password, SelectDB: s.Database, TLSConfig: s.TLS,
		ClientName:   cmp.Or(s.ClientName, "yumen"),
		Dialer:       net.Dialer{Timeout: s.Timeout, KeepAlive: time.Second},
		DisableCache: true, // nothing is read that rueidis could keep
		DisableRetry: true, // what was sent may be carried out twice, but whoever waits for it does not wait twice
		// A connection is closed as soon as an answer is late, and what is left in its buffers with it.
		ConnWriteTimeout:  s.Timeout,
		PipelineMultiplex: -1,
		RingScaleEachConn: 8, ReadBufferEachConn: 64 << 10, WriteBufferEachConn: 64 << 10,
	}
	var card card
	if s.TLS != nil {
		fresh := s.FreshTLS
		o.DialCtxFn = func(ctx context.Context, to string, d *net.Dialer, cfg *tls.Config) (net.Conn, error) {
			if fresh != nil {
				cfg = fresh()
			}
			return (&tls.Dialer{NetDialer: d, Config: card.noted(cfg)}).DialContext(ctx, "tcp", to)
		}
	}
	conn, err := rueidis.NewClient(o)
	if err != nil {
		return nil, fmt.Errorf("connecting to Redis at %s: %w%s", s.Address, err, card.said())
	}
	return conn, nil
}

// card notes whether Redis has asked who we are. In TLS 1.3 a server that does not like the answer, or that there is none, closes a
// connection that is already made, and more often than not all that is seen of it is a reset.
type card struct{ asked, shown atomic.Bool }

// noted returns cfg, which it leaves as it is, with the note.
func (c *card) noted(cfg *tls.Config) *tls.Config {
	before := cfg.GetClientCertificate
	cfg = cfg.Clone()
	cfg.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		c.asked.Store(true)
		found, err := new(tls.Certificate), error(nil)
		if before != nil {
			found, err = before(r)
		} else if i := slices.IndexFunc(cfg.Certificates, func(own tls.Certificate) bool { return r.SupportsCertificate(&own) == nil }); i >= 0 {
			found = &cfg.Certificates[i]
		}
		c.shown.Store(found != nil && len(found.Certificate) > 0)
		return found, err
	}
	return cfg
}

// said ends the error of a connection that could not be made.
func (c *card) said() string {
	switch {
	case !c.asked.Load():
		return ""
	case c.shown.Load():
		return " (it has asked for a certificate, and was shown one)"
	}
	return " (it has asked for a certificate, and there is none that its authorities could know)"
}

// refusals begin answers of a Redis that answers nobody now, or not us: it is loading, full, a replica, busy with another's script.
var refusals = []string{"LOADING", "OOM", "READONLY", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH", "NOPERM", "WRONGPASS", "MISCONF", "NOREPLICAS"}

// IsOfAll tells an error that concerns all keys from one that concerns its own, such as a key that is used for something else.
func IsOfAll(err error) bool {
	e, ok := rueidis.IsRedisErr(err)
	if !ok {
		return !errors.Is(err, rueidis.Nil)
	}
	for _, word := range refusals {
		if strings.HasPrefix(e.Error(), word) {
			return true
		}
	}
	return false
}
