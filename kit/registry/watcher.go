package registry

import (
	"context"
	"iter"
	"slices"
	"sync"
)

// Watcher sees the instances of one service. Its methods are safe for concurrent use; of Changed and Sets together there
// is one user at a time, or they take the news from each other.
type Watcher struct {
	registry *Registry
	feed     *feed
	changed  chan struct{}
	close    sync.Once
	closed   chan struct{}
}

// Set is what is known now: one atomic load, never nil, and never changed afterwards. After Close, and after the
// Registry's end, it is the last one.
func (w *Watcher) Set() *Set { return w.feed.set.Load() }

// Changed receives after each change of Set, once for however many there were since the last receive; the first comes as
// soon as anything is known. It is never closed.
func (w *Watcher) Changed() <-chan struct{} { return w.changed }

// Sets are the Set that is known now, if any is, and then the latest after each change, until ctx ends or the Watcher or
// the Registry is closed.
func (w *Watcher) Sets(ctx context.Context) iter.Seq[*Set] {
	return func(yield func(*Set) bool) {
		select {
		case <-w.changed: // what it tells is told now
		default:
		}
		if s := w.Set(); s.Freshness != Unknown && !yield(s) {
			return
		}
		for {
			select {
			case <-ctx.Done():
				return
			case <-w.closed:
				return
			case <-w.feed.done:
				return
			case <-w.changed:
				if !yield(w.Set()) {
					return
				}
			}
		}
	}
}

// Wait returns the Set as soon as anything is known, be it from a snapshot. It fails with the error of ctx, or ErrClosed.
func (w *Watcher) Wait(ctx context.Context) (*Set, error) {
	select {
	case <-w.feed.known:
		return w.Set(), nil
	default:
	}
	select {
	case <-w.feed.known:
		return w.Set(), nil
	case <-w.feed.done:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close ends it. The last watcher of a service ends its watch in etcd. A second call does nothing.
func (w *Watcher) Close() {
	w.close.Do(func() {
		close(w.closed)
		w.registry.unwatch(w)
	})
}

func (w *Watcher) notify() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (f *feed) add(w *Watcher) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.watchers = append(f.mu.watchers, w)
	if f.set.Load().Freshness != Unknown {
		w.notify()
	}
}

// remove returns how many are left.
func (f *feed) remove(w *Watcher) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.watchers = slices.DeleteFunc(f.mu.watchers, func(o *Watcher) bool { return o == w })
	return len(f.mu.watchers)
}
