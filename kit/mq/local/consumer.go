package local

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/yumen-io/yumen/kit/mq"
	"github.com/yumen-io/yumen/kit/mq/internal/lane"
)

// Defaults of ConsumerConfig.
const (
	LeaseDefault = 5 * time.Second
	PollDefault  = 50 * time.Millisecond
)

// ConsumerConfig is what NewConsumer needs. Group and Topics have no default.
type ConsumerConfig struct {
	// Group is the consumer group: each message goes to one of its consumers, in whichever process they are. All
	// consumers of a group must have the same Topics. A new group begins with the oldest messages.
	Group  string
	Topics []string

	// Delivery.Grace is a third of Lease at most.
	mq.Delivery

	// Claim says where to begin with a partition, instead of what the group has committed; mq.Offsets.Claim is one.
	Claim mq.Claim

	// Lease is how long partitions stay with a consumer that was killed: 5 s (at least 100 ms). It is renewed three times
	// in that.
	Lease time.Duration
	// Poll is how often the file is looked at for messages of other processes: 50 ms (at least 1 ms). Those of this
	// process need no polling.
	Poll time.Duration
}

func (cfg ConsumerConfig) withDefaults() (ConsumerConfig, error) {
	if cfg.Lease == 0 {
		cfg.Lease = LeaseDefault
	}
	if cfg.Poll == 0 {
		cfg.Poll = PollDefault
	}
	var errs []error
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("local: "+format, args...))
		}
	}
	refuse(cfg.Group == "", "Group is empty, and should name the consumer group")
	refuse(len(cfg.Topics) == 0, "Topics is empty, and should have at least one topic")
	refuse(cfg.Lease < 100*time.Millisecond, "Lease is %v, and should be at least 100ms", cfg.Lease)
	refuse(cfg.Poll < time.Millisecond, "Poll is %v, and should be at least 1ms", cfg.Poll)
	var err error
	cfg.Delivery, err = cfg.Delivery.WithDefaults()
	return cfg, errors.Join(append(errs, err)...)
}

// Consumer is a member of a group, with a goroutine for each partition that it has.
type Consumer struct {
	queue    *Queue
	cfg      ConsumerConfig
	id       string
	handler  mq.Handler
	run      atomic.Bool
	counters lane.Counters
	news     chan struct{} // 1: there is something to commit

	// committing is held while offsets are committed and while a partition is given up.
	committing sync.Mutex

	mu struct {
		sync.Mutex
		lanes map[place]*held
	}
}

type place struct {
	topic     int64
	partition int32
}

// held is a partition that this consumer has.
type held struct {
	*lane.Lane
	name   string // of the topic
	epoch  int64  // of the lease
	room   chan struct{}
	cancel context.CancelFunc
	fed    sync.WaitGroup

	// Under Consumer.mu.
	dirty bool
	next  int64
}

var _ mq.Consumer = (*Consumer)(nil)

// NewConsumer checks cfg. It does not touch the queue, which must stay open while the consumer runs.
func NewConsumer(queue *Queue, cfg ConsumerConfig) (*Consumer, error) {
	cfg, err := cfg.withDefaults()
	if queue == nil {
		err = errors.Join(err, errors.New("local: the queue is nil, and should be an open one"))
	}
	if err != nil {
		return nil, err
	}
	c := &Consumer{queue: queue, cfg: cfg, id: rand.Text(), news: make(chan struct{}, 1)}
	c.mu.lanes = map[place]*held{}
	return c, nil
}

