package etcdworker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/yumen-io/yumen/kit/id"
)

// errLost means that etcd answered, and that the number is no longer ours.
var errLost = errors.New("the lease is over or its key is gone")

// errNoneFree means that every number has a holder.
var errNoneFree = errors.New("all worker numbers are held")

// errAhead means that ids were made with a clock far ahead of ours: waiting makes it good, or somebody sets a clock.
var errAhead = errors.New("the clock is behind the ids")

// errRaced means that somebody else was faster; the next try reads anew.
var errRaced = errors.New("another process was faster")

// board is the keys in etcd. It belongs to the goroutine of its worker, and to Close once that has ended.
type board struct {
	client *clientv3.Client
	prefix string
	layout string
	owner  string

	held *holding
}

// holding is a number that was claimed.
type holding struct {
	term  *id.Term
	id    clientv3.LeaseID
	lease time.Duration // as etcd granted it
	fence int64         // create revision of holder/n
	mark  time.Time     // as it was last written, perhaps
}

func (b *board) layoutKey() string      { return b.prefix + "layout" }
func (b *board) newKey() string         { return b.prefix + "new" }
func (b *board) markKey(n int) string   { return b.prefix + "mark/" + strconv.Itoa(n) }
func (b *board) holderKey(n int) string { return b.prefix + "holder/" + strconv.Itoa(n) }

// call bounds one answer. WithRequireLeader makes a member without its cluster say so instead of keeping us waiting.
func call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(clientv3.WithRequireLeader(ctx), callMax)
}

// number is what is known of one worker number before a claim.
type number struct {
	n        int
	mark     time.Time
	revision int64 // of the mark; 0: there is none
}

