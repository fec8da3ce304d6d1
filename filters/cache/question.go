package cache

import (
	"bytes"
	"context"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/gateway"
	"github.com/yumen-io/yumen/internal/mono"
	policy "github.com/yumen-io/yumen/policy/cache"
	"github.com/yumen-io/yumen/store/redisconn"
)

// question is what a request that finds nothing in memory asks Redis. It has its own copy of everything: the request may be gone before
// the answer is there.
type question struct {
	f      *Filter
	hash   uint64
	url    string
	prefix []byte
	asked  message.Fields
	since  generation
	until  mono.Time
	wake   gateway.Wake
}

// asksTier tells whether Redis is asked for what is not kept here.
func (f *Filter) asksTier(v *visit) bool {
	return f.tier != nil && v.entry == nil && !v.tiered && f.tier.link.Load() != nil
}

// askTier lets the request wait for Redis. It may lead a flight: then others wait with it. false: too many wait.
func (f *Filter) askTier(x *gateway.Exchange, v *visit) bool {
	t := f.tier
	v.tiered = true
	if t.asking.Add(1) > asksMax {
		t.asking.Add(-1)
		t.counts.busy.Add(1)
		return false
	}
	q := &question{f: f, hash: v.hash, url: string(v.url), prefix: bytes.Clone(v.prefix),
		since: f.store.generation(v.hash), until: x.Now().Add(t.spec.Wait)}
	x.Request.CopyTo(&q.asked)
	q.wake = x.SuspendUntil(q.until, f.tierLate)
	t.asks <- q // there is room: asking says so
	return true
}

// compileTier makes the tier's answers, once a filter.
func (f *Filter) compileTier(t *Tier) {
	f.tier = t
	f.tierLate = func(x *gateway.Exchange) gateway.Verdict {
		t.counts.late.Add(1)
		return f.withoutTier(x)
	}
	f.tierFound = func(x *gateway.Exchange) gateway.Verdict {
		v := x.Kept().(*visit)
		f.land(v, arrived)
		return f.look(x, v, true)
	}
	f.tierNothing = f.withoutTier
}

// withoutTier goes on with a request for which Redis has nothing, or nothing yet.
func (f *Filter) withoutTier(x *gateway.Exchange) gateway.Verdict {
	v := x.Kept().(*visit)
	if v.control.Is(policy.OnlyIfCached) {
		return f.refuse(x, v)
	}
	return f.ask(x, v)
}

// answer is a goroutine that asks Redis.
func (t *Tier) answer(stop <-chan struct{}) {
	for {
		select {
		case <-stop: // who still waits goes on by itself
			return
		case q := <-t.asks:
			t.asking.Add(-1)
			if t.store.clock() >= q.until {
				continue
			}
			if t.find(q) {
				q.wake.Post(q.f.tierFound)
			} else {
				q.wake.Post(q.f.tierNothing)
			}
		}
	}
}

// find asks for a response and keeps it here, if there is one that is good. Responses that vary take two round trips: the first tells
// by what.
func (t *Tier) find(q *question) bool {
	l := t.link.Load()
	if l == nil {
		return false
	}
	ctx, cancel := t.inTime(0)
	defer cancel()
	key, vary, selector := t.key(q.url), "", q.prefix
	for range 2 {
		field := fieldOf(vary, string(selector))
		a, err := t.readOne(ctx, l, key, field, vary)
		switch {
		case err != nil:
			t.mend(l, key, err)
			return false
		case len(a.vary) > keyBytesMax:
			t.counts.garbage.Add(1)
			t.forget(l, key)
			return false
		case a.vary != vary:
			vary = a.vary
			selector = policy.AppendSelector(bytes.Clone(q.prefix), vary, &q.asked)
			continue
		case a.record == "":
			t.counts.misses.Add(1)
			return false
		}
		e, how := t.check(q, &a, vary, string(selector))
		switch how {
		case recordGarbage:
			t.counts.garbage.Add(1)
			t.forget(l, key, field)
			return false
		case recordOutdated:
			t.counts.outdated.Add(1)
			return false
		}
		if !t.store.put(q.hash, []byte(q.url), e, q.since, q.f.spec.Bytes) {
			t.counts.outdated.Add(1) // purged meanwhile
			return false
		}
		t.counts.hits.Add(1)
		return true
	}
	t.counts.misses.Add(1) // what it varies by has changed in between
	return false
}

// told is what Redis says of a field.
type told struct {
	now          stamp
	vary, record string
}

func (t *Tier) readOne(ctx context.Context, l *tierLink, key, field, vary string) (a told, err error) {
	list, err := t.read.Exec(ctx, l, []string{key}, []string{field, vary}).ToArray()
	if err != nil {
		return a, err
	}
	if len(list) != 3 {
		return a, nil
	}
	now, err := list[0].ToString()
	if err != nil {
		return a, nil
	}
	ms, _ := strconv.ParseInt(now, 10, 64)
	a.now = stamp(ms)
	a.vary, _ = list[1].ToString()
	a.record, _ = list[2].ToString()
	return a, nil
}

// What a record turned out to be.
const (
	recordGood = iota
	recordGarbage
	recordOutdated
)

// check makes an entry of what Redis has, if that is what was asked for, is good for anything, and may be kept here.
func (t *Tier) check(q *question, a *told, vary, selector string) (e *entry, how int) {
	if len(a.record) < 2*stampLen {
		return nil, recordGarbage
	}
	began, err := strconv.ParseInt(a.record[:stampLen], 10, 64)
	stored, err2 := strconv.ParseInt(a.record[stampLen:2*stampLen], 10, 64)
	if err != nil || err2 != nil {
		return nil, recordGarbage
	}
	url, e, err := parseRecord([]byte(a.record[2*stampLen:]))
	if err != nil || url != q.url || e.vary != vary || e.selector != selector {
		return nil, recordGarbage
	}
	e.fresh.Age += time.Duration(max(int64(a.now)-stored, 0)) * time.Millisecond
	h := message.Head{Fields: e.fields, Status: e.status}
	var anybody policy.Control
	switch {
	case t.worth(e, e.fresh.Age) <= 0, !t.ledger.believes(url, e.tags, stamp(began)):
		return nil, recordOutdated
	case int64(len(e.body)) > q.f.spec.EntryBytes, q.f.spec.Rules.Storable(getMethod, &anybody, false, &h, &e.fresh) != policy.Kept:
		return nil, recordOutdated // others have other settings
	}
	e.body = bytes.Clone(e.body) // not all of the record
	e.kept = t.store.clock()
	e.seal(len(url))
	return e, recordGood
}

// forget deletes fields of a URL, or without any all of it.
func (t *Tier) forget(l *tierLink, key string, fields ...string) {
	ctx, cancel := t.inTime(0)
	defer cancel()
	var cmd rueidis.Completed
	if len(fields) == 0 {
		cmd = l.B().Del().Key(key).Build()
	} else {
		cmd = l.B().Hdel().Key(key).Field(fields...).Build()
	}
	if err := l.Do(ctx, cmd).Error(); err != nil && redisconn.IsOfAll(err) {
		t.lose(l, err)
	}
}
