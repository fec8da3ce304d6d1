package quotas

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/yumen-io/yumen/store/redisconn"
)

// Settings say which Redis, and how to reach it. No request waits longer than two timeouts; 0 means TimeoutDefault.
type Settings = redisconn.Settings

const (
	// TimeoutDefault is many times what Redis takes in a data centre, and little for somebody who waits.
	TimeoutDefault = 100 * time.Millisecond
	// TimeoutMax is below the lease: an answer that comes later is worth nothing.
	TimeoutMax = time.Second
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
type client struct {
	conn rueidis.Client
}

// dial connects, and returns an error within about two timeouts.
func dial(s *Settings) (*client, error) {
	conn, err := redisconn.Dial(s)
	if err != nil {
		return nil, err
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
		if redisconn.IsOfAll(err) {
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

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