// claim grants a lease and takes the free number whose mark is furthest in the past.
func (b *board) claim(ctx context.Context, cfg Config) (*holding, error) {
	free, err := b.read(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if len(free) == 0 {
		return nil, fmt.Errorf("%d of them: %w", cfg.Layout.Workers(), errNoneFree)
	}
	now := cfg.Clock()
	// Among those whose mark is in the past it does not matter; a random one, so that processes which start together
	// meet less often. Otherwise the one that is soonest usable.
	best := free[0]
	for _, i := range rand.Perm(len(free)) {
		if !best.mark.Before(now) && free[i].mark.Before(best.mark) {
			best = free[i]
		} else if free[i].mark.Before(now) {
			best = free[i]
			break
		}
	}
	if ahead := best.mark.Sub(now); ahead > 2*cfg.Reserve {
		return nil, fmt.Errorf("the mark of number %d, the lowest of all free ones, is %s ahead of the clock: %w", best.n, ahead, errAhead)
	}
	grantCtx, cancel := call(ctx)
	lease, err := b.client.Grant(grantCtx, seconds(cfg.Lease))
	cancel()
	if err != nil {
		return nil, fmt.Errorf("asking for a lease: %w", err)
	}
	h := &holding{term: id.NewTerm(best.n, best.mark), id: lease.ID, lease: time.Duration(lease.TTL) * time.Second}
	h.mark = later(best.mark, now.Add(cfg.Reserve))
	txnCtx, cancel := call(ctx)
	defer cancel()
	r, err := b.client.Txn(txnCtx).
		If(clientv3.Compare(clientv3.CreateRevision(b.holderKey(best.n)), "=", 0),
			clientv3.Compare(clientv3.ModRevision(b.markKey(best.n)), "=", best.revision),
			clientv3.Compare(clientv3.Value(b.layoutKey()), "=", b.layout)).
		Then(clientv3.OpPut(b.holderKey(best.n), b.owner, clientv3.WithLease(h.id)),
			clientv3.OpPut(b.markKey(best.n), text(h.mark))).
		Commit()
	if err == nil && !r.Succeeded {
		err = errRaced
	}
	if err != nil {
		b.revoke(h.id)
		return nil, fmt.Errorf("claiming number %d: %w", best.n, err)
	}
	h.fence = r.Header.Revision
	return h, nil
}

// read returns the free numbers, and makes the layout's key where the prefix is empty.
func (b *board) read(ctx context.Context, cfg Config) ([]number, error) {
	getCtx, cancel := call(ctx)
	defer cancel()
	r, err := b.client.Txn(getCtx).Then(
		clientv3.OpGet(b.layoutKey()),
		clientv3.OpGet(b.prefix+"mark/", clientv3.WithPrefix()),
		clientv3.OpGet(b.prefix+"holder/", clientv3.WithPrefix(), clientv3.WithKeysOnly()),
	).Commit()
	if err != nil {
		return nil, fmt.Errorf("reading the numbers: %w", err)
	}
	layout := r.Responses[0].GetResponseRange().Kvs
	if len(layout) == 0 {
		if err := b.found(ctx, cfg); err != nil {
			return nil, err
		}
	} else if got := string(layout[0].Value); got != b.layout {
		return nil, fmt.Errorf("%s says %q and this process has %q: %w", b.layoutKey(), got, b.layout, ErrLayout)
	}
	all := make([]number, cfg.Layout.Workers())
	held := make([]bool, len(all))
	at := func(key string) int {
		n, err := strconv.Atoi(key[strings.LastIndexByte(key, '/')+1:])
		if err != nil || n < 0 || n >= len(all) {
			return -1
		}
		return n
	}
	for _, kv := range r.Responses[1].GetResponseRange().Kvs {
		n := at(string(kv.Key))
		if n < 0 {
			continue
		}
		ms, err := strconv.ParseInt(string(kv.Value), 10, 64)
		if err != nil {
			held[n] = true // whatever somebody wrote there: without a mark the number cannot be used
			continue
		}
		all[n].mark, all[n].revision = time.UnixMilli(ms), kv.ModRevision
	}
	for _, kv := range r.Responses[2].GetResponseRange().Kvs {
		if n := at(string(kv.Key)); n >= 0 {
			held[n] = true
		}
	}
	free := all[:0]
	for n, v := range all {
		if v.n = n; !held[n] {
			free = append(free, v)
		}
	}
	return free, nil
}

// found writes the layout into an empty prefix, and beside it a key that goes by itself when all holders that a former
// etcd may have had must have stopped.
func (b *board) found(ctx context.Context, cfg Config) error {
	grantCtx, cancel := call(ctx)
	lease, err := b.client.Grant(grantCtx, seconds(cfg.Lease*2/3))
	cancel()
	if err != nil {
		return fmt.Errorf("asking for a lease: %w", err)
	}
	txnCtx, cancel := call(ctx)
	defer cancel()
	r, err := b.client.Txn(txnCtx).
		If(clientv3.Compare(clientv3.CreateRevision(b.layoutKey()), "=", 0)).
		Then(clientv3.OpPut(b.layoutKey(), b.layout), clientv3.OpPut(b.newKey(), b.owner, clientv3.WithLease(lease.ID))).
		Commit()
	if err == nil && !r.Succeeded {
		b.revoke(lease.ID)
		err = errRaced
	}
	if err != nil {
		return fmt.Errorf("writing the layout: %w", err)
	}
	return nil
}

// fresh tells whether the prefix was empty a short while ago.
func (b *board) fresh(ctx context.Context) (bool, error) {
	ctx, cancel := call(ctx)
	defer cancel()
	r, err := b.client.Get(ctx, b.newKey(), clientv3.WithCountOnly())
	if err != nil {
		return false, fmt.Errorf("asking whether the numbers are new: %w", err)
	}
	return r.Count > 0, nil
}

// extend writes the mark and keeps the lease, if the number is still ours. The mark never goes down here. It comes first
// because KeepAliveOnce tries without a pause for as long as it may where nobody answers, and a transaction does not.
func (b *board) extend(ctx context.Context, h *holding, mark time.Time) error {
	// Kept before it is known to be written: a call whose answer was lost may have written it.
	h.mark = later(h.mark, mark)
	n := h.term.Number()
	txnCtx, cancel := call(ctx)
	r, err := b.client.Txn(txnCtx).
		If(clientv3.Compare(clientv3.CreateRevision(b.holderKey(n)), "=", h.fence)).
		Then(clientv3.OpPut(b.markKey(n), text(h.mark))).
		Commit()
	cancel()
	if err != nil {
		return fmt.Errorf("writing the mark: %w", err)
	}
	if !r.Succeeded {
		return fmt.Errorf("writing the mark: %w", errLost)
	}
	aliveCtx, cancel := call(ctx)
	defer cancel()
	_, err = b.client.KeepAliveOnce(aliveCtx, h.id)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("keeping the lease: %w", errLost)
	}
	if err != nil {
		return fmt.Errorf("keeping the lease: %w", err)
	}
	return nil
}

// giveBack puts the mark down to what was used and lets the number go. The term has ended.
func (b *board) giveBack(ctx context.Context, h *holding) error {
	n := h.term.Number()
	_, err := b.client.Txn(clientv3.WithRequireLeader(ctx)).
		If(clientv3.Compare(clientv3.CreateRevision(b.holderKey(n)), "=", h.fence)).
		Then(clientv3.OpPut(b.markKey(n), text(h.term.Last())), clientv3.OpDelete(b.holderKey(n))).
		Commit()
	if err != nil {
		return err
	}
	b.revoke(h.id)
	return nil
}

// revoke ends a lease that is of no use; if that fails, it ends by itself.
func (b *board) revoke(lease clientv3.LeaseID) {
	ctx, cancel := call(context.Background())
	defer cancel()
	_, _ = b.client.Revoke(ctx, lease)
}

func text(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
