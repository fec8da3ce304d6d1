package cache

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

// ErrUnreachable says that Redis did not answer, or is left alone because it did not answer before.
var ErrUnreachable = errors.New("cache: redis cannot be reached")

// link is the connection to Redis. The cache's follower makes it, tries it again when it failed, and closes it; everybody asks.
type link struct {
	cfg     Redis
	prefix  string         // of keys of values: "yumen:cache:{name:"
	head    string         // hash of the feed
	feed    string         // stream of it
	changed func(s string) // is called for a changed key, written as in Redis; must be quick
	wake    chan struct{}  // the follower, before its time

	client atomic.Pointer[rueidis.Client]
	up     atomic.Bool // the last trip was answered

	calls, failures, pushes atomic.Uint64
	trouble                 struct {
		sync.Mutex
		err error
	}
}

func newLink(cfg Redis, name string, changed func(string)) *link {
	return &link{
		cfg: cfg, prefix: "yumen:cache:{" + name + ":", head: "yumen:cache-feed:{" + name + "}", feed: "yumen:cache-feed:{" + name + "}:events",
		changed: changed, wake: make(chan struct{}, 1),
	}
}

func (l *link) keyOf(name string) string { return l.prefix + name + "}" }

// dial connects, with tracking if the server has it. It is called by one goroutine.
func (l *link) dial() error {
	option := rueidis.ClientOption{
		InitAddress: l.cfg.Addresses, Username: l.cfg.Username, Password: l.cfg.Password, SelectDB: l.cfg.Database, TLSConfig: l.cfg.TLS,
		ClientName: "yumen-kit-cache", Dialer: net.Dialer{Timeout: l.cfg.Timeout, KeepAlive: time.Second},
		// An answer that is late ends the connection, and what is left in its buffers with it. There is one connection, because NOLOOP is of
		// connections: another would be told of what this one wrote.
		ConnWriteTimeout: 2 * l.cfg.Timeout, PipelineMultiplex: -1,
		// Whoever asks has a deadline and another way, and does not wait twice.
		DisableRetry:      true,
		RingScaleEachConn: 10, ReadBufferEachConn: 64 << 10, WriteBufferEachConn: 64 << 10,
		ClientTrackingOptions: []string{"NOLOOP"}, OnInvalidations: l.pushed, CacheSizeEachConn: 1 << 16, // nothing is put there
	}
	option.DisableCache = l.cfg.NoTracking
	client, err := rueidis.NewClient(option)
	if errors.Is(err, rueidis.ErrNoCache) {
		option.DisableCache, option.OnInvalidations = true, nil
		client, err = rueidis.NewClient(option)
	}
	if err != nil {
		return err
	}
	l.client.Store(&client)
	return nil
}

func (l *link) close() {
	if client := l.client.Swap(nil); client != nil {
		(*client).Close()
	}
}

// pushed is what the server tells by tracking. A lost connection and FLUSHALL come as nil: the feed finds out what it was, and a first level is not given
// up because Redis has died.
func (l *link) pushed(messages []rueidis.RedisMessage) {
	l.pushes.Add(uint64(len(messages)))
	wake := messages == nil
	for i := range messages {
		s, err := messages[i].ToString()
		if err != nil || s == l.head {
			wake = true
		} else if name, ok := strings.CutPrefix(s, l.prefix); ok {
			l.changed(strings.TrimSuffix(name, "}"))
		}
	}
	if wake {
		l.poke()
	}
}

func (l *link) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// trip is one script with its keys.
type trip struct {
	script *script
	keys   []string
	args   []string
}

// do makes one trip within the timeout. Only a Redis that does not answer makes the link go down; a refusal does not, since the next key may be none.
func (l *link) do(ctx context.Context, t trip) (rueidis.RedisMessage, error) {
	var out [1]rueidis.RedisResult
	if err := l.doAll(ctx, []trip{t}, out[:]); err != nil {
		return rueidis.RedisMessage{}, err
	}
	return out[0].ToMessage()
}

