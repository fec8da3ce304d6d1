package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

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
type client struct{ conn rueidis.Client }

// dial connects, and returns an error within about two timeouts.
func dial(c *Config) (*client, error) {
	conn, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{c.Address},
		Username:    c.Username, Password: c.Password, SelectDB: c.Database, TLSConfig: c.TLS,
		ClientName:   "yumen-kit",
		Dialer:       net.Dialer{Timeout: c.Timeout, KeepAlive: time.Second},
		DisableCache: true, // nothing is read that could be kept
		DisableRetry: true, // a report may be carried out twice, but whoever waits for it does not wait twice
		// One goroutine asks, one batch at a time: then a connection is closed as soon as an answer is late, and what is
		// left in its buffers with it.
		ConnWriteTimeout:  c.Timeout,
		PipelineMultiplex: -1,
		RingScaleEachConn: 8, ReadBufferEachConn: 64 << 10, WriteBufferEachConn: 64 << 10,
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to Redis at %s: %w", c.Address, err)
	}
	return &client{conn}, nil
}

// do carries calls out in one round trip, or two if Redis does not know a script. The error says that Redis did not answer, or
// would not answer anything.
func (c *client) do(ctx context.Context, calls []call, replies []reply) error {
	if c.send(ctx, calls, replies, false) {
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
	answered := false
	for i := range replies {
		err := replies[i].err
		if err == nil {
			answered = true
		} else if isOfAll(err) {
			return err
		} else if first == nil {
			first = err
		}
	}
	if answered {
		return nil
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
		} else if numbers, err := r.AsIntSlice(); err == nil {
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