// Run implements mq.Consumer.
func (c *Consumer) Run(ctx context.Context, handler mq.Handler) error {
	if !c.run.CompareAndSwap(false, true) {
		return fmt.Errorf("%w: a consumer runs once", mq.ErrClosed)
	}
	c.handler = handler
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { c.commitLoop(stop) })
	others.Go(func() { c.watchLoop(stop) })
	tick := time.NewTicker(c.cfg.Lease / 3)
	defer tick.Stop()
	failing := false
	for ctx.Err() == nil {
		err := c.rebalance(ctx)
		if ctx.Err() == nil && (err != nil) != failing {
			if failing = err != nil; failing {
				c.queue.cfg.Logger.Error("the leases of partitions cannot be renewed", "group", c.cfg.Group, "error", err)
			} else {
				c.queue.cfg.Logger.Info("the leases of partitions are renewed again", "group", c.cfg.Group)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	c.counters.Revoked.Add(c.giveUp(c.all(), c.grace()))
	close(stop)
	others.Wait()
	_ = c.queue.transact(context.Background(), func(tx *sql.Tx) error { // else the lease ends by itself
		_, err := tx.Exec("DELETE FROM members WHERE grp = ? AND id = ?", c.cfg.Group, c.id)
		return err
	})
	c.queue.wake()
	return nil
}

// grace is shorter than what a lease has left, which nobody renews meanwhile.
func (c *Consumer) grace() time.Duration { return min(max(0, c.cfg.Grace), c.cfg.Lease/3) }

// row is a partition as the file has it.
type row struct {
	place
	name        string
	next, epoch int64
	owner       string
	until, end  int64
}

// rebalance renews the leases, gives up what is more than this consumer's share, and takes what is free of it.
func (c *Consumer) rebalance(ctx context.Context) error {
	now := c.queue.cfg.Clock()
	until := now.Add(c.cfg.Lease).UnixMilli()
	var rows []row
	var share int
	var taken []row
	have := c.all()
	err := c.queue.transact(ctx, func(tx *sql.Tx) (err error) {
		if share, rows, err = c.look(tx, now, until); err != nil {
			return err
		}
		mine := 0
		for i := range rows {
			if r := &rows[i]; r.owner == c.id && have[r.place] != nil && have[r.place].epoch == r.epoch {
				mine++
			}
		}
		if _, err := tx.Exec("UPDATE lanes SET until = ? WHERE grp = ? AND owner = ?", until, c.cfg.Group, c.id); err != nil {
			return err
		}
		for i := range rows {
			r := &rows[i]
			free := r.owner == "" || r.until < now.UnixMilli() || r.owner == c.id
			if have[r.place] != nil || !free || mine >= share {
				continue
			}
			mine++
			r.epoch++
			if _, err := tx.Exec("UPDATE lanes SET owner = ?, until = ?, epoch = ? WHERE grp = ? AND topic = ? AND part = ?",
				c.id, until, r.epoch, c.cfg.Group, r.topic, r.partition); err != nil {
				return err
			}
			taken = append(taken, *r)
		}
		return nil
	})
	if err != nil {
		return err
	}

	lost, surplus := map[place]*held{}, map[place]*held{}
	for _, r := range rows {
		h := have[r.place]
		if h == nil {
			continue
		}
		h.SetEnd(r.end)
		if r.owner != c.id || r.epoch != h.epoch {
			lost[r.place] = h
		} else if len(have)-len(lost)-len(surplus) > share {
			surplus[r.place] = h
		}
	}
	if n := c.giveUp(lost, -1); n > 0 {
		c.counters.Lost.Add(n)
		c.queue.cfg.Logger.Warn("leases of partitions have ended before they were renewed", "group", c.cfg.Group, "partitions", n)
	}
	c.counters.Revoked.Add(c.giveUp(surplus, c.grace()))
	for _, r := range taken {
		c.begin(r)
	}
	return nil
}

// look makes what is missing, and reads members and partitions.
func (c *Consumer) look(tx *sql.Tx, now time.Time, until int64) (share int, rows []row, err error) {
	group := c.cfg.Group
	if _, err := tx.Exec("INSERT INTO members (grp, id, until) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET until = excluded.until", group, c.id, until); err != nil {
		return 0, nil, err
	}
	if _, err := tx.Exec("DELETE FROM members WHERE grp = ? AND until < ?", group, now.UnixMilli()); err != nil {
		return 0, nil, err
	}
	var members, before int
	if err := tx.QueryRow("SELECT COUNT(*), COUNT(CASE WHEN id < ? THEN 1 END) FROM members WHERE grp = ?", c.id, group).Scan(&members, &before); err != nil {
		return 0, nil, err
	}
	for _, name := range c.cfg.Topics {
		t, err := c.queue.needTopic(tx, name)
		if err != nil {
			return 0, nil, err
		}
		if _, err := tx.Exec(`INSERT OR IGNORE INTO lanes (grp, topic, part, next, epoch, owner, until)
			SELECT ?, topic, part, 0, 0, '', 0 FROM ends WHERE topic = ?`, group, t.id); err != nil {
			return 0, nil, err
		}
		found, err := tx.Query(`SELECT l.part, l.next, l.epoch, l.owner, l.until, e.next FROM lanes l
			JOIN ends e ON e.topic = l.topic AND e.part = l.part WHERE l.grp = ? AND l.topic = ? ORDER BY l.part`, group, t.id)
		if err != nil {
			return 0, nil, err
		}
		for found.Next() {
			r := row{name: name, place: place{topic: t.id}}
			if err := found.Scan(&r.partition, &r.next, &r.epoch, &r.owner, &r.until, &r.end); err != nil {
				return 0, nil, errors.Join(err, found.Close())
			}
			rows = append(rows, r)
		}
		if err := found.Err(); err != nil {
			return 0, nil, err
		}
	}
	share = len(rows) / members
	if before < len(rows)%members {
		share++
	}
	return share, rows, nil
}

// begin starts the lane of a partition and what feeds it.
func (c *Consumer) begin(r row) {
	ctx, cancel := context.WithCancel(context.Background())
	h := &held{name: r.name, epoch: r.epoch, room: make(chan struct{}, 1), cancel: cancel}
	host := lane.Host{
		Handle:   c.handler,
		Dead:     c.bury,
		Done:     func(next int64) { c.mark(h, next) },
		Room:     func() { signal(h.room) },
		Counters: &c.counters,
		Logger:   c.queue.cfg.Logger,
	}
	if c.cfg.Claim != nil {
		host.Claim = func(ctx context.Context) (int64, error) {
			position, err := c.cfg.Claim(ctx, r.name, r.partition)
			return position.Epoch, err
		}
	}
	h.Lane = lane.New(r.name, r.partition, c.cfg.Delivery, host)
	h.SetEpoch(r.epoch)
	h.SetEnd(r.end)
	c.mu.Lock()
	c.mu.lanes[r.place] = h
	c.mu.Unlock()
	c.counters.Assigned.Add(1)
	go h.Run(ctx)
	h.fed.Go(func() { c.feed(ctx, h, r) })
}

// feed reads messages into a lane until its context ends.
func (c *Consumer) feed(ctx context.Context, h *held, r row) {
	tick := time.NewTicker(max(c.cfg.Poll, 10*time.Millisecond)) // after an error
	defer tick.Stop()
	next := r.next
	for tries := 0; c.cfg.Claim != nil; tries++ {
		position, err := c.cfg.Claim(ctx, r.name, r.partition)
		if err == nil {
			h.SetEpoch(position.Epoch)
			if position.Next >= 0 {
				next = position.Next
			}
			break
		}
		if tries == 0 && ctx.Err() == nil {
			c.queue.cfg.Logger.Error("a partition cannot be claimed; it waits", "topic", r.name, "partition", r.partition, "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-h.Over():
			return
		}
	}
	h.SetNext(next)
	failing := false
	for {
		news := c.queue.news()
		messages, err := c.queue.messages(ctx, r.place, r.name, next, c.cfg.BatchMessages, c.cfg.BatchBytes)
		if err == nil && len(messages) > 0 {
			next = messages[len(messages)-1].Offset + 1
			if !h.Push(messages) {
				continue
			}
			news = h.room
		}
		if ctx.Err() == nil && (err != nil) != failing {
			if failing = err != nil; failing {
				c.queue.cfg.Logger.Error("the messages of a partition cannot be read; it waits", "topic", r.name, "partition", r.partition, "error", err)
			} else {
				c.queue.cfg.Logger.Info("the messages of a partition are read again", "topic", r.name, "partition", r.partition)
			}
		}
		var again <-chan time.Time
		if err != nil {
			again = tick.C
		}
		select {
		case <-news:
		case <-again:
		case <-ctx.Done():
			return
		case <-h.Over():
			return
		}
	}
}

// messages reads at most so many messages from an offset on, and no more after so many bytes.
func (q *Queue) messages(ctx context.Context, at place, name string, from int64, most, bytesMost int) ([]mq.Message, error) {
	rows, err := q.selectRows.QueryContext(ctx, at.topic, at.partition, from, most)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var messages []mq.Message
	for bytes := 0; bytes < bytesMost && rows.Next(); {
		m := mq.Message{Topic: name, Partition: at.partition}
		var milliseconds int64
		var headers []byte
		if err := rows.Scan(&m.Offset, &milliseconds, &m.Key, &m.Value, &headers); err != nil {
			return nil, err
		}
		m.Time = time.UnixMilli(milliseconds)
		if m.Headers, err = parseHeaders(headers); err != nil {
			return nil, fmt.Errorf("%w: topic %q, partition %d, offset %d", err, name, at.partition, m.Offset)
		}
		bytes += m.Size()
		messages = append(messages, m)
	}
	return messages, rows.Err()
}

func (c *Consumer) bury(ctx context.Context, m mq.Message, reason error, attempts int) error {
	return c.queue.Publish(ctx, lane.DeadLetter(m, c.cfg.Delivery, c.cfg.Group, reason, attempts, c.queue.cfg.Clock()))
}

func (c *Consumer) all() map[place]*held {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[place]*held{}
	for at, h := range c.mu.lanes {
		all[at] = h
	}
	return all
}

func (c *Consumer) mark(h *held, next int64) {
	c.mu.Lock()
	h.dirty, h.next = true, next
	c.mu.Unlock()
	signal(c.news)
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// commitLoop commits what lanes have marked, all of it in one transaction.
func (c *Consumer) commitLoop(stop <-chan struct{}) {
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	failing := false
	for {
		select {
		case <-c.news:
		case <-retry.C:
		case <-stop:
			return
		}
		c.committing.Lock()
		err := c.commit(c.all(), false)
		c.committing.Unlock()
		if err != nil {
			retry.Reset(c.cfg.BackoffMin)
		}
		if (err != nil) != failing {
			if failing = err != nil; failing {
				c.queue.cfg.Logger.Warn("offsets cannot be committed", "group", c.cfg.Group, "error", err)
			} else {
				c.queue.cfg.Logger.Info("offsets are committed again", "group", c.cfg.Group)
			}
		}
	}
}

// commit writes offsets under the leases' epochs; one that has another epoch by now changes no row. With release the
// partitions are free in the same transaction.
func (c *Consumer) commit(lanes map[place]*held, release bool) error {
	type offset struct {
		place
		epoch, next int64
	}
	var offsets []offset
	c.mu.Lock()
	for at, h := range lanes {
		next := int64(-1)
		if h.dirty {
			next = h.next
			h.dirty = false
		}
		if next >= 0 || release {
			offsets = append(offsets, offset{at, h.epoch, next})
		}
	}
	c.mu.Unlock()
	if len(offsets) == 0 {
		return nil
	}
	committed := uint64(0)
	err := c.queue.transact(context.Background(), func(tx *sql.Tx) error {
		for _, o := range offsets {
			statement := "UPDATE lanes SET next = CASE WHEN ?1 >= 0 THEN ?1 ELSE next END WHERE grp = ?2 AND topic = ?3 AND part = ?4 AND epoch = ?5"
			if release {
				statement = "UPDATE lanes SET next = CASE WHEN ?1 >= 0 THEN ?1 ELSE next END, owner = '', until = 0 WHERE grp = ?2 AND topic = ?3 AND part = ?4 AND epoch = ?5"
			}
			result, err := tx.Exec(statement, o.next, c.cfg.Group, o.topic, o.partition, o.epoch)
			if err != nil {
				return err
			}
			if n, err := result.RowsAffected(); err == nil && o.next >= 0 {
				committed += uint64(n)
			}
		}
		return nil
	})
	if err == nil {
		c.counters.Commits.Add(committed)
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range offsets {
		if h := lanes[o.place]; o.next >= 0 && !h.dirty {
			h.dirty, h.next = true, o.next
		}
	}
	return err
}

// giveUp ends lanes and waits for their handlers, which may go on for grace. A negative grace means that the partitions are
// lost, and nothing is committed.
func (c *Consumer) giveUp(lanes map[place]*held, grace time.Duration) uint64 {
	if len(lanes) == 0 {
		return 0
	}
	for _, h := range lanes {
		h.Drain()
	}
	if grace > 0 {
		timer := time.NewTimer(grace)
		defer timer.Stop()
	waiting:
		for _, h := range lanes {
			select {
			case <-h.Over():
			case <-timer.C:
				break waiting
			}
		}
	}
	for _, h := range lanes {
		h.cancel()
	}
	for _, h := range lanes {
		<-h.Over()
		h.fed.Wait()
	}
	c.committing.Lock()
	defer c.committing.Unlock()
	if grace >= 0 {
		_ = c.commit(lanes, true) // else the lease ends by itself, and the last messages come again
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for at := range lanes {
		delete(c.mu.lanes, at)
	}
	return uint64(len(lanes))
}

// watchLoop notices what other processes have written: SQLite counts their commits.
func (c *Consumer) watchLoop(stop <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tick := time.NewTicker(c.cfg.Poll)
	defer tick.Stop()
	var conn *sql.Conn // the count is a connection's own
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	last := int64(-1)
	for {
		select {
		case <-tick.C:
		case <-stop:
			return
		}
		if conn == nil {
			conn, _ = c.queue.read.Conn(ctx) // tried again at the next tick
		}
		if conn == nil {
			continue
		}
		var version int64
		if err := conn.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version); err != nil {
			conn.Close()
			conn = nil
			continue
		}
		if version != last {
			last = version
			c.queue.wake()
		}
	}
}

// Stats implements mq.Consumer.
func (c *Consumer) Stats() mq.Stats {
	s := mq.Stats{
		Messages: c.counters.Messages.Load(), Batches: c.counters.Batches.Load(), Failures: c.counters.Failures.Load(),
		Dead: c.counters.Dead.Load(), Commits: c.counters.Commits.Load(), Assigned: c.counters.Assigned.Load(),
		Revoked: c.counters.Revoked.Load(), Lost: c.counters.Lost.Load(),
	}
	now := c.queue.cfg.Clock()
	for _, h := range c.all() {
		s.Partitions = append(s.Partitions, h.Stats(now))
	}
	return s
}