// doAll makes trips together. The error is that Redis did not answer one of them.
func (l *link) doAll(ctx context.Context, trips []trip, out []rueidis.RedisResult) error {
	client := l.client.Load()
	if client == nil {
		return ErrUnreachable
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
	defer cancel()
	ask := func(i int, whole bool) rueidis.Completed {
		t := &trips[i]
		n := int64(len(t.keys))
		if whole {
			return (*client).B().Eval().Script(t.script.text).Numkeys(n).Key(t.keys...).Arg(t.args...).Build()
		}
		return (*client).B().Evalsha().Sha1(t.script.hash).Numkeys(n).Key(t.keys...).Arg(t.args...).Build()
	}
	l.calls.Add(uint64(len(trips)))
	if len(trips) == 1 {
		out[0] = (*client).Do(ctx, ask(0, false))
	} else {
		list := make([]rueidis.Completed, len(trips))
		for i := range trips {
			list[i] = ask(i, false)
		}
		copy(out, (*client).DoMulti(ctx, list...))
	}
	for i := range out {
		if e, ok := rueidis.IsRedisErr(out[i].Error()); ok && e.IsNoScript() {
			l.calls.Add(1)
			out[i] = (*client).Do(ctx, ask(i, true))
		}
	}
	for i := range out {
		err := out[i].Error()
		if err == nil || rueidis.IsRedisNil(err) {
			continue
		}
		if _, ok := rueidis.IsRedisErr(err); ok {
			l.note(err)
			continue
		}
		l.lose(err)
		return errors.Join(ErrUnreachable, err)
	}
	return nil
}

func (l *link) note(err error) {
	l.failures.Add(1)
	l.trouble.Lock()
	l.trouble.err = err
	l.trouble.Unlock()
}

// lose has Redis left alone until the follower got an answer.
func (l *link) lose(err error) {
	l.note(err)
	if l.up.Swap(false) {
		l.poke()
	}
}

func (l *link) lastTrouble() error {
	l.trouble.Lock()
	defer l.trouble.Unlock()
	return l.trouble.err
}

// found is the answer of readScript.
type found struct {
	state  int
	record string
	age    time.Duration
	left   time.Duration
}

func (l *link) read(ctx context.Context, name, token string, lease time.Duration, epoch uint64, factor float64) (found, error) {
	m, err := l.do(ctx, trip{&readScript, []string{l.keyOf(name)},
		[]string{token, milliseconds(lease), versionDigits(epoch), strconv.FormatFloat(factor, 'f', 4, 64)}})
	if err != nil {
		return found{}, err
	}
	parts, err := m.ToArray()
	if err != nil || len(parts) != 5 {
		return found{}, errors.Join(errGarbage, err)
	}
	f := found{}
	state, err := parts[0].AsInt64()
	if err == nil {
		f.state = int(state)
		f.record, err = parts[1].ToString()
	}
	age, err2 := parts[2].AsInt64()
	left, err3 := parts[3].AsInt64()
	f.age, f.left = time.Duration(age)*time.Millisecond, time.Duration(left)*time.Millisecond
	return f, errors.Join(err, err2, err3)
}

// fill returns what became of it, and how long the record is fresh.
func (l *link) fill(ctx context.Context, name, token string, data []byte, version, epoch uint64, ttl, stale time.Duration, absent bool) (int, time.Duration, error) {
	kind := "1"
	if absent {
		kind = "0"
	}
	m, err := l.do(ctx, trip{&fillScript, []string{l.keyOf(name)},
		[]string{token, rueidis.BinaryString(data), versionDigits(version), versionDigits(epoch), milliseconds(ttl), milliseconds(stale), kind}})
	if err != nil {
		return fillLost, 0, err
	}
	n, err := m.AsIntSlice()
	if err != nil || len(n) != 2 {
		return fillLost, 0, errors.Join(errGarbage, err)
	}
	return int(n[0]), time.Duration(n[1]) * time.Millisecond, nil
}

func (l *link) release(ctx context.Context, name, token string) {
	_, _ = l.do(ctx, trip{&releaseScript, []string{l.keyOf(name)}, []string{token}}) // it ends by itself otherwise
}

// discard removes what cannot be read: a record, or a key that is no hash at all.
func (l *link) discard(ctx context.Context, name, record string, whole bool) {
	if !whole {
		_, _ = l.do(ctx, trip{&discardScript, []string{l.keyOf(name)}, []string{record}})
		return
	}
	if client := l.client.Load(); client != nil {
		ctx, cancel := context.WithTimeout(ctx, l.cfg.Timeout)
		defer cancel()
		l.calls.Add(1)
		if err := (*client).Do(ctx, (*client).B().Del().Key(l.keyOf(name)).Build()).Error(); err != nil {
			l.note(err)
		}
	}
}

func milliseconds(d time.Duration) string {
	return strconv.FormatInt(max(int64((d+time.Millisecond-1)/time.Millisecond), 0), 10)
}
