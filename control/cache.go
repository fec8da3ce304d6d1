package control

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/yumen-io/yumen/filters/cache"
	"github.com/yumen-io/yumen/gateway"
)

// ErrNoCache is returned for the name of a cache that there is not.
var ErrNoCache = errors.New("no such cache")

// CacheStatus is a cache as an operator sees it.
type CacheStatus struct {
	Name string `json:"name"`
	cache.Counts
	Redis *cache.TierView `json:"redis,omitempty"` // in which it shares its responses
}

// Caches returns the caches that are in force, by their names. One whose filter is switched off is among them: it keeps what it has.
func (c *Controller) Caches() []CacheStatus {
	list := []CacheStatus{}
	c.memory.Each(func(key string, thing gateway.Remembered) {
		if s, ok := thing.(*cache.Store); ok {
			list = append(list, CacheStatus{strings.TrimPrefix(key, cache.StoreKey), s.Counts(), s.Tier()})
		}
	})
	slices.SortFunc(list, func(a, b CacheStatus) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Purge takes responses out of a cache and returns what came of it: ErrNoCache, or what is wrong with what is to be taken out.
func (c *Controller) Purge(name string, p cache.Purge) (cache.Purged, error) {
	if err := p.Check(); err != nil {
		return cache.Purged{}, err
	}
	var store *cache.Store
	c.memory.Each(func(key string, thing gateway.Remembered) {
		if s, ok := thing.(*cache.Store); ok && key == cache.StoreKey+name {
			store = s
		}
	})
	if store == nil {
		return cache.Purged{}, fmt.Errorf("%w: %q", ErrNoCache, name)
	}
	n := store.Purge(p)
	c.logger.Info("a cache was purged by an operator", "cache", name, "url", p.URL, "prefix", p.Prefix, "tag", p.Tag, "all", p.All, "responses", n.Responses, "shared", n.Shared, "told", n.Told)
	return n, nil
}
