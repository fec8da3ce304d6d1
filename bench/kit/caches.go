package kit

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	zerocache "github.com/zeromicro/go-zero/core/stores/cache"
	zeroredis "github.com/zeromicro/go-zero/core/stores/redis"
	"github.com/zeromicro/go-zero/core/syncx"

	"github.com/yumen-io/yumen/kit/cache"
)

// record is what is cached: a row of a few hundred bytes.
type record struct {
	Version uint64
	Name    string
	Text    string
}

func newRecord(key int64, version uint64) record {
	name := "user " + strconv.FormatInt(key, 10)
	return record{Version: version, Name: name, Text: strings.Repeat("about "+name+" ", 16)}
}

// Yumen is three nodes with kit/cache.
func Yumen(address string, s *Source, life Life) (*Cache, error) {
	c := &Cache{Name: "kit/cache"}
	var nodes []*cache.Cache[int64, record]
	c.end = func() {
		for _, n := range nodes {
			n.Close()
		}
	}
	c.trips = func() (sum uint64) {
		for _, n := range nodes {
			sum += n.Stats().RedisCalls
		}
		return sum
	}
	for range loadNodes {
		n, err := cache.New(cache.Config[int64, record]{
			Name: "users", TTL: life.Shared, LocalTTL: life.Local, Redis: cache.Redis{Addresses: []string{address}, Timeout: 2 * time.Second},
			Load: func(ctx context.Context, key int64) (record, uint64, error) {
				version, err := s.load(ctx, key)
				return newRecord(key, version), version, err
			},
		})
		if err != nil {
			c.end()
			return nil, err
		}
		nodes = append(nodes, n)
		c.nodes = append(c.nodes, yumenNode{n})
	}
	return c, nil
}

type yumenNode struct {
	of *cache.Cache[int64, record]
}

func (n yumenNode) get(ctx context.Context, key int64) (version uint64, hit, local bool, err error) {
	v, err := n.of.Get(ctx, key)
	return v.Value.Version, v.Source == cache.Local || v.Source == cache.Shared, v.Source == cache.Local, err
}

func (n yumenNode) changed(ctx context.Context, key int64, version uint64) error {
	return n.of.Invalidate(ctx, cache.Event[int64]{Key: key, Version: version})
}

// GoZero is three nodes with go-zero's core/stores/cache. They share the pool of connections that go-zero keeps for each address.
func GoZero(address string, s *Source, life Life) (*Cache, error) {
	var options []zerocache.Option
	if life.Shared > 0 {
		options = append(options, zerocache.WithExpiry(life.Shared))
	}
	c := &Cache{Name: "go-zero", end: func() {}}
	for range loadNodes {
		r, err := zeroredis.NewRedis(zeroredis.RedisConf{Host: address, Type: zeroredis.NodeType})
		if err != nil {
			return nil, err
		}
		of := zerocache.NewNode(r, syncx.NewSingleFlight(), zerocache.NewStat("bench"), errNotFound, options...)
		c.nodes = append(c.nodes, zeroNode{of, s})
	}
	return c, nil
}

var errNotFound = errors.New("not found")

type zeroNode struct {
	of zerocache.Cache
	s  *Source
}

func (n zeroNode) get(ctx context.Context, key int64) (version uint64, hit, local bool, err error) {
	var r record
	hit = true
	err = n.of.TakeCtx(ctx, &r, zeroKey(key), func(v any) error {
		hit = false
		version, err := n.s.load(ctx, key)
		*v.(*record) = newRecord(key, version)
		return err
	})
	return r.Version, hit, false, err
}

func (n zeroNode) changed(ctx context.Context, key int64, _ uint64) error {
	return n.of.DelCtx(ctx, zeroKey(key))
}

func zeroKey(key int64) string { return "cache:users:" + strconv.FormatInt(key, 10) }
