package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// Settings say which Redis, and how to reach it.
type Settings struct {
	Address  string // host:port; of a cluster, any of its nodes
	Username string
	Password string
	Database int
	TLS      *tls.Config
	// Timeout is for one round trip, and for connecting; 0 means TimeoutDefault. No request waits longer than two of them.
	Timeout time.Duration
}

const (
	// TimeoutDefault is many times what Redis takes in a data centre, and little for somebody who waits.
	TimeoutDefault = 100 * time.Millisecond
	// TimeoutMax is below the lease: an answer that comes later is worth nothing.
	TimeoutMax = time.Second
)

// key tells one Redis from another in a gateway's memory. The password is part of it: a link with another one is another link.
func (s *Settings) key() string {
	return fmt.Sprintf("redis/%s/%d/%s/%x/%v/%v", s.Address, s.Database, s.Username, newScript(s.Password).hash, s.TLS != nil, s.Timeout)
}

// call is one script on one key.
type call struct {
	script *script
	key    string
	args   []string
}

// reply is what came of it.
type reply struct {
	numbers []int64
	err     error // of this key alone, if others were answered
}

// client is a connection to Redis. It has one owner.
type client struct {
	conn rueidis.Client
}

// dial connects, and returns an error within about two timeouts.
func dial(s *Settings) (*client, error) {
	conn, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{s.Address},
		Username:    s.Username, Password: s.Password, SelectDB: s.Database, TLSConfig: s.TLS,
		ClientName:   "yumen",
		Dialer:       net.Dialer{Timeout: s.Timeout, KeepAlive: time.Second},
		DisableCache: true, // nothing is read that could be kept
		DisableRetry: true, // a report may be carried out twice, but whoever waits for it does not wait twice
		// One goroutine asks, one batch at a time: then a connection is closed as soon as an answer is late, and what is
		// left in its buffers with it.
		ConnWriteTimeout:  s.Timeout,
		PipelineMultiplex: -1,
		RingScaleEachConn: 8, ReadBufferEachConn: 64 << 10, WriteBufferEachConn: 64 << 10,
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to Redis at %s: %w", s.Address, err)
	}
	return &client{conn: conn}, nil
}

func (c *client) close() { c.conn.Close() }

// do carries calls out in one round trip, or two if Redis does not know a script. The error says that Redis did not answer, or would
// not answer anything.
func (c *client) do(ctx context.Context, calls []call, replies []reply) error {
	unknown := c.send(ctx, calls, replies, false)
	if unknown {
		var again []call
		var places []int
		for i := range replies {
			if isUnknownScript(replies[i].err) {
				again, places = append(again, calls[i]), append(places, i)
			}
		}
		second := make([]reply, len(again))
		c.send(ctx, again, second, true)
		for i, at := range places {
			replies[at] = second[i]
		}
	}
	var first error
	for i := range replies {
		err := replies[i].err
		if err == nil {
			continue
		}
		if first == nil {
			first = err
		}
		if isOfAll(err) {
			return err
		}
	}
	for i := range replies {
		if replies[i].err == nil {
			return nil
		}
	}
	return first
}

// send makes a round trip and tells whether there was a script that Redis does not know.
func (c *client) send(ctx context.Context, calls []call, replies []reply, whole bool) (unknown bool) {
	list := make(rueidis.Commands, len(calls))
	for i := range calls {
		at := &calls[i]
		if whole {
			list[i] = c.conn.B().Eval().Script(at.script.text).Numkeys(1).Key(at.key).Arg(at.args...).Build()
		} else {
			list[i] = c.conn.B().Evalsha().Sha1(at.script.hash).Numkeys(1).Key(at.key).Arg(at.args...).Build()
		}
	}
	for i, r := range c.conn.DoMulti(ctx, list...) {
		replies[i] = reply{err: r.Error()}
		if replies[i].err != nil {
			unknown = unknown || isUnknownScript(replies[i].err)
			continue
		}
		if numbers, err := r.AsIntSlice(); err == nil {
			replies[i].numbers = numbers
		} else if n, err := r.AsInt64(); err == nil {
			replies[i].numbers = []int64{n}
		} else {
			replies[i].err = err
		}
	}
	return unknown
}

func isUnknownScript(err error) bool {
	e, ok := rueidis.IsRedisErr(err)
	return ok && e.IsNoScript()
}

// refusals begin answers of a Redis that answers nobody now, or not us: it is loading, full, a replica, busy with another's script.
var refusals = []string{"LOADING", "OOM", "READONLY", "BUSY", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH", "NOPERM", "WRONGPASS", "MISCONF", "NOREPLICAS"}

// isOfAll tells an error that concerns all keys from one that concerns its own, such as a key that is used for something else.
func isOfAll(err error) bool {
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

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
